//! Writes: each as a whole or not at all, many to a transaction.

use std::collections::VecDeque;

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};

use super::failure::{call_error, passes};
use super::table::{DynamoKeyStore, decoded};
use crate::ledger::codec::{self, Attributes, EncodeError, SCHEMA_VERSION};
use crate::ledger::error::LedgerError;
use crate::ledger::item;
use key_guard_core::lifecycle::effect::{CallError, Commit, DeletionBudget, Retry};
use key_guard_core::lifecycle::state::{StoredState, Version};
use key_guard_core::ports::CommitReply;

const CALL: &str = "TransactWriteItems";

/// What a transaction takes (DynamoDB API reference, `TransactWriteItems`). A user with more former names than fit beside
/// a state is found by those that do. The record has them all.
const MAX_ITEMS: usize = 100;

/// The version of a key that nothing was stored of.
const FIRST: Version = Version(1);

const CONDITION_FAILED: &str = "ConditionalCheckFailed";

/// What happens as a whole or not at all.
pub(super) struct Write {
    /// The partition key of its first item.
    pk: String,
    /// A state comes first, and a counter last.
    items: Vec<TransactWriteItem>,
    /// The version of its state, once it has happened.
    version: Version,
    /// True if it has a counter.
    is_counted: bool,
}

/// A [`Write`] that could not be made. Only a defect does that.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error(transparent)]
    Build(#[from] BuildError),
}

impl Write {
    /// The next state if the expected one is stored, its line of history, the former names of the key's user, and the
    /// deletion that it starts.
    pub(super) fn of_commit(table: &str, commit: &Commit) -> Result<Self, WriteError> {
        let Commit { key, expected, next, log, counts } = commit;
        let version = Version(expected.0.saturating_add(1));
        let put = Put::builder()
            .table_name(table)
            .set_item(Some(codec::encode_state(key, version, next)?))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = if *expected == Version::ABSENT {
            put.condition_expression("attribute_not_exists(pk)")
        } else {
            put.condition_expression("version = :version")
                .expression_attribute_values(":version", AttributeValue::N(expected.0.to_string()))
        };
        let mut others = vec![codec::encode_log(log)?];
        if let Some(record) = next.record() {
            others.extend(codec::encode_former_names(&record.facts, record.creation.as_ref()));
            others.truncate(MAX_ITEMS - 2);
        }
        let mut items = vec![TransactWriteItem::builder().put(put.build()?).build()];
        items.extend(puts(table, others)?);
        if let Some(budget) = counts {
            items.push(count(table, budget)?);
        }
        let pk = item::partition(key);
        Ok(Self { pk, items, version, is_counted: counts.is_some() })
    }

    /// Items that need no condition.
    pub(super) fn unconditional(table: &str, mut items: Vec<Attributes>) -> Result<Self, BuildError> {
        items.truncate(MAX_ITEMS);
        let pk = items.first().and_then(|item| codec::text(item, "pk")).unwrap_or_default().to_owned();
        Ok(Self { pk, items: puts(table, items)?, version: Version::ABSENT, is_counted: false })
    }

    /// What became of this in a cancelled transaction. `None`: nothing, as something else in it could not happen.
    ///
    /// A conflict goes before everything else. A spent budget goes last: while DynamoDB is busy, it says nothing.
    fn refusal(&self, reasons: &[Option<Reason>], table: &str) -> Option<Result<CommitReply, CallError>> {
        if let Some(Some(Reason::Condition(item))) = reasons.first() {
            let stored = match item {
                None if self.version > FIRST => Ok(StoredState::ABSENT),
                // Without the item that is in the way, decoding fails.
                None => decoded(item::place(&self.pk, codec::STATE), codec::decode_state),
                Some(item) => decoded(item.clone(), codec::decode_state),
            };
            return Some(stored.map(CommitReply::Conflict));
        }
        let is_spent = self.is_counted && matches!(reasons.last(), Some(Some(Reason::Condition(_))));
        let mut busy = None;
        for reason in reasons.iter().flatten() {
            match reason {
                Reason::Condition(_) => {}
                Reason::Busy(code) => busy = busy.or(Some(code)),
                Reason::Invalid { code, message } => return Some(Err(invalid(table, code, message))),
            }
        }
        match busy {
            Some(code) => {
                let error = LedgerError::Busy { pk: self.pk.clone(), code: code.clone() };
                Some(Err(call_error(CALL, Retry::Transient, error)))
            }
            None => is_spent.then_some(Ok(CommitReply::RateLimited)),
        }
    }
}

