//! What every item has: its keys, its kind and the version of its schema.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::SecondsFormat;
use serde::de::DeserializeOwned;

use crate::ledger::error::LedgerError;
use crate::ledger::item::{self, partition};
use key_guard_core::Time;
use key_guard_core::key::KeyRef;
use key_guard_core::text::sanitize_field;

/// The version of the items that this build writes and reads.
pub const SCHEMA_VERSION: u32 = 4;

/// What an item is: its field `kind`.
pub(in crate::ledger) mod kind {
    pub(in crate::ledger) const RECORD: &str = "record";
    pub(in crate::ledger) const TOMBSTONE: &str = "tombstone";
    pub(in crate::ledger) const UNCONFIRMED: &str = "unconfirmed";
    pub(in crate::ledger) const DRY_RUN: &str = "dry_run";
    pub(in crate::ledger) const LOG: &str = "log";
    pub(in crate::ledger) const FORMER_NAME: &str = "former_name";
    pub(in crate::ledger) const FAILED_CALL: &str = "failed_call";
    pub(in crate::ledger) const ACCESS_KEY_CREATED: &str = "access_key_created";
    pub(in crate::ledger) const SWEEP: &str = "sweep";
}

/// An item as DynamoDB has it.
pub(in crate::ledger) type Attributes = HashMap<String, AttributeValue>;

/// The keys of an item in the indexes, by field.
pub(super) type IndexKeys = Vec<(&'static str, String)>;

/// Something that has no form as an item. Only a defect makes one.
#[derive(Debug, thiserror::Error)]
pub(in crate::ledger) enum EncodeError {
    /// A commit has to store something.
    #[error("a commit of nothing")]
    Unknown,
    /// serde's own.
    #[error(transparent)]
    Serde(#[from] serde_dynamo::Error),
}

/// The primary key of a key's item.
pub(in crate::ledger) fn place(key: &KeyRef, sk: &str) -> Attributes {
    item::place(&partition(key), sk)
}

/// The primary key of an item, which an error names.
pub(in crate::ledger) fn place_of(item: &Attributes) -> Attributes {
    let fields = ["pk", "sk"].into_iter().filter_map(|field| item.get_key_value(field));
    fields.map(|(field, value)| (field.clone(), value.clone())).collect()
}

/// A time in a sort key: always of the same form, so that texts sort as times do.
pub(super) fn to_millisecond(time: Time) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

pub(super) fn assemble(
    place: Attributes,
    kind: &str,
    mut content: Attributes,
    index: IndexKeys,
) -> Attributes {
    remove_nulls(&mut content);
    content.extend(place);
    content.insert("v".to_owned(), AttributeValue::N(SCHEMA_VERSION.to_string()));
    content.insert("kind".to_owned(), AttributeValue::S(kind.to_owned()));
    content.extend(index.into_iter().map(|(field, key)| (field.to_owned(), AttributeValue::S(key))));
    content
}

/// Absent values are not written: serde reads a missing field as absent, too.
fn remove_nulls(fields: &mut Attributes) {
    fields.retain(|_, value| !value.is_null());
    for value in fields.values_mut() {
        if let AttributeValue::M(inner) = value {
            remove_nulls(inner);
        }
    }
}

/// What an item of this schema version is.
///
/// # Errors
/// That it has another schema version, or none.
pub(in crate::ledger) fn read_kind(item: &Attributes) -> Result<String, String> {
    match item.get("v").map(AttributeValue::as_n) {
        Some(Ok(version)) if version.parse() == Ok(SCHEMA_VERSION) => {}
        Some(Ok(version)) => {
            return Err(format!("its schema version is {version}; this build reads {SCHEMA_VERSION}"));
        }
        Some(Err(_)) | None => return Err("it has no schema version, so it is not the guard's".to_owned()),
    }
    text(item, "kind").map(str::to_owned).ok_or_else(|| "it has no kind".to_owned())
}

pub(super) fn read<T: DeserializeOwned>(item: Attributes) -> Result<T, String> {
    serde_dynamo::from_item(item).map_err(|error| error.to_string())
}

pub(in crate::ledger) fn unexpected_kind(kind: &str) -> String {
    format!("its kind, {}, is not known here", sanitize_field(kind))
}

/// A text field.
pub(in crate::ledger) fn text<'a>(item: &'a Attributes, field: &str) -> Option<&'a str> {
    item.get(field).and_then(|value| value.as_s().ok()).map(String::as_str)
}

/// An item that cannot be read, named by its primary key as far as it has one.
pub(in crate::ledger) fn unreadable(item: &Attributes, why: String) -> LedgerError {
    let field = |name: &str| text(item, name).map_or_else(|| format!("(no {name})"), sanitize_field);
    LedgerError::Unreadable { pk: field("pk"), sk: field("sk"), why }
}
