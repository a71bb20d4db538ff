//! The adapters of AWS's SDK over real HTTP: the ledger against a DynamoDB, the keys against IAM. `end_to_end.rs` has what
//! becomes of a key.
//!
//! The tests whose names begin with `ledger_` run against whatever DynamoDB `KEY_GUARD_TEST_DYNAMODB` names,
//! and against one of this process otherwise.

use std::time::{Duration, Instant};

use crate::support::dynamodb::{Dynamo, Place, phase_name};
use crate::support::iam::{Iam, StoredKey};
use crate::support::{Fault, OTHER, OWN};
use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType};
use bedrock_key_guard::aws::credentials::IamCredentials;
use bedrock_key_guard::clock::Clock;
use bedrock_key_guard::ledger::error::LedgerError;
use bedrock_key_guard::ledger::store::Ledger;
use bedrock_key_guard::runtime::event::{EventError, process_event};
use bedrock_key_guard::runtime::executor::{Executor, WorkerIds};
use bedrock_key_guard::telemetry::chain;
use chrono::{DateTime, TimeDelta, Utc};
use key_guard_core::cloudtrail::{ParsedEvent, parse_record};
use key_guard_core::key::KeyRef;
use key_guard_core::lifecycle::input::Ceiling;
use key_guard_core::lifecycle::result::SessionError;
use key_guard_core::policy::Policy;
use key_guard_core::ports::KeyStore as _;
use key_guard_core::report::{Outcome, Report};
use serde_json::json;

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

async fn load_error(store: &Ledger) -> LedgerError {
    let key = KeyRef { account: OWN.parse().unwrap(), id: ID.parse().unwrap() };
    let error = store.load(&[key]).await.pop().unwrap().unwrap_err();
    *error.source.downcast().unwrap()
}

#[tokio::test]
async fn ledger_table_that_is_missing_or_another_says_what_is_expected() {
    const EXPECTED: &str = "expected a table with the string keys pk (partition) and sk (sort)";
    let place = Place::new("other").await;
    let error = load_error(&Ledger::dynamodb(place.client.clone(), "no-such-table")).await;
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
    let error = load_error(&Ledger::dynamodb(place.client.clone(), &table)).await;
    if place.embedded.is_some() {
        assert_eq!(error.error_type(), "LedgerSchemaMismatch", "{}", chain(&error));
        assert!(error.to_string().contains(EXPECTED), "{error}");
    } else {
        // moto stumbles over it (`KeyError`) rather than refusing it in DynamoDB's words.
        assert!(error.to_string().contains(&table), "{error}");
    }
}

// ---- events over HTTP ----

/// A clock that shows another time, and goes as fast.
struct Shifted {
    start: DateTime<Utc>,
    began: Instant,
}

impl Clock for Shifted {
    fn now(&self) -> DateTime<Utc> {
        self.start + TimeDelta::from_std(self.began.elapsed()).unwrap()
    }
}

struct World {
    dynamo: Dynamo,
    iam: Iam,
    store: Ledger,
    api: IamCredentials,
    workers: WorkerIds,
}

impl World {
    async fn new() -> Self {
        Self::with_responder(None).await
    }

    async fn with_responder(role: Option<&str>) -> Self {
        let (dynamo, iam) = (Dynamo::start(), Iam::start());
        let store = dynamo.ledger(TABLE).await;
        let home = format!("arn:aws:lambda:us-east-1:{OWN}:function:g").parse().unwrap();
        let api = IamCredentials::new(iam.sdk().await, home, role.map(|role| role.parse().unwrap()));
        Self { dynamo, iam, store, api, workers: WorkerIds::new("test") }
    }

    async fn with_key(status: &'static str) -> Self {
        let world = Self::new().await;
        world.iam.put(ID, USER, created(), None);
        world.iam.change(ID, |key| key.status = status);
        world
    }

    /// Deals with an event so long after the key was created.
    async fn process_after(&self, after: TimeDelta, event: &ParsedEvent) -> Result<Report, EventError> {
        let (policy, start) = (Policy::built_in().unwrap(), created() + after);
        let clock = Shifted { start, began: Instant::now() };
        let executor = Executor {
            policy: &policy,
            ceiling: Ceiling::Delete,
            deadline: start + TimeDelta::seconds(30),
            workers: &self.workers,
            store: &self.store,
            api: &self.api,
            clock: &clock,
        };
        Box::pin(process_event(&executor, &self.store, event.clone())).await
    }

