//! `import`: what was exported, merged into a ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use futures_util::stream::{self, StreamExt as _};

use super::lookup::{ended, warn};
use super::progress::Progress;
use super::{LedgerPlace, say, shown};
use crate::ledger::merge::{Any, Merged, Record};
use crate::ledger::{DynamoLedger, LedgerError};
use key_guard_core::key::KeyRef;

/// Lines that are read before their keys are merged, so that what is of one key goes in one call.
const LINES: usize = 2_000;

/// Keys that are merged at the same time.
const AT_ONCE: usize = 16;

/// The longest line that is read, in bytes: an item of DynamoDB has 400 KB at most, the keys of the indexes included.
const LONGEST: u64 = 390 << 10;

/// Merges exported items into a ledger
///
/// Nothing that is there is lost: history lines are added, and of two states of a key the one that stands higher
/// stays. Importing twice, or overlapping exports in any order, gives the same ledger.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard import --ledger dynamodb:key-guard laptop.jsonl
      a laptop's replay into the table
  zcat table.jsonl.gz | bedrock-key-guard import -
      and back, from standard input

Exit codes:
  0 done   1 failed   2 usage   4 some lines could not be read or merged, the rest were")]
pub struct Import {
    /// What `export` wrote as JSONL: files, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The ledger: `file:PATH`, made if need be, or `dynamodb:TABLE`
    #[arg(long, default_value = "file:key-guard.db", value_name = "LEDGER")]
    ledger: LedgerPlace,
}

impl Import {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work: exit code 1. What was merged until then stays.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let inputs: Vec<_> =
            self.files.iter().map(|path| Ok((path, open(path)?))).collect::<anyhow::Result<_>>()?;
        let runtime = super::runtime()?;
        let mut tally = Tally::new();
        let done = runtime.block_on(async {
            let ledger = super::to_write(&self.ledger, false).await?;
            for (path, input) in inputs {
                tally.take(&ledger, path, input).await?;
            }
            for key in std::mem::take(&mut tally.stateless) {
                tally.unreadable += 1;
                let why = format!("{key} has history and no state, so lookup does not find it: import both");
                tally.progress.warn(&why);
            }
            anyhow::Ok(())
        });
        let Tally { progress, read, merged, unreadable, .. } = tally;
        drop(progress);
        // What was done until an error is said before the error.
        say(&format!(
            "{read} items read: {} history lines were new, {} keys were new or stood higher; {unreadable} passed over",
            merged.lines, merged.states
        ));
        done?;
        Ok(ended(unreadable))
    }
}

fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    Ok(if path.as_os_str() == "-" {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let file = File::open(path).with_context(|| format!("{}: could not open the file", shown(path)))?;
        Box::new(BufReader::with_capacity(1 << 16, file))
    })
}

struct Tally {
    progress: Progress,
    read: u64,
    merged: Merged,
    unreadable: usize,
    /// Keys of which there is history and no state so far.
    stateless: BTreeSet<KeyRef>,
}

impl Tally {
    fn new() -> Self {
        Self {
            progress: Progress::of_items(false),
            read: 0,
            merged: Merged::default(),
            unreadable: 0,
            stateless: BTreeSet::new(),
        }
    }

    async fn take(
        &mut self,
        ledger: &DynamoLedger,
        path: &Path,
        mut input: Box<dyn BufRead>,
    ) -> anyhow::Result<()> {
        let (mut number, mut line) = (0_u64, Vec::new());
        let mut keys: BTreeMap<KeyRef, Vec<Record>> = BTreeMap::new();
        let mut held = 0;
        loop {
            line.clear();
            match input.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    self.unreadable += 1;
                    let file = shown(path);
                    self.progress.warn(&format!("{file}: after line {number}: could not be read: {error}"));
                    break;
                }
            }
            number += 1;
            let whole = line.ends_with(b"\n") || (line.len() as u64) < LONGEST;
            let record = match std::str::from_utf8(&line) {
                _ if !whole => {
                    // An error comes again with the next line.
                    let _ = skip_line(&mut input);
                    Err("it is longer than 390 KiB, and an item of DynamoDB has 400 at most".to_owned())
                }
                Err(_) => Err("it is not UTF-8".to_owned()),
                Ok(text) if text.trim().is_empty() => continue,
                Ok(text) => Any::from_json(text),
            };
            match record {
                Err(why) => {
                    self.unreadable += 1;
                    self.progress.warn(&format!("{}: line {number}: {why}; passed over", shown(path)));
                }
                Ok(Any::Happening(happening)) => {
                    self.read += 1;
                    self.merged.lines += u64::from(ledger.merge_happening(&happening).await?);
                    // It may have been known for long.
                    if let Some(key) = happening.happening().key() {
                        held += 1;
                        keys.entry(key).or_default();
                    }
                }
                Ok(Any::Key(record)) => {
                    self.read += 1;
                    held += 1;
                    keys.entry(record.key()).or_default().push(*record);
                }
            }
            if held >= LINES {
                self.merge(ledger, std::mem::take(&mut keys)).await?;
                held = 0;
            }
        }
        self.merge(ledger, keys).await
    }

    async fn merge(
        &mut self,
        ledger: &DynamoLedger,
        keys: BTreeMap<KeyRef, Vec<Record>>,
    ) -> anyhow::Result<()> {
        let mut merging = stream::iter(keys)
            .map(|(key, records)| async move {
                let merged = ledger.merge(&key, &records).await;
                (key, records.len(), merged)
            })
            .buffered(AT_ONCE);
        while let Some((key, read, merged)) = merging.next().await {
            match merged {
                Ok(Merged { lines, states, has_state }) => {
                    self.progress.advance(read as u64);
                    self.merged.lines += lines;
                    self.merged.states += states;
                    if has_state {
                        self.stateless.remove(&key);
                    } else if read > 0 {
                        self.stateless.insert(key);
                    }
                }
                Err(error @ LedgerError::Unreadable { .. }) => {
                    self.unreadable += self.progress.beside(|| warn(&[error]));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn skip_line(input: &mut Box<dyn BufRead>) -> io::Result<()> {
    loop {
        let mut rest = Vec::new();
        if input.by_ref().take(LONGEST).read_until(b'\n', &mut rest)? == 0 || rest.ends_with(b"\n") {
            return Ok(());
        }
    }
}
