//! `replay --apply`: what it does to keys, and what it leaves to the next run.

use std::time::{Duration, Instant};

use serde_json::json;

use super::run_on_aws;
use crate::support::cli::Folder;
use crate::support::dynamodb::Dynamo;
use crate::support::iam::Iam;
use crate::support::{Fault, event};

#[tokio::test]
async fn apply_acts_as_far_as_the_ceiling_allows_and_no_further() {
    let (folder, dynamo) = (Folder::new(), Dynamo::start());
    let event = event("created-without-age");
    let file = folder.write("key.json", event.to_string());
    for (ceiling, outcome, status) in [
        (None, "monitored", Some("Active")),
        (Some("deactivate"), "deactivated", Some("Inactive")),
        (Some("delete"), "deleted", None),
    ] {
        let iam = Iam::start();
        let id = iam.put_created(&event, None).unwrap();
        let ledger = format!("file:{outcome}.db");
        // An earlier dry run changes nothing.
        folder.run(&["replay", "--ledger", &ledger, &file]);
        let mut arguments = vec!["replay", "--apply", "--format", "jsonl", "--ledger", &ledger, &file];
        if let Some(ceiling) = ceiling {
            arguments.extend(["--ceiling", ceiling]);
        }
        let ran = run_on_aws(&folder, &iam, &dynamo, &arguments);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert_eq!(ran.json_lines()[0]["outcome"], outcome);
        assert_eq!(iam.key(&id).map(|key| key.status), status);
    }
    assert_eq!(folder.run(&["replay", "--responder-role", "x", &file]).code, 2, "only with --apply");
}

#[tokio::test]
async fn one_key_that_fails_under_apply_never_hides_the_others() {
    let (folder, iam, dynamo) = (Folder::new(), Iam::start(), Dynamo::start());
    for name in ["created-by-root", "created-without-age"] {
        let event = event(name);
        iam.put_created(&event, None).unwrap();
        folder.write(&format!("events/{name}.json"), event.to_string());
    }
    iam.fault("ListServiceSpecificCredentials", Fault::Refused(403, "AccessDenied"), 1);
    let arguments = ["replay", "--apply", "--ceiling", "delete", "--format", "jsonl", "events"];
    let ran = run_on_aws(&folder, &iam, &dynamo, &arguments);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("AccessDenied") && ran.stderr.contains("1 failed"), "{}", ran.stderr);
    assert_eq!(ran.json_lines().len(), 1);
    assert_eq!(iam.keys().len(), 1);
    folder.ledger().expire_leases();
    let again = run_on_aws(&folder, &iam, &dynamo, &arguments);
    assert_eq!((again.code, iam.keys().len()), (0, 0), "{}", again.stderr);
}

/// R9: with `--apply` IAM says which key an unreadable creation is about. Without, nobody asks.
#[tokio::test]
async fn an_unreadable_creation_is_named_and_looked_up_only_under_apply() {
    let (folder, iam, dynamo) = (Folder::new(), Iam::start(), Dynamo::start());
    let mut event = event("created-without-age");
    let id = iam.put_created(&event, None).unwrap();
    event["detail"]["responseElements"] = json!("hidden");
    let file = folder.write("key.json", event.to_string());
    let ran = run_on_aws(&folder, &iam, &dynamo, &["replay", "--fail-on", "noncompliant", &file]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    let warning = ran.stderr.lines().next().unwrap();
    assert!(warning.starts_with("warning: key.json: record 1: a key was created, and "), "{}", ran.stderr);
    let end = " of other kinds; 1 unreadable\nthis was a dry run: the guard did nothing; `lookup` shows what it would do\n\
               exit 4: 1 file could not be read whole\n";
    assert!(ran.stderr.ends_with(end), "{}", ran.stderr);
    assert_eq!(iam.calls(), []);

    let arguments = ["replay", "--apply", "--ceiling", "deactivate", "--format", "jsonl", &file];
    let ran = run_on_aws(&folder, &iam, &dynamo, &[&arguments[..], &["--fail-on", "noncompliant"]].concat());
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    let reports = ran.json_lines();
    assert_eq!((reports.len(), &reports[0]["outcome"]), (1, &json!("deactivated")), "{}", ran.stdout);
    assert!(reports[0]["reason"].as_str().unwrap().contains("could not be read"), "{}", ran.stdout);
    assert!(ran.stderr.ends_with("; 1 unreadable, 1 key looked up for them\n"), "{}", ran.stderr);
    assert_eq!(iam.key(&id).unwrap().status, "Inactive");

    iam.remove(&id);
    let ran = run_on_aws(&folder, &iam, &dynamo, &arguments);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("IAM lists no key in account"), "{}", ran.stderr);
    assert!(ran.stderr.ends_with("; 1 unreadable, 1 not looked up\n"), "{}", ran.stderr);
}

/// R3: what IAM says is final after a second answer, a minute later. Nobody else delivers an event of a log again.
#[tokio::test]
async fn an_event_of_a_key_that_is_long_gone_is_confirmed_at_the_end() {
    let (folder, iam, dynamo) = (Folder::new(), Iam::start(), Dynamo::start());
    let gone = event("created-without-age");
    let there = event("created-by-root");
    iam.put_created(&there, None).unwrap();
    let file = folder.write("keys.json", format!("{gone}\n{there}\n"));
    let arguments = ["replay", "--apply", "--ceiling", "deactivate", "--format", "jsonl", &file];
    let began = Instant::now();
    let ran = run_on_aws(&folder, &iam, &dynamo, &arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(began.elapsed() >= Duration::from_mins(1), "IAM's answer may be old");
    assert!(ran.stderr.contains("note: IAM contradicts 1 event: "), "{}", ran.stderr);
    let outcomes: Vec<_> = ran.json_lines().iter().map(|report| report["outcome"].clone()).collect();
    assert_eq!(outcomes, ["deactivated", "already_gone"], "{}", ran.stdout);
    let again = run_on_aws(&folder, &iam, &dynamo, &arguments);
    assert_eq!((again.code, again.stderr.contains("contradicts")), (0, false), "{}", again.stderr);
}
