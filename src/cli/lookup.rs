//! `lookup`: who made a key, for whom, from where, what was done about it, and when.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use comfy_table::{Attribute, Cell, ColumnConstraint, ContentArrangement, Table};

use super::filters::{Filters, short};
use super::progress::Progress;
use super::rows::{Row, Step, factor};
use super::stats::Stats;
use super::when::Times;
use super::{Exit, LedgerPlace, findings, output, say, to_read};
use crate::clock::{Clock, SystemClock};
use crate::ledger::happening::Happening;
use crate::ledger::search::{Cost, Filter, Position, Search};
use crate::ledger::{DynamoLedger, Entry, LedgerError, permission_set};
use crate::telemetry::chain;

/// How answers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One row to a line, for scripts.
    Jsonl,
    /// The same columns under a header.
    Csv,
    /// OCSF Detection Findings (class 2004), in a JSON array.
    Ocsf,
    /// Findings for Security Hub's `BatchImportFindings`, in a JSON array.
    Asff,
}

/// How many keys at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Some(usize),
    All,
}

impl std::str::FromStr for Limit {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        match (text, text.parse()) {
            ("all", _) => Ok(Self::All),
            (_, Ok(1..)) => text.parse().map(Self::Some).map_err(|_| "expected a number or all"),
            _ => Err("expected a number from 1 up, or all"),
        }
    }
}

/// Looks keys up in the ledger: who made them, for whom, from where, and what was done about it
///
/// Newest first. A key that is named with --key is shown with its history. Nothing is changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard lookup --key ACCAEXAMPLEKEY0000001
      everything about one key: how it stands, and what happened to it
  bedrock-key-guard lookup --verdict noncompliant --since 7d
      what came in last week that should not have
  bedrock-key-guard lookup --actor maria.lopez@example.com --ledger dynamodb:key-guard
      the keys that someone made; a role, a permission set or an ARN will do, too
  bedrock-key-guard lookup --open
      what is stuck, and since when
  bedrock-key-guard lookup --attempts --since 30d
      who keeps trying: calls that were refused, and access keys of users that the console made
  bedrock-key-guard lookup --stats --since 30d
      counts, and seconds from event to outcome

Exit codes:
  0 done, whether something was found or not   1 failed   2 usage
  4 some items could not be read, the rest were shown")]
pub struct Lookup {
    #[command(flatten)]
    filters: Filters,

    /// Where keys are recorded: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, default_value = "file:key-guard.db", value_name = "LEDGER")]
    ledger: LedgerPlace,

    /// How answers are written to stdout
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// How many keys to show: a number, or all
    #[arg(long, default_value = "100", value_name = "N", conflicts_with = "stats")]
    limit: Limit,

    /// Go on where a page has ended: as that page said on stderr
    #[arg(long, value_name = "PLACE", conflicts_with = "stats")]
    page: Option<Position>,

    /// Count instead: by verdict, outcome, account, user and week; seconds from event to outcome
    #[arg(long)]
    stats: bool,

    /// Show calls that were refused instead, and access keys for users that the console made: by account, user, actor
    /// and time; in a table alike ones together
    #[arg(long, conflicts_with_all = ["stats", "page", "key", "verdict", "violation", "outcome", "source_ip", "open", "limit"])]
    attempts: bool,

    /// Show times as they are (UTC), not as seen from now
    #[arg(long)]
    absolute: bool,

    /// The width of the table in columns; what does not fit is wrapped or left out [default: that of the terminal]
    #[arg(long, value_name = "COLUMNS", value_parser = clap::value_parser!(u16).range(40..))]
    width: Option<u16>,
}

