//! Pages of keys from indexes that spread them over several partitions.

use serde::{Deserialize, Serialize};

use crate::ledger::codec;
use crate::ledger::cost::Cost;
use crate::ledger::item::{self, SHARDS};
use crate::ledger::port::{BY_ACCOUNT, BY_DUE, Entry, Index, IndexQuery};
use crate::ledger::table::Table;
use key_guard_core::Time;
use key_guard_core::key::AccountId;
use key_guard_core::lifecycle::effect::{CallError, Retry};
use key_guard_core::lifecycle::state::{Record, StoredState};
use key_guard_core::lifecycle::sweep::{KeyCursor, KeyPage};

/// How many keys a page has: two calls read their states (DynamoDB API reference, `BatchGetItem`).
const PAGE_SIZE: usize = 200;

/// A partition of an index, or a part of it.
pub(super) struct Partition {
    index: Index,
    value: String,
    /// The first and the last sort key.
    range: Option<(String, String)>,
    is_wanted: fn(&Record) -> bool,
}

/// The key of an entry may have ended since it was written, and has another entry then.
const fn has_ended(record: &Record) -> bool {
    record.phase.gone().is_some()
}

const fn exists(record: &Record) -> bool {
    !has_ended(record)
}

/// What a resume has to do by this time.
pub(super) fn due(until: Time) -> Vec<Partition> {
    let range = Some((item::FIRST.to_owned(), item::to_second(until) + item::LAST));
    let of_shard = |shard| Partition {
        index: BY_DUE,
        value: item::open_key(shard),
        range: range.clone(),
        is_wanted: exists,
    };
    (0..SHARDS).map(of_shard).collect()
}

/// The keys of an account that have ended since, and then those that exist: one that ends in between is found at most once, and otherwise by the next
/// sweep.
pub(super) fn known(account: &AccountId, ended_since: Option<Time>) -> Vec<Partition> {
    let since = ended_since.map_or_else(|| item::FIRST.to_owned(), item::to_second);
    let range = Some((since, item::LAST.to_owned()));
    let ended = |shard| Partition {
        index: BY_DUE,
        value: item::ended_key(account, shard),
        range: range.clone(),
        is_wanted: has_ended,
    };
    let existing = |shard| Partition {
        index: BY_ACCOUNT,
        value: item::account_key(account, shard),
        range: None,
        is_wanted: exists,
    };
    (0..SHARDS).map(ended).chain((0..SHARDS).map(existing)).collect()
}

/// Where a page begins.
#[derive(Default, Serialize, Deserialize)]
struct Cursor {
    partition: usize,
    after: Option<Entry>,
    /// The range that the partition is read in: another one might not have the entry that it goes on behind.
    range: Option<(String, String)>,
}

/// A cursor that this store did not make.
#[derive(Debug, thiserror::Error)]
#[error("the cursor of a page of keys cannot be read")]
struct InvalidCursor(#[source] serde_json::Error);

impl Cursor {
    fn read(cursor: Option<&KeyCursor>) -> Result<Self, CallError> {
        let Some(KeyCursor(text)) = cursor else { return Ok(Self::default()) };
        serde_json::from_str(text).map_err(|error| CallError {
            call: "Query",
            retry: Retry::Permanent,
            source: Box::new(InvalidCursor(error)),
        })
    }

    fn write(&self) -> Result<KeyCursor, CallError> {
        let text = serde_json::to_string(self);
        text.map(KeyCursor).map_err(|error| CallError {
            call: "making a cursor",
            retry: Retry::Permanent,
            source: Box::new(error),
        })
    }
}

/// A page of the keys in these partitions that have a record. What cannot be read is counted. Partitions with nothing that
/// is wanted are passed over.
pub(super) async fn page(
    table: &Table,
    partitions: Vec<Partition>,
    cursor: Option<&KeyCursor>,
) -> Result<KeyPage<StoredState>, CallError> {
    let Cursor { partition: first, mut after, range } = Cursor::read(cursor)?;
    let mut page = KeyPage { keys: Vec::new(), unreadable: 0, next: None };
    let count = partitions.len();
    for (number, mut partition) in partitions.into_iter().enumerate().skip(first) {
        if after.is_some() {
            partition.range.clone_from(&range);
        }
        let range = partition.range.clone();
        after = partition.read(table, after.as_ref(), &mut page).await?;
        let partition = if after.is_some() { number } else { number + 1 };
        let is_empty = page.keys.is_empty() && page.unreadable == 0;
        if !is_empty || after.is_some() {
            if partition < count {
                page.next = Some(Cursor { partition, after, range }.write()?);
            }
            break;
        }
    }
    Ok(page)
}

impl Partition {
    /// Adds a page of this partition, and returns where it ended.
    async fn read(
        self,
        table: &Table,
        after: Option<&Entry>,
        page: &mut KeyPage<StoredState>,
    ) -> Result<Option<Entry>, CallError> {
        let Self { index, value: partition, range, is_wanted } = self;
        let query = IndexQuery { index, partition, range, newest_first: false, limit: PAGE_SIZE };
        let read = table.query_index(&query, after).await?;
        let keys = read.entries.into_iter().map(|entry| entry.key);
        let states: Vec<_> = keys.filter(|key| key.sk.ends_with(codec::STATE)).collect();
        for item in table.get(&states, &mut Cost::default()).await {
            let Some(item) = item? else { continue };
            let key = item.key.clone();
            match codec::decode_state(item) {
                Ok(stored) if stored.state.record().is_some_and(is_wanted) => page.keys.push(stored),
                Ok(_) => {}
                Err(why) => {
                    page.unreadable += 1;
                    let error = codec::unreadable(&key, &why);
                    tracing::warn!(error = %error, "a key is left out");
                }
            }
        }
        Ok(read.next)
    }
}
