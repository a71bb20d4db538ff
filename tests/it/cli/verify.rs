//! `lookup --verify`: the ledger beside CloudTrail's log files.

use serde_json::{Value, json};

use super::{record, run_on_aws};
use crate::support::cli::{CliOutput, Folder};
use crate::support::dynamodb::Dynamo;
use crate::support::iam::Iam;
use crate::support::{OTHER, OWN};

const CREATED: [&str; 3] = ["created-for-365-days", "created-for-90-days", "created-without-age"];

/// A log file as CloudTrail delivers it.
fn log_file(folder: &Folder, name: &str, records: &[Value]) -> String {
    folder.write(name, json!({ "Records": records }).to_string())
}

fn created() -> Vec<Value> {
    CREATED.into_iter().map(record).collect()
}

/// A record of no key, which widens the archive's time.
fn other_call(account: &str, time: &str) -> Value {
    json!({
        "eventSource": "ec2.amazonaws.com", "eventName": "RunInstances", "awsRegion": "us-east-1",
        "recipientAccountId": account, "eventTime": time
    })
}

fn verify(folder: &Folder, arguments: &[&str]) -> CliOutput {
    folder.run(&[&["lookup", "--format", "jsonl", "--verify"], arguments].concat())
}

/// What differs, in short.
fn differences(ran: &CliOutput) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    ran.json_lines()
        .iter()
        .map(|line| {
            let id = text(&line["credential_id"]);
            format!(
                "{} {} {} {}",
                text(&line["difference"]),
                id.trim_start_matches("ACCAEXAMPLEKEY00000"),
                text(&line["event"]),
                text(&line["field"])
            )
        })
        .collect()
}

#[test]
fn a_ledger_of_the_archive_agrees_with_it() {
    let folder = Folder::new();
    let events = format!("{}/events", env!("CARGO_MANIFEST_DIR"));
    folder.run(&["replay", &events]);
    let ran = verify(&folder, &[&events]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains(" 0 differences; not compared: "), "{}", ran.stderr);
    assert!(ran.stderr.contains("that the policy does not judge"), "{}", ran.stderr);
    let numbers = |text: &str| text.split(' ').next().unwrap().parse::<u64>().unwrap();
    let summary = ran.stderr.lines().find(|line| line.contains(" events read; ")).unwrap();
    let [read, compared] = [0, 1].map(|part| numbers(summary.split("; ").nth(part).unwrap()));
    let others = summary.split("not compared: ").skip(1).map(numbers).sum::<u64>();
    assert_eq!((read, compared + others), (41, 41), "{summary}");
}

