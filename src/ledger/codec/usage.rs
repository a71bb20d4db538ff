//! The form of what is known of the use of users' keys, and of what the runs were that looked for it.

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
use key_guard_core::usage::{CoveredUsers, KnownUse, UsageCoverage, UseRun};

/// Comes before the account in the partition keys of uses.
const USE: &str = "USE#";
/// Comes before the account in the partition keys of coverages.
const USAGE: &str = "USAGE#";
const COVERAGE: &str = "COVERAGE";

#[derive(Serialize, Deserialize)]
struct UseWire {
    account: AccountId,
    user: UserName,
    first_used_at: Time,
    last_used_at: Time,
    services: BTreeSet<String>,
    models: BTreeSet<String>,
    latest_run: RunWire,
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
    let KnownUse { account, user, first_used_at, last_used_at, services, models, latest, unknown_fields } =
        known.clone();
    let UseRun { at, calls, first, last } = latest;
    let latest_run = RunWire { at, calls, first, last };
    let wire = UseWire { account, user, first_used_at, last_used_at, services, models, latest_run };
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
    let UseWire { account, user, first_used_at, last_used_at, services, models, latest_run } = read(item)?;
    let RunWire { at, calls, first, last } = latest_run;
    if first_used_at > last_used_at || first > last || calls == 0 {
        return Err("its times or its count contradict each other".to_owned());
    }
    let latest = UseRun { at, calls, first, last };
    let (services, models) = (fit_to_print(&services), fit_to_print(&models));
    let unknown_fields = UnknownFields::default();
    let mut known =
        KnownUse { account, user, first_used_at, last_used_at, services, models, latest, unknown_fields };
    let written = encode_use(&known, version).map_err(|error| error.to_string())?;
    known.unknown_fields = fields_beyond(stored, &written.body);
    Ok((known, version))
}

/// No text of a table may control a terminal.
fn fit_to_print(texts: &BTreeSet<String>) -> BTreeSet<String> {
    texts.iter().map(|text| sanitize_line(text)).collect()
}

#[derive(Serialize, Deserialize)]
struct CoverageWire {
    account: AccountId,
    from: Time,
    to: Time,
    /// Absent: every user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    users: Option<BTreeSet<String>>,
}

/// Where the coverage of an account is.
pub(in crate::ledger) fn coverage_place(account: &AccountId) -> ItemKey {
    ItemKey::new(format!("{USAGE}{account}"), COVERAGE)
}

/// What a run of `usage` covered. `version`: that of the item.
pub(in crate::ledger) fn encode_coverage(
    coverage: &UsageCoverage,
    version: u64,
) -> Result<Item, EncodeError> {
    let UsageCoverage { account, from, to, users, unknown_fields } = coverage.clone();
    let place = coverage_place(&account);
    let users = match users {
        CoveredUsers::Every => None,
        CoveredUsers::Named(names) => Some(names),
    };
    let content = fields(CoverageWire { account, from, to, users })?;
    let mut item = assemble(place, kind::USAGE_COVERAGE, content, IndexKeys::new());
    add_fields(&mut item.body, &unknown_fields);
    item.version = Some(version);
    Ok(item)
}

/// What a run of `usage` covered, and the version of its item.
///
/// # Errors
/// What is wrong with the item, in words.
pub(in crate::ledger) fn decode_coverage(item: Item) -> Result<(UsageCoverage, u64), String> {
    match read_kind(&item)? {
        kind::USAGE_COVERAGE => {}
        other => return Err(unexpected_kind(other)),
    }
    let version = item.version.ok_or("it has no version")?;
    let stored = item.body.clone();
    let CoverageWire { account, from, to, users } = read(item)?;
    let users = users.map_or(CoveredUsers::Every, |names| CoveredUsers::Named(fit_to_print(&names)));
    let mut coverage = UsageCoverage { account, from, to, users, unknown_fields: UnknownFields::default() };
    let written = encode_coverage(&coverage, version).map_err(|error| error.to_string())?;
    coverage.unknown_fields = fields_beyond(stored, &written.body);
    Ok((coverage, version))
}
