//! Heartbeats: no attempts, but a sign that an account is heard, and the accounts of a sweep.

use bedrock_key_guard::clock::{Clock as _, SystemClock};
use bedrock_key_guard::ledger::audit::AuditEvent;
use bedrock_key_guard::ledger::audit::attempts::AuditFilter;
use bedrock_key_guard::ledger::audit::heard::HEARTBEAT_ROLE;
use bedrock_key_guard::ledger::store::Ledger;
use bedrock_key_guard::runtime::silence::HeardStore as _;
use chrono::{DateTime, TimeDelta};
use key_guard_core::cloudtrail::ParsedEvent;
use serde_json::{Value, json};

use crate::support::cli::Folder;
use crate::support::deployment::{Deployment, TABLE, TestKey, heartbeat_at};
use crate::support::dynamodb::Place;
use crate::support::{Fault, OTHER, OWN, event};

/// The heartbeat of an account, at this hour of 20 November 2026.
fn heartbeat(account: &str, hour: usize) -> Value {
    heartbeat_at(account, format!("2026-11-20T{hour:02}:00:00Z").parse().unwrap())
}

fn audit_event(event: &Value) -> AuditEvent {
    let ParsedEvent::Relevant(event) = bedrock_key_guard::event::parse(event).unwrap() else { panic!() };
    AuditEvent::new(*event).unwrap()
}

async fn record(store: &Ledger, events: Vec<Value>) {
    let events: Vec<_> = events.into_iter().map(|event| audit_event(&event)).collect();
    for result in store.record_audit_events(&events).await {
        result.unwrap();
    }
}

async fn heard(store: &Ledger) -> Vec<String> {
    store.heard_accounts().await.unwrap().iter().map(|heard| heard.account.to_string()).collect()
}

async fn attempts(store: &Ledger) -> usize {
    let now = DateTime::parse_from_rfc3339("2026-11-21T00:00:00Z").unwrap().to_utc();
    store.audit_records(&AuditFilter::default(), now).await.unwrap().unwrap().found.len()
}

/// The items of the accounts that were heard: account, time and version.
fn heard_items(items: &[Value]) -> Vec<[String; 3]> {
    let heard = items.iter().filter(|item| item["pk"]["S"] == "HEARD");
    let texts = |item: &Value| {
        [&item["sk"]["S"], &item["last_heard"]["S"], &item["version"]["N"]]
            .map(|text| text.as_str().unwrap().to_owned())
    };
    heard.map(texts).collect()
}

#[tokio::test]
async fn the_last_heartbeat_of_an_account_only_moves_forwards() {
    let place = Place::new("heartbeats").await;
    let store = Ledger::dynamodb(place.client.clone(), &place.table);
    for hours in [&[9][..], &[8], &[11, 10], &[11], &[7, 12, 9]] {
        record(&store, hours.iter().map(|hour| heartbeat(OWN, *hour)).collect()).await;
    }
    record(&store, vec![heartbeat(OTHER, 3)]).await;
    assert_eq!((heard(&store).await, attempts(&store).await), (vec![OWN.to_owned(), OTHER.to_owned()], 0));
    let Some(dynamo) = &place.embedded else { return };
    let expected = [[OWN, "2026-11-20T12:00:00Z", "3"], [OTHER, "2026-11-20T03:00:00Z", "1"]];
    assert_eq!(heard_items(&dynamo.items(&place.table)), expected.map(|item| item.map(str::to_owned)));
    // Thirty days later, in seconds since 1970.
    let ttl: Vec<_> = dynamo.items(&place.table).iter().map(|item| item["ttl"]["N"].clone()).collect();
    assert_eq!(ttl, ["1797768000", "1797735600"].map(Value::from));
}

/// Nothing else is in it.
#[tokio::test]
async fn an_unreadable_heartbeat_is_replaced_by_the_next_one() {
    let place = Place::new("unreadable-heartbeat").await;
    let store = Ledger::dynamodb(place.client.clone(), &place.table);
    let Some(dynamo) = &place.embedded else { return };
    record(&store, vec![heartbeat(OWN, 9)]).await;
    dynamo.change_items(&place.table, |item| item["v"] = json!({"N": "9"}));
    assert!(store.heard_accounts().await.is_err());
    record(&store, vec![heartbeat(OWN, 10)]).await;
    assert_eq!(heard(&store).await, [OWN]);
}

