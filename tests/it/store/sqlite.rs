//! The store in SQLite: the contract, in memory and in a file.

use bedrock_key_guard::ledger::Durability;
use bedrock_key_guard::ledger::store::Ledger;
use tempfile::TempDir;

mod memory {
    use super::*;

    contract_tests!(open);

    #[expect(clippy::unused_async, reason = "the one of DynamoDB is waited for")]
    async fn open(_name: &str) -> ((), Ledger) {
        ((), Ledger::in_memory().unwrap())
    }
}

mod file {
    use super::*;

    contract_tests!(open);

    #[expect(clippy::unused_async, reason = "the one of DynamoDB is waited for")]
    async fn open(name: &str) -> (TempDir, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let store = Ledger::open_file(&folder.path().join(name), Durability::EveryWrite).unwrap();
        (folder, store)
    }
}

/// What one has written, the other reads and goes on from.
mod two_processes {
    use super::super::{commit, key, load, settled, stored};
    use super::*;
    use key_guard_core::lifecycle::state::Version;
    use key_guard_core::ports::{CommitReply, KeyStore as _};

    #[tokio::test]
    async fn of_two_connections_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let [one, other] = [Durability::EveryWrite, Durability::Soon]
            .map(|durability| Ledger::open_file(&path, durability).unwrap());
        let reader = Ledger::read_file(&path).unwrap();
        for version in 0..9 {
            let next = commit(&key(1), Version(version), settled(&key(1)));
            let (winner, loser) = if version % 2 == 0 { (&one, &other) } else { (&other, &one) };
            let reply = winner.commit(std::slice::from_ref(&next)).await.remove(0).unwrap();
            assert_eq!(reply, CommitReply::Committed(Version(version + 1)));
            let now = stored(version + 1, settled(&key(1)));
            assert_eq!(loser.commit(&[next]).await.remove(0).unwrap(), CommitReply::Conflict(now.clone()));
            assert_eq!(load(&reader, &key(1)).await, now);
        }
        let refused = reader.commit(&[commit(&key(1), Version(9), settled(&key(1)))]).await.remove(0);
        assert!(refused.unwrap_err().source.to_string().contains("it cannot be written"));
    }
}