#[test]
fn what_is_missing_in_either_is_found() {
    let folder = Folder::new();
    let all = log_file(&folder, "all.json", &created());
    let some = log_file(&folder, "some.json", &created()[..2]);
    folder.run(&["replay", &some]);
    let ran = verify(&folder, &[&all]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert_eq!(differences(&ran), ["not_in_ledger 01 created -"]);
    let missing = &ran.json_lines()[0];
    assert_eq!(missing["account"], OWN);
    assert_eq!(missing["event_id"], record("created-without-age")["eventID"]);

    folder.run(&["replay", &all]);
    assert_eq!(verify(&folder, &[&all]).code, 0);
    // The archive's time ends before the last key was created: 09:07, 09:21 and 09:28.
    let first = log_file(
        &folder,
        "first.json",
        &[record("created-without-age"), other_call(OWN, "2026-11-20T09:25:00Z")],
    );
    assert_eq!(differences(&verify(&folder, &[&first])), ["not_in_archive 03 created -"]);
    // Two files, and the time between them.
    let last = log_file(&folder, "last.json", &[record("created-for-90-days")]);
    let ran = verify(&folder, &[&first, &last]);
    assert_eq!((ran.code, differences(&ran)), (3, vec!["not_in_archive 03 created -".to_owned()]));
    // An account that is not in the archive is not compared, nor is a time for which only other regions are there.
    let elsewhere = log_file(
        &folder,
        "other.json",
        &[other_call(OTHER, "2026-11-20T09:00:00Z"), other_call(OTHER, "2026-11-21T09:00:00Z")],
    );
    assert_eq!(verify(&folder, &[&elsewhere]).code, 0);
    let mut abroad = [other_call(OWN, "2026-11-20T09:00:00Z"), other_call(OWN, "2026-11-21T09:00:00Z")];
    for record in &mut abroad {
        record["awsRegion"] = json!("eu-west-1");
    }
    assert_eq!(verify(&folder, &[&log_file(&folder, "abroad.json", &abroad)]).code, 0);
}

#[test]
fn what_differs_is_named_by_its_field() {
    let folder = Folder::new();
    let file = log_file(&folder, "all.json", &created());
    folder.run(&["replay", &file]);
    let mut forged = created();
    let key = &mut forged[0];
    key["eventID"] = json!("5d1c0000-0000-4c3a-9f00-abc000000000");
    key["userIdentity"]["arn"] = json!("arn:aws:iam::111122223333:user/mallory");
    key["requestParameters"]["userName"] = json!("svc-other");
    key["requestParameters"]["credentialAgeDays"] = json!(30);
    let credential = &mut key["responseElements"]["serviceSpecificCredential"];
    credential["userName"] = json!("svc-other");
    credential["createDate"] = json!("Nov 20, 2026, 6:21:33\u{202f}AM");
    credential["expirationDate"] = json!("Dec 20, 2026, 6:21:33\u{202f}AM");
    let ran = verify(&folder, &[&log_file(&folder, "forged.json", &forged)]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    let fields = ["user", "created_at", "expires_at", "creator", "event_id"];
    assert_eq!(differences(&ran), fields.map(|field| format!("differs 03 created {field}")));
    let expires = &ran.json_lines()[2];
    assert_eq!(expires["ledger"], "2027-11-20T09:21:33Z");
    assert_eq!(expires["archive"], "2026-12-20T06:21:33Z");
    let table = folder.run(&["lookup", "--verify", "forged.json"]);
    assert!(table.stdout.starts_with("DIFFERENCE  KEY "), "{}", table.stdout);
    assert!(
        table.stdout.contains("differs     ACCAEXAMPLEKEY0000003  111122223333  created"),
        "{}",
        table.stdout
    );
    let csv = folder.run(&["lookup", "--format", "csv", "--verify", "forged.json"]);
    assert!(csv.stdout.starts_with("\"difference\",\"account\",\"credential_id\""), "{}", csv.stdout);
    assert_eq!(csv.stdout.lines().count(), 1 + fields.len());
}

#[test]
fn questions_are_narrowed_as_those_of_lookups_are() {
    let folder = Folder::new();
    let file = log_file(&folder, "all.json", &created());
    folder.run(&["replay", &log_file(&folder, "none.json", &[other_call(OWN, "2026-11-20T09:00:00Z")])]);
    for (arguments, missing) in [
        (&[][..], 3),
        (&["--account", OWN], 3),
        (&["--account", OTHER], 0),
        (&["--user", "SVC-search"], 1),
        (&["--key", "ACCAEXAMPLEKEY0000001"], 1),
        (&["--service", "logs"], 0),
        (&["--since", "2026-11-20T09:10:00Z"], 2),
        (&["--until", "2026-11-20T09:10:00Z"], 1),
    ] {
        let ran = verify(&folder, &[&[file.as_str()], arguments].concat());
        assert_eq!(differences(&ran).len(), missing, "{arguments:?}: {}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.code, if missing > 0 { 3 } else { 0 }, "{arguments:?}");
    }
    let everything = "[default]\nservices = \"*\"\nmax_lifetime_days = 90\nresponse = \"monitor\"\n";
    folder.write("policy.toml", everything);
    let claude = log_file(
        &folder,
        "claude.json",
        &[record("created-for-claude-platform"), record("created-for-codecommit")],
    );
    assert_eq!(verify(&folder, &[&claude]).code, 0, "the built-in policy does not judge it");
    assert_eq!(
        differences(&verify(&folder, &[&claude, "--policy", "policy.toml"])),
        ["not_in_ledger 18 created -"]
    );
    for wrong in [&["--verdict", "exempt"][..], &["--stats"], &["--format", "ocsf"], &["--limit", "3"]] {
        let ran = folder.run(&[&["lookup", "--verify", "all.json"], wrong].concat());
        assert_eq!(ran.code, 2, "{wrong:?}: {}", ran.stderr);
    }
}

#[test]
fn an_input_that_cannot_be_read_is_named_and_a_difference_comes_first() {
    let folder = Folder::new();
    let file = log_file(&folder, "all.json", &created());
    folder.run(&["replay", &file]);
    folder.write("broken.json", "{\"Records\":[{\"eventSource\":\"iam.amazonaws.com\"");
    let ran = verify(&folder, &[&file, "broken.json"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("broken.json: record 1") && ran.stderr.ends_with("; 1 unreadable\n"),
        "{}",
        ran.stderr
    );
    let ran = verify(
        &folder,
        &["broken.json", &log_file(&folder, "claimed.json", &[record("created-for-91-days")])],
    );
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    std::fs::create_dir(folder.at("empty")).unwrap();
    assert_eq!(verify(&folder, &["empty"]).code, 1);
    assert_eq!(verify(&folder, &["no-such-file"]).code, 1);
}

/// What happened to a key later is in its history, also in a table of DynamoDB.
#[tokio::test]
async fn later_events_are_looked_for_in_the_history() {
    let (folder, iam, dynamo) = (Folder::new(), Iam::start(), Dynamo::start());
    dynamo.ledger("keys").await;
    let event = crate::support::event("created-for-365-days");
    iam.put_created(&event, Some(365)).unwrap();
    let later = ["status-changed-to-active", "secret-reset"].map(record);
    let file = log_file(&folder, "told.json", &[&[record("created-for-365-days")], &later[..]].concat());
    let all = log_file(&folder, "all.json", &[record("status-changed-to-inactive"), record("deleted")]);
    for ledger in ["file:key-guard.db", "dynamodb:keys"] {
        let run = |arguments: &[&str]| {
            run_on_aws(&folder, &iam, &dynamo, &[arguments, &["--ledger", ledger]].concat())
        };
        let ran = run(&["replay", "--apply", &file]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let ran = run(&["lookup", "--format", "jsonl", "--verify", &file]);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ledger}: {}", ran.stderr);
        let ran = run(&["lookup", "--format", "jsonl", "--verify", &file, &all]);
        let expected = ["not_in_ledger 03 deactivated -", "not_in_ledger 03 deleted -"];
        assert_eq!((ran.code, differences(&ran)), (3, expected.map(str::to_owned).to_vec()), "{ledger}");

        // An archive of a time after the creation, from which the reset was taken out.
        let times = ["status-changed-to-active", "secret-reset"].map(record);
        let [first, last] = times.map(|record| record["eventTime"].as_str().unwrap().to_owned());
        let without_reset = |end: &str| {
            let records = [record("status-changed-to-active"), other_call(OWN, end)];
            run(&["lookup", "--format", "jsonl", "--verify", &log_file(&folder, "part.json", &records)])
        };
        let ran = without_reset(&last);
        let expected = "not_in_archive 03 reset -".to_owned();
        assert_eq!((ran.code, differences(&ran)), (3, vec![expected]), "{ledger}: {}", ran.stderr);
        assert_eq!(ran.json_lines()[0]["event_id"], record("secret-reset")["eventID"]);
        let ran = without_reset(&first);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ledger}: {}", ran.stderr);
    }
}

/// Two records of one creation: one of them is forged.
#[test]
fn a_second_record_of_a_creation_is_compared_too() {
    let folder = Folder::new();
    let file = log_file(&folder, "all.json", &created());
    folder.run(&["replay", &file]);
    let ran = verify(&folder, &[&file, &log_file(&folder, "again.json", &created())]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "the same records twice: {}", ran.stderr);
    assert!(ran.stderr.contains("; 3 events of 3 keys"), "{}", ran.stderr);
    let mut forged = record(CREATED[0]);
    forged["eventID"] = json!("5d1c0000-0000-4c3a-9f00-abc000000000");
    forged["userIdentity"]["arn"] = json!("arn:aws:iam::111122223333:user/mallory");
    let forged = log_file(&folder, "forged.json", &[forged]);
    for files in [[&file, &forged], [&forged, &file]] {
        let ran = verify(&folder, &files.map(String::as_str));
        let expected = ["differs 03 created creator", "differs 03 created event_id"];
        assert_eq!(
            (ran.code, differences(&ran)),
            (3, expected.map(str::to_owned).to_vec()),
            "{}",
            ran.stderr
        );
    }
}
