//! Accounts that fall silent, in simulated time.

use bedrock_key_guard::clock::Clock as _;
use bedrock_key_guard::ledger::audit::AuditEvent;
use bedrock_key_guard::ledger::audit::heard::Heartbeat;
use bedrock_key_guard::runtime::publish::NoBus;
use bedrock_key_guard::runtime::silence::{
    HeardStore as _, SilenceCounts, SilenceProblem, report_silent_accounts,
};
use chrono::TimeDelta;
use futures_util::future::join;
use key_guard_core::Time;
use key_guard_core::key::Status;
use key_guard_core::lifecycle::input::Ceiling;
use key_guard_core::policy::Response;
use key_guard_core::report::{Outcome, Severity};
use key_guard_core::silence::HeardAccount;

use super::account;
use super::faulty::{Call, Fault, When};
use super::ledger::StoreKind;
use super::world::World;

const STORES: [StoreKind; 2] = [StoreKind::Sqlite, StoreKind::DynamoDb];

impl World {
    /// The heartbeat of an account, made so long ago, is heard now.
    fn hear(&self, number: u64, ago: TimeDelta) {
        self.hear_at(number, self.clock.now() - ago);
    }

    fn hear_at(&self, number: u64, at: Time) {
        let heartbeat = AuditEvent::Heartbeat(Heartbeat { account: account(number), at });
        for recorded in self.ask(self.store.inner.ledger.record_audit_events(&[heartbeat])) {
            recorded.unwrap();
        }
    }

    fn heard(&self) -> Vec<HeardAccount> {
        self.ask(self.store.inner.ledger.heard_accounts()).unwrap()
    }

    /// When the silence of each account was reported.
    fn marks(&self) -> Vec<bool> {
        self.heard().iter().map(|heard| heard.silence_reported_at.is_some()).collect()
    }

    /// What a look at the accounts came to: how many are silent, were reported and could not be.
    fn look(&self) -> [u64; 3] {
        let run =
            self.invoke(async |executor| report_silent_accounts(executor, &self.store, &self.bus).await);
        let SilenceCounts { silent, reported, failed } = run.unwrap().unwrap().counts;
        [silent, reported, failed]
    }

    /// The accounts whose silence was published, in order.
    fn reported(&self) -> Vec<u64> {
        let number =
            |report: key_guard_core::report::Report| report.account.unwrap().as_str().parse().unwrap();
        self.published().into_iter().map(number).collect()
    }
}

fn world(store: StoreKind) -> World {
    World { ceiling: Ceiling::Monitor, ..World::with_store(store, "delete", &[]) }
}

/// Also where the ceiling is `monitor`.
#[test]
fn each_silence_is_reported_once_and_the_next_one_again() {
    for store in STORES {
        let world = world(store);
        world.hear(1, TimeDelta::zero());
        world.hear(2, TimeDelta::zero());
        let hours = |hours| world.clock.pass(TimeDelta::hours(hours));
        hours(2);
        world.hear(2, TimeDelta::zero());
        assert_eq!((world.look(), world.reported()), ([0, 0, 0], vec![]), "{store:?}");
        hours(1);
        assert_eq!((world.look(), world.reported()), ([1, 1, 0], vec![1]), "{store:?}");
        world.hear(2, TimeDelta::zero());
        assert_eq!((world.look(), world.marks()), ([1, 0, 0], vec![true, false]), "{store:?}");

        // A late heartbeat that is older than the last one says nothing.
        world.hear(1, TimeDelta::hours(4));
        assert_eq!((world.look(), world.marks()), ([1, 0, 0], vec![true, false]), "{store:?}");
        world.hear(1, TimeDelta::zero());
        assert_eq!((world.look(), world.marks()), ([0, 0, 0], vec![false, false]), "{store:?}");
        hours(2);
        world.hear(2, TimeDelta::zero());
        hours(1);
        assert_eq!((world.look(), world.reported()), ([1, 1, 0], vec![1, 1]), "{store:?}");
        assert_eq!((world.look(), world.reported().len()), ([1, 0, 0], 2), "{store:?}");
    }
}

