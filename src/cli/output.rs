//! Reports on stdout: a table for people, JSON lines and CSV for scripts.

use std::io::{self, IsTerminal as _, Write};

use anstream::ColorChoice;
use comfy_table::{Color, ContentArrangement, Table, presets};

use super::grid::{Fit, Grid, GridCell, GridColumn};
use super::lookup::who;
use key_guard_core::cloudtrail::{EventKind, SetStatus};
use key_guard_core::key::{AccountId, CredentialId, UserName, describe_days};
use key_guard_core::policy::{Response, Verdict};
use key_guard_core::report::{Outcome, Report};

/// Stdout, as every command writes to it. Once its reader has gone away (`| head`), printing does nothing: a command does what
/// it was told to do all the same, and its exit code stays what it is.
#[derive(Debug)]
pub struct Stdout(io::Stdout);

/// To write results to.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may write to stdout")]
pub fn stdout() -> Stdout {
    Stdout(io::stdout())
}

impl Stdout {
    /// True if people see it at once.
    pub fn is_terminal(&self) -> bool {
        self.0.is_terminal()
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        unless_closed(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        unless_closed(self.0.flush(), ())
    }
}

/// `done`: what writing returns where nobody reads.
fn unless_closed<T>(written: io::Result<T>, done: T) -> io::Result<T> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(done),
        written => written,
    }
}

/// How reports are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Judged keys, for people.
    Table,
    /// One report to a line, for scripts.
    Jsonl,
    /// The same fields under a header.
    Csv,
}

/// How the answers of `lookup` are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AnswerFormat {
    /// For people.
    Table,
    /// One row a line, for scripts.
    Jsonl,
    /// The same columns under a header.
    Csv,
    /// OCSF Detection Findings (class 2004), in a JSON array.
    Ocsf,
    /// Findings for Security Hub's `BatchImportFindings`, in a JSON array.
    Asff,
}

/// Rows to a table. Column widths follow the rows, so a table has to end for memory to stay flat.
const ROWS: usize = 1_000;

/// What a table says of a key beside its report.
pub enum Beside {
    /// What happened to it, as [`event_word`] has it. `None`: it was looked up.
    Event(Option<&'static str>),
    /// What a sweep says.
    Swept {
        /// What is new about it.
        change: &'static str,
        /// Who created it.
        created_by: String,
    },
}

/// What happened to a key, as IAM's verbs say it. `None`: the event is about no key.
pub const fn event_word(kind: &EventKind) -> Option<&'static str> {
    match kind {
        EventKind::Created(_) => Some("created"),
        EventKind::StatusChanged { status: SetStatus::Active, .. } => Some("activated"),
        EventKind::StatusChanged { status: SetStatus::Inactive, .. } => Some("deactivated"),
        EventKind::SecretReset(_) => Some("reset"),
        EventKind::Deleted(_) => Some("deleted"),
        EventKind::Failed(_) | EventKind::UserChanged(_) => None,
    }
}

/// Writes reports.
pub enum Reports {
    /// See [`Format::Table`].
    Table {
        /// What is still to be written. All of it is of one command.
        rows: Vec<(Beside, Report)>,
        /// How wide a table may be.
        width: Option<u16>,
    },
    /// See [`Format::Jsonl`].
    Jsonl(Box<dyn Write>),
    /// See [`Format::Csv`].
    Csv(Box<csv::Writer<Stdout>>),
}

impl Reports {
    /// Begins the output. A table has so many columns at most; `None`: as many as the terminal.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn begin(format: Format, width: Option<u16>) -> io::Result<Self> {
        Ok(match format {
            Format::Table => Self::Table { rows: Vec::new(), width: width.or_else(|| Table::new().width()) },
            Format::Jsonl => Self::Jsonl(Box::new(io::BufWriter::new(stdout()))),
            Format::Csv => {
                let writer = csv_on_stdout(&Report::FIELDS)?;
                Self::Csv(Box::new(writer))
            }
        })
    }

    /// Takes one report, with what else is said to those who read a table.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn write(&mut self, beside: Beside, report: Report) -> io::Result<()> {
        match self {
            Self::Table { rows, width } => {
                if report.verdict.is_some() {
                    rows.push((beside, report));
                }
                if rows.len() == ROWS {
                    table(rows, *width)?;
                }
                Ok(())
            }
            Self::Jsonl(to) => {
                serde_json::to_writer(&mut *to, &report)?;
                to.write_all(b"\n")
            }
            Self::Csv(to) => Ok(to.write_record(fields(&report)?)?),
        }
    }

    /// Writes the lines that were taken so far. A table has none before its widths are known.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Table { .. } => Ok(()),
            Self::Jsonl(to) => to.flush(),
            Self::Csv(to) => to.flush(),
        }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// When stdout cannot be written.
    pub fn end(self) -> io::Result<()> {
        match self {
            Self::Table { mut rows, width } => table(&mut rows, width),
            Self::Jsonl(mut to) => to.flush(),
            Self::Csv(mut to) => to.flush(),
        }
    }
}

/// CSV on stdout, with its header. Texts are quoted, numbers are not.
///
/// # Errors
/// When stdout cannot be written.
pub fn csv_on_stdout(fields: &[&str]) -> io::Result<csv::Writer<Stdout>> {
    let mut builder = csv::WriterBuilder::new();
    let mut writer = builder.quote_style(csv::QuoteStyle::NonNumeric).from_writer(stdout());
    writer.write_record(fields)?;
    Ok(writer)
}

/// A report as CSV.
fn fields(report: &Report) -> io::Result<Vec<String>> {
    Ok(values(&serde_json::to_value(report)?, &Report::FIELDS))
}

