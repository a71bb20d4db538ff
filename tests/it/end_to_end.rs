//! Events through the built function, over HTTP: what becomes of a key, and which calls that takes.

use std::time::{Duration, Instant};

use bedrock_key_guard::aws::OPERATION_TIMEOUT;
use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::support::deployment::{BUS, Deployment, TestKey, policy};
use crate::support::iam::StoredKey;
use crate::support::runtime_api::{Function, Outcome};
use crate::support::{Fault, OTHER, OWN};

const DELETE_CEILING: [(&str, &str); 1] = [("KEY_GUARD_CEILING", "delete")];
const DEACTIVATE_CEILING: [(&str, &str); 1] = [("KEY_GUARD_CEILING", "deactivate")];

const LIST: &str = "ListServiceSpecificCredentials";
const UPDATE: &str = "UpdateServiceSpecificCredential";
const DELETE: &str = "DeleteServiceSpecificCredential";
const WRITE: &str = "TransactWriteItems";

const THROTTLED: Fault = Fault::Refused(400, "Throttling");
const DENIED: Fault = Fault::Refused(403, "AccessDenied");

fn seconds(seconds: i64) -> TimeDelta {
    TimeDelta::seconds(seconds)
}

// ---- what it costs ----

#[tokio::test]
async fn a_compliant_key_costs_one_call_and_a_deleted_one_four() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey::new(1, Some(90)).exists_in(&world.iam);
    assert_eq!(function.invoke(&key.created()).response()["verdict"], "compliant");
    assert_eq!((world.dynamo.calls(), world.iam.actions()), (vec![WRITE.to_owned()], vec![]));

    world.dynamo.forget_calls();
    let key = TestKey::new(2, None).exists_in(&world.iam);
    assert_eq!(function.invoke(&key.created()).response()["outcome"], "deleted");
    assert_eq!(
        (world.dynamo.calls(), world.iam.actions()),
        (vec![WRITE.to_owned(); 2], vec![LIST.to_owned(), DELETE.to_owned()])
    );
    // A redelivery is one more call, of the ledger.
    assert_eq!(function.invoke(&key.created()).response()["outcome"], "deleted");
    assert_eq!((world.dynamo.calls().len(), world.iam.actions().len()), (3, 2));
}

#[tokio::test]
async fn every_call_names_the_user_and_the_key() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    function.invoke(&key.created()).response();
    let calls = world.iam.calls();
    for call in &calls {
        assert_eq!(call.parameters["UserName"], key.user, "{call:?}");
        assert!(!call.parameters.contains_key("AllUsers"), "{call:?}");
    }
    assert_eq!(calls[0].parameters["MaxItems"], "1000");
    assert_eq!(calls[1].parameters["ServiceSpecificCredentialId"], key.id);
}

// ---- what happened, not how the key stands now ----

/// An owner who is faster than CloudTrail gains nothing (R1, R2).
#[tokio::test]
async fn a_key_that_was_toggled_five_times_before_the_guard_arrives_is_deleted() {
    for (name, created_first) in [("in order", true), ("the creation last", false)] {
        let world = Deployment::new().await;
        let function = world.start(&DELETE_CEILING);
        let key = TestKey::new(1, None).exists_in(&world.iam);
        world.iam.change(&key.id, |key| key.status = "Inactive");
        let toggles = (0..5).flat_map(|round| {
            [key.deactivated(seconds(4 * round + 1)), key.activated(seconds(4 * round + 3))]
        });
        let mut events: Vec<_> = toggles.chain([key.deactivated(seconds(21))]).collect();
        events.insert(if created_first { 0 } else { events.len() }, key.created());
        let reports: Vec<_> = events.iter().map(|event| function.invoke(event).response()).collect();
        assert!(reports.iter().any(|report| report["outcome"] == "deleted"), "{name}: {reports:?}");
        assert_eq!(world.iam.key(&key.id), None, "{name}");
        assert_eq!(world.phase(&key.id), "gone", "{name}");
    }
}

