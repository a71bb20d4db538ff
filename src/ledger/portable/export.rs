//! Items out of a ledger: of one key, or all of them.

use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::item::PortableItem;
use crate::ledger::codec::{self, Attributes};
use crate::ledger::error::LedgerError;
use crate::ledger::item::partition;
use crate::ledger::query::Cost;
use crate::ledger::store::DynamoKeyStore;
use key_guard_core::key::KeyRef;

/// Items that a call of a scan reads: about the megabyte at which DynamoDB ends a page.
const PAGE_SIZE: i32 = 600;

/// Items, or what is wrong with them.
type Items = Vec<Result<PortableItem, LedgerError>>;

/// The whole table, page by page: the one reader that scans it. The keys come in no order, and of each key first its
/// history, then its state, then its dry run.
#[derive(Debug)]
pub struct TableScan<'a> {
    store: &'a DynamoKeyStore,
    start: Option<Attributes>,
    is_done: bool,
    /// DynamoDB returns a dry run before the other items of its key.
    dry_run: Option<Attributes>,
    cost: Cost,
}

impl TableScan<'_> {
    /// The next items: one call. `None`: there are no more.
    ///
    /// # Errors
    /// When the ledger cannot be read. Single items that cannot be are in the result.
    pub async fn next(&mut self) -> Result<Option<Items>, LedgerError> {
        if self.is_done {
            return Ok(None);
        }
        let page = self
            .store
            .client
            .scan()
            .table_name(&self.store.table)
            .limit(PAGE_SIZE)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_exclusive_start_key(self.start.take())
            .send()
            .await
            .map_err(|error| self.store.failure("Scan", error).ledger_error())?;
        self.cost.count(page.consumed_capacity.as_ref());
        self.start = page.last_evaluated_key.filter(|key| !key.is_empty());
        self.is_done = self.start.is_none();
        let mut items = Items::new();
        for item in page.items.unwrap_or_default() {
            let is_of_dry_run = |dry_run: &Attributes| dry_run.get("pk") == item.get("pk");
            if !self.dry_run.as_ref().is_some_and(is_of_dry_run) {
                items.extend(self.dry_run.take().and_then(read));
            }
            if codec::text(&item, "sk") == Some(codec::DRY_RUN) {
                self.dry_run = Some(item);
            } else {
                items.extend(read(item));
            }
        }
        if self.is_done {
            items.extend(self.dry_run.take().and_then(read));
        }
        Ok(Some(items))
    }

    /// What it has cost so far.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        self.cost
    }
}

/// Reads an item. `None`: it stays where it is.
fn read(item: Attributes) -> Option<Result<PortableItem, LedgerError>> {
    if codec::is_bookkeeping(&item) {
        return None;
    }
    let place = codec::place_of(&item);
    PortableItem::decode(item).map_err(|why| codec::unreadable(&place, why)).transpose()
}

impl DynamoKeyStore {
    /// The whole table.
    #[must_use]
    pub const fn table_scan(&self) -> TableScan<'_> {
        let cost = Cost { calls: 0, units: 0.0 };
        TableScan { store: self, start: None, is_done: false, dry_run: None, cost }
    }

    /// All items of one key: first its history, in order, then its state, then its dry run.
    ///
    /// # Errors
    /// When the ledger cannot be read. Single items that cannot be are in the result.
    pub async fn portable_items(&self, key: &KeyRef, cost: &mut Cost) -> Result<Items, LedgerError> {
        let items = self.read_partition(&partition(key), cost).await?;
        let is_dry_run = |item: &Attributes| codec::text(item, "sk") == Some(codec::DRY_RUN);
        let (dry_run, others): (Vec<_>, Vec<_>) = items.into_iter().partition(is_dry_run);
        Ok(others.into_iter().chain(dry_run).filter_map(read).collect())
    }
}
