//! What owners are told: every verdict, violation, outcome, status and next step, and what must not be said.

use std::fmt::Write as _;
use std::path::Path;

use key_guard_core::Time;
use key_guard_core::cloudtrail::{Actor, CreatedKey, CredentialEvent, EventKind, ParsedEvent, parse_record};
use key_guard_core::evidence::ListedEvidence;
use key_guard_core::key::{KeyFacts, Service, Status};
use key_guard_core::policy::{Policy, Scope, Verdict, Violation};
use key_guard_core::remediation::{Advice, Contact, KeyAdvice, NextStep, Remediation};
use key_guard_core::report::{KeyResult, Outcome, Report, Severity};
use key_guard_core::words::describe_event;
use key_guard_core::words::remediation::{argument, name_of};
use serde_json::Value;

/// With what is wrong with a key, and with its lifetime.
const VERDICTS: [(Verdict, Option<Violation>, Option<Violation>); 9] = [
    (Verdict::Compliant, None, None),
    (Verdict::Exempt, None, None),
    (Verdict::Undetermined, None, None),
    (Verdict::Noncompliant, Some(Violation::NeverExpires), Some(Violation::NeverExpires)),
    (Verdict::Noncompliant, Some(Violation::LifetimeExceedsLimit), Some(Violation::LifetimeExceedsLimit)),
    (Verdict::Noncompliant, Some(Violation::LongTermKeyForbidden), Some(Violation::LongTermKeyForbidden)),
    (Verdict::Noncompliant, Some(Violation::Reactivated), Some(Violation::NeverExpires)),
    (Verdict::Noncompliant, Some(Violation::Reactivated), Some(Violation::LifetimeExceedsLimit)),
    (Verdict::Noncompliant, Some(Violation::Reactivated), Some(Violation::LongTermKeyForbidden)),
];

/// Every outcome of a key that was assessed, with the statuses that it can have.
const OUTCOMES: [(Outcome, &[Status]); 7] = [
    (Outcome::Recorded, &[Status::Active, Status::Inactive, Status::Expired, Status::Unknown]),
    (Outcome::Monitored, &[Status::Active, Status::Inactive, Status::Expired, Status::Unknown]),
    (Outcome::AlreadyInactive, &[Status::Inactive, Status::Expired]),
    (Outcome::AlreadyGone, &[Status::Gone]),
    (Outcome::Deactivated, &[Status::Inactive]),
    (Outcome::Gone, &[Status::Gone]),
    (Outcome::Deleted, &[Status::Gone]),
];

fn next_steps() -> [NextStep; 9] {
    [
        NextStep::None,
        NextStep::DryRun,
        NextStep::Monitored,
        NextStep::StaysInactive,
        NextStep::Deactivation { grace_days: None },
        NextStep::Deactivation { grace_days: Some(14) },
        NextStep::Deletion,
        NextStep::DeletionAfter("2026-12-04T09:00:00Z".parse().unwrap()),
        NextStep::DeletionHeldBack,
    ]
}

fn created() -> Time {
    "2026-11-20T09:00:00Z".parse().unwrap()
}

fn facts(service: Service) -> KeyFacts {
    KeyFacts { service, ..super::report::facts() }
}

fn remediation(advice: KeyAdvice, contact: Option<&str>) -> Remediation {
    let contact = contact.map(|contact| contact.parse().unwrap());
    Remediation { advice: Advice::Key(advice), creator: None, contact }
}

/// Whether there is anything to say.
fn is_said(verdict: Verdict, outcome: Outcome, status: Status) -> bool {
    match verdict {
        Verdict::Compliant | Verdict::Exempt => outcome == Outcome::Deactivated,
        Verdict::Undetermined => status != Status::Gone,
        Verdict::Noncompliant => true,
    }
}

