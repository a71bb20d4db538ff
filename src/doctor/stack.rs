//! What is gathered of a stack.

use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;

use chrono::{DateTime, Utc};

use super::finding::{Answer, Unavailable};
use super::operation::Operation;
use super::trail::Trail;
use crate::config::{
    CEILING, Config, ConfigError, POLICY, REPORTS_BUS, RESPONDER_ROLE, TABLE, refuse_unknown,
};
use key_guard_core::key::CONSOLE_USER_PREFIXES;
use key_guard_core::policy::Response;

/// The ARN of a Lambda function, with or without version or alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionArn {
    /// `aws`, `aws-us-gov`, `aws-cn` or `aws-eusc`.
    pub partition: String,
    /// Its region.
    pub region: String,
    /// Its account.
    pub account: String,
    /// Its name.
    pub name: String,
    /// All of it.
    pub arn: String,
}

impl FromStr for FunctionArn {
    type Err = &'static str;
    fn from_str(arn: &str) -> Result<Self, &'static str> {
        let parts: Vec<&str> = arn.split(':').collect();
        match parts[..] {
            ["arn", partition, "lambda", region, account, "function", name]
            | ["arn", partition, "lambda", region, account, "function", name, _]
                if ![partition, region, account, name].contains(&"") =>
            {
                Ok(Self {
                    partition: partition.to_owned(),
                    region: region.to_owned(),
                    account: account.to_owned(),
                    name: name.to_owned(),
                    arn: arn.to_owned(),
                })
            }
            _ => Err("expected the ARN of a Lambda function"),
        }
    }
}

/// What was gathered of a stack.
#[derive(Debug, Clone)]
pub struct Stack {
    /// The function: without it there is nothing to check.
    pub function: Function,
    /// Its reserved concurrency, if any.
    pub concurrency: Answer<Option<i32>>,
    /// What becomes of failed invocations.
    pub invocations: Answer<Invocations>,
    /// Its resource-based policy.
    pub permission: Answer<String>,
    /// The rules of the default bus that target it.
    pub rules: Answer<Vec<Rule>>,
    /// The trails that are seen from its region.
    pub trails: Answer<Vec<Trail>>,
    /// The table that it writes to.
    pub table: Answer<Table>,
    /// Whether the table can be restored to any point in time.
    pub recovery: Answer<bool>,
    /// What its role allows of [`Function::asks`].
    pub role: Answer<Vec<(PermissionCheck, Decision)>>,
    /// The queue of [`Stack::on_failure`].
    pub failed: Answer<QueueDepth>,
    /// The rules' queues.
    pub undelivered: Vec<Answer<QueueDepth>>,
    /// When the guard last counted an event; absent: not in [`LOOK_BACK_DAYS`].
    pub last_event: Answer<DateTime<Utc>>,
    /// How it has been doing.
    pub operation: Operation,
}

/// The function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its ARN.
    pub arn: FunctionArn,
    /// `State`, and why.
    pub state: (String, Option<String>),
    /// `LastUpdateStatus`, and why.
    pub update: (String, Option<String>),
    /// The ARN of its role.
    pub role: String,
    /// Its timeout, in seconds.
    pub timeout_seconds: i32,
    /// Its memory, in MB.
    pub memory_mb: i32,
    /// Its environment; failed: Lambda cannot decrypt it.
    pub environment: Answer<HashMap<String, String>>,
    /// The ARN of its own dead-letter queue or topic.
    pub dead_letter: Option<String>,
}

/// What becomes of failed invocations (Lambda API reference, `GetFunctionEventInvokeConfig`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocations {
    /// The ARN that failed invocations go to.
    pub on_failure: Option<String>,
    /// How often Lambda repeats one; two times where that is not set.
    pub retries: Option<i32>,
    /// How old an event may get; six hours where that is not set.
    pub age_seconds: Option<i32>,
}

/// A rule that targets the function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// What it is.
    pub described: Answer<Described>,
    /// Its targets that are the function.
    pub targets: Answer<Vec<Target>>,
}

/// What a rule is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Whether it is enabled, for whatever events.
    pub enabled: bool,
    /// Its pattern; `None`: a schedule.
    pub pattern: Option<String>,
}

