//! `summary.md`: what a person reads first.

use std::io;

use super::Evidence;
use crate::cli::facts;
use crate::cli::messages::counted;
use crate::cli::rows::fit_to_print;
use crate::cli::timeline::collect::DRY_RUN_LIMIT;
use crate::cli::timeline::entry::Entry;
use crate::cli::timeline::{describe_actor, describe_source};
use crate::cli::when::Times;
use crate::ledger::view::KeyView;
use key_guard_core::Time;
use key_guard_core::key::Service;
use key_guard_core::time::rfc3339;

/// How wide the facts are, in columns.
const WIDTH: u16 = 110;

/// What each file is.
const FILES: &str = "\
| file | has |
| --- | --- |
| `commands.md` | the commands that stop the key, and what to look for |
| `timeline.jsonl` | the timeline, an entry a line |
| `state.jsonl` | the key as it stands, and its dry run: the rows of `lookup --key --format jsonl` |
| `history.jsonl` | each event of the key, and each step of the guard: the rows of the same |
| `event-ids.txt` | CloudTrail's ids of all events in the timeline |
| `ledger.jsonl` | the items of the ledger, which `bedrock-key-guard import` takes |
| `SHA256SUMS` | the SHA-256 of each file. To check: `sha256sum --check SHA256SUMS` (macOS: `shasum -a 256 --check SHA256SUMS`) |
";

/// What no ledger shows.
const LIMITS: &str = "\
* Which key was used, if the user has several: logs name the user. The first and the last use are what `usage` found in the logs
  that somebody gave it. That there is none is no proof that the key was not used.
* Each failed call: they are counted by day. A call that IAM denied names no user, so it is not here.
* Other changes of a user that no console created. `commands.md` has the commands that list what a user can do.
* Request ids, prompts and answers: the ledger stores none. CloudTrail has the request id in the whole event.
";

/// The whole file.
///
/// # Errors
/// Never in practice: a table is written to memory.
pub fn summary(evidence: &Evidence, ledger: &str, made_at: Time) -> io::Result<String> {
    let Evidence { known, entries, other_keys, unreadable, .. } = evidence;
    let mut sections = vec![format!(
        "# Incident: key {}\n\nMade at {} by bedrock-key-guard {} from the ledger `{ledger}`. All times are UTC.\n",
        known.key.id,
        rfc3339(made_at),
        env!("CARGO_PKG_VERSION"),
    )];
    if *unreadable > 0 {
        sections.push(format!(
            "**Incomplete: {} of the ledger could not be read.** A newer version may read what is missing.\n",
            counted(*unreadable as u64, "item", "items")
        ));
    }
    let views: Vec<_> = known.views.iter().cloned().map(fit_to_print).collect();
    if let Some(view) = views.first() {
        sections.push(fenced("How the key stands", &describe_facts(view, false)?));
    }
    for view in &views {
        let title = if view.is_dry_run { "What was decided (dry run)" } else { "What was decided" };
        sections.push(fenced(title, &describe_facts(view, true)?));
    }
    sections.push(fenced("Timeline", &entries.iter().map(describe_entry).collect::<String>()));
    sections.push(format!("## Other keys of this user\n\n{}", describe_others(other_keys)));
    let of_dry_run = if known.is_only_in_dry_run() {
        format!("* Earlier changes: {DRY_RUN_LIMIT}.\n")
    } else {
        String::new()
    };
    sections.push(format!("## What this does not show\n\n{of_dry_run}{LIMITS}"));
    sections.push(format!("## Files\n\n{FILES}"));
    Ok(sections.join("\n"))
}

/// Texts of events stay texts: no line of them begins at the margin, so none ends the block.
fn fenced(title: &str, text: &str) -> String {
    format!("## {title}\n\n```text\n{text}```\n")
}

/// What was decided about a key, or the other facts.
fn describe_facts(view: &KeyView, decisions: bool) -> io::Result<String> {
    let known = facts::of_key(view, Times::Absolute).into_iter();
    let known = known.filter(|(name, _)| facts::DECISIONS.contains(name) == decisions);
    let known: Vec<_> = known.filter_map(|(name, value)| Some((name, value?))).collect();
    let mut text = Vec::new();
    facts::write(&mut text, &known, Some(WIDTH), false)?;
    String::from_utf8(text).map_err(io::Error::other)
}

/// Two lines: when and what; by whom, from where, how the ledger knows.
fn describe_entry(entry: &Entry) -> String {
    let when = Times::Absolute.tell(entry.at);
    let mut details: Vec<_> = entry.actor.iter().map(|_| format!("by {}", describe_actor(entry))).collect();
    details.extend(entry.source_ip.as_ref().map(|address| format!("from {address}")));
    details.extend(entry.user_agent.as_ref().map(|agent| format!("with {agent}")));
    details.push(match &entry.event_id {
        Some(id) => format!("event {id}"),
        None => format!("source: {}", describe_source(entry)),
    });
    format!("{when}  {}\n{:22}{}\n", entry.what, "", details.join(", "))
}

fn describe_others(keys: &[KeyView]) -> String {
    if keys.is_empty() {
        return "The ledger has no other key of this user.\n".to_owned();
    }
    let describe = |view: &KeyView| {
        let report = &view.report;
        let service = report.service.as_ref().map_or("a service that is not known", Service::as_str);
        let dry_run = if view.is_dry_run { ", from a dry run" } else { "" };
        format!("* `{}` for {service}: {}{dry_run}\n", view.key.id, facts::status_word(&view.standing))
    };
    keys.iter().map(describe).collect()
}
