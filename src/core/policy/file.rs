//! The policy file: TOML, in which unknown keys are errors.

use std::ops::Range;
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use super::assessment::{Response, Rule};
use super::wildcard;
use crate::cloudtrail::MAX_AGE_DAYS;
use crate::key::{AccountId, Service, UserName};
use crate::leaked_key::has_likely_secret;
use crate::text::{is_unprintable, redact};
use crate::time::Time;

/// The policy that applies when none is given.
pub const BUILT_IN: &str = r#"[default]
services = ["bedrock.amazonaws.com"]
max_lifetime_days = 90
response = "delete"
"#;

/// A valid policy, from a file or built in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    pub(super) rules: Rules,
    sha256: String,
}

/// Services that a rule is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Services {
    /// `"*"`: every service with API keys, also those that AWS adds later.
    All,
    /// These. They all have API keys.
    Listed(Vec<Service>),
}

impl Services {
    /// Whether `service` is one of them. Services with passwords never are.
    #[must_use]
    pub fn include(&self, service: &Service) -> bool {
        service.has_api_keys()
            && match self {
                Self::All => true,
                Self::Listed(services) => services.contains(service),
            }
    }

    /// Those of both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, services) | (services, Self::All) => services.clone(),
            (Self::Listed(services), other) => {
                Self::Listed(services.iter().filter(|service| other.include(service)).cloned().collect())
            }
        }
    }

    /// The names, where they are listed.
    pub(super) fn listed(&self) -> &[Service] {
        match self {
            Self::All => &[],
            Self::Listed(services) => services,
        }
    }
}

/// A text that is no valid policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}:{column}: {message}", path.display())]
pub struct InvalidPolicy {
    /// Where the text is from.
    pub path: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, and what would be accepted.
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    pub(super) default: DefaultRule,
    #[serde(default, rename = "override")]
    pub(super) overrides: Vec<Override>,
    #[serde(default, rename = "exemption")]
    pub(super) exemptions: Vec<Exemption>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DefaultRule {
    #[serde(deserialize_with = "services")]
    pub(super) services: Services,
    pub(super) max_lifetime_days: LimitDays,
    #[serde(deserialize_with = "response")]
    pub(super) response: Response,
    pub(super) grace_days: Option<GraceDays>,
    #[serde(default)]
    pub(super) max_actions_per_hour: ActionsPerHour,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Override {
    #[serde(default, deserialize_with = "some_accounts")]
    pub(super) accounts: Option<Vec<AccountId>>,
    #[serde(default, deserialize_with = "some_services")]
    pub(super) services: Option<Services>,
    #[serde(default, deserialize_with = "some_users")]
    pub(super) users: Option<Vec<UserPattern>>,
    pub(super) max_lifetime_days: Option<LimitDays>,
    #[serde(default, deserialize_with = "some_response")]
    pub(super) response: Option<Response>,
    pub(super) grace_days: Option<GraceDays>,
}

/// Allows the keys of one user until a date.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exemption {
    /// The account of the user.
    #[serde(deserialize_with = "account")]
    pub account: AccountId,
    /// The user, in any case.
    #[serde(deserialize_with = "exact_user")]
    pub user: UserName,
    /// Why, and who agreed to it.
    #[serde(deserialize_with = "reason")]
    pub reason: String,
    /// The last day, in UTC.
    #[serde(deserialize_with = "date")]
    pub until: NaiveDate,
}

impl Exemption {
    /// Whether it is for this user.
    #[must_use]
    pub fn is_for(&self, account: &AccountId, user: &UserName) -> bool {
        self.account == *account && self.user.is_same_user(user)
    }

