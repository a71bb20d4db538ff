//! JSON in which no field is lost.
//!
//! An object may have a field more than once (RFC 8259, section 4: names *should* be unique, and what readers make of others is
//! unpredictable). `serde_json` keeps the last one. Nobody knows which of them is meant, so here such a field is a
//! [`repeated`] one: a list of all its values, behind a text that says what it is. Whatever needs a text or an object there
//! finds none.

use std::fmt;
use std::slice;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};

const REPEATED: &str = "(a field that is there more than once)";

/// Reads a value of JSON. A field that is there more than once has a list of its values.
///
/// # Errors
/// When it is no JSON.
pub fn from_json(json: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(json).map(|AllFields(value)| value)
}

/// Reads values of JSON, one behind the other.
///
/// # Errors
/// When one of them is no JSON.
pub fn values_from_json(json: &[u8]) -> serde_json::Result<Vec<Value>> {
    serde_json::Deserializer::from_slice(json)
        .into_iter()
        .map(|value| value.map(|AllFields(value)| value))
        .collect()
}

/// The values of a field that is there more than once.
pub(super) fn repeated(value: &Value) -> Option<&[Value]> {
    match value.as_array()?.split_first()? {
        (Value::String(mark), values) if mark == REPEATED => Some(values),
        _ => None,
    }
}

/// The text of a field, or all of its texts where it is there more than once.
pub(super) fn texts<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    let values = value.get(field).map(|value| repeated(value).unwrap_or(slice::from_ref(value)));
    values.unwrap_or_default().iter().filter_map(Value::as_str)
}

/// A value as [`from_json`] reads it.
pub(super) struct AllFields(pub(super) Value);

impl<'de> Deserialize<'de> for AllFields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyValue).map(Self)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(AllFields(value)) = elements.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some((name, AllFields(value))) = entries.next_entry::<String, _>()? {
            match fields.entry(name) {
                Entry::Vacant(field) => drop(field.insert(value)),
                Entry::Occupied(mut field) => {
                    let field = field.get_mut();
                    if repeated(field).is_none() {
                        *field = Value::from([REPEATED.into(), field.take()]);
                    }
                    field.as_array_mut().into_iter().for_each(|values| values.push(value.clone()));
                }
            }
        }
        Ok(fields.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_read_as_it_is_and_a_repeated_field_has_all_its_values() {
        for text in ["null", "[true, -1, 18446744073709551615, 1.5, \"a\\u0041\"]", "{\"a\": {\"b\": [{}]}}"]
        {
            assert_eq!(from_json(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        }
        let value = from_json(br#"{"a": [{"b": 1, "c": "x", "\u0062": [2], "b": null}], "d": 0}"#).unwrap();
        assert_eq!(repeated(&value["a"][0]["b"]).unwrap(), [json!(1), json!([2]), Value::Null]);
        assert_eq!((&value["a"][0]["c"], &value["d"]), (&json!("x"), &json!(0)));
        let value = from_json(br#"{"a": "x", "b": "y", "a": "z", "a": 1}"#).unwrap();
        assert_eq!(texts(&value, "a").collect::<Vec<_>>(), ["x", "z"]);
        assert_eq!(texts(&value, "b").collect::<Vec<_>>(), ["y"]);
        assert_eq!(texts(&value, "c").count(), 0);
        for wrong in [&b"{"[..], b"{} {}", b"", &[b'['; 200]] {
            assert!(from_json(wrong).is_err());
        }
    }
}
