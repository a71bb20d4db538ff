//! Finds the end of a JSON value by its brackets.

use key_guard_core::cloudtrail::SHORTEST_ENCODED;
use multiversion::multiversion;
use wide::u8x64;

/// Follows the brackets of one value, across as many looks at a growing buffer as it takes.
///
/// It goes 64 bytes at a time: comparing them all at once gives a bit for each quote, backslash, bracket and
/// line's end, and the quotes' running parity tells which of them are inside a text.
#[derive(Debug, Default)]
pub struct Walk {
    walked: usize,
    depth: usize,
    in_text: bool,
    /// The next byte stands behind a backslash.
    escaped: bool,
    /// How many blocks without a quote are behind each other.
    unquoted: usize,
    may_hide: bool,
}

/// How far a walk has got.
pub enum Step {
    /// The value ends here, in bytes from its start.
    Ends(usize),
    /// The value is broken at this byte.
    Breaks(usize),
    /// Not to its end.
    More,
}

const BLOCK: usize = 64;
/// In bytes. An encoded event is longer, wherever it begins in a block.
const LONG_TEXT: usize = SHORTEST_ENCODED;
/// How many blocks such a text fills at least.
const LONG_TEXT_BLOCKS: usize = LONG_TEXT / BLOCK - 1;

impl Walk {
    /// From behind the opening bracket.
    pub fn inside() -> Self {
        Self { depth: 1, ..Self::default() }
    }

    /// How many bytes were walked. From now on the value is given without them.
    pub fn forget(&mut self) -> usize {
        std::mem::take(&mut self.walked)
    }

    /// Whether there may be escaped letters in the value, or a text of [`LONG_TEXT`] bytes without a quote.
    pub const fn may_hide(&self) -> bool {
        self.may_hide
    }

    /// Goes on in `bytes`, which are the value so far, with more than the last time. With `lines`, a `{` at the beginning of
    /// a line breaks the value.
    pub fn on(&mut self, bytes: &[u8], lines: bool) -> Step {
        go_on(self, bytes, lines)
    }

    #[expect(clippy::inline_always, reason = "it is built for the processor as what calls it is")]
    #[inline(always)]
    fn go_on(&mut self, bytes: &[u8], lines: bool) -> Step {
        loop {
            let rest = bytes.get(self.walked..).unwrap_or_default();
            if let Some(block) = rest.first_chunk() {
                if let Some(step) = self.block(block, rest.get(BLOCK), lines) {
                    return step;
                }
                continue;
            }
            // What is left is looked at without going on: it is seen again with what follows it.
            let mut last = [b' '; BLOCK];
            last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            let mut ahead = Self { ..*self };
            let step = ahead.block(&last, None, lines).unwrap_or(Step::More);
            self.may_hide |= ahead.may_hide;
            return step;
        }
    }

    /// Passes a block, or tells where in it the value ends or breaks. What few blocks have is looked for by one test.
    #[expect(clippy::inline_always, reason = "it is built for the processor as what calls it is")]
    #[inline(always)]
    fn block(&mut self, block: &[u8; BLOCK], behind: Option<&u8>, lines: bool) -> Option<Step> {
        let block = u8x64::new(*block);
        let is = |byte| block.simd_eq(u8x64::splat(byte));
        let backslashes = is(b'\\');
        let (escaped, escapes_next) = if self.escaped || backslashes.any() {
            escaped(backslashes.to_bitmask(), self.escaped)
        } else {
            (0, false)
        };
        let plain = !escaped;
        if escaped != 0 {
            self.may_hide |= is(b'u').to_bitmask() & escaped != 0;
        }
        let quotes = is(b'"').to_bitmask() & plain;
        if quotes == 0 {
            self.unquoted += 1;
            self.may_hide |= self.unquoted == LONG_TEXT_BLOCKS;
        } else {
            self.unquoted = 0;
        }
        let texts = running_parity(quotes) ^ if self.in_text { u64::MAX } else { 0 };
        let outside = plain & !texts;
        // Square and curly brackets differ in this one bit, and nothing else becomes one by it.
        let bracket = |byte| (block | u8x64::splat(0x20)).simd_eq(u8x64::splat(byte)).to_bitmask() & outside;
        let (opens, closes, newlines) = (bracket(b'{'), bracket(b'}'), is(b'\n'));

        let mut is_undecided = false;
        if newlines.any() {
            let newlines = newlines.to_bitmask();
            // No text goes on in the next line, not even behind a backslash.
            let mut breaks = newlines & texts;
            if lines && newlines & !texts != 0 {
                let begins = is(b'{').to_bitmask() >> 1 | if behind == Some(&b'{') { LAST } else { 0 };
                breaks |= newlines & begins;
            }
            if breaks != 0 {
                let before = breaks.trailing_zeros();
                let passed = (1 << before) - 1;
                let at = self.walked + before as usize;
                return Some(self.end(opens & passed, closes & passed).map_or(Step::Breaks(at), Step::Ends));
            }
            // Whether a value begins on the next line is not known yet.
            is_undecided = lines && behind.is_none() && newlines & !texts & LAST != 0;
        }
        let ends = closes.count_ones() as usize;
        if ends >= self.depth
            && let Some(end) = self.end(opens, closes)
        {
            return Some(Step::Ends(end));
        }
        if is_undecided {
            return Some(Step::More);
        }
        self.depth = self.depth + opens.count_ones() as usize - ends;
        self.in_text = texts & LAST != 0;
        self.escaped = escapes_next;
        self.walked += BLOCK;
        None
    }

