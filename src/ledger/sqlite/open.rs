//! Opens a ledger file, and refuses what is none.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::failure::{MAX_LOCK_WAIT, no_ledger, unusable};
use super::schema::{is_empty, make_schema, refuse_other_schemas};
use crate::ledger::error::LedgerError;

/// What a SQLite file begins with (SQLite, *Database File Format*).
const SQLITE: &[u8] = b"SQLite format 3\0";

/// Stands for the path of a ledger in memory.
pub(super) const IN_MEMORY: &str = "(in memory)";

/// When a write is safe from a power cut. It is safe from the end of the process either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When the call returns: needed where keys are changed.
    EveryWrite,
    /// Soon after: enough for a dry run, which can be repeated.
    Soon,
}

/// Opens the ledger file to write, and makes it at first use.
pub(super) fn to_write(path: &Path, durability: Durability) -> Result<Connection, LedgerError> {
    refuse_other_files(path)?;
    if !path.exists() {
        make(path)?;
    }
    let open = || {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        if is_empty(&connection)? {
            make_schema(&connection)?;
        }
        let synchronous = match durability {
            Durability::EveryWrite => "FULL",
            Durability::Soon => "NORMAL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        Ok(connection)
    };
    let connection = open().map_err(|error| unusable(path, &error))?;
    refuse_other_schemas(&connection, path)?;
    Ok(connection)
}

/// Opens a ledger file to read it, also from a medium that cannot be written. One that is not there is not made.
pub(super) fn to_read(path: &Path) -> Result<Connection, LedgerError> {
    refuse_other_files(path)?;
    if !path.exists() {
        return Err(no_ledger(path, "there is no such file; replay and import make one"));
    }
    // SQLite opens a write-protected file to read. Where it may write, it removes its files beside the ledger again.
    let connection = match connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE) {
        // Beside a ledger that nobody writes, a folder that cannot be written has no room for these files.
        Err(error) if cannot_open(&error) && !has_log(path) => connect_immutable(path),
        connected => connected,
    };
    let connection = connection.map_err(|error| unusable(path, &error))?;
    connection.pragma_update(None, "query_only", true).map_err(|error| unusable(path, &error))?;
    if is_empty(&connection).map_err(|error| unusable(path, &error))? {
        return Err(no_ledger(path, "it is an empty database; replay and import make a ledger"));
    }
    refuse_other_schemas(&connection, path)?;
    Ok(connection)
}

/// A ledger in memory.
pub(super) fn in_memory() -> Result<Connection, LedgerError> {
    let open = || {
        let connection = Connection::open_in_memory()?;
        make_schema(&connection)?;
        Ok(connection)
    };
    open().map_err(|error| unusable(Path::new(IN_MEMORY), &error))
}

/// Makes a ledger file, which is there only when it is whole.
fn make(path: &Path) -> Result<(), LedgerError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let part = new_file().tempfile_in(folder.unwrap_or(Path::new(".")));
    let part = part.map_err(|error| no_ledger(path, &error.to_string()))?.into_temp_path();
    let fill = || {
        let connection = connect(&part, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        make_schema(&connection)?;
        // Closed, it is whole in one file.
        connection.close().map_err(|(_, error)| error)
    };
    fill().map_err(|error| unusable(path, &error))?;
    match part.persist_noclobber(path) {
        // Another process may have been quicker.
        Ok(()) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(no_ledger(path, &error.error.to_string())),
    }
}

/// A file under a name of its own, to be renamed: as readable as any new file, not only for its owner.
#[must_use]
pub fn new_file() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    // SQLite takes some names for something else than a file, such as `:memory:`. None of them is an absolute path.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(MAX_LOCK_WAIT)?;
    // Functions in the schema of a file that somebody sent are not run.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // Fails here if the file is none of SQLite's, or cannot be read.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// Reads a file that nobody changes meanwhile, without SQLite's files beside it (SQLite, *URI Filenames*: `immutable`).
fn connect_immutable(path: &Path) -> rusqlite::Result<Connection> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut uri = "file:".to_owned();
    for character in path.to_string_lossy().chars() {
        match character {
            '%' => uri += "%25",
            '?' => uri += "%3f",
            '#' => uri += "%23",
            other => uri.push(other),
        }
    }
    uri += "?immutable=1";
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).is_ok_and(|log| log.len() > 0)
}

fn refuse_other_files(path: &Path) -> Result<(), LedgerError> {
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(()) };
    if metadata.is_dir() {
        return Err(no_ledger(path, "it is a directory"));
    }
    if !metadata.is_file() {
        return Err(no_ledger(path, "it is not a regular file"));
    }
    // An empty file is a database to be, for SQLite.
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(SQLITE.len() as u64).read_to_end(&mut head));
    if read.is_ok_and(|length| length > 0) && head != SQLITE {
        return Err(no_ledger(path, "it is no ledger file, which is a SQLite database"));
    }
    Ok(())
}

fn cannot_open(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}
