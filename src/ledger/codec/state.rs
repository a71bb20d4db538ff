//! The form of a key's state. Types of the core that have a form of their own are stored in that.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use key_guard_core::Time;
use key_guard_core::cloudtrail::Provenance;
use key_guard_core::evidence::ExpirationEvidence;
use key_guard_core::key::{AccountId, CredentialId, KeyFacts, KeyRef, KeyStatus, Service, UserName};
use key_guard_core::lifecycle::dry_run::DryRun;
use key_guard_core::lifecycle::input::{Action, Trigger, TriggerKind, WorkerId};
use key_guard_core::lifecycle::state::{
    Contradiction, Deactivation, Downgrade, GoneEvidence, InactiveCause, Intent, IntentId, LastSeen, Lease,
    Observation, Phase, Record,
};
use key_guard_core::policy::{Assessment, Response, Scope};

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
    pub(super) account: AccountId,
    pub(super) credential_id: CredentialId,
    pub(super) gone: GoneWire,
}

#[derive(Serialize, Deserialize)]
pub(super) struct UnconfirmedWire {
    pub(super) account: AccountId,
    pub(super) credential_id: CredentialId,
    pub(super) observation: ObservationWire,
}

#[derive(Serialize, Deserialize)]
pub(super) struct RecordWire {
    #[serde(flatten)]
    facts: FactsWire,
    evidence: ExpirationEvidence,
    creation: Option<Provenance>,
    /// Absent: the policy does not judge keys of this service.
    assessment: Option<Assessment>,
    handled_through: Option<Time>,
    delete_after: Option<Time>,
    observation: Option<ObservationWire>,
    last_seen: Option<LastSeenWire>,
    policy_sha256: String,
    first_assessed: Time,
    changed_at: Time,
    unreported: bool,
    #[serde(flatten)]
    phase: PhaseWire,
}

#[derive(Serialize, Deserialize)]
pub(super) struct DryRunWire {
    #[serde(flatten)]
    facts: FactsWire,
    evidence: ExpirationEvidence,
    creation: Option<Provenance>,
    status: Option<KeyStatus>,
    assessment: Assessment,
    response: Response,
    policy_sha256: String,
    at: Time,
}

#[derive(Serialize, Deserialize)]
struct FactsWire {
    account: AccountId,
    credential_id: CredentialId,
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
    holder: String,
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
    DeletedBy { event: Box<Provenance>, at: Time },
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
}

impl From<Record> for RecordWire {
    fn from(record: Record) -> Self {
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
        } = record;
        Self {
            facts: facts.into(),
            evidence,
            creation,
            assessment: match assessment {
                Scope::InScope(assessment) => Some(assessment),
                Scope::OutOfScope => None,
            },
            handled_through,
            delete_after,
            observation: observation.map(Into::into),
            last_seen: last_seen.map(|LastSeen { status, at }| LastSeenWire { status, at }),
            policy_sha256,
            first_assessed,
            changed_at,
            unreported,
            phase: phase.into(),
        }
    }
}

impl From<RecordWire> for Record {
    fn from(wire: RecordWire) -> Self {
        Self {
            facts: wire.facts.into(),
            evidence: wire.evidence,
            creation: wire.creation,
            assessment: wire.assessment.map_or(Scope::OutOfScope, Scope::InScope),
            handled_through: wire.handled_through,
            delete_after: wire.delete_after,
            observation: wire.observation.map(Into::into),
            last_seen: wire.last_seen.map(|LastSeenWire { status, at }| LastSeen { status, at }),
            policy_sha256: wire.policy_sha256,
            first_assessed: wire.first_assessed,
            changed_at: wire.changed_at,
            unreported: wire.unreported,
            phase: wire.phase.into(),
        }
    }
}

