//! The shape of an event: the names and types of its fields, and never a value.
//!
//! No real record of a created key has been published. The shapes that a deployment sees show which fields AWS really
//! sends, and can be logged and passed on.

use std::collections::BTreeSet;
use std::fmt;

use key_guard_core::text::redact;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Objects and arrays further down are not looked into. An event of IAM has six levels.
const MAX_DEPTH: usize = 10;

/// The first fields in the order of the alphabet. An event of IAM has about 60.
const MAX_FIELDS: usize = 200;

/// Longer names are no names of fields.
const MAX_NAME_LENGTH: usize = 64;

/// Between a path and its type: no name of a field has it.
const FIELD_SEPARATOR: &str = ": ";

/// The fields of an event with their types, sorted: `requestParameters.userName: string`.
///
/// The elements of an array share the path `name[]`. `?` stands for a name that is no usual name of a field.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventShape {
    fields: BTreeSet<String>,
    is_truncated: bool,
}

impl EventShape {
    /// The shape of an event.
    #[must_use]
    pub fn of(event: &Value) -> Self {
        let mut shape = Self { fields: BTreeSet::new(), is_truncated: false };
        shape.add(event, "", 0);
        shape
    }

    /// A short text that is the same for the same shape, in every build: 16 hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hex = format!("{:x}", Sha256::digest(self.to_string()));
        hex.truncate(16);
        hex
    }

    /// The paths of the fields with their types.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().filter_map(|field| field.split_once(FIELD_SEPARATOR))
    }

    fn add(&mut self, value: &Value, path: &str, depth: usize) {
        match value {
            Value::Object(fields) if !fields.is_empty() && depth < MAX_DEPTH => {
                for (name, value) in fields {
                    let dot = if path.is_empty() { "" } else { "." };
                    let name = if is_field_name(name) { name } else { "?" };
                    self.add(value, &format!("{path}{dot}{name}"), depth + 1);
                }
            }
            Value::Array(elements) if !elements.is_empty() && depth < MAX_DEPTH => {
                let path = format!("{path}[]");
                for element in elements {
                    self.add(element, &path, depth + 1);
                }
            }
            Value::Object(_) => self.add_field(path, "object"),
            Value::Array(_) => self.add_field(path, "array"),
            Value::Null => self.add_field(path, "null"),
            Value::Bool(_) => self.add_field(path, "boolean"),
            Value::Number(_) => self.add_field(path, "number"),
            Value::String(_) => self.add_field(path, "string"),
        }
    }

    /// Keeps the first fields of the alphabet, in whatever order they come.
    fn add_field(&mut self, path: &str, type_name: &'static str) {
        self.fields.insert(format!("{path}{FIELD_SEPARATOR}{type_name}"));
        if self.fields.len() > MAX_FIELDS {
            self.fields.pop_last();
            self.is_truncated = true;
        }
    }
}

/// On one line. `…` at the end: there are more fields.
impl fmt::Display for EventShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, field) in self.fields.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{field}")?;
        }
        if self.is_truncated { f.write_str(", …") } else { Ok(()) }
    }
}

