//! What is allowed: the policy file, and [`Policy::judge`].
//!
//! Judging is pure. The same key, policy and time give the same verdict whenever and wherever they are
//! run.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::rfc3339;
use crate::event::MAX_AGE_DAYS;
use crate::key::{AccountId, Evidence, Expiration, Key, Lifetime, Service, UserName, describe_days};

/// The policy that applies when none is given.
pub const BUILT_IN: &str = r#"[default]
services = ["bedrock.amazonaws.com"]
max_lifetime_days = 90
response = "delete"
"#;

/// A key that lives longer than this, in days, was meant never to end: the console's "never expires" may
/// arrive as about 100 years.
const LONGEST_FINITE_DAYS: i64 = 10_000;

/// How far the guard goes with a key. Ordered: each goes further than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Response {
    /// Nothing is called for.
    None,
    /// Recorded and reported, left as it is.
    Monitor,
    /// Switched off, which can be undone.
    Deactivate,
    /// Switched off, and deleted by the first sweep after the policy's `grace_days` if nothing changed until then.
    Quarantine,
    /// Deleted, which cannot.
    Delete,
}

impl Response {
    /// As written in reports, policies and the environment.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Monitor => "monitor",
            Self::Deactivate => "deactivate",
            Self::Quarantine => "quarantine",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A response that a ceiling may name. A policy may name `quarantine`, too.
impl FromStr for Response {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "monitor" => Ok(Self::Monitor),
            "deactivate" => Ok(Self::Deactivate),
            "delete" => Ok(Self::Delete),
            _ => Err("expected monitor, deactivate or delete"),
        }
    }
}

/// How a key stands against the policy. The words of [`Verdict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Within the limit.
    Compliant,
    /// Over the limit, and allowed to be.
    Exempt,
    /// Over the limit.
    Noncompliant,
    /// Not known. Never to be taken for compliant, and never grounds for an action.
    Undetermined,
}

impl Standing {
    /// As written in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compliant => "compliant",
            Self::Exempt => "exempt",
            Self::Noncompliant => "noncompliant",
            Self::Undetermined => "undetermined",
        }
    }
}

/// What is wrong with a noncompliant key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Violation {
    /// It has no end, or one so far away that none was meant.
    NeverExpires,
    /// It ends, but too late.
    LifetimeExceedsLimit,
    /// The limit is 0: no long-term key may exist at all.
    LongTermKeyForbidden,
    /// The guard had switched it off, someone switched it on again, and it is still over the limit.
    Reactivated,
}

impl Violation {
    /// As written in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NeverExpires => "never_expires",
            Self::LifetimeExceedsLimit => "lifetime_exceeds_limit",
            Self::LongTermKeyForbidden => "long_term_key_forbidden",
            Self::Reactivated => "reactivated",
        }
    }
}

/// The outcome of judging a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Within the limit.
    Compliant,
    /// Over the limit, and exempt by the policy.
    Exempt {
        /// The exemption's reason.
        reason: String,
        /// Its last day, in UTC.
        until: NaiveDate,
    },
    /// Over the limit.
    Noncompliant(Violation),
    /// The expiration could not be read.
    Undetermined {
        /// Why.
        why: String,
    },
}

impl Verdict {
    /// The verdict's word.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        match self {
            Self::Compliant => Standing::Compliant,
            Self::Exempt { .. } => Standing::Exempt,
            Self::Noncompliant(_) => Standing::Noncompliant,
            Self::Undetermined { .. } => Standing::Undetermined,
        }
    }

    /// What is wrong, where something is.
    #[must_use]
    pub const fn violation(&self) -> Option<Violation> {
        match self {
            Self::Noncompliant(violation) => Some(*violation),
            Self::Compliant | Self::Exempt { .. } | Self::Undetermined { .. } => None,
        }
    }
}

/// A verdict with the rule that it was reached by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// How the key stands.
    pub verdict: Verdict,
    /// The limit that applied, in days.
    pub limit_days: u32,
    /// What a noncompliant key under that rule gets, before any ceiling.
    pub response: Response,
    /// With [`Response::Quarantine`]: how many days pass between switching off and deleting.
    pub grace_days: u32,
    /// Why, in words.
    pub reason: String,
}

