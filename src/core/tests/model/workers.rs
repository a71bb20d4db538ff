//! Workers: each drives one session, performs its effects, and may die.

use key_guard_core::key::KeyStatus;
use key_guard_core::lifecycle::effect::{
    ActResult, CallError, Cause, Effect, FindScope, LogEntry, Reply, Retry,
};
use key_guard_core::lifecycle::input::{Action, Ceiling, Env, Input, ListedKey, WorkerId};
use key_guard_core::lifecycle::result::{Next, SessionError};
use key_guard_core::lifecycle::session::Session;
use key_guard_core::lifecycle::state::{KeyState, Phase, Record, StoredState, Version};
use key_guard_core::lifecycle::summary::Publication;

use super::hash::{Shared, fingerprint};
use super::moves::Successors;
use super::names::{name_effect, name_reply};
use super::world::{
    Configuration, EventKind, NAMES, Task, Worker, WorkerStage, World, bystander, event_index, key, time,
};

impl World {
    pub fn deliver(&mut self, c: &Configuration, index: usize) {
        self.events[index].is_running = true;
        self.events[index].deliveries = self.events[index].deliveries.saturating_add(1);
        let id = WorkerId(format!("event {index}.{}", self.events[index].deliveries));
        let session = Session::new(key(), Input::Event(Box::new(c.event(index, self.events[index]))));
        self.begin(c, Task::Event(index), id, self.ceiling, session);
    }

    pub fn start_resume(&mut self, c: &Configuration) {
        let id = WorkerId(format!("resume {}.{}", self.resumes, self.now));
        let session = Session::with_state(key(), Input::Resume, StoredState::clone(&self.store));
        self.begin(c, Task::Resume, id, self.ceiling, session);
    }

    pub fn start_sweep(&mut self, c: &Configuration, answer: Option<KeyStatus>) {
        let id = WorkerId(format!("sweep {}.{}", self.sweeps, self.now));
        let asked_at = time(self.now);
        let input = match answer {
            Some(status) => Input::Listed { listed: Box::new(c.listed(status, self.iam.name)), asked_at },
            None => Input::NotListed { first_asked_at: asked_at, last_asked_at: asked_at },
        };
        self.begin(c, Task::Sweep, id, c.sweep_ceiling.min(self.ceiling), Session::new(key(), input));
    }

    fn begin(&mut self, c: &Configuration, task: Task, id: WorkerId, ceiling: Ceiling, mut session: Session) {
        let next = session.advance(Reply::Start, &c.env(&id, ceiling, self.now));
        self.put_back(c, task, id, ceiling, session, next);
    }

    /// Puts a worker back to work after its session has said what comes next.
    fn put_back(
        &mut self,
        c: &Configuration,
        task: Task,
        id: WorkerId,
        ceiling: Ceiling,
        mut session: Session,
        next: Next,
    ) {
        let env = c.env(&id, ceiling, self.now);
        let next = self.perform_unnoticed(&env, &mut session, next);
        match next {
            Next::Perform(effect) => {
                let stage = WorkerStage::Effect(Box::new(session), effect);
                self.push_worker(Worker { task, id, ceiling, stage });
            }
            Next::Wait(_) => unreachable!("a wait is over by now"),
            Next::Finished(result) => match (result, task) {
                (Ok(result), Task::Event(index)) => {
                    if !self.ghosts.is_in_history(index) {
                        self.note(|ghosts| ghosts.defect = Some("I2: an event ends without a ledger entry"));
                    }
                    // The report of a deactivation by somebody else is no finding.
                    if self.events[index].kind != EventKind::Deactivated {
                        self.tell(&result.stored);
                    }
                    self.events[index].is_running = false;
                    self.events[index].is_done = true;
                }
                (Err(_), Task::Event(index)) => self.events[index].is_running = false,
                (Ok(result), Task::Resume | Task::Sweep) => {
                    let is_due = Publication::due(&result.stored, time(self.now)).is_some();
                    if is_due && c.faults == 0 {
                        // Nobody dies in between, so that publishing and marking are one.
                        self.tell(&result.stored);
                        self.mark_as_reported(&result.stored);
                    } else if is_due {
                        let stage = WorkerStage::Publish(Shared::new(result.stored));
                        self.push_worker(Worker { task, id, ceiling, stage });
                    }
                }
                (Err(error), _) => {
                    if matches!(error, SessionError::UnexpectedReply { .. }) {
                        self.note(|ghosts| {
                            ghosts.defect = Some("a session was given a reply that it did not ask for");
                        });
                    }
                }
            },
        }
    }

