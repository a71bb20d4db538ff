//! Several processes and one file.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use key_guard_core::policy::BUILT_IN;
use rusqlite::Connection;

use serde_json::{Value, json};

use super::{LEDGER, event_of, id, ids, integrity, recorded, with_keys};
use crate::support::cli::{CliOutput, Folder};
use crate::support::{OWN, event};

const LOOKUP: [&str; 5] = ["lookup", "--account", "111122223333", "--format", "csv"];

/// Another process that writes. Nobody sees it until it commits.
fn writer(folder: &Folder) -> Connection {
    let connection = Connection::open(folder.at(LEDGER)).unwrap();
    connection.execute_batch("BEGIN EXCLUSIVE; DELETE FROM items").unwrap();
    connection
}

#[test]
fn a_reader_is_not_blocked_by_a_writer() {
    let folder = with_keys(0..9);
    let before = folder.run(&LOOKUP);
    assert_eq!(before.stdout.lines().count(), 10, "{}", before.stderr);
    let writer = writer(&folder);
    for _ in 0..2 {
        assert_eq!(folder.run(&LOOKUP), before);
        assert_eq!(folder.run(&["export"]).stdout.lines().count(), 9);
    }
    writer.execute_batch("COMMIT").unwrap();
    assert_eq!(folder.run(&LOOKUP).stdout.lines().count(), 1);
}

