//! Whatever is stored comes back equal.

use bedrock_key_guard::ledger::audit::history::{LogLine, StepCause};
use bedrock_key_guard::ledger::store::Ledger;
use key_guard_core::lifecycle::dry_run::DryRunState;
use key_guard_core::lifecycle::effect::{Cause, Change, LogEntry};
use key_guard_core::lifecycle::state::Version;
use key_guard_core::ports::{CommitReply, KeyStore as _};
use proptest::prelude::*;

use super::{arbitrary, commit, load, stored};

/// An empty store for each case: shrinking tries the same key many times.
fn open() -> Ledger {
    Ledger::in_memory().unwrap()
}

/// Runs a case. Its future is large.
fn run(case: impl Future<Output = Result<(), TestCaseError>>) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Box::pin(case))
}

proptest! {
    #[test]
    fn a_state_comes_back_equal((key, state) in arbitrary::state()) {
        run(async {
            let store = open();
            let reply = store.commit(&[commit(&key, Version::ABSENT, state.clone())]).await.remove(0);
            prop_assert_eq!(reply.unwrap(), CommitReply::Committed(Version(1)));
            prop_assert_eq!(load(&store, &key).await, stored(1, state.clone()));
            // And so it does with a conflict.
            let reply = store.commit(&[commit(&key, Version(5), state.clone())]).await.remove(0);
            prop_assert_eq!(reply.unwrap(), CommitReply::Conflict(stored(1, state)));
            Ok(())
        })?;
    }

    #[test]
    fn a_dry_run_comes_back_equal(dry_run in arbitrary::dry_run()) {
        run(async {
            let store = open();
            let (key, dry_run) = (dry_run.facts.key.clone(), DryRunState::from(dry_run));
            store.put_dry_runs(&[(dry_run.clone(), Version::ABSENT)]).await.remove(0).unwrap();
            prop_assert_eq!(store.load_dry_runs(&[key]).await.remove(0).unwrap(), Some((dry_run, Version(1))));
            Ok(())
        })?;
    }

    #[test]
    fn a_line_of_history_comes_back_equal(entry in arbitrary::log_entry()) {
        run(async {
            let store = open();
            for _ in 0..2 {
                store.append(&entry).await.unwrap();
            }
            let history = store.history(&entry.key).await.unwrap();
            prop_assert!(history.unreadable.is_empty(), "{:?}", history.unreadable);
            for expected in lines(&entry) {
                let count = history.lines.iter().filter(|line| **line == expected).count();
                prop_assert_eq!(count, 1, "{:?} in {:?}", expected, history.lines);
            }
            prop_assert_eq!(history.lines.len(), lines(&entry).len());
            Ok(())
        })?;
    }
}

/// What a line says in the end.
fn lines(entry: &LogEntry) -> Vec<LogLine> {
    let LogEntry { key: _, at, cause, change } = entry.clone();
    let is_heard = matches!(change, Change::Heard(_));
    let step = |cause| LogLine::Step { at, cause, change };
    match cause {
        Cause::Event { heard, provenance } => {
            let step = (!is_heard).then(|| step(StepCause::Event(provenance.event_id.clone())));
            std::iter::once(LogLine::Event { heard, provenance }).chain(step).collect()
        }
        Cause::Sweep => vec![step(StepCause::Sweep)],
        Cause::Resume => vec![step(StepCause::Resume)],
    }
}
