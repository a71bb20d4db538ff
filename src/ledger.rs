//! The record of keys, in DynamoDB: AWS's in production, an [embedded] one on a laptop and in tests.
//!
//! | | |
//! | --- | --- |
//! | `codec` | the items and the indexes, and what each has |
//! | [`store`] | keys: read, written under a condition, listed |
//! | [`audit`] | history, and what happened that changed no key |
//! | [`query`] | what people ask |
//! | [`view`] | a key as commands show it |
//! | [`portable`] | what is exported and imported |
//!
//! # Hot partitions
//!
//! DynamoDB takes 1,000 write units a second for one partition (DynamoDB developer guide, *Burst and adaptive
//! capacity*), and a write unit is 1 KB. An item has 1 to 2 KB, so that a write to an index costs two. 10,000
//! keys a minute are 167 a second; each is stored, and at worst has an intent and an outcome, which makes 668 units a second:
//!
//! | | partitions | units a second in each |
//! | --- | --- | --- |
//! | `KEY#…`, `by_id` | one a key | 8 |
//! | `by_day` | 16 | 42 |
//! | `by_account`, all keys in one account | 4 | 167 |
//! | `by_open`, all keys noncompliant | 4 | 167 |
//! | `by_actor`, one caller makes them all | 1 | 668 |
//! | `by_role`, one role makes them all | 1 | 668 |
//! | `by_user`, two keys a user (IAM's limit) | one a name | 8 |

pub mod audit;
mod codec;
#[cfg(feature = "cli")]
pub mod embedded;
pub mod error;
mod item;
#[cfg(feature = "cli")]
pub mod portable;
#[cfg(feature = "cli")]
pub mod query;
pub mod store;
#[cfg(feature = "cli")]
pub mod view;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};

pub use self::codec::SCHEMA_VERSION;
pub use self::item::permission_set;

/// The indexes, with their partition keys. All sort by `at_key`.
pub const INDEXES: [(&str, &str); 7] = [
    ("by_user", "user_key"),
    ("by_actor", "actor_key"),
    ("by_role", "role_key"),
    ("by_day", "day_key"),
    ("by_account", "account_key"),
    ("by_id", "id_key"),
    ("by_open", "open_key"),
];

/// The table: what [`embedded`] makes, and what a deployment has to.
///
/// # Errors
/// Never in practice: every required part of each definition is given.
pub fn table_definition(
    client: &Client,
    table: &str,
) -> Result<
    aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder,
    aws_sdk_dynamodb::error::BuildError,
> {
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
        .attribute_definitions(attribute("at_key")?)
        .key_schema(key("pk", KeyType::Hash)?)
        .key_schema(key("sk", KeyType::Range)?);
    for (name, partition_key) in INDEXES {
        call = call.attribute_definitions(attribute(partition_key)?).global_secondary_indexes(
            GlobalSecondaryIndex::builder()
                .index_name(name)
                .key_schema(key(partition_key, KeyType::Hash)?)
                .key_schema(key("at_key", KeyType::Range)?)
                .projection(Projection::builder().projection_type(ProjectionType::All).build())
                .build()?,
        );
    }
    Ok(call)
}
