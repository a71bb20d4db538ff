//! The Lambda: reads its configuration, makes its clients, and hands over to the runtime.

use bedrock_key_guard::config::{Config, log_level};
use bedrock_key_guard::lambda::InvocationHandler;
use bedrock_key_guard::telemetry;
use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init(log_level());
    let started = match Config::from_env() {
        Ok(config) => InvocationHandler::start(config).await,
        Err(error) => Err(error),
    };
    let handler = started.map_err(|error| {
        tracing::error!(error.chain = telemetry::chain(&error), "the configuration cannot be used");
        telemetry::chain(&error)
    })?;
    let handler = &handler;
    Box::pin(lambda_runtime::run(service_fn(|event: LambdaEvent<Box<RawValue>>| handler.invoke(event)))).await
}
