//! `identify`: whose a leaked text is, and that nothing of it is ever printed.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::input::gzip;
use super::input_kinds::zip;
use crate::support::cli::{CliOutput, Folder};

const SECRET: &str = "pL3q+Zk8/Wm2Rt7vYx1Nb6Cd9Fg4Hj5=";

fn long_term(prefix: &str, alias: &str) -> String {
    format!("{prefix}{}", STANDARD.encode(format!("{alias}:{SECRET}")))
}

/// A short-term key of account 111122223333, signed in this year.
fn short_term(year: u16, id: &str) -> String {
    let url = format!(
        "bedrock.amazonaws.com/?Action=CallWithBearerToken&X-Amz-Algorithm=AWS4-HMAC-SHA256\
         &X-Amz-Credential={id}%2F{year}1120%2Feu-central-1%2Fbedrock%2Faws4_request&X-Amz-Date={year}1120T090711Z\
         &X-Amz-Expires=43200&X-Amz-SignedHeaders=host&X-Amz-Signature={}&Version=1",
        "5f".repeat(32)
    );
    format!("bedrock-api-key-{}", STANDARD.encode(url))
}

const TEMPORARY: &str = "ASIARTX3GSDSQAAACI2F";

/// Runs it, and checks that no part of the text is in what it prints.
fn identify(folder: &Folder, arguments: &[&str], text: &str) -> CliOutput {
    let ran = folder.run_with_input(&[&["identify"], arguments].concat(), text.as_bytes());
    for secret in text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/=_-".contains(c))) {
        for part in secret.as_bytes().windows(24) {
            let part = std::str::from_utf8(part).unwrap();
            assert!(!ran.stdout.contains(part) && !ran.stderr.contains(part), "{part}: {ran:?}");
        }
    }
    ran
}

#[test]
fn a_long_term_key_says_whose_it_is_and_what_stops_it() {
    let folder = Folder::new();
    let key = long_term("ABSK", "BedrockAPIKey-k3qz-at-111122223333");
    let ran = identify(&folder, &[], &format!("export AWS_BEARER_TOKEN_BEDROCK={key}\n"));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    insta::assert_snapshot!("long-term", ran.stdout);
    assert!(folder.names().is_empty(), "nothing is stored");
}

#[test]
fn a_key_in_the_added_lines_of_a_diff_says_whose_it_is() {
    let key = long_term("ABSK", "BedrockAPIKey-k3qz-at-111122223333");
    let lines: Vec<_> = key.as_bytes().chunks(30).map(|line| String::from_utf8_lossy(line)).collect();
    let added = format!("+{}\n", lines.join("\n+"));
    for text in [added.clone(), format!("@@ -1,2 +1,9 @@ env\n key:\n-none\n{added} end\n")] {
        let ran = identify(&Folder::new(), &["--format", "jsonl"], &text);
        let found = ran.json_lines();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0]["user"], "BedrockAPIKey-k3qz", "{text}");
    }
}

#[test]
fn both_readings_of_a_second_key_are_said() {
    let key = long_term("AEAA", "ana+1-at-111122223333");
    let ran = identify(&Folder::new(), &[], &key);
    assert_eq!(ran.code, 0);
    insta::assert_snapshot!("second-key", ran.stdout);
}

#[test]
fn short_term_keys_say_when_they_end() {
    let folder = Folder::new();
    let ended = identify(&folder, &[], &short_term(2025, TEMPORARY));
    insta::assert_snapshot!("short-term-ended", ended.stdout);
    let working = identify(&folder, &[], &short_term(2199, TEMPORARY));
    insta::assert_snapshot!("short-term", without_now(&working.stdout));
    let of_user = identify(&folder, &[], &short_term(2199, "AKIARTX3GSDSQAAACI2F"));
    assert!(
        of_user
            .stdout
            .contains("aws iam update-access-key --user-name USER --access-key-id AKIARTX3GSDSQAAACI2F")
    );
}

/// What is printed, without the time at which that was.
fn without_now(text: &str) -> String {
    const FIELD: &str = "aws:TokenIssueTime";
    let mut parts = text.split(FIELD);
    let mut clean = parts.next().unwrap().to_owned();
    for part in parts {
        // In JSON lines the quotes are escaped.
        let (start, end) = (part.find("20").unwrap(), part.find('Z').unwrap());
        clean += FIELD;
        clean += &part[..start];
        clean += "NOW";
        clean += &part[end + 1..];
    }
    clean
}

