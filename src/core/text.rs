//! Which text from outside may be stored and printed: no secret of an API key, nothing that steers a terminal.
//!
//! A long-term key is a prefix and the Base64 of `alias:secret`, where the alias is `<user>-at-<account>` or
//! `<user>+1-at-<account>`. A short-term key is a prefix and the Base64 of a presigned URL (Amazon Bedrock user
//! guide, *API keys*; Claude Platform on AWS and CloudWatch have the same forms). The prefix of X-Ray's keys is not
//! documented, so [`redact`] also looks for the Base64 of an alias and a colon behind whatever prefix.

/// How the secrets of long-term keys begin: Bedrock, CloudWatch Logs, CloudWatch, Claude Platform on AWS.
const LONG_TERM_PREFIXES: [&str; 4] = ["ABSK", "ACWL", "APIAACWM", "AEAA"];

/// How short-term keys begin: Bedrock, and Claude Platform on AWS.
const SHORT_TERM_PREFIXES: [&str; 2] = ["bedrock-api-key-", "aws-external-anthropic-api-key-"];

/// This many characters of Base64 after a prefix are looked at; fewer are no secret. They stand for 12 bytes, and
/// an alias has at least 17.
const SHORTEST: usize = 16;

/// As many characters after a prefix are a secret whatever they decode to. Names in ARNs and credential ids are
/// shorter or have a hyphen in them.
const SURELY: usize = 40;

/// Text without secrets: each is replaced by its prefix and `(redacted)`.
///
/// Ids of credentials, users and roles, and ordinary names that begin like a secret, stay as they are.
#[must_use]
pub fn redact(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let run = run_length(rest);
        let (token, after) = rest.split_at(run);
        redact_run(token, &mut clean);
        let mut others = after.chars();
        clean.extend(others.next());
        rest = others.as_str();
    }
    clean
}

/// How many bytes at the beginning of `text` belong to one run of Base64, in either alphabet; `%` as in a URL,
/// where it stands for `+`, `/` or `=`.
fn run_length(text: &str) -> usize {
    text.bytes()
        .position(|byte| !(byte.is_ascii_alphanumeric() || b"+/=_-%".contains(&byte)))
        .unwrap_or(text.len())
}

/// Redacts a run from where its secret begins to its end.
fn redact_run(run: &str, clean: &mut String) {
    let mut starts = run.char_indices().map(|(start, _)| start);
    let secret = starts.find_map(|start| Some((start, secret_prefix(run, start)?)));
    match secret {
        Some((start, prefix)) => {
            clean.push_str(run.get(..start).unwrap_or_default());
            clean.push_str(prefix);
            clean.push_str("(redacted)");
        }
        None if hides_an_alias(run) => clean.push_str("(redacted)"),
        None => clean.push_str(run),
    }
}

/// The prefix of the secret that begins at `start`.
fn secret_prefix(run: &str, start: usize) -> Option<&'static str> {
    let from = run.get(start..)?;
    let before = run.get(..start).and_then(|before| before.bytes().next_back());
    let is_glued = before.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let long_term = LONG_TERM_PREFIXES.into_iter().find(|prefix| {
        from.strip_prefix(prefix).is_some_and(|body| {
            body.len() >= SHORTEST
                && (*prefix == "ABSK"
                    || begins_with_base64_of(body, is_iam_name_byte)
                    || (!is_glued && is_base64(body, SURELY)))
        })
    });
    let short_term = || {
        SHORT_TERM_PREFIXES.into_iter().find(|prefix| {
            from.strip_prefix(prefix).is_some_and(|body| {
                begins_with_base64_of(body, |byte| byte.is_ascii_graphic()) || is_base64(body, SURELY)
            })
        })
    };
    long_term.or_else(short_term)
}

/// Whether the first [`SHORTEST`] characters are Base64 of such bytes only. Of ordinary words, about one in twenty
/// thousand is.
fn begins_with_base64_of(body: &str, is_expected: impl Fn(u8) -> bool) -> bool {
    body.get(..SHORTEST)
        .is_some_and(|head| decode(head.as_bytes()).is_some_and(|bytes| bytes.into_iter().all(is_expected)))
}

fn is_base64(body: &str, characters: usize) -> bool {
    let is_standard = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    body.get(..characters).is_some_and(|head| head.bytes().all(is_standard))
}