    /// `until` is inclusive, in UTC.
    #[must_use]
    pub fn is_valid(&self, at: Time) -> bool {
        at.date_naive() <= self.until
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LimitDays(pub(super) u32);

impl<'de> Deserialize<'de> for LimitDays {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let days: i64 = typed(from, "`max_lifetime_days`: expected a whole number")?;
        u32::try_from(days).ok().filter(|_| days <= MAX_AGE_DAYS).map(Self).ok_or_else(|| {
            D::Error::custom(format!("max_lifetime_days is {days}; expected 0 to {MAX_AGE_DAYS} days"))
        })
    }
}

/// The longest that a key may be in quarantine, in days.
const LONGEST_GRACE_DAYS: i64 = 365;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct GraceDays(pub(super) u32);

impl<'de> Deserialize<'de> for GraceDays {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let days: i64 = typed(from, "`grace_days`: expected a whole number")?;
        let allowed = (1..=LONGEST_GRACE_DAYS).contains(&days);
        u32::try_from(days).ok().filter(|_| allowed).map(Self).ok_or_else(|| {
            D::Error::custom(format!("grace_days is {days}; expected 1 to {LONGEST_GRACE_DAYS} days"))
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ActionsPerHour(u32);

impl Default for ActionsPerHour {
    fn default() -> Self {
        Self(20)
    }
}

impl<'de> Deserialize<'de> for ActionsPerHour {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const MOST: i64 = 1_000_000;
        let actions: i64 = typed(from, "`max_actions_per_hour`: expected a whole number")?;
        u32::try_from(actions).ok().filter(|_| actions <= MOST).map(Self).ok_or_else(|| {
            D::Error::custom(format!("max_actions_per_hour is {actions}; expected 0 to {MOST}"))
        })
    }
}

/// An IAM user name in which `*` stands for any text, and `?` for any one character.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct UserPattern(String);

impl UserPattern {
    pub(super) fn matches(&self, user: &UserName) -> bool {
        wildcard::matches(self.0.as_bytes(), user.as_str().as_bytes())
    }
}

/// A value of this type. Who writes TOML does not know the names of Rust's types. An error that may have a secret in it stays as it
/// is: what is done about it is decided where it is shown.
fn typed<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D, expected: &str) -> Result<T, D::Error> {
    T::deserialize(from).map_err(|error| {
        if has_likely_secret(&error.to_string()) { error } else { D::Error::custom(expected) }
    })
}

fn response<'de, D: Deserializer<'de>>(from: D) -> Result<Response, D::Error> {
    let text: String = typed(from, "`response`: expected a text")?;
    text.parse().map_err(|expected| D::Error::custom(format!("unknown response \"{text}\"; {expected}")))
}

fn some_response<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Response>, D::Error> {
    response(from).map(Some)
}

/// A list of names, or the text `"*"`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of services, or \"*\" for every service with API keys")]
enum ServiceNames {
    Text(String),
    List(Vec<String>),
}

fn services<'de, D: Deserializer<'de>>(from: D) -> Result<Services, D::Error> {
    match ServiceNames::deserialize(from)? {
        ServiceNames::Text(text) if text == "*" => Ok(Services::All),
        ServiceNames::Text(text) => Err(D::Error::custom(format!(
            "services is \"{text}\"; expected a list of services, or \"*\" for every service with API keys"
        ))),
        ServiceNames::List(names) => filled::<D>("services", names)?
            .iter()
            .map(|name| judged_service::<D>(name))
            .collect::<Result<_, _>>()
            .map(Services::Listed),
    }
}

fn some_services<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Services>, D::Error> {
    services(from).map(Some)
}

fn judged_service<'de, D: Deserializer<'de>>(name: &str) -> Result<Service, D::Error> {
    match name.parse::<Service>() {
        Ok(service) if service.has_api_keys() => Ok(service),
        Ok(service) => Err(D::Error::custom(format!(
            "service \"{service}\" has passwords, not API keys; {}",
            accepted_services()
        ))),
        Err(_) => Err(D::Error::custom(format!("unknown service \"{name}\"; {}", accepted_services()))),
    }
}

fn accepted_services() -> String {
    let known = Service::KNOWN.iter().filter(|service| service.has_api_keys());
    let names: Vec<_> = known.map(Service::as_str).collect();
    format!("expected one of {}, or another name that ends in .amazonaws.com", names.join(", "))
}

fn some_accounts<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<AccountId>>, D::Error> {
    let ids = filled::<D>("accounts", typed(from, "`accounts`: expected a list of texts of 12 digits")?)?;
    ids.iter().map(|id| parse_account::<D>(id)).collect::<Result<_, _>>().map(Some)
}

fn account<'de, D: Deserializer<'de>>(from: D) -> Result<AccountId, D::Error> {
    parse_account::<D>(&typed::<D, String>(from, "`account`: expected a text of 12 digits")?)
}

fn parse_account<'de, D: Deserializer<'de>>(id: &str) -> Result<AccountId, D::Error> {
    id.parse()
        .map_err(|_| D::Error::custom(format!("unknown account \"{id}\"; expected a text of 12 digits")))
}

fn some_users<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<UserPattern>>, D::Error> {
    let patterns = filled::<D>("users", typed(from, "`users`: expected a list of texts")?)?;
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
    let name: String = typed(from, "`user`: expected a text")?;
    name.parse().map_err(|_| {
        D::Error::custom(format!(
            "exemption for user \"{name}\"; expected the name of one IAM user, without patterns"
        ))
    })
}

fn reason<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let reason: String = typed(from, "`reason`: expected a text")?;
    if reason.trim().is_empty() {
        return Err(D::Error::custom("reason is empty; expected why, and who agreed to it"));
    }
    if reason.chars().any(is_unprintable) {
        return Err(D::Error::custom(
            "reason has line ends or characters that steer a terminal; expected plain text",
        ));
    }
    if redact(&reason) != reason {
        return Err(D::Error::custom(
            "reason has the secret of an API key in it; take it out and delete the key",
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
#[derive(Debug, Clone)]
pub struct Layer<'a> {
    /// Which rule.
    pub rule: Rule,
    /// `None`: all.
    pub accounts: Option<&'a [AccountId]>,
    /// Judged services only.
    pub services: Services,
    /// Patterns of user names, in any case. `None`: all.
    pub users: Option<Vec<&'a str>>,
    /// The limit, in days.
    pub limit_days: u32,
    /// What a key over the limit gets.
    pub response: Response,
    /// With [`Response::Quarantine`]: how many days pass between deactivation and deletion.
    pub grace_days: Option<u32>,
}

impl Policy {
    /// The built-in policy: [`BUILT_IN`].
    ///
    /// # Errors
    /// Never; the text is fixed, and a test loads it.
    pub fn built_in() -> Result<Self, InvalidPolicy> {
        Self::parse(BUILT_IN, Path::new("(built-in policy)"))
    }

    /// Checks the text of a policy file; `path` is for messages.
    ///
    /// # Errors
    /// When it is not a valid policy.
    pub fn parse(text: &str, path: &Path) -> Result<Self, InvalidPolicy> {
        let invalid = |span: Option<Range<usize>>, message: String| {
            let (line, column) = position(text, span.map(|span| span.start));
            InvalidPolicy { path: path.to_owned(), line, column, message: without_value(&message) }
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
    pub const fn services(&self) -> &Services {
        &self.rules.default.services
    }

    /// Whether keys of `service` are judged.
    #[must_use]
    pub fn judges(&self, service: &Service) -> bool {
        self.services().include(service)
    }

    /// Every rule, `[default]` first. The last that matches a key is the one that applies to it.
    #[must_use]
    pub fn layers(&self) -> Vec<Layer<'_>> {
        let default = &self.rules.default;
        let first = Layer {
            rule: Rule::Default,
            accounts: None,
            services: default.services.clone(),
            users: None,
            limit_days: default.max_lifetime_days.0,
            response: default.response,
            grace_days: default.grace_days.map(|days| days.0),
        };
        let overrides = self.rules.overrides.iter().enumerate().map(|(index, layer)| Layer {
            rule: Rule::Override(index + 1),
            accounts: layer.accounts.as_deref(),
            services: layer
                .services
                .as_ref()
                .map_or_else(|| default.services.clone(), |services| default.services.intersect(services)),
            users: layer
                .users
                .as_ref()
                .map(|patterns| patterns.iter().map(|pattern| pattern.0.as_str()).collect()),
            limit_days: layer.max_lifetime_days.unwrap_or(default.max_lifetime_days).0,
            response: layer.response.unwrap_or(default.response),
            grace_days: layer.grace_days.or(default.grace_days).map(|days| days.0),
        });
        std::iter::once(first).chain(overrides).collect()
    }

    /// Every exemption, in the order of the file.
    #[must_use]
    pub fn exemptions(&self) -> &[Exemption] {
        &self.rules.exemptions
    }

    /// How many overrides and exemptions there are.
    #[must_use]
    pub const fn counts(&self) -> (usize, usize) {
        (self.rules.overrides.len(), self.rules.exemptions.len())
    }

    /// How many deletions may start in an hour in one account; what is over becomes a deactivation.
    #[must_use]
    pub const fn max_actions_per_hour(&self) -> u32 {
        self.rules.default.max_actions_per_hour.0
    }

    /// `[default]`: the limit in days, and the response.
    #[must_use]
    pub const fn default_rule(&self) -> (u32, Response) {
        (self.rules.default.max_lifetime_days.0, self.rules.default.response)
    }
}

impl Rules {
    /// The first rule that would deactivate a key and never say when it is deleted.
    fn quarantine_without_grace(&self) -> Option<Rule> {
        let default = &self.default;
        if default.response == Response::Quarantine && default.grace_days.is_none() {
            return Some(Rule::Default);
        }
        let has_no_grace = |rule: &Override| {
            rule.response == Some(Response::Quarantine) && rule.grace_days.or(default.grace_days).is_none()
        };
        self.overrides.iter().position(has_no_grace).map(|index| Rule::Override(index + 1))
    }
}

/// The message of an error without what could be a secret in it.
fn without_value(message: &str) -> String {
    const WRONG_TYPE: &str = "invalid type: string ";
    let message = redact(message);
    if has_likely_secret(&message) {
        return "a secret of AWS seems to be here (it is not repeated): rotate it, and take it out of the file".to_owned();
    }
    // Texts where a number belongs are anything.
    match message.split_once(WRONG_TYPE).zip(message.rsplit_once(", expected ")) {
        Some(((before, _), (_, expected))) => format!("{before}invalid type: a text, expected {expected}"),
        None => message,
    }
}

/// The line and the column of a byte of a text, both from 1.
pub(super) fn position(text: &str, at: Option<usize>) -> (usize, usize) {
    let before = at.and_then(|at| text.get(..at)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
