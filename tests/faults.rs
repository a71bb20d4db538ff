//! Every effect × {fails before it happens, reply lost, process killed before or after it}, then
//! redelivery; two deliveries interleaved at every step. The invariants of `src/lib.rs` hold throughout.
//!
//! The ledger is the real one on an embedded DynamoDB. The keys are a model of IAM with state, told to fail
//! from outside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::future::{Future, pending, poll_fn};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use bedrock_key_guard::clock::Clock;
use bedrock_key_guard::corridor::{Corridor, Reach};
use bedrock_key_guard::enforce::{
    Acted, Action, CONSISTENCY_WINDOW, Confirmed, Failure, Keys, KeysError, Ledger, Listed, Opened, Settled,
    Status,
};
use bedrock_key_guard::event::{Inbound, parse};
use bedrock_key_guard::key::{Evidence, Expiration, Key, KeyRef, Service, UserName};
use bedrock_key_guard::ledger::{DynamoLedger, Entry, Kind, LedgerError, Source, embedded};
use bedrock_key_guard::policy::{Policy, Response, Standing};
use bedrock_key_guard::report::{Outcome, Report};
use chrono::{DateTime, TimeDelta, Utc};
use dynoxide::Database;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

const ACCOUNT: &str = "111122223333";
const ID: &str = "ACCAEXAMPLEKEY0000001";
const USER: &str = "svc-chatbot";
const CREATED: &str = "2026-11-20T09:00:00Z";

fn created() -> DateTime<Utc> {
    CREATED.parse().unwrap()
}

// ---- the event ----

fn event(expiration_days: Option<i64>) -> Value {
    let mut credential = json!({
        "serviceSpecificCredentialId": ID, "userName": USER, "serviceName": "bedrock.amazonaws.com",
        "createDate": CREATED, "status": "Active",
        "serviceApiKeyValue": "ABSKQmVkcm9ja0FQSUtleS1leGFtcGxlOnNlY3JldA==",
    });
    if let Some(days) = expiration_days {
        credential["expirationDate"] = json!((created() + TimeDelta::days(days)).to_rfc3339());
    }
    json!({
        "eventSource": "iam.amazonaws.com", "eventName": "CreateServiceSpecificCredential",
        "eventTime": CREATED, "eventID": "5d1c0001-7b1e-4c3a-9f00-000000000001", "recipientAccountId": ACCOUNT,
        "userIdentity": {"type": "Root", "arn": format!("arn:aws:iam::{ACCOUNT}:root")},
        "requestParameters": {"userName": USER, "serviceName": "bedrock.amazonaws.com"},
        "responseElements": {"serviceSpecificCredential": credential},
    })
}

fn unreadable_event() -> Value {
    let mut event = event(Some(30));
    event["responseElements"]["serviceSpecificCredential"]["expirationDate"] = json!("in about a month");
    event
}

// ---- the model of IAM ----

#[derive(Debug, Clone, PartialEq, Eq)]
struct ModelKey {
    id: &'static str,
    user: &'static str,
    service: Service,
    expiration: Expiration,
    status: Status,
}

fn key(id: &'static str, user: &'static str, service: Service, days: Option<i64>) -> ModelKey {
    let expiration = days.map_or(Expiration::Never, |days| Expiration::At(created() + TimeDelta::days(days)));
    ModelKey { id, user, service, expiration, status: Status::Active }
}

/// Keys that must come through everything untouched.
fn bystanders() -> Vec<ModelKey> {
    vec![
        key("ACCABYSTANDER00000001", USER, Service::CodeCommit, None),
        key("ACCABYSTANDER00000002", USER, Service::Logs, None),
        key("ACCABYSTANDER00000003", USER, Service::Bedrock, None),
        key("ACCABYSTANDER00000004", "somebody-else", Service::Bedrock, None),
    ]
}

#[derive(Clone)]
struct Iam {
    keys: Arc<Mutex<Vec<ModelKey>>>,
    database: Database,
    actions: Arc<AtomicUsize>,
    /// Renames the user just before each next action, last name first.
    rename_before_acting: Arc<Mutex<Vec<&'static str>>>,
    steps: Steps,
}

