//! Several keys whose first commits share one transaction, while some of them conflict: each key ends as it would alone.

use std::time::Duration;

use bedrock_key_guard::ledger::audit::history::LogLine;
use key_guard_core::lifecycle::effect::Change;
use key_guard_core::lifecycle::input::WorkerId;
use key_guard_core::lifecycle::state::{IntentId, StoredState};
use key_guard_core::ports::KeyStore as _;
use key_guard_core::report::Report;

use super::super::faulty::{Call, Fault, When};
use super::super::iam::MemoryIam;
use super::super::ledger::StoreKind;
use super::super::world::World;
use super::ending::Ending;
use super::scenario::{Invocation, Scenario};
use crate::support::Fault as HttpFault;

const TRANSACTION: &str = "TransactWriteItems";

/// What a world returned, and what it stored of each key. The names of workers are left out.
#[derive(Debug, PartialEq)]
struct Stored {
    returned: Vec<Report>,
    keys: Vec<(StoredState, Vec<LogLine>)>,
}

impl Stored {
    fn of(scenario: &Scenario, world: &World) -> Self {
        let keys: Vec<_> = scenario.all_keys().into_iter().map(|listed| listed.key).collect();
        let states = world.ask(world.store.inner.ledger.load(&keys)).into_iter().map(Result::unwrap);
        let histories = keys.iter().map(|key| world.history(key).into_iter().map(without_worker).collect());
        Self { returned: world.returned.lock().unwrap().clone(), keys: states.zip(histories).collect() }
    }
}

fn without_worker(mut line: LogLine) -> LogLine {
    if let LogLine::Step { change: Change::Intended { intent, .. } | Change::Acted { intent, .. }, .. } =
        &mut line
    {
        let IntentId { opened_by, .. } = intent;
        *opened_by = WorkerId(String::new());
    }
    line
}

/// What a batch stores is what the same events store one after the other, to the version and the time of each line.
#[test]
fn a_batch_stores_what_single_commits_store() {
    for store in [StoreKind::Sqlite, StoreKind::DynamoDb] {
        let scenario = Scenario::mixed_batch().on(store);
        let Invocation::Batch(events) = &scenario.invocation else { panic!("it is a batch") };
        let [together, one_by_one] = [(); 2].map(|()| scenario.world::<MemoryIam>());
        for world in [&together, &one_by_one] {
            world.calls.take_time(Duration::ZERO);
        }
        assert!(together.run(&scenario.invocation));
        for event in events {
            one_by_one.deliver(event).unwrap().unwrap();
        }
        assert_eq!(together.take_batches()[0], (Call::Commit, events.len()));
        assert_eq!(Stored::of(&scenario, &together), Stored::of(&scenario, &one_by_one), "{store:?}");
    }
}

/// What may go wrong with a transaction of so many items: as a whole, or as one of its items is busy.
fn transaction_faults(items: usize) -> Vec<HttpFault> {
    let mut faults = vec![
        HttpFault::Cut,
        HttpFault::ReplyLost,
        HttpFault::Refused(400, "ThrottlingException"),
        HttpFault::Refused(500, "InternalServerError"),
    ];
    for code in ["ThrottlingError", "TransactionConflict"] {
        faults.extend((0..items).map(|item| HttpFault::Cancelled(item, code)));
    }
    faults
}

/// DynamoDB cancels the shared transaction, as two of its keys conflict. The other two come next.
#[test]
fn each_transaction_of_a_batch_fails_once_on_dynamodb() {
    let scenario = Scenario::mixed_batch().on(StoreKind::DynamoDb);
    let world = scenario.world::<MemoryIam>();
    assert!(world.run(&scenario.invocation));
    let ending = Ending::of(&scenario, &world, "undisturbed");
    // Each key has its state and its line.
    for (number, items) in [(0, 8), (1, 4)] {
        for fault in transaction_faults(items) {
            for is_killed in [false, true] {
                let case = format!("{fault:?} at transaction {number}, killed after the commit: {is_killed}");
                let world = scenario.world::<MemoryIam>();
                let dynamo = world.store.inner.dynamo();
                dynamo.fault(TRANSACTION, HttpFault::Passes, number);
                dynamo.fault(TRANSACTION, fault, 1);
                if is_killed {
                    world.fault_at(Call::Commit, When::FIRST, Fault::KilledAfter);
                }
                let is_done = world.run(&scenario.invocation);
                assert!(dynamo.faults_are_over(), "it did not happen: {case}");
                assert_eq!(is_done, !is_killed, "{case}");
                if is_killed {
                    world.redeliver(&scenario.invocation, &case);
                }
                world.assert_ends_as(&scenario, &ending, &case);
            }
        }
    }
}
