//! CloudTrail JSON in, [`ParsedEvent`] out. The only files that know AWS's field names.
//!
//! [`parse_record`] accepts a CloudTrail record as it is, [`parse_envelope`] one in EventBridge's envelope. There are
//! three results and no fourth: *relevant*, *irrelevant because …*, or [`Unreadable`]. Only fields on an allow-list
//! leave this module, since it is not documented whether CloudTrail drops or masks the secret of a
//! `CreateServiceSpecificCredential` response.
//!
//! [`parse_bearer_call`] reads another kind of event: a call that an API key was used for.
//!
//! Field names: CloudTrail user guide, *CloudTrail record contents* and *CloudTrail userIdentity element*;
//! EventBridge user guide, *Events delivered via CloudTrail*.

mod bearer;
mod creation;
mod date;
mod encoded;
mod event;
mod json;
mod log_line;
mod provenance;
mod record;
mod unwrap;
mod user_change;

use serde_json::Value;

pub use bearer::{BEARER_TOKEN_MARKER, BearerCall, BearerCaller, model_id, parse_bearer_call};
pub use creation::{CREATION_FIELDS, CreationField};
pub use date::read as read_date;
pub use encoded::{SHORTEST_ENCODED, may_be_base64};
pub use event::{
    Actor, ActorContext, Attempt, CREDENTIAL_CALLS, Call, Correction, CreatedKey, CredentialCall,
    CredentialEvent, EventKind, Irrelevant, KeyTarget, MAX_AGE_DAYS, ParsedEvent, Provenance, SetStatus,
    Unreadable, UnreadableCreation,
};
pub use json::{from_json, values_from_json};
pub use log_line::{begins_with_bracketed_text, record_in};
pub use record::{describe, is_null};
pub use unwrap::{
    ENCODED_STARTS, ForeignLog, Target, Unwrapped, has_call, has_record_in_text, hidden_call, unwrap,
};
pub use user_change::{CONSOLE_POLICIES, USER_CALLS, UserCall, UserChange};

use crate::Time;
use crate::key::AccountId;
use crate::text::sanitize_field;
use record::{error_code, first_present, lenient, needed, optional, require, with_objects};

/// What the names of the calls that concern a key contain, letter for letter.
pub const CREDENTIAL_CALL_MARKER: &str = "ServiceSpecificCredential";

/// A record without any of these texts is irrelevant.
pub const CALL_MARKERS: [&str; 7] = {
    let [access_key, login, new_login, managed, inline, group] = USER_CALLS;
    [CREDENTIAL_CALL_MARKER, access_key, login, new_login, managed, inline, group]
};

/// How escapes of JSON begin that may stand for a letter or a dot: any text may be written with them (RFC 8259, section 7). What
/// tools escape is hardly among it.
pub const LETTER_ESCAPES: [&str; 6] = ["\\u004", "\\u005", "\\u006", "\\u007", "\\u002e", "\\u002E"];

/// The `eventSource` of IAM's calls.
pub const IAM: &str = "iam.amazonaws.com";
const BUS_SOURCE: &str = "aws.iam";
/// The detail types of EventBridge's events from CloudTrail. The second is how the EventBridge user guide for the Regions of
/// China prints it; no real event has shown it.
pub const DETAIL_TYPES: [&str; 2] = ["AWS API Call via CloudTrail", "Amazon API Call via CloudTrail"];

/// The EventBridge pattern that matches every event that [`parse_envelope`] may find relevant. It looks at the names of calls
/// and at nothing else: a denied call has no `requestParameters`, and whether a console created a user for an API key may be
/// known from the ledger only.
#[must_use]
pub fn pattern() -> Value {
    serde_json::json!({
        "source": [BUS_SOURCE],
        "detail-type": DETAIL_TYPES,
        "detail": {
            "eventSource": [IAM],
            "eventName": CREDENTIAL_CALLS.iter().chain(&USER_CALLS).collect::<Vec<_>>(),
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
    let has_known_type = DETAIL_TYPES.contains(&envelope.detail_type);
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
    let has_call = unwrap(detail, Target::GuardedCalls).iter().any(|found| match found {
        Unwrapped::Event(event) => names_call(event),
        Unwrapped::Unreadable(_) => true,
        Unwrapped::Irrelevant(_) => false,
    });
    // Only AWS can send events with such a source (EventBridge API reference, *PutEventsRequestEntry*).
    let is_custom = !source.starts_with("aws.");
    if is_custom && !has_call && unwrap::hides_text(detail) {
        return Err(Unreadable::new("detail", "JSON", "Base64 in which no JSON can be read"));
    }
    match (has_call, source != BUS_SOURCE) {
        (true, true) => Err(Unreadable::new("source", "aws.iam", "another text")),
        (true, false) => Err(Unreadable::new("detail-type", "AWS API Call via CloudTrail", "another text")),
        (false, true) => Ok(ParsedEvent::Irrelevant(Irrelevant::OtherBusSource(sanitize_field(source)))),
        (false, false) => {
            Ok(ParsedEvent::Irrelevant(Irrelevant::OtherDetailType(sanitize_field(detail_type))))
        }
    }
}

/// True for an event or a record of one of the guard's calls. Of a call about a user: for a user that a console created.
fn names_call(event: &Value) -> bool {
    let record = event.get("detail").unwrap_or(event);
    match json::texts(record, "eventName").find_map(Call::from_similar_name) {
        Some(Call::Credential(_)) => true,
        Some(Call::User(call)) => user_change::names_console_user(call, record),
        None => false,
    }
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
        // No other service has calls of these names: AWS may have changed how it writes the source.
        if names_call(record) {
            return Err(Unreadable::new("eventSource", IAM, "another text"));
        }
        return Ok(ParsedEvent::Irrelevant(Irrelevant::OtherEventSource(sanitize_field(event_source))));
    }
    let event_name = require(record, "eventName", "the API call")?;
    let record = &*with_objects(record);
    let provenance = || provenance::read(record, envelope_account);
    match Call::from_event_name(event_name) {
        Some(Call::Credential(call)) => read_credential_call(call, record, provenance()?),
        Some(Call::User(call)) => user_change::read(call, record, provenance),
        None if Call::from_similar_name(event_name).is_some() => Err(Unreadable::new(
            "eventName",
            "the name of the call as CloudTrail writes it",
            "another spelling",
        )),
        None => Ok(ParsedEvent::Irrelevant(Irrelevant::OtherCall(sanitize_field(event_name)))),
    }
}

fn read_credential_call(
    call: CredentialCall,
    record: &Value,
    provenance: Provenance,
) -> Result<ParsedEvent, Unreadable> {
    let error_code = error_code(record, creation::RESPONSE).map_err(|why| match call {
        CredentialCall::Create => creation::unreadable(record, &provenance, why),
        CredentialCall::Update | CredentialCall::Reset | CredentialCall::Delete => why,
    })?;
    let kind = match (error_code, call) {
        (Some(code), call) => EventKind::Failed(Attempt {
            call: Call::Credential(call),
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
    Ok(ParsedEvent::Relevant(Box::new(CredentialEvent { provenance, kind })))
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
