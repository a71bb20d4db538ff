//! Files and directories that may not be written, or not be read.
//!
//! Nothing is forbidden to root, so the commands run as nobody then.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;

use super::{LEDGER, ids, recorded, with_keys};
use crate::support::cli::{CliOutput, Folder};

const NOBODY: u32 = 65_534;
const LOOKUP: [&str; 5] = ["lookup", "--account", "111122223333", "--format", "csv"];

fn is_root(folder: &Folder) -> bool {
    folder.path().metadata().unwrap().uid() == 0
}

fn allow(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

impl Folder {
    /// A directory in it that everybody may use, with a ledger in it.
    fn guarded(&self) -> PathBuf {
        let inner = self.at("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::copy(self.at(LEDGER), inner.join(LEDGER)).unwrap();
        // A new ledger is its owner's only.
        allow(&inner.join(LEDGER), 0o666);
        allow(self.path(), 0o777);
        allow(&inner, 0o777);
        inner
    }

    /// Runs a command on the ledger in `inner` as somebody for whom permissions count.
    fn run_unprivileged(&self, arguments: &[&str]) -> CliOutput {
        let inner = format!("file:inner/{LEDGER}");
        let command = self.command(&[arguments, &["--ledger", &inner]].concat());
        self.unprivileged(command)
    }

    fn unprivileged(&self, mut command: Command) -> CliOutput {
        if is_root(self) {
            command.uid(NOBODY).gid(NOBODY);
        }
        match command.output() {
            Ok(output) => output.into(),
            // The build directory is root's alone.
            Err(error) if is_root(self) => {
                let program = self.at("program");
                std::fs::copy(command.get_program(), &program).unwrap();
                let mut again = Command::new(&program);
                again.args(command.get_args()).current_dir(self.path()).env_clear().uid(NOBODY).gid(NOBODY);
                again.output().unwrap_or_else(|again| panic!("{error}; {again}")).into()
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn names(path: &Path) -> usize {
    std::fs::read_dir(path).unwrap().count()
}

#[test]
fn a_ledger_is_read_where_nothing_may_be_written() {
    let folder = with_keys(0..9);
    let inner = folder.guarded();
    let expected = folder.run(&LOOKUP);
    assert_eq!(expected.stdout.lines().count(), 10);
    for (file, directory) in [(0o666, 0o777), (0o444, 0o777), (0o666, 0o555), (0o444, 0o555)] {
        allow(&inner.join(LEDGER), file);
        allow(&inner, directory);
        for command in [&LOOKUP[..], &["export"], &["report", "--output", "-"]] {
            let ran = folder.run_unprivileged(command);
            assert_eq!(ran.code, 0, "{file:o} {directory:o} {command:?}: {}", ran.stderr);
            assert!(command[0] != "lookup" || ran == expected, "{ran:?}");
            assert_eq!(names(&inner), 1, "{file:o} {directory:o}: nothing is left beside it");
        }
    }
    // SQLite takes such a name for something else where it is part of a URI.
    allow(&inner, 0o777);
    let strange = "100% öl?mode=memory#&x.db";
    std::fs::rename(inner.join(LEDGER), inner.join(strange)).unwrap();
    allow(&inner, 0o555);
    let place = format!("file:inner/{strange}");
    let ran = folder.unprivileged(folder.command(&[&LOOKUP[..], &["--ledger", &place]].concat()));
    assert_eq!(ran.stdout, expected.stdout, "{}", ran.stderr);
    allow(&inner, 0o777);
}

/// What a killed process has left in the log is part of the ledger, and cannot be read here.
#[test]
fn a_ledger_is_not_read_without_its_log() {
    let folder = with_keys(0..9);
    let inner = folder.guarded();
    let writer = Connection::open(folder.at(LEDGER)).unwrap();
    writer.execute_batch("DELETE FROM items WHERE pk LIKE '%1'").unwrap();
    std::fs::copy(folder.at("key-guard.db-wal"), inner.join("key-guard.db-wal")).unwrap();
    allow(&inner.join("key-guard.db-wal"), 0o666);
    allow(&inner, 0o555);
    let ran = folder.run_unprivileged(&LOOKUP);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("inner/key-guard.db: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("opy it to where you may write"), "{}", ran.stderr);
    allow(&inner, 0o777);
    let ran = folder.run_unprivileged(&LOOKUP);
    assert_eq!(ran.stdout.lines().count(), 9, "{}", ran.stderr);
}

#[test]
fn a_writer_says_at_once_that_it_may_not_write() {
    let folder = with_keys(0..9);
    let inner = folder.guarded();
    let events = folder.write_events("more", 9..12);
    assert_eq!(folder.run(&["export", "--output", "old.jsonl"]).code, 0);
    allow(&folder.at("old.jsonl"), 0o644);
    let before = std::fs::read(inner.join(LEDGER)).unwrap();
    for (file, directory) in [(0o444, 0o777), (0o666, 0o555), (0o444, 0o555)] {
        allow(&inner.join(LEDGER), file);
        allow(&inner, directory);
        for command in [&["replay", "--format", "jsonl", &events][..], &["import", "old.jsonl"]] {
            let ran = folder.run_unprivileged(command);
            assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{file:o} {directory:o}: {}", ran.stderr);
            assert!(ran.stderr.contains("inner/key-guard.db: "), "{}", ran.stderr);
            assert!(
                ran.stderr.contains("opy it to where you may write"),
                "{file:o} {directory:o}: {}",
                ran.stderr
            );
            assert_eq!(names(&inner), 1);
            assert!(std::fs::read(inner.join(LEDGER)).unwrap() == before);
        }
    }
    std::fs::remove_file(inner.join(LEDGER)).unwrap();
    let ran = folder.run_unprivileged(&["replay", &events]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("could not be made: Permission denied"), "{}", ran.stderr);
    assert!(ran.stderr.contains("choose a path where you may write"), "{}", ran.stderr);
    allow(&inner, 0o777);
    assert_eq!(folder.run_unprivileged(&["replay", &events]).code, 0);
    assert_eq!(recorded(&inner.join(LEDGER)), ids(9..12));
}

#[test]
fn what_may_not_be_read_is_not_called_missing() {
    let folder = with_keys(0..9);
    let inner = folder.guarded();
    for (file, directory) in [(0o000, 0o777), (0o666, 0o000)] {
        allow(&inner.join(LEDGER), file);
        allow(&inner, directory);
        for command in [&LOOKUP[..], &["export"], &["replay", "events"]] {
            let ran = folder.run_unprivileged(command);
            assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{file:o} {directory:o}: {}", ran.stderr);
            assert!(ran.stderr.contains("inner/key-guard.db: "), "{}", ran.stderr);
            assert!(ran.stderr.contains("Permission denied"), "{file:o} {directory:o}: {}", ran.stderr);
        }
        allow(&inner, 0o777);
    }
}
