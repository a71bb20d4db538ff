//! The store in DynamoDB: the contract, what its calls cost, and where the indexes have its items.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use bedrock_key_guard::ledger::error::LedgerError;
use bedrock_key_guard::ledger::store::Ledger;
use key_guard_core::evidence::{EventEvidence, ExpirationEvidence, Reading};
use key_guard_core::key::{Expiration, Status};
use key_guard_core::lifecycle::dry_run::{DryRun, DryRunState};
use key_guard_core::lifecycle::effect::{
    BudgetKind, CallError, Cause, Change, Commit, DeletionBudget, HeardEvent, Retry,
};
use key_guard_core::lifecycle::input::{Action, TriggerKind};
use key_guard_core::lifecycle::standing::Standing;
use key_guard_core::lifecycle::state::{KeyState, Phase, Record, StoredState, Version};
use key_guard_core::lifecycle::sweep::KeyCursor;
use key_guard_core::policy::{Assessment, Response, Rule, Scope, VerdictDetail};
use key_guard_core::ports::{CommitReply, KeyStore as _};
use serde_json::{Value, json};

use super::{
    arbitrary, at, by, commit, event, in_phase, intent, key, line, load, open, record, settled, store_all,
    stored, tracked,
};
use crate::support::OWN;
use crate::support::dynamodb::Place;

contract_tests!(open);

pub(super) fn first<T>(mut results: Vec<T>) -> T {
    assert_eq!(results.len(), 1);
    results.remove(0)
}

#[tokio::test]
async fn calls_are_as_few_as_possible() {
    let (place, store) = open("calls").await;
    let Some(dynamo) = &place.embedded else { return };
    let take_calls = || {
        let calls = dynamo.calls();
        dynamo.forget_calls();
        calls
    };
    store_all(&store, [(key(0), settled(&key(0)))]).await;
    assert_eq!(take_calls(), ["TransactWriteItems"]);
    let counts =
        DeletionBudget { account: OWN.parse().unwrap(), kind: BudgetKind::New, hour: at(0), limit: 9 };
    let counted = Commit { counts: Some(counts), ..commit(&key(0), Version(1), settled(&key(0))) };
    // A deletion has a transaction of its own.
    store.commit(&[commit(&key(99), Version::ABSENT, settled(&key(99))), counted]).await;
    assert_eq!(take_calls(), ["TransactWriteItems"; 2]);
    // 50 keys a call, and one more for those that were cancelled with the conflict of another.
    let commits: Vec<_> = (0..60).map(|n| commit(&key(n), Version::ABSENT, settled(&key(n)))).collect();
    store.commit(&commits).await;
    assert_eq!(take_calls(), ["TransactWriteItems"; 3]);
    let keys: Vec<_> = (0..101).map(key).collect();
    store.load(&keys).await;
    assert_eq!(take_calls(), ["BatchGetItem"; 2]);
    store.append(&line(&key(0), 1, Cause::Sweep, Change::Learned)).await.unwrap();
    store.load_sweep_record(&OWN.parse().unwrap()).await.unwrap();
    assert_eq!(take_calls(), ["TransactWriteItems", "BatchGetItem"]);
}

/// The `pk` and `sk` of what an index has in a partition.
async fn in_index(place: &Place, index: &str, field: &str, value: &str) -> BTreeSet<(String, String)> {
    let answer = place
        .client
        .query()
        .table_name(&place.table)
        .index_name(index)
        .key_condition_expression(format!("{field} = :value"))
        .expression_attribute_values(":value", AttributeValue::S(value.to_owned()))
        .send()
        .await
        .unwrap();
    let text = |item: &HashMap<String, AttributeValue>, field: &str| item[field].as_s().unwrap().clone();
    answer.items().iter().map(|item| (text(item, "pk"), text(item, "sk"))).collect()
}

fn places(places: &[&str]) -> BTreeSet<(String, String)> {
    let pk = format!("KEY#{}", key(1).id);
    places.iter().map(|what| (pk.clone(), format!("{OWN}#{what}"))).collect()
}