/// Every combination that a report may have, and some more.
fn every_advice() -> Vec<KeyAdvice> {
    let mut all = Vec::new();
    for (verdict, violation, lifetime_violation) in VERDICTS {
        for (outcome, statuses) in OUTCOMES {
            for &status in statuses.iter().filter(|status| is_said(verdict, outcome, **status)) {
                for next in next_steps() {
                    for limit_days in [0, 1, 90, 36_600] {
                        for service in Service::KNOWN {
                            let key = facts(service);
                            all.push(KeyAdvice {
                                key,
                                verdict,
                                violation,
                                lifetime_violation,
                                limit_days,
                                outcome,
                                status,
                                next,
                            });
                        }
                    }
                }
            }
        }
    }
    all
}

#[test]
fn nothing_is_said_where_nothing_is_to_be_done() {
    for days in [Some(30), None] {
        let assessment = super::report::assessment(days);
        for (outcome, statuses) in OUTCOMES {
            for &status in statuses {
                let result = KeyResult { outcome, status, reason: String::new(), next: NextStep::None };
                let remediation = Remediation::of_key(&facts(Service::Bedrock), &assessment, &result);
                let is_expected = is_said(assessment.verdict(), outcome, status);
                assert_eq!(remediation.is_some(), is_expected, "{days:?} {outcome} {status:?}");
            }
        }
    }
}

#[test]
fn every_case_says_what_is_right_and_nothing_else() {
    for advice in every_advice() {
        let text = remediation(advice.clone(), Some("security@example.com")).to_string();
        let wrong = wrong(&advice, &text);
        assert!(wrong.is_empty(), "{wrong:?}: {advice:?}\n{text}");
    }
}

/// What is wrong with a text.
fn wrong(advice: &KeyAdvice, text: &str) -> Vec<&'static str> {
    let has = |part: &str| text.contains(part);
    let is_noncompliant = advice.verdict == Verdict::Noncompliant;
    let is_known = advice.verdict != Verdict::Undetermined;
    let is_allowed = matches!(advice.verdict, Verdict::Compliant | Verdict::Exempt);
    let (is_gone, is_expired) = (advice.status == Status::Gone, advice.status == Status::Expired);
    let is_working = matches!(advice.status, Status::Active | Status::Unknown);
    let short_term = matches!(advice.key.service, Service::Bedrock | Service::ClaudePlatform);
    let is_open = !is_gone && !is_expired;
    let is_expired_undetermined = !is_known && is_expired;
    let may_create = advice.limit_days > 0;
    [
        (
            "deletes a key that is gone or allowed",
            has(" delete-service-specific-credential ") != (!is_gone && !is_allowed || !is_known),
        ),
        ("activates a key that is not allowed", has("--status Active") != is_allowed),
        (
            "stops what cannot be used, or does not stop what can",
            has("--status Inactive") != is_working && !is_allowed,
        ),
        (
            "says not to activate",
            has("Do not activate") != (!is_allowed && advice.status == Status::Inactive),
        ),
        ("offers a long-term key", (is_allowed || !may_create) && has("create-service-specific-credential")),
        (
            "offers no long-term key",
            is_noncompliant && may_create && !has("create-service-specific-credential"),
        ),
        ("offers more than decades", has("--credential-age-days 36600")),
        ("offers short-term keys", has("short-term keys") && !short_term),
        ("offers no role", !is_allowed && !is_expired_undetermined && !has("use an IAM role")),
        (
            "offers a long-term key before a role",
            text.find("create-service-specific-credential") < text.find("use an IAM role")
                && has("create-service-specific-credential"),
        ),
        ("offers an exemption", has("exemption") != is_noncompliant),
        ("keeps what has ended", has("If you need this key longer") != (is_noncompliant && is_open)),
        (
            "does not say before when",
            is_noncompliant
                && is_open
                && matches!(advice.next, NextStep::DeletionAfter(_))
                    != has("exemption before 2026-12-04T09:00:00Z"),
        ),
        (
            "says what happens to a key that has ended",
            !is_open && (has("happens") || has("next") || has("after 2026")),
        ),
        (
            "has no date",
            is_noncompliant
                && is_open
                && matches!(advice.next, NextStep::DeletionAfter(_)) != has("after 2026-12-04T09:00:00Z"),
        ),
        (
            "says that nothing happens",
            is_noncompliant && is_open && has("othing happens") != is_quiet(advice.next),
        ),
        (
            "says that it works no more",
            is_working
                && advice.outcome != Outcome::Deactivated
                && (has("This key no longer") || has("has expired") || has("inactive."))
                && advice.next != NextStep::StaysInactive,
        ),
        (
            "does not say that it is gone",
            is_gone
                && !is_allowed
                && !["The guard deleted", "Somebody deleted", "no longer exists"]
                    .iter()
                    .any(|part| has(part)),
        ),
        ("names nobody to ask", !has("contact security@example.com")),
        ("does not say how to verify it", !has("`aws iam list-service-specific-credentials --user-name")),
        ("names no page", !text.ends_with(".md for more.")),
        (
            "says of a key that never expires that it lives too long",
            advice.lifetime_violation == Some(Violation::NeverExpires)
                && may_create
                && has("it lives longer than"),
        ),
        (
            "does not say that somebody activated it again",
            has("activated it after the guard") != (advice.violation == Some(Violation::Reactivated)),
        ),
        ("has a quote", has("\"")),
    ]
    .into_iter()
    .filter_map(|(what, is_wrong)| is_wrong.then_some(what))
    .collect()
}

