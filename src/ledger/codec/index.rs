//! Where the indexes have an item.

use super::fields::IndexKeys;
use crate::ledger::audit::count::{AttemptGroup, counted_names};
use crate::ledger::item::{
    self, Names, account_key, at_key, ended_key, gone_key, index_user, month_key, open_key, to_second,
};
use chrono::NaiveDate;
use key_guard_core::Time;
use key_guard_core::cloudtrail::Provenance;
use key_guard_core::key::{AccountId, KeyFacts, KeyRef, UserName};
use key_guard_core::lifecycle::state::{Phase, Record};

/// Sorts after every time.
const UNREPORTED: &str = "UNREPORTED#";

/// Comes before the partition keys of attempts and of changes of users.
pub(in crate::ledger) const ATTEMPT: &str = "ATTEMPT#";

/// A dry run is found by user, creator, month and account.
pub(super) fn of_dry_run(facts: &KeyFacts, creation: Option<&Provenance>) -> IndexKeys {
    let account = account_key(&facts.key.account, item::shard(&facts.key.id));
    of_key(facts, creation, account)
}

/// A key is found by the same, and by when something is due.
pub(super) fn of_record(record: &Record) -> IndexKeys {
    let KeyRef { account, id } = record.key();
    let shard = item::shard(id);
    let account_key = match record.phase {
        Phase::Gone(_) => gone_key(account, shard),
        Phase::Settled | Phase::Pending(_) | Phase::Deactivated(_) | Phase::Inactive(_) => {
            account_key(account, shard)
        }
    };
    let mut keys = of_key(&record.facts, record.creation.as_ref(), account_key);
    keys.extend(due(record));
    keys
}

/// Where a resume or a sweep looks for a key.
fn due(record: &Record) -> IndexKeys {
    let KeyRef { account, id } = record.key();
    let shard = item::shard(id);
    let (partition, at) = match &record.phase {
        Phase::Pending(intent) => (open_key(shard), to_second(intent.id.authorised_at)),
        Phase::Gone(_) => {
            let at = to_second(record.changed_at);
            // A sweep finds it until somebody was told, whenever that was.
            let at = if record.unreported { format!("{UNREPORTED}{at}") } else { at };
            (ended_key(account, shard), at)
        }
        Phase::Settled | Phase::Deactivated(_) | Phase::Inactive(_) => match record.delete_after {
            // A resume publishes what was not reported.
            Some(_) if record.unreported => (open_key(shard), to_second(record.changed_at)),
            Some(delete_after) => (open_key(shard), to_second(delete_after)),
            None => return IndexKeys::new(),
        },
    };
    vec![("due_key", partition), ("due_at", at)]
}

/// A key whose end is all that is known.
pub(super) fn of_tombstone(key: &KeyRef, at: Time) -> IndexKeys {
    let shard = item::shard(&key.id);
    vec![
        ("at_key", at_key(at, &key.id)),
        ("month_key", month_key(at.date_naive(), shard)),
        ("account_key", gone_key(&key.account, shard)),
    ]
}

fn of_key(facts: &KeyFacts, creation: Option<&Provenance>, account_key: String) -> IndexKeys {
    let at = time_of(facts, creation);
    let mut keys = vec![
        ("at_key", at_key(at, &facts.key.id)),
        ("month_key", month_key(at.date_naive(), item::shard(&facts.key.id))),
        ("account_key", account_key),
        ("user_key", index_user(&facts.user)),
    ];
    keys.extend(creation.into_iter().flat_map(of_actor));
    keys
}

/// Each former name of a user, and the keys of its item.
pub(super) fn of_former_names(facts: &KeyFacts, creation: Option<&Provenance>) -> Vec<(String, IndexKeys)> {
    let at_key = at_key(time_of(facts, creation), &facts.key.id);
    let names: std::collections::BTreeSet<_> = facts.other_names.iter().map(index_user).collect();
    let keys = |name: &String| vec![("user_key", name.clone()), ("at_key", at_key.clone())];
    names.into_iter().map(|name| (name.clone(), keys(&name))).collect()
}

/// Attempts are found by who is counted, month and account. No place changes when one more is counted.
pub(super) fn of_attempts(group: &AttemptGroup, latest: &Provenance) -> IndexKeys {
    let AttemptGroup { account, day, call, .. } = group;
    let mut keys = vec![
        ("month_key", attempts_of_month(*day)),
        ("account_key", attempts_of_account(account)),
        ("at_key", format!("{day}T00:00:00Z#{}", call.as_str())),
    ];
    keys.extend(of_names(counted_names(&latest.actor)).map(as_attempt));
    keys
}

/// Changes of users, and keys that nobody judged, are found by user, caller, month and account.
pub(super) fn of_user_change(event: &Provenance, user: &UserName) -> IndexKeys {
    let mut keys = vec![
        ("month_key", attempts_of_month(event.event_time.date_naive())),
        ("account_key", attempts_of_account(&event.account)),
        ("at_key", format!("{}#{}", to_second(event.event_time), event.event_id)),
        as_attempt(("user_key", index_user(user))),
    ];
    keys.extend(of_actor(event).map(as_attempt));
    keys
}

fn as_attempt((field, key): (&'static str, String)) -> (&'static str, String) {
    (field, format!("{ATTEMPT}{key}"))
}

/// The partition of a month's attempts.
pub(in crate::ledger) fn attempts_of_month(day: NaiveDate) -> String {
    format!("{ATTEMPT}MONTH#{}", day.format("%Y-%m"))
}

/// The partition of an account's attempts.
pub(in crate::ledger) fn attempts_of_account(account: &AccountId) -> String {
    format!("{ATTEMPT}ACCOUNT#{account}")
}

fn of_actor(event: &Provenance) -> impl Iterator<Item = (&'static str, String)> + use<> {
    of_names(Names::of(event.actor.principal.as_deref(), event.actor.session_issuer.as_deref()))
}

fn of_names(names: Names) -> impl Iterator<Item = (&'static str, String)> {
    let name = names.name.map(|name| ("actor_key", name));
    name.into_iter().chain(names.role.map(|role| ("role_key", role)))
}

/// When the key was created, as its event or IAM says.
fn time_of(facts: &KeyFacts, creation: Option<&Provenance>) -> Time {
    creation.map_or(facts.created_at, |event| event.event_time)
}