    /// Performs what nobody else can notice, which is no step of its own: a load (the write after it meets a conflict), a
    /// line of history, and a wait (it is over at once; the session gives up in the end).
    fn perform_unnoticed(&mut self, env: &Env<'_>, session: &mut Session, mut next: Next) -> Next {
        loop {
            let reply = match &next {
                Next::Wait(_) => Reply::Waited,
                Next::Perform(Effect::Load(_)) => Reply::Loaded(StoredState::clone(&self.store)),
                Next::Perform(Effect::Append(entry)) => {
                    self.note_line(entry);
                    Reply::Appended
                }
                Next::Perform(Effect::Commit(_) | Effect::Find { .. } | Effect::Act(_))
                | Next::Finished(_) => return next,
            };
            next = session.advance(reply, env);
        }
    }

    fn push_worker(&mut self, worker: Worker) {
        self.workers.push(Shared::new(worker));
        self.workers.sort_by(|a, b| a.id.cmp(&b.id));
    }

    fn tell(&mut self, stored: &StoredState) {
        let finding = stored.state.record().and_then(Record::finding);
        if let Some(finding) = finding
            && !self.ghosts.told.contains(&finding)
        {
            self.note(|ghosts| {
                ghosts.told.push(finding);
                ghosts.told.sort_by_key(|finding| format!("{finding:?}"));
            });
        }
    }

    /// The steps of one worker: its effect's replies, and its death before or after.
    pub fn steps_of(&self, c: &Configuration, index: usize, next: &mut Successors) {
        let worker = &self.workers[index];
        let who = &worker.id.0;
        if self.faults > 0 && changes_something(&worker.stage) {
            let mut world = self.clone();
            world.faults -= 1;
            world.dies(index);
            next.add(world, || format!("{who} dies"));
        }
        match &worker.stage {
            WorkerStage::Effect(_, effect) => {
                for (mut world, reply) in self.perform(c, worker, effect) {
                    let what = || format!("{} → {}", name_effect(effect), name_reply(&reply));
                    if self.faults > 0 && effect_writes(effect) {
                        let mut dead = world.clone();
                        dead.faults -= 1;
                        dead.dies(index);
                        next.add(dead, || format!("{who}: {}, and dies", what()));
                        let mut lost = world.clone();
                        lost.faults -= 1;
                        lost.reply(c, index, lost_reply());
                        next.add(lost, || format!("{who}: {}, reply lost", what()));
                    }
                    let name = if next.is_named { what() } else { String::new() };
                    world.reply(c, index, reply);
                    next.add(world, || format!("{who}: {name}"));
                }
            }
            WorkerStage::Publish(stored) => {
                let mut world = self.clone();
                world.tell(stored);
                let stage = WorkerStage::Mark(stored.clone());
                world.workers[index] = Shared::new(Worker { stage, ..Worker::clone(worker) });
                next.add(world, || format!("{who}: publish"));
            }
            WorkerStage::Mark(stored) => {
                let mut world = self.clone();
                world.workers.remove(index);
                world.mark_as_reported(stored);
                next.add(world, || format!("{who}: mark as reported"));
            }
        }
    }

    fn dies(&mut self, index: usize) {
        let worker = self.workers.remove(index);
        if let Task::Event(event) = worker.task {
            self.events[event].is_running = false;
        }
    }

    /// What may come of an effect.
    fn perform(&self, c: &Configuration, worker: &Worker, effect: &Effect) -> Vec<(Self, Reply)> {
        let same = |reply| (self.clone(), reply);
        match effect {
            Effect::Load(_) | Effect::Append(_) => unreachable!("no step of its own"),
            Effect::Commit(commit) if commit.expected != self.store.version => {
                vec![same(Reply::Conflict(StoredState::clone(&self.store)))]
            }
            Effect::Commit(commit) => {
                let mut results = Vec::new();
                if commit.counts.is_some() && self.refusals > 0 {
                    let mut world = self.clone();
                    world.refusals -= 1;
                    results.push((world, Reply::RateLimited));
                }
                let mut world = self.clone();
                world.put(commit.next.clone());
                world.note_commit();
                world.note_line(&commit.log);
                let version = world.store.version;
                results.push((world, Reply::Committed(version)));
                results
            }
            Effect::Find { scope, .. } => {
                let confused = c.confuses_keys.then(|| {
                    let listed = c.listed(KeyStatus::Active, self.iam.name);
                    same(Reply::Found(Some(ListedKey { key: bystander(), ..listed })))
                });
                let answers = self.iam.answers(self.now).into_iter().map(|answer| {
                    let is_theirs = match scope {
                        FindScope::User(user) => user.as_str() == NAMES[usize::from(self.iam.name)],
                        FindScope::Account => true,
                    };
                    let found = answer.filter(|_| is_theirs).map(|status| c.listed(status, self.iam.name));
                    same(Reply::Found(found))
                });
                confused.into_iter().chain(answers).collect()
            }
            Effect::Act(action) => {
                let mut world = self.clone();
                let is_theirs = action.user().as_str() == NAMES[usize::from(self.iam.name)];
                if self.iam.status.is_none() || !is_theirs {
                    return vec![same(Reply::Acted(ActResult::NotThere))];
                }
                world.check_action(c, worker, action);
                let now = self.now;
                match action.action() {
                    Action::Deactivate if self.iam.status == Some(KeyStatus::Inactive) => {}
                    Action::Deactivate => world.iam.set(Some(KeyStatus::Inactive), now),
                    Action::Delete => {
                        world.iam.set(None, now);
                        if c.own_events {
                            world.add_event(EventKind::Deleted);
                        }
                    }
                }
                vec![(world, Reply::Acted(ActResult::Done))]
            }
        }
    }

