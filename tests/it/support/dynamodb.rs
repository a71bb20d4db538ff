//! DynamoDB over HTTP: one of this process, or an independent one behind the same counting door.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use bedrock_key_guard::ledger::portable::{PortableContent, PortableItem};
use bedrock_key_guard::ledger::store::Ledger;
use dynoxide::Database;
use key_guard_core::key::KeyRef;
use key_guard_core::lifecycle::state::{KeyState, Phase};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::http::{Reply, Request, serve};
use super::write_units::{Written, units};
use super::{Fault, Faults};

/// How long an independent DynamoDB may take for a call.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Clone)]
pub struct Dynamo(Arc<Inner>);

struct Inner {
    url: String,
    database: Database,
    calls: Arc<Mutex<Vec<String>>>,
    actions: Arc<Mutex<BTreeSet<String>>>,
    faults: Arc<Faults>,
    write_units: Arc<Mutex<u64>>,
}

impl Dynamo {
    pub fn start() -> Self {
        let database = Database::memory().unwrap();
        let calls: Arc<Mutex<Vec<String>>> = Arc::default();
        let actions: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let faults: Arc<Faults> = Arc::default();
        let write_units: Arc<Mutex<u64>> = Arc::default();
        let url = {
            let (database, calls, faults) = (database.clone(), Arc::clone(&calls), Arc::clone(&faults));
            let (actions, write_units) = (Arc::clone(&actions), Arc::clone(&write_units));
            serve(move |request| {
                actions.lock().unwrap().extend(actions_of(&request));
                let written = operation_of(&request).filter(|operation| *operation == "TransactWriteItems");
                let written = written.map(|_| Written::by(&request.body));
                let items = || written.as_ref().map(|written| written.items(&database)).unwrap_or_default();
                let before = items();
                let reply = answer(&request, &database, &calls, &faults);
                *write_units.lock().unwrap() += units(&before, &items());
                reply
            })
        };
        Self(Arc::new(Inner { url, database, calls, actions, faults, write_units }))
    }

    pub fn url(&self) -> &str {
        &self.0.url
    }

    pub fn fault(&self, operation: &str, fault: Fault, times: usize) {
        self.0.faults.expect(operation, fault, times);
    }

    /// True if each fault has happened.
    pub fn faults_are_over(&self) -> bool {
        self.0.faults.are_over()
    }

    /// The operations that were called, in order.
    pub fn calls(&self) -> Vec<String> {
        self.0.calls.lock().unwrap().clone()
    }

    /// The write units of all transactions since this was last called.
    pub fn take_write_units(&self) -> u64 {
        std::mem::take(&mut self.0.write_units.lock().unwrap())
    }

    /// The IAM actions of what was called.
    pub fn actions(&self) -> BTreeSet<String> {
        self.0.actions.lock().unwrap().clone()
    }

    /// Forgets what was called until now.
    pub fn forget_calls(&self) {
        self.0.calls.lock().unwrap().clear();
        self.0.actions.lock().unwrap().clear();
    }

    /// A client with the retries and timeouts of production.
    pub async fn client(&self) -> Client {
        let sdk = bedrock_key_guard::aws::sdk_config().await;
        client(&sdk, &self.0.url)
    }

    /// A ledger in a table that is made.
    pub async fn ledger(&self, table: &str) -> Ledger {
        let client = self.client().await;
        make_table(&client, table).await;
        self.forget_calls();
        Ledger::dynamodb(client, table)
    }

    /// Every item of a table, as DynamoDB's JSON.
    pub fn items(&self, table: &str) -> Vec<Value> {
        let request = serde_json::from_value(json!({ "TableName": table })).unwrap();
        let answer = serde_json::to_value(self.0.database.scan(request).unwrap()).unwrap();
        answer["Items"].as_array().unwrap().clone()
    }

    /// Changes the items of a table behind everybody's back.
    pub fn change_items(&self, table: &str, change: impl Fn(&mut Value)) {
        for mut item in self.items(table) {
            change(&mut item);
            self.put_item(table, &item);
        }
    }

