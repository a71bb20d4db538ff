//! What a sweep prints and counts.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::error::Error;
use std::hash::{BuildHasher as _, RandomState};
use std::io;

use chrono::TimeDelta;
use key_guard_core::Time;
use key_guard_core::key::{AccountId, KeyRef, Status, UserName};
use key_guard_core::lifecycle::result::SessionError;
use key_guard_core::lifecycle::state::{Downgrade, Phase};
use key_guard_core::lifecycle::sweep::{SweepError, SweepProblem, SweepResult};
use key_guard_core::policy::Verdict;
use key_guard_core::remediation::Contact;
use key_guard_core::report::{Outcome, Report};
use key_guard_core::time::rfc3339;
use key_guard_core::words::remediation::deletion_command;

use super::creators::is_before_history;
use crate::cli::event_history::HISTORY_DAYS;
use crate::cli::lookup::who as short_name;
use crate::cli::messages::{counted, say};
use crate::cli::output::{Beside, Format, Reports};
use crate::cli::progress::Progress;
use crate::cli::setup::ledger_error;
use crate::clock::{Clock as _, SystemClock};
use crate::ledger::error::LedgerError;
use crate::runtime::resume::ResumeRun;
use crate::telemetry::chain;

/// A key that expires within this time is counted as expiring soon.
const SOON: TimeDelta = TimeDelta::days(7);

/// What one account's sweep came to.
pub type Swept = Result<SweepResult, SweepError>;

/// How a key compares with what was known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// As before.
    None,
    /// It was not known.
    New,
    /// Another verdict, user or status.
    Changed,
    /// A response is pending.
    Pending,
    /// IAM does not list it any more.
    Gone,
}

impl Change {
    const fn as_str(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::New => "new",
            Self::Changed => "changed",
            Self::Pending => "pending",
            Self::Gone => "gone",
        }
    }
}

/// A key that a sweep has dealt with.
pub struct SweptLine {
    pub key: KeyRef,
    pub change: Change,
    /// False for a key that is in none of IAM's lists.
    pub is_listed: bool,
    /// True if this run deactivated or deleted it.
    pub has_acted: bool,
    /// Why it was deactivated instead of deleted.
    pub downgrade: Option<Downgrade>,
    pub report: Report,
}

/// Why a key was not deleted, where the policy says that it should be (R11).
pub const fn downgrade(phase: &Phase) -> Option<Downgrade> {
    match phase {
        Phase::Deactivated(deactivation) => deactivation.downgraded,
        Phase::Settled | Phase::Pending(_) | Phase::Inactive(_) | Phase::Gone(_) => None,
    }
}

/// Where a sweep's keys are from, and what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// From IAM, and nothing is done.
    DryRun,
    /// From IAM, and keys may be changed.
    Apply,
    /// From saved lists.
    SavedList,
}

/// What a sweep prints and counts.
pub struct Output {
    all: bool,
    mode: Mode,
    /// True if the event history was asked who created the keys.
    who: bool,
    reports: Reports,
    contact: Option<Contact>,
    written: io::Result<()>,
    pub progress: Progress,
    pub tally: Tally,
    /// Printed at the end: about accounts, about keys, and about users.
    account_notes: BTreeMap<AccountId, String>,
    delete_commands: Vec<String>,
    pub user_notes: Vec<String>,
    /// Accounts whose keys could all be read.
    pub swept: BTreeSet<AccountId>,
    /// Users that a console created for keys which are gone, with their accounts.
    pub users_of_gone_keys: BTreeSet<(AccountId, UserName)>,
    hasher: RandomState,
    /// Hashes of the users that a console created and that have keys, with their accounts.
    console_users: HashSet<u64>,
    /// Hashes of the keys that have ended. The closing pass sees those again that this run deleted.
    ended: HashSet<u64>,
}

impl Output {
    pub fn begin(format: Format, width: Option<u16>, mode: Mode) -> io::Result<Self> {
        Ok(Self {
            all: false,
            mode,
            who: false,
            reports: Reports::begin(format, width)?,
            contact: None,
            written: Ok(()),
            progress: Progress::of_items(format == Format::Table),
            tally: Tally::default(),
            account_notes: BTreeMap::new(),
            delete_commands: Vec::new(),
            user_notes: Vec::new(),
            swept: BTreeSet::new(),
            users_of_gone_keys: BTreeSet::new(),
            hasher: RandomState::new(),
            console_users: HashSet::new(),
            ended: HashSet::new(),
        })
    }

