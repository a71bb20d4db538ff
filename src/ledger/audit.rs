//! What auditors ask for: failed calls, changes of users that a console created, keys that nobody judged, and the history of a
//! key.

#[cfg(feature = "cli")]
pub mod attempts;
pub mod count;
pub mod heard;
#[cfg(feature = "cli")]
pub mod history;

use key_guard_core::cloudtrail::{Attempt, CreatedKey, CredentialEvent, EventKind, Provenance, UserChange};
use key_guard_core::evidence::EventEvidence;
use key_guard_core::key::{KeyRef, Service, UserName};

use count::CountedAttempts;
use heard::Heartbeat;

/// An event from which no state of a key follows, and that somebody may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditEvent {
    /// IAM refused a call that would have created or changed a key.
    FailedCall(FailedCall),
    /// The guard's own heartbeat.
    Heartbeat(Heartbeat),
    /// A user with an API key that a console created got another way in, or more permissions.
    UserChanged(UserChanged),
    /// A key was created for a service that the policy does not judge.
    UnjudgedKey(UnjudgedKey),
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

/// The creation of a key for a service that the policy does not judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnjudgedKey {
    /// Who, when, from where.
    pub provenance: Provenance,
    /// Which key.
    pub key: KeyRef,
    /// Whose.
    pub user: UserName,
    /// For which service.
    pub service: Service,
}

/// What the ledger has of events from which no state of a key follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditRecord {
    /// Failed calls that are counted together.
    Attempts(Box<CountedAttempts>),
    /// A change of a user.
    UserChanged(Box<UserChanged>),
    /// A key that nobody judged.
    UnjudgedKey(Box<UnjudgedKey>),
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

    /// The creation of a key that the policy does not judge, as the caller knows. `None`: it is no such event, or the key is a
    /// password.
    #[must_use]
    pub fn of_unjudged_key(event: CredentialEvent) -> Option<Self> {
        let CredentialEvent { provenance, kind } = event;
        match kind {
            EventKind::Created(CreatedKey { key, user, service, .. }) if service.has_api_keys() => {
                Some(Self::UnjudgedKey(UnjudgedKey { provenance, key, user, service }))
            }
            EventKind::Created(_)
            | EventKind::StatusChanged { .. }
            | EventKind::SecretReset(_)
            | EventKind::Deleted(_)
            | EventKind::Failed(_)
            | EventKind::UserChanged(_) => None,
        }
    }
}

impl AuditRecord {
    /// The event that the record shows: that of the change or of the creation, or the latest one that was counted.
    #[must_use]
    pub fn to_event(&self) -> CredentialEvent {
        match self {
            Self::Attempts(attempts) => attempts.latest_event(),
            Self::UserChanged(changed) => {
                let UserChanged { provenance, change } = changed.as_ref().clone();
                CredentialEvent { provenance, kind: EventKind::UserChanged(change) }
            }
            Self::UnjudgedKey(unjudged) => {
                let UnjudgedKey { provenance, key, user, service } = unjudged.as_ref().clone();
                // What it said of the key's lifetime is not kept: nobody judges that.
                let evidence = EventEvidence::nothing(provenance.event_time);
                let kind = EventKind::Created(CreatedKey { key, user, service, evidence });
                CredentialEvent { provenance, kind }
            }
        }
    }
}
