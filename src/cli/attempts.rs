//! `lookup --attempts`, for people: calls that failed, and access keys for users that a console created for a key.

use std::collections::HashMap;

use super::rows::Row;
use super::when::Times;
use key_guard_core::Time;

/// What one actor tried in one account, how often, and when last.
pub struct Attempts {
    times: u64,
    last: Time,
    /// Who, in which account, on which user, from where, and what.
    cells: [String; 5],
}

impl Attempts {
    /// The titles of [`Attempts::cells`].
    pub const TITLES: [&'static str; 7] = ["LAST", "TIMES", "BY", "ACCOUNT", "USER", "FROM", "WHAT"];

    /// As a row of a table.
    #[must_use]
    pub fn cells(&self, times: Times) -> Vec<String> {
        let mut cells = vec![times.tell(self.last), self.times.to_string()];
        cells.extend(self.cells.iter().cloned());
        cells
    }
}

/// Groups equal ones, the latest first. `rows` are newest first.
#[must_use]
pub fn group(rows: &[Row]) -> Vec<Attempts> {
    let mut groups: Vec<Attempts> = Vec::new();
    let mut known: HashMap<[String; 5], usize> = HashMap::new();
    for row in rows {
        let cells = ["actor", "account", "user", "source_ip", "reason"]
            .map(|column| row.text(column).unwrap_or_else(|| "-".to_owned()));
        if let Some(group) = known.get(&cells).and_then(|index| groups.get_mut(*index)) {
            group.times += 1;
            continue;
        }
        known.insert(cells.clone(), groups.len());
        groups.push(Attempts { times: 1, last: row.at, cells });
    }
    groups
}
