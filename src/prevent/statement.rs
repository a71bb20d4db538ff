//! The actions, the condition keys and the JSON of IAM's policies.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use key_guard_core::key::Service;

pub(super) const CREATE: &str = "iam:CreateServiceSpecificCredential";
pub(super) const AGE_DAYS: &str = "iam:ServiceSpecificCredentialAgeDays";
pub(super) const SERVICE_NAME: &str = "iam:ServiceSpecificCredentialServiceName";
pub(super) const PRINCIPAL_ACCOUNT: &str = "aws:PrincipalAccount";
pub(super) const PRINCIPAL_ARN: &str = "aws:PrincipalArn";
pub(super) const CURRENT_TIME: &str = "aws:CurrentTime";
pub(super) const LONG_TERM: &str = "LONG_TERM";

/// By which actions the keys of a service are used, with the condition key that tells long-term keys. Keys of
/// CloudWatch and CloudWatch Logs are used by actions that have no such condition key.
pub(super) static USES: [(Service, &str, &str); 3] = [
    (Service::Bedrock, "bedrock:CallWithBearerToken", "bedrock:BearerTokenType"),
    (Service::Bedrock, "bedrock-mantle:CallWithBearerToken", "bedrock-mantle:BearerTokenType"),
    (
        Service::ClaudePlatform,
        "aws-external-anthropic:CallWithBearerToken",
        "aws-external-anthropic:BearerTokenType",
    ),
];

/// Every action that a document denies.
#[must_use]
pub fn actions() -> Vec<&'static str> {
    std::iter::once(CREATE).chain(USES.iter().map(|(_, action, _)| *action)).collect()
}

/// The actions by which the keys of a service are used, as far as there are any of their own.
#[must_use]
pub fn use_actions(service: &Service) -> Vec<&'static str> {
    USES.iter().filter(|(used, _, _)| used == service).map(|(_, action, _)| *action).collect()
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Whole {
    pub(super) version: &'static str,
    pub(super) statement: Vec<Statement>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Statement {
    pub(super) sid: String,
    pub(super) effect: &'static str,
    pub(super) action: Texts,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resource: Option<Texts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) not_resource: Option<Texts>,
    /// Operators, condition keys, values. All conditions of a statement have to match.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) condition: BTreeMap<&'static str, BTreeMap<&'static str, Texts>>,
}

impl Statement {
    pub(super) fn allow_all() -> Self {
        Self {
            sid: "AllowWhatPoliciesAllow".to_owned(),
            effect: "Allow",
            action: Texts::one("*"),
            resource: Some(Texts::one("*")),
            not_resource: None,
            condition: BTreeMap::new(),
        }
    }

    pub(super) fn condition(&mut self, operator: &'static str, key: &'static str, values: Vec<String>) {
        let known = self.condition.entry(operator).or_default().entry(key).or_insert(Texts(Vec::new()));
        known.0.extend(values);
    }
}

/// Texts of a policy: one is written as it is, more as a list.
#[derive(Debug)]
pub(super) struct Texts(pub(super) Vec<String>);

impl Texts {
    pub(super) fn one(text: &str) -> Self {
        Self(vec![text.to_owned()])
    }
}

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => to.serialize_str(one),
            many => to.collect_seq(many),
        }
    }
}

/// IAM wants the names of statements to differ.
pub(super) fn name_apart(statements: &mut [Statement]) {
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for statement in statements {
        let count = known.entry(statement.sid.clone()).or_default();
        *count += 1;
        if *count > 1 {
            statement.sid = format!("{}No{count}", statement.sid);
        }
    }
}