#[test]
fn jsonl_has_an_object_with_every_field_for_each_key() {
    let text = format!(
        "{} {}\n{TEMPORARY} aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY {}",
        long_term("ACWL", "ben-at-111122223333"),
        short_term(2025, TEMPORARY),
        long_term("AXRY", "eve-at-444455556666"),
    );
    let ran = identify(&Folder::new(), &["--format", "jsonl"], &text);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let keys = ran.json_lines();
    let fields = |index: usize| keys[index].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert!((1..4).all(|index| fields(index) == fields(0)), "each field is always there");
    insta::assert_snapshot!("jsonl", without_now(&ran.stdout));
}

#[test]
fn the_ledger_says_which_key_it_is_and_how_it_stands() {
    let folder = Folder::new();
    let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("events");
    assert_eq!(folder.run(&["replay", events.to_str().unwrap()]).code, 0);
    let ledger = ["--ledger", "file:key-guard.db"];
    let ran = identify(&folder, &ledger, &long_term("ABSK", "svc-chatbot-at-111122223333"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    insta::assert_snapshot!("ledger", ran.stdout);
    let ended = identify(&folder, &ledger, &long_term("ABSK", "svc-search-at-111122223333"));
    let says = "ACCAEXAMPLEKEY0000003: deleted (says an event); a dry run found it noncompliant, created 2026-11-20T09:21:33Z, would \
                have expired 2027-11-20T09:21:33Z";
    assert!(ended.stdout.contains(says), "{}", ended.stdout);
    // Another service, another account, or a user that the ledger does not know.
    for (prefix, alias) in [
        ("ACWL", "svc-chatbot-at-111122223333"),
        ("ABSK", "svc-chatbot-at-444455556666"),
        ("ABSK", "nobody-at-111122223333"),
    ] {
        let ran = identify(&folder, &ledger, &long_term(prefix, alias));
        assert!(
            !ran.stdout.contains("ACCA") && ran.stdout.contains("The ledger has no key"),
            "{}",
            ran.stdout
        );
    }
}

#[test]
fn a_ledger_that_cannot_be_read_hides_nothing_of_what_the_text_says() {
    let (folder, key) = (Folder::new(), long_term("ABSK", "ana-at-111122223333"));
    let alone = identify(&folder, &[], &key);
    let ran = identify(&folder, &["--ledger", "file:none.db"], &key);
    assert_eq!((ran.code, ran.stdout), (4, alone.stdout), "{}", ran.stderr);
    let says = |stderr: &str| {
        stderr.starts_with("note: the ledger could not be read: ")
            && stderr.ends_with("; everything above is from the text\n")
    };
    assert!(says(&ran.stderr) && ran.stderr.contains("none.db"), "{}", ran.stderr);
    let ran = identify(&folder, &["--format", "jsonl", "--ledger", "file:none.db"], &key);
    assert_eq!((ran.code, ran.json_lines().len()), (4, 1));
    assert!(says(&ran.stderr) && ran.json_lines()[0]["ledger"].is_null(), "{}", ran.stderr);
}

/// The example events, with another key of one of their users.
fn with_second_key(folder: &Folder, event: &str, id: &str) {
    let mut creation = crate::support::event(event);
    *creation.pointer_mut("/detail/eventID").unwrap() = format!("creation-of-{id}").into();
    *creation
        .pointer_mut("/detail/responseElements/serviceSpecificCredential/serviceSpecificCredentialId")
        .unwrap() = id.into();
    folder.write("second.json", creation.to_string());
    let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("events");
    assert_eq!(folder.run(&["replay", events.to_str().unwrap(), "second.json"]).code, 0);
}

/// A paste of the whole block deletes nothing before a look.
#[test]
fn of_several_keys_none_is_deleted_by_its_id() {
    let folder = Folder::new();
    with_second_key(&folder, "created-without-age", "ACCAEXAMPLEKEY0000099");
    let ledger = ["--ledger", "file:key-guard.db"];
    let ran = identify(&folder, &ledger, &long_term("ABSK", "svc-chatbot-at-111122223333"));
    insta::assert_snapshot!("several-keys", ran.stdout);
    // One of the two is deleted: that may be the leaked one, or the other one.
    with_second_key(&folder, "created-for-365-days", "ACCAEXAMPLEKEY0000098");
    let ran = identify(&folder, &ledger, &long_term("ABSK", "svc-search-at-111122223333"));
    let delete: Vec<_> = ran.stdout.lines().filter(|line| line.contains(" delete-service")).collect();
    assert!(delete.len() == 1 && delete[0].ends_with(" CREDENTIAL_ID"), "{}", ran.stdout);
    let at = |part: &str| ran.stdout.find(part).unwrap_or(usize::MAX);
    assert!(at("# look: ") < at("# deactivate the key, only the one with the alias "), "{}", ran.stdout);
    assert!(!ran.stdout.contains("--service-specific-credential-id ACCAEXAMPLEKEY0000003"), "{}", ran.stdout);
}

#[test]
fn a_key_that_is_stopped_already_says_so_first() {
    let folder = Folder::new();
    let events = Path::new(env!("CARGO_MANIFEST_DIR")).join("events");
    assert_eq!(folder.run(&["replay", events.to_str().unwrap()]).code, 0);
    let of = |user: &str| {
        let alias = format!("{user}-at-111122223333");
        identify(&folder, &["--ledger", "file:key-guard.db"], &long_term("ABSK", &alias)).stdout
    };
    insta::assert_snapshot!("deleted", of("svc-search"));
    for (user, says, works) in [
        ("svc-nightly", "the ledger says: expired, since ", false),
        ("svc-legacy", "the ledger says: active, since ", true),
    ] {
        let stdout = of(user);
        assert!(stdout.lines().nth(1).unwrap().starts_with(&format!("  status     {says}")), "{stdout}");
        assert_eq!(stdout.contains("--status Inactive"), works, "{stdout}");
        assert!(stdout.contains("aws iam delete-service"), "{stdout}");
    }
    let folder = Folder::new();
    let inactive = ["created-for-365-days", "status-changed-to-inactive"];
    folder.write("events.jsonl", inactive.map(|name| crate::support::event(name).to_string()).join("\n"));
    assert_eq!(folder.run(&["replay", "events.jsonl"]).code, 0);
    let key = long_term("ABSK", "svc-search-at-111122223333");
    let stdout = identify(&folder, &["--ledger", "file:key-guard.db"], &key).stdout;
    let status = stdout.lines().nth(1).unwrap();
    assert!(
        status.starts_with("  status     the ledger says: inactive, since 2026-11-20T12:21:08Z, by "),
        "{stdout}"
    );
    assert!(status.ends_with("it is stopped already, until somebody activates it"), "{stdout}");
    assert!(!stdout.contains("--status Inactive"), "{stdout}");
}

#[test]
fn a_text_whose_case_was_changed_says_what_to_do() {
    let key = long_term("ABSK", "svc-chatbot-at-111122223333").to_uppercase();
    let ran = identify(&Folder::new(), &[], &key);
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains("or its case was changed: "), "{}", ran.stdout);
    assert!(ran.stdout.contains("--all-users") && ran.stdout.contains("docs/incident.md"), "{}", ran.stdout);
}

/// The text does not say which of two users it is: no command is about either of them until somebody has looked.
#[test]
fn no_command_changes_a_key_of_a_user_that_may_have_nothing_to_do_with_it() {
    let folder = Folder::new();
    let key = long_term("ABSK", "svc-a+1-at-111122223333");
    let commands = |ran: &CliOutput| -> Vec<String> {
        ran.json_lines()[0]["commands"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| step["command"].as_str().unwrap().to_owned())
            .collect()
    };
    let ran = identify(&folder, &["--format", "jsonl"], &key);
    let found = commands(&ran);
    let calls: Vec<_> = found.iter().map(|command| command.split(' ').nth(2).unwrap()).collect();
    assert_eq!(
        calls,
        [
            "list-service-specific-credentials",
            "list-service-specific-credentials",
            "update-service-specific-credential",
            "delete-service-specific-credential",
        ]
    );
    for command in [&found[2], &found[3]] {
        assert!(
            command.contains("--user-name USER --service-specific-credential-id CREDENTIAL_ID"),
            "{command}"
        );
    }
    assert!(
        found[0].contains("--user-name svc-a ") && found[1].contains("--user-name svc-a+1 "),
        "{found:?}"
    );
    // The ledger knows a key of one of the two only.
    let mut creation = crate::support::event("created-without-age");
    for pointer in
        ["/detail/requestParameters/userName", "/detail/responseElements/serviceSpecificCredential/userName"]
    {
        *creation.pointer_mut(pointer).unwrap() = "svc-a+1".into();
    }
    folder.write("creation.json", creation.to_string());
    assert_eq!(folder.run(&["replay", "creation.json"]).code, 0);
    let ran = identify(&folder, &["--format", "jsonl", "--ledger", "file:key-guard.db"], &key);
    let found = commands(&ran);
    assert!(found[0].contains("--user-name svc-a+1 --service-specific-credential-id ACCA"), "{found:?}");
    assert!(!found[0].contains("svc-a ") && !found[3].contains("svc-a "), "{found:?}");
}

#[test]
fn a_name_that_a_shell_or_the_cli_would_misread_is_quoted() {
    for (alias, argument) in [
        ("-rf-at-111122223333", "--user-name='-rf'"),
        ("=cmd-at-111122223333", "--user-name '=cmd'"),
        ("a,b=c@d-at-111122223333", "--user-name a,b=c@d "),
    ] {
        let ran = identify(&Folder::new(), &[], &long_term("ABSK", alias));
        assert_eq!(ran.stdout.matches(argument).count(), 3, "{}", ran.stdout);
    }
}

#[test]
fn what_is_no_key_is_said_and_exits_with_1() {
    let folder = Folder::new();
    for text in ["", "hello", "sk-ant-api03-abcdefghijklmnopqrstuvwxyz0123456789"] {
        let ran = identify(&folder, &[], text);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{text}");
        assert!(ran.stderr.starts_with("error: no key is in this text: "), "{}", ran.stderr);
    }
    let id = identify(&folder, &[], " ACCAEXAMPLEKEY0000001\n");
    assert_eq!((id.code, id.stdout.as_str()), (1, ""));
    assert!(id.stderr.starts_with("error: it is the id of a key, and no key: "), "{}", id.stderr);
    let large = folder.run_with_input(&["identify"], "x".repeat((1 << 20) + 1).as_bytes());
    assert_eq!(large.code, 1);
    assert!(large.stderr.contains("larger than 1 MiB"), "{}", large.stderr);
}

#[test]
fn an_argument_is_refused_and_never_repeated() {
    let folder = Folder::new();
    for argument in ["Tr0ub4dor&3", "--Tr0ub4dor&3", "--key=Tr0ub4dor&3", "-Tr0ub4dor&3"] {
        for arguments in [&["identify", argument][..], &["identify", "--format", "jsonl", argument]] {
            let ran = folder.run(arguments);
            assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}");
            assert!(!ran.stderr.contains("Tr0ub4dor"), "{}", ran.stderr);
            assert!(ran.stderr.contains("standard input"), "{}", ran.stderr);
        }
    }
}

