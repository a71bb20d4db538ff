//! Items into a ledger, where they are absent. Of a key that is known, how it stands, where that is of a later time.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::AddAssign;
use std::time::Duration;

use super::item::{PortableContent, PortableItem};
use crate::ledger::codec::{self, EncodeError};
use crate::ledger::cost::Cost;
use crate::ledger::error::LedgerError;
use crate::ledger::port::{Condition, Item, MAX_WRITES, Write, Written};
use crate::ledger::store::Ledger;
use key_guard_core::key::KeyRef;
use key_guard_core::lifecycle::dry_run::DryRunState;
use key_guard_core::lifecycle::effect::Retry;
use key_guard_core::lifecycle::state::{KeyState, StoredState, Version};

/// How often an import is tried while others write to the same items.
const MAX_TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(40);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How many items are loaded at a time.
const MAX_LOADED: usize = 8_000;

/// What an import changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// New lines of history.
    pub lines: u64,
    /// New keys.
    pub states: u64,
    /// Keys that had a state before.
    pub known: u64,
    /// Those of them whose status the import knows as of a later time. The rest of their states stays.
    pub updated: u64,
    /// Dry runs that are new, or newer than before.
    pub dry_runs: u64,
    /// New counts of failed calls.
    pub attempts: u64,
    /// New changes of users.
    pub user_changes: u64,
    /// New keys that nobody judged.
    pub unjudged_keys: u64,
    /// New versions of the policy.
    pub policies: u64,
    /// Versions of the policy that would have changed which one is current, and were left out.
    pub newer_policies: u64,
    /// Users of whose keys more use is known than before.
    pub uses: u64,
}

impl AddAssign for Imported {
    fn add_assign(&mut self, other: Self) {
        self.lines += other.lines;
        self.states += other.states;
        self.known += other.known;
        self.updated += other.updated;
        self.dry_runs += other.dry_runs;
        self.attempts += other.attempts;
        self.user_changes += other.user_changes;
        self.unjudged_keys += other.unjudged_keys;
        self.policies += other.policies;
        self.newer_policies += other.newer_policies;
        self.uses += other.uses;
    }
}

/// What a partition has.
#[derive(Default)]
struct Present {
    sort_keys: HashSet<String>,
    /// Its dry run, with what is imported of it.
    dry_run: Option<DryRunState>,
    /// On which condition that in the ledger is replaced.
    replaces_dry_run: Option<Condition>,
    /// Its key's state, with what is imported of it.
    state: Option<StoredState>,
}

/// Items that are to be written, by sort key.
type Writes = BTreeMap<String, (Item, Condition)>;

/// What is to be written, and what that counts as.
#[derive(Default)]
struct Absent {
    writes: Writes,
    /// By sort key: what is there already counts, too.
    counts: BTreeMap<String, Imported>,
}

impl Ledger {
    /// Imports items of one key, or one item that is about no key: one call to read what is there, and one to write what is not.
    /// The versions of a policy come together.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub async fn import(&self, items: &[PortableItem]) -> Result<Imported, LedgerError> {
        let numbered = |item| Some((PortableItem::policy_number(item)?, item));
        let policies = items.iter().filter_map(numbered).collect::<Vec<_>>();
        if !policies.is_empty() {
            return self.import_policies(policies).await;
        }
        let uses = items.iter().filter_map(PortableItem::known_use).collect::<Vec<_>>();
        if !uses.is_empty() {
            return Ok(Imported { uses: self.record_uses(&uses).await?.all()?, ..Imported::default() });
        }
        let coverages = items.iter().filter_map(PortableItem::usage_coverage).collect::<Vec<_>>();
        if !coverages.is_empty() {
            self.record_coverages(&coverages).await?.all()?;
            return Ok(Imported::default());
        }
        let encode = |item: &PortableItem| item.encode(Some(self.attempt_days));
        let encoded = items.iter().map(|item| Ok((item, encode(item)?))).collect::<Result<Vec<_>, _>>();
        let mut encoded = encoded.map_err(not_encoded)?;
        let Some(pk) = encoded.first().map(|(_, item)| item.key.pk.clone()) else {
            return Ok(Imported::default());
        };
        let (mut imported, mut pause) = (Imported::default(), FIRST_PAUSE);
        for _ in 0..MAX_TRIES {
            let Absent { mut writes, counts } =
                absent(&encoded, self.present(&pk, &encoded).await?).map_err(not_encoded)?;
            let is_whole = self.put_absent(&mut writes).await?;
            // What was written is done with, whatever became of the rest.
            let is_done = |sk: &String| is_whole || !writes.contains_key(sk);
            for (_, count) in counts.into_iter().filter(|(sk, _)| is_done(sk)) {
                imported += count;
            }
            encoded.retain(|(_, item)| !is_done(&item.key.sk));
            if is_whole {
                return Ok(imported);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(LedgerError::changed_in_between(pk))
    }

    /// Writes items in place of what is there, thousands at a time. For measurements.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn load_portable(
        &self,
        items: impl IntoIterator<Item = PortableItem>,
    ) -> Result<(), LedgerError> {
        let mut groups = items.into_iter().map(|item| item.encode(Some(self.attempt_days))).peekable();
        while groups.peek().is_some() {
            let items =
                groups.by_ref().take(MAX_LOADED).collect::<Result<Vec<_>, _>>().map_err(not_encoded)?;
            let groups = items.into_iter().map(|item| vec![Write::Put(item, Condition::None)]);
            for written in self.table.write(groups.collect()).await {
                written?;
            }
        }
        Ok(())
    }

