//! `replay` counts and prints an event once, however often it is in its inputs; and what corrects an event replaces it.

use serde_json::{Value, json};

use super::{record, run_on_aws};
use crate::support::cli::{CliOutput, Folder};
use crate::support::dynamodb::Dynamo;
use crate::support::iam::Iam;
use crate::support::{OTHER, event};

const JSONL: [&str; 3] = ["replay", "--format", "jsonl"];

fn replay(folder: &Folder, files: &[&str]) -> CliOutput {
    folder.run(&[&JSONL[..], files].concat())
}

/// A creation that CloudTrail corrects, and the correction: never, and then 30 days.
fn corrected() -> [Value; 2] {
    let correction = record("created-corrected-by-addendum");
    let mut original = correction.clone();
    original["eventID"] = correction["addendum"]["originalEventID"].clone();
    original.as_object_mut().unwrap().remove("addendum");
    original["requestParameters"].as_object_mut().unwrap().remove("credentialAgeDays");
    original["responseElements"]["serviceSpecificCredential"]
        .as_object_mut()
        .unwrap()
        .remove("expirationDate");
    [original, correction]
}

#[test]
fn the_same_files_twice_are_printed_and_counted_once() {
    let events = format!("{}/events", env!("CARGO_MANIFEST_DIR"));
    let folder = Folder::new();
    let once = replay(&folder, &[&events]);
    let twice = replay(&Folder::new(), &[&events, &events]);
    assert_eq!((twice.code, &twice.stdout), (0, &once.stdout), "{}", twice.stderr);
    let summary = "82 events read: 22 judged (11 noncompliant, 1 undetermined, 0 exempt, 10 compliant), 9 attempts and \
                   changes of users recorded, 7 other credential writes without a verdict, 5 of other kinds, 39 seen before; \
                   0 unreadable\n";
    assert!(twice.stderr.contains(summary), "{}", twice.stderr);
    assert_eq!(twice.stderr.matches("critical: ").count(), 6, "{}", twice.stderr);
}

#[test]
fn an_event_of_two_trails_is_one_and_one_of_two_accounts_is_two() {
    let folder = Folder::new();
    let whole = event("created-without-age");
    let own = folder.write("own.json", whole.to_string());
    // Another tool's export does not say who called.
    let mut bare = record("created-without-age");
    bare.as_object_mut().unwrap().remove("userIdentity");
    let trail = folder.write("trail.json", json!({ "Records": [bare] }).to_string());
    let mut other = record("created-without-age");
    other["recipientAccountId"] = json!(OTHER);
    let other = folder.write("other.json", other.to_string());
    let ran = replay(&folder, &[&own, &trail, &other]);
    assert_eq!(ran.json_lines().len(), 2, "{}", ran.stdout);
    assert!(ran.json_lines()[0]["actor"].is_string(), "the first one is printed");
    assert!(ran.stderr.starts_with("3 events read: 2 judged (2 noncompliant, "), "{}", ran.stderr);
    assert!(ran.stderr.contains(" 0 of other kinds, 1 seen before; 0 unreadable\n"), "{}", ran.stderr);
}

