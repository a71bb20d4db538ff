//! What of foreign text may be stored and printed.

/// What looks like the secret of a Bedrock API key, `ABSK` and at least 16 more characters, replaced.
#[must_use]
pub fn redact(text: &str) -> String {
    const PREFIX: &str = "ABSK";
    let is_secret = |c: char| c.is_ascii_alphanumeric() || "+/=_-".contains(c);
    let mut rest = text;
    let mut clean = String::new();
    while let Some((before, from)) = rest.find(PREFIX).map(|at| rest.split_at(at)) {
        let length = from.find(|c| !is_secret(c)).unwrap_or(from.len());
        let (token, after) = from.split_at(length);
        clean.push_str(before);
        clean.push_str(if length >= PREFIX.len() + 16 { "ABSK(redacted)" } else { token });
        rest = after;
    }
    clean.push_str(rest);
    clean
}

/// Text of an event, fit to be stored and printed: on one line, without characters that steer a terminal, no
/// Bedrock secret, and at most 512 characters.
#[must_use]
pub fn printable(text: &str) -> String {
    const LONGEST: usize = 512;
    // Cut last: what is left of a secret that was cut would not look like one.
    on_one_line(&redact(text)).chars().take(LONGEST).collect()
}

/// Text without line ends and characters that steer a terminal or turn the direction of writing.
#[must_use]
pub fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// The same with its line ends and tabs.
#[must_use]
pub fn on_lines(text: &str) -> String {
    text.chars().map(|c| if steers(c) && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Whether a character is none that one sees: it steers a terminal, turns the direction of writing, or hides.
#[must_use]
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_text_is_fit_to_print() {
        assert_eq!(printable("a\u{1b}[31mb\u{202e}\n\u{e0041}"), "a\u{fffd}[31mb\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(printable(&"x".repeat(600)).len(), 512);
        assert_eq!(on_lines("a\u{1b}\n\tb\r"), "a\u{fffd}\n\tb\u{fffd}");
    }

    #[test]
    fn secrets_in_free_text_are_redacted_before_it_is_cut() {
        assert_eq!(
            printable("curl ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl; ABSK short"),
            "curl ABSK(redacted); ABSK short"
        );
        let at_the_cut = format!("{} ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl", "x".repeat(500));
        assert!(!printable(&at_the_cut).contains("Qm"));
    }
}
