//! What the command line prints of a ledger with states, dry runs and events.

use key_guard_core::lifecycle::effect::{Cause, Change, HeardEvent};
use key_guard_core::lifecycle::state::{Contradiction, GoneEvidence, KeyState, Observation};
use key_guard_core::ports::KeyStore as _;
use serde_json::{Value, json};

use super::{KEYS, MARIA, commit_state, file, heard, in_runtime, line, now, policy, put_dry_run, write_keys};
use crate::support::OWN;
use crate::support::cli::{CliOutput, Folder};

/// A command that must end well.
fn run(folder: &Folder, arguments: &[&str]) -> CliOutput {
    let output = folder.run(arguments);
    assert_eq!(output.code, 0, "{arguments:?}: {}", output.stderr);
    output
}

/// What a command prints.
fn print(folder: &Folder, arguments: &[&str]) -> String {
    run(folder, arguments).stdout
}

fn rows(folder: &Folder, arguments: &[&str]) -> Vec<Value> {
    run(folder, &[arguments, &["--format", "jsonl"]].concat()).json_lines()
}

/// [`KEYS`], dry runs of the second and the fourth one, and events of the second one that followed.
fn ledger() -> Folder {
    let folder = Folder::new();
    in_runtime(async {
        let store = file(&folder.at("key-guard.db"));
        write_keys(&store).await;
        for key in [KEYS[1], KEYS[3]] {
            put_dry_run(&store, key.dry_run(&policy(), now())).await;
        }
        for (seconds, event) in [(60, HeardEvent::Deactivated), (90, HeardEvent::Activated)] {
            store.append(&heard(&KEYS[1], seconds, event, MARIA)).await.unwrap();
        }
        store.append(&line(&KEYS[1], 120, Cause::Sweep, Change::Learned)).await.unwrap();
    });
    folder
}

/// Asks for the keys of an account.
const ACCOUNT: [&str; 3] = ["lookup", "--account", OWN];

#[test]
fn a_dry_run_is_called_one_in_rows_and_tables() {
    let folder = ledger();
    let of_account = rows(&folder, &ACCOUNT);
    let of_key: Vec<_> = of_account.iter().filter(|row| row["credential_id"] == KEYS[1].id).collect();
    assert_eq!(of_key.len(), 2);
    assert_eq!(of_key.iter().map(|row| &row["line"]).collect::<Vec<_>>(), ["state", "dry_run"]);
    assert_eq!(of_key.iter().map(|row| &row["dry_run"]).collect::<Vec<_>>(), [false, true]);
    assert_eq!(of_key.iter().map(|row| &row["outcome"]).collect::<Vec<_>>(), ["deleted", "recorded"]);
    for field in ["status", "status_by", "status_since", "severity"] {
        assert_eq!(of_key[1][field], of_key[0][field], "{field}: a deleted key never looks live");
    }
    assert_eq!(of_key[1]["status"], "gone");
    let reason = of_key[1]["reason"].as_str().unwrap();
    assert!(reason.ends_with("This is a dry run: the guard would delete the key."), "{reason}");

    let csv = print(&folder, &[&ACCOUNT[..], &["--format", "csv"]].concat());
    assert_eq!(csv.matches("\"dry_run\"").count(), 1 + 1, "a column, and a line: {csv}");
    let table = print(&folder, &ACCOUNT);
    let of_key: Vec<_> = table.lines().filter(|line| line.contains(KEYS[1].id)).collect();
    assert!(of_key[0].contains("deleted") && of_key[1].contains("would have deleted"), "{table}");
    let about_key = print(&folder, &["lookup", "--key", KEYS[1].id]);
    assert_eq!(about_key.matches("the guard has done nothing").count(), 1, "{about_key}");
    assert!(about_key.find("would delete the key").unwrap() < about_key.find("the guard has done").unwrap());
    assert!(about_key.contains("would have deleted it, had it still been active"), "{about_key}");
}

