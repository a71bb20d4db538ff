//! The stages of a rollout, and what has to hold before the next one: the table of `docs/rollout.md`.

use chrono::{Datelike as _, NaiveDate};
use key_guard_core::Time;

use super::observed::Observed;
use crate::cli::messages::counted;

/// How long keys are watched before the first one is deactivated, in days.
const MONITOR_DAYS: i64 = 14;

/// How long new keys are deactivated before old ones are, in days.
const DEACTIVATE_DAYS: i64 = 14;

/// How long quarantine lasts beyond the policy's `grace_days` before keys are deleted, in days.
const DAYS_AFTER_GRACE: i64 = 7;

/// What the policy says from stage 3 on, before the command that begins it.
pub const QUARANTINE_SETTING: &str = "response = \"quarantine\"";

/// A stage of the rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Stage {
    /// Stage 1: the ceiling is monitor
    Monitor,
    /// Stage 2: the ceiling is deactivate
    Deactivate,
    /// Stage 3: the ceilings are deactivate, and the policy says quarantine
    Quarantine,
    /// Stage 4: the ceiling is delete
    Delete,
}

impl Stage {
    /// What the guard has done says how far it may go. A ceiling that was lowered again does not show.
    pub const fn of(observed: &Observed) -> Self {
        match observed {
            Observed { deleted: 1.., .. } => Self::Delete,
            Observed { first_quarantine: Some(_), .. } => Self::Quarantine,
            Observed { first_deactivation: Some(_), .. } => Self::Deactivate,
            Observed { .. } => Self::Monitor,
        }
    }

    /// As written for scripts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Deactivate => "deactivate",
            Self::Quarantine => "quarantine",
            Self::Delete => "delete",
        }
    }

    /// As the docs call it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Monitor => "1 Monitor",
            Self::Deactivate => "2 Deactivate new keys",
            Self::Quarantine => "3 Quarantine old keys",
            Self::Delete => "4 Delete",
        }
    }

    /// The stage after it.
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::Monitor => Some(Self::Deactivate),
            Self::Deactivate => Some(Self::Quarantine),
            Self::Quarantine => Some(Self::Delete),
            Self::Delete => None,
        }
    }

    /// The command that begins it.
    pub const fn command(self) -> &'static str {
        match self {
            Self::Monitor => "infra/deploy Ceiling=monitor SweepCeiling=monitor",
            Self::Deactivate => "infra/deploy Ceiling=deactivate",
            Self::Quarantine => "infra/deploy SweepCeiling=deactivate",
            Self::Delete => "infra/deploy Ceiling=delete",
        }
    }

    /// What has to hold before the next stage, or in the last one to stay there.
    pub const fn criteria(self) -> &'static [Criterion] {
        use Criterion as C;
        match self {
            Self::Monitor => &[C::Watched, C::Owners, C::NotInUse, C::NoErrors, C::Doctor],
            Self::Deactivate => {
                &[C::Deactivated, C::NotActivatedAgain, C::Owners, C::NotInUse, C::NoErrors, C::NotHeldBack]
            }
            Self::Quarantine => &[C::Quarantined, C::NotNeeded, C::NoErrors, C::NotHeldBack, C::Digest],
            Self::Delete => &[C::NoErrors, C::NotHeldBack],
        }
    }
}

/// What has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Criterion {
    Watched,
    Owners,
    NotInUse,
    NoErrors,
    Doctor,
    Deactivated,
    NotActivatedAgain,
    Quarantined,
    NotNeeded,
    Digest,
    NotHeldBack,
}

/// Whether it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    Yes,
    No,
    /// The ledger cannot tell.
    NotInLedger,
}

impl Holds {
    /// As written for people and scripts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::NotInLedger => "not in the ledger",
        }
    }
}

/// Whether a criterion holds, why, and what to do where it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub criterion: Criterion,
    pub holds: Holds,
    pub why: String,
    pub command: String,
}

