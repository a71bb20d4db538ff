//! The form of what auditors ask for: counted attempts, changes of users that a console created, and keys that nobody judged.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::UNJUDGED;
use super::fields::{
    EncodeError, assemble, fields, key_of, kind, place, read, read_kind, unexpected_kind, unknown_fields,
};
use super::index;
use super::provenance::ProvenanceWire;
use crate::ledger::audit::count::{AttemptDays, AttemptGroup, CountedAttempts, MAX_EVENT_IDS, keep};
use crate::ledger::audit::{UnjudgedKey, UserChanged};
use crate::ledger::item::part_of_sort_key;
use crate::ledger::port::{Item, ItemKey};
use key_guard_core::Time;
use key_guard_core::cloudtrail::{Call, Provenance, UserCall, UserChange};
use key_guard_core::key::{AccountId, KeyRef, Service, UserName};

/// Come before the partition keys of attempts and of changes of users.
const ATTEMPTS: &str = "ATTEMPTS#";
const USER_CHANGE: &str = "USER_CHANGE#";

const EVENT: &str = "EVENT";

/// The longest parts of a sort key. Together with a day and a call they are less than 1,024 bytes.
const LONGEST_ERROR_CODE: usize = 128;
const LONGEST_ACTOR: usize = 800;

/// When DynamoDB may delete an item, in seconds since 1970 (DynamoDB developer guide, *Using time to live*).
pub(in crate::ledger) const TTL: &str = "ttl";

#[derive(Serialize, Deserialize)]
struct AttemptsWire {
    account: AccountId,
    /// Who is counted.
    actor: String,
    call: Call,
    error_code: String,
    count: u64,
    first_at: Time,
    last_at: Time,
    /// The latest event.
    event: ProvenanceWire,
    users: Vec<UserName>,
    more_users: bool,
    services: Vec<Service>,
    event_ids: Vec<String>,
}

/// The fields of counted attempts.
const ATTEMPTS_FIELDS: [&str; 13] = [
    "account",
    "actor",
    "call",
    "error_code",
    "count",
    "first_at",
    "last_at",
    "event",
    "users",
    "more_users",
    "services",
    "event_ids",
    TTL,
];

#[derive(Serialize, Deserialize)]
struct UserChangeWire {
    account: AccountId,
    event: ProvenanceWire,
    call: UserCall,
    user: UserName,
}

#[derive(Serialize, Deserialize)]
struct UnjudgedKeyWire {
    event: ProvenanceWire,
    user: UserName,
    service: Service,
}

/// Where attempts are counted.
pub(in crate::ledger) fn attempts_place(group: &AttemptGroup) -> ItemKey {
    let AttemptGroup { account, day, call, error_code, actor } = group;
    let error_code = part_of_sort_key(error_code, LONGEST_ERROR_CODE);
    let actor = part_of_sort_key(actor, LONGEST_ACTOR);
    ItemKey::new(
        format!("{ATTEMPTS}{account}#{}", day.format("%Y-%m")),
        format!("{day}#{}#{error_code}#{actor}", call.as_str()),
    )
}

/// Attempts that are counted together. `days`: how long a table keeps them.
pub(in crate::ledger) fn encode_attempts(
    attempts: &CountedAttempts,
    version: u64,
    days: Option<AttemptDays>,
) -> Result<Item, EncodeError> {
    let CountedAttempts { group, count, first, last, latest, unknown_fields, .. } = attempts.clone();
    let index = index::of_attempts(&group, &latest);
    let (key, expires_at) = (attempts_place(&group), days.map(|days| group.expires_at(days)));
    let mut content = unknown_fields.0;
    content.extend(fields(AttemptsWire {
        event: ProvenanceWire::new(latest, &group.account),
        account: group.account,
        actor: group.actor,
        call: group.call,
        error_code: group.error_code,
        count,
        first_at: first,
        last_at: last,
        users: attempts.users.iter().cloned().collect(),
        more_users: attempts.has_more_users,
        services: attempts.services.iter().cloned().collect(),
        event_ids: attempts.event_ids.iter().cloned().collect(),
    })?);
    let mut item = assemble(key, kind::ATTEMPTS, content, index);
    item.body.extend(expires_at.map(|at| (TTL.to_owned(), at.into())));
    item.version = Some(version);
    Ok(item)
}