/// A target of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its id in the rule.
    pub id: String,
    /// Whether EventBridge hands over something else than the event.
    pub rewritten: bool,
    /// Whether EventBridge takes a role to invoke it.
    pub role: bool,
    /// The ARN of the queue for what cannot be delivered.
    pub dead_letter: Option<String>,
}

/// The table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// `TableStatus`.
    pub status: String,
    /// Its keys: name and type, partition key first.
    pub keys: Vec<(String, String)>,
    /// Its indexes.
    pub indexes: Vec<Index>,
    /// `DeletionProtectionEnabled`.
    pub protected: bool,
}

/// An index of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// `IndexStatus`.
    pub status: String,
    /// Its keys, as a table's.
    pub keys: Vec<(String, String)>,
}

/// A queue, and how many messages are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDepth {
    /// Its ARN.
    pub arn: String,
    /// Its URL.
    pub url: String,
    /// Messages that wait, are being read, or are delayed.
    pub messages: u64,
}

/// A question to IAM: does the role allow this?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionCheck {
    /// The action.
    pub action: &'static str,
    /// The resource.
    pub resource: String,
    /// Whether the guard needs it; otherwise it should not have it.
    pub needed: bool,
}

/// IAM's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Allowed.
    Allowed,
    /// Not allowed; under conditions on these keys it may be.
    NotAllowed(Vec<String>),
    /// IAM did not say.
    Missing,
}

/// How far back the last event is looked for.
pub const LOOK_BACK_DAYS: i64 = 14;

/// An account that nobody has, to ask about roles of other accounts.
pub(super) const SOME_ACCOUNT: &str = "000000000000";

/// The environment, as the function reads it at its start. The policy file is in its package and cannot be read from here.
pub(super) fn read_environment(environment: &HashMap<String, String>) -> Result<Config, ConfigError> {
    // In the order of the alphabet, so that the same environment gives the same message.
    let names: BTreeSet<_> = environment.keys().cloned().collect();
    refuse_unknown(names.into_iter())?;
    read(environment, None)
}

/// The environment, or one variable of it whatever the others are.
fn read(environment: &HashMap<String, String>, only: Option<&str>) -> Result<Config, ConfigError> {
    Config::read(|name| match only {
        _ if name == POLICY => None,
        Some(only) if only != name => (name == TABLE).then(|| "any".to_owned()),
        Some(_) | None => environment.get(name).cloned(),
    })
}

impl Function {
    fn setting(&self, variable: &str) -> Answer<Config> {
        let environment = self.environment.as_ref().map_err(Clone::clone)?;
        read(environment, Some(variable))
            .map_err(|_| Unavailable::Unasked(format!("{variable} cannot be used")))
    }

