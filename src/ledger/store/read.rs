//! Reads of items by their primary keys.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::KeysAndAttributes;

use super::failure::call_error;
use super::table::DynamoKeyStore;
use crate::ledger::codec::{self, Attributes};
use crate::ledger::error::LedgerError;
use key_guard_core::key::KeyRef;
use key_guard_core::lifecycle::effect::{CallError, Retry};

const CALL: &str = "BatchGetItem";

/// What a call takes (DynamoDB API reference, `BatchGetItem`).
const MAX_KEYS: usize = 100;

/// How often a call is repeated for the keys that DynamoDB has not processed.
const MAX_REPEATS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

type Found = HashMap<String, Result<Attributes, CallError>>;

impl DynamoKeyStore {
    /// One item of each of these keys, strongly consistent: a result for each, in their order.
    pub(super) async fn get(&self, keys: &[KeyRef], sk: &str) -> Vec<Result<Option<Attributes>, CallError>> {
        let mut results = Vec::with_capacity(keys.len());
        for keys in keys.chunks(MAX_KEYS) {
            let places: Vec<_> = keys.iter().map(|key| codec::place(key, sk)).collect();
            let partitions: Vec<_> = places.iter().map(partition_of).collect();
            let mut found = self.get_batch(places).await;
            results.extend(partitions.iter().map(|pk| found.remove(pk).transpose()));
        }
        results
    }

    /// One item, strongly consistent.
    pub(super) async fn get_item(&self, place: Attributes) -> Result<Option<Attributes>, CallError> {
        let pk = partition_of(&place);
        self.get_batch(vec![place]).await.remove(&pk).transpose()
    }

    /// Up to a hundred items of different partitions, by partition key. What is missing does not exist.
    async fn get_batch(&self, places: Vec<Attributes>) -> Found {
        let (mut found, mut wanted, mut pause) = (Found::new(), places, FIRST_PAUSE);
        for repeats in 0..=MAX_REPEATS {
            if repeats > 0 {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            let keys =
                KeysAndAttributes::builder().set_keys(Some(wanted.clone())).consistent_read(true).build();
            let keys = match keys {
                Ok(keys) => keys,
                Err(error) => {
                    let error = Arc::new(error);
                    found.extend(all_failed(&wanted, |_| {
                        call_error(CALL, Retry::Permanent, self.not_built(Arc::clone(&error)))
                    }));
                    return found;
                }
            };
            let answer = match self.client.batch_get_item().request_items(&self.table, keys).send().await {
                Ok(answer) => answer,
                Err(error) => {
                    let failure = self.failure(CALL, error);
                    found.extend(all_failed(&wanted, |_| failure.call_error()));
                    return found;
                }
            };
            let items = answer.responses.unwrap_or_default().into_values().flatten();
            found.extend(items.map(|item| (partition_of(&item), Ok(item))));
            let unprocessed = answer.unprocessed_keys.and_then(|mut left| left.remove(&self.table));
            wanted = unprocessed.map(|left| left.keys).unwrap_or_default();
            if wanted.is_empty() {
                return found;
            }
        }
        found.extend(all_failed(&wanted, |pk| {
            let error = LedgerError::Busy { pk: pk.to_owned(), code: "UnprocessedKeys".to_owned() };
            call_error(CALL, Retry::Transient, error)
        }));
        found
    }
}

fn all_failed(places: &[Attributes], error: impl Fn(&str) -> CallError) -> Found {
    let partitions: HashSet<_> = places.iter().map(partition_of).collect();
    partitions.into_iter().map(|pk| (pk.clone(), Err(error(&pk)))).collect()
}

fn partition_of(item: &Attributes) -> String {
    codec::text(item, "pk").unwrap_or_default().to_owned()
}
