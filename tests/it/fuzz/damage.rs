//! What happens to bytes and values on their way.

use std::ops::Range;

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::corpus::SECRETS;

/// What happens to a text at a place.
#[derive(Debug, Clone)]
pub enum Damage {
    Flip(u8),
    Cut(usize),
    Insert(Vec<u8>),
    /// A part of the text, once more.
    Splice(Index, usize),
    /// Nothing follows.
    End,
}

pub fn damage() -> impl Strategy<Value = (Index, Damage)> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        "\n",
        ",",
        "null",
        "{\"Records\":[",
        "]}",
        "\u{feff}",
        "\u{0}",
        "\\u0022",
        "{}",
        "1e999",
    ]);
    let damage = prop_oneof![
        3 => (1_u8..=255).prop_map(Damage::Flip),
        2 => (1_usize..40).prop_map(Damage::Cut),
        3 => piece.prop_map(|piece| Damage::Insert(piece.as_bytes().to_vec())),
        1 => prop::collection::vec(any::<u8>(), 1..8).prop_map(Damage::Insert),
        1 => (any::<Index>(), 1_usize..300).prop_map(|(from, length)| Damage::Splice(from, length)),
        1 => Just(Damage::End),
    ];
    (any::<Index>(), damage)
}

/// Damages a text, and returns which part of the original is gone.
pub fn apply(bytes: &mut Vec<u8>, at: usize, damage: &Damage) -> Range<usize> {
    match damage {
        Damage::Flip(bits) => {
            bytes[at] ^= bits;
            at..at + 1
        }
        Damage::Cut(length) => {
            let end = (at + length).min(bytes.len());
            bytes.drain(at..end);
            at..end
        }
        Damage::Insert(piece) => {
            bytes.splice(at..at, piece.iter().copied());
            at..at
        }
        Damage::Splice(from, length) => {
            let from = from.index(bytes.len());
            let part = bytes[from..(from + length).min(bytes.len())].to_vec();
            bytes.splice(at..at, part);
            at..at
        }
        Damage::End => {
            let end = bytes.len();
            bytes.truncate(at);
            at..end
        }
    }
}

/// What may stand where something else was expected.
pub fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,30}".prop_map(Value::from),
        prop::sample::select(SECRETS.as_slice()).prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[[{}]]])),
        prop::sample::select(SECRETS.as_slice()).prop_map(|secret| json!({ secret: [secret] })),
    ]
}

/// Replaces, removes or adds something anywhere in a value.
pub fn change(value: &mut Value, steps: &[Index], new: Option<&Value>) {
    let Some((step, rest)) = steps.split_first() else {
        *value = new.cloned().unwrap_or_default();
        return;
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let name = fields.keys().nth(step.index(fields.len())).unwrap().clone();
            match (rest, new) {
                ([], None) => {
                    fields.remove(&name);
                }
                _ => change(fields.get_mut(&name).unwrap(), rest, new),
            }
        }
        Value::Array(elements) if !elements.is_empty() => {
            let place = step.index(elements.len());
            change(&mut elements[place], rest, new);
        }
        other => *other = new.cloned().unwrap_or_default(),
    }
}
