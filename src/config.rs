//! The environment, read once at the start. The only file that reads it; what is wrong stops the process,
//! and nothing falls back to a weaker or a harsher setting.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::ledger::audit::count::AttemptDays;
use crate::ledger::policy::CurrentPolicyError;
use key_guard_core::key::AccountId;
use key_guard_core::lifecycle::input::Ceiling;
use key_guard_core::policy::{InvalidPolicy, Policy};
use key_guard_core::remediation::Contact;
use key_guard_core::text::is_iam_name_byte;

/// The DynamoDB table.
pub const TABLE: &str = "KEY_GUARD_TABLE";
/// The path of the policy file, or [`LEDGER_POLICY`].
pub const POLICY: &str = "KEY_GUARD_POLICY";
/// In place of a path: the current version of the policy in the ledger.
pub const LEDGER_POLICY: &str = "ledger:";
/// The furthest that any response may go.
pub const CEILING: &str = "KEY_GUARD_CEILING";
/// The furthest that any response of a sweep may go.
pub const SWEEP_CEILING: &str = "KEY_GUARD_SWEEP_CEILING";
/// The name of the event bus that the findings of sweeps and resumes are published on.
pub const REPORTS_BUS: &str = "KEY_GUARD_REPORTS_BUS";
/// The name of the role to assume in other accounts.
pub const RESPONDER_ROLE: &str = "KEY_GUARD_RESPONDER_ROLE";
/// How many days the table keeps attempts.
pub const ATTEMPT_DAYS: &str = "KEY_GUARD_ATTEMPT_DAYS";
/// Whom owners of keys ask.
pub const CONTACT: &str = "KEY_GUARD_CONTACT";
/// `off`: no connections are opened ahead. For measuring.
pub const WARM: &str = "KEY_GUARD_WARM";
/// Every variable of the guard's. Another one with their prefix is a misspelt one, and stops the start.
pub const VARIABLES: [&str; 9] =
    [TABLE, POLICY, CEILING, SWEEP_CEILING, REPORTS_BUS, RESPONDER_ROLE, ATTEMPT_DAYS, CONTACT, WARM];
/// How the names of the guard's variables begin.
const PREFIX: &str = "KEY_GUARD_";
/// Set by AWS Lambda from the function's logging configuration.
pub const LOG_LEVEL: &str = "AWS_LAMBDA_LOG_LEVEL";

/// What the Lambda runs with.
#[derive(Debug)]
pub struct Config {
    /// The DynamoDB table.
    pub table: TableName,
    /// What is allowed.
    pub policy: PolicySource,
    /// The furthest that any response may go.
    pub ceiling: Ceiling,
    /// The furthest that any response of a sweep may go: not further than `ceiling`.
    pub sweep_ceiling: Ceiling,
    /// The event bus for the findings of sweeps and resumes. None: they are counted and recorded only.
    pub reports_bus: Option<EventBusName>,
    /// The role to assume in other accounts.
    pub responder: Option<RoleName>,
    /// How long the table keeps attempts.
    pub attempt_days: AttemptDays,
    /// Whom owners of keys ask. None: the texts name the team that runs the guard.
    pub contact: Option<Contact>,
    /// Whether connections are opened ahead.
    pub warm: bool,
}

/// Where the policy is from.
#[derive(Debug)]
pub enum PolicySource {
    /// From a file, or built in.
    Fixed(Box<Policy>),
    /// The current version in the ledger.
    Ledger,
}

