//! Whether the pattern of an EventBridge rule passes the guard's events.
//!
//! Semantics: EventBridge user guide, *Amazon EventBridge event patterns* and *Comparison operators*.

use serde_json::{Map, Value, json};

use super::stack::FunctionArn;
use key_guard_core::cloudtrail::{self, CREDENTIAL_CALLS, DETAIL_TYPES, USER_CALLS};

/// An event of the guard's: what all events of its kind have in common, and nothing else. A pattern that asks
/// for a field that is not here leaves some of them out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The API call.
    pub name: &'static str,
    /// Whether keys are missed without it; otherwise what is missed is another way in for the user of a key.
    pub of_a_key: bool,
    event: Value,
}

/// The events that have to pass. Where the guard acts in other accounts, too, they may be of any account. In China, they may
/// have the detail type that the documentation prints there.
#[must_use]
pub fn samples(function: &FunctionArn, other_accounts: bool) -> Vec<Sample> {
    let types = if function.partition == "aws-cn" { &DETAIL_TYPES[..] } else { &DETAIL_TYPES[..1] };
    let of_type = |detail_type: &&'static str| {
        let sample = |of_a_key, name| sample(function, other_accounts, (detail_type, name), of_a_key);
        let writes = CREDENTIAL_CALLS.map(|name| sample(true, name));
        writes.into_iter().chain(USER_CALLS.map(|name| sample(false, name))).collect::<Vec<_>>()
    };
    types.iter().flat_map(of_type).collect()
}

