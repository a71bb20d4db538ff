//! The stages of a rollout, and what has to hold before the next one: the table of `docs/rollout.md`.

use chrono::{Datelike as _, NaiveDate};
use key_guard_core::Time;

use super::observed::Observed;

/// How long keys are watched before the first one is deactivated, in days.
const MONITOR_DAYS: i64 = 14;

/// How long new keys are deactivated before old ones are, in days.
const DEACTIVATE_DAYS: i64 = 14;

/// How long quarantine lasts beyond the policy's `grace_days` before keys are deleted, in days.
const DAYS_AFTER_GRACE: i64 = 7;

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
    pub const ALL: [Self; 4] = [Self::Monitor, Self::Deactivate, Self::Quarantine, Self::Delete];

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
            Self::Deactivated => "new keys are deactivated for 14 days",
            Self::NotActivatedAgain => "for 7 days no deactivated key was activated again",
            Self::Quarantined => "old keys are in quarantine for grace_days and 7 days",
            Self::NotNeeded => "no key in quarantine is active again",
            Self::Digest => "nobody objects to the ends that the digest shows",
            Self::NotHeldBack => "for 7 days no deletion was held back by the breaker",
        }
    }

    /// Checks it. `ledger` is the ledger as an argument.
    pub fn check(self, observed: &Observed, ledger: &str) -> Checked {
        let tool = "bedrock-key-guard";
        let lookup = |filter: &str| format!("{tool} lookup --ledger {ledger} {filter}");
        let none = |keys: u64| if keys == 0 { Holds::Yes } else { Holds::No };
        let again = || format!("{tool} rollout --ledger {ledger}");
        let (holds, why, command) = match self {
            Self::Watched => {
                let (holds, why) = watched(observed);
                (holds, why, again())
            }
            Self::Deactivated => {
                let (holds, why) = lasted(observed, observed.first_deactivation, DEACTIVATE_DAYS);
                (holds, why, again())
            }
            Self::Quarantined => {
                let days = i64::from(observed.grace_days) + DAYS_AFTER_GRACE;
                let (holds, why) = lasted(observed, observed.first_quarantine, days);
                (holds, why, again())
            }
            Self::Owners => (
                none(observed.without_owner),
                format!("{} keys have no creation event in the ledger", observed.without_owner),
                format!("{tool} replay --cloudtrail --ledger {ledger}"),
            ),
            Self::NotInUse if !observed.has_usage && observed.active_noncompliant() > 0 => (
                Holds::No,
                "the ledger has no run of usage".to_owned(),
                format!("{tool} usage --cloudtrail --ledger {ledger}"),
            ),
            Self::NotInUse => (
                none(observed.in_use),
                format!("{} keys are in use; give each its owner's answer or an exemption", observed.in_use),
                format!("{tool} usage --cloudtrail --ledger {ledger}"),
            ),
            Self::NoErrors => {
                (none(observed.errors.total()), errors(observed), error_command(observed, ledger))
            }
            Self::Doctor => (Holds::NotInLedger, "run doctor".to_owned(), format!("{tool} doctor")),
            Self::NotActivatedAgain => (
                none(observed.activated_again),
                format!("keys were activated again {} times", observed.activated_again),
                lookup("--violation reactivated"),
            ),
            Self::NotNeeded => (
                none(observed.quarantined_and_active),
                format!("{} of {} keys are", observed.quarantined_and_active, observed.quarantined),
                lookup("--violation reactivated"),
            ),
            Self::Digest => {
                (Holds::NotInLedger, "ask the owners".to_owned(), lookup("--outcome deactivated"))
            }
            Self::NotHeldBack => (
                none(observed.held_back_by_breaker),
                format!("{} deletions were held back", observed.held_back_by_breaker),
                lookup("--outcome deactivated --since 7d"),
            ),
        };
        Checked { criterion: self, holds, why, command }
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

fn errors(observed: &Observed) -> String {
    let errors = observed.errors;
    format!(
        "{} keys undetermined, {} responses overdue, {} accounts silent, {} items unreadable",
        errors.undetermined, errors.overdue, errors.silent_accounts, errors.unreadable
    )
}

/// The command that shows the first kind of error that there is.
fn error_command(observed: &Observed, ledger: &str) -> String {
    let errors = observed.errors;
    let filter = match (errors.undetermined, errors.overdue) {
        (1.., _) => "--verdict undetermined",
        (0, 1..) => "--pending",
        (0, 0) => return "bedrock-key-guard doctor".to_owned(),
    };
    format!("bedrock-key-guard lookup --ledger {ledger} {filter}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rollout::observed::{IN_USE, QUIET};
    use chrono::TimeDelta;

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
        for stage in Stage::ALL {
            let criteria = row(stage).split('|').nth(4).unwrap().replace('`', "");
            let texts: Vec<_> = stage.criteria().iter().map(|criterion| criterion.text()).collect();
            assert_eq!(criteria.trim(), texts.join("; "));
            assert!(DOCS.contains(&format!("`{}`", stage.command())), "{}", stage.command());
        }
    }

    #[test]
    fn the_texts_name_the_days() {
        assert!(Criterion::Watched.text().contains(&format!("{MONITOR_DAYS} days")));
        assert!(Criterion::Deactivated.text().contains(&format!("{DEACTIVATE_DAYS} days")));
        assert!(Criterion::Quarantined.text().contains(&format!("{DAYS_AFTER_GRACE} days")));
        assert!(Criterion::NotInUse.text().contains(&format!("{} days", IN_USE.num_days())));
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
        let changes: [(Criterion, fn(&mut Observed)); 8] = [
            (Criterion::Owners, |seen| seen.without_owner = 1),
            (Criterion::NotInUse, |seen| seen.in_use = 1),
            (Criterion::NoErrors, |seen| seen.errors.undetermined = 1),
            (Criterion::NoErrors, |seen| seen.errors.overdue = 1),
            (Criterion::NoErrors, |seen| seen.errors.silent_accounts = 1),
            (Criterion::NotActivatedAgain, |seen| seen.activated_again = 1),
            (Criterion::NotNeeded, |seen| seen.quarantined_and_active = 1),
            (Criterion::NotHeldBack, |seen| seen.held_back_by_breaker = 1),
        ];
        for (criterion, change) in changes {
            let mut seen = observed();
            seen.has_usage = true;
            assert_eq!(holds(criterion, &seen), Holds::Yes, "{criterion:?}");
            change(&mut seen);
            assert_eq!(holds(criterion, &seen), Holds::No, "{criterion:?}");
        }
    }

    #[test]
    fn without_a_run_of_usage_nothing_is_known_of_use() {
        use key_guard_core::policy::Response;
        let mut seen = observed();
        assert_eq!(holds(Criterion::NotInUse, &seen), Holds::Yes, "there is no key to be used");
        seen.noncompliant.insert(Response::Delete, 1);
        assert_eq!(holds(Criterion::NotInUse, &seen), Holds::No);
    }
}
