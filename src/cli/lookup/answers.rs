//! Writes answers: for people, for scripts, and as findings of other formats.

use std::io::{self, BufWriter, Write};

use super::table::{TableStyle, print_changes, print_key, print_keys};
use crate::cli::findings;
use crate::cli::output::{self, AnswerFormat, Stdout, stdout};
use crate::cli::rows::Row;
use crate::ledger::audit::AuditRecord;
use crate::ledger::view::KeyView;
use key_guard_core::usage::KnownUse;

/// Rows to a table: its columns follow the rows, so it has to end for memory to stay flat.
const ROWS: usize = 1_000;

/// Writes answers.
pub enum Answers {
    Table { rows: Vec<Row>, style: TableStyle },
    Jsonl(BufWriter<Stdout>),
    Csv(Box<csv::Writer<Stdout>>),
    Findings { to: BufWriter<Stdout>, finding: fn(&KeyView) -> serde_json::Value, first: bool },
}

impl Answers {
    pub fn begin(format: AnswerFormat, style: TableStyle) -> io::Result<Self> {
        Ok(match format {
            AnswerFormat::Table => Self::Table { rows: Vec::new(), style },
            AnswerFormat::Jsonl => Self::Jsonl(BufWriter::new(stdout())),
            AnswerFormat::Csv => {
                let writer = output::csv_on_stdout(&Row::fields())?;
                Self::Csv(Box::new(writer))
            }
            AnswerFormat::Ocsf | AnswerFormat::Asff => {
                let mut to = BufWriter::new(stdout());
                to.write_all(b"[")?;
                let finding = if format == AnswerFormat::Ocsf { findings::ocsf } else { findings::asff };
                Self::Findings { to, finding, first: true }
            }
        })
    }

    pub fn write(&mut self, row: Row) -> io::Result<()> {
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
    pub fn write_key(&mut self, keys: Vec<Row>, uses: Vec<KnownUse>, history: Vec<Row>) -> io::Result<()> {
        match self {
            Self::Table { style, .. } => print_key(&keys, &uses, &history, *style),
            Self::Jsonl(_) | Self::Csv(_) | Self::Findings { .. } => {
                let uses = uses.into_iter().map(Row::used);
                keys.into_iter().chain(uses).chain(history).try_for_each(|row| self.write(row))
            }
        }
    }

    /// Changes of users, which are no keys: behind those, once all of them are written.
    pub fn write_changes(&mut self, changes: &[AuditRecord]) -> io::Result<()> {
        let changes: Vec<_> = changes.iter().map(Row::audit_record).collect();
        match self {
            Self::Table { rows, style } => {
                print_keys(rows, *style)?;
                print_changes(&changes, *style)
            }
            Self::Jsonl(_) | Self::Csv(_) | Self::Findings { .. } => {
                changes.into_iter().try_for_each(|row| self.write(row))
            }
        }
    }

    pub fn end(self) -> io::Result<()> {
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
