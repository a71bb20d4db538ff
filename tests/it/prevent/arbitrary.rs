//! Whatever the policy says: nothing is denied but what it forbids, and what can be said is said.

use std::fmt::Write as _;

use bedrock_key_guard::prevent::{Document, Kind, Options, PreventError, actions};
use key_guard_core::policy::Policy;
use proptest::prelude::*;

use super::evaluator::{Call, denies, texts};
use super::{document_of, forbids, is_exact, json, parse, plain};
use crate::support::{OTHER, OWN};

/// Rules over few accounts, services and names, so that they meet.
fn some_policy(pattern: &'static str, user: &'static str) -> impl Strategy<Value = String> {
    let accounts = prop::sample::subsequence(vec![OWN, OTHER], 1..=2);
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
        prop::sample::select(vec![OWN, OTHER]),
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
    for account in [OWN, OTHER, "777788889999"] {
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

    /// Any user, in any case and under any path.
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
