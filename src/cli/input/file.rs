//! Reads one input: a file, a pipe, standard input.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek as _};
use std::path::Path;
use std::sync::mpsc::SyncSender;

use key_guard_core::cloudtrail::values_from_json;
use libdeflater::Decompressor;
use memchr::memmem::Finder;

use super::super::records::{Marks, Piece, Records};
use super::super::spans::Spans;
use super::format::begins_json;
use super::passed_over::Kind;
use super::prefilter::PlainCall;
use super::sink::{Sink, Source};
use super::unpack::{Failing, MAX_UNPACKED, Nesting, cannot_go_on};
use super::value::{Expected, event, is_too_deep, is_trail_record, marked, syntax, unmarked};
use super::{Detail, Found, Gone, Input, history};

/// Inputs up to this size, inflated, are read as a whole; larger ones a chunk at a time. In bytes.
const LARGEST_WHOLE: u64 = 32 << 20;
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const GZIP_MEMBER: &[u8] = &[0x1f, 0x8b, 0x08];
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
const NOT_JSON: &str = "it is not JSON, and no log of a kind that is known here";
const NAMED: &str = "lines that are not JSON name a call that the guard watches, or have Base64 in which one may be: give each record as \
                     JSON on one line (of the AWS CLI: `--output json`), in a field of JSON or in a cell of CSV";

/// Reads one input after another.
pub(super) struct Worker {
    detail: Detail,
    pub(super) marks: Marks,
    plain_call: PlainCall,
    member: Finder<'static>,
    inflate: Decompressor,
    packed: Vec<u8>,
    buffer: Vec<u8>,
    /// `None`: nobody asks.
    pub(super) spans: Option<RefCell<Spans>>,
}

impl Worker {
    pub(super) fn new(detail: Detail) -> Self {
        Self {
            spans: (detail != Detail::Events).then(RefCell::default),
            detail,
            marks: Marks::new(detail.target()),
            plain_call: PlainCall::default(),
            member: Finder::new(GZIP_MEMBER),
            inflate: Decompressor::new(),
            packed: Vec::new(),
            buffer: Vec::new(),
        }
    }

    pub(super) fn read(&mut self, input: &Input, to: &SyncSender<Found>) {
        let mut sink = Sink::new(to, self.detail);
        let done = match input {
            Input::Unlistable { message } => sink.problem(message.clone()),
            Input::History { events, .. } => history::read(events, &mut sink),
            Input::Stdin => self.stream(&Source::stdin(), &mut io::stdin().lock(), &mut sink),
            Input::File { path, size, directory } => {
                self.file(path, *size, &Source::file(path, directory.is_some()), &mut sink)
            }
        };
        if done.and_then(|()| sink.end()).is_ok() {
            // Nobody waiting is no loss at the end.
            let spans = self.spans.as_ref().map(RefCell::take).unwrap_or_default();
            let Sink { events, passed_over, .. } = sink;
            let _ = to.send(Found::End { events, spans, passed_over });
        }
    }

