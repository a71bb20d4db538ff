//! `usage`: what keys were used for, by whom and from where, as far as CloudTrail's logs tell.

mod collect;
mod history;
mod join;
pub mod known;
mod notes;
mod output;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use comfy_table::Table;
use key_guard_core::Time;
use key_guard_core::key::UserName;

use self::collect::{Collected, Question};
use self::history::{Lookup, Place};
use self::join::UsageRow;
use self::notes::Reading;
use self::output::{TableStyle, UsageFormat};
use super::exit::{Exit, ended};
use super::filters::whole_number;
use super::input::{Batch, Detail, Found, Inputs, read_all};
use super::messages::{Warnings, counted, say};
use super::progress::Progress;
use super::setup::{LEDGER_VARIABLE, LedgerPlace, runtime, to_read, to_write};
use super::when::{Times, When};
use crate::clock::{Clock as _, SystemClock};
use crate::ledger::error::LedgerError;
use crate::ledger::store::Ledger;
use crate::ledger::view::KeyView;

/// Shows what keys were used for, as far as CloudTrail's logs tell
///
/// Reads CloudTrail for calls with a bearer token, and prints for each account and user: the first and the last call, how many
/// there were, services, models, Regions, addresses and networks, user agents and errors. CloudTrail names the IAM user whose
/// key it was, and not which of the user's keys. Networks are those of the first 24 bits of an IPv4 address, and the first 48 of
/// an IPv6 address. With --ledger, the keys of these accounts are beside the use of their users: first noncompliant keys without a
/// call in 30 days, then those in use, and last the deleted ones whose users made calls. The ledger keeps when a user's keys were
/// used, for `lookup --key` and for `rollout`, which counts no run that is limited by --user, covers a part of the last 30 days, or could not read all.
/// Without --ledger, nothing is written.
///
/// That logs have no call is no proof that a key is not used: inference with Bedrock Mantle and Claude Platform, agents, flows and
/// knowledge bases are data events, which a trail records only if it is told to.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard usage AWSLogs/
      who uses keys, for what, and from where
  bedrock-key-guard usage --ledger dynamodb:bedrock-key-guard AWSLogs/
      before keys are deleted: which of them nobody seems to use, and who uses the others
  bedrock-key-guard usage --user svc-search --since 30d --format jsonl AWSLogs/
      after a leak: what was one user's key used for
  bedrock-key-guard usage --cloudtrail --ledger file:key-guard.db --regions us-east-1,eu-central-1
      the last 50 events of each user with a key, from CloudTrail's event history

--cloudtrail needs cloudtrail:LookupEvents. --ledger reads and writes the ledger.

Exit codes:
  0 done, whether something was found or not   1 failed   2 usage
  4 some inputs, Regions or items could not be read, the rest were counted")]
#[command(group(clap::ArgGroup::new("source").required(true)))]
pub struct Usage {
    /// CloudTrail's logs: files, directories, or - for standard input, as `replay` reads them
    #[arg(group = "source", value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Read CloudTrail's event history of the account of your credentials, in place of files: of each user, the newest page of
    /// 50 events. The users are those of --user, or else those with keys in the ledger
    #[arg(long, group = "source")]
    cloudtrail: bool,

    /// All pages of 90 days, two a second in each Region
    #[arg(long, requires = "cloudtrail", conflicts_with = "paths")]
    full: bool,

    /// The Regions whose event history is read [default: that of your configuration, and the one where IAM's events are:
    /// us-east-1]
    #[arg(long, requires = "cloudtrail", conflicts_with = "paths", value_name = "REGION,…", value_delimiter = ',', value_parser = region)]
    regions: Vec<String>,

    /// Only calls of this IAM user, under this name; may be given more than once
    #[arg(long, value_name = "NAME")]
    user: Vec<UserName>,

    /// Only calls at this time or later: 2026-11-20T09:00:00Z, 2026-11-20, 7d, 12h
    #[arg(long, value_name = "TIME")]
    since: Option<When>,

    /// Only calls before this time, or on this day. The 30 days of --ledger end then
    #[arg(long, value_name = "TIME")]
    until: Option<When>,

    /// Show the keys of a ledger beside their use, and record it there: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, env = LEDGER_VARIABLE, hide_env_values = true, value_name = "LEDGER")]
    ledger: Option<LedgerPlace>,

    /// How rows are written to stdout
    #[arg(long, value_enum, default_value_t = UsageFormat::Table)]
    format: UsageFormat,

    /// Show times in UTC, not as seen from now
    #[arg(long)]
    absolute: bool,

    /// The width of the table in columns. Columns that do not fit are left out; where names do not fit, each row is written as
    /// lines of fields [default: that of the terminal]
    #[arg(long, value_name = "COLUMNS", allow_negative_numbers = true, value_parser = whole_number(40..=u16::MAX))]
    width: Option<u16>,
}

