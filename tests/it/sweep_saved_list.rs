//! `sweep --from`: saved answers of IAM, judged as a sweep judges IAM's own, without AWS.

use std::io::Write as _;

use bedrock_key_guard::clock::{Clock as _, SystemClock};
use chrono::TimeDelta;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::support::cli::{CliOutput, Folder};
use crate::support::iam::{Iam, SECRET, StoredKey};
use crate::support::{OTHER, OWN, event};

const FIRST: &str = "ACCAEXAMPLEKEY0000001";
const SECOND: &str = "ACCAEXAMPLEKEY0000002";
const THIRD: &str = "ACCAEXAMPLEKEY0000003";

/// An entry as the AWS CLI prints it: of a key that never expires.
fn entry(id: &str, alias: &str) -> Value {
    let user = alias.split("-at-").next().unwrap().trim_end_matches("+1");
    json!({
        "UserName": user, "Status": "Active", "ServiceCredentialAlias": alias,
        "CreateDate": "2026-01-05T10:00:00+00:00", "ServiceSpecificCredentialId": id,
        "ServiceName": "bedrock.amazonaws.com",
    })
}

fn list(entries: &[Value]) -> Value {
    json!({ "ServiceSpecificCredentials": entries, "IsTruncated": false })
}

fn of(id: &str) -> Value {
    entry(id, &format!("svc-chatbot-at-{OWN}"))
}

/// Every run is without credentials, and without a way to find some.
fn run(folder: &Folder, arguments: &[&str]) -> CliOutput {
    folder.run(&[&["sweep"], arguments].concat())
}