    /// What is there of a key, or of single items that are about no key: others of their partition are not read.
    async fn present(&self, pk: &str, items: &[(&PortableItem, Item)]) -> Result<Present, LedgerError> {
        let (mut present, cost) = (Present::default(), &mut Cost::default());
        let key = items.iter().find_map(|(item, _)| item.key());
        let found = if key.is_some() {
            self.read_partition(pk.to_owned(), None, cost).await?
        } else {
            let keys: BTreeSet<_> = items.iter().map(|(_, item)| item.key.clone()).collect();
            let found = self.table.get(&keys.into_iter().collect::<Vec<_>>(), cost).await;
            found.into_iter().filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()?
        };
        for item in found {
            let sk = item.key.sk.clone();
            match codec::key_of(&item.key) {
                // Keys of two accounts with the same id are two keys.
                Ok((other, _)) if key != Some(&other) => {}
                // One that cannot be read is replaced.
                Ok((_, codec::DRY_RUN)) => {
                    present.replaces_dry_run = Some(item.version.map_or(Condition::None, Condition::Version));
                    present.dry_run = codec::decode_dry_run(item).ok();
                }
                Ok((_, codec::STATE)) => {
                    present.state = codec::decode_state(item).ok();
                }
                Ok(_) | Err(_) => {}
            }
            present.sort_keys.insert(sk);
        }
        Ok(present)
    }

    /// Writes items, and takes what was written out of them. `false`: some of them are there or were changed by now, or others
    /// are writing to them.
    async fn put_absent(&self, writes: &mut Writes) -> Result<bool, LedgerError> {
        while !writes.is_empty() {
            let group: Vec<_> = writes.keys().take(MAX_WRITES).cloned().collect();
            let puts = writes.values().take(MAX_WRITES).cloned();
            let puts = puts.map(|(item, condition)| Write::Put(item, condition)).collect();
            for written in self.table.write(vec![puts]).await {
                match written {
                    Ok(Written::Done) => group.iter().for_each(|sk| drop(writes.remove(sk))),
                    Ok(Written::Refused { .. }) => return Ok(false),
                    Err(error) if error.retry == Retry::Transient => return Ok(false),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(true)
    }
}

fn not_encoded(error: EncodeError) -> LedgerError {
    LedgerError::call("making an item", "of the import", None, error)
}

/// What is to be written of items of one partition.
fn absent(items: &[(&PortableItem, Item)], mut present: Present) -> Result<Absent, EncodeError> {
    let mut absent = Absent::default();
    for (portable, item) in items {
        let is_present = !present.sort_keys.insert(item.key.sk.clone());
        let (written, names) = match &portable.content {
            PortableContent::DryRun(dry_run) => {
                (present.next_dry_run(portable, dry_run)?, portable.encode_former_names())
            }
            PortableContent::State(key, state) if is_present => (present.next_state(key, state)?, Vec::new()),
            PortableContent::State(..)
            | PortableContent::Log(_)
            | PortableContent::Attempts(_)
            | PortableContent::UserChanged(_)
            | PortableContent::UnjudgedKey(_)
            | PortableContent::Policy(_)
            | PortableContent::Use(_)
            | PortableContent::UsageCoverage(_) => {
                let written = (!is_present).then(|| (item.clone(), Condition::Absent));
                (written, portable.encode_former_names())
            }
        };
        let count = absent.counts.entry(item.key.sk.clone()).or_default();
        count.count(&portable.content, is_present, written.is_some());
        if let Some(written) = written {
            let names = names.into_iter().map(|name| (name, Condition::None));
            let written = names.chain([written]);
            absent.writes.extend(written.map(|(item, condition)| (item.key.sk.clone(), (item, condition))));
        }
    }
    Ok(absent)
}

impl Present {
    /// The state of a known key, where the imported one says how it stands at a later time. One that cannot be read stays.
    fn next_state(
        &mut self,
        key: &KeyRef,
        imported: &KeyState,
    ) -> Result<Option<(Item, Condition)>, EncodeError> {
        let Some(StoredState { version: Version(version), state }) = &mut self.state else { return Ok(None) };
        let Some(next) = state.updated_by(imported) else { return Ok(None) };
        let item = codec::encode_state(key, Version(version.saturating_add(1)), &next)?;
        *state = next;
        Ok(Some((item, Condition::Version(*version))))
    }

    /// The dry run, where it says more than the one that is there.
    fn next_dry_run(
        &mut self,
        portable: &PortableItem,
        imported: &DryRunState,
    ) -> Result<Option<(Item, Condition)>, EncodeError> {
        let Some(next) = imported.clone().in_place_of(self.dry_run.as_ref()) else { return Ok(None) };
        let mut item = portable.with_dry_run(next.clone()).encode(None)?;
        self.dry_run = Some(next);
        let condition = self.replaces_dry_run.unwrap_or(Condition::Absent);
        if let Condition::Version(stored) = condition {
            item.version = Some(stored.saturating_add(1));
        }
        Ok(Some((item, condition)))
    }
}

impl Imported {
    /// Counts an item.
    fn count(&mut self, content: &PortableContent, is_present: bool, is_written: bool) {
        let written = u64::from(is_written);
        match content {
            // The last of a key's dry runs stays, and the last of its states.
            PortableContent::DryRun(_) => self.dry_runs = self.dry_runs.max(written),
            PortableContent::State(..) if is_present => {
                self.known += 1;
                self.updated = self.updated.max(written);
            }
            PortableContent::State(..) => self.states += written,
            PortableContent::Log(_) => self.lines += written,
            PortableContent::Attempts(_) => self.attempts += written,
            PortableContent::UserChanged(_) => self.user_changes += written,
            PortableContent::UnjudgedKey(_) => self.unjudged_keys += written,
            PortableContent::Policy(_) => self.policies += written,
            PortableContent::Use(_) => self.uses += written,
            // Nobody counts these.
            PortableContent::UsageCoverage(_) => {}
        }
    }
}
