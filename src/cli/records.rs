//! Finds the records in CloudTrail's many wrappings without parsing them.
//!
//! A log file is `{"Records":[…]}`; elsewhere records stand alone, in an array, or one to a line. What they
//! have in common is balanced brackets, and following those is several times faster than parsing. A file
//! is told by what is in it, not by its name, and a chunk at a time, so that memory does not grow with it.

mod marks;
mod walk;

use std::io::{self, BufRead as _, BufReader, Read};
use std::ops::Range;

use key_guard_core::cloudtrail::{CREDENTIAL_CALL_MARKER, IAM, USER_CALLS, has_call, may_be_base64};

pub use self::marks::Marks;
use super::input::record_in;
use walk::{Step, Walk};

/// The largest single value that is read, in bytes. A record has 1 MB at most, but what `aws cloudtrail lookup-events` prints
/// is one value with all events of its pages. It is held in memory as a whole, for each core.
const LARGEST_RECORD: usize = 32 << 20;
const TOO_LARGE: &str = "it is one value of more than 32 MiB: neither it nor what follows it in this file or stream is read. Split it, or ask for less at once (a log file's Records have to come first)";
const CHUNK: usize = 256 << 10;
/// Not less than what [`Marks`] looks for, with what may be between a call and its user.
const LONGEST_MARK: usize = 16 << 10;

/// As much of a line is looked at for a record in it, in bytes.
const LINE_HEAD: usize = 4 << 10;

/// Where in the line at the beginning of `text` a record begins behind something else, which names and hides no call.
fn record_behind_text(text: &[u8], marks: &Marks) -> Option<usize> {
    let head = text.get(..LINE_HEAD).unwrap_or(text);
    let line = memchr::memchr(b'\n', head).and_then(|end| head.get(..end)).unwrap_or(head);
    let at = record_in(line)?;
    let before = line.get(..at).unwrap_or_default();
    (!marks.are_in(before) && !may_be_base64(before)).then_some(at)
}

/// True for a text with fields that only a record has together. The name of its call may be cut in two by a line's end.
fn has_record_fields(text: &[u8]) -> bool {
    [["eventVersion", "userIdentity"], [IAM, "requestParameters"]]
        .iter()
        .any(|fields| fields.iter().all(|field| memchr::memmem::find(text, field.as_bytes()).is_some()))
}

/// True for a text with gzip in escapes, as Python and JSON print bytes.
pub(super) fn has_escaped_gzip(text: &[u8]) -> bool {
    let beginnings = [&br"\x1f\x8b"[..], br"\u001f\u008b", "\u{1f}\u{8b}".as_bytes()];
    beginnings.iter().any(|begin| memchr::memmem::find(text, begin).is_some())
}

/// A piece of an input.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A record of a `{"Records":[…]}` log file.
    Logged(Balanced<'a>),
    /// A value that stands alone, in an array or on a line.
    Loose(Balanced<'a>),
    /// Lines that are no JSON.
    Text {
        /// A call that is looked for is named in them.
        is_marked: bool,
        /// They have Base64, in which anything may be.
        has_base64: bool,
        /// They have what an object of JSON begins with.
        has_object: bool,
    },
    /// Items of AWS Config, however large.
    Config,
    /// Something that is no record, said in words. More pieces may follow.
    Damage(&'static str),
}

/// An object whose brackets are balanced. It is not parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balanced<'a> {
    /// The whole object.
    pub bytes: &'a [u8],
    /// A call that is looked for could be in it.
    pub is_marked: bool,
}

/// Cuts an input into [`Piece`]s.
#[derive(Debug)]
pub struct Records<'a, R> {
    marks: &'a Marks,
    /// Whether the input could name a call that is looked for. Most files name none, and one look at all of a file is quicker
    /// than one at each record.
    may_name_call: bool,
    reader: Option<BufReader<R>>,
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
    Ends {
        length: usize,
        /// There may be hidden letters in it, or a long text.
        may_hide: bool,
    },
    /// Broken at this byte, where the next line begins a value of its own.
    BrokenAt(usize),
    /// Broken: the input ends within it.
    Unfinished,
    /// Larger than [`LARGEST_RECORD`]: how far it was followed.
    TooLarge(Walk),
}

impl<'a> Records<'a, io::Empty> {
    /// Over an input that is in memory as a whole. The buffer can be had back with
    /// [`Records::into_buffer`].
    #[must_use]
    pub fn whole(buffer: Vec<u8>, marks: &'a Marks) -> Self {
        let may_name_call = marks.name_call(&buffer);
        Self { marks, may_name_call, reader: None, buffer, at: 0, inside: Inside::Top }
    }
}

