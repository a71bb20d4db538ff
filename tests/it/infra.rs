//! The deployment templates against the code: the pattern matches exactly the events that are ours, the role grants
//! exactly the calls that are made, the table is the one that the ledger uses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::dynamodb::{Dynamo, phase_name, states};
use crate::support::event_bridge::EventBridge;
use crate::support::iam::{Iam, StoredKey};
use crate::support::runtime_api::Function;
use crate::support::template::Template;
use crate::support::{OTHER, OWN, event, events};
use bedrock_key_guard::aws::credentials::SESSION_NAME;
use bedrock_key_guard::config::{Config, VARIABLES, load_policy};
use bedrock_key_guard::lambda::invocation::Invocation;
use bedrock_key_guard::ledger::{INDEXES, table_definition};
use bedrock_key_guard::telemetry::{NAMESPACE, failure_metrics};
use chrono::{DateTime, Utc};
use key_guard_core::cloudtrail::{ParsedEvent, pattern};
use key_guard_core::key::Service;
use key_guard_core::policy::{Policy, Response, Services};
use serde_json::{Value, json};

const TABLE: &str = "keys";
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

// ---- the pattern ----

/// As far as our patterns need it: every field of the pattern is there, with one of its values. `.ci/templates` has an
/// emulator's matcher decide the same.
fn matches(pattern: &Value, event: &Value) -> bool {
    match pattern {
        Value::Object(fields) => fields.iter().all(|(name, inner)| match (name.as_str(), inner) {
            ("$or", Value::Array(alternatives)) => alternatives.iter().any(|one| matches(one, event)),
            (_, inner) => event.get(name).is_some_and(|value| matches(inner, value)),
        }),
        Value::Array(values) => values.iter().any(|value| match value {
            Value::Object(operator) => operator.iter().all(|(name, operand)| match name.as_str() {
                "prefix" => event.as_str().is_some_and(|text| text.starts_with(operand.as_str().unwrap())),
                "exists" => !event.is_object() && *operand == true,
                "numeric" => operand[0] == ">" && event.as_i64() > operand[1].as_i64(),
                other => panic!("{other} is not known here"),
            }),
            value => value == event,
        }),
        other => panic!("{other} is no pattern"),
    }
}

fn patterns() -> Vec<(String, Value)> {
    let of = |template: Template| template.of_kind("AWS::Events::Rule");
    let rules = [of(ledger_account("monitor")), of(member_account("monitor"))].concat();
    let patterns = rules.into_iter().map(|(name, rule)| (name, rule["EventPattern"].clone()));
    patterns.filter(|(_, pattern)| pattern["source"] == json!(["aws.iam"])).collect()
}

#[test]
fn each_rule_is_that_of_the_code_and_matches_the_events_that_are_ours_and_nothing_else() {
    assert_eq!(patterns().len(), 3);
    for (rule, in_template) in patterns() {
        assert_eq!(in_template, pattern(), "{rule}: what prevent event-pattern prints");
    }
    for (name, event) in events() {
        let ours = match bedrock_key_guard::event::parse(event.clone()) {
            Ok(ParsedEvent::Relevant(_)) | Err(_) => true,
            Ok(ParsedEvent::Irrelevant(_)) => false,
        };
        for (rule, pattern) in patterns() {
            assert_eq!(matches(&pattern, &event), ours, "{rule}: {name}");
        }
    }
}

/// What Lambda's destination makes of a report, and what of it the rule hands to a target.
fn result(payload: &Value) -> Value {
    json!({
        "source": "lambda", "detail-type": "Lambda Function Invocation Result - Success",
        "detail": {"responsePayload": payload},
    })
}

