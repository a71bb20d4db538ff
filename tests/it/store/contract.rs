//! What every store of keys has to do, written against the port.

use std::collections::BTreeSet;

use key_guard_core::Time;
use key_guard_core::key::{AccountId, KeyRef};
use key_guard_core::lifecycle::effect::{
    BudgetKind, CallError, Change, Commit, DeletionBudget, HeardEvent, Retry,
};
use key_guard_core::lifecycle::state::{
    Contradiction, GoneEvidence, InactiveCause, KeyState, Observation, Phase, Record, StoredState, Version,
};
use key_guard_core::lifecycle::sweep::{KeyPage, SweepRecord};
use key_guard_core::ports::{CommitReply, KeyStore};

use super::{
    OTHER, OWN, at, by, commit, deactivated, event, gone, in_phase, intent, key, key_in, line, load, record,
    settled, store_all, stored, tracked,
};

/// Every test of the contract, each with an empty store. `$open` takes the test's name.
macro_rules! contract_tests {
    ($open:path) => {
        contract_tests! { $open:
            a_key_that_was_never_stored_is_absent,
            states_are_loaded_as_they_were_committed,
            a_commit_needs_the_expected_version,
            of_two_writers_one_wins,
            conflicts_in_a_batch_leave_the_others_alone,
            deletions_are_counted_with_their_commit,
            a_budget_is_of_an_account_a_kind_and_an_hour,
            a_conflict_goes_before_a_spent_budget,
            counted_and_other_commits_are_answered_in_their_order,
            a_line_may_be_written_again,
            keys_that_a_resume_deals_with_are_found,
            an_account_s_known_keys_are_found,
            pages_have_every_key_once,
            a_page_goes_on_whatever_time_is_asked_for,
            the_last_sweep_of_an_account_is_kept,
        }
    };
    ($open:path: $($test:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $test() {
                let (_place, store) = $open(stringify!($test)).await;
                $crate::store::contract::$test(&store).await;
            }
        )+
    };
}

fn conflict(reply: Result<CommitReply, CallError>) -> StoredState {
    match reply.unwrap() {
        CommitReply::Conflict(stored) => stored,
        other => panic!("{other:?}"),
    }
}

async fn commit_one(store: &impl KeyStore, commit: Commit) -> Result<CommitReply, CallError> {
    let mut replies = store.commit(&[commit]).await;
    assert_eq!(replies.len(), 1);
    replies.remove(0)
}

pub async fn a_key_that_was_never_stored_is_absent(store: &impl KeyStore) {
    assert_eq!(load(store, &key(1)).await, StoredState::ABSENT);
    assert!(store.load(&[]).await.is_empty());
    assert!(store.commit(&[]).await.is_empty());
}

pub async fn states_are_loaded_as_they_were_committed(store: &impl KeyStore) {
    let state = |number: usize| match number % 5 {
        0 => settled(&key(number)),
        1 => tracked(in_phase(&key(number), Phase::Pending(intent(at(3))))),
        2 => KeyState::Tombstone(GoneEvidence::Absent { at: at(4) }),
        3 => KeyState::Unconfirmed(Observation { asked_at: at(5), seen: Contradiction::StillListed }),
        _ => tracked(gone(&key(number), 6)),
    };
    store_all(store, (0..230).map(|number| (key(number), state(number)))).await;
    // Their order is the question's, and keys that nothing is stored of are among them.
    let keys: Vec<_> = (0..250).rev().map(key).collect();
    let loaded = store.load(&keys).await;
    assert_eq!(loaded.len(), keys.len());
    for (number, loaded) in (0..250).rev().zip(loaded) {
        let expected = if number < 230 { stored(1, state(number)) } else { StoredState::ABSENT };
        assert_eq!(loaded.unwrap(), expected, "{number}");
    }
}

