//! Everything that a deployed stack consists of, over HTTP: Lambda, EventBridge, CloudTrail, DynamoDB, IAM, SQS
//! and CloudWatch, as far as `doctor` asks about them. It begins complete; tests take it apart.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::http::{Reply, Request, serve};
use super::iam::decode;
use super::{OTHER, OWN};

pub use key_guard_core::cloudtrail::pattern;

pub const FUNCTION: &str = "bedrock-key-guard";
pub const TABLE: &str = "key-guard";
pub const RULE: &str = "key-guard-events";
pub const TRAIL: &str = "management-events";
pub const FAILED: &str = "key-guard-failed";
pub const UNDELIVERED: &str = "key-guard-undelivered";
pub const RESPONDER: &str = "key-guard-responder";

/// The stack as AWS's answers have it.
pub struct State {
    /// By function name, with alias if any.
    pub functions: BTreeMap<String, Value>,
    pub concurrency: Option<i32>,
    pub invocations: Option<Value>,
    pub policy: Option<Value>,
    pub rules: BTreeMap<String, Value>,
    pub targets: BTreeMap<String, Vec<Value>>,
    pub trails: Vec<TrailState>,
    pub tables: BTreeMap<String, Value>,
    pub recovery: &'static str,
    pub role: Option<String>,
    /// What the role allows: action and resource.
    pub grants: BTreeSet<(&'static str, String)>,
    /// Conditions that IAM cannot evaluate, by action.
    pub conditions: BTreeMap<&'static str, &'static str>,
    /// Messages by queue: waiting, being read, delayed.
    pub queues: BTreeMap<String, [u32; 3]>,
    /// The records that CloudTrail has of created keys, oldest first.
    pub history: Box<dyn Fn() -> Vec<Value> + Send>,
    /// Seconds since the epoch, and how many events.
    pub counted: Vec<(i64, f64)>,
    /// Calls that are refused, by IAM action.
    refused: BTreeMap<String, &'static str>,
    asked: Vec<String>,
}

pub struct TrailState {
    pub trail: Value,
    pub logging: bool,
    pub selectors: Value,
    /// The account that it is in.
    pub account: &'static str,
}

pub fn arn(service: &str, resource: &str) -> String {
    format!("arn:aws:{service}:us-east-1:{OWN}:{resource}")
}

impl State {
    pub fn complete() -> Self {
        let role = format!("arn:aws:iam::{OWN}:role/service/key-guard");
        let function = json!({
            "FunctionName": FUNCTION,
            "FunctionArn": arn("lambda", &format!("function:{FUNCTION}")),
            "Role": role,
            "Timeout": 900,
            "MemorySize": 256,
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "Environment": {"Variables": {
                "KEY_GUARD_TABLE": TABLE,
                "KEY_GUARD_CEILING": "delete",
                "KEY_GUARD_SWEEP_CEILING": "monitor",
                "KEY_GUARD_REPORTS_BUS": "reports",
                "KEY_GUARD_POLICY": "/var/task/policy.toml",
                "KEY_GUARD_RESPONDER_ROLE": RESPONDER,
            }},
        });
        let key = |name: &str, kind: &str| json!({"AttributeName": name, "KeyType": kind});
        let index = |name: &str| {
            let sort = if name == "due" { "due_at" } else { "at_key" };
            json!({
                "IndexName": format!("by_{name}"),
                "IndexStatus": "ACTIVE",
                "KeySchema": [key(&format!("{name}_key"), "HASH"), key(sort, "RANGE")],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            })
        };
        let indexed = ["month", "user", "role", "account", "due", "actor"];
        let attributes: Vec<_> = ["pk", "sk", "at_key", "due_at"]
            .into_iter()
            .map(str::to_owned)
            .chain(indexed.iter().map(|name| format!("{name}_key")))
            .map(|name| json!({"AttributeName": name, "AttributeType": "S"}))
            .collect();
        let table = json!({
            "TableName": TABLE,
            "TableStatus": "ACTIVE",
            "AttributeDefinitions": attributes,
            // Out of order: nothing says that DynamoDB sorts them.
            "KeySchema": [key("sk", "RANGE"), key("pk", "HASH")],
            "GlobalSecondaryIndexes": indexed.map(index),
            "DeletionProtectionEnabled": true,
        });
        let users = format!("arn:aws:iam::{OWN}:user/*");
        let target = json!({
            "Id": "guard",
            "Arn": arn("lambda", &format!("function:{FUNCTION}")),
            "DeadLetterConfig": {"Arn": arn("sqs", UNDELIVERED)},
        });
        let other = json!({"Id": "log", "Arn": arn("logs", "log-group:iam")});
        Self {
            functions: BTreeMap::from([(FUNCTION.to_owned(), function)]),
            concurrency: None,
            invocations: Some(json!({
                "MaximumRetryAttempts": 2,
                "DestinationConfig": {"OnFailure": {"Destination": arn("sqs", FAILED)}},
            })),
            policy: Some(json!({"Version": "2012-10-17", "Statement": [{
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "lambda:InvokeFunction",
                "Resource": arn("lambda", &format!("function:{FUNCTION}")),
                "Condition": {"ArnLike": {"AWS:SourceArn": arn("events", &format!("rule/{RULE}"))}},
            }]})),
            rules: BTreeMap::from([(
                RULE.to_owned(),
                json!({"Name": RULE, "State": "ENABLED", "EventPattern": pattern().to_string()}),
            )]),
            targets: BTreeMap::from([(RULE.to_owned(), vec![other, target])]),
            trails: vec![TrailState {
                trail: json!({
                    "Name": TRAIL,
                    "TrailARN": arn("cloudtrail", &format!("trail/{TRAIL}")),
                    "HomeRegion": "us-east-1",
                    "IsMultiRegionTrail": true,
                    "IncludeGlobalServiceEvents": true,
                    "IsOrganizationTrail": false,
                }),
                logging: true,
                selectors: json!({"EventSelectors": [
                    {"ReadWriteType": "WriteOnly", "IncludeManagementEvents": true, "DataResources": []},
                ]}),
                account: OWN,
            }],
            tables: BTreeMap::from([(TABLE.to_owned(), table)]),
            recovery: "ENABLED",
            role: Some(role),
            grants: BTreeSet::from([
                ("dynamodb:PutItem", arn("dynamodb", &format!("table/{TABLE}"))),
                ("dynamodb:UpdateItem", arn("dynamodb", &format!("table/{TABLE}"))),
                ("dynamodb:BatchGetItem", arn("dynamodb", &format!("table/{TABLE}"))),
                ("dynamodb:Query", arn("dynamodb", &format!("table/{TABLE}/index/by_account"))),
                ("dynamodb:Query", arn("dynamodb", &format!("table/{TABLE}/index/by_due"))),
                ("events:PutEvents", arn("events", "event-bus/reports")),
                ("iam:ListServiceSpecificCredentials", users.clone()),
                ("iam:UpdateServiceSpecificCredential", users.clone()),
                ("iam:DeleteServiceSpecificCredential", users),
                ("iam:ListAttachedUserPolicies", format!("arn:aws:iam::{OWN}:user/BedrockAPIKey-*")),
                ("iam:ListAttachedUserPolicies", format!("arn:aws:iam::{OWN}:user/AeaApiKey-*")),
                ("iam:ListAccessKeys", format!("arn:aws:iam::{OWN}:user/BedrockAPIKey-*")),
                ("iam:ListAccessKeys", format!("arn:aws:iam::{OWN}:user/AeaApiKey-*")),
                ("sts:AssumeRole", format!("arn:aws:iam::*:role/{RESPONDER}")),
            ]),
            conditions: BTreeMap::new(),
            queues: BTreeMap::from([(FAILED.to_owned(), [0; 3]), (UNDELIVERED.to_owned(), [0; 3])]),
            history: Box::new(Vec::new),
            counted: vec![(1_764_000_000, 3.0), (1_763_990_000, 1.0), (1_764_007_200, 0.0)],
            refused: BTreeMap::new(),
            asked: Vec::new(),
        }
    }