const fn is_quiet(next: NextStep) -> bool {
    matches!(next, NextStep::DryRun | NextStep::Monitored | NextStep::StaysInactive)
}

#[test]
fn the_key_that_is_offered_is_compliant() {
    for limit in [1, 2, 90, 9_999, 10_000, 10_001, 36_600] {
        let policy = format!(
            "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = {limit}\nresponse = \"delete\"\n"
        );
        let policy = Policy::parse(&policy, Path::new("policy.toml")).unwrap();
        let advice = KeyAdvice {
            key: facts(Service::Bedrock),
            verdict: Verdict::Noncompliant,
            violation: Some(Violation::NeverExpires),
            lifetime_violation: Some(Violation::NeverExpires),
            limit_days: limit,
            outcome: Outcome::Deleted,
            status: Status::Gone,
            next: NextStep::None,
        };
        let text = remediation(advice, None).to_string();
        let days = text.split("--credential-age-days ").nth(1).unwrap().split('`').next().unwrap();
        let expires_at = Some(created() + chrono::TimeDelta::days(days.parse().unwrap()));
        let evidence = ListedEvidence { created_at: created(), expires_at };
        let Scope::InScope(offered) = policy.assess(&facts(Service::Bedrock), &evidence.into(), created())
        else {
            panic!("not judged")
        };
        assert_eq!(offered.verdict(), Verdict::Compliant, "{limit}: {text}");
    }
}

#[test]
fn without_a_contact_the_text_names_the_team() {
    for advice in every_advice() {
        let text = remediation(advice, None).to_string();
        assert!(text.contains("contact the team that runs Bedrock Key Guard."), "{text}");
    }
}

#[test]
fn a_contact_is_one_line_of_printable_text() {
    for contact in
        ["security@example.com", "https://wiki.example.com/keys?a=b&c=d", "Équipe sécurité", &"x".repeat(200)]
    {
        assert_eq!(contact.parse::<Contact>().unwrap().to_string(), contact);
    }
    for contact in [
        "",
        " ",
        " a",
        "a ",
        "a\nb",
        "a\u{202e}b",
        "a\"b",
        "a`b",
        "a\\b",
        &"x".repeat(201),
        "ABSKQmVkcm9ja0FQSUtleS1leGFtcGxlOnNlY3JldA==",
    ] {
        assert_eq!(contact.parse::<Contact>().unwrap_err(), Contact::EXPECTED, "{contact:?}");
    }
}

