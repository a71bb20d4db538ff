//! The sentences of reports, made from data. Errors have their own.
//!
//! [`lifecycle`] has those about what the guard did, and the words of the table; [`remediation`](mod@remediation) those for
//! the owners of keys.

pub mod lifecycle;
pub mod remediation;

use std::fmt;

use chrono::TimeDelta;

use crate::cloudtrail::{Correction, EventKind, Irrelevant, SetStatus, UserCall, UserChange};
use crate::evidence::{Basis, EventSource, EvidenceField, Found, Undetermined};
use crate::key::{AccountId, Lifetime, Service, describe_days};
use crate::policy::{Assessment, PolicyWarning, Rule, VerdictDetail, Violation, violation_of};
use crate::silence::{HeardAccount, KEPT_FOR, SWEPT_FOR};
use crate::time::rfc3339;

/// Why a key deserves what it deserves, in short sentences.
#[must_use]
pub fn reason(assessment: &Assessment) -> String {
    let mut sentences = Vec::new();
    if assessment.verdict.violation() == Some(Violation::Reactivated) {
        sentences.push("The guard deactivated this key, and somebody activated it again.".to_owned());
    }
    match assessment.verdict {
        VerdictDetail::Undetermined(why) => {
            sentences.push(format!("It is not known when the key expires: {why}."));
        }
        VerdictDetail::Compliant | VerdictDetail::Exempt { .. } | VerdictDetail::Noncompliant(_) => {
            sentences.extend(assessment.lifetime().map(|lifetime| lifetime_and_limit(assessment, lifetime)));
        }
    }
    if let VerdictDetail::Exempt { reason, until } = &assessment.verdict {
        sentences.push(format!("It is exempt until {until}: {}", with_full_stop(reason)));
    }
    if let Some(ended) = assessment.ended_exemption {
        sentences.push(format!("Its exemption ended on {ended}."));
    }
    sentences.extend(assessment.basis.map(|basis| basis.to_string()));
    if let Rule::Override(_) = assessment.rule {
        sentences.push(format!("The policy's {} applies.", assessment.rule));
    }
    if let Some(name) = &assessment.decided_by {
        sentences.push(format!("The user has had several names, and {name} is the one that decided."));
    }
    sentences.join(" ")
}

fn lifetime_and_limit(assessment: &Assessment, lifetime: Lifetime) -> String {
    let limit = count_days(assessment.limit_days);
    let violation = violation_of(lifetime, assessment.limit_days);
    let lives = match lifetime {
        Lifetime::Never => {
            return format!("The key never expires. {}", allowed_at_most(assessment.limit_days));
        }
        Lifetime::Ends(lives) => {
            let until = assessment.created_at.checked_add_signed(lives).map(rfc3339).unwrap_or_default();
            format!("The key lives {}, until {until}", describe_days(lives))
        }
    };
    match violation {
        None => format!("{lives}. That is within the limit of {limit}."),
        Some(Violation::LongTermKeyForbidden) => format!("{lives}. No long-term key is allowed."),
        Some(Violation::NeverExpires) => {
            format!(
                "{lives}: it counts as one that never expires. {}",
                allowed_at_most(assessment.limit_days)
            )
        }
        Some(Violation::LifetimeExceedsLimit | Violation::Reactivated) => {
            if assessment.limit_days == 0 {
                format!("{lives}. No long-term key is allowed.")
            } else {
                format!("{lives}. That is over the limit of {limit}.")
            }
        }
    }
}

fn allowed_at_most(limit_days: u32) -> String {
    if limit_days == 0 {
        "No long-term key is allowed.".to_owned()
    } else {
        format!("The limit is {}.", count_days(limit_days))
    }
}

fn count_days(days: u32) -> String {
    if days == 1 { "1 day".to_owned() } else { format!("{days} days") }
}

