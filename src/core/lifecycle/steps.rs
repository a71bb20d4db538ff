//! What each cell of the table does. [`decide`] finds the cell.

use crate::Time;
use crate::evidence::ExpirationEvidence;
use crate::key::{KeyFacts, KeyStatus};
use crate::policy::{Scope, Verdict};

use super::CONSISTENCY_WINDOW;
use super::assess::{self, assess, is_due, judge_again};
use super::effect::{Change, HeardEvent};
use super::input::{Action, Ceiling, Env, Input, KeyEventKind, ListedKey, Sighting, Trigger, TriggerKind};
use super::state::{
    Contradiction, GoneEvidence, InactiveCause, KeyState, LastSeen, Observation, Phase, Record, UnknownFields,
};
use super::transition::{Column, Decision, Reason, Row, Step, Then, step};

/// Decides what a session does next. `sighting` is IAM's answer, once [`Decision::Inspect`] has asked for it.
#[must_use]
pub fn decide(state: &KeyState, input: &Input, sighting: Option<&Sighting>, env: &Env<'_>) -> Decision {
    let case = Case { state, input, sighting, env };
    let decision = match step(Row::of(state, env.now, env.worker), Column::of(input)) {
        Step::Leave => Some(Decision::Leave(case.reason_to_leave())),
        Step::Log => case.log(),
        Step::NoteDeactivation => case.note_deactivation(),
        Step::Wait => Some(Decision::Wait),
        Step::Assess => case.assess(),
        Step::InspectThenAssess => match sighting {
            None => Some(Decision::Inspect),
            Some(Sighting { found: Some(_), .. }) => case.assess(),
            Some(Sighting { found: None, asked_at }) => Some(case.absent(*asked_at)),
        },
        Step::InspectThenBury => match sighting {
            None => Some(Decision::Inspect),
            Some(Sighting { found: Some(_), .. }) => case.assess(),
            Some(Sighting { found: None, .. }) => case.bury(),
        },
        Step::InspectIfNewer => case.inspect_if_newer(),
        Step::ConfirmDeletion => match sighting {
            None => Some(Decision::Inspect),
            Some(Sighting { found: None, asked_at }) => case.deleted(*asked_at),
            Some(Sighting { found: Some(listed), asked_at }) => Some(case.still_listed(listed, *asked_at)),
        },
        Step::AssessIfNewer | Step::NoteInactiveIfNewer if case.is_older_list() => {
            Some(Decision::Leave(Reason::OlderList))
        }
        Step::AssessIfNewer => case.assess(),
        Step::NoteInactiveIfNewer | Step::NoteInactive => case.note_inactive(),
        Step::NoteAbsence => case.note_absence(),
        Step::AssessOrDelete if case.is_trigger() => case.assess(),
        Step::AssessOrDelete | Step::DeleteIfDue => case.delete_if_due(),
        Step::Resume => case.resume(false),
        Step::ResumeFirst => case.resume(true),
        Step::AddFacts => case.add_facts(),
        Step::AddDeleter => case.add_deleter(),
    };
    decision.unwrap_or(Decision::Leave(Reason::AlreadyKnown))
}

/// One decision: a state, what happens, and the circumstances. A step returns `None` where it has nothing to do.
#[derive(Clone, Copy)]
struct Case<'a> {
    state: &'a KeyState,
    input: &'a Input,
    sighting: Option<&'a Sighting>,
    env: &'a Env<'a>,
}

