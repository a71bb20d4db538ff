//! Stand-ins for AWS on loopback: each has state of its own, counts what it is asked, and fails on demand.

pub mod cli;
pub mod deployment;
pub mod dynamodb;
pub mod escapes;
pub mod event_bridge;
pub mod event_history;
pub mod event_pattern;
pub mod file;
pub mod http;
pub mod iam;
pub mod runtime_api;
pub mod stack;
pub mod template;
pub mod write_units;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub const OWN: &str = "111122223333";
pub const OTHER: &str = "444455556666";

/// Every example event by its name: those in `events/`, and those that cannot be read.
pub fn events() -> Vec<(String, Value)> {
    let directories =
        ["events", "tests/it/unreadable"].map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join(name));
    let mut paths: Vec<_> = directories
        .iter()
        .flat_map(|directory| std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()))
        .collect();
    paths.sort_by(|one, other| one.file_name().cmp(&other.file_name()));
    paths
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        })
        .collect()
}

/// One of them.
pub fn event(name: &str) -> Value {
    events().into_iter().find(|(file, _)| file == name).unwrap().1
}

/// Waits until something has happened.
pub fn wait_until(has_happened: impl Fn() -> bool) {
    let started = Instant::now();
    while !has_happened() {
        assert!(started.elapsed() < Duration::from_secs(40), "it does not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is refused with this status and code, and nothing happens.
    Refused(u16, &'static str),
    /// It happens, and the connection is cut.
    ReplyLost,
    /// The connection is cut, and nothing happens.
    Cut,
    /// It is never answered, and nothing happens.
    Hangs,
    /// This transaction is cancelled, with this reason for the item with this number. Nothing happens.
    Cancelled(usize, &'static str),
    /// Nothing goes wrong: the fault is in a later call.
    Passes,
}

/// Faults to come, by operation.
#[derive(Debug, Default)]
pub struct Faults(Mutex<VecDeque<(String, Fault)>>);

impl Faults {
    /// The next `times` calls of `operation` go wrong.
    pub fn expect(&self, operation: &str, fault: Fault, times: usize) {
        let faults = std::iter::repeat_n((operation.to_owned(), fault), times);
        self.0.lock().unwrap().extend(faults);
    }

    /// True if each fault has happened.
    pub fn are_over(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }

    /// From now on nothing goes wrong.
    pub fn forget(&self) {
        self.0.lock().unwrap().clear();
    }

    fn take(&self, operation: &str) -> Option<Fault> {
        let mut faults = self.0.lock().unwrap();
        let at = faults.iter().position(|(of, _)| of == operation)?;
        faults.remove(at).map(|(_, fault)| fault)
    }

    /// Answers a call, or lets it go wrong.
    fn pass(
        &self,
        operation: &str,
        refuse: impl FnOnce(u16, &str) -> http::Reply,
        answer: impl FnOnce() -> http::Reply,
    ) -> http::Reply {
        let cancel = |_, _: &_| panic!("{operation} is no transaction");
        self.pass_transaction(operation, refuse, cancel, answer)
    }

    /// The same for a call that may be a transaction.
    fn pass_transaction(
        &self,
        operation: &str,
        refuse: impl FnOnce(u16, &str) -> http::Reply,
        cancel: impl FnOnce(usize, &str) -> http::Reply,
        answer: impl FnOnce() -> http::Reply,
    ) -> http::Reply {
        match self.take(operation) {
            None | Some(Fault::Passes) => answer(),
            Some(Fault::Refused(status, code)) => refuse(status, code),
            Some(Fault::Cancelled(item, code)) => cancel(item, code),
            Some(Fault::ReplyLost) => {
                answer();
                http::Reply::Cut
            }
            Some(Fault::Cut) => http::Reply::Cut,
            Some(Fault::Hangs) => http::Reply::Hang,
        }
    }
}