impl<'a, R: Read> Records<'a, R> {
    /// Over an input that is read as it is needed.
    pub fn streamed(reader: R, marks: &'a Marks) -> Self {
        let reader = Some(BufReader::with_capacity(CHUNK, reader));
        let buffer = Vec::with_capacity(2 * CHUNK);
        Self { marks, may_name_call: true, reader, buffer, at: 0, inside: Inside::Top }
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
                    // Values that were cut out of a list.
                    Some(b',') => self.at += 1,
                    Some(b'[') => {
                        self.at += 1;
                        self.inside = Inside::List;
                    }
                    Some(_) if self.skip_to_record()? => {}
                    Some(_) => return self.skip_to_value().map(Some),
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
        let mut walk = Walk::inside();
        let start = self.at;
        loop {
            let seen = self.buffer.get(start..).unwrap_or_default();
            match walk.on(seen, false) {
                Step::Ends(length) => {
                    self.at = start + length;
                    let tail = self.buffer.get(start..self.at).unwrap_or_default();
                    let named = self.marks.are_in(tail);
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
            Extent::Ends { length, .. } if length > LARGEST_RECORD => {
                self.at += length;
                Ok(Piece::Damage(TOO_LARGE))
            }
            Extent::Ends { length, may_hide } => {
                let record = self.at..self.at + length;
                self.at = record.end;
                let record = self.balanced(record, may_hide);
                Ok(if logged { Piece::Logged(record) } else { Piece::Loose(record) })
            }
            Extent::BrokenAt(_) => Ok(self.over("a text in it is broken by a line's end")),
            Extent::Unfinished => Ok(self.over("the input ends within it")),
            Extent::TooLarge(_) => Ok(self.over(TOO_LARGE)),
        }
    }

    fn loose(&mut self) -> io::Result<Piece<'_>> {
        match self.extent(true)? {
            Extent::Ends { length, .. } if length > LARGEST_RECORD && self.begins_config() => {
                let target = self.marks.target;
                let has_name = has_call(self.take(length), target);
                Ok(if has_name { Piece::Damage(TOO_LARGE) } else { Piece::Config })
            }
            Extent::Ends { length, .. } if length > LARGEST_RECORD => {
                self.at += length;
                Ok(Piece::Damage(TOO_LARGE))
            }
            Extent::Ends { length, may_hide } => {
                let behind = self.same_line_behind(length);
                let record = self.at..self.at + length;
                self.at = record.end + behind;
                Ok(Piece::Loose(self.balanced(record, may_hide)))
            }
            Extent::BrokenAt(next) => {
                self.at += next;
                self.skip_to_value()?;
                Ok(Piece::Damage("it is cut off at the end of its line"))
            }
            Extent::Unfinished => Ok(self.over("the input ends within it")),
            Extent::TooLarge(walk) if self.begins_config() => self.skip_config(walk),
            Extent::TooLarge(_) => Ok(self.over(TOO_LARGE)),
        }
    }

    /// How much of the line behind a value of this length is cells that the value has, too: `aws cloudtrail lookup-events
    /// --output text` prints them behind tabs. What could be a record or hide one is none.
    fn same_line_behind(&self, length: usize) -> usize {
        const LONGEST: usize = 4 << 10;
        let Some((record, rest)) =
            self.buffer.get(self.at..).and_then(|value| value.split_at_checked(length))
        else {
            return 0;
        };
        let rest = rest.get(..LONGEST).unwrap_or(rest);
        let line = memchr::memchr(b'\n', rest).and_then(|end| rest.get(..end)).unwrap_or_default();
        let names_call = |word: &&[u8]| {
            let has = |name: &&str| memchr::memmem::find(word, name.as_bytes()).is_some();
            has(&CREDENTIAL_CALL_MARKER) || USER_CALLS.iter().any(has)
        };
        let is_known = |word: &[u8]| memchr::memmem::find(record, word).is_some();
        let is_harmless = line.starts_with(b"\t")
            && !line.iter().any(|byte| matches!(byte, b'{' | b'[' | b'"' | b'\\'))
            && !may_be_base64(line)
            && line.split(u8::is_ascii_whitespace).filter(names_call).all(is_known);
        if is_harmless { line.len() } else { 0 }
    }

    /// True where the value that begins here is a history or a snapshot of AWS Config (AWS Config developer guide, *Viewing
    /// configuration history* and *Example configuration snapshot*): its items are in a field of its own.
    fn begins_config(&self) -> bool {
        let head = self.buffer.get(self.at..).unwrap_or_default();
        let head = head.get(..512).unwrap_or(head);
        let before = memchr::memmem::find(head, b"\"configurationItems\"").and_then(|at| head.get(1..at));
        before.is_some_and(|before| !before.iter().any(|byte| matches!(byte, b'{' | b'[')))
    }

    /// Passes a value without keeping more of it than what a name takes.
    fn skip_config(&mut self, mut walk: Walk) -> io::Result<Piece<'_>> {
        const LONGEST_NAME: usize = 256;
        let mut has_name = false;
        loop {
            let behind = self.at.saturating_sub(LONGEST_NAME);
            has_name = has_name || has_call(self.buffer.get(behind..).unwrap_or_default(), self.marks.target);
            match walk.on(self.buffer.get(self.at..).unwrap_or_default(), true) {
                Step::Ends(length) => {
                    self.at += length;
                    return Ok(if has_name { Piece::Damage(TOO_LARGE) } else { Piece::Config });
                }
                Step::Breaks(next) => {
                    self.at += next;
                    self.skip_to_value()?;
                    return Ok(Piece::Damage("it is cut off at the end of its line"));
                }
                Step::More => {
                    self.at += walk.forget();
                    self.buffer.drain(..self.at.saturating_sub(LONGEST_NAME));
                    self.at = self.at.min(LONGEST_NAME);
                    if !self.fill()? {
                        return Ok(self.over("the input ends within it"));
                    }
                }
            }
        }
    }

