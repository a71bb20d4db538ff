//! What every input returns, and what is printed: one flat object.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::cloudtrail::{Attempt, CredentialEvent, EventKind, Irrelevant, KeyTarget, Provenance};
use crate::key::{
    AccountId, CredentialId, EventId, KeyFacts, KeyRef, KeyStatus, Lifetime, Service, Status, UserName,
};
use crate::policy::{Assessment, Response, Verdict, Violation};
use crate::remediation::{Contact, NextStep, Remediation};
use crate::silence::HeardAccount;
use crate::time::{Time, rfc3339};
use crate::words;

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The event is irrelevant, or nothing follows from it: the key has no record, or somebody deactivated it.
    Ignored,
    /// Assessed and recorded; nothing else was required, or this was a dry run.
    Recorded,
    /// Noncompliant, recorded and left as it is: the response or the ceiling is `monitor`.
    Monitored,
    /// IAM says the key is `Inactive` or `Expired`, and the guard did not do that.
    AlreadyInactive,
    /// IAM no longer lists the key for any user, and the guard did not delete it.
    AlreadyGone,
    /// Deactivated.
    Deactivated,
    /// Deleted by somebody else, according to IAM: it lists the key for no user.
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
            Self::Recorded => "recorded",
            Self::Monitored => "monitored",
            Self::AlreadyInactive => "already_inactive",
            Self::AlreadyGone => "already_gone",
            Self::Deactivated => "deactivated",
            Self::Gone => "gone",
            Self::Deleted => "deleted",
        }
    }

    /// Whether the key no longer exists.
    #[must_use]
    pub const fn is_gone(self) -> bool {
        match self {
            Self::AlreadyGone | Self::Gone | Self::Deleted => true,
            Self::Ignored | Self::Recorded | Self::Monitored | Self::AlreadyInactive | Self::Deactivated => {
                false
            }
        }
    }

    /// How a key with this outcome stands. `seen` is what IAM said last, or the creation event; it decides where the
    /// outcome does not.
    #[must_use]
    pub const fn status(self, seen: Option<KeyStatus>) -> Status {
        match (self, seen) {
            (Self::Deleted | Self::Gone | Self::AlreadyGone, _) => Status::Gone,
            (Self::AlreadyInactive, Some(KeyStatus::Expired)) => Status::Expired,
            (Self::Deactivated | Self::AlreadyInactive, _) => Status::Inactive,
            (Self::Ignored | Self::Recorded | Self::Monitored, Some(KeyStatus::Active)) => Status::Active,
            (Self::Ignored | Self::Recorded | Self::Monitored, Some(KeyStatus::Inactive)) => Status::Inactive,
            (Self::Ignored | Self::Recorded | Self::Monitored, Some(KeyStatus::Expired)) => Status::Expired,
            (Self::Ignored | Self::Recorded | Self::Monitored, None) => Status::Unknown,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much a report matters. Ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Nothing is wrong.
    Info,
    /// Something is wrong or was tried, and has no effect now: a noncompliant key that is not active, a refused
    /// call.
    Low,
    /// Somebody should look: it is not known when a key expires; one that the guard had deactivated was activated, and does
    /// not work now; or a key was created for a service that the policy does not judge.
    Medium,
    /// A noncompliant key is or may be active; or an account has fallen silent.
    High,
    /// A noncompliant key that the guard had deactivated is active again, or a user got another way in.
    Critical,
}

impl Severity {
    /// As written in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// Of a key that was assessed and stands so.
    #[must_use]
    pub const fn of_key(verdict: Verdict, violation: Option<Violation>, status: Status) -> Self {
        match (verdict, violation, status.may_be_usable()) {
            (Verdict::Compliant | Verdict::Exempt, _, _) => Self::Info,
            (Verdict::Undetermined, _, true) => Self::Medium,
            (Verdict::Undetermined, _, false) => Self::Low,
            (Verdict::Noncompliant, Some(Violation::Reactivated), true) => Self::Critical,
            (Verdict::Noncompliant, Some(Violation::Reactivated), false) => Self::Medium,
            (
                Verdict::Noncompliant,
                None
                | Some(
                    Violation::NeverExpires
                    | Violation::LifetimeExceedsLimit
                    | Violation::LongTermKeyForbidden,
                ),
                true,
            ) => Self::High,
            (
                Verdict::Noncompliant,
                None
                | Some(
                    Violation::NeverExpires
                    | Violation::LifetimeExceedsLimit
                    | Violation::LongTermKeyForbidden,
                ),
                false,
            ) => Self::Low,
        }
    }

    /// Of an event about a key that was not assessed, or about none.
    #[must_use]
    pub const fn of_event(kind: &EventKind) -> Self {
        match kind {
            EventKind::Created(_)
            | EventKind::StatusChanged { .. }
            | EventKind::SecretReset(_)
            | EventKind::Deleted(_) => Self::Info,
            EventKind::Failed(_) => Self::Low,
            EventKind::UserChanged(_) => Self::Critical,
        }
    }
}

/// One flat JSON object per input. Every field is always there: `null` is a fact ("never expires").
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Report {
    /// The account that owns the key.
    pub account: Option<AccountId>,
    /// The service that the key is for.
    pub service: Option<Service>,
    /// The IAM user that owns the key.
    pub user: Option<UserName>,
    /// The key.
    pub credential_id: Option<CredentialId>,
    /// When IAM created it.
    #[serde(serialize_with = "time")]
    pub created_at: Option<Time>,
    /// When it expires; `null`: never, or (with `undetermined`) not known.
    #[serde(serialize_with = "time")]
    pub expires_at: Option<Time>,
    /// Expiration minus creation, in days; `null`: never expires, or not known.
    pub lifetime_days: Option<Number>,
    /// The limit that applied, in days.
    pub limit_days: Option<u32>,
    /// How the key stands against the policy.
    pub verdict: Option<Verdict>,
    /// What is wrong with it.
    pub violation: Option<Violation>,
    /// How much it matters.
    pub severity: Severity,
    /// How the key stands, as far as is known.
    pub status: Status,
    /// What it gets, after the ceiling.
    pub response: Response,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, in words.
    pub reason: String,
    /// What the owner should do, in words, with the commands; `null`: nothing.
    pub remediation: Option<Box<Remediation>>,
    /// The principal that made the call: an ARN, an AWS service, or an id where CloudTrail has no ARN.
    pub actor: Option<String>,
    /// Where the call came from.
    pub source_ip: Option<String>,
    /// What made the call.
    pub user_agent: Option<String>,
    /// CloudTrail's id of the event.
    pub event_id: Option<EventId>,
    /// CloudTrail's time of the event.
    #[serde(serialize_with = "time")]
    pub event_time: Option<Time>,
    /// The policy that judged the key.
    pub policy_sha256: Option<String>,
    /// The principal that created the key, where an event says so: for tables. The remediation says so in words.
    #[serde(skip)]
    pub creator: Option<String>,
    /// Whether the breaker lowered a deletion to a deactivation: for metrics. The reason says so in words.
    #[serde(skip)]
    pub rate_limited: bool,
    /// Whether a key was created for a service that the policy does not judge: for metrics. The reason says so in words.
    #[serde(skip)]
    pub service_not_judged: bool,
}

#[expect(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn time<S: serde::Serializer>(time: &Option<Time>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => to.serialize_str(&rfc3339(*time)),
        None => to.serialize_none(),
    }
}

