//! `hunt`: the queries, and that nothing can be put into them. `.ci/hunt` runs those in SQL.

use key_guard_core::cloudtrail::{CREDENTIAL_CALLS, USER_CALLS};
use key_guard_core::key::CONSOLE_USER_PREFIXES;
use serde_json::Value;

use crate::support::cli::Folder;

const ENGINES: [&[&str]; 5] = [
    &["athena"],
    &["lake", "--event-data-store", "5d1c003f-7b1e-4c3a-9f00-abc00000003f"],
    &["logs-insights"],
    &["opensearch"],
    &["splunk"],
];

const RANGE: [&str; 4] = ["--since", "2026-11-01", "--until", "2026-11-20"];

fn hunt(engine: &[&str], more: &[&str]) -> (String, String) {
    let ran = Folder::new().run(&[&["hunt"], engine, more].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    (ran.stdout, ran.stderr)
}

#[test]
fn each_engine_has_its_query() {
    for engine in ENGINES {
        let (query, notes) = hunt(engine, &RANGE);
        insta::assert_snapshot!(engine[0], format!("{query}--- stderr ---\n{notes}"));
        for word in CREDENTIAL_CALLS.iter().chain(&USER_CALLS).chain(&CONSOLE_USER_PREFIXES) {
            assert!(query.to_lowercase().contains(&word.to_lowercase()), "{word}: {query}");
        }
        assert!(notes.contains("bedrock-key-guard replay "), "{notes}");
        let (uses, notes) = hunt(engine, &[&RANGE[..], &["--uses", "--account", "111122223333"]].concat());
        insta::assert_snapshot!(format!("{}-uses", engine[0]), uses);
        assert!(uses.contains("callWithBearerToken") && uses.contains("111122223333"), "{uses}");
        assert!(notes.contains("bedrock-key-guard usage "), "{notes}");
    }
}

/// The example events have a key of `svc-chatbot` that was created in a console session.
#[test]
fn users_that_only_the_ledger_knows_are_put_into_the_query() {
    let folder = Folder::new();
    let mut creation = crate::support::event("created-in-console-session");
    for pointer in
        ["/detail/requestParameters/userName", "/detail/responseElements/serviceSpecificCredential/userName"]
    {
        *creation.pointer_mut(pointer).unwrap() = "logs.reader+1".into();
    }
    folder.write("creation.json", creation.to_string());
    folder.write("other.json", crate::support::event("created-for-1-day").to_string());
    assert_eq!(folder.run(&["replay", "creation.json", "other.json"]).code, 0);
    for (engine, condition) in [
        (ENGINES[0], "LIKE '%\"logs.reader+1\"%'"),
        (ENGINES[1], "LIKE '%\"logs.reader+1\"%'"),
        (ENGINES[2], "|logs\\.reader\\+1\")/"),
        (ENGINES[3], "\"responseElements.accessKey.userName\": \"logs.reader+1\""),
        (ENGINES[4], "\"AeaApiKey-*\", \"logs.reader+1\")"),
    ] {
        let ran = folder.run(&[&["hunt"], engine, &["--ledger", "file:key-guard.db"]].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains(condition) && !ran.stdout.contains("svc-"), "{}", ran.stdout);
        assert!(ran.stderr.contains("and for 1 user that the ledger knows"), "{}", ran.stderr);
        let ran = folder.run(
            &[&["hunt"], engine, &["--ledger", "file:key-guard.db", "--account", "444455556666"]].concat(),
        );
        assert!(!ran.stdout.contains("logs.reader"), "{}", ran.stdout);
        assert!(ran.stderr.contains("; the ledger knows no others\n"), "{}", ran.stderr);
        let (query, notes) = hunt(engine, &[]);
        assert!(
            notes.contains("users that only the ledger knows are not found (--ledger adds them)"),
            "{notes}"
        );
        let has_comments = ["athena", "logs-insights"].contains(&engine[0]);
        assert_eq!(query.contains("only the ledger knows"), has_comments, "{query}");
    }
}

#[test]
fn the_body_for_opensearch_is_json() {
    for more in [&[][..], &["--uses"], &["--account", "111122223333", "--account", "444455556666"]] {
        let (query, _) = hunt(&["opensearch"], more);
        let body: Value = serde_json::from_str(&query).unwrap();
        assert!(body["query"]["bool"]["filter"].is_array());
    }
}

#[test]
fn names_are_quoted_and_time_ranges_are_said_as_each_engine_wants() {
    let more = ["--table", "logs.trail_2026", "--date-partition", "timestamp"];
    let (query, _) = hunt(&["athena"], &[&RANGE[..], &more].concat());
    assert!(query.contains("FROM \"logs\".\"trail_2026\"\n"), "{query}");
    assert!(query.contains("eventtime >= '2026-11-01T00:00:00Z' AND eventtime < '2026-11-21T00:00:00Z'"));
    assert!(query.contains("\"timestamp\" BETWEEN '2026/11/01' AND '2026/11/22'"), "{query}");
    let arn = "arn:aws:cloudtrail:us-east-1:111122223333:eventdatastore/5D1C003F-7b1e-4c3a-9f00-abc00000003f";
    let (query, _) = hunt(&["lake", "--event-data-store", arn], &["--days", "7"]);
    assert!(query.contains("FROM 5d1c003f-7b1e-4c3a-9f00-abc00000003f\n"), "{query}");
}

#[test]
fn nothing_can_be_put_into_a_query() {
    for injected in [
        "x\" OR 1=1 --",
        "x'; DROP TABLE y",
        "x y",
        "x|delete",
        "x)",
        "",
        "x\n",
        "..",
        "$(id)",
        "`id`",
        "x\\",
    ] {
        for arguments in [
            &["athena", "--table", injected][..],
            &["athena", "--date-partition", injected],
            &["athena", "--account", injected],
            &["athena", "--since", injected],
            &["lake", "--event-data-store", injected],
            &["logs-insights", "--log-group", injected],
            &["opensearch", "--index", injected],
            &["splunk", "--index", injected],
            &["splunk", "--source-type", injected],
        ] {
            // Dots are letters of log groups and indices.
            if injected == ".." && ["--log-group", "--index", "--source-type"].contains(&arguments[1]) {
                continue;
            }
            let ran = Folder::new().run(&[&["hunt"], arguments].concat());
            assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {}", ran.stderr);
        }
    }
    let empty = Folder::new().run(&["hunt", "splunk", "--since", "2026-11-20", "--until", "2026-11-01"]);
    assert_eq!((empty.code, empty.stdout.as_str()), (2, ""));
    assert!(empty.stderr.contains("the time range is empty"), "{}", empty.stderr);
}