impl From<DryRun> for DryRunWire {
    fn from(dry_run: DryRun) -> Self {
        let DryRun { facts, evidence, creation, status, assessment, response, policy_sha256, at } = dry_run;
        let facts = facts.into();
        Self { facts, evidence, creation, status, assessment, response, policy_sha256, at }
    }
}

impl From<DryRunWire> for DryRun {
    fn from(wire: DryRunWire) -> Self {
        let DryRunWire { facts, evidence, creation, status, assessment, response, policy_sha256, at } = wire;
        let facts = facts.into();
        Self { facts, evidence, creation, status, assessment, response, policy_sha256, at }
    }
}

impl From<KeyFacts> for FactsWire {
    fn from(facts: KeyFacts) -> Self {
        let KeyFacts { key: KeyRef { account, id }, user, other_names, service, created_at } = facts;
        Self { account, credential_id: id, user, other_names, service, created_at }
    }
}

impl From<FactsWire> for KeyFacts {
    fn from(wire: FactsWire) -> Self {
        let FactsWire { account, credential_id, user, other_names, service, created_at } = wire;
        Self { key: KeyRef { account, id: credential_id }, user, other_names, service, created_at }
    }
}

impl From<Phase> for PhaseWire {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Settled => Self::Settled,
            Phase::Pending(intent) => Self::Pending { intent: intent.into() },
            Phase::Deactivated(Deactivation { at, downgraded }) => {
                let downgraded = downgraded.map(Into::into);
                Self::Deactivated { deactivation: DeactivationWire { at, downgraded } }
            }
            Phase::Inactive(cause) => Self::Inactive { inactive_cause: cause.into() },
            Phase::Gone(gone) => Self::Gone { gone: gone.into() },
        }
    }
}

impl From<PhaseWire> for Phase {
    fn from(wire: PhaseWire) -> Self {
        match wire {
            PhaseWire::Settled => Self::Settled,
            PhaseWire::Pending { intent } => Self::Pending(intent.into()),
            PhaseWire::Deactivated { deactivation: DeactivationWire { at, downgraded } } => {
                Self::Deactivated(Deactivation { at, downgraded: downgraded.map(Into::into) })
            }
            PhaseWire::Inactive { inactive_cause } => Self::Inactive(inactive_cause.into()),
            PhaseWire::Gone { gone } => Self::Gone(gone.into()),
        }
    }
}

impl From<Intent> for IntentWire {
    fn from(intent: Intent) -> Self {
        let Intent { id, action, trigger, downgraded, lease } = intent;
        Self {
            id: id.into(),
            action: action.into(),
            trigger: TriggerWire { kind: trigger.kind.into(), at: trigger.at },
            downgraded: downgraded.map(Into::into),
            lease: lease.map(|Lease { holder, until }| LeaseWire { holder: holder.0, until }),
        }
    }
}

impl From<IntentWire> for Intent {
    fn from(wire: IntentWire) -> Self {
        Self {
            id: wire.id.into(),
            action: wire.action.into(),
            trigger: Trigger { kind: wire.trigger.kind.into(), at: wire.trigger.at },
            downgraded: wire.downgraded.map(Into::into),
            lease: wire.lease.map(|LeaseWire { holder, until }| Lease { holder: WorkerId(holder), until }),
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

impl From<GoneEvidence> for GoneWire {
    fn from(gone: GoneEvidence) -> Self {
        match gone {
            GoneEvidence::Absent { at } => Self::Absent { at },
            GoneEvidence::DeletedBy { event, at } => Self::DeletedBy { event, at },
            GoneEvidence::DeletedByGuard { at } => Self::DeletedByGuard { at },
        }
    }
}

impl From<GoneWire> for GoneEvidence {
    fn from(wire: GoneWire) -> Self {
        match wire {
            GoneWire::Absent { at } => Self::Absent { at },
            GoneWire::DeletedBy { event, at } => Self::DeletedBy { event, at },
            GoneWire::DeletedByGuard { at } => Self::DeletedByGuard { at },
        }
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