#[test]
fn another_event_with_the_same_id_is_dealt_with_and_named() {
    let folder = Folder::new();
    let first = record("created-for-90-days");
    let mut second = first.clone();
    second["requestParameters"]["credentialAgeDays"] = json!(365);
    let records = [&first, &second, &second, &first, &second];
    let file = folder.write("trail.json", json!({ "Records": records }).to_string());
    let ran = replay(&folder, &["--fail-on", "noncompliant", &file]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    let verdicts: Vec<_> = ran.json_lines().iter().map(|report| report["verdict"].clone()).collect();
    assert_eq!(verdicts, ["compliant", "noncompliant"], "the evidence of both is joined (R4)");
    let warning = format!(
        "warning: event {} of account 111122223333: another event with this id says something else; each is dealt with\n",
        first["eventID"].as_str().unwrap()
    );
    assert_eq!(ran.stderr.matches(&warning).count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("\n5 events read: 2 judged (1 noncompliant, "), "{}", ran.stderr);
    assert!(ran.stderr.contains(" 0 of other kinds, 3 seen before; 0 unreadable\n"), "{}", ran.stderr);
}

#[test]
fn a_correction_replaces_its_event_whichever_comes_first() {
    let [original, correction] = corrected();
    for order in [[&original, &correction], [&correction, &original]] {
        let folder = Folder::new();
        let records = order.into_iter().chain(order).collect::<Vec<_>>();
        let file = folder.write("trail.json", json!({ "Records": records }).to_string());
        let ran = replay(&folder, &["--fail-on", "noncompliant", &file]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let summary = "4 events read: 1 judged (0 noncompliant, 0 undetermined, 0 exempt, 1 compliant), 0 attempts and \
                       changes of users recorded, 0 other credential writes without a verdict, 0 of other kinds, 2 seen before, \
                       1 corrected by other events; 0 unreadable\n\
                       this was a dry run: the guard did nothing; `lookup` shows what it would do\n";
        assert_eq!(ran.stderr, summary);
        let reports = ran.json_lines();
        assert_eq!(reports.len(), 1, "{}", ran.stdout);
        let says = "event 5d1c00f1-7b1e-4c3a-9f00-abc0000000f1 corrects event 5d1c00f2-7b1e-4c3a-9f00-abc0000000f2 \
                    (UPDATED_DATA: responseElements).";
        let report = reports.iter().find(|report| report["event_id"] == correction["eventID"]).unwrap();
        assert_eq!((&report["verdict"], &report["lifetime_days"]), (&json!("compliant"), &json!(30)));
        assert!(report["reason"].as_str().unwrap().contains(says), "{report}");

        let shown = folder.run(&["lookup", "--key", "ACCAEXAMPLEKEY0000024"]).stdout;
        assert!(shown.contains("compliant") && !shown.contains("noncompliant"), "{shown}");
        assert!(shown.contains("corrects event 5d1c00f2-7b1e-4c3a-9f00-abc0000000f2"), "{shown}");
        // The archive has both, or only the first.
        for records in [vec![&original, &correction], vec![&original]] {
            let archive = folder.write("archive.json", json!({ "Records": records }).to_string());
            let compared = folder.run(&["lookup", "--verify", &archive]);
            assert_eq!(compared.code, 0, "{}{}", compared.stdout, compared.stderr);
        }
    }
    // A ledger without the correction differs from an archive that has it.
    let folder = Folder::new();
    let file = folder.write("trail.json", json!({ "Records": [original] }).to_string());
    assert_eq!(replay(&folder, &["--fail-on", "noncompliant", &file]).code, 3);
    let archive = folder.write("archive.json", json!({ "Records": corrected() }).to_string());
    let compared = folder.run(&["lookup", "--format", "jsonl", "--verify", &archive]);
    let fields: Vec<_> = compared.json_lines().iter().map(|line| line["field"].clone()).collect();
    assert_eq!((compared.code, fields), (3, vec![json!("expires_at"), json!("event_id")]));
}

/// Only what is about the same call and key is a correction. Where no key is named, the same user.
#[test]
fn an_event_about_something_else_corrects_nothing() {
    let original = record("created-without-age");
    let corrects = json!({"reason": "UPDATED_DATA", "originalEventID": original["eventID"]});
    let mut other_key = original.clone();
    let user = original["requestParameters"]["userName"].as_str().unwrap();
    for part in ["/requestParameters", "/responseElements/serviceSpecificCredential"] {
        other_key.pointer_mut(part).unwrap()["userName"] = json!("svc-other");
    }
    other_key["responseElements"]["serviceSpecificCredential"]["serviceSpecificCredentialId"] =
        json!("ACCAEXAMPLEKEY0000999");
    let mut failed = record("failed-limit-exceeded");
    failed["requestParameters"]["userName"] = json!(user);
    for mut correction in [other_key, failed, record("denied"), record("secret-reset")] {
        correction["eventID"] = json!("5d1c0999-7b1e-4c3a-9f00-abc000000999");
        correction["addendum"] = corrects.clone();
        for order in [[&original, &correction], [&correction, &original]] {
            let folder = Folder::new();
            let [first, last] = order.map(Value::to_string);
            let (first, last) = (folder.write("a.json", first), folder.write("b.json", last));
            let both = folder.write("both.json", json!({ "Records": order }).to_string());
            for files in [&[first.as_str(), &last][..], &[&both]] {
                let folder_of_run = format!("file:{}.db", files.len());
                let ran = replay(&folder, &[&["--ledger", &folder_of_run][..], files].concat());
                let says = format!(
                    "warning: event {} of account 111122223333: an event that says that it corrects this one is about another call, \
                     key or user; each is dealt with\n",
                    original["eventID"].as_str().unwrap()
                );
                assert_eq!(ran.stderr.matches(&says).count(), 1, "{correction}: {}", ran.stderr);
                assert!(!ran.stderr.contains("corrected by other events"), "{}", ran.stderr);
                let reports = ran.json_lines();
                let of = |record: &Value| {
                    reports.iter().filter(|one| one["event_id"] == record["eventID"]).count()
                };
                assert_eq!((ran.code, of(&original), of(&correction)), (0, 1, 1), "{}", ran.stdout);
            }
        }
    }
    // A denied call names neither key nor user.
    let (denied, mut correction) = (record("denied"), record("denied"));
    correction["eventID"] = json!("5d1c0999-7b1e-4c3a-9f00-abc000000999");
    correction["addendum"] = json!({"reason": "UPDATED_DATA", "originalEventID": denied["eventID"]});
    let folder = Folder::new();
    let file = folder.write("trail.json", json!({ "Records": [denied, correction] }).to_string());
    let ran = replay(&folder, &[&file]);
    assert_eq!(ran.json_lines().len(), 1, "{}", ran.stdout);
    assert!(
        ran.stderr.contains(", 1 corrected by other events; ") && !ran.stderr.contains("warning"),
        "{}",
        ran.stderr
    );
}

/// What an export lacks contradicts nothing.
#[test]
fn another_caller_address_or_program_is_other_content() {
    let first = record("created-without-age");
    for (pointer, other) in [
        ("/userIdentity/arn", "arn:aws:sts::111122223333:assumed-role/Other/mallory"),
        ("/sourceIPAddress", "203.0.113.99"),
        ("/userAgent", "curl/8.14.1"),
    ] {
        let (mut second, mut without) = (first.clone(), first.clone());
        *second.pointer_mut(pointer).unwrap() = json!(other);
        *without.pointer_mut(pointer).unwrap() = Value::Null;
        if pointer == "/userIdentity/arn" {
            without["userIdentity"] = Value::Null;
        }
        for (records, contents) in [
            (vec![&first, &second, &first, &second], 2),
            (vec![&first, &without, &first], 1),
            (vec![&without, &first, &second], 2),
        ] {
            let folder = Folder::new();
            let file = folder.write("trail.json", json!({ "Records": records }).to_string());
            let ran = replay(&folder, &[&file]);
            let warnings = ran.stderr.matches("another event with this id says something else").count();
            assert_eq!(
                (ran.json_lines().len(), warnings),
                (contents, contents - 1),
                "{pointer}: {}",
                ran.stderr
            );
            let again = records.len() - contents;
            assert!(ran.stderr.contains(&format!(", {again} seen before; 0 unreadable\n")), "{}", ran.stderr);
        }
    }
}

#[test]
fn an_event_that_is_only_late_corrects_nothing() {
    let [original, _] = corrected();
    let mut late = original.clone();
    late["addendum"] = json!({"reason": "DELIVERY_DELAY"});
    let folder = Folder::new();
    let file = folder.write("trail.json", json!({ "Records": [late, original] }).to_string());
    let ran = replay(&folder, &[&file]);
    assert_eq!(ran.json_lines()[0]["verdict"], "noncompliant");
    assert!(!ran.stdout.contains("corrects"), "{}", ran.stdout);
    assert!(ran.stderr.contains(" 1 seen before; 0 unreadable\n"), "{}", ran.stderr);
}

#[tokio::test]
async fn apply_deals_with_an_event_once_and_keeps_both_in_the_history() {
    let (folder, iam, dynamo) = (Folder::new(), Iam::start(), Dynamo::start());
    let event = event("created-without-age");
    let id = iam.put_created(&event, None).unwrap();
    let mut correction = event["detail"].clone();
    correction["eventID"] = json!("correction");
    correction["addendum"] =
        json!({"reason": "UPDATED_DATA", "originalEventID": event["detail"]["eventID"].clone()});
    let records = [&event["detail"], &event["detail"], &correction, &event["detail"], &correction];
    let file = folder.write("trail.json", json!({ "Records": records }).to_string());
    let ran = run_on_aws(
        &folder,
        &iam,
        &dynamo,
        &["replay", "--apply", "--ceiling", "delete", "--format", "jsonl", &file],
    );
    assert_eq!((ran.code, iam.keys().len()), (0, 0), "{}", ran.stderr);
    assert_eq!(ran.json_lines().len(), 2, "{}", ran.stdout);
    assert!(ran.stderr.contains("5 events read: 1 judged (1 noncompliant, "), "{}", ran.stderr);
    assert!(ran.stderr.contains(", 3 seen before, 1 corrected by other events; "), "{}", ran.stderr);
    let history = folder.run(&["lookup", "--format", "jsonl", "--key", &id]);
    let created: Vec<_> = history.json_lines().into_iter().filter(|line| line["line"] == "created").collect();
    let reasons: Vec<_> = created.iter().map(|line| line["reason"].as_str().unwrap()).collect();
    let original = event["detail"]["eventID"].as_str().unwrap();
    let corrects = format!("The key was created. The event corrects event {original} (UPDATED_DATA).");
    assert_eq!(reasons.len(), 2, "{}", history.stdout);
    assert!(reasons.contains(&"The key was created.") && reasons.contains(&corrects.as_str()), "{reasons:?}");
}

#[tokio::test]
async fn a_creation_that_cannot_be_read_is_looked_up_once() {
    let (folder, iam, dynamo) = (Folder::new(), Iam::start(), Dynamo::start());
    let mut event = event("created-without-age");
    iam.put_created(&event, None).unwrap();
    event["detail"]["responseElements"] = json!("hidden");
    let file =
        folder.write("trail.json", json!({ "Records": [event["detail"], event["detail"]] }).to_string());
    let ran = run_on_aws(&folder, &iam, &dynamo, &["replay", "--apply", "--format", "jsonl", &file]);
    assert_eq!((ran.code, ran.json_lines().len()), (4, 1), "{}", ran.stderr);
    let end = "; 1 unreadable, 1 unreadable and seen before, 1 key looked up for them\nexit 4: 1 file could not be read whole\n";
    assert!(ran.stderr.ends_with(end), "{}", ran.stderr);
    let ran = run_on_aws(&folder, &iam, &dynamo, &["replay", &file]);
    assert!(ran.stderr.contains("; 1 unreadable, 1 unreadable and seen before\n"), "{}", ran.stderr);
    assert!(ran.stderr.ends_with("\nexit 4: 1 file could not be read whole\n"), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("warning: ").count(), 1, "{}", ran.stderr);
}

/// A deletion of an earlier run than its creation: the key never looks live. It is a dry run, so no state knows of it.
#[test]
fn a_deletion_that_is_replayed_before_its_creation_is_remembered() {
    let folder = Folder::new();
    let deleted = folder.write("deleted.json", event("deleted").to_string());
    let created = folder.write("created.json", event("created-for-365-days").to_string());
    let id =
        record("deleted")["requestParameters"]["serviceSpecificCredentialId"].as_str().unwrap().to_owned();
    let lookup = |ledger: &str, question: &[&str]| {
        folder.run(
            &[&["lookup", "--ledger", ledger, "--since", "2026-10-01", "--format", "jsonl"], question]
                .concat(),
        )
    };
    replay(&folder, &[&deleted]);
    let rows = lookup("file:key-guard.db", &[&id]).json_lines();
    assert_eq!((rows.len(), &rows[0]["line"], &rows[0]["status"]), (1, &json!("dry_run"), &json!("gone")));
    assert_eq!((&rows[0]["dry_run"], &rows[0]["verdict"]), (&json!(true), &json!(null)));
    assert!(rows[0]["status_by"].is_string() && rows[0]["status_since"].is_string(), "{}", rows[0]);
    let table = folder.run(&["lookup", &id]).stdout;
    assert!(table.contains("dry run"), "{table}");
    let exported = folder.run(&["export"]).stdout;
    folder.write("export.jsonl", &exported);
    assert_eq!(folder.run(&["import", "--ledger", "file:other.db", "export.jsonl"]).code, 0);
    // The other ledger has the creation, and takes up the deletion by an import; and the other way round.
    let other = ["replay", "--format", "jsonl", "--ledger"];
    assert_eq!(folder.run(&[&other[..], &["file:later.db", &created]].concat()).code, 0);
    folder.write("later.jsonl", folder.run(&["export", "--ledger", "file:later.db"]).stdout);
    assert_eq!(folder.run(&[&other[..], &["file:other.db", &created]].concat()).code, 0);
    assert_eq!(folder.run(&["import", "later.jsonl"]).code, 0);
    let user = record("created-for-365-days")["requestParameters"]["userName"].as_str().unwrap().to_owned();
    for ledger in ["file:key-guard.db", "file:other.db"] {
        for question in [&["--user", user.as_str()][..], &["--verdict", "noncompliant"], &[id.as_str()]] {
            let rows = lookup(ledger, question).json_lines();
            assert_eq!(
                (&rows[0]["line"], &rows[0]["status"]),
                (&json!("dry_run"), &json!("gone")),
                "{ledger} {question:?}"
            );
            assert_eq!(rows[0]["verdict"], "noncompliant");
        }
    }
}
