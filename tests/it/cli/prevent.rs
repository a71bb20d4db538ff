//! `prevent`: the documents that it prints, and what it says beside them.

use serde_json::{Value, json};

use crate::support::cli::{CliOutput, Folder};

/// What `prevent` printed: one JSON document, and what it does not cover.
fn prevented(ran: &CliOutput) -> Value {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("\nnot covered:\n  "), "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("one JSON document and nothing else")
}

#[test]
fn prevent_scp_prints_a_document_that_denies_keys_without_an_age() {
    let folder = Folder::new();
    let ran = folder.run(&["prevent", "scp"]);
    let document = prevented(&ran);
    insta::assert_snapshot!("scp-stdout", ran.stdout);
    insta::assert_snapshot!("scp-stderr", ran.stderr);
    let statements = document["Statement"].as_array().unwrap();
    let age = "iam:ServiceSpecificCredentialAgeDays";
    assert!(statements.iter().any(|statement| statement["Condition"]["Null"][age] == "true"));
    assert!(statements.iter().any(|statement| statement["Condition"]["NumericGreaterThan"][age] == "90"));
    assert!(ran.stdout.len() <= 5_120 && ran.stdout.ends_with("}\n"));
}

#[test]
fn prevent_permission_boundary_allows_what_is_not_denied() {
    let folder = Folder::new();
    let ran = folder.run(&["prevent", "permission-boundary"]);
    let document = prevented(&ran);
    assert_eq!(document["Statement"][0]["Effect"], "Allow");
    assert!(ran.stderr.contains("a boundary grants none"), "{}", ran.stderr);
    let scp = prevented(&folder.run(&["prevent", "scp"]));
    assert_eq!(document["Statement"].as_array().unwrap()[1..], *scp["Statement"].as_array().unwrap());
}

#[test]
fn prevent_event_pattern_prints_the_pattern_of_the_events_that_are_ours() {
    let ran = Folder::new().run(&["prevent", "event-pattern"]);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document, key_guard_core::cloudtrail::pattern());
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.starts_with("not covered:\n") && ran.stderr.contains("us-east-1"), "{}", ran.stderr);
}

#[test]
fn prevent_takes_the_policy_file_and_says_what_iam_cannot_say() {
    let folder = Folder::new();
    let file = folder.write(
        "policy.toml",
        r#"
[default]
services = ["bedrock.amazonaws.com"]
max_lifetime_days = 90
response = "delete"
[[override]]
users = ["svc-*"]
max_lifetime_days = 0
[[override]]
accounts = ["111122223333"]
response = "monitor"
[[exemption]]
account = "444455556666"
user = "vendor"
reason = "SEC-1"
until = 2020-01-01
"#,
    );
    let ran = folder.run(&["prevent", "scp", "--policy", &file, "--deny-use"]);
    let document = prevented(&ran);
    assert!(!ran.stdout.contains("vendor"), "the exemption has ended");
    assert!(document.to_string().contains("bedrock-mantle:CallWithBearerToken"));
    for note in [
        "warning: policy.toml: the exemption of vendor in 444455556666 ended on 2020-01-01",
        "not denied, though the policy file forbids it:\n",
        "  override 1: nothing more is denied to svc-*, ",
        "  override 2: its response is monitor, so nothing is denied\n",
        "  the age of a key in use, ",
    ] {
        assert!(ran.stderr.contains(note), "{note}\n{}", ran.stderr);
    }
    let exact = folder.run(&["prevent", "scp", "--policy", &file, "--plain-users"]);
    assert!(prevented(&exact).to_string().contains("arn:aws:iam::*:user/svc-*"));
    assert!(!exact.stderr.contains("override 1"), "{}", exact.stderr);
    let china = folder.run(&["prevent", "scp", "--policy", &file, "--plain-users", "--partition", "aws-cn"]);
    assert!(prevented(&china).to_string().contains("arn:aws-cn:iam::*:user/svc-*"));
}

#[test]
fn prevent_leaves_break_glass_principals_out_of_every_statement() {
    let (role, user) = ("arn:aws:iam::*:role/break-glass", "arn:aws:iam::111122223333:user/ops/kim");
    let ran = Folder::new().run(&["prevent", "scp", "--break-glass", role, "--break-glass", user]);
    for statement in prevented(&ran)["Statement"].as_array().unwrap() {
        assert_eq!(statement["Condition"]["ArnNotLike"]["aws:PrincipalArn"], json!([role, user]));
    }
    assert!(ran.stderr.contains("  arn:aws:iam::*:role/break-glass: may create any key"), "{}", ran.stderr);
}

#[test]
fn prevent_prints_nothing_to_stdout_where_it_fails() {
    let folder = Folder::new();
    let rules = |response: &str| {
        format!(
            "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = 90\nresponse = \"{response}\"\n"
        )
    };
    let invalid = folder.write("invalid.toml", rules("remove"));
    let monitor = folder.write("monitor.toml", rules("monitor"));
    let exemption = |number: u32| {
        format!(
            "[[exemption]]\naccount = \"111122223333\"\nuser = \"vendor-{number}\"\nreason = \"SEC-1\"\nuntil = 9999-12-30\n"
        )
    };
    let long = folder.write("long.toml", rules("delete") + &(0..50).map(exemption).collect::<String>());
    let sts = "arn:aws:sts::111122223333:assumed-role/break-glass/kim";
    let cases: [(&[&str], i32, &[&str]); 9] = [
        (&["--policy", &invalid], 2, &["error: invalid.toml:4:12: unknown response \"remove\""]),
        (
            &["--policy", "ledger:"],
            2,
            &["error: `ledger:` is not read here", "policy log --version NUMBER > policy.toml"],
        ),
        (&["--policy", "missing.toml"], 1, &["error: missing.toml: could not read the policy file"]),
        (
            &["--policy", &monitor],
            1,
            &["error: the policy denies nothing: [default]: its response is monitor"],
        ),
        (
            &["--policy", &long],
            1,
            &["error: the service control policy has ", " characters, and AWS takes 5120"],
        ),
        (&["--break-glass", sts], 2, &["'--break-glass <ARN>': expected the ARN of an IAM role or user"]),
        (&["--break-glass", "arn:aws:iam::*:role/*"], 2, &["'--break-glass <ARN>'"]),
        (
            &["--break-glass", "arn:aws:iam::*:role/x", "--partition", "aws-us-gov"],
            2,
            &["error: --break-glass arn:aws:iam::*:role/x: expected an ARN of the partition aws-us-gov"],
        ),
        (&["--partition", "aws-iso"], 2, &["--partition"]),
    ];
    for (arguments, code, messages) in cases {
        let ran = folder.run(&[&["prevent", "scp"], arguments].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (code, ""), "{arguments:?}\n{}", ran.stderr);
        for message in messages {
            assert!(ran.stderr.contains(message), "{message}\n{}", ran.stderr);
        }
    }
}
