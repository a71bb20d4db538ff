//! What a failed call of DynamoDB means.

use std::error::Error;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use crate::aws::retry_of;
use crate::ledger::error::LedgerError;
use crate::ledger::port::TableError;

/// A call that failed.
pub(super) fn failed<E>(call: &'static str, table: &str, error: SdkError<E>) -> TableError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let retry = retry_of(&error, passes);
    let (code, message) = (error.code().map(str::to_owned), error.message().map(str::to_owned));
    let name = table.to_owned();
    let error = match (code.as_deref(), message) {
        (Some("ResourceNotFoundException"), _) => LedgerError::TableMissing { table: name },
        (Some("AccessDeniedException"), _) => LedgerError::denied(call, table, error),
        (Some(INVALID), Some(message)) if message.contains("specified index") => {
            LedgerError::IndexMissing { table: name, message }
        }
        (Some(INVALID), Some(message)) if message.contains("key") => {
            LedgerError::Schema { table: name, message }
        }
        (_, _) => LedgerError::call(call, table, code, error),
    };
    TableError { call, retry, error }
}

const INVALID: &str = "ValidationException";

/// True if DynamoDB refused the request as a whole for what is in it. A part of it may be good.
pub(super) fn is_invalid_request(error: &impl ProvideErrorMetadata) -> bool {
    error.code() == Some(INVALID)
}

/// True for errors and cancellation reasons of DynamoDB that pass by themselves (DynamoDB API reference,
/// `TransactWriteItems`; DynamoDB developer guide, *Error handling with DynamoDB*).
pub(super) fn passes(code: &str) -> bool {
    matches!(
        code,
        "TransactionConflict"
            | "TransactionConflictException"
            | "TransactionInProgressException"
            | "ThrottlingError"
            | "ThrottlingException"
            | "ProvisionedThroughputExceeded"
            | "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "InternalServerError"
            | "ServiceUnavailable"
    )
}
