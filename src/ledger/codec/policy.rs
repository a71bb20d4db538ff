//! The form of a version of the policy.

use serde::{Deserialize, Serialize};

#[cfg(feature = "cli")]
use super::fields::{EncodeError, IndexKeys, assemble, fields};
use super::fields::{kind, read, read_kind, unexpected_kind};
use crate::ledger::policy::{PolicyVersion, sha256_of};
use crate::ledger::port::{Item, ItemKey};
use key_guard_core::Time;

/// The partition of the versions.
pub(in crate::ledger) const POLICY: &str = "POLICY";

/// The field with the text of a version.
#[cfg(feature = "cli")]
pub(in crate::ledger) const TOML: &str = "toml";

#[derive(Serialize, Deserialize)]
struct PolicyWire {
    number: u32,
    toml: String,
    sha256: String,
    pushed_at: Time,
    pushed_by: String,
    reason: Option<String>,
}

/// Where a version is. As many digits as any number has, so that texts sort as numbers do.
#[cfg(feature = "cli")]
pub(in crate::ledger) fn policy_place(number: u32) -> ItemKey {
    ItemKey::new(POLICY, format!("{number:010}"))
}

/// Which version is there.
///
/// # Errors
/// That its sort key is no number.
pub(in crate::ledger) fn policy_number(key: &ItemKey) -> Result<u32, String> {
    key.sk.parse().map_err(|_| "its sort key is not the number of a version".to_owned())
}

/// A version.
#[cfg(feature = "cli")]
pub(in crate::ledger) fn encode_policy(version: &PolicyVersion) -> Result<Item, EncodeError> {
    let PolicyVersion { number, text, sha256, pushed_at, pushed_by, reason } = version.clone();
    let content = fields(PolicyWire { number, toml: text, sha256, pushed_at, pushed_by, reason })?;
    Ok(assemble(policy_place(number), kind::POLICY, content, IndexKeys::new()))
}

/// A version.
///
/// # Errors
/// What is wrong with the item, in words.
pub(in crate::ledger) fn decode_policy(item: Item) -> Result<PolicyVersion, String> {
    match read_kind(&item)? {
        kind::POLICY => {}
        other => return Err(unexpected_kind(other)),
    }
    let PolicyWire { number, toml: text, sha256, pushed_at, pushed_by, reason } = read(item)?;
    if sha256_of(&text) != sha256 {
        return Err("its text has another SHA-256 than it says".to_owned());
    }
    Ok(PolicyVersion { number, text, sha256, pushed_at, pushed_by, reason })
}
