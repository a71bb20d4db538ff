//! The policy that keeps members' resources as they are, against `infra/member.yaml`.

use bedrock_key_guard::prevent::{Document, Partition, Protection, SCP_MAX_CHARACTERS, protection};
use serde_json::Value;

use super::evaluator::{arn_like, texts};
use super::json;
use crate::support::template::Template;

const ACCOUNT: &str = "us-east-1:111122223333";
const ADMIN: &str = "arn:aws:iam::111122223333:role/admin";
const STACK_SETS: &str = "arn:aws:iam::111122223333:role/stacksets-exec-0123456789abcdef0123456789abcdef";
const BREAK_GLASS: &str = "arn:aws:iam::111122223333:role/break-glass";

fn document(trails: bool) -> Document {
    let break_glass = vec![BREAK_GLASS.parse().unwrap()];
    protection(&Protection { break_glass, partition: Partition::Aws, trails }).unwrap()
}

fn denies(document: &Document, principal: &str, action: &str, resource: &str) -> bool {
    json(document)["Statement"].as_array().unwrap().iter().any(|statement| {
        let is_left_out = texts(&statement["Condition"]["ArnNotLike"]["aws:PrincipalArn"])
            .iter()
            .any(|arn| arn_like(arn, principal));
        texts(&statement["Action"]).contains(&action)
            && texts(&statement["Resource"]).iter().any(|arn| arn_like(arn, resource))
            && !is_left_out
    })
}

/// What changes or ends a resource, and its ARN. A stack of a set is called `StackSet-<name of the set>-<id>`, and what
/// has no name of its own gets one that begins with that, cut to fit.
fn changes(kind: &str, name: &str, properties: &Value) -> (Vec<&'static str>, String) {
    let named = |property: &str| {
        let own = properties[property].as_str().map(str::to_owned);
        own.unwrap_or_else(|| format!("StackSet-bedrock-key-guard-member-13-{name}-ABCDEFGHIJKL"))
    };
    match kind {
        "AWS::Events::Rule" => (
            vec![
                "events:DeleteRule",
                "events:DisableRule",
                "events:PutRule",
                "events:PutTargets",
                "events:RemoveTargets",
            ],
            format!("arn:aws:events:{ACCOUNT}:rule/{}", named("Name")),
        ),
        "AWS::IAM::Role" => (
            vec!["iam:DeleteRole", "iam:DeleteRolePolicy", "iam:PutRolePolicy", "iam:UpdateAssumeRolePolicy"],
            format!("arn:aws:iam::111122223333:role/{}", named("RoleName")),
        ),
        "AWS::SQS::Queue" => (
            vec!["sqs:DeleteQueue", "sqs:SetQueueAttributes", "sqs:PurgeQueue"],
            format!("arn:aws:sqs:{ACCOUNT}:{}", named("QueueName")),
        ),
        "AWS::Scheduler::Schedule" => (
            vec!["scheduler:DeleteSchedule", "scheduler:UpdateSchedule"],
            format!("arn:aws:scheduler:{ACCOUNT}:schedule/default/{}", named("Name")),
        ),
        "AWS::CloudWatch::Alarm" => (
            vec!["cloudwatch:DeleteAlarms", "cloudwatch:DisableAlarmActions", "cloudwatch:PutMetricAlarm"],
            format!("arn:aws:cloudwatch:{ACCOUNT}:alarm:{}", named("AlarmName")),
        ),
        other => panic!("say how {other} is protected"),
    }
}

#[test]
fn every_resource_of_a_member_stays_as_it_is() {
    let template = Template::load(
        "member.yaml",
        &[
            ("LedgerBusArn", "arn:aws:events:us-east-1:444455556666:event-bus/bedrock-key-guard-members"),
            ("GuardRoleArn", "arn:aws:iam::444455556666:role/bedrock-key-guard-us-east-1"),
            ("Ceiling", "delete"),
            ("AlarmTopicArn", "arn:aws:sns:us-east-1:444455556666:bedrock-key-guard"),
        ],
    );
    let kinds = template.kinds();
    let mut seen = 0;
    // A queue's policy is an attribute of the queue.
    for kind in kinds.iter().filter(|kind| *kind != "AWS::SQS::QueuePolicy") {
        for (name, properties) in template.of_kind(kind) {
            let (actions, arn) = changes(kind, &name, &properties);
            for action in actions {
                for document in [document(false), document(true)] {
                    assert!(denies(&document, ADMIN, action, &arn), "{action} on {arn}");
                    for principal in [STACK_SETS, BREAK_GLASS] {
                        assert!(
                            !denies(&document, principal, action, &arn),
                            "{principal}: {action} on {arn}"
                        );
                    }
                }
            }
            seen += 1;
        }
    }
    assert!(seen >= 8, "{seen}");
}

#[test]
fn nobody_makes_a_role_that_passes_for_the_one_of_stack_sets() {
    for action in ["iam:CreateRole", "iam:UpdateAssumeRolePolicy", "iam:PutRolePolicy"] {
        assert!(denies(&document(false), ADMIN, action, STACK_SETS), "{action}");
    }
    assert!(!denies(&document(false), ADMIN, "iam:CreateRole", "arn:aws:iam::111122223333:role/another"));
}

#[test]
fn trails_are_kept_only_if_that_is_asked_for() {
    let trail = format!("arn:aws:cloudtrail:{ACCOUNT}:trail/management-events");
    for action in [
        "cloudtrail:StopLogging",
        "cloudtrail:DeleteTrail",
        "cloudtrail:PutEventSelectors",
        "cloudtrail:UpdateTrail",
    ] {
        assert!(!denies(&document(false), ADMIN, action, &trail));
        assert!(denies(&document(true), ADMIN, action, &trail), "{action}");
        assert!(!denies(&document(true), BREAK_GLASS, action, &trail), "{action}");
    }
    let says = |trails| document(trails).not_covered.join("\n");
    assert!(says(false).contains("see --protect-trails") && says(true).contains("their buckets"));
}

#[test]
fn it_fits_into_a_service_control_policy_with_several_break_glass_roles() {
    let role = |number| format!("arn:aws:iam::111122223333:role/security/break-glass-{number}");
    let break_glass: Vec<_> = (0..5).map(|number| role(number).parse().unwrap()).collect();
    let asked = Protection { break_glass, partition: Partition::AwsUsGov, trails: true };
    let made = protection(&asked).unwrap();
    assert!(made.characters <= SCP_MAX_CHARACTERS, "{}", made.characters);
    assert!(made.text.contains("arn:aws-us-gov:sqs:"), "{}", made.text);
    let break_glass = (0..100).map(|number| role(number).parse().unwrap()).collect();
    assert!(protection(&Protection { break_glass, ..asked }).is_err());
}
