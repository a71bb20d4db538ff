//! How a stack has been doing: each way in which it does badly, and what is not a defect.

use bedrock_key_guard::ledger::policy::sha256_of;
use key_guard_core::policy::BUILT_IN;
use serde_json::{Value, json};

use super::{doctor, examine, findings};
use crate::support::cli::{AWS_VARIABLES, CliOutput, Folder};
use crate::support::iam::Iam;
use crate::support::stack::{Cloud, FUNCTION, State, TOPIC, arn, heard};
use crate::support::{OTHER, OWN, event};

/// What is wrong, the check that says so, what it found and what its fix names.
type Way = (fn(&mut State), &'static str, &'static str, &'static str);

const WAYS: [Way; 20] = [
    (|state| state.alarms.clear(), "alarms", "no alarm watches the guard", "infra/template.yaml"),
    (
        |state| state.alarms[0]["ActionsEnabled"] = json!(false),
        "alarms",
        "nobody is told by key-guard-failed",
        "enable-alarm-actions --alarm-names key-guard-failed",
    ),
    (
        |state| state.alarms[1]["AlarmActions"] = json!([]),
        "alarms",
        "nobody is told by key-guard-errors",
        "NotificationEmail=",
    ),
    (
        |state| state.alarms.push(waits(&format!("{FUNCTION}-unsent"))),
        "alarms",
        "nobody is told by bedrock-key-guard-unsent",
        "NotificationEmail=",
    ),
    (
        |state| _ = state.topics.insert(chat(), [0, 0]),
        "subscriptions",
        "bedrock-key-guard-chat: nobody has subscribed",
        "Amazon Q Developer",
    ),
    (
        |state| _ = state.topics.insert(chat(), [1, 1]),
        "subscriptions",
        "bedrock-key-guard-chat: 1 subscriptions are not confirmed",
        "arn:aws:sns:us-east-1:111122223333:bedrock-key-guard-chat",
    ),
    (
        |state| _ = state.topics.insert(arn("sns", TOPIC), [1, 1]),
        "subscriptions",
        "key-guard-notifications: 1 subscriptions are not confirmed",
        "confirm by the link",
    ),
    (
        |state| _ = state.topics.insert(arn("sns", TOPIC), [0, 0]),
        "subscriptions",
        "key-guard-notifications: nobody has subscribed",
        "aws sns subscribe --topic-arn arn:aws:sns:us-east-1:111122223333:key-guard-notifications",
    ),
    (
        |state| state.topics.clear(),
        "subscriptions",
        "an alarm's topic does not exist",
        "deploy the stack again",
    ),
    (
        |state| _ = state.metrics.insert("SweepCompleted", vec![(60, 1.0), (3, 0.0)]),
        "last_sweep",
        "none was completed since the hour from ",
        r#"--payload '{"sweep": {}}'"#,
    ),
    (
        |state| _ = state.metrics.remove("SweepCompleted"),
        "last_sweep",
        "none was completed in 14 days: its schedule may be disabled",
        "aws scheduler get-schedule --query State --name bedrock-key-guard-sweep;",
    ),
    (
        |state| _ = state.metrics.insert("ResumeCompleted", vec![(4, 6.0)]),
        "last_resume",
        "none was completed since the hour from ",
        r#"--payload '{"resume": {}}'"#,
    ),
    (
        |state| {
            state.metrics.remove("ResumeCompleted");
            monitor(state);
        },
        "last_resume",
        "none was completed in 14 days: its schedule may be disabled",
        "aws scheduler get-schedule --query State --name bedrock-key-guard-resume;",
    ),
    (
        |state| _ = state.metrics.insert("SecondsFromEventToFailure", vec![(3, 90.0), (4, 10_900.0)]),
        "failure_age",
        "an event was 3 hours old when it failed",
        "aws logs tail",
    ),
    (
        // On the second, as the core has it.
        |state| state.items = vec![heard(OWN, 1), heard(OTHER, 3)],
        "silent_accounts",
        "1 of 2 not heard for 3 hours: 444455556666; the heartbeat's schedule may be disabled",
        "infra/member.yaml",
    ),
    (
        // Forgotten, as if it had never been heard.
        |state| state.items = vec![heard(OTHER, 31 * 24)],
        "silent_accounts",
        "no account was heard in 30 days",
        "aws scheduler get-schedule --query State --name bedrock-key-guard-heartbeat;",
    ),
    (|state| state.items.clear(), "silent_accounts", "the heartbeat's schedule may be", "Heartbeat=enabled"),
    (
        |state| state.items = vec![heard(OWN, 1)],
        "responders",
        "sweeps may have tried key-guard-responder nowhere",
        "infra/member.yaml",
    ),
    (
        |state| _ = state.metrics.insert("SweepFailures", vec![(5, 2.0), (29, 1.0)]),
        "responders",
        "failed with 3 accounts or keys",
        "deploy infra/member.yaml again",
    ),
    (
        |state| _ = state.metrics.remove("SweepFailures"),
        "responders",
        "has tried key-guard-responder",
        "fix the sweep",
    ),
];

/// The ARN of the topic for a chat.
fn chat() -> String {
    arn("sns", &format!("{FUNCTION}-chat"))
}

/// An alarm on a queue, which nobody is told by.
fn waits(name: &str) -> Value {
    json!({
        "AlarmName": name, "Namespace": "AWS/SQS", "ActionsEnabled": true, "AlarmActions": [],
        "Dimensions": [{"Name": "QueueName", "Value": name}],
    })
}

/// The ceiling `monitor`, and a role for it.
fn monitor(state: &mut State) {
    state.variables()["KEY_GUARD_CEILING"] = json!("monitor");
    for action in
        ["dynamodb:UpdateItem", "iam:UpdateServiceSpecificCredential", "iam:DeleteServiceSpecificCredential"]
    {
        state.revoke(action);
    }
}

#[test]
fn each_way_to_do_badly_is_found_and_nothing_else() {
    for (break_it, check, found, fix) in WAYS {
        let (ran, mut findings) = examine(break_it, &[]);
        for (cause, effect) in [("alarms", "subscriptions"), ("silent_accounts", "responders")] {
            if check == cause && findings.get(effect).is_some_and(|one| one["status"] == "unknown") {
                findings.remove(effect);
            }
        }
        assert_eq!(findings.keys().collect::<Vec<_>>(), [check], "{}", ran.stdout);
        let finding = &findings[check];
        let text = |name: &str| finding[name].as_str().unwrap().to_owned();
        assert!(text("found").contains(found), "{finding}");
        assert!(text("fix").contains(fix), "{finding}");
        assert_eq!((ran.code, text("status") == "fail"), (0, false), "the guard works: {finding}");
    }
}

#[test]
fn what_is_as_it_should_be_is_no_defect() {
    let ways: [fn(&mut State); 7] = [
        // Lambda's own retries.
        |state| _ = state.metrics.insert("SecondsFromEventToFailure", vec![(3, 180.0)]),
        monitor,
        |state| _ = state.topics.insert(chat(), [1, 0]),
        // An account that has left, and is forgotten.
        |state| state.items.push(heard("777788889999", 31 * 24)),
        // Somebody else's, whose names begin alike.
        |state| state.alarms.push(waits("bedrock-key-guardian")),
        // An alarm on a formula.
        |state| {
            let metric = json!({"Namespace": "BedrockKeyGuard", "MetricName": "Keys"});
            state.alarms = vec![json!({
                "AlarmName": "rate", "ActionsEnabled": true, "AlarmActions": [arn("sns", TOPIC)],
                "Metrics": [{"Id": "a", "MetricStat": {"Metric": metric, "Stat": "Sum"}}],
            })];
        },
        // Nothing of the guard's own account is for others.
        |state| {
            state.metrics.remove("SweepFailures");
            let variables = state.variables().as_object_mut().unwrap();
            variables.remove("KEY_GUARD_RESPONDER_ROLE");
            state.revoke("sts:AssumeRole");
        },
    ];
    for way in ways {
        let (ran, findings) = examine(way, &[]);
        assert!(findings.is_empty() && ran.code == 0, "{findings:?}");
    }
}

/// As DynamoDB has it.
fn attribute(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: serde_json::Map<_, _> =
                fields.iter().map(|(name, value)| (name.clone(), attribute(value))).collect();
            json!({"M": fields})
        }
        Value::Array(values) => json!({"L": values.iter().map(attribute).collect::<Vec<_>>()}),
        Value::String(text) => json!({"S": text}),
        Value::Number(number) => json!({"N": number.to_string()}),
        Value::Bool(flag) => json!({"BOOL": flag}),
        Value::Null => json!({"NULL": true}),
    }
}

