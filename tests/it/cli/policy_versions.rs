//! `policy push`, `log` and `rollback`, and commands that judge by the current version.

use std::collections::BTreeSet;
use std::process::Stdio;

use chrono::TimeDelta;
use key_guard_core::policy::{BUILT_IN, Policy};
use serde_json::{Value, json};

use super::run_on_aws;
use crate::support::cli::{CliOutput, Folder};
use crate::support::deployment::TestKey;
use crate::support::dynamodb::Dynamo;
use crate::support::iam::Iam;

/// At most 30 days, which can be undone, and Alice is exempt.
const STRICT: &str = r#"[default]
services = ["bedrock.amazonaws.com"]
max_lifetime_days = 30
response = "deactivate"

[[exemption]]
account = "111122223333"
user = "alice"
reason = "SEC-1"
until = 2099-12-31
"#;

const FILES: [(&str, &str); 2] = [("built-in.toml", BUILT_IN), ("strict.toml", STRICT)];

/// A folder with both policies, and a ledger with keys of five users, one that has expired, and one that was deleted.
pub(super) fn folder_with_keys() -> Folder {
    let folder = Folder::new();
    for (name, text) in FILES {
        folder.write(name, text);
    }
    let users =
        [("alice", None), ("bob", Some(80)), ("carol", Some(365)), ("dave", Some(10)), ("erin", Some(31))];
    let created = TestKey::new(0, None).created - TimeDelta::days(100);
    let expired = TestKey { created, ..TestKey::new(9, Some(80)) }.created();
    let deleted = TestKey::new(8, None);
    let events: Vec<_> = (1..)
        .zip(users)
        .map(|(number, (user, days))| {
            TestKey { user: user.to_owned(), ..TestKey::new(number, days) }.created()
        })
        .chain([expired])
        .collect();
    let events = folder.write("events.json", Value::from(events).to_string());
    let ended = Value::from(vec![deleted.created(), deleted.deleted(TimeDelta::minutes(1))]);
    let ran = folder.run(&["replay", &events, &folder.write("ended.json", ended.to_string())]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    folder
}

/// Runs a `policy` command as the machine's user Maria.
fn run(folder: &Folder, arguments: &[&str]) -> CliOutput {
    let mut command = folder.command(&[&["policy"][..], arguments].concat());
    CliOutput::of(command.env("USER", "maria").stdin(Stdio::null()))
}

fn done(folder: &Folder, arguments: &[&str]) -> CliOutput {
    let ran = run(folder, arguments);
    assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
    ran
}

/// The versions, oldest first.
fn versions(folder: &Folder) -> Vec<Value> {
    let mut versions = done(folder, &["log", "--format", "jsonl"]).json_lines();
    versions.reverse();
    versions
}

fn sha256(text: &str) -> String {
    Policy::parse(text, "p.toml".as_ref()).unwrap().sha256().to_owned()
}

#[test]
fn a_push_shows_whose_verdict_changes_and_makes_the_file_current() {
    let folder = folder_with_keys();
    let ran = done(&folder, &["push", "built-in.toml", "--yes"]);
    assert_eq!(ran.stdout, "", "the keys were judged by the same policy");
    insta::assert_snapshot!("push-first-stderr", ran.stderr);

    let ran = done(&folder, &["push", "strict.toml", "--dry-run"]);
    insta::assert_snapshot!("push-changes-stdout", ran.stdout);
    insta::assert_snapshot!("push-changes-stderr", ran.stderr);
    let lines = done(&folder, &["push", "strict.toml", "--dry-run", "--format", "jsonl"]).json_lines();
    assert_eq!(lines.len(), 4);
    assert_eq!(
        lines[0],
        json!({
            "account": "111122223333", "service": "bedrock.amazonaws.com", "user": "alice",
            "credential_id": "ACCAENDTOEND000000001", "old_verdict": "noncompliant", "old_response": "delete",
            "new_verdict": "exempt", "new_response": null,
        })
    );
    assert_eq!(versions(&folder).len(), 1, "a dry run appends nothing");

    done(&folder, &["push", "strict.toml", "--yes", "--reason", "SEC-1234"]);
    let versions = versions(&folder);
    let field = |name| versions.iter().map(|version| version[name].clone()).collect::<Vec<_>>();
    assert_eq!(field("version"), [1, 2]);
    assert_eq!(field("sha256"), [sha256(BUILT_IN), sha256(STRICT)]);
    assert_eq!(field("reason"), [Value::Null, json!("SEC-1234")]);
    assert_eq!(field("pushed_by"), ["maria", "maria"]);
    for (number, (_, text)) in ["1", "2"].iter().zip(FILES) {
        assert_eq!(done(&folder, &["log", "--version", number]).stdout, text);
    }
    let ran = done(&folder, &["push", "strict.toml", "--yes"]);
    assert!(ran.stderr.starts_with("version 2 is this policy already"), "{}", ran.stderr);
}

/// A line of a table with the time taken out of it.
fn without_times(text: &str) -> String {
    let is_time = |word: &str| word.len() == 20 && word.ends_with('Z') && word.starts_with("20");
    let lines = text.lines().map(|line| {
        let time = line.split(' ').find(|word| is_time(word));
        time.map_or_else(|| line.to_owned(), |time| line.replace(time, "2026-11-01T09:00:00Z"))
    });
    lines.map(|line| line + "\n").collect()
}

#[test]
fn a_rollback_appends_the_text_of_an_earlier_version() {
    let folder = folder_with_keys();
    let log = run(&folder, &["log"]);
    let unpushed = "the ledger file:key-guard.db has no version of the policy; push one with: bedrock-key-guard policy push FILE \
                --ledger file:key-guard.db\n";
    assert_eq!((log.code, log.stdout.as_str(), log.stderr.as_str()), (0, "", unpushed));
    let ran = run(&folder, &["rollback", "--yes"]);
    assert!(
        ran.code == 1 && ran.stderr.contains("the ledger has no version of the policy"),
        "{}",
        ran.stderr
    );
    done(&folder, &["push", "built-in.toml", "--yes"]);
    let ran = run(&folder, &["rollback", "--yes"]);
    assert!(ran.code == 1 && ran.stderr.contains("version 1 is the only one"), "{}", ran.stderr);
    done(&folder, &["push", "strict.toml", "--yes", "--reason", "SEC-1234"]);

    let log = run(&folder, &["log"]);
    assert_eq!((log.code, log.stdout.lines().count(), log.stderr.as_str()), (0, 3, ""));
    let changes = done(&folder, &["rollback", "--dry-run"]);
    let would = "it would be version 3, with the text of version 1\n";
    assert!(changes.stderr.ends_with(would), "{}", changes.stderr);
    let target = without_times(&changes.stderr);
    assert!(target.starts_with("going back to version 1, from 2026-11-01T09:00:00Z by maria\n"), "{target}");
    let back = done(&folder, &["rollback", "--yes"]);
    assert_eq!(changes.stdout, back.stdout);
    let says = "version 3 of the policy is current, with the text of version 1 (sha256 ";
    assert!(back.stderr.contains(says), "{}", back.stderr);
    let undo = "to undo this: bedrock-key-guard policy rollback --to 2 --ledger file:key-guard.db\n";
    assert!(back.stderr.ends_with(undo) && !back.stderr.contains("note: version"), "{}", back.stderr);
    assert!(
        back.stdout.contains("erin   ACCAENDTOEND000000005  noncompliant, deactivate  compliant\n"),
        "{}",
        back.stdout
    );
    insta::assert_snapshot!("log", without_times(&done(&folder, &["log"]).stdout));
    assert_eq!(done(&folder, &["log", "--version", "3"]).stdout, BUILT_IN);

    for (to, code, says) in [
        ("2", 0, ""),
        ("9", 1, "the ledger has no version 9 of the policy"),
        ("0", 2, "expected a whole number from 1 to"),
    ] {
        let ran = run(&folder, &["rollback", "--dry-run", "--to", to]);
        assert_eq!(ran.code, code, "{to}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{to}: {}", ran.stderr);
    }
    let ran = done(&folder, &["rollback", "--yes", "--to", "1"]);
    assert!(ran.stderr.contains("nothing to do"), "{}", ran.stderr);
    assert_eq!(versions(&folder).len(), 3);

    let again = done(&folder, &["rollback", "--yes"]);
    assert!(again.stderr.contains("going back to version 2, from "), "{}", again.stderr);
    assert!(again.stderr.contains(" by maria: SEC-1234\n"), "{}", again.stderr);
    let note = "note: version 3 has the text of version 1: if it was a rollback, this undoes it; to go further back, name";
    assert!(again.stderr.contains(note), "{}", again.stderr);
    assert_eq!(done(&folder, &["log", "--version", "4"]).stdout, STRICT);
    let named = done(&folder, &["rollback", "--yes", "--to", "1"]);
    assert!(!named.stderr.contains("note: version"), "{}", named.stderr);
}

#[test]
fn what_may_not_be_pushed_is_named_and_changes_nothing() {
    let folder = folder_with_keys();
    folder.write("invalid.toml", "[default]\nservices = []\n");
    folder.write("large.toml", format!("{BUILT_IN}# {}\n", "x".repeat(256 << 10)));
    folder.write("secret.toml", format!("{BUILT_IN}# ABSKQmVkcm9ja0FQSUtleS1leGFtcGxlOnNlY3JldA==\n"));
    for (arguments, code, says) in [
        (&["push", "invalid.toml", "--yes"][..], 2, "error: invalid.toml:2:12: services is empty"),
        (&["push", "large.toml", "--yes"], 2, "error: large.toml: the policy has 262"),
        (&["push", "secret.toml", "--yes"], 2, "error: secret.toml: the policy has the secret of an API key"),
        (&["push", "missing.toml", "--yes"], 1, "missing.toml: could not read the policy file"),
        (&["push", "strict.toml"], 2, "error: there is no terminal to ask on; give --yes"),
        (&["rollback"], 2, "error: there is no terminal to ask on; give --yes"),
        (&["push", "strict.toml", "--yes", "--reason", "a\nb"], 2, "characters on one line"),
        (&["push", "strict.toml", "--yes", "--dry-run"], 2, "cannot be used with"),
        (&["push", "strict.toml", "--dry-run", "--ledger", "file:none.db"], 1, "none.db"),
        (&["log", "--version", "1"], 1, "the ledger has no version 1 of the policy"),
    ] {
        let ran = run(&folder, arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("ABSKQ"), "{}", ran.stderr);
    }
    assert_eq!(versions(&folder), Vec::<Value>::new());
    assert!(!folder.names().contains("none.db"));
}

/// Each process either appends its file or says that another one came first. None is lost and none is written over.
#[test]
fn of_processes_that_push_at_once_each_appends_or_fails() {
    let folder = Folder::new();
    let children: Vec<_> = (1..=6)
        .map(|days| {
            let file = folder.write(&format!("{days}.toml"), BUILT_IN.replace("90", &days.to_string()));
            let mut command = folder.command(&["policy", "push", &file, "--yes"]);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let ran: Vec<CliOutput> =
        children.into_iter().map(|child| child.wait_with_output().unwrap().into()).collect();
    let failed = ran.iter().filter(|ran| ran.code != 0);
    for ran in failed.clone() {
        assert!(ran.code == 1 && ran.stderr.contains("somebody else pushed version"), "{}", ran.stderr);
    }
    let versions = versions(&folder);
    assert_eq!(versions.len(), 6 - failed.count());
    let texts: BTreeSet<_> = versions.iter().map(|version| version["sha256"].to_string()).collect();
    assert_eq!(texts.len(), versions.len());
}

/// Whom a policy hurts is not fully known then.
#[test]
fn a_key_that_cannot_be_read_is_counted() {
    let folder = folder_with_keys();
    folder.ledger().change(|item| {
        if item["pk"] == "KEY#ACCAENDTOEND000000001" {
            item.remove("assessment").unwrap();
        }
    });
    for (option, appended) in [("--dry-run", 0), ("--yes", 1)] {
        let ran = run(&folder, &["push", "strict.toml", option]);
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        assert!(ran.stderr.contains("4 keys assessed: 3 change"), "{}", ran.stderr);
        assert!(ran.stderr.contains("; 1 item unreadable"), "{}", ran.stderr);
        assert_eq!(versions(&folder).len(), appended);
    }
}

/// A version that cannot be read hinders neither the list of the others nor its replacement.
#[test]
fn an_unreadable_version_can_be_replaced() {
    let folder = folder_with_keys();
    done(&folder, &["push", "built-in.toml", "--yes"]);
    done(&folder, &["push", "strict.toml", "--yes"]);
    folder.ledger().change(|item| {
        if item["sk"] == "0000000002" {
            item.remove("toml").unwrap();
        }
    });
    let ran = run(&folder, &["log", "--format", "jsonl"]);
    assert_eq!((ran.code, ran.json_lines().len()), (4, 1), "{}", ran.stderr);
    assert!(ran.stderr.contains("POLICY / 0000000002 cannot be read"), "{}", ran.stderr);
    let ran = done(&folder, &["push", "strict.toml", "--yes"]);
    assert!(ran.stderr.contains("verdicts are compared with those that the ledger has"), "{}", ran.stderr);
    assert_eq!(done(&folder, &["log", "--version", "3"]).stdout, STRICT);
}

#[test]
fn replay_judges_by_the_current_version() {
    let folder = folder_with_keys();
    let replay = || folder.run(&["replay", "--policy", "ledger:", "--format", "jsonl", "events.json"]);
    let ran = replay();
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("the ledger has no version of the policy"), "{}", ran.stderr);
    for (name, text) in FILES {
        done(&folder, &["push", name, "--yes"]);
        let reports = replay().json_lines();
        assert_eq!(reports.len(), 6);
        assert!(reports.iter().all(|report| report["policy_sha256"] == sha256(text)), "{name}");
    }
}

/// What a person needs for a push, and who the log says it was.
#[tokio::test]
async fn a_push_to_a_table_records_the_caller() {
    let (folder, iam, dynamo) = (folder_with_keys(), Iam::start(), Dynamo::start());
    dynamo.ledger("keys").await;
    let push = ["policy", "push", "built-in.toml", "--yes", "--ledger", "dynamodb:keys"];
    let ran = run_on_aws(&folder, &iam, &dynamo, &push);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let needed = ["dynamodb:PutItem", "dynamodb:Query", "dynamodb:Scan"].map(str::to_owned);
    assert_eq!(dynamo.actions(), BTreeSet::from(needed));
    let log = ["policy", "log", "--format", "jsonl", "--ledger", "dynamodb:keys"];
    let versions = run_on_aws(&folder, &iam, &dynamo, &log).json_lines();
    assert!(versions[0]["pushed_by"].as_str().unwrap().starts_with("arn:aws:"), "{versions:?}");
    TestKey::new(1, Some(10)).exists_in(&iam);
    let sweep = ["sweep", "--policy", "ledger:", "--all", "--format", "jsonl", "--ledger", "dynamodb:keys"];
    let reports = run_on_aws(&folder, &iam, &dynamo, &sweep).json_lines();
    assert_eq!(reports[0]["policy_sha256"], sha256(BUILT_IN), "{reports:?}");
}

/// A key counts once, also where it has a dry run, and not after its end.
#[tokio::test]
async fn keys_that_exist_are_assessed_once() {
    let (folder, iam, dynamo) = (folder_with_keys(), Iam::start(), Dynamo::start());
    dynamo.ledger("keys").await;
    TestKey::new(1, Some(80)).exists_in(&iam);
    TestKey { user: "svc-other".to_owned(), ..TestKey::new(2, None) }.exists_in(&iam);
    let run = |arguments: &[&str]| {
        let ran = run_on_aws(&folder, &iam, &dynamo, &[arguments, &["--ledger", "dynamodb:keys"]].concat());
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        ran.stderr
    };
    let assessed = || run(&["policy", "push", "strict.toml", "--dry-run"]);
    run(&["sweep"]);
    assert!(assessed().starts_with("2 keys assessed: 2 change"), "{}", assessed());
    run(&["sweep", "--apply", "--ceiling", "delete"]);
    assert_eq!(iam.keys().len(), 1);
    assert!(assessed().starts_with("1 key assessed: 1 change ("), "{}", assessed());
}

/// A push changes what is judged, and no role: IAM would deny the responses.
#[test]
fn other_services_have_to_be_deployed() {
    let folder = folder_with_keys();
    let of = |services: &str| {
        let text =
            BUILT_IN.replace(r#"services = ["bedrock.amazonaws.com"]"#, &format!("services = {services}"));
        assert_eq!(text == BUILT_IN, services.contains("[\"bedrock.amazonaws.com\"]"));
        folder.write("services.toml", text)
    };
    let both = r#"["logs.amazonaws.com", "bedrock.amazonaws.com"]"#;
    let same = r#"["bedrock.amazonaws.com", "logs.amazonaws.com"] # in another order"#;
    for (services, deployed) in [
        (r#"["bedrock.amazonaws.com"]"#, None),
        (both, Some("Services=bedrock.amazonaws.com,logs.amazonaws.com (")),
        (same, None),
        (r#""*""#, Some("Services=* (")),
        (r#"["xray.amazonaws.com"]"#, Some("Services=xray.amazonaws.com (")),
    ] {
        let file = of(services);
        for option in ["--dry-run", "--yes"] {
            let ran = done(&folder, &["push", &file, option]);
            assert_eq!(ran.stderr.contains("note: "), deployed.is_some(), "{services}: {}", ran.stderr);
            assert!(ran.stderr.contains(deployed.unwrap_or_default()), "{services}: {}", ran.stderr);
        }
    }
    let ran = done(&folder, &["rollback", "--yes"]);
    assert!(ran.stderr.contains("judges keys for *, and not those for xray.amazonaws.com"), "{}", ran.stderr);
    let fresh = done(&folder, &["push", &of(both), "--yes", "--ledger", "file:fresh.db"]);
    assert!(fresh.stderr.contains("not those for bedrock.amazonaws.com as until now"), "{}", fresh.stderr);
}

/// The versions move with a ledger. An import never changes which one is current.
#[test]
fn an_import_brings_versions_and_changes_no_current_one() {
    let folder = folder_with_keys();
    for (name, _) in FILES {
        done(&folder, &["push", name, "--yes", "--reason", "SEC-1"]);
    }
    let exported = folder.run(&["export", "--output", "all.jsonl"]);
    assert_eq!(exported.code, 0, "{}", exported.stderr);
    let import = |ledger| folder.run(&["import", "--ledger", ledger, "all.jsonl"]);
    let log = |ledger| done(&folder, &["log", "--format", "jsonl", "--ledger", ledger]).stdout;
    let ran = import("file:copy.db");
    assert!(
        ran.stderr.contains("2 versions of the policy;") && !ran.stderr.contains("note:"),
        "{}",
        ran.stderr
    );
    assert_eq!(log("file:copy.db"), log("file:key-guard.db"));
    let ran = import("file:copy.db");
    assert!(ran.stderr.contains("0 versions of the policy;"), "{}", ran.stderr);

    done(&folder, &["push", "strict.toml", "--yes", "--ledger", "file:team.db"]);
    let before = log("file:team.db");
    let ran = import("file:team.db");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("note: 1 version of the policy was left out"), "{}", ran.stderr);
    assert_eq!(log("file:team.db"), before);

    let text = std::fs::read_to_string(folder.at("all.jsonl")).unwrap();
    folder.write("changed.jsonl", text.replace("max_lifetime_days = 30", "max_lifetime_days = 3650"));
    let ran = folder.run(&["import", "--ledger", "file:other.db", "changed.jsonl"]);
    assert_eq!(ran.code, 4);
    assert!(ran.stderr.contains("its text has another SHA-256 than it says; passed over"), "{}", ran.stderr);
}
