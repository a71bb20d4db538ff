//! Dry runs: what would follow from events and from IAM's lists, recorded beside what the guard knows (R14).

mod console_users;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use key_guard_core::Time;
use key_guard_core::cloudtrail::{CredentialEvent, EventKind};
use key_guard_core::key::KeyRef;
use key_guard_core::lifecycle::dry_run::{DryRunState, report_of_ignored_event};
use key_guard_core::lifecycle::effect::{CallError, Retry};
use key_guard_core::lifecycle::input::{Ceiling, Env, Input, KeyEvent, KeyEventKind, WorkerId};
use key_guard_core::lifecycle::state::{StoredState, Version};
use key_guard_core::lifecycle::{MAX_RETRIES, backoff};
use key_guard_core::policy::Policy;
use key_guard_core::ports::KeyStore as _;
use key_guard_core::report::{Outcome, Report};
use key_guard_core::words::describe_event;

use self::console_users::{AccountUser, ConsoleUsers};
use super::messages::say;
use crate::clock::{Clock as _, SystemClock};
use crate::ledger::audit::AuditEvent;
use crate::ledger::error::LedgerError;
use crate::ledger::store::Ledger;

/// A dry run could not be read or stored.
#[derive(Debug, thiserror::Error)]
pub enum DryRunError {
    /// That of a key.
    #[error("the dry run of {key} could not be recorded")]
    Key {
        /// Which key.
        key: KeyRef,
        /// Why. Events of the same key share it.
        source: Arc<CallError>,
    },
    /// An event that is about no key.
    #[error("the event could not be recorded")]
    Attempt(#[source] CallError),
    /// An event about a user.
    #[error("the keys of the user could not be looked up")]
    User(#[source] Arc<CallError>),
}

/// What would follow from an event.
#[derive(Debug)]
pub enum Preview {
    /// What is known of its key next. `None`: the same as before.
    Key(Option<DryRunState>, Box<Report>),
    /// It is about no key, and is recorded as it is.
    Attempt(Box<Report>),
}

/// There is no more room for changes of users.
const TOO_MANY_WAIT: &str = "warning: so many calls about other users were read that further ones are not kept: those about a user whose key \
                             a later input creates in a console session are missed. Replay the same inputs once more to find them";

/// Whether a user has a key that was created in a console session.
type Lookup = Result<bool, Arc<CallError>>;

/// What would follow from an event. `earlier` is what dry runs know of its key.
#[must_use]
pub fn preview(event: &CredentialEvent, earlier: Option<&DryRunState>, env: &Env<'_>) -> Preview {
    let Some(event) = KeyEvent::new(event.clone()) else {
        let report = Report::not_assessed(event, describe_event(&event.kind));
        return Preview::Attempt(Box::new(Report { outcome: Outcome::Recorded, ..report }));
    };
    let next = DryRunState::next(&Input::Event(Box::new(event.clone())), earlier, env);
    let report = match next.as_ref().and_then(DryRunState::assessed) {
        Some(dry_run) if !takes_a_key_out_of_use(&event) => dry_run.report_of_event(&event),
        Some(_) | None => {
            report_of_ignored_event(&event, earlier.and_then(DryRunState::assessed), env.policy)
        }
    };
    Preview::Key(next, Box::new(report))
}

/// True for a deactivation or a deletion.
const fn takes_a_key_out_of_use(event: &KeyEvent) -> bool {
    match event.kind {
        KeyEventKind::Deactivated(_) | KeyEventKind::Deleted(_) => true,
        KeyEventKind::Created(_) | KeyEventKind::Activated(_) | KeyEventKind::Reset(_) => false,
    }
}

/// Records dry runs, many with one call.
pub struct DryRuns<'a> {
    policy: &'a Policy,
    ceiling: Ceiling,
    store: Ledger,
    worker: WorkerId,
    users: Mutex<ConsoleUsers>,
}

/// What is known of a key's dry runs.
pub struct KnownDryRun {
    /// As it is stored, and its version.
    stored: Option<(DryRunState, Version)>,
    /// As it is to be stored.
    pub latest: Option<DryRunState>,
    /// Why it could not be read, or not be stored.
    pub error: Option<Arc<CallError>>,
}

impl KnownDryRun {
    /// What has to be stored and the version that it replaces, if anything has changed.
    fn changed(&self) -> Option<(DryRunState, Version)> {
        let latest = self.latest.as_ref().filter(|_| self.error.is_none())?;
        match &self.stored {
            Some((stored, _)) if stored.says_the_same_as(latest) => None,
            Some((_, version)) => Some((latest.clone(), *version)),
            None => Some((latest.clone(), Version::ABSENT)),
        }
    }
}

impl<'a> DryRuns<'a> {
    /// Under this policy, up to this ceiling.
    #[must_use]
    pub fn new(policy: &'a Policy, ceiling: Ceiling, store: Ledger) -> Self {
        // There are no leases here.
        let worker = WorkerId("dry-run".to_owned());
        Self { policy, ceiling, store, worker, users: Mutex::default() }
    }

