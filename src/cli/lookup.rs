//! `lookup`: who created a key, for whom, from where, what was done about it, and when.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use comfy_table::{Attribute, Cell, ContentArrangement, Table};

use super::exit::{Exit, ended};
use super::filters::{Filters, short};
use super::messages::{Warnings, say};
use super::output::AnswerFormat;
use super::progress::Progress;
use super::rows::{Row, outcome_word};
use super::setup::{LedgerPlace, load_policy, runtime, to_read};
use super::stats::Stats;
use super::usage::known;
use super::verify::{self, Question};
use super::when::Times;
use super::{attempts, facts, findings, output};
use crate::clock::{Clock, SystemClock};
use crate::ledger::Cost;
use crate::ledger::audit::attempts::AuditFilter;
use crate::ledger::permission_set;
use crate::ledger::query::{Filter, FoundKey, Position, Search};
use crate::ledger::store::Ledger;
use crate::ledger::view::{KeyView, OpenIntent};
use key_guard_core::key::UserName;
use key_guard_core::remediation::Contact;
use key_guard_core::usage::KnownUse;

const WRITE: &str = "could not write to stdout";

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

/// Looks keys up in the ledger: who created them, for whom, from where, and what was done about it
///
/// Newest first. A key that is named with --key is shown with its history. Dry runs are shown beside the keys, and named
/// as such. Nothing is changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard lookup --key ACCAEXAMPLEKEY0000001
      everything about one key: how it stands, and its history
  bedrock-key-guard lookup --verdict noncompliant --since 7d
      last week's noncompliant keys
  bedrock-key-guard lookup --actor maria.lopez@example.com --ledger dynamodb:key-guard
      the keys that somebody created; a role, a permission set or an ARN will do, too
  bedrock-key-guard lookup --pending
      responses that are not executed yet, and since when
  bedrock-key-guard lookup --attempts --since 30d
      who keeps trying: calls that failed, and changes of users that a console created
  bedrock-key-guard lookup --verify AWSLogs/ --ledger dynamodb:key-guard
      what the trail's own log files have and the ledger has not, or the other way round
  bedrock-key-guard lookup --stats --since 30d
      counts, and seconds from event to assessment

Exit codes:
  0 done, whether something was found or not   1 failed   2 usage   3 --verify found a difference
  4 some items could not be read, the rest were shown")]
pub struct Lookup {
    #[command(flatten)]
    filters: Filters,

    /// Where keys are recorded: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, default_value = "file:key-guard.db", value_name = "LEDGER")]
    ledger: LedgerPlace,

    /// How answers are written to stdout
    #[arg(long, value_enum, default_value_t = AnswerFormat::Table)]
    format: AnswerFormat,

    /// How many keys to show: a number, or all
    #[arg(long, default_value = "100", value_name = "N", conflicts_with = "stats")]
    limit: Limit,

    /// Continue where a page has ended: as that page said on stderr
    #[arg(long, value_name = "PLACE", conflicts_with = "stats")]
    page: Option<Position>,

    /// Count instead: by verdict, outcome, account, user and week; seconds from event to assessment
    #[arg(long)]
    stats: bool,

    /// Show failed calls instead, counted by account, actor, call, error code and day, and changes of users that a
    /// console created for a key: by account, user, actor, service and time
    #[arg(long, conflicts_with_all = ["stats", "page", "key", "verdict", "violation", "outcome", "source_ip", "pending", "limit"])]
    attempts: bool,

    /// Whom owners of keys ask, as the remediation says: an e-mail address, a URL
    #[arg(long, value_name = "TEXT")]
    contact: Option<Contact>,

    /// Compare the ledger with CloudTrail's log files instead, files or directories: which events of keys are missing in
    /// either, and what differs; by key, account, user, service and time. It reads the history of each key of the accounts
    /// in the files. That the files are intact is for CloudTrail's digest files to show: `aws cloudtrail validate-logs`
    #[arg(long, value_name = "PATH", num_args = 1.., conflicts_with_all = ["stats", "attempts", "page", "actor", "verdict", "violation", "outcome", "source_ip", "pending", "limit", "contact"])]
    verify: Vec<PathBuf>,

    /// The policy file that says which keys the ledger should have [default: the built-in policy]
    #[arg(long, value_name = "FILE", requires = "verify")]
    policy: Option<PathBuf>,

