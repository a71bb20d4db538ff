//! What the command line answers from a ledger, and exports and imports.

use std::collections::BTreeSet;
use std::path::Path;

use crate::reading::{KEYS, file, in_runtime, replay, write_keys};
use crate::support::cli::{AWS_VARIABLES, CliOutput, Folder};
use crate::support::dynamodb::Dynamo;
use crate::support::{Fault, OWN};
use chrono::DateTime;
use serde_json::{Value, json};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder with a ledger of what `replay events/` writes into a new one.
fn replayed() -> Folder {
    let folder = Folder::new();
    in_runtime(async { replay(&file(&folder.at("key-guard.db"))).await });
    folder
}

/// Times at which a test runs, as one word: an example's are others.
fn timeless(text: &str) -> String {
    let is_time = |word: &str| word.len() == 20 && DateTime::parse_from_rfc3339(word).is_ok();
    let of_the_run = |word: &str| is_time(word) && !word.starts_with("2026-11-20");
    let line = |line: &str| {
        let words = line.split(' ').map(|word| if of_the_run(word) { "2026-11-24T12:00:00Z" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_docs_show_a_real_investigation() {
    run_session_of("docs/lookup.md", &replayed());
}

/// Runs the commands that a page shows, and compares what they print.
fn run_session_of(page: &str, folder: &Folder) {
    let page = std::fs::read_to_string(root().join(page)).unwrap();
    let session = page.split("```console\n").nth(1).unwrap().split("```").next().unwrap();
    let mut commands = 0;
    for part in session.split("$ bedrock-key-guard ").skip(1) {
        let (command, expected) = part.split_once('\n').unwrap();
        let ran = folder.run(&command.split(' ').collect::<Vec<_>>());
        assert_eq!(ran.code, 0, "{command}: {}", ran.stderr);
        assert_eq!(
            timeless(expected.trim_end()),
            timeless(ran.stdout.trim_end()),
            "{command}\n{}",
            ran.stdout
        );
        commands += 1;
    }
    assert_eq!(commands, 4);
}

/// Whatever else happened to a key later, a replay that changes nothing leaves one dry run of it, and no history.
#[test]
fn a_replay_without_apply_leaves_dry_runs_and_attempts() {
    let folder = replayed();
    let ran = folder.run(&["lookup", "--key", "ACCAEXAMPLEKEY0000003", "--format", "jsonl"]);
    let rows = ran.json_lines();
    assert_eq!(rows.iter().map(|row| &row["line"]).collect::<Vec<_>>(), ["dry_run"]);
    assert_eq!(rows[0]["event_id"], "5d1c000b-7b1e-4c3a-9f00-abc00000000b", "its creation's");
    let since = ["--since", "2026-11-01", "--until", "2026-11-30"];
    let ran = folder.run(&[&["lookup", "--attempts", "--format", "jsonl"], &since[..]].concat());
    let rows = ran.json_lines();
    let lines: BTreeSet<_> = rows.iter().map(|row| row["line"].as_str().unwrap()).collect();
    assert_eq!(lines, BTreeSet::from(["attempts", "user_changed"]));
    assert!(rows.iter().all(|row| row.as_object().unwrap().len() == 55), "the columns of keys");
    assert!(ran.stderr.starts_with("9 attempts in 9 rows"), "{}", ran.stderr);
    let wide = ["--width", "400", "--absolute"];
    let table = folder.run(&[&["lookup", "--attempts"], &since[..], &wide].concat()).stdout;
    assert!(table.contains("CreateServiceSpecificCredential failed with AccessDenied."), "{table}");
    assert!(table.contains("An access key was created for BedrockAPIKey-k3qz"), "{table}");
    let findings = folder.run(&[&["lookup", "--attempts", "--format", "ocsf"], &since[..]].concat());
    assert_eq!((findings.code, findings.stdout.as_str()), (2, ""));
}

#[test]
fn what_is_asked_wrongly_is_answered_with_what_is_right() {
    let folder = replayed();
    for (arguments, says) in [
        (&["--verdict", "bad"][..], "compliant, exempt, noncompliant, undetermined"),
        (&["--violation", "bad"], "never_expires, lifetime_exceeds_limit, long_term_key_forbidden"),
        (&["--outcome", "bad"], "already_inactive"),
        (&["--service", "s3.example.com"], "bedrock.amazonaws.com"),
        (
            &["--since", "yesterday"],
            "2026-11-20T09:00:00Z, a date like 2026-11-20 (UTC), or how long ago: 30m, 12h, 7d",
        ),
        (&["--since", "2026-11-20", "--until", "2026-11-19"], "--until is not after --since"),
        (&["--since", "2016-01-01"], "narrow it with --since and --until"),
        (&["--key", "ACCA"], "20 to 128"),
        (&["--page", "2"], "like 2026-11-20T09:07:00Z/ACCAEXAMPLEKEY0000001"),
        (&["--stats", "--format", "asff"], "table, jsonl or csv"),
        (&["--limit", "0"], "from 1 up, or all"),
        (&["--actor", " "], "an ARN or a name"),
    ] {
        let ran = folder.run(&[&["lookup"], arguments].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
    }
    for format in ["table", "jsonl", "csv", "ocsf", "asff"] {
        let ran = folder.run(&["lookup", "--user", "nobody", "--format", format]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.starts_with("no keys match"), "{}", ran.stderr);
        assert!(format == "csv" || ran.stdout.trim().is_empty() || ran.stdout == "[]\n", "{}", ran.stdout);
    }
}

#[test]
fn a_ledger_that_is_missing_is_named_and_not_made() {
    let folder = Folder::new();
    for command in ["lookup", "export", "report"] {
        let ran = folder.run(&[command, "--ledger", "file:nowhere.db"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
        assert!(ran.stderr.contains("nowhere.db") && ran.stderr.contains("no such file"), "{}", ran.stderr);
        assert!(!folder.at("nowhere.db").exists());
    }
    let dynamo = Dynamo::start();
    let aws = |arguments: &[&str]| {
        let mut command = folder.command(arguments);
        command.envs(AWS_VARIABLES).env("AWS_ENDPOINT_URL_DYNAMODB", dynamo.url());
        CliOutput::of(&mut command)
    };
    let ran = aws(&["lookup", "--ledger", "dynamodb:no-such-table", "--pending"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("no-such-table does not exist"), "{}", ran.stderr);
    dynamo.fault("Query", Fault::Refused(400, "AccessDeniedException"), 4);
    let ran = aws(&["lookup", "--ledger", "dynamodb:keys", "--pending"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("needs the IAM action dynamodb:Query on the table and its indexes"),
        "{}",
        ran.stderr
    );
    dynamo.fault("Scan", Fault::Refused(400, "AccessDeniedException"), 1);
    let ran = aws(&["export", "--ledger", "dynamodb:keys"]);
    assert!(ran.stderr.contains("dynamodb:Scan"), "{}", ran.stderr);
}

#[test]
fn a_file_that_is_no_ledger_is_named_with_what_it_is() {
    let folder = Folder::new();
    folder.write("text", "no database");
    std::fs::create_dir(folder.at("folder")).unwrap();
    rusqlite::Connection::open(folder.at("other")).unwrap().execute_batch("VACUUM").unwrap();
    rusqlite::Connection::open(folder.at("foreign"))
        .unwrap()
        .execute_batch("CREATE TABLE bookmarks (url)")
        .unwrap();
    let foreign = std::fs::read(folder.at("foreign")).unwrap();
    for (name, says) in [
        ("text", "this file is not a ledger"),
        ("folder", "is a directory"),
        ("other", "is an empty database"),
        ("nothing", "no such file"),
        ("foreign", "is a database of another program"),
    ] {
        for command in ["lookup", "report", "export"] {
            let ran = folder.run(&[command, "--ledger", &format!("file:{name}")]);
            assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{command} {name}");
            assert!(ran.stderr.contains(&format!("error: {name}: ")), "{}", ran.stderr);
            assert!(ran.stderr.contains(says), "{command} {name}: {}", ran.stderr);
        }
    }
    assert_eq!(std::fs::read(folder.at("text")).unwrap(), b"no database");
    let events = root().join("events");
    let ran = folder.run(&["replay", "--ledger", "file:foreign", events.to_str().unwrap()]);
    assert!(ran.code == 1 && ran.stderr.contains("another program"), "{}", ran.stderr);
    let import = folder.run_with_input(&["import", "--ledger", "file:foreign", "-"], b"");
    assert!(import.code == 1 && import.stderr.contains("another program"), "{}", import.stderr);
    for stderr in [ran.stderr, import.stderr] {
        assert!(!stderr.contains(" read: ") && !stderr.contains(" read; "), "nothing began: {stderr}");
    }
    assert_eq!(std::fs::read(folder.at("foreign")).unwrap(), foreign);
    assert_eq!(folder.names(), ["folder", "foreign", "other", "text"].map(str::to_owned).into());
}

/// One file that cannot be read hides none of the others; what cannot be written leaves nothing half done.
#[test]
fn a_file_that_cannot_be_read_or_written_is_named_and_the_rest_goes_on() {
    let folder = replayed();
    std::fs::create_dir(folder.at("folder")).unwrap();
    let ran = folder.run(&["export", "--output", "all.jsonl"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = folder.run(&["import", "--ledger", "file:copy.db", "folder", "all.jsonl"]);
    let says = "error: folder: is a directory, and import takes files: name a file in it\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (1, says));
    assert!(!folder.at("copy.db").exists());
    folder.write("folder/ledger.jsonl", "");
    let ran = folder.run(&["import", "--ledger", "file:copy.db", "folder"]);
    assert!(ran.code == 1 && ran.stderr.contains(": name folder/ledger.jsonl\n"), "{}", ran.stderr);
    for (command, output, says) in [
        ("export", "folder", "folder: is a directory; --output takes a file"),
        ("report", "folder", "folder: is a directory; --output takes a file"),
        ("export", "nowhere/all.jsonl", "the folder nowhere does not exist: make it first"),
        ("report", "nowhere/all.html", "the folder nowhere does not exist: make it first"),
        ("export", "key-guard.db", "key-guard.db: is a file of the ledger; --output would overwrite it"),
        ("report", "./folder/../key-guard.db", "is a file of the ledger; --output would overwrite it"),
    ] {
        let ran = folder.run(&[command, "--output", output]);
        assert_eq!(ran.code, 1, "{command} {output}");
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
    assert_eq!(folder.names(), ["all.jsonl", "folder", "key-guard.db"].map(str::to_owned).into());
    assert_eq!(folder.run(&["lookup", "--account", OWN]).code, 0, "the ledger is whole");
}

/// A link stays one, and what is no regular file, too.
#[cfg(unix)]
#[test]
fn output_goes_to_what_the_path_leads_to() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = replayed();
    folder.write("target", "old");
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(folder.at("target"), private).unwrap();
    std::os::unix::fs::symlink("target", folder.at("link")).unwrap();
    std::os::unix::fs::symlink("/dev/null", folder.at("null")).unwrap();
    for output in ["link", "null", "new"] {
        let ran = folder.run(&["export", "--force", "--output", output]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    assert!(folder.at("link").is_symlink() && folder.at("null").is_symlink());
    assert!(!Path::new("/dev/null").is_file());
    let [target, new] = ["target", "new"].map(|name| std::fs::read_to_string(folder.at(name)).unwrap());
    assert_eq!(target, new);
    assert_eq!(target.lines().count(), 29);
    let mode = |name: &str| std::fs::metadata(folder.at(name)).unwrap().permissions().mode();
    assert_eq!(mode("target") & 0o777, 0o600, "what was private stays it");
    let ran = folder.run(&["report", "--output", "report.html"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for name in ["new", "report.html", "key-guard.db"] {
        assert_eq!(mode(name) & 0o777, 0o600, "{name}");
    }
}

/// What no table would take, or find again, is refused.
#[test]
fn what_cannot_be_stored_is_named_when_it_is_imported() {
    let folder = replayed();
    let item = folder.run(&["export", "--key", "ACCAEXAMPLEKEY0000003"]).stdout;
    let import = |name: &str, text: &str| {
        folder.run(&["import", "--ledger", "file:copy.db", &folder.write(name, text)])
    };
    let late = item.replace("\"at\":\"2026-", "\"at\":\"+12026-");
    assert_ne!(late, item);
    let ran = import("late", &late);
    assert_eq!(ran.code, 4);
    assert!(ran.stderr.contains("late: line 1: a time is before 1970 or after 9999"), "{}", ran.stderr);
    let large = item.replace("\"user_agent\":\"", &format!("\"user_agent\":\"{}", "x".repeat(600 << 10)));
    let ran = import("large", &format!("{}\n{item}\n", large.trim_end()));
    assert_eq!(ran.code, 4);
    assert!(ran.stderr.contains("large: line 1: it is longer than 600 KiB"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("1 item read; new: 0 states of keys, 0 lines of history, 1 dry run of a key,"),
        "{}",
        ran.stderr
    );
}

/// A state that cannot be read hides neither the key's history nor the other keys.
#[test]
fn a_state_that_cannot_be_read_hides_nothing_else() {
    let folder = Folder::new();
    in_runtime(async { write_keys(&file(&folder.at("key-guard.db"))).await });
    folder.ledger().change(|item| {
        if item["pk"] == format!("KEY#{}", KEYS[1].id) && item["sk"] == format!("{OWN}#STATE") {
            item.remove("user").unwrap();
        }
    });
    let bad = format!("{} / {OWN}#STATE cannot be read: missing field `user`", KEYS[1].id);
    for (arguments, lines) in [
        // Its creation, the intent and the outcome.
        (&["lookup", "--key", KEYS[1].id, "--format", "jsonl"][..], 3),
        (&["export", "--key", KEYS[1].id], 2),
        (&["lookup", "--account", OWN, "--format", "jsonl"], 4),
    ] {
        let ran = folder.run(arguments);
        assert_eq!((ran.code, ran.stdout.lines().count()), (4, lines), "{arguments:?}: {}", ran.stdout);
        assert!(ran.stderr.contains(&bad), "{}", ran.stderr);
    }
    let ran = folder.run(&["lookup", "--key", KEYS[1].id]);
    assert!(
        ran.stdout.starts_with("WHEN") && ran.stdout.contains("The guard deleted the key."),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_half_written_item_is_reported_and_the_rest_is_shown() {
    let folder = replayed();
    folder.ledger().execute(
        "INSERT INTO items (pk, sk, version, body, month_key, account_key, at_key) VALUES ('KEY#111122223333#\u{1b}[31mhalf', \
         '111122223333#STATE', 1, '{\"v\":4,\"kind\":\"record\"}', '2026-11#0', 'ACCOUNT#111122223333#0', \
         '2026-11-20T09:00:00Z#half')",
    );
    let days = ["--since", "2026-11-20", "--until", "2026-11-20"];
    for arguments in [
        &[&["lookup", "--format", "jsonl"], &days[..]].concat()[..],
        &["lookup", "--account", "111122223333", "--format", "jsonl"],
        &["lookup", "--account", "111122223333", "--stats"],
        &["report", "--account", "111122223333", "--output", "-"],
        &["export"],
    ] {
        let ran = folder.run(arguments);
        assert_eq!(ran.code, 4, "{arguments:?}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("half / 111122223333#STATE cannot be read: "),
            "{arguments:?}: {}",
            ran.stderr
        );
        assert!(!ran.stderr.contains('\u{1b}'));
        assert!(ran.stdout.contains("svc-chatbot") || ran.stdout.contains("20"), "{}", ran.stdout);
    }
}

#[test]
fn pages_go_on_where_they_ended() {
    let folder = replayed();
    let (mut found, mut page) = (Vec::new(), None::<String>);
    loop {
        let mut arguments = vec!["lookup", "--account", "111122223333", "--limit", "4", "--format", "csv"];
        if let Some(page) = &page {
            arguments.extend(["--page", page]);
        }
        let ran = folder.run(&arguments);
        let rows: Vec<_> = ran.stdout.lines().skip(1).map(str::to_owned).collect();
        assert!(rows.len() <= 4);
        found.extend(rows);
        page = ran.stderr.split("continue with --page ").nth(1).map(|page| page.trim().to_owned());
        if page.is_none() {
            break;
        }
    }
    let all = folder.run(&["lookup", "--account", "111122223333", "--format", "csv"]);
    assert_eq!(found, all.stdout.lines().skip(1).map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(found.len(), 20);
}

/// Whatever has to be left out or wrapped, the table keeps to its width, and what is copied from it is whole.
#[test]
fn the_table_fits_its_width() {
    let folder = replayed();
    for (width, last) in [("140", "OUTCOME"), ("220", "FROM")] {
        let question = ["lookup", "--account", OWN, "--limit", "all", "--width", width];
        let CliOutput { stdout, .. } = folder.run(&question);
        let lines: Vec<_> = stdout.lines().collect();
        let widest = lines.iter().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= width.parse().unwrap(), "{width}: {widest}\n{stdout}");
        assert_eq!(lines[0].split_whitespace().last(), Some(last), "{}", lines[0]);
        for id in ["ACCAEXAMPLEKEY0000001", "ACCAEXAMPLEKEY0000016"] {
            assert!(stdout.contains(id), "{width}: {id}");
        }
    }
}

#[test]
fn scripts_find_the_same_columns_whatever_was_asked() {
    let folder = replayed();
    let header = |arguments: &[&str]| {
        let ran = folder.run(&[&["lookup", "--format", "csv"], arguments].concat());
        ran.stdout.lines().next().unwrap().to_owned()
    };
    let expected = "\"line\",\"at\",\"cause\",\"account\",\"service\",\"user\",\"credential_id\",\"created_at\",\
        \"expires_at\",\"lifetime_days\",\"limit_days\",\"verdict\",\"violation\",\"severity\",\"status\",\"response\",\"outcome\",\"reason\",\
        \"remediation\",\"actor\",\"source_ip\",\"user_agent\",\"event_id\",\"event_time\",\"policy_sha256\",\"other_names\",\
        \"actor_type\",\"session_issuer\",\"mfa\",\"console\",\"on_behalf_of\",\"identity_store\",\"issued_by\",\"issued_to\",\"delegate\",\"dry_run\",\"expiration\",\"status_by\",\"status_since\",\"status_evidence\",\"last_seen_at\",\
        \"first_assessed_at\",\"changed_at\",\"acted_at\",\"delete_after\",\"pending_since\",\"leased_until\",\"unreported\",\
        \"count\",\"first_at\",\"last_at\",\"users\",\"more_users\",\"services\",\"latest_principal\"";
    for arguments in [
        &["--pending"][..],
        &["--key", "ACCAEXAMPLEKEY0000001"],
        &["--account", "111122223333"],
        &["--attempts", "--account", "111122223333"],
    ] {
        assert_eq!(header(arguments), expected);
    }
    let ran = folder.run(&["lookup", "--key", "ACCAEXAMPLEKEY0000001", "--format", "jsonl"]);
    let rows = ran.json_lines();
    let lines: Vec<_> = rows.iter().map(|row| row["line"].as_str().unwrap()).collect();
    assert_eq!(lines, ["dry_run"]);
    assert_eq!([&rows[0]["expiration"], &rows[0]["expires_at"]], [&json!("never"), &json!(null)]);
    let count = |arguments: &[&str]| {
        folder
            .run(&[&["lookup", "--stats", "--format", "jsonl"], arguments].concat())
            .json_lines()
            .into_iter()
            .filter(|row| row["by"] == "verdict")
            .map(|row| (row["value"].as_str().unwrap().to_owned(), row["count"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    let counts = count(&["--account", "111122223333"]);
    assert_eq!(
        counts,
        [("compliant".to_owned(), 10), ("noncompliant".to_owned(), 9), ("undetermined".to_owned(), 1)]
    );
}

/// User names are harmless by their alphabet; everything else in an event is an attacker's to choose. What is in
/// the table may have been put there past the guard.
#[test]
fn hostile_text_is_inert_wherever_it_is_shown() {
    const HOSTILE: &str = "=HYPERLINK(\"x\")</script><script>alert(1)</script>\u{1b}]0;owned\u{7}\u{202e}";
    let folder = replayed();
    in_runtime(async { write_keys(&file(&folder.at("key-guard.db"))).await });
    folder.ledger().change(|item| {
        for event in ["creation", "event"] {
            let Some(event) = item.get_mut(event) else { continue };
            for name in ["user_agent", "source_ip"] {
                event[name] = HOSTILE.into();
            }
            for name in ["principal", "session_issuer", "kind"] {
                event["actor"][name] = HOSTILE.into();
            }
        }
        if let Some(policy) = item.get_mut("policy_sha256") {
            *policy = HOSTILE.into();
        }
    });
    let id = KEYS[1].id;
    let account = ["--account", "111122223333"];
    for arguments in [
        &[&["lookup"], &account[..]].concat()[..],
        &["lookup", "--key", id],
        &["lookup", "--key", id, "--width", "80"],
        &["lookup", "--key", id, "--format", "csv"],
        &["lookup", "--key", id, "--format", "jsonl"],
        &["lookup", "--key", "ACCAEXAMPLEKEY0000001"],
        &[&["lookup", "--stats"], &account[..]].concat(),
        &[&["lookup", "--attempts"], &account[..]].concat(),
        &[&["lookup", "--attempts", "--format", "csv"], &account[..]].concat(),
        &[&["lookup", "--format", "ocsf"], &account[..]].concat(),
        &[&["lookup", "--format", "asff"], &account[..]].concat(),
        &[&["report", "--output", "-"], &account[..]].concat(),
    ] {
        let ran = folder.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        for steers in ['\u{1b}', '\u{7}', '\u{202e}'] {
            let shown = format!("{}{}", ran.stdout, ran.stderr);
            assert!(!shown.contains(steers), "{arguments:?}: {steers:?} in {shown:?}");
        }
        if arguments.contains(&"csv") {
            assert!(
                ran.stdout.contains("\"'=HYPERLINK(") && !ran.stdout.contains("\"=HYPERLINK("),
                "{}",
                ran.stdout
            );
        }
        if arguments.contains(&"report") {
            assert_eq!(ran.stdout.matches("<script").count(), 3, "the data, the details and the page's own");
            assert!(!ran.stdout.contains("<script>alert"), "{}", ran.stdout);
        }
    }
}

#[test]
fn what_was_exported_comes_back_the_same() {
    let folder = replayed();
    assert_eq!(folder.run(&["export", "--output", "all.jsonl"]).code, 0);
    assert_eq!(
        folder
            .run(&[
                "export",
                "--violation",
                "never_expires",
                "--since",
                "2026-11-01",
                "--output",
                "some.jsonl"
            ])
            .code,
        0
    );
    let some = std::fs::read_to_string(folder.at("some.jsonl")).unwrap();
    let users: BTreeSet<String> = some
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["user"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        users.into_iter().collect::<Vec<_>>(),
        ["BedrockAPIKey-k3qz", "svc-chatbot", "svc-legacy", "svc-shouting"]
    );
    for (ledger, files) in [
        ("a", ["all.jsonl", "some.jsonl"]),
        ("b", ["some.jsonl", "all.jsonl"]),
        ("c", ["all.jsonl", "all.jsonl"]),
    ] {
        let place = format!("file:{ledger}.db");
        let ran = folder.run(&["import", "--ledger", &place, files[0], files[1]]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let again = folder.run(&["export", "--ledger", &place]);
        assert_eq!(again.stdout, std::fs::read_to_string(folder.at("all.jsonl")).unwrap());
    }
    let text = std::fs::read_to_string(folder.at("all.jsonl")).unwrap();
    let broken = format!("{text}oops\n\n{{\"v\": 7}}\n");
    folder.write("broken.jsonl", broken);
    let ran = folder.run(&["import", "--ledger", "file:d.db", "broken.jsonl"]);
    assert_eq!(ran.code, 4);
    assert!(ran.stderr.contains("broken.jsonl: line 30: expected value; passed over"), "{}", ran.stderr);
    assert!(ran.stderr.contains("line 32: its schema version is 7; this build reads 4"), "{}", ran.stderr);
    let counts = "29 items read; new: 0 states of keys, 0 lines of history, 20 dry runs of keys, 3 counts of attempts, 6 changes of users, 0 keys that nobody \
                  judged, uses of the keys of 0 users, 0 versions of the policy; 0 keys were known, 0 of them with a newer state now; 2 unreadable";
    assert!(ran.stderr.contains(counts), "{}", ran.stderr);
    assert_eq!(folder.run(&["import", "no-such-file"]).code, 1);
}
