//! What is no ledger is refused, and stays as it is.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use super::{LEDGER, ids, integrity, recorded, with_keys};
use crate::support::cli::{CliOutput, Folder};

/// The commands that read a ledger, and those that write one.
const READERS: [&[&str]; 3] =
    [&["lookup", "--account", "111122223333"], &["report", "--output", "-"], &["export"]];
const WRITERS: [&[&str]; 2] = [&["replay", "events"], &["import", "old.jsonl"]];

impl Folder {
    fn run_on(&self, ledger: &str, command: &[&str]) -> CliOutput {
        self.run(&[command, &["--ledger", &format!("file:{ledger}")]].concat())
    }

    /// Every regular file, with what is in it.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let names = self.names().into_iter().filter(|name| self.at(name).is_file());
        names.map(|name| (name.clone(), std::fs::read(self.at(&name)).unwrap())).collect()
    }
}

fn execute(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// Every command refuses it, says why, and changes nothing.
fn assert_refused(folder: &Folder, ledger: &str, says: &str, commands: &[&[&str]]) {
    let (names, before) = (folder.names(), folder.files());
    for command in commands {
        let ran = folder.run_on(ledger, command);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{command:?} {ledger}: {}", ran.stderr);
        let error = format!("error: {ledger}: the ledger file cannot be used: ");
        assert!(ran.stderr.contains(&error), "{command:?} {ledger}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{command:?} {ledger}: {}", ran.stderr);
        assert!(folder.files() == before, "{command:?} has changed {ledger}");
        assert_eq!(folder.names(), names, "{command:?} {ledger}");
    }
}

fn all() -> Vec<&'static [&'static str]> {
    [&READERS[..], &WRITERS[..]].concat()
}

/// A folder with a ledger, and an export of it.
fn folder() -> Folder {
    let folder = with_keys(0..20);
    assert_eq!(folder.run(&["export", "--output", "old.jsonl"]).code, 0);
    folder
}

#[test]
fn a_changed_ledger_is_refused() {
    let folder = folder();
    let cases = [
        ("version 3, and this build reads version 4; export it with the build", "PRAGMA user_version = 3"),
        ("version 5, and this build reads version 4", "PRAGMA user_version = 5"),
        (
            "the trigger t, which is not the guard's",
            "CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM items; END",
        ),
        ("the view v, which is not the guard's", "CREATE VIEW v AS SELECT 1"),
        ("the table t, which is not the guard's", "CREATE TABLE t (a)"),
        ("the index i, which is not the guard's", "CREATE INDEX i ON items (body)"),
        ("it lacks by_user; another program changed it: restore a copy", "DROP INDEX by_user"),
        ("the index by_user, which", "DROP INDEX by_user; CREATE INDEX by_user ON items (user_key, at_key)"),
        ("the table items, which", "ALTER TABLE items ADD COLUMN more"),
        ("it lacks items", "DROP TABLE items"),
        ("another program; choose another path", "PRAGMA application_id = 7"),
        // SQLite keeps such names for itself, and runs it all the same.
        (
            "the trigger sqlite_t, which is not the guard's",
            "CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM items; END; PRAGMA writable_schema = ON; \
             UPDATE sqlite_schema SET name = 'sqlite_t', sql = replace(sql, 'TRIGGER t', 'TRIGGER sqlite_t') \
             WHERE name = 't'",
        ),
    ];
    for (number, (says, sql)) in cases.into_iter().enumerate() {
        let ledger = format!("case-{number}");
        std::fs::copy(folder.at(LEDGER), folder.at(&ledger)).unwrap();
        execute(&folder.at(&ledger), sql);
        assert_refused(&folder, &ledger, says, &all());
    }
    // What SQLite itself adds is nobody's change.
    execute(&folder.at(LEDGER), "ANALYZE; VACUUM");
    assert_eq!(folder.run(READERS[0]).code, 0);
}

