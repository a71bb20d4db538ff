//! What came of a call of AWS.

use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};

use crate::doctor::{Answer, Unavailable};
use crate::telemetry::chain;

/// What came of a call. The codes of `missing` say that there is none.
pub(super) fn answer<T, E>(
    action: &'static str,
    result: Result<T, SdkError<E>>,
    missing: &[&str],
) -> Answer<T>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    result.map_err(|error| match code(&error) {
        Some(code) if missing.contains(&code) => Unavailable::Absent,
        Some(code) if denies(code) => Unavailable::Denied(action),
        Some(code) => Unavailable::Failed { action, why: code.to_owned() },
        None => Unavailable::Failed { action, why: chain(&error) },
    })
}

pub(super) fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// The services' words for "not allowed".
pub(super) fn denies(code: &str) -> bool {
    code.contains("AccessDenied") || matches!(code, "UnauthorizedOperation" | "AuthorizationError")
}
