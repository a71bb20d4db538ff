//! What one value of an input is: an event, what is around events, or something else.

use std::borrow::Cow;

use key_guard_core::cloudtrail::{
    Irrelevant, ParsedEvent, Unreadable, Unwrapped, hidden_call, parse_bearer_call, unwrap,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::passed_over::Kind;
use super::sink::Sink;
use super::{Detail, Found, Gone};

const LIST_OF_KEYS: &str = "it is a list of keys, as `aws iam list-service-specific-credentials` prints it, and holds no \
                            events: `bedrock-key-guard sweep --from FILE` judges it";
const EXPORT: &str =
    "it is an export of a ledger and holds no events: `bedrock-key-guard import FILE` takes it into a ledger";
const NEITHER: &str = "it is neither a CloudTrail record (no eventSource) nor an EventBridge event (no detail-type), and none is in it";

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
pub(super) fn marked(value: &[u8], place: &dyn Fn() -> String, sink: &mut Sink<'_>) -> Result<(), Gone> {
    match serde_json::from_slice(value) {
        Ok(value) => event(value, place, sink),
        Err(error) => sink.problem(format!("{}: it is not JSON: {}", place(), syntax(&error))),
    }
}

fn event(value: Value, place: &dyn Fn() -> String, sink: &mut Sink<'_>) -> Result<(), Gone> {
    match wrapped(value) {
        Wrapped::List { values, rest } => {
            for (index, value) in values.into_iter().enumerate() {
                let place = || format!("{}.{}", place(), index + 1);
                event(value, &place, sink)?;
            }
            unwrap(&rest).into_iter().try_for_each(|found| one(found, place, sink))
        }
        Wrapped::PassedOver { kind, value } => match hidden_call(&value) {
            Some(why) => unreadable(why, place, sink),
            None => {
                sink.pass_value(kind);
                Ok(())
            }
        },
        Wrapped::Refused(what) => sink.refuse(place, what),
        Wrapped::Event(value) => parsed(value, place, sink),
        Wrapped::Other(value) => {
            let found = unwrap(&value);
            if found.is_empty() {
                return without_event(value, place, sink);
            }
            found.into_iter().try_for_each(|found| one(found, place, sink))
        }
    }
}

/// Hands on what was found in a wrapping.
pub(super) fn one(found: Unwrapped, place: &dyn Fn() -> String, sink: &mut Sink<'_>) -> Result<(), Gone> {
    match found {
        Unwrapped::Event(value) => parsed(value, place, sink),
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

/// A value in which no event is: a request that a queue holds, or something else.
fn without_event(value: Value, place: &dyn Fn() -> String, sink: &mut Sink<'_>) -> Result<(), Gone> {
    if matches!(crate::event::parse(value), Ok(ParsedEvent::Irrelevant(_))) {
        sink.events += 1;
        return Ok(());
    }
    sink.problem(format!("{}: {NEITHER}", place()))
}

pub(super) fn parsed(value: Value, place: &dyn Fn() -> String, sink: &mut Sink<'_>) -> Result<(), Gone> {
    let found = match sink.detail {
        Detail::Uses => parse_bearer_call(&value).map(|call| call.map(|call| Found::Use(Box::new(call)))),
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
    Refused(&'static str),
    Other(Value),
}

/// A log file whose `Records` do not come first is a value like any other until here, and so are the messages of queues:
/// whatever is in one did not come to its end. What says that it is an event is one, whatever else it has.
fn wrapped(mut value: Value) -> Wrapped {
    // Records of DynamoDB's streams and of S3 have an `eventName`, too.
    let is_of_stream =
        value.get("eventSource").and_then(Value::as_str).is_some_and(|source| source.starts_with("aws:"));
    if !is_of_stream && ["eventName", "detail", "detail-type"].iter().any(|field| value.get(field).is_some())
    {
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
    if let Some(kind) = without_events(&has) {
        Wrapped::PassedOver { kind, value }
    } else if has("ServiceSpecificCredentials") {
        Wrapped::Refused(LIST_OF_KEYS)
    } else if has("v") && value.get("kind").is_some_and(Value::is_string) {
        Wrapped::Refused(EXPORT)
    } else {
        Wrapped::Other(value)
    }
}

/// What lies beside CloudTrail's logs (CloudTrail user guide, *CloudTrail digest file structure*, *CloudTrail sign file
/// structure*; AWS Config developer guide, *Viewing configuration history* and *Example configuration snapshot*).
fn without_events(has: &dyn Fn(&str) -> bool) -> Option<Kind> {
    if has("digestStartTime") && has("logFiles") {
        Some(Kind::Digest)
    } else if has("hashSignature") && has("files") {
        Some(Kind::Signature)
    } else if has("fileVersion") && has("configurationItems") {
        Some(Kind::Config)
    } else {
        None
    }
}

/// What a message of a queue is about; one that cannot be read is an event that cannot be read.
fn message_body(message: &mut Value) -> Value {
    match message.get_mut("Body").map(Value::take) {
        Some(Value::String(body)) => serde_json::from_str(&body).unwrap_or(Value::String(body)),
        Some(body) => body,
        None => message.take(),
    }
}

/// A value that names no call of ours. It is parsed as far as it takes to know that it is an event; one that is none may hold
/// events in Base64.
pub(super) fn unmarked(value: &[u8], place: &dyn Fn() -> String, sink: &mut Sink<'_>) -> Result<(), Gone> {
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
        Ok(Shape { .. }) | Err(_) => marked(value, place, sink),
    }
}

/// Where a syntax error is, without what is there: that could be a secret.
fn syntax(error: &serde_json::Error) -> String {
    format!("line {}, column {} of the record", error.line(), error.column())
}