/// IAM is eventually consistent: its list may show how the key stood before (R2).
#[tokio::test]
async fn a_reactivated_key_is_deactivated_again_while_the_list_shows_its_old_status() {
    let world = Deployment::new().await;
    let function = world.start(&DEACTIVATE_CEILING);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    assert_eq!(function.invoke(&key.created()).response()["outcome"], "deactivated");
    assert_eq!(world.iam.actions(), [LIST, UPDATE]);
    // The stand-in keeps listing `Inactive`.
    let report = function.invoke(&key.activated(key.age())).response();
    assert_eq!((&report["outcome"], &report["violation"]), (&json!("deactivated"), &json!("reactivated")));
    assert_eq!(world.iam.actions(), [LIST, UPDATE, LIST, UPDATE]);
    assert_eq!(world.iam.calls()[3].parameters["Status"], "Inactive");
}

#[tokio::test]
async fn an_expired_key_is_harmless() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    world.iam.change(&key.id, |key| key.status = "Expired");
    let report = function.invoke(&key.created()).response();
    assert_eq!((&report["outcome"], &report["status"]), (&json!("already_inactive"), &json!("expired")));
    assert_eq!(world.iam.actions(), [LIST]);
}

// ---- what IAM does not list ----

/// One answer that lacks the key proves nothing, however old the event is (R3).
#[tokio::test]
async fn a_key_that_one_answer_lacks_is_deleted_by_the_retry() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let mut key = TestKey::new(1, None);
    key.created = key.created + TimeDelta::minutes(5) - seconds(61);
    let key = key.exists_in(&world.iam);
    // In the list of its user, and in that of all users.
    world.iam.change(&key.id, |key| key.hidden = 2);
    let error = function.invoke(&key.created()).error();
    assert_eq!(error["errorType"], "KeyNotListedYet", "{error}");
    assert!(error["errorMessage"].as_str().unwrap().contains(&key.id), "{error}");
    assert_eq!(function.invoke(&key.created()).response()["outcome"], "deleted");
    assert_eq!(world.iam.keys(), []);
}

#[tokio::test]
async fn a_key_is_gone_when_a_second_answer_a_minute_later_lacks_it() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey::new(1, None);
    for _ in 0..2 {
        let error = function.invoke(&key.created()).error();
        assert_eq!(error["errorType"], "KeyNotListedYet", "{error}");
    }
    world.pass_time(seconds(61));
    let report = function.invoke(&key.created()).response();
    assert_eq!((&report["outcome"], &report["status"]), (&json!("already_gone"), &json!("gone")));
    assert_eq!(world.phase(&key.id), "gone");
}

#[tokio::test]
async fn a_key_that_was_deleted_is_gone_by_the_event_and_one_answer() {
    let world = Deployment::new().await;
    let function = world.start(&[]);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    function.invoke(&key.created()).response();
    let deleted = key.deleted(seconds(100));
    let error = function.invoke(&deleted).error();
    assert_eq!(error["errorType"], "KeyStillListed", "{error}");
    world.iam.remove(&key.id);
    let report = function.invoke(&deleted).response();
    assert_eq!((&report["outcome"], &report["status"]), (&json!("gone"), &json!("gone")));
}

/// Nothing ever deletes the user that a console created for a key.
#[tokio::test]
async fn a_deletion_says_what_is_left_of_a_user_that_a_console_created() {
    let world = Deployment::new().await;
    let function = world.start(&[]);
    for (number, user, says) in [
        (1, "svc-chatbot", None),
        (
            2,
            "BedrockAPIKey-k3qz",
            Some("policies AmazonBedrockLimitedAccess and with access keys: AKIAEXAMPLE."),
        ),
        (3, "BedrockAPIKey-p8w1", Some("with no policies and no access keys.")),
    ] {
        let key = TestKey { user: user.to_owned(), ..TestKey::new(number, None) }.exists_in(&world.iam);
        function.invoke(&key.created()).response();
        world.iam.remove(&key.id);
        if number == 2 {
            world.iam.attach(user, "arn:aws:iam::aws:policy/AmazonBedrockLimitedAccess");
            world.iam.add_access_key(user, "AKIAEXAMPLE");
        }
        let report = function.invoke(&key.deleted(seconds(60))).response();
        let reason = report["reason"].as_str().unwrap();
        match says {
            Some(says) => assert!(reason.contains(user) && reason.ends_with(says), "{reason}"),
            None => assert!(!reason.contains("console"), "{reason}"),
        }
    }
}

// ---- which key ----

