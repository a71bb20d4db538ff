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
    fn no_error_repeats_the_text() {
        let error = Subject::parse("XYZ/secret text").unwrap_err();
        assert!(!error.contains("XYZ"), "{error}");
    }
}
