//! A key as commands show it: from its state, or from a dry run.

use std::collections::BTreeSet;

use super::audit::history::LogLine;
use key_guard_core::cloudtrail::Provenance;
use key_guard_core::key::{Expiration, KeyFacts, KeyRef, Status, UserName};
use key_guard_core::lifecycle::dry_run::{DryRunState, EarlyEvents};
use key_guard_core::lifecycle::effect::HeardEvent;
use key_guard_core::lifecycle::input::Action;
use key_guard_core::lifecycle::result::report_of_state;
use key_guard_core::lifecycle::standing::Standing;
use key_guard_core::lifecycle::state::{GoneEvidence, KeyState, LastSeen, Phase, Record};
use key_guard_core::policy::Verdict;
use key_guard_core::remediation::{Advice, Contact};
use key_guard_core::report::{Report, Severity};
use key_guard_core::time::Time;

/// A key as commands show it.
///
/// [`KeyView::report`] has what everything returns about a key. The rest is what only readers of the ledger ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyView {
    /// Which key.
    pub key: KeyRef,
    /// True for a dry run: nothing of it was done (R14).
    pub is_dry_run: bool,
    /// The time that searches go by: that of the creation event, or IAM's creation time. Of a key without a record, the
    /// time of what is known.
    pub at: Time,
    /// What is known of the key, and what was done.
    pub report: Report,
    /// Who created it. `None`: no event said so, or not yet.
    pub creation: Option<Provenance>,
    /// Every other name that its user was seen with.
    pub other_names: BTreeSet<UserName>,
    /// When it expires. `None`: nothing but an event or the key's end is known.
    pub expiration: Option<KnownExpiration>,
    /// How it stands, who brought that about, and how that is known. The report has the same status.
    pub standing: Standing,
    /// How it stood when somebody last saw it.
    pub last_seen: Option<LastSeen>,
    /// When the guard first assessed it; of a dry run, when that was.
    pub first_assessed: Option<Time>,
    /// When its finding last changed.
    pub changed_at: Option<Time>,
    /// When the guard deactivated or deleted it.
    pub acted_at: Option<Time>,
    /// The end of its quarantine.
    pub delete_after: Option<Time>,
    /// The response that is pending.
    pub intent: Option<OpenIntent>,
    /// True while nobody has been told of its current finding.
    pub unreported: bool,
}

/// When a key expires, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownExpiration {
    /// Never.
    Never,
    /// At this time.
    At(Time),
    /// That is not known.
    Undetermined,
}

impl KnownExpiration {
    /// As written for scripts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::At(_) => "at",
            Self::Undetermined => "undetermined",
        }
    }
}

impl From<Option<Expiration>> for KnownExpiration {
    fn from(expiration: Option<Expiration>) -> Self {
        match expiration {
            None => Self::Undetermined,
            Some(Expiration::Never) => Self::Never,
            Some(Expiration::At(end)) => Self::At(end),
        }
    }
}

/// A response that is authorised and not executed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenIntent {
    /// What is to be done, at most.
    pub action: Action,
    /// When it was authorised.
    pub since: Time,
    /// The end of the lease of the worker that executes it. `None`: anybody may.
    pub leased_until: Option<Time>,
}

impl KeyView {
    /// A stored state. `None`: nothing is stored.
    #[must_use]
    pub fn of_state(key: &KeyRef, state: &KeyState) -> Option<Self> {
        let report = report_of_state(key, state);
        let view = match state {
            KeyState::Unknown => None,
            KeyState::Unconfirmed(observation) => {
                Some(Self::without_facts(key, report, observation.asked_at))
            }
            KeyState::Tombstone(gone) => {
                let acted_at = acted_at(gone);
                Some(Self { acted_at, ..Self::without_facts(key, report, gone.at()) })
            }
            KeyState::Tracked(record) => Some(Self::of_record(record, report)),
        };
        Some(Self { standing: Standing::of_state(state), ..view? })
    }

    /// A dry run.
    #[must_use]
    pub fn of_dry_run(dry_run: &DryRunState) -> Self {
        let report = dry_run.report();
        let dry_run = match dry_run {
            DryRunState::Assessed(dry_run) => dry_run,
            DryRunState::Unassessed { key, early: EarlyEvents { standing, .. }, at } => {
                let view = Self::without_facts(key, report, standing.since.unwrap_or(*at));
                return Self { is_dry_run: true, standing: standing.clone(), ..view };
            }
        };
        Self {
            is_dry_run: true,
            standing: dry_run.standing.clone(),
            expiration: Some(dry_run.assessment.expiration.into()),
            first_assessed: Some(dry_run.at),
            changed_at: Some(dry_run.at),
            ..Self::of_facts(&dry_run.facts, dry_run.creation.as_ref(), report)
        }
    }