#[test]
fn a_dry_run_is_called_one_in_findings() {
    let folder = ledger();
    for (format, title, id) in
        [("ocsf", "/finding_info/title", "/finding_info/uid"), ("asff", "/Title", "/Id")]
    {
        let findings = print(&folder, &[&ACCOUNT[..], &["--format", format]].concat());
        let findings: Vec<Value> = serde_json::from_str(&findings).unwrap();
        let uid = format!("bedrock-key-guard/{OWN}/{}", KEYS[1].id);
        let title_of = |uid: String| {
            let found: Vec<_> =
                findings.iter().filter(|finding| finding.pointer(id) == Some(&json!(uid))).collect();
            assert_eq!(found.len(), 1, "{uid}");
            found[0].pointer(title).unwrap().as_str().unwrap().to_owned()
        };
        let expected = format!("API key for Amazon Bedrock in account {OWN} never expires");
        assert_eq!(title_of(uid.clone()), format!("{expected} (deleted)"));
        assert_eq!(title_of(format!("{uid}/dry-run")), format!("Dry run: {expected} (deleted)"));
        let is_dry_run = |finding: &&Value| finding.to_string().contains("dry_run\":\"true");
        assert_eq!(findings.iter().filter(is_dry_run).count(), 1);
        let of_dry_run = findings.iter().find(is_dry_run).unwrap().to_string();
        let ended = if format == "asff" { "\"RecordState\":\"ARCHIVED\"" } else { "\"status\":\"Resolved\"" };
        assert!(of_dry_run.contains(ended), "{of_dry_run}");
    }
}

/// Whole in OCSF, in the report and in rows; in Security Hub's field whole sentences that fit.
#[test]
fn every_format_has_the_remediation_and_the_contact() {
    const CONTACT: &str = "contact security@example.com.";
    let folder = ledger();
    let arguments = [&ACCOUNT[..], &["--contact", "security@example.com"]].concat();
    let wanted: Vec<_> = rows(&folder, &arguments).iter().map(|row| row["remediation"].clone()).collect();
    let said = wanted.iter().filter_map(Value::as_str).filter(|text| text.contains(CONTACT)).count();
    assert!(said > 2 && wanted.contains(&Value::Null), "{wanted:?}");
    let findings = |format: &str| -> Vec<Value> {
        serde_json::from_str(&print(&folder, &[&arguments[..], &["--format", format]].concat())).unwrap()
    };
    let ocsf: Vec<_> =
        findings("ocsf").iter().map(|finding| finding["remediation"]["desc"].clone()).collect();
    assert_eq!(ocsf, wanted);
    for (finding, wanted) in findings("asff").iter().zip(&wanted) {
        let short = &finding["Remediation"]["Recommendation"]["Text"];
        assert_eq!(short.is_null(), wanted.is_null());
        let Some(short) = short.as_str() else { continue };
        assert!((1..=512).contains(&short.chars().count()) && short.ends_with('.'), "{short}");
        let page = finding["Remediation"]["Recommendation"]["Url"].as_str().unwrap();
        assert!(wanted.as_str().unwrap().ends_with(&format!("See {page} for more.")), "{finding}");
        assert_eq!(finding["Resources"][0]["Details"]["Other"]["remediation"], *wanted);
    }
    let page =
        print(&folder, &["report", "--account", OWN, "--contact", "security@example.com", "--output", "-"]);
    assert!((1..=3).contains(&page.matches(CONTACT).count()), "each sentence once: {page}");
    let about_key = print(&folder, &["lookup", "--key", KEYS[1].id]);
    assert!(about_key.contains("contact the team that runs"), "{about_key}");
}

/// Where a key is counted or shown once, that is as it stands.
#[test]
fn a_key_is_counted_by_its_state_and_not_by_its_dry_run() {
    let folder = ledger();
    let page = print(&folder, &["report", "--account", OWN, "--output", "-"]);
    assert!(page.contains("<dd>5</dd>") && page.contains("Live: what the guard recorded and did"), "{page}");
    let page = print(&folder, &["report", "--account", OWN, "--outcome", "recorded", "--output", "-"]);
    assert!(page.contains("dry runs, which changed nothing"), "{page}");
    let stats = rows(&folder, &["lookup", "--stats", "--account", OWN]);
    let outcomes: Vec<_> =
        stats.iter().filter(|row| row["by"] == "outcome").map(|row| &row["value"]).collect();
    assert_eq!(outcomes, ["recorded", "already_gone", "deleted", "pending"]);
}

