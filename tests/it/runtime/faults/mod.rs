//! Every call of an invocation fails once, or two workers meet at it: whatever happens, everything ends as it would have.
//!
//! The store is the real one, on SQLite in memory. For an event, a sweep and a batch it is also on DynamoDB over HTTP. IAM is
//! in memory. For an event, a resume and a sweep it is also the real adapter over HTTP.

mod batch;
mod ending;
mod scenario;

use std::collections::BTreeMap;

use bedrock_key_guard::clock::Clock as _;
use bedrock_key_guard::runtime::executor::WorkerIds;
use chrono::TimeDelta;
use futures_util::future::join;

use super::faulty::{Call, Fault, Made, When};
use super::iam::{HttpIam, MemoryIam, TestIam};
use super::ledger::StoreKind;
use super::world::World;
use ending::Ending;
use scenario::{Invocation, Scenario};

/// What may go wrong with a call. Whether a read that goes wrong has happened makes no difference.
const fn faults(call: Call) -> &'static [Fault] {
    match call {
        Call::Load
        | Call::Find
        | Call::List
        | Call::ListPage
        | Call::ResumableKeys
        | Call::KnownKeys
        | Call::LoadSweepRecord
        | Call::HeardAccounts => &[Fault::KilledBefore, Fault::Throttled, Fault::Refused],
        Call::Commit
        | Call::Append
        | Call::Act
        | Call::PutSweepRecord
        | Call::Publish
        | Call::RecordAttempt
        | Call::LookUpUser
        | Call::MarkSilenceReported => {
            &[Fault::KilledBefore, Fault::KilledAfter, Fault::LostReply, Fault::Throttled, Fault::Refused]
        }
    }
}

/// What Lambda does with an event whose invocation has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Redelivery {
    /// Two retries, a minute later.
    Soon,
    /// The retries fail, too. The event is delivered again once somebody has looked into the queue of failed ones.
    Late,
}

impl Redelivery {
    /// Those that are possible. Resumes and sweeps are not retried: the next one comes in any case.
    const fn of(invocation: &Invocation) -> &'static [Self] {
        match invocation {
            Invocation::Event(_) | Invocation::Batch(_) => &[Self::Soon, Self::Late],
            Invocation::Resume | Invocation::Sweep => &[Self::Late],
        }
    }
}

/// Each call with its number among those of its kind.
fn numbered(made: Vec<Made>) -> Vec<(Call, usize)> {
    let mut counts = BTreeMap::new();
    let number = |Made { call, .. }| {
        let count: &mut usize = counts.entry(call).or_default();
        *count += 1;
        (call, *count - 1)
    };
    made.into_iter().map(number).collect()
}

/// The calls of the scenario's invocation if nothing fails, and how everything ends then.
fn undisturbed<A: TestIam>(scenario: &Scenario) -> (Vec<(Call, usize)>, Ending) {
    let world = scenario.world::<A>();
    assert!(world.run(&scenario.invocation));
    let calls = numbered(world.calls.take());
    world.settle();
    (calls, Ending::of(scenario, &world, "undisturbed"))
}

impl<A: TestIam> World<A> {
    /// Delivers an event again, as Lambda does, until an invocation comes to its end.
    fn redeliver(&self, event: &Invocation, case: &str) {
        let is_done = (0..2).any(|_| {
            self.clock.pass(TimeDelta::seconds(61));
            self.run(event)
        });
        assert!(is_done, "both retries have failed: {case}");
    }

    /// Real life goes on after an invocation.
    fn recover(&self, invocation: &Invocation, is_done: bool, redelivery: Redelivery, case: &str) {
        let is_event = invocation.is_event();
        if is_event && !is_done && redelivery == Redelivery::Soon {
            self.redeliver(invocation, case);
            let published = self.published();
            self.settle();
            assert_eq!(self.published(), published, "the report that was returned is the only one: {case}");
            return;
        }
        self.settle();
        if is_event && !is_done {
            self.redeliver(invocation, case);
            self.resume_and_sweep();
        }
    }

