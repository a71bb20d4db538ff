//! No secret of any kind survives redaction, and ordinary text does.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use key_guard_core::leaked_key::has_likely_secret;
use key_guard_core::text::{has_secret, redact};
use proptest::prelude::*;

/// How a text may stand in another one.
#[derive(Debug, Clone, Copy)]
enum Writing {
    Plain,
    Url,
    UrlTwice,
    Json,
    JsonUnicode,
    Html,
    HtmlTwice,
}

fn written(text: &str, writing: Writing) -> String {
    let url =
        |text: &str| text.replace('%', "%25").replace('+', "%2B").replace('/', "%2f").replace('=', "%3D");
    let html = |text: &str| text.replace('+', "&#43;").replace('/', "&#x2F;").replace('=', "&equals;");
    match writing {
        Writing::Plain => text.to_owned(),
        Writing::Url => url(text),
        Writing::UrlTwice => url(&url(text)),
        Writing::Json => text.replace('/', "\\/"),
        Writing::Html => html(text),
        Writing::HtmlTwice => html(text).replace('&', "&amp;"),
        Writing::JsonUnicode => text.replace('/', "\\u002f").replace('+', "\\u002B").replace('=', "\\u003d"),
    }
}

fn writing() -> impl Strategy<Value = Writing> {
    prop::sample::select(vec![
        Writing::Plain,
        Writing::Url,
        Writing::UrlTwice,
        Writing::Json,
        Writing::JsonUnicode,
        Writing::Html,
        Writing::HtmlTwice,
    ])
}

/// The prefixes of short-term keys, which stay.
const PREFIXES: [&str; 2] = ["bedrock-api-key-", "aws-external-anthropic-api-key-"];