#[test]
fn a_dry_run_is_exported_after_the_state() {
    let folder = ledger();
    let items = run(&folder, &["export", "--key", KEYS[1].id]).json_lines();
    let kinds: Vec<_> = items.iter().map(|item| &item["kind"]).collect();
    assert_eq!(kinds, ["log", "log", "log", "log", "log", "record", "dry_run"]);
    print(&folder, &["export", "--format", "parquet", "--output", "keys.parquet"]);
    let parquet = std::fs::read(folder.at("keys.parquet")).unwrap();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
}

#[test]
fn a_history_says_who_did_what_and_what_followed() {
    let folder = ledger();
    let rows = rows(&folder, &["lookup", "--key", KEYS[1].id]);
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or("-").to_owned();
    let told: Vec<_> = rows
        .iter()
        .map(|row| ["line", "at", "cause", "response"].map(|name| text(row, name)).join(" "))
        .collect();
    assert_eq!(
        told,
        [
            "state 2026-11-01T09:00:07Z - delete",
            "dry_run 2026-11-24T12:00:00Z - delete",
            "created 2026-11-01T09:00:00Z event -",
            "intended 2026-11-01T09:00:04Z event delete",
            "acted 2026-11-01T09:00:07Z event delete",
            "deactivated 2026-11-01T09:01:00Z event -",
            "activated 2026-11-01T09:01:30Z event -",
            "learned 2026-11-01T09:02:00Z sweep -",
        ]
    );
    // Each line names the key; those of events say who, and those of the guard which event.
    for row in &rows {
        assert_eq!(
            [&row["account"], &row["credential_id"], &row["user"], &row["service"]],
            [OWN, KEYS[1].id, "svc-chatbot", "bedrock.amazonaws.com"]
        );
        assert_eq!(row.as_object().unwrap().len(), 55);
    }
    assert_eq!(
        [&rows[2]["actor"], &rows[2]["source_ip"], &rows[2]["mfa"]],
        [&json!(MARIA), &json!("198.51.100.2"), &json!(true)]
    );
    assert_eq!([&rows[3]["actor"], &rows[3]["event_id"]], [&json!(null), &rows[2]["event_id"]]);
    assert_eq!(rows[3]["reason"], "The guard is to delete the key, because it was created.");
    assert_eq!(rows[4]["reason"], "The guard deleted the key.");
    assert_eq!(rows[5]["reason"], "The key was deactivated.");

    let table = print(&folder, &["lookup", "--key", KEYS[1].id, "--absolute", "--width", "160"]);
    let history = table.split_once("\n\nWHEN").unwrap().1;
    for line in [
        "2026-11-01T09:00:00Z  created      event  by arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Dev",
        "2026-11-01T09:00:07Z  acted        event  The guard deleted the key.",
        "2026-11-01T09:02:00Z  learned      sweep  Facts or evidence of the key were added.",
    ] {
        assert!(history.contains(line), "{line}\n{history}");
    }
    assert!(history.contains("with MFA, no console session"), "{history}");
}

#[test]
fn a_pending_response_is_shown_with_its_age_and_its_lease() {
    let folder = ledger();
    let table = print(&folder, &["lookup", "--pending", "--absolute", "--width", "220"]);
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert!(lines[0].contains("PENDING SINCE") && lines[1].contains("2026-11-20T10:00:04Z"), "{table}");
    let about_key = print(&folder, &["lookup", "--key", KEYS[4].id, "--absolute"]);
    let pending = "pending since   2026-11-20T10:00:04Z, leased until 2026-11-20T10:00:49Z";
    assert!(about_key.contains(pending), "{about_key}");
    let row = &rows(&folder, &["lookup", "--pending"])[0];
    assert_eq!(
        [&row["pending_since"], &row["leased_until"], &row["response"], &row["outcome"]],
        ["2026-11-20T10:00:04Z", "2026-11-20T10:00:49Z", "delete", "monitored"]
    );
    let findings: Value =
        serde_json::from_str(&print(&folder, &["lookup", "--pending", "--format", "ocsf"])).unwrap();
    assert_eq!(findings[0]["status"], "In Progress");
}