    /// The same after two invocations.
    fn recover_both(&self, invocations: [&Invocation; 2], done: [bool; 2], case: &str) {
        for (invocation, is_done) in invocations.into_iter().zip(done) {
            if invocation.is_event() && !is_done {
                self.redeliver(invocation, case);
            }
        }
        self.settle();
    }

    fn assert_ends_as(&self, scenario: &Scenario, ending: &Ending, case: &str) {
        assert_eq!(Ending::of(scenario, self, case), *ending, "{case}");
    }
}

/// Each call of the invocation fails once, in each way.
fn fail_every_call<A: TestIam>(scenario: &Scenario) {
    let (calls, ending) = undisturbed::<A>(scenario);
    let is_event = scenario.invocation.is_event();
    for (call, number) in calls {
        for &fault in faults(call) {
            for redelivery in Redelivery::of(&scenario.invocation) {
                let case = format!("{fault:?} at {call:?} {number}, redelivered {redelivery:?}");
                let world = scenario.world::<A>();
                world.fault_at(call, When::Nth(number), fault);
                let is_done = world.run(&scenario.invocation);
                assert!(world.calls.have_failed(), "it did not happen: {case}");
                if is_done && is_event && *redelivery == Redelivery::Late {
                    // Nothing is delivered again, so this is the same as above.
                    continue;
                }
                assert_done_if_transient(scenario, (call, fault), is_done, &case);
                assert_swept_last(&world, (call, fault), scenario, &case);
                world.recover(&scenario.invocation, is_done, *redelivery, &case);
                world.assert_ends_as(scenario, &ending, &case);
            }
        }
    }
}

/// A fault that may pass does not end an invocation (R7).
fn assert_done_if_transient(scenario: &Scenario, (call, fault): (Call, Fault), is_done: bool, case: &str) {
    match fault {
        // Who deleted the key is not known once that reply is lost: IAM does not list the key any more, and that takes
        // a second observation (R3).
        Fault::LostReply if call == Call::Act && scenario.response == "delete" => {}
        Fault::LostReply | Fault::Throttled => assert!(is_done, "it was given up: {case}"),
        Fault::KilledBefore | Fault::KilledAfter => assert!(!is_done, "nobody died: {case}"),
        Fault::Refused | Fault::Hangs | Fault::StalledBefore | Fault::StalledAfter => {}
    }
}

/// An account counts as swept only once everything else is done (R10).
fn assert_swept_last<A: TestIam>(
    world: &World<A>,
    (call, fault): (Call, Fault),
    scenario: &Scenario,
    case: &str,
) {
    let is_killed = matches!(fault, Fault::KilledBefore | Fault::KilledAfter);
    if scenario.invocation != Invocation::Sweep || !is_killed {
        return;
    }
    // A scenario may have had a sweep before.
    let is_swept = world
        .accounts
        .iter()
        .filter_map(|account| world.sweep_record(account))
        .any(|record| world.clock.now() - record.started < TimeDelta::minutes(5));
    let is_last = call == Call::PutSweepRecord && fault == Fault::KilledAfter;
    assert_eq!(is_swept, is_last, "R10: {case}");
}

/// Another worker is invoked some time after the first one. Which of them have come to their end?
fn meet<A: TestIam>(
    world: &World<A>,
    first: &Invocation,
    second: &Invocation,
    later: TimeDelta,
) -> [bool; 2] {
    let workers = [WorkerIds::new("first"), WorkerIds::new("second")];
    let second = async {
        world.clock.pass_asleep(later.to_std().unwrap()).await;
        world.run_with(&world.executor(&workers[1]), second).await
    };
    let both = async { join(world.run_with(&world.executor(&workers[0]), first), second).await };
    world.clock.run(both).unwrap().into()
}

