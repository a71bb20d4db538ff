//! The policy: exact boundaries, overrides, exemptions, names, and what is wrong with a file.

use std::collections::BTreeSet;
use std::path::Path;

use chrono::{DateTime, Months, TimeDelta};
use key_guard_core::Time;
use key_guard_core::evidence::{EventEvidence, ExpirationEvidence, Found, ListedEvidence, Reading};
use key_guard_core::key::{Expiration, KeyFacts, KeyRef, UserName};
use key_guard_core::policy::{
    Assessment, BUILT_IN, LIMIT_TOLERANCE, Policy, PolicyWarning, Response, Rule, Scope, Verdict,
    VerdictDetail, Violation,
};
use key_guard_core::words;
use proptest::prelude::*;

/// A key with what is known of its lifetime.
#[derive(Clone)]
struct Key {
    facts: KeyFacts,
    evidence: ExpirationEvidence,
}

impl Key {
    fn of_user(mut self, user: &str) -> Self {
        self.facts.user = user.parse().unwrap();
        self
    }

    fn unreadable(mut self) -> Self {
        self.evidence = ExpirationEvidence::from(EventEvidence {
            created_at: Reading::Missing,
            event_time: self.facts.created_at,
            response: Reading::Unreadable(Found::Text(8)),
            request: Reading::Missing,
            request_present: true,
        });
        self
    }
}

fn at(time: &str) -> Time {
    time.parse().unwrap()
}

fn key(created_at: Time, expiration: Expiration) -> Key {
    let expires_at = match expiration {
        Expiration::Never => None,
        Expiration::At(end) => Some(end),
    };
    Key {
        facts: KeyFacts {
            key: KeyRef {
                account: "111122223333".parse().unwrap(),
                id: "ACCAEXAMPLEKEY0000001".parse().unwrap(),
            },
            user: "svc-chatbot".parse().unwrap(),
            other_names: BTreeSet::new(),
            service: "bedrock.amazonaws.com".parse().unwrap(),
            created_at,
        },
        evidence: ListedEvidence { created_at, expires_at }.into(),
    }
}

fn lives(lifetime: TimeDelta) -> Key {
    let created_at = at("2026-11-20T09:00:00Z");
    key(created_at, Expiration::At(created_at + lifetime))
}

fn parse(text: &str) -> Policy {
    Policy::parse(text, Path::new("policy.toml")).unwrap_or_else(|error| panic!("{error}"))
}

fn limit(days: u32) -> Policy {
    parse(&BUILT_IN.replace("90", &days.to_string()))
}

fn judge(policy: &Policy, key: &Key) -> Assessment {
    match policy.assess(&key.facts, &key.evidence, key.facts.created_at) {
        Scope::InScope(judgement) => judgement,
        Scope::OutOfScope => panic!("not judged"),
    }
}

fn violation(policy: &Policy, key: &Key) -> Option<Violation> {
    judge(policy, key).verdict.violation()
}

#[test]
fn r5_only_more_than_an_hour_over_the_limit_exceeds_it() {
    let policy = Policy::built_in().unwrap();
    let (day, second) = (TimeDelta::days(1), TimeDelta::seconds(1));
    for (lifetime, expected) in [
        (TimeDelta::zero(), None),
        (second, None),
        (day * 89, None),
        (day * 90 - second, None),
        (day * 90, None),
        (day * 90 + second, None),
        (day * 90 + TimeDelta::hours(1), None),
        (day * 90 + TimeDelta::hours(1) + TimeDelta::milliseconds(1), Some(Violation::LifetimeExceedsLimit)),
        (day * 91, Some(Violation::LifetimeExceedsLimit)),
        (day * 10_000, Some(Violation::LifetimeExceedsLimit)),
        (day * 10_000 + second, Some(Violation::NeverExpires)),
        (day * 36_600, Some(Violation::NeverExpires)),
    ] {
        assert_eq!(violation(&policy, &lives(lifetime)), expected, "{lifetime}");
    }
    assert_eq!(
        violation(&policy, &key(at("2026-11-20T09:00:00Z"), Expiration::Never)),
        Some(Violation::NeverExpires)
    );
}

#[test]
fn days_are_days_across_leap_years_and_clock_changes() {
    // 2028 is a leap year: a year from 1 March 2027 has 366 days.
    let created_at = at("2027-03-01T00:00:00Z");
    let year = key(created_at, Expiration::At(created_at + Months::new(12)));
    assert_eq!(violation(&limit(366), &year), None);
    assert_eq!(violation(&limit(365), &year), Some(Violation::LifetimeExceedsLimit));
}