pub async fn a_commit_needs_the_expected_version(store: &impl KeyStore) {
    let key = key(1);
    let first = settled(&key);
    let second = tracked(deactivated(&key));
    // Nothing is there.
    let reply = commit_one(store, commit(&key, Version(3), first.clone())).await;
    assert_eq!(conflict(reply), StoredState::ABSENT);
    let reply = commit_one(store, commit(&key, Version::ABSENT, first.clone())).await;
    assert_eq!(reply.unwrap(), CommitReply::Committed(Version(1)));
    // Something is there.
    let reply = commit_one(store, commit(&key, Version::ABSENT, second.clone())).await;
    assert_eq!(conflict(reply), stored(1, first.clone()));
    let reply = commit_one(store, commit(&key, Version(2), second.clone())).await;
    assert_eq!(conflict(reply), stored(1, first));
    let reply = commit_one(store, commit(&key, Version(1), second.clone())).await;
    assert_eq!(reply.unwrap(), CommitReply::Committed(Version(2)));
    assert_eq!(load(store, &key).await, stored(2, second.clone()));
    // The same once more, as if the reply had been lost.
    let reply = commit_one(store, commit(&key, Version(1), second.clone())).await;
    assert_eq!(conflict(reply), stored(2, second));
}

pub async fn of_two_writers_one_wins(store: &impl KeyStore) {
    let key = key(1);
    store_all(store, [(key.clone(), settled(&key))]).await;
    let write = |seconds| async move {
        let next = Record { changed_at: at(seconds), ..record(&super::key(1)) };
        loop {
            match commit_one(store, commit(&super::key(1), Version(1), tracked(next.clone()))).await {
                // Both processed it at the same time.
                Err(CallError { retry: Retry::Transient, .. }) => {}
                reply => return (seconds, reply.unwrap()),
            }
        }
    };
    let (one, other) = tokio::join!(write(20), write(30));
    let (winner, loser) =
        if matches!(one.1, CommitReply::Committed(_)) { (one, other) } else { (other, one) };
    assert_eq!(winner.1, CommitReply::Committed(Version(2)));
    let expected = stored(2, tracked(Record { changed_at: at(winner.0), ..record(&key) }));
    assert_eq!(loser.1, CommitReply::Conflict(expected.clone()));
    assert_eq!(load(store, &key).await, expected);
}

pub async fn conflicts_in_a_batch_leave_the_others_alone(store: &impl KeyStore) {
    let taken = [7, 8, 55];
    store_all(store, taken.map(|number| (key(number), tracked(deactivated(&key(number)))))).await;
    let commits: Vec<_> =
        (0..60).map(|number| commit(&key(number), Version::ABSENT, settled(&key(number)))).collect();
    let replies = store.commit(&commits).await;
    assert_eq!(replies.len(), 60);
    for (number, reply) in replies.into_iter().enumerate() {
        if taken.contains(&number) {
            assert_eq!(conflict(reply), stored(1, tracked(deactivated(&key(number)))), "{number}");
        } else {
            assert_eq!(reply.unwrap(), CommitReply::Committed(Version(1)), "{number}");
            assert_eq!(load(store, &key(number)).await, stored(1, settled(&key(number))));
        }
    }
}

fn counted(commit: Commit, account: &str, kind: BudgetKind, hour: Time, limit: u32) -> Commit {
    let account = account.parse().unwrap();
    Commit { counts: Some(DeletionBudget { account, kind, hour, limit }), ..commit }
}

/// A deletion that starts in the hour of noon.
fn deletion(number: usize, expected: Version, limit: u32) -> Commit {
    let next = tracked(in_phase(&key(number), Phase::Pending(intent(at(3)))));
    counted(commit(&key(number), expected, next), OWN, BudgetKind::New, at(0), limit)
}

