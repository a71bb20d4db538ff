//! Items in a SQLite file, or in memory: the ledger of a laptop and of tests.
//!
//! Items are rows, and the indexes are SQL's. A file is in WAL mode: readers are never blocked, and a write waits up to
//! [`MAX_LOCK_WAIT`](failure::MAX_LOCK_WAIT) for that of another process. A write that has returned survives the end of the process at any moment.

mod failure;
mod open;
mod schema;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::types::Value as SqlValue;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, TransactionBehavior};
use serde_json::{Map, Value};

use super::codec::SCHEMA_VERSION;
use super::cost::Cost;
use super::error::LedgerError;
use super::port::{Condition, Item, ItemKey, Page, Position, Query, TableError, Write, Written};

use failure::unusable;
use schema::{COLUMNS, places};

pub use open::{Durability, new_file};

/// SQLite keeps a statement as long as it is among the last so many.
const MAX_STATEMENTS: usize = 64;

/// The table of items in a SQLite file.
#[derive(Debug, Clone)]
pub(super) struct SqliteTable {
    connection: Arc<Mutex<Connection>>,
    /// For errors.
    path: PathBuf,
}

impl SqliteTable {
    /// Opens the ledger file to write, and makes it at first use.
    pub(super) fn open(path: &Path, durability: Durability) -> Result<Self, LedgerError> {
        Ok(Self::new(open::to_write(path, durability)?, path))
    }

    /// Opens a ledger file to read it, also from a medium that cannot be written. One that is not there is not made.
    pub(super) fn open_read_only(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self::new(open::to_read(path)?, path))
    }

    /// A ledger in memory.
    pub(super) fn in_memory() -> Result<Self, LedgerError> {
        Ok(Self::new(open::in_memory()?, Path::new(open::IN_MEMORY)))
    }

    fn new(connection: Connection, path: &Path) -> Self {
        connection.set_prepared_statement_cache_capacity(MAX_STATEMENTS);
        Self { connection: Arc::new(Mutex::new(connection)), path: path.to_owned() }
    }

    /// A panic in another thread leaves no transaction open: it is rolled back.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, call: &'static str, error: &rusqlite::Error) -> TableError {
        TableError::permanent(call, unusable(&self.path, error))
    }

    pub(super) fn get(&self, keys: &[ItemKey]) -> Vec<Result<Option<Item>, TableError>> {
        let connection = self.connection();
        let get = |key| read_item(&connection, key).map_err(|error| self.failed("SELECT", &error));
        keys.iter().map(get).collect()
    }

    pub(super) fn write(&self, groups: &[Vec<Write>]) -> Vec<Result<Written, TableError>> {
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
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let written =
            groups.iter().map(|group| write_group(&transaction, group)).collect::<Result<_, _>>()?;
        transaction.commit()?;
        Ok(written)
    }

    pub(super) fn query(&self, query: &Query, after: Option<&Position>) -> Result<Page, TableError> {
        let (sql, values) = query_of(query, after);
        self.page(&sql, values, query.limit, query.index.is_some())
    }

    pub(super) fn scan(&self, limit: usize, after: Option<&Position>) -> Result<Page, TableError> {
        let mut sql = select();
        let mut values = Vec::new();
        if let Some(after) = after {
            sql += " WHERE (pk, sk) > (?, ?)";
            values.extend([text(&after.key.pk), text(&after.key.sk)]);
        }
        sql += " ORDER BY pk, sk LIMIT ?";
        self.page(&sql, values, limit, false)
    }

    fn page(
        &self,
        sql: &str,
        mut values: Vec<SqlValue>,
        limit: usize,
        is_index: bool,
    ) -> Result<Page, TableError> {
        values.push(SqlValue::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
        let connection = self.connection();
        let read = || {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map(rusqlite::params_from_iter(values), item_of)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let items = read().map_err(|error| self.failed("SELECT", &error))?;
        let last = items.last().filter(|_| items.len() >= limit);
        let next = last.map(|item| {
            let at_key = is_index.then(|| item.at_key().to_owned());
            Position { key: item.key.clone(), at_key }
        });
        Ok(Page { items, next, cost: Cost { calls: 1, units: 0.0 } })
    }
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
    let mut statement = connection.prepare_cached(&(select() + " WHERE pk = ? AND sk = ?"))?;
    statement.query_row((&key.pk, &key.sk), item_of).optional()
}

fn put_item(connection: &Connection, item: &Item) -> rusqlite::Result<()> {
    let mut statement = put_statement(connection)?;
    let place = |field: &str| item.places.iter().find(|(known, _)| *known == field).map(|(_, place)| place);
    let version = item.version.map(|version| i64::try_from(version).unwrap_or(i64::MAX));
    statement.raw_bind_parameter(1, &item.key.pk)?;
    statement.raw_bind_parameter(2, &item.key.sk)?;
    statement.raw_bind_parameter(3, version)?;
    statement.raw_bind_parameter(4, serde_json::to_string(&item.body).unwrap_or_default())?;
    for (number, field) in places().enumerate() {
        statement.raw_bind_parameter(COLUMNS.len() + 1 + number, place(field))?;
    }
    statement.raw_execute()?;
    Ok(())
}

fn put_statement(connection: &Connection) -> rusqlite::Result<CachedStatement<'_>> {
    let columns: Vec<_> = COLUMNS.into_iter().chain(places()).collect();
    let marks = vec!["?"; columns.len()].join(", ");
    let updates: Vec<_> =
        columns.iter().skip(2).map(|column| format!("{column} = excluded.{column}")).collect();
    let (columns, updates) = (columns.join(", "), updates.join(", "));
    connection.prepare_cached(&format!(
        "INSERT INTO items ({columns}) VALUES ({marks}) ON CONFLICT (pk, sk) DO UPDATE SET {updates}"
    ))
}