    /// The circumstances of a step that is taken now. It has all the time that it needs.
    #[must_use]
    pub fn env(&self) -> Env<'_> {
        let now = SystemClock.now();
        Env { policy: self.policy, ceiling: self.ceiling, now, deadline: Time::MAX_UTC, worker: &self.worker }
    }

    /// Previews events, in order, and records what would follow: each with its result. `None`: the event is irrelevant, as far
    /// as is known by now. Events that were so far come once more, behind the others, where these make them relevant.
    pub async fn process(
        &self,
        mut events: Vec<CredentialEvent>,
    ) -> Vec<(CredentialEvent, Result<Option<Report>, DryRunError>)> {
        let late = self.users().note(&events);
        events.extend(late);
        let looked_up = self.look_up_users(&events).await;
        let irrelevance = |event: &CredentialEvent| match event.user_to_look_up() {
            None => Ok(None),
            Some(user) => match looked_up.get(&AccountUser::new(event, user)) {
                Some(Err(error)) => Err(DryRunError::User(Arc::clone(error))),
                Some(Ok(has_console_key)) => Ok(event.irrelevance(*has_console_key)),
                None => Ok(event.irrelevance(false)),
            },
        };
        let checked: Vec<_> = events.iter().map(irrelevance).collect();
        let of_unknown_users = events.iter().zip(&checked).filter(|(_, why)| matches!(why, Ok(Some(_))));
        if !of_unknown_users.fold(true, |has_room, (event, _)| self.users().wait(event) && has_room) {
            say(TOO_MANY_WAIT);
        }
        let relevant = events.iter().zip(&checked).filter(|(_, why)| matches!(why, Ok(None)));
        let relevant: Vec<_> = relevant.map(|(event, _)| event).collect();
        let mut reports = self.process_relevant(&relevant).await.into_iter();
        let result = |why| match why {
            Ok(None) => reports.next().transpose(),
            Ok(Some(_)) => Ok(None),
            Err(error) => Err(error),
        };
        let results: Vec<_> = checked.into_iter().map(result).collect();
        events.into_iter().zip(results).collect()
    }

    fn users(&self) -> MutexGuard<'_, ConsoleUsers> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of the users that matter here have a key that was created in a console session: by the events of this run, or else
    /// by the ledger, with one question for each user.
    async fn look_up_users(&self, events: &[CredentialEvent]) -> HashMap<AccountUser, Lookup> {
        let users: BTreeSet<_> = events
            .iter()
            .filter_map(|event| event.user_to_look_up().map(|user| AccountUser::new(event, user)))
            .collect();
        let (created, asked): (Vec<_>, Vec<_>) = {
            let known = self.users();
            users.into_iter().partition(|user| known.knows(user))
        };
        let ask = async |users: &[AccountUser]| {
            let users = users.iter();
            join_all(users.map(|user| self.store.has_console_key_in_dry_run(&user.account, &user.user))).await
        };
        let answers = with_retries(&asked, ask).await.into_iter().map(|answer| answer.map_err(Arc::new));
        asked.into_iter().zip(answers).chain(created.into_iter().map(|user| (user, Ok(true)))).collect()
    }

