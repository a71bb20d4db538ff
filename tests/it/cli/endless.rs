//! What has no end: warnings, and output that nobody reads to its end.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use super::record;
use crate::support::cli::Folder;

/// How many warnings are said.
const MOST: usize = 100;

/// A line that is no event, and no item of a ledger.
const BAD: &str = "{\"eventName\": oops}\n";

fn check_warnings(stderr: &str, more: &str) {
    let warnings =
        stderr.lines().filter(|line| line.starts_with("warning: ") && !line.contains("critical: "));
    assert_eq!(warnings.count(), MOST + 1, "{stderr}");
    assert!(stderr.contains(&format!("\nwarning: and {more} more\n")), "{stderr}");
}

#[test]
fn warnings_of_replay_end_after_a_hundred_and_critical_ones_never() {
    let folder = Folder::new();
    let bad = BAD.repeat(2_345);
    let file = folder.write("bad.jsonl", format!("{bad}{}\n", record("console-user-access-key-created")));
    let ran = folder.run(&["replay", &file]);
    assert_eq!(ran.code, 4);
    check_warnings(&ran.stderr, "2,245");
    assert_eq!(
        ran.stderr.matches("\nwarning: critical: An access key was created").count(),
        1,
        "{}",
        ran.stderr
    );
    let mut lines = ran.stderr.lines().rev();
    assert_eq!(lines.next(), Some("exit 4: 1 file could not be read whole"));
    assert!(lines.next().unwrap().starts_with("this was a dry run: "), "{}", ran.stderr);
    assert!(lines.next().unwrap().ends_with("; 2345 unreadable"), "{}", ran.stderr);
    assert_eq!(lines.next(), Some("warning: and 2,245 more"), "the count comes last, before the summary");

    // A hundred are all said, and nothing is added.
    let file = folder.write("bad.jsonl", BAD.repeat(MOST));
    let ran = folder.run(&["replay", &file]);
    assert_eq!(ran.stderr.matches("warning: ").count(), MOST);
    assert!(!ran.stderr.contains(" more\n"), "{}", ran.stderr);
}

/// However many lines are bad, what is said and held of them has an end.
#[test]
fn a_hundred_thousand_bad_lines_are_one_number() {
    let folder = Folder::new();
    let file = folder.write("bad.jsonl", BAD.repeat(100_000));
    let ran = folder.run(&["replay", &file]);
    assert_eq!(ran.code, 4);
    check_warnings(&ran.stderr, "99,900");
    assert!(ran.stderr.len() < 20_000, "{}", ran.stderr.len());
    assert!(ran.stderr.contains("; 100000 unreadable\n"), "{}", ran.stderr);
}

/// An event is printed while the rest of its pipe is still to come, whichever way the pipe is given.
#[test]
fn no_event_of_a_pipe_waits_for_the_next_one() {
    let folder = Folder::new();
    let status = std::process::Command::new("mkfifo").arg(folder.at("pipe")).status().unwrap();
    assert!(status.success());
    let line = format!("{}\n", record("created-without-age"));
    for (path, prefix) in
        [("-", ""), ("/dev/stdin", ""), ("pipe", ""), ("-", "<14>Nov 20 13:04:08 host app: ")]
    {
        let mut command = folder.command(&["replay", "--format", "jsonl", path]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input: Box<dyn Write> = if path == "pipe" {
            Box::new(std::fs::OpenOptions::new().write(true).open(folder.at("pipe")).unwrap())
        } else {
            Box::new(child.stdin.take().unwrap())
        };
        // Enough to tell by what a text is.
        let lines = if prefix.is_empty() { 1 } else { 3 };
        input.write_all(format!("{prefix}{line}").repeat(lines).as_bytes()).unwrap();
        input.flush().unwrap();
        let (to, from) = std::sync::mpsc::channel();
        let stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            let mut printed = String::new();
            BufReader::new(stdout).read_line(&mut printed).unwrap();
            to.send(printed).unwrap();
        });
        let printed = from.recv_timeout(Duration::from_secs(30));
        drop(input);
        child.wait().unwrap();
        assert!(printed.is_ok_and(|line| line.contains("svc-chatbot")), "{path}: {prefix}");
    }
}

#[test]
fn critical_warnings_have_no_end() {
    let folder = Folder::new();
    let records: Vec<_> = (0..MOST + 5)
        .map(|number| {
            let mut record = record("console-user-access-key-created");
            record["eventID"] = json!(format!("event-{number}"));
            record
        })
        .collect();
    let file = folder.write("trail.json", json!({ "Records": records }).to_string());
    let ran = folder.run(&["replay", &file]);
    assert_eq!(ran.stderr.matches("warning: critical: ").count(), MOST + 5);
    assert!(!ran.stderr.contains(" more\n"), "{}", ran.stderr);
}

