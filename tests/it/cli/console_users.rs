//! Users that a console created: `replay` knows them from all of its inputs, in whatever order these come.

use serde_json::{Value, json};

use super::record;
use crate::support::cli::{CliOutput, Folder};

/// A console session creates a key for this user and service.
fn key(user: &str, service: &str) -> Value {
    let mut record = record("created-without-age");
    record["sessionCredentialFromConsole"] = json!("true");
    for part in ["/requestParameters", "/responseElements/serviceSpecificCredential"] {
        let part = record.pointer_mut(part).unwrap();
        (part["userName"], part["serviceName"]) = (json!(user), json!(service));
    }
    record
}

/// Somebody creates an access key for this user.
fn access_key(user: &str) -> Value {
    let mut record = record("console-user-access-key-created");
    for part in ["/requestParameters", "/responseElements/accessKey"] {
        record.pointer_mut(part).unwrap()["userName"] = json!(user);
    }
    record
}

fn replay(folder: &Folder, files: &[&str]) -> CliOutput {
    folder.run(&[&["replay", "--format", "jsonl"], files].concat())
}

fn critical(ran: &CliOutput) -> usize {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let is_critical = |report: &&Value| report["severity"] == "critical";
    ran.json_lines().iter().filter(is_critical).count()
}

#[test]
fn a_user_is_known_in_any_case_and_order_and_whatever_its_key_is_for() {
    // The built-in policy does not judge the second service, and this build does not know the third.
    for service in ["bedrock.amazonaws.com", "logs.amazonaws.com", "some-new.amazonaws.com"] {
        for user in ["CwKey-q1", "cwkey-Q1"] {
            let (key, access_key) = (key("CwKey-q1", service), access_key(user));
            for order in [[&key, &access_key], [&access_key, &key]] {
                let folder = Folder::new();
                let one = folder.write("one.json", json!({ "Records": order }).to_string());
                let ran = replay(&folder, &[&one]);
                assert_eq!(critical(&ran), 1, "{service} {user}: {}", ran.stdout);
                assert!(ran.stderr.contains("2 events read: "), "{}", ran.stderr);
                assert!(ran.stderr.contains(", 1 attempt or change of a user recorded, "), "{}", ran.stderr);
                assert!(ran.stderr.contains(", 0 of other kinds; 0 unreadable\n"), "{}", ran.stderr);
                let folder = Folder::new();
                let [first, last] = order.map(Value::to_string);
                let (first, last) = (folder.write("a.json", first), folder.write("b.json", last));
                let ran = replay(&folder, &[&first, &last]);
                assert_eq!(critical(&ran), 1, "{service} {user}, two files: {}", ran.stdout);
                assert_eq!(ran.json_lines().len(), 2, "{}", ran.stdout);
                let kinds: Vec<_> = folder.items().into_iter().map(|item| item["kind"].clone()).collect();
                let is_judged = service == "bedrock.amazonaws.com";
                assert_eq!(kinds.contains(&json!("dry_run")), is_judged, "{kinds:?}");
            }
        }
    }
}

#[test]
fn the_ledger_knows_a_user_in_any_case() {
    let folder = Folder::new();
    let created = folder.write("a.json", key("CwKey-q1", "bedrock.amazonaws.com").to_string());
    assert_eq!(critical(&replay(&folder, &[&created])), 0);
    let changed = folder.write("b.json", access_key("cwkey-Q1").to_string());
    assert_eq!(critical(&replay(&folder, &[&changed])), 1);
}

/// Also from an earlier run, and also where nobody judged the key. `lookup` finds the key by its id, by its user and among attempts.
#[test]
fn a_user_of_an_unjudged_key_is_known_from_an_earlier_run() {
    let folder = Folder::new();
    let created = key("CwKey-q1", "cloudwatch.amazonaws.com");
    let id = created["responseElements"]["serviceSpecificCredential"]["serviceSpecificCredentialId"].clone();
    let created = folder.write("a.json", created.to_string());
    assert_eq!(critical(&replay(&folder, &[&created])), 0);
    let id = id.as_str().unwrap();
    for question in
        [&[id][..], &["CwKey-q1"], &["--user", "cwkey-q1"], &["--attempts", "--since", "2026-10-01"]]
    {
        let rows = folder.run(&[&["lookup", "--format", "jsonl"], question].concat()).json_lines();
        let row =
            rows.iter().find(|row| row["line"] == "unjudged_key").unwrap_or_else(|| panic!("{question:?}"));
        assert_eq!((&row["credential_id"], &row["user"]), (&json!(id), &json!("CwKey-q1")), "{question:?}");
        assert_eq!((&row["severity"], &row["verdict"]), (&json!("medium"), &Value::Null));
        assert!(row["actor"].is_string() && row["source_ip"].is_string(), "{row}");
        let table = folder.run(&[&["lookup"], question].concat());
        assert!(table.code == 0 && table.stdout.contains("CwKey-q1"), "{table:?}");
    }
    for subject in [id, "CwKey-q1"] {
        let timeline = folder.run(&["timeline", subject, "--format", "jsonl"]).json_lines();
        assert_eq!((timeline.len(), &timeline[0]["credential_id"]), (1, &json!(id)), "{subject}");
    }
    let hunt = folder.run(&["hunt", "splunk", "--ledger", "file:key-guard.db"]).stdout;
    assert!(hunt.contains("CwKey-q1"), "{hunt}");
    let changed = folder.write("b.json", access_key("cwkey-Q1").to_string());
    assert_eq!(critical(&replay(&folder, &[&changed])), 1);
}

#[test]
fn other_users_are_not_reported() {
    let mut without_console = key("ci-runner", "bedrock.amazonaws.com");
    without_console["sessionCredentialFromConsole"] = json!("false");
    for (created, user) in [
        (without_console, "ci-runner"),
        (key("ci-runner", "codecommit.amazonaws.com"), "ci-runner"),
        (key("ci-runner", "bedrock.amazonaws.com"), "ci-runner-2"),
    ] {
        let folder = Folder::new();
        let records = [&access_key(user), &created, &access_key(user)];
        let file = folder.write("trail.json", json!({ "Records": records }).to_string());
        let ran = replay(&folder, &[&file]);
        assert_eq!(critical(&ran), 0, "{}", ran.stdout);
    }
}
