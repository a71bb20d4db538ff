//! Items in a DynamoDB table.
//!
//! | call | DynamoDB |
//! | --- | --- |
//! | get | `BatchGetItem`, consistent, 100 items a call |
//! | write | `TransactWriteItems`, up to 100 items a call; a group that counts has a call of its own |
//! | query, scan | `Query`, `Scan`: a page of up to 1 MB |
//!
//! Every write is a transaction, so that the function needs no permission and no code for other writes.
//!
//! No call is retried here: the sessions do that (R7). Only the unprocessed keys of a batch are asked for again.

mod failure;
mod item;
mod read;
mod transact;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
#[cfg(feature = "cli")]
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
#[cfg(feature = "cli")]
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use aws_sdk_dynamodb::types::{AttributeValue, ConsumedCapacity, ReturnConsumedCapacity};

use super::cost::Cost;
use super::error::LedgerError;
use super::port::{Entry, IndexPage, IndexQuery, Item, ItemKey, Page, Query, TableError};
#[cfg(feature = "cli")]
use super::port::{INDEXES, place_fields};

use failure::failed;
use item::{Attributes, entry_of, key_of, of_attributes, primary_key, start_of};

/// A DynamoDB table.
#[derive(Debug, Clone)]
pub(super) struct DynamoTable {
    client: Client,
    table: String,
}

impl DynamoTable {
    pub(super) const fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    fn failed<E>(&self, call: &'static str, error: SdkError<E>) -> TableError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        failed(call, &self.table, error)
    }

    fn not_built(
        &self,
        call: &'static str,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> TableError {
        TableError::permanent(call, LedgerError::call("building a request", &self.table, None, error))
    }

    pub(super) async fn query(&self, query: &Query, after: Option<&ItemKey>) -> Result<Page, TableError> {
        let Query { pk, prefix, limit } = query;
        let text = |text: &String| AttributeValue::S(text.clone());
        let mut call = self
            .client
            .query()
            .table_name(&self.table)
            .expression_attribute_values(":pk", text(pk))
            .consistent_read(true)
            .limit(call_limit(*limit))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_exclusive_start_key(after.map(primary_key));
        let mut condition = "pk = :pk";
        if let Some(prefix) = prefix {
            condition = "pk = :pk AND begins_with(sk, :prefix)";
            call = call.expression_attribute_values(":prefix", text(prefix));
        }
        let answer = call.key_condition_expression(condition).send().await;
        let answer = answer.map_err(|error| self.failed("Query", error))?;
        Ok(page(answer.items, answer.last_evaluated_key.as_ref(), answer.consumed_capacity.as_ref()))
    }

    pub(super) async fn last(&self, pk: &str) -> Result<Option<Item>, TableError> {
        let call = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", AttributeValue::S(pk.to_owned()))
            .consistent_read(true)
            .scan_index_forward(false)
            .limit(1);
        let answer = call.send().await.map_err(|error| self.failed("Query", error))?;
        Ok(answer.items.unwrap_or_default().into_iter().next().map(of_attributes))
    }

    pub(super) async fn query_index(
        &self,
        query: &IndexQuery,
        after: Option<&Entry>,
    ) -> Result<IndexPage, TableError> {
        let IndexQuery { index, partition, range, newest_first, limit } = query;
        let text = |text: &String| AttributeValue::S(text.clone());
        let mut condition = format!("{} = :partition", index.field);
        let mut call = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(index.name)
            .expression_attribute_values(":partition", text(partition))
            .scan_index_forward(!newest_first)
            .limit(call_limit(*limit))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_exclusive_start_key(after.map(|after| start_of(*index, partition, after)));
        if let Some((from, to)) = range {
            condition = format!("{condition} AND {} BETWEEN :from AND :to", index.sort);
            call = call
                .expression_attribute_values(":from", text(from))
                .expression_attribute_values(":to", text(to));
        }
        let answer = call.key_condition_expression(condition).send().await;
        let answer = answer.map_err(|error| self.failed("Query", error))?;
        Ok(IndexPage {
            entries: answer.items().iter().map(|entry| entry_of(*index, entry)).collect(),
            next: answer
                .last_evaluated_key()
                .filter(|last| !last.is_empty())
                .map(|last| entry_of(*index, last)),
            cost: cost_of(answer.consumed_capacity()),
        })
    }

    #[cfg(feature = "cli")]
    pub(super) async fn scan(&self, limit: usize, after: Option<&ItemKey>) -> Result<Page, TableError> {
        let call = self
            .client
            .scan()
            .table_name(&self.table)
            .limit(call_limit(limit))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_exclusive_start_key(after.map(primary_key));
        let answer = call.send().await.map_err(|error| self.failed("Scan", error))?;
        Ok(page(answer.items, answer.last_evaluated_key.as_ref(), answer.consumed_capacity.as_ref()))
    }
}

fn call_limit(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

fn page(
    items: Option<Vec<Attributes>>,
    last: Option<&Attributes>,
    consumed: Option<&ConsumedCapacity>,
) -> Page {
    Page {
        items: items.unwrap_or_default().into_iter().map(of_attributes).collect(),
        next: last.filter(|last| !last.is_empty()).map(key_of),
        cost: cost_of(consumed),
    }
}

/// What one call has cost.
fn cost_of<'a>(consumed: impl IntoIterator<Item = &'a ConsumedCapacity>) -> Cost {
    let units = consumed.into_iter().filter_map(ConsumedCapacity::capacity_units).sum();
    Cost { calls: 1, units }
}

/// The table: what a deployment has to make.
///
/// # Errors
/// Never in practice: every required part of each definition is given.
#[cfg(feature = "cli")]
pub fn table_definition(
    client: &Client,
    table: &str,
) -> Result<CreateTableFluentBuilder, aws_sdk_dynamodb::error::BuildError> {
    let attribute = |name: &str| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S).build()
    };
    let key = |name: &str, key_type: KeyType| {
        KeySchemaElement::builder().attribute_name(name).key_type(key_type).build()
    };
    let mut call = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute("pk")?)
        .attribute_definitions(attribute("sk")?)
        .key_schema(key("pk", KeyType::Hash)?)
        .key_schema(key("sk", KeyType::Range)?);
    for field in place_fields() {
        call = call.attribute_definitions(attribute(field)?);
    }
    for index in INDEXES {
        call = call.global_secondary_indexes(
            GlobalSecondaryIndex::builder()
                .index_name(index.name)
                .key_schema(key(index.field, KeyType::Hash)?)
                .key_schema(key(index.sort, KeyType::Range)?)
                .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
                .build()?,
        );
    }
    Ok(call)
}
