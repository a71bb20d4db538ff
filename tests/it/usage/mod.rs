//! `usage`: the built command line over logs and CloudTrail's event history, with and without a ledger.

mod files;
mod history;
mod ledger;

use serde_json::{Value, json};

use crate::support::{OWN, event};

/// A call with a key. Each has an id of its own, by its number.
#[derive(Clone, Copy)]
struct Use {
    number: u32,
    user: &'static str,
    time: &'static str,
    model: &'static str,
    address: &'static str,
    agent: &'static str,
}

const BOTO: &str = "Boto3/1.40.2 md/Botocore#1.40.2 ua/2.1 os/linux lang/python#3.13.9";
const SONNET: &str = "anthropic.claude-sonnet-4-6";

impl Use {
    const fn new(number: u32, user: &'static str, time: &'static str) -> Self {
        Self { number, user, time, model: SONNET, address: "198.51.100.27", agent: BOTO }
    }

    /// As Bedrock records it: a management event (fact 17 of the design; the fields are those of real records).
    fn record(self) -> Value {
        let Self { number, user, time, model, address, agent } = self;
        json!({
            "eventVersion": "1.11",
            "userIdentity": {
                "type": "IAMUser",
                "principalId": "AIDAEXAMPLEEXAMPLE001",
                "arn": format!("arn:aws:iam::{OWN}:user/{user}"),
                "accountId": OWN,
                "userName": user,
            },
            "eventTime": time,
            "eventSource": "bedrock.amazonaws.com",
            "eventName": "InvokeModel",
            "awsRegion": "eu-central-1",
            "sourceIPAddress": address,
            "userAgent": agent,
            "requestParameters": {"modelId": model},
            "responseElements": null,
            "additionalEventData": {"callWithBearerToken": true, "inputTokens": 12, "outputTokens": 345},
            "requestID": format!("8c1e0000-7b1e-4c3a-9f00-{number:012}"),
            "eventID": format!("5d1c0000-7b1e-4c3a-9f00-{number:012}"),
            "readOnly": true,
            "eventType": "AwsApiCall",
            "managementEvent": true,
            "recipientAccountId": OWN,
            "eventCategory": "Management",
        })
    }

    /// As Bedrock Mantle and Claude Platform record inference: a data event.
    fn data_event(self, service: &str) -> Value {
        let mut record = self.record();
        record["eventSource"] = json!(service);
        record["eventName"] = json!("CreateInference");
        record["additionalEventData"] = Value::Null;
        record["requestParameters"] =
            json!({"model": self.model, "callWithBearerToken": true, "bearerTokenType": "ABSK"});
        record["managementEvent"] = json!(false);
        record["eventCategory"] = json!("Data");
        record
    }
}

/// Something else, which tells only that there are logs of this time.
fn other(number: u32, time: &str) -> Value {
    let mut record = Use::new(number, "somebody", "").record();
    record["eventTime"] = json!(time);
    record["eventSource"] = json!("s3.amazonaws.com");
    record["eventName"] = json!("ListBuckets");
    record["additionalEventData"] = json!({"SignatureVersion": "SigV4"});
    record
}

/// A log file of CloudTrail.
fn log(records: &[Value]) -> String {
    json!({ "Records": records }).to_string()
}

/// The creation of a key.
fn created(id: &str, user: &str, service: &str, time: &str, days: Option<i64>) -> Value {
    let mut record = event("created-without-age")["detail"].take();
    record["eventTime"] = json!(time);
    record["eventID"] = json!(format!("creation-of-{id}"));
    record["requestParameters"] =
        json!({"userName": user, "serviceName": service, "credentialAgeDays": days});
    let expires = days.map(|days| {
        let created: chrono::DateTime<chrono::Utc> = time.parse().unwrap();
        created + chrono::TimeDelta::days(days)
    });
    record["responseElements"]["serviceSpecificCredential"] = json!({
        "createDate": time, "serviceName": service, "serviceSpecificCredentialId": id, "userName": user,
        "status": "Active", "expirationDate": expires,
    });
    record
}