impl Criterion {
    /// As written for scripts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Watched => "watched",
            Self::Owners => "owners",
            Self::NotInUse => "not_in_use",
            Self::NoErrors => "no_errors",
            Self::Doctor => "doctor",
            Self::Deactivated => "deactivated",
            Self::NotActivatedAgain => "not_activated_again",
            Self::Quarantined => "quarantined",
            Self::NotNeeded => "not_needed",
            Self::Digest => "digest",
            Self::NotHeldBack => "not_held_back",
        }
    }

    /// The criterion, as the docs have it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Watched => "keys are watched for 14 days, and over the end of a month",
            Self::Owners => "each active noncompliant key has an owner",
            Self::NotInUse => "no active noncompliant key was used within 30 days",
            Self::NoErrors => "there are no errors",
            Self::Doctor => "doctor has no fail",
            Self::Deactivated => "the guard has deactivated new keys for 14 days",
            Self::NotActivatedAgain => "for 7 days no deactivated key was activated again",
            Self::Quarantined => "old keys are in quarantine for grace_days and 7 days",
            Self::NotNeeded => "no key in quarantine is active again",
            Self::Digest => "nobody objects to the ends that the digest shows",
            Self::NotHeldBack => "for 7 days no deletion was held back by the breaker",
        }
    }

    /// Whether waiting is all that helps.
    pub const fn is_about_time(self) -> bool {
        match self {
            Self::Watched | Self::Deactivated | Self::Quarantined => true,
            Self::Owners
            | Self::NotInUse
            | Self::NoErrors
            | Self::Doctor
            | Self::NotActivatedAgain
            | Self::NotNeeded
            | Self::Digest
            | Self::NotHeldBack => false,
        }
    }

    /// Checks it. `ledger` is the ledger as an argument.
    pub fn check(self, observed: &Observed, ledger: &str) -> Checked {
        let (holds, why) = self.holds(observed);
        Checked { criterion: self, holds, why, command: self.command(observed, ledger) }
    }

    /// Whether it holds, and why.
    fn holds(self, observed: &Observed) -> (Holds, String) {
        let none = |keys: u64, why: String| (if keys == 0 { Holds::Yes } else { Holds::No }, why);
        match self {
            Self::Watched => watched(observed),
            Self::Deactivated => lasted(observed, observed.first_deactivation, DEACTIVATE_DAYS),
            Self::Quarantined => {
                let days = i64::from(observed.grace_days) + DAYS_AFTER_GRACE;
                lasted(observed, observed.first_quarantine, days)
            }
            Self::Owners => {
                let keys = observed.without_owner;
                none(keys, counted(keys, "key has", "keys have") + " no creation event in the ledger")
            }
            Self::NotInUse => {
                let (used, unknown) = (observed.in_use, observed.use_not_known);
                let used_keys = counted(used, "key is", "keys are") + " in use";
                let why =
                    if unknown == 0 { used_keys } else { format!("{used_keys}; {}", not_known(unknown)) };
                none(used + unknown, why)
            }
            Self::NoErrors => none(observed.errors.total(), errors(observed)),
            Self::Doctor => (Holds::NotInLedger, "run doctor".to_owned()),
            Self::NotActivatedAgain => {
                let times = observed.activated_again;
                none(times, format!("keys were activated again {}", counted(times, "time", "times")))
            }
            Self::NotNeeded => {
                let keys = observed.quarantined_and_active;
                none(
                    keys,
                    format!(
                        "of {}, {keys} active",
                        counted(observed.quarantined, "key in quarantine", "keys in quarantine")
                    ),
                )
            }
            Self::Digest => (Holds::NotInLedger, "ask the owners".to_owned()),
            Self::NotHeldBack => {
                let keys = observed.held_back_by_breaker;
                none(keys, counted(keys, "deletion was", "deletions were") + " held back")
            }
        }
    }

    /// What helps where it does not hold.
    fn command(self, observed: &Observed, ledger: &str) -> String {
        let run = |command: &str| format!("bedrock-key-guard {command} --ledger {ledger}");
        let wait = |since: Option<Time>, stage: Stage| {
            since.map_or_else(|| stage.command().to_owned(), |_| run("rollout"))
        };
        match self {
            Self::Watched => wait(observed.since, Stage::Monitor),
            Self::Deactivated => wait(observed.first_deactivation, Stage::Deactivate),
            Self::Quarantined => wait(observed.first_quarantine, Stage::Quarantine),
            Self::Owners => run("replay --cloudtrail"),
            Self::NotInUse => run("usage --cloudtrail"),
            Self::NoErrors if observed.errors.undetermined > 0 => run("lookup --verdict undetermined"),
            Self::NoErrors if observed.errors.overdue > 0 => run("lookup --pending"),
            Self::NoErrors | Self::Doctor => "bedrock-key-guard doctor".to_owned(),
            Self::NotActivatedAgain | Self::NotNeeded => run("lookup --violation reactivated"),
            Self::Digest => run("lookup --outcome deactivated"),
            Self::NotHeldBack => run("lookup --outcome deactivated --since 7d"),
        }
    }
}