    /// Puts an item, in DynamoDB's JSON, into a table.
    pub fn put_item(&self, table: &str, item: &Value) {
        let put = serde_json::from_value(json!({"TableName": table, "Item": item})).unwrap();
        self.0.database.put_item(put).unwrap();
    }

    /// The states of a table's keys.
    pub fn states(&self, table: &str) -> Vec<(KeyRef, KeyState)> {
        states(&self.items(table))
    }
}

/// The states among a table's items, as the codec reads them.
pub fn states(items: &[Value]) -> Vec<(KeyRef, KeyState)> {
    let states =
        items.iter().filter(|item| item["sk"]["S"].as_str().is_some_and(|sk| sk.ends_with("#STATE")));
    let decode = |item| {
        let mut fields = fields(item);
        let of_key =
            |field: &str, at| item[field]["S"].as_str().unwrap().split('#').nth(at).unwrap().to_owned();
        fields["account"] = of_key("sk", 0).into();
        fields["credential_id"] = of_key("pk", 1).into();
        match PortableItem::from_json(&fields.to_string()).unwrap().content {
            PortableContent::State(key, state) => (key, *state),
            other => panic!("{other:?} is no state"),
        }
    };
    states.map(decode).collect()
}

/// The fields of an item, from DynamoDB's own JSON.
fn fields(item: &Value) -> Value {
    item.as_object().unwrap().iter().map(|(name, value)| (name.clone(), plain(value))).collect()
}

fn plain(value: &Value) -> Value {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    match kind.as_str() {
        "S" | "BOOL" => value.clone(),
        "N" => serde_json::from_str(value.as_str().unwrap()).unwrap(),
        "L" => value.as_array().unwrap().iter().map(plain).collect(),
        "M" => fields(value),
        other => panic!("the codec writes no {other}"),
    }
}

/// A word for a phase. A key without a record has none.
pub fn phase_name(state: &KeyState) -> &'static str {
    match state.record().map(|record| &record.phase) {
        None => "no record",
        Some(Phase::Settled) => "settled",
        Some(Phase::Pending(_)) => "pending",
        Some(Phase::Deactivated(_)) => "deactivated",
        Some(Phase::Inactive(_)) => "inactive",
        Some(Phase::Gone(_)) => "gone",
    }
}

pub fn client(sdk: &aws_config::SdkConfig, url: &str) -> Client {
    let config = aws_sdk_dynamodb::config::Builder::from(sdk)
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("AKIAEXAMPLE", "secret", None, None, "test"))
        .endpoint_url(url)
        .build();
    Client::from_conf(config)
}

/// The same, and the SDK retries nothing.
pub async fn client_without_retries(url: &str) -> Client {
    let sdk = bedrock_key_guard::aws::sdk_config().await;
    client(&sdk.into_builder().retry_config(RetryConfig::disabled()).build(), url)
}

fn operation_of(request: &Request) -> Option<&str> {
    request.headers.get("x-amz-target")?.strip_prefix("DynamoDB_20120810.")
}

