//! `sweep`: the keys that IAM has now, as a dry run or as the function deals with them.

mod creators;
mod dry_run;
mod orphans;
mod output;
mod saved_list;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::TimeDelta;
use futures_util::stream::{self, StreamExt as _};
use key_guard_core::Time;
use key_guard_core::key::AccountId;
use key_guard_core::lifecycle::effect::{CallError, Retry};
use key_guard_core::lifecycle::input::{Ceiling, Input, ListedKey};
use key_guard_core::lifecycle::state::{GoneEvidence, Phase};
use key_guard_core::lifecycle::summary::SinceLastSweep;
use key_guard_core::lifecycle::sweep as core;
use key_guard_core::policy::Policy;
use key_guard_core::ports::KeyStore as _;
use key_guard_core::remediation::Contact;

use self::creators::Creators;
use self::dry_run::{DrySweep, ListJudge};
use self::output::{Change, Mode, Output, Swept, SweptLine, downgrade, is_unreadable};
use self::saved_list::SavedLists;
use super::dry_run::DryRuns;
use super::exit::{Exit, FailOn};
use super::filters::whole_number;
use super::messages::{counted, not_judged_warning, say};
use super::output::Format;
use super::setup::{
    DEFAULT_LEDGER, LEDGER_VARIABLE, LedgerPlace, PolicyPlace, iam, read_policy, runtime_beside, to_write,
};
use crate::aws::credentials::IamCredentials;
use crate::clock::{Clock as _, SystemClock};
use crate::config::RoleName;
use crate::ledger::store::Ledger;
use crate::runtime::executor::{Executor, WorkerIds};
use crate::runtime::publish::NoBus;
use crate::runtime::resume::run_resume;
use crate::runtime::sweep::{SweepObserver, SweptKey, run_sweep};

/// Accounts that are swept side by side.
const MAX_CONCURRENT_ACCOUNTS: usize = 8;

/// How many keys of saved lists are judged together: as many as a page of IAM has.
const MAX_JUDGED: usize = 1_000;

/// How long a sweep may take. A person can end it sooner.
const SWEEP_TIME: TimeDelta = TimeDelta::days(1);

/// How long failed calls for the notes at the end of a sweep are repeated.
const NOTES_TIME: TimeDelta = TimeDelta::seconds(30);

/// Judges every key that IAM has now
///
/// Lists the keys of all users, as many calls as there are pages, judges each as of now, and prints what has changed.
/// Without --apply this is a dry run: what the guard would do is recorded beside what it knows, no key is changed, and
/// what has changed is compared with the last dry run, or else with the guard's own record. With --apply, pending
/// responses are completed first, and what has changed is since the last completed sweep started.
///
/// --from judges a saved list in the same way, without IAM, as a dry run. A file may hold one or more answers of `aws iam
/// list-service-specific-credentials`, also in an array or one to a line, also packed with gzip; of a directory, every file
/// is read. A file that cannot be read stops no other. It says how keys stood when it was saved, and is
/// judged as of now: a key may have changed since, and one that is not in it is not called gone.
///
/// Who created a key is known from the ledger. --who asks CloudTrail's event history for the rest: it has the last 90 days
/// of each account. Without --apply, the creation events that it finds are recorded as `replay` would record them; with
/// --apply they are only printed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard sweep
      which keys are already out there, in the account of your credentials
  bedrock-key-guard sweep --accounts 111122223333,444455556666 --responder-role key-guard --fail-on noncompliant
      exit code 3 if an active key that the policy forbids is in any of them
  bedrock-key-guard sweep --apply --ceiling deactivate --ledger dynamodb:bedrock-key-guard
      deactivates what the policy forbids, with a record in the guard's own ledger
  bedrock-key-guard sweep --who
      the same as the first, with who created the keys of the last 90 days
  aws iam list-service-specific-credentials --all-users > keys.json; bedrock-key-guard sweep --from keys.json
      which of these keys the policy forbids, without access to AWS
  bedrock-key-guard sweep --from keys-*.json --accounts 111122223333 --fail-on noncompliant
      several saved lists, whose entries do not say which account they are of

