//! What runs of Base64 and of hexadecimal digits decode to.

use super::SHORTEST;

/// What the parts of a run decode to. What precedes the Base64 may have any length, so each is decoded from four places.
pub(crate) fn decoded_parts(run: &str) -> impl Iterator<Item = Vec<u8>> {
    let parts = run.as_bytes().split(|byte| sextet(*byte).is_none());
    parts
        .filter(|part| part.len() >= SHORTEST)
        .flat_map(|part| (0..4).filter_map(|skipped| part.get(skipped..).and_then(decode)))
}

/// What the hexadecimal digits in a run decode to. They may begin within a byte: another digit may stand before them.
pub(crate) fn hex_parts(run: &str) -> impl Iterator<Item = Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let decode = move |digits: &[u8]| {
        let pairs = digits.as_chunks::<2>().0.iter();
        pairs.filter_map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect::<Vec<u8>>()
    };
    let parts = run.as_bytes().split(|byte| !byte.is_ascii_hexdigit());
    parts
        .filter(|part| part.len() >= 2 * SHORTEST)
        .flat_map(move |part| (0..2).filter_map(move |skipped| part.get(skipped..).map(decode)))
}

/// Base64 in either alphabet, without padding; what is over the last whole group is left out.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
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

pub(crate) fn sextet(byte: u8) -> Option<u32> {
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
