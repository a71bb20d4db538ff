//! `export`: a ledger's items, for other ledgers and for other tools.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use futures_util::future::try_join_all;
use tempfile::NamedTempFile;

use super::exit::{Exit, ended};
use super::filters::Filters;
use super::messages::{counted, say, shown};
use super::output::stdout;
use super::parquet::Parquet;
use super::progress::Progress;
use super::rows::Row;
use super::setup::{DEFAULT_LEDGER, LEDGER_VARIABLE, LedgerPlace, runtime, to_read};
use crate::clock::{Clock, SystemClock};
use crate::ledger::Cost;
use crate::ledger::error::LedgerError;
use crate::ledger::portable::PortableItem;
use crate::ledger::query::{Filter, Search, TooManyDays};
use crate::ledger::store::Ledger;
use key_guard_core::key::KeyRef;

/// How many keys are read at the same time.
const MAX_CONCURRENT_KEYS: usize = 16;

/// How items are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One item a line: what `import` takes.
    Jsonl,
    /// Apache Parquet, compressed with Snappy.
    Parquet,
}

/// Writes the ledger's items, for other ledgers and other tools
///
/// Of each key: its history, its state, and its latest dry run. Without a filter the whole table is read, with the
/// versions of the policy, which needs the IAM action dynamodb:Scan. With a filter, the keys that match are read by
/// the same queries as lookup's.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard export --output ledger.jsonl
      everything, for import into another ledger
  bedrock-key-guard export --ledger dynamodb:bedrock-key-guard --key ACCAEXAMPLEKEY0000001
      one key with its history, to stdout
  bedrock-key-guard export --format parquet --verdict noncompliant --since 90d --output keys.parquet
      last quarter's findings with their history, for a data lake

Exit codes:
  0 done   1 failed   2 usage   4 some items could not be read, the rest were written")]
pub struct Export {
    #[command(flatten)]
    filters: Filters,

    /// The ledger: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, env = LEDGER_VARIABLE, hide_env_values = true, default_value = DEFAULT_LEDGER, value_name = "LEDGER")]
    ledger: LedgerPlace,

    /// How items are written
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,

    /// A file, which gets its name when it is complete, or - for stdout
    #[arg(long, default_value = "-", value_name = "FILE")]
    output: PathBuf,

    /// Overwrite the file, if there is one
    #[arg(long)]
    force: bool,
}

impl Export {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let everything = self.filters.is_everything();
        let filter = match self.filters.at(SystemClock.now()) {
            Ok(filter) => filter,
            Err(wrong) => {
                say(&format!("error: {wrong}"));
                return Ok(Exit::Usage.into());
            }
        };
        let runtime = runtime()?;
        runtime.block_on(async {
            let store = to_read(&self.ledger).await?;
            let output = Output::begin(&self.output, &self.ledger, &[], self.force)?;
            let progress = Progress::of_items(matches!(output, Output::Direct(None)));
            let mut items = Items::begin(self.format, output.writer()?, progress)?;
            if everything {
                items.write_all(&store).await?;
            } else if let Err(too_many) = items.write_matching(&store, filter).await? {
                say(&format!("error: {too_many}"));
                return Ok(Exit::Usage.into());
            }
            let Items { to, written, unreadable, cost, progress } = items;
            drop(progress);
            to.end().context(WRITE)?;
            let place = output.end()?;
            let items = counted(written, "item", "items");
            say(&format!("{items}{place}{}", self.ledger.describe_cost(cost)));
            Ok(ended(unreadable))
        })
    }
}

const WRITE: &str = "could not write the output";

/// Where output goes: stdout, or a file that gets its name when it is whole. What is no regular file, such as a
/// pipe, is written to as it is; what was begun and not ended leaves nothing behind.
#[derive(Debug)]
pub enum Output {
    /// As it comes.
    Direct(Option<PathBuf>),
    /// Under another name until it is whole.
    File {
        /// What it is to be.
        path: PathBuf,
        /// What it is until then.
        part: NamedTempFile,
        /// True if it may take the place of another file.
        force: bool,
    },
}

