//! What the ledger knows that a rollout depends on.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use key_guard_core::Time;
use key_guard_core::key::{AccountId, Expiration, KeyFacts, KeyRef, KeyStatus, Status};
use key_guard_core::lifecycle::dry_run::{DryRun, DryRunState};
use key_guard_core::lifecycle::effect::{Cause, Change, HeardEvent, LogEntry};
use key_guard_core::lifecycle::input::Action;
use key_guard_core::lifecycle::state::{Downgrade, Record};
use key_guard_core::policy::{Assessment, Response, Scope, Verdict};
use key_guard_core::usage::{IDLE, KnownUse, UsageCoverage};

use crate::cli::messages::Warnings;
use crate::ledger::portable::{PortableContent, PortableItem};
use crate::ledger::store::Ledger;

/// What has to be quiet is looked at for so long.
pub const QUIET: TimeDelta = TimeDelta::days(7);

/// A resume completes pending responses every ten minutes. One that is this old is overdue.
const OVERDUE: TimeDelta = TimeDelta::hours(1);

/// What the ledger knows, as of `now`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    pub now: Time,
    /// When the guard first assessed a key. Dry runs do not count.
    pub since: Option<Time>,
    /// When the guard first deactivated a key.
    pub first_deactivation: Option<Time>,
    /// When the guard first put one of the keys that are in quarantine now there.
    pub first_quarantine: Option<Time>,
    /// The longest quarantine of a key that is in it, in days.
    pub grace_days: u32,
    /// Keys that the guard deleted.
    pub deleted: u64,
    /// Keys that exist, as far as is known, and have not expired.
    pub keys: u64,
    /// Those of them whose assessment is only a dry run.
    pub dry_runs: u64,
    /// Active noncompliant keys by the policy's response, before any ceiling.
    pub noncompliant: BTreeMap<Response, u64>,
    /// Active noncompliant keys whose user used a key within [`IDLE`].
    pub in_use: u64,
    /// The rest of them of whose use nothing is known: no run of `usage` has looked for all their users' calls within [`IDLE`].
    pub use_not_known: u64,
    /// Active noncompliant keys that nobody is known to have created.
    pub without_owner: u64,
    /// Keys in quarantine.
    pub quarantined: u64,
    /// Those of them that are active again.
    pub quarantined_and_active: u64,
    /// How often a key was activated within [`QUIET`] after the guard had deactivated it.
    pub activated_again: u64,
    /// Keys that a ceiling kept from deletion: they are deactivated.
    pub held_back_by_ceiling: u64,
    /// Keys that the breaker kept from deletion within [`QUIET`].
    pub held_back_by_breaker: u64,
    pub errors: Errors,
}

/// What went wrong, as far as the ledger knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Errors {
    /// Keys whose expiration is not known.
    pub undetermined: u64,
    /// Responses that should have completed.
    pub overdue: u64,
    /// Accounts whose heartbeat is not heard any more.
    pub silent_accounts: u64,
    /// Items of the ledger that cannot be read.
    pub unreadable: u64,
}

impl Errors {
    pub const fn total(self) -> u64 {
        self.undetermined + self.overdue + self.silent_accounts + self.unreadable
    }
}

impl Observed {
    /// Nothing is known yet.
    pub const fn new(now: Time) -> Self {
        Self {
            now,
            since: None,
            first_deactivation: None,
            first_quarantine: None,
            grace_days: 0,
            deleted: 0,
            keys: 0,
            dry_runs: 0,
            noncompliant: BTreeMap::new(),
            in_use: 0,
            use_not_known: 0,
            without_owner: 0,
            quarantined: 0,
            quarantined_and_active: 0,
            activated_again: 0,
            held_back_by_ceiling: 0,
            held_back_by_breaker: 0,
            errors: Errors { undetermined: 0, overdue: 0, silent_accounts: 0, unreadable: 0 },
        }
    }

