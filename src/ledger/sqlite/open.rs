//! Opens a ledger file, and refuses what is none.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, MAIN_DB, OpenFlags};
use tempfile::NamedTempFile;

use super::failure::{MAX_LOCK_WAIT, NOT_WRITABLE, cannot_open, is_busy, no_ledger, unusable};
use super::schema::{APPLICATION_ID, is_empty, make_schema, refuse_other_schemas, use_log};
use crate::ledger::error::LedgerError;

/// What a SQLite file begins with (SQLite, *Database File Format*).
const SQLITE: &[u8] = b"SQLite format 3\0";

/// Where the header of a SQLite file says which program it is of.
const APPLICATION_ID_AT: usize = 68;

/// How long it takes until a file is tried again that another process is making a ledger of.
const PAUSE: Duration = Duration::from_millis(20);

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
    if !is_there(path)? {
        make(path)?;
    }
    let unusable = |error| unusable(path, &error);
    let connection = Unchecked::open(path).map_err(unusable)?;
    if connection.is_readonly(MAIN_DB).map_err(unusable)? {
        return Err(no_ledger(path, NOT_WRITABLE));
    }
    probe(&connection).map_err(unusable)?;
    if is_empty(&connection).map_err(unusable)? {
        retry_while_busy(|| make_schema(&connection)).map_err(unusable)?;
    }
    let (connection, _) = connection.check(path)?;
    let prepare = || {
        match durability {
            Durability::EveryWrite => {
                connection.pragma_update(None, "synchronous", "FULL")?;
                // On macOS, only this makes the disk write at once.
                connection.pragma_update(None, "fullfsync", true)?;
            }
            Durability::Soon => connection.pragma_update(None, "synchronous", "NORMAL")?,
        }
        connection.pragma_update(None, "cache_size", -MAX_CACHE_KIB)?;
        connection.pragma_update(None, "wal_autocheckpoint", MAX_LOG_PAGES)?;
        // A copy may have lost it: `VACUUM INTO` makes one without.
        retry_while_busy(|| use_log(&connection))
    };
    prepare().map_err(unusable)?;
    Ok(connection)
}

/// Opens a ledger file to read it, also from a medium that cannot be written. One that is not there is not made.
pub(super) fn to_read(path: &Path) -> Result<(Connection, Option<Unchanged>), LedgerError> {
    if !is_there(path)? {
        return Err(no_ledger(
            path,
            "there is no such file; replay and import make one. --ledger or KEY_GUARD_LEDGER names another ledger: \
             file:PATH, or dynamodb:bedrock-key-guard, the deployed table",
        ));
    }
    let unusable = |error| unusable(path, &error);
    let connection = Unchecked::open_to_read(path).map_err(unusable)?;
    connection.pragma_update(None, "query_only", true).map_err(unusable)?;
    if is_empty(&connection).map_err(unusable)? {
        return Err(no_ledger(path, "it is an empty database; replay and import make a ledger"));
    }
    connection.check(path)
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
    // It has names and addresses, and so is only its owner's. What SQLite makes beside it gets the same mode.
    let part = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")));
    let part = part.map_err(|error| not_made(path, &error))?.into_temp_path();
    let fill = || {
        let connection = open(&absolute(&part), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        make_schema(&connection)?;
        // Closed, it is whole in one file.
        connection.close().map_err(|(_, error)| error)
    };
    fill().map_err(|error| unusable(path, &error))?;
    match part.persist_noclobber(path) {
        // Another process may have been quicker.
        Ok(()) => Ok(()),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(not_made(path, &error.error)),
    }
}

fn not_made(path: &Path, error: &std::io::Error) -> LedgerError {
    let kind = error.kind();
    let advice = if kind == ErrorKind::NotFound {
        "make its directory first"
    } else if matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge) {
        "free some space, and run the command again"
    } else {
        "choose a path where you may write"
    };
    no_ledger(path, &format!("the file could not be made: {error}; {advice}"))
}

/// A database that may be another program's. Refused, it stays as it is.
struct Unchecked {
    connection: Connection,
    unchanged: Option<Unchanged>,
}

