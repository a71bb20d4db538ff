//! What became of a key, as its item has it.

use std::fmt;

use key_guard_core::report;
use serde::{Deserialize, Serialize};

/// What became of a key. Ordered: an entry in the ledger only ever moves up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Irrelevant, or nothing to do with it: no entry was made.
    Ignored,
    /// The entry is durable and its plan not yet carried out. Never reported.
    Open,
    /// As open; and IAM's answer, which says something else than the event, is durable too. Never reported.
    Confirmed,
    /// Judged and recorded; nothing else was called for, or this was a rehearsal.
    Recorded,
    /// Noncompliant, recorded and left as it is: the response or the ceiling is `monitor`.
    Monitored,
    /// IAM says the key is `Inactive` or `Expired`, and this delivery did not do that.
    AlreadyInactive,
    /// IAM no longer lists the key for any user, and this delivery did not delete it.
    AlreadyGone,
    /// Switched off.
    Deactivated,
    /// Deleted by someone else, by IAM's word: it lists the key for no user any more.
    Gone,
    /// Deleted.
    Deleted,
}

impl Outcome {
    /// As written in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ignored => "ignored",
            Self::Open => "open",
            Self::Confirmed => "confirmed",
            Self::Recorded => "recorded",
            Self::Monitored => "monitored",
            Self::AlreadyInactive => "already_inactive",
            Self::AlreadyGone => "already_gone",
            Self::Deactivated => "deactivated",
            Self::Gone => "gone",
            Self::Deleted => "deleted",
        }
    }

    /// Whether its entry's plan was carried out.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        match self {
            Self::Open | Self::Confirmed => false,
            Self::Ignored
            | Self::Recorded
            | Self::Monitored
            | Self::AlreadyInactive
            | Self::AlreadyGone
            | Self::Deactivated
            | Self::Gone
            | Self::Deleted => true,
        }
    }

    /// Whether the key is no more, so that nothing can follow.
    #[must_use]
    pub const fn is_gone(self) -> bool {
        match self {
            Self::AlreadyGone | Self::Gone | Self::Deleted => true,
            Self::Ignored
            | Self::Open
            | Self::Confirmed
            | Self::Recorded
            | Self::Monitored
            | Self::AlreadyInactive
            | Self::Deactivated => false,
        }
    }

    /// Its place in the order, as the ledger's conditions compare it. Spaced, so that outcomes can come
    /// between; a number once used keeps its meaning.
    #[must_use]
    pub const fn rank(self) -> u32 {
        match self {
            Self::Ignored | Self::Open => 0,
            Self::Confirmed => 5,
            Self::Recorded => 10,
            Self::Monitored => 20,
            Self::AlreadyInactive => 30,
            Self::AlreadyGone => 40,
            Self::Deactivated => 50,
            Self::Gone => 55,
            Self::Deleted => 60,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Outcome> for report::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ignored => Self::Ignored,
            Outcome::Open | Outcome::Confirmed | Outcome::Recorded => Self::Recorded,
            Outcome::Monitored => Self::Monitored,
            Outcome::AlreadyInactive => Self::AlreadyInactive,
            Outcome::AlreadyGone => Self::AlreadyGone,
            Outcome::Deactivated => Self::Deactivated,
            Outcome::Gone => Self::Gone,
            Outcome::Deleted => Self::Deleted,
        }
    }
}

impl PartialEq<Outcome> for report::Outcome {
    fn eq(&self, other: &Outcome) -> bool {
        *self == Self::from(*other)
    }
}
