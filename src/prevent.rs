//! IAM's own words for a policy file: service control policies and permission boundaries that deny a key
//! before it is made.
//!
//! A document never denies a key that the policy file allows. Where IAM's language cannot say what the file
//! forbids, less is denied and a [`Gap`] is left. `tests/it/prevent.rs` holds both against
//! [`Policy::assess`], `.ci/scp` against an independent policy simulator.
//!
//! A key that is made without an age has no `iam:ServiceSpecificCredentialAgeDays`, and a comparison with a
//! condition key that is absent does not match: a statement with `NumericGreaterThan` alone lets exactly the
//! keys pass that never expire. So a second statement asks for the absence, with `Null`
//! (IAM user guide, *Condition operators*).
//!
//! Actions and condition keys: service authorization reference, *AWS IAM*, *Amazon Bedrock*, *Amazon Bedrock
//! Powered by AWS Mantle*, *Claude Platform on AWS*. Values of the token type: Bedrock user guide, *Control
//! permissions for generating and using Amazon Bedrock API keys*.

mod region;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Serialize, Serializer};

use key_guard_core::cloudtrail::MAX_AGE_DAYS;
use key_guard_core::key::{AccountId, Service};
use key_guard_core::policy::{Layer, Policy, Response, Services, wildcard};
use key_guard_core::text::is_iam_name_byte;

pub use region::Gap;
use region::{Accounts, Exempt, Level, Named, Region, Users, regions};

/// AWS Organizations' limit for a service control policy, white space included
/// (AWS Organizations user guide, *Quotas*).
pub const SCP_MAX_CHARACTERS: usize = 5_120;

/// IAM's limit for a managed policy, white space excluded (IAM user guide, *IAM and AWS STS quotas*).
pub const MANAGED_POLICY_MAX_CHARACTERS: usize = 6_144;

const CREATE: &str = "iam:CreateServiceSpecificCredential";
const AGE_DAYS: &str = "iam:ServiceSpecificCredentialAgeDays";
const SERVICE_NAME: &str = "iam:ServiceSpecificCredentialServiceName";
const PRINCIPAL_ACCOUNT: &str = "aws:PrincipalAccount";
const PRINCIPAL_ARN: &str = "aws:PrincipalArn";
const CURRENT_TIME: &str = "aws:CurrentTime";
const LONG_TERM: &str = "LONG_TERM";

/// By which actions the keys of a service are used, with the condition key that tells long-term keys. Keys of
/// CloudWatch and CloudWatch Logs are used by actions that have no such condition key.
static USES: [(Service, &str, &str); 3] = [
    (Service::Bedrock, "bedrock:CallWithBearerToken", "bedrock:BearerTokenType"),
    (Service::Bedrock, "bedrock-mantle:CallWithBearerToken", "bedrock-mantle:BearerTokenType"),
    (
        Service::ClaudePlatform,
        "aws-external-anthropic:CallWithBearerToken",
        "aws-external-anthropic:BearerTokenType",
    ),
];

/// Every action that a document denies.
#[must_use]
pub fn actions() -> Vec<&'static str> {
    std::iter::once(CREATE).chain(USES.iter().map(|(_, action, _)| *action)).collect()
}

/// Which AWS the ARNs are of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Partition {
    /// The commercial Regions.
    #[default]
    #[value(name = "aws", help = "the commercial Regions")]
    Aws,
    /// AWS `GovCloud` (US).
    #[value(name = "aws-us-gov", help = "GovCloud (US)")]
    AwsUsGov,
    /// The China Regions.
    #[value(name = "aws-cn", help = "China")]
    AwsCn,
}

impl Partition {
    /// As written in ARNs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsUsGov => "aws-us-gov",
            Self::AwsCn => "aws-cn",
        }
    }
}

/// Who may make any key: the ARN of IAM roles or users, with `*` and `?` as IAM's `ArnNotLike` takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakGlass {
    arn: String,
    partition: Partition,
    any_account: bool,
}

impl BreakGlass {
    /// The ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.arn
    }

    /// Which AWS it is of.
    #[must_use]
    pub const fn partition(&self) -> Partition {
        self.partition
    }
}