fn select() -> String {
    let columns: Vec<_> = COLUMNS.into_iter().chain(places()).collect();
    format!("SELECT {} FROM items", columns.join(", "))
}

fn query_of(query: &Query, after: Option<&Position>) -> (String, Vec<SqlValue>) {
    let Query { index, partition, range, newest_first, .. } = query;
    let (operator, order) = if *newest_first { ("<", "DESC") } else { (">", "ASC") };
    let mut values = vec![text(partition)];
    let (field, sort) = match index {
        None => ("pk", format!("sk {order}")),
        Some(index) => (index.field, format!("at_key {order}, pk {order}, sk {order}")),
    };
    let mut bounds = String::new();
    if let Some((from, to)) = range {
        bounds += " AND at_key BETWEEN ? AND ?";
        values.extend([text(from), text(to)]);
    }
    match after {
        None => {}
        Some(Position { key, at_key: None }) => {
            bounds = format!("{bounds} AND sk {operator} ?");
            values.push(text(&key.sk));
        }
        Some(Position { key, at_key: Some(at_key) }) => {
            // The first condition is what SQLite finds the place in the index by.
            bounds = format!("{bounds} AND at_key {operator}= ? AND (at_key, pk, sk) {operator} (?, ?, ?)");
            values.extend([text(at_key), text(at_key), text(&key.pk), text(&key.sk)]);
        }
    }
    (format!("{} WHERE {field} = ?{bounds} ORDER BY {sort} LIMIT ?", select()), values)
}

fn text(text: &str) -> SqlValue {
    SqlValue::Text(text.to_owned())
}

/// A body that is no JSON is not the guard's. It has none here.
fn item_of(row: &Row<'_>) -> rusqlite::Result<Item> {
    let key = ItemKey { pk: row.get(0)?, sk: row.get(1)? };
    let version: Option<i64> = row.get(2)?;
    let body = serde_json::from_str(row.get_ref(3)?.as_str()?).unwrap_or_default();
    let mut item =
        Item { key, places: Vec::new(), version: version.and_then(|version| version.try_into().ok()), body };
    for (number, field) in places().enumerate() {
        let place: Option<String> = row.get(COLUMNS.len() + number)?;
        item.places.extend(place.map(|place| (field, place)));
    }
    Ok(item)
}
