//! Reads inputs side by side and hands on, in the order of the inputs, what in them is ours.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::bail;
use flate2::read::MultiGzDecoder;
use libdeflater::Decompressor;
use memchr::memmem::Finder;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::messages::shown;
use super::records::{Marks, Piece, Records};
use super::spans::Spans;
use key_guard_core::cloudtrail::{CredentialEvent, ParsedEvent, Unreadable, Unwrapped, unwrap};
use key_guard_core::text::sanitize_line;

/// Inputs up to this size, inflated, are read as a whole; larger ones a chunk at a time. In bytes.
const LARGEST_WHOLE: u64 = 32 << 20;
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const GZIP_MEMBER: &[u8] = &[0x1f, 0x8b, 0x08];

/// What is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its size in bytes, as it lies there.
        size: u64,
        /// The directory that it was found in, as an index into [`Inputs::directories`].
        directory: Option<usize>,
    },
    /// Something in a directory that could not be listed.
    Unlistable {
        /// What is wrong.
        message: String,
    },
}

/// All that is to be read.
#[derive(Debug, Default)]
pub struct Inputs {
    /// In order.
    pub inputs: Vec<Input>,
    /// The directories that were given.
    pub directories: Vec<PathBuf>,
}

impl Inputs {
    /// Walks the paths that were given. Directories are walked in the order of their names.
    ///
    /// # Errors
    /// When a path that was given does not exist: nothing is read then.
    pub fn gather(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let missing: Vec<_> = paths
            .iter()
            .filter(|path| path.as_os_str() != "-" && !path.exists())
            .map(|path| shown(path))
            .collect();
        if !missing.is_empty() {
            bail!("no such file or directory: {}", missing.join(", "));
        }
        let mut gathered = Self::default();
        for path in paths {
            if path.as_os_str() == "-" {
                gathered.inputs.push(Input::Stdin);
            } else if path.is_dir() {
                gathered.walk(path);
            } else {
                let size = path.metadata().map(|metadata| metadata.len()).unwrap_or_default();
                gathered.inputs.push(Input::File { path: path.clone(), size, directory: None });
            }
        }
        Ok(gathered)
    }

    fn walk(&mut self, directory: &Path) {
        let index = self.directories.len();
        self.directories.push(directory.to_owned());
        for found in walkdir::WalkDir::new(directory).follow_links(true).sort_by_file_name() {
            match found {
                Ok(found) if found.file_type().is_file() => self.inputs.push(Input::File {
                    size: found.metadata().map(|metadata| metadata.len()).unwrap_or_default(),
                    path: found.into_path(),
                    directory: Some(index),
                }),
                Ok(_) => {}
                Err(error) => {
                    self.inputs.push(Input::Unlistable { message: sanitize_line(&error.to_string()) });
                }
            }
        }
    }

    /// Passes over the files of a ledger, which may lie among the inputs. On Unix, closing such a file ends the locks that
    /// SQLite has on it in the same process (SQLite, *How To Corrupt An SQLite Database File*).
    pub fn pass_over(&mut self, ledger: &[PathBuf]) {
        let is_ledger = |path: &Path| {
            let is_name = |file: &&PathBuf| file.file_name() == path.file_name();
            ledger
                .iter()
                .find(is_name)
                .is_some_and(|file| path.canonicalize().is_ok_and(|path| path == **file))
        };
        self.inputs.retain(|input| match input {
            Input::File { path, directory: Some(_), .. } => !is_ledger(path),
            Input::File { directory: None, .. } | Input::Stdin | Input::Unlistable { .. } => true,
        });
    }

    /// How many files were found in a directory, by its index in [`Inputs::directories`].
    #[must_use]
    pub fn files_in(&self, index: usize) -> usize {
        let is_in =
            |input: &&Input| matches!(input, Input::File { directory, .. } if *directory == Some(index));
        self.inputs.iter().filter(is_in).count()
    }

    /// The size of all files together, in bytes, as they lie there.
    #[must_use]
    pub fn total_size(&self) -> u64 {
        self.inputs.iter().map(Input::size).sum()
    }
}

impl Input {
    /// The size in bytes, as it lies there; 0 where that is not known.
    #[must_use]
    pub const fn size(&self) -> u64 {
        match self {
            Self::Stdin | Self::Unlistable { .. } => 0,
            Self::File { size, .. } => *size,
        }
    }
}

/// Something that was found in an input.
#[derive(Debug)]
pub enum Found {
    /// A call of ours.
    Event(Box<CredentialEvent>),
    /// A call of ours that cannot be read.
    Unreadable {
        /// Where.
        place: String,
        /// Why.
        why: Box<Unreadable>,
    },
    /// Something else that cannot be read: where, and why.
    Problem(String),
    /// The input is done: how many events were read in it.
    End {
        /// Events of any kind.
        events: u64,
        /// From when to when they are, if that is asked for.
        spans: Spans,
    },
}

