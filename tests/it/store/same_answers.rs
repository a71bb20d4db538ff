//! Whatever is written and asked, the ledger in SQLite returns what the one in DynamoDB returns.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};

use bedrock_key_guard::ledger::Cost;
use bedrock_key_guard::ledger::audit::attempts::AuditFilter;
use bedrock_key_guard::ledger::audit::{AuditEvent, FailedCall, UserChanged};
use bedrock_key_guard::ledger::portable::{PortableContent, PortableItem};
use bedrock_key_guard::ledger::query::{Actor, Filter, Position, Search};
use bedrock_key_guard::ledger::store::Ledger;
use key_guard_core::cloudtrail::{Attempt, Call, CredentialCall, Provenance, UserCall, UserChange};
use key_guard_core::evidence::ExpirationEvidence;
use key_guard_core::key::{AccountId, Expiration, KeyRef, Service, Status};
use key_guard_core::lifecycle::dry_run::DryRun;
use key_guard_core::lifecycle::effect::{
    BudgetKind, CallError, Cause, Change, Commit, DeletionBudget, HeardEvent, LogEntry,
};
use key_guard_core::lifecycle::standing::Standing;
use key_guard_core::lifecycle::state::{
    Contradiction, GoneEvidence, KeyState, Observation, Phase, Record, StoredState, Version,
};
use key_guard_core::lifecycle::sweep::{KeyCursor, KeyPage, SweepRecord};
use key_guard_core::policy::{Assessment, Response, Rule, Scope, VerdictDetail, Violation};
use key_guard_core::ports::KeyStore as _;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::{at, by, deactivated, event, in_phase, intent, key_in, line, record};
use crate::support::dynamodb::Place;
use crate::support::{OTHER, OWN};

/// So few keys that operations meet.
const KEYS: usize = 5;

/// They are created at few times, so that indexes have many of the same.
fn key(number: usize) -> KeyRef {
    key_in(if number % 3 == 2 { OTHER } else { OWN }, number)
}

#[derive(Debug, Clone)]
enum Operation {
    /// By key: the version that is expected, or the one that is stored; the next state; a limit of deletions.
    Commit(Vec<(usize, Option<u64>, State, Option<u32>)>),
    Append(usize, i64, Heard),
    PutDryRuns(Vec<(usize, State)>),
    RecordAuditEvents(Vec<(usize, bool)>),
    Import(usize, Vec<Imported>),
    PutSweepRecord(bool, i64),
}

#[derive(Debug, Clone, Copy)]
enum Heard {
    Event(HeardEvent),
    Sweep,
    Resume,
}

#[derive(Debug, Clone)]
enum Imported {
    Log(i64, Heard),
    State(State),
    DryRun(State),
}

/// What varies of a state.
#[derive(Debug, Clone)]
struct State {
    form: u8,
    seconds: i64,
    user: u8,
    other_names: u8,
    has_creation: bool,
    actor: u8,
}

const USERS: [&str; 4] = ["alice", "Alice", "bob", "svc-1"];

fn principal(number: u8) -> (String, Option<String>) {
    match number {
        0 => (
            format!("arn:aws:sts::{OWN}:assumed-role/Admin/mallory@example.com"),
            Some(format!("arn:aws:iam::{OWN}:role/Admin")),
        ),
        1 => (format!("arn:aws:iam::{OWN}:user/bob"), None),
        // Found by its session's name and by its role's.
        2 => (format!("arn:aws:sts::{OTHER}:assumed-role/Robot/Robot"), None),
        _ => ("cloudformation.amazonaws.com".to_owned(), None),
    }
}

impl State {
    fn creation(&self, key: &KeyRef) -> Option<Provenance> {
        let mut creation = event(&format!("created-{}", key.id), self.seconds);
        creation.account = key.account.clone();
        (creation.actor.principal, creation.actor.session_issuer) = {
            let (principal, issuer) = principal(self.actor);
            (Some(principal), issuer)
        };
        self.has_creation.then_some(creation)
    }

