//! How a key stands, who brought that about, since when, and how that is known.

use serde::{Deserialize, Serialize};

use super::CONSISTENCY_WINDOW;
use super::result::outcome_of;
use super::state::{GoneEvidence, KeyState, LastSeen, Record};
use crate::Time;
use crate::cloudtrail::Provenance;
use crate::key::{Expiration, KeyStatus, Status};

/// The guard, as who changed a key.
pub const GUARD: &str = "bedrock-key-guard";

/// How a status is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusEvidence {
    /// IAM said so: in a list, or in its answer to the guard's own call.
    Iam,
    /// Only an event said so.
    Event,
    /// A saved list of IAM says so. Nobody knows when IAM did.
    SavedList,
    /// The key's expiration has passed since it was seen.
    Expiration,
}

impl StatusEvidence {
    /// As written for scripts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Iam => "iam",
            Self::Event => "event",
            Self::SavedList => "saved_list",
            Self::Expiration => "expiration",
        }
    }
}

/// How a key stands, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Standing {
    /// How it stands.
    pub status: Status,
    /// Since when, where that is known.
    pub since: Option<Time>,
    /// Who created, activated, deactivated or deleted it, so that it stands so: a principal, or [`GUARD`].
    pub by: Option<String>,
    /// How that is known.
    pub evidence: Option<StatusEvidence>,
    /// When it stood so for certain, the last time.
    pub seen_at: Option<Time>,
}

impl Standing {
    /// Nothing is known.
    pub const UNKNOWN: Self =
        Self { status: Status::Unknown, since: None, by: None, evidence: None, seen_at: None };

    /// As an event says.
    #[must_use]
    pub fn of_event(status: Status, event: &Provenance) -> Self {
        Self {
            status,
            since: Some(event.event_time),
            by: event.actor.principal.clone(),
            evidence: Some(StatusEvidence::Event),
            seen_at: Some(event.event_time),
        }
    }

    /// As IAM's list says.
    #[must_use]
    pub fn of_listing(status: KeyStatus, asked_at: Time) -> Self {
        let evidence = Some(StatusEvidence::Iam);
        Self { status: status.into(), evidence, seen_at: Some(asked_at), ..Self::UNKNOWN }
    }

    /// As a saved list of IAM says. The time of its file is at most that of a copy, so nothing that is known with its time gives
    /// way to it.
    #[must_use]
    pub fn of_saved_list(status: KeyStatus) -> Self {
        Self { status: status.into(), evidence: Some(StatusEvidence::SavedList), ..Self::UNKNOWN }
    }

    /// As a stored state says.
    #[must_use]
    pub fn of_state(state: &KeyState) -> Self {
        match state {
            KeyState::Unknown | KeyState::Unconfirmed(_) => Self::UNKNOWN,
            KeyState::Tombstone(gone) => Self::of_gone(gone),
            KeyState::Tracked(record) => Self::of_record(record),
        }
    }

    /// As a record says.
    #[must_use]
    pub fn of_record(record: &Record) -> Self {
        if let Some(gone) = record.phase.gone() {
            return Self::of_gone(gone);
        }
        let status = outcome_of(record).status(record.known_status());
        let Some(LastSeen { at, is_confirmed, since, by, .. }) = record.last_seen.clone() else {
            return Self { status, ..Self::UNKNOWN };
        };
        let evidence = Some(if is_confirmed { StatusEvidence::Iam } else { StatusEvidence::Event });
        let (since, by) = match status {
            Status::Expired => {
                let expiration = record.assessed().and_then(|assessment| assessment.expiration);
                (expiration.and_then(Expiration::end), None)
            }
            Status::Active if since.is_none() && !is_confirmed => {
                let creation = record.creation.as_ref().filter(|creation| creation.event_time == at);
                (Some(at), creation.and_then(|event| event.actor.principal.clone()))
            }
            Status::Active | Status::Inactive | Status::Gone | Status::Unknown => (since, by),
        };
        Self { status, since, by, evidence, seen_at: Some(at) }
    }

    fn of_gone(gone: &GoneEvidence) -> Self {
        let (since, by) = match gone {
            GoneEvidence::DeletedByGuard { at } => (*at, Some(GUARD.to_owned())),
            GoneEvidence::DeletedBy { event, .. } => (event.event_time, event.actor.principal.clone()),
            GoneEvidence::Absent { at } => (*at, None),
        };
        Self {
            status: Status::Gone,
            since: Some(since),
            by,
            evidence: Some(StatusEvidence::Iam),
            seen_at: Some(gone.at()),
        }
    }

    /// With what was learned next. What is known of a later time stays. Nothing undoes a deletion but a list of IAM that was
    /// requested a minute or more after it (R3): the id of a key never comes back.
    #[must_use]
    pub fn join(self, next: Self) -> Self {
        let is_older = match (self.seen_at, next.seen_at) {
            (Some(known), Some(next)) => next < known,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let is_late = next.seen_at >= self.seen_at.map(|at| at + CONSISTENCY_WINDOW);
        let is_iams_word =
            next.evidence == Some(StatusEvidence::Iam) && (next.status == Status::Gone || is_late);
        let is_final = self.status == Status::Gone && !is_iams_word;
        if is_older || is_final || next.status == Status::Unknown {
            return self;
        }
        // IAM confirms what an event said.
        if self.status == next.status && next.since.is_none() {
            return Self { since: self.since, by: self.by, ..next };
        }
        next
    }

    /// True if the key was deleted before this time.
    #[must_use]
    pub fn ended_before(&self, time: Time) -> bool {
        self.status == Status::Gone && self.since.is_none_or(|since| since < time)
    }

    /// True if nobody is known to have deleted the key: lists of IAM do not have it any more.
    #[must_use]
    pub fn is_only_absent(&self) -> bool {
        let is_absence = self.evidence == Some(StatusEvidence::Iam) && self.since == self.seen_at;
        self.status == Status::Gone && self.by.is_none() && is_absence
    }

    /// As it is at `now`: a key that was not deleted has expired, if its time is over.
    #[must_use]
    pub fn as_of(self, now: Time, expires_at: Option<Time>) -> Self {
        match (self.status, expires_at) {
            (Status::Active | Status::Inactive | Status::Unknown, Some(end)) if end <= now => Self {
                status: Status::Expired,
                since: Some(end),
                by: None,
                evidence: Some(StatusEvidence::Expiration),
                seen_at: self.seen_at,
            },
            (Status::Active | Status::Inactive | Status::Expired | Status::Gone | Status::Unknown, _) => self,
        }
    }
}