#[test]
fn a_limit_of_zero_forbids_every_key() {
    let policy = limit(0);
    assert_eq!(violation(&policy, &lives(TimeDelta::days(1))), Some(Violation::LongTermKeyForbidden));
    assert_eq!(violation(&policy, &lives(TimeDelta::zero())), Some(Violation::LongTermKeyForbidden));
    assert_eq!(violation(&policy, &lives(TimeDelta::days(36_600))), Some(Violation::NeverExpires));
}

#[test]
fn the_largest_limit_allows_the_largest_age_but_not_never() {
    let policy = limit(36_600);
    assert_eq!(violation(&policy, &lives(TimeDelta::days(36_600))), None);
    assert_eq!(
        violation(&policy, &key(at("2026-11-20T09:00:00Z"), Expiration::Never)),
        Some(Violation::NeverExpires)
    );
}

#[test]
fn what_cannot_be_read_is_undetermined_under_every_limit() {
    for days in [0, 90, 36_600] {
        let unreadable = lives(TimeDelta::days(1)).unreadable();
        assert_eq!(judge(&limit(days), &unreadable).verdict(), Verdict::Undetermined);
    }
}

const LAYERED: &str = r#"
[default]
services = ["bedrock.amazonaws.com", "logs.amazonaws.com"]
max_lifetime_days = 90
response = "delete"

[[override]]
users = ["svc-*"]
max_lifetime_days = 365

[[override]]
accounts = ["111122223333"]
services = ["logs.amazonaws.com"]
users = ["SVC-chat???", "other"]
response = "deactivate"

[[exemption]]
account = "111122223333"
user = "Vendor"
reason = "SEC-1234"
until = 2027-03-31
"#;

#[test]
fn the_last_override_that_matches_wins_alone() {
    let policy = parse(LAYERED);
    let mut subject = lives(TimeDelta::days(100));
    let judged = judge(&policy, &subject);
    assert_eq!((judged.limit_days, judged.response), (365, Response::Delete));
    assert!(words::reason(&judged).contains("override 1"), "{judged:?}");

    // The second matches too; what it leaves out comes from [default], not from the first.
    subject.facts.service = "logs.amazonaws.com".parse().unwrap();
    let judged = judge(&policy, &subject);
    assert_eq!((judged.limit_days, judged.response), (90, Response::Deactivate));

    subject.facts.key.account = "444455556666".parse().unwrap();
    assert_eq!(judge(&policy, &subject).limit_days, 365, "all given fields must match");

    subject.facts.user = "jan".parse().unwrap();
    assert_eq!(judge(&policy, &subject).limit_days, 90);
}

#[test]
fn a_service_that_default_does_not_name_is_not_judged() {
    let mut subject = lives(TimeDelta::days(1));
    subject.facts.service = "logs.amazonaws.com".parse().unwrap();
    let policy = Policy::built_in().unwrap();
    let scope = policy.assess(&subject.facts, &subject.evidence, subject.facts.created_at);
    assert_eq!(scope, Scope::OutOfScope);
}

#[test]
fn an_exemption_holds_through_its_last_day_in_utc() {
    let policy = parse(LAYERED);
    let mut subject = lives(TimeDelta::days(400));
    subject.facts.user = "vendor".parse().unwrap();
    let standing = |key: &Key, time: &str| match policy.assess(&key.facts, &key.evidence, at(time)) {
        Scope::InScope(judgement) => judgement.verdict(),
        Scope::OutOfScope => panic!("not judged"),
    };
    assert_eq!(standing(&subject, "2027-03-31T23:59:59Z"), Verdict::Exempt);
    assert_eq!(standing(&subject, "2027-04-01T00:00:00Z"), Verdict::Noncompliant);
    let Scope::InScope(judged) = policy.assess(&subject.facts, &subject.evidence, at("2026-12-01T00:00:00Z"))
    else {
        panic!()
    };
    assert_eq!(
        judged.verdict,
        VerdictDetail::Exempt { reason: "SEC-1234".to_owned(), until: "2027-03-31".parse().unwrap() }
    );
    subject.facts.key.account = "444455556666".parse().unwrap();
    assert_eq!(standing(&subject, "2026-12-01T00:00:00Z"), Verdict::Noncompliant, "of another account");
    let mut compliant = lives(TimeDelta::days(1));
    compliant.facts.user = "vendor".parse().unwrap();
    assert_eq!(standing(&compliant, "2026-12-01T00:00:00Z"), Verdict::Compliant);
    compliant = compliant.unreadable();
    assert_eq!(standing(&compliant, "2026-12-01T00:00:00Z"), Verdict::Undetermined);
}

