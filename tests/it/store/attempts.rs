//! Failed calls, which are counted, and access keys of console users: how they are counted, stored and found.

use std::collections::BTreeSet;

use bedrock_key_guard::ledger::audit::attempts::{AuditFilter, AuditRecords};
use bedrock_key_guard::ledger::audit::count::{CountedAttempts, MAX_EVENT_IDS, MAX_NAMES, counted_actor};
use bedrock_key_guard::ledger::audit::{AuditEvent, AuditRecord, FailedCall, UserChanged};
use bedrock_key_guard::ledger::portable::{PortableContent, PortableItem};
use bedrock_key_guard::ledger::query::Actor;
use bedrock_key_guard::ledger::store::Ledger;
use chrono::TimeDelta;
use futures_util::future::join_all;
use key_guard_core::cloudtrail::{self, Attempt, Call, CredentialCall, Provenance, UserCall, UserChange};
use key_guard_core::key::{Service, UserName};
use key_guard_core::lifecycle::effect::Retry;
use proptest::prelude::*;
use serde_json::Value;

use super::{at, event, open};
use crate::support::dynamodb::{Dynamo, Place};
use crate::support::{OTHER, OWN};

fn failed(provenance: Provenance, user: Option<&str>) -> FailedCall {
    let attempt = Attempt {
        call: Call::Credential(CredentialCall::Create),
        error_code: "AccessDenied".to_owned(),
        user: user.map(|user| user.parse().unwrap()),
        service: user.map(|_| Service::Bedrock),
    };
    FailedCall { provenance, attempt }
}

/// CloudTrail's ids are UUIDs, which differ in their first characters.
fn numbered(number: usize, seconds: i64) -> Provenance {
    event(&format!("{number:08x}-1111-4111-8111-111122223333"), seconds)
}

fn access_key(provenance: Provenance) -> AuditEvent {
    let user = "BedrockAPIKey-x7f2".parse().unwrap();
    let change = UserChange { call: UserCall::CreateAccessKey, user };
    AuditEvent::UserChanged(UserChanged { provenance, change })
}

fn session(role: &str, name: &str) -> cloudtrail::Actor {
    cloudtrail::Actor {
        kind: Some("AssumedRole".to_owned()),
        principal: Some(format!("arn:aws:sts::{OWN}:assumed-role/{role}/{name}")),
        session_issuer: Some(format!("arn:aws:iam::{OWN}:role/{role}")),
        ..Default::default()
    }
}

async fn record(store: &Ledger, events: &[AuditEvent]) {
    for result in store.record_audit_events(events).await {
        result.unwrap();
    }
}

async fn found(store: &Ledger, filter: &AuditFilter) -> Vec<AuditRecord> {
    let AuditRecords { found, unreadable, .. } =
        store.audit_records(filter, at(86_400)).await.unwrap().unwrap();
    assert!(unreadable.is_empty(), "{unreadable:?}");
    found
}

/// The one count that is stored.
async fn counted(store: &Ledger) -> CountedAttempts {
    let found = found(store, &AuditFilter::default()).await;
    let [AuditRecord::Attempts(attempts)] = found.as_slice() else { panic!("{found:?}") };
    attempts.as_ref().clone()
}

fn dynamo(place: &Place) -> Option<&Dynamo> {
    place.embedded.as_ref()
}

// ---- counting ----

/// Up to a hundred failed calls of one role and one day, in any order, each of them once or more.
fn deliveries() -> BoxedStrategy<(Vec<FailedCall>, Vec<usize>)> {
    let services = Service::KNOWN.to_vec();
    let call = (0_i64..43_000, proptest::option::of(0_u8..14), proptest::sample::select(services), 0_u8..4);
    let call = call.prop_map(|(seconds, user, service, session)| (seconds, user, service, session));
    proptest::collection::vec(call, 1..=MAX_EVENT_IDS)
        .prop_flat_map(|calls| {
            let count = calls.len();
            let failed =
                |(number, (seconds, user, service, name)): (usize, (i64, Option<u8>, Service, u8))| {
                    let mut provenance = numbered(number, seconds);
                    provenance.actor = session("Admin", &format!("session-{name}"));
                    let mut failed = failed(provenance, user.map(|user| format!("user-{user}")).as_deref());
                    failed.attempt.service = user.map(|_| service);
                    failed
                };
            let calls: Vec<_> = calls.into_iter().enumerate().map(failed).collect();
            let again = proptest::collection::vec(0..count, 0..40);
            let order = again.prop_map(move |again| (0..count).chain(again).collect::<Vec<_>>());
            (Just(calls), order.prop_shuffle())
        })
        .boxed()
}