#[tokio::test]
async fn a_renamed_user_is_found_and_a_new_user_with_the_old_name_is_left_alone() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    world.iam.rename_user(OWN, &key.user, "svc-renamed");
    let bystander = TestKey::new(2, None).exists_in(&world.iam);
    let report = function.invoke(&key.created()).response();
    assert_eq!((&report["outcome"], &report["user"]), (&json!("deleted"), &json!("svc-renamed")));
    let left: Vec<_> = world.iam.keys().into_iter().map(|key| key.id).collect();
    assert_eq!(left, [bystander.id]);
}

/// A user that was renamed for the moment of confirmation gains nothing (R6).
#[tokio::test]
async fn a_name_that_the_policy_exempts_does_not_save_the_key_of_another_name() {
    let world = Deployment::new().await;
    let policy = policy(&format!(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n\
         [[exemption]]\naccount = \"{OWN}\"\nuser = \"vendor\"\nreason = \"SEC-1\"\nuntil = 2099-01-01\n"
    ));
    let function = world.start(&[DELETE_CEILING[0], ("KEY_GUARD_POLICY", policy.path().to_str().unwrap())]);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    world.iam.rename_user(OWN, &key.user, "vendor");
    assert_eq!(function.invoke(&key.created()).response()["outcome"], "deleted");

    let exempt = TestKey { user: "vendor".to_owned(), ..TestKey::new(2, None) }.exists_in(&world.iam);
    assert_eq!(function.invoke(&exempt.created()).response()["verdict"], "exempt");
    assert!(world.iam.key(&exempt.id).is_some());
}

#[tokio::test]
async fn a_key_of_another_service_of_the_same_user_is_left_alone() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    let neighbour = StoredKey {
        id: "ACCABYSTANDER00000001".to_owned(),
        service: "codecommit.amazonaws.com".to_owned(),
        ..world.iam.key(&key.id).unwrap()
    };
    world.iam.put_key(neighbour.clone());
    function.invoke(&key.created()).response();
    assert_eq!(world.iam.keys(), [neighbour]);
}

#[tokio::test]
async fn a_key_that_iam_lists_for_another_service_is_left_alone() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    world.iam.change(&key.id, |key| "codecommit.amazonaws.com".clone_into(&mut key.service));
    let report = function.invoke(&key.created()).response();
    assert_eq!(
        (&report["service"], &report["outcome"]),
        (&json!("codecommit.amazonaws.com"), &json!("ignored"))
    );
    assert_eq!(world.iam.actions(), [LIST]);
}

#[tokio::test]
async fn the_list_of_all_users_is_read_to_its_last_page() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    for number in 0..2_500 {
        let filler = TestKey { user: format!("user-{number}"), ..TestKey::new(number, Some(1)) };
        filler.exists_in(&world.iam);
    }
    let key = TestKey { user: "svc-renamed".to_owned(), ..TestKey::new(9_999, None) }.exists_in(&world.iam);
    let event = TestKey { user: "svc-chatbot".to_owned(), ..key }.created();
    assert_eq!(function.invoke(&event).response()["outcome"], "deleted");
    assert_eq!(world.iam.actions(), [LIST, LIST, LIST, LIST, DELETE]);
    assert_eq!(world.iam.keys().len(), 2_500);
}

// ---- what is known of its lifetime ----

/// IAM shows the dates of Bedrock keys. If only the event has one, nobody knows (R4, I4).
#[tokio::test]
async fn a_key_with_contradictory_evidence_is_undetermined_and_not_deleted() {
    let world = Deployment::new().await;
    let function = world.start(&[DELETE_CEILING[0], ("KEY_GUARD_SWEEP_CEILING", "delete")]);
    let key = TestKey::new(1, Some(365)).exists_in(&world.iam);
    world.iam.change(&key.id, |key| key.expires = None);
    let report = function.invoke(&key.created()).response();
    assert_eq!((&report["verdict"], &report["outcome"]), (&json!("undetermined"), &json!("recorded")));
    assert_eq!((&report["severity"], &report["response"]), (&json!("medium"), &json!("none")));
    // A redelivery and a sweep know no more.
    assert_eq!(function.invoke(&key.created()).response()["verdict"], "undetermined");
    let swept = function.invoke(&json!({"sweep": {}})).response();
    assert_eq!((&swept["sweep"]["undetermined"], &swept["sweep"]["deleted"]), (&json!(1), &json!(0)));
    assert!(world.iam.key(&key.id).is_some());
}

