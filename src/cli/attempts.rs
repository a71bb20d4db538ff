//! `lookup --attempts`, for people: calls that failed, and changes of users that a console created for a key.

use super::grid::{Fit, GridCell, GridColumn};
use super::lookup::who;
use super::rows::Row;
use super::when::Times;

/// The columns of [`cells`].
pub const COLUMNS: [GridColumn; 9] = [
    ("LAST", Fit::Whole),
    ("FIRST", Fit::Whole),
    ("TIMES", Fit::Whole),
    ("BY", Fit::Shortened),
    ("ACCOUNT", Fit::Whole),
    ("USERS", Fit::Wrapped),
    ("FROM", Fit::Whole),
    ("WITH", Fit::Shortened),
    ("WHAT", Fit::Wrapped),
];

/// The columns that are left out where a table is too wide, the first of them first.
pub const LESS: [usize; 3] = [7, 1, 6];

/// Attempts or a change of a user, as a row of a table.
#[must_use]
pub fn cells(row: &Row, times: Times) -> Option<Vec<GridCell>> {
    let audit = row.audit()?;
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let report = &audit.report;
    let cells = [
        times.tell(audit.last),
        times.tell(audit.first),
        audit.count.to_string(),
        report.actor.as_deref().map_or_else(|| "-".to_owned(), who),
        report.account.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        audit.describe_users(),
        text(&report.source_ip),
        text(&report.user_agent),
        report.reason.clone(),
    ];
    Some(cells.map(GridCell::from).into())
}