/// The item's place in the table's indexes: its fields that end in `_key`.
async fn index_keys(place: &Place, what: &str) -> HashMap<String, String> {
    let item = item(place, what).await;
    let keys = item.into_iter().filter(|(field, _)| field.ends_with("_key"));
    keys.map(|(field, value)| (field, value.as_s().unwrap().clone())).collect()
}

async fn item(place: &Place, what: &str) -> HashMap<String, AttributeValue> {
    let get = place.client.get_item().table_name(&place.table);
    let get = get.key("pk", AttributeValue::S(format!("KEY#{}", key(1).id)));
    get.key("sk", AttributeValue::S(format!("{OWN}#{what}"))).send().await.unwrap().item.unwrap()
}

pub(super) fn dry_run() -> DryRun {
    let Record { facts, .. } = record(&key(1));
    let assessment = Assessment {
        verdict: VerdictDetail::Compliant,
        limit_days: 90,
        response: Response::Delete,
        grace_days: 0,
        created_at: at(0),
        expiration: Some(Expiration::Never),
        basis: None,
        rule: Rule::Default,
        decided_by: None,
        ended_exemption: None,
    };
    DryRun {
        facts,
        evidence: ExpirationEvidence::default(),
        creation: Some(event("created", 0)),
        standing: Standing::of_event(Status::Active, &event("created", 0)),
        latest_trigger: at(0),
        assessment,
        response: Response::None,
        policy_sha256: "0123".to_owned(),
        at: at(1),
    }
}

#[tokio::test]
async fn keys_and_dry_runs_are_found_by_each_index() {
    let (place, store) = open("indexes").await;
    let mut record = in_phase(&key(1), Phase::Pending(intent(at(2))));
    record.facts.user = "Alice".parse().unwrap();
    record.facts.other_names = ["Old-Name", "older"].map(|name| name.parse().unwrap()).into();
    record.creation = Some(event("created", 0));
    let mut dry_run = dry_run();
    dry_run.facts.user = "alice".parse().unwrap();
    store_all(&store, [(key(1), tracked(record))]).await;
    first(store.put_dry_runs(&[(dry_run.into(), Version::ABSENT)]).await).unwrap();

    let keys = index_keys(&place, "STATE").await;
    let mut of_dry_run = keys.clone();
    of_dry_run.remove("due_key").unwrap();
    assert_eq!(index_keys(&place, "STATE_IN_DRY_RUN").await, of_dry_run);
    let id = key(1).id;
    for (index, field, value) in [
        ("by_user", "user_key", "alice".to_owned()),
        ("by_actor", "actor_key", "mallory".to_owned()),
        ("by_role", "role_key", "admin".to_owned()),
        ("by_month", "month_key", format!("2026-03#{}", keys["month_key"].chars().last().unwrap())),
        (
            "by_account",
            "account_key",
            format!("ACCOUNT#{OWN}#{}", keys["account_key"].chars().last().unwrap()),
        ),
    ] {
        assert_eq!(keys[field], value);
        assert_eq!(
            in_index(&place, index, field, &value).await,
            places(&["STATE", "STATE_IN_DRY_RUN"]),
            "{index}"
        );
    }
    assert!(keys["due_key"].starts_with("OPEN#"));
    assert_eq!(in_index(&place, "by_due", "due_key", &keys["due_key"]).await, places(&["STATE"]));
    assert_eq!(keys["at_key"], format!("2026-03-01T12:00:00Z#{id}"));
    // Every name that the user had.
    for name in ["old-name", "older"] {
        let expected = places(&[&format!("NAME#{name}")]);
        assert_eq!(in_index(&place, "by_user", "user_key", name).await, expected);
    }
    let history = store.history(&key(1)).await.unwrap();
    assert!(history.unreadable.is_empty() && history.lines.len() == 1, "{history:?}");
}

