//! Items out of one ledger and into another.

use std::collections::BTreeSet;

use bedrock_key_guard::ledger::Cost;
use bedrock_key_guard::ledger::audit::{AuditEvent, FailedCall, UnjudgedKey, UserChanged};
use bedrock_key_guard::ledger::portable::{Imported, PortableContent, PortableItem};
use bedrock_key_guard::ledger::store::Ledger;
use chrono::TimeDelta;
use key_guard_core::cloudtrail::{Attempt, Call, CredentialCall, UserCall, UserChange};
use key_guard_core::key::{KeyRef, KeyStatus, Service};
use key_guard_core::lifecycle::effect::{BudgetKind, Cause, Change, Commit, DeletionBudget, HeardEvent};
use key_guard_core::lifecycle::state::{
    GoneEvidence, KeyState, LastSeen, Phase, Record, UnknownFields, Version,
};
use key_guard_core::lifecycle::sweep::SweepRecord;
use key_guard_core::policy::BUILT_IN;
use key_guard_core::ports::KeyStore as _;
use key_guard_core::usage::{CoveredUsers, KnownUse, UsageCoverage, UseRun};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Fate, KEYS, MARIA, TestKey, commit, heard, line, now, open, policy, put_dry_run, with_keys};
use crate::store::arbitrary;
use crate::support::Fault;
use crate::support::deployment::policy_version;

pub async fn export(store: &Ledger) -> Vec<PortableItem> {
    let (mut scan, mut items) = (store.table_scan(), Vec::new());
    while let Some(page) = scan.next().await.unwrap() {
        items.extend(page.into_iter().map(Result::unwrap));
    }
    items
}

fn lines(items: &[PortableItem]) -> BTreeSet<String> {
    items.iter().map(|item| item.to_json().unwrap()).collect()
}

/// As the command does: through JSON, one item at a time.
async fn import(store: &Ledger, items: &[PortableItem]) -> Imported {
    let mut imported = Imported::default();
    for item in items {
        let item = PortableItem::from_json(&item.to_json().unwrap()).unwrap();
        imported += store.import(&[item]).await.unwrap();
    }
    imported
}

pub fn attempt(number: usize) -> AuditEvent {
    let mut provenance = KEYS[0].provenance();
    provenance.event_id = format!("{number:08x}").parse().unwrap();
    let attempt = Attempt {
        call: Call::Credential(CredentialCall::Create),
        error_code: "AccessDenied".to_owned(),
        user: Some(format!("user-{number}").parse().unwrap()),
        service: Some(Service::Bedrock),
    };
    AuditEvent::FailedCall(FailedCall { provenance, attempt })
}

fn access_key() -> AuditEvent {
    let user = "BedrockAPIKey-x7f2".parse().unwrap();
    let change = UserChange { call: UserCall::CreateAccessKey, user };
    AuditEvent::UserChanged(UserChanged { provenance: KEYS[0].provenance(), change })
}

pub fn unjudged_key() -> AuditEvent {
    let key = KeyRef { id: "ACCALOOKUP00000000098".parse().unwrap(), ..KEYS[0].key() };
    let (user, service) = ("CwKey-q1".parse().unwrap(), Service::CloudWatch);
    AuditEvent::UnjudgedKey(UnjudgedKey { provenance: KEYS[0].provenance(), key, user, service })
}

pub async fn record(store: &Ledger, events: &[AuditEvent]) {
    for result in store.record_audit_events(events).await {
        result.unwrap();
    }
}

pub fn known_use() -> KnownUse {
    let latest = UseRun { at: now(), calls: 3, first: now(), last: now() };
    KnownUse {
        account: KEYS[0].key().account,
        user: "svc-chatbot".parse().unwrap(),
        first_used_at: now(),
        last_used_at: now(),
        services: ["bedrock.amazonaws.com".to_owned()].into(),
        models: BTreeSet::new(),
        latest,
        unknown_fields: UnknownFields::default(),
    }
}

