//! What is known of the use of users' keys, in both stores.

use std::collections::BTreeSet;

use bedrock_key_guard::ledger::Cost;
use bedrock_key_guard::ledger::store::Ledger;
use key_guard_core::key::{AccountId, UserName};
use key_guard_core::lifecycle::state::UnknownFields;
use key_guard_core::usage::{CoveredUsers, KnownUse, UsageCoverage, UseRun};

use serde_json::json;

use super::{OTHER, OWN, at, open};
use crate::support::Fault;

fn account(id: &str) -> AccountId {
    id.parse().unwrap()
}

fn found(account_id: &str, user: &str, first: i64, last: i64) -> KnownUse {
    let (first, last) = (at(first), at(last));
    KnownUse {
        account: account(account_id),
        user: user.parse().unwrap(),
        first_used_at: first,
        last_used_at: last,
        services: ["bedrock.amazonaws.com".to_owned()].into(),
        models: BTreeSet::new(),
        latest: UseRun { at: at(1_000), calls: 5, first, last },
        unknown_fields: UnknownFields::default(),
    }
}

async fn known(store: &Ledger, users: &[(&str, &str)]) -> Vec<Option<KnownUse>> {
    let users: Vec<_> =
        users.iter().map(|(id, user)| (account(id), user.parse::<UserName>().unwrap())).collect();
    let found = store.known_uses(&users, &mut Cost::default()).await;
    found.into_iter().map(Result::unwrap).collect()
}

async fn runs_are_merged_by_account_and_user(store: &Ledger) {
    assert_eq!(known(store, &[]).await, []);
    assert_eq!(known(store, &[(OWN, "alice")]).await, [None]);
    assert_eq!(store.record_uses(&[]).await.unwrap().all().unwrap(), 0);
    let first = [found(OWN, "alice", 10, 20), found(OTHER, "alice", 5, 6), found(OWN, "bob", 1, 2)];
    assert_eq!(store.record_uses(&first).await.unwrap().all().unwrap(), 3);
    assert_eq!(
        store.record_uses(&first).await.unwrap().all().unwrap(),
        0,
        "the same once more changes nothing"
    );
    // IAM's names have no case. The order of the answers is that of the question.
    let users = [(OWN, "BOB"), (OWN, "nobody"), (OWN, "alice"), (OTHER, "alice")];
    let [alice, other, bob] = first.clone();
    assert_eq!(known(store, &users).await, [Some(bob), None, Some(alice.clone()), Some(other)]);
    let mut second = found(OWN, "alice", 15, 30);
    second.latest.at = at(2_000);
    assert_eq!(store.record_uses(std::slice::from_ref(&second)).await.unwrap().all().unwrap(), 1);
    let merged = alice.merged(second.clone());
    assert_eq!((merged.first_used_at, merged.last_used_at, merged.latest), (at(10), at(30), second.latest));
    assert_eq!(known(store, &[(OWN, "alice")]).await, [Some(merged.clone())]);
    // What a later version has added stays, also when this one writes.
    let mut later = merged;
    let added = json!({"later_field": {"since": 2}, "latest_run": {"later": true}});
    later.unknown_fields = UnknownFields(added.as_object().unwrap().clone());
    assert_eq!(store.record_uses(std::slice::from_ref(&later)).await.unwrap().all().unwrap(), 1);
    assert_eq!(store.record_uses(&[found(OWN, "alice", 15, 40)]).await.unwrap().all().unwrap(), 1);
    let stored = known(store, &[(OWN, "alice")]).await.remove(0).unwrap();
    assert_eq!((stored.last_used_at, &stored.unknown_fields), (at(40), &later.unknown_fields));
    assert_eq!(
        store.record_uses(&[later]).await.unwrap().all().unwrap(),
        0,
        "the same once more changes nothing"
    );
}