impl Iam {
    fn listed(&self, wanted: &KeyRef, user: Option<&UserName>) -> Option<Listed> {
        let keys = self.keys.lock().unwrap();
        let found = keys
            .iter()
            .find(|key| key.id == wanted.id.as_str() && user.is_none_or(|user| key.user == user.as_str()))?;
        Some(Listed {
            key: Key {
                key: wanted.clone(),
                user: found.user.parse().unwrap(),
                service: found.service,
                created_at: created(),
                evidence: Evidence::Known {
                    expiration: found.expiration,
                    basis: "by IAM's answer".to_owned(),
                },
            },
            status: found.status,
        })
    }

    fn acted(&self, confirmed: &Confirmed) -> Acted {
        assert!(has_entry(&self.database), "I1: a key is touched before its entry is durable");
        assert_eq!(confirmed.key().id.as_str(), ID, "I7: another key is touched");
        let mut keys = self.keys.lock().unwrap();
        if let Some(name) = self.rename_before_acting.lock().unwrap().pop() {
            keys.iter_mut().filter(|key| key.id == ID).for_each(|key| key.user = name);
        }
        let Some(at) = keys
            .iter()
            .position(|key| key.id == confirmed.key().id.as_str() && key.user == confirmed.user().as_str())
        else {
            return Acted::NotThere;
        };
        self.actions.fetch_add(1, Ordering::SeqCst);
        match confirmed.action() {
            Action::Delete => drop(keys.remove(at)),
            Action::Deactivate => keys[at].status = Status::Inactive,
        }
        Acted::Done
    }
}

fn no_answer() -> KeysError {
    KeysError::Call {
        operation: "(model)",
        account: ACCOUNT.parse().unwrap(),
        code: None,
        source: "no answer".into(),
    }
}

impl Keys for Iam {
    async fn find_with(&self, key: &KeyRef, user: &UserName) -> Result<Option<Listed>, KeysError> {
        self.steps.pass(async || self.listed(key, Some(user))).await.ok_or_else(no_answer)
    }
    async fn find_anywhere(&self, key: &KeyRef) -> Result<Option<Listed>, KeysError> {
        self.steps.pass(async || self.listed(key, None)).await.ok_or_else(no_answer)
    }
    async fn act(&self, confirmed: &Confirmed) -> Result<Acted, KeysError> {
        self.steps.pass(async || self.acted(confirmed)).await.ok_or_else(no_answer)
    }
}

// ---- the ledger, with the same faults ----

struct FaultyLedger {
    inner: DynamoLedger,
    steps: Steps,
}

fn no_ledger() -> LedgerError {
    LedgerError::Call {
        operation: "(fault)",
        table: "(fault)".to_owned(),
        code: None,
        source: "no answer".into(),
    }
}

impl Ledger for FaultyLedger {
    async fn open(&self, entry: &Entry) -> Result<Opened, LedgerError> {
        self.steps.pass(async || self.inner.open(entry).await).await.ok_or_else(no_ledger)?
    }
    async fn read(&self, key: &KeyRef) -> Result<Option<Entry>, LedgerError> {
        self.steps.pass(async || self.inner.read(key).await).await.ok_or_else(no_ledger)?
    }
    async fn note(&self, entry: &Entry, kind: Kind) -> Result<(), LedgerError> {
        self.steps.pass(async || self.inner.note(entry, kind).await).await.ok_or_else(no_ledger)?
    }
    async fn adopt(&self, entry: &Entry, at: DateTime<Utc>) -> Result<Opened, LedgerError> {
        self.steps.pass(async || self.inner.adopt(entry, at).await).await.ok_or_else(no_ledger)?
    }
    async fn settle(&self, entry: &Entry, at: DateTime<Utc>) -> Result<Settled, LedgerError> {
        self.steps.pass(async || self.inner.settle(entry, at).await).await.ok_or_else(no_ledger)?
    }
}

