//! What the owner of a key is told: what happened, what happens next and when, what to do, whom to ask, how to verify it.
//!
//! The sentences come in the order of their importance, since a format may take only [those that fit](Remediation::within):
//! who and what, what happens when, the command that stops the key; then what its owner does, and how to keep it longer.
//!
//! Texts are put into quotes by EventBridge and commands are pasted into a shell: no sentence has a `"`, and what a
//! caller chose is [quoted](argument) in commands and left out of sentences where it is no name of IAM's.

use std::fmt;

use super::{count_days, remediation_of_silence};
use crate::cloudtrail::{Actor, CreatedKey, UserCall, UserChange};
use crate::key::{AccountId, CredentialId, KeyFacts, Service, Status, UserName};
use crate::policy::{LONGEST_FINITE_DAYS, Verdict, Violation};
use crate::remediation::{Advice, Contact, KeyAdvice, NextStep, Remediation};
use crate::report::Outcome;
use crate::text::is_iam_name_byte;
use crate::time::rfc3339;

/// Where the pages of findings are. `OWNER` is who publishes the project, as in docs/install.md.
const FINDINGS: &str = "https://github.com/OWNER/bedrock-key-guard/blob/main/docs/findings";

impl fmt::Display for Remediation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentences().join(" "))
    }
}

impl Remediation {
    /// The sentences, in order. Each can be read without the others, and is one: `infra/notifications.asl.yaml` divides the
    /// text where a capital follows a full stop.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let creator = self.creator.as_ref().and_then(name_of);
        let created = creator.as_ref().map(|creator| format!("{} created this key.", capitalized(creator)));
        let contact = Whom(self.contact.as_ref());
        let mut sentences = match &self.advice {
            Advice::Key(advice) => created.into_iter().chain(of_key(advice, contact)).collect(),
            Advice::NotJudged(key) => created.into_iter().chain(of_unjudged_key(key, contact)).collect(),
            Advice::SilentAccount(account) => remediation_of_silence(account),
            Advice::UserChanged { account, change } => {
                let creator = creator.map_or_else(|| "Somebody".to_owned(), |creator| capitalized(&creator));
                of_user_change(&creator, account, change, contact)
            }
        };
        sentences.push(format!("See {} for more.", self.page()));
        sentences
    }

    /// The sentences that fit into so many characters, in order.
    #[must_use]
    pub fn within(&self, max_characters: usize) -> String {
        let mut text = String::new();
        for sentence in self.sentences() {
            let space = usize::from(!text.is_empty());
            if text.chars().count() + space + sentence.chars().count() <= max_characters {
                text.push_str(if space > 0 { " " } else { "" });
                text.push_str(&sentence);
            }
        }
        text
    }

    /// The address of the page about the finding.
    #[must_use]
    pub fn page(&self) -> String {
        let name = match &self.advice {
            Advice::Key(KeyAdvice { violation: Some(violation), .. }) => violation.as_str(),
            Advice::Key(KeyAdvice { verdict: Verdict::Undetermined, .. }) => "undetermined",
            Advice::Key(_) => "index",
            Advice::NotJudged(_) => "unjudged_service",
            Advice::UserChanged { .. } => "console_user",
            Advice::SilentAccount(_) => "silent_account",
        };
        format!("{FINDINGS}/{name}.md")
    }
}

/// Whom to ask. Where no contact is configured, the text says so in words.
#[derive(Clone, Copy)]
struct Whom<'a>(Option<&'a Contact>);

impl fmt::Display for Whom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(contact) => contact.fmt(f),
            None => f.write_str("the team that runs Bedrock Key Guard"),
        }
    }
}