    async fn process(&self, event: &ParsedEvent) -> Result<Report, EventError> {
        self.process_after(TimeDelta::minutes(5), event).await
    }

    /// What Lambda does when that has failed, after a minute or two.
    async fn redeliver(&self, event: &ParsedEvent) -> Result<Report, EventError> {
        self.process_after(TimeDelta::minutes(7), event).await
    }

    /// The phase of the only key.
    fn phase(&self) -> &'static str {
        let states = self.dynamo.states(TABLE);
        assert_eq!(states.len(), 1);
        phase_name(&states[0].1)
    }
}

fn outcome(result: Result<Report, EventError>) -> Outcome {
    result.unwrap_or_else(|error| panic!("{}", chain(&error))).outcome
}

fn session_error(result: Result<Report, EventError>) -> SessionError {
    match result {
        Err(EventError::Session(error)) => error,
        other => panic!("{other:?}"),
    }
}

const LIST: &str = "ListServiceSpecificCredentials";
const DELETE: &str = "DeleteServiceSpecificCredential";
const WRITE: &str = "TransactWriteItems";

#[tokio::test]
async fn a_compliant_key_costs_one_call_and_a_deleted_one_four() {
    let world = World::new().await;
    world.process(&event(ID, OWN, Some(90))).await.unwrap();
    assert_eq!((world.dynamo.calls(), world.iam.actions()), (vec![WRITE.to_owned()], vec![]));

    let world = World::with_key("Active").await;
    assert_eq!(outcome(world.process(&event(ID, OWN, None)).await), Outcome::Deleted);
    assert_eq!(world.dynamo.calls(), [WRITE, WRITE]);
    assert_eq!(world.iam.actions(), [LIST, DELETE]);
    assert_eq!(world.iam.keys(), []);
    // Redelivery is one more call, of the ledger.
    assert_eq!(outcome(world.process(&event(ID, OWN, None)).await), Outcome::Deleted);
    assert_eq!((world.dynamo.calls().len(), world.iam.actions().len()), (3, 2));
}

#[tokio::test]
async fn every_option_is_explicit_at_the_call() {
    let world = World::with_key("Active").await;
    world.process(&event(ID, OWN, None)).await.unwrap();
    for call in world.iam.calls() {
        assert_eq!(call.parameters["UserName"], USER, "{call:?}");
        assert!(!call.parameters.contains_key("AllUsers"));
    }
    assert_eq!(world.iam.calls()[0].parameters["MaxItems"], "1000");
    assert_eq!(world.iam.calls()[1].parameters["ServiceSpecificCredentialId"], ID);
}

#[tokio::test]
async fn a_renamed_user_is_found_and_a_new_user_of_the_old_name_is_left_alone() {
    let world = World::with_key("Active").await;
    world.iam.rename_user(OWN, USER, "svc-renamed");
    world.iam.put("ACCABYSTANDER00000001", USER, created(), None);
    let report = world.process(&event(ID, OWN, None)).await.unwrap();
    assert_eq!((report.outcome, report.user.unwrap().as_str()), (Outcome::Deleted, "svc-renamed"));
    let left: Vec<_> = world.iam.keys().into_iter().map(|key| key.id).collect();
    assert_eq!(left, ["ACCABYSTANDER00000001"]);
}

/// Renamed between two pages of a list, a user may be on none of them: one answer is no proof (R3).
#[tokio::test]
async fn a_key_that_is_on_no_page_is_looked_for_again() {
    let world = World::new().await;
    world.iam.page(2, Duration::ZERO);
    for (number, user) in ["a-user", "b-user", "c-user"].into_iter().enumerate() {
        world.iam.put(&format!("ACCABYSTANDER{number:08}"), user, created(), Some(30));
    }
    world.iam.put(ID, USER, created(), None);
    // In the list of its user, and on both pages of that of all.
    world.iam.change(ID, |key| key.hidden = 3);
    let error = session_error(world.process(&event(ID, OWN, None)).await);
    assert!(matches!(error, SessionError::KeyNotListedYet { .. }), "{error}");
    assert_eq!(outcome(world.redeliver(&event(ID, OWN, None)).await), Outcome::Deleted);
    assert_eq!(world.iam.keys().len(), 3);
}