impl Case<'_> {
    fn reason_to_leave(self) -> Reason {
        match self.state.record().and_then(|record| record.phase.intent()) {
            Some(_) => Reason::LeftToLeaseHolder,
            None => Reason::AlreadyKnown,
        }
    }

    /// Writes a line of history for an event from which nothing follows.
    fn log(self) -> Option<Decision> {
        self.input.event().map(|event| Decision::Append(HeardEvent::of(event)))
    }

    /// An event says that the key was deactivated. No response follows.
    fn note_deactivation(self) -> Option<Decision> {
        Some(self.commit(self.learned()?, Change::Heard(HeardEvent::Deactivated), Then::Finish))
    }

    fn assess(self) -> Option<Decision> {
        let (trigger, mut record) = (self.trigger()?, self.learned()?);
        if let Some(Sighting { found: None, asked_at }) = self.sighting {
            return Some(self.absent(*asked_at));
        }
        let then = if self.is_trigger() {
            assess(&mut record, trigger, self.env)
        } else {
            let before = record.verdict();
            // Only its evidence is new, or a name. The time of the latest handled trigger stays the one to judge by: a late
            // event of a day on which the key was exempt does not make it exempt again.
            let at = record.handled_through.map_or(trigger.at, |handled| handled.max(trigger.at));
            let wanted_without = self.state.record().and_then(|known| {
                let mut known = known.clone();
                judge_again(&mut known, at, self.env);
                assess::wanted_action(&known, self.env.now)
            });
            let after = judge_again(&mut record, at, self.env);
            let is_stricter =
                before != after || assess::wanted_action(&record, self.env.now) > wanted_without;
            if after == Some(Verdict::Noncompliant) && is_stricter {
                assess(&mut record, Trigger { at, ..trigger }, self.env)
            } else {
                Then::Finish
            }
        };
        Some(self.commit(record, Change::Assessed, then))
    }

    /// IAM does not list a key that an event is about (R3).
    fn absent(self, asked_at: Time) -> Decision {
        match confirm_absence(self.state.observation(), asked_at) {
            Ok(gone) => self.end(gone),
            Err(observation) => self.observe(self.learned(), observation),
        }
    }

    /// A complete sweep did not list the key (R3).
    fn note_absence(self) -> Option<Decision> {
        let Input::NotListed { first_asked_at, last_asked_at } = self.input else { return None };
        let record = self.state.record()?;
        // A list from before its creation cannot have the key.
        if *first_asked_at < record.facts.created_at {
            return Some(Decision::Leave(Reason::OlderList));
        }
        // Any page could have had the key. Between two observations lies the time that surely lies between them.
        let is_second = record.observation.is_some_and(|earlier| earlier.seen == Contradiction::Absent);
        let asked_at = if is_second { *first_asked_at } else { *last_asked_at };
        let (next, change, _) = absence(record.clone(), asked_at);
        Some(self.commit(next, change, Then::Finish))
    }

    /// A deletion event and an absence agree.
    fn deleted(self, asked_at: Time) -> Option<Decision> {
        let event = Box::new(self.input.event()?.provenance.clone());
        Some(self.end(GoneEvidence::DeletedBy { event, at: asked_at }))
    }

    /// A deletion event, and IAM lists the key (R3).
    fn still_listed(self, listed: &ListedKey, asked_at: Time) -> Decision {
        let known = self.state.record().cloned();
        // What IAM said before the deletion contradicts another one.
        let deleted_at = self.input.event().map(|event| event.provenance.event_time);
        let earlier = self.state.observation().filter(|earlier| Some(earlier.asked_at) >= deleted_at);
        match (earlier, known) {
            (Some(earlier), known) if earlier.is_confirmed_by(Contradiction::StillListed, asked_at) => {
                if let Some(mut record) = known {
                    record.observation = None;
                    return self.commit(record, Change::Heard(HeardEvent::Deleted), Then::Finish);
                }
                // Nothing is known of a key that exists: deal with it as a sweep would.
                let input = Input::Listed { listed: Box::new(listed.clone()), asked_at };
                decide(self.state, &input, None, self.env)
            }
            (Some(Observation { seen: Contradiction::StillListed, .. }), _) => {
                Decision::Retry(Contradiction::StillListed)
            }
            (Some(Observation { seen: Contradiction::Absent, .. }) | None, known) => {
                self.observe(known, Observation { asked_at, seen: Contradiction::StillListed })
            }
        }
    }

    /// The creation event of a key that has ended before.
    fn bury(self) -> Option<Decision> {
        let (mut record, gone, trigger) = (self.learned()?, self.state.gone()?, self.trigger()?);
        judge_again(&mut record, trigger.at, self.env);
        Some(self.commit(ended(record, gone.clone()), Change::Gone, Then::Finish))
    }

    /// An event about a key that was absent twice, and that is newer than that.
    fn inspect_if_newer(self) -> Option<Decision> {
        let is_newer = match (self.state.gone(), self.trigger()) {
            (Some(GoneEvidence::Absent { at }), Some(trigger)) => trigger.at.timestamp() >= at.timestamp(),
            (Some(_) | None, _) => false,
        };
        match self.sighting {
            None if is_newer => Some(Decision::Inspect),
            Some(Sighting { found: Some(_), .. }) if is_newer => self.assess(),
            Some(_) | None => self.log(),
        }
    }

    /// True for a list that was requested before the key was known to be gone, or so soon after that IAM's answer
    /// may be older (R1).
    fn is_older_list(self) -> bool {
        match (self.state.gone(), self.input) {
            (Some(gone), Input::Listed { asked_at, .. }) => *asked_at < gone.at() + CONSISTENCY_WINDOW,
            (Some(_), Input::Event(_) | Input::NotListed { .. } | Input::Resume) | (None, _) => false,
        }
    }

    /// A sweep sees that the key is not active.
    fn note_inactive(self) -> Option<Decision> {
        let Input::Listed { listed, asked_at } = self.input else { return None };
        let mut record = self.learned()?;
        if self.state.record().is_some_and(|known| known.was_seen_after(*asked_at)) {
            return Some(Decision::Leave(Reason::OlderList));
        }
        judge_again(&mut record, *asked_at, self.env);
        record.phase = Phase::Inactive(inactive_cause(listed.status));
        Some(self.delete_or_commit(record, Change::Inactive))
    }

    /// Deletes a key whose quarantine has ended. Otherwise adds what the input says. A sweep judges the key again: the policy
    /// may allow it by now.
    fn delete_if_due(self) -> Option<Decision> {
        let mut record = self.learned()?;
        let Input::Listed { listed, asked_at } = self.input else {
            return Some(self.delete_or_commit(record, Change::Learned));
        };
        judge_again(&mut record, *asked_at, self.env);
        if listed.status == KeyStatus::Expired {
            record.phase = Phase::Inactive(InactiveCause::Expired);
        }
        Some(self.delete_or_commit(record, Change::Assessed))
    }

    /// Authorises a deletion if the key's quarantine has ended, and policy and ceiling still allow it (R12). Judged as
    /// of now. Otherwise stores `record`.
    fn delete_or_commit(self, mut record: Record, change: Change) -> Decision {
        let now = self.env.now;
        if !is_due(&record, now) || record.phase == Phase::Inactive(InactiveCause::Expired) {
            return self.commit(record, change, Then::Finish);
        }
        let verdict = judge_again(&mut record, now, self.env);
        let is_wanted = verdict == Some(Verdict::Noncompliant)
            && assess::wanted_action(&record, now) == Some(Action::Delete)
            && self.env.ceiling == Ceiling::Delete;
        if !is_wanted {
            return self.commit(record, Change::Assessed, Then::Finish);
        }
        let trigger = Trigger { kind: TriggerKind::QuarantineEnded, at: now };
        record.phase = Phase::Pending(assess::intent(Action::Delete, trigger, self.env));
        self.commit(record, Change::Assessed, Then::Enforce)
    }

    /// Takes the lease of a pending intent, as nobody has it (R8).
    fn resume(self, applies_input: bool) -> Option<Decision> {
        let mut record = self.learned()?;
        if self.env.ceiling == Ceiling::Monitor {
            return Some(if applies_input {
                self.commit(record, Change::Learned, Then::Finish)
            } else {
                Decision::Leave(Reason::Paused)
            });
        }
        if let Phase::Pending(intent) = &mut record.phase {
            intent.lease = Some(assess::lease(self.env));
        }
        let mut decision = self.commit(record, Change::Learned, Then::Enforce);
        if let Decision::Commit { taken_over, .. } = &mut decision {
            *taken_over = applies_input;
        }
        Some(decision)
    }

    fn add_facts(self) -> Option<Decision> {
        let mut record = self.learned()?;
        if let (Some(trigger), Some(_)) = (self.trigger(), record.phase.gone()) {
            judge_again(&mut record, trigger.at, self.env);
        }
        Some(self.commit(record, Change::Learned, Then::Finish))
    }

    fn add_deleter(self) -> Option<Decision> {
        let (mut record, event) = (self.learned()?, self.input.event()?);
        if let Phase::Gone(GoneEvidence::Absent { at }) = record.phase {
            record.phase =
                Phase::Gone(GoneEvidence::DeletedBy { event: Box::new(event.provenance.clone()), at });
        }
        Some(self.commit(record, Change::Gone, Then::Finish))
    }

    /// True if the input may require a response (R1).
    fn is_trigger(self) -> bool {
        let (Some(trigger), Some(record)) = (self.trigger(), self.state.record()) else {
            return self.trigger().is_some();
        };
        // IAM lists a key that was gone: it exists.
        if record.phase.gone().is_some() {
            return true;
        }
        let is_too_early = trigger.kind == TriggerKind::ObservedActive
            && record.phase.deactivation().is_some_and(|own| trigger.at < own.at + CONSISTENCY_WINDOW);
        record.is_new(trigger.at) && !is_too_early
    }

    /// What the input may require a response to.
    fn trigger(self) -> Option<Trigger> {
        let (kind, at) = match self.input {
            Input::Event(event) => {
                let kind = match event.kind {
                    KeyEventKind::Created(_) => TriggerKind::Created,
                    KeyEventKind::Activated(_) => TriggerKind::Activated,
                    KeyEventKind::Reset(_) => TriggerKind::Reset,
                    KeyEventKind::Deactivated(_) | KeyEventKind::Deleted(_) => return None,
                };
                (kind, event.provenance.event_time)
            }
            Input::Listed { listed, asked_at } if listed.status == KeyStatus::Active => {
                (TriggerKind::ObservedActive, *asked_at)
            }
            Input::Listed { .. } | Input::NotListed { .. } | Input::Resume => return None,
        };
        Some(Trigger { kind, at })
    }

    /// The record, with what the input and IAM's answer say. `None` while too little is known for one.
    fn learned(self) -> Option<Record> {
        let mut record = self.state.record().cloned();
        if let Input::Event(event) = self.input
            && let KeyEventKind::Created(created) = &event.kind
        {
            let record = record.get_or_insert_with(|| self.fresh(created.facts()));
            record.add_creation(created, &event.provenance);
        }
        let listed = match (self.input, self.sighting) {
            (Input::Listed { listed, asked_at }, _) => Some((&**listed, *asked_at)),
            (_, Some(Sighting { found, asked_at })) => found.as_ref().map(|found| (found, *asked_at)),
            (Input::Event(_) | Input::NotListed { .. } | Input::Resume, None) => None,
        };
        if let Some((listed, asked_at)) = listed {
            record.get_or_insert_with(|| self.fresh(listed.facts())).add_listing(listed, asked_at);
        }
        if let (Some(record), Some(event)) = (&mut record, self.input.event()) {
            // IAM's list says which name is today's.
            if let Some(user) = event.user() {
                record.facts.add_other_name(user);
            }
            let event_of = |status| LastSeen::of_event(status, &event.provenance);
            match event.kind {
                KeyEventKind::Created(_) => record.see(LastSeen::of_creation(&event.provenance)),
                KeyEventKind::Activated(_) => record.see(event_of(KeyStatus::Active)),
                KeyEventKind::Deactivated(_) => record.see(event_of(KeyStatus::Inactive)),
                KeyEventKind::Reset(_) | KeyEventKind::Deleted(_) => {}
            }
        }
        record
    }

    fn fresh(self, facts: KeyFacts) -> Record {
        Record {
            facts,
            evidence: ExpirationEvidence::default(),
            creation: None,
            assessment: Scope::OutOfScope,
            handled_through: None,
            delete_after: None,
            observation: self.state.observation(),
            last_seen: None,
            policy_sha256: String::new(),
            first_assessed: self.env.now,
            changed_at: self.env.now,
            unreported: false,
            phase: Phase::Settled,
            unknown_fields: UnknownFields::default(),
        }
    }

    /// Stores `record`, unless that changes nothing worth a write.
    fn commit(self, mut record: Record, change: Change, then: Then) -> Decision {
        let before = self.state.record();
        if before.is_none() && record.assessment == Scope::OutOfScope {
            return Decision::Leave(Reason::OutOfScope);
        }
        let is_same = before.is_some_and(|before| before.says_the_same_as(&record));
        match then {
            Then::Finish if is_same => return self.already_known(),
            Then::Inspect if is_same => return Decision::Inspect,
            Then::Retry(contradiction) if is_same => return Decision::Retry(contradiction),
            // An intent is executed after a write that confirms its lease, also where nothing else changes.
            Then::Enforce | Then::Finish | Then::Inspect | Then::Retry(_) => {}
        }
        let is_reported = then == Then::Finish && self.input.is_redelivered_until_reported();
        record.note_change(before, is_reported, self.env.now);
        let change = match record.phase.intent() {
            Some(intent) if then == Then::Enforce => Change::intended(intent),
            Some(_) | None => change,
        };
        Self::store(KeyState::Tracked(Box::new(record)), change, then)
    }

    /// The key is gone.
    fn end(self, gone: GoneEvidence) -> Decision {
        match self.learned() {
            Some(record) => self.commit(ended(record, gone), Change::Gone, Then::Finish),
            None => Self::store(KeyState::Tombstone(gone), Change::Gone, Then::Finish),
        }
    }

    /// Stores an observation that waits for its confirmation (R3).
    fn observe(self, record: Option<Record>, observation: Observation) -> Decision {
        let (change, then) = (Change::Observed(observation.seen), Then::Retry(observation.seen));
        match record {
            Some(record) => self.commit(observed(record, observation), change, then),
            None if *self.state == KeyState::Unconfirmed(observation) => Decision::Retry(observation.seen),
            None => Self::store(KeyState::Unconfirmed(observation), change, then),
        }
    }

    fn store(next: KeyState, change: Change, then: Then) -> Decision {
        Decision::Commit { next: Box::new(next), change, then, taken_over: false }
    }

    /// The state stays. An event gets its line of history. The creation that the record shows has one, and what was only
    /// assumed to be the creation (R9) may be that of another key.
    fn already_known(self) -> Decision {
        let Some(event) = self.input.event() else { return Decision::Leave(Reason::AlreadyKnown) };
        let creation = self.state.record().and_then(|record| record.creation.as_ref());
        let is_shown = creation.is_some_and(|creation| creation.event_id == event.provenance.event_id);
        match &event.kind {
            KeyEventKind::Created(created) if is_shown || created.evidence.says_nothing() => {
                Decision::Leave(Reason::AlreadyKnown)
            }
            KeyEventKind::Created(_)
            | KeyEventKind::Activated(_)
            | KeyEventKind::Reset(_)
            | KeyEventKind::Deactivated(_)
            | KeyEventKind::Deleted(_) => Decision::Append(HeardEvent::of(event)),
        }
    }
}

