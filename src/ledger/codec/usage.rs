//! The form of what is known of the use of a user's keys.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::fields::{
    EncodeError, IndexKeys, add_fields, assemble, fields, fields_beyond, kind, read, read_kind,
    unexpected_kind,
};
use crate::ledger::item::index_user;
use crate::ledger::port::{Item, ItemKey};
use key_guard_core::Time;
use key_guard_core::key::{AccountId, UserName};
use key_guard_core::lifecycle::state::UnknownFields;
use key_guard_core::text::sanitize_line;
use key_guard_core::usage::{KnownUse, UseRun};

/// Comes before the account in the partition keys of uses.
const USE: &str = "USE#";

#[derive(Serialize, Deserialize)]
struct UseWire {
    account: AccountId,
    user: UserName,
    first_used_at: Time,
    last_used_at: Time,
    services: BTreeSet<String>,
    models: BTreeSet<String>,
    latest_run: RunWire,
    /// When a run last looked for every user's calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every_user_at: Option<Time>,
}

#[derive(Serialize, Deserialize)]
struct RunWire {
    at: Time,
    calls: u64,
    first: Time,
    last: Time,
}

/// Where the use of a user's keys is.
pub(in crate::ledger) fn use_place(account: &AccountId, user: &UserName) -> ItemKey {
    ItemKey::new(format!("{USE}{account}"), index_user(user))
}

/// What is known of the use of a user's keys. `version`: that of the item.
pub(in crate::ledger) fn encode_use(known: &KnownUse, version: u64) -> Result<Item, EncodeError> {
    let place = use_place(&known.account, &known.user);
    let KnownUse {
        account,
        user,
        first_used_at,
        last_used_at,
        services,
        models,
        latest,
        every_user_at,
        unknown_fields,
    } = known.clone();
    let UseRun { at, calls, first, last } = latest;
    let latest_run = RunWire { at, calls, first, last };
    let wire =
        UseWire { account, user, first_used_at, last_used_at, services, models, latest_run, every_user_at };
    let mut item = assemble(place, kind::USE, fields(wire)?, IndexKeys::new());
    add_fields(&mut item.body, &unknown_fields);
    item.version = Some(version);
    Ok(item)
}

/// What is known of the use of a user's keys, and the version of its item.
///
/// # Errors
/// What is wrong with the item, in words.
pub(in crate::ledger) fn decode_use(item: Item) -> Result<(KnownUse, u64), String> {
    match read_kind(&item)? {
        kind::USE => {}
        other => return Err(unexpected_kind(other)),
    }
    let version = item.version.ok_or("it has no version")?;
    let stored = item.body.clone();
    let UseWire { account, user, first_used_at, last_used_at, services, models, latest_run, every_user_at } =
        read(item)?;
    let RunWire { at, calls, first, last } = latest_run;
    if first_used_at > last_used_at || first > last || calls == 0 {
        return Err("its times or its count contradict each other".to_owned());
    }
    let latest = UseRun { at, calls, first, last };
    // No text of a table may control a terminal.
    let fit_to_print = |texts: BTreeSet<String>| texts.iter().map(|text| sanitize_line(text)).collect();
    let (services, models) = (fit_to_print(services), fit_to_print(models));
    let unknown_fields = UnknownFields::default();
    let mut known = KnownUse {
        account,
        user,
        first_used_at,
        last_used_at,
        services,
        models,
        latest,
        every_user_at,
        unknown_fields,
    };
    let written = encode_use(&known, version).map_err(|error| error.to_string())?;
    known.unknown_fields = fields_beyond(stored, &written.body);
    Ok((known, version))
}