    fn record(&self, key: &KeyRef, phase: Phase) -> Record {
        let mut record = Record { creation: self.creation(key), ..in_phase(key, phase) };
        record.facts.user = USERS[usize::from(self.user)].parse().unwrap();
        let names = USERS.iter().enumerate().filter(|(number, _)| self.other_names & (1 << number) != 0);
        record.facts.other_names = names.map(|(_, name)| name.parse().unwrap()).collect();
        record.facts.created_at = at(self.seconds);
        record.changed_at = at(self.seconds);
        record.assessment = Scope::InScope(self.assessment());
        record
    }

    fn assessment(&self) -> Assessment {
        let verdicts = [VerdictDetail::Compliant, VerdictDetail::Noncompliant(Violation::NeverExpires)];
        Assessment {
            verdict: verdicts[usize::from(self.form % 2)].clone(),
            limit_days: 90,
            response: Response::Delete,
            grace_days: 0,
            created_at: at(self.seconds),
            expiration: Some(Expiration::Never),
            basis: None,
            rule: Rule::Default,
            decided_by: None,
            ended_exemption: None,
        }
    }

    fn state(&self, key: &KeyRef) -> KeyState {
        let at = at(self.seconds);
        let tracked = |phase| KeyState::Tracked(Box::new(self.record(key, phase)));
        match self.form {
            0 => tracked(Phase::Settled),
            1 => tracked(Phase::Pending(intent(at))),
            2 => tracked(deactivated(key).phase),
            3 => KeyState::Tracked(Box::new(Record {
                delete_after: Some(at),
                ..self.record(key, Phase::Settled)
            })),
            4 => tracked(Phase::Gone(GoneEvidence::DeletedByGuard { at })),
            5 => KeyState::Tombstone(GoneEvidence::Absent { at }),
            _ => KeyState::Unconfirmed(Observation { asked_at: at, seen: Contradiction::StillListed }),
        }
    }

    fn dry_run(&self, key: &KeyRef) -> DryRun {
        let Record { facts, creation, .. } = self.record(key, Phase::Settled);
        DryRun {
            facts,
            evidence: ExpirationEvidence::default(),
            creation,
            standing: Standing { status: Status::Active, ..Standing::UNKNOWN },
            latest_trigger: at(0),
            assessment: self.assessment(),
            response: Response::Delete,
            policy_sha256: record(key).policy_sha256,
            at: at(self.seconds),
        }
    }
}

fn log(key: &KeyRef, seconds: i64, heard: Heard) -> LogEntry {
    let (cause, change) = match heard {
        Heard::Event(heard) => (by(heard, &event(&format!("{heard:?}"), seconds)), Change::Heard(heard)),
        Heard::Sweep => (Cause::Sweep, Change::Learned),
        Heard::Resume => (Cause::Resume, Change::Reported),
    };
    line(key, seconds, cause, change)
}

/// Few actors, days and users: some events are counted together, and some are delivered again.
fn audit_event(number: usize, is_failed: bool) -> AuditEvent {
    let seconds = i64::try_from(number % 8).unwrap() * 20_000;
    let mut provenance = event(&format!("{number:08x}"), seconds);
    let (principal, issuer) = principal(u8::try_from(number % 4).unwrap());
    (provenance.actor.principal, provenance.actor.session_issuer) = (Some(principal), issuer);
    let user = USERS[number % 3].parse().unwrap();
    if is_failed {
        let (call, error_code) = (Call::Credential(CredentialCall::Create), "AccessDenied".to_owned());
        let service = number.is_multiple_of(2).then_some(Service::Bedrock);
        let attempt = Attempt { call, error_code, user: Some(user), service };
        AuditEvent::FailedCall(FailedCall { provenance, attempt })
    } else {
        let change = UserChange { call: UserCall::AddUserToGroup, user };
        AuditEvent::UserChanged(UserChanged { provenance, change })
    }
}