proptest! {
    #[test]
    fn any_order_and_repetition_of_a_hundred_events_counts_the_same(
        (calls, order) in deliveries(),
        batch in 1_usize..30,
    ) {
        let mut stored = None;
        for batch in order.chunks(batch) {
            stored = CountedAttempts::merge(stored, batch.iter().map(|number| &calls[*number]));
        }
        let stored = stored.unwrap();
        prop_assert_eq!(CountedAttempts::merge(None, &calls), Some(stored.clone()));
        prop_assert_eq!(stored.count, u64::try_from(calls.len()).unwrap());
        let times = || calls.iter().map(|call| call.provenance.event_time);
        prop_assert_eq!((stored.first, stored.last), (times().min().unwrap(), times().max().unwrap()));
        let latest = calls.iter().map(|call| &call.provenance).max_by_key(|event| (event.event_time, *event));
        prop_assert_eq!(Some(&stored.latest), latest);
        let users: BTreeSet<UserName> = calls.iter().filter_map(|call| call.attempt.user.clone()).collect();
        prop_assert_eq!(stored.has_more_users, users.len() > MAX_NAMES);
        prop_assert_eq!(stored.users, users.into_iter().take(MAX_NAMES).collect());
        let services: BTreeSet<Service> = calls.iter().filter_map(|call| call.attempt.service.clone()).collect();
        prop_assert_eq!(stored.services, services);
    }
}

proptest! {
    /// Through the store, and through a line of an export.
    #[test]
    fn a_count_comes_back_equal((calls, _) in deliveries(), from in super::arbitrary::provenance()) {
        let mut expected = CountedAttempts::merge(None, &calls).unwrap();
        let exported = PortableItem::from(PortableContent::Attempts(Box::new(expected.clone())));
        prop_assert_eq!(PortableItem::from_json(&exported.to_json().unwrap()), Ok(exported));

        let calls = calls.into_iter().map(|call| {
            let Provenance { event_id, event_time, .. } = call.provenance;
            FailedCall { provenance: Provenance { event_id, event_time, ..from.clone() }, ..call }
        });
        let calls: Vec<_> = calls.collect();
        expected = CountedAttempts::merge(None, &calls).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Box::pin(async {
            let store = Ledger::in_memory().unwrap();
            let events: Vec<_> = calls.into_iter().map(AuditEvent::FailedCall).collect();
            record(&store, &events).await;
            prop_assert_eq!(counted(&store).await, expected);
            Ok(())
        }))?;
    }
}

#[test]
fn a_redelivery_beyond_a_hundred_events_counts_twice() {
    let calls: Vec<_> = (0..=MAX_EVENT_IDS).map(|number| failed(numbered(number, 1), None)).collect();
    let stored = CountedAttempts::merge(None, &calls);
    assert_eq!(stored.as_ref().unwrap().count, 101);
    let stored = CountedAttempts::merge(stored, &calls[..MAX_EVENT_IDS]);
    assert_eq!(stored.as_ref().unwrap().count, 101, "they are known");
    assert_eq!(CountedAttempts::merge(stored, &calls[MAX_EVENT_IDS..]).unwrap().count, 102);
}

#[test]
fn nobody_is_counted_by_a_name_that_they_choose() {
    let actor = |kind: Option<&str>, principal: Option<&str>, issuer: Option<&str>| cloudtrail::Actor {
        kind: kind.map(str::to_owned),
        principal: principal.map(str::to_owned),
        session_issuer: issuer.map(str::to_owned),
        ..Default::default()
    };
    let role = "arn:aws:iam::111122223333:role/path/Admin";
    let sso = "arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Dev_0123456789abcdef/maria@example.com";
    let sso_role = "arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_Dev_0123456789abcdef";
    let look_alike = "arn:aws:iam::111122223333:role/AWSReservedSSO_Dev_0123456789abcdef";
    let user = "arn:aws:iam::111122223333:user/intern";
    let root = "arn:aws:iam::111122223333:root";
    let any_session = "arn:aws:sts::111122223333:assumed-role/Admin/any";
    let federated = "arn:aws:sts::111122223333:federated-user/any";
    for (actor, expected) in [
        (actor(Some("IAMUser"), Some(user), None), user),
        (actor(Some("Root"), Some(root), None), root),
        (
            actor(Some("AWSService"), Some("cloudformation.amazonaws.com"), None),
            "cloudformation.amazonaws.com",
        ),
        (actor(Some("AssumedRole"), Some(any_session), Some(role)), role),
        (actor(Some("AssumedRole"), Some(any_session), None), "arn:aws:iam::111122223333:role/Admin"),
        (actor(Some("AssumedRole"), None, Some(role)), role),
        (actor(Some("AssumedRole"), Some(sso), Some(sso_role)), sso),
        // Anybody who may create roles can give one this name.
        (actor(Some("AssumedRole"), Some(sso), Some(look_alike)), look_alike),
        (actor(Some("FederatedUser"), Some(federated), Some(user)), user),
        (actor(Some("FederatedUser"), Some(federated), None), "arn:aws:sts::111122223333:federated-user"),
        (actor(Some("IdentityCenterUser"), None, None), "IdentityCenterUser"),
        (actor(None, None, None), "unknown"),
    ] {
        assert_eq!(counted_actor(&actor), expected, "{actor:?}");
    }
}

