//! A sweep: the keys that IAM has now, judged as of now. It finds what no event told of.
//!
//! It lists an account's keys of all users, page by page, one service after the other, and asks the ledger for a
//! hundred keys at a time: as many calls as pages, never one for each user. What stands as the ledger has it costs
//! nothing more. What stands otherwise takes a [`Turn`] of its own and goes through [`Enforcer`], as an event does.
//! When an account's lists were read to their end, entries whose keys were in none are closed. A sweep that takes several
//! invocations reads the lists once more for that: none of them has seen every page.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::enforce::{
    CONSISTENCY_WINDOW, Enforcer, Failure, KeyList, Keys, KeysError, Known, Ledger, Listed, Opened, Page,
    Status,
};
use crate::ledger::Outcome;
use crate::ledger::{
    Confirmation, Entry, Kind, LastSweep, LedgerError, NewLine, Source, Turn, Walk, Which, Word,
};
use crate::plan::{Hands, Plan, plan};
use key_guard_core::key::{AccountId, CredentialId, Expiration, KeyRef, UserName};
use key_guard_core::policy::{Policy, Response, Scope, Verdict, Violation};
use key_guard_core::report::{self, Report};
use key_guard_core::time::rfc3339;

/// Keys that are acted upon side by side.
const AT_ONCE: usize = 8;

/// How often it is decided anew about a key that something else happened to in the meantime.
const ROUNDS: usize = 3;

/// For how long an open entry is left to its deliveries where they may go further than the sweep: Lambda repeats a
/// failed one within a few minutes.
const LEFT_TO_DELIVERIES: TimeDelta = TimeDelta::minutes(15);

/// A key that ends within this time is counted as ending soon.
pub const SOON: TimeDelta = TimeDelta::days(7);

/// More pages than any account fills: 5,000 users (IAM quotas) with two keys each, even where IAM returns a
/// hundredth of what was asked for. What goes on after them goes in circles.
const MAX_PAGES: usize = 10_000;

/// What sweeps accounts.
#[derive(Debug)]
pub struct Sweep<'a, L, K, C> {
    /// What is allowed.
    pub policy: &'a Policy,
    /// The furthest that any response may go.
    pub ceiling: Response,
    /// Tied: IAM is asked, and nothing is done; what is written binds nobody.
    pub hands: Hands,
    /// The record.
    pub ledger: &'a L,
    /// The keys.
    pub keys: &'a K,
    /// What time it is.
    pub clock: &'a C,
}

/// What a sweep found of a key.
#[derive(Debug, Clone)]
pub struct Found {
    /// What is new about it.
    pub change: Change,
    /// How it stands.
    pub report: Report,
    /// It was switched off or deleted just now.
    pub acted: bool,
    /// It is noncompliant, and works.
    pub works: bool,
    /// It works, and ends soon.
    pub ends_soon: bool,
    /// The breaker had switched it off instead of deleting it, and it is still there.
    pub held_back: bool,
}

/// How a key stands to what the ledger had of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// As before.
    None,
    /// The ledger did not know it.
    New,
    /// It is judged otherwise, belongs to another user, or works where it did not.
    Changed,
    /// Its plan had not been carried out, and now is.
    Resumed,
    /// Its plan has not been carried out, and goes further than this sweep may, or a delivery is at it.
    Open,
    /// IAM has it no more.
    Gone,
}

impl Change {
    /// As printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::New => "new",
            Self::Changed => "changed",
            Self::Resumed => "resumed",
            Self::Open => "open",
            Self::Gone => "gone",
        }
    }
}