// ---- faults and turns ----

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    FailsBefore,
    ReplyLost,
    KilledBefore,
    KilledAfter,
}

const FAULTS: [Fault; 4] = [Fault::FailsBefore, Fault::ReplyLost, Fault::KilledBefore, Fault::KilledAfter];

/// Every effect of a delivery passes here.
#[derive(Clone, Default)]
struct Steps {
    taken: Arc<AtomicUsize>,
    fault: Option<(usize, Fault)>,
    killed: Arc<Notify>,
    /// When there are turns, an effect waits for its own.
    turns: Option<Arc<Semaphore>>,
    waiting: Arc<AtomicBool>,
}

impl Steps {
    async fn pass<T>(&self, effect: impl AsyncFnOnce() -> T) -> Option<T> {
        let step = self.taken.fetch_add(1, Ordering::SeqCst);
        if let Some(turns) = &self.turns {
            self.waiting.store(true, Ordering::SeqCst);
            turns.acquire().await.unwrap().forget();
            self.waiting.store(false, Ordering::SeqCst);
        }
        let fault = self.fault.filter(|(at, _)| *at == step).map(|(_, fault)| fault);
        match fault {
            None => Some(effect().await),
            Some(Fault::FailsBefore) => None,
            Some(Fault::ReplyLost) => {
                effect().await;
                None
            }
            Some(Fault::KilledBefore) => {
                self.killed.notify_one();
                pending().await
            }
            Some(Fault::KilledAfter) => {
                effect().await;
                self.killed.notify_one();
                pending().await
            }
        }
    }
}

#[derive(Clone, Copy)]
struct At(DateTime<Utc>);
impl Clock for At {
    fn now(&self) -> DateTime<Utc> {
        self.0
    }
}

// ---- the world ----

struct World {
    database: Database,
    iam: Iam,
    ceiling: Response,
    policy: Arc<Policy>,
}

fn policy(response: &str) -> Arc<Policy> {
    let text = format!(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"{response}\"\n\
         [[exemption]]\naccount = \"{ACCOUNT}\"\nuser = \"svc-exempt\"\nreason = \"SEC-1\"\nuntil = 2026-11-20\n"
    );
    Arc::new(Policy::parse(&text, std::path::Path::new("test.toml")).unwrap())
}

impl World {
    fn new(response: &str, ceiling: Response, subject: Option<ModelKey>) -> Self {
        let database = Database::memory().unwrap();
        let keys = bystanders().into_iter().chain(subject).collect();
        Self {
            iam: Iam {
                keys: Arc::new(Mutex::new(keys)),
                database: database.clone(),
                actions: Arc::default(),
                rename_before_acting: Arc::default(),
                steps: Steps::default(),
            },
            database,
            ceiling,
            policy: policy(response),
        }
    }

    async fn corridor(&self, steps: Steps, at: DateTime<Utc>) -> Corridor<FaultyLedger, Iam, At> {
        Corridor {
            policy: Arc::clone(&self.policy),
            ceiling: self.ceiling,
            source: Source::Event,
            ledger: FaultyLedger {
                inner: embedded::on(self.database.clone()).await.unwrap(),
                steps: steps.clone(),
            },
            reach: Reach::Keys(Iam { steps, ..self.iam.clone() }),
            clock: At(at),
        }
    }

    /// One delivery; `None` when the process was killed.
    async fn deliver(
        &self,
        event: &Value,
        steps: Steps,
        after: TimeDelta,
    ) -> Option<Result<Report, Failure>> {
        let killed = Arc::clone(&steps.killed);
        let corridor = self.corridor(steps, created() + after).await;
        let inbound = read(event);
        tokio::select! {
            biased;
            () = killed.notified() => None,
            result = corridor.take(&inbound) => Some(result),
        }
    }

    async fn rehearse(&self, event: &Value) -> Report {
        let corridor = Corridor {
            policy: Arc::clone(&self.policy),
            ceiling: Response::Delete,
            source: Source::Replay,
            ledger: embedded::on(self.database.clone()).await.unwrap(),
            reach: Reach::<Iam>::Rehearsal,
            clock: At(created()),
        };
        corridor.take(&read(event)).await.unwrap()
    }

