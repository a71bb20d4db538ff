//! Users: exempt until a day, or by a pattern, in any case and under any path.

use bedrock_key_guard::prevent::{self, Gap, Kind, Options};

use super::evaluator::Call;
use super::{VENDOR, at, check, is_exact, parse, plain, policy, scp_with};
use crate::support::{OTHER, OWN};

#[test]
fn an_exemption_holds_to_the_last_second_of_its_last_day_and_no_longer() {
    let policy = policy(90, VENDOR);
    for options in [Options::default(), plain()] {
        let document = scp_with(&policy, &options);
        let make = |age| Call::make(OWN, "Vendor", age);
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
                (Call::make(OWN, "Another", None), true),
            ],
        );
        let ended = at("2027-04-01T00:00:00Z");
        let later = prevent::document(Kind::ServiceControlPolicy, &policy, &options, ended).unwrap();
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
    let after = |user| Call::make(OWN, user, None).at("2027-04-01T00:00:00Z");
    check(&document, &[(after("Vendor"), true), (after("vendor"), false)]);
    assert!(!is_exact(&document.gaps), "{:?}", document.gaps);
}

#[test]
fn an_exemption_on_the_last_day_that_can_be_written_never_ends() {
    let document = scp_with(&policy(90, &VENDOR.replace("2027-03-31", "9999-12-31")), &plain());
    check(&document, &[(Call::make(OWN, "Vendor", None).at("9999-12-31T23:59:59Z"), false)]);
    assert!(!document.text.contains("CurrentTime"));
}

#[test]
fn users_are_exempt_in_any_case_and_under_any_path() {
    let policy = policy(90, VENDOR);
    let document = scp_with(&policy, &Options::default());
    let exempt = ["Vendor", "VENDOR", "vendor", "a/Vendor", "a/b/vENDOR"];
    let calls: Vec<_> = exempt.iter().map(|user| (Call::make(OWN, user, None), false)).collect();
    check(&document, &calls);
    let note = document.gaps.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(note.contains("the exemption of Vendor in 111122223333"), "{note}");
    // Who says that there is nothing of the kind gets no more than that.
    let exact = scp_with(&policy, &plain());
    check(&exact, &[(Call::make(OWN, "Vendor", None), false), (Call::make(OWN, "vendoR", None), true)]);
    assert_eq!(exact.gaps, []);
}

#[test]
fn users_by_pattern_have_looser_limits() {
    let policy = policy(90, "[[override]]\nusers = [\"svc-*\"]\nmax_lifetime_days = 365\n");
    let document = scp_with(&policy, &Options::default());
    for user in ["svc-a", "SVC-A", "team/svc-a"] {
        let make = |age| Call::make(OWN, user, age);
        check(&document, &[(make(Some(365)), false), (make(Some(366)), true), (make(None), true)]);
    }
    check(&document, &[(Call::make(OWN, "other", 91), true)]);
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
            (Call::make(OWN, "BedrockAPIKey-x1y2", 1), false),
            (Call::make(OWN, "BedrockAPIKey-x1y2", 91), true),
            (Call::make(OWN, "BedrockAPIKey-team/other", 1), false),
            (Call::make(OWN, "team/x-tmp", 1), true),
            (Call::make(OWN, "team/Fixed", 1), true),
            (Call::make(OWN, "xFixed", 1), false),
        ],
    );
    let (rule, users) = ("override 1".to_owned(), "BedrockAPIKey-*".to_owned());
    assert!(document.gaps.contains(&Gap::Pathless { rule, users }), "{:?}", document.gaps);
    let exact = scp_with(&policy, &plain());
    check(&exact, &[(Call::make(OWN, "BedrockAPIKey-x1y2", 1), true)]);
    assert_eq!(exact.gaps, []);
}

#[test]
fn what_one_statement_cannot_say_is_not_denied_and_noted() {
    let policy = policy(
        90,
        &format!(
            "[[override]]\nusers = [\"a-*\"]\nmax_lifetime_days = 30\n[[override]]\naccounts = [\"{OWN}\"]\nusers = [\"*-z\"]\nmax_lifetime_days = 60\n"
        ),
    );
    let document = scp_with(&policy, &plain());
    check(
        &document,
        &[
            (Call::make(OWN, "a-b-z", 60), false),
            (Call::make(OWN, "a-b", 31), false),
            (Call::make(OWN, "a-b", 61), true),
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