impl Judgement {
    /// The same of a key that the guard had switched off and that works again.
    pub fn reactivated(&mut self) {
        match self.verdict {
            Verdict::Noncompliant(_) => {
                self.verdict = Verdict::Noncompliant(Violation::Reactivated);
                self.reason.insert_str(0, "the guard had deactivated it and it was switched on again; it ");
            }
            // An exemption or a higher limit is how a key comes back.
            Verdict::Compliant | Verdict::Exempt { .. } | Verdict::Undetermined { .. } => {}
        }
    }

    /// Whether the policy wants the key in quarantine.
    #[must_use]
    pub fn quarantines(&self) -> bool {
        self.verdict.standing() == Standing::Noncompliant && self.response == Response::Quarantine
    }
}

/// Whether the policy judges keys of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// It does.
    Judged(Judgement),
    /// It does not name the service; the key is not ours.
    NotJudged,
}

/// A valid policy, from a file or built in.
#[derive(Debug, Clone)]
pub struct Policy {
    rules: Rules,
    sha256: String,
}

/// A policy that cannot be used. Its `Display` begins with the file, and the line where that is known.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file could not be read.
    #[error("{}: could not read the policy file", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not UTF-8.
    #[error("{}: the policy file is not UTF-8 text", path.display())]
    NotText {
        /// Which file.
        path: PathBuf,
    },
    /// The file was read and is not a policy.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What is wrong, and what would be accepted.
        message: String,
    },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    default: Rule,
    #[serde(default, rename = "override")]
    overrides: Vec<Override>,
    #[serde(default, rename = "exemption")]
    exemptions: Vec<Exemption>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(deserialize_with = "services")]
    services: Vec<Service>,
    max_lifetime_days: LimitDays,
    #[serde(deserialize_with = "response")]
    response: Response,
    grace_days: Option<GraceDays>,
    #[serde(default)]
    max_actions_per_hour: ActionsPerHour,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Override {
    #[serde(default, deserialize_with = "some_accounts")]
    accounts: Option<Vec<AccountId>>,
    #[serde(default, deserialize_with = "some_services")]
    services: Option<Vec<Service>>,
    #[serde(default, deserialize_with = "some_users")]
    users: Option<Vec<UserPattern>>,
    max_lifetime_days: Option<LimitDays>,
    #[serde(default, deserialize_with = "some_response")]
    response: Option<Response>,
    grace_days: Option<GraceDays>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exemption {
    #[serde(deserialize_with = "account")]
    account: AccountId,
    #[serde(deserialize_with = "exact_user")]
    user: UserName,
    #[serde(deserialize_with = "reason")]
    reason: String,
    #[serde(deserialize_with = "date")]
    until: NaiveDate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LimitDays(u32);

impl<'de> Deserialize<'de> for LimitDays {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let days = i64::deserialize(from)?;
        u32::try_from(days).ok().filter(|_| days <= MAX_AGE_DAYS).map(Self).ok_or_else(|| {
            D::Error::custom(format!("max_lifetime_days is {days}; expected 0 to {MAX_AGE_DAYS} days"))
        })
    }
}

/// The longest that a key may be in quarantine, in days.
const LONGEST_GRACE_DAYS: i64 = 365;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GraceDays(u32);

impl<'de> Deserialize<'de> for GraceDays {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let days = i64::deserialize(from)?;
        let allowed = (1..=LONGEST_GRACE_DAYS).contains(&days);
        u32::try_from(days).ok().filter(|_| allowed).map(Self).ok_or_else(|| {
            D::Error::custom(format!("grace_days is {days}; expected 1 to {LONGEST_GRACE_DAYS} days"))
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ActionsPerHour(u32);

impl Default for ActionsPerHour {
    fn default() -> Self {
        Self(20)
    }
}

impl<'de> Deserialize<'de> for ActionsPerHour {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const MOST: i64 = 1_000_000;
        let actions = i64::deserialize(from)?;
        u32::try_from(actions).ok().filter(|_| actions <= MOST).map(Self).ok_or_else(|| {
            D::Error::custom(format!("max_actions_per_hour is {actions}; expected 0 to {MOST}"))
        })
    }
}

/// An IAM user name in which `*` stands for any text, and `?` for any one character.
#[derive(Debug, Clone, PartialEq, Eq)]
struct UserPattern(String);

impl UserPattern {
    fn matches(&self, user: &UserName) -> bool {
        wildcard(self.0.as_bytes(), user.as_str().as_bytes())
    }
}

/// Whether `text` fits `pattern`, in any case. Linear but for the last `*`, to which it returns.
pub(crate) fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted.eq_ignore_ascii_case(byte) => {
                p += 1;
                t += 1;
            }
            Some(_) | None => match retry {
                Some((after_star, taken)) => {
                    retry = Some((after_star, taken + 1));
                    p = after_star;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

fn response<'de, D: Deserializer<'de>>(from: D) -> Result<Response, D::Error> {
    let text = String::deserialize(from)?;
    if text == Response::Quarantine.as_str() {
        return Ok(Response::Quarantine);
    }
    text.parse().map_err(|_: &str| {
        D::Error::custom(format!(
            "unknown response \"{text}\"; expected monitor, deactivate, quarantine or delete"
        ))
    })
}

fn some_response<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Response>, D::Error> {
    response(from).map(Some)
}

fn services<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Service>, D::Error> {
    let names = filled::<D>("services", Vec::<String>::deserialize(from)?)?;
    names.iter().map(|name| judged_service::<D>(name)).collect()
}

fn some_services<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<Service>>, D::Error> {
    services(from).map(Some)
}

fn judged_service<'de, D: Deserializer<'de>>(name: &str) -> Result<Service, D::Error> {
    let accepted = || {
        let names: Vec<_> = Service::ALL
            .iter()
            .filter(|service| service.has_api_keys())
            .map(|service| service.as_str())
            .collect();
        names.join(", ")
    };
    match name.parse::<Service>() {
        Ok(service) if service.has_api_keys() => Ok(service),
        Ok(service) => Err(D::Error::custom(format!(
            "service \"{service}\" has passwords, not API keys; expected one of {}",
            accepted()
        ))),
        Err(_) => {
            Err(D::Error::custom(format!("unknown service \"{name}\"; expected one of {}", accepted())))
        }
    }
}

fn some_accounts<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<AccountId>>, D::Error> {
    let ids = filled::<D>("accounts", Vec::<String>::deserialize(from)?)?;
    ids.iter().map(|id| parse_account::<D>(id)).collect::<Result<_, _>>().map(Some)
}

fn account<'de, D: Deserializer<'de>>(from: D) -> Result<AccountId, D::Error> {
    parse_account::<D>(&String::deserialize(from)?)
}

fn parse_account<'de, D: Deserializer<'de>>(id: &str) -> Result<AccountId, D::Error> {
    id.parse()
        .map_err(|_| D::Error::custom(format!("unknown account \"{id}\"; expected a text of 12 digits")))
}

fn some_users<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<UserPattern>>, D::Error> {
    let patterns = filled::<D>("users", Vec::<String>::deserialize(from)?)?;
    patterns
        .into_iter()
        .map(|pattern| {
            let literal = pattern.replace(['*', '?'], "x");
            match literal.parse::<UserName>() {
                Ok(_) => Ok(UserPattern(pattern)),
                Err(_) => Err(D::Error::custom(format!(
                    "users pattern \"{pattern}\" can match no IAM user; expected an IAM user name, with * for any text and ? for any character"
                ))),
            }
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

fn exact_user<'de, D: Deserializer<'de>>(from: D) -> Result<UserName, D::Error> {
    let name = String::deserialize(from)?;
    name.parse().map_err(|_| {
        D::Error::custom(format!(
            "exemption for user \"{name}\"; expected the name of one IAM user, without patterns"
        ))
    })
}

fn reason<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let reason = String::deserialize(from)?;
    if reason.trim().is_empty() {
        return Err(D::Error::custom("reason is empty; expected why, and who agreed to it"));
    }
    if reason.chars().any(crate::text::steers) {
        return Err(D::Error::custom(
            "reason has line ends or characters that steer a terminal; expected plain text",
        ));
    }
    Ok(reason)
}

fn date<'de, D: Deserializer<'de>>(from: D) -> Result<NaiveDate, D::Error> {
    const EXPECTED: &str = "until: expected a date without quotes or time, such as 2027-03-31";
    let written = toml::value::Datetime::deserialize(from).map_err(|_| D::Error::custom(EXPECTED))?;
    match (written.date, written.time, written.offset) {
        (Some(date), None, None) => {
            NaiveDate::from_ymd_opt(i32::from(date.year), u32::from(date.month), u32::from(date.day))
                .ok_or_else(|| D::Error::custom(EXPECTED))
        }
        _ => Err(D::Error::custom(EXPECTED)),
    }
}

fn filled<'de, D: Deserializer<'de>>(field: &str, list: Vec<String>) -> Result<Vec<String>, D::Error> {
    if list.is_empty() {
        return Err(D::Error::custom(format!(
            "{field} is empty and so matches nothing; leave the field out, or fill it"
        )));
    }
    Ok(list)
}

/// One rule of a policy, and whose keys it is for: [`Policy::layers`].
#[cfg(feature = "cli")]
#[derive(Debug, Clone)]
pub(crate) struct Layer<'a> {
    /// From 1 for an override; `[default]` has none.
    pub(crate) number: Option<usize>,
    /// `None`: all.
    pub(crate) accounts: Option<&'a [AccountId]>,
    /// Judged services only.
    pub(crate) services: Vec<Service>,
    /// Patterns of user names, in any case. `None`: all.
    pub(crate) users: Option<Vec<&'a str>>,
    pub(crate) limit_days: u32,
    pub(crate) response: Response,
}

impl Policy {
    /// The built-in policy: [`BUILT_IN`].
    ///
    /// # Errors
    /// Never; the text is fixed, and a test loads it.
    pub fn built_in() -> Result<Self, PolicyError> {
        Self::parse(BUILT_IN, Path::new("(built-in policy)"))
    }

    /// Reads and checks a policy file.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a valid policy.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let bytes =
            std::fs::read(path).map_err(|source| PolicyError::Read { path: path.to_owned(), source })?;
        let text = std::str::from_utf8(&bytes).map_err(|_| PolicyError::NotText { path: path.to_owned() })?;
        Self::parse(text, path)
    }

    /// Checks the text of a policy file; `path` is for messages.
    ///
    /// # Errors
    /// When it is not a valid policy.
    pub fn parse(text: &str, path: &Path) -> Result<Self, PolicyError> {
        let invalid = |span, message| {
            let (line, column) = position(text, span);
            PolicyError::Invalid { path: path.to_owned(), line, column, message }
        };
        let rules: Rules = toml::from_str(text)
            .map_err(|error| invalid(error.span(), error.message().replace('\n', "; ")))?;
        if let Some(rule) = rules.quarantine_without_grace() {
            let message = format!(
                "{rule} has response = \"quarantine\" and no grace_days; say how many days pass until the key is deleted"
            );
            return Err(invalid(Some(0..0), message));
        }
        Ok(Self { rules, sha256: format!("{:x}", Sha256::digest(text.as_bytes())) })
    }

    /// The SHA-256 of the policy's text, in lowercase hex.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The services whose keys are judged.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.rules.default.services
    }

    /// Judges a key as of `at`: the time of its event, whether the event or IAM says how long it lives.
    #[must_use]
    pub fn judge(&self, key: &Key, at: DateTime<Utc>) -> Ruling {
        if !self.rules.default.services.contains(&key.service) {
            return Ruling::NotJudged;
        }
        let (LimitDays(limit_days), response, grace_days, rule) = self.rule_for(key);
        let limit = TimeDelta::days(i64::from(limit_days));
        let (verdict, why) = match &key.evidence {
            Evidence::Unreadable { why } => (
                Verdict::Undetermined { why: why.clone() },
                format!("the key's lifetime could not be read: {why}"),
            ),
            Evidence::Known { expiration, basis } => {
                let lifetime = Lifetime::of(key.created_at, *expiration);
                let lives = describe_lifetime(*expiration, lifetime);
                match violation(lifetime, limit) {
                    None => (
                        Verdict::Compliant,
                        format!("{lives}, within the limit of {limit_days} days ({basis})"),
                    ),
                    Some(violation) => self.unless_exempt(
                        key,
                        at,
                        violation,
                        &match violation {
                            Violation::LongTermKeyForbidden => {
                                format!("{lives}, and no long-term key is allowed ({basis})")
                            }
                            Violation::NeverExpires
                            | Violation::LifetimeExceedsLimit
                            | Violation::Reactivated => {
                                format!("{lives}, over the limit of {limit_days} days ({basis})")
                            }
                        },
                    ),
                }
            }
        };
        Ruling::Judged(Judgement {
            verdict,
            limit_days,
            response,
            grace_days,
            reason: format!("{why}{rule}"),
        })
    }

    fn unless_exempt(
        &self,
        key: &Key,
        at: DateTime<Utc>,
        violation: Violation,
        why: &str,
    ) -> (Verdict, String) {
        let exemptions = self.rules.exemptions.iter().filter(|exemption| {
            exemption.account == key.key.account && exemption.user.is_same_user(&key.user)
        });
        match exemptions.max_by_key(|exemption| exemption.until) {
            Some(exemption) if exemption.is_valid(at) => (
                Verdict::Exempt { reason: exemption.reason.clone(), until: exemption.until },
                format!("{why}; exempt until {}: {}", exemption.until, exemption.reason),
            ),
            Some(exemption) => (
                Verdict::Noncompliant(violation),
                format!("{why}; its exemption ended with {}", exemption.until),
            ),
            None => (Verdict::Noncompliant(violation), why.to_owned()),
        }
    }

    /// The last override that matches, with `[default]` for what it leaves out.
    fn rule_for(&self, key: &Key) -> (LimitDays, Response, u32, String) {
        let default = &self.rules.default;
        let last = self.rules.overrides.iter().enumerate().rfind(|(_, candidate)| candidate.matches(key));
        // Where it is needed it is there: `quarantine_without_grace`.
        let days = |grace: Option<GraceDays>| grace.map_or(0, |GraceDays(days)| days);
        match last {
            None => (default.max_lifetime_days, default.response, days(default.grace_days), String::new()),
            Some((index, matched)) => (
                matched.max_lifetime_days.unwrap_or(default.max_lifetime_days),
                matched.response.unwrap_or(default.response),
                days(matched.grace_days.or(default.grace_days)),
                format!("; by override {}", index + 1),
            ),
        }
    }

    /// What is probably not meant, as of `now`. Never a reason not to start: a date must not stop the
    /// guard.
    #[must_use]
    pub fn warnings(&self, now: DateTime<Utc>) -> Vec<String> {
        let mut warnings = Vec::new();
        for (index, rule) in self.rules.overrides.iter().enumerate() {
            let name = format!("override {}", index + 1);
            for service in rule.services.iter().flatten() {
                if !self.rules.default.services.contains(service) {
                    warnings.push(format!(
                        "{name} names {service}, which is not in [default] services: its keys are not judged"
                    ));
                }
            }
            if rule.accounts.is_none() && rule.services.is_none() && rule.users.is_none() {
                warnings.push(format!(
                    "{name} names no accounts, services or users: it replaces [default] for every key"
                ));
            }
            if rule.max_lifetime_days.is_none() && rule.response.is_none() && rule.grace_days.is_none() {
                warnings
                    .push(format!("{name} gives neither max_lifetime_days nor response: it changes nothing"));
            }
        }
        for exemption in &self.rules.exemptions {
            if !exemption.is_valid(now) {
                warnings.push(format!(
                    "the exemption of {} in {} ended with {}: it no longer applies",
                    exemption.user, exemption.account, exemption.until
                ));
            }
        }
        warnings
    }

    /// Every rule, `[default]` first. The last that matches a key is the one that [`Policy::judge`] applies.
    #[cfg(feature = "cli")]
    pub(crate) fn layers(&self) -> Vec<Layer<'_>> {
        let default = &self.rules.default;
        let judged = |services: &[Service]| {
            let mut judged = default.services.clone();
            judged.retain(|service| services.contains(service));
            judged
        };
        let first = Layer {
            number: None,
            accounts: None,
            services: default.services.clone(),
            users: None,
            limit_days: default.max_lifetime_days.0,
            response: default.response,
        };
        let overrides = self.rules.overrides.iter().enumerate().map(|(index, rule)| Layer {
            number: Some(index + 1),
            accounts: rule.accounts.as_deref(),
            services: judged(rule.services.as_ref().unwrap_or(&default.services)),
            users: rule
                .users
                .as_ref()
                .map(|patterns| patterns.iter().map(|pattern| pattern.0.as_str()).collect()),
            limit_days: rule.max_lifetime_days.unwrap_or(default.max_lifetime_days).0,
            response: rule.response.unwrap_or(default.response),
        });
        std::iter::once(first).chain(overrides).collect()
    }

    /// The account, the user and the last day of every exemption.
    #[cfg(feature = "cli")]
    pub(crate) fn exemptions(&self) -> impl Iterator<Item = (&AccountId, &UserName, NaiveDate)> {
        self.rules.exemptions.iter().map(|exemption| (&exemption.account, &exemption.user, exemption.until))
    }

    /// How many overrides and exemptions there are.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.rules.overrides.len(), self.rules.exemptions.len())
    }

    /// How many deletions may be begun in an hour in one account; what is beyond becomes a deactivation.
    #[must_use]
    pub const fn max_actions_per_hour(&self) -> u32 {
        self.rules.default.max_actions_per_hour.0
    }

    /// `[default]`: the limit in days, and the response.
    #[must_use]
    pub fn default_rule(&self) -> (u32, Response) {
        (self.rules.default.max_lifetime_days.0, self.rules.default.response)
    }
}

impl Rules {
    /// The first rule that would switch a key off and never say when it is deleted.
    fn quarantine_without_grace(&self) -> Option<String> {
        let default = &self.default;
        if default.response == Response::Quarantine && default.grace_days.is_none() {
            return Some("[default]".to_owned());
        }
        let unsaid = |rule: &Override| {
            rule.response == Some(Response::Quarantine) && rule.grace_days.or(default.grace_days).is_none()
        };
        self.overrides.iter().position(unsaid).map(|index| format!("override {}", index + 1))
    }
}

impl Override {
    fn matches(&self, key: &Key) -> bool {
        let account = self.accounts.as_ref().is_none_or(|ids| ids.contains(&key.key.account));
        let service = self.services.as_ref().is_none_or(|names| names.contains(&key.service));
        let user = self
            .users
            .as_ref()
            .is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(&key.user)));
        account && service && user
    }
}

