//! What one value of an input is: an event, what is around events, or something else.

use std::borrow::Cow;

use key_guard_core::cloudtrail::{
    BEARER_TOKEN_MARKER, CREDENTIAL_CALL_MARKER, ForeignLog, Irrelevant, ParsedEvent, SHORTEST_ENCODED,
    USER_CALLS, Unreadable, Unwrapped, from_json, has_record_in_text, hidden_call, may_be_base64,
    parse_bearer_call, unwrap,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::csv::with_names;
use super::passed_over::Kind;
use super::sink::{NO_EVENT, Sink};
use super::{Detail, Found, Gone};
use crate::cli::records::has_escaped_gzip;

const LIST_OF_KEYS: &str = "it is a list of keys, as `aws iam list-service-specific-credentials` prints it, and holds no \
                            events: `bedrock-key-guard sweep --from FILE` judges it";
const HAS_SECRET: &str = "it is the response of create-service-specific-credential or reset-service-specific-credential, which has the \
                          secret of a key, and holds no events: keep it out of files";
const EXPORT: &str =
    "it is an export of a ledger and holds no events: `bedrock-key-guard import FILE` takes it into a ledger";
const NAMES: &str = "it names a call that the guard watches or a field of a CloudTrail record, and no whole record is in it: give each record \
                     as JSON with all its fields";
const HIDES: &str = "it has Base64 or binary data in which a record may be, and none that can be read: decode it, and give the \
                     records as JSON";
const TOO_DEEP: &str =
    "its JSON is nested deeper than 127 levels, which is not read: give the records in it alone";

/// What no value has in which there is no event: names of calls that are looked for, and fields of a record.
const OF_EVENTS: [&str; 10] = [
    "eventName",
    "eventSource",
    "eventVersion",
    "userIdentity",
    "requestParameters",
    "responseElements",
    "detail-type",
    "serviceSpecificCredential",
    CREDENTIAL_CALL_MARKER,
    BEARER_TOKEN_MARKER,
];

/// Whether a value has to be an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// It is a record of a log file, a message of a queue.
    Event,
    /// Whatever lies beside events.
    Anything,
}

/// True for what could be a record of a call of CloudTrail, and for what is no JSON.
pub(super) fn is_trail_record(record: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Source<'a> {
        #[serde(rename = "eventSource", borrow)]
        event_source: Option<Cow<'a, str>>,
        #[serde(rename = "eventName")]
        event_name: Option<IgnoredAny>,
    }
    match serde_json::from_slice(record) {
        Ok(Source { event_name: None, .. }) => false,
        Ok(Source { event_source, .. }) => event_source.is_some_and(|source| !source.starts_with("aws:")),
        Err(_) => true,
    }
}

/// A value that names a call of ours somewhere: parsed as a whole.
pub(super) fn marked(
    value: &[u8],
    expected: Expected,
    place: &dyn Fn() -> String,
    sink: &mut Sink<'_>,
) -> Result<(), Gone> {
    match from_json(value) {
        Ok(value) => event(value, expected, place, sink),
        Err(error) => sink.problem(format!("{}: {}", place(), syntax(&error))),
    }
}

pub(super) fn event(
    value: Value,
    expected: Expected,
    place: &dyn Fn() -> String,
    sink: &mut Sink<'_>,
) -> Result<(), Gone> {
    match wrapped(with_names(&value).unwrap_or(value)) {
        Wrapped::List { values, rest } => {
            for (index, value) in values.into_iter().enumerate() {
                let place = || format!("{}.{}", place(), index + 1);
                event(value, Expected::Event, &place, sink)?;
            }
            unwrap(&rest, sink.target()).into_iter().try_for_each(|found| one(found, place, sink))
        }
        Wrapped::PassedOver { kind, value } => {
            if let Some(why) = hidden_call(&value, sink.target()) {
                return unreadable(why, place, sink);
            }
            sink.pass_value(kind);
            Ok(())
        }
        Wrapped::Refused { what, value } => {
            if let Some(why) = hidden_call(&value, sink.target()) {
                unreadable(why, place, sink)?;
            }
            sink.refuse(place, what)
        }
        Wrapped::Event(value) => parsed(&value, place, sink),
        Wrapped::Other(value) => {
            let found = unwrap(&value, sink.target());
            if found.is_empty() {
                return without_event(&value, expected, place, sink);
            }
            found.into_iter().try_for_each(|found| one(found, place, sink))
        }
    }
}

