//! The policy that invocations judge by: that of the start, or the current version in the ledger table.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use key_guard_core::Time;
use key_guard_core::lifecycle::effect::Retry;
use key_guard_core::policy::Policy;

use crate::config::PolicySource;
use crate::ledger::policy::CurrentPolicyError;
use crate::ledger::store::Ledger;
use crate::telemetry;

/// How long a version is used without a look for a newer one.
const REFRESH_AFTER: TimeDelta = TimeDelta::seconds(60);

/// How long a version is used while calls of the table fail in a way that passes by itself.
const LONGEST_USE: TimeDelta = TimeDelta::minutes(10);

/// The policy that invocations judge by.
#[derive(Debug)]
pub enum PolicyInUse {
    /// For as long as the process lives.
    Fixed(Arc<Policy>),
    /// A version from the ledger.
    Ledger(Mutex<ReadPolicy>),
}

/// A version, as it was read.
#[derive(Debug, Clone)]
pub struct ReadPolicy {
    policy: Arc<Policy>,
    read_at: Time,
}

impl ReadPolicy {
    async fn read(store: &Ledger, now: Time) -> Result<Self, CurrentPolicyError> {
        let (version, policy) = store.current_policy().await?;
        tracing::debug!(policy.number = version.number, policy.sha256 = version.sha256, "read the policy");
        Ok(Self { policy: Arc::new(policy), read_at: now })
    }

    /// True until then. A clock that was set back proves nothing.
    fn is_within(&self, longest: TimeDelta, now: Time) -> bool {
        (TimeDelta::zero()..longest).contains(&(now - self.read_at))
    }
}

impl PolicyInUse {
    /// At the start: one call for a policy from the ledger, and none otherwise.
    ///
    /// # Errors
    /// When the ledger has no policy that can be used.
    pub async fn start(source: PolicySource, store: &Ledger, now: Time) -> Result<Self, CurrentPolicyError> {
        Ok(match source {
            PolicySource::Fixed(policy) => Self::Fixed(Arc::new(*policy)),
            PolicySource::Ledger => Self::Ledger(Mutex::new(ReadPolicy::read(store, now).await?)),
        })
    }

    /// For an invocation: at most one call in 60 seconds. A transient failure keeps the version that is in use. A
    /// version that cannot be read or used is an error, as at the start: it was pushed to be obeyed.
    ///
    /// # Errors
    /// When the current version cannot be read or used, and calls have failed for too long.
    pub async fn current(&self, store: &Ledger, now: Time) -> Result<Arc<Policy>, CurrentPolicyError> {
        let in_use = match self {
            Self::Fixed(policy) => return Ok(Arc::clone(policy)),
            Self::Ledger(in_use) => in_use,
        };
        let last = in_use.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if last.is_within(REFRESH_AFTER, now) {
            return Ok(last.policy);
        }
        match ReadPolicy::read(store, now).await {
            Ok(read) => {
                if read.policy.sha256() != last.policy.sha256() {
                    tracing::info!(
                        policy.sha256 = read.policy.sha256(),
                        "another version of the policy is in use"
                    );
                }
                let policy = Arc::clone(&read.policy);
                *in_use.lock().unwrap_or_else(PoisonError::into_inner) = read;
                Ok(policy)
            }
            Err(error) if is_transient(&error) && last.is_within(LONGEST_USE, now) => {
                tracing::warn!(
                    error.chain = telemetry::chain(&error),
                    policy.sha256 = last.policy.sha256(),
                    "the policy could not be read again; the last version stays in use"
                );
                Ok(last.policy)
            }
            Err(error) => Err(error),
        }
    }
}

fn is_transient(error: &CurrentPolicyError) -> bool {
    match error {
        CurrentPolicyError::Read(error) => error.retry == Retry::Transient,
        CurrentPolicyError::NoVersion | CurrentPolicyError::Invalid { .. } => false,
    }
}