/// Whether a run has the Base64 of `-at-<account>:` in it, at whatever place.
fn hides_an_alias(run: &str) -> bool {
    const AT: &[u8] = b"-at-";
    const ACCOUNT: usize = 12;
    let ends_like_an_alias = |bytes: &[u8]| {
        bytes.windows(AT.len() + ACCOUNT + 1).any(|window| {
            window
                .strip_prefix(AT)
                .and_then(<[u8]>::split_last)
                .is_some_and(|(colon, account)| *colon == b':' && account.iter().all(u8::is_ascii_digit))
        })
    };
    // What precedes the Base64 may have any length.
    run.as_bytes().split(|byte| sextet(*byte).is_none()).any(|part| {
        (0..4).any(|skipped| {
            part.get(skipped..).and_then(decode).is_some_and(|bytes| ends_like_an_alias(&bytes))
        })
    })
}

/// Base64 in either alphabet, without padding; what is over the last whole group is left out.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.chunks_exact(4) {
        let mut bits = 0_u32;
        for byte in group {
            bits = bits << 6 | sextet(*byte)?;
        }
        let [_, first, second, third] = bits.to_be_bytes();
        bytes.extend([first, second, third]);
    }
    Some(bytes)
}

fn sextet(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}

/// Whether IAM allows `byte` in the name of a user or role.
#[must_use]
pub const fn is_iam_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'=' | b',' | b'.' | b'@' | b'-')
}

/// Text of an event, fit to be stored and printed: on one line, without characters that steer a terminal, without
/// secrets, and at most 512 characters.
#[must_use]
pub fn sanitize_field(text: &str) -> String {
    const LONGEST: usize = 512;
    // Cut last: what is left of a secret that was cut would not look like one.
    sanitize_line(&redact(text)).chars().take(LONGEST).collect()
}

/// Text without line ends and characters that steer a terminal or turn the direction of writing.
#[must_use]
pub fn sanitize_line(text: &str) -> String {
    text.chars().map(|c| if is_unprintable(c) { '\u{fffd}' } else { c }).collect()
}