/// What a user got, the commands that list it, and those that take it away: what can be undone first.
fn of_user_change(caller: &str, account: &AccountId, change: &UserChange, contact: Whom<'_>) -> Vec<String> {
    let UserChange { call, user } = change;
    let option = argument("--user-name", user.as_str());
    let (done, list, ends) = match call {
        UserCall::CreateAccessKey => (
            format!("created an access key for {user}"),
            format!("aws iam list-access-keys {option}"),
            vec![
                format!(
                    "If nobody needs it, deactivate it: `aws iam update-access-key {option} --access-key-id KEY_ID \
                     --status Inactive`."
                ),
                format!("Delete it later: `aws iam delete-access-key {option} --access-key-id KEY_ID`."),
            ],
        ),
        UserCall::CreateLoginProfile | UserCall::UpdateLoginProfile => (
            format!("set a password for the AWS console for {user}"),
            format!("aws iam get-login-profile {option}"),
            vec![format!("If nobody needs it, delete it: `aws iam delete-login-profile {option}`.")],
        ),
        UserCall::AttachUserPolicy => (
            format!("attached a managed policy to {user}"),
            format!("aws iam list-attached-user-policies {option}"),
            vec![format!(
                "If nobody needs it, detach it: `aws iam detach-user-policy {option} --policy-arn POLICY_ARN`."
            )],
        ),
        UserCall::PutUserPolicy => (
            format!("added an inline policy to {user}"),
            format!("aws iam list-user-policies {option}"),
            vec![format!(
                "If nobody needs it, delete it: `aws iam delete-user-policy {option} --policy-name POLICY_NAME`."
            )],
        ),
        UserCall::AddUserToGroup => (
            format!("added {user} to a group"),
            format!("aws iam list-groups-for-user {option}"),
            vec![format!(
                "If nobody needs that, remove the user: `aws iam remove-user-from-group {option} --group-name GROUP`."
            )],
        ),
    };
    let mut sentences = vec![
        format!("{caller} {done} in account {account}."),
        "It outlives the API key, and the guard leaves it as it is: only people can take it away.".to_owned(),
        format!("See what the user has: `{list}`."),
    ];
    sentences.extend(ends);
    sentences.push(
        "If the change is yours, use an IAM role instead: this user is for an API key only.".to_owned(),
    );
    sentences.push(ask_questions(contact));
    sentences.push(format!("To verify, run `{list}`."));
    sentences
}

fn of_key(advice: &KeyAdvice, contact: Whom<'_>) -> Vec<String> {
    let mut sentences = match advice.verdict {
        Verdict::Compliant | Verdict::Exempt => {
            vec![
                "The guard deactivated this key, and the policy allows it now.".to_owned(),
                "It stays inactive until somebody activates it.".to_owned(),
                format!(
                    "If you need this key, activate it: `{}`.",
                    activation_command(&advice.key.user, &advice.key.key.id)
                ),
                ask_questions(contact),
            ]
        }
        Verdict::Undetermined => undetermined(advice, contact),
        Verdict::Noncompliant => noncompliant(advice, contact),
    };
    let KeyFacts { key, user, .. } = &advice.key;
    sentences.push(format!(
        "To verify, run in account {} `aws iam list-service-specific-credentials {}`.",
        key.account,
        argument("--user-name", user.as_str())
    ));
    sentences
}

fn noncompliant(advice: &KeyAdvice, contact: Whom<'_>) -> Vec<String> {
    let mut sentences = describe_violation(advice);
    sentences.extend(describe_next(advice));
    sentences.extend(describe_stop(advice));
    sentences.push(describe_alternative(advice).to_owned());
    sentences.extend(describe_replacement(advice));
    sentences.extend(describe_end(advice));
    sentences.push(describe_exemption(advice, contact));
    sentences
}

/// About a key whose expiration nobody knows. An exemption does not help: somebody has to find out when it expires.
fn undetermined(advice: &KeyAdvice, contact: Whom<'_>) -> Vec<String> {
    let KeyFacts { key, user, service, .. } = &advice.key;
    let delete = deletion_command(user, &key.id);
    let mut sentences: Vec<_> = describe_outcome(advice).into_iter().collect();
    if advice.status == Status::Expired {
        sentences.push(format!("Delete this key: `{delete}`."));
        sentences.push(ask_questions(contact));
        return sentences;
    }
    sentences
        .push("It is not known when this key expires: nothing happens to it until that is known.".to_owned());
    sentences.extend(describe_stop(advice));
    sentences.push(format!(
        "Check when it expires: `aws iam list-service-specific-credentials {} {}`.",
        argument("--user-name", user.as_str()),
        argument("--service-name", service.as_str())
    ));
    if advice.status == Status::Inactive {
        sentences.push("Do not activate this key before that is known.".to_owned());
    }
    sentences.push(describe_alternative(advice).to_owned());
    sentences.extend(describe_replacement(advice));
    sentences.push(format!("If nobody knows when this key expires, delete it: `{delete}`."));
    sentences.push(ask_questions(contact));
    sentences
}

/// About a new key of a service that the policy does not judge.
fn of_unjudged_key(created: &CreatedKey, contact: Whom<'_>) -> Vec<String> {
    let CreatedKey { key, user, service, .. } = created;
    vec![
        "The guard does nothing to this key, because the policy does not judge keys of its service."
            .to_owned(),
        stop(user, &key.id),
        "If this key is yours, use an IAM role where the service allows that.".to_owned(),
        format!(
            "To have such keys judged, add {service} to `services` in [default] of the policy file, and deploy again."
        ),
        ask_questions(contact),
    ]
}