fn seconds() -> impl Strategy<Value = i64> {
    prop_oneof![3 => 0_i64..3, 1 => Just(90_000)]
}

fn state() -> impl Strategy<Value = State> {
    (0_u8..7, seconds(), 0_u8..4, 0_u8..16, any::<bool>(), 0_u8..4).prop_map(
        |(form, seconds, user, other_names, has_creation, actor)| State {
            form,
            seconds,
            user,
            other_names,
            has_creation,
            actor,
        },
    )
}

fn heard() -> impl Strategy<Value = Heard> {
    let events = vec![HeardEvent::Created, HeardEvent::Activated, HeardEvent::Deleted];
    prop_oneof![
        proptest::sample::select(events).prop_map(Heard::Event),
        Just(Heard::Sweep),
        Just(Heard::Resume)
    ]
}

fn operation() -> BoxedStrategy<Operation> {
    let version = prop_oneof![2 => Just(None), 1 => (0_u64..4).prop_map(Some)];
    let commits = btree_map(0..KEYS, (version, state(), option::weighted(0.3, 0_u32..4)), 1..5);
    let commits = commits.prop_map(|commits| {
        commits.into_iter().map(|(key, (version, state, limit))| (key, version, state, limit)).collect()
    });
    let imported = prop_oneof![
        (seconds(), heard()).prop_map(|(seconds, heard)| Imported::Log(seconds, heard)),
        state().prop_map(Imported::State),
        state().prop_map(Imported::DryRun),
    ];
    let dry_runs = btree_map(0..KEYS, state(), 1..5).prop_map(|dry_runs| dry_runs.into_iter().collect());
    prop_oneof![
        6 => commits.prop_map(Operation::Commit),
        2 => (0..KEYS, seconds(), heard()).prop_map(|(key, seconds, heard)| Operation::Append(key, seconds, heard)),
        2 => dry_runs.prop_map(Operation::PutDryRuns),
        2 => vec((0_usize..24, any::<bool>()), 1..9).prop_map(Operation::RecordAuditEvents),
        2 => (0..KEYS, vec(imported, 1..4)).prop_map(|(key, items)| Operation::Import(key, items)),
        1 => (any::<bool>(), seconds()).prop_map(|(is_own, seconds)| Operation::PutSweepRecord(is_own, seconds)),
    ]
    .boxed()
}

fn replies<T: Debug>(replies: Vec<Result<T, CallError>>) -> Vec<T> {
    replies.into_iter().map(Result::unwrap).collect()
}