/// A call, with the detail type of its event.
fn sample(
    function: &FunctionArn,
    other_accounts: bool,
    (detail_type, name): (&str, &'static str),
    of_a_key: bool,
) -> Sample {
    let wanted = cloudtrail::pattern();
    let only = |pointer: &str| wanted.pointer(pointer).cloned().unwrap_or_default();
    let mut event = json!({
        "source": only("/source/0"),
        "detail-type": detail_type,
        "region": function.region,
        "detail": {
            "eventSource": only("/detail/eventSource/0"),
            "eventName": name,
            "eventType": "AwsApiCall",
            "eventCategory": "Management",
            "managementEvent": true,
            "readOnly": false,
            "awsRegion": function.region,
        },
    });
    if !other_accounts && let Some(fields) = event.as_object_mut() {
        fields.insert("account".to_owned(), json!(function.account));
    }
    Sample { name, of_a_key, event }
}

/// Whether a pattern passes every event that a sample stands for.
///
/// # Errors
/// What of the pattern leaves some of them out.
pub fn passes(pattern: &Value, sample: &Sample) -> Result<(), String> {
    let Value::Object(fields) = pattern else { return Err("it is not an object".to_owned()) };
    object(fields, &sample.event, "")
}

fn object(pattern: &Map<String, Value>, event: &Value, path: &str) -> Result<(), String> {
    for (field, matchers) in pattern {
        if field == "$or" {
            let alternatives = matchers.as_array().map(Vec::as_slice).unwrap_or_default();
            either(alternatives, event, path)?;
            continue;
        }
        let path = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
        match (matchers, event.get(field)) {
            (Value::Object(fields), Some(inner)) => object(fields, inner, &path)?,
            (Value::Array(matchers), Some(value)) => {
                if !matchers.iter().any(|matcher| admits(matcher, value) == Some(true)) {
                    return Err(format!("{path} does not admit {value}"));
                }
            }
            _ => return Err(format!("it filters on {path}")),
        }
    }
    Ok(())
}

/// `$or`: a list of patterns. One has to pass.
fn either(alternatives: &[Value], event: &Value, path: &str) -> Result<(), String> {
    let mut whys = Vec::new();
    for alternative in alternatives {
        let Value::Object(fields) = alternative else { continue };
        match object(fields, event, path) {
            Ok(()) => return Ok(()),
            Err(why) if whys.contains(&why) => {}
            Err(why) => whys.push(why),
        }
    }
    Err(if whys.is_empty() { "its $or is empty".to_owned() } else { whys.join(", and ") })
}

/// Whether one matcher of a list admits a value; `None`: it is not understood here.
fn admits(matcher: &Value, value: &Value) -> Option<bool> {
    let Value::Object(operator) = matcher else { return Some(matcher == value) };
    let [(name, operand)] = operator.iter().collect::<Vec<_>>()[..] else { return None };
    match name.as_str() {
        "prefix" => holds(|text, start| text.starts_with(start), value, operand),
        "suffix" => holds(|text, end| text.ends_with(end), value, operand),
        "equals-ignore-case" => holds(str::eq_ignore_ascii_case, value, operand),
        "wildcard" => holds(|text, pattern| wildcard(pattern, text), value, operand),
        "exists" => operand.as_bool(),
        "anything-but" => match operand {
            Value::Object(_) => admits(operand, value).map(|admitted| !admitted),
            Value::Array(values) => Some(!values.contains(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(operand != value),
        },
        _ => None,
    }
}

/// A test of two texts: the operand may be a list, and may ask for letters of either case.
fn holds(test: fn(&str, &str) -> bool, value: &Value, operand: &Value) -> Option<bool> {
    let value_text = value.as_str()?;
    match operand {
        Value::String(operand) => Some(test(value_text, operand)),
        Value::Array(operands) => {
            let held: Option<Vec<bool>> =
                operands.iter().map(|operand| holds(test, value, operand)).collect();
            held.map(|held| held.contains(&true))
        }
        Value::Object(folded) => {
            let operand = folded.get("equals-ignore-case").and_then(Value::as_str)?;
            Some(test(&value_text.to_lowercase(), &operand.to_lowercase()))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// `*` is any text. The wildcards of EventBridge's patterns, and of ARNs in IAM policies as far as they are
/// needed here.
pub(super) fn wildcard(pattern: &str, text: &str) -> bool {
    let Some((start, mut rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    while let Some((part, after)) = rest.split_once('*') {
        let Some(at) = text.find(part) else { return false };
        (_, text) = text.split_at(at + part.len());
        rest = after;
    }
    text.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:lambda:us-east-1:111122223333:function:guard";

    fn left_out_of(arn: &str, pattern: &Value, other_accounts: bool) -> Vec<String> {
        let samples = samples(&arn.parse().unwrap(), other_accounts);
        samples.iter().filter_map(|sample| passes(pattern, sample).err()).collect()
    }

    fn left_out(pattern: &Value, other_accounts: bool) -> Vec<String> {
        left_out_of(ARN, pattern, other_accounts)
    }

    #[test]
    fn another_call_does_not_pass() {
        for name in ["CreateUser", "DeleteAccessKey", "AttachRolePolicy", "ListServiceSpecificCredentials"] {
            let sample = sample(&ARN.parse().unwrap(), false, (DETAIL_TYPES[0], name), false);
            assert!(passes(&cloudtrail::pattern(), &sample).is_err(), "{name}");
        }
    }

    #[test]
    fn what_is_wanted_and_what_is_wider_passes() {
        let wildcard = json!({"detail": {"eventName": [{"wildcard": "*ServiceSpecific*dential"}]}});
        for pattern in [
            cloudtrail::pattern(),
            json!({"source": ["aws.iam"]}),
            json!({"$or": [wildcard, {"detail": {"eventName": USER_CALLS}}]}),
            json!({"$or": [wildcard, {"detail": {"eventName": [
                {"prefix": "Create"}, {"suffix": "LoginProfile"}, {"suffix": "UserPolicy"}, {"prefix": "Add"},
            ]}}]}),
            json!({"source": [{"prefix": "aws."}], "detail": {"eventName": [{"prefix": "C"}, {"anything-but": "x"}]}}),
            json!({"source": [{"anything-but": ["aws.s3", "aws.ec2"]}], "account": ["111122223333"]}),
            json!({"region": ["us-east-1"], "detail": {"eventName": [{"exists": true}], "readOnly": [false]}}),
            json!({"$or": [{"detail": {"errorCode": ["x"]}}, {"source": [{"equals-ignore-case": "AWS.IAM"}]}]}),
        ] {
            assert_eq!(left_out(&pattern, false), Vec::<String>::new(), "{pattern}");
        }
    }

    #[test]
    fn what_is_narrower_says_where() {
        for (pattern, events, why) in [
            (json!({"detail": {"eventName": ["CreateServiceSpecificCredential"]}}), 9, "detail.eventName"),
            (json!({"source": ["aws.s3"]}), 10, r#"source does not admit "aws.iam""#),
            (
                json!({"detail": {"requestParameters": {"serviceName": ["bedrock.amazonaws.com"]}}}),
                10,
                "it filters on detail.requestParameters",
            ),
            (json!({"detail": {"errorCode": [{"exists": false}]}}), 10, "it filters on detail.errorCode"),
            (json!({"account": ["444455556666"]}), 10, "account"),
            (json!({"detail": {"eventName": [{"anything-but": {"prefix": "Reset"}}]}}), 1, "Reset"),
            (
                json!({"detail": {"eventName": [{"anything-but": "DeleteServiceSpecificCredential"}]}}),
                1,
                "Delete",
            ),
            (json!({"source": [{"numeric": [">", 0]}]}), 10, "source"),
            (json!({"source": [{"anything-but": {"prefix": ["x", "aws."]}}]}), 10, "source"),
            (json!({"source": [{"anything-but": {"what": "x"}}]}), 10, "source"),
            (
                json!({"$or": [{"account": ["444455556666"]}, {"detail": {"errorCode": ["x"]}}]}),
                10,
                "account",
            ),
            (json!({"detail": {"eventName": CREDENTIAL_CALLS}}), 6, "CreateAccessKey"),
            (
                json!({"detail": {"eventName": [CREDENTIAL_CALLS[0], {"anything-but": "AddUserToGroup"}]}}),
                1,
                "AddUserToGroup",
            ),
            (json!([]), 10, "not an object"),
        ] {
            let left_out = left_out(&pattern, false);
            assert_eq!(left_out.len(), events, "{pattern}");
            assert!(left_out[0].contains(why), "{pattern}: {left_out:?}");
        }
    }

    #[test]
    fn in_china_both_detail_types_have_to_pass() {
        let china = "arn:aws-cn:lambda:cn-north-1:111122223333:function:guard";
        assert_eq!(left_out_of(china, &cloudtrail::pattern(), false), Vec::<String>::new());
        for (only, missing) in
            [DETAIL_TYPES, [DETAIL_TYPES[1], DETAIL_TYPES[0]]].map(|[one, other]| (one, other))
        {
            let left_out = left_out_of(china, &json!({"detail-type": [only]}), false);
            assert_eq!(left_out, vec![format!("detail-type does not admit \"{missing}\""); 10]);
        }
        assert_eq!(left_out(&json!({"detail-type": [DETAIL_TYPES[0]]}), false), Vec::<String>::new());
    }

    #[test]
    fn a_filter_on_the_own_account_is_narrower_where_others_are_guarded_too() {
        let pattern = json!({"source": ["aws.iam"], "account": ["111122223333"]});
        assert_eq!(left_out(&pattern, false).len(), 0);
        assert_eq!(left_out(&pattern, true), vec!["it filters on account"; 10]);
    }

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("ab*ba", "aba", false),
            ("abc", "abcd", false),
            ("*x", "xy", false),
        ] {
            assert_eq!(wildcard(pattern, text), expected, "{pattern} {text}");
        }
    }
}
