//! `lookup --verify`: the ledger beside the trail's own archive.
//!
//! The archive is what people trust: CloudTrail's digest files show whether its log files are as they were delivered
//! (CloudTrail user guide, *Validating CloudTrail log file integrity*). Memory grows with the events of ours in it, and
//! with nothing else.

mod archive;
mod difference;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::TimeDelta;

use super::exit::Exit;
use super::messages::{Warnings, counted, say};
use super::output::AnswerFormat;
use super::setup::{LedgerPlace, ledger_error, runtime, to_read};
use crate::ledger::audit::history::LogLine;
use crate::ledger::error::LedgerError;
use crate::ledger::query::{Filter, Search};
use crate::ledger::store::Ledger;
use crate::telemetry::chain;
use key_guard_core::Time;
use key_guard_core::cloudtrail::{CreatedKey, Provenance};
use key_guard_core::evidence::{Determination, ExpirationEvidence};
use key_guard_core::key::{AccountId, Expiration, KeyFacts, KeyRef, Service};
use key_guard_core::lifecycle::dry_run::{DryRun, DryRunState};
use key_guard_core::lifecycle::effect::{CallError, HeardEvent};
use key_guard_core::lifecycle::state::{KeyState, Record};
use key_guard_core::policy::{LIMIT_TOLERANCE, Policy};
use key_guard_core::ports::KeyStore as _;
use key_guard_core::time::rfc3339;

use archive::{Archive, KeyEvents};
use difference::{Difference, Differences};

/// Keys whose states are read with one call (DynamoDB API reference, `BatchGetItem`).
const BATCH: usize = 100;

/// Dates that sources give for one expiration may be so far apart (R4).
const SAME_EXPIRATION: TimeDelta = TimeDelta::days(1);

/// What is compared with what.
pub(super) struct Question {
    /// The archive.
    pub paths: Vec<PathBuf>,
    /// The ledger.
    pub ledger: LedgerPlace,
    /// Says which keys the ledger should have.
    pub policy: Policy,
    /// Which keys: by id, account, user and service; which events: by time.
    pub filter: Filter,
    /// How differences are written.
    pub format: AnswerFormat,
}

/// What was compared.
#[derive(Default)]
struct Tally {
    events: u64,
    keys: u64,
    not_judged: u64,
    unknown_service: u64,
    dry_run_only: u64,
    ledger_keys: u64,
    differences: u64,
    unreadable: usize,
}

/// Compares the two and prints what differs.
///
/// # Errors
/// When it could not do its work: exit code 1.
pub(super) fn verify(question: Question, now: Time) -> anyhow::Result<ExitCode> {
    let Some(differences) = Differences::begin(question.format).context(WRITE)? else {
        say("error: --verify has no findings in it; accepted with it: --format table, jsonl or csv");
        return Ok(Exit::Usage.into());
    };
    let archive = Archive::read(&question.paths, &question.ledger.files())?;
    let tally = Tally { unreadable: archive.unreadable, ..Tally::default() };
    if archive.events == 0 && tally.unreadable == 0 {
        say("error: the archive has no CloudTrail records");
        return Ok(Exit::Failed.into());
    }
    runtime()?.block_on(async {
        let store = to_read(&question.ledger).await?;
        let Question { policy, filter, .. } = question;
        let warnings = Warnings::default();
        let mut comparison = Comparison { store, policy, filter, now, differences, tally, warnings };
        comparison.compare_events(&archive).await?;
        comparison.compare_keys(&archive).await?;
        comparison.end(&archive)
    })
}

const WRITE: &str = "could not write to stdout";

/// A comparison under way.
struct Comparison {
    store: Ledger,
    policy: Policy,
    filter: Filter,
    now: Time,
    differences: Differences,
    tally: Tally,
    warnings: Warnings,
}

/// What the ledger has of a key.
enum LedgerEntry {
    Record(Box<Record>),
    /// What a dry run says of it; the ledger has no history of that.
    DryRun(Box<DryRun>),
    /// An event, or the key's end, and not its creation.
    WithoutCreation,
    /// Neither of them.
    Absent,
}

impl Comparison {
    fn differs(&mut self, difference: Difference) -> anyhow::Result<()> {
        self.tally.differences += 1;
        self.differences.write(difference).context(WRITE)
    }

