//! CloudTrail's event history: the management events of the last 90 days, read with `LookupEvents`.
//!
//! It needs no trail and no bucket, only the permission `cloudtrail:LookupEvents`. It has the events of one account and
//! region (CloudTrail user guide, *Working with CloudTrail event history*).

use std::collections::HashSet;
use std::error::Error;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{Region, SdkConfig};
use aws_sdk_cloudtrail::Client;
use aws_sdk_cloudtrail::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudtrail::operation::lookup_events::{LookupEventsError, LookupEventsOutput};
use aws_sdk_cloudtrail::primitives::DateTime;
use aws_sdk_cloudtrail::types::{Event, LookupAttribute, LookupAttributeKey};
use chrono::TimeDelta;
use key_guard_core::Time;
use key_guard_core::cloudtrail::{CREDENTIAL_CALLS, USER_CALLS};
use key_guard_core::key::{AccountId, UserName};
use key_guard_core::lifecycle::backoff;
use key_guard_core::lifecycle::effect::Retry;
use key_guard_core::text::sanitize_field;

use crate::aws::retry_of;
use crate::clock::Clock;
use crate::config::Home;
use crate::doctor::iam_event_region;
use crate::telemetry::chain;

/// How far the event history goes back, in days (CloudTrail API reference, `LookupEvents`).
pub const HISTORY_DAYS: u16 = 90;

/// The calls that accounts make seldom: those that create or change a key, and those that give the user of a key another
/// way in which somebody has to use by hand. A query is of one event name (CloudTrail API reference, `LookupEvents`).
pub const RARE_CALLS: [&str; 7] = {
    let [create, update, reset, delete] = CREDENTIAL_CALLS;
    let [access_key, password, new_password, ..] = USER_CALLS;
    [create, update, reset, delete, access_key, password, new_password]
};

/// The calls that give a user permissions. Tools that manage users make them by the thousand.
pub const FREQUENT_CALLS: [&str; 3] = {
    let [.., managed_policy, inline_policy, group] = USER_CALLS;
    [managed_policy, inline_policy, group]
};

/// Calls are limited to two a second in an account and region (CloudTrail API reference, `LookupEvents`).
const CALL_INTERVAL: TimeDelta = TimeDelta::milliseconds(500);

/// The largest page (CloudTrail API reference, `LookupEvents`).
const PAGE_SIZE: i32 = 50;

/// `LookupEvents` takes four seconds on average in us-east-1, and at times half a minute.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(40);

/// How often a call is retried, which takes about 36 seconds with [`backoff`]. Others may use up the limit of the account.
const MAX_RETRIES: u32 = 12;

/// Error codes whose status is below 500, and that pass by themselves (CloudTrail API reference, *Common Errors*).
const THROTTLED: [&str; 3] = ["ThrottlingException", "Throttling", "RequestLimitExceeded"];

/// An event of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEvent {
    /// CloudTrail's id of it, fit to print.
    pub id: Option<String>,
    /// When it was.
    pub time: Option<Time>,
    /// The record as JSON. `None`: the answer has none.
    pub record: Option<String>,
}

/// Why the event history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The caller is in a partition that AWS has added since.
    #[error("where IAM's events arrive in partition {partition} is not known here")]
    UnknownPartition {
        /// Which partition.
        partition: String,
    },
    /// AWS denied the call.
    #[error(
        "cloudtrail:LookupEvents was denied in {region} of account {account}: the caller needs this IAM permission, and no \
         service control policy or permissions boundary may deny it"
    )]
    Denied {
        /// In which account.
        account: AccountId,
        /// In which region.
        region: String,
        /// What AWS says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The call failed for another reason.
    #[error("cloudtrail:LookupEvents failed in {region} of account {account}")]
    Failed {
        /// In which account.
        account: AccountId,
        /// In which region.
        region: String,
        /// What AWS or the SDK says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The pages go in circles.
    #[error("CloudTrail's event history of account {account} does not end (the same NextToken again)")]
    Endless {
        /// In which account.
        account: AccountId,
    },
}

/// The event history of one account in one region.
#[derive(Debug)]
pub struct EventHistory<'c, C> {
    client: Client,
    account: AccountId,
    region: String,
    clock: &'c C,
    /// When the last call began.
    last_call: Option<Time>,
}

impl<'c, C: Clock> EventHistory<'c, C> {
    /// Of the account of `home`, in the region where IAM's events are. `sdk` has credentials of that account.
    ///
    /// # Errors
    /// [`HistoryError::UnknownPartition`] if it is not known which region IAM's events are in.
    pub fn new(sdk: &SdkConfig, home: &Home, clock: &'c C) -> Result<Self, HistoryError> {
        let region = iam_event_region(&home.partition)
            .ok_or_else(|| HistoryError::UnknownPartition { partition: home.partition.clone() })?;
        Ok(Self::in_region(sdk, home.account.clone(), region, clock))
    }

