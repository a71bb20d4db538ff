//! What auditors ask for: failed calls, changes of users that a console created, and the history of a key.

#[cfg(feature = "cli")]
pub mod attempts;
pub mod count;
pub mod heard;
#[cfg(feature = "cli")]
pub mod history;

use key_guard_core::cloudtrail::{Attempt, CredentialEvent, EventKind, Provenance, UserChange};

use count::CountedAttempts;
use heard::Heartbeat;

/// An event that changed no key, and that somebody may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditEvent {
    /// IAM refused a call that would have created or changed a key.
    FailedCall(FailedCall),
    /// The guard's own heartbeat.
    Heartbeat(Heartbeat),
    /// A user with an API key that a console created got another way in, or more permissions.
    UserChanged(UserChanged),
}

/// A call that IAM refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedCall {
    /// Who, when, from where.
    pub provenance: Provenance,
    /// What was refused.
    pub attempt: Attempt,
}

/// A user with an API key that a console created got another way in, or more permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserChanged {
    /// Who, when, from where.
    pub provenance: Provenance,
    /// What was done, and to whom.
    pub change: UserChange,
}

/// What the ledger has of events that changed no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditRecord {
    /// Failed calls that are counted together.
    Attempts(Box<CountedAttempts>),
    /// A change of a user.
    UserChanged(Box<UserChanged>),
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
            EventKind::UserChanged(change) => Some(Self::UserChanged(UserChanged { provenance, change })),
            EventKind::Created(_)
            | EventKind::StatusChanged { .. }
            | EventKind::SecretReset(_)
            | EventKind::Deleted(_) => None,
        }
    }
}

impl AuditRecord {
    /// The event that the record shows: that of the change, or the latest one that was counted.
    #[must_use]
    pub fn to_event(&self) -> CredentialEvent {
        match self {
            Self::Attempts(attempts) => attempts.latest_event(),
            Self::UserChanged(changed) => {
                let UserChanged { provenance, change } = changed.as_ref().clone();
                CredentialEvent { provenance, kind: EventKind::UserChanged(change) }
            }
        }
    }
}
