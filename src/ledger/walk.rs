//! What a sweep reads: the states of the keys of a page, and those of an account that are not gone.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeValue, ConsumedCapacity, KeysAndAttributes, Put, ReturnConsumedCapacity, TransactWriteItem,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::item;
use super::{DynamoLedger, LedgerError, stored, unreadable};
use crate::enforce::{Known, Passed};
use crate::ledger::Outcome;
use key_guard_core::key::{AccountId, CONSOLE_USER_PREFIXES, CredentialId, KeyRef, UserName};

/// What `BatchGetItem` takes (DynamoDB API reference).
pub(super) const BATCH: usize = 100;

/// Entries to a call of a walk, of 1 to 2 KB each: DynamoDB reads up to 1 MB.
const AT_ONCE: i32 = 500;

const TRIES_FOR_UNPROCESSED: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Entries of an account that are not gone, page by page, and where to go on.
#[derive(Debug, Default)]
pub struct Walk {
    shard: u32,
    from: Option<HashMap<String, AttributeValue>>,
}

/// A key on the way.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Stub {
    account: AccountId,
    credential_id: CredentialId,
    user: UserName,
}

/// Which entries a walk is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those whose keys are not known to be gone.
    Living,
    /// Those whose keys are gone, and whose users the console made.
    GoneOfConsole,
}

/// What the last sweep of an account came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSweep {
    /// When it began.
    pub began: DateTime<Utc>,
    /// When it ended.
    pub ended: DateTime<Utc>,
    /// How many keys it saw.
    pub keys: u64,
}

impl DynamoLedger {
    /// The states of keys: a call for each hundred, strongly consistent.
    pub(super) async fn states(
        &self,
        keys: &[KeyRef],
    ) -> Result<HashMap<KeyRef, Result<Known, LedgerError>>, LedgerError> {
        let partitions: HashMap<_, _> = keys.iter().map(|key| (item::partition(key), key)).collect();
        let wanted: Vec<_> = partitions.keys().map(|pk| item::place(pk, item::STATE)).collect();
        let mut states = HashMap::new();
        for wanted in wanted.chunks(BATCH) {
            for attributes in self.batch_get(wanted.to_vec(), true, |_| {}).await? {
                let Some(AttributeValue::S(pk)) = attributes.get("pk") else { continue };
                let pk = pk.clone();
                if let Some(key) = partitions.get(&pk) {
                    states.insert((*key).clone(), stored(&pk, attributes));
                }
            }
        }
        Ok(states)
    }