/// What a ledger replied. `versions` are those that are stored.
async fn perform(store: &Ledger, operation: &Operation) -> String {
    match operation {
        Operation::Commit(commits) => {
            let mut wanted = Vec::new();
            for (number, version, state, limit) in commits {
                let key = key(*number);
                let stored = store.load(std::slice::from_ref(&key)).await.remove(0).unwrap().version;
                let counts = limit.map(|limit| DeletionBudget {
                    account: key.account.clone(),
                    kind: BudgetKind::New,
                    hour: at(0),
                    limit,
                });
                wanted.push(Commit {
                    expected: version.map_or(stored, Version),
                    next: state.state(&key),
                    log: log(&key, state.seconds, Heard::Sweep),
                    key,
                    counts,
                });
            }
            format!("{:?}", replies(store.commit(&wanted).await))
        }
        Operation::Append(number, seconds, heard) => {
            format!("{:?}", store.append(&log(&key(*number), *seconds, *heard)).await.unwrap())
        }
        Operation::PutDryRuns(dry_runs) => {
            let keys: Vec<_> = dry_runs.iter().map(|(number, _)| key(*number)).collect();
            let stored = store.load_dry_runs(&keys).await.into_iter().map(Result::unwrap);
            let expected = stored.map(|stored| stored.map_or(Version::ABSENT, |(_, version)| version));
            let next = dry_runs.iter().map(|(number, state)| state.dry_run(&key(*number)).into());
            let dry_runs: Vec<_> = next.zip(expected).collect();
            format!("{:?}", replies(store.put_dry_runs(&dry_runs).await))
        }
        Operation::RecordAuditEvents(events) => {
            let events: Vec<_> =
                events.iter().map(|(number, is_failed)| audit_event(*number, *is_failed)).collect();
            format!("{:?}", replies(store.record_audit_events(&events).await))
        }
        Operation::Import(number, items) => {
            let key = key(*number);
            let item = |item: &Imported| match item {
                Imported::Log(seconds, heard) => PortableContent::Log(Box::new(log(&key, *seconds, *heard))),
                Imported::State(state) => PortableContent::State(key.clone(), Box::new(state.state(&key))),
                Imported::DryRun(state) => PortableContent::DryRun(state.dry_run(&key).into()),
            };
            let items: Vec<_> = items.iter().map(item).map(PortableItem::from).collect();
            format!("{:?}", store.import(&items).await.unwrap())
        }
        Operation::PutSweepRecord(is_own, seconds) => {
            let account = account(*is_own);
            format!(
                "{:?}",
                store.put_sweep_record(&account, &SweepRecord { started: at(*seconds) }).await.unwrap()
            )
        }
    }
}

fn account(is_own: bool) -> AccountId {
    if is_own { OWN } else { OTHER }.parse().unwrap()
}

fn filters() -> Vec<Filter> {
    let all = Filter::default;
    let actors = ["mallory", "mallory@example.com", "admin", "bob", "robot", "cloudformation.amazonaws.com"];
    let actors = actors.map(str::to_owned).into_iter().chain([
        principal(0).0,
        principal(0).1.unwrap(),
        principal(2).0,
    ]);
    let days = |from: i64, to| Filter { since: Some(at(from)), until: Some(at(to)), ..all() };
    let own = || Filter { account: Some(account(true)), ..all() };
    let mut filters: Vec<_> = (0..KEYS).map(|number| Filter { key: Some(key(number).id), ..all() }).collect();
    filters
        .extend(["ALICE", "bob", "svc-1"].map(|user| Filter { user: Some(user.parse().unwrap()), ..all() }));
    filters.extend(actors.map(|actor| Filter { actor: Some(Actor::from(actor.as_str())), ..all() }));
    filters.extend([
        own(),
        Filter { account: Some(account(false)), ..all() },
        Filter { pending: true, ..all() },
        Filter { since: Some(at(1)), until: Some(at(2)), ..own() },
        Filter { since: Some(at(2)), ..own() },
        Filter { until: Some(at(2)), pending: true, ..all() },
        days(0, 3),
        days(1, 100_000),
    ]);
    filters
}

/// The keys that a question finds, each page with a search of its own.
async fn search(store: &Ledger, filter: &Filter, page_size: usize) -> Vec<String> {
    let (mut found, mut before) = (Vec::new(), None::<Position>);
    loop {
        let mut search = Search::new(store, filter.clone(), before, page_size, at(90_000)).unwrap();
        let mut count = 0;
        while count < page_size {
            let Some(key) = search.next().await.unwrap() else { break };
            found.push(format!("{key:?}"));
            count += 1;
        }
        assert!(search.unreadable().is_empty());
        before = search.position().cloned();
        if count < page_size {
            return found;
        }
    }
}

/// The keys of all pages. DynamoDB defines no order among those of the same time.
async fn all_pages<F>(page: impl Fn(Option<KeyCursor>) -> F) -> BTreeSet<String>
where
    F: Future<Output = Result<KeyPage<StoredState>, CallError>>,
{
    let (mut keys, mut cursor) = (BTreeSet::new(), None);
    loop {
        let page = page(cursor).await.unwrap();
        assert_eq!(page.unreadable, 0);
        for stored in page.keys {
            assert!(keys.insert(format!("{stored:?}")), "twice");
        }
        cursor = page.next;
        if cursor.is_none() {
            return keys;
        }
    }
}

