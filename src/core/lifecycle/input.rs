//! What happens to a key, and the circumstances in which it is decided.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Time;
use crate::cloudtrail::{CreatedKey, CredentialEvent, EventKind, KeyTarget, Provenance, SetStatus};
use crate::evidence::ListedEvidence;
use crate::key::{KeyFacts, KeyRef, KeyStatus, Service, UserName};
use crate::policy::{Policy, Response};

/// What a session deals with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// An event about this key.
    Event(Box<KeyEvent>),
    /// A sweep found the key in IAM's list.
    Listed {
        /// What IAM said.
        listed: Box<ListedKey>,
        /// When IAM was asked.
        asked_at: Time,
    },
    /// A complete sweep did not find the key.
    NotListed {
        /// When the first page of the list was requested.
        first_asked_at: Time,
        /// When its last page was requested.
        last_asked_at: Time,
    },
    /// Time to execute what is pending or due.
    Resume,
}

impl Input {
    /// The event, if it is one.
    #[must_use]
    pub fn event(&self) -> Option<&KeyEvent> {
        match self {
            Self::Event(event) => Some(event),
            Self::Listed { .. } | Self::NotListed { .. } | Self::Resume => None,
        }
    }

    /// True if the input is delivered again until somebody was told of its finding (I11). The event of a key that was
    /// looked up (R9) may not find that key again, so its finding is published as a sweep's is. So is what a deactivation by
    /// somebody else changes: its event's report is no finding.
    pub(super) fn is_redelivered_until_reported(&self) -> bool {
        self.event().is_some_and(|event| match &event.kind {
            KeyEventKind::Created(created) => !created.evidence.says_nothing(),
            KeyEventKind::Deactivated(_) => false,
            KeyEventKind::Activated(_) | KeyEventKind::Reset(_) | KeyEventKind::Deleted(_) => true,
        })
    }
}

/// An event about one key. Failed calls and changes of users are about none, and never get here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyEvent {
    /// Who, when, from where.
    pub provenance: Provenance,
    /// What happened.
    pub kind: KeyEventKind,
}

/// What happened to a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyEventKind {
    /// It was created.
    Created(CreatedKey),
    /// It was activated.
    Activated(KeyTarget),
    /// Its secret was reset.
    Reset(KeyTarget),
    /// It was deactivated.
    Deactivated(KeyTarget),
    /// It was deleted.
    Deleted(KeyTarget),
}

impl KeyEvent {
    /// The event, if it is about a key.
    #[must_use]
    pub fn new(event: CredentialEvent) -> Option<Self> {
        let kind = match event.kind {
            EventKind::Created(created) => KeyEventKind::Created(created),
            EventKind::StatusChanged { target, status: SetStatus::Active } => KeyEventKind::Activated(target),
            EventKind::StatusChanged { target, status: SetStatus::Inactive } => {
                KeyEventKind::Deactivated(target)
            }
            EventKind::SecretReset(target) => KeyEventKind::Reset(target),
            EventKind::Deleted(target) => KeyEventKind::Deleted(target),
            EventKind::Failed(_) | EventKind::UserChanged(_) => return None,
        };
        Some(Self { provenance: event.provenance, kind })
    }

    /// The event as it was parsed.
    #[must_use]
    pub fn to_event(&self) -> CredentialEvent {
        let kind = match self.kind.clone() {
            KeyEventKind::Created(created) => EventKind::Created(created),
            KeyEventKind::Activated(target) => EventKind::StatusChanged { target, status: SetStatus::Active },
            KeyEventKind::Deactivated(target) => {
                EventKind::StatusChanged { target, status: SetStatus::Inactive }
            }
            KeyEventKind::Reset(target) => EventKind::SecretReset(target),
            KeyEventKind::Deleted(target) => EventKind::Deleted(target),
        };
        CredentialEvent { provenance: self.provenance.clone(), kind }
    }

    /// Which key.
    #[must_use]
    pub fn key(&self) -> KeyRef {
        let id = match &self.kind {
            KeyEventKind::Created(created) => return created.key.clone(),
            KeyEventKind::Activated(target)
            | KeyEventKind::Reset(target)
            | KeyEventKind::Deactivated(target)
            | KeyEventKind::Deleted(target) => target.id.clone(),
        };
        KeyRef { account: self.provenance.account.clone(), id }
    }

