//! Every call of an event's session fails once: whatever happens then, the key ends as it should.

use chrono::TimeDelta;
use key_guard_core::key::KeyStatus;
use key_guard_core::lifecycle::effect::Change;
use key_guard_core::lifecycle::input::ListedKey;
use key_guard_core::policy::Verdict;

use super::world::{Fault, When, World};
use super::{bad_key, created};

const RESPONSES: [(&str, Option<KeyStatus>); 2] =
    [("deactivate", Some(KeyStatus::Inactive)), ("delete", None)];

/// How many calls the event takes when nothing fails.
const CALLS: usize = 4;

fn world_with_fault(response: &str, key: &ListedKey, number: usize, fault: Fault) -> World {
    let world = World::new(response, vec![key.clone()]);
    world.fault_at(When::Nth(number), fault);
    world
}

/// The key's history without what differs from run to run.
fn history(world: &World, key: &ListedKey) -> Vec<String> {
    let state = world.state();
    for (index, entry) in state.log.iter().enumerate() {
        assert!(!state.log[..index].contains(entry), "twice in the history: {entry:?}");
    }
    drop(state);
    let names = world.changes(key).into_iter().map(|change| match change {
        Change::Intended { action, .. } => format!("intended {action:?}"),
        Change::Acted { action, .. } => format!("acted {action:?}"),
        other => format!("{other:?}"),
    });
    names.collect()
}

#[test]
fn a_lost_reply_changes_nothing() {
    let key = bad_key(1, 1);
    for (response, status) in RESPONSES {
        let undisturbed = World::new(response, vec![key.clone()]);
        let expected = undisturbed.deliver(&created(&key)).unwrap().unwrap();
        assert_eq!(undisturbed.take_calls().len(), CALLS);
        for number in 0..CALLS {
            let world = world_with_fault(response, &key, number, Fault::LostReply);
            let result = world.deliver(&created(&key)).unwrap();
            assert!(world.has_failed());
            let case = format!("{response}, call {number}: {:?}", history(&world, &key));
            // Who deleted it is not known once that answer is lost: IAM does not list the key any more.
            let is_deletion_lost = response == "delete" && number == 2;
            let report = if is_deletion_lost {
                assert!(result.is_err(), "{case}");
                world.redeliver(&created(&key))
            } else {
                assert_eq!(history(&world, &key), history(&undisturbed, &key), "{case}");
                result.unwrap()
            };
            assert_eq!(report.verdict, expected.verdict, "{case}");
            assert_eq!(report.status, expected.status, "{case}");
            assert_eq!(world.status(&key), status, "{case}");
            assert!(!world.record(&key).unreported, "{case}");
        }
    }
}

#[test]
fn a_redelivery_finishes_what_a_dead_worker_has_begun() {
    let key = bad_key(1, 1);
    for (response, status) in RESPONSES {
        for fault in [Fault::KilledBefore, Fault::KilledAfter] {
            for number in 0..CALLS {
                let world = world_with_fault(response, &key, number, fault);
                assert!(world.deliver(&created(&key)).is_none());
                assert!(world.has_failed());
                let report = world.redeliver(&created(&key));
                let case = format!("{response}, {fault:?}, call {number}: {:?}", history(&world, &key));
                assert_eq!(report.verdict, Some(Verdict::Noncompliant), "{case}");
                assert_eq!(world.status(&key), status, "{case}");
                let acted = history(&world, &key).iter().filter(|line| line.starts_with("acted")).count();
                assert!(acted <= 1, "{case}");
                // The report that was returned is the only one.
                assert!(!world.record(&key).unreported, "{case}");
                world.clock.pass(TimeDelta::seconds(61));
                world.resume().unwrap().unwrap();
                world.sweep().unwrap().unwrap();
                assert!(world.state().published.is_empty(), "{case}");
                assert_eq!(world.status(&key), status, "{case}");
            }
        }
    }
}

#[test]
fn resumes_and_sweeps_finish_what_a_dead_worker_has_begun() {
    let key = bad_key(1, 1);
    for (response, status) in RESPONSES {
        for fault in [Fault::KilledBefore, Fault::KilledAfter] {
            for number in 0..CALLS {
                let world = world_with_fault(response, &key, number, fault);
                assert!(world.deliver(&created(&key)).is_none());
                for _ in 0..4 {
                    world.clock.pass(TimeDelta::seconds(61));
                    world.resume().unwrap().unwrap();
                    world.sweep().unwrap().unwrap();
                }
                let case = format!("{response}, {fault:?}, call {number}: {:?}", history(&world, &key));
                assert_eq!(world.status(&key), status, "{case}");
                assert!(!world.record(&key).unreported, "{case}");
                let mut outcomes: Vec<_> =
                    world.state().published.iter().map(|report| report.outcome).collect();
                outcomes.dedup();
                assert_eq!(outcomes.len(), world.state().published.len(), "{case}");
                // Where the worker died after its last write, the event counts as reported.
                let is_done = number == CALLS - 1 && fault == Fault::KilledAfter;
                assert_eq!(outcomes.is_empty(), is_done, "{case}");
                let report = world.redeliver(&created(&key));
                assert_eq!(report.verdict, Some(Verdict::Noncompliant), "{case}");
            }
        }
    }
}
