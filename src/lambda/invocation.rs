//! What a payload asks for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use key_guard_core::Time;
use key_guard_core::cloudtrail::{Target, Unwrapped, describe, from_json, unwrap};
use key_guard_core::key::AccountId;
use key_guard_core::lifecycle::input::Ceiling;
use key_guard_core::lifecycle::sweep::SweepCheckpoint;
use key_guard_core::text::sanitize_field;

use super::digest::DigestKeys;
use super::error::InvocationError;
use crate::aws::credentials::IamCredentials;
use crate::clock::SystemClock;
use crate::ledger::store::Ledger;
use crate::runtime::executor::Executor;

/// What performs the effects of an invocation.
pub(super) type LambdaExecutor<'a> = Executor<'a, Ledger, IamCredentials, SystemClock>;

/// What a payload asks for.
#[derive(Debug)]
pub enum Invocation {
    /// To deal with an EventBridge event.
    Event(Value),
    /// To deal with what a queue, a topic or a stream has wrapped.
    Wrapped(Vec<Unwrapped>),
    /// To sweep accounts.
    Sweep(Box<SweepRequest>),
    /// To execute what is pending or due.
    Resume,
}

/// Which accounts are swept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SweepAccounts {
    /// These. None: the function's own.
    Listed(BTreeSet<AccountId>),
    /// Those whose heartbeat was heard within a week, and the function's own.
    Heard,
}

impl Default for SweepAccounts {
    fn default() -> Self {
        Self::Listed(BTreeSet::new())
    }
}

/// Which accounts are swept, and how far a sweep may go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepRequest {
    /// The accounts. A further invocation has them in its checkpoint.
    #[serde(default, deserialize_with = "accounts", skip_serializing)]
    pub accounts: SweepAccounts,
    /// The furthest that any response may go. The function's own ceilings apply, too (R13).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Ceiling>,
    /// What an earlier invocation left, in the place of accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<SweepCheckpoint>,
    /// When the first invocation started.
    #[serde(default)]
    pub started: Option<Time>,
    /// How many invocations this sweep has taken.
    #[serde(default)]
    pub invocations: u32,
    /// What it has found for its digest.
    #[serde(default)]
    pub digest: DigestKeys,
}

/// A resume has no parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResumeRequest {}

impl Invocation {
    /// Reads a payload.
    ///
    /// # Errors
    /// When it is none of these. What is wrapped and has no event in it is not taken for one that is irrelevant: nobody would
    /// ever deal with it.
    pub fn parse(payload: &str) -> Result<Self, InvocationError> {
        let payload = from_json(payload.as_bytes()).map_err(InvocationError::Json)?;
        let is_only = |name: &str| {
            payload.as_object().is_some_and(|fields| fields.len() == 1 && fields.contains_key(name))
        };
        if let Some(sweep) = payload.get("sweep").filter(|_| is_only("sweep")) {
            return SweepRequest::parse(object("sweep", sweep)?).map(Box::new).map(Self::Sweep);
        }
        if let Some(resume) = payload.get("resume").filter(|_| is_only("resume")) {
            return match ResumeRequest::deserialize(object("resume", resume)?) {
                Ok(ResumeRequest {}) => Ok(Self::Resume),
                Err(error) => Err(InvocationError::request("resume", &error)),
            };
        }
        if payload.get("detail-type").is_some() || payload.get("detail").is_some() {
            return Ok(Self::Event(payload));
        }
        match unwrap(&payload, Target::GuardedCalls) {
            found if found.is_empty() => {
                Err(InvocationError::UnsupportedPayload { found: describe(&payload) })
            }
            found => Ok(Self::Wrapped(found)),
        }
    }
}

/// serde reads a list as a struct, too.
fn object<'a>(request: &'static str, value: &'a Value) -> Result<&'a Value, InvocationError> {
    if value.is_object() {
        return Ok(value);
    }
    let reason = format!("expected an object, found {}", describe(value));
    Err(InvocationError::InvalidRequest { request, reason })
}