/// How much of an input is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Events of ours.
    Events,
    /// The same, and from when to when there are events of any kind. Each record is parsed for that.
    EventsAndSpans,
}

/// What was found, and in which input.
pub type Batch<'a> = Vec<(&'a Input, Found)>;

/// The largest batch. One call of DynamoDB reads the keys of so many events, and one stores them.
const MAX_BATCH: usize = 100;

/// Reads `inputs` with a thread per core. Calls what `prepare` returns with all that waits to be dealt with, in the
/// order of the inputs and of the records in them. `prepare` runs while the first inputs are read.
///
/// # Errors
/// That of `prepare`, or the first of what it returns: either ends the reading.
pub fn read_all<Each>(
    inputs: &[Input],
    detail: Detail,
    prepare: impl FnOnce() -> anyhow::Result<Each>,
) -> anyhow::Result<()>
where
    Each: FnMut(Batch<'_>) -> anyhow::Result<()>,
{
    /// How many findings of one input may wait. Bounds memory where a large input is all ours.
    const WAITING: usize = 64;
    let workers = thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let (jobs, queue) = sync_channel::<(&Input, SyncSender<Found>)>(workers);
    let (order, results) = sync_channel::<(&Input, Receiver<Found>)>(32 * workers);
    let queue = Arc::new(Mutex::new(queue));
    thread::scope(|scope| {
        for _ in 0..workers {
            let queue = Arc::clone(&queue);
            scope.spawn(move || {
                let mut worker = Worker::new(detail);
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((input, to)) = job else { return };
                    worker.read(input, &to);
                }
            });
        }
        scope.spawn(move || {
            for input in inputs {
                let (to, from) = sync_channel(WAITING);
                if jobs.send((input, to)).is_err() || order.send((input, from)).is_err() {
                    return;
                }
            }
        });
        // The receivers go away with an early return, which ends the threads.
        let results = results;
        let mut each = prepare()?;
        let mut batch = Batch::new();
        for (input, from) in &results {
            loop {
                let found =
                    if batch.is_empty() { from.recv().map_err(TryRecvError::from) } else { from.try_recv() };
                match found {
                    Ok(found) => batch.push((input, found)),
                    Err(TryRecvError::Disconnected) => break,
                    // Nothing is made to wait for what has yet to be read.
                    Err(TryRecvError::Empty) => each(std::mem::take(&mut batch))?,
                }
                if batch.len() == MAX_BATCH {
                    each(std::mem::take(&mut batch))?;
                }
            }
        }
        each(batch)
    })
}

/// The consumer is gone: nobody wants the rest.
struct Gone;

struct Worker {
    marks: Marks,
    member: Finder<'static>,
    inflate: Decompressor,
    packed: Vec<u8>,
    buffer: Vec<u8>,
    /// `None`: nobody asks.
    spans: Option<RefCell<Spans>>,
}

impl Worker {
    fn new(detail: Detail) -> Self {
        Self {
            spans: (detail == Detail::EventsAndSpans).then(RefCell::default),
            marks: Marks::default(),
            member: Finder::new(GZIP_MEMBER),
            inflate: Decompressor::new(),
            packed: Vec::new(),
            buffer: Vec::new(),
        }
    }

