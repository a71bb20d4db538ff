//! How CloudTrail's event history is read, over HTTP and with a clock that only moves while somebody waits.

use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_iam::config::{Credentials, Region, SharedCredentialsProvider};
use bedrock_key_guard::cli::event_history::{
    EventHistory, FREQUENT_CALLS, HISTORY_DAYS, HistoryError, HistoryEvent, RARE_CALLS,
};
use bedrock_key_guard::clock::Clock;
use bedrock_key_guard::config::Home;
use chrono::{DateTime, TimeDelta, Utc};
use key_guard_core::cloudtrail::CREDENTIAL_CALLS;
use serde_json::{Value, json};

use crate::support::event_history::History;
use crate::support::{Fault, OWN};

const CREATE: &str = CREDENTIAL_CALLS[0];
const UPDATE: &str = CREDENTIAL_CALLS[1];
const THROTTLED: Fault = Fault::Refused(400, "ThrottlingException");

/// Waiting takes no time but on this clock.
#[derive(Debug)]
struct StandingClock(Mutex<(DateTime<Utc>, Vec<Duration>)>);

impl StandingClock {
    fn new() -> Self {
        Self(Mutex::new((now(), Vec::new())))
    }

    fn sleeps(&self) -> Vec<Duration> {
        self.0.lock().unwrap().1.clone()
    }
}

