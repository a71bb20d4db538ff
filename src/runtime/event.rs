//! One event, until it has its report.

use key_guard_core::cloudtrail::{CredentialEvent, Irrelevant, ParsedEvent, Provenance, Unreadable};
use key_guard_core::key::{AccountId, EventId, UserName};
use key_guard_core::lifecycle::effect::CallError;
use key_guard_core::lifecycle::input::{Input, KeyEvent};
use key_guard_core::lifecycle::lookup::{CreationLookup, NoSuchKey};
use key_guard_core::lifecycle::result::SessionError;
use key_guard_core::lifecycle::session::Session;
use key_guard_core::ports::{CredentialApi, KeyStore};
use key_guard_core::report::{Outcome, Report};
use key_guard_core::words::describe_event;

use super::executor::Executor;
use crate::clock::Clock;

/// Where calls are recorded from which no state of a key follows: those that failed, changes of users that a console created for
/// an API key, and creations of keys that the policy does not judge.
pub trait AttemptStore: Sync {
    /// Records such an event. One that is delivered again is counted once, as long as an actor has not failed very often on
    /// its day.
    fn record_attempt(&self, event: &CredentialEvent) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Whether this user of an account has, or had, an API key that was created in a console session.
    fn has_console_key(
        &self,
        account: &AccountId,
        user: &UserName,
    ) -> impl Future<Output = Result<bool, CallError>> + Send;
}

/// An event that did not come to its end. It has to be delivered again.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// It cannot be read, and does not say that a key was created.
    #[error("the event cannot be read")]
    Unreadable(#[source] Unreadable),
    /// It is an unreadable creation, and IAM could not be asked which key it is about (R9).
    #[error(
        "a creation event could not be read ({unreadable}), and the keys of account {account} not listed"
    )]
    List {
        /// Whose keys.
        account: AccountId,
        /// What could not be read of the event.
        unreadable: Unreadable,
        /// Why.
        source: CallError,
    },
    /// It is an unreadable creation, and IAM lists no key that it may be about.
    #[error(transparent)]
    NoSuchKey(#[from] NoSuchKey),
    /// The key's session failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// It is an unreadable creation, and some sessions of the keys that it may be about failed.
    #[error("a creation event could not be read, and not every key was dealt with that it may be about")]
    Lookup {
        /// The reports of the other keys. The next delivery does not have those that were deleted.
        reports: Vec<Report>,
        /// The first failure.
        source: SessionError,
    },
    /// It is about a user, and the ledger could not be asked whether that user has an API key of a console session.
    #[error("the keys of the user of event {event_id} could not be looked up")]
    LookUpUser {
        /// Which event.
        event_id: EventId,
        /// Why.
        source: CallError,
    },
    /// A call from which no state of a key follows could not be recorded.
    #[error("event {event_id} could not be recorded")]
    Record {
        /// Which event.
        event_id: EventId,
        /// Why.
        source: CallError,
    },
}

/// Deals with an event that could be read, and returns its report.
///
/// # Errors
/// When it did not come to its end.
pub async fn process_event<S: KeyStore, A: CredentialApi, C: Clock>(
    executor: &Executor<'_, S, A, C>,
    attempts: &impl AttemptStore,
    event: ParsedEvent,
) -> Result<Report, EventError> {
    let event = match event {
        ParsedEvent::Irrelevant(why) => return Ok(Report::irrelevant(&why)),
        ParsedEvent::Relevant(event) => *event,
    };
    // Failed calls and changes of users are about no key.
    let Some(key_event) = KeyEvent::new(event.clone()) else {
        return match irrelevance(executor, attempts, &event).await? {
            Some(why) => Ok(Report::irrelevant(&why)),
            None => record_attempt(executor, attempts, &event).await,
        };
    };
    let session = Session::new(key_event.key(), Input::Event(Box::new(key_event)));
    let result = executor.run(session).await?;
    let report = executor.report(&result);
    if report.service_not_judged {
        record(executor, attempts, &event).await?;
    }
    Ok(report)
}

/// Deals with an event that could not be read. If it says that a key was created, IAM is asked which key may be meant
/// (R9): there is a report for each of those, in IAM's order.
///
/// # Errors
/// When the event says something else, when IAM does not list such a key, and when any of the sessions fails.
pub async fn process_unreadable_event<S: KeyStore, A: CredentialApi, C: Clock>(
    executor: &Executor<'_, S, A, C>,
    unreadable: Unreadable,
) -> Result<Vec<Report>, EventError> {
    let Some(lookup) = CreationLookup::new(&unreadable) else {
        return Err(EventError::Unreadable(unreadable));
    };
    let result = look_up(executor, &lookup, &unreadable).await;
    match (result, lookup.widened()) {
        (Err(EventError::NoSuchKey(_)), Some(wider)) => look_up(executor, &wider, &unreadable).await,
        (result, _) => result,
    }
}

async fn look_up<S: KeyStore, A: CredentialApi, C: Clock>(
    executor: &Executor<'_, S, A, C>,
    lookup: &CreationLookup,
    unreadable: &Unreadable,
) -> Result<Vec<Report>, EventError> {
    let (account, scope) = (lookup.account(), lookup.scope());
    let mut asked_at = executor.clock.now();
    let list = || {
        asked_at = executor.clock.now();
        executor.api.list(account, &scope)
    };
    let listed = executor.retry(list).await.map_err(|source| EventError::List {
        account: account.clone(),
        unreadable: unreadable.clone(),
        source,
    })?;
    let (mut results, mut failure) = (Vec::new(), None);
    for result in executor.run_all(lookup.sessions(listed, asked_at)?).await {
        match result {
            Ok(result) => results.push(result),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let reports = lookup.reports(&results, |result| executor.report(result));
    match failure {
        None => Ok(reports?),
        Some(source) => Err(EventError::Lookup { reports: reports.unwrap_or_default(), source }),
    }
}

/// Why an event about a user is irrelevant, if it is. Where the user's name does not tell, the ledger is asked.
async fn irrelevance<S: KeyStore, A: CredentialApi, C: Clock>(
    executor: &Executor<'_, S, A, C>,
    attempts: &impl AttemptStore,
    event: &CredentialEvent,
) -> Result<Option<Irrelevant>, EventError> {
    let Some(user) = event.user_to_look_up() else { return Ok(None) };
    let Provenance { account, event_id, .. } = &event.provenance;
    let look_up = || attempts.has_console_key(account, user);
    let has_console_key = executor
        .retry(look_up)
        .await
        .map_err(|source| EventError::LookUpUser { event_id: event_id.clone(), source })?;
    Ok(event.irrelevance(has_console_key))
}

async fn record_attempt<S: KeyStore, A: CredentialApi, C: Clock>(
    executor: &Executor<'_, S, A, C>,
    attempts: &impl AttemptStore,
    event: &CredentialEvent,
) -> Result<Report, EventError> {
    record(executor, attempts, event).await?;
    let report = Report::not_assessed(event, describe_event(&event.kind));
    Ok(Report { outcome: Outcome::Recorded, ..report })
}

async fn record<S: KeyStore, A: CredentialApi, C: Clock>(
    executor: &Executor<'_, S, A, C>,
    attempts: &impl AttemptStore,
    event: &CredentialEvent,
) -> Result<(), EventError> {
    let recorded = executor.retry(|| attempts.record_attempt(event)).await;
    recorded.map_err(|source| EventError::Record { event_id: event.provenance.event_id.clone(), source })
}