/// A transaction is authorized as what is in it (DynamoDB developer guide, "Using IAM with DynamoDB transactions").
fn actions_of(request: &Request) -> Vec<String> {
    let Some(operation) = operation_of(request) else { return Vec::new() };
    if operation != "TransactWriteItems" {
        return vec![format!("dynamodb:{operation}")];
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let items = body["TransactItems"].as_array().unwrap().iter();
    let kinds = items.flat_map(|item| item.as_object().unwrap().keys().cloned());
    kinds
        .map(|kind| match kind.as_str() {
            "ConditionCheck" => "dynamodb:ConditionCheckItem".to_owned(),
            kind => format!("dynamodb:{kind}Item"),
        })
        .collect()
}

fn answer(request: &Request, database: &Database, calls: &Mutex<Vec<String>>, faults: &Faults) -> Reply {
    if request.method == "GET" {
        return Reply::answer(200, "healthy");
    }
    let operation = operation_of(request).unwrap();
    calls.lock().unwrap().push(operation.to_owned());
    let refuse = |status, code: &str| {
        Reply::answer(status, json!({"__type": format!("x#{code}"), "message": "on demand"}).to_string())
    };
    let body = &request.body;
    let cancel = |item, code: &str| cancelled(body, database, item, code);
    faults.pass_transaction(operation, refuse, cancel, || match operation {
        "TransactWriteItems" => run(body, |request| database.transact_write_items(request)),
        "DescribeTable" => run(body, |request| database.describe_table(request)),
        "CreateTable" => run(body, |request| database.create_table(request)),
        "PutItem" => run(body, |request| database.put_item(request)),
        "GetItem" => run(body, |request| database.get_item(request)),
        "Query" => run(body, |request| database.query(request)),
        "BatchGetItem" => run(body, |request| database.batch_get_item(request)),
        "Scan" => run(body, |request| database.scan(request)),
        other => panic!("{other} is not served"),
    })
}

/// Cancels a transaction: this item is busy. As in DynamoDB, the conditions of the others are reported all the same.
fn cancelled(body: &[u8], database: &Database, item: usize, code: &str) -> Reply {
    let mut transaction: Value = serde_json::from_slice(body).unwrap();
    let items = transaction["TransactItems"].as_array_mut().unwrap();
    // A further condition, which always fails.
    items.push(json!({"ConditionCheck": {
        "TableName": items[0]["Put"]["TableName"],
        "Key": {"pk": {"S": "nothing"}, "sk": {"S": "nothing"}},
        "ConditionExpression": "attribute_exists(pk)",
    }}));
    let transaction = serde_json::from_value(transaction).unwrap();
    let error = database.transact_write_items(transaction).unwrap_err();
    let mut answer: Value = serde_json::from_str(&error.to_json()).unwrap();
    let reasons = answer["CancellationReasons"].as_array_mut().unwrap();
    reasons.pop();
    assert!(item < reasons.len(), "the transaction has {} items", reasons.len());
    reasons[item] = json!({"Code": code, "Message": "on demand"});
    Reply::answer(error.status_code(), answer.to_string())
}

fn run<Question: DeserializeOwned, Answer: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Question) -> dynoxide::Result<Answer>,
) -> Reply {
    match operation(serde_json::from_slice(body).unwrap()) {
        Ok(answer) => Reply::answer(200, serde_json::to_string(&answer).unwrap()),
        Err(error) => Reply::answer(error.status_code(), error.to_json()),
    }
}

pub async fn make_table(client: &Client, table: &str) {
    bedrock_key_guard::ledger::table_definition(client, table).unwrap().send().await.unwrap();
}

/// A ledger in a table of its own, on whatever DynamoDB there is.
pub struct Place {
    pub client: Client,
    pub table: String,
    pub embedded: Option<Dynamo>,
}

impl Place {
    #[expect(clippy::disallowed_methods, reason = "tests are told from outside which DynamoDB to use")]
    pub async fn new(table: &str) -> Self {
        let table = format!("{table}-{}", std::process::id());
        if let Ok(url) = std::env::var("KEY_GUARD_TEST_DYNAMODB") {
            // It may be slow, and answers one call at a time.
            let timeouts = TimeoutConfig::builder()
                .read_timeout(PATIENCE)
                .operation_attempt_timeout(PATIENCE)
                .operation_timeout(PATIENCE)
                .build();
            let sdk = bedrock_key_guard::aws::sdk_config().await;
            let sdk = sdk.into_builder().timeout_config(timeouts).build();
            let client = client(&sdk, &url);
            make_table(&client, &table).await;
            return Self { client, table, embedded: None };
        }
        let dynamo = Dynamo::start();
        dynamo.ledger(&table).await;
        Self { client: dynamo.client().await, table, embedded: Some(dynamo) }
    }
}
