//! The form of a key's state. Types of the core that have a form of their own are stored in that.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::assessment::{AssessmentWire, EvidenceWire};
use super::provenance::{ProvenanceWire, is_false};
use key_guard_core::Time;
use key_guard_core::key::{AccountId, KeyFacts, KeyRef, KeyStatus, Service, Status, UserName};
use key_guard_core::lifecycle::dry_run::{DryRun, EarlyEvents};
use key_guard_core::lifecycle::input::{Action, Trigger, TriggerKind, WorkerId};
use key_guard_core::lifecycle::standing::{Standing, StatusEvidence};
use key_guard_core::lifecycle::state::{
    Contradiction, Deactivation, Downgrade, GoneEvidence, InactiveCause, Intent, IntentId, LastSeen, Lease,
    Observation, Phase, Record, UnknownFields,
};
use key_guard_core::policy::{Response, Scope};

/// An enum of the core without data, as a word.
macro_rules! word {
    ($wire:ident: $core:ident { $($variant:ident),+ }) => {
        #[derive(Debug, Clone, Copy, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub(super) enum $wire { $($variant),+ }

        impl From<$core> for $wire {
            fn from(core: $core) -> Self {
                match core { $($core::$variant => Self::$variant),+ }
            }
        }

        impl From<$wire> for $core {
            fn from(wire: $wire) -> Self {
                match wire { $($wire::$variant => Self::$variant),+ }
            }
        }
    };
}
pub(super) use word;

word!(ActionWire: Action { Deactivate, Delete });
word!(ContradictionWire: Contradiction { Absent, StillListed });
word!(DowngradeWire: Downgrade { Breaker, Ceiling });
word!(InactiveCauseWire: InactiveCause { Deactivated, Expired });
word!(TriggerKindWire: TriggerKind { Created, Activated, Reset, ObservedActive, QuarantineEnded });

#[derive(Serialize, Deserialize)]
pub(super) struct TombstoneWire {
    pub(super) gone: GoneWire,
}

#[derive(Serialize, Deserialize)]
pub(super) struct UnconfirmedWire {
    pub(super) observation: ObservationWire,
}

/// The fields of a record.
pub(super) const RECORD_FIELDS: [&str; 20] = [
    "user",
    "other_names",
    "service",
    "created_at",
    "evidence",
    "creation",
    "assessment",
    "handled",
    "delete_after",
    "observation",
    "seen",
    "policy",
    "assessed",
    "changed",
    "unreported",
    "phase",
    "intent",
    "deactivation",
    "inactive_cause",
    "gone",
];

#[derive(Serialize, Deserialize)]
pub(super) struct RecordWire {
    #[serde(flatten)]
    facts: FactsWire,
    evidence: EvidenceWire,
    creation: Option<ProvenanceWire>,
    /// Absent: the policy does not judge keys of this service.
    assessment: Option<AssessmentWire>,
    #[serde(rename = "handled")]
    handled_through: Option<Time>,
    delete_after: Option<Time>,
    observation: Option<ObservationWire>,
    #[serde(rename = "seen")]
    last_seen: Option<LastSeenWire>,
    #[serde(rename = "policy")]
    policy_sha256: String,
    #[serde(rename = "assessed")]
    first_assessed: Time,
    /// Absent: since it was first assessed.
    #[serde(rename = "changed")]
    changed_at: Option<Time>,
    #[serde(default, skip_serializing_if = "is_false")]
    unreported: bool,
    #[serde(flatten)]
    phase: PhaseWire,
}

#[derive(Serialize, Deserialize)]
pub(super) struct DryRunWire {
    #[serde(flatten)]
    facts: FactsWire,
    evidence: EvidenceWire,
    creation: Option<ProvenanceWire>,
    #[serde(flatten)]
    standing: StandingWire,
    /// Absent: the key's creation.
    latest_trigger: Option<Time>,
    assessment: AssessmentWire,
    response: Response,
    #[serde(rename = "policy")]
    policy_sha256: String,
    at: Time,
}

