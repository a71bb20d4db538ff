//! `tests/golden/<version>.json`: what each version writes, from 0.1.0 on. Every later version reads it, and the version before
//! reads what the next one writes. `tests/golden/SHA256SUMS` has those of released versions, which nobody changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bedrock_key_guard::ledger::audit::AuditEvent;
use bedrock_key_guard::ledger::audit::heard::Heartbeat;
use bedrock_key_guard::ledger::portable::{PortableContent, PortableItem};
use bedrock_key_guard::ledger::store::Ledger;
use bedrock_key_guard::runtime::silence::HeardStore as _;
use chrono::TimeDelta;
use key_guard_core::cloudtrail::{Call, CredentialCall, USER_CALLS, UserCall};
use key_guard_core::evidence::{Basis, EventSource, EvidenceField, Found, Reading, Undetermined};
use key_guard_core::key::Status;
use key_guard_core::lifecycle::dry_run::{DryRun, DryRunState, EarlyEvents};
use key_guard_core::lifecycle::effect::{Cause, Change, LogEntry};
use key_guard_core::lifecycle::standing::Standing;
use key_guard_core::lifecycle::state::{
    Contradiction, GoneEvidence, InactiveCause, KeyState, Observation, Phase, Record, Version,
};
use key_guard_core::policy::{Rule, VerdictDetail};
use key_guard_core::ports::KeyStore as _;
use key_guard_core::usage::{KnownUse, UsageCoverage};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::portable::{attempt, coverage, export, full, known_use, record};
use super::{KEYS, commit, commit_state, line, now, open, policy, put_dry_run};
use crate::support::dynamodb::Place;
use crate::support::{OTHER, OWN};

/// Items by their primary keys.
type Items = BTreeMap<String, Value>;

/// This version. Its file may change until it is released.
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn version_of(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}

/// The files, oldest version first.
fn golden_files() -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    files.sort_by_key(|path| {
        version_of(path).split('.').map(|number| number.parse::<u32>().unwrap()).collect::<Vec<_>>()
    });
    files
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn by_key(items: &Value) -> Items {
    let key =
        |item: &Value| format!("{} {}", item["pk"]["S"].as_str().unwrap(), item["sk"]["S"].as_str().unwrap());
    items.as_array().unwrap().iter().map(|item| (key(item), item.clone())).collect()
}

/// A key that is in no other test.
fn another_key(number: u32) -> LogEntry {
    let mut entry = line(&KEYS[0], 300, Cause::Sweep, Change::Observed(Contradiction::Absent));
    entry.key.id = format!("ACCAGOLDEN{number:011}").parse().unwrap();
    entry
}

/// A ledger with an item of every kind, and a key in every phase.
async fn every_kind(name: &str) -> (Place, Ledger) {
    let (place, store) = full(name).await;
    let observation = Observation { asked_at: now(), seen: Contradiction::Absent };
    commit_state(&store, 0, KeyState::Unconfirmed(observation), another_key(1)).await;
    let gone = GoneEvidence::DeletedBy { event: Box::new(KEYS[2].provenance()), at: now() };
    commit_state(&store, 0, KeyState::Tombstone(gone), another_key(2)).await;
    let entry = another_key(3);
    let mut inactive = KEYS[0].record();
    inactive.facts.key = entry.key.clone();
    inactive.phase = Phase::Inactive(InactiveCause::Expired);
    inactive.observation = Some(observation);
    inactive.delete_after = Some(now() + TimeDelta::days(14));
    commit(&store, 0, inactive, entry).await;
    record(&store, &[heartbeat(OWN, 0), heartbeat(OTHER, -4)]).await;
    let silent =
        store.heard_accounts().await.unwrap().into_iter().find(|heard| heard.is_silent(now())).unwrap();
    store.mark_silence_reported(&silent, now()).await.unwrap();
    put_every_word(&store).await;
    put_every_call(&store).await;
    (place, store)
}