/// A secret of each kind, and the label without which it cannot be recognised.
fn secret() -> impl Strategy<Value = (String, String)> {
    let label = prop::sample::select(vec![
        "aws_secret_access_key = ",
        "AWS_SECRET_ACCESS_KEY=",
        "export AWS_SECRET_KEY='",
        "\"SecretAccessKey\": \"",
        "\\\"secretAccessKey\\\":\\\"",
        "<SecretAccessKey>",
        "--secret-access-key ",
        "%22SecretAccessKey%22%3A%22",
        "secret access key: ",
        "aws.secretKey=",
        "AWS_SECRET=",
        "awsSecret: ",
        "&quot;SecretAccessKey&quot;:&quot;",
        "AKIAIOSFODNN7EXAMPLE/",
        "AKIAIOSFODNN7EXAMPLE,",
        "AKIAIOSFODNN7EXAMPLE:",
        "ASIAIOSFODNN7EXAMPLE\t",
    ]);
    let access_key = (label, "[A-Za-z0-9+/]{37}", "[A-Z]", "[a-z]", "[0-9]")
        .prop_map(|(label, a, b, c, d)| (label.to_owned(), format!("{a}{b}{c}{d}")));
    let token_begin = prop::sample::select(vec!["IQoJb3JpZ2lu", "FwoGZXIvYXdz", "FQoGZXIvYXdz"]);
    let token = (token_begin, "[A-Za-z0-9+/]{100,300}={0,2}")
        .prop_map(|(begin, rest)| (String::new(), format!("{begin}{rest}")));
    let labelled_token = (
        prop::sample::select(vec!["aws_session_token=", "\"SessionToken\":\"", "X-Amz-Security-Token: "]),
        "[A-Za-z0-9+/]{80,120}",
    )
        .prop_map(|(label, token)| (label.to_owned(), token));
    let signature = "[0-9a-f]{64}".prop_map(|hash| ("X-Amz-Signature=".to_owned(), hash));
    let alias = ("[A-Za-z0-9_+=,.@-]{1,64}", "[0-9]{12}", "[A-Za-z0-9+/=]{24,64}")
        .prop_map(|(user, account, secret)| format!("{user}-at-{account}:{secret}"));
    let prefix = prop::sample::select(vec!["ABSK", "ACWL", "APIAACWM", "AEAA", "AXRY", ""]);
    let long_term = (prefix, alias).prop_map(|(prefix, alias)| format!("{prefix}{}", STANDARD.encode(alias)));
    let url = "[A-Za-z0-9=&%-]{40,200}";
    let short_term = (prop::sample::select(PREFIXES.as_slice()), url).prop_map(|(prefix, query)| {
        format!("{prefix}{}", STANDARD.encode(format!("bedrock.amazonaws.com/?{query}")))
    });
    let key = prop_oneof![long_term, short_term];
    let encoded_key = (key.clone(), any::<bool>(), 1..=2).prop_map(|(key, in_url, times)| {
        (0..times).fold(key, |key, _| if in_url { URL_SAFE_NO_PAD.encode(key) } else { STANDARD.encode(key) })
    });
    prop_oneof![
        2 => access_key,
        1 => token,
        1 => labelled_token,
        1 => signature,
        2 => key.prop_map(|key| (String::new(), key)),
        1 => encoded_key.prop_map(|key| (String::new(), key)),
    ]
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_secret_survives(
        before in "([ -~é\u{202e}]{0,24}[ \"'&;{\n])?",
        secret in secret(),
        writing in writing(),
        after in "(([ \"'&;}\n<]|\\\\\")[ -~é]{0,24})?",
    ) {
        let (label, secret) = secret;
        let secret = written(&secret, writing);
        let text = format!("{before}{label}{secret}{after}");
        let clean = redact(&text);
        prop_assert!(has_secret(&text));
        for part in secret.as_bytes().windows(20) {
            let part = std::str::from_utf8(part).unwrap();
            let is_prefix = PREFIXES.iter().any(|prefix| prefix.contains(part));
            prop_assert!(is_prefix || !clean.contains(part), "{text}\n{clean}");
        }
        prop_assert_eq!(redact(&clean), clean.clone(), "redacting twice changes nothing");
    }

    /// Words as they are in events and messages, in any order.
    #[test]
    fn ordinary_text_survives(
        words in prop::collection::vec(
            prop_oneof![
                "[a-z]{1,12}",
                "[0-9a-f]{40}",
                "[0-9a-f]{64}",
                "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
                "(ACCA|AIDA|AROA|ASIA|AKIA|ANPA)[A-Z2-7]{17}",
                "(ASIA|AKIA)[A-Z2-7]{16}",
                "arn:aws:(iam|sts)::[0-9]{12}:(user|role|assumed-role)/[A-Za-z0-9_+=,.@-]{1,20}(/[a-z.@]{1,20})?",
                "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z",
                "(aws-cli|Boto3)/[0-9]\\.[0-9]{1,2}\\.[0-9]{1,2} md/[A-Za-z]{3,8}#[0-9.]{3,6}",
                // Directly behind such a label, a hash is a secret for all that can be known.
                "(no secret key is|the session token expired:|secretAccessKey is)",
                "sha256:[0-9a-f]{64}",
                "\"[a-zA-Z]{1,20}\": [0-9]{1,9},",
                "(AmazonBedrockLimitedAccess|CreateServiceSpecificCredential|ListServiceSpecificCredentials)",
                "/(var|home|tmp)/[a-z_-]{1,20}/[A-Za-z0-9_.-]{1,30}\\.json\\.gz",
                "(\"[a-z]{1,8}\" \\+ \"[a-z]{1,8}\"|Q&A|a=1&#b=2;|AT&amp;T|AKIAIOSFODNN7EXAMPLE/2026/us-east-1|my AWS secret is)",
                "[a-z]{3,10}@example\\.com",
            ],
            1..12
        ),
        separator in prop::sample::select(vec![" ", ", ", "\n", " / "]),
    ) {
        let text = words.join(separator);
        prop_assert_eq!(redact(&text), text);
    }
}

/// A text in lines of so many characters, as mail programs and `base64` make them.
fn in_lines(text: &str, width: usize, between: &str) -> String {
    let lines: Vec<_> =
        text.as_bytes().chunks(width).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
    lines.join(between)
}

