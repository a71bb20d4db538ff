//! `identify`: whose is a leaked text, and what stops it. The text is never printed, stored or logged.

mod output;
mod steps;

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Read as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use self::output::{Identified, LedgerEntry};
use super::exit::Exit;
use super::messages::{Warnings, say};
use super::rows::fit_to_print;
use super::setup::{LEDGER_VARIABLE, LedgerPlace, runtime, to_read};
use crate::clock::{Clock as _, SystemClock};
use crate::ledger::query::{Filter, FoundKey, Search};
use crate::ledger::store::Ledger;
use crate::telemetry::chain;
use key_guard_core::Time;
use key_guard_core::key::CredentialId;
use key_guard_core::leaked_key::{KeyAlias, LeakedKey, LongTermKey, find};

/// The largest text that is read, in bytes: a key has some kilobytes, a log around it may have more.
const LARGEST_TEXT: u64 = 1 << 20;

/// How what is packed begins: gzip, zip, zstd, bzip2, xz.
const PACKED: [&[u8]; 5] = [b"\x1f\x8b", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\0"];

/// How what was found is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum IdentifyFormat {
    /// For people.
    Table,
    /// One key a line, for scripts.
    Jsonl,
}

/// Says whose a leaked key is and what stops it, from the text alone
///
/// The text is read from standard input, or from a prompt that does not show it; never from an argument, which a shell's
/// history keeps and other users of the machine can see. It may have other text around it: a line of a log, JSON, a shell's
/// export, a URL. Each key in it is found. Nothing of it is printed, stored or sent anywhere, and no network is used, unless
/// the ledger is a table.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard identify
      asks for the text, and does not show it
  bedrock-key-guard identify --ledger dynamodb:bedrock-key-guard < leaked.txt
      also says which keys of the ledger it may be, how they stand, and the commands for exactly these
  pbpaste | bedrock-key-guard identify --format jsonl
      one object for each key, for scripts

Exit codes:
  0 done: a key was found   1 failed: no key is in the text   2 usage, such as a text in an argument
  4 a key was found, but the ledger, or some items of it, could not be read")]
pub struct Identify {
    /// Also look for the key in this ledger: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, env = LEDGER_VARIABLE, hide_env_values = true, value_name = "LEDGER")]
    ledger: Option<LedgerPlace>,

    /// How the keys are written to stdout
    #[arg(long, value_enum, default_value_t = IdentifyFormat::Table)]
    format: IdentifyFormat,

    /// Whatever else there is: refused without being repeated, which clap would do.
    #[arg(hide = true, num_args = 0.., trailing_var_arg = true, allow_hyphen_values = true)]
    refused: Vec<OsString>,
}

impl Identify {
    /// Of a text on standard input.
    pub const fn new(ledger: Option<LedgerPlace>, is_table: bool) -> Self {
        let format = if is_table { IdentifyFormat::Table } else { IdentifyFormat::Jsonl };
        Self { ledger, format, refused: Vec::new() }
    }

    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if !self.refused.is_empty() {
            say("error: unknown argument (not repeated here, as it may be a secret)");
            say(
                "identify takes the text from standard input or a prompt, never from an argument. If that was a key, it is in \
                 your shell's history now: stop it, and delete the line there",
            );
            return Ok(Exit::Usage.into());
        }
        let now = SystemClock.now();
        // The text is gone before anything else is done. In UTF-16, a key is its letters and zeros, which nobody sees.
        let text = read_text()?;
        let found = find(&without_diff_signs(&text));
        let is_id = text.trim().starts_with("ACCA") && text.trim().parse::<CredentialId>().is_ok();
        drop(text);
        if found.is_empty() && is_id {
            bail!("it is the id of a key, and no key: `bedrock-key-guard lookup ACCA…` says whose it is");
        }
        if found.is_empty() {
            bail!(
                "no key is in this text: neither an API key of AWS (ABSK…, ACWL…, APIAACWM…, AEAA…, bedrock-api-key-…, \
                 aws-external-anthropic-api-key-…), nor an access key or a session token. A text whose case was changed is not recognised"
            );
        }
        let asked = match &self.ledger {
            None => Ok((Vec::new(), 0)),
            Some(ledger) => runtime()?.block_on(find_entries(ledger, &found, now)),
        };
        // The text alone is enough to begin with.
        let (entries, unreadable, failed) = match asked {
            Ok((entries, unreadable)) => (entries, unreadable, None),
            Err(error) => (Vec::new(), 1, Some(error)),
        };
        let entries = entries.into_iter().chain(std::iter::repeat(None));
        let identified: Vec<_> =
            found.into_iter().zip(entries).map(|(key, entries)| Identified::new(key, entries, now)).collect();
        output::write(&identified, self.format == IdentifyFormat::Jsonl)
            .context("could not write to stdout")?;
        if let Some(error) = failed {
            say(&format!(
                "note: the ledger could not be read: {}; everything above is from the text",
                chain(error.as_ref())
            ));
        }
        Ok(super::exit::ended(unreadable))
    }
}