    /// With every key, not only what has changed.
    pub fn with_all(self, all: bool) -> Self {
        Self { all, ..self }
    }

    /// With who created keys, as far as the event history says.
    pub fn with_creators(self, who: bool) -> Self {
        Self { who, ..self }
    }

    /// With whom owners of keys ask.
    pub fn with_contact(self, contact: Option<Contact>) -> Self {
        Self { contact, ..self }
    }

    /// True if a user has keys.
    pub fn has_keys(&self, account: &AccountId, user: &UserName) -> bool {
        self.console_users.contains(&self.hasher.hash_one((account, user)))
    }

    /// What completing the pending responses came to.
    pub fn resumed(&mut self, run: ResumeRun) {
        let ResumeRun { counts, failures, publications: _, oldest_open_intent: _ } = run;
        for failure in &failures {
            self.progress.warn(&chain(failure));
        }
        self.tally.failed += counts.failed;
        self.tally.unreadable += counts.unreadable;
        if counts.keys == 0 {
            return;
        }
        let outcomes: Vec<_> =
            counts.outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
        let outcomes = if outcomes.is_empty() { "0 changed".to_owned() } else { outcomes.join(", ") };
        self.progress.beside(|| {
            say(&format!(
                "{} with a pending response or a date of deletion: {outcomes}, {} with nothing to do yet, {} leased by \
                 another worker, {} paused by the ceiling, {} waiting for the next hour's deletions, {} failed",
                counted(counts.keys, "key", "keys"),
                counts.nothing_to_do,
                counts.leased,
                counts.paused,
                counts.rate_limited,
                counts.failed
            ));
        });
    }

    /// When the last completed sweep of an account started.
    pub fn last_sweep(&mut self, account: &AccountId, started: Time) {
        let note = format!("account {account}: the last completed sweep started at {}", rfc3339(started));
        self.account_notes.insert(account.clone(), note);
    }

