//! IAM: in memory, and as the real adapter sees it over HTTP.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard};

use bedrock_key_guard::aws::credentials::IamCredentials;
use key_guard_core::key::{AccountId, KeyRef, KeyStatus};
use key_guard_core::lifecycle::effect::{ActResult, CallError, ConfirmedAction, FindScope, Retry};
use key_guard_core::lifecycle::input::Action;
use key_guard_core::lifecycle::input::ListedKey;
use key_guard_core::lifecycle::sweep::{KeyCursor, KeyPage, ServiceFilter};
use key_guard_core::ports::CredentialApi;
use tokio::runtime::Runtime;

use crate::support::OWN;
use crate::support::iam::{Iam, StoredKey};

/// An IAM whose keys tests can see and change.
pub trait TestIam: CredentialApi {
    /// With these keys.
    fn new(keys: &[ListedKey]) -> Self;
    fn keys(&self) -> Vec<ListedKey>;
    fn add(&self, key: &ListedKey);
    fn remove(&self, key: &KeyRef);
    fn set_status(&self, key: &KeyRef, status: KeyStatus);
}

pub struct MemoryIam(Mutex<State>);

struct State {
    keys: Vec<ListedKey>,
    /// Accounts whose keys cannot be listed.
    closed_accounts: BTreeSet<AccountId>,
    page_size: usize,
}

impl MemoryIam {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// From now on, the keys of this account cannot be listed.
    pub fn close(&self, account: AccountId) {
        self.state().closed_accounts.insert(account);
    }

    /// From now on, a page has so many keys at most.
    pub fn set_page_size(&self, keys: usize) {
        self.state().page_size = keys;
    }
}

impl TestIam for MemoryIam {
    fn new(keys: &[ListedKey]) -> Self {
        let state = State { keys: keys.to_vec(), closed_accounts: BTreeSet::new(), page_size: 100 };
        Self(Mutex::new(state))
    }

    fn keys(&self) -> Vec<ListedKey> {
        self.state().keys.clone()
    }

    fn add(&self, key: &ListedKey) {
        self.state().keys.push(key.clone());
    }

    fn remove(&self, key: &KeyRef) {
        self.state().keys.retain(|listed| listed.key != *key);
    }

    fn set_status(&self, key: &KeyRef, status: KeyStatus) {
        self.state().keys.iter_mut().find(|listed| listed.key == *key).unwrap().status = status;
    }
}

impl State {
    fn listed(&self, account: &AccountId, scope: &FindScope) -> Vec<ListedKey> {
        let is_in_scope = |listed: &&ListedKey| match scope {
            FindScope::User(user) => listed.user.is_same_user(user),
            FindScope::Account => true,
        };
        let keys = self.keys.iter().filter(|listed| listed.key.account == *account);
        keys.filter(is_in_scope).cloned().collect()
    }
}

impl CredentialApi for MemoryIam {
    async fn find(&self, key: &KeyRef, scope: &FindScope) -> Result<Option<ListedKey>, CallError> {
        Ok(self.state().listed(&key.account, scope).into_iter().find(|listed| listed.key == *key))
    }

    async fn list(&self, account: &AccountId, scope: &FindScope) -> Result<Vec<ListedKey>, CallError> {
        Ok(self.state().listed(account, scope))
    }

    /// The cursor is the number of the page.
    async fn list_page(
        &self,
        account: &AccountId,
        service: &ServiceFilter,
        cursor: Option<&KeyCursor>,
    ) -> Result<KeyPage<ListedKey>, CallError> {
        let state = self.state();
        if state.closed_accounts.contains(account) {
            let source = "the account is closed".into();
            return Err(CallError {
                call: "ListServiceSpecificCredentials",
                retry: Retry::Permanent,
                source,
            });
        }
        let mut keys = state.listed(account, &FindScope::Account);
        keys.retain(|listed| match service {
            ServiceFilter::All => true,
            ServiceFilter::Only(only) => listed.service == *only,
        });
        let number: usize = cursor.map_or(0, |cursor| cursor.0.parse().unwrap());
        let next = number + 1;
        let next = (keys.len() > next * state.page_size).then(|| KeyCursor(next.to_string()));
        let keys = keys.into_iter().skip(number * state.page_size).take(state.page_size).collect();
        Ok(KeyPage { keys, unreadable: 0, next })
    }

