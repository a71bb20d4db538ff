//! Answers for people.

use std::io::{self, Write as _};

use crate::cli::filters::short;
use crate::cli::grid::{Fit, Grid, GridCell, GridColumn};
use crate::cli::html::labels;
use crate::cli::output::stdout;
use crate::cli::rows::{Row, outcome_word};
use crate::cli::usage::known;
use crate::cli::when::Times;
use crate::cli::{attempts, facts, output};
use crate::ledger::permission_set;
use crate::ledger::view::{KeyView, OpenIntent};
use key_guard_core::key::UserName;
use key_guard_core::usage::KnownUse;

/// How a table looks.
#[derive(Debug, Clone, Copy)]
pub struct TableStyle {
    /// How times are told.
    pub times: Times,
    /// Whether colours are wanted.
    pub colour: bool,
    /// The width in columns. `None`: as wide as what is in it.
    pub width: Option<u16>,
    /// Whether it is about pending responses.
    pub pending: bool,
}

/// The columns of keys. How a key stands comes first, then whose it is, then what was decided.
const COLUMNS: [GridColumn; 11] = [
    ("KEY", Fit::Whole),
    ("STATUS", Fit::Whole),
    ("USER", Fit::Shortened),
    ("ACCOUNT", Fit::Whole),
    ("CREATED", Fit::Whole),
    ("LIFETIME", Fit::Whole),
    ("VERDICT", Fit::Whole),
    ("OUTCOME", Fit::Whole),
    ("SERVICE", Fit::Whole),
    ("CREATED BY", Fit::Shortened),
    ("FROM", Fit::Whole),
];

const VERDICT: usize = 6;
const OUTCOME: usize = 7;

/// The same where it is asked for pending responses.
const PENDING_COLUMNS: [GridColumn; 11] = {
    let mut columns = COLUMNS;
    columns[OUTCOME] = ("PENDING SINCE", Fit::Whole);
    columns
};

/// What is left out where there is no room, the first of them first. It is in the other formats, and in the answer about the
/// key itself.
const LESS: [usize; 5] = [10, 8, 9, 4, OUTCOME];

/// The columns of a key's history.
const HISTORY_COLUMNS: [GridColumn; 4] =
    [("WHEN", Fit::Whole), ("WHAT", Fit::Whole), ("CAUSE", Fit::Whole), ("DETAIL", Fit::Wrapped)];

/// Prints keys, and takes them.
///
/// # Errors
/// When stdout cannot be written.
pub fn print_keys(rows: &mut Vec<Row>, style: TableStyle) -> io::Result<()> {
    let rows = std::mem::take(rows);
    let grid = |is_labelled: bool| {
        let mut grid = Grid::new(if style.pending { &PENDING_COLUMNS } else { &COLUMNS }, &LESS);
        for view in rows.iter().filter_map(Row::view) {
            let mut cells = cells(view, style);
            if let Some(verdict) = cells.get_mut(VERDICT).filter(|_| is_labelled && view.is_dry_run) {
                verdict.text.push_str(" (dry run)");
            }
            grid.push(cells);
        }
        grid
    };
    // The outcome says what is a dry run. Where it has no room, the verdict does: how a key stands is none.
    let shown = grid(style.pending);
    let shown = if shown.leaves_out(OUTCOME, style.width) { grid(true) } else { shown };
    shown.print(style.width)
}

fn cells(view: &KeyView, style: TableStyle) -> Vec<GridCell> {
    let dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let (report, creation) = (&view.report, view.creation.as_ref());
    let outcome = match view.intent {
        Some(OpenIntent { since, .. }) if style.pending => style.times.tell(since),
        Some(_) | None => describe_outcome(view),
    };
    let created_by = creation.and_then(|event| event.actor.principal.as_deref());
    vec![
        view.key.id.as_str().into(),
        facts::status_word(&view.standing).into(),
        dash(report.user.as_ref().map(UserName::as_str)).into(),
        view.key.account.as_str().into(),
        style.times.tell(view.at).into(),
        lifetime(view).into(),
        output::verdict(report.verdict),
        outcome.into(),
        dash(report.service.as_ref().map(short)).into(),
        created_by.map_or_else(|| dash(None), who).into(),
        dash(creation.and_then(|event| event.source_ip.as_deref())).into(),
    ]
}

