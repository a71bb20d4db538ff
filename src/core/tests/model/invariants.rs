//! What must hold: safety in every state, liveness from every state.

use key_guard_core::key::KeyStatus;
use key_guard_core::lifecycle::effect::ConfirmedAction;
use key_guard_core::lifecycle::input::{Action, Ceiling};
use key_guard_core::lifecycle::state::{KeyState, Phase, Record};
use key_guard_core::policy::{Response, Scope, Verdict};

use super::world::{Configuration, Kind, Worker, World, key, time};

/// A broken invariant, by name.
pub type Violation = &'static str;

impl World {
    /// Before an action: I1, I4, I5, I7, I9, R12.
    pub fn check_action(&mut self, c: &Configuration, worker: &Worker, action: &ConfirmedAction) {
        let allowed = worker.ceiling.action();
        let defect = if *action.key() != key() {
            Some("I7: another key is changed")
        } else if !self.ghosts.intents.contains(action.intent()) {
            Some("I1: a key is changed before its intent is stored")
        } else if allowed.is_none_or(|allowed| action.action() > allowed) {
            Some("I9: an action goes further than the ceiling")
        } else if !c.kind.may_be_changed() && !self.is_contradiction_unknown(c) {
            Some("I4: a key that is not noncompliant is changed")
        } else if action.action() == Action::Delete && !c.may_delete(self) {
            Some("R12: a quarantined key is deleted too early")
        } else {
            None
        };
        if self.ghosts.defect.is_none() && defect.is_some() {
            self.note(|ghosts| ghosts.defect = defect);
        }
    }
}

impl World {
    /// Without the creation event, IAM's list says that the key never expires: nothing contradicts it yet.
    fn is_contradiction_unknown(&self, c: &Configuration) -> bool {
        c.kind == Kind::Contradictory && self.record().is_none_or(|record| record.evidence.event.is_none())
    }
}

impl Kind {
    const fn may_be_changed(self) -> bool {
        match self {
            Self::NeverExpires | Self::NoncompliantByList | Self::CorrectedToNeverExpires => true,
            Self::Compliant | Self::CompliantByList | Self::Contradictory | Self::CorrectedToCompliant => {
                false
            }
        }
    }
}

impl Configuration {
    fn response(&self) -> Response {
        self.policy.default_rule().1
    }

    fn may_delete(&self, world: &World) -> bool {
        match self.response() {
            Response::Delete => true,
            Response::Quarantine => world.ghosts.delete_after.is_some_and(|after| time(world.now) >= after),
            Response::None | Response::Monitor | Response::Deactivate => false,
        }
    }
}

/// Safety: what must hold in every state.
pub fn safety(world: &World) -> Vec<Violation> {
    let mut violations = Vec::new();
    violations.extend(world.ghosts.defect);
    let is_gone = match &world.store.state {
        KeyState::Tombstone(_) => true,
        KeyState::Tracked(record) => matches!(record.phase, Phase::Gone(_)),
        KeyState::Unknown | KeyState::Unconfirmed(_) => false,
    };
    if is_gone && world.iam.status.is_some() {
        violations.push("I5: a key that exists is said to be gone");
    }
    if world.record().is_some_and(|record| !is_consistent(record)) {
        violations.push("I4: an intent is stored for a key that is not noncompliant");
    }
    violations
}

/// The end of a fair run: no moves and no faults any more; retries, resumes and sweeps go on, IAM's answers are current.
pub fn fair_run(c: &Configuration, world: &World) -> (World, bool) {
    // Each step is longer than every lease and every late answer.
    const STEP: i64 = 121;
    let mut world = world.clone();
    world.refusals = 0;
    let mut ended = true;
    for round in 0..4 {
        world.pass(STEP);
        for index in 0..world.events.len() {
            if !world.events[index].is_done && !c.loses_events {
                world.deliver(c, index);
                ended &= world.run_alone(c);
            }
        }
        world.start_resume(c);
        ended &= world.run_alone(c);
        world.pass(STEP);
        world.start_sweep(c, world.iam.status);
        ended &= world.run_alone(c);
        if round == 1 {
            // Longer than a quarantine.
            world.pass(3 * 86_400);
        }
    }
    (world, ended)
}

/// Liveness: what must hold at the end of a fair run.
pub fn liveness(c: &Configuration, start: &World) -> Vec<Violation> {
    let (world, ended) = fair_run(c, start);
    let mut violations = safety(&world);
    if !ended {
        violations.push("a worker does not come to its end");
    }
    let record = world.record();
    let is_active = world.iam.status == Some(KeyStatus::Active);
    let responds = c.response() > Response::Monitor && world.ceiling > Ceiling::Monitor;
    // What an event could not do under a lower ceiling is left to sweeps, as far as theirs allows.
    let is_anybody_left = c.sweep_ceiling > Ceiling::Monitor || c.ceiling_changes == 0;
    if c.kind.may_be_changed() && responds && is_active && is_anybody_left {
        violations.push("I10: a noncompliant key stays active");
    }
    if !c.kind.may_be_changed()
        && c.kind != Kind::Contradictory
        && is_active != (start.iam.status == Some(KeyStatus::Active))
    {
        violations.push("I4: a key that is not noncompliant was changed");
    }
    if let Some(record) = record {
        if matches!(record.phase, Phase::Pending(_)) && world.ceiling > Ceiling::Monitor {
            violations.push("R8: an intent stays pending");
        }
        if world.iam.status.is_none() && !matches!(record.phase, Phase::Gone(_)) {
            violations.push("the ledger never learns that the key is gone");
        }
        if record.unreported || record.finding().is_some_and(|finding| !world.ghosts.told.contains(&finding))
        {
            violations.push("I11: a finding is never reported");
        }
        let is_quarantined = c.response() == Response::Quarantine && world.ghosts.delete_after.is_some();
        if is_quarantined && world.ceiling == Ceiling::Delete && world.iam.status.is_some() {
            violations.push("R12: a quarantined key is never deleted");
        }
    } else if world.iam.status.is_some() {
        violations.push("I2: the key has no record");
    }
    if !c.loses_events && !(0..world.events.len()).all(|index| world.ghosts.is_in_history(index)) {
        violations.push("I3: an event is missing in the history");
    }
    violations
}

/// Usable or not at the end of a fair run: the same for the same history, whatever happened on the way (I3).
pub fn usable_in_the_end(c: &Configuration, start: &World) -> bool {
    fair_run(c, start).0.iam.status == Some(KeyStatus::Active)
}

fn is_consistent(record: &Record) -> bool {
    let verdict = match &record.assessment {
        Scope::InScope(assessment) => assessment.verdict(),
        Scope::OutOfScope => return false,
    };
    match &record.phase {
        Phase::Pending(_) => verdict == Verdict::Noncompliant,
        Phase::Settled | Phase::Deactivated(_) | Phase::Inactive(_) | Phase::Gone(_) => true,
    }
}