/// The ARN that `aws:PrincipalArn` has: of a session its role's, of the root user the account's
/// (IAM user guide, *AWS global condition context keys*).
impl FromStr for BreakGlass {
    type Err = &'static str;
    fn from_str(arn: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected the ARN of an IAM role or user, such as arn:aws:iam::111122223333:role/break-glass, with an account or * and a name in which * and ? are wildcards; for a session, the ARN of its role";
        let parts: Vec<&str> = arn.split(':').collect();
        let ["arn", partition, "iam", "", account, who] = parts.as_slice() else { return Err(EXPECTED) };
        let partition = match *partition {
            "aws" => Partition::Aws,
            "aws-us-gov" => Partition::AwsUsGov,
            "aws-cn" => Partition::AwsCn,
            _ => return Err(EXPECTED),
        };
        let any_account = *account == "*";
        if !any_account && account.parse::<AccountId>().is_err() {
            return Err(EXPECTED);
        }
        let is_named = match who.split_once('/') {
            Some(("role" | "user", name)) => {
                name.bytes().all(|byte| is_iam_name_byte(byte) || b"/*?".contains(&byte))
                    && name.bytes().any(|byte| byte.is_ascii_alphanumeric())
                    && !name.ends_with('/')
            }
            Some(_) => false,
            None => *who == "root" && !any_account,
        };
        if is_named { Ok(Self { arn: arn.to_owned(), partition, any_account }) } else { Err(EXPECTED) }
    }
}

/// What is asked for beside the policy file.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Deny the use of long-term keys, too.
    pub deny_use: bool,
    /// Who is left out.
    pub break_glass: Vec<BreakGlass>,
    /// Which AWS the ARNs are of.
    pub partition: Partition,
    /// That no IAM user has a path, and the policy file names them in the case that IAM has.
    pub plain_users: bool,
}

/// A document for AWS, with what it leaves open.
#[derive(Debug, Clone)]
pub struct Document {
    /// The JSON, ending in a line end.
    pub text: String,
    /// How many statements deny something.
    pub denials: usize,
    /// How long it is, as AWS counts.
    pub characters: usize,
    /// How long it may be, as AWS counts.
    pub max_characters: usize,
    /// What the policy file forbids and the document does not deny.
    pub gaps: Vec<Gap>,
    /// What no such document covers, or this one by its options.
    pub not_covered: Vec<String>,
}

/// A policy file that no document can be made of.
#[derive(Debug, thiserror::Error)]
pub enum PreventError {
    /// Every rule only monitors.
    #[error("the policy denies nothing: {0}")]
    Nothing(String),
    /// No judged service has an action for the use of long-term keys.
    #[error(
        "no use can be denied: the policy judges none of bedrock.amazonaws.com and aws-external-anthropic.amazonaws.com, and IAM tells long-term keys of no other service"
    )]
    NoUse,
    /// AWS would refuse it.
    #[error(
        "the {kind} has {characters} characters, and AWS takes {max}: name fewer users, accounts or exemptions, or make a policy file for each part of the organisation and attach what comes of it there"
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

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Attached to an organisation's root, to a unit or to an account.
    ServiceControlPolicy,
    /// Attached to a user or role.
    PermissionBoundary,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServiceControlPolicy => "service control policy",
            Self::PermissionBoundary => "permission boundary",
        })
    }
}

/// Makes a document that denies what the policy file forbids. Exemptions that have ended before `at` are
/// left aside.
///
/// # Errors
/// When there is nothing to deny, or AWS would not take a document of that length.
pub fn document(
    kind: Kind,
    policy: &Policy,
    options: &Options,
    at: DateTime<Utc>,
) -> Result<Document, PreventError> {
    let plan = Plan::new(policy, options, at);
    let Denials { mut statements, gaps } = plan.denials()?;
    let denials = statements.len();
    let max_characters = match kind {
        Kind::ServiceControlPolicy => SCP_MAX_CHARACTERS,
        Kind::PermissionBoundary => {
            statements.insert(0, Statement::allow_all());
            MANAGED_POLICY_MAX_CHARACTERS
        }
    };
    let whole = Whole { version: "2012-10-17", statement: statements };
    let pretty = serde_json::to_string_pretty(&whole).map_err(PreventError::Json)? + "\n";
    let compact = serde_json::to_string(&whole).map_err(PreventError::Json)? + "\n";
    let length = |text: &str| match kind {
        Kind::ServiceControlPolicy => text.chars().count(),
        Kind::PermissionBoundary => text.chars().filter(|c| !c.is_whitespace()).count(),
    };
    let text = if length(&pretty) <= max_characters { pretty } else { compact };
    let characters = length(&text);
    if characters > max_characters {
        return Err(PreventError::TooLong { kind, characters, max: max_characters });
    }
    let not_covered = plan.not_covered(kind, &whole);
    Ok(Document { text, denials, characters, max_characters, gaps, not_covered })
}

struct Plan<'a> {
    layers: Vec<Layer<'a>>,
    exempt: Vec<Exempt<'a>>,
    services: Vec<Keys>,
    options: &'a Options,
}

