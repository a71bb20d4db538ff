//! What is listed, and what one failure stops.

use chrono::TimeDelta;
use key_guard_core::key::Service;
use key_guard_core::lifecycle::input::{Ceiling, Input, WorkerId};
use key_guard_core::lifecycle::sweep::{
    MAX_PAGES, ServiceFilter, Sweep, SweepError, SweepNext, SweepProblem, SweepReply,
};
use key_guard_core::policy::Verdict;
use key_guard_core::report::Outcome;

use super::{BEDROCK, bad_keys, problems, published, refs, two_services};
use crate::support::{self, ListFault, SweepWorld, account, bad_key, env, good_key};

#[test]
fn each_listed_key_gets_a_session_and_is_counted() {
    let mut world = SweepWorld::new(
        "delete",
        vec![good_key(1, 1, Service::Bedrock), bad_key(1, 2, Service::Bedrock), bad_key(2, 3, Service::Logs)],
    );
    let keys = world.iam.clone();
    let result = world.sweep();
    assert_eq!(world.fed(), refs(&keys));
    assert_eq!(problems(&result), [""; 0]);
    assert_eq!(result.checkpoint, None);
    let counts = result.counts;
    assert_eq!((counts.accounts, counts.accounts_completed, counts.keys), (2, 2, 3));
    assert_eq!(
        counts.verdicts.into_iter().collect::<Vec<_>>(),
        [(Verdict::Compliant, 1), (Verdict::Noncompliant, 2)]
    );
    assert_eq!(
        counts.outcomes.into_iter().collect::<Vec<_>>(),
        [(Outcome::Recorded, 1), (Outcome::Deleted, 2)]
    );
    assert_eq!((counts.new, counts.ended, counts.unreported), (1, 2, 2));
    assert_eq!(published(&world), refs(&keys[1..]), "findings only");
}

#[test]
fn the_time_of_a_list_is_when_its_page_was_requested() {
    let mut world = SweepWorld::new("monitor", bad_keys(1, 0..3));
    world.page_size = 2;
    world.sweep();
    let asked_at: Vec<_> = world
        .inputs
        .iter()
        .filter_map(|(_, input)| match input {
            Input::Listed { asked_at, .. } => Some((*asked_at - support::at(86_400)).num_milliseconds()),
            _ => None,
        })
        .collect();
    assert_eq!(asked_at, [50, 50, 100], "after the load of the record, and when the first page had arrived");
}

#[test]
fn a_page_that_could_not_be_read_ahead_fails_when_its_turn_comes() {
    let mut world = SweepWorld::new("monitor", bad_keys(1, 0..6));
    world.policy = two_services("monitor");
    world.page_size = 2;
    world.list_faults.insert((account(1), BEDROCK), ListFault::RefusedPage(1));
    let keys = world.iam.clone();
    let result = world.sweep();
    assert_eq!(world.fed(), refs(&keys[..2]));
    assert_eq!(
        problems(&result),
        ["IAM's key list for account 000000000001 could not be read (bedrock.amazonaws.com)"]
    );
    assert_eq!(
        (result.counts.pages, result.counts.lists_failed, result.counts.accounts_completed),
        (2, 1, 0)
    );
    let lists = world.calls.iter().filter(|call| *call == "list bedrock.amazonaws.com");
    assert_eq!(lists.count(), 2);
}

#[test]
fn a_page_that_was_throttled_when_it_was_read_ahead_is_retried_as_any_page_is() {
    let mut world = SweepWorld::new("monitor", bad_keys(1, 0..3));
    world.page_size = 1;
    world.list_faults.insert((account(1), ServiceFilter::All), ListFault::Throttled(6));
    let counts = world.sweep().counts;
    assert_eq!((counts.keys, counts.problems), (3, 0));
    let lists = world.calls.iter().filter(|call| *call == "list every service");
    assert_eq!(lists.count(), 3 * 7);
    // Each of the six failures is waited for.
    let waited = TimeDelta::milliseconds(3 * (100 + 200 + 400 + 800 + 1_600 + 3_200));
    assert!(world.now - support::at(86_400) > waited);
}

#[test]
fn a_policy_for_every_service_reads_one_list_and_passes_passwords_over() {
    let mut world = SweepWorld::new(
        "monitor",
        vec![
            bad_key(1, 1, Service::Bedrock),
            bad_key(1, 2, Service::XRay),
            bad_key(1, 3, Service::CodeCommit),
            bad_key(1, 4, Service::Keyspaces),
        ],
    );
    let result = world.sweep();
    assert_eq!(world.calls, ["load record", "list every service", "run", "load known keys", "put record"]);
    assert_eq!((result.counts.keys, result.counts.not_judged), (2, 2));
    assert_eq!(world.inputs.len(), 2);
}

#[test]
fn a_policy_for_some_services_reads_a_list_for_each() {
    let mut world = SweepWorld::new(
        "monitor",
        vec![bad_key(1, 1, Service::Bedrock), bad_key(1, 2, Service::XRay), bad_key(1, 3, Service::Logs)],
    );
    world.policy = two_services("monitor");
    let result = world.sweep();
    let lists: Vec<_> = world.calls.iter().filter(|call| call.starts_with("list")).collect();
    assert_eq!(lists, ["list bedrock.amazonaws.com", "list logs.amazonaws.com"]);
    assert_eq!((result.counts.keys, result.counts.not_judged), (2, 0));
}

