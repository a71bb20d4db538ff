//! The accounts whose heartbeat was heard.

use std::collections::BTreeSet;

use crate::ledger::codec;
use crate::ledger::port::Query;
use crate::ledger::store::Ledger;
use key_guard_core::key::AccountId;
use key_guard_core::lifecycle::effect::CallError;

/// Much less than a megabyte, at which DynamoDB ends a page.
const PAGE_SIZE: usize = 1_000;

impl Ledger {
    /// The accounts whose heartbeat was heard, however long ago.
    ///
    /// # Errors
    /// When the ledger cannot be read, or one of the items: its account would not be swept.
    pub async fn heard_accounts(&self) -> Result<BTreeSet<AccountId>, CallError> {
        let query = Query { pk: codec::HEARD.to_owned(), prefix: None, limit: PAGE_SIZE };
        let (mut accounts, mut start) = (BTreeSet::new(), None);
        loop {
            let page = self.table.query(&query, start.as_ref()).await?;
            for item in page.items {
                accounts.insert(super::decoded(item, codec::decode_heard)?.0.account);
            }
            start = page.next;
            if start.is_none() {
                return Ok(accounts);
            }
        }
    }
}
