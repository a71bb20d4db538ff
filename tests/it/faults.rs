//! Every effect × {fails before it happens, reply lost, process killed before or after it}, then
//! redelivery; two deliveries interleaved at every step. The invariants of `src/lib.rs` hold throughout.
//!
//! The ledger is the real one on an embedded DynamoDB. The keys are a model of IAM with state, told to fail
//! from outside.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::support::world::{
    FAULTS, Fault, ID, ModelKey, ORDERS, Steps, USER, World, created, event, in_turns, items, key, read,
    side_by_side, unreadable_event,
};
use bedrock_key_guard::enforce::{CONSISTENCY_WINDOW, Failure, LEASE, Status};
use bedrock_key_guard::ledger::Outcome;
use chrono::TimeDelta;
use key_guard_core::key::Service;
use key_guard_core::policy::{Policy, Response, Verdict};
use key_guard_core::report;
use serde_json::Value;

/// What can come in, and how IAM stands to it.
struct Case {
    name: &'static str,
    response: &'static str,
    ceiling: Response,
    event: Value,
    iam: Option<ModelKey>,
    rename_before_acting: Option<&'static str>,
    ends: &'static str,
    verdict: &'static str,
}

fn cases() -> Vec<Case> {
    let at = |days| Some(key(ID, USER, Service::Bedrock, days));
    let inactive = |days| at(days).map(|key| ModelKey { status: Status::Inactive, ..key });
    let case = |name, response, ceiling, event, iam, ends, verdict| Case {
        name,
        response,
        ceiling,
        event,
        iam,
        rename_before_acting: None,
        ends,
        verdict,
    };
    let delete = Response::Delete;
    vec![
        case("compliant", "delete", delete, event(Some(90)), at(Some(90)), "recorded", "compliant"),
        case("deleted", "delete", delete, event(None), at(None), "deleted", "noncompliant"),
        case("deactivated", "deactivate", delete, event(None), at(None), "deactivated", "noncompliant"),
        case("lowered", "delete", Response::Deactivate, event(None), at(None), "deactivated", "noncompliant"),
        case("monitored", "delete", Response::Monitor, event(None), at(None), "monitored", "noncompliant"),
        case("unreadable, bad", "delete", delete, unreadable_event(), at(None), "deleted", "noncompliant"),
        case("unreadable, good", "delete", delete, unreadable_event(), at(Some(30)), "recorded", "compliant"),
        case(
            "unreadable, monitored",
            "delete",
            Response::Monitor,
            unreadable_event(),
            at(None),
            "monitored",
            "noncompliant",
        ),
        case("stale or forged", "delete", delete, event(None), at(Some(30)), "recorded", "compliant"),
        case(
            "of another service",
            "delete",
            delete,
            event(None),
            Some(key(ID, USER, Service::CodeCommit, None)),
            "recorded",
            "undetermined",
        ),
        case(
            "renamed",
            "delete",
            delete,
            event(None),
            Some(key(ID, "svc-renamed", Service::Bedrock, None)),
            "deleted",
            "noncompliant",
        ),
        Case {
            rename_before_acting: Some("svc-renamed"),
            ..case("renamed in between", "delete", delete, event(None), at(None), "deleted", "noncompliant")
        },
        case("switched off", "delete", delete, event(None), inactive(None), "deactivated", "noncompliant"),
        case("gone", "delete", delete, event(None), None, "deleted", "noncompliant"),
        case(
            "renamed to an exempt name (R6)",
            "delete",
            delete,
            event(None),
            Some(key(ID, "svc-exempt", Service::Bedrock, None)),
            "deleted",
            "noncompliant",
        ),
    ]
}

fn world_of(case: &Case) -> World {
    let world = World::new(case.response, case.ceiling, case.iam.clone());
    *world.iam.rename_before_acting.lock().unwrap() = case.rename_before_acting.into_iter().collect();
    world
}

const LATE: TimeDelta = TimeDelta::minutes(5);
/// When Lambda repeats what has failed.
const REPEATED: TimeDelta = TimeDelta::minutes(6);

