//! `sweep`: the keys that IAM has now.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use futures_util::stream::{self, StreamExt as _};

use super::output::{Format, Reports};
use super::progress::Progress;
use super::replay::iam;
use super::{Exit, FailOn, LedgerPlace, load_policy, say};
use crate::clock::SystemClock;
use crate::config::RoleName;
use crate::enforce::{Keys as _, Leftover};
use crate::ledger::Outcome;
use crate::plan::Hands;
use crate::sweep::{Change, Found, Listener, SOON, Swept, Trouble};
use crate::telemetry::chain;
use key_guard_core::key::{AccountId, UserName};
use key_guard_core::policy::{Response, Verdict};
use key_guard_core::time::rfc3339;

/// Accounts that are swept side by side.
const ACCOUNTS_AT_ONCE: usize = 8;

/// Judges every key that IAM has now
///
/// Lists the keys of all users, as many calls as there are pages, judges each as of now, and prints what changed since
/// the last sweep of the ledger: new keys, keys that stand otherwise or belong to another user, keys that are gone.
/// Without --apply nothing is touched, and what is recorded binds nobody.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bedrock-key-guard sweep
      which keys are already out there, in the account of your credentials
  bedrock-key-guard sweep --accounts 111122223333,444455556666 --responder-role key-guard --fail-on noncompliant
      exit code 3 if a key that works, and that the policy forbids, is in any of them
  bedrock-key-guard sweep --apply --ceiling deactivate --ledger dynamodb:key-guard
      switches off what the policy forbids, with a record in the guard's own ledger