/// Hands on what was found in a wrapping.
pub(super) fn one(found: Unwrapped, place: &dyn Fn() -> String, sink: &mut Sink<'_>) -> Result<(), Gone> {
    match found {
        Unwrapped::Event(value) => parsed(&value, place, sink),
        Unwrapped::Unreadable(why) => unreadable(why, place, sink),
        Unwrapped::Irrelevant(Irrelevant::InsightsEvent) => {
            sink.pass_value(Kind::Insights);
            Ok(())
        }
        Unwrapped::Irrelevant(Irrelevant::AggregatedEvent) => {
            sink.pass_value(Kind::Aggregated);
            Ok(())
        }
        Unwrapped::Irrelevant(
            Irrelevant::ControlMessage
            | Irrelevant::OtherBusSource(_)
            | Irrelevant::OtherDetailType(_)
            | Irrelevant::OtherEventSource(_)
            | Irrelevant::OtherCall(_)
            | Irrelevant::OtherUser(_)
            | Irrelevant::UnnamedUser(_)
            | Irrelevant::ConsolePolicy(_)
            | Irrelevant::SweepRequest
            | Irrelevant::ResumeRequest,
        ) => Ok(()),
    }
}

/// A value in which no event was found: a request that a queue holds, what lies beside events, or something that may hold one.
fn without_event(
    value: &Value,
    expected: Expected,
    place: &dyn Fn() -> String,
    sink: &mut Sink<'_>,
) -> Result<(), Gone> {
    let is_empty = is_empty_answer(value);
    // What names a source of its own has fields of these names, whatever it is: records of queues and streams.
    let in_fields = value.as_object().and_then(|fields| {
        fields.iter().filter(|(name, _)| !is_token(name)).find_map(|(_, value)| suspicious(value))
    });
    let why = suspicious(value);
    match crate::event::parse(value) {
        Ok(ParsedEvent::Irrelevant(Irrelevant::SweepRequest | Irrelevant::ResumeRequest)) => {
            sink.events += 1;
            return Ok(());
        }
        Ok(ParsedEvent::Irrelevant(_)) if in_fields.is_none() => {
            sink.events += 1;
            return Ok(());
        }
        Ok(_) | Err(_) => {}
    }
    match why {
        Some(why) => sink.problem(format!("{}: {why}", place())),
        None if is_empty => {
            sink.pass_value(Kind::EmptyAnswer);
            Ok(())
        }
        None if expected == Expected::Event => sink.problem(format!("{}: {NO_EVENT}", place())),
        None => sink.other_json(place),
    }
}

/// What queries print that have found nothing (AWS CLI command reference, `cloudtrail lookup-events`, `cloudtrail
/// get-query-results`, `logs filter-log-events`, `logs get-query-results`; `OpenSearch` documentation, *Search*; Splunk REST API
/// reference, `search/jobs/{search_id}/results`): a list without elements. A query that still runs has found nothing so far.
fn is_empty_answer(value: &Value) -> bool {
    const LISTS: [&str; 5] = ["/Events", "/events", "/results", "/QueryResultRows", "/hits/hits"];
    let is_ended = |state: Option<&Value>| {
        state.and_then(Value::as_str).is_none_or(|state| ["Complete", "FINISHED"].contains(&state))
    };
    match value {
        // A table of one column, without rows.
        Value::String(name) => {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_@.".contains(&byte))
        }
        Value::Object(fields) => {
            let is_empty =
                |list: &&str| value.pointer(list).and_then(Value::as_array).is_some_and(Vec::is_empty);
            let is_end = fields.get("lastrow") == Some(&Value::Bool(true)) && !fields.contains_key("result");
            (LISTS.iter().any(is_empty) || is_end)
                && is_ended(fields.get("status"))
                && is_ended(fields.get("QueryStatus"))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
    }
}

/// What AWS gives to be handed back to it, or to be checked: Base64 of its own.
fn is_token(field: &str) -> bool {
    ["NextToken", "nextToken", "NextShardIterator", "receiptHandle", "ReceiptHandle", "Signature"]
        .contains(&field)
}

/// Why an event may be in a value in which none was found. `None`: none can be.
fn suspicious(value: &Value) -> Option<&'static str> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
        Value::String(text) => suspicious_text(text),
        Value::Array(values) => {
            values.iter().find_map(suspicious).or_else(|| is_in_pieces(values).then_some(HIDES))
        }
        Value::Object(fields) => fields.iter().find_map(|(name, value)| match suspicious_text(name) {
            None if is_token(name) => None,
            None => suspicious(value),
            why => why,
        }),
    }
}

