//! Sessions, one at a time and many side by side.

use std::collections::BTreeSet;
use std::time::Duration;

use bedrock_key_guard::clock::Clock as _;
use bedrock_key_guard::runtime::event::EventError;
use bedrock_key_guard::runtime::executor::{MAX_CONCURRENT_SESSIONS, WorkerIds};
use chrono::TimeDelta;
use key_guard_core::key::KeyStatus;
use key_guard_core::lifecycle::effect::Change;
use key_guard_core::lifecycle::result::SessionError;
use key_guard_core::lifecycle::session::Session;
use key_guard_core::lifecycle::state::Phase;
use key_guard_core::report::Outcome;

use super::faulty::{Call, Fault, When};
use super::iam::TestIam as _;
use super::world::World;
use super::{activated, at, bad_key, created, good_key, session};

#[test]
fn a_compliant_key_costs_one_call() {
    let key = good_key(1, 1);
    let world = World::new("delete", std::slice::from_ref(&key));
    let report = world.deliver(&created(&key)).unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::Recorded);
    assert_eq!(world.take_calls(), [Call::Commit]);
}

#[test]
fn a_deletion_costs_four_calls() {
    let key = bad_key(1, 1);
    let world = World::new("delete", std::slice::from_ref(&key));
    let report = world.deliver(&created(&key)).unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::Deleted);
    assert_eq!(world.take_calls(), [Call::Commit, Call::Find, Call::Act, Call::Commit]);
    assert_eq!(world.status(&key), None);
}

#[test]
fn no_two_sessions_have_the_same_worker() {
    let retries = [WorkerIds::new("request"), WorkerIds::new("request")];
    let names: BTreeSet<_> = retries.iter().flat_map(|ids| (0..100).map(|_| ids.next_id())).collect();
    assert_eq!(names.len(), 200);

    let keys: Vec<_> = (0..5).map(|number| bad_key(1, number)).collect();
    let world = World::new("delete", &keys);
    world.invoke(async |executor| {
        executor.run_all(keys.iter().map(|key| session(created(key))).collect()).await
    });
    let opener = |change| match change {
        Change::Intended { intent, .. } => Some(intent.opened_by),
        _ => None,
    };
    let openers: BTreeSet<_> = keys.iter().flat_map(|key| world.changes(key)).filter_map(opener).collect();
    assert_eq!(openers.len(), 5);
}

#[test]
fn a_failed_call_is_repeated_after_half_to_all_of_its_delay() {
    let key = good_key(1, 1);
    let world = World::new("delete", std::slice::from_ref(&key));
    for number in 0..3 {
        world.fault_at(Call::Commit, When::Nth(number), Fault::Throttled);
    }
    world.deliver(&created(&key)).unwrap().unwrap();
    assert_eq!(world.take_calls(), [Call::Commit; 4]);
    let sleeps = world.clock.take_sleeps();
    assert_eq!(sleeps.len(), 3);
    for (sleep, longest) in sleeps.iter().zip([100, 200, 400].map(Duration::from_millis)) {
        assert!((longest / 2..=longest).contains(sleep), "{sleep:?} of {longest:?}");
    }
}

/// A worker has stored its intent, and died.
fn leased(key: &key_guard_core::lifecycle::input::ListedKey) -> World {
    let world = World::new("delete", std::slice::from_ref(key));
    world.fault_at(Call::Find, When::FIRST, Fault::KilledBefore);
    assert!(world.deliver(&created(key)).is_none());
    world.take_calls();
    world
}

#[test]
fn a_session_waits_for_the_lease_of_another_worker() {
    let key = bad_key(1, 1);
    let world = leased(&key);
    world.clock.pass(TimeDelta::seconds(41));
    let report = world.deliver(&activated(&key, at(20))).unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::Deleted);
    assert!(world.clock.now() >= at(30 + 45), "the lease was not over");
}