/// Something that a sweep could not do; it goes on with the next key.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// A key of IAM's list cannot be read.
    #[error("a key was passed over")]
    Key(#[source] KeysError),
    /// An item of the ledger cannot be read.
    #[error("a key was passed over")]
    Item(#[source] LedgerError),
    /// A key could not be dealt with.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Why an account could not be swept.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// IAM could not be asked.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The ledger could not be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Where a sweep of an account goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rest {
    /// In which account.
    pub account: AccountId,
    /// With which list of keys; `None`: every key was judged, and what is left is to close the entries of those that
    /// are gone.
    pub service: Option<KeyList>,
    /// IAM's word for where the page begins; `None`: with the first.
    pub marker: Option<String>,
    /// When the sweep began in this account.
    pub began: DateTime<Utc>,
    /// How many keys it has seen there.
    pub keys: u64,
    /// How many it could not deal with.
    pub troubles: u64,
}

/// What the sweep of an account came to.
#[derive(Debug, Clone, Default)]
pub struct Swept {
    /// The sweep before.
    pub last: Option<LastSweep>,
    /// Keys that were listed.
    pub keys: u64,
    /// What could not be done.
    pub troubles: u64,
    /// What is left for another invocation.
    pub rest: Option<Rest>,
}

/// Who hears what is found, and says when time is up.
pub trait Listener {
    /// A key was looked at.
    fn found(&self, account: &AccountId, found: Found);
    /// Something went wrong with one.
    fn trouble(&self, account: &AccountId, trouble: &Trouble);
    /// Whether no further page may be begun.
    fn is_time_up(&self) -> bool;
}

/// What is to be done with a key.
enum Wanted {
    /// Nothing; this is how it stands.
    Leave(Change, Box<Entry>),
    /// Write this entry, over that revision or as a new one, and carry its plan out.
    Write(Change, Box<Entry>, Option<u64>),
    /// Carry out what is there.
    Resume(Box<Entry>),
}

impl<L: Ledger, K: Keys, C: Clock> Sweep<'_, L, K, C> {
    /// Sweeps an account from its beginning, or from where another sweep was interrupted.
    ///
    /// # Errors
    /// When IAM cannot be asked or the ledger cannot be used. What was found until then is in the ledger.
    pub async fn account(
        &self,
        account: &AccountId,
        from: Option<Rest>,
        listener: &impl Listener,
    ) -> Result<Swept, SweepError> {
        let mut swept = Swept { last: self.ledger.last_sweep(account).await?, ..Swept::default() };
        let resumes = from.is_some();
        let all = KeyList::of_policy(self.policy);
        let (began, before, services, mut marker) = match from {
            None => (self.clock.now(), 0, all.as_slice(), None),
            Some(Rest { account: _, service, marker, began, keys, troubles }) => {
                swept.troubles = troubles;
                let (services, marker) = match service.map(|at| all.iter().position(|one| *one == at)) {
                    None => (&[][..], None),
                    Some(Some(index)) => (all.get(index..).unwrap_or_default(), marker),
                    // The policy does not name it any more: from the beginning.
                    Some(None) => (all.as_slice(), None),
                };
                (began, keys, services, marker)
            }
        };
        let is_left = |service, marker, swept: &Swept| Rest {
            account: account.clone(),
            service,
            marker,
            began,
            keys: before + swept.keys,
            troubles: swept.troubles,
        };
        let mut seen = Seen::default();
        for (index, service) in services.iter().enumerate() {
            let mut asked_at = self.clock.now();
            let mut page = self.keys.list(account, service, marker.take()).await?;
            for number in 0.. {
                if number >= MAX_PAGES {
                    return Err(goes_in_circles(account).into());
                }
                seen.take(&page);
                swept.keys += page.keys.len() as u64;
                let Page { keys, next } = page;
                let Some(next) = next else {
                    swept.troubles += self.page(account, keys, asked_at, listener).await?;
                    break;
                };
                // The next page is on its way while this one is judged.
                let next_asked_at = self.clock.now();
                let (listed, troubles) = tokio::join!(
                    self.keys.list(account, service, Some(next.clone())),
                    self.page(account, keys, asked_at, listener)
                );
                asked_at = next_asked_at;
                swept.troubles += troubles?;
                if listener.is_time_up() {
                    swept.rest = Some(is_left(Some(service.clone()), Some(next), &swept));
                    return Ok(swept);
                }
                page = listed?;
            }
            if listener.is_time_up()
                && let Some(next) = services.get(index + 1)
            {
                swept.rest = Some(is_left(Some(next.clone()), None, &swept));
                return Ok(swept);
            }
        }
        // Other invocations have seen the beginning.
        let seen = (!resumes).then_some(seen);
        let closed = self.close_missing(account, began, seen, listener, &mut swept.troubles).await?;
        if !closed {
            swept.rest = Some(is_left(None, None, &swept));
            return Ok(swept);
        }
        let ended = LastSweep { began, ended: self.clock.now(), keys: before + swept.keys };
        if self.hands == Hands::Free {
            self.ledger.swept(account, &ended).await?;
        }
        Ok(swept)
    }

    /// Users that the console made for keys which are gone: they may still be there.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn users_of_gone_keys(&self, account: &AccountId) -> Result<Vec<UserName>, SweepError> {
        let (mut walk, mut users) = (Walk::default(), Vec::new());
        while let Some(entries) = self.ledger.walk(account, Which::GoneOfConsole, &mut walk).await? {
            users.extend(entries.into_iter().filter_map(Result::ok).map(|(_, user)| user));
        }
        users.sort();
        users.dedup();
        Ok(users)
    }

    /// The keys of a page: how many could not be dealt with.
    async fn page(
        &self,
        account: &AccountId,
        page: Vec<Result<Listed, KeysError>>,
        asked_at: DateTime<Utc>,
        listener: &impl Listener,
    ) -> Result<u64, SweepError> {
        let mut troubles = 0;
        let mut trouble = |what: Trouble| {
            troubles += 1;
            listener.trouble(account, &what);
        };
        let mut listed = Vec::with_capacity(page.len());
        for key in page {
            match key {
                Ok(key) => listed.push(key),
                Err(error) => trouble(Trouble::Key(error)),
            }
        }
        let wanted: Vec<KeyRef> = listed.iter().map(|listed| listed.key.key.clone()).collect();
        let mut known = self.ledger.read(&wanted).await?;
        let (mut new, mut others) = (Vec::new(), Vec::new());
        for listed in listed {
            let stored = match known.remove(&listed.key.key).transpose() {
                Ok(stored) => stored,
                Err(error) => {
                    trouble(Trouble::Item(error));
                    continue;
                }
            };
            match self.decide(&listed, stored, asked_at) {
                None => {}
                Some(Wanted::Leave(change, entry)) => {
                    let report = entry.report();
                    listener.found(account, self.found(change, &entry, Some(listed.status), false, report));
                }
                // What is only written down goes many to a call.
                Some(Wanted::Write(Change::New, entry, None)) if matches!(entry.plan, Plan::Record(_)) => {
                    new.push((*entry, listed.status));
                }
                Some(other) => others.push((other, listed)),
            }
        }
        let (entries, statuses): (Vec<_>, Vec<_>) = new.into_iter().unzip();
        let opened = self.ledger.open_all(&entries).await;
        for ((entry, status), opened) in entries.into_iter().zip(statuses).zip(opened) {
            match opened {
                Ok(Opened::New | Opened::Spent) => {
                    listener
                        .found(account, self.found(Change::New, &entry, Some(status), false, entry.report()));
                }
                // An event was quicker.
                Ok(Opened::Existing(_)) => {
                    listener.found(
                        account,
                        self.found(Change::None, &entry, Some(status), false, entry.report()),
                    );
                }
                Err(source) => trouble(Trouble::Failed(Failure::Open { key: entry.key, source })),
            }
        }
        let mut done = stream::iter(others)
            .map(|(wanted, listed)| async move {
                let result = self.carry_out(wanted, &listed, asked_at).await;
                (result, listed.status)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((result, status)) = done.next().await {
            match result {
                Ok(Some(Done { change, entry, acted, report })) => {
                    listener.found(account, self.found(change, &entry, Some(status), acted, report));
                }
                Ok(None) => {}
                Err(failure) => trouble(Trouble::Failed(failure)),
            }
        }
        Ok(troubles)
    }

    /// What follows from what IAM lists and what the ledger has of it. `None`: not a key that is judged.
    ///
    /// IAM's lists may lag behind, and this one was asked for some time ago: whatever was judged or settled since, less
    /// IAM's consistency window, is fresher.
    fn decide(&self, listed: &Listed, known: Option<Known>, asked_at: DateTime<Utc>) -> Option<Wanted> {
        let now = self.clock.now();
        let Listed { key, status } = listed;
        let (over, stored) = match known {
            None => (None, None),
            // Its deletion was heard of, and here it is: IAM decides.
            Some(Known::Deleted(_)) if self.hands == Hands::Tied => return None,
            Some(Known::Deleted(_)) => (Some(0), None),
            Some(Known::Entry(stored)) => (Some(stored.rev), Some(*stored)),
        };
        // What the ledger remembers is joined with what IAM says now.
        let mut joined = key.clone();
        if let Some(stored) = &stored {
            joined.evidence.merge(&stored.evidence());
        }
        let key = &joined;
        let names = stored.iter().flat_map(Entry::names);
        let mut judgement = match key.assess(self.policy, names, now) {
            Scope::InScope(judgement) => judgement,
            Scope::OutOfScope => return None,
        };
        let is_ours_to_write = match (&stored, self.hands) {
            (Some(stored), Hands::Tied) => stored.rehearsal,
            (_, Hands::Free) | (None, Hands::Tied) => true,
        };
        let turn = Turn::sweep(asked_at - CONSISTENCY_WINDOW);
        let again = stored.as_ref().is_some_and(|stored| {
            stored.deactivated_at.is_some_and(|at| turn.at > at + CONSISTENCY_WINDOW)
                && *status == Status::Active
        });
        if again {
            judgement.mark_reactivated();
        }
        let (mut plan, mut response) = plan(&judgement, self.hands, self.ceiling);
        let standing = judgement.verdict();
        let as_left = stored.as_ref().is_some_and(|stored| stored.as_left);
        let mut note = "";
        match status {
            Status::Active => {}
            Status::Inactive | Status::Expired => {
                let is_due = *status == Status::Inactive
                    && self.ceiling == Response::Delete
                    && judgement.requires_quarantine()
                    && stored.as_ref().is_some_and(|stored| {
                        stored.outcome == Outcome::Deactivated
                            && !stored.rehearsal
                            && stored.is_due(judgement.grace_days, now)
                    });
                if is_due {
                    (plan, response) = (Plan::Confirm(Response::Delete), Response::Delete);
                } else if *status == Status::Expired {
                    note = " It has expired.";
                    plan = Plan::Record(Outcome::AlreadyInactive);
                } else {
                    note = " It is inactive.";
                    plan =
                        Plan::Record(if as_left { Outcome::Deactivated } else { Outcome::AlreadyInactive });
                }
            }
        }
        let mut entry = Entry::found(
            key,
            &judgement,
            self.policy.sha256(),
            plan,
            response,
            Source::Sweep,
            self.hands,
            turn,
            now,
        );
        entry.reason.push_str(note);
        entry.confirmed = Some(Confirmation { at: now, word: (*status).into() });
        let Some(stored) = stored else {
            return Some(Wanted::Write(Change::New, Box::new(entry), over));
        };
        entry.follows(&stored);
        if again {
            // By whom and when, nobody knows.
            entry.touch(Some(entry.turn.at));
        }
        entry.as_left &= *status == Status::Inactive;
        entry.delete_after = stored.delete_after.filter(|_| entry.as_left && judgement.requires_quarantine());
        // To be offered as long as the policy would delete it.
        entry.held_back &= judgement.response == Response::Delete && standing == Verdict::Noncompliant;
        if !is_ours_to_write {
            // The judgement of now, and the ledger's word on what was done.
            let same = is_as(&stored, &entry);
            let mut shown = stored;
            if !same {
                shown.take_over(key, &judgement, self.policy.sha256());
                shown.response = response;
            }
            return Some(Wanted::Leave(if same { Change::None } else { Change::Changed }, Box::new(shown)));
        }
        if stored.rehearsal && self.hands == Hands::Free {
            return Some(Wanted::Write(Change::New, Box::new(entry), over));
        }
        // Where it was to be deleted after its quarantine, and works: that is over.
        let is_void = stored.as_left && again && !stored.is_in_other_hands(now);
        if !stored.outcome.is_settled() && !is_void {
            let goes_too_far = match stored.plan {
                Plan::Confirm(at_most) => at_most > self.ceiling,
                Plan::Record(_) => false,
            };
            // Where it may do something, a sweep does what it may with what nobody else will see to.
            let is_left = self.ceiling == Response::Monitor || now < stored.recorded_at + LEFT_TO_DELIVERIES;
            let leave = stored.is_in_other_hands(now) || (goes_too_far && is_left);
            let stored = Box::new(stored);
            return Some(if leave { Wanted::Leave(Change::Open, stored) } else { Wanted::Resume(stored) });
        }
        // Where nothing is at stake, what was seen last is shown.
        let is_since = |at| at >= entry.turn.at && at <= now + CONSISTENCY_WINDOW;
        let is_fresher = self.hands == Hands::Free
            && (is_since(stored.turn.at) || stored.settled_at.is_some_and(is_since));
        // The guard left it like this, and the policy has put it into quarantine since.
        let gets_a_grace = self.hands == Hands::Free
            && stored.outcome == Outcome::Deactivated
            && entry.as_left
            && judgement.requires_quarantine()
            && self.ceiling == Response::Delete
            && stored.delete_after.is_none();
        if gets_a_grace && !is_fresher {
            let due = now + TimeDelta::days(judgement.grace_days.into());
            entry.delete_after = Some(due);
            let note = format!(" It is in quarantine until {}.", rfc3339(due));
            entry.reason.push_str(&note);
            return Some(Wanted::Write(Change::Changed, Box::new(entry), over));
        }
        // The policy answers otherwise now: should it change its mind, the grace begins anew.
        let ends_a_grace = stored.delete_after.is_some() && entry.delete_after.is_none();
        let same = is_as(&stored, &entry) && stored.as_left == entry.as_left && !ends_a_grace;
        if same || is_fresher {
            let mut stored = stored;
            stored.held_back = entry.held_back;
            return Some(Wanted::Leave(Change::None, Box::new(stored)));
        }
        Some(Wanted::Write(Change::Changed, Box::new(entry), over))
    }

    /// Does what is wanted; `None`: on a second look it is not a key that is judged.
    async fn carry_out(
        &self,
        mut wanted: Wanted,
        listed: &Listed,
        asked_at: DateTime<Utc>,
    ) -> Result<Option<Done>, Failure> {
        let enforcer = Enforcer {
            policy: self.policy,
            ceiling: self.ceiling,
            ledger: self.ledger,
            keys: self.keys,
            clock: self.clock,
        };
        let key = &listed.key.key;
        for _ in 0..ROUNDS {
            match wanted {
                Wanted::Leave(change, entry) => {
                    let report = entry.report();
                    return Ok(Some(Done { change, entry, acted: false, report }));
                }
                Wanted::Resume(entry) => {
                    let report = Box::pin(enforcer.resume((*entry).clone())).await?;
                    let acted = has_acted(&report);
                    return Ok(Some(Done { change: Change::Resumed, entry, acted, report }));
                }
                Wanted::Write(change, entry, over) => {
                    if let Some(report) = Box::pin(enforcer.take_up((*entry).clone(), over, None)).await? {
                        let acted = matches!(entry.plan, Plan::Confirm(_)) && has_acted(&report);
                        return Ok(Some(Done { change, entry, acted, report }));
                    }
                }
            }
            // Something happened to it in the meantime.
            let failed = |source| Failure::Open { key: key.clone(), source };
            let mut known = self.ledger.read(std::slice::from_ref(key)).await.map_err(failed)?;
            let known = known.remove(key).transpose().map_err(failed)?;
            match self.decide(listed, known, asked_at) {
                None => return Ok(None),
                Some(again) => wanted = again,
            }
        }
        Err(crate::enforce::outrun(key.clone()))
    }

    fn found(
        &self,
        change: Change,
        entry: &Entry,
        status: Option<Status>,
        acted: bool,
        report: Report,
    ) -> Found {
        let soon = self.clock.now() + SOON;
        let is_active = status == Some(Status::Active);
        let ends_soon = is_active && matches!(entry.expiration, Some(Expiration::At(end)) if end <= soon);
        let held_back = entry.held_back && status == Some(Status::Inactive);
        let works = is_active
            && !acted
            && !report.outcome.is_gone()
            && report.verdict == Some(Verdict::Noncompliant)
            // IAM was asked again in between.
            && (change == Change::None || report.outcome != Outcome::AlreadyInactive || self.hands == Hands::Tied);
        Found { change, report, acted, works, ends_soon, held_back }
    }

    /// Closes the entries of keys that are in no list. `false`: time was up before that.
    async fn close_missing(
        &self,
        account: &AccountId,
        began: DateTime<Utc>,
        seen: Option<Seen>,
        listener: &impl Listener,
        troubles: &mut u64,
    ) -> Result<bool, SweepError> {
        let seen = match seen {
            Some(seen) => seen,
            None => match self.see_again(account, listener).await? {
                Some(seen) => seen,
                None => return Ok(false),
            },
        };
        if seen.unreadable {
            // It could be any of those that are missing.
            *troubles = (*troubles).max(1);
            return Ok(true);
        }
        let Missing { absent: mut missing, not_judged, unreadable } =
            self.missing(account, began, &seen, listener).await?;
        *troubles += unreadable;
        for entry in not_judged {
            self.end_grace(entry).await?;
        }
        if seen.many_pages && !missing.is_empty() {
            // Whoever was renamed while the pages were read may be on none of them.
            let Some(again) = self.see_again(account, listener).await? else { return Ok(false) };
            missing.retain(|entry| !again.unreadable && !again.has(&entry.key.id));
        }
        for entry in missing {
            if listener.is_time_up() {
                return Ok(false);
            }
            *troubles += self.close(account, entry, listener).await;
        }
        Ok(true)
    }

    /// Reads every list from its beginning. `None`: time was up.
    async fn see_again(
        &self,
        account: &AccountId,
        listener: &impl Listener,
    ) -> Result<Option<Seen>, SweepError> {
        let mut seen = Seen::default();
        for list in KeyList::of_policy(self.policy) {
            let mut marker = None;
            for number in 0.. {
                if number >= MAX_PAGES {
                    return Err(goes_in_circles(account).into());
                }
                if listener.is_time_up() {
                    return Ok(None);
                }
                let page = self.keys.list(account, &list, marker).await?;
                seen.take(&page);
                marker = page.next;
                if marker.is_none() {
                    break;
                }
            }
        }
        Ok(Some(seen))
    }

    /// What the ledger has of keys that were in no list. One that was made just now may be missing from one.
    async fn missing(
        &self,
        account: &AccountId,
        began: DateTime<Utc>,
        seen: &Seen,
        listener: &impl Listener,
    ) -> Result<Missing, SweepError> {
        let (mut walk, mut found) = (Walk::default(), Missing::default());
        let trouble = |error, unreadable: &mut u64| {
            *unreadable += 1;
            listener.trouble(account, &Trouble::Item(error));
        };
        while let Some(entries) = self.ledger.walk(account, Which::Living, &mut walk).await? {
            let mut absent = Vec::new();
            for entry in entries {
                match entry {
                    Ok((key, _)) if !seen.has(&key.id) => absent.push(key),
                    Ok(_) => {}
                    Err(error) => trouble(error, &mut found.unreadable),
                }
            }
            for entry in self.ledger.read(&absent).await?.into_values() {
                match entry {
                    // The index lags behind the table.
                    Ok(Known::Entry(entry)) if entry.outcome.is_gone() => {}
                    Ok(Known::Entry(entry)) if !self.policy.judges(&entry.service) => {
                        let is_real = !entry.rehearsal && self.hands == Hands::Free;
                        if is_real && entry.delete_after.is_some() && entry.outcome.is_settled() {
                            found.not_judged.push(*entry);
                        }
                    }
                    Ok(Known::Entry(entry)) => {
                        let made = entry.event_time.max(entry.created_at).max(entry.turn.at);
                        if made + CONSISTENCY_WINDOW < began {
                            found.absent.push(*entry);
                        }
                    }
                    Ok(Known::Deleted(_)) => {}
                    Err(error) => trouble(error, &mut found.unreadable),
                }
            }
        }
        Ok(found)
    }

    /// The policy does not judge the key's service any more. Should it do so again, the grace begins anew.
    async fn end_grace(&self, stored: Entry) -> Result<(), LedgerError> {
        let now = self.clock.now();
        let entry = Entry { delete_after: None, rev: stored.rev + 1, ..stored.clone() };
        let line = NewLine { kind: Kind::Judged, at: now, id: format!("{}.not-judged", Turn::sweep(now).id) };
        // Where something happened to it in the meantime, the next sweep sees to it.
        self.ledger.replace(&entry, stored.rev, line, &entry, None).await.map(drop)
    }

    /// Closes the entry of a key that is in no list. Answers with the troubles.
    async fn close(&self, account: &AccountId, stored: Entry, listener: &impl Listener) -> u64 {
        let now = self.clock.now();
        let mut closed = stored.clone();
        closed.outcome = Outcome::Gone;
        closed.settled_at = Some(now);
        closed.confirmed = Some(Confirmation { at: now, word: Word::NotListed });
        closed.reason.push_str(" IAM's lists do not have it any more.");
        closed.rev += 1;
        let mut report = closed.report();
        if self.hands == Hands::Free || stored.rehearsal {
            let turn = Turn::sweep(now);
            let line = NewLine { kind: Kind::Settled, at: now, id: format!("{}.gone", turn.id) };
            let answer = self.ledger.replace(&closed, stored.rev, line, &closed, None).await;
            match answer {
                Ok(Opened::New | Opened::Spent) => {}
                // Something happened to it in the meantime, and sees to it.
                Ok(Opened::Existing(_)) => return 0,
                Err(source) => {
                    let failure = Failure::Settle { key: stored.key, outcome: Outcome::Gone, source };
                    listener.trouble(account, &Trouble::Failed(failure));
                    return 1;
                }
            }
        }
        if closed.user.is_console_user() {
            report.reason.push_str(&crate::enforce::leftover(self.keys, account, &closed.user).await);
        }
        listener.found(account, self.found(Change::Gone, &closed, None, false, report));
        0
    }
}

/// Which keys were in a list: hashes, so that memory stays small. Should two be the same, a key is closed one sweep later.
#[derive(Default)]
struct Seen {
    ids: HashSet<u64>,
    hasher: RandomState,
    /// There was one that cannot be read.
    unreadable: bool,
    /// A list had more pages than one.
    many_pages: bool,
}

impl Seen {
    fn take(&mut self, page: &Page) {
        self.many_pages |= page.next.is_some();
        for key in &page.keys {
            match key {
                Ok(listed) => {
                    self.ids.insert(self.hasher.hash_one(&listed.key.key.id));
                }
                Err(_) => self.unreadable = true,
            }
        }
    }

    fn has(&self, id: &CredentialId) -> bool {
        self.ids.contains(&self.hasher.hash_one(id))
    }
}

fn goes_in_circles(account: &AccountId) -> KeysError {
    KeysError::ListUnreadable { account: account.clone(), field: "Marker" }
}

/// What the ledger has and no list has.
#[derive(Default)]
struct Missing {
    /// Entries of keys that should be in one.
    absent: Vec<Entry>,
    /// Entries in quarantine, of services that the policy does not judge any more.
    not_judged: Vec<Entry>,
    /// How many cannot be read.
    unreadable: u64,
}

/// What was done with a key.
struct Done {
    change: Change,
    entry: Box<Entry>,
    acted: bool,
    report: Report,
}

const fn has_acted(report: &Report) -> bool {
    matches!(report.outcome, report::Outcome::Deactivated | report::Outcome::Deleted)
}

/// Whether a key stands as the ledger has it. What IAM and an event say of a time may differ by a second.
fn is_as(stored: &Entry, now: &Entry) -> bool {
    let same = stored.standing == now.standing
        // Switched on against the guard, and off again: that it was is worth keeping.
        && (stored.violation == now.violation || stored.violation == Some(Violation::Reactivated))
        && stored.user.is_same_user(&now.user)
        && stored.service == now.service;
    let outcome = match now.plan {
        Plan::Record(outcome) => stored.outcome == outcome,
        Plan::Confirm(_) => false,
    };
    same && outcome
}
