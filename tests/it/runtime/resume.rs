//! Resumes.

use bedrock_key_guard::runtime::executor::MAX_CONCURRENT_SESSIONS;
use bedrock_key_guard::runtime::resume::run_resume;
use chrono::TimeDelta;
use key_guard_core::key::KeyStatus;
use key_guard_core::lifecycle::input::{Ceiling, ListedKey};
use key_guard_core::lifecycle::state::Phase;
use key_guard_core::report::Outcome;

use super::faulty::{Call, Fault, When};
use super::iam::TestIam as _;
use super::world::World;
use super::{bad_key, created};

/// Workers have stored the intents of these keys, and died.
fn abandoned(response: &str, keys: &[ListedKey]) -> World {
    let world = World::new(response, keys);
    for key in keys {
        world.fault_at(Call::Find, When::FIRST, Fault::KilledBefore);
        assert!(world.deliver(&created(key)).is_none());
    }
    world.take_calls();
    world
}

fn keys(count: u64) -> Vec<ListedKey> {
    (0..count).map(|number| bad_key(1, number)).collect()
}

#[test]
fn an_intent_is_executed_once_its_lease_has_expired() {
    let key = bad_key(1, 1);
    let world = abandoned("delete", std::slice::from_ref(&key));
    let run = world.resume().unwrap().unwrap();
    assert_eq!((run.counts.keys, run.counts.leased), (1, 1));
    let authorised_at = world.record(&key).phase.intent().unwrap().id.authorised_at;
    assert_eq!(run.oldest_open_intent, Some(authorised_at));
    // What comes behind the key's partition is empty.
    assert_eq!(world.take_calls(), [Call::ResumableKeys; 2]);
    assert!(world.status(&key).is_some());

    world.clock.pass(TimeDelta::seconds(45));
    let run = world.resume().unwrap().unwrap();
    assert_eq!(run.counts.outcomes, [(Outcome::Deleted, 1)].into());
    assert_eq!(run.oldest_open_intent, None);
    assert_eq!(run.publications.counts.published, 1);
    assert_eq!(world.status(&key), None);
    let Phase::Gone(_) = world.record(&key).phase else { panic!("{:?}", world.record(&key).phase) };
    assert!(!world.record(&key).unreported);

    world.take_calls();
    let run = world.resume().unwrap().unwrap();
    assert_eq!(run.counts.keys, 0);
    assert_eq!(world.take_calls(), [Call::ResumableKeys]);
}

#[test]
fn the_ceiling_monitor_pauses_intents() {
    let key = bad_key(1, 1);
    let world = World { ceiling: Ceiling::Monitor, ..abandoned("delete", std::slice::from_ref(&key)) };
    world.clock.pass(TimeDelta::minutes(1));
    let run = world.resume().unwrap().unwrap();
    assert_eq!((run.counts.keys, run.counts.paused, run.failures.len()), (1, 1, 0));
    assert_eq!(run.oldest_open_intent, None);
    assert_eq!(world.status(&key), Some(KeyStatus::Active));
}

#[test]
fn a_quarantine_ends_with_a_deletion() {
    let key = bad_key(1, 1);
    let world = World::new("quarantine", std::slice::from_ref(&key));
    world.deliver(&created(&key)).unwrap().unwrap();
    assert_eq!(world.status(&key), Some(KeyStatus::Inactive));

    world.take_calls();
    world.clock.pass(TimeDelta::days(13));
    let run = world.resume().unwrap().unwrap();
    // It is found when its date has come.
    assert_eq!(run.counts.keys, 0);
    assert_eq!(world.take_calls(), [Call::ResumableKeys]);

    world.clock.pass(TimeDelta::days(1));
    let run = world.resume().unwrap().unwrap();
    assert_eq!(run.counts.outcomes, [(Outcome::Deleted, 1)].into());
    assert_eq!(world.status(&key), None);
    assert_eq!(world.published().len(), 1);
}

#[test]
fn a_publisher_that_dies_has_marked_nothing() {
    let key = bad_key(1, 1);
    let world = abandoned("deactivate", std::slice::from_ref(&key));
    world.clock.pass(TimeDelta::minutes(1));
    world.fault_at(Call::Publish, When::FIRST, Fault::KilledBefore);
    assert!(world.resume().is_none());
    assert_eq!(world.status(&key), Some(KeyStatus::Inactive));
    assert!(world.record(&key).unreported);
    // Nothing is pending any more, so the next sweep publishes it.
    world.clock.pass(TimeDelta::minutes(10));
    world.sweep().unwrap().unwrap();
    assert_eq!(world.published().len(), 1);
    assert!(!world.record(&key).unreported);
}

