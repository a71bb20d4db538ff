//! The corridor that every door leads into: an event is judged, planned for, and the plan carried out.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::clock::Clock;
use crate::enforce::{
    self, AHEAD, CONSISTENCY_WINDOW, Enforcer, Failure, Key, Keys, Known, Ledger, Opened, ROUNDS_WHEN_OUTRUN,
    outrun,
};
use crate::ledger::Outcome;
use crate::ledger::happening::Happening;
use crate::ledger::{Confirmation, Entry, Kind, NewLine, Source, Trigger, Turn, Word};
use crate::plan::{Hands, plan};
use key_guard_core::cloudtrail::{CredentialEvent, EventKind, KeyTarget, ParsedEvent, Provenance, SetStatus};
use key_guard_core::key::{KeyRef, Service, UserName};
use key_guard_core::policy::{Policy, Response, Scope};
use key_guard_core::report::{self, Report};
use key_guard_core::words::describe_event;

/// One corridor: the policy and the ceiling that apply, the ledger, and the keys if they may be touched.
#[derive(Debug)]
pub struct Corridor<L, K, C> {
    /// What is allowed.
    pub policy: Arc<Policy>,
    /// The furthest that any response may go.
    pub ceiling: Response,
    /// Which door this is, for the audit trail.
    pub source: Source,
    /// Where entries are made.
    pub ledger: L,
    /// The keys, or a rehearsal.
    pub reach: Reach<K>,
    /// What time it is.
    pub clock: C,
}

/// Whether IAM may be called.
#[derive(Debug)]
pub enum Reach<K> {
    /// No: judge and record only.
    Rehearsal,
    /// Yes, through these.
    Keys(K),
}

impl<L: Ledger, K: Keys, C: Clock> Corridor<L, K, C> {
    /// Takes one event all the way.
    ///
    /// # Errors
    /// When the entry could not be made or settled, IAM could not be asked, or its answer has to be
    /// awaited. The event must then be delivered again; what was done until then is in the ledger.
    pub async fn take(&self, inbound: &ParsedEvent) -> Result<Report, Failure> {
        if let (ParsedEvent::Relevant(ours), Reach::Keys(_)) = (inbound, &self.reach) {
            // Judged as of then, an exemption would have run out, and every sweep would come before it.
            let event_time = ours.provenance.event_time;
            if event_time > self.clock.now() + AHEAD {
                return Err(Failure::NotYet { event_time });
            }
        }
        match self.judge(inbound) {
            Judged::Nothing(report) => Ok(*report),
            Judged::Later(ours, later) => Box::pin(self.later(ours, later)).await,
            // A large future, and only some events need it.
            Judged::Key(entry) => Box::pin(self.carry_out(*entry)).await,
        }
    }

    /// Takes events all the way: a result for each, in order. A rehearsal records many in one call.
    pub async fn take_all(&self, inbound: &[ParsedEvent]) -> Vec<Result<Report, Failure>> {
        match &self.reach {
            Reach::Keys(_) => {
                let mut results = Vec::with_capacity(inbound.len());
                for inbound in inbound {
                    results.push(self.take(inbound).await);
                }
                results
            }
            Reach::Rehearsal => {
                let (mut entries, mut waiting) = (Vec::new(), Vec::with_capacity(inbound.len()));
                for inbound in inbound {
                    waiting.push(match self.judge(inbound) {
                        Judged::Key(entry) => {
                            entries.push(*entry);
                            None
                        }
                        other @ (Judged::Nothing(_) | Judged::Later(..)) => Some(other),
                    });
                }
                // First the new keys, since what happened later is written into their history.
                let mut rehearsed = enforce::rehearse_all(&self.ledger, entries).await.into_iter();
                let mut results = Vec::with_capacity(inbound.len());
                for waiting in waiting {
                    match waiting {
                        None => results.extend(rehearsed.next()),
                        Some(Judged::Nothing(report)) => results.push(Ok(*report)),
                        Some(Judged::Later(ours, later)) => {
                            results.push(Box::pin(self.later(ours, later)).await);
                        }
                        Some(Judged::Key(entry)) => results.push(self.carry_out(*entry).await),
                    }
                }
                results
            }
        }
    }

