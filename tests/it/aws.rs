//! The adapters of AWS's SDK over real HTTP: the ledger against a DynamoDB, the keys against IAM.
//!
//! The tests whose names begin with `ledger_` run against whatever DynamoDB `KEY_GUARD_TEST_DYNAMODB` names,
//! and against the embedded one otherwise.

use std::collections::HashMap;
use std::sync::Arc;

use crate::support::dynamodb::{Dynamo, MOST, Place, adopt};
use crate::support::iam::{Iam, StoredKey};
use crate::support::{Fault, OTHER, OWN};
use aws_sdk_dynamodb::types::{AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType};
use bedrock_key_guard::aws::keys::{IamAccess, IamKeys, Own};
use bedrock_key_guard::clock::Clock;
use bedrock_key_guard::corridor::{Corridor, Reach};
use bedrock_key_guard::enforce::{Failure, Key, Keys, Known, Ledger, Opened, Settled};
use bedrock_key_guard::ledger::Outcome;
use bedrock_key_guard::ledger::{DynamoLedger, Entry, LedgerError, Source};
use bedrock_key_guard::plan::{Hands, Plan};
use bedrock_key_guard::telemetry::chain;
use chrono::{DateTime, TimeDelta, Utc};
use key_guard_core::cloudtrail::{Actor, EventKind, ParsedEvent, parse_record};
use key_guard_core::policy::{Policy, Response, Scope};
use key_guard_core::report::{self, Report};
use serde_json::{Value, json};

const ID: &str = "ACCAEXAMPLEKEY0000001";
const USER: &str = "svc-chatbot";
const TABLE: &str = "keys";

fn created() -> DateTime<Utc> {
    "2026-11-20T09:00:00Z".parse().unwrap()
}

fn event(id: &str, account: &str, days: Option<i64>) -> ParsedEvent {
    let mut credential = json!({
        "serviceSpecificCredentialId": id, "userName": USER, "serviceName": "bedrock.amazonaws.com",
        "createDate": "Nov 20, 2026, 9:00:00\u{202f}AM",
    });
    if let Some(days) = days {
        credential["expirationDate"] = json!((created() + TimeDelta::days(days)).to_rfc3339());
    }
    let record = json!({
        "eventSource": "iam.amazonaws.com", "eventName": "CreateServiceSpecificCredential",
        "eventTime": "2026-11-20T09:00:00Z", "eventID": "5d1c0001-7b1e-4c3a-9f00-000000000001",
        "recipientAccountId": account,
        "userIdentity": {"type": "Root", "arn": format!("arn:aws:iam::{account}:root")},
        "responseElements": {"serviceSpecificCredential": credential},
    });
    parse_record(&record).unwrap()
}

// ---- the ledger ----

impl Place {
    async fn items(&self) -> Vec<HashMap<String, AttributeValue>> {
        let pk = AttributeValue::S(format!("KEY#{OWN}#{ID}"));
        let query = self.client.query().table_name(&self.table).key_condition_expression("pk = :pk");
        let answer = query.expression_attribute_values(":pk", pk).consistent_read(true).send().await.unwrap();
        answer.items().to_vec()
    }

    fn expect_calls(&self, expected: usize) {
        if let Some(dynamo) = &self.embedded {
            let calls = dynamo.calls().into_iter().filter(|call| call == "TransactWriteItems").count();
            assert_eq!(calls, expected);
        }
    }
}

fn entry(days: Option<i64>, hands: Hands) -> Entry {
    let ParsedEvent::Relevant(ours) = event(ID, OWN, days) else { panic!() };
    let EventKind::Created(new) = &ours.kind else { panic!() };
    let key = Key::created(new);
    let policy = Policy::built_in().unwrap();
    let Scope::InScope(judgement) = key.assess(&policy, [], ours.provenance.event_time) else { panic!() };
    let plan = Plan::Confirm(Response::Delete);
    let response = Response::Delete;
    let (source, now) = (Source::Event, created() + TimeDelta::seconds(4));
    Entry::new(&key, &ours.provenance, &judgement, policy.sha256(), plan, response, source, hands, now)
}

