//! What a failed call of DynamoDB means.

use std::error::Error;
use std::sync::Arc;

use aws_config::retry::ErrorKind;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use crate::ledger::error::LedgerError;
use key_guard_core::lifecycle::effect::{CallError, Retry};

/// A call that failed. It may have been for many keys, and each of them gets the error.
#[derive(Debug, Clone)]
pub(in crate::ledger) struct Failure {
    call: &'static str,
    table: String,
    retry: Retry,
    code: Option<String>,
    message: Option<String>,
    source: Arc<dyn Error + Send + Sync>,
}

impl Failure {
    pub(super) fn new<E>(call: &'static str, table: &str, error: SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        Self {
            call,
            table: table.to_owned(),
            retry: retry_of(&error),
            code: error.code().map(str::to_owned),
            message: error.message().map(str::to_owned),
            source: Arc::new(error),
        }
    }

    /// True if DynamoDB refused the request as a whole for what is in it. A part of it may be good.
    pub(super) fn is_invalid_request(&self) -> bool {
        self.code.as_deref() == Some("ValidationException")
    }

    pub(super) fn call_error(&self) -> CallError {
        call_error(self.call, self.retry, self.ledger_error())
    }

    pub(in crate::ledger) fn ledger_error(&self) -> LedgerError {
        let table = self.table.clone();
        let source = || Box::new(Arc::clone(&self.source));
        match (self.code.as_deref(), &self.message) {
            (Some("ResourceNotFoundException"), _) => LedgerError::TableMissing { table },
            (Some("AccessDeniedException"), _) => {
                LedgerError::Denied { operation: self.call, table, source: source() }
            }
            (Some("ValidationException"), Some(message)) if message.contains("specified index") => {
                LedgerError::IndexMissing { table, message: message.clone() }
            }
            (Some("ValidationException"), Some(message)) if message.contains("key") => {
                LedgerError::Schema { table, message: message.clone() }
            }
            (code, _) => LedgerError::Call {
                operation: self.call,
                table,
                code: code.map(str::to_owned),
                source: source(),
            },
        }
    }
}

/// A failed call of the store, as a session sees it.
pub(super) fn call_error(call: &'static str, retry: Retry, error: LedgerError) -> CallError {
    CallError { call, retry, source: Box::new(error) }
}

/// Throttling, 5xx, timeouts and broken connections pass (R7).
fn retry_of<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Retry {
    let is_transient = match error {
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => true,
        SdkError::DispatchFailure(failure) => {
            failure.is_timeout() || failure.is_io() || failure.as_other() == Some(ErrorKind::TransientError)
        }
        SdkError::ServiceError(answer) => {
            answer.raw().status().is_server_error() || error.code().is_some_and(passes)
        }
        SdkError::ConstructionFailure(_) => false,
        _ => false,
    };
    if is_transient { Retry::Transient } else { Retry::Permanent }
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