#[test]
fn a_writer_waits_for_another() {
    let folder = with_keys(0..9);
    let writer = writer(&folder);
    let events = folder.write_events("more", 9..12);
    let mut command = folder.command(&["replay", &events]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(child.try_wait().unwrap(), None, "it waits");
    writer.execute_batch("ROLLBACK").unwrap();
    let ran: CliOutput = child.wait_with_output().unwrap().into();
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(recorded(&folder.at(LEDGER)), ids(0..12));
}

#[test]
fn a_writer_that_has_waited_too_long_says_for_what() {
    let folder = with_keys(0..9);
    let events = folder.write_events("more", 9..12);
    assert_eq!(folder.run(&["export", "--output", "old.jsonl"]).code, 0);
    let writer = writer(&folder);
    let spawn = |arguments: &[&str]| {
        let mut command = folder.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children = [
        spawn(&["replay", "--format", "jsonl", &events]),
        spawn(&["replay", "--format", "csv", &events]),
        // One that has nothing to write does not wait.
        spawn(&["import", "old.jsonl"]),
    ];
    let [jsonl, csv, import] = children.map(|child| CliOutput::from(child.wait_with_output().unwrap()));
    for ran in [&jsonl, &csv] {
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        #[cfg(target_os = "linux")]
        assert!(ran.stderr.contains(&format!("PID {} (", std::process::id())), "{}", ran.stderr);
        let says = "key-guard.db: the ledger file cannot be used: the ledger is locked by another process";
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
        assert!(!ran.stdout.contains(&id(9)), "{}", ran.stdout);
    }
    assert_eq!(import.code, 0, "{}", import.stderr);
    writer.execute_batch("ROLLBACK").unwrap();
    assert_eq!(recorded(&folder.at(LEDGER)), ids(0..9));
    assert_eq!(folder.run(&["replay", &events]).code, 0);
    assert_eq!(recorded(&folder.at(LEDGER)), ids(0..12));
}

/// Also where there is no file yet, or an empty one, which each of them makes a ledger of.
#[test]
fn many_writers_and_readers_share_a_file() {
    const EACH: usize = 250;
    const WRITERS: usize = 5;
    for is_there in [false, true, true] {
        let folder = Folder::new();
        if is_there {
            std::fs::write(folder.at(LEDGER), "").unwrap();
        }
        let children: Vec<_> = (0..WRITERS)
            .map(|number| {
                let numbers = number * EACH..(number + 1) * EACH;
                let events = folder.write_events(&format!("events-{number}"), numbers);
                let mut command = folder.command(&["replay", &events]);
                command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for _ in 0..4 {
            let ran = folder.run(&LOOKUP);
            let is_too_early = ["no such file", "empty database"].iter().any(|why| ran.stderr.contains(why));
            assert!(ran.code == 0 || is_too_early, "{}", ran.stderr);
        }
        for child in children {
            let ran: CliOutput = child.wait_with_output().unwrap().into();
            assert_eq!(ran.code, 0, "{}", ran.stderr);
        }
        assert_eq!(recorded(&folder.at(LEDGER)), ids(0..EACH * WRITERS));
        assert_eq!(integrity(&folder.at(LEDGER)), "ok");
    }
}

/// The command has read that there is no dry run of the key, and waits to write one, while another process writes another one.
#[test]
fn dry_runs_at_the_same_time_lose_nothing() {
    let lines = |event: Value| format!("{}\n", event_of(event, 1));
    let created = lines(event("created-without-age"));
    let mut deleted = event_of(event("created-without-age"), 1);
    let detail = &mut deleted["detail"];
    (detail["eventName"], detail["responseElements"]) =
        ("DeleteServiceSpecificCredential".into(), Value::Null);
    detail["eventID"] = "5d1c0002-7b1e-4c3a-9f00-000000000001".into();
    detail["requestParameters"] = json!({"userName": "svc-1", "serviceSpecificCredentialId": id(1)});
    let deleted = format!("{deleted}\n");
    let list = json!({"ServiceSpecificCredentials": [{
        "UserName": "svc-1", "Status": "Active", "ServiceName": "bedrock.amazonaws.com",
        "ServiceSpecificCredentialId": id(1), "CreateDate": "2026-01-05T10:00:00Z",
    }]});
    let sweep = &["sweep", "--accounts", OWN, "--from", "own"][..];
    let cases = [
        (&["replay", "own"][..], created.clone(), deleted.clone()),
        (&["replay", "own"], deleted.clone(), created.clone()),
        (sweep, list.to_string(), created + &deleted),
    ];
    for (arguments, own, others) in cases {
        let (folder, other) = (with_keys(8..9), Folder::new());
        folder.write("own", own);
        other.write("others", others);
        assert_eq!(other.run(&["replay", "others"]).code, 0);
        let writer = Connection::open(folder.at(LEDGER)).unwrap();
        writer.execute("ATTACH ? AS other", [other.at(LEDGER).to_str().unwrap()]).unwrap();
        writer.execute_batch("BEGIN IMMEDIATE; INSERT INTO main.items SELECT * FROM other.items").unwrap();
        let mut command = folder.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(900));
        assert_eq!(child.try_wait().unwrap(), None, "it waits");
        writer.execute_batch("COMMIT").unwrap();
        let ran: CliOutput = child.wait_with_output().unwrap().into();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let found = folder.run(&["lookup", &id(1), "--format", "jsonl"]).json_lines().remove(0);
        assert_eq!(
            (&found["status"], &found["verdict"]),
            (&json!("gone"), &json!("noncompliant")),
            "{found}"
        );
        assert_ne!(found["actor"], Value::Null, "its creation is known: {found}");
    }
}

/// A replay makes several kinds of writes. It waits once.
#[test]
fn a_writer_waits_once_for_a_lock() {
    let folder = with_keys(0..9);
    let names = ["created-without-age", "failed-limit-exceeded", "console-user-password-changed"];
    let lines = names.map(|name| format!("{}\n", event(name)));
    let mixed = folder.write("mixed", lines.concat());
    let writer = writer(&folder);
    let begun = Instant::now();
    let ran = folder.run(&["replay", &mixed]);
    let took = begun.elapsed();
    assert!(ran.code == 1 && ran.stderr.contains("locked by another process"), "{}", ran.stderr);
    assert!(took < Duration::from_secs(3), "{took:?}");
    drop(writer);
}

/// Where a process loses its lock on the file, another one removes the log under it: a version that was said to be current
/// is lost then, in one round of four.
#[test]
fn a_version_that_is_current_stays_beside_other_processes() {
    let folder = with_keys(0..9);
    folder.write("built-in.toml", BUILT_IN);
    folder.write("other.toml", format!("# Another one.\n{BUILT_IN}"));
    for file in ["built-in.toml", "other.toml"] {
        assert_eq!(folder.run(&["policy", "push", file, "--yes"]).code, 0);
    }
    let events = folder.write_events("more", 9..12);
    let commands = [&["replay", events.as_str()][..], &LOOKUP];
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for command in commands {
            let (folder, is_over) = (&folder, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(folder.run(command).stderr.matches("malformed").count(), 0);
                }
            });
        }
        for version in 3..43 {
            let to = if version % 2 == 0 { "2" } else { "1" };
            let ran = folder.run(&["policy", "rollback", "--to", to, "--yes"]);
            let is_current = ran.stderr.contains(&format!("version {version} of the policy is current"));
            if !is_current || version == 42 {
                is_over.store(true, Ordering::Relaxed);
            }
            assert!(is_current, "{}", ran.stderr);
        }
    });
    assert_eq!(integrity(&folder.at(LEDGER)), "ok");
    let log = folder.run(&["policy", "log", "--format", "jsonl"]).json_lines();
    assert_eq!(log.len(), 42);
}

/// The ledger is no input, wherever it lies.
#[test]
fn a_ledger_among_the_inputs_is_passed_over() {
    let folder = Folder::new();
    folder.write_events("events.json", 0..3);
    for _ in 0..2 {
        let ran = folder.run(&["replay", "."]);
        assert_eq!((ran.code, ran.stderr.contains("key-guard.db")), (0, false), "{}", ran.stderr);
    }
    assert_eq!(recorded(&folder.at(LEDGER)), ids(0..3));
}
