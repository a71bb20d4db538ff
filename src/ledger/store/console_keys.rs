//! Users with a key that was created in a console session.

use crate::ledger::codec;
use crate::ledger::cost::Cost;
use crate::ledger::item;
use crate::ledger::port::{BY_USER, IndexQuery, Item, ItemKey};
use crate::ledger::store::{Ledger, decoded};
use key_guard_core::cloudtrail::Provenance;
use key_guard_core::key::{AccountId, UserName};
use key_guard_core::lifecycle::effect::CallError;

/// A user has two keys for each service at most, and may have had others.
const PAGE_SIZE: usize = 100;

impl Ledger {
    /// True if a dry run, or what the guard knows, says that a key of this user was created in a console session.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    #[cfg(feature = "cli")]
    pub async fn has_console_key_in_dry_run(
        &self,
        account: &AccountId,
        user: &UserName,
    ) -> Result<bool, CallError> {
        self.has_console_key_in(account, user, &[codec::STATE, codec::DRY_RUN]).await
    }

    /// `parts`: what of each key is read. Costs two queries, and reads of the user's keys if there are any: those that were
    /// judged, and those that were not.
    pub(super) async fn has_console_key_in(
        &self,
        account: &AccountId,
        user: &UserName,
        parts: &[&str],
    ) -> Result<bool, CallError> {
        let user = item::index_user(user);
        let unjudged = format!("{}{user}", codec::ATTEMPT);
        Ok(self.has_console_key_at(account, user, parts).await?
            || self.has_console_key_at(account, unjudged, &[codec::UNJUDGED]).await?)
    }

    async fn has_console_key_at(
        &self,
        account: &AccountId,
        partition: String,
        parts: &[&str],
    ) -> Result<bool, CallError> {
        let query =
            IndexQuery { index: BY_USER, partition, range: None, newest_first: true, limit: PAGE_SIZE };
        let mut start = None;
        loop {
            let page = self.table.query_index(&query, start.as_ref()).await?;
            let keys = page.entries.iter().filter_map(|entry| codec::key_of(&entry.key).ok());
            let keys = keys.map(|(key, _)| key).filter(|key| key.account == *account);
            let mut places: Vec<_> =
                keys.flat_map(|key| parts.iter().map(move |part| codec::place(&key, part))).collect();
            // A key is found by its state, its dry run and former names.
            places.sort();
            places.dedup();
            if self.is_any_of_console(&places).await? {
                return Ok(true);
            }
            start = page.next;
            if start.is_none() {
                return Ok(false);
            }
        }
    }

    async fn is_any_of_console(&self, places: &[ItemKey]) -> Result<bool, CallError> {
        if places.is_empty() {
            return Ok(false);
        }
        for item in self.table.get(places, &mut Cost::default()).await {
            if item?.map(creation_of).transpose()?.flatten().is_some_and(|creation| creation.actor.console) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Who created the key of a state, of a dry run, or that nobody judged, if that is known.
fn creation_of(item: Item) -> Result<Option<Provenance>, CallError> {
    if item.key.sk.ends_with(codec::UNJUDGED) {
        return decoded(item, codec::decode_unjudged_key).map(|unjudged| Some(unjudged.provenance));
    }
    if item.key.sk.ends_with(codec::DRY_RUN) {
        let dry_run = decoded(item, codec::decode_dry_run)?;
        return Ok(dry_run.assessed().and_then(|dry_run| dry_run.creation.clone()));
    }
    let stored = decoded(item, codec::decode_state)?;
    Ok(stored.state.record().and_then(|record| record.creation.clone()))
}
