//! Events in whatever is around them, in any order and depth.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use key_guard_core::cloudtrail::{Unwrapped, unwrap};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::corpus::{EVENTS, SECRETS, SHAPES, gzipped, shape};
use super::damage::{apply, damage};
use super::{check, has_no_secret};

/// Puts something around a value.
fn wrapped(value: &Value, how: u8) -> Value {
    match how % 9 {
        0 => json!({ "body": value }),
        1 => json!([1, value, null]),
        2 => json!({ "eventID": "x", "eventTime": "2026-11-20T09:07:11Z", "item": value }),
        3 => json!({ SECRETS[2]: value }),
        4 => Value::String(value.to_string()),
        5 => Value::String(format!("  {value:#}\n")),
        6 => Value::String(STANDARD.encode(value.to_string())),
        7 => Value::String(URL_SAFE_NO_PAD.encode(value.to_string())),
        _ => Value::String(STANDARD.encode(gzipped(value.to_string().as_bytes()))),
    }
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
        let layers = around.iter().filter(|how| *how % 9 >= 4).count();
        match &found[..] {
            [Unwrapped::Event(one)] => prop_assert_eq!(one, &event),
            [Unwrapped::Unreadable(_)] if layers > 8 => {}
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