/// No more than this much of a secret may be left: fewer characters are no use to anybody.
const LEFT: usize = 16;

#[test]
fn a_secret_that_is_broken_into_lines_is_redacted_to_its_end() {
    let alias = "svc-chatbot-at-111122223333:pL3q+Zk8/Wm2Rt7vYx1Nb6Cd9Fg4Hj5pL3q+Zk8/Wm2Rt7vYx1Nb6Cd9Fg4Hj5";
    let long_term = format!("ABSK{}", STANDARD.encode(alias));
    let url = format!("bedrock.amazonaws.com/?Action=CallWithBearerToken&X={}", "aB3%2F".repeat(60));
    let short_term = format!("bedrock-api-key-{}", STANDARD.encode(url));
    let unknown = STANDARD.encode(alias);
    let token = format!("aws_session_token = IQoJb3JpZ2lu{}", "xY7/".repeat(70));
    let twice = STANDARD.encode(STANDARD.encode(&long_term));
    for secret in [long_term, short_term, unknown, token, twice] {
        for width in [40, 64, 72, 76] {
            for between in [
                "\n",
                "\r\n",
                "\r\n> ",
                "\n\t",
                "\\n",
                "\\r\\n",
                // As programs and shells have a long text.
                "\\\n",
                "\\\r\n  ",
                "\\\\\n",
                "\"\n  \"",
                "\" \\\n \"",
                "\" + \"",
                "' +\n '",
                "\\\" + \\\"",
            ] {
                let end = if between.contains('+') { ";" } else { between };
                let text = format!("Look:{end}{}{end}Regards, Anna", in_lines(&secret, width, between));
                let clean = redact(&text);
                // Label and prefix stay.
                for part in secret.as_bytes()[32..].windows(LEFT) {
                    assert!(!clean.contains(std::str::from_utf8(part).unwrap()), "{text}\n{clean}");
                }
                assert!(clean.contains("Regards, Anna"), "{text}\n{clean}");
            }
        }
    }
    // Wherever it is broken once, also before its alias has ended.
    let key = format!("ABSK{}", STANDARD.encode(alias));
    for at in 1..key.len() {
        let clean = redact(&format!("{}\n{}", &key[..at], &key[at..]));
        for part in key.as_bytes()[30..].windows(LEFT) {
            assert!(!clean.contains(std::str::from_utf8(part).unwrap()), "{at}: {clean}");
        }
    }
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let clean = redact(&format!("aws_secret_access_key = {}\n{}\nregion = x", &secret[..18], &secret[18..]));
    assert_eq!(clean, "aws_secret_access_key = (redacted)\nregion = x");
    // Quoted-printable: lines of 76 characters, whose last one is no part of the text.
    let key = format!("ABSK{}", STANDARD.encode(alias)).trim_end_matches('=').to_owned();
    let clean = redact(&format!("{}\r\nBye", in_lines(&key, 75, "=\r\n")));
    assert_eq!(clean, "ABSK(redacted)\r\nBye");
}

#[test]
fn what_follows_a_secret_on_the_next_line_stays() {
    let key = format!("ABSK{}", STANDARD.encode("ana-at-111122223333:pL3q+Zk8/Wm2Rt7vYx1Nb6Cd9Fg4Hj5"));
    let padded =
        format!("ABSK{}", STANDARD.encode("ana-at-111122223333:pL3q+Zk8/Wm2Rt7vYx1Nb6Cd9Fg4Hj5pLabc"));
    assert!(!key.ends_with('=') && padded.ends_with('='));
    for next in [
        "next line",
        "Regards",
        "AWS_REGION=eu-central-1",
        "2026-11-20T09:07:11Z GET /",
        "user: Ana",
        "42",
        "AKIAIOSFODNN7EXAMPLE",
        "curl https://example.com/",
        "}",
        "-----",
        "svc-chatbot",
        "",
    ] {
        assert_eq!(redact(&format!("{key}\n{next}")), format!("ABSK(redacted)\n{next}"));
    }
    let hash = "ab12".repeat(10);
    assert_eq!(redact(&format!("{padded}\n{hash}")), format!("ABSK(redacted)\n{hash}"), "it has ended");
    assert_eq!(redact(&format!("{key}\n{padded}")), "ABSK(redacted)\nABSK(redacted)");
    assert_eq!(redact(&format!("{key}\n\n{hash}")), format!("ABSK(redacted)\n\n{hash}"));
}