#[derive(Serialize, Deserialize)]
pub(super) struct UnassessedDryRunWire {
    #[serde(flatten)]
    pub(super) early: EarlyEventsWire,
    pub(super) at: Time,
}

#[derive(Serialize, Deserialize)]
pub(super) struct EarlyEventsWire {
    #[serde(flatten)]
    standing: StandingWire,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    names: BTreeSet<UserName>,
    latest_trigger: Option<Time>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StandingWire {
    /// Absent: not known.
    status: Option<Status>,
    status_since: Option<Time>,
    status_by: Option<String>,
    status_evidence: Option<StatusEvidence>,
    seen_at: Option<Time>,
}

#[derive(Serialize, Deserialize)]
struct FactsWire {
    user: UserName,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    other_names: BTreeSet<UserName>,
    service: Service,
    created_at: Time,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
enum PhaseWire {
    Settled,
    Pending { intent: IntentWire },
    Deactivated { deactivation: DeactivationWire },
    Inactive { inactive_cause: InactiveCauseWire },
    Gone { gone: GoneWire },
}

#[derive(Serialize, Deserialize)]
struct IntentWire {
    #[serde(flatten)]
    id: IntentIdWire,
    action: ActionWire,
    trigger: TriggerWire,
    downgraded: Option<DowngradeWire>,
    lease: Option<LeaseWire>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct IntentIdWire {
    opened_by: String,
    authorised_at: Time,
}

#[derive(Serialize, Deserialize)]
struct TriggerWire {
    kind: TriggerKindWire,
    at: Time,
}

#[derive(Serialize, Deserialize)]
struct LeaseWire {
    /// Absent: who opened the intent.
    holder: Option<String>,
    until: Time,
}

#[derive(Serialize, Deserialize)]
struct DeactivationWire {
    at: Time,
    downgraded: Option<DowngradeWire>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "evidence", rename_all = "snake_case")]
pub(super) enum GoneWire {
    Absent { at: Time },
    DeletedBy { event: Box<ProvenanceWire>, at: Time },
    DeletedByGuard { at: Time },
}

#[derive(Serialize, Deserialize)]
pub(super) struct ObservationWire {
    asked_at: Time,
    seen: ContradictionWire,
}

#[derive(Serialize, Deserialize)]
struct LastSeenWire {
    status: KeyStatus,
    at: Time,
    /// False: only an event said so.
    #[serde(default, skip_serializing_if = "is_false")]
    confirmed: bool,
    since: Option<Time>,
    by: Option<String>,
}

impl RecordWire {
    pub(super) fn new(record: Record) -> Self {
        let Record {
            facts,
            evidence,
            creation,
            assessment,
            handled_through,
            delete_after,
            observation,
            last_seen,
            policy_sha256,
            first_assessed,
            changed_at,
            unreported,
            phase,
            // Written beside the others.
            unknown_fields: _,
        } = record;
        let account = facts.key.account.clone();
        Self {
            evidence: EvidenceWire::new(evidence, &facts, creation.as_ref()),
            assessment: match assessment {
                Scope::InScope(assessment) => Some(AssessmentWire::new(assessment, &facts)),
                Scope::OutOfScope => None,
            },
            facts: facts.into(),
            creation: creation.map(|creation| ProvenanceWire::new(creation, &account)),
            handled_through,
            delete_after,
            observation: observation.map(Into::into),
            last_seen: last_seen.map(Into::into),
            policy_sha256,
            first_assessed,
            changed_at: Some(changed_at).filter(|at| *at != first_assessed),
            unreported,
            phase: PhaseWire::new(phase, &account),
        }
    }

    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn read(self, key: &KeyRef) -> Result<Record, String> {
        let facts = self.facts.of_key(key);
        let creation = self.creation.map(|creation| creation.read(&key.account)).transpose()?;
        Ok(Record {
            evidence: self.evidence.read(&facts, creation.as_ref())?,
            creation,
            assessment: self.assessment.map_or(Scope::OutOfScope, |wire| Scope::InScope(wire.read(&facts))),
            facts,
            handled_through: self.handled_through,
            delete_after: self.delete_after,
            observation: self.observation.map(Into::into),
            last_seen: self.last_seen.map(Into::into),
            policy_sha256: self.policy_sha256,
            first_assessed: self.first_assessed,
            changed_at: self.changed_at.unwrap_or(self.first_assessed),
            unreported: self.unreported,
            phase: self.phase.read(&key.account)?,
            unknown_fields: UnknownFields::default(),
        })
    }
}

impl DryRunWire {
    pub(super) fn new(dry_run: DryRun) -> Self {
        let DryRun {
            facts,
            evidence,
            creation,
            standing,
            latest_trigger,
            assessment,
            response,
            policy_sha256,
            at,
        } = dry_run;
        let account = facts.key.account.clone();
        Self {
            evidence: EvidenceWire::new(evidence, &facts, creation.as_ref()),
            assessment: AssessmentWire::new(assessment, &facts),
            facts: facts.into(),
            creation: creation.map(|creation| ProvenanceWire::new(creation, &account)),
            standing: standing.into(),
            latest_trigger: Some(latest_trigger),
            response,
            policy_sha256,
            at,
        }
    }

    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn read(self, key: &KeyRef) -> Result<DryRun, String> {
        let facts = self.facts.of_key(key);
        let creation = self.creation.map(|creation| creation.read(&key.account)).transpose()?;
        Ok(DryRun {
            evidence: self.evidence.read(&facts, creation.as_ref())?,
            creation,
            assessment: self.assessment.read(&facts),
            latest_trigger: self.latest_trigger.unwrap_or(facts.created_at),
            facts,
            standing: self.standing.into(),
            response: self.response,
            policy_sha256: self.policy_sha256,
            at: self.at,
        })
    }
}

impl From<EarlyEvents> for EarlyEventsWire {
    fn from(EarlyEvents { standing, names, latest_trigger }: EarlyEvents) -> Self {
        Self { standing: standing.into(), names, latest_trigger }
    }
}

impl From<EarlyEventsWire> for EarlyEvents {
    fn from(EarlyEventsWire { standing, names, latest_trigger }: EarlyEventsWire) -> Self {
        Self { standing: standing.into(), names, latest_trigger }
    }
}

impl From<Standing> for StandingWire {
    fn from(Standing { status, since, by, evidence, seen_at }: Standing) -> Self {
        let status = Some(status).filter(|status| *status != Status::Unknown);
        Self { status, status_since: since, status_by: by, status_evidence: evidence, seen_at }
    }
}

impl From<StandingWire> for Standing {
    fn from(wire: StandingWire) -> Self {
        Self {
            status: wire.status.unwrap_or(Status::Unknown),
            since: wire.status_since,
            by: wire.status_by,
            evidence: wire.status_evidence,
            seen_at: wire.seen_at,
        }
    }
}

impl From<KeyFacts> for FactsWire {
    fn from(facts: KeyFacts) -> Self {
        let KeyFacts { key: _, user, other_names, service, created_at } = facts;
        Self { user, other_names, service, created_at }
    }
}

impl FactsWire {
    fn of_key(self, key: &KeyRef) -> KeyFacts {
        let Self { user, other_names, service, created_at } = self;
        KeyFacts { key: key.clone(), user, other_names, service, created_at }
    }
}

impl PhaseWire {
    fn new(phase: Phase, account: &AccountId) -> Self {
        match phase {
            Phase::Settled => Self::Settled,
            Phase::Pending(intent) => Self::Pending { intent: intent.into() },
            Phase::Deactivated(Deactivation { at, downgraded }) => {
                let downgraded = downgraded.map(Into::into);
                Self::Deactivated { deactivation: DeactivationWire { at, downgraded } }
            }
            Phase::Inactive(cause) => Self::Inactive { inactive_cause: cause.into() },
            Phase::Gone(gone) => Self::Gone { gone: GoneWire::new(gone, account) },
        }
    }

