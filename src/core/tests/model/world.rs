//! The world of the model: IAM, the store, the clock, the workers, and every move that is possible.

use chrono::TimeDelta;
use key_guard_core::Time;
use key_guard_core::cloudtrail::{Actor, Correction, CreatedKey, KeyTarget, Provenance};
use key_guard_core::evidence::{EventEvidence, Reading};
use key_guard_core::key::{KeyRef, KeyStatus, Service, UserName};
use key_guard_core::lifecycle::effect::Effect;
use key_guard_core::lifecycle::input::{Ceiling, Env, KeyEvent, KeyEventKind, ListedKey, WorkerId};
use key_guard_core::lifecycle::session::Session;
use key_guard_core::lifecycle::state::{Finding, IntentId, Record, StoredState};
use key_guard_core::policy::Policy;

use super::hash::Shared;

/// The key's user, and the name that a rename gives them.
pub const NAMES: [&str; 2] = ["svc-chatbot", "vendor"];

/// How many seconds IAM's answers may be behind.
const LAG: i64 = 60;

/// What the key is like, and what each source says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It never expires. The event and IAM say so.
    NeverExpires,
    /// It is within the limit.
    Compliant,
    /// The event says that it is over the limit, IAM says that it is within.
    CompliantByList,
    /// The event cannot be read. IAM says that it never expires.
    NoncompliantByList,
    /// The event says that it is over the limit. IAM, which shows dates for this service, shows none.
    Contradictory,
    /// The event says that it is within the limit. CloudTrail corrects that: it never expires, as IAM says.
    CorrectedToNeverExpires,
    /// The event says that it never expires. CloudTrail corrects that: it is within the limit, as IAM says.
    CorrectedToCompliant,
}

impl Kind {
    const fn is_corrected(self) -> bool {
        match self {
            Self::CorrectedToNeverExpires | Self::CorrectedToCompliant => true,
            Self::NeverExpires
            | Self::Compliant
            | Self::CompliantByList
            | Self::NoncompliantByList
            | Self::Contradictory => false,
        }
    }
}

/// The bounds of one search.
#[derive(Debug, Clone)]
pub struct Configuration {
    pub kind: Kind,
    pub policy: Policy,
    pub ceiling: Ceiling,
    pub sweep_ceiling: Ceiling,
    /// Length of a tick, in seconds.
    pub tick: i64,
    pub ticks: i64,
    /// Adversary's moves, and which ones.
    pub moves: u8,
    pub adversary: &'static [Move],
    /// Changes of the ceiling.
    pub ceiling_changes: u8,
    /// Workers that die, and replies that are lost.
    pub faults: u8,
    /// Deletions that the breaker refuses.
    pub refusals: u8,
    /// How often each event is delivered.
    pub deliveries: u8,
    pub resumes: u8,
    pub sweeps: u8,
    pub workers: usize,
    /// Whether CloudTrail loses every event, so that sweeps and resumes are all there is.
    pub loses_events: bool,
    /// Whether the guard's own deletion has an event, too.
    pub own_events: bool,
    /// Whether IAM may answer with another key of the same user.
    pub confuses_keys: bool,
    /// Whether the same history must end in the same way (I3).
    pub compares_histories: bool,
}

/// What the key's owner, or an attacker, may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Move {
    Activate,
    Deactivate,
    Reset,
    Delete,
    Rename,
}

/// An event of CloudTrail's, and how far its deliveries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Event {
    pub kind: EventKind,
    /// In seconds from the start.
    pub at: i64,
    pub name: u8,
    pub deliveries: u8,
    pub is_running: bool,
    pub is_done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    Created,
    /// CloudTrail corrects the creation, which is event 0.
    Corrected,
    Activated,
    Deactivated,
    Reset,
    Deleted,
}

/// IAM: the key as it stands, and the former status that it may still answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Iam {
    pub status: Option<KeyStatus>,
    pub former: Option<KeyStatus>,
    /// Up to this second, exclusive.
    pub stale_until: i64,
    pub name: u8,
}