    fn read(&mut self, input: &Input, to: &SyncSender<Found>) {
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

/// True for what could be a record of CloudTrail, and for what is no JSON.
fn is_trail_record(record: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Source<'a> {
        #[serde(rename = "eventSource", borrow)]
        event_source: Option<Cow<'a, str>>,
    }
    match serde_json::from_slice(record) {
        Ok(Source { event_source }) => event_source.is_some_and(|source| !source.starts_with("aws:")),
        Err(_) => true,
    }
}

/// A value that names a call of ours somewhere: parsed as a whole. Answers how many events it was.
fn marked(value: &[u8], place: &dyn Fn() -> String, to: &SyncSender<Found>) -> Result<u64, Gone> {
    match serde_json::from_slice(value) {
        Ok(value) => event(value, place, to),
        Err(error) => problem(to, format!("{}: it is not JSON: {}", place(), syntax(&error))).map(|()| 0),
    }
}

fn event(value: Value, place: &dyn Fn() -> String, to: &SyncSender<Found>) -> Result<u64, Gone> {
    match wrapped(value) {
        Wrapped::List(values) => {
            let mut events = 0;
            for (index, value) in values.into_iter().enumerate() {
                let place = || format!("{}.{}", place(), index + 1);
                events += event(value, &place, to)?;
            }
            Ok(events)
        }
        Wrapped::NoEvent => Ok(0),
        Wrapped::Event(value) => parsed(value, place, to),
        Wrapped::Other(value) => {
            let found = unwrap(&value);
            if found.is_empty() {
                return without_event(value, place, to);
            }
            let mut events = 0;
            for found in found {
                events += match found {
                    Unwrapped::Event(value) => parsed(value, place, to)?,
                    Unwrapped::Unreadable(why) => unreadable(why, place, to)?,
                    Unwrapped::Irrelevant(_) => 0,
                };
            }
            Ok(events)
        }
    }
}

/// A value in which no event is: a request that a queue holds, or something else.
fn without_event(value: Value, place: &dyn Fn() -> String, to: &SyncSender<Found>) -> Result<u64, Gone> {
    let what = if value.get("ServiceSpecificCredentials").is_some() {
        "it is a list of keys, as `aws iam list-service-specific-credentials` prints it, and no event: \
         `bedrock-key-guard sweep` judges the keys that IAM has"
    } else if matches!(crate::event::parse(value), Ok(ParsedEvent::Irrelevant(_))) {
        return Ok(1);
    } else {
        "it is neither a CloudTrail record (no eventSource) nor an EventBridge event (no detail-type), and none is in it"
    };
    problem(to, format!("{}: {what}", place())).map(|()| 0)
}

fn parsed(value: Value, place: &dyn Fn() -> String, to: &SyncSender<Found>) -> Result<u64, Gone> {
    match crate::event::parse(value) {
        Ok(ParsedEvent::Irrelevant(_)) => {}
        Ok(ParsedEvent::Relevant(event)) => to.send(Found::Event(event)).map_err(|_| Gone)?,
        Err(why) => return unreadable(why, place, to),
    }
    Ok(1)
}

fn unreadable(why: Unreadable, place: &dyn Fn() -> String, to: &SyncSender<Found>) -> Result<u64, Gone> {
    let found = Found::Unreadable { place: place(), why: Box::new(why) };
    to.send(found).map_err(|_| Gone).map(|()| 0)
}

enum Wrapped {
    Event(Value),
    List(Vec<Value>),
    NoEvent,
    Other(Value),
}

/// A log file whose `Records` do not come first is a value like any other until here, and so are the messages of queues:
/// whatever is in one did not come to its end. CloudTrail's digest files lie beside its logs and hold no events. What says
/// that it is an event is one, whatever else it has.
fn wrapped(mut value: Value) -> Wrapped {
    // Records of DynamoDB's streams and of S3 have an `eventName`, too.
    let is_of_stream =
        value.get("eventSource").and_then(Value::as_str).is_some_and(|source| source.starts_with("aws:"));
    if !is_of_stream && ["eventName", "detail", "detail-type"].iter().any(|field| value.get(field).is_some())
    {
        return Wrapped::Event(value);
    }
    if let Some(Value::Array(records)) = value.get_mut("Records") {
        return Wrapped::List(std::mem::take(records));
    }
    if let Some(Value::Array(messages)) = value.get_mut("Messages") {
        return Wrapped::List(std::mem::take(messages).into_iter().map(message_body).collect());
    }
    if value.get("requestContext").is_some()
        && let Some(payload @ Value::Object(_)) = value.get_mut("requestPayload")
    {
        return Wrapped::Other(payload.take());
    }
    if value.get("digestStartTime").is_some() && value.get("logFiles").is_some() {
        return Wrapped::NoEvent;
    }
    Wrapped::Other(value)
}

/// What a message of a queue is about; one that cannot be read is an event that cannot be read.
fn message_body(mut message: Value) -> Value {
    match message.get_mut("Body").map(Value::take) {
        Some(Value::String(body)) => serde_json::from_str(&body).unwrap_or(Value::String(body)),
        Some(body) => body,
        None => message,
    }
}

/// A value that names no call of ours. It is parsed as far as it takes to know that it is an event; one that is none may hold
/// events in Base64.
fn unmarked(value: &[u8], place: &dyn Fn() -> String, to: &SyncSender<Found>) -> Result<u64, Gone> {
    #[derive(Deserialize)]
    struct Shape<'a> {
        #[serde(rename = "eventName")]
        event_name: Option<IgnoredAny>,
        #[serde(rename = "eventSource", borrow)]
        event_source: Option<Cow<'a, str>>,
    }
    match serde_json::from_slice(value) {
        Ok(Shape { event_name: Some(_), event_source: Some(source) }) if !source.starts_with("aws:") => Ok(1),
        Ok(Shape { .. }) | Err(_) => marked(value, place, to),
    }
}

/// Where a syntax error is, without what is there: that could be a secret.
fn syntax(error: &serde_json::Error) -> String {
    format!("line {}, column {} of the record", error.line(), error.column())
}

fn problem(to: &SyncSender<Found>, message: String) -> Result<(), Gone> {
    to.send(Found::Problem(message)).map_err(|_| Gone)
}
