//! Pages of keys from an index that spreads them over several partitions.

use serde::{Deserialize, Serialize};

use crate::ledger::codec;
use crate::ledger::item::SHARDS;
use crate::ledger::port::{Index, Position, Query};
use crate::ledger::table::Table;
use key_guard_core::Time;
use key_guard_core::lifecycle::effect::{CallError, Retry};
use key_guard_core::lifecycle::state::{KeyState, Phase, StoredState};
use key_guard_core::lifecycle::sweep::{KeyCursor, KeyPage};

/// How many items of 1 to 2 KB a call reads.
const PAGE_SIZE: usize = 200;

/// Where a page begins.
#[derive(Default, Serialize, Deserialize)]
struct Cursor {
    shard: u32,
    after: Option<Position>,
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

    /// Where the next page begins. `None`: there is none.
    fn next(&self, after: Option<Position>) -> Option<KeyCursor> {
        let shard = if after.is_some() { self.shard } else { self.shard + 1 };
        let next = (shard < SHARDS).then_some(Self { shard, after })?;
        serde_json::to_string(&next).ok().map(KeyCursor)
    }
}

/// A page of the keys whose state is wanted. What cannot be read is counted.
pub(super) async fn page(
    table: &Table,
    index: Index,
    cursor: Option<&KeyCursor>,
    partition: impl FnOnce(u32) -> String,
    is_wanted: impl Fn(&KeyState) -> bool,
) -> Result<KeyPage<StoredState>, CallError> {
    let cursor = Cursor::read(cursor)?;
    let query = Query {
        index: Some(index),
        partition: partition(cursor.shard),
        range: None,
        newest_first: false,
        limit: PAGE_SIZE,
    };
    let read = table.query(&query, cursor.after.as_ref()).await?;
    let mut page = KeyPage { keys: Vec::new(), unreadable: 0, next: cursor.next(read.next) };
    for item in read.items.into_iter().filter(|item| item.key.sk != codec::DRY_RUN) {
        let key = item.key.clone();
        match codec::decode_state(item) {
            Ok(stored) if is_wanted(&stored.state) => page.keys.push(stored),
            Ok(_) => {}
            Err(why) => {
                page.unreadable += 1;
                let error = codec::unreadable(&key, &why);
                tracing::warn!(error = %error, "a key is left out");
            }
        }
    }
    Ok(page)
}

/// False for what a sweep does not need: keys without a record, and keys that ended before, once somebody was told of that.
pub(super) fn is_wanted_by_sweep(state: &KeyState, ended_since: Option<Time>) -> bool {
    match state {
        KeyState::Unknown | KeyState::Unconfirmed(_) | KeyState::Tombstone(_) => false,
        KeyState::Tracked(record) => match record.phase {
            Phase::Gone(_) => record.unreported || ended_since.is_none_or(|since| since <= record.changed_at),
            Phase::Settled | Phase::Pending(_) | Phase::Deactivated(_) | Phase::Inactive(_) => true,
        },
    }
}
