//! Events in whatever is around them, in any order and depth.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use key_guard_core::cloudtrail::{CREDENTIAL_CALLS, Target, USER_CALLS, Unwrapped};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::corpus::{EVENTS, SECRETS, SHAPES, gzipped, shape};
use super::damage::{apply, damage};
use super::{check, has_no_secret};
use crate::support::escapes::with_escapes;

fn unwrap(value: &Value) -> Vec<Unwrapped> {
    key_guard_core::cloudtrail::unwrap(value, Target::GuardedCalls)
}

/// How many ways there are to put something around a value. From the fourth on, it becomes a text.
const WRAPPINGS: u8 = 14;

/// Puts something around a value.
fn wrapped(value: &Value, how: u8) -> Value {
    match how % WRAPPINGS {
        0 => json!({ "body": value }),
        1 => json!([1, value, null]),
        2 => json!({ "eventID": "x", "eventTime": "2026-11-20T09:07:11Z", "item": value }),
        3 => json!({ SECRETS[2]: value }),
        4 => Value::String(value.to_string()),
        5 => Value::String(format!("  {value:#}\n")),
        6 => Value::String(STANDARD.encode(value.to_string())),
        7 => Value::String(URL_SAFE_NO_PAD.encode(value.to_string())),
        8 => Value::String(STANDARD.encode(gzipped(value.to_string().as_bytes()))),
        9 => Value::String(with_escapes(&value.to_string())),
        inside => around(value, inside),
    }
}

/// True where this is no wrapping, but something that says that it is none.
fn is_around(how: u8) -> bool {
    how % WRAPPINGS > 9
}

/// Something else, with this value in it.
fn around(value: &Value, how: u8) -> Value {
    match how {
        10 => json!({
            "eventSource": "events.amazonaws.com",
            "eventName": "TestEventPattern",
            "requestParameters": { "event": value },
        }),
        11 => {
            json!({ "source": "a.b", "detail-type": "c", "detail": { "eventSource": "d", "eventName": "e" }, "f": value })
        }
        12 => json!({ "messageType": "CONTROL_MESSAGE", "logEvents": [{ "message": value }] }),
        _ => json!({ "eventType": "AwsCloudTrailInsight", "insightDetails": value }),
    }
}

/// True for an event of a call of ours.
fn is_ours(event: &Value) -> bool {
    let name = event.get("detail").unwrap_or(event)["eventName"].as_str().unwrap();
    CREDENTIAL_CALLS.contains(&name) || USER_CALLS.contains(&name)
}

fn said(found: &[Unwrapped]) -> Result<(), TestCaseError> {
    found.iter().try_for_each(|found| match found {
        // The parser reads the event, and only allowed fields of it.
        Unwrapped::Event(_) => Ok(()),
        Unwrapped::Unreadable(why) => has_no_secret(&why.to_string()),
        Unwrapped::Irrelevant(why) => has_no_secret(&why.to_string()),
    })
}

#[test]
fn an_event_is_found_or_said_to_be_unreadable_whatever_is_around_it() {
    let strategy = (prop::sample::select(EVENTS.as_slice()), prop::collection::vec(any::<u8>(), 0..14));
    check("unwrapping, any wrapping", &strategy, |(event, around)| {
        let value = around.iter().fold(event.clone(), |value, how| wrapped(&value, *how));
        let found = unwrap(&value);
        said(&found)?;
        let layers = around.iter().filter(|how| (4..10).contains(&(*how % WRAPPINGS))).count();
        let is_inside = around.iter().any(|how| is_around(*how));
        match &found[..] {
            [Unwrapped::Event(one)] if *one == event => {}
            // What is not ours is not looked for.
            _ if is_inside && !is_ours(&event) => {}
            [Unwrapped::Event(other)] if is_inside => {
                let read = bedrock_key_guard::event::parse(other);
                prop_assert!(read.is_err(), "passed over silently: {value}");
            }
            [Unwrapped::Unreadable(_)] if layers > 8 => {}
            // What is around it is said to be something else, beside.
            all if is_inside && all.iter().any(|one| matches!(one, Unwrapped::Unreadable(_))) => {}
            other => return Err(TestCaseError::fail(format!("{} found: {value}", other.len()))),
        }
        Ok(())
    });
}

#[test]
fn each_event_of_each_shape_is_found_whatever_else_is_damaged() {
    let strategy = (
        0..SHAPES,
        prop::collection::vec(prop::sample::select(EVENTS.as_slice()), 1..4),
        any::<Index>(),
        damage(),
    );
    check("unwrapping, shapes", &strategy, |(number, events, place, (at, damage))| {
        let whole = shape(number, &events);
        let found: Vec<_> = unwrap(&whole)
            .into_iter()
            .map(|found| match found {
                Unwrapped::Event(event) => event,
                other => panic!("{other:?}"),
            })
            .collect();
        prop_assert_eq!(&found, &events);
        // One of the events is damaged, in a text of its own.
        let mut bytes = events[place.index(events.len())].to_string().into_bytes();
        let place_of_damage = at.index(bytes.len());
        apply(&mut bytes, place_of_damage, &damage);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let mut others: Vec<_> = events.iter().map(|event| json!({ "message": event.to_string() })).collect();
        others.insert(place.index(others.len()), json!({ "message": text }));
        let found = unwrap(&json!({ "logEvents": others }));
        said(&found)?;
        for event in &events {
            let is_found =
                found.iter().any(|found| matches!(found, Unwrapped::Event(found) if found == event));
            prop_assert!(is_found, "the damage of another text costs this event: {event}");
        }
        // And the whole shape, as a text that may still be JSON.
        let mut bytes = whole.to_string().into_bytes();
        let place_of_damage = at.index(bytes.len());
        apply(&mut bytes, place_of_damage, &damage);
        serde_json::from_slice(&bytes).map_or(Ok(()), |value: Value| said(&unwrap(&value)))
    });
}
