//! The statements on the table of items.

use std::sync::LazyLock;

use rusqlite::types::Value as SqlValue;

use super::schema::COLUMNS;
use crate::ledger::port::{Entry, IndexQuery, ItemKey, Query, place_fields};

fn columns() -> Vec<&'static str> {
    COLUMNS.into_iter().chain(place_fields()).collect()
}

/// All items.
static SELECT: LazyLock<String> = LazyLock::new(|| format!("SELECT {} FROM items", columns().join(", ")));

/// The item with a primary key.
pub(super) static GET: LazyLock<String> = LazyLock::new(|| format!("{} WHERE pk = ? AND sk = ?", *SELECT));

/// The items of a partition from the last one on. The last parameter is the largest number of items.
pub(super) static LAST: LazyLock<String> =
    LazyLock::new(|| format!("{} WHERE pk = ? ORDER BY sk DESC LIMIT ?", *SELECT));

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
pub(super) fn scan(after: Option<&ItemKey>) -> (String, Vec<SqlValue>) {
    let (behind, values) = match after {
        Some(after) => (" WHERE (pk, sk) > (?, ?)", vec![text(&after.pk), text(&after.sk)]),
        None => ("", Vec::new()),
    };
    (format!("{}{behind} ORDER BY pk, sk LIMIT ?", *SELECT), values)
}

/// A page of a partition. The last parameter is the largest number of items.
pub(super) fn query(query: &Query, after: Option<&ItemKey>) -> (String, Vec<SqlValue>) {
    let prefix = query.prefix.as_deref().unwrap_or_default();
    let (operator, from) = match after {
        Some(after) => (">", after.sk.as_str()),
        None => (">=", prefix),
    };
    // No text that begins with the prefix is greater.
    let end = format!("{prefix}{}", char::MAX);
    let sql = format!("{} WHERE pk = ? AND sk {operator} ? AND sk < ? ORDER BY sk LIMIT ?", *SELECT);
    (sql, vec![text(&query.pk), text(from), text(&end)])
}

/// A page of a partition of an index. The last parameter is the largest number of entries.
pub(super) fn query_index(query: &IndexQuery, after: Option<&Entry>) -> (String, Vec<SqlValue>) {
    let IndexQuery { index, partition, range, newest_first, limit: _ } = query;
    let (field, sort) = (index.field, index.sort);
    let (operator, order) = if *newest_first { ("<", "DESC") } else { (">", "ASC") };
    let mut values = vec![text(partition)];
    let mut bounds = String::new();
    if let Some((from, to)) = range {
        // SQLite goes by one bound on each side: the page begins where the last one ended, not where the range does.
        let (from, to) = match after.map(|after| &after.at) {
            Some(last) if *newest_first => (from, to.min(last)),
            Some(last) => (from.max(last), to),
            None => (from, to),
        };
        bounds = format!(" AND {sort} BETWEEN ? AND ?");
        values.extend([text(from), text(to)]);
    }
    if let Some(Entry { at, key }) = after {
        bounds = format!("{bounds} AND ({sort}, pk, sk) {operator} (?, ?, ?)");
        values.extend([text(at), text(&key.pk), text(&key.sk)]);
    }
    let sql = format!(
        "SELECT pk, sk, {sort} FROM items WHERE {field} = ?{bounds} \
         ORDER BY {sort} {order}, pk {order}, sk {order} LIMIT ?"
    );
    (sql, values)
}

fn text(text: &str) -> SqlValue {
    SqlValue::Text(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::port::{BY_USER, INDEXES};
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

    fn behind(at: &str) -> Entry {
        Entry { at: at.to_owned(), key: ItemKey::new("a", "b") }
    }

    #[test]
    fn a_partition_of_an_index_is_read_by_that_index() {
        for index in INDEXES {
            let (name, field, sort) = (index.name, index.field, index.sort);
            for newest_first in [false, true] {
                for range in [None, Some(("0".to_owned(), "~".to_owned()))] {
                    for after in [None, Some(behind("c"))] {
                        let bounds = match (&range, &after, newest_first) {
                            (Some(_), _, _) => format!(" AND {sort}>? AND {sort}<?"),
                            (None, Some(_), true) => format!(" AND {sort}<?"),
                            (None, Some(_), false) => format!(" AND {sort}>?"),
                            (None, None, _) => String::new(),
                        };
                        let (partition, range) = ("p".to_owned(), range.clone());
                        let asked = IndexQuery { index, partition, range, newest_first, limit: 9 };
                        let plan = plan(&query_index(&asked, after.as_ref()).0);
                        // Only items of the same place are sorted: a state and its dry run.
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
        assert_eq!(plan(&LAST), format!("{KEY} (pk=?)"));
        let asked = Query { pk: "p".to_owned(), prefix: Some("s".to_owned()), limit: 9 };
        let after = ItemKey::new("a", "b");
        assert_eq!(plan(&query(&asked, None).0), format!("{KEY} (pk=? AND sk>? AND sk<?)"));
        assert_eq!(plan(&query(&asked, Some(&after)).0), format!("{KEY} (pk=? AND sk>? AND sk<?)"));
        assert_eq!(plan(&scan(None).0), "SCAN items USING INDEX sqlite_autoindex_items_1");
        assert_eq!(plan(&scan(Some(&after)).0), format!("{KEY} ((pk,sk)>(?,?))"));
    }

    /// The later pages of a large partition must not pass its first ones again.
    #[test]
    fn a_page_begins_where_the_last_one_ended() {
        let ask = |newest_first| {
            let range = Some(("b".to_owned(), "x".to_owned()));
            let asked =
                IndexQuery { index: BY_USER, partition: "p".to_owned(), range, newest_first, limit: 9 };
            query_index(&asked, Some(&behind("m"))).1
        };
        assert_eq!(ask(true)[1..3], [text("b"), text("m")]);
        assert_eq!(ask(false)[1..3], [text("m"), text("x")]);
    }
}