impl Lookup {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if (self.stats || self.attempts) && matches!(self.format, Format::Ocsf | Format::Asff) {
            let flag = if self.stats { "--stats" } else { "--attempts" };
            say(&format!(
                "error: {flag} has no findings in it; accepted with it: --format table, jsonl or csv"
            ));
            return Ok(Exit::Usage.into());
        }
        let now = SystemClock.now();
        let names_a_key = self.filters.names_a_key();
        let (filter, note) = match self.filters.clone().at(now) {
            Ok(question) => question,
            Err(wrong) => {
                say(&format!("error: {wrong}"));
                return Ok(Exit::Usage.into());
            }
        };
        let runtime = super::runtime()?;
        runtime.block_on(async {
            let ledger = to_read(&self.ledger).await?;
            if let Some(note) = note {
                say(&format!("note: {note}"));
            }
            if self.attempts {
                return self.tried(&ledger, &filter, now).await;
            }
            let wanted = match self.limit {
                Limit::Some(limit) if !self.stats => limit,
                Limit::Some(_) | Limit::All => usize::MAX,
            };
            let search = match Search::new(&ledger, filter.clone(), self.page.clone(), wanted, now) {
                Ok(search) => search,
                Err(too_many) => {
                    say(&format!("error: {too_many}"));
                    return Ok(Exit::Usage.into());
                }
            };
            if self.stats {
                self.count(search).await
            } else if names_a_key {
                self.tell(&ledger, search, now).await
            } else {
                self.list(&filter, search, wanted, now).await
            }
        })
    }

    async fn list(
        &self,
        filter: &Filter,
        mut search: Search<'_>,
        wanted: usize,
        now: DateTime<Utc>,
    ) -> anyhow::Result<ExitCode> {
        const WRITE: &str = "could not write to stdout";
        let mut answers = Answers::begin(self.format, self.look(now), filter.open).context(WRITE)?;
        let (mut shown, mut unreadable, mut place) = (0_usize, 0, None);
        let mut more = false;
        let progress = Progress::of_items(true);
        loop {
            let entry = search.next().await;
            unreadable += progress.beside(|| warn(&search.unreadable()));
            let Some(entry) = entry? else { break };
            if shown == wanted {
                more = true;
                break;
            }
            place = search.position().cloned();
            shown += 1;
            answers.write(Row::state(entry)).context(WRITE)?;
            progress.advance(1);
        }
        drop(progress);
        answers.end().context(WRITE)?;
        let keys = match shown {
            0 => "no keys match".to_owned(),
            1 => "1 key".to_owned(),
            shown => format!("{shown} keys"),
        };
        say(&format!("{keys}; {}", costs(search.cost())));
        if let Some(place) = place.filter(|_| more) {
            say(&format!("there are more: go on with --page {place}"));
        }
        Ok(ended(unreadable))
    }

    /// Everything about one key.
    async fn tell(
        &self,
        ledger: &DynamoLedger,
        mut search: Search<'_>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<ExitCode> {
        const WRITE: &str = "could not write to stdout";
        let (mut shown, mut unreadable) = (0, 0);
        let mut cost = Cost::default();
        let mut first = Some(search.next().await?);
        let (early, mut passed_over) = (search.early().await?, search.unreadable());
        if matches!(first, Some(None)) && passed_over.is_empty() && !early.is_empty() {
            self.happenings(&early, now).context(WRITE)?;
            let what = "the ledger has no entry of this key, only what happened to it";
            say(&format!("{what}; {}", costs(search.cost())));
            return Ok(ended(0));
        }
        let mut answers = Answers::begin(self.format, self.look(now), false).context(WRITE)?;
        loop {
            let entry = match first.take() {
                Some(first) => first,
                None => search.next().await?,
            };
            let mut states: Vec<_> =
                entry.map(|entry| (entry.key.clone(), Some(entry))).into_iter().collect();
            // The history of a key is told even where its state cannot be read.
            for error in passed_over.drain(..).chain(search.unreadable()) {
                match error.key() {
                    Some(key) => states.push((key, None)),
                    None => unreadable += warn(&[error]),
                }
            }
            if states.is_empty() {
                break;
            }
            for (key, entry) in states {
                let history = ledger.history(&key).await?;
                unreadable += warn(&history.unreadable);
                cost += history.cost;
                shown += 1;
                let state = history.state.or(entry).map(Row::state);
                answers.tell(state, Row::history(history.lines)).context(WRITE)?;
            }
        }
        answers.end().context(WRITE)?;
        cost += search.cost();
        let keys = match shown {
            0 if self.filters.names_a_key_and_more() => {
                "this key is not in the ledger, or the other filters pass it over"
            }
            0 => "the ledger does not know this key",
            1 => "1 key",
            _ => "keys of several accounts with this id",
        };
        say(&format!("{keys}; {}", costs(cost)));
        Ok(ended(unreadable))
    }

    /// What was tried.
    async fn tried(
        &self,
        ledger: &DynamoLedger,
        filter: &Filter,
        now: DateTime<Utc>,
    ) -> anyhow::Result<ExitCode> {
        let attempts = match ledger.attempts(filter, now).await? {
            Ok(attempts) => attempts,
            Err(too_many) => {
                say(&format!("error: {too_many}"));
                return Ok(Exit::Usage.into());
            }
        };
        let unreadable = warn(&attempts.unreadable);
        self.happenings(&attempts.found, now).context("could not write to stdout")?;
        say(&format!("{} attempts; {}", attempts.found.len(), costs(attempts.cost)));
        Ok(ended(unreadable))
    }

    /// What is no part of a key's entry.
    fn happenings(&self, found: &[Happening], now: DateTime<Utc>) -> io::Result<()> {
        match self.format {
            Format::Jsonl => super::attempts::jsonl(found),
            Format::Csv => super::attempts::csv(found),
            Format::Ocsf | Format::Asff => Answers::begin(self.format, self.look(now), false)?.end(),
            Format::Table => {
                let look = self.look(now);
                let mut table = look.table(&["LAST", "TIMES", "BY", "ACCOUNT", "USER", "FROM", "WHAT"]);
                for row in super::attempts::rows(found) {
                    table.add_row(row.values(look.times));
                }
                if found.is_empty() { Ok(()) } else { print(table, 2, &[]) }
            }
        }
    }

    async fn count(&self, mut search: Search<'_>) -> anyhow::Result<ExitCode> {
        let (mut stats, mut unreadable) = (Stats::default(), 0);
        let progress = Progress::of_items(false);
        loop {
            let entry = search.next().await;
            unreadable += progress.beside(|| warn(&search.unreadable()));
            let Some(entry) = entry? else { break };
            stats.count(&super::rows::fit_to_print(entry));
            progress.advance(1);
        }
        drop(progress);
        stats.print(self.format).context("could not write to stdout")?;
        let keys = match stats.keys() {
            0 => "no keys match".to_owned(),
            1 => "1 key".to_owned(),
            keys => format!("{keys} keys"),
        };
        say(&format!("{keys}; {}", costs(search.cost())));
        Ok(ended(unreadable))
    }

    fn look(&self, now: DateTime<Utc>) -> Look {
        let times = if self.absolute { Times::Absolute } else { Times::From(now) };
        Look { times, colour: output::wants_colour(), width: self.width.or_else(|| Table::new().width()) }
    }
}

