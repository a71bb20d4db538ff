//! Access to the fields of a CloudTrail record by their dotted paths.

use std::borrow::Cow;
use std::str::FromStr;

use serde_json::Value;

use super::event::Unreadable;
use super::json::{from_json, repeated};
use crate::evidence::Found;
use crate::text::{Invalid, redact};

/// CloudTrail writes these flags as the texts `true` and `false`, other tools as booleans.
pub(super) fn flag(record: &Value, path: &str) -> Option<bool> {
    match at(record, path) {
        Ok(Some(Value::Bool(flag))) => Some(*flag),
        Ok(Some(Value::String(text))) => text.parse().ok(),
        Ok(_) | Err(_) => None,
    }
}

/// The record, where tools have made texts of its objects: Athena, Splunk and exports of tables do.
pub(super) fn with_objects(record: &Value) -> Cow<'_, Value> {
    const OBJECTS: [&str; 5] =
        ["userIdentity", "requestParameters", "responseElements", "additionalEventData", "addendum"];
    let mut record = Cow::Borrowed(record);
    for name in OBJECTS {
        let Some(Value::String(text)) = record.get(name) else { continue };
        if let Ok(object @ Value::Object(_)) = from_json(text.as_bytes())
            && let Some(field) = record.to_mut().get_mut(name)
        {
            *field = object;
        }
    }
    record
}

/// The value at a dotted path; `None` where it, or an object on the way, is absent or null.
pub(super) fn at<'a>(record: &'a Value, path: &str) -> Result<Option<&'a Value>, Unreadable> {
    let mut value = record;
    let mut walked = 0;
    for name in path.split('.') {
        value = match value {
            Value::Object(fields) => match fields.get(name) {
                None | Some(Value::Null) => return Ok(None),
                Some(inner) => inner,
            },
            other
            @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                let parent = path.get(..walked.max(1) - 1).unwrap_or(path);
                return Err(Unreadable::new(parent, "an object", describe(other)));
            }
        };
        walked += name.len() + 1;
    }
    Ok(Some(value))
}

pub(super) fn text<'a>(record: &'a Value, path: &str) -> Result<Option<&'a str>, Unreadable> {
    match at(record, path)? {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Unreadable::new(path, "a text", describe(other))),
    }
}

/// What tools write into a table where there is nothing.
#[must_use]
pub fn is_null(text: &str) -> bool {
    const WORDS: [&str; 9] = ["", "-", "\\N", "null", "none", "nan", "nil", "n/a", "undefined"];
    let word = text.trim_matches(|c: char| c.is_whitespace() || "[]()<>\"'".contains(c));
    WORDS.iter().any(|other| other.eq_ignore_ascii_case(word))
}

/// The error that a call ended with. `created`: what only the response to a successful call has.
pub(super) fn error_code<'a>(record: &'a Value, created: &str) -> Result<Option<&'a str>, Unreadable> {
    const PATH: &str = "errorCode";
    let is_error = |code: &&str| !is_null(code) && !code.eq_ignore_ascii_case("success");
    let code = text(record, PATH)?.filter(is_error);
    if code.is_some() && at(record, created).is_ok_and(|created| created.is_some()) {
        return Err(Unreadable::new(PATH, "no error, since there is a response", "another text"));
    }
    Ok(code)
}

pub(super) fn require<'a>(
    record: &'a Value,
    path: &str,
    expected: &'static str,
) -> Result<&'a str, Unreadable> {
    text(record, path)?.ok_or_else(|| Unreadable::new(path, expected, "nothing"))
}

pub(super) fn optional<T: FromStr<Err = Invalid>>(
    record: &Value,
    path: &str,
) -> Result<Option<T>, Unreadable> {
    text(record, path)?
        .map(|text| text.parse().map_err(|invalid| Unreadable::invalid(path, invalid)))
        .transpose()
}

pub(super) fn needed<T: FromStr<Err = Invalid>>(
    record: &Value,
    path: &str,
    expected: &'static str,
) -> Result<T, Unreadable> {
    require(record, path, expected)?.parse().map_err(|invalid| Unreadable::invalid(path, invalid))
}

/// For what is good to know of a call that did nothing. What was asked for may be anything that someone has pasted.
pub(super) fn lenient<T: FromStr>(record: &Value, path: &str) -> Option<T> {
    text(record, path).ok().flatten().filter(|asked| redact(asked) == *asked)?.parse().ok()
}

pub(super) fn first_present<'p>(
    record: &Value,
    first: &'p str,
    second: &'p str,
) -> Result<&'p str, Unreadable> {
    Ok(if at(record, first)?.is_some() { first } else { second })
}

/// Names the kind of a value without repeating it.
#[must_use]
pub fn describe(value: &Value) -> String {
    if repeated(value).is_some() {
        return "more than one field of this name".to_owned();
    }
    found(value).map_or_else(|| "null".to_owned(), |found| found.to_string())
}

/// The kind of a value; `None` for null.
pub(super) fn found(value: &Value) -> Option<Found> {
    match value {
        Value::Null => None,
        Value::Bool(_) => Some(Found::Boolean),
        Value::Number(_) => Some(Found::Number),
        Value::String(text) => Some(Found::Text(text.chars().count())),
        Value::Array(items) => Some(Found::List(items.len())),
        Value::Object(_) => Some(Found::Object),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_through_something_else_names_where_it_broke() {
        let record = serde_json::json!({"responseElements": "masked"});
        let error = at(&record, "responseElements.serviceSpecificCredential.userName").unwrap_err();
        assert_eq!(
            error.to_string(),
            "field responseElements: expected an object, found a text of 6 characters"
        );
    }
}
