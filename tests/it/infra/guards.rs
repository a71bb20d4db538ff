//! What guards the guard: who may publish reports and alarms, how roles are named and bounded, and what is encrypted with
//! which key.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{MEMBER, ORGANIZATION, ledger_account, statements};
use crate::support::template::Template;

const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/11111111-2222-3333-4444-555555555555";

#[test]
fn nobody_but_the_guard_publishes_on_the_reports_bus() {
    for template in [ledger_account("monitor"), Template::load("template.yaml", &[])] {
        let policy = template.resource("ReportsOfTheGuardOnly").unwrap();
        assert_eq!(policy["EventBusName"], "<Reports>");
        assert_eq!(
            policy["Statement"],
            json!({
                "Effect": "Deny", "Principal": "*", "Action": "events:PutEvents", "Resource": "<Reports.Arn>",
                "Condition": {"ArnNotEquals": {"aws:PrincipalArn": ["<GuardRole.Arn>", "<RecoverRole.Arn>"]}},
            })
        );
        // Who is let through by the policy may do it, and nobody else's role of this template can.
        let publishers: BTreeSet<_> = template
            .of_kind("AWS::IAM::Role")
            .into_iter()
            .filter(|(_, role)| role["Policies"].to_string().contains("events:PutEvents"))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(publishers, BTreeSet::from(["GuardRole".to_owned(), "RecoverRole".to_owned()]));
    }
}

#[test]
fn alarms_come_from_the_organization_only() {
    let statements = |template: Template| {
        template.resource("NotificationsPolicy").unwrap()["PolicyDocument"]["Statement"].clone()
    };
    let alarms = |template| -> Vec<Value> {
        let statements = statements(template).as_array().unwrap().clone();
        let of_alarms = |one: &Value| one["Principal"]["Service"] == "cloudwatch.amazonaws.com";
        statements.into_iter().filter(of_alarms).map(|one| one["Condition"]["StringEquals"].clone()).collect()
    };
    let own = json!({"aws:SourceAccount": crate::support::OWN});
    assert_eq!(alarms(Template::load("template.yaml", &[])), std::slice::from_ref(&own));
    let organization = json!({"aws:SourceOrgID": ORGANIZATION[0].1});
    assert_eq!(alarms(ledger_account("monitor")), [own, organization]);
}

/// Other people's SCPs, boundaries and key policies name these roles.
#[test]
fn every_role_has_a_name_a_path_and_a_boundary() {
    let boundary = "arn:aws:iam::111122223333:policy/security/guard-boundary";
    let rules = [("RolePath", "/security/"), ("PermissionsBoundary", boundary)];
    let ledger = Template::load("template.yaml", &[&ORGANIZATION[..], &rules].concat());
    let rules = [("RolePath", "/security/"), ("PermissionsBoundary", "security/guard-boundary")];
    let member = Template::load("member.yaml", &[&MEMBER[..], &rules].concat());
    let mut names = BTreeSet::new();
    for template in [&ledger, &member] {
        for (name, role) in template.of_kind("AWS::IAM::Role") {
            assert_eq!(
                (&role["Path"], &role["PermissionsBoundary"]),
                (&json!("/security/"), &json!(boundary)),
                "{name}"
            );
            let role = role["RoleName"].as_str().unwrap_or_else(|| panic!("{name} has a generated name"));
            assert!(role.len() <= 64, "{role}");
            names.insert(role.to_owned());
        }
    }
    let expected = [
        "bedrock-key-guard-heartbeat",
        "bedrock-key-guard-member-forwarder",
        "bedrock-key-guard-notifications",
        "bedrock-key-guard-notify",
        "bedrock-key-guard-recover",
        "bedrock-key-guard-responder",
        "bedrock-key-guard-schedules",
        "bedrock-key-guard-us-east-1",
    ];
    assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
    for template in [ledger_account("monitor"), Template::load("member.yaml", &MEMBER)] {
        for (name, role) in template.of_kind("AWS::IAM::Role") {
            assert_eq!((&role["Path"], role.get("PermissionsBoundary")), (&json!("/"), None), "{name}");
        }
    }
}

#[test]
fn one_key_encrypts_whatever_holds_events_or_reports() {
    let with_key = Template::load("template.yaml", &[&ORGANIZATION[..], &[("KmsKeyArn", KEY)]].concat());
    let without = ledger_account("monitor");
    assert_eq!(with_key.resource("Ledger").unwrap()["SSESpecification"]["KMSMasterKeyId"], KEY);
    for (kind, property) in [
        ("AWS::SQS::Queue", "KmsMasterKeyId"),
        ("AWS::SNS::Topic", "KmsMasterKeyId"),
        ("AWS::Logs::LogGroup", "KmsKeyId"),
    ] {
        assert!(!with_key.of_kind(kind).is_empty());
        for (name, resource) in with_key.of_kind(kind) {
            assert_eq!(resource[property], KEY, "{name}");
        }
        for (name, resource) in without.of_kind(kind) {
            assert_eq!(resource.get(property), None, "{name}");
        }
    }
    for (template, by_sqs) in [(&with_key, false), (&without, true)] {
        for (name, queue) in template.of_kind("AWS::SQS::Queue") {
            assert_eq!(queue["SqsManagedSseEnabled"], by_sqs, "{name}");
        }
    }
    // Who sends to a queue needs to encrypt, and who receives from it to decrypt.
    for (role, actions) in [
        (
            "GuardRole",
            json!([
                "kms:Decrypt",
                "kms:Encrypt",
                "kms:GenerateDataKey*",
                "kms:ReEncrypt*",
                "kms:DescribeKey"
            ]),
        ),
        ("ScheduleRole", json!(["kms:GenerateDataKey", "kms:Decrypt"])),
        ("RecoverRole", json!("kms:Decrypt")),
    ] {
        let uses_key = |one: &Value| one["Resource"] == KEY;
        let used = statements(&with_key.resource(role).unwrap()).into_iter().find(uses_key).unwrap();
        assert_eq!(used["Action"], actions, "{role}");
        assert!(
            used["Condition"]["StringEquals"]["kms:ViaService"].to_string().contains("sqs.us-east-1"),
            "{role}"
        );
        assert!(!statements(&without.resource(role).unwrap()).iter().any(uses_key), "{role}");
    }
}
