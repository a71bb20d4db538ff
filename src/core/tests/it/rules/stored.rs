//! The report of a stored state, without a session, and what lines of history say.

use key_guard_core::key::{KeyStatus, Status};
use key_guard_core::lifecycle::effect::{Cause, Change, Effect, HeardEvent};
use key_guard_core::lifecycle::input::{Ceiling, Env, Input};
use key_guard_core::lifecycle::result::report_of_state;
use key_guard_core::lifecycle::state::{Contradiction, KeyState, Phase};
use key_guard_core::policy::{Response, Verdict};
use key_guard_core::report::{Outcome, Report, Severity};
use key_guard_core::words::lifecycle::describe_change;

use crate::support::{
    Fault, World, activated, at, created, created_for, days, deactivated, deleted, env, exemption, key,
    listed, made_by, not_listed, policy_with, reset, worker,
};

fn under(ceiling: Ceiling, response: &str) -> World {
    let mut world = World::new(response);
    world.ceiling = ceiling;
    world
}

fn stored_report(world: &World) -> Report {
    report_of_state(&key(), world.state())
}

#[test]
fn a_stored_state_is_reported_as_the_session_did_that_stored_it() {
    for (response, input) in [
        ("delete", created(at(0))),
        ("deactivate", created(at(0))),
        ("quarantine", created(at(0))),
        ("monitor", created(at(0))),
        ("delete", created_for(at(0), days(30))),
    ] {
        for ceiling in [Ceiling::Monitor, Ceiling::Deactivate, Ceiling::Delete] {
            let mut world = under(ceiling, response);
            let result = world.process(input.clone()).unwrap();
            let worker = worker("me");
            let env = Env { ceiling, ..env(&world.policy, &worker, world.now) };
            let mut reported = result.report(&env);
            // A quarantine that the ceiling lowers begins with a deactivation all the same.
            if (response, ceiling) == ("quarantine", Ceiling::Deactivate) {
                reported.response = Response::Quarantine;
            }
            assert_eq!(stored_report(&world), reported, "{response}, {ceiling:?}");
        }
    }
}

#[test]
fn its_response_is_what_the_guard_did_or_has_yet_to_do() {
    // Pending: the worker died before it acted.
    let killed = |response: &str| {
        let mut world = World::new(response);
        let is_act = |effect: &Effect| matches!(effect, Effect::Act(_));
        let fault = |_: &mut World, effect: &Effect| if is_act(effect) { Fault::Killed } else { Fault::None };
        world.process_with(created(at(0)), fault).unwrap_err();
        world
    };
    for (response, expected) in [
        ("delete", Response::Delete),
        ("deactivate", Response::Deactivate),
        ("quarantine", Response::Quarantine),
    ] {
        let report = stored_report(&killed(response));
        assert_eq!((report.response, report.outcome), (expected, Outcome::Monitored), "{response}");
        assert!(report.reason.contains("The response is pending"), "{}", report.reason);
        assert_eq!((report.status, report.severity), (Status::Active, Severity::High));
    }
    // Deactivated, and exempt since.
    let mut world = World::new("deactivate");
    world.process(created(at(0))).unwrap();
    world.policy = policy_with("deactivate", &exemption("alice", "2027-03-31"));
    world.wait(100);
    world.process(reset(world.now)).unwrap();
    let report = stored_report(&world);
    assert_eq!((report.verdict, report.response), (Some(Verdict::Exempt), Response::Deactivate));
    // Ended by somebody else, or by nobody known.
    let mut world = under(Ceiling::Monitor, "delete");
    world.process(created(at(0))).unwrap();
    assert_eq!(stored_report(&world).response, Response::Monitor);
    world.keys.clear();
    world.process(made_by(deleted(at(40)), "carol")).unwrap();
    let report = stored_report(&world);
    assert_eq!((report.response, report.outcome), (Response::None, Outcome::Gone));
    assert!(report.actor.unwrap().ends_with("mallory"), "the report names the creator");
    assert!(report.reason.contains("user/carol deleted it"), "{}", report.reason);
    // Inactive, and not by the guard.
    let mut world = World::new("delete");
    world.process(listed(KeyStatus::Inactive, at(30))).unwrap();
    let report = stored_report(&world);
    assert_eq!((report.response, report.outcome), (Response::Monitor, Outcome::AlreadyInactive));
    assert_eq!(report.actor, None);
}