pub async fn deletions_are_counted_with_their_commit(store: &impl KeyStore) {
    for number in 0..2 {
        let reply = commit_one(store, deletion(number, Version::ABSENT, 2)).await;
        assert_eq!(reply.unwrap(), CommitReply::Committed(Version(1)));
    }
    let reply = commit_one(store, deletion(2, Version::ABSENT, 2)).await;
    assert_eq!(reply.unwrap(), CommitReply::RateLimited);
    assert_eq!(load(store, &key(2)).await, StoredState::ABSENT);
    // One that did not happen is not counted.
    let reply = commit_one(store, deletion(2, Version::ABSENT, 3)).await;
    assert_eq!(reply.unwrap(), CommitReply::Committed(Version(1)));
    let reply = commit_one(store, deletion(3, Version::ABSENT, 3)).await;
    assert_eq!(reply.unwrap(), CommitReply::RateLimited);
    // A deactivation is not counted.
    let deactivation = Commit { counts: None, ..deletion(3, Version::ABSENT, 3) };
    assert_eq!(commit_one(store, deactivation).await.unwrap(), CommitReply::Committed(Version(1)));
}

pub async fn a_budget_is_of_an_account_a_kind_and_an_hour(store: &impl KeyStore) {
    let budgets = [
        (OWN, BudgetKind::New, at(0)),
        (OWN, BudgetKind::Reactivated, at(0)),
        (OTHER, BudgetKind::New, at(0)),
        (OWN, BudgetKind::New, at(3_600)),
    ];
    for (index, (account, kind, hour)) in budgets.into_iter().enumerate() {
        let attempt = |number: usize| {
            let key = key_in(account, 10 * index + number);
            let next = tracked(in_phase(&key, Phase::Pending(intent(hour))));
            counted(commit(&key, Version::ABSENT, next), account, kind, hour, 1)
        };
        let reply = commit_one(store, attempt(0)).await;
        assert_eq!(reply.unwrap(), CommitReply::Committed(Version(1)), "{account} {kind:?} {hour}");
        let reply = commit_one(store, attempt(1)).await;
        assert_eq!(reply.unwrap(), CommitReply::RateLimited, "{account} {kind:?} {hour}");
    }
    // No deletion is allowed at all.
    let next = settled(&key(90));
    let none = counted(commit(&key(90), Version::ABSENT, next), OWN, BudgetKind::New, at(7_200), 0);
    assert_eq!(commit_one(store, none).await.unwrap(), CommitReply::RateLimited);
}

pub async fn a_conflict_goes_before_a_spent_budget(store: &impl KeyStore) {
    store_all(store, [(key(1), settled(&key(1)))]).await;
    // A conflict is not counted.
    for _ in 0..3 {
        let reply = commit_one(store, deletion(1, Version::ABSENT, 1)).await;
        assert_eq!(conflict(reply), stored(1, settled(&key(1))));
    }
    let reply = commit_one(store, deletion(2, Version::ABSENT, 1)).await;
    assert_eq!(reply.unwrap(), CommitReply::Committed(Version(1)));
    // Now the budget is spent, too.
    for limit in [0, 1] {
        let reply = commit_one(store, deletion(1, Version::ABSENT, limit)).await;
        assert_eq!(conflict(reply), stored(1, settled(&key(1))));
        let reply = commit_one(store, deletion(1, Version(1), limit)).await;
        assert_eq!(reply.unwrap(), CommitReply::RateLimited);
    }
}

pub async fn counted_and_other_commits_are_answered_in_their_order(store: &impl KeyStore) {
    store_all(store, [(key(3), settled(&key(3)))]).await;
    let commits = [
        deletion(0, Version::ABSENT, 1),
        commit(&key(1), Version::ABSENT, settled(&key(1))),
        deletion(2, Version::ABSENT, 1),
        commit(&key(3), Version::ABSENT, settled(&key(3))),
        commit(&key(4), Version::ABSENT, settled(&key(4))),
    ];
    let replies: Vec<_> = store.commit(&commits).await.into_iter().map(Result::unwrap).collect();
    let committed = CommitReply::Committed(Version(1));
    assert_eq!(
        replies,
        [
            committed.clone(),
            committed.clone(),
            CommitReply::RateLimited,
            CommitReply::Conflict(stored(1, settled(&key(3)))),
            committed,
        ]
    );
}

