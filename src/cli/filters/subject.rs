//! `lookup WHAT`: what a text is by itself, and which questions it may mean.

use super::{Filters, account, key, unquoted};
use crate::ledger::query::{Actor, SourceAddress};
use key_guard_core::key::{AccountId, CredentialId, UserName};
use key_guard_core::leaked_key::KeyAlias;

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
    /// The alias of a key, as a decoded key and IAM's list have it.
    Alias(KeyAlias),
    /// Another ARN.
    Arn(String),
    /// A name or an e-mail address: of who owns keys or has created them.
    Name(UserName),
}

impl Subject {
    /// Tells what a text is.
    ///
    /// # Errors
    /// When it is none of these: what it is instead, if that is known.
    pub fn parse(text: &str) -> Result<Self, Option<String>> {
        let text = unquoted(text);
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
        if let Some(alias) = KeyAlias::read(text) {
            return Ok(Self::Alias(alias));
        }
        if let Some(what) = what_else(text) {
            return Err(Some(format!("{what}. If it is the name of an IAM user, give the user's ARN")));
        }
        match (key(text), text.parse()) {
            (Ok(key), _) if looks_like_an_id(text) => Ok(Self::Key(key)),
            (_, Ok(user)) => Ok(Self::Name(user)),
            (_, Err(_)) => Err(None),
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
            Self::Alias(_) => "this was taken for the alias of a key, and its user has none".to_owned(),
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
            Self::Alias(KeyAlias { account, owner, other_reading }) => {
                let is_theirs = others.account.as_ref().is_none_or(|other| *other == account);
                let owners = std::iter::once(owner).chain(other_reading).filter(|_| is_theirs);
                let owned = owners.filter_map(|owner| owned_by(owner.user, others));
                let owned = owned.map(|filters| Filters { account: Some(account.clone()), ..filters });
                (owned.collect(), "--user or --account")
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
pub fn misread(name: &str) -> Option<&'static str> {
    name.starts_with("ACCA")
        .then_some("; if it is the id of a key, it is mistyped: an id has 20 capitals and digits or more")
}

/// What a text is that no key is found by, and what to do with it.
fn what_else(text: &str) -> Option<String> {
    let consists_of = |more: &str| text.chars().all(|c| c.is_ascii_digit() || more.contains(c));
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let groups: Vec<_> = text.split('-').map(str::len).collect();
    let is_hexadecimal = || text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    // IAM user guide, *IAM identifiers*, "Understanding unique ID prefixes".
    let is_access_key = ["AKIA", "ASIA"].iter().any(|prefix| text.starts_with(prefix))
        && text.len() == 20
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if digits > 0 && consists_of("-") {
        Some(format!("an account has 12 digits, this has {digits}"))
    } else if digits > 0 && text.matches('.').count() > 1 && consists_of("./") {
        Some("this is no address: one has four numbers of 0 to 255, such as 198.51.100.27, and a range is like 198.51.100.0/24".to_owned())
    } else if groups == [8, 4, 4, 4, 12] && is_hexadecimal() {
        Some(format!(
            "this is the id of an event, and no key is found by it. `aws cloudtrail lookup-events --region us-east-1 \
             --lookup-attributes AttributeKey=EventId,AttributeValue={text}` returns the event, which names the key"
        ))
    } else if is_access_key {
        Some(format!(
            "this is the id of an access key, which is no API key: `aws iam get-access-key-last-used --access-key-id {text}` says \
             whose it is"
        ))
    } else if text.to_ascii_lowercase().ends_with(".amazonaws.com") {
        Some(format!(
            "this is a service: `lookup --service {text}` finds its keys, `lookup --source-ip {text}` those that it created"
        ))
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
            Ok(Subject::Alias(alias)) => {
                let other =
                    alias.other_reading.map(|other| format!(" or {}", other.user)).unwrap_or_default();
                format!("key of {}{other} of {}", alias.owner.user, alias.account)
            }
            Ok(Subject::Arn(_)) => "arn".to_owned(),
            Ok(Subject::Name(name)) => format!("name {name}"),
            Err(None) => "error".to_owned(),
            Err(Some(what)) => what.split([':', '.', ',']).next().unwrap().to_owned(),
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
            ("198.51.100.0/33", "this is no address"),
            ("198.51.100.999", "this is no address"),
            ("198.51.100.", "this is no address"),
            ("11112222333", "an account has 12 digits"),
            ("1111-2222-333", "an account has 12 digits"),
            ("5d1c003b-7b1e-4c3a-9f00-abc00000003b", "this is the id of an event"),
            ("AKIAIOSFODNN7EXAMPLE", "this is the id of an access key"),
            ("bedrock.amazonaws.com", "this is a service"),
            ("svc-legacy-at-111122223333", "key of svc-legacy of 111122223333"),
            ("svc+1-at-111122223333", "key of svc or svc+1 of 111122223333"),
            ("svc-at-11112222333", "name svc-at-11112222333"),
            ("\"svc-chatbot\",", "name svc-chatbot"),
            ("svc-chatbot;", "name svc-chatbot"),
            ("'ACCAEXAMPLEKEY0000001',", "key ACCAEXAMPLEKEY0000001"),
            ("111122223333,", "account 111122223333"),
            ("v1.2", "name v1.2"),
            ("akia-import", "name akia-import"),
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
        for (text, expected) in
            [("ACCAEXAMPLE", "an id has 20 capitals"), ("ana-at-111122223333", "the alias of a key")]
        {
            assert!(says(text).contains(expected), "{text}: {}", says(text));
        }
        for text in ["svc-chatbot", "maria.lopez@example.com", "v1.2", "akia-import", "AKIA"] {
            assert_eq!(says(text), "this was taken for the name of a user or a caller");
        }
    }

    #[test]
    fn no_error_repeats_the_text() {
        assert_eq!(Subject::parse("XYZ/secret text"), Err(None));
    }
}