    /// The service that it names.
    #[must_use]
    pub const fn service(&self) -> Option<&Service> {
        match &self.kind {
            KeyEventKind::Created(created) => Some(&created.service),
            KeyEventKind::Activated(target)
            | KeyEventKind::Reset(target)
            | KeyEventKind::Deactivated(target)
            | KeyEventKind::Deleted(target) => target.service.as_ref(),
        }
    }

    /// The user that it names.
    #[must_use]
    pub const fn user(&self) -> Option<&UserName> {
        match &self.kind {
            KeyEventKind::Created(created) => Some(&created.user),
            KeyEventKind::Activated(target)
            | KeyEventKind::Reset(target)
            | KeyEventKind::Deactivated(target)
            | KeyEventKind::Deleted(target) => target.user.as_ref(),
        }
    }
}

/// A key as IAM lists it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListedKey {
    /// Which key.
    pub key: KeyRef,
    /// Its owner, by the name of today.
    pub user: UserName,
    /// Its service.
    pub service: Service,
    /// When it was created.
    pub created_at: Time,
    /// When it expires. For most services IAM never says (R4).
    pub expires_at: Option<Time>,
    /// How it stands.
    pub status: KeyStatus,
}

impl ListedKey {
    /// What it says of the expiration.
    #[must_use]
    pub const fn evidence(&self) -> ListedEvidence {
        ListedEvidence { created_at: self.created_at, expires_at: self.expires_at }
    }

    /// What it says of the key.
    #[must_use]
    pub fn facts(&self) -> KeyFacts {
        KeyFacts {
            key: self.key.clone(),
            user: self.user.clone(),
            other_names: std::collections::BTreeSet::new(),
            service: self.service.clone(),
            created_at: self.created_at,
        }
    }
}

/// IAM's answer to a question about one key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sighting {
    /// When IAM was asked.
    pub asked_at: Time,
    /// The key, if IAM lists it for any user of the account.
    pub found: Option<ListedKey>,
}

/// What may require a response (R1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Trigger {
    /// What happened.
    pub kind: TriggerKind,
    /// When. The key is judged as of this time (R15).
    pub at: Time,
}

/// What kind of trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TriggerKind {
    /// The key was created.
    Created,
    /// The key was activated.
    Activated,
    /// The key got a new secret.
    Reset,
    /// A sweep saw the key active.
    ObservedActive,
    /// The key's quarantine has ended (R12).
    QuarantineEnded,
}

/// A name that no other session ever has. A request id is not enough: Lambda's retries have the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub String);

/// What the guard may do to a key. Ordered: a deletion goes further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// `UpdateServiceSpecificCredential` with the status `Inactive`. Can be undone.
    Deactivate,
    /// `DeleteServiceSpecificCredential`. Cannot be undone.
    Delete,
}

/// How far any response may go. Ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ceiling {
    /// Record and report only.
    Monitor,
    /// Deactivate at most.
    Deactivate,
    /// Delete at most.
    Delete,
}

impl Ceiling {
    /// The furthest action that it allows.
    #[must_use]
    pub const fn action(self) -> Option<Action> {
        match self {
            Self::Monitor => None,
            Self::Deactivate => Some(Action::Deactivate),
            Self::Delete => Some(Action::Delete),
        }
    }

    /// The furthest response that it allows.
    #[must_use]
    pub const fn response(self) -> Response {
        match self {
            Self::Monitor => Response::Monitor,
            Self::Deactivate => Response::Deactivate,
            Self::Delete => Response::Delete,
        }
    }
}

impl FromStr for Ceiling {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "monitor" => Ok(Self::Monitor),
            "deactivate" => Ok(Self::Deactivate),
            "delete" => Ok(Self::Delete),
            _ => Err("expected monitor, deactivate or delete"),
        }
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.response().fmt(f)
    }
}

/// The circumstances of one step.
#[derive(Debug, Clone)]
pub struct Env<'a> {
    /// What is allowed.
    pub policy: &'a Policy,
    /// The ceiling of this door: an event's and a resume's, or a sweep's (R13).
    pub ceiling: Ceiling,
    /// The time of this step.
    pub now: Time,
    /// When the invocation ends.
    pub deadline: Time,
    /// Whose session this is.
    pub worker: &'a WorkerId,
}