    /// As it is at `now`: its time may be over.
    #[must_use]
    pub fn as_of(self, now: Time) -> Self {
        let is_known = self.report.verdict != Some(Verdict::Undetermined);
        let end = self.report.expires_at.filter(|_| is_known);
        let standing = self.standing.clone().as_of(now, end);
        self.with_standing(standing)
    }

    /// A dry run with how the key stands by its state, where that is known of a later time, or is its end: one key has one
    /// status.
    #[must_use]
    pub fn beside(self, state: &Self) -> Self {
        if !self.is_dry_run {
            return self;
        }
        let standing = if state.standing.status == Status::Gone {
            state.standing.clone()
        } else {
            self.standing.clone().join(state.standing.clone())
        };
        self.with_standing(standing)
    }

    /// With what its history says of its status. An event that came before the key's creation event is no part of its state.
    #[must_use]
    pub fn with_history(self, lines: &[LogLine]) -> Self {
        let events = lines.iter().filter_map(|line| match line {
            LogLine::Event { heard: HeardEvent::Deactivated, provenance } => {
                Some((Status::Inactive, provenance))
            }
            LogLine::Event { heard: HeardEvent::Activated, provenance } => Some((Status::Active, provenance)),
            LogLine::Event { .. } | LogLine::Step { .. } => None,
        });
        let latest = events.max_by_key(|(_, event)| event.event_time);
        match (self.standing.status, latest) {
            (Status::Active | Status::Inactive, Some((status, event))) => {
                let standing = self.standing.clone().join(Standing::of_event(status, event));
                self.with_standing(standing)
            }
            (Status::Active | Status::Inactive | Status::Expired | Status::Gone | Status::Unknown, _) => self,
        }
    }

    fn with_standing(mut self, standing: Standing) -> Self {
        let report = &mut self.report;
        if report.status != standing.status {
            report.status = standing.status;
            if let Some(verdict) = report.verdict {
                report.severity = Severity::of_key(verdict, report.violation, standing.status);
            }
            if let Some(remediation) = &mut report.remediation
                && let Advice::Key(advice) = &mut remediation.advice
            {
                advice.status = standing.status;
            }
        }
        Self { standing, ..self }
    }

    /// With whom owners of keys ask.
    #[must_use]
    pub fn with_contact(self, contact: Option<&Contact>) -> Self {
        Self { report: self.report.with_contact(contact), ..self }
    }

    fn of_record(record: &Record, report: Report) -> Self {
        let (acted_at, intent) = match &record.phase {
            Phase::Settled | Phase::Inactive(_) => (None, None),
            Phase::Pending(intent) => {
                let leased_until = intent.lease.as_ref().map(|lease| lease.until);
                let since = intent.id.authorised_at;
                (None, Some(OpenIntent { action: intent.action, since, leased_until }))
            }
            Phase::Deactivated(deactivation) => (Some(deactivation.at), None),
            Phase::Gone(gone) => (acted_at(gone), None),
        };
        Self {
            expiration: Some(record.assessed().and_then(|assessment| assessment.expiration).into()),
            last_seen: record.last_seen.clone(),
            first_assessed: Some(record.first_assessed),
            changed_at: Some(record.changed_at),
            acted_at,
            delete_after: record.delete_after,
            intent,
            unreported: record.unreported,
            ..Self::of_facts(&record.facts, record.creation.as_ref(), report)
        }
    }

    fn of_facts(facts: &KeyFacts, creation: Option<&Provenance>, report: Report) -> Self {
        let at = creation.map_or(facts.created_at, |event| event.event_time);
        Self {
            creation: creation.cloned(),
            other_names: facts.other_names.clone(),
            ..Self::without_facts(&facts.key, report, at)
        }
    }

    fn without_facts(key: &KeyRef, report: Report, at: Time) -> Self {
        Self {
            key: key.clone(),
            is_dry_run: false,
            at,
            report,
            creation: None,
            other_names: BTreeSet::new(),
            expiration: None,
            standing: Standing::UNKNOWN,
            last_seen: None,
            first_assessed: None,
            changed_at: None,
            acted_at: None,
            delete_after: None,
            intent: None,
            unreported: false,
        }
    }

    /// Every name that its user was seen with.
    pub fn names(&self) -> impl Iterator<Item = &UserName> {
        self.report.user.iter().chain(&self.other_names)
    }
}

/// When the guard deleted a key, if it did.
const fn acted_at(gone: &GoneEvidence) -> Option<Time> {
    match gone {
        GoneEvidence::DeletedByGuard { at } => Some(*at),
        GoneEvidence::DeletedBy { .. } | GoneEvidence::Absent { .. } => None,
    }
}