    /// Reads it from the ledger: the whole table.
    ///
    /// # Errors
    /// When the ledger cannot be read. Single items that cannot be are counted.
    pub async fn read(store: &Ledger, now: Time) -> anyhow::Result<Self> {
        let mut collector = Collector::new(now);
        let warnings = Warnings::default();
        let mut unreadable = 0;
        let mut pass_over = |error| unreadable += warnings.warn_unreadable(&[error]);
        let mut scan = store.table_scan();
        while let Some(page) = scan.next().await? {
            for item in page {
                match item {
                    Ok(item) => collector.add(item),
                    Err(error) => pass_over(error),
                }
            }
        }
        let mut observed = collector.finish();
        for account in store.heard_items().await? {
            match account {
                Ok(account) => observed.errors.silent_accounts += u64::from(account.is_silent(now)),
                Err(error) => pass_over(error),
            }
        }
        observed.errors.unreadable = u64::try_from(unreadable)?;
        Ok(observed)
    }

    /// Active noncompliant keys.
    pub fn active_noncompliant(&self) -> u64 {
        self.noncompliant.values().sum()
    }

    /// Those of them that would be acted upon without a ceiling.
    pub fn would_be_acted_upon(&self) -> u64 {
        self.noncompliant
            .iter()
            .filter(|(response, _)| **response >= Response::Deactivate)
            .map(|(_, keys)| keys)
            .sum()
    }
}

/// An active noncompliant key.
struct Finding {
    account: AccountId,
    /// In lower case.
    users: BTreeSet<String>,
    /// What was used before that was another key.
    created_at: Time,
}

/// Reads items in the order of the table: of each key first its history, then its state, then its dry run.
struct Collector {
    observed: Observed,
    /// Their use is known at the end.
    findings: Vec<Finding>,
    last_used: BTreeMap<(AccountId, String), Time>,
    coverages: BTreeMap<AccountId, UsageCoverage>,
    /// The key that the guard deactivated last. Activations count from this time on.
    deactivated: Option<(KeyRef, Time)>,
    /// The key of the latest state: its dry run says nothing more, but perhaps who created it.
    last_state: Option<KeyRef>,
    /// Whether that is an active noncompliant key whose creation is not known.
    lacks_owner: bool,
}

impl Collector {
    const fn new(now: Time) -> Self {
        Self {
            observed: Observed::new(now),
            findings: Vec::new(),
            last_used: BTreeMap::new(),
            coverages: BTreeMap::new(),
            deactivated: None,
            last_state: None,
            lacks_owner: false,
        }
    }

    fn add(&mut self, item: PortableItem) {
        match item.content {
            PortableContent::Log(entry) => self.add_entry(&entry),
            PortableContent::State(key, state) => {
                let before = self.observed.without_owner;
                if let Some(record) = state.record() {
                    self.add_record(record);
                }
                self.lacks_owner = self.observed.without_owner > before;
                self.last_state = Some(key);
            }
            PortableContent::DryRun(DryRunState::Assessed(dry_run))
                if self.last_state.as_ref() == Some(&dry_run.facts.key) =>
            {
                // `replay` has found the creation event.
                let is_found = std::mem::take(&mut self.lacks_owner) && dry_run.creation.is_some();
                self.observed.without_owner -= u64::from(is_found);
            }
            PortableContent::DryRun(DryRunState::Assessed(dry_run)) => self.add_dry_run(&dry_run),
            PortableContent::DryRun(DryRunState::Unassessed { .. }) => {}
            PortableContent::Use(known) => self.add_use(*known),
            PortableContent::UsageCoverage(coverage) => {
                self.coverages.insert(coverage.account.clone(), *coverage);
            }
            PortableContent::Attempts(_)
            | PortableContent::UserChanged(_)
            | PortableContent::UnjudgedKey(_)
            | PortableContent::Policy(_) => {}
        }
    }