#[test]
fn a_key_that_fails_stops_no_other() {
    let keys = keys(3);
    let world = abandoned("delete", &keys);
    world.clock.pass(TimeDelta::minutes(1));
    world.fault_at(Call::Act, When::FIRST, Fault::Refused);
    let run = world.resume().unwrap().unwrap();
    assert_eq!((run.counts.keys, run.counts.failed, run.failures.len()), (3, 1, 1));
    assert_eq!(run.counts.outcomes, [(Outcome::Deleted, 2)].into());
    assert!(run.oldest_open_intent.is_some() && !run.counts.is_out_of_time);
    world.clock.pass(TimeDelta::minutes(1));
    world.resume().unwrap().unwrap();
    assert!(world.iam.inner.keys().is_empty());
    assert_eq!(world.published().len(), 3);
}

#[test]
fn a_resume_of_some_accounts_leaves_the_others_alone() {
    let keys = keys(2);
    let world = abandoned("delete", &keys);
    world.clock.pass(TimeDelta::minutes(1));
    let resume = |account: &str| {
        let accounts = [account.parse().unwrap()].into();
        world
            .invoke(async |executor| run_resume(executor, &world.bus, Some(&accounts)).await)
            .unwrap()
            .unwrap()
    };
    assert_eq!(resume("999988887777").counts.keys, 0);
    assert_eq!(world.iam.inner.keys().len(), 2);
    assert_eq!(resume(keys[0].key.account.as_str()).counts.keys, 2);
    assert!(world.iam.inner.keys().is_empty());
}

#[test]
fn a_resume_stops_before_its_time_is_over() {
    let keys = keys(100);
    let mut world = abandoned("delete", &keys);
    world.policy = super::policy("deactivate");
    world.clock.pass(TimeDelta::minutes(1));
    world.calls.take_time(std::time::Duration::from_secs(1));
    world.time_limit = TimeDelta::seconds(15);
    let run = world.resume().unwrap().unwrap();
    assert!(run.counts.is_out_of_time);
    // A partition has more keys than that. When these had ended, there were less than ten seconds left.
    assert_eq!(run.counts.keys, MAX_CONCURRENT_SESSIONS as u64);
    assert_eq!(run.counts.failed, 0);
    // No intent was taken over and then left.
    let pending = keys.iter().filter(|key| matches!(world.record(key).phase, Phase::Pending(_)));
    assert_eq!(pending.count() as u64, 100 - run.counts.keys);
    assert_eq!(run.publications.counts.published, run.counts.keys);

    world.time_limit = TimeDelta::minutes(15);
    world.clock.pass(TimeDelta::minutes(1));
    let rest = world.resume().unwrap().unwrap();
    assert!(!rest.counts.is_out_of_time);
    assert_eq!(world.published().len(), 100);
    assert!(world.all_are_inactive());
}

#[test]
fn a_ledger_that_cannot_be_read_is_an_error_once_retries_do_not_help() {
    let key = bad_key(1, 1);
    let world = abandoned("delete", std::slice::from_ref(&key));
    world.clock.pass(TimeDelta::minutes(1));
    world.fault_at(Call::ResumableKeys, When::FIRST, Fault::Refused);
    assert!(world.resume().unwrap().is_err());
    world.fault_at(Call::ResumableKeys, When::FIRST, Fault::Throttled);
    assert_eq!(world.resume().unwrap().unwrap().counts.keys, 1);
    assert_eq!(world.status(&key), None);
}

#[test]
fn counts_are_json() {
    let world = abandoned("delete", &[bad_key(1, 1)]);
    world.clock.pass(TimeDelta::minutes(1));
    let run = world.resume().unwrap().unwrap();
    let json = serde_json::to_value((&run.counts, &run.publications.counts)).unwrap();
    assert_eq!(
        json,
        serde_json::json!([
            {
                "keys": 1, "unreadable": 0, "outcomes": { "deleted": 1 }, "nothing_to_do": 0, "leased": 0,
                "paused": 0, "rate_limited": 0, "failed": 0, "is_out_of_time": false,
            },
            { "findings": 1, "published": 1, "failed": 0 },
        ])
    );
}