/// A heartbeat may be hours late. It has ended the silence that was reported, and another one has begun since.
#[test]
fn a_silence_after_a_late_heartbeat_is_reported_too() {
    let world = world(StoreKind::Sqlite);
    world.hear(1, TimeDelta::zero());
    let heartbeat = world.clock.now() + TimeDelta::minutes(175);
    world.clock.pass(TimeDelta::hours(3));
    assert_eq!(world.look(), [1, 1, 0]);
    world.hear_at(1, heartbeat);
    assert_eq!(world.look(), [0, 0, 0]);
    world.clock.pass(TimeDelta::hours(3));
    assert_eq!((world.look(), world.reported()), ([1, 1, 0], vec![1, 1]));
}

/// It is deleted by its `ttl` at some time later.
#[test]
fn an_account_is_dropped_after_thirty_days() {
    let world = world(StoreKind::Sqlite);
    // A look takes a moment.
    world.hear(1, TimeDelta::days(30) - TimeDelta::minutes(1));
    world.hear(2, TimeDelta::days(30));
    assert_eq!((world.look(), world.reported()), ([1, 1, 0], vec![1]));
    world.clock.pass(TimeDelta::minutes(1));
    assert_eq!((world.look(), world.heard().len()), ([0, 0, 0], 2));
}

#[test]
fn the_report_is_about_an_account_and_says_what_to_do() {
    let world = world(StoreKind::Sqlite);
    world.hear(1, TimeDelta::hours(3));
    world.look();
    let report = world.published().remove(0);
    assert_eq!((report.account, report.verdict, report.credential_id), (Some(account(1)), None, None));
    assert_eq!((report.severity, report.status), (Severity::High, Status::Unknown));
    assert_eq!((report.response, report.outcome), (Response::None, Outcome::Ignored));
    let last_heard = "2026-03-01T09:00:30Z";
    assert!(
        report.reason.contains(last_heard) && report.reason.contains("000000000001"),
        "{}",
        report.reason
    );
    let remediation = report.remediation.unwrap();
    for advice in ["management events", "heartbeat", "`bedrock-key-guard doctor`", "30 days"] {
        assert!(remediation.to_string().contains(advice), "{advice}: {remediation}");
    }
}

#[test]
fn a_silence_that_could_not_be_published_is_reported_by_the_next_look() {
    for fault in [Fault::Refused, Fault::LostReply] {
        let world = world(StoreKind::Sqlite);
        world.hear(1, TimeDelta::hours(3));
        world.hear(2, TimeDelta::hours(3));
        for number in 3..=20 {
            world.hear(number, TimeDelta::zero());
        }
        world.fault_at(Call::Publish, When::FIRST, fault);
        let run = world.invoke(async |executor| {
            report_silent_accounts(executor, &world.store, &world.bus).await.unwrap()
        });
        let run = run.unwrap();
        assert_eq!(run.counts, SilenceCounts { silent: 2, reported: 1, failed: 1 });
        let [SilenceProblem::Publish { account: failed, .. }] = run.problems.as_slice() else {
            panic!("{run:?}")
        };
        assert_eq!((failed, world.marks()), (&account(1), [vec![false, true], vec![false; 18]].concat()));
        assert_eq!((world.look(), world.reported().last()), ([2, 1, 0], Some(&1)));
        assert_eq!(world.look(), [2, 0, 0]);
    }
}

/// After an outage of the guard every account seems silent, until heartbeats come back one by one.
#[test]
fn where_many_are_silent_one_silence_is_reported() {
    let world = world(StoreKind::Sqlite);
    for number in 1..=9 {
        world.hear(number, TimeDelta::hours(4) - TimeDelta::minutes(number.cast_signed()));
    }
    assert_eq!((world.look(), world.reported()), ([9, 1, 0], vec![9]));
    assert_eq!(world.look(), [9, 0, 0]);
    for number in 2..=8 {
        world.hear(number, TimeDelta::zero());
        assert_eq!((world.look(), world.reported()), ([10 - number, 0, 0], vec![9]));
    }
    world.hear(9, TimeDelta::zero());
    assert_eq!((world.look(), world.reported()), ([1, 1, 0], vec![9, 1]));
}

/// At least once: what was published before the worker died is published again (I11).
#[test]
fn a_look_that_dies_before_its_mark_is_repeated_and_after_it_is_not() {
    for (call, fault, again) in [
        (Call::Publish, Fault::KilledBefore, 1),
        (Call::Publish, Fault::KilledAfter, 1),
        (Call::MarkSilenceReported, Fault::KilledBefore, 1),
        (Call::MarkSilenceReported, Fault::KilledAfter, 0),
    ] {
        for store in STORES {
            let world = world(store);
            world.hear(1, TimeDelta::hours(3));
            world.fault_at(call, When::FIRST, fault);
            let killed = world
                .invoke(async |executor| report_silent_accounts(executor, &world.store, &world.bus).await);
            assert!(killed.is_none());
            assert_eq!(world.look(), [1, again, 0], "{call:?} {fault:?} {store:?}");
            assert_eq!(world.look(), [1, 0, 0], "{call:?} {fault:?} {store:?}");
        }
    }
}