impl Output {
    /// For a path, or `-`. What the command reads is never written over: the ledger, and the files `inputs`.
    ///
    /// # Errors
    /// When no file can be made there, when there is one and no `force`, or when it is read.
    pub fn begin(path: &Path, ledger: &LedgerPlace, inputs: &[&Path], force: bool) -> anyhow::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::Direct(None));
        }
        anyhow::ensure!(!path.is_dir(), "{}: is a directory; --output takes a file", shown(path));
        // Links are followed, so that what they lead to is written.
        let found = std::fs::canonicalize(path);
        anyhow::ensure!(
            !ledger.has_file(path),
            "{}: is a file of the ledger; --output would overwrite it",
            shown(path)
        );
        let is_input = found.as_ref().is_ok_and(|found| {
            inputs.iter().any(|input| std::fs::canonicalize(input).is_ok_and(|input| input == *found))
        });
        anyhow::ensure!(!is_input, "{}: is read by this command; --output would overwrite it", shown(path));
        let path = found.unwrap_or_else(|_| path.to_owned());
        if path.exists() && !path.is_file() {
            return Ok(Self::Direct(Some(path)));
        }
        anyhow::ensure!(force || !path.exists(), "{}: is there already; --force overwrites it", shown(&path));
        // A new file is only its owner's: it has names and addresses.
        let part = NamedTempFile::new_in(folder_of(&path)?)
            .with_context(|| format!("{}: could not make a file there", shown(&path)))?;
        if let Ok(there) = std::fs::metadata(&path) {
            part.as_file().set_permissions(there.permissions())?;
        }
        Ok(Self::File { path, part, force })
    }

    /// To write to.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn writer(&self) -> anyhow::Result<Box<dyn Write + Send>> {
        Ok(match self {
            Self::Direct(None) => Box::new(BufWriter::new(stdout())),
            Self::Direct(Some(path)) => {
                let file = File::options().write(true).open(path);
                let file = file.with_context(|| format!("{}: could not open it", shown(path)))?;
                Box::new(BufWriter::with_capacity(1 << 16, file))
            }
            Self::File { part, .. } => Box::new(BufWriter::with_capacity(1 << 16, part.reopen()?)),
        })
    }

    /// Gives the file its name, and returns where the output went, behind another sentence.
    ///
    /// # Errors
    /// When it cannot be written to the disk or renamed.
    pub fn end(self) -> anyhow::Result<String> {
        let path = match self {
            Self::Direct(None) => return Ok(String::new()),
            Self::Direct(Some(path)) => path,
            Self::File { path, part, force } => {
                let name = |part: NamedTempFile| {
                    if force { part.persist(&path) } else { part.persist_noclobber(&path) }
                };
                let done = part.as_file().sync_all().and_then(|()| Ok(name(part)?));
                done.with_context(|| format!("{}: could not finish the file", shown(&path)))?;
                path
            }
        };
        Ok(format!(" written to {}", shown(&path)))
    }
}

/// The folder that something new is to be in.
///
/// # Errors
/// When there is no such folder.
pub fn folder_of(path: &Path) -> anyhow::Result<&Path> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    anyhow::ensure!(folder.exists(), "the folder {} does not exist: make it first", shown(folder));
    Ok(folder)
}

/// Items on their way out.
struct Items {
    to: To,
    written: u64,
    unreadable: usize,
    cost: Cost,
    progress: Progress,
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
    fn begin(format: Format, to: Box<dyn Write + Send>, progress: Progress) -> anyhow::Result<Self> {
        let to = match format {
            Format::Jsonl => To::Jsonl(to),
            Format::Parquet => To::Parquet(Box::new(Parquet::begin(to)?)),
        };
        Ok(Self { to, written: 0, unreadable: 0, cost: Cost::default(), progress })
    }

    async fn write_all(&mut self, store: &Ledger) -> anyhow::Result<()> {
        let mut scan = store.table_scan();
        while let Some(items) = scan.next().await? {
            self.write(items)?;
        }
        self.cost = scan.cost();
        Ok(())
    }

    async fn write_matching(
        &mut self,
        store: &Ledger,
        filter: Filter,
    ) -> anyhow::Result<Result<(), TooManyDays>> {
        let mut search = match Search::new(store, filter, None, usize::MAX, SystemClock.now()) {
            Ok(search) => search.or_part_of_name(),
            Err(too_many) => return Ok(Err(too_many)),
        };
        loop {
            let mut keys: Vec<KeyRef> = Vec::with_capacity(MAX_CONCURRENT_KEYS);
            while keys.len() < MAX_CONCURRENT_KEYS
                && let Some(found) = search.next().await?
            {
                // A key that gets another place meanwhile may be found at both.
                if !keys.contains(&found.key) {
                    keys.push(found.key);
                }
            }
            // What can be read of a key is written even where its state cannot be.
            for error in search.unreadable() {
                match error.key() {
                    Some(key) if keys.contains(&key) => {}
                    Some(key) => keys.push(key),
                    None => self.unreadable += self.progress.warn_unreadable(&[error]),
                }
            }
            if keys.is_empty() {
                break;
            }
            for (items, cost) in try_join_all(keys.iter().map(|key| items_of(store, key))).await? {
                self.cost += cost;
                self.write(items)?;
            }
        }
        self.cost += search.cost();
        Ok(Ok(()))
    }

    fn write(&mut self, items: Vec<Result<PortableItem, LedgerError>>) -> anyhow::Result<()> {
        self.progress.advance(items.len() as u64);
        // A dry run comes after the state of its key.
        let mut state = None;
        for item in items {
            match item {
                Err(error) => self.unreadable += self.progress.warn_unreadable(&[error]),
                Ok(item) => {
                    match &mut self.to {
                        To::Jsonl(to) => writeln!(to, "{}", item.to_json()?).context(WRITE)?,
                        To::Parquet(to) => {
                            let now = SystemClock.now();
                            if let Some(row) = Row::portable(item, now) {
                                let row = row.beside(state.as_ref(), now);
                                state = row.view().cloned().or(state);
                                to.write(row)?;
                            }
                        }
                    }
                    self.written += 1;
                }
            }
        }
        Ok(())
    }
}

async fn items_of(
    store: &Ledger,
    key: &KeyRef,
) -> Result<(Vec<Result<PortableItem, LedgerError>>, Cost), LedgerError> {
    let mut cost = Cost::default();
    Ok((store.portable_items(key, &mut cost).await?, cost))
}
