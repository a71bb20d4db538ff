//! What every door returns and prints.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::event::{Attempt, NotOurs, Ours, Provenance, SetStatus, Subject, What};
use crate::key::{AccountId, CredentialId, EventId, Service, UserName};
use crate::policy::{Response, Standing, Violation};

/// What became of a key. Ordered: an entry in the ledger only ever moves up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Not ours, or nothing to do with it: no entry was made.
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

/// One flat JSON object per event. Every field is always there: `null` is a fact ("never expires").
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The account that owns the key.
    pub account: Option<AccountId>,
    /// The service that the key is for.
    pub service: Option<Service>,
    /// The IAM user that owns the key.
    pub user: Option<UserName>,
    /// The key.
    pub credential_id: Option<CredentialId>,
    /// When IAM made it.
    #[serde(serialize_with = "time")]
    pub created_at: Option<DateTime<Utc>>,
    /// When it ends; `null`: never, or (with `undetermined`) not known.
    #[serde(serialize_with = "time")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Expiration minus creation, in days; `null`: never ends, or not known.
    pub lifetime_days: Option<Number>,
    /// The limit that applied, in days.
    pub limit_days: Option<u32>,
    /// How the key stands.
    pub verdict: Option<Standing>,
    /// What is wrong with it.
    pub violation: Option<Violation>,
    /// What it gets, after the ceiling.
    pub response: Response,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, in words.
    pub reason: String,
    /// The principal that made the call: an ARN, or an AWS service.
    pub actor: Option<String>,
    /// Where the call came from.
    pub source_ip: Option<String>,
    /// What made the call.
    pub user_agent: Option<String>,
    /// CloudTrail's id of the event.
    pub event_id: Option<EventId>,
    /// CloudTrail's time of the event.
    #[serde(serialize_with = "time")]
    pub event_time: Option<DateTime<Utc>>,
    /// The policy that judged the key.
    pub policy_sha256: Option<String>,
    /// Whether the breaker made a deactivation of a deletion: for the metrics; the reason says so in words.
    #[serde(skip)]
    pub held_back: bool,
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn time<S: serde::Serializer>(time: &Option<DateTime<Utc>>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => to.serialize_str(&crate::clock::rfc3339(*time)),
        None => to.serialize_none(),
    }
}

impl Report {
    /// The report's fields, in order: the header of CSV output.
    pub const FIELDS: [&'static str; 19] = [
        "account",
        "service",
        "user",
        "credential_id",
        "created_at",
        "expires_at",
        "lifetime_days",
        "limit_days",
        "verdict",
        "violation",
        "response",
        "outcome",
        "reason",
        "actor",
        "source_ip",
        "user_agent",
        "event_id",
        "event_time",
        "policy_sha256",
    ];

    fn empty(reason: String) -> Self {
        Self {
            account: None,
            service: None,
            user: None,
            credential_id: None,
            created_at: None,
            expires_at: None,
            lifetime_days: None,
            limit_days: None,
            verdict: None,
            violation: None,
            response: Response::None,
            outcome: Outcome::Ignored,
            reason,
            actor: None,
            source_ip: None,
            user_agent: None,
            event_id: None,
            event_time: None,
            policy_sha256: None,
            held_back: false,
        }
    }

    /// The report of a key that a later event is about: who made that call, not who made the key.
    #[must_use]
    pub fn told_by(mut self, event: &Provenance) -> Self {
        self.actor.clone_from(&event.actor.principal);
        self.source_ip.clone_from(&event.source_ip);
        self.user_agent.clone_from(&event.user_agent);
        self.event_id = Some(event.event_id.clone());
        self.event_time = Some(event.event_time);
        self
    }

    /// For an event that is not ours.
    #[must_use]
    pub fn not_ours(why: &NotOurs) -> Self {
        Self::empty(why.to_string())
    }

    /// For a credential write that is not judged.
    #[must_use]
    pub fn ignored(ours: &Ours, reason: String) -> Self {
        let event = &ours.event;
        let (id, user, service) = match &ours.what {
            What::Created(key) => (Some(key.key.id.clone()), Some(key.user.clone()), Some(key.service)),
            What::StatusChanged { subject, .. } | What::SecretReset(subject) | What::Deleted(subject) => {
                let Subject { id, user, service } = subject.clone();
                (Some(id), user, service)
            }
            What::Failed(Attempt { user, service, .. }) => (None, user.clone(), *service),
            What::CreatedForOther { .. } => (None, None, None),
            What::AccessKeyMade { user } => (None, Some(user.clone()), None),
        };
        Self {
            account: Some(event.account.clone()),
            service,
            user,
            credential_id: id,
            actor: event.actor.principal.clone(),
            source_ip: event.source_ip.clone(),
            user_agent: event.user_agent.clone(),
            event_id: Some(event.event_id.clone()),
            event_time: Some(event.event_time),
            ..Self::empty(reason)
        }
    }
}

/// Says what a credential write is when it is no new key of a judged service.
#[must_use]
pub fn describe(what: &What) -> String {
    match what {
        What::Created(key) => format!("a key was made for {}, which the policy does not judge", key.service),
        What::CreatedForOther { service } => {
            format!("a credential was made for {service}, which no policy can name")
        }
        What::StatusChanged { status: SetStatus::Active, .. } => {
            "status changed: a key was switched on".to_owned()
        }
        What::StatusChanged { status: SetStatus::Inactive, .. } => {
            "status changed: a key was switched off".to_owned()
        }
        What::SecretReset(_) => "secret reset: a key got a new secret, and keeps its lifetime".to_owned(),
        What::Deleted(_) => "key deleted".to_owned(),
        What::Failed(attempt) => {
            format!("failed attempt: {} was refused with {}", attempt.call, attempt.error_code)
        }
        What::AccessKeyMade { user } => format!(
            "critical: an access key was made for {user}, a user that the console made for an API key: it \
             outlives the key"
        ),
    }
}
