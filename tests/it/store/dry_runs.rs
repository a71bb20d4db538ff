//! Dry runs, in both stores.

use bedrock_key_guard::ledger::store::Ledger;
use key_guard_core::key::Status;
use key_guard_core::lifecycle::dry_run::{DryRun, DryRunState};
use key_guard_core::lifecycle::standing::Standing;
use key_guard_core::lifecycle::state::Version;

use super::dynamo::dry_run;
use super::{at, event, key, open};
use crate::support::Fault;

async fn put(store: &Ledger, dry_runs: &[(DryRunState, Version)]) -> Vec<bool> {
    store.put_dry_runs(dry_runs).await.into_iter().map(Result::unwrap).collect()
}

fn of_key(number: usize, status: Status) -> DryRunState {
    let mut dry_run = DryRun { standing: Standing::of_event(status, &event("seen", 5)), ..dry_run() };
    dry_run.facts.key = key(number);
    dry_run.into()
}

async fn a_dry_run_replaces_only_the_one_that_it_was_made_of(store: &Ledger) {
    let (active, gone) = (of_key(1, Status::Active), of_key(1, Status::Gone));
    assert_eq!(put(store, &[(active.clone(), Version::ABSENT)]).await, [true]);
    assert_eq!(put(store, &[(active.clone(), Version::ABSENT)]).await, [true], "the same is there");
    let other = of_key(2, Status::Active);
    let refused = [(gone.clone(), Version::ABSENT), (other.clone(), Version::ABSENT)];
    assert_eq!(put(store, &refused).await, [false, true]);
    let stored =
        store.load_dry_runs(&[key(1), key(2)]).await.into_iter().map(|found| found.unwrap().unwrap());
    assert_eq!(stored.collect::<Vec<_>>(), [(active, Version(1)), (other, Version(1))]);
    assert_eq!(put(store, &[(gone.clone(), Version(1))]).await, [true]);
    assert_eq!(put(store, &[(of_key(1, Status::Inactive), Version(1))]).await, [false]);
    let stored = store.load_dry_runs(&[key(1)]).await.remove(0).unwrap();
    assert_eq!(stored, Some((gone, Version(2))));
}

#[tokio::test]
async fn dry_runs_in_dynamodb() {
    let (_place, store) = open("dry-runs").await;
    a_dry_run_replaces_only_the_one_that_it_was_made_of(&store).await;
}

#[tokio::test]
async fn dry_runs_in_sqlite() {
    a_dry_run_replaces_only_the_one_that_it_was_made_of(&Ledger::in_memory().unwrap()).await;
}

#[tokio::test]
async fn a_write_whose_reply_was_lost_is_no_conflict() {
    let (place, store) = open("dry-runs-lost").await;
    let Some(dynamo) = &place.embedded else { return };
    let dry_runs = [(DryRunState::from(DryRun { at: at(7), ..dry_run() }), Version::ABSENT)];
    dynamo.fault("TransactWriteItems", Fault::ReplyLost, 1);
    assert_eq!(put(&store, &dry_runs).await, [true]);
}