/// IAM never shows the dates of keys of other services, so its silence says nothing (R4).
#[tokio::test]
async fn a_sweep_believes_the_event_about_a_service_whose_dates_iam_does_not_show() {
    const CLAUDE_PLATFORM: &str = "aws-external-anthropic.amazonaws.com";
    let world = Deployment::new().await;
    let policy = policy("[default]\nservices = \"*\"\nmax_lifetime_days = 90\nresponse = \"delete\"\n");
    let policy = policy.path().to_str().unwrap();
    let function = world.start(&[
        DELETE_CEILING[0],
        ("KEY_GUARD_SWEEP_CEILING", "delete"),
        ("KEY_GUARD_POLICY", policy),
    ]);
    let key = TestKey::new(1, Some(30)).exists_in(&world.iam);
    world.iam.change(&key.id, |key| {
        CLAUDE_PLATFORM.clone_into(&mut key.service);
        key.expires = None;
    });
    let mut event = key.created();
    event["detail"]["requestParameters"]["serviceName"] = json!(CLAUDE_PLATFORM);
    event["detail"]["responseElements"]["serviceSpecificCredential"]["serviceName"] = json!(CLAUDE_PLATFORM);
    assert_eq!(function.invoke(&event).response()["verdict"], "compliant");
    let swept = function.invoke(&json!({"sweep": {}})).response();
    assert_eq!(swept["sweep"]["verdicts"], json!({"compliant": 1}), "{swept}");
    assert!(world.iam.key(&key.id).is_some());
}

/// AWS may round the two timestamps of a key separately (R5).
#[tokio::test]
async fn timestamps_that_differ_by_a_second_do_not_exceed_the_limit() {
    for (lifetime, verdict) in [
        (TimeDelta::days(90) + seconds(1), "compliant"),
        (TimeDelta::days(90) + TimeDelta::hours(1), "compliant"),
        (TimeDelta::days(91), "noncompliant"),
    ] {
        let world = Deployment::new().await;
        let function = world.start(&[DELETE_CEILING[0], ("KEY_GUARD_SWEEP_CEILING", "delete")]);
        let key = TestKey::new(1, Some(90)).exists_in(&world.iam);
        let expires = key.created + lifetime;
        world.iam.change(&key.id, |key| key.expires = Some(expires));
        let mut event = key.created();
        event["detail"]["responseElements"]["serviceSpecificCredential"]["expirationDate"] = json!(expires);
        let report = function.invoke(&event).response();
        assert_eq!(report["verdict"], verdict, "{lifetime}: {report}");
        let swept = function.invoke(&json!({"sweep": {}})).response();
        let listed = u64::from(verdict == "compliant");
        assert_eq!(swept["sweep"]["keys"], listed, "{lifetime}: {swept}");
        assert_eq!(world.iam.keys().len() as u64, listed, "{lifetime}");
    }
}

#[tokio::test]
async fn an_unreadable_lifetime_is_settled_by_iams_answer() {
    for (age, verdict, outcome) in [(Some(30), "compliant", "recorded"), (None, "noncompliant", "deleted")] {
        let world = Deployment::new().await;
        let function = world.start(&DELETE_CEILING);
        let key = TestKey::new(1, age).exists_in(&world.iam);
        let mut event = key.created();
        event["detail"]["requestParameters"]["credentialAgeDays"] = json!("about 30");
        event["detail"]["responseElements"]["serviceSpecificCredential"]["expirationDate"] =
            json!("in a month");
        let report = function.invoke(&event).response();
        assert_eq!((&report["verdict"], &report["outcome"]), (&json!(verdict), &json!(outcome)));
    }
}