    fn subject(&self) -> Option<ModelKey> {
        self.iam.keys.lock().unwrap().iter().find(|key| key.id == ID).cloned()
    }

    fn check_bystanders(&self) {
        let keys: Vec<_> = self.iam.keys.lock().unwrap().iter().filter(|key| key.id != ID).cloned().collect();
        assert_eq!(keys, bystanders(), "I7: a bystander was touched");
    }

    /// The ledger's word and IAM's, as far as redelivery must not change them.
    fn state(&self) -> State {
        self.check_bystanders();
        let stored = items(&self.database);
        let state = stored.iter().find(|item| item["sk"]["S"] == "STATE");
        assert!(!json!(stored).to_string().contains("ABSK"), "I6: a secret is stored");
        let text = |name: &str| state.map(|item| item[name]["S"].as_str().unwrap_or("null").to_owned());
        let state = State {
            verdict: text("verdict"),
            violation: text("violation"),
            response: text("response"),
            user: text("user"),
            // Which delivery deleted the key is not always known; that it is gone is.
            outcome: text("outcome").map(|outcome| {
                outcome.replace("already_gone", "deleted").replace("already_inactive", "deactivated")
            }),
            key: self.subject(),
        };
        if state.outcome.as_deref() == Some("deleted") {
            assert_eq!(state.key, None, "I5: reported gone while it lives");
        }
        state
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    verdict: Option<String>,
    violation: Option<String>,
    response: Option<String>,
    user: Option<String>,
    outcome: Option<String>,
    key: Option<ModelKey>,
}

fn read(event: &Value) -> Inbound {
    parse(event.clone()).unwrap()
}

fn items(database: &Database) -> Vec<Value> {
    let request = serde_json::from_value(json!({"TableName": embedded::TABLE})).unwrap();
    let Ok(answer) = database.scan(request) else { return Vec::new() };
    serde_json::to_value(answer).unwrap()["Items"].as_array().cloned().unwrap_or_default()
}

fn has_entry(database: &Database) -> bool {
    items(database).iter().any(|item| item["sk"]["S"] == "STATE" && item["rehearsal"]["BOOL"] == false)
}

/// What can come in, and how IAM stands to it.
struct Case {
    name: &'static str,
    response: &'static str,
    ceiling: Response,
    event: Value,
    iam: Option<ModelKey>,
    rename_before_acting: Option<&'static str>,
    ends: &'static str,
    verdict: &'static str,
}

fn cases() -> Vec<Case> {
    let at = |days| Some(key(ID, USER, Service::Bedrock, days));
    let inactive = |days| at(days).map(|key| ModelKey { status: Status::Inactive, ..key });
    let case = |name, response, ceiling, event, iam, ends, verdict| Case {
        name,
        response,
        ceiling,
        event,
        iam,
        rename_before_acting: None,
        ends,
        verdict,
    };
    let delete = Response::Delete;
    vec![
        case("compliant", "delete", delete, event(Some(90)), at(Some(90)), "recorded", "compliant"),
        case("deleted", "delete", delete, event(None), at(None), "deleted", "noncompliant"),
        case("deactivated", "deactivate", delete, event(None), at(None), "deactivated", "noncompliant"),
        case("lowered", "delete", Response::Deactivate, event(None), at(None), "deactivated", "noncompliant"),
        case("monitored", "delete", Response::Monitor, event(None), at(None), "monitored", "noncompliant"),
        case("unreadable, bad", "delete", delete, unreadable_event(), at(None), "deleted", "noncompliant"),
        case("unreadable, good", "delete", delete, unreadable_event(), at(Some(30)), "recorded", "compliant"),
        case(
            "unreadable, monitored",
            "delete",
            Response::Monitor,
            unreadable_event(),
            at(None),
            "monitored",
            "noncompliant",
        ),
        case("stale or forged", "delete", delete, event(None), at(Some(30)), "recorded", "compliant"),
        case(
            "of another service",
            "delete",
            delete,
            event(None),
            Some(key(ID, USER, Service::CodeCommit, None)),
            "recorded",
            "undetermined",
        ),
        case(
            "renamed",
            "delete",
            delete,
            event(None),
            Some(key(ID, "svc-renamed", Service::Bedrock, None)),
            "deleted",
            "noncompliant",
        ),
        Case {
            rename_before_acting: Some("svc-renamed"),
            ..case("renamed in between", "delete", delete, event(None), at(None), "deleted", "noncompliant")
        },
        case("switched off", "delete", delete, event(None), inactive(None), "deactivated", "noncompliant"),
        case("gone", "delete", delete, event(None), None, "deleted", "noncompliant"),
        case(
            "exempt by IAM's word",
            "delete",
            delete,
            event(None),
            Some(key(ID, "svc-exempt", Service::Bedrock, None)),
            "recorded",
            "exempt",
        ),
    ]
}

fn world_of(case: &Case) -> World {
    let world = World::new(case.response, case.ceiling, case.iam.clone());
    *world.iam.rename_before_acting.lock().unwrap() = case.rename_before_acting.into_iter().collect();
    world
}

const LATE: TimeDelta = TimeDelta::minutes(5);

#[tokio::test]
async fn without_faults_each_case_ends_as_it_should() {
    for case in cases() {
        let world = world_of(&case);
        let report = world.deliver(&case.event, Steps::default(), LATE).await.unwrap().unwrap();
        let state = world.state();
        assert_eq!(state.outcome.as_deref(), Some(case.ends), "{}", case.name);
        assert_eq!(state.verdict.as_deref(), Some(case.verdict), "{}", case.name);
        assert_eq!(report.verdict.unwrap().as_str(), case.verdict, "{}", case.name);
        let alive = case.iam.is_some() && case.ends != "deleted";
        assert_eq!(world.subject().is_some(), alive, "{}", case.name);
    }
}

/// I3, and with it I1, I5, I6 and I7, which the world checks throughout.
#[tokio::test]
async fn any_single_fault_and_redelivery_end_in_the_same_state() {
    for case in cases() {
        let fault_free = world_of(&case);
        let steps = Steps::default();
        fault_free.deliver(&case.event, steps.clone(), LATE).await.unwrap().unwrap();
        let (expected, effects) = (fault_free.state(), steps.taken.load(Ordering::SeqCst));
        assert!(effects >= 1);
        for at in 0..effects {
            for fault in FAULTS {
                let name = format!("{}: {fault:?} at step {at}", case.name);
                let world = world_of(&case);
                let steps = Steps { fault: Some((at, fault)), ..Steps::default() };
                let first = world.deliver(&case.event, steps, LATE).await;
                assert!(!matches!(first, Some(Ok(_))), "{name}: a fault was answered with success");
                world.state();
                let again = world.deliver(&case.event, Steps::default(), LATE).await.unwrap();
                again.unwrap_or_else(|failure| panic!("{name}: {failure}"));
                assert_eq!(world.state(), expected, "{name}");
                let third = world.deliver(&case.event, Steps::default(), LATE).await.unwrap().unwrap();
                assert_eq!(world.state(), expected, "{name}: a third delivery");
                assert_ne!(third.outcome, Outcome::Open, "{name}");
                assert!(world.iam.actions.load(Ordering::SeqCst) <= 1, "{name}: acted twice");
            }
        }
    }
}

/// I3: each order in which the effects of two deliveries can come.
/// What happens to a key later is written once, whatever goes wrong, changes nothing else, and is answered with no
/// call of IAM.
#[tokio::test]
async fn later_events_are_written_once_under_any_single_fault() {
    let later = |call: &str, status: Option<&str>| {
        let mut event = event(None);
        event["eventName"] = json!(call);
        event["eventID"] = json!(format!("later-{call}"));
        event["eventTime"] = json!("2026-11-20T10:00:00Z");
        event["requestParameters"] =
            json!({"userName": USER, "serviceSpecificCredentialId": ID, "status": status});
        event["responseElements"] = json!({"serviceSpecificCredential": {
            "serviceSpecificCredentialId": ID, "userName": USER, "serviceName": "bedrock.amazonaws.com",
        }});
        event
    };
    for (event_of_later, kind) in [
        (later("UpdateServiceSpecificCredential", Some("Active")), "switched_on"),
        (later("UpdateServiceSpecificCredential", Some("Inactive")), "switched_off"),
        (later("ResetServiceSpecificCredential", None), "secret_reset"),
        (later("DeleteServiceSpecificCredential", None), "deleted"),
    ] {
        for fault in FAULTS {
            for step in 0..2 {
                let world =
                    World::new("monitor", Response::Delete, Some(key(ID, USER, Service::Bedrock, None)));
                let late = TimeDelta::minutes(5);
                world.deliver(&event(None), Steps::default(), late).await.unwrap().unwrap();
                let (before, key_before) = (items(&world.database), world.subject());
                let steps = Steps { fault: Some((step, fault)), ..Steps::default() };
                let first = world.deliver(&event_of_later, steps, late).await;
                assert!(
                    !matches!(first, Some(Ok(_))),
                    "{kind}, {fault:?} at {step}: the fault goes unnoticed"
                );
                let steps = Steps::default();
                let report = world.deliver(&event_of_later, steps.clone(), late).await.unwrap().unwrap();
                assert_eq!(steps.taken.load(Ordering::SeqCst), 2, "{kind}: one read, one line");
                assert!(report.reason.ends_with("written into the key's history"), "{}", report.reason);
                let after = items(&world.database);
                let new: Vec<_> = after.iter().filter(|item| !before.contains(item)).collect();
                assert_eq!(new.len(), 1, "{kind}, {fault:?} at {step}");
                assert_eq!(new[0]["kind"]["S"], kind);
                assert_eq!(after.len(), before.len() + 1);
                assert_eq!(world.subject(), key_before);
            }
        }
    }
}

#[tokio::test]
async fn two_deliveries_interleaved_at_every_step_end_in_the_same_state() {
    for case in cases() {
        let alone = world_of(&case);
        alone.deliver(&case.event, Steps::default(), LATE).await.unwrap().unwrap();
        let expected = alone.state();
        // The deliveries are alike, so the first turn is the first one's.
        for order in (0_u32..1 << 8).step_by(2) {
            let world = world_of(&case);
            let steps =
                [(); 2].map(|()| Steps { turns: Some(Arc::new(Semaphore::new(0))), ..Steps::default() });
            let corridors = [
                world.corridor(steps[0].clone(), created() + LATE).await,
                world.corridor(steps[1].clone(), created() + LATE).await,
            ];
            let inbound = read(&case.event);
            let mut deliveries =
                [Box::pin(corridors[0].take(&inbound)), Box::pin(corridors[1].take(&inbound))];
            let mut results = [None, None];
            for turn in 0.. {
                // After the eight chosen turns they alternate until both are done.
                let chosen = if turn < 8 { (order >> turn & 1) as usize } else { turn % 2 };
                let one = if results[chosen].is_some() { 1 - chosen } else { chosen };
                if results[one].is_some() {
                    break;
                }
                results[one] = give_turn(&steps[one], deliveries[one].as_mut()).await;
            }
            drop(deliveries);
            for result in results {
                // One may find the key in the other's hands; it is then delivered again.
                if result.unwrap().is_err() {
                    world.deliver(&case.event, Steps::default(), LATE).await.unwrap().unwrap();
                }
            }
            assert_eq!(world.state(), expected, "{}: order {order:08b}", case.name);
            assert!(world.iam.actions.load(Ordering::SeqCst) <= 2, "{}", case.name);
        }
    }
}

/// Lets a delivery go through one effect, up to the next one or its end.
async fn give_turn<T>(steps: &Steps, mut delivery: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut given = false;
    loop {
        match poll_fn(|context| Poll::Ready(delivery.as_mut().poll(context))).await {
            Poll::Ready(result) => return Some(result),
            Poll::Pending if steps.waiting.load(Ordering::SeqCst) => {
                if given {
                    return None;
                }
                given = true;
                steps.waiting.store(false, Ordering::SeqCst);
                steps.turns.as_ref().unwrap().add_permits(1);
            }
            Poll::Pending => tokio::task::yield_now().await,
        }
    }
}

/// I5, and the window that IAM needs until a new key is in its lists.
#[tokio::test]
async fn a_key_that_is_not_listed_is_gone_only_after_the_consistency_window() {
    let world = World::new("delete", Response::Delete, None);
    for age in [TimeDelta::zero(), CONSISTENCY_WINDOW - TimeDelta::seconds(1), TimeDelta::seconds(-5)] {
        let failure = world.deliver(&event(None), Steps::default(), age).await.unwrap().unwrap_err();
        assert!(matches!(failure, Failure::NotListedYet { .. }), "{failure}");
        assert_eq!(failure.error_type(), "KeyNotListedYet");
        assert_eq!(world.state().outcome.as_deref(), Some("open"));
    }
    let report = world.deliver(&event(None), Steps::default(), CONSISTENCY_WINDOW).await.unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::AlreadyGone);
}

