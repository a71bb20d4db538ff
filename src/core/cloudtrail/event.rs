//! What a CloudTrail record says about a key, in valid nouns.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::user_change::{USER_CALLS, UserCall, UserChange};
use crate::evidence::EventEvidence;
use crate::key::{AccountId, CredentialId, EventId, KeyFacts, KeyRef, Service, UserName};
use crate::text::Invalid;
use crate::time::Time;

const CREATE: &str = "CreateServiceSpecificCredential";
const UPDATE: &str = "UpdateServiceSpecificCredential";
const RESET: &str = "ResetServiceSpecificCredential";
const DELETE: &str = "DeleteServiceSpecificCredential";

/// The API calls that create or change a key.
pub const CREDENTIAL_CALLS: [&str; 4] = [CREATE, UPDATE, RESET, DELETE];

/// IAM's largest `CredentialAgeDays`, in days (IAM API reference).
pub const MAX_AGE_DAYS: i64 = 36_600;

/// What came in, when it could be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParsedEvent {
    /// A call that concerns a key, or the user that a console created for one.
    Relevant(Box<CredentialEvent>),
    /// Something else, and why.
    Irrelevant(Irrelevant),
}

/// A call that concerns a key, or the user that a console created for one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CredentialEvent {
    /// Who, when, from where.
    pub provenance: Provenance,
    /// What was done.
    pub kind: EventKind,
}

impl CredentialEvent {
    /// The key that the event is about, where it is about one.
    #[must_use]
    pub fn key(&self) -> Option<KeyRef> {
        match &self.kind {
            EventKind::Created(created) => Some(created.key.clone()),
            EventKind::StatusChanged { target, .. }
            | EventKind::SecretReset(target)
            | EventKind::Deleted(target) => {
                Some(KeyRef { account: self.provenance.account.clone(), id: target.id.clone() })
            }
            EventKind::Failed(_) | EventKind::UserChanged(_) => None,
        }
    }
}

/// Where an event came from. Free text is in the form of [`sanitize_field`](crate::text::sanitize_field).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Provenance {
    /// The account whose IAM was called.
    pub account: AccountId,
    /// CloudTrail's `eventID`.
    pub event_id: EventId,
    /// CloudTrail's `eventTime`.
    pub event_time: Time,
    /// Who called.
    pub actor: Actor,
    /// `sourceIPAddress`: an address, or the name of an AWS service.
    pub source_ip: Option<String>,
    /// `userAgent`.
    pub user_agent: Option<String>,
    /// What it corrects, if CloudTrail says that it corrects another event.
    pub corrects: Option<Correction>,
    /// Fields of provenance that were there and could not be read.
    pub unreadable: Vec<String>,
}

/// An event that says what another one should have said: CloudTrail's `addendum`, where its reason is `UPDATED_DATA`. It has
/// an id of its own (CloudTrail user guide, *CloudTrail record contents*). The other reasons, `DELIVERY_DELAY` and
/// `SERVICE_OUTAGE`, are those of an event that is late, and corrects none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Correction {
    /// `originalEventID`. `None`: it is missing, or cannot be read.
    pub event_id: Option<EventId>,
    /// `reason`.
    pub reason: Option<String>,
    /// `updatedFields`.
    pub updated_fields: Option<String>,
}

/// Who called: CloudTrail's `userIdentity`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// `IAMUser`, `AssumedRole`, `Root`, `AWSService`, …
    pub kind: Option<String>,
    /// The principal's ARN; else the service that acted, the id of the user of IAM Identity Center, or the principal's id.
    pub principal: Option<String>,
    /// The role behind an assumed-role session.
    pub session_issuer: Option<String>,
    /// Whether the session was started with a second factor, where the event says.
    pub mfa: Option<bool>,
    /// Whether the credentials are those of a console session.
    pub console: bool,
    /// For whom, and by what, the call was made.
    #[serde(default, skip_serializing_if = "ActorContext::is_empty")]
    pub context: ActorContext,
}

