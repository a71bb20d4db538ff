//! Writes: each group as a whole or not at all, many groups to a transaction.

use std::collections::VecDeque;

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};

use super::DynamoTable;
use super::failure::{is_invalid_request, passes};
use super::item::{VERSION, of_attributes, primary_key, to_attributes};
use crate::ledger::codec::SCHEMA_VERSION;
use crate::ledger::error::LedgerError;
use crate::ledger::port::{Condition, Item, ItemKey, MAX_WRITES, TableError, Write, Written};
use key_guard_core::lifecycle::effect::Retry;

const CALL: &str = "TransactWriteItems";

const CONDITION_FAILED: &str = "ConditionalCheckFailed";

/// What happens as a whole or not at all.
struct Group {
    /// The partition key of its first item.
    pk: String,
    items: Vec<TransactWriteItem>,
    /// True if it has a counter.
    is_counted: bool,
}

/// A write that could not be made. Only a defect does that.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Encode(#[from] serde_dynamo::Error),
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl Group {
    fn new(table: &str, writes: Vec<Write>) -> Result<Self, WriteError> {
        let is_counted = writes.iter().any(|write| matches!(write, Write::Count { .. }));
        let key = writes.first().map(|write| match write {
            Write::Put(item, _) => &item.key,
            Write::Count { key, .. } => key,
        });
        let pk = key.map(|key| key.pk.clone()).unwrap_or_default();
        let item = |write| match write {
            Write::Put(item, condition) => put(table, item, condition),
            Write::Count { key, limit } => Ok(count(table, &key, limit)?),
        };
        Ok(Self { pk, items: writes.into_iter().map(item).collect::<Result<_, _>>()?, is_counted })
    }

    /// What became of this in a cancelled transaction. `None`: nothing, as something else in it could not happen.
    ///
    /// A condition of its first item goes before everything else. Others go last: while DynamoDB is busy, they say
    /// nothing.
    fn refusal(&self, reasons: &[CancellationReason], table: &str) -> Option<Result<Written, TableError>> {
        let mut failed = reasons.iter().enumerate().filter(|(_, reason)| is_condition(reason));
        let first = failed.next();
        let refused = |(which, reason): (usize, &CancellationReason)| {
            let stored = reason.item().filter(|item| !item.is_empty()).cloned().map(of_attributes);
            Ok(Written::Refused { which, stored })
        };
        if let Some((0, _)) = first {
            return first.map(refused);
        }
        let is_other = |reason: &&CancellationReason| {
            !is_condition(reason) && !matches!(reason.code(), None | Some("None"))
        };
        let mut others: Vec<_> = reasons.iter().filter(is_other).collect();
        others.sort_by_key(|reason| reason.code().is_some_and(passes));
        match others.first() {
            Some(reason) => Some(Err(self.failed(reason, table))),
            None => first.map(refused),
        }
    }

    fn failed(&self, reason: &CancellationReason, table: &str) -> TableError {
        let code = reason.code().unwrap_or_default().to_owned();
        if passes(&code) {
            let error = LedgerError::Busy { pk: self.pk.clone(), code };
            return TableError { call: CALL, retry: Retry::Transient, error };
        }
        let message = reason.message().unwrap_or("no message").to_owned();
        TableError::permanent(
            CALL,
            if code == "ValidationError" && message.contains("key") {
                LedgerError::Schema { table: table.to_owned(), message }
            } else {
                LedgerError::call(CALL, table, Some(code), message)
            },
        )
    }
}

fn is_condition(reason: &CancellationReason) -> bool {
    reason.code() == Some(CONDITION_FAILED)
}

fn put(table: &str, item: Item, condition: Condition) -> Result<TransactWriteItem, WriteError> {
    let put = Put::builder()
        .table_name(table)
        .set_item(Some(to_attributes(item)?))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    let put = match condition {
        Condition::None => put,
        Condition::Absent => put.condition_expression("attribute_not_exists(pk)"),
        Condition::Version(version) => put
            .condition_expression(format!("{VERSION} = :version"))
            .expression_attribute_values(":version", AttributeValue::N(version.to_string())),
    };
    Ok(TransactWriteItem::builder().put(put.build()?).build())
}

/// One more, unless the limit is reached.
fn count(table: &str, key: &ItemKey, limit: u32) -> Result<TransactWriteItem, BuildError> {
    // The first one finds no counter, and may be one too many.
    let condition = if limit == 0 {
        "deletions < :limit"
    } else {
        "attribute_not_exists(deletions) OR deletions < :limit"
    };
    let update = Update::builder()
        .table_name(table)
        .set_key(Some(primary_key(key)))
        .update_expression("SET v = :v ADD deletions :one")
        .condition_expression(condition)
        .expression_attribute_values(":v", AttributeValue::N(SCHEMA_VERSION.to_string()))
        .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
        .expression_attribute_values(":limit", AttributeValue::N(limit.to_string()));
    Ok(TransactWriteItem::builder().update(update.build()?).build())
}

/// Groups that go into one call, each with its place among all.
type Batch = Vec<(usize, Group)>;

/// What became of a group, with the same place.
type Reply = (usize, Result<Written, TableError>);

