//! A call with a bearer token: the use of an API key.
//!
//! Bedrock writes `callWithBearerToken` under `additionalEventData` (real records of `InvokeModel`, published by
//! `BeyondTrust`, *The AWS Bedrock API Keys Security Guide Part 2*). Bedrock Mantle writes it under `requestParameters`, with
//! `bearerTokenType` where it applies (Amazon Bedrock user guide, *Monitor bedrock-mantle API calls using CloudTrail*), and so
//! does Claude Platform on AWS (a real record of `ListWorkspaces`). The identity is the IAM user that owns the key, never the
//! key. A short-term key has the identity of the session that it was made from.
//!
//! Nothing but the fields below is read. Request bodies, prompts and the customer's `metadata` never are.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::event::Unreadable;
use super::json::repeated;
use super::provenance::event_time;
use super::record::{describe, first_present, is_null, lenient, needed, require, text, with_objects};
use super::unwrap::{Target, hidden_call};
use crate::key::{AccountId, EventId, UserName};
use crate::text::sanitize_field;
use crate::time::Time;

const IDENTITY_TYPE: &str = "userIdentity.type";
/// The types of identities that are no IAM user (CloudTrail user guide, *CloudTrail userIdentity element*). `Unknown` is not
/// among them: it may be a user.
const OTHER_IDENTITIES: [&str; 10] = [
    "Root",
    "AssumedRole",
    "Role",
    "FederatedUser",
    "Directory",
    "AWSAccount",
    "AWSService",
    "IdentityCenterUser",
    "SAMLUser",
    "WebIdentityUser",
];

/// What the record of a call with a bearer token contains, letter for letter.
pub const BEARER_TOKEN_MARKER: &str = "callWithBearerToken";

/// A call with a bearer token. Free text is in the form of [`sanitize_field`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BearerCall {
    /// CloudTrail's `eventID`.
    pub event_id: EventId,
    /// The account of the caller.
    pub account: AccountId,
    /// Who called.
    pub caller: BearerCaller,
    /// CloudTrail's `eventTime`.
    pub time: Time,
    /// `eventSource`: `bedrock.amazonaws.com`, `bedrock-mantle.amazonaws.com`, …
    pub service: String,
    /// `eventName`: `InvokeModel`, `Converse`, …
    pub operation: String,
    /// The id of the model, where the call names one. Of an ARN, what [`model_id`] leaves.
    pub model: Option<String>,
    /// `awsRegion`.
    pub region: Option<String>,
    /// `sourceIPAddress`: an address, or the name of an AWS service.
    pub source_ip: Option<String>,
    /// `userAgent`.
    pub user_agent: Option<String>,
    /// `errorCode`, where the call failed.
    pub error_code: Option<String>,
}

/// Who called with a bearer token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BearerCaller {
    /// An IAM user. Long-term keys belong to IAM users.
    User(UserName),
    /// A session of a role, or anybody else; or the call says that its key was a short-term one.
    Other,
}

/// Reads a call with a bearer token: a CloudTrail record, alone or in EventBridge's envelope. `None`: it is another event.
///
/// # Errors
/// [`Unreadable`] when it is such a call, and a needed field is missing or impossible. Also when it is another event, and the
/// record of such a call is in it: nobody knows who has put it there.
pub fn parse_bearer_call(event: &Value) -> Result<Option<BearerCall>, Unreadable> {
    match read_bearer_call(event)? {
        None => hidden_call(event, Target::BearerCalls).map_or(Ok(None), Err),
        call => Ok(call),
    }
}

/// Whether a record says that there was a bearer token, or cannot be read where it would say so.
pub(super) fn may_be_bearer_call(record: &Value) -> bool {
    !matches!(read_bearer_call(record), Ok(None))
}