fn with_full_stop(text: &str) -> String {
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

/// What it means that an account has fallen silent.
#[must_use]
pub fn silence(heard: &HeardAccount) -> String {
    format!(
        "No heartbeat has arrived from account {} since {}. The heartbeat is a call that IAM denies every hour. While it \
         is missing, events about the account's keys do not reach the guard either. Sweeps still look into the account \
         for {} after the last heartbeat, and then leave it out.",
        heard.account,
        rfc3339(heard.last_heard),
        count_whole_days(SWEPT_FOR)
    )
}

/// What to do about an account that has fallen silent, in sentences.
fn remediation_of_silence(account: &AccountId) -> Vec<String> {
    vec![
        format!("Check in account {account} that a trail logs management events (write)."),
        "Check there that the guard's stack exists, and that its rule and its heartbeat schedule are enabled."
            .to_owned(),
        "Run `bedrock-key-guard doctor`.".to_owned(),
        "If many accounts are silent, one report stands for all: look first at the guard's own account, at its event bus \
         and at the failures of its function."
            .to_owned(),
        format!(
            "If the account was closed, or its stack or heartbeat was removed on purpose, do nothing: the guard forgets the \
             account {} after its last heartbeat.",
            count_whole_days(KEPT_FOR)
        ),
    ]
}

fn count_whole_days(time: TimeDelta) -> String {
    format!("{} days", time.num_days())
}

/// What an event is about, where no key is assessed for it.
#[must_use]
pub fn describe_event(kind: &EventKind) -> String {
    match kind {
        EventKind::Created(created) => describe_unjudged_creation(&created.service),
        EventKind::StatusChanged { status: SetStatus::Active, .. } => "A key was activated.".to_owned(),
        EventKind::StatusChanged { status: SetStatus::Inactive, .. } => "A key was deactivated.".to_owned(),
        EventKind::SecretReset(_) => {
            "A key was reset: it has a new secret, and keeps its lifetime.".to_owned()
        }
        EventKind::Deleted(_) => "A key was deleted.".to_owned(),
        EventKind::Failed(attempt) => {
            format!("{} failed with {}.", attempt.call.as_str(), attempt.error_code)
        }
        EventKind::UserChanged(change) => describe_user_change(change),
    }
}

/// A creation for a service that the policy does not judge.
fn describe_unjudged_creation(service: &Service) -> String {
    if !service.has_api_keys() {
        return format!("A password was created for {service}, which the policy does not judge.");
    }
    let unknown =
        if service.is_known() { "" } else { " This version of the guard does not know the service." };
    format!("A new key for {service} is not judged. The policy does not name this service.{unknown}")
}

fn describe_user_change(change: &UserChange) -> String {
    let UserChange { call, user } = change;
    let origin = if user.is_console_user() {
        "A console created this user for an API key."
    } else {
        "The user has an API key that was created in a console session."
    };
    match call {
        UserCall::CreateAccessKey => {
            format!("An access key was created for {user}. {origin} It outlives the API key.")
        }
        UserCall::CreateLoginProfile => {
            format!(
                "A password for the AWS console was created for {user}. {origin} It outlives the API key."
            )
        }
        UserCall::UpdateLoginProfile => {
            format!(
                "The password for the AWS console was changed for {user}. {origin} It outlives the API key."
            )
        }
        UserCall::AttachUserPolicy => {
            format!("A managed policy was attached to {user}. {origin} What it allows outlives the API key.")
        }
        UserCall::PutUserPolicy => {
            format!("An inline policy was added to {user}. {origin} What it allows outlives the API key.")
        }
        UserCall::AddUserToGroup => {
            format!("A group got a new member: {user}. {origin} What the group may do outlives the API key.")
        }
    }
}

/// What an event does to another one: a clause.
impl fmt::Display for Correction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event_id, reason, updated_fields } = self;
        match event_id {
            Some(event_id) => write!(f, "corrects event {event_id}")?,
            None => f.write_str("corrects an event that it does not name")?,
        }
        match (reason, updated_fields) {
            (Some(reason), Some(fields)) => write!(f, " ({reason}: {fields})"),
            (Some(only), None) | (None, Some(only)) => write!(f, " ({only})"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Display for Irrelevant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherBusSource(found) => write!(f, "The bus source is {found}, not aws.iam."),
            Self::OtherDetailType(found) => {
                write!(f, "The detail type is \"{found}\", not \"AWS API Call via CloudTrail\".")
            }
            Self::OtherEventSource(found) => write!(f, "The event source is {found}, not iam.amazonaws.com."),
            Self::OtherCall(found) => {
                write!(f, "The API call is {found}, which creates or changes no service-specific credential.")
            }
            Self::OtherUser(call) => write!(
                f,
                "{} was called for a user that no console is known to have created for an API key.",
                call.as_str()
            ),
            Self::UnnamedUser(call) => write!(f, "{} does not say for which user.", call.as_str()),
            Self::ConsolePolicy(policy) => write!(
                f,
                "A console session attached {policy} to a user, as consoles do when they create a user for an API key."
            ),
            Self::SweepRequest => f.write_str("It requests a sweep. The next sweep does the same."),
            Self::ControlMessage => f.write_str("It is a control message of CloudWatch Logs."),
            Self::InsightsEvent => {
                f.write_str("It is an Insights event, which tells of a rate and of no call.")
            }
            Self::AggregatedEvent => f.write_str("It is an aggregated event, which counts data events."),
            Self::ResumeRequest => f.write_str("It requests a resume. The next resume does the same."),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("[default]"),
            Self::Override(number) => write!(f, "override {number}"),
        }
    }
}

