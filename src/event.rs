//! CloudTrail JSON in, [`Inbound`] out. The only file that knows AWS's field names.
//!
//! Accepts a CloudTrail record as it is, or in the envelope that EventBridge puts around it. There are
//! three answers and no fourth: *ours*, *not ours because …*, or [`Unreadable`]. Only fields on an
//! allow-list leave this file, since it is not documented whether CloudTrail drops or masks the secret
//! of a `CreateServiceSpecificCredential` response.
//!
//! Field names: CloudTrail user guide, *CloudTrail record contents* and *CloudTrail userIdentity element*;
//! EventBridge user guide, *Events delivered via CloudTrail*.

mod date;

use std::fmt;

use aws_lambda_events::eventbridge::EventBridgeEvent;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::key::{
    AccountId, CONSOLE_USERS, CredentialId, EventId, Evidence, Expiration, Invalid, Key, KeyRef, Service,
    UserName, begins_like_a_console_user,
};
use crate::text::{printable, redact};

const CREATE: &str = "CreateServiceSpecificCredential";
const UPDATE: &str = "UpdateServiceSpecificCredential";
const RESET: &str = "ResetServiceSpecificCredential";
const DELETE: &str = "DeleteServiceSpecificCredential";

/// The API calls that make or change a key.
pub const WRITES: [&str; 4] = [CREATE, UPDATE, RESET, DELETE];

/// What the names of the calls that concern a key contain, letter for letter. A record without this word has
/// nothing of ours in it, unless it has [`ACCESS_KEY`] and one of [`CONSOLE_USERS`].
pub const MARK: &str = "ServiceSpecificCredential";

/// The API call that makes an access key, which concerns the guard where it is for a user that the console made
/// for an API key.
pub const ACCESS_KEY: &str = "CreateAccessKey";

const IAM: &str = "iam.amazonaws.com";
const BUS_SOURCE: &str = "aws.iam";
const DETAIL_TYPE: &str = "AWS API Call via CloudTrail";

/// The EventBridge pattern that matches what [`parse`] calls ours, and nothing else. What a call asked for
/// is no part of it: a denied call has no `requestParameters`. A response is one of an access key only: it says
/// whose the key is, and only a successful call has it.
#[must_use]
pub fn pattern() -> Value {
    let users = CONSOLE_USERS.map(|prefix| serde_json::json!({ "prefix": prefix }));
    serde_json::json!({
        "source": [BUS_SOURCE],
        "detail-type": [DETAIL_TYPE],
        "detail": {
            "eventSource": [IAM],
            "$or": [
                { "eventName": WRITES },
                { "eventName": [ACCESS_KEY], "responseElements": { "accessKey": { "userName": users } } },
            ],
        },
    })
}

/// IAM's largest `CredentialAgeDays`, in days (IAM API reference).
pub const MAX_AGE_DAYS: i64 = 36_600;

/// What came in, when it could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// A service-specific credential write, or an access key for a user that the console made for an API key.
    Ours(Box<Ours>),
    /// Something else, and why.
    NotOurs(NotOurs),
}

/// A service-specific credential write, or an access key for a user that the console made for an API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ours {
    /// Who, when, from where.
    pub event: Provenance,
    /// What was done.
    pub what: What,
}

/// What a call of ours did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A key was made.
    Created(Key),
    /// A credential was made for a service that is not known here, so no policy can name it.
    CreatedForOther {
        /// The service, if its name is one that may be printed.
        service: String,
    },
    /// A key was switched on or off.
    StatusChanged {
        /// Which key.
        subject: Subject,
        /// What it was set to.
        status: SetStatus,
    },
    /// A key got a new secret; its status, creation and expiration stay.
    SecretReset(Subject),
    /// A key was deleted.
    Deleted(Subject),
    /// A call failed or was denied. Nothing happened to any key.
    Failed(Attempt),
    /// An access key was made for a user that the console made for an API key. The user stays when the key is
    /// deleted, with the policy that the console attached, and so does the access key: a known path to
    /// persistence. The name is that of the response (IAM API reference, `CreateAccessKey`: the request may
    /// leave it out, and IAM takes the caller), and nothing else of the response is read.
    AccessKeyMade {
        /// The user.
        user: UserName,
    },
}

/// The key that a call named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its id.
    pub id: CredentialId,
    /// Its user, where the call named one: IAM takes the caller otherwise.
    pub user: Option<UserName>,
    /// Its service, where the response named one.
    pub service: Option<Service>,
}