/// A worker stalls at each of its calls. Meanwhile another one begins, and meets the first one's lease or takes over.
fn stall_at_every_call<A: TestIam>(scenario: &Scenario) {
    let (calls, ending) = undisturbed::<A>(scenario);
    let invocation = &scenario.invocation;
    let (soon, after_the_lease) = (TimeDelta::seconds(2), TimeDelta::seconds(50));
    let mut others = vec![(&Invocation::Sweep, soon), (invocation, soon)];
    others.extend([(invocation, after_the_lease), (&Invocation::Resume, after_the_lease)]);
    // A sweep meets a sweep, and a resume a resume, only once.
    others.dedup();
    for (call, number) in calls {
        for fault in [Fault::StalledBefore, Fault::StalledAfter] {
            for (second, later) in &others {
                let case = format!("{fault:?} at {call:?} {number}, {later} later {second:?}");
                let world = scenario.world::<A>();
                world.fault_at(call, When::Nth(number), fault);
                let done = meet(&world, invocation, second, *later);
                assert!(world.calls.have_failed(), "it did not happen: {case}");
                world.recover_both([invocation, second], done, &case);
                world.assert_ends_as(scenario, &ending, &case);
            }
        }
    }
}

/// Two workers run side by side, the second one from none to six calls behind. A call takes 50 ms.
fn interleave<A: TestIam>(scenario: &Scenario) {
    let (_, ending) = undisturbed::<A>(scenario);
    let invocation = &scenario.invocation;
    for second in [invocation, &Invocation::Resume, &Invocation::Sweep] {
        for later in [0, 25, 75, 125, 175, 225, 275].map(TimeDelta::milliseconds) {
            let case = format!("{later} later {second:?}");
            let world = scenario.world::<A>();
            let done = meet(&world, invocation, second, later);
            world.recover_both([invocation, second], done, &case);
            world.assert_ends_as(scenario, &ending, &case);
        }
    }
}

/// The tests of each scenario with these runs.
macro_rules! fault_tests {
    ($($name:ident: $scenario:expr, [$($run:ident),+];)+) => {
        $(
            mod $name {
                use super::*;

                $(
                    #[test]
                    fn $run() {
                        super::$run::<MemoryIam>(&$scenario);
                    }
                )+
            }
        )+
    };
}

fault_tests! {
    compliant_creation: Scenario::compliant_creation(), [fail_every_call];
    creation_under_deactivate: Scenario::creation("deactivate"), [fail_every_call, stall_at_every_call, interleave];
    creation_under_delete: Scenario::creation("delete"), [fail_every_call, stall_at_every_call, interleave];
    creation_under_quarantine: Scenario::creation("quarantine"), [fail_every_call];
    reactivation_under_deactivate:
        Scenario::reactivation("deactivate"), [fail_every_call, stall_at_every_call, interleave];
    reactivation_in_quarantine: Scenario::reactivation("quarantine"), [fail_every_call];
    deletion: Scenario::deletion(), [fail_every_call, stall_at_every_call, interleave];
    abandoned_deactivation: Scenario::abandoned_intent("deactivate"), [fail_every_call];
    abandoned_deletion: Scenario::abandoned_intent("delete"), [fail_every_call, stall_at_every_call, interleave];
    end_of_quarantine_by_resume: Scenario::end_of_quarantine(Invocation::Resume), [fail_every_call, interleave];
    end_of_quarantine_by_sweep: Scenario::end_of_quarantine(Invocation::Sweep), [fail_every_call];
    sweep_under_deactivate: Scenario::sweep("deactivate", 1), [fail_every_call, stall_at_every_call, interleave];
    sweep_under_delete: Scenario::sweep("delete", 2), [fail_every_call];
    creation_on_dynamodb: Scenario::creation("delete").on(StoreKind::DynamoDb), [fail_every_call, stall_at_every_call];
    end_of_quarantine_by_sweep_on_dynamodb:
        Scenario::end_of_quarantine(Invocation::Sweep).on(StoreKind::DynamoDb), [fail_every_call];
    mixed_batch: Scenario::mixed_batch(), [fail_every_call, stall_at_every_call, interleave];
}

// ---- with the real adapter of IAM ----

#[test]
fn every_call_of_an_event_fails_once_over_http() {
    fail_every_call::<HttpIam>(&Scenario::creation("delete"));
}

#[test]
fn every_call_of_a_resume_fails_once_over_http() {
    fail_every_call::<HttpIam>(&Scenario::abandoned_intent("delete"));
}

#[test]
fn every_call_of_a_sweep_fails_once_over_http() {
    fail_every_call::<HttpIam>(&Scenario::sweep("delete", 1));
}
