//! `infra/deploy`: what it builds, and what it hands to `sam deploy`, with stand-ins for the commands that it runs.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::repository;

const NO_STACK: &str = "echo 'Stack with id bedrock-key-guard does not exist' >&2; exit 254";

/// Runs it with `aws` as this script. Returns the exit code, the commands that were run, each argument in angle brackets, and
/// what is on stderr.
#[expect(clippy::disallowed_methods, reason = "the shell is found where it is")]
fn deploy(aws: &str, arguments: &[&str]) -> (i32, String, String) {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    std::fs::create_dir(path("infra")).unwrap();
    std::fs::create_dir(path("bin")).unwrap();
    std::fs::copy(repository("infra/deploy"), path("infra/deploy")).unwrap();
    let log = |name: &str| format!("printf '<%s>' {name} \"$@\" >> \"$LOG\"; echo >> \"$LOG\"");
    for (name, script) in [
        ("infra/package", log("package")),
        ("bin/aws", format!("{}\n{aws}", log("aws"))),
        ("bin/sam", log("sam")),
        ("bin/cargo", "echo 'services: bedrock.amazonaws.com, logs.amazonaws.com'".to_owned()),
    ] {
        std::fs::write(path(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let run = Command::new("bash")
        .arg(path("infra/deploy"))
        .args(arguments)
        .env("PATH", format!("{}:{}", path("bin").display(), std::env::var("PATH").unwrap()))
        .env("LOG", path("log"))
        .output()
        .unwrap();
    let log = std::fs::read_to_string(path("log")).unwrap_or_default();
    (run.status.code().unwrap(), log, String::from_utf8(run.stderr).unwrap())
}

/// The parameters and options after `--parameter-overrides`, and the architecture that was built.
fn deployed(aws: &str, arguments: &[&str]) -> (String, String) {
    let (code, log, stderr) = deploy(aws, arguments);
    assert_eq!(code, 0, "{stderr}");
    let of = |command: &str| log.lines().find_map(|line| line.strip_prefix(command)).unwrap().to_owned();
    (of("<sam>").split_once("<--parameter-overrides>").unwrap().1.to_owned(), of("<package>"))
}

const SERVICES: &str = r#"<Services="bedrock.amazonaws.com,logs.amazonaws.com">"#;

#[test]
fn a_new_stack_is_for_arm64_and_the_services_of_the_policy() {
    let expected = (format!("<Architecture=arm64>{SERVICES}"), "<arm64>".to_owned());
    assert_eq!(deployed(NO_STACK, &[]), expected);
}

#[test]
fn what_is_not_given_stays() {
    let stack = |source: &str| format!("printf 'Architecture\\tx86_64\\nPolicySource\\t{source}\\n'");
    let with_package =
        (format!(r#"<Architecture=x86_64><Ceiling="delete">{SERVICES}"#), "<x86_64>".to_owned());
    assert_eq!(deployed(&stack("package"), &["Ceiling=delete"]), with_package);
    // Nobody deploys the policy in the package then.
    let with_ledger = (r#"<Architecture=x86_64><Ceiling="delete">"#.to_owned(), "<x86_64>".to_owned());
    assert_eq!(deployed(&stack("ledger"), &["Ceiling=delete"]), with_ledger);
    let given = (r#"<Architecture=arm64><Services="*">"#.to_owned(), "<arm64>".to_owned());
    assert_eq!(deployed(&stack("ledger"), &["arm64", "Services=*"]), given);
    assert_eq!(
        deployed(&stack("package"), &["PolicySource=ledger"]).0,
        r#"<Architecture=x86_64><PolicySource="ledger">"#
    );
}

#[test]
fn values_have_spaces_and_options_are_those_of_sam() {
    let parameters = ["Contact=Ask the security team", "SweepSchedule=rate(1 hour)", "NotificationEmail="];
    let options = ["--tags", "team=security", "--profile", "security", "--region=us-gov-west-1"];
    let (_, log, _) = deploy(NO_STACK, &[&parameters[..], &options].concat());
    let sam = log.lines().last().unwrap();
    let expected = format!(
        r#"<Architecture=arm64><Contact="Ask the security team"><SweepSchedule="rate(1 hour)"><NotificationEmail="">{SERVICES}{}"#,
        "<--tags><team=security><--profile><security><--region=us-gov-west-1>"
    );
    assert!(sam.ends_with(&expected), "{sam}");
    let aws = log.lines().next().unwrap();
    assert!(aws.contains("<--profile><security><--region=us-gov-west-1>"), "{aws}");
}

#[test]
fn nothing_is_built_where_the_stack_cannot_be_seen() {
    let (code, log, stderr) = deploy("echo 'ExpiredToken: no' >&2; exit 254", &[]);
    assert_eq!((code, log.lines().count()), (1, 1), "{log}");
    assert!(stderr.contains("ExpiredToken"), "{stderr}");
    for refused in ["Architecture=x86_64", "ceiling"] {
        assert_eq!(deploy(NO_STACK, &[refused]).0, 2, "{refused}");
    }
}
