//! `incident`: everything that the ledger has of a key in one folder, to hand over.

mod commands;
mod folder;
mod summary;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use self::folder::{NewFile, Place};
use super::exit::ended;
use super::filters;
use super::messages::{Warnings, counted, say, shown};
use super::rows::{Row, fit_to_print};
use super::setup::{DEFAULT_LEDGER, LEDGER_VARIABLE, LedgerPlace, runtime, to_read};
use super::timeline::collect::{Collected, KnownKey, Question, Subject, collect};
use super::timeline::entry::{Entry, entries};
use super::timeline::write_jsonl;
use crate::clock::{Clock as _, SystemClock};
use crate::ledger::Cost;
use crate::ledger::audit::AuditRecord;
use crate::ledger::error::LedgerError;
use crate::ledger::portable::{PortableContent, PortableItem};
use crate::ledger::store::Ledger;
use crate::ledger::view::KeyView;
use key_guard_core::Time;
use key_guard_core::key::{AccountId, CredentialId, UserName};

/// Writes everything that the ledger has of a key into one folder, to hand over
///
/// A summary to read, the commands that stop the key, the timeline, the key as it stands, its history, the ids of all events, the
/// items of the ledger, and the SHA-256 of each file. Only the ledger is read, and nothing is changed. The same ledger gives the
/// same files, but for the time in the summary. Only you can read the folder. Nothing is overwritten.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard incident ACCAEXAMPLEKEY0000001 --output incident-2026-11-20
      what to hand over; begin with summary.md and commands.md
  bedrock-key-guard incident ACCAEXAMPLEKEY0000001 --output incident-2026-11-20 --force
      once more, when the ledger knows more
  bedrock-key-guard incident ACCAEXAMPLEKEY0000001 --ledger dynamodb:bedrock-key-guard --output incident-2026-11-20
      from the deployed table; after `usage --ledger`, with the use of the user's keys

Exit codes:
  0 written   1 failed, or the ledger does not have the key: nothing was written   2 usage
  4 written, but some items could not be read")]
pub struct Incident {
    /// The id of the key. Never its text: `bedrock-key-guard identify` reads that, and says the id
    #[arg(value_name = "ACCA…", value_parser = filters::key)]
    key: CredentialId,

    /// The folder, which gets its name when it is complete
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    /// Write into a folder that has files, and replace those of an earlier incident there
    #[arg(long)]
    force: bool,

    /// The account of the key, should several have this id
    #[arg(long, value_name = "12 DIGITS")]
    account: Option<AccountId>,

    /// Where keys are recorded: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, env = LEDGER_VARIABLE, hide_env_values = true, default_value = DEFAULT_LEDGER, value_name = "LEDGER")]
    ledger: LedgerPlace,
}

/// What the ledger has of a key.
pub struct Evidence {
    known: KnownKey,
    entries: Vec<Entry>,
    /// The user's other keys, each as it stands, or as its dry run has it.
    other_keys: Vec<KeyView>,
    /// Lines of an export.
    items: Vec<PortableItem>,
    /// How many items could not be read.
    unreadable: usize,
}