    fn add_entry(&mut self, entry: &LogEntry) {
        match &entry.change {
            Change::Acted { action: Action::Deactivate, .. } => {
                earlier(&mut self.observed.first_deactivation, entry.at);
                self.deactivated = Some((entry.key.clone(), entry.at));
            }
            Change::Acted { action: Action::Delete, .. } => self.observed.deleted += 1,
            Change::Heard(_)
            | Change::Assessed
            | Change::Intended { .. }
            | Change::Observed(_)
            | Change::Gone
            | Change::Inactive
            | Change::Learned
            | Change::Reported => {}
        }
        if let (Cause::Event { heard: HeardEvent::Activated, provenance }, Some((key, since))) =
            (&entry.cause, &mut self.deactivated)
            && *key == entry.key
            && provenance.event_time >= *since
        {
            let is_recent = provenance.event_time >= self.observed.now - QUIET;
            self.observed.activated_again += u64::from(is_recent);
            // Other lines of the same event do not count.
            *since = provenance.event_time + TimeDelta::seconds(1);
        }
    }

    fn add_record(&mut self, record: &Record) {
        let observed = &mut self.observed;
        earlier(&mut observed.since, record.first_assessed);
        if record.phase.gone().is_some() {
            return;
        }
        let Scope::InScope(assessment) = &record.assessment else { return };
        if has_expired(assessment, observed.now) {
            return;
        }
        let now = observed.now;
        observed.keys += 1;
        if let Some(intent) = record.phase.intent() {
            let is_overdue = !intent.is_leased(now) && intent.id.authorised_at < now - OVERDUE;
            observed.errors.overdue += u64::from(is_overdue);
        }
        let is_active = record.known_status().is_none_or(|status| status == KeyStatus::Active);
        if let Some(deactivation) = record.phase.deactivation() {
            let is_recent = deactivation.at >= now - QUIET;
            match deactivation.downgraded {
                Some(Downgrade::Breaker) => observed.held_back_by_breaker += u64::from(is_recent),
                Some(Downgrade::Ceiling) => observed.held_back_by_ceiling += 1,
                None => {}
            }
        }
        if record.delete_after.is_some() {
            observed.quarantined += 1;
            observed.quarantined_and_active += u64::from(is_active);
            observed.grace_days = observed.grace_days.max(assessment.grace_days);
            let begun = record.phase.deactivation().map(|deactivation| deactivation.at);
            earlier(&mut observed.first_quarantine, begun.unwrap_or(record.changed_at));
        }
        self.add_assessment(assessment, &record.facts, is_active, record.creation.is_some());
    }

    fn add_dry_run(&mut self, dry_run: &DryRun) {
        let is_deleted = dry_run.standing.status == Status::Gone;
        if is_deleted || has_expired(&dry_run.assessment, self.observed.now) {
            return;
        }
        self.observed.keys += 1;
        self.observed.dry_runs += 1;
        let is_active = matches!(dry_run.standing.status, Status::Active | Status::Unknown);
        self.add_assessment(&dry_run.assessment, &dry_run.facts, is_active, dry_run.creation.is_some());
    }

    fn add_assessment(
        &mut self,
        assessment: &Assessment,
        facts: &KeyFacts,
        is_active: bool,
        has_owner: bool,
    ) {
        match assessment.verdict() {
            Verdict::Noncompliant if is_active => {
                *self.observed.noncompliant.entry(assessment.response).or_default() += 1;
                self.observed.without_owner += u64::from(!has_owner);
                let names = facts.other_names.iter().chain([&facts.user]);
                let users = names.map(|name| name.as_str().to_ascii_lowercase()).collect();
                let account = facts.key.account.clone();
                self.findings.push(Finding { account, users, created_at: facts.created_at });
            }
            Verdict::Undetermined => self.observed.errors.undetermined += 1,
            Verdict::Noncompliant | Verdict::Compliant | Verdict::Exempt => {}
        }
    }

    fn add_use(&mut self, known: KnownUse) {
        let user = (known.account, known.user.as_str().to_ascii_lowercase());
        self.last_used.insert(user, known.last_used_at);
    }