    /// The entry that an event leads to, with what is to be done about its key.
    fn judge<'a>(&self, inbound: &'a ParsedEvent) -> Judged<'a> {
        let ours = match inbound {
            ParsedEvent::Irrelevant(why) => return Judged::Nothing(Box::new(Report::irrelevant(why))),
            ParsedEvent::Relevant(ours) => ours,
        };
        let ignored = || Judged::Nothing(Box::new(Report::not_assessed(ours, describe_event(&ours.kind))));
        let key = match &ours.kind {
            EventKind::Created(created) => Key::created(created),
            EventKind::StatusChanged { target: subject, status: SetStatus::Active } => {
                return Judged::Later(ours, Later::Again(subject, Trigger::SwitchedOn));
            }
            EventKind::StatusChanged { target: subject, status: SetStatus::Inactive } => {
                return Judged::Later(ours, Later::SwitchedOff(subject));
            }
            EventKind::SecretReset(subject) => {
                return Judged::Later(ours, Later::Again(subject, Trigger::SecretReset));
            }
            EventKind::Deleted(subject) => return Judged::Later(ours, Later::Deleted(subject)),
            EventKind::Failed(_) => return Judged::Later(ours, Later::Tried(Kind::Attempt)),
            EventKind::AccessKeyCreated { .. } => {
                return Judged::Later(ours, Later::Tried(Kind::AccessKeyMade));
            }
        };
        let judgement = match key.assess(&self.policy, [], ours.provenance.event_time) {
            Scope::InScope(judgement) => judgement,
            Scope::OutOfScope => return ignored(),
        };
        let hands = self.hands();
        let (plan, response) = plan(&judgement, hands, self.ceiling);
        Judged::Key(Box::new(Entry::new(
            &key,
            &ours.provenance,
            &judgement,
            self.policy.sha256(),
            plan,
            response,
            self.source,
            hands,
            self.clock.now(),
        )))
    }

    const fn hands(&self) -> Hands {
        match &self.reach {
            Reach::Rehearsal => Hands::Tied,
            Reach::Keys(_) => Hands::Free,
        }
    }

    /// What happened to a key after it was made, or to none.
    async fn later(&self, ours: &CredentialEvent, later: Later<'_>) -> Result<Report, Failure> {
        let (subject, trigger) = match later {
            Later::Tried(kind) => return self.tried(ours, kind).await,
            Later::SwitchedOff(subject) | Later::Deleted(subject) => (subject, None),
            Later::Again(subject, trigger) => (subject, Some(trigger)),
        };
        let key = KeyRef { account: ours.provenance.account.clone(), id: subject.id.clone() };
        let is_judged = subject.service.as_ref().is_none_or(|service| self.policy.judges(service));
        let ignored = || {
            let why = format!("{} The policy does not judge its service.", describe_event(&ours.kind));
            Ok(Report::not_assessed(ours, why))
        };
        if !is_judged && !subject.service.as_ref().is_some_and(Service::has_api_keys) {
            return ignored();
        }
        for _ in 0..ROUNDS_WHEN_OUTRUN {
            let failed = |source| Failure::Open { key: key.clone(), source };
            let mut known = self.ledger.read(std::slice::from_ref(&key)).await.map_err(failed)?;
            let known = known.remove(&key).transpose().map_err(failed)?;
            let keys = match &self.reach {
                Reach::Rehearsal => None,
                Reach::Keys(keys) => Some(keys),
            };
            let answer = match (keys, trigger, later) {
                // It may have been judged once.
                _ if !is_judged && !matches!(&known, Some(Known::Entry(_))) => return ignored(),
                _ if !is_judged => self.write_down(ours, &key, subject, known.as_ref()).await?,
                // Without IAM's word nothing follows from it but a line.
                (None, ..) => self.write_down(ours, &key, subject, known.as_ref()).await?,
                (Some(keys), None, Later::SwitchedOff(_)) => {
                    self.switched_off(keys, ours, subject, &key, known).await?
                }
                (Some(keys), Some(trigger), _) => {
                    self.again(keys, ours, subject, &key, trigger, known).await?
                }
                (Some(keys), None, _) => self.deleted(keys, ours, subject, &key, known).await?,
            };
            if let Some(report) = answer {
                return Ok(report);
            }
        }
        Err(outrun(key))
    }

    /// A call that failed, or one that is about no key: recorded under account and actor.
    async fn tried(&self, ours: &CredentialEvent, kind: Kind) -> Result<Report, Failure> {
        let mut happening =
            Happening::of(&ours.provenance, kind, describe_event(&ours.kind), self.source, self.clock.now());
        let mut report = Report::not_assessed(ours, happening.what.clone());
        happening.user.clone_from(&report.user);
        happening.service.clone_from(&report.service);
        let failed = |source| Failure::Record { event_id: ours.provenance.event_id.clone(), source };
        self.ledger.remember(&happening, false).await.map_err(failed)?;
        report.outcome = report::Outcome::Recorded;
        Ok(report)
    }

    /// The words of an event, for the history.
    fn words(&self, ours: &CredentialEvent, stored: Option<&Entry>) -> String {
        let what = describe_event(&ours.kind);
        if self.is_own(ours, stored) { format!("{what} The guard made the call.") } else { what }
    }

    /// Whether the guard made the call, for all that is known of the key.
    fn is_own(&self, ours: &CredentialEvent, stored: Option<&Entry>) -> bool {
        let Provenance { account, actor, event_time, .. } = &ours.provenance;
        let by_name = match &self.reach {
            Reach::Rehearsal => false,
            Reach::Keys(keys) => keys.is_own(account, actor),
        };
        by_name || stored.is_some_and(|stored| stored.is_own_call(actor, *event_time))
    }

    /// The entry as a history line of the event has it.
    fn then(&self, ours: &CredentialEvent, entry: &Entry) -> Entry {
        let mut then = Entry {
            source: self.source,
            reason: self.words(ours, Some(entry)),
            recorded_at: self.clock.now(),
            ..entry.clone()
        };
        then.told_by(&ours.provenance);
        then
    }

    /// Writes an event into the history of its key, whatever is known of that. `None`: to be decided anew.
    async fn write_down(
        &self,
        ours: &CredentialEvent,
        key: &KeyRef,
        subject: &KeyTarget,
        known: Option<&Known>,
    ) -> Result<Option<Report>, Failure> {
        let failed = |source| Failure::Open { key: key.clone(), source };
        let kind = line_kind(&ours.kind);
        match known {
            Some(Known::Entry(entry)) => {
                let then = self.then(ours, entry);
                let (what, line) = (then.reason.clone(), of_event(ours, kind));
                if let Some(disturbed) = self.disturbed(ours, entry) {
                    let answer = self.ledger.replace(&disturbed, entry.rev, line, &then, None).await;
                    if matches!(answer.map_err(failed)?, Opened::Existing(_)) {
                        return Ok(None);
                    }
                } else {
                    self.ledger.note(&then, line).await.map_err(failed)?;
                }
                Ok(Some(Report {
                    service: Some(then.service),
                    user: Some(then.user),
                    ..Report::not_assessed(ours, format!("{what} It is written into the key's history."))
                }))
            }
            Some(Known::Deleted(_)) | None => {
                self.ledger.remember(&self.early(ours, subject, kind), false).await.map_err(failed)?;
                let what = self.words(ours, None);
                let known = if known.is_some() {
                    "It was deleted since. The event is kept in its history."
                } else {
                    "There is no record of this key. The event is kept for when its creation event arrives."
                };
                Ok(Some(Report::not_assessed(ours, format!("{what} {known}"))))
            }
        }
    }

    /// The entry of a key that somebody else has changed, since its quarantine may depend on that: whoever tells of it, a
    /// rehearsal, too.
    fn disturbed(&self, ours: &CredentialEvent, stored: &Entry) -> Option<Entry> {
        let mut disturbed = Entry { rev: stored.rev + 1, ..stored.clone() };
        let is_own = self.is_own(ours, Some(stored));
        let is_news = disturbed.hears_of(line_kind(&ours.kind), ours.provenance.event_time, is_own);
        (is_news && !stored.rehearsal).then_some(disturbed)
    }

    fn early(&self, ours: &CredentialEvent, subject: &KeyTarget, kind: Kind) -> Happening {
        Happening {
            credential_id: Some(subject.id.clone()),
            user: subject.user.clone(),
            service: subject.service.clone(),
            ..Happening::of(&ours.provenance, kind, self.words(ours, None), self.source, self.clock.now())
        }
    }

    /// A key was switched off. Where that was the guard, which could not write it down, it is known now. `None`: to be
    /// decided anew.
    async fn switched_off(
        &self,
        keys: &K,
        ours: &CredentialEvent,
        subject: &KeyTarget,
        key: &KeyRef,
        known: Option<Known>,
    ) -> Result<Option<Report>, Failure> {
        let at = ours.provenance.event_time;
        // Not of an earlier turn; and anyone may take its session's name.
        let is_unknown = |stored: &Entry| {
            let is_open = !stored.outcome.is_settled();
            self.is_own(ours, Some(stored))
                && !stored.rehearsal
                && at >= stored.turn.at
                && stored.deactivated_at < Some(at)
                && (is_open || (stored.outcome == Outcome::AlreadyInactive && !stored.as_left))
                && matches!(stored.response, Response::Deactivate | Response::Quarantine)
        };
        match known {
            Some(Known::Entry(stored))
                if is_unknown(&stored) && stored.is_in_other_hands(self.clock.now()) =>
            {
                Err(Failure::InOtherHands { key: key.clone() })
            }
            Some(Known::Entry(stored)) if is_unknown(&stored) => {
                let mut closed = (*stored).clone();
                closed.acted_at = Some(at);
                closed.deactivated_at = Some(at);
                closed.deactivated_as.clone_from(&stored.begun_as);
                closed.rev += 1;
                let is_as_left = closed.touched_at.is_none_or(|touched| touched < at);
                if is_as_left {
                    closed.outcome = Outcome::Deactivated;
                    closed.as_left = true;
                    closed.settled_at = closed.settled_at.or_else(|| Some(self.clock.now()));
                    if closed.response == Response::Quarantine {
                        closed.delete_after = Some(at + TimeDelta::days(closed.grace_days.into()));
                    }
                    closed.reason.push_str(" It was the guard that deactivated it.");
                }
                let then = self.then(ours, &stored);
                let line = of_event(ours, Kind::SwitchedOff);
                let enforcer = self.enforcer(keys);
                let what = then.reason.clone();
                let is_settled = closed.outcome.is_settled();
                Ok(enforcer.close(&stored, line, &then, closed).await?.map(|report| {
                    if is_settled {
                        report.with_provenance(&ours.provenance)
                    } else {
                        Report::not_assessed(ours, format!("{what} It is written into the key's history."))
                    }
                }))
            }
            other => self.write_down(ours, key, subject, other.as_ref()).await,
        }
    }

    /// A key was switched on, or got a new secret: it is judged as a new one would be. `None`: to be decided anew.
    async fn again(
        &self,
        keys: &K,
        ours: &CredentialEvent,
        subject: &KeyTarget,
        key: &KeyRef,
        trigger: Trigger,
        known: Option<Known>,
    ) -> Result<Option<Report>, Failure> {
        let turn = Turn::of(&ours.provenance, trigger);
        let enforcer = self.enforcer(keys);
        let told = |report: Report| Some(Report::with_provenance(report, &ours.provenance));
        let (found, earlier) = match known {
            Some(Known::Deleted(_)) => {
                return self.write_down(ours, key, subject, known.as_ref()).await;
            }
            Some(Known::Entry(stored)) if !stored.rehearsal && stored.turn.id == turn.id => {
                return enforcer.resume(*stored).await.map(told);
            }
            Some(Known::Entry(stored)) if !stored.rehearsal && stored.is_in_other_hands(self.clock.now()) => {
                return Err(Failure::InOtherHands { key: key.clone() });
            }
            Some(Known::Entry(stored))
                if !stored.rehearsal
                    && stored.outcome.is_gone()
                    && !is_newer_than_the_word_on(&stored, turn.at) =>
            {
                let known = Known::Entry(stored);
                return self.write_down(ours, key, subject, Some(&known)).await;
            }
            Some(Known::Entry(stored)) if !stored.rehearsal && !stored.outcome.is_gone() => {
                (stored.as_known(), Some(*stored))
            }
            // What the ledger has of it nobody has confirmed, or something happened to it since: IAM is asked.
            other @ (None | Some(Known::Entry(_))) => {
                let Some(found) = self.ask(keys, key, subject.user.as_ref()).await? else {
                    if self.clock.now() - ours.provenance.event_time < CONSISTENCY_WINDOW {
                        let event_time = ours.provenance.event_time;
                        return Err(Failure::NotListedYet { key: key.clone(), event_time });
                    }
                    return self.write_down(ours, key, subject, other.as_ref()).await;
                };
                let earlier = match other {
                    Some(Known::Entry(stored)) => Some(*stored),
                    Some(Known::Deleted(_)) | None => None,
                };
                (found, earlier)
            }
        };
        let mut judgement = match found.assess(&self.policy, earlier.iter().flat_map(Entry::names), turn.at) {
            Scope::InScope(judgement) => judgement,
            Scope::OutOfScope => {
                if let Some(stored) = earlier.filter(|earlier| !earlier.rehearsal) {
                    let known = Known::Entry(Box::new(stored));
                    return self.write_down(ours, key, subject, Some(&known)).await;
                }
                let why = format!(
                    "{} It is for {}, which the policy does not judge.",
                    describe_event(&ours.kind),
                    found.service
                );
                return Ok(Some(Report::not_assessed(ours, why)));
            }
        };
        let since = earlier.as_ref().is_some_and(|earlier| earlier.was_deactivated_before(turn.at));
        if since && trigger == Trigger::SwitchedOn {
            judgement.mark_reactivated();
        }
        let (plan, response) = plan(&judgement, Hands::Free, self.ceiling);
        let mut entry = Entry::found(
            &found,
            &judgement,
            self.policy.sha256(),
            plan,
            response,
            self.source,
            Hands::Free,
            turn,
            self.clock.now(),
        );
        entry.hears_of(line_kind(&ours.kind), ours.provenance.event_time, false);
        let over = earlier.as_ref().map(|earlier| earlier.rev);
        let line = NewLine::opened(&entry);
        if let Some(earlier) = earlier {
            // A sweep that only rehearsed binds nobody.
            if earlier.rehearsal || earlier.turn < entry.turn {
                entry.follows(&earlier);
            } else if Enforcer::<L, K, C>::is_to_be_judged(&earlier, &entry) {
                entry.comes_after(&earlier);
            } else {
                let known = Known::Entry(Box::new(earlier));
                return self.write_down(ours, key, subject, Some(&known)).await;
            }
        }
        let mut then = entry.clone();
        then.told_by(&ours.provenance);
        then.reason = format!("{} {}", self.words(ours, None), entry.reason);
        let report = enforcer.take_up(entry, over, Some((line, &then))).await?;
        Ok(report.and_then(told))
    }

    /// A key was deleted: its entry is closed when IAM lists it no more. `None`: to be decided anew.
    async fn deleted(
        &self,
        keys: &K,
        ours: &CredentialEvent,
        subject: &KeyTarget,
        key: &KeyRef,
        known: Option<Known>,
    ) -> Result<Option<Report>, Failure> {
        let event = &ours.provenance;
        // Until it is known who deleted it.
        let lifts = |entry: &Entry| {
            entry.outcome == Outcome::AlreadyGone
                || (entry.outcome == Outcome::Gone && entry.deleted_at.is_none())
        };
        match &known {
            Some(Known::Deleted(_)) => {
                return self.write_down(ours, key, subject, known.as_ref()).await;
            }
            Some(Known::Entry(stored)) if stored.outcome.is_gone() && !lifts(stored) => {
                let report = self.write_down(ours, key, subject, known.as_ref()).await?;
                let Some(mut report) = report else { return Ok(None) };
                report.reason.push_str(&enforce::leftover(keys, &key.account, &stored.user).await);
                return Ok(Some(report));
            }
            Some(Known::Entry(_)) | None => {}
        }
        if self.ask(keys, key, None).await?.is_some() {
            if self.clock.now() - event.event_time < CONSISTENCY_WINDOW {
                return Err(Failure::StillListed { key: key.clone(), event_time: event.event_time });
            }
            let report = self.write_down(ours, key, subject, known.as_ref()).await?;
            let Some(mut report) = report else { return Ok(None) };
            report.reason.push_str(" IAM still lists the key, so it is not recorded as gone.");
            return Ok(Some(report));
        }
        let Some(Known::Entry(stored)) = known else {
            let happening = self.early(ours, subject, Kind::Deleted);
            let failed = |source| Failure::Open { key: key.clone(), source };
            let known_after_all = self.ledger.remember(&happening, true).await.map_err(failed)?;
            return Ok(known_after_all.is_none().then(|| {
                let what = "There is no record of this key. A tombstone is stored in case its creation event arrives late.";
                Report::not_assessed(ours, format!("{} {what}", self.words(ours, None)))
            }));
        };
        let then = self.then(ours, &stored);
        let mut closed = *stored.clone();
        let now = self.clock.now();
        closed.rehearsal = false;
        // Its own, where it was about to delete it: anyone may take its session's name.
        let is_own = self.is_own(ours, Some(&stored)) && stored.response == Response::Delete;
        closed.outcome = if is_own { Outcome::Deleted } else { Outcome::Gone };
        closed.settled_at = Some(now);
        closed.confirmed = Some(Confirmation { at: now, word: Word::NotListed });
        closed.deleted_at = Some(event.event_time);
        closed.deleted_by.clone_from(&event.actor.principal);
        if is_own {
            closed.acted_at = closed.acted_at.or(Some(event.event_time));
        }
        let by = event.actor.principal.as_deref().unwrap_or("somebody unknown");
        closed.reason = format!("{} It was deleted by {by}, and IAM lists it for no user.", closed.reason);
        closed.rev += 1;
        let line = of_event(ours, Kind::Deleted);
        let report = self.enforcer(keys).close(&stored, line, &then, closed).await?;
        let Some(mut report) = report else { return Ok(None) };
        report.reason.push_str(&enforce::leftover(keys, &key.account, &stored.user).await);
        Ok(Some(Report::with_provenance(report, event)))
    }

    /// The key, by IAM's word.
    async fn ask(&self, keys: &K, key: &KeyRef, user: Option<&UserName>) -> Result<Option<Key>, Failure> {
        let failed = |source| Failure::Confirm { key: key.clone(), source };
        if let Some(user) = user
            && let Some(listed) = keys.find_with(key, user).await.map_err(failed)?
        {
            return Ok(Some(listed.key));
        }
        Ok(keys.find_anywhere(key).await.map_err(failed)?.map(|listed| listed.key))
    }

    fn enforcer<'a>(&'a self, keys: &'a K) -> Enforcer<'a, L, K, C> {
        Enforcer {
            policy: &self.policy,
            ceiling: self.ceiling,
            ledger: &self.ledger,
            keys,
            clock: &self.clock,
        }
    }

    async fn carry_out(&self, entry: Entry) -> Result<Report, Failure> {
        match &self.reach {
            Reach::Rehearsal => enforce::rehearse(&self.ledger, entry).await,
            Reach::Keys(keys) => self.enforcer(keys).carry_out(entry).await,
        }
    }
}