/// Retries cannot make a creation event readable. IAM knows which key it is about (R9).
#[tokio::test]
async fn an_unreadable_creation_leads_to_the_keys_that_it_may_be_about() {
    let world = Deployment::new().await;
    let function = world.start(&[DELETE_CEILING[0], ("KEY_GUARD_REPORTS_BUS", BUS)]);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    let mut event = key.created();
    event["detail"]["responseElements"] = Value::Null;
    let report = function.invoke(&event).response();
    assert_eq!((&report["credential_id"], &report["outcome"]), (&json!(key.id), &json!("deleted")));
    assert!(report["reason"].as_str().unwrap().starts_with("A creation event could not be read"), "{report}");
    assert_eq!(world.bus.entries(), Vec::<Value>::new());

    // Several: the worst one is returned, and the other finding is published.
    let good = TestKey::new(2, Some(30)).exists_in(&world.iam);
    let bad = [3, 4].map(|number| TestKey::new(number, None).exists_in(&world.iam));
    let function = world.start(&[("KEY_GUARD_REPORTS_BUS", BUS)]);
    event["detail"]["eventID"] = json!("another-event");
    let report = function.invoke(&event).response();
    assert_eq!((&report["severity"], &report["outcome"]), (&json!("high"), &json!("monitored")));
    let others: Vec<_> =
        [&bad[0].id, &bad[1].id].into_iter().filter(|id| report["credential_id"] != **id).collect();
    let published: Vec<_> =
        world.bus.reports().into_iter().map(|report| report["credential_id"].clone()).collect();
    assert_eq!(published, [others[0].as_str()]);
    assert_eq!(world.phase(&good.id), "settled");
    let log = function.end();
    for key in [&good, &bad[0], &bad[1]] {
        let line = format!("\"key.credential_id\":\"{}\",\"key.user\"", key.id);
        assert_eq!(log.matches(&line).count(), 1, "{log}");
    }
}

#[tokio::test]
async fn an_unreadable_creation_without_such_a_key_is_an_error() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey::new(1, None);
    let mut old = key.clone();
    old.created -= TimeDelta::minutes(11);
    let old = TestKey { id: "ACCAOLD00000000000001".to_owned(), ..old }.exists_in(&world.iam);
    let mut event = key.created();
    event["detail"]["responseElements"] = Value::Null;
    let error = function.invoke(&event).error();
    assert_eq!(error["errorType"], "UnreadableEvent", "{error}");
    assert!(world.iam.key(&old.id).is_some());
}

// ---- what fails ----

/// A disturbance of some seconds needs no retry of the event (R7).
#[tokio::test]
async fn throttling_and_broken_connections_are_outlasted_within_the_invocation() {
    for (operation, fault) in [
        (LIST, THROTTLED),
        (LIST, Fault::Refused(503, "ServiceUnavailable")),
        (LIST, Fault::Cut),
        (DELETE, THROTTLED),
        (DELETE, Fault::ReplyLost),
        (WRITE, Fault::Refused(400, "ProvisionedThroughputExceededException")),
        (WRITE, Fault::Refused(500, "InternalServerError")),
        (WRITE, Fault::Cut),
        (WRITE, Fault::ReplyLost),
    ] {
        let name = format!("{operation} {fault:?}");
        let world = Deployment::new().await;
        let function = world.start(&DELETE_CEILING);
        let key = TestKey::new(1, None).exists_in(&world.iam);
        // The SDK makes three attempts of a call.
        let times = if fault == Fault::ReplyLost { 1 } else { 7 };
        world.iam.fault(operation, fault, times);
        world.dynamo.fault(operation, fault, times);
        let outcome = function.invoke(&key.created());
        if (operation, fault) == (DELETE, Fault::ReplyLost) {
            // The next attempt finds no such key. Whether that is so, a retry of the event says.
            assert_eq!(outcome.error()["errorType"], "KeyNotListedYet", "{name}");
            world.pass_time(seconds(61));
            assert_eq!(function.invoke(&key.created()).response()["status"], "gone", "{name}");
        } else {
            assert_eq!(outcome.response()["outcome"], "deleted", "{name}");
        }
        assert_eq!(world.iam.keys(), [], "{name}");
        assert_eq!(world.phase(&key.id), "gone", "{name}");
    }
}

#[tokio::test]
async fn what_a_retry_does_not_help_is_named_and_a_later_delivery_completes_the_work() {
    for (operation, fault, error_type, says) in [
        (LIST, DENIED, "IamCallDenied", "iam:ListServiceSpecificCredentials"),
        (DELETE, DENIED, "IamCallDenied", "iam:DeleteServiceSpecificCredential"),
        (LIST, Fault::Refused(400, "InvalidInput"), "IamCallFailed", "InvalidInput"),
        (WRITE, Fault::Refused(400, "AccessDeniedException"), "LedgerCallFailed", "dynamodb:"),
    ] {
        let world = Deployment::new().await;
        let function = world.start(&DELETE_CEILING);
        let key = TestKey::new(1, None).exists_in(&world.iam);
        world.iam.fault(operation, fault, 1);
        world.dynamo.fault(operation, fault, 1);
        let error = function.invoke(&key.created()).error();
        assert_eq!(error["errorType"], error_type, "{error}");
        assert!(error["errorMessage"].as_str().unwrap().contains(says), "{error}");
        // Lambda retries after a minute, and the lease is over by then.
        world.pass_time(seconds(60));
        assert_eq!(function.invoke(&key.created()).response()["outcome"], "deleted", "{operation} {fault:?}");
    }
}

