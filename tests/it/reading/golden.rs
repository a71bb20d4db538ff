//! `tests/golden/<version>.json`: what each version writes, from 0.1.0 on. Every later version reads it, and the version before
//! reads what the next one writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bedrock_key_guard::ledger::audit::AuditEvent;
use bedrock_key_guard::ledger::audit::heard::Heartbeat;
use bedrock_key_guard::ledger::portable::PortableItem;
use bedrock_key_guard::ledger::store::Ledger;
use bedrock_key_guard::runtime::silence::HeardStore as _;
use chrono::TimeDelta;
use key_guard_core::lifecycle::effect::{Cause, Change, LogEntry};
use key_guard_core::lifecycle::state::{
    Contradiction, GoneEvidence, InactiveCause, KeyState, Observation, Phase, Record, Version,
};
use key_guard_core::ports::KeyStore as _;
use serde_json::{Value, json};

use super::portable::{attempt, export, full, record};
use super::{KEYS, commit, commit_state, line, now, open};
use crate::support::dynamodb::Place;
use crate::support::{OTHER, OWN};

/// Items by their primary keys.
type Items = BTreeMap<String, Value>;

/// The files, oldest version first.
fn golden_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.collect();
    let version = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        name.split('.').map(|number| number.parse::<u32>().unwrap()).collect::<Vec<_>>()
    };
    files.sort_by_key(version);
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
    (place, store)
}

fn heartbeat(account: &str, hours: i64) -> AuditEvent {
    let at = now() + TimeDelta::hours(hours);
    AuditEvent::Heartbeat(Heartbeat { account: account.parse().unwrap(), at })
}

/// What a file of this version has.
async fn written(name: &str) -> Option<Value> {
    let (place, store) = every_kind(name).await;
    let items: Vec<_> = by_key(&place.embedded.as_ref()?.items(&place.table).into()).into_values().collect();
    Some(json!({ "items": items, "export": exported(&store).await }))
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
    let file = golden_files().pop().unwrap();
    if written != read(&file) {
        let new = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/golden.json");
        let lines = |field: &str| {
            let lines: Vec<_> = written[field].as_array().unwrap().iter().map(Value::to_string).collect();
            lines.join(",\n")
        };
        let text =
            format!("{{\"items\": [\n{}\n],\n\"export\": [\n{}\n]}}\n", lines("items"), lines("export"));
        std::fs::write(&new, text).unwrap();
        panic!(
            "the ledger's items are not those of {}. What is written now is in target/golden.json. If the version of that file \
             was released, add the new one as tests/golden/<next version>.json; otherwise replace it.",
            file.display()
        );
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
fn breaks(before: &Items, after: &Items) -> Vec<String> {
    let mut found = Vec::new();
    for (key, old) in before {
        let Some(new) = after.get(key) else {
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
    let kind = |item: &Value| item.get("kind").cloned();
    let known = |item: &Value| before.values().any(|old| kind(old) == kind(item));
    found.extend(
        after.iter().filter(|(_, item)| !known(item)).map(|(key, _)| format!("{key} has a new kind")),
    );
    found
}

#[test]
fn each_version_only_adds_fields_to_what_the_one_before_writes() {
    let files = golden_files();
    for pair in files.windows(2) {
        let [before, after] = [&pair[0], &pair[1]].map(|file| by_key(&read(file)["items"]));
        assert_eq!(breaks(&before, &after), Vec::<String>::new(), "{}", pair[1].display());
    }
    // And it would be noticed.
    let before = by_key(&read(&files[0])["items"]);
    let state = before.iter().find(|(_, item)| item["phase"]["S"] == "pending").unwrap().0.clone();
    let broken = |change: &dyn Fn(&mut Items)| {
        let mut after = before.clone();
        change(&mut after);
        breaks(&before, &after)
    };
    assert!(broken(&|items| items.get_mut(&state).unwrap()["later"] = json!({"S": "new"})).is_empty());
    let refused: [&dyn Fn(&mut Items); 6] = [
        &|items| _ = items.remove(&state),
        &|items| _ = items.get_mut(&state).unwrap().as_object_mut().unwrap().remove("user"),
        &|items| items.get_mut(&state).unwrap()["v"] = json!({"N": "5"}),
        &|items| items.get_mut(&state).unwrap()["phase"] = json!({"S": "waiting"}),
        &|items| items.get_mut(&state).unwrap()["intent"]["M"]["later"] = json!({"S": "new"}),
        &|items| _ = items.insert("NEW 1".to_owned(), json!({"kind": {"S": "new"}})),
    ];
    for change in refused {
        assert_eq!(broken(change).len(), 1);
    }
}

/// A later version was deployed, and this one again.
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

    let before = by_key(&golden["items"]);
    let after = by_key(&place.embedded.as_ref().unwrap().items(&place.table).into());
    let changed: Vec<_> =
        after.iter().filter(|(key, item)| before.get(*key).is_some_and(|before| before != *item)).collect();
    assert_eq!(changed.len(), 4, "{changed:?}");
    for (key, item) in changed {
        assert_eq!(item["later_field"], later, "{key}");
    }
    // An export has it, and brings it into another table.
    let state = export(&store)
        .await
        .into_iter()
        .find(|item| matches!(item, PortableItem::State(of, _) if *of == key));
    let text = state.unwrap().to_json().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["later_field"], json!({"since": 2}));
    let (_place, copy) = open("golden-copy").await;
    copy.import(&[PortableItem::from_json(&text).unwrap()]).await.unwrap();
    // Nothing comes in by a name.
    for name in ["ABSKZXhhbXBsZQ", "a b"] {
        let mut line: Value = serde_json::from_str(&text).unwrap();
        line["later_field"] = json!({ name: 1 });
        assert!(PortableItem::from_json(&line.to_string()).is_err(), "{name}");
    }
    let copied = copy.load(&[key]).await.remove(0).unwrap();
    assert_eq!(copied.version, Version(1));
    assert_eq!(copied.state.record().unwrap().unknown_fields.0["later_field"], json!({"since": 2}));
}
