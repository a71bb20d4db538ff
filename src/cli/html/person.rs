//! Who created a key: one person under several roles is one.

use crate::ledger::permission_set;
use key_guard_core::cloudtrail::Actor;

/// A person, a role whose sessions no person names, or a service.
#[derive(Debug, PartialEq, Eq)]
pub struct Person {
    /// What the keys of one person have in common.
    pub name: String,
    /// As what the person called.
    pub capacity: String,
}

impl Person {
    /// Of a caller.
    ///
    /// The session of a role has the name of its user in IAM Identity Center, and by custom elsewhere. An IAM user of the
    /// same name in another account may be somebody else, unless the name is an e-mail address.
    pub fn of(actor: Option<&Actor>) -> Self {
        let not_known = || Self::new("Not known", "");
        let Some(actor) = actor else { return not_known() };
        let Some(principal) = actor.principal.as_deref() else { return not_known() };
        let mut parts = principal.splitn(6, ':').skip(4);
        let (Some(account), Some(resource)) =
            (parts.next().filter(|_| principal.starts_with("arn:")), parts.next())
        else {
            return Self::new(principal, describe_kind(actor));
        };
        let in_account = |name: &str| {
            if name.contains('@') { name.to_owned() } else { format!("{name} in {account}") }
        };
        match resource.split('/').collect::<Vec<_>>().as_slice() {
            ["user", .., name] => Self::new(&in_account(name), "IAM user"),
            ["federated-user", name] => Self::new(name, "federated user"),
            ["root"] => Self::new(&format!("root in {account}"), "root user"),
            ["assumed-role", role, session] if is_automatic(session) => {
                Self::new(&format!("role {} in {account}", permission_set(role)), "session without a name")
            }
            ["assumed-role", role, session] => {
                let set = permission_set(role);
                let kind = if set == *role { "role" } else { "permission set" };
                Self::new(session, &format!("{kind} {set}"))
            }
            _ => Self::new(resource, ""),
        }
    }

    /// E-mail addresses are the same in every case.
    fn new(name: &str, capacity: &str) -> Self {
        let name = if name.contains('@') { name.to_ascii_lowercase() } else { name.to_owned() };
        Self { name, capacity: capacity.to_owned() }
    }
}

fn describe_kind(actor: &Actor) -> &'static str {
    let is_service = |name: &str| name.ends_with(".amazonaws.com");
    match actor.kind.as_deref() {
        Some("IdentityCenterUser") => "IAM Identity Center user",
        _ if actor.principal.as_deref().is_some_and(is_service) => "AWS service",
        _ => "",
    }
}

/// True for names that SDKs and instances choose: `botocore-session-1700000000` (boto3 and the AWS CLI),
/// `aws-sdk-java-…`, `aws-go-sdk-…`, an EC2 instance's id, and whatever has no letter but hexadecimal digits.
fn is_automatic(session: &str) -> bool {
    let chosen_by_sdks = ["botocore-session-", "aws-sdk-", "aws-go-sdk-"];
    let hexadecimal = session.strip_prefix("i-").unwrap_or(session);
    chosen_by_sdks.iter().any(|prefix| session.starts_with(prefix))
        || (hexadecimal.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
            && hexadecimal.bytes().any(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(principal: &str) -> String {
        let actor = Actor { principal: Some(principal.to_owned()), ..Actor::default() };
        Person::of(Some(&actor)).name
    }

    #[test]
    fn one_person_under_several_roles_is_one() {
        let session = |account: &str, role: &str, session: &str| {
            name(&format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"))
        };
        let maria = "maria.lopez@example.com";
        for (account, role) in [
            ("111122223333", "Deploy"),
            ("444455556666", "AWSReservedSSO_Admin_0123456789abcdef"),
            ("111122223333", "Break-Glass"),
        ] {
            assert_eq!(session(account, role, "Maria.Lopez@example.com"), maria);
        }
        assert_eq!(name("arn:aws:iam::444455556666:user/people/maria.lopez@example.com"), maria);
    }

    #[test]
    fn those_who_may_be_different_are_not_one() {
        assert_ne!(name("arn:aws:iam::111122223333:user/ci"), name("arn:aws:iam::444455556666:user/ci"));
        assert_ne!(name("arn:aws:iam::111122223333:root"), name("arn:aws:iam::444455556666:root"));
        for session in ["botocore-session-1700000000", "i-0abc12de34f567890", "1700000000"] {
            let principal = format!("arn:aws:sts::111122223333:assumed-role/Deploy/{session}");
            assert_eq!(name(&principal), "role Deploy in 111122223333");
        }
        assert_eq!(name("arn:aws:sts::111122223333:assumed-role/Deploy/Ada"), "Ada");
        assert_eq!(name("health.amazonaws.com"), "health.amazonaws.com");
        assert_eq!(Person::of(None).name, "Not known");
    }
}