#[test]
fn a_secret_access_key_without_a_label_is_likely_and_names_are_not() {
    for text in [
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "--token=je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY",
        "AKIAIOSFODNN7EXAMPLE has wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "{\"key\": \"wJalrXUtnFEMI\\/K7MDENG\\/bPxRfiCYEXAMPLEKEY\"}",
        "wJalrXUtnFEMI%2FK7MDENG%2FbPxRfiCYEXAMPLEKEY",
        "--user pL3q+Zk8/Wm2Rt7vYx1Nb6Cd9Fg4Hj5aB7cD9eF1gH=",
        "pL3qZk8Wm2Rt7vYx1Nb6Cd9Fg4Hj5aB7cD9eF1gH8Kq==",
        "--account=pL3qZk8Wm2Rt7vYx1Nb6Cd9Fg4Hj5aB7cD9eF1gH8Kq%3D",
        "pL3q/Zk8Wm2Rt7vYx1Nb6Cd9Fg4Hj5aB7cD9eF1gH8KqpL3q+Zk8Wm2Rt7vYx1Nb6Cd9Fg4Hj5aB7cD9e",
    ] {
        assert!(has_likely_secret(text), "{text}");
    }
    // Nothing says that it is one, so what is stored keeps it.
    let bare = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    assert_eq!(redact(bare), bare);
    for text in [
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "AWSLogs/111122223333/CloudTrail/20261120",
        "/home/runner/work/Repo1/Repo1/target/debug/AWSLogs",
        "AWSLogs/111122223333/CloudTrail/eucentral1/2026/11/20",
        "pL3qZk8Wm2Rt7vYx1Nb6Cd9Fg4Hj5aB7cD9eF1gH8Kq",
        "BedrockAPIKeyGuardLedgerTableName2026New",
        "arn:aws:iam::111122223333:user/wJalrXUtnFEMIaK7MDENGabPxRfiCYEXAMPLEKEY2",
        "AKIAIOSFODNN7EXAMPLE",
        "5d1c003f-7b1e-4c3a-9f00-abc00000003f",
        "ACCAEXAMPLEKEY0000001",
    ] {
        assert!(!has_likely_secret(text), "{text}");
    }
}

#[test]
fn a_line_keeps_what_is_no_secret() {
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    for (text, clean) in [
        (
            format!("aws_access_key_id=AKIAIOSFODNN7EXAMPLE aws_secret_access_key={secret} region=x"),
            "aws_access_key_id=AKIAIOSFODNN7EXAMPLE aws_secret_access_key=(redacted) region=x",
        ),
        (
            format!("Access key ID,Secret access key\r\nAKIAIOSFODNN7EXAMPLE,{secret}\r\n"),
            "Access key ID,Secret access key\r\nAKIAIOSFODNN7EXAMPLE,(redacted)\r\n",
        ),
        (
            format!("<SecretAccessKey>{secret}</SecretAccessKey>"),
            "<SecretAccessKey>(redacted)</SecretAccessKey>",
        ),
        (format!("commit {}", "ab12".repeat(10)), "commit ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12"),
        (
            format!("AKIAIOSFODNN7EXAMPLE {}", "ab12".repeat(10)),
            "AKIAIOSFODNN7EXAMPLE ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12",
        ),
        (
            format!("https://x.amazonaws.com/?X-Amz-Signature={}&Version=1", "0f".repeat(32)),
            "https://x.amazonaws.com/?X-Amz-Signature=(redacted)&Version=1",
        ),
        (
            format!("?X-Amz-Security-Token=IQoJb3JpZ2lu{}%3D%3D&x=1", "aB3".repeat(40)),
            "?X-Amz-Security-Token=IQoJb3JpZ2lu(redacted)&x=1",
        ),
    ] {
        assert_eq!(redact(&text), clean);
    }
}

/// No part of a key, from its 30th character on, is left.
fn assert_redacted(text: &str, key: &str) {
    let clean = redact(text);
    for part in key.as_bytes()[30..].windows(LEFT) {
        assert!(!clean.contains(std::str::from_utf8(part).unwrap()), "{text:?}\n{clean}");
    }
    assert!(has_likely_secret(text), "{text:?}");
    assert_eq!(redact(&clean), clean, "redacting twice changes nothing");
}

#[test]
fn a_secret_that_is_broken_by_blanks_or_invisible_characters_is_redacted_to_its_end() {
    let key =
        format!("ABSK{}", STANDARD.encode("ana-at-111122223333:pL3q+Zk8/Wm2Rt7vYx1Nb6Cd9Fg4Hj5pL3q+Zk8"));
    let breaks = [
        " ", "  ", "\t", "\u{a0}", "\u{2003}", "\u{200b}", "\u{ad}", "\u{2060}", "\u{feff}", "\u{202e}",
        "\0", "\u{fe0f}", "\u{2028}", "\\u200b", "\\u00ad", "\\u00a0", "\\t", "%20",
    ];
    for between in breaks {
        for at in 1..key.len() - 4 {
            assert_redacted(&format!("curl/8 {}{between}{}", &key[..at], &key[at..]), &key);
        }
        assert_redacted(&in_lines(&key, 36, between), &key);
        let clean = redact(&format!("curl/8 {}{between}{}; next word", &key[..40], &key[40..]));
        assert_eq!(clean, "curl/8 ABSK(redacted); next word", "{between:?}");
    }
    for between in ["\u{200b}", "\u{ad}"] {
        // Of parts of any length.
        assert_redacted(&[&key[..35], &key[35..41], &key[41..70], &key[70..]].join(between), &key);
        let aws = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let clean = redact(&format!("aws_secret_access_key={}{between}{} x", &aws[..9], &aws[9..]));
        assert_eq!(clean, "aws_secret_access_key=(redacted) x");
        let clean = redact(&format!("A{between}B{}{between} x", &key[2..]));
        assert_eq!(clean, format!("A{between}BSK(redacted){between} x"));
    }
}

#[test]
fn what_follows_a_secret_behind_a_blank_stays() {
    let key = format!("ABSK{}", STANDARD.encode("ana-at-111122223333:pL3q+Zk8/Wm2Rt7vYx1Nb6Cd9Fg4Hj5"));
    for next in [
        "next word",
        "Regards, Anna",
        "AnnaMiller signed in",
        "ProductionDeployerRole",
        "CreateServiceSpecificCredential",
        "Boto3",
        "Python3 Linux",
        "Boto3/1.42.51 md/Botocore#1.42",
        "ACCAEXAMPLEKEY0000001",
        "AKIAIOSFODNN7EXAMPLE",
        "AROAAEAAABCDEFGHIJKLM:session",
        "20261120T090711Z",
        "2026-11-20T09:07:11Z GET /",
        "ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12",
        "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709",
        "5d1c003f-7b1e-4c3a-9f00-abc00000003f",
        "eu-central-1",
        "> file",
        "| BedrockAPIKey2",
        "42",
    ] {
        for blank in [" ", "\t", "\u{200b} "] {
            assert_eq!(redact(&format!("{key}{blank}{next}")), format!("ABSK(redacted){blank}{next}"));
        }
    }
    let padded =
        format!("ABSK{}", STANDARD.encode("ana-at-111122223333:pL3q+Zk8/Wm2Rt7vYx1Nb6Cd9Fg4Hj5pLabc"));
    assert_eq!(
        redact(&format!("{padded} aB3xY7pL3qZk8Wm2Rt7v")),
        "ABSK(redacted) aB3xY7pL3qZk8Wm2Rt7v",
        "it has ended"
    );
}

#[test]
fn a_key_of_escapes_is_redacted_however_often_it_is_escaped() {
    let key =
        format!("ABSK{}", STANDARD.encode("ana-at-111122223333:pL3q+Zk8/Wm2Rt7vYx1Nb6Cd9Fg4Hj5pL3q+Zk8"));
    let escaped = |part: &str| part.bytes().map(|byte| format!("\\u{byte:04x}")).collect::<Vec<_>>().concat();
    let in_url = key.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
    for text in [
        escaped(&key),
        escaped(&key).replace('\\', "\\\\"),
        escaped(&key).replace('\\', "\\\\\\\\"),
        key.bytes().map(|byte| format!("&#{byte};")).collect::<Vec<_>>().concat(),
        key.bytes().map(|byte| format!("&amp;#X{byte:04x};")).collect::<Vec<_>>().concat(),
        in_url.clone(),
        in_url.replace('%', "%25"),
    ] {
        let clean = redact(&format!("curl/8 {text} next"));
        assert!(clean.starts_with("curl/8 ") && clean.ends_with("(redacted) next"), "{clean}");
        assert!(clean.len() < 120, "{clean}");
    }
    // What looks like an escape may be none.
    assert_eq!(redact(&format!("100%{key}")), "100%ABSK(redacted)");
}

/// A text as other tools write bytes.
fn as_bytes(text: &str) -> Vec<String> {
    let of =
        |write: fn(u8) -> String, between: &str| text.bytes().map(write).collect::<Vec<_>>().join(between);
    let (lower, upper) = (|byte| format!("{byte:02x}"), |byte| format!("{byte:02X}"));
    let hex = of(lower, "");
    vec![
        of(upper, ""),
        format!("0x{hex}"),
        format!("key={hex}"),
        in_lines(&hex, 60, "\n"),
        STANDARD.encode(&hex),
        of(lower, " "),
        of(upper, ":"),
        of(|byte| format!("\\x{byte:02x}"), ""),
        in_lines(&hex, 4, " "),
        in_lines(&hex, 8, "\n"),
        hex,
    ]
}

#[test]
fn a_secret_in_hexadecimal_digits_is_redacted() {
    let long_term = format!("ABSK{}", STANDARD.encode("ana-at-111122223333:pL3q+Zk8/Wm2Rt7vYx1Nb6Cd9Fg4Hj5"));
    let short_term = format!("bedrock-api-key-{}", STANDARD.encode("bedrock.amazonaws.com/?Action=CallWith"));
    let labelled = "aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let decoded = "ana-at-111122223333:pL3q+Zk8/Wm2Rt7vYx1Nb6Cd9Fg4Hj5";
    for secret in [&long_term, &short_term, decoded] {
        for text in as_bytes(secret) {
            let clean = redact(&format!("curl/8 {text} (is what I have)"));
            assert!(clean.starts_with("curl/8 ") && clean.ends_with(" (is what I have)"), "{text}\n{clean}");
            // An alias and a prefix may stay, and a last group. Half of a secret may not.
            assert!(
                clean.contains("(redacted)") && !clean.contains(&text[text.len() - 40..]),
                "{text}\n{clean}"
            );
            assert_eq!(redact(&clean), clean, "redacting twice changes nothing");
        }
    }
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let clean = redact(&format!("curl/8 {} (is what I have)", hex(labelled)));
    assert_eq!(clean, "curl/8 (redacted) (is what I have)");
}

#[test]
fn a_key_that_is_cut_into_groups_is_redacted() {
    let key =
        format!("ABSK{}", STANDARD.encode("ana-at-111122223333:pL3q+Zk8/Wm2Rt7vYx1Nb6Cd9Fg4Hj5pL3q+Zk8"));
    for length in 1..=16 {
        for between in [".", " ", ":", ",", "\n", "%20", "\u{a0}"] {
            let clean = redact(&format!("curl/8 {} (is what I have)", in_lines(&key, length, between)));
            for part in key.as_bytes().windows(LEFT) {
                let part = in_lines(std::str::from_utf8(part).unwrap(), length, between);
                assert!(!clean.contains(&part), "{length} {between:?}: {clean}");
            }
            assert!(clean.starts_with("curl/8 ") && clean.ends_with(" (is what I have)"), "{clean}");
        }
    }
    for text in [
        "ABSK does mean what they said when they came here last week also with more text like this",
        "00:1a:2b:3c:4d:5e 2001:0db8:85a3:0000:0000:8a2e:0370:7334",
        "48 65 6c 6c 6f 20 77 6f 72 6c 64 2c 20 74 68 69 73 20 69 73 20 61 20 74 65 78 74",
        "68656c6c6f20776f726c642c2074686973206973206120746578742077697468206e6f2073656372657420696e206974",
        "1.2.3.4.5.6.7.8.9.1.2.3.4.5.6.7.8.9.1.2.3.4.5.6.7.8.9",
        "20261120 20261121 20261122 20261123 20261124 20261125",
        "ACCAEXAMPLEKEY0000001 ACCAEXAMPLEKEY0000002 ACCAEXAMPLEKEY0000003",
    ] {
        assert_eq!(redact(text), text);
    }
}

#[test]
fn the_decoded_form_of_a_key_is_redacted_behind_its_alias() {
    let secret = "pL3q+Zk8/Wm2Rt7vYx1Nb6Cd9Fg4Hj5=";
    for (before, after) in
        [("", ""), ("user=", "&x"), ("\"", "\", \"b\""), ("key: ABSK", "\n"), ("x:", " y"), ("%22", "%22")]
    {
        let text = |secret| format!("{before}svc-chat-at-111122223333:{secret}{after}");
        assert_eq!(redact(&text(secret)), text("(redacted)"));
        assert!(has_secret(&text(secret)));
    }
    for between in ["\n", " ", "\u{200b}"] {
        let text = format!("svc-at-111122223333:{}{between}{}", &secret[..18], &secret[18..]);
        assert_eq!(redact(&text), "svc-at-111122223333:(redacted)");
    }
    assert_eq!(redact(&format!("svc-at-111122223333%3A{secret}")), "svc-at-111122223333%3A(redacted)");
    for text in [
        "svc-at-111122223333",
        "svc-at-111122223333: it is a name",
        "arn:aws:iam::111122223333:user/svc-at-111122223333",
        "AROAEXAMPLE:svc-at-111122223333:session",
        "meet-at-1111:pL3qZk8Wm2Rt7vYx1Nb6Cd9Fg4",
    ] {
        assert_eq!(redact(text), text);
    }
}

/// A text that is all labels, ids and prefixes takes no time that grows with its square.
#[test]
fn hostile_texts_take_no_long_time() {
    let started = std::time::Instant::now();
    for part in [
        "AKIAIOSFODNN7EXAMPLE=",
        "secretkey=",
        "ABSK",
        "FwoGZXIvYXdz%",
        "%25",
        "\\u003d",
        "\\\\",
        "aB3\u{200b}",
        "&#x2B;",
        "&#00000",
        "\" + \"",
        "\" +",
        "aB3\\\n",
        "aB3xY7pL3qZk8Wm2 ",
        "a-at-111122223333:",
        "-at-111122223333:aB3xY7pL3qZk8Wm2",
        "bedrock-api-key-",
        "QUJT",
        "aB3\n",
        "41 ",
        "4142534b",
        "A.",
        "aB3xY7/pL3q+Zk8Wm2Rt7vYx1Nb6Cd9Fg4Hj5pL3qZk8Wm2Rt7vYx1Nb6Cd9Fg4Hj5aB3xY7pL3qZ\n",
    ] {
        let _ = redact(&part.repeat(200_000 / part.len()));
    }
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
