//! Where the indexes have an item.

use super::fields::IndexKeys;
use crate::ledger::item::{
    self, Names, account_key, at_key, id_key, index_user, month_key, name_key, open_key, role_key, to_second,
};
use chrono::NaiveDate;
use key_guard_core::Time;
use key_guard_core::cloudtrail::Provenance;
use key_guard_core::key::{AccountId, KeyFacts, KeyRef, UserName};
use key_guard_core::lifecycle::state::{Phase, Record};

/// Comes before the partition keys of attempts.
pub(in crate::ledger) const ATTEMPT: &str = "ATTEMPT#";

/// A key and its dry run are found by user, creator, month, account and id.
pub(super) fn of_key(facts: &KeyFacts, creation: Option<&Provenance>) -> IndexKeys {
    let mut keys = of_tombstone(&facts.key, time_of(facts, creation));
    keys.push(("user_key", name_key(&index_user(&facts.user))));
    if let Some(creation) = creation {
        keys.extend(of_actor(creation));
    }
    keys
}

/// The same, and where a resume looks.
pub(super) fn of_record(record: &Record) -> IndexKeys {
    let mut keys = of_key(&record.facts, record.creation.as_ref());
    if is_resumable(record) {
        keys.push(("open_key", open_key(item::shard(&record.key().id))));
    }
    keys
}

/// True if a resume may have something to do. A key that is gone keeps its date of deletion, and nothing follows.
fn is_resumable(record: &Record) -> bool {
    match record.phase {
        Phase::Pending(_) => true,
        Phase::Gone(_) => false,
        Phase::Settled | Phase::Deactivated(_) | Phase::Inactive(_) => record.delete_after.is_some(),
    }
}

/// For a key whose end is all that is known.
pub(super) fn of_tombstone(key: &KeyRef, at: Time) -> IndexKeys {
    let shard = item::shard(&key.id);
    let mut keys = of_id(key, at);
    keys.push(("month_key", month_key(at.date_naive(), shard)));
    keys.push(("account_key", account_key(&key.account, shard)));
    keys
}

/// For a key of which nothing is known for sure.
pub(super) fn of_id(key: &KeyRef, at: Time) -> IndexKeys {
    vec![("id_key", id_key(&key.id)), ("at_key", at_key(at, &key.id))]
}

/// Each former name of a user, and the keys of its item.
pub(super) fn of_former_names(facts: &KeyFacts, creation: Option<&Provenance>) -> Vec<(String, IndexKeys)> {
    let at_key = at_key(time_of(facts, creation), &facts.key.id);
    let names: std::collections::BTreeSet<_> = facts.other_names.iter().map(index_user).collect();
    let keys = |name: &String| vec![("user_key", name_key(name)), ("at_key", at_key.clone())];
    names.into_iter().map(|name| (name.clone(), keys(&name))).collect()
}

/// Attempts are found by user, caller, month and account.
pub(super) fn of_attempt(event: &Provenance, user: Option<&UserName>) -> IndexKeys {
    let mut keys = vec![
        ("month_key", attempts_of_month(event.event_time.date_naive())),
        ("account_key", attempts_of_account(&event.account)),
        ("at_key", format!("{}#{}", to_second(event.event_time), event.event_id)),
    ];
    let others =
        of_actor(event).into_iter().chain(user.map(|user| ("user_key", name_key(&index_user(user)))));
    keys.extend(others.map(|(field, key)| (field, format!("{ATTEMPT}{key}"))));
    keys
}

/// The partition of a month's attempts.
pub(in crate::ledger) fn attempts_of_month(day: NaiveDate) -> String {
    format!("{ATTEMPT}MONTH#{}", day.format("%Y-%m"))
}

/// The partition of an account's attempts.
pub(in crate::ledger) fn attempts_of_account(account: &AccountId) -> String {
    format!("{ATTEMPT}ACCOUNT#{account}")
}

fn of_actor(event: &Provenance) -> IndexKeys {
    let names = Names::of(event.actor.principal.as_deref(), event.actor.session_issuer.as_deref());
    let name = names.name.map(|name| ("actor_key", name_key(&name)));
    name.into_iter().chain(names.role.map(|role| ("role_key", role_key(&role)))).collect()
}

/// When the key was created, as its event or IAM says.
fn time_of(facts: &KeyFacts, creation: Option<&Provenance>) -> Time {
    creation.map_or(facts.created_at, |event| event.event_time)
}
