//! The built function, with stand-ins for everything that it calls, and events about keys as EventBridge delivers them.

use bedrock_key_guard::clock::{Clock as _, SystemClock};
use bedrock_key_guard::ledger::audit::heard::HEARTBEAT_ROLE;
use bedrock_key_guard::ledger::policy::{AppendedPolicy, PolicyVersion, sha256_of};
use bedrock_key_guard::ledger::store::Ledger;
use chrono::{DateTime, SecondsFormat, SubsecRound as _, TimeDelta, TimeZone as _, Utc};
use key_guard_core::lifecycle::state::KeyState;
use serde_json::{Value, json};

use super::dynamodb::{Dynamo, phase_name};
use super::event_bridge::EventBridge;
use super::iam::Iam;
use super::runtime_api::Function;
use super::{OWN, event};

pub const TABLE: &str = "keys";
pub const BUS: &str = "reports";

pub struct Deployment {
    pub dynamo: Dynamo,
    pub iam: Iam,
    pub bus: EventBridge,
}

impl Deployment {
    pub async fn new() -> Self {
        let deployment = Self { dynamo: Dynamo::start(), iam: Iam::start(), bus: EventBridge::start() };
        deployment.dynamo.ledger(TABLE).await;
        deployment
    }

    /// Starts the function with these variables beside those that it needs.
    pub fn start(&self, more: &[(&str, &str)]) -> Function {
        let mut variables = vec![
            ("KEY_GUARD_TABLE", TABLE),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.dynamo.url()),
            ("AWS_ENDPOINT_URL_EVENTBRIDGE", self.bus.url()),
            ("AWS_ENDPOINT_URL_IAM", self.iam.url()),
            ("AWS_ENDPOINT_URL_STS", self.iam.url()),
        ];
        variables.extend(more);
        Function::start(&variables)
    }

    /// The phase of a key, as it is stored.
    pub fn phase(&self, id: &str) -> &'static str {
        self.state(id).map_or("no record", |state| phase_name(&state))
    }

    /// When a key is to be deleted.
    pub fn delete_after(&self, id: &str) -> Option<DateTime<Utc>> {
        self.state(id)?.record()?.delete_after
    }

    fn state(&self, id: &str) -> Option<KeyState> {
        let states = self.dynamo.states(TABLE).into_iter();
        states.filter(|(key, _)| key.id.as_str() == id).map(|(_, state)| state).next()
    }

    /// Lets time pass: leases, observations of IAM and quarantines are older than they were. The function's clock is the
    /// machine's, so the items are changed past the store, which would count a version and write a line of history.
    pub fn pass_time(&self, by: TimeDelta) {
        self.dynamo.change_items(TABLE, |item| {
            for path in ["/intent/M/lease/M/until/S", "/observation/M/asked_at/S", "/delete_after/S"] {
                if let Some(time) = item.pointer_mut(path) {
                    let at: DateTime<Utc> = time.as_str().unwrap().parse().unwrap();
                    *time = json!(at - by);
                }
            }
            if let Some(due) = item.pointer_mut("/due_at/S")
                && let Ok(at) = due.as_str().unwrap().parse::<DateTime<Utc>>()
            {
                *due = json!((at - by).to_rfc3339_opts(SecondsFormat::Secs, true));
            }
        });
    }
}

/// Appends a version of the policy to the table, whatever its text is.
pub async fn push(world: &Deployment, text: &str) -> PolicyVersion {
    let store = Ledger::dynamodb(world.dynamo.client().await, TABLE);
    let newest = store.newest_policy().await.unwrap().map_or(0, |newest| newest.number);
    let version = policy_version(newest + 1, text);
    assert_eq!(store.append_policy(&version).await.unwrap(), AppendedPolicy::Appended);
    version
}