    /// Each event of the archive, beside what the ledger has of its key.
    async fn compare_events(&mut self, archive: &Archive) -> anyhow::Result<()> {
        let wanted: Vec<_> =
            archive.keys.iter().filter(|(key, events)| self.is_wanted(key, events)).collect();
        for batch in wanted.chunks(BATCH) {
            let keys: Vec<_> = batch.iter().map(|(key, _)| (*key).clone()).collect();
            let states = self.store.load(&keys).await;
            let dry_runs = self.store.load_dry_runs(&keys).await;
            for ((key, events), (state, dry_run)) in batch.iter().zip(states.into_iter().zip(dry_runs)) {
                let (Some(state), Some(dry_run)) = (self.read(state)?, self.read(dry_run)?) else { continue };
                let entry = match (state.state, dry_run.map(|(dry_run, _)| dry_run)) {
                    (KeyState::Tracked(record), _) => LedgerEntry::Record(record),
                    (KeyState::Tombstone(_) | KeyState::Unconfirmed(_), _) => LedgerEntry::WithoutCreation,
                    (KeyState::Unknown, Some(DryRunState::Assessed(dry_run))) => LedgerEntry::DryRun(dry_run),
                    (KeyState::Unknown, Some(DryRunState::Unassessed { .. })) => LedgerEntry::WithoutCreation,
                    (KeyState::Unknown, None) => LedgerEntry::Absent,
                };
                self.compare_key(key, events, &entry).await?;
            }
        }
        Ok(())
    }

    fn is_wanted(&self, key: &KeyRef, events: &KeyEvents) -> bool {
        let Filter { key: id, account, user, service, .. } = &self.filter;
        id.as_ref().is_none_or(|id| *id == key.id)
            && account.as_ref().is_none_or(|account| *account == key.account)
            && user.as_ref().is_none_or(|user| events.names(user))
            && service.as_ref().is_none_or(|service| events.service() == Some(service))
    }

    fn is_in_time(&self, time: Time) -> bool {
        let Filter { since, until, .. } = &self.filter;
        since.is_none_or(|since| time >= since) && until.is_none_or(|until| time < until)
    }

    /// What the ledger said. `None`: this item cannot be read, which is said and counted.
    fn read<T>(&mut self, answer: Result<T, CallError>) -> anyhow::Result<Option<T>> {
        match answer {
            Ok(read) => Ok(Some(read)),
            Err(error) => match ledger_error(&error) {
                Some(LedgerError::Unreadable { .. }) => {
                    self.tally.unreadable += 1;
                    self.warnings.warn(&format!("{}; passed over", chain(&error)));
                    Ok(None)
                }
                Some(_) | None => Err(error.into()),
            },
        }
    }

    async fn compare_key(
        &mut self,
        key: &KeyRef,
        events: &KeyEvents,
        entry: &LedgerEntry,
    ) -> anyhow::Result<()> {
        let created: Vec<_> =
            events.creations().filter(|(_, event)| self.is_in_time(event.event_time)).collect();
        let later: Vec<_> =
            events.later.values().filter(|event| self.is_in_time(event.provenance.event_time)).collect();
        let count = (later.len() + created.len()) as u64;
        if count == 0 {
            return Ok(());
        }
        if let LedgerEntry::Absent = entry {
            match events.service() {
                None => self.tally.unknown_service += count,
                Some(service) if !self.policy.judges(service) => self.tally.not_judged += count,
                Some(_) => {}
            }
            if events.service().is_none_or(|service| !self.policy.judges(service)) {
                return Ok(());
            }
        }
        self.tally.keys += 1;
        self.tally.events += count;
        for (created, event) in created {
            self.compare_creation(key, created, event, entry)?;
        }
        if let (LedgerEntry::DryRun(_), false) = (entry, later.is_empty()) {
            self.tally.events -= later.len() as u64;
            self.tally.dry_run_only += later.len() as u64;
            return Ok(());
        }
        let has_history = !later.is_empty() && !matches!(entry, LedgerEntry::Absent);
        let history = if has_history { self.history(key).await? } else { Vec::new() };
        for event in later {
            let is_known = history.iter().any(|line| match line {
                LogLine::Event { provenance, .. } => provenance.event_id == event.provenance.event_id,
                LogLine::Step { .. } => false,
            });
            if !is_known {
                self.differs(Difference::not_in_ledger(key, event.what, &event.provenance))?;
            }
        }
        Ok(())
    }

