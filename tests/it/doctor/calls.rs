//! The calls that `doctor` makes: those that `--help` lists, each refused alone, and those without which it ends.

use super::{capture, command, doctor, examine};
use crate::support::cli::{self, CliOutput};
use crate::support::stack::{Cloud, State};

const ACTIONS: [&str; 20] = [
    "cloudtrail:DescribeTrails",
    "cloudtrail:GetEventSelectors",
    "cloudtrail:GetTrailStatus",
    "cloudwatch:DescribeAlarms",
    "cloudwatch:GetMetricStatistics",
    "dynamodb:BatchGetItem",
    "dynamodb:DescribeContinuousBackups",
    "dynamodb:DescribeTable",
    "dynamodb:Query",
    "events:DescribeRule",
    "events:ListRuleNamesByTarget",
    "events:ListTargetsByRule",
    "iam:SimulatePrincipalPolicy",
    "lambda:GetFunctionConcurrency",
    "lambda:GetFunctionConfiguration",
    "lambda:GetFunctionEventInvokeConfig",
    "lambda:GetPolicy",
    "sns:GetTopicAttributes",
    "sqs:GetQueueAttributes",
    "sqs:GetQueueUrl",
];

#[test]
fn the_calls_are_those_that_help_lists() {
    let cloud = Cloud::start(State::complete());
    doctor(&cloud, &[]);
    assert_eq!(cloud.asked(), ACTIONS.map(str::to_owned).into());
    let help = CliOutput::of(&mut cli::command(&["doctor", "--help"]));
    assert_eq!(help.code, 0);
    let listed = help.stdout.split_whitespace().filter(|word| {
        let services = ["cloudtrail", "cloudwatch", "dynamodb", "events", "iam", "lambda", "sns", "sqs"];
        word.split_once(':').is_some_and(|(service, _)| services.contains(&service))
    });
    let mut listed: Vec<_> = listed.collect();
    listed.sort_unstable();
    let mut expected = [&ACTIONS[..], &capture::ACTIONS].concat();
    expected.sort_unstable();
    assert_eq!(listed, expected);
}

/// The checks that hang on each call.
const HANGS_ON: [(&str, &[&str]); 19] = [
    ("cloudtrail:DescribeTrails", &["trail"]),
    ("cloudtrail:GetEventSelectors", &["trail"]),
    ("cloudtrail:GetTrailStatus", &["trail"]),
    ("cloudwatch:DescribeAlarms", &["alarms", "subscriptions"]),
    (
        "cloudwatch:GetMetricStatistics",
        &["failure_age", "last_event", "last_resume", "last_sweep", "responders"],
    ),
    ("dynamodb:BatchGetItem", &["overdue"]),
    ("dynamodb:DescribeContinuousBackups", &["table_recovery"]),
    ("dynamodb:DescribeTable", &["table", "table_protection"]),
    ("dynamodb:Query", &["overdue", "silent_accounts"]),
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
    ("sns:GetTopicAttributes", &["subscriptions"]),
    ("sqs:GetQueueAttributes", &["dead_letter_queue", "on_failure_queue"]),
    ("sqs:GetQueueUrl", &["dead_letter_queue", "on_failure_queue"]),
];

#[test]
fn what_may_not_be_asked_is_unknown_and_names_the_action() {
    for (action, checks) in HANGS_ON {
        // DynamoDB has one word for that.
        let is_ledger = matches!(action, "dynamodb:Query" | "dynamodb:BatchGetItem");
        let codes = ["AccessDeniedException", "AccessDenied"];
        for code in codes.into_iter().take(if is_ledger { 1 } else { 2 }) {
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
                assert_eq!(finding["fix"], format!("allow the caller {action}"));
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
            let found = finding["found"].as_str().unwrap();
            let said = format!("{action} failed: ");
            assert!(found.contains(&said) && found.contains("ValidationException"), "{finding}");
        }
    }
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
    let without = CliOutput::of(command(cloud.url(), &[]).env_remove("AWS_REGION"));
    assert_eq!(without.code, 1);
    assert!(without.stderr.starts_with("error: no region: set AWS_REGION"), "{}", without.stderr);
    let without = CliOutput::of(command(cloud.url(), &[]).env_remove("AWS_ACCESS_KEY_ID"));
    assert_eq!(without.code, 1);
    assert!(without.stderr.contains("credentials"), "{}", without.stderr);
    assert!(cloud.asked().is_empty());
    for arguments in [&["--format", "csv"][..], &["--account", "1"], &["extra"]] {
        assert_eq!(doctor(&cloud, arguments).code, 2);
    }
}