Needs iam:ListServiceSpecificCredentials on user/*, and, to say what is left of users that the console made,
iam:ListAttachedUserPolicies and iam:ListAccessKeys; with --apply, iam:UpdateServiceSpecificCredential or
iam:DeleteServiceSpecificCredential.

Exit codes:
  0 done   1 failed   2 usage   3 --fail-on found something
  4 some accounts or keys could not be read, the rest were judged")]
pub struct Sweep {
    /// The accounts to sweep [default: the account of your credentials]
    #[arg(long, value_name = "12 DIGITS,…", value_delimiter = ',')]
    accounts: Vec<AccountId>,

    /// Where keys are recorded: `file:PATH` or `dynamodb:TABLE`
    #[arg(long, default_value = "file:key-guard.db", value_name = "LEDGER")]
    ledger: LedgerPlace,

    /// The policy file [default: the built-in policy]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// How reports are written to stdout
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// Print every key, not only what changed
    #[arg(long)]
    all: bool,

    /// Exit with 3 when something like this is found that works
    #[arg(long, value_enum, value_name = "WHAT")]
    fail_on: Option<FailOn>,

    /// Act on noncompliant keys, as far as --ceiling allows
    #[arg(long)]
    apply: bool,

    /// The furthest that any response may go: monitor, deactivate or delete [default: monitor]
    #[arg(long, value_name = "RESPONSE", requires = "apply")]
    ceiling: Option<Response>,

    /// The name of the role to assume in other accounts
    #[arg(long, value_name = "ROLE")]
    responder_role: Option<RoleName>,
}

impl Sweep {
    /// Runs it.
    ///
    /// # Errors
    /// When it could not do its work: exit code 1.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let policy = load_policy(self.policy.as_deref())?;
        let runtime = super::runtime_beside()?;
        runtime.block_on(async {
            let keys = iam(self.responder_role.clone()).await?;
            let ledger = super::to_write(&self.ledger, self.apply).await?;
            let mut accounts = self.accounts.clone();
            if accounts.is_empty() {
                accounts.push(keys.own().clone());
            }
            accounts.sort();
            accounts.dedup();
            let sweep = crate::sweep::Sweep {
                policy: &policy,
                ceiling: if self.apply {
                    self.ceiling.unwrap_or(Response::Monitor)
                } else {
                    // What would be done.
                    Response::Delete
                },
                hands: if self.apply { Hands::Free } else { Hands::Tied },
                ledger: &ledger,
                keys: &keys,
                clock: &SystemClock,
            };
            let heard = Heard {
                all: self.all,
                apply: self.apply,
                state: RefCell::new(State {
                    reports: Some(Reports::begin(self.format)?),
                    tally: Tally::default(),
                    written: Ok(()),
                }),
                progress: Progress::of_items(self.format == Format::Table),
            };
            let sweeping = |account| {
                let (sweep, heard) = (&sweep, &heard);
                async move {
                    let swept = Box::pin(sweep.account(&account, None, heard)).await;
                    (account, swept)
                }
            };
            let mut sweeping = stream::iter(accounts).map(sweeping).buffer_unordered(ACCOUNTS_AT_ONCE);
            let mut swept = Vec::new();
            while let Some((account, result)) = sweeping.next().await {
                match result {
                    // Nobody reads the answer any more.
                    Ok(done) if done.rest.is_some() => {
                        heard.state.borrow_mut().tally.failed.insert(account);
                    }
                    Ok(done) => {
                        heard.state.borrow_mut().tally.accounts += 1;
                        swept.push((account, done));
                    }
                    Err(error) => {
                        heard.state.borrow_mut().tally.failed.insert(account.clone());
                        heard.progress.warn(&format!("account {account}: {}", chain(&error)));
                    }
                }
            }
            drop(sweeping);
            let mut left = Vec::new();
            for (account, swept) in &swept {
                if swept.troubles > 0 {
                    // It could be the user of a key that could not be read.
                    continue;
                }
                let users = match sweep.users_of_gone_keys(account).await {
                    Ok(users) => users,
                    Err(error) => {
                        heard.state.borrow_mut().tally.failed.insert(account.clone());
                        heard.progress.warn(&format!(
                            "account {account}: what is left of users is not known: {}",
                            chain(&error)
                        ));
                        continue;
                    }
                };
                for user in users {
                    if heard.state.borrow().tally.has_keys(account, &user) {
                        continue;
                    }
                    match keys.leftover(account, &user).await {
                        Ok(None) => {}
                        Ok(Some(found)) => left.push((account.clone(), user, found)),
                        Err(error) => {
                            heard.progress.warn(&format!("user {user} in {account}: {}", chain(&error)));
                        }
                    }
                }
            }
            let Heard { state, progress, .. } = heard;
            drop(progress);
            let State { reports, tally, written } = state.into_inner();
            // What was done until an error is said before the error.
            let ended = reports.map_or(Ok(()), Reports::end);
            self.tell(&tally, &mut swept, &left);
            written.and(ended).context("could not write to stdout")?;
            Ok(self.exit(&tally).into())
        })
    }

    /// What goes to stderr at the end.
    fn tell(
        &self,
        tally: &Tally,
        swept: &mut [(AccountId, Swept)],
        left: &[(AccountId, UserName, Leftover)],
    ) {
        swept.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (account, swept) in swept {
            if let Some(last) = &swept.last {
                say(&format!(
                    "account {account}: {} keys; the last sweep, at {}, had {}",
                    swept.keys,
                    rfc3339(last.began),
                    last.keys
                ));
            }
        }
        if !tally.held_back.is_empty() {
            say("switched off by the breaker instead of deleted; to delete them for good:");
            for command in &tally.held_back {
                say(&format!("  {command}"));
            }
        }
        for (account, user, found) in left {
            say(&format!(
                "user {user} in account {account}, made by the console, is left {}; to take it apart, safest first:",
                found.describe()
            ));
            for command in commands(user, found) {
                say(&format!("  {command}"));
            }
        }
        say(&tally.summary());
        if !self.apply && tally.works > 0 {
            say("nothing was touched; --apply with --ceiling deactivate or delete acts on noncompliant keys");
        }
    }

    fn exit(&self, tally: &Tally) -> Exit {
        let found = match self.fail_on {
            None => 0,
            Some(FailOn::Noncompliant) => tally.works,
            Some(FailOn::Undetermined) => tally.works + tally.of(Verdict::Undetermined),
        };
        if tally.not_done > 0 || tally.accounts == 0 {
            Exit::Failed
        } else if found > 0 {
            Exit::Found
        } else if tally.passed_over > 0 || !tally.failed.is_empty() {
            Exit::Unreadable
        } else {
            Exit::Done
        }
    }
}

/// What takes a leftover user apart: first what can be undone.
fn commands(user: &UserName, found: &Leftover) -> Vec<String> {
    // A person pastes them into a shell, and a policy's path may hold anything.
    let is_plain = |text: &&String| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte))
    };
    let access_keys: Vec<_> = found.access_keys.iter().filter(is_plain).collect();
    let policies: Vec<_> = found.policies.iter().filter(is_plain).collect();
    let key = |what: &str, id: &String, more: &str| {
        format!("aws iam {what} --user-name {user} --access-key-id {id}{more}")
    };
    let mut commands: Vec<_> =
        access_keys.iter().map(|id| key("update-access-key", id, " --status Inactive")).collect();
    commands.extend(
        policies
            .iter()
            .map(|arn| format!("aws iam detach-user-policy --user-name {user} --policy-arn {arn}")),
    );
    if access_keys.len() + policies.len() < found.access_keys.len() + found.policies.len() {
        commands.push("# and what has a name that no shell should be given".to_owned());
    }
    commands.extend(access_keys.iter().map(|id| key("delete-access-key", id, "")));
    commands.push(format!("aws iam delete-user --user-name {user}"));
    commands
}

/// What is heard of a sweep.
struct Heard {
    all: bool,
    apply: bool,
    state: RefCell<State>,
    progress: Progress,
}

struct State {
    reports: Option<Reports>,
    tally: Tally,
    written: std::io::Result<()>,
}

impl Listener for Heard {
    fn found(&self, account: &AccountId, found: Found) {
        let mut state = self.state.borrow_mut();
        state.tally.count(account, &found);
        self.progress.advance(1);
        if (found.change != Change::None || self.all) && state.written.is_ok() {
            let State { reports, written, .. } = &mut *state;
            if let Some(reports) = reports {
                *written =
                    self.progress.beside(|| reports.write_changed(found.change.as_str(), found.report));
            }
        }
    }

    fn trouble(&self, account: &AccountId, trouble: &Trouble) {
        let mut state = self.state.borrow_mut();
        match trouble {
            Trouble::Key(_) | Trouble::Item(_) => state.tally.passed_over += 1,
            Trouble::Failed(_) => state.tally.not_done += 1,
        }
        self.progress.warn(&format!("account {account}: {}", chain(trouble)));
    }

    fn is_time_up(&self) -> bool {
        // Whoever reads the answer has gone. What is acted upon is brought to its end all the same.
        !self.apply && self.state.borrow().written.is_err()
    }
}

/// What was seen.
#[derive(Debug, Default)]
struct Tally {
    accounts: u64,
    failed: BTreeSet<AccountId>,
    keys: u64,
    verdicts: BTreeMap<Verdict, u64>,
    changes: BTreeMap<&'static str, u64>,
    acted: BTreeMap<&'static str, u64>,
    /// Noncompliant keys that work.
    works: u64,
    ends_soon: u64,
    held_back: Vec<String>,
    passed_over: u64,
    not_done: u64,
    /// Hashes of the users that the console made and that have keys, with their accounts.
    users: HashSet<u64>,
    hasher: RandomState,
}

impl Tally {
    fn count(&mut self, account: &AccountId, found: &Found) {
        let Found { change, acted, works, report, ends_soon, held_back } = found;
        *self.changes.entry(change.as_str()).or_default() += 1;
        if *change == Change::Gone {
            return;
        }
        self.keys += 1;
        if let Some(user) = report.user.as_ref().filter(|user| user.is_console_user())
            && !report.outcome.is_gone()
        {
            self.users.insert(self.hasher.hash_one((account, user)));
        }
        if let Some(standing) = report.verdict {
            *self.verdicts.entry(standing).or_default() += 1;
        }
        self.works += u64::from(*works);
        self.ends_soon += u64::from(*ends_soon);
        if *acted {
            *self.acted.entry(report.outcome.as_str()).or_default() += 1;
        }
        if let (true, Some(user), Some(id)) = (*held_back, &report.user, &report.credential_id) {
            self.held_back.push(format!(
                "aws iam delete-service-specific-credential --user-name {user} \
                 --service-specific-credential-id {id}  # account {account}"
            ));
        }
    }

    fn has_keys(&self, account: &AccountId, user: &UserName) -> bool {
        self.users.contains(&self.hasher.hash_one((account, user)))
    }

    fn of(&self, standing: Verdict) -> u64 {
        self.verdicts.get(&standing).copied().unwrap_or_default()
    }

    fn summary(&self) -> String {
        let changed = |change: Change| self.changes.get(change.as_str()).copied().unwrap_or_default();
        let acted = |outcome: Outcome| self.acted.get(outcome.as_str()).copied().unwrap_or_default();
        let mut line = format!(
            "{} accounts swept, {} failed; {} keys: {} noncompliant ({} of them work), {} undetermined, {} exempt, {} \
             compliant; {} new, {} changed, {} gone, {} resumed; {} deactivated, {} deleted; {} end within {} days",
            self.accounts,
            self.failed.len(),
            self.keys,
            self.of(Verdict::Noncompliant),
            self.works,
            self.of(Verdict::Undetermined),
            self.of(Verdict::Exempt),
            self.of(Verdict::Compliant),
            changed(Change::New),
            changed(Change::Changed),
            changed(Change::Gone),
            changed(Change::Resumed),
            acted(Outcome::Deactivated),
            acted(Outcome::Deleted),
            self.ends_soon,
            SOON.num_days(),
        );
        for (count, what) in [
            (
                changed(Change::Open),
                "are open: a delivery is at them, or their plans go further than this sweep may",
            ),
            (self.passed_over, "passed over"),
            (self.not_done, "failed"),
        ] {
            if count > 0 {
                let more = format!("; {count} {what}");
                line.push_str(&more);
            }
        }
        line
    }
}
