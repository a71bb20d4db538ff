//! A document for AWS, and what it does not cover.

use chrono::{DateTime, Utc};

use super::options::{Kind, Options, Partition};
use super::plan::{Denials, Keys, Plan, PreventError};
use super::region::Gap;
use super::statement::{Statement, USES, Whole};
use key_guard_core::policy::Policy;

/// AWS Organizations' limit for a service control policy, white space included
/// (AWS Organizations user guide, *Quotas*).
pub const SCP_MAX_CHARACTERS: usize = 5_120;

/// IAM's limit for a managed policy, white space excluded (IAM user guide, *IAM and AWS STS quotas*).
pub const MANAGED_POLICY_MAX_CHARACTERS: usize = 6_144;

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
    let Denials { statements, gaps } = plan.denials()?;
    let (document, whole) = finish(kind, statements)?;
    let not_covered = not_covered(kind, &plan, &whole);
    Ok(Document { gaps, not_covered, ..document })
}

/// Writes the statements as a document of this kind. Nothing is said yet of what it leaves open.
pub(super) fn finish(kind: Kind, mut statements: Vec<Statement>) -> Result<(Document, Whole), PreventError> {
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
    let (gaps, not_covered) = (Vec::new(), Vec::new());
    Ok((Document { text, denials, characters, max_characters, gaps, not_covered }, whole))
}

fn not_covered(kind: Kind, plan: &Plan<'_>, whole: &Whole) -> Vec<String> {
    let mut lines = out_of_reach(kind, plan.options.partition, whole);
    if plan.options.deny_use {
        lines.extend(uses_not_covered(plan));
    } else {
        lines.push(
            "keys that exist already: they stay usable, and can be activated again and reset (see --deny-use)"
                .to_owned(),
        );
    }
    lines.push("short-term keys: creating one takes no API call".to_owned());
    if !plan.services.contains(&Keys::OfOthers) {
        lines.push("keys of services that the policy does not judge".to_owned());
    }
    lines.extend(plan.options.break_glass.iter().map(|principal| {
        let anyone = if principal.any_account {
            ", and so may anybody who can create such a role or user in an account"
        } else {
            ""
        };
        format!("{}: may create any key{anyone}", principal.as_str())
    }));
    lines
}

/// Whom no document of this kind reaches.
pub(super) fn out_of_reach(kind: Kind, partition: Partition, whole: &Whole) -> Vec<String> {
    let lines: &[&str] = match kind {
        Kind::ServiceControlPolicy => &[
            "accounts that it is not attached to: directly, through a unit or through the root",
            "the management account and service-linked roles: no service control policy reaches them",
        ],
        Kind::PermissionBoundary => &[
            "users and roles that do not have it as their boundary: it is about who creates a key, not about whose key it is",
            "the root user, which can have no boundary",
            "a user or role that may remove or replace its own boundary",
            "permissions: a boundary grants none, and only limits what policies allow",
        ],
    };
    let has_not_resource = whole.statement.iter().any(|statement| statement.not_resource.is_some());
    let in_china = "China: NotResource in service control policies was announced for the commercial and GovCloud Regions only";
    let is_unsure = kind == Kind::ServiceControlPolicy && partition == Partition::AwsCn && has_not_resource;
    lines.iter().copied().chain(is_unsure.then_some(in_china)).map(str::to_owned).collect()
}

/// The use of keys that is not denied.
fn uses_not_covered(plan: &Plan<'_>) -> Vec<String> {
    let mut lines = vec![
        "the age of a key in use, which IAM does not know: every long-term key is refused, also one that the policy allows"
            .to_owned(),
    ];
    lines.extend(plan.services.iter().filter_map(|keys| match keys {
        Keys::Of(service) if USES.iter().any(|(known, _, _)| known == service) => None,
        Keys::Of(service) => {
            Some(format!("the use of keys for {service}: IAM has no condition for its long-term keys"))
        }
        Keys::OfOthers => Some(
            "the use of keys for other services: IAM has no condition for their long-term keys".to_owned(),
        ),
    }));
    lines.push("keys that exist already: only their use is denied".to_owned());
    lines
}
