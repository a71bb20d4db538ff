//! `lookup WHAT`: what a text is by itself, and which questions it may mean.

use super::{Filters, account, key};
use crate::ledger::query::{Actor, SourceAddress};
use key_guard_core::key::{AccountId, CredentialId, UserName};

/// What somebody has at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// `-`: a leaked text on standard input.
    LeakedText,
    /// The id of a key.
    Key(CredentialId),
    /// An account.
    Account(AccountId),
    /// An address, or a range of them.
    Address(SourceAddress),
    /// The ARN of an IAM user, who may own keys or have created them.
    UserArn {
        /// Whose user it is.
        account: AccountId,
        /// The user.
        user: UserName,
        /// The whole ARN.
        arn: String,
    },
    /// Another ARN.
    Arn(String),
    /// A name or an e-mail address: of who owns keys or has created them.
    Name(UserName),
}

impl Subject {
    /// Tells what a text is. Errors do not repeat it: it may be a secret in a form that nobody knows yet.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text == "-" {
            return Ok(Self::LeakedText);
        }
        if text.starts_with("arn:") {
            return Ok(user_of_arn(text).unwrap_or_else(|| Self::Arn(text.to_owned())));
        }
        if let Ok(account) = account(text) {
            return Ok(Self::Account(account));
        }
        if let Ok(address @ SourceAddress::Network(_)) = text.parse() {
            return Ok(Self::Address(address));
        }
        match (key(text), text.parse()) {
            (Ok(key), _) if looks_like_an_id(text) => Ok(Self::Key(key)),
            (_, Ok(user)) => Ok(Self::Name(user)),
            (_, Err(_)) => Err(
                "the argument (not repeated here) is none of these: the id of a key, a user, a caller, an e-mail address, an \
                 ARN, an account, an address or a range of them, or - for a leaked text on standard input",
            ),
        }
    }

    /// What it was taken for, to be said where nothing was found, and what it may be instead.
    pub fn describe(&self) -> String {
        match self {
            Self::LeakedText => "the text on standard input was taken for a leaked text".to_owned(),
            Self::Key(_) => "this was taken for the id of a key".to_owned(),
            Self::Account(_) => "this was taken for an account".to_owned(),
            Self::Address(_) => {
                "this was taken for an address, or a range of them, that keys were created from".to_owned()
            }
            Self::UserArn { .. } => {
                "this was taken for an IAM user, who owns keys or created them".to_owned()
            }
            Self::Arn(_) => "this was taken for the ARN of a caller, who created keys".to_owned(),
            Self::Name(name) => {
                let name = name.as_str();
                format!(
                    "this was taken for the name of a user or a caller{}",
                    misread(name).unwrap_or_default()
                )
            }
        }
    }

    /// The questions that it may mean, beside what is asked for already. Keys that match one of them are meant.
    ///
    /// # Errors
    /// When the same is asked for already, as another one.
    pub fn questions(self, others: &Filters) -> Result<Vec<Filters>, String> {
        let base = others.clone();
        let (asked, flag): (Vec<_>, _) = match self {
            Self::LeakedText => return Ok(vec![base]),
            Self::Key(key) => (
                others.key.is_none().then_some(Filters { key: Some(key), ..base }).into_iter().collect(),
                "--key",
            ),
            Self::Account(account) => {
                let asked = others.account.is_none().then_some(Filters { account: Some(account), ..base });
                (asked.into_iter().collect(), "--account")
            }
            Self::Address(address) => {
                let asked =
                    others.source_ip.is_none().then_some(Filters { source_ip: Some(address), ..base });
                (asked.into_iter().collect(), "--source-ip")
            }
            Self::Arn(arn) => (created_by(Actor::Arn(arn), others), "--actor"),
            Self::Name(user) => {
                let actor = Actor::Name(user.to_string());
                (
                    owned_by(user, others).into_iter().chain(created_by(actor, others)).collect(),
                    "--user and --actor",
                )
            }
            Self::UserArn { account, user, arn } => {
                let is_theirs = others.account.as_ref().is_none_or(|other| *other == account);
                let owned = owned_by(user, others).into_iter();
                let owned = owned.map(|filters| Filters { account: Some(account.clone()), ..filters });
                let owned = owned.filter(|_| is_theirs);
                (owned.chain(created_by(Actor::Arn(arn), others)).collect(), "--user and --actor")
            }
        };
        if asked.is_empty() {
            Err(format!("the argument and {flag} name the same: give one of them"))
        } else {
            Ok(asked)
        }
    }
}

