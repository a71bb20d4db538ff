//! Rules of a policy as people read them.

use crate::cli::messages::counted;
use key_guard_core::policy::{Layer, Policy, Response, Services};

/// The names of services, for people.
pub fn services(services: &Services) -> String {
    match services {
        Services::All => "every service with API keys".to_owned(),
        Services::Listed(services) if services.is_empty() => "no service".to_owned(),
        Services::Listed(services) => join(services.iter().map(ToString::to_string)),
    }
}

pub fn join(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

/// Whose keys a rule is for. A rule for all services that the policy judges names none.
pub fn whose(layer: &Layer<'_>, policy: &Policy) -> String {
    let accounts = layer.accounts.map(|accounts| {
        let word = if accounts.len() == 1 { "account" } else { "accounts" };
        format!("{word} {}", join(accounts.iter().map(ToString::to_string)))
    });
    let is_narrower = layer.services != *policy.services();
    let services = is_narrower.then(|| services(&layer.services));
    let parts: Vec<_> = accounts.into_iter().chain(services).chain(users(layer)).collect();
    if parts.is_empty() { "all keys".to_owned() } else { parts.join("; ") }
}

/// The users that a rule is for, if not for all.
pub fn users(layer: &Layer<'_>) -> Option<String> {
    layer.users.as_ref().map(|patterns| format!("users {}", patterns.join(", ")))
}

/// The limit and the response, in a few words.
pub fn terms(layer: &Layer<'_>) -> String {
    let limit = match layer.limit_days {
        0 => "no long-term key".to_owned(),
        days => format!("at most {}", days_of(days)),
    };
    let response = match (layer.response, layer.grace_days) {
        (Response::Quarantine, Some(days)) => format!("quarantine for {}", days_of(days)),
        (response, _) => response.to_string(),
    };
    format!("{limit}, {response}")
}

/// What a rule allows and what follows otherwise, in sentences.
pub fn sentences(layer: &Layer<'_>) -> String {
    let (limit, subject) = match layer.limit_days {
        0 => ("No long-term key is allowed.".to_owned(), "Each key"),
        days => (
            format!("A key may live for at most {}.", days_of(days)),
            "A longer one, or one that never expires,",
        ),
    };
    let response = match (layer.response, layer.grace_days) {
        (Response::None | Response::Monitor, _) => "is reported, and stays as it is".to_owned(),
        (Response::Deactivate, _) => "is deactivated".to_owned(),
        (Response::Quarantine, Some(days)) => {
            format!("is deactivated at once, and deleted {} later", days_of(days))
        }
        (Response::Quarantine, None) => "is deactivated at once, and deleted later".to_owned(),
        (Response::Delete, _) => "is deleted".to_owned(),
    };
    format!("{limit} {subject} {response}.")
}

/// A number of days.
pub fn days_of(days: u32) -> String {
    counted(days.into(), "day", "days")
}
