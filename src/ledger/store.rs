//! The keys of a ledger: [`KeyStore`] on a table of items.
//!
//! States, dry runs, counters, counted attempts and heartbeats are written under a condition. A line of history is the same item
//! however often it is written. The record of a sweep replaces the last one.

mod attempts;
mod console_keys;
mod heard;
mod pages;

#[cfg(feature = "cli")]
use std::path::Path;

use aws_sdk_dynamodb::Client;

use key_guard_core::Time;
use key_guard_core::cloudtrail::CredentialEvent;
use key_guard_core::key::{AccountId, KeyRef, UserName};
use key_guard_core::lifecycle::dry_run::DryRunState;
use key_guard_core::lifecycle::effect::{CallError, Commit, LogEntry, Retry};
use key_guard_core::lifecycle::state::{StoredState, Version};
use key_guard_core::lifecycle::sweep::{KeyCursor, KeyPage, SweepRecord};
use key_guard_core::ports::{CommitReply, KeyStore};

use super::audit::AuditEvent;
use super::audit::count::AttemptDays;
use super::codec::{self, EncodeError};
use super::cost::Cost;
use super::dynamodb::DynamoTable;
use super::error::LedgerError;
use super::port::{Condition, Item, ItemKey, MAX_WRITES, TableError, Write, Written};
#[cfg(feature = "cli")]
use super::sqlite::{Durability, SqliteTable};
use super::table::Table;
use crate::runtime::event::AttemptStore;

use pages::page;

/// The keys and their history.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub(super) table: Table,
    /// How long a DynamoDB table keeps attempts.
    pub(super) attempt_days: AttemptDays,
}

impl Ledger {
    /// A ledger in a DynamoDB table, which has to exist.
    #[must_use]
    pub fn dynamodb(client: Client, table: impl Into<String>) -> Self {
        Self::new(Table::DynamoDb(DynamoTable::new(client, table.into())))
    }

    fn new(table: Table) -> Self {
        Self { table, attempt_days: AttemptDays::default() }
    }

    /// The same ledger. A DynamoDB table keeps the attempts that are written from now on for so many days.
    #[must_use]
    pub fn with_attempt_days(self, attempt_days: AttemptDays) -> Self {
        Self { attempt_days, ..self }
    }

    /// A ledger in a file, to be written. The file is made at first use.
    ///
    /// # Errors
    /// When the file cannot be opened, or is something else.
    #[cfg(feature = "cli")]
    pub fn open_file(path: &Path, durability: Durability) -> Result<Self, LedgerError> {
        SqliteTable::open(path, durability).map(|table| Self::new(Table::Sqlite(table)))
    }

    /// A ledger in a file, to be read. One that is not there is not made.
    ///
    /// # Errors
    /// When there is no such file, or it is something else.
    #[cfg(feature = "cli")]
    pub fn read_file(path: &Path) -> Result<Self, LedgerError> {
        SqliteTable::open_read_only(path).map(|table| Self::new(Table::Sqlite(table)))
    }

    /// A ledger in memory.
    ///
    /// # Errors
    /// When there is no memory for it.
    #[cfg(feature = "cli")]
    pub fn in_memory() -> Result<Self, LedgerError> {
        SqliteTable::in_memory().map(|table| Self::new(Table::Sqlite(table)))
    }

    /// Reads the latest dry runs of these keys, each with its version: a result for each key, in their order (R14). No key is
    /// named twice.
    pub async fn load_dry_runs(
        &self,
        keys: &[KeyRef],
    ) -> Vec<Result<Option<(DryRunState, Version)>, CallError>> {
        let read = |found: Option<Item>| found.map(|item| decoded(item, versioned_dry_run)).transpose();
        self.get(keys, codec::DRY_RUN).await.into_iter().map(|found| found.and_then(read)).collect()
    }

