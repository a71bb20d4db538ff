//! `doctor`, the built command line, against a stack that stands in for AWS: complete, with each defect alone,
//! and with each call refused alone.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use crate::doctor_capture;
use crate::support::stack::{
    Cloud, FAILED, FUNCTION, RESPONDER, RULE, State, TABLE, UNDELIVERED, arn, pattern,
};
use crate::support::{OTHER, OWN};
use key_guard_core::cloudtrail::CREDENTIAL_CALLS;
use serde_json::{Value, json};

pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// With nothing of this process's environment.
pub fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-key-guard"));
    command
        .arg("doctor")
        .args(arguments)
        .env_clear()
        .env("AWS_ENDPOINT_URL", url)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret");
    command
}

pub fn ran(command: &mut Command) -> Ran {
    ended(command.output().unwrap())
}

pub fn ended(output: Output) -> Ran {
    Ran {
        code: output.status.code().expect("ended by a signal"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn doctor(cloud: &Cloud, arguments: &[&str]) -> Ran {
    ran(&mut command(cloud.url(), arguments))
}

/// By check.
fn findings(ran: &Ran) -> BTreeMap<String, Value> {
    let lines = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|finding| (finding["check"].as_str().unwrap().to_owned(), finding)).collect()
}

/// The checks that are not ok of a stack that is complete but for this change, and how.
fn examine(change: impl FnOnce(&mut State), arguments: &[&str]) -> (Ran, BTreeMap<String, Value>) {
    let mut state = State::complete();
    change(&mut state);
    let ran = doctor(&Cloud::start(state), &[&["--format", "jsonl"], arguments].concat());
    let mut findings = findings(&ran);
    assert_eq!(findings.len(), CHECKS, "{}{}", ran.stdout, ran.stderr);
    findings.retain(|_, finding| finding["status"] != "ok");
    (ran, findings)
}

const CHECKS: usize = 18;

const ACTIONS: [&str; 16] = [
    "cloudtrail:DescribeTrails",
    "cloudtrail:GetEventSelectors",
    "cloudtrail:GetTrailStatus",
    "cloudwatch:GetMetricStatistics",
    "dynamodb:DescribeContinuousBackups",
    "dynamodb:DescribeTable",
    "events:DescribeRule",
    "events:ListRuleNamesByTarget",
    "events:ListTargetsByRule",
    "iam:SimulatePrincipalPolicy",
    "lambda:GetFunctionConcurrency",
    "lambda:GetFunctionConfiguration",
    "lambda:GetFunctionEventInvokeConfig",
    "lambda:GetPolicy",
    "sqs:GetQueueAttributes",
    "sqs:GetQueueUrl",
];

#[test]
fn a_complete_stack_is_ok_in_one_screen() {
    let cloud = Cloud::start(State::complete());
    let ran = doctor(&cloud, &[]);
    insta::assert_snapshot!("complete-stdout", ran.stdout);
    assert_eq!(ran.code, 0);
    assert_eq!(ran.stderr, "18 checks: 18 ok, 0 warn, 0 fail, 0 unknown\n");
    assert!(ran.stdout.lines().count() <= 24 && ran.stdout.lines().all(|line| line.len() <= 120));
}

#[test]
fn the_calls_are_those_that_help_lists() {
    let cloud = Cloud::start(State::complete());
    doctor(&cloud, &[]);
    assert_eq!(cloud.asked(), ACTIONS.map(str::to_owned).into());
    let help = ran(Command::new(env!("CARGO_BIN_EXE_bedrock-key-guard")).args(["doctor", "--help"]));
    assert_eq!(help.code, 0);
    let listed = help.stdout.split_whitespace().filter(|word| {
        let services = ["cloudtrail", "cloudwatch", "dynamodb", "events", "iam", "lambda", "sqs"];
        word.split_once(':').is_some_and(|(service, _)| services.contains(&service))
    });
    let mut listed: Vec<_> = listed.collect();
    listed.sort_unstable();
    let mut expected = [&ACTIONS[..], &doctor_capture::ACTIONS].concat();
    expected.sort_unstable();
    assert_eq!(listed, expected);
}

/// A name, what is broken, the checks that say so with their status, and what the mend names.
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
            ("role", "unknown"),
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
        &[("configuration", "fail"), ("role", "unknown")],
        "set KEY_GUARD_RESPONDER_ROLE",
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
            ("role", "unknown"),
            ("table", "unknown"),
            ("table_protection", "unknown"),
            ("table_recovery", "unknown"),
        ],
        "mend that",
    ),
    ("there is no trail", |state| state.trails.clear(), &[("trail", "fail")], "create-trail"),
    (
        "the trail is switched off",
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
            pattern["detail"]["$or"][0]["eventName"].as_array_mut().unwrap().pop();
            state.set_pattern(&pattern);
        },
        &[("event_pattern", "fail")],
        "put-rule --name key-guard-events",
    ),
    (
        "the pattern is of before there were access keys in it",
        |state| {
            let mut pattern = pattern();
            let writes = pattern["detail"].as_object_mut().unwrap().remove("$or").unwrap()[0].take();
            pattern["detail"]["eventName"] = writes["eventName"].clone();
            state.set_pattern(&pattern);
        },
        &[("event_pattern", "warn")],
        "put-rule --name key-guard-events",
    ),
    (
        "the pattern leaves out users of one of the consoles",
        |state| {
            let mut pattern = pattern();
            let users = &mut pattern["detail"]["$or"][1]["responseElements"]["accessKey"]["userName"];
            users.as_array_mut().unwrap().pop();
            state.set_pattern(&pattern);
        },
        &[("event_pattern", "warn")],
        r#"{"prefix":"AeaApiKey-"}"#,
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
        &[("table", "fail"), ("table_protection", "unknown"), ("table_recovery", "unknown")],
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
        "an index holds keys only",
        |state| {
            state.table()["GlobalSecondaryIndexes"][2]["Projection"]["ProjectionType"] = json!("KEYS_ONLY");
        },
        &[("table", "fail")],
        "the projection ALL",
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
        "the role may not look for what is pending",
        |state| state.grants.retain(|(_, on)| !on.ends_with("by_open")),
        &[("role", "fail")],
        "dynamodb:Query on arn:aws:dynamodb:us-east-1:111122223333:table/key-guard/index/by_open",
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
    let mend = found["on_failure_queue"]["mend"].as_str().unwrap();
    let command = "replay --apply --ceiling delete --policy FILE --ledger dynamodb:key-guard messages.json";
    assert!(mend.contains(command), "{mend}");
}

