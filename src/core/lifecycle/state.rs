//! What is stored of a key.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use crate::Time;
use crate::cloudtrail::{CreatedKey, Provenance};
use crate::evidence::ExpirationEvidence;
use crate::key::{KeyFacts, KeyRef, KeyStatus, UserName};
use crate::policy::{Assessment, Scope, Verdict, Violation};

use super::input::{Action, ListedKey, Trigger, WorkerId};
use super::steps::ended;
use super::{CONSISTENCY_WINDOW, creation};

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// Nothing is stored.
    Unknown,
    /// An event named the key, and one observation of IAM waits for its confirmation (R3).
    Unconfirmed(Observation),
    /// The key ended before anything else was known of it.
    Tombstone(GoneEvidence),
    /// The key is known.
    Tracked(Box<Record>),
}

impl KeyState {
    /// The record, if the key is known.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Tracked(record) => Some(record),
            Self::Unknown | Self::Unconfirmed(_) | Self::Tombstone(_) => None,
        }
    }

    /// How the key is known to be gone, if it is.
    pub(super) fn gone(&self) -> Option<&GoneEvidence> {
        match self {
            Self::Tombstone(gone) => Some(gone),
            Self::Tracked(record) => record.phase.gone(),
            Self::Unknown | Self::Unconfirmed(_) => None,
        }
    }

    /// This state, with what another ledger knows of a later time: how the key stood, or that it has ended. What the guard has
    /// done with the key stays, and so does what it has yet to do, unless the key has ended. `None`: nothing of that is new.
    #[must_use]
    pub fn updated_by(&self, other: &Self) -> Option<Self> {
        let known = self.record().filter(|known| known.phase.gone().is_none())?;
        let (next, at) = match (other.gone(), other) {
            (Some(gone), _) if known.was_seen_after(gone.at()) => return None,
            (Some(gone), _) => (ended(known.clone(), gone.clone()), gone.at()),
            (None, Self::Tracked(other)) => {
                let (mut next, seen) = (known.clone(), other.last_seen.clone()?);
                let at = seen.at;
                next.see(seen);
                let is_active_again = next.known_status() == Some(KeyStatus::Active)
                    && known.known_status() != Some(KeyStatus::Active);
                if is_active_again && matches!(next.phase, Phase::Inactive(_)) {
                    next.phase = Phase::Settled;
                }
                (next, at)
            }
            (None, Self::Unknown | Self::Unconfirmed(_) | Self::Tombstone(_)) => return None,
        };
        if known.says_the_same_as(&next) {
            return None;
        }
        let mut next = next;
        next.note_change(Some(known), false, at.max(known.changed_at));
        Some(Self::Tracked(Box::new(next)))
    }

    /// The observation that waits for its confirmation.
    #[must_use]
    pub fn observation(&self) -> Option<Observation> {
        match self {
            Self::Unconfirmed(observation) => Some(*observation),
            Self::Tracked(record) => record.observation,
            Self::Unknown | Self::Tombstone(_) => None,
        }
    }
}

/// The number of a stored state. Each write of a key needs the number that it was decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

impl Version {
    /// Nothing is stored.
    pub const ABSENT: Self = Self(0);

    /// The version that a write makes of this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A state as the store returns it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoredState {
    /// Its number.
    pub version: Version,
    /// The state.
    pub state: KeyState,
}

impl StoredState {
    /// Nothing is stored.
    pub const ABSENT: Self = Self { version: Version::ABSENT, state: KeyState::Unknown };
}

/// A known key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// Which key, whose, for which service, created when; and every other name that its user had.
    pub facts: KeyFacts,
    /// What each source says of its expiration (R4).
    pub evidence: ExpirationEvidence,
    /// Who created it. `None` until its creation event arrives.
    pub creation: Option<Provenance>,
    /// The latest assessment.
    pub assessment: Scope,
    /// The time of the latest handled trigger (R1).
    pub handled_through: Option<Time>,
    /// The end of its quarantine. Only a compliant or exempt verdict clears it (R12).
    pub delete_after: Option<Time>,
    /// An observation of IAM that waits for its confirmation (R3).
    pub observation: Option<Observation>,
    /// How the key stood when somebody last saw it.
    pub last_seen: Option<LastSeen>,
    /// The policy that judged it.
    pub policy_sha256: String,
    /// When the guard first assessed the key (R10).
    pub first_assessed: Time,
    /// When its finding last changed (R10).
    pub changed_at: Time,
    /// True while nobody has been told of its current finding (R10).
    pub unreported: bool,
    /// What the guard has done with it, or has yet to do.
    pub phase: Phase,
    /// What a later version has stored with it.
    pub unknown_fields: UnknownFields,
}