/// A version of the policy, whatever its text is.
pub fn policy_version(number: u32, text: &str) -> PolicyVersion {
    PolicyVersion {
        number,
        text: text.to_owned(),
        sha256: sha256_of(text),
        pushed_at: Utc.with_ymd_and_hms(2026, 11, 1, 9, 0, 0).unwrap(),
        pushed_by: format!("arn:aws:iam::{OWN}:user/maria"),
        reason: None,
    }
}

/// A policy file. It is deleted with the value.
pub fn policy(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// The heartbeat of an account, made at this time.
pub fn heartbeat_at(account: &str, at: DateTime<Utc>) -> Value {
    let mut event = event("denied");
    event["account"] = json!(account);
    let detail = &mut event["detail"];
    detail["recipientAccountId"] = json!(account);
    detail["eventID"] = json!(format!("{:08x}-7b1e-4c3a-9f00-{account}", at.timestamp()));
    detail["eventName"] = json!("DeleteServiceSpecificCredential");
    detail["eventTime"] = json!(text(at));
    detail["userIdentity"] = json!({
        "type": "AssumedRole",
        "arn": format!("arn:aws:sts::{account}:assumed-role/{HEARTBEAT_ROLE}/session"),
        "accountId": account,
        "sessionContext": {"sessionIssuer": {
            "type": "Role", "arn": format!("arn:aws:iam::{account}:role/{HEARTBEAT_ROLE}"), "accountId": account,
        }},
    });
    event
}

/// A key of an IAM user, and the events about it.
#[derive(Debug, Clone)]
pub struct TestKey {
    pub id: String,
    pub user: String,
    pub account: &'static str,
    pub created: DateTime<Utc>,
    /// Its lifetime. None: it never expires.
    pub days: Option<i64>,
}

impl TestKey {
    /// A key that was created some minutes ago.
    pub fn new(number: u32, days: Option<i64>) -> Self {
        Self {
            id: format!("ACCAENDTOEND{number:09}"),
            user: "svc-chatbot".to_owned(),
            account: OWN,
            created: (SystemClock.now() - TimeDelta::minutes(5)).trunc_subsecs(0),
            days,
        }
    }

    /// Puts the key into IAM.
    pub fn exists_in(self, iam: &Iam) -> Self {
        iam.put(&self.id, &self.user, self.created, self.days);
        iam.change(&self.id, |key| self.account.clone_into(&mut key.account));
        iam.add_user(self.account, &self.user);
        self
    }

    /// How long ago it was created.
    pub fn age(&self) -> TimeDelta {
        SystemClock.now() - self.created
    }

    pub fn created(&self) -> Value {
        let mut event = self.event("created-without-age", TimeDelta::zero());
        let detail = &mut event["detail"];
        let credential = &mut detail["responseElements"]["serviceSpecificCredential"];
        credential["serviceSpecificCredentialId"] = json!(self.id);
        credential["userName"] = json!(self.user);
        credential["createDate"] = json!(text(self.created));
        if let Some(days) = self.days {
            credential["expirationDate"] = json!(text(self.created + TimeDelta::days(days)));
            detail["requestParameters"]["credentialAgeDays"] = json!(days);
        }
        event
    }

    pub fn activated(&self, after: TimeDelta) -> Value {
        self.event("status-changed-to-active", after)
    }

    pub fn deactivated(&self, after: TimeDelta) -> Value {
        self.event("status-changed-to-inactive", after)
    }

    pub fn deleted(&self, after: TimeDelta) -> Value {
        self.event("deleted", after)
    }

    fn event(&self, name: &str, after: TimeDelta) -> Value {
        let mut event = event(name);
        let at = json!(text(self.created + after));
        event["account"] = json!(self.account);
        event["time"].clone_from(&at);
        let detail = &mut event["detail"];
        detail["recipientAccountId"] = json!(self.account);
        detail["eventID"] = json!(format!("{}-{name}-{}", self.id, after.num_milliseconds()));
        detail["eventTime"] = at;
        detail["requestParameters"]["userName"] = json!(self.user);
        if name != "created-without-age" {
            detail["requestParameters"]["serviceSpecificCredentialId"] = json!(self.id);
        }
        event
    }
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