    /// An account could not be swept, or not as a whole.
    pub fn account_failed(&mut self, account: &AccountId, error: &(dyn Error + 'static)) {
        self.tally.failed_accounts.insert(account.clone());
        self.swept.remove(account);
        self.progress.warn(&format!("account {account}: {}", chain(error)));
    }

    /// It could not be asked who created an account's keys.
    pub fn history_failed(&mut self, account: &AccountId, error: &anyhow::Error) {
        self.tally.unreadable += 1;
        self.progress.warn(&format!("account {account}: who created its keys is not known: {error:#}"));
    }

    /// Something of a saved list, or of an event history, could not be read.
    pub fn unreadable(&mut self, message: &str) {
        self.tally.unreadable += 1;
        self.progress.warn(message);
    }

    pub fn end_account(&mut self, account: AccountId, swept: Swept) {
        let problems = match swept {
            Ok(result) => {
                if result.checkpoint.is_some() {
                    self.account_failed(&account, &OutOfTime);
                }
                result.problems
            }
            Err(SweepError::NothingListed { problems }) => {
                self.tally.failed_accounts.insert(account.clone());
                problems
            }
            Err(error @ SweepError::UnexpectedReply { .. }) => {
                self.account_failed(&account, &error);
                Vec::new()
            }
        };
        let is_whole = problems.is_empty();
        for problem in problems {
            self.problem(&account, &problem);
        }
        if !self.tally.failed_accounts.contains(&account) {
            self.tally.accounts += 1;
            if is_whole {
                self.swept.insert(account);
            }
        }
    }

    fn problem(&mut self, account: &AccountId, problem: &SweepProblem) {
        match problem {
            // It was swept all the same.
            SweepProblem::Ledger { source, .. } if is_unreadable(source) => self.tally.unreadable += 1,
            SweepProblem::List { .. }
            | SweepProblem::EndlessList { .. }
            | SweepProblem::TooLongToReread { .. }
            | SweepProblem::Ledger { .. } => {
                self.tally.failed_accounts.insert(account.clone());
            }
            SweepProblem::UnreadableKeys { count, .. } | SweepProblem::UnreadableRecords { count, .. } => {
                self.tally.unreadable += count;
            }
            SweepProblem::Key(SessionError::KeyLeased { .. } | SessionError::LeaseExpiring { .. }) => {
                *self.tally.changes.entry(Change::Pending).or_default() += 1;
            }
            SweepProblem::Key(error) => self.count_failure(error),
        }
        self.progress.warn(&format!("account {account}: {}", chain(problem)));
    }

    /// A key could not be dealt with.
    pub fn key_failed(&mut self, key: &KeyRef, error: &(dyn Error + 'static)) {
        self.count_failure(error);
        self.swept.remove(&key.account);
        self.progress.warn(&format!("{key}: {}", chain(error)));
    }

    fn count_failure(&mut self, error: &(dyn Error + 'static)) {
        if is_unreadable(error) {
            self.tally.unreadable += 1;
        } else {
            self.tally.failed += 1;
        }
    }

    /// A key was dealt with.
    pub fn key(&mut self, line: SweptLine) {
        let SweptLine { key, change, is_listed, downgrade, report, .. } = &line;
        if *change == Change::Gone && !self.ended.insert(self.hasher.hash_one(key)) {
            return;
        }
        self.progress.advance(1);
        if let Some(user) = report.user.as_ref().filter(|user| user.is_console_user())
            && *is_listed
            && !report.outcome.is_gone()
        {
            self.console_users.insert(self.hasher.hash_one((&key.account, user)));
        }
        if let (Some(_), true, Some(user)) = (downgrade, is_listed, &report.user) {
            let command = deletion_command(user, &key.id);
            self.delete_commands.push(format!("{command}  # account {}", key.account));
        }
        self.tally.count(&line);
        let SweptLine { change, is_listed, report, .. } = line;
        let is_wanted = change != Change::None || (self.all && is_listed);
        if is_wanted && self.written.is_ok() {
            let report = report.with_contact(self.contact.as_ref());
            let cells = Beside::Swept { change: change.as_str(), created_by: created_by(&report, self.who) };
            let Self { reports, progress, .. } = self;
            self.written = progress.beside(|| reports.write(cells, report));
        }
    }

    /// Prints what is left to be said, on stderr.
    ///
    /// # Errors
    /// When stdout could not be written.
    pub fn end(self) -> io::Result<()> {
        let Self { mode, who, reports, written, progress, tally, .. } = self;
        drop(progress);
        let ended = reports.end();
        for note in self.account_notes.values() {
            say(note);
        }
        if !self.delete_commands.is_empty() {
            say(
                "deactivated instead of deleted, because of the breaker or the ceiling; to delete them for good:",
            );
            for command in &self.delete_commands {
                say(&format!("  {command}"));
            }
        }
        for note in &self.user_notes {
            say(note);
        }
        let [old, others] = tally.without_creator;
        if who && old + others > 0 {
            say(&format!(
                "who created {} is not known: {old} older than the {HISTORY_DAYS} days of CloudTrail's event history, \
                 {others} not in it",
                counted(old + others, "key", "keys")
            ));
        }
        say(&tally.summary(mode));
        match mode {
            Mode::DryRun if tally.active_noncompliant > 0 => {
                say(
                    "this was a dry run; --apply with --ceiling deactivate or delete acts on noncompliant keys",
                );
            }
            Mode::SavedList => {
                if tally.listed_and_gone > 0 {
                    say(&format!(
                        "note: the lists have {} deleted, as the ledger knows: they were saved before that",
                        counted(tally.listed_and_gone, "key that was", "keys that were")
                    ));
                }
                say(
                    "this was a dry run of saved lists, judged as of now; keys that they do not have are not called gone",
                );
            }
            Mode::DryRun | Mode::Apply => {}
        }
        written.and(ended)
    }
}

/// True for an item of the ledger that this version cannot read.
pub fn is_unreadable(error: &(dyn Error + 'static)) -> bool {
    matches!(ledger_error(error), Some(LedgerError::Unreadable { .. }))
}

/// Who created a key. `who`: the event history was asked.
fn created_by(report: &Report, who: bool) -> String {
    match (&report.actor, report.created_at) {
        (Some(actor), _) => short_name(actor),
        (None, Some(created_at)) if who && is_before_history(created_at, SystemClock.now()) => {
            format!("older than {HISTORY_DAYS} days")
        }
        (None, _) => "-".to_owned(),
    }
}

/// A sweep took longer than anybody waits for.
#[derive(Debug, thiserror::Error)]
#[error("the sweep did not end within a day")]
struct OutOfTime;

/// What was seen.
#[derive(Debug, Default)]
pub struct Tally {
    pub accounts: u64,
    pub failed_accounts: BTreeSet<AccountId>,
    keys: u64,
    verdicts: BTreeMap<Verdict, u64>,
    without_verdict: u64,
    pub active_noncompliant: u64,
    pub active_undetermined: u64,
    expiring_soon: u64,
    /// Active keys, by what is known, whose expiration has passed.
    overdue: u64,
    /// Keys of a list that were deleted, as is known otherwise.
    listed_and_gone: u64,
    changes: BTreeMap<Change, u64>,
    /// Listed keys whose creator is not known: older than the event history, and others.
    without_creator: [u64; 2],
    /// What this run did.
    outcomes: BTreeMap<Outcome, u64>,
    /// Keys that could not be read.
    pub unreadable: u64,
    /// Keys that could not be dealt with.
    pub failed: u64,
}

impl Tally {
    fn count(&mut self, line: &SweptLine) {
        let SweptLine { change, is_listed, has_acted, report, .. } = line;
        *self.changes.entry(*change).or_default() += 1;
        if *has_acted {
            *self.outcomes.entry(report.outcome).or_default() += 1;
        }
        if !is_listed {
            return;
        }
        self.keys += 1;
        if report.actor.is_none() {
            let is_old = report.created_at.is_some_and(|at| is_before_history(at, SystemClock.now()));
            let [old, others] = &mut self.without_creator;
            *if is_old { old } else { others } += 1;
        }
        match report.verdict {
            Some(verdict) => *self.verdicts.entry(verdict).or_default() += 1,
            None => self.without_verdict += 1,
        }
        self.listed_and_gone += u64::from(report.status == Status::Gone);
        if report.status == Status::Active {
            let now = SystemClock.now();
            self.active_noncompliant += u64::from(report.verdict == Some(Verdict::Noncompliant));
            self.active_undetermined += u64::from(report.verdict == Some(Verdict::Undetermined));
            match report.expires_at {
                Some(end) if end <= now => self.overdue += 1,
                Some(end) if end <= now + SOON => self.expiring_soon += 1,
                Some(_) | None => {}
            }
        }
    }

    fn of(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(&verdict).copied().unwrap_or_default()
    }

    /// The verdicts add up to the keys that IAM lists.
    fn summary(&self, mode: Mode) -> String {
        let changed = |change| self.changes.get(&change).copied().unwrap_or_default();
        let acted = |outcome| self.outcomes.get(&outcome).copied().unwrap_or_default();
        let accounts = match mode {
            Mode::DryRun | Mode::Apply => {
                let accounts = counted(self.accounts, "account", "accounts");
                format!("{accounts} swept, {} failed", self.failed_accounts.len())
            }
            Mode::SavedList => {
                format!("{} in saved lists", counted(self.accounts, "account", "accounts"))
            }
        };
        let mut line = format!(
            "{accounts}; {}: {} noncompliant ({} of them active), {} undetermined, {} exempt, {} \
             compliant",
            counted(self.keys, "key", "keys"),
            self.of(Verdict::Noncompliant),
            self.active_noncompliant,
            self.of(Verdict::Undetermined),
            self.of(Verdict::Exempt),
            self.of(Verdict::Compliant),
        );
        if self.without_verdict > 0 {
            let part = format!(", {} without a verdict", self.without_verdict);
            line.push_str(&part);
        }
        let parts = format!(
            "; {} new, {} changed, {} gone; {} deactivated, {} deleted; {} within {} days",
            changed(Change::New),
            changed(Change::Changed),
            changed(Change::Gone),
            acted(Outcome::Deactivated),
            acted(Outcome::Deleted),
            counted(self.expiring_soon, "expires", "expire"),
            SOON.num_days(),
        );
        line.push_str(&parts);
        for (count, what) in [
            (self.overdue, if self.overdue == 1 { "was to have expired" } else { "were to have expired" }),
            (changed(Change::Pending), "pending: the next resume completes them"),
            (self.unreadable, "unreadable"),
            (self.failed, "failed"),
        ] {
            if count > 0 {
                let part = format!("; {count} {what}");
                line.push_str(&part);
            }
        }
        line
    }
}
