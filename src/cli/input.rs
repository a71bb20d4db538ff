//! Reads inputs side by side and hands on, in the order of the inputs, what in them is ours.

mod csv;
mod file;
mod format;
mod history;
mod lines;
mod passed_over;
mod prefilter;
mod sink;
#[cfg(test)]
mod tests;
mod unpack;
mod utf16;
mod value;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::bail;
use key_guard_core::cloudtrail::{BearerCall, CredentialEvent, Target, Unreadable};
use key_guard_core::text::sanitize_line;

use self::file::Worker;
pub(super) use self::lines::record_in;
pub use self::passed_over::{Kind, PassedOver};
use super::event_history::HistoryEvent;
use super::messages::shown;
use super::spans::Spans;

/// The consumer is gone: nobody wants the rest.
struct Gone;

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
    /// CloudTrail's event history, which was read from AWS.
    History {
        /// The events, the oldest first.
        events: Vec<HistoryEvent>,
        /// Their size in bytes.
        size: u64,
    },
    /// A path that does not exist, or something in a directory that could not be listed.
    Unlistable {
        /// What is wrong.
        message: String,
    },
}

/// All that is to be read.
#[derive(Debug, Default)]
#[expect(clippy::struct_field_names, reason = "the inputs are what it is about")]
pub struct Inputs {
    /// In order.
    pub inputs: Vec<Input>,
    /// The directories that were given.
    pub directories: Vec<PathBuf>,
    /// What in them is not read at all.
    pub passed_over: PassedOver,
}

impl Inputs {
    /// Walks the paths that were given. Directories are walked in the order of their names. A path that does not exist hides no
    /// other: it is an input that cannot be read.
    ///
    /// # Errors
    /// When none of the paths exists.
    pub fn gather(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let is_missing = |path: &&PathBuf| path.as_os_str() != "-" && !path.exists();
        let missing: Vec<_> = paths.iter().filter(is_missing).map(|path| shown(path)).collect();
        if !missing.is_empty() && missing.len() == paths.len() {
            bail!("no such file or directory: {}", missing.join(", "));
        }
        let mut gathered = Self::default();
        for path in paths {
            if is_missing(&path) {
                let message = format!("{}: no such file or directory", shown(path));
                gathered.inputs.push(Input::Unlistable { message });
            } else if path.as_os_str() == "-" {
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
        // The path that was given may be a link itself.
        let root = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
        let leads_below = |path: &Path| path.canonicalize().is_ok_and(|target| target.starts_with(&root));
        let mut left_out = PassedOver::default();
        let walk = walkdir::WalkDir::new(directory).follow_links(true).sort_by_file_name();
        let walk = walk.into_iter().filter_entry(|found| {
            let is_followed = !found.path_is_symlink() || found.depth() == 0 || leads_below(found.path());
            if !is_followed {
                left_out.add(Kind::Link);
            }
            is_followed
        });
        for found in walk {
            match found {
                Ok(found) if found.file_type().is_file() => self.inputs.push(Input::File {
                    size: found.metadata().map(|metadata| metadata.len()).unwrap_or_default(),
                    path: found.into_path(),
                    directory: Some(index),
                }),
                Ok(found) if found.file_type().is_dir() => {}
                Ok(_) => self.passed_over.add(Kind::Special),
                // A link in a circle, or to nowhere.
                Err(error)
                    if error.loop_ancestor().is_some() || error.path().is_some_and(Path::is_symlink) =>
                {
                    self.passed_over.add(Kind::Link);
                }
                Err(error) => {
                    let message = match (error.path(), error.io_error()) {
                        (Some(path), Some(why)) => format!("{}: could not be opened: {why}", shown(path)),
                        _ => sanitize_line(&error.to_string()),
                    };
                    self.inputs.push(Input::Unlistable { message });
                }
            }
        }
        self.passed_over.extend(&left_out);
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
            Input::File { directory: None, .. }
            | Input::Stdin
            | Input::History { .. }
            | Input::Unlistable { .. } => true,
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
            Self::File { size, .. } | Self::History { size, .. } => *size,
        }
    }
}

/// Something that was found in an input.
#[derive(Debug)]
pub enum Found {
    /// A call of ours.
    Event(Box<CredentialEvent>),
    /// A call with a bearer token, if such calls are looked for.
    Use(Box<BearerCall>),
    /// A call that is looked for and cannot be read.
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
        /// What in it cannot hold an event.
        passed_over: PassedOver,
    },
}

/// How much of an input is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Events of ours.
    Events,
    /// The same, and from when to when there are events of any kind. Each record is parsed for that.
    EventsAndSpans,
    /// Calls with a bearer token instead, and about from when to when there are events of any kind, in any Region. Some
    /// records are parsed for that.
    Uses,
}

impl Detail {
    const fn target(self) -> Target {
        match self {
            Self::Events | Self::EventsAndSpans => Target::GuardedCalls,
            Self::Uses => Target::BearerCalls,
        }
    }
}

/// What was found, and in which input.
pub type Batch<'a> = Vec<(&'a Input, Found)>;

/// The largest batch. One call of DynamoDB reads the keys of so many events, and one stores them.
pub const MAX_BATCH: usize = 100;

/// Reads `inputs` with a thread per core. Calls what `prepare` returns with all that waits to be dealt with, in the
/// order of the inputs and of the records in them. `prepare` runs while the first inputs are read.
///
/// # Errors
/// That of `prepare`, or the first of what it returns: either ends the reading.
pub fn read_all<'a, Each>(
    inputs: &'a [Input],
    detail: Detail,
    prepare: impl FnOnce() -> anyhow::Result<Each>,
) -> anyhow::Result<()>
where
    Each: FnMut(Batch<'a>) -> anyhow::Result<()>,
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
