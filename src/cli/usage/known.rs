//! What the ledger knows of the use of a user's keys, beside a key.

use std::collections::BTreeMap;

use key_guard_core::lifecycle::CONSISTENCY_WINDOW;
use key_guard_core::usage::KnownUse;

use crate::cli::messages::counted;
use crate::cli::when::Times;
use crate::ledger::Cost;
use crate::ledger::error::LedgerError;
use crate::ledger::store::Ledger;
use crate::ledger::view::KeyView;

/// What is known of the users of a key: a user may have had other names.
#[derive(Default)]
pub struct KnownUses {
    /// By name.
    pub known: Vec<KnownUse>,
    /// Items that cannot be read.
    pub unreadable: Vec<LedgerError>,
}

/// What is known of the use of a key's user, under every name that the user had.
pub async fn of_key(store: &Ledger, views: &[KeyView], cost: &mut Cost) -> KnownUses {
    let names = views.iter().flat_map(|view| {
        view.names()
            .map(|name| ((view.key.account.clone(), name.as_str().to_ascii_lowercase()), name.clone()))
    });
    let names: BTreeMap<_, _> = names.collect();
    let names: Vec<_> = names.into_iter().map(|((account, _), user)| (account, user)).collect();
    let mut uses = KnownUses::default();
    for found in store.known_uses(&names, cost).await {
        match found {
            Ok(found) => uses.known.extend(found),
            Err(error) => uses.unreadable.push(error),
        }
    }
    uses
}

/// For people: when keys of the user were used, and for what. What was before the creation of this key was another one.
pub fn describe(known: &KnownUse, key: &KeyView, times: Times) -> Option<String> {
    let KnownUse { user, first_used_at, last_used_at, services, models, latest, .. } = known;
    let named = |texts: &std::collections::BTreeSet<String>| {
        texts.iter().map(|text| short_service(text)).collect::<Vec<_>>().join(", ")
    };
    let models = if models.is_empty() { String::new() } else { format!(" ({})", named(models)) };
    let calls = counted(latest.calls, "call", "calls");
    let created_at = key.report.created_at;
    if created_at.is_some_and(|created_at| *last_used_at < created_at) {
        return None;
    }
    let first = created_at.is_none_or(|created_at| *first_used_at >= created_at);
    let first = if first { format!(", first {}", times.tell_both(*first_used_at)) } else { String::new() };
    let another = if key.standing.ended_before(*last_used_at - CONSISTENCY_WINDOW) {
        ", after this key was deleted: another key of the user exists, perhaps a short-term one"
    } else {
        ""
    };
    Some(format!(
        "last {}{another}{first}: {}{models}; the latest run of `usage`, {}, found {calls}. Logs name the user {user}, and not \
         which of the user's keys it was",
        times.tell_both(*last_used_at),
        named(services),
        times.tell_both(latest.at),
    ))
}

/// A service without `.amazonaws.com`.
pub fn short_service(service: &str) -> &str {
    service.strip_suffix(".amazonaws.com").unwrap_or(service)
}