/// A value of DynamoDB without the names of its types.
fn plain(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!(text),
        AttributeValue::N(number) => json!(number.parse::<u64>().unwrap()),
        AttributeValue::Bool(flag) => json!(flag),
        AttributeValue::L(list) => list.iter().map(plain).collect(),
        AttributeValue::M(fields) => {
            fields.iter().map(|(field, value)| (field.clone(), plain(value))).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Stores an intent with every field.
async fn store_intent(store: &Ledger) {
    let mut record = in_phase(&key(1), Phase::Pending(intent(at(2))));
    record.delete_after = Some(at(9));
    let dry_run = dry_run();
    record.creation = dry_run.creation;
    record.assessment = Scope::InScope(dry_run.assessment);
    record.evidence.event = Some(EventEvidence {
        created_at: Reading::Missing,
        event_time: at(0),
        response: Reading::Missing,
        request: Reading::Read(90),
        request_present: true,
    });
    let created = by(HeardEvent::Created, &event("created", 0));
    let intended =
        Change::Intended { intent: intent(at(2)).id, action: Action::Delete, trigger: TriggerKind::Created };
    let log = line(&key(1), 2, created, intended);
    let with_line = Commit { log, ..commit(&key(1), Version::ABSENT, tracked(record)) };
    first(store.commit(&[with_line]).await).unwrap();
}

fn stored_event() -> Value {
    json!({
        "id": "created",
        "at": "2026-03-01T12:00:00Z",
        "kind": "AssumedRole",
        "role": "Admin",
        "session": "mallory@example.com",
        "source_ip": "192.0.2.1",
        "user_agent": "aws-cli/2",
    })
}

/// After the first release, a change of this needs a new schema version.
#[tokio::test]
async fn a_state_has_this_form() {
    let (place, store) = open("state-form").await;
    store_intent(&store).await;
    assert_eq!(
        plain(&AttributeValue::M(item(&place, "STATE").await)),
        json!({
            "pk": format!("KEY#{}", key(1).id),
            "sk": format!("{OWN}#STATE"),
            "v": 4,
            "kind": "record",
            "version": 1,
            "user": "alice",
            "service": "bedrock.amazonaws.com",
            "created_at": "2026-03-01T12:00:00Z",
            "evidence": {"event": {"age_days": 90, "created_at": {"missing": true}}},
            "creation": stored_event(),
            "assessment": {
                "verdict": "compliant",
                "limit": 90,
                "response": "delete",
                "expires_at": "never",
            },
            "phase": "pending",
            "intent": {
                "opened_by": "worker-1",
                "authorised_at": "2026-03-01T12:00:02Z",
                "action": "delete",
                "trigger": {"kind": "created", "at": "2026-03-01T12:00:00Z"},
            },
            "delete_after": "2026-03-01T12:00:09Z",
            "policy": "0123",
            "assessed": "2026-03-01T12:00:01Z",
            "user_key": "alice",
            "actor_key": "mallory",
            "role_key": "admin",
            "month_key": "2026-03#2",
            "account_key": format!("ACCOUNT#{OWN}#2"),
            "at_key": format!("2026-03-01T12:00:00Z#{}", key(1).id),
            "due_key": "OPEN#2",
            "due_at": "2026-03-01T12:00:02Z",
        })
    );
}

/// After the first release, a change of this needs a new schema version.
#[tokio::test]
async fn a_line_of_history_has_this_form() {
    let (place, store) = open("line-form").await;
    store_intent(&store).await;
    let line = first_line(&place).await;
    assert_eq!(
        line,
        json!({
            "pk": format!("KEY#{}", key(1).id),
            "sk": line["sk"],
            "v": 4,
            "kind": "log",
            "at": "2026-03-01T12:00:02Z",
            "cause": "event",
            "event_kind": "created",
            "event": stored_event(),
            "change": "intended",
            "intent": {"opened_by": "worker-1", "authorised_at": "2026-03-01T12:00:02Z"},
            "action": "delete",
            "trigger": "created",
        })
    );
    let sk = line["sk"].as_str().unwrap();
    let digest = sk.strip_prefix(&format!("{OWN}#LOG#2026-03-01T12:00:02.000Z#")).unwrap();
    assert!(digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{sk}");
}

/// The only line of history of the first key.
async fn first_line(place: &Place) -> Value {
    let scan = place.client.scan().table_name(&place.table).send().await.unwrap();
    let is_line = |item: &&HashMap<String, AttributeValue>| item["sk"].as_s().unwrap().contains("#LOG#");
    let line = scan.items().iter().find(is_line).unwrap().clone();
    plain(&AttributeValue::M(line))
}

#[tokio::test]
async fn a_user_may_have_had_a_hundred_names() {
    let (place, store) = open("names").await;
    let mut record = in_phase(&key(1), Phase::Pending(intent(at(2))));
    record.facts.other_names = arbitrary::names(100);
    let counts =
        DeletionBudget { account: OWN.parse().unwrap(), kind: BudgetKind::New, hour: at(0), limit: 9 };
    let state = tracked(record.clone());
    let with_names = Commit { counts: Some(counts), ..commit(&key(1), Version::ABSENT, state.clone()) };
    assert_eq!(first(store.commit(&[with_names]).await).unwrap(), CommitReply::Committed(Version(1)));
    assert_eq!(load(&store, &key(1)).await, stored(1, state.clone()));
    for name in ["former-name-000", "former-name-096"] {
        let expected = places(&[&format!("NAME#{name}")]);
        assert_eq!(in_index(&place, "by_user", "user_key", name).await, expected);
    }
    let dry_run = DryRun { facts: record.facts, ..dry_run() };
    first(store.put_dry_runs(&[(dry_run.into(), Version::ABSENT)]).await).unwrap();
    // Commits of several sizes share transactions.
    let commits: Vec<_> = (2..30)
        .map(|number| {
            let mut record = super::record(&key(number));
            record.facts.other_names = arbitrary::names(number);
            commit(&key(number), Version::ABSENT, tracked(record))
        })
        .chain([commit(&key(1), Version::ABSENT, state.clone())])
        .collect();
    let mut replies = store.commit(&commits).await;
    assert_eq!(replies.pop().unwrap().unwrap(), CommitReply::Conflict(stored(1, state)));
    assert!(replies.into_iter().all(|reply| reply.unwrap() == CommitReply::Committed(Version(1))));
}

#[tokio::test]
async fn a_dry_run_and_a_state_do_not_meet() {
    let (_place, store) = open("dry-run").await;
    assert_eq!(first(store.load_dry_runs(&[key(1)]).await).unwrap(), None);
    first(store.put_dry_runs(&[(dry_run().into(), Version::ABSENT)]).await).unwrap();
    assert_eq!(load(&store, &key(1)).await, StoredState::ABSENT);
    let known = || async {
        let account = OWN.parse().unwrap();
        let (mut keys, mut cursor): (_, Option<KeyCursor>) = (Vec::new(), None);
        loop {
            let page = store.known_keys(&account, None, cursor.as_ref()).await.unwrap();
            assert_eq!(page.unreadable, 0);
            keys.extend(page.keys);
            cursor = page.next;
            if cursor.is_none() {
                return keys;
            }
        }
    };
    assert!(known().await.is_empty());
    // The key is new to the guard, and its dry run stays.
    store_all(&store, [(key(1), settled(&key(1)))]).await;
    assert_eq!(known().await, [stored(1, settled(&key(1)))]);
    let later = DryRunState::from(DryRun { at: at(9), ..dry_run() });
    first(store.put_dry_runs(&[(later.clone(), Version(1))]).await).unwrap();
    assert_eq!(load(&store, &key(1)).await, stored(1, settled(&key(1))));
    let history = store.history(&key(1)).await.unwrap();
    assert_eq!((history.state, history.dry_run), (Some(stored(1, settled(&key(1)))), Some(later)));
}

/// Overwrites a field of an item.
async fn change(place: &Place, sk: &str, field: &str, value: AttributeValue) {
    let mut item = item(place, sk).await;
    item.insert(field.to_owned(), value);
    place.client.put_item().table_name(&place.table).set_item(Some(item)).send().await.unwrap();
}

/// The ledger's own error in an error of the store.
pub(super) fn ledger_error(error: &CallError) -> &LedgerError {
    error.source.downcast_ref().unwrap()
}

#[tokio::test]
async fn an_unreadable_item_is_named_and_hides_no_other() {
    let (place, store) = open("unreadable").await;
    let pending = |number| tracked(in_phase(&key(number), Phase::Pending(intent(at(2)))));
    store_all(&store, (0..3).map(|number| (key(number), pending(number)))).await;
    first(store.put_dry_runs(&[(dry_run().into(), Version::ABSENT)]).await).unwrap();
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let number = |number: &str| AttributeValue::N(number.to_owned());
    for (field, value, why) in [
        ("v", number("5"), "its schema version is 5; this build reads 4"),
        ("v", number("3"), "its schema version is 3; this build reads 4"),
        ("v", text("4"), "it has no schema version, so it is not the guard's"),
        ("kind", text("log"), "its kind, log, is not known here"),
        ("version", text("1"), "it has no version"),
        ("version", number("1.5"), "it has no version"),
        ("phase", text("lost"), "unknown variant `lost`"),
        ("user", text("not a user"), "expected an IAM user name"),
    ] {
        let before = item(&place, "STATE").await[field].clone();
        change(&place, "STATE", field, value).await;
        let name = format!("the ledger item KEY#{} / {OWN}#STATE cannot be read: ", key(1).id);
        let check = |error: &CallError| {
            let message = error.source.to_string();
            assert!(message.starts_with(&name) && message.contains(why), "{message}");
            assert_eq!(error.retry, Retry::Permanent);
            assert_eq!(ledger_error(error).error_type(), "LedgerItemUnreadable");
            assert_eq!(ledger_error(error).key(), Some(key(1)));
        };
        let loaded = store.load(&[key(0), key(1), key(2)]).await;
        assert_eq!(loaded[0].as_ref().unwrap().state, pending(0));
        check(loaded[1].as_ref().unwrap_err());
        assert_eq!(*loaded[2].as_ref().unwrap(), stored(1, pending(2)));
        // Nor does it with commits.
        let version = load(&store, &key(0)).await.version;
        let commits = [commit(&key(0), version, pending(0)), commit(&key(1), Version::ABSENT, pending(1))];
        let replies = store.commit(&commits).await;
        assert_eq!(*replies[0].as_ref().unwrap(), CommitReply::Committed(Version(version.0 + 1)));
        check(replies[1].as_ref().unwrap_err());
        // Nor with pages.
        for is_resume in [true, false] {
            assert_eq!(count_pages(&store, is_resume).await, (2, 1), "{field}");
        }
        let history = store.history(&key(1)).await.unwrap();
        assert_eq!(history.unreadable.len(), 1);
        assert!(history.unreadable[0].to_string().starts_with(&name));
        assert!(history.state.is_none() && history.dry_run.is_some() && history.lines.len() == 1);
        change(&place, "STATE", field, before).await;
    }
    // Fields of later builds are no reason.
    change(&place, "STATE", "added_later", AttributeValue::M(HashMap::new())).await;
    change(&place, "STATE", "added_too", AttributeValue::Ss(vec!["one".to_owned()])).await;
    let mut loaded = load(&store, &key(1)).await;
    let KeyState::Tracked(record) = &mut loaded.state else { panic!("{loaded:?}") };
    let added = std::mem::take(&mut record.unknown_fields).0;
    assert_eq!(Value::Object(added), json!({"added_later": {}, "added_too": ["one"]}));
    assert_eq!(loaded, stored(1, pending(1)));
}

/// Readable and unreadable keys on all pages.
async fn count_pages(store: &Ledger, is_resume: bool) -> (usize, u64) {
    let account = OWN.parse().unwrap();
    let (mut counts, mut cursor) = ((0, 0), None);
    loop {
        let page = if is_resume {
            store.resumable_keys(at(9), cursor.as_ref()).await.unwrap()
        } else {
            store.known_keys(&account, Some(at(0)), cursor.as_ref()).await.unwrap()
        };
        counts.0 += page.keys.len();
        counts.1 += page.unreadable;
        cursor = page.next;
        if cursor.is_none() {
            return counts;
        }
    }
}
