//! Items as Apache Parquet: a row for each, with the columns of a history row. What is no part of a key's entry, such as
//! a call that was refused, leaves the columns empty that only keys have.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;

use crate::ledger::happening::Happening;
use crate::ledger::merge::Any;
use crate::ledger::{Entry, Kind, Word};
use key_guard_core::cloudtrail::Actor;
use key_guard_core::key::{Expiration, Lifetime};
use key_guard_core::policy::Violation;

/// Rows that are held until they are written as a group.
const GROUP: usize = 20_000;

const WRITE: &str = "could not write the output";

/// An item, ready to be written.
enum Row {
    Key { kind: Kind, at: Option<DateTime<Utc>>, entry: Box<Entry> },
    Happening { at: Option<DateTime<Utc>>, happening: Box<Happening> },
}

impl Row {
    fn of(item: &Any) -> Result<Self, String> {
        Ok(match item {
            Any::Key(record) => {
                Self::Key { kind: record.kind(), at: record.at(), entry: Box::new(record.entry()?) }
            }
            Any::Happening(remembered) => {
                let happening = remembered.happening();
                // A key that was deleted before it was known: its state, and no line.
                let at = (happening.kind != Kind::Early).then_some(happening.event_time);
                Self::Happening { at, happening: Box::new(happening) }
            }
        })
    }

    /// What only a key's entry has.
    fn entry<T>(&self, of: impl FnOnce(&Entry) -> T) -> Option<T> {
        match self {
            Self::Key { entry, .. } => Some(of(entry)),
            Self::Happening { .. } => None,
        }
    }

    /// What both have.
    fn both<T>(&self, of_key: impl FnOnce(&Entry) -> T, of_other: impl FnOnce(&Happening) -> T) -> T {
        match self {
            Self::Key { entry, .. } => of_key(entry),
            Self::Happening { happening, .. } => of_other(happening),
        }
    }

    fn actor(&self) -> &Actor {
        match self {
            Self::Key { entry, .. } => &entry.actor,
            Self::Happening { happening, .. } => &happening.actor,
        }
    }
}

/// How a column's values are found in a row.
enum Column {
    Text(fn(&Row) -> Option<String>),
    /// Milliseconds since 1970, UTC.
    Time(fn(&Row) -> Option<DateTime<Utc>>),
    Flag(fn(&Row) -> Option<bool>),
    Count(fn(&Row) -> Option<i32>),
    Number(fn(&Row) -> Option<f64>),
}

const COLUMNS: [(&str, Column); 34] = [
    (
        "kind",
        Column::Text(|row| {
            Some(match row {
                Row::Key { kind, .. } => kind.as_str().to_owned(),
                Row::Happening { happening, .. } => happening.kind.as_str().to_owned(),
            })
        }),
    ),
    (
        "at",
        Column::Time(|row| match row {
            Row::Key { at, .. } | Row::Happening { at, .. } => *at,
        }),
    ),
    (
        "source",
        Column::Text(|row| Some(row.both(|key| key.source, |other| other.source).as_str().to_owned())),
    ),
    (
        "account",
        Column::Text(|row| {
            Some(row.both(|key| key.key.account.to_string(), |other| other.account.to_string()))
        }),
    ),
    (
        "service",
        Column::Text(|row| {
            row.both(|key| Some(key.service.clone()), |other| other.service.clone()).map(|it| it.to_string())
        }),
    ),
    (
        "user",
        Column::Text(|row| row.both(|key| Some(key.user.to_string()), |other| text(other.user.as_ref()))),
    ),
    ("former_user", Column::Text(|row| row.entry(|key| text(key.former_user.as_ref()))?)),
    (
        "credential_id",
        Column::Text(|row| {
            row.both(|key| Some(key.key.id.to_string()), |other| text(other.credential_id.as_ref()))
        }),
    ),
    ("created_at", Column::Time(|row| row.entry(|key| key.created_at))),
    (
        "expires_at",
        Column::Time(|row| match row.entry(|key| key.expiration)? {
            Some(Expiration::At(end)) => Some(end),
            Some(Expiration::Never) | None => None,
        }),
    ),
    (
        "never_expires",
        Column::Flag(|row| row.entry(|key| key.expiration.map(|end| end == Expiration::Never))?),
    ),
    ("lifetime_days", Column::Number(|row| row.entry(lifetime_days)?)),
    ("limit_days", Column::Count(|row| row.entry(|key| i32::try_from(key.limit_days).unwrap_or(i32::MAX)))),
    ("verdict", Column::Text(|row| row.entry(|key| key.standing.as_str().to_owned()))),
    (
        "violation",
        Column::Text(|row| row.entry(|key| key.violation.map(Violation::as_str).map(str::to_owned))?),
    ),
    ("response", Column::Text(|row| row.entry(|key| key.response.as_str().to_owned()))),
    ("outcome", Column::Text(|row| row.entry(|key| key.outcome.as_str().to_owned()))),
    ("reason", Column::Text(|row| Some(row.both(|key| key.reason.clone(), |other| other.what.clone())))),
    ("actor", Column::Text(|row| row.actor().principal.clone())),
    ("actor_type", Column::Text(|row| row.actor().kind.clone())),
    ("session_issuer", Column::Text(|row| row.actor().session_issuer.clone())),
    ("mfa", Column::Flag(|row| row.actor().mfa)),
    ("console", Column::Flag(|row| Some(row.actor().console))),
    ("source_ip", Column::Text(|row| row.both(|key| key.source_ip.clone(), |other| other.source_ip.clone()))),
    (
        "user_agent",
        Column::Text(|row| row.both(|key| key.user_agent.clone(), |other| other.user_agent.clone())),
    ),
    (
        "event_id",
        Column::Text(|row| {
            row.both(|key| text(key.event_id.as_ref()), |other| Some(other.event_id.to_string()))
        }),
    ),
    ("event_time", Column::Time(|row| Some(row.both(|key| key.event_time, |other| other.event_time)))),
    ("policy_sha256", Column::Text(|row| row.entry(|key| key.policy_sha256.clone()))),
    ("rehearsal", Column::Flag(|row| row.entry(|key| key.rehearsal))),
    ("recorded_at", Column::Time(|row| Some(row.both(|key| key.recorded_at, |other| other.recorded_at)))),
    (
        "iam_says",
        Column::Text(|row| {
            row.entry(|key| key.confirmed.map(|confirmed| word(confirmed.word).to_owned()))?
        }),
    ),
    ("confirmed_at", Column::Time(|row| row.entry(|key| key.confirmed.map(|confirmed| confirmed.at))?)),
    ("acted_at", Column::Time(|row| row.entry(|key| key.acted_at)?)),
    ("settled_at", Column::Time(|row| row.entry(|key| key.settled_at)?)),
];