/// The record of a key that does not exist any more.
pub(super) fn ended(mut record: Record, gone: GoneEvidence) -> Record {
    record.observation = None;
    record.phase = Phase::Gone(gone);
    record
}

/// The record with an observation that waits for its confirmation. Its lease is released (R3).
fn observed(mut record: Record, observation: Observation) -> Record {
    record.observation = Some(observation);
    if let Phase::Pending(intent) = &mut record.phase {
        intent.lease = None;
    }
    record
}

/// What IAM's not listing a key means, given what was observed before (R3): the key is gone, or the error is the
/// observation that waits for its confirmation.
fn confirm_absence(earlier: Option<Observation>, asked_at: Time) -> Result<GoneEvidence, Observation> {
    match earlier {
        Some(earlier) if earlier.is_confirmed_by(Contradiction::Absent, asked_at) => {
            Ok(GoneEvidence::Absent { at: asked_at })
        }
        Some(earlier @ Observation { seen: Contradiction::Absent, .. }) => Err(earlier),
        Some(Observation { seen: Contradiction::StillListed, .. }) | None => {
            Err(Observation { asked_at, seen: Contradiction::Absent })
        }
    }
}

/// The record after IAM, asked at `asked_at`, did not list the key (R3). Its lease is released in any case: a retry
/// must not have to wait for a worker that has given up.
pub(super) fn absence(record: Record, asked_at: Time) -> (Record, Change, Then) {
    match confirm_absence(record.observation, asked_at) {
        Err(observation) => (
            observed(record, observation),
            Change::Observed(Contradiction::Absent),
            Then::Retry(Contradiction::Absent),
        ),
        Ok(gone) => (ended(record, gone), Change::Gone, Then::Finish),
    }
}

/// Why a key with this status is not active.
pub(super) const fn inactive_cause(status: KeyStatus) -> InactiveCause {
    match status {
        KeyStatus::Expired => InactiveCause::Expired,
        KeyStatus::Active | KeyStatus::Inactive => InactiveCause::Deactivated,
    }
}