fn ids(ran: &CliOutput) -> Vec<String> {
    ran.json_lines().iter().map(|line| line["credential_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_saved_list_is_judged_as_of_now() {
    let folder = Folder::new();
    let day = |days| (SystemClock.now() + TimeDelta::days(days)).format("%Y-%m-%dT00:00:00Z").to_string();
    let mut short = entry(SECOND, &format!("svc-search-at-{OTHER}"));
    (short["CreateDate"], short["ExpirationDate"]) = (json!(day(-10)), json!(day(20)));
    let mut inactive = entry(THIRD, &format!("svc+1-at-{OTHER}"));
    inactive["Status"] = json!("Inactive");
    let mut password = entry("ACCAEXAMPLEKEY0000004", &format!("dev-at-{OWN}"));
    (password["ServiceName"], password["ServiceUserName"]) =
        (json!("codecommit.amazonaws.com"), password["ServiceCredentialAlias"].take());
    let keys = [of(FIRST), short, inactive, password];
    let file = folder.write("keys.json", list(&keys).to_string());
    let ran = run(&folder, &["--from", &file, "--fail-on", "noncompliant"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    let created = &day(-10)[..10];
    insta::assert_snapshot!("sweep-from-stdout", ran.stdout.replace(created, "2026-11-14"));
    insta::assert_snapshot!("sweep-from-stderr", ran.stderr);
    let kinds: Vec<_> = folder.items().into_iter().map(|item| item["kind"].clone()).collect();
    assert_eq!(kinds, ["dry_run", "dry_run", "dry_run"], "R14");
    let again = run(&folder, &["--from", &file]);
    assert_eq!((again.code, again.stdout.as_str()), (0, ""), "nothing has changed: {}", again.stderr);
}

/// A saved list may be old, and IAM may be late.
#[test]
fn a_key_whose_expiration_has_passed_does_not_expire_soon() {
    let folder = Folder::new();
    let day = |days| (SystemClock.now() + TimeDelta::days(days)).format("%Y-%m-%dT00:00:00Z").to_string();
    let (mut soon, mut past) = (of(FIRST), of(SECOND));
    (soon["CreateDate"], soon["ExpirationDate"]) = (json!(day(-10)), json!(day(2)));
    (past["CreateDate"], past["ExpirationDate"]) = (json!(day(-300)), json!(day(-270)));
    let file = folder.write("keys.json", list(&[soon, past]).to_string());
    let ran = run(&folder, &["--from", &file]);
    let counts = "1 expires within 7 days; 1 was to have expired";
    assert!(ran.stderr.contains(counts), "{}", ran.stderr);
}

/// The same keys, from IAM and from a file: the same lines, and the same items in the ledger.
#[test]
fn it_is_the_same_as_a_dry_run_on_iam() {
    let (folder, iam) = (Folder::new(), Iam::start());
    for (id, user, status, age) in
        [(FIRST, "svc-chatbot", "Active", None), (SECOND, "svc-search", "Inactive", Some(30))]
    {
        let created = "2026-01-05T10:00:00Z".parse().unwrap();
        iam.put(id, user, created, age);
        iam.change(id, |key: &mut StoredKey| key.status = status);
    }
    let mut second = entry(SECOND, &format!("svc-search-at-{OWN}"));
    (second["Status"], second["ExpirationDate"]) = (json!("Inactive"), json!("2026-02-04T10:00:00+00:00"));
    let file = folder.write("keys.json", list(&[of(FIRST), second]).to_string());
    let arguments = ["sweep", "--format", "jsonl", "--ledger", "file:iam.db"];
    let mut command = folder.command(&arguments);
    let from_iam =
        CliOutput::of(command.env("AWS_ENDPOINT_URL", iam.url()).envs(crate::support::cli::AWS_VARIABLES));
    let ran = run(&folder, &["--format", "jsonl", "--from", &file]);
    assert_eq!(ran.stdout, from_iam.stdout, "{}", from_iam.stderr);
    assert_eq!(ran.json_lines().len(), 2);
    let items = |ledger: &str| {
        let mut items = crate::support::file::LedgerFile::open(&folder.at(ledger)).items();
        for item in &mut items {
            item.remove("at");
            item.remove("latest_trigger");
            item.remove("seen_at");
            item.remove("status_evidence");
        }
        items
    };
    assert_eq!(items("key-guard.db"), items("iam.db"));
}

#[test]
fn every_form_of_a_list_is_read() {
    let folder = Folder::new();
    let (first, second) = (list(&[of(FIRST)]), list(&[of(SECOND)]));
    let utf16: Vec<u8> = format!("\u{feff}{first}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let forms: [(&str, Vec<u8>, &[&str]); 7] = [
        ("list", first.to_string().into_bytes(), &[FIRST]),
        ("pages glued", format!("{first}{second}").into_bytes(), &[FIRST, SECOND]),
        ("JSON lines", format!("{first}\n{second}\n").into_bytes(), &[FIRST, SECOND]),
        ("an array", json!([first, second]).to_string().into_bytes(), &[FIRST, SECOND]),
        ("entries", json!([of(FIRST), of(SECOND)]).to_string().into_bytes(), &[FIRST, SECOND]),
        ("PowerShell", utf16, &[FIRST]),
        ("empty", list(&[]).to_string().into_bytes(), &[]),
    ];
    for (number, (form, bytes, expected)) in forms.into_iter().enumerate() {
        let ledger = format!("file:{number}.db");
        let file = folder.write(&format!("{number}.json"), &bytes);
        let ran = run(&folder, &["--from", &file, "--format", "jsonl", "--ledger", &ledger]);
        assert_eq!(
            (ran.code, ids(&ran)),
            (0, expected.iter().map(|&id| id.to_owned()).collect()),
            "{form}: {}",
            ran.stderr
        );
    }
    let arguments = ["sweep", "--from", "-", "--format", "jsonl", "--ledger", "file:stdin.db"];
    let ran = folder.run_with_input(&arguments, first.to_string().as_bytes());
    assert_eq!(ids(&ran), [FIRST], "{}", ran.stderr);
    let (one, other) = (
        folder.write("one", first.to_string()),
        folder.write("other", json!([of(FIRST), of(SECOND)]).to_string()),
    );
    let ran = run(&folder, &["--from", &one, &other, "--format", "jsonl"]);
    assert_eq!(ids(&ran), [FIRST, SECOND], "a key that is in two files counts once");
}

#[test]
fn a_key_that_lists_contradict_each_other_about_is_named_and_counts_as_active() {
    let folder = Folder::new();
    let (active, mut inactive) = (of(FIRST), of(FIRST));
    inactive["Status"] = json!("Inactive");
    let active = folder.write("active.json", list(&[active]).to_string());
    let inactive = folder.write("inactive.json", list(&[inactive]).to_string());
    for (number, (first, last)) in [(&active, &inactive), (&inactive, &active)].into_iter().enumerate() {
        let ledger = format!("file:{number}.db");
        let arguments =
            ["--from", first, last, "--ledger", &ledger, "--format", "jsonl", "--fail-on", "noncompliant"];
        let ran = run(&folder, &arguments);
        assert_eq!((ran.code, &ran.json_lines()[0]["status"]), (3, &json!("active")), "{}", ran.stderr);
        let says = format!(
            "warning: {last}: value 1: key 1: key {FIRST} in account {OWN} is active in one entry and not in another: it is judged \
             as active. Save the list again\n"
        );
        assert_eq!(ran.stderr.matches(&says).count(), 1, "{}", ran.stderr);
    }
    let mut renamed = of(FIRST);
    renamed["UserName"] = json!("svc-renamed");
    let renamed = folder.write("renamed.json", list(&[renamed]).to_string());
    let ran = run(&folder, &["--from", &active, &renamed, "--format", "jsonl"]);
    assert_eq!((ran.code, &ran.json_lines()[0]["user"]), (0, &json!("svc-renamed")), "{}", ran.stderr);
    assert!(ran.stderr.contains("says something else: this one counts\n"), "{}", ran.stderr);
    let ran = run(&folder, &["--from", &active, &active, "--ledger", "file:same.db"]);
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
}

#[test]
fn services_that_the_policy_does_not_judge_are_named_and_passwords_are_not() {
    let folder = Folder::new();
    let services = [
        "logs.amazonaws.com",
        "some-new.amazonaws.com",
        "logs.amazonaws.com",
        "codecommit.amazonaws.com",
        "cassandra.amazonaws.com",
    ];
    let entries = services.iter().enumerate().map(|(number, service)| {
        let mut entry = of(&format!("ACCAEXAMPLEKEY000010{number}"));
        entry["ServiceName"] = json!(service);
        entry
    });
    let file = folder.write("keys.json", list(&entries.collect::<Vec<_>>()).to_string());
    let ran = run(&folder, &["--from", &file]);
    let says = "warning: the lists have keys of services that the policy does not judge: logs.amazonaws.com (2), \
                some-new.amazonaws.com (1, which this version does not know). To have them judged, add the services to `services` \
                in [default] of the policy file\n";
    assert!(ran.code == 0 && ran.stderr.starts_with(says), "{}", ran.stderr);
    assert!(!ran.stderr.contains("codecommit") && !ran.stderr.contains("cassandra"), "{}", ran.stderr);
}

#[test]
fn the_account_is_in_the_alias_or_is_named() {
    let folder = Folder::new();
    let without = folder.write("without.json", list(&[entry(FIRST, "svc"), of(SECOND)]).to_string());
    let ran = run(&folder, &["--from", &without, "--format", "jsonl"]);
    assert_eq!((ran.code, ids(&ran)), (4, vec![SECOND.to_owned()]));
    let said = format!("warning: without.json: value 1: key 1 ({FIRST}): neither its ServiceCredentialAlias");
    assert!(ran.stderr.contains(&said) && ran.stderr.contains("name it with --accounts"), "{}", ran.stderr);
    let ran = run(&folder, &["--from", &without, "--accounts", OTHER, "--format", "jsonl"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let accounts: Vec<_> = ran.json_lines().iter().map(|line| line["account"].clone()).collect();
    assert_eq!(accounts, [OTHER], "the other key is known, and its alias names its account");
    let two = format!("{OWN},{OTHER}");
    let ran = run(&folder, &["--from", &without, "--accounts", &two]);
    assert!(ran.code == 2 && ran.stderr.contains("name one account"), "{}", ran.stderr);
    for flag in [&["--apply"][..], &["--who"], &["--responder-role", "guard"], &["--ceiling", "delete"]] {
        let ran = run(&folder, &[&["--from", &without], flag].concat());
        assert!(ran.code == 2 && ran.stderr.contains("cannot be used with"), "{flag:?}: {}", ran.stderr);
    }
}

#[test]
fn a_known_key_that_is_not_in_the_list_is_not_called_gone() {
    let (folder, iam) = (Folder::new(), Iam::start());
    iam.put(FIRST, "svc-chatbot", "2026-01-05T10:00:00Z".parse().unwrap(), None);
    let mut command = folder.command(&["sweep", "--apply"]);
    let applied = command.env("AWS_ENDPOINT_URL", iam.url()).envs(crate::support::cli::AWS_VARIABLES);
    assert_eq!(CliOutput::of(applied).code, 0);
    let before = folder.items();
    let file = folder.write("keys.json", list(&[of(SECOND)]).to_string());
    let ran = run(&folder, &["--from", &file, "--all", "--format", "jsonl"]);
    assert_eq!((ran.code, ids(&ran)), (0, vec![SECOND.to_owned()]), "{}", ran.stderr);
    assert!(ran.stderr.contains(" 0 gone;"), "{}", ran.stderr);
    let after = folder.items();
    assert!(before.iter().all(|item| after.contains(item)) && after.len() == before.len() + 1);
}

#[test]
fn a_list_that_is_cut_off_is_said() {
    let folder = Folder::new();
    let mut truncated = list(&[of(FIRST)]);
    (truncated["IsTruncated"], truncated["Marker"]) = (json!(true), json!("next"));
    let stopped = json!({ "ServiceSpecificCredentials": [of(FIRST)], "NextToken": "next" });
    let elsewhere = list(&[entry(THIRD, &format!("svc-at-{OTHER}"))]);
    for (text, code) in [
        (truncated.to_string(), 4),
        (stopped.to_string(), 4),
        (format!("{truncated}{elsewhere}"), 4),
        (format!("{truncated}{}", list(&[of(SECOND)])), 0),
    ] {
        let file = folder.write("keys.json", &text);
        let ran = run(&folder, &["--from", &file]);
        assert_eq!(ran.code, code, "{text}: {}", ran.stderr);
        let said = "warning: keys.json: value 1: the list is cut off";
        assert_eq!(ran.stderr.contains(said), code == 4, "{}", ran.stderr);
    }
}

/// Each is named, the others are judged, and no value is repeated.
#[test]
fn what_cannot_be_read_is_named() {
    let folder = Folder::new();
    let fields =
        ["ServiceSpecificCredentialId", "UserName", "ServiceName", "CreateDate", "Status", "ExpirationDate"];
    let mut entries: Vec<_> = fields
        .iter()
        .map(|field| {
            let mut entry = of(FIRST);
            entry[*field] = json!(SECRET);
            entry
        })
        .collect();
    entries.extend([json!(SECRET), of(SECOND)]);
    let file = folder.write("keys.json", list(&entries).to_string());
    let ran = run(&folder, &["--from", &file, "--format", "jsonl"]);
    assert_eq!((ran.code, ids(&ran)), (4, vec![SECOND.to_owned()]), "{}", ran.stderr);
    for (number, field) in fields.iter().enumerate() {
        let id = if number == 0 { String::new() } else { format!(" ({FIRST})") };
        let said =
            format!("warning: keys.json: value 1: key {}{id}: {field} is missing, or is not", number + 1);
        assert!(ran.stderr.contains(&said), "{said}: {}", ran.stderr);
    }
    assert!(ran.stderr.contains("; 7 unreadable") && !ran.stderr.contains("ABSK"), "{}", ran.stderr);
}

#[test]
fn what_is_no_list_is_refused_and_no_secret_is_repeated() {
    let folder = Folder::new();
    let mut created = of(FIRST);
    for field in ["ServicePassword", "ServiceCredentialSecret"] {
        created[field] = json!(SECRET);
    }
    let has_secret = "which has the secret of a key, and no list";
    for (text, said) in [
        (json!({ "ServiceSpecificCredential": created }).to_string(), has_secret),
        (created.to_string(), has_secret),
        (json!([{ "ServiceApiKeyValue": SECRET }]).to_string(), has_secret),
        (json!({ "Records": [] }).to_string(), "`bedrock-key-guard replay` judges events"),
        (json!({ "Users": SECRET }).to_string(), "it is no list of keys"),
        (json!(SECRET).to_string(), "it is no list of keys"),
        (format!("{{\"ServiceSpecificCredentials\": [{SECRET}]}}"), "it is not JSON: line 1, column 33"),
        (String::new(), "it is empty"),
    ] {
        let file = folder.write("keys.json", &text);
        let ran = run(&folder, &["--from", &file]);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "nothing was judged: {text}: {}", ran.stderr);
        assert!(
            ran.stderr.starts_with("warning: keys.json: ") && ran.stderr.contains(said),
            "{text}: {}",
            ran.stderr
        );
        assert!(!ran.stderr.contains("ABSK"), "{}", ran.stderr);
    }
    let in_list = folder.write("keys.json", list(&[created, of(SECOND)]).to_string());
    let ran = run(&folder, &["--from", &in_list]);
    assert!(
        ran.code == 4 && ran.stderr.contains(has_secret) && !ran.stderr.contains("ABSK"),
        "{}",
        ran.stderr
    );
    let ledger = std::fs::read(folder.at("key-guard.db")).unwrap();
    assert!(!ledger.windows(4).any(|bytes| bytes == b"ABSK"), "no secret is stored");
    let ran = run(&folder, &["--from", "missing.json"]);
    assert!(
        ran.code == 1 && ran.stderr.contains("warning: no such file or directory: missing.json"),
        "{}",
        ran.stderr
    );
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn lists_are_read_through_gzip_and_from_directories() {
    let folder = Folder::new();
    let list_of = |id| list(&[of(id)]).to_string().into_bytes();
    folder.write("lists/a/first.json", list_of(FIRST));
    folder.write("lists/b/second.json.gz", packed(&packed(&list_of(SECOND))));
    folder.write("lists/readme.txt", "saved on Monday");
    folder.write("lists/empty", "");
    folder.write("lists/picture", [0xff, 0x00, 0xfe]);
    let ran = run(&folder, &["--from", "lists", "--format", "jsonl", "--ledger", "file:lists/guard.db"]);
    assert_eq!((ran.code, ids(&ran)), (0, vec![FIRST.to_owned(), SECOND.to_owned()]), "{}", ran.stderr);
    let passed_over = "passed over: 1 other text, 1 file that is no text, 1 empty file\n";
    assert!(ran.stderr.contains(passed_over), "{}", ran.stderr);
    let ran = folder.run_with_input(&["sweep", "--from", "-", "--format", "jsonl"], &packed(&list_of(THIRD)));
    assert_eq!((ran.code, ids(&ran)), (0, vec![THIRD.to_owned()]), "{}", ran.stderr);
}

#[test]
fn a_file_that_cannot_be_read_stops_no_other() {
    let folder = Folder::new();
    let good = folder.write("good.json", list(&[of(FIRST)]).to_string());
    let mut cut = packed(list(&[of(SECOND)]).to_string().as_bytes());
    cut.truncate(cut.len() / 2);
    let cut = folder.write("cut.json.gz", cut);
    let archive = folder.write("archive.zip", b"PK\x03\x04 and so on");
    let arguments = ["--from", "missing.json", &cut, &archive, &good, "--format", "jsonl"];
    let ran = run(&folder, &arguments);
    assert_eq!((ran.code, ids(&ran)), (4, vec![FIRST.to_owned()]), "{}", ran.stderr);
    for said in [
        "warning: no such file or directory: missing.json",
        "warning: cut.json.gz: could not be read: ",
        "warning: archive.zip: it is a zip or tar archive, which is not read here: unpack it",
        "; 3 unreadable",
    ] {
        assert!(ran.stderr.contains(said), "{said}: {}", ran.stderr);
    }
}

/// A list of unknown time never brings back what an event has ended, nor hides what an event has activated.
#[test]
fn a_saved_list_undoes_no_event_and_is_called_what_it_is() {
    const DELETED: &str = "ACCAEXAMPLEKEY0000003";
    let folder = Folder::new();
    let lines =
        ["created-for-365-days", "deleted", "created-without-age"].map(|name| event(name).to_string());
    folder.write("events.jsonl", lines.join("\n"));
    let replay = || assert_eq!(folder.run(&["replay", "events.jsonl"]).code, 0);
    replay();
    let timeline = || folder.run(&["timeline", DELETED, "--format", "jsonl"]).json_lines();
    let before = timeline();
    let mut deleted = entry(DELETED, "svc-search-at-111122223333");
    deleted["CreateDate"] = json!("2026-11-20T09:21:33+00:00");
    let mut inactive = entry(FIRST, "svc-chatbot-at-111122223333");
    (inactive["CreateDate"], inactive["Status"]) = (json!("2026-11-20T09:07:11+00:00"), json!("Inactive"));
    folder.write("keys.json", list(&[deleted, inactive, of(SECOND)]).to_string());
    let ran = run(&folder, &["--from", "keys.json", "--fail-on", "noncompliant"]);
    assert!(ran.code == 3 && ran.stderr.contains("2 noncompliant (1 of them active)"), "{}", ran.stderr);
    assert!(ran.stderr.contains("note: the lists have 1 key that was deleted"), "{}", ran.stderr);
    for _ in 0..2 {
        let status = |key| {
            let text = folder.run(&["lookup", key, "--absolute"]).stdout;
            text.lines().find_map(|line| line.strip_prefix("status ")).unwrap().trim().to_owned()
        };
        assert!(
            status(DELETED).starts_with("deleted, since 2026-11-20T12:42:41Z, by "),
            "{}",
            status(DELETED)
        );
        assert_eq!(status(FIRST), "inactive, a saved list says so, and not when");
        assert_eq!(status(SECOND), "active, a saved list says so, and not when");
        let words = |rows: &[Value]| rows.iter().map(|row| row["line"].clone()).collect::<Vec<_>>();
        assert_eq!(words(&timeline()), words(&before));
        replay();
    }
    assert_eq!(folder.run(&["incident", SECOND, "--output", "incident"]).code, 0);
    let commands = std::fs::read_to_string(folder.at("incident/commands.md")).unwrap();
    assert!(commands.contains("As far as a saved list says, and not when, it is active."), "{commands}");
}

#[test]
fn a_list_in_another_form_is_named_and_never_passed_over() {
    let folder = Folder::new();
    let dated = |date: Value| {
        let mut entry = of(SECOND);
        entry["CreateDate"] = date;
        list(&[entry]).to_string()
    };
    folder.write("lists/a.json", dated(json!(1_767_607_200.0)));
    folder.write("lists/b.json", dated(json!("Jan 5, 2026, 10:00:00 AM")));
    folder.write("lists/text.txt", format!("SERVICESPECIFICCREDENTIALS\t2026-01-05\t{FIRST}\tActive\n"));
    folder.write("lists/keys.yaml", format!("ServiceSpecificCredentials:\n- UserName: svc\n  Id: {FIRST}\n"));
    folder.write("lists/keys.csv", format!("UserName,Id\nsvc,{FIRST}\n"));
    folder.write("lists/boto3.txt", format!("{{'ServiceSpecificCredentials': [{{'Id': '{FIRST}'}}]}}"));
    folder.write("lists/keys.zst", b"\x28\xb5\x2f\xfd and so on");
    let ran = run(&folder, &["--from", "lists", "--format", "jsonl"]);
    assert_eq!((ran.code, ids(&ran)), (4, vec![SECOND.to_owned()]), "{}", ran.stderr);
    for (name, said) in [
        ("text.txt", "save the list as"),
        ("keys.yaml", "save the list as"),
        ("keys.csv", "save the list as"),
        ("boto3.txt: value 1", "save the list as"),
        ("keys.zst", "it is compressed"),
    ] {
        let is_named =
            |line: &str| line.starts_with(&format!("warning: lists/{name}: ")) && line.contains(said);
        assert!(ran.stderr.lines().any(is_named), "{name}: {}", ran.stderr);
    }
    assert!(ran.stderr.ends_with("exit 4: 5 files or entries could not be read\n"), "{}", ran.stderr);
    let ran = run(&folder, &["--from", "lists/keys.csv", "--ledger", "file:new.db"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.ends_with("error: none of the files could be read as a list of keys\n"),
        "{}",
        ran.stderr
    );
    assert!(!folder.at("new.db").exists(), "a run that has read nothing writes nothing");
}