#[test]
fn names_are_safe_in_a_shell_and_are_not_taken_for_options() {
    for (value, expected) in [
        ("svc-chatbot", "--user-name svc-chatbot"),
        ("jan.kowalski+2@example.com,x=y", "--user-name jan.kowalski+2@example.com,x=y"),
        ("-x", "--user-name='-x'"),
        ("--cli-input-json", "--user-name='--cli-input-json'"),
        ("=ls", "--user-name '=ls'"),
        ("@file", "--user-name '@file'"),
        ("a b;$(id)`id`'", r"--user-name 'a b;$(id)`id`'\'''"),
        ("", "--user-name ''"),
    ] {
        assert_eq!(argument("--user-name", value), expected);
    }
    let mut key = facts(Service::Bedrock);
    key.user = "-x".parse().unwrap();
    let advice = KeyAdvice {
        key,
        verdict: Verdict::Noncompliant,
        violation: Some(Violation::NeverExpires),
        lifetime_violation: Some(Violation::NeverExpires),
        limit_days: 90,
        outcome: Outcome::Monitored,
        status: Status::Active,
        next: NextStep::Monitored,
    };
    let text = remediation(advice, None).to_string();
    assert_eq!(text.matches("--user-name='-x'").count(), 4, "stop, create, delete, list: {text}");
}

#[test]
fn a_creator_is_named_as_a_person_where_that_is_known() {
    const SSO: &str =
        "arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Dev_0123456789abcdef";
    const SESSION: &str =
        "arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Dev_0123456789abcdef/maria@example.com";
    for (principal, issuer, expected) in [
        (Some(SESSION), Some(SSO), Some("maria@example.com")),
        // A role of that name, and not of IAM Identity Center: the caller has chosen the session's name.
        (
            Some(SESSION),
            Some("arn:aws:iam::111122223333:role/AWSReservedSSO_Dev_0123456789abcdef"),
            Some("the role AWSReservedSSO_Dev_0123456789abcdef (session maria@example.com)"),
        ),
        (Some("arn:aws:iam::111122223333:user/team/jan.kowalski"), None, Some("the IAM user jan.kowalski")),
        (Some("arn:aws:iam::111122223333:root"), None, Some("the root user")),
        (Some("arn:aws:sts::111122223333:federated-user/kim"), None, Some("the federated user kim")),
        (Some("bedrock.amazonaws.com"), None, Some("the AWS service bedrock.amazonaws.com")),
        (Some("arn:aws:sts::111122223333:assumed-role/ci/`id`"), None, None),
        (Some("arn:aws:iam::111122223333:user/a\"b"), None, None),
        (Some("arn:aws:iam::111122223333:oidc-provider/x"), None, None),
        (None, Some(SSO), None),
    ] {
        let actor = Actor {
            principal: principal.map(str::to_owned),
            session_issuer: issuer.map(str::to_owned),
            ..Actor::default()
        };
        assert_eq!(name_of(&actor).as_deref(), expected, "{principal:?}");
    }
    let without_arn = |kind: &str, principal: &str| {
        let (kind, principal) = (Some(kind.to_owned()), Some(principal.to_owned()));
        name_of(&Actor { kind, principal, ..Actor::default() }).unwrap()
    };
    assert_eq!(without_arn("IdentityCenterUser", "9448-3041"), "the IAM Identity Center user 9448-3041");
    assert_eq!(without_arn("Unknown", "AIDAEXAMPLE"), "the principal AIDAEXAMPLE");
}

fn access_key_record() -> Value {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/console-user-access-key-created.json");
    let event: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    event["detail"].clone()
}

fn access_key_event() -> CredentialEvent {
    let Ok(ParsedEvent::Relevant(event)) = parse_record(&access_key_record()) else { panic!() };
    *event
}