#[test]
fn a_state_without_a_record_is_reported_with_what_is_known() {
    let report = report_of_state(&key(), &KeyState::Unknown);
    assert_eq!((report.outcome, report.reason.as_str()), (Outcome::Ignored, "No record of this key."));

    let mut world = World::new("delete");
    world.keys.clear();
    world.process(activated(at(0))).unwrap_err();
    assert!(matches!(world.state(), KeyState::Unconfirmed(_)));
    let report = stored_report(&world);
    assert_eq!((report.outcome, report.status, report.verdict), (Outcome::Ignored, Status::Unknown, None));
    assert!(report.reason.contains("IAM did not list it on 2026-03-01T12:00:30"), "{}", report.reason);

    let mut world = World::new("delete");
    world.process(deleted(at(0))).unwrap_err();
    let report = stored_report(&world);
    assert!(report.reason.contains("IAM still listed it on 2026-03-01T12:00:30"), "{}", report.reason);

    let mut world = World::new("delete");
    world.keys.clear();
    world.process(made_by(deleted(at(0)), "carol")).unwrap();
    let report = stored_report(&world);
    assert_eq!((report.outcome, report.status), (Outcome::Gone, Status::Gone));
    assert!(report.actor.unwrap().ends_with("carol"), "nobody else is known");
    assert_eq!(report.event_time, Some(at(0)));
}

/// Also where the guard did no more than assess the key, as it does under the ceiling `monitor`.
#[test]
fn a_line_of_history_says_what_its_event_was() {
    let mut world = under(Ceiling::Monitor, "delete");
    let inputs = [
        (HeardEvent::Created, created(at(0))),
        (HeardEvent::Activated, activated(at(100))),
        (HeardEvent::Reset, reset(at(200))),
        (HeardEvent::Deactivated, deactivated(at(300))),
    ];
    for (_, input) in &inputs {
        world.wait(100);
        world.process(input.clone()).unwrap();
    }
    world.keys.clear();
    world.process(deleted(at(400))).unwrap();
    let heard: Vec<_> = world
        .log
        .iter()
        .map(|entry| match &entry.cause {
            Cause::Event { heard, .. } => *heard,
            Cause::Sweep | Cause::Resume => panic!("{entry:?}"),
        })
        .collect();
    let expected = inputs.into_iter().map(|(heard, _)| heard).chain([HeardEvent::Deleted]);
    assert_eq!(heard, expected.collect::<Vec<_>>());
    assert!(matches!(world.phase(), Phase::Gone(_)));
}

#[test]
fn each_line_of_history_has_a_sentence() {
    let mut world = World::new("quarantine");
    world.process(created(at(0))).unwrap();
    world.process(deactivated(at(40))).unwrap();
    world.wait(86_400 * 14);
    world.process_loaded(Input::Resume).unwrap();
    let sentences: Vec<_> = world.changes().iter().map(describe_change).collect();
    assert_eq!(
        sentences,
        [
            "The guard is to deactivate the key, because it was created.",
            "The guard deactivated the key.",
            "The key was deactivated.",
            "The guard is to delete the key, because its quarantine has ended.",
            "The guard deleted the key.",
        ]
    );
    let mut world = under(Ceiling::Monitor, "delete");
    world.process_loaded(listed(KeyStatus::Active, at(30))).unwrap();
    world.process_loaded(listed(KeyStatus::Inactive, at(90))).unwrap();
    world.wait(200);
    world.process_loaded(not_listed(world.now)).unwrap();
    world.wait(61);
    world.process_loaded(not_listed(world.now)).unwrap();
    let sentences: Vec<_> = world.changes().iter().map(describe_change).collect();
    assert_eq!(
        sentences,
        [
            "The key was assessed. No response is pending.",
            "IAM lists the key, and it is not active.",
            "IAM does not list the key. A second answer confirms that.",
            "The key is gone: IAM does not list it for any user.",
        ]
    );
    let still_listed = describe_change(&Change::Observed(Contradiction::StillListed));
    assert!(still_listed.starts_with("An event says that the key was deleted"), "{still_listed}");
}
