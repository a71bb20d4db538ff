//! Reads of items by their primary keys.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::types::{KeysAndAttributes, ReturnConsumedCapacity};

use super::item::{key_of, of_attributes, primary_key};
use super::{DynamoTable, cost_of};
use crate::ledger::cost::Cost;
use crate::ledger::error::LedgerError;
use crate::ledger::port::{Item, ItemKey, TableError};
use key_guard_core::lifecycle::effect::Retry;

const CALL: &str = "BatchGetItem";

/// What a call takes (DynamoDB API reference, `BatchGetItem`).
const MAX_KEYS: usize = 100;

/// How often a call is repeated for the keys that DynamoDB has not processed.
const MAX_REPEATS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

type Found = HashMap<ItemKey, Result<Item, TableError>>;

impl DynamoTable {
    pub(in crate::ledger) async fn get(
        &self,
        keys: &[ItemKey],
        cost: &mut Cost,
    ) -> Vec<Result<Option<Item>, TableError>> {
        let mut results = Vec::with_capacity(keys.len());
        for keys in keys.chunks(MAX_KEYS) {
            let mut found = self.get_batch(keys, cost).await;
            results.extend(keys.iter().map(|key| found.remove(key).transpose()));
        }
        results
    }

    /// Up to a hundred items. What is missing does not exist.
    async fn get_batch(&self, keys: &[ItemKey], cost: &mut Cost) -> Found {
        let (mut found, mut wanted, mut pause) = (Found::new(), keys.to_vec(), FIRST_PAUSE);
        for repeats in 0..=MAX_REPEATS {
            if repeats > 0 {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            let places = wanted.iter().map(primary_key).collect();
            let request = KeysAndAttributes::builder().set_keys(Some(places)).consistent_read(true).build();
            let request = match request {
                Ok(request) => request,
                Err(error) => {
                    let error = self.not_built(CALL, error);
                    found.extend(wanted.into_iter().map(|key| (key, Err(error.clone()))));
                    return found;
                }
            };
            let call = self.client.batch_get_item().request_items(&self.table, request);
            let answer = match call.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await {
                Ok(answer) => answer,
                Err(error) => {
                    let error = self.failed(CALL, error);
                    found.extend(wanted.into_iter().map(|key| (key, Err(error.clone()))));
                    return found;
                }
            };
            *cost += cost_of(answer.consumed_capacity());
            let items = answer.responses.unwrap_or_default().into_values().flatten().map(of_attributes);
            found.extend(items.map(|item| (item.key.clone(), Ok(item))));
            let unprocessed = answer.unprocessed_keys.and_then(|mut left| left.remove(&self.table));
            wanted = unprocessed.map(|left| left.keys.iter().map(key_of).collect()).unwrap_or_default();
            if wanted.is_empty() {
                return found;
            }
        }
        found.extend(wanted.into_iter().map(|key| {
            let error = LedgerError::Busy { pk: key.pk.clone(), code: "UnprocessedKeys".to_owned() };
            (key, Err(TableError { call: CALL, retry: Retry::Transient, error }))
        }));
        found
    }
}