impl SweepRequest {
    fn parse(sweep: &Value) -> Result<Self, InvocationError> {
        let request = Self::deserialize(sweep).map_err(|error| InvocationError::request("sweep", &error))?;
        if request.checkpoint.is_some() && request.accounts != SweepAccounts::default() {
            let reason = "accounts and checkpoint exclude each other".to_owned();
            return Err(InvocationError::InvalidRequest { request: "sweep", reason });
        }
        Ok(request)
    }

    /// How far this sweep goes where the function allows `ceiling`. No payload can raise that (R13).
    #[must_use]
    pub fn ceiling_within(&self, ceiling: Ceiling) -> Ceiling {
        self.ceiling.map_or(ceiling, |asked| asked.min(ceiling))
    }
}

impl InvocationError {
    /// The error repeats texts of the payload.
    fn request(request: &'static str, error: &serde_json::Error) -> Self {
        Self::InvalidRequest { request, reason: sanitize_field(&error.to_string()) }
    }
}

fn accounts<'de, D: serde::Deserializer<'de>>(from: D) -> Result<SweepAccounts, D::Error> {
    use serde::de::Error as _;
    let accounts = Value::deserialize(from)?;
    if accounts == "heard" {
        return Ok(SweepAccounts::Heard);
    }
    BTreeSet::deserialize(accounts).map(SweepAccounts::Listed).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sweep(payload: &Value) -> SweepRequest {
        match Invocation::parse(&payload.to_string()).unwrap() {
            Invocation::Sweep(request) => *request,
            other @ (Invocation::Event(_) | Invocation::Wrapped(_) | Invocation::Resume) => {
                panic!("{other:?}")
            }
        }
    }

    fn error(payload: &str) -> InvocationError {
        Invocation::parse(payload).unwrap_err()
    }

    #[test]
    fn a_payload_is_one_of_three() {
        assert!(matches!(Invocation::parse(r#"{"resume": {}}"#), Ok(Invocation::Resume)));
        assert_eq!(sweep(&json!({"sweep": {}})), SweepRequest::default());
        let accounts = ["444455556666", "111122223333", "444455556666"];
        let request = sweep(&json!({"sweep": {"accounts": accounts, "ceiling": "deactivate"}}));
        let listed = accounts[..2].iter().map(|account| account.parse().unwrap()).collect();
        assert_eq!(request.accounts, SweepAccounts::Listed(listed));
        assert_eq!(sweep(&json!({"sweep": {"accounts": "heard"}})).accounts, SweepAccounts::Heard);
        assert_eq!(request.ceiling, Some(Ceiling::Deactivate));
        // What is missing in an event is said when it is read.
        for event in
            [r#"{"detail": {}}"#, r#"{"detail-type": "x", "source": "y", "detail": {}, "sweep": {}}"#]
        {
            assert!(matches!(Invocation::parse(event), Ok(Invocation::Event(_))), "{event}");
        }
    }

    #[test]
    fn what_is_wrapped_is_unwrapped() {
        let event = r#"{"eventSource": "iam.amazonaws.com", "eventName": "CreateServiceSpecificCredential"}"#;
        let text = Value::from(event);
        for (payload, events, unreadable) in [
            (event.to_owned(), 1, 0),
            (format!("[{event}, {event}]"), 2, 0),
            (format!(r#"{{"Records": [{{"body": {text}}}, {{"body": "{{}}"}}]}}"#), 1, 0),
            (r#"{"awslogs": {"data": "H4sI"}}"#.to_owned(), 0, 1),
            (r#"{"messageType": "CONTROL_MESSAGE"}"#.to_owned(), 0, 0),
        ] {
            let Ok(Invocation::Wrapped(found)) = Invocation::parse(&payload) else { panic!("{payload}") };
            let count = |kind: fn(&Unwrapped) -> bool| found.iter().filter(|one| kind(one)).count();
            assert_eq!(count(|one| matches!(one, Unwrapped::Event(_))), events, "{payload}");
            assert_eq!(count(|one| matches!(one, Unwrapped::Unreadable(_))), unreadable, "{payload}");
        }
    }

    /// Nobody knows which of them is meant.
    #[test]
    fn a_field_that_is_there_twice_is_unreadable() {
        let event = include_str!("../../events/created-without-age.json");
        let read = |payload: &str| match Invocation::parse(payload).unwrap() {
            Invocation::Event(event) => crate::event::parse(&event).map_err(|why| why.to_string()),
            other @ (Invocation::Wrapped(_) | Invocation::Sweep(_) | Invocation::Resume) => {
                panic!("{other:?}")
            }
        };
        read(event).unwrap();
        let why =
            read(&event.replace("\"userName\":", "\"userName\": \"svc-other\", \"userName\":")).unwrap_err();
        assert!(why.ends_with("userName: expected a text, found more than one field of this name"), "{why}");
        assert_eq!(error(r#"{"sweep": {}, "sweep": {}}"#).error_type(), "InvalidRequest");
    }

    #[test]
    fn everything_else_is_an_error() {
        for (payload, found) in [
            (r#"{"Records": [{"eventSource": "aws:sqs", "body": "{}"}]}"#, "object"),
            (r#"{"Records": [{"EventSource": "aws:sns", "Sns": {"Message": "{}"}}]}"#, "object"),
            (r#"{"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}]}"#, "object"),
            (r#"{"records": [{"data": "e30="}]}"#, "object"),
            (r#"{"eventSource": "aws:sqs", "body": "{}"}"#, "object"),
            (r#"[{"eventSource": "aws:sqs", "body": "{}"}]"#, "list"),
            (r#"{"sweep": {}, "resume": {}}"#, "object"),
            (r#"{"sweep": {}, "other": 1}"#, "object"),
            ("{}", "object"),
            ("42", "number"),
            ("null", "null"),
        ] {
            let error = error(payload);
            assert_eq!(error.error_type(), "UnsupportedPayload", "{payload}");
            assert!(error.to_string().contains(found), "{payload}: {error}");
        }
        assert_eq!(error("{").error_type(), "UnreadableEvent");
    }

    #[test]
    fn a_request_that_cannot_be_read_is_an_error_without_secrets() {
        let secret = "ABSKQmVkcm9ja0FQSUtleS1leGFtcGxlOnNlY3JldA==";
        let checkpoint = json!({"accounts": [], "account": null, "counts": 1});
        for (payload, says) in [
            (json!({"sweep": {"ceiling": "quarantine"}}), "quarantine"),
            (json!({"sweep": {"accounts": ["1"]}}), "12 digits"),
            (json!({"sweep": {"accounts": "all"}}), "invalid type"),
            (json!({"sweep": {"accounts": "Heard"}}), "invalid type"),
            (json!({"sweep": {"celing": "monitor"}}), "celing"),
            (json!({"sweep": {"checkpoint": checkpoint}}), "SweepCounts"),
            (json!({"sweep": []}), "sweep"),
            (json!({"sweep": {"accounts": secret}}), "(redacted)"),
            (json!({"resume": {"ceiling": "delete"}}), "ceiling"),
            (json!({"resume": 1}), "resume"),
            (json!({"resume": []}), "a list"),
        ] {
            let error = error(&payload.to_string());
            assert_eq!(error.error_type(), "InvalidRequest", "{payload}");
            assert!(error.to_string().contains(says), "{payload}: {error}");
            assert!(!error.to_string().contains(secret), "{error}");
        }
    }

    #[test]
    fn no_payload_raises_a_ceiling() {
        use Ceiling::{Deactivate, Delete, Monitor};
        for (asked, allowed, expected) in [
            (None, Delete, Delete),
            (None, Monitor, Monitor),
            (Some(Delete), Monitor, Monitor),
            (Some(Delete), Deactivate, Deactivate),
            (Some(Monitor), Delete, Monitor),
            (Some(Deactivate), Delete, Deactivate),
        ] {
            let request = SweepRequest { ceiling: asked, ..SweepRequest::default() };
            assert_eq!(request.ceiling_within(allowed), expected, "{asked:?} within {allowed:?}");
        }
    }
}
