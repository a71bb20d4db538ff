//! Rows as Apache Parquet, with the columns of JSON lines and CSV.

use std::io::Write;
use std::sync::Arc;

use anyhow::Context as _;
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use serde_json::Number;

use super::rows::{COLUMNS, Column, Row};

/// Rows that are held until they are written as a group.
const GROUP_SIZE: usize = 20_000;

const WRITE: &str = "could not write the output";

/// Writes rows.
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

    /// Takes one row.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, row: Row) -> anyhow::Result<()> {
        self.rows.push(row);
        if self.rows.len() == GROUP_SIZE { self.write_group() } else { Ok(()) }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.write_group()?;
        self.writer.into_inner().context(WRITE)?.flush().context(WRITE)
    }

    fn write_group(&mut self) -> anyhow::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut group = self.writer.next_row_group().context(WRITE)?;
        let mut columns = COLUMNS.iter();
        while let Some(mut writer) = group.next_column().context(WRITE)? {
            let (_, column) = columns.next().context("the schema has more columns than there are")?;
            write_column(column, &self.rows, &mut writer).context(WRITE)?;
            writer.close().context(WRITE)?;
        }
        group.close().context(WRITE)?;
        self.rows.clear();
        Ok(())
    }
}

fn write_column(
    column: &Column,
    rows: &[Row],
    to: &mut SerializedColumnWriter<'_>,
) -> parquet::errors::Result<usize> {
    match column {
        Column::Text(of) => {
            let (values, levels) = split(rows, |row| of(row).map(|text| ByteArray::from(text.into_bytes())));
            to.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)
        }
        Column::Time(of) => {
            let (values, levels) = split(rows, |row| of(row).map(|time| time.timestamp_millis()));
            to.typed::<Int64Type>().write_batch(&values, Some(&levels), None)
        }
        Column::Flag(of) => {
            let (values, levels) = split(rows, of);
            to.typed::<BoolType>().write_batch(&values, Some(&levels), None)
        }
        Column::Number(of) => {
            let (values, levels) = split(rows, |row| of(row).as_ref().and_then(Number::as_f64));
            to.typed::<DoubleType>().write_batch(&values, Some(&levels), None)
        }
        Column::Count(of) => {
            let (values, levels) = split(rows, |row| of(row).and_then(|count| i32::try_from(count).ok()));
            to.typed::<Int32Type>().write_batch(&values, Some(&levels), None)
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
