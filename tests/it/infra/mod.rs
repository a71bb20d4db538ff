//! The deployment templates against the code: the pattern matches exactly the events that are ours, the role grants
//! exactly the calls that are made, the table is the one that the ledger uses.

mod alarms;
mod defaults;
#[cfg(unix)]
mod deploy;
mod emulator;
mod events;
mod guards;
mod recovery;
mod roles;
mod schedules;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::event;
use crate::support::iam::Iam;
use crate::support::template::Template;

const ORGANIZATION: [(&str, &str); 2] = [("OrganizationId", "o-exampleorg1"), ("ResponderRole", "responder")];

const MEMBER: [(&str, &str); 2] = [
    ("LedgerBusArn", "arn:aws:events:us-east-1:111122223333:event-bus/bedrock-key-guard-members"),
    ("GuardRoleArn", "arn:aws:iam::111122223333:role/bedrock-key-guard-us-east-1"),
];

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn ledger_account(ceiling: &str) -> Template {
    Template::load("template.yaml", &[&ORGANIZATION[..], &[("Ceiling", ceiling)]].concat())
}

fn member_account(ceiling: &str) -> Template {
    Template::load("member.yaml", &[&MEMBER[..], &[("Ceiling", ceiling)]].concat())
}

fn statements(role: &Value) -> Vec<Value> {
    let policies = role["Policies"].as_array().unwrap();
    assert_eq!(policies.len(), 1);
    policies[0]["PolicyDocument"]["Statement"].as_array().unwrap().clone()
}

fn actions(role: &Value) -> BTreeSet<String> {
    let texts = |value: &Value| match value {
        Value::Array(texts) => texts.clone(),
        text => vec![text.clone()],
    };
    let all = statements(role).into_iter().flat_map(|statement| {
        assert_eq!(statement["Effect"], "Allow");
        texts(&statement["Action"])
    });
    all.map(|action| action.as_str().unwrap().to_owned()).collect()
}

/// The creation event of a key of a user, in an account. IAM has the key.
fn create_key(iam: &Iam, name: &str, account: &str, user: &str, id: &str) -> Value {
    let mut event = event(name);
    event["account"] = json!(account);
    let detail = &mut event["detail"];
    detail["recipientAccountId"] = json!(account);
    detail["requestParameters"]["userName"] = json!(user);
    let credential = &mut detail["responseElements"]["serviceSpecificCredential"];
    credential["userName"] = json!(user);
    credential["serviceSpecificCredentialId"] = json!(id);
    credential["serviceUserName"] = json!(format!("{user}-at-{account}"));
    iam.put_created(&event, None);
    event
}

/// Every change of what is deployed is seen here, with each permission, target, queue and alarm.
#[test]
fn what_is_deployed_is_what_was_reviewed() {
    let resources = |template: Template| -> BTreeMap<String, Value> {
        let names = template.names();
        names.into_iter().filter_map(|name| Some((name.clone(), template.resource(&name)?))).collect()
    };
    insta::assert_json_snapshot!("ledger-account", resources(ledger_account("delete")));
    insta::assert_json_snapshot!("member-account", resources(member_account("delete")));
}
