//! Each defect of a stack alone: the checks that find it, and how they say to fix it.

use std::collections::BTreeMap;

use serde_json::json;

use super::{CHECKS, examine};
use crate::support::OWN;
use crate::support::stack::{FAILED, RULE, State, UNDELIVERED, arn, pattern};

/// A name, what is broken, the checks that say so with their status, and what the fix names.
type Defect = (&'static str, fn(&mut State), &'static [(&'static str, &'static str)], &'static str);

const DEFECTS: &[Defect] = &[
    (
        "the function failed",
        |state| {
            state.function()["State"] = json!("Failed");
            state.function()["StateReason"] = json!("the image is gone");
        },
        &[("function", "fail")],
        "deploy",
    ),
    (
        "the function is inactive",
        |state| state.function()["State"] = json!("Inactive"),
        &[("function", "warn")],
        "function-active-v2",
    ),
    (
        "the last update failed",
        |state| state.function()["LastUpdateStatus"] = json!("Failed"),
        &[("function", "warn")],
        "deploy it again",
    ),
    (
        "the timeout is short",
        |state| state.function()["Timeout"] = json!(10),
        &[("timeout", "warn")],
        "--timeout 900",
    ),
    (
        "the timeout is enough for events only",
        |state| state.function()["Timeout"] = json!(30),
        &[("timeout", "warn")],
        "--timeout 900",
    ),
    (
        "a reservation of nothing",
        |state| state.concurrency = Some(0),
        &[("concurrency", "fail")],
        "delete-function-concurrency",
    ),
    (
        "the table is not named",
        |state| _ = state.variables().as_object_mut().unwrap().remove("KEY_GUARD_TABLE"),
        &[
            ("configuration", "fail"),
            ("overdue", "unknown"),
            ("role", "unknown"),
            ("silent_accounts", "unknown"),
            ("table", "unknown"),
            ("table_protection", "unknown"),
            ("table_recovery", "unknown"),
        ],
        "set KEY_GUARD_TABLE",
    ),
    (
        "the ceiling is no ceiling",
        |state| state.variables()["KEY_GUARD_CEILING"] = json!("Delete"),
        &[("configuration", "fail"), ("role", "unknown")],
        "set KEY_GUARD_CEILING",
    ),
    (
        "the responder is an ARN",
        |state| state.variables()["KEY_GUARD_RESPONDER_ROLE"] = json!("arn:aws:iam::111122223333:role/x"),
        &[("configuration", "fail"), ("role", "unknown"), ("responders", "unknown")],
        "set KEY_GUARD_RESPONDER_ROLE",
    ),
    (
        "the contact has two lines",
        |state| state.variables()["KEY_GUARD_CONTACT"] = json!("security@example.com\nor nobody"),
        &[("configuration", "fail")],
        "set KEY_GUARD_CONTACT",
    ),
    (
        "the sweep ceiling is further than the ceiling",
        |state| {
            state.variables()["KEY_GUARD_CEILING"] = json!("deactivate");
            state.variables()["KEY_GUARD_SWEEP_CEILING"] = json!("delete");
        },
        &[("configuration", "fail"), ("role", "warn")],
        "set KEY_GUARD_SWEEP_CEILING",
    ),
    (
        "a variable is misspelt",
        |state| state.variables()["KEY_GUARD_CELING"] = json!("delete"),
        &[("configuration", "fail")],
        "correct the name of KEY_GUARD_CELING",
    ),
    (
        "the name of a variable continues",
        |state| state.variables()["KEY_GUARD_TABLE_NAME"] = json!("key-guard"),
        &[("configuration", "fail")],
        "correct the name of KEY_GUARD_TABLE_NAME",
    ),
    (
        "the environment cannot be decrypted",
        |state| {
            let error = json!({"ErrorCode": "AccessDeniedException", "Message": "kms"});
            state.function()["Environment"] = json!({"Error": error});
        },
        &[
            ("configuration", "unknown"),
            ("overdue", "unknown"),
            ("policy_version", "unknown"),
            ("responders", "unknown"),
            ("role", "unknown"),
            ("silent_accounts", "unknown"),
            ("table", "unknown"),
            ("table_protection", "unknown"),
            ("table_recovery", "unknown"),
        ],
        "fix that",
    ),
    ("there is no trail", |state| state.trails.clear(), &[("trail", "fail")], "create-trail"),
    (
        "logging of the trail is disabled",
        |state| state.trails[0].logging = false,
        &[("trail", "fail")],
        "start-logging --region us-east-1 --name arn:aws:cloudtrail:us-east-1:111122223333:trail/management-events",
    ),
    (
        "the trail logs another region only",
        |state| {
            state.trails[0].trail["IsMultiRegionTrail"] = json!(false);
            state.trails[0].trail["HomeRegion"] = json!("eu-west-1");
        },
        &[("trail", "fail")],
        "--is-multi-region-trail",
    ),
    (
        "the trail leaves out global services",
        |state| {
            state.trails[0].trail["IsMultiRegionTrail"] = json!(false);
            state.trails[0].trail["IncludeGlobalServiceEvents"] = json!(false);
        },
        &[("trail", "fail")],
        "--include-global-service-events",
    ),
    (
        "the trail logs reads only",
        |state| state.trails[0].selectors["EventSelectors"][0]["ReadWriteType"] = json!("ReadOnly"),
        &[("trail", "fail")],
        "put-event-selectors",
    ),
    (
        "the trail logs data events only",
        |state| state.trails[0].selectors["EventSelectors"][0]["IncludeManagementEvents"] = json!(false),
        &[("trail", "fail")],
        "put-event-selectors",
    ),
    (
        "the trail's advanced selectors are for reads",
        |state| {
            state.trails[0].selectors = json!({"AdvancedEventSelectors": [{"FieldSelectors": [
                {"Field": "eventCategory", "Equals": ["Management"]},
                {"Field": "readOnly", "Equals": ["true"]},
            ]}]});
        },
        &[("trail", "fail")],
        "put-event-selectors",
    ),
    (
        "the trail is the organisation's",
        State::organize,
        &[("trail", "unknown")],
        "run in account 444455556666",
    ),
    (
        "no rule targets the function",
        |state| _ = state.targets.get_mut(RULE).unwrap().pop(),
        &[
            ("rule", "fail"),
            ("event_pattern", "unknown"),
            ("target", "unknown"),
            ("invoke_permission", "unknown"),
            ("dead_letter_queue", "unknown"),
        ],
        "put-targets",
    ),
    (
        "the rule is a schedule",
        |state| {
            *state.rule() = json!({"Name": RULE, "State": "ENABLED", "ScheduleExpression": "rate(1 day)"});
        },
        &[
            ("rule", "fail"),
            ("event_pattern", "unknown"),
            ("target", "unknown"),
            ("invoke_permission", "unknown"),
        ],
        "put-rule",
    ),
    (
        "the rule is disabled",
        |state| state.rule()["State"] = json!("DISABLED"),
        &[("rule", "fail")],
        "enable-rule --name key-guard-events",
    ),
    (
        "the pattern leaves out a call",
        |state| {
            let mut pattern = pattern();
            pattern["detail"]["eventName"].as_array_mut().unwrap().remove(0);
            state.set_pattern(&pattern);
        },
        &[("event_pattern", "fail")],
        "put-rule --name key-guard-events",
    ),
    (
        "the pattern is of before there were calls about users in it",
        |state| {
            let mut pattern = pattern();
            pattern["detail"]["eventName"].as_array_mut().unwrap().truncate(4);
            state.set_pattern(&pattern);
        },
        &[("event_pattern", "warn")],
        "put-rule --name key-guard-events",
    ),
    (
        "the pattern leaves out one of the calls about users",
        |state| {
            let mut pattern = pattern();
            pattern["detail"]["eventName"].as_array_mut().unwrap().pop();
            state.set_pattern(&pattern);
        },
        &[("event_pattern", "warn")],
        "AddUserToGroup",
    ),
    (
        "the pattern filters on the request, which denied calls do not have",
        |state| {
            let mut pattern = pattern();
            pattern["detail"]["requestParameters"] = json!({"serviceName": ["bedrock.amazonaws.com"]});
            state.set_pattern(&pattern);
        },
        &[("event_pattern", "fail")],
        "put-rule --name key-guard-events",
    ),
    (
        "the pattern is for the own account, and the guard is for others, too",
        |state| {
            let mut pattern = pattern();
            pattern["account"] = json!([OWN]);
            state.set_pattern(&pattern);
        },
        &[("event_pattern", "fail")],
        "put-rule --name key-guard-events",
    ),
    (
        "the target rewrites the event",
        |state| state.target()["InputPath"] = json!("$.detail.eventName"),
        &[("target", "fail")],
        "put-targets --rule key-guard-events",
    ),
    (
        "the target has no dead-letter queue",
        |state| _ = state.target().as_object_mut().unwrap().remove("DeadLetterConfig"),
        &[("target", "fail"), ("dead_letter_queue", "unknown")],
        "DeadLetterConfig={Arn=QUEUE_ARN}",
    ),
    (
        "EventBridge may not invoke the function",
        |state| state.policy = None,
        &[("invoke_permission", "fail")],
        "--source-arn arn:aws:events:us-east-1:111122223333:rule/key-guard-events",
    ),
    (
        "EventBridge may invoke the function for another rule",
        |state| {
            let other = json!(arn("events", "rule/other"));
            state.policy.as_mut().unwrap()["Statement"][0]["Condition"]["ArnLike"]["AWS:SourceArn"] = other;
        },
        &[("invoke_permission", "fail")],
        "add-permission",
    ),
    (
        "there is no table",
        |state| state.tables.clear(),
        &[
            ("table", "fail"),
            ("table_protection", "unknown"),
            ("table_recovery", "unknown"),
            ("silent_accounts", "unknown"),
            ("overdue", "unknown"),
        ],
        "KEY_GUARD_TABLE",
    ),
    (
        "the table has other keys",
        |state| state.table()["KeySchema"] = json!([{"AttributeName": "pk", "KeyType": "HASH"}]),
        &[("table", "fail")],
        "the string keys pk",
    ),
    (
        "a key of the table is a number",
        |state| state.table()["AttributeDefinitions"][1]["AttributeType"] = json!("N"),
        &[("table", "fail")],
        "the string keys pk",
    ),
    (
        "the table lacks an index",
        |state| _ = state.table()["GlobalSecondaryIndexes"].as_array_mut().unwrap().pop(),
        &[("table", "fail")],
        "\"IndexName\":\"by_actor\"",
    ),
    (
        "an index has other keys",
        |state| {
            let index = &mut state.table()["GlobalSecondaryIndexes"][0];
            index["KeySchema"][0]["AttributeName"] = json!("user_key");
        },
        &[("table", "fail")],
        "month_key (S)",
    ),
    (
        "an index is being made",
        |state| state.table()["GlobalSecondaryIndexes"][1]["IndexStatus"] = json!("CREATING"),
        &[("table", "warn")],
        "wait",
    ),
    (
        "the table is not protected",
        |state| state.table()["DeletionProtectionEnabled"] = json!(false),
        &[("table_protection", "warn")],
        "--deletion-protection-enabled",
    ),
    (
        "the table cannot be restored",
        |state| state.recovery = "DISABLED",
        &[("table_recovery", "warn")],
        "PointInTimeRecoveryEnabled=true",
    ),
    ("the role is gone", |state| state.role = None, &[("role", "fail")], "deploy"),
    (
        "the role may not write",
        |state| state.revoke("dynamodb:PutItem"),
        &[("role", "fail")],
        "dynamodb:PutItem on arn:aws:dynamodb:us-east-1:111122223333:table/key-guard",
    ),
    (
        "the role may not count deletions",
        |state| state.revoke("dynamodb:UpdateItem"),
        &[("role", "fail")],
        "dynamodb:UpdateItem on arn:aws:dynamodb:us-east-1:111122223333:table/key-guard",
    ),
    (
        "the role may not read entries",
        |state| state.revoke("dynamodb:BatchGetItem"),
        &[("role", "fail")],
        "dynamodb:BatchGetItem on arn:aws:dynamodb:us-east-1:111122223333:table/key-guard",
    ),
    (
        "the role may not read the entries of an account",
        |state| state.revoke("dynamodb:Query"),
        &[("role", "fail")],
        "dynamodb:Query on arn:aws:dynamodb:us-east-1:111122223333:table/key-guard/index/by_account",
    ),
    (
        "the role may not look for the accounts that were heard",
        |state| state.grants.retain(|(action, on)| *action != "dynamodb:Query" || on.contains("/index/")),
        &[("role", "fail")],
        "dynamodb:Query on arn:aws:dynamodb:us-east-1:111122223333:table/key-guard",
    ),
    (
        "the role may not look for what is pending",
        |state| state.grants.retain(|(_, on)| !on.ends_with("by_due")),
        &[("role", "fail")],
        "dynamodb:Query on arn:aws:dynamodb:us-east-1:111122223333:table/key-guard/index/by_due",
    ),
    (
        "the role may not publish findings",
        |state| state.revoke("events:PutEvents"),
        &[("role", "fail")],
        "events:PutEvents on arn:aws:events:us-east-1:111122223333:event-bus/reports",
    ),
    (
        "the role may not look at users that the consoles made",
        |state| state.revoke("iam:ListAttachedUserPolicies"),
        &[("role", "fail")],
        "iam:ListAttachedUserPolicies on arn:aws:iam::111122223333:user/BedrockAPIKey-*",
    ),
    (
        "the role may look at users of one of the consoles only",
        |state| {
            state.grants.retain(|(granted, on)| *granted != "iam:ListAccessKeys" || !on.contains("Aea"));
        },
        &[("role", "fail")],
        "iam:ListAccessKeys on arn:aws:iam::111122223333:user/AeaApiKey-*",
    ),
    (
        "the role may not list keys",
        |state| state.revoke("iam:ListServiceSpecificCredentials"),
        &[("role", "fail")],
        "iam:ListServiceSpecificCredentials on arn:aws:iam::111122223333:user/*",
    ),
    (
        "the role may not deactivate keys",
        |state| state.revoke("iam:UpdateServiceSpecificCredential"),
        &[("role", "fail")],
        "iam:UpdateServiceSpecificCredential",
    ),
    (
        "the role may not delete keys",
        |state| state.revoke("iam:DeleteServiceSpecificCredential"),
        &[("role", "fail")],
        "iam:DeleteServiceSpecificCredential",
    ),
    (
        "the role may delete keys of some users",
        |state| {
            state.revoke("iam:DeleteServiceSpecificCredential");
            let some = format!("arn:aws:iam::{OWN}:user/BedrockAPIKey-*");
            state.grants.insert(("iam:DeleteServiceSpecificCredential", some));
        },
        &[("role", "fail")],
        "iam:DeleteServiceSpecificCredential",
    ),
    (
        "the role may not assume the responder",
        |state| state.revoke("sts:AssumeRole"),
        &[("role", "fail")],
        "sts:AssumeRole on arn:aws:iam::*:role/key-guard-responder",
    ),
    (
        "the role may do something on a condition",
        |state| _ = state.conditions.insert("sts:AssumeRole", "aws:ResourceOrgID"),
        &[("role", "warn")],
        "aws:ResourceOrgID",
    ),
    (
        "the role may delete keys, and the ceiling is below",
        |state| state.variables()["KEY_GUARD_CEILING"] = json!("deactivate"),
        &[("role", "warn")],
        "take dynamodb:UpdateItem, iam:DeleteServiceSpecificCredential from the role",
    ),
    (
        "the role may do more than report, and the ceiling is the default",
        |state| _ = state.variables().as_object_mut().unwrap().remove("KEY_GUARD_CEILING"),
        &[("role", "warn")],
        "take dynamodb:UpdateItem, iam:UpdateServiceSpecificCredential, iam:DeleteServiceSpecificCredential from the role",
    ),
    (
        "the role may erase the record",
        |state| _ = state.grants.insert(("dynamodb:DeleteItem", arn("dynamodb", "table/*"))),
        &[("role", "warn")],
        "take dynamodb:DeleteItem",
    ),
    (
        "failed invocations go nowhere",
        |state| state.invocations = None,
        &[("on_failure", "fail"), ("on_failure_queue", "unknown")],
        "put-function-event-invoke-config",
    ),
    (
        "failed invocations go to a topic",
        |state| {
            let destination = &mut state.invocations.as_mut().unwrap()["DestinationConfig"]["OnFailure"];
            destination["Destination"] = json!(arn("sns", "failed"));
        },
        &[("on_failure_queue", "unknown")],
        "look there",
    ),
    (
        "nothing is repeated",
        |state| state.invocations.as_mut().unwrap()["MaximumRetryAttempts"] = json!(0),
        &[("on_failure", "warn")],
        "--maximum-retry-attempts 2",
    ),
    (
        "events get too old to be repeated",
        |state| state.invocations.as_mut().unwrap()["MaximumEventAgeInSeconds"] = json!(60),
        &[("on_failure", "warn")],
        "--maximum-event-age-in-seconds",
    ),
    (
        "the on-failure queue is gone",
        |state| _ = state.queues.remove(FAILED),
        &[("on_failure_queue", "fail")],
        "deploy",
    ),
    (
        "an event could not be dealt with",
        |state| _ = state.queues.insert(FAILED.to_owned(), [1, 0, 0]),
        &[("on_failure_queue", "fail")],
        "aws lambda invoke --function-name bedrock-key-guard --invocation-type Event",
    ),
    (
        "a failed event is being read",
        |state| _ = state.queues.insert(FAILED.to_owned(), [0, 1, 0]),
        &[("on_failure_queue", "fail")],
        "https://sqs.us-east-1.amazonaws.com/111122223333/key-guard-failed",
    ),
    (
        "events could not be delivered",
        |state| _ = state.queues.insert(UNDELIVERED.to_owned(), [2, 0, 1]),
        &[("dead_letter_queue", "fail")],
        "https://sqs.us-east-1.amazonaws.com/111122223333/key-guard-undelivered",
    ),
    (
        "the dead-letter queue is gone",
        |state| _ = state.queues.remove(UNDELIVERED),
        &[("dead_letter_queue", "fail")],
        "deploy",
    ),
    (
        "no event was seen",
        |state| state.counted.clear(),
        &[("last_event", "warn")],
        "delete-service-specific-credential --user-name nobody",
    ),
];

#[test]
fn each_defect_alone_is_found_and_nothing_else() {
    for (name, break_it, expected, fix) in DEFECTS {
        let (ran, found) = examine(break_it, &[]);
        let statuses: BTreeMap<_, _> = found
            .iter()
            .map(|(check, finding)| (check.as_str(), finding["status"].as_str().unwrap()))
            .collect();
        assert_eq!(statuses, expected.iter().copied().collect(), "{name}\n{}", ran.stdout);
        let failed = expected.iter().any(|(_, status)| *status == "fail");
        assert_eq!(ran.code, i32::from(failed), "{name}\n{}", ran.stdout);
        let first = &found[expected[0].0];
        assert!(first["fix"].as_str().unwrap().contains(fix), "{name}\n{first}");
        let counts = |status| expected.iter().filter(|(_, one)| *one == status).count();
        assert_eq!(
            ran.stderr,
            format!(
                "27 checks: {} ok, {} warn, {} fail, {} unknown\n",
                CHECKS - expected.len(),
                counts("warn"),
                counts("fail"),
                counts("unknown")
            ),
        );
    }
}

/// With keys of its own account only, an operator can do what the function could not.
#[test]
fn without_other_accounts_the_events_of_a_queue_are_replayed() {
    let (_, found) = examine(
        |state| {
            state.queues.insert(FAILED.to_owned(), [1, 0, 0]);
            let variables = state.variables().as_object_mut().unwrap();
            variables.remove("KEY_GUARD_RESPONDER_ROLE").unwrap();
        },
        &[],
    );
    let fix = found["on_failure_queue"]["fix"].as_str().unwrap();
    let command = "replay --apply --ceiling delete --policy FILE --ledger dynamodb:key-guard messages.json";
    assert!(fix.contains(command), "{fix}");
}

#[test]
fn a_variable_that_stops_the_start_is_named_and_others_with_the_prefix_of_no_guard_are_not() {
    let (_, found) = examine(|state| state.variables()["KEY_GUARD_CELING"] = json!("delete"), &[]);
    let said = found["configuration"]["found"].as_str().unwrap();
    assert!(
        said.starts_with(
            "the function does not start: KEY_GUARD_CELING is unknown: expected one of KEY_GUARD_TABLE, "
        ),
        "{said}"
    );
    let (ran, found) = examine(
        |state| {
            state.variables()["KEY_GUARDIAN"] = json!("x");
            state.variables()["AWS_LAMBDA_LOG_LEVEL"] = json!("DEBUG");
        },
        &[],
    );
    assert!(found.is_empty() && ran.code == 0, "{found:?}");
}
