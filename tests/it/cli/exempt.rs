//! `exempt`: exemptions in a policy file, and in versions in the ledger.

use std::process::Stdio;

use bedrock_key_guard::clock::{Clock as _, SystemClock};
use key_guard_core::policy::{BUILT_IN, Policy};
use serde_json::Value;

use super::policy_versions::folder_with_keys;
use crate::support::cli::{CliOutput, Folder};

/// A file with comments, in an order of its own.
const COMMENTED: &str = "# Ours, agreed on 2026-11-02.\n\n[default]   # for all\nresponse = \"delete\"\nmax_lifetime_days   = 90 # days\nservices = [\n  \"bedrock.amazonaws.com\", # the only one\n]\n";

const CAROL: [&str; 4] = ["--account", "111122223333", "--user", "carol"];

fn run(folder: &Folder, command: &str, arguments: &[&str]) -> CliOutput {
    CliOutput::of(folder.command(&[&["exempt", command], arguments].concat()).stdin(Stdio::null()))
}

fn add(folder: &Folder, more: &[&str]) -> CliOutput {
    let reason = ["--reason", "SEC-1234: vendor cannot use \"STS\"", "--until", "2099-03-31"];
    run(folder, "add", &[&CAROL, &reason[..], more].concat())
}

fn read(folder: &Folder, name: &str) -> String {
    std::fs::read_to_string(folder.at(name)).unwrap()
}

#[test]
fn add_shows_whose_verdict_changes_and_keeps_the_rest_of_the_file() {
    let folder = folder_with_keys();
    let file = folder.write("policy.toml", COMMENTED);
    let policy = ["--policy", file.as_str()];
    let dry = add(&folder, &[&policy[..], &["--dry-run"]].concat());
    assert_eq!((dry.code, read(&folder, &file).as_str()), (0, COMMENTED), "{}", dry.stderr);
    insta::assert_snapshot!("add-stdout", dry.stdout);
    insta::assert_snapshot!("add-dry-run-stderr", dry.stderr);

    let names = folder.names();
    let added = add(&folder, &[&policy[..], &["--yes"]].concat());
    assert_eq!((added.code, added.stdout), (0, dry.stdout), "{}", added.stderr);
    insta::assert_snapshot!("add-stderr", added.stderr);
    let text = read(&folder, &file);
    assert!(text.starts_with(COMMENTED), "{text}");
    insta::assert_snapshot!("add-file", text);
    assert_eq!(folder.names(), names, "no other file is left");

    let today = SystemClock.now().date_naive();
    let ended = run(&folder, "expire", &[&CAROL, &policy[..], &["--yes", "--reason", "uses roles"]].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("exempt  noncompliant, delete"), "{}", ended.stdout);
    let comment =
        format!("until = {} # ended {today}, was until 2099-03-31: uses roles", today.pred_opt().unwrap());
    assert_eq!(read(&folder, &file), text.replace("until = 2099-03-31", &comment));
    let again = run(&folder, "expire", &[&CAROL, &policy[..], &["--yes", "--reason", "uses roles"]].concat());
    assert_eq!(again.code, 1);
    assert!(
        again.stderr.contains("carol in 111122223333 has no exemption that is valid"),
        "{}",
        again.stderr
    );
}

#[test]
fn in_the_ledger_add_and_expire_append_versions() {
    let folder = folder_with_keys();
    let policy = ["--policy", "ledger:"];
    let ran = add(&folder, &[&policy[..], &["--yes"]].concat());
    assert!(ran.code == 1 && ran.stderr.contains("no version of the policy"), "{}", ran.stderr);
    assert_eq!(folder.run(&["policy", "push", "built-in.toml", "--yes"]).code, 0);
    let version = |number: &str| folder.run(&["policy", "log", "--version", number]);

    let dry = add(&folder, &[&policy[..], &["--dry-run"]].concat());
    assert!(
        dry.code == 0 && dry.stdout.contains("noncompliant, delete  exempt"),
        "{}{}",
        dry.stdout,
        dry.stderr
    );
    assert_eq!(version("2").code, 1, "a dry run appends nothing");
    let added = add(&folder, &[&policy[..], &["--yes"]].concat());
    assert_eq!((added.code, added.stdout), (0, dry.stdout), "{}", added.stderr);
    let ended = run(&folder, "expire", &[&CAROL, &policy[..], &["--yes", "--reason", "uses roles"]].concat());
    assert_eq!(ended.code, 0, "{}", ended.stderr);

    let second = version("2").stdout;
    assert!(second.starts_with(BUILT_IN) && second.contains("until = 2099-03-31\n"), "{second}");
    let third = Policy::parse(&version("3").stdout, "3".as_ref()).unwrap();
    assert!(!third.exemptions()[0].is_valid(SystemClock.now()));
    let log = folder.run(&["policy", "log", "--format", "jsonl"]).json_lines();
    let reasons: Vec<_> = log.iter().map(|version| version["reason"].as_str()).collect();
    assert_eq!(reasons, [Some("uses roles"), Some("SEC-1234: vendor cannot use \"STS\""), None]);
}

