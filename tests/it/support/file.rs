//! The items of a ledger file, past the guard.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Map, Value};

/// A ledger file.
pub struct LedgerFile(Connection);

impl LedgerFile {
    pub fn open(path: &Path) -> Self {
        Self(Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap())
    }

    /// Every item, in the order of their primary keys: the fields of its body, `pk` and `sk`.
    pub fn items(&self) -> Vec<Map<String, Value>> {
        let mut statement = self.0.prepare("SELECT pk, sk, body FROM items ORDER BY pk, sk").unwrap();
        let item = |row: &rusqlite::Row<'_>| {
            let mut item: Map<String, Value> = serde_json::from_str(&row.get::<_, String>(2)?).unwrap();
            item.insert("pk".to_owned(), row.get::<_, String>(0)?.into());
            item.insert("sk".to_owned(), row.get::<_, String>(1)?.into());
            Ok(item)
        };
        let items = statement.query_map([], item).unwrap();
        items.collect::<rusqlite::Result<_>>().unwrap()
    }

    /// Changes each item.
    pub fn change(&self, change: impl Fn(&mut Map<String, Value>)) {
        for mut item in self.items() {
            let before = item.clone();
            change(&mut item);
            if item != before {
                let key = ["pk", "sk"].map(|field| item.remove(field).unwrap().as_str().unwrap().to_owned());
                let [pk, sk] = key;
                let body = Value::Object(item).to_string();
                let sql = "UPDATE items SET body = ? WHERE pk = ? AND sk = ?";
                assert_eq!(self.0.execute(sql, (body, pk, sk)).unwrap(), 1);
            }
        }
    }

    /// Lets leases look as if they had ended.
    pub fn expire_leases(&self) {
        self.change(|item| {
            if let Some(until) = item.get_mut("intent").and_then(|intent| intent.pointer_mut("/lease/until"))
            {
                *until = "2026-01-01T00:00:00Z".into();
            }
        });
    }

    /// Runs SQL.
    pub fn execute(&self, sql: &str) {
        self.0.execute_batch(sql).unwrap();
    }
}