    /// Damage that nothing can be found behind.
    fn over(&mut self, what: &'static str) -> Piece<'static> {
        self.inside = Inside::Over;
        Piece::Damage(what)
    }

    fn balanced(&self, range: Range<usize>, may_hide: bool) -> Balanced<'_> {
        let bytes = self.buffer.get(range).unwrap_or_default();
        let is_marked =
            (self.may_name_call && self.marks.name_call(bytes)) || (may_hide && self.marks.hide_call(bytes));
        Balanced { bytes, is_marked }
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
                Step::Ends(length) => return Ok(Extent::Ends { length, may_hide: walk.may_hide() }),
                Step::Breaks(at) => return Ok(Extent::BrokenAt(at)),
                Step::More if seen.len() > LARGEST_RECORD => return Ok(Extent::TooLarge(walk)),
                Step::More if self.fill()? => {}
                Step::More => return Ok(Extent::Unfinished),
            }
        }
    }

    /// The next byte that is not white space, without taking it.
    fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            let mut rest = self.buffer.get(self.at..).unwrap_or_default().trim_ascii_start();
            // Files with a byte-order mark may be glued together.
            while let (Inside::Top, Some(behind)) = (self.inside, rest.strip_prefix(b"\xef\xbb\xbf")) {
                rest = behind.trim_ascii_start();
            }
            match rest.first().copied() {
                // A byte-order mark may be cut in two by the end of the buffer.
                Some(first) if rest.len() >= 3 || self.reader.is_none() => {
                    self.at = self.buffer.len() - rest.len();
                    return Ok(Some(first));
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

    /// Passes what stands before a record on its line, if that names and hides no call.
    fn skip_to_record(&mut self) -> io::Result<bool> {
        while !self.has_line(self.at) {
            self.compact();
            if !self.fill()? {
                break;
            }
        }
        let at = record_behind_text(self.buffer.get(self.at..).unwrap_or_default(), self.marks);
        self.at += at.unwrap_or_default();
        Ok(at.is_some())
    }

    /// Whether as much of the line that begins there is in the buffer as is looked at.
    fn has_line(&self, at: usize) -> bool {
        let rest = self.buffer.get(at..).unwrap_or_default();
        rest.len() >= LINE_HEAD || memchr::memchr(b'\n', rest).is_some()
    }

    /// Passes what is no JSON: at least this line, and on to one that begins a value. It may be anything, so the call's name is
    /// enough.
    fn skip_to_value(&mut self) -> io::Result<Piece<'static>> {
        let marks = self.marks;
        let (mut is_marked, mut has_base64, mut has_object) = (false, false, false);
        loop {
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            let next = memchr::memchr_iter(b'\n', rest).find(|newline| {
                match rest.get(newline + 1..).unwrap_or_default() {
                    [] | [b'{' | b'[', ..] => true,
                    line => record_behind_text(line, marks).is_some(),
                }
            });
            let passed = rest.get(..next.unwrap_or(rest.len())).unwrap_or_default();
            is_marked |= marks.are_in(passed) || has_record_fields(passed);
            has_base64 |= may_be_base64(passed) || has_escaped_gzip(passed);
            has_object |= memchr::memmem::find(passed, b"{\"").is_some();
            match next {
                Some(newline) if newline + 1 < rest.len() || self.reader.is_none() => {
                    self.at += newline + 1;
                    return Ok(Piece::Text { is_marked, has_base64, has_object });
                }
                // What it says or hides may be cut in two by the end of the buffer.
                Some(_) | None => self.at = self.buffer.len() - rest.len().min(LONGEST_MARK),
            }
            self.compact();
            if !self.fill()? {
                self.at = self.buffer.len();
                return Ok(Piece::Text { is_marked, has_base64, has_object });
            }
        }
    }

    /// Passes an element of a list that is no object: up to the comma or bracket behind it.
    fn skip_element(&mut self) -> io::Result<()> {
        if self.buffer.get(self.at) == Some(&b'[') {
            if let Extent::Ends { length, .. } = self.extent(false)? {
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
        let read = loop {
            match reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.reader = None;
                    return Err(error);
                }
                Ok(read) => break read,
            }
        };
        let length = read.len();
        self.buffer.extend_from_slice(read);
        reader.consume(length);
        if length == 0 {
            self.reader = None;
        }
        Ok(length > 0)
    }
}