/// For whom, and by what, a call was made (CloudTrail user guide, *CloudTrail userIdentity element*). Most calls have none of
/// it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActorContext {
    /// `inScopeOf.issuerType`: what issued the credentials, such as `AWS::Lambda::Function`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_type: Option<String>,
    /// `inScopeOf.credentialsIssuedTo`: the ARN of the resource that has the credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_issued_to: Option<String>,
    /// `inScopeOf.sourceArn`: the ARN of the resource for which a service called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_arn: Option<String>,
    /// `invokedByDelegate.accountId`: the account of the product provider to whom access was delegated for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegate_account: Option<String>,
    /// `onBehalfOf.userId`: the user of IAM Identity Center.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_center_user: Option<String>,
    /// `onBehalfOf.identityStoreArn`: the identity store that has this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_store: Option<String>,
}

impl ActorContext {
    /// The ARN of the resource that has the credentials, or else for which a service called.
    #[must_use]
    pub fn issued_to(&self) -> Option<&str> {
        self.credentials_issued_to.as_deref().or(self.source_arn.as_deref())
    }

    /// Whether the event has none of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The path of the roles of IAM Identity Center. Only AWS creates roles with a path that begins with `/aws-reserved/` (IAM
/// Identity Center user guide, *Referencing permission sets in resource policies*).
const IDENTITY_CENTER_ROLE: &str = "role/aws-reserved/sso.amazonaws.com/";

impl Actor {
    /// Whether the caller has a session of a role of IAM Identity Center. Its name is the user's.
    #[must_use]
    pub fn is_of_identity_center(&self) -> bool {
        let role = self.session_issuer.as_deref().and_then(|arn| arn.splitn(6, ':').nth(5));
        role.is_some_and(|role| role.starts_with(IDENTITY_CENTER_ROLE))
    }
}

/// What a call did.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A key was created, or a password: the policy says whether it is judged.
    Created(CreatedKey),
    /// A key was activated or deactivated.
    StatusChanged {
        /// Which key.
        target: KeyTarget,
        /// What it was set to.
        status: SetStatus,
    },
    /// A key got a new secret; its status, creation and expiration stay.
    SecretReset(KeyTarget),
    /// A key was deleted.
    Deleted(KeyTarget),
    /// A call failed or was denied. Nothing happened to any key.
    Failed(Attempt),
    /// A user got another way in, or more permissions. It matters for a user that a console created for an API key: the user
    /// stays when the key is deleted, a known way to persist.
    UserChanged(UserChange),
}

/// A key as its creation event describes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CreatedKey {
    /// Which key.
    pub key: KeyRef,
    /// The IAM user that owns it.
    pub user: UserName,
    /// The service that it is for.
    pub service: Service,
    /// What the event says of its lifetime.
    pub evidence: EventEvidence,
}

impl CreatedKey {
    /// What the event says of the key.
    #[must_use]
    pub fn facts(&self) -> KeyFacts {
        KeyFacts {
            key: self.key.clone(),
            user: self.user.clone(),
            other_names: BTreeSet::new(),
            service: self.service.clone(),
            created_at: self.evidence.assumed_creation(),
        }
    }
}

/// The key that a call named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyTarget {
    /// Its id.
    pub id: CredentialId,
    /// Its user, where the call named one: IAM takes the caller otherwise.
    pub user: Option<UserName>,
    /// Its service, where the response named one.
    pub service: Option<Service>,
}

/// A status that a caller can set (IAM API reference, `UpdateServiceSpecificCredential`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetStatus {
    /// Activated.
    Active,
    /// Deactivated.
    Inactive,
}

/// A call that creates or changes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum CredentialCall {
    /// `CreateServiceSpecificCredential`
    #[serde(rename = "CreateServiceSpecificCredential")]
    Create,
    /// `UpdateServiceSpecificCredential`
    #[serde(rename = "UpdateServiceSpecificCredential")]
    Update,
    /// `ResetServiceSpecificCredential`
    #[serde(rename = "ResetServiceSpecificCredential")]
    Reset,
    /// `DeleteServiceSpecificCredential`
    #[serde(rename = "DeleteServiceSpecificCredential")]
    Delete,
}