    /// Up to a hundred items, in one call and as many more as DynamoDB asks for; what each has cost is told.
    pub(super) async fn batch_get(
        &self,
        keys: Vec<HashMap<String, AttributeValue>>,
        consistent: bool,
        mut costs: impl FnMut(&[ConsumedCapacity]),
    ) -> Result<Vec<HashMap<String, AttributeValue>>, LedgerError> {
        let (mut items, mut wanted, mut tries) = (Vec::new(), Some(keys), 0);
        let mut pause = FIRST_PAUSE;
        while let Some(keys) = wanted.take().filter(|keys| !keys.is_empty()) {
            let keys = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(consistent).build();
            let answer = self
                .client
                .batch_get_item()
                .request_items(&self.table, self.built(keys)?)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await
                .map_err(|error| self.failed("BatchGetItem", error))?;
            costs(answer.consumed_capacity());
            items.extend(answer.responses.unwrap_or_default().into_values().flatten());
            wanted =
                answer.unprocessed_keys.and_then(|mut left| left.remove(&self.table)).map(|left| left.keys);
            if wanted.as_ref().is_some_and(|left| !left.is_empty()) {
                tries += 1;
                if tries == TRIES_FOR_UNPROCESSED {
                    return Err(LedgerError::Busy {
                        pk: "of this answer".to_owned(),
                        code: "UnprocessedKeys".to_owned(),
                    });
                }
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        Ok(items)
    }

    /// The next keys of an account, with their users: one call. `None`: that was all.
    pub(super) async fn entries(
        &self,
        account: &AccountId,
        which: Which,
        walk: &mut Walk,
    ) -> Result<Option<Passed>, LedgerError> {
        if walk.shard >= item::FEW {
            return Ok(None);
        }
        let gone = [Outcome::AlreadyGone, Outcome::Gone, Outcome::Deleted].map(Outcome::rank);
        let mut call = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("by_account")
            .key_condition_expression("account_key = :account")
            .expression_attribute_values(
                ":account",
                AttributeValue::S(item::account_key(account, walk.shard)),
            )
            .filter_expression(match which {
                Which::Living => "NOT outcome_rank IN (:a, :b, :c)",
                Which::GoneOfConsole => {
                    "outcome_rank IN (:a, :b, :c) AND (begins_with(#user, :bedrock) OR begins_with(#user, :aea))"
                }
            })
            // Most of them are only passed by. About as many as DynamoDB would read in one call.
            .limit(AT_ONCE)
            .projection_expression("pk, account, credential_id, #user")
            .expression_attribute_names("#user", "user")
            .set_exclusive_start_key(walk.from.take());
        for (name, rank) in [":a", ":b", ":c"].into_iter().zip(gone) {
            call = call.expression_attribute_values(name, AttributeValue::N(rank.to_string()));
        }
        if which == Which::GoneOfConsole {
            for (name, prefix) in [":bedrock", ":aea"].into_iter().zip(CONSOLE_USER_PREFIXES) {
                call = call.expression_attribute_values(name, AttributeValue::S(prefix.to_owned()));
            }
        }
        let answer = call.send().await.map_err(|error| self.failed("Query", error))?;
        walk.from = answer.last_evaluated_key.filter(|key| !key.is_empty());
        if walk.from.is_none() {
            walk.shard += 1;
        }
        let read = |attributes: HashMap<String, AttributeValue>| {
            let pk = match attributes.get("pk") {
                Some(AttributeValue::S(pk)) => pk.clone(),
                _ => String::new(),
            };
            let passed: Stub =
                serde_dynamo::from_item(attributes).map_err(|error| unreadable(&pk, error.to_string()))?;
            Ok((KeyRef { account: passed.account, id: passed.credential_id }, passed.user))
        };
        Ok(Some(answer.items.unwrap_or_default().into_iter().map(read).collect()))
    }

    /// What the last sweep of an account came to, where there was one.
    pub(super) async fn swept_before(&self, account: &AccountId) -> Result<Option<LastSweep>, LedgerError> {
        let key = item::place(&sweep_key(account), "LAST");
        let found = self.batch_get(vec![key], false, |_| {}).await?.into_iter().next();
        // What another version wrote is no reason not to sweep.
        Ok(found.and_then(|attributes| serde_dynamo::from_item(attributes).ok()))
    }

    /// Writes down what a sweep of an account came to.
    pub(super) async fn write_sweep(
        &self,
        account: &AccountId,
        sweep: &LastSweep,
    ) -> Result<(), LedgerError> {
        let mut item: HashMap<String, AttributeValue> =
            serde_dynamo::to_item(sweep).map_err(|error| self.not_built(error))?;
        item.insert("pk".to_owned(), AttributeValue::S(sweep_key(account)));
        item.insert("sk".to_owned(), AttributeValue::S("LAST".to_owned()));
        let put = self.built(Put::builder().table_name(&self.table).set_item(Some(item)).build())?;
        let put = TransactWriteItem::builder().put(put).build();
        let call = self.client.transact_write_items().transact_items(put);
        call.send().await.map(drop).map_err(|error| self.failed("TransactWriteItems", error))
    }
}

fn sweep_key(account: &AccountId) -> String {
    format!("SWEEP#{account}")
}
