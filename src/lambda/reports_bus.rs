//! The event bus that the findings of sweeps and resumes are published on.

use std::error::Error;

use aws_config::SdkConfig;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;

use key_guard_core::key::{AccountId, CredentialId};
use key_guard_core::lifecycle::effect::{CallError, Retry};
use key_guard_core::remediation::Contact;
use key_guard_core::report::Report;

use crate::config::EventBusName;
use crate::runtime::publish::{Delivery, FindingPublisher, PublicationProblem};
use crate::telemetry::chain;

/// `source` of what is published.
pub const SOURCE: &str = "bedrock-key-guard";

/// `detail-type` of what is published. The detail is the report.
pub const DETAIL_TYPE: &str = "Bedrock Key Guard report";

const CALL: &str = "PutEvents";

/// The reports bus, if there is one.
#[derive(Debug)]
pub struct ReportsBus {
    bus: Option<(Client, EventBusName)>,
    contact: Option<Contact>,
}

/// EventBridge took the call, and not the event.
#[derive(Debug, thiserror::Error)]
#[error("EventBridge did not take the event ({code}): {message}")]
struct NotTaken {
    code: String,
    message: String,
}

impl ReportsBus {
    /// The bus with this name, in the function's account. `None`: there is none. `contact` becomes a part of each report.
    #[must_use]
    pub fn new(sdk: &SdkConfig, name: Option<EventBusName>, contact: Option<Contact>) -> Self {
        Self { bus: name.map(|name| (Client::new(sdk), name)), contact }
    }
}

impl FindingPublisher for ReportsBus {
    async fn publish(&self, report: &Report) -> Result<Delivery, CallError> {
        let Some((client, name)) = &self.bus else { return Ok(Delivery::NoReceiver) };
        let with_contact = report.clone().with_contact(self.contact.as_ref());
        let detail = serde_json::to_string(&with_contact).map_err(failed)?;
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(name.to_string())
            .source(SOURCE)
            .detail_type(DETAIL_TYPE)
            .detail(detail)
            .build();
        let answer = client.put_events().entries(entry).send().await.map_err(failed)?;
        if answer.failed_entry_count() > 0 {
            let entry = answer.entries().first();
            let text = |text: Option<&str>| text.unwrap_or("unknown").to_owned();
            let code = text(entry.and_then(|entry| entry.error_code()));
            let message = text(entry.and_then(|entry| entry.error_message()));
            return Err(failed(NotTaken { code, message }));
        }
        tracing::info!(
            key.account = report.account.as_ref().map(AccountId::as_str),
            key.credential_id = report.credential_id.as_ref().map(CredentialId::as_str),
            key.outcome = report.outcome.as_str(),
            "published a finding"
        );
        Ok(Delivery::Published)
    }
}

/// The SDK has retried it. The finding stays unreported, and the next sweep publishes it.
fn failed(error: impl Error + Send + Sync + 'static) -> CallError {
    CallError { call: CALL, retry: Retry::Permanent, source: Box::new(error) }
}

/// Logs what was not published, or not marked as reported.
pub(super) fn log_problems(problems: &[PublicationProblem]) {
    for problem in problems {
        tracing::error!(error.chain = chain(problem), "the next sweep publishes a finding again");
    }
}