/// Which rules on the bus of reports take notice of a report.
fn noticed_by(payload: &Value) -> Vec<String> {
    let rules = ledger_account("monitor").of_kind("AWS::Events::Rule");
    let of_reports = rules.into_iter().filter(|(_, rule)| rule["EventBusName"] == "<Reports>");
    of_reports
        .filter(|(_, rule)| matches(&rule["EventPattern"], &result(payload)))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn each_report_is_told_once_or_not_at_all() {
    let report = |verdict: Value, severity: &str| json!({"verdict": verdict, "severity": severity});
    let sweep = |unreported: u32, rest: Value| json!({"sweep": {"unreported": unreported}, "continue": rest});
    let rest = json!({"sweep": {"checkpoint": {"accounts": [OWN]}, "invocations": 1}});
    for (payload, rules) in [
        (report(json!("noncompliant"), "high"), &["Findings"][..]),
        (report(json!("undetermined"), "critical"), &["Findings"]),
        (report(json!("compliant"), "info"), &[]),
        (report(Value::Null, "critical"), &["CriticalFindings"]),
        (report(json!("compliant"), "critical"), &["CriticalFindings"]),
        (report(Value::Null, "info"), &[]),
        (sweep(0, Value::Null), &[]),
        (sweep(1, Value::Null), &["SweepFindings"]),
        (sweep(0, rest.clone()), &["SweepContinues"]),
        (sweep(2, rest), &["SweepContinues"]),
        (json!({"resume": {"keys": 1}}), &[]),
    ] {
        let mut noticed = noticed_by(&payload);
        noticed.sort();
        assert_eq!(noticed, rules, "{payload}");
    }
}

// ---- sweeps ----

/// What the schedule hands to the guard, and the rule after it.
#[test]
fn a_sweep_is_of_this_account_and_those_that_are_given() {
    let swept = |parameters: &[(&str, &str)]| {
        let input =
            Template::load("template.yaml", parameters).resource("Sweep").unwrap()["Target"]["Input"].clone();
        serde_json::from_str::<Value>(input.as_str().unwrap()).unwrap()
    };
    assert_eq!(swept(&[]), json!({"sweep": {"accounts": [OWN]}}));
    let others = format!("{OTHER},777788889999");
    let given = [&ORGANIZATION[..], &[("SweepAccounts", others.as_str())]].concat();
    assert_eq!(swept(&given), json!({"sweep": {"accounts": [OWN, OTHER, "777788889999"]}}));
    let target = &ledger_account("monitor").resource("SweepContinues").unwrap()["Targets"][0];
    let pointer = target["InputPath"].as_str().unwrap().replace('.', "/").replace('$', "");
    let payload = json!({"sweep": {"keys": 1}, "continue": swept(&given)});
    assert_eq!(result(&payload).pointer(&pointer), Some(&swept(&given)));
}

/// A ceiling of sweeps that is higher than that of everything would stop the function's start.
#[test]
fn the_function_starts_with_every_pair_of_ceilings() {
    let ceilings = ["monitor", "deactivate", "delete"];
    for (number, ceiling) in ceilings.iter().enumerate() {
        for (sweep_number, sweep_ceiling) in ceilings.iter().enumerate() {
            let parameters = [("Ceiling", *ceiling), ("SweepCeiling", *sweep_ceiling)];
            let guard = Template::load("template.yaml", &parameters).resource("Guard").unwrap();
            let variables = guard["Environment"]["Variables"].clone();
            let read = |name: &str| match name {
                "KEY_GUARD_TABLE" => Some("keys".to_owned()),
                "KEY_GUARD_REPORTS_BUS" => Some("reports".to_owned()),
                "KEY_GUARD_POLICY" => None,
                name => variables[name].as_str().map(str::to_owned),
            };
            let config = Config::read(read).unwrap();
            let lower = ceilings[number.min(sweep_number)];
            assert_eq!(
                (config.ceiling.to_string(), config.sweep_ceiling.to_string()),
                ((*ceiling).to_owned(), lower.to_owned())
            );
            assert_eq!(variables["KEY_GUARD_REPORTS_BUS"], "<Reports>");
            for name in variables.as_object().unwrap().keys() {
                assert!(VARIABLES.contains(&name.as_str()), "{name}");
            }
        }
    }
}

/// Under the ceiling `monitor` nothing is ever pending or due.
#[test]
fn a_resume_is_invoked_where_something_may_be_pending() {
    for (ceiling, is_invoked) in [("monitor", false), ("deactivate", true), ("delete", true)] {
        let resume = ledger_account(ceiling).resource("Resume");
        assert_eq!(resume.is_some(), is_invoked, "{ceiling}");
        let input = resume.map(|resume| resume["Target"]["Input"].as_str().unwrap().to_owned());
        assert!(input.is_none_or(|input| Invocation::parse(&input).is_ok()), "{ceiling}");
    }
}

#[test]
fn sweeps_can_be_switched_off_and_elsewhere_need_the_role() {
    let template = Template::load("template.yaml", &[("SweepSchedule", "disabled")]);
    for absent in ["Sweep", "NoSweep"] {
        assert!(template.resource(absent).is_none(), "{absent}");
    }
    let refused = |parameters: &[(&str, &str)]| Template::load("template.yaml", parameters).refused_by();
    assert_eq!(refused(&[]), Vec::<String>::new());
    assert_eq!(refused(&[("SweepAccounts", OTHER)]), ["SweepsElsewhereNeedTheRole"]);
    assert!(refused(&[&ORGANIZATION[..], &[("SweepAccounts", OTHER)]].concat()).is_empty());
}

/// Whatever the parameters say, the schedules can do nothing but invoke the function.
#[test]
fn the_schedules_may_only_invoke_the_guard() {
    let template = ledger_account("delete");
    let statements = statements(&template.resource("ScheduleRole").unwrap());
    let may: Vec<_> = statements.iter().map(|one| (&one["Action"], &one["Resource"])).collect();
    assert_eq!(
        may,
        [
            (&json!("lambda:InvokeFunction"), &json!("<Guard.Arn>")),
            (&json!("sqs:SendMessage"), &json!("<Undelivered.Arn>")),
        ]
    );
}

// ---- the table ----

#[tokio::test]
async fn the_table_is_the_one_that_the_ledger_makes() {
    let table = ledger_account("monitor").resource("Ledger").unwrap();
    let definition = table_definition(&Dynamo::start().client().await, TABLE).unwrap();
    let definition = definition.as_input();
    let keys = |schema: &[aws_sdk_dynamodb::types::KeySchemaElement]| -> Value {
        schema
            .iter()
            .map(|key| json!({"AttributeName": key.attribute_name(), "KeyType": key.key_type().as_str()}))
            .collect()
    };
    assert_eq!(table["KeySchema"], keys(definition.get_key_schema().as_deref().unwrap()));
    let indexes = definition.get_global_secondary_indexes().as_deref().unwrap();
    assert_eq!(indexes.len(), INDEXES.len());
    let expected: Vec<_> = indexes
        .iter()
        .map(|index| {
            json!({
                "IndexName": index.index_name(), "KeySchema": keys(index.key_schema()),
                "Projection": {"ProjectionType": "ALL"},
            })
        })
        .collect();
    assert_eq!(table["GlobalSecondaryIndexes"], json!(expected));
    let attributes: BTreeSet<String> = definition
        .get_attribute_definitions()
        .as_deref()
        .unwrap()
        .iter()
        .map(|attribute| {
            json!({"AttributeName": attribute.attribute_name(), "AttributeType": "S"}).to_string()
        })
        .collect();
    let made = table["AttributeDefinitions"].as_array().unwrap().iter().map(Value::to_string).collect();
    assert_eq!(attributes, made);
    assert_eq!(table["BillingMode"], "PAY_PER_REQUEST");
    assert_eq!(table["DeletionProtectionEnabled"], true);
    assert_eq!(table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], true);
}

