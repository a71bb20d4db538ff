//! What the ledger has that looks like what was asked for in vain.

use std::collections::BTreeSet;

use strsim::osa_distance;

use super::table::who;
use crate::ledger::Cost;
use crate::ledger::error::LedgerError;
use crate::ledger::query::{Actor, Filter, Search};
use crate::ledger::store::Ledger;
use key_guard_core::Time;
use key_guard_core::text::sanitize_line;

/// How many keys are read for a suggestion: the newest ones. In a table, these are 20 calls for keys.
const MAX_KEYS: usize = 1_000;

/// How many names are suggested.
const MAX_NAMES: usize = 3;

/// The names that a question has.
#[derive(Debug, Default)]
struct Wanted {
    key: Option<String>,
    account: Option<String>,
    user: Option<String>,
    actor: Option<String>,
}

impl Wanted {
    fn of(questions: &[Filter]) -> Self {
        let mut wanted = Self::default();
        for Filter { key, account, user, actor, .. } in questions {
            let text = |value: &Option<String>| value.clone();
            wanted.key = text(&wanted.key).or_else(|| key.as_ref().map(ToString::to_string));
            wanted.user = text(&wanted.user).or_else(|| user.as_ref().map(ToString::to_string));
            wanted.actor = text(&wanted.actor).or_else(|| actor.as_ref().map(name_of));
            wanted.account = text(&wanted.account).or_else(|| account.as_ref().map(ToString::to_string));
        }
        wanted
    }

    /// What was asked for, for people; and what it is compared with.
    fn described(&self) -> Option<(String, &str)> {
        match self {
            Self { key: Some(key), .. } => Some((format!("no key {key}"), key)),
            Self { user: Some(user), actor: Some(actor), .. } if user == actor => {
                Some((format!("no key of user {user}, and none that {user} created"), user))
            }
            Self { user: Some(user), .. } => Some((format!("no key of user {user}"), user)),
            Self { actor: Some(actor), .. } => Some((format!("no key that {actor} created"), actor)),
            Self { account: Some(account), .. } => Some((format!("no key of account {account}"), account)),
            Self { key: None, user: None, actor: None, account: None } => None,
        }
    }
}

/// The name of a caller, without what is around it in an ARN.
fn name_of(actor: &Actor) -> String {
    match actor {
        Actor::Arn(arn) => who(arn).rsplit('/').next().unwrap_or(arn).to_owned(),
        Actor::Name(name) | Actor::Part(name) => name.clone(),
    }
}

/// What to say where nothing was found. `None`: nothing in the ledger looks like it.
pub async fn suggest(
    store: &Ledger,
    questions: &[Filter],
    now: Time,
    cost: &mut Cost,
) -> Result<Option<String>, LedgerError> {
    let wanted = Wanted::of(questions);
    let Some((not_found, word)) = wanted.described() else { return Ok(None) };
    // A mistyped account has no keys to look among.
    let of_account = questions.first().and_then(|question| question.account.clone());
    let is_in_account = wanted.key.is_some() || wanted.user.is_some() || wanted.actor.is_some();
    let filter = Filter { account: of_account.filter(|_| is_in_account), ..Filter::default() };
    let Ok(mut search) = Search::new(store, filter, None, MAX_KEYS, now) else { return Ok(None) };
    let mut names = BTreeSet::new();
    for _ in 0..MAX_KEYS {
        let Some(found) = search.next().await? else { break };
        if wanted.key.is_some() {
            names.insert(found.key.id.to_string());
            continue;
        }
        if wanted.user.is_none() && wanted.actor.is_none() {
            names.insert(found.key.account.to_string());
        }
        for view in &found.views {
            if wanted.user.is_some() {
                names.extend(view.names().map(ToString::to_string));
            }
            let caller = view.creation.as_ref().and_then(|event| event.actor.principal.as_deref());
            if wanted.actor.is_some() {
                names.extend(caller.map(|arn| name_of(&Actor::Arn(arn.to_owned()))));
            }
        }
    }
    *cost += search.cost();
    // What is there was found by another filter's absence.
    let similar = if names.contains(word) { Vec::new() } else { similar(word, &names) };
    if similar.is_empty() {
        return Ok(None);
    }
    Ok(Some(format!("{not_found}; the ledger has {}", sanitize_line(&similar.join(", ")))))
}

/// The names that differ in few characters, or that have the word in them: the most similar first.
pub fn similar<'a>(word: &str, names: &'a BTreeSet<String>) -> Vec<&'a str> {
    const SHORTEST_PART: usize = 4;
    let word = word.to_lowercase();
    let length = word.chars().count();
    let most = (length / 4).clamp(1, 3);
    let distance = |name: &String| {
        let name = name.to_lowercase();
        let distance = osa_distance(&word, &name);
        let has_word = length >= SHORTEST_PART && name.contains(&word);
        (distance <= most || has_word).then_some(distance)
    };
    let mut similar: Vec<_> =
        names.iter().filter_map(|name| Some((distance(name)?, name.as_str()))).collect();
    similar.sort_unstable();
    similar.into_iter().take(MAX_NAMES).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_suggested_that_differ_in_few_characters_or_have_the_word_in_them() {
        let names = ["svc-bedrock", "svc-bedrock-2", "svc-search", "jan.kowalski", "ACCAEXAMPLEKEY0000001"];
        let names = names.map(str::to_owned).into();
        for (word, expected) in [
            ("svc-bedrok", &["svc-bedrock"][..]),
            ("SVC-Bedrock", &["svc-bedrock", "svc-bedrock-2"]),
            ("kowalski", &["jan.kowalski"]),
            ("jan", &[]),
            ("ACCAEXAMPLEKEY0000010", &["ACCAEXAMPLEKEY0000001"]),
            ("somebody", &[]),
        ] {
            assert_eq!(similar(word, &names), expected, "{word}");
        }
    }
}