/// An object as CSV: the values of its fields; `null` is empty. A text that a spreadsheet would take for a
/// formula gets an apostrophe in front.
pub fn values(object: &serde_json::Value, fields: &[&str]) -> Vec<String> {
    fields
        .iter()
        .map(|field| match object.get(field) {
            None | Some(serde_json::Value::Null) => String::new(),
            Some(serde_json::Value::String(text))
                if text.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']) =>
            {
                format!("'{text}")
            }
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        })
        .collect()
}

/// The columns of judged keys.
const COLUMNS: [GridColumn; 9] = [
    ("KEY", Fit::Whole),
    ("USER", Fit::Shortened),
    ("ACCOUNT", Fit::Whole),
    ("SERVICE", Fit::Whole),
    ("CREATED (UTC)", Fit::Whole),
    ("LIFETIME", Fit::Whole),
    ("VERDICT", Fit::Whole),
    ("RESPONSE", Fit::Whole),
    ("CREATED BY", Fit::Shortened),
];

/// The columns of events, and what is left out of them where there is no room, the first of them first.
const EVENT_COLUMNS: [GridColumn; 10] = {
    let [key, user, account, service, created, lifetime, verdict, response, created_by] = COLUMNS;
    [key, ("EVENT", Fit::Whole), user, account, service, created, lifetime, verdict, response, created_by]
};
const EVENT_LESS: [usize; 5] = [4, 5, 9, 1, 6];

/// The columns of swept keys, and what is left out of them.
const SWEPT_COLUMNS: [GridColumn; 10] = {
    let [key, user, account, service, created, lifetime, verdict, response, created_by] = COLUMNS;
    [("CHANGE", Fit::Whole), account, key, user, service, created, lifetime, verdict, response, created_by]
};
const SWEPT_LESS: [usize; 4] = [4, 5, 9, 6];

fn table(rows: &mut Vec<(Beside, Report)>, width: Option<u16>) -> io::Result<()> {
    let is_swept = rows.iter().any(|(beside, _)| matches!(beside, Beside::Swept { .. }));
    let mut grid = if is_swept {
        Grid::new(&SWEPT_COLUMNS, &SWEPT_LESS)
    } else {
        Grid::new(&EVENT_COLUMNS, &EVENT_LESS)
    };
    for (beside, report) in rows.drain(..) {
        let mut row = row(&report);
        match beside {
            Beside::Event(event) => row.insert(1, event.unwrap_or("-").into()),
            Beside::Swept { change, created_by } => {
                row.pop();
                row.push(created_by.into());
                let account = row.remove(2);
                row.splice(0..0, [change.into(), account]);
            }
        }
        grid.push(row);
    }
    grid.print(width)
}

/// Whether stdout is to be coloured.
pub fn wants_colour() -> bool {
    anstream::AutoStream::choice(&stdout().0) != ColorChoice::Never
}

/// A table without lines, as wide as what is in it.
pub fn plain_table(colour: bool) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table
}

/// Writes a table, without white space behind its lines.
///
/// # Errors
/// When it cannot be written.
pub fn write_table(out: &mut impl Write, mut table: Table) -> io::Result<()> {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().try_for_each(|line| writeln!(out, "{}", line.trim_end()))
}

fn row(report: &Report) -> Vec<GridCell> {
    let text = |text: Option<&str>| text.unwrap_or("-").into();
    let service = report.service.as_ref().map(|service| service.as_str().trim_end_matches(".amazonaws.com"));
    let created = report.created_at.map(|time| time.format("%Y-%m-%d %H:%M").to_string());
    vec![
        text(report.credential_id.as_ref().map(CredentialId::as_str)),
        text(report.user.as_ref().map(UserName::as_str)),
        text(report.account.as_ref().map(AccountId::as_str)),
        text(service),
        text(created.as_deref()),
        lifetime(report).into(),
        verdict(report.verdict),
        response(report).into(),
        report.creator.as_deref().map_or_else(|| "-".to_owned(), who).into(),
    ]
}

/// A verdict in its colour.
pub fn verdict(verdict: Option<Verdict>) -> GridCell {
    let Some(verdict) = verdict else { return "-".into() };
    let colour = match verdict {
        Verdict::Compliant => Color::Green,
        Verdict::Exempt => Color::Cyan,
        Verdict::Noncompliant => Color::Red,
        Verdict::Undetermined => Color::Yellow,
    };
    GridCell { text: verdict.as_str().to_owned(), colour: Some(colour) }
}

/// How long a key lives, in words.
pub fn lifetime(report: &Report) -> String {
    match (report.verdict, report.created_at, report.expires_at) {
        (Some(Verdict::Undetermined), _, None) => "unreadable".to_owned(),
        (_, Some(created_at), Some(expires_at)) => describe_days(expires_at - created_at),
        (_, _, _) => "never expires".to_owned(),
    }
}

/// What the key would get; for a key that was acted upon, what became of it.
fn response(report: &Report) -> String {
    match report.outcome {
        Outcome::Ignored | Outcome::Recorded | Outcome::Monitored => match report.response {
            Response::None => "-".to_owned(),
            // It is the same in a dry run and with --apply.
            Response::Monitor => "monitor".to_owned(),
            response @ (Response::Deactivate | Response::Quarantine | Response::Delete) => {
                format!("would {}", response.as_str())
            }
        },
        Outcome::Deactivated if report.response == Response::Quarantine => "quarantined".to_owned(),
        Outcome::AlreadyInactive
        | Outcome::AlreadyGone
        | Outcome::Deactivated
        | Outcome::Gone
        | Outcome::Deleted => report.outcome.as_str().replace('_', " "),
    }
}