/// A variable that stops the start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is needed and not set.
    #[error("{variable} is not set: {expected}")]
    Missing {
        /// Which variable.
        variable: &'static str,
        /// What to set it to.
        expected: &'static str,
    },
    /// It is set to something that cannot be used.
    #[error("{variable} is {found:?}: {expected}")]
    Invalid {
        /// Which variable.
        variable: &'static str,
        /// What it is set to.
        found: String,
        /// What to set it to.
        expected: &'static str,
    },
    /// It has the prefix of the guard's variables, and is none of them.
    #[error("{variable} is unknown: expected one of {}", VARIABLES.join(", "))]
    Unknown {
        /// Which variable.
        variable: String,
    },
    /// Sweeps may go further than everything may.
    #[error(
        "{SWEEP_CEILING} is {sweep_ceiling}, which is further than {CEILING} ({ceiling}): lower the first or raise the \
         second"
    )]
    SweepCeiling {
        /// The ceiling of sweeps.
        sweep_ceiling: Ceiling,
        /// The ceiling of everything.
        ceiling: Ceiling,
    },
    /// The policy file cannot be used.
    #[error("{POLICY} names a policy that cannot be used")]
    Policy(#[source] PolicyFileError),
    /// The policy in the ledger cannot be used.
    #[error("{POLICY} is {LEDGER_POLICY}, and there is no policy to use")]
    LedgerPolicy(#[source] CurrentPolicyError),
}

impl ConfigError {
    /// The variable that has to change.
    #[must_use]
    pub fn variable(&self) -> &str {
        match self {
            Self::Missing { variable, .. } | Self::Invalid { variable, .. } => variable,
            Self::Unknown { variable } => variable,
            Self::SweepCeiling { .. } => SWEEP_CEILING,
            Self::Policy(_) | Self::LedgerPolicy(_) => POLICY,
        }
    }
}

/// A policy file that cannot be used. Its `Display` begins with the file, and the line where that is known.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// The file could not be read.
    #[error("{}: could not read the policy file", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A version in a ledger is named where a file is read.
    #[error(
        "`{LEDGER_POLICY}` is not read here: write the version to a file, and name that. `bedrock-key-guard policy log` lists \
         them; `bedrock-key-guard policy log --version NUMBER > policy.toml` writes one"
    )]
    InLedger,
    /// The file is not UTF-8.
    #[error("{}: the policy file is not UTF-8 text", path.display())]
    NotText {
        /// Which file.
        path: PathBuf,
    },
    /// The file is larger than any policy.
    #[error("{}: the file is larger than 1 MiB, and no policy is: is it the right file?", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// The file was read and is not a policy.
    #[error(transparent)]
    Invalid(#[from] InvalidPolicy),
}

/// Reads and checks a policy file.
///
/// # Errors
/// When the file cannot be read, or is not a valid policy.
pub fn load_policy(path: &Path) -> Result<Policy, PolicyFileError> {
    Ok(Policy::parse(&read_policy_file(path)?, path)?)
}

/// The largest policy file that is read, in bytes: larger than any version in a ledger may be.
const MAX_POLICY_FILE: u64 = 1 << 20;

/// Reads the text of a policy file, which may be no valid policy.
///
/// # Errors
/// When the file cannot be read, is larger than 1 MiB, or is no text.
pub fn read_policy_file(path: &Path) -> Result<String, PolicyFileError> {
    if path == Path::new(LEDGER_POLICY) {
        return Err(PolicyFileError::InLedger);
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_POLICY_FILE + 1).read_to_end(&mut bytes))
        .map_err(|source| PolicyFileError::Read { path: path.to_owned(), source })?;
    if bytes.len() as u64 > MAX_POLICY_FILE {
        return Err(PolicyFileError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|_| PolicyFileError::NotText { path: path.to_owned() })
}

