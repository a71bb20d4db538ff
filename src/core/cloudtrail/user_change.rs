//! Calls that let an IAM user go on when its API key has ended.
//!
//! A console creates an IAM user for an API key, and nothing removes that user. Anybody who gives it an access key, a password
//! or more permissions has a way in that outlives the key.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::{
    Attempt, Call, CredentialEvent, EventKind, Irrelevant, ParsedEvent, Provenance, Unreadable,
};
use super::record::{at, error_code, lenient, text};
use crate::key::{UserName, begins_like_a_console_user};
use crate::text::sanitize_field;

/// The API calls that give an IAM user another way in, or more permissions.
pub const USER_CALLS: [&str; 6] = [
    "CreateAccessKey",
    "CreateLoginProfile",
    "UpdateLoginProfile",
    "AttachUserPolicy",
    "PutUserPolicy",
    "AddUserToGroup",
];

/// The managed policies that the consoles attach to the user of a new API key (IAM user guide, *API keys for AWS services*,
/// "managed policy attached automatically"; Amazon Bedrock user guide, *Modify permissions for long-term and short-term
/// Amazon Bedrock API keys*; CloudWatch and CloudWatch Logs user guides, *Setting up bearer token authentication*). For
/// Claude Platform on AWS and for X-Ray, the AWS Managed Policy Reference has the policies; that the consoles attach these
/// has not been seen.
pub const CONSOLE_POLICIES: [&str; 5] = [
    "AmazonBedrockLimitedAccess",
    "AnthropicLimitedAccess",
    "CloudWatchAPIKeyAccess",
    "CloudWatchLogsAPIKeyAccess",
    "AWSXRayAPIKeyAccess",
];

/// A call that gives an IAM user another way in, or more permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum UserCall {
    /// Creates an access key.
    CreateAccessKey,
    /// Creates a password for the AWS console.
    CreateLoginProfile,
    /// Changes the password for the AWS console.
    UpdateLoginProfile,
    /// Attaches a managed policy.
    AttachUserPolicy,
    /// Adds or replaces an inline policy.
    PutUserPolicy,
    /// Adds the user to a group.
    AddUserToGroup,
}

impl UserCall {
    const ALL: [Self; 6] = [
        Self::CreateAccessKey,
        Self::CreateLoginProfile,
        Self::UpdateLoginProfile,
        Self::AttachUserPolicy,
        Self::PutUserPolicy,
        Self::AddUserToGroup,
    ];

    /// The call's name in AWS.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreateAccessKey => "CreateAccessKey",
            Self::CreateLoginProfile => "CreateLoginProfile",
            Self::UpdateLoginProfile => "UpdateLoginProfile",
            Self::AttachUserPolicy => "AttachUserPolicy",
            Self::PutUserPolicy => "PutUserPolicy",
            Self::AddUserToGroup => "AddUserToGroup",
        }
    }

    pub(super) fn from_event_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|call| call.as_str() == name)
    }

    /// What the response to a successful call has. IAM answers most of these calls with nothing.
    const fn response(self) -> &'static str {
        match self {
            Self::CreateAccessKey => "responseElements.accessKey",
            Self::CreateLoginProfile => "responseElements.loginProfile",
            Self::UpdateLoginProfile
            | Self::AttachUserPolicy
            | Self::PutUserPolicy
            | Self::AddUserToGroup => "responseElements",
        }
    }

    /// Where a record names the user, the most reliable place first. A response has what IAM did. Requests of the first two
    /// calls may leave the user out, and IAM takes the caller (IAM API reference).
    const fn user_paths(self) -> &'static [&'static str] {
        const REQUEST: &str = "requestParameters.userName";
        const CALLER: &str = "userIdentity.userName";
        match self {
            Self::CreateAccessKey => &["responseElements.accessKey.userName", REQUEST, CALLER],
            Self::CreateLoginProfile => &["responseElements.loginProfile.userName", REQUEST, CALLER],
            Self::UpdateLoginProfile
            | Self::AttachUserPolicy
            | Self::PutUserPolicy
            | Self::AddUserToGroup => &[REQUEST],
        }
    }
}

/// An IAM user got another way in, or more permissions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UserChange {
    /// By which call.
    pub call: UserCall,
    /// Which user.
    pub user: UserName,
}

/// Reads a call about an IAM user. It is relevant if a console created the user for an API key, which the name says, or else
/// the ledger: [`CredentialEvent::user_to_look_up`].
pub(super) fn read(
    call: UserCall,
    record: &Value,
    provenance: impl FnOnce() -> Result<Provenance, Unreadable>,
) -> Result<ParsedEvent, Unreadable> {
    let error_code = error_code(record, call.response())?;
    let Some(user) = user(call, record, error_code.is_some())? else {
        return Ok(ParsedEvent::Irrelevant(Irrelevant::UnnamedUser(call)));
    };
    let provenance = provenance()?;
    let kind = match error_code {
        Some(code) => EventKind::Failed(Attempt {
            call: Call::User(call),
            error_code: sanitize_field(code),
            user: Some(user),
            service: None,
        }),
        None => match console_policy(call, record).filter(|_| provenance.actor.console) {
            Some(policy) => return Ok(ParsedEvent::Irrelevant(Irrelevant::ConsolePolicy(policy.to_owned()))),
            None => EventKind::UserChanged(UserChange { call, user }),
        },
    };
    Ok(ParsedEvent::Relevant(Box::new(CredentialEvent { provenance, kind })))
}

