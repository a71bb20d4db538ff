//! Sweeps, and what they publish.

use std::collections::BTreeSet;
use std::time::Duration;

use bedrock_key_guard::clock::Clock as _;
use bedrock_key_guard::runtime::executor::MAX_CONCURRENT_SESSIONS;
use bedrock_key_guard::runtime::publish::{
    Delivery, FindingPublisher, NoBus, PublicationCounts, PublicationProblem,
};
use bedrock_key_guard::runtime::sweep::{SweepObserver, SweepRun, SweptKey, run_sweep};
use chrono::TimeDelta;
use key_guard_core::key::{CredentialId, KeyRef, KeyStatus};
use key_guard_core::lifecycle::effect::{CallError, Cause, Change, Commit, LogEntry};
use key_guard_core::lifecycle::input::{Ceiling, ListedKey};
use key_guard_core::lifecycle::state::{InactiveCause, KeyState, Phase, Record};
use key_guard_core::lifecycle::summary::SinceLastSweep;
use key_guard_core::lifecycle::sweep::{Sweep, SweepCheckpoint, SweepProblem};
use key_guard_core::ports::{CommitReply, KeyStore as _};
use key_guard_core::report::Report;

use super::faulty::{Call, Fault, When};
use super::iam::TestIam as _;
use super::world::World;
use super::{account, bad_key, created, good_key};

fn bad_keys(count: u64) -> Vec<ListedKey> {
    (0..count).map(|number| bad_key(1, number)).collect()
}

/// The ids of the published findings, in the order of the ids.
fn published(world: &World) -> Vec<CredentialId> {
    let mut ids: Vec<_> =
        world.published().iter().map(|report| report.credential_id.clone().unwrap()).collect();
    ids.sort();
    ids
}

#[test]
fn an_account_that_fails_stops_no_other() {
    let (first, second) = (bad_key(1, 1), bad_key(2, 2));
    let world = World::new("deactivate", &[first.clone(), second.clone()]);
    world.iam.inner.close(account(1));
    let run = world.sweep().unwrap().unwrap();
    assert_eq!(run.result.problems.len(), 1);
    assert!(matches!(run.result.problems[0], SweepProblem::List { .. }), "{:?}", run.result.problems);
    assert_eq!((run.result.counts.accounts, run.result.counts.accounts_completed), (2, 1));
    assert_eq!(run.result.checkpoint, None);
    assert_eq!(world.status(&first), Some(KeyStatus::Active));
    assert_eq!(world.status(&second), Some(KeyStatus::Inactive));
    assert!(world.sweep_record(&account(1)).is_none());
    assert!(world.sweep_record(&account(2)).is_some());
}

#[test]
fn the_states_of_a_page_are_loaded_together() {
    let keys: Vec<_> = (0..150).map(|number| good_key(1, number)).collect();
    let world = World::new("delete", &keys);
    let loads = |world: &World| -> Vec<usize> {
        let calls = world.take_batches().into_iter();
        calls.filter(|(call, _)| *call == Call::Load).map(|(_, keys)| keys).collect()
    };
    world.sweep().unwrap().unwrap();
    assert_eq!(loads(&world), [100, 50]);
    // DynamoDB returns no more with one call, however long IAM's page is.
    world.iam.inner.set_page_size(1_000);
    world.clock.pass(TimeDelta::hours(1));
    world.sweep().unwrap().unwrap();
    assert_eq!(loads(&world), [100, 50]);
}

#[test]
fn the_next_page_is_read_while_the_keys_of_a_page_are_dealt_with() {
    let keys: Vec<_> = (0..3).map(|number| good_key(1, number)).collect();
    let world = World::new("delete", &keys);
    world.calls.take_time(Duration::from_secs(1));
    world.iam.inner.set_page_size(1);
    let started = world.clock.now();
    world.sweep().unwrap().unwrap();
    // A page has a load and a commit, and the next page arrives meanwhile. No page is read twice.
    let mut calls = vec![Call::LoadSweepRecord, Call::ListPage];
    calls.extend([Call::ListPage, Call::Load, Call::Commit].repeat(2));
    calls.extend([Call::Load, Call::Commit]);
    // The keys are in three partitions of the ledger.
    calls.extend([Call::KnownKeys; 3]);
    calls.push(Call::PutSweepRecord);
    assert_eq!(world.take_calls(), calls);
    assert_eq!(world.clock.now() - started, TimeDelta::seconds(2 + 3 * 2 + 4));
}