impl Iam {
    pub fn answers(self, now: i64) -> Vec<Option<KeyStatus>> {
        let mut answers = vec![self.status];
        if now < self.stale_until && self.former != self.status {
            answers.push(self.former);
        }
        answers
    }

    pub fn set(&mut self, status: Option<KeyStatus>, now: i64) {
        self.former = self.status;
        self.stale_until = now + LAG;
        self.status = status;
    }
}

/// What a worker deals with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    Event(usize),
    Resume,
    Sweep,
}

/// A worker at work.
#[derive(Debug, Clone, Hash)]
pub struct Worker {
    pub task: Task,
    pub id: WorkerId,
    pub ceiling: Ceiling,
    pub stage: WorkerStage,
}

#[derive(Debug, Clone, Hash)]
pub enum WorkerStage {
    /// The session waits for this effect's reply.
    Effect(Box<Session>, Effect),
    /// A sweep or a resume is about to publish a finding.
    Publish(Shared<StoredState>),
    /// It has published it, and is about to mark it as reported.
    Mark(Shared<StoredState>),
}

/// One state of the model.
#[derive(Debug, Clone, Hash)]
pub struct World {
    /// In seconds from the start.
    pub now: i64,
    pub iam: Iam,
    pub store: Shared<StoredState>,
    pub ceiling: Ceiling,
    pub events: Vec<Event>,
    pub workers: Vec<Shared<Worker>>,
    pub moves: u8,
    pub ceiling_changes: u8,
    pub faults: u8,
    pub refusals: u8,
    pub resumes: u8,
    pub sweeps: u8,
    pub ghosts: Shared<Ghosts>,
}

/// What only the invariants know.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Ghosts {
    /// Intents that were stored at some time.
    pub intents: Vec<IntentId>,
    /// Findings that people were told of.
    pub told: Vec<Finding>,
    /// The first end of the quarantine.
    pub delete_after: Option<Time>,
    /// What the adversary did, and when.
    pub history: Vec<(i64, Move)>,
    /// Events that have a line in the key's history: one bit each.
    pub heard: u64,
    /// A defect that a step has met, by name.
    pub defect: Option<&'static str>,
}

impl Ghosts {
    pub const fn is_in_history(&self, event: usize) -> bool {
        self.heard & (1 << event) != 0
    }
}

pub fn key() -> KeyRef {
    KeyRef { account: "111122223333".parse().unwrap(), id: "ACCAEXAMPLEKEY0000001".parse().unwrap() }
}

/// A key of the same user that nobody has asked about.
pub fn bystander() -> KeyRef {
    KeyRef { id: "ACCAEXAMPLEKEY0000002".parse().unwrap(), ..key() }
}

pub fn start() -> Time {
    "2026-11-20T09:00:00Z".parse().unwrap()
}

/// Which event has this id.
pub fn event_index(id: &str) -> usize {
    id.strip_prefix("event-").unwrap().parse().unwrap()
}

/// The time of a second from the start.
pub fn time(second: i64) -> Time {
    start() + TimeDelta::seconds(second)
}

impl Configuration {
    pub fn service(&self) -> Service {
        match self.kind {
            Kind::NeverExpires
            | Kind::Compliant
            | Kind::CompliantByList
            | Kind::NoncompliantByList
            | Kind::Contradictory
            | Kind::CorrectedToNeverExpires
            | Kind::CorrectedToCompliant => Service::Bedrock,
        }
    }

    /// What IAM's list says of the expiration.
    fn listed_expiration(&self) -> Option<Time> {
        match self.kind {
            Kind::NeverExpires
            | Kind::NoncompliantByList
            | Kind::Contradictory
            | Kind::CorrectedToNeverExpires => None,
            Kind::Compliant | Kind::CompliantByList | Kind::CorrectedToCompliant => {
                Some(start() + TimeDelta::days(30))
            }
        }
    }