#[test]
fn an_exemption_that_has_ended_warns_and_does_not_stop() {
    let policy = parse(LAYERED);
    assert!(policy.warnings(at("2027-03-31T12:00:00Z")).is_empty());
    let warnings = policy.warnings(at("2027-04-01T00:00:00Z"));
    assert_eq!(warnings.len(), 1);
    assert!(warnings.first().unwrap().to_string().contains("2027-03-31"), "{warnings:?}");
}

#[test]
fn what_an_override_cannot_do_warns() {
    let policy = parse(&format!(
        "{BUILT_IN}[[override]]\nservices = [\"logs.amazonaws.com\"]\nmax_lifetime_days = 1\n[[override]]\nresponse = \"monitor\"\n[[override]]\nusers = [\"a\"]\n"
    ));
    let warnings: Vec<_> =
        policy.warnings(at("2026-11-20T00:00:00Z")).iter().map(ToString::to_string).collect();
    let warnings = warnings.join("\n");
    for expected in ["override 1 names logs.amazonaws.com", "override 2 names no"] {
        assert!(warnings.contains(expected), "{warnings}");
    }
    let undone = "override 3 gives no max_lifetime_days, response or grace_days: [default] applies to its keys, whatever earlier overrides say";
    assert!(warnings.contains(undone), "{warnings}");
}

#[test]
fn an_override_that_later_ones_leave_no_key_warns() {
    let strict = r#"[[override]]
accounts = ["111122223333"]
users = ["svc-a*", "bob"]
max_lifetime_days = 7
"#;
    for (later, never_matches) in [
        ("users = [\"svc-*\", \"B?B\"]\n", true),
        ("accounts = [\"111122223333\", \"444455556666\"]\n", true),
        ("users = [\"svc-a*\"]\nmax_lifetime_days = 1\n[[override]]\nusers = [\"bob\"]\n", true),
        ("users = [\"svc-a?\", \"bob\"]\n", false),
        ("users = [\"svc-*\"]\n", false),
        ("accounts = [\"444455556666\"]\n", false),
        ("services = [\"logs.amazonaws.com\"]\n", false),
    ] {
        let policy = parse(&format!(
            "{}{strict}[[override]]\n{later}max_lifetime_days = 1\n",
            BUILT_IN.replace("[\"bed", "[\"logs.amazonaws.com\", \"bed"),
        ));
        let warnings = policy.warnings(at("2026-11-20T00:00:00Z"));
        let expected = PolicyWarning::NeverMatches { rule: Rule::Override(1) };
        assert_eq!(warnings.contains(&expected), never_matches, "{later}: {warnings:?}");
    }
    let other = parse(&format!(
        "{BUILT_IN}[[override]]\nservices = [\"logs.amazonaws.com\"]\nmax_lifetime_days = 1\n"
    ));
    let warnings = other.warnings(at("2026-11-20T00:00:00Z"));
    assert!(warnings.contains(&PolicyWarning::NeverMatches { rule: Rule::Override(1) }), "{warnings:?}");
}

#[test]
fn an_exemption_beside_a_longer_one_warns() {
    let exemption = |user: &str, until: &str| {
        format!(
            "[[exemption]]\naccount = \"111122223333\"\nuser = \"{user}\"\nreason = \"SEC-1\"\nuntil = {until}\n"
        )
    };
    let warnings_of = |exemptions: &[(&str, &str)]| {
        let text: String = exemptions.iter().map(|(user, until)| exemption(user, until)).collect();
        parse(&format!("{BUILT_IN}{text}")).warnings(at("2026-11-20T00:00:00Z"))
    };
    let overlaps = |until: &str, applies_until: &str| PolicyWarning::ExemptionOverlaps {
        account: "111122223333".parse().unwrap(),
        user: "alice".parse().unwrap(),
        until: until.parse().unwrap(),
        applies_until: applies_until.parse().unwrap(),
    };
    assert_eq!(
        warnings_of(&[("alice", "2027-01-31"), ("ALICE", "2027-03-31"), ("bob", "2027-03-31")]),
        [overlaps("2027-01-31", "2027-03-31")]
    );
    assert_eq!(
        warnings_of(&[("alice", "2027-01-31"), ("alice", "2027-01-31")]),
        [overlaps("2027-01-31", "2027-01-31")]
    );
    let warnings = warnings_of(&[("alice", "2026-11-19"), ("alice", "2027-01-31")]);
    assert!(matches!(warnings.as_slice(), [PolicyWarning::ExemptionEnded { .. }]), "{warnings:?}");
}

