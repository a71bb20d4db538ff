//! EventBridge's envelope around a CloudTrail record. The core reads what is in it.

use aws_lambda_events::eventbridge::EventBridgeEvent;
use key_guard_core::cloudtrail::{self, Envelope, ParsedEvent, Target, Unreadable};
use serde_json::{Map, Value};

/// The fields of the envelope that are needed, and what each must be. The others cannot make it unreadable.
const FIELDS: [(&str, &str); 4] = [
    ("source", "the event's bus source"),
    ("detail-type", "the event's detail type"),
    ("account", "an AWS account id of 12 digits"),
    ("detail", "a CloudTrail record"),
];

/// Reads one event: an EventBridge envelope, or a bare CloudTrail record.
///
/// # Errors
/// When the event is relevant (or does not say what it is) and a needed field is missing or impossible. Also when it is
/// irrelevant, or may turn out to be, and the whole record of a call of ours is in it.
pub fn parse(event: &Value) -> Result<ParsedEvent, Unreadable> {
    let parsed = read(event)?;
    if let ParsedEvent::Relevant(ours) = &parsed
        && ours.user_to_look_up().is_none()
    {
        return Ok(parsed);
    }
    cloudtrail::hidden_call(event, Target::GuardedCalls).map_or(Ok(parsed), Err)
}

fn read(event: &Value) -> Result<ParsedEvent, Unreadable> {
    if event.get("detail-type").is_none() && event.get("detail").is_none() {
        return cloudtrail::parse_record(event);
    }
    let mut fields = Map::new();
    for (name, expected) in FIELDS {
        match event.get(name) {
            Some(value) if name == "detail" || value.is_string() => {
                fields.insert(name.to_owned(), value.clone());
            }
            None | Some(Value::Null) if name == "account" => {}
            None | Some(Value::Null) => return Err(Unreadable::new(name, expected, "nothing")),
            Some(other) => return Err(Unreadable::new(name, expected, cloudtrail::describe(other))),
        }
    }
    let event: EventBridgeEvent = serde_json::from_value(Value::Object(fields))
        .map_err(|_| Unreadable::new("(whole event)", "an EventBridge event", "something else"))?;
    cloudtrail::parse_envelope(&Envelope {
        source: &event.source,
        detail_type: &event.detail_type,
        account: event.account.as_deref(),
        detail: &event.detail,
    })
}
