//! Failed calls, as the built function counts them, `replay` records them and `lookup --attempts` shows them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cli::{AWS_VARIABLES, CliOutput, Folder, command};
use crate::support::deployment::{Deployment, TABLE};
use crate::support::{OWN, event};

const ROLE: &str = "arn:aws:iam::111122223333:role/Deploy";

/// A call of this role that is denied, or that fails for this user, on 20 November 2026.
fn attempt(number: usize, session: &str, user: Option<&str>) -> Value {
    let mut event = event(if user.is_some() { "failed-limit-exceeded" } else { "denied" });
    let detail = &mut event["detail"];
    detail["eventID"] = json!(format!("{number:08x}-7b1e-4c3a-9f00-abc000000000"));
    detail["eventTime"] = json!(format!("2026-11-20T{:02}:{:02}:00Z", 9 + number / 60, number % 60));
    detail["errorCode"] = json!("AccessDenied");
    detail["sourceIPAddress"] = json!(format!("198.51.100.{}", number % 250));
    detail["userAgent"] = json!(format!("agent-{number}"));
    detail["userIdentity"] = json!({
        "type": "AssumedRole",
        "arn": format!("arn:aws:sts::{OWN}:assumed-role/Deploy/{session}"),
        "accountId": OWN,
        "sessionContext": {"sessionIssuer": {"type": "Role", "arn": ROLE, "accountId": OWN}},
    });
    if let Some(user) = user {
        detail["requestParameters"]["userName"] = json!(user);
    }
    event
}

fn attempts(items: &[Value]) -> Vec<&Value> {
    items.iter().filter(|item| item["kind"]["S"] == "attempts").collect()
}

#[tokio::test]
async fn the_function_counts_the_attempts_of_a_role_in_one_item() {
    let world = Deployment::new().await;
    let function = world.start(&[("KEY_GUARD_ATTEMPT_DAYS", "30")]);
    for (number, session, user) in [(0, "one", None), (2, "two", Some("alice")), (1, "three", Some("bob"))] {
        for _ in 0..2 {
            let report = function.invoke(&attempt(number, session, user)).response();
            assert_eq!((&report["outcome"], &report["severity"]), (&json!("recorded"), &json!("low")));
            assert_eq!(report["actor"], format!("arn:aws:sts::{OWN}:assumed-role/Deploy/{session}"));
        }
    }
    let items = world.dynamo.items(TABLE);
    let [item] = attempts(&items)[..] else { panic!("{items:?}") };
    assert_eq!((items.len(), &item["count"]["N"], &item["version"]["N"]), (1, &json!("3"), &json!("3")));
    assert_eq!(item["actor"]["S"], ROLE);
    assert_eq!(item["event"]["M"]["user_agent"]["S"], "agent-2");
    // The end of 20 November, and 30 days.
    assert_eq!(item["ttl"]["N"], "1797811200");
    let users = item["users"]["L"].as_array().unwrap().iter().map(|user| user["S"].clone());
    assert_eq!(users.collect::<Vec<_>>(), ["alice", "bob"]);

    // What the function has counted, the command line shows.
    let ran = CliOutput::of(
        command(&[
            "lookup",
            "--attempts",
            "--account",
            OWN,
            "--ledger",
            "dynamodb:keys",
            "--format",
            "jsonl",
        ])
        .envs(AWS_VARIABLES)
        .env("AWS_ENDPOINT_URL_DYNAMODB", world.dynamo.url()),
    );
    assert_eq!((ran.code, &ran.json_lines()[0]["count"]), (0, &json!(3)), "{}", ran.stderr);
}

/// A ledger in which a role has failed twelve times for a user each, once more without, and once in another way.
fn tried() -> Folder {
    let folder = Folder::new();
    let for_user = |number| attempt(number, &format!("s{number}"), Some(&format!("user-{number:02}")));
    let mut events: Vec<_> = (0..12).map(for_user).collect();
    events.push(attempt(12, "last", None));
    let mut other = attempt(13, "last", None);
    other["detail"]["errorCode"] = json!("LimitExceeded");
    events.push(other);
    let file = folder.write("events.json", json!(events).to_string());
    assert_eq!(folder.run(&["replay", &file]).code, 0);
    folder
}

/// What `lookup --attempts` shows of that day.
fn lookup(folder: &Folder, arguments: &[&str]) -> CliOutput {
    let day = ["lookup", "--attempts", "--since", "2026-11-20", "--until", "2026-11-20"];
    folder.run(&[&day, arguments].concat())
}

const USERS: &str = "user-00 user-01 user-02 user-03 user-04 user-05 user-06 user-07 user-08 user-09";