impl PolicySource {
    fn fixed(policy: Result<Policy, PolicyFileError>) -> Result<Self, ConfigError> {
        policy.map(|policy| Self::Fixed(Box::new(policy))).map_err(ConfigError::Policy)
    }
}

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// On the first variable that is unknown, missing or wrong. An empty variable is wrong, not unset.
    pub fn from_env() -> Result<Self, ConfigError> {
        refuse_unknown(variable_names())?;
        Self::read(variable)
    }

    /// Reads variables through `get`.
    ///
    /// # Errors
    /// On the first variable that is missing or wrong.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        const TABLE_EXPECTED: &str = "expected the name of a DynamoDB table (3 to 255 of A-Z a-z 0-9 _ . -)";
        const CEILING_EXPECTED: &str = "expected monitor, deactivate or delete";
        let table = get(TABLE).ok_or(ConfigError::Missing { variable: TABLE, expected: TABLE_EXPECTED })?;
        let table = parsed(TABLE, &table, TABLE_EXPECTED)?;
        let ceiling = optional(&get, CEILING, CEILING_EXPECTED)?.unwrap_or(Ceiling::Monitor);
        let sweep_ceiling = optional(&get, SWEEP_CEILING, CEILING_EXPECTED)?.unwrap_or(Ceiling::Monitor);
        if sweep_ceiling > ceiling {
            return Err(ConfigError::SweepCeiling { sweep_ceiling, ceiling });
        }
        let reports_bus = optional(
            &get,
            REPORTS_BUS,
            "expected the name of an event bus (1 to 256 of A-Z a-z 0-9 . _ - /), without ARN",
        )?;
        let responder = optional(
            &get,
            RESPONDER_ROLE,
            "expected the name of an IAM role (1 to 64 of A-Z a-z 0-9 _ + = , . @ -), with its path if it has one, without ARN",
        )?;
        let attempt_days = optional(&get, ATTEMPT_DAYS, "expected a number of days, 1 to 3650")?;
        let attempt_days = attempt_days.unwrap_or_default();
        let contact = optional(&get, CONTACT, Contact::EXPECTED)?;
        let warm = match get(WARM).as_deref() {
            None | Some("on") => true,
            Some("off") => false,
            Some(other) => {
                return Err(ConfigError::Invalid {
                    variable: WARM,
                    found: other.to_owned(),
                    expected: "expected on or off",
                });
            }
        };
        let policy = match get(POLICY) {
            None => PolicySource::fixed(Policy::built_in().map_err(PolicyFileError::Invalid))?,
            Some(source) if source == LEDGER_POLICY => PolicySource::Ledger,
            Some(path) => PolicySource::fixed(load_policy(Path::new(&path)))?,
        };
        Ok(Self {
            table,
            policy,
            ceiling,
            sweep_ceiling,
            reports_bus,
            responder,
            attempt_days,
            contact,
            warm,
        })
    }
}

/// How much is logged; `INFO` when [`LOG_LEVEL`] is not set or unknown, as in Lambda's own runtimes.
#[must_use]
pub fn log_level() -> tracing::Level {
    match variable(LOG_LEVEL).as_deref() {
        Some("TRACE") => tracing::Level::TRACE,
        Some("DEBUG") => tracing::Level::DEBUG,
        Some("WARN") => tracing::Level::WARN,
        Some("ERROR" | "FATAL") => tracing::Level::ERROR,
        _ => tracing::Level::INFO,
    }
}

/// The name of the machine's user, as the environment has it.
#[cfg(feature = "cli")]
#[must_use]
pub fn user_name() -> String {
    let name = ["USER", "LOGNAME", "USERNAME"].into_iter().filter_map(variable).find(|name| !name.is_empty());
    name.unwrap_or_else(|| "unknown".to_owned())
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that may read the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// The names of the environment's variables.
pub fn variable_names() -> impl Iterator<Item = String> {
    std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned())
}

/// The first name that begins like a variable of the guard's and is none of these.
pub fn unknown_variable(mut names: impl Iterator<Item = String>, known: &[&str]) -> Option<String> {
    names.find(|name| name.starts_with(PREFIX) && !known.contains(&name.as_str()))
}

/// Refuses the first name that begins like a variable of the guard's and is none of them.
///
/// # Errors
/// [`ConfigError::Unknown`] with that name.
pub fn refuse_unknown(names: impl Iterator<Item = String>) -> Result<(), ConfigError> {
    let unknown = unknown_variable(names, &VARIABLES);
    unknown.map_or(Ok(()), |variable| Err(ConfigError::Unknown { variable }))
}

fn optional<T: FromStr>(
    get: impl Fn(&str) -> Option<String>,
    variable: &'static str,
    expected: &'static str,
) -> Result<Option<T>, ConfigError> {
    get(variable).map(|text| parsed(variable, &text, expected)).transpose()
}

fn parsed<T: FromStr>(variable: &'static str, text: &str, expected: &'static str) -> Result<T, ConfigError> {
    text.parse().map_err(|_| ConfigError::Invalid { variable, found: text.to_owned(), expected })
}

/// The name of a DynamoDB table: 3 to 255 of `A-Z a-z 0-9 _ . -` (DynamoDB API reference).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName(String);

