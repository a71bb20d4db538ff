//! How `usage` prints: a table for people, JSON lines and CSV for scripts.

use std::io::{self, Write as _};

use comfy_table::{Attribute, Cell};
use key_guard_core::key::{AccountId, Service, UserName};
use key_guard_core::policy::{Verdict, Violation};
use key_guard_core::text::sanitize_line;
use key_guard_core::time::rfc3339;
use key_guard_core::usage::{Counts, UserUse};
use serde::Serialize;
use serde_json::Value;

use super::join::{KeyUse, UsageRow};
use super::known::short_service;
use crate::cli::facts::status_word;
use crate::cli::filters::short;
use crate::cli::output::{self, csv_on_stdout, plain_table, stdout, values, write_table};
use crate::cli::when::Times;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum UsageFormat {
    /// Users, or with --ledger keys, with what is most frequent in their calls, for people.
    Table,
    /// One user or key to a line, with every model, address and so on and how often it was seen, for scripts.
    Jsonl,
    /// The same fields under a header.
    Csv,
}

/// The fields of a row, in order.
const FIELDS: [&str; 20] = [
    "account",
    "user",
    "credential_id",
    "service",
    "verdict",
    "violation",
    "status",
    "use",
    "first_used_at",
    "last_used_at",
    "calls",
    "failed_calls",
    "services",
    "operations",
    "models",
    "regions",
    "addresses",
    "networks",
    "user_agents",
    "errors",
];

/// How a table looks.
#[derive(Debug, Clone, Copy)]
pub struct TableStyle {
    /// How times are told.
    pub times: Times,
    /// The width in columns. `None`: as wide as what is in it.
    pub width: Option<u16>,
    /// Whether there are keys in it.
    pub keys: bool,
}

/// Writes the rows.
///
/// # Errors
/// When stdout cannot be written.
pub fn print(rows: &[UsageRow], format: UsageFormat, style: TableStyle) -> io::Result<()> {
    match format {
        UsageFormat::Table if rows.is_empty() => Ok(()),
        UsageFormat::Table if style.keys => print_keys(rows, style),
        UsageFormat::Table => print_users(rows, style),
        UsageFormat::Jsonl => {
            let mut to = io::BufWriter::new(stdout());
            for row in rows {
                serde_json::to_writer(&mut to, &Line::new(row, of_counts))?;
                to.write_all(b"\n")?;
            }
            to.flush()
        }
        UsageFormat::Csv => {
            let mut to = csv_on_stdout(&FIELDS)?;
            for row in rows {
                let line = serde_json::to_value(Line::new(row, |counts| in_one_text(counts).into()))?;
                to.write_record(values(&line, &FIELDS))?;
            }
            to.flush()
        }
    }
}

/// A row for scripts: each field is always there.
#[derive(Serialize)]
struct Line<'a> {
    account: Option<&'a str>,
    user: Option<&'a str>,
    credential_id: Option<&'a str>,
    service: Option<&'a str>,
    verdict: Option<&'static str>,
    violation: Option<&'static str>,
    status: Option<&'static str>,
    r#use: Option<&'static str>,
    first_used_at: Option<String>,
    last_used_at: Option<String>,
    calls: u64,
    failed_calls: u64,
    services: Value,
    operations: Value,
    models: Value,
    regions: Value,
    addresses: Value,
    networks: Value,
    user_agents: Value,
    errors: Value,
}

impl<'a> Line<'a> {
    fn new(row: &'a UsageRow, counts: impl Fn(&Counts) -> Value) -> Self {
        let report = row.key.as_ref().map(|key| &key.report);
        let used = row.used.as_ref();
        let counted = |of: fn(&UserUse) -> &Counts| used.map_or(Value::Null, |used| counts(of(used)));
        Self {
            account: row.account.as_ref().map(AccountId::as_str),
            user: user(row).map(UserName::as_str),
            credential_id: row.key.as_ref().map(|key| key.key.id.as_str()),
            service: report.and_then(|report| report.service.as_ref()).map(Service::as_str),
            verdict: report.and_then(|report| report.verdict).map(Verdict::as_str),
            violation: report.and_then(|report| report.violation).map(Violation::as_str),
            status: report.map(|report| report.status.as_str()),
            r#use: row.key_use.map(KeyUse::as_str),
            first_used_at: row.first_used_at().map(rfc3339),
            last_used_at: row.last_used_at().map(rfc3339),
            calls: used.map_or(0, |used| used.calls),
            failed_calls: used.map_or(0, |used| used.failed),
            services: counted(|used| &used.services),
            operations: counted(|used| &used.operations),
            models: counted(|used| &used.models),
            regions: counted(|used| &used.regions),
            addresses: counted(|used| &used.addresses),
            networks: counted(|used| &used.networks),
            user_agents: counted(|used| &used.user_agents),
            errors: counted(|used| &used.errors),
        }
    }
}