/// Whether a record names a user that a console created, by its name.
pub(super) fn names_console_user(call: UserCall, record: &Value) -> bool {
    let names =
        |path: &&&str| text(record, path).is_ok_and(|user| user.is_some_and(begins_like_a_console_user));
    call.user_paths().iter().any(|path| names(&path))
}

/// The user that a call is about. What was asked for by a call that failed may be anything that somebody has typed. A name
/// that IAM would not allow is an error only where it begins like that of a console's user: no other could matter.
fn user(call: UserCall, record: &Value, has_failed: bool) -> Result<Option<UserName>, Unreadable> {
    for path in call.user_paths() {
        // CloudTrail may mask what has a secret in it.
        let is_masked =
            at(record, call.response()).is_ok_and(|response| response.is_some_and(Value::is_string));
        let is_optional = has_failed || (is_masked && path.starts_with(call.response()));
        let name = if is_optional { text(record, path).unwrap_or_default() } else { text(record, path)? };
        let Some(name) = name else { continue };
        let user = if has_failed { lenient(record, path) } else { name.parse().ok() };
        if user.is_none() && !has_failed && begins_like_a_console_user(name) {
            return Err(Unreadable::new(*path, "an IAM user name", "another text"));
        }
        return Ok(user);
    }
    Ok(None)
}

/// The managed policy that a call attaches, if it is one that a console attaches to the user of a new API key.
fn console_policy(call: UserCall, record: &Value) -> Option<&'static str> {
    let arn = match call {
        UserCall::AttachUserPolicy => text(record, "requestParameters.policyArn").ok().flatten()?,
        UserCall::CreateAccessKey
        | UserCall::CreateLoginProfile
        | UserCall::UpdateLoginProfile
        | UserCall::PutUserPolicy
        | UserCall::AddUserToGroup => return None,
    };
    let parts: Vec<_> = arn.split(':').collect();
    let ["arn", _, "iam", "", "aws", policy] = parts[..] else { return None };
    CONSOLE_POLICIES.into_iter().find(|name| policy.strip_prefix("policy/") == Some(*name))
}

impl CredentialEvent {
    /// The user on whom it depends whether the event is relevant, where the user's name does not say that a console created
    /// it. The consoles of CloudWatch and CloudWatch Logs create users of unknown names: the ledger has to be asked whether
    /// the user has an API key that was created in a console session.
    #[must_use]
    pub fn user_to_look_up(&self) -> Option<&UserName> {
        self.user_call().and_then(|(_, user)| user).filter(|user| !user.is_console_user())
    }

    /// Why the event is irrelevant, if it is. `has_console_key`: the ledger has an API key of the user that was created in a
    /// console session.
    #[must_use]
    pub fn irrelevance(&self, has_console_key: bool) -> Option<Irrelevant> {
        self.user_to_look_up().filter(|_| !has_console_key)?;
        self.user_call().map(|(call, _)| Irrelevant::OtherUser(call))
    }