// ---- storing ----

#[tokio::test]
async fn a_caller_does_not_grow_the_ledger_by_failing() {
    let (_place, dynamodb) = open("attempts-grow").await;
    for store in [dynamodb, Ledger::in_memory().unwrap()] {
        for number in 0..150 {
            let mut provenance = numbered(number, i64::try_from(number).unwrap());
            provenance.actor = session("Admin", &format!("session-{number}"));
            let call = failed(provenance, Some(&format!("user-{number:03}")));
            record(&store, &[AuditEvent::FailedCall(call)]).await;
        }
        let attempts = counted(&store).await;
        assert_eq!((attempts.count, attempts.first, attempts.last), (150, at(0), at(149)));
        assert_eq!(attempts.group.actor, format!("arn:aws:iam::{OWN}:role/Admin"));
        assert_eq!(attempts.latest.actor, session("Admin", "session-149"));
        assert_eq!((attempts.users.len(), attempts.has_more_users), (10, true));
    }
}

#[tokio::test]
async fn what_differs_is_counted_apart() {
    let (_place, dynamodb) = open("attempts-apart").await;
    for store in [dynamodb, Ledger::in_memory().unwrap()] {
        let mut calls: Vec<_> = (0..5).map(|number| failed(numbered(number, 1), None)).collect();
        calls[1].provenance.account = OTHER.parse().unwrap();
        calls[2].provenance.event_time += TimeDelta::days(1);
        calls[3].provenance.actor = session("Other", "x");
        calls[4].attempt.error_code = "LimitExceeded".to_owned();
        let mut other_call = failed(numbered(5, 1), None);
        other_call.attempt.call = Call::Credential(CredentialCall::Delete);
        calls.push(other_call);
        let mut user_call = failed(numbered(6, 1), None);
        user_call.attempt.call = Call::User(UserCall::PutUserPolicy);
        calls.push(user_call);
        let events: Vec<_> = calls.into_iter().map(AuditEvent::FailedCall).collect();
        record(&store, &events).await;
        let found = found(&store, &AuditFilter::default()).await;
        assert_eq!(found.len(), 7);
        assert!(
            found.iter().all(|one| matches!(one, AuditRecord::Attempts(attempts) if attempts.count == 1))
        );
    }
}

#[tokio::test]
async fn each_item_of_a_batch_is_read_once_and_written_once() {
    let (place, store) = open("attempts-batch").await;
    let call = |number: usize| {
        let mut provenance = numbered(number, 1);
        provenance.actor = session(&format!("Role{}", number % 5), "x");
        AuditEvent::FailedCall(failed(provenance, None))
    };
    let mut events: Vec<_> = (0..90).map(call).collect();
    events.push(access_key(numbered(90, 1)));
    record(&store, &events).await;
    if let Some(dynamo) = dynamo(&place) {
        let calls = dynamo.calls();
        assert_eq!(calls, ["TransactWriteItems", "BatchGetItem", "TransactWriteItems"], "access keys first");
        dynamo.forget_calls();
    }
    // What is counted is not written again.
    record(&store, &events[..90]).await;
    if let Some(dynamo) = dynamo(&place) {
        assert_eq!(dynamo.calls(), ["BatchGetItem"]);
    }
    let found = found(&store, &AuditFilter::default()).await;
    assert_eq!(found.len(), 6);
    let counts = found.iter().map(|one| match one {
        AuditRecord::Attempts(attempts) => attempts.count,
        AuditRecord::UserChanged(_) | AuditRecord::UnjudgedKey(_) => 0,
    });
    assert_eq!(counts.sum::<u64>(), 90);
}