fn existing(opened: Opened) -> Entry {
    match opened {
        Opened::Existing(Known::Entry(entry)) => *entry,
        other @ (Opened::New | Opened::Existing(_) | Opened::Spent) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn ledger_opens_an_entry_once_and_returns_it_whole_ever_after() {
    for days in [None, Some(365)] {
        let place = Place::new(&format!("open-{}", days.unwrap_or(0))).await;
        let entry = entry(days, Hands::Free);
        assert!(matches!(place.ledger.open(&entry, MOST).await.unwrap(), Opened::New));
        place.expect_calls(1);
        let mut other = entry.clone();
        other.reason = "another".to_owned();
        assert_eq!(existing(place.ledger.open(&other, MOST).await.unwrap()), entry);
        place.expect_calls(2);
        let items = place.items().await;
        let keys: Vec<_> = items.iter().map(|item| item["sk"].as_s().unwrap().as_str()).collect();
        assert_eq!(keys, ["AT#2026-11-20T09:00:00Z#5d1c0001-7b1e-4c3a-9f00-000000000001", "STATE"]);
    }
}

#[tokio::test]
async fn ledger_outcomes_only_move_up_and_history_is_append_only() {
    let place = Place::new("settle").await;
    let mut entry = entry(None, Hands::Free);
    place.ledger.open(&entry, MOST).await.unwrap();
    let mut before = place.items().await;
    let mut at = created() + TimeDelta::seconds(5);
    for (outcome, moves) in [
        (Outcome::Confirmed, true),
        (Outcome::Monitored, true),
        (Outcome::Recorded, false),
        (Outcome::AlreadyGone, true),
        (Outcome::AlreadyGone, false),
        (Outcome::Deleted, true),
        (Outcome::Deactivated, false),
        (Outcome::Deleted, false),
    ] {
        entry.outcome = outcome;
        at += TimeDelta::seconds(1);
        match place.ledger.settle(&entry, at).await.unwrap() {
            Settled::Now(written) => {
                assert!(moves, "{outcome} moved");
                entry.rev = written.rev;
            }
            Settled::Before(stored) => {
                assert!(!moves, "{outcome} did not move");
                assert!(stored.outcome.rank() >= outcome.rank());
            }
        }
        let items = place.items().await;
        for line in before.iter().filter(|item| item["sk"].as_s().unwrap() != "STATE") {
            assert!(items.contains(line), "a history line changed");
        }
        assert_eq!(items.len(), before.len() + usize::from(moves));
        before = items;
    }
    place.expect_calls(9);
}

#[tokio::test]
async fn ledger_adopts_a_rehearsal_and_nothing_else() {
    let place = Place::new("adopt").await;
    let rehearsed = entry(None, Hands::Tied);
    place.ledger.open(&rehearsed, MOST).await.unwrap();
    let real = entry(None, Hands::Free);
    assert_eq!(existing(place.ledger.open(&real, MOST).await.unwrap()), rehearsed);
    let at = created() + TimeDelta::seconds(5);
    assert!(matches!(adopt(&place.ledger, &real, at).await, Opened::New));
    let again = existing(adopt(&place.ledger, &real, at + TimeDelta::seconds(1)).await);
    assert_eq!(again, Entry { rev: 2, ..real });
    assert_eq!(place.items().await.len(), 3);
}

#[tokio::test]
async fn ledger_does_not_settle_what_was_never_opened() {
    let place = Place::new("unopened").await;
    let mut entry = entry(None, Hands::Free);
    entry.outcome = Outcome::Deleted;
    let error = place.ledger.settle(&entry, created()).await.unwrap_err();
    assert!(matches!(error, LedgerError::Unreadable { .. }), "{error}");
    assert!(place.items().await.is_empty());
}

#[tokio::test]
async fn ledger_items_of_another_version_or_hand_are_errors_that_say_so() {
    for (version, says) in [
        (Some(AttributeValue::N("1".to_owned())), "its schema version is 1; this build reads 2"),
        (Some(AttributeValue::N("4".to_owned())), "its schema version is 4; this build reads 2 to 3"),
        (Some(AttributeValue::N("2".to_owned())), "missing field"),
        (None, "no schema version"),
    ] {
        let place = Place::new(&format!("foreign-{}", &says.replace([' ', ';'], "-"))).await;
        let key = AttributeValue::S(format!("KEY#{OWN}#{ID}"));
        let put = place.client.put_item().table_name(&place.table).item("pk", key);
        let put = put.item("sk", AttributeValue::S("STATE".to_owned()));
        let put = match version {
            Some(version) => put.item("v", version),
            None => put,
        };
        put.send().await.unwrap();
        let error = place.ledger.open(&entry(None, Hands::Free), MOST).await.unwrap_err();
        assert_eq!(error.error_type(), "LedgerItemUnreadable");
        let message = error.to_string();
        assert!(message.contains(ID) && message.contains(says), "{message}");
    }
}

#[tokio::test]
async fn ledger_table_that_is_missing_or_another_says_what_is_expected() {
    const EXPECTED: &str = "expected a table with the string keys pk (partition) and sk (sort)";
    let place = Place::new("other").await;
    let missing = DynamoLedger::new(place.client.clone(), "no-such-table");
    let error = missing.open(&entry(None, Hands::Free), MOST).await.unwrap_err();
    assert_eq!(error.error_type(), "LedgerTableMissing");
    assert!(error.to_string().contains(EXPECTED) && error.to_string().contains("no-such-table"), "{error}");

    let table = format!("wrong-keys-{}", std::process::id());
    let id = AttributeDefinition::builder()
        .attribute_name("id")
        .attribute_type(aws_sdk_dynamodb::types::ScalarAttributeType::S)
        .build()
        .unwrap();
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build().unwrap();
    let make = place.client.create_table().table_name(&table).billing_mode(BillingMode::PayPerRequest);
    make.attribute_definitions(id).key_schema(key).send().await.unwrap();
    let wrong = DynamoLedger::new(place.client.clone(), &table);
    let error = wrong.open(&entry(None, Hands::Free), MOST).await.unwrap_err();
    if place.embedded.is_some() {
        assert_eq!(error.error_type(), "LedgerSchemaMismatch", "{}", chain(&error));
        assert!(error.to_string().contains(EXPECTED), "{error}");
    } else {
        // moto stumbles over it (`KeyError`) rather than refusing it in DynamoDB's words.
        assert!(error.to_string().contains(&table), "{error}");
    }
}

#[tokio::test]
async fn ledger_serves_look_ups_by_user_actor_and_day_without_a_scan() {
    let place = Place::new("indexes").await;
    place.ledger.open(&entry(None, Hands::Free), MOST).await.unwrap();
    let day: Vec<_> = (0..16).map(|shard| format!("DAY#2026-11-20#{shard:x}")).collect();
    for (index, key, values) in [
        ("by_user", "user_key", vec![format!("NAME#{}", USER.to_ascii_lowercase())]),
        ("by_actor", "actor_key", vec!["NAME#root".to_owned()]),
        ("by_day", "day_key", day),
    ] {
        let mut found = 0;
        for value in values {
            let query = place.client.query().table_name(&place.table).index_name(index);
            let query = query.key_condition_expression(format!("{key} = :value"));
            let answer = query.expression_attribute_values(":value", AttributeValue::S(value)).send().await;
            found += answer.unwrap().count();
        }
        assert_eq!(found, 1, "{index}");
    }
}

// ---- the corridor over HTTP ----

#[derive(Debug, Clone, Copy)]
struct At(DateTime<Utc>);
impl Clock for At {
    fn now(&self) -> DateTime<Utc> {
        self.0
    }
}

struct World {
    dynamo: Dynamo,
    iam: Iam,
    ledger: DynamoLedger,
    access: IamAccess,
}

impl World {
    async fn new() -> Self {
        Self::with_responder(None).await
    }

    async fn with_responder(role: Option<&str>) -> Self {
        let (dynamo, iam) = (Dynamo::start(), Iam::start());
        let ledger = dynamo.ledger(TABLE).await;
        let access = IamAccess::new(iam.sdk().await, role.map(|role| role.parse().unwrap()));
        Self { dynamo, iam, ledger, access }
    }

    fn corridor(&self, after: TimeDelta) -> Corridor<DynamoLedger, IamKeys, At> {
        Corridor {
            policy: Arc::new(Policy::built_in().unwrap()),
            ceiling: Response::Delete,
            source: Source::Event,
            ledger: self.ledger.clone(),
            reach: Reach::Keys(
                self.access
                    .clone()
                    .at(format!("arn:aws:lambda:us-east-1:{OWN}:function:g").parse().unwrap(), None),
            ),
            clock: At(created() + after),
        }
    }

    async fn take(&self, event: &ParsedEvent) -> Result<Report, Failure> {
        Box::pin(self.corridor(TimeDelta::minutes(5)).take(event)).await
    }

    /// What Lambda does when that has failed, after a minute.
    async fn take_again(&self, event: &ParsedEvent) -> Result<Report, Failure> {
        Box::pin(self.corridor(TimeDelta::minutes(6)).take(event)).await
    }

    fn outcome(&self) -> Value {
        self.dynamo.state(TABLE).unwrap()["outcome"]["S"].clone()
    }
}

const LIST: &str = "ListServiceSpecificCredentials";
const DELETE: &str = "DeleteServiceSpecificCredential";
const WRITE: &str = "TransactWriteItems";

#[tokio::test]
async fn a_compliant_key_costs_one_call_and_a_deleted_one_four() {
    let world = World::new().await;
    world.take(&event(ID, OWN, Some(90))).await.unwrap();
    assert_eq!((world.dynamo.calls(), world.iam.actions()), (vec![WRITE.to_owned()], vec![]));

    let world = World::new().await;
    world.iam.put(ID, USER, created(), None);
    assert_eq!(world.take(&event(ID, OWN, None)).await.unwrap().outcome, Outcome::Deleted);
    assert_eq!(world.dynamo.calls(), [WRITE, WRITE]);
    assert_eq!(world.iam.actions(), [LIST, DELETE]);
    assert_eq!(world.iam.keys(), []);
    // Redelivery is one more call, to the ledger.
    assert_eq!(world.take(&event(ID, OWN, None)).await.unwrap().outcome, Outcome::Deleted);
    assert_eq!((world.dynamo.calls().len(), world.iam.actions().len()), (3, 2));
}

#[tokio::test]
async fn every_option_is_explicit_at_the_call() {
    let world = World::new().await;
    world.iam.put(ID, USER, created(), None);
    world.take(&event(ID, OWN, None)).await.unwrap();
    for call in world.iam.calls() {
        assert_eq!(call.parameters["UserName"], USER, "{call:?}");
        assert!(!call.parameters.contains_key("AllUsers"));
    }
    assert_eq!(world.iam.calls()[0].parameters["MaxItems"], "1000");
    assert_eq!(world.iam.calls()[1].parameters["ServiceSpecificCredentialId"], ID);
}

#[tokio::test]
async fn a_renamed_user_is_found_and_a_new_user_of_the_old_name_is_left_alone() {
    let world = World::new().await;
    world.iam.put(ID, USER, created(), None);
    world.iam.rename_user(OWN, USER, "svc-renamed");
    world.iam.put("ACCABYSTANDER00000001", USER, created(), None);
    let report = world.take(&event(ID, OWN, None)).await.unwrap();
    assert_eq!((report.outcome, report.user.unwrap().as_str()), (report::Outcome::Deleted, "svc-renamed"));
    let left: Vec<_> = world.iam.keys().into_iter().map(|key| key.id).collect();
    assert_eq!(left, ["ACCABYSTANDER00000001"]);
}

/// Renamed between two pages of a list, a user may be on none of them: one look is no proof (I5).
#[tokio::test]
async fn a_key_that_is_on_no_page_is_looked_for_again() {
    let world = World::new().await;
    world.iam.page(2, std::time::Duration::ZERO);
    for (number, user) in ["a-user", "b-user", "c-user"].into_iter().enumerate() {
        world.iam.put(&format!("ACCABYSTANDER{number:08}"), user, created(), Some(30));
    }
    world.iam.put(ID, USER, created(), None);
    // In the list of its user, and on both pages of that of all.
    world.iam.change(ID, |key| key.hidden = 3);
    let report = world.take(&event(ID, OWN, None)).await.unwrap();
    assert_eq!(report.outcome, Outcome::Deleted, "{}", report.reason);
    assert_eq!(world.iam.keys().len(), 3);
}

#[tokio::test]
async fn a_neighbour_of_another_service_is_left_alone_and_the_users_too() {
    let world = World::new().await;
    world.iam.put(ID, USER, created(), None);
    let neighbour = StoredKey {
        id: "ACCABYSTANDER00000001".to_owned(),
        service: "codecommit.amazonaws.com".to_owned(),
        ..world.iam.key(ID).unwrap()
    };
    world.iam.put_key(neighbour.clone());
    world.take(&event(ID, OWN, None)).await.unwrap();
    assert_eq!(world.iam.keys(), [neighbour]);
}

#[tokio::test]
async fn a_key_that_turns_out_to_be_for_another_service_is_left_alone() {
    let world = World::new().await;
    world.iam.put(ID, USER, created(), None);
    let mut key = world.iam.key(ID).unwrap();
    key.service = "codecommit.amazonaws.com".to_owned();
    let world = World::new().await;
    world.iam.put_key(key);
    let report = world.take(&event(ID, OWN, None)).await.unwrap();
    assert_eq!(report.outcome, Outcome::Recorded);
    assert!(report.reason.contains("codecommit.amazonaws.com"), "{}", report.reason);
    assert_eq!(world.iam.actions(), [LIST]);
}

#[tokio::test]
async fn denied_by_the_owners_name_the_key_is_looked_for_everywhere() {
    for code in ["ValidationError", "NoSuchEntity"] {
        let world = World::new().await;
        world.iam.put(ID, "svc-new-name", created(), None);
        world.iam.add_user(OWN, USER);
        // The list by the old name is empty, the key is found under the new one.
        world.iam.fault(DELETE, Fault::Refused(400, code), 1);
        let failure = world.take(&event(ID, OWN, None)).await.unwrap_err();
        assert_eq!(failure.error_type(), "IamContradiction", "{code}");
        assert!(world.iam.key(ID).is_some());
        assert_eq!(world.take_again(&event(ID, OWN, None)).await.unwrap().outcome, Outcome::Deleted);
    }
}

#[tokio::test]
async fn the_list_of_all_users_is_read_to_its_last_page() {
    let world = World::new().await;
    for n in 0..2_500 {
        world.iam.put(&format!("ACCAFILLER{n:011}"), &format!("user-{n}"), created(), Some(1));
    }
    world.iam.put(ID, "svc-renamed", created(), None);
    let report = world.take(&event(ID, OWN, None)).await.unwrap();
    assert_eq!(report.outcome, Outcome::Deleted);
    assert_eq!(world.iam.actions(), [LIST, LIST, LIST, LIST, DELETE]);
    assert_eq!(world.iam.keys().len(), 2_500);
}

#[tokio::test]
async fn a_key_that_lists_do_not_have_yet_is_an_error_and_later_gone() {
    let world = World::new().await;
    world.iam.put_key(StoredKey {
        account: OWN.to_owned(),
        id: ID.to_owned(),
        user: USER.to_owned(),
        service: "bedrock.amazonaws.com".to_owned(),
        created: created(),
        expires: None,
        status: "Active",
        hidden: 2,
        lacks: None,
    });
    let early = Box::pin(world.corridor(TimeDelta::seconds(3)).take(&event(ID, OWN, None))).await;
    assert_eq!(early.unwrap_err().error_type(), "KeyNotListedYet");
    assert_eq!(world.outcome(), "open");
    assert_eq!(world.take(&event(ID, OWN, None)).await.unwrap().outcome, Outcome::Deleted);

    let world = World::new().await;
    let report = world.take(&event(ID, OWN, None)).await.unwrap();
    assert_eq!(report.outcome, Outcome::AlreadyGone);
}

#[tokio::test]
async fn inactive_and_expired_keys_are_left_alone() {
    for status in ["Inactive", "Expired"] {
        let world = World::new().await;
        world.iam.put(ID, USER, created(), None);
        let key = StoredKey { status, ..world.iam.key(ID).unwrap() };
        let world = World::new().await;
        world.iam.put_key(key);
        assert_eq!(world.take(&event(ID, OWN, None)).await.unwrap().outcome, Outcome::AlreadyInactive);
        assert_eq!(world.iam.actions(), [LIST], "{status}");
    }
}

#[tokio::test]
async fn an_answer_without_a_required_field_is_unreadable_and_nothing_is_done() {
    for lacks in ["CreateDate", "ServiceName", "UserName", "Status"] {
        let world = World::new().await;
        world.iam.put(ID, USER, created(), None);
        let key = StoredKey { lacks: Some(lacks), ..world.iam.key(ID).unwrap() };
        let world = World::new().await;
        world.iam.put_key(key);
        let failure = world.take(&event(ID, OWN, None)).await.unwrap_err();
        assert_eq!(failure.error_type(), "IamAnswerUnreadable", "{lacks}");
        assert!(chain(&failure).contains(lacks), "{}", chain(&failure));
        assert_eq!(world.iam.actions(), [LIST]);
        assert_eq!(world.outcome(), "open");
    }
}

/// The row of the table on bad input: retried where that is right, else an error with the code; redelivery
/// completes the work.
#[tokio::test]
async fn what_fails_is_retried_or_named_and_redelivery_completes_the_work() {
    let throttled = Fault::Refused(400, "Throttling");
    let denied = Fault::Refused(403, "AccessDenied");
    let (busy, exceeded) = (
        Fault::Refused(503, "ServiceUnavailable"),
        Fault::Refused(400, "ProvisionedThroughputExceededException"),
    );
    for (operation, fault, times, code) in [
        (LIST, throttled, 2, None),
        (LIST, busy, 2, None),
        (LIST, Fault::Cut, 2, None),
        (LIST, throttled, 3, Some("Throttling")),
        (LIST, denied, 1, Some("AccessDenied")),
        (DELETE, throttled, 2, None),
        (DELETE, busy, 3, Some("ServiceUnavailable")),
        (DELETE, denied, 1, Some("AccessDenied")),
        (WRITE, exceeded, 2, None),
        (WRITE, Fault::Refused(500, "InternalServerError"), 2, None),
        (WRITE, exceeded, 3, Some("ProvisionedThroughputExceededException")),
        (WRITE, Fault::Refused(400, "AccessDeniedException"), 1, Some("AccessDeniedException")),
        (WRITE, Fault::Cut, 2, None),
        (WRITE, Fault::Cut, 3, Some("TransactWriteItems on table")),
    ] {
        let name = format!("{operation} {fault:?} × {times}");
        let world = World::new().await;
        world.iam.put(ID, USER, created(), None);
        world.iam.fault(operation, fault, times);
        world.dynamo.fault(operation, fault, times);
        match (world.take(&event(ID, OWN, None)).await, code) {
            (Ok(report), None) => assert_eq!(report.outcome, Outcome::Deleted, "{name}"),
            (Err(failure), Some(code)) => {
                assert!(chain(&failure).contains(code), "{name}: {}", chain(&failure));
                let report = world.take_again(&event(ID, OWN, None)).await.unwrap();
                assert_eq!(report.outcome, Outcome::Deleted, "{name}");
            }
            (Ok(report), Some(_)) => panic!("{name}: {report:?}"),
            (Err(failure), None) => panic!("{name}: {}", chain(&failure)),
        }
        assert_eq!(world.iam.keys(), [], "{name}");
        assert_eq!(world.outcome(), "deleted", "{name}");
    }
}

#[tokio::test]
async fn a_lost_reply_to_a_write_is_not_taken_for_another_delivery() {
    let world = World::new().await;
    world.iam.put(ID, USER, created(), None);
    world.dynamo.fault(WRITE, Fault::ReplyLost, 1);
    assert_eq!(world.take(&event(ID, OWN, None)).await.unwrap().outcome, Outcome::Deleted);
    // The state, two lines, and the breaker's count.
    assert_eq!(world.dynamo.items(TABLE).len(), 4);
}

#[tokio::test]
async fn a_lost_reply_to_a_delete_ends_as_gone_by_iams_word() {
    let world = World::new().await;
    world.iam.put(ID, USER, created(), None);
    world.iam.fault(DELETE, Fault::ReplyLost, 1);
    let report = world.take(&event(ID, OWN, None)).await.unwrap();
    assert_eq!(report.outcome, Outcome::AlreadyGone);
    // Deleted, retried by the SDK, denied, and then looked for over all users.
    assert_eq!(world.iam.actions(), [LIST, DELETE, DELETE, LIST]);
    assert_eq!(world.iam.calls()[3].parameters["AllUsers"], "true");
}

#[tokio::test]
async fn what_hangs_ends_in_an_error_within_the_operation_timeout() {
    let world = World::new().await;
    world.iam.put(ID, USER, created(), None);
    world.iam.fault(LIST, Fault::Hangs, 3);
    let began = std::time::Instant::now();
    let failure = world.take(&event(ID, OWN, None)).await.unwrap_err();
    assert_eq!(failure.error_type(), "IamCallFailed");
    let limit = bedrock_key_guard::aws::OPERATION_TIMEOUT + std::time::Duration::from_secs(1);
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
    assert_eq!(world.take_again(&event(ID, OWN, None)).await.unwrap().outcome, Outcome::Deleted);
}

#[tokio::test]
async fn another_account_is_reached_through_the_responder_role_assumed_once() {
    let world = World::with_responder(Some("key-guard-responder")).await;
    let ids = [ID, "ACCAEXAMPLEKEY0000002", "ACCAEXAMPLEKEY0000003"];
    for id in ids {
        world.iam.put(id, USER, created(), None);
        let key = StoredKey { account: OTHER.to_owned(), ..world.iam.key(id).unwrap() };
        world.iam.put_key(key);
    }
    for id in ids {
        assert_eq!(world.take(&event(id, OTHER, None)).await.unwrap().outcome, Outcome::Deleted);
    }
    assert_eq!(world.iam.actions().iter().filter(|action| *action == "AssumeRole").count(), 1);
    let assumed = &world.iam.calls()[0].parameters;
    assert_eq!(assumed["RoleArn"], format!("arn:aws:iam::{OTHER}:role/key-guard-responder"));
    assert_eq!(assumed["RoleSessionName"], "bedrock-key-guard");
    let left: Vec<_> = world.iam.keys().into_iter().map(|key| key.account).collect();
    assert_eq!(left, [OWN; 3], "the own account's keys of the same ids are others");
}

#[tokio::test]
async fn another_account_without_a_role_is_recorded_and_fails_by_the_variables_name() {
    let world = World::new().await;
    let failure = world.take(&event(ID, OTHER, None)).await.unwrap_err();
    assert_eq!(failure.error_type(), "ResponderRoleNotSet");
    assert!(chain(&failure).contains("KEY_GUARD_RESPONDER_ROLE"), "{}", chain(&failure));
    assert_eq!(world.outcome(), "open");
    assert_eq!(world.iam.calls(), []);
    // A compliant key of another account needs nothing of IAM.
    let world = World::new().await;
    assert_eq!(world.take(&event(ID, OTHER, Some(1))).await.unwrap().outcome, Outcome::Recorded);
}

/// The stand-in is only worth as much as it behaves like IAM.
#[tokio::test]
async fn the_stand_in_makes_keys_as_iam_does() {
    let iam = Iam::start();
    iam.add_user(OWN, USER);
    let client = aws_sdk_iam::Client::new(&iam.sdk().await);
    let create = |age: Option<i32>| {
        let call = client.create_service_specific_credential().user_name(USER);
        call.service_name("Bedrock.amazonaws.com").set_credential_age_days(age).send()
    };
    let never = create(None).await.unwrap().service_specific_credential.unwrap();
    assert_eq!((never.service_name(), never.expiration_date()), ("bedrock.amazonaws.com", None));
    assert!(create(Some(36_601)).await.is_err());
    let aged = create(Some(30)).await.unwrap().service_specific_credential.unwrap();
    assert_eq!(aged.expiration_date().unwrap().secs() - aged.create_date().secs(), 30 * 86_400);
    let third = create(Some(1)).await.unwrap_err().into_service_error();
    assert!(third.is_limit_exceeded_exception());
    let reset = client.reset_service_specific_credential().user_name(USER);
    let reset =
        reset.service_specific_credential_id(aged.service_specific_credential_id()).send().await.unwrap();
    let reset = reset.service_specific_credential.unwrap();
    assert_eq!(reset.expiration_date(), aged.expiration_date());
}

/// Who called, by who the guard is: a function, or a person, who does other things in the same name, too.
#[tokio::test]
async fn the_guards_own_calls_are_told_from_those_of_others() {
    let iam = Iam::start();
    let at = async |own: Option<Own>| {
        let access = IamAccess::new(iam.sdk().await, Some("key-guard-responder".parse().unwrap()));
        access.at(format!("arn:aws:lambda:us-east-1:{OWN}:function:g").parse().unwrap(), own)
    };
    let by = |arn: &str| Actor { principal: Some(arn.to_owned()), ..Actor::default() };
    let function = at(Some(Own::Function("guard".to_owned()))).await;
    let person = at(Some(Own::Person("assumed-role/Admin/maria".to_owned()))).await;
    let nobody = at(None).await;
    let (own, other) = (OWN.parse().unwrap(), OTHER.parse().unwrap());
    for (account, arn, expected) in [
        (&own, format!("arn:aws:sts::{OWN}:assumed-role/key-guard-Role-1X/guard"), [true, false, false]),
        (&own, format!("arn:aws-cn:sts::{OWN}:assumed-role/r/guard"), [true, false, false]),
        (&own, format!("arn:aws:sts::{OTHER}:assumed-role/r/guard"), [false; 3]),
        (&own, format!("arn:aws:sts::{OWN}:assumed-role/r/not-guard"), [false; 3]),
        (&own, format!("arn:aws:iam::{OWN}:user/guard"), [false; 3]),
        // What she does otherwise is hers.
        (&own, format!("arn:aws:sts::{OWN}:assumed-role/Admin/maria"), [false; 3]),
        (
            &other,
            format!("arn:aws:sts::{OTHER}:assumed-role/key-guard-responder/bedrock-key-guard"),
            [true; 3],
        ),
        (&other, format!("arn:aws:sts::{OTHER}:assumed-role/another/bedrock-key-guard"), [false; 3]),
        (&other, format!("arn:aws:sts::{OTHER}:assumed-role/key-guard-responder/someone"), [false; 3]),
        (&other, "cloudformation.amazonaws.com".to_owned(), [false; 3]),
    ] {
        let found = [&function, &person, &nobody].map(|keys| keys.is_own(account, &by(&arn)));
        assert_eq!(found, expected, "{arn}");
    }
    let acts_as = |keys: &IamKeys| [keys.acts_as(&own), keys.acts_as(&other)].map(Option::unwrap_or_default);
    let responder = "assumed-role/key-guard-responder/bedrock-key-guard";
    assert_eq!(acts_as(&function), ["assumed-role/*/guard", responder]);
    assert_eq!(acts_as(&person), ["assumed-role/Admin/maria", responder]);
    assert_eq!(acts_as(&nobody), ["", responder]);
}
