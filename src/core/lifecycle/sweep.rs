//! A sweep: the keys that IAM lists now, judged as of now. It finds what no event told of.
//!
//! [`Sweep`] turns pages into [`Session`]s, and replies into effects, as a session does. An account is swept in three
//! steps: each of its lists is read page by page, and each listed key gets a session; the closing pass compares the
//! lists with the ledger (R3); then the account counts as swept (R10).
//!
//! ```text
//! Sweep::advance(Start) ─▶ LoadRecord ─▶ ListPage ─▶ RunSessions ─▶ … ─▶ LoadKnownKeys ─▶ RunSessions ─▶ PutRecord
//! ```
//!
//! The next page of a list is read while the sessions of a page run. Until its turn comes, it counts for nothing: the
//! time of an invocation that is over drops it, and the next invocation reads it again.
//!
//! When the time of an invocation is over, what is left becomes a [`SweepCheckpoint`]. Each invocation deals with one
//! key, page or list at least, however short it is. So a sweep always ends.

mod account;
mod counts;
mod effect;
mod page;

use std::collections::VecDeque;

use chrono::TimeDelta;

use crate::Time;
use crate::key::{AccountId, KeyRef};
use crate::policy::Services;

use super::effect::{CallError, Retry};
use super::input::{Env, ListedKey};
use super::result::{SessionError, SessionResult};
use super::session::Session;
use super::state::StoredState;
use super::summary::Publication;
use super::{MAX_RETRIES, RETRY_MARGIN, backoff};

use account::{AccountProgress, AccountReading, EndlessList, Listing, PageReading};

pub use account::{MAX_PAGES, SweepCheckpoint};
pub use counts::SweepCounts;
pub use effect::{
    PageRequest, SweepEffect, SweepError, SweepNext, SweepProblem, SweepRecord, SweepReply, SweepResult,
    UnreportedFinding,
};
pub use page::{KeyCursor, KeyPage, ServiceFilter};

/// No session and no page is begun in the last seconds of an invocation. A key takes up to five calls.
const SWEEP_MARGIN: TimeDelta = TimeDelta::seconds(10);

/// One invocation of a sweep.
#[derive(Debug)]
pub struct Sweep {
    services: Vec<ServiceFilter>,
    /// What is left, as of now.
    checkpoint: SweepCheckpoint,
    /// What this invocation knows of the account that was begun.
    reading: Option<AccountReading>,
    problems: Vec<SweepProblem>,
    /// True once less is left than this invocation began with.
    has_progressed: bool,
    /// What is under way, and since when.
    effect: Option<(SweepEffect, Time)>,
    /// The next page of the list, before its turn.
    read_ahead: Option<ReadAhead>,
    failures: u32,
}

/// A page that was read beside the sessions of the page before.
#[derive(Debug)]
struct ReadAhead {
    request: PageRequest,
    asked_at: Time,
    reply: SweepReply,
}

impl Sweep {
    /// Sweeps these accounts. `services` are those that the policy judges.
    #[must_use]
    pub fn new(accounts: impl IntoIterator<Item = AccountId>, services: &Services) -> Self {
        let accounts: VecDeque<_> = accounts.into_iter().collect();
        Self::from_checkpoint(
            SweepCheckpoint { accounts, account: None, counts: SweepCounts::default() },
            services,
        )
    }

    /// Continues where another invocation stopped.
    #[must_use]
    pub fn from_checkpoint(checkpoint: SweepCheckpoint, services: &Services) -> Self {
        Self {
            services: ServiceFilter::of(services),
            checkpoint,
            reading: None,
            problems: Vec::new(),
            has_progressed: false,
            effect: None,
            read_ahead: None,
            failures: 0,
        }
    }

