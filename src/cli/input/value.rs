//! What one value of an input is: an event, what is around events, or something else.

use std::borrow::Cow;
use std::sync::mpsc::SyncSender;

use key_guard_core::cloudtrail::{ParsedEvent, Unreadable, Unwrapped, unwrap};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Found, Gone, problem};

/// True for what could be a record of CloudTrail, and for what is no JSON.
pub(super) fn is_trail_record(record: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Source<'a> {
        #[serde(rename = "eventSource", borrow)]
        event_source: Option<Cow<'a, str>>,
    }
    match serde_json::from_slice(record) {
        Ok(Source { event_source }) => event_source.is_some_and(|source| !source.starts_with("aws:")),
        Err(_) => true,
    }
}

/// A value that names a call of ours somewhere: parsed as a whole. Answers how many events it was.
pub(super) fn marked(value: &[u8], place: &dyn Fn() -> String, to: &SyncSender<Found>) -> Result<u64, Gone> {
    match serde_json::from_slice(value) {
        Ok(value) => event(value, place, to),
        Err(error) => problem(to, format!("{}: it is not JSON: {}", place(), syntax(&error))).map(|()| 0),
    }
}

fn event(value: Value, place: &dyn Fn() -> String, to: &SyncSender<Found>) -> Result<u64, Gone> {
    match wrapped(value) {
        Wrapped::List(values) => {
            let mut events = 0;
            for (index, value) in values.into_iter().enumerate() {
                let place = || format!("{}.{}", place(), index + 1);
                events += event(value, &place, to)?;
            }
            Ok(events)
        }
        Wrapped::NoEvent => Ok(0),
        Wrapped::Event(value) => parsed(value, place, to),
        Wrapped::Other(value) => {
            let found = unwrap(&value);
            if found.is_empty() {
                return without_event(value, place, to);
            }
            let mut events = 0;
            for found in found {
                events += match found {
                    Unwrapped::Event(value) => parsed(value, place, to)?,
                    Unwrapped::Unreadable(why) => unreadable(why, place, to)?,
                    Unwrapped::Irrelevant(_) => 0,
                };
            }
            Ok(events)
        }
    }
}

/// A value in which no event is: a request that a queue holds, or something else.
fn without_event(value: Value, place: &dyn Fn() -> String, to: &SyncSender<Found>) -> Result<u64, Gone> {
    let what = if value.get("ServiceSpecificCredentials").is_some() {
        "it is a list of keys, as `aws iam list-service-specific-credentials` prints it, and no event: \
         `bedrock-key-guard sweep` judges the keys that IAM has"
    } else if matches!(crate::event::parse(value), Ok(ParsedEvent::Irrelevant(_))) {
        return Ok(1);
    } else {
        "it is neither a CloudTrail record (no eventSource) nor an EventBridge event (no detail-type), and none is in it"
    };
    problem(to, format!("{}: {what}", place())).map(|()| 0)
}

fn parsed(value: Value, place: &dyn Fn() -> String, to: &SyncSender<Found>) -> Result<u64, Gone> {
    match crate::event::parse(value) {
        Ok(ParsedEvent::Irrelevant(_)) => {}
        Ok(ParsedEvent::Relevant(event)) => to.send(Found::Event(event)).map_err(|_| Gone)?,
        Err(why) => return unreadable(why, place, to),
    }
    Ok(1)
}

fn unreadable(why: Unreadable, place: &dyn Fn() -> String, to: &SyncSender<Found>) -> Result<u64, Gone> {
    let found = Found::Unreadable { place: place(), why: Box::new(why) };
    to.send(found).map_err(|_| Gone).map(|()| 0)
}

enum Wrapped {
    Event(Value),
    List(Vec<Value>),
    NoEvent,
    Other(Value),
}

/// A log file whose `Records` do not come first is a value like any other until here, and so are the messages of queues:
/// whatever is in one did not come to its end. CloudTrail's digest files lie beside its logs and hold no events. What says
/// that it is an event is one, whatever else it has.
fn wrapped(mut value: Value) -> Wrapped {
    // Records of DynamoDB's streams and of S3 have an `eventName`, too.
    let is_of_stream =
        value.get("eventSource").and_then(Value::as_str).is_some_and(|source| source.starts_with("aws:"));
    if !is_of_stream && ["eventName", "detail", "detail-type"].iter().any(|field| value.get(field).is_some())
    {
        return Wrapped::Event(value);
    }
    if let Some(Value::Array(records)) = value.get_mut("Records") {
        return Wrapped::List(std::mem::take(records));
    }
    if let Some(Value::Array(messages)) = value.get_mut("Messages") {
        return Wrapped::List(std::mem::take(messages).into_iter().map(message_body).collect());
    }
    if value.get("requestContext").is_some()
        && let Some(payload @ Value::Object(_)) = value.get_mut("requestPayload")
    {
        return Wrapped::Other(payload.take());
    }
    if value.get("digestStartTime").is_some() && value.get("logFiles").is_some() {
        return Wrapped::NoEvent;
    }
    Wrapped::Other(value)
}

/// What a message of a queue is about; one that cannot be read is an event that cannot be read.
fn message_body(mut message: Value) -> Value {
    match message.get_mut("Body").map(Value::take) {
        Some(Value::String(body)) => serde_json::from_str(&body).unwrap_or(Value::String(body)),
        Some(body) => body,
        None => message,
    }
}

/// A value that names no call of ours. It is parsed as far as it takes to know that it is an event; one that is none may hold
/// events in Base64.
pub(super) fn unmarked(
    value: &[u8],
    place: &dyn Fn() -> String,
    to: &SyncSender<Found>,
) -> Result<u64, Gone> {
    #[derive(Deserialize)]
    struct Shape<'a> {
        #[serde(rename = "eventName")]
        event_name: Option<IgnoredAny>,
        #[serde(rename = "eventSource", borrow)]
        event_source: Option<Cow<'a, str>>,
    }
    match serde_json::from_slice(value) {
        Ok(Shape { event_name: Some(_), event_source: Some(source) }) if !source.starts_with("aws:") => Ok(1),
        Ok(Shape { .. }) | Err(_) => marked(value, place, to),
    }
}

/// Where a syntax error is, without what is there: that could be a secret.
fn syntax(error: &serde_json::Error) -> String {
    format!("line {}, column {} of the record", error.line(), error.column())
}
