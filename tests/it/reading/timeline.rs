//! `timeline` and `incident`: everything that happened to a key and its user, from a ledger file.

use std::collections::BTreeSet;
use std::path::Path;

use bedrock_key_guard::ledger::audit::{AuditEvent, FailedCall, UserChanged};
use bedrock_key_guard::ledger::store::Ledger;
use key_guard_core::cloudtrail::{Attempt, Call, CredentialCall, UserCall, UserChange};
use key_guard_core::key::UserName;
use key_guard_core::lifecycle::effect::{Change, HeardEvent};
use key_guard_core::lifecycle::state::UnknownFields;
use key_guard_core::ports::KeyStore as _;
use key_guard_core::usage::{KnownUse, UseRun};
use serde_json::{Value, json};

use super::{
    CI, Fate, JAN, KEYS, MARIA, TestKey, caused_by, commit, file, heard, in_runtime, line, now, policy,
    put_dry_run, time, write_keys,
};
use crate::support::cli::{CliOutput, Folder};
use crate::support::{OTHER, OWN};

/// A pending key of `Svc-Chatbot`, which was deactivated, activated and reset.
const KEY: TestKey = KEYS[4];

/// Its user was `svc-chatbot` once, and has another key under its new name.
const RENAMED: TestKey = TestKey {
    id: "ACCALOOKUP00000000008",
    user: "svc-talkbot",
    at: "2026-11-21T09:00:00Z",
    days: Some(30),
    fate: Fate::Open,
    ..KEYS[1]
};
const UNDER_NEW_NAME: TestKey =
    TestKey { id: "ACCALOOKUP00000000009", at: "2026-11-22T09:00:00Z", ..RENAMED };

const DAY: [&str; 5] = ["--since", "2026-11-20", "--until", "2026-11-20", "--absolute"];

fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

/// A failed call at a time of 20 November 2026.
fn failed(account: &TestKey, at: &str, by: &str, about: &str) -> AuditEvent {
    let mut provenance = account.provenance();
    provenance.event_id = format!("{}-failed-{about}", at.replace(':', "")).parse().unwrap();
    provenance.event_time = time(&format!("2026-11-20T{at}Z"));
    provenance.actor.principal = Some(by.to_owned());
    provenance.actor.session_issuer = None;
    let attempt = Attempt {
        call: Call::Credential(CredentialCall::Create),
        error_code: "LimitExceeded".to_owned(),
        user: Some(user(about)),
        service: None,
    };
    AuditEvent::FailedCall(FailedCall { provenance, attempt })
}

async fn record(store: &Ledger, events: &[AuditEvent]) {
    for recorded in store.record_audit_events(events).await {
        recorded.unwrap();
    }
}

async fn write_user(store: &Ledger) {
    let holder = format!("arn:aws:iam::{OWN}:user/svc-chatbot");
    let mut provenance = KEY.provenance();
    provenance.event_id = "access-key-of-svc-chatbot".parse().unwrap();
    provenance.event_time = time("2026-11-20T10:10:00Z");
    let change = UserChange { call: UserCall::CreateAccessKey, user: user("svc-chatbot") };
    let events = [
        failed(&KEY, "10:20:00", JAN, "svc-chatbot"),
        failed(&KEY, "10:21:00", JAN, "SVC-chatbot"),
        failed(&KEY, "10:25:00", JAN, "svc-else"),
        failed(&KEY, "10:30:00", &holder, "svc-victim"),
        failed(&KEY, "10:40:00", MARIA, "svc-of-nobody"),
        failed(&KEYS[2], "10:50:00", CI, "svc-chatbot"),
        AuditEvent::UserChanged(UserChanged { provenance, change }),
    ];
    record(store, &events).await;
    let latest = UseRun {
        at: time("2026-11-24T08:00:00Z"),
        calls: 17,
        first: time("2026-11-20T11:00:00Z"),
        last: time("2026-11-22T23:59:59Z"),
    };
    let known = KnownUse {
        account: OWN.parse().unwrap(),
        user: user("svc-chatbot"),
        first_used_at: latest.first,
        last_used_at: latest.last,
        services: ["bedrock.amazonaws.com".to_owned()].into(),
        models: ["anthropic.claude-sonnet-4-6".to_owned()].into(),
        latest,
        unknown_fields: UnknownFields::default(),
    };
    assert_eq!(store.record_uses(&[known]).await.unwrap().all().unwrap(), 1);
}

