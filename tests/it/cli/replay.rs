//! What `replay` prints of the repository's events, in each format, and what it stores.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::cli::{CliOutput, Folder};
use crate::support::event;

fn events() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("events")
}

#[test]
fn replay_of_events_shows_the_whole_product_in_one_screen() {
    let folder = Folder::new();
    let ran = folder.run(&["replay", events().to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    insta::assert_snapshot!("events-stdout", ran.stdout);
    let stderr = ran.stderr.replace(events().to_str().unwrap(), "events");
    insta::assert_snapshot!("events-stderr", stderr);
    assert!(ran.stdout.lines().count() <= 40 && ran.stdout.lines().all(|line| line.len() <= 185));
    let readme = include_str!("../../../README.md");
    let quickstart = include_str!("../../../docs/quickstart.md");
    for (name, page) in [("README.md", readme), ("docs/quickstart.md", quickstart)] {
        let shown = page.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
        for line in shown.lines() {
            assert!(ran.stdout.lines().any(|printed| printed == line), "{name}: {line}");
        }
    }
}

#[test]
fn replaying_the_same_files_twice_changes_nothing() {
    let folder = Folder::new();
    let first = folder.run(&["replay", "--format", "jsonl", events().to_str().unwrap()]);
    let items = || {
        let mut items = folder.items();
        for item in &mut items {
            // When it was judged: a key of several events may be judged again.
            item.remove("at");
        }
        items
    };
    let before = items();
    let count = |kind: &str| before.iter().filter(|item| item["kind"] == kind).count();
    assert_eq!((count("dry_run"), count("attempts"), count("user_changed")), (20, 3, 6));
    assert_eq!(count("unjudged_key"), 4);
    assert_eq!(before.len(), 33, "a dry run leaves neither a state nor a history (R14)");
    assert!(!json!(before).to_string().contains("ABSK"), "no secret is stored");
    let second = folder.run(&["replay", "--format", "jsonl", events().to_str().unwrap()]);
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(items(), before);
}

#[test]
fn jsonl_has_every_field_of_the_contract_in_every_line() {
    let folder = Folder::new();
    let ran = folder.run(&["replay", "--format", "jsonl", events().to_str().unwrap()]);
    let reports = ran.json_lines();
    assert_eq!(reports.len(), 38, "every call of ours that could be read");
    for report in &reports {
        let fields: Vec<_> = report.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = vec![
            "account",
            "service",
            "user",
            "credential_id",
            "created_at",
            "expires_at",
            "lifetime_days",
            "limit_days",
            "verdict",
            "violation",
            "severity",
            "status",
            "response",
            "outcome",
            "reason",
            "remediation",
            "actor",
            "source_ip",
            "user_agent",
            "event_id",
            "event_time",
            "policy_sha256",
        ];
        expected.sort_unstable();
        assert_eq!(fields, expected);
    }
    let never = reports.iter().find(|report| report["user"] == "svc-chatbot").unwrap();
    assert_eq!(never["expires_at"], Value::Null);
    assert_eq!(never["violation"], "never_expires");
    assert_eq!(never["response"], "delete");
    assert_eq!(never["outcome"], "recorded");
    let of = |name: &str| {
        let id = &event(name)["detail"]["eventID"];
        reports.iter().find(|report| report["event_id"] == *id).unwrap()
    };
    let reset = of("secret-reset");
    assert_eq!((&reset["user"], &reset["verdict"]), (&json!("svc-search"), &json!("noncompliant")));
    assert_eq!(of("status-changed-to-inactive")["outcome"], "ignored");
}

#[test]
fn csv_has_a_header_and_defuses_formulas() {
    let folder = Folder::new();
    let mut hostile = event("created-for-365-days");
    hostile["detail"]["userAgent"] = json!("=HYPERLINK(\"http://example.com\")\u{1b}[31m");
    let file = folder.write("hostile.json", hostile.to_string());
    let ran = folder.run(&["replay", "--format", "csv", &file]);
    assert!(ran.stdout.starts_with(r#""account","service","user","credential_id","created_at","#));
    assert!(ran.stdout.contains("\"'=HYPERLINK("), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\u{1b}'));
}

#[test]
fn fail_on_noncompliant_exits_with_3() {
    let folder = Folder::new();
    let bad = folder.write("bad.json", event("created-without-age").to_string());
    let good = folder.write("good.json", event("created-for-90-days").to_string());
    let run = |files: &[&str]| folder.run(&[&["replay", "--fail-on", "noncompliant"], files].concat()).code;
    assert_eq!(run(&[&bad]), 3);
    assert_eq!(run(&[&good]), 0);
    let garbage = folder.write("garbage.json", "garbage");
    assert_eq!(run(&[&bad, &garbage]), 3, "3 goes before 4");
    assert_eq!(folder.run(&["replay", &bad]).code, 0);

    let unclear = folder.write("unclear.json", event("created-expiration-unreadable").to_string());
    assert_eq!(run(&[&unclear]), 0);
    for (file, code) in [(&unclear, 3), (&bad, 3), (&good, 0)] {
        assert_eq!(folder.run(&["replay", "--fail-on", "undetermined", file]).code, code, "{file}");
    }
}

#[test]
fn names_of_files_do_not_steer_the_terminal() {
    let folder = Folder::new();
    let file = folder.write("a\u{1b}]0;x\u{7}\nerror: b.json", "garbage");
    for path in [file.as_str(), "missing\u{1b}[31m"] {
        let ran = folder.run(&["replay", path]);
        assert!(ran.code > 0 && !ran.stderr.contains('\u{1b}'), "{:?}", ran.stderr);
        assert!(!ran.stderr.contains("\nerror: b"), "{:?}", ran.stderr);
    }
}

#[test]
fn nobody_listening_on_stderr_changes_nothing() {
    let folder = Folder::new();
    let (bad, garbage) =
        (folder.write("bad", event("created-without-age").to_string()), folder.write("garbage", "x"));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran = CliOutput::of(folder.command(&["replay", &garbage, &bad]).stderr(full));
    assert_eq!(ran.code, 4);
    assert!(ran.stdout.contains("noncompliant"));
}

#[test]
fn colours_are_for_terminals_only() {
    let folder = Folder::new();
    let ran = folder.run(&["replay", events().to_str().unwrap()]);
    assert!(!ran.stdout.contains('\u{1b}'));
    let run_with = |variables: &[(&str, &str)]| {
        let mut command = folder.command(&["replay", events().to_str().unwrap()]);
        CliOutput::of(command.envs(variables.iter().copied()))
    };
    let forced = ("CLICOLOR_FORCE", "1");
    assert!(run_with(&[forced]).stdout.contains('\u{1b}'));
    assert!(!run_with(&[forced, ("NO_COLOR", "1")]).stdout.contains('\u{1b}'));
}

#[test]
fn the_ceiling_lowers_what_would_be_done() {
    let folder = Folder::new();
    let file = folder.write("bad.json", event("created-without-age").to_string());
    for (ceiling, response, outcome) in [
        ("delete", "delete", "recorded"),
        ("deactivate", "deactivate", "recorded"),
        ("monitor", "monitor", "monitored"),
    ] {
        let ledger = format!("file:{ceiling}.db");
        let arguments = ["replay", "--format", "jsonl", "--ceiling", ceiling, "--ledger", &ledger, &file];
        let report = &folder.run(&arguments).json_lines()[0];
        assert_eq!(
            (report["response"].as_str(), report["outcome"].as_str()),
            (Some(response), Some(outcome))
        );
    }
}

#[test]
fn another_policy_judges_again_and_replaces_the_dry_run() {
    let folder = Folder::new();
    let file = folder.write("key.json", event("created-for-91-days").to_string());
    let relaxed = folder.write(
        "relaxed.toml",
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 365\nresponse = \"delete\"\n",
    );
    assert_eq!(
        folder.run(&["replay", "--format", "jsonl", &file]).json_lines()[0]["verdict"],
        "noncompliant"
    );
    let report = &folder.run(&["replay", "--format", "jsonl", "--policy", &relaxed, &file]).json_lines()[0];
    assert_eq!(report["verdict"], "compliant");
    let items = folder.items();
    assert_eq!(items.len(), 1, "{items:?}");
    assert_eq!(items[0]["policy"], report["policy_sha256"]);
}

/// Nothing could correct what it says of a key: each later event would be older.
#[test]
fn an_event_of_the_future_is_unreadable_in_a_dry_run_too() {
    let folder = Folder::new();
    let mut event = event("created-without-age");
    event["detail"]["eventTime"] = "9998-12-31T23:59:59Z".into();
    let file = folder.write("future.json", event.to_string());
    let ran = folder.run(&["replay", "--format", "jsonl", &file]);
    assert_eq!((ran.code, ran.stdout.as_str()), (4, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("is more than 5 minutes ahead of the clock"), "{}", ran.stderr);
    assert!(folder.items().is_empty());
}