/// A ledger may know a key only by an event, or by its end.
#[test]
fn a_key_without_a_record_is_shown_with_what_is_known() {
    let folder = Folder::new();
    let [ended, unconfirmed, only_heard] = [KEYS[0], KEYS[1], KEYS[2]];
    in_runtime(async {
        let store = file(&folder.at("key-guard.db"));
        let deleted = heard(&ended, 30, HeardEvent::Deleted, MARIA);
        let Cause::Event { provenance, .. } = &deleted.cause else { panic!() };
        let gone = GoneEvidence::DeletedBy { event: provenance.clone(), at: ended.after(60) };
        let log = line(&ended, 60, deleted.cause.clone(), Change::Gone);
        commit_state(&store, 0, KeyState::Tombstone(gone), log).await;
        let observation = Observation { asked_at: unconfirmed.after(30), seen: Contradiction::Absent };
        let activated = heard(&unconfirmed, 20, HeardEvent::Activated, MARIA);
        let log = line(&unconfirmed, 30, activated.cause, Change::Observed(Contradiction::Absent));
        commit_state(&store, 0, KeyState::Unconfirmed(observation), log).await;
        store.append(&heard(&only_heard, 3_600, HeardEvent::Deactivated, MARIA)).await.unwrap();
    });
    let lines = |key: &str| -> Vec<_> {
        let rows = rows(&folder, &["lookup", "--key", key]);
        rows.into_iter().map(|row| row["line"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(lines(ended.id), ["state", "deleted", "gone"]);
    assert_eq!(lines(unconfirmed.id), ["state", "activated", "observed"]);
    assert_eq!(lines(only_heard.id), ["deactivated"]);
    let about = |key: &str| print(&folder, &["lookup", "--key", key, "--absolute", "--width", "200"]);
    let text = about(ended.id);
    assert!(
        text.contains("outcome     gone")
            && text.contains("maria.lopez@example.com deleted it on 2026-08-01"),
        "{text}"
    );
    let text = about(unconfirmed.id);
    assert!(text.contains("IAM did not list it on 2026-11-01T09:00:30Z"), "{text}");
    assert!(about(only_heard.id).starts_with("WHEN"));
    let listed = rows(&folder, &["lookup", "--account", OWN]);
    assert_eq!(listed.len(), 1, "only the ended key: {listed:?}");
    assert_eq!([&listed[0]["verdict"], &listed[0]["status"]], [&json!(null), &json!("gone")]);
    for format in ["table", "csv", "ocsf", "asff"] {
        assert!(
            print(&folder, &["lookup", "--account", OWN, "--format", format]).contains(ended.id),
            "{format}"
        );
    }
    assert!(print(&folder, &["lookup", "--account", OWN, "--stats"]).contains("(not assessed)"));
    assert!(print(&folder, &["report", "--account", OWN, "--output", "-"]).contains(ended.id));
    // It goes where the ledger goes.
    print(&folder, &["export", "--output", "all.jsonl"]);
    print(&folder, &["import", "--ledger", "file:copy.db", "all.jsonl"]);
    let copied = print(&folder, &["export", "--ledger", "file:copy.db"]);
    assert_eq!(copied, std::fs::read_to_string(folder.at("all.jsonl")).unwrap());
}

#[test]
fn stats_have_the_median_and_the_worst_delay() {
    let folder = ledger();
    in_runtime(async {
        let store = file(&folder.at("key-guard.db"));
        // A replay that acts comes weeks after the event: it says nothing of how fast the guard is.
        let late = super::TestKey { id: "ACCALOOKUP00000000009", ..KEYS[3] };
        let mut record = late.record();
        record.first_assessed = late.after(21 * 86_400);
        super::commit(&store, 0, record, line(&late, 4, Cause::Sweep, Change::Assessed)).await;
        let slow = super::TestKey { id: "ACCALOOKUP00000000010", ..KEYS[3] };
        let mut record = slow.record();
        record.first_assessed = slow.after(100);
        super::commit(&store, 0, record, line(&slow, 4, Cause::Sweep, Change::Assessed)).await;
    });
    let stats = rows(&folder, &["lookup", "--stats", "--since", "2026-08-01"]);
    let seconds: Vec<_> = stats
        .iter()
        .filter(|row| !row["seconds"].is_null())
        .map(|row| (row["value"].clone(), row["count"].clone(), row["seconds"].clone()))
        .collect();
    assert_eq!(seconds, [(json!("median"), json!(8), json!(4)), (json!("worst"), json!(8), json!(100))]);
}
