//! Items in a SQLite file, or in memory: the ledger of a laptop and of tests.
//!
//! Items are rows, and the indexes are SQL's. A file is in WAL mode: readers are never blocked, and a write waits up to
//! [`MAX_LOCK_WAIT`] for that of another process. A write that has returned survives the end of the
//! process at any moment.
//!
//! The processes that use a file have to be on one machine: they share memory (SQLite, *Write-Ahead Logging*).

mod failure;
mod lock_holder;
mod open;
mod schema;
mod sql;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior};
use serde_json::{Map, Value};

use super::codec::SCHEMA_VERSION;
use super::cost::Cost;
use super::error::LedgerError;
use super::port::{
    Condition, Entry, IndexPage, IndexQuery, Item, ItemKey, Page, Query, TableError, Write, Written,
    place_fields,
};
use key_guard_core::lifecycle::effect::Retry;

use failure::{MAX_LOCK_WAIT, is_busy, unusable};
use open::Unchanged;
use schema::COLUMNS;

pub use open::Durability;

/// SQLite keeps a statement as long as it is among the last so many.
const MAX_STATEMENTS: usize = 64;

/// The table of items in a SQLite file.
#[derive(Debug, Clone)]
pub(super) struct SqliteTable {
    connection: Arc<Mutex<Connection>>,
    /// For errors.
    path: PathBuf,
    /// Where it is read without locks.
    unchanged: Option<Arc<Unchanged>>,
}

impl SqliteTable {
    /// Opens the ledger file to write, and makes it at first use.
    pub(super) fn open(path: &Path, durability: Durability) -> Result<Self, LedgerError> {
        Ok(Self::new(open::to_write(path, durability)?, path))
    }

    /// Opens a ledger file to read it, also from a medium that cannot be written. One that is not there is not made.
    pub(super) fn open_read_only(path: &Path) -> Result<Self, LedgerError> {
        let (connection, unchanged) = open::to_read(path)?;
        Ok(Self { unchanged: unchanged.map(Arc::new), ..Self::new(connection, path) })
    }

    /// A ledger in memory.
    pub(super) fn in_memory() -> Result<Self, LedgerError> {
        Ok(Self::new(open::in_memory()?, Path::new(open::IN_MEMORY)))
    }

    fn new(connection: Connection, path: &Path) -> Self {
        connection.set_prepared_statement_cache_capacity(MAX_STATEMENTS);
        Self { connection: Arc::new(Mutex::new(connection)), path: path.to_owned(), unchanged: None }
    }

