//! Failed events come back: what the state machine takes, when, and what it may do. `.ci/recover.mjs` runs its expressions,
//! and `runtime::recovery` shows that this heals an outage.

use key_guard_core::report::Report;
use serde_json::{Value, json};

use bedrock_key_guard::lambda::reports_bus::{DETAIL_TYPE, SOURCE};

use super::{ledger_account, statements};

const QUEUES: [&str; 2] = ["Failed", "Undelivered"];

#[test]
fn a_message_waits_for_15_minutes_and_is_then_taken_within_5() {
    let template = ledger_account("monitor");
    for queue in QUEUES {
        let properties = template.resource(queue).unwrap();
        assert_eq!(properties["DelaySeconds"], 900, "{queue}");
        assert_eq!(properties["MessageRetentionPeriod"], 14 * 24 * 3600, "{queue}");
        let schedule = template.resource(&format!("Recover{queue}")).unwrap();
        assert_eq!(schedule["ScheduleExpression"], "rate(5 minutes)");
        assert_eq!(schedule["Target"]["Arn"], "<Recover>");
        assert_eq!(schedule["Target"]["Input"], format!(r#"{{"queue": "<{queue}>"}}"#));
        // No other execution sees a message that one is dealing with.
        let machine = &template.resource("Recover").unwrap()["Definition"];
        assert!(machine["TimeoutSeconds"].as_u64() < properties["VisibilityTimeout"].as_u64(), "{queue}");
    }
}

/// The data of its executions are whole events (I6).
#[test]
fn no_event_is_in_the_log_of_the_state_machine() {
    let machine = ledger_account("monitor").resource("Recover").unwrap();
    assert_eq!(machine["LoggingConfiguration"]["IncludeExecutionData"], false);
    assert_eq!(machine["LoggingConfiguration"]["Level"], "ERROR");
    assert_eq!(machine["StateMachineType"], "EXPRESS");
}

/// The resources that the tasks of a state machine use.
fn tasks(definition: &Value) -> Vec<&str> {
    let states = definition["States"].as_object().unwrap().values();
    states.filter_map(|state| state["Resource"].as_str()).collect()
}

#[test]
fn the_state_machine_may_do_what_its_tasks_do_and_log() {
    let template = ledger_account("delete");
    let definition = template.resource("Recover").unwrap()["Definition"].clone();
    let mut tasks = tasks(&definition);
    tasks.sort_unstable();
    let expected =
        ["aws-sdk:sqs:deleteMessage", "aws-sdk:sqs:receiveMessage", "events:putEvents", "lambda:invoke"];
    assert_eq!(tasks, expected.map(|task| format!("arn:aws:states:::{task}")));
    let statements = statements(&template.resource("RecoverRole").unwrap());
    let may: Vec<_> = statements.iter().map(|one| (&one["Action"], &one["Resource"])).collect();
    let log = json!([
        "logs:CreateLogDelivery",
        "logs:GetLogDelivery",
        "logs:UpdateLogDelivery",
        "logs:DeleteLogDelivery",
        "logs:ListLogDeliveries",
        "logs:PutResourcePolicy",
        "logs:DescribeResourcePolicies",
        "logs:DescribeLogGroups"
    ]);
    assert_eq!(
        may,
        [
            (
                &json!(["sqs:ReceiveMessage", "sqs:DeleteMessage"]),
                &json!(["<Failed.Arn>", "<Undelivered.Arn>"])
            ),
            (&json!("lambda:InvokeFunction"), &json!("<Guard.Arn>")),
            (&json!("events:PutEvents"), &json!("<Reports.Arn>")),
            (&log, &json!("*")),
        ]
    );
}

/// What is given up is reported as everything else is.
#[test]
fn an_event_that_is_given_up_is_a_report() {
    let machine = ledger_account("monitor").resource("Recover").unwrap();
    let entry = &machine["Definition"]["States"]["GiveUp"]["Arguments"]["Entries"][0];
    assert_eq!((&entry["Source"], &entry["DetailType"]), (&json!(SOURCE), &json!(DETAIL_TYPE)));
    let fields: Vec<_> = entry["Detail"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields.len(), Report::FIELDS.len());
    assert!(Report::FIELDS.iter().all(|field| fields.contains(field)), "{fields:?}");
}