#[tokio::test]
async fn a_neighbour_of_another_service_is_left_alone_and_the_users_too() {
    let world = World::with_key("Active").await;
    let neighbour = StoredKey {
        id: "ACCABYSTANDER00000001".to_owned(),
        service: "codecommit.amazonaws.com".to_owned(),
        ..world.iam.key(ID).unwrap()
    };
    world.iam.put_key(neighbour.clone());
    world.process(&event(ID, OWN, None)).await.unwrap();
    assert_eq!(world.iam.keys(), [neighbour]);
}

#[tokio::test]
async fn a_key_that_turns_out_to_be_for_another_service_is_left_alone() {
    let world = World::with_key("Active").await;
    world.iam.change(ID, |key| key.service = "codecommit.amazonaws.com".to_owned());
    let report = world.process(&event(ID, OWN, None)).await.unwrap();
    assert_eq!((report.outcome, report.verdict), (Outcome::Ignored, None));
    assert_eq!(report.service.unwrap().as_str(), "codecommit.amazonaws.com");
    assert_eq!(world.iam.actions(), [LIST]);
}

#[tokio::test]
async fn a_key_that_the_named_user_does_not_have_is_looked_for_everywhere() {
    for code in ["ValidationError", "NoSuchEntity"] {
        let world = World::new().await;
        world.iam.put(ID, "svc-new-name", created(), None);
        world.iam.add_user(OWN, USER);
        world.iam.fault(DELETE, Fault::Refused(400, code), 1);
        let report = world.process(&event(ID, OWN, None)).await;
        assert_eq!(outcome(report), Outcome::Deleted, "{code}");
        // By the old name it is in no list. After the refusal it is searched for once more.
        assert_eq!(world.iam.actions(), [LIST, LIST, DELETE, LIST, DELETE], "{code}");
    }
}

#[tokio::test]
async fn the_list_of_all_users_is_read_to_its_last_page() {
    let world = World::new().await;
    for n in 0..2_500 {
        world.iam.put(&format!("ACCAFILLER{n:011}"), &format!("user-{n}"), created(), Some(1));
    }
    world.iam.put(ID, "svc-renamed", created(), None);
    assert_eq!(outcome(world.process(&event(ID, OWN, None)).await), Outcome::Deleted);
    assert_eq!(world.iam.actions(), [LIST, LIST, LIST, LIST, DELETE]);
    assert_eq!(world.iam.keys().len(), 2_500);
}

#[tokio::test]
async fn a_key_that_lists_do_not_have_yet_is_an_error_and_later_gone() {
    let world = World::with_key("Active").await;
    world.iam.change(ID, |key| key.hidden = 2);
    let early = session_error(world.process_after(TimeDelta::seconds(3), &event(ID, OWN, None)).await);
    assert!(matches!(early, SessionError::KeyNotListedYet { .. }), "{early}");
    assert_eq!(world.phase(), "pending");
    assert_eq!(outcome(world.process(&event(ID, OWN, None)).await), Outcome::Deleted);

    // One answer that lacks it is no proof, however old its event is (R3).
    let world = World::new().await;
    let first = session_error(world.process(&event(ID, OWN, None)).await);
    assert!(matches!(first, SessionError::KeyNotListedYet { .. }), "{first}");
    assert_eq!(outcome(world.redeliver(&event(ID, OWN, None)).await), Outcome::AlreadyGone);
}

/// The list may be old (R2).
#[tokio::test]
async fn an_inactive_key_is_deleted_after_its_event_and_an_expired_one_is_left_alone() {
    let world = World::with_key("Inactive").await;
    assert_eq!(outcome(world.process(&event(ID, OWN, None)).await), Outcome::Deleted);
    let world = World::with_key("Expired").await;
    assert_eq!(outcome(world.process(&event(ID, OWN, None)).await), Outcome::AlreadyInactive);
    assert_eq!(world.iam.actions(), [LIST]);
}

#[tokio::test]
async fn an_answer_without_a_required_field_is_unreadable_and_nothing_is_done() {
    for lacks in ["CreateDate", "ServiceName", "UserName", "Status"] {
        let world = World::with_key("Active").await;
        world.iam.change(ID, |key| key.lacks = Some(lacks));
        let error = world.process(&event(ID, OWN, None)).await.unwrap_err();
        assert!(chain(&error).contains(&format!("without a usable {lacks}")), "{}", chain(&error));
        assert_eq!(world.iam.actions(), [LIST]);
        assert_eq!(world.phase(), "pending");
    }
}

