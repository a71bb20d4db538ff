//! What every item has: its keys, its kind and the version of its schema.

use chrono::SecondsFormat;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::ledger::error::LedgerError;
use crate::ledger::port::{Item, ItemKey};
use key_guard_core::Time;
use key_guard_core::key::{CredentialId, KeyRef};
use key_guard_core::lifecycle::state::UnknownFields;
use key_guard_core::text::{Invalid, redact, sanitize_field, sanitize_line};

/// Comes before the partition keys of keys.
const KEY: &str = "KEY#";

/// The version of the items that this build writes and reads.
pub const SCHEMA_VERSION: u32 = 4;

/// What an item is: its field `kind`.
pub(in crate::ledger) mod kind {
    pub(in crate::ledger) const RECORD: &str = "record";
    pub(in crate::ledger) const TOMBSTONE: &str = "tombstone";
    pub(in crate::ledger) const UNCONFIRMED: &str = "unconfirmed";
    pub(in crate::ledger) const DRY_RUN: &str = "dry_run";
    pub(in crate::ledger) const UNASSESSED_DRY_RUN: &str = "unassessed_dry_run";
    pub(in crate::ledger) const LOG: &str = "log";
    pub(in crate::ledger) const FORMER_NAME: &str = "former_name";
    pub(in crate::ledger) const ATTEMPTS: &str = "attempts";
    pub(in crate::ledger) const USER_CHANGED: &str = "user_changed";
    pub(in crate::ledger) const UNJUDGED_KEY: &str = "unjudged_key";
    pub(in crate::ledger) const SWEEP: &str = "sweep";
    pub(in crate::ledger) const HEARD: &str = "heard";
    pub(in crate::ledger) const POLICY: &str = "policy";
    #[cfg(feature = "cli")]
    pub(in crate::ledger) const USE: &str = "use";
    #[cfg(feature = "cli")]
    pub(in crate::ledger) const USAGE_COVERAGE: &str = "usage_coverage";
}