impl Deref for Unchecked {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Unchecked {
    /// Opens a file, which nothing is read of yet.
    fn open(path: &Path) -> rusqlite::Result<Self> {
        let had_log = has_log(path);
        let connection = open(&absolute(path), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // SQLite would move it into the database at the end.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, had_log)?;
        Ok(Self { connection, unchanged: None })
    }

    /// Where SQLite may not write, it needs its files beside a ledger only if somebody else writes, and has made them. Who
    /// may not write the ledger leaves none there: the next writer might not be allowed to use them.
    fn open_to_read(path: &Path) -> rusqlite::Result<Self> {
        let immutable = || Self::open_immutable(path);
        let opened = match Self::open(path) {
            Err(error) if cannot_open(&error) && !has_log(path) => return immutable(),
            opened => opened?,
        };
        if opened.is_readonly(MAIN_DB)? && !beside(path, "-wal").exists() {
            return immutable();
        }
        match probe(&opened) {
            Err(error) if cannot_open(&error) && !has_log(path) => immutable(),
            probed => probed.map(|()| opened),
        }
    }

    /// Reads a file that nobody changes meanwhile, without SQLite's files beside it (SQLite, *URI Filenames*: `immutable`).
    fn open_immutable(path: &Path) -> rusqlite::Result<Self> {
        let unchanged = Unchanged::of(path);
        let absolute = absolute(path);
        let encoded = absolute.as_os_str().as_encoded_bytes().iter().map(|byte| match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                char::from(*byte).to_string()
            }
            byte => format!("%{byte:02x}"),
        });
        let uri = format!("file:{}?immutable=1", encoded.collect::<String>());
        let access = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let connection = open(Path::new(&uri), access)?;
        probe(&connection)?;
        Ok(Self { connection, unchanged: Some(unchanged) })
    }

    /// Only a ledger of this version passes.
    fn check(self, path: &Path) -> Result<(Connection, Option<Unchanged>), LedgerError> {
        refuse_other_schemas(&self.connection, path)?;
        let Self { connection, unchanged } = self;
        let is_set = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
        is_set.map_err(|error| unusable(path, &error))?;
        Ok((connection, unchanged))
    }
}

/// A file as it was when it was opened to be read without locks. Where it is another one afterwards, what was read may be
/// part of the one and part of the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unchanged {
    path: PathBuf,
    file: Option<(u64, Option<SystemTime>)>,
    has_log: bool,
}

impl Unchanged {
    fn of(path: &Path) -> Self {
        let metadata = std::fs::metadata(path).ok();
        let file = metadata.map(|metadata| (metadata.len(), metadata.modified().ok()));
        Self { path: path.to_owned(), file, has_log: has_log(path) }
    }

    /// # Errors
    /// When it has changed.
    pub(super) fn check(&self) -> Result<(), LedgerError> {
        if Self::of(&self.path) == *self {
            return Ok(());
        }
        Err(no_ledger(&self.path, "another process has written it meanwhile; run the command again"))
    }
}

/// How much of the file a writer keeps in memory. The keys of new items are in no order, so that any page of an index may be
/// the next one.
const MAX_CACHE_KIB: i64 = 64 << 10;

/// How many pages SQLite lets its log grow by until it moves them into the database: 16 MB. Each item has a place of its own
/// in each index, and a page that is written again until then is moved once.
const MAX_LOG_PAGES: u32 = 4_000;

/// SQLite takes some names for something else than a file, such as `:memory:`. None of them is an absolute path.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn open(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(MAX_LOCK_WAIT)?;
    // Functions in the schema of a file that somebody sent are not run.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

/// Fails if the file is none of SQLite's, or cannot be read.
fn probe(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
}