#[tokio::test]
async fn without_faults_each_case_ends_as_it_should() {
    for case in cases() {
        let world = world_of(&case);
        let report = world.deliver(&case.event, Steps::default(), LATE).await.unwrap().unwrap();
        let state = world.state();
        assert_eq!(state.outcome.as_deref(), Some(case.ends), "{}", case.name);
        assert_eq!(state.verdict.as_deref(), Some(case.verdict), "{}", case.name);
        assert_eq!(report.verdict.unwrap().as_str(), case.verdict, "{}", case.name);
        let alive = case.iam.is_some() && case.ends != "deleted";
        assert_eq!(world.subject().is_some(), alive, "{}", case.name);
    }
}

/// I3, and with it I1, I5, I6 and I7, which the world checks throughout.
#[tokio::test]
async fn any_single_fault_and_redelivery_end_in_the_same_state() {
    for case in cases() {
        let fault_free = world_of(&case);
        let steps = Steps::default();
        fault_free.deliver(&case.event, steps.clone(), LATE).await.unwrap().unwrap();
        let (expected, effects) = (fault_free.state(), steps.taken.load(Ordering::SeqCst));
        assert!(effects >= 1);
        for at in 0..effects {
            for fault in FAULTS {
                let name = format!("{}: {fault:?} at step {at}", case.name);
                let world = world_of(&case);
                let steps = Steps { fault: Some((at, fault)), ..Steps::default() };
                let first = world.deliver(&case.event, steps, LATE).await;
                assert!(!matches!(first, Some(Ok(_))), "{name}: a fault was answered with success");
                world.state();
                let again = world.deliver(&case.event, Steps::default(), REPEATED).await.unwrap();
                again.unwrap_or_else(|failure| panic!("{name}: {failure}"));
                assert_eq!(world.state(), expected, "{name}");
                world.deliver(&case.event, Steps::default(), REPEATED).await.unwrap().unwrap();
                assert_eq!(world.state(), expected, "{name}: a third delivery");
                assert_ne!(world.state().outcome.as_deref(), Some("open"), "{name}");
                assert!(world.iam.actions.load(Ordering::SeqCst) <= 1, "{name}: acted twice");
            }
        }
    }
}

/// I3: each order in which the effects of two deliveries can come.
#[tokio::test]
async fn two_deliveries_interleaved_at_every_step_end_in_the_same_state() {
    for case in cases() {
        let alone = world_of(&case);
        alone.deliver(&case.event, Steps::default(), LATE).await.unwrap().unwrap();
        let expected = alone.state();
        // The deliveries are alike, so the first turn is the first one's.
        let mut order = 0;
        while order < ORDERS / 2 {
            let world = world_of(&case);
            let steps = [(); 2].map(|()| in_turns());
            let corridors = [
                world.corridor(steps[0].clone(), created() + LATE).await,
                world.corridor(steps[1].clone(), created() + LATE).await,
            ];
            let inbound = read(&case.event);
            let ran =
                side_by_side(order, &steps, corridors[0].take(&inbound), corridors[1].take(&inbound)).await;
            for result in [ran.first, ran.second] {
                // One may find the key in the other's hands; it is then delivered again.
                if result.is_err() {
                    world.deliver(&case.event, Steps::default(), REPEATED).await.unwrap().unwrap();
                }
            }
            assert_eq!(world.state(), expected, "{}: order {order:08b}", case.name);
            assert!(world.iam.actions.load(Ordering::SeqCst) <= 1, "{}: acted twice", case.name);
            order = ran.next_order;
        }
    }
}

/// I5, and the window that IAM needs until a new key is in its lists.
#[tokio::test]
async fn a_key_that_is_not_listed_is_gone_only_after_the_consistency_window() {
    for age in [TimeDelta::zero(), CONSISTENCY_WINDOW - TimeDelta::seconds(1), TimeDelta::seconds(-5)] {
        let world = World::new("delete", Response::Delete, None);
        let failure = world.deliver(&event(None), Steps::default(), age).await.unwrap().unwrap_err();
        assert!(matches!(failure, Failure::NotListedYet { .. }), "{failure}");
        assert_eq!(failure.error_type(), "KeyNotListedYet");
        assert_eq!(world.state().outcome.as_deref(), Some("open"));
    }
    let world = World::new("delete", Response::Delete, None);
    world.deliver(&event(None), Steps::default(), TimeDelta::zero()).await.unwrap().unwrap_err();
    let report = world.deliver(&event(None), Steps::default(), CONSISTENCY_WINDOW).await.unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::AlreadyGone);
}

