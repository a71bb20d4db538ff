//! `lookup --attempts`, for people: calls that failed, and changes of users that a console created for a key.

use super::lookup::who;
use super::rows::Row;
use super::when::Times;

/// The titles of [`cells`].
pub const TITLES: [&str; 9] = ["LAST", "FIRST", "TIMES", "BY", "ACCOUNT", "USERS", "FROM", "WITH", "WHAT"];

/// The columns that are left out where a table is too wide, the first of them first.
pub const LESS: [usize; 3] = [7, 4, 1];

/// Attempts or a change of a user, as a row of a table.
#[must_use]
pub fn cells(row: &Row, times: Times) -> Option<Vec<String>> {
    let audit = row.audit()?;
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let report = &audit.report;
    Some(vec![
        times.tell(audit.last),
        times.tell(audit.first),
        audit.count.to_string(),
        report.actor.as_deref().map_or_else(|| "-".to_owned(), who),
        report.account.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        audit.describe_users(),
        text(&report.source_ip),
        text(&report.user_agent),
        report.reason.clone(),
    ])
}