/// A status that a caller can set (IAM API reference, `UpdateServiceSpecificCredential`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetStatus {
    /// Switched on.
    Active,
    /// Switched off.
    Inactive,
}

/// A call that IAM refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Which call.
    pub call: &'static str,
    /// CloudTrail's `errorCode`, if it may be printed.
    pub error_code: String,
    /// The user it was for; a denied call does not say.
    pub user: Option<UserName>,
    /// The service it was for; a denied call does not say.
    pub service: Option<Service>,
}

/// Where an event came from. Free text is stripped of control characters and cut at 512 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// The account whose IAM was called.
    pub account: AccountId,
    /// CloudTrail's `eventID`.
    pub event_id: EventId,
    /// CloudTrail's `eventTime`.
    pub event_time: DateTime<Utc>,
    /// Who called.
    pub actor: Actor,
    /// `sourceIPAddress`: an address, or the name of an AWS service.
    pub source_ip: Option<String>,
    /// `userAgent`.
    pub user_agent: Option<String>,
    /// Fields of provenance that were there and could not be read.
    pub unreadable: Vec<String>,
}

/// Who called: CloudTrail's `userIdentity`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    /// `IAMUser`, `AssumedRole`, `Root`, `AWSService`, …
    pub kind: Option<String>,
    /// The principal's ARN, or the service that acted.
    pub principal: Option<String>,
    /// The role behind an assumed-role session.
    pub session_issuer: Option<String>,
    /// Whether the session was made with a second factor, where the event says.
    pub mfa: Option<bool>,
    /// Whether the credentials are those of a console session.
    pub console: bool,
}

impl Actor {
    /// Whether it is this principal of this account. `resource` is what follows the account in an ARN, with a `*` for what
    /// is not known: `assumed-role/*/bedrock-key-guard`.
    #[must_use]
    pub fn is(&self, account: &AccountId, resource: &str) -> bool {
        let mut parts = self.principal.as_deref().unwrap_or_default().splitn(6, ':').skip(4);
        let (Some(of), Some(own)) = (parts.next(), parts.next()) else { return false };
        of == account.as_str()
            && match resource.split_once('*') {
                None => own == resource,
                Some((before, after)) => {
                    own.strip_prefix(before).and_then(|rest| rest.strip_suffix(after)).is_some()
                }
            }
    }
}

/// Why an event is not ours. Text from the event is in it only if it is harmless to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotOurs {
    /// The event did not come from IAM's CloudTrail on the bus.
    OtherBusSource(String),
    /// The event came from the bus, but is no CloudTrail API call.
    OtherDetailType(String),
    /// A CloudTrail record of another service.
    OtherEventSource(String),
    /// A CloudTrail record of another IAM call.
    OtherCall(String),
    /// What a schedule asks the function for: queues may hold it beside events.
    Sweep,
}

impl fmt::Display for NotOurs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherBusSource(found) => {
                write!(f, "the bus source is {found}, not {BUS_SOURCE}")
            }
            Self::OtherDetailType(found) => {
                write!(f, "the detail type is \"{found}\", not \"{DETAIL_TYPE}\"")
            }
            Self::OtherEventSource(found) => write!(f, "the event source is {found}, not {IAM}"),
            Self::OtherCall(found) => {
                write!(f, "the API call is {found}, which makes or changes no service-specific credential")
            }
            Self::Sweep => f.write_str("it asks for a sweep; the next one does all that this one did not"),
        }
    }
}

/// An event that says it is ours, or does not say what it is, and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field {field}: expected {expected}, found {found}")]
pub struct Unreadable {
    /// The path of the field.
    pub field: String,
    /// What is needed there.
    pub expected: &'static str,
    /// What was there, never its value.
    pub found: String,
}

impl Unreadable {
    fn new(field: impl Into<String>, expected: &'static str, found: impl Into<String>) -> Self {
        Self { field: field.into(), expected, found: found.into() }
    }

    fn invalid(field: &str, invalid: Invalid) -> Self {
        Self::new(field, invalid.expected, invalid.found)
    }
}