/// I5: IAM denies under the old name what lives on under the new one.
#[tokio::test]
async fn a_denied_delete_is_no_proof_that_the_key_is_gone() {
    let world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, None)));
    *world.iam.rename_before_acting.lock().unwrap() = vec!["svc-renamed"];
    let report = world.deliver(&event(None), Steps::default(), TimeDelta::seconds(5)).await.unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::Deleted);
    assert_eq!(report.user.unwrap().as_str(), "svc-renamed");
    assert_eq!(world.subject(), None);
}

#[tokio::test]
async fn a_user_that_is_renamed_before_every_action_ends_as_an_error() {
    let world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, None)));
    *world.iam.rename_before_acting.lock().unwrap() = ["svc-a", "svc-b"].repeat(50);
    let failure =
        world.deliver(&event(None), Steps::default(), TimeDelta::seconds(5)).await.unwrap().unwrap_err();
    assert_eq!(failure.error_type(), "IamContradiction");
    assert_eq!(world.iam.rename_before_acting.lock().unwrap().len(), 97, "three tries");
    assert_eq!(world.state().outcome.as_deref(), Some("confirmed"), "not settled");
    world.iam.rename_before_acting.lock().unwrap().clear();
    let report = world.deliver(&event(None), Steps::default(), LATE).await.unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::Deleted);
}

/// I4: whatever the ceiling, what IAM cannot settle is left alone.
#[tokio::test]
async fn an_undetermined_key_is_never_touched_on_the_events_word() {
    for hands_tied in [true, false] {
        let world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, Some(30))));
        let report = if hands_tied {
            world.rehearse(&unreadable_event()).await
        } else {
            world.deliver(&unreadable_event(), Steps::default(), LATE).await.unwrap().unwrap()
        };
        let expected = if hands_tied { Verdict::Undetermined } else { Verdict::Compliant };
        assert_eq!(report.verdict, Some(expected));
        assert_eq!(world.iam.actions.load(Ordering::SeqCst), 0);
        assert!(world.subject().is_some());
    }
}

/// I9: a ceiling that was lowered between two deliveries holds for the second.
#[tokio::test]
async fn a_lowered_ceiling_wins_over_the_stored_plan() {
    for (ceiling, ends, status) in [
        (Response::Monitor, Outcome::Monitored, Status::Active),
        (Response::Deactivate, Outcome::Deactivated, Status::Inactive),
    ] {
        let mut world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, None)));
        let crashed = Steps { fault: Some((1, Fault::KilledBefore)), ..Steps::default() };
        assert!(world.deliver(&event(None), crashed, LATE).await.is_none());
        world.ceiling = ceiling;
        let report = world.deliver(&event(None), Steps::default(), REPEATED).await.unwrap().unwrap();
        assert_eq!(report.outcome, ends);
        assert_eq!(world.subject().unwrap().status, status);
    }
}

/// The stored plan wins over a ceiling that was raised: raising it is no order to act on old events.
#[tokio::test]
async fn a_raised_ceiling_does_not_reach_back() {
    let mut world = World::new("delete", Response::Monitor, Some(key(ID, USER, Service::Bedrock, None)));
    let first = world.deliver(&event(None), Steps::default(), LATE).await.unwrap().unwrap();
    assert_eq!(first.outcome, Outcome::Monitored);
    world.ceiling = Response::Delete;
    let again = world.deliver(&event(None), Steps::default(), LATE).await.unwrap().unwrap();
    assert_eq!(again.outcome, Outcome::Monitored);
    assert!(world.subject().is_some());
}

