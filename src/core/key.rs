//! The identifiers: an AWS account, an IAM user, a credential, an event; and the facts of a key.
//!
//! Each is parsed once, at the edge, and is valid from then on. The AWS SDK for Rust does not validate
//! ids before it sends them, so these types do.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

pub use crate::service::{Service, ServiceName};
use crate::text::{Invalid, is_iam_name_byte, redact};
use crate::time::Time;

macro_rules! text_noun {
    ($name:ident) => {
        impl $name {
            /// The text as AWS writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = Invalid;
            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(noun: $name) -> Self {
                noun.0
            }
        }
    };
}

/// A twelve-digit AWS account id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountId(String);
text_noun!(AccountId);

impl FromStr for AccountId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::text("an AWS account id of 12 digits", text))
        }
    }
}

/// An IAM user name: 1 to 128 of `A-Z a-z 0-9 _ + = , . @ -`
/// (IAM API reference, `existingUserNameType`).
///
/// IAM keeps the case that a name was created with, and never lets two users of an account differ in case
/// only (IAM user guide, *IAM and AWS STS quotas*, "IAM name requirements"). [`UserName::is_same_user`]
/// compares accordingly.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);
text_noun!(UserName);

/// How the names of the IAM users begin that the consoles of Bedrock and of Claude Platform on AWS make for an
/// API key. Nothing ever removes such a user (Amazon Bedrock user guide, *Generate an Amazon Bedrock API key*).
pub const CONSOLE_USER_PREFIXES: [&str; 2] = ["BedrockAPIKey-", "AeaApiKey-"];

pub(crate) fn begins_like_a_console_user(name: &str) -> bool {
    let begins_with =
        |prefix: &&str| name.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix));
    CONSOLE_USER_PREFIXES.iter().any(begins_with)
}

impl UserName {
    /// Whether a console created this user for an API key, by its name.
    #[must_use]
    pub fn is_console_user(&self) -> bool {
        begins_like_a_console_user(&self.0)
    }

    /// Whether both names mean the same IAM user of one account.
    #[must_use]
    pub fn is_same_user(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl FromStr for UserName {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if (1..=128).contains(&text.len()) && text.bytes().all(is_iam_name_byte) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::text("an IAM user name (1 to 128 of A-Z a-z 0-9 _ + = , . @ -)", text))
        }
    }
}

/// The id of a service-specific credential: 20 to 128 word characters, `ACCA…` on AWS today
/// (IAM API reference, `serviceSpecificCredentialId`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CredentialId(String);
text_noun!(CredentialId);

impl FromStr for CredentialId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        // A pasted secret is made of word characters too, and this id is stored and printed.
        if (20..=128).contains(&text.len()) && text.bytes().all(is_word) && redact(text) == text {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::text("a service-specific credential id (20 to 128 letters, digits or _)", text))
        }
    }
}

/// The id of a CloudTrail event: a UUID on AWS; here any 1 to 64 of `A-Z a-z 0-9 _ . -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventId(String);
text_noun!(EventId);

impl FromStr for EventId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) && redact(text) == text {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::text("a CloudTrail event id (1 to 64 letters, digits, _ . or -)", text))
        }
    }
}

/// Which key: nothing else of it ever changes, not even with a renamed user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyRef {
    /// The account that owns it.
    pub account: AccountId,
    /// Its id.
    pub id: CredentialId,
}

impl fmt::Display for KeyRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {} in account {}", self.id, self.account)
    }
}

/// What is known of a key beside its lifetime.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyFacts {
    /// Which key.
    pub key: KeyRef,
    /// The IAM user that owns it, by the latest name that is known.
    pub user: UserName,
    /// Every other name that its user was seen with. Renaming a user keeps its keys.
    pub other_names: BTreeSet<UserName>,
    /// The service that it is for.
    pub service: Service,
    /// When IAM created it.
    pub created_at: Time,
}

impl KeyFacts {
    /// How many other names of a user are kept, the first ones: a record has to fit into an item of the store.
    pub(crate) const MAX_OTHER_NAMES: usize = 100;

    /// Adds another name of the user (R6).
    pub(crate) fn add_other_name(&mut self, name: &UserName) {
        if !self.user.is_same_user(name) && self.other_names.len() < Self::MAX_OTHER_NAMES {
            self.other_names.insert(name.clone());
        }
    }
}

/// When a key expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiration {
    /// At this time.
    At(Time),
    /// Created without an age: it never expires.
    Never,
}

impl Expiration {
    /// The time, if it has one.
    #[must_use]
    pub const fn end(self) -> Option<Time> {
        match self {
            Self::At(end) => Some(end),
            Self::Never => None,
        }
    }
}

/// How a key stands, according to IAM (IAM API reference, `ServiceSpecificCredentialMetadata`, `Status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// It works.
    Active,
    /// It was deactivated, and can be activated again.
    Inactive,
    /// Its time is over. Nobody can set or undo this status.
    Expired,
}

