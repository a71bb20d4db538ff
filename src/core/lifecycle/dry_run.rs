//! What the guard would do, without doing it (R14).

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::Time;
use crate::cloudtrail::Provenance;
use crate::evidence::ExpirationEvidence;
use crate::key::{KeyFacts, KeyRef, Status, UserName};
use crate::policy::{Assessment, Policy, Response, Scope};
use crate::remediation::NextStep;
use crate::report::{KeyResult, Outcome, Report};
use crate::words::lifecycle as words;

use super::creation;
use super::input::{Env, Input, KeyEvent, KeyEventKind, ListedKey};
use super::result::lowered_response;
use super::standing::{Standing, StatusEvidence};
use super::state::Record;

/// What would follow for a key. It is stored beside the key's state, and never becomes a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DryRun {
    /// Which key, whose, for which service.
    pub facts: KeyFacts,
    /// What each source says of its expiration.
    pub evidence: ExpirationEvidence,
    /// Who created it, where an event says so.
    pub creation: Option<Provenance>,
    /// How it stands, as far as the inputs say.
    pub standing: Standing,
    /// As of when it was judged: the time of its latest trigger (R15). Inputs come in any order.
    pub latest_trigger: Time,
    /// What the key deserves.
    pub assessment: Assessment,
    /// What it would get: the policy's response, lowered to the ceiling.
    pub response: Response,
    /// The policy that judged it.
    pub policy_sha256: String,
    /// When it was judged.
    pub at: Time,
}

/// What dry runs know of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DryRunState {
    /// Events came before the key's creation event. It is not judged.
    Unassessed {
        /// Which key.
        key: KeyRef,
        /// What they say.
        early: EarlyEvents,
        /// When that was recorded.
        at: Time,
    },
    /// What would follow for the key.
    Assessed(Box<DryRun>),
}

/// What events say of a key before its creation event is met.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EarlyEvents {
    /// How it stands.
    pub standing: Standing,
    /// What they call its user (R6).
    pub names: BTreeSet<UserName>,
    /// The time of its latest trigger, if one of them is any.
    pub latest_trigger: Option<Time>,
}

impl EarlyEvents {
    fn of(event: &KeyEvent) -> Self {
        Self {
            standing: standing_after(event),
            names: event.user().cloned().into_iter().collect(),
            latest_trigger: trigger_time(event),
        }
    }

    fn join(self, next: Self) -> Self {
        Self {
            standing: self.standing.join(next.standing),
            names: self.names.into_iter().chain(next.names).take(KeyFacts::MAX_OTHER_NAMES).collect(),
            latest_trigger: self.latest_trigger.max(next.latest_trigger),
        }
    }
}

impl From<DryRun> for DryRunState {
    fn from(dry_run: DryRun) -> Self {
        Self::Assessed(Box::new(dry_run))
    }
}

impl DryRunState {
    /// What is known after an event or a list entry. Inputs come in any order: what arrives before the creation event is kept until that
    /// event arrives. `None`: nothing is known that was not known before.
    #[must_use]
    pub fn next(input: &Input, earlier: Option<&Self>, env: &Env<'_>) -> Option<Self> {
        if let Some(dry_run) = DryRun::new(input, earlier.and_then(Self::assessed), env) {
            return dry_run.joined(earlier, env).map(Self::from);
        }
        let event = input.event()?;
        let is_judged = event.service().is_none_or(|service| env.policy.judges(service));
        if !is_judged || is_creation(input) {
            return None;
        }
        let early = EarlyEvents::of(event);
        match earlier {
            Some(Self::Assessed(_)) => None,
            Some(Self::Unassessed { early: known, .. }) => {
                let joined = known.clone().join(early);
                (joined != *known).then(|| Self::Unassessed { key: event.key(), early: joined, at: env.now })
            }
            None => Some(Self::Unassessed { key: event.key(), early, at: env.now }),
        }
    }

    /// The dry run, if the key was judged.
    #[must_use]
    pub fn assessed(&self) -> Option<&DryRun> {
        match self {
            Self::Assessed(dry_run) => Some(dry_run),
            Self::Unassessed { .. } => None,
        }
    }

    /// How the key stands.
    #[must_use]
    pub const fn standing(&self) -> &Standing {
        match self {
            Self::Assessed(dry_run) => &dry_run.standing,
            Self::Unassessed { early, .. } => &early.standing,
        }
    }

