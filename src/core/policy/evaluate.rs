//! What a key deserves under a policy.

use std::cmp::Reverse;

use chrono::TimeDelta;

use super::assessment::{Assessment, Response, Rule, Scope, VerdictDetail, Violation};
use super::file::{Exemption, Override, Policy};
use crate::evidence::{Determination, ExpirationEvidence};
use crate::key::{KeyFacts, Lifetime, UserName};
use crate::time::Time;

/// A key that lives longer than this, in days, was meant never to expire: the console's "never expires" may
/// arrive as about 100 years.
pub const LONGEST_FINITE_DAYS: u32 = 10_000;

/// Ages are whole days (R5). A lifetime that is longer than the limit by no more than this is within it, because AWS
/// may round the two timestamps separately.
pub const LIMIT_TOLERANCE: TimeDelta = TimeDelta::hours(1);

/// What applies to a key of one user.
struct Terms {
    limit_days: u32,
    response: Response,
    grace_days: u32,
    rule: Rule,
}

impl Policy {
    /// What the key deserves as of `at`: an event's own time, or the present for a key that IAM listed (R15).
    ///
    /// Every name of the key's user is tried, and the strictest assessment applies (R6): renaming a user gains
    /// nothing.
    #[must_use]
    pub fn assess(&self, key: &KeyFacts, evidence: &ExpirationEvidence, at: Time) -> Scope {
        if !self.judges(&key.service) {
            return Scope::OutOfScope;
        }
        let determination = evidence.determine(&key.service);
        let created_at = evidence.created_at().unwrap_or(key.created_at);
        let by_name = |user: &UserName| self.assess_as(key, user, created_at, determination, at);
        let mut strictest = (&key.user, by_name(&key.user));
        let others = key.other_names.iter().filter(|name| !name.is_same_user(&key.user));
        let mut has_others = false;
        for name in others {
            has_others = true;
            let assessment = by_name(name);
            // Of equally strict ones the current name's stays.
            if strictness(&assessment) > strictness(&strictest.1) {
                strictest = (name, assessment);
            }
        }
        let (name, mut assessment) = strictest;
        assessment.decided_by = has_others.then(|| name.clone());
        Scope::InScope(assessment)
    }

    fn assess_as(
        &self,
        key: &KeyFacts,
        user: &UserName,
        created_at: Time,
        determination: Determination,
        at: Time,
    ) -> Assessment {
        let Terms { limit_days, response, grace_days, rule } = self.terms(key, user);
        let mut ended_exemption = None;
        let (verdict, expiration, basis) = match determination {
            Determination::Undetermined(why) => (VerdictDetail::Undetermined(why), None, None),
            Determination::Known { expiration, basis } => {
                let verdict = match violation_of(Lifetime::of(created_at, expiration), limit_days) {
                    None => VerdictDetail::Compliant,
                    Some(violation) => match self.exemption(key, user) {
                        Some(exemption) if exemption.is_valid(at) => {
                            VerdictDetail::Exempt { reason: exemption.reason.clone(), until: exemption.until }
                        }
                        exemption => {
                            ended_exemption = exemption.map(|exemption| exemption.until);
                            VerdictDetail::Noncompliant(violation)
                        }
                    },
                };
                (verdict, Some(expiration), Some(basis))
            }
        };
        Assessment {
            verdict,
            limit_days,
            response,
            grace_days,
            created_at,
            expiration,
            basis,
            rule,
            decided_by: None,
            ended_exemption,
        }
    }

    /// The user's exemption that ends last.
    fn exemption(&self, key: &KeyFacts, user: &UserName) -> Option<&Exemption> {
        let is_theirs = |exemption: &&Exemption| exemption.is_for(&key.key.account, user);
        self.rules.exemptions.iter().filter(is_theirs).max_by_key(|exemption| exemption.until)
    }

    /// The last override that matches, with `[default]` for what it leaves out.
    fn terms(&self, key: &KeyFacts, user: &UserName) -> Terms {
        let default = &self.rules.default;
        let last =
            self.rules.overrides.iter().enumerate().rfind(|(_, candidate)| candidate.matches(key, user));
        let (rule, limit, response, grace) = match last {
            None => (Rule::Default, default.max_lifetime_days, default.response, default.grace_days),
            Some((index, matched)) => (
                Rule::Override(index + 1),
                matched.max_lifetime_days.unwrap_or(default.max_lifetime_days),
                matched.response.unwrap_or(default.response),
                matched.grace_days.or(default.grace_days),
            ),
        };
        // A policy that quarantines without `grace_days` is not valid.
        Terms { limit_days: limit.0, response, grace_days: grace.map_or(0, |days| days.0), rule }
    }
}

/// Orders the assessments of one key under several names.
fn strictness(assessment: &Assessment) -> impl Ord + use<> {
    (
        assessment.verdict().strictness(),
        assessment.response,
        Reverse(assessment.limit_days),
        Reverse(assessment.grace_days),
    )
}

impl Override {
    fn matches(&self, key: &KeyFacts, user: &UserName) -> bool {
        let account = self.accounts.as_ref().is_none_or(|ids| ids.contains(&key.key.account));
        let service = self.services.as_ref().is_none_or(|services| services.include(&key.service));
        let user =
            self.users.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(user)));
        account && service && user
    }
}

/// What a lifetime violates under a limit. A limit of 0 forbids every key.
pub(crate) fn violation_of(lifetime: Lifetime, limit_days: u32) -> Option<Violation> {
    let longest_finite = TimeDelta::days(LONGEST_FINITE_DAYS.into());
    let longest_allowed = TimeDelta::days(limit_days.into()) + LIMIT_TOLERANCE;
    match lifetime {
        Lifetime::Never => Some(Violation::NeverExpires),
        Lifetime::Ends(lives) if limit_days > 0 && lives <= longest_allowed => None,
        Lifetime::Ends(lives) if lives > longest_finite => Some(Violation::NeverExpires),
        Lifetime::Ends(_) if limit_days == 0 => Some(Violation::LongTermKeyForbidden),
        Lifetime::Ends(_) => Some(Violation::LifetimeExceedsLimit),
    }
}
