//! Writes of events from which no state of a key follows.

use std::collections::{BTreeMap, HashMap};

use crate::ledger::audit::count::{AttemptGroup, CountedAttempts};
use crate::ledger::audit::heard::Heartbeat;
use crate::ledger::audit::{AuditEvent, FailedCall};
use crate::ledger::codec::{self, EncodeError};
use crate::ledger::cost::Cost;
use crate::ledger::error::LedgerError;
use crate::ledger::port::{Condition, Item, ItemKey, TableError, Write, Written};
use crate::ledger::store::Ledger;
use key_guard_core::lifecycle::effect::{CallError, Retry};
use key_guard_core::lifecycle::state::Version;
use key_guard_core::silence::HeardAccount;

/// How often an item is read again after another writer has changed it. The caller retries after a pause.
const MAX_TRIES: usize = 4;

/// What is to be merged into an item.
enum Merge<'a> {
    Count(Vec<&'a FailedCall>),
    Heartbeat(&'a Heartbeat),
}

/// What became of items.
type Results = HashMap<ItemKey, Result<(), TableError>>;

impl Ledger {
    /// Records events from which no state of a key follows: a result for each, in their order. However many of the events an item counts,
    /// it is read once and written once. Nothing is written where nothing changes.
    ///
    /// An event is counted once, however often it is recorded, as long as its item has not more than
    /// [`MAX_EVENT_IDS`](crate::ledger::audit::count::MAX_EVENT_IDS) events. From then on, one that is delivered again may
    /// be counted again, and so may one whose write has lost its reply.
    pub async fn record_audit_events(&self, events: &[AuditEvent]) -> Vec<Result<(), CallError>> {
        let (mut places, mut puts) = (Vec::new(), BTreeMap::new());
        let mut calls: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut heartbeats: BTreeMap<_, &Heartbeat> = BTreeMap::new();
        for event in events {
            let place = match event {
                AuditEvent::FailedCall(failed) => {
                    let place = codec::attempts_place(&AttemptGroup::of(failed));
                    calls.entry(place.clone()).or_default().push(failed);
                    place
                }
                AuditEvent::Heartbeat(heartbeat) => {
                    let place = codec::heard_place(&heartbeat.account);
                    let latest = heartbeats.entry(place.clone()).or_insert(heartbeat);
                    if latest.at < heartbeat.at {
                        *latest = heartbeat;
                    }
                    place
                }
                AuditEvent::UserChanged(changed) => {
                    let place = codec::user_change_place(changed);
                    puts.insert(place.clone(), codec::encode_user_change(changed));
                    place
                }
                AuditEvent::UnjudgedKey(unjudged) => {
                    let place = codec::unjudged_key_place(&unjudged.key);
                    puts.insert(place.clone(), codec::encode_unjudged_key(unjudged));
                    place
                }
            };
            places.push(place);
        }
        let mut results = self.put_each(puts).await;
        let calls = calls.into_iter().map(|(place, calls)| (place, Merge::Count(calls)));
        let heartbeats = heartbeats.into_iter().map(|(place, latest)| (place, Merge::Heartbeat(latest)));
        results.extend(self.merge(calls.chain(heartbeats).collect()).await);
        let result = |place| results.get(place).cloned().unwrap_or_else(|| Err(no_result()));
        places.iter().map(|place| result(place).map_err(CallError::from)).collect()
    }

    /// Puts items that need no condition.
    async fn put_each(&self, items: BTreeMap<ItemKey, Result<Item, EncodeError>>) -> Results {
        let puts = items.into_iter().map(|(place, item)| {
            (place, item.map(|item| Write::Put(item, Condition::None)).map_err(not_encoded))
        });
        let written = self.write_each(puts.collect()).await.into_iter();
        written.map(|(place, written)| (place, written.map(drop))).collect()
    }

    /// Merges into items, by their places.
    async fn merge(&self, mut merges: BTreeMap<ItemKey, Merge<'_>>) -> Results {
        let mut results = Results::new();
        for _ in 0..MAX_TRIES {
            if merges.is_empty() {
                break;
            }
            let places: Vec<_> = merges.keys().cloned().collect();
            let stored = self.table.get(&places, &mut Cost::default()).await;
            let mut writes = Vec::new();
            for ((place, merge), stored) in merges.iter().zip(stored) {
                match stored.and_then(|stored| self.merged(place, stored, merge)) {
                    Ok(Some(write)) => writes.push((place.clone(), Ok(write))),
                    Ok(None) => _ = results.insert(place.clone(), Ok(())),
                    Err(error) => _ = results.insert(place.clone(), Err(error)),
                }
            }
            for (place, written) in self.write_each(writes).await {
                match written {
                    Ok(Written::Done) => _ = results.insert(place, Ok(())),
                    // Another writer was faster.
                    Ok(Written::Refused { .. }) => {}
                    Err(error) => _ = results.insert(place, Err(error)),
                }
            }
            merges.retain(|place, _| !results.contains_key(place));
        }
        results.extend(merges.into_keys().map(|place| (place.clone(), Err(busy(place)))));
        results
    }

    /// The write that is needed. `None`: nothing changes.
    fn merged(
        &self,
        place: &ItemKey,
        stored: Option<Item>,
        merge: &Merge<'_>,
    ) -> Result<Option<Write>, TableError> {
        let unreadable =
            |why: String| TableError::permanent("reading an item", codec::unreadable(place, &why));
        let (item, known) = match merge {
            Merge::Count(failed) => {
                let stored = stored.map(codec::decode_attempts).transpose().map_err(unreadable)?;
                let (stored, known) = stored.unzip();
                let next = CountedAttempts::merge(stored.clone(), failed.iter().copied());
                let next = next.filter(|next| stored.as_ref() != Some(next));
                let encode =
                    |next| codec::encode_attempts(&next, next_version(known), Some(self.attempt_days));
                (next.map(encode), known)
            }
            Merge::Heartbeat(heartbeat) => {
                let Ok(stored) = stored.map(codec::decode_heard).transpose() else {
                    // It says nothing else that matters, so it is replaced.
                    let item = codec::encode_heard(&heartbeat.heard(Version(1))).map_err(not_encoded)?;
                    return Ok(Some(Write::Put(item, Condition::None)));
                };
                let known = stored.as_ref().map(|stored| stored.version.0);
                let is_news = stored.as_ref().is_none_or(|stored| stored.last_heard < heartbeat.at);
                // It is silent no more, so its next silence is to be reported.
                let next = || {
                    let heard = heartbeat.heard(Version(next_version(known)));
                    let unknown_fields = stored.map(|stored| stored.unknown_fields).unwrap_or_default();
                    codec::encode_heard(&HeardAccount { unknown_fields, ..heard })
                };
                (is_news.then(next), known)
            }
        };
        let condition = known.map_or(Condition::Absent, Condition::Version);
        item.map(|item| Ok(Write::Put(item.map_err(not_encoded)?, condition))).transpose()
    }

    /// Performs writes of one item each, those that could be made.
    async fn write_each(
        &self,
        writes: Vec<(ItemKey, Result<Write, TableError>)>,
    ) -> Vec<(ItemKey, Result<Written, TableError>)> {
        let (mut results, mut places, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        for (place, write) in writes {
            match write {
                Ok(write) => {
                    places.push(place);
                    groups.push(vec![write]);
                }
                Err(error) => results.push((place, Err(error))),
            }
        }
        if !groups.is_empty() {
            results.extend(places.into_iter().zip(self.table.write(groups).await));
        }
        results
    }
}

const fn next_version(known: Option<u64>) -> u64 {
    match known {
        Some(version) => version.saturating_add(1),
        None => 1,
    }
}

fn busy(place: ItemKey) -> TableError {
    let error = LedgerError::changed_in_between(place.pk);
    TableError { call: "TransactWriteItems", retry: Retry::Transient, error }
}

fn not_encoded(error: EncodeError) -> TableError {
    let error = LedgerError::call("making an item", "of an event", None, error);
    TableError::permanent("making an item", error)
}

fn no_result() -> TableError {
    let why = "the store returned fewer results than it was asked for";
    let error = LedgerError::call("a call", "of the store", None, why);
    TableError::permanent("a call of the store", error)
}
