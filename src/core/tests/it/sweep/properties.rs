//! Random accounts, lists, faults and time limits.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use key_guard_core::key::Service;
use key_guard_core::lifecycle::input::{Input, ListedKey};
use key_guard_core::lifecycle::sweep::{ServiceFilter, SweepCounts};
use proptest::prelude::*;

use super::{BEDROCK, LOGS, refs, two_services};
use crate::support::{ListFault, SweepWorld, account, bad_key};

#[derive(Debug, Clone)]
struct Scenario {
    keys: Vec<(u64, bool)>,
    faults: Vec<(u64, bool, ListFault)>,
    page_size: usize,
    concurrency: usize,
    call_time: i64,
    time_limit: i64,
}

impl Scenario {
    /// True if each invocation can read a page that is throttled so often, which takes up to 3.1 seconds of waiting.
    fn has_time_for(&self, retries: u32) -> bool {
        self.time_limit * 1_000 > 5_000 + 3_200 + i64::from(retries + 2) * self.call_time
    }
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let fault = prop_oneof![
        Just(ListFault::Refused),
        (0_usize..4).prop_map(ListFault::RefusedPage),
        (1_u32..9).prop_map(ListFault::Throttled),
        Just(ListFault::Circle),
        Just(ListFault::Unreadable),
    ];
    (
        prop::collection::vec((1_u64..4, any::<bool>()), 0..30),
        prop::collection::vec((1_u64..4, any::<bool>(), fault), 0..4),
        1_usize..8,
        1_usize..6,
        1_i64..900,
        prop_oneof![Just(1_i64), 9_i64..40],
    )
        .prop_map(|(keys, faults, page_size, concurrency, call_time, time_limit)| Scenario {
            keys,
            faults,
            page_size,
            concurrency,
            call_time,
            time_limit,
        })
}

fn service(is_bedrock: bool) -> Service {
    if is_bedrock { Service::Bedrock } else { Service::Logs }
}

fn world_of(scenario: &Scenario) -> SweepWorld {
    let keys = scenario.keys.iter().zip(0..);
    let keys = keys.map(|((account, is_bedrock), number)| bad_key(*account, number, service(*is_bedrock)));
    let mut world = SweepWorld::new("monitor", keys.collect());
    world.policy = two_services("monitor");
    world.page_size = scenario.page_size;
    world
}

proptest! {
    /// Every key of every list that can be read gets a session, however short the invocations are. No listed key is
    /// called absent, and the sweep ends.
    #[test]
    fn every_listed_key_is_swept_and_none_is_called_absent(scenario in scenario()) {
        let mut world = world_of(&scenario);
        // The ledger knows every key. What is not swept could be called absent.
        world.sweep();
        world.wait(3_600);
        world.inputs.clear();
        world.log.clear();
        world.concurrency = scenario.concurrency;
        world.call_time = TimeDelta::milliseconds(scenario.call_time);
        world.time_limit = TimeDelta::seconds(scenario.time_limit);
        for (number, is_bedrock, fault) in &scenario.faults {
            let filter = if *is_bedrock { BEDROCK } else { LOGS };
            world.list_faults.insert((account(*number), filter), *fault);
        }
        let (end, _) = world.sweep_to_the_end(1_000);
        let is_readable = |listed: &&ListedKey| {
            let filter = ServiceFilter::Only(listed.service.clone());
            match world.list_faults.get(&(listed.key.account.clone(), filter)) {
                None | Some(ListFault::Circle | ListFault::Unreadable) => true,
                Some(ListFault::Throttled(times)) => *times < 6 && scenario.has_time_for(*times),
                Some(_) => false,
            }
        };
        let expected: Vec<_> = world.iam.iter().filter(is_readable).cloned().collect();
        let fed = world.fed();
        for key in refs(&expected) {
            prop_assert!(fed.contains(&key), "{key} was not swept");
        }
        prop_assert_eq!(world.called_absent(), BTreeSet::new());
        for (key, input) in &world.inputs {
            prop_assert!(!matches!(input, Input::NotListed { .. }), "{} is listed", key);
        }
        prop_assert!(end.is_ok() || expected.is_empty());
    }

    /// The same keys, without faults: an invocation of any length ends as one that is long enough.
    #[test]
    fn a_continued_sweep_ends_as_one_that_is_not(scenario in scenario()) {
        let counts = |time_limit: i64| -> SweepCounts {
            let mut world = world_of(&scenario);
            world.concurrency = scenario.concurrency;
            world.call_time = TimeDelta::milliseconds(200);
            world.time_limit = TimeDelta::seconds(time_limit);
            let counts = world.sweep_to_the_end(1_000).0.unwrap().counts;
            SweepCounts { pages: 0, ..counts }
        };
        prop_assert_eq!(counts(scenario.time_limit.max(25)), counts(3_600));
    }
}
