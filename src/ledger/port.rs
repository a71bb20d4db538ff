//! The port of items: what the ledger needs of a store.
//!
//! An item has a partition key and a sort key, places in indexes, and a body of fields. A store knows nothing of what they
//! mean. `codec` does.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::cost::Cost;
use super::error::LedgerError;
use key_guard_core::lifecycle::effect::{CallError, Retry};

/// A secondary index. It has the primary keys of the items that have its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    /// The field with its partition key.
    pub field: &'static str,
    /// The field with its sort key.
    pub sort: &'static str,
}

const fn index(name: &'static str, field: &'static str) -> Index {
    Index { name, field, sort: AT_KEY }
}

pub(super) const BY_USER: Index = index("by_user", "user_key");
pub(super) const BY_ACTOR: Index = index("by_actor", "actor_key");
pub(super) const BY_ROLE: Index = index("by_role", "role_key");
pub(super) const BY_MONTH: Index = index("by_month", "month_key");
pub(super) const BY_ACCOUNT: Index = index("by_account", "account_key");
pub(super) const BY_DUE: Index = Index { sort: DUE_AT, ..index("by_due", "due_key") };

/// The indexes of a ledger.
pub const INDEXES: [Index; 6] = [BY_USER, BY_ACTOR, BY_ROLE, BY_MONTH, BY_ACCOUNT, BY_DUE];

/// What most indexes sort by.
pub(super) const AT_KEY: &str = "at_key";

/// What `by_due` sorts by.
pub(super) const DUE_AT: &str = "due_at";

/// The fields with an item's places in the indexes.
pub(super) fn place_fields() -> impl Iterator<Item = &'static str> {
    [AT_KEY, DUE_AT].into_iter().chain(INDEXES.iter().map(|index| index.field))
}

/// The primary key of an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct ItemKey {
    pub(super) pk: String,
    pub(super) sk: String,
}

impl ItemKey {
    pub(super) fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self { pk: pk.into(), sk: sk.into() }
    }
}

/// An item.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub(super) key: ItemKey,
    /// Its places in the indexes, by field: see [`place_fields`].
    pub(super) places: Vec<(&'static str, String)>,
    /// What a conditional write compares.
    pub(super) version: Option<u64>,
    pub(super) body: Map<String, Value>,
}

impl Item {
    /// A text field of the body.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.body.get(field).and_then(Value::as_str)
    }
}

/// A write of one item.
#[derive(Debug, Clone)]
pub(super) enum Write {
    /// Put an item in place of what is there.
    Put(Item, Condition),
    /// Add one to the item's field `deletions`, unless it has reached the limit.
    Count { key: ItemKey, limit: u32 },
}

/// What has to be stored, for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// Whatever is there.
    None,
    /// Nothing.
    Absent,
    /// An item of this version.
    Version(u64),
}

/// What came of writes that happen together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Written {
    /// They happened.
    Done,
    /// None happened, for a condition failed: the first in their order. This is stored instead.
    Refused { which: usize, stored: Option<Item> },
}

/// Items of one partition of the table, in the order of their sort keys.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) pk: String,
    /// What their sort keys begin with. `None`: anything.
    pub(super) prefix: Option<String>,
    pub(super) limit: usize,
}

/// A page of items.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) items: Vec<Item>,
    /// Where the next page begins: behind this item. `None`: this page is the last one.
    pub(super) next: Option<ItemKey>,
    #[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "only questions say what they cost"))]
    pub(super) cost: Cost,
}

/// Entries of one partition of an index.
#[derive(Debug, Clone)]
pub(super) struct IndexQuery {
    pub(super) index: Index,
    pub(super) partition: String,
    /// The first and the last sort key, both included.
    pub(super) range: Option<(String, String)>,
    pub(super) newest_first: bool,
    pub(super) limit: usize,
}

/// What an index has of an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its sort key in the index.
    pub(super) at: String,
    #[serde(flatten)]
    pub(super) key: ItemKey,
}

/// A page of entries.
#[derive(Debug, Default)]
pub(super) struct IndexPage {
    pub(super) entries: Vec<Entry>,
    /// Where the next page begins: behind this entry. `None`: this page is the last one.
    pub(super) next: Option<Entry>,
    #[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "only questions say what they cost"))]
    pub(super) cost: Cost,
}

/// A call of a store that failed. It may have been for many items, and each of them gets the error.
#[derive(Debug, Clone)]
pub(super) struct TableError {
    pub(super) call: &'static str,
    pub(super) retry: Retry,
    pub(super) error: LedgerError,
}

impl TableError {
    pub(super) const fn permanent(call: &'static str, error: LedgerError) -> Self {
        Self { call, retry: Retry::Permanent, error }
    }
}

impl From<TableError> for CallError {
    fn from(TableError { call, retry, error }: TableError) -> Self {
        Self { call, retry, source: Box::new(error) }
    }
}

impl From<TableError> for LedgerError {
    fn from(error: TableError) -> Self {
        error.error
    }
}

/// How many writes happen together (DynamoDB API reference, `TransactWriteItems`).
pub(super) const MAX_WRITES: usize = 100;
