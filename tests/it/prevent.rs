//! Documents for AWS against [`Policy::assess`], through an evaluator for the part of IAM's language that they
//! use. `.ci/scp` asks an evaluator that is not ours.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use bedrock_key_guard::prevent::{
    BreakGlass, Document, Gap, Kind, MANAGED_POLICY_MAX_CHARACTERS, Options, PreventError,
    SCP_MAX_CHARACTERS, actions, document,
};
use chrono::{DateTime, Utc};
use key_guard_core::cloudtrail;
use key_guard_core::evidence::{EventEvidence, ExpirationEvidence, Reading};
use key_guard_core::key::{KeyFacts, KeyRef};
use key_guard_core::policy::{Policy, Response, Scope, Verdict};
use proptest::prelude::*;
use serde_json::{Value, json};

const CREATE: &str = "iam:CreateServiceSpecificCredential";
const ONE: &str = "111122223333";
const OTHER: &str = "444455556666";

fn at(time: &str) -> DateTime<Utc> {
    time.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    at("2026-11-20T09:00:00Z")
}

fn parse(text: &str) -> Policy {
    Policy::parse(text, Path::new("policy.toml")).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn policy(limit: u32, rest: &str) -> Policy {
    parse(&format!(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = {limit}\nresponse = \"delete\"\n{rest}"
    ))
}

fn scp_with(policy: &Policy, options: &Options) -> Document {
    document(Kind::ServiceControlPolicy, policy, options, now()).unwrap()
}

fn plain() -> Options {
    Options { plain_users: true, ..Options::default() }
}

fn json(document: &Document) -> Value {
    serde_json::from_str(&document.text).unwrap()
}

/// A call.
#[derive(Debug, Clone)]
struct Call {
    action: &'static str,
    account: String,
    /// With its path, as in its ARN.
    user: String,
    service: String,
    age_days: Option<u32>,
    time: DateTime<Utc>,
    principal: String,
}

impl Call {
    fn make(account: &str, user: &str, age_days: impl Into<Option<u32>>) -> Self {
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

    fn r#use(action: &'static str, account: &str, user: &str) -> Self {
        Self {
            action,
            principal: format!("arn:aws:iam::{account}:user/{user}"),
            ..Self::make(account, user, None)
        }
    }

    fn of(self, service: &str) -> Self {
        Self { service: service.to_owned(), ..self }
    }

    fn at(self, time: &str) -> Self {
        Self { time: at(time), ..self }
    }

    fn by(self, principal: &str) -> Self {
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

fn texts(value: &Value) -> Vec<&str> {
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
fn arn_like(pattern: &str, arn: &str) -> bool {
    let (pattern, arn): (Vec<_>, Vec<_>) = (pattern.splitn(6, ':').collect(), arn.splitn(6, ':').collect());
    pattern.len() == arn.len()
        && pattern.iter().zip(&arn).all(|(pattern, part)| glob(pattern.as_bytes(), part.as_bytes()))
}

fn denies(document: &Value, call: &Call) -> bool {
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

/// What the policy file says of the key that the call would make: noncompliant, and not only to be reported.
fn forbids(policy: &Policy, call: &Call) -> bool {
    let key = KeyFacts {
        key: KeyRef { account: call.account.parse().unwrap(), id: "ACCAEXAMPLEKEY0000001".parse().unwrap() },
        user: call.user.rsplit('/').next().unwrap().parse().unwrap(),
        other_names: BTreeSet::new(),
        service: call.service.parse().unwrap(),
        created_at: call.time,
    };
    let evidence = ExpirationEvidence::from(EventEvidence {
        created_at: Reading::Read(call.time),
        event_time: call.time,
        response: Reading::Missing,
        request: call.age_days.map_or(Reading::Missing, Reading::Read),
        request_present: true,
    });
    match policy.assess(&key, &evidence, call.time) {
        Scope::OutOfScope => false,
        Scope::InScope(judgement) => {
            judgement.verdict() == Verdict::Noncompliant && judgement.response > Response::Monitor
        }
    }
}

#[track_caller]
fn check(document: &Document, calls: &[(Call, bool)]) {
    let document = json(document);
    for (call, denied) in calls {
        assert_eq!(denies(&document, call), *denied, "{call:?}\n{document:#}");
    }
}

#[test]
fn a_key_without_an_age_is_denied_like_one_over_the_limit() {
    let document = scp_with(&Policy::built_in().unwrap(), &Options::default());
    let make = |age| Call::make(ONE, "svc", age);
    check(
        &document,
        &[
            (make(None), true),
            (make(Some(1)), false),
            (make(Some(89)), false),
            (make(Some(90)), false),
            (make(Some(91)), true),
            (make(Some(36_600)), true),
            (make(None).of("Bedrock.AmazonAWS.com"), true),
            (make(None).of("logs.amazonaws.com"), false),
            (make(None).of("codecommit.amazonaws.com"), false),
        ],
    );
    assert_eq!(document.gaps, [], "all is said");
    assert_eq!(document.denials, 2);
}

#[test]
fn the_usual_single_statement_lets_the_key_pass_that_never_expires() {
    let usual = json!({"Statement": [{
        "Effect": "Deny",
        "Action": CREATE,
        "Resource": "*",
        "Condition": {
            "StringEquals": {"iam:ServiceSpecificCredentialServiceName": "bedrock.amazonaws.com"},
            "NumericGreaterThan": {"iam:ServiceSpecificCredentialAgeDays": "90"},
        },
    }]});
    assert!(denies(&usual, &Call::make(ONE, "svc", 91)));
    assert!(!denies(&usual, &Call::make(ONE, "svc", None)), "the hole");
}

#[test]
fn a_star_denies_keys_of_every_service_and_no_password() {
    let policy = parse(
        "[default]\nservices = \"*\"\nmax_lifetime_days = 90\nresponse = \"delete\"\n\
         [[override]]\nservices = [\"logs.amazonaws.com\", \"some-new.amazonaws.com\"]\nmax_lifetime_days = 365\n",
    );
    let document = scp_with(&policy, &Options::default());
    let make = |age: Option<u32>, service: &str| Call::make(ONE, "svc", age).of(service);
    for service in ["bedrock.amazonaws.com", "XRay.amazonaws.com", "added-later.amazonaws.com"] {
        check(
            &document,
            &[(make(None, service), true), (make(Some(91), service), true), (make(Some(90), service), false)],
        );
    }
    for service in ["logs.amazonaws.com", "some-new.amazonaws.com"] {
        check(
            &document,
            &[
                (make(None, service), true),
                (make(Some(366), service), true),
                (make(Some(365), service), false),
            ],
        );
    }
    for service in ["codecommit.amazonaws.com", "Cassandra.amazonaws.com"] {
        check(&document, &[(make(None, service), false), (make(Some(36_600), service), false)]);
    }
    assert_eq!(document.gaps, [], "all is said");
    assert!(!document.not_covered.iter().any(|line| line.contains("does not judge")));
    for service in ["bedrock", "logs", "some-new", "added-later", "codecommit"] {
        for age in [None, Some(90), Some(91), Some(366)] {
            let call = make(age, &format!("{service}.amazonaws.com"));
            assert_eq!(denies(&json(&document), &call), forbids(&policy, &call), "{call:?}");
        }
    }
}

#[test]
fn a_limit_of_zero_denies_every_key_in_one_statement() {
    let document = scp_with(&policy(0, ""), &Options::default());
    let make = |age| Call::make(ONE, "svc", age);
    check(&document, &[(make(None), true), (make(Some(1)), true), (make(Some(36_600)), true)]);
    assert_eq!(document.denials, 1);
    assert!(!document.text.contains("AgeDays"));
}

#[test]
fn the_largest_limit_denies_the_absent_age_only() {
    let document = scp_with(&policy(36_600, ""), &Options::default());
    check(&document, &[(Call::make(ONE, "svc", None), true), (Call::make(ONE, "svc", 36_600), false)]);
    assert_eq!(document.denials, 1);
}

#[test]
fn accounts_have_their_own_limits() {
    let overrides = format!(
        "[[override]]\naccounts = [\"{ONE}\"]\nmax_lifetime_days = 365\n[[override]]\naccounts = [\"{OTHER}\"]\nmax_lifetime_days = 30\n"
    );
    let document = scp_with(&policy(90, &overrides), &Options::default());
    assert_eq!(document.gaps, [], "accounts can be said");
    for (account, limit) in [(ONE, 365), (OTHER, 30), ("777788889999", 90)] {
        let make = |age| Call::make(account, "svc", age);
        check(&document, &[(make(Some(limit)), false), (make(Some(limit + 1)), true), (make(None), true)]);
    }
}

#[test]
fn the_last_override_that_matches_wins() {
    let overrides = format!(
        "[[override]]\naccounts = [\"{ONE}\", \"{OTHER}\"]\nmax_lifetime_days = 0\n[[override]]\naccounts = [\"{OTHER}\"]\nresponse = \"monitor\"\n"
    );
    let document = scp_with(&policy(90, &overrides), &Options::default());
    check(
        &document,
        &[
            (Call::make(ONE, "svc", 1), true),
            (Call::make(OTHER, "svc", 1), false),
            (Call::make(OTHER, "svc", None), false),
            (Call::make("777788889999", "svc", None), true),
            (Call::make("777788889999", "svc", 90), false),
        ],
    );
    assert_eq!(document.gaps, [Gap::Monitored { rule: "override 2".to_owned() }]);
}

#[test]
fn a_policy_that_only_monitors_denies_nothing_and_says_so() {
    let monitor = parse(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"monitor\"\n",
    );
    for kind in [Kind::ServiceControlPolicy, Kind::PermissionBoundary] {
        let error = document(kind, &monitor, &Options::default(), now()).unwrap_err();
        assert!(matches!(&error, PreventError::Nothing(_)), "{error}");
        assert!(error.to_string().contains("[default]: its response is monitor"), "{error}");
    }
}

const VENDOR: &str = "[[exemption]]\naccount = \"111122223333\"\nuser = \"Vendor\"\nreason = \"SEC-1234\"\nuntil = 2027-03-31\n";

#[test]
fn an_exemption_holds_to_the_last_second_of_its_last_day_and_no_longer() {
    let policy = policy(90, VENDOR);
    for options in [Options::default(), plain()] {
        let document = scp_with(&policy, &options);
        let make = |age| Call::make(ONE, "Vendor", age);
        check(
            &document,
            &[
                (make(None), false),
                (make(Some(91)), false),
                (make(None).at("2027-03-31T23:59:59Z"), false),
                (make(None).at("2027-04-01T00:00:00Z"), true),
                (make(Some(91)).at("2027-04-01T00:00:00Z"), true),
                (make(Some(90)).at("2027-04-01T00:00:00Z"), false),
                (Call::make(OTHER, "Vendor", None), true),
                (Call::make(ONE, "Another", None), true),
            ],
        );
        let ended = at("2027-04-01T00:00:00Z");
        let later = document_at(&policy, &options, ended);
        assert_eq!(later.denials, 2, "what has ended is left aside");
    }
}

/// Where nothing but the end of an exemption speaks of a user, a case that differs is noted all the same.
#[test]
fn what_follows_an_exemption_is_for_the_name_as_it_is_written() {
    let policy = parse(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"monitor\"\n[[override]]\naccounts = [\"111122223333\"]\nusers = [\"vendor\"]\nresponse = \"delete\"\n[[exemption]]\naccount = \"111122223333\"\nuser = \"Vendor\"\nreason = \"SEC-1\"\nuntil = 2027-03-31\n",
    );
    let document = scp_with(&policy, &Options::default());
    let after = |user| Call::make(ONE, user, None).at("2027-04-01T00:00:00Z");
    check(&document, &[(after("Vendor"), true), (after("vendor"), false)]);
    assert!(!is_exact(&document.gaps), "{:?}", document.gaps);
}

fn document_at(policy: &Policy, options: &Options, time: DateTime<Utc>) -> Document {
    document(Kind::ServiceControlPolicy, policy, options, time).unwrap()
}

#[test]
fn an_exemption_on_the_last_day_that_can_be_written_never_ends() {
    let document = scp_with(&policy(90, &VENDOR.replace("2027-03-31", "9999-12-31")), &plain());
    check(&document, &[(Call::make(ONE, "Vendor", None).at("9999-12-31T23:59:59Z"), false)]);
    assert!(!document.text.contains("CurrentTime"));
}

#[test]
fn users_are_exempt_in_any_case_and_under_any_path() {
    let policy = policy(90, VENDOR);
    let document = scp_with(&policy, &Options::default());
    let exempt = ["Vendor", "VENDOR", "vendor", "a/Vendor", "a/b/vENDOR"];
    let calls: Vec<_> = exempt.iter().map(|user| (Call::make(ONE, user, None), false)).collect();
    check(&document, &calls);
    let note = document.gaps.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(note.contains("the exemption of Vendor in 111122223333"), "{note}");
    // Who says that there is nothing of the kind gets no more than that.
    let exact = scp_with(&policy, &plain());
    check(&exact, &[(Call::make(ONE, "Vendor", None), false), (Call::make(ONE, "vendoR", None), true)]);
    assert_eq!(exact.gaps, []);
}

#[test]
fn users_by_pattern_have_looser_limits() {
    let policy = policy(90, "[[override]]\nusers = [\"svc-*\"]\nmax_lifetime_days = 365\n");
    let document = scp_with(&policy, &Options::default());
    for user in ["svc-a", "SVC-A", "team/svc-a"] {
        let make = |age| Call::make(ONE, user, age);
        check(&document, &[(make(Some(365)), false), (make(Some(366)), true), (make(None), true)]);
    }
    check(&document, &[(Call::make(ONE, "other", 91), true)]);
}

#[test]
fn stricter_patterns_are_for_those_who_have_no_paths() {
    let policy = policy(
        90,
        "[[override]]\nusers = [\"BedrockAPIKey-*\", \"*-tmp\", \"Fixed\"]\nmax_lifetime_days = 0\n",
    );
    let document = scp_with(&policy, &Options::default());
    check(
        &document,
        &[
            (Call::make(ONE, "BedrockAPIKey-x1y2", 1), false),
            (Call::make(ONE, "BedrockAPIKey-x1y2", 91), true),
            (Call::make(ONE, "BedrockAPIKey-team/other", 1), false),
            (Call::make(ONE, "team/x-tmp", 1), true),
            (Call::make(ONE, "team/Fixed", 1), true),
            (Call::make(ONE, "xFixed", 1), false),
        ],
    );
    let (rule, users) = ("override 1".to_owned(), "BedrockAPIKey-*".to_owned());
    assert!(document.gaps.contains(&Gap::Pathless { rule, users }), "{:?}", document.gaps);
    let exact = scp_with(&policy, &plain());
    check(&exact, &[(Call::make(ONE, "BedrockAPIKey-x1y2", 1), true)]);
    assert_eq!(exact.gaps, []);
}

#[test]
fn what_one_statement_cannot_say_is_not_denied_and_noted() {
    let policy = policy(
        90,
        &format!(
            "[[override]]\nusers = [\"a-*\"]\nmax_lifetime_days = 30\n[[override]]\naccounts = [\"{ONE}\"]\nusers = [\"*-z\"]\nmax_lifetime_days = 60\n"
        ),
    );
    let document = scp_with(&policy, &plain());
    check(
        &document,
        &[
            (Call::make(ONE, "a-b-z", 60), false),
            (Call::make(ONE, "a-b", 31), false),
            (Call::make(ONE, "a-b", 61), true),
            (Call::make(OTHER, "a-b", 31), true),
        ],
    );
    assert_eq!(
        document.gaps,
        [Gap::Carved {
            rule: "override 1".to_owned(),
            users: "a-*".to_owned(),
            by: "override 2".to_owned(),
            level: "over 30 days".to_owned(),
        }]
    );
}

#[test]
fn break_glass_may_do_everything() {
    let break_glass = ["arn:aws:iam::*:role/break-glass", "arn:aws:iam::444455556666:user/ops/*"]
        .map(|arn| arn.parse::<BreakGlass>().unwrap())
        .to_vec();
    let options = Options { break_glass, deny_use: true, ..plain() };
    let document = scp_with(&policy(0, VENDOR), &options);
    let make = || Call::make(ONE, "svc", None);
    check(
        &document,
        &[
            (make(), true),
            (make().by("arn:aws:iam::111122223333:role/break-glass"), false),
            (make().by("arn:aws:iam::111122223333:role/break-glass-not"), true),
            (make().by("arn:aws:iam::444455556666:user/ops/kim"), false),
            (make().by("arn:aws:iam::111122223333:user/ops/kim"), true),
            (Call::r#use("bedrock:CallWithBearerToken", OTHER, "ops/kim"), false),
            (Call::r#use("bedrock:CallWithBearerToken", OTHER, "kim"), true),
        ],
    );
    for statement in json(&document)["Statement"].as_array().unwrap() {
        let left_out = texts(&statement["Condition"]["ArnNotLike"]["aws:PrincipalArn"]);
        assert!(left_out.contains(&"arn:aws:iam::*:role/break-glass"), "{statement}");
    }
}

#[test]
fn only_arns_that_principals_can_have_are_break_glass() {
    for good in [
        "arn:aws:iam::111122223333:role/break-glass",
        "arn:aws:iam::*:role/aws-reserved/sso.amazonaws.com/*/AWSReservedSSO_BreakGlass_*",
        "arn:aws-us-gov:iam::111122223333:user/ops/?-glass",
        "arn:aws:iam::111122223333:root",
    ] {
        assert_eq!(good.parse::<BreakGlass>().unwrap().as_str(), good);
    }
    for bad in [
        "",
        "*",
        "break-glass",
        "arn:aws:iam::*:role/*",
        "arn:aws:iam::*:*",
        "arn:aws:iam::*:root",
        "arn:*:iam::111122223333:role/x",
        "arn:aws:iam::1111:role/x",
        "arn:aws:iam::111122223333:group/x",
        "arn:aws:iam:us-east-1:111122223333:role/x",
        "arn:aws:sts::111122223333:assumed-role/x/session",
        "arn:aws:iam::111122223333:role/x:y",
        "arn:aws:iam::111122223333:role/${aws:username}",
        "arn:aws:iam::111122223333:role/x/",
    ] {
        assert!(bad.parse::<BreakGlass>().is_err(), "{bad}");
    }
}

#[test]
fn use_is_denied_when_asked_but_not_to_those_who_are_exempt() {
    let both = "[default]\nservices = [\"bedrock.amazonaws.com\", \"aws-external-anthropic.amazonaws.com\", \"logs.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n";
    let policy = parse(&format!("{both}{VENDOR}"));
    let quiet = scp_with(&policy, &plain());
    assert!(!quiet.text.contains("CallWithBearerToken"));
    let document = scp_with(&policy, &Options { deny_use: true, ..plain() });
    for action in actions().into_iter().filter(|action| *action != CREATE) {
        let by = |user| Call::r#use(action, ONE, user);
        check(
            &document,
            &[
                (by("svc"), true),
                (by("Vendor"), false),
                (by("Vendor").at("2027-03-31T23:59:59Z"), false),
                (by("Vendor").at("2027-04-01T00:00:00Z"), true),
                (Call::r#use(action, OTHER, "Vendor"), true),
            ],
        );
        let short_term = json(&document).to_string().replace("LONG_TERM", "SHORT_TERM");
        assert!(!denies(&serde_json::from_str(&short_term).unwrap(), &by("svc")), "only the long-term keys");
    }
    let open = document.not_covered.join("\n");
    assert!(open.contains("the use of keys for logs.amazonaws.com"), "{open}");
    let logs = parse(
        "[default]\nservices = [\"logs.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n",
    );
    let asked = Options { deny_use: true, ..plain() };
    let refused = document_of(Kind::ServiceControlPolicy, &logs, &asked);
    assert!(matches!(refused, Err(PreventError::NoUse)));
}

fn document_of(kind: Kind, policy: &Policy, options: &Options) -> Result<Document, PreventError> {
    document(kind, policy, options, now())
}

#[test]
fn a_boundary_is_the_same_denials_and_allows_the_rest() {
    let policy = policy(90, VENDOR);
    let options = Options { deny_use: true, ..Options::default() };
    let (scp, boundary) = (
        json(&scp_with(&policy, &options)),
        json(&document_of(Kind::PermissionBoundary, &policy, &options).unwrap()),
    );
    let (allow, denials) = boundary["Statement"].as_array().unwrap().split_first().unwrap();
    assert_eq!(
        (&allow["Effect"], &allow["Action"], &allow["Resource"]),
        (&json!("Allow"), &json!("*"), &json!("*"))
    );
    assert_eq!(scp["Statement"].as_array().unwrap(), denials);
    assert!(scp["Statement"].as_array().unwrap().iter().all(|statement| statement["Effect"] == "Deny"));
}

fn exempt(count: usize) -> Policy {
    let mut exemptions = String::new();
    for number in 0..count {
        write!(
            exemptions,
            "[[exemption]]\naccount = \"{ONE}\"\nuser = \"vendor-{number:03}\"\nreason = \"SEC-1\"\nuntil = 2027-03-31\n"
        )
        .unwrap();
    }
    policy(90, &exemptions)
}

#[test]
fn a_document_is_compact_where_only_that_fits_and_refused_where_nothing_does() {
    let mut seen = (0, 0, 0);
    for count in 0..60 {
        match document_of(Kind::ServiceControlPolicy, &exempt(count), &plain()) {
            Ok(document) => {
                assert_eq!(document.characters, document.text.chars().count());
                assert!(document.characters <= SCP_MAX_CHARACTERS, "{count}");
                let spaced = serde_json::to_string_pretty(&json(&document)).unwrap().len() + 1;
                if document.text.lines().count() > 1 {
                    seen.0 += 1;
                } else {
                    assert!(spaced > SCP_MAX_CHARACTERS, "{count}: pretty would have fit");
                    seen.1 += 1;
                }
            }
            Err(PreventError::TooLong { characters, max, .. }) => {
                assert!(characters > SCP_MAX_CHARACTERS && max == SCP_MAX_CHARACTERS);
                seen.2 += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(seen.0 > 0 && seen.1 > 0 && seen.2 > 0, "{seen:?}");
}

#[test]
fn a_boundary_is_measured_without_white_space() {
    let mut largest = 0;
    for count in 0..60 {
        match document_of(Kind::PermissionBoundary, &exempt(count), &plain()) {
            Ok(document) => {
                let dense = document.text.chars().filter(|c| !c.is_whitespace()).count();
                assert_eq!(document.characters, dense);
                assert!(dense <= MANAGED_POLICY_MAX_CHARACTERS);
                assert!(document.text.lines().count() > 1, "white space is free");
                largest = largest.max(document.text.len());
            }
            Err(error) => assert!(matches!(error, PreventError::TooLong { .. }), "{error}"),
        }
    }
    assert!(largest > MANAGED_POLICY_MAX_CHARACTERS);
}

#[test]
fn the_event_pattern_matches_what_parse_calls_ours() {
    let pattern = cloudtrail::pattern();
    assert!(pattern["detail"].get("requestParameters").is_none(), "a denied call has none");
    let calls = pattern["detail"]["$or"].as_array().unwrap();
    let named = |call: &Value| call["eventName"].as_array().unwrap().clone();
    let fits = |event: &Value| {
        let has =
            |path: &str, found: &Value| pattern.pointer(path).unwrap().as_array().unwrap().contains(found);
        let detail = &event["detail"];
        let user = detail["responseElements"]["accessKey"]["userName"].as_str();
        let of_the_console = |prefixes: &Value| {
            let begins =
                |one: &Value| user.is_some_and(|user| user.starts_with(one["prefix"].as_str().unwrap()));
            prefixes.as_array().is_none_or(|prefixes| prefixes.iter().any(begins))
        };
        has("/source", &event["source"])
            && has("/detail-type", &event["detail-type"])
            && has("/detail/eventSource", &detail["eventSource"])
            && calls.iter().any(|call| {
                named(call).contains(&detail["eventName"])
                    && of_the_console(&call["responseElements"]["accessKey"]["userName"])
            })
    };
    let mut matched = 0;
    for (_, event) in crate::support::events() {
        let ours = !matches!(
            bedrock_key_guard::event::parse(event.clone()),
            Ok(cloudtrail::ParsedEvent::Irrelevant(_))
        );
        assert_eq!(fits(&event), ours, "{event:#}");
        matched += usize::from(ours);
    }
    assert!(matched > 20);
    assert_eq!(named(&calls[0]), cloudtrail::CREDENTIAL_CALLS);
    assert_eq!(named(&calls[1]), [cloudtrail::CREATE_ACCESS_KEY]);
    assert!(
        cloudtrail::CREDENTIAL_CALLS.iter().all(|name| name.contains(cloudtrail::CREDENTIAL_CALL_MARKER))
    );
}

/// Rules over few accounts, services and names, so that they meet.
fn some_policy(pattern: &'static str, user: &'static str) -> impl Strategy<Value = String> {
    let accounts = prop::sample::subsequence(vec![ONE, OTHER], 1..=2);
    let services = prop::sample::subsequence(vec!["bedrock.amazonaws.com", "logs.amazonaws.com"], 1..=2);
    let limit = prop::sample::select(vec![0_u32, 1, 2, 3, 36_600]);
    let response = prop::sample::select(vec!["monitor", "deactivate", "delete", "delete"]);
    let rule = (
        prop::option::of(accounts),
        prop::option::of(services.clone()),
        prop::option::of(prop::collection::vec(pattern, 1..=2)),
        prop::option::of(limit.clone()),
        prop::option::of(response.clone()),
    );
    let exemption = (
        prop::sample::select(vec![ONE, OTHER]),
        user,
        prop::sample::select(vec!["2026-11-19", "2026-11-20", "2026-12-31"]),
    );
    (
        (services, limit, response),
        prop::collection::vec(rule, 0..4),
        prop::collection::vec(exemption, 0..3),
    )
        .prop_map(|((services, limit, response), rules, exemptions)| {
            let mut text = format!(
                "[default]\nservices = {services:?}\nmax_lifetime_days = {limit}\nresponse = {response:?}\n"
            );
            for (accounts, services, users, limit, response) in rules {
                text.push_str("[[override]]\n");
                for (field, value) in [
                    ("accounts", accounts.map(|value| format!("{value:?}"))),
                    ("services", services.map(|value| format!("{value:?}"))),
                    ("users", users.map(|value| format!("{value:?}"))),
                    ("max_lifetime_days", limit.map(|value| value.to_string())),
                    ("response", response.map(|value| format!("{value:?}"))),
                ] {
                    if let Some(value) = value {
                        writeln!(text, "{field} = {value}").unwrap();
                    }
                }
            }
            for (account, user, until) in exemptions {
                writeln!(
                    text,
                    "[[exemption]]\naccount = {account:?}\nuser = {user:?}\nreason = \"SEC-1\"\nuntil = {until}"
                )
                .unwrap();
            }
            text
        })
}

/// Every call of a small world.
fn calls(users: &[String]) -> Vec<Call> {
    let mut calls = Vec::new();
    for account in [ONE, OTHER, "777788889999"] {
        for user in users {
            for service in ["bedrock.amazonaws.com", "LOGS.amazonaws.com", "cloudwatch.amazonaws.com"] {
                for age in [None, Some(1), Some(2), Some(3), Some(4), Some(36_600)] {
                    for time in ["2026-11-20T09:00:00Z", "2026-11-21T00:00:00Z", "2027-01-01T00:00:00Z"] {
                        calls.push(Call::make(account, user, age).of(service).at(time));
                    }
                }
            }
        }
    }
    calls
}

/// Whether a rule says all that IAM can be told, whatever the case and path of users.
fn is_exact(gaps: &[Gap]) -> bool {
    gaps.iter().all(|gap| match gap {
        Gap::Monitored { .. } => true,
        Gap::SameShape { .. } | Gap::CaseAsWritten { .. } | Gap::Pathless { .. } | Gap::Carved { .. } => {
            false
        }
    })
}

/// The denials if there are any, of the document that may be longer.
fn any_document(policy: &Policy, options: &Options) -> Option<Document> {
    match document_of(Kind::PermissionBoundary, policy, options) {
        Ok(document) => Some(document),
        Err(PreventError::Nothing(_) | PreventError::TooLong { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Nothing is denied but what the policy forbids; and where no gap is named, all of that is.
fn holds(text: &str, options: &Options, users: &[String]) -> Result<(), TestCaseError> {
    let policy = parse(text);
    if let Some(document) = any_document(&policy, options) {
        let (exact, document) = (is_exact(&document.gaps), json(&document));
        for call in calls(users) {
            let (denied, forbidden) = (denies(&document, &call), forbids(&policy, &call));
            prop_assert!(!denied || forbidden, "{:?}\n{}\n{:#}", call, text, document);
            prop_assert!(!exact || denied == forbidden, "{:?}\n{}\n{:#}", call, text, document);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whoever the user is, in whatever case and under whatever path.
    #[test]
    fn what_is_denied_is_forbidden(
        text in some_policy("[aB*?-]{1,3}", "[aB-]{1,3}"),
        users in prop::collection::vec("([aB-]{1,2}/)?[aAbB-]{1,3}", 8),
    ) {
        holds(&text, &Options::default(), &users)?;
    }

    /// With users as plain as --plain-users says.
    #[test]
    fn what_can_be_said_is_said(
        text in some_policy("[ab*?-]{1,3}", "[ab-]{1,3}"),
        users in prop::collection::vec("[ab-]{1,3}", 6),
    ) {
        holds(&text, &plain(), &users)?;
    }

    /// IAM takes no document with names of statements that are not letters and digits, or that repeat.
    #[test]
    fn documents_are_of_actions_and_forms_that_iam_takes(text in some_policy("[ab*?-]{1,3}", "[ab-]{1,3}")) {
        let options = Options { deny_use: true, ..Options::default() };
        let policy = parse(&text);
        let made = document_of(Kind::PermissionBoundary, &policy, &options);
        if let Ok(made) = made {
            let document = json(&made);
            prop_assert_eq!(&document["Version"], "2012-10-17");
            let statements = document["Statement"].as_array().unwrap();
            let mut names: Vec<_> = statements.iter().map(|statement| statement["Sid"].as_str().unwrap()).collect();
            prop_assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric())));
            names.sort_unstable();
            names.dedup();
            prop_assert_eq!(names.len(), statements.len());
            for statement in statements.iter().skip(1) {
                prop_assert!(actions().contains(&statement["Action"].as_str().unwrap()), "{}", statement);
                for arns in [&statement["Resource"], &statement["NotResource"]] {
                    let arns = if arns.is_null() { vec![] } else { texts(arns) };
                    prop_assert!(
                        arns.iter().all(|arn| *arn == "*" || arn.splitn(6, ':').nth(5).unwrap().starts_with("user/")),
                        "{}", statement
                    );
                }
            }
        }
    }
}
