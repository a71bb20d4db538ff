//! Why an invocation fails, with names that alarms and people match on.

use lambda_runtime::Diagnostic;

use key_guard_core::lifecycle::effect::CallError;
use key_guard_core::lifecycle::result::SessionError;
use key_guard_core::lifecycle::sweep::{SweepError, SweepProblem};

use crate::aws::credentials::CredentialApiError;
use crate::ledger::error::LedgerError;
use crate::ledger::policy::CurrentPolicyError;
use crate::runtime::event::EventError;
use crate::runtime::resume::ResumeError;
use crate::telemetry;

/// Why an invocation failed. Lambda retries it twice, and then hands the payload to the on-failure destination.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    /// The payload is not JSON that can be read: a number out of range, half a surrogate pair, too deep.
    #[error("the payload cannot be read as JSON")]
    Json(#[source] serde_json::Error),
    /// The payload is none of those that the function knows.
    #[error(
        "the payload has to be an EventBridge event, something that wraps one, {{\"sweep\": …}} or {{\"resume\": {{}}}}; \
         found {found} without an event"
    )]
    UnsupportedPayload {
        /// What it is, without its values.
        found: String,
    },
    /// A sweep or a resume is requested with other parameters than those that it has.
    #[error("the request for a {request} cannot be read: {reason}")]
    InvalidRequest {
        /// What is requested.
        request: &'static str,
        /// Why not.
        reason: String,
    },
    /// The runtime did not say in which account the function is.
    #[error("the function's ARN cannot be read: {0}")]
    FunctionArn(&'static str),
    /// The invocation's time is nearly over. What was done until then is in the ledger.
    #[error("the invocation is about to end, and the payload is not dealt with yet")]
    OutOfTime,
    /// An event has no report: a defect of the guard.
    #[error("the event has no report; please report this")]
    NoReport,
    /// An event did not come to its end.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The accounts that were heard could not be read.
    #[error("the accounts that were heard could not be read")]
    ReadHeard(#[source] CallError),
    /// There is no policy to judge by.
    #[error(transparent)]
    Policy(#[from] CurrentPolicyError),
    /// No account could be swept.
    #[error("no account could be swept; the first problem")]
    NothingSwept(#[source] Box<SweepProblem>),
    /// A sweep could not be run: a defect.
    #[error(transparent)]
    Sweep(SweepError),
    /// A resume could not read the ledger.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// A finding that Lambda does not hand on has nobody to go to.
    #[error(
        "KEY_GUARD_REPORTS_BUS is not set: findings from queues and streams cannot be published; set it to the name of an event bus"
    )]
    NoReportsBus,
    /// A finding that is not the one that is returned could not be published.
    #[error("a finding could not be published")]
    Publish(#[source] CallError),
}

impl InvocationError {
    /// A name that stays. It is in the log, and in Lambda's answer.
    #[must_use]
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "UnreadableEvent",
            Self::UnsupportedPayload { .. } => "UnsupportedPayload",
            Self::InvalidRequest { .. } => "InvalidRequest",
            Self::FunctionArn(_) => "UnreadableFunctionArn",
            Self::OutOfTime => "OutOfTime",
            Self::NoReport => "NoReport",
            Self::NoReportsBus => "ReportsBusNotSet",
            Self::Event(error) => event_error_type(error),
            Self::Policy(CurrentPolicyError::NoVersion | CurrentPolicyError::Invalid { .. }) => {
                "PolicyUnusable"
            }
            Self::NothingSwept(_) | Self::Sweep(SweepError::NothingListed { .. }) => "NothingSwept",
            Self::Sweep(SweepError::UnexpectedReply { .. }) => "UnexpectedReply",
            Self::Resume(ResumeError { source })
            | Self::Publish(source)
            | Self::ReadHeard(source)
            | Self::Policy(CurrentPolicyError::Read(source)) => call_error_type(source),
        }
    }
}

impl From<SweepError> for InvocationError {
    fn from(error: SweepError) -> Self {
        match error {
            SweepError::NothingListed { problems } => match problems.into_iter().next() {
                Some(first) => Self::NothingSwept(Box::new(first)),
                None => Self::Sweep(SweepError::NothingListed { problems: Vec::new() }),
            },
            error @ SweepError::UnexpectedReply { .. } => Self::Sweep(error),
        }
    }
}

impl From<InvocationError> for Diagnostic {
    fn from(error: InvocationError) -> Self {
        Self { error_type: error.error_type().to_owned(), error_message: telemetry::chain(&error) }
    }
}

fn event_error_type(error: &EventError) -> &'static str {
    match error {
        EventError::Unreadable(_) | EventError::NoSuchKey(_) => "UnreadableEvent",
        EventError::Session(error) | EventError::Lookup { source: error, .. } => session_error_type(error),
        EventError::List { source, .. }
        | EventError::LookUpUser { source, .. }
        | EventError::Record { source, .. } => call_error_type(source),
    }
}

fn session_error_type(error: &SessionError) -> &'static str {
    match error {
        SessionError::KeyNotListedYet { .. } => "KeyNotListedYet",
        SessionError::KeyStillListed { .. } => "KeyStillListed",
        SessionError::KeyLeased { .. } => "KeyLeased",
        SessionError::LeaseExpiring { .. } => "LeaseExpiring",
        SessionError::OutOfTime => "OutOfTime",
        SessionError::FutureEvent { .. } => "FutureEvent",
        SessionError::KeyMoved { .. } | SessionError::OtherKey { .. } => "IamAnswerContradictory",
        SessionError::Call { source, .. } | SessionError::OutcomeNotRecorded { source, .. } => {
            call_error_type(source)
        }
        SessionError::UnexpectedReply { .. } => "UnexpectedReply",
    }
}

/// The adapters put their own errors into [`CallError::source`].
fn call_error_type(error: &CallError) -> &'static str {
    if let Some(error) = error.source.downcast_ref::<LedgerError>() {
        return error.error_type();
    }
    match error.source.downcast_ref::<CredentialApiError>() {
        Some(CredentialApiError::Denied { .. }) => "IamCallDenied",
        Some(CredentialApiError::Failed { .. }) => "IamCallFailed",
        Some(CredentialApiError::NoResponderRole { .. }) => "ResponderRoleNotSet",
        Some(
            CredentialApiError::UnreadableKey { .. }
            | CredentialApiError::UnidentifiedKeys { .. }
            | CredentialApiError::UnreadableKeys { .. }
            | CredentialApiError::NoMarker { .. }
            | CredentialApiError::EndlessList { .. },
        ) => "IamAnswerUnreadable",
        None => "CallFailed",
    }
}
