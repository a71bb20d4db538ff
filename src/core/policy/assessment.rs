//! What a key deserves, in the words of a policy.

use std::fmt;
use std::str::FromStr;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::evidence::{Basis, Determination, Undetermined};
use crate::key::{Expiration, Lifetime, UserName};
use crate::time::Time;

/// How far the guard goes with a key. Ordered: each goes further than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Response {
    /// None is required.
    None,
    /// Recorded and reported; the key stays as it is.
    Monitor,
    /// Deactivated, which can be undone.
    Deactivate,
    /// Deactivated, and deleted after the policy's `grace_days`.
    Quarantine,
    /// Deleted, which cannot be undone.
    Delete,
}

impl Response {
    /// As written in reports, policies and the environment.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Monitor => "monitor",
            Self::Deactivate => "deactivate",
            Self::Quarantine => "quarantine",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Response {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "monitor" => Ok(Self::Monitor),
            "deactivate" => Ok(Self::Deactivate),
            "quarantine" => Ok(Self::Quarantine),
            "delete" => Ok(Self::Delete),
            _ => Err("expected monitor, deactivate, quarantine or delete"),
        }
    }
}

/// How a key stands against the policy: the kind of a [`VerdictDetail`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Within the limit.
    Compliant,
    /// Over the limit, and allowed to be.
    Exempt,
    /// Over the limit.
    Noncompliant,
    /// Not known. Never compliant, and never a reason to delete.
    Undetermined,
}

impl Verdict {
    /// As written in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compliant => "compliant",
            Self::Exempt => "exempt",
            Self::Noncompliant => "noncompliant",
            Self::Undetermined => "undetermined",
        }
    }

    /// Of a key's user names, the one with the strictest verdict applies (R6).
    pub(super) const fn strictness(self) -> u8 {
        match self {
            Self::Compliant => 0,
            Self::Exempt => 1,
            Self::Undetermined => 2,
            Self::Noncompliant => 3,
        }
    }
}

/// What is wrong with a noncompliant key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Violation {
    /// It never expires, or so far away that no end was meant.
    NeverExpires,
    /// It expires, but too late.
    LifetimeExceedsLimit,
    /// The limit is 0: no long-term key may exist at all.
    LongTermKeyForbidden,
    /// The guard had deactivated it, somebody activated it again, and it is still noncompliant.
    Reactivated,
}

impl Violation {
    /// As written in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NeverExpires => "never_expires",
            Self::LifetimeExceedsLimit => "lifetime_exceeds_limit",
            Self::LongTermKeyForbidden => "long_term_key_forbidden",
            Self::Reactivated => "reactivated",
        }
    }
}

/// A verdict with what it depends on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictDetail {
    /// Within the limit.
    Compliant,
    /// Over the limit, and exempt by the policy.
    Exempt {
        /// The exemption's reason.
        reason: String,
        /// Its last day, in UTC.
        until: NaiveDate,
    },
    /// Over the limit.
    Noncompliant(Violation),
    /// It is not known when the key expires.
    Undetermined(Undetermined),
}

impl VerdictDetail {
    /// Its kind.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::Compliant => Verdict::Compliant,
            Self::Exempt { .. } => Verdict::Exempt,
            Self::Noncompliant(_) => Verdict::Noncompliant,
            Self::Undetermined(_) => Verdict::Undetermined,
        }
    }

    /// What is wrong, where something is.
    #[must_use]
    pub const fn violation(&self) -> Option<Violation> {
        match self {
            Self::Noncompliant(violation) => Some(*violation),
            Self::Compliant | Self::Exempt { .. } | Self::Undetermined(_) => None,
        }
    }
}

/// The rule of the policy that applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// `[default]`
    Default,
    /// The override with this number, from 1.
    Override(usize),
}

/// What a key deserves, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Assessment {
    /// How the key stands.
    pub verdict: VerdictDetail,
    /// The limit that applied, in days. 0: no long-term key is allowed.
    pub limit_days: u32,
    /// What a noncompliant key under this rule gets, before any ceiling.
    pub response: Response,
    /// With [`Response::Quarantine`]: how many days pass between deactivation and deletion.
    pub grace_days: u32,
    /// When the key was created, by the evidence.
    pub created_at: Time,
    /// When the key expires, where that is known.
    pub expiration: Option<Expiration>,
    /// What says so, where it is known.
    pub basis: Option<Basis>,
    /// The rule that applied.
    pub rule: Rule,
    /// The user name that decided, where the key's user has more than one (R6).
    pub decided_by: Option<UserName>,
    /// The last day of the exemption that this key had, where it is over.
    pub ended_exemption: Option<NaiveDate>,
}

impl Assessment {
    /// How the key stands.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict.verdict()
    }

    /// How long the key lives, where that is known.
    #[must_use]
    pub fn lifetime(&self) -> Option<Lifetime> {
        self.expiration.map(|expiration| Lifetime::of(self.created_at, expiration))
    }

    /// The same of a key that the guard had deactivated and that works again. Only a noncompliant key can be
    /// reactivated in this sense: an exemption or a higher limit is how a key comes back.
    pub fn mark_reactivated(&mut self) {
        match self.verdict {
            VerdictDetail::Noncompliant(_) => {
                self.verdict = VerdictDetail::Noncompliant(Violation::Reactivated);
            }
            VerdictDetail::Compliant | VerdictDetail::Exempt { .. } | VerdictDetail::Undetermined(_) => {}
        }
    }

    /// Whether the policy requires quarantine.
    #[must_use]
    pub fn requires_quarantine(&self) -> bool {
        self.verdict() == Verdict::Noncompliant && self.response == Response::Quarantine
    }

    /// When the key expires, in the form that evidence has.
    #[must_use]
    pub fn determination(&self) -> Determination {
        match (&self.verdict, self.expiration, self.basis) {
            (VerdictDetail::Undetermined(why), _, _) => Determination::Undetermined(*why),
            (_, Some(expiration), Some(basis)) => Determination::Known { expiration, basis },
            (_, None, _) | (_, _, None) => Determination::Undetermined(Undetermined::NoEvidence),
        }
    }
}

/// Whether the policy judges a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// It does.
    InScope(Assessment),
    /// It does not judge keys of this service.
    OutOfScope,
}