/// What passes is retried within the invocation (R7). What does not is an error with its code, and a redelivery completes
/// the work.
#[tokio::test]
async fn what_fails_is_retried_or_named_and_a_redelivery_completes_the_work() {
    let throttled = Fault::Refused(400, "Throttling");
    let denied = Fault::Refused(403, "AccessDenied");
    let (busy, exceeded) = (
        Fault::Refused(503, "ServiceUnavailable"),
        Fault::Refused(400, "ProvisionedThroughputExceededException"),
    );
    for (operation, fault, times, code) in [
        (LIST, throttled, 4, None),
        (LIST, busy, 4, None),
        (LIST, Fault::Cut, 4, None),
        (LIST, denied, 1, Some("AccessDenied")),
        (DELETE, throttled, 4, None),
        (DELETE, busy, 4, None),
        (DELETE, denied, 1, Some("AccessDenied")),
        (WRITE, exceeded, 4, None),
        (WRITE, Fault::Refused(500, "InternalServerError"), 4, None),
        (
            WRITE,
            Fault::Refused(400, "AccessDeniedException"),
            1,
            Some("access to the ledger table keys was denied"),
        ),
        (WRITE, Fault::Cut, 4, None),
    ] {
        let name = format!("{operation} {fault:?} × {times}");
        let world = World::with_key("Active").await;
        world.iam.fault(operation, fault, times);
        world.dynamo.fault(operation, fault, times);
        match (world.process(&event(ID, OWN, None)).await, code) {
            (Ok(report), None) => assert_eq!(report.outcome, Outcome::Deleted, "{name}"),
            (Err(error), Some(code)) => {
                assert!(chain(&error).contains(code), "{name}: {}", chain(&error));
                assert_eq!(outcome(world.redeliver(&event(ID, OWN, None)).await), Outcome::Deleted, "{name}");
            }
            (Ok(report), Some(_)) => panic!("{name}: {report:?}"),
            (Err(error), None) => panic!("{name}: {}", chain(&error)),
        }
        assert_eq!(world.iam.keys(), [], "{name}");
        assert_eq!(world.phase(), "gone", "{name}");
    }
}

#[tokio::test]
async fn a_lost_reply_to_a_write_is_not_taken_for_another_delivery() {
    let world = World::with_key("Active").await;
    world.dynamo.fault(WRITE, Fault::ReplyLost, 1);
    assert_eq!(outcome(world.process(&event(ID, OWN, None)).await), Outcome::Deleted);
    // The state, two lines, and the breaker's count.
    assert_eq!(world.dynamo.items(TABLE).len(), 4);
}

#[tokio::test]
async fn a_lost_reply_to_a_delete_ends_as_gone_by_iams_evidence() {
    let world = World::with_key("Active").await;
    world.iam.fault(DELETE, Fault::ReplyLost, 1);
    let error = session_error(world.process(&event(ID, OWN, None)).await);
    assert!(matches!(error, SessionError::KeyNotListedYet { .. }), "{error}");
    // Deleted, retried by the SDK, refused, and then looked for over all users.
    assert_eq!(world.iam.actions(), [LIST, DELETE, DELETE, LIST]);
    assert_eq!(world.iam.calls()[3].parameters["AllUsers"], "true");
    assert_eq!(outcome(world.redeliver(&event(ID, OWN, None)).await), Outcome::AlreadyGone);
}

#[tokio::test]
async fn a_call_that_hangs_is_given_up_and_retried() {
    let world = World::with_key("Active").await;
    world.iam.fault(LIST, Fault::Hangs, 3);
    let began = Instant::now();
    assert_eq!(outcome(world.process(&event(ID, OWN, None)).await), Outcome::Deleted);
    let limit = bedrock_key_guard::aws::OPERATION_TIMEOUT + Duration::from_secs(2);
    assert!(began.elapsed() < limit, "{:?}", began.elapsed());
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
        assert_eq!(outcome(world.process(&event(id, OTHER, None)).await), Outcome::Deleted);
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
    let error = world.process(&event(ID, OTHER, None)).await.unwrap_err();
    assert!(chain(&error).contains("KEY_GUARD_RESPONDER_ROLE"), "{}", chain(&error));
    assert_eq!(world.phase(), "pending");
    assert_eq!(world.iam.calls(), []);
    // A compliant key of another account needs nothing of IAM.
    let world = World::new().await;
    assert_eq!(outcome(world.process(&event(ID, OTHER, Some(1))).await), Outcome::Recorded);
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