    /// Takes the reply to the last effect, and returns what comes next.
    pub fn advance(&mut self, reply: SweepReply, env: &Env<'_>) -> SweepNext {
        let reply = match reply {
            SweepReply::Start => return self.proceed(env),
            SweepReply::Failed(error) => return self.failed(error, env),
            SweepReply::Waited => {
                return match self.effect.take() {
                    Some((effect, _)) => self.perform(effect, env),
                    None => Self::unexpected(&SweepReply::Waited),
                };
            }
            reply @ (SweepReply::Record(_)
            | SweepReply::Page(_)
            | SweepReply::SessionsEnded { .. }
            | SweepReply::KnownKeys(_)
            | SweepReply::RecordStored) => reply,
        };
        self.failures = 0;
        match (self.effect.take(), reply) {
            (Some((SweepEffect::LoadRecord(_), _)), SweepReply::Record(record)) => {
                self.record_loaded(record);
                self.proceed(env)
            }
            (Some((SweepEffect::ListPage(request), asked_at)), SweepReply::Page(page)) => {
                self.page_listed(&request.service, page, asked_at, env)
            }
            (
                Some((SweepEffect::RunSessions { read_ahead: request }, asked_at)),
                SweepReply::SessionsEnded { read_ahead },
            ) => {
                self.read_ahead = request.zip(read_ahead).map(|(request, page)| ReadAhead {
                    request,
                    asked_at,
                    reply: page.map_or_else(SweepReply::Failed, SweepReply::Page),
                });
                self.run_sessions(env)
            }
            (Some((SweepEffect::LoadKnownKeys { .. }, _)), SweepReply::KnownKeys(page)) => {
                self.known_keys_loaded(page, env)
            }
            (Some((SweepEffect::PutRecord { .. }, _)), SweepReply::RecordStored) => {
                self.checkpoint.counts.accounts_completed += 1;
                self.end_account(env)
            }
            (_, reply) => Self::unexpected(&reply),
        }
    }

    /// The next session of [`SweepEffect::RunSessions`]. `None`: there is none left, or no time for it.
    pub fn next_session(&mut self, env: &Env<'_>) -> Option<Session> {
        let has_progressed = self.has_progressed;
        let page = &mut self.reading.as_mut()?.page;
        if is_late(env.now, env.deadline) && (has_progressed || page.running > 0) {
            return None;
        }
        let session = page.sessions.pop_front()?;
        page.running += 1;
        Some(session)
    }

    /// True if a session that was begun may go on. It is asked for each key, when its turn comes (R10).
    #[must_use]
    pub fn has_time(&self, env: &Env<'_>) -> bool {
        !self.has_progressed || !is_late(env.now, env.deadline)
    }

    /// Takes the result of a session, and returns what has to be published.
    pub fn ended(
        &mut self,
        key: &KeyRef,
        result: Result<SessionResult, SessionError>,
        env: &Env<'_>,
    ) -> Option<UnreportedFinding> {
        let reading = self.reading.as_mut()?;
        let progress = self.checkpoint.account.as_mut()?;
        reading.page.running = reading.page.running.saturating_sub(1);
        // The next invocation begins with this key. If this one began with it, more time would not help.
        if matches!(result, Err(SessionError::OutOfTime)) && self.has_progressed {
            reading.page.is_cut = true;
            return None;
        }
        self.has_progressed = true;
        progress.position.done.insert(key.id.clone());
        let result = match result {
            Ok(result) => result,
            Err(error) => {
                self.checkpoint.counts.add_failure(&error, !progress.to_list.is_empty());
                self.problem(error.into());
                return None;
            }
        };
        self.checkpoint.counts.add_result(&result, reading.last_started, env);
        let publication = Publication::due(&result.stored, env.now)?;
        self.checkpoint.counts.unreported += 1;
        Some(UnreportedFinding { report: result.report(env), publication, stored: result.stored })
    }

    /// Goes on with the next page, list or account.
    fn proceed(&mut self, env: &Env<'_>) -> SweepNext {
        if self.has_progressed && is_late(env.now, env.deadline) {
            return self.finish();
        }
        let Some(progress) = &self.checkpoint.account else { return self.begin_account(env) };
        let account = progress.account.clone();
        let Some(reading) = &mut self.reading else {
            return self.perform(SweepEffect::LoadRecord(account), env);
        };
        if let Some(service) = progress.to_list.front() {
            let new = || Listing::new(service.clone(), progress.position.clone(), env.now);
            let cursor = reading.open.get_or_insert_with(new).position.cursor.clone();
            return self.list_page(PageRequest { account, service: service.clone(), cursor }, env);
        }
        if let Some(service) = reading.to_reread(progress).cloned() {
            return self.reread(account, service, env);
        }
        let ended_since = reading.last_started;
        let cursor = progress.position.cursor.clone();
        self.perform(SweepEffect::LoadKnownKeys { account, ended_since, cursor }, env)
    }

    /// Reads a list once more for the closing pass: other invocations have seen its pages, and a checkpoint with all
    /// of its keys would be too large.
    fn reread(&mut self, account: AccountId, service: ServiceFilter, env: &Env<'_>) -> SweepNext {
        if is_late(env.now, env.deadline) {
            // This invocation began with it. The next one would not get further.
            let problem = SweepProblem::TooLongToReread { account, service: service.clone() };
            return self.list_failed(&service, problem, env);
        }
        let Some(reading) = &mut self.reading else { return self.proceed(env) };
        let new = || Listing::new(service.clone(), account::Position::default(), env.now);
        let cursor = reading.open.get_or_insert_with(new).position.cursor.clone();
        self.list_page(PageRequest { account, service, cursor }, env)
    }