#[test]
fn what_is_wrong_with_a_file_names_its_line_and_what_is_accepted() {
    let default =
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"delete\"\n";
    let with = |more: &str| format!("{default}{more}");
    let exemption = |fields: &str| with(&format!("[[exemption]]\naccount = \"111122223333\"\n{fields}"));
    for (text, line, says) in [
        (default.replace("delete", "remove"), 4, "monitor, deactivate, quarantine or delete"),
        (default.replace("delete", "none"), 4, "monitor, deactivate, quarantine or delete"),
        (default.replace("90", "-1"), 3, "0 to 36600"),
        (default.replace("90", "36601"), 3, "0 to 36600"),
        (default.replace("90", "\"90\""), 3, "`max_lifetime_days`: expected a whole number"),
        (default.replace("90", "90.5"), 3, "`max_lifetime_days`: expected a whole number"),
        (default.replace("bedrock.amazonaws.com", "bedrock"), 2, "expected one of bedrock.amazonaws.com"),
        (default.replace("[\"bedrock.amazonaws.com\"]", "\"all\""), 2, "or \"*\" for every service"),
        (default.replace("[\"bedrock.amazonaws.com\"]", "7"), 2, "or \"*\" for every service"),
        (default.replace("bedrock.", "codecommit."), 2, "passwords, not API keys"),
        (default.replace("bedrock.", "cassandra."), 2, "passwords, not API keys"),
        (default.replace("[\"bedrock.amazonaws.com\"]", "[]"), 2, "services is empty"),
        (default.replace("response = \"delete\"\n", ""), 1, "missing field `response`"),
        (with("grace_day = 3\n"), 5, "unknown field `grace_day`"),
        (with("grace_days = 0\n"), 5, "grace_days is 0; expected 1 to 365 days"),
        (with("max_actions_per_hour = -1\n"), 5, "max_actions_per_hour is -1; expected 0 to 1000000"),
        (
            default.replace("delete", "quarantine"),
            1,
            "[default] has response = \"quarantine\" and no grace_days",
        ),
        (with("[[override]]\nresponse = \"quarantine\"\n"), 1, "override 1 has response = \"quarantine\""),
        (with("[[overide]]\n"), 5, "unknown field `overide`"),
        (with("[[override]]\nuser = \"a\"\n"), 6, "unknown field `user`"),
        (with("[[override]]\naccounts = [\"1\"]\n"), 6, "12 digits"),
        (with("[[override]]\naccounts = [111122223333]\n"), 6, "`accounts`: expected a list of texts"),
        (with("[[override]]\nusers = []\n"), 6, "users is empty"),
        (with("[[override]]\nusers = [\"a b\"]\n"), 6, "can match no IAM user"),
        (exemption("user = \"a\"\nuntil = 2027-01-01\n"), 5, "missing field `reason`"),
        (exemption("user = \"a\"\nreason = \"x\"\n"), 5, "missing field `until`"),
        (exemption("user = \"a\"\nreason = \" \"\nuntil = 2027-01-01\n"), 8, "reason is empty"),
        (exemption("user = \"a\"\nreason = \"x\"\nuntil = \"2027-01-01\"\n"), 9, "such as 2027-03-31"),
        (exemption("user = \"a\"\nreason = \"x\"\nuntil = 2027-01-01T00:00:00Z\n"), 9, "such as 2027-03-31"),
        (exemption("user = \"a\"\nreason = \"x\"\nuntil = 2027-02-30\n"), 9, ""),
        (exemption("user = \"svc-*\"\nreason = \"x\"\nuntil = 2027-01-01\n"), 7, "without patterns"),
        (
            exemption("user = \"a\"\nreason = \"ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl\"\nuntil = 2027-01-01\n"),
            8,
            "has the secret of an API key in it",
        ),
        (default.replace("90", "\"hunter2\""), 3, "`max_lifetime_days`: expected a whole number"),
        (
            default.replace("90", "\"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\""),
            3,
            "a secret of AWS seems to be here",
        ),
        (
            default.replace("bedrock.amazonaws.com", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            2,
            "a secret of AWS seems to be here",
        ),
        (
            default.replace("bedrock.amazonaws.com", "ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl"),
            2,
            "\"ABSK(redacted)\"",
        ),
        ("[default\n".to_owned(), 1, ""),
        (String::new(), 1, "missing field `default`"),
    ] {
        let error = Policy::parse(&text, Path::new("policy.toml")).expect_err(&text).to_string();
        assert!(error.starts_with(&format!("policy.toml:{line}:")), "expected line {line}: {error}\n{text}");
        assert!(error.contains(says), "expected {says:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn the_built_in_policy_is_that_of_the_docs() {
    let policy = Policy::built_in().unwrap();
    assert_eq!(policy.default_rule(), (90, Response::Delete));
    let page = |name: &str| {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)).unwrap()
    };
    let pages = [page("docs/reference/policy.md"), page("README.md")];
    assert!(pages[0].contains(BUILT_IN), "the docs show the built-in policy as it is");
    for block in pages.iter().flat_map(|page| page.split("```toml\n").skip(1)) {
        let text = block.split("```").next().unwrap();
        if text.contains("[default]") {
            let policy = parse(text);
            assert_eq!(policy.warnings(at("2026-11-20T00:00:00Z")), []);
        }
    }
}

/// The policy of the R6 tests: a limit, a laxer override, an exemption.
const NAMES: &str = r#"
[default]
services = ["bedrock.amazonaws.com"]
max_lifetime_days = 90
response = "delete"

[[override]]
users = ["watched-*"]
response = "monitor"

[[override]]
users = ["long-*"]
max_lifetime_days = 365

[[exemption]]
account = "111122223333"
user = "vendor"
reason = "SEC-1234"
until = 2027-03-31
"#;

fn names(user: &str, others: &[&str]) -> Key {
    let mut key = lives(TimeDelta::days(200)).of_user(user);
    key.facts.other_names = others.iter().map(|name| name.parse().unwrap()).collect();
    key
}

#[test]
fn r6_the_strictest_of_the_users_names_applies_and_the_reason_names_it() {
    let policy = parse(NAMES);
    for (user, others, verdict, response, decided_by) in [
        ("svc", &["vendor"][..], Verdict::Noncompliant, Response::Delete, "svc"),
        ("vendor", &["svc"], Verdict::Noncompliant, Response::Delete, "svc"),
        ("vendor", &["watched-x"], Verdict::Noncompliant, Response::Monitor, "watched-x"),
        ("watched-x", &["svc"], Verdict::Noncompliant, Response::Delete, "svc"),
        ("long-x", &["vendor"], Verdict::Exempt, Response::Delete, "vendor"),
        ("long-x", &["long-y", "svc", "vendor"], Verdict::Noncompliant, Response::Delete, "svc"),
    ] {
        let judged = judge(&policy, &names(user, others));
        assert_eq!((judged.verdict(), judged.response), (verdict, response), "{user} {others:?}");
        assert_eq!(judged.decided_by, Some(decided_by.parse::<UserName>().unwrap()));
        assert!(words::reason(&judged).contains(&format!("{decided_by} is the one that decided")));
    }
    let alone = judge(&policy, &names("vendor", &[]));
    assert_eq!((alone.verdict(), alone.decided_by), (Verdict::Exempt, None));
    let same = judge(&policy, &names("vendor", &["Vendor"]));
    assert_eq!((same.verdict(), same.decided_by), (Verdict::Exempt, None), "IAM's names have no case");
}

#[test]
fn r6_an_undetermined_key_is_undetermined_under_every_name() {
    let judged = judge(&parse(NAMES), &names("vendor", &["svc"]).unreadable());
    assert_eq!(judged.verdict(), Verdict::Undetermined);
}

#[test]
fn r6_of_noncompliant_names_the_furthest_response_and_then_the_lowest_limit_applies() {
    let policy = parse(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"deactivate\"\n\
         [[override]]\nusers = [\"low\"]\nmax_lifetime_days = 30\n\
         [[override]]\nusers = [\"far\"]\nmax_lifetime_days = 180\nresponse = \"delete\"\n",
    );
    let of = |user, others| judge(&policy, &names(user, others));
    assert_eq!(of("mid", &["low"]).limit_days, 30);
    assert_eq!(of("low", &["mid", "far"]).response, Response::Delete);
    assert_eq!(of("far", &["low"]).limit_days, 180);
}

#[test]
fn r15_the_time_that_is_passed_in_decides() {
    let policy = parse(NAMES);
    let key = names("vendor", &[]);
    let verdict = |time: &str| match policy.assess(&key.facts, &key.evidence, at(time)) {
        Scope::InScope(assessment) => (assessment.verdict(), assessment.ended_exemption),
        Scope::OutOfScope => panic!("not judged"),
    };
    assert_eq!(verdict("2027-03-31T23:59:59Z"), (Verdict::Exempt, None));
    let ended = Some("2027-03-31".parse().unwrap());
    assert_eq!(verdict("2027-04-01T00:00:00Z"), (Verdict::Noncompliant, ended));
}

#[test]
fn every_service_with_api_keys_is_judged_under_a_star() {
    let policy = parse(&BUILT_IN.replace("[\"bedrock.amazonaws.com\"]", "\"*\""));
    for (service, is_judged) in [
        ("bedrock.amazonaws.com", true),
        ("xray.amazonaws.com", true),
        ("some-new.amazonaws.com", true),
        ("codecommit.amazonaws.com", false),
        ("cassandra.amazonaws.com", false),
    ] {
        let mut subject = lives(TimeDelta::days(200));
        subject.facts.service = service.parse().unwrap();
        let scope = policy.assess(&subject.facts, &subject.evidence, subject.facts.created_at);
        assert_eq!(matches!(scope, Scope::InScope(_)), is_judged, "{service}");
    }
    assert_eq!(policy.warnings(at("2026-11-20T00:00:00Z")), []);
}

#[test]
fn a_service_that_this_build_does_not_know_is_accepted_with_a_warning() {
    let policy = parse(&BUILT_IN.replace("bedrock.", "some-new."));
    let service = "some-new.amazonaws.com".parse().unwrap();
    assert!(policy.judges(&service));
    let warnings = policy.warnings(at("2026-11-20T00:00:00Z"));
    assert_eq!(warnings, [PolicyWarning::UnknownService { rule: Rule::Default, service }]);
}

#[test]
fn a_reactivated_key_keeps_saying_what_is_wrong_with_its_lifetime() {
    let mut judged = judge(&Policy::built_in().unwrap(), &lives(TimeDelta::days(200)));
    judged.mark_reactivated();
    assert_eq!(judged.verdict.violation(), Some(Violation::Reactivated));
    let reason = words::reason(&judged);
    assert!(
        reason.starts_with("The guard deactivated this key, and somebody activated it again. "),
        "{reason}"
    );
    assert!(reason.contains("That is over the limit of 90 days."), "{reason}");
    let mut compliant = judge(&Policy::built_in().unwrap(), &lives(TimeDelta::days(20)));
    compliant.mark_reactivated();
    assert_eq!(compliant.verdict(), Verdict::Compliant);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn compliant_is_exactly_at_most_the_limit(
        created in 1_300_000_000_i64..4_000_000_000,
        seconds in 0_i64..4_000_000_000,
        days in 1_u32..=36_600,
    ) {
        let created_at = DateTime::from_timestamp(created, 0).unwrap();
        let subject = key(created_at, Expiration::At(created_at + TimeDelta::seconds(seconds)));
        let standing = judge(&limit(days), &subject).verdict();
        let compliant = seconds <= i64::from(days) * 86_400 + LIMIT_TOLERANCE.num_seconds();
        prop_assert_eq!(standing, if compliant { Verdict::Compliant } else { Verdict::Noncompliant });
    }

    #[test]
    fn a_longer_life_never_helps(first in 0_i64..40_000, more in 0_i64..40_000, days in 0_u32..=36_600) {
        let policy = limit(days);
        let of = |lifetime| judge(&policy, &lives(TimeDelta::days(lifetime))).verdict();
        if of(first) == Verdict::Noncompliant {
            prop_assert_eq!(of(first + more), Verdict::Noncompliant);
        }
    }

    #[test]
    fn any_text_is_a_policy_or_an_error_with_a_place(text in "\\PC{0,200}") {
        if let Err(error) = Policy::parse(&text, Path::new("policy.toml")) {
            prop_assert!(error.to_string().starts_with("policy.toml:"));
        }
    }
}
