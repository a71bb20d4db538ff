//! What auditors ask for: failed calls, access keys that were created for users of the consoles, and the history of a key.

#[cfg(feature = "cli")]
pub mod attempts;
pub mod count;
pub mod heard;
#[cfg(feature = "cli")]
pub mod history;

use key_guard_core::cloudtrail::{Attempt, CredentialEvent, EventKind, Provenance};
use key_guard_core::key::UserName;

use count::CountedAttempts;
use heard::Heartbeat;

/// An event that changed no key, and that somebody may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditEvent {
    /// IAM refused a call that would have created or changed a key.
    FailedCall(FailedCall),
    /// The guard's own heartbeat.
    Heartbeat(Heartbeat),
    /// An access key was created for a user that a console created for an API key.
    AccessKeyCreated(AccessKeyCreated),
}

/// A call that IAM refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedCall {
    /// Who, when, from where.
    pub provenance: Provenance,
    /// What was refused.
    pub attempt: Attempt,
}

/// An access key was created for a user that a console created for an API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKeyCreated {
    /// Who, when, from where.
    pub provenance: Provenance,
    /// The user.
    pub user: UserName,
}

/// What the ledger has of events that changed no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditRecord {
    /// Failed calls that are counted together.
    Attempts(Box<CountedAttempts>),
    /// A new access key.
    AccessKeyCreated(Box<AccessKeyCreated>),
}

impl AuditEvent {
    /// The event, if it changed no key.
    #[must_use]
    pub fn new(event: CredentialEvent) -> Option<Self> {
        let CredentialEvent { provenance, kind } = event;
        match kind {
            EventKind::Failed(attempt) => {
                let failed = FailedCall { provenance, attempt };
                Some(Heartbeat::of(&failed).map_or(Self::FailedCall(failed), Self::Heartbeat))
            }
            EventKind::AccessKeyCreated { user } => {
                Some(Self::AccessKeyCreated(AccessKeyCreated { provenance, user }))
            }
            EventKind::Created(_)
            | EventKind::StatusChanged { .. }
            | EventKind::SecretReset(_)
            | EventKind::Deleted(_) => None,
        }
    }
}

impl AuditRecord {
    /// The event that the record shows: that of the access key, or the latest one that was counted.
    #[must_use]
    pub fn to_event(&self) -> CredentialEvent {
        match self {
            Self::Attempts(attempts) => attempts.latest_event(),
            Self::AccessKeyCreated(created) => {
                let AccessKeyCreated { provenance, user } = created.as_ref().clone();
                CredentialEvent { provenance, kind: EventKind::AccessKeyCreated { user } }
            }
        }
    }
}
