//! Whatever is stored comes back equal.

use bedrock_key_guard::ledger::audit::history::{LogLine, StepCause};
use bedrock_key_guard::ledger::embedded;
use bedrock_key_guard::ledger::store::DynamoKeyStore;
use key_guard_core::lifecycle::effect::{Cause, Change, LogEntry};
use key_guard_core::lifecycle::state::Version;
use key_guard_core::ports::{CommitReply, KeyStore as _};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::{arbitrary, commit, load, stored};

fn with_store(test: impl FnOnce(&Runtime, &DynamoKeyStore)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ledger = runtime.block_on(embedded::in_memory()).unwrap();
    test(&runtime, &DynamoKeyStore::from(&ledger));
}

#[test]
fn a_state_comes_back_equal() {
    with_store(|runtime, store| {
        proptest!(|((key, state) in arbitrary::state())| runtime.block_on(Box::pin(async {
            let reply = store.commit(&[commit(&key, Version::ABSENT, state.clone())]).await.remove(0);
            prop_assert_eq!(reply.unwrap(), CommitReply::Committed(Version(1)));
            prop_assert_eq!(load(store, &key).await, stored(1, state.clone()));
            // And so it does with a conflict.
            let reply = store.commit(&[commit(&key, Version(5), state.clone())]).await.remove(0);
            prop_assert_eq!(reply.unwrap(), CommitReply::Conflict(stored(1, state)));
            Ok(())
        }))?);
    });
}

#[test]
fn a_dry_run_comes_back_equal() {
    with_store(|runtime, store| {
        proptest!(|(dry_run in arbitrary::dry_run())| runtime.block_on(Box::pin(async {
            let key = dry_run.facts.key.clone();
            store.put_dry_runs(std::slice::from_ref(&dry_run)).await.remove(0).unwrap();
            prop_assert_eq!(store.load_dry_runs(&[key]).await.remove(0).unwrap(), Some(dry_run));
            Ok(())
        }))?);
    });
}

#[test]
fn a_line_of_history_comes_back_equal() {
    with_store(|runtime, store| {
        proptest!(|(entry in arbitrary::log_entry())| runtime.block_on(Box::pin(async {
            for _ in 0..2 {
                store.append(&entry).await.unwrap();
            }
            let history = store.history(&entry.key).await.unwrap();
            prop_assert!(history.unreadable.is_empty(), "{:?}", history.unreadable);
            for expected in lines(&entry) {
                let count = history.lines.iter().filter(|line| is_same(line, &expected)).count();
                prop_assert_eq!(count, 1, "{:?} in {:?}", expected, history.lines);
            }
            prop_assert_eq!(history.lines.len(), lines(&entry).len());
            Ok(())
        }))?);
    });
}

/// What a line says in the end. What the event was, it may not say.
fn lines(entry: &LogEntry) -> Vec<LogLine> {
    let LogEntry { key: _, at, cause, change } = entry.clone();
    let step = |cause| LogLine::Step { at, cause, change: change.clone() };
    match (cause, &change) {
        (Cause::Event(provenance), Change::Heard(heard)) => {
            vec![LogLine::Event { kind: Some(*heard), provenance }]
        }
        (Cause::Event(provenance), _) => {
            let step = step(StepCause::Event(provenance.event_id.clone()));
            vec![LogLine::Event { kind: None, provenance }, step]
        }
        (Cause::Sweep, _) => vec![step(StepCause::Sweep)],
        (Cause::Resume, _) => vec![step(StepCause::Resume)],
    }
}

fn is_same(line: &LogLine, expected: &LogLine) -> bool {
    match (line, expected) {
        (LogLine::Event { provenance, .. }, LogLine::Event { kind: None, provenance: expected }) => {
            provenance == expected
        }
        (line, expected) => line == expected,
    }
}
