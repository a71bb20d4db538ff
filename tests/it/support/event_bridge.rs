//! EventBridge, as far as the function calls it.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::http::{Reply, Request, serve};
use super::{Fault, Faults};

pub const PUT_EVENTS: &str = "PutEvents";

#[derive(Clone)]
pub struct EventBridge {
    url: String,
    entries: Arc<Mutex<Vec<Value>>>,
    faults: Arc<Faults>,
    /// The code with which it does not take events, though it takes the call.
    refusal: Arc<Mutex<Option<&'static str>>>,
}

impl EventBridge {
    pub fn start() -> Self {
        let entries: Arc<Mutex<Vec<Value>>> = Arc::default();
        let faults: Arc<Faults> = Arc::default();
        let refusal: Arc<Mutex<Option<&'static str>>> = Arc::default();
        let url = {
            let (entries, faults, refusal) =
                (Arc::clone(&entries), Arc::clone(&faults), Arc::clone(&refusal));
            serve(move |request| answer(&request, &entries, &faults, *refusal.lock().unwrap()))
        };
        Self { url, entries, faults, refusal }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn fault(&self, fault: Fault, times: usize) {
        self.faults.expect(PUT_EVENTS, fault, times);
    }

    /// From now on nothing goes wrong.
    pub fn forget_faults(&self) {
        self.faults.forget();
    }

    /// From now on it takes calls, but not the events in them.
    pub fn refuse_entries(&self, code: Option<&'static str>) {
        *self.refusal.lock().unwrap() = code;
    }

    /// What was published: each entry, with its detail as JSON.
    pub fn entries(&self) -> Vec<Value> {
        self.entries.lock().unwrap().clone()
    }

    /// The reports that were published.
    pub fn reports(&self) -> Vec<Value> {
        self.entries().into_iter().map(|entry| entry["Detail"].clone()).collect()
    }
}

fn answer(request: &Request, entries: &Mutex<Vec<Value>>, faults: &Faults, refusal: Option<&str>) -> Reply {
    assert_eq!(request.headers["x-amz-target"], "AWSEvents.PutEvents");
    let refuse = |status, code: &str| {
        Reply::answer(status, json!({"__type": code, "message": "on demand"}).to_string())
    };
    faults.pass(PUT_EVENTS, refuse, || {
        let mut body: Value = serde_json::from_slice(&request.body).unwrap();
        let sent = body["Entries"].as_array_mut().unwrap();
        if let Some(code) = refusal {
            let refused = json!({"ErrorCode": code, "ErrorMessage": "on demand"});
            return Reply::answer(
                200,
                json!({"FailedEntryCount": sent.len(), "Entries": [refused]}).to_string(),
            );
        }
        for entry in &mut *sent {
            entry["Detail"] = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
        }
        entries.lock().unwrap().append(sent);
        Reply::answer(200, json!({"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}).to_string())
    })
}
