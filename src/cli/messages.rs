//! What people are told on stderr, beside the results.

use std::io::Write as _;
use std::path::Path;

use crate::ledger::error::LedgerError;
use crate::telemetry::chain;
use key_guard_core::text::{sanitize_line, sanitize_text};

pub fn report_error(error: &anyhow::Error) {
    say(&format!("error: {}", chain(error.as_ref())));
}

/// A line, or more, on stderr. Names of files and texts of events are other people's: nothing in them reaches
/// the terminal's controls. Where stderr is gone there is nobody to tell.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", sanitize_text(text));
}

/// A path for people, on one line whatever its name is.
pub fn shown(path: &Path) -> String {
    sanitize_line(&path.display().to_string())
}

/// Says what could not be read, and returns how many items that were.
pub fn warn(unreadable: &[LedgerError]) -> usize {
    for error in unreadable {
        say(&format!("warning: {}; passed over", chain(error)));
    }
    unreadable.len()
}
