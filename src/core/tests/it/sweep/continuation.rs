//! How a sweep uses its time, and where it continues.

use chrono::TimeDelta;
use key_guard_core::lifecycle::state::Phase;
use key_guard_core::lifecycle::sweep::{MAX_PAGES, ServiceFilter};
use key_guard_core::report::Outcome;

use super::{BEDROCK, bad_keys, published, two_services};
use crate::support::{self, ListFault, SweepWorld, account};

/// 300 slow keys in one page: `OutOfTime` three times, none reported, and no continuation.
#[test]
fn the_time_is_checked_between_keys() {
    let mut world = SweepWorld::new("deactivate", bad_keys(1, 0..300));
    world.page_size = 300;
    world.call_time = TimeDelta::milliseconds(500);
    world.time_limit = TimeDelta::minutes(3);
    let first = world.sweep_of([account(1)]).unwrap().unwrap();
    assert!(world.now < support::at(86_400) + world.time_limit, "the first invocation ended in time");
    let done = first.counts.keys;
    assert!((20..300).contains(&done), "{done}");
    assert_eq!(published(&world).len() as u64, done, "what was done is published");
    let mut result = world.continue_from(&first.checkpoint.unwrap()).unwrap();
    let mut invocations = 2;
    while let Some(checkpoint) = result.checkpoint {
        result = world.continue_from(&checkpoint).unwrap();
        invocations += 1;
    }
    assert!(invocations < 12, "{invocations}");
    assert_eq!((result.counts.keys, result.counts.failed, result.counts.accounts_completed), (300, 0, 1));
    assert_eq!(result.counts.unreported, 300);
    assert_eq!(result.counts.outcomes[&Outcome::Deactivated], 300);
}

#[test]
fn one_key_in_each_invocation_is_enough() {
    let mut world = SweepWorld::new("monitor", bad_keys(1, 0..7));
    world.page_size = 3;
    world.time_limit = TimeDelta::seconds(10);
    let (result, invocations) = world.sweep_to_the_end(40);
    let result = result.unwrap();
    assert_eq!((result.counts.keys, result.counts.failed), (7, 0));
    assert_eq!(world.inputs.len(), 7, "each key once");
    assert!(invocations >= 7);
}

#[test]
fn no_page_is_read_ahead_that_there_is_no_time_for() {
    let mut world = SweepWorld::new("monitor", bad_keys(1, 0..7));
    world.page_size = 3;
    world.time_limit = TimeDelta::seconds(10);
    world.sweep_of([account(1)]);
    assert_eq!(world.calls, ["load record", "list every service", "run"]);
}

#[test]
fn a_page_that_was_read_ahead_and_not_dealt_with_is_read_again() {
    let mut world = SweepWorld::new("monitor", bad_keys(1, 0..6));
    world.page_size = 3;
    world.call_time = TimeDelta::seconds(2);
    world.time_limit = TimeDelta::seconds(20);
    let first = world.sweep_of([account(1)]).unwrap().unwrap();
    assert_eq!(world.calls, ["load record", "list every service", "run", "list every service"]);
    assert_eq!((first.counts.pages, first.counts.keys), (1, 1));
    let mut result = world.continue_from(&first.checkpoint.unwrap()).unwrap();
    while let Some(checkpoint) = result.checkpoint {
        result = world.continue_from(&checkpoint).unwrap();
    }
    assert_eq!((result.counts.keys, result.counts.accounts_completed), (6, 1));
    assert_eq!((world.fed().len(), world.inputs.len()), (6, 6), "each key once");
}

#[test]
fn an_invocation_that_is_too_short_for_any_key_ends_as_well() {
    let mut world = SweepWorld::new("monitor", bad_keys(1, 0..3));
    world.time_limit = TimeDelta::seconds(1);
    let (result, _) = world.sweep_to_the_end(20);
    assert_eq!(result.unwrap().counts.failed, 3);
}

#[test]
fn a_session_that_ran_out_of_time_is_run_again() {
    let mut world = SweepWorld::new("deactivate", bad_keys(1, 0..8));
    world.concurrency = 8;
    world.time_limit = TimeDelta::seconds(20);
    world.call_time = TimeDelta::seconds(2);
    let (result, invocations) = world.sweep_to_the_end(10);
    let counts = result.unwrap().counts;
    assert!(invocations > 1);
    assert_eq!((counts.keys, counts.failed, counts.problems), (8, 0, 0));
    assert!(world.iam.iter().all(|listed| matches!(world.phase(listed), Phase::Deactivated(_))));
}

/// Each invocation sees one page only, so none sees the same marker twice.
#[test]
fn a_list_that_does_not_end_is_noticed_over_many_invocations() {
    let mut world = SweepWorld::new("monitor", bad_keys(1, 0..1));
    world.policy = two_services("monitor");
    world.call_time = TimeDelta::milliseconds(1);
    world.time_limit = TimeDelta::seconds(10);
    world.list_faults.insert((account(1), BEDROCK), ListFault::Endless);
    let (result, invocations) = world.sweep_to_the_end(MAX_PAGES as usize + 5);
    assert!(invocations >= MAX_PAGES as usize, "{invocations}");
    assert_eq!(result.unwrap().counts.lists_failed, 1);
}

/// The next invocation has more time for it.
#[test]
fn a_list_that_is_throttled_at_the_end_of_an_invocation_is_continued() {
    let mut world = SweepWorld::new("monitor", bad_keys(1, 0..4));
    world.page_size = 2;
    world.call_time = TimeDelta::seconds(1);
    world.time_limit = TimeDelta::seconds(27);
    world.list_faults.insert((account(1), ServiceFilter::All), ListFault::Throttled(5));
    let (result, invocations) = world.sweep_to_the_end(20);
    assert!(invocations > 1);
    let counts = result.unwrap().counts;
    assert_eq!((counts.keys, counts.problems, counts.accounts_completed), (4, 0, 1));
}

#[test]
fn a_checkpoint_is_small() {
    let mut world = SweepWorld::new("monitor", bad_keys(1, 0..20_000));
    world.page_size = 1_000;
    world.call_time = TimeDelta::milliseconds(1);
    world.time_limit = TimeDelta::seconds(58);
    let checkpoint = world.sweep_of([account(1)]).unwrap().unwrap().checkpoint.unwrap();
    let payload = serde_json::to_string(&checkpoint).unwrap();
    // Lambda takes at most 256 KB in an asynchronous invocation.
    assert!(payload.len() < 32_000, "{}", payload.len());
}

#[test]
fn a_payload_has_no_other_fields() {
    let mut world = SweepWorld::new("monitor", bad_keys(1, 0..2));
    world.time_limit = TimeDelta::seconds(10);
    let checkpoint = world.sweep_of([account(1)]).unwrap().unwrap().checkpoint.unwrap();
    let mut payload = serde_json::to_value(&checkpoint).unwrap();
    payload["ceiling"] = "delete".into();
    assert!(serde_json::from_value::<key_guard_core::lifecycle::sweep::SweepCheckpoint>(payload).is_err());
}