/// The writers take each other's counts into account, and none is lost.
#[tokio::test]
async fn writers_at_the_same_time_lose_no_count() {
    let (_place, store) = open("attempts-concurrent").await;
    let write = async |number: usize| {
        let event = [AuditEvent::FailedCall(failed(numbered(number, 1), None))];
        loop {
            match store.record_audit_events(&event).await.remove(0) {
                Ok(()) => return,
                Err(error) => assert_eq!(error.retry, Retry::Transient, "{error}"),
            }
        }
    };
    join_all((0..24).map(write)).await;
    assert_eq!(counted(&store).await.count, 24);
}

/// An entry of an index costs a write of its own, if it moves.
#[tokio::test]
async fn one_more_attempt_moves_no_entry_of_an_index() {
    let (place, store) = open("attempts-places").await;
    let Some(dynamo) = dynamo(&place) else { return };
    let places = || {
        let item = dynamo.items(&place.table).remove(0);
        let is_place = |name: &String| name.ends_with("_key") || name == "pk" || name == "sk";
        let fields = item.as_object().unwrap().iter().filter(|(name, _)| is_place(name));
        let texts = fields.map(|(name, value)| format!("{name} {}", value["S"].as_str().unwrap()));
        texts.collect::<Vec<_>>()
    };
    record(&store, &[AuditEvent::FailedCall(failed(numbered(1, 1), None))]).await;
    let before = places();
    assert_eq!(
        before,
        [
            format!("account_key ATTEMPT#ACCOUNT#{OWN}"),
            "at_key 2026-03-01T00:00:00Z#CreateServiceSpecificCredential".to_owned(),
            "month_key ATTEMPT#MONTH#2026-03".to_owned(),
            format!("pk ATTEMPTS#{OWN}#2026-03"),
            "role_key ATTEMPT#admin".to_owned(),
            format!(
                "sk 2026-03-01#CreateServiceSpecificCredential#AccessDenied#arn:aws:iam::{OWN}:role/Admin"
            ),
        ]
    );
    let mut later = numbered(2, 30_000);
    later.actor = session("Admin", "somebody-else");
    record(&store, &[AuditEvent::FailedCall(failed(later, Some("alice")))]).await;
    assert_eq!(counted(&store).await.count, 2);
    assert_eq!(places(), before);
}

#[tokio::test]
async fn only_attempts_end() {
    let (place, store) = open("attempts-ttl").await;
    super::store_all(&store, [(super::key(1), super::settled(&super::key(1)))]).await;
    let store = store.with_attempt_days("7".parse().unwrap());
    let events = [AuditEvent::FailedCall(failed(numbered(1, 1), None)), access_key(numbered(2, 1))];
    record(&store, &events).await;
    let Some(dynamo) = dynamo(&place) else { return };
    let items = dynamo.items(&place.table);
    let (attempts, others): (Vec<_>, Vec<_>) = items.iter().partition(|item| item["kind"]["S"] == "attempts");
    // The end of the day, and a week.
    let end = (at(0) + TimeDelta::hours(12) + TimeDelta::days(7)).timestamp().to_string();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0]["ttl"]["N"], Value::String(end));
    assert!(others.len() == 3 && others.iter().all(|item| item.get("ttl").is_none()), "{others:?}");
}

/// DynamoDB refuses a sort key of more than 1,024 bytes.
#[tokio::test]
async fn the_longest_texts_have_a_place() {
    let (_place, dynamodb) = open("attempts-long").await;
    for store in [dynamodb, Ledger::in_memory().unwrap()] {
        let long = |begin: &str| format!("{begin}{}", "\u{1f511}".repeat(500));
        for (number, (principal, code)) in
            [(long("a"), long("b")), (long("c"), "x".to_owned()), ("x#y".to_owned(), "#".to_owned())]
                .into_iter()
                .enumerate()
        {
            let mut call = failed(numbered(number, 1), None);
            call.provenance.actor.principal = Some(principal);
            call.attempt.error_code = code;
            record(&store, &[AuditEvent::FailedCall(call.clone()), AuditEvent::FailedCall(call.clone())])
                .await;
            let found = found(&store, &AuditFilter::default()).await;
            let expected = AuditRecord::Attempts(Box::new(CountedAttempts::merge(None, [&call]).unwrap()));
            assert!(found.contains(&expected) && found.len() == number + 1, "{found:?}");
        }
    }
}

// ---- finding ----

/// What is found: the ids of the latest events.
async fn ids(store: &Ledger, filter: &AuditFilter) -> Vec<String> {
    let id = |record: &AuditRecord| record.to_event().provenance.event_id.to_string();
    found(store, filter).await.iter().map(id).collect()
}