/// Keys that the policy judges.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Keys {
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

struct Denials {
    statements: Vec<Statement>,
    gaps: Vec<Gap>,
}

impl<'a> Plan<'a> {
    fn new(policy: &'a Policy, options: &'a Options, at: DateTime<Utc>) -> Self {
        let services = Keys::judged_by(policy);
        let mut exempt: Vec<Exempt<'a>> = Vec::new();
        for (account, user, until) in policy.exemptions().filter(|(_, _, until)| at.date_naive() <= *until) {
            let same = |other: &&mut Exempt<'_>| {
                other.account == account && other.user.eq_ignore_ascii_case(user.as_str())
            };
            match exempt.iter_mut().find(same) {
                Some(known) => known.until = known.until.max(until),
                None => exempt.push(Exempt { account, user: user.as_str(), until }),
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

    fn denials(&self) -> Result<Denials, PreventError> {
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
        // The account of a user is the account of whoever may call IAM about it.
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
            self.options.break_glass.iter().map(|principal| principal.arn.clone()).collect();
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

    fn not_covered(&self, kind: Kind, whole: &Whole) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let mut say = |line: &str| lines.push(line.to_owned());
        match kind {
            Kind::ServiceControlPolicy => {
                say("accounts that it is not attached to: directly, through a unit or through the root");
                say(
                    "the management account and service-linked roles: no service control policy reaches them",
                );
                if self.options.partition == Partition::AwsCn
                    && whole.statement.iter().any(|statement| statement.not_resource.is_some())
                {
                    say(
                        "China: NotResource in service control policies was announced for the commercial and GovCloud Regions only",
                    );
                }
            }
            Kind::PermissionBoundary => {
                say(
                    "users and roles that do not have it as their boundary: it concerns who makes a key, not whom the key is for",
                );
                say("the root user, who can have no boundary");
                say("a user or role that may remove or replace its own boundary");
                say("permissions: a boundary grants none, what a policy allows is only cut down to it");
            }
        }
        if self.options.deny_use {
            say(
                "the age of keys in use, which IAM does not know: no long-term key works, whether the policy allows it or not",
            );
            for keys in &self.services {
                match keys {
                    Keys::Of(service) if USES.iter().any(|(known, _, _)| known == service) => {}
                    Keys::Of(service) => {
                        say(&format!("the use of keys for {service}: no condition tells its long-term keys"));
                    }
                    Keys::OfOthers => {
                        say("the use of keys for other services: no condition tells their long-term keys");
                    }
                }
            }
            say("keys that exist already: only their use is denied");
        } else {
            say(
                "keys that exist already: they go on working, can be switched on again and can get new secrets (see --deny-use)",
            );
        }
        say("the making of short-term keys: it takes no API call");
        if !self.services.contains(&Keys::OfOthers) {
            say("keys of services that the policy does not judge");
        }
        for principal in &self.options.break_glass {
            let anyone = if principal.any_account { ", in any account where one can be made" } else { "" };
            say(&format!("{}: may make any key{anyone}", principal.arn));
        }
        lines
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

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Whole {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: String,
    effect: &'static str,
    action: Texts,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<Texts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_resource: Option<Texts>,
    /// Operators, condition keys, values. All conditions of a statement have to match.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    condition: BTreeMap<&'static str, BTreeMap<&'static str, Texts>>,
}

impl Statement {
    fn allow_all() -> Self {
        Self {
            sid: "AllowWhatPoliciesAllow".to_owned(),
            effect: "Allow",
            action: Texts::one("*"),
            resource: Some(Texts::one("*")),
            not_resource: None,
            condition: BTreeMap::new(),
        }
    }

    fn condition(&mut self, operator: &'static str, key: &'static str, values: Vec<String>) {
        let known = self.condition.entry(operator).or_default().entry(key).or_insert(Texts(Vec::new()));
        known.0.extend(values);
    }
}

/// Texts of a policy: one is written as it is, more as a list.
#[derive(Debug)]
struct Texts(Vec<String>);

impl Texts {
    fn one(text: &str) -> Self {
        Self(vec![text.to_owned()])
    }
}

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => to.serialize_str(one),
            many => to.collect_seq(many),
        }
    }
}

/// IAM wants the names of statements to differ.
fn name_apart(statements: &mut [Statement]) {
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for statement in statements {
        let count = known.entry(statement.sid.clone()).or_default();
        *count += 1;
        if *count > 1 {
            statement.sid = format!("{}No{count}", statement.sid);
        }
    }
}