/// Why a part of a transaction did not happen.
pub(in crate::ledger) enum Reason {
    /// Its condition failed: this is stored.
    Condition(Option<Attributes>),
    /// Others were writing to it, or DynamoDB had no time. That passes by itself.
    Busy(String),
    /// DynamoDB does not take it.
    Invalid {
        /// DynamoDB's name for it.
        code: String,
        /// DynamoDB's words.
        message: String,
    },
}

impl Reason {
    /// The reasons of a cancelled transaction, for each of its parts in their order. `None` for a part that could have
    /// happened, and for a transaction that failed otherwise.
    pub(in crate::ledger) fn of(error: &TransactWriteItemsError) -> Option<Vec<Option<Self>>> {
        let TransactWriteItemsError::TransactionCanceledException(cancelled) = error else { return None };
        Some(cancelled.cancellation_reasons().iter().map(Self::of_part).collect())
    }

    fn of_part(reason: &CancellationReason) -> Option<Self> {
        match reason.code()? {
            "None" => None,
            CONDITION_FAILED => Some(Self::Condition(reason.item().filter(|item| !item.is_empty()).cloned())),
            code if passes(code) => Some(Self::Busy(code.to_owned())),
            code => {
                let message = reason.message().unwrap_or("no message").to_owned();
                Some(Self::Invalid { code: code.to_owned(), message })
            }
        }
    }
}

fn invalid(table: &str, code: &str, message: &str) -> CallError {
    let (table, message) = (table.to_owned(), message.to_owned());
    let error = if code == "ValidationError" && message.contains("key") {
        LedgerError::Schema { table, message }
    } else {
        LedgerError::Call { operation: CALL, table, code: Some(code.to_owned()), source: message.into() }
    };
    call_error(CALL, Retry::Permanent, error)
}

fn puts(table: &str, items: Vec<Attributes>) -> Result<Vec<TransactWriteItem>, BuildError> {
    let put = |item| Put::builder().table_name(table).set_item(Some(item)).build();
    items.into_iter().map(|item| Ok(TransactWriteItem::builder().put(put(item)?).build())).collect()
}

/// One more deletion, unless the budget is spent (R11).
fn count(table: &str, budget: &DeletionBudget) -> Result<TransactWriteItem, BuildError> {
    // The first deletion of an hour finds no counter, and may be one too many.
    let condition = if budget.limit == 0 {
        "deletions < :limit"
    } else {
        "attribute_not_exists(deletions) OR deletions < :limit"
    };
    let update = Update::builder()
        .table_name(table)
        .set_key(Some(codec::budget_place(budget)))
        .update_expression("SET v = :v ADD deletions :one")
        .condition_expression(condition)
        .expression_attribute_values(":v", AttributeValue::N(SCHEMA_VERSION.to_string()))
        .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
        .expression_attribute_values(":limit", AttributeValue::N(budget.limit.to_string()));
    Ok(TransactWriteItem::builder().update(update.build()?).build())
}

/// Writes that go into one call, each with its place among all.
type Batch = Vec<(usize, Write)>;

/// What became of a write, with the same place.
type Reply = (usize, Result<CommitReply, CallError>);

impl DynamoKeyStore {
    /// Performs these writes: a result for each, in their order.
    pub(super) async fn perform(
        &self,
        writes: Vec<Result<Write, LedgerError>>,
    ) -> Vec<Result<CommitReply, CallError>> {
        let mut replies: Vec<Reply> = Vec::with_capacity(writes.len());
        let mut ready = Vec::new();
        for (index, write) in writes.into_iter().enumerate() {
            match write {
                Ok(write) => ready.push((index, write)),
                Err(error) => replies.push((index, Err(call_error(CALL, Retry::Permanent, error)))),
            }
        }
        let mut batches = batches(ready);
        while let Some(batch) = batches.pop_front() {
            let left = self.perform_batch(batch, &mut replies).await;
            batches.extend(left.into_iter().filter(|batch| !batch.is_empty()));
        }
        replies.sort_by_key(|(index, _)| *index);
        replies.into_iter().map(|(_, reply)| reply).collect()
    }

    /// Sends one transaction. Returns what is left to do, in one or more further ones.
    async fn perform_batch(&self, mut batch: Batch, replies: &mut Vec<Reply>) -> Vec<Batch> {
        let items = batch.iter().flat_map(|(_, write)| write.items.clone()).collect();
        let Err(error) = self.client.transact_write_items().set_transact_items(Some(items)).send().await
        else {
            replies.extend(
                batch.into_iter().map(|(index, write)| (index, Ok(CommitReply::Committed(write.version)))),
            );
            return Vec::new();
        };
        if let Some(reasons) = error.as_service_error().and_then(Reason::of) {
            let (refused, left) = self.read_cancelled(batch, &reasons);
            if !refused.is_empty() {
                replies.extend(refused);
                return vec![left];
            }
            batch = left;
        }
        let failure = self.failure(CALL, error);
        if failure.is_invalid_request() && batch.len() > 1 {
            // One of them is invalid, such as a too large item. The others must not suffer.
            let second = batch.split_off(batch.len() / 2);
            return vec![batch, second];
        }
        replies.extend(batch.into_iter().map(|(index, _)| (index, Err(failure.call_error()))));
        Vec::new()
    }

