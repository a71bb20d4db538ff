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
#[cfg(feature = "cli")]
use super::port::{AT_KEY, INDEXES};
use super::port::{Page, Position, Query, TableError};

use failure::failed;
use item::{Attributes, of_attributes, position_of, start_of};

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

    pub(super) async fn query(&self, query: &Query, after: Option<&Position>) -> Result<Page, TableError> {
        let Query { index, partition, range, newest_first, limit } = query;
        let field = index.map_or("pk", |index| index.field);
        let text = |text: &String| AttributeValue::S(text.clone());
        let mut call = self
            .client
            .query()
            .table_name(&self.table)
            .expression_attribute_values(":partition", text(partition))
            .scan_index_forward(!newest_first)
            .limit(i32::try_from(*limit).unwrap_or(i32::MAX))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_exclusive_start_key(after.map(|after| start_of(*index, partition, after)));
        call = match index {
            Some(index) => call.index_name(index.name),
            None => call.consistent_read(true),
        };
        if let Some((from, to)) = range {
            call = call
                .expression_attribute_values(":from", text(from))
                .expression_attribute_values(":to", text(to));
        }
        let bounds = if range.is_some() { " AND at_key BETWEEN :from AND :to" } else { "" };
        let condition = format!("{field} = :partition{bounds}");
        let answer = call.key_condition_expression(condition).send().await;
        let answer = answer.map_err(|error| self.failed("Query", error))?;
        Ok(page(answer.items, answer.last_evaluated_key, answer.consumed_capacity.as_ref()))
    }

    #[cfg(feature = "cli")]
    pub(super) async fn scan(&self, limit: usize, after: Option<&Position>) -> Result<Page, TableError> {
        let call = self
            .client
            .scan()
            .table_name(&self.table)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_exclusive_start_key(after.map(|after| start_of(None, &after.key.pk, after)));
        let answer = call.send().await.map_err(|error| self.failed("Scan", error))?;
        Ok(page(answer.items, answer.last_evaluated_key, answer.consumed_capacity.as_ref()))
    }
}

fn page(
    items: Option<Vec<Attributes>>,
    last: Option<Attributes>,
    consumed: Option<&ConsumedCapacity>,
) -> Page {
    Page {
        items: items.unwrap_or_default().into_iter().map(of_attributes).collect(),
        next: last.filter(|key| !key.is_empty()).map(position_of),
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
        .attribute_definitions(attribute(AT_KEY)?)
        .key_schema(key("pk", KeyType::Hash)?)
        .key_schema(key("sk", KeyType::Range)?);
    for index in INDEXES {
        call = call.attribute_definitions(attribute(index.field)?).global_secondary_indexes(
            GlobalSecondaryIndex::builder()
                .index_name(index.name)
                .key_schema(key(index.field, KeyType::Hash)?)
                .key_schema(key(AT_KEY, KeyType::Range)?)
                .projection(Projection::builder().projection_type(ProjectionType::All).build())
                .build()?,
        );
    }
    Ok(call)
}
