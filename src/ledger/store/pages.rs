//! Pages of keys from an index that spreads them over several partitions.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::table::DynamoKeyStore;
use crate::ledger::codec::{self, Attributes, SCHEMA_VERSION, kind};
use crate::ledger::item::{FEW, to_second};
use key_guard_core::Time;
use key_guard_core::lifecycle::effect::{CallError, Retry};
use key_guard_core::lifecycle::state::StoredState;
use key_guard_core::lifecycle::sweep::{KeyCursor, KeyPage};

const CALL: &str = "Query";

/// How many items of 1 to 2 KB a call reads.
const PAGE_SIZE: i32 = 200;

/// Where a page begins.
#[derive(Default, Serialize, Deserialize)]
struct Position {
    shard: u32,
    /// DynamoDB's `LastEvaluatedKey`: all its fields are texts.
    after: Option<BTreeMap<String, String>>,
}

impl Position {
    fn read(cursor: Option<&KeyCursor>) -> Result<Self, CallError> {
        let Some(KeyCursor(text)) = cursor else { return Ok(Self::default()) };
        serde_json::from_str(text).map_err(|error| CallError {
            call: CALL,
            retry: Retry::Permanent,
            source: Box::new(InvalidCursor(error)),
        })
    }

    /// Where the next page begins. `None`: there is none.
    fn next(&self, last: Option<Attributes>) -> Option<KeyCursor> {
        let text = |value: AttributeValue| value.as_s().ok().cloned();
        let after: Option<BTreeMap<_, _>> = last
            .filter(|key| !key.is_empty())
            .map(|key| key.into_iter().filter_map(|(field, value)| Some((field, text(value)?))).collect());
        let shard = if after.is_some() { self.shard } else { self.shard + 1 };
        let next = (shard < FEW).then_some(Self { shard, after })?;
        serde_json::to_string(&next).ok().map(KeyCursor)
    }

    fn start(&self) -> Option<Attributes> {
        let fields = self.after.clone()?.into_iter();
        Some(fields.map(|(field, text)| (field, AttributeValue::S(text))).collect())
    }
}

/// A cursor that this store did not make.
#[derive(Debug, thiserror::Error)]
#[error("the cursor of a page of keys cannot be read")]
struct InvalidCursor(#[source] serde_json::Error);

impl DynamoKeyStore {
    /// A page of keys. `complete` names the shard's partition.
    pub(super) async fn page(
        &self,
        cursor: Option<&KeyCursor>,
        complete: impl FnOnce(QueryFluentBuilder, u32) -> QueryFluentBuilder,
    ) -> Result<KeyPage<StoredState>, CallError> {
        let position = Position::read(cursor)?;
        let query = self.client.query().table_name(&self.table).limit(PAGE_SIZE);
        let query = complete(query.set_exclusive_start_key(position.start()), position.shard);
        let answer = query.send().await.map_err(|error| self.failure(CALL, error).call_error())?;
        let mut page =
            KeyPage { keys: Vec::new(), unreadable: 0, next: position.next(answer.last_evaluated_key) };
        for item in answer.items.unwrap_or_default() {
            let place = item.clone();
            match codec::decode_state(item) {
                Ok(stored) => page.keys.push(stored),
                Err(why) => {
                    page.unreadable += 1;
                    let error = codec::unreadable(&place, why);
                    tracing::warn!(error = %error, "a key is left out");
                }
            }
        }
        Ok(page)
    }
}

pub(super) fn in_partition(
    query: QueryFluentBuilder,
    index: &str,
    field: &str,
    value: String,
) -> QueryFluentBuilder {
    query
        .index_name(index)
        .key_condition_expression(format!("{field} = :partition"))
        .expression_attribute_values(":partition", AttributeValue::S(value))
}

/// Leaves out what a sweep does not need: dry runs, tombstones, and keys that ended before, once somebody was told of
/// that. What cannot be read passes, so that it is counted.
pub(super) fn filter_known(query: QueryFluentBuilder, ended_since: Option<Time>) -> QueryFluentBuilder {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let query = query
        .expression_attribute_values(":dry_run", text(kind::DRY_RUN))
        .expression_attribute_values(":tombstone", text(kind::TOMBSTONE));
    let Some(since) = ended_since else {
        return query.filter_expression("NOT kind IN (:dry_run, :tombstone)");
    };
    // Stored times have fractions of different lengths, so that only whole seconds sort as texts.
    let since = to_second(since - TimeDelta::seconds(1));
    query
        .filter_expression(
            "NOT (kind IN (:dry_run, :tombstone) OR \
             (v = :v AND phase = :gone AND unreported = :false AND changed_at < :since))",
        )
        .expression_attribute_values(":v", AttributeValue::N(SCHEMA_VERSION.to_string()))
        .expression_attribute_values(":gone", text("gone"))
        .expression_attribute_values(":false", AttributeValue::Bool(false))
        .expression_attribute_values(":since", text(&since))
}