    async fn history(&mut self, key: &KeyRef) -> anyhow::Result<Vec<LogLine>> {
        let history = self.store.history(key).await?;
        self.tally.unreadable += self.warnings.warn_unreadable(&history.unreadable);
        Ok(history.lines)
    }

    fn compare_creation(
        &mut self,
        key: &KeyRef,
        created: &CreatedKey,
        event: &Provenance,
        entry: &LedgerEntry,
    ) -> anyhow::Result<()> {
        let (facts, creation, evidence) = match entry {
            LedgerEntry::Record(record) => (&record.facts, record.creation.as_ref(), &record.evidence),
            LedgerEntry::DryRun(dry_run) => (&dry_run.facts, dry_run.creation.as_ref(), &dry_run.evidence),
            LedgerEntry::WithoutCreation | LedgerEntry::Absent => {
                return self.differs(Difference::not_in_ledger(key, "created", event));
            }
        };
        // A sweep has recorded the key, and its creation event never came.
        let Some(creation) = creation else {
            return self.differs(Difference::not_in_ledger(key, "created", event));
        };
        // The ledger has what CloudTrail said later.
        if creation
            .corrects
            .as_ref()
            .is_some_and(|corrects| corrects.event_id.as_ref() == Some(&event.event_id))
        {
            return Ok(());
        }
        let fields = differing_fields(facts, evidence, created);
        let actors = [creation, event].map(|event| event.actor.principal.clone());
        let ids = [creation, event].map(|event| Some(event.event_id.to_string()));
        let others = [("creator", actors), ("event_id", ids)];
        let others = others.into_iter().filter(|(_, [ledger, archive])| ledger != archive);
        for (field, values) in fields.into_iter().chain(others) {
            self.differs(Difference::of_field(key, event, field, values))?;
        }
        Ok(())
    }

    /// Each key of the ledger, beside what the archive has of it while it has events of the key's account.
    async fn compare_keys(&mut self, archive: &Archive) -> anyhow::Result<()> {
        let spans: Vec<_> =
            archive.spans.iter().map(|(account, first, last)| (account.clone(), first, last)).collect();
        for (account, first, last) in spans {
            if self.filter.account.as_ref().is_some_and(|wanted| *wanted != account) {
                continue;
            }
            let end = last + TimeDelta::seconds(1);
            let since = self.filter.since.map_or(first, |since| since.max(first));
            let until = self.filter.until.map_or(end, |until| until.min(end));
            if since < until {
                self.compare_keys_of(account, [since, until], archive).await?;
            }
        }
        Ok(())
    }

    async fn compare_keys_of(
        &mut self,
        account: AccountId,
        [since, until]: [Time; 2],
        archive: &Archive,
    ) -> anyhow::Result<()> {
        // Something may happen to a key of any age.
        let filter = Filter { account: Some(account), since: None, until: None, ..self.filter.clone() };
        let store = self.store.clone();
        let mut search = Search::new(&store, filter, None, usize::MAX, self.now)?;
        loop {
            let found = search.next().await;
            self.tally.unreadable += self.warnings.warn_unreadable(&search.unreadable());
            let Some(found) = found? else { return Ok(()) };
            let events = archive.keys.get(&found.key);
            // There is no creation to look for if only an event or the end of a key is known.
            let created = found.views.iter().find(|view| view.report.created_at.is_some());
            if let Some(view) = created.filter(|view| since <= view.at && view.at < until) {
                self.tally.ledger_keys += 1;
                if events.is_none_or(|events| events.created.is_empty()) {
                    let creation = view.creation.as_ref();
                    self.differs(Difference::not_in_archive(&found.key, "created", creation))?;
                }
            }
            self.compare_history(&found.key, [since, until], events).await?;
        }
    }