/// What `infra/cost` counts with. A name counts as many bytes as it has, a text too (DynamoDB developer guide, "DynamoDB
/// item sizes and formats"); numbers, flags and nulls are short.
#[tokio::test]
async fn no_item_is_larger_than_two_units() {
    let (dynamo, iam) = (Dynamo::start(), Iam::start());
    dynamo.ledger(TABLE).await;
    let function = Function::start(&[
        ("KEY_GUARD_TABLE", TABLE),
        ("KEY_GUARD_CEILING", "delete"),
        ("AWS_ENDPOINT_URL_DYNAMODB", dynamo.url()),
        ("AWS_ENDPOINT_URL_IAM", iam.url()),
    ]);
    for (name, event) in events() {
        let credential = &event["detail"]["responseElements"]["serviceSpecificCredential"];
        if let (true, Some(id)) =
            (name.starts_with("created-"), credential["serviceSpecificCredentialId"].as_str())
        {
            let user = credential["userName"].as_str().unwrap();
            function.invoke(&make(&iam, &name, OWN, user, id));
        }
    }
    let items = dynamo.items(TABLE);
    assert!(items.len() > 30, "{}", items.len());
    for item in items {
        let size = size_of_fields(&item);
        assert!(size <= 2_048, "{size} bytes: {item}");
    }
}