#[test]
fn lookup_shows_everything_that_is_known_of_a_count() {
    let folder = tried();
    let ran = lookup(&folder, &["--format", "jsonl"]);
    assert!(ran.stderr.starts_with("14 attempts in 2 rows"), "{}", ran.stderr);
    let rows = ran.json_lines();
    let [other, row] = rows.as_slice() else { panic!("{rows:?}") };
    for (field, expected) in [
        ("line", json!("attempts")),
        ("at", json!("2026-11-20T09:12:00Z")),
        ("account", json!(OWN)),
        ("count", json!(13)),
        ("first_at", json!("2026-11-20T09:00:00Z")),
        ("last_at", json!("2026-11-20T09:12:00Z")),
        ("event_time", json!("2026-11-20T09:12:00Z")),
        ("actor", json!(ROLE)),
        ("session_issuer", json!(ROLE)),
        ("latest_principal", json!(format!("arn:aws:sts::{OWN}:assumed-role/Deploy/last"))),
        ("source_ip", json!("198.51.100.12")),
        ("user_agent", json!("agent-12")),
        ("users", json!(USERS)),
        ("more_users", json!(true)),
        ("services", json!("bedrock.amazonaws.com")),
        ("user", json!(null)),
        ("reason", json!("CreateServiceSpecificCredential failed with AccessDenied.")),
    ] {
        assert_eq!(row[field], expected, "{field}");
    }
    assert!(row.as_object().unwrap().values().all(|value| !value.is_object() && !value.is_array()));
    assert_eq!((&other["users"], &other["more_users"]), (&json!(null), &json!(false)));
    assert_eq!(row.as_object().unwrap().len(), other.as_object().unwrap().len());
}

#[test]
fn lookup_shows_counts_in_every_format_and_by_user() {
    let folder = tried();
    let csv = lookup(&folder, &["--format", "csv"]).stdout;
    assert!(csv.lines().nth(2).unwrap().ends_with(&format!(
        "13,\"2026-11-20T09:00:00Z\",\"2026-11-20T09:12:00Z\",\"{USERS}\",\"true\",\"bedrock.amazonaws.com\",\
         \"arn:aws:sts::{OWN}:assumed-role/Deploy/last\""
    )), "{csv}");
    let table = lookup(&folder, &["--absolute", "--width", "400"]).stdout;
    let words: BTreeSet<_> = table.lines().nth(2).unwrap().split("  ").map(str::trim).collect();
    for shown in ["13", "role/Deploy", OWN, "198.51.100.12", "agent-12", &format!("{USERS} and more")] {
        assert!(words.contains(shown), "{shown} in {table}");
    }
    // By a user that is named in it, and by one that may be among those that are not.
    for (user, rows) in [("USER-03", 1), ("user-11", 1)] {
        let ran = lookup(&folder, &["--user", user, "--format", "jsonl"]);
        assert_eq!(ran.json_lines().len(), rows, "{user}");
    }
}

/// A year of denied calls has few items, and each batch of events writes each of them once.
#[test]
fn a_replay_of_many_denied_calls_is_quick_and_can_be_repeated() {
    let folder = Folder::new();
    let line = |number: usize| {
        let mut event = attempt(number % 600, &format!("s{number}"), None);
        event["detail"]["eventID"] = json!(format!("{number:08x}-7b1e"));
        let day = 1 + number / 100;
        event["detail"]["eventTime"] =
            json!(format!("2026-{:02}-{:02}T10:00:00Z", 1 + day / 28 % 12, 1 + day % 28));
        event["detail"].to_string()
    };
    let lines: Vec<_> = (0..10_000).map(line).collect();
    let file = folder.write("year.jsonl", lines.join("\n"));
    let started = Instant::now();
    let ran = folder.run(&["replay", &file]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("10000 attempts and changes of users recorded"), "{}", ran.stderr);
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
    let items = folder.items();
    assert_eq!(items.len(), 100, "one a day");
    assert!(items.iter().all(|item| item["count"] == 100));
    folder.run(&["replay", &file]);
    assert_eq!(folder.items(), items);
}

#[test]
fn counts_come_out_of_one_ledger_and_into_another() {
    let folder = Folder::new();
    let events: Vec<_> = (0..3).map(|number| attempt(number, "s", Some("alice"))).collect();
    let file = folder.write("events.json", json!(events).to_string());
    folder.run(&["replay", &file]);
    let exported = folder.run(&["export"]).stdout;
    let file = folder.write("all.jsonl", &exported);
    for (expected, ledger) in
        [("1 count of attempts", "file:new.db"), ("0 counts of attempts", "file:new.db")]
    {
        let ran = folder.run(&["import", "--ledger", ledger, &file]);
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
        assert_eq!(folder.run(&["export", "--ledger", ledger]).stdout, exported);
    }
}