    /// Stores dry runs, each in place of the one with this version: a result for each, in their order (R14). No key is named
    /// twice. `false`: another one is stored by now, which says something else, and it stays.
    pub async fn put_dry_runs(&self, dry_runs: &[(DryRunState, Version)]) -> Vec<Result<bool, CallError>> {
        let encode = |(dry_run, expected): &(DryRunState, Version)| {
            let names = dry_run.assessed().map(codec::encode_dry_run_names).unwrap_or_default();
            let next = codec::encode_dry_run(dry_run, expected.next())?;
            let mut writes = vec![Write::Put(next, condition(*expected))];
            writes.extend(puts(names).into_iter().take(MAX_WRITES - 1));
            Ok(writes)
        };
        let written = self.write(dry_runs.iter().map(encode)).await.into_iter().zip(dry_runs);
        let is_stored = |(written, (dry_run, _)): (Result<Written, CallError>, &(DryRunState, Version))| {
            Ok(match written? {
                Written::Done => true,
                // It may be this very write, whose reply was lost.
                Written::Refused { stored, .. } => stored
                    .and_then(|item| codec::decode_dry_run(item).ok())
                    .is_some_and(|stored| stored.says_the_same_as(dry_run)),
            })
        };
        written.map(is_stored).collect()
    }

    /// Writes an item that needs no condition.
    pub(super) async fn put(&self, item: Result<Item, EncodeError>) -> Result<(), CallError> {
        let writes = [item.map(|item| puts(vec![item]))];
        self.write(writes.into_iter()).await.into_iter().try_for_each(|written| written.map(drop))
    }

    /// Performs these groups of writes: a result for each, in their order.
    async fn write(
        &self,
        groups: impl Iterator<Item = Result<Vec<Write>, EncodeError>>,
    ) -> Vec<Result<Written, CallError>> {
        let (mut results, mut writes) = (Vec::new(), Vec::new());
        for group in groups {
            results.push(group.map(|group| writes.push(group)).map_err(not_encoded));
        }
        let mut written = self.table.write(writes).await.into_iter();
        let mut reply = |()| {
            written.next().map_or_else(|| Err(CallError::no_result()), |reply| reply.map_err(CallError::from))
        };
        results.into_iter().map(|result| result.and_then(&mut reply)).collect()
    }

    async fn get(&self, keys: &[KeyRef], sk: &str) -> Vec<Result<Option<Item>, CallError>> {
        let places: Vec<_> = keys.iter().map(|key| codec::place(key, sk)).collect();
        let found = self.table.get(&places, &mut Cost::default()).await;
        found.into_iter().map(|found| found.map_err(CallError::from)).collect()
    }
}

impl KeyStore for Ledger {
    async fn load(&self, keys: &[KeyRef]) -> Vec<Result<StoredState, CallError>> {
        let read = |found: Option<Item>| match found {
            Some(item) => decoded(item, codec::decode_state),
            None => Ok(StoredState::ABSENT),
        };
        self.get(keys, codec::STATE).await.into_iter().map(|found| found.and_then(read)).collect()
    }

    async fn commit(&self, commits: &[Commit]) -> Vec<Result<CommitReply, CallError>> {
        let (mut places, mut groups) = (Vec::new(), Vec::new());
        for commit in commits {
            places.push((codec::place(&commit.key, codec::STATE), commit.expected));
            groups.push(encode(commit));
        }
        let written = self.write(groups.into_iter()).await.into_iter().zip(places);
        written.map(|(written, (place, expected))| commit_reply(written?, &place, expected)).collect()
    }

    async fn append(&self, entry: &LogEntry) -> Result<(), CallError> {
        self.put(codec::encode_log(entry)).await
    }

    async fn resumable_keys(
        &self,
        now: Time,
        cursor: Option<&KeyCursor>,
    ) -> Result<KeyPage<StoredState>, CallError> {
        page(&self.table, pages::due(now), cursor).await
    }

    async fn known_keys(
        &self,
        account: &AccountId,
        ended_since: Option<Time>,
        cursor: Option<&KeyCursor>,
    ) -> Result<KeyPage<StoredState>, CallError> {
        page(&self.table, pages::known(account, ended_since), cursor).await
    }

