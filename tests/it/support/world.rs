//! A model of IAM with state, told to fail from outside, and the real ledger on an embedded DynamoDB with the same
//! faults. The world checks the invariants that hold throughout.

use std::collections::HashMap;
use std::future::{Future, pending, poll_fn};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use bedrock_key_guard::clock::Clock;
use bedrock_key_guard::corridor::{Corridor, Reach};
use bedrock_key_guard::enforce::{
    Acted, Action, Confirmed, Failure, Key, KeyList, Keys, KeysError, Known, Ledger, Leftover, Listed,
    Opened, Page, Passed, Settled, Status, is_principal,
};
use bedrock_key_guard::ledger::happening::Happening;
use bedrock_key_guard::ledger::{
    DynamoLedger, Entry, LastSweep, LedgerError, NewLine, Source, Walk, Which, embedded,
};
use bedrock_key_guard::plan::Hands;
use bedrock_key_guard::sweep::{Found, Listener, Rest, Sweep, SweepError, Swept, Trouble};
use chrono::{DateTime, TimeDelta, Utc};
use dynoxide::Database;
use key_guard_core::cloudtrail::{Actor, ParsedEvent};
use key_guard_core::evidence::ListedEvidence;
use key_guard_core::key::{AccountId, Expiration, KeyRef, Service, UserName};
use key_guard_core::policy::{Policy, Response};
use key_guard_core::report::Report;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

pub const ACCOUNT: &str = "111122223333";
pub const ID: &str = "ACCAEXAMPLEKEY0000001";
pub const USER: &str = "svc-chatbot";
pub const CREATED: &str = "2026-11-20T09:00:00Z";

pub fn created() -> DateTime<Utc> {
    CREATED.parse().unwrap()
}

// ---- the event ----