    /// Where the value ends, if it does among these brackets.
    fn end(&self, opens: u64, mut ends: u64) -> Option<usize> {
        let mut closed = 0;
        while ends != 0 {
            let at = ends.trailing_zeros();
            closed += 1;
            let opened = (opens & ((1 << at) - 1)).count_ones() as usize;
            if self.depth + opened <= closed {
                return Some(self.walked + at as usize + 1);
            }
            ends &= ends - 1;
        }
        None
    }
}

/// [`Walk::go_on`], built twice: any x86-64 processor runs the one, and those with AVX2 take the other, which needs two thirds
/// of the time.
#[multiversion(targets("x86_64+avx2+bmi1+bmi2+lzcnt+popcnt"))]
fn go_on(walk: &mut Walk, bytes: &[u8], lines: bool) -> Step {
    walk.go_on(bytes, lines)
}

/// The bit of a block's last byte.
const LAST: u64 = 1 << (BLOCK - 1);

/// A bit for each byte behind a backslash that is not behind one itself, and whether the byte behind the block
/// is such a one too.
///
/// A run of backslashes escapes every second byte from its beginning. Subtracting the runs from the odd bits borrows
/// along each run, so that the same bits result for runs that begin at even and at odd bytes (simdjson does this).
const fn escaped(backslashes: u64, first: bool) -> (u64, bool) {
    const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
    let first = first as u64;
    let escapes = backslashes & !first;
    let code = (escapes << 1 | ODD).wrapping_sub(escapes) ^ ODD;
    (code ^ (backslashes | first), code & backslashes & LAST != 0)
}

/// Each bit becomes the parity of itself and all bits below it.
const fn running_parity(mut bits: u64) -> u64 {
    let mut shift = 1;
    while shift < BLOCK {
        bits ^= bits << shift;
        shift *= 2;
    }
    bits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What [`Walk`] finds, byte by byte and without any of its short cuts.
    fn plainly(bytes: &[u8], lines: bool) -> Option<Result<usize, usize>> {
        let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if in_text || lines && bytes.get(at + 1) == Some(&b'{') => return Some(Err(at)),
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = !in_text,
                _ if in_text => {}
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return Some(Ok(at + 1));
                    }
                }
                _ => {}
            }
        }
        None
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_walk_finds_what_a_plain_one_finds_in_whatever_pieces_it_is_given(
            pieces in prop::collection::vec(
                prop_oneof![
                    4 => "[{}\\[\\]\"\\\\ \n:,a;]{1,6}".prop_map(String::from),
                    2 => "\"[a-z{}]{0,40}\"".prop_map(String::from),
                    1 => "[a-z]{50,90}".prop_map(String::from),
                    1 => r"\\{1,70}".prop_map(String::from),
                ],
                0..40
            ),
            lines in any::<bool>(),
            step in 1_usize..200,
        ) {
            let bytes = format!("{{{}", pieces.concat()).into_bytes();
            // As it is built for this processor, and for any.
            for go_on in [Walk::on, Walk::go_on] {
                let mut walk = Walk::default();
                let mut seen = 0;
                let found = loop {
                    seen = (seen + step).min(bytes.len());
                    match go_on(&mut walk, &bytes[..seen], lines) {
                        Step::Ends(at) => break Some(Ok(at)),
                        Step::Breaks(at) => break Some(Err(at)),
                        Step::More if seen == bytes.len() => break None,
                        Step::More => {}
                    }
                };
                prop_assert_eq!(found, plainly(&bytes, lines));
            }
        }

        /// Which texts hide something is found by their letters afterwards. The walk must name each value that has one.
        #[test]
        fn a_walk_tells_escaped_letters_and_long_texts(
            before in "[a-z,:{}]{0,140}",
            hidden in prop_oneof![Just("\\u0053".to_owned()), "[A-Za-z0-9+/]{256,300}"],
            step in 1_usize..400,
        ) {
            let bytes = format!("{{\"{before}\":\"{hidden}\"}}").into_bytes();
            for go_on in [Walk::on, Walk::go_on] {
                let mut walk = Walk::default();
                let mut seen = 0;
                while seen < bytes.len() {
                    seen = (seen + step).min(bytes.len());
                    go_on(&mut walk, &bytes[..seen], false);
                }
                prop_assert!(walk.may_hide());
            }
        }
    }
}