    /// Reads a page, or takes what came of it when it was read ahead.
    fn list_page(&mut self, request: PageRequest, env: &Env<'_>) -> SweepNext {
        match self.read_ahead.take().filter(|ahead| ahead.request == request) {
            Some(ReadAhead { request, asked_at, reply }) => {
                self.effect = Some((SweepEffect::ListPage(request), asked_at));
                self.advance(reply, env)
            }
            None => self.perform(SweepEffect::ListPage(request), env),
        }
    }

    fn begin_account(&mut self, env: &Env<'_>) -> SweepNext {
        let Some(account) = self.checkpoint.accounts.pop_front() else { return self.finish() };
        self.checkpoint.account = Some(AccountProgress::new(account, &self.services, env.now));
        self.reading = None;
        self.proceed(env)
    }

    fn end_account(&mut self, env: &Env<'_>) -> SweepNext {
        self.checkpoint.counts.accounts += 1;
        self.checkpoint.account = None;
        self.reading = None;
        self.has_progressed = true;
        self.proceed(env)
    }

    fn record_loaded(&mut self, record: Option<SweepRecord>) {
        let last_started = record.map(|record| record.started);
        self.reading = Some(AccountReading { last_started, ..AccountReading::default() });
    }

    fn page_listed(
        &mut self,
        service: &ServiceFilter,
        page: KeyPage<ListedKey>,
        asked_at: Time,
        env: &Env<'_>,
    ) -> SweepNext {
        let (Some(progress), Some(reading)) = (&mut self.checkpoint.account, &mut self.reading) else {
            return self.proceed(env);
        };
        if let Some(listing) = &mut reading.open {
            listing.add(&page, asked_at);
        }
        if progress.to_list.is_empty() {
            return self.turn_page(service, page.next, env);
        }
        self.checkpoint.counts.pages += 1;
        reading.take_listed(page, &progress.position.done, asked_at, env.policy);
        self.run_sessions(env)
    }

    fn known_keys_loaded(&mut self, page: KeyPage<StoredState>, env: &Env<'_>) -> SweepNext {
        if let (Some(progress), Some(reading)) = (&self.checkpoint.account, &mut self.reading) {
            reading.take_known(page, &progress.position.done, env.now);
        }
        self.run_sessions(env)
    }

    /// Runs the page's sessions. Turns the page once there are none left.
    fn run_sessions(&mut self, env: &Env<'_>) -> SweepNext {
        let (Some(progress), Some(reading)) = (&self.checkpoint.account, &mut self.reading) else {
            return self.proceed(env);
        };
        if reading.page.is_cut
            || (self.has_progressed && is_late(env.now, env.deadline) && !reading.page.sessions.is_empty())
        {
            return self.finish();
        }
        if !reading.page.sessions.is_empty() {
            let read_ahead = self.next_page(env);
            return self.perform(SweepEffect::RunSessions { read_ahead }, env);
        }
        let PageReading { not_judged, unreadable, next, .. } = std::mem::take(&mut reading.page);
        let account = progress.account.clone();
        let listed = progress.to_list.front().cloned();
        self.has_progressed = true;
        self.checkpoint.counts.not_judged += not_judged;
        self.checkpoint.counts.unreadable += unreadable;
        if unreadable > 0 {
            self.problem(match listed.clone() {
                Some(service) => SweepProblem::UnreadableKeys { account, service, count: unreadable },
                None => SweepProblem::UnreadableRecords { account, count: unreadable },
            });
        }
        match (listed, next) {
            (Some(service), next) => self.turn_page(&service, next, env),
            (None, None) => self.complete_account(env),
            (None, next @ Some(_)) => {
                if let Some(progress) = &mut self.checkpoint.account {
                    progress.position = account::Position { cursor: next, ..account::Position::default() };
                }
                self.proceed(env)
            }
        }
    }

    /// What comes after the page that is being dealt with, if that is a page of IAM's list. Nothing is read ahead that
    /// there will be no time for.
    fn next_page(&self, env: &Env<'_>) -> Option<PageRequest> {
        let (progress, reading) = (self.checkpoint.account.as_ref()?, self.reading.as_ref()?);
        let (service, cursor) = (progress.to_list.front()?.clone(), reading.page.next.clone()?);
        let account = progress.account.clone();
        (!is_late(env.now, env.deadline)).then_some(PageRequest { account, service, cursor: Some(cursor) })
    }

