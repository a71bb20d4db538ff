//! `import`: exported items into a ledger.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use futures_util::stream::{self, StreamExt as _};

use super::exit::{Exit, ended};
use super::messages::{counted, say, shown};
use super::progress::Progress;
use super::setup::{DEFAULT_LEDGER, LEDGER_VARIABLE, LedgerPlace, runtime, to_write};
use crate::ledger::portable::{Imported, PortableItem};
use crate::ledger::store::Ledger;
use key_guard_core::key::KeyRef;

/// Lines that are read before their keys are written, so that what is of one key goes in one call.
const LINES: usize = 2_000;

/// How many keys are written at the same time.
const MAX_CONCURRENT_KEYS: usize = 16;

/// The longest line that is read, in bytes: an item of DynamoDB has 400 KB at most. The text of a policy has many
/// quotes and line ends, which are two bytes each in JSON.
const LONGEST: u64 = 600 << 10;

/// Imports exported items into a ledger
///
/// What is there stays: lines of history are added, and a state is written only if the ledger has none of that key.
/// Of a known key, how it stands is taken over where that is of a later time, and so is its end. Dry runs replace older ones, and what is known of the use of keys is merged. Importing twice changes nothing more. An import never changes which version of the policy is
/// current: where the ledger has one, newer versions are left out.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard import --ledger dynamodb:bedrock-key-guard laptop.jsonl
      a laptop's ledger into the table
  zcat table.jsonl.gz | bedrock-key-guard import -
      and back, from standard input
  bedrock-key-guard import --ledger file:incident.db night/ledger.jsonl
      what `incident` wrote, into a ledger of its own

Exit codes:
  0 done   1 failed   2 usage   4 some lines could not be read, the rest were imported")]
pub struct Import {
    /// What `export` wrote as JSONL: files, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The ledger: `file:PATH`, created if need be, or `dynamodb:TABLE`
    #[arg(long, env = LEDGER_VARIABLE, hide_env_values = true, default_value = DEFAULT_LEDGER, value_name = "LEDGER")]
    ledger: LedgerPlace,
}

impl Import {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work: exit code 1. What was imported until then stays.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let inputs: Vec<_> =
            self.files.iter().map(|path| Ok((path, open(path)?))).collect::<anyhow::Result<_>>()?;
        let runtime = runtime()?;
        let store = runtime.block_on(to_write(&self.ledger, false))?;
        let mut tally = Tally::new();
        let done = runtime.block_on(async {
            for (path, input) in inputs {
                tally.import(&store, path, input).await?;
            }
            tally.import_policies(&store).await
        });
        let Tally { progress, refused, read, imported, unreadable, policies: _ } = tally;
        drop(progress);
        let Imported {
            lines,
            states,
            known,
            updated,
            dry_runs,
            attempts,
            user_changes,
            unjudged_keys,
            policies,
            newer_policies,
            uses,
        } = imported;
        // What was done until an error is said before the error.
        say(&format!(
            "{} read; new: {}, {}, {}, {}, {}, {}, uses of the keys of {}, {}; {}, {updated} of them with a newer state now; \
             {unreadable} unreadable",
            counted(read, "item", "items"),
            counted(states, "state of a key", "states of keys"),
            counted(lines, "line of history", "lines of history"),
            counted(dry_runs, "dry run of a key", "dry runs of keys"),
            counted(attempts, "count of attempts", "counts of attempts"),
            counted(user_changes, "change of a user", "changes of users"),
            counted(unjudged_keys, "key that nobody judged", "keys that nobody judged"),
            counted(uses, "user", "users"),
            counted(policies, "version of the policy", "versions of the policy"),
            counted(known, "key was known", "keys were known"),
        ));
        if newer_policies > 0 {
            say(&format!(
                "note: {} left out, because the ledger has a current one; `policy push` changes that",
                counted(newer_policies, "version of the policy was", "versions of the policy were")
            ));
        }
        done?;
        Ok(if refused > 0 && read == 0 { Exit::Failed.into() } else { ended(unreadable + refused) })
    }
}

fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if path.is_dir() {
        let of_incident = path.join("ledger.jsonl");
        let name = if of_incident.is_file() { shown(&of_incident) } else { "a file in it".to_owned() };
        bail!("{}: is a directory, and import takes files: name {name}", shown(path));
    }
    Ok(if path.as_os_str() == "-" {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let file = File::open(path).with_context(|| format!("{}: could not open the file", shown(path)))?;
        Box::new(BufReader::with_capacity(1 << 16, file))
    })
}