pub fn coverage() -> UsageCoverage {
    UsageCoverage {
        account: KEYS[0].key().account,
        from: now() - TimeDelta::days(90),
        to: now(),
        users: CoveredUsers::Named(["svc-chatbot".to_owned()].into()),
        unknown_fields: UnknownFields::default(),
    }
}

/// A ledger with an item of every kind.
pub async fn full(name: &str) -> (crate::support::dynamodb::Place, Ledger) {
    let (place, store) = with_keys(name).await;
    store.append(&heard(&KEYS[1], 60, HeardEvent::Activated, MARIA)).await.unwrap();
    put_dry_run(&store, KEYS[1].dry_run(&policy(), now())).await;
    let mut renamed = KEYS[3].record();
    renamed.facts.other_names = ["svc-former".parse().unwrap()].into();
    commit(&store, 1, renamed, line(&KEYS[3], 99, Cause::Sweep, Change::Learned)).await;
    record(&store, &[attempt(1), attempt(2), access_key(), unjudged_key()]).await;
    store.append_policy(&policy_version(1, BUILT_IN)).await.unwrap();
    assert_eq!(store.record_uses(&[known_use()]).await.unwrap().all().unwrap(), 1);
    assert_eq!(store.record_coverages(&[coverage()]).await.unwrap().all().unwrap(), 1);
    let sweep = SweepRecord { started: now() };
    store.put_sweep_record(&KEYS[0].key().account, &sweep).await.unwrap();
    let budget =
        DeletionBudget { account: KEYS[0].key().account, kind: BudgetKind::New, hour: now(), limit: 20 };
    let next = KeyState::Tracked(Box::new(KEYS[0].record()));
    let log = line(&KEYS[0], 200, Cause::Resume, Change::Learned);
    let counted = Commit { key: KEYS[0].key(), expected: Version(1), next, log, counts: Some(budget) };
    store.commit(&[counted]).await.remove(0).unwrap();
    (place, store)
}

#[tokio::test]
async fn ledger_comes_back_as_it_was_exported() {
    let (_place, store) = full("export").await;
    let items = export(&store).await;
    // Neither the sweep nor the budget leaves.
    let count = |is: fn(&PortableItem) -> bool| items.iter().filter(|item| is(item)).count();
    assert_eq!(count(|item| matches!(item.content, PortableContent::State(..))), 7);
    assert_eq!(count(|item| matches!(item.content, PortableContent::Log(_))), 7 + 3 + 1 + 2);
    assert_eq!(count(|item| matches!(item.content, PortableContent::DryRun(_))), 1);
    assert_eq!(
        count(|item| matches!(item.content, PortableContent::Attempts(ref attempts) if attempts.count == 2)),
        1
    );
    assert_eq!(count(|item| matches!(item.content, PortableContent::UserChanged(_))), 1);
    assert_eq!(count(|item| matches!(item.content, PortableContent::UnjudgedKey(_))), 1);
    assert_eq!(count(|item| matches!(item.content, PortableContent::Policy(_))), 1);
    assert_eq!(count(|item| matches!(item.content, PortableContent::Use(_))), 1);
    assert_eq!(count(|item| matches!(item.content, PortableContent::UsageCoverage(_))), 1);
    assert_eq!(items.len(), 7 + 13 + 1 + 2 + 1 + 1 + 1 + 1);
    // Of each key: its history, in order, then its state, then its dry run.
    let of_key = |items: &[PortableItem]| {
        let key = KEYS[1].key();
        items.iter().filter(|item| item.key() == Some(&key)).map(describe).collect::<Vec<_>>()
    };
    let expected =
        ["log 2026-11-01 09:00:04", "log 2026-11-01 09:00:07", "log 2026-11-01 09:01:00", "state", "dry run"];
    assert_eq!(of_key(&items), expected);
    let (mut alone, mut cost) = (Vec::new(), Cost::default());
    for item in store.portable_items(&KEYS[1].key(), &mut cost).await.unwrap() {
        alone.push(item.unwrap());
    }
    assert_eq!((of_key(&alone), alone.len(), cost.calls), (expected.map(str::to_owned).to_vec(), 5, 1));

    let (place, copy) = open("import").await;
    let imported = import(&copy, &items).await;
    assert_eq!(
        imported,
        Imported {
            lines: 13,
            states: 7,
            dry_runs: 1,
            attempts: 1,
            user_changes: 1,
            unjudged_keys: 1,
            policies: 1,
            uses: 1,
            ..Imported::default()
        }
    );
    assert_eq!(lines(&export(&copy).await), lines(&items));
    // What an index finds is there, too.
    let found = place.client.query().table_name(&place.table).index_name("by_user");
    let found = found.key_condition_expression("user_key = :name").expression_attribute_values(
        ":name",
        aws_sdk_dynamodb::types::AttributeValue::S("svc-former".to_owned()),
    );
    assert_eq!(found.send().await.unwrap().count(), 1);
    // A second time, nothing is new.
    let imported = import(&copy, &items).await;
    assert_eq!(imported, Imported { known: 7, ..Imported::default() });
    assert_eq!(lines(&export(&copy).await), lines(&items));
}

