//! `usage --cloudtrail`, with a stand-in for CloudTrail's event history.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bedrock_key_guard::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use super::{Use, created, log, other};
use crate::support::cli::{AWS_VARIABLES, CliOutput, Folder};
use crate::support::http::{Reply, Request, serve};
use crate::support::iam::Iam;

/// A call of `LookupEvents`.
#[derive(Debug, Clone)]
struct Call {
    region: String,
    user: String,
    start: Option<f64>,
    page: usize,
    at: Instant,
}

/// CloudTrail's event history: pages of two events of each user, the newest first.
struct History {
    url: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl History {
    /// `denied`: a Region in which the call is not allowed.
    fn start(records: Vec<Value>, denied: Option<&'static str>) -> Self {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let made = Arc::clone(&calls);
        let url = serve(move |request| answer(&request, &records, denied, &made));
        Self { url, calls }
    }

    fn run(&self, folder: &Folder, arguments: &[&str]) -> CliOutput {
        let iam = Iam::start();
        let mut command = folder.command(&[&["usage", "--cloudtrail"], arguments].concat());
        command.envs(AWS_VARIABLES).env("AWS_ENDPOINT_URL", iam.url());
        command.env("AWS_ENDPOINT_URL_CLOUDTRAIL", &self.url);
        CliOutput::of(&mut command)
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// Region, user and page of each call, in order.
    fn asked(&self) -> Vec<String> {
        let mut asked: Vec<_> =
            self.calls().iter().map(|call| format!("{} {} {}", call.region, call.user, call.page)).collect();
        asked.sort();
        asked
    }
}

fn answer(request: &Request, records: &[Value], denied: Option<&str>, calls: &Mutex<Vec<Call>>) -> Reply {
    assert!(request.headers["x-amz-target"].ends_with(".LookupEvents"));
    let input: Value = serde_json::from_slice(&request.body).unwrap();
    let region = request.headers["authorization"].split('/').nth(2).unwrap().to_owned();
    let attribute = &input["LookupAttributes"][0];
    assert_eq!((&attribute["AttributeKey"], &input["MaxResults"]), (&json!("Username"), &json!(50)));
    let user = attribute["AttributeValue"].as_str().unwrap().to_owned();
    let page = input["NextToken"].as_str().map_or(0, |token| token.parse().unwrap());
    let call = Call {
        region: region.clone(),
        user: user.clone(),
        start: input["StartTime"].as_f64(),
        page,
        at: Instant::now(),
    };
    calls.lock().unwrap().push(call);
    if denied == Some(&region) {
        return Reply::answer(400, json!({"__type": "AccessDeniedException", "message": "no"}).to_string());
    }
    let time = |record: &Value| {
        record["eventTime"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap()
    };
    let mut found: Vec<_> = records
        .iter()
        .filter(|record| record["userIdentity"]["userName"] == user && record["awsRegion"] == region)
        .collect();
    found.sort_by_key(|record| std::cmp::Reverse(time(record)));
    let pages: Vec<_> = found.chunks(2).collect();
    let events: Vec<_> = pages
        .get(page)
        .into_iter()
        .flat_map(|page| page.iter())
        .map(|record| {
            json!({"EventId": record["eventID"], "EventTime": time(record).timestamp(), "CloudTrailEvent": record.to_string()})
        })
        .collect();
    let next = (page + 1 < pages.len()).then(|| (page + 1).to_string());
    Reply::answer(200, json!({"Events": events, "NextToken": next}).to_string())
}

/// Three calls of a user in one Region, and one in another.
fn records() -> Vec<Value> {
    let mut records = vec![
        Use::new(1, "svc-search", "2026-03-28T08:00:00Z").record(),
        Use::new(2, "svc-search", "2026-03-29T08:00:00Z").record(),
        Use::new(3, "svc-search", "2026-03-30T08:00:00Z").record(),
        Use::new(4, "svc-search", "2026-03-01T08:00:00Z").record(),
    ];
    records[3]["awsRegion"] = json!("us-east-1");
    let mut list = other(5, "2026-03-30T09:00:00Z");
    list["userIdentity"]["userName"] = json!("svc-search");
    records.push(list);
    records
}

const FRANKFURT: [&str; 2] = ["--regions", "us-east-1,eu-central-1"];

#[test]
fn the_newest_page_of_each_user_is_read_in_each_region() {
    let (folder, history) = (Folder::new(), History::start(records(), None));
    let ran =
        history.run(&folder, &[&["--user", "svc-search", "--format", "jsonl"], &FRANKFURT[..]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let row = &ran.json_lines()[0];
    // A page is of two events here, and one of them is another one.
    assert_eq!((&row["calls"], &row["regions"]), (&json!(2), &json!({"eu-central-1": 1, "us-east-1": 1})));
    assert_eq!(history.asked(), ["eu-central-1 svc-search 0", "us-east-1 svc-search 0"]);
    assert!(history.calls().iter().all(|call| call.start.is_none()));
    assert!(
        ran.stderr.contains("event history of account 111122223333 in eu-central-1, us-east-1, the newest 50 events of 1 user: "),
        "{}",
        ran.stderr
    );
    let said = "Regions whose event history was read: eu-central-1, us-east-1; calls in other Regions are not seen (--regions)";
    assert!(
        ran.stderr.contains(said) && ran.stderr.contains("which the event history does not have"),
        "{}",
        ran.stderr
    );
}

#[test]
fn all_pages_are_read_on_request_two_a_second() {
    let (folder, history) = (Folder::new(), History::start(records(), None));
    let ran = history.run(
        &folder,
        &[
            "--user",
            "svc-search",
            "--full",
            "--regions",
            "eu-central-1",
            "--since",
            "2026-03-01",
            "--format",
            "jsonl",
        ],
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.json_lines()[0]["calls"], 3);
    let calls = history.calls();
    assert_eq!(history.asked(), ["eu-central-1 svc-search 0", "eu-central-1 svc-search 1"]);
    assert!(calls[1].at - calls[0].at >= Duration::from_millis(480), "{calls:?}");
    assert_eq!(calls[0].start, Some(1_772_323_200.0), "1 March");
}

#[test]
fn the_users_are_those_with_keys_in_the_ledger() {
    let (folder, history) = (Folder::new(), History::start(records(), None));
    let arguments = ["--ledger", "file:key-guard.db", "--format", "jsonl"];
    folder
        .write("policy.toml", "[default]\nservices = \"*\"\nmax_lifetime_days = 90\nresponse = \"delete\"\n");
    let bedrock = "bedrock.amazonaws.com";
    let creations = [
        created("ACCAEXAMPLEUSAGE00001", "svc-search", bedrock, "2026-01-05T09:00:00Z", None),
        created("ACCAEXAMPLEUSAGE00002", "svc-search", bedrock, "2026-01-05T09:00:01Z", None),
        created("ACCAEXAMPLEUSAGE00003", "svc-idle", bedrock, "2026-01-05T09:00:02Z", None),
    ];
    folder.write("creations.json", log(&creations));
    assert_eq!(folder.run(&["replay", "--policy", "policy.toml", "creations.json"]).code, 0);
    let ran = history.run(&folder, &arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    // The Region of the configuration is that of IAM's events.
    assert_eq!(history.asked(), ["us-east-1 svc-idle 0", "us-east-1 svc-search 0"]);
    let rows = ran.json_lines();
    let told: Vec<_> = rows
        .iter()
        .map(|row| format!("{} {} {}", row["use"], row["user"], row["calls"]).replace('"', ""))
        .collect();
    assert_eq!(told, ["unused svc-idle 0", "unused svc-search 1", "unused svc-search 1"]);
    let nobody = history.run(&folder, &["--ledger", "file:key-guard.db", "--user", "nobody"]);
    assert_eq!((nobody.code, nobody.stdout.as_str()), (0, ""), "{}", nobody.stderr);
}

/// Of a user with many events, older ones are left out. That matters only if the last call may be among them.
#[test]
fn a_run_covers_a_busy_user_if_the_newest_page_has_a_call() {
    for is_call in [true, false] {
        let record = |number: u32| {
            let mut record = Use::new(number, "svc-search", "").record();
            if !is_call {
                record["additionalEventData"] = Value::Null;
            }
            let time = SystemClock.now() - chrono::TimeDelta::hours(number.into());
            record["eventTime"] = json!(time.format("%Y-%m-%dT%H:%M:%SZ").to_string());
            record
        };
        let (folder, history) = (Folder::new(), History::start((1..4).map(record).collect(), None));
        let creation = created(
            "ACCAEXAMPLEUSAGE00001",
            "svc-search",
            "bedrock.amazonaws.com",
            "2026-01-05T09:00:00Z",
            None,
        );
        folder.write("creations.json", log(&[creation]));
        assert_eq!(folder.run(&["replay", "creations.json"]).code, 0);
        let users = || -> Vec<_> {
            let items = folder.items().into_iter();
            items.filter(|item| item["kind"] == "usage_coverage").map(|item| item["users"].clone()).collect()
        };
        let fixed = ["--ledger", "file:key-guard.db", "--regions", "eu-central-1"];
        let newest = history.run(&folder, &fixed);
        assert_eq!(newest.code, 0, "{}", newest.stderr);
        let all = [json!(["svc-search"])];
        assert_eq!(users(), if is_call { &all[..] } else { &[] }, "{}", newest.stderr);
        let hint = "for 0 of 1 account: it takes the last 30 days without a gap, and no input that could not be read; --full reads";
        assert_eq!(newest.stderr.contains(hint), !is_call, "{}", newest.stderr);
        let full = history.run(&folder, &[&fixed[..], &["--full"]].concat());
        assert!(full.stderr.contains("`rollout` counts this run for 1 of 1 account: "), "{}", full.stderr);
        assert_eq!(users(), all);
    }
}

#[test]
fn a_region_that_fails_is_named_and_stops_no_other() {
    let (folder, history) = (Folder::new(), History::start(records(), Some("us-east-1")));
    let ran =
        history.run(&folder, &[&["--user", "svc-search", "--format", "jsonl"], &FRANKFURT[..]].concat());
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert_eq!(ran.json_lines()[0]["calls"], 1);
    assert!(ran.stderr.contains("cloudtrail:LookupEvents was denied in us-east-1"), "{}", ran.stderr);
    assert!(ran.stderr.contains("event history was read: eu-central-1;"), "it was not read: {}", ran.stderr);
    let ran = history.run(&folder, &["--user", "svc-search", "--regions", "us-east-1"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("the event history of no Region could be read"), "{}", ran.stderr);
}
