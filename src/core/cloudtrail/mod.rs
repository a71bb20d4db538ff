//! CloudTrail JSON in, [`ParsedEvent`] out. The only files that know AWS's field names.
//!
//! [`parse_record`] accepts a CloudTrail record as it is, [`parse_envelope`] one in EventBridge's envelope. There are
//! three results and no fourth: *relevant*, *irrelevant because …*, or [`Unreadable`]. Only fields on an allow-list
//! leave this module, since it is not documented whether CloudTrail drops or masks the secret of a
//! `CreateServiceSpecificCredential` response.
//!
//! Field names: CloudTrail user guide, *CloudTrail record contents* and *CloudTrail userIdentity element*;
//! EventBridge user guide, *Events delivered via CloudTrail*.

mod creation;
mod date;
mod event;
mod provenance;
mod record;
mod unwrap;

use serde_json::Value;

pub use creation::{CREATION_FIELDS, CreationField};
pub use event::{
    Actor, Attempt, CREDENTIAL_CALLS, CreatedKey, CredentialCall, CredentialEvent, EventKind, Irrelevant,
    KeyTarget, MAX_AGE_DAYS, ParsedEvent, Provenance, SetStatus, Unreadable, UnreadableCreation,
};
pub use record::describe;
pub use unwrap::{Unwrapped, unwrap};

use crate::Time;
use crate::key::{AccountId, CONSOLE_USER_PREFIXES, UserName, begins_like_a_console_user};
use crate::text::sanitize_field;
use record::{first_present, lenient, needed, optional, require, text};

/// What the names of the calls that concern a key contain, letter for letter. A record without this text is
/// irrelevant, unless it has [`CREATE_ACCESS_KEY`] and one of [`CONSOLE_USER_PREFIXES`].
pub const CREDENTIAL_CALL_MARKER: &str = "ServiceSpecificCredential";

/// The API call that creates an access key. It is relevant where it is for a user that a console created for an
/// API key.
pub const CREATE_ACCESS_KEY: &str = "CreateAccessKey";

const IAM: &str = "iam.amazonaws.com";
const BUS_SOURCE: &str = "aws.iam";
const DETAIL_TYPE: &str = "AWS API Call via CloudTrail";
/// As the EventBridge user guide for the regions of China prints it.
const DETAIL_TYPE_IN_CHINA: &str = "Amazon API Call via CloudTrail";

/// The EventBridge pattern that matches what [`parse_envelope`] finds relevant, and nothing else. It does not look at
/// requests: a denied call has no `requestParameters`. It looks at the response for access keys only: the response
/// says whose the key is, and only a successful call has it. It leaves out the detail type that the documentation for China
/// prints: no real event has shown it.
#[must_use]
pub fn pattern() -> Value {
    let users = CONSOLE_USER_PREFIXES.map(|prefix| serde_json::json!({ "prefix": prefix }));
    serde_json::json!({
        "source": [BUS_SOURCE],
        "detail-type": [DETAIL_TYPE],
        "detail": {
            "eventSource": [IAM],
            "$or": [
                { "eventName": CREDENTIAL_CALLS },
                {
                    "eventName": [CREATE_ACCESS_KEY],
                    "responseElements": { "accessKey": { "userName": users } },
                },
            ],
        },
    })
}

/// What EventBridge puts around a CloudTrail record (EventBridge user guide, *Events delivered via CloudTrail*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `source`
    pub source: &'a str,
    /// `detail-type`
    pub detail_type: &'a str,
    /// `account`
    pub account: Option<&'a str>,
    /// `detail`: the record.
    pub detail: &'a Value,
}

/// Reads a CloudTrail record in the envelope that EventBridge puts around it.
///
/// # Errors
/// [`Unreadable`] when the event is relevant (or does not say what it is) and a needed field is missing or
/// impossible.
pub fn parse_envelope(envelope: &Envelope<'_>) -> Result<ParsedEvent, Unreadable> {
    let has_known_type = [DETAIL_TYPE, DETAIL_TYPE_IN_CHINA].contains(&envelope.detail_type);
    if envelope.source != BUS_SOURCE || !has_known_type {
        return other_envelope(envelope);
    }
    let account = envelope.account.map(str::parse).transpose();
    let account = account.map_err(|invalid| Unreadable::invalid("account", invalid))?;
    read_record(envelope.detail, account)
        .map_err(|unreadable| Unreadable { field: format!("detail.{}", unreadable.field), ..unreadable })
}