fn describe(item: &PortableItem) -> String {
    match &item.content {
        PortableContent::Log(entry) => format!("log {}", entry.at.format("%F %T")),
        PortableContent::State(..) => "state".to_owned(),
        PortableContent::DryRun(_) => "dry run".to_owned(),
        PortableContent::Attempts(_) => "attempts".to_owned(),
        PortableContent::UserChanged(_) => "access key".to_owned(),
        PortableContent::UnjudgedKey(_) => "unjudged key".to_owned(),
        PortableContent::Policy(_) => "policy".to_owned(),
        PortableContent::Use(_) => "use".to_owned(),
        PortableContent::UsageCoverage(_) => "usage coverage".to_owned(),
    }
}

/// What the table knows of a key stays, whatever another ledger says. Its history is added, and a later dry run.
#[tokio::test]
async fn ledger_keeps_the_states_that_it_has() {
    let (_place, store) = with_keys("keeps").await;
    put_dry_run(&store, KEYS[1].dry_run(&policy(), now())).await;
    let before = store.load(&[KEYS[1].key()]).await.remove(0).unwrap();
    let (_laptop_place, laptop) = open("laptop").await;
    let mut other = KEYS[1].record();
    other.phase = Phase::Settled;
    commit(&laptop, 0, other, line(&KEYS[1], 500, Cause::Sweep, Change::Assessed)).await;
    let dry_run = |seconds| KEYS[1].dry_run(&policy(), now() + TimeDelta::seconds(seconds));
    let mut expected = 0;
    for (seconds, is_newer) in [(-1, false), (0, false), (1, true), (1, false)] {
        put_dry_run(&laptop, dry_run(seconds)).await;
        // All of a key in one call.
        let imported = store.import(&export(&laptop).await).await.unwrap();
        let lines = u64::from(seconds == -1);
        let dry_runs = u64::from(is_newer);
        assert_eq!(imported, Imported { lines, known: 1, dry_runs, ..Imported::default() }, "{seconds}");
        expected = if is_newer { seconds } else { expected };
        let (kept, _) = store.load_dry_runs(&[KEYS[1].key()]).await.remove(0).unwrap().unwrap();
        assert_eq!(kept.assessed().unwrap().at, now() + TimeDelta::seconds(expected));
    }
    assert_eq!(store.load(&[KEYS[1].key()]).await.remove(0).unwrap(), before);
    let history = store.history(&KEYS[1].key()).await.unwrap();
    // Its creation, the intent and the outcome, and what the laptop's sweep did.
    assert_eq!(history.lines.len(), 3 + 1);
}