    /// Reads a cancelled transaction: the writes that it was cancelled for, and those that can be tried again.
    fn read_cancelled(&self, batch: Batch, mut reasons: &[Option<Reason>]) -> (Vec<Reply>, Batch) {
        let (mut refused, mut left) = (Vec::new(), Vec::new());
        for (index, write) in batch {
            let (own, others) = reasons.split_at(write.items.len().min(reasons.len()));
            reasons = others;
            match write.refusal(own, &self.table) {
                Some(reply) => refused.push((index, reply)),
                None => left.push((index, write)),
            }
        }
        (refused, left)
    }
}

/// Puts as many writes into one transaction as it takes. A write that counts has one of its own: all of an account count
/// at the same place.
fn batches(writes: Batch) -> VecDeque<Batch> {
    let (mut batches, mut open, mut items) = (VecDeque::new(), Batch::new(), 0);
    for (index, write) in writes {
        if write.is_counted {
            batches.push_back(vec![(index, write)]);
            continue;
        }
        if items + write.items.len() > MAX_ITEMS {
            batches.push_back(std::mem::take(&mut open));
            items = 0;
        }
        items += write.items.len();
        open.push((index, write));
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

    /// What becomes of a commit that counts a deletion, by the codes of its state, its line and its counter.
    fn reply(codes: [&str; 3], stored: Option<Attributes>) -> String {
        let pk = "KEY#111122223333#ACCAEXAMPLE1234567890".to_owned();
        let write = Write { pk, items: Vec::new(), version: Version(1), is_counted: true };
        let mut reasons = codes.map(|code| CancellationReason::builder().code(code).build());
        reasons[0].item = stored;
        let reasons = reasons.each_ref().map(Reason::of_part);
        match write.refusal(&reasons, "table") {
            None => "left".to_owned(),
            Some(Ok(CommitReply::Conflict(stored))) => format!("conflict with version {}", stored.version.0),
            Some(Ok(other)) => format!("{other:?}"),
            Some(Err(error)) => format!("{:?}: {}", error.retry, error.source),
        }
    }

    #[test]
    fn a_conflict_goes_before_the_budget_and_contention() {
        let stored = || {
            let number = |number: &str| AttributeValue::N(number.to_owned());
            let mut item = item::place("KEY#111122223333#ACCAEXAMPLE1234567890", codec::STATE);
            item.insert("v".to_owned(), number("4"));
            item.insert("version".to_owned(), number("7"));
            item.insert("kind".to_owned(), AttributeValue::S("unconfirmed".to_owned()));
            for (field, text) in [("account", "111122223333"), ("credential_id", "ACCAEXAMPLE1234567890")] {
                item.insert(field.to_owned(), AttributeValue::S(text.to_owned()));
            }
            let observation = [("asked_at", "2026-03-01T12:00:00Z"), ("seen", "absent")];
            let observation =
                observation.map(|(field, text)| (field.to_owned(), AttributeValue::S(text.to_owned())));
            item.insert("observation".to_owned(), AttributeValue::M(observation.into()));
            Some(item)
        };
        for codes in [["", "None", "None"], ["", "None", ""], ["", BUSY, BUSY]] {
            let codes = codes.map(|code| if code.is_empty() { CONDITION_FAILED } else { code });
            assert_eq!(reply(codes, stored()), "conflict with version 7", "{codes:?}");
        }
        // It is not known what is in the way.
        assert!(reply([CONDITION_FAILED, "None", "None"], None).contains("cannot be read"));
    }

    #[test]
    fn a_budget_is_spent_only_where_nothing_else_is_the_reason() {
        assert_eq!(reply(["None", "None", CONDITION_FAILED], None), "RateLimited");
        let busy = "Transient: the ledger item KEY#111122223333#ACCAEXAMPLE1234567890 was busy with other deliveries \
                    (TransactionConflict)";
        for codes in
            [[BUSY, "None", CONDITION_FAILED], ["None", BUSY, CONDITION_FAILED], ["None", "None", BUSY]]
        {
            assert_eq!(reply(codes, None), busy, "{codes:?}");
        }
        let invalid = "Permanent: TransactWriteItems on table table failed with ValidationError";
        assert_eq!(reply(["None", "ValidationError", BUSY], None), invalid);
        assert_eq!(reply(["None", "None", "None"], None), "left");
    }
}
