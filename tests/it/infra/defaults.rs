//! The packaged policy, an installation without parameters, and what no parameter opens.

use std::collections::BTreeSet;

use bedrock_key_guard::aws::credentials::SESSION_NAME;
use bedrock_key_guard::config::{LEDGER_POLICY, load_policy};
use bedrock_key_guard::ledger::audit::heard::HEARTBEAT_ROLE;
use key_guard_core::key::Service;
use key_guard_core::policy::{Policy, Services};
use serde_json::json;

use super::{MEMBER, actions, ledger_account, member_account, repository};
use crate::support::OWN;
use crate::support::template::Template;

#[test]
fn the_packaged_policy_and_the_role_name_the_same_services() {
    let policy = load_policy(&repository("infra/policy.toml")).unwrap();
    let Services::Listed(services) = policy.services() else { panic!() };
    let services: Vec<_> = services.iter().map(Service::as_str).collect();
    for template in [ledger_account("monitor"), member_account("monitor")] {
        assert_eq!(template.parameter("Services"), &json!(services));
    }
    let built_in = Policy::built_in().unwrap();
    assert_eq!(policy.services(), built_in.services());
    assert_eq!(policy.default_rule(), built_in.default_rule());
}

#[test]
fn an_installation_without_parameters_only_monitors_its_own_account() {
    let template = Template::load("template.yaml", &[]);
    let guard = template.resource("Guard").unwrap();
    let variables = &guard["Environment"]["Variables"];
    assert_eq!(variables["KEY_GUARD_CEILING"], "monitor");
    assert_eq!(variables["KEY_GUARD_POLICY"], "/var/task/policy.toml");
    assert!(variables.get("KEY_GUARD_RESPONDER_ROLE").is_none());
    assert_eq!(guard["Tracing"], "PassThrough");
    assert!(guard.get("ReservedConcurrentExecutions").is_none());
    for absent in [
        "MemberEvents",
        "OrganizationOnly",
        "MemberCredentialWrites",
        "MemberTampering",
        "NotificationsByEmail",
        "ChatTopic",
    ] {
        assert!(template.resource(absent).is_none(), "{absent}");
    }
    let services = BTreeSet::from(["dynamodb", "events", "iam", "logs", "sqs"]);
    let granted = actions(&template.resource("GuardRole").unwrap());
    assert_eq!(
        granted.iter().map(|action| action.split(':').next().unwrap()).collect::<BTreeSet<_>>(),
        services
    );
}

#[test]
fn the_policy_is_in_the_package_or_in_the_ledger() {
    let ledger = Template::load("template.yaml", &[("PolicySource", "ledger")]);
    let variables = ledger.resource("Guard").unwrap()["Environment"]["Variables"].clone();
    assert_eq!(variables["KEY_GUARD_POLICY"], LEDGER_POLICY);
}

#[test]
fn it_is_refused_where_the_events_of_iam_do_not_arrive() {
    for template in [ledger_account("monitor"), member_account("monitor")] {
        for region in ["us-east-1", "us-gov-west-1", "cn-north-1", "eusc-de-east-1"] {
            assert!(template.allows_region(region), "{region}");
        }
        for region in ["eu-central-1", "us-west-2", "us-gov-east-1", "cn-northwest-1"] {
            assert!(!template.allows_region(region), "{region}");
        }
    }
}

#[test]
fn the_bus_of_the_members_is_open_to_the_organization_only() {
    let policy = ledger_account("monitor").resource("OrganizationOnly").unwrap();
    assert_eq!(policy["Statement"]["Action"], "events:PutEvents");
    assert_eq!(policy["Statement"]["Condition"]["StringEquals"]["aws:PrincipalOrgID"], "o-exampleorg1");
}

#[test]
fn only_the_guards_role_may_respond_in_a_member_account() {
    let role = member_account("delete").resource("Responder").unwrap();
    let trust = &role["AssumeRolePolicyDocument"]["Statement"];
    assert_eq!(trust.as_array().unwrap().len(), 1);
    assert_eq!(trust[0]["Principal"], json!({"AWS": format!("arn:aws:iam::{OWN}:root")}));
    assert_eq!(trust[0]["Condition"]["ArnEquals"]["aws:PrincipalArn"], MEMBER[1].1);
    assert_eq!(trust[0]["Condition"]["StringEquals"]["sts:RoleSessionName"], SESSION_NAME);
}

#[test]
fn the_heartbeat_can_do_nothing() {
    for template in [ledger_account("delete"), member_account("delete")] {
        let role = template.resource("HeartbeatRole").unwrap();
        assert!(role.get("Policies").is_none() && role.get("ManagedPolicyArns").is_none());
        // The function knows it by its name, and its call by what it is.
        assert_eq!(role["RoleName"], HEARTBEAT_ROLE);
        let target = template.resource("HeartbeatSchedule").unwrap()["Target"].clone();
        assert_eq!(target["RoleArn"], "<HeartbeatRole.Arn>");
        assert_eq!(target["Arn"], "arn:aws:scheduler:::aws-sdk:iam:deleteServiceSpecificCredential");
    }
}
