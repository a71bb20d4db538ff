//! What is denied: the rules of a policy file as statements.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};

use super::options::{Kind, Options};
use super::region::{self, Accounts, Exempt, Gap, Level, Named, Region, Users, regions};
use super::statement::{
    AGE_DAYS, CREATE, CURRENT_TIME, LONG_TERM, PRINCIPAL_ACCOUNT, PRINCIPAL_ARN, SERVICE_NAME, Statement,
    Texts, USES, name_apart,
};
use key_guard_core::cloudtrail::MAX_AGE_DAYS;
use key_guard_core::key::{AccountId, Service};
use key_guard_core::policy::{Exemption, Layer, Policy, Response, Services, wildcard};

/// A policy file that no document can be made of.
#[derive(Debug, thiserror::Error)]
pub enum PreventError {
    /// Every rule only monitors.
    #[error("the policy denies nothing: {0}")]
    Nothing(String),
    /// No judged service has an action for the use of long-term keys.
    #[error(
        "no use can be denied: IAM has a condition for the long-term keys of bedrock.amazonaws.com and aws-external-anthropic.amazonaws.com only, and the policy judges neither"
    )]
    NoUse,
    /// AWS would refuse it.
    #[error(
        "the {kind} has {characters} characters, and AWS takes {max}: name fewer users, accounts or exemptions, or write a policy file for each part of the organisation, and attach each document to its part"
    )]
    TooLong {
        /// What it is.
        kind: Kind,
        /// How long it is, as AWS counts, without white space.
        characters: usize,
        /// How long it may be.
        max: usize,
    },
    /// It could not be written as JSON.
    #[error("the document could not be written as JSON")]
    Json(#[source] serde_json::Error),
}

pub(super) struct Plan<'a> {
    layers: Vec<Layer<'a>>,
    exempt: Vec<Exempt<'a>>,
    pub(super) services: Vec<Keys>,
    pub(super) options: &'a Options,
}

/// Keys that the policy judges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Keys {
    /// Those of a service.
    Of(Service),
    /// Those of every service that is not named, also of one that AWS adds later.
    OfOthers,
}

impl Keys {
    fn are_of(&self, service: &Service) -> bool {
        match self {
            Self::Of(own) => own == service,
            Self::OfOthers => false,
        }
    }

    /// Every kind of key that some rule of the policy is for.
    fn judged_by(policy: &Policy) -> Vec<Self> {
        let mut named: Vec<Service> = Vec::new();
        let mut add = |service: &Service| {
            if policy.judges(service) && !named.contains(service) {
                named.push(service.clone());
            }
        };
        match policy.services() {
            Services::Listed(services) => services.iter().for_each(&mut add),
            Services::All => {
                Service::KNOWN.iter().for_each(&mut add);
                for layer in policy.layers() {
                    match &layer.services {
                        Services::Listed(services) => services.iter().for_each(&mut add),
                        Services::All => {}
                    }
                }
            }
        }
        let others = match policy.services() {
            Services::All => Some(Self::OfOthers),
            Services::Listed(_) => None,
        };
        named.into_iter().map(Self::Of).chain(others).collect()
    }
}