impl FromStr for TableName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        if (3..=255).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected the name of a DynamoDB table (3 to 255 of A-Z a-z 0-9 _ . -)")
        }
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.0
    }
}

/// The name of an IAM role, after its path if that is not `/`: `security/guard`. A name has 1 to 64 of
/// `A-Z a-z 0-9 _ + = , . @ -`, and a path has at most 512 characters (IAM API reference, `CreateRole`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleName(String);

impl FromStr for RoleName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let is_part = |part: &str| !part.is_empty() && part.bytes().all(is_iam_name_byte);
        let (path, name) = text.rsplit_once('/').unwrap_or(("", text));
        if name.len() <= 64 && path.len() <= 510 && text.split('/').all(is_part) {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected the name of an IAM role, with its path if it has one, without ARN")
        }
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of an event bus: 1 to 256 of `A-Z a-z 0-9 . _ - /` (EventBridge API reference, `PutEvents`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBusName(String);

impl FromStr for EventBusName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        if (1..=256).contains(&text.len()) && text.bytes().all(is_allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected the name of an event bus, without ARN")
        }
    }
}

impl fmt::Display for EventBusName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the guard runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// `aws`, `aws-us-gov`, `aws-cn` or `aws-eusc`.
    pub partition: String,
    /// The account.
    pub account: AccountId,
}