fn text(value: Option<&impl ToString>) -> Option<String> {
    value.map(ToString::to_string)
}

const fn word(word: Word) -> &'static str {
    match word {
        Word::Active => "active",
        Word::Inactive => "inactive",
        Word::Expired => "expired",
        Word::NotListed => "not_listed",
    }
}

fn lifetime_days(entry: &Entry) -> Option<f64> {
    match Lifetime::of(entry.created_at, entry.expiration?) {
        Lifetime::Never => None,
        #[expect(clippy::cast_precision_loss, reason = "a century in milliseconds is far below 2^52")]
        Lifetime::Ends(lives) => Some(lives.num_milliseconds() as f64 / 86_400_000.0),
    }
}

/// Writes items.
pub struct Parquet {
    writer: SerializedFileWriter<Box<dyn Write + Send>>,
    rows: Vec<Row>,
}

impl Parquet {
    /// Begins a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(to: Box<dyn Write + Send>) -> anyhow::Result<Self> {
        let mut schema = String::from("message keys {\n");
        for (name, column) in &COLUMNS {
            let column = match column {
                Column::Text(_) => format!("OPTIONAL BYTE_ARRAY {name} (STRING);\n"),
                Column::Time(_) => format!("OPTIONAL INT64 {name} (TIMESTAMP(MILLIS, true));\n"),
                Column::Flag(_) => format!("OPTIONAL BOOLEAN {name};\n"),
                Column::Count(_) => format!("OPTIONAL INT32 {name};\n"),
                Column::Number(_) => format!("OPTIONAL DOUBLE {name};\n"),
            };
            schema.push_str(&column);
        }
        schema.push('}');
        let schema = Arc::new(parse_message_type(&schema)?);
        let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
        let writer = SerializedFileWriter::new(to, schema, properties).context(WRITE)?;
        Ok(Self { writer, rows: Vec::new() })
    }

    /// Takes one item.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, item: &Any) -> anyhow::Result<()> {
        self.rows.push(Row::of(item).map_err(anyhow::Error::msg)?);
        if self.rows.len() == GROUP { self.group() } else { Ok(()) }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.group()?;
        self.writer.into_inner().context(WRITE)?.flush().context(WRITE)
    }

    fn group(&mut self) -> anyhow::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut group = self.writer.next_row_group().context(WRITE)?;
        let mut columns = COLUMNS.iter();
        while let Some(mut column) = group.next_column().context(WRITE)? {
            let (_, values) = columns.next().context("the schema has more columns than there are")?;
            values.write(&self.rows, &mut column).context(WRITE)?;
            column.close().context(WRITE)?;
        }
        group.close().context(WRITE)?;
        self.rows.clear();
        Ok(())
    }
}

impl Column {
    fn write(&self, rows: &[Row], to: &mut SerializedColumnWriter<'_>) -> parquet::errors::Result<usize> {
        match self {
            Self::Text(of) => {
                let (values, levels) =
                    split(rows, |row| of(row).map(|text| ByteArray::from(text.into_bytes())));
                to.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)
            }
            Self::Time(of) => {
                let (values, levels) = split(rows, |row| of(row).map(|time| time.timestamp_millis()));
                to.typed::<Int64Type>().write_batch(&values, Some(&levels), None)
            }
            Self::Flag(of) => {
                let (values, levels) = split(rows, of);
                to.typed::<BoolType>().write_batch(&values, Some(&levels), None)
            }
            Self::Number(of) => {
                let (values, levels) = split(rows, of);
                to.typed::<DoubleType>().write_batch(&values, Some(&levels), None)
            }
            Self::Count(of) => {
                let (values, levels) = split(rows, of);
                to.typed::<Int32Type>().write_batch(&values, Some(&levels), None)
            }
        }
    }
}

/// The values that are there, and for each row whether one is.
fn split<T>(rows: &[Row], of: impl Fn(&Row) -> Option<T>) -> (Vec<T>, Vec<i16>) {
    let mut levels = Vec::with_capacity(rows.len());
    let values = rows
        .iter()
        .filter_map(|row| {
            let value = of(row);
            levels.push(i16::from(value.is_some()));
            value
        })
        .collect();
    (values, levels)
}
