//! JSON with escapes, for the tests of both packages: each has this file as a module of its own.

/// JSON with escapes of letters wherever they may be.
pub fn with_escapes(json: &str) -> String {
    let (mut in_text, mut is_escaped, mut digits) = (false, false, 0_u8);
    let mut write = |c: char| {
        let is_plain = !in_text || is_escaped || digits > 0 || !c.is_ascii_alphabetic();
        in_text ^= c == '"' && !is_escaped;
        // Those of an escape stay what they are.
        digits = if is_escaped && c == 'u' { 4 } else { digits.saturating_sub(1) };
        is_escaped = c == '\\' && !is_escaped;
        match u32::from(c) {
            _ if is_plain => c.to_string(),
            // The digits may be of either case.
            code if c.is_ascii_uppercase() => format!("\\u{code:04X}"),
            code => format!("\\u{code:04x}"),
        }
    };
    json.chars().map(&mut write).collect()
}
