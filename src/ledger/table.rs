//! The stores of items: DynamoDB, and SQLite in the command line.

use super::cost::Cost;
use super::dynamodb::DynamoTable;
use super::port::{Entry, IndexPage, IndexQuery, Item, ItemKey, Page, Query, TableError, Write, Written};
#[cfg(feature = "cli")]
use super::sqlite::SqliteTable;

/// A store of items.
#[derive(Debug, Clone)]
pub(super) enum Table {
    DynamoDb(DynamoTable),
    #[cfg(feature = "cli")]
    Sqlite(SqliteTable),
}

impl Table {
    /// Reads items, strongly consistent: a result for each, in their order. No key is named twice.
    pub(super) async fn get(
        &self,
        keys: &[ItemKey],
        cost: &mut Cost,
    ) -> Vec<Result<Option<Item>, TableError>> {
        match self {
            Self::DynamoDb(table) => table.get(keys, cost).await,
            #[cfg(feature = "cli")]
            Self::Sqlite(table) => table.get(keys),
        }
    }

    /// Performs groups of writes: a result for each group, in their order. Each group happens as a whole or not at all,
    /// whatever becomes of the others. A group has up to [`MAX_WRITES`](super::port::MAX_WRITES) writes. No item is named twice.
    pub(super) async fn write(&self, groups: Vec<Vec<Write>>) -> Vec<Result<Written, TableError>> {
        match self {
            Self::DynamoDb(table) => table.write(groups).await,
            #[cfg(feature = "cli")]
            Self::Sqlite(table) => table.write(&groups),
        }
    }

    /// Reads a page of a partition, strongly consistent, from its beginning or from where another page ended.
    pub(super) async fn query(&self, query: &Query, after: Option<&ItemKey>) -> Result<Page, TableError> {
        match self {
            Self::DynamoDb(table) => table.query(query, after).await,
            #[cfg(feature = "cli")]
            Self::Sqlite(table) => table.query(query, after),
        }
    }

    /// Reads the item of a partition with the last sort key, strongly consistent.
    pub(super) async fn last(&self, pk: &str) -> Result<Option<Item>, TableError> {
        match self {
            Self::DynamoDb(table) => table.last(pk).await,
            #[cfg(feature = "cli")]
            Self::Sqlite(table) => table.last(pk),
        }
    }

    /// Reads a page of a partition of an index, from its beginning or from where another page ended. An index may lack
    /// what was written a moment ago.
    pub(super) async fn query_index(
        &self,
        query: &IndexQuery,
        after: Option<&Entry>,
    ) -> Result<IndexPage, TableError> {
        match self {
            Self::DynamoDb(table) => table.query_index(query, after).await,
            #[cfg(feature = "cli")]
            Self::Sqlite(table) => table.query_index(query, after),
        }
    }

    /// Reads a page of all items. The items of a partition come together, in the order of their sort keys.
    #[cfg(feature = "cli")]
    pub(super) async fn scan(&self, limit: usize, after: Option<&ItemKey>) -> Result<Page, TableError> {
        match self {
            Self::DynamoDb(table) => table.scan(limit, after).await,
            Self::Sqlite(table) => table.scan(limit, after),
        }
    }
}
