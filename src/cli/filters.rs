//! What keys are asked for: the same flags for every command that reads the ledger.

mod subject;

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser as _};

pub use self::subject::{Subject, misread};
use super::when::When;
use crate::ledger::query::{Actor, Filter, SourceAddress};
use chrono::{DateTime, TimeDelta, Utc};
use key_guard_core::key::{AccountId, CredentialId, Service, Status, UserName};
use key_guard_core::policy::{Verdict, Violation};
use key_guard_core::report::Outcome;

/// Clocks differ by so much.
const MAX_CLOCK_SKEW: TimeDelta = TimeDelta::minutes(5);

/// Which keys; all that is given has to hold
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Which keys (all that is given has to hold)")]
pub struct Filters {
    /// Only the key with this id
    #[arg(long, value_name = "ACCA…", value_parser = key)]
    key: Option<CredentialId>,

    /// Only keys of this IAM user, under any name that it had
    #[arg(long, value_name = "NAME", value_parser = trimmed::<UserName>)]
    user: Option<UserName>,

    /// Only keys that this caller created: an ARN; the name of a user, role, permission set or session, or a part of it
    /// if nobody has that name; an e-mail address, or what is before its @
    #[arg(long, value_name = "WHO", value_parser = actor)]
    actor: Option<Actor>,

    /// Only keys of this account
    #[arg(long, value_name = "12 DIGITS", value_parser = account)]
    account: Option<AccountId>,

    /// Only keys for this service
    #[arg(long, ignore_case = true, value_parser = services())]
    service: Option<Service>,

    /// Only keys with this verdict
    #[arg(long, ignore_case = true, value_parser = verdicts())]
    verdict: Option<Verdict>,

    /// Only keys with this violation
    #[arg(long, ignore_case = true, value_parser = violations())]
    violation: Option<Violation>,

    /// Only keys with this outcome
    #[arg(long, ignore_case = true, value_parser = outcomes())]
    outcome: Option<Outcome>,

    /// Only keys with this status now
    #[arg(long, ignore_case = true, value_parser = statuses())]
    status: Option<Status>,

    /// Only keys that were created from this address, from a range like 198.51.100.0/24, or by this AWS service
    #[arg(long, value_name = "ADDRESS")]
    source_ip: Option<SourceAddress>,

    /// Only keys that were created at this time or later: 2026-11-20T09:00:00Z, 2026-11-20, 7d, 12h
    #[arg(long, value_name = "TIME")]
    since: Option<When>,

    /// Only keys that were created before this time, or on this day
    #[arg(long, value_name = "TIME")]
    until: Option<When>,

    /// Only keys whose response is pending
    #[arg(long)]
    pending: bool,
}

fn actor(text: &str) -> Result<Actor, &'static str> {
    let text = text.trim();
    if text.is_empty() { Err("expected an ARN or a name") } else { Ok(text.into()) }
}

fn trimmed<T: FromStr>(text: &str) -> Result<T, T::Err> {
    text.trim().parse()
}

/// A text without what is pasted with it.
fn unquoted(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || "\"'`,;".contains(c))
}

/// Reads a whole number within these bounds. An error says what they are.
pub fn whole_number<T>(accepted: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: Clone + Display + FromStr + PartialOrd,
{
    move |text: &str| {
        let number = text.parse().ok().filter(|number| accepted.contains(number));
        number
            .ok_or_else(|| format!("expected a whole number from {} to {}", accepted.start(), accepted.end()))
    }
}

/// IAM's ids are in capitals. People write them as they come.
///
/// # Errors
/// When it is no id.
pub fn key(text: &str) -> Result<CredentialId, <CredentialId as FromStr>::Err> {
    const PREFIX: &str = "ACCA";
    let text = unquoted(text);
    let is_usual = text.get(..PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX));
    if is_usual { text.to_ascii_uppercase().parse() } else { text.parse() }
}

/// The console shows accounts as 1111-2222-3333.
///
/// # Errors
/// When it is no account.
pub fn account(text: &str) -> Result<AccountId, <AccountId as FromStr>::Err> {
    let text = unquoted(text);
    let groups: Vec<_> = text.split('-').collect();
    if matches!(groups.as_slice(), [a, b, c] if [a, b, c].iter().all(|group| group.len() == 4)) {
        groups.concat().parse()
    } else {
        text.parse()
    }
}

/// Accepts names, and lists them where another is given.
fn one_of<T: Copy + Send + Sync + 'static>(
    known: &'static [T],
    value: fn(T) -> PossibleValue,
) -> impl clap::builder::TypedValueParser<Value = T> {
    let values = known.iter().map(move |known| value(*known));
    PossibleValuesParser::new(values).try_map(move |text| {
        known
            .iter()
            .copied()
            .find(|known| value(*known).matches(&text, true))
            .ok_or("none of the values listed")
    })
}

