//! The roles: they grant exactly the calls that the built function makes, and no change beyond the ceiling.

use std::collections::BTreeSet;

use key_guard_core::policy::{BUILT_IN, Response};
use serde_json::{Value, json};

use super::{ORGANIZATION, actions, create_key, ledger_account, member_account, repository, statements};
use crate::support::deployment::{BUS, Deployment, policy, push};
use crate::support::iam::Iam;
use crate::support::runtime_api::Function;
use crate::support::template::Template;
use crate::support::{OTHER, OWN, event};

/// What Lambda itself does in the function's name.
fn by_lambda() -> BTreeSet<String> {
    ["logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage"].map(str::to_owned).into()
}

/// Creates keys in an account, and sends the function an event of each kind about them.
fn invoke_with_each_kind(function: &Function, iam: &Iam, account: &str) {
    let id = |number: u32| format!("ACCA{account}{number:05}");
    for (first, name) in [(0, "created-without-age"), (3, "created-expiration-unreadable")] {
        for (number, user) in (first..).zip(["soft-user", "hard-user", "BedrockAPIKey-k3qz"]) {
            function.invoke(&create_key(iam, name, account, user, &id(number))).response();
        }
    }
    let of_console_user = id(5);
    let mut reset = event("secret-reset");
    reset["account"] = json!(account);
    reset["detail"]["recipientAccountId"] = json!(account);
    reset["detail"]["userIdentity"]["accountId"] = json!(account);
    reset["detail"]["responseElements"]["serviceSpecificCredential"]["serviceSpecificCredentialId"] =
        json!(of_console_user);
    function.invoke(&reset).response();
    // The console's key is deleted, and its user is left.
    iam.remove(&of_console_user);
    let mut deleted = event("deleted");
    deleted["account"] = json!(account);
    deleted["detail"]["recipientAccountId"] = json!(account);
    deleted["detail"]["requestParameters"]["serviceSpecificCredentialId"] = json!(of_console_user);
    function.invoke(&deleted).response();
    // A key without an event.
    create_key(iam, "created-without-age", account, "BedrockAPIKey-p8w1", &id(6));
}