/// Reads one event: an EventBridge envelope or a bare CloudTrail record.
///
/// # Errors
/// [`Unreadable`] when it says that it is ours (or does not say what it is) and a needed field is
/// missing or impossible.
pub fn parse(mut event: Value) -> Result<Inbound, Unreadable> {
    let Value::Object(fields) = &mut event else {
        return Err(Unreadable::new("(whole event)", "a JSON object", describe(&event)));
    };
    if !fields.contains_key("detail-type") && !fields.contains_key("detail") {
        if fields.contains_key("sweep") && fields.len() == 1 {
            return Ok(Inbound::NotOurs(NotOurs::Sweep));
        }
        return parse_record(&event, None);
    }
    // What is not needed of the envelope cannot make it unreadable.
    fields.retain(|name, _| ["source", "detail-type", "account", "detail"].contains(&name.as_str()));
    let source = require(&event, "source", "the event's bus source")?;
    if source != BUS_SOURCE {
        return Ok(Inbound::NotOurs(NotOurs::OtherBusSource(printable(source))));
    }
    let detail_type = require(&event, "detail-type", "the event's detail type")?;
    if detail_type != DETAIL_TYPE {
        return Ok(Inbound::NotOurs(NotOurs::OtherDetailType(printable(detail_type))));
    }
    let account = optional::<AccountId>(&event, "account")?;
    let envelope: EventBridgeEvent<Value> = serde_json::from_value(event)
        .map_err(|_| Unreadable::new("detail", "a CloudTrail record", "nothing"))?;
    parse_record(&envelope.detail, account)
        .map_err(|unreadable| Unreadable { field: format!("detail.{}", unreadable.field), ..unreadable })
}

fn parse_record(record: &Value, envelope_account: Option<AccountId>) -> Result<Inbound, Unreadable> {
    if !record.is_object() {
        return Err(Unreadable::new("(record)", "a CloudTrail record", describe(record)));
    }
    let event_source = require(record, "eventSource", "the service that was called")?;
    if event_source != IAM {
        return Ok(Inbound::NotOurs(NotOurs::OtherEventSource(printable(event_source))));
    }
    let event_name = require(record, "eventName", "the API call")?;
    let call = match event_name {
        CREATE => CREATE,
        UPDATE => UPDATE,
        RESET => RESET,
        DELETE => DELETE,
        other => {
            return Ok(match console_user_with_access_key(other, record)? {
                Some(user) => Inbound::Ours(Box::new(Ours {
                    event: provenance(record, envelope_account)?,
                    what: What::AccessKeyMade { user },
                })),
                None => Inbound::NotOurs(NotOurs::OtherCall(printable(other))),
            });
        }
    };
    let event = provenance(record, envelope_account)?;
    let what = match text(record, "errorCode")?.filter(|code| !code.is_empty()) {
        Some(code) => What::Failed(Attempt {
            call,
            error_code: printable(code),
            user: lenient(record, "requestParameters.userName"),
            service: lenient(record, "requestParameters.serviceName"),
        }),
        None => match call {
            CREATE => created(record, &event)?,
            UPDATE => What::StatusChanged { subject: subject(record)?, status: status(record)? },
            RESET => What::SecretReset(reset_subject(record)?),
            _ => What::Deleted(subject(record)?),
        },
    };
    Ok(Inbound::Ours(Box::new(Ours { event, what })))
}

/// The user that got an access key, if it is one that the console made for an API key. Whatever does not say so
/// is not ours, and its oddities are not either.
fn console_user_with_access_key(call: &str, record: &Value) -> Result<Option<UserName>, Unreadable> {
    const ANSWERED: &str = "responseElements.accessKey.userName";
    if call != ACCESS_KEY {
        return Ok(None);
    }
    let Some(user) = text(record, ANSWERED).ok().flatten().filter(|user| begins_like_a_console_user(user))
    else {
        return Ok(None);
    };
    if text(record, "errorCode")?.is_some_and(|code| !code.is_empty()) {
        return Ok(None);
    }
    user.parse().map(Some).map_err(|invalid| Unreadable::invalid(ANSWERED, invalid))
}