    /// Which key.
    #[must_use]
    pub const fn key(&self) -> &KeyRef {
        match self {
            Self::Assessed(dry_run) => &dry_run.facts.key,
            Self::Unassessed { key, .. } => key,
        }
    }

    /// This one in place of what is there, if it says more. A key that was judged stays so, and the later of two dry runs
    /// counts. What early events say is joined.
    #[must_use]
    pub fn in_place_of(self, known: Option<&Self>) -> Option<Self> {
        match (self, known) {
            (this, None) => Some(this),
            (Self::Assessed(dry_run), Some(Self::Unassessed { early, .. })) => {
                Some(dry_run.after(early).into())
            }
            (Self::Unassessed { .. }, Some(Self::Assessed(_))) => None,
            (Self::Assessed(dry_run), Some(Self::Assessed(known))) => {
                (dry_run.at > known.at).then_some(Self::Assessed(dry_run))
            }
            (Self::Unassessed { key, early, at }, Some(Self::Unassessed { early: known, .. })) => {
                let early = known.clone().join(early);
                (early != *known).then_some(Self::Unassessed { key, early, at })
            }
        }
    }

    /// True if the other one says the same, whenever it was made or its key was seen. Then it need not be stored.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Assessed(one), Self::Assessed(other)) => one.says_the_same_as(other),
            (Self::Unassessed { early, .. }, Self::Unassessed { early: other, .. }) => early == other,
            (Self::Assessed(_), Self::Unassessed { .. }) | (Self::Unassessed { .. }, Self::Assessed(_)) => {
                false
            }
        }
    }

    /// The report of it. It says that nothing was done.
    #[must_use]
    pub fn report(&self) -> Report {
        match self {
            Self::Assessed(dry_run) => dry_run.report(),
            Self::Unassessed { key, early: EarlyEvents { standing, .. }, .. } => {
                let reason = words::describe_unassessed_dry_run(standing);
                let result = KeyResult::new(Outcome::Ignored, None, reason);
                Report { status: standing.status, ..Report::key_not_assessed(key, None, result) }
            }
        }
    }
}

impl DryRun {
    /// What would follow from an event or a list entry. `earlier` is the last dry run of the same key: evidence is
    /// joined (R4), and former names count (R6).
    ///
    /// `None` if nothing would: the policy does not judge the key's service, or too little is known of the key.
    #[must_use]
    pub fn new(input: &Input, earlier: Option<&Self>, env: &Env<'_>) -> Option<Self> {
        let (mut evidence, mut creation, mut counts) = (ExpirationEvidence::default(), None, Ordering::Equal);
        if let Some(earlier) = earlier {
            evidence.clone_from(&earlier.evidence);
            creation.clone_from(&earlier.creation);
        }
        let (seen, said, trigger) = match input {
            Input::Event(event) => {
                let seen = match &event.kind {
                    KeyEventKind::Created(created) => {
                        counts = creation::add(&mut creation, &mut evidence, created, &event.provenance);
                        Some(created.facts())
                    }
                    KeyEventKind::Activated(_)
                    | KeyEventKind::Reset(_)
                    | KeyEventKind::Deactivated(_)
                    | KeyEventKind::Deleted(_) => None,
                };
                (seen, standing_after(event), trigger_time(event))
            }
            Input::Listed { listed, asked_at } => {
                evidence.listed = Some(listed.evidence());
                (Some(listed.facts()), Standing::of_listing(listed.status, *asked_at), Some(env.now))
            }
            Input::NotListed { .. } | Input::Resume => return None,
        };
        let known = earlier.map_or(Standing::UNKNOWN, |earlier| earlier.standing.clone());
        // A list was saved after the creation of the keys in it.
        let is_older_than_list = is_creation(input) && known.evidence == Some(StatusEvidence::SavedList);
        let standing =
            if is_older_than_list && known.status != said.status { known } else { known.join(said) };
        let mut facts = match (earlier.map(|earlier| earlier.facts.clone()), seen) {
            (Some(earlier), Some(seen)) => join(earlier, seen, evidence.listed.is_some(), counts),
            (Some(facts), None) | (None, Some(facts)) => facts,
            (None, None) => return None,
        };
        if let Some(user) = input.event().and_then(KeyEvent::user) {
            facts.add_other_name(user);
        }
        let known_trigger = earlier.map(|earlier| earlier.latest_trigger);
        let latest_trigger = known_trigger.max(trigger)?;
        match (Self::judge(facts, evidence, creation, standing.clone(), latest_trigger, env), earlier) {
            // A list that changes no verdict is not worth storing.
            (Some(next), Some(known))
                if input.event().is_none() && next.assessment.verdict == known.assessment.verdict =>
            {
                Some(Self { latest_trigger: known.latest_trigger, ..next })
            }
            // Under every policy it is known that a key has ended.
            (None, Some(known)) if trigger.is_none() => Some(Self { standing, at: env.now, ..known.clone() }),
            (next, _) => next,
        }
    }

