//! What a sweep counts, and what it publishes (R10).

use std::collections::BTreeSet;

use chrono::TimeDelta;
use key_guard_core::lifecycle::input::Input;
use key_guard_core::lifecycle::state::Phase;
use key_guard_core::lifecycle::sweep::ServiceFilter;

use super::{bad_keys, published, refs};
use crate::support::{self, ListFault, SweepWorld, account};

/// A sweep is killed after it stored 12 bad keys, or the replies to these writes are lost: the retry said "completed,
/// new 0".
#[test]
fn what_a_killed_sweep_has_stored_is_new_and_is_published() {
    for is_killed in [true, false] {
        let mut world = SweepWorld::new("monitor", bad_keys(1, 0..20));
        world.sweep();
        world.iam.extend(bad_keys(1, 20..32));
        world.wait(3_600);
        let before = world.published.len();
        // They all run at once, so that nothing is published before the last one is stored.
        world.concurrency = 32;
        if is_killed {
            world.commits_left = Some(12);
            assert!(world.sweep_of([account(1)]).is_none(), "killed");
            world.commits_left = None;
        } else {
            world.lost_replies = 12;
            let result = world.sweep();
            assert_eq!((result.counts.failed, result.counts.unreported), (12, 0));
        }
        assert_eq!(world.published.len(), before);
        world.wait(60);
        let retry = world.sweep();
        assert!(retry.counts.new >= 12, "{:?}", retry.counts);
        let told: BTreeSet<_> = world.published[before..].iter().cloned().collect();
        assert_eq!(told, refs(&world.iam[20..]), "killed: {is_killed}");
        // That sweep was completed, and so are the next ones.
        for _ in 0..2 {
            world.wait(3_600);
            world.sweep();
        }
        let later = world.sweep().counts;
        assert_eq!((later.new, later.changed, later.unreported), (0, 0, 0));
    }
}

#[test]
fn keys_that_have_ended_since_are_counted_whoever_ended_them() {
    let mut world = SweepWorld::new("monitor", bad_keys(1, 0..3));
    world.sweep();
    world.wait(3_600);
    let deleted = world.iam.remove(0);
    // A deletion event and an absence agree.
    let event = support::deleted(world.now);
    let Input::Event(mut event) = event else { panic!() };
    event.provenance.account = account(1);
    world.process(&deleted.key, Input::Event(event)).unwrap();
    assert!(matches!(world.phase(&deleted), Phase::Gone(_)));
    world.wait(3_600);
    let result = world.sweep();
    assert_eq!((result.counts.ended, result.counts.keys), (1, 2));
    world.wait(3_600);
    assert_eq!(world.sweep().counts.ended, 0);
}

/// The guard deleted a key, and died before it published that. No list has the key any more.
#[test]
fn the_end_of_a_key_that_nobody_was_told_of_is_published() {
    let mut world = SweepWorld::new("delete", bad_keys(1, 0..2));
    let first = world.iam[0].clone();
    let listed = Input::Listed { listed: Box::new(first.clone()), asked_at: world.now };
    world.process(&first.key, listed).unwrap();
    assert!(matches!(world.phase(&first), Phase::Gone(_)));
    world.wait(60);
    world.sweep();
    assert!(published(&world).contains(&first.key));
    let before = world.published.len();
    world.wait(60);
    world.sweep();
    assert_eq!(world.published.len(), before, "once");
}

#[test]
fn new_is_since_the_start_of_the_last_sweep_that_was_completed() {
    let mut world = SweepWorld::new("monitor", bad_keys(1, 0..2));
    let new = |world: &mut SweepWorld| {
        world.wait(3_600);
        world.sweep().counts.new
    };
    let started = world.now + TimeDelta::seconds(3_600);
    assert_eq!(new(&mut world), 2);
    assert_eq!(world.records[&account(1)].started, started);
    // They were stored after that sweep had started.
    assert_eq!(new(&mut world), 2);
    assert_eq!(new(&mut world), 0);
    // The lists of the next ones cannot be read to the end: they do not count.
    world.iam.extend(bad_keys(1, 2..5));
    world.page_size = 4;
    world.list_faults.insert((account(1), ServiceFilter::All), ListFault::RefusedPage(1));
    assert_eq!((new(&mut world), new(&mut world), new(&mut world)), (2, 2, 2));
    world.list_faults.clear();
    assert_eq!(new(&mut world), 3);
}

#[test]
fn intents_are_left_to_the_next_resume() {
    let keys = bad_keys(1, 0..3);
    let mut world = SweepWorld::new("deactivate", keys.clone());
    // A worker dies when it has stored its intent.
    world.commits_left = Some(1);
    assert!(world.sweep_of([account(1)]).is_none());
    world.commits_left = None;
    let result = world.sweep();
    assert!(matches!(world.phase(&keys[0]), Phase::Pending(_)));
    assert_eq!((result.counts.left_to_resume, result.counts.failed), (1, 0));
    assert!(!published(&world).contains(&keys[0].key), "its worker is about to change it");
    world.wait(3_600);
    assert_eq!(world.sweep().counts.left_to_resume, 1, "also when nobody has its lease");
    assert!(published(&world).contains(&keys[0].key));
}