    pub fn function(&mut self) -> &mut Value {
        self.functions.get_mut(FUNCTION).unwrap()
    }

    pub fn variables(&mut self) -> &mut Value {
        &mut self.function()["Environment"]["Variables"]
    }

    pub fn rule(&mut self) -> &mut Value {
        self.rules.get_mut(RULE).unwrap()
    }

    pub fn set_pattern(&mut self, pattern: &Value) {
        self.rule()["EventPattern"] = json!(pattern.to_string());
    }

    /// The target that is the function.
    pub fn target(&mut self) -> &mut Value {
        &mut self.targets.get_mut(RULE).unwrap()[1]
    }

    pub fn table(&mut self) -> &mut Value {
        self.tables.get_mut(TABLE).unwrap()
    }

    pub fn revoke(&mut self, action: &str) {
        self.grants.retain(|(granted, _)| *granted != action);
    }

    /// The trail becomes one of the organisation, which a member account can list and not look into.
    pub fn organize(&mut self) {
        let trail = &mut self.trails[0];
        trail.account = OTHER;
        trail.trail["IsOrganizationTrail"] = json!(true);
        trail.trail["TrailARN"] = json!(format!("arn:aws:cloudtrail:us-east-1:{OTHER}:trail/{TRAIL}"));
    }

