//! EventBridge's patterns, as far as ours need them. `.ci/templates` has an emulator's matcher decide the same.

use key_guard_core::cloudtrail::{Irrelevant, ParsedEvent};
use serde_json::Value;

/// Every field of the pattern is there, with one of its values.
pub fn matches(pattern: &Value, event: &Value) -> bool {
    match pattern {
        Value::Object(fields) => fields.iter().all(|(name, inner)| match (name.as_str(), inner) {
            ("$or", Value::Array(alternatives)) => alternatives.iter().any(|one| matches(one, event)),
            (_, inner) => event.get(name).is_some_and(|value| matches(inner, value)),
        }),
        Value::Array(values) => values.iter().any(|value| match value {
            Value::Object(operator) => operator.iter().all(|(name, operand)| match name.as_str() {
                "anything-but" => !event.is_null() && !operand.as_array().unwrap().contains(event),
                "prefix" => event.as_str().is_some_and(|text| text.starts_with(operand.as_str().unwrap())),
                "exists" => !event.is_object() && *operand == true,
                "numeric" => operand[0] == ">" && event.as_i64() > operand[1].as_i64(),
                other => panic!("{other} is not known here"),
            }),
            value => value == event,
        }),
        other => panic!("{other} is no pattern"),
    }
}

/// Whether the parser calls an event ours: relevant, or one that cannot be read. Which user a call is about, and who made it,
/// the pattern leaves to the parser.
pub fn is_ours(event: &Value) -> bool {
    match bedrock_key_guard::event::parse(event) {
        Ok(ParsedEvent::Relevant(_)) | Err(_) => true,
        Ok(ParsedEvent::Irrelevant(Irrelevant::ConsolePolicy(_) | Irrelevant::UnnamedUser(_))) => true,
        Ok(ParsedEvent::Irrelevant(_)) => false,
    }
}