pub(super) struct Denials {
    pub(super) statements: Vec<Statement>,
    pub(super) gaps: Vec<Gap>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(policy: &'a Policy, options: &'a Options, at: DateTime<Utc>) -> Self {
        let services = Keys::judged_by(policy);
        let mut exempt: Vec<Exempt<'a>> = Vec::new();
        for Exemption { account, user, until, .. } in
            policy.exemptions().iter().filter(|one| one.is_valid(at))
        {
            let same = |other: &&mut Exempt<'_>| {
                other.account == account && other.user.eq_ignore_ascii_case(user.as_str())
            };
            match exempt.iter_mut().find(same) {
                Some(known) => known.until = known.until.max(*until),
                None => exempt.push(Exempt { account, user: user.as_str(), until: *until }),
            }
        }
        Self { layers: policy.layers(), exempt, services, options }
    }

    fn layers_of(&self, keys: &Keys) -> Vec<&Layer<'a>> {
        let is_for = |layer: &&Layer<'_>| match (keys, &layer.services) {
            (Keys::Of(service), services) => services.include(service),
            (Keys::OfOthers, Services::All) => true,
            (Keys::OfOthers, Services::Listed(_)) => false,
        };
        self.layers.iter().filter(is_for).collect()
    }

    pub(super) fn denials(&self) -> Result<Denials, PreventError> {
        let mut gaps = Vec::new();
        for layer in &self.layers {
            match layer.response {
                Response::None | Response::Monitor => {
                    gaps.push(Gap::Monitored { rule: region::name(layer) });
                }
                Response::Deactivate | Response::Quarantine | Response::Delete => {}
            }
        }
        let mut makes: Vec<(Scope, BTreeSet<usize>)> = Vec::new();
        for (at, service) in self.services.iter().enumerate() {
            for scope in self.scopes(service, &mut gaps) {
                match makes.iter_mut().find(|(known, _)| *known == scope) {
                    Some((_, services)) => {
                        services.insert(at);
                    }
                    None => makes.push((scope, [at].into())),
                }
            }
        }
        makes.sort_by_key(|(scope, _)| scope.order());
        let mut statements: Vec<Statement> =
            makes.iter().map(|(scope, services)| self.deny_making(scope, services)).collect();
        if statements.is_empty() {
            let why: Vec<String> = gaps.iter().map(ToString::to_string).collect();
            return Err(PreventError::Nothing(why.join("; ")));
        }
        if self.options.deny_use {
            let uses: Vec<_> = USES.iter().filter(|(service, _, _)| self.judges(service)).collect();
            if uses.is_empty() {
                return Err(PreventError::NoUse);
            }
            for (service, action, token_type) in uses {
                let layers = self.layers_of(&Keys::Of(service.clone()));
                let made = regions(&layers, Level::NoAge, &self.exempt, self.options.plain_users, &mut gaps);
                let made = made.into_iter().map(|region| Scope { level: Level::Any, from: None, region });
                let ended =
                    self.ended(&Keys::Of(service.clone()), &mut gaps).into_iter().filter(|scope| match scope
                        .level
                    {
                        Level::NoAge | Level::Any => true,
                        Level::Over(_) => false,
                    });
                for scope in made.chain(ended) {
                    statements.push(self.deny_use(&scope, action, token_type));
                }
            }
        }
        name_apart(&mut statements);
        Ok(Denials { statements, gaps })
    }

    /// What is denied of one service.
    fn scopes(&self, service: &Keys, gaps: &mut Vec<Gap>) -> Vec<Scope> {
        let layers = self.layers_of(service);
        let mut limits: BTreeSet<u32> = layers
            .iter()
            .filter(|layer| Level::NoAge.is_denied_by(layer))
            .map(|layer| layer.limit_days)
            .collect();
        // No key can have an age beyond IAM's.
        limits.retain(|days| i64::from(*days) < MAX_AGE_DAYS);
        let levels: Vec<Level> =
            limits.iter().map(|days| if *days == 0 { Level::Any } else { Level::Over(*days) }).collect();
        let mut known: Vec<Vec<Region>> = Vec::new();
        let mut scopes = Vec::new();
        // What is denied from a lower limit on needs no higher one; the absence of an age comes last for it.
        for level in levels.into_iter().chain([Level::NoAge]) {
            let made = regions(&layers, level, &self.exempt, self.options.plain_users, gaps);
            let is_known = match level {
                Level::Over(_) => known.contains(&made),
                // Only what is denied of any age includes what has none.
                Level::NoAge => limits.contains(&0) && known.first() == Some(&made),
                Level::Any => false,
            };
            if !is_known {
                scopes.extend(made.iter().map(|region| Scope { level, from: None, region: region.clone() }));
            }
            known.push(made);
        }
        scopes.extend(self.ended(service, gaps));
        scopes
    }

    /// What is denied to users whose exemption has ended. A name in an ARN is one user's, whatever the path;
    /// in another case than the policy file's nobody's.
    fn ended(&self, service: &Keys, gaps: &mut Vec<Gap>) -> Vec<Scope> {
        let layers = self.layers_of(service);
        let mut scopes: BTreeMap<(NaiveDate, Level), BTreeSet<Named>> = BTreeMap::new();
        for exemption in &self.exempt {
            let rule = layers.iter().rfind(|layer| {
                layer.accounts.is_none_or(|accounts| accounts.contains(exemption.account))
                    && layer.users.as_ref().is_none_or(|users| {
                        users.iter().any(|user| wildcard::matches(user.as_bytes(), exemption.user.as_bytes()))
                    })
            });
            // The last day that can be written never ends.
            let (Some(rule), Some(from)) =
                (rule, exemption.until.succ_opt().filter(|from| *from <= LAST_DAY))
            else {
                continue;
            };
            if !Level::NoAge.is_denied_by(rule) {
                continue;
            }
            if !self.options.plain_users {
                region::note_end(exemption, gaps);
            }
            let levels: &[Level] = match rule.limit_days {
                0 => &[Level::Any],
                days if i64::from(days) >= MAX_AGE_DAYS => &[Level::NoAge],
                days => &[Level::NoAge, Level::Over(days)],
            };
            for level in levels {
                scopes.entry((from, *level)).or_default().insert(Named {
                    account: Some(exemption.account.clone()),
                    pattern: exemption.user.to_owned(),
                });
            }
        }
        scopes
            .into_iter()
            .map(|((from, level), users)| Scope {
                level,
                from: Some(from),
                region: Region { accounts: Accounts::AllBut(BTreeSet::new()), users: Users::Only(users) },
            })
            .collect()
    }

    fn judges(&self, service: &Service) -> bool {
        self.services.iter().any(|keys| keys.are_of(service))
    }

    /// `keys` are indexes of [`Plan::services`].
    fn deny_making(&self, scope: &Scope, keys: &BTreeSet<usize>) -> Statement {
        let mut statement = self.deny(scope, CREATE);
        statement.sid = match scope.level {
            Level::NoAge => "DenyKeysWithoutAge".to_owned(),
            Level::Any => "DenyKeys".to_owned(),
            Level::Over(1) => "DenyKeysOver1Day".to_owned(),
            Level::Over(days) => format!("DenyKeysOver{days}Days"),
        };
        // Requests may name a service in any case.
        let (operator, services) = self.services_of(keys);
        statement.condition(operator, SERVICE_NAME, services);
        match scope.level {
            Level::NoAge => statement.condition("Null", AGE_DAYS, vec!["true".to_owned()]),
            Level::Any => {}
            Level::Over(days) => statement.condition("NumericGreaterThan", AGE_DAYS, vec![days.to_string()]),
        }
        let arns = |users: &BTreeSet<Named>| users.iter().flat_map(|named| self.arns(named)).collect();
        match &scope.region.users {
            Users::AllBut(users) if users.is_empty() => statement.resource = Some(Texts::one("*")),
            Users::AllBut(users) => statement.not_resource = Some(Texts(arns(users))),
            Users::Only(users) => statement.resource = Some(Texts(arns(users))),
        }
        statement
    }

    /// The operator and the names that tell these keys from others.
    fn services_of(&self, keys: &BTreeSet<usize>) -> (&'static str, Vec<String>) {
        let (mut named, mut left_out, mut with_others) = (Vec::new(), Vec::new(), false);
        for (at, of) in self.services.iter().enumerate() {
            match of {
                Keys::Of(service) if keys.contains(&at) => named.push(service.as_str().to_owned()),
                Keys::Of(service) => left_out.push(service.as_str().to_owned()),
                Keys::OfOthers => with_others = keys.contains(&at),
            }
        }
        if with_others {
            let passwords = Service::KNOWN.iter().filter(|service| !service.has_api_keys());
            left_out.extend(passwords.map(|service| service.as_str().to_owned()));
            ("StringNotEqualsIgnoreCase", left_out)
        } else {
            ("StringEqualsIgnoreCase", named)
        }
    }

    /// A key is used by the user who owns it.
    fn deny_use(&self, scope: &Scope, action: &str, token_type: &'static str) -> Statement {
        let mut statement = self.deny(scope, action);
        "DenyUse".clone_into(&mut statement.sid);
        statement.resource = Some(Texts::one("*"));
        statement.condition("StringEquals", token_type, vec![LONG_TERM.to_owned()]);
        let (operator, users) = match &scope.region.users {
            Users::AllBut(users) => ("ArnNotLike", users),
            Users::Only(users) => ("ArnLike", users),
        };
        let arns: Vec<String> = users.iter().flat_map(|named| self.arns(named)).collect();
        if !arns.is_empty() {
            statement.condition(operator, PRINCIPAL_ARN, arns);
        }
        statement
    }

    fn deny(&self, scope: &Scope, action: &str) -> Statement {
        let mut statement = Statement {
            sid: String::new(),
            effect: "Deny",
            action: Texts::one(action),
            resource: None,
            not_resource: None,
            condition: BTreeMap::new(),
        };
        // The caller of IAM is in the account of the user that the call is about.
        let ids = |accounts: &BTreeSet<AccountId>| accounts.iter().map(ToString::to_string).collect();
        match &scope.region.accounts {
            Accounts::AllBut(accounts) if accounts.is_empty() => {}
            Accounts::AllBut(accounts) => {
                statement.condition("StringNotEquals", PRINCIPAL_ACCOUNT, ids(accounts));
            }
            Accounts::Only(accounts) => statement.condition("StringEquals", PRINCIPAL_ACCOUNT, ids(accounts)),
        }
        if let Some(from) = scope.from {
            let from = format!("{from}T00:00:00Z");
            statement.condition("DateGreaterThanEquals", CURRENT_TIME, vec![from]);
        }
        let break_glass: Vec<String> =
            self.options.break_glass.iter().map(|principal| principal.as_str().to_owned()).collect();
        if !break_glass.is_empty() {
            statement.condition("ArnNotLike", PRINCIPAL_ARN, break_glass);
        }
        statement
    }

    /// A user's ARN has the path before the name; in one pattern there is no "with or without". IAM takes no
    /// pattern that does not begin with `user/`.
    fn arns(&self, named: &Named) -> Vec<String> {
        let partition = self.options.partition.as_str();
        let account = named.account.as_ref().map_or("*", AccountId::as_str);
        let arn = |path: &str| format!("arn:{partition}:iam::{account}:user/{path}{}", named.pattern);
        if self.options.plain_users || named.pattern.starts_with('*') {
            vec![arn("")]
        } else {
            vec![arn(""), arn("*/")]
        }
    }
}

/// The last day that four digits can write.
const LAST_DAY: NaiveDate = match NaiveDate::from_ymd_opt(9999, 12, 31) {
    Some(day) => day,
    None => NaiveDate::MAX,
};

/// What one statement is about.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Scope {
    level: Level,
    /// The first day, for users whose exemption ends.
    from: Option<NaiveDate>,
    region: Region,
}

impl Scope {
    /// What applies today comes first, and keys without an age before all.
    fn order(&self) -> (Option<NaiveDate>, Level) {
        (self.from, self.level)
    }
}