    fn read(self, account: &AccountId) -> Result<Phase, String> {
        Ok(match self {
            Self::Settled => Phase::Settled,
            Self::Pending { intent } => Phase::Pending(intent.into()),
            Self::Deactivated { deactivation: DeactivationWire { at, downgraded } } => {
                Phase::Deactivated(Deactivation { at, downgraded: downgraded.map(Into::into) })
            }
            Self::Inactive { inactive_cause } => Phase::Inactive(inactive_cause.into()),
            Self::Gone { gone } => Phase::Gone(gone.read(account)?),
        })
    }
}

impl From<Intent> for IntentWire {
    fn from(intent: Intent) -> Self {
        let Intent { id, action, trigger, downgraded, lease } = intent;
        let lease = lease.map(|Lease { holder, until }| LeaseWire {
            holder: Some(holder).filter(|holder| *holder != id.opened_by).map(|holder| holder.0),
            until,
        });
        Self {
            id: id.into(),
            action: action.into(),
            trigger: TriggerWire { kind: trigger.kind.into(), at: trigger.at },
            downgraded: downgraded.map(Into::into),
            lease,
        }
    }
}

impl From<IntentWire> for Intent {
    fn from(wire: IntentWire) -> Self {
        let id = IntentId::from(wire.id);
        let lease = wire.lease.map(|LeaseWire { holder, until }| Lease {
            holder: holder.map_or_else(|| id.opened_by.clone(), WorkerId),
            until,
        });
        Self {
            id,
            action: wire.action.into(),
            trigger: Trigger { kind: wire.trigger.kind.into(), at: wire.trigger.at },
            downgraded: wire.downgraded.map(Into::into),
            lease,
        }
    }
}

impl From<IntentId> for IntentIdWire {
    fn from(IntentId { opened_by, authorised_at }: IntentId) -> Self {
        Self { opened_by: opened_by.0, authorised_at }
    }
}

impl From<IntentIdWire> for IntentId {
    fn from(IntentIdWire { opened_by, authorised_at }: IntentIdWire) -> Self {
        Self { opened_by: WorkerId(opened_by), authorised_at }
    }
}

impl GoneWire {
    pub(super) fn new(gone: GoneEvidence, account: &AccountId) -> Self {
        match gone {
            GoneEvidence::Absent { at } => Self::Absent { at },
            GoneEvidence::DeletedBy { event, at } => {
                Self::DeletedBy { event: Box::new(ProvenanceWire::new(*event, account)), at }
            }
            GoneEvidence::DeletedByGuard { at } => Self::DeletedByGuard { at },
        }
    }

    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn read(self, account: &AccountId) -> Result<GoneEvidence, String> {
        Ok(match self {
            Self::Absent { at } => GoneEvidence::Absent { at },
            Self::DeletedBy { event, at } => {
                GoneEvidence::DeletedBy { event: Box::new(event.read(account)?), at }
            }
            Self::DeletedByGuard { at } => GoneEvidence::DeletedByGuard { at },
        })
    }
}

impl From<LastSeen> for LastSeenWire {
    fn from(LastSeen { status, at, is_confirmed: confirmed, since, by }: LastSeen) -> Self {
        Self { status, at, confirmed, since, by }
    }
}

impl From<LastSeenWire> for LastSeen {
    fn from(LastSeenWire { status, at, confirmed: is_confirmed, since, by }: LastSeenWire) -> Self {
        Self { status, at, is_confirmed, since, by }
    }
}

impl From<Observation> for ObservationWire {
    fn from(Observation { asked_at, seen }: Observation) -> Self {
        Self { asked_at, seen: seen.into() }
    }
}

impl From<ObservationWire> for Observation {
    fn from(ObservationWire { asked_at, seen }: ObservationWire) -> Self {
        Self { asked_at, seen: seen.into() }
    }
}