#[test]
fn a_short_term_key_that_is_cut_within_its_lifetime_has_not_ended() {
    let whole = short_term(2025, TEMPORARY);
    let url = STANDARD.decode(whole.strip_prefix("bedrock-api-key-").unwrap()).unwrap();
    let expires = url.windows(14).position(|part| part == b"X-Amz-Expires=").unwrap();
    let region = url.windows(12).position(|part| part == b"eu-central-1").unwrap();
    for end in [expires + 16, expires + 19, region + 5, region + 12] {
        let cut = format!("bedrock-api-key-{}", STANDARD.encode(&url[..end]));
        let key = identify(&Folder::new(), &["--format", "jsonl"], &cut).json_lines().remove(0);
        assert!(key["ended"].is_null() && key["ends_at"].is_null(), "{end}: {key}");
        assert!(!key["commands"].as_array().unwrap().is_empty(), "{end}: {key}");
        assert!(key["notes"].to_string().contains("12 hours"), "{end}: {key}");
        assert_eq!(key["region"].is_null(), end < expires, "{end}: {key}");
    }
}

#[test]
fn a_text_in_utf_16_is_read_and_what_is_packed_is_named() {
    let folder = Folder::new();
    let text = format!("key: {}\r\n", long_term("ABSK", "ana-at-111122223333"));
    let units: Vec<u16> = text.encode_utf16().collect();
    let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
    let plain = identify(&folder, &[], &text).stdout;
    for bytes in
        [little.clone(), big.clone(), [&b"\xff\xfe"[..], &little].concat(), [&b"\xfe\xff"[..], &big].concat()]
    {
        let ran = folder.run_with_input(&["identify"], &bytes);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, plain.as_str()), "{}", ran.stderr);
    }
    for packed in [gzip(&text), zip(&[("a", text.as_bytes())])] {
        let ran = folder.run_with_input(&["identify"], &packed);
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{}", ran.stderr);
        assert!(ran.stderr.contains("unpack it first"), "{}", ran.stderr);
    }
}