/// A killed worker's lease has not ended yet: the next delivery waits for it, and then fails.
#[tokio::test]
async fn a_delivery_waits_for_a_lease_and_a_resume_executes_what_is_left() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    world.iam.fault(DELETE, DENIED, 1);
    function.invoke(&key.created()).error();
    assert_eq!(world.phase(&key.id), "pending");
    let started = Instant::now();
    let error = function.invoke(&key.created()).error();
    assert_eq!(error["errorType"], "KeyLeased", "{error}");
    // A session waits for ten seconds (R7).
    assert!(
        (Duration::from_secs(4)..Duration::from_secs(11)).contains(&started.elapsed()),
        "{:?}",
        started.elapsed()
    );

    let resumed = function.invoke(&json!({"resume": {}})).response();
    assert_eq!(
        (&resumed["resume"]["leased"], &resumed["resume"]["keys"]),
        (&json!(1), &json!(1)),
        "{resumed}"
    );
    world.pass_time(seconds(60));
    let resumed = function.invoke(&json!({"resume": {}})).response();
    assert_eq!(resumed["resume"]["outcomes"], json!({"deleted": 1}), "{resumed}");
    assert_eq!(world.iam.keys(), []);
}

/// A lower ceiling pauses, and forgets nothing (R8, R13).
#[tokio::test]
async fn a_lower_ceiling_pauses_an_intent_and_a_higher_one_resumes_it() {
    let world = Deployment::new().await;
    let key = TestKey::new(1, None).exists_in(&world.iam);
    let function = world.start(&DELETE_CEILING);
    world.iam.fault(DELETE, DENIED, 1);
    function.invoke(&key.created()).error();
    world.pass_time(seconds(60));

    let lower = world.start(&[]);
    let report = lower.invoke(&key.created()).response();
    assert_eq!(report["outcome"], "monitored", "{report}");
    let resumed = lower.invoke(&json!({"resume": {}})).response();
    assert_eq!(resumed["resume"]["paused"], 1, "{resumed}");
    assert_eq!((world.phase(&key.id), world.iam.keys().len()), ("pending", 1));

    assert_eq!(
        function.invoke(&json!({"resume": {}})).response()["resume"]["outcomes"],
        json!({"deleted": 1})
    );
    assert_eq!(world.iam.keys(), []);
}

#[tokio::test]
async fn what_hangs_is_given_up_and_tried_again() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey::new(1, None).exists_in(&world.iam);
    world.iam.fault(LIST, Fault::Hangs, 3);
    let started = Instant::now();
    assert_eq!(function.invoke(&key.created()).response()["outcome"], "deleted");
    let limit = OPERATION_TIMEOUT + Duration::from_secs(4);
    assert!(started.elapsed() < limit, "{:?}", started.elapsed());
}

#[tokio::test]
async fn an_answer_without_a_required_field_is_unreadable_and_nothing_is_done() {
    for lacks in ["CreateDate", "ServiceName", "UserName", "Status"] {
        let world = Deployment::new().await;
        let function = world.start(&DELETE_CEILING);
        let key = TestKey::new(1, None).exists_in(&world.iam);
        world.iam.change(&key.id, |key| key.lacks = Some(lacks));
        let error = function.invoke(&key.created()).error();
        assert_eq!(error["errorType"], "IamAnswerUnreadable", "{lacks}");
        assert!(error["errorMessage"].as_str().unwrap().contains(lacks), "{error}");
        assert_eq!((world.iam.actions(), world.phase(&key.id)), (vec![LIST.to_owned()], "pending"));
    }
}

// ---- the breaker ----