/// [`KEYS`], what happened to one of them and its user, and two keys under the user's new name.
fn ledger() -> Folder {
    let folder = Folder::new();
    in_runtime(async {
        let store = file(&folder.at("key-guard.db"));
        write_keys(&store).await;
        for (seconds, event, by) in [
            (60, HeardEvent::Deactivated, JAN),
            (120, HeardEvent::Activated, MARIA),
            (180, HeardEvent::Reset, MARIA),
        ] {
            store.append(&heard(&KEY, seconds, event, by)).await.unwrap();
        }
        put_dry_run(&store, KEY.dry_run(&policy(), now())).await;
        let mut record = RENAMED.record();
        record.facts.other_names = BTreeSet::from([user("svc-chatbot")]);
        let cause = caused_by(HeardEvent::Created, RENAMED.provenance());
        commit(&store, 0, record, line(&RENAMED, 4, cause, Change::Assessed)).await;
        UNDER_NEW_NAME.write(&store).await;
        write_user(&store).await;
    });
    folder
}

fn run(folder: &Folder, arguments: &[&str]) -> CliOutput {
    let ran = folder.run(arguments);
    assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
    ran
}

fn rows(folder: &Folder, arguments: &[&str]) -> Vec<Value> {
    run(folder, &[&["timeline", "--format", "jsonl"], arguments].concat()).json_lines()
}

#[test]
fn a_key_has_one_list_of_everything_that_happened() {
    let folder = ledger();
    let ran = run(&folder, &["timeline", KEY.id, "--absolute"]);
    insta::assert_snapshot!("timeline-key", format!("{}--- stderr ---\n{}", ran.stdout, ran.stderr));
    insta::assert_snapshot!(
        "timeline-key-jsonl",
        run(&folder, &["timeline", KEY.id, "--format", "jsonl"]).stdout
    );
    let csv = run(&folder, &[&["timeline", KEY.id, "--format", "csv"], &DAY[..]].concat()).stdout;
    insta::assert_snapshot!("timeline-key-csv", csv);
    let narrow = run(&folder, &["timeline", KEY.id, "--absolute", "--width", "80"]).stdout;
    assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
    for width in ["80", "40"] {
        for (subject, whole) in [
            (KEY.id, "event-of-ACCALOOKUP00000000005"),
            ("svc-chatbot", UNDER_NEW_NAME.id),
            ("svc-chatbot", OTHER),
        ] {
            let cards = run(&folder, &["timeline", subject, "--absolute", "--width", width]).stdout;
            assert!(cards.contains(whole) && cards.contains("  SOURCE"), "{width}: {cards}");
        }
    }
    let about_key = run(&folder, &["lookup", KEY.id, "--width", "60"]).stdout;
    assert_eq!(about_key.matches(MARIA).count(), 7, "status and creation twice, three events: {about_key}");
}

#[test]
fn a_quarantine_has_its_end() {
    let folder = Folder::new();
    in_runtime(async {
        let store = file(&folder.at("key-guard.db"));
        KEYS[2].write(&store).await;
        let (mut record, change) = KEYS[2].ended().unwrap();
        record.delete_after = Some(time("2026-12-10T09:00:00Z"));
        let cause = caused_by(HeardEvent::Created, KEYS[2].provenance());
        commit(&store, 2, record, line(&KEYS[2], 8, cause, change)).await;
    });
    let rows = rows(&folder, &[KEYS[2].id]);
    let end = rows.iter().find(|row| row["line"] == "delete_after").unwrap();
    assert_eq!((&end["at"], &end["source"]), (&json!("2026-12-10T09:00:00Z"), &json!("quarantine")));
}

