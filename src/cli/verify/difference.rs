//! What differs between the ledger and an archive, and how it is printed.

use std::io::{self, BufWriter, Write as _};

use comfy_table::{Attribute, Cell};
use serde::Serialize;

use crate::cli::output::{
    self, AnswerFormat, Stdout, csv_on_stdout, plain_table, stdout, wants_colour, write_table,
};
use key_guard_core::cloudtrail::Provenance;
use key_guard_core::key::{AccountId, CredentialId, EventId, KeyRef};
use key_guard_core::time::rfc3339;

/// How ledger and archive differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DifferenceKind {
    /// The archive has an event of a key, and the ledger has not.
    NotInLedger,
    /// The ledger has a key or an event of it, and the archive has not that event.
    NotInArchive,
    /// Both have the creation of the key, and say different things of it.
    Differs,
}

/// Something that differs. Every field is always there.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Difference {
    #[serde(rename = "difference")]
    kind: DifferenceKind,
    account: AccountId,
    credential_id: CredentialId,
    /// What happened: created, activated, reset, deactivated, deleted.
    event: &'static str,
    event_id: Option<EventId>,
    event_time: Option<String>,
    /// What differs.
    field: Option<&'static str>,
    /// What the ledger says.
    ledger: Option<String>,
    /// What the archive says.
    archive: Option<String>,
}

const FIELDS: [&str; 9] = [
    "difference",
    "account",
    "credential_id",
    "event",
    "event_id",
    "event_time",
    "field",
    "ledger",
    "archive",
];

impl Difference {
    fn new(kind: DifferenceKind, key: &KeyRef, event: &'static str, provenance: Option<&Provenance>) -> Self {
        Self {
            kind,
            account: key.account.clone(),
            credential_id: key.id.clone(),
            event,
            event_id: provenance.map(|event| event.event_id.clone()),
            event_time: provenance.map(|event| rfc3339(event.event_time)),
            field: None,
            ledger: None,
            archive: None,
        }
    }

    /// An event that the ledger does not have.
    pub(super) fn not_in_ledger(key: &KeyRef, event: &'static str, provenance: &Provenance) -> Self {
        Self::new(DifferenceKind::NotInLedger, key, event, Some(provenance))
    }

    /// An event that the archive does not have. `provenance` is what the ledger has of it: of a creation perhaps nothing.
    pub(super) fn not_in_archive(key: &KeyRef, event: &'static str, provenance: Option<&Provenance>) -> Self {
        Self::new(DifferenceKind::NotInArchive, key, event, provenance)
    }

    /// A field of a creation. `None`: there is no value.
    pub(super) fn of_field(
        key: &KeyRef,
        creation: &Provenance,
        field: &'static str,
        [ledger, archive]: [Option<String>; 2],
    ) -> Self {
        let difference = Self::new(DifferenceKind::Differs, key, "created", Some(creation));
        Self { field: Some(field), ledger, archive, ..difference }
    }
}

/// Writes differences to stdout, as they are found.
pub(super) enum Differences {
    Table(Vec<Difference>),
    Jsonl(BufWriter<Stdout>),
    Csv(Box<csv::Writer<Stdout>>),
}

/// Rows to a table.
const ROWS: usize = 1_000;

impl Differences {
    /// Begins the output. `None`: this format is for findings.
    pub(super) fn begin(format: AnswerFormat) -> io::Result<Option<Self>> {
        Ok(match format {
            AnswerFormat::Table => Some(Self::Table(Vec::new())),
            AnswerFormat::Jsonl => Some(Self::Jsonl(BufWriter::new(stdout()))),
            AnswerFormat::Csv => Some(Self::Csv(Box::new(csv_on_stdout(&FIELDS)?))),
            AnswerFormat::Ocsf | AnswerFormat::Asff => None,
        })
    }

    pub(super) fn write(&mut self, difference: Difference) -> io::Result<()> {
        match self {
            Self::Table(rows) => {
                rows.push(difference);
                if rows.len() == ROWS { print(rows) } else { Ok(()) }
            }
            Self::Jsonl(to) => {
                serde_json::to_writer(&mut *to, &difference)?;
                to.write_all(b"\n")
            }
            Self::Csv(to) => {
                Ok(to.write_record(output::values(&serde_json::to_value(difference)?, &FIELDS))?)
            }
        }
    }

    pub(super) fn end(self) -> io::Result<()> {
        match self {
            Self::Table(mut rows) => print(&mut rows),
            Self::Jsonl(mut to) => to.flush(),
            Self::Csv(mut to) => to.flush(),
        }
    }
}

fn print(rows: &mut Vec<Difference>) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = plain_table(wants_colour());
    let titles = ["DIFFERENCE", "KEY", "ACCOUNT", "EVENT", "AT", "FIELD", "LEDGER", "ARCHIVE"];
    table.set_header(titles.map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
    for row in rows.drain(..) {
        let kind = match row.kind {
            DifferenceKind::NotInLedger => "not in the ledger",
            DifferenceKind::NotInArchive => "not in the archive",
            DifferenceKind::Differs => "differs",
        };
        let dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.add_row([
            kind.to_owned(),
            row.credential_id.to_string(),
            row.account.to_string(),
            row.event.to_owned(),
            dash(row.event_time),
            dash(row.field.map(str::to_owned)),
            dash(row.ledger),
            dash(row.archive),
        ]);
    }
    write_table(&mut stdout(), table)
}
