//! Documents for AWS against [`Policy::assess`], through an evaluator for the part of IAM's language that they
//! use. `.ci/scp` asks an evaluator that is not ours.

mod arbitrary;
mod break_glass;
mod documents;
mod evaluator;
mod limits;
mod protect;
mod users;

use std::collections::BTreeSet;
use std::path::Path;

use bedrock_key_guard::prevent::{Document, Gap, Kind, Options, PreventError, document};
use chrono::{DateTime, Utc};
use key_guard_core::evidence::{EventEvidence, ExpirationEvidence, Reading};
use key_guard_core::key::{KeyFacts, KeyRef};
use key_guard_core::policy::{Policy, Response, Scope, Verdict};
use serde_json::Value;

use evaluator::{Call, denies};

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

const VENDOR: &str = "[[exemption]]\naccount = \"111122223333\"\nuser = \"Vendor\"\nreason = \"SEC-1234\"\nuntil = 2027-03-31\n";

fn document_of(kind: Kind, policy: &Policy, options: &Options) -> Result<Document, PreventError> {
    document(kind, policy, options, now())
}

fn scp_with(policy: &Policy, options: &Options) -> Document {
    document_of(Kind::ServiceControlPolicy, policy, options).unwrap()
}

fn plain() -> Options {
    Options { plain_users: true, ..Options::default() }
}

fn json(document: &Document) -> Value {
    serde_json::from_str(&document.text).unwrap()
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