#[test]
fn an_import_of_a_newer_file_ends_a_key_in_lists_too() {
    let folder = Folder::new();
    in_runtime(async {
        TestKey { fate: Fate::Open, ..KEYS[1] }.write(&file(&folder.at("older.db"))).await;
        KEYS[1].write(&file(&folder.at("newer.db"))).await;
    });
    let exported = run(&folder, &["export", "--ledger", "file:newer.db"]).stdout;
    folder.write("newer.jsonl", exported);
    let import = ["import", "--ledger", "file:older.db", "newer.jsonl"];
    for updated in [1, 0] {
        let said = run(&folder, &import).stderr;
        let expected = format!("1 key was known, {updated} of them with a newer state now");
        assert!(said.contains(&expected), "{said}");
    }
    let back = run(&folder, &["export", "--ledger", "file:older.db"]).stdout;
    folder.write("older.jsonl", back);
    let said = run(&folder, &["import", "--ledger", "file:newer.db", "older.jsonl"]).stderr;
    assert!(said.contains(", 0 of them with"), "{said}");
    for question in
        [&[KEYS[1].id][..], &["--user", KEYS[1].user], &["--account", OWN], &["--verdict", "noncompliant"]]
    {
        let lookup = ["lookup", "--ledger", "file:older.db", "--since", "2026-10-01", "--format", "jsonl"];
        let rows = run(&folder, &[&lookup[..], question].concat()).json_lines();
        assert_eq!((&rows[0]["line"], &rows[0]["status"]), (&json!("state"), &json!("gone")), "{question:?}");
        assert_eq!(rows[0]["status_by"], "bedrock-key-guard");
    }
    let asff = run(&folder, &["lookup", KEYS[1].id, "--ledger", "file:older.db", "--format", "asff"]).stdout;
    assert!(asff.contains("ARCHIVED"), "{asff}");
}