/// How a key stands, where that is of a later time, whichever store it is in.
#[tokio::test]
async fn ledger_takes_over_how_a_key_stands() {
    let (_place, table) = open("stands").await;
    for store in [table, Ledger::in_memory().unwrap()] {
        let known = Record {
            delete_after: Some(now()),
            ..TestKey { fate: Fate::Deactivated, ..KEYS[1] }.ended().unwrap().0
        };
        commit(&store, 0, known.clone(), line(&KEYS[1], 4, Cause::Sweep, Change::Learned)).await;
        let state = async || store.load(&[KEYS[1].key()]).await.remove(0).unwrap();
        let import = async |record: Record| {
            let item = PortableContent::State(KEYS[1].key(), Box::new(KeyState::Tracked(Box::new(record))));
            store.import(&[item.into()]).await.unwrap()
        };
        let seen = |status, at| {
            let mut event = KEYS[1].provenance();
            event.event_time = at;
            Some(LastSeen::of_event(status, &event))
        };
        let of_key = |updated| Imported { known: 1, updated, ..Imported::default() };
        let before = state().await;
        let older = Record { last_seen: seen(KeyStatus::Active, KEYS[1].after(1)), ..KEYS[1].record() };
        assert_eq!((import(older).await, state().await), (of_key(0), before));
        let newer = Record { last_seen: seen(KeyStatus::Active, now()), ..KEYS[1].record() };
        assert_eq!(import(newer.clone()).await, of_key(1));
        let KeyState::Tracked(after) = state().await.state else { panic!() };
        let expected = Record { last_seen: newer.last_seen.clone(), unreported: true, ..known.clone() };
        assert_eq!(*after, expected, "what the guard did with it stays");
        assert_eq!(import(newer).await, of_key(0));
        let at = now() + TimeDelta::seconds(1);
        let gone = GoneEvidence::DeletedByGuard { at };
        assert_eq!(import(Record { phase: Phase::Gone(gone.clone()), ..KEYS[1].record() }).await, of_key(1));
        let KeyState::Tracked(after) = state().await.state else { panic!() };
        assert_eq!((&after.phase, after.changed_at), (&Phase::Gone(gone), at));
        let late = Record { last_seen: seen(KeyStatus::Active, at + TimeDelta::days(1)), ..KEYS[1].record() };
        assert_eq!(import(late).await, of_key(0), "no state but a sweep's brings it back");
    }
}

/// A line has its place by what it says: another ledger's line never takes the place of another one.
#[tokio::test]
async fn ledger_history_is_append_only_through_imports() {
    let (_place, store) = full("append").await;
    let mut before = lines(&export(&store).await);
    for seconds in 0..3 {
        let more = heard(&KEYS[1], 100 + seconds, HeardEvent::Reset, MARIA);
        let mut same_event = more.clone();
        same_event.change = Change::Assessed;
        for entry in [more.clone(), same_event, more] {
            import(&store, &[PortableContent::Log(Box::new(entry)).into()]).await;
            let after = lines(&export(&store).await);
            assert!(before.is_subset(&after));
            before = after;
        }
    }
    // Nor does one that differs only in what its event is said to be.
    let mut forged = heard(&KEYS[1], 100, HeardEvent::Reset, MARIA);
    forged.cause = super::caused_by(HeardEvent::Deleted, KEYS[2].provenance());
    if let Cause::Event { provenance, .. } = &mut forged.cause {
        provenance.event_id = format!("event-100-of-{}", KEYS[1].id).parse().unwrap();
    }
    forged.change = Change::Heard(HeardEvent::Deleted);
    import(&store, &[PortableContent::Log(Box::new(forged)).into()]).await;
    assert_eq!(lines(&export(&store).await), before);
}

/// The lines of a state, of an event's line of history, of attempts and of an access key.
async fn example_lines(name: &str) -> [Value; 4] {
    let (_place, store) = full(name).await;
    let items = export(&store).await;
    let of = |is: fn(&PortableItem) -> bool| -> Value {
        let item = items.iter().find(|item| is(item) && item.key().is_none_or(|key| *key == KEYS[1].key()));
        serde_json::from_str(&item.unwrap().to_json().unwrap()).unwrap()
    };
    [
        of(|item| matches!(item.content, PortableContent::State(..))),
        of(|item| matches!(item.content, PortableContent::Log(_))),
        of(|item| matches!(item.content, PortableContent::Attempts(_))),
        of(|item| matches!(item.content, PortableContent::UserChanged(_))),
    ]
}

