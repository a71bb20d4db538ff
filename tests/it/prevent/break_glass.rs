//! The principals that no statement is for, and the use of keys, which is denied when asked.

use bedrock_key_guard::prevent::{BreakGlass, Kind, Options, PreventError, actions};

use super::evaluator::{CREATE, Call, denies, texts};
use super::{VENDOR, check, document_of, json, parse, plain, policy, scp_with};
use crate::support::{OTHER, OWN};

#[test]
fn break_glass_may_do_everything() {
    let break_glass = ["arn:aws:iam::*:role/break-glass", "arn:aws:iam::444455556666:user/ops/*"]
        .map(|arn| arn.parse::<BreakGlass>().unwrap())
        .to_vec();
    let options = Options { break_glass, deny_use: true, ..plain() };
    let document = scp_with(&policy(0, VENDOR), &options);
    let make = || Call::make(OWN, "svc", None);
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
        let by = |user| Call::r#use(action, OWN, user);
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