    fn user_call(&self) -> Option<(UserCall, Option<&UserName>)> {
        match &self.kind {
            EventKind::UserChanged(UserChange { call, user }) => Some((*call, Some(user))),
            EventKind::Failed(Attempt { call: Call::User(call), user, .. }) => Some((*call, user.as_ref())),
            EventKind::Failed(Attempt { call: Call::Credential(_), .. })
            | EventKind::Created(_)
            | EventKind::StatusChanged { .. }
            | EventKind::SecretReset(_)
            | EventKind::Deleted(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cloudtrail::{from_json, parse_record};

    fn record(call: &str, request: &Value) -> Value {
        json!({
            "eventSource": "iam.amazonaws.com",
            "eventName": call,
            "eventTime": "2026-11-20T09:00:00Z",
            "eventID": "5d1c0097-7b1e-4c3a-9f00-abc000000097",
            "recipientAccountId": "111122223333",
            "requestParameters": request,
        })
    }

    fn relevant(record: &Value) -> CredentialEvent {
        match parse_record(record) {
            Ok(ParsedEvent::Relevant(event)) => *event,
            other => panic!("{other:?}"),
        }
    }

    fn irrelevant(record: &Value) -> Irrelevant {
        match parse_record(record) {
            Ok(ParsedEvent::Irrelevant(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_call_is_read_with_its_user() {
        assert_eq!(UserCall::ALL.map(UserCall::as_str), USER_CALLS);
        for (call, name) in UserCall::ALL.into_iter().zip(USER_CALLS) {
            let event = relevant(&record(name, &json!({"userName": "BedrockAPIKey-k3qz"})));
            let change = UserChange { call, user: "BedrockAPIKey-k3qz".parse().unwrap() };
            assert_eq!(event.kind, EventKind::UserChanged(change.clone()));
            assert_eq!(serde_json::to_value(change.call).unwrap(), json!(name));
            assert_eq!((event.user_to_look_up(), event.irrelevance(false)), (None, None));
        }
    }

    #[test]
    fn the_ledger_decides_on_a_user_of_another_name() {
        for name in USER_CALLS {
            for error_code in [Value::Null, json!("LimitExceededException")] {
                let mut record = record(name, &json!({"userName": "logs-writer"}));
                record["errorCode"] = error_code;
                let event = relevant(&record);
                assert_eq!(event.user_to_look_up().unwrap().as_str(), "logs-writer");
                assert_eq!(event.irrelevance(true), None);
                let call = UserCall::from_event_name(name).unwrap();
                assert_eq!(event.irrelevance(false), Some(Irrelevant::OtherUser(call)));
            }
        }
    }

    #[test]
    fn a_failed_call_is_an_attempt_where_it_names_the_user() {
        for name in USER_CALLS {
            let mut failed = record(name, &json!({"userName": "AeaApiKey-9h2c"}));
            failed["errorCode"] = json!("NoSuchEntityException");
            let EventKind::Failed(attempt) = relevant(&failed).kind else { panic!() };
            assert_eq!((attempt.call.as_str(), attempt.user.unwrap().as_str()), (name, "AeaApiKey-9h2c"));
            failed["requestParameters"] = Value::Null;
            let call = UserCall::from_event_name(name).unwrap();
            assert_eq!(irrelevant(&failed), Irrelevant::UnnamedUser(call));
        }
    }

    #[test]
    fn a_request_without_a_user_is_about_the_caller() {
        for (name, response) in [
            ("CreateAccessKey", json!({"accessKey": {}})),
            ("CreateLoginProfile", json!({"loginProfile": {}})),
        ] {
            let mut own = record(name, &Value::Null);
            own["responseElements"] = response;
            own["userIdentity"] = json!({"type": "IAMUser", "userName": "BedrockAPIKey-k3qz"});
            assert!(
                matches!(relevant(&own).kind, EventKind::UserChanged(change) if change.user.is_console_user())
            );
            own["userIdentity"] = json!({"type": "Root"});
            assert!(matches!(irrelevant(&own), Irrelevant::UnnamedUser(_)), "{name}");
        }
    }

    /// Of two names, either may be that of a console's user. A further place does not decide which.
    #[test]
    fn a_user_that_is_named_twice_is_unreadable() {
        let created = record("CreateAccessKey", &json!({"userName": "logs-writer"})).to_string();
        let twice = |field: &str| {
            let text = created.replace("\"requestParameters\"", &format!("{field},\"requestParameters\""));
            parse_record(&from_json(text.as_bytes()).unwrap())
        };
        let named = r#""responseElements":{"accessKey":{"userName":"BedrockAPIKey-k3qz"}}"#;
        assert!(matches!(twice(named), Ok(ParsedEvent::Relevant(_))));
        for (field, path) in [
            (
                r#""responseElements":{"accessKey":{"userName":"a","userName":"BedrockAPIKey-k3qz"}}"#,
                "responseElements.accessKey.userName",
            ),
            (
                r#""responseElements":{"accessKey":{"userName":"BedrockAPIKey-k3qz"},"accessKey":{}}"#,
                "responseElements.accessKey",
            ),
            (r#""requestParameters":{"userName":"BedrockAPIKey-k3qz"}"#, "requestParameters"),
        ] {
            let why = twice(field).unwrap_err().to_string();
            assert!(why.starts_with(&format!("field {path}: ")), "{why}");
            assert!(why.ends_with("found more than one field of this name"), "{why}");
        }
    }

    #[test]
    fn what_the_consoles_attach_to_the_user_of_a_new_key_is_irrelevant() {
        let attach = |arn: &str, console: bool| {
            let mut record =
                record("AttachUserPolicy", &json!({"userName": "BedrockAPIKey-k3qz", "policyArn": arn}));
            record["sessionCredentialFromConsole"] = json!(console.to_string());
            record
        };
        for policy in CONSOLE_POLICIES {
            for partition in ["aws", "aws-us-gov", "aws-cn", "aws-eusc"] {
                let arn = format!("arn:{partition}:iam::aws:policy/{policy}");
                assert_eq!(irrelevant(&attach(&arn, true)), Irrelevant::ConsolePolicy(policy.to_owned()));
                relevant(&attach(&arn, false));
            }
        }
        for arn in [
            "arn:aws:iam::aws:policy/AdministratorAccess",
            "arn:aws:iam::111122223333:policy/AmazonBedrockLimitedAccess",
            "arn:aws:iam::aws:policy/team/AmazonBedrockLimitedAccess",
            "arn:aws:iam::aws:policy/AmazonBedrockLimitedAccess2",
            "AmazonBedrockLimitedAccess",
        ] {
            relevant(&attach(arn, true));
        }
        // An inline policy of that name allows anything.
        let mut inline = attach("arn:aws:iam::aws:policy/AmazonBedrockLimitedAccess", true);
        inline["eventName"] = json!("PutUserPolicy");
        relevant(&inline);
    }
}
