//! Progress of long work, on stderr if that is a terminal.

use super::messages::{Warnings, say};
use super::output::stdout;
use crate::ledger::error::LedgerError;

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is shown, once the work is long enough.
pub struct Progress {
    bar: ProgressBar,
    /// How much there is to do, if that is known.
    total: Option<u64>,
    template: &'static str,
    wanted: bool,
    began: Instant,
    warnings: Warnings,
}

impl Progress {
    const WORTH_SHOWING_AFTER: Duration = Duration::from_millis(400);

    /// Of bytes that are to be read.
    pub fn of_bytes(total: u64) -> Self {
        Self::new(Some(total), "{bar:40} {decimal_bytes} of {decimal_total_bytes}, {eta} left")
    }

    /// Of items, nobody knows how many. A terminal that shows the answer shows no progress.
    pub fn of_items(answer_on_stdout: bool) -> Self {
        let mut progress = Self::new(None, "{spinner} {human_pos} items, {elapsed}");
        progress.wanted &= !(answer_on_stdout && stdout().is_terminal());
        progress
    }

    /// Of days of CloudTrail's event history, of all queries together.
    pub fn of_history(days: u64) -> Self {
        Self::new(Some(days), "{bar:40} {percent} % of the event history, {eta} left")
    }

    /// Of users that are looked up, in each Region.
    pub fn of_users(total: usize) -> Self {
        Self::new(Some(total as u64), "{bar:40} {pos} of {len} look-ups of users, {eta} left")
    }

    /// Of waiting for at most this long, by seconds.
    pub fn of_waiting(longest: Duration) -> Self {
        Self::new(Some(longest.as_secs()), "{bar:40} waiting, {pos} s of at most {len} s")
    }

    fn new(total: Option<u64>, template: &'static str) -> Self {
        let wanted = std::io::stderr().is_terminal();
        let (bar, began, warnings) = (ProgressBar::hidden(), Instant::now(), Warnings::default());
        Self { bar, total, template, wanted, began, warnings }
    }

    /// So much more is done.
    pub fn advance(&self, by: u64) {
        self.bar.inc(by);
        if self.wanted && self.bar.is_hidden() && self.began.elapsed() > Self::WORTH_SHOWING_AFTER {
            if let Some(total) = self.total {
                self.bar.set_length(total);
            }
            if let Ok(style) = ProgressStyle::with_template(self.template) {
                self.bar.set_style(style);
            }
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Says something beside it, unless enough was said: see [`Warnings`].
    pub fn warn(&self, message: &str) {
        self.beside(|| self.warnings.warn(message));
    }

    /// Says something beside it, however much was said.
    pub fn warn_critical(&self, message: &str) {
        self.beside(|| say(&format!("warning: critical: {message}")));
    }

    /// Says beside it what could not be read, and returns how many items that were.
    pub fn warn_unreadable(&self, unreadable: &[LedgerError]) -> usize {
        self.beside(|| self.warnings.warn_unreadable(unreadable))
    }

    /// Does something that writes to stderr.
    pub fn beside<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
