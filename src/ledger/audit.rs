//! What auditors ask for: failed calls, access keys that were created for users of the consoles, and the history of a key.

#[cfg(feature = "cli")]
pub mod attempts;
#[cfg(feature = "cli")]
pub mod history;

use key_guard_core::cloudtrail::{Attempt, CredentialEvent, EventKind, Provenance};
use key_guard_core::key::UserName;

/// An event that changed no key, and that somebody may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// Who, when, from where.
    pub provenance: Provenance,
    /// What happened.
    pub kind: AuditEventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditEventKind {
    /// IAM refused a call that would have created or changed a key.
    FailedCall(Attempt),
    /// An access key was created for a user that a console created for an API key.
    AccessKeyCreated {
        /// The user.
        user: UserName,
    },
}

impl AuditEvent {
    /// The event, if it changed no key.
    #[must_use]
    pub fn new(event: CredentialEvent) -> Option<Self> {
        let kind = match event.kind {
            EventKind::Failed(attempt) => AuditEventKind::FailedCall(attempt),
            EventKind::AccessKeyCreated { user } => AuditEventKind::AccessKeyCreated { user },
            EventKind::Created(_)
            | EventKind::StatusChanged { .. }
            | EventKind::SecretReset(_)
            | EventKind::Deleted(_) => return None,
        };
        Some(Self { provenance: event.provenance, kind })
    }

    /// The event as it was parsed.
    #[must_use]
    pub fn to_event(&self) -> CredentialEvent {
        let kind = match self.kind.clone() {
            AuditEventKind::FailedCall(attempt) => EventKind::Failed(attempt),
            AuditEventKind::AccessKeyCreated { user } => EventKind::AccessKeyCreated { user },
        };
        CredentialEvent { provenance: self.provenance.clone(), kind }
    }

    /// The user that it is about, where that is known.
    #[must_use]
    pub const fn user(&self) -> Option<&UserName> {
        match &self.kind {
            AuditEventKind::FailedCall(attempt) => attempt.user.as_ref(),
            AuditEventKind::AccessKeyCreated { user } => Some(user),
        }
    }
}
