//! An evaluator for the part of IAM's language that the documents use.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{at, now};

pub const CREATE: &str = "iam:CreateServiceSpecificCredential";

/// A call.
#[derive(Debug, Clone)]
pub struct Call {
    pub action: &'static str,
    pub account: String,
    /// With its path, as in its ARN.
    pub user: String,
    pub service: String,
    pub age_days: Option<u32>,
    pub time: DateTime<Utc>,
    pub principal: String,
}

impl Call {
    pub fn make(account: &str, user: &str, age_days: impl Into<Option<u32>>) -> Self {
        Self {
            action: CREATE,
            account: account.to_owned(),
            user: user.to_owned(),
            service: "bedrock.amazonaws.com".to_owned(),
            age_days: age_days.into(),
            time: now(),
            principal: format!("arn:aws:iam::{account}:role/admin"),
        }
    }

    pub fn r#use(action: &'static str, account: &str, user: &str) -> Self {
        Self {
            action,
            principal: format!("arn:aws:iam::{account}:user/{user}"),
            ..Self::make(account, user, None)
        }
    }

    pub fn of(self, service: &str) -> Self {
        Self { service: service.to_owned(), ..self }
    }

    pub fn at(self, time: &str) -> Self {
        Self { time: at(time), ..self }
    }

    pub fn by(self, principal: &str) -> Self {
        Self { principal: principal.to_owned(), ..self }
    }

    fn key(&self, name: &str) -> Option<String> {
        match name {
            "iam:ServiceSpecificCredentialAgeDays" => self.age_days.map(|days| days.to_string()),
            "iam:ServiceSpecificCredentialServiceName" => Some(self.service.clone()),
            "aws:PrincipalAccount" => Some(self.account.clone()),
            "aws:PrincipalArn" => Some(self.principal.clone()),
            "aws:CurrentTime" => Some(self.time.to_rfc3339()),
            "bedrock:BearerTokenType"
            | "bedrock-mantle:BearerTokenType"
            | "aws-external-anthropic:BearerTokenType" => Some("LONG_TERM".to_owned()),
            other => panic!("unknown condition key {other}"),
        }
    }
}

pub fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().map(|text| text.as_str().unwrap()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            panic!("expected texts, found {value}")
        }
    }
}

/// IAM's wildcards: `*` and `?` take `/` too, and letters have a case.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some(b'*'), _) => glob(&pattern[1..], text) || (!text.is_empty() && glob(pattern, &text[1..])),
        (Some(b'?'), Some(_)) => glob(&pattern[1..], &text[1..]),
        (Some(wanted), Some(found)) => wanted == found && glob(&pattern[1..], &text[1..]),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Part by part, as IAM compares ARNs.
pub fn arn_like(pattern: &str, arn: &str) -> bool {
    let (pattern, arn): (Vec<_>, Vec<_>) = (pattern.splitn(6, ':').collect(), arn.splitn(6, ':').collect());
    pattern.len() == arn.len()
        && pattern.iter().zip(&arn).all(|(pattern, part)| glob(pattern.as_bytes(), part.as_bytes()))
}

pub fn denies(document: &Value, call: &Call) -> bool {
    let statements = document["Statement"].as_array().unwrap();
    statements
        .iter()
        .filter(|statement| statement["Effect"] == "Deny")
        .any(|statement| matches(statement, call))
}

fn matches(statement: &Value, call: &Call) -> bool {
    let resource = if call.action == CREATE {
        format!("arn:aws:iam::{}:user/{}", call.account, call.user)
    } else {
        "arn:aws:bedrock:us-east-1:111122223333:any".to_owned()
    };
    let is_among = |arns: &Value| texts(arns).iter().any(|arn| *arn == "*" || arn_like(arn, &resource));
    let resource = match (statement.get("Resource"), statement.get("NotResource")) {
        (Some(these), None) => is_among(these),
        (None, Some(others)) => !is_among(others),
        other => panic!("expected one of Resource and NotResource, found {other:?}"),
    };
    let conditions = statement["Condition"].as_object().unwrap();
    texts(&statement["Action"]).contains(&call.action)
        && resource
        && conditions.iter().all(|(operator, keys)| {
            keys.as_object()
                .unwrap()
                .iter()
                .all(|(key, values)| condition(operator, call.key(key).as_deref(), &texts(values)))
        })
}

fn condition(operator: &str, found: Option<&str>, values: &[&str]) -> bool {
    // What is absent matches no comparison, but every negated one.
    let any = |test: &dyn Fn(&str, &str) -> bool| {
        found.is_some_and(|found| values.iter().any(|value| test(value, found)))
    };
    match operator {
        "Null" => values == ["true"] && found.is_none(),
        "StringEquals" => any(&|value, found| value == found),
        "StringNotEquals" => !any(&|value, found| value == found),
        "StringEqualsIgnoreCase" => any(&|value, found| value.eq_ignore_ascii_case(found)),
        "StringNotEqualsIgnoreCase" => !any(&|value, found| value.eq_ignore_ascii_case(found)),
        "NumericGreaterThan" => {
            any(&|value, found| found.parse::<u32>().unwrap() > value.parse::<u32>().unwrap())
        }
        "DateGreaterThanEquals" => any(&|value, found| at(found) >= at(value)),
        "ArnLike" => any(&arn_like),
        "ArnNotLike" => !any(&arn_like),
        other => panic!("unknown operator {other}"),
    }
}
