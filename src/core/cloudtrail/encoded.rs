//! Tells texts in which a packed event may be.

/// How many letters of Base64 an event has at least.
pub const SHORTEST_ENCODED: usize = 256;

/// True where so many letters of Base64 follow each other that a packed event may be in them, on one line or on lines.
#[must_use]
pub fn may_be_base64(bytes: &[u8]) -> bool {
    bytes.split(|byte| !is_base64_letter(*byte)).any(|run| run.len() >= SHORTEST_ENCODED)
        || has_lines_of_base64(bytes)
}

fn is_base64_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte)
}

/// True for lines of one length with nothing but letters of Base64, as encoders break it (RFC 2045: 76 letters; RFC 7468: 64).
/// Words are shorter, and lists of ids or digests lack lowercase, uppercase or digits.
fn has_lines_of_base64(bytes: &[u8]) -> bool {
    const SHORTEST_LINE: usize = 16;
    let kinds: [fn(&u8) -> bool; 3] = [u8::is_ascii_lowercase, u8::is_ascii_uppercase, u8::is_ascii_digit];
    let (mut length, mut letters, mut has) = (0, 0, [false; 3]);
    bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).any(|line| {
        if line.len() != length {
            (length, letters, has) = (line.len(), 0, [false; 3]);
        }
        if length < SHORTEST_LINE || !line.iter().all(|byte| is_base64_letter(*byte)) {
            length = 0;
            return false;
        }
        letters += length;
        for (has, is) in has.iter_mut().zip(kinds) {
            *has = *has || line.iter().any(is);
        }
        letters >= SHORTEST_ENCODED && has == [true; 3]
    })
}