/// True for lines of Base64, as encoders break them (RFC 2045: 76 letters; RFC 7468: 64). Lists of digests have digits of
/// hexadecimal numbers only.
fn is_in_pieces(values: &[Value]) -> bool {
    let Some((last, whole)) = values.split_last() else { return false };
    let length = whole.first().and_then(Value::as_str).map_or(0, str::len);
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte);
    let is_piece = |value: &Value| {
        value.as_str().is_some_and(|text| text.len() <= length && text.bytes().all(is_letter))
    };
    let is_line = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        text.len() == length && !text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    length >= 60
        && length * whole.len() >= SHORTEST_ENCODED - length
        && is_piece(last)
        && whole.iter().all(|value| is_piece(value) && is_line(value))
}

/// True for bytes with the name of a call that is looked for, or of a field of a record.
pub(super) fn names_record(bytes: &[u8]) -> bool {
    let is_in = |part: &&str| memchr::memmem::find(bytes, part.as_bytes()).is_some();
    OF_EVENTS.iter().chain(&USER_CALLS).any(is_in)
}

fn suspicious_text(text: &str) -> Option<&'static str> {
    if names_record(text.as_bytes()) {
        return Some(NAMES);
    }
    let bytes = text.as_bytes();
    // No text has zeros, but UTF-16 does.
    (text.contains('\0') || may_be_base64(bytes) || has_escaped_gzip(bytes)).then_some(HIDES)
}

pub(super) fn parsed(value: &Value, place: &dyn Fn() -> String, sink: &mut Sink<'_>) -> Result<(), Gone> {
    let found = match sink.detail {
        Detail::Uses => parse_bearer_call(value).map(|call| call.map(|call| Found::Use(Box::new(call)))),
        Detail::Events | Detail::EventsAndSpans => crate::event::parse(value).map(|event| match event {
            ParsedEvent::Irrelevant(_) => None,
            ParsedEvent::Relevant(event) => Some(Found::Event(event)),
        }),
    };
    match found {
        Ok(found) => found.map_or(Ok(()), |found| sink.send(found))?,
        Err(why) => return unreadable(why, place, sink),
    }
    sink.events += 1;
    Ok(())
}

fn unreadable(why: Unreadable, place: &dyn Fn() -> String, sink: &mut Sink<'_>) -> Result<(), Gone> {
    sink.unreadable(place(), why)
}

enum Wrapped {
    Event(Value),
    /// What is dealt with one by one, and what is beside it.
    List {
        values: Vec<Value>,
        rest: Value,
    },
    /// What should not hold an event.
    PassedOver {
        kind: Kind,
        value: Value,
    },
    /// What holds something else that the guard reads: what it is, and what to do.
    Refused {
        what: &'static str,
        value: Value,
    },
    Other(Value),
}