impl Incident {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let now = SystemClock.now();
        let place = Place::of(&self.output, self.force, &self.ledger)?;
        let evidence = runtime()?.block_on(self.read(now))?;
        let files = files(&evidence, &self.ledger.to_string(), now)?;
        let count = files.len() + 1;
        folder::write(&self.output, place, files)?;
        let folder = shown(&self.output);
        say(&format!(
            "{folder}: {count} files, {} in the timeline; begin with summary.md and commands.md",
            counted(evidence.entries.len() as u64, "entry", "entries")
        ));
        Ok(ended(evidence.unreadable))
    }

    async fn read(&self, now: Time) -> anyhow::Result<Evidence> {
        let store = to_read(&self.ledger).await?;
        let question = Question {
            subject: Subject::Key(self.key.clone()),
            account: self.account.clone(),
            since: None,
            until: None,
            now,
        };
        let mut collected = collect(&store, &question).await?;
        let warnings = Warnings::default();
        let mut unreadable = warnings.warn_unreadable(&collected.unreadable);
        let entries = entries(&collected);
        let known = match collected.keys.pop() {
            Some(known) if collected.keys.is_empty() => known,
            None => {
                if let Some(elsewhere) = question.elsewhere(&store).await? {
                    bail!(elsewhere);
                }
                let similar = question.similar(&store).await?;
                bail!(
                    "the ledger {} does not have key {}: record it with `bedrock-key-guard sweep --ledger {0}`, or find it with \
                     `aws iam list-service-specific-credentials --all-users`{}",
                    self.ledger,
                    self.key,
                    similar.map(|similar| format!("\n{similar}")).unwrap_or_default()
                )
            }
            Some(_) => bail!("several accounts have a key with this id: name one with --account"),
        };
        let mut items = Vec::new();
        for item in store.portable_items(&known.key, &mut Cost::default()).await? {
            // What is unreadable was said with the history.
            items.extend(item);
        }
        items.extend(items_of_user(collected).filter(|item| item.key().is_none_or(|key| *key != known.key)));
        let mut other_keys = Vec::new();
        if let Some(user) = known.views.iter().find_map(|view| view.report.user.as_ref()) {
            let (others, errors) = read_other_keys(&store, &known, user, &question).await?;
            unreadable += warnings.warn_unreadable(&errors);
            other_keys = others;
        }
        Ok(Evidence { known, entries, other_keys, items, unreadable })
    }
}

/// Failed calls, changes and the use of the user, as items.
fn items_of_user(collected: Collected) -> impl Iterator<Item = PortableItem> {
    let of_audit = |record| match record {
        AuditRecord::Attempts(attempts) => PortableContent::Attempts(attempts).into(),
        AuditRecord::UserChanged(changed) => PortableContent::UserChanged(changed).into(),
        AuditRecord::UnjudgedKey(unjudged) => PortableContent::UnjudgedKey(unjudged).into(),
    };
    let uses = collected.uses.into_iter().map(|known| PortableContent::Use(Box::new(known)).into());
    collected.audit.into_iter().map(of_audit).chain(uses)
}

/// The user's keys but this one, and what could not be read of them.
async fn read_other_keys(
    store: &Ledger,
    known: &KnownKey,
    user: &UserName,
    question: &Question,
) -> anyhow::Result<(Vec<KeyView>, Vec<LedgerError>)> {
    let subject = Subject::User(user.clone());
    let account = Some(known.key.account.clone());
    let mut others = Collected::default();
    others.find_keys_of_user(store, &Question { subject, account, ..question.clone() }, user).await?;
    let keys = others.keys.into_iter().filter(|other| other.key != known.key);
    Ok((
        keys.filter_map(|other| other.views.into_iter().next()).map(fit_to_print).collect(),
        others.unreadable,
    ))
}

/// The files, without their hashes.
fn files(evidence: &Evidence, ledger: &str, made_at: Time) -> anyhow::Result<Vec<NewFile>> {
    let Evidence { known, entries, items, .. } = evidence;
    let first = known.views.first();
    let mut state = known.views.iter().cloned().map(Row::key);
    let mut history = known.history.lines.iter().map(|line| Row::log_line(&known.key, first, line.clone()));
    let timeline = text(|to| write_jsonl(entries, to))?;
    let ledger_lines: Vec<_> = items.iter().map(PortableItem::to_json).collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    let ids = entries.iter().filter_map(|entry| entry.event_id.as_ref()).filter(|id| seen.insert(*id));
    Ok(vec![
        NewFile::new("summary.md", &summary::summary(evidence, ledger, made_at)?),
        NewFile::new("commands.md", &commands::commands(known)),
        NewFile::new("timeline.jsonl", &timeline),
        NewFile::new("state.jsonl", &text(|to| state.try_for_each(|row| row.write_json(to)))?),
        NewFile::new("history.jsonl", &text(|to| history.try_for_each(|row| row.write_json(to)))?),
        NewFile::new("event-ids.txt", &lines(ids.map(ToString::to_string))),
        NewFile::new("ledger.jsonl", &lines(ledger_lines.into_iter())),
    ])
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}

/// What is written to memory.
fn text(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    write(&mut bytes)?;
    String::from_utf8(bytes).context("the ledger has a text that is not UTF-8")
}
