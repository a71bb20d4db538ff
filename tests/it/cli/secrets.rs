//! No secret leaves the command line by any door: arguments, paths, errors that quote what they have read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::input_kinds::tar;
use crate::support::cli::{CliOutput, Folder};

fn secrets() -> [String; 4] {
    let body = STANDARD.encode("svc-chatbot-at-111122223333:pL3qZk8Wm2Rt7vYx1Nb6Cd9Fg4Hj5");
    let url = "bedrock.amazonaws.com/?Action=CallWithBearerToken&X-Amz-Credential=ASIA&X-Amz-Expires=43200";
    [
        format!("ABSK{body}"),
        format!("AEAA{body}"),
        format!("bedrock-api-key-{}", STANDARD.encode(url)),
        format!("IQoJb3JpZ2lu{}", "aB3".repeat(30)),
    ]
}

fn assert_silent(printed: &str, secret: &str) {
    for part in secret.as_bytes().windows(20) {
        let part = std::str::from_utf8(part).unwrap();
        assert!(!printed.contains(part), "{printed}");
    }
}

#[test]
fn a_secret_in_any_argument_of_any_command_is_refused_and_not_repeated() {
    let folder = Folder::new();
    for secret in secrets() {
        let inside = format!("--user={secret}");
        let url = format!("https://example.com/?key={secret}&x=1");
        for arguments in [
            &[secret.as_str()][..],
            &["identify", &secret],
            &["identify", "--format", &secret],
            &["lookup", &secret],
            &["lookup", "--key", &secret],
            &["lookup", &inside],
            &["timeline", &secret],
            &["incident", &secret, "--output", "night"],
            &["lookup", "--ledger", &secret],
            &["replay", &secret],
            &["replay", "--ledger", &secret, "events"],
            &["policy", "check", &secret],
            &["policy", "push", "policy.toml", "--reason", &url],
            &["hunt", "athena", "--table", &secret],
            &["prevent", "scp", "--break-glass", &secret],
            &["doctor", "--function", &secret],
            &["sweep", "--accounts", &secret],
            &["import", &secret],
            &["report", "--contact", &url],
        ] {
            let ran = folder.run(arguments);
            assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
            assert!(ran.stderr.contains("rotate it") && ran.stderr.contains("identify"), "{}", ran.stderr);
            assert_silent(&ran.stderr, &secret);
        }
    }
    let aws = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let ran = folder.run(&["lookup", "--secret-access-key", aws]);
    assert_eq!(ran.code, 2);
    assert_silent(&ran.stderr, aws);
    // Without a label, too: it is likely to be one.
    // So is what follows the colon in a decoded key.
    let behind_colon = "pL3q+Zk8/Wm2Rt7vYx1Nb6Cd9Fg4Hj5aB7cD9eF1gH8Kq==";
    for secret in [aws, behind_colon] {
        let flag = format!("--user={secret}");
        for arguments in [
            &["lookup", "--key", secret][..],
            &["identify", secret],
            &["report", "--contact", secret],
            &["lookup", &flag],
            &["lookup", "--account", secret],
            &["timeline", secret],
            &["incident", secret, "--output", "night"],
            &["hunt", "athena", "--account", secret],
            &["usage", "--user", secret],
            &["policy", "check", secret],
        ] {
            let ran = folder.run(arguments);
            assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {}", ran.stderr);
            assert!(ran.stderr.contains("rotate it"), "{}", ran.stderr);
            assert_silent(&ran.stderr, secret);
        }
    }
    let hash = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
    let ran = folder.run(&["replay", hash]);
    assert!(ran.code == 1 && ran.stderr.contains(hash), "a hash is a name like any other: {}", ran.stderr);
    assert!(folder.names().is_empty(), "nothing was done");
}