/// What a file is, if it is surely none of what `export` writes as JSONL: `begin` is its beginning.
fn other_format(begin: &[u8]) -> Option<&'static str> {
    if begin.starts_with(b"PAR1") {
        return Some(
            "this is a Parquet file, and import takes JSON lines: `export` without --format parquet",
        );
    }
    if begin.starts_with(&[0x1f, 0x8b]) {
        return Some("this is compressed with gzip: `zcat FILE | bedrock-key-guard import -`");
    }
    let mut lines = begin.split_inclusive(|byte| *byte == b'\n');
    let is_item = |line: &[u8]| match serde_json::from_slice::<serde_json::Value>(line) {
        Ok(value) => value.get("v").is_some(),
        // Its end may be still to come.
        Err(error) => error.is_eof() && line.starts_with(b"{") && !line.ends_with(b"\n"),
    };
    let is_blank = begin.trim_ascii().is_empty();
    (!is_blank && !lines.any(is_item))
        .then_some("these are no items as `export` writes them, one JSON object a line")
}

struct Tally {
    progress: Progress,
    /// Files of another format.
    refused: usize,
    read: u64,
    imported: Imported,
    unreadable: usize,
    /// Those of all inputs are written together, at the end.
    policies: Vec<PortableItem>,
}

impl Tally {
    fn new() -> Self {
        let progress = Progress::of_items(false);
        Self {
            progress,
            refused: 0,
            read: 0,
            imported: Imported::default(),
            unreadable: 0,
            policies: Vec::new(),
        }
    }

    async fn import(
        &mut self,
        store: &Ledger,
        path: &Path,
        mut input: Box<dyn BufRead>,
    ) -> anyhow::Result<()> {
        if let Some(why) = input.fill_buf().ok().and_then(other_format) {
            self.refused += 1;
            self.progress
                .beside(|| say(&format!("error: {}: {why}; nothing of it was imported", shown(path))));
            return Ok(());
        }
        let (mut number, mut line) = (0_u64, Vec::new());
        let mut batch = Batch::default();
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
            let item = match std::str::from_utf8(&line) {
                _ if !whole => {
                    // An error comes again with the next line.
                    let _ = skip_line(&mut input);
                    Err("it is longer than 600 KiB, and an item of DynamoDB has 400 at most".to_owned())
                }
                Err(_) => Err("it is not UTF-8".to_owned()),
                Ok(text) if text.trim().is_empty() => continue,
                Ok(text) => PortableItem::from_json(text),
            };
            match item {
                Err(why) => {
                    self.unreadable += 1;
                    self.progress.warn(&format!("{}: line {number}: {why}; passed over", shown(path)));
                }
                Ok(item) => {
                    self.read += 1;
                    match item.policy_number() {
                        Some(_) => self.policies.push(item),
                        None => batch.add(item),
                    }
                }
            }
            if batch.items >= LINES {
                self.write(store, std::mem::take(&mut batch)).await?;
            }
        }
        self.write(store, batch).await
    }

    async fn import_policies(&mut self, store: &Ledger) -> anyhow::Result<()> {
        let policies = std::mem::take(&mut self.policies);
        self.imported += store.import(&policies).await?;
        Ok(())
    }

    async fn write(&mut self, store: &Ledger, batch: Batch) -> anyhow::Result<()> {
        let Batch { keys, others, .. } = batch;
        let groups = keys.into_values().chain(others.into_iter().map(|item| vec![item]));
        let mut imports = stream::iter(groups)
            .map(|items| async move { (items.len(), store.import(&items).await) })
            .buffered(MAX_CONCURRENT_KEYS);
        while let Some((items, imported)) = imports.next().await {
            self.imported += imported?;
            self.progress.advance(items as u64);
        }
        Ok(())
    }
}

/// Items that are to be written.
#[derive(Default)]
struct Batch {
    keys: BTreeMap<KeyRef, Vec<PortableItem>>,
    /// Items that are about no key.
    others: Vec<PortableItem>,
    items: usize,
}

impl Batch {
    fn add(&mut self, item: PortableItem) {
        self.items += 1;
        match item.key().cloned() {
            Some(key) => self.keys.entry(key).or_default().push(item),
            None => self.others.push(item),
        }
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