Needs iam:ListServiceSpecificCredentials on user/*, and, to say what is left of users that the console created,
iam:ListAttachedUserPolicies and iam:ListAccessKeys; with --who, cloudtrail:LookupEvents in each account; with --apply,
iam:UpdateServiceSpecificCredential or iam:DeleteServiceSpecificCredential. --from needs nothing.

Exit codes:
  0 done   1 failed   2 usage   3 --fail-on found something
  4 some accounts or keys could not be read, the rest were judged")]
pub struct Sweep {
    /// The accounts to sweep [default: the account of your credentials]; with --from, the one of keys whose entry names none
    #[arg(long, value_name = "12 DIGITS,…", value_delimiter = ',')]
    accounts: Vec<AccountId>,

    /// Judge saved lists, directories of them, or - for standard input, in place of IAM's: `aws iam list-service-specific-credentials --all-users`
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["apply", "ceiling", "responder_role", "who"])]
    from: Vec<PathBuf>,

    /// Ask CloudTrail's event history who created keys, where the ledger does not know
    #[arg(long)]
    who: bool,

    /// Where keys are recorded: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, env = LEDGER_VARIABLE, hide_env_values = true, default_value = DEFAULT_LEDGER, value_name = "LEDGER")]
    ledger: LedgerPlace,

    /// The policy file, or `ledger:` for the current version in the ledger [default: the built-in policy]
    #[arg(long, value_name = "FILE")]
    policy: Option<PolicyPlace>,

    /// How reports are written to stdout
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// The width of the table in columns; what does not fit is shortened or left out [default: that of the terminal]
    #[arg(long, value_name = "COLUMNS", allow_negative_numbers = true, value_parser = whole_number(40..=u16::MAX))]
    width: Option<u16>,

    /// Print every key, not only what has changed
    #[arg(long)]
    all: bool,

    /// Exit with status 3 if any active key has this verdict
    #[arg(long, value_enum, value_name = "WHAT")]
    fail_on: Option<FailOn>,

    /// Act on noncompliant keys, as far as --ceiling allows
    #[arg(long)]
    apply: bool,

    /// The furthest that any response may go: monitor, deactivate or delete [default: monitor]
    #[arg(long, value_name = "RESPONSE", requires = "apply")]
    ceiling: Option<Ceiling>,

    /// The name of the role to assume in other accounts
    #[arg(long, value_name = "ROLE")]
    responder_role: Option<RoleName>,

    /// Whom owners of keys ask, as the remediation says: an e-mail address, a URL
    #[arg(long, value_name = "TEXT")]
    contact: Option<Contact>,
}

/// What a sweep calls.
struct Services<'a> {
    who: bool,
    policy: &'a Policy,
    store: &'a Ledger,
    api: &'a IamCredentials,
    output: &'a RefCell<Output>,
}

impl Sweep {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = runtime_beside()?;
        if !self.from.is_empty() {
            return runtime.block_on(self.judge_saved_lists());
        }
        runtime.block_on(async {
            let policy = read_policy(self.policy.as_ref(), &self.ledger).await?;
            let (api, own_account) = iam(self.responder_role.clone()).await?;
            let store = to_write(&self.ledger, self.apply).await?;
            let output = self.output(if self.apply { Mode::Apply } else { Mode::DryRun })?;
            let services =
                Services { who: self.who, policy: &policy, store: &store, api: &api, output: &output };
            let mut accounts = self.accounts.clone();
            if accounts.is_empty() {
                accounts.push(own_account);
            }
            accounts.sort();
            accounts.dedup();
            if self.apply {
                self.enforce(&services, accounts).await?;
            } else {
                dry_run(&services, accounts).await;
            }
            orphans::describe_orphans(&api, &output).await;
            let output = output.into_inner();
            let exit = self.exit(&output);
            // What was done until an error is said before the error.
            output.end().context("could not write to stdout")?;
            Ok(exit.into())
        })
    }

    fn output(&self, mode: Mode) -> anyhow::Result<RefCell<Output>> {
        let output = Output::begin(self.format, self.width, mode)?.with_all(self.all);
        Ok(RefCell::new(output.with_contact(self.contact.clone()).with_creators(self.who)))
    }

    /// Judges the keys of saved lists. IAM is not asked, and no key that is not in them is called gone.
    async fn judge_saved_lists(&self) -> anyhow::Result<ExitCode> {
        let policy = read_policy(self.policy.as_ref(), &self.ledger).await?;
        let account = match self.accounts.as_slice() {
            [] => None,
            [account] => Some(account),
            [_, _, ..] => {
                say(
                    "error: --from with --accounts: name one account, the one of keys whose entry names none",
                );
                return Ok(Exit::Usage.into());
            }
        };
        let lists = SavedLists::read(&self.from, &self.ledger.files(), account);
        if !lists.has_list {
            lists.problems.iter().for_each(|problem| say(&format!("warning: {problem}")));
            if !lists.passed_over.is_empty() {
                say(&lists.passed_over.to_string());
            }
            say("error: none of the files could be read as a list of keys");
            return Ok(Exit::Failed.into());
        }
        let store = to_write(&self.ledger, false).await?;
        let output = self.output(Mode::SavedList)?;
        for problem in &lists.problems {
            output.borrow_mut().unreadable(problem);
        }
        for contradiction in &lists.contradictions {
            output.borrow().progress.warn(contradiction);
        }
        if !lists.passed_over.is_empty() {
            say(&lists.passed_over.to_string());
        }
        let accounts: BTreeSet<_> = lists.keys.iter().map(|listed| &listed.key.account).collect();
        output.borrow_mut().tally.accounts = accounts.len() as u64;
        let dry_runs = DryRuns::new(&policy, Ceiling::Delete, store);
        let creators = Creators::default();
        let judge = ListJudge { dry_runs: &dry_runs, output: &output, creators: &creators };
        for keys in lists.keys.chunks(MAX_JUDGED) {
            judge.judge(keys.iter().map(|listed| (listed.clone(), None)).collect()).await;
        }
        let mut not_judged = BTreeMap::new();
        for ListedKey { service, .. } in &lists.keys {
            if service.has_api_keys() && !policy.judges(service) {
                *not_judged.entry(service.clone()).or_default() += 1;
            }
        }
        if let Some(warning) = not_judged_warning("the lists have keys of", &not_judged) {
            say(&warning);
        }
        let output = output.into_inner();
        let exit = self.exit(&output);
        let unreadable = output.tally.unreadable;
        output.end().context("could not write to stdout")?;
        if exit == Exit::Unreadable {
            say(&format!(
                "exit 4: {} could not be read",
                counted(unreadable, "file or entry", "files or entries")
            ));
        }
        Ok(exit.into())
    }

    /// First completes what is pending (R8), then sweeps the accounts.
    async fn enforce(&self, services: &Services<'_>, accounts: Vec<AccountId>) -> anyhow::Result<()> {
        let Services { policy, store, api, output, .. } = *services;
        let (workers, started) = (WorkerIds::new("sweep"), SystemClock.now());
        let executor = Executor {
            policy,
            ceiling: self.ceiling.unwrap_or(Ceiling::Monitor),
            deadline: started + SWEEP_TIME,
            workers: &workers,
            store,
            api,
            clock: &SystemClock,
        };
        // Other accounts of the ledger are none of this sweep's.
        let swept: BTreeSet<_> = accounts.iter().cloned().collect();
        let resumed = Box::pin(run_resume(&executor, &NoBus, Some(&swept))).await?;
        output.borrow_mut().resumed(resumed);
        let sweep = async |account: AccountId| {
            let creators = services.creators(&account).await;
            let sweep = core::Sweep::new([account], policy.services());
            let mut observer = Observer { output, started, creators };
            let run = Box::pin(run_sweep(&executor, sweep, &NoBus, &mut observer)).await?;
            Ok(run.result)
        };
        side_by_side(services, accounts, sweep).await;
        // It is for notes only, which are not waited for as keys are.
        let executor = Executor { deadline: SystemClock.now() + NOTES_TIME, ..executor };
        orphans::read_users_of_gone_keys(&executor, output, &swept).await;
        Ok(())
    }

    fn exit(&self, output: &Output) -> Exit {
        let tally = &output.tally;
        let found = match self.fail_on {
            None => 0,
            Some(FailOn::Noncompliant) => tally.active_noncompliant,
            Some(FailOn::Undetermined) => tally.active_noncompliant + tally.active_undetermined,
        };
        if tally.failed > 0 || (self.from.is_empty() && tally.accounts == 0) {
            Exit::Failed
        } else if found > 0 {
            Exit::Found
        } else if tally.unreadable > 0 || !tally.failed_accounts.is_empty() {
            Exit::Unreadable
        } else {
            Exit::Done
        }
    }
}

impl Services<'_> {
    /// Who created the keys of an account. Empty where nobody asks, or where it could not be asked.
    async fn creators(&self, account: &AccountId) -> Creators {
        if !self.who {
            return Creators::default();
        }
        match Creators::read(self.api, account).await {
            Ok(creators) => {
                for why in &creators.unreadable {
                    self.output.borrow_mut().unreadable(&format!("account {account}: {why}"));
                }
                creators
            }
            Err(error) => {
                self.output.borrow_mut().history_failed(account, &error);
                Creators::default()
            }
        }
    }
}

/// Lists the keys and says what would follow.
async fn dry_run(services: &Services<'_>, accounts: Vec<AccountId>) {
    let Services { policy, store, api, output, .. } = *services;
    // What would be done, if nothing but the policy had a say.
    let dry_runs = DryRuns::new(policy, Ceiling::Delete, store.clone());
    let sweep = async |account: AccountId| {
        let creators = services.creators(&account).await;
        let judge = ListJudge { dry_runs: &dry_runs, output, creators: &creators };
        Box::pin(DrySweep::new(judge, store, api).run(account, policy)).await
    };
    side_by_side(services, accounts, sweep).await;
}

/// Sweeps accounts, a few at a time. The failure of one stops no other.
async fn side_by_side(
    services: &Services<'_>,
    accounts: Vec<AccountId>,
    sweep: impl AsyncFn(AccountId) -> Swept,
) {
    let Services { store, output, .. } = *services;
    let sweep = &sweep;
    let sweeping = stream::iter(accounts).map(|account| async move {
        if let Some(error) = why_unusable(store, &account).await {
            output.borrow_mut().account_failed(&account, &error);
            return;
        }
        let swept = sweep(account.clone()).await;
        output.borrow_mut().end_account(account, swept);
    });
    sweeping.buffer_unordered(MAX_CONCURRENT_ACCOUNTS).collect::<()>().await;
}

/// Why the ledger is of no use at all, so that it is said once, and not of each key. An item that cannot be read, and what a
/// retry mends, stop no sweep.
async fn why_unusable(store: &Ledger, account: &AccountId) -> Option<CallError> {
    let error = store.load_sweep_record(account).await.err()?;
    (error.retry == Retry::Permanent && !is_unreadable(&error)).then_some(error)
}

/// Prints what a sweep with `--apply` deals with.
struct Observer<'a> {
    output: &'a RefCell<Output>,
    /// What was done since then was done by this run.
    started: Time,
    creators: Creators,
}

impl SweepObserver for Observer<'_> {
    fn last_sweep(&mut self, account: &AccountId, started: Time) {
        self.output.borrow_mut().last_sweep(account, started);
    }

    fn key_swept(&mut self, key: SweptKey<'_>) {
        let line = self.line(key);
        self.output.borrow_mut().key(line);
    }
}

impl Observer<'_> {
    fn line(&self, key: SweptKey<'_>) -> SweptLine {
        let phase = key.result.stored.state.record().map(|record| &record.phase);
        let change = match (phase, key.since_last_sweep) {
            (Some(Phase::Pending(_)), _) => Change::Pending,
            (_, Some(SinceLastSweep::New)) => Change::New,
            (_, Some(SinceLastSweep::Changed)) => Change::Changed,
            (_, Some(SinceLastSweep::Ended)) => Change::Gone,
            (_, Some(SinceLastSweep::Unchanged) | None) => Change::None,
        };
        let acted_at = match phase {
            Some(Phase::Deactivated(deactivation)) => Some(deactivation.at),
            Some(Phase::Gone(GoneEvidence::DeletedByGuard { at })) => Some(*at),
            Some(
                Phase::Settled
                | Phase::Pending(_)
                | Phase::Inactive(_)
                | Phase::Gone(GoneEvidence::Absent { .. } | GoneEvidence::DeletedBy { .. }),
            )
            | None => None,
        };
        SweptLine {
            key: key.result.key.clone(),
            change,
            is_listed: matches!(key.result.input, Input::Listed { .. }),
            has_acted: acted_at.is_some_and(|at| at >= self.started),
            downgrade: phase.and_then(downgrade),
            report: self.creators.name_creator(&key.result.key, key.report),
        }
    }
}