pub async fn a_line_may_be_written_again(store: &impl KeyStore) {
    let heard = line(
        &key(1),
        0,
        by(HeardEvent::Deactivated, &event("event-1", 0)),
        Change::Heard(HeardEvent::Deactivated),
    );
    for _ in 0..2 {
        store.append(&heard).await.unwrap();
    }
    // A state whose line is there already is stored all the same.
    let with_line = Commit { log: heard, ..commit(&key(1), Version::ABSENT, settled(&key(1))) };
    assert_eq!(commit_one(store, with_line).await.unwrap(), CommitReply::Committed(Version(1)));
    assert_eq!(load(store, &key(1)).await, stored(1, settled(&key(1))));
}

/// Every page, from the first to the last.
async fn all_pages<F>(
    page: impl Fn(Option<key_guard_core::lifecycle::sweep::KeyCursor>) -> F,
) -> Vec<StoredState>
where
    F: Future<Output = Result<KeyPage<StoredState>, CallError>>,
{
    let (mut keys, mut cursor) = (Vec::new(), None);
    for _ in 0..100 {
        let page = page(cursor).await.unwrap();
        assert_eq!(page.unreadable, 0);
        keys.extend(page.keys);
        cursor = page.next;
        if cursor.is_none() {
            return keys;
        }
    }
    panic!("the pages do not end");
}

fn numbers(keys: &[StoredState]) -> BTreeSet<KeyRef> {
    let found: BTreeSet<_> = keys.iter().map(|stored| stored.state.record().unwrap().key().clone()).collect();
    assert_eq!(found.len(), keys.len(), "a key is there twice");
    found
}

async fn resumable(store: &impl KeyStore, now: Time) -> Vec<StoredState> {
    all_pages(|cursor| async move { store.resumable_keys(now, cursor.as_ref()).await }).await
}

pub async fn keys_that_a_resume_deals_with_are_found(store: &impl KeyStore) {
    let due = Some(at(1_000));
    let states = [
        (true, in_phase(&key(0), Phase::Pending(intent(at(3))))),
        (true, Record { delete_after: due, ..deactivated(&key(1)) }),
        (true, Record { delete_after: due, ..record(&key(2)) }),
        (
            true,
            Record { delete_after: due, ..in_phase(&key(3), Phase::Inactive(InactiveCause::Deactivated)) },
        ),
        (false, record(&key(4))),
        (false, deactivated(&key(5))),
        (false, in_phase(&key(6), Phase::Inactive(InactiveCause::Expired))),
        // Nothing follows from its date.
        (false, Record { delete_after: due, ..gone(&key(7), 9) }),
    ];
    store_all(store, states.iter().map(|(_, record)| (record.key().clone(), tracked(record.clone())))).await;
    let expected: BTreeSet<_> =
        states.iter().filter(|(is_found, _)| *is_found).map(|(_, record)| record.key().clone()).collect();
    let found = resumable(store, at(1_000)).await;
    assert_eq!(numbers(&found), expected);
    for stored in found {
        let record = stored.state.record().unwrap();
        assert_eq!(stored.version, Version(1));
        assert!(states.iter().any(|(_, known)| known == record));
    }
    // A date that has not come is none, unless somebody has yet to be told of the key.
    let unreported = Record { delete_after: due, unreported: true, ..deactivated(&key(8)) };
    store_all(store, [(key(8), tracked(unreported))]).await;
    assert_eq!(numbers(&resumable(store, at(999)).await), BTreeSet::from([key(0), key(8)]));
    assert_eq!(numbers(&resumable(store, at(2)).await), BTreeSet::from([key(8)]));
    // Once it is executed, it is not found any more.
    let done = commit(&key(0), Version(1), tracked(deactivated(&key(0))));
    assert_eq!(commit_one(store, done).await.unwrap(), CommitReply::Committed(Version(2)));
    assert!(!numbers(&resumable(store, at(1_000)).await).contains(&key(0)));
}