    /// Show times in UTC, not as seen from now
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
        if (self.stats || self.attempts) && matches!(self.format, AnswerFormat::Ocsf | AnswerFormat::Asff) {
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
        if !self.verify.is_empty() {
            return self.verify(filter, note.is_some(), now);
        }
        let runtime = runtime()?;
        runtime.block_on(async {
            let store = to_read(&self.ledger).await?;
            if let Some(note) = note {
                say(&format!("note: {note}"));
            }
            if self.attempts {
                return self.show_attempts(&store, filter, now).await;
            }
            let wanted = match self.limit {
                Limit::Some(limit) if !self.stats => limit,
                Limit::Some(_) | Limit::All => usize::MAX,
            };
            let pending = filter.pending;
            let search = match Search::new(&store, filter, self.page.clone(), wanted, now) {
                Ok(search) => search,
                Err(too_many) => {
                    say(&format!("error: {too_many}"));
                    return Ok(Exit::Usage.into());
                }
            };
            if self.stats {
                self.count(search).await
            } else if names_a_key {
                self.show_key(&store, search, now).await
            } else {
                self.list(search, wanted, self.style(now, pending)).await
            }
        })
    }

    /// The time of the archive bounds the question, so no other bound is filled in.
    fn verify(self, filter: Filter, has_default_since: bool, now: DateTime<Utc>) -> anyhow::Result<ExitCode> {
        let since = filter.since.filter(|_| !has_default_since);
        let filter = Filter { since, ..filter };
        let policy = load_policy(self.policy.as_deref())?;
        let Self { verify: paths, ledger, format, .. } = self;
        verify::verify(Question { paths, ledger, policy, filter, format }, now)
    }

    async fn list(
        &self,
        mut search: Search<'_>,
        wanted: usize,
        style: TableStyle,
    ) -> anyhow::Result<ExitCode> {
        let mut answers = Answers::begin(self.format, style).context(WRITE)?;
        let (mut shown, mut unreadable, mut place) = (0_usize, 0, None);
        let mut has_more = false;
        let progress = Progress::of_items(true);
        loop {
            let found = search.next().await;
            unreadable += progress.warn_unreadable(&search.unreadable());
            let Some(FoundKey { views, .. }) = found? else { break };
            if shown == wanted {
                has_more = true;
                break;
            }
            place = search.position().cloned();
            shown += 1;
            for view in views {
                answers.write(self.row(view)).context(WRITE)?;
            }
            progress.advance(1);
        }
        drop(progress);
        answers.end().context(WRITE)?;
        say(&format!("{}; {}", count_keys(shown as u64), costs(search.cost())));
        if let Some(place) = place.filter(|_| has_more) {
            say(&format!("there are more: continue with --page {place}"));
        }
        Ok(ended(unreadable))
    }

    /// Everything about one key.
    async fn show_key(
        &self,
        store: &Ledger,
        mut search: Search<'_>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<ExitCode> {
        let (mut shown, mut unreadable) = (0, 0);
        let mut answers = Answers::begin(self.format, self.style(now, false)).context(WRITE)?;
        let mut cost = Cost::default();
        let (mut keys, warnings) = (Vec::<FoundKey>::new(), Warnings::default());
        while let Some(found) = search.next().await? {
            keys.push(found);
        }
        // The history of a key is shown even where its state cannot be read.
        for error in search.unreadable() {
            match error.key() {
                Some(key) if keys.iter().any(|found| found.key == key) => {}
                Some(key) => keys.push(FoundKey { key, views: Vec::new() }),
                None => unreadable += warnings.warn_unreadable(&[error]),
            }
        }
        for FoundKey { key, views } in keys {
            let history = store.history(&key).await?;
            unreadable += warnings.warn_unreadable(&history.unreadable);
            cost += history.cost;
            shown += 1;
            let uses = known::of_key(store, &views, &mut cost).await;
            unreadable += warnings.warn_unreadable(&uses.unreadable);
            let first = views.first();
            let lines: Vec<_> =
                history.lines.into_iter().map(|line| Row::log_line(&key, first, line)).collect();
            let keys = views.iter().cloned().map(|view| self.row(view)).collect();
            answers.write_key(keys, uses.known, lines).context(WRITE)?;
        }
        drop(warnings);
        answers.end().context(WRITE)?;
        cost += search.cost();
        let keys = match shown {
            0 if self.filters.names_a_key_and_more() => {
                "this key is not in the ledger, or the other filters exclude it"
            }
            0 => "this key is not in the ledger",
            1 => "1 key",
            _ => "keys of several accounts with this id",
        };
        say(&format!("{keys}; {}", costs(cost)));
        Ok(ended(unreadable))
    }

