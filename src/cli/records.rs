//! Finds the records in CloudTrail's many wrappings without parsing them.
//!
//! A log file is `{"Records":[…]}`; elsewhere records stand alone, in an array, or one to a line. What they
//! have in common is balanced brackets, and following those is several times faster than parsing. A file
//! is told by what is in it, not by its name, and a chunk at a time, so that memory does not grow with it.

use std::io::{self, Read};

use memchr::memmem::Finder;
use wide::u8x16;

use key_guard_core::cloudtrail::{CREATE_ACCESS_KEY, CREDENTIAL_CALL_MARKER};
use key_guard_core::key::CONSOLE_USER_PREFIXES;

/// The largest single record that is read, in bytes. EventBridge's limit is 1 MB for an event with all that is
/// around it, and CloudTrail's records are smaller.
const LARGEST_RECORD: usize = 4 << 20;
const TOO_LARGE: &str =
    "it is larger than 4 MiB, more than any record (a log file's Records have to come first)";
const CHUNK: usize = 256 << 10;

/// Tells bytes that could hold a call of ours. Those of an access key are looked for by the call before the
/// users: one word more in what has nothing of ours, not two.
#[derive(Debug)]
pub struct Marks {
    key: Finder<'static>,
    access_key: Finder<'static>,
    users: [Finder<'static>; CONSOLE_USER_PREFIXES.len()],
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            key: Finder::new(CREDENTIAL_CALL_MARKER),
            access_key: Finder::new(CREATE_ACCESS_KEY),
            users: CONSOLE_USER_PREFIXES.map(Finder::new),
        }
    }
}

impl Marks {
    /// Whether a call of ours could be in these bytes.
    #[must_use]
    pub fn are_in(&self, bytes: &[u8]) -> bool {
        let has = |word: &Finder<'_>| word.find(bytes).is_some();
        has(&self.key) || (has(&self.access_key) && self.users.iter().any(has))
    }
}