#[test]
fn rows_are_in_order_and_say_what_their_times_are() {
    let rows = rows(&ledger(), &[KEY.id]);
    let times: Vec<_> = rows.iter().map(|row| row["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let of = |line: &str| rows.iter().find(|row| row["line"] == line).unwrap_or_else(|| panic!("{line}"));
    for (line, precision) in [
        ("created", "exact"),
        ("reset", "exact"),
        ("user_changed", "exact"),
        ("first_used", "first_and_last"),
        ("last_used", "first_and_last"),
        ("attempts", "by_day"),
    ] {
        assert_eq!(of(line)["precision"], precision, "{line}");
    }
    let attempts = of("attempts");
    assert_eq!((&attempts["count"], &attempts["last_at"]), (&json!(3), &json!("2026-11-20T10:25:00Z")));
    assert_eq!(of("intended")["actor"], "bedrock-key-guard");
    assert_eq!(of("intended")["event_id"], of("created")["event_id"], "what caused it");
    assert_eq!((&of("dry_run")["dry_run"], &of("created")["dry_run"]), (&json!(true), &json!(false)));
    assert_eq!(of("expires")["at"], "2027-02-19T10:00:00Z");
    assert!(rows.iter().all(|row| row.as_object().unwrap().len() == 15), "each has every field");
    // By the user as caller, and nothing about others or another account.
    let of_others: Vec<_> = rows.iter().filter(|row| row["line"] == "attempts").collect();
    assert_eq!(of_others.len(), 2);
    assert!(of_others[1]["what"].as_str().unwrap().ends_with("About svc-victim."), "{}", of_others[1]);
}

#[test]
fn a_user_has_all_keys_under_any_name_in_each_account() {
    let folder = ledger();
    let ran = run(&folder, &["timeline", "svc-chatbot", "--absolute"]);
    insta::assert_snapshot!("timeline-user", format!("{}--- stderr ---\n{}", ran.stdout, ran.stderr));
    let keys = |arguments: &[&str]| -> BTreeSet<String> {
        let rows = rows(&folder, arguments);
        rows.iter().filter_map(|row| row["credential_id"].as_str().map(str::to_owned)).collect()
    };
    let ids = |keys: &[TestKey]| keys.iter().map(|key| key.id.to_owned()).collect::<BTreeSet<_>>();
    let own = ids(&[KEYS[1], KEY, RENAMED, UNDER_NEW_NAME]);
    assert_eq!(keys(&["SVC-CHATBOT", "--account", OWN]), own);
    assert_eq!(keys(&["svc-talkbot"]), own, "from the new name to the old one");
    assert_eq!(keys(&["svc-chatbot", "--account", OTHER]), ids(&[KEYS[2]]));
    assert_eq!(keys(&["svc-chatbot"]), own.union(&ids(&[KEYS[2]])).cloned().collect());
    let ended = rows(&folder, &[KEYS[1].id]);
    assert!(ended.iter().all(|row| row["line"] != "expires"), "it was deleted");
}

#[test]
fn times_narrow_it_and_nothing_found_is_said() {
    let folder = ledger();
    let lines = |arguments: &[&str]| -> Vec<String> {
        let rows = rows(&folder, &[&[KEY.id], arguments].concat());
        rows.iter().map(|row| row["line"].as_str().unwrap().to_owned()).collect()
    };
    let minutes = ["--since", "2026-11-20T10:01:00Z", "--until", "2026-11-20T10:03:00Z"];
    assert_eq!(lines(&minutes), ["deactivated", "activated"]);
    // Calls from 10:20 to 10:25 are counted together.
    let within = ["--since", "2026-11-20T10:23:00Z", "--until", "2026-11-20T10:24:00Z"];
    assert_eq!(lines(&within), ["attempts"]);
    for (subject, says) in [
        ("nobody", "no key of this user is in the ledger"),
        ("ACCALOOKUP00000000099", "this key is not in the ledger"),
    ] {
        let ran = run(&folder, &["timeline", subject]);
        assert!(ran.stdout.is_empty() && ran.stderr.starts_with(says), "{}", ran.stderr);
    }
    let ran = folder.run(&["timeline", KEY.id, "--since", "2026-11-20", "--until", "2026-11-19"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    let ran = folder.run(&["timeline", "nobody", "--since", "2016-01-01"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
    let ran = folder.run(&["timeline", "two words"]);
    assert!(ran.code == 2 && ran.stderr.contains("the ARN of an IAM user"), "{}", ran.stderr);
}

/// The names and the texts of a folder's files. The time of making is one word.
fn texts(folder: &Path) -> Vec<(String, String)> {
    let mut texts: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, timeless(&std::fs::read_to_string(path).unwrap()))
        })
        .collect();
    texts.sort();
    texts
}

fn timeless(text: &str) -> String {
    let made = text.split("Made at ").nth(1).and_then(|rest| rest.split(' ').next());
    let version = concat!("bedrock-key-guard ", env!("CARGO_PKG_VERSION"));
    made.map_or_else(
        || text.to_owned(),
        |made| text.replace(made, "TIME").replace(version, "bedrock-key-guard VERSION"),
    )
}

#[test]
fn an_incident_has_everything_in_one_folder() {
    let folder = ledger();
    let ran = run(&folder, &["incident", KEY.id, "--output", "night"]);
    assert_eq!(ran.stdout, "");
    insta::assert_snapshot!("incident-stderr", ran.stderr);
    let files = texts(&folder.at("night"));
    let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "SHA256SUMS",
            "commands.md",
            "event-ids.txt",
            "history.jsonl",
            "ledger.jsonl",
            "state.jsonl",
            "summary.md",
            "timeline.jsonl",
        ]
    );
    for (name, text) in &files {
        if ["summary.md", "commands.md", "event-ids.txt"].contains(&name.as_str()) {
            insta::assert_snapshot!(format!("incident-{name}"), text);
        }
    }
    let text = |name: &str| &files.iter().find(|(file, _)| file == name).unwrap().1;
    assert_eq!(*text("timeline.jsonl"), run(&folder, &["timeline", KEY.id, "--format", "jsonl"]).stdout);
    let looked_up = run(&folder, &["lookup", "--key", KEY.id, "--format", "jsonl"]).stdout;
    // What is known of the user is in the timeline.
    let is_of_user = |row: &&str| {
        ["used", "user_changed"].iter().any(|line| row.contains(&format!("\"line\":\"{line}\"")))
    };
    let of_key: String = looked_up.split_inclusive('\n').filter(|row| !is_of_user(row)).collect();
    assert_eq!(format!("{}{}", text("state.jsonl"), text("history.jsonl")), of_key);
    // The items carry the incident to another ledger.
    let imported = run(&folder, &["import", "--ledger", "file:other.db", "night/ledger.jsonl"]);
    let other = run(&folder, &["timeline", KEY.id, "--ledger", "file:other.db", "--format", "jsonl"]).stdout;
    assert_eq!(other, *text("timeline.jsonl"), "{}", imported.stderr);
}

#[test]
fn the_hashes_can_be_checked_and_the_same_ledger_gives_the_same_files() {
    let folder = ledger();
    for name in ["one", "two"] {
        run(&folder, &["incident", KEY.id, "--output", name]);
    }
    let without_sums = |name: &str| {
        let texts = texts(&folder.at(name)).into_iter().filter(|(name, _)| name != "SHA256SUMS");
        texts.collect::<Vec<_>>()
    };
    assert_eq!(without_sums("one"), without_sums("two"));
    let check = |name: &str| {
        let sums = std::fs::read_to_string(folder.at(name).join("SHA256SUMS")).unwrap();
        assert_eq!(sums.lines().count(), 7);
        sums.lines().all(|line| {
            let (sum, file) = line.split_once("  ").unwrap();
            sum == sha256(&std::fs::read(folder.at(name).join(file)).unwrap())
        })
    };
    assert!(check("one"));
    std::fs::write(folder.at("one").join("event-ids.txt"), "other").unwrap();
    assert!(!check("one"));
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    format!("{:x}", sha2::Sha256::digest(bytes))
}

#[cfg(unix)]
#[test]
fn only_its_owner_can_read_the_folder() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = ledger();
    std::fs::create_dir(folder.at("empty")).unwrap();
    folder.write("earlier/notes.txt", "mine");
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.at("earlier"), everybody).unwrap();
    std::fs::set_permissions(folder.at("earlier/notes.txt"), std::fs::Permissions::from_mode(0o600)).unwrap();
    for name in ["new", "empty", "earlier"] {
        run(&folder, &["incident", KEY.id, "--force", "--output", name]);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.at(name)), 0o700, "{name}");
        for file in std::fs::read_dir(folder.at(name)).unwrap() {
            assert_eq!(mode(&file.unwrap().path()), 0o600);
        }
    }
}