#[test]
fn the_first_commits_of_a_page_are_made_together() {
    let keys: Vec<_> =
        (0..150).map(|number| if number < 20 { bad_key(1, number) } else { good_key(1, number) }).collect();
    let world = World::new("deactivate", &keys);
    let run = world.sweep().unwrap().unwrap();
    assert_eq!((run.result.counts.failed, run.publications.counts.published), (0, 20));
    let calls = world.take_batches().into_iter();
    let many: Vec<_> = calls.filter(|(call, keys)| *call == Call::Commit && *keys > 1).collect();
    // As many as run side by side.
    assert_eq!(many.len(), 100_usize.div_ceil(16) + 50_usize.div_ceil(16));
    assert!(many.iter().all(|(_, keys)| *keys <= 16));
}

#[test]
fn a_page_whose_states_cannot_be_loaded_is_loaded_key_by_key() {
    let world = World::new("deactivate", &bad_keys(3));
    world.fault_at(Call::Load, When::FIRST, Fault::Throttled);
    let run = world.sweep().unwrap().unwrap();
    assert!(world.calls.have_failed());
    assert_eq!(run.result.counts.failed, 0);
    assert_eq!(world.take_batches().iter().filter(|call| **call == (Call::Load, 1)).count(), 3);
    assert!(world.all_are_inactive());
}

#[test]
fn a_key_that_fails_stops_no_other() {
    let world = World::new("deactivate", &bad_keys(3));
    world.fault_at(Call::Act, When::FIRST, Fault::Refused);
    let run = world.sweep().unwrap().unwrap();
    assert_eq!((run.result.counts.failed, run.result.problems.len()), (1, 1));
    let inactive = world.iam.inner.keys().iter().filter(|key| key.status == KeyStatus::Inactive).count();
    assert_eq!(inactive, 2);
    // What it has begun is left to the next resume.
    world.clock.pass(TimeDelta::seconds(61));
    world.resume().unwrap().unwrap();
    assert!(world.all_are_inactive());
    assert_eq!(published(&world).len(), 3);
}

#[test]
fn each_finding_is_published_once() {
    let keys = bad_keys(20);
    let world = World::new("deactivate", &keys);
    let run = world.sweep().unwrap().unwrap();
    let expected = PublicationCounts { findings: 20, published: 20, failed: 0 };
    assert_eq!(run.publications.counts, expected);
    assert_eq!(published(&world), keys.iter().map(|key| key.key.id.clone()).collect::<Vec<_>>());
    assert!(keys.iter().all(|key| !world.record(key).unreported));
    assert_eq!(world.changes(&keys[0]).last(), Some(&Change::Reported));
    assert_eq!(world.calls.most_under_way(), MAX_CONCURRENT_SESSIONS);

    world.clock.pass(TimeDelta::hours(1));
    let run = world.sweep().unwrap().unwrap();
    assert_eq!(run.publications.counts, PublicationCounts::default());
    assert_eq!(published(&world).len(), 20);
}

#[test]
fn a_publisher_that_dies_has_marked_nothing() {
    for (fault, so_far) in [(Fault::KilledBefore, 0), (Fault::KilledAfter, 1)] {
        let key = bad_key(1, 1);
        let world = World::new("deactivate", std::slice::from_ref(&key));
        world.fault_at(Call::Publish, When::FIRST, fault);
        assert!(world.sweep().is_none());
        assert!(world.record(&key).unreported);
        assert_eq!(published(&world).len(), so_far);
        world.clock.pass(TimeDelta::hours(1));
        world.sweep().unwrap().unwrap();
        assert!(!world.record(&key).unreported);
        assert_eq!(published(&world).len(), so_far + 1);
    }
}

#[test]
fn a_finding_that_cannot_be_published_stays_unreported() {
    let keys = bad_keys(2);
    let world = World::new("deactivate", &keys);
    world.fault_at(Call::Publish, When::FIRST, Fault::Refused);
    let run = world.sweep().unwrap().unwrap();
    assert_eq!(run.publications.counts, PublicationCounts { findings: 2, published: 1, failed: 1 });
    assert!(matches!(run.publications.problems[..], [PublicationProblem::Publish { .. }]));
    let is_unreported = |key: &&ListedKey| world.record(key).unreported;
    assert_eq!(keys.iter().filter(is_unreported).count(), 1);
    world.clock.pass(TimeDelta::hours(1));
    world.sweep().unwrap().unwrap();
    assert_eq!(keys.iter().filter(is_unreported).count(), 0);
    assert_eq!(published(&world), keys.iter().map(|key| key.key.id.clone()).collect::<Vec<_>>());
}