    async fn load_sweep_record(&self, account: &AccountId) -> Result<Option<SweepRecord>, CallError> {
        let found = self.table.get(&[codec::sweep_place(account)], &mut Cost::default()).await;
        let found = found.into_iter().next().unwrap_or_else(|| Ok(None))?;
        found.map(|item| decoded(item, codec::decode_sweep)).transpose()
    }

    async fn put_sweep_record(&self, account: &AccountId, record: &SweepRecord) -> Result<(), CallError> {
        self.put(codec::encode_sweep(account, *record)).await
    }
}

impl AttemptStore for Ledger {
    async fn record_attempt(&self, event: &CredentialEvent) -> Result<(), CallError> {
        let event = AuditEvent::new(event.clone()).or_else(|| AuditEvent::of_unjudged_key(event.clone()));
        // Other events about keys have a history.
        let Some(event) = event else { return Ok(()) };
        self.record_audit_events(&[event]).await.into_iter().collect()
    }

    async fn has_console_key(&self, account: &AccountId, user: &UserName) -> Result<bool, CallError> {
        self.has_console_key_in(account, user, &[codec::STATE]).await
    }
}

/// The next state if the expected one is stored, its line of history, the former names of the key's user, and the deletion
/// that it starts.
fn encode(commit: &Commit) -> Result<Vec<Write>, EncodeError> {
    let Commit { key, expected, next, log, counts } = commit;
    let mut others = vec![codec::encode_log(log)?];
    if let Some(record) = next.record() {
        others.extend(codec::encode_former_names(record));
        // A user with more former names than fit is found by those that do. The record has them all.
        others.truncate(MAX_WRITES - 2);
    }
    let next = codec::encode_state(key, expected.next(), next)?;
    let mut writes = vec![Write::Put(next, condition(*expected))];
    writes.extend(puts(others));
    if let Some(budget) = counts {
        writes.push(Write::Count { key: codec::budget_place(budget), limit: budget.limit });
    }
    Ok(writes)
}

/// Only the state and the counter of a commit have conditions, and the state comes first.
fn commit_reply(written: Written, place: &ItemKey, expected: Version) -> Result<CommitReply, CallError> {
    match written {
        Written::Done => Ok(CommitReply::Committed(expected.next())),
        Written::Refused { which: 0, stored: Some(item) } => {
            decoded(item, codec::decode_state).map(CommitReply::Conflict)
        }
        Written::Refused { which: 0, stored: None } if expected != Version::ABSENT => {
            Ok(CommitReply::Conflict(StoredState::ABSENT))
        }
        Written::Refused { which: 0, stored: None } => {
            let why = "it is there, and the store did not return it".to_owned();
            Err(unreadable(codec::unreadable(place, &why)))
        }
        Written::Refused { .. } => Ok(CommitReply::RateLimited),
    }
}

/// What has to be stored for the write that follows this version.
const fn condition(expected: Version) -> Condition {
    match expected {
        Version::ABSENT => Condition::Absent,
        Version(version) => Condition::Version(version),
    }
}

fn versioned_dry_run(item: Item) -> Result<(DryRunState, Version), String> {
    let version = item.version.ok_or("it has no version")?;
    Ok((codec::decode_dry_run(item)?, Version(version)))
}

/// Writes that need no condition.
fn puts(items: Vec<Item>) -> Vec<Write> {
    items.into_iter().take(MAX_WRITES).map(|item| Write::Put(item, Condition::None)).collect()
}

/// Reads an item. The error of an unreadable one names it.
fn decoded<T>(item: Item, decode: impl FnOnce(Item) -> Result<T, String>) -> Result<T, CallError> {
    let key = item.key.clone();
    decode(item).map_err(|why| unreadable(codec::unreadable(&key, &why)))
}

fn unreadable(error: LedgerError) -> CallError {
    TableError::permanent("reading an item", error).into()
}

fn not_encoded(error: EncodeError) -> CallError {
    CallError { call: "making an item", retry: Retry::Permanent, source: Box::new(error) }
}
