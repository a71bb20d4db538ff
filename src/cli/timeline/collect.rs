//! What the ledger has of a key, or of all keys of a user, with what happened to the user.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::filters;
use crate::cli::lookup::suggest;
use crate::ledger::Cost;
use crate::ledger::audit::AuditRecord;
use crate::ledger::audit::attempts::AuditFilter;
use crate::ledger::audit::count::CountedAttempts;
use crate::ledger::audit::history::History;
use crate::ledger::error::LedgerError;
use crate::ledger::query::{Filter, FoundKey, Search};
use crate::ledger::store::Ledger;
use crate::ledger::view::KeyView;
use key_guard_core::Time;
use key_guard_core::key::{AccountId, CredentialId, KeyRef, UserName};
use key_guard_core::leaked_key::{KeyAlias, KeyOwner};
use key_guard_core::usage::KnownUse;

/// Whose timeline it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// One key.
    Key(CredentialId),
    /// All keys of an IAM user.
    User(UserName),
}

impl Subject {
    /// Tells what a text is, as `lookup WHAT` does, and in which account, if it says so.
    ///
    /// # Errors
    /// When it is neither a key nor a user.
    pub fn parse(text: &str) -> Result<(Self, Option<AccountId>), String> {
        use filters::Subject as What;
        match What::parse(text) {
            Ok(What::Key(id)) => Ok((Self::Key(id), None)),
            Ok(What::Name(user)) => Ok((Self::User(user), None)),
            Ok(
                What::UserArn { account, user, .. }
                | What::Alias(KeyAlias { account, owner: KeyOwner { user, .. }, other_reading: None }),
            ) => Ok((Self::User(user), Some(account))),
            Ok(What::Alias(KeyAlias { owner, other_reading: Some(other), .. })) => Err(format!(
                "this is the second key of {} or the first one of {}: name one of these users",
                owner.user, other.user
            )),
            Ok(What::LeakedText) => {
                Err("for a leaked text: `bedrock-key-guard identify`, which says whose key it is".to_owned())
            }
            Ok(What::Account(_) | What::Address(_) | What::Arn(_)) => {
                Err(format!("{EXPECTED}; for a caller, an account or an address: `bedrock-key-guard lookup`"))
            }
            Err(what) => Err(what.unwrap_or_else(|| EXPECTED.to_owned())),
        }
    }
}

const EXPECTED: &str = "expected the id of a key (ACCA…), or the name or the ARN of an IAM user";

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Question {
    /// Whose timeline.
    pub subject: Subject,
    /// Only in this account.
    pub account: Option<AccountId>,
    /// Failed calls and changes of users not before this time.
    pub since: Option<Time>,
    /// Those before this time.
    pub until: Option<Time>,
    /// The time of the question.
    pub now: Time,
}

impl Question {
    /// Says that another account has the key than the one that was asked for.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn elsewhere(&self, store: &Ledger) -> anyhow::Result<Option<String>> {
        let (Subject::Key(key), Some(_)) = (&self.subject, &self.account) else { return Ok(None) };
        let filter = Filter { key: Some(key.clone()), ..Filter::default() };
        let mut search = Search::new(store, filter, None, usize::MAX, self.now)?;
        let mut accounts = BTreeSet::new();
        while let Some(found) = search.next().await? {
            accounts.insert(found.key.account.to_string());
        }
        let accounts = accounts.into_iter().collect::<Vec<_>>().join(", ");
        Ok((!accounts.is_empty())
            .then(|| format!("the ledger has key {key} in account {accounts}: leave --account out")))
    }

    /// What the ledger has that looks like what was asked for in vain. `None`: nothing does.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn similar(&self, store: &Ledger) -> anyhow::Result<Option<String>> {
        if let Some(elsewhere) = self.elsewhere(store).await? {
            return Ok(Some(elsewhere));
        }
        let account = self.account.clone();
        let filter = match &self.subject {
            Subject::Key(key) => Filter { key: Some(key.clone()), account, ..Filter::default() },
            Subject::User(user) => Filter { user: Some(user.clone()), account, ..Filter::default() },
        };
        Ok(suggest(store, &[filter], self.now, &mut Cost::default()).await?)
    }
}

/// A key with its history.
#[derive(Debug)]
pub struct KnownKey {
    /// Which key.
    pub key: KeyRef,
    /// Its state, its latest dry run, or both: the state first.
    pub views: Vec<KeyView>,
    /// What happened to it.
    pub history: History,
}

impl KnownKey {
    /// True if the guard never dealt with the key: a dry run keeps no history.
    pub fn is_only_in_dry_run(&self) -> bool {
        self.history.lines.is_empty() && self.views.iter().any(|view| view.is_dry_run)
    }
}

/// What a timeline lacks of a key that is known by a dry run only.
pub const DRY_RUN_LIMIT: &str = "a dry run (`replay`, or `sweep` without --apply) keeps no history: of a key that only it recorded, the \
                                 last status change is here, and no reset of its secret";

