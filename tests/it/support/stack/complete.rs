//! The stack as it is where nothing is missing.

use std::collections::{BTreeMap, BTreeSet};

use bedrock_key_guard::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use super::super::{OTHER, OWN};
use super::{
    FAILED, FUNCTION, RESPONDER, RULE, State, TABLE, TOPIC, TRAIL, TrailState, UNDELIVERED, arn, pattern,
};

impl State {
    pub fn complete() -> Self {
        let role = format!("arn:aws:iam::{OWN}:role/service/key-guard");
        Self {
            functions: BTreeMap::from([(FUNCTION.to_owned(), function(&role))]),
            concurrency: None,
            invocations: Some(json!({
                "MaximumRetryAttempts": 2,
                "DestinationConfig": {"OnFailure": {"Destination": arn("sqs", FAILED)}},
            })),
            policy: Some(function_policy()),
            rules: BTreeMap::from([(RULE.to_owned(), rule())]),
            targets: BTreeMap::from([(RULE.to_owned(), targets())]),
            trails: vec![trail()],
            tables: BTreeMap::from([(TABLE.to_owned(), table())]),
            recovery: "ENABLED",
            role: Some(role),
            grants: grants(),
            conditions: BTreeMap::new(),
            queues: BTreeMap::from([(FAILED.to_owned(), [0; 3]), (UNDELIVERED.to_owned(), [0; 3])]),
            history: Box::new(Vec::new),
            counted: vec![(1_764_000_000, 3.0), (1_763_990_000, 1.0), (1_764_007_200, 0.0)],
            metrics: BTreeMap::from([
                ("SweepCompleted", vec![(5, 1.0), (29, 1.0)]),
                ("SweepFailures", vec![(5, 0.0)]),
                ("ResumeCompleted", vec![(0, 3.0), (1, 6.0)]),
            ]),
            alarms: vec![
                alarm("key-guard-failed", "BedrockKeyGuard", None),
                alarm("key-guard-errors", "AWS/Lambda", Some(FUNCTION)),
                // Somebody else's.
                json!({"AlarmName": "other", "Namespace": "AWS/Lambda", "ActionsEnabled": false, "AlarmActions": [],
                    "Dimensions": [{"Name": "FunctionName", "Value": "other"}]}),
            ],
            topics: BTreeMap::from([(arn("sns", TOPIC), [2, 0])]),
            items: vec![heard(OWN, 1), heard(OTHER, 2)],
            due: vec![json!({
                "due_key": {"S": "OPEN#0"}, "due_at": {"S": "2025-11-24T16:00:00Z"},
                "pk": {"S": "KEY#ACCAEXAMPLEKEY0000001"}, "sk": {"S": format!("{OWN}#STATE")},
            })],
            refused: BTreeMap::new(),
            asked: Vec::new(),
        }
    }
}

/// An alarm that tells the topic.
fn alarm(name: &str, namespace: &str, function: Option<&str>) -> Value {
    let dimensions: Vec<_> =
        function.map(|name| json!({"Name": "FunctionName", "Value": name})).into_iter().collect();
    json!({
        "AlarmName": name, "Namespace": namespace, "Dimensions": dimensions, "ActionsEnabled": true,
        "AlarmActions": [arn("sns", TOPIC)],
    })
}

/// The last heartbeat of an account, so many hours ago.
pub fn heard(account: &str, hours: i64) -> Value {
    let at = SystemClock.now() - chrono::TimeDelta::hours(hours);
    json!({
        "pk": {"S": "HEARD"}, "sk": {"S": account}, "v": {"N": "4"}, "version": {"N": "1"}, "kind": {"S": "heard"},
        "last_heard": {"S": at.to_rfc3339()},
    })
}

fn function(role: &str) -> Value {
    json!({
        "FunctionName": FUNCTION,
        "FunctionArn": arn("lambda", &format!("function:{FUNCTION}")),
        "Role": role,
        "Timeout": 900,
        "MemorySize": 256,
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "Environment": {"Variables": {
            "KEY_GUARD_TABLE": TABLE,
            "KEY_GUARD_CEILING": "delete",
            "KEY_GUARD_SWEEP_CEILING": "monitor",
            "KEY_GUARD_REPORTS_BUS": "reports",
            "KEY_GUARD_CONTACT": "security@example.com",
            "KEY_GUARD_POLICY": "/var/task/policy.toml",
            "KEY_GUARD_RESPONDER_ROLE": RESPONDER,
        }},
    })
}