/// A log file whose `Records` do not come first is a value like any other until here, and so are the messages of queues:
/// whatever is in one did not come to its end. What says that it is an event is one, whatever else it has.
fn wrapped(mut value: Value) -> Wrapped {
    // Records of DynamoDB's streams and of S3 have an `eventName`, too.
    let is_of_stream =
        value.get("eventSource").and_then(Value::as_str).is_some_and(|source| source.starts_with("aws:"));
    let is_event = ["eventName", "detail", "detail-type"].iter().any(|field| value.get(field).is_some());
    if is_event && !is_of_stream && !has_record_in_text(&value) {
        return Wrapped::Event(value);
    }
    if let Some(Value::Array(records)) = value.get_mut("Records") {
        let values = std::mem::take(records);
        return Wrapped::List { values, rest: value };
    }
    if let Some(Value::Array(messages)) = value.get_mut("Messages") {
        let values = messages.iter_mut().map(message_body).collect();
        return Wrapped::List { values, rest: value };
    }
    if value.get("requestContext").is_some()
        && let Some(payload @ Value::Object(_)) = value.get_mut("requestPayload")
    {
        let values = vec![payload.take()];
        return Wrapped::List { values, rest: value };
    }
    let has = |field: &str| value.get(field).is_some();
    if let Some(kind) = without_events(&has).or_else(|| ForeignLog::of(&value).map(kind_of_log)) {
        Wrapped::PassedOver { kind, value }
    } else if has("ServiceSpecificCredentials") || (has("ServiceSpecificCredentialId") && has("UserName")) {
        Wrapped::Refused { what: LIST_OF_KEYS, value }
    } else if has("ServiceSpecificCredential") {
        Wrapped::Refused { what: HAS_SECRET, value }
    } else if has("v") && value.get("kind").is_some_and(Value::is_string) {
        Wrapped::Refused { what: EXPORT, value }
    } else {
        Wrapped::Other(value)
    }
}

/// What lies beside CloudTrail's logs (CloudTrail user guide, *CloudTrail digest file structure*, *CloudTrail sign file
/// structure*; AWS Config developer guide, *Viewing configuration history* and *Example configuration snapshot*; S3 user guide,
/// *Locating your inventory list*; IAM user guide, *IAM JSON policy element reference*).
fn without_events(has: &dyn Fn(&str) -> bool) -> Option<Kind> {
    if has("digestStartTime") && has("logFiles") {
        Some(Kind::Digest)
    } else if has("hashSignature") && has("files") {
        Some(Kind::Signature)
    } else if has("fileVersion") && has("configurationItems") {
        Some(Kind::Config)
    } else if has("sourceBucket") && has("fileSchema") && has("files") {
        Some(Kind::InventoryManifest)
    } else if has("Version") && has("Statement") {
        Some(Kind::IamPolicy)
    } else {
        None
    }
}

/// What other services write into the buckets of trails. A finding names a call in its own words.
const fn kind_of_log(log: ForeignLog) -> Kind {
    match log {
        ForeignLog::Waf => Kind::WafLog,
        ForeignLog::GuardDuty => Kind::GuardDutyFindings,
        ForeignLog::Resolver => Kind::ResolverLog,
        ForeignLog::CloudFront => Kind::CloudFrontLog,
        ForeignLog::ModelInvocation => Kind::ModelInvocationLog,
    }
}

/// What a message of a queue is about; one that cannot be read is an event that cannot be read.
fn message_body(message: &mut Value) -> Value {
    match message.get_mut("Body").map(Value::take) {
        Some(Value::String(body)) => from_json(body.as_bytes()).unwrap_or(Value::String(body)),
        Some(body) => body,
        None => message.take(),
    }
}

/// A value that names no call of ours. It is parsed as far as it takes to know that it is an event; one that is none may hold
/// events in Base64.
pub(super) fn unmarked(
    value: &[u8],
    expected: Expected,
    place: &dyn Fn() -> String,
    sink: &mut Sink<'_>,
) -> Result<(), Gone> {
    #[derive(Deserialize)]
    struct Shape<'a> {
        #[serde(rename = "eventName")]
        event_name: Option<IgnoredAny>,
        #[serde(rename = "eventSource", borrow)]
        event_source: Option<Cow<'a, str>>,
    }
    match serde_json::from_slice(value) {
        Ok(Shape { event_name: Some(_), event_source: Some(source) }) if !source.starts_with("aws:") => {
            sink.events += 1;
            Ok(())
        }
        Ok(Shape { .. }) | Err(_) => marked(value, expected, place, sink),
    }
}

/// What is wrong with JSON, and where, without what is there: that could be a secret.
pub(super) fn syntax(error: &serde_json::Error) -> String {
    if is_too_deep(error) {
        return TOO_DEEP.to_owned();
    }
    format!(
        "it is not JSON: the mistake is at line {}, column {} of the record",
        error.line(),
        error.column()
    )
}

/// True for JSON that is nested too deep to be parsed. `serde_json` has no other sign of it.
pub(super) fn is_too_deep(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("recursion limit exceeded")
}
