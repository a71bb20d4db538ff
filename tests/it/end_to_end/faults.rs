//! Calls that fail or hang: what is retried, what is named, and how a later delivery or a resume completes the work.

use std::time::{Duration, Instant};

use bedrock_key_guard::aws::OPERATION_TIMEOUT;
use serde_json::json;

use super::{DELETE, DELETE_CEILING, LIST, WRITE, seconds};
use crate::support::Fault;
use crate::support::deployment::{Deployment, TestKey};

const THROTTLED: Fault = Fault::Refused(400, "Throttling");
const DENIED: Fault = Fault::Refused(403, "AccessDenied");

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
