//! Limits: of a key without an age, of services and of accounts, and the override that wins.

use bedrock_key_guard::prevent::{Gap, Kind, Options, PreventError};
use key_guard_core::policy::Policy;
use serde_json::json;

use super::evaluator::{CREATE, Call, denies};
use super::{check, document_of, forbids, json, parse, policy, scp_with};
use crate::support::{OTHER, OWN};

#[test]
fn a_key_without_an_age_is_denied_like_one_over_the_limit() {
    let document = scp_with(&Policy::built_in().unwrap(), &Options::default());
    let make = |age| Call::make(OWN, "svc", age);
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
    assert!(denies(&usual, &Call::make(OWN, "svc", 91)));
    assert!(!denies(&usual, &Call::make(OWN, "svc", None)), "the hole");
}

#[test]
fn a_star_denies_keys_of_every_service_and_no_password() {
    let policy = parse(
        "[default]\nservices = \"*\"\nmax_lifetime_days = 90\nresponse = \"delete\"\n\
         [[override]]\nservices = [\"logs.amazonaws.com\", \"some-new.amazonaws.com\"]\nmax_lifetime_days = 365\n",
    );
    let document = scp_with(&policy, &Options::default());
    let make = |age: Option<u32>, service: &str| Call::make(OWN, "svc", age).of(service);
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
    let make = |age| Call::make(OWN, "svc", age);
    check(&document, &[(make(None), true), (make(Some(1)), true), (make(Some(36_600)), true)]);
    assert_eq!(document.denials, 1);
    assert!(!document.text.contains("AgeDays"));
}

#[test]
fn the_largest_limit_denies_the_absent_age_only() {
    let document = scp_with(&policy(36_600, ""), &Options::default());
    check(&document, &[(Call::make(OWN, "svc", None), true), (Call::make(OWN, "svc", 36_600), false)]);
    assert_eq!(document.denials, 1);
}

#[test]
fn accounts_have_their_own_limits() {
    let overrides = format!(
        "[[override]]\naccounts = [\"{OWN}\"]\nmax_lifetime_days = 365\n[[override]]\naccounts = [\"{OTHER}\"]\nmax_lifetime_days = 30\n"
    );
    let document = scp_with(&policy(90, &overrides), &Options::default());
    assert_eq!(document.gaps, [], "accounts can be said");
    for (account, limit) in [(OWN, 365), (OTHER, 30), ("777788889999", 90)] {
        let make = |age| Call::make(account, "svc", age);
        check(&document, &[(make(Some(limit)), false), (make(Some(limit + 1)), true), (make(None), true)]);
    }
}

#[test]
fn the_last_override_that_matches_wins() {
    let overrides = format!(
        "[[override]]\naccounts = [\"{OWN}\", \"{OTHER}\"]\nmax_lifetime_days = 0\n[[override]]\naccounts = [\"{OTHER}\"]\nresponse = \"monitor\"\n"
    );
    let document = scp_with(&policy(90, &overrides), &Options::default());
    check(
        &document,
        &[
            (Call::make(OWN, "svc", 1), true),
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
        let error = document_of(kind, &monitor, &Options::default()).unwrap_err();
        assert!(matches!(&error, PreventError::Nothing(_)), "{error}");
        assert!(error.to_string().contains("[default]: its response is monitor"), "{error}");
    }
}