/// A dry run with each word of those fields whose words serde does not name.
async fn put_every_word(store: &Ledger) {
    let (listed, event) = (now(), now() + TimeDelta::days(9));
    let sources = every_source();
    let events = sources.map(|source| Basis::Event { source, creation_assumed: false });
    let others = [
        Basis::Event { source: sources[0], creation_assumed: true },
        Basis::EventUnlisted(sources[0]),
        Basis::Listed,
        Basis::ListedAndEvent { listed, event },
        Basis::NotListed,
    ];
    let found = [Found::Boolean, Found::Number, Found::Text(5), Found::List(2), Found::Object];
    let mut number = 100;
    let mut dry_run = |change: &dyn Fn(&mut DryRun)| {
        let mut dry_run = KEYS[1].dry_run(&policy(), now());
        dry_run.facts.key = another_key(number).key;
        number += 1;
        change(&mut dry_run);
        dry_run
    };
    let mut dry_runs: Vec<_> = events
        .into_iter()
        .chain(others)
        .map(|basis| {
            // One that is not here does not compile.
            match basis {
                Basis::Event { .. }
                | Basis::EventUnlisted(_)
                | Basis::Listed
                | Basis::ListedAndEvent { .. }
                | Basis::NotListed => {}
            }
            dry_run(&|dry_run| dry_run.assessment.basis = Some(basis))
        })
        .collect();
    dry_runs.extend(found.map(|found| {
        match found {
            Found::Boolean | Found::Number | Found::Text(_) | Found::List(_) | Found::Object => {}
        }
        dry_run(&|dry_run| dry_run.evidence.event.as_mut().unwrap().response = Reading::Unreadable(found))
    }));
    dry_runs.push(dry_run(&|dry_run| dry_run.assessment.rule = Rule::Override(1)));
    let unreadable = Undetermined::Unreadable { field: EvidenceField::CreateDate, found: Found::Object };
    dry_runs.push(dry_run(&|dry_run| dry_run.assessment.verdict = VerdictDetail::Undetermined(unreadable)));
    for dry_run in dry_runs {
        put_dry_run(store, dry_run).await;
    }
    let early = EarlyEvents {
        standing: Standing::of_event(Status::Gone, &KEYS[1].provenance()),
        names: ["old-name".parse().unwrap()].into(),
        latest_trigger: Some(now()),
    };
    put_dry_run(store, DryRunState::Unassessed { key: another_key(99).key, early, at: now() }).await;
}

/// A failed attempt of each call.
async fn put_every_call(store: &Ledger) {
    let credential_calls =
        [CredentialCall::Create, CredentialCall::Update, CredentialCall::Reset, CredentialCall::Delete];
    let user_calls = USER_CALLS.map(|name| serde_json::from_value::<UserCall>(name.into()).unwrap());
    let calls = credential_calls.map(Call::Credential).into_iter().chain(user_calls.map(Call::User));
    for (number, call) in calls.enumerate() {
        match call {
            Call::Credential(
                CredentialCall::Create
                | CredentialCall::Update
                | CredentialCall::Reset
                | CredentialCall::Delete,
            )
            | Call::User(_) => {}
        }
        let AuditEvent::FailedCall(mut failed) = attempt(100 + number) else { continue };
        failed.attempt.call = call;
        record(store, &[AuditEvent::FailedCall(failed)]).await;
    }
}

/// One that is not here does not compile.
fn every_source() -> [EventSource; 5] {
    let (response, request) = (now(), now() + TimeDelta::days(9));
    let sources = [
        EventSource::Response,
        EventSource::Request,
        EventSource::ResponseAndRequest { response, request },
        EventSource::ResponseWithoutDate,
        EventSource::RequestWithoutAge,
    ];
    for source in &sources {
        match source {
            EventSource::Response
            | EventSource::Request
            | EventSource::ResponseAndRequest { .. }
            | EventSource::ResponseWithoutDate
            | EventSource::RequestWithoutAge => {}
        }
    }
    sources
}

fn heartbeat(account: &str, hours: i64) -> AuditEvent {
    let at = now() + TimeDelta::hours(hours);
    AuditEvent::Heartbeat(Heartbeat { account: account.parse().unwrap(), at })
}

/// What a file of this version has.
async fn written(name: &str) -> Option<Value> {
    let (place, store) = every_kind(name).await;
    let items: Vec<_> = by_key(&place.embedded.as_ref()?.items(&place.table).into()).into_values().collect();
    let export = exported(&store).await;
    let words = words(&export);
    Some(json!({ "items": items, "export": export, "words": words }))
}

/// The values in a value and itself, by their JSON pointers.
fn values<'a>(value: &'a Value, pointer: String, found: &mut Vec<(String, &'a Value)>) {
    if let Value::Object(fields) = value {
        for (field, value) in fields {
            values(value, format!("{pointer}/{field}"), found);
        }
    }
    found.push((pointer, value));
}