fn services() -> impl clap::builder::TypedValueParser<Value = Service> {
    clap::builder::NonEmptyStringValueParser::new().try_map(|text| {
        let named = if text.contains('.') { text.parse() } else { format!("{text}.amazonaws.com").parse() };
        named.map_err(|_| "expected the name of a service, such as bedrock.amazonaws.com or bedrock")
    })
}

/// A service without `.amazonaws.com`.
pub fn short(service: &Service) -> &str {
    service.as_str().trim_end_matches(".amazonaws.com")
}

fn verdicts() -> impl clap::builder::TypedValueParser<Value = Verdict> {
    const KNOWN: [Verdict; 4] =
        [Verdict::Compliant, Verdict::Exempt, Verdict::Noncompliant, Verdict::Undetermined];
    one_of(&KNOWN, |verdict| verdict.as_str().into())
}

fn violations() -> impl clap::builder::TypedValueParser<Value = Violation> {
    const KNOWN: [Violation; 4] = [
        Violation::NeverExpires,
        Violation::LifetimeExceedsLimit,
        Violation::LongTermKeyForbidden,
        Violation::Reactivated,
    ];
    one_of(&KNOWN, |violation| violation.as_str().into())
}

fn outcomes() -> impl clap::builder::TypedValueParser<Value = Outcome> {
    const KNOWN: [Outcome; 7] = [
        Outcome::Recorded,
        Outcome::Monitored,
        Outcome::AlreadyInactive,
        Outcome::AlreadyGone,
        Outcome::Deactivated,
        Outcome::Gone,
        Outcome::Deleted,
    ];
    one_of(&KNOWN, |outcome| outcome.as_str().into())
}

fn statuses() -> impl clap::builder::TypedValueParser<Value = Status> {
    const KNOWN: [Status; 5] =
        [Status::Active, Status::Inactive, Status::Expired, Status::Gone, Status::Unknown];
    one_of(&KNOWN, |status| match status {
        // The second word is that of reports.
        Status::Gone => PossibleValue::new("deleted").alias(status.as_str()),
        Status::Active | Status::Inactive | Status::Expired | Status::Unknown => status.as_str().into(),
    })
}

impl Filters {
    /// Whether nothing is given, so that every key is asked for.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        let Self {
            key,
            user,
            actor,
            account,
            service,
            verdict,
            violation,
            outcome,
            status,
            source_ip,
            since,
            until,
            pending,
        } = self;
        key.is_none()
            && user.is_none()
            && actor.is_none()
            && account.is_none()
            && service.is_none()
            && verdict.is_none()
            && violation.is_none()
            && outcome.is_none()
            && status.is_none()
            && source_ip.is_none()
            && since.is_none()
            && until.is_none()
            && !pending
    }

    /// Whether pending responses are asked for.
    #[must_use]
    pub const fn is_about_pending(&self) -> bool {
        self.pending
    }

    /// Whether one key is asked for, and its history with it.
    #[must_use]
    pub const fn names_a_key(&self) -> bool {
        self.key.is_some()
    }

    /// Whether one key is asked for, if other filters hold, too.
    #[must_use]
    pub fn names_a_key_and_more(&self) -> bool {
        self.names_a_key() && !Self { key: None, ..self.clone() }.is_everything()
    }

    /// The question.
    ///
    /// # Errors
    /// When no key can match.
    pub fn at(self, now: DateTime<Utc>) -> Result<Filter, String> {
        self.check_possible()?;
        let (since, until) =
            (self.since.map(|since| since.begins(now)), self.until.map(|until| until.ends(now)));
        let filter = Filter {
            key: self.key,
            account: self.account,
            user: self.user,
            actor: self.actor,
            service: self.service,
            verdict: self.verdict,
            violation: self.violation,
            outcome: self.outcome,
            status: self.status,
            source_ip: self.source_ip,
            since,
            until,
            pending: self.pending,
        };
        if let (Some(since), Some(until)) = (since, until)
            && until <= since
        {
            return Err("nothing is in that time: --until is not after --since".to_owned());
        }
        if since.is_some_and(|since| since > now + MAX_CLOCK_SKEW) {
            return Err("nothing is in that time: --since is in the future".to_owned());
        }
        Ok(filter)
    }

    /// # Errors
    /// When the filters exclude each other.
    fn check_possible(&self) -> Result<(), String> {
        let verdict = self.verdict.filter(|verdict| *verdict != Verdict::Noncompliant);
        if let (Some(verdict), Some(violation)) = (verdict, self.violation) {
            return Err(format!(
                "no key can match: --violation {} is of noncompliant keys, and --verdict is {}",
                violation.as_str(),
                verdict.as_str()
            ));
        }
        match self.outcome {
            Some(
                outcome @ (Outcome::AlreadyInactive
                | Outcome::AlreadyGone
                | Outcome::Deactivated
                | Outcome::Gone
                | Outcome::Deleted),
            ) if self.pending => {
                Err(format!("no key can match: with the outcome {outcome}, no response is --pending"))
            }
            Some(_) | None => Ok(()),
        }
    }
}