    async fn show_attempts(
        &self,
        store: &Ledger,
        filter: Filter,
        now: DateTime<Utc>,
    ) -> anyhow::Result<ExitCode> {
        let Filter { account, user, actor, service, since, until, .. } = filter;
        if user.is_some() && account.is_none() && actor.is_none() && since.is_none() {
            say("note: attempts of the last 90 days are searched; --since says how far back to go");
        }
        let filter = AuditFilter { account, user, actor, service, since, until };
        let records = match store.audit_records(&filter, now).await? {
            Ok(records) => records,
            Err(too_many) => {
                say(&format!("error: {too_many}"));
                return Ok(Exit::Usage.into());
            }
        };
        let unreadable = Warnings::default().warn_unreadable(&records.unreadable);
        let rows: Vec<_> = records.found.iter().map(Row::audit_record).collect();
        let count: u64 = rows.iter().filter_map(Row::audit).map(|audit| audit.count).sum();
        let said = format!("{count} attempts in {} rows; {}", rows.len(), costs(records.cost));
        let style = self.style(now, false);
        if self.format == AnswerFormat::Table {
            print_attempts(&rows, style).context(WRITE)?;
        } else {
            let mut answers = Answers::begin(self.format, style).context(WRITE)?;
            rows.into_iter().try_for_each(|row| answers.write(row)).context(WRITE)?;
            answers.end().context(WRITE)?;
        }
        say(&said);
        Ok(ended(unreadable))
    }

    async fn count(&self, mut search: Search<'_>) -> anyhow::Result<ExitCode> {
        let (mut stats, mut unreadable) = (Stats::default(), 0);
        let progress = Progress::of_items(false);
        loop {
            let found = search.next().await;
            unreadable += progress.warn_unreadable(&search.unreadable());
            let Some(found) = found? else { break };
            // A key that has a state is not counted by its dry run, too.
            if let Some(view) = found.views.into_iter().next() {
                stats.count(&super::rows::fit_to_print(view));
            }
            progress.advance(1);
        }
        drop(progress);
        stats.print(self.format).context(WRITE)?;
        say(&format!("{}; {}", count_keys(stats.keys()), costs(search.cost())));
        Ok(ended(unreadable))
    }

    fn row(&self, view: KeyView) -> Row {
        Row::key(view.with_contact(self.contact.as_ref()))
    }

    fn style(&self, now: DateTime<Utc>, pending: bool) -> TableStyle {
        let times = if self.absolute { Times::Absolute } else { Times::From(now) };
        let width = self.width.or_else(|| Table::new().width());
        TableStyle { times, colour: output::wants_colour(), width, pending }
    }
}

fn count_keys(keys: u64) -> String {
    match keys {
        0 => "no keys match".to_owned(),
        1 => "1 key".to_owned(),
        keys => format!("{keys} keys"),
    }
}

fn costs(cost: Cost) -> String {
    let calls = if cost.calls == 1 { "call" } else { "calls" };
    format!("{} {calls}, {} read units", cost.calls, cost.units)
}

/// How a table looks.
#[derive(Debug, Clone, Copy)]
struct TableStyle {
    times: Times,
    colour: bool,
    width: Option<u16>,
    /// Whether it is about pending responses.
    pending: bool,
}

impl TableStyle {
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

/// Rows to a table: its columns follow the rows, so it has to end for memory to stay flat.
const ROWS: usize = 1_000;

/// Writes answers.
enum Answers {
    Table { rows: Vec<Row>, style: TableStyle },
    Jsonl(BufWriter<io::Stdout>),
    Csv(Box<csv::Writer<io::Stdout>>),
    Findings { to: BufWriter<io::Stdout>, finding: fn(&KeyView) -> serde_json::Value, first: bool },
}

impl Answers {
    fn begin(format: AnswerFormat, style: TableStyle) -> io::Result<Self> {
        Ok(match format {
            AnswerFormat::Table => Self::Table { rows: Vec::new(), style },
            AnswerFormat::Jsonl => Self::Jsonl(BufWriter::new(io::stdout())),
            AnswerFormat::Csv => {
                let writer = output::csv_on_stdout(&Row::fields())?;
                Self::Csv(Box::new(writer))
            }
            AnswerFormat::Ocsf | AnswerFormat::Asff => {
                let mut to = BufWriter::new(io::stdout());
                to.write_all(b"[")?;
                let finding = if format == AnswerFormat::Ocsf { findings::ocsf } else { findings::asff };
                Self::Findings { to, finding, first: true }
            }
        })
    }

    fn write(&mut self, row: Row) -> io::Result<()> {
        match self {
            Self::Table { rows, style } => {
                rows.push(row);
                if rows.len() >= ROWS {
                    print_keys(rows, *style)?;
                }
                Ok(())
            }
            Self::Jsonl(to) => row.write_json(to),
            Self::Csv(to) => Ok(to.write_record(row.values()?)?),
            Self::Findings { to, finding, first } => {
                let Some(view) = row.view() else { return Ok(()) };
                to.write_all(if std::mem::take(first) { b"\n" } else { b",\n" })?;
                Ok(serde_json::to_writer(to, &finding(view))?)
            }
        }
    }