#[test]
fn each_defect_alone_is_found_and_nothing_else() {
    for (name, break_it, expected, mend) in DEFECTS {
        let (ran, found) = examine(break_it, &[]);
        let statuses: BTreeMap<_, _> = found
            .iter()
            .map(|(check, finding)| (check.as_str(), finding["status"].as_str().unwrap()))
            .collect();
        assert_eq!(statuses, expected.iter().copied().collect(), "{name}\n{}", ran.stdout);
        let failed = expected.iter().any(|(_, status)| *status == "fail");
        assert_eq!(ran.code, i32::from(failed), "{name}\n{}", ran.stdout);
        let first = &found[expected[0].0];
        assert!(first["mend"].as_str().unwrap().contains(mend), "{name}\n{first}");
        let counts = |status| expected.iter().filter(|(_, one)| *one == status).count();
        assert_eq!(
            ran.stderr,
            format!(
                "18 checks: {} ok, {} warn, {} fail, {} unknown\n",
                CHECKS - expected.len(),
                counts("warn"),
                counts("fail"),
                counts("unknown")
            ),
        );
    }
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

/// The checks that hang on each call.
const HANGS_ON: [(&str, &[&str]); 15] = [
    ("cloudtrail:DescribeTrails", &["trail"]),
    ("cloudtrail:GetEventSelectors", &["trail"]),
    ("cloudtrail:GetTrailStatus", &["trail"]),
    ("cloudwatch:GetMetricStatistics", &["last_event"]),
    ("dynamodb:DescribeContinuousBackups", &["table_recovery"]),
    ("dynamodb:DescribeTable", &["table", "table_protection"]),
    ("events:DescribeRule", &["event_pattern", "rule"]),
    (
        "events:ListRuleNamesByTarget",
        &["dead_letter_queue", "event_pattern", "invoke_permission", "rule", "target"],
    ),
    ("events:ListTargetsByRule", &["dead_letter_queue", "target"]),
    ("iam:SimulatePrincipalPolicy", &["role"]),
    ("lambda:GetFunctionConcurrency", &["concurrency"]),
    ("lambda:GetFunctionEventInvokeConfig", &["on_failure", "on_failure_queue"]),
    ("lambda:GetPolicy", &["invoke_permission"]),
    ("sqs:GetQueueAttributes", &["dead_letter_queue", "on_failure_queue"]),
    ("sqs:GetQueueUrl", &["dead_letter_queue", "on_failure_queue"]),
];

#[test]
fn what_may_not_be_asked_is_unknown_and_names_the_action() {
    for (action, checks) in HANGS_ON {
        for code in ["AccessDeniedException", "AccessDenied"] {
            let (ran, found) = examine(|state| state.refuse(action, code), &[]);
            assert_eq!(
                found.keys().map(String::as_str).collect::<Vec<_>>(),
                checks,
                "{action}\n{}",
                ran.stdout
            );
            for finding in found.values() {
                assert_eq!(finding["status"], "unknown", "{finding}");
                assert!(
                    finding["found"].as_str().unwrap().ends_with(&format!("needs {action}")),
                    "{finding}"
                );
                assert_eq!(finding["mend"], format!("allow the caller {action}"));
            }
            assert_eq!(ran.code, 0);
        }
    }
}

#[test]
fn a_call_that_fails_is_unknown_with_the_code_of_aws() {
    for (action, checks) in HANGS_ON {
        let (ran, found) = examine(|state| state.refuse(action, "ValidationException"), &[]);
        assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), checks, "{action}\n{}", ran.stdout);
        for finding in found.values() {
            assert_eq!(finding["status"], "unknown", "{finding}");
            let said = format!("{action} failed: ValidationException");
            assert!(finding["found"].as_str().unwrap().ends_with(&said), "{finding}");
        }
    }
}

