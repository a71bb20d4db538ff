//! Whether a function's resource-based policy lets EventBridge invoke it.
//!
//! EventBridge user guide, *Using resource-based policies for Amazon EventBridge*.

use serde_json::Value;

use super::pattern::wildcard;

/// Whether a function's policy lets EventBridge invoke it for a rule.
pub(super) fn permits(policy: &Value, rule: &str, account: &str) -> bool {
    let statements = policy.get("Statement").map_or(&[][..], list);
    statements.iter().any(|statement| {
        let field = |name: &str| statement.get(name);
        let service = field("Principal").map_or(&[][..], |principal| {
            list(principal.get("Service").or_else(|| principal.get("AWS")).unwrap_or(principal))
        });
        field("Effect").and_then(Value::as_str) == Some("Allow")
            && texts(service).any(|service| service == "events.amazonaws.com" || service == "*")
            && field("Action").is_some_and(|actions| {
                texts(list(actions)).any(|action| wildcard(&action.to_lowercase(), "lambda:invokefunction"))
            })
            && field("Condition").is_none_or(|condition| holds(condition, rule, account))
    })
}

/// Whether a condition on where the call comes from holds; conditions on anything else do not.
fn holds(condition: &Value, rule: &str, account: &str) -> bool {
    let Some(operators) = condition.as_object() else { return false };
    operators.iter().all(|(operator, conditions)| {
        let equals = ["ArnEquals", "ArnLike", "StringEquals", "StringEqualsIgnoreCase", "StringLike"];
        equals.contains(&operator.trim_end_matches("IfExists"))
            && conditions.as_object().into_iter().flatten().all(|(key, values)| {
                let mut values = texts(list(values));
                match key.to_lowercase().as_str() {
                    "aws:sourcearn" => values.any(|value| wildcard(value, rule)),
                    "aws:sourceaccount" => values.any(|value| value == account),
                    _ => false,
                }
            })
    })
}

/// One value or a list of them, as IAM policies have it.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice)
}

fn texts(values: &[Value]) -> impl Iterator<Item = &str> {
    values.iter().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RULE: &str = "arn:aws:events:us-east-1:111122223333:rule/guard";

    fn policy(principal: &Value, action: &Value, condition: Option<Value>) -> Value {
        let mut statement = json!({"Effect": "Allow", "Principal": principal, "Action": action});
        if let Some(condition) = condition {
            statement["Condition"] = condition;
        }
        json!({"Statement": [{"Effect": "Deny"}, statement]})
    }

    #[test]
    fn statements_that_let_eventbridge_in() {
        let events = json!({"Service": "events.amazonaws.com"});
        let invoke = json!("lambda:InvokeFunction");
        for policy in [
            policy(&events, &invoke, None),
            policy(
                &json!({"Service": ["s3.amazonaws.com", "events.amazonaws.com"]}),
                &json!(["lambda:*"]),
                None,
            ),
            policy(&json!("*"), &json!("LAMBDA:Invoke*"), None),
            policy(&events, &invoke, Some(json!({"ArnEquals": {"aws:SourceArn": RULE}}))),
            policy(
                &events,
                &invoke,
                Some(json!({"ArnLike": {"AWS:SourceArn": ["x", "arn:aws:events:*:*:rule/g*"]}})),
            ),
            policy(&events, &invoke, Some(json!({"StringEquals": {"AWS:SourceAccount": "111122223333"}}))),
            json!({"Statement": {"Effect": "Allow", "Principal": events, "Action": invoke}}),
        ] {
            assert!(permits(&policy, RULE, "111122223333"), "{policy}");
        }
    }

    #[test]
    fn statements_that_do_not() {
        let events = json!({"Service": "events.amazonaws.com"});
        let invoke = json!("lambda:InvokeFunction");
        for policy in [
            json!({}),
            json!(null),
            policy(&json!({"Service": "s3.amazonaws.com"}), &invoke, None),
            policy(&events, &json!("lambda:GetFunction"), None),
            policy(
                &events,
                &invoke,
                Some(json!({"ArnLike": {"AWS:SourceArn": "arn:aws:events:*:*:rule/other"}})),
            ),
            policy(&events, &invoke, Some(json!({"ArnNotLike": {"AWS:SourceArn": RULE}}))),
            policy(&events, &invoke, Some(json!({"StringEquals": {"AWS:SourceAccount": "444455556666"}}))),
            policy(&events, &invoke, Some(json!({"StringEquals": {"aws:PrincipalOrgID": "o-x"}}))),
        ] {
            assert!(!permits(&policy, RULE, "111122223333"), "{policy}");
        }
    }
}