    fn event_evidence(&self, is_correction: bool) -> EventEvidence {
        let response = match self.kind {
            Kind::NeverExpires | Kind::CompliantByList => Reading::Missing,
            Kind::CorrectedToNeverExpires if is_correction => Reading::Missing,
            Kind::CorrectedToCompliant if !is_correction => Reading::Missing,
            Kind::Compliant | Kind::CorrectedToNeverExpires | Kind::CorrectedToCompliant => {
                Reading::Read(start() + TimeDelta::days(30))
            }
            Kind::NoncompliantByList => Reading::Unreadable(key_guard_core::evidence::Found::Text(5)),
            Kind::Contradictory => Reading::Read(start() + TimeDelta::days(365)),
        };
        EventEvidence {
            created_at: Reading::Read(start()),
            event_time: start(),
            response,
            request: Reading::Missing,
            request_present: true,
        }
    }

    pub fn event(&self, index: usize, event: Event) -> KeyEvent {
        let user: UserName = NAMES[usize::from(event.name)].parse().unwrap();
        let target = KeyTarget { id: key().id, user: Some(user.clone()), service: None };
        let is_correction = event.kind == EventKind::Corrected;
        let kind = match event.kind {
            EventKind::Created | EventKind::Corrected => KeyEventKind::Created(CreatedKey {
                key: key(),
                user,
                service: self.service(),
                evidence: self.event_evidence(is_correction),
            }),
            EventKind::Activated => KeyEventKind::Activated(target),
            EventKind::Deactivated => KeyEventKind::Deactivated(target),
            EventKind::Reset => KeyEventKind::Reset(target),
            EventKind::Deleted => KeyEventKind::Deleted(target),
        };
        let provenance = Provenance {
            account: key().account,
            event_id: format!("event-{index}").parse().unwrap(),
            event_time: time(event.at),
            actor: Actor::default(),
            source_ip: None,
            user_agent: None,
            corrects: is_correction.then(|| Correction {
                event_id: Some("event-0".parse().unwrap()),
                reason: None,
                updated_fields: None,
            }),
            unreadable: Vec::new(),
        };
        KeyEvent { provenance, kind }
    }

    pub fn listed(&self, status: KeyStatus, name: u8) -> ListedKey {
        ListedKey {
            key: key(),
            user: NAMES[usize::from(name)].parse().unwrap(),
            service: self.service(),
            created_at: start(),
            expires_at: self.listed_expiration(),
            status,
        }
    }

    pub fn env<'a>(&'a self, worker: &'a WorkerId, ceiling: Ceiling, now: i64) -> Env<'a> {
        let now = time(now);
        Env { policy: &self.policy, ceiling, now, deadline: now + TimeDelta::minutes(15), worker }
    }
}

impl World {
    /// The key was created a moment ago, and its event is on its way.
    pub fn new(configuration: &Configuration) -> Self {
        let mut world = Self {
            now: 0,
            iam: Iam { status: Some(KeyStatus::Active), former: None, stale_until: LAG, name: 0 },
            store: Shared::new(StoredState::ABSENT),
            ceiling: configuration.ceiling,
            events: Vec::new(),
            workers: Vec::new(),
            moves: configuration.moves,
            ceiling_changes: configuration.ceiling_changes,
            faults: configuration.faults,
            refusals: configuration.refusals,
            resumes: configuration.resumes,
            sweeps: configuration.sweeps,
            ghosts: Shared::new(Ghosts::default()),
        };
        world.add_event(EventKind::Created);
        if configuration.kind.is_corrected() {
            world.add_event(EventKind::Corrected);
        }
        world
    }

    pub fn note(&mut self, change: impl FnOnce(&mut Ghosts)) {
        let mut ghosts = Ghosts::clone(&self.ghosts);
        change(&mut ghosts);
        self.ghosts = Shared::new(ghosts);
    }

    pub fn add_event(&mut self, kind: EventKind) {
        let (at, name) = (self.now, self.iam.name);
        self.events.push(Event { kind, at, name, deliveries: 0, is_running: false, is_done: false });
    }

    /// Lets time pass. After a while IAM's answers are current.
    pub fn pass(&mut self, seconds: i64) {
        self.now += seconds;
        if self.now >= self.iam.stale_until {
            self.iam.former = None;
            self.iam.stale_until = 0;
        }
    }

    pub fn record(&self) -> Option<&Record> {
        self.store.state.record()
    }
}
