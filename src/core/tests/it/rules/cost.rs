//! What a key costs, and the invariants that every session keeps.

use chrono::TimeDelta;
use key_guard_core::key::{KeyStatus, Service};
use key_guard_core::lifecycle::effect::Effect;
use key_guard_core::lifecycle::input::ListedKey;
use key_guard_core::lifecycle::session::Session;
use key_guard_core::lifecycle::state::{GoneEvidence, Phase};
use key_guard_core::policy::Verdict;

use crate::support::{
    Fault, World, activated, at, created, created_for, days, key, listed_key, other_key, reset,
};

#[test]
fn cost_a_compliant_creation_takes_one_call() {
    let mut world = World::new("delete");
    world.process(created_for(at(0), days(30))).unwrap();
    assert_eq!(world.calls, ["Commit"]);
    assert_eq!(world.record().verdict(), Some(Verdict::Compliant));
    assert_eq!(*world.phase(), Phase::Settled);
}

#[test]
fn cost_a_noncompliant_creation_under_delete_takes_four_calls() {
    let mut world = World::new("delete");
    world.process(created(at(0))).unwrap();
    assert_eq!(world.calls, ["Commit", "Find user", "Act", "Commit"]);
    assert!(matches!(world.phase(), Phase::Gone(GoneEvidence::DeletedByGuard { .. })));
    assert_eq!(world.status(), None);
}

#[test]
fn i1_an_intent_is_stored_before_its_action() {
    for response in ["deactivate", "quarantine", "delete"] {
        for input in [created(at(0)), activated(at(5)), reset(at(5))] {
            let mut world = World::new(response);
            world
                .process_with(input, |world, effect| {
                    if matches!(effect, Effect::Act(_)) {
                        assert!(matches!(world.phase(), Phase::Pending(_)), "{:?}", world.phase());
                    }
                    Fault::None
                })
                .unwrap();
            assert_eq!(world.actions.len(), 1);
        }
    }
}

#[test]
fn i4_an_undetermined_key_is_recorded_and_stays() {
    let mut world = World::new("delete");
    world.keys = vec![crate::support::claude_key(KeyStatus::Active)];
    let result = world.process(crate::support::listed_claude(world.now)).unwrap();
    assert_eq!(result.stored.state.record().unwrap().verdict(), Some(Verdict::Undetermined));
    assert_eq!(world.actions, []);
}

#[test]
fn i7_the_neighbours_of_a_key_stay_as_they_are() {
    let mut world = World::new("delete");
    let neighbour = ListedKey { key: other_key(), service: Service::Logs, ..listed_key(KeyStatus::Active) };
    world.keys.insert(0, neighbour.clone());
    world.process(created(at(0))).unwrap();
    assert_eq!(world.keys, [neighbour]);
}

#[test]
fn i7_an_answer_about_another_key_is_an_error() {
    let mut world = World::new("delete");
    let mut session = Session::new(key(), created(at(0)));
    let worker = world.worker();
    let policy = world.policy.clone();
    let env = crate::support::env(&policy, &worker, at(30));
    let mut reply = key_guard_core::lifecycle::effect::Reply::Start;
    loop {
        reply = match session.advance(reply, &env) {
            key_guard_core::lifecycle::result::Next::Perform(Effect::Find { .. }) => {
                let other = ListedKey { key: other_key(), ..listed_key(KeyStatus::Active) };
                key_guard_core::lifecycle::effect::Reply::Found(Some(other))
            }
            key_guard_core::lifecycle::result::Next::Perform(effect) => world.perform(&effect),
            key_guard_core::lifecycle::result::Next::Wait(_) => panic!("nothing to wait for"),
            key_guard_core::lifecycle::result::Next::Finished(result) => {
                let error = result.unwrap_err().to_string();
                assert!(error.contains("another key"), "{error}");
                break;
            }
        };
    }
    assert_eq!(world.actions, []);
}

#[test]
fn an_event_from_far_ahead_is_an_error() {
    let mut world = World::new("delete");
    let ahead = world.now + TimeDelta::minutes(5) + TimeDelta::seconds(1);
    let error = world.process(created(ahead)).unwrap_err().to_string();
    assert!(error.contains("ahead of the clock"), "{error}");
    assert_eq!(world.calls.len(), 0);
}