/// I5: IAM denies under the old name what lives on under the new one.
#[tokio::test]
async fn a_denied_delete_is_no_proof_that_the_key_is_gone() {
    let world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, None)));
    *world.iam.rename_before_acting.lock().unwrap() = vec!["svc-renamed"];
    let report = world.deliver(&event(None), Steps::default(), TimeDelta::seconds(5)).await.unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::Deleted);
    assert_eq!(report.user.unwrap().as_str(), "svc-renamed");
    assert_eq!(world.subject(), None);
}

#[tokio::test]
async fn a_user_that_is_renamed_before_every_action_ends_as_an_error() {
    let world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, None)));
    *world.iam.rename_before_acting.lock().unwrap() = ["svc-a", "svc-b"].repeat(50);
    let failure =
        world.deliver(&event(None), Steps::default(), TimeDelta::seconds(5)).await.unwrap().unwrap_err();
    assert_eq!(failure.error_type(), "IamContradiction");
    assert_eq!(world.iam.rename_before_acting.lock().unwrap().len(), 97, "three tries");
    assert_eq!(world.state().outcome.as_deref(), Some("confirmed"), "not settled");
    world.iam.rename_before_acting.lock().unwrap().clear();
    let report = world.deliver(&event(None), Steps::default(), LATE).await.unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::Deleted);
}