/// A piece of an input.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A record of a `{"Records":[…]}` log file: balanced, not parsed.
    Logged(&'a [u8]),
    /// A value that stands alone, in an array or on a line: balanced, not parsed.
    Loose(&'a [u8]),
    /// Something that is no record, said in words. More pieces may follow.
    Damage(&'static str),
}

/// Cuts an input into [`Piece`]s.
#[derive(Debug)]
pub struct Records<R> {
    reader: Option<R>,
    buffer: Vec<u8>,
    /// Where the rest of the input begins in the buffer.
    at: usize,
    inside: Inside,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// Between top-level values.
    Top,
    /// In the array of a log file, at an element or its end.
    Log,
    /// In a top-level array, at an element or its end.
    List,
    /// After the array of a log file, in its object.
    Tail,
    /// At the end, or past damage that nothing can be found behind.
    Over,
}

/// How far a value goes.
enum Extent {
    /// To here, in bytes from its start.
    Ends(usize),
    /// Broken at this byte, where the next line begins a value of its own.
    BrokenAt(usize),
    /// Broken: the input ends within it.
    Unfinished,
    /// Larger than [`LARGEST_RECORD`].
    TooLarge,
}

impl Records<io::Empty> {
    /// Over an input that is in memory as a whole. The buffer can be had back with
    /// [`Records::into_buffer`].
    #[must_use]
    pub fn whole(buffer: Vec<u8>) -> Self {
        Self { reader: None, buffer, at: 0, inside: Inside::Top }
    }
}

impl<R: Read> Records<R> {
    /// Over an input that is read as it is needed.
    pub fn streamed(reader: R) -> Self {
        Self { reader: Some(reader), buffer: Vec::with_capacity(2 * CHUNK), at: 0, inside: Inside::Top }
    }

    /// The buffer, for the next input.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// The next piece, or `None` at the end.
    ///
    /// # Errors
    /// When the input cannot be read any further. What came before stays valid.
    pub fn next_piece(&mut self) -> io::Result<Option<Piece<'_>>> {
        loop {
            match self.inside {
                Inside::Over => return Ok(None),
                Inside::Top => match self.peek()? {
                    None => return Ok(None),
                    Some(b'{') if self.skip_log_head()? => self.inside = Inside::Log,
                    Some(b'{') => return self.loose().map(Some),
                    Some(b'[') => {
                        self.at += 1;
                        self.inside = Inside::List;
                    }
                    Some(_) => {
                        self.skip_lines()?;
                        return Ok(Some(Piece::Damage("it is not JSON")));
                    }
                },
                Inside::Log | Inside::List => match self.peek()? {
                    None => {
                        self.inside = Inside::Over;
                        return Ok(Some(Piece::Damage("the input ends within a list of records")));
                    }
                    Some(b',') => self.at += 1,
                    Some(b']') => {
                        self.at += 1;
                        self.inside = if self.inside == Inside::Log { Inside::Tail } else { Inside::Top };
                    }
                    Some(b'{') => return self.element().map(Some),
                    Some(_) => {
                        self.skip_element()?;
                        return Ok(Some(Piece::Damage("it is no object")));
                    }
                },
                Inside::Tail => match self.tail()? {
                    None => self.inside = Inside::Top,
                    Some(damage) => {
                        self.inside = Inside::Over;
                        return Ok(Some(Piece::Damage(damage)));
                    }
                },
            }
        }
    }

    /// What follows a log file's list, up to and with the closing brace.
    fn tail(&mut self) -> io::Result<Option<&'static str>> {
        const UNFINISHED: &str = "the input ends within a log file";
        // The opening brace was passed long ago; the walk begins one level deep.
        let mut walk = Walk { depth: 1, ..Walk::default() };
        let start = self.at;
        loop {
            let seen = self.buffer.get(start..).unwrap_or_default();
            match walk.on(seen, false) {
                Step::Ends(length) => {
                    self.at = start + length;
                    let tail = self.buffer.get(start..self.at).unwrap_or_default();
                    let named = Marks::default().are_in(tail);
                    return Ok(named.then_some("behind its records, the log file names a call that matters"));
                }
                Step::Breaks(_) => return Ok(Some("a text is broken by a line's end")),
                Step::More if seen.len() > LARGEST_RECORD => {
                    return Ok(Some("a log file has too long an end"));
                }
                Step::More if self.fill()? => {}
                Step::More => return Ok(Some(UNFINISHED)),
            }
        }
    }

    fn element(&mut self) -> io::Result<Piece<'_>> {
        let logged = self.inside == Inside::Log;
        match self.extent(false)? {
            Extent::Ends(length) if length > LARGEST_RECORD => {
                self.at += length;
                Ok(Piece::Damage(TOO_LARGE))
            }
            Extent::Ends(length) => {
                let record = self.take(length);
                Ok(if logged { Piece::Logged(record) } else { Piece::Loose(record) })
            }
            Extent::BrokenAt(_) => Ok(self.over("a text in it is broken by a line's end")),
            Extent::Unfinished => Ok(self.over("the input ends within it")),
            Extent::TooLarge => Ok(self.over(TOO_LARGE)),
        }
    }

    fn loose(&mut self) -> io::Result<Piece<'_>> {
        match self.extent(true)? {
            Extent::Ends(length) if length > LARGEST_RECORD => {
                self.at += length;
                Ok(Piece::Damage(TOO_LARGE))
            }
            Extent::Ends(length) => Ok(Piece::Loose(self.take(length))),
            Extent::BrokenAt(next) => {
                self.at += next;
                self.skip_to_value()?;
                Ok(Piece::Damage("it is cut off at the end of its line"))
            }
            Extent::Unfinished => Ok(self.over("the input ends within it")),
            Extent::TooLarge => Ok(self.over(TOO_LARGE)),
        }
    }

    /// Damage that nothing can be found behind.
    fn over(&mut self, what: &'static str) -> Piece<'static> {
        self.inside = Inside::Over;
        Piece::Damage(what)
    }

    fn take(&mut self, length: usize) -> &[u8] {
        let start = self.at;
        self.at += length;
        self.buffer.get(start..self.at).unwrap_or_default()
    }

    /// How far the value goes that begins here. With `lines`, a `{` at the beginning of a line is the
    /// beginning of another value.
    fn extent(&mut self, lines: bool) -> io::Result<Extent> {
        self.compact();
        let mut walk = Walk::default();
        loop {
            let seen = self.buffer.get(self.at..).unwrap_or_default();
            match walk.on(seen, lines) {
                Step::Ends(length) => return Ok(Extent::Ends(length)),
                Step::Breaks(at) => return Ok(Extent::BrokenAt(at)),
                Step::More if seen.len() > LARGEST_RECORD => return Ok(Extent::TooLarge),
                Step::More if self.fill()? => {}
                Step::More => return Ok(Extent::Unfinished),
            }
        }
    }

    /// The next byte that is not white space, without taking it.
    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            let rest = match rest.strip_prefix(b"\xef\xbb\xbf") {
                Some(behind) if self.inside == Inside::Top => behind,
                Some(_) | None => rest,
            };
            let skipped = self.buffer.len() - self.at - rest.len();
            match rest.iter().position(|byte| !byte.is_ascii_whitespace()) {
                // A byte-order mark may be cut in two by the end of the buffer.
                Some(offset) if rest.len() - offset >= 3 || self.reader.is_none() => {
                    self.at += skipped + offset;
                    return Ok(self.buffer.get(self.at).copied());
                }
                Some(_) => {
                    self.compact();
                    self.fill()?;
                }
                None => {
                    self.at = self.buffer.len();
                    self.compact();
                    if !self.fill()? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Passes `{"Records":[` if that is what is here.
    fn skip_log_head(&mut self) -> io::Result<bool> {
        const LONGEST_HEAD: usize = 256;
        while self.buffer.len() - self.at < LONGEST_HEAD {
            self.compact();
            if !self.fill()? {
                break;
            }
        }
        let head = self.buffer.get(self.at..).unwrap_or_default();
        let mut rest = head;
        for token in [&b"{"[..], b"\"Records\"", b":", b"["] {
            let Some(behind) = rest.trim_ascii_start().strip_prefix(token) else {
                return Ok(false);
            };
            rest = behind;
        }
        self.at += head.len() - rest.len();
        Ok(true)
    }

    /// Passes what is no JSON: at least this line, and on to one that begins a value.
    fn skip_lines(&mut self) -> io::Result<()> {
        self.at += 1;
        self.skip_to_value()
    }

    fn skip_to_value(&mut self) -> io::Result<()> {
        loop {
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            let next = memchr::memchr_iter(b'\n', rest)
                .find(|newline| matches!(rest.get(newline + 1), None | Some(b'{' | b'[')));
            match next {
                Some(newline) if newline + 1 < rest.len() || self.reader.is_none() => {
                    self.at += newline + 1;
                    return Ok(());
                }
                Some(newline) => self.at += newline,
                None => self.at = self.buffer.len(),
            }
            self.compact();
            if !self.fill()? {
                self.at = self.buffer.len();
                return Ok(());
            }
        }
    }

    /// Passes an element of a list that is no object: up to the comma or bracket behind it.
    fn skip_element(&mut self) -> io::Result<()> {
        if self.buffer.get(self.at) == Some(&b'[') {
            if let Extent::Ends(length) = self.extent(false)? {
                self.at += length;
            } else {
                self.inside = Inside::Over;
            }
            return Ok(());
        }
        let (mut in_text, mut escaped) = (false, false);
        loop {
            while let Some(byte) = self.buffer.get(self.at) {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_text = !in_text,
                    b'\n' => in_text = false,
                    b',' | b']' if !in_text => return Ok(()),
                    _ => {}
                }
                self.at += 1;
            }
            self.compact();
            if !self.fill()? {
                return Ok(());
            }
        }
    }

    /// Drops what was taken, once it is worth moving the rest.
    fn compact(&mut self) {
        if self.reader.is_some() && self.at >= CHUNK {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
    }

    /// Reads on. `false` at the end of the input.
    fn fill(&mut self) -> io::Result<bool> {
        let Some(reader) = &mut self.reader else {
            return Ok(false);
        };
        let filled = self.buffer.len();
        self.buffer.resize(filled + CHUNK, 0);
        let result = loop {
            match reader.read(self.buffer.get_mut(filled..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        let read = *result.as_ref().unwrap_or(&0);
        self.buffer.truncate(filled + read);
        if read == 0 {
            self.reader = None;
        }
        result.map(|read| read > 0)
    }
}

/// Follows the brackets of one value, across as many looks at a growing buffer as it takes.
///
/// It goes 64 bytes at a time: comparing them all at once gives a bit for each quote, backslash, bracket and
/// line's end, and the quotes' running parity tells which of them are inside a text.
#[derive(Debug, Default)]
struct Walk {
    walked: usize,
    depth: usize,
    in_text: bool,
    /// The next byte stands behind a backslash.
    escaped: bool,
}

enum Step {
    Ends(usize),
    Breaks(usize),
    More,
}

const BLOCK: usize = 64;

impl Walk {
    fn on(&mut self, bytes: &[u8], lines: bool) -> Step {
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
            return Self { ..*self }.block(&last, None, lines).unwrap_or(Step::More);
        }
    }

    /// Passes a block, or tells where in it the value ends or breaks.
    fn block(&mut self, block: &[u8; BLOCK], behind: Option<&u8>, lines: bool) -> Option<Step> {
        let is = |byte| bits(block, |lane| lane.simd_eq(u8x16::splat(byte)));
        // Square and curly brackets differ in this one bit, and nothing else becomes one by it.
        let folded = |byte| bits(block, |lane| (lane | u8x16::splat(0x20)).simd_eq(u8x16::splat(byte)));
        let (escaped, escapes_next) = escaped(is(b'\\'), self.escaped);
        let plain = !escaped;
        let texts = running_parity(is(b'"') & plain) ^ if self.in_text { u64::MAX } else { 0 };
        let outside = plain & !texts;
        let (opens, closes, newlines) = (folded(b'{') & outside, folded(b'}') & outside, is(b'\n'));

        let mut breaks = newlines & plain & texts;
        if lines && newlines & outside != 0 {
            let begins = is(b'{') >> 1 | if behind == Some(&b'{') { LAST } else { 0 };
            breaks |= newlines & outside & begins;
        }
        if breaks != 0 {
            let before = breaks.trailing_zeros();
            let passed = (1 << before) - 1;
            let at = self.walked + before as usize;
            return Some(self.end(opens & passed, closes & passed).map_or(Step::Breaks(at), Step::Ends));
        }
        if let Some(end) = self.end(opens, closes) {
            return Some(Step::Ends(end));
        }
        if lines && behind.is_none() && newlines & outside & LAST != 0 {
            // Whether a value begins on the next line is not known yet.
            return Some(Step::More);
        }
        self.depth = self.depth + opens.count_ones() as usize - closes.count_ones() as usize;
        self.in_text = texts & LAST != 0;
        self.escaped = escapes_next;
        self.walked += BLOCK;
        None
    }

    /// Where the value ends, if it does among these brackets.
    fn end(&self, opens: u64, mut ends: u64) -> Option<usize> {
        if (ends.count_ones() as usize) < self.depth {
            return None;
        }
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

/// The bit of a block's last byte.
const LAST: u64 = 1 << (BLOCK - 1);

/// A bit for each byte behind a backslash that is not behind one itself, and whether the byte behind the block
/// is such a one too.
const fn escaped(mut backslashes: u64, first: bool) -> (u64, bool) {
    let mut escaped = first as u64;
    let mut next = false;
    backslashes &= !escaped;
    while backslashes != 0 {
        let backslash = backslashes & backslashes.wrapping_neg();
        escaped |= backslash << 1;
        next = backslash == LAST;
        backslashes &= !(backslash | backslash << 1);
    }
    (escaped, next)
}

/// A bit for each byte of a block that `matches`, the first byte's lowest.
fn bits(block: &[u8; BLOCK], matches: impl Fn(u8x16) -> u8x16) -> u64 {
    let (lanes, _) = block.as_chunks();
    lanes.iter().rev().fold(0, |bits, lane| bits << 16 | u64::from(matches(u8x16::new(*lane)).to_bitmask()))
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
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = !in_text,
                b'\n' if in_text => return Some(Err(at)),
                _ if in_text => {}
                b'\n' if lines && bytes.get(at + 1) == Some(&b'{') => return Some(Err(at)),
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
                ],
                0..40
            ),
            lines in any::<bool>(),
            step in 1_usize..200,
        ) {
            let bytes = format!("{{{}", pieces.concat()).into_bytes();
            let mut walk = Walk::default();
            let mut seen = 0;
            let found = loop {
                seen = (seen + step).min(bytes.len());
                match walk.on(&bytes[..seen], lines) {
                    Step::Ends(at) => break Some(Ok(at)),
                    Step::Breaks(at) => break Some(Err(at)),
                    Step::More if seen == bytes.len() => break None,
                    Step::More => {}
                }
            };
            prop_assert_eq!(found, plainly(&bytes, lines));
        }
    }
}
