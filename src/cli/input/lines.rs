//! Takes off what loggers put before a record on its line.
//!
//! An export task of CloudWatch Logs writes `2026-11-20T13:04:08.000Z {…}`, syslog `<14>Nov 20 13:04:08 host app: {…}`. By
//! rule, a record that begins within a line is read from there.

use std::cell::Cell;
use std::io::{self, BufRead as _, BufReader, Read};

use key_guard_core::cloudtrail::may_be_base64;

use super::format::{HEAD, access_log};
use crate::cli::records::Marks;

/// What a line has, in full, in which a record or an event begins.
const FIELDS: [&str; 5] = ["eventVersion", "eventName", "eventSource", "detail-type", "logEvents"];

/// Where in a line a record begins, behind something else.
pub(in crate::cli) fn record_in(line: &[u8]) -> Option<usize> {
    let begins = |at: &usize| {
        let behind = line.get(at + 1..).unwrap_or_default().trim_ascii_start();
        behind.starts_with(b"\"") && !behind.starts_with(b"\"\"")
    };
    let at = memchr::memchr_iter(b'{', line).find(begins)?;
    let (before, record) = line.split_at_checked(at)?;
    let has = |field: &&str| memchr::memmem::find(record, field.as_bytes()).is_some();
    (FIELDS.iter().any(has) && is_of_logger(before)).then_some(at)
}

/// True for what a logger puts before a record. Behind a quote that is open, and right behind what separates fields and cells,
/// the record would be a part of JSON or of CSV. Anybody can write quotes into the access logs of services.
fn is_of_logger(before: &[u8]) -> bool {
    let text = String::from_utf8_lossy(before);
    let quotes = text.matches('"').count();
    let separates = |c: char| ",;[{}\t".contains(c);
    let is_outside = || {
        let end = text.trim_end_matches(' ');
        let is_part = end.ends_with(separates) || end.ends_with("\":");
        quotes.is_multiple_of(2) && !is_part && access_log(&text).is_none()
    };
    text.contains(char::is_alphanumeric) && (quotes == 0 || is_outside())
}

/// True for a line that begins with a bracket as a list does, and is none: `[INFO]`, `[2026-11-20 …]`.
fn begins_with_bracketed_text(line: &[u8]) -> bool {
    let Some(behind) = line.strip_prefix(b"[") else { return false };
    !matches!(behind.trim_ascii_start().first(), None | Some(b'{' | b'[' | b']' | b'"'))
}

/// A text without what comes before the records on its lines. What hides or names a call there stays.
pub(super) struct LogLines<'a, R> {
    inner: BufReader<R>,
    marks: &'a Marks,
    /// Whether a line had a record behind something else.
    has_records: &'a Cell<bool>,
    /// The beginning of a line, or a further part of it.
    line: Vec<u8>,
    at: usize,
}

impl<'a, R: Read> LogLines<'a, R> {
    pub(super) fn new(inner: R, marks: &'a Marks, has_records: &'a Cell<bool>) -> Self {
        Self { inner: BufReader::with_capacity(64 << 10, inner), marks, has_records, line: Vec::new(), at: 0 }
    }

    /// Reads on. `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let begins_line = self.line.last().is_none_or(|byte| *byte == b'\n');
        self.line.clear();
        self.at = 0;
        (&mut self.inner).take(HEAD as u64).read_until(b'\n', &mut self.line)?;
        if begins_line {
            self.take_off();
        }
        Ok(!self.line.is_empty())
    }

    fn take_off(&mut self) {
        let before = |at: &usize| self.line.get(..*at).unwrap_or_default();
        let at =
            record_in(&self.line).filter(|at| !self.marks.are_in(before(at)) && !may_be_base64(before(at)));
        if let Some(at) = at {
            self.has_records.set(true);
            self.at = at;
        } else if begins_with_bracketed_text(&self.line)
            && let Some(bracket) = self.line.first_mut()
        {
            // What reads records would take it for a list.
            *bracket = b'(';
        }
    }
}

impl<R: Read> Read for LogLines<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            if self.at == self.line.len() {
                // What follows in a pipe may be long in coming.
                let is_there = memchr::memchr(b'\n', self.inner.buffer()).is_some();
                if (read > 0 && !is_there) || !self.fill()? {
                    break;
                }
            }
            let mut rest = self.line.get(self.at..).unwrap_or_default();
            let copied = rest.read(buffer.get_mut(read..).unwrap_or_default())?;
            self.at += copied;
            read += copied;
        }
        Ok(read)
    }
}