/// I4: whatever the ceiling, what IAM cannot settle is left alone.
#[tokio::test]
async fn an_undetermined_key_is_never_touched_on_the_events_word() {
    for hands_tied in [true, false] {
        let world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, Some(30))));
        let report = if hands_tied {
            world.rehearse(&unreadable_event()).await
        } else {
            world.deliver(&unreadable_event(), Steps::default(), LATE).await.unwrap().unwrap()
        };
        let expected = if hands_tied { Standing::Undetermined } else { Standing::Compliant };
        assert_eq!(report.verdict, Some(expected));
        assert_eq!(world.iam.actions.load(Ordering::SeqCst), 0);
        assert!(world.subject().is_some());
    }
}

/// I9: a ceiling that was lowered between two deliveries holds for the second.
#[tokio::test]
async fn a_lowered_ceiling_wins_over_the_stored_plan() {
    for (ceiling, ends, status) in [
        (Response::Monitor, Outcome::Monitored, Status::Active),
        (Response::Deactivate, Outcome::Deactivated, Status::Inactive),
    ] {
        let mut world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, None)));
        let crashed = Steps { fault: Some((1, Fault::KilledBefore)), ..Steps::default() };
        assert!(world.deliver(&event(None), crashed, LATE).await.is_none());
        world.ceiling = ceiling;
        let report = world.deliver(&event(None), Steps::default(), LATE).await.unwrap().unwrap();
        assert_eq!(report.outcome, ends);
        assert_eq!(world.subject().unwrap().status, status);
    }
}

