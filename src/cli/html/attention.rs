//! What needs attention: tiles that count and filter, happenings, and exemptions that end.

use std::collections::{BTreeMap, HashSet};

use chrono::{Days, NaiveDate, TimeDelta};

use super::columns::{Flag, KeyNow};
use super::person::Person;
use crate::cli::rows::Row;
use crate::ledger::audit::AuditRecord;
use crate::ledger::view::{KeyView, KnownExpiration};
use key_guard_core::Time;
use key_guard_core::key::{AccountId, KeyRef, Status, UserName};
use key_guard_core::policy::{Exemption, Policy, Verdict, Violation};
use key_guard_core::remediation::Remediation;
use key_guard_core::report::Severity;

/// A key is new for so long.
const NEW: TimeDelta = TimeDelta::days(7);

/// An exemption ends soon if it ends within so many days.
const SOON: Days = Days::new(30);

/// Somebody made another way in.
#[derive(Debug)]
pub struct Happening {
    /// When.
    pub at: Time,
    /// In which account.
    pub account: String,
    /// The user.
    pub user: String,
    /// What happened, in words.
    pub what: String,
    /// Who did it.
    pub person: Person,
    /// From where.
    pub address: String,
    /// What to do.
    pub advice: Vec<String>,
    /// The same user as keys have it.
    key_user: Option<User>,
}

/// An exemption that ends soon.
#[derive(Debug)]
pub struct EndingExemption {
    /// In which account.
    pub account: AccountId,
    /// Whose keys are exempt.
    pub user: UserName,
    /// Its last day.
    pub until: NaiveDate,
    /// How many keys of the report it is for.
    pub keys: u64,
}

/// A tile of the page.
#[derive(Debug)]
pub struct Tile {
    /// The bit of the keys that it shows.
    pub flag: u8,
    /// What it counts.
    pub count: u64,
    /// In words.
    pub title: &'static str,
    /// What else there is to say.
    pub hint: String,
}

/// A user of an account; IAM compares names without their case.
type User = (AccountId, String);

fn user_of(account: &AccountId, name: &UserName) -> User {
    (account.clone(), name.as_str().to_ascii_lowercase())
}

/// What needs attention, as of a time.
#[derive(Debug)]
pub struct Attention {
    now: Time,
    /// The latest first.
    happenings: Vec<Happening>,
    critical_users: HashSet<User>,
    /// Those of them whose keys are in the report. `None`: happenings do not depend on keys.
    reported_users: Option<HashSet<User>>,
    /// `None`: no policy says which there are.
    exemptions: Option<Vec<EndingExemption>>,
    counts: BTreeMap<u8, u64>,
    maybe_active: u64,
}

impl Attention {
    /// Of what the ledger has beside keys, and of the exemptions of a policy. Where the report is about some `keys_only`,
    /// so are the happenings.
    pub fn new(records: &[AuditRecord], policy: Option<&Policy>, keys_only: bool, now: Time) -> Self {
        let happenings: Vec<_> = records.iter().filter_map(critical).collect();
        let today = now.date_naive();
        let is_soon = |until: NaiveDate| today <= until && until <= today + SOON;
        let exemptions = policy.map(|policy| {
            let ending = policy.exemptions().iter().filter(|exemption| is_soon(exemption.until));
            let exemption = |Exemption { account, user, until, .. }: &Exemption| EndingExemption {
                account: account.clone(),
                user: user.clone(),
                until: *until,
                keys: 0,
            };
            let mut ending: Vec<_> = ending.map(exemption).collect();
            ending.sort_by_key(|exemption| exemption.until);
            ending
        });
        Self {
            now,
            critical_users: happenings.iter().filter_map(|one| one.key_user.clone()).collect(),
            happenings,
            reported_users: keys_only.then(HashSet::new),
            exemptions,
            counts: BTreeMap::new(),
            maybe_active: 0,
        }
    }

