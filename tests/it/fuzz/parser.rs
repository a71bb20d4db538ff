//! Records whose fields are missing, of another type, or somebody's secret.

use key_guard_core::cloudtrail::{ParsedEvent, from_json, parse_record};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::corpus::{EVENTS, SECRETS};
use super::damage::{any_value, change};
use super::{check, has_no_secret};

#[test]
fn whatever_a_record_has_it_is_read_or_said_to_be_unreadable() {
    let changes = prop::collection::vec(
        (prop::collection::vec(any::<Index>(), 1..5), prop::option::of(any_value())),
        0..4,
    );
    let strategy = (prop::sample::select(EVENTS.as_slice()), changes);
    check("parser", &strategy, |(mut event, changes)| {
        let untouched = event.clone();
        for (steps, new) in &changes {
            change(&mut event, steps, new.as_ref());
        }
        let said = match parse_record(&event) {
            Ok(read) => format!("{read:?}"),
            Err(why) => why.to_string(),
        };
        has_no_secret(&without_user_names(said))?;
        let read = bedrock_key_guard::event::parse(&event);
        // Nothing but a change of what it says makes another event of it.
        if event == untouched {
            prop_assert_eq!(&read, &bedrock_key_guard::event::parse(&untouched));
        }
        match read {
            Ok(ParsedEvent::Relevant(event)) => has_no_secret(&without_user_names(format!("{event:?}"))),
            Ok(ParsedEvent::Irrelevant(why)) => has_no_secret(&why.to_string()),
            Err(why) => has_no_secret(&why.to_string()),
        }
    });
}

/// A call that succeeded has named a user that there is: its name is no secret, whatever it looks like, and the guard needs
/// it as it is to reach the user's keys. Those of failed calls are redacted.
fn without_user_names(said: String) -> String {
    SECRETS.iter().fold(said, |said, secret| said.replace(&format!("UserName(\"{secret}\")"), ""))
}

/// An event as JSON in which one field is there twice.
fn with_field_twice(event: &Value, steps: &[Index], values: [&Value; 2]) -> Value {
    let mut event = event.clone();
    let (mut at, mut name) = (&mut event, String::new());
    for step in steps {
        if at.as_object().is_none_or(serde_json::Map::is_empty) {
            break;
        }
        let fields = at.as_object_mut().unwrap();
        name = fields.keys().nth(step.index(fields.len())).unwrap().clone();
        at = fields.get_mut(&name).unwrap();
    }
    *at = "@twice@".into();
    let [first, second] = values;
    let twice = event.to_string().replace("\"@twice@\"", &format!("{first},\"{name}\":{second}"));
    from_json(twice.as_bytes()).unwrap()
}

#[test]
fn of_a_field_that_is_there_twice_neither_is_taken() {
    let strategy = (
        prop::sample::select(EVENTS.as_slice()),
        prop::collection::vec(any::<Index>(), 1..6),
        prop::option::of(any_value()),
    );
    check("parser, fields twice", &strategy, |(event, steps, new)| {
        let one = Value::from("svc-guessed");
        let other = new.unwrap_or_else(|| "Inactive".into());
        let read = |values| bedrock_key_guard::event::parse(&with_field_twice(&event, &steps, values)).ok();
        let found = read([&one, &other]);
        prop_assert_eq!(&found, &read([&other, &one]));
        prop_assert!(!format!("{found:?}").contains("svc-guessed"), "{found:?}");
        Ok(())
    });
}