/// Fields of a stored item that this version does not know: a later version wrote them, and this one was deployed again. They
/// decide nothing, and are written back as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct UnknownFields(pub Map<String, Value>);

impl UnknownFields {
    /// Those of two items that become one. Where both have a field, keeps the greater value, so the order does not matter.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        let mut fields = self.0;
        for (field, value) in other.0 {
            let known = fields.get(&field).map(Value::to_string);
            if known < Some(value.to_string()) {
                fields.insert(field, value);
            }
        }
        Self(fields)
    }
}

/// How a key stood at a time: by an event, by IAM's list, or after the guard's own call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LastSeen {
    /// How it stood.
    pub status: KeyStatus,
    /// When that was so.
    pub at: Time,
    /// True if IAM said so; false if only an event did.
    pub is_confirmed: bool,
    /// When it was activated or deactivated, where an event or the guard's own call says that.
    pub since: Option<Time>,
    /// Who did that.
    pub by: Option<String>,
}

impl LastSeen {
    /// By the event of its creation.
    #[must_use]
    pub const fn of_creation(event: &Provenance) -> Self {
        let at = event.event_time;
        Self { status: KeyStatus::Active, at, is_confirmed: false, since: None, by: None }
    }

    /// By the event of an activation or a deactivation.
    #[must_use]
    pub fn of_event(status: KeyStatus, event: &Provenance) -> Self {
        let (at, by) = (event.event_time, event.actor.principal.clone());
        Self { status, at, is_confirmed: false, since: Some(at), by }
    }

    /// By IAM's list.
    #[must_use]
    pub const fn of_listing(status: KeyStatus, asked_at: Time) -> Self {
        Self { status, at: asked_at, is_confirmed: true, since: None, by: None }
    }

    /// The later of both, whichever was known first. If both agree, `since` and `by` come from whichever has them.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        let (latest, earlier) = if self.at > other.at { (self, other) } else { (other, self) };
        if latest.status == earlier.status && latest.since < earlier.since {
            return Self { since: earlier.since, by: earlier.by, ..latest };
        }
        latest
    }
}

/// What people are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Finding {
    /// Noncompliant or undetermined.
    pub verdict: Verdict,
    /// What is wrong.
    pub violation: Option<Violation>,
    /// How far the guard has got.
    pub phase: std::mem::Discriminant<Phase>,
    /// How the key stands.
    pub status: Option<KeyStatus>,
}

/// What the guard has done with a key, or has yet to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Phase {
    /// No response is pending: recorded or monitored.
    Settled,
    /// A response is required and authorised.
    Pending(Intent),
    /// Deactivated by the guard.
    Deactivated(Deactivation),
    /// Not active, according to IAM, and not by the guard.
    Inactive(InactiveCause),
    /// The key does not exist any more.
    Gone(GoneEvidence),
}

impl Phase {
    /// The pending intent.
    #[must_use]
    pub const fn intent(&self) -> Option<&Intent> {
        match self {
            Self::Pending(intent) => Some(intent),
            Self::Settled | Self::Deactivated(_) | Self::Inactive(_) | Self::Gone(_) => None,
        }
    }

    /// The guard's deactivation.
    #[must_use]
    pub const fn deactivation(&self) -> Option<&Deactivation> {
        match self {
            Self::Deactivated(deactivation) => Some(deactivation),
            Self::Settled | Self::Pending(_) | Self::Inactive(_) | Self::Gone(_) => None,
        }
    }

    /// How the key is known to be gone.
    #[must_use]
    pub const fn gone(&self) -> Option<&GoneEvidence> {
        match self {
            Self::Gone(gone) => Some(gone),
            Self::Settled | Self::Pending(_) | Self::Deactivated(_) | Self::Inactive(_) => None,
        }
    }
}

/// A deactivation by the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Deactivation {
    /// When its outcome was committed.
    pub at: Time,
    /// Why the key was not deleted, where the policy says that it should be (R11).
    pub downgraded: Option<Downgrade>,
}

/// Why a deletion became a deactivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Downgrade {
    /// The breaker: too many deletions in this account within the hour.
    Breaker,
    /// The ceiling was lower than the intent.
    Ceiling,
}