/// SQLite does not wait where two processes make a ledger of the same file: each would wait for the other.
fn retry_while_busy<T>(work: impl Fn() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let begun = Instant::now();
    loop {
        match work() {
            Err(error) if is_busy(&error) && begun.elapsed() < MAX_LOCK_WAIT => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
}

fn has_log(path: &Path) -> bool {
    beside(path, "-wal").metadata().is_ok_and(|log| log.len() > 0)
}

/// A file of SQLite beside a database.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// False if nothing is there. What is there and cannot be a ledger is not even opened by SQLite, which may write to it.
fn is_there(path: &Path) -> Result<bool, LedgerError> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => return Ok(false),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(no_ledger(path, "it is a link to a file that is not there; name that file itself"));
        }
        Err(error) => return Err(no_ledger(path, &format!("{error}; choose a path that you may read"))),
    };
    if metadata.is_dir() {
        return Err(no_ledger(path, "it is a directory; name a file"));
    }
    if !metadata.is_file() {
        return Err(no_ledger(path, "it is not a regular file; name one"));
    }
    let header = match read_header(path) {
        Ok(header) => header,
        Err(error) => return Err(no_ledger(path, &format!("{error}; choose a file that you may read"))),
    };
    // An empty file is a database to be, for SQLite.
    if !header.is_empty() && !header.starts_with(SQLITE) {
        return Err(no_ledger(
            path,
            "this file is not a ledger (a ledger is a SQLite file); name another one",
        ));
    }
    let id = header.get(APPLICATION_ID_AT..).and_then(|rest| rest.first_chunk().copied());
    match id.map(i32::from_be_bytes) {
        // Of a new ledger, it may be in the log only.
        None | Some(0 | APPLICATION_ID) => Ok(true),
        Some(_) => Err(no_ledger(path, super::schema::OTHER_PROGRAM)),
    }
}

/// Reads how a file begins, and leaves it open for the life of this process: closing it would end the locks that another
/// connection of this process has on it, and a process that closes the ledger would then remove the log under it (SQLite,
/// *How To Corrupt An SQLite Database File*, 2.2).
fn read_header(path: &Path) -> std::io::Result<Vec<u8>> {
    let file: &File = Box::leak(Box::new(File::open(path)?));
    let mut header = Vec::new();
    file.take(100).read_to_end(&mut header)?;
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changes_while_it_is_read_without_locks_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        // SQLite takes such a name for something else where it is part of a URI.
        for name in ["ledger", "100% ?mode=memory#&\u{fc}"] {
            let path = folder.path().join(name);
            let writer = to_write(&path, Durability::Soon).unwrap();
            writer.execute("INSERT INTO items (pk, sk, body) VALUES ('a', 'b', '{}')", []).unwrap();
            writer.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
            let reader = Unchecked::open_immutable(&path).unwrap();
            let count =
                || reader.query_row("SELECT count(*) FROM items", [], |row| row.get::<_, u32>(0)).unwrap();
            assert_eq!(count(), 1);
            let unchanged = reader.unchanged.as_ref().unwrap();
            unchanged.check().unwrap();
            writer.execute("DELETE FROM items", []).unwrap();
            let error = unchanged.check().unwrap_err().to_string();
            assert!(error.contains("another process has written it meanwhile"), "{error}");
            writer.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
            assert!(unchanged.check().is_err());
        }
    }

    /// How many locks there are on a file (proc(5), *locks*).
    #[cfg(target_os = "linux")]
    fn locks(path: &Path) -> usize {
        use std::os::unix::fs::MetadataExt as _;
        let inode = format!(":{} ", std::fs::metadata(path).unwrap().ino());
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        locks.lines().filter(|line| line.contains("POSIX") && line.contains(&inode)).count()
    }

    /// Without its lock, another process takes itself for the last one, and removes the log.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_second_connection_leaves_the_locks_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let first = to_write(&path, Durability::Soon).unwrap();
        assert_eq!(locks(&path), 1);
        drop(to_read(&path).unwrap());
        assert_eq!(locks(&path), 1);
        drop(to_write(&path, Durability::Soon).unwrap());
        assert_eq!(locks(&path), 1);
        drop(first);
        assert_eq!(locks(&path), 0);
    }

    /// SQLite says at once that it is busy, instead of waiting: `retry_while_busy` waits.
    #[test]
    fn a_file_that_another_process_makes_a_ledger_of_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty");
        File::create(&path).unwrap();
        let other = open(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let connection = Unchecked::open(&path).unwrap();
        let error = make_schema(&connection).unwrap_err();
        assert!(is_busy(&error), "{error}");
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(10 * PAUSE);
                other.execute_batch("ROLLBACK").unwrap();
            });
            retry_while_busy(|| make_schema(&connection)).unwrap();
        });
        connection.check(&path).unwrap();
    }
}