/// The same, but line ends and tabs stay.
#[must_use]
pub fn sanitize_text(text: &str) -> String {
    text.chars().map(|c| if is_unprintable(c) && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// True for control, bidirectional-override and invisible characters.
#[must_use]
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Why a text is not one of the nouns of this package. It never repeats the text, which could be a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct Invalid {
    /// What would have been accepted.
    pub expected: &'static str,
    /// What was there, described without its value.
    pub found: String,
}

impl Invalid {
    pub(crate) fn text(expected: &'static str, text: &str) -> Self {
        let found = match text.chars().count() {
            0 => "an empty text".to_owned(),
            n => format!("a text of {n} characters that is not one"),
        };
        Self { expected, found }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_field_is_fit_to_print() {
        assert_eq!(
            sanitize_field("a\u{1b}[31mb\u{202e}\n\u{e0041}"),
            "a\u{fffd}[31mb\u{fffd}\u{fffd}\u{fffd}"
        );
        assert_eq!(sanitize_field(&"x".repeat(600)).len(), 512);
        assert_eq!(sanitize_text("a\u{1b}\n\tb\r"), "a\u{fffd}\n\tb\u{fffd}");
    }

    #[test]
    fn secrets_are_redacted_before_a_field_is_cut() {
        assert_eq!(
            sanitize_field("curl ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl; ABSK short"),
            "curl ABSK(redacted); ABSK short"
        );
        let at_the_cut = format!("{} ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl", "x".repeat(500));
        assert!(!sanitize_field(&at_the_cut).contains("Qm"));
    }

    /// Base64 with padding, as AWS writes it.
    fn encode(text: &str) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let group = |bytes: &[u8]| {
            let mut padded = [0_u8; 4];
            padded[1..=bytes.len()].copy_from_slice(bytes);
            let bits = u32::from_be_bytes(padded);
            (0..4)
                .map(|place| {
                    if place > bytes.len() {
                        return '=';
                    }
                    char::from(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize])
                })
                .collect::<String>()
        };
        text.as_bytes().chunks(3).map(group).collect()
    }

    const SECRET: &str = "pL3q+Zk8/Wm2Rt7vYx1Nb6Cd9Fg4Hj5=";

    #[test]
    fn every_text_form_of_a_key_is_redacted() {
        let body = encode(&format!("BedrockAPIKey-x7f2-at-111122223333:{SECRET}"));
        for prefix in LONG_TERM_PREFIXES {
            assert_eq!(redact(&format!("{prefix}{body}")), format!("{prefix}(redacted)"));
            let glued = redact(&format!("key={prefix}{body}&next"));
            assert_eq!(glued, format!("key={prefix}(redacted)&next"));
            assert_eq!(redact(&format!("token{prefix}{body}")), format!("token{prefix}(redacted)"));
        }
        let url =
            encode("bedrock.amazonaws.com/?Action=CallWithBearerToken&X-Amz-Signature=0123456789abcdef");
        for prefix in SHORT_TERM_PREFIXES {
            assert_eq!(redact(&format!("curl/8 {prefix}{url}")), format!("curl/8 {prefix}(redacted)"));
        }
        assert_eq!(redact(&format!("XYZ{body} XYZ")), "(redacted) XYZ", "the prefix of X-Ray is not known");
    }

    #[test]
    fn a_key_in_a_url_is_redacted_whole() {
        let body = encode(&format!("svc-at-111122223333:{SECRET}"));
        let in_url = body.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        assert_eq!(redact(&format!("k=AEAA{in_url}&b")), "k=AEAA(redacted)&b");
    }

    #[test]
    fn ids_and_names_survive() {
        for text in [
            "ACCAEXAMPLE1234567890",
            "ACCAACWLABCDEFGHIJKLM",
            "AROAAEAAABCDEFGHIJKLM:session",
            "arn:aws:sts::111122223333:assumed-role/AEAA-production-deployer/some-long-session-name",
            "arn:aws:iam::111122223333:user/bedrock-api-key-rotation-service-account",
            "arn:aws:iam::111122223333:user/aws-external-anthropic-api-key-administrators",
            "arn:aws:iam::111122223333:role/ACWLProductionDeployerRole",
            "user/anna-at-111122223333",
            "aws-cli/2.31.1 Python/3.13 Linux/6.8 md/awscrt#0.27.6 exec-env/CloudShell",
            "AbskHeaderParserLibrary/1.0",
            "APIAACWM",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "ünïcode %20%",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_alias_and_secret_survive(
            before in "[ -~é\u{202e}]{0,24}",
            prefix in prop::sample::select(
                ["ABSK", "ACWL", "APIAACWM", "AEAA", "AXRY", "", "XY", "key=Q", "%3DXYZ", "AEAAEAA"].as_slice()
            ),
            user in "[A-Za-z0-9_+=,.@-]{1,64}",
            second in prop::bool::ANY,
            account in "[0-9]{12}",
            secret in "[A-Za-z0-9+/=]{24,64}",
            after in "[ -~é]{0,24}",
        ) {
            let second = if second { "+1" } else { "" };
            let body = encode(&format!("{user}{second}-at-{account}:{secret}"));
            let clean = redact(&format!("{before}{prefix}{body}{after}"));
            for part in body.as_bytes().windows(20) {
                let part = std::str::from_utf8(part).unwrap();
                prop_assert!(!clean.contains(part), "{clean}");
            }
            prop_assert_eq!(redact(&clean), clean, "redacting twice changes nothing");
        }

        #[test]
        fn no_presigned_url_survives(
            before in "[ -~é]{0,24}",
            prefix in prop::sample::select(SHORT_TERM_PREFIXES.as_slice()),
            query in "[A-Za-z0-9=&%-]{24,200}",
        ) {
            let body = encode(&format!("bedrock.amazonaws.com/?{query}"));
            let clean = redact(&format!("{before}{prefix}{body}"));
            for part in body.as_bytes().windows(20) {
                prop_assert!(!clean.contains(std::str::from_utf8(part).unwrap()), "{clean}");
            }
        }

        #[test]
        fn ids_survive_any_text_around_them(id in "(ACCA|AIDA|AROA|ASIA|AKIA)[A-Z2-7]{17}", name in "[a-z]{3,12}") {
            let text = format!("{name} {id}:{name}@example.com/{name}");
            prop_assert_eq!(redact(&text), text);
        }
    }
}
