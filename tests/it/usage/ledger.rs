//! The keys of a ledger beside the use of their users, and what the ledger keeps of it.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use serde_json::{Map, Value, json};

use super::{Use, created, log, other};
use crate::support::cli::{CliOutput, Folder};
use crate::support::event;

const UNTIL: &str = "2026-03-31";

/// Something else on each of these days.
fn each_day(first: &str, last: &str) -> Vec<Value> {
    let [first, last] = [first, last].map(|day| day.parse::<NaiveDate>().unwrap());
    let days = first.iter_days().take_while(|day| *day <= last);
    (1_000..).zip(days).map(|(number, day)| other(number, &format!("{day}T20:00:00Z"))).collect()
}

/// The ledger has keys of January; the logs cover the 30 days to the end of March.
fn folder() -> Folder {
    let folder = Folder::new();
    let key = |number: u32| format!("ACCAEXAMPLEUSAGE{number:05}");
    let bedrock = "bedrock.amazonaws.com";
    let january = "2026-01-05T09:00:00Z";
    let keys = [
        created(&key(1), "svc-compliant-idle", bedrock, "2026-02-05T09:00:00Z", Some(90)),
        created(&key(2), "svc-in-use", bedrock, january, None),
        created(&key(3), "svc-idle", bedrock, january, None),
        created(&key(4), "svc-idle-since-february", bedrock, january, Some(400)),
        created(&key(5), "svc-young", bedrock, "2026-03-20T09:00:00Z", None),
        created(&key(6), "svc-compliant", bedrock, "2026-02-05T09:00:00Z", Some(90)),
        created(&key(7), "svc-logs", "logs.amazonaws.com", january, None),
        created(&key(8), "svc-in-use-earlier", bedrock, january, None),
    ];
    let policy = "[default]\nservices = \"*\"\nmax_lifetime_days = 90\nresponse = \"delete\"\n";
    folder.write("policy.toml", policy);
    folder.write("creations.json", log(&keys));
    let ran = folder.run(&["replay", "--policy", "policy.toml", "creations.json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let uses = [
        Use::new(1, "svc-in-use", "2026-03-30T08:00:00Z").record(),
        Use::new(2, "SVC-in-use", "2026-03-30T09:00:00Z").record(),
        Use::new(3, "svc-in-use-earlier", "2026-03-15T09:00:00Z").record(),
        Use::new(4, "svc-compliant", "2026-03-29T09:00:00Z").record(),
        Use::new(5, "svc-unknown-to-the-ledger", "2026-03-29T09:00:00Z").record(),
    ];
    folder.write("march.json", log(&[&uses[..], &each_day("2026-02-20", "2026-03-31")].concat()));
    folder.write(
        "february.json",
        log(&[Use::new(8, "svc-idle-since-february", "2026-02-10T08:00:00Z").record()]),
    );
    folder
}

fn usage(folder: &Folder, arguments: &[&str]) -> CliOutput {
    let fixed = ["usage", "--ledger", "file:key-guard.db", "--until", UNTIL, "--absolute"];
    let ran = folder.run(&[&fixed, arguments].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran
}

fn used(folder: &Folder) -> Vec<Map<String, Value>> {
    folder.items().into_iter().filter(|item| item["kind"] == "use").collect()
}

#[test]
fn unused_noncompliant_keys_come_first_then_those_in_use() {
    let folder = folder();
    usage(&folder, &["february.json"]);
    let ran = usage(&folder, &["march.json"]);
    insta::assert_snapshot!("keys", ran.stdout);
    insta::assert_snapshot!("keys-stderr", ran.stderr);
    let narrow = usage(&folder, &["--width", "100", "march.json"]).stdout;
    let title = narrow.lines().next().unwrap();
    assert!(title.contains("ACCOUNT") && !title.contains("MODELS"), "{narrow}");
    let rows = usage(&folder, &["--format", "jsonl", "march.json"]).json_lines();
    let told: Vec<_> =
        rows.iter().map(|row| format!("{} {}", row["use"], row["user"]).replace('"', "")).collect();
    assert_eq!(
        told,
        [
            "unused svc-idle",
            "unused svc-idle-since-february",
            "in_use svc-in-use",
            "in_use svc-in-use-earlier",
            "not_known svc-young",
            "not_known svc-logs",
            "unused svc-compliant-idle",
            "in_use svc-compliant",
            "null svc-unknown-to-the-ledger",
        ]
    );
    let february = &rows[1];
    assert_eq!((&february["last_used_at"], &february["calls"]), (&json!("2026-02-10T08:00:00Z"), &json!(0)));
    assert_eq!(rows[2]["calls"], 2, "IAM's names have no case");
}

/// What logs do not cover is not called unused.
#[test]
fn logs_of_a_week_call_no_key_unused() {
    let folder = folder();
    folder.write("week.json", log(&[other(1, "2026-03-24T00:00:00Z"), other(2, "2026-03-31T20:00:00Z")]));
    for (logs, unused) in [
        (&["week.json"][..], 0),
        (&["--since", "2026-03-24", "march.json"], 0),
        (&["week.json", "march.json"], 3),
    ] {
        let ran = usage(&folder, &[&["--format", "jsonl"], logs].concat());
        let rows = ran.json_lines();
        assert_eq!(rows.iter().filter(|row| row["use"] == "unused").count(), unused, "{}", ran.stdout);
        assert!(rows.iter().filter(|row| !row["credential_id"].is_null()).count() == 8, "{}", ran.stdout);
    }
}

/// Files may be missing, and any call may be in what could not be read.
#[test]
fn logs_with_a_hole_or_with_damage_call_no_key_unused() {
    let folder = folder();
    let unused = |ran: &CliOutput| ran.json_lines().iter().filter(|row| row["use"] == "unused").count();
    for (hole, number, says) in [
        ("2026-02-25", 6, None),
        (
            "2026-03-02",
            0,
            Some("no key of account 111122223333 is called unused: no event that was read is of 2026-03-02"),
        ),
        ("2026-03-29", 0, Some("is of 2026-03-29, so log files of that day may be missing")),
    ] {
        let mut days = each_day("2026-02-20", "2026-03-31");
        days.retain(|record| !record["eventTime"].as_str().unwrap().starts_with(hole));
        folder.write("hole.json", log(&days));
        let ran = usage(&folder, &["--format", "jsonl", "hole.json"]);
        assert_eq!(unused(&ran), number, "{hole}: {}", ran.stdout);
        let said = ran.stderr.lines().find(|line| line.starts_with("no key"));
        assert_eq!(said.is_some(), says.is_some(), "{}", ran.stderr);
        assert!(says.is_none_or(|says| ran.stderr.contains(says)), "{}", ran.stderr);
    }
    folder.write(
        "damaged.json",
        r#"{"Records": [{"eventVersion": "1.11", "additionalEventData": {"callWithBearerToken": tr"#,
    );
    let fixed = ["usage", "--ledger", "file:key-guard.db", "--until", UNTIL, "--format", "jsonl"];
    let ran = folder.run(&[&fixed[..], &["march.json", "damaged.json"]].concat());
    assert_eq!((ran.code, unused(&ran)), (4, 0), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("no key is called unused: any call may be in what could not be read"),
        "{}",
        ran.stderr
    );
}

#[test]
fn the_ledger_keeps_what_runs_found_and_counts_nothing_twice() {
    let folder = folder();
    let others = |folder: &Folder| -> Vec<_> {
        folder.items().into_iter().filter(|item| item["kind"] != "use").collect()
    };
    let before = others(&folder);
    for logs in [&["march.json"][..], &["february.json"], &["march.json", "february.json"], &["march.json"]] {
        usage(&folder, logs);
    }
    assert_eq!(others(&folder), before, "no run touches a key's items (R14)");
    let items = used(&folder);
    assert_eq!(items.len(), 5);
    let of = |user: &str| items.iter().find(|item| item["sk"] == user).unwrap().clone();
    let item = of("svc-in-use");
    assert_eq!(item["pk"], "USE#111122223333");
    assert_eq!(
        (&item["first_used_at"], &item["last_used_at"]),
        (&json!("2026-03-30T08:00:00Z"), &json!("2026-03-30T09:00:00Z"))
    );
    assert_eq!(item["latest_run"]["calls"], 2);
    assert_eq!(of("svc-idle-since-february")["latest_run"]["calls"], 1);
}

/// The rows are printed, and what is found of the others is recorded.
#[test]
fn an_item_of_a_user_that_cannot_be_read_stops_no_other() {
    let folder = folder();
    usage(&folder, &["march.json"]);
    folder.ledger().change(|item| {
        if item["kind"] == "use" && item["sk"] == "svc-in-use" {
            item.insert("v".to_owned(), json!(5));
        }
    });
    let before = used(&folder);
    let uses = [
        Use::new(31, "svc-in-use", "2026-03-31T09:00:00Z").record(),
        Use::new(32, "svc-compliant", "2026-03-31T09:00:00Z").record(),
    ];
    folder.write("later.json", log(&uses));
    let ran = folder.run(&["usage", "--ledger", "file:key-guard.db", "--format", "jsonl", "later.json"]);
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    let warnings: Vec<_> = ran.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert!(
        matches!(warnings[..], [one] if one.contains("USE#111122223333 / svc-in-use cannot be read")),
        "once: {warnings:?}"
    );
    assert!(ran.stderr.contains("; 1 unreadable"), "{}", ran.stderr);
    assert_eq!(ran.json_lines().iter().map(|row| row["calls"].as_u64().unwrap()).sum::<u64>(), 2);
    let changed: Vec<_> = used(&folder).into_iter().filter(|item| !before.contains(item)).collect();
    assert!(matches!(&changed[..], [one] if one["sk"] == "svc-compliant"), "{changed:?}");
}

#[test]
fn lookup_shows_the_use_of_a_key_s_user() {
    let folder = folder();
    let key = "ACCAEXAMPLEUSAGE00002";
    let is_use = |line: &&str| line.starts_with("used");
    assert!(!folder.run(&["lookup", "--key", key]).stdout.lines().any(|line| is_use(&line)));
    usage(&folder, &["march.json"]);
    let ran = folder.run(&["lookup", "--key", key, "--absolute"]);
    let line = ran.stdout.lines().find(is_use).unwrap_or_else(|| panic!("{}", ran.stdout));
    for said in [
        "last 2026-03-30T09:00:00Z, first 2026-03-30T08:00:00Z",
        "bedrock (anthropic.claude-sonnet-4-6)",
        "found 2 calls",
        "not which of the user's keys",
    ] {
        assert!(line.contains(said), "{said}: {line}");
    }
    let rows = folder.run(&["lookup", "--key", key, "--format", "jsonl"]).json_lines();
    let lines: Vec<_> = rows.iter().map(|row| row["line"].as_str().unwrap()).collect();
    assert_eq!(lines, ["dry_run", "used"]);
    let row = &rows[1];
    for (field, value) in [
        ("user", json!("svc-in-use")),
        ("account", json!("111122223333")),
        ("count", json!(2)),
        ("first_at", json!("2026-03-30T08:00:00Z")),
        ("last_at", json!("2026-03-30T09:00:00Z")),
        ("services", json!("bedrock.amazonaws.com")),
        ("credential_id", Value::Null),
    ] {
        assert_eq!(row[field], value, "{field}");
    }
}

#[test]
fn an_export_carries_it_to_another_ledger() {
    let folder = folder();
    usage(&folder, &["march.json", "february.json"]);
    let exported = folder.run(&["export"]);
    folder.write("all.jsonl", &exported.stdout);
    let import = || folder.run(&["import", "--ledger", "file:other.db", "all.jsonl"]).stderr;
    assert!(import().contains("uses of the keys of 5 users"));
    assert!(import().contains("uses of the keys of 0 users"), "a second time nothing is new");
    assert_eq!(folder.run(&["export", "--ledger", "file:other.db"]).stdout, exported.stdout);
}

/// The deletion of a key.
fn deleted(id: &str, user: &str, time: &str) -> Value {
    let mut record = event("deleted")["detail"].take();
    record["eventTime"] = json!(time);
    record["eventID"] = json!(format!("deletion-of-{id}"));
    record["requestParameters"] = json!({"userName": user, "serviceSpecificCredentialId": id});
    record
}

/// Calls before a key was created, or after it was deleted, were made with another key.
#[test]
fn a_key_is_credited_with_calls_of_its_lifetime_only() {
    let folder = folder();
    let key = |number: u32| format!("ACCAEXAMPLELIFE{number:06}");
    let (bedrock, january) = ("bedrock.amazonaws.com", "2026-01-05T09:00:00Z");
    let events = [
        created(&key(1), "svc-deleted", bedrock, january, None),
        deleted(&key(1), "svc-deleted", "2026-03-20T09:00:00Z"),
        created(&key(2), "svc-replaced", bedrock, january, None),
        deleted(&key(2), "svc-replaced", "2026-03-20T09:00:00Z"),
        created(&key(3), "svc-replaced", bedrock, "2026-03-28T09:00:00Z", None),
        created(&key(4), "svc-deleted-before", bedrock, january, None),
        deleted(&key(4), "svc-deleted-before", "2026-02-20T09:00:00Z"),
        created(&key(5), "svc-deleted-and-quiet", bedrock, january, None),
        deleted(&key(5), "svc-deleted-and-quiet", "2026-03-20T09:00:00Z"),
    ];
    folder.write("life.json", log(&events));
    assert_eq!(folder.run(&["replay", "life.json"]).code, 0);
    let uses = [
        Use::new(21, "svc-deleted", "2026-03-19T09:00:00Z").record(),
        Use::new(22, "svc-deleted", "2026-03-20T09:00:30Z").record(),
        Use::new(23, "svc-replaced", "2026-03-27T09:00:00Z").record(),
        Use::new(24, "svc-deleted-before", "2026-03-15T09:00:00Z").record(),
        other(25, "2026-02-20T00:00:00Z"),
        other(26, "2026-03-31T20:00:00Z"),
    ];
    folder.write("uses.json", log(&uses));
    let ran = usage(&folder, &["--format", "jsonl", "uses.json"]);
    let rows = ran.json_lines();
    let told: BTreeSet<_> = rows
        .iter()
        .filter(|row| {
            ["svc-deleted", "svc-replaced"].iter().any(|user| row["user"].as_str().unwrap().starts_with(user))
        })
        .map(|row| format!("{} {} {} {}", row["user"], row["credential_id"], row["use"], row["last_used_at"]))
        .map(|line| line.replace('"', ""))
        .collect();
    let expected = [
        format!("svc-deleted {} deleted null", key(1)),
        format!("svc-replaced {} not_known null", key(3)),
        "svc-replaced null null 2026-03-27T09:00:00Z".to_owned(),
        "svc-deleted-before null null 2026-03-15T09:00:00Z".to_owned(),
    ];
    assert_eq!(told, BTreeSet::from(expected), "{}", ran.stdout);
    assert!(ran.stderr.contains("; 0 in use;"), "{}", ran.stderr);
    let warnings: Vec<_> = ran.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert_eq!(
        warnings,
        [
            "warning: svc-deleted-before in account 111122223333 was used at 2026-03-15T09:00:00Z, after its last known key was \
          deleted at 2026-02-20T09:00:00Z: another key exists, or a short-term key of this user does"
        ],
        "a minute after a deletion says nothing"
    );
    let last_use = |key: &str| {
        let text = folder.run(&["lookup", key, "--absolute"]).stdout;
        text.lines().find(|line| line.starts_with("used")).map(str::to_owned)
    };
    assert_eq!(last_use(&key(3)), None, "what was before its creation");
    let after = last_use(&key(4)).unwrap();
    assert!(after.contains("last 2026-03-15T09:00:00Z, after this key was deleted"), "{after}");
    assert!(last_use(&key(1)).unwrap().contains("last 2026-03-20T09:00:30Z, first 2026-03-19T09:00:00Z"));
}