impl Clock for StandingClock {
    fn now(&self) -> DateTime<Utc> {
        self.0.lock().unwrap().0
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send {
        let mut state = self.0.lock().unwrap();
        state.0 += duration;
        state.1.push(duration);
        std::future::ready(())
    }
}

fn now() -> DateTime<Utc> {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

async fn history<'c>(
    stand_in: &History,
    partition: &str,
    clock: &'c StandingClock,
) -> Result<EventHistory<'c, StandingClock>, HistoryError> {
    let credentials = Credentials::new("AKIAEXAMPLE", "secret", None, None, "test");
    let sdk = bedrock_key_guard::aws::sdk_config()
        .await
        .into_builder()
        .region(Region::from_static("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(stand_in.url())
        .build();
    let home = Home { partition: partition.to_owned(), account: OWN.parse().unwrap() };
    EventHistory::new(&sdk, &home, clock)
}

/// An event so long ago.
fn record(name: &str, number: i64, age: TimeDelta) -> Value {
    json!({
        "eventName": name, "eventSource": "iam.amazonaws.com", "eventID": format!("event-{number}"),
        "eventTime": now() - age,
    })
}

fn ids(events: &[HistoryEvent]) -> Vec<&str> {
    events.iter().map(|event| event.id.as_deref().unwrap()).collect()
}

#[tokio::test]
async fn pages_are_read_to_the_end_at_two_calls_a_second() {
    let (stand_in, clock) = (History::start(), StandingClock::new());
    for number in 0..120 {
        stand_in.put(OWN, record(CREATE, number, TimeDelta::days(80) - TimeDelta::minutes(number)));
    }
    let mut history = history(&stand_in, "aws", &clock).await.unwrap();
    let mut covered = Vec::new();
    let events = history.read_calls(&[CREATE, UPDATE], 90, |days| covered.push(days)).await.unwrap();
    let expected: Vec<_> = (0..120).map(|number| format!("event-{number}")).collect();
    assert_eq!(ids(&events), expected, "the oldest first");
    let calls = stand_in.calls();
    assert_eq!(calls.len(), 3 + 1, "50 events to a page");
    assert!(calls.iter().all(|call| call.region == "us-east-1" && call.since.is_none()), "{calls:?}");
    assert_eq!(clock.sleeps(), [Duration::from_millis(500); 3]);
    assert_eq!(covered.iter().sum::<u64>(), 2 * 90, "{covered:?}");
}

#[tokio::test]
async fn fewer_days_begin_later() {
    let (stand_in, clock) = (History::start(), StandingClock::new());
    stand_in.put(OWN, record(CREATE, 1, TimeDelta::days(8)));
    stand_in.put(OWN, record(CREATE, 2, TimeDelta::days(6)));
    let mut history = history(&stand_in, "aws", &clock).await.unwrap();
    let events = history.read_calls(&[CREATE], 7, |_| ()).await.unwrap();
    assert_eq!(ids(&events), ["event-2"]);
    assert_eq!(stand_in.calls()[0].since, Some(now() - TimeDelta::days(7)));
}

/// One attribute a query, so each call has its own.
#[tokio::test]
async fn each_call_is_asked_for_and_each_event_counts_once() {
    let (stand_in, clock) = (History::start(), StandingClock::new());
    stand_in.ignore_names();
    // A key that is changed in the second in which it was created.
    stand_in.put(OWN, record(UPDATE, 2, TimeDelta::days(1)));
    stand_in.put(OWN, record(CREATE, 1, TimeDelta::days(1)));
    stand_in.put(OWN, record("AttachUserPolicy", 0, TimeDelta::days(2)));
    let mut history = history(&stand_in, "aws", &clock).await.unwrap();
    let calls = [&RARE_CALLS[..], &FREQUENT_CALLS].concat();
    let events = history.read_calls(&calls, HISTORY_DAYS, |_| ()).await.unwrap();
    assert_eq!(events.len(), 3, "{events:?}");
    let asked: Vec<_> = stand_in.calls().into_iter().map(|call| call.event_name).collect();
    assert_eq!(asked, calls);
    assert_eq!(&asked[..4], CREDENTIAL_CALLS);
    let console_users = ["CreateAccessKey", "CreateLoginProfile", "UpdateLoginProfile"];
    assert_eq!(
        (&asked[4..7], &asked[7..]),
        (&console_users.map(str::to_owned)[..], &FREQUENT_CALLS.map(str::to_owned)[..])
    );
}

#[tokio::test]
async fn events_of_one_second_are_in_the_order_of_the_calls() {
    let (stand_in, clock) = (History::start(), StandingClock::new());
    stand_in.put(OWN, record(UPDATE, 2, TimeDelta::days(1)));
    stand_in.put(OWN, record(CREATE, 1, TimeDelta::days(1)));
    stand_in.put(OWN, record(UPDATE, 0, TimeDelta::days(3)));
    let mut history = history(&stand_in, "aws", &clock).await.unwrap();
    let events = history.read_calls(&[CREATE, UPDATE], 90, |_| ()).await.unwrap();
    assert_eq!(ids(&events), ["event-0", "event-1", "event-2"]);
}

#[tokio::test]
async fn throttling_is_waited_out_within_the_limit() {
    let (stand_in, clock) = (History::start(), StandingClock::new());
    stand_in.put(OWN, record(CREATE, 1, TimeDelta::days(1)));
    stand_in.fault(THROTTLED, 5);
    let mut history = history(&stand_in, "aws", &clock).await.unwrap();
    assert_eq!(history.read(CREATE, None, |_| ()).await.unwrap().len(), 1);
    assert_eq!(stand_in.calls().len(), 6);
    // Backoff of 100, 200, 400, 800 and 1,600 ms, and what is left to half a second.
    let waited: Duration = clock.sleeps().into_iter().sum();
    assert_eq!(waited, Duration::from_millis(500 + 500 + 500 + 800 + 1_600), "{:?}", clock.sleeps());

    stand_in.fault(Fault::Refused(503, "ServiceUnavailable"), 1);
    assert_eq!(history.read(CREATE, None, |_| ()).await.unwrap().len(), 1);

    stand_in.fault(THROTTLED, 50);
    let error = history.read(CREATE, None, |_| ()).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        matches!(error, HistoryError::Failed { .. }) && cause.starts_with("ThrottlingException"),
        "{cause}"
    );
    assert_eq!(stand_in.calls().len(), 6 + 2 + 13, "it does not go on for ever");
}

#[tokio::test]
async fn a_denial_names_the_permission_and_is_not_retried() {
    let (stand_in, clock) = (History::start(), StandingClock::new());
    stand_in.fault(Fault::Refused(400, "AccessDeniedException"), 1);
    let mut history = history(&stand_in, "aws", &clock).await.unwrap();
    let error = history.read(CREATE, None, |_| ()).await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cloudtrail:LookupEvents was denied in us-east-1 of account {OWN}")),
        "{error}"
    );
    assert_eq!(stand_in.calls().len(), 1);
}

#[tokio::test]
async fn a_history_that_goes_in_circles_ends() {
    let (stand_in, clock) = (History::start(), StandingClock::new());
    stand_in.never_end();
    let mut history = history(&stand_in, "aws", &clock).await.unwrap();
    let error = history.read(CREATE, None, |_| ()).await.unwrap_err();
    assert!(matches!(error, HistoryError::Endless { .. }), "{error}");
    assert_eq!(stand_in.calls().len(), 2);
}

#[tokio::test]
async fn each_partition_has_a_region_of_its_own() {
    for (partition, region) in [
        ("aws", "us-east-1"),
        ("aws-us-gov", "us-gov-west-1"),
        ("aws-cn", "cn-north-1"),
        ("aws-eusc", "eusc-de-east-1"),
    ] {
        let (stand_in, clock) = (History::start(), StandingClock::new());
        let mut history = history(&stand_in, partition, &clock).await.unwrap();
        assert!(history.read(CREATE, None, |_| ()).await.unwrap().is_empty());
        assert_eq!(stand_in.calls()[0].region, region);
    }
    let (stand_in, clock) = (History::start(), StandingClock::new());
    let error = history(&stand_in, "aws-new", &clock).await.unwrap_err();
    assert!(error.to_string().contains("partition aws-new"), "{error}");
}
