//! The form of an item in DynamoDB: its keys, its places in the indexes and its version beside the fields of its body.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::ledger::port::{Entry, Index, Item, ItemKey, place_fields};

/// An item as the SDK has it.
pub(super) type Attributes = HashMap<String, AttributeValue>;

const PK: &str = "pk";
const SK: &str = "sk";
pub(super) const VERSION: &str = "version";

/// # Errors
/// Never in practice: JSON has nothing that DynamoDB has not.
pub(super) fn to_attributes(item: Item) -> Result<Attributes, serde_dynamo::Error> {
    let mut attributes: Attributes = serde_dynamo::to_item(item.body)?;
    attributes.extend(primary_key(&item.key));
    attributes
        .extend(item.places.into_iter().map(|(field, place)| (field.to_owned(), AttributeValue::S(place))));
    let version = item.version.map(|version| AttributeValue::N(version.to_string()));
    attributes.extend(version.map(|version| (VERSION.to_owned(), version)));
    Ok(attributes)
}

/// An item whose body has no form in JSON, such as a binary field, is not the guard's. It has none here.
pub(super) fn of_attributes(mut attributes: Attributes) -> Item {
    let key = ItemKey { pk: take(&mut attributes, PK), sk: take(&mut attributes, SK) };
    let places = place_fields().filter_map(|field| Some((field, text(attributes.remove(field)?)?))).collect();
    let version = attributes.remove(VERSION).and_then(|version| version.as_n().ok()?.parse().ok());
    let body = serde_dynamo::from_item(attributes).unwrap_or_default();
    Item { key, places, version, body }
}

pub(super) fn primary_key(key: &ItemKey) -> Attributes {
    let text = |text: &String| AttributeValue::S(text.clone());
    HashMap::from([(PK.to_owned(), text(&key.pk)), (SK.to_owned(), text(&key.sk))])
}

pub(super) fn key_of(attributes: &Attributes) -> ItemKey {
    let text = |field| attributes.get(field).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default();
    ItemKey { pk: text(PK), sk: text(SK) }
}

pub(super) fn entry_of(index: Index, attributes: &Attributes) -> Entry {
    let at = attributes.get(index.sort).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default();
    Entry { at, key: key_of(attributes) }
}

/// The `ExclusiveStartKey` of a page of an index that begins behind `after`.
pub(super) fn start_of(index: Index, partition: &str, after: &Entry) -> Attributes {
    let mut start = primary_key(&after.key);
    start.insert(index.field.to_owned(), AttributeValue::S(partition.to_owned()));
    start.insert(index.sort.to_owned(), AttributeValue::S(after.at.clone()));
    start
}

fn take(attributes: &mut Attributes, field: &str) -> String {
    attributes.remove(field).and_then(text).unwrap_or_default()
}

fn text(value: AttributeValue) -> Option<String> {
    if let AttributeValue::S(text) = value { Some(text) } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::ledger::port::DUE_AT;

    /// What a body may have: no nulls, which are not written, and no numbers that are whole and have a fraction.
    fn value() -> BoxedStrategy<Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            proptest::sample::select(vec![0, u64::MAX, 1 << 53, (1 << 53) + 1]).prop_map(Value::from),
            proptest::sample::select(vec![i64::MIN, -1]).prop_map(Value::from),
            any::<i32>().prop_map(|number| Value::from(f64::from(number) + 0.5)),
            any::<i32>()
                .prop_map(|number| Value::from(f64::from(number) * 0.1 + 0.01))
                .prop_filter("whole", is_fraction),
            ".{0,20}".prop_map(Value::from),
        ];
        let inner = leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..6).prop_map(Value::from),
                btree_map(".{0,9}", inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        });
        inner.boxed()
    }

    fn is_fraction(value: &Value) -> bool {
        value.as_f64().is_some_and(|number| number.fract() != 0.0)
    }

    fn item() -> impl Strategy<Value = Item> {
        let places = vec(option::of("[ -~]{1,20}"), place_fields().count());
        let body = btree_map("[a-uw-z_]{0,9}", value(), 0..8);
        (".{1,20}", ".{1,20}", places, option::of(any::<u64>()), body).prop_map(
            |(pk, sk, places, version, body)| {
                let places =
                    place_fields().zip(places).filter_map(|(field, place)| Some((field, place?))).collect();
                let is_free = |field: &String| {
                    field != PK && field != SK && !field.ends_with("_key") && field != DUE_AT
                };
                let body: Map<_, _> = body.into_iter().filter(|(field, _)| is_free(field)).collect();
                Item { key: ItemKey { pk, sk }, places, version, body }
            },
        )
    }

    use proptest::option;

    proptest! {
        #[test]
        fn an_item_comes_back_equal(item in item()) {
            prop_assert_eq!(of_attributes(to_attributes(item.clone()).unwrap()), item);
        }
    }

    #[test]
    fn what_has_no_form_in_json_has_no_body() {
        let binary = AttributeValue::B(aws_sdk_dynamodb::primitives::Blob::new([1]));
        let attributes =
            HashMap::from([(PK.to_owned(), AttributeValue::S("p".to_owned())), ("a".to_owned(), binary)]);
        let item = of_attributes(attributes);
        assert_eq!((item.key.pk.as_str(), item.body), ("p", Map::new()));
        let text = HashMap::from([("a".to_owned(), AttributeValue::Ss(vec!["b".to_owned()]))]);
        assert_eq!(Value::Object(of_attributes(text).body), json!({"a": ["b"]}));
    }
}
