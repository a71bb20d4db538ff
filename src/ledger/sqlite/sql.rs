//! The statements on the table of items.

use std::sync::LazyLock;

use rusqlite::types::Value as SqlValue;

use super::schema::{COLUMNS, places};
use crate::ledger::port::{Position, Query};

fn columns() -> Vec<&'static str> {
    COLUMNS.into_iter().chain(places()).collect()
}

/// All items.
static SELECT: LazyLock<String> = LazyLock::new(|| format!("SELECT {} FROM items", columns().join(", ")));

/// The item with a primary key.
pub(super) static GET: LazyLock<String> = LazyLock::new(|| format!("{} WHERE pk = ? AND sk = ?", *SELECT));

/// Puts an item in place of what is there. Its parameters are the columns, in their order.
pub(super) static PUT: LazyLock<String> = LazyLock::new(|| {
    let columns = columns();
    let marks = vec!["?"; columns.len()].join(", ");
    let updates: Vec<_> =
        columns.iter().skip(2).map(|column| format!("{column} = excluded.{column}")).collect();
    let (columns, updates) = (columns.join(", "), updates.join(", "));
    format!("INSERT INTO items ({columns}) VALUES ({marks}) ON CONFLICT (pk, sk) DO UPDATE SET {updates}")
});

/// A page of all items. The last parameter is the largest number of items.
pub(super) fn scan(after: Option<&Position>) -> (String, Vec<SqlValue>) {
    let (behind, values) = match after {
        Some(after) => (" WHERE (pk, sk) > (?, ?)", vec![text(&after.key.pk), text(&after.key.sk)]),
        None => ("", Vec::new()),
    };
    (format!("{}{behind} ORDER BY pk, sk LIMIT ?", *SELECT), values)
}

/// A page of a partition. The last parameter is the largest number of items.
pub(super) fn query(query: &Query, after: Option<&Position>) -> (String, Vec<SqlValue>) {
    let Query { index, partition, range, newest_first, limit: _ } = query;
    let (operator, order) = if *newest_first { ("<", "DESC") } else { (">", "ASC") };
    let mut values = vec![text(partition)];
    let mut bounds = "";
    if let Some((from, to)) = range {
        // SQLite goes by one bound on each side: the page begins where the last one ended, not where the range does.
        let last = after.and_then(|after| after.at_key.as_ref());
        let (from, to) = match last {
            Some(last) if *newest_first => (from, to.min(last)),
            Some(last) => (from.max(last), to),
            None => (from, to),
        };
        bounds = " AND at_key BETWEEN ? AND ?";
        values.extend([text(from), text(to)]);
    }
    let behind = match after {
        None => String::new(),
        Some(Position { key, at_key: None }) => {
            values.push(text(&key.sk));
            format!(" AND sk {operator} ?")
        }
        Some(Position { key, at_key: Some(at_key) }) => {
            values.extend([text(at_key), text(&key.pk), text(&key.sk)]);
            format!(" AND (at_key, pk, sk) {operator} (?, ?, ?)")
        }
    };
    let (field, sort) = match index {
        None => ("pk", format!("sk {order}")),
        Some(index) => (index.field, format!("at_key {order}, pk {order}, sk {order}")),
    };
    (format!("{} WHERE {field} = ?{bounds}{behind} ORDER BY {sort} LIMIT ?", *SELECT), values)
}

fn text(text: &str) -> SqlValue {
    SqlValue::Text(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::port::{BY_ID, INDEXES, ItemKey};
    use crate::ledger::sqlite::open;

    /// How SQLite finds the rows of a statement.
    fn plan(sql: &str) -> String {
        let connection = open::in_memory().unwrap();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let nulls = vec![SqlValue::Null; statement.parameter_count()];
        let rows =
            statement.query_map(rusqlite::params_from_iter(nulls), |row| row.get::<_, String>(3)).unwrap();
        rows.collect::<rusqlite::Result<Vec<_>>>().unwrap().join("; ")
    }

    fn behind(at_key: Option<&str>) -> Position {
        Position { key: ItemKey::new("a", "b"), at_key: at_key.map(str::to_owned) }
    }

    #[test]
    fn a_partition_of_an_index_is_read_by_that_index() {
        for index in INDEXES {
            let (name, field) = (index.name, index.field);
            for newest_first in [false, true] {
                for range in [None, Some(("0".to_owned(), "~".to_owned()))] {
                    for after in [None, Some(behind(Some("c")))] {
                        let bounds = match (&range, &after, newest_first) {
                            (Some(_), _, _) => " AND at_key>? AND at_key<?",
                            (None, Some(_), true) => " AND at_key<?",
                            (None, Some(_), false) => " AND at_key>?",
                            (None, None, _) => "",
                        };
                        let partition = "p".to_owned();
                        let range = range.clone();
                        let asked = Query { index: Some(index), partition, range, newest_first, limit: 9 };
                        let plan = plan(&query(&asked, after.as_ref()).0);
                        // Only items of the same `at_key` are sorted: a state and its dry run.
                        let expected = format!(
                            "SEARCH items USING INDEX {name} ({field}=?{bounds}); USE TEMP B-TREE FOR LAST 2 TERMS OF \
                             ORDER BY"
                        );
                        assert_eq!(plan, expected, "{asked:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn items_are_read_by_their_primary_key() {
        const KEY: &str = "SEARCH items USING INDEX sqlite_autoindex_items_1";
        assert_eq!(plan(&GET), format!("{KEY} (pk=? AND sk=?)"));
        for newest_first in [false, true] {
            let asked = Query { index: None, partition: "p".to_owned(), range: None, newest_first, limit: 9 };
            assert_eq!(plan(&query(&asked, None).0), format!("{KEY} (pk=?)"));
            let bound = if newest_first { "sk<?" } else { "sk>?" };
            assert_eq!(plan(&query(&asked, Some(&behind(None))).0), format!("{KEY} (pk=? AND {bound})"));
        }
        assert_eq!(plan(&scan(None).0), "SCAN items USING INDEX sqlite_autoindex_items_1");
        assert_eq!(plan(&scan(Some(&behind(None))).0), format!("{KEY} ((pk,sk)>(?,?))"));
    }

    /// The later pages of a large partition must not pass its first ones again.
    #[test]
    fn a_page_begins_where_the_last_one_ended() {
        let ask = |newest_first| {
            let range = Some(("b".to_owned(), "x".to_owned()));
            let asked =
                Query { index: Some(BY_ID), partition: "p".to_owned(), range, newest_first, limit: 9 };
            query(&asked, Some(&behind(Some("m")))).1
        };
        assert_eq!(ask(true)[1..3], [text("b"), text("m")]);
        assert_eq!(ask(false)[1..3], [text("m"), text("x")]);
    }
}