/// Those of the last hours count, whichever came first.
async fn the_later_coverage_of_an_account_stays(store: &Ledger) {
    let coverage = |account_id, to, users| UsageCoverage {
        account: account(account_id),
        from: at(0),
        to: at(to),
        users,
        unknown_fields: UnknownFields::default(),
    };
    let changed =
        async |coverages: &[UsageCoverage]| store.record_coverages(coverages).await.unwrap().all().unwrap();
    let named = CoveredUsers::Named(["alice".to_owned()].into());
    let of_both = [coverage(OWN, 10, CoveredUsers::Every), coverage(OTHER, 10, named)];
    assert_eq!((changed(&of_both).await, changed(&of_both).await), (2, 0));
    let later = coverage(OWN, 20, CoveredUsers::Every);
    assert_eq!((changed(std::slice::from_ref(&later)).await, changed(&of_both).await), (1, 0));
    let mut found = Vec::new();
    let mut scan = store.table_scan();
    while let Some(page) = scan.next().await.unwrap() {
        found.extend(page.into_iter().filter_map(|item| item.unwrap().usage_coverage()));
    }
    found.sort_by_key(|coverage| coverage.to);
    let [_, other] = of_both;
    assert_eq!(found, [other, later]);
}

async fn many_users_are_recorded_at_once(store: &Ledger) {
    let uses: Vec<_> = (0..230).map(|number| found(OWN, &format!("user-{number}"), number, number)).collect();
    assert_eq!(store.record_uses(&uses).await.unwrap().all().unwrap(), 230);
    let names: Vec<_> = uses.iter().map(|known| (known.account.clone(), known.user.clone())).collect();
    let stored = store.known_uses(&names, &mut Cost::default()).await;
    assert_eq!(stored.into_iter().map(|found| found.unwrap().unwrap()).collect::<Vec<_>>(), uses);
}

async fn runs_at_the_same_time_lose_nothing(store: &Ledger) {
    let uses: Vec<_> = (0..4).map(|number| found(OWN, "alice", 10 - number, 20 + number)).collect();
    let record = |known: &KnownUse| {
        let known = known.clone();
        async move { store.record_uses(&[known]).await.unwrap().all().unwrap() }
    };
    let recorded: Vec<_> = uses.iter().map(record).collect();
    futures_util::future::join_all(recorded).await;
    let found = known(store, &[(OWN, "alice")]).await.remove(0).unwrap();
    assert_eq!((found.first_used_at, found.last_used_at), (at(7), at(23)));
}

#[tokio::test]
async fn uses_in_dynamodb() {
    let (_place, store) = open("uses-merged").await;
    runs_are_merged_by_account_and_user(&store).await;
    let (_place, store) = open("uses-many").await;
    many_users_are_recorded_at_once(&store).await;
    let (_place, store) = open("uses-covered").await;
    the_later_coverage_of_an_account_stays(&store).await;
    let (_place, store) = open("uses-race").await;
    runs_at_the_same_time_lose_nothing(&store).await;
}

#[tokio::test]
async fn uses_in_sqlite() {
    runs_are_merged_by_account_and_user(&Ledger::in_memory().unwrap()).await;
    many_users_are_recorded_at_once(&Ledger::in_memory().unwrap()).await;
    the_later_coverage_of_an_account_stays(&Ledger::in_memory().unwrap()).await;
    runs_at_the_same_time_lose_nothing(&Ledger::in_memory().unwrap()).await;
}

#[tokio::test]
async fn a_lost_reply_counts_nothing_twice() {
    let (place, store) = open("uses-lost").await;
    let Some(dynamo) = &place.embedded else { return };
    store.record_uses(&[found(OWN, "alice", 1, 2)]).await.unwrap();
    dynamo.fault("TransactWriteItems", Fault::ReplyLost, 1);
    store.record_uses(&[found(OWN, "alice", 2, 9)]).await.unwrap();
    let known = known(&store, &[(OWN, "alice")]).await.remove(0).unwrap();
    assert_eq!((known.first_used_at, known.last_used_at, known.latest.calls), (at(1), at(9), 5));
}
