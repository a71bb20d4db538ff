//! The form of an item in DynamoDB: its keys, its places in the indexes and its version beside the fields of its body.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::ledger::port::{AT_KEY, INDEXES, Index, Item, ItemKey, Position};

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
    let fields = INDEXES.iter().map(|index| index.field).chain([AT_KEY]);
    let places = fields.filter_map(|field| Some((field, text(attributes.remove(field)?)?))).collect();
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

/// Where a page ended, from DynamoDB's `LastEvaluatedKey`.
pub(super) fn position_of(mut last: Attributes) -> Position {
    let key = ItemKey { pk: take(&mut last, PK), sk: take(&mut last, SK) };
    Position { key, at_key: last.remove(AT_KEY).and_then(text) }
}

/// The `ExclusiveStartKey` of a page that begins behind `after`.
pub(super) fn start_of(index: Option<Index>, partition: &str, after: &Position) -> Attributes {
    let mut start = primary_key(&after.key);
    if let Some(index) = index {
        start.insert(index.field.to_owned(), AttributeValue::S(partition.to_owned()));
        start.insert(AT_KEY.to_owned(), AttributeValue::S(after.at_key.clone().unwrap_or_default()));
    }
    start
}

fn take(attributes: &mut Attributes, field: &str) -> String {
    attributes.remove(field).and_then(text).unwrap_or_default()
}

fn text(value: AttributeValue) -> Option<String> {
    if let AttributeValue::S(text) = value { Some(text) } else { None }
}