    /// Of this account, whose credentials `sdk` has, in a region.
    #[must_use]
    pub fn in_region(sdk: &SdkConfig, account: AccountId, region: &str, clock: &'c C) -> Self {
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).build();
        let sdk = sdk.to_builder().region(Region::new(region.to_owned())).timeout_config(timeouts);
        // Retries keep to the limit, too, so they are made here.
        let sdk = sdk.retry_config(RetryConfig::disabled()).build();
        Self { client: Client::new(&sdk), account, region: region.to_owned(), clock, last_call: None }
    }

    /// Whose it is.
    #[must_use]
    pub const fn account(&self) -> &AccountId {
        &self.account
    }

    /// In which region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The events of these calls in the last `days` days, each once, the oldest first. `progressed` gets how many more days
    /// have been read, of all calls together.
    ///
    /// # Errors
    /// When a page could not be read. What was read until then is dropped.
    pub async fn read_calls(
        &mut self,
        calls: &[&str],
        days: u16,
        mut progressed: impl FnMut(u64),
    ) -> Result<Vec<HistoryEvent>, HistoryError> {
        let now = self.clock.now();
        // Without a beginning, a clock that is wrong leaves nothing out.
        let since = (days < HISTORY_DAYS).then(|| now - TimeDelta::days(days.into()));
        let days = u64::from(days);
        let (mut events, mut ids) = (Vec::new(), HashSet::new());
        for call in calls {
            let mut covered = 0;
            let of_call = self.read(call, since, |page| {
                let oldest = page.iter().filter_map(|event| event.time).min();
                let age = oldest.map_or(0, |oldest| (now - oldest).num_days().max(0).cast_unsigned());
                progressed(age.min(days).saturating_sub(covered));
                covered = covered.max(age.min(days));
            });
            let is_new = |event: &HistoryEvent| event.id.clone().is_none_or(|id| ids.insert(id));
            events.extend(of_call.await?.into_iter().filter(is_new));
            progressed(days - covered);
        }
        // Events of the same second stay in the order of the calls: a key is created before it is changed.
        events.sort_by_key(|event| event.time);
        Ok(events)
    }

    /// The events of one call, the oldest first. `since`: not those before; `None`: as far back as the history goes.
    /// `each_page` gets the events of each page, the newest first.
    ///
    /// # Errors
    /// When a page could not be read. What was read until then is dropped.
    pub async fn read(
        &mut self,
        event_name: &str,
        since: Option<Time>,
        mut each_page: impl FnMut(&[HistoryEvent]),
    ) -> Result<Vec<HistoryEvent>, HistoryError> {
        let mut events = Vec::new();
        let mut tokens = HashSet::new();
        let mut token = None;
        loop {
            let page = self.page(LookupAttributeKey::EventName, event_name, since, token).await?;
            let read: Vec<_> = page.events.unwrap_or_default().into_iter().map(history_event).collect();
            each_page(&read);
            events.extend(read);
            let Some(next) = page.next_token else { break };
            if !tokens.insert(next.clone()) {
                return Err(HistoryError::Endless { account: self.account.clone() });
            }
            token = Some(next);
        }
        events.reverse();
        Ok(events)
    }

    /// A page of the events of a user, the newest first, and where the next page begins. `since` and `token` as with
    /// [`EventHistory::read`]; the token is that of the page before.
    ///
    /// # Errors
    /// When the page could not be read, or the next one is this one again.
    pub async fn user_page(
        &mut self,
        user: &UserName,
        since: Option<Time>,
        token: Option<String>,
    ) -> Result<(Vec<HistoryEvent>, Option<String>), HistoryError> {
        let page = self.page(LookupAttributeKey::Username, user.as_str(), since, token.clone()).await?;
        if page.next_token.is_some() && page.next_token == token {
            return Err(HistoryError::Endless { account: self.account.clone() });
        }
        Ok((page.events.unwrap_or_default().into_iter().map(history_event).collect(), page.next_token))
    }

    /// One page. Waits for its turn, and retries what may pass.
    async fn page(
        &mut self,
        attribute: LookupAttributeKey,
        value: &str,
        since: Option<Time>,
        token: Option<String>,
    ) -> Result<LookupEventsOutput, HistoryError> {
        let attribute = LookupAttribute::builder()
            .attribute_key(attribute)
            .attribute_value(value)
            .build()
            .map_err(|error| self.failed(&SdkError::construction_failure(error)))?;
        let call = self.client.lookup_events().lookup_attributes(attribute).max_results(PAGE_SIZE);
        let call = call.set_start_time(since.map(|time| DateTime::from_secs(time.timestamp())));
        let call = call.set_next_token(token);
        let mut failures = 0;
        loop {
            self.wait_for_turn().await;
            match call.clone().send().await {
                Ok(page) => return Ok(page),
                Err(error)
                    if failures < MAX_RETRIES
                        && retry_of(&error, |code| THROTTLED.contains(&code)) == Retry::Transient =>
                {
                    self.clock.sleep(backoff(failures).to_std().unwrap_or_default()).await;
                    failures += 1;
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// Waits until a call is within the limit.
    async fn wait_for_turn(&mut self) {
        let now = self.clock.now();
        if let Some(last) = self.last_call {
            // A clock that was set back does not make it wait longer.
            let left = (last + CALL_INTERVAL - now).min(CALL_INTERVAL);
            if let Ok(left) = left.to_std() {
                self.clock.sleep(left).await;
            }
        }
        self.last_call = Some(self.clock.now());
    }

    /// Keeps AWS's message or the SDK's, not the SDK's error: that has the whole answer.
    fn failed(&self, error: &SdkError<LookupEventsError>) -> HistoryError {
        let (account, region) = (self.account.clone(), self.region.clone());
        let words = error.message().map_or_else(|| chain(error), str::to_owned);
        match error.code() {
            Some(code) if code.contains("AccessDenied") => {
                HistoryError::Denied { account, region, source: sanitize_field(&words).into() }
            }
            Some(code) => {
                let source = sanitize_field(&format!("{code}: {words}")).into();
                HistoryError::Failed { account, region, source }
            }
            None => HistoryError::Failed { account, region, source: sanitize_field(&words).into() },
        }
    }
}

fn history_event(event: Event) -> HistoryEvent {
    HistoryEvent {
        id: event.event_id.as_deref().map(sanitize_field),
        time: event.event_time.and_then(|time| Time::from_timestamp(time.secs(), time.subsec_nanos())),
        record: event.cloud_trail_event,
    }
}
