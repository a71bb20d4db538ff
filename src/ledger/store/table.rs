//! The table that the keys are in, and what its errors become.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use super::failure::{Failure, call_error};
use crate::ledger::codec::{self, Attributes};
use crate::ledger::error::LedgerError;
use key_guard_core::lifecycle::effect::{CallError, Retry};

/// The keys and their history in a DynamoDB table.
#[derive(Debug, Clone)]
pub struct DynamoKeyStore {
    pub(in crate::ledger) client: Client,
    pub(in crate::ledger) table: String,
}

impl DynamoKeyStore {
    /// The keys in `table`, which has to exist.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    pub(in crate::ledger) fn failure<E>(&self, call: &'static str, error: SdkError<E>) -> Failure
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        Failure::new(call, &self.table, error)
    }

    pub(in crate::ledger) fn not_built(
        &self,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> LedgerError {
        LedgerError::Call {
            operation: "building a request",
            table: self.table.clone(),
            code: None,
            source: Box::new(error),
        }
    }
}

/// Reads an item. The error of an unreadable one names it.
pub(super) fn decoded<T>(
    item: Attributes,
    decode: impl FnOnce(Attributes) -> Result<T, String>,
) -> Result<T, CallError> {
    let place = codec::place_of(&item);
    decode(item)
        .map_err(|why| call_error("reading an item", Retry::Permanent, codec::unreadable(&place, why)))
}