fn read_bearer_call(event: &Value) -> Result<Option<BearerCall>, Unreadable> {
    let record = match (event.get("detail-type"), event.get("detail")) {
        (Some(_), Some(detail)) => detail,
        (Some(_), None) | (None, _) => event,
    };
    let record = &*with_parsed_texts(record)?;
    if !is_marked(record)? {
        // A tool may have made one field of each in an object.
        let flat = record
            .as_object()
            .into_iter()
            .flat_map(Map::keys)
            .find(|name| name.contains(BEARER_TOKEN_MARKER));
        return flat.map_or(Ok(None), |name| {
            Err(Unreadable::new(
                sanitize_field(name),
                "the field in an object of its own",
                "a field of the record",
            ))
        });
    }
    let read = |path| text(record, path).ok().flatten().filter(|text| !text.is_empty()).map(sanitize_field);
    let model = ["requestParameters.modelId", "requestParameters.model"].into_iter().find_map(read);
    Ok(Some(BearerCall {
        // A correction is the same call.
        event_id: needed(
            record,
            first_present(record, "addendum.originalEventID", "eventID")?,
            "a CloudTrail event id",
        )?,
        account: account(record)?,
        caller: caller(record)?,
        time: event_time(record)?,
        service: sanitize_field(require(record, "eventSource", "the service that was called")?),
        operation: sanitize_field(require(record, "eventName", "the API call")?),
        model: model.map(|model| model_id(&model).to_owned()),
        region: read("awsRegion"),
        source_ip: read("sourceIPAddress"),
        user_agent: read("userAgent"),
        error_code: read("errorCode").filter(|code| !is_null(code)),
    }))
}

/// Whether the record says that there was a bearer token. The name may be in any letter case: tools change it.
fn is_marked(record: &Value) -> Result<bool, Unreadable> {
    let mut is_marked = false;
    for parent in ["additionalEventData", "requestParameters"] {
        let unreadable = |value| {
            let path = format!("{parent}.{BEARER_TOKEN_MARKER}");
            Unreadable::new(path, "true or false", describe(value))
        };
        let Some(parent) = record.get(parent) else { continue };
        if repeated(parent).is_some() {
            return Err(unreadable(parent));
        }
        let fields = parent.as_object().into_iter().flatten();
        for (_, value) in fields.filter(|(name, _)| name.eq_ignore_ascii_case(BEARER_TOKEN_MARKER)) {
            is_marked |= mark(value).ok_or_else(|| unreadable(value))?;
        }
    }
    Ok(is_marked)
}

