//! Sweeps: what is listed and fed to sessions, what is called absent, what is counted, and where they continue.

mod absence;
mod continuation;
mod lists;
mod properties;
mod summary;

use std::collections::BTreeSet;
use std::path::Path;

use key_guard_core::key::{KeyRef, Service};
use key_guard_core::lifecycle::input::ListedKey;
use key_guard_core::lifecycle::sweep::{ServiceFilter, SweepResult};
use key_guard_core::policy::Policy;

use crate::support::{SweepWorld, bad_key};

const BEDROCK: ServiceFilter = ServiceFilter::Only(Service::Bedrock);
const LOGS: ServiceFilter = ServiceFilter::Only(Service::Logs);

/// A policy that judges Bedrock's and CloudWatch Logs' keys.
fn two_services(response: &str) -> Policy {
    let text = format!(
        "[default]\nservices = [\"bedrock.amazonaws.com\", \"logs.amazonaws.com\"]\nmax_lifetime_days = 90\n\
         response = \"{response}\"\n"
    );
    Policy::parse(&text, Path::new("policy.toml")).unwrap()
}

fn bad_keys(account: u64, numbers: std::ops::Range<u64>) -> Vec<ListedKey> {
    numbers.map(|number| bad_key(account, number, Service::Bedrock)).collect()
}

fn refs(keys: &[ListedKey]) -> BTreeSet<KeyRef> {
    keys.iter().map(|listed| listed.key.clone()).collect()
}

fn published(world: &SweepWorld) -> BTreeSet<KeyRef> {
    world.published.iter().cloned().collect()
}

fn problems(result: &SweepResult) -> Vec<String> {
    result.problems.iter().map(ToString::to_string).collect()
}