/// A text without the plus signs of a diff: in Base64 they would be a part of a key that goes on in the next line.
fn without_diff_signs(text: &str) -> Cow<'_, str> {
    let is_hunk = text.lines().any(|line| line.starts_with("@@ -"));
    let is_added = || text.lines().all(|line| line.is_empty() || line.starts_with('+'));
    if text.lines().nth(1).is_none() || !(is_hunk || is_added()) {
        return Cow::Borrowed(text);
    }
    let lines = text.split_inclusive('\n').map(|line| line.strip_prefix('+').unwrap_or(line));
    Cow::Owned(lines.collect())
}

/// The leaked text. Errors have nothing of it.
fn read_text() -> anyhow::Result<String> {
    if io::stdin().is_terminal() {
        return rpassword::prompt_password("Leaked text (it is not shown): ")
            .context("could not read the text");
    }
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(LARGEST_TEXT + 1)
        .read_to_end(&mut bytes)
        .context("could not read standard input")?;
    if bytes.len() as u64 > LARGEST_TEXT {
        bail!("standard input is larger than 1 MiB: give only the lines around the key");
    }
    if PACKED.iter().any(|begin| bytes.starts_with(begin)) {
        bail!(
            "standard input is packed: unpack it first (gzip: `gzip -dc FILE | bedrock-key-guard identify`)"
        );
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// For each key what the ledger has of its owner, where it has one; and how many items could not be read.
async fn find_entries(
    place: &LedgerPlace,
    found: &[LeakedKey],
    now: Time,
) -> anyhow::Result<(Vec<Option<Vec<LedgerEntry>>>, usize)> {
    let ledger = to_read(place).await?;
    let (mut all, mut unreadable) = (Vec::new(), 0);
    for key in found {
        let entries = match key {
            LeakedKey::LongTerm(key @ LongTermKey { alias: Some(alias), .. }) => {
                Some(entries_of(&ledger, key, alias, now, &mut unreadable).await?)
            }
            LeakedKey::LongTerm(_)
            | LeakedKey::ShortTerm(_)
            | LeakedKey::AccessKey(_)
            | LeakedKey::SecretAccessKey
            | LeakedKey::LikelySecretAccessKey
            | LeakedKey::SessionToken
            | LeakedKey::Signature => None,
        };
        all.push(entries);
    }
    Ok((all, unreadable))
}

/// The keys of an owner, by each reading of the alias, under any name that the user had.
async fn entries_of(
    ledger: &Ledger,
    key: &LongTermKey,
    alias: &KeyAlias,
    now: Time,
    unreadable: &mut usize,
) -> anyhow::Result<Vec<LedgerEntry>> {
    let mut entries = Vec::new();
    for owner in std::iter::once(&alias.owner).chain(&alias.other_reading) {
        let filter = Filter {
            account: Some(alias.account.clone()),
            user: Some(owner.user.clone()),
            service: key.service.clone(),
            ..Filter::default()
        };
        let mut search = Search::new(ledger, filter, None, usize::MAX, now)?;
        while let Some(FoundKey { key, views }) = search.next().await? {
            let history = ledger.history(&key).await?;
            *unreadable += Warnings::default().warn_unreadable(&history.unreadable);
            let views = views.into_iter().map(|view| fit_to_print(view.with_history(&history.lines)));
            entries.extend(views.map(LedgerEntry::new));
        }
        *unreadable += Warnings::default().warn_unreadable(&search.unreadable());
    }
    Ok(entries)
}