#[test]
fn nothing_is_overwritten_and_nothing_half_done_is_left() {
    let folder = ledger();
    folder.write("full/notes.txt", "mine");
    let arguments = ["incident", KEY.id, "--output", "full"];
    let ran = folder.run(&arguments);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("full: the folder is not empty") && ran.stderr.contains("--force"),
        "{}",
        ran.stderr
    );
    assert_eq!(std::fs::read_dir(folder.at("full")).unwrap().count(), 1);
    folder.write("full/summary.md", "of an earlier incident");
    run(&folder, &[&arguments[..], &["--force"]].concat());
    assert_eq!(std::fs::read_to_string(folder.at("full").join("notes.txt")).unwrap(), "mine");
    let summary = std::fs::read_to_string(folder.at("full").join("summary.md")).unwrap();
    assert!(summary.starts_with("# Incident: key ACCALOOKUP00000000005"), "{summary}");

    for (key, output, more, says) in [
        ("ACCALOOKUP00000000099", "none", &[][..], "does not have key ACCALOOKUP00000000099"),
        (
            KEY.id,
            "none",
            &["--account", OTHER],
            "has key ACCALOOKUP00000000005 in account 111122223333: leave --account out",
        ),
        (KEY.id, "nowhere/none", &[], "the folder nowhere does not exist: make it first"),
        (KEY.id, "full/notes.txt", &["--force"], "full/notes.txt: --output needs a folder"),
        (KEY.id, ".", &["--force"], "the ledger is in this folder"),
        (KEY.id, "key-guard.db-shm", &["--force"], "is a file of the ledger"),
        ("ACCALOOKUP00000000050", "none", &[], "the ledger has ACCALOOKUP0000000000"),
    ] {
        let ran = folder.run(&[&["incident", key, "--output", output], more].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{output}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
    }
    assert!(
        folder.names().iter().all(|name| name.starts_with("key-guard.db") || name == "full"),
        "{:?}",
        folder.names()
    );
    let ran = folder.run(&["incident", "svc-chatbot", "--output", "none"]);
    assert!(ran.code == 2 && ran.stderr.contains("credential id"), "{}", ran.stderr);
}