/// The keys of an item in the indexes, by field.
pub(super) type IndexKeys = Vec<(&'static str, String)>;

/// Something that has no form as an item. Only a defect makes one.
#[derive(Debug, thiserror::Error)]
pub(in crate::ledger) enum EncodeError {
    /// A commit has to store something.
    #[error("a commit of nothing")]
    Unknown,
    /// A body has fields.
    #[error("an item without fields")]
    NoFields,
    /// serde's own.
    #[error(transparent)]
    Serde(#[from] serde_json::Error),
}

/// The partition of a credential id, whatever the account.
pub(in crate::ledger) fn partition(id: &CredentialId) -> String {
    format!("{KEY}{id}")
}

/// What the sort keys of a key's items begin with.
pub(in crate::ledger) fn prefix(key: &KeyRef) -> String {
    format!("{}#", key.account)
}

/// The primary key of a key's item.
pub(in crate::ledger) fn place(key: &KeyRef, what: &str) -> ItemKey {
    ItemKey::new(partition(&key.id), prefix(key) + what)
}

/// Which key an item is of, and what of it.
///
/// # Errors
/// What is wrong with its primary key, in words.
pub(in crate::ledger) fn key_of(item: &ItemKey) -> Result<(KeyRef, &str), String> {
    let invalid = |error: Invalid| error.to_string();
    let id = item.pk.strip_prefix(KEY).ok_or("its partition is not one of a key")?;
    let (account, what) = item.sk.split_once('#').ok_or("its sort key names no account")?;
    let account = account.parse().map_err(invalid)?;
    Ok((KeyRef { account, id: id.parse().map_err(invalid)? }, what))
}

/// A time in a sort key: always of the same form, so that texts sort as times do.
pub(super) fn to_millisecond(time: Time) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

pub(super) fn assemble(key: ItemKey, kind: &str, mut body: Map<String, Value>, places: IndexKeys) -> Item {
    remove_nulls(&mut body);
    body.insert("v".to_owned(), SCHEMA_VERSION.into());
    body.insert("kind".to_owned(), kind.into());
    Item { key, places, version: None, body }
}

/// Absent values are not written: serde reads a missing field as absent, too.
fn remove_nulls(fields: &mut Map<String, Value>) {
    fields.retain(|_, value| !value.is_null());
    for value in fields.values_mut() {
        if let Value::Object(inner) = value {
            remove_nulls(inner);
        }
    }
}

/// The fields of an item that are not among those of its kind: a later version wrote them.
pub(super) fn unknown_fields(item: &Item, known: &[&str]) -> UnknownFields {
    let is_unknown = |field: &str| !known.contains(&field) && !matches!(field, "v" | "kind");
    let unknown = item.body.iter().filter(|(field, _)| is_unknown(field));
    UnknownFields(unknown.map(|(field, value)| (field.clone(), value.clone())).collect())
}

/// What an item has, at any depth, and another one has not. An absent value and `null` are the same.
#[cfg(feature = "cli")]
pub(in crate::ledger) fn fields_beyond(
    stored: Map<String, Value>,
    known: &Map<String, Value>,
) -> UnknownFields {
    let beyond = stored.into_iter().filter_map(|(field, value)| {
        let beyond = match (value, known.get(&field)) {
            (Value::Null, _) => None,
            (value, None) => Some(value),
            (Value::Object(inner), Some(Value::Object(known))) => {
                Some(fields_beyond(inner, known).0).filter(|inner| !inner.is_empty()).map(Value::Object)
            }
            (_, Some(_)) => None,
        };
        Some((field, beyond?))
    });
    UnknownFields(beyond.collect())
}

/// Adds fields, at any depth, to those of an item. What is there stays.
#[cfg(feature = "cli")]
pub(in crate::ledger) fn add_fields(known: &mut Map<String, Value>, unknown: &UnknownFields) {
    for (field, value) in &unknown.0 {
        match (known.get_mut(field), value) {
            (None, value) => _ = known.insert(field.clone(), value.clone()),
            (Some(Value::Object(known)), Value::Object(inner)) => {
                add_fields(known, &UnknownFields(inner.clone()));
            }
            (Some(_), _) => {}
        }
    }
}

/// What an item of this schema version is.
///
/// # Errors
/// That it has another schema version, or none.
pub(in crate::ledger) fn read_kind(item: &Item) -> Result<&str, String> {
    match item.body.get("v").and_then(Value::as_u64) {
        Some(version) if version == u64::from(SCHEMA_VERSION) => {}
        Some(version) => {
            return Err(format!("its schema version is {version}; this build reads {SCHEMA_VERSION}"));
        }
        None => return Err("it has no schema version, so it is not the guard's".to_owned()),
    }
    item.text("kind").ok_or_else(|| "it has no kind".to_owned())
}

pub(super) fn fields<T: Serialize>(wire: T) -> Result<Map<String, Value>, EncodeError> {
    let Value::Object(fields) = serde_json::to_value(wire)? else { return Err(EncodeError::NoFields) };
    Ok(fields)
}

pub(super) fn read<T: DeserializeOwned>(item: Item) -> Result<T, String> {
    serde_json::from_value(Value::Object(item.body)).map_err(|error| error.to_string())
}

pub(in crate::ledger) fn unexpected_kind(kind: &str) -> String {
    format!("its kind, {}, is not known here", sanitize_field(kind))
}

/// An item that cannot be read, named by its primary key.
/// What is wrong may quote the item.
pub(in crate::ledger) fn unreadable(key: &ItemKey, why: &str) -> LedgerError {
    let ItemKey { pk, sk } = key;
    LedgerError::Unreadable {
        key: key_of(key).ok().map(|(key, _)| key),
        pk: sanitize_field(pk),
        sk: sanitize_field(sk),
        why: sanitize_line(&redact(why)),
    }
}