/// Why a key is not active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InactiveCause {
    /// Somebody else deactivated it.
    Deactivated,
    /// It has expired, and can never be active again.
    Expired,
}

/// How the guard knows that a key does not exist any more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GoneEvidence {
    /// IAM did not list it, twice, 60 seconds apart (R3).
    Absent {
        /// When IAM was asked for the second time.
        at: Time,
    },
    /// A deletion event, and IAM does not list it.
    DeletedBy {
        /// Who deleted it.
        event: Box<Provenance>,
        /// When IAM was asked.
        at: Time,
    },
    /// The guard deleted it.
    DeletedByGuard {
        /// When the outcome was committed.
        at: Time,
    },
}

impl GoneEvidence {
    /// From when on the key is known to be gone.
    #[must_use]
    pub const fn at(&self) -> Time {
        match self {
            Self::Absent { at } | Self::DeletedBy { at, .. } | Self::DeletedByGuard { at } => *at,
        }
    }

    /// The event of its deletion by somebody else.
    #[must_use]
    pub fn deleted_by(&self) -> Option<&Provenance> {
        match self {
            Self::DeletedBy { event, .. } => Some(event),
            Self::Absent { .. } | Self::DeletedByGuard { .. } => None,
        }
    }
}

/// What one answer of IAM said, when it contradicted what was known (R3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Observation {
    /// When IAM was asked.
    pub asked_at: Time,
    /// What it said.
    pub seen: Contradiction,
}

/// What IAM's answer contradicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Contradiction {
    /// IAM does not list a key that should exist.
    Absent,
    /// IAM still lists a key that an event says was deleted.
    StillListed,
}

impl Observation {
    /// True if an answer to a question of `asked_at` confirms this one.
    #[must_use]
    pub fn is_confirmed_by(&self, seen: Contradiction, asked_at: Time) -> bool {
        self.seen == seen && asked_at >= self.asked_at + CONSISTENCY_WINDOW
    }
}

/// A response that is required, authorised and durable before anything is done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Intent {
    /// Survives a change of lease (R8).
    pub id: IntentId,
    /// What to do, at most.
    pub action: Action,
    /// What required it.
    pub trigger: Trigger,
    /// Why it is not a deletion, where the policy says that it should be.
    pub downgraded: Option<Downgrade>,
    /// Who executes it. `None`: anybody may.
    pub lease: Option<Lease>,
}

/// The identity of an intent. A session opens its next intent only after its lease on the former one has expired,
/// so the two names never meet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IntentId {
    /// The session that opened it.
    pub opened_by: WorkerId,
    /// When it was authorised.
    pub authorised_at: Time,
}

/// The right to execute an intent, for a while.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Who has it.
    pub holder: WorkerId,
    /// Until when, exclusive.
    pub until: Time,
}

impl Intent {
    /// True while some worker may execute it, and nobody else.
    #[must_use]
    pub fn is_leased(&self, now: Time) -> bool {
        self.lease.as_ref().is_some_and(|lease| now < lease.until)
    }

    /// True while a worker other than this one may execute it.
    #[must_use]
    pub fn is_leased_by_another(&self, now: Time, worker: &WorkerId) -> bool {
        self.is_leased(now) && self.lease.as_ref().is_some_and(|lease| lease.holder != *worker)
    }
}

impl Record {
    /// Which key.
    #[must_use]
    pub const fn key(&self) -> &KeyRef {
        &self.facts.key
    }

    /// The latest assessment, if the policy is about keys of this service.
    #[must_use]
    pub const fn assessed(&self) -> Option<&Assessment> {
        match &self.assessment {
            Scope::InScope(assessment) => Some(assessment),
            Scope::OutOfScope => None,
        }
    }