    /// Calls of this IAM action are refused with this code.
    pub fn refuse(&mut self, action: &str, code: &'static str) {
        self.refused.insert(action.to_owned(), code);
    }
}

#[derive(Clone)]
pub struct Cloud {
    url: String,
    state: Arc<Mutex<State>>,
}

impl Cloud {
    pub fn start(state: State) -> Self {
        let state = Arc::new(Mutex::new(state));
        let url = {
            let state = Arc::clone(&state);
            serve(move |request| answer(&request, &mut state.lock().unwrap()))
        };
        Self { url, state }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// How often a call of this IAM action was made.
    pub fn count(&self, action: &str) -> usize {
        self.state.lock().unwrap().asked.iter().filter(|asked| *asked == action).count()
    }

    /// The IAM actions of the calls that were made, each once.
    pub fn asked(&self) -> BTreeSet<String> {
        self.state.lock().unwrap().asked.iter().cloned().collect()
    }
}

/// What a call comes to: an answer, or status and code.
type Outcome = Result<Value, (u16, &'static str)>;

/// How the services differ in wording.
enum Protocol {
    Json,
    Query,
    Cbor,
}

fn answer(request: &Request, state: &mut State) -> Reply {
    let (protocol, service, operation, input) = read(request);
    let action = format!("{service}:{operation}");
    state.asked.push(action.clone());
    let outcome = match state.refused.get(&action) {
        Some(code) => Err((if code.contains("Denied") { 403 } else { 400 }, *code)),
        None => act(&action, &input, state),
    };
    match (protocol, outcome) {
        (Protocol::Json, Ok(answer)) => Reply::answer(200, answer.to_string()),
        (Protocol::Json, Err((status, code))) => Reply::Answer {
            status,
            headers: vec![("x-amzn-errortype", code.to_owned())],
            body: json!({"__type": format!("x#{code}"), "message": "on demand"}).to_string(),
        },
        (Protocol::Query, Ok(answer)) => Reply::answer(
            200,
            format!(
                "<{operation}Response><{operation}Result>{}</{operation}Result></{operation}Response>",
                answer.as_str().unwrap()
            ),
        ),
        (Protocol::Query, Err((status, code))) => Reply::answer(
            status,
            format!(
                "<ErrorResponse><Error><Code>{code}</Code><Message>on demand</Message></Error></ErrorResponse>"
            ),
        ),
        (Protocol::Cbor, Ok(answer)) => cbor_reply(200, &answer),
        (Protocol::Cbor, Err((status, code))) => {
            cbor_reply(status, &json!({"__type": format!("x#{code}"), "message": "on demand"}))
        }
    }
}

fn read(request: &Request) -> (Protocol, &'static str, String, Value) {
    let body = || serde_json::from_slice(&request.body).unwrap_or_default();
    if let Some(target) = request.headers.get("x-amz-target") {
        let (prefix, operation) = target.rsplit_once('.').unwrap();
        let service = match prefix {
            "DynamoDB_20120810" => "dynamodb",
            "AWSEvents" => "events",
            "AmazonSQS" => "sqs",
            prefix if prefix.ends_with("CloudTrail_20131101") => "cloudtrail",
            other => panic!("{other} is not served"),
        };
        return (Protocol::Json, service, operation.to_owned(), body());
    }
    let path: Vec<String> = request.path.split('/').map(|part| decode(&part.replace('+', "%2B"))).collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path[..] {
        ["", "service", "GraniteServiceVersion20100801", "operation", operation] => {
            assert_eq!(request.headers["smithy-protocol"], "rpc-v2-cbor");
            let body = String::from_utf8_lossy(&request.body);
            assert!(
                body.contains("BedrockKeyGuard") && body.contains("Keys") && !body.contains("Dimensions")
            );
            (Protocol::Cbor, "cloudwatch", operation.to_owned(), json!(null))
        }
        ["", _, "functions", function, what] => {
            let operation = match what {
                "configuration" => "GetFunctionConfiguration",
                "concurrency" => "GetFunctionConcurrency",
                "event-invoke-config" => "GetFunctionEventInvokeConfig",
                "policy" => "GetPolicy",
                other => panic!("{other} is not served"),
            };
            (Protocol::Json, "lambda", operation.to_owned(), json!({"FunctionName": function}))
        }
        _ => {
            let text = String::from_utf8(request.body.clone()).unwrap();
            let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
            let input: HashMap<_, _> = pairs.map(|(name, value)| (name.to_owned(), decode(value))).collect();
            (Protocol::Query, "iam", input["Action"].clone(), json!(input))
        }
    }
}

fn act(action: &str, input: &Value, state: &mut State) -> Outcome {
    let text = |name: &str| input[name].as_str().unwrap_or_default();
    match action {
        "lambda:GetFunctionConfiguration" => {
            let name = text("FunctionName").rsplit("function:").next().unwrap();
            state.functions.get(name).cloned().ok_or(NO_RESOURCE)
        }
        "lambda:GetFunctionConcurrency" => {
            assert_eq!(text("FunctionName"), FUNCTION, "concurrency is the function's, not an alias's");
            Ok(match state.concurrency {
                None => json!({}),
                Some(reserved) => json!({"ReservedConcurrentExecutions": reserved}),
            })
        }
        "lambda:GetFunctionEventInvokeConfig" => state.invocations.clone().ok_or(NO_RESOURCE),
        "lambda:GetPolicy" => {
            state.policy.as_ref().map(|policy| json!({"Policy": policy.to_string()})).ok_or(NO_RESOURCE)
        }
        "events:ListRuleNamesByTarget" => {
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
        "events:DescribeRule" => state.rules.get(text("Name")).cloned().ok_or(NO_RESOURCE),
        "events:ListTargetsByRule" => {
            state.targets.get(text("Rule")).map(|targets| page("Targets", targets, input)).ok_or(NO_RESOURCE)
        }
        "cloudtrail:DescribeTrails" => {
            Ok(json!({"trailList": state.trails.iter().map(|one| one.trail.clone()).collect::<Vec<_>>()}))
        }
        "cloudtrail:GetTrailStatus" => {
            trail(text("Name"), state).map(|trail| json!({"IsLogging": trail.logging}))
        }
        "cloudtrail:GetEventSelectors" => {
            trail(text("TrailName"), state).map(|trail| trail.selectors.clone())
        }
        "cloudtrail:LookupEvents" => {
            let creations = json!([{
                "AttributeKey": "EventName", "AttributeValue": "CreateServiceSpecificCredential",
            }]);
            assert_eq!(input["LookupAttributes"], creations);
            let described =
                |record: Value| json!({"EventId": record["eventID"], "CloudTrailEvent": record.to_string()});
            Ok(page("Events", &(state.history)().into_iter().map(described).collect::<Vec<_>>(), input))
        }
        "dynamodb:DescribeTable" => {
            state.tables.get(text("TableName")).map(|table| json!({"Table": table})).ok_or(NO_RESOURCE)
        }
        "dynamodb:DescribeContinuousBackups" => {
            if !state.tables.contains_key(text("TableName")) {
                return Err((400, "TableNotFoundException"));
            }
            Ok(json!({"ContinuousBackupsDescription": {
                "ContinuousBackupsStatus": "ENABLED",
                "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": state.recovery},
            }}))
        }
        "iam:SimulatePrincipalPolicy" => simulate(input, state),
        "sqs:GetQueueUrl" => {
            assert_eq!(text("QueueOwnerAWSAccountId"), OWN);
            let name = text("QueueName");
            let url = format!("https://sqs.us-east-1.amazonaws.com/{OWN}/{name}");
            state.queues.get(name).map(|_| json!({"QueueUrl": url})).ok_or(NO_QUEUE)
        }
        "sqs:GetQueueAttributes" => {
            let name = text("QueueUrl").rsplit('/').next().unwrap();
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
        "cloudwatch:GetMetricStatistics" => {
            let points = state.counted.iter();
            let points: Vec<_> = points.map(|(at, sum)| json!({"Timestamp": at, "Sum": sum})).collect();
            Ok(json!({"Label": "Keys", "Datapoints": points}))
        }
        other => panic!("{other} is not served"),
    }
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

fn cbor_reply(status: u16, value: &Value) -> Reply {
    let mut body = Vec::new();
    cbor("", value, &mut body);
    let headers =
        vec![("smithy-protocol", "rpc-v2-cbor".to_owned()), ("content-type", "application/cbor".to_owned())];
    Reply::Bytes { status, headers, body }
}

/// RFC 8949, as far as it is needed: short lists and maps, texts, floats, and times, which are tagged.
fn cbor(field: &str, value: &Value, out: &mut Vec<u8>) {
    let head = |major: u8, length: usize, out: &mut Vec<u8>| {
        out.extend([
            (major << 5) | 0x19,
            u8::try_from(length >> 8).unwrap(),
            u8::try_from(length & 255).unwrap(),
        ]);
    };
    match value {
        Value::Object(fields) => {
            head(5, fields.len(), out);
            for (name, value) in fields {
                cbor("", &json!(name), out);
                cbor(name, value, out);
            }
        }
        Value::Array(values) => {
            head(4, values.len(), out);
            for value in values {
                cbor("", value, out);
            }
        }
        Value::String(text) => {
            head(3, text.len(), out);
            out.extend(text.as_bytes());
        }
        Value::Number(number) => {
            if field == "Timestamp" {
                out.push(0xc1);
            }
            out.push(0xfb);
            out.extend(number.as_f64().unwrap().to_be_bytes());
        }
        Value::Null | Value::Bool(_) => panic!("not needed"),
    }
}