    /// A panic in another thread leaves no transaction open: it is rolled back.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, call: &'static str, error: &rusqlite::Error) -> TableError {
        let retry = if is_busy(error) { Retry::Locked } else { Retry::Permanent };
        TableError { call, retry, error: unusable(&self.path, error) }
    }

    fn check_unchanged(&self) -> Result<(), TableError> {
        let checked = self.unchanged.as_ref().map_or(Ok(()), |unchanged| unchanged.check());
        checked.map_err(|error| TableError::permanent("SELECT", error))
    }

    pub(super) fn get(&self, keys: &[ItemKey]) -> Vec<Result<Option<Item>, TableError>> {
        match self.get_all(keys) {
            Ok(items) => items.into_iter().map(Ok).collect(),
            Err(error) => keys.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    fn get_all(&self, keys: &[ItemKey]) -> Result<Vec<Option<Item>>, TableError> {
        let connection = self.connection();
        let read = || {
            // One view of the file for all of them, and one lock.
            let view = connection.unchecked_transaction()?;
            keys.iter().map(|key| read_item(&view, key)).collect::<rusqlite::Result<_>>()
        };
        let items = read().map_err(|error| self.failed("SELECT", &error))?;
        self.check_unchanged()?;
        Ok(items)
    }

    pub(super) fn write(&self, groups: &[Vec<Write>]) -> Vec<Result<Written, TableError>> {
        if groups.is_empty() {
            // Nothing is waited for.
            return Vec::new();
        }
        match self.write_all(groups) {
            Ok(written) => written.into_iter().map(Ok).collect(),
            Err(error) => {
                let error = self.failed("COMMIT", &error);
                groups.iter().map(|_| Err(error.clone())).collect()
            }
        }
    }

    fn write_all(&self, groups: &[Vec<Write>]) -> rusqlite::Result<Vec<Written>> {
        let mut connection = self.connection();
        let written = write_groups(&mut connection, groups);
        // What waited in vain once is not waited for again with each write: the caller is told soon.
        let is_locked = written.as_ref().is_err_and(is_busy);
        connection.busy_timeout(if is_locked { Duration::ZERO } else { MAX_LOCK_WAIT })?;
        written
    }

    pub(super) fn query(&self, query: &Query, after: Option<&ItemKey>) -> Result<Page, TableError> {
        let (sql, values) = sql::query(query, after);
        self.page(&sql, values, query.limit)
    }

    pub(super) fn last(&self, pk: &str) -> Result<Option<Item>, TableError> {
        let items = self.rows(&sql::LAST, vec![SqlValue::Text(pk.to_owned())], 1, item_of)?;
        Ok(items.into_iter().next())
    }

    pub(super) fn scan(&self, limit: usize, after: Option<&ItemKey>) -> Result<Page, TableError> {
        let (sql, values) = sql::scan(after);
        self.page(&sql, values, limit)
    }

    fn page(&self, sql: &str, values: Vec<SqlValue>, limit: usize) -> Result<Page, TableError> {
        let items = self.rows(sql, values, limit, item_of)?;
        let next = items.last().filter(|_| items.len() >= limit).map(|item| item.key.clone());
        Ok(Page { items, next, cost: ONE_CALL })
    }

    pub(super) fn query_index(
        &self,
        query: &IndexQuery,
        after: Option<&Entry>,
    ) -> Result<IndexPage, TableError> {
        let (sql, values) = sql::query_index(query, after);
        let entries = self.rows(&sql, values, query.limit, |row| {
            Ok(Entry { key: ItemKey { pk: row.get(0)?, sk: row.get(1)? }, at: row.get(2)? })
        })?;
        let next = entries.last().filter(|_| entries.len() >= query.limit).cloned();
        Ok(IndexPage { entries, next, cost: ONE_CALL })
    }

    fn rows<T>(
        &self,
        sql: &str,
        mut values: Vec<SqlValue>,
        limit: usize,
        read_row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, TableError> {
        values.push(SqlValue::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
        let connection = self.connection();
        let read = || {
            let mut statement = connection.prepare_cached(sql)?;
            statement
                .query_map(rusqlite::params_from_iter(values), read_row)?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = read().map_err(|error| self.failed("SELECT", &error))?;
        self.check_unchanged()?;
        Ok(rows)
    }
}

const ONE_CALL: Cost = Cost { calls: 1, units: 0.0 };

fn write_groups(connection: &mut Connection, groups: &[Vec<Write>]) -> rusqlite::Result<Vec<Written>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let written = groups.iter().map(|group| write_group(&transaction, group)).collect::<Result<_, _>>()?;
    transaction.commit()?;
    Ok(written)
}

/// Checks what a group depends on, and then writes it. Nothing changes in between.
fn write_group(connection: &Connection, group: &[Write]) -> rusqlite::Result<Written> {
    for (which, write) in group.iter().enumerate() {
        if let Some(refused) = refusal(connection, which, write)? {
            return Ok(refused);
        }
    }
    for write in group {
        match write {
            Write::Put(item, _) => put_item(connection, item)?,
            Write::Count { key, .. } => count(connection, key)?,
        }
    }
    Ok(Written::Done)
}

/// What comes of a group if one of its conditions fails.
fn refusal(connection: &Connection, which: usize, write: &Write) -> rusqlite::Result<Option<Written>> {
    let stored = match write {
        Write::Put(_, Condition::None) => return Ok(None),
        Write::Put(item, _) => read_item(connection, &item.key)?,
        Write::Count { key, .. } => read_item(connection, key)?,
    };
    let holds = match write {
        Write::Put(_, Condition::None) => true,
        Write::Put(_, Condition::Absent) => stored.is_none(),
        Write::Put(_, Condition::Version(version)) => {
            stored.as_ref().is_some_and(|stored| stored.version == Some(*version))
        }
        Write::Count { limit, .. } => stored.as_ref().map_or(0, deletions) < u64::from(*limit),
    };
    Ok((!holds).then_some(Written::Refused { which, stored }))
}

fn deletions(item: &Item) -> u64 {
    item.body.get("deletions").and_then(Value::as_u64).unwrap_or_default()
}

fn count(connection: &Connection, key: &ItemKey) -> rusqlite::Result<()> {
    let deletions = read_item(connection, key)?.as_ref().map_or(0, deletions) + 1;
    let body = [("v".to_owned(), SCHEMA_VERSION.into()), ("deletions".to_owned(), deletions.into())];
    let body = Map::from_iter(body);
    put_item(connection, &Item { key: key.clone(), places: Vec::new(), version: None, body })
}

fn read_item(connection: &Connection, key: &ItemKey) -> rusqlite::Result<Option<Item>> {
    let mut statement = connection.prepare_cached(&sql::GET)?;
    statement.query_row((&key.pk, &key.sk), item_of).optional()
}

fn put_item(connection: &Connection, item: &Item) -> rusqlite::Result<()> {
    let body = serde_json::to_string(&item.body);
    let body = body.map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let version = item.version.map(|version| i64::try_from(version).unwrap_or(i64::MAX));
    let place = |field: &str| item.places.iter().find(|(known, _)| *known == field).map(|(_, place)| place);
    let mut statement = connection.prepare_cached(&sql::PUT)?;
    statement.raw_bind_parameter(1, &item.key.pk)?;
    statement.raw_bind_parameter(2, &item.key.sk)?;
    statement.raw_bind_parameter(3, version)?;
    statement.raw_bind_parameter(4, body)?;
    for (number, field) in place_fields().enumerate() {
        statement.raw_bind_parameter(COLUMNS.len() + 1 + number, place(field))?;
    }
    statement.raw_execute()?;
    Ok(())
}

/// A body that is no JSON is not the guard's. It has none here.
fn item_of(row: &Row<'_>) -> rusqlite::Result<Item> {
    let key = ItemKey { pk: row.get(0)?, sk: row.get(1)? };
    let version: Option<i64> = row.get(2)?;
    let body = row.get_ref(3)?.as_bytes().ok().and_then(|body| serde_json::from_slice(body).ok());
    let body = body.unwrap_or_default();
    let mut item =
        Item { key, places: Vec::new(), version: version.and_then(|version| version.try_into().ok()), body };
    for (number, field) in place_fields().enumerate() {
        let place: Option<String> = row.get(COLUMNS.len() + number)?;
        item.places.extend(place.map(|place| (field, place)));
    }
    Ok(item)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::port::{AT_KEY, BY_USER};

    /// So few values that many items are at the same place.
    fn items() -> impl Strategy<Value = Vec<Item>> {
        let item = ("[ab]", "[a-f\u{e9}\u{1f511}]", option::of("[uv]"), "[a-d]{1,2}", any::<u32>());
        let item = item.prop_map(|(pk, sk, user, at_key, number)| {
            let user = user.map(|user| (BY_USER.field, user));
            let places = user.into_iter().chain([(AT_KEY, at_key)]).collect();
            let body = Map::from_iter([("number".to_owned(), number.into())]);
            Item { key: ItemKey { pk, sk }, places, version: Some(number.into()), body }
        });
        vec(item, 0..40)
    }

    use proptest::option;

    /// All pages, which are as long as they may be.
    fn pages<T, P>(limit: usize, page: impl Fn(Option<&P>) -> (Vec<T>, Option<P>)) -> Vec<T> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (part, next) = page(after.as_ref());
            assert!(part.len() == limit || (part.len() < limit && next.is_none()));
            all.extend(part);
            after = next;
            if after.is_none() {
                return all;
            }
        }
    }

    fn filled(items: Vec<Item>) -> (SqliteTable, BTreeMap<ItemKey, Item>) {
        let table = SqliteTable::in_memory().unwrap();
        let writes = items.iter().map(|item| vec![Write::Put(item.clone(), Condition::None)]);
        assert!(table.write(&writes.collect::<Vec<_>>()).iter().all(Result::is_ok));
        // The last one of a key stays.
        (table, items.into_iter().map(|item| (item.key.clone(), item)).collect())
    }

    proptest! {
        #[test]
        fn the_pages_of_a_partition_have_its_items_in_order(
            items in items(),
            prefix in option::of("[a-d]"),
            limit in 1_usize..9,
        ) {
            let (table, stored) = filled(items);
            let scanned = pages(limit, |after| {
                let page = table.scan(limit, after).unwrap();
                (page.items, page.next)
            });
            prop_assert_eq!(sorted(scanned), sorted(stored.values().cloned().collect()));
            let query = Query { pk: "a".to_owned(), prefix: prefix.clone(), limit };
            let found = pages(limit, |after| {
                let page = table.query(&query, after).unwrap();
                (page.items, page.next)
            });
            let begins = |sk: &str| prefix.as_ref().is_none_or(|prefix| sk.starts_with(prefix));
            let is_wanted = |item: &&Item| item.key.pk == "a" && begins(&item.key.sk);
            prop_assert_eq!(sorted(found), sorted(stored.values().filter(is_wanted).cloned().collect()));
        }

        #[test]
        fn the_pages_of_an_index_have_its_entries_in_order(
            items in items(),
            range in option::of(("[a-d]", "[a-d]{1,2}")),
            newest_first in any::<bool>(),
            limit in 1_usize..9,
        ) {
            let (table, stored) = filled(items);
            let place = |item: &Item, wanted: &str| {
                item.places.iter().find(|(field, _)| *field == wanted).map(|(_, place)| place.clone())
            };
            let entry = |item: &Item| {
                let at = place(item, AT_KEY).unwrap();
                let is_asked_for = range.as_ref().is_none_or(|(from, to)| *from <= at && at <= *to);
                let is_wanted = is_asked_for && place(item, BY_USER.field).as_deref() == Some("u");
                is_wanted.then(|| Entry { at, key: item.key.clone() })
            };
            let mut expected: Vec<_> = stored.values().filter_map(entry).collect();
            expected.sort();
            if newest_first {
                expected.reverse();
            }
            let partition = "u".to_owned();
            let query = IndexQuery { index: BY_USER, partition, range: range.clone(), newest_first, limit };
            let found = pages(limit, |after| {
                let page = table.query_index(&query, after).unwrap();
                (page.entries, page.next)
            });
            prop_assert_eq!(found, expected);
        }
    }

    /// The order of an item's places says nothing.
    fn sorted(mut items: Vec<Item>) -> Vec<Item> {
        for item in &mut items {
            item.places.sort();
        }
        items
    }

    #[test]
    fn a_body_that_is_no_json_hides_no_other_item() {
        let table = SqliteTable::in_memory().unwrap();
        let sql = "INSERT INTO items (pk, sk, body) VALUES ('a', '1', '{\"x\": 1}'), ('a', '2', x'ff00'), ('a', '3', 'x'), ('a', '4', 5)";
        table.connection().execute_batch(sql).unwrap();
        let page = table.scan(9, None).unwrap();
        let bodies: Vec<_> = page.items.iter().map(|item| item.body.len()).collect();
        assert_eq!(bodies, [1, 0, 0, 0]);
    }
}
