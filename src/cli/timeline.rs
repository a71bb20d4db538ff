//! `timeline`: what happened to a key, or to all keys of a user, in one list.

pub mod collect;
pub mod entry;

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use comfy_table::Table;

use self::collect::{DRY_RUN_LIMIT, KnownKey, Question, Subject, collect};
use self::entry::{Entry, GUARD, entries};
use super::exit::{Exit, ended};
use super::filters::{misread, whole_number};
use super::grid::{Fit, Grid, GridCell};
use super::lookup::who;
use super::messages::{Warnings, counted, say};
use super::output::{self, stdout};
use super::setup::{DEFAULT_LEDGER, LEDGER_VARIABLE, LedgerPlace, runtime, to_read};
use super::when::{Times, When};
use crate::clock::{Clock as _, SystemClock};
use crate::ledger::query::TooManyDays;
use key_guard_core::key::{AccountId, CredentialId};

/// How entries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum EntryFormat {
    /// For people.
    Table,
    /// One entry a line, for scripts.
    Jsonl,
    /// The same fields under a header.
    Csv,
}

/// Shows what happened to a key, or to all keys of a user, in one list ordered by time
///
/// From the ledger: creation, status changes, resets, the guard's own steps, the end of the lifetime, the first and the last use
/// that `usage` found, failed calls, and changes of a user that a console created, such as new access keys. Each entry says what
/// happened, who did it, from where, and how the ledger knows: mostly the id of an event in CloudTrail. Of uses, the first and
/// the last time are known, and failed calls are counted by day: such an entry says so. Of a key that only `replay` recorded, the
/// last status change is known, and no reset. Nothing is changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard timeline ACCAEXAMPLEKEY0000001
      what happened to one key, and to its user
  bedrock-key-guard timeline svc-chatbot --ledger dynamodb:bedrock-key-guard --since 7d
      last week of all keys of a user, under each name that the user had
  bedrock-key-guard timeline svc-chatbot --account 111122223333 --format csv > timeline.csv
      for a spreadsheet; only the user of this name in one account

Exit codes:
  0 done, whether something was found or not   1 failed   2 usage
  4 some items could not be read, the rest were shown")]
pub struct Timeline {
    /// The id of a key (ACCA…), or the name or the ARN of an IAM user
    #[arg(value_name = "KEY|USER", value_parser = Subject::parse)]
    subject: (Subject, Option<AccountId>),

    /// Only in this account: names of users may be in several
    #[arg(long, value_name = "12 DIGITS")]
    account: Option<AccountId>,

    /// Where keys are recorded: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, env = LEDGER_VARIABLE, hide_env_values = true, default_value = DEFAULT_LEDGER, value_name = "LEDGER")]
    ledger: LedgerPlace,

    /// Only what happened at this time or later: 2026-11-20T09:00:00Z, 2026-11-20, 7d, 12h
    #[arg(long, value_name = "TIME")]
    since: Option<When>,

    /// Only what happened before this time, or on this day
    #[arg(long, value_name = "TIME")]
    until: Option<When>,

    /// How entries are written to stdout
    #[arg(long, value_enum, default_value_t = EntryFormat::Table)]
    format: EntryFormat,

    /// Show times in UTC, not as seen from now
    #[arg(long)]
    absolute: bool,

    /// The width of the table in columns; what does not fit is wrapped or left out [default: that of the terminal]
    #[arg(long, value_name = "COLUMNS", allow_negative_numbers = true, value_parser = whole_number(40..=u16::MAX))]
    width: Option<u16>,
}

impl Timeline {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let now = SystemClock.now();
        let since = self.since.map(|since| since.begins(now));
        let until = self.until.map(|until| until.ends(now));
        if since.zip(until).is_some_and(|(since, until)| until <= since) {
            say("error: nothing is in that time: --until is not after --since");
            return Ok(Exit::Usage.into());
        }
        let (subject, account) = self.subject;
        if account.is_some() && self.account.is_some() && account != self.account {
            say("error: --account is another account than that of the user");
            return Ok(Exit::Usage.into());
        }
        let question = Question { subject, account: self.account.or(account), since, until, now };
        let collected = runtime()?.block_on(async {
            let store = to_read(&self.ledger).await?;
            let collected = collect(&store, &question).await?;
            let is_unknown = collected.keys.is_empty() && entries(&collected).is_empty();
            let similar = if is_unknown { question.similar(&store).await? } else { None };
            anyhow::Ok((collected, similar))
        });
        let (collected, similar) = match collected {
            Ok(collected) => collected,
            Err(error) if error.is::<TooManyDays>() => {
                say(&format!("error: {error}"));
                return Ok(Exit::Usage.into());
            }
            Err(error) => return Err(error),
        };
        let unreadable = Warnings::default().warn_unreadable(&collected.unreadable);
        let mut entries = entries(&collected);
        entries.retain(|entry| entry.is_within(since, until));
        let times = if self.absolute { Times::Absolute } else { Times::From(now) };
        let width = self.width.or_else(|| Table::new().width());
        print(&entries, self.format, (times, width)).context("could not write to stdout")?;
        say(&summary(&question, collected.keys.len(), &entries));
        if let Some(similar) = similar {
            say(&similar);
        }
        if collected.keys.iter().any(KnownKey::is_only_in_dry_run) {
            say(&format!("note: {DRY_RUN_LIMIT}"));
        }
        Ok(ended(unreadable))
    }
}

