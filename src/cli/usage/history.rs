//! `usage --cloudtrail`: the calls of some users, from CloudTrail's event history.

use std::cell::RefCell;

use anyhow::Context as _;
use aws_config::SdkConfig;
use chrono::TimeDelta;
use futures_util::future::join_all;
use key_guard_core::Time;
use key_guard_core::cloudtrail::{BEARER_TOKEN_MARKER, BearerCaller, from_json, parse_bearer_call};
use key_guard_core::key::{AccountId, UserName};

use super::collect::{Collected, user_key};
use crate::cli::event_history::{EventHistory, HISTORY_DAYS, HistoryError, HistoryEvent};
use crate::cli::progress::Progress;
use crate::cli::setup::home;
use crate::clock::SystemClock;
use crate::config::Home;
use crate::doctor::iam_event_region;
use crate::telemetry::chain;

/// The caller's account, and where it is asked.
pub struct Place {
    sdk: SdkConfig,
    /// The account of the caller's credentials.
    pub account: AccountId,
    /// The Regions whose event history is read.
    pub regions: Vec<String>,
}

/// What is asked for.
pub struct Lookup<'a> {
    /// Whose calls.
    pub users: &'a [UserName],
    /// Calls at this time or later. `None`: all that the event history has.
    pub since: Option<Time>,
    /// All pages of a user, not only the newest one.
    pub full: bool,
    /// Now.
    pub now: Time,
}

/// What could not be read.
#[derive(Debug, Default, Clone)]
pub struct Failures {
    /// Calls that could not be read.
    pub events: usize,
    /// Regions that could not be asked.
    pub regions: Vec<String>,
}

impl Place {
    /// `regions`: empty for the Region of the configuration and the one where IAM's events are, `us-east-1` in most
    /// partitions: the console's first choice, and that of many examples.
    ///
    /// # Errors
    /// When there is no Region, or the caller's account cannot be found out.
    pub async fn find(mut regions: Vec<String>) -> anyhow::Result<Self> {
        let sdk = crate::cli::aws_options::sdk_config().await?;
        let Home { account, partition, .. } = home(&sdk).await?;
        if regions.is_empty() {
            regions.extend(sdk.region().map(ToString::to_string));
            regions.extend(iam_event_region(&partition).map(str::to_owned));
        }
        regions.sort();
        regions.dedup();
        Ok(Self { sdk, account, regions })
    }

    /// Reads the event history of each Region side by side, and of its users one after the other. A Region that cannot be read
    /// stops no other.
    ///
    /// # Errors
    /// When no Region could be read.
    pub async fn read(&self, lookup: &Lookup<'_>, collected: &mut Collected) -> anyhow::Result<Failures> {
        let progress = Progress::of_users(self.regions.len() * lookup.users.len());
        let state = RefCell::new((collected, Failures::default()));
        let read = |region: &String| {
            let history = EventHistory::in_region(&self.sdk, self.account.clone(), region, &SystemClock);
            let reading = Reading { lookup, account: &self.account, state: &state, progress: &progress };
            reading.region(history)
        };
        let mut first_error = None;
        for (region, result) in self.regions.iter().zip(join_all(self.regions.iter().map(read)).await) {
            if let Err(error) = result {
                progress.warn(&chain(&error));
                state.borrow_mut().1.regions.push(region.clone());
                first_error.get_or_insert(error);
            }
        }
        let (_, failures) = state.into_inner();
        match first_error {
            Some(error) if failures.regions.len() == self.regions.len() => {
                Err(error).context("the event history of no Region could be read")
            }
            Some(_) | None => Ok(failures),
        }
    }
}

/// The reading of one Region.
struct Reading<'a, 'c> {
    lookup: &'a Lookup<'a>,
    account: &'a AccountId,
    state: &'a RefCell<(&'c mut Collected, Failures)>,
    progress: &'a Progress,
}

impl Reading<'_, '_> {
    async fn region(self, mut history: EventHistory<'_, SystemClock>) -> Result<(), HistoryError> {
        for user in self.lookup.users {
            self.user(&mut history, user).await?;
            self.progress.advance(1);
        }
        Ok(())
    }

    async fn user(
        &self,
        history: &mut EventHistory<'_, SystemClock>,
        user: &UserName,
    ) -> Result<(), HistoryError> {
        let Lookup { since, full, now, .. } = *self.lookup;
        let all = since.unwrap_or(now - TimeDelta::days(HISTORY_DAYS.into()));
        let mut token = None;
        let from = loop {
            let (events, next) = history.user_page(user, since, token).await?;
            let has_call = self.add(&events, user);
            match next {
                None => break all,
                // The last call of the user is known, and older ones change nothing.
                Some(_) if !full && has_call => break all,
                // Of older calls nothing is known.
                Some(_) if !full => break events.iter().filter_map(|event| event.time).min().unwrap_or(now),
                Some(next) => token = Some(next),
            }
        };
        self.state.borrow_mut().0.add_user_span(user_key(self.account, user), from, now);
        Ok(())
    }

    /// Counts the calls among some events, and returns whether one of them is by this user.
    fn add(&self, events: &[HistoryEvent], user: &UserName) -> bool {
        let mut has_call = false;
        let mut state = self.state.borrow_mut();
        let (collected, failures) = &mut *state;
        let records = events.iter().filter_map(|event| Some((event, event.record.as_deref()?)));
        for (event, record) in records.filter(|(_, record)| record.contains(BEARER_TOKEN_MARKER)) {
            let parsed = from_json(record.as_bytes()).map_err(|_| "it is not JSON".to_owned());
            match parsed.and_then(|record| parse_bearer_call(&record).map_err(|why| why.to_string())) {
                Ok(call) => call.iter().for_each(|call| {
                    has_call |= matches!(&call.caller, BearerCaller::User(name) if name.is_same_user(user));
                    collected.add(call);
                }),
                Err(why) => {
                    failures.events += 1;
                    let id = event.id.as_deref().unwrap_or("without an id");
                    self.progress.warn(&format!("CloudTrail's event history: event {id}: {why}"));
                }
            }
        }
        has_call
    }
}
