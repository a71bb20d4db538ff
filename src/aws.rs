//! Clients of AWS: explicit timeouts and retries, connections opened ahead, one IAM client per account.

pub mod credentials;

use std::collections::HashMap;
use std::time::Duration;

use aws_config::retry::{ErrorKind, RetryConfig};
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_dynamodb::types::KeysAndAttributes;
use aws_sdk_iam::Client as Iam;
use aws_sdk_iam::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_iam::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_iam::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use key_guard_core::lifecycle::effect::Retry;

/// The longest that a call may take with all its tries.
///
/// A noncompliant key takes four calls one after another, and an event may take 30 seconds: 4 × 5.5 s leaves 8 s.
/// Where users were renamed there are more calls; [`crate::lambda`](mod@crate::lambda) ends what would outlast the function.
pub const OPERATION_TIMEOUT: Duration = Duration::from_millis(5_500);
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2_200);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const READ_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_ATTEMPTS: u32 = 3;
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_millis(500);

/// How long opening connections may hold up the start.
const WARM_TIMEOUT: Duration = Duration::from_secs(2);

const BEHAVIOR: fn() -> BehaviorVersion = BehaviorVersion::v2026_01_12;

/// Region, credentials and endpoints as the AWS SDK's own variables and files say.
pub async fn sdk_config() -> SdkConfig {
    config_loader().load().await
}

/// The same, for a command that may say otherwise.
pub(crate) fn config_loader() -> ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(MAX_ATTEMPTS)
        .with_initial_backoff(INITIAL_BACKOFF)
        .with_max_backoff(MAX_BACKOFF);
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
        .build_https();
    aws_config::defaults(BEHAVIOR()).timeout_config(timeouts).retry_config(retries).http_client(http)
}

/// Whether a failed call is worth a retry (R7). The SDK has retried it a few times by then. `is_transient` knows the
/// service's error codes that pass by themselves, although their status may be below 500.
pub(crate) fn retry_of<E: ProvideErrorMetadata>(
    error: &SdkError<E>,
    is_transient: impl FnOnce(&str) -> bool,
) -> Retry {
    let is_transient = match error {
        // A response error is a body that ends early.
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => true,
        SdkError::DispatchFailure(failure) => {
            failure.is_timeout() || failure.is_io() || failure.as_other() == Some(ErrorKind::TransientError)
        }
        SdkError::ServiceError(failure) => {
            failure.raw().status().is_server_error() || error.code().is_some_and(is_transient)
        }
        SdkError::ConstructionFailure(_) | _ => false,
    };
    if is_transient { Retry::Transient } else { Retry::Permanent }
}

/// Opens the connections to DynamoDB and IAM side by side, best effort: what fails here is tried again by
/// the first call that needs it.
///
/// Each goes the way of a real call up to the wire, where it becomes an unsigned `GET /` that no service
/// counts as a call.
pub async fn warm(dynamodb: &DynamoDb, iam: &Iam) {
    let table = async {
        // An operation that is linked anyway; of what it asks for nothing is sent.
        let keys = KeysAndAttributes::builder().set_keys(Some(Vec::new())).build();
        let call = dynamodb
            .batch_get_item()
            .set_request_items(keys.ok().map(|keys| HashMap::from([("-".to_owned(), keys)])));
        let call = call.customize().interceptor(Unsigned);
        drop(call.config_override(once_dynamodb()).send().await);
    };
    let keys = async {
        let call = iam.list_service_specific_credentials().customize().interceptor(Unsigned);
        drop(call.config_override(once_iam()).send().await);
    };
    let both = async { tokio::join!(table, keys) };
    if tokio::time::timeout(WARM_TIMEOUT, both).await.is_err() {
        tracing::warn!("connections to DynamoDB and IAM were not open within {WARM_TIMEOUT:?}");
    }
}

fn once_dynamodb() -> aws_sdk_dynamodb::config::Builder {
    aws_sdk_dynamodb::Config::builder().retry_config(RetryConfig::disabled())
}

fn once_iam() -> aws_sdk_iam::config::Builder {
    aws_sdk_iam::Config::builder().retry_config(RetryConfig::disabled())
}

/// Turns a signed call into an unsigned `GET /` on the same connection.
#[derive(Debug)]
struct Unsigned;

impl Intercept for Unsigned {
    fn name(&self) -> &'static str {
        "Unsigned"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        request.set_method("GET")?;
        for header in
            ["authorization", "content-length", "content-type", "x-amz-security-token", "x-amz-target"]
        {
            request.headers_mut().remove(header);
        }
        *request.body_mut() = Vec::new().into();
        Ok(())
    }
}