    /// `None`: the policy does not judge the key's service.
    fn judge(
        facts: KeyFacts,
        evidence: ExpirationEvidence,
        creation: Option<Provenance>,
        standing: Standing,
        latest_trigger: Time,
        env: &Env<'_>,
    ) -> Option<Self> {
        let Scope::InScope(assessment) = env.policy.assess(&facts, &evidence, latest_trigger) else {
            return None;
        };
        Some(Self {
            response: lowered_response(&assessment, env.ceiling),
            facts,
            evidence,
            creation,
            standing,
            latest_trigger,
            assessment,
            policy_sha256: env.policy.sha256().to_owned(),
            at: env.now,
        })
    }

    /// Judged once more, with what events said of the key before it was judged. `None`: the policy does not judge the key's
    /// service.
    #[must_use]
    pub fn joined(self, earlier: Option<&DryRunState>, env: &Env<'_>) -> Option<Self> {
        match earlier {
            Some(DryRunState::Unassessed { early, .. }) => {
                let Self { facts, evidence, creation, standing, latest_trigger, .. } = self.after(early);
                Self::judge(facts, evidence, creation, standing, latest_trigger, env)
            }
            Some(DryRunState::Assessed(_)) | None => Some(self),
        }
    }

    /// With what events said of the key before it was judged, and judged as it was.
    fn after(mut self, early: &EarlyEvents) -> Self {
        for name in &early.names {
            self.facts.add_other_name(name);
        }
        Self {
            standing: early.standing.clone().join(self.standing),
            latest_trigger: early
                .latest_trigger
                .map_or(self.latest_trigger, |at| at.max(self.latest_trigger)),
            ..self
        }
    }

    /// What would follow from an entry of a saved list, as of now. IAM said so after the key was created, and nobody knows
    /// when. So it says how the key stands only where nothing after the creation does.
    #[must_use]
    pub fn of_saved_entry(listed: &ListedKey, earlier: Option<&Self>, env: &Env<'_>) -> Option<Self> {
        let input = Input::Listed { listed: Box::new(listed.clone()), asked_at: env.now };
        let said = Standing::of_saved_list(listed.status);
        let standing = match earlier {
            Some(earlier)
                if earlier.is_known_since_its_creation() || said.status == earlier.standing.status =>
            {
                earlier.standing.clone()
            }
            Some(_) | None => said,
        };
        Some(Self { standing, ..Self::new(&input, earlier, env)? })
    }

    /// True if something says how the key stood at some time after its creation.
    fn is_known_since_its_creation(&self) -> bool {
        let created_at = self.creation.as_ref().map(|creation| creation.event_time);
        self.standing.status == Status::Gone || self.standing.seen_at > created_at
    }

    /// What the guard knows of a key, as the earlier dry run of a sweep that only looks. `None`: the key was not assessed.
    #[must_use]
    pub fn of_record(record: &Record, env: &Env<'_>) -> Option<Self> {
        let assessment = record.assessed()?.clone();
        Some(Self {
            response: lowered_response(&assessment, env.ceiling),
            facts: record.facts.clone(),
            evidence: record.evidence.clone(),
            creation: record.creation.clone(),
            standing: Standing::of_record(record),
            latest_trigger: record.handled_through.unwrap_or(record.facts.created_at),
            assessment,
            policy_sha256: record.policy_sha256.clone(),
            at: record.changed_at,
        })
    }

