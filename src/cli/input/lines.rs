//! Takes off what loggers put before a record on its line.
//!
//! An export task of CloudWatch Logs writes `2026-11-20T13:04:08.000Z {…}`, syslog `<14>Nov 20 13:04:08 host app: {…}`. By
//! rule, a record that begins within a line is read from there.

use std::cell::Cell;
use std::io::{self, BufRead as _, BufReader, Read};

use key_guard_core::cloudtrail::{self, begins_with_bracketed_text, may_be_base64};

use super::format::{HEAD, access_log};
use crate::cli::records::Marks;

/// Where in a line a record begins, behind something else. Anybody can write quotes into the access logs of services.
pub(in crate::cli) fn record_in(line: &[u8]) -> Option<usize> {
    let is_of_logger = |at: &usize| {
        let before = line.get(..*at).unwrap_or_default();
        !before.contains(&b'"') || access_log(&String::from_utf8_lossy(before)).is_none()
    };
    cloudtrail::record_in(line).filter(is_of_logger)
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