    pub fn put(&mut self, state: KeyState) {
        // The version depends on the state alone, so that equal states are one state of the model.
        let version = Version(fingerprint(&state).max(1));
        self.store = Shared::new(StoredState { version, state });
    }

    fn mark_as_reported(&mut self, told: &StoredState) {
        let mut state = self.store.state.clone();
        if let KeyState::Tracked(record) = &mut state
            && self.store.version == told.version
        {
            record.unreported = false;
            self.put(state);
        }
    }

    /// Notes whose event a line of history is about.
    fn note_line(&mut self, entry: &LogEntry) {
        let Cause::Event { provenance, .. } = &entry.cause else { return };
        let index = event_index(provenance.event_id.as_str());
        if !self.ghosts.is_in_history(index) {
            self.note(|ghosts| ghosts.heard |= 1 << index);
        }
    }

    pub fn note_commit(&mut self) {
        let Some(record) = self.store.state.record() else { return };
        let pending = match &record.phase {
            Phase::Pending(intent) => Some(intent.id.clone()),
            Phase::Settled | Phase::Deactivated(_) | Phase::Inactive(_) | Phase::Gone(_) => None,
        };
        let delete_after = record.delete_after;
        if let Some(id) = pending
            && !self.ghosts.intents.contains(&id)
        {
            self.note(|ghosts| {
                ghosts.intents.push(id);
                ghosts.intents.sort_by(|a, b| a.opened_by.cmp(&b.opened_by));
            });
        }
        match (self.ghosts.delete_after, delete_after) {
            (None, Some(after)) => self.note(|ghosts| ghosts.delete_after = Some(after)),
            (Some(first), Some(after)) if first != after => {
                self.note(|ghosts| ghosts.defect = Some("R12: the end of the quarantine moved"));
            }
            (None | Some(_), _) => {}
        }
    }

    fn reply(&mut self, c: &Configuration, index: usize, reply: Reply) {
        let Worker { task, id, ceiling, stage } = Worker::clone(&self.workers.remove(index));
        let WorkerStage::Effect(mut session, _) = stage else { return };
        let next = session.advance(reply, &c.env(&id, ceiling, self.now));
        self.put_back(c, task, id, ceiling, *session, next);
    }

    /// Runs the only worker to its end, without faults, with IAM's present answers.
    pub fn run_alone(&mut self, c: &Configuration) -> bool {
        for _ in 0..60 {
            let Some(worker) = self.workers.first().cloned() else { return true };
            match worker.stage {
                WorkerStage::Effect(_, ref effect) => {
                    let (world, reply) = self.perform(c, &worker, effect).into_iter().next_back().unwrap();
                    *self = world;
                    self.reply(c, 0, reply);
                }
                WorkerStage::Publish(_) | WorkerStage::Mark(_) => {
                    let mut next = Successors::default();
                    self.steps_of(c, 0, &mut next);
                    *self = next.list.pop().unwrap().1;
                }
            }
        }
        false
    }
}

fn changes_something(stage: &WorkerStage) -> bool {
    match stage {
        WorkerStage::Effect(_, effect) => effect_writes(effect),
        WorkerStage::Publish(_) | WorkerStage::Mark(_) => true,
    }
}

fn effect_writes(effect: &Effect) -> bool {
    match effect {
        Effect::Commit(_) | Effect::Act(_) => true,
        Effect::Load(_) | Effect::Append(_) | Effect::Find { .. } => false,
    }
}

fn lost_reply() -> Reply {
    Reply::Failed(CallError {
        call: "the call",
        retry: Retry::Transient,
        source: "the connection broke".into(),
    })
}