    fn finish(self) -> Observed {
        let Self { mut observed, findings, last_used, coverages, .. } = self;
        let since = observed.now - IDLE;
        for Finding { account, users, created_at } in findings {
            let is_used = |user: &String| {
                let last = last_used.get(&(account.clone(), user.clone()));
                last.is_some_and(|last| *last >= since && *last >= created_at)
            };
            let is_covered =
                coverages.get(&account).is_some_and(|coverage| coverage.covers(&users, observed.now));
            if users.iter().any(is_used) {
                observed.in_use += 1;
            } else if !is_covered {
                observed.use_not_known += 1;
            }
        }
        observed
    }
}

fn earlier(known: &mut Option<Time>, at: Time) {
    *known = Some(known.map_or(at, |known| known.min(at)));
}

/// An expired key is harmless.
fn has_expired(assessment: &Assessment, now: Time) -> bool {
    match assessment.expiration {
        Some(Expiration::At(end)) => end <= now,
        Some(Expiration::Never) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use key_guard_core::cloudtrail::{Actor, Provenance};
    use key_guard_core::lifecycle::input::WorkerId;
    use key_guard_core::lifecycle::state::IntentId;

    const ACCOUNT: &str = "111122223333";

    fn now() -> Time {
        "2026-12-01T12:00:00Z".parse().unwrap()
    }

    fn entry(number: u32, days_ago: i64, cause: Cause, change: Change) -> PortableItem {
        let id = format!("ACCAROLLOUT{number:010}").parse().unwrap();
        let key = KeyRef { account: ACCOUNT.parse().unwrap(), id };
        PortableItem::from(PortableContent::Log(Box::new(LogEntry {
            key,
            at: now() - TimeDelta::days(days_ago),
            cause,
            change,
        })))
    }

    fn deactivated(number: u32, days_ago: i64) -> PortableItem {
        let authorised_at = now() - TimeDelta::days(days_ago);
        let intent = IntentId { opened_by: WorkerId("w".to_owned()), authorised_at };
        entry(number, days_ago, Cause::Sweep, Change::Acted { intent, action: Action::Deactivate })
    }

    fn activated(number: u32, days_ago: i64) -> PortableItem {
        let provenance = Provenance {
            account: ACCOUNT.parse().unwrap(),
            event_id: format!("event-{number}-{days_ago}").parse().unwrap(),
            event_time: now() - TimeDelta::days(days_ago),
            actor: Actor::default(),
            source_ip: None,
            user_agent: None,
            corrects: None,
            unreadable: Vec::new(),
        };
        let cause = Cause::Event { heard: HeardEvent::Activated, provenance: Box::new(provenance) };
        entry(number, days_ago, cause, Change::Assessed)
    }

    fn observed(items: impl IntoIterator<Item = PortableItem>) -> Observed {
        let mut collector = Collector::new(now());
        items.into_iter().for_each(|item| collector.add(item));
        collector.finish()
    }

    #[test]
    fn only_activations_after_the_guards_deactivation_and_within_a_week_count() {
        for (items, expected) in [
            (vec![deactivated(1, 3), activated(1, 2)], 1),
            (vec![deactivated(1, 3), activated(1, 2), deactivated(1, 2), activated(1, 1)], 2),
            (vec![deactivated(1, 3), activated(1, 2), activated(1, 2)], 1),
            (vec![deactivated(1, 30), activated(1, 20), activated(1, 1)], 1),
            (vec![deactivated(1, 30), activated(1, 8)], 0),
            (vec![activated(1, 4), deactivated(1, 3)], 0),
            (vec![deactivated(1, 3), activated(2, 2)], 0),
        ] {
            let text = format!("{items:?}");
            assert_eq!(observed(items).activated_again, expected, "{text}");
        }
    }

    #[test]
    fn the_first_deactivation_is_the_earliest() {
        let seen = observed([deactivated(1, 3), deactivated(2, 9), deactivated(3, 5)]);
        assert_eq!(seen.first_deactivation, Some(now() - TimeDelta::days(9)));
        assert_eq!(observed([activated(1, 1)]).first_deactivation, None);
    }
}
