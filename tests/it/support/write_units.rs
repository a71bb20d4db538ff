//! What a transaction costs, counted from the sizes of its items and from where the indexes have them.
//!
//! A transaction writes each item twice: two units for each KB of the item (DynamoDB developer guide, *Read/write capacity
//! mode*). An index takes one unit for an entry that is put or removed, two for one that moves, and none where its keys
//! and projected attributes stay (*Provisioned throughput considerations for global secondary indexes*). A name counts as
//! many bytes as it has, a text too (*DynamoDB item sizes and formats*).

use bedrock_key_guard::ledger::INDEXES;
use dynoxide::Database;
use serde_json::{Value, json};

/// The items that a transaction writes.
pub struct Written {
    table: Value,
    keys: Vec<Value>,
}

impl Written {
    pub fn by(transaction: &[u8]) -> Self {
        let transaction: Value = serde_json::from_slice(transaction).unwrap();
        let writes = transaction["TransactItems"].as_array().unwrap();
        let table = writes[0].as_object().unwrap().values().next().unwrap()["TableName"].clone();
        let key_of = |write: &Value| match &write["Put"]["Item"] {
            Value::Null => write["Update"]["Key"].clone(),
            item => json!({"pk": item["pk"], "sk": item["sk"]}),
        };
        Self { table, keys: writes.iter().map(key_of).collect() }
    }

    pub fn items(&self, database: &Database) -> Vec<Value> {
        let item = |key: &Value| {
            let request = json!({"TableName": self.table, "Key": key});
            // A table that is not there has no items.
            let answer = database.get_item(serde_json::from_value(request).unwrap()).ok();
            answer.map_or(Value::Null, |answer| serde_json::to_value(answer).unwrap()["Item"].clone())
        };
        self.keys.iter().map(item).collect()
    }
}

/// The units of a transaction that found these items, and left those.
pub fn units(before: &[Value], after: &[Value]) -> u64 {
    before.iter().zip(after).map(|(before, after)| units_of_item(before, after)).sum()
}

fn units_of_item(before: &Value, after: &Value) -> u64 {
    let kilobytes = size_of_fields(after).max(size_of_fields(before)).div_ceil(1_024) as u64;
    let moved = |index: &bedrock_key_guard::ledger::Index| {
        let place = |item: &Value| match (&item[index.field], &item[index.sort]) {
            (Value::Null, _) | (_, Value::Null) => None,
            (field, sort) => Some((field.clone(), sort.clone())),
        };
        match (place(before), place(after)) {
            (before, after) if before == after => 0,
            (Some(_), Some(_)) => 2,
            (None, _) | (_, None) => 1,
        }
    };
    2 * kilobytes + INDEXES.iter().map(moved).sum::<u64>()
}

/// How many bytes the fields of an item have.
pub fn size_of_fields(fields: &Value) -> usize {
    let fields = fields.as_object().into_iter().flatten();
    fields.map(|(name, value)| name.len() + size_of_value(value)).sum()
}

fn size_of_value(value: &Value) -> usize {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    match (kind.as_str(), value) {
        ("S", text) => text.as_str().unwrap().len(),
        ("M", fields) => 3 + fields.as_object().unwrap().len() + size_of_fields(fields),
        ("L", elements) => {
            let elements = elements.as_array().unwrap();
            3 + elements.iter().map(|element| 1 + size_of_value(element)).sum::<usize>()
        }
        // Two digits a byte, and one more.
        ("N", number) => number.as_str().unwrap().len().div_ceil(2) + 1,
        ("BOOL" | "NULL", _) => 1,
        (other, _) => panic!("{other} is not known here"),
    }
}