/// How a key stands, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It works.
    Active,
    /// It was deactivated.
    Inactive,
    /// Its time is over.
    Expired,
    /// It was deleted.
    Gone,
    /// Not known, or there is no key.
    Unknown,
}

impl Status {
    /// As written in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Expired => "expired",
            Self::Gone => "gone",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the key may work. What is not known counts as usable.
    #[must_use]
    pub const fn may_be_usable(self) -> bool {
        match self {
            Self::Active | Self::Unknown => true,
            Self::Inactive | Self::Expired | Self::Gone => false,
        }
    }
}

impl From<KeyStatus> for Status {
    fn from(status: KeyStatus) -> Self {
        match status {
            KeyStatus::Active => Self::Active,
            KeyStatus::Inactive => Self::Inactive,
            KeyStatus::Expired => Self::Expired,
        }
    }
}

/// How long a key lives: expiration minus creation, or for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lifetime {
    /// An end was set.
    Ends(TimeDelta),
    /// No end was set.
    Never,
}

impl Lifetime {
    /// From creation to `expiration`.
    #[must_use]
    pub fn of(created_at: Time, expiration: Expiration) -> Self {
        match expiration {
            Expiration::Never => Self::Never,
            Expiration::At(end) => Self::Ends(end - created_at),
        }
    }
}

/// A lifetime in days as a JSON number: whole days as an integer, else with a fraction.
#[must_use]
pub fn days(lifetime: TimeDelta) -> serde_json::Number {
    let seconds = lifetime.num_seconds();
    if seconds % 86_400 == 0 && lifetime.subsec_nanos() == 0 {
        return serde_json::Number::from(seconds / 86_400);
    }
    #[expect(clippy::cast_precision_loss, reason = "a century in seconds is far below 2^52")]
    let fraction = (seconds as f64 + f64::from(lifetime.subsec_nanos()) / 1e9) / 86_400.0;
    serde_json::Number::from_f64(fraction).unwrap_or_else(|| (seconds / 86_400).into())
}

/// A lifetime for people: `1 day`, `90 days`, and with what is over a whole day `90 days 00:00:01`.
#[must_use]
pub fn describe_days(lifetime: TimeDelta) -> String {
    let seconds = lifetime.num_seconds();
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let unit = if days == 1 { "day" } else { "days" };
    match (rest, lifetime.subsec_nanos()) {
        (0, 0) => format!("{days} {unit}"),
        (rest, 0) => {
            format!("{days} {unit} {:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60)
        }
        (rest, nanos) => format!(
            "{days} {unit} {:02}:{:02}:{:02}.{:03}",
            rest / 3_600,
            rest / 60 % 60,
            rest % 60,
            nanos / 1_000_000
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noun_never_repeats_what_it_refuses() {
        let secret = "ABSKQmVkcm9ja0FQSUtleS1leGFtcGxlOnNlY3JldA==";
        let word_secret = "ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl";
        for error in [
            secret.parse::<AccountId>().unwrap_err(),
            secret.parse::<CredentialId>().unwrap_err(),
            word_secret.parse::<CredentialId>().unwrap_err(),
            secret.parse::<Service>().unwrap_err(),
        ] {
            assert!(!error.to_string().contains("ABSK"), "{error}");
        }
    }

    #[test]
    fn user_names_are_those_of_iam() {
        for good in ["a", "svc-build+1=x,y.z@example.com", "BedrockAPIKey-x7f2"] {
            assert_eq!(good.parse::<UserName>().unwrap().as_str(), good);
        }
        for bad in ["", "with space", "semi;colon", "ünï", &"x".repeat(129)] {
            assert!(bad.parse::<UserName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn users_of_the_console_are_told_by_their_names() {
        for (name, expected) in [
            ("BedrockAPIKey-x7f2", true),
            ("AeaApiKey-x7f2", true),
            ("BedrockAPIKey", false),
            // A request names a user in any case.
            ("bedrockapikey-x7f2", true),
            ("my-BedrockAPIKey-x7f2", false),
        ] {
            assert_eq!(name.parse::<UserName>().unwrap().is_console_user(), expected, "{name}");
        }
    }

    #[test]
    fn credential_ids_have_20_to_128_word_characters() {
        assert!("ACCAEXAMPLE1234567890".parse::<CredentialId>().is_ok());
        assert!("ACCAEXAMPLE12345678".parse::<CredentialId>().is_err());
        assert!("ACCAEXAMPLE-234567890".parse::<CredentialId>().is_err());
        assert!("A".repeat(129).parse::<CredentialId>().is_err());
    }

    #[test]
    fn days_are_whole_only_when_they_are() {
        assert_eq!(days(TimeDelta::days(90)).to_string(), "90");
        let over = days(TimeDelta::days(90) + TimeDelta::seconds(1)).to_string();
        assert!(over.starts_with("90.00001"), "{over}");
        let described = |seconds| describe_days(TimeDelta::seconds(seconds));
        assert_eq!(described(86_400), "1 day");
        assert_eq!(described(90 * 86_400), "90 days");
        assert_eq!(described(90 * 86_400 + 3_661), "90 days 01:01:01");
    }
}