#[test]
fn an_access_key_is_none_of_the_keys_that_the_policy_is_about() {
    let event = access_key_event();
    assert!(matches!(event.kind, EventKind::UserChanged(_)));
    let contact = "security@example.com".parse().unwrap();
    let report = Report::not_assessed(&event, describe_event(&event.kind)).with_contact(Some(&contact));
    let text = report.remediation.unwrap().to_string();
    for said in [
        "update-access-key",
        "delete-access-key",
        "To verify, run `aws iam list-access-keys",
        "contact security@",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    for not_said in ["service-specific", "lookup --key", "exemption", "short-term", "policy", "\"", "<"] {
        assert!(!text.contains(not_said), "{not_said}: {text}");
    }
}

/// Each change of a user says how to see it and how to take it away, and is critical.
#[test]
fn each_change_of_a_user_says_what_to_do() {
    for (call, list, end) in [
        ("CreateAccessKey", "list-access-keys", "delete-access-key"),
        ("CreateLoginProfile", "get-login-profile", "delete-login-profile"),
        ("UpdateLoginProfile", "get-login-profile", "delete-login-profile"),
        ("AttachUserPolicy", "list-attached-user-policies", "detach-user-policy"),
        ("PutUserPolicy", "list-user-policies", "delete-user-policy"),
        ("AddUserToGroup", "list-groups-for-user", "remove-user-from-group"),
    ] {
        let mut record = access_key_record();
        record["eventName"] = call.into();
        for (name, whose) in [
            ("AeaApiKey-9h2c", "A console created this user for an API key."),
            ("logs-writer", "The user has an API key that was created in a console session."),
        ] {
            record["requestParameters"]["userName"] = name.into();
            record["responseElements"] = Value::Null;
            let Ok(ParsedEvent::Relevant(event)) = parse_record(&record) else { panic!("{call}") };
            let report = Report::not_assessed(&event, describe_event(&event.kind));
            assert_eq!(report.severity, Severity::Critical);
            assert!(report.reason.contains(&format!("{name}. {whose}")), "{}", report.reason);
            let text = report.remediation.unwrap().to_string();
            let command = format!("To verify, run `aws iam {list} --user-name {name}`.");
            assert!(text.contains(&command) && text.contains(&format!("`aws iam {end} ")), "{text}");
            assert!(!text.contains('"') && !text.contains("service-specific"), "{text}");
        }
    }
}

#[test]
fn a_short_text_has_whole_sentences() {
    for advice in every_advice() {
        let remediation = remediation(advice, Some(&"x".repeat(200)));
        let sentences = remediation.sentences();
        assert_eq!(remediation.within(usize::MAX), remediation.to_string());
        // infra/notifications.asl.yaml divides the text where a capital follows a full stop.
        let ends = |three: &[u8]| three.starts_with(b". ") && three[2].is_ascii_uppercase();
        for sentence in &sentences {
            assert!(!sentence.as_bytes().windows(3).any(ends), "{sentence}");
        }
        let mut rest = remediation.within(512);
        assert!(rest.chars().count() <= 512);
        for sentence in sentences {
            if let Some(after) = rest.strip_prefix(&sentence) {
                rest = after.trim_start().to_owned();
            }
        }
        assert_eq!(rest, "", "parts of sentences");
    }
}

/// Who, what, when, and the command that stops it, for formats that take no more.
#[test]
fn a_short_text_has_the_most_important_sentences() {
    for advice in every_advice() {
        let mut remediation = remediation(advice.clone(), Some("security@example.com"));
        remediation.creator = Some(access_key_event().provenance.actor);
        let sentences = remediation.sentences();
        let stop = sentences.iter().position(|sentence| sentence.contains("--status Inactive"));
        let is_usable = matches!(advice.status, Status::Active | Status::Unknown);
        assert_eq!(
            stop.is_some(),
            is_usable && !matches!(advice.verdict, Verdict::Compliant | Verdict::Exempt)
        );
        let first: Vec<_> = sentences.iter().take(stop.map_or(2, |at| at + 1)).map(String::as_str).collect();
        let short = remediation.within(512);
        assert!(short.starts_with(&first.join(" ")), "{first:?}: {short}");
    }
}

/// Each message links to its page, and the page is there.
#[test]
fn each_remediation_has_the_page_of_its_finding() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/findings");
    let advices = every_advice().into_iter().map(Advice::Key).chain([
        Advice::SilentAccount("111122223333".parse().unwrap()),
        Advice::NotJudged(created_key()),
        Report::not_assessed(&access_key_event(), String::new()).remediation.unwrap().advice,
    ]);
    for advice in advices {
        let remediation = Remediation { advice, creator: None, contact: None };
        let page = remediation.page();
        let name = page.strip_prefix("https://github.com/OWNER/bedrock-key-guard/blob/main/docs/findings/");
        assert!(docs.join(name.unwrap()).is_file(), "{page}");
        assert!(remediation.to_string().ends_with(&format!("See {page} for more.")), "{remediation}");
    }
}