/// What became of a key that cannot be used any more.
fn describe_outcome(advice: &KeyAdvice) -> Option<String> {
    let text = match (advice.outcome, advice.status) {
        (Outcome::Deleted, _) => "The guard deleted this key.",
        (Outcome::Gone, _) => "Somebody deleted this key.",
        (Outcome::Deactivated, _) => "The guard deactivated this key.",
        (_, Status::Gone) => "This key no longer exists.",
        (_, Status::Expired) => "This key has expired.",
        (Outcome::AlreadyInactive, _) => "Somebody deactivated this key.",
        (_, Status::Inactive) => "This key is inactive.",
        (_, Status::Active | Status::Unknown) => return None,
    };
    Some(text.to_owned())
}

/// What became of the key, if anything, and what is wrong with it.
fn describe_violation(advice: &KeyAdvice) -> Vec<String> {
    let over_limit = if advice.limit_days == 0 {
        "the policy allows no long-term key".to_owned()
    } else {
        format!("it lives longer than the limit of {}", count_days(advice.limit_days))
    };
    let why = match advice.lifetime_violation {
        Some(Violation::NeverExpires) if advice.limit_days == 0 => {
            format!("it never expires, or not for decades, and {over_limit}")
        }
        Some(Violation::NeverExpires) => format!(
            "it never expires, or not for decades, and the limit is {}",
            count_days(advice.limit_days)
        ),
        Some(Violation::LongTermKeyForbidden) => "the policy allows no long-term key".to_owned(),
        Some(Violation::LifetimeExceedsLimit | Violation::Reactivated) | None => over_limit,
    };
    let again = if advice.violation == Some(Violation::Reactivated) {
        ", and somebody activated it after the guard had deactivated it"
    } else {
        ""
    };
    let outcome = describe_outcome(advice);
    let subject = if outcome.is_none() { "This key" } else { "Such a key" };
    outcome.into_iter().chain([format!("{subject} is not allowed: {why}{again}.")]).collect()
}

fn describe_next(advice: &KeyAdvice) -> Option<String> {
    if has_ended(advice) {
        return None;
    }
    Some(match advice.next {
        NextStep::None => return None,
        NextStep::DryRun => "This is a dry run: nothing happens to the key.".to_owned(),
        NextStep::Monitored => "The guard only monitors this key: nothing happens to it for now.".to_owned(),
        NextStep::StaysInactive => {
            "Nothing happens to it while it is inactive; if somebody activates it, the guard judges it again."
                .to_owned()
        }
        NextStep::Deactivation { grace_days: None } => {
            "The guard deactivates it next, usually within ten minutes.".to_owned()
        }
        NextStep::Deactivation { grace_days: Some(days) } => format!(
            "The guard deactivates it next, usually within ten minutes, and deletes it {} later.",
            count_days(days)
        ),
        NextStep::Deletion => "The guard deletes it next, usually within ten minutes.".to_owned(),
        NextStep::DeletionAfter(time) => format!(
            "The guard deletes it after {}, unless the policy or the guard's ceiling has changed by then.",
            rfc3339(time)
        ),
        NextStep::DeletionHeldBack => {
            "The guard deletes it as soon as its ceiling and the deletions of an hour allow that.".to_owned()
        }
    })
}

/// What somebody does who does not know the key. A deactivation can be undone.
fn describe_stop(advice: &KeyAdvice) -> Option<String> {
    let is_usable = matches!(advice.status, Status::Active | Status::Unknown);
    is_usable.then(|| stop(&advice.key.user, &advice.key.key.id))
}

fn stop(user: &UserName, id: &CredentialId) -> String {
    format!("If nobody on your team knows this key, stop it: `{}`.", deactivation_command(user, id.as_str()))
}

/// Short-term keys exist for Bedrock and Claude Platform (Amazon Bedrock user guide and Claude Platform on AWS user guide,
/// *API keys*).
const fn describe_alternative(advice: &KeyAdvice) -> &'static str {
    match &advice.key.service {
        Service::Bedrock | Service::ClaudePlatform => {
            "If this key is yours, use an IAM role or short-term keys instead."
        }
        Service::CloudWatch
        | Service::Logs
        | Service::XRay
        | Service::CodeCommit
        | Service::Keyspaces
        | Service::Other(_) => "If this key is yours, use an IAM role instead.",
    }
}

/// How to create a key that the policy allows, if it allows one.
fn describe_replacement(advice: &KeyAdvice) -> Option<String> {
    // A key that lives longer than this counts as one that never expires.
    let days = advice.limit_days.min(LONGEST_FINITE_DAYS);
    (days > 0).then(|| {
        format!(
            "If only a long-term key will do, create one that expires within {}: `aws iam \
             create-service-specific-credential {} {} --credential-age-days {days}`.",
            count_days(days),
            argument("--user-name", advice.key.user.as_str()),
            argument("--service-name", advice.key.service.as_str()),
        )
    })
}

