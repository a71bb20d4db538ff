//! The documents: what a boundary adds, how long each may be, and the event pattern.

use std::fmt::Write as _;

use bedrock_key_guard::prevent::{
    Kind, MANAGED_POLICY_MAX_CHARACTERS, Options, PreventError, SCP_MAX_CHARACTERS,
};
use key_guard_core::cloudtrail;
use key_guard_core::policy::Policy;
use serde_json::json;

use super::{VENDOR, document_of, json, plain, policy, scp_with};
use crate::support::event_pattern::{is_ours, matches};
use crate::support::{OWN, events};

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
            "[[exemption]]\naccount = \"{OWN}\"\nuser = \"vendor-{number:03}\"\nreason = \"SEC-1\"\nuntil = 2027-03-31\n"
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
    let named = pattern["detail"]["eventName"].as_array().unwrap();
    let mut matched = 0;
    for (_, event) in events() {
        let ours = is_ours(&event);
        assert_eq!(matches(&pattern, &event), ours, "{event:#}");
        matched += usize::from(ours);
    }
    assert!(matched > 20);
    assert_eq!(*named, [&cloudtrail::CREDENTIAL_CALLS[..], &cloudtrail::USER_CALLS[..]].concat());
    for name in named.iter().map(|name| name.as_str().unwrap()) {
        assert!(cloudtrail::CALL_MARKERS.iter().any(|marker| name.contains(marker)), "{name}");
    }
}