fn created_key() -> CreatedKey {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/created-for-unknown-service.json");
    let event: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let Ok(ParsedEvent::Relevant(event)) = parse_record(&event["detail"]) else { panic!() };
    let EventKind::Created(created) = event.kind else { panic!() };
    created
}

#[test]
fn a_key_that_nobody_judges_has_the_command_that_stops_it() {
    let created = created_key();
    let creator = access_key_event().provenance.actor;
    let text = Remediation::of_unjudged_key(&created, &creator).to_string();
    for said in [
        "maria.lopez@example.com created this key.",
        "--service-specific-credential-id ACCAEXAMPLEKEY0000026 --status Inactive`.",
        "add some-new-service.amazonaws.com to `services` in [default]",
        "contact the team that runs Bedrock Key Guard.",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

/// For people to read: `remediation.txt` beside this file has a text for each usual case, a sentence to a line.
#[test]
fn the_texts_for_reading_are_those_of_the_file() {
    use Status::{Active, Expired, Gone, Inactive, Unknown};
    let (never, exceeds) = (VERDICTS[3], VERDICTS[4]);
    let [none, dry_run, monitored, stays_inactive, deactivation, quarantine, deletion, due, held_back] =
        next_steps();
    let mut text = String::new();
    for ((verdict, violation, lifetime_violation), outcome, status, next) in [
        (VERDICTS[1], Outcome::Deactivated, Inactive, stays_inactive),
        (VERDICTS[2], Outcome::Recorded, Active, monitored),
        (VERDICTS[2], Outcome::AlreadyInactive, Inactive, stays_inactive),
        (VERDICTS[2], Outcome::AlreadyInactive, Expired, none),
        (never, Outcome::Monitored, Active, monitored),
        (never, Outcome::Recorded, Active, dry_run),
        (never, Outcome::Monitored, Unknown, deletion),
        (exceeds, Outcome::Monitored, Active, deactivation),
        (exceeds, Outcome::Monitored, Active, quarantine),
        (exceeds, Outcome::Deactivated, Inactive, due),
        (exceeds, Outcome::Deactivated, Inactive, stays_inactive),
        (exceeds, Outcome::AlreadyInactive, Inactive, stays_inactive),
        (exceeds, Outcome::AlreadyInactive, Expired, none),
        (exceeds, Outcome::Gone, Gone, none),
        (exceeds, Outcome::AlreadyGone, Gone, none),
        (VERDICTS[5], Outcome::Deleted, Gone, none),
        (VERDICTS[5], Outcome::Monitored, Active, deletion),
        (VERDICTS[6], Outcome::Monitored, Active, due),
        (VERDICTS[7], Outcome::Deactivated, Inactive, held_back),
    ] {
        let is_forbidden = violation == Some(Violation::LongTermKeyForbidden);
        let (service, limit_days) = if is_forbidden { (Service::Logs, 0) } else { (Service::Bedrock, 90) };
        let key = facts(service);
        let advice =
            KeyAdvice { key, verdict, violation, lifetime_violation, limit_days, outcome, status, next };
        let said = remediation(advice, Some("security@example.com")).sentences().join("\n    ");
        let violation = violation.map_or("-", Violation::as_str);
        let (verdict, status) = (verdict.as_str(), status.as_str());
        writeln!(text, "{verdict} {violation} {outcome} {status} {next:?}\n    {said}\n").unwrap();
    }
    let access_key = access_key_event();
    let said =
        Report::not_assessed(&access_key, String::new()).remediation.unwrap().sentences().join("\n    ");
    writeln!(text, "access key\n    {said}\n").unwrap();
    let unjudged = Remediation::of_unjudged_key(&created_key(), &access_key.provenance.actor);
    writeln!(text, "service not judged\n    {}\n", unjudged.sentences().join("\n    ")).unwrap();
    let silent = Remediation::of_silent_account(&"111122223333".parse().unwrap());
    writeln!(text, "silent account\n    {}", silent.sentences().join("\n    ")).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/remediation.txt");
    let said = Path::new(env!("CARGO_TARGET_TMPDIR")).join("remediation.txt");
    std::fs::write(&said, &text).unwrap();
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == text, "{} is not what is said, which is in {}", path.display(), said.display());
}
