//! Where what was found in an input goes.

use std::path::Path;
use std::sync::mpsc::SyncSender;

use key_guard_core::cloudtrail::{Target, Unreadable};
use key_guard_core::text::{redact, sanitize_line};

use super::passed_over::{Kind, PassedOver};
use super::{Detail, Found, Gone};
use crate::cli::messages::shown;

/// What is said of JSON that is no event, where one was meant to be.
pub(super) const NO_EVENT: &str = "it is JSON without a CloudTrail record or an EventBridge event in it: give CloudTrail's \
                                   log files, or another input that `bedrock-key-guard replay --help` names";

/// A file, or a member of an archive, that is being read.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// How messages name it.
    pub name: String,
    /// It was found in a directory or in an archive. What was given by its path or comes from standard input is meant.
    is_found: bool,
    /// Its name is one that events have.
    is_named_like_events: bool,
    /// Its name is that of a log file of CloudTrail.
    is_named_like_log: bool,
    /// What its name says that it is, for content that does not say it.
    by_name: Option<Kind>,
}

impl Source {
    pub(super) fn stdin() -> Self {
        Self {
            name: "(standard input)".to_owned(),
            is_found: false,
            is_named_like_events: false,
            is_named_like_log: false,
            by_name: None,
        }
    }

    pub(super) fn file(path: &Path, is_found: bool) -> Self {
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        Self { name: shown(path), is_found, ..Self::named(&file_name) }
    }

    /// A member of this archive.
    pub(super) fn member(&self, path: &[u8]) -> Self {
        let path = String::from_utf8_lossy(path);
        let file_name = path.rsplit(['/', '\\']).next().unwrap_or_default();
        let name = format!("{}: {}", self.name, sanitize_line(&redact(&path)));
        Self { name, ..Self::named(file_name) }
    }

    fn named(file_name: &str) -> Self {
        let lower = file_name.to_ascii_lowercase();
        let lower = lower.strip_suffix(".gz").unwrap_or(&lower);
        let ends = [".json", ".jsonl", ".ndjson", ".tgz", ".tar", ".zip"];
        let by_name = Kind::of_file_name(file_name);
        let is_named_like_log = lower.contains("_cloudtrail_");
        let is_of_events = is_named_like_log || ends.iter().any(|end| lower.ends_with(end));
        Self {
            name: String::new(),
            is_found: true,
            is_named_like_events: is_of_events && by_name.is_none(),
            is_named_like_log,
            by_name,
        }
    }

    /// True where lines without a call of ours are what lies beside events. They are no reason to look further.
    pub(super) const fn may_be_other_text(&self) -> bool {
        self.is_found && !self.is_named_like_events
    }
}

/// Takes what is found in an input.
pub(super) struct Sink<'a> {
    to: &'a SyncSender<Found>,
    /// What is looked for.
    pub detail: Detail,
    /// Events of any kind.
    pub events: u64,
    /// Files that cannot hold an event.
    pub passed_over: PassedOver,
    file: File,
}

/// What was found in the file that is being read, or in the member.
struct File {
    source: Source,
    events_before: u64,
    problems: u64,
    /// Values that cannot hold an event.
    passed: Vec<(Kind, u64)>,
    /// Nothing more in it is read.
    is_refused: bool,
}

impl File {
    const fn new(source: Source, events_before: u64) -> Self {
        Self { source, events_before, problems: 0, passed: Vec::new(), is_refused: false }
    }
}

impl<'a> Sink<'a> {
    pub(super) fn new(to: &'a SyncSender<Found>, detail: Detail) -> Self {
        let file = File::new(Source::stdin(), 0);
        Self { to, detail, events: 0, passed_over: PassedOver::default(), file }
    }

    pub(super) const fn target(&self) -> Target {
        self.detail.target()
    }

    /// From now on what is found is in this file.
    pub(super) fn begin(&mut self, source: Source) {
        self.file = File::new(source, self.events);
    }

    /// The file has ended. One that has nothing but what is passed over is passed over. Otherwise such values are events of
    /// other kinds, but for what is no event at all.
    pub(super) fn end(&mut self) -> Result<(), Gone> {
        let is_empty_handed = self.has_no_events() && self.file.problems == 0;
        let passed = std::mem::take(&mut self.file.passed);
        let is_other_json = passed.iter().all(|(kind, _)| *kind == Kind::OtherJson) && !passed.is_empty();
        if is_empty_handed && is_other_json && !self.file.source.is_found {
            let message = format!("{}: {NO_EVENT}", self.file.source.name);
            return self.problem(message);
        }
        for (kind, count) in passed {
            if is_empty_handed || matches!(kind, Kind::OtherJson | Kind::OtherText | Kind::EmptyAnswer) {
                self.passed_over.add(kind);
            } else {
                self.events += count;
            }
        }
        Ok(())
    }

    pub(super) fn send(&self, found: Found) -> Result<(), Gone> {
        self.to.send(found).map_err(|_| Gone)
    }

    /// Something cannot be read, which may have held an event.
    pub(super) fn problem(&mut self, message: String) -> Result<(), Gone> {
        self.file.problems += 1;
        self.send(Found::Problem(message))
    }

    pub(super) fn unreadable(&mut self, place: String, why: Unreadable) -> Result<(), Gone> {
        self.file.problems += 1;
        self.send(Found::Unreadable { place, why: Box::new(why) })
    }

    /// Something is damaged. In a file whose name says that it never held an event that does not matter.
    pub(super) fn damage(&mut self, message: String) -> Result<(), Gone> {
        match self.file.source.by_name {
            Some(kind) if self.has_no_events() => {
                self.pass_value(kind);
                Ok(())
            }
            Some(_) | None => self.problem(message),
        }
    }

    /// The file is of a kind that the guard reads elsewhere, or not at all. Where it has nothing else so far, nothing more in
    /// it is read: one message is enough.
    pub(super) fn refuse(&mut self, place: &dyn Fn() -> String, what: &str) -> Result<(), Gone> {
        if self.has_no_events() && self.file.problems == 0 {
            self.file.is_refused = true;
            return self.problem(format!("{}: {what}", self.file.source.name));
        }
        self.problem(format!("{}: {what}", place()))
    }

    const fn has_no_events(&self) -> bool {
        self.events == self.file.events_before
    }

    pub(super) const fn is_refused(&self) -> bool {
        self.file.is_refused
    }

    /// A value cannot hold an event.
    pub(super) fn pass_value(&mut self, kind: Kind) {
        match self.file.passed.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, count)) => *count += 1,
            None => self.file.passed.push((kind, 1)),
        }
    }

    /// A JSON value in which no event can be. Where one has to be, that is damage.
    pub(super) fn other_json(&mut self, place: &dyn Fn() -> String) -> Result<(), Gone> {
        if self.file.source.is_named_like_log {
            return self.problem(format!("{}: {NO_EVENT}", place()));
        }
        self.pass_value(Kind::OtherJson);
        Ok(())
    }

    /// The file has lines without a call of ours, and nothing else.
    pub(super) fn text(&mut self, kind: Kind, message: String) -> Result<(), Gone> {
        if kind == Kind::OtherText && !self.file.source.may_be_other_text() {
            return self.damage(message);
        }
        self.pass_value(kind);
        Ok(())
    }
}