    async fn act(&self, action: &ConfirmedAction) -> Result<ActResult, CallError> {
        let is_it =
            |listed: &ListedKey| listed.key == *action.key() && listed.user.is_same_user(action.user());
        let keys = &mut self.state().keys;
        let Some(index) = keys.iter().position(is_it) else { return Ok(ActResult::NotThere) };
        match action.action() {
            Action::Delete => {
                keys.remove(index);
            }
            Action::Deactivate => keys[index].status = KeyStatus::Inactive,
        }
        Ok(ActResult::Done)
    }
}

/// The real adapter, with the real SDK over real HTTP. A call takes no time of the fake clock: nothing else runs while it
/// is under way. All keys are in the guard's own account.
pub struct HttpIam(&'static Server);

struct Server {
    iam: Iam,
    api: IamCredentials,
    runtime: Runtime,
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let iam = Iam::start();
        let home = format!("arn:aws:lambda:us-east-1:{OWN}:function:guard").parse().unwrap();
        let api = IamCredentials::new(runtime.block_on(iam.sdk()), home, None);
        Self { iam, api, runtime }
    }
}

impl TestIam for HttpIam {
    fn new(keys: &[ListedKey]) -> Self {
        // One for all worlds of a test, which come one after the other: a client takes long to make.
        thread_local!(static SERVER: &'static Server = Box::leak(Box::new(Server::start())));
        let api = Self(SERVER.with(|server| *server));
        for key in api.keys() {
            api.remove(&key.key);
        }
        for key in keys {
            api.add(key);
        }
        api
    }

    fn keys(&self) -> Vec<ListedKey> {
        let listed = |stored: StoredKey| ListedKey {
            key: KeyRef { account: stored.account.parse().unwrap(), id: stored.id.parse().unwrap() },
            user: stored.user.parse().unwrap(),
            service: stored.service.parse().unwrap(),
            created_at: stored.created,
            expires_at: stored.expires,
            status: match stored.status {
                "Active" => KeyStatus::Active,
                "Inactive" => KeyStatus::Inactive,
                other => panic!("{other}"),
            },
        };
        self.0.iam.keys().into_iter().map(listed).collect()
    }

    fn add(&self, key: &ListedKey) {
        self.0.iam.put_key(StoredKey {
            account: key.key.account.to_string(),
            id: key.key.id.to_string(),
            user: key.user.to_string(),
            service: key.service.to_string(),
            created: key.created_at,
            expires: key.expires_at,
            status: status_text(key.status),
            hidden: 0,
            lacks: None,
        });
    }

    fn remove(&self, key: &KeyRef) {
        self.0.iam.remove(key.id.as_str());
    }

    fn set_status(&self, key: &KeyRef, status: KeyStatus) {
        self.0.iam.change(key.id.as_str(), |stored| stored.status = status_text(status));
    }
}

const fn status_text(status: KeyStatus) -> &'static str {
    match status {
        KeyStatus::Active => "Active",
        KeyStatus::Inactive => "Inactive",
        KeyStatus::Expired => "Expired",
    }
}

impl CredentialApi for HttpIam {
    async fn find(&self, key: &KeyRef, scope: &FindScope) -> Result<Option<ListedKey>, CallError> {
        self.0.runtime.block_on(self.0.api.find(key, scope))
    }

    async fn list(&self, account: &AccountId, scope: &FindScope) -> Result<Vec<ListedKey>, CallError> {
        self.0.runtime.block_on(self.0.api.list(account, scope))
    }

    async fn list_page(
        &self,
        account: &AccountId,
        service: &ServiceFilter,
        cursor: Option<&KeyCursor>,
    ) -> Result<KeyPage<ListedKey>, CallError> {
        self.0.runtime.block_on(self.0.api.list_page(account, service, cursor))
    }

    async fn act(&self, action: &ConfirmedAction) -> Result<ActResult, CallError> {
        self.0.runtime.block_on(self.0.api.act(action))
    }
}