/// The words that this version reads, by kind and field: serde names them when it meets another one. Where it does not, for the
/// field may have more than words, those that are written.
fn words(lines: &[Value]) -> BTreeMap<String, BTreeSet<String>> {
    let mut words: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in lines {
        let mut found = Vec::new();
        values(line, String::new(), &mut found);
        for (pointer, value) in found.into_iter().filter(|(pointer, _)| !pointer.is_empty()) {
            let mut changed = line.clone();
            *changed.pointer_mut(&pointer).unwrap() = "no_such_word".into();
            let Err(error) = PortableItem::from_json(&changed.to_string()) else { continue };
            let field = || format!("{}{pointer}", line["kind"].as_str().unwrap());
            if let Some((_, expected)) = error.split_once("unknown variant `no_such_word`, expected ") {
                let known = expected.split('`').skip(1).step_by(2).map(str::to_owned);
                words.entry(field()).or_default().extend(known);
            } else if error.contains("did not match any variant") {
                words.entry(field()).or_default().extend(word_of(value).map(str::to_owned));
            }
        }
    }
    words.retain(|_, words| !words.is_empty());
    words
}

/// A word, or the word of a value.
fn word_of(value: &Value) -> Option<&str> {
    let is_word = |text: &&str| text.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    match value {
        Value::Object(fields) if fields.len() == 1 => fields.keys().next().map(String::as_str),
        value => value.as_str(),
    }
    .filter(is_word)
}