/// A policy that was relaxed between open and confirm: IAM's answer is judged by today's.
#[tokio::test]
async fn a_relaxed_policy_saves_a_key_whose_entry_is_open() {
    let mut world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, Some(120))));
    let crashed = Steps { fault: Some((1, Fault::KilledBefore)), ..Steps::default() };
    assert!(world.deliver(&event(Some(120)), crashed, LATE).await.is_none());
    world.policy = Arc::new(
        Policy::parse(
            "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 365\nresponse = \"delete\"\n",
            std::path::Path::new("relaxed.toml"),
        )
        .unwrap(),
    );
    let report = world.deliver(&event(Some(120)), Steps::default(), REPEATED).await.unwrap().unwrap();
    assert_eq!(report.verdict, Some(Verdict::Compliant));
    assert!(world.subject().is_some());
}

/// A rehearsal writes down what would have been done. It neither keeps the guard from acting later nor
/// changes what the guard has written.
#[tokio::test]
async fn a_rehearsal_binds_nobody() {
    let world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, None)));
    let rehearsed = world.rehearse(&event(None)).await;
    assert_eq!((rehearsed.outcome, rehearsed.response), (report::Outcome::Recorded, Response::Delete));
    assert!(world.subject().is_some());
    let before = items(&world.database);
    world.rehearse(&event(None)).await;
    assert_eq!(items(&world.database), before, "a second rehearsal changes nothing");

    let real = world.deliver(&event(None), Steps::default(), LATE).await.unwrap().unwrap();
    assert_eq!(real.outcome, Outcome::Deleted);
    assert_eq!(world.subject(), None);
    let after = items(&world.database);
    for line in before.iter().filter(|item| item["sk"]["S"] != "STATE") {
        assert!(after.contains(line), "history is append-only");
    }
    let seen = world.rehearse(&event(None)).await;
    assert_eq!(seen.outcome, Outcome::Deleted, "a rehearsal shows what the guard has done");
    assert_eq!(items(&world.database), after);
}

/// The same, with every fault between adopting and settling.
#[tokio::test]
async fn adopting_a_rehearsal_survives_any_single_fault() {
    for at in 0..5 {
        for fault in FAULTS {
            let world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, None)));
            world.rehearse(&event(None)).await;
            let steps = Steps { fault: Some((at, fault)), ..Steps::default() };
            let first = world.deliver(&event(None), steps, LATE).await;
            assert!(!matches!(first, Some(Ok(_))), "{fault:?} at {at}");
            world.deliver(&event(None), Steps::default(), REPEATED).await.unwrap().unwrap();
            assert_eq!(world.state().outcome.as_deref(), Some("deleted"), "{fault:?} at {at}");
            assert_eq!(world.subject(), None);
        }
    }
}

/// I2: nothing that came in is answered with silence.
#[tokio::test]
async fn a_delivery_that_fails_leaves_an_open_entry_or_none_and_says_why() {
    for at in 0..4 {
        let world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, None)));
        let steps = Steps { fault: Some((at, Fault::FailsBefore)), ..Steps::default() };
        let failure = world.deliver(&event(None), steps, LATE).await.unwrap().unwrap_err();
        assert!(failure.to_string().contains(ID), "{failure}");
        let outcome = world.state().outcome;
        assert_eq!(outcome.as_deref(), (at > 0).then_some("open"), "step {at}");
    }
}

/// Who finds an entry that someone else has just opened leaves it to them, and takes it over when they have given up.
#[tokio::test]
async fn an_open_entry_is_left_to_whoever_opened_it_until_they_must_have_given_up() {
    let world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, None)));
    let killed = Steps { fault: Some((1, Fault::KilledBefore)), ..Steps::default() };
    assert!(world.deliver(&event(None), killed, LATE).await.is_none());
    for after in [LATE, LATE + LEASE - TimeDelta::seconds(1)] {
        let failure = world.deliver(&event(None), Steps::default(), after).await.unwrap().unwrap_err();
        assert_eq!(failure.error_type(), "KeyInOtherHands", "{failure}");
        assert!(world.subject().is_some());
    }
    let report = world.deliver(&event(None), Steps::default(), LATE + LEASE).await.unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::Deleted);
}