    /// True if the other one says the same, whenever it was made or its key was seen. Then it need not be stored.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        let standing = Standing { seen_at: self.standing.seen_at, ..other.standing.clone() };
        *self == Self { at: self.at, standing, ..other.clone() }
    }

    /// True if people who saw the other one have something new to see: another verdict, user or status.
    #[must_use]
    pub fn differs_visibly_from(&self, other: &Self) -> bool {
        self.assessment.verdict() != other.assessment.verdict()
            || self.facts.user != other.facts.user
            || self.standing.status != other.standing.status
    }

    /// The report of an event that it follows from: with how the key stood right after that, whatever is known since. So the
    /// same events have the same statuses, however often they are replayed.
    #[must_use]
    pub fn report_of_event(&self, event: &KeyEvent) -> Report {
        let after = Self { standing: standing_after(event), ..self.clone() };
        after.report().with_provenance(Some(&event.provenance))
    }

    /// The report of it. It says that nothing was done.
    #[must_use]
    pub fn report(&self) -> Report {
        let outcome = match self.response {
            Response::Monitor => Outcome::Monitored,
            Response::None | Response::Deactivate | Response::Quarantine | Response::Delete => {
                Outcome::Recorded
            }
        };
        let reason = words::describe_dry_run(self);
        let result = KeyResult { status: self.standing.status, ..KeyResult::new(outcome, None, reason) };
        let result = result.with_next(NextStep::DryRun);
        let report = Report {
            policy_sha256: Some(self.policy_sha256.clone()),
            ..Report::assessed(&self.facts, &self.assessment, self.response, result)
        };
        report.with_creator(self.creation.as_ref()).with_provenance(self.creation.as_ref())
    }
}

/// True for the creation of a key.
fn is_creation(input: &Input) -> bool {
    matches!(input.event().map(|event| &event.kind), Some(KeyEventKind::Created(_)))
}

/// When an event may have required a response (R1). `None`: never.
const fn trigger_time(event: &KeyEvent) -> Option<Time> {
    match event.kind {
        KeyEventKind::Created(_) | KeyEventKind::Activated(_) | KeyEventKind::Reset(_) => {
            Some(event.provenance.event_time)
        }
        KeyEventKind::Deactivated(_) | KeyEventKind::Deleted(_) => None,
    }
}

/// How a key stands after an event. A reset key stands as before.
fn standing_after(event: &KeyEvent) -> Standing {
    let status = match &event.kind {
        KeyEventKind::Created(_) | KeyEventKind::Activated(_) => Status::Active,
        KeyEventKind::Deactivated(_) => Status::Inactive,
        KeyEventKind::Deleted(_) => Status::Gone,
        KeyEventKind::Reset(_) => return Standing::UNKNOWN,
    };
    Standing::of_event(status, &event.provenance)
}

/// The report of an event from which nothing would follow. At most, it says how the key stands.
#[must_use]
pub fn report_of_ignored_event(event: &KeyEvent, earlier: Option<&DryRun>, policy: &Policy) -> Report {
    let service = event.service().or(earlier.map(|earlier| &earlier.facts.service));
    let is_judged = service.is_none_or(|service| policy.judges(service));
    let event = event.to_event();
    let reason = words::describe_ignored_event_in_dry_run(&event.kind, is_judged);
    if is_judged { Report::not_assessed(&event, reason) } else { Report::service_not_judged(&event, reason) }
}

/// The report of a known key that is in none of IAM's lists. `None`: the key was not assessed.
#[must_use]
pub fn report_of_absent_key(record: &Record) -> Option<Report> {
    let result = KeyResult::new(Outcome::AlreadyGone, None, words::ABSENT_IN_DRY_RUN.to_owned());
    let report = Report {
        policy_sha256: Some(record.policy_sha256.clone()),
        ..Report::assessed(&record.facts, record.assessed()?, Response::None, result)
    };
    let creation = record.creation.as_ref();
    Some(report.with_creator(creation).with_provenance(creation))
}

/// Both, joined. IAM's list says which of the user's names is today's. `counts`: how much a creation event counts beside an
/// earlier one.
fn join(earlier: KeyFacts, seen: KeyFacts, is_listed: bool, counts: Ordering) -> KeyFacts {
    let names = earlier.other_names.iter().chain([&earlier.user, &seen.user]).cloned().collect();
    let created_at = match counts {
        Ordering::Equal if !is_listed => earlier.created_at.min(seen.created_at),
        Ordering::Less | Ordering::Equal | Ordering::Greater => seen.created_at,
    };
    let mut facts = match counts {
        Ordering::Less => KeyFacts { other_names: names, ..earlier },
        Ordering::Equal | Ordering::Greater => KeyFacts { other_names: names, created_at, ..seen },
    };
    facts.other_names.remove(&facts.user);
    facts
}