impl CredentialCall {
    /// The call's name in AWS.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => CREATE,
            Self::Update => UPDATE,
            Self::Reset => RESET,
            Self::Delete => DELETE,
        }
    }

    pub(super) fn from_event_name(name: &str) -> Option<Self> {
        [Self::Create, Self::Update, Self::Reset, Self::Delete].into_iter().find(|call| call.as_str() == name)
    }
}

/// A call that matters to the guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Call {
    /// One that creates or changes a key.
    Credential(CredentialCall),
    /// One that changes an IAM user.
    User(UserCall),
}

impl Call {
    /// The call's name in AWS.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credential(call) => call.as_str(),
            Self::User(call) => call.as_str(),
        }
    }

    pub(super) fn from_event_name(name: &str) -> Option<Self> {
        let user_call = || UserCall::from_event_name(name).map(Self::User);
        CredentialCall::from_event_name(name).map(Self::Credential).or_else(user_call)
    }

    /// The call that is named, also in another letter case, with spaces around it, or with `iam:` before it. CloudTrail writes
    /// none of these.
    pub(super) fn from_similar_name(name: &str) -> Option<Self> {
        let name = match name.split_once(':') {
            Some((service, name)) if service.trim().eq_ignore_ascii_case("iam") => name,
            Some(_) | None => name,
        };
        let mut names = CREDENTIAL_CALLS.into_iter().chain(USER_CALLS);
        names.find(|call| call.eq_ignore_ascii_case(name.trim())).and_then(Self::from_event_name)
    }
}

/// A call that IAM refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attempt {
    /// Which call.
    pub call: Call,
    /// CloudTrail's `errorCode`, fit to be printed.
    pub error_code: String,
    /// The user it was for; a denied call does not say.
    pub user: Option<UserName>,
    /// The service it was for; a denied call does not say.
    pub service: Option<Service>,
}

/// Why an event is irrelevant. Text from the event is in it in a form that is fit to be printed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Irrelevant {
    /// The event did not come from IAM's CloudTrail on the bus.
    OtherBusSource(String),
    /// The event came from the bus, but is no CloudTrail API call.
    OtherDetailType(String),
    /// A CloudTrail record of another service.
    OtherEventSource(String),
    /// A CloudTrail record of another IAM call.
    OtherCall(String),
    /// A call about a user, and nothing says that a console created that user for an API key.
    OtherUser(UserCall),
    /// A call about a user that does not say which one.
    UnnamedUser(UserCall),
    /// A console session attached this managed policy, as consoles do when they create a user for an API key.
    ConsolePolicy(String),
    /// A schedule's request for a sweep: queues may hold it beside events.
    SweepRequest,
    /// A schedule's request for a resume.
    ResumeRequest,
    /// What CloudWatch Logs sends to see whether somebody is there (CloudWatch Logs user guide, *Real-time processing of log
    /// data with subscriptions*).
    ControlMessage,
    /// What CloudTrail Insights has found in other events: a rate, and no call (CloudTrail user guide, *CloudTrail record
    /// contents for Insights events for trails*).
    InsightsEvent,
    /// Counts of data events (CloudTrail user guide, *CloudTrail record contents for aggregated events*).
    AggregatedEvent,
}

/// An event that is relevant, or does not say what it is, and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field {field}: expected {expected}, found {found}")]
pub struct Unreadable {
    /// The path of the field.
    pub field: String,
    /// What is needed there.
    pub expected: &'static str,
    /// What was there, never its value.
    pub found: String,
    /// What could be read, where the event says that a key was created. IAM can be asked for that key (R9).
    pub creation: Option<Box<UnreadableCreation>>,
}

/// What could be read of a creation event that could not be read as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableCreation {
    /// Who, when, from where.
    pub provenance: Provenance,
    /// The user that the event names, where only one is named.
    pub user: Option<UserName>,
}

impl Unreadable {
    /// An event whose `field` cannot be read.
    pub fn new(field: impl Into<String>, expected: &'static str, found: impl Into<String>) -> Self {
        Self { field: field.into(), expected, found: found.into(), creation: None }
    }

    pub(super) fn invalid(field: &str, invalid: Invalid) -> Self {
        Self::new(field, invalid.expected, invalid.found)
    }
}