pub fn event(expiration_days: Option<i64>) -> Value {
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

pub fn unreadable_event() -> Value {
    let mut event = event(Some(30));
    event["responseElements"]["serviceSpecificCredential"]["expirationDate"] = json!("in about a month");
    event
}

// ---- the model of IAM ----

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelKey {
    pub id: &'static str,
    pub user: &'static str,
    pub service: Service,
    pub expiration: Expiration,
    pub status: Status,
}

pub fn key(id: &'static str, user: &'static str, service: Service, days: Option<i64>) -> ModelKey {
    let expiration = days.map_or(Expiration::Never, |days| Expiration::At(created() + TimeDelta::days(days)));
    ModelKey { id, user, service, expiration, status: Status::Active }
}

/// Keys that must come through everything untouched.
pub fn bystanders() -> Vec<ModelKey> {
    vec![
        key("ACCABYSTANDER00000001", USER, Service::CodeCommit, None),
        key("ACCABYSTANDER00000002", USER, Service::Logs, None),
        key("ACCABYSTANDER00000003", USER, Service::Bedrock, None),
        key("ACCABYSTANDER00000004", "somebody-else", Service::Bedrock, None),
    ]
}

pub fn listed(wanted: &KeyRef, found: &ModelKey) -> Listed {
    Listed {
        key: Key {
            key: wanted.clone(),
            user: found.user.parse().unwrap(),
            service: found.service.clone(),
            created_at: created(),
            evidence: ListedEvidence {
                created_at: created(),
                expires_at: match found.expiration {
                    Expiration::Never => None,
                    Expiration::At(end) => Some(end),
                },
            }
            .into(),
            is_remembered: false,
        },
        status: found.status,
    }
}

#[derive(Clone)]
pub struct Iam {
    pub keys: Arc<Mutex<Vec<ModelKey>>>,
    pub database: Database,
    pub actions: Arc<AtomicUsize>,
    /// What was asked for, in order.
    pub acted: Arc<Mutex<Vec<String>>>,
    /// Renames the user just before each next action, last name first.
    pub rename_before_acting: Arc<Mutex<Vec<&'static str>>>,
    /// Renames a user when the first page of a list was read.
    pub rename_after_first_page: Arc<Mutex<Option<(&'static str, &'static str)>>>,
    pub steps: Steps,
    /// A person, where it has no `*`.
    pub acts_as: &'static str,
}

impl Iam {
    fn listed(&self, wanted: &KeyRef, user: Option<&UserName>) -> Option<Listed> {
        let keys = self.keys.lock().unwrap();
        let found = keys
            .iter()
            .find(|key| key.id == wanted.id.as_str() && user.is_none_or(|user| key.user == user.as_str()))?;
        Some(listed(wanted, found))
    }

    /// Two keys to a page.
    fn page(&self, account: &AccountId, list: &KeyList, marker: Option<&str>) -> Page {
        if marker.is_some()
            && let Some((from, to)) = self.rename_after_first_page.lock().unwrap().take()
        {
            let mut keys = self.keys.lock().unwrap();
            keys.iter_mut().filter(|key| key.user == from).for_each(|key| key.user = to);
        }
        let keys = self.keys.lock().unwrap();
        let mut keys: Vec<_> = keys
            .iter()
            .filter(|key| list.service().is_none_or(|service| key.service == *service))
            .cloned()
            .collect();
        // As IAM does it: by user, so that who is renamed moves.
        keys.sort_by_key(|key| (key.user, key.id));
        // A marker names the last one, whatever happens to it.
        let name = |key: &ModelKey| format!("{} {}", key.user, key.id);
        keys.retain(|key| marker.is_none_or(|marker| name(key).as_str() > marker));
        let of = |key: &ModelKey| {
            let wanted = KeyRef { account: account.clone(), id: key.id.parse().unwrap() };
            Ok(listed(&wanted, key))
        };
        Page { keys: keys.iter().take(2).map(of).collect(), next: (keys.len() > 2).then(|| name(&keys[1])) }
    }

    fn acted(&self, confirmed: &Confirmed) -> Acted {
        assert!(has_entry(&self.database), "I1: a key is touched before its entry is durable");
        assert!(!confirmed.key().id.as_str().starts_with("ACCABYSTANDER"), "I7: another key is touched");
        let mut acted = self.acted.lock().unwrap();
        acted.push(format!("{:?} {}", confirmed.action(), confirmed.key().id));
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

pub fn no_answer() -> KeysError {
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
    async fn list(
        &self,
        account: &AccountId,
        list: &KeyList,
        marker: Option<String>,
    ) -> Result<Page, KeysError> {
        self.steps.pass(async || self.page(account, list, marker.as_deref())).await.ok_or_else(no_answer)
    }
    async fn leftover(&self, _: &AccountId, _: &UserName) -> Result<Option<Leftover>, KeysError> {
        Ok(Some(Leftover::default()))
    }
    fn acts_as(&self, _: &AccountId) -> Option<String> {
        Some(self.acts_as.to_owned())
    }
    fn is_own(&self, account: &AccountId, actor: &Actor) -> bool {
        self.acts_as.contains('*') && is_principal(actor, account, self.acts_as)
    }
    async fn act(&self, confirmed: &Confirmed) -> Result<Acted, KeysError> {
        self.steps.pass(async || self.acted(confirmed)).await.ok_or_else(no_answer)
    }
}

// ---- the ledger, with the same faults ----

pub struct FaultyLedger {
    pub inner: DynamoLedger,
    pub steps: Steps,
}

pub fn no_ledger() -> LedgerError {
    LedgerError::Call {
        operation: "(fault)",
        table: "(fault)".to_owned(),
        code: None,
        source: "no answer".into(),
    }
}

impl Ledger for FaultyLedger {
    async fn open(&self, entry: &Entry, most: Option<u32>) -> Result<Opened, LedgerError> {
        self.steps.pass(async || self.inner.open(entry, most).await).await.ok_or_else(no_ledger)?
    }
    async fn read(
        &self,
        keys: &[KeyRef],
    ) -> Result<HashMap<KeyRef, Result<Known, LedgerError>>, LedgerError> {
        self.steps.pass(async || self.inner.read(keys).await).await.ok_or_else(no_ledger)?
    }
    async fn walk(
        &self,
        account: &AccountId,
        which: Which,
        walk: &mut Walk,
    ) -> Result<Option<Passed>, LedgerError> {
        self.steps.pass(async || self.inner.walk(account, which, walk).await).await.ok_or_else(no_ledger)?
    }
    async fn last_sweep(&self, account: &AccountId) -> Result<Option<LastSweep>, LedgerError> {
        self.inner.last_sweep(account).await
    }
    async fn swept(&self, account: &AccountId, sweep: &LastSweep) -> Result<(), LedgerError> {
        self.steps.pass(async || self.inner.swept(account, sweep).await).await.ok_or_else(no_ledger)?
    }
    async fn note(&self, entry: &Entry, line: NewLine) -> Result<(), LedgerError> {
        self.steps.pass(async || self.inner.note(entry, line.clone()).await).await.ok_or_else(no_ledger)?
    }
    async fn remember(&self, happening: &Happening, gone: bool) -> Result<Option<Known>, LedgerError> {
        self.steps.pass(async || self.inner.remember(happening, gone).await).await.ok_or_else(no_ledger)?
    }
    async fn replace(
        &self,
        entry: &Entry,
        over: u64,
        line: NewLine,
        then: &Entry,
        most: Option<u32>,
    ) -> Result<Opened, LedgerError> {
        let replace = async || self.inner.replace(entry, over, line.clone(), then, most).await;
        self.steps.pass(replace).await.ok_or_else(no_ledger)?
    }
    async fn settle(&self, entry: &Entry, at: DateTime<Utc>) -> Result<Settled, LedgerError> {
        self.steps.pass(async || self.inner.settle(entry, at).await).await.ok_or_else(no_ledger)?
    }
}

// ---- faults and turns ----

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    FailsBefore,
    ReplyLost,
    KilledBefore,
    KilledAfter,
}

pub const FAULTS: [Fault; 4] =
    [Fault::FailsBefore, Fault::ReplyLost, Fault::KilledBefore, Fault::KilledAfter];

/// Every effect of a delivery passes here.
#[derive(Clone, Default)]
pub struct Steps {
    pub taken: Arc<AtomicUsize>,
    pub fault: Option<(usize, Fault)>,
    pub killed: Arc<Notify>,
    /// When there are turns, an effect waits for its own.
    pub turns: Option<Arc<Semaphore>>,
    pub waiting: Arc<AtomicBool>,
}

impl Steps {
    pub async fn pass<T>(&self, effect: impl AsyncFnOnce() -> T) -> Option<T> {
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
pub struct At(DateTime<Utc>);
impl Clock for At {
    fn now(&self) -> DateTime<Utc> {
        self.0
    }
}

// ---- the world ----

pub struct World {
    pub database: Database,
    pub iam: Iam,
    pub bystanders: Vec<ModelKey>,
    pub ceiling: Response,
    pub policy: Arc<Policy>,
}

pub fn policy(response: &str) -> Arc<Policy> {
    let text = format!(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"{response}\"\n\
         [[exemption]]\naccount = \"{ACCOUNT}\"\nuser = \"svc-exempt\"\nreason = \"SEC-1\"\nuntil = 2026-11-20\n"
    );
    Arc::new(Policy::parse(&text, std::path::Path::new("test.toml")).unwrap())
}

impl World {
    pub fn new(response: &str, ceiling: Response, subject: Option<ModelKey>) -> Self {
        let database = Database::memory().unwrap();
        let keys = bystanders().into_iter().chain(subject).collect();
        Self {
            bystanders: bystanders(),
            iam: Iam {
                keys: Arc::new(Mutex::new(keys)),
                database: database.clone(),
                actions: Arc::default(),
                acted: Arc::default(),
                rename_before_acting: Arc::default(),
                rename_after_first_page: Arc::default(),
                steps: Steps::default(),
                acts_as: "assumed-role/*/bedrock-key-guard",
            },
            database,
            ceiling,
            policy: policy(response),
        }
    }

    pub async fn corridor(&self, steps: Steps, at: DateTime<Utc>) -> Corridor<FaultyLedger, Iam, At> {
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
    pub async fn deliver(
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

    /// The same world with these keys and no others.
    pub fn with_keys(response: &str, ceiling: Response, keys: Vec<ModelKey>) -> Self {
        let mut world = Self::new(response, ceiling, None);
        world.bystanders.clear();
        *world.iam.keys.lock().unwrap() = keys;
        world
    }

    /// Somebody else does something to a key.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut ModelKey)) {
        change(self.iam.keys.lock().unwrap().iter_mut().find(|key| key.id == id).unwrap());
    }

    pub fn status(&self, id: &str) -> Option<Status> {
        self.iam.keys.lock().unwrap().iter().find(|key| key.id == id).map(|key| key.status)
    }

    /// One sweep of the account; `None` when the process was killed.
    pub async fn sweep(
        &self,
        ceiling: Response,
        hands: Hands,
        steps: Steps,
        after: TimeDelta,
    ) -> Option<(Result<Swept, SweepError>, Heard)> {
        self.sweep_on(None, Heard::default(), ceiling, hands, steps, after).await
    }

    /// The same, from where another invocation handed on.
    pub async fn sweep_on(
        &self,
        from: Option<Rest>,
        heard: Heard,
        ceiling: Response,
        hands: Hands,
        steps: Steps,
        after: TimeDelta,
    ) -> Option<(Result<Swept, SweepError>, Heard)> {
        let killed = Arc::clone(&steps.killed);
        let ledger =
            FaultyLedger { inner: embedded::on(self.database.clone()).await.unwrap(), steps: steps.clone() };
        let iam = Iam { steps, ..self.iam.clone() };
        let clock = At(created() + after);
        let sweep =
            Sweep { policy: &self.policy, ceiling, hands, ledger: &ledger, keys: &iam, clock: &clock };
        let account = ACCOUNT.parse().unwrap();
        let result = tokio::select! {
            biased;
            () = killed.notified() => None,
            result = sweep.account(&account, from, &heard) => Some(result),
        };
        Some((result?, heard))
    }

    pub async fn rehearse(&self, event: &Value) -> Report {
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

    pub fn subject(&self) -> Option<ModelKey> {
        self.iam.keys.lock().unwrap().iter().find(|key| key.id == ID).cloned()
    }

    pub fn check_bystanders(&self) {
        let keys: Vec<_> = self
            .iam
            .keys
            .lock()
            .unwrap()
            .iter()
            .filter(|key| key.id.starts_with("ACCABYSTANDER"))
            .cloned()
            .collect();
        assert_eq!(keys, self.bystanders, "I7: a bystander was touched");
    }

    /// The ledger's word and IAM's, as far as redelivery must not change them.
    pub fn state(&self) -> State {
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

/// What was heard of a sweep.
#[derive(Debug, Default)]
pub struct Heard {
    pub found: Mutex<Vec<(String, Found)>>,
    pub troubles: Mutex<Vec<String>>,
    /// Time is up when it is asked for the nth time, from 0, and from then on.
    pub time_up_at: Option<usize>,
    pub asked: AtomicUsize,
}

impl Heard {
    /// Each key with what is new about it, and what became of it.
    pub fn changes(&self) -> Vec<String> {
        let found = self.found.lock().unwrap();
        let mut changes: Vec<_> = found
            .iter()
            .map(|(id, found)| format!("{id} {} {}", found.change.as_str(), found.report.outcome))
            .collect();
        changes.sort();
        changes
    }
}

impl Listener for Heard {
    fn found(&self, _: &AccountId, found: Found) {
        let id = found.report.credential_id.as_ref().unwrap().to_string();
        self.found.lock().unwrap().push((id, found));
    }
    fn trouble(&self, _: &AccountId, trouble: &Trouble) {
        self.troubles.lock().unwrap().push(bedrock_key_guard::telemetry::chain(trouble));
    }
    fn is_time_up(&self) -> bool {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        self.time_up_at.is_some_and(|at| at <= asked)
    }
}

/// A call that is made on the key later.
pub fn later(call: &str, status: Option<&str>, at: &str) -> Value {
    let mut event = event(None);
    event["eventName"] = json!(call);
    event["eventID"] = json!(format!("{call}-{}", status.unwrap_or("done")));
    event["eventTime"] = json!(at);
    event["userIdentity"] = json!({"type": "IAMUser", "arn": format!("arn:aws:iam::{ACCOUNT}:user/later")});
    event["requestParameters"] =
        json!({"userName": USER, "serviceSpecificCredentialId": ID, "status": status});
    event["responseElements"] = json!({"serviceSpecificCredential": {
        "serviceSpecificCredentialId": ID, "userName": USER, "serviceName": "bedrock.amazonaws.com",
    }});
    event
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    pub verdict: Option<String>,
    pub violation: Option<String>,
    pub response: Option<String>,
    pub user: Option<String>,
    pub outcome: Option<String>,
    pub key: Option<ModelKey>,
}

pub fn read(event: &Value) -> ParsedEvent {
    bedrock_key_guard::event::parse(event.clone()).unwrap()
}

pub fn items(database: &Database) -> Vec<Value> {
    let request = serde_json::from_value(json!({"TableName": embedded::TABLE})).unwrap();
    let Ok(answer) = database.scan(request) else { return Vec::new() };
    serde_json::to_value(answer).unwrap()["Items"].as_array().cloned().unwrap_or_default()
}

pub fn has_entry(database: &Database) -> bool {
    items(database).iter().any(|item| item["sk"]["S"] == "STATE" && item["rehearsal"]["BOOL"] == false)
}

/// Lets a delivery go through one effect, up to the next one or its end.
pub async fn give_turn<T>(
    steps: &Steps,
    mut delivery: std::pin::Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
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

/// How many turns are chosen by an order's bits, the highest first; after these the two alternate.
const CHOSEN_TURNS: usize = 8;

/// The order after the last one.
pub const ORDERS: u32 = 1 << CHOSEN_TURNS;

/// Two that run side by side in a given order.
pub struct SideBySide<A, B> {
    pub first: A,
    pub second: B,
    /// The next order that is another run. Once one of the two is done, all turns are the other's, whatever the order
    /// says of them.
    pub next_order: u32,
}

/// Steps that wait for their turn.
pub fn in_turns() -> Steps {
    Steps { turns: Some(Arc::new(Semaphore::new(0))), ..Steps::default() }
}

/// Lets two futures run side by side, one effect at a time, until both are done.
pub async fn side_by_side<A, B>(
    order: u32,
    steps: &[Steps; 2],
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> SideBySide<A, B> {
    let (mut first, mut second) = (Box::pin(first), Box::pin(second));
    let mut results = (None, None);
    let (mut turn, mut chosen_turns) = (0, 0);
    loop {
        let is_firsts =
            if turn < CHOSEN_TURNS { order >> (CHOSEN_TURNS - 1 - turn) & 1 == 0 } else { turn % 2 == 0 };
        match results {
            (Some(first), Some(second)) => {
                let skipped = (1 << (CHOSEN_TURNS - chosen_turns)) - 1;
                return SideBySide { first, second, next_order: (order | skipped) + 1 };
            }
            (None, None) if turn < CHOSEN_TURNS => chosen_turns = turn + 1,
            _ => {}
        }
        if results.0.is_none() && (is_firsts || results.1.is_some()) {
            results.0 = give_turn(&steps[0], first.as_mut()).await;
        } else {
            results.1 = give_turn(&steps[1], second.as_mut()).await;
        }
        turn += 1;
    }
}
