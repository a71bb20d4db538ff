//! `lookup WHAT`: whatever somebody has at hand at night.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::reading::in_runtime;
use crate::support::cli::{AWS_VARIABLES, CliOutput, Folder};
use crate::support::dynamodb::Dynamo;
use crate::support::event;

const SINCE: [&str; 4] = ["--since", "2026-11-01", "--until", "2026-11-30"];
const WIDE: [&str; 3] = ["--absolute", "--width", "240"];

/// A folder with the dry runs of all example events.
fn replayed() -> Folder {
    let folder = Folder::new();
    let events = concat!(env!("CARGO_MANIFEST_DIR"), "/events");
    let ran = folder.run(&["replay", events]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    folder
}

/// The ids that a lookup finds, and what it says on stderr.
fn found(folder: &Folder, arguments: &[&str]) -> (Vec<String>, String) {
    let ran = folder.run(&[&["lookup", "--format", "jsonl"], arguments].concat());
    assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
    let is_key = |row: &Value| row["line"] == "dry_run" || row["line"] == "state";
    let ids = ran.json_lines().into_iter().filter(is_key).map(|row| {
        row["credential_id"].as_str().unwrap().trim_start_matches("ACCAEXAMPLEKEY00000").to_owned()
    });
    (ids.collect(), ran.stderr)
}

#[test]
fn a_text_is_told_by_what_it_is() {
    let folder = replayed();
    let ids = |arguments: &[&str]| found(&folder, arguments).0;
    let jan = ["16"];
    assert_eq!(ids(&[" accaexamplekey0000016 "]), jan);
    assert_eq!(ids(&["Jan.Kowalski"]), jan, "names of users are unique in any case");
    assert_eq!(ids(&["arn:aws:iam::111122223333:user/jan.kowalski"]), jan);
    assert_eq!(ids(&["svc-search"]), ["03"]);
    let by_maria = ids(&["maria.lopez@example.com"]);
    assert!(by_maria.len() > 9 && by_maria.contains(&"01".to_owned()), "{by_maria:?}");
    assert_eq!(ids(&["--actor", "maria.lopez@example.com"]), by_maria);
    let of_account = ids(&["1111-2222-3333", SINCE[0], SINCE[1]]);
    assert_eq!(of_account, ids(&["--account", "111122223333"]));
    let from = ids(&[&["198.51.100.0/24"], &SINCE[..]].concat());
    assert_eq!(from, ids(&[&["--source-ip", "198.51.100.27"], &SINCE[..]].concat()));
    assert!(from.len() > 9 && ids(&[&["192.0.2.0/24"], &SINCE[..]].concat()).is_empty());
    assert_eq!(ids(&["maria.lopez", "--user", "svc-search"]), ["03"], "all that is given has to hold");
}

#[test]
fn a_key_is_found_once_whichever_way_it_is_meant() {
    let folder = replayed();
    let all = found(&folder, &["jan.kowalski", "--limit", "1"]).0;
    assert_eq!(all, ["16"], "its user created it");
    let first = folder.run(&["lookup", "maria.lopez@example.com", "--format", "jsonl", "--limit", "2"]);
    let page = first.stderr.split("--page ").nth(1).unwrap().trim();
    let rest = found(&folder, &["maria.lopez@example.com", "--page", page]).0;
    let all = found(&folder, &["maria.lopez@example.com"]).0;
    assert_eq!((first.json_lines().len(), &all[2..]), (2, rest.as_slice()));
}

/// A later page has what is left of the answer, and not what another question would find.
#[test]
fn a_part_of_a_callers_name_is_a_question_of_all_pages_or_of_none() {
    let folder = Folder::new();
    let creations = [("1", "bob", "alice"), ("2", "alice", "admin"), ("3", "carol", "alice2")];
    let records: Vec<_> = creations
        .map(|(number, user, caller)| {
            let mut record = event("created-without-age")["detail"].clone();
            let at = format!("2026-11-2{}T09:00:00Z", 9 - number.parse::<u8>().unwrap());
            record["eventTime"] = json!(at);
            record["eventID"] = json!(format!("5d1c0001-7b1e-4c3a-9f00-abc00000000{number}"));
            record["userIdentity"] = json!({
                "type": "IAMUser", "arn": format!("arn:aws:iam::111122223333:user/{caller}"),
                "accountId": "111122223333", "userName": caller,
            });
            record["requestParameters"]["userName"] = json!(user);
            let credential = &mut record["responseElements"]["serviceSpecificCredential"];
            credential["userName"] = json!(user);
            credential["createDate"] = json!(at);
            credential["serviceSpecificCredentialId"] = json!(format!("ACCAEXAMPLEKEY000000{number}"));
            record.to_string()
        })
        .into();
    let ran = folder.run(&["replay", &folder.write("keys.jsonl", records.join("\n"))]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for (question, all, is_part) in [
        (&["alice"][..], &["1", "2"][..], false),
        (&["--actor", "alic"], &["1", "3"], true),
        (&["--actor", "alice"], &["1"], false),
    ] {
        let mut page = Vec::<String>::new();
        for id in all {
            let page_flags: Vec<_> = page.iter().map(String::as_str).collect();
            let limit = [question, &["--limit", "1"], &page_flags].concat();
            let ran = folder.run(&[&["lookup", "--format", "jsonl"], &limit[..]].concat());
            let rows = ran.json_lines();
            let is_last = Some(id) == all.last();
            assert_eq!(
                (rows.len(), ran.stderr.contains("--page ")),
                (1, !is_last),
                "{limit:?}: {}",
                ran.stderr
            );
            assert_eq!(rows[0]["credential_id"], format!("ACCAEXAMPLEKEY000000{id}"), "{limit:?}");
            assert_eq!(ran.stderr.contains("callers' names"), is_part, "{limit:?}: {}", ran.stderr);
            let next = ran.stderr.split("--page ").nth(1).map_or("", str::trim);
            page = vec!["--page".to_owned(), next.to_owned()];
        }
    }
}

#[test]
fn a_status_is_taken_as_reports_have_it() {
    let folder = replayed();
    let deleted = found(&folder, &["--status", "deleted"]).0;
    assert!(!deleted.is_empty());
    for status in ["gone", "GONE", "Deleted"] {
        assert_eq!(found(&folder, &["--status", status]).0, deleted, "{status}");
    }
}

#[test]
fn a_limit_is_any_number() {
    let folder = replayed();
    assert_eq!(found(&folder, &["svc-search", "--limit", "2147483648"]).0, ["03"]);
    for limit in ["0", "-1", "", "many"] {
        let ran = folder.run(&["lookup", &format!("--limit={limit}")]);
        assert_eq!(ran.code, 2);
        assert!(ran.stderr.contains("expected a number from 1 up, or all"), "{}", ran.stderr);
    }
}

/// The calendar of dates ends, and what is reckoned from them must not leave it.
#[test]
fn no_date_is_too_far_away_to_be_refused() {
    let folder = replayed();
    for command in [
        &["lookup"][..],
        &["report", "--output", "-"],
        &["export"],
        &["timeline", "svc-search"],
        &["hunt", "athena"],
    ] {
        for when in ["-262143-01-01", "+262142-12-31", "1969-12-31", "+10000-01-01", "1969-12-31T23:59:59Z"] {
            for flag in ["--since", "--until"] {
                let ran = folder.run(&[command, &[&format!("{flag}={when}")]].concat());
                assert_eq!(
                    (ran.code, ran.stdout.as_str()),
                    (2, ""),
                    "{command:?} {flag}={when}: {}",
                    ran.stderr
                );
                assert!(ran.stderr.contains("expected a time like 2026-"), "{}", ran.stderr);
            }
        }
        for when in ["1970-01-01", "9999-12-31", "9999-12-31T23:59:59Z"] {
            for flag in ["--since", "--until"] {
                let ran = folder.run(&[command, &[&format!("{flag}={when}")]].concat());
                assert!(ran.code == 0 || ran.code == 2, "{command:?} {flag}={when}: {}", ran.stderr);
            }
        }
    }
}

#[test]
fn a_leaked_text_is_identified_and_not_repeated() {
    let folder = replayed();
    let text =
        format!("ABSK{}", STANDARD.encode("svc-chatbot-at-111122223333:pL3qZk8Wm2Rt7vYx1Nb6Cd9Fg4Hj5"));
    let ran = folder.run_with_input(&["lookup", "-"], text.as_bytes());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout.contains("svc-chatbot") && ran.stdout.contains("ACCAEXAMPLEKEY0000001"),
        "{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains(&text[..24]) && !ran.stderr.contains(&text[..24]));
    let without = Folder::new().run_with_input(&["lookup", "-"], text.as_bytes());
    assert_eq!(without.code, 0, "no ledger is needed: {}", without.stderr);
    assert!(without.stderr.contains("there is no ledger file:key-guard.db"), "{}", without.stderr);
    for (arguments, code) in [(&["lookup", &text][..], 2), (&["lookup", "-", "--user", "a"], 2)] {
        let ran = folder.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{}", ran.stderr);
        assert!(!ran.stderr.contains(&text[..24]), "{}", ran.stderr);
    }
    let unknown = folder.run(&["lookup", "ZZZZ/unknown secret"]);
    assert_eq!(unknown.code, 2);
    assert!(
        !unknown.stderr.contains("ZZZZ") && unknown.stderr.contains("not repeated here"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn a_part_of_a_callers_name_is_enough_where_nobody_has_it() {
    let folder = replayed();
    let (ids, stderr) = found(&folder, &["--actor", "jan"]);
    assert_eq!(ids, ["16"]);
    assert!(stderr.contains("part of these callers' names"), "{stderr}");
    let (ids, stderr) = found(&folder, &["--actor", "jan.kowalski"]);
    assert_eq!((ids.len(), stderr.contains("part of")), (1, false), "{stderr}");
    assert_eq!(found(&folder, &["--actor", "ja"]).0, [] as [&str; 0], "too many names have it");
    let attempts = folder
        .run(&[&["lookup", "--attempts", "--actor", "lopez", "--format", "jsonl"], &SINCE[..]].concat());
    assert!(!attempts.stdout.is_empty(), "{}", attempts.stderr);
}

#[test]
fn a_question_that_nothing_can_match_says_so() {
    let folder = replayed();
    for (arguments, says) in [
        (&["--since", "2126-01-01"][..], "--since is in the future"),
        (&["--since", "2026-11-20", "--until", "2026-11-19"], "--until is not after --since"),
        (
            &["--verdict", "compliant", "--violation", "never_expires"],
            "no key can match: --violation never_expires",
        ),
        (&["--pending", "--outcome", "deleted"], "no key can match: with the outcome deleted"),
        (&["ACCAEXAMPLEKEY0000001", "--key", "ACCAEXAMPLEKEY0000002"], "--key name the same"),
        (&["ACCAEXAMPLEKEY0000001", "--attempts"], "not of a key"),
    ] {
        let ran = folder.run(&[&["lookup"], arguments].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn a_near_miss_suggests_what_the_ledger_has() {
    let folder = replayed();
    for (arguments, says) in [
        (&["--user", "svc-serch"][..], "no key of user svc-serch; the ledger has svc-search"),
        (&["--actor", "jan.kowalsky"], "no key that jan.kowalsky created; the ledger has jan.kowalski"),
        (
            &["--key", "ACCAEXAMPLEKEY0000061"],
            "no key ACCAEXAMPLEKEY0000061; the ledger has ACCAEXAMPLEKEY00000",
        ),
        (&["--account", "111122223332"], "no key of account 111122223332; the ledger has 111122223333"),
        (
            &["svc-serch"],
            "no key of user svc-serch, and none that svc-serch created; the ledger has svc-search",
        ),
    ] {
        let (ids, stderr) = found(&folder, arguments);
        assert!(ids.is_empty() && stderr.contains(says), "{arguments:?}: {stderr}");
    }
    let ran = folder.run(&["timeline", "svc-serch"]);
    assert!(ran.code == 0 && ran.stderr.contains("; the ledger has svc-search"), "{}", ran.stderr);
    let nothing = "no keys match\nthis was taken for the name of a user or a caller\n".to_owned();
    let (_, stderr) = found(&folder, &["nobody-like-that"]);
    let looked = "note: also looked for callers whose name contains \"nobody-like-that\", in keys created in the last 90 days \
                  (--since changes that)\n";
    assert_eq!(stderr, format!("{looked}{nothing}"));
    let (_, stderr) = found(&folder, &["nobody-like-that", "--since", "200d"]);
    assert_eq!(stderr, nothing);
    assert_eq!(found(&folder, &["svc-search"]).1, "1 key\n", "its user has this name, and no caller");
    let (ids, stderr) = found(&folder, &["ACCAEXAMPLEKEY0000003", "--verdict", "compliant"]);
    assert!(ids.is_empty(), "{ids:?}");
    assert_eq!(stderr, "this key is not in the ledger, or the other filters exclude it\n");
}

#[test]
fn what_no_key_is_found_by_says_what_it_is() {
    let folder = replayed();
    for (text, says) in [
        ("11112222333", "an account has 12 digits, this has 11. If it is the name of an IAM user, give"),
        ("198.51.100.999", "this is no address"),
        ("198.51.100.", "this is no address"),
        ("5d1c003b-7b1e-4c3a-9f00-abc00000003b", "AttributeKey=EventId,AttributeValue=5d1c003b-"),
        ("AKIAIOSFODNN7EXAMPLE", "aws iam get-access-key-last-used --access-key-id AKIAIOSFODNN7EXAMPLE"),
        ("bedrock.amazonaws.com", "`lookup --service bedrock.amazonaws.com`"),
    ] {
        for command in ["lookup", "timeline"] {
            let ran = folder.run(&[command, text]);
            assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{command} {text}: {}", ran.stderr);
            assert!(ran.stderr.contains(says), "{command} {text}: {}", ran.stderr);
        }
    }
    let ids = |text: &str| found(&folder, &[text]).0;
    assert_eq!(ids("jan.kowalski-at-111122223333"), ["16"]);
    assert_eq!(ids("jan.kowalski+1-at-111122223333"), ["16"], "it may be of either user");
    assert_eq!(ids("jan.kowalski-at-444455556666"), [] as [&str; 0]);
    assert_eq!(ids("\"jan.kowalski\","), ["16"]);
    assert_eq!(ids("ACCAEXAMPLEKEY0000016;"), ["16"]);
}

#[test]
fn failed_calls_of_whom_no_key_is_known_are_named() {
    let folder = replayed();
    let attempts = |arguments: &[&str]| {
        let (ids, stderr) = found(&folder, &[arguments, &SINCE].concat());
        assert!(ids.is_empty(), "{ids:?}");
        stderr
    };
    let ran = folder
        .run(&[&["lookup", "--attempts", "--actor", "intern", "--format", "jsonl"], &SINCE[..]].concat());
    assert!(!ran.stdout.is_empty());
    for (arguments, command) in [
        (&["intern"][..], "`bedrock-key-guard lookup --attempts intern`"),
        (&["--actor", "intern"], "`bedrock-key-guard lookup --attempts --actor intern`"),
    ] {
        let stderr = attempts(arguments);
        assert!(
            stderr.contains("note: failed calls and changes of users that match: 1. To see them: "),
            "{stderr}"
        );
        assert!(stderr.contains(command), "{stderr}");
    }
    assert!(!attempts(&["nobody-like-that"]).contains("--attempts"));
}

#[test]
fn keys_are_found_by_how_they_stand() {
    let folder = replayed();
    let all = |arguments: &[&str]| found(&folder, &[arguments, &SINCE].concat());
    let (deleted, _) = all(&["--status", "Deleted"]);
    assert_eq!(deleted, ["03"]);
    let count: usize = ["active", "inactive", "expired", "deleted", "unknown"]
        .iter()
        .map(|status| all(&["--status", status]).0.len())
        .sum();
    assert_eq!(count, all(&[]).0.len(), "each key stands one way");
    let (ids, stderr) = all(&["--outcome", "deleted"]);
    assert!(ids.is_empty() && stderr.contains("--status deleted"), "{stderr}");
}

#[test]
fn a_time_in_the_future_ends_now() {
    let folder = replayed();
    let (ids, stderr) = found(&folder, &["--until", "2999-01-01"]);
    assert!(ids.len() > 9 && !stderr.contains("note:"), "{stderr}");
    let attempts = folder.run(&["lookup", "--attempts", "--until", "2999-01-01", "--format", "jsonl"]);
    assert!(attempts.code == 0 && !attempts.stdout.is_empty(), "{}", attempts.stderr);
}

/// A dry run has no history of its own.
#[test]
fn a_timeline_has_the_last_change_that_a_replay_found() {
    let folder = Folder::new();
    let lines = ["created-for-365-days", "deleted"].map(|name| event(name).to_string()).join("\n");
    let file = folder.write("events.jsonl", lines);
    assert_eq!(folder.run(&["replay", &file]).code, 0);
    let rows = folder.run(&["timeline", "accaexamplekey0000003", "--format", "jsonl"]).json_lines();
    let lines: Vec<_> = rows.iter().map(|row| row["line"].as_str().unwrap()).collect();
    assert_eq!(lines, ["created", "deleted", "dry_run"], "and no end of its lifetime");
    assert_eq!((&rows[1]["source"], &rows[1]["at"]), (&"dry_run".into(), &"2026-11-20T12:42:41Z".into()));
    assert!(rows[1]["actor"].as_str().unwrap().ends_with("/maria.lopez@example.com"));
    let incident = folder.run(&["incident", "accaexamplekey0000003", "--output", "incident"]);
    assert_eq!(incident.code, 0, "{}", incident.stderr);
    let summary = std::fs::read_to_string(folder.at("incident/summary.md")).unwrap();
    assert!(summary.contains("was deleted"), "{summary}");
}

/// A key that was deleted, whichever event is met first.
#[test]
fn a_deleted_key_never_looks_live() {
    for order in [["created-for-365-days", "deleted"], ["deleted", "created-for-365-days"]] {
        let folder = Folder::new();
        let lines = order.map(|name| event(name).to_string()).join("\n");
        let file = folder.write("events.jsonl", lines);
        assert_eq!(folder.run(&["replay", &file]).code, 0);
        let key = "ACCAEXAMPLEKEY0000003";
        let table = folder.run(&[&["lookup", "svc-search"], &WIDE[..]].concat()).stdout;
        let row = table.lines().nth(1).unwrap();
        assert!(row.contains("  deleted ") && row.contains("would have deleted"), "{table}");
        let facts = folder.run(&["lookup", key, "--absolute", "--width", "110"]).stdout;
        insta::assert_snapshot!("deleted-key", without_run_times(&facts));
        let outcome = facts.lines().find(|line| line.starts_with("outcome ")).unwrap();
        assert!(outcome.contains("would have deleted it, had it still been active"), "{outcome}");
        let timeline = folder.run(&["timeline", key, "--format", "jsonl"]);
        let lines: Vec<_> = timeline.json_lines().iter().map(|row| row["line"].clone()).collect();
        assert_eq!(lines, ["created", "deleted", "dry_run"], "its lifetime ended with it");
        assert!(
            timeline.stderr.contains("the last status change is here, and no reset"),
            "{}",
            timeline.stderr
        );
        for width in ["60", "100"] {
            let list = folder.run(&["lookup", "svc-search", "--width", width]).stdout;
            assert!(!list.contains("deleted (dry run)"), "how a key stands is no dry run: {list}");
        }
        let rows = folder.run(&["lookup", key, "--format", "jsonl"]).json_lines();
        assert_eq!((&rows[0]["status"], &rows[0]["status_evidence"]), (&"gone".into(), &"event".into()));
        assert_eq!(rows[0]["status_since"], "2026-11-20T12:42:41Z");
        assert!(rows[0]["status_by"].as_str().unwrap().ends_with("/maria.lopez@example.com"));
        let finding = |format| {
            let text = folder.run(&["lookup", key, "--format", format]).stdout;
            serde_json::from_str::<Value>(&text).unwrap()[0].clone()
        };
        let (ocsf, asff) = (finding("ocsf"), finding("asff"));
        assert_eq!((&ocsf["status"], &asff["RecordState"]), (&"Resolved".into(), &"ARCHIVED".into()));
        assert!(asff["Title"].as_str().unwrap().ends_with("(deleted)"), "{asff}");
        assert_eq!(folder.run(&["report", "--output", "report.html"]).code, 0);
        let page = std::fs::read_to_string(folder.at("report.html")).unwrap();
        assert!(page.contains("\"status\":{\"texts\":[\"Active\",\"Not known\",\"Inactive\",\"Expired\",\"Gone\",\"Deleted\"],\"rows\":[5]}"));
        assert!(page.contains("Would have deleted it, had it still been active"), "{page}");
    }
}

/// The time of the run is another one each time.
fn without_run_times(text: &str) -> String {
    let line =
        |line: &str| if line.starts_with("outcome ") { "outcome …".to_owned() } else { line.to_owned() };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn other_ways_in_are_shown_with_the_user_and_with_its_key() {
    let folder = replayed();
    for arguments in
        [&["--user", "BedrockAPIKey-k3qz"][..], &["BedrockAPIKey-k3qz"], &["ACCAEXAMPLEKEY0000002"]]
    {
        let rows = folder.run(&[&["lookup", "--format", "jsonl"], arguments].concat()).json_lines();
        let changes: Vec<_> = rows.iter().filter(|row| row["line"] == "user_changed").collect();
        assert_eq!(changes.len(), 6, "{arguments:?}");
        assert!(changes.iter().all(|row| row["severity"] == "critical"));
        let table = folder.run(&[&["lookup"], arguments, &WIDE].concat()).stdout;
        assert!(table.contains("critical: other ways in"), "{table}");
        assert!(table.contains("An access key was created"), "{table}");
    }
    assert!(!folder.run(&["lookup", "svc-search"]).stdout.contains("critical"));
}

#[test]
fn tables_fit_the_width_and_keep_ids_whole() {
    let folder = replayed();
    for width in ["240", "140", "100", "60"] {
        let list = [&["lookup", "--violation", "never_expires", "--absolute", "--width", width], &SINCE[..]]
            .concat();
        let table = folder.run(&list).stdout;
        let limit = width.parse().unwrap();
        assert!(table.lines().all(|line| line.chars().count() <= limit), "{width}\n{table}");
        assert_eq!(table.matches("ACCAEXAMPLEKEY00000").count(), 4, "{table}");
        let labels = table.matches("(dry run)").count() + table.matches("would ").count();
        assert_eq!(labels, 4, "each is called a dry run: {table}");
        insta::assert_snapshot!(format!("list-{width}"), table);
    }
    let attempts = [&["lookup", "--attempts", "--absolute", "--width", "140"], &SINCE[..]].concat();
    insta::assert_snapshot!("attempts-140", folder.run(&attempts).stdout);
    let events = concat!(env!("CARGO_MANIFEST_DIR"), "/events");
    for width in ["140", "100", "60"] {
        let ran = folder.run(&["replay", "--width", width, events]);
        insta::assert_snapshot!(format!("replay-{width}"), ran.stdout);
    }
}

#[test]
fn the_ledger_may_be_named_by_a_variable() {
    let folder = replayed();
    std::fs::rename(folder.at("key-guard.db"), folder.at("other.db")).unwrap();
    let with = |value: &str, arguments: &[&str]| {
        CliOutput::of(folder.command(arguments).env("KEY_GUARD_LEDGER", value))
    };
    for arguments in [&["lookup", "svc-search"][..], &["export", "--user", "svc-search"], &["policy", "log"]]
    {
        let ran = with("file:other.db", arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
    }
    let ran = with("file:other.db", &["lookup", "svc-search", "--ledger", "file:nowhere.db"]);
    assert_eq!(ran.code, 1, "the flag goes before");
    assert!(ran.stderr.contains("file:PATH, or dynamodb:bedrock-key-guard"), "{}", ran.stderr);
    let ran = with("nonsense", &["lookup", "svc-search"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("such as dynamodb:bedrock-key-guard"), "{}", ran.stderr);
    assert!(folder.run(&["lookup", "--help"]).stdout.contains("[env: KEY_GUARD_LEDGER]"));
}

/// I8: one that nobody reads was meant for something.
#[test]
fn a_misspelt_variable_is_refused() {
    let folder = replayed();
    let with = |name: &str| CliOutput::of(folder.command(&["lookup"]).env(name, "dynamodb:keys"));
    for name in ["KEY_GUARD_LEDGR", "KEY_GUARD_", "KEY_GUARD_PROFILE"] {
        let ran = with(name);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{name}: {}", ran.stderr);
        let says = format!(
            "error: {name} is unknown: expected KEY_GUARD_LEDGER, or one of the function's: KEY_GUARD_TABLE, "
        );
        assert!(ran.stderr.starts_with(&says), "{}", ran.stderr);
    }
    for name in ["KEY_GUARD_TABLE", "KEY_GUARDIAN"] {
        assert_eq!(with(name).code, 0, "{name}: the function's, and others'");
    }
}

#[test]
fn profile_and_region_are_flags_of_every_command() {
    let (folder, dynamo) = (Folder::new(), Dynamo::start());
    in_runtime(async { dynamo.ledger("keys").await });
    folder.write("config", "[profile night]\nregion = eu-central-1\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = secret\n");
    let run = |arguments: &[&str]| {
        let mut command = folder.command(arguments);
        command.env("AWS_CONFIG_FILE", folder.at("config")).env("AWS_EC2_METADATA_DISABLED", "true");
        CliOutput::of(command.env("AWS_ENDPOINT_URL_DYNAMODB", dynamo.url()))
    };
    let lookup = ["lookup", "--pending", "--ledger", "dynamodb:keys"];
    let ran = run(&lookup);
    assert_eq!(ran.code, 1, "neither region nor credentials");
    assert!(ran.stderr.contains("error: no region: set AWS_REGION or --region"), "{}", ran.stderr);
    // Variables may be those of another account.
    let mut command = folder.command(&[&lookup[..], &["--profile", "nobody"]].concat());
    command.envs(AWS_VARIABLES).env("AWS_CONFIG_FILE", folder.at("config"));
    let ran = CliOutput::of(command.env("AWS_ENDPOINT_URL_DYNAMODB", dynamo.url()));
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("error: the AWS profile nobody (--profile) has no usable"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("\ncause: ") && ran.stderr.contains("profile `nobody` was not defined"),
        "{}",
        ran.stderr
    );
    let ran = run(&[&lookup[..], &["--profile", "night"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("no keys match; 4 calls, "), "{}", ran.stderr);
    let ran = CliOutput::of(
        folder
            .command(&[&["--region", "eu-central-1"], &lookup[..]].concat())
            .envs(AWS_VARIABLES)
            .env_remove("AWS_REGION")
            .env("AWS_ENDPOINT_URL_DYNAMODB", dynamo.url()),
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = run(&["lookup", "--pending", "--ledger", "dynamodb:nowhere", "--profile", "night"]);
    assert!(ran.stderr.contains("note: a deployed ledger is dynamodb:bedrock-key-guard"), "{}", ran.stderr);
}

#[test]
fn what_a_command_reads_is_never_written_over() {
    let folder = replayed();
    folder.write("policy.toml", key_guard_core::policy::BUILT_IN);
    std::fs::create_dir(folder.at("sub")).unwrap();
    let before = std::fs::read(folder.at("key-guard.db")).unwrap();
    for (command, output, says) in [
        ("report", "policy.toml", "policy.toml: is read by this command"),
        ("report", "sub/../policy.toml", "policy.toml: is read by this command"),
        ("report", "key-guard.db", "is a file of the ledger"),
        ("report", "sub/../key-guard.db-wal", "is a file of the ledger"),
        ("export", "key-guard.db-shm", "is a file of the ledger"),
    ] {
        for force in [&[][..], &["--force"]] {
            let policy = if command == "report" { &["--policy", "policy.toml"][..] } else { &[] };
            let ran = folder.run(&[&[command, "--output", output], policy, force].concat());
            assert!(ran.code == 1 && ran.stderr.contains(says), "{output}: {}", ran.stderr);
        }
    }
    assert_eq!(std::fs::read(folder.at("key-guard.db")).unwrap(), before);
    assert_eq!(std::fs::read_to_string(folder.at("policy.toml")).unwrap(), key_guard_core::policy::BUILT_IN);
}

#[test]
fn output_names_its_file_and_overwrites_none_without_force() {
    let folder = replayed();
    for (command, output) in [("export", "ledger.jsonl"), ("report", "report.html")] {
        let arguments = [command, "--output", output];
        let first = folder.run(&arguments);
        assert!(
            first.code == 0 && first.stderr.contains(&format!("written to {output}")),
            "{}",
            first.stderr
        );
        folder.write(output, "mine");
        let second = folder.run(&arguments);
        assert_eq!(second.code, 1);
        let says = format!("{output}: is there already; --force overwrites it");
        assert!(second.stderr.contains(&says), "{}", second.stderr);
        assert_eq!(std::fs::read(folder.at(output)).unwrap(), b"mine");
        assert_eq!(folder.run(&[&arguments[..], &["--force"]].concat()).code, 0);
        assert_ne!(std::fs::read(folder.at(output)).unwrap(), b"mine");
    }
}

#[test]
fn a_file_of_another_format_is_one_error() {
    let folder = replayed();
    assert_eq!(folder.run(&["export", "--format", "parquet", "--output", "keys.parquet"]).code, 0);
    assert_eq!(folder.run(&["export", "--output", "keys.jsonl"]).code, 0);
    folder.write("rows.jsonl", folder.run(&["lookup", "svc-search", "--format", "jsonl"]).stdout);
    folder.write("keys.csv", "a,b\n".repeat(1_000));
    folder.write("pretty.json", format!("{:#}", event("created-for-91-days")));
    folder.write("keys.gz", [0x1f, 0x8b, 8, 0]);
    for (file, says) in [
        ("keys.parquet", "is a Parquet file"),
        ("rows.jsonl", "no items as `export` writes them"),
        ("keys.csv", "no items as `export` writes them"),
        ("pretty.json", "no items as `export` writes them"),
        ("keys.gz", "compressed with gzip"),
    ] {
        let ran = folder.run(&["import", "--ledger", "file:copy.db", file]);
        assert_eq!((ran.code, ran.stderr.lines().count()), (1, 2), "{file}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
        let ran = folder.run(&["import", "--ledger", "file:copy.db", file, "keys.jsonl"]);
        assert_eq!(ran.code, 4, "the other file was imported: {}", ran.stderr);
    }
}

#[test]
fn a_dry_run_under_a_newer_policy_replaces_the_older_one() {
    let folder = Folder::new();
    let file = folder.write("k.json", event("created-for-91-days").to_string());
    let policy = |name: &str, days: u32| {
        let text = format!(
            "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = {days}\nresponse = \"delete\"\n"
        );
        folder.write(name, text)
    };
    let old = policy("old.toml", 90);
    let new = policy("new.toml", 100);
    let row = |policy: &str| {
        assert_eq!(folder.run(&["replay", "--policy", policy, &file]).code, 0);
        folder.run(&["lookup", "svc-translate", "--format", "jsonl"]).json_lines()
    };
    let (first, second) = (row(&old), row(&new));
    assert_eq!((first.len(), &first[0]["verdict"]), (1, &"noncompliant".into()));
    assert_eq!(
        (second.len(), &second[0]["verdict"], &second[0]["limit_days"]),
        (1, &"compliant".into(), &100.into())
    );
    assert_ne!(first[0]["policy_sha256"], second[0]["policy_sha256"]);
}