fn created(record: &Value, event: &Provenance) -> Result<What, Unreadable> {
    const ANSWER: &str = "responseElements.serviceSpecificCredential";
    match at(record, ANSWER)? {
        Some(Value::Object(_)) => {}
        found => {
            return Err(Unreadable::new(
                ANSWER,
                "the response to a successful call",
                found.map_or_else(|| "nothing".to_owned(), describe),
            ));
        }
    }
    let id = needed(
        record,
        "responseElements.serviceSpecificCredential.serviceSpecificCredentialId",
        "a service-specific credential id",
    )?;
    let user = owner(record)?;
    let service = match service(record)? {
        Named::Known(service) => service,
        Named::Other(service) => return Ok(What::CreatedForOther { service }),
    };
    let (created_at, evidence) = lifetime(record, event.event_time);
    Ok(What::Created(Key {
        key: KeyRef { account: event.account.clone(), id },
        user,
        service,
        created_at,
        evidence,
    }))
}

/// The user that owns a new key. Where the request names another than the response, neither is believed.
fn owner(record: &Value) -> Result<UserName, Unreadable> {
    const ANSWERED: &str = "responseElements.serviceSpecificCredential.userName";
    const ASKED: &str = "requestParameters.userName";
    let asked = optional::<UserName>(record, ASKED)?;
    match (optional::<UserName>(record, ANSWERED)?, asked) {
        (Some(answered), Some(asked)) if !answered.is_same_user(&asked) => {
            Err(Unreadable::new(ANSWERED, "the user of the request", "another user"))
        }
        (Some(user), _) | (None, Some(user)) => Ok(user),
        (None, None) => Err(Unreadable::new(ANSWERED, "the IAM user that owns the key", "nothing")),
    }
}

/// The service that a new key is for.
enum Named {
    Known(Service),
    /// One that no policy can name.
    Other(String),
}