/// A key whose end is all that is known, one that only a dry run knows, and one that is gone.
#[test]
fn commands_follow_from_what_is_known() {
    let folder = ledger();
    in_runtime(async {
        let store = file(&folder.at("key-guard.db"));
        let unknown = TestKey { id: "ACCALOOKUP00000000010", ..KEYS[0] };
        store.append(&heard(&unknown, 60, HeardEvent::Deactivated, MARIA)).await.unwrap();
    });
    let commands = |id: &str| {
        run(&folder, &["incident", id, "--output", id]);
        std::fs::read_to_string(folder.at(id).join("commands.md")).unwrap()
    };
    let unknown = commands("ACCALOOKUP00000000010");
    assert!(unknown.contains("--all-users") && !unknown.contains("--user-name"), "{unknown}");
    let gone = commands(KEYS[1].id);
    let titles: Vec<_> = gone.lines().filter(|line| line.starts_with("## ")).take(3).collect();
    assert_eq!(
        titles,
        [
            "## 1. Look",
            "## 2. If it is there after all: deactivate it",
            "## 3. If it is there after all: delete it"
        ]
    );
    assert!(
        gone.contains("it is deleted, so there is nothing left to stop: section 1 confirms that"),
        "{gone}"
    );
    let inactive = commands(KEYS[2].id);
    assert!(inactive.contains("it is inactive"), "{inactive}");
    let ran =
        run(&folder, &["replay", concat!(env!("CARGO_MANIFEST_DIR"), "/events/created-without-age.json")]);
    assert!(ran.stdout.contains("ACCAEXAMPLEKEY0000001"), "{}", ran.stdout);
    let dry_run = commands("ACCAEXAMPLEKEY0000001");
    assert!(dry_run.contains("--user-name svc-chatbot --service-specific-credential-id"), "{dry_run}");
    let summary = std::fs::read_to_string(folder.at("ACCAEXAMPLEKEY0000001").join("summary.md")).unwrap();
    let (stands, decided) =
        (summary.find("## How the key stands"), summary.find("## What was decided (dry run)"));
    assert!(stands.is_some() && stands < decided, "{summary}");
}

/// What an event said ends up in files that people open: no secret, no terminal's controls, no end of a block.
#[test]
fn texts_of_events_stay_harmless() {
    use base64::Engine as _;
    let folder = ledger();
    let body = base64::engine::general_purpose::STANDARD
        .encode("svc-chatbot-at-111122223333:pL3qZk8Wm2Rt7vYx1Nb6Cd9Fg4Hj5");
    let secret = format!("ABSK{body}");
    in_runtime(async {
        let store = file(&folder.at("key-guard.db"));
        let mut entry = heard(&KEY, 600, HeardEvent::Activated, MARIA);
        if let key_guard_core::lifecycle::effect::Cause::Event { provenance, .. } = &mut entry.cause {
            provenance.user_agent = Some(format!("x\n```\n# Owned\u{1b}[31m {secret}"));
        }
        store.append(&entry).await.unwrap();
    });
    run(&folder, &["incident", KEY.id, "--output", "night"]);
    let mut printed = texts(&folder.at("night"));
    for format in ["table", "jsonl", "csv"] {
        printed.push((format.to_owned(), run(&folder, &["timeline", KEY.id, "--format", format]).stdout));
    }
    for (name, text) in printed {
        assert!(!text.contains(&body[..20]) && !text.contains('\u{1b}'), "{name}: {text}");
        assert!(!text.contains("\n# Owned"), "{name}: {text}");
    }
}