    /// Looks at a key of the report.
    pub fn look_at(&mut self, view: &KeyView) -> KeyNow {
        let status = view.report.status;
        let may_be_active = status.may_be_usable();
        let is_noncompliant = view.report.verdict == Some(Verdict::Noncompliant);
        // What ends in decades never expires, as far as the policy goes.
        let never = view.expiration == Some(KnownExpiration::Never)
            || view.report.violation == Some(Violation::NeverExpires);
        let users: Vec<_> = view.names().map(|name| user_of(&view.key.account, name)).collect();
        let critical: Vec<_> = users.into_iter().filter(|user| self.critical_users.contains(user)).collect();
        let is_critical = !critical.is_empty();
        self.reported_users.iter_mut().for_each(|users| users.extend(critical.clone()));
        let flags = [
            (Flag::NoncompliantActive, is_noncompliant && may_be_active),
            (Flag::NeverExpires, never && may_be_active),
            (Flag::New, view.at <= self.now && self.now - view.at < NEW),
            (Flag::CriticalUser, is_critical),
            (Flag::ExemptionEnds, self.count_for_exemptions(&view.key, view)),
            (Flag::DryRun, view.is_dry_run),
        ];
        let flags: Vec<_> = flags.into_iter().filter_map(|(flag, is_set)| is_set.then_some(flag)).collect();
        for flag in &flags {
            *self.counts.entry(*flag as u8).or_default() += 1;
        }
        // Nobody has looked at a key of a dry run since.
        let is_unknown = status != Status::Active || view.is_dry_run;
        self.maybe_active += u64::from(is_noncompliant && may_be_active && is_unknown);
        KeyNow { status, flags }
    }

    fn count_for_exemptions(&mut self, key: &KeyRef, view: &KeyView) -> bool {
        let mut found = false;
        for exemption in self.exemptions.iter_mut().flatten() {
            let is_theirs = exemption.account == key.account
                && view.names().any(|name| name.is_same_user(&exemption.user));
            exemption.keys += u64::from(is_theirs);
            found |= is_theirs;
        }
        found
    }

    /// How many keys have a flag.
    pub fn count(&self, flag: Flag) -> u64 {
        self.counts.get(&(flag as u8)).copied().unwrap_or_default()
    }

    /// Critical happenings, the latest first.
    pub fn happenings(&self) -> Vec<&Happening> {
        let is_shown = |one: &&Happening| match &self.reported_users {
            None => true,
            Some(users) => one.key_user.as_ref().is_some_and(|user| users.contains(user)),
        };
        self.happenings.iter().filter(is_shown).collect()
    }

    /// The exemptions that end soon.
    pub fn exemptions(&self) -> &[EndingExemption] {
        self.exemptions.as_deref().unwrap_or_default()
    }

    /// The tiles, in the order of what matters most.
    pub fn tiles(&self) -> Vec<Tile> {
        let keys = |flag: Flag, title, hint: &str| Tile {
            flag: flag as u8,
            count: self.count(flag),
            title,
            hint: hint.to_owned(),
        };
        let unknown = match self.maybe_active {
            0 => "They are over the limit of the policy.".to_owned(),
            count => format!("{count} as of their latest event: nobody has asked IAM since."),
        };
        let mut tiles = vec![
            keys(Flag::NoncompliantActive, "Noncompliant and active", &unknown),
            keys(Flag::NeverExpires, "Never expire", "They are or may be active, without an end."),
            Tile {
                flag: Flag::CriticalUser as u8,
                count: self.happenings().len() as u64,
                title: "Critical events",
                hint: format!("Keys of their users: {}.", self.count(Flag::CriticalUser)),
            },
            keys(Flag::New, "New this week", "Created in the last 7 days."),
        ];
        if let Some(exemptions) = &self.exemptions {
            tiles.push(Tile {
                flag: Flag::ExemptionEnds as u8,
                count: exemptions.len() as u64,
                title: "Exemptions that end soon",
                hint: format!("Within 30 days. Keys that have one: {}.", self.count(Flag::ExemptionEnds)),
            });
        }
        tiles
    }
}

/// A critical happening.
fn critical(record: &AuditRecord) -> Option<Happening> {
    let row = Row::audit_record(record);
    let audit = row.audit()?;
    let report = &audit.report;
    if report.severity < Severity::Critical {
        return None;
    }
    let text = |text: Option<String>| text.unwrap_or_else(|| "Not known".to_owned());
    let users = report.account.as_ref().zip(report.user.as_ref());
    Some(Happening {
        at: audit.last,
        account: text(report.account.as_ref().map(ToString::to_string)),
        user: text(report.user.as_ref().map(ToString::to_string)),
        what: report.reason.clone(),
        person: Person::of(Some(&audit.provenance.actor)),
        address: text(report.source_ip.clone()),
        advice: report.remediation.as_deref().map(Remediation::sentences).unwrap_or_default(),
        key_user: users.map(|(account, user)| user_of(account, user)),
    })
}