/// Reads a line in which a value is another one.
fn read_with(item: &Value, path: &str, value: Value) -> Result<PortableItem, String> {
    let mut changed = item.clone();
    *changed.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
    PortableItem::from_json(&changed.to_string())
}

#[tokio::test]
async fn a_line_of_an_export_that_is_wrong_says_what_is_wrong() {
    let [state, log, attempts, access_key] = &example_lines("wrong").await;
    for item in [state, log, attempts, access_key] {
        let fields = item.as_object().unwrap();
        assert!(
            fields.keys().all(|field| !field.ends_with("_key") && field != "pk" && field != "sk"),
            "{item}"
        );
        assert_eq!(fields["v"], 4);
    }
    for (item, path, value, says) in [
        (state, "/v", json!(3), "its schema version is 3; this build reads 4"),
        (state, "/v", json!(null), "no schema version"),
        (state, "/kind", json!("sweep"), "its kind, sweep, is not known here"),
        (state, "/kind", json!("former_name"), "an export has no such item"),
        (state, "/account", json!("42"), "an AWS account id of 12 digits"),
        (state, "/phase", json!("fine"), "unknown variant `fine`"),
        (state, "/assessment/verdict", json!("fine"), "unknown variant `fine`"),
        (state, "/policy", json!("abc"), "no SHA-256"),
        (state, "/created_at", json!("+12026-11-01T09:00:00Z"), "a time is before 1970 or after 9999"),
        (state, "/changed", json!("yesterday"), "invalid characters"),
        (log, "/change", json!("fine"), "unknown variant `fine`"),
        (log, "/event_kind", json!(null), "expected string or map"),
        (attempts, "/error_code", json!(null), "expected a string"),
        (attempts, "/count", json!(0), "contradict each other"),
        (attempts, "/first_at", json!("2026-10-31T09:00:00Z"), "contradict each other"),
        (access_key, "/user", json!(null), "expected a string"),
    ] {
        let error = read_with(item, path, value.clone()).unwrap_err();
        assert!(error.contains(says), "{path} {value}: {error}");
    }
    let mut elsewhere = attempts.clone();
    elsewhere["event"]["account"] = json!("444455556666");
    assert!(PortableItem::from_json(&elsewhere.to_string()).unwrap_err().contains("of another account"));
    assert!(PortableItem::from_json("{").unwrap_err().contains("EOF"));
    assert!(PortableItem::from_json("[]").unwrap_err().contains("no object"));
}

/// Nothing that is refused in an event comes in with an export.
#[tokio::test]
async fn a_line_of_an_export_brings_in_no_secret_and_nothing_that_steers_a_terminal() {
    let [state, log, attempts, _] = &example_lines("secret").await;
    let secret = "curl ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl\u{1b}[31m";
    for (item, path) in [
        (state, "/creation/user_agent"),
        (state, "/creation/source_ip"),
        (state, "/creation/session"),
        (state, "/creation/role"),
        (state, "/creation/kind"),
        (log, "/event/user_agent"),
        (log, "/intent/opened_by"),
        (attempts, "/error_code"),
        (attempts, "/actor"),
    ] {
        let text = read_with(item, path, json!(secret)).unwrap().to_json().unwrap();
        assert!(
            !text.contains("Qm") && !text.contains("\\u001b") && text.contains("ABSK(redacted)"),
            "{path}: {text}"
        );
    }
}

