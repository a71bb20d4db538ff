//! What is known of the use of users' keys: one item a user, beside the keys, and one an account for what was covered. It never
//! changes a key's state, nor what the guard does (R14).

use std::time::Duration;

use super::codec::{self, EncodeError};
use super::cost::Cost;
use super::error::LedgerError;
use super::port::{Condition, Item, ItemKey, MAX_WRITES, Write, Written};
use super::store::Ledger;
use key_guard_core::key::{AccountId, UserName};
use key_guard_core::lifecycle::effect::Retry;
use key_guard_core::usage::{KnownUse, UsageCoverage};

/// How often a write is tried while others write the same items.
const MAX_TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(40);

/// What the ledger has, with the version of its item, or why that cannot be read.
type Found<T> = Result<Option<(T, u64)>, LedgerError>;

/// What runs know, in an item of its own. Two runs are merged.
trait Merged: Clone + PartialEq {
    fn place(&self) -> ItemKey;
    fn decode(item: Item) -> Result<(Self, u64), String>;
    fn encode(&self, version: u64) -> Result<Item, EncodeError>;
    fn merged(self, other: Self) -> Self;
}

impl Merged for KnownUse {
    fn place(&self) -> ItemKey {
        codec::use_place(&self.account, &self.user)
    }
    fn decode(item: Item) -> Result<(Self, u64), String> {
        codec::decode_use(item)
    }
    fn encode(&self, version: u64) -> Result<Item, EncodeError> {
        codec::encode_use(self, version)
    }
    fn merged(self, other: Self) -> Self {
        self.merged(other)
    }
}

impl Merged for UsageCoverage {
    fn place(&self) -> ItemKey {
        codec::coverage_place(&self.account)
    }
    fn decode(item: Item) -> Result<(Self, u64), String> {
        codec::decode_coverage(item)
    }
    fn encode(&self, version: u64) -> Result<Item, EncodeError> {
        codec::encode_coverage(self, version)
    }
    fn merged(self, other: Self) -> Self {
        self.merged(other)
    }
}

/// What came of recording.
#[derive(Debug, Default)]
pub struct Recorded {
    /// How many items changed.
    pub changed: u64,
    /// Items that are there and cannot be read. They stay as they are.
    pub unreadable: Vec<LedgerError>,
}

impl Recorded {
    /// How many items changed, where all could be read.
    ///
    /// # Errors
    /// The first item that cannot be read.
    pub fn all(self) -> Result<u64, LedgerError> {
        self.unreadable.into_iter().next().map_or(Ok(self.changed), Err)
    }
}

impl Ledger {
    /// What is known of the use of these users' keys: a result for each, in their order. A user is named once.
    pub async fn known_uses(
        &self,
        users: &[(AccountId, UserName)],
        cost: &mut Cost,
    ) -> Vec<Result<Option<KnownUse>, LedgerError>> {
        let places: Vec<_> = users.iter().map(|(account, user)| codec::use_place(account, user)).collect();
        let found: Vec<Found<KnownUse>> = self.read_merged(&places, cost).await;
        found.into_iter().map(|found| found.map(|found| found.map(|(known, _)| known))).collect()
    }

    /// Merges what a run found with what is known. Writing the same once more changes nothing. A user is named once.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub async fn record_uses(&self, uses: &[KnownUse]) -> Result<Recorded, LedgerError> {
        self.record_merged(uses).await
    }

    /// The same of what a run covered: after what it found. An account is named once.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub async fn record_coverages(&self, coverages: &[UsageCoverage]) -> Result<Recorded, LedgerError> {
        self.record_merged(coverages).await
    }

    async fn record_merged<T: Merged>(&self, found: &[T]) -> Result<Recorded, LedgerError> {
        let mut recorded = Recorded::default();
        for batch in found.chunks(MAX_WRITES) {
            self.record_batch(batch.to_vec(), &mut recorded).await?;
        }
        Ok(recorded)
    }

    async fn record_batch<T: Merged>(
        &self,
        mut left: Vec<T>,
        recorded: &mut Recorded,
    ) -> Result<(), LedgerError> {
        let mut pause = FIRST_PAUSE;
        for _ in 0..MAX_TRIES {
            let places: Vec<_> = left.iter().map(Merged::place).collect();
            let stored = self.read_merged::<T>(&places, &mut Cost::default()).await;
            let (mut writes, mut written) = (Vec::new(), Vec::new());
            for (known, stored) in left.into_iter().zip(stored) {
                let stored = match stored {
                    Ok(stored) => stored,
                    Err(error @ LedgerError::Unreadable { .. }) => {
                        recorded.unreadable.push(error);
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let merged = match &stored {
                    Some((stored, _)) => stored.clone().merged(known.clone()),
                    None => known.clone(),
                };
                if stored.as_ref().is_none_or(|(stored, _)| *stored != merged) {
                    writes.push(vec![write(&merged, stored.map(|(_, version)| version))?]);
                    written.push(known);
                }
            }
            left = Vec::new();
            for (known, reply) in written.into_iter().zip(self.table.write(writes).await) {
                match reply {
                    Ok(Written::Done) => recorded.changed += 1,
                    Ok(Written::Refused { .. }) => left.push(known),
                    Err(error) if error.retry == Retry::Transient => left.push(known),
                    Err(error) => return Err(error.into()),
                }
            }
            let Some(_) = left.first() else { return Ok(()) };
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        let pk = left.first().map(|known| known.place().pk);
        Err(LedgerError::changed_in_between(pk.unwrap_or_default()))
    }

    async fn read_merged<T: Merged>(&self, places: &[ItemKey], cost: &mut Cost) -> Vec<Found<T>> {
        if places.is_empty() {
            return Vec::new();
        }
        let found = self.table.get(places, cost).await;
        found.into_iter().map(|found| found?.map(read).transpose()).collect()
    }
}

/// Reads an item. The error of an unreadable one names it.
fn read<T: Merged>(item: Item) -> Result<(T, u64), LedgerError> {
    let key = item.key.clone();
    T::decode(item).map_err(|why| codec::unreadable(&key, &why))
}

fn write(known: &impl Merged, stored: Option<u64>) -> Result<Write, LedgerError> {
    let (version, condition) = match stored {
        None => (1, Condition::Absent),
        Some(version) => (version.saturating_add(1), Condition::Version(version)),
    };
    let item = known
        .encode(version)
        .map_err(|error| LedgerError::call("making an item", "of the use of keys", None, error))?;
    Ok(Write::Put(item, condition))
}
