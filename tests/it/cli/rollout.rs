//! `rollout`: whether it is time for the next ceiling.

use bedrock_key_guard::clock::{Clock as _, SystemClock};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::policy_versions::folder_with_keys;
use super::run_on_aws;
use crate::support::cli::Folder;
use crate::support::deployment::TestKey;
use crate::support::dynamodb::Dynamo;
use crate::support::file::LedgerFile;
use crate::support::iam::Iam;
use crate::support::{OTHER, OWN};

/// A line of a result with dates and times taken out of it.
fn without_times(text: &str) -> String {
    let word = |word: &str| {
        let is_date = word.len() == 10 && word.starts_with("20") && word.as_bytes()[4] == b'-';
        if is_date { "2026-11-01".to_owned() } else { word.to_owned() }
    };
    let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ") + "\n";
    text.lines().map(line).collect()
}

fn rollout(folder: &Folder, more: &[&str]) -> Value {
    let ran = folder.run(&[&["rollout", "--format", "json"], more].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Whether a criterion holds.
fn holds(shown: &Value, criterion: &str) -> Value {
    let criteria = shown["criteria"].as_array().unwrap();
    criteria.iter().find(|one| one["criterion"] == criterion).unwrap_or_else(|| panic!("{shown}"))["holds"]
        .clone()
}

/// A ledger of a function that watches: two noncompliant keys, one of them with its creation event, and a compliant one.
fn watched() -> (Folder, Iam, Dynamo) {
    let (folder, iam, dynamo) = (Folder::new(), Iam::start(), Dynamo::start());
    for (number, user, days) in [(1, "alice", None), (2, "bob", Some(365)), (3, "carol", Some(30))] {
        TestKey { user: user.to_owned(), ..TestKey::new(number, days) }.exists_in(&iam);
    }
    sweep(&folder, &iam, &dynamo, &["--apply"]);
    (folder, iam, dynamo)
}

fn sweep(folder: &Folder, iam: &Iam, dynamo: &Dynamo, more: &[&str]) {
    let ran = run_on_aws(folder, iam, dynamo, &[&["sweep"], more].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

/// Lets all that the ledger has look as if it had been written so many days earlier.
fn age(ledger: &LedgerFile, days: i64) {
    ledger.change(|item| {
        for field in ["assessed", "changed"] {
            if let Some(at) = item.get_mut(field) {
                *at = json!(at.as_str().unwrap().parse::<DateTime<Utc>>().unwrap() - TimeDelta::days(days));
            }
        }
    });
}

#[test]
fn dry_runs_are_no_reason_to_raise_a_ceiling() {
    let folder = folder_with_keys();
    let ran = folder.run(&["rollout"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    insta::assert_snapshot!("dry-runs", ran.stdout);
    let shown = rollout(&folder, &[]);
    assert_eq!(shown["ready"], json!(false));
    assert_eq!(
        (&shown["keys"], &shown["dry_runs"], &shown["would_be_acted_upon"]),
        (&json!(5), &json!(5), &json!(2))
    );
    assert_eq!(
        shown["next_command"],
        json!("bedrock-key-guard usage --cloudtrail --ledger file:key-guard.db")
    );
}

#[tokio::test]
async fn after_two_weeks_with_owners_and_without_use_it_is_time() {
    let (folder, iam, dynamo) = watched();
    let shown = rollout(&folder, &[]);
    assert_eq!(
        (&shown["keys"], &shown["dry_runs"], &shown["without_owner"]),
        (&json!(3), &json!(0), &json!(2))
    );
    assert_eq!(
        [holds(&shown, "watched"), holds(&shown, "owners"), holds(&shown, "not_in_use")],
        [false, false, false]
    );

    age(&folder.ledger(), 40);
    // The creation events are found later.
    let events = [(1, "alice", None), (2, "bob", Some(365))].map(|(number, user, days)| {
        TestKey { user: user.to_owned(), ..TestKey::new(number, days) }.created()
    });
    let events = folder.write("events.json", Value::from(events.to_vec()).to_string());
    assert_eq!(folder.run(&["replay", &events]).code, 0);
    let shown = rollout(&folder, &[]);
    assert_eq!(
        [holds(&shown, "watched"), holds(&shown, "owners"), holds(&shown, "not_in_use")],
        [true, true, false]
    );
    assert_eq!(shown["in_use"], Value::Null);

    let stopped = ["--stage", "deactivate"];
    assert_eq!(holds(&rollout(&folder, &stopped), "deactivated"), false, "the guard has done nothing");
    sweep(&folder, &iam, &dynamo, &["--apply", "--ceiling", "deactivate"]);
    let shown = rollout(&folder, &[]);
    assert_eq!((&shown["stage"], &shown["next_stage"]), (&json!("deactivate"), &json!("quarantine")));
    assert_eq!((&shown["held_back_by_ceiling"], &shown["would_be_acted_upon"]), (&json!(2), &json!(0)));
    assert_eq!(holds(&shown, "owners"), true, "no noncompliant key is active");
    let ran = folder.run(&["rollout"]);
    insta::assert_snapshot!("deactivated", without_times(&ran.stdout));
}

/// A run of `usage` that found a call of a user now, and looked for the calls of every user.
fn used_by(folder: &Folder, user: &str) {
    run_usage(folder, user, SystemClock.now(), &[]);
}

/// The same of a call at another time, and with more arguments.
fn run_usage(folder: &Folder, user: &str, time: DateTime<Utc>, more: &[&str]) {
    let mut records = quiet_days(OWN);
    let mut call = record(OWN, user, time);
    call["eventID"] = json!("5d1c0000-7b1e-4c3a-9f00-000000000001");
    call["additionalEventData"] = json!({"callWithBearerToken": true});
    records.push(call);
    assert_eq!(usage_over(folder, &records, more), 0);
}

/// What tells only that there are logs of each of the last 31 days.
fn quiet_days(account: &str) -> Vec<Value> {
    let now = SystemClock.now();
    (0..=31).map(|days| record(account, "somebody", now - TimeDelta::days(days))).collect()
}

fn record(account: &str, user: &str, time: DateTime<Utc>) -> Value {
    json!({
        "eventVersion": "1.11",
        "userIdentity": {"type": "IAMUser", "arn": format!("arn:aws:iam::{account}:user/{user}"), "accountId": account, "userName": user},
        "eventTime": time.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "eventSource": "bedrock.amazonaws.com",
        "eventName": "InvokeModel",
        "awsRegion": "eu-central-1",
        "sourceIPAddress": "198.51.100.27",
        "eventID": format!("5d1c0000-7b1e-4c3a-9f00-{:012}", time.timestamp()),
        "eventType": "AwsApiCall",
        "recipientAccountId": account,
    })
}

/// The exit code of a run of `usage`.
fn usage_over(folder: &Folder, records: &[Value], more: &[&str]) -> i32 {
    let file = folder.write("calls.json", json!({"Records": records}).to_string());
    folder.run(&[&["usage", "--ledger", "file:key-guard.db", &file], more].concat()).code
}

#[tokio::test]
async fn a_key_that_is_in_use_is_not_stopped() {
    let (folder, ..) = watched();
    age(&folder.ledger(), 40);
    used_by(&folder, "carol");
    let shown = rollout(&folder, &[]);
    assert_eq!(
        (holds(&shown, "not_in_use"), &shown["in_use"]),
        (json!(true), &json!(0)),
        "a compliant key is"
    );
    used_by(&folder, "ALICE");
    let shown = rollout(&folder, &[]);
    assert_eq!((holds(&shown, "not_in_use"), &shown["in_use"]), (json!(false), &json!(1)));
    assert_eq!(holds(&shown, "doctor"), Value::Null);
}

/// Whether no active noncompliant key was used, and how many such keys are in use and how many perhaps.
fn known_use(folder: &Folder) -> (Value, Value, Value) {
    let shown = rollout(folder, &[]);
    (holds(&shown, "not_in_use"), shown["in_use"].clone(), shown["use_not_known"].clone())
}

#[tokio::test]
async fn a_run_of_usage_about_a_part_says_nothing_of_the_rest() {
    let (folder, ..) = watched();
    age(&folder.ledger(), 40);
    let (not_known, unused) = ((json!(false), Value::Null, json!(2)), (json!(true), json!(0), json!(0)));
    assert_eq!(known_use(&folder), not_known);
    for limited in [&["--user", "carol"][..], &["--since", "7d"], &["--until", "2020-01-01"]] {
        run_usage(&folder, "carol", SystemClock.now(), limited);
        assert_eq!(known_use(&folder), not_known, "{limited:?}");
    }
    let without_a_day = [&quiet_days(OWN)[..12], &quiet_days(OWN)[13..]].concat();
    for (records, what) in [
        (quiet_days(OTHER), "another account"),
        (without_a_day, "a hole"),
        (quiet_days(OWN)[..20].to_vec(), "20 days"),
        (quiet_days(OWN)[4..].to_vec(), "until four days ago"),
    ] {
        assert_eq!(usage_over(&folder, &records, &[]), 0, "{what}");
        assert_eq!(known_use(&folder), not_known, "{what}");
    }
    let damaged = folder.write(
        "damaged.json",
        r#"{"Records": [{"eventVersion": "1.11", "additionalEventData": {"callWithBearerToken": tr"#,
    );
    assert_eq!(usage_over(&folder, &quiet_days(OWN), &[&damaged]), 4);
    assert_eq!(known_use(&folder), not_known, "damage");

    run_usage(&folder, "carol", SystemClock.now(), &["--since", "30d"]);
    assert_eq!(known_use(&folder), unused);
    run_usage(&folder, "carol", SystemClock.now(), &["--user", "carol"]);
    assert_eq!(known_use(&folder), unused, "the earlier run still counts");
    let change = |field: &'static str, value: Value| {
        folder.ledger().change(|item| {
            if item["kind"] == "usage_coverage" {
                item.insert(field.to_owned(), value.clone());
            }
        });
    };
    change("users", json!(["alice", "carol"]));
    assert_eq!(
        known_use(&folder),
        (json!(false), Value::Null, json!(1)),
        "nobody asked for the calls of bob"
    );
    change("users", json!(["alice", "bob", "carol"]));
    assert_eq!(known_use(&folder), unused);
    change("to", json!(SystemClock.now() - TimeDelta::days(3)));
    assert_eq!(known_use(&folder), not_known, "of the last days it says nothing");
}

#[tokio::test]
async fn where_nobody_uses_keys_the_criterion_holds() {
    let (folder, ..) = watched();
    age(&folder.ledger(), 40);
    assert_eq!(usage_over(&folder, &quiet_days(OWN), &[]), 0);
    assert_eq!(known_use(&folder), (json!(true), json!(0), json!(0)));
}

#[tokio::test]
async fn stage_three_begins_with_the_policy() {
    let (folder, ..) = watched();
    let ran = folder.run(&["rollout", "--stage", "quarantine"]);
    let (first, next) =
        ("first: response = \"quarantine\" in the policy", "\nnext: infra/deploy SweepCeiling=deactivate\n");
    assert!(ran.stdout.contains(first) && ran.stdout.contains(next), "{}", ran.stdout);
    let shown = rollout(&folder, &["--stage", "quarantine"]);
    assert_eq!(shown["next_policy_setting"], json!("response = \"quarantine\""));
    assert_eq!(rollout(&folder, &[])["next_policy_setting"], Value::Null);
}

/// The key of the test is five minutes old.
#[test]
fn calls_before_a_key_was_created_were_made_with_another_one() {
    let folder = folder_with_keys();
    run_usage(&folder, "alice", SystemClock.now() - TimeDelta::hours(1), &[]);
    assert_eq!(rollout(&folder, &[])["in_use"], json!(0));
    used_by(&folder, "alice");
    assert_eq!(rollout(&folder, &[])["in_use"], json!(1));
}

#[test]
fn items_that_cannot_be_read_are_counted() {
    let folder = folder_with_keys();
    folder.ledger().change(|item| {
        if item["pk"] == "KEY#ACCAENDTOEND000000001" {
            item.remove("assessment").unwrap();
        }
    });
    let ran = folder.run(&["rollout", "--format", "json"]);
    let shown: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &shown["unreadable"], holds(&shown, "no_errors")), (4, &json!(1), json!(false)));
    folder.ledger().execute(
        "INSERT INTO items (pk, sk, version, body) VALUES ('HEARD', '111122223333', 1, '{\"v\":5,\"kind\":\"heard\"}')",
    );
    let ran = folder.run(&["rollout", "--format", "json"]);
    let shown: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &shown["unreadable"], &shown["silent_accounts"]), (4, &json!(2), &json!(0)));
    assert!(ran.stderr.contains("the ledger item HEARD / 111122223333 cannot be read"), "{}", ran.stderr);
    let ran = folder.run(&["rollout", "--ledger", "file:none.db"]);
    assert!(ran.code == 1 && ran.stderr.contains("none.db"), "{}", ran.stderr);
}