impl Exemption {
    /// `until` is inclusive, in UTC.
    fn is_valid(&self, at: DateTime<Utc>) -> bool {
        at.date_naive() <= self.until
    }
}

/// Exactly the limit is compliant.
fn violation(lifetime: Lifetime, limit: TimeDelta) -> Option<Violation> {
    let longest_finite = TimeDelta::days(LONGEST_FINITE_DAYS);
    match lifetime {
        Lifetime::Ends(lives) if lives <= limit && !limit.is_zero() => None,
        Lifetime::Ends(lives) if lives > longest_finite => Some(Violation::NeverExpires),
        Lifetime::Never => Some(Violation::NeverExpires),
        Lifetime::Ends(_) if limit.is_zero() => Some(Violation::LongTermKeyForbidden),
        Lifetime::Ends(_) => Some(Violation::LifetimeExceedsLimit),
    }
}

fn describe_lifetime(expiration: Expiration, lifetime: Lifetime) -> String {
    match (expiration, lifetime) {
        (Expiration::Never, _) | (_, Lifetime::Never) => "never expires".to_owned(),
        (Expiration::At(end), Lifetime::Ends(lives)) => {
            format!("lives {}, until {}", describe_days(lives), rfc3339(end))
        }
    }
}

fn position(text: &str, span: Option<Range<usize>>) -> (usize, usize) {
    let before = span.and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
