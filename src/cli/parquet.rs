//! Items as Apache Parquet: a row for each, with the columns of a history row.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;

use crate::key::{Expiration, Lifetime};
use crate::ledger::merge::Record;
use crate::ledger::{Entry, Kind, Word};
use crate::policy::Violation;

/// Rows that are held until they are written as a group.
const GROUP: usize = 20_000;

const WRITE: &str = "could not write the output";

/// An item, ready to be written.
struct Row {
    kind: Kind,
    at: Option<DateTime<Utc>>,
    entry: Entry,
}

/// How a column's values are found in a row.
enum Column {
    Text(fn(&Row) -> Option<String>),
    /// Milliseconds since 1970, UTC.
    Time(fn(&Row) -> Option<DateTime<Utc>>),
    Flag(fn(&Row) -> Option<bool>),
    Count(fn(&Row) -> i32),
    Number(fn(&Row) -> Option<f64>),
}

const COLUMNS: [(&str, Column); 34] = [
    ("kind", Column::Text(|row| Some(row.kind.as_str().to_owned()))),
    ("at", Column::Time(|row| row.at)),
    ("source", Column::Text(|row| Some(row.entry.source.as_str().to_owned()))),
    ("account", Column::Text(|row| Some(row.entry.key.account.to_string()))),
    ("service", Column::Text(|row| Some(row.entry.service.to_string()))),
    ("user", Column::Text(|row| Some(row.entry.user.to_string()))),
    ("former_user", Column::Text(|row| row.entry.former_user.as_ref().map(ToString::to_string))),
    ("credential_id", Column::Text(|row| Some(row.entry.key.id.to_string()))),
    ("created_at", Column::Time(|row| Some(row.entry.created_at))),
    (
        "expires_at",
        Column::Time(|row| match row.entry.expiration {
            Some(Expiration::At(end)) => Some(end),
            Some(Expiration::Never) | None => None,
        }),
    ),
    ("never_expires", Column::Flag(|row| row.entry.expiration.map(|end| end == Expiration::Never))),
    ("lifetime_days", Column::Number(|row| lifetime_days(&row.entry))),
    ("limit_days", Column::Count(|row| i32::try_from(row.entry.limit_days).unwrap_or(i32::MAX))),
    ("verdict", Column::Text(|row| Some(row.entry.standing.as_str().to_owned()))),
    ("violation", Column::Text(|row| row.entry.violation.map(Violation::as_str).map(str::to_owned))),
    ("response", Column::Text(|row| Some(row.entry.response.as_str().to_owned()))),
    ("outcome", Column::Text(|row| Some(row.entry.outcome.as_str().to_owned()))),
    ("reason", Column::Text(|row| Some(row.entry.reason.clone()))),
    ("actor", Column::Text(|row| row.entry.actor.principal.clone())),
    ("actor_type", Column::Text(|row| row.entry.actor.kind.clone())),
    ("session_issuer", Column::Text(|row| row.entry.actor.session_issuer.clone())),
    ("mfa", Column::Flag(|row| row.entry.actor.mfa)),
    ("console", Column::Flag(|row| Some(row.entry.actor.console))),
    ("source_ip", Column::Text(|row| row.entry.source_ip.clone())),
    ("user_agent", Column::Text(|row| row.entry.user_agent.clone())),
    ("event_id", Column::Text(|row| row.entry.event_id.as_ref().map(ToString::to_string))),
    ("event_time", Column::Time(|row| Some(row.entry.event_time))),
    ("policy_sha256", Column::Text(|row| Some(row.entry.policy_sha256.clone()))),
    ("rehearsal", Column::Flag(|row| Some(row.entry.rehearsal))),
    ("recorded_at", Column::Time(|row| Some(row.entry.recorded_at))),
    ("iam_says", Column::Text(|row| row.entry.confirmed.map(|confirmed| word(confirmed.word).to_owned()))),
    ("confirmed_at", Column::Time(|row| row.entry.confirmed.map(|confirmed| confirmed.at))),
    ("acted_at", Column::Time(|row| row.entry.acted_at)),
    ("settled_at", Column::Time(|row| row.entry.settled_at)),
];

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
                Column::Count(_) => format!("REQUIRED INT32 {name};\n"),
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
    pub fn write(&mut self, record: &Record) -> anyhow::Result<()> {
        let entry = record.entry().map_err(anyhow::Error::msg)?;
        self.rows.push(Row { kind: record.kind(), at: record.at(), entry });
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
                let values: Vec<_> = rows.iter().map(of).collect();
                to.typed::<Int32Type>().write_batch(&values, None, None)
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