/// What the ledger has.
#[derive(Debug, Default)]
pub struct Collected {
    /// The keys, newest first.
    pub keys: Vec<KnownKey>,
    /// Every name of the users of these keys, with their accounts.
    pub users: UserNames,
    /// When keys of the users were used.
    pub uses: Vec<KnownUse>,
    /// Failed calls about or by the users, and changes of the users, the latest first.
    pub audit: Vec<AuditRecord>,
    /// What this build cannot read.
    pub unreadable: Vec<LedgerError>,
}

/// Names of IAM users by account. IAM's names have no case.
#[derive(Debug, Default)]
pub struct UserNames(BTreeMap<(AccountId, String), UserName>);

impl UserNames {
    /// Adds a name. False if it is known.
    fn insert(&mut self, account: &AccountId, user: &UserName) -> bool {
        let key = (account.clone(), user.as_str().to_ascii_lowercase());
        self.0.insert(key, user.clone()).is_none()
    }

    fn contains(&self, account: &AccountId, user: &str) -> bool {
        self.0.contains_key(&(account.clone(), user.to_ascii_lowercase()))
    }

    /// The first of `users` that is one of these.
    pub fn first_of<'a>(&self, account: &AccountId, users: &'a BTreeSet<UserName>) -> Option<&'a UserName> {
        users.iter().find(|user| self.contains(account, user.as_str()))
    }

    fn to_vec(&self) -> Vec<(AccountId, UserName)> {
        self.0.iter().map(|((account, _), user)| (account.clone(), user.clone())).collect()
    }

    /// The accounts, each once.
    pub fn accounts(&self) -> Vec<&AccountId> {
        let mut accounts: Vec<_> = self.0.keys().map(|(account, _)| account).collect();
        accounts.dedup();
        accounts
    }

    /// True if a failed call was about one of the users, or may have been, or if one of them made it.
    fn is_concerned(&self, attempts: &CountedAttempts) -> bool {
        let CountedAttempts { group, users, has_more_users, .. } = attempts;
        self.first_of(&group.account, users).is_some()
            || *has_more_users
            || caller(&group.actor).is_some_and(|(account, user)| {
                self.0
                    .keys()
                    .any(|(known, name)| known.as_str() == account && name.eq_ignore_ascii_case(user))
            })
    }
}

/// The account and the name of an IAM user, by its ARN.
fn caller(arn: &str) -> Option<(&str, &str)> {
    let mut parts = arn.splitn(6, ':').skip(4);
    let (account, resource) = (parts.next()?, parts.next()?);
    Some((account, resource.strip_prefix("user/")?.rsplit('/').next()?))
}

/// Reads everything that is asked for.
///
/// # Errors
/// When the ledger cannot be read, or the question reads too many days.
pub async fn collect(store: &Ledger, question: &Question) -> anyhow::Result<Collected> {
    let mut collected = Collected::default();
    match &question.subject {
        Subject::Key(id) => {
            let filter = Filter { key: Some(id.clone()), ..Filter::default() };
            collected.find_keys(store, question, filter).await?;
        }
        Subject::User(user) => collected.find_keys_of_user(store, question, user).await?,
    }
    collected.read_audit(store, question).await?;
    for found in store.known_uses(&collected.users.to_vec(), &mut Cost::default()).await {
        match found {
            Ok(known) => collected.uses.extend(known),
            Err(error) => collected.unreadable.push(error),
        }
    }
    Ok(collected)
}

impl Collected {
    /// Adds the keys that a filter finds. Returns the names that are new.
    async fn find_keys(
        &mut self,
        store: &Ledger,
        question: &Question,
        filter: Filter,
    ) -> anyhow::Result<Vec<(AccountId, UserName)>> {
        let account = filter.account.clone().or_else(|| question.account.clone());
        let mut search =
            Search::new(store, Filter { account, ..filter.clone() }, None, usize::MAX, question.now)?;
        let mut found = Vec::new();
        while let Some(key) = search.next().await? {
            found.push(key);
        }
        for error in search.unreadable() {
            // The history of a key is shown even where its state cannot be read.
            let is_wanted = |key: &KeyRef| {
                filter.key.is_some()
                    && question.account.as_ref().is_none_or(|account| *account == key.account)
            };
            match error.key().filter(is_wanted) {
                Some(key) if found.iter().any(|found| found.key == key) => {}
                Some(key) => found.push(FoundKey { key, views: Vec::new() }),
                None => self.unreadable.push(error),
            }
        }
        let mut new_names = Vec::new();
        for FoundKey { key, views } in found {
            if self.keys.iter().any(|known| known.key == key) {
                continue;
            }
            for user in views.iter().flat_map(KeyView::names) {
                if self.users.insert(&key.account, user) {
                    new_names.push((key.account.clone(), user.clone()));
                }
            }
            let mut history = store.history(&key).await?;
            self.unreadable.append(&mut history.unreadable);
            if let Some(unjudged) = &history.unjudged {
                self.users.insert(&key.account, &unjudged.user);
            }
            let views = views.into_iter().map(|view| view.with_history(&history.lines)).collect();
            self.keys.push(KnownKey { key, views, history });
        }
        Ok(new_names)
    }