#[test]
fn without_a_bus_findings_are_counted_and_stay_unreported() {
    let key = bad_key(1, 1);
    let world = World::new("deactivate", std::slice::from_ref(&key));
    let sweep = Sweep::new([account(1)], world.policy.services());
    let run = world.invoke(async |executor| run_sweep(executor, sweep, &NoBus, &mut ()).await);
    let counts = run.unwrap().unwrap().publications.counts;
    assert_eq!(counts, PublicationCounts { findings: 1, published: 0, failed: 0 });
    assert!(world.record(&key).unreported);
}

/// Another worker stores a state of the key while its finding is published.
struct Interfering<'a> {
    world: &'a World,
    /// What it changes.
    change: fn(&mut Record),
}

impl FindingPublisher for Interfering<'_> {
    async fn publish(&self, report: &Report) -> Result<Delivery, CallError> {
        let delivery = self.world.bus.publish(report).await?;
        let account = report.account.clone().unwrap();
        let key = KeyRef { account, id: report.credential_id.clone().unwrap() };
        let store = &self.world.store.inner;
        let stored = store.load(std::slice::from_ref(&key)).await.remove(0).unwrap();
        let mut record = stored.state.record().unwrap().clone();
        (self.change)(&mut record);
        let log = LogEntry {
            key: key.clone(),
            at: self.world.clock.now(),
            cause: Cause::Resume,
            change: Change::Learned,
        };
        let next = KeyState::Tracked(Box::new(record));
        let commit = Commit { key, expected: stored.version, next, log, counts: None };
        assert!(matches!(store.commit(&[commit]).await.remove(0), Ok(CommitReply::Committed(_))));
        Ok(delivery)
    }
}

impl Interfering<'_> {
    fn sweep(&self) -> SweepRun {
        let sweep = self.world.new_sweep();
        let run = self.world.invoke(async |executor| run_sweep(executor, sweep, self, &mut ()).await);
        run.unwrap().unwrap()
    }
}

#[test]
fn a_mark_is_written_again_after_a_conflict_and_after_a_failure() {
    let key = bad_key(1, 1);
    let world = World::new("monitor", std::slice::from_ref(&key));
    // The commit of the session and the one that conflicts, then those of the mark.
    world.fault_at(Call::Commit, When::Nth(2), Fault::Throttled);
    world.fault_at(Call::Commit, When::Nth(3), Fault::LostReply);
    let run = Interfering { world: &world, change: |_| {} }.sweep();
    assert!(world.calls.have_failed());
    let calls = world.take_calls();
    assert_eq!(
        calls[3..10],
        [
            Call::Commit,
            Call::Publish,
            Call::Commit,
            Call::Commit,
            Call::Commit,
            Call::Commit,
            Call::KnownKeys
        ]
    );
    assert!(run.publications.problems.is_empty(), "{:?}", run.publications.problems);
    assert!(!world.record(&key).unreported);
    assert_eq!(world.changes(&key).iter().filter(|change| **change == Change::Reported).count(), 1);
}

#[test]
fn a_finding_that_changes_while_it_is_published_is_published_again() {
    let key = bad_key(1, 1);
    let world = World::new("monitor", std::slice::from_ref(&key));
    let deactivated: fn(&mut Record) = |record| record.phase = Phase::Inactive(InactiveCause::Deactivated);
    Interfering { world: &world, change: deactivated }.sweep();
    assert!(world.record(&key).unreported);
    world.clock.pass(TimeDelta::hours(1));
    world.sweep().unwrap().unwrap();
    assert_eq!(published(&world).len(), 2);
    assert!(!world.record(&key).unreported);
}

/// What the command line would print.
#[derive(Default)]
struct Printed(Vec<(CredentialId, Option<SinceLastSweep>)>);

impl SweepObserver for Printed {
    fn key_swept(&mut self, key: SweptKey<'_>) {
        assert_eq!(key.report.credential_id.as_ref(), Some(&key.result.key.id));
        self.0.push((key.result.key.id.clone(), key.since_last_sweep));
    }
}