/// How many bytes the fields of an item have, as DynamoDB counts them.
fn size_of_fields(fields: &Value) -> usize {
    fields.as_object().unwrap().iter().map(|(name, value)| name.len() + size_of_value(value)).sum()
}

fn size_of_value(value: &Value) -> usize {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    match (kind.as_str(), value) {
        ("S", text) => text.as_str().unwrap().len(),
        ("M", fields) => 3 + fields.as_object().unwrap().len() + size_of_fields(fields),
        ("L", elements) => {
            let elements = elements.as_array().unwrap();
            3 + elements.iter().map(|element| 1 + size_of_value(element)).sum::<usize>()
        }
        ("N", _) => 21,
        ("BOOL" | "NULL", _) => 1,
        (other, _) => panic!("{other} is not known here"),
    }
}

#[test]
fn a_ledger_that_is_there_is_gone_on_with() {
    let template = Template::load("template.yaml", &[("LedgerTable", "earlier")]);
    assert!(template.resource("Ledger").is_none());
    let guard = template.resource("Guard").unwrap();
    assert_eq!(guard["Environment"]["Variables"]["KEY_GUARD_TABLE"], "earlier");
    let record =
        statements(&template.resource("GuardRole").unwrap()).into_iter().find(|one| one["Sid"] == "Record");
    let expected = format!("arn:aws:dynamodb:us-east-1:{OWN}:table/earlier");
    assert_eq!(record.unwrap()["Resource"], expected);
}

