//! How the services word calls and answers: JSON, the query protocol and CBOR.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::super::http::{Reply, Request};
use super::super::iam::decode;
use super::{State, operations};

/// How the services differ in wording.
enum Protocol {
    Json,
    Query,
    Cbor,
}

pub fn answer(request: &Request, state: &mut State) -> Reply {
    let (protocol, service, operation, input) = read(request);
    let action = format!("{service}:{operation}");
    state.asked.push(action.clone());
    let outcome = match state.refused.get(&action) {
        Some(code) => Err((if code.contains("Denied") { 403 } else { 400 }, *code)),
        None => operations::act(service, &operation, &input, state),
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
            let metrics =
                ["SweepCompleted", "SweepFailures", "ResumeCompleted", "SecondsFromEventToFailure", "Keys"];
            let metric = metrics.into_iter().find(|metric| body.contains(metric));
            if operation == "GetMetricStatistics" {
                assert!(body.contains("BedrockKeyGuard") && metric.is_some() && !body.contains("Dimensions"));
            }
            (Protocol::Cbor, "cloudwatch", operation.to_owned(), json!({"MetricName": metric}))
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
            let service = if input["Action"] == "GetTopicAttributes" { "sns" } else { "iam" };
            (Protocol::Query, service, input["Action"].clone(), json!(input))
        }
    }
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
        Value::Bool(flag) => out.push(0xf4 + u8::from(*flag)),
        Value::Null => panic!("not needed"),
    }
}