#[test]
fn the_observer_hears_of_each_key() {
    let keys = [good_key(1, 1), bad_key(1, 2), good_key(1, 3)];
    let world = World::new("monitor", &keys);
    let sweep = || {
        let mut printed = Printed::default();
        let sweep = Sweep::new([account(1)], world.policy.services());
        let run = world.invoke(async |executor| run_sweep(executor, sweep, &world.bus, &mut printed).await);
        run.unwrap().unwrap();
        printed.0.sort();
        printed.0
    };
    let id = |index: usize| keys[index].key.id.clone();
    let new = Some(SinceLastSweep::New);
    assert_eq!(sweep(), [(id(0), new), (id(1), new), (id(2), new)]);
    // They were first assessed after that sweep had started.
    world.clock.pass(TimeDelta::hours(1));
    assert_eq!(sweep(), [(id(0), new), (id(1), new), (id(2), new)]);

    // One is deleted, and two sweeps do not see it.
    world.clock.pass(TimeDelta::hours(1));
    world.iam.inner.remove(&keys[0].key);
    let unchanged = Some(SinceLastSweep::Unchanged);
    assert_eq!(sweep(), [(id(0), unchanged), (id(1), unchanged), (id(2), unchanged)]);
    world.clock.pass(TimeDelta::hours(1));
    assert_eq!(sweep(), [(id(0), Some(SinceLastSweep::Ended)), (id(1), unchanged), (id(2), unchanged)]);
}

#[test]
fn the_time_is_checked_for_each_key_of_a_batch() {
    let keys = bad_keys(100);
    let world = World { time_limit: TimeDelta::seconds(20), ..World::new("deactivate", &keys) };
    world.calls.take_time(Duration::from_secs(1));
    world.iam.inner.set_page_size(100);
    let run = world.sweep().unwrap().unwrap();
    assert!(run.result.checkpoint.is_some());
    // Nothing begins in the last ten seconds. A key takes four calls, and 16 keys run side by side.
    let begun = world.take_calls().iter().filter(|call| **call == Call::Find).count();
    assert!((16..=48).contains(&begun), "{begun} keys were begun");
    assert_eq!(run.result.counts.failed, 0);
}

#[test]
fn a_sweep_continues_in_further_invocations() {
    let keys = bad_keys(70);
    let mut world = World { time_limit: TimeDelta::seconds(20), ..World::new("deactivate", &keys) };
    world.calls.take_time(Duration::from_secs(1));
    world.iam.inner.set_page_size(40);
    let mut sweep = Sweep::new([account(1)], world.policy.services());
    let mut invocations = 0;
    let counts = loop {
        invocations += 1;
        assert!(invocations < 50, "the sweep does not end");
        let started = world.clock.now();
        let run = world.invoke(async |executor| run_sweep(executor, sweep, &world.bus, &mut ()).await);
        let run = run.unwrap().unwrap();
        assert!(world.clock.now_is_within(started, world.time_limit), "it took too long");
        let Some(checkpoint) = run.result.checkpoint else { break run.result.counts };
        let payload = serde_json::to_string(&checkpoint).unwrap();
        let checkpoint: SweepCheckpoint = serde_json::from_str(&payload).unwrap();
        sweep = Sweep::from_checkpoint(checkpoint, world.policy.services());
        world.clock.pass(TimeDelta::seconds(1));
    };
    assert!(invocations > 2, "there was time for everything");
    assert_eq!((counts.keys, counts.failed, counts.accounts_completed), (70, 0, 1));
    // Intents that were stored when the time was over are left to the next resume.
    world.clock.pass(TimeDelta::seconds(61));
    world.time_limit = TimeDelta::minutes(5);
    world.resume().unwrap().unwrap();
    assert!(world.all_are_inactive());
    assert_eq!(published(&world).into_iter().collect::<BTreeSet<_>>().len(), 70);
}

#[test]
fn a_sweep_that_may_only_monitor_changes_no_key() {
    let key = bad_key(1, 1);
    let world = World { ceiling: Ceiling::Monitor, ..World::new("delete", std::slice::from_ref(&key)) };
    world.sweep().unwrap().unwrap();
    assert_eq!(world.status(&key), Some(KeyStatus::Active));
    assert_eq!(published(&world), std::slice::from_ref(&key.key.id));
    // Its event comes late, and the ceiling of events is higher.
    let world = World { ceiling: Ceiling::Delete, ..world };
    world.deliver(&created(&key)).unwrap().unwrap();
    assert_eq!(world.status(&key), None);
}