    /// The table that it writes to.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn table(&self) -> Answer<String> {
        self.setting(TABLE).map(|config| config.table.into())
    }

    /// Its ceiling.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn ceiling(&self) -> Answer<Response> {
        self.setting(CEILING).map(|config| config.ceiling.response())
    }

    /// The name of the role that it assumes in other accounts.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn responder(&self) -> Answer<Option<String>> {
        self.setting(RESPONDER_ROLE).map(|config| config.responder.map(|role| role.to_string()))
    }

    /// The name of the bus that it publishes findings on.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn reports_bus(&self) -> Answer<Option<String>> {
        self.setting(REPORTS_BUS).map(|config| config.reports_bus.map(|bus| bus.to_string()))
    }

    /// Where the policy is from; `None`: it is built in.
    #[must_use]
    pub fn custom_policy(&self) -> Option<&str> {
        self.environment.as_ref().ok()?.get(POLICY).map(String::as_str)
    }

    pub(super) fn other_accounts(&self) -> bool {
        !matches!(self.responder(), Ok(None))
    }

    /// What to ask IAM about its role. `account` is one of the other accounts, for the role there.
    ///
    /// `TransactWriteItems` takes the actions of what is in it, `dynamodb:PutItem` and `dynamodb:UpdateItem`
    /// (DynamoDB developer guide, *Using IAM with DynamoDB transactions*). A list over all users is authorised on
    /// `user/*` (IAM API reference, `ListServiceSpecificCredentials`), and so are here the actions on any user: a
    /// grant for some of them is not enough.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn asks(&self, account: Option<&str>) -> Answer<Vec<PermissionCheck>> {
        let (table, ceiling, responder) = (self.table()?, self.ceiling()?, self.responder()?);
        let FunctionArn { partition, region, account: own, .. } = &self.arn;
        let table = format!("arn:{partition}:dynamodb:{region}:{own}:table/{table}");
        let [by_user, by_account, by_due] =
            ["by_user", "by_account", "by_due"].map(|index| format!("{table}/index/{index}"));
        let users = format!("arn:{partition}:iam::{own}:user/*");
        let (deactivates, deletes) = (ceiling >= Response::Deactivate, ceiling >= Response::Delete);
        let mut asks: Vec<PermissionCheck> = [
            ("dynamodb:PutItem", &table, true),
            ("dynamodb:UpdateItem", &table, deletes),
            ("dynamodb:BatchGetItem", &table, true),
            ("dynamodb:DeleteItem", &table, false),
            ("dynamodb:DeleteTable", &table, false),
            ("dynamodb:Query", &table, true),
            ("dynamodb:Query", &by_user, true),
            ("dynamodb:Query", &by_account, true),
            ("dynamodb:Query", &by_due, true),
            ("iam:ListServiceSpecificCredentials", &users, true),
            ("iam:UpdateServiceSpecificCredential", &users, deactivates),
            ("iam:DeleteServiceSpecificCredential", &users, deletes),
            ("iam:CreateServiceSpecificCredential", &users, false),
            ("iam:ResetServiceSpecificCredential", &users, false),
            ("iam:CreateAccessKey", &users, false),
        ]
        .map(|(action, resource, needed)| PermissionCheck { action, resource: resource.clone(), needed })
        .into();
        for prefix in CONSOLE_USER_PREFIXES {
            for action in ["iam:ListAttachedUserPolicies", "iam:ListAccessKeys"] {
                let resource = format!("arn:{partition}:iam::{own}:user/{prefix}*");
                asks.push(PermissionCheck { action, resource, needed: true });
            }
        }
        if let Some(bus) = self.reports_bus()? {
            let resource = format!("arn:{partition}:events:{region}:{own}:event-bus/{bus}");
            asks.push(PermissionCheck { action: "events:PutEvents", resource, needed: true });
        }
        if let Some(role) = responder {
            let account = account.unwrap_or(SOME_ACCOUNT);
            let resource = format!("arn:{partition}:iam::{account}:role/{role}");
            asks.push(PermissionCheck { action: "sts:AssumeRole", resource, needed: true });
        }
        Ok(asks)
    }
}

impl Stack {
    /// Where failed invocations go: the on-failure destination, or else the function's dead-letter queue.
    ///
    /// # Errors
    /// Why that is not known; [`Unavailable::Absent`]: nowhere.
    pub fn on_failure(function: &Function, invocations: &Answer<Invocations>) -> Answer<String> {
        let destination = match invocations {
            Ok(invocations) => invocations.on_failure.clone(),
            Err(Unavailable::Absent) => None,
            Err(gap) => return Err(gap.clone()),
        };
        destination.or_else(|| function.dead_letter.clone()).ok_or(Unavailable::Absent)
    }
}

/// The name and account of an SQS queue's ARN.
#[must_use]
pub fn queue(arn: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = arn.split(':').collect();
    match parts[..] {
        ["arn", _, "sqs", _, account, name] => Some((name, account)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_named_with_and_without_alias() {
        for (arn, name) in [
            ("arn:aws:lambda:us-east-1:111122223333:function:guard", Some("guard")),
            ("arn:aws-cn:lambda:cn-north-1:111122223333:function:guard:live", Some("guard")),
            ("guard", None),
            ("arn:aws:lambda:us-east-1:111122223333:function:", None),
            ("arn:aws:lambda:us-east-1:111122223333:layer:guard:1", None),
        ] {
            let parsed: Result<FunctionArn, _> = arn.parse();
            assert_eq!(parsed.ok().map(|arn| arn.name).as_deref(), name, "{arn}");
        }
    }

    #[test]
    fn only_queues_have_messages() {
        assert_eq!(queue("arn:aws:sqs:us-east-1:111122223333:failed"), Some(("failed", "111122223333")));
        assert_eq!(queue("arn:aws:sns:us-east-1:111122223333:failed"), None);
        assert_eq!(queue("failed"), None);
    }
}
