//! Ledger files when things go wrong: processes that are killed, that share a file or may not write it, disks that are full,
//! and files that are no ledger.

mod damaged;
#[cfg(unix)]
mod full_disk;
mod killed;
#[cfg(unix)]
mod protected;
mod refused;
mod shared;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use serde_json::Value;

use crate::support::cli::Folder;
use crate::support::file::LedgerFile;

const LEDGER: &str = "key-guard.db";

impl Folder {
    /// Writes the creation events of these keys, and returns the file's name.
    fn write_events(&self, name: &str, numbers: Range<usize>) -> String {
        let event = crate::support::event("created-without-age");
        let lines = numbers.map(|number| format!("{}\n", event_of(event.clone(), number)));
        self.write(name, lines.collect::<String>())
    }
}

/// A ledger of these keys.
fn with_keys(numbers: Range<usize>) -> Folder {
    let folder = Folder::new();
    let events = folder.write_events("events", numbers);
    let ran = folder.run(&["replay", &events]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    folder
}

fn id(number: usize) -> String {
    format!("ACCAEXAMPLE{number:010}")
}

fn ids(numbers: Range<usize>) -> BTreeSet<String> {
    numbers.map(id).collect()
}

fn event_of(mut event: Value, number: usize) -> Value {
    let detail = &mut event["detail"];
    detail["eventID"] = format!("5d1c0001-7b1e-4c3a-9f00-{number:012}").into();
    let credential = &mut detail["responseElements"]["serviceSpecificCredential"];
    credential["serviceSpecificCredentialId"] = id(number).into();
    credential["userName"] = format!("svc-{number}").into();
    detail["requestParameters"]["userName"] = format!("svc-{number}").into();
    event
}

/// The keys that a ledger file has a dry run of.
fn recorded(path: &Path) -> BTreeSet<String> {
    let items = LedgerFile::open(path).items().into_iter().filter(|item| item["kind"] == "dry_run");
    items.map(|item| item["pk"].as_str().unwrap().replacen("KEY#", "", 1)).collect()
}

/// The keys that were reported in JSON lines. The last line may be cut.
fn reported(stdout: &str) -> BTreeSet<String> {
    let lines = stdout.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let reports = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    reports.map(|report| report["credential_id"].as_str().unwrap().to_owned()).collect()
}

/// What SQLite thinks of a file.
fn integrity(path: &Path) -> String {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
}