/// The lines of an export, in an order of their own.
async fn exported(store: &Ledger) -> Vec<Value> {
    let mut lines: Vec<_> = export(store).await.iter().map(|item| item.to_json().unwrap()).collect();
    lines.sort();
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A table with these items, or `None` where the table is not our own.
async fn table_with(name: &str, items: &Value) -> Option<(Place, Ledger)> {
    let (place, store) = open(name).await;
    let dynamo = place.embedded.as_ref()?;
    for item in items.as_array().unwrap() {
        dynamo.put_item(&place.table, item);
    }
    Some((place, store))
}

#[tokio::test]
async fn what_this_version_writes_is_on_file() {
    let Some(written) = written("golden").await else { return };
    let file = folder().join(format!("{VERSION}.json"));
    if !file.exists() || written != read(&file) {
        let new = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/golden.json");
        let lines = |field: &str| {
            let lines: Vec<_> = written[field].as_array().unwrap().iter().map(Value::to_string).collect();
            lines.join(",\n")
        };
        let words: Vec<_> = written["words"].as_object().unwrap().iter().collect();
        let words: Vec<_> = words.into_iter().map(|(field, words)| format!("\"{field}\": {words}")).collect();
        let text = format!(
            "{{\"items\": [\n{}\n],\n\"export\": [\n{}\n],\n\"words\": {{\n{}\n}}}}\n",
            lines("items"),
            lines("export"),
            words.join(",\n")
        );
        std::fs::write(&new, text).unwrap();
        panic!(
            "the ledger's items are not those of {}. What is written now is in target/golden.json. If this version was released, \
             raise the version in Cargo.toml; then copy that file there.",
            file.display()
        );
    }
}

/// What is wrong with the files of released versions: all before `current` are.
fn changed_files(files: &[(&str, String)], sums: &str, current: &str) -> Vec<String> {
    let pinned: BTreeMap<_, _> =
        sums.lines().filter_map(|line| line.split_once("  ")).map(|(sum, name)| (name, sum)).collect();
    let problem = |(version, sum): &(&str, String)| match pinned.get(format!("{version}.json").as_str()) {
        Some(pinned) if pinned == sum => None,
        Some(_) => Some(format!("{version}.json was changed after its release")),
        None if *version == current => None,
        None => Some(format!("{version}.json was released; add it to SHA256SUMS")),
    };
    let is_missing = |name: &&&str| !files.iter().any(|(version, _)| format!("{version}.json") == ***name);
    let missing = pinned.keys().filter(is_missing).map(|name| format!("{name} is missing"));
    files.iter().filter_map(problem).chain(missing).collect()
}

#[test]
fn files_of_released_versions_stay_as_they_are() {
    let paths = golden_files();
    let sum = |path: &PathBuf| format!("{:x}", Sha256::digest(std::fs::read(path).unwrap()));
    let files: Vec<_> = paths.iter().map(|path| (version_of(path), sum(path))).collect();
    let sums = std::fs::read_to_string(folder().join("SHA256SUMS")).unwrap();
    assert_eq!(changed_files(&files, &sums, VERSION), Vec::<String>::new());
    // The newest file is that of this version: no later version has written anything.
    assert_eq!(files.last().unwrap().0, VERSION);

    // And it would be noticed.
    let files = [("0.1.0", "aa".to_owned()), ("0.2.0", "bb".to_owned())];
    for (sums, current, expected) in [
        ("aa  0.1.0.json\n", "0.2.0", None),
        ("aa  0.1.0.json\nbb  0.2.0.json\n", "0.2.0", None),
        ("ab  0.1.0.json\n", "0.2.0", Some("0.1.0.json was changed after its release")),
        ("aa  0.1.0.json\n", "0.3.0", Some("0.2.0.json was released; add it to SHA256SUMS")),
        ("", "0.2.0", Some("0.1.0.json was released; add it to SHA256SUMS")),
        ("aa  0.1.0.json\ncc  0.0.9.json\n", "0.2.0", Some("0.0.9.json is missing")),
    ] {
        assert_eq!(changed_files(&files, sums, current), Vec::from_iter(expected), "{sums} {current}");
    }
}

#[tokio::test]
async fn what_each_version_has_written_is_read() {
    for (number, file) in golden_files().iter().enumerate() {
        let golden = read(file);
        let Some((_place, store)) = table_with(&format!("golden-read-{number}"), &golden["items"]).await
        else {
            return;
        };
        assert_eq!(json!(exported(&store).await), golden["export"], "{}", file.display());
        let lines = golden["export"].as_array().unwrap().iter();
        let items: Vec<_> = lines.map(|line| PortableItem::from_json(&line.to_string()).unwrap()).collect();
        let lines: Vec<Value> =
            items.iter().map(|item| serde_json::from_str(&item.to_json().unwrap()).unwrap()).collect();
        assert_eq!(json!(lines), golden["export"], "{}", file.display());
        // What stays in a table.
        let heard = store.heard_accounts().await.unwrap();
        assert_eq!(heard.iter().map(|heard| heard.is_silent(now())).collect::<Vec<_>>(), [false, true]);
        let sweep = store.load_sweep_record(&KEYS[0].key().account).await.unwrap();
        assert_eq!(sweep.unwrap().started, now());
        let history = store.history(&KEYS[1].key()).await.unwrap();
        assert!(history.unreadable.is_empty() && !history.lines.is_empty());
    }
}

/// What the version before could not read, or would read as something else.
fn breaks(before: &Value, after: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let [old_items, new_items] = [before, after].map(|golden| by_key(&golden["items"]));
    for (key, old) in &old_items {
        let Some(new) = new_items.get(key) else {
            found.push(format!("{key} is missing"));
            continue;
        };
        let fields = old.as_object().unwrap().iter();
        found.extend(
            fields
                .filter(|(field, value)| new.get(field) != Some(value))
                .map(|(field, _)| format!("{key} {field}")),
        );
    }
    let has = |field: &str, value: &Value| old_items.values().any(|old| old.get(field) == Some(value));
    for (key, item) in new_items.iter().filter(|(key, _)| !old_items.contains_key(*key)) {
        match item.get("kind") {
            None => found.push(format!("{key} has no kind")),
            Some(kind) if !has("kind", kind) => found.push(format!("{key} has a new kind")),
            Some(_) if !item.get("v").is_some_and(|version| has("v", version)) => {
                found.push(format!("{key} has another version of the schema"));
            }
            Some(_) => {}
        }
    }
    for (field, words) in before["words"].as_object().unwrap() {
        if after["words"].get(field) != Some(words) {
            found.push(format!("{field} has other words"));
        }
    }
    found
}

#[test]
fn each_version_only_adds_fields_to_what_the_one_before_writes() {
    let files = golden_files();
    for pair in files.windows(2) {
        assert_eq!(breaks(&read(&pair[0]), &read(&pair[1])), Vec::<String>::new(), "{}", pair[1].display());
    }
    // And it would be noticed.
    let before = read(&files[0]);
    let items = before["items"].as_array().unwrap();
    let state = items.iter().position(|item| item["phase"]["S"] == "pending").unwrap();
    let broken = |change: &dyn Fn(&mut Value)| {
        let mut after = before.clone();
        change(&mut after);
        breaks(&before, &after)
    };
    // The item of a key of its own, as those that are there.
    let add = |after: &mut Value, field: &str, value: Value| {
        let mut item = after["items"][state].clone();
        item["pk"] = json!({"S": "KEY#ACCAGOLDEN99999999999"});
        item[field] = value;
        after["items"].as_array_mut().unwrap().push(item);
    };
    let allowed: [&dyn Fn(&mut Value); 3] = [
        &|after| after["items"][state]["later"] = json!({"S": "new"}),
        &|after| add(after, "later", json!({"S": "new"})),
        &|after| after["words"]["record/later"] = json!(["new"]),
    ];
    for change in allowed {
        assert_eq!(broken(change), Vec::<String>::new());
    }
    let refused: [&dyn Fn(&mut Value); 8] = [
        &|after| _ = after["items"].as_array_mut().unwrap().remove(state),
        &|after| _ = after["items"][state].as_object_mut().unwrap().remove("user"),
        &|after| after["items"][state]["v"] = json!({"N": "5"}),
        &|after| after["items"][state]["phase"] = json!({"S": "waiting"}),
        &|after| after["items"][state]["intent"]["M"]["later"] = json!({"S": "new"}),
        &|after| add(after, "kind", json!({"S": "new"})),
        &|after| add(after, "kind", Value::Null),
        &|after| add(after, "v", json!({"N": "5"})),
    ];
    for change in refused {
        assert_eq!(broken(change).len(), 1);
    }
    // Each word of each field, and one more.
    for (field, words) in before["words"].as_object().unwrap() {
        assert!(!words.as_array().unwrap().is_empty(), "{field}");
        let more = |after: &mut Value| after["words"][field].as_array_mut().unwrap().push("waiting".into());
        let fewer = |after: &mut Value| _ = after["words"][field].as_array_mut().unwrap().pop();
        assert_eq!(broken(&more), [format!("{field} has other words")]);
        assert_eq!(broken(&fewer), [format!("{field} has other words")]);
    }
}

/// The words are those that this version reads, whatever the items have.
#[test]
fn the_words_of_each_closed_field_are_on_file() {
    let words = &read(&golden_files().pop().unwrap())["words"];
    for (field, word) in [
        ("record/phase", "inactive"),
        ("record/assessment/verdict", "undetermined"),
        ("record/assessment/verdict/noncompliant", "reactivated"),
        ("record/assessment/response", "quarantine"),
        ("dry_run/assessment/basis", "request_without_age"),
        ("dry_run/assessment/basis", "listed_and_event"),
        ("dry_run/assessment/basis/event/source", "response_and_request"),
        ("dry_run/assessment/rule", "override"),
        ("dry_run/assessment/verdict/undetermined", "no_end_named"),
        ("dry_run/evidence/event/expires_at/unreadable", "text"),
        ("record/gone/evidence", "absent"),
        ("record/intent/trigger/kind", "quarantine_ended"),
        ("record/inactive_cause", "expired"),
        ("record/seen/status", "expired"),
        ("log/change", "learned"),
        ("log/cause", "resume"),
        ("log/event_kind", "reset"),
        ("log/action", "deactivate"),
        ("attempts/call", "ResetServiceSpecificCredential"),
        ("user_changed/call", "CreateLoginProfile"),
    ] {
        let known = words[field].as_array().unwrap_or_else(|| panic!("{field}"));
        assert!(known.contains(&json!(word)), "{field} {known:?}");
    }
}

/// Adds a field to an object and to those in it. An object that is a word with a value has no other field.
fn with_later_fields(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    for (_, value) in fields
        .iter_mut()
        .filter(|(field, _)| !["verdict", "basis", "rule", "unreadable"].contains(&field.as_str()))
    {
        with_later_fields(value);
    }
    fields.insert("later_field".to_owned(), json!({"since": 2, "names": ["a"]}));
}

/// A later version was deployed, and this one again: an export has what that one added to any item, and brings it into another
/// ledger.
#[tokio::test]
async fn an_export_keeps_the_fields_of_a_later_version() {
    for (number, file) in golden_files().iter().enumerate() {
        let mut later = read(file)["export"].as_array().unwrap().clone();
        later.iter_mut().for_each(with_later_fields);
        let (_place, store) = open(&format!("golden-export-{number}")).await;
        for line in &later {
            let item =
                PortableItem::from_json(&line.to_string()).unwrap_or_else(|why| panic!("{why}: {line}"));
            let text = item.to_json().unwrap();
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), *line);
            store.import(&[item]).await.unwrap();
        }
        later.sort_by_key(Value::to_string);
        let mut found = exported(&store).await;
        found.sort_by_key(Value::to_string);
        assert_eq!(found, later, "{}", file.display());
        // A second time, nothing is new.
        for line in &later {
            store.import(&[PortableItem::from_json(&line.to_string()).unwrap()]).await.unwrap();
        }
        found = exported(&store).await;
        found.sort_by_key(Value::to_string);
        assert_eq!(found, later, "{}", file.display());
    }
}