impl fmt::Display for PolicyWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownService { rule, service } => write!(
                f,
                "{rule} names {service}, which this build does not know; check the spelling, since a wrong \
                 name matches no key"
            ),
            Self::ServiceNotJudged { rule, service } => {
                write!(
                    f,
                    "{rule} names {service}, which is not in [default] services: its keys are not judged"
                )
            }
            Self::MatchesEverything { rule } => {
                write!(f, "{rule} names no accounts, services or users: it replaces [default] for every key")
            }
            Self::SetsNothing { rule } => write!(
                f,
                "{rule} gives no max_lifetime_days, response or grace_days: [default] applies to its keys, whatever earlier \
                 overrides say"
            ),
            Self::NeverMatches { rule } => {
                write!(f, "{rule} applies to no key: none can match it, or later overrides match all that do")
            }
            Self::ExemptionOverlaps { account, user, until, applies_until } => write!(
                f,
                "{user} in {account} has several exemptions: the one until {until} decides nothing, since the one that ends \
                 last applies (until {applies_until})"
            ),
            Self::ExemptionEnded { account, user, until } => {
                write!(f, "the exemption of {user} in {account} ended on {until}: it no longer applies")
            }
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("a boolean"),
            Self::Number => f.write_str("a number"),
            Self::Text(characters) => write!(f, "a text of {characters} characters"),
            Self::List(items) => write!(f, "a list of {items}"),
            Self::Object => f.write_str("an object"),
        }
    }
}

impl fmt::Display for EvidenceField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateDate => "responseElements.serviceSpecificCredential.createDate",
            Self::ExpirationDate => "responseElements.serviceSpecificCredential.expirationDate",
            Self::CredentialAgeDays => "requestParameters.credentialAgeDays",
        })
    }
}

impl EvidenceField {
    const fn expected(self) -> &'static str {
        match self {
            Self::CreateDate | Self::ExpirationDate => "a date",
            Self::CredentialAgeDays => "1 to 36600 days",
        }
    }
}

impl fmt::Display for EventSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response => f.write_str("the event's expirationDate says so"),
            Self::Request => f.write_str("the event's credentialAgeDays says so"),
            Self::ResponseAndRequest { response, request } => write!(
                f,
                "the event's expirationDate ({}) and credentialAgeDays ({}) disagree, and the later applies",
                rfc3339(*response),
                rfc3339(*request)
            ),
            Self::ResponseWithoutDate => {
                f.write_str("the event has neither expirationDate nor credentialAgeDays")
            }
            Self::RequestWithoutAge => f.write_str("the event shows a request without credentialAgeDays"),
        }
    }
}

/// One or two sentences.
impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event { source, creation_assumed } => {
                write!(f, "{}.", capitalized(&source.to_string()))?;
                if *creation_assumed {
                    f.write_str(" It has no createDate, so its own time stands in.")?;
                }
                Ok(())
            }
            Self::EventUnlisted(source) => {
                write!(f, "{}; IAM shows no expiration for this service.", capitalized(&source.to_string()))
            }
            Self::Listed => f.write_str("IAM's list of keys says so."),
            Self::ListedAndEvent { listed, event } => write!(
                f,
                "IAM's list ({}) and the event ({}) disagree, and the later applies.",
                rfc3339(*listed),
                rfc3339(*event)
            ),
            Self::NotListed => f.write_str("IAM's list of keys has no ExpirationDate."),
        }
    }
}

/// A clause, after "It is not known when the key expires: ".
impl fmt::Display for Undetermined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEvidence => f.write_str("there is no evidence"),
            Self::Unreadable { field, found } => {
                write!(f, "field {field}: expected {}, found {found}", field.expected())
            }
            Self::CreationFarFromEvent { created_at, event_time } => write!(
                f,
                "the event's createDate ({}) and eventTime ({}) are a day or more apart",
                rfc3339(*created_at),
                rfc3339(*event_time)
            ),
            Self::EndBeforeCreation { expires_at, created_at } => write!(
                f,
                "the expiration ({}) is before the creation ({})",
                rfc3339(*expires_at),
                rfc3339(*created_at)
            ),
            Self::EndOutOfRange { days } => {
                write!(f, "credentialAgeDays of {days} gives a date that is out of range")
            }
            Self::NoEndNamed => f.write_str(
                "no source names an expiration, and for this service that does not mean that there is none",
            ),
            Self::NotInList { event } => write!(
                f,
                "the event names {}, and IAM's list names none, although it does so for this service",
                rfc3339(*event)
            ),
        }
    }
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