#[test]
fn what_is_no_ledger_is_refused() {
    let folder = folder();
    let at = |name: &str| folder.at(name);
    std::fs::write(at("text"), "no database").unwrap();
    std::fs::write(at("long-text"), "no database".repeat(999)).unwrap();
    std::fs::create_dir(at("folder")).unwrap();
    execute(&at("foreign"), "CREATE TABLE bookmarks (url)");
    execute(&at("named"), "PRAGMA application_id = 252006674; VACUUM");
    execute(&at("in-wal-mode"), "PRAGMA journal_mode = WAL; CREATE TABLE bookmarks (url)");
    let mut cases = vec![
        ("text", "is not a ledger"),
        ("long-text", "is not a ledger"),
        ("folder", "is a directory; name a file"),
        ("foreign", "is a database of another program; choose another path"),
        ("named", "is a database of another program; choose another path"),
        ("in-wal-mode", "is a database of another program; choose another path"),
    ];
    #[cfg(unix)]
    {
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(made.success());
        std::os::unix::fs::symlink("/dev/null", at("device")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
        std::os::unix::fs::symlink("foreign", at("link-to-foreign")).unwrap();
        cases.extend([
            ("pipe", "is not a regular file"),
            ("device", "is not a regular file"),
            ("/dev/zero", "is not a regular file"),
            ("link", "is a link to a file that is not there"),
            ("link-to-foreign", "is a database of another program"),
        ]);
    }
    for (ledger, says) in cases {
        assert_refused(&folder, ledger, says, &all());
    }
    assert_refused(&folder, "nowhere.db", "there is no such file; replay and import make one", &READERS);
    assert_refused(&folder, "no/such/folder.db", "there is no such file", &READERS);
    assert_refused(&folder, "no/such/folder.db", "could not be made: No such file or directory", &WRITERS);
    assert_refused(&folder, "no/such/folder.db", "make its directory first", &WRITERS);
}

/// Another program has been killed, and what it wrote last is in a file beside its database. SQLite would move it into the
/// database, or take it back.
#[test]
fn what_another_program_has_left_beside_its_database_stays() {
    let folder = folder();
    let in_log = "PRAGMA journal_mode = WAL; CREATE TABLE bookmarks (url)";
    let in_journal = "PRAGMA application_id = 7; CREATE TABLE bookmarks (url); PRAGMA cache_size = 1; BEGIN; \
                      INSERT INTO bookmarks SELECT zeroblob(3000) FROM pragma_function_list LIMIT 99";
    for (beside, sql) in [("-wal", in_log), ("-journal", in_journal)] {
        let names = |name: &str| [name.to_owned(), format!("{name}{beside}")];
        let [running, killed] = ["running", "killed"].map(|name| names(&format!("{name}{beside}")));
        let other = Connection::open(folder.at(&running[0])).unwrap();
        other.execute_batch(sql).unwrap();
        for (from, to) in running.iter().zip(&killed) {
            std::fs::copy(folder.at(from), folder.at(to)).unwrap();
        }
        drop(other);
        let read = || killed.each_ref().map(|name| std::fs::read(folder.at(name)).unwrap());
        let before = read();
        assert!(before[1].len() > 4_096);
        for command in all() {
            let ran = folder.run_on(&killed[0], command);
            assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{command:?}: {}", ran.stderr);
            assert!(ran.stderr.contains("another program"), "{}", ran.stderr);
            assert!(before == read(), "{command:?} {beside}");
        }
    }
}

#[test]
fn an_empty_file_is_made_a_ledger_by_those_who_write_and_refused_to_those_who_read() {
    let folder = folder();
    for (kind, command) in
        ["zero", "vacuumed"].into_iter().flat_map(|kind| WRITERS.map(|command| (kind, command)))
    {
        let ledger = format!("{kind}-{}", command[0]);
        std::fs::write(folder.at(&ledger), "").unwrap();
        if kind == "vacuumed" {
            execute(&folder.at(&ledger), "VACUUM");
            assert!(std::fs::metadata(folder.at(&ledger)).unwrap().len() > 0);
        }
        assert_refused(&folder, &ledger, "is an empty database; replay and import make a ledger", &READERS);
        let ran = folder.run_on(&ledger, command);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(recorded(&folder.at(&ledger)), ids(0..20));
        assert_eq!(integrity(&folder.at(&ledger)), "ok");
        assert_eq!(folder.run_on(&ledger, READERS[0]), folder.run(READERS[0]));
    }
}

/// A copy may be in another mode: `VACUUM INTO` makes one that lets a writer block the readers.
#[test]
fn a_copy_in_another_mode_is_read_and_written() {
    let folder = folder();
    let copy = folder.at("copy");
    execute(&folder.at(LEDGER), &format!("VACUUM INTO '{}'", copy.display()));
    let mode = || {
        let connection = Connection::open(&copy).unwrap();
        connection.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0)).unwrap()
    };
    let before = std::fs::read(&copy).unwrap();
    assert_eq!(folder.run_on("copy", READERS[0]), folder.run(READERS[0]));
    assert!(std::fs::read(&copy).unwrap() == before);
    assert_eq!(mode(), "delete");
    assert_eq!(folder.run_on("copy", WRITERS[0]).code, 0);
    assert_eq!(mode(), "wal");
    assert_eq!(recorded(&copy), ids(0..20));
}