/// A count that is there stays, and what has been counted since is counted on top of it.
#[tokio::test]
async fn an_import_changes_no_count_that_is_there() {
    let (_place, store) = full("counts").await;
    let (laptop_place, laptop) = open("counts-laptop").await;
    record(&laptop, &[attempt(1), attempt(3)]).await;
    let counts = |items: &[PortableItem]| -> Vec<u64> {
        let count = |item: &PortableItem| match &item.content {
            PortableContent::Attempts(attempts) => Some(attempts.count),
            _ => None,
        };
        items.iter().filter_map(count).collect()
    };
    let items = export(&laptop).await;
    let imported = import(&store, &items).await;
    assert_eq!(imported, Imported::default());
    assert_eq!(counts(&export(&store).await), [2]);
    let (place, copy) = open("counts-copy").await;
    assert_eq!(import(&copy, &items).await, Imported { attempts: 1, ..Imported::default() });
    record(&copy, &[attempt(1), attempt(3), attempt(4)]).await;
    assert_eq!(counts(&export(&copy).await), [3]);
    // An export has no end of its items: each table has its own.
    let end = |place: &crate::support::dynamodb::Place| {
        let items = place.embedded.as_ref()?.items(&place.table);
        Some(items[0]["ttl"]["N"].clone())
    };
    assert_eq!(end(&place), end(&laptop_place));
    assert!(end(&place).is_none_or(|end| end.is_string()));
    assert!(items[0].to_json().is_ok_and(|line| !line.contains("ttl")));
}

/// If another writer closes a gap in between, what is there by then stays.
#[tokio::test]
async fn an_import_that_meets_another_write_looks_again() {
    let (place, store) = open("races").await;
    let Some(dynamo) = &place.embedded else { return };
    let record = Box::new(KeyState::Tracked(Box::new(KEYS[3].record())));
    let state = PortableItem::from(PortableContent::State(KEYS[3].key(), record));
    dynamo.fault("TransactWriteItems", Fault::ReplyLost, 1);
    let first = store.import(std::slice::from_ref(&state)).await;
    let known = match first {
        // The SDK tries again, and finds what it wrote.
        Ok(imported) => imported.known + imported.states,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(known, 1);
    assert_eq!(export(&store).await, [state]);
}

/// Only texts that no event could have brought in change, and only once.
fn check_round_trip(content: PortableContent) -> Result<(), TestCaseError> {
    let before = PortableItem::from(content).to_json().unwrap();
    // An arbitrary name may look like a secret, and is refused.
    let read = PortableItem::from_json(&before);
    prop_assume!(read.is_ok());
    let read = read.unwrap();
    let after = read.to_json().unwrap();
    prop_assert_eq!(PortableItem::from_json(&after), Ok(read));
    let escapes = ["\\u", "\\b", "\\f", "\\n", "\\r", "\\t"];
    let is_plain =
        before.chars().all(|c| (' '..='~').contains(&c)) && !escapes.iter().any(|one| before.contains(one));
    if is_plain && !after.contains("(redacted)") {
        prop_assert_eq!(after, before);
    }
    Ok(())
}

fn sha256() -> String {
    "0123456789abcdef".repeat(4)
}

/// The second of two writes meets another writer.
#[tokio::test]
async fn what_was_written_before_a_conflict_is_counted() {
    let (place, store) = open("import-conflict").await;
    let Some(dynamo) = &place.embedded else { return };
    let line = |number| heard(&KEYS[0], number, HeardEvent::Reset, MARIA);
    let items: Vec<_> =
        (0..150).map(|number| PortableItem::from(PortableContent::Log(Box::new(line(number))))).collect();
    dynamo.fault("TransactWriteItems", Fault::Passes, 1);
    dynamo.fault("TransactWriteItems", Fault::Cancelled(0, "TransactionConflict"), 1);
    let imported = store.import(&items).await.unwrap();
    assert_eq!(imported, Imported { lines: 150, ..Imported::default() });
    assert_eq!(store.import(&items).await.unwrap(), Imported::default());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_exported_state_is_read_equal((key, mut state) in arbitrary::state()) {
        if let KeyState::Tracked(record) = &mut state {
            record.policy_sha256 = sha256();
        }
        check_round_trip(PortableContent::State(key, Box::new(state)))?;
    }

    #[test]
    fn an_exported_dry_run_is_read_equal(mut dry_run in arbitrary::dry_run()) {
        dry_run.policy_sha256 = sha256();
        check_round_trip(PortableContent::DryRun(dry_run.into()))?;
    }

    #[test]
    fn an_exported_line_of_history_is_read_equal(entry in arbitrary::log_entry()) {
        check_round_trip(PortableContent::Log(Box::new(entry)))?;
    }
}