/// It counts deletions, and each of its budgets apart (R11).
#[tokio::test]
async fn the_breaker_counts_deletions_only_and_saves_no_reactivated_key() {
    let world = Deployment::new().await;
    let policy = policy(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n\
         max_actions_per_hour = 1\n",
    );
    let function = world.start(&[DELETE_CEILING[0], ("KEY_GUARD_POLICY", policy.path().to_str().unwrap())]);
    // Keys whose dates cannot be read, and that IAM says are compliant, spend nothing.
    for number in 1..=3 {
        let good = TestKey::new(number, Some(30)).exists_in(&world.iam);
        let mut event = good.created();
        event["detail"]["requestParameters"]["credentialAgeDays"] = json!("about 30");
        event["detail"]["responseElements"]["serviceSpecificCredential"]["expirationDate"] =
            json!("in a month");
        assert_eq!(function.invoke(&event).response()["verdict"], "compliant");
    }
    let bad = |number| TestKey::new(number, None).exists_in(&world.iam);
    assert_eq!(function.invoke(&bad(11).created()).response()["outcome"], "deleted");
    let held = bad(12);
    let report = function.invoke(&held.created()).response();
    assert_eq!(report["outcome"], "deactivated", "{report}");
    // A redelivery is no new trigger.
    assert_eq!(function.invoke(&held.created()).response()["outcome"], "deactivated");
    world.iam.change(&held.id, |key| key.status = "Active");
    let report = function.invoke(&held.activated(held.age())).response();
    assert_eq!(report["outcome"], "deleted", "{report}");
    assert!(function.end().contains("\"HeldBack\":1"));
}

// ---- other accounts ----

#[tokio::test]
async fn another_account_is_reached_through_the_responder_role_assumed_once() {
    let world = Deployment::new().await;
    let function = world.start(&[DELETE_CEILING[0], ("KEY_GUARD_RESPONDER_ROLE", "key-guard-responder")]);
    for number in 1..=3 {
        let key = TestKey { account: OTHER, ..TestKey::new(number, None) }.exists_in(&world.iam);
        // A key with the same id in the own account is another one.
        world.iam.put(&key.id, &key.user, key.created, None);
        assert_eq!(function.invoke(&key.created()).response()["outcome"], "deleted");
    }
    assert_eq!(world.iam.actions().iter().filter(|action| *action == "AssumeRole").count(), 1);
    let assumed = &world.iam.calls()[0].parameters;
    assert_eq!(assumed["RoleArn"], format!("arn:aws:iam::{OTHER}:role/key-guard-responder"));
    assert_eq!(assumed["RoleSessionName"], "bedrock-key-guard");
    let left: Vec<_> = world.iam.keys().into_iter().map(|key| key.account).collect();
    assert_eq!(left, [OWN; 3]);
}

#[tokio::test]
async fn another_account_without_a_role_is_recorded_and_fails_by_the_variables_name() {
    let world = Deployment::new().await;
    let function = world.start(&DELETE_CEILING);
    let key = TestKey { account: OTHER, ..TestKey::new(1, None) };
    let error = function.invoke(&key.created()).error();
    assert_eq!(error["errorType"], "ResponderRoleNotSet");
    assert!(error["errorMessage"].as_str().unwrap().contains("KEY_GUARD_RESPONDER_ROLE"), "{error}");
    assert_eq!((world.phase(&key.id), world.iam.calls()), ("pending", vec![]));
    // A compliant key needs nothing of IAM.
    let key = TestKey { account: OTHER, ..TestKey::new(2, Some(1)) };
    assert_eq!(function.invoke(&key.created()).response()["outcome"], "recorded");
}

// ---- at the same time ----

/// Forty deliveries about four keys, to four functions: all of them end with a report.
#[tokio::test(flavor = "multi_thread")]
async fn deliveries_at_the_same_time_wait_for_each_other() {
    let world = Deployment::new().await;
    let functions: Vec<Function> = (0..4).map(|_| world.start(&DEACTIVATE_CEILING)).collect();
    let keys: Vec<_> = (1..=4).map(|number| TestKey::new(number, None).exists_in(&world.iam)).collect();
    for key in &keys {
        functions[0].invoke(&key.created()).response();
        world.iam.change(&key.id, |key| key.status = "Active");
    }
    std::thread::scope(|scope| {
        for function in functions {
            let keys = &keys;
            scope.spawn(move || {
                for number in 0..10 {
                    let key = &keys[number % keys.len()];
                    match function.invoke(&key.activated(key.age())) {
                        Outcome::Response(report) => assert_eq!(report["outcome"], "deactivated", "{report}"),
                        Outcome::Error(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert!(world.iam.keys().iter().all(|key| key.status == "Inactive"));
}
