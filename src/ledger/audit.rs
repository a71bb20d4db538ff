//! What auditors ask for: failed calls, access keys that were created for users of the consoles, and the history of a key.

#[cfg(feature = "cli")]
pub mod attempts;
#[cfg(feature = "cli")]
pub mod history;

use key_guard_core::cloudtrail::{Attempt, CredentialEvent, EventKind, Provenance};
use key_guard_core::key::UserName;
use key_guard_core::lifecycle::effect::CallError;

use super::codec;
use super::store::DynamoKeyStore;
use crate::runtime::event::AttemptStore;

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

impl DynamoKeyStore {
    /// Stores an event that changed no key. Storing the same one twice changes nothing.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn record_audit_event(&self, event: &AuditEvent) -> Result<(), CallError> {
        self.put(codec::encode_audit_event(event).map(|item| vec![item])).await
    }
}

impl AttemptStore for DynamoKeyStore {
    async fn record_attempt(&self, event: &CredentialEvent) -> Result<(), CallError> {
        match AuditEvent::new(event.clone()) {
            Some(event) => self.record_audit_event(&event).await,
            // Events about keys have a history.
            None => Ok(()),
        }
    }
}