fn user(row: &UsageRow) -> Option<&UserName> {
    let of_key = row.key.as_ref().and_then(|key| key.report.user.as_ref());
    of_key.or_else(|| row.used.as_ref().map(|used| &used.user))
}

/// As a JSON object: texts and how often each was seen.
fn of_counts(counts: &Counts) -> Value {
    let seen = counts.most_frequent().into_iter().map(|(text, count)| (text.to_owned(), count.into()));
    let others = (counts.others() > 0).then(|| (OTHERS.to_owned(), counts.others().into()));
    Value::Object(seen.chain(others).collect())
}

/// What stands for texts that are not counted one by one.
const OTHERS: &str = "(others)";

/// As a text: `InvokeModel (12); Converse (3)`.
fn in_one_text(counts: &Counts) -> String {
    let others = (counts.others() > 0).then(|| (OTHERS, counts.others()));
    let seen = counts.most_frequent().into_iter().chain(others);
    seen.map(|(text, count)| format!("{text} ({count})")).collect::<Vec<_>>().join("; ")
}

fn print_users(rows: &[UsageRow], style: TableStyle) -> io::Result<()> {
    const TITLES: [&str; 11] = [
        "ACCOUNT",
        "USER",
        "LAST USED",
        "FIRST USED",
        "CALLS",
        "ERRORS",
        "SERVICES",
        "MODELS",
        "REGIONS",
        "NETWORKS",
        "USER AGENTS",
    ];
    let cells = rows.iter().map(|row| {
        let time = |time: Option<_>| time.map_or_else(|| "-".to_owned(), |time| style.times.tell(time));
        vec![
            text(row.account.as_ref().map(AccountId::as_str)),
            text(user(row).map(UserName::as_str)),
            Cell::new(time(row.last_used_at())),
            Cell::new(time(row.first_used_at())),
            calls(row),
            top(row, |used| &used.errors, str::to_owned),
            top(row, |used| &used.services, |service| short_service(service).to_owned()),
            top(row, |used| &used.models, str::to_owned),
            top(row, |used| &used.regions, str::to_owned),
            top(row, |used| &used.networks, str::to_owned),
            top(row, |used| &used.user_agents, shortened),
        ]
    });
    print_cells(&TITLES, cells, style, &[3, 8, 6, 5, 10, 9])
}

fn print_keys(rows: &[UsageRow], style: TableStyle) -> io::Result<()> {
    const TITLES: [&str; 11] = [
        "USE",
        "KEY",
        "VERDICT",
        "USER",
        "ACCOUNT",
        "STATUS",
        "LAST USED",
        "CALLS",
        "MODELS",
        "NETWORKS",
        "USER AGENTS",
    ];
    let cells = rows.iter().map(|row| {
        let report = row.key.as_ref().map(|key| &key.report);
        let service = report.and_then(|report| report.service.as_ref()).map(short);
        let status = row.key.as_ref().map(|key| status_word(&key.standing));
        let last = row.last_used_at().map(|time| style.times.tell(time));
        vec![
            text(row.key_use.map(|key_use| match key_use {
                KeyUse::Unused => "unused",
                KeyUse::InUse => "in use",
                KeyUse::NotKnown => "not known",
                KeyUse::Deleted => "deleted",
            })),
            text(row.key.as_ref().map(|key| key.key.id.as_str())),
            output::verdict(report.and_then(|report| report.verdict)).into(),
            text(user(row).map(UserName::as_str)),
            text(row.account.as_ref().map(AccountId::as_str)),
            Cell::new([service, status].into_iter().flatten().collect::<Vec<_>>().join(", ")),
            text(last.as_deref()),
            calls(row),
            top(row, |used| &used.models, str::to_owned),
            top(row, |used| &used.networks, str::to_owned),
            top(row, |used| &used.user_agents, shortened),
        ]
    });
    print_cells(&TITLES, cells, style, &[5, 10, 9, 8, 7, 6])
}

