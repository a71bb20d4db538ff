//! CloudTrail's event history over HTTP: `LookupEvents`, the newest event first, by one attribute.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::http::{Reply, Request, serve};
use super::iam::account;
use super::{Fault, Faults};

const OPERATION: &str = "LookupEvents";

/// A call that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Lookup {
    pub account: String,
    pub region: String,
    pub event_name: String,
    pub since: Option<DateTime<Utc>>,
    pub token: Option<String>,
}

#[derive(Default)]
struct State {
    /// Records and their accounts, in any order.
    records: Vec<(String, Value)>,
    calls: Vec<Lookup>,
    /// Every page has the same token.
    is_endless: bool,
    /// Every query has every event, whatever its name is.
    ignores_names: bool,
}

#[derive(Clone)]
pub struct History {
    url: String,
    state: Arc<Mutex<State>>,
    faults: Arc<Faults>,
}

impl History {
    pub fn start() -> Self {
        let state: Arc<Mutex<State>> = Arc::default();
        let faults: Arc<Faults> = Arc::default();
        let url = {
            let (state, faults) = (Arc::clone(&state), Arc::clone(&faults));
            serve(move |request| answer(&request, &mut state.lock().unwrap(), &faults))
        };
        Self { url, state, faults }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// An event of an account.
    pub fn put(&self, account: &str, record: Value) {
        self.state.lock().unwrap().records.push((account.to_owned(), record));
    }

    pub fn fault(&self, fault: Fault, times: usize) {
        self.faults.expect(OPERATION, fault, times);
    }

    /// From now on every page has the same token.
    pub fn never_end(&self) {
        self.state.lock().unwrap().is_endless = true;
    }

    /// From now on every query has every event.
    pub fn ignore_names(&self) {
        self.state.lock().unwrap().ignores_names = true;
    }

    pub fn calls(&self) -> Vec<Lookup> {
        self.state.lock().unwrap().calls.clone()
    }
}

fn answer(request: &Request, state: &mut State, faults: &Faults) -> Reply {
    assert!(request.headers["x-amz-target"].ends_with("CloudTrail_20131101.LookupEvents"));
    let input: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(input["LookupAttributes"].as_array().unwrap().len(), 1, "one attribute a query");
    assert_eq!(input["LookupAttributes"][0]["AttributeKey"], "EventName");
    let scope = request.headers["authorization"].split("Credential=").nth(1).unwrap();
    let call = Lookup {
        account: account(request),
        region: scope.split('/').nth(2).unwrap().to_owned(),
        event_name: input["LookupAttributes"][0]["AttributeValue"].as_str().unwrap().to_owned(),
        since: input["StartTime"].as_i64().map(|epoch| DateTime::from_timestamp(epoch, 0).unwrap()),
        token: input["NextToken"].as_str().map(str::to_owned),
    };
    state.calls.push(call.clone());
    let refuse = |status, code: &str| Reply::Answer {
        status,
        headers: vec![("x-amzn-errortype", code.to_owned())],
        body: json!({"message": "on demand"}).to_string(),
    };
    faults.pass(OPERATION, refuse, || Reply::answer(200, page(&input, &call, state).to_string()))
}

fn page(input: &Value, call: &Lookup, state: &State) -> Value {
    let time = |record: &Value| record["eventTime"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    let mut found: Vec<_> = state
        .records
        .iter()
        .filter(|(account, record)| {
            *account == call.account
                && (state.ignores_names || record["eventName"] == call.event_name)
                && call.since.is_none_or(|since| time(record) >= since)
        })
        .map(|(_, record)| record)
        .collect();
    found.sort_by_key(|record| std::cmp::Reverse(time(record)));
    let from = call.token.as_ref().filter(|_| !state.is_endless).map_or(0, |token| {
        let (name, from) = token.split_once(':').unwrap();
        assert_eq!(name, call.event_name, "a token is for the same query");
        from.parse().unwrap()
    });
    let until = (from + usize::try_from(input["MaxResults"].as_u64().unwrap()).unwrap()).min(found.len());
    let events = found[from..until].iter().map(|record| {
        json!({
            "EventId": record["eventID"],
            "EventName": record["eventName"],
            "EventTime": time(record).timestamp(),
            "CloudTrailEvent": record.to_string(),
        })
    });
    let is_more = state.is_endless || until < found.len();
    json!({
        "Events": events.collect::<Vec<_>>(),
        "NextToken": is_more.then(|| format!("{}:{until}", call.event_name)),
    })
}