// ---- the policy and the defaults ----

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
    for absent in ["MemberEvents", "OrganizationOnly", "MemberCredentialWrites", "NotificationsByEmail"] {
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
fn it_is_refused_where_the_events_of_iam_do_not_arrive() {
    for template in [ledger_account("monitor"), member_account("monitor")] {
        for region in ["us-east-1", "us-gov-west-1", "cn-north-1"] {
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
        let target = template.resource("HeartbeatSchedule").unwrap()["Target"].clone();
        assert_eq!(target["RoleArn"], "<HeartbeatRole.Arn>");
    }
}

/// EventBridge puts values into its text as they are, and a quotation mark in one would lose the message.
#[test]
fn a_finding_is_told_without_text_that_a_caller_chose() {
    let template = Template::load("template.yaml", &[("LedgerTable", TABLE)]);
    for rule in ["Findings", "CriticalFindings", "SweepFindings"] {
        told_without_text_of_a_caller(&template.resource(rule).unwrap());
    }
}

fn told_without_text_of_a_caller(rule: &Value) {
    let transformer = &rule["Targets"][0]["InputTransformer"];
    let paths = transformer["InputPathsMap"].as_object().unwrap();
    for path in paths.values() {
        assert_ne!(path, "$.detail.responsePayload.user_agent");
    }
    let template = transformer["InputTemplate"].as_str().unwrap();
    for line in template.lines() {
        assert!(line.starts_with('"') && line.ends_with('"'), "{line}");
    }
    let used: BTreeSet<_> =
        template.split('<').skip(1).map(|rest| rest.split_once('>').unwrap().0.to_owned()).collect();
    assert_eq!(used, paths.keys().cloned().collect());
}

// ---- alarms, metrics, and everything else ----

/// The names and dimensions of the metrics that an invocation writes.
fn metrics() -> (BTreeSet<String>, BTreeSet<String>) {
    let now: DateTime<Utc> = "2026-11-20T09:00:00Z".parse().unwrap();
    let line: Value = serde_json::from_str(&failure_metrics(now)).unwrap();
    let metrics = &line["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(metrics["Namespace"], NAMESPACE);
    let texts = |value: &Value| {
        value.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    let names =
        ["Keys", "SecondsFromEventToOutcome", "SweepKeys", "SweepCompleted", "SweepFailures", "HeldBack"]
            .map(str::to_owned)
            .into();
    (names, texts(&metrics["Dimensions"][0]))
}

#[test]
fn the_dashboard_shows_metrics_that_are_written() {
    let body = ledger_account("monitor").resource("Dashboard").unwrap()["DashboardBody"].clone();
    let body: Value = serde_json::from_str(body.as_str().unwrap()).unwrap();
    let (names, dimensions) = metrics();
    let schema = format!("{{{NAMESPACE},{}}}", dimensions.into_iter().collect::<Vec<_>>().join(","));
    let mut searches = 0;
    for widget in body["widgets"].as_array().unwrap() {
        for metric in widget["properties"]["metrics"].as_array().unwrap() {
            if let Some(expression) = metric[0]["expression"].as_str() {
                searches += 1;
                assert!(
                    expression.contains(&schema) && expression.contains("MetricName=\"Keys\""),
                    "{expression}"
                );
            } else if metric[0] == NAMESPACE {
                assert!(names.contains(metric[1].as_str().unwrap()), "{metric}");
            }
        }
    }
    assert_eq!(searches, 5);
    for (name, alarm) in ledger_account("monitor").of_kind("AWS::CloudWatch::Alarm") {
        if alarm["Namespace"] == NAMESPACE {
            assert!(names.contains(alarm["MetricName"].as_str().unwrap()), "{name}");
            assert!(alarm.get("Dimensions").is_none(), "{name}");
        }
    }
}

#[test]
fn each_queue_has_an_alarm_and_each_alarm_tells_somebody() {
    let topic = "arn:aws:sns:us-east-1:111122223333:bedrock-key-guard";
    let member = Template::load("member.yaml", &[&MEMBER[..], &[("AlarmTopicArn", topic)]].concat());
    for template in [ledger_account("monitor"), member] {
        let alarms = template.of_kind("AWS::CloudWatch::Alarm");
        for (name, alarm) in &alarms {
            assert_eq!(alarm["AlarmActions"].as_array().unwrap().len(), 1, "{name}");
        }
        for (queue, _) in template.of_kind("AWS::SQS::Queue") {
            let of_queue = alarms.iter().filter(|(_, alarm)| {
                alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
                    && alarm["Dimensions"][0]["Value"] == format!("<{queue}.QueueName>")
            });
            assert_eq!(of_queue.count(), 1, "{queue}");
        }
        let heard = template.resource("NothingHeard").unwrap();
        assert_eq!(heard["TreatMissingData"], "breaching");
        assert_eq!(heard["Dimensions"], json!([{"Name": "RuleName", "Value": "<CredentialWrites>"}]));
    }
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

// ---- the role ----

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

/// What Lambda itself does in the function's name.
fn by_lambda() -> BTreeSet<String> {
    ["logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage"].map(str::to_owned).into()
}

/// An event for a key of a user, in an account, with what IAM has of it.
fn make(iam: &Iam, name: &str, account: &str, user: &str, id: &str) -> Value {
    let mut event = event(name);
    let created: DateTime<Utc> = event["detail"]["eventTime"].as_str().unwrap().parse().unwrap();
    event["account"] = json!(account);
    let detail = &mut event["detail"];
    detail["recipientAccountId"] = json!(account);
    detail["requestParameters"]["userName"] = json!(user);
    let credential = &mut detail["responseElements"]["serviceSpecificCredential"];
    credential["userName"] = json!(user);
    credential["serviceSpecificCredentialId"] = json!(id);
    credential["serviceUserName"] = json!(format!("{user}-at-{account}"));
    iam.put_key(StoredKey {
        account: account.to_owned(),
        id: id.to_owned(),
        user: user.to_owned(),
        service: "bedrock.amazonaws.com".to_owned(),
        created,
        expires: None,
        status: "Active",
        hidden: 0,
        lacks: None,
    });
    event
}

/// The calls that the built function makes under a ceiling, as IAM's actions: in its own account, and in another.
async fn calls_made(ceiling: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (dynamo, iam, bus) = (Dynamo::start(), Iam::start(), EventBridge::start());
    dynamo.ledger(TABLE).await;
    let policy = tempfile::NamedTempFile::new().unwrap();
    let both = "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n\
                [[override]]\nusers = [\"soft-*\"]\nresponse = \"deactivate\"\n";
    std::fs::write(policy.path(), both).unwrap();
    let function = Function::start(&[
        ("KEY_GUARD_TABLE", TABLE),
        ("KEY_GUARD_CEILING", ceiling),
        ("KEY_GUARD_POLICY", policy.path().to_str().unwrap()),
        ("KEY_GUARD_RESPONDER_ROLE", "responder"),
        ("AWS_ENDPOINT_URL_DYNAMODB", dynamo.url()),
        ("AWS_ENDPOINT_URL_IAM", iam.url()),
        ("AWS_ENDPOINT_URL_STS", iam.url()),
        ("KEY_GUARD_SWEEP_CEILING", ceiling),
        ("KEY_GUARD_REPORTS_BUS", "reports"),
        ("AWS_ENDPOINT_URL_EVENTBRIDGE", bus.url()),
    ]);
    let mut made = 0;
    for account in [OWN, OTHER] {
        for name in ["created-without-age", "created-expiration-unreadable"] {
            for user in ["soft-user", "hard-user", "BedrockAPIKey-k3qz"] {
                made += 1;
                let id = format!("ACCAEXAMPLEKEY000{made:04}");
                function.invoke(&make(&iam, name, account, user, &id)).response();
            }
        }
        let mut reset = event("secret-reset");
        reset["account"] = json!(account);
        reset["detail"]["recipientAccountId"] = json!(account);
        reset["detail"]["userIdentity"]["accountId"] = json!(account);
        let id = format!("ACCAEXAMPLEKEY000{made:04}");
        reset["detail"]["responseElements"]["serviceSpecificCredential"]["serviceSpecificCredentialId"] =
            json!(id);
        function.invoke(&reset).response();
        // The console's key is deleted, and its user is left.
        iam.remove(&id);
        let mut deleted = event("deleted");
        deleted["account"] = json!(account);
        deleted["detail"]["recipientAccountId"] = json!(account);
        deleted["detail"]["requestParameters"]["serviceSpecificCredentialId"] = json!(id);
        function.invoke(&deleted).response();
        // A key of which no event came.
        made += 1;
        let id = format!("ACCAEXAMPLEKEY000{made:04}");
        make(&iam, "created-without-age", account, "BedrockAPIKey-p8w1", &id);
    }
    function.invoke(&json!({"sweep": {"accounts": [OWN, OTHER]}})).response();
    function.invoke(&json!({"resume": {}})).response();
    assert!(!bus.entries().is_empty());
    let (mut own, mut other) = (dynamo.actions(), BTreeSet::new());
    own.insert("events:PutEvents".to_owned());
    for call in iam.calls() {
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

// ---- an emulator ----

/// The template as CloudFormation would have it, and the function as it is shipped, in an emulator of AWS: an event goes
/// through the real rule to the built binary, which writes the table and deletes the key.
///
/// Needs what `.ci/run` prepares: `infra/package x86_64`, and the paths of two Python environments.
#[test]
#[ignore = "needs Python packages and a release build: .ci/run does it"]
#[expect(clippy::disallowed_methods, reason = "tests are told from outside where their tools are")]
fn an_event_goes_through_a_deployed_stack() {
    let tool =
        |variable: &str| std::env::var(variable).unwrap_or_else(|_| panic!("set {variable}; see .ci/run"));
    let folder = tempfile::tempdir().unwrap();
    let expanded = folder.path().join("expanded.json");
    let expand = Command::new(tool("KEY_GUARD_TEMPLATES_PYTHON"))
        .args([repository(".ci/templates").to_str().unwrap(), "--expand"])
        .args([&repository("infra/template.yaml"), &expanded])
        .status();
    assert!(expand.unwrap().success());

    let iam = Iam::start();
    let mut paths = Vec::new();
    for (name, account, user, id) in [
        ("created-without-age", OWN, "svc-chatbot", "ACCAEXAMPLEKEY0000901"),
        ("created-without-age", OTHER, "svc-chatbot", "ACCAEXAMPLEKEY0000902"),
        ("created-expiration-unreadable", OWN, "svc-garbled", "ACCAEXAMPLEKEY0000903"),
    ] {
        let path = folder.path().join(format!("{id}.json"));
        std::fs::write(&path, make(&iam, name, account, user, id).to_string()).unwrap();
        paths.push(path);
    }
    // IAM says that it is another service's, which the policy does not judge: it stays as it is.
    let other_service = "ACCAEXAMPLEKEY0000905";
    let path = folder.path().join("other-service.json");
    std::fs::write(&path, make(&iam, "created-without-age", OWN, "svc-logs", other_service).to_string())
        .unwrap();
    iam.change(other_service, |key| "logs.amazonaws.com".clone_into(&mut key.service));
    paths.push(path);
    // A neighbour that nothing may happen to.
    let neighbour = "ACCAEXAMPLEKEY0000904";
    make(&iam, "created-without-age", OWN, "svc-neighbour", neighbour);

    let output = Command::new(tool("KEY_GUARD_EMULATOR_PYTHON"))
        .arg(repository(".ci/emulator"))
        .arg(&expanded)
        .arg(env!("CARGO_BIN_EXE_bedrock-key-guard"))
        .arg(iam.url())
        .args(&paths)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    eprintln!("{stderr}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();

    // Nobody made a trail, nor any event yet; the copy of the rule rewrites events; and the emulator has neither
    // recovery from a template, nor a context for its policy simulation, nor SAM's qualifier `$LATEST`.
    let not_here =
        ["trail", "last_event", "target", "table_recovery", "role", "on_failure", "on_failure_queue"];
    let doctor = result["doctor"].as_object().unwrap();
    assert_eq!(doctor.len(), 18);
    for (check, status) in doctor.iter().filter(|(check, _)| !not_here.contains(&check.as_str())) {
        assert_eq!(status, "ok", "doctor: {check}");
    }

    let left: Vec<_> = iam.keys().into_iter().map(|key| key.id).collect();
    assert_eq!(left, [other_service, neighbour]);
    let states = states(result["states"].as_array().unwrap());
    assert_eq!(states.len(), 4);
    let sha256 = load_policy(&repository("infra/policy.toml")).unwrap().sha256().to_owned();
    for (key, state) in states {
        let expected = if key.id.as_str() == other_service { "settled" } else { "gone" };
        assert_eq!(phase_name(&state), expected, "{state:?}");
        assert_eq!(state.record().unwrap().policy_sha256, sha256);
    }
    assert_eq!(result["failed"]["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(result["failed"]["responsePayload"]["errorType"], "UnreadableEvent");
    let notices = result["notices"].as_array().unwrap();
    assert_eq!(notices.len(), 3);
    for id in ["ACCAEXAMPLEKEY0000901", "ACCAEXAMPLEKEY0000902", "ACCAEXAMPLEKEY0000903"] {
        let notice = notices.iter().filter_map(Value::as_str).find(|text| text.contains(id)).unwrap();
        for part in ["noncompliant", "deleted", "of IAM user svc-", "Made by: arn:aws:", "never expires"] {
            assert!(notice.contains(part), "{part}: {notice}");
        }
        assert!(!notice.contains('<'), "{notice}");
    }
}