/// What the mark of a bearer token says, however a tool has written it. Tables have a null where a record has no such field.
fn mark(value: &Value) -> Option<bool> {
    let is = |text: &str, words: [&str; 2]| words.iter().any(|word| text.trim().eq_ignore_ascii_case(word));
    match value {
        Value::Null => Some(false),
        Value::Bool(mark) => Some(*mark),
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        Value::String(text) if is(text, ["true", "1"]) => Some(true),
        Value::String(text) if is(text, ["false", "0"]) || is_null(text) => Some(false),
        Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The record with objects in the place of their texts.
fn with_parsed_texts(record: &Value) -> Result<Cow<'_, Value>, Unreadable> {
    let record = with_objects(record);
    for name in ["additionalEventData", "requestParameters", "userIdentity"] {
        let text = record.get(name).and_then(Value::as_str);
        if text.is_some_and(|text| text.contains(BEARER_TOKEN_MARKER)) {
            return Err(Unreadable::new(name, "an object, or JSON of one in a text", "another text"));
        }
    }
    Ok(record)
}

/// That of the caller. The account that got the event may be another one, whose resource was used.
fn account(record: &Value) -> Result<AccountId, Unreadable> {
    text(record, "userIdentity.accountId")?;
    match lenient(record, "userIdentity.accountId") {
        Some(account) => Ok(account),
        None => needed(record, "recipientAccountId", "an AWS account id of 12 digits"),
    }
}

fn caller(record: &Value) -> Result<BearerCaller, Unreadable> {
    const USER_NAME: &str = "userIdentity.userName";
    if is_short_term(record) {
        return Ok(BearerCaller::Other);
    }
    match require(record, IDENTITY_TYPE, "the type of the identity that called")? {
        "IAMUser" => {}
        other if OTHER_IDENTITIES.contains(&other) => return Ok(BearerCaller::Other),
        _ => {
            return Err(Unreadable::new(IDENTITY_TYPE, "a type of identity that is known", "another text"));
        }
    }
    let of_arn = || {
        let arn = text(record, "userIdentity.arn").ok().flatten()?;
        arn.split_once(":user/")?.1.rsplit('/').next()?.parse().ok()
    };
    text(record, USER_NAME)?;
    match lenient(record, USER_NAME).or_else(of_arn) {
        Some(user) => Ok(BearerCaller::User(user)),
        None => needed(record, USER_NAME, "the IAM user that called").map(BearerCaller::User),
    }
}

/// Whether the call says that its key was a short-term one, which an IAM user can make, too. Seen: `SHORT_TERM` (Claude
/// Platform), and `ABSK` for a long-term key (Bedrock Mantle). The condition key of the same name has `LONG_TERM` and
/// `SHORT_TERM` (Amazon Bedrock user guide, *Control permissions for generating and using Amazon Bedrock API keys*). Bedrock
/// itself is not known to say it.
fn is_short_term(record: &Value) -> bool {
    ["requestParameters.bearerTokenType", "additionalEventData.bearerTokenType"]
        .into_iter()
        .filter_map(|path| text(record, path).ok().flatten())
        .any(|kind| kind.eq_ignore_ascii_case("SHORT_TERM") || kind.contains("api-key"))
}

/// The id of a model without what is around it in an ARN: `us.anthropic.claude-…` of
/// `arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.anthropic.claude-…`. What has an id of its own keeps its kind:
/// `application-inference-profile/a1b2c3d4e5f6` (Amazon Bedrock API reference, `InvokeModel`, `modelId`).
#[must_use]
pub fn model_id(model: &str) -> &str {
    let resource = model.strip_prefix("arn:").and_then(|arn| arn.splitn(5, ':').nth(4)).unwrap_or(model);
    let kinds = ["foundation-model/", "inference-profile/"];
    kinds.into_iter().find_map(|kind| resource.strip_prefix(kind)).unwrap_or(resource)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::json::from_json;
    use super::*;

    /// As Bedrock writes it.
    fn invoked() -> Value {
        json!({
            "eventVersion": "1.11",
            "userIdentity": {
                "type": "IAMUser",
                "principalId": "AIDAEXAMPLEEXAMPLE001",
                "arn": "arn:aws:iam::111122223333:user/teams/search/svc-search",
                "accountId": "111122223333",
                "userName": "svc-search",
            },
            "eventTime": "2026-11-20T09:43:06Z",
            "eventSource": "bedrock.amazonaws.com",
            "eventName": "InvokeModel",
            "awsRegion": "eu-central-1",
            "sourceIPAddress": "198.51.100.27",
            "userAgent": "Boto3/1.40.2 md/Botocore#1.40.2",
            "requestParameters": {
                "modelId": "arn:aws:bedrock:eu-central-1:111122223333:inference-profile/eu.anthropic.claude-sonnet-4-6",
                "body": "ABSK a prompt",
            },
            "responseElements": null,
            "additionalEventData": {"callWithBearerToken": true, "inferenceRegion": "eu-west-1", "inputTokens": 12},
            "eventID": "5d1c0017-7b1e-4c3a-9f00-abc000000017",
            "recipientAccountId": "111122223333",
            "eventCategory": "Management",
        })
    }

    /// As Bedrock Mantle and Claude Platform write it.
    fn inferred(token: &str) -> Value {
        let mut record = invoked();
        record["eventSource"] = json!("bedrock-mantle.amazonaws.com");
        record["eventName"] = json!("CreateInference");
        record["requestParameters"] = json!({
            "model": "anthropic.claude-opus-4-7",
            "metadata": {"note": "not ours to read"},
            "callWithBearerToken": true,
            "bearerTokenType": token,
        });
        record["additionalEventData"] = Value::Null;
        record
    }

    fn parsed(record: &Value) -> BearerCall {
        parse_bearer_call(record).unwrap().unwrap()
    }

    fn user(name: &str) -> BearerCaller {
        BearerCaller::User(name.parse().unwrap())
    }

    #[test]
    fn the_use_of_a_bedrock_key_is_read_and_nothing_else_of_it() {
        let call = parsed(&invoked());
        let expected = BearerCall {
            event_id: "5d1c0017-7b1e-4c3a-9f00-abc000000017".parse().unwrap(),
            account: "111122223333".parse().unwrap(),
            caller: user("svc-search"),
            time: "2026-11-20T09:43:06Z".parse().unwrap(),
            service: "bedrock.amazonaws.com".to_owned(),
            operation: "InvokeModel".to_owned(),
            model: Some("eu.anthropic.claude-sonnet-4-6".to_owned()),
            region: Some("eu-central-1".to_owned()),
            source_ip: Some("198.51.100.27".to_owned()),
            user_agent: Some("Boto3/1.40.2 md/Botocore#1.40.2".to_owned()),
            error_code: None,
        };
        assert_eq!(call, expected);
        let envelope = json!({
            "source": "aws.bedrock", "detail-type": "AWS API Call via CloudTrail", "detail": invoked(),
        });
        assert_eq!(parsed(&envelope), expected);
    }

    #[test]
    fn objects_may_be_json_in_a_text() {
        for (record, name) in [(invoked(), "additionalEventData"), (inferred("ABSK"), "requestParameters")] {
            let mut texts = record.clone();
            for name in [name, "userIdentity"] {
                texts[name] = json!(texts[name].to_string());
            }
            assert_eq!(parsed(&texts), parsed(&record), "{name}");
            texts[name] = json!("{callWithBearerToken=true, inputTokens=12}");
            let why = parse_bearer_call(&texts).unwrap_err().to_string();
            assert!(why.starts_with(&format!("field {name}: expected an object")), "{why}");
            texts[name] = json!("something else");
            assert_eq!(parse_bearer_call(&texts), Ok(None));
        }
    }

    #[test]
    fn the_use_of_a_mantle_or_claude_platform_key_is_read() {
        for token in ["ABSK", "LONG_TERM", "AEAA"] {
            let call = parsed(&inferred(token));
            assert_eq!(call.caller, user("svc-search"), "{token}");
            assert_eq!(call.model.as_deref(), Some("anthropic.claude-opus-4-7"));
            assert!(!format!("{call:?}").contains("not ours"));
        }
    }

    #[test]
    fn short_term_keys_are_not_those_of_the_user() {
        for token in ["SHORT_TERM", "short_term", "bedrock-api-key"] {
            assert_eq!(parsed(&inferred(token)).caller, BearerCaller::Other, "{token}");
        }
        for kind in OTHER_IDENTITIES {
            let mut record = invoked();
            record["userIdentity"]["type"] = json!(kind);
            assert_eq!(parsed(&record).caller, BearerCaller::Other);
        }
    }

    /// It may be the user whose key looks unused without this call.
    #[test]
    fn a_call_of_an_identity_that_cannot_be_read_is_unreadable() {
        let mut whole = invoked();
        for kind in [json!("Unknown"), json!("iamuser"), json!(""), json!("Person")] {
            whole["userIdentity"]["type"] = kind.clone();
            let why = parse_bearer_call(&whole).unwrap_err().to_string();
            let expected =
                "field userIdentity.type: expected a type of identity that is known, found another text";
            assert_eq!(why, expected, "{kind}");
        }
        for identity in [Value::Null, json!({}), json!({"userName": "svc-search"}), json!({"type": null})] {
            let mut record = invoked();
            record["userIdentity"] = identity;
            let why = parse_bearer_call(&record).unwrap_err().to_string();
            let expected =
                "field userIdentity.type: expected the type of the identity that called, found nothing";
            assert_eq!(why, expected);
        }
        let mut short = inferred("SHORT_TERM");
        short["userIdentity"]["type"] = Value::Null;
        assert_eq!(parsed(&short).caller, BearerCaller::Other, "the call says what its key was");
    }

    #[test]
    fn whether_a_token_was_used_is_not_guessed() {
        let text = invoked().to_string();
        let read = |text: &str| parse_bearer_call(&from_json(text.as_bytes()).unwrap());
        assert_eq!(read(&text), Ok(Some(parsed(&invoked()))));
        for (field, twice) in [
            ("\"callWithBearerToken\":true", "\"callWithBearerToken\":true,\"callWithBearerToken\":false"),
            ("\"additionalEventData\"", "\"additionalEventData\":{},\"additionalEventData\""),
        ] {
            let text = text.replace(field, twice);
            let why = read(&text).unwrap_err().to_string();
            assert_eq!(
                why,
                "field additionalEventData.callWithBearerToken: expected true or false, found more than one field of \
                 this name"
            );
        }
        let user = text.replace("\"userName\":", "\"userName\":\"a\",\"userName\":");
        let why = read(&user).unwrap_err().to_string();
        assert!(why.starts_with("field userIdentity.userName: expected"), "{why}");
    }

    /// A tool may have rewritten it: a key whose use is taken for none looks safe to delete.
    #[test]
    fn a_mark_is_read_however_it_is_written_or_is_unreadable() {
        for parent in ["additionalEventData", "requestParameters"] {
            let read = |name: &str, mark: Value| {
                let mut record = inferred("ABSK");
                record["requestParameters"] = json!({"model": "anthropic.claude-opus-4-7"});
                record[parent][name] = mark;
                parse_bearer_call(&record)
            };
            let whole = read("callWithBearerToken", json!(true)).unwrap().unwrap();
            for mark in [json!("true"), json!("True"), json!(" TRUE "), json!(1), json!(1.0), json!("1")] {
                assert_eq!(read("callWithBearerToken", mark.clone()), Ok(Some(whole.clone())), "{mark}");
                assert_eq!(read("CallWithBearerToken", mark.clone()), Ok(Some(whole.clone())), "{mark}");
            }
            for (mark, found) in [
                (json!("yes"), "a text of 3 characters"),
                (json!(2), "a number"),
                (json!([true]), "a list of 1"),
                (json!({"is": true}), "an object"),
            ] {
                for name in ["callWithBearerToken", "callwithbearertoken"] {
                    let why = read(name, mark.clone()).unwrap_err().to_string();
                    let expected =
                        format!("field {parent}.callWithBearerToken: expected true or false, found {found}");
                    assert_eq!(why, expected);
                }
            }
        }
    }

    #[test]
    fn other_events_are_none() {
        for flag in [json!(false), json!("False"), json!(0), json!("0"), Value::Null, json!("None")] {
            let mut record = invoked();
            record["additionalEventData"]["callWithBearerToken"] = flag;
            assert_eq!(parse_bearer_call(&record), Ok(None), "{record}");
        }
        for other in [json!({"eventName": "callWithBearerToken"}), json!([]), Value::Null] {
            assert_eq!(parse_bearer_call(&other), Ok(None));
        }
    }

    #[test]
    fn a_call_that_is_hidden_in_another_event_is_unreadable() {
        let outer = |inner: Value| {
            let mut record = invoked();
            record["additionalEventData"] = Value::Null;
            record["requestParameters"] = json!({"entries": [{"detail": inner}]});
            record
        };
        for inner in [
            invoked(),
            inferred("ABSK"),
            json!(invoked().to_string()),
            json!({"message": json!(invoked().to_string()).to_string()}),
        ] {
            for event in [
                outer(inner.clone()),
                json!({"source": "aws.s3", "detail-type": "AWS API Call via CloudTrail", "detail": outer(inner.clone())}),
            ] {
                let why = parse_bearer_call(&event).unwrap_err().to_string();
                assert!(
                    why.ends_with("found a record of a call with a bearer token inside something else"),
                    "{why}"
                );
                assert!(!why.contains("prompt"), "{why}");
            }
        }
        let query = "{ $.additionalEventData.callWithBearerToken IS TRUE }";
        let pattern =
            json!({"additionalEventData": {"callWithBearerToken": true}, "eventName": "InvokeModel"});
        let mut without_token = invoked();
        without_token["additionalEventData"] = Value::Null;
        for inner in [json!(query), pattern, without_token, json!("callWithBearerToken")] {
            assert_eq!(parse_bearer_call(&outer(inner.clone())), Ok(None), "{inner}");
        }
    }

    #[test]
    fn what_is_missing_is_named_or_found_elsewhere() {
        let without = |path: &str| {
            let mut record = invoked();
            *record.pointer_mut(path).unwrap() = Value::Null;
            parse_bearer_call(&record).map(Option::unwrap).map_err(|why| why.to_string())
        };
        assert_eq!(without("/userIdentity/userName").unwrap().caller, user("svc-search"), "from the ARN");
        assert_eq!(without("/userIdentity/accountId").unwrap().account.as_str(), "111122223333");
        assert_eq!(without("/requestParameters").unwrap().model, None, "a denied call has none");
        let mut shared = invoked();
        shared["recipientAccountId"] = json!("444455556666");
        assert_eq!(parsed(&shared), parsed(&invoked()), "the owner of the resource gets the event, too");
        for path in ["/eventID", "/eventTime", "/eventSource", "/eventName"] {
            assert!(without(path).unwrap_err().contains(&path[1..]), "{path}");
        }
        let mut nobody = invoked();
        nobody["userIdentity"] = json!({"type": "IAMUser"});
        let why = parse_bearer_call(&nobody).unwrap_err().to_string();
        assert_eq!(why, "field userIdentity.userName: expected the IAM user that called, found nothing");
    }

    #[test]
    fn texts_are_fit_to_be_printed() {
        let mut record = invoked();
        record["userAgent"] = json!("curl/8 ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl\u{1b}[31m");
        record["requestParameters"]["modelId"] = json!("a\nb");
        record["errorCode"] = json!("AccessDenied\u{202e}");
        let call = parsed(&record);
        assert_eq!(call.user_agent.as_deref(), Some("curl/8 ABSK(redacted)\u{fffd}[31m"));
        assert_eq!(call.model.as_deref(), Some("a\u{fffd}b"));
        assert_eq!(call.error_code.as_deref(), Some("AccessDenied\u{fffd}"));
    }

    #[test]
    fn models_are_named_by_their_ids() {
        for (model, id) in [
            ("anthropic.claude-3-sonnet-20240229-v1:0", "anthropic.claude-3-sonnet-20240229-v1:0"),
            (
                "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-sonnet-20240229-v1:0",
                "anthropic.claude-3-sonnet-20240229-v1:0",
            ),
            (
                "arn:aws-us-gov:bedrock:us-gov-west-1:111122223333:inference-profile/us-gov.anthropic.claude-v2",
                "us-gov.anthropic.claude-v2",
            ),
            (
                "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1b2c3d4e5f6",
                "application-inference-profile/a1b2c3d4e5f6",
            ),
            ("arn:odd", "arn:odd"),
            ("", ""),
        ] {
            assert_eq!(model_id(model), id);
        }
    }
}