/// Prints a table. Where it is too wide, the columns `less` are left out, the first of them first; where that is not enough, each
/// row is written with a line for each field. No name is ever split.
fn print_cells(
    titles: &[&str],
    rows: impl Iterator<Item = Vec<Cell>>,
    style: TableStyle,
    less: &[usize],
) -> io::Result<()> {
    const GAP: usize = 2;
    let rows: Vec<_> = rows.collect();
    let width_of = |column: &usize| {
        let cells =
            rows.iter().filter_map(|row| row.get(*column)).flat_map(|cell| lines(cell).collect::<Vec<_>>());
        let title = titles.get(*column).map(|title| title.len());
        title.into_iter().chain(cells.map(|line| line.chars().count())).max().unwrap_or_default() + GAP
    };
    let room = style.width.map_or(usize::MAX, usize::from);
    let is_too_wide = |shown: &[usize]| shown.iter().map(&width_of).sum::<usize>() > room;
    let mut shown: Vec<usize> = (0..titles.len()).collect();
    for column in less {
        if is_too_wide(&shown) {
            shown.retain(|other| other != column);
        }
    }
    if is_too_wide(&shown) {
        return print_fields(titles, &rows);
    }
    let mut table = plain_table(output::wants_colour());
    let title =
        |column: &usize| titles.get(*column).map(|title| Cell::new(title).add_attribute(Attribute::Bold));
    table.set_header(shown.iter().filter_map(title));
    table.add_rows(
        rows.iter()
            .map(|row| shown.iter().filter_map(|column| row.get(*column).cloned()).collect::<Vec<_>>()),
    );
    write_table(&mut stdout(), table)
}

/// Each row with a line for each field, and an empty line between rows.
fn print_fields(titles: &[&str], rows: &[Vec<Cell>]) -> io::Result<()> {
    let longest = titles.iter().map(|title| title.len()).max().unwrap_or_default();
    let mut out = io::BufWriter::new(stdout());
    for (number, row) in rows.iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        for (title, cell) in titles.iter().zip(row) {
            for (index, line) in lines(cell).enumerate() {
                writeln!(out, "{:longest$}  {line}", if index == 0 { title } else { "" })?;
            }
        }
    }
    out.flush()
}

fn lines(cell: &Cell) -> impl Iterator<Item = String> + use<> {
    cell.content().lines().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

fn text(text: Option<&str>) -> Cell {
    Cell::new(text.unwrap_or("-"))
}

fn calls(row: &UsageRow) -> Cell {
    Cell::new(row.used.as_ref().map_or(0, |used| used.calls))
}

/// The most frequent texts, one to a line.
fn top(row: &UsageRow, of: fn(&UserUse) -> &Counts, shorten: impl Fn(&str) -> String) -> Cell {
    const SHOWN: usize = 3;
    let Some(used) = &row.used else { return Cell::new("-") };
    let (counts, calls) = (of(used), used.calls);
    let seen = counts.most_frequent();
    let line = |(text, count): &(&str, u64)| match *count {
        // What all calls have in common needs no number.
        count if count == calls => shorten(text),
        count => format!("{} ({count})", shorten(text)),
    };
    let mut lines: Vec<_> = seen.iter().take(SHOWN).map(line).collect();
    if seen.len() > SHOWN {
        lines.push(format!("and {} more", seen.len() - SHOWN));
    }
    Cell::new(if lines.is_empty() { "-".to_owned() } else { lines.join("\n") })
}

/// The beginning of a user agent, which says what it is.
fn shortened(agent: &str) -> String {
    const LONGEST: usize = 40;
    let agent = sanitize_line(agent);
    match agent.char_indices().nth(LONGEST) {
        None => agent,
        Some((end, _)) => format!("{}…", agent.get(..end).unwrap_or_default().trim_end()),
    }
}