    async fn process_relevant(&self, events: &[&CredentialEvent]) -> Vec<Result<Report, DryRunError>> {
        let recorded = self.record_audit_events(events).await.into_iter();
        let recorded = recorded.chain(std::iter::repeat_with(|| Ok(())));
        let mut reports = vec![None; events.len()];
        let keys = events.iter().filter_map(|event| event.key());
        let preview_all = |known: &mut HashMap<KeyRef, KnownDryRun>| {
            for (event, report) in events.iter().zip(&mut reports) {
                let mut known = match event.key().map(|key| known.get_mut(&key)) {
                    // It was previewed before, and is stored.
                    Some(None) => continue,
                    known => known.flatten(),
                };
                let earlier = known.as_ref().and_then(|known| known.latest.as_ref());
                *report = Some(match preview(event, earlier, &self.env()) {
                    Preview::Key(next, report) => {
                        if let (Some(known), Some(next)) = (&mut known, next) {
                            known.latest = Some(next);
                        }
                        *report
                    }
                    Preview::Attempt(report) => *report,
                });
            }
        };
        let known = self.update(keys.collect(), preview_all).await;
        let failure = |event: &CredentialEvent| {
            let key = event.key()?;
            let source = Arc::clone(known.get(&key)?.error.as_ref()?);
            Some(DryRunError::Key { key, source })
        };
        let result = |((event, report), recorded): ((&&CredentialEvent, Option<Report>), Result<(), _>)| {
            if let Some(error) = failure(event) {
                return Err(error);
            }
            recorded.and_then(|()| report.ok_or_else(CallError::no_result)).map_err(DryRunError::Attempt)
        };
        events.iter().zip(reports).zip(recorded).map(result).collect()
    }

    /// Records those of the events that are about no key, and keys that the policy does not judge: a result for each event, in
    /// their order.
    async fn record_audit_events(&self, events: &[&CredentialEvent]) -> Vec<Result<(), CallError>> {
        let audited: Vec<_> = events.iter().map(|event| self.audit_event(event)).collect();
        let wanted: Vec<_> = audited.iter().flatten().cloned().collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let record = async |events: &[AuditEvent]| self.store.record_audit_events(events).await;
        let mut results = with_retries(&wanted, record).await.into_iter();
        let mut result = |_| results.next().unwrap_or_else(|| Err(CallError::no_result()));
        audited.into_iter().map(|audited| audited.map_or(Ok(()), &mut result)).collect()
    }

    fn audit_event(&self, event: &CredentialEvent) -> Option<AuditEvent> {
        let is_judged = match &event.kind {
            EventKind::Created(created) => self.policy.judges(&created.service),
            EventKind::StatusChanged { .. }
            | EventKind::SecretReset(_)
            | EventKind::Deleted(_)
            | EventKind::Failed(_)
            | EventKind::UserChanged(_) => true,
        };
        if is_judged { AuditEvent::new(event.clone()) } else { AuditEvent::of_unjudged_key(event.clone()) }
    }

