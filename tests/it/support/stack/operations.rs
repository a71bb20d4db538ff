//! What each call returns of the stack.

use std::fmt::Write as _;

use bedrock_key_guard::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use super::super::OWN;
use super::{FUNCTION, State, TrailState};

/// What a call comes to: an answer, or status and code.
pub type Outcome = Result<Value, (u16, &'static str)>;

pub fn act(service: &str, operation: &str, input: &Value, state: &State) -> Outcome {
    match (service, operation) {
        ("lambda", _) => lambda(operation, input, state),
        ("events", _) => events(operation, input, state),
        ("cloudtrail", _) => cloudtrail(operation, input, state),
        ("dynamodb", _) => dynamodb(operation, input, state),
        ("iam", "SimulatePrincipalPolicy") => simulate(input, state),
        ("sqs", _) => sqs(operation, input, state),
        ("cloudwatch", "GetMetricStatistics") => Ok(statistics(text_of(input, "MetricName"), state)),
        ("cloudwatch", "DescribeAlarms") => Ok(json!({"MetricAlarms": state.alarms})),
        ("sns", "GetTopicAttributes") => topic(text_of(input, "TopicArn"), state),
        _ => panic!("{service}:{operation} is not served"),
    }
}

fn lambda(operation: &str, input: &Value, state: &State) -> Outcome {
    match operation {
        "GetFunctionConfiguration" => {
            let name = text_of(input, "FunctionName").rsplit("function:").next().unwrap();
            state.functions.get(name).cloned().ok_or(NO_RESOURCE)
        }
        "GetFunctionConcurrency" => {
            assert_eq!(
                text_of(input, "FunctionName"),
                FUNCTION,
                "concurrency is the function's, not an alias's"
            );
            Ok(match state.concurrency {
                None => json!({}),
                Some(reserved) => json!({"ReservedConcurrentExecutions": reserved}),
            })
        }
        "GetFunctionEventInvokeConfig" => state.invocations.clone().ok_or(NO_RESOURCE),
        "GetPolicy" => {
            state.policy.as_ref().map(|policy| json!({"Policy": policy.to_string()})).ok_or(NO_RESOURCE)
        }
        other => panic!("lambda:{other} is not served"),
    }
}

fn events(operation: &str, input: &Value, state: &State) -> Outcome {
    match operation {
        "ListRuleNamesByTarget" => {
            assert_eq!(input.get("EventBusName"), None, "the default bus");
            let wanted = &input["TargetArn"];
            let all: Vec<_> = state
                .targets
                .iter()
                .filter(|(_, targets)| targets.iter().any(|target| target["Arn"] == *wanted))
                .map(|(rule, _)| rule.clone())
                .collect();
            Ok(page("RuleNames", &all.iter().map(|name| json!(name)).collect::<Vec<_>>(), input))
        }
        "DescribeRule" => state.rules.get(text_of(input, "Name")).cloned().ok_or(NO_RESOURCE),
        "ListTargetsByRule" => state
            .targets
            .get(text_of(input, "Rule"))
            .map(|targets| page("Targets", targets, input))
            .ok_or(NO_RESOURCE),
        other => panic!("events:{other} is not served"),
    }
}

fn cloudtrail(operation: &str, input: &Value, state: &State) -> Outcome {
    match operation {
        "DescribeTrails" => {
            Ok(json!({"trailList": state.trails.iter().map(|one| one.trail.clone()).collect::<Vec<_>>()}))
        }
        "GetTrailStatus" => {
            trail(text_of(input, "Name"), state).map(|trail| json!({"IsLogging": trail.logging}))
        }
        "GetEventSelectors" => trail(text_of(input, "TrailName"), state).map(|trail| trail.selectors.clone()),
        "LookupEvents" => {
            let creations = json!([{
                "AttributeKey": "EventName", "AttributeValue": "CreateServiceSpecificCredential",
            }]);
            assert_eq!(input["LookupAttributes"], creations);
            let described =
                |record: Value| json!({"EventId": record["eventID"], "CloudTrailEvent": record.to_string()});
            Ok(page("Events", &(state.history)().into_iter().map(described).collect::<Vec<_>>(), input))
        }
        other => panic!("cloudtrail:{other} is not served"),
    }
}

fn dynamodb(operation: &str, input: &Value, state: &State) -> Outcome {
    match operation {
        "DescribeTable" => state
            .tables
            .get(text_of(input, "TableName"))
            .map(|table| json!({"Table": table}))
            .ok_or(NO_RESOURCE),
        "DescribeContinuousBackups" => {
            if !state.tables.contains_key(text_of(input, "TableName")) {
                return Err((400, "TableNotFoundException"));
            }
            Ok(json!({"ContinuousBackupsDescription": {
                "ContinuousBackupsStatus": "ENABLED",
                "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": state.recovery},
            }}))
        }
        "Query" if !state.tables.contains_key(text_of(input, "TableName")) => Err(NO_RESOURCE),
        "Query" => Ok(query(input, state)),
        "BatchGetItem" => {
            let table = input["RequestItems"].as_object().unwrap().keys().next().unwrap();
            let keys = input["RequestItems"][table]["Keys"].as_array().unwrap();
            let is_asked =
                |item: &&Value| keys.iter().any(|key| key["pk"] == item["pk"] && key["sk"] == item["sk"]);
            let items: Vec<_> = state.items.iter().filter(is_asked).collect();
            Ok(json!({"Responses": {table: items}, "UnprocessedKeys": {}}))
        }
        other => panic!("dynamodb:{other} is not served"),
    }
}

