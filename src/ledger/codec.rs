//! The items of the ledger. The only code that knows their form.
//!
//! | item | `pk` | `sk` | `kind` |
//! | --- | --- | --- | --- |
//! | a key as it stands | `KEY#<credential id>` | `<account>#STATE` | `record`, `tombstone` or `unconfirmed` |
//! | a line of its history | the same | `<account>#LOG#<time>#<id>` | `log` |
//! | the latest dry run of it | the same | `<account>#STATE_IN_DRY_RUN` | `dry_run`; `unassessed_dry_run` before its creation event was met |
//! | a former name of its user | the same | `<account>#NAME#<name>`; of a dry run `<account>#DRY_RUN_NAME#<name>` | `former_name` |
//! | calls that failed, counted by account, actor, call, error code and day | `ATTEMPTS#<account>#<year and month>` | `<day>#<call>#<error code>#<actor>` | `attempts` |
//! | a change of a user that a console created | `USER_CHANGE#<account>#<event id>` | `EVENT` | `user_changed` |
//! | a key that nobody judged | `KEY#<credential id>` | `<account>#UNJUDGED` | `unjudged_key` |
//! | the deletions that started in an hour (R11) | `BUDGET#<account>#<budget>#<hour>` | `COUNT` | |
//! | the last completed sweep of an account | `SWEEP#<account>` | `LAST` | `sweep` |
//! | the last heartbeat of an account | `HEARD` | `<account>` | `heard` |
//! | a version of the policy | `POLICY` | `<number>`, with ten digits | `policy` |
//! | what is known of the use of a user's keys | `USE#<account>` | `<user>` | `use` |
//! | what the last run of `usage` covered that covers 30 days of an account | `USAGE#<account>` | `COVERAGE` | `usage_coverage` |
//!
//! An index has the primary keys of its items, and nothing else: a write that changes no key of an index costs nothing
//! there.
//!
//! | index | partition key | holds |
//! | --- | --- | --- |
//! | `by_user` | `user_key`: the user's name | states and dry runs, under the user's name of today; former names |
//! | `by_actor` | `actor_key`: session, user or service, without the domain of an e-mail address | states and dry runs, by who created the key |
//! | `by_role` | `role_key`: role name, or permission set of IAM Identity Center | the same, where a role was assumed |
//! | `by_month` | `month_key`: `<year and month of the creation>#<0 to 3>` | states and dry runs |
//! | `by_account` | `account_key`: `ACCOUNT#<account>#<0 to 3>` | states of keys that exist, and dry runs |
//! | | `GONE#<account>#<0 to 3>` | states of keys that have ended |
//! | `by_due` | `due_key`: `OPEN#<0 to 3>` | states with a pending response, or with a date of deletion |
//! | | `ENDED#<account>#<0 to 3>` | states of keys that have ended |
//!
//! Names are in lowercase. The indexes sort by `at_key`: `<time, to the second>#<credential id>`. The time is that of the
//! creation event, or IAM's creation time. Only `by_due` sorts by `due_at`, to the second: the time of an intent, the
//! date of deletion, or when the key ended. `UNREPORTED#` comes before the time of an end that was not reported.
//!
//! Attempts, changes of users and keys that nobody judged have partitions of their own in the same indexes: `ATTEMPT#` comes before
//! each partition key, and a month has one. Attempts are in `by_actor` and `by_role` under the names of who is counted
//! ([`counted_actor`](super::audit::count::counted_actor)), and not in `by_user`. Their `at_key` begins with the first
//! second of their day, so that one more attempt moves no entry.
//!
//! Attempts and accounts that were heard have the field `ttl`: DynamoDB deletes attempts after the days of
//! [`AttemptDays`](super::audit::count::AttemptDays), and an account after
//! [`KEPT_FOR`](key_guard_core::silence::KEPT_FOR). A file keeps them.
//!
//! Fields are read by name. Absent values are not written. Fields that are not known here are of a later version, before a
//! rollback: those of records, counted attempts, accounts that were heard, uses and coverages are written back as they are. Of a sweep and
//! of a dry run the next one makes all that is needed, and nothing else is ever written again. An export and an import keep
//! those of every item, at any depth.
//!
//! So a version may add fields, at the top level and with a meaning that their absence has not, and stay readable by the one
//! before. A field that means something else, a new kind, or a new word in a field that is there needs another
//! [`SCHEMA_VERSION`], and a version that reads both before one that writes it. `tests/golden` has what each version writes.

