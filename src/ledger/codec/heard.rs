//! The form of an account whose heartbeat was heard.

use serde::{Deserialize, Serialize};

use super::attempts::TTL;
use super::fields::{
    EncodeError, IndexKeys, assemble, fields, kind, read, read_kind, unexpected_kind, unknown_fields,
};
use crate::ledger::port::{Item, ItemKey};
use key_guard_core::Time;
use key_guard_core::key::AccountId;
use key_guard_core::lifecycle::state::Version;
use key_guard_core::silence::{HeardAccount, KEPT_FOR};
use key_guard_core::text::Invalid;

/// The partition of the accounts whose heartbeat was heard.
pub(in crate::ledger) const HEARD: &str = "HEARD";

#[derive(Serialize, Deserialize)]
struct HeardWire {
    last_heard: Time,
    silence_reported_at: Option<Time>,
}

/// The fields of an account that was heard.
const HEARD_FIELDS: [&str; 3] = ["last_heard", "silence_reported_at", TTL];

/// Where an account is that was heard.
pub(in crate::ledger) fn heard_place(account: &AccountId) -> ItemKey {
    ItemKey::new(HEARD, account.as_str())
}

/// An account that was heard. A table deletes it some time after it was silent for [`KEPT_FOR`].
pub(in crate::ledger) fn encode_heard(heard: &HeardAccount) -> Result<Item, EncodeError> {
    let HeardAccount { account, last_heard, silence_reported_at, version: Version(version), unknown_fields } =
        heard;
    let (last_heard, silence_reported_at) = (*last_heard, *silence_reported_at);
    let mut content = unknown_fields.0.clone();
    content.extend(fields(HeardWire { last_heard, silence_reported_at })?);
    let mut item = assemble(heard_place(account), kind::HEARD, content, IndexKeys::new());
    let expires_at = last_heard.checked_add_signed(KEPT_FOR);
    item.body.extend(expires_at.map(|at| (TTL.to_owned(), at.timestamp().into())));
    item.version = Some(*version);
    Ok(item)
}

/// An account that was heard.
///
/// # Errors
/// What is wrong with the item, in words.
pub(in crate::ledger) fn decode_heard(item: Item) -> Result<HeardAccount, String> {
    match read_kind(&item)? {
        kind::HEARD => {}
        other => return Err(unexpected_kind(other)),
    }
    let version = Version(item.version.ok_or("it has no version")?);
    let unknown_fields = unknown_fields(&item, &HEARD_FIELDS);
    let account = item.key.sk.parse().map_err(|error: Invalid| error.to_string())?;
    let HeardWire { last_heard, silence_reported_at } = read(item)?;
    Ok(HeardAccount { account, last_heard, silence_reported_at, version, unknown_fields })
}