    /// Each later event that the ledger has of a key, beside the archive.
    async fn compare_history(
        &mut self,
        key: &KeyRef,
        [since, until]: [Time; 2],
        events: Option<&KeyEvents>,
    ) -> anyhow::Result<()> {
        for line in self.history(key).await? {
            let LogLine::Event { heard, provenance } = line else { continue };
            let what = match heard {
                HeardEvent::Created => continue,
                HeardEvent::Activated => "activated",
                HeardEvent::Reset => "reset",
                HeardEvent::Deactivated => "deactivated",
                HeardEvent::Deleted => "deleted",
            };
            let is_archived = events.is_some_and(|events| events.later.contains_key(&provenance.event_id));
            if !is_archived && (since..until).contains(&provenance.event_time) {
                self.differs(Difference::not_in_archive(key, what, Some(&provenance)))?;
            }
        }
        Ok(())
    }

    fn end(self, archive: &Archive) -> anyhow::Result<ExitCode> {
        let Self { differences, tally, warnings, .. } = self;
        drop(warnings);
        differences.end().context(WRITE)?;
        let not_compared = tally.not_judged + tally.unknown_service + tally.dry_run_only;
        let others = archive.events.saturating_sub(tally.events + not_compared);
        let mut summary = format!(
            "{} read; {} of {} compared with the ledger, {} of the ledger with the archive: {}",
            counted(archive.events, "event", "events"),
            counted(tally.events, "event", "events"),
            counted(tally.keys, "key", "keys"),
            counted(tally.ledger_keys, "key", "keys"),
            counted(tally.differences, "difference", "differences")
        );
        for (count, one, many, what) in [
            (tally.not_judged, "event", "events", "of keys that the policy does not judge"),
            (tally.unknown_service, "event", "events", "of keys whose service is not known"),
            (tally.dry_run_only, "later event", "later events", "of keys that only a dry run knows"),
            (
                others,
                "other event",
                "other events",
                "(no change of a key, a copy, corrected, or not asked for)",
            ),
        ] {
            if count > 0 {
                let part = format!("; not compared: {} {what}", counted(count, one, many));
                summary.push_str(&part);
            }
        }
        say(&format!("{summary}; {} unreadable", tally.unreadable));
        if !archive.passed_over.is_empty() {
            say(&archive.passed_over.to_string());
        }
        Ok(if tally.differences > 0 {
            Exit::Found
        } else if tally.unreadable > 0 {
            Exit::Unreadable
        } else {
            Exit::Done
        }
        .into())
    }
}

/// The fields of a key that differ: their names, and what the ledger and the archive say.
fn differing_fields(
    facts: &KeyFacts,
    evidence: &ExpirationEvidence,
    created: &CreatedKey,
) -> Vec<(&'static str, [Option<String>; 2])> {
    let mut fields = Vec::new();
    let mut differ = |field, ledger: String, archive: String| {
        fields.push((field, [Some(ledger), Some(archive)]));
    };
    let is_same_user = facts.user.is_same_user(&created.user)
        || facts.other_names.iter().any(|name| name.is_same_user(&created.user));
    if !is_same_user {
        differ("user", facts.user.to_string(), created.user.to_string());
    }
    if facts.service != created.service {
        differ("service", facts.service.to_string(), created.service.to_string());
    }
    let created_at = created.evidence.assumed_creation();
    if (facts.created_at - created_at).abs() > LIMIT_TOLERANCE {
        differ("created_at", rfc3339(facts.created_at), rfc3339(created_at));
    }
    // What IAM's list says is not in the archive.
    let of_event = ExpirationEvidence { event: evidence.event.clone(), listed: None };
    let evidence = if of_event.event.is_some() { &of_event } else { evidence };
    let [ledger, archive] =
        [evidence, &created.evidence.clone().into()].map(|evidence| expiration(evidence, &created.service));
    let is_same = match (ledger, archive) {
        (Some(Expiration::At(one)), Some(Expiration::At(other))) => (one - other).abs() <= SAME_EXPIRATION,
        (ledger, archive) => ledger == archive,
    };
    if !is_same {
        differ("expires_at", describe(ledger), describe(archive));
    }
    fields
}

/// `None`: it is undetermined.
fn expiration(evidence: &ExpirationEvidence, service: &Service) -> Option<Expiration> {
    match evidence.determine(service) {
        Determination::Known { expiration, .. } => Some(expiration),
        Determination::Undetermined(_) => None,
    }
}

fn describe(expiration: Option<Expiration>) -> String {
    match expiration {
        None => "undetermined".to_owned(),
        Some(Expiration::Never) => "never".to_owned(),
        Some(Expiration::At(time)) => rfc3339(time),
    }
}