impl DynamoTable {
    pub(in crate::ledger) async fn write(&self, groups: Vec<Vec<Write>>) -> Vec<Result<Written, TableError>> {
        let mut replies: Vec<Reply> = Vec::with_capacity(groups.len());
        let mut ready = Vec::new();
        for (index, writes) in groups.into_iter().enumerate() {
            match Group::new(&self.table, writes) {
                Ok(group) => ready.push((index, group)),
                Err(error) => replies.push((index, Err(self.not_built(CALL, error)))),
            }
        }
        let mut batches = batches(ready);
        while let Some(batch) = batches.pop_front() {
            let left = self.write_batch(batch, &mut replies).await;
            batches.extend(left.into_iter().filter(|batch| !batch.is_empty()));
        }
        replies.sort_by_key(|(index, _)| *index);
        replies.into_iter().map(|(_, reply)| reply).collect()
    }

    /// Sends one transaction. Returns what is left to do, in one or more further ones.
    async fn write_batch(&self, mut batch: Batch, replies: &mut Vec<Reply>) -> Vec<Batch> {
        let items = batch.iter().flat_map(|(_, group)| group.items.clone()).collect();
        let Err(error) = self.client.transact_write_items().set_transact_items(Some(items)).send().await
        else {
            replies.extend(batch.into_iter().map(|(index, _)| (index, Ok(Written::Done))));
            return Vec::new();
        };
        if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        {
            let (refused, left) = self.read_cancelled(batch, cancelled.cancellation_reasons());
            if !refused.is_empty() {
                replies.extend(refused);
                return vec![left];
            }
            batch = left;
        }
        if is_invalid_request(&error) && batch.len() > 1 {
            // One of them is invalid, such as a too large item. The others must not suffer.
            let second = batch.split_off(batch.len() / 2);
            return vec![batch, second];
        }
        let error = self.failed(CALL, error);
        replies.extend(batch.into_iter().map(|(index, _)| (index, Err(error.clone()))));
        Vec::new()
    }

    /// Reads a cancelled transaction: the groups that it was cancelled for, and those that can be tried again.
    fn read_cancelled(&self, batch: Batch, mut reasons: &[CancellationReason]) -> (Vec<Reply>, Batch) {
        let (mut refused, mut left) = (Vec::new(), Vec::new());
        for (index, group) in batch {
            let (own, others) = reasons.split_at(group.items.len().min(reasons.len()));
            reasons = others;
            match group.refusal(own, &self.table) {
                Some(reply) => refused.push((index, reply)),
                None => left.push((index, group)),
            }
        }
        (refused, left)
    }
}

/// Puts as many groups into one transaction as it takes. A group that counts has one of its own: all of an account count
/// at the same place.
fn batches(groups: Batch) -> VecDeque<Batch> {
    let (mut batches, mut open, mut items) = (VecDeque::new(), Batch::new(), 0);
    for (index, group) in groups {
        if group.is_counted {
            batches.push_back(vec![(index, group)]);
            continue;
        }
        if items + group.items.len() > MAX_WRITES {
            batches.push_back(std::mem::take(&mut open));
            items = 0;
        }
        items += group.items.len();
        open.push((index, group));
    }
    if !open.is_empty() {
        batches.push_back(open);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: &str = "TransactionConflict";

    /// What becomes of a group with a counter, by the codes of its state, its line and its counter.
    fn reply(codes: [&str; 3]) -> String {
        let pk = "KEY#111122223333#ACCAEXAMPLE1234567890".to_owned();
        let group = Group { pk, items: Vec::new(), is_counted: true };
        match group.refusal(&codes.map(|code| CancellationReason::builder().code(code).build()), "table") {
            None => "left".to_owned(),
            Some(Ok(Written::Refused { which, .. })) => format!("refused for {which}"),
            Some(Ok(Written::Done)) => "done".to_owned(),
            Some(Err(error)) => format!("{:?}: {}", error.retry, error.error),
        }
    }

    #[test]
    fn the_condition_of_the_state_goes_before_everything_else() {
        for codes in [["", "None", "None"], ["", "None", ""], ["", BUSY, BUSY]] {
            let codes = codes.map(|code| if code.is_empty() { CONDITION_FAILED } else { code });
            assert_eq!(reply(codes), "refused for 0", "{codes:?}");
        }
    }

    #[test]
    fn the_counter_is_the_reason_only_where_nothing_else_is() {
        assert_eq!(reply(["None", "None", CONDITION_FAILED]), "refused for 2");
        let busy = "Transient: the ledger item KEY#111122223333#ACCAEXAMPLE1234567890 was busy with other deliveries \
                    (TransactionConflict)";
        for codes in
            [[BUSY, "None", CONDITION_FAILED], ["None", BUSY, CONDITION_FAILED], ["None", "None", BUSY]]
        {
            assert_eq!(reply(codes), busy, "{codes:?}");
        }
        let invalid = "Permanent: TransactWriteItems on table table failed with ValidationError";
        assert_eq!(reply(["None", "ValidationError", BUSY]), invalid);
        assert_eq!(reply(["None", "None", "None"]), "left");
    }
}