/// A name from outside may be anything, also a secret.
fn is_field_name(name: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=MAX_NAME_LENGTH).contains(&name.len()) && name.bytes().all(is_usual) && redact(name) == name
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn shape(event: &Value) -> String {
        EventShape::of(event).to_string()
    }

    #[test]
    fn a_shape_has_the_sorted_paths_and_types() {
        let event = json!({
            "requestParameters": {"userName": "svc-chatbot", "credentialAgeDays": 90, "tags": []},
            "errorCode": null,
            "readOnly": false,
            "resources": [{"arn": "arn:aws:iam::111122223333:user/a"}, {"arn": "b", "type": {}}, 7],
        });
        assert_eq!(
            shape(&event),
            "errorCode: null, readOnly: boolean, requestParameters.credentialAgeDays: number, \
             requestParameters.tags: array, requestParameters.userName: string, resources[].arn: string, \
             resources[].type: object, resources[]: number"
        );
        assert_eq!(EventShape::of(&event).fingerprint().len(), 16);
        let shape = EventShape::of(&event);
        let listed: Vec<_> = shape.fields().map(|(path, type_name)| format!("{path}: {type_name}")).collect();
        assert_eq!(listed.join(", "), shape.to_string());
    }

    #[test]
    fn the_fingerprint_depends_on_paths_and_types_only() {
        let fingerprint = |text: &str| EventShape::of(&serde_json::from_str(text).unwrap()).fingerprint();
        let first = fingerprint(r#"{"a": 1, "b": {"c": "x"}}"#);
        assert_eq!(first, "9bcf35f8dce88d43");
        assert_eq!(fingerprint(r#"{"b": {"c": ""}, "a": 2.5}"#), first);
        for other in [r#"{"a": "1", "b": {"c": "x"}}"#, r#"{"a": 1, "b.c": null}"#, r#"{"a": 1}"#, "{}", "1"]
        {
            assert_ne!(fingerprint(other), first, "{other}");
        }
    }

    #[test]
    fn a_name_that_is_no_name_of_a_field_is_not_printed() {
        for (name, expected) in [
            ("service-Specific_Credential.v2", "service-Specific_Credential.v2"),
            ("", "?"),
            ("two words", "?"),
            ("größe", "?"),
            ("line\nend", "?"),
            ("a/b+c=", "?"),
            ("ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl", "?"),
            (&"x".repeat(64), &"x".repeat(64)),
            (&"x".repeat(65), "?"),
        ] {
            assert_eq!(shape(&json!({name: {"b": 1}})), format!("{expected}.b: number"));
        }
    }

    #[test]
    fn a_shape_is_bounded() {
        let deep = (0..100).fold(json!("leaf"), |inner, _| json!({"a": [inner]}));
        assert_eq!(shape(&deep), "a[].a[].a[].a[].a[]: object");
        let fields = |numbers: &mut dyn Iterator<Item = u32>| -> Value {
            Value::Object(numbers.map(|number| (format!("f{number:04}"), Value::Null)).collect())
        };
        let wide = EventShape::of(&fields(&mut (0..1_000)));
        assert_eq!(wide.fields.len(), MAX_FIELDS);
        assert!(wide.to_string().ends_with("f0199: null, …"), "{wide}");
        assert_eq!(EventShape::of(&fields(&mut (0..1_000).rev())), wide);
        assert_ne!(EventShape::of(&fields(&mut (0..200))), wide);
    }

    /// The same event with other values of the same types.
    fn with_other_values(value: &Value) -> Value {
        match value {
            Value::Object(fields) => Value::Object(
                fields.iter().map(|(name, value)| (name.clone(), with_other_values(value))).collect(),
            ),
            Value::Array(elements) => elements.iter().map(with_other_values).collect(),
            Value::Null => Value::Null,
            Value::Bool(value) => json!(!value),
            Value::Number(_) => json!(987_654_321),
            Value::String(_) => json!("another text"),
        }
    }

    #[test]
    fn the_shape_of_every_example_event_is_the_same_with_other_values() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("events");
        let mut count = 0;
        for file in std::fs::read_dir(directory).unwrap() {
            let event: Value = serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
            let other = with_other_values(&event);
            assert_ne!(other, event);
            assert_eq!(EventShape::of(&other), EventShape::of(&event));
            assert!(!EventShape::of(&event).is_truncated);
            count += 1;
        }
        assert!(count > 20, "{count}");
    }

    /// JSON whose values are unlike its names.
    fn any_event() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            "VALUE[A-Z0-9 +/=é\u{202e}-]{1,60}".prop_map(Value::from),
            (1_000_000_u64..).prop_map(Value::from),
            Just(Value::Null),
            prop::bool::ANY.prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec(("[a-d_.-]{0,8}|[a-dé ]{1,4}|[a-d]{60,70}", inner), 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn assert_no_value(value: &Value, text: &str) {
        match value {
            Value::Object(fields) => fields.values().for_each(|value| assert_no_value(value, text)),
            Value::Array(elements) => elements.iter().for_each(|value| assert_no_value(value, text)),
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => assert!(!text.contains(&number.to_string()), "{text}"),
            Value::String(value) => assert!(!text.contains(value) && !text.contains("VALUE"), "{text}"),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_value_ever_appears(event in any_event()) {
            let text = shape(&event);
            assert_no_value(&event, &text);
            prop_assert!(!text.contains("true") && !text.contains("false"));
            prop_assert_eq!(shape(&with_other_values(&event)), text);
        }
    }
}
