//! What is valid in a policy and probably not meant.

use chrono::NaiveDate;

use super::assessment::Rule;
use super::file::{Exemption, Layer, Policy, Services};
use super::wildcard;
use crate::key::{AccountId, Service, UserName};
use crate::time::Time;

/// Something in a valid policy that is probably not meant. Never a reason not to start: a date must not stop the
/// guard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyWarning {
    /// This build does not know the service.
    UnknownService {
        /// Where it is named.
        rule: Rule,
        /// The service.
        service: Service,
    },
    /// An override is for a service that `[default]` does not name.
    ServiceNotJudged {
        /// The override.
        rule: Rule,
        /// The service.
        service: Service,
    },
    /// An override has no conditions.
    MatchesEverything {
        /// The override.
        rule: Rule,
    },
    /// An override sets nothing. As the last one that matches applies, that undoes those before it.
    SetsNothing {
        /// The override.
        rule: Rule,
    },
    /// No key can meet an override, or a later one is for each key that it is for.
    NeverMatches {
        /// The override.
        rule: Rule,
    },
    /// Another exemption of the same user lasts as long or longer.
    ExemptionOverlaps {
        /// The account.
        account: AccountId,
        /// The user.
        user: UserName,
        /// The last day of the one that never decides, in UTC.
        until: NaiveDate,
        /// The last day of the one that applies, in UTC.
        applies_until: NaiveDate,
    },
    /// An exemption is over.
    ExemptionEnded {
        /// The account.
        account: AccountId,
        /// The user.
        user: UserName,
        /// Its last day, in UTC.
        until: NaiveDate,
    },
}

impl Policy {
    /// What is probably not meant, as of `now`.
    #[must_use]
    pub fn warnings(&self, now: Time) -> Vec<PolicyWarning> {
        let mut warnings = Vec::new();
        let note_unknown = |warnings: &mut Vec<_>, rule, services: &Services| {
            let unknown = services.listed().iter().filter(|service| !service.is_known());
            warnings.extend(
                unknown.map(|service| PolicyWarning::UnknownService { rule, service: service.clone() }),
            );
        };
        note_unknown(&mut warnings, Rule::Default, self.services());
        for (index, layer) in self.rules.overrides.iter().enumerate() {
            let rule = Rule::Override(index + 1);
            if let Some(services) = &layer.services {
                note_unknown(&mut warnings, rule, services);
                let not_judged = services.listed().iter().filter(|service| !self.judges(service));
                warnings.extend(
                    not_judged
                        .map(|service| PolicyWarning::ServiceNotJudged { rule, service: service.clone() }),
                );
            }
            if layer.accounts.is_none() && layer.services.is_none() && layer.users.is_none() {
                warnings.push(PolicyWarning::MatchesEverything { rule });
            }
            if layer.max_lifetime_days.is_none() && layer.response.is_none() && layer.grace_days.is_none() {
                warnings.push(PolicyWarning::SetsNothing { rule });
            }
        }
        warnings.extend(self.unmatched_rules().map(|rule| PolicyWarning::NeverMatches { rule }));
        warnings.extend(self.exemption_warnings(now));
        warnings
    }

    /// The overrides that no key can meet, or whose keys all meet a later override too: the last that matches applies.
    fn unmatched_rules(&self) -> impl Iterator<Item = Rule> {
        let layers = self.layers();
        let rules: Vec<_> = layers
            .iter()
            .enumerate()
            .skip(1)
            .filter(|(index, layer)| layer.is_covered_by(layers.get(index + 1..).unwrap_or_default()))
            .map(|(_, layer)| layer.rule)
            .collect();
        rules.into_iter()
    }

    fn exemption_warnings(&self, now: Time) -> impl Iterator<Item = PolicyWarning> {
        let exemptions = &self.rules.exemptions;
        exemptions.iter().enumerate().filter_map(move |(index, exemption)| {
            let Exemption { account, user, until, .. } = exemption;
            let (account, user, until) = (account.clone(), user.clone(), *until);
            if !exemption.is_valid(now) {
                return Some(PolicyWarning::ExemptionEnded { account, user, until });
            }
            // Of those that end on the same day, the last one applies.
            let applies = exemptions
                .iter()
                .enumerate()
                .filter(|(_, other)| other.is_for(&account, &user))
                .max_by_key(|(_, other)| other.until);
            let (_, other) = applies.filter(|(other, _)| *other != index)?;
            Some(PolicyWarning::ExemptionOverlaps { account, user, until, applies_until: other.until })
        })
    }
}

impl Layer<'_> {
    /// Whether each key that this rule is for is also one of another rule's. True where it is for no key at all.
    fn is_covered_by(&self, others: &[Self]) -> bool {
        let services: Vec<Option<&Service>> = match &self.services {
            Services::All => vec![None],
            Services::Listed(services) => services.iter().map(Some).collect(),
        };
        let accounts: Vec<Option<&AccountId>> =
            self.accounts.map_or_else(|| vec![None], |accounts| accounts.iter().map(Some).collect());
        let users: Vec<&str> = self.users.clone().unwrap_or_else(|| vec!["*"]);
        services.iter().all(|service| {
            accounts.iter().all(|account| {
                users.iter().all(|user| others.iter().any(|other| other.covers(*service, *account, user)))
            })
        })
    }

    /// Whether it is for all keys of a service, an account and a pattern of users. `None`: of all.
    fn covers(&self, service: Option<&Service>, account: Option<&AccountId>, user: &str) -> bool {
        let covers_service = match service {
            None => self.services == Services::All,
            Some(service) => self.services.include(service),
        };
        let covers_account =
            self.accounts.is_none_or(|accounts| account.is_some_and(|account| accounts.contains(account)));
        let covers_user = self.users.as_ref().is_none_or(|patterns| {
            patterns.iter().any(|pattern| wildcard::covers(pattern.as_bytes(), user.as_bytes()))
        });
        covers_service && covers_account && covers_user
    }
}