impl Report {
    /// The report's fields, in order: the header of CSV output.
    pub const FIELDS: [&'static str; 22] = [
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
        "severity",
        "status",
        "response",
        "outcome",
        "reason",
        "remediation",
        "actor",
        "source_ip",
        "user_agent",
        "event_id",
        "event_time",
        "policy_sha256",
    ];

    fn without_key(reason: String) -> Self {
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
            severity: Severity::Info,
            status: Status::Unknown,
            response: Response::None,
            outcome: Outcome::Ignored,
            reason,
            remediation: None,
            actor: None,
            source_ip: None,
            user_agent: None,
            event_id: None,
            event_time: None,
            policy_sha256: None,
            creator: None,
            rate_limited: false,
            service_not_judged: false,
        }
    }

    /// For an event that is irrelevant.
    #[must_use]
    pub fn irrelevant(why: &Irrelevant) -> Self {
        Self::without_key(why.to_string())
    }

    /// For an event about a key that was not assessed, or about none.
    #[must_use]
    pub fn not_assessed(event: &CredentialEvent, reason: String) -> Self {
        let (id, user, service) = match &event.kind {
            EventKind::Created(created) => {
                (Some(created.key.id.clone()), Some(created.user.clone()), Some(created.service.clone()))
            }
            EventKind::StatusChanged { target, .. }
            | EventKind::SecretReset(target)
            | EventKind::Deleted(target) => {
                let KeyTarget { id, user, service } = target.clone();
                (Some(id), user, service)
            }
            EventKind::Failed(Attempt { user, service, .. }) => (None, user.clone(), service.clone()),
            EventKind::UserChanged(change) => (None, Some(change.user.clone()), None),
        };
        Self {
            account: Some(event.provenance.account.clone()),
            service,
            user,
            credential_id: id,
            severity: Severity::of_event(&event.kind),
            remediation: Remediation::of_event(event),
            ..Self::without_key(reason)
        }
        .with_provenance(Some(&event.provenance))
    }

    /// For an event about a service that the policy does not judge. That a key was created is a finding: somebody should
    /// look, as nobody judges it. A password is none.
    #[must_use]
    pub fn service_not_judged(event: &CredentialEvent, reason: String) -> Self {
        let report = Self::not_assessed(event, reason);
        match &event.kind {
            EventKind::Created(created) if created.service.has_api_keys() => {
                let remediation = Remediation::of_unjudged_key(created, &event.provenance.actor);
                Self {
                    severity: Severity::Medium,
                    remediation: Some(remediation),
                    service_not_judged: true,
                    ..report
                }
            }
            EventKind::Created(_)
            | EventKind::StatusChanged { .. }
            | EventKind::SecretReset(_)
            | EventKind::Deleted(_)
            | EventKind::Failed(_)
            | EventKind::UserChanged(_) => report,
        }
    }

    /// For a key that was assessed.
    #[must_use]
    pub fn assessed(key: &KeyFacts, assessment: &Assessment, response: Response, result: KeyResult) -> Self {
        let remediation = Remediation::of_key(key, assessment, &result);
        let KeyResult { outcome, status, reason, .. } = result;
        let (expires_at, lifetime_days) = match assessment.lifetime() {
            Some(Lifetime::Ends(lifetime)) => {
                (assessment.created_at.checked_add_signed(lifetime), Some(crate::key::days(lifetime)))
            }
            Some(Lifetime::Never) | None => (None, None),
        };
        Self {
            account: Some(key.key.account.clone()),
            service: Some(key.service.clone()),
            user: Some(key.user.clone()),
            credential_id: Some(key.key.id.clone()),
            created_at: Some(assessment.created_at),
            expires_at,
            lifetime_days,
            limit_days: Some(assessment.limit_days),
            verdict: Some(assessment.verdict()),
            violation: assessment.verdict.violation(),
            severity: Severity::of_key(assessment.verdict(), assessment.verdict.violation(), status),
            status,
            response,
            outcome,
            remediation,
            ..Self::without_key(reason)
        }
    }

    /// For a key that was not assessed. `facts` is what is known of it.
    #[must_use]
    pub fn key_not_assessed(key: &KeyRef, facts: Option<&KeyFacts>, result: KeyResult) -> Self {
        let KeyResult { outcome, status, reason, .. } = result;
        Self {
            account: Some(key.account.clone()),
            service: facts.map(|facts| facts.service.clone()),
            user: facts.map(|facts| facts.user.clone()),
            credential_id: Some(key.id.clone()),
            created_at: facts.map(|facts| facts.created_at),
            status,
            outcome,
            ..Self::without_key(reason)
        }
    }

    /// For an account that has fallen silent.
    #[must_use]
    pub fn silent_account(heard: &HeardAccount) -> Self {
        Self {
            account: Some(heard.account.clone()),
            severity: Severity::High,
            remediation: Some(Remediation::of_silent_account(&heard.account)),
            ..Self::without_key(words::silence(heard))
        }
    }

    /// With who created the key, where that is known.
    #[must_use]
    pub fn with_creator(mut self, creation: Option<&Provenance>) -> Self {
        self.creator = creation.and_then(|creation| creation.actor.principal.clone());
        if let Some(remediation) = &mut self.remediation {
            remediation.creator = creation.map(|creation| creation.actor.clone());
        }
        self
    }

    /// With whom to ask.
    #[must_use]
    pub fn with_contact(mut self, contact: Option<&Contact>) -> Self {
        if let Some(remediation) = &mut self.remediation {
            remediation.contact = contact.cloned();
        }
        self
    }

    /// With who made the call that the report is about, where that is known.
    #[must_use]
    pub fn with_provenance(mut self, provenance: Option<&Provenance>) -> Self {
        let Some(provenance) = provenance else { return self };
        self.actor.clone_from(&provenance.actor.principal);
        self.source_ip.clone_from(&provenance.source_ip);
        self.user_agent.clone_from(&provenance.user_agent);
        self.event_id = Some(provenance.event_id.clone());
        self.event_time = Some(provenance.event_time);
        self
    }
}

/// What became of a key that was assessed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyResult {
    /// What became of it.
    pub outcome: Outcome,
    /// How it stands now.
    pub status: Status,
    /// Why, in words.
    pub reason: String,
    /// What happens to it next.
    pub next: NextStep,
}

impl KeyResult {
    /// `seen` is how the key stood when somebody last saw it. Nothing happens to it next.
    #[must_use]
    pub const fn new(outcome: Outcome, seen: Option<KeyStatus>, reason: String) -> Self {
        Self { outcome, status: outcome.status(seen), reason, next: NextStep::None }
    }

    /// With what happens to the key next.
    #[must_use]
    pub fn with_next(self, next: NextStep) -> Self {
        Self { next, ..self }
    }
}