    /// One key with its dry run, the use of its user's keys, and its history.
    fn write_key(&mut self, keys: Vec<Row>, uses: Vec<KnownUse>, history: Vec<Row>) -> io::Result<()> {
        match self {
            Self::Table { style, .. } => print_key(&keys, &uses, &history, *style),
            Self::Jsonl(_) | Self::Csv(_) | Self::Findings { .. } => {
                let uses = uses.into_iter().map(Row::used);
                keys.into_iter().chain(uses).chain(history).try_for_each(|row| self.write(row))
            }
        }
    }

    fn end(self) -> io::Result<()> {
        match self {
            Self::Table { mut rows, style } => print_keys(&mut rows, style),
            Self::Jsonl(mut to) => to.flush(),
            Self::Csv(mut to) => to.flush(),
            Self::Findings { mut to, first, .. } => {
                to.write_all(if first { b"]\n" } else { b"\n]\n" })?;
                to.flush()
            }
        }
    }
}

fn print_keys(rows: &mut Vec<Row>, style: TableStyle) -> io::Result<()> {
    const LIFETIME: usize = 4;
    const ACCOUNT: usize = 6;
    const SERVICE: usize = 7;
    const FROM: usize = 9;
    if rows.is_empty() {
        return Ok(());
    }
    let titles = [
        "CREATED",
        "KEY",
        "VERDICT",
        if style.pending { "PENDING SINCE" } else { "OUTCOME" },
        "LIFETIME",
        "USER",
        "ACCOUNT",
        "SERVICE",
        "CREATED BY",
        "FROM",
    ];
    let mut table = style.table(&titles);
    for row in rows.drain(..) {
        if let Some(view) = row.view() {
            table.add_row(cells(view, style));
        }
    }
    // Whatever is left out is in the other formats, and in the answer about the key itself.
    output::print_table(table, 4, &[SERVICE, FROM, ACCOUNT, LIFETIME])
}

fn cells(view: &KeyView, style: TableStyle) -> Vec<Cell> {
    let dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let (report, creation) = (&view.report, view.creation.as_ref());
    let outcome = match view.intent {
        Some(OpenIntent { since, .. }) if style.pending => style.times.tell(since),
        Some(_) | None => outcome_word(view).replace('_', " "),
    };
    vec![
        Cell::new(style.times.tell(view.at)),
        Cell::new(&view.key.id),
        report.verdict.map_or_else(|| Cell::new("-"), output::verdict),
        Cell::new(outcome),
        Cell::new(lifetime(view)),
        Cell::new(dash(report.user.as_ref().map(UserName::as_str))),
        Cell::new(&view.key.account),
        Cell::new(dash(report.service.as_ref().map(short))),
        Cell::new(
            creation.and_then(|event| event.actor.principal.as_deref()).map_or_else(|| dash(None), who),
        ),
        Cell::new(dash(creation.and_then(|event| event.source_ip.as_deref()))),
    ]
}

/// How long a key lives. Nothing is known of a key without a verdict.
fn lifetime(view: &KeyView) -> String {
    if view.report.verdict.is_some() { output::lifetime(&view.report) } else { "-".to_owned() }
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

fn print_attempts(rows: &[Row], style: TableStyle) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = style.table(&attempts::TITLES);
    for cells in rows.iter().filter_map(|row| attempts::cells(row, style.times)) {
        table.add_row(cells);
    }
    output::print_table(table, 3, &attempts::LESS)
}

fn print_key(keys: &[Row], uses: &[KnownUse], history: &[Row], style: TableStyle) -> io::Result<()> {
    for (index, view) in keys.iter().filter_map(Row::view).enumerate() {
        if index > 0 {
            writeln!(io::stdout().lock())?;
        }
        print_facts(view, uses, style)?;
    }
    if history.is_empty() {
        return Ok(());
    }
    if !keys.is_empty() {
        writeln!(io::stdout().lock())?;
    }
    let mut table = style.table(&["WHEN", "WHAT", "CAUSE", "DETAIL"]);
    for row in history {
        table.add_row(vec![
            Cell::new(style.times.tell(row.at)),
            Cell::new(row.line),
            Cell::new(row.cause.unwrap_or("-")),
            Cell::new(row.detail()),
        ]);
    }
    output::print_table(table, 3, &[])
}

/// How a key stands, or what a dry run says of it. Facts that are not known are left out.
fn print_facts(view: &KeyView, uses: &[KnownUse], style: TableStyle) -> io::Result<()> {
    let mut table = style.table(&[]);
    let uses = uses.iter().map(|known| ("used", Some(known::describe(known, style.times))));
    for (name, value) in facts::of_key(view, style.times).into_iter().chain(uses) {
        if let Some(value) = value {
            table.add_row(vec![Cell::new(name).add_attribute(Attribute::Bold), Cell::new(value)]);
        }
    }
    output::print_table(table, 1, &[])
}
