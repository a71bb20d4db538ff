//! Items into a ledger, where they are absent.

use std::collections::{BTreeMap, HashSet};
use std::ops::AddAssign;
use std::time::Duration;

use aws_sdk_dynamodb::types::{Put, TransactWriteItem};

use super::item::PortableItem;
use crate::ledger::codec::{self, Attributes, EncodeError};
use crate::ledger::error::LedgerError;
use crate::ledger::query::Cost;
use crate::ledger::store::{DynamoKeyStore, Reason};
use key_guard_core::Time;

/// What a transaction takes (DynamoDB API reference, `TransactWriteItems`).
const MAX_ITEMS: usize = 100;

/// How often an import is tried while others write to the same items.
const MAX_TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(40);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What an import changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// New lines of history.
    pub lines: u64,
    /// New keys.
    pub states: u64,
    /// Keys that had a state before, which stays.
    pub known: u64,
    /// Dry runs that are new, or newer than before.
    pub dry_runs: u64,
    /// New failed calls and access keys.
    pub audit_events: u64,
}

impl AddAssign for Imported {
    fn add_assign(&mut self, other: Self) {
        self.lines += other.lines;
        self.states += other.states;
        self.known += other.known;
        self.dry_runs += other.dry_runs;
        self.audit_events += other.audit_events;
    }
}

/// What a partition has.
#[derive(Default)]
struct Present {
    sort_keys: HashSet<String>,
    /// When its dry run was.
    dry_run: Option<Time>,
}

/// Items that are to be written.
#[derive(Default)]
struct Absent {
    /// By sort key, and whether an item must not be there yet.
    items: BTreeMap<String, (Attributes, bool)>,
    imported: Imported,
}

impl DynamoKeyStore {
    /// Imports items of one key, or one audit event: one call to read what is there, and one to write what is not.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub async fn import(&self, items: &[PortableItem]) -> Result<Imported, LedgerError> {
        let encoded = items.iter().map(|item| Ok((item, item.encode()?))).collect::<Result<Vec<_>, _>>();
        let encoded = encoded.map_err(|error: EncodeError| self.not_built(error))?;
        let Some(pk) = encoded.iter().find_map(|(_, item)| codec::text(item, "pk")) else {
            return Ok(Imported::default());
        };
        let mut pause = FIRST_PAUSE;
        for _ in 0..MAX_TRIES {
            let absent = absent(&encoded, self.present(pk).await?);
            if self.put_absent(absent.items).await? {
                return Ok(absent.imported);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(LedgerError::Busy { pk: pk.to_owned(), code: "changed in between".to_owned() })
    }

    async fn present(&self, pk: &str) -> Result<Present, LedgerError> {
        let mut present = Present::default();
        for item in self.read_partition(pk, &mut Cost::default()).await? {
            let sk = codec::text(&item, "sk").unwrap_or_default().to_owned();
            if sk == codec::DRY_RUN {
                // One that cannot be read is replaced.
                present.dry_run = codec::decode_dry_run(item).ok().map(|dry_run| dry_run.at);
            }
            present.sort_keys.insert(sk);
        }
        Ok(present)
    }

    /// Writes items. `false`: some of them are there by now, or others are writing to them.
    async fn put_absent(&self, items: BTreeMap<String, (Attributes, bool)>) -> Result<bool, LedgerError> {
        let put = |(item, is_new): (Attributes, bool)| {
            let condition = is_new.then(|| "attribute_not_exists(pk)".to_owned());
            let put = Put::builder().table_name(&self.table).set_item(Some(item));
            let put = put.set_condition_expression(condition).build();
            put.map(|put| TransactWriteItem::builder().put(put).build())
        };
        let puts = items.into_values().map(put).collect::<Result<Vec<_>, _>>();
        let puts = puts.map_err(|error| self.not_built(error))?;
        for puts in puts.chunks(MAX_ITEMS) {
            let call = self.client.transact_write_items().set_transact_items(Some(puts.to_vec()));
            let Err(error) = call.send().await else { continue };
            let reasons = error.as_service_error().and_then(Reason::of);
            let is_invalid = |reason: &Reason| matches!(reason, Reason::Invalid { .. });
            if reasons.is_some_and(|reasons| !reasons.iter().flatten().any(is_invalid)) {
                return Ok(false);
            }
            return Err(self.failure("TransactWriteItems", error).ledger_error());
        }
        Ok(true)
    }
}

/// What is to be written of items of one partition.
fn absent(items: &[(&PortableItem, Attributes)], mut present: Present) -> Absent {
    let mut absent = Absent::default();
    for (portable, item) in items {
        let sk = codec::text(item, "sk").unwrap_or_default();
        let is_present = present.sort_keys.contains(sk);
        let imported = &mut absent.imported;
        let is_replaced = match portable {
            PortableItem::DryRun(dry_run) => {
                if present.dry_run.is_some_and(|known| known >= dry_run.at) {
                    continue;
                }
                imported.dry_runs = 1;
                present.dry_run = Some(dry_run.at);
                true
            }
            PortableItem::State(..) | PortableItem::Log(_) | PortableItem::AuditEvent(_) if is_present => {
                imported.known += u64::from(matches!(portable, PortableItem::State(..)));
                continue;
            }
            PortableItem::State(..) => {
                imported.states += 1;
                false
            }
            PortableItem::Log(_) => {
                imported.lines += 1;
                false
            }
            PortableItem::AuditEvent(_) => {
                imported.audit_events += 1;
                false
            }
        };
        present.sort_keys.insert(sk.to_owned());
        absent.items.insert(sk.to_owned(), (item.clone(), !is_replaced));
        for name in portable.encode_former_names() {
            let sk = codec::text(&name, "sk").unwrap_or_default().to_owned();
            absent.items.insert(sk, (name, false));
        }
    }
    absent
}