/// Whether something has lasted for so many days.
fn lasted(observed: &Observed, since: Option<Time>, days: i64) -> (Holds, String) {
    let Some(since) = since else { return (Holds::No, "it has not begun".to_owned()) };
    let passed = (observed.now - since).num_days();
    let why = format!("{passed} of {days} days, since {}", since.date_naive());
    (if passed >= days { Holds::Yes } else { Holds::No }, why)
}

fn watched(observed: &Observed) -> (Holds, String) {
    let Some(since) = observed.since else {
        return (Holds::No, "the guard has assessed no key yet; dry runs do not count".to_owned());
    };
    let (holds, why) = lasted(observed, Some(since), MONITOR_DAYS);
    let month = |date: NaiveDate| (date.year(), date.month());
    if holds == Holds::Yes && month(since.date_naive()) == month(observed.now.date_naive()) {
        return (Holds::No, format!("{why}; the month has not ended yet"));
    }
    (holds, why)
}

/// Why it is not known whether some keys are in use.
pub fn not_known(keys: u64) -> String {
    format!(
        "not known of {}: no complete run of usage covers these 30 days of their users",
        counted(keys, "key", "keys")
    )
}

fn errors(observed: &Observed) -> String {
    let errors = observed.errors;
    format!(
        "keys undetermined: {}; responses overdue: {}; accounts silent: {}; items unreadable: {}",
        errors.undetermined, errors.overdue, errors.silent_accounts, errors.unreadable
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rollout::observed::QUIET;
    use chrono::TimeDelta;
    use clap::ValueEnum as _;
    use key_guard_core::usage::IDLE;

    const DOCS: &str = include_str!("../../../docs/rollout.md");

    fn observed() -> Observed {
        Observed::new("2026-12-01T12:00:00Z".parse().unwrap())
    }

    fn holds(criterion: Criterion, observed: &Observed) -> Holds {
        criterion.check(observed, "file:x.db").holds
    }

    /// The row of the table of a stage, as lines of the page.
    fn row(stage: Stage) -> &'static str {
        let (number, name) = stage.title().split_once(' ').unwrap();
        let start = format!("| {number} **{name}** |");
        DOCS.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no row {start}"))
    }

    #[test]
    fn the_page_has_the_stages_with_their_criteria_and_commands() {
        for stage in Stage::value_variants().iter().copied() {
            let criteria = row(stage).split('|').nth(4).unwrap().replace('`', "");
            let texts: Vec<_> = stage.criteria().iter().map(|criterion| criterion.text()).collect();
            assert_eq!(criteria.trim(), texts.join("; "));
            assert!(DOCS.contains(&format!("`{}`", stage.command())), "{}", stage.command());
        }
        assert!(row(Stage::Quarantine).contains(&format!("policy `{QUARANTINE_SETTING}`")));
    }

    #[test]
    fn the_texts_name_the_days() {
        assert!(Criterion::Watched.text().contains(&format!("{MONITOR_DAYS} days")));
        assert!(Criterion::Deactivated.text().contains(&format!("{DEACTIVATE_DAYS} days")));
        assert!(Criterion::Quarantined.text().contains(&format!("{DAYS_AFTER_GRACE} days")));
        assert!(Criterion::NotInUse.text().contains(&format!("{} days", IDLE.num_days())));
        for quiet in [Criterion::NotActivatedAgain, Criterion::NotHeldBack] {
            assert!(quiet.text().contains(&format!("{} days", QUIET.num_days())));
        }
    }

    #[test]
    fn what_the_guard_did_says_which_stage_it_is() {
        let mut seen = observed();
        assert_eq!(Stage::of(&seen), Stage::Monitor);
        seen.first_deactivation = Some(seen.now);
        assert_eq!(Stage::of(&seen), Stage::Deactivate);
        seen.first_quarantine = Some(seen.now);
        assert_eq!(Stage::of(&seen), Stage::Quarantine);
        seen.deleted = 1;
        assert_eq!(Stage::of(&seen), Stage::Delete);
    }

    #[test]
    fn keys_are_watched_long_enough_over_the_end_of_a_month() {
        let mut seen = observed();
        assert_eq!(holds(Criterion::Watched, &seen), Holds::No, "nothing was assessed");
        for (since, now, expected) in [
            ("2026-11-17T12:00:00Z", "2026-12-01T12:00:00Z", Holds::Yes),
            ("2026-11-17T12:00:01Z", "2026-12-01T12:00:00Z", Holds::No),
            ("2026-11-01T00:00:00Z", "2026-11-30T23:00:00Z", Holds::No),
            ("2025-12-01T00:00:00Z", "2026-12-01T00:00:00Z", Holds::Yes),
        ] {
            seen.since = Some(since.parse().unwrap());
            seen.now = now.parse().unwrap();
            assert_eq!(holds(Criterion::Watched, &seen), expected, "{since} {now}");
        }
    }

    #[test]
    fn quarantine_lasts_for_its_grace_and_a_week() {
        let mut seen = observed();
        seen.grace_days = 14;
        for (days, expected) in [(20, Holds::No), (21, Holds::Yes)] {
            seen.first_quarantine = Some(seen.now - TimeDelta::days(days));
            assert_eq!(holds(Criterion::Quarantined, &seen), expected, "{days}");
        }
    }

    #[test]
    fn each_number_fails_its_criterion() {
        type Change = fn(&mut Observed);
        let changes: [(Criterion, Change); 9] = [
            (Criterion::Owners, |seen| seen.without_owner = 1),
            (Criterion::NotInUse, |seen| seen.in_use = 1),
            (Criterion::NotInUse, |seen| seen.use_not_known = 1),
            (Criterion::NoErrors, |seen| seen.errors.undetermined = 1),
            (Criterion::NoErrors, |seen| seen.errors.overdue = 1),
            (Criterion::NoErrors, |seen| seen.errors.silent_accounts = 1),
            (Criterion::NotActivatedAgain, |seen| seen.activated_again = 1),
            (Criterion::NotNeeded, |seen| seen.quarantined_and_active = 1),
            (Criterion::NotHeldBack, |seen| seen.held_back_by_breaker = 1),
        ];
        for (criterion, change) in changes {
            let mut seen = observed();
            assert_eq!(holds(criterion, &seen), Holds::Yes, "{criterion:?}");
            change(&mut seen);
            assert_eq!(holds(criterion, &seen), Holds::No, "{criterion:?}");
        }
    }
}
