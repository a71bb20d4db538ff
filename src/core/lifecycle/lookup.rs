//! A creation event that could not be read: IAM is asked which key it is about (R9).

use std::collections::HashSet;

use chrono::TimeDelta;

use crate::Time;
use crate::cloudtrail::{CreatedKey, Unreadable, UnreadableCreation};
use crate::evidence::EventEvidence;
use crate::key::AccountId;
use crate::report::Report;
use crate::words::lifecycle as words;

use super::effect::FindScope;
use super::input::{Input, KeyEvent, KeyEventKind, ListedKey, Sighting};
use super::result::SessionResult;
use super::session::Session;

/// A key that was created at most this long before or after the event may be the one that it is about.
pub const LOOKUP_WINDOW: TimeDelta = TimeDelta::minutes(10);

/// What is known of a creation whose event could not be read as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreationLookup {
    creation: UnreadableCreation,
    /// What could not be read.
    unreadable: String,
}

/// The lookup found nothing. A wider one may: [`CreationLookup::widened`]. Otherwise the event is delivered again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a creation event could not be read ({unreadable}), and IAM lists no key in account {account} that was \
     created within 10 minutes of it, other than by an event that could be read"
)]
pub struct NoSuchKey {
    /// Whose keys were listed.
    pub account: AccountId,
    /// What could not be read.
    pub unreadable: String,
}

impl CreationLookup {
    /// `None` if the event does not say that a key was created.
    #[must_use]
    pub fn new(unreadable: &Unreadable) -> Option<Self> {
        let creation = UnreadableCreation::clone(unreadable.creation.as_deref()?);
        Some(Self { creation, unreadable: unreadable.to_string() })
    }

    /// The account whose keys are listed.
    #[must_use]
    pub const fn account(&self) -> &AccountId {
        &self.creation.provenance.account
    }

    /// Whose keys are listed: those of the user that the event names, otherwise the account's.
    #[must_use]
    pub fn scope(&self) -> FindScope {
        self.creation.user.clone().map_or(FindScope::Account, FindScope::User)
    }

    /// The same for all keys of the account: the user may have another name by now. `None` if it was so before.
    #[must_use]
    pub fn widened(mut self) -> Option<Self> {
        self.creation.user.take().map(|_| self)
    }

    /// A session for each key that the event may be about, as if the event had been readable. `listed` is what IAM
    /// returned for [`CreationLookup::scope`].
    ///
    /// # Errors
    /// [`NoSuchKey`] when there is none.
    pub fn sessions(&self, listed: Vec<ListedKey>, asked_at: Time) -> Result<Vec<Session>, NoSuchKey> {
        let mut seen = HashSet::new();
        let sessions: Vec<_> = listed
            .into_iter()
            .filter(|listed| self.may_be_about(listed) && seen.insert(listed.key.id.clone()))
            .map(|listed| self.session(listed, asked_at))
            .collect();
        if sessions.is_empty() {
            return Err(self.no_such_key());
        }
        Ok(sessions)
    }

    /// The reports of its sessions, which say that the event could not be read. A key that another event has created, which
    /// could be read, is not the one that was looked for.
    ///
    /// # Errors
    /// [`NoSuchKey`] when there is no other.
    pub fn reports(
        &self,
        results: &[SessionResult],
        report: impl Fn(&SessionResult) -> Report,
    ) -> Result<Vec<Report>, NoSuchKey> {
        let results = results.iter().filter(|result| !self.is_created_by_another(result));
        let reports: Vec<_> = results.map(|result| self.report(report(result))).collect();
        if reports.is_empty() { Err(self.no_such_key()) } else { Ok(reports) }
    }

    fn report(&self, report: Report) -> Report {
        let reason = words::describe_unreadable_creation(&self.unreadable, &report.reason);
        Report { reason, ..report }
    }

    fn is_created_by_another(&self, result: &SessionResult) -> bool {
        let Some(record) = result.stored.state.record() else { return false };
        let is_read = record.evidence.event.as_ref().is_some_and(|evidence| !evidence.says_nothing());
        let event = &self.creation.provenance.event_id;
        is_read && record.creation.as_ref().is_some_and(|creation| creation.event_id != *event)
    }

    fn no_such_key(&self) -> NoSuchKey {
        NoSuchKey { account: self.account().clone(), unreadable: self.unreadable.clone() }
    }

    fn may_be_about(&self, listed: &ListedKey) -> bool {
        let distance = (listed.created_at - self.creation.provenance.event_time).abs();
        listed.key.account == *self.account() && distance <= LOOKUP_WINDOW
    }

    fn session(&self, listed: ListedKey, asked_at: Time) -> Session {
        let provenance = self.creation.provenance.clone();
        let created = CreatedKey {
            key: listed.key.clone(),
            user: listed.user.clone(),
            service: listed.service.clone(),
            evidence: EventEvidence::nothing(provenance.event_time),
        };
        let event = KeyEvent { provenance, kind: KeyEventKind::Created(created) };
        let sighting = Sighting { asked_at, found: Some(listed.clone()) };
        Session::with_sighting(listed.key, Input::Event(Box::new(event)), sighting)
    }
}
