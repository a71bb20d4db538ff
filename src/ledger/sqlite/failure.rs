//! What is wrong with a ledger file, and what to do.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Error, ErrorCode};

use crate::ledger::error::LedgerError;

/// How long a write waits for that of another process.
pub(super) const MAX_LOCK_WAIT: Duration = Duration::from_secs(10);

/// A file that is no ledger.
pub(super) fn no_ledger(path: &Path, why: &str) -> LedgerError {
    LedgerError::File { path: path.display().to_string(), why: why.to_owned() }
}

/// A file that SQLite cannot use.
pub(super) fn unusable(path: &Path, error: &Error) -> LedgerError {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            let seconds = MAX_LOCK_WAIT.as_secs();
            return no_ledger(
                path,
                &format!("another process has locked it for more than {seconds} seconds"),
            );
        }
        Some(ErrorCode::DiskFull) => "; free some space, and run the command again",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "; the file is damaged: restore a copy of it, or begin a new one"
        }
        Some(ErrorCode::ReadOnly) => "; it cannot be written: copy it to where you may write",
        _ => "",
    };
    no_ledger(path, &format!("{error}{advice}"))
}
