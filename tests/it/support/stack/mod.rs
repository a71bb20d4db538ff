//! Everything that a deployed stack consists of, over HTTP: Lambda, EventBridge, CloudTrail, DynamoDB, IAM, SQS
//! and CloudWatch, as far as `doctor` asks about them. It begins complete; tests take it apart.

mod complete;
mod operations;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::http::serve;
use super::{OTHER, OWN};

pub use complete::heard;
pub use key_guard_core::cloudtrail::pattern;

pub const FUNCTION: &str = "bedrock-key-guard";
pub const TABLE: &str = "key-guard";
pub const RULE: &str = "key-guard-events";
pub const TRAIL: &str = "management-events";
pub const FAILED: &str = "key-guard-failed";
pub const UNDELIVERED: &str = "key-guard-undelivered";
pub const TOPIC: &str = "key-guard-notifications";
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
    /// Other metrics of the guard's: how many hours ago, and the value.
    pub metrics: BTreeMap<&'static str, Vec<(i64, f64)>>,
    pub alarms: Vec<Value>,
    /// By ARN: subscriptions that are confirmed, and that are not.
    pub topics: BTreeMap<String, [u32; 2]>,
    /// Items of the table, as DynamoDB has them.
    pub items: Vec<Value>,
    /// Entries of the index `by_due`. Each is of an item, or of one that is gone.
    pub due: Vec<Value>,
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
            serve(move |request| wire::answer(&request, &mut state.lock().unwrap()))
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
