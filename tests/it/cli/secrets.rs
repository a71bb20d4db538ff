//! No secret leaves the command line by any door: arguments, paths, errors that quote what they have read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::cli::Folder;

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
    for arguments in [&["lookup", "--key", aws][..], &["identify", aws], &["report", "--contact", aws]] {
        let ran = folder.run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("rotate it"), "{}", ran.stderr);
        assert_silent(&ran.stderr, aws);
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