/// Who may invoke the function.
fn function_policy() -> Value {
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": arn("lambda", &format!("function:{FUNCTION}")),
        "Condition": {"ArnLike": {"AWS:SourceArn": arn("events", &format!("rule/{RULE}"))}},
    }]})
}

fn rule() -> Value {
    json!({"Name": RULE, "State": "ENABLED", "EventPattern": pattern().to_string()})
}

/// The targets of the rule: another one, then the function.
fn targets() -> Vec<Value> {
    let other = json!({"Id": "log", "Arn": arn("logs", "log-group:iam")});
    let function = json!({
        "Id": "guard",
        "Arn": arn("lambda", &format!("function:{FUNCTION}")),
        "DeadLetterConfig": {"Arn": arn("sqs", UNDELIVERED)},
    });
    vec![other, function]
}

fn trail() -> TrailState {
    TrailState {
        trail: json!({
            "Name": TRAIL,
            "TrailARN": arn("cloudtrail", &format!("trail/{TRAIL}")),
            "HomeRegion": "us-east-1",
            "IsMultiRegionTrail": true,
            "IncludeGlobalServiceEvents": true,
            "IsOrganizationTrail": false,
        }),
        logging: true,
        selectors: json!({"EventSelectors": [
            {"ReadWriteType": "WriteOnly", "IncludeManagementEvents": true, "DataResources": []},
        ]}),
        account: OWN,
    }
}

fn table() -> Value {
    let key = |name: &str, kind: &str| json!({"AttributeName": name, "KeyType": kind});
    let index = |name: &str| {
        let sort = if name == "due" { "due_at" } else { "at_key" };
        json!({
            "IndexName": format!("by_{name}"),
            "IndexStatus": "ACTIVE",
            "KeySchema": [key(&format!("{name}_key"), "HASH"), key(sort, "RANGE")],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        })
    };
    let indexed = ["month", "user", "role", "account", "due", "actor"];
    let attributes: Vec<_> = ["pk", "sk", "at_key", "due_at"]
        .into_iter()
        .map(str::to_owned)
        .chain(indexed.iter().map(|name| format!("{name}_key")))
        .map(|name| json!({"AttributeName": name, "AttributeType": "S"}))
        .collect();
    json!({
        "TableName": TABLE,
        "TableStatus": "ACTIVE",
        "AttributeDefinitions": attributes,
        // Out of order: nothing says that DynamoDB sorts them.
        "KeySchema": [key("sk", "RANGE"), key("pk", "HASH")],
        "GlobalSecondaryIndexes": indexed.map(index),
        "DeletionProtectionEnabled": true,
    })
}

/// What the role allows under the ceiling `delete`.
fn grants() -> BTreeSet<(&'static str, String)> {
    let table = arn("dynamodb", &format!("table/{TABLE}"));
    let user = |name: &str| format!("arn:aws:iam::{OWN}:user/{name}");
    BTreeSet::from([
        ("dynamodb:PutItem", table.clone()),
        ("dynamodb:UpdateItem", table.clone()),
        ("dynamodb:BatchGetItem", table.clone()),
        ("dynamodb:Query", table.clone()),
        ("dynamodb:Query", format!("{table}/index/by_account")),
        ("dynamodb:Query", format!("{table}/index/by_due")),
        ("dynamodb:Query", format!("{table}/index/by_user")),
        ("events:PutEvents", arn("events", "event-bus/reports")),
        ("iam:ListServiceSpecificCredentials", user("*")),
        ("iam:UpdateServiceSpecificCredential", user("*")),
        ("iam:DeleteServiceSpecificCredential", user("*")),
        ("iam:ListAttachedUserPolicies", user("BedrockAPIKey-*")),
        ("iam:ListAttachedUserPolicies", user("AeaApiKey-*")),
        ("iam:ListAccessKeys", user("BedrockAPIKey-*")),
        ("iam:ListAccessKeys", user("AeaApiKey-*")),
        ("sts:AssumeRole", format!("arn:aws:iam::*:role/{RESPONDER}")),
    ])
}