#[test]
fn what_may_not_be_written_is_named_and_changes_nothing() {
    let folder = Folder::new();
    let file = folder.write("policy.toml", COMMENTED);
    folder.write("invalid.toml", "[default]\nservices = []\n");
    folder.write("empty.toml", format!("exemption = []\n{COMMENTED}"));
    let until = ["--until", "2099-03-31"];
    let reason = ["--reason", "SEC-1"];
    let in_file = ["--policy", file.as_str(), "--yes"];
    for (command, arguments, code, says) in [
        (
            "add",
            [&until[..], &["--reason", " "], &in_file].concat(),
            2,
            "invalid value ' ' for '--reason <TEXT>': expected 1 to 400 characters on one line",
        ),
        (
            "add",
            [&until[..], &["--reason", "a\nb"], &in_file].concat(),
            2,
            "for '--reason <TEXT>': expected 1 to 400 characters on one line",
        ),
        (
            "add",
            [&["--until", "2020-01-01"], &reason[..], &in_file].concat(),
            2,
            "--until 2020-01-01 is over",
        ),
        (
            "add",
            [&["--until", "30d"], &reason[..], &in_file].concat(),
            2,
            "invalid value '30d' for '--until <DATE>': expected a date such as 2027-03-31",
        ),
        (
            "add",
            [&until[..], &reason, &["--policy", "empty.toml", "--yes"]].concat(),
            1,
            "empty.toml: its `exemption` is an empty list",
        ),
        ("add", [&until[..], &in_file].concat(), 2, "--reason <TEXT>"),
        ("add", [&until[..], &reason, &["--yes"]].concat(), 2, "--policy <POLICY>"),
        ("add", [&until[..], &reason, &["--policy", &file]].concat(), 2, "there is no terminal to ask on"),
        (
            "add",
            [&until[..], &reason, &["--policy", "invalid.toml", "--yes"]].concat(),
            2,
            "invalid.toml:2:12: ",
        ),
        (
            "add",
            [&until[..], &reason, &["--policy", "none.toml", "--yes"]].concat(),
            1,
            "none.toml: could not read",
        ),
        ("add", [&until[..], &reason, &in_file, &["--ledger", "file:none.db"]].concat(), 1, "none.db"),
        ("expire", [&["--reason", "a\nb"][..], &in_file].concat(), 2, "characters on one line"),
        ("expire", [&reason[..], &in_file].concat(), 1, "carol in 111122223333 has no exemption"),
    ] {
        let ran = run(&folder, command, &[&CAROL[..], &arguments].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
        assert_eq!(read(&folder, &file), COMMENTED);
    }
    let secret = "ABSKQmVkcm9ja0FQSUtleS1leGFtcGxlOnNlY3JldA==";
    let ran = run(&folder, "add", &[&CAROL[..], &until, &["--reason", secret], &in_file].concat());
    assert!(ran.code == 2 && !ran.stderr.contains(secret), "{}", ran.stderr);
    let carol = ["--account", " 1111-2222-3333", "--user", "carol"];
    let ran = run(&folder, "add", &[&carol[..], &until, &reason, &in_file].concat());
    assert!(
        ran.code == 0 && ran.stderr.contains("note: there is no ledger file:key-guard.db"),
        "{}",
        ran.stderr
    );
}

#[test]
fn list_names_each_exemption() {
    let folder = folder_with_keys();
    let list = |more: &[&str]| {
        let ran = run(&folder, "list", more);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran
    };
    let ran = list(&["--policy", "strict.toml"]);
    insta::assert_snapshot!("list", ran.stdout);
    assert_eq!(ran.stderr, "1 exemption; ending within 30 days: 0\n");
    let lines = list(&["--policy", "strict.toml", "--format", "jsonl"]).json_lines();
    assert_eq!((&lines[0]["status"], &lines[0]["line"]), (&Value::from("valid"), &Value::from(6)));
    assert_eq!(list(&["--policy", "built-in.toml"]).stdout, "");
    assert_eq!(folder.run(&["policy", "push", "strict.toml", "--yes"]).code, 0);
    assert_eq!(list(&["--policy", "ledger:"]).stdout, ran.stdout);
}