/// An event that did not come from IAM's CloudTrail on the bus. One with a call of ours in it is not passed over: somebody
/// else may have sent it, or AWS may have changed the envelope.
fn other_envelope(envelope: &Envelope<'_>) -> Result<ParsedEvent, Unreadable> {
    let Envelope { source, detail_type, account: _, detail } = *envelope;
    let has_call = unwrap(detail).iter().any(|found| match found {
        Unwrapped::Event(event) => names_call(event),
        Unwrapped::Unreadable(_) => true,
        Unwrapped::Irrelevant(_) => false,
    });
    match (has_call, source != BUS_SOURCE) {
        (true, true) => Err(Unreadable::new("source", "aws.iam", "another text")),
        (true, false) => Err(Unreadable::new("detail-type", "AWS API Call via CloudTrail", "another text")),
        (false, true) => Ok(ParsedEvent::Irrelevant(Irrelevant::OtherBusSource(sanitize_field(source)))),
        (false, false) => {
            Ok(ParsedEvent::Irrelevant(Irrelevant::OtherDetailType(sanitize_field(detail_type))))
        }
    }
}

/// True for an event or a record of one of the guard's calls.
fn names_call(event: &Value) -> bool {
    let record = event.get("detail").unwrap_or(event);
    let name = record.get("eventName").and_then(Value::as_str);
    name.and_then(CredentialCall::from_event_name).is_some()
}

/// Reads a CloudTrail record as it is.
///
/// # Errors
/// As [`parse_envelope`].
pub fn parse_record(record: &Value) -> Result<ParsedEvent, Unreadable> {
    let is_only =
        |name| record.as_object().is_some_and(|fields| fields.len() == 1 && fields.contains_key(name));
    if is_only("sweep") {
        Ok(ParsedEvent::Irrelevant(Irrelevant::SweepRequest))
    } else if is_only("resume") {
        Ok(ParsedEvent::Irrelevant(Irrelevant::ResumeRequest))
    } else {
        read_record(record, None)
    }
}

/// The time of a CloudTrail record that is good for nothing else: `None` where it cannot be read.
#[must_use]
pub fn event_time(record: &Value) -> Option<Time> {
    provenance::event_time(record).ok()
}

fn read_record(record: &Value, envelope_account: Option<AccountId>) -> Result<ParsedEvent, Unreadable> {
    if !record.is_object() {
        return Err(Unreadable::new("(record)", "a CloudTrail record", describe(record)));
    }
    let event_source = require(record, "eventSource", "the service that was called")?;
    if event_source != IAM {
        return Ok(ParsedEvent::Irrelevant(Irrelevant::OtherEventSource(sanitize_field(event_source))));
    }
    let event_name = require(record, "eventName", "the API call")?;
    let relevant = |provenance, kind| ParsedEvent::Relevant(Box::new(CredentialEvent { provenance, kind }));
    let Some(call) = CredentialCall::from_event_name(event_name) else {
        return Ok(match console_user_with_access_key(event_name, record)? {
            Some(user) => {
                relevant(provenance::read(record, envelope_account)?, EventKind::AccessKeyCreated { user })
            }
            None => ParsedEvent::Irrelevant(Irrelevant::OtherCall(sanitize_field(event_name))),
        });
    };
    let provenance = provenance::read(record, envelope_account)?;
    let error_code = text(record, "errorCode")?.filter(|code| !code.is_empty());
    let kind = match (error_code, call) {
        (Some(code), call) => EventKind::Failed(Attempt {
            call,
            error_code: sanitize_field(code),
            user: lenient(record, "requestParameters.userName"),
            service: lenient(record, "requestParameters.serviceName"),
        }),
        (None, CredentialCall::Create) => EventKind::Created(creation::read(record, &provenance)?),
        (None, CredentialCall::Update) => {
            EventKind::StatusChanged { target: target(record)?, status: status(record)? }
        }
        (None, CredentialCall::Reset) => EventKind::SecretReset(reset_target(record)?),
        (None, CredentialCall::Delete) => EventKind::Deleted(target(record)?),
    };
    Ok(relevant(provenance, kind))
}

/// The user that got an access key, if it is one that a console created for an API key. Whatever does not say so
/// is irrelevant, and its oddities are not errors.
fn console_user_with_access_key(call: &str, record: &Value) -> Result<Option<UserName>, Unreadable> {
    const USER_NAME: &str = "responseElements.accessKey.userName";
    if call != CREATE_ACCESS_KEY {
        return Ok(None);
    }
    let Some(user) = text(record, USER_NAME).ok().flatten().filter(|user| begins_like_a_console_user(user))
    else {
        return Ok(None);
    };
    if text(record, "errorCode")?.is_some_and(|code| !code.is_empty()) {
        return Ok(None);
    }
    user.parse().map(Some).map_err(|invalid| Unreadable::invalid(USER_NAME, invalid))
}

fn target(record: &Value) -> Result<KeyTarget, Unreadable> {
    Ok(KeyTarget {
        id: needed(
            record,
            "requestParameters.serviceSpecificCredentialId",
            "a service-specific credential id",
        )?,
        user: optional(record, "requestParameters.userName")?,
        service: None,
    })
}

fn reset_target(record: &Value) -> Result<KeyTarget, Unreadable> {
    Ok(KeyTarget {
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