fn sqs(operation: &str, input: &Value, state: &State) -> Outcome {
    match operation {
        "GetQueueUrl" => {
            assert_eq!(text_of(input, "QueueOwnerAWSAccountId"), OWN);
            let name = text_of(input, "QueueName");
            let url = format!("https://sqs.us-east-1.amazonaws.com/{OWN}/{name}");
            state.queues.get(name).map(|_| json!({"QueueUrl": url})).ok_or(NO_QUEUE)
        }
        "GetQueueAttributes" => {
            let name = text_of(input, "QueueUrl").rsplit('/').next().unwrap();
            let counts = state.queues.get(name).ok_or(NO_QUEUE)?;
            let all =
                ["", "NotVisible", "Delayed"].map(|which| format!("ApproximateNumberOfMessages{which}"));
            let asked = input["AttributeNames"].as_array().unwrap();
            let attributes: serde_json::Map<_, _> = all
                .into_iter()
                .zip(counts)
                .filter(|(name, _)| asked.contains(&json!(name)))
                .map(|(name, count)| (name, json!(count.to_string())))
                .collect();
            Ok(json!({"Attributes": attributes}))
        }
        other => panic!("sqs:{other} is not served"),
    }
}

fn statistics(metric: &str, state: &State) -> Value {
    let now = SystemClock.now().timestamp();
    let counted = if metric == "Keys" {
        state.counted.clone()
    } else {
        let points = state.metrics.get(metric).into_iter().flatten();
        points.map(|(hours, value)| (now - hours * 3_600, *value)).collect()
    };
    let points: Vec<_> =
        counted.iter().map(|(at, value)| json!({"Timestamp": at, "Sum": value, "Maximum": value})).collect();
    json!({"Label": metric, "Datapoints": points})
}

fn topic(arn: &str, state: &State) -> Outcome {
    let [confirmed, pending] = state.topics.get(arn).ok_or((404, "NotFound"))?;
    let entry = |name: &str, count: &u32| format!("<entry><key>{name}</key><value>{count}</value></entry>");
    let entries = entry("SubscriptionsConfirmed", confirmed) + &entry("SubscriptionsPending", pending);
    Ok(json!(format!("<Attributes>{entries}</Attributes>")))
}

/// By the values that are asked for: the partition, and first and last sort key.
fn query(input: &Value, state: &State) -> Value {
    let value = |name: &str| input["ExpressionAttributeValues"][name]["S"].as_str();
    let (items, field) = match input["IndexName"].as_str() {
        None => (&state.items, "pk"),
        Some("by_due") => (&state.due, "due_key"),
        Some(other) => panic!("{other} is not served"),
    };
    let wanted = value(":pk").or(value(":partition"));
    let is_in_range = |item: &&Value| {
        let at = item["due_at"]["S"].as_str().unwrap_or_default();
        value(":from").is_none_or(|from| at >= from) && value(":to").is_none_or(|to| at <= to)
    };
    let found: Vec<_> =
        items.iter().filter(|item| item[field]["S"].as_str() == wanted).filter(is_in_range).collect();
    json!({"Items": found, "Count": found.len(), "ScannedCount": found.len()})
}

fn text_of<'a>(input: &'a Value, name: &str) -> &'a str {
    input[name].as_str().unwrap_or_default()
}

const NO_RESOURCE: (u16, &str) = (404, "ResourceNotFoundException");
const NO_QUEUE: (u16, &str) = (400, "QueueDoesNotExist");

/// One at a time, so that what does not page does not get everything.
fn page(list: &str, all: &[Value], input: &Value) -> Value {
    let from: usize = input["NextToken"].as_str().map_or(0, |token| token.parse().unwrap());
    let mut answer = json!({list: all.iter().skip(from).take(1).collect::<Vec<_>>()});
    if from + 1 < all.len() {
        answer["NextToken"] = json!((from + 1).to_string());
    }
    answer
}

fn trail<'a>(arn: &str, state: &'a State) -> Result<&'a TrailState, (u16, &'static str)> {
    let trail = state.trails.iter().find(|one| one.trail["TrailARN"] == *arn);
    trail.filter(|trail| trail.account == OWN).ok_or((400, "TrailNotFoundException"))
}

fn simulate(input: &Value, state: &State) -> Outcome {
    let text = |name: &str| input[name].as_str();
    if text("PolicySourceArn") != state.role.as_deref() {
        return Err((404, "NoSuchEntity"));
    }
    let context = "ContextEntries.member.1";
    let key = text(&format!("{context}.ContextKeyName"));
    assert_eq!(key, Some("iam:ServiceSpecificCredentialServiceName"));
    assert_eq!(text(&format!("{context}.ContextKeyValues.member.1")), Some("bedrock.amazonaws.com"));
    assert_eq!(text(&format!("{context}.ContextKeyType")), Some("string"));
    let resource = text("ResourceArns.member.1").unwrap();
    assert_eq!(text("ResourceArns.member.2"), None);
    let mut results = String::new();
    for action in (1..).map_while(|n| text(&format!("ActionNames.member.{n}"))) {
        let allowed = state.grants.iter().any(|(granted, on)| {
            let (start, end) = on.split_once('*').unwrap_or((on, on));
            *granted == action && resource.starts_with(start) && resource.ends_with(end)
        });
        let missing = state.conditions.get(action).map(|key| format!("<member>{key}</member>"));
        let decision = if allowed && missing.is_none() { "allowed" } else { "implicitDeny" };
        let missing = missing.unwrap_or_default();
        write!(
            results,
            "<member><EvalActionName>{action}</EvalActionName><EvalResourceName>{resource}</EvalResourceName>\
             <EvalDecision>{decision}</EvalDecision><MissingContextValues>{missing}</MissingContextValues></member>"
        )
        .unwrap();
    }
    Ok(json!(format!("<EvaluationResults>{results}</EvaluationResults><IsTruncated>false</IsTruncated>")))
}