/// `NoSuchEntity` for one service: the whole account was not swept.
#[test]
fn a_service_that_fails_stops_no_other_service_and_no_other_account() {
    let mut world = SweepWorld::new(
        "monitor",
        vec![bad_key(1, 1, Service::Bedrock), bad_key(1, 2, Service::Logs), bad_key(2, 3, Service::Bedrock)],
    );
    world.policy = two_services("monitor");
    world.list_faults.insert((account(1), BEDROCK), ListFault::Refused);
    let keys = world.iam.clone();
    let result = world.sweep();
    assert_eq!(world.fed(), refs(&keys[1..]));
    assert_eq!(
        problems(&result),
        ["IAM's key list for account 000000000001 could not be read (bedrock.amazonaws.com)"]
    );
    assert_eq!((result.counts.lists_failed, result.counts.problems), (1, 1));
    assert_eq!((result.counts.accounts, result.counts.accounts_completed), (2, 1));
    assert_eq!(world.records.keys().cloned().collect::<Vec<_>>(), [account(2)]);
}

#[test]
fn a_sweep_in_which_nothing_could_be_listed_is_an_error() {
    let mut world =
        SweepWorld::new("monitor", vec![bad_key(1, 1, Service::Bedrock), bad_key(2, 2, Service::Bedrock)]);
    for number in [1, 2] {
        world.list_faults.insert((account(number), ServiceFilter::All), ListFault::Refused);
    }
    let accounts = world.accounts();
    match world.sweep_of(accounts).unwrap() {
        Err(SweepError::NothingListed { problems }) => assert_eq!(problems.len(), 2),
        other => panic!("{other:?}"),
    }
    assert!(world.sweep_of([]).unwrap().is_ok(), "no accounts are no failure");
}

#[test]
fn a_list_that_does_not_end_is_a_problem() {
    for fault in [ListFault::Circle, ListFault::Endless] {
        let mut world = SweepWorld::new("monitor", bad_keys(1, 0..3));
        world.policy = two_services("monitor");
        world.page_size = 2;
        world.call_time = TimeDelta::milliseconds(1);
        world.list_faults.insert((account(1), BEDROCK), fault);
        let result = world.sweep();
        let problem = &problems(&result)[0];
        assert!(
            problem.starts_with("IAM's key list for account 000000000001 does not end (bedrock."),
            "{problem}"
        );
        assert_eq!(result.counts.accounts_completed, 0);
        assert_eq!(result.counts.lists_failed, 1);
        let most = if fault == ListFault::Circle { 5 } else { u64::from(MAX_PAGES) };
        assert!(result.counts.pages <= most + 1, "with that of the other list: {}", result.counts.pages);
    }
}

#[test]
fn a_throttled_list_is_retried_and_not_for_ever() {
    let throttled = |times| {
        let mut world = SweepWorld::new("monitor", bad_keys(1, 0..2));
        world.policy = two_services("monitor");
        world.list_faults.insert((account(1), BEDROCK), ListFault::Throttled(times));
        (world.sweep().counts, world.now - support::at(86_400))
    };
    let (counts, _) = throttled(6);
    assert_eq!((counts.keys, counts.problems), (2, 0));
    let (counts, passed) = throttled(1_000);
    assert_eq!((counts.keys, counts.lists_failed), (0, 1));
    assert!(passed < TimeDelta::seconds(10), "the other lists have time: {passed}");
}

#[test]
fn a_key_that_fails_stops_no_other_and_the_lists_count_as_read() {
    let keys = bad_keys(1, 0..5);
    let mut world = SweepWorld::new("monitor", keys.clone());
    world.broken.insert(keys[2].key.clone());
    let result = world.sweep();
    assert_eq!((result.counts.keys, result.counts.failed, result.counts.accounts_completed), (5, 1, 1));
    assert!(matches!(result.problems[..], [SweepProblem::Key(_)]));
    assert_eq!(published(&world).len(), 4);
}

#[test]
fn the_ceiling_of_the_sweep_applies_to_each_key() {
    let mut world = SweepWorld::new("delete", bad_keys(1, 0..2));
    world.ceiling = Ceiling::Monitor;
    let counts = world.sweep().counts;
    assert_eq!(counts.outcomes[&Outcome::Monitored], 2);
    world.ceiling = Ceiling::Deactivate;
    world.wait(3_600);
    let counts = world.sweep().counts;
    assert_eq!((counts.outcomes[&Outcome::Deactivated], counts.downgraded), (2, 2));
}

#[test]
fn a_ledger_that_cannot_be_read_is_a_problem_and_the_account_does_not_count_as_swept() {
    let mut world = SweepWorld::new("monitor", bad_keys(1, 0..2));
    world.ledger_is_down = true;
    let result = world.sweep();
    assert_eq!(problems(&result), ["the ledger could not be used for the sweep of account 000000000001"]);
    assert_eq!((result.counts.keys, result.counts.accounts_completed), (2, 0));
    assert_eq!(world.records.len(), 0);
}

#[test]
fn a_reply_that_was_not_asked_for_is_an_error() {
    let policy = two_services("monitor");
    let worker = WorkerId("me".to_owned());
    let env = env(&policy, &worker, support::at(0));
    let ended = SweepReply::SessionsEnded { read_ahead: None };
    for reply in [SweepReply::RecordStored, ended, SweepReply::Waited] {
        let mut sweep = Sweep::new([account(1)], policy.services());
        sweep.advance(SweepReply::Start, &env);
        let next = sweep.advance(reply, &env);
        let is_waited = matches!(next, SweepNext::Perform(_));
        assert!(
            is_waited || matches!(next, SweepNext::Finished(Err(SweepError::UnexpectedReply { .. }))),
            "{next:?}"
        );
    }
}