/// Everything that can be asked, with what a ledger returns.
async fn answers(store: &Ledger) -> Vec<(String, String)> {
    let mut answers = Vec::new();
    let mut add = |question: String, answer: String| answers.push((question, answer));
    let keys: Vec<_> = (0..KEYS).map(key).collect();
    add("states".to_owned(), format!("{:?}", replies(store.load(&keys).await)));
    add("dry runs".to_owned(), format!("{:?}", replies(store.load_dry_runs(&keys).await)));
    for key in &keys {
        let history = store.history(key).await.unwrap();
        assert!(history.unreadable.is_empty(), "{:?}", history.unreadable);
        add(format!("history of {key}"), format!("{:?}", (history.state, history.dry_run, history.lines)));
        let items = store.portable_items(key, &mut Cost::default()).await;
        let items = items.unwrap().into_iter().map(Result::unwrap).collect::<Vec<_>>();
        add(format!("items of {key}"), format!("{items:?}"));
    }
    let (mut scan, mut items) = (store.table_scan(), BTreeSet::new());
    while let Some(page) = scan.next().await.unwrap() {
        items.extend(page.into_iter().map(|item| item.unwrap().to_json().unwrap()));
    }
    add("scan".to_owned(), format!("{items:?}"));
    add(
        "resumable".to_owned(),
        format!(
            "{:?}",
            all_pages(|cursor| async move { store.resumable_keys(at(1_000), cursor.as_ref()).await }).await
        ),
    );
    for is_own in [true, false] {
        let account = &account(is_own);
        for since in [None, Some(at(1))] {
            let known =
                all_pages(|cursor| async move { store.known_keys(account, since, cursor.as_ref()).await });
            add(format!("known in {account} since {since:?}"), format!("{:?}", known.await));
        }
        add(format!("sweep of {account}"), format!("{:?}", store.load_sweep_record(account).await.unwrap()));
    }
    for filter in filters() {
        for page_size in [2, 100] {
            let found = search(store, &filter, page_size).await;
            add(format!("{page_size} each of {filter:?}"), format!("{found:?}"));
        }
    }
    let all = AuditFilter::default;
    for filter in [
        AuditFilter { account: Some(account(true)), ..all() },
        AuditFilter { user: Some("alice".parse().unwrap()), ..all() },
        AuditFilter { actor: Some(Actor::from("robot")), ..all() },
        AuditFilter { since: Some(at(40_000)), until: Some(at(120_000)), ..all() },
    ] {
        let found = store.audit_records(&filter, at(90_000)).await.unwrap().unwrap();
        assert!(found.unreadable.is_empty());
        // DynamoDB defines no order among those of the same time.
        let found: BTreeSet<_> = found.found.iter().map(|record| format!("{record:?}")).collect();
        add(format!("{filter:?}"), format!("{found:?}"));
    }
    answers
}

static CASES: AtomicU32 = AtomicU32::new(0);

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 40, ..ProptestConfig::default() })]
    #[test]
    fn sqlite_answers_as_dynamodb_does(operations in vec(operation(), 10..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Box::pin(async {
            let place = Place::new(&format!("same-answers-{}", CASES.fetch_add(1, Ordering::Relaxed))).await;
            let dynamodb = Ledger::dynamodb(place.client.clone(), &place.table);
            let sqlite = Ledger::in_memory().unwrap();
            for operation in &operations {
                prop_assert_eq!(perform(&sqlite, operation).await, perform(&dynamodb, operation).await, "{:?}", operation);
            }
            for (found, expected) in answers(&sqlite).await.into_iter().zip(answers(&dynamodb).await) {
                prop_assert_eq!(found, expected);
            }
            Ok(())
        }))?;
    }
}
