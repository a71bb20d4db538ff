//! The accounts whose heartbeat was heard.

use crate::ledger::codec;
use crate::ledger::error::LedgerError;
use crate::ledger::port::{Condition, Query, Write};
use crate::ledger::store::Ledger;
use crate::runtime::silence::HeardStore;
use key_guard_core::Time;
use key_guard_core::lifecycle::effect::CallError;
use key_guard_core::lifecycle::state::Version;
use key_guard_core::silence::HeardAccount;

/// Much less than a megabyte, at which DynamoDB ends a page.
const PAGE_SIZE: usize = 1_000;

impl Ledger {
    /// The accounts whose heartbeat was heard: each, or why it cannot be read.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn heard_items(&self) -> Result<Vec<Result<HeardAccount, LedgerError>>, CallError> {
        let query = Query { pk: codec::HEARD.to_owned(), prefix: None, limit: PAGE_SIZE };
        let (mut accounts, mut start) = (Vec::new(), None);
        loop {
            let page = self.table.query(&query, start.as_ref()).await?;
            for item in page.items {
                let key = item.key.clone();
                accounts.push(codec::decode_heard(item).map_err(|why| codec::unreadable(&key, &why)));
            }
            start = page.next;
            if start.is_none() {
                return Ok(accounts);
            }
        }
    }
}

impl HeardStore for Ledger {
    async fn heard_accounts(&self) -> Result<Vec<HeardAccount>, CallError> {
        let accounts = self.heard_items().await?;
        accounts.into_iter().map(|account| account.map_err(super::unreadable)).collect()
    }

    async fn mark_silence_reported(&self, silent: &HeardAccount, at: Time) -> Result<(), CallError> {
        let Version(version) = silent.version;
        let item = codec::encode_heard(&silent.with_silence_reported(at));
        let writes = [item.map(|item| vec![Write::Put(item, Condition::Version(version))])];
        self.write(writes.into_iter()).await.into_iter().try_for_each(|written| written.map(drop))
    }
}
