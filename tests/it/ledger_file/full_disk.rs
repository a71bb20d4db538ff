//! A disk that is full. Nothing is reported that is not recorded.

use std::process::{Command, Stdio};

use super::{LEDGER, ids, integrity, recorded, reported, with_keys};
use crate::support::cli::{CliOutput, Folder};

const EVENTS: usize = 600;

/// Runs a script with the command line as `$1`.
fn script(folder: &Folder, script: &str) -> CliOutput {
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_bedrock-key-guard")]);
    command
        .env_remove("KEY_GUARD_TEST_DYNAMODB")
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap()
        .into()
}

/// No file may become larger than so many times 512 bytes.
fn run_within(folder: &Folder, blocks: u32) -> CliOutput {
    let replay = "\"$1\" replay --format jsonl events";
    script(folder, &format!("trap '' XFSZ; ulimit -f {blocks}; exec {replay}"))
}

/// A limit of the process stands for a disk: at any size, the write that fails is another one.
#[test]
fn what_does_not_fit_is_not_reported() {
    let mut partial = 0;
    // The write-ahead log of all events has between 2,400 and 2,800 KiB, as batches come.
    for blocks in [8, 60, 160, 1_000, 1_500, 2_000] {
        let folder = Folder::new();
        folder.write_events("events", 0..EVENTS);
        let ran = run_within(&folder, blocks);
        assert_eq!(ran.code, 1, "{blocks}: {}", ran.stderr);
        assert!(ran.stderr.contains("key-guard.db: "), "{blocks}: {}", ran.stderr);
        let reported = reported(&ran.stdout);
        if !folder.at(LEDGER).exists() {
            assert!(reported.is_empty());
            continue;
        }
        assert_eq!(integrity(&folder.at(LEDGER)), "ok");
        assert_eq!(recorded(&folder.at(LEDGER)), reported, "{blocks}");
        partial += usize::from(!reported.is_empty());
        // With more space, it goes on where it ended.
        assert_eq!(folder.run(&["replay", "events"]).code, 0);
        assert_eq!(recorded(&folder.at(LEDGER)), ids(0..EVENTS));
    }
    assert!(partial > 1, "{partial} replays were cut in the middle");
}

#[test]
fn a_ledger_that_cannot_grow_stays_as_it_is() {
    let folder = with_keys(0..9);
    folder.write_events("events", 9..20);
    let ran = run_within(&folder, 8);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("the disk is full, damaged or gone"), "{}", ran.stderr);
    assert_eq!(recorded(&folder.at(LEDGER)), ids(0..9));
    assert_eq!(integrity(&folder.at(LEDGER)), "ok");
}

/// SQLite makes files beside a ledger even to read it. Where there is no room for them, it is read without.
#[test]
fn a_ledger_is_read_on_a_full_disk() {
    let folder = with_keys(0..9);
    let ran = script(&folder, "trap '' XFSZ; ulimit -f 8; exec \"$1\" lookup --format jsonl");
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 9), "{}", ran.stderr);
}

/// The same on a file system that is full, where the tests may mount one. It ends with the script.
#[cfg(target_os = "linux")]
#[test]
fn a_file_system_that_is_full_is_named() {
    let folder = Folder::new();
    folder.write_events("events", 0..EVENTS);
    std::fs::create_dir(folder.at("disk")).unwrap();
    let ran = script(
        &folder,
        "exec unshare --mount --map-root-user sh -c 'mount -t tmpfs -o size=900k tmpfs disk || exit 77
            \"$1\" replay --format jsonl --ledger file:disk/key-guard.db events > reports
            echo $? > code
            \"$1\" export --ledger file:disk/key-guard.db > export' sh \"$1\"",
    );
    if ran.code != 0 {
        eprintln!("no file system can be mounted here: {}", ran.stderr);
        return;
    }
    let read = |name: &str| std::fs::read_to_string(folder.at(name)).unwrap();
    assert_eq!(read("code"), "1\n");
    assert!(ran.stderr.contains("key-guard.db: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("; free some space, and run the command again"), "{}", ran.stderr);
    let reported = reported(&read("reports"));
    assert!(!reported.is_empty() && reported.len() < EVENTS);
    let exported: std::collections::BTreeSet<_> = super::reported(&read("export"));
    assert_eq!(exported, reported);
}
