//! Which stacks are complete: the usual one, and those that are built in another way or place.

use key_guard_core::cloudtrail::{CREDENTIAL_CALLS, USER_CALLS};
use serde_json::json;

use super::{doctor, examine, findings};
use crate::support::stack::{Cloud, FAILED, FUNCTION, RESPONDER, RULE, State, arn, pattern};
use crate::support::{OTHER, OWN};

/// A name, and how it differs.
type Way = (&'static str, fn(&mut State));

const WAYS: [Way; 12] = [
    ("a wider pattern", |state| state.set_pattern(&json!({"source": ["aws.iam"]}))),
    ("all management events", |state| {
        state.rule()["State"] = json!("ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS");
    }),
    ("a rule for each half of the events", |state| {
        let halves = [json!(CREDENTIAL_CALLS), json!(USER_CALLS)];
        for (rule, half) in [RULE, "second"].into_iter().zip(halves) {
            let mut pattern = pattern();
            pattern["detail"]["eventName"] = half;
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

#[test]
fn other_ways_to_build_a_complete_stack_are_as_good() {
    for (name, build) in WAYS {
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
    assert!(found["rule"]["fix"].as_str().unwrap().contains("--function bedrock-key-guard:ALIAS"));
}

#[test]
fn an_account_can_be_named_where_the_responder_is_allowed_for_named_ones() {
    let build = |state: &mut State| {
        state.revoke("sts:AssumeRole");
        state.grants.insert(("sts:AssumeRole", format!("arn:aws:iam::{OTHER}:role/{RESPONDER}")));
    };
    let (_, found) = examine(build, &[]);
    assert!(found["role"]["fix"].as_str().unwrap().contains("doctor --account"));
    let (ran, found) = examine(build, &["--account", OTHER]);
    assert!(found.is_empty() && ran.code == 0, "{found:?}");
}