#[tokio::test]
async fn no_other_event_is_a_heartbeat() {
    let place = Place::new("no-heartbeats").await;
    let dynamodb = Ledger::dynamodb(place.client.clone(), &place.table);
    let issuer = |arn: String| {
        let mut event = heartbeat(OWN, 9);
        event["detail"]["userIdentity"]["sessionContext"]["sessionIssuer"]["arn"] = json!(arn);
        event
    };
    let with = |field: &str, value: Value| {
        let mut event = heartbeat(OWN, 9);
        event["detail"][field] = value;
        event
    };
    let others = [
        issuer(format!("arn:aws:iam::{OTHER}:role/{HEARTBEAT_ROLE}")),
        issuer(format!("arn:aws:iam::{OWN}:role/{HEARTBEAT_ROLE}-2")),
        issuer(format!("arn:aws:iam::{OWN}:user/{HEARTBEAT_ROLE}")),
        with("eventName", json!("CreateServiceSpecificCredential")),
        with("errorCode", json!("NoSuchEntityException")),
        event("denied"),
        event("console-user-access-key-created"),
    ];
    for store in [dynamodb, Ledger::in_memory().unwrap()] {
        record(&store, others.to_vec()).await;
        assert_eq!((heard(&store).await, attempts(&store).await), (Vec::new(), others.len()));
    }
}

/// `RolePath` of the templates.
#[tokio::test]
async fn the_role_may_have_a_path() {
    let store = Ledger::in_memory().unwrap();
    let mut event = heartbeat(OWN, 9);
    event["detail"]["userIdentity"]["sessionContext"]["sessionIssuer"]["arn"] =
        json!(format!("arn:aws:iam::{OWN}:role/security/team/{HEARTBEAT_ROLE}"));
    record(&store, vec![event]).await;
    assert_eq!((heard(&store).await, attempts(&store).await), (vec![OWN.to_owned()], 0));
}

#[tokio::test]
async fn the_accounts_of_several_pages_are_heard() {
    let store = Ledger::in_memory().unwrap();
    let accounts: Vec<_> = (0..1_001).map(|number| format!("{number:012}")).collect();
    record(&store, accounts.iter().map(|account| heartbeat(account, 9)).collect()).await;
    assert_eq!(heard(&store).await, accounts);
}

/// The built function: heartbeats of two accounts, and a sweep of those.
#[tokio::test]
async fn a_sweep_of_the_accounts_that_were_heard() {
    let world = Deployment::new().await;
    let function = world.start(&[("KEY_GUARD_RESPONDER_ROLE", "responder")]);
    let sweep = json!({"sweep": {"accounts": "heard"}});
    // The first sweep begins before the first heartbeat.
    let answer = function.invoke(&sweep).response();
    assert_eq!(
        (&answer["sweep"]["accounts"], &answer["sweep"]["completed"]),
        (&json!(1), &json!(true)),
        "{answer}"
    );

    let mut key = TestKey::new(1, None);
    key.account = OTHER;
    let key = key.exists_in(&world.iam);
    TestKey::new(2, None).exists_in(&world.iam);
    let ago = |ago| SystemClock.now() - ago;
    // It was heard, and not within a week.
    function.invoke(&heartbeat_at(OTHER, ago(TimeDelta::days(7)) - TimeDelta::minutes(1))).response();
    assert_eq!(function.invoke(&sweep).response()["sweep"]["accounts"], 1);
    function.invoke(&heartbeat_at(OTHER, ago(TimeDelta::days(7)) + TimeDelta::minutes(1))).response();
    // Nothing else makes an account one that was heard.
    function.invoke(&event("denied")).response();
    world.dynamo.fault("Query", Fault::Refused(503, "InternalServerError"), 3);
    let answer = function.invoke(&sweep).response();
    let counts = ["accounts", "keys"].map(|name| answer["sweep"][name].as_u64().unwrap());
    // The function's own account is always one of them.
    assert_eq!((counts, &answer["sweep"]["completed"]), ([2, 2], &json!(true)), "{answer}");
    assert_eq!(world.phase(&key.id), "settled");

    function.invoke(&heartbeat_at(OWN, ago(TimeDelta::zero()))).response();
    let answer = function.invoke(&sweep).response();
    assert_eq!(answer["sweep"]["accounts"], 2, "{answer}");
    assert_eq!(heard_items(&world.dynamo.items(TABLE)).len(), 2);
}

#[test]
fn a_replay_counts_heartbeats_apart_and_an_export_leaves_them() {
    let folder = Folder::new();
    let events = [heartbeat(OWN, 9), heartbeat(OWN, 10), event("denied")];
    let file = folder.write("events.json", json!(events).to_string());
    let ran = folder.run(&["replay", &file]);
    assert!(
        ran.stderr.starts_with("3 events read: 0 judged")
            && ran.stderr.contains(" 1 attempt or change of a user recorded,"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains(" of other kinds, 2 heartbeats; 0 unreadable"), "{}", ran.stderr);
    let items = folder.items();
    assert_eq!(items.iter().filter(|item| item["kind"] == "heard").count(), 1);
    let exported = folder.run(&["export"]);
    assert_eq!((exported.code, exported.json_lines().len()), (0, 1), "{}", exported.stderr);
}
