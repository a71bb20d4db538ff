//! Items out of a ledger: of one key, or all of them.

use super::item::PortableItem;
use crate::ledger::codec;
use crate::ledger::cost::Cost;
use crate::ledger::error::LedgerError;
use crate::ledger::port::{Item, ItemKey};
use crate::ledger::store::Ledger;
use key_guard_core::key::KeyRef;

/// Items that a call of a scan reads: about the megabyte at which DynamoDB ends a page.
const PAGE_SIZE: usize = 600;

/// Items, or what is wrong with them.
type Items = Vec<Result<PortableItem, LedgerError>>;

/// The whole table, page by page: the one reader that scans it. The keys come in no order, and of each key first its
/// history, then its state, then its dry run: their sort keys have this order.
#[derive(Debug)]
pub struct TableScan<'a> {
    store: &'a Ledger,
    start: Option<ItemKey>,
    is_done: bool,
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
        let page = self.store.table.scan(PAGE_SIZE, self.start.take().as_ref()).await?;
        self.cost += page.cost;
        self.start = page.next;
        self.is_done = self.start.is_none();
        Ok(Some(page.items.into_iter().filter_map(read).collect()))
    }

    /// What it has cost so far.
    #[must_use]
    pub const fn cost(&self) -> Cost {
        self.cost
    }
}

/// Reads an item. `None`: it stays where it is.
fn read(item: Item) -> Option<Result<PortableItem, LedgerError>> {
    if codec::is_bookkeeping(&item) {
        return None;
    }
    let key = item.key.clone();
    PortableItem::decode(item).map_err(|why| codec::unreadable(&key, &why)).transpose()
}

impl Ledger {
    /// The whole table.
    #[must_use]
    pub const fn table_scan(&self) -> TableScan<'_> {
        let cost = Cost { calls: 0, units: 0.0 };
        TableScan { store: self, start: None, is_done: false, cost }
    }

    /// All items of one key: first its history, in order, then its state, then its dry run.
    ///
    /// # Errors
    /// When the ledger cannot be read. Single items that cannot be are in the result.
    pub async fn portable_items(&self, key: &KeyRef, cost: &mut Cost) -> Result<Items, LedgerError> {
        let items = self.read_items(&key.id, Some(codec::prefix(key)), cost).await?;
        Ok(items.into_iter().filter_map(read).collect())
    }
}