/// The item of a key that the guard has put into quarantine, a while ago.
fn quarantined() -> Value {
    let (folder, iam) = (Folder::new(), Iam::start());
    let event = event("created-without-age");
    iam.put_created(&event, None).unwrap();
    let file = folder.write("key.json", event.to_string());
    let policy = "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"quarantine\"\ngrace_days = 7\n";
    let policy = folder.write("policy.toml", policy);
    let arguments = ["replay", "--apply", "--ceiling", "deactivate", "--policy", &policy, &file];
    let mut command = folder.command(&arguments);
    let ran = CliOutput::of(command.envs(AWS_VARIABLES).env("AWS_ENDPOINT_URL", iam.url()));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let items = folder.items();
    let mut item = items.into_iter().find(|item| item["sk"] == format!("{OWN}#STATE")).unwrap();
    item["delete_after"] = json!("2026-01-01T00:00:00Z");
    item.insert("version".to_owned(), json!(3));
    attribute(&Value::Object(item))["M"].clone()
}

#[test]
fn a_quarantine_that_has_ended_is_overdue_where_the_ceiling_lets_it_end() {
    let item = quarantined();
    let with_item = |state: &mut State| {
        let mut entry = state.due[0].clone();
        entry["pk"] = item["pk"].clone();
        entry["sk"] = item["sk"].clone();
        state.due.push(entry);
        state.items.push(item.clone());
    };
    let unreadable = |state: &mut State| {
        with_item(state);
        state.items.last_mut().unwrap().as_object_mut().unwrap().remove("version").unwrap();
    };
    let (_, findings) = examine(unreadable, &[]);
    assert_eq!(findings["overdue"]["status"], "unknown", "{findings:?}");
    let (ran, findings) = examine(with_item, &[]);
    assert_eq!(findings.keys().collect::<Vec<_>>(), ["overdue"], "{}", ran.stdout);
    let finding = &findings["overdue"];
    let found = "due for more than an hour: 0 pending responses, 1 quarantines that have ended";
    assert_eq!((&finding["found"], &finding["status"]), (&json!(found), &json!("warn")));
    assert!(finding["fix"].as_str().unwrap().contains(r#"'{"resume": {}}'"#), "{finding}");
    let (_, findings) = examine(
        |state| {
            with_item(state);
            state.variables()["KEY_GUARD_CEILING"] = json!("deactivate");
        },
        &[],
    );
    assert!(!findings.contains_key("overdue"), "it waits: {findings:?}");
}

/// A version of the policy, as a table of DynamoDB has it.
fn policy_version(number: u32, text: &str) -> Value {
    let version = json!({
        "pk": "POLICY", "sk": format!("{number:010}"), "v": 4, "version": 1, "kind": "policy", "number": number,
        "toml": text, "sha256": sha256_of(text), "pushed_at": "2026-11-28T12:00:00Z",
        "pushed_by": "arn:aws:iam::111122223333:user/maria",
    });
    attribute(&version)["M"].clone()
}

#[test]
fn the_current_version_of_the_policy_is_one_that_can_be_used() {
    let with = |item: Option<Value>| {
        move |state: &mut State| {
            state.variables()["KEY_GUARD_POLICY"] = json!("ledger:");
            state.items.extend(item);
        }
    };
    let mut state = State::complete();
    with(Some(policy_version(3, BUILT_IN)))(&mut state);
    let all = findings(&doctor(&Cloud::start(state), &["--format", "jsonl"]));
    let found = "version 3, pushed at 2026-11-28T12:00:00Z by arn:aws:iam::111122223333:user/maria";
    assert_eq!(
        (&all["policy_version"]["found"], &all["policy_version"]["status"]),
        (&json!(found), &json!("ok"))
    );

    let mut forged = policy_version(2, BUILT_IN);
    forged["sha256"] = json!({"S": "0"});
    for (item, found) in [
        (None, "the ledger has no version of the policy"),
        (Some(policy_version(3, "[default]\n")), "version 3 of the policy cannot be used"),
        (Some(forged), "version 2 cannot be read"),
    ] {
        let (ran, findings) = examine(with(item), &[]);
        assert_eq!(findings.keys().collect::<Vec<_>>(), ["policy_version"], "{}", ran.stdout);
        let finding = &findings["policy_version"];
        assert!(finding["found"].as_str().unwrap().contains(found), "{finding}");
        let push = "bedrock-key-guard policy push FILE --ledger dynamodb:key-guard";
        assert!(finding["fix"].as_str().unwrap().starts_with(push), "{finding}");
        assert_eq!((ran.code, &finding["status"]), (1, &json!("fail")), "{finding}");
    }
    let (_, findings) = examine(
        |state| {
            with(None)(state);
            state.refuse("dynamodb:Query", "AccessDeniedException");
        },
        &[],
    );
    assert_eq!(findings["policy_version"]["status"], "unknown", "{findings:?}");
}

#[test]
fn what_is_not_known_of_responders_is_said() {
    for (change, found) in [
        (
            (|_| ()) as fn(&mut State),
            "keys were listed in all accounts swept (others heard in a week: 1); changing is not checked",
        ),
        (
            monitor,
            "keys were listed in all accounts swept (others heard in a week: 1); the ceiling allows no changes",
        ),
        // Its last heartbeat was more than a week ago.
        (
            |state| state.items.push(heard("777788889999", 8 * 24)),
            "keys were listed in all accounts swept (others heard in a week: 1); changing is not checked",
        ),
        (
            |state| state.refuse("dynamodb:Query", "AccessDeniedException"),
            "keys were listed in all accounts swept; changing is not checked",
        ),
    ] {
        let mut state = State::complete();
        change(&mut state);
        let all = findings(&doctor(&Cloud::start(state), &["--format", "jsonl"]));
        assert_eq!(
            (&all["responders"]["found"], &all["responders"]["status"]),
            (&json!(found), &json!("ok"))
        );
    }
}
