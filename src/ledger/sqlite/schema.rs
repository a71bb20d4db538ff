//! The tables and indexes of a ledger file.

use std::path::Path;

use rusqlite::{Connection, Row, Transaction, TransactionBehavior};

use super::failure::{no_ledger, unusable};
use crate::ledger::codec::SCHEMA_VERSION;
use crate::ledger::error::LedgerError;
use crate::ledger::port::{INDEXES, place_fields};
use key_guard_core::text::sanitize_field;

/// Says in the file's header that it is a ledger: `BKGL`.
pub(super) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"BKGL");

pub(super) const OTHER_PROGRAM: &str = "it is a database of another program; choose another path";

/// What the columns of a row are, as far as each item has them. The places in the indexes follow.
pub(super) const COLUMNS: [&str; 4] = ["pk", "sk", "version", "body"];

/// True for a database that nobody has begun to use.
pub(super) fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    let objects: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let id: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    Ok(objects == 0 && id == 0)
}

/// Lets readers and a writer not block each other (SQLite, *Write-Ahead Logging*).
pub(super) fn use_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))
}

pub(super) fn make_schema(connection: &Connection) -> rusqlite::Result<()> {
    use_log(connection)?;
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    // Another process may have been quicker.
    if is_empty(&transaction)? {
        for (_, sql) in schema() {
            transaction.execute(&sql, [])?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    transaction.commit()
}

/// What a ledger file has, by name.
fn schema() -> Vec<(String, String)> {
    let fields: Vec<_> = place_fields().map(|field| format!("{field} TEXT")).collect();
    let [pk, sk, version, body] = COLUMNS;
    let items = format!(
        "CREATE TABLE items ({pk} TEXT NOT NULL, {sk} TEXT NOT NULL, {version} INTEGER, {body} TEXT NOT NULL, {}, \
         UNIQUE (pk, sk))",
        fields.join(", ")
    );
    let indexes = INDEXES.iter().map(|index| {
        let (name, field, sort) = (index.name, index.field, index.sort);
        let sql = format!("CREATE INDEX {name} ON items ({field}, {sort}) WHERE {field} IS NOT NULL");
        (name.to_owned(), sql)
    });
    [("items".to_owned(), items)].into_iter().chain(indexes).collect()
}

/// What SQLite adds to a table by itself: the index of its key, and what `ANALYZE` counted.
const OF_SQLITE: [(&str, &str); 3] =
    [("index", "sqlite_autoindex_items_1"), ("table", "sqlite_stat1"), ("table", "sqlite_stat4")];

/// A table, an index, a trigger or a view.
struct Object {
    kind: String,
    name: String,
    sql: Option<String>,
}

/// A ledger of this version has exactly the guard's table and indexes: no trigger, no view.
pub(super) fn refuse_other_schemas(connection: &Connection, path: &Path) -> Result<(), LedgerError> {
    let number = |pragma| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let read = || {
        let id = number("PRAGMA application_id")?;
        let version = number("PRAGMA user_version")?;
        let mut statement = connection.prepare("SELECT type, name, sql FROM sqlite_schema")?;
        let object = |row: &Row<'_>| Ok(Object { kind: row.get(0)?, name: row.get(1)?, sql: row.get(2)? });
        let objects = statement.query_map([], object)?.collect::<rusqlite::Result<Vec<_>>>()?;
        Ok((id, version, objects))
    };
    let (id, version, objects) = read().map_err(|error| unusable(path, &error))?;
    if id != i64::from(APPLICATION_ID) {
        return Err(no_ledger(path, OTHER_PROGRAM));
    }
    if version != i64::from(SCHEMA_VERSION) {
        let why = format!(
            "it is a ledger of version {version}, and this build reads version {SCHEMA_VERSION}; export it with the \
             build that wrote it, and import that into a new file"
        );
        return Err(no_ledger(path, &why));
    }
    let schema = schema();
    let is_known = |object: &&Object| {
        OF_SQLITE.contains(&(object.kind.as_str(), object.name.as_str()))
            || schema.iter().any(|(name, sql)| *name == object.name && Some(sql) == object.sql.as_ref())
    };
    if let Some(Object { kind, name, .. }) = objects.iter().find(|object| !is_known(object)) {
        let (kind, name) = (sanitize_field(kind), sanitize_field(name));
        return Err(no_ledger(
            path,
            &format!("it has the {kind} {name}, which is not the guard's; {CHANGED}"),
        ));
    }
    match schema.iter().find(|(name, _)| !objects.iter().any(|object| object.name == *name)) {
        None => Ok(()),
        Some((name, _)) => Err(no_ledger(path, &format!("it lacks {name}; {CHANGED}"))),
    }
}

const CHANGED: &str = "another program changed it: restore a copy of it, or begin a new one";