/// Where the request names another service than the response, neither is believed: taking a key for one of
/// an unknown service would pass it over.
fn service(record: &Value) -> Result<Named, Unreadable> {
    const ANSWERED: &str = "responseElements.serviceSpecificCredential.serviceName";
    const ASKED: &str = "requestParameters.serviceName";
    const EXPECTED: &str = "the service that the key is for";
    let read = |path| -> Result<Option<&str>, Unreadable> {
        match text(record, path)? {
            Some(name) if !is_host_name(name) => Err(Unreadable::new(path, EXPECTED, describe(&name.into()))),
            name => Ok(name),
        }
    };
    let name = match (read(ANSWERED)?, read(ASKED)?) {
        (Some(answered), Some(asked)) if !answered.eq_ignore_ascii_case(asked) => {
            return Err(Unreadable::new(ANSWERED, "the service of the request", "another service"));
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => return Err(Unreadable::new(ANSWERED, EXPECTED, "nothing")),
    };
    Ok(name.parse().map_or_else(|_| Named::Other(printable(name)), Named::Known))
}

fn is_host_name(name: &str) -> bool {
    name.contains('.')
        && name.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

/// When the key was made and when it ends: the response's `expirationDate`; else the request's
/// `credentialAgeDays` after the creation; else never. Whatever is there and unreadable makes the
/// lifetime unreadable, never absent. The response's `createDate` falls back to the event's time only
/// where it is absent: IAM makes the key while it answers the call, so a `createDate` that is a day or more
/// from the event is unreadable too.
fn lifetime(record: &Value, event_time: DateTime<Utc>) -> (DateTime<Utc>, Evidence) {
    const CREATED: &str = "responseElements.serviceSpecificCredential.createDate";
    let created = date_at(record, CREATED).and_then(|created| match created {
        Some(created) if (created - event_time).abs() >= TimeDelta::days(1) => Err(format!(
            "{CREATED} ({}) and eventTime ({}) are a day or more apart",
            crate::clock::rfc3339(created),
            crate::clock::rfc3339(event_time)
        )),
        created => Ok(created),
    });
    let expires = date_at(record, "responseElements.serviceSpecificCredential.expirationDate");
    let age = age_at(record, "requestParameters.credentialAgeDays");
    let created_at = match &created {
        Ok(Some(created_at)) => *created_at,
        Ok(None) | Err(_) => event_time,
    };
    let evidence = match (created, expires, age) {
        (Err(why), _, _) | (_, Err(why), _) | (_, _, Err(why)) => Evidence::Unreadable { why },
        (Ok(created), Ok(expires), Ok(age)) => {
            let known = known_expiration(created_at, expires, age);
            match (known, created) {
                (Evidence::Known { expiration, basis }, None) => Evidence::Known {
                    expiration,
                    basis: format!("{basis}; the response has no createDate, so the event's time stands in"),
                },
                (known, _) => known,
            }
        }
    };
    (created_at, evidence)
}

fn known_expiration(
    created_at: DateTime<Utc>,
    expires: Option<DateTime<Utc>>,
    age: Option<TimeDelta>,
) -> Evidence {
    let by_age = match age {
        None => None,
        Some(age) => match created_at.checked_add_signed(age) {
            Some(end) => Some(end),
            None => {
                return Evidence::Unreadable {
                    why: "requestParameters.credentialAgeDays: the end it gives is out of range".to_owned(),
                };
            }
        },
    };
    let (end, basis) = match (expires, by_age) {
        (None, None) => {
            return Evidence::Known {
                expiration: Expiration::Never,
                basis: "the event has neither expirationDate nor credentialAgeDays".to_owned(),
            };
        }
        (Some(end), None) => (end, "by the response's expirationDate".to_owned()),
        (None, Some(end)) => (end, "by the request's credentialAgeDays".to_owned()),
        (Some(answered), Some(asked)) if (answered - asked).abs() <= TimeDelta::days(1) => {
            (answered, "by the response's expirationDate".to_owned())
        }
        (Some(answered), Some(asked)) => (
            answered.max(asked),
            format!(
                "the response's expirationDate ({}) and the request's credentialAgeDays ({}) disagree, \
                 and the later was taken",
                crate::clock::rfc3339(answered),
                crate::clock::rfc3339(asked)
            ),
        ),
    };
    if end < created_at {
        return Evidence::Unreadable {
            why: "responseElements.serviceSpecificCredential.expirationDate: it is before the key's creation"
                .to_owned(),
        };
    }
    Evidence::Known { expiration: Expiration::At(end), basis }
}

fn date_at(record: &Value, path: &str) -> Result<Option<DateTime<Utc>>, String> {
    match at(record, path) {
        Err(unreadable) => Err(unreadable.to_string()),
        Ok(None) => Ok(None),
        Ok(Some(value)) => date::read(value)
            .map(Some)
            .ok_or_else(|| format!("{path}: {} could not be read as a date", describe(value))),
    }
}

fn age_at(record: &Value, path: &str) -> Result<Option<TimeDelta>, String> {
    let value = match at(record, path) {
        Err(unreadable) => return Err(unreadable.to_string()),
        Ok(None) => return Ok(None),
        Ok(Some(value)) => value,
    };
    let days = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    };
    match days {
        Some(days @ 1..=MAX_AGE_DAYS) => Ok(Some(TimeDelta::days(days))),
        Some(_) | None => {
            Err(format!("{path}: {} could not be read as 1 to {MAX_AGE_DAYS} days", describe(value)))
        }
    }
}

fn subject(record: &Value) -> Result<Subject, Unreadable> {
    Ok(Subject {
        id: needed(
            record,
            "requestParameters.serviceSpecificCredentialId",
            "a service-specific credential id",
        )?,
        user: optional(record, "requestParameters.userName")?,
        service: None,
    })
}

fn reset_subject(record: &Value) -> Result<Subject, Unreadable> {
    Ok(Subject {
        id: needed(
            record,
            first_present(
                record,
                "responseElements.serviceSpecificCredential.serviceSpecificCredentialId",
                "requestParameters.serviceSpecificCredentialId",
            )?,
            "a service-specific credential id",
        )?,
        user: optional(
            record,
            first_present(
                record,
                "responseElements.serviceSpecificCredential.userName",
                "requestParameters.userName",
            )?,
        )?,
        service: lenient(record, "responseElements.serviceSpecificCredential.serviceName"),
    })
}

fn status(record: &Value) -> Result<SetStatus, Unreadable> {
    const PATH: &str = "requestParameters.status";
    const EXPECTED: &str = "Active or Inactive";
    match require(record, PATH, EXPECTED)? {
        "Active" => Ok(SetStatus::Active),
        "Inactive" => Ok(SetStatus::Inactive),
        _ => Err(Unreadable::new(PATH, EXPECTED, "another text")),
    }
}

fn provenance(record: &Value, envelope_account: Option<AccountId>) -> Result<Provenance, Unreadable> {
    const ACCOUNT: &str = "recipientAccountId";
    let account = match (optional::<AccountId>(record, ACCOUNT)?, envelope_account) {
        (Some(recipient), Some(envelope)) if recipient != envelope => {
            return Err(Unreadable::new(ACCOUNT, "the account of the envelope", "another account"));
        }
        (Some(account), _) | (None, Some(account)) => account,
        (None, None) => {
            return Err(Unreadable::new(ACCOUNT, "an AWS account id of 12 digits", "nothing"));
        }
    };
    let event_time = require(record, "eventTime", "an RFC 3339 time")?;
    let event_time = DateTime::parse_from_rfc3339(event_time)
        .map_err(|_| Unreadable::new("eventTime", "an RFC 3339 time", "another text"))?
        .to_utc();
    let mut unreadable = Vec::new();
    let mut note = |path: &'static str| match text(record, path) {
        Ok(found) => found.map(printable),
        Err(error) => {
            unreadable.push(error.to_string());
            None
        }
    };
    let actor = Actor {
        kind: note("userIdentity.type"),
        principal: note("userIdentity.arn").or_else(|| note("userIdentity.invokedBy")),
        session_issuer: note("userIdentity.sessionContext.sessionIssuer.arn"),
        mfa: flag(record, "userIdentity.sessionContext.attributes.mfaAuthenticated"),
        console: flag(record, "sessionCredentialFromConsole").unwrap_or(false),
    };
    Ok(Provenance {
        account,
        event_id: needed(record, "eventID", "a CloudTrail event id")?,
        event_time,
        actor,
        source_ip: note("sourceIPAddress"),
        user_agent: note("userAgent"),
        unreadable,
    })
}