    /// The verdict of the latest assessment.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        self.assessed().map(Assessment::verdict)
    }

    /// True if a trigger of `time` has not been handled yet. A tie counts as later: CloudTrail's times have no
    /// fraction of a second, and acting again on a noncompliant key is harmless (R1).
    #[must_use]
    pub fn is_new(&self, time: Time) -> bool {
        self.handled_through.is_none_or(|handled| time.timestamp() >= handled.timestamp())
    }

    /// Notes that every trigger up to `time` is handled.
    pub(super) fn handle_through(&mut self, time: Time) {
        self.handled_through = self.handled_through.max(Some(time));
    }

    /// Adds what a creation event says. Whose key it is and for which service follows one that counts more than what was
    /// known, unless IAM has said so.
    pub(super) fn add_creation(&mut self, created: &CreatedKey, provenance: &Provenance) {
        let counts = creation::add(&mut self.creation, &mut self.evidence, created, provenance);
        if counts == Ordering::Greater && self.evidence.listed.is_none() {
            self.add_name(&created.user);
            self.facts.service = created.service.clone();
            self.facts.created_at = created.evidence.assumed_creation();
        }
    }

    /// Adds what IAM's list says. An answer that lists the key takes back an earlier absence. IAM knows best which service
    /// the key is for: the policy may not judge that one.
    pub(super) fn add_listing(&mut self, listed: &ListedKey, asked_at: Time) {
        self.add_name(&listed.user);
        // So soon after the guard's own call, IAM's list may still show the key as it was.
        let deactivation = self.phase.deactivation();
        if deactivation.is_none_or(|deactivation| asked_at >= deactivation.at + CONSISTENCY_WINDOW) {
            self.see(LastSeen::of_listing(listed.status, asked_at));
        }
        self.facts.service = listed.service.clone();
        self.facts.created_at = listed.created_at;
        self.evidence.listed = Some(listed.evidence());
        if self.observation.is_some_and(|observation| observation.seen == Contradiction::Absent) {
            self.observation = None;
        }
    }

    /// Makes `name` the user's name; the former one stays known (R6).
    pub(super) fn add_name(&mut self, name: &UserName) {
        if !self.facts.user.is_same_user(name) {
            let former = std::mem::replace(&mut self.facts.user, name.clone());
            self.facts.other_names.remove(name);
            self.facts.add_other_name(&former);
        }
    }

    /// What people are told of: a key that is not compliant, and what the guard did with it.
    #[must_use]
    pub fn finding(&self) -> Option<Finding> {
        let assessment = self.assessed()?;
        match assessment.verdict() {
            Verdict::Compliant | Verdict::Exempt => None,
            verdict @ (Verdict::Noncompliant | Verdict::Undetermined) => Some(Finding {
                verdict,
                violation: assessment.verdict.violation(),
                phase: std::mem::discriminant(&self.phase),
                status: self.known_status(),
            }),
        }
    }

    /// True if storing `next` in place of this is not worth a write: at most, a trigger that requires nothing was
    /// handled.
    pub(super) fn says_the_same_as(&self, next: &Self) -> bool {
        // When that was seen is not worth a write, and of a key that has ended neither is how it stood before.
        let status = |record: &Self| {
            let last_seen = record.last_seen.clone().filter(|_| record.phase.gone().is_none())?;
            Some((last_seen.status, last_seen.since, last_seen.by))
        };
        let next_as_of_now = Self {
            handled_through: self.handled_through,
            last_seen: self.last_seen.clone(),
            policy_sha256: self.policy_sha256.clone(),
            first_assessed: self.first_assessed,
            changed_at: self.changed_at,
            unreported: self.unreported,
            ..next.clone()
        };
        status(self) == status(next) && *self == next_as_of_now
    }

    /// Notes when the finding changed, and whether somebody has yet to be told (R10).
    pub(super) fn note_change(&mut self, before: Option<&Self>, is_reported: bool, now: Time) {
        let changed = before.is_none_or(|before| {
            before.verdict() != self.verdict()
                || std::mem::discriminant(&before.phase) != std::mem::discriminant(&self.phase)
        });
        if changed {
            self.changed_at = now;
        }
        let finding = self.finding();
        let finding_changed = before.and_then(Self::finding) != finding;
        self.unreported = !is_reported && (self.unreported || finding_changed);
    }

    /// How the key stands in IAM, as far as the guard knows. `None`: not known, or gone.
    #[must_use]
    pub fn known_status(&self) -> Option<KeyStatus> {
        let last_seen = self.last_seen.as_ref().filter(|_| self.phase.gone().is_none());
        last_seen.map(|seen| seen.status)
    }

    /// Notes how the key stood at a time. What is known of a later time stays.
    pub(super) fn see(&mut self, seen: LastSeen) {
        self.last_seen = Some(match self.last_seen.take() {
            Some(known) => known.join(seen),
            None => seen,
        });
    }

    /// True if it is known how the key stood after `time`.
    pub(super) fn was_seen_after(&self, time: Time) -> bool {
        self.last_seen.as_ref().is_some_and(|seen| seen.at > time)
    }
}