async fn known(store: &impl KeyStore, account: &str, since: Option<Time>) -> BTreeSet<KeyRef> {
    let account: AccountId = account.parse().unwrap();
    let account = &account;
    let keys =
        all_pages(|cursor| async move { store.known_keys(account, since, cursor.as_ref()).await }).await;
    let records: Vec<_> = keys.into_iter().filter(|stored| stored.state.record().is_some()).collect();
    numbers(&records)
}

pub async fn an_account_s_known_keys_are_found(store: &impl KeyStore) {
    let records = [
        record(&key(0)),
        in_phase(&key(1), Phase::Pending(intent(at(3)))),
        deactivated(&key(2)),
        gone(&key(3), 50),
        gone(&key(4), 150),
        Record { unreported: true, ..gone(&key(5), 50) },
        record(&key_in(OTHER, 6)),
    ];
    store_all(store, records.map(|record| (record.key().clone(), tracked(record)))).await;
    let tombstone = KeyState::Tombstone(GoneEvidence::Absent { at: at(4) });
    store_all(store, [(key(7), tombstone)]).await;
    let expected = |numbers: &[usize]| numbers.iter().map(|number| key(*number)).collect::<BTreeSet<_>>();
    let found = known(store, OWN, Some(at(100))).await;
    assert_eq!(found, expected(&[0, 1, 2, 4, 5]));
    let found = known(store, OWN, None).await;
    assert_eq!(found, expected(&[0, 1, 2, 3, 4, 5]));
    // A fraction of a second makes no difference.
    let ended = at(150) + chrono::TimeDelta::milliseconds(500);
    assert!(known(store, OWN, Some(at(150))).await.contains(&key(4)));
    let late = Record { changed_at: ended, ..gone(&key(8), 150) };
    store_all(store, [(key(8), tracked(late))]).await;
    assert!(known(store, OWN, Some(at(150))).await.contains(&key(8)));
    assert_eq!(known(store, OTHER, None).await, BTreeSet::from([key_in(OTHER, 6)]));
}

pub async fn pages_have_every_key_once(store: &impl KeyStore) {
    // More than a page of each of the partitions that they are spread over.
    const MANY: usize = 1_000;
    let pending = |number| tracked(in_phase(&key(number), Phase::Pending(intent(at(3)))));
    store_all(store, (0..MANY).map(|number| (key(number), pending(number)))).await;
    let expected: BTreeSet<_> = (0..MANY).map(key).collect();
    assert_eq!(numbers(&resumable(store, at(3)).await), expected);
    assert_eq!(known(store, OWN, Some(at(100))).await, expected);
}

/// A sweep may learn meanwhile that another one was completed.
pub async fn a_page_goes_on_whatever_time_is_asked_for(store: &impl KeyStore) {
    const MANY: usize = 1_000;
    let ended = |number| tracked(gone(&key(number), 50));
    store_all(store, (0..MANY).map(|number| (key(number), ended(number)))).await;
    let account: AccountId = OWN.parse().unwrap();
    let first = store.known_keys(&account, None, None).await.unwrap();
    let second = store.known_keys(&account, Some(at(100)), first.next.as_ref()).await.unwrap();
    let both: Vec<_> = first.keys.into_iter().chain(second.keys).collect();
    // The rest of the first partition.
    assert!(both.len() > 200 && numbers(&both).len() == both.len(), "{}", both.len());
}

pub async fn the_last_sweep_of_an_account_is_kept(store: &impl KeyStore) {
    let (own, other) = (OWN.parse().unwrap(), OTHER.parse().unwrap());
    assert_eq!(store.load_sweep_record(&own).await.unwrap(), None);
    for seconds in [1, 2] {
        store.put_sweep_record(&own, &SweepRecord { started: at(seconds) }).await.unwrap();
        assert_eq!(store.load_sweep_record(&own).await.unwrap(), Some(SweepRecord { started: at(seconds) }));
    }
    assert_eq!(store.load_sweep_record(&other).await.unwrap(), None);
}