/// A field that is not known here may have any value, but none that no event could bring in.
#[tokio::test]
async fn no_secret_comes_in_or_leaves_in_a_later_field() {
    let golden = read(&golden_files().pop().unwrap());
    let secret = "curl ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl\u{1b}[31m";
    for line in golden["export"].as_array().unwrap() {
        let mut line = line.clone();
        line["later_field"] = json!({"in": [secret]});
        let text = PortableItem::from_json(&line.to_string()).unwrap().to_json().unwrap();
        assert!(text.contains("ABSK(redacted)") && !text.contains("Qm"), "{text}");
        // Nothing comes in by a name.
        for name in ["ABSKZXhhbXBsZQ", "a b"] {
            line["later_field"] = json!({ name: 1 });
            assert!(PortableItem::from_json(&line.to_string()).is_err(), "{name}");
        }
    }
    let mut items = golden["items"].clone();
    for item in items.as_array_mut().unwrap() {
        item["later_field"] = json!({"M": {"in": {"S": secret}}});
    }
    let Some((_place, store)) = table_with("golden-secret", &items).await else { return };
    let lines = exported(&store).await;
    assert_eq!(lines.len(), golden["export"].as_array().unwrap().len());
    for line in lines {
        assert!(line["later_field"]["in"].as_str().unwrap().contains("ABSK(redacted)"), "{line}");
    }
}

