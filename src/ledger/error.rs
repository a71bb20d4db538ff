//! Why the ledger could not be used.

use std::error::Error;
use std::sync::Arc;

use key_guard_core::key::KeyRef;

/// Why the ledger could not be used.
#[derive(Debug, Clone, thiserror::Error)]
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
        /// Which key it is of, if it is one's.
        key: Option<KeyRef>,
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
        source: Arc<dyn Error + Send + Sync>,
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
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The ledger file could not be opened, read or written.
    #[error("{path}: the ledger file cannot be used: {why}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        why: String,
    },
}

const SCHEMA: &str = "a table with the string keys pk (partition) and sk (sort)";

impl LedgerError {
    pub(super) fn call(
        operation: &'static str,
        table: &str,
        code: Option<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Call { operation, table: table.to_owned(), code, source: Arc::from(source.into()) }
    }

    pub(super) fn denied(
        operation: &'static str,
        table: &str,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self::Denied { operation, table: table.to_owned(), source: Arc::new(source) }
    }

    /// The key that an unreadable item is of.
    #[must_use]
    pub fn key(&self) -> Option<KeyRef> {
        match self {
            Self::Unreadable { key, .. } => key.clone(),
            Self::TableMissing { .. }
            | Self::Schema { .. }
            | Self::IndexMissing { .. }
            | Self::Busy { .. }
            | Self::Call { .. }
            | Self::Denied { .. }
            | Self::File { .. } => None,
        }
    }

    /// Others kept writing the items of this partition.
    pub(crate) fn changed_in_between(pk: String) -> Self {
        Self::Busy { pk, code: "changed in between".to_owned() }
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