/// What was done about a key. Of a dry run: what would be done.
pub fn describe_outcome(view: &KeyView) -> String {
    if view.is_dry_run {
        return labels::would(view).to_lowercase();
    }
    outcome_word(view).replace('_', " ")
}

/// How long a key lives. Nothing is known of a key without a verdict.
fn lifetime(view: &KeyView) -> String {
    if view.report.verdict.is_some() { output::lifetime(&view.report) } else { "-".to_owned() }
}

/// An ARN without what the table's other columns say, and a role of IAM Identity Center by its permission set.
pub fn who(arn: &str) -> String {
    let Some(resource) = arn.splitn(6, ':').nth(5).filter(|_| arn.starts_with("arn:")) else {
        return arn.to_owned();
    };
    match resource.split('/').collect::<Vec<_>>().as_slice() {
        ["assumed-role", role, session] => format!("{}/{session}", permission_set(role)),
        ["user", .., name] => (*name).to_owned(),
        _ => resource.to_owned(),
    }
}

/// Prints failed calls, and changes of users that a console created.
///
/// # Errors
/// When stdout cannot be written.
pub fn print_attempts(rows: &[Row], style: TableStyle) -> io::Result<()> {
    let mut grid = Grid::new(&attempts::COLUMNS, &attempts::LESS);
    rows.iter().filter_map(|row| attempts::cells(row, style.times)).for_each(|cells| grid.push(cells));
    grid.print(style.width)
}

/// Prints other ways in that the user of a key got, and keys of the user that nobody judged, where there are any.
///
/// # Errors
/// When stdout cannot be written.
pub fn print_changes(rows: &[Row], style: TableStyle) -> io::Result<()> {
    let (unjudged, changes): (Vec<_>, Vec<_>) =
        rows.iter().cloned().partition(|row| row.line == "unjudged_key");
    for (heading, rows) in [
        ("critical: other ways in, and what users may do beside their keys", changes),
        ("keys of services that the policy did not judge", unjudged),
    ] {
        if !rows.is_empty() {
            writeln!(stdout(), "\n{heading}")?;
            print_attempts(&rows, style)?;
        }
    }
    Ok(())
}

/// Prints everything about one key.
///
/// # Errors
/// When stdout cannot be written.
pub fn print_key(keys: &[Row], uses: &[KnownUse], history: &[Row], style: TableStyle) -> io::Result<()> {
    for (index, view) in keys.iter().filter_map(Row::view).enumerate() {
        if index > 0 {
            writeln!(stdout())?;
        }
        print_facts(view, uses, style)?;
    }
    if history.is_empty() {
        return Ok(());
    }
    if !keys.is_empty() {
        writeln!(stdout())?;
    }
    let mut grid = Grid::new(&HISTORY_COLUMNS, &[]);
    for row in history {
        let cells = [
            style.times.tell(row.at),
            row.line.to_owned(),
            row.cause.unwrap_or("-").to_owned(),
            row.detail(),
        ];
        grid.push(cells.map(GridCell::from).into());
    }
    grid.print(style.width)
}

/// How a key stands, or what a dry run says of it. Facts that are not known are left out.
fn print_facts(view: &KeyView, uses: &[KnownUse], style: TableStyle) -> io::Result<()> {
    let uses = uses.iter().map(|known| ("used", known::describe(known, view, style.times)));
    let known = facts::of_key(view, style.times).into_iter().chain(uses);
    let known: Vec<_> = known.filter_map(|(name, value)| Some((name, value?))).collect();
    facts::write(&mut stdout(), &known, style.width, style.colour)
}