impl FromStr for Home {
    type Err = &'static str;
    /// From any ARN of the account: the function's own, or the caller's identity.
    fn from_str(arn: &str) -> Result<Self, &'static str> {
        let mut parts = arn.split(':');
        match (parts.next(), parts.next(), parts.nth(2).map(str::parse)) {
            (Some("arn"), Some(partition), Some(Ok(account))) if partition.starts_with("aws") => {
                Ok(Self { partition: partition.to_owned(), account })
            }
            _ => Err("expected an ARN with an account"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::read(|name| {
            variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_default_is_to_monitor_with_the_built_in_policy() {
        let config = read(&[(TABLE, "keys")]).unwrap();
        assert_eq!((config.ceiling, config.sweep_ceiling), (Ceiling::Monitor, Ceiling::Monitor));
        assert_eq!(config.reports_bus, None);
        assert_eq!(config.contact, None);
        let config = read(&[(TABLE, "keys"), (CONTACT, "security@example.com")]).unwrap();
        assert_eq!(config.contact, Some("security@example.com".parse().unwrap()));
        assert_eq!(config.attempt_days, "90".parse().unwrap());
        for days in ["1", "3650"] {
            let config = read(&[(TABLE, "keys"), (ATTEMPT_DAYS, days)]).unwrap();
            assert_eq!(config.attempt_days, days.parse().unwrap());
        }
        let PolicySource::Fixed(policy) = config.policy else { panic!("{:?}", config.policy) };
        assert_eq!(policy.sha256(), Policy::built_in().unwrap().sha256());
        let config = read(&[(TABLE, "keys"), (POLICY, "ledger:")]).unwrap();
        assert!(matches!(config.policy, PolicySource::Ledger));
        assert_eq!(config.responder, None);
        for role in ["guard", "security/team-1/guard"] {
            let config = read(&[(TABLE, "keys"), (RESPONDER_ROLE, role)]).unwrap();
            assert_eq!(config.responder.map(|name| name.to_string()).as_deref(), Some(role));
        }
    }

    #[test]
    fn what_is_wrong_stops_the_start_and_is_named() {
        for (variables, named) in [
            (&[][..], TABLE),
            (&[(TABLE, "")], TABLE),
            (&[(TABLE, "a b")], TABLE),
            (&[(TABLE, "keys"), (CEILING, "")], CEILING),
            (&[(TABLE, "keys"), (CEILING, "Delete")], CEILING),
            (&[(TABLE, "keys"), (CEILING, "none")], CEILING),
            (&[(TABLE, "keys"), (CEILING, "quarantine")], CEILING),
            (&[(TABLE, "keys"), (SWEEP_CEILING, "")], SWEEP_CEILING),
            (&[(TABLE, "keys"), (SWEEP_CEILING, "Monitor")], SWEEP_CEILING),
            (&[(TABLE, "keys"), (REPORTS_BUS, "")], REPORTS_BUS),
            (
                &[(TABLE, "keys"), (REPORTS_BUS, "arn:aws:events:us-east-1:111122223333:event-bus/x")],
                REPORTS_BUS,
            ),
            (&[(TABLE, "keys"), (RESPONDER_ROLE, "")], RESPONDER_ROLE),
            (&[(TABLE, "keys"), (RESPONDER_ROLE, "arn:aws:iam::111122223333:role/x")], RESPONDER_ROLE),
            (&[(TABLE, "keys"), (RESPONDER_ROLE, "/security/x")], RESPONDER_ROLE),
            (&[(TABLE, "keys"), (RESPONDER_ROLE, "security/")], RESPONDER_ROLE),
            (&[(TABLE, "keys"), (RESPONDER_ROLE, "a//x")], RESPONDER_ROLE),
            (&[(TABLE, "keys"), (ATTEMPT_DAYS, "")], ATTEMPT_DAYS),
            (&[(TABLE, "keys"), (ATTEMPT_DAYS, "0")], ATTEMPT_DAYS),
            (&[(TABLE, "keys"), (ATTEMPT_DAYS, "3651")], ATTEMPT_DAYS),
            (&[(TABLE, "keys"), (ATTEMPT_DAYS, "+90")], ATTEMPT_DAYS),
            (&[(TABLE, "keys"), (ATTEMPT_DAYS, "forever")], ATTEMPT_DAYS),
            (&[(TABLE, "keys"), (CONTACT, "")], CONTACT),
            (&[(TABLE, "keys"), (CONTACT, "a\nb")], CONTACT),
            (&[(TABLE, "keys"), (WARM, "1")], WARM),
            (&[(TABLE, "keys"), (POLICY, "")], POLICY),
            (&[(TABLE, "keys"), (POLICY, "/no/such/policy.toml")], POLICY),
            (&[(TABLE, "keys"), (POLICY, "ledger:1")], POLICY),
        ] {
            let error = read(variables).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    #[test]
    fn sweeps_go_no_further_than_everything_does() {
        for (ceiling, sweep_ceiling) in
            [("monitor", "monitor"), ("delete", "deactivate"), ("delete", "delete")]
        {
            let config =
                read(&[(TABLE, "keys"), (CEILING, ceiling), (SWEEP_CEILING, sweep_ceiling)]).unwrap();
            assert_eq!(config.sweep_ceiling.to_string(), sweep_ceiling);
        }
        for variables in [
            &[(TABLE, "keys"), (SWEEP_CEILING, "deactivate")][..],
            &[(TABLE, "keys"), (CEILING, "monitor"), (SWEEP_CEILING, "delete")],
            &[(TABLE, "keys"), (CEILING, "deactivate"), (SWEEP_CEILING, "delete")],
        ] {
            let error = read(variables).unwrap_err().to_string();
            assert!(error.starts_with(SWEEP_CEILING) && error.contains(CEILING), "{error}");
        }
    }

    #[test]
    fn a_misspelt_variable_stops_the_start_and_is_named() {
        let names = |names: &[&str]| refuse_unknown(names.iter().map(|&name| name.to_owned()));
        assert!(names(&[TABLE, WARM, "AWS_REGION", "KEY_GUARDIAN"]).is_ok());
        let error = names(&[TABLE, "KEY_GUARD_CELING"]).unwrap_err().to_string();
        assert!(
            error.starts_with("KEY_GUARD_CELING is unknown: expected one of KEY_GUARD_TABLE, "),
            "{error}"
        );
    }

    #[test]
    fn home_is_read_from_any_arn_of_the_account() {
        let home: Home = "arn:aws-us-gov:lambda:us-gov-west-1:111122223333:function:guard".parse().unwrap();
        assert_eq!(home.partition, "aws-us-gov");
        assert_eq!(home.account.as_str(), "111122223333");
        assert!("arn:aws:s3:::bucket".parse::<Home>().is_err());
        assert!("".parse::<Home>().is_err());
    }
}