/// The calls that the built function makes under a ceiling, as IAM's actions: in its own account, and in another.
async fn calls_made(ceiling: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let world = Deployment::new().await;
    let policy = policy(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n\
         [[override]]\nusers = [\"soft-*\"]\nresponse = \"deactivate\"\n",
    );
    let function = world.start(&[
        ("KEY_GUARD_CEILING", ceiling),
        ("KEY_GUARD_SWEEP_CEILING", ceiling),
        ("KEY_GUARD_POLICY", policy.path().to_str().unwrap()),
        ("KEY_GUARD_RESPONDER_ROLE", "responder"),
        ("KEY_GUARD_REPORTS_BUS", BUS),
    ]);
    for account in [OWN, OTHER] {
        invoke_with_each_kind(&function, &world.iam, account);
    }
    function.invoke(&json!({"sweep": {"accounts": [OWN, OTHER]}})).response();
    function.invoke(&json!({"resume": {}})).response();
    assert!(!world.bus.entries().is_empty());
    let (mut own, mut other) = (world.dynamo.actions(), BTreeSet::new());
    own.insert("events:PutEvents".to_owned());
    for call in world.iam.calls() {
        let service = if call.action == "AssumeRole" { "sts" } else { "iam" };
        let action = format!("{service}:{}", call.action);
        if call.account == OWN {
            own.insert(action)
        } else {
            other.insert(action)
        };
    }
    (own, other)
}

#[tokio::test]
async fn the_roles_grant_exactly_the_calls_that_are_made() {
    for ceiling in ["monitor", "deactivate", "delete"] {
        let (own, other) = calls_made(ceiling).await;
        let granted = actions(&ledger_account(ceiling).resource("GuardRole").unwrap());
        assert_eq!(granted.difference(&by_lambda()).cloned().collect::<BTreeSet<_>>(), own, "{ceiling}");
        assert!(by_lambda().is_subset(&granted), "{ceiling}");
        let granted = actions(&member_account(ceiling).resource("Responder").unwrap());
        assert_eq!(granted, other, "{ceiling}, in another account");
    }
}

/// The table in `docs/reference/templates.md`: by role, the actions of its rows. Those that need a parameter only where asked for.
fn documented(with_parameters: bool) -> BTreeSet<(String, String)> {
    let page = std::fs::read_to_string(repository("docs/reference/templates.md")).unwrap();
    let section = page.split("\n## What the roles allow\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let spans = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let (mut roles, mut documented) = (Vec::new(), BTreeSet::new());
    for row in section.lines().filter(|line| line.starts_with("| ")).skip(2) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        if !cells[1].is_empty() {
            roles = spans(cells[1]);
        }
        assert!(!roles.is_empty(), "{row}");
        if with_parameters || cells[4].is_empty() {
            let actions = spans(cells[2]);
            documented
                .extend(roles.iter().flat_map(|role| actions.iter().map(|one| (role.clone(), one.clone()))));
        }
    }
    documented
}

/// What the docs list is what a permissions boundary has to allow.
#[test]
fn the_docs_have_each_action_of_each_role() {
    let key = "arn:aws:kms:us-east-1:111122223333:key/11111111-2222-3333-4444-555555555555";
    let all = [("Ceiling", "delete"), ("KmsKeyArn", key), ("Tracing", "Active"), ("SecurityHub", "enabled")];
    let ledger_account = |given: &[(&str, &str)]| Template::load("template.yaml", given);
    for (with_parameters, templates) in [
        (true, [ledger_account(&[&ORGANIZATION[..], &all].concat()), member_account("delete")]),
        (false, [ledger_account(&[]), member_account("monitor")]),
    ] {
        let roles = templates.iter().flat_map(|template| template.of_kind("AWS::IAM::Role"));
        let granted = roles.filter(|(_, role)| role.get("Policies").is_some()).flat_map(|(_, role)| {
            let name = role["RoleName"].as_str().unwrap().replace("us-east-1", "REGION");
            actions(&role).into_iter().map(move |action| (name.clone(), action))
        });
        assert_eq!(documented(with_parameters), granted.collect::<BTreeSet<_>>(), "{with_parameters}");
    }
}

/// The policy in the ledger is read with a call that the role allows on the table.
#[tokio::test]
async fn the_role_may_read_the_policy_in_the_ledger() {
    let world = Deployment::new().await;
    push(&world, BUILT_IN).await;
    world.dynamo.forget_calls();
    let function = world.start(&[("KEY_GUARD_POLICY", "ledger:")]);
    function.invoke(&event("not-ours-create-user")).response();
    assert_eq!(world.dynamo.actions(), BTreeSet::from(["dynamodb:Query".to_owned()]));
    let role = Template::load("template.yaml", &[("PolicySource", "ledger")]).resource("GuardRole").unwrap();
    let on_table = |statement: &Value| {
        let resources = &statement["Resource"];
        resources == "<Ledger.Arn>"
            || resources.as_array().is_some_and(|all| all.contains(&json!("<Ledger.Arn>")))
    };
    let granted =
        statements(&role).into_iter().filter(|one| one["Action"] == "dynamodb:Query" && on_table(one));
    assert_eq!(granted.count(), 1);
}

#[test]
fn a_key_may_be_changed_only_as_far_as_the_ceiling_and_the_services_go() {
    let changes = [
        ("iam:UpdateServiceSpecificCredential", Response::Deactivate),
        ("iam:DeleteServiceSpecificCredential", Response::Delete),
    ];
    for ceiling in ["monitor", "deactivate", "delete"] {
        for role in [
            ledger_account(ceiling).resource("GuardRole").unwrap(),
            member_account(ceiling).resource("Responder").unwrap(),
        ] {
            for (action, needs) in changes {
                let granted: Vec<_> =
                    statements(&role).into_iter().filter(|one| one["Action"] == action).collect();
                let allowed = ceiling.parse::<Response>().unwrap() >= needs;
                assert_eq!(granted.len(), usize::from(allowed), "{ceiling}: {action}");
                for statement in granted {
                    let named = |services| json!({"iam:ServiceSpecificCredentialServiceName": services});
                    assert_eq!(
                        statement["Condition"],
                        json!({
                            "StringLike": named(["bedrock.amazonaws.com"].as_slice()),
                            "StringNotEqualsIgnoreCase":
                                named(["codecommit.amazonaws.com", "cassandra.amazonaws.com"].as_slice()),
                        })
                    );
                    assert_eq!(statement["Resource"], format!("arn:aws:iam::{OWN}:user/*"));
                }
            }
        }
    }
}

/// The state machine may do what its tasks do, and what Step Functions does in its name.
#[test]
fn the_state_machine_may_only_tell() {
    let machine = std::fs::read_to_string(repository("infra/notifications.asl.yaml")).unwrap();
    let resources =
        machine.lines().filter_map(|line| line.trim().strip_prefix("Resource: arn:${Partition}:states:::"));
    let tasks: BTreeSet<_> =
        resources.map(|task| task.trim_start_matches("aws-sdk:").to_lowercase()).collect();
    for (security_hub, traced, left_out) in
        [("enabled", "Active", None), ("disabled", "PassThrough", Some("securityhub:batchimportfindings"))]
    {
        let parameters = [("SecurityHub", security_hub), ("Tracing", traced), ("Chat", security_hub)];
        let role = Template::load("template.yaml", &parameters).resource("NotifierRole").unwrap();
        let granted = actions(&role).into_iter().map(|action| action.to_lowercase());
        let by_itself = |action: &String| !action.starts_with("logs:") && !action.starts_with("xray:");
        let granted: BTreeSet<_> = granted.filter(by_itself).collect();
        let needed = tasks.iter().filter(|task| Some(task.as_str()) != left_out).cloned();
        assert_eq!(granted, needed.collect(), "{security_hub}");
        for statement in statements(&role) {
            assert!(
                statement["Resource"] != "*"
                    || ["DeliverLogs", "Trace"].map(|sid| json!(sid)).contains(&statement["Sid"])
            );
        }
    }
}