#[test]
fn warnings_of_other_commands_end_after_a_hundred() {
    let folder = Folder::new();
    let bad = folder.write("bad.jsonl", format!("{{\"v\": 7}}\n{}", BAD.repeat(MOST + 4)));
    let ran = folder.run(&["import", &bad]);
    assert_eq!(ran.code, 4);
    check_warnings(&ran.stderr, "5");
    assert!(ran.stderr.ends_with("; 105 unreadable\n"), "{}", ran.stderr);

    let ran = folder.run(&["lookup", "--verify", &bad]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    check_warnings(&ran.stderr, "4");
    // The file is named already: its JSON without an event is counted only.
    assert!(
        ran.stderr.ends_with("; 104 unreadable\npassed over: 1 file with other JSON\n"),
        "{}",
        ran.stderr
    );
}

/// Creations of so many keys, one to a line.
fn creations(count: usize) -> String {
    let creation = |number| {
        let mut record = record("created-without-age");
        record["eventID"] = json!(format!("event-{number}"));
        let credential = &mut record["responseElements"]["serviceSpecificCredential"];
        credential["serviceSpecificCredentialId"] = json!(format!("ACCAEXAMPLE{number:010}"));
        record.to_string()
    };
    (0..count).map(creation).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_nobody_reads_is_recorded_all_the_same() {
    const KEYS: usize = 3_000;
    let folder = Folder::new();
    let file = folder.write("keys.jsonl", creations(KEYS));
    for format in ["jsonl", "csv", "table"] {
        let ledger = format!("file:{format}.db");
        let mut command = folder.command(&["replay", "--format", format, "--ledger", &ledger, &file]);
        command.args(["--fail-on", "noncompliant"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // `| head -1`
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(3), "{format}: {stderr}");
        assert!(stderr.starts_with("3000 events read: 3000 judged (3000 noncompliant, "), "{stderr}");
        let exported = folder.run(&["export", "--ledger", &ledger]);
        assert_eq!(exported.stdout.lines().count(), KEYS, "{format}");
    }
}

/// Only printing stops: what a command says and its exit code stay what they are.
#[test]
fn a_reader_that_goes_away_changes_no_exit_code() {
    let folder = super::policy_versions::folder_with_keys();
    let pushed = folder.run(&["policy", "push", "built-in.toml", "--yes"]);
    assert_eq!(pushed.code, 0, "{}", pushed.stderr);
    // An item that cannot be read makes it 4.
    let damaged = folder.write("damaged.jsonl", format!("{}\n{BAD}", record("created-without-age")));
    let missing = folder.write("missing.json", record("created-for-90-days").to_string());
    for (arguments, code) in [
        (&["replay", "--fail-on", "noncompliant", &damaged][..], 3),
        (&["lookup", "--since", "2026-01-01"], 0),
        (&["lookup", "--format", "jsonl"], 0),
        (&["lookup", "--format", "csv", "bob"], 0),
        (&["lookup", "--format", "ocsf"], 0),
        (&["lookup", "--stats"], 0),
        (&["lookup", "--verify", &missing], 3),
        (&["timeline", "bob"], 0),
        (&["timeline", "bob", "--format", "csv"], 0),
        (&["usage", "--ledger", "file:key-guard.db", &damaged], 4),
        (&["report", "--output", "-"], 0),
        (&["export"], 0),
        (&["policy", "check", "strict.toml"], 0),
        (&["policy", "show", "strict.toml"], 0),
        (&["policy", "log"], 0),
        (&["policy", "log", "--version", "1"], 0),
        (&["policy", "diff", "built-in.toml", "strict.toml", "--ledger", "file:key-guard.db"], 0),
        (&["policy", "push", "strict.toml", "--dry-run"], 0),
        (&["exempt", "list", "--policy", "strict.toml"], 0),
        (&["rollout"], 0),
        (&["prevent", "scp"], 0),
        (&["hunt", "athena", "--since", "2026-01-01", "--until", "2026-02-01"], 0),
        (&["completions", "bash"], 0),
        (&["man"], 0),
    ] {
        let (unread, read) = (folder.run_unread(arguments), folder.run(arguments));
        assert!(!read.stdout.is_empty(), "{arguments:?}: {}", read.stderr);
        assert_eq!((unread.code, read.code), (code, code), "{arguments:?}: {}", unread.stderr);
        assert!(!unread.stderr.contains("pipe"), "{arguments:?}: {}", unread.stderr);
    }
}

/// Who confirms with `--yes` wants it done.
#[test]
fn what_is_confirmed_is_done_where_nobody_reads() {
    let folder = super::policy_versions::folder_with_keys();
    let count = || folder.run(&["policy", "log", "--format", "jsonl"]).json_lines().len();
    for (number, arguments) in [
        (1, &["policy", "push", "built-in.toml", "--yes"][..]),
        (2, &["policy", "push", "strict.toml", "--yes"]),
        (3, &["policy", "rollback", "--yes"]),
    ] {
        let ran = folder.run_unread(arguments);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.contains(&format!("version {number} of the policy is current")), "{}", ran.stderr);
        assert_eq!(count(), number, "{arguments:?}");
    }
    let exempt =
        ["--account", "111122223333", "--user", "carol", "--reason", "SEC-1", "--until", "2099-03-31"];
    let policy = ["exempt", "add", "--policy", "built-in.toml", "--yes"];
    let ran = folder.run_unread(&[&policy[..], &exempt].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(std::fs::read_to_string(folder.at("built-in.toml")).unwrap().contains("user = \"carol\""));
}

#[test]
fn a_full_disk_is_an_error() {
    let folder = Folder::new();
    let file = folder.write("key.json", record("created-without-age").to_string());
    let keys = folder.write("keys.jsonl", creations(1_500));
    // A table is written after 1,000 rows, so in the second case before the end of its file.
    for (file, format, says) in [
        (&file, "jsonl", "1 event read: 1 judged (1 noncompliant, "),
        (&keys, "table", "1000 events read: 1000 judged (1000 noncompliant, "),
    ] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = folder.command(&["replay", "--format", format, file]).stdout(full).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("error: could not write to stdout"), "{stderr}");
        assert!(stderr.contains(says) && stderr.contains(", 0 of other kinds; "), "{stderr}");
    }
}