/// The stored plan wins over a ceiling that was raised: raising it is no order to act on old events.
#[tokio::test]
async fn a_raised_ceiling_does_not_reach_back() {
    let mut world = World::new("delete", Response::Monitor, Some(key(ID, USER, Service::Bedrock, None)));
    let first = world.deliver(&event(None), Steps::default(), LATE).await.unwrap().unwrap();
    assert_eq!(first.outcome, Outcome::Monitored);
    world.ceiling = Response::Delete;
    let again = world.deliver(&event(None), Steps::default(), LATE).await.unwrap().unwrap();
    assert_eq!(again.outcome, Outcome::Monitored);
    assert!(world.subject().is_some());
}

/// A policy that was relaxed between open and confirm: IAM's answer is judged by today's.
#[tokio::test]
async fn a_relaxed_policy_saves_a_key_whose_entry_is_open() {
    let mut world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, Some(120))));
    let crashed = Steps { fault: Some((1, Fault::KilledBefore)), ..Steps::default() };
    assert!(world.deliver(&event(Some(120)), crashed, LATE).await.is_none());
    world.policy = Arc::new(
        Policy::parse(
            "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 365\nresponse = \"delete\"\n",
            std::path::Path::new("relaxed.toml"),
        )
        .unwrap(),
    );
    let report = world.deliver(&event(Some(120)), Steps::default(), LATE).await.unwrap().unwrap();
    assert_eq!(report.verdict, Some(Standing::Compliant));
    assert!(world.subject().is_some());
}