mod assessment;
mod attempts;
mod fields;
mod heard;
mod index;
mod log;
mod policy;
mod provenance;
mod state;
#[cfg(feature = "cli")]
mod usage;

use serde_json::Map;

use super::item::to_second;
use super::port::{Item, ItemKey};
use key_guard_core::cloudtrail::Provenance;
use key_guard_core::key::{AccountId, KeyFacts, KeyRef};
use key_guard_core::lifecycle::dry_run::{DryRun, DryRunState};
use key_guard_core::lifecycle::effect::{BudgetKind, DeletionBudget};
use key_guard_core::lifecycle::state::{KeyState, Record, StoredState, Version};
use key_guard_core::lifecycle::sweep::SweepRecord;

#[cfg(feature = "cli")]
pub(super) use attempts::{TTL, decode_user_change};
pub(super) use attempts::{
    attempts_place, decode_attempts, encode_attempts, encode_user_change, user_change_place,
};
pub(super) use attempts::{decode_unjudged_key, encode_unjudged_key, unjudged_key_place};
pub use fields::SCHEMA_VERSION;
pub(super) use fields::{EncodeError, key_of, kind, place, read_kind, unexpected_kind, unreadable};
use fields::{IndexKeys, assemble, fields, read, unknown_fields};
#[cfg(feature = "cli")]
pub(super) use fields::{add_fields, fields_beyond, partition, prefix};
pub(super) use heard::{HEARD, decode_heard, encode_heard, heard_place};
pub(super) use index::ATTEMPT;
#[cfg(feature = "cli")]
pub(super) use index::{attempts_of_account, attempts_of_month};
#[cfg(feature = "cli")]
pub(super) use log::decode_log;
pub(super) use log::encode_log;
pub(super) use policy::{POLICY, decode_policy, policy_number};
#[cfg(feature = "cli")]
pub(super) use policy::{TOML, encode_policy, policy_place};
use state::{
    DryRunWire, GoneWire, RECORD_FIELDS, RecordWire, TombstoneWire, UnassessedDryRunWire, UnconfirmedWire,
};
#[cfg(feature = "cli")]
pub(super) use usage::{coverage_place, decode_coverage, decode_use, encode_coverage, encode_use, use_place};

/// The sort key of a key as it stands.
pub(super) const STATE: &str = "STATE";
/// The sort key of a dry run.
pub(super) const DRY_RUN: &str = "STATE_IN_DRY_RUN";
/// The sort key of a key that nobody judged.
pub(super) const UNJUDGED: &str = "UNJUDGED";
/// What the sort keys of a history's lines begin with.
pub(super) const LOG: &str = "LOG#";

/// Comes before the former names of a state's user, and of a dry run's.
const NAME: &str = "NAME#";
const DRY_RUN_NAME: &str = "DRY_RUN_NAME#";

/// Comes before the partition keys of sweeps and of counters.
const SWEEP: &str = "SWEEP#";
const BUDGET: &str = "BUDGET#";

const LAST: &str = "LAST";
const COUNT: &str = "COUNT";

/// A key's next state.
pub(super) fn encode_state(key: &KeyRef, version: Version, state: &KeyState) -> Result<Item, EncodeError> {
    let (kind, content, index) = match state {
        KeyState::Unknown => return Err(EncodeError::Unknown),
        KeyState::Tombstone(gone) => {
            let content = TombstoneWire { gone: GoneWire::new(gone.clone(), &key.account) };
            (kind::TOMBSTONE, fields(content)?, index::of_tombstone(key, gone.at()))
        }
        KeyState::Unconfirmed(observation) => {
            let content = UnconfirmedWire { observation: (*observation).into() };
            (kind::UNCONFIRMED, fields(content)?, IndexKeys::new())
        }
        KeyState::Tracked(record) => {
            let mut content = record.unknown_fields.0.clone();
            content.extend(fields(RecordWire::new(record.as_ref().clone()))?);
            (kind::RECORD, content, index::of_record(record))
        }
    };
    let mut item = assemble(place(key, STATE), kind, content, index);
    item.version = Some(version.0);
    Ok(item)
}

