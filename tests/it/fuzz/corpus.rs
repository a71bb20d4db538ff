//! Events, with secrets in them, in the shapes in which people have them.

use std::io::Write as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::support::events;

/// Secrets of three kinds. The first two are in each event that has a response.
pub const SECRETS: [&str; 3] = [
    "ABSKc3ZjLWNoYXRib3QtYXQtMTExMTIyMjIzMzMzOnBMM3FaazhXbTJSdDd2WXgxTmI2Q2Q5Rmc0SGo1",
    "IQoJb3JpZ2luX2VjEGkaCXVzLWVhc3QtMSJIMEYCIQDpL3qZk8Wm2Rt7vYx1Nb6Cd9Fg4Hj5pL3qZk8Wm2Rt7vYx1Nb6Cd9Fg4",
    "aws-external-anthropic-api-key-YXdzLWV4dGVybmFsLWFudGhyb3BpYy5hbWF6b25hd3MuY29tLz9BY3Rpb249Q2FsbFdpdGhCZWFyZXJUb2tlbg",
];

/// The events of the repository, in their envelopes and as bare records.
pub static EVENTS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let with_secrets = events().into_iter().map(|(_, mut event)| {
        if let Some(Value::Object(response)) = event["detail"].get_mut("responseElements") {
            response.insert("apiKey".to_owned(), json!(SECRETS[0]));
            for (_, inner) in response.iter_mut() {
                if let Value::Object(credential) = inner {
                    credential.insert("serviceApiKeyValue".to_owned(), json!(SECRETS[0]));
                }
            }
        }
        event["detail"]["additionalEventData"] = json!({ "token": SECRETS[1] });
        event
    });
    with_secrets.flat_map(|event| [event["detail"].clone(), event]).collect()
});

pub fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// How many shapes there are.
pub const SHAPES: usize = 10;

/// Events as tools and services hand them on.
pub fn shape(number: usize, events: &[Value]) -> Value {
    let texts: Vec<_> = events.iter().map(Value::to_string).collect();
    let messages = |field: &str| texts.iter().map(|text| json!({ field: text })).collect::<Vec<_>>();
    let batch =
        json!({ "messageType": "DATA_MESSAGE", "owner": "111122223333", "logEvents": messages("message") });
    match number % SHAPES {
        0 => json!({ "Records": events }),
        1 => json!(events),
        2 => json!({ "Events": messages("CloudTrailEvent") }),
        3 => json!({ "awslogs": { "data": STANDARD.encode(gzipped(batch.to_string().as_bytes())) } }),
        4 => json!({ "Records": messages("body") }),
        5 => json!({ "Messages": messages("Body") }),
        6 => {
            json!({ "hits": { "hits": events.iter().map(|event| json!({ "_source": event })).collect::<Vec<_>>() } })
        }
        7 => {
            json!({ "QueryResultRows": texts.iter().map(|text| json!([{ "eventJson": text }])).collect::<Vec<_>>() })
        }
        8 => json!({ "preview": false, "result": { "_raw": texts.join("\n") } }),
        _ => batch,
    }
}
