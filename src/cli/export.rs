//! `export`: a ledger's items, for other ledgers and for other tools.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use futures_util::future::try_join_all;

use super::filters::Filters;
use super::lookup::{ended, warn};
use super::parquet::Parquet;
use super::{Exit, LedgerPlace, say, shown, to_read};
use crate::clock::{Clock, SystemClock};
use crate::ledger::merge::Record;
use crate::ledger::search::{Cost, Filter, Search};
use crate::ledger::{DynamoLedger, Entry, LedgerError};

/// Keys whose items are asked for at the same time.
const AT_ONCE: usize = 16;

/// How items are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One item to a line; what `import` takes.
    Jsonl,
    /// Apache Parquet, compressed with Snappy.
    Parquet,
}

/// Writes the ledger's items, states and history, for other ledgers and other tools
///
/// Without a filter the whole table is read (this is the one command that scans it, for which DynamoDB needs the
/// IAM action dynamodb:Scan); with one, the keys that match and their history, by the same queries as lookup.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard export --output ledger.jsonl
      everything, to be merged into another ledger with import
  bedrock-key-guard export --format parquet --verdict noncompliant --since 90d --output keys.parquet
      last quarter's findings with their history, for a data lake

Exit codes:
  0 done   1 failed   2 usage   4 some items could not be read, the rest were written")]
pub struct Export {
    #[command(flatten)]
    filters: Filters,

    /// The ledger: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, default_value = "file:key-guard.db", value_name = "LEDGER")]
    ledger: LedgerPlace,

    /// How items are written
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,

    /// Where to: a file, which is there only when it is whole, or - for stdout
    #[arg(long, default_value = "-", value_name = "FILE")]
    output: PathBuf,
}

impl Export {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let everything = self.filters.is_everything();
        let (filter, note) = match self.filters.at(SystemClock.now()) {
            Ok(question) => question,
            Err(wrong) => {
                say(&format!("error: {wrong}"));
                return Ok(Exit::Usage.into());
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("could not start the async runtime")?;
        runtime.block_on(async {
            let ledger = to_read(&self.ledger).await?;
            let output = Output::begin(&self.output)?;
            let mut items = Items::begin(self.format, output.writer()?)?;
            if everything {
                items.everything(&ledger).await?;
            } else {
                if let Some(note) = note {
                    say(&format!("note: {note}"));
                }
                if let Err(too_many) = items.matching(&ledger, filter).await? {
                    say(&format!("error: {too_many}"));
                    return Ok(Exit::Usage.into());
                }
            }
            let Items { to, written, unreadable, cost } = items;
            to.end().context(WRITE)?;
            output.end()?;
            say(&format!("{written} items; {} calls, {} read units", cost.calls, cost.units));
            Ok(ended(unreadable))
        })
    }
}

const WRITE: &str = "could not write the output";

/// Where output goes: stdout, or a file that gets its name when it is whole.
#[derive(Debug)]
pub struct Output {
    path: Option<PathBuf>,
    ended: bool,
}

/// What was begun and not ended leaves nothing behind.
impl Drop for Output {
    fn drop(&mut self) {
        if let (Some(path), false) = (&self.path, self.ended) {
            let _ = std::fs::remove_file(Self::part(path));
        }
    }
}

impl Output {
    /// For a path, or `-`.
    ///
    /// # Errors
    /// When the path names no file.
    pub fn begin(path: &Path) -> anyhow::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self { path: None, ended: false });
        }
        path.file_name().with_context(|| format!("{} is no name of a file", shown(path)))?;
        anyhow::ensure!(!path.is_dir(), "{}: is a directory; --output takes a file", shown(path));
        Ok(Self { path: Some(path.to_owned()), ended: false })
    }

    fn part(path: &Path) -> PathBuf {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        path.with_file_name(name)
    }

    /// To write to.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn writer(&self) -> anyhow::Result<Box<dyn Write + Send>> {
        Ok(match &self.path {
            None => Box::new(BufWriter::new(io::stdout())),
            Some(path) => {
                let part = Self::part(path);
                let file = File::create(&part)
                    .with_context(|| format!("{}: could not make the file", shown(&part)))?;
                Box::new(BufWriter::with_capacity(1 << 16, file))
            }
        })
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn end(mut self) -> anyhow::Result<()> {
        if let Some(path) = &self.path {
            std::fs::rename(Self::part(path), path)
                .with_context(|| format!("{}: could not finish the file", shown(path)))?;
        }
        self.ended = true;
        Ok(())
    }
}

/// Items on their way out.
struct Items {
    to: To,
    written: u64,
    unreadable: usize,
    cost: Cost,
}

enum To {
    Jsonl(Box<dyn Write + Send>),
    Parquet(Box<Parquet>),
}

impl To {
    fn end(self) -> anyhow::Result<()> {
        match self {
            Self::Jsonl(mut to) => Ok(to.flush()?),
            Self::Parquet(to) => to.end(),
        }
    }
}

impl Items {
    fn begin(format: Format, to: Box<dyn Write + Send>) -> anyhow::Result<Self> {
        let to = match format {
            Format::Jsonl => To::Jsonl(to),
            Format::Parquet => To::Parquet(Box::new(Parquet::begin(to)?)),
        };
        Ok(Self { to, written: 0, unreadable: 0, cost: Cost::default() })
    }

    async fn everything(&mut self, ledger: &DynamoLedger) -> anyhow::Result<()> {
        let mut everything = ledger.everything();
        while let Some(items) = everything.next().await? {
            self.write(items)?;
        }
        self.cost = everything.cost();
        Ok(())
    }

    async fn matching(
        &mut self,
        ledger: &DynamoLedger,
        filter: Filter,
    ) -> anyhow::Result<Result<(), crate::ledger::search::TooManyDays>> {
        let mut search = match Search::new(ledger, filter, None, usize::MAX, SystemClock.now()) {
            Ok(search) => search,
            Err(too_many) => return Ok(Err(too_many)),
        };
        loop {
            let mut entries = Vec::with_capacity(AT_ONCE);
            while entries.len() < AT_ONCE
                && let Some(entry) = search.next().await?
            {
                entries.push(entry);
            }
            self.unreadable += warn(&search.unreadable());
            if entries.is_empty() {
                break;
            }
            for (items, cost) in try_join_all(entries.iter().map(|entry| of(ledger, entry))).await? {
                self.cost.calls += cost.calls;
                self.cost.units += cost.units;
                self.write(items)?;
            }
        }
        self.cost.calls += search.cost().calls;
        self.cost.units += search.cost().units;
        Ok(Ok(()))
    }

    fn write(&mut self, items: Vec<Result<Record, LedgerError>>) -> anyhow::Result<()> {
        for item in items {
            match item {
                Err(error) => self.unreadable += warn(&[error]),
                Ok(record) => {
                    match &mut self.to {
                        To::Jsonl(to) => writeln!(to, "{}", record.to_json()?).context(WRITE)?,
                        To::Parquet(to) => to.write(&record)?,
                    }
                    self.written += 1;
                }
            }
        }
        Ok(())
    }
}

async fn of(
    ledger: &DynamoLedger,
    entry: &Entry,
) -> Result<(Vec<Result<Record, LedgerError>>, Cost), LedgerError> {
    let mut cost = Cost::default();
    Ok((ledger.records(&entry.key, &mut cost).await?, cost))
}
