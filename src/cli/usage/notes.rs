//! What a table of names and numbers does not say, and what logs cannot show.

use std::collections::BTreeSet;

use key_guard_core::Time;
use key_guard_core::policy::Verdict;
use key_guard_core::usage::IDLE;

use super::collect::Collected;
use super::join::{KeyUse, UsageRow};
use crate::cli::messages::say;

/// Of so many accounts the Regions are said one by one.
const MAX_ACCOUNTS: usize = 10;

/// What was read.
#[derive(Debug)]
pub enum Reading {
    /// Log files.
    Files,
    /// CloudTrail's event history in these Regions.
    History(Vec<String>),
}

impl Reading {
    /// Says it on stderr. `end`: that of the 30 days, where there is a ledger.
    pub fn say_what_it_means(&self, rows: &[UsageRow], end: Option<Time>, collected: &Collected) {
        if let Some(end) = end {
            say(&counts(rows));
            for why in why_not_known(rows, end, collected) {
                say(&why);
            }
        }
        say(&self.regions(collected));
        let data_events = match self {
            Self::Files => "which are here only if a trail records them",
            Self::History(_) => "which the event history does not have",
        };
        say(&format!(
            "note: CloudTrail names the IAM user, not which of the user's keys it was; where an event does not say the kind of key, a \
             short-term key that the user created counts, too. That there is no call is no proof that a key is not used: inference \
             with Bedrock Mantle and Claude Platform, agents, flows and knowledge bases are data events, {data_events}. Deactivate a \
             key before you delete it: that can be undone"
        ));
    }

    /// In which Regions a call would have been seen.
    fn regions(&self, collected: &Collected) -> String {
        const ELSEWHERE: &str = "calls in other Regions are not seen";
        match self {
            Self::History(regions) => {
                format!(
                    "Regions whose event history was read: {}; {ELSEWHERE} (--regions)",
                    regions.join(", ")
                )
            }
            Self::Files => {
                format!("Regions of the events that were read: {}; {ELSEWHERE}", by_account(collected))
            }
        }
    }
}

/// The Regions of all accounts, or of each, where they differ.
fn by_account(collected: &Collected) -> String {
    let list = |regions: &BTreeSet<String>| regions.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let all = collected.regions();
    let different: BTreeSet<_> = all.values().collect();
    match different.iter().next() {
        None => "none".to_owned(),
        Some(regions) if different.len() == 1 => list(regions),
        Some(_) => {
            let shown = all.iter().take(MAX_ACCOUNTS);
            let mut parts: Vec<_> =
                shown.map(|(account, regions)| format!("{} in account {account}", list(regions))).collect();
            if all.len() > MAX_ACCOUNTS {
                parts.push(format!("others in {} more accounts", all.len() - MAX_ACCOUNTS));
            }
            parts.join("; ")
        }
    }
}

/// Why no key of some accounts is called unused, where that is not for the time that the logs cover.
fn why_not_known(rows: &[UsageRow], end: Time, collected: &Collected) -> Vec<String> {
    let not_known = rows.iter().filter(|row| row.key_use == Some(KeyUse::NotKnown));
    let accounts: BTreeSet<_> = not_known.filter_map(|row| row.account.as_ref()).collect();
    if collected.has_unreadable && !accounts.is_empty() {
        return vec!["no key is called unused: any call may be in what could not be read".to_owned()];
    }
    let gap = |account| collected.gap(account, end).filter(|gap| *gap >= (end - IDLE).date_naive());
    let gaps = accounts.into_iter().filter_map(|account| Some((account, gap(account)?)));
    gaps.take(MAX_ACCOUNTS)
        .map(|(account, gap)| {
            format!(
                "no key of account {account} is called unused: no event that was read is of {gap}, so log files of that day may \
                 be missing"
            )
        })
        .collect()
}

fn counts(rows: &[UsageRow]) -> String {
    let count = |wanted| {
        let is_noncompliant = |row: &&UsageRow| {
            row.key.as_ref().is_some_and(|key| key.report.verdict == Some(Verdict::Noncompliant))
        };
        rows.iter().filter(is_noncompliant).filter(|row| row.key_use == Some(wanted)).count()
    };
    format!(
        "noncompliant keys: {} without a call in 30 days in these Regions, which may be safe to delete; {} in use; {} where these \
         logs say too little",
        count(KeyUse::Unused),
        count(KeyUse::InUse),
        count(KeyUse::NotKnown),
    )
}