#[test]
fn names_of_files_and_what_they_hold_are_redacted_in_messages() {
    let folder = Folder::new();
    for secret in secrets() {
        // The secret as a file's name, as a policy's words and values, as broken JSON, and as an item of a ledger.
        let file_name = secret.replace('/', "_");
        folder.write(&format!("logs/{file_name}.json"), format!("{{\"eventName\": \"{secret}\""));
        folder.write("logs/text.json", &secret);
        folder.write(
            "logs/value.json",
            format!("{{\"eventName\": \"CreateServiceSpecificCredential\", \"{secret}\": 1}}"),
        );
        let key = folder.write("key.toml", format!("[default]\n\"{secret}\" = 1\n"));
        let value = folder.write(
            "value.toml",
            format!(
                "[default]\nservices = [\"{secret}\"]\nmax_lifetime_days = 90\nresponse = \"{secret}\"\n"
            ),
        );
        let broken = folder.write("broken.toml", format!("[default]\nx = {secret}\n"));
        let items = folder.write("items.jsonl", format!("{{\"line\": \"{secret}\"}}\n{secret}\n"));
        for arguments in [
            &["replay", "logs"][..],
            &["policy", "check", &key],
            &["policy", "check", &value],
            &["policy", "check", &broken],
            &["replay", "--policy", &broken, "logs"],
            &["import", &items],
        ] {
            let ran = folder.run(arguments);
            assert_ne!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
            assert_silent(&ran.stderr, &secret);
            assert_silent(&ran.stdout, &secret);
        }
    }
}

#[test]
fn a_secret_in_a_variable_is_refused_and_not_repeated() {
    let folder = Folder::new();
    let aws = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned();
    for secret in secrets().into_iter().chain([aws]) {
        for (name, value) in [
            ("KEY_GUARD_LEDGER", secret.clone()),
            ("KEY_GUARD_LEDGER", format!("file:{secret}")),
            ("KEY_GUARD_LEDGER", format!("dynamodb:{secret}")),
            ("AWS_PROFILE", secret.clone()),
            ("AWS_REGION", secret.clone()),
        ] {
            let ran = CliOutput::of(folder.command(&["lookup"]).env(name, &value));
            assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
            assert!(ran.stderr.contains(name) && ran.stderr.contains("unset"), "{}", ran.stderr);
            assert_silent(&ran.stderr, &secret);
        }
    }
    // Other mistakes are those of clap, as before.
    let ran = CliOutput::of(folder.command(&["lookup"]).env("KEY_GUARD_LEDGER", "nonsense"));
    assert!(ran.code == 2 && ran.stderr.contains("--ledger"), "{}", ran.stderr);
    assert!(folder.names().is_empty(), "nothing was done");
}

/// The tar crate quotes the bytes of a header that it cannot read.
#[test]
fn what_is_damaged_is_not_quoted() {
    let folder = Folder::new();
    let secret = "svc chat password Hunter2Hunter2Hunter2";
    let member = &tar(&[("a.txt", b"hi")])[..1024];
    for (field, length) in [(100, 24), (108, 16), (124, 12), (148, 8)] {
        // The fields of a header are numbers (POSIX, pax, ustar Interchange Format): this one is none.
        let mut header = [0_u8; 512];
        header[..secret.len()].copy_from_slice(secret.as_bytes());
        header[field..field + length].fill(b'H');
        folder.write("a.tar", [member, &header].concat());
        let ran = folder.run(&["replay", "a.tar"]);
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        assert!(ran.stderr.contains("a.tar: the file is damaged: what is in it"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("HHHH") && !ran.stderr.contains("Hunter"), "{}", ran.stderr);
    }
}

#[test]
fn a_policy_is_not_quoted_where_it_has_a_secret() {
    let folder = Folder::new();
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let text = format!(
        "[default]\nservices = [\"bedrock.amazonaws.com\"]\nmax_lifetime_days = \"{secret}\"\nresponse = \"delete\"\n"
    );
    folder.write("policy.toml", text);
    let ran = folder.run(&["policy", "check", "policy.toml"]);
    assert!(ran.code == 2 && ran.stderr.contains("policy.toml:3:"), "{}", ran.stderr);
    assert_silent(&ran.stderr, secret);
}