/// What an event is for the corridor.
enum Judged<'a> {
    /// No key to record.
    Nothing(Box<Report>),
    /// Something happened later.
    Later(&'a CredentialEvent, Later<'a>),
    /// A key, judged and planned for.
    Key(Box<Entry>),
}

/// What happened that made no key.
#[derive(Debug, Clone, Copy)]
enum Later<'a> {
    /// It is to be judged again.
    Again(&'a KeyTarget, Trigger),
    /// It was switched off.
    SwitchedOff(&'a KeyTarget),
    /// It was deleted.
    Deleted(&'a KeyTarget),
    /// Nothing happened to a key.
    Tried(Kind),
}

/// Whether something happened to a key after IAM had listed it for no user.
fn is_newer_than_the_word_on(gone: &Entry, at: DateTime<Utc>) -> bool {
    // Where the guard has deleted that very id, nothing more happens to it.
    matches!(gone.outcome, Outcome::AlreadyGone | Outcome::Gone)
        && gone.confirmed.is_some_and(|confirmed| confirmed.at < at)
}

/// The history line of an event.
fn of_event(ours: &CredentialEvent, kind: Kind) -> NewLine {
    NewLine { kind, at: ours.provenance.event_time, id: ours.provenance.event_id.to_string() }
}

const fn line_kind(what: &EventKind) -> Kind {
    match what {
        EventKind::Created(_) => Kind::Judged,
        EventKind::StatusChanged { status: SetStatus::Active, .. } => Kind::SwitchedOn,
        EventKind::StatusChanged { status: SetStatus::Inactive, .. } => Kind::SwitchedOff,
        EventKind::SecretReset(_) => Kind::SecretReset,
        EventKind::Deleted(_) => Kind::Deleted,
        EventKind::Failed(_) => Kind::Attempt,
        EventKind::AccessKeyCreated { .. } => Kind::AccessKeyMade,
    }
}
