//! Which text from outside may be stored and printed: no secret of an API key, nothing that steers a terminal.

use crate::secret;

/// Text without secrets: each is replaced by its prefix, where it has one that is known, and `(redacted)`.
///
/// The secrets are those of API keys, and secret access keys and session tokens of AWS where they can be recognised. Ids of
/// credentials, users and roles, hashes, and ordinary names that begin like a secret, stay as they are.
#[must_use]
pub fn redact(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut from = 0;
    for secret in secret::find(text) {
        clean.push_str(text.get(from..secret.range.start + secret.prefix_length).unwrap_or_default());
        clean.push_str("(redacted)");
        from = secret.range.end;
    }
    clean.push_str(text.get(from..).unwrap_or_default());
    clean
}

/// Whether a text has a secret in it.
#[must_use]
pub fn has_secret(text: &str) -> bool {
    !secret::find(text).is_empty()
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
            n => format!("another text of {n} characters"),
        };
        Self { expected, found }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::{LONG_TERM_PREFIXES, SHORT_TERM_PREFIXES};

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