/// CloudTrail writes these flags as the texts `true` and `false`, other tools as booleans.
fn flag(record: &Value, path: &str) -> Option<bool> {
    match at(record, path) {
        Ok(Some(Value::Bool(flag))) => Some(*flag),
        Ok(Some(Value::String(text))) => text.parse().ok(),
        Ok(_) | Err(_) => None,
    }
}

/// The value at a dotted path; `None` where it, or an object on the way, is absent or null.
fn at<'a>(record: &'a Value, path: &str) -> Result<Option<&'a Value>, Unreadable> {
    let mut value = record;
    let mut walked = 0;
    for name in path.split('.') {
        value = match value {
            Value::Object(fields) => match fields.get(name) {
                None | Some(Value::Null) => return Ok(None),
                Some(inner) => inner,
            },
            other
            @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                let parent = path.get(..walked.max(1) - 1).unwrap_or(path);
                return Err(Unreadable::new(parent, "an object", describe(other)));
            }
        };
        walked += name.len() + 1;
    }
    Ok(Some(value))
}

fn text<'a>(record: &'a Value, path: &str) -> Result<Option<&'a str>, Unreadable> {
    match at(record, path)? {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Unreadable::new(path, "a text", describe(other))),
    }
}

fn require<'a>(record: &'a Value, path: &str, expected: &'static str) -> Result<&'a str, Unreadable> {
    text(record, path)?.ok_or_else(|| Unreadable::new(path, expected, "nothing"))
}

fn optional<T: std::str::FromStr<Err = Invalid>>(
    record: &Value,
    path: &str,
) -> Result<Option<T>, Unreadable> {
    text(record, path)?
        .map(|text| text.parse().map_err(|invalid| Unreadable::invalid(path, invalid)))
        .transpose()
}

fn needed<T: std::str::FromStr<Err = Invalid>>(
    record: &Value,
    path: &str,
    expected: &'static str,
) -> Result<T, Unreadable> {
    require(record, path, expected)?.parse().map_err(|invalid| Unreadable::invalid(path, invalid))
}

/// For what is good to know of a call that did nothing. What was asked for may be anything that someone has pasted.
fn lenient<T: std::str::FromStr>(record: &Value, path: &str) -> Option<T> {
    text(record, path).ok().flatten().filter(|asked| redact(asked) == *asked)?.parse().ok()
}

fn first_present<'p>(record: &Value, first: &'p str, second: &'p str) -> Result<&'p str, Unreadable> {
    Ok(if at(record, first)?.is_some() { first } else { second })
}

/// Names the kind of a value without repeating it.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::String(text) => format!("a text of {} characters", text.chars().count()),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_through_something_else_names_where_it_broke() {
        let record = serde_json::json!({"responseElements": "masked"});
        let error = at(&record, "responseElements.serviceSpecificCredential.userName").unwrap_err();
        assert_eq!(
            error.to_string(),
            "field responseElements: expected an object, found a text of 6 characters"
        );
    }
}