/// Attempts that are counted together, with the version of their item.
///
/// # Errors
/// What is wrong with the item, in words.
pub(in crate::ledger) fn decode_attempts(item: Item) -> Result<(CountedAttempts, u64), String> {
    match read_kind(&item)? {
        kind::ATTEMPTS => {}
        other => return Err(unexpected_kind(other)),
    }
    let version = item.version.ok_or("it has no version")?;
    let unknown_fields = unknown_fields(&item, &ATTEMPTS_FIELDS);
    let wire: AttemptsWire = read(item)?;
    let latest = wire.event.read(&wire.account)?;
    let (first, last) = (wire.first_at, wire.last_at);
    let day = first.date_naive();
    if wire.count == 0 || first > last || last.date_naive() != day || latest.event_time != last {
        return Err("its count and its times contradict each other".to_owned());
    }
    if wire.account != latest.account {
        return Err("its latest event is of another account".to_owned());
    }
    let group = AttemptGroup {
        account: wire.account,
        day,
        call: wire.call,
        error_code: wire.error_code,
        actor: wire.actor,
    };
    let mut attempts = CountedAttempts {
        group,
        count: wire.count,
        first,
        last,
        latest,
        users: BTreeSet::new(),
        has_more_users: wire.more_users,
        services: BTreeSet::new(),
        event_ids: wire.event_ids.into_iter().take(MAX_EVENT_IDS).collect(),
        unknown_fields,
    };
    for user in wire.users {
        attempts.has_more_users |= keep(&mut attempts.users, Some(user));
    }
    for service in wire.services {
        keep(&mut attempts.services, Some(service));
    }
    Ok((attempts, version))
}

/// A change of a user. The same event gives the same item.
pub(in crate::ledger) fn encode_user_change(changed: &UserChanged) -> Result<Item, EncodeError> {
    let UserChanged { provenance, change: UserChange { call, user } } = changed;
    let account = provenance.account.clone();
    let event = ProvenanceWire::new(provenance.clone(), &account);
    let wire = UserChangeWire { account, event, call: *call, user: user.clone() };
    let index = index::of_user_change(provenance, user);
    Ok(assemble(user_change_place(changed), kind::USER_CHANGED, fields(wire)?, index))
}

/// Where a change of a user is.
pub(in crate::ledger) fn user_change_place(changed: &UserChanged) -> ItemKey {
    let Provenance { account, event_id, .. } = &changed.provenance;
    ItemKey::new(format!("{USER_CHANGE}{account}#{event_id}"), EVENT)
}

/// A change of a user.
///
/// # Errors
/// What is wrong with the item, in words.
#[cfg(feature = "cli")]
pub(in crate::ledger) fn decode_user_change(item: Item) -> Result<UserChanged, String> {
    match read_kind(&item)? {
        kind::USER_CHANGED => {
            let UserChangeWire { account, event, call, user } = read(item)?;
            Ok(UserChanged { provenance: event.read(&account)?, change: UserChange { call, user } })
        }
        other => Err(unexpected_kind(other)),
    }
}

/// A key that nobody judged. The same event gives the same item.
pub(in crate::ledger) fn encode_unjudged_key(unjudged: &UnjudgedKey) -> Result<Item, EncodeError> {
    let UnjudgedKey { provenance, key, user, service } = unjudged.clone();
    let index = index::of_user_change(&provenance, &user);
    let event = ProvenanceWire::new(provenance, &key.account);
    let content = fields(UnjudgedKeyWire { event, user, service })?;
    Ok(assemble(unjudged_key_place(&key), kind::UNJUDGED_KEY, content, index))
}

/// Where a key that nobody judged is.
pub(in crate::ledger) fn unjudged_key_place(key: &KeyRef) -> ItemKey {
    place(key, UNJUDGED)
}

/// A key that nobody judged.
///
/// # Errors
/// What is wrong with the item, in words.
pub(in crate::ledger) fn decode_unjudged_key(item: Item) -> Result<UnjudgedKey, String> {
    match read_kind(&item)? {
        kind::UNJUDGED_KEY => {}
        other => return Err(unexpected_kind(other)),
    }
    let (key, _) = key_of(&item.key)?;
    let UnjudgedKeyWire { event, user, service } = read(item)?;
    Ok(UnjudgedKey { provenance: event.read(&key.account)?, key, user, service })
}