fn region(text: &str) -> Result<String, &'static str> {
    let is_region = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if is_region { Ok(text.to_owned()) } else { Err("expected the name of a Region, such as us-east-1") }
}

/// What was read, beside the calls.
#[derive(Debug, Default)]
struct Tally {
    /// Events of any kind. `None`: CloudTrail's event history was asked.
    events: Option<u64>,
    /// What could not be read, and was said.
    unreadable: usize,
    /// The Regions whose event history was read.
    regions: Vec<String>,
}

impl Usage {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let now = SystemClock.now();
        let since = self.since.map(|since| since.begins(now));
        let until = self.until.map(|until| until.ends(now));
        if since.zip(until).is_some_and(|(since, until)| since >= until) {
            say("error: --until is not after --since");
            return Ok(Exit::Usage.into());
        }
        if self.cloudtrail && self.user.is_empty() && self.ledger.is_none() {
            say(
                "error: --cloudtrail needs to know whose calls: --user NAME, or --ledger for the users with keys in it",
            );
            return Ok(Exit::Usage.into());
        }
        let runtime = runtime()?;
        let mut collected = Collected::new(Question { users: self.user.clone(), since, until });
        let store = self.ledger.as_ref().map(to_read);
        let store = store.map(|store| runtime.block_on(store)).transpose()?;
        let mut tally = if self.cloudtrail {
            runtime.block_on(self.read_history(store.as_ref(), &mut collected, now))?
        } else {
            self.read_files(&mut collected)?
        };
        if tally.events == Some(0) && tally.unreadable == 0 {
            say("error: there are no CloudTrail records in these inputs");
            return Ok(Exit::Failed.into());
        }
        collected.has_unreadable = tally.unreadable > 0;
        // What is 30 days ago is seen from the end of the question.
        let end = until.map_or(now, |until| until.min(now));
        let (rows, mut unreadable) = match store {
            None => (join::users(&collected), Vec::new()),
            Some(store) => runtime.block_on(self.join(store, &collected, (end, now)))?,
        };
        // What was found is recorded wherever the rows go, and printed whatever comes of that.
        let recorded = runtime.block_on(self.record(&collected, now));
        let times = if self.absolute { Times::Absolute } else { Times::From(now) };
        let width = self.width.or_else(|| Table::new().width());
        let style = TableStyle { times, width, keys: self.ledger.is_some() };
        output::print(&rows, self.format, style).context("could not write to stdout")?;
        let (covered, more) = recorded?;
        unreadable.extend(more);
        unreadable.sort_by_cached_key(ToString::to_string);
        unreadable.dedup_by_key(|error| error.to_string());
        tally.unreadable += Warnings::default().warn_unreadable(&unreadable);
        say(&summary(&collected, &tally));
        self.say_covered(covered, &collected);
        collected.similar_names().iter().for_each(|line| say(line));
        let reading = if self.cloudtrail { Reading::History(tally.regions) } else { Reading::Files };
        reading.say_what_it_means(&rows, self.ledger.as_ref().map(|_| end), &collected);
        Ok(ended(tally.unreadable))
    }

    fn read_files(&self, collected: &mut Collected) -> anyhow::Result<Tally> {
        let mut inputs = Inputs::gather(&self.paths)?;
        inputs.pass_over(&self.ledger.as_ref().map(LedgerPlace::files).unwrap_or_default());
        let progress = Progress::of_bytes(inputs.total_size());
        let (mut events_read, mut unreadable) = (0, 0);
        let mut all_passed_over = inputs.passed_over.clone();
        read_all(&inputs.inputs, Detail::Uses, || {
            Ok(|batch: Batch<'_>| {
                for (input, found) in batch {
                    let message = match found {
                        Found::Use(call) => {
                            collected.add(&call);
                            continue;
                        }
                        Found::Event(_) => continue,
                        Found::End { events, spans, passed_over } => {
                            events_read += events;
                            all_passed_over.extend(&passed_over);
                            collected.add_spans(spans);
                            progress.advance(input.size());
                            continue;
                        }
                        Found::Unreadable { place, why } => format!("{place}: {why}"),
                        Found::Problem(message) => message,
                    };
                    unreadable += 1;
                    progress.warn(&message);
                }
                Ok(())
            })
        })?;
        drop(progress);
        if !all_passed_over.is_empty() {
            say(&all_passed_over.to_string());
        }
        Ok(Tally { events: Some(events_read), unreadable, regions: Vec::new() })
    }

    async fn read_history(
        &self,
        store: Option<&Ledger>,
        collected: &mut Collected,
        now: Time,
    ) -> anyhow::Result<Tally> {
        let place = Place::find(self.regions.clone()).await?;
        let (mut users, mut unreadable) = (self.user.clone(), 0);
        if let Some(store) = store.filter(|_| users.is_empty()) {
            let (mut keys, errors) = join::keys_of(store, vec![place.account.clone()], now).await?;
            unreadable += Warnings::default().warn_unreadable(&errors);
            keys.retain(|key| !join::is_deleted(key));
            users = names(&keys);
            if users.is_empty() {
                bail!(
                    "the ledger has no key of account {}, so there is nobody to look for: run `bedrock-key-guard sweep` with \
                     this ledger first, or name users with --user",
                    place.account
                );
            }
        }
        let since = self.since.map(|since| since.begins(now));
        let failures = place.read(&Lookup { users: &users, since, full: self.full, now }, collected).await?;
        say(&format!(
            "CloudTrail's event history of account {} in {}, {} of {}: management events of the last 90 days",
            place.account,
            place.regions.join(", "),
            if self.full { "all events" } else { "the newest 50 events" },
            counted(users.len() as u64, "user", "users"),
        ));
        let regions = place.regions.into_iter().filter(|region| !failures.regions.contains(region)).collect();
        Ok(Tally { events: None, unreadable: unreadable + failures.events + failures.regions.len(), regions })
    }

    /// The keys of the ledger beside their use, and the items that could not be read. `times`: the end of the question, and now.
    async fn join(
        &self,
        store: Ledger,
        collected: &Collected,
        times: (Time, Time),
    ) -> anyhow::Result<(Vec<UsageRow>, Vec<LedgerError>)> {
        let (end, now) = times;
        let (mut keys, mut unreadable) = join::keys_of(&store, collected.accounts(), now).await?;
        let is_asked_for =
            |key: &KeyView| key.names().any(|name| self.user.iter().any(|user| user.is_same_user(name)));
        keys.retain(|key| self.user.is_empty() || is_asked_for(key));
        for warning in join::used_after_deletion(&keys, collected) {
            say(&format!("warning: {warning}"));
        }
        let (rows, more) = join::keys(&store, keys, collected, end).await?;
        unreadable.extend(more);
        Ok((rows, unreadable))
    }

    /// Records what was found and then what was covered. Returns of how many accounts the last 30 days were, and the items that
    /// could not be read.
    async fn record(&self, collected: &Collected, now: Time) -> anyhow::Result<(usize, Vec<LedgerError>)> {
        let found = collected.users.iter();
        let uses: Vec<_> = found.map(|((account, _), used)| used.known(account, now)).collect();
        let coverages = collected.coverages(now);
        let Some(place) = self.ledger.as_ref().filter(|_| !uses.is_empty() || !coverages.is_empty()) else {
            return Ok((0, Vec::new()));
        };
        let store = to_write(place, false).await?;
        let unreadable = store.record_uses(&uses).await?.unreadable;
        // `rollout` relies on it that all that was found is there.
        if !unreadable.is_empty() {
            return Ok((0, unreadable));
        }
        let unreadable = store.record_coverages(&coverages).await?.unreadable;
        Ok((coverages.len() - unreadable.len(), unreadable))
    }

    /// Says of how many accounts `rollout` learns that keys were not used.
    fn say_covered(&self, covered: usize, collected: &Collected) {
        if self.ledger.is_none() || !self.user.is_empty() {
            return;
        }
        let accounts = collected.accounts().len();
        let hint = if self.cloudtrail && !self.full && covered < accounts {
            "; --full reads more than 50 events of a user"
        } else {
            ""
        };
        say(&format!(
            "`rollout` counts this run for {covered} of {}: it takes the last 30 days without a gap, and no input that could not be \
             read{hint}",
            counted(accounts as u64, "account", "accounts")
        ));
    }
}

/// Every name of the users of these keys, once.
fn names(keys: &[KeyView]) -> Vec<UserName> {
    let mut names: Vec<_> = keys.iter().flat_map(|key| key.names().cloned()).collect();
    names.sort_by_key(|name| name.as_str().to_ascii_lowercase());
    names.dedup_by(|one, other| one.is_same_user(other));
    names
}

fn summary(collected: &Collected, tally: &Tally) -> String {
    let events = tally.events.map(|events| format!("{} read: ", counted(events, "event", "events")));
    let mut parts = vec![format!(
        "{} with keys of {}",
        counted(collected.calls(), "call", "calls"),
        counted(collected.users.len() as u64, "IAM user", "IAM users")
    )];
    for (count, [one, many]) in [
        (
            collected.others,
            [
                "call of another identity, with a short-term key",
                "calls of other identities, with short-term keys",
            ],
        ),
        (collected.passed_over, ["call of another user or time", "calls of other users or times"]),
        (collected.repeated, ["came more than once"; 2]),
    ] {
        parts.extend((count > 0).then(|| counted(count, one, many)));
    }
    format!("{}{}; {} unreadable", events.unwrap_or_default(), parts.join(", "), tally.unreadable)
}
