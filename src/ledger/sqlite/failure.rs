//! What is wrong with a ledger file, and what to do.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Error, ErrorCode};

use super::lock_holder::lock_holder;
use crate::ledger::error::LedgerError;

/// How long a write waits for that of another process. The caller is told within two seconds why.
pub(super) const MAX_LOCK_WAIT: Duration = Duration::from_millis(1_800);

pub(super) const NOT_WRITABLE: &str = "it cannot be written; copy it to where you may write";

/// A file that is no ledger.
pub(super) fn no_ledger(path: &Path, why: &str) -> LedgerError {
    LedgerError::File { path: path.display().to_string(), why: why.to_owned() }
}

/// A file that SQLite cannot use.
pub(super) fn unusable(path: &Path, error: &Error) -> LedgerError {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            let holder = lock_holder(path).map_or_else(String::new, |holder| format!(": {holder}"));
            let why = format!(
                "the ledger is locked by another process{holder}; wait until that has ended, and run the command again"
            );
            return no_ledger(path, &why);
        }
        Some(ErrorCode::ReadOnly) => return no_ledger(path, NOT_WRITABLE),
        Some(ErrorCode::CannotOpen) => {
            "; its directory has to be writable, too: SQLite makes files beside it. Copy it to where you may write"
        }
        Some(ErrorCode::DiskFull) => "; free some space, and run the command again",
        Some(ErrorCode::SystemIoFailure) => {
            "; the disk is full, damaged or gone: see to it, and run the command again"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "; the file is damaged: restore a copy of it, or begin a new one"
        }
        _ => "",
    };
    no_ledger(path, &format!("{error}{advice}"))
}

/// True while other processes use the file.
pub(super) fn is_busy(error: &Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// True where SQLite cannot make the files that it needs beside a database: it may not, or the disk is full.
pub(super) fn cannot_open(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::SystemIoFailure | ErrorCode::DiskFull)
    )
}