/// What a name looks like that nobody has: the rest of a sentence that says that it was taken for a name.
pub fn misread(name: &str) -> Option<String> {
    // IAM user guide, *IAM identifiers*, "Understanding unique ID prefixes".
    let is_access_key = ["AKIA", "ASIA"].iter().any(|prefix| name.starts_with(prefix))
        && name.len() >= 16
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let numbers = name.split('.').filter(|part| is_number(part)).count();
    if is_access_key {
        Some(format!(
            "; if it is the id of an access key, the ledger has none of these: ids of API keys begin with ACCA. `aws iam \
             get-access-key-last-used --access-key-id {name}` says whose it is, and `aws sts get-access-key-info` in which account"
        ))
    } else if numbers > 2 && numbers == name.split('.').count() {
        Some("; if it is an address, it is mistyped: four numbers of 0 to 255, such as 198.51.100.27, or a range of them, such as \
             198.51.100.0/24".to_owned())
    } else if is_number(name) {
        Some("; if it is an account, it is mistyped: an account has 12 digits".to_owned())
    } else if name.starts_with("ACCA") {
        Some(
            "; if it is the id of a key, it is mistyped: an id has 20 capitals and digits or more".to_owned(),
        )
    } else {
        None
    }
}

/// IAM's ids of these credentials begin with `ACCA`, and are capitals and digits (IAM user guide, *IAM identifiers*,
/// "Understanding unique ID prefixes"). A name may begin like that, too.
fn looks_like_an_id(text: &str) -> bool {
    let is_in_capitals = !text.bytes().any(|byte| byte.is_ascii_lowercase());
    let is_in_small_letters = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    text.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("ACCA"))
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && (is_in_capitals || is_in_small_letters)
}

fn owned_by(user: UserName, others: &Filters) -> Option<Filters> {
    others.user.is_none().then(|| Filters { user: Some(user), ..others.clone() })
}

fn created_by(actor: Actor, others: &Filters) -> Vec<Filters> {
    let asked = others.actor.is_none().then(|| Filters { actor: Some(actor), ..others.clone() });
    asked.into_iter().collect()
}

/// The IAM user that an ARN names: `arn:PARTITION:iam::ACCOUNT:user/PATH/NAME` (IAM user guide, *IAM ARNs*).
fn user_of_arn(arn: &str) -> Option<Subject> {
    let parts: Vec<_> = arn.splitn(6, ':').collect();
    let ["arn", _, "iam", "", account, resource] = parts.as_slice() else { return None };
    let user = resource.strip_prefix("user/")?.rsplit('/').next()?;
    Some(Subject::UserArn { account: account.parse().ok()?, user: user.parse().ok()?, arn: arn.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_told_by_its_form() {
        let kind = |text: &str| match Subject::parse(text) {
            Ok(Subject::LeakedText) => "text".to_owned(),
            Ok(Subject::Key(key)) => format!("key {key}"),
            Ok(Subject::Account(account)) => format!("account {account}"),
            Ok(Subject::Address(address)) => format!("address {address}"),
            Ok(Subject::UserArn { account, user, .. }) => format!("user {user} of {account}"),
            Ok(Subject::Arn(_)) => "arn".to_owned(),
            Ok(Subject::Name(name)) => format!("name {name}"),
            Err(_) => "error".to_owned(),
        };
        for (text, expected) in [
            ("-", "text"),
            (" ACCAEXAMPLEKEY0000001\n", "key ACCAEXAMPLEKEY0000001"),
            ("accaexamplekey0000001", "key ACCAEXAMPLEKEY0000001"),
            ("ACCAEXAMPLE", "name ACCAEXAMPLE"),
            ("ACCAccounting_service_user", "name ACCAccounting_service_user"),
            ("111122223333", "account 111122223333"),
            ("1111-2222-3333", "account 111122223333"),
            ("198.51.100.27", "address 198.51.100.27"),
            ("198.51.100.0/24", "address 198.51.100.0/24"),
            ("2001:db8::/32", "address 2001:db8::/32"),
            ("::ffff:198.51.100.27", "address 198.51.100.27"),
            ("198.51.100.0/33", "error"),
            ("maria.lopez@example.com", "name maria.lopez@example.com"),
            ("svc-chatbot", "name svc-chatbot"),
            ("arn:aws:iam::111122223333:user/staff/jan.kowalski", "user jan.kowalski of 111122223333"),
            ("arn:aws:iam::111122223333:role/ci", "arn"),
            ("arn:aws:iam::111122223333:root", "arn"),
            ("", "error"),
            ("two words", "error"),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    #[test]
    fn a_name_says_what_it_looks_like() {
        let says = |text: &str| Subject::parse(text).unwrap().describe();
        for (text, expected) in [
            ("AKIAIOSFODNN7EXAMPLE", "get-access-key-last-used --access-key-id AKIAIOSFODNN7EXAMPLE"),
            ("198.51.100.300", "if it is an address, it is mistyped"),
            ("198.51.100", "if it is an address, it is mistyped"),
            ("11112222333", "an account has 12 digits"),
            ("ACCAEXAMPLE", "an id has 20 capitals"),
        ] {
            assert!(says(text).contains(expected), "{text}: {}", says(text));
        }
        for text in ["svc-chatbot", "maria.lopez@example.com", "v1.2", "akia-import", "AKIA"] {
            assert_eq!(says(text), "this was taken for the name of a user or a caller");
        }
    }

    #[test]
    fn no_error_repeats_the_text() {
        let error = Subject::parse("XYZ/secret text").unwrap_err();
        assert!(!error.contains("XYZ"), "{error}");
    }
}