#[test]
fn a_mark_is_retried_and_one_that_is_refused_is_a_problem() {
    for (fault, problems, again) in
        [(Fault::Throttled, 0, 0), (Fault::LostReply, 0, 0), (Fault::Refused, 1, 1)]
    {
        let world = world(StoreKind::Sqlite);
        world.hear(1, TimeDelta::hours(3));
        world.fault_at(Call::MarkSilenceReported, When::FIRST, fault);
        let run = world.invoke(async |executor| {
            report_silent_accounts(executor, &world.store, &world.bus).await.unwrap()
        });
        let run = run.unwrap();
        assert_eq!((run.counts.reported, run.problems.len()), (1, problems), "{fault:?}");
        assert_eq!(world.look(), [1, again, 0], "{fault:?}");
    }
}

/// Both may publish, and the mark of the slower one is refused, whatever it is slower than.
#[test]
fn two_looks_at_the_same_time_leave_one_mark() {
    for store in STORES {
        let world = world(store);
        world.hear(1, TimeDelta::hours(3));
        let both = world.invoke(async |executor| {
            let look = || report_silent_accounts(executor, &world.store, &world.bus);
            join(look(), look()).await
        });
        let (one, other) = both.unwrap();
        assert!([one, other].into_iter().all(|run| run.unwrap().problems.is_empty()), "{store:?}");
        let heard = world.heard().remove(0);
        assert_eq!((heard.version.0, world.reported()), (2, vec![1, 1]), "{store:?}");
        assert_eq!(world.look(), [1, 0, 0], "{store:?}");
    }
}

/// A heartbeat that comes between the look and its mark is not lost, and neither is the silence after it.
#[test]
fn a_mark_never_overwrites_a_heartbeat() {
    for store in STORES {
        let world = world(store);
        world.hear(1, TimeDelta::hours(3));
        let silent = world.heard().remove(0);
        world.hear(1, TimeDelta::zero());
        let now = world.clock.now();
        world.ask(world.store.inner.ledger.mark_silence_reported(&silent, now)).unwrap();
        let heard = world.heard().remove(0);
        assert_eq!((heard.last_heard, heard.silence_reported_at), (now, None), "{store:?}");
        // The item is deleted when its time is over.
        let gone = HeardAccount { account: account(2), ..silent };
        world.ask(world.store.inner.ledger.mark_silence_reported(&gone, now)).unwrap();
        assert_eq!(world.heard().len(), 1, "{store:?}");
    }
}

#[test]
fn without_a_bus_nothing_is_marked() {
    let world = world(StoreKind::Sqlite);
    world.hear(1, TimeDelta::hours(3));
    let run = world.invoke(async |executor| report_silent_accounts(executor, &world.store, &NoBus).await);
    assert_eq!(run.unwrap().unwrap().counts, SilenceCounts { silent: 1, reported: 0, failed: 0 });
    assert_eq!((world.marks(), world.look()), (vec![false], [1, 1, 0]));
}

/// Nothing is begun shortly before the end of the invocation, and nothing is forgotten.
#[test]
fn what_there_is_no_time_for_is_left_to_the_next_look() {
    let world = World { time_limit: TimeDelta::seconds(11), ..world(StoreKind::Sqlite) };
    for number in 1..=100 {
        world.hear(number, TimeDelta::hours(3));
    }
    for number in 101..=1_000 {
        world.hear(number, TimeDelta::zero());
    }
    world.calls.take_time(std::time::Duration::from_millis(400));
    let [silent, reported, failed] = world.look();
    assert_eq!((silent, failed), (100, 0));
    assert!((1..100).contains(&reported), "{reported}");
    assert_eq!(world.marks().iter().filter(|mark| **mark).count() as u64, reported);
    world.calls.take_time(std::time::Duration::from_millis(1));
    assert_eq!(world.look(), [100, 100 - reported, 0]);
    let mut accounts = world.reported();
    accounts.sort_unstable();
    assert_eq!(accounts, (1..=100).collect::<Vec<_>>());
}
