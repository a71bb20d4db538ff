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
use key_guard_core::key::KeyRef;

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

/// Why the ledger could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// There is no such table.
    #[error("the ledger table {table} does not exist in this account and region; expected {SCHEMA}")]
    TableMissing {
        /// Which table.
        table: String,
    },
    /// The table is not a ledger.
    #[error("the table {table} has another key schema; expected {SCHEMA}: {message}")]
    Schema {
        /// Which table.
        table: String,
        /// What DynamoDB said.
        message: String,
    },
    /// The table is a ledger without one of the indexes.
    #[error("the table {table} lacks an index of a ledger of this version: {message}")]
    IndexMissing {
        /// Which table.
        table: String,
        /// Which index, or what DynamoDB said.
        message: String,
    },
    /// An item is there that this build cannot read.
    #[error("the ledger item {pk} / {sk} cannot be read: {why}")]
    Unreadable {
        /// Its partition key.
        pk: String,
        /// Its sort key.
        sk: String,
        /// What is wrong with it.
        why: String,
    },
    /// Other writers kept the item busy.
    #[error("the ledger item {pk} was busy with other deliveries ({code})")]
    Busy {
        /// Its partition key.
        pk: String,
        /// DynamoDB's cancellation reason.
        code: String,
    },
    /// The call failed.
    #[error("{operation} on table {table} failed{}", code.as_ref().map(|code| format!(" with {code}")).unwrap_or_default())]
    Call {
        /// Which call.
        operation: &'static str,
        /// Which table.
        table: String,
        /// AWS's error code, where there was an answer.
        code: Option<String>,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// IAM does not let the caller do it.
    #[error(
        "access to the ledger table {table} was denied: {} needs the IAM action {} on the table{}",
        operation, action(operation), if reads(operation) { " and its indexes" } else { "" }
    )]
    Denied {
        /// Which call.
        operation: &'static str,
        /// Which table.
        table: String,
        /// AWS's words.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The ledger file could not be opened.
    #[error("{path}: could not open the ledger file: {why}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        why: String,
    },
}

const SCHEMA: &str = "a table with the string keys pk (partition) and sk (sort)";

impl LedgerError {
    /// The key that an unreadable item is of.
    #[must_use]
    pub fn key(&self) -> Option<KeyRef> {
        match self {
            Self::Unreadable { pk, .. } => {
                let (account, id) = pk.strip_prefix("KEY#")?.split_once('#')?;
                Some(KeyRef { account: account.parse().ok()?, id: id.parse().ok()? })
            }
            Self::TableMissing { .. }
            | Self::Schema { .. }
            | Self::IndexMissing { .. }
            | Self::Busy { .. }
            | Self::Call { .. }
            | Self::Denied { .. }
            | Self::File { .. } => None,
        }
    }

    /// A stable name for alarms and retries to match on.
    #[must_use]
    pub const fn error_type(&self) -> &'static str {
        match self {
            Self::TableMissing { .. } => "LedgerTableMissing",
            Self::Schema { .. } | Self::IndexMissing { .. } => "LedgerSchemaMismatch",
            Self::Unreadable { .. } => "LedgerItemUnreadable",
            Self::Busy { .. } => "LedgerItemBusy",
            Self::Call { .. } | Self::Denied { .. } => "LedgerCallFailed",
            Self::File { .. } => "LedgerFileUnusable",
        }
    }
}

/// The IAM action that a call is allowed by (Service Authorization Reference, *Actions for Amazon DynamoDB*:
/// a transaction is allowed by the actions of its parts).
fn action(operation: &str) -> String {
    match operation {
        "TransactWriteItems" => "dynamodb:PutItem".to_owned(),
        other => format!("dynamodb:{other}"),
    }
}

fn reads(operation: &str) -> bool {
    operation == "Query"
}

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