fn summary(question: &Question, keys: usize, entries: &[Entry]) -> String {
    if keys == 0 && entries.is_empty() {
        let what = match question.subject {
            Subject::Key(_) => "this key is not in the ledger",
            Subject::User(_) => {
                "no key of this user is in the ledger, and nothing else about the user (for a caller: `bedrock-key-guard lookup`)"
            }
        };
        let of_account = if question.account.is_some() { ", in this account" } else { "" };
        let misread = match &question.subject {
            Subject::Key(_) => None,
            Subject::User(user) => misread(user.as_str()),
        };
        return format!("{what}{of_account}{}", misread.unwrap_or_default());
    }
    let of_keys = counted(keys as u64, "key", "keys");
    let counted = format!("{} of {of_keys}", counted(entries.len() as u64, "entry", "entries"));
    let accounts: BTreeSet<_> = entries.iter().map(|entry| entry.account.as_str()).collect();
    if accounts.len() < 2 {
        return counted;
    }
    let accounts = accounts.into_iter().collect::<Vec<_>>().join(", ");
    format!("{counted}\nnote: these are users of several accounts ({accounts}): --account shows one of them")
}

/// `looks`: how times are told, and the width of a table.
fn print(entries: &[Entry], format: EntryFormat, looks: (Times, Option<u16>)) -> io::Result<()> {
    match format {
        EntryFormat::Table => print_table(entries, looks),
        EntryFormat::Jsonl => {
            let mut to = BufWriter::new(stdout());
            write_jsonl(entries, &mut to)?;
            to.flush()
        }
        EntryFormat::Csv => {
            let mut writer = output::csv_on_stdout(&Entry::FIELDS)?;
            for entry in entries {
                writer.write_record(output::values(&serde_json::to_value(entry)?, &Entry::FIELDS))?;
            }
            writer.flush()
        }
    }
}

/// One entry a line.
///
/// # Errors
/// When it cannot be written.
pub fn write_jsonl(entries: &[Entry], to: &mut impl Write) -> io::Result<()> {
    for entry in entries {
        serde_json::to_writer(&mut *to, entry)?;
        to.write_all(b"\n")?;
    }
    Ok(())
}

/// The columns that are left out where there is no room, the first of them first: the source, and from where.
const LESS: [usize; 2] = [4, 3];

/// The account and the key have a column where there are several.
fn print_table(entries: &[Entry], (times, width): (Times, Option<u16>)) -> io::Result<()> {
    let accounts: BTreeSet<_> = entries.iter().map(|entry| &entry.account).collect();
    let keys: BTreeSet<_> = entries.iter().filter_map(|entry| entry.credential_id.as_ref()).collect();
    // What happens when is the name of a card.
    let mut columns = vec![
        ("WHEN", Fit::Whole),
        ("WHAT", Fit::Wrapped),
        ("WHO", Fit::Shortened),
        ("FROM", Fit::Whole),
        ("SOURCE", Fit::Whole),
    ];
    columns.extend((keys.len() > 1).then_some(("KEY ID", Fit::Whole)));
    columns.extend((accounts.len() > 1).then_some(("ACCOUNT", Fit::Whole)));
    let mut grid = Grid::new(&columns, &LESS);
    let dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    for entry in entries {
        let mut cells = vec![
            times.tell(entry.at),
            entry.what.clone(),
            describe_actor(entry),
            dash(entry.source_ip.as_deref()),
            describe_source(entry),
        ];
        cells.extend((keys.len() > 1).then(|| dash(entry.credential_id.as_ref().map(CredentialId::as_str))));
        cells.extend((accounts.len() > 1).then(|| entry.account.to_string()));
        grid.push(cells.into_iter().map(GridCell::from).collect());
    }
    grid.print(width)
}

/// Who did it, for people.
#[must_use]
pub fn describe_actor(entry: &Entry) -> String {
    match entry.actor.as_deref() {
        Some(GUARD) => "the guard".to_owned(),
        Some(actor) => who(actor),
        None => "-".to_owned(),
    }
}

/// How the ledger knows, for people.
#[must_use]
pub fn describe_source(entry: &Entry) -> String {
    match (&entry.event_id, entry.source) {
        (Some(id), _) => id.to_string(),
        (None, "iam") => "IAM's list".to_owned(),
        (None, "dry_run") => "dry run".to_owned(),
        (None, source) => source.to_owned(),
    }
}
