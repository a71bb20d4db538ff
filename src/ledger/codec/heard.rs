//! The form of an account's last heartbeat.

use serde::{Deserialize, Serialize};

use super::fields::{EncodeError, IndexKeys, assemble, fields, kind, read, read_kind, unexpected_kind};
use crate::ledger::audit::heard::Heartbeat;
use crate::ledger::port::{Item, ItemKey};
use key_guard_core::Time;
use key_guard_core::key::AccountId;
use key_guard_core::text::Invalid;

/// The partition of the accounts whose heartbeat was heard.
pub(in crate::ledger) const HEARD: &str = "HEARD";

#[derive(Serialize, Deserialize)]
struct HeardWire {
    last_heard: Time,
}

/// Where the last heartbeat of an account is.
pub(in crate::ledger) fn heard_place(account: &AccountId) -> ItemKey {
    ItemKey::new(HEARD, account.as_str())
}

/// The last heartbeat of an account.
pub(in crate::ledger) fn encode_heard(heartbeat: &Heartbeat, version: u64) -> Result<Item, EncodeError> {
    let content = fields(HeardWire { last_heard: heartbeat.at })?;
    let mut item = assemble(heard_place(&heartbeat.account), kind::HEARD, content, IndexKeys::new());
    item.version = Some(version);
    Ok(item)
}

/// The last heartbeat of an account, with the version of its item.
///
/// # Errors
/// What is wrong with the item, in words.
pub(in crate::ledger) fn decode_heard(item: Item) -> Result<(Heartbeat, u64), String> {
    match read_kind(&item)? {
        kind::HEARD => {}
        other => return Err(unexpected_kind(other)),
    }
    let version = item.version.ok_or("it has no version")?;
    let account = item.key.sk.parse().map_err(|error: Invalid| error.to_string())?;
    let HeardWire { last_heard } = read(item)?;
    Ok((Heartbeat { account, at: last_heard }, version))
}