/// A key as it stands.
///
/// # Errors
/// What is wrong with the item, in words.
pub(super) fn decode_state(item: Item) -> Result<StoredState, String> {
    let kind = read_kind(&item)?.to_owned();
    let version = item.version.ok_or("it has no version")?;
    let (key, _) = key_of(&item.key)?;
    let state = match kind.as_str() {
        kind::RECORD => {
            let unknown_fields = unknown_fields(&item, &RECORD_FIELDS);
            let record = read::<RecordWire>(item)?.read(&key)?;
            KeyState::Tracked(Box::new(Record { unknown_fields, ..record }))
        }
        kind::TOMBSTONE => KeyState::Tombstone(read::<TombstoneWire>(item)?.gone.read(&key.account)?),
        kind::UNCONFIRMED => KeyState::Unconfirmed(read::<UnconfirmedWire>(item)?.observation.into()),
        _ => return Err(unexpected_kind(&kind)),
    };
    Ok(StoredState { version: Version(version), state })
}

/// A key's next dry run.
pub(super) fn encode_dry_run(dry_run: &DryRunState, version: Version) -> Result<Item, EncodeError> {
    let (kind, content, index) = match dry_run {
        DryRunState::Assessed(dry_run) => {
            let index = index::of_dry_run(&dry_run.facts, dry_run.creation.as_ref());
            (kind::DRY_RUN, fields(DryRunWire::new(dry_run.as_ref().clone()))?, index)
        }
        DryRunState::Unassessed { early, at, .. } => {
            let content = UnassessedDryRunWire { early: early.clone().into(), at: *at };
            (kind::UNASSESSED_DRY_RUN, fields(content)?, IndexKeys::new())
        }
    };
    let mut item = assemble(place(dry_run.key(), DRY_RUN), kind, content, index);
    item.version = Some(version.0);
    Ok(item)
}

/// A dry run.
///
/// # Errors
/// What is wrong with the item, in words.
pub(super) fn decode_dry_run(item: Item) -> Result<DryRunState, String> {
    let (key, _) = key_of(&item.key)?;
    match read_kind(&item)? {
        kind::DRY_RUN => read::<DryRunWire>(item)?.read(&key).map(DryRunState::from),
        kind::UNASSESSED_DRY_RUN => {
            let UnassessedDryRunWire { early, at } = read(item)?;
            Ok(DryRunState::Unassessed { key, early: early.into(), at })
        }
        other => Err(unexpected_kind(other)),
    }
}

/// The last completed sweep of an account.
pub(super) fn encode_sweep(account: &AccountId, record: SweepRecord) -> Result<Item, EncodeError> {
    let content = fields(record)?;
    Ok(assemble(sweep_place(account), kind::SWEEP, content, IndexKeys::new()))
}

/// The last completed sweep of an account.
///
/// # Errors
/// What is wrong with the item, in words.
pub(super) fn decode_sweep(item: Item) -> Result<SweepRecord, String> {
    match read_kind(&item)? {
        kind::SWEEP => read(item),
        other => Err(unexpected_kind(other)),
    }
}

/// Where the last completed sweep of an account is.
pub(super) fn sweep_place(account: &AccountId) -> ItemKey {
    ItemKey::new(format!("{SWEEP}{account}"), LAST)
}

/// Where the deletions of an hour are counted.
pub(super) fn budget_place(budget: &DeletionBudget) -> ItemKey {
    let kind = match budget.kind {
        BudgetKind::New => "new",
        BudgetKind::Reactivated => "reactivated",
    };
    ItemKey::new(format!("{BUDGET}{}#{kind}#{}", budget.account, to_second(budget.hour)), COUNT)
}

/// The former names of a record's user. They are written with each state.
pub(super) fn encode_former_names(record: &Record) -> Vec<Item> {
    former_names(NAME, &record.facts, record.creation.as_ref())
}

/// The former names of a dry run's user. They are written with it.
pub(super) fn encode_dry_run_names(dry_run: &DryRun) -> Vec<Item> {
    former_names(DRY_RUN_NAME, &dry_run.facts, dry_run.creation.as_ref())
}

/// An item has one place in an index, so each name has an item of its own. Its primary key says which key it is about.
fn former_names(what: &str, facts: &KeyFacts, creation: Option<&Provenance>) -> Vec<Item> {
    let item = |(name, index)| {
        let key = place(&facts.key, &format!("{what}{name}"));
        assemble(key, kind::FORMER_NAME, Map::new(), index)
    };
    index::of_former_names(facts, creation).into_iter().map(item).collect()
}

/// True for what a table counts for itself.
#[cfg(feature = "cli")]
pub(super) fn is_bookkeeping(item: &Item) -> bool {
    item.key.pk.starts_with(BUDGET) || item.key.pk.starts_with(SWEEP) || item.key.pk == HEARD
}
