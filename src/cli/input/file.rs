//! Reads one input: a file, a pipe, standard input.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek as _};
use std::path::Path;
use std::sync::mpsc::SyncSender;

use flate2::read::MultiGzDecoder;
use libdeflater::Decompressor;
use memchr::memmem::Finder;

use super::super::messages::shown;
use super::super::records::{Marks, Piece, Records};
use super::super::spans::Spans;
use super::value::{is_trail_record, marked, unmarked};
use super::{Detail, Found, Gone, Input, problem};

/// Inputs up to this size, inflated, are read as a whole; larger ones a chunk at a time. In bytes.
const LARGEST_WHOLE: u64 = 32 << 20;
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const GZIP_MEMBER: &[u8] = &[0x1f, 0x8b, 0x08];

/// Reads one input after another.
pub(super) struct Worker {
    marks: Marks,
    member: Finder<'static>,
    inflate: Decompressor,
    packed: Vec<u8>,
    buffer: Vec<u8>,
    /// `None`: nobody asks.
    spans: Option<RefCell<Spans>>,
}

impl Worker {
    pub(super) fn new(detail: Detail) -> Self {
        Self {
            spans: (detail == Detail::EventsAndSpans).then(RefCell::default),
            marks: Marks::default(),
            member: Finder::new(GZIP_MEMBER),
            inflate: Decompressor::new(),
            packed: Vec::new(),
            buffer: Vec::new(),
        }
    }

    pub(super) fn read(&mut self, input: &Input, to: &SyncSender<Found>) {
        let mut events = 0;
        let done = match input {
            Input::Unlistable { message } => to.send(Found::Problem(message.clone())).map_err(|_| Gone),
            Input::Stdin => self.stream("(standard input)", io::stdin().lock(), to, &mut events),
            Input::File { path, size, .. } => self.file(path, *size, to, &mut events),
        };
        if done.is_ok() {
            // Nobody waiting is no loss at the end.
            let spans = self.spans.as_ref().map(RefCell::take).unwrap_or_default();
            let _ = to.send(Found::End { events, spans });
        }
    }

    fn file(&mut self, path: &Path, size: u64, to: &SyncSender<Found>, events: &mut u64) -> Result<(), Gone> {
        let name = shown(path);
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) => return problem(to, format!("{name}: could not be opened: {error}")),
        };
        // A pipe can be read once only.
        if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return self.stream(&name, file, to, events);
        }
        match self.whole(&mut file, size) {
            Ok(true) => {
                let buffer = std::mem::take(&mut self.buffer);
                // Most files have nothing of ours, and one look at all of a file is quicker than one at each record.
                let anything = self.marks.are_in(&buffer);
                let mut records = Records::whole(buffer);
                let result = self.records(&name, &mut records, anything, to, events);
                self.buffer = records.into_buffer();
                result
            }
            Ok(false) => match file.rewind() {
                Ok(()) => self.stream(&name, file, to, events),
                Err(error) => problem(to, format!("{name}: could not be read again: {error}")),
            },
            Err(error) => problem(to, format!("{name}: could not be read: {error}")),
        }
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

    fn stream(
        &self,
        name: &str,
        mut from: impl Read,
        to: &SyncSender<Found>,
        events: &mut u64,
    ) -> Result<(), Gone> {
        let mut magic = Vec::new();
        if let Err(error) = (&mut from).take(GZIP_MAGIC.len() as u64).read_to_end(&mut magic) {
            return problem(to, format!("{name}: {error}"));
        }
        let packed = magic == GZIP_MAGIC;
        let from = Cursor::new(magic).chain(from);
        if packed {
            let inflated = MultiGzDecoder::new(BufReader::with_capacity(128 << 10, from));
            self.records(name, &mut Records::streamed(inflated), true, to, events)
        } else {
            self.records(name, &mut Records::streamed(from), true, to, events)
        }
    }

    /// Hands on what is in `records`. Without `anything` of ours in them, none is looked into for that.
    fn records<R: Read>(
        &self,
        name: &str,
        records: &mut Records<R>,
        anything: bool,
        to: &SyncSender<Found>,
        events: &mut u64,
    ) -> Result<(), Gone> {
        let mut number: u64 = 0;
        let mut is_trail_log = None;
        loop {
            let piece = match records.next_piece() {
                Ok(None) => break,
                Ok(Some(piece)) => piece,
                Err(error) => {
                    problem(to, format!("{name}: after record {number}: the file is damaged: {error}"))?;
                    break;
                }
            };
            number += 1;
            let place = || format!("{name}: record {number}");
            if let (Some(spans), Piece::Logged(record) | Piece::Loose(record)) = (&self.spans, &piece) {
                spans.borrow_mut().note(record);
            }
            match piece {
                Piece::Logged(record) | Piece::Loose(record) if anything && self.marks.are_in(record) => {
                    *events += marked(record, &place, to)?;
                }
                // What Lambda gets of a queue or a stream has the form of a log file.
                Piece::Logged(record) if *is_trail_log.get_or_insert_with(|| is_trail_record(record)) => {
                    *events += 1;
                }
                Piece::Logged(record) | Piece::Loose(record) => *events += unmarked(record, &place, to)?,
                Piece::Damage(what) => problem(to, format!("{}: {what}", place()))?,
            }
        }
        Ok(())
    }
}
