//! Every move that is possible in a state.

use key_guard_core::key::KeyStatus;
use key_guard_core::lifecycle::effect::Effect;
use key_guard_core::lifecycle::input::Ceiling;
use key_guard_core::lifecycle::state::{Phase, Record};

use super::hash::Shared;
use super::world::{Configuration, EventKind, Move, Worker, WorkerStage, World};

/// The states that one state leads to. Their names take longer than they do, so they are made on demand.
#[derive(Default)]
pub struct Successors {
    pub is_named: bool,
    pub list: Vec<(String, World)>,
}

impl Successors {
    pub fn add(&mut self, world: World, name: impl FnOnce() -> String) {
        self.list.push((if self.is_named { name() } else { String::new() }, world));
    }
}

impl World {
    /// Every state that one move leads to.
    pub fn successors(&self, c: &Configuration, is_named: bool) -> Vec<(String, Self)> {
        let mut next = Successors { is_named, list: Vec::new() };
        // A call to change a key ends, or is given up, within the margin that its worker leaves before its lease ends.
        let is_acting =
            |worker: &Shared<Worker>| matches!(worker.stage, WorkerStage::Effect(_, Effect::Act(_)));
        if self.now < c.ticks * c.tick && !self.workers.iter().any(is_acting) {
            let mut world = self.clone();
            world.pass(c.tick);
            let now = world.now;
            next.add(world, || format!("{now} s"));
        }
        self.owner_moves(c, &mut next);
        self.ceiling_moves(&mut next);
        self.starts(c, &mut next);
        for index in 0..self.workers.len() {
            self.steps_of(c, index, &mut next);
        }
        next.list
    }

    fn owner_moves(&self, c: &Configuration, next: &mut Successors) {
        let Some(status) = self.iam.status else { return };
        if self.moves == 0 {
            return;
        }
        for &kind in c.adversary {
            let mut world = self.clone();
            world.moves -= 1;
            if c.compares_histories {
                world.note(|ghosts| ghosts.history.push((self.now, kind)));
            }
            let now = self.now;
            match (kind, status) {
                (Move::Activate, KeyStatus::Inactive) => {
                    world.iam.set(Some(KeyStatus::Active), now);
                    world.add_event(EventKind::Activated);
                }
                (Move::Deactivate, KeyStatus::Active) => {
                    world.iam.set(Some(KeyStatus::Inactive), now);
                    world.add_event(EventKind::Deactivated);
                }
                (Move::Reset, _) => world.add_event(EventKind::Reset),
                (Move::Delete, _) => {
                    world.iam.set(None, now);
                    world.add_event(EventKind::Deleted);
                }
                (Move::Rename, _) => world.iam.name = 1 - world.iam.name,
                (Move::Activate | Move::Deactivate, _) => continue,
            }
            next.add(world, || format!("owner: {kind:?}"));
        }
    }

    fn ceiling_moves(&self, next: &mut Successors) {
        if self.ceiling_changes == 0 {
            return;
        }
        for ceiling in [Ceiling::Monitor, Ceiling::Deactivate, Ceiling::Delete] {
            if ceiling != self.ceiling {
                let mut world = self.clone();
                world.ceiling_changes -= 1;
                world.ceiling = ceiling;
                next.add(world, || format!("operator: ceiling {ceiling:?}"));
            }
        }
    }

    fn starts(&self, c: &Configuration, next: &mut Successors) {
        if self.workers.len() >= c.workers {
            return;
        }
        for (index, event) in self.events.iter().enumerate() {
            if !event.is_running && event.deliveries < c.deliveries && !c.loses_events {
                let mut world = self.clone();
                world.deliver(c, index);
                next.add(world, || format!("deliver {index} {:?}", event.kind));
            }
        }
        if self.resumes > 0 && self.record().is_some_and(is_resumable) {
            let mut world = self.clone();
            world.resumes -= 1;
            world.start_resume(c);
            next.add(world, || "resume starts".to_owned());
        }
        if self.sweeps > 0 {
            for answer in self.iam.answers(self.now) {
                let mut world = self.clone();
                world.sweeps -= 1;
                world.start_sweep(c, answer);
                next.add(world, || format!("sweep lists {answer:?}"));
            }
        }
    }
}

/// A resume's query finds open intents, and keys in quarantine.
fn is_resumable(record: &Record) -> bool {
    matches!(record.phase, Phase::Pending(_)) || record.delete_after.is_some()
}