    /// Turns to the list's next page, or ends the list.
    fn turn_page(&mut self, service: &ServiceFilter, next: Option<KeyCursor>, env: &Env<'_>) -> SweepNext {
        let (Some(progress), Some(reading)) = (&mut self.checkpoint.account, &mut self.reading) else {
            return self.proceed(env);
        };
        let is_reread = progress.to_list.is_empty();
        let Some(listing) = &mut reading.open else { return self.proceed(env) };
        match listing.turn_page(next) {
            Ok(true) if is_reread => {}
            Ok(true) => progress.position = listing.position.clone(),
            Ok(false) => {
                reading.read.extend(reading.open.take().filter(Listing::is_whole));
                if !is_reread {
                    progress.end_list(true);
                }
            }
            Err(EndlessList) => {
                let account = progress.account.clone();
                let problem = SweepProblem::EndlessList { account, service: service.clone() };
                return self.list_failed(service, problem, env);
            }
        }
        self.proceed(env)
    }

    /// The other lists go on. None of this one's keys is called absent.
    fn list_failed(&mut self, service: &ServiceFilter, problem: SweepProblem, env: &Env<'_>) -> SweepNext {
        let (Some(progress), Some(reading)) = (&mut self.checkpoint.account, &mut self.reading) else {
            return self.proceed(env);
        };
        reading.open = None;
        if progress.to_list.is_empty() {
            progress.give_up(service);
        } else {
            progress.end_list(false);
            self.checkpoint.counts.lists_failed += 1;
            self.has_progressed = true;
        }
        self.problem(problem);
        self.proceed(env)
    }

    /// The closing pass has ended.
    fn complete_account(&mut self, env: &Env<'_>) -> SweepNext {
        match &self.checkpoint.account {
            Some(progress) if progress.is_complete => {
                let record = SweepRecord { started: progress.started };
                let account = progress.account.clone();
                self.perform(SweepEffect::PutRecord { account, record }, env)
            }
            Some(_) | None => self.end_account(env),
        }
    }

    fn perform(&mut self, effect: SweepEffect, env: &Env<'_>) -> SweepNext {
        self.effect = Some((effect.clone(), env.now));
        SweepNext::Perform(effect)
    }

    /// Retries a transient failure (R7). Otherwise the sweep goes on without what the call was for.
    fn failed(&mut self, source: CallError, env: &Env<'_>) -> SweepNext {
        if source.retry == Retry::Transient && self.has_progressed && is_late(env.now, env.deadline) {
            return self.finish();
        }
        let delay = backoff(self.failures);
        let has_time = env.now + delay + RETRY_MARGIN < env.deadline;
        if source.retry == Retry::Transient && self.failures < MAX_RETRIES && has_time {
            self.failures += 1;
            return SweepNext::Wait(delay);
        }
        self.failures = 0;
        match self.effect.take() {
            Some((SweepEffect::LoadRecord(account), _)) => {
                self.problem(SweepProblem::Ledger { account, source });
                // Then everything is new.
                self.record_loaded(None);
                self.proceed(env)
            }
            Some((SweepEffect::ListPage(PageRequest { account, service, .. }), _)) => {
                let problem = SweepProblem::List { account, service: service.clone(), source };
                self.list_failed(&service, problem, env)
            }
            Some((
                SweepEffect::LoadKnownKeys { account, .. } | SweepEffect::PutRecord { account, .. },
                _,
            )) => {
                self.problem(SweepProblem::Ledger { account, source });
                self.end_account(env)
            }
            Some((SweepEffect::RunSessions { .. }, _)) | None => {
                Self::unexpected(&SweepReply::Failed(source))
            }
        }
    }

    fn problem(&mut self, problem: SweepProblem) {
        self.checkpoint.counts.problems += 1;
        self.problems.push(problem);
    }

    fn finish(&mut self) -> SweepNext {
        let problems = std::mem::take(&mut self.problems);
        let counts = self.checkpoint.counts.clone();
        let is_left = self.checkpoint.account.is_some() || !self.checkpoint.accounts.is_empty();
        if !is_left && counts.pages == 0 && counts.lists_failed > 0 {
            return SweepNext::Finished(Err(SweepError::NothingListed { problems }));
        }
        let checkpoint = is_left.then(|| self.checkpoint.clone());
        SweepNext::Finished(Ok(Box::new(SweepResult { counts, problems, checkpoint })))
    }

    fn unexpected(reply: &SweepReply) -> SweepNext {
        SweepNext::Finished(Err(SweepError::UnexpectedReply { reply: format!("{reply:?}") }))
    }
}

/// True if a sweep or a resume should begin nothing more in this invocation.
#[must_use]
pub fn is_late(now: Time, deadline: Time) -> bool {
    now + SWEEP_MARGIN >= deadline
}