    /// Reads the dry runs of these keys, lets `judge` set what is known next, and stores what has changed, with as few calls as
    /// there can be. Where somebody else has stored another dry run of a key meanwhile, that is read and judged again: `judge`
    /// then has those keys alone.
    pub async fn update(
        &self,
        mut keys: BTreeSet<KeyRef>,
        mut judge: impl FnMut(&mut HashMap<KeyRef, KnownDryRun>),
    ) -> HashMap<KeyRef, KnownDryRun> {
        let mut updated = HashMap::new();
        for refusals in 0..=MAX_RETRIES {
            let mut known = self.load(keys).await;
            judge(&mut known);
            keys = self.save(&mut known).await;
            updated.extend(known);
            if keys.is_empty() {
                break;
            }
            tokio::time::sleep(backoff(refusals).to_std().unwrap_or_default()).await;
        }
        for key in keys {
            if let Some(known) = updated.get_mut(&key) {
                known.error = Some(Arc::new(busy(&key)));
            }
        }
        updated
    }

    async fn load(&self, keys: BTreeSet<KeyRef>) -> HashMap<KeyRef, KnownDryRun> {
        let keys: Vec<_> = keys.into_iter().collect();
        if keys.is_empty() {
            return HashMap::new();
        }
        let loaded = with_retries(&keys, async |keys: &[KeyRef]| self.store.load_dry_runs(keys).await).await;
        let known = loaded.into_iter().map(|loaded| match loaded {
            Ok(stored) => {
                let latest = stored.as_ref().map(|(dry_run, _)| dry_run.clone());
                KnownDryRun { latest, stored, error: None }
            }
            Err(error) => KnownDryRun { latest: None, stored: None, error: Some(Arc::new(error)) },
        });
        keys.into_iter().zip(known).collect()
    }

    /// Reads what the guard knows of these keys: a result for each. No key is named twice.
    pub async fn load_states(&self, keys: &[KeyRef]) -> Vec<Result<StoredState, CallError>> {
        with_retries(keys, async |keys: &[KeyRef]| self.store.load(keys).await).await
    }

    /// Stores what has changed. Returns the keys that others have stored meanwhile.
    async fn save(&self, known: &mut HashMap<KeyRef, KnownDryRun>) -> BTreeSet<KeyRef> {
        let changed: Vec<_> = known.values().filter_map(KnownDryRun::changed).collect();
        let mut refused = BTreeSet::new();
        if changed.is_empty() {
            return refused;
        }
        let put = async |dry_runs: &[(DryRunState, Version)]| self.store.put_dry_runs(dry_runs).await;
        for ((dry_run, _), result) in changed.iter().zip(with_retries(&changed, put).await) {
            match (result, known.get_mut(dry_run.key())) {
                (Ok(true), _) | (Err(_), None) => {}
                (Ok(false), _) => {
                    refused.insert(dry_run.key().clone());
                }
                (Err(error), Some(known)) => known.error = Some(Arc::new(error)),
            }
        }
        refused
    }
}

/// Others kept writing the dry run of a key.
fn busy(key: &KeyRef) -> CallError {
    let source = LedgerError::changed_in_between(format!("KEY#{}", key.id));
    CallError { call: "storing a dry run", retry: Retry::Transient, source: Box::new(source) }
}

/// Makes a call for many items, and repeats it for those for which it failed and may succeed (R7): a result for each.
async fn with_retries<I: Clone, T>(
    items: &[I],
    call: impl AsyncFn(&[I]) -> Vec<Result<T, CallError>>,
) -> Vec<Result<T, CallError>> {
    let mut results = call(items).await;
    for failures in 0..MAX_RETRIES {
        let is_transient = |result: &Result<T, CallError>| {
            result.as_ref().is_err_and(|error| error.retry == Retry::Transient)
        };
        let (slots, failed): (Vec<_>, Vec<_>) = results
            .iter_mut()
            .zip(items)
            .filter(|(result, _)| is_transient(result))
            .map(|(result, item)| (result, item.clone()))
            .unzip();
        if failed.is_empty() {
            break;
        }
        tokio::time::sleep(backoff(failures).to_std().unwrap_or_default()).await;
        for (slot, result) in slots.into_iter().zip(call(&failed).await) {
            *slot = result;
        }
    }
    results
}