/// A rehearsal writes down what would have been done. It neither keeps the guard from acting later nor
/// changes what the guard has written.
#[tokio::test]
async fn a_rehearsal_binds_nobody() {
    let world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, None)));
    let rehearsed = world.rehearse(&event(None)).await;
    assert_eq!((rehearsed.outcome, rehearsed.response), (Outcome::Recorded, Response::Delete));
    assert!(world.subject().is_some());
    let before = items(&world.database);
    world.rehearse(&event(None)).await;
    assert_eq!(items(&world.database), before, "a second rehearsal changes nothing");

    let real = world.deliver(&event(None), Steps::default(), LATE).await.unwrap().unwrap();
    assert_eq!(real.outcome, Outcome::Deleted);
    assert_eq!(world.subject(), None);
    let after = items(&world.database);
    for line in before.iter().filter(|item| item["sk"]["S"] != "STATE") {
        assert!(after.contains(line), "history is append-only");
    }
    let seen = world.rehearse(&event(None)).await;
    assert_eq!(seen.outcome, Outcome::Deleted, "a rehearsal shows what the guard has done");
    assert_eq!(items(&world.database), after);
}

/// The same, with every fault between adopting and settling.
#[tokio::test]
async fn adopting_a_rehearsal_survives_any_single_fault() {
    for at in 0..5 {
        for fault in FAULTS {
            let world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, None)));
            world.rehearse(&event(None)).await;
            let steps = Steps { fault: Some((at, fault)), ..Steps::default() };
            let first = world.deliver(&event(None), steps, LATE).await;
            assert!(!matches!(first, Some(Ok(_))), "{fault:?} at {at}");
            world.deliver(&event(None), Steps::default(), LATE).await.unwrap().unwrap();
            assert_eq!(world.state().outcome.as_deref(), Some("deleted"), "{fault:?} at {at}");
            assert_eq!(world.subject(), None);
        }
    }
}

/// I2: nothing that came in is answered with silence.
#[tokio::test]
async fn a_delivery_that_fails_leaves_an_open_entry_or_none_and_says_why() {
    for at in 0..4 {
        let world = World::new("delete", Response::Delete, Some(key(ID, USER, Service::Bedrock, None)));
        let steps = Steps { fault: Some((at, Fault::FailsBefore)), ..Steps::default() };
        let failure = world.deliver(&event(None), steps, LATE).await.unwrap().unwrap_err();
        assert!(failure.to_string().contains(ID), "{failure}");
        let outcome = world.state().outcome;
        assert_eq!(outcome.as_deref(), (at > 0).then_some("open"), "step {at}");
    }
}