/// A name, and how it differs.
type Way = (&'static str, fn(&mut State));

#[test]
fn other_ways_to_build_a_complete_stack_are_as_good() {
    let ways: [Way; 12] = [
        ("a wider pattern", |state| state.set_pattern(&json!({"source": ["aws.iam"]}))),
        ("all management events", |state| {
            state.rule()["State"] = json!("ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS");
        }),
        ("a rule for each half of the events", |state| {
            let names = CREDENTIAL_CALLS.map(|name| json!(name));
            let access_key = pattern()["detail"]["$or"][1].clone();
            let halves = [json!([{"eventName": names[..1]}, access_key]), json!([{"eventName": names[1..]}])];
            for (rule, half) in [RULE, "second"].into_iter().zip(halves) {
                let mut pattern = pattern();
                pattern["detail"]["$or"] = half;
                let rule_is = json!({"Name": rule, "State": "ENABLED", "EventPattern": pattern.to_string()});
                state.rules.insert(rule.to_owned(), rule_is);
            }
            let targets = state.targets[RULE].clone();
            state.targets.insert("second".to_owned(), targets);
            let rules = json!([arn("events", "rule/*")]);
            state.policy.as_mut().unwrap()["Statement"][0]["Condition"]["ArnLike"]["AWS:SourceArn"] = rules;
        }),
        ("a schedule and a rule for other events beside", |state| {
            let schedule = json!({"Name": "a", "State": "ENABLED", "ScheduleExpression": "rate(1 day)"});
            let s3 = json!({"Name": "b", "State": "ENABLED", "EventPattern": "{\"source\":[\"aws.s3\"]}"});
            for (name, rule) in [("a", schedule), ("b", s3)] {
                state.rules.insert(name.to_owned(), rule);
                let target = json!({"Id": "x", "Arn": arn("lambda", &format!("function:{FUNCTION}"))});
                state.targets.insert(name.to_owned(), vec![target]);
            }
        }),
        ("a disabled rule beside", |state| {
            let mut old = state.rule().clone();
            old["State"] = json!("DISABLED");
            state.rules.insert("old".to_owned(), old);
            let targets = state.targets[RULE].clone();
            state.targets.insert("old".to_owned(), targets);
        }),
        ("EventBridge takes a role", |state| {
            state.target()["RoleArn"] = json!(format!("arn:aws:iam::{OWN}:role/events"));
            state.policy = None;
        }),
        ("the record without the envelope", |state| state.target()["InputPath"] = json!("$.detail")),
        ("a dead-letter queue of the function", |state| {
            state.invocations = None;
            state.function()["DeadLetterConfig"] = json!({"TargetArn": arn("sqs", FAILED)});
        }),
        ("advanced selectors", |state| {
            state.trails[0].selectors = json!({"AdvancedEventSelectors": [
                {"FieldSelectors": [{"Field": "eventCategory", "Equals": ["Data"]}]},
                {"FieldSelectors": [
                    {"Field": "eventCategory", "Equals": ["Management"]},
                    {"Field": "eventSource", "NotEquals": ["kms.amazonaws.com"]},
                ]},
            ]});
        }),
        ("a trail of this region with global services", |state| {
            state.trails[0].trail["IsMultiRegionTrail"] = json!(false);
        }),
        ("one good trail among others", |state| {
            let mut others = State::complete();
            others.organize();
            let mut off = State::complete();
            off.trails[0].logging = false;
            off.trails[0].trail["TrailARN"] = json!(arn("cloudtrail", "trail/off"));
            let off = off.trails.remove(0);
            state.trails.splice(0..0, [others.trails.remove(0), off]);
        }),
        ("own account only", |state| {
            let variables = state.variables().as_object_mut().unwrap();
            variables.remove("KEY_GUARD_RESPONDER_ROLE");
            state.revoke("sts:AssumeRole");
            let mut pattern = pattern();
            pattern["account"] = json!([OWN]);
            state.set_pattern(&pattern);
        }),
    ];
    for (name, build) in ways {
        let (ran, found) = examine(build, &[]);
        assert!(found.is_empty(), "{name}: {found:?}");
        assert_eq!(ran.code, 0);
    }
}

/// A function in another region or partition, and everything else there, too.
fn moved(partition: &str, region: &str) -> State {
    let mut state = State::complete();
    let here = |text: &str| {
        json!(text.replace("arn:aws:", &format!("arn:{partition}:")).replace("us-east-1", region))
    };
    let function = arn("lambda", &format!("function:{FUNCTION}"));
    state.function()["FunctionArn"] = here(&function);
    state.target()["Arn"] = here(&function);
    state.policy.as_mut().unwrap()["Statement"][0]["Condition"] = json!({});
    state.grants = state
        .grants
        .into_iter()
        .map(|(action, on)| (action, here(&on)))
        .map(|(action, on)| (action, on.as_str().unwrap().to_owned()))
        .collect();
    state.trails[0].trail["HomeRegion"] = json!(region);
    state
}

#[test]
fn iam_events_arrive_in_one_region_of_each_partition() {
    for (partition, region, status) in [
        ("aws", "eu-central-1", "fail"),
        ("aws-us-gov", "us-gov-west-1", "ok"),
        ("aws-us-gov", "us-gov-east-1", "fail"),
        ("aws-cn", "cn-north-1", "ok"),
        ("aws-cn", "cn-northwest-1", "fail"),
        ("aws-iso", "us-iso-east-1", "unknown"),
    ] {
        let cloud = Cloud::start(moved(partition, region));
        // The region comes with the ARN.
        let function = format!("arn:{partition}:lambda:{region}:{OWN}:function:{FUNCTION}");
        let ran = doctor(&cloud, &["--format", "jsonl", "--function", &function]);
        let mut found = findings(&ran);
        assert_eq!(found.remove("region").unwrap()["status"], status, "{region}\n{}", ran.stdout);
        assert!(found.values().all(|finding| finding["status"] == "ok"), "{region}\n{}", ran.stdout);
        assert_eq!(ran.code, i32::from(status == "fail"));
    }
}

#[test]
fn a_rule_that_targets_an_alias_is_found_with_the_alias() {
    let build = |state: &mut State| {
        let mut function = state.function().clone();
        let alias = json!(arn("lambda", &format!("function:{FUNCTION}:live")));
        function["FunctionArn"] = alias.clone();
        state.functions.insert(format!("{FUNCTION}:live"), function);
        state.target()["Arn"] = alias;
    };
    let (ran, found) = examine(build, &["--function", &format!("{FUNCTION}:live")]);
    assert!(found.is_empty() && ran.code == 0, "{}", ran.stdout);
    let (ran, found) = examine(build, &[]);
    assert_eq!(found["rule"]["status"], "fail", "{}", ran.stdout);
    assert!(found["rule"]["mend"].as_str().unwrap().contains("--function bedrock-key-guard:ALIAS"));
}

#[test]
fn an_account_can_be_named_where_the_responder_is_allowed_for_named_ones() {
    let build = |state: &mut State| {
        state.revoke("sts:AssumeRole");
        state.grants.insert(("sts:AssumeRole", format!("arn:aws:iam::{OTHER}:role/{RESPONDER}")));
    };
    let (_, found) = examine(build, &[]);
    assert!(found["role"]["mend"].as_str().unwrap().contains("doctor --account"));
    let (ran, found) = examine(build, &["--account", OTHER]);
    assert!(found.is_empty() && ran.code == 0, "{found:?}");
}

#[test]
fn without_the_function_there_is_nothing_to_check() {
    for (change, arguments, said) in [
        (
            (|_| ()) as fn(&mut State),
            &["--function", "other"][..],
            "error: there is no function other in us-east-1: name it with --function, and its region with AWS_REGION",
        ),
        (
            |state| state.refuse("lambda:GetFunctionConfiguration", "AccessDeniedException"),
            &[],
            "allow the caller lambda:GetFunctionConfiguration",
        ),
        (
            |state| state.refuse("lambda:GetFunctionConfiguration", "ExpiredTokenException"),
            &[],
            "ExpiredTokenException",
        ),
    ] {
        let mut state = State::complete();
        change(&mut state);
        let ran = doctor(&Cloud::start(state), arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(said), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    }
}

#[test]
fn without_region_or_credentials_it_says_so() {
    let cloud = Cloud::start(State::complete());
    let without = ran(command(cloud.url(), &[]).env_remove("AWS_REGION"));
    assert_eq!(without.code, 1);
    assert!(without.stderr.starts_with("error: no region: set AWS_REGION"), "{}", without.stderr);
    let without = ran(command(cloud.url(), &[]).env_remove("AWS_ACCESS_KEY_ID"));
    assert_eq!(without.code, 1);
    assert!(without.stderr.contains("credentials"), "{}", without.stderr);
    assert!(cloud.asked().is_empty());
    for arguments in [&["--format", "csv"][..], &["--account", "1"], &["extra"]] {
        assert_eq!(doctor(&cloud, arguments).code, 2);
    }
}

#[test]
fn jsonl_is_one_flat_object_for_each_check() {
    let mut state = State::complete();
    state.recovery = "DISABLED";
    let ran = doctor(&Cloud::start(state), &["--format", "jsonl"]);
    for line in ran.stdout.lines() {
        let finding: Value = serde_json::from_str(line).unwrap();
        let fields: Vec<_> = finding.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["check", "found", "mend", "status"]);
        assert_eq!(finding["mend"].is_null(), finding["status"] == "ok", "{line}");
    }
}

#[test]
fn the_table_says_what_is_missing_and_how_to_mend_it() {
    let mut state = State::complete();
    state.trails[0].logging = false;
    let ran = doctor(&Cloud::start(state), &[]);
    insta::assert_snapshot!("one-defect-stdout", ran.stdout);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.stderr, "18 checks: 17 ok, 0 warn, 1 fail, 0 unknown\n");
    assert_eq!(TABLE, "key-guard", "as in the snapshots");
}

#[test]
fn the_table_minds_colours_and_controls() {
    let mut state = State::complete();
    state.function()["State"] = json!("Failed");
    state.function()["StateReason"] = json!("gone\u{1b}[31m\nfunction ok");
    let cloud = Cloud::start(state);
    let ran_it = doctor(&cloud, &[]);
    assert!(
        ran_it.stdout.contains("fail    bedrock-key-guard is failed: gone\u{fffd}[31m\u{fffd}function ok\n")
    );
    let forced = ran(command(cloud.url(), &[]).env("CLICOLOR_FORCE", "1"));
    assert!(forced.stdout.contains("\u{1b}[38;5;9mfail"), "{}", forced.stdout);
    let silenced = ran(command(cloud.url(), &[]).envs([("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(!silenced.stdout.contains('\u{1b}'));
}