fn costs(cost: Cost) -> String {
    let calls = if cost.calls == 1 { "call" } else { "calls" };
    format!("{} {calls}, {} read units", cost.calls, cost.units)
}

/// Says what could not be read; answers with how many items that were.
pub fn warn(unreadable: &[LedgerError]) -> usize {
    for error in unreadable {
        say(&format!("warning: {}; passed over", chain(error)));
    }
    unreadable.len()
}

/// How a command that reads ends.
pub fn ended(unreadable: usize) -> ExitCode {
    if unreadable == 0 { Exit::Done } else { Exit::Unreadable }.into()
}

/// How a table looks.
#[derive(Debug, Clone, Copy)]
struct Look {
    times: Times,
    colour: bool,
    width: Option<u16>,
}

impl Look {
    fn table(self, titles: &[&str]) -> Table {
        let mut table = output::plain_table(self.colour);
        if let Some(width) = self.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        if titles.is_empty() {
            return table;
        }
        table.set_header(titles.iter().map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
        table
    }
}

/// Prints a table. Where it is too wide, the columns `less` are left out, the first of them first, and then what
/// is behind the first `fixed` columns is wrapped.
fn print(mut table: Table, fixed: usize, less: &[usize]) -> io::Result<()> {
    const GAP: u32 = 2;
    let mut widths: Vec<_> =
        table.column_max_content_widths().iter().map(|width| u32::from(*width) + GAP).collect();
    let room = table.width().map_or(u32::MAX, u32::from);
    let mut less = less.iter();
    while widths.iter().sum::<u32>() > room
        && let Some(index) = less.next()
    {
        if let (Some(width), Some(column)) = (widths.get_mut(*index), table.column_mut(*index)) {
            *width = 0;
            column.set_constraint(ColumnConstraint::Hidden);
        }
    }
    for (index, column) in table.column_iter_mut().enumerate().take(fixed) {
        if widths.get(index).is_some_and(|width| *width > 0) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    output::write_table(&mut io::stdout().lock(), table)
}

/// Rows to a table: its columns follow the rows, so it has to end for memory to stay flat.
const ROWS: usize = 1_000;

/// Writes answers.
enum Answers {
    Table { rows: Vec<Row>, look: Look, open: bool },
    Jsonl(BufWriter<io::Stdout>),
    Csv(Box<csv::Writer<io::Stdout>>),
    Findings { to: BufWriter<io::Stdout>, finding: fn(&Entry) -> serde_json::Value, first: bool },
}

impl Answers {
    fn begin(format: Format, look: Look, open: bool) -> io::Result<Self> {
        Ok(match format {
            Format::Table => Self::Table { rows: Vec::new(), look, open },
            Format::Jsonl => Self::Jsonl(BufWriter::new(io::stdout())),
            Format::Csv => {
                let writer = output::csv_on_stdout(&Row::fields())?;
                Self::Csv(Box::new(writer))
            }
            Format::Ocsf | Format::Asff => {
                let mut to = BufWriter::new(io::stdout());
                to.write_all(b"[")?;
                let finding = if format == Format::Ocsf { findings::ocsf } else { findings::asff };
                Self::Findings { to, finding, first: true }
            }
        })
    }

    fn write(&mut self, row: Row) -> io::Result<()> {
        match self {
            Self::Table { rows, look, open } => {
                rows.push(row);
                if rows.len() == ROWS {
                    keys(rows, *look, *open)?;
                }
                Ok(())
            }
            Self::Jsonl(to) => row.write_json(to),
            Self::Csv(to) => Ok(to.write_record(row.values()?)?),
            Self::Findings { to, finding, first } => {
                to.write_all(if std::mem::take(first) { b"\n" } else { b",\n" })?;
                Ok(serde_json::to_writer(to, &finding(&row.entry))?)
            }
        }
    }

    /// One key with its history.
    fn tell(&mut self, state: Option<Row>, history: Vec<Row>) -> io::Result<()> {
        match self {
            Self::Table { look, .. } => tell(state.as_ref(), &history, *look),
            Self::Jsonl(_) | Self::Csv(_) => {
                state.into_iter().chain(history).try_for_each(|row| self.write(row))
            }
            Self::Findings { .. } => state.into_iter().try_for_each(|row| self.write(row)),
        }
    }

    fn end(self) -> io::Result<()> {
        match self {
            Self::Table { mut rows, look, open } => keys(&mut rows, look, open),
            Self::Jsonl(mut to) => to.flush(),
            Self::Csv(mut to) => to.flush(),
            Self::Findings { mut to, first, .. } => {
                to.write_all(if first { b"]\n" } else { b"\n]\n" })?;
                to.flush()
            }
        }
    }
}

fn keys(rows: &mut Vec<Row>, look: Look, open: bool) -> io::Result<()> {
    const LIFETIME: usize = 4;
    const ACCOUNT: usize = 6;
    const SERVICE: usize = 7;
    const FROM: usize = 9;
    if rows.is_empty() {
        return Ok(());
    }
    let titles = [
        "MADE",
        "KEY",
        "VERDICT",
        if open { "OPEN SINCE" } else { "OUTCOME" },
        "LIFETIME",
        "USER",
        "ACCOUNT",
        "SERVICE",
        "MADE BY",
        "FROM",
    ];
    let mut table = look.table(&titles);
    for row in rows.drain(..) {
        let entry = &row.entry;
        table.add_row(vec![
            Cell::new(look.times.tell(entry.event_time)),
            Cell::new(&entry.key.id),
            output::verdict(entry.standing),
            Cell::new(if open { look.times.tell(entry.recorded_at) } else { outcome(entry) }),
            Cell::new(output::lifetime(&entry.report())),
            Cell::new(&entry.user),
            Cell::new(&entry.key.account),
            Cell::new(short(&entry.service)),
            Cell::new(entry.actor.principal.as_deref().map_or_else(|| "-".to_owned(), who)),
            Cell::new(entry.source_ip.as_deref().unwrap_or("-")),
        ]);
    }
    // Whatever is left out is in the other formats, and in the key's own answer.
    print(table, 4, &[SERVICE, FROM, ACCOUNT, LIFETIME])
}

fn outcome(entry: &Entry) -> String {
    entry.outcome.as_str().replace('_', " ")
}

/// An ARN without what the table's other columns say, and a role of IAM Identity Center by its permission set.
pub fn who(arn: &str) -> String {
    let Some(resource) = arn.splitn(6, ':').nth(5).filter(|_| arn.starts_with("arn:")) else {
        return arn.to_owned();
    };
    match resource.split('/').collect::<Vec<_>>().as_slice() {
        ["assumed-role", role, session] => format!("{}/{session}", permission_set(role)),
        ["user", .., name] => (*name).to_owned(),
        _ => resource.to_owned(),
    }
}

fn tell(state: Option<&Row>, history: &[Row], look: Look) -> io::Result<()> {
    if let Some(state) = state {
        facts(&state.entry, look)?;
        writeln!(io::stdout().lock())?;
    }
    let mut table = look.table(&["WHEN", "WHAT", "SOURCE", "DETAIL"]);
    for row in history {
        table.add_row(vec![
            Cell::new(look.times.tell(row.at)),
            Cell::new(row.step.as_str()),
            Cell::new(row.source.as_str()),
            Cell::new(row.detail()),
        ]);
    }
    debug_assert!(history.iter().all(|row| row.step != Step::State), "a state is no history");
    print(table, 3, &[])
}

/// How a key stands.
fn facts(entry: &Entry, look: Look) -> io::Result<()> {
    let report = entry.report();
    let dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let time = |time: DateTime<Utc>| match look.times {
        Times::Absolute => look.times.tell(time),
        Times::From(_) => format!("{} ({})", Times::Absolute.tell(time), look.times.tell(time)),
    };
    let user = match &entry.former_user {
        None => entry.user.to_string(),
        Some(former) => format!("{} (formerly {former})", entry.user),
    };
    let ends = match report.expires_at {
        Some(end) => format!("{}: {}", output::lifetime(&report), time(end)),
        None => output::lifetime(&report),
    };
    let outcome = match entry.settled_at {
        _ if !entry.outcome.is_settled() => format!("{}, since {}", outcome(entry), time(entry.recorded_at)),
        None => outcome(entry),
        Some(at) => format!("{}, {}", outcome(entry), time(at)),
    };
    let facts = [
        ("key", entry.key.id.to_string()),
        ("account", entry.key.account.to_string()),
        ("user", user),
        ("service", entry.service.to_string()),
        ("made", time(entry.created_at)),
        ("ends", ends),
        ("verdict", super::rows::verdict(entry)),
        ("limit", format!("{} days (policy {})", entry.limit_days, entry.policy_sha256)),
        ("response", entry.response.to_string()),
        ("outcome", outcome),
        (
            "delete after",
            entry.delete_after.filter(|_| !entry.outcome.is_gone()).map(time).unwrap_or_default(),
        ),
        ("deleted by", entry.deleted_by.clone().unwrap_or_default()),
        ("reason", entry.reason.clone()),
        ("made by", dash(entry.actor.principal.as_deref())),
        ("identity", dash(entry.actor.kind.as_deref())),
        ("session of", dash(entry.actor.session_issuer.as_deref())),
        ("factor", factor(entry.actor.mfa).to_owned()),
        ("console", if entry.actor.console { "yes" } else { "no" }.to_owned()),
        ("from", dash(entry.source_ip.as_deref())),
        ("with", dash(entry.user_agent.as_deref())),
        ("event", dash(entry.event_id.as_ref().map(key_guard_core::key::EventId::as_str))),
        (
            "source",
            format!("{}{}", entry.source.as_str(), if entry.rehearsal { ", a rehearsal" } else { "" }),
        ),
    ];
    let mut table = look.table(&[]);
    let optional = ["delete after", "deleted by"];
    for (name, value) in
        facts.into_iter().filter(|(name, value)| !value.is_empty() || !optional.contains(name))
    {
        table.add_row(vec![Cell::new(name).add_attribute(Attribute::Bold), Cell::new(value)]);
    }
    print(table, 1, &[])
}