fn describe_end(advice: &KeyAdvice) -> Option<String> {
    let delete = deletion_command(&advice.key.user, &advice.key.key.id);
    match advice.status {
        Status::Gone => None,
        Status::Expired => Some(format!("Delete this key: `{delete}`.")),
        Status::Inactive => Some(format!("Do not activate this key; delete it: `{delete}`.")),
        Status::Active | Status::Unknown if advice.limit_days == 0 => {
            Some(format!("When nothing uses this key any more, delete it: `{delete}`."))
        }
        Status::Active | Status::Unknown => {
            Some(format!("Deploy the new key, and then delete this one: `{delete}`."))
        }
    }
}

/// How to keep the key longer: before when, and whom to ask. An exemption does nothing for a key that has ended.
fn describe_exemption(advice: &KeyAdvice, contact: Whom<'_>) -> String {
    if has_ended(advice) {
        return format!("If you need such a key again, first ask for an exemption: contact {contact}.");
    }
    let when = match advice.next {
        NextStep::DeletionAfter(time) => format!("before {}", rfc3339(time)),
        NextStep::Deactivation { .. } | NextStep::Deletion | NextStep::DeletionHeldBack => {
            "at once".to_owned()
        }
        NextStep::StaysInactive => "before you activate it".to_owned(),
        NextStep::None | NextStep::DryRun | NextStep::Monitored => "before the guard may act".to_owned(),
    };
    format!("If you need this key longer, ask for an exemption {when}: contact {contact}.")
}

const fn has_ended(advice: &KeyAdvice) -> bool {
    matches!(advice.status, Status::Expired | Status::Gone)
}

fn ask_questions(contact: Whom<'_>) -> String {
    format!("For questions, contact {contact}.")
}

/// The command that deletes a key, for a shell.
#[must_use]
pub fn deletion_command(user: &UserName, id: &CredentialId) -> String {
    let user = argument("--user-name", user.as_str());
    format!("aws iam delete-service-specific-credential {user} --service-specific-credential-id {id}")
}

fn activation_command(user: &UserName, id: &CredentialId) -> String {
    status_command(user, id.as_str(), "Active")
}

/// The command that deactivates a key, for a shell. `id` may be a placeholder.
#[must_use]
pub fn deactivation_command(user: &UserName, id: &str) -> String {
    status_command(user, id, "Inactive")
}

fn status_command(user: &UserName, id: &str, status: &str) -> String {
    let user = argument("--user-name", user.as_str());
    format!(
        "aws iam update-service-specific-credential {user} --service-specific-credential-id {id} --status {status}"
    )
}

/// An option of a command with its value, for a shell and for the AWS CLI. Names of IAM may begin with `-`, which the CLI
/// would take for an option, or with `=`, which zsh replaces.
#[must_use]
pub fn argument(option: &str, value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte);
    let needs_no_quotes =
        value.bytes().all(is_plain) && value.starts_with(|c: char| c.is_ascii_alphanumeric());
    if needs_no_quotes {
        return format!("{option} {value}");
    }
    let between = if value.starts_with('-') { "=" } else { " " };
    format!("{option}{between}'{}'", value.replace('\'', r"'\''"))
}

/// Who called, as people know them. `None`: not known, or not by a name that IAM allows.
///
/// The session of a role of IAM Identity Center has its user's name. The caller of another role chooses the name of the
/// session, so the role comes first there.
#[must_use]
pub fn name_of(actor: &Actor) -> Option<String> {
    let principal = actor.principal.as_deref()?;
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(is_iam_name_byte);
    let Some(resource) = principal.splitn(6, ':').nth(5).filter(|_| principal.starts_with("arn:")) else {
        let what = match actor.kind.as_deref() {
            Some("IdentityCenterUser") => "the IAM Identity Center user",
            _ if principal.ends_with(".amazonaws.com") => "the AWS service",
            _ => "the principal",
        };
        return is_name(principal).then(|| format!("{what} {principal}"));
    };
    let parts: Vec<_> = resource.split('/').collect();
    let (name, described) = match parts.as_slice() {
        ["root"] => ("root", "the root user".to_owned()),
        ["user", .., name] => (*name, format!("the IAM user {name}")),
        ["federated-user", name] => (*name, format!("the federated user {name}")),
        ["assumed-role", _, session] if actor.is_of_identity_center() => (*session, (*session).to_owned()),
        ["assumed-role", role, session] if is_name(role) => {
            (*session, format!("the role {role} (session {session})"))
        }
        _ => return None,
    };
    is_name(name).then_some(described)
}

/// With a capital, where the text does not begin with somebody's name.
fn capitalized(name: &str) -> String {
    name.strip_prefix("the ").map_or_else(|| name.to_owned(), |rest| format!("The {rest}"))
}