    /// A user may have had other names, and other keys under each of them.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn find_keys_of_user(
        &mut self,
        store: &Ledger,
        question: &Question,
        user: &UserName,
    ) -> anyhow::Result<()> {
        let filter = Filter { user: Some(user.clone()), ..Filter::default() };
        let mut names = self.find_keys(store, question, filter).await?;
        while let Some((account, name)) = names.pop() {
            if !name.is_same_user(user) {
                let filter = Filter { account: Some(account), user: Some(name), ..Filter::default() };
                names.extend(self.find_keys(store, question, filter).await?);
            }
        }
        if let Some(account) = &question.account {
            self.users.insert(account, user);
        }
        Ok(())
    }

    /// Reads what each account has. Without an account, changes of the user are found wherever they were, and failed calls of
    /// the last three years.
    async fn read_audit(&mut self, store: &Ledger, question: &Question) -> anyhow::Result<()> {
        let Question { since, until, .. } = *question;
        let in_time = AuditFilter { since, until, ..AuditFilter::default() };
        let of_account =
            |account: &AccountId| AuditFilter { account: Some(account.clone()), ..in_time.clone() };
        let mut filters: Vec<_> = self.users.accounts().into_iter().map(of_account).collect();
        let mut elsewhere = None;
        if let (Subject::User(user), None) = (&question.subject, &question.account) {
            elsewhere = Some(user);
            filters.push(AuditFilter { user: Some(user.clone()), ..in_time.clone() });
        }
        let mut found: Vec<AuditRecord> = Vec::new();
        for filter in filters {
            let records = store.audit_records(&filter, question.now).await??;
            self.unreadable.extend(records.unreadable);
            for record in records.found {
                let is_of = |account: &AccountId, user: &UserName| {
                    self.users.contains(account, user.as_str())
                        || elsewhere.is_some_and(|wanted| wanted.is_same_user(user))
                };
                let is_wanted = match &record {
                    AuditRecord::Attempts(attempts) => {
                        self.users.is_concerned(attempts)
                            || elsewhere
                                .is_some_and(|user| attempts.users.iter().any(|one| one.is_same_user(user)))
                    }
                    AuditRecord::UserChanged(changed) => {
                        is_of(&changed.provenance.account, &changed.change.user)
                    }
                    AuditRecord::UnjudgedKey(unjudged) => is_of(&unjudged.key.account, &unjudged.user),
                };
                if is_wanted && !found.contains(&record) {
                    found.push(record);
                }
            }
        }
        if let Some(user) = elsewhere {
            for record in &found {
                self.users.insert(&record.to_event().provenance.account, user);
            }
        }
        self.audit = found;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_id_of_a_key_or_the_name_of_a_user() {
        let is_key = |text: &str| matches!(Subject::parse(text), Ok((Subject::Key(_), None)));
        let is_user = |text: &str| matches!(Subject::parse(text), Ok((Subject::User(_), None)));
        assert!(is_key("ACCAEXAMPLEKEY0000001") && is_key(" accaexamplekey0000001\n"));
        for name in ["svc-chatbot", "ACCA", "ACCAccounting_service_user", "a@b.example"] {
            assert!(is_user(name), "{name}");
        }
        for text in ["arn:aws:iam::111122223333:user/staff/ana", "ana-at-111122223333"] {
            let (subject, account) = Subject::parse(text).unwrap();
            assert_eq!(subject, Subject::User("ana".parse().unwrap()));
            assert_eq!(account.unwrap().as_str(), "111122223333");
        }
        for (neither, says) in [
            ("", "expected the id of a key"),
            ("two words", "expected the id of a key"),
            (&"x".repeat(129), "expected the id of a key"),
            ("-", "`bedrock-key-guard identify`"),
            ("111122223333", "`bedrock-key-guard lookup`"),
            ("198.51.100.27", "`bedrock-key-guard lookup`"),
            ("arn:aws:iam::111122223333:role/ci", "`bedrock-key-guard lookup`"),
            ("11112222333", "an account has 12 digits, this has 11"),
            ("svc+1-at-111122223333", "svc or the first one of svc+1"),
        ] {
            let error = Subject::parse(neither).unwrap_err();
            assert!(error.contains(says), "{neither}: {error}");
        }
    }

    #[test]
    fn callers_are_known_by_their_arn() {
        let arn = "arn:aws:iam::111122223333:user/staff/jan.kowalski";
        assert_eq!(caller(arn), Some(("111122223333", "jan.kowalski")));
        assert_eq!(caller("arn:aws:iam::111122223333:role/jan.kowalski"), None);
        assert_eq!(caller("jan.kowalski"), None);
    }
}