#[test]
fn a_session_gives_up_while_the_lease_of_another_worker_lasts() {
    let key = bad_key(1, 1);
    let world = leased(&key);
    let started = world.clock.now();
    let error = world.deliver(&activated(&key, at(20))).unwrap().unwrap_err();
    assert!(matches!(error, EventError::Session(SessionError::KeyLeased { .. })), "{error}");
    let waited = world.clock.now() - started;
    assert!((TimeDelta::seconds(5)..=TimeDelta::seconds(11)).contains(&waited), "{waited}");
    assert_eq!(world.status(&key), Some(KeyStatus::Active));
}

#[test]
fn no_action_outlasts_its_lease() {
    let key = bad_key(1, 1);
    let world = World::new("delete", std::slice::from_ref(&key));
    world.fault_at(Call::Act, When::Each, Fault::Hangs);
    let error = world.deliver(&created(&key)).unwrap().unwrap_err();
    let text = bedrock_key_guard::telemetry::chain(&error);
    assert!(text.contains("its lease is about to expire") || text.contains("within 9s"), "{text}");

    let Phase::Pending(intent) = world.record(&key).phase else { panic!("no intent") };
    let lease_until = intent.lease.unwrap().until;
    assert!(world.clock.now() < lease_until, "the session outlasted its lease");
    let mut actions = world.calls.take();
    actions.retain(|made| made.call == Call::Act);
    assert!(actions.len() >= 3, "{actions:?}");
    assert!(actions.iter().all(|made| made.at + TimeDelta::seconds(10) < lease_until), "{actions:?}");
}

#[test]
fn the_first_commits_of_a_batch_are_one_call() {
    let keys: Vec<_> = (0..5).map(|number| good_key(1, number)).collect();
    let world = World::new("delete", &keys);
    let sessions: Vec<_> = keys.iter().map(|key| session(created(key))).collect();
    let results = world.invoke(async |executor| executor.run_all(sessions).await).unwrap();
    assert_eq!(world.take_batches(), [(Call::Commit, 5)]);
    let ended: Vec<_> = results.into_iter().map(|result| result.unwrap().key).collect();
    assert_eq!(ended, keys.iter().map(|key| key.key.clone()).collect::<Vec<_>>());
}

#[test]
fn the_first_loads_of_a_batch_are_one_call() {
    let keys: Vec<_> = (0..5).map(|number| good_key(1, number)).collect();
    let world = World::new("delete", &keys);
    let sessions = |keys: &[_], time| -> Vec<Session> {
        keys.iter().map(|key| session(activated(key, at(time)))).collect()
    };
    let mut mixed = sessions(&keys, 10);
    mixed.push(session(created(&good_key(1, 9))));
    world.invoke(async |executor| executor.run_all(mixed).await).unwrap();
    let calls = world.take_batches();
    assert_eq!(calls[..2], [(Call::Load, 5), (Call::Commit, 1)]);
    assert!(!calls[2..].contains(&(Call::Load, 1)), "{calls:?}");
}

#[test]
fn a_batch_that_fails_is_repeated_key_by_key() {
    let keys: Vec<_> = (0..3).map(|number| good_key(1, number)).collect();
    let world = World::new("delete", &keys);
    world.fault_at(Call::Commit, When::FIRST, Fault::LostReply);
    let sessions: Vec<_> = keys.iter().map(|key| session(created(key))).collect();
    let results = world.invoke(async |executor| executor.run_all(sessions).await).unwrap();
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(world.take_batches(), [3, 1, 1, 1].map(|keys| (Call::Commit, keys)));
    assert!(keys.iter().all(|key| world.changes(key) == [Change::Assessed]));
}

#[test]
fn a_batch_runs_so_many_sessions_side_by_side() {
    let keys: Vec<_> = (0..20).map(|number| bad_key(1, number)).collect();
    let world = World::new("delete", &keys);
    let started = world.clock.now();
    let sessions = keys.iter().map(|key| session(created(key))).collect();
    let results = world.invoke(async |executor| executor.run_all(sessions).await).unwrap();
    assert!(results.iter().all(Result::is_ok));
    assert!(world.iam.inner.keys().is_empty());
    assert_eq!(world.calls.most_under_way(), MAX_CONCURRENT_SESSIONS);
    // Two turns of three calls, after the first commit.
    assert_eq!(world.clock.now() - started, TimeDelta::milliseconds(7 * 50));
}