/// The same in a table in which this version goes on.
#[tokio::test]
async fn fields_of_a_later_version_are_kept() {
    let mut golden = read(&golden_files().pop().unwrap());
    let later = json!({"M": {"since": {"N": "2"}}});
    for item in golden["items"].as_array_mut().unwrap() {
        item["later_field"] = later.clone();
    }
    let Some((place, store)) = table_with("golden-later", &golden["items"]).await else { return };
    let key = KEYS[4].key();
    let stored = store.load(std::slice::from_ref(&key)).await.remove(0).unwrap();
    let KeyState::Tracked(before) = stored.state else { panic!("{:?}", stored.state) };
    let next = Record { phase: Phase::Gone(GoneEvidence::Absent { at: now() }), ..*before };
    commit(&store, stored.version.0, next, line(&KEYS[4], 500, Cause::Sweep, Change::Gone)).await;
    record(&store, &[attempt(3), heartbeat(OWN, 1)]).await;
    let silent =
        store.heard_accounts().await.unwrap().into_iter().find(|heard| heard.account.as_str() == OTHER);
    store.mark_silence_reported(&silent.unwrap(), now()).await.unwrap();
    let used = KnownUse { last_used_at: now() + TimeDelta::days(1), ..known_use() };
    assert_eq!(store.record_uses(&[used]).await.unwrap().all().unwrap(), 1);
    let covered = UsageCoverage { to: now() + TimeDelta::days(1), ..coverage() };
    assert_eq!(store.record_coverages(&[covered]).await.unwrap().all().unwrap(), 1);

    let before = by_key(&golden["items"]);
    let after = by_key(&place.embedded.as_ref().unwrap().items(&place.table).into());
    let changed: Vec<_> =
        after.iter().filter(|(key, item)| before.get(*key).is_some_and(|before| before != *item)).collect();
    assert_eq!(changed.len(), 6, "{changed:?}");
    for (key, item) in changed {
        assert_eq!(item["later_field"], later, "{key}");
    }
    // An export has it of each, and brings it into another table.
    for item in export(&store).await {
        let text: Value = serde_json::from_str(&item.to_json().unwrap()).unwrap();
        let is_new = matches!(&item.content, PortableContent::Log(entry) if entry.change == Change::Gone);
        assert!(text["later_field"] == json!({"since": 2}) || is_new, "{text}");
    }
    let state = export(&store)
        .await
        .into_iter()
        .find(|item| matches!(&item.content, PortableContent::State(of, _) if *of == key));
    let text = state.unwrap().to_json().unwrap();
    let (_place, copy) = open("golden-copy").await;
    copy.import(&[PortableItem::from_json(&text).unwrap()]).await.unwrap();
    let copied = copy.load(&[key]).await.remove(0).unwrap();
    assert_eq!(copied.version, Version(1));
    assert_eq!(copied.state.record().unwrap().unknown_fields.0["later_field"], json!({"since": 2}));
}
