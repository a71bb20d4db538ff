//! What a sweep calls absent (R3).

use std::collections::BTreeSet;

use chrono::TimeDelta;
use key_guard_core::key::{KeyRef, Service};
use key_guard_core::lifecycle::input::{Input, ListedKey};
use key_guard_core::lifecycle::state::Phase;

use super::{BEDROCK, bad_keys, problems, refs, two_services};
use crate::support::{ListFault, SweepWorld, account, bad_key};

#[test]
fn a_key_that_two_complete_sweeps_do_not_list_is_gone() {
    let keys = bad_keys(1, 0..3);
    let mut world = SweepWorld::new("monitor", keys.clone());
    world.page_size = 1;
    world.sweep();
    world.iam.remove(1);
    world.wait(3_600);
    let first = world.sweep();
    assert_eq!(world.called_absent(), refs(&keys[1..2]));
    assert_eq!((world.phase(&keys[1]), first.counts.ended), (Phase::Settled, 0));
    world.wait(3_600);
    let asked_at = world.now;
    let second = world.sweep();
    assert!(matches!(world.phase(&keys[1]), Phase::Gone(_)));
    assert_eq!((second.counts.ended, second.counts.unreported), (1, 1));
    let absent = world.inputs.iter().rev().find_map(|(_, input)| match input {
        Input::NotListed { first_asked_at, last_asked_at } => Some((*first_asked_at, *last_asked_at)),
        _ => None,
    });
    let (first, last) = absent.unwrap();
    assert_eq!(first, asked_at + world.call_time, "when the first page was requested");
    assert!(last > first, "when the last page was requested");
}

/// Sweeps `keys`, deletes one, and sweeps twice with a list that `fault` breaks.
fn called_absent_with(fault: ListFault, keys: &[ListedKey], deleted: &ListedKey) -> BTreeSet<KeyRef> {
    let mut world = SweepWorld::new("monitor", keys.to_vec());
    world.policy = two_services("monitor");
    world.page_size = 2;
    world.sweep();
    world.iam.retain(|listed| listed != deleted);
    world.list_faults.insert((account(1), BEDROCK), fault);
    for _ in 0..2 {
        world.wait(3_600);
        world.call_time = TimeDelta::milliseconds(1);
        world.sweep();
    }
    assert!(!world.records.is_empty());
    world.called_absent()
}

#[test]
fn no_key_is_called_absent_because_of_a_list_that_is_not_complete() {
    let mut keys = bad_keys(1, 0..6);
    keys.extend([bad_key(1, 8, Service::Logs), bad_key(1, 9, Service::Logs)]);
    for fault in [
        ListFault::Refused,
        ListFault::RefusedPage(1),
        ListFault::Circle,
        ListFault::Endless,
        ListFault::Unreadable,
    ] {
        assert_eq!(called_absent_with(fault, &keys, &keys[5]), BTreeSet::new(), "{fault:?}");
        // The other service's list is complete.
        assert_eq!(called_absent_with(fault, &keys, &keys[7]), refs(&keys[7..]), "{fault:?}");
    }
    assert_eq!(called_absent_with(ListFault::Throttled(2), &keys, &keys[5]), refs(&keys[5..6]));
}

/// It is in none of the lists, and in the ledger by the time of the closing pass.
#[test]
fn a_key_that_was_created_while_the_sweep_ran_is_not_called_absent() {
    let mut world = SweepWorld::new("monitor", bad_keys(1, 0..3));
    let started = world.now;
    let created_at = started + TimeDelta::seconds(1);
    let new = ListedKey { created_at, ..bad_key(1, 9, Service::Bedrock) };
    let listed = Input::Listed { listed: Box::new(new.clone()), asked_at: created_at };
    world.process(&new.key, listed).unwrap();
    world.now = started;
    world.sweep();
    let absent = world.inputs.iter().filter(|(_, input)| matches!(input, Input::NotListed { .. }));
    assert_eq!(absent.count(), 1, "the session leaves it alone");
    assert_eq!(world.called_absent(), BTreeSet::new());
}

#[test]
fn a_user_that_moves_between_pages_loses_no_key() {
    let keys = bad_keys(1, 0..4);
    let mut world = SweepWorld::new("monitor", keys.clone());
    world.page_size = 2;
    world.sweep();
    world.wait(3_600);
    // Renamed between the two pages: it is on none of them.
    let renamed = [&keys[2..3], &keys[..2], &keys[3..]].concat();
    world.changes.push((world.calls.len() + 2, renamed));
    world.sweep();
    assert_eq!((world.called_absent(), world.phase(&keys[2])), (refs(&keys[2..3]), Phase::Settled));
    world.wait(3_600);
    world.sweep();
    world.wait(3_600);
    world.sweep();
    assert_eq!(world.phase(&keys[2]), Phase::Settled);
    assert_eq!(world.stored(&keys[2].key).state.observation(), None);
}

/// The first invocations have seen the pages, and the last one runs the closing pass.
#[test]
fn a_continued_sweep_reads_its_lists_again_before_it_calls_a_key_absent() {
    let keys = bad_keys(1, 0..9);
    let mut world = SweepWorld::new("monitor", keys.clone());
    world.page_size = 4;
    world.sweep();
    world.iam.remove(4);
    world.wait(3_600);
    world.call_time = TimeDelta::milliseconds(600);
    world.time_limit = TimeDelta::seconds(13);
    let fed = world.inputs.len();
    let (result, invocations) = world.sweep_to_the_end(20);
    assert!(invocations > 2, "{invocations}");
    assert_eq!(problems(&result.unwrap()), [""; 0]);
    assert_eq!(world.called_absent(), refs(&keys[4..5]));
    let listed = world.inputs[fed..].iter().filter(|(_, input)| matches!(input, Input::Listed { .. }));
    assert_eq!(listed.count(), 8, "what is read again is not run again");
}

#[test]
fn an_invocation_that_is_too_short_to_read_a_list_again_calls_no_key_absent() {
    let keys = bad_keys(1, 0..30);
    let mut world = SweepWorld::new("monitor", keys);
    world.page_size = 1;
    world.sweep();
    world.iam.remove(4);
    world.wait(3_600);
    world.call_time = TimeDelta::milliseconds(300);
    world.time_limit = TimeDelta::seconds(13);
    let (result, _) = world.sweep_to_the_end(60);
    let result = result.unwrap();
    assert_eq!(
        world.problems,
        ["one invocation is too short to read IAM's key list for account 000000000001 again (every service)"]
    );
    assert_eq!((result.counts.accounts, result.counts.accounts_completed), (1, 0));
    assert_eq!(world.called_absent(), BTreeSet::new());
}
