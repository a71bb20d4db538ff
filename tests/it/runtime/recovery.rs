//! A disturbance of an hour heals with nobody acting, by what the templates deploy: Lambda's retries, the on-failure queue,
//! and `Recover`, which hands the event to the function again. Time is simulated.

use bedrock_key_guard::clock::Clock as _;
use bedrock_key_guard::ledger::audit::history::LogLine;
use chrono::TimeDelta;
use key_guard_core::Time;
use key_guard_core::key::KeyStatus;
use key_guard_core::lifecycle::effect::Change;
use key_guard_core::lifecycle::input::ListedKey;
use key_guard_core::lifecycle::state::Phase;

use super::faulty::{Call, Fault, When};
use super::world::World;
use super::{at, bad_key, created};

/// How long Lambda waits before each attempt of an asynchronous invocation (Lambda developer guide, *How Lambda handles
/// errors and retries with asynchronous invocation*).
const LAMBDA_WAITS: [TimeDelta; 3] = [TimeDelta::zero(), TimeDelta::minutes(1), TimeDelta::minutes(2)];

/// How long an event is in the on-failure queue: its delay, and until the next execution of `Recover`
/// (`infra/template.yaml`, where `infra::recovery` looks for these numbers).
const QUEUE_WAIT: TimeDelta = TimeDelta::minutes(15 + 5);

/// How long IAM or the ledger is disturbed.
const OUTAGE: TimeDelta = TimeDelta::minutes(60);

/// How the deployment dealt with an event.
struct Recovered {
    rounds: usize,
    attempts: usize,
    done_at: Time,
}

/// Delivers the creation of a key until an invocation succeeds. Until the outage ends, each of these calls goes wrong.
fn deliver_through_outage(world: &World, key: &ListedKey, calls: &[Call], fault: Fault) -> Recovered {
    let outage_ends = world.clock.now() + OUTAGE;
    for call in calls {
        world.fault_at(*call, When::Each, fault);
    }
    let mut attempts = 0;
    for round in 1..=20 {
        for wait in LAMBDA_WAITS {
            world.clock.pass(wait);
            if world.clock.now() >= outage_ends {
                world.calls.end_faults();
            }
            attempts += 1;
            if let Some(Ok(_)) = world.deliver(&created(key)) {
                return Recovered { rounds: round, attempts, done_at: world.clock.now() };
            }
        }
        world.clock.pass(QUEUE_WAIT);
    }
    panic!("{calls:?}, {fault:?}: it never heals");
}

fn world_of(key: &ListedKey, response: &str) -> World {
    World { time_limit: TimeDelta::seconds(30), ..World::new(response, std::slice::from_ref(key)) }
}

/// The history of a key that was created and deleted: one event, one intent and one action, whatever was in between.
fn assert_history(world: &World, key: &ListedKey, case: &str) {
    let history = world.history(&key.key);
    let events = history.iter().filter(|line| matches!(line, LogLine::Event { .. })).count();
    let (mut intents, mut acted) = (Vec::new(), Vec::new());
    for change in world.changes(key) {
        match change {
            Change::Intended { intent, .. } => intents.push(intent),
            Change::Acted { intent, .. } => acted.push(intent),
            other => panic!("{case}: {other:?}"),
        }
    }
    assert_eq!((events, acted.len()), (1, 1), "{case}: {history:?}");
    assert_eq!(intents, acted, "{case}: {history:?}");
}

#[test]
fn an_outage_of_an_hour_heals() {
    let key = bad_key(1, 1);
    let iam = [Call::Find, Call::List, Call::Act];
    let ledger = [Call::Load, Call::Commit, Call::Append];
    for (calls, fault) in [
        (&iam[..], Fault::Throttled),
        (&iam, Fault::Refused),
        (&iam, Fault::KilledBefore),
        (&iam[2..], Fault::Throttled),
        (&iam[2..], Fault::KilledBefore),
        (&ledger, Fault::Throttled),
        (&ledger, Fault::Refused),
        (&ledger, Fault::LostReply),
        (&ledger, Fault::KilledAfter),
    ] {
        let case = format!("{calls:?}: {fault:?}");
        let world = world_of(&key, "delete");
        let recovered = deliver_through_outage(&world, &key, calls, fault);
        assert!(recovered.attempts > LAMBDA_WAITS.len(), "{case}: Lambda's retries were enough");
        assert!(recovered.rounds <= 4, "{case}: {} rounds", recovered.rounds);
        // The event was in the queue when the outage ended.
        assert!(
            recovered.done_at <= at(30) + OUTAGE + QUEUE_WAIT + TimeDelta::minutes(4),
            "{case}: {}",
            recovered.done_at
        );
        assert_eq!(world.status(&key), None, "{case}");
        assert!(matches!(world.record(&key).phase, Phase::Gone(_)), "{case}");
        assert_history(&world, &key, &case);
    }
}

/// Another round, once all is done, changes nothing: a message may come twice.
#[test]
fn an_event_that_comes_back_once_more_changes_nothing() {
    let key = bad_key(1, 1);
    let world = world_of(&key, "deactivate");
    deliver_through_outage(&world, &key, &[Call::Find, Call::Act], Fault::Throttled);
    let (record, history) = (world.record(&key), world.history(&key.key));
    world.clock.pass(QUEUE_WAIT);
    world.deliver(&created(&key)).unwrap().unwrap();
    assert_eq!(world.status(&key), Some(KeyStatus::Inactive));
    assert_eq!(world.record(&key).phase, record.phase);
    assert_eq!(world.history(&key.key), history);
}