fn various_events() -> Vec<AuditEvent> {
    let mut by_user = event("by-user", 30);
    by_user.actor.principal = Some(format!("arn:aws:iam::{OWN}:user/Bob"));
    by_user.actor.session_issuer = None;
    let mut elsewhere = event("elsewhere", 40);
    elsewhere.account = OTHER.parse().unwrap();
    // It is found by its user's name and by its role's.
    let mut twice = event("twice", 50);
    twice.actor.principal =
        Some(format!("arn:aws:sts::{OWN}:assumed-role/AWSReservedSSO_Robot_0123456789abcdef/Robot"));
    twice.actor.session_issuer = Some(format!(
        "arn:aws:iam::{OWN}:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Robot_0123456789abcdef"
    ));
    let mut long_ago = failed(event("long-ago", -100 * 86_400), Some("Alice"));
    "LimitExceeded".clone_into(&mut long_ago.attempt.error_code);
    let mut old_key = event("old-key", -100 * 86_400);
    old_key.actor = by_user.actor.clone();
    vec![
        AuditEvent::FailedCall(failed(event("earlier", 10), None)),
        AuditEvent::FailedCall(failed(event("refused", 20), Some("Alice"))),
        access_key(by_user),
        AuditEvent::FailedCall(failed(elsewhere, None)),
        AuditEvent::FailedCall(failed(twice, None)),
        AuditEvent::FailedCall(long_ago),
        access_key(old_key),
    ]
}

#[tokio::test]
async fn attempts_and_access_keys_are_found_by_account_user_actor_service_and_time() {
    let (_place, dynamodb) = open("audit").await;
    let events = various_events();
    let all = AuditFilter::default;
    let actor = |name: &str| AuditFilter { actor: Some(Actor::from(name)), ..all() };
    let user = |name: &str| AuditFilter { user: Some(name.parse().unwrap()), ..all() };
    let account = |account: &str| AuditFilter { account: Some(account.parse().unwrap()), ..all() };
    let times = |since, until| AuditFilter { since: Some(at(since)), until: Some(at(until)), ..all() };
    let arn = |resource: &str| actor(&format!("arn:aws:{resource}"));
    for store in [dynamodb, Ledger::in_memory().unwrap()] {
        for event in events.iter().chain(&events) {
            record(&store, std::slice::from_ref(event)).await;
        }
        for (filter, expected) in [
            (all(), &["twice", "elsewhere", "by-user", "refused", "old-key", "long-ago"][..]),
            (account(OWN), &["twice", "by-user", "refused", "old-key", "long-ago"]),
            (account(OTHER), &["elsewhere"]),
            (user("alice"), &["refused", "long-ago"]),
            (AuditFilter { user: Some("alice".parse().unwrap()), ..account(OWN) }, &["refused", "long-ago"]),
            // An access key is a finding, however old it is.
            (user("BedrockAPIKey-x7f2"), &["by-user", "old-key"]),
            (actor("bob"), &["by-user", "old-key"]),
            (actor("robot"), &["twice"]),
            (actor("admin"), &["elsewhere", "refused", "long-ago"]),
            (actor("mallory"), &[]),
            (arn(&format!("iam::{OWN}:role/Admin")), &["elsewhere", "refused", "long-ago"]),
            (arn(&format!("iam::{OWN}:role/Other")), &[]),
            // A session is found with all of its role.
            (arn(&format!("sts::{OWN}:assumed-role/Admin/eve")), &["elsewhere", "refused", "long-ago"]),
            (AuditFilter { account: Some(OWN.parse().unwrap()), ..actor("admin") }, &["refused", "long-ago"]),
            (AuditFilter { service: Some(Service::Bedrock), ..all() }, &["refused", "long-ago"]),
            // From 10 to 20 seconds two calls of the role are one count.
            (times(15, 40), &["by-user", "refused"]),
            (times(20, 25), &["refused"]),
            (times(0, 10), &[]),
            (times(21, 30), &[]),
            (AuditFilter { since: Some(at(40)), until: Some(at(20)), ..account(OWN) }, &[]),
        ] {
            let mut found = ids(&store, &filter).await;
            // Those of the same time have no order.
            if let Some(old) = found.iter().position(|id| id == "long-ago" || id == "old-key") {
                found[old..].sort_by(|one, other| other.cmp(one));
            }
            assert_eq!(found, expected, "{filter:?}");
        }
        let long = AuditFilter { since: Some(at(0) - TimeDelta::days(2_000)), ..all() };
        assert!(store.audit_records(&long, at(0)).await.unwrap().is_err());
    }
}