    fn file(&mut self, path: &Path, size: u64, source: &Source, sink: &mut Sink<'_>) -> Result<(), Gone> {
        let name = &source.name;
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) => return sink.problem(format!("{name}: could not be opened: {error}")),
        };
        // A pipe can be read once only.
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return self.stream(source, &mut file, sink);
        }
        match self.whole(&mut file, size) {
            Ok(true) => {
                let buffer = std::mem::take(&mut self.buffer);
                if !begins_json(&buffer) {
                    let result = self.stream(source, &mut buffer.as_slice(), sink);
                    self.buffer = buffer;
                    return result;
                }
                sink.begin(source.clone());
                let mut records = Records::whole(buffer, &self.marks);
                let result = self.records(source, &mut records, Text::OTHER, sink);
                self.buffer = records.into_buffer();
                result
            }
            Ok(false) => match file.rewind() {
                Ok(()) => self.large(source, file, sink),
                Err(error) => sink.problem(format!("{name}: could not be read again: {error}")),
            },
            Err(error) => sink.problem(format!("{name}: could not be read: {error}")),
        }
    }

    /// A file that is read a chunk at a time. A zip archive is read by the list at its end.
    fn large(&self, source: &Source, mut file: File, sink: &mut Sink<'_>) -> Result<(), Gone> {
        let mut head = Vec::new();
        let read = (&mut file).take(ZIP_MAGIC.len() as u64).read_to_end(&mut head);
        match read.and_then(|_| file.rewind()) {
            Err(error) => sink.problem(format!("{}: could not be read: {error}", source.name)),
            Ok(()) if head == ZIP_MAGIC => {
                let left = Cell::new(MAX_UNPACKED);
                self.zip(source, BufReader::new(file), Nesting::new(&left), sink)
            }
            Ok(()) => self.stream(source, &mut file, sink),
        }
    }

    pub(super) fn stream(
        &self,
        source: &Source,
        from: &mut dyn Read,
        sink: &mut Sink<'_>,
    ) -> Result<(), Gone> {
        let left = Cell::new(MAX_UNPACKED);
        self.unpack(source, from, Nesting::new(&left), sink)
    }

    /// Reads the file into the buffer, inflated. `false` where it is too large for that, or where only
    /// reading it a chunk at a time shows how much of it is sound.
    fn whole(&mut self, file: &mut File, size: u64) -> io::Result<bool> {
        if size > LARGEST_WHOLE {
            return Ok(false);
        }
        self.packed.clear();
        let limit = LARGEST_WHOLE + 1;
        if file.take(limit).read_to_end(&mut self.packed)? as u64 == limit {
            return Ok(false);
        }
        if !self.packed.starts_with(GZIP_MAGIC) {
            std::mem::swap(&mut self.packed, &mut self.buffer);
            return Ok(true);
        }
        // The last four bytes of a gzip member are its inflated size (RFC 1952). Where there may be more
        // members than one, they say too little.
        let inflated = self.packed.last_chunk().map_or(0, |size| u32::from_le_bytes(*size));
        let one_member = self.packed.get(1..).is_some_and(|behind| self.member.find(behind).is_none());
        if !one_member || u64::from(inflated) > LARGEST_WHOLE {
            return Ok(false);
        }
        if self.buffer.capacity() < inflated as usize {
            // Nothing of the last file is copied.
            self.buffer = Vec::with_capacity((inflated as usize).next_power_of_two());
        }
        self.buffer.resize(inflated as usize, 0);
        Ok(self.inflate.gzip_decompress(&self.packed, &mut self.buffer) == Ok(inflated as usize))
    }

    /// Values that are read as a whole, or, where they are too large for that or broken, as far as objects are in it.
    pub(super) fn json_value(
        &self,
        source: &Source,
        from: &mut dyn Read,
        sink: &mut Sink<'_>,
    ) -> Result<(), Gone> {
        let mut bytes = Vec::new();
        let error = (&mut *from).take(LARGEST_WHOLE).read_to_end(&mut bytes).err();
        if error.is_none() {
            match values_from_json(&bytes) {
                Ok(values) => {
                    let place = || source.name.clone();
                    return values
                        .into_iter()
                        .try_for_each(|value| event(value, Expected::Anything, &place, sink));
                }
                Err(error) if is_too_deep(&error) => {
                    return sink.problem(format!("{}: {}", source.name, syntax(&error)));
                }
                Err(_) => {}
            }
        }
        let rest = Cursor::new(bytes).chain(Failing(error)).chain(from);
        self.records(source, &mut Records::streamed(rest, &self.marks), Text::OTHER, sink)
    }

    fn note_span_of(&self, piece: &Piece<'_>, number: u64) {
        if let (Some(spans), Piece::Logged(record) | Piece::Loose(record)) = (&self.spans, piece) {
            match self.detail {
                Detail::Uses if !is_sampled(number) => {}
                Detail::Uses => spans.borrow_mut().note_of_any_region(record.bytes),
                Detail::Events | Detail::EventsAndSpans => spans.borrow_mut().note(record.bytes),
            }
        }
    }

    /// Hands on what is in `records`.
    pub(super) fn records<R: Read>(
        &self,
        source: &Source,
        records: &mut Records<'_, R>,
        text_kind: Text<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Gone> {
        let name = &source.name;
        let mut number: u64 = 0;
        let mut is_trail_log = None;
        // A text without values is one thing, lines between values are another.
        let mut text = None;
        while !sink.is_refused() {
            let piece = match records.next_piece() {
                Ok(None) => break,
                Ok(Some(piece)) => piece,
                Err(error) => {
                    sink.damage(format!("{name}: after record {number}: {}", cannot_go_on(&error)))?;
                    break;
                }
            };
            number += 1;
            let place = || format!("{name}: record {number}");
            self.note_span_of(&piece, number);
            let is_named = matches!(piece, Piece::Text { is_marked, has_base64, has_object }
                if text_kind.may_hold_record(is_marked, has_base64, has_object));
            if matches!(piece, Piece::Text { .. }) && number == 1 && !is_named {
                text = Some(format!("{}: {NOT_JSON}", place()));
                continue;
            }
            match text.take() {
                Some(_) if text_kind.is_log() => sink.pass_value(Kind::OtherText),
                Some(message) => sink.damage(message)?,
                None => {}
            }
            let expected =
                if matches!(piece, Piece::Logged(_)) { Expected::Event } else { Expected::Anything };
            match piece {
                Piece::Logged(record) | Piece::Loose(record) if record.is_marked => {
                    marked(record.bytes, expected, &place, sink)?;
                }
                // What Lambda gets of a queue or a stream has the form of a log file.
                Piece::Logged(record)
                    if *is_trail_log.get_or_insert_with(|| is_trail_record(record.bytes))
                        && self.plain_call.is_in(record.bytes) =>
                {
                    sink.events += 1;
                }
                Piece::Logged(record) | Piece::Loose(record) => {
                    unmarked(record.bytes, expected, &place, sink)?;
                }
                Piece::Config => sink.pass_value(Kind::Config),
                Piece::Text { .. } if is_named => sink.problem(format!("{}: {NAMED}", place()))?,
                Piece::Text { .. } if text_kind.is_log() => sink.pass_value(Kind::OtherText),
                Piece::Text { .. } => sink.damage(format!("{}: {NOT_JSON}", place()))?,
                Piece::Damage(what) => sink.damage(format!("{}: {what}", place()))?,
            }
        }
        text.map_or(Ok(()), |message| sink.text(text_kind.kind, message))
    }
}

/// What lines without JSON are.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    /// What they are where there is nothing else.
    pub kind: Kind,
    /// Whether records have been found on lines behind something else. Then the others are lines of the same log.
    pub has_records: Option<&'a Cell<bool>>,
}

impl Text<'_> {
    pub(super) const OTHER: Self = Self { kind: Kind::OtherText, has_records: None };

    /// Whether a record may be in lines without JSON. Access logs have names and tokens in their URLs.
    fn may_hold_record(self, is_marked: bool, has_base64: bool, has_object: bool) -> bool {
        if self.kind == Kind::OtherText { is_marked || has_base64 } else { is_marked && has_object }
    }

    fn is_log(self) -> bool {
        self.has_records.is_some_and(Cell::get)
    }
}

/// Enough records to tell from when to when a file has events, and so few that it takes no time.
const fn is_sampled(number: u64) -> bool {
    const SAMPLE: u64 = 64;
    number <= SAMPLE || number.is_multiple_of(SAMPLE)
}
