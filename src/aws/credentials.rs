//! The service-specific credentials of IAM, in the guard's own account and, through a role, in others.
//!
//! [`IamCredentials`] makes no decision. It asks what the core wants to know, and says which failures are worth a retry.

use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::iter::successors;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_sdk_iam::Client;
use aws_sdk_iam::config::{IdentityCache, SharedCredentialsProvider};
use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_iam::operation::list_service_specific_credentials::ListServiceSpecificCredentialsOutput;
use aws_sdk_iam::operation::list_service_specific_credentials::builders::ListServiceSpecificCredentialsFluentBuilder;
use aws_sdk_iam::primitives::DateTime;
use aws_sdk_iam::types::{ServiceSpecificCredentialMetadata, StatusType};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use key_guard_core::Time;
use key_guard_core::key::{AccountId, CredentialId, KeyRef, KeyStatus, UserName};
use key_guard_core::lifecycle::effect::{ActResult, CallError, ConfirmedAction, FindScope, Retry};
use key_guard_core::lifecycle::input::{Action, ListedKey};
use key_guard_core::lifecycle::sweep::{KeyCursor, KeyPage, MAX_PAGES, ServiceFilter};
use key_guard_core::ports::CredentialApi;
use key_guard_core::text::sanitize_field;

use super::retry_of;
use crate::config::{Home, RoleName};
use crate::telemetry::chain;

/// The name of the guard's role sessions in other accounts, as their CloudTrail shows it.
pub const SESSION_NAME: &str = "bedrock-key-guard";

/// The shortest role session that AWS STS allows. The SDK renews it shortly before it ends.
const SESSION_LENGTH: Duration = Duration::from_mins(15);

/// The clients of this many other accounts are kept. A sweep of an organisation goes through more.
const MAX_CLIENTS: usize = 64;

/// The largest page that IAM returns (IAM API reference, `ListServiceSpecificCredentials`).
const PAGE_SIZE: i32 = 1_000;

const LIST: &str = "ListServiceSpecificCredentials";
const UPDATE: &str = "UpdateServiceSpecificCredential";
const DELETE: &str = "DeleteServiceSpecificCredential";
const ASSUME_ROLE: &str = "AssumeRole";

/// Error codes of IAM.
mod code {
    /// There is no such user, credential or service.
    pub(super) const NO_SUCH_ENTITY: &str = "NoSuchEntity";
    /// IAM has no credentials for this service.
    pub(super) const NOT_SUPPORTED_SERVICE: &str = "NotSupportedService";
    /// The credential belongs to another user.
    pub(super) const VALIDATION_ERROR: &str = "ValidationError";
    /// The caller may not do this.
    pub(super) const DENIED: [&str; 2] = ["AccessDenied", "AccessDeniedException"];
    /// Worth a retry, although the status is below 500 (IAM and STS API references, *Common Errors*; the SDK retries the
    /// same codes).
    pub(super) const TRANSIENT: [&str; 6] = [
        "Throttling",
        "ThrottlingException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "RequestTimeout",
        "RequestTimeoutException",
    ];
}

/// What is left of a user that a console created for a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrphanedUser {
    /// The ARNs of the policies that are attached to it.
    pub policies: Vec<String>,
    /// The ids of its access keys.
    pub access_keys: Vec<String>,
}

/// Why IAM could not be asked, or why its answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialApiError {
    /// AWS denied the call.
    #[error("{operation} in account {account} was denied ({code}): the caller needs {action}")]
    Denied {
        /// Which operation.
        operation: &'static str,
        /// In which account.
        account: AccountId,
        /// AWS's error code.
        code: String,
        /// The IAM action that a policy has to allow.
        action: String,
        /// What AWS or the SDK says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The call failed for another reason.
    #[error("{operation} in account {account} failed{}", code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Failed {
        /// Which operation.
        operation: &'static str,
        /// In which account.
        account: AccountId,
        /// AWS's error code, if there was an answer.
        code: Option<String>,
        /// What AWS or the SDK says.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The key is in another account, and no role is named that the guard may assume there.
    #[error(
        "account {account} is not the guard's own ({own}), and KEY_GUARD_RESPONDER_ROLE (--responder-role) is not set: \
         name the role to assume there"
    )]
    NoResponderRole {
        /// The key's account.
        account: AccountId,
        /// The guard's account.
        own: AccountId,
    },
    /// A required field of the key is missing or impossible.
    #[error("IAM lists {key} without a usable {field}")]
    UnreadableKey {
        /// Which key.
        key: KeyRef,
        /// Which field.
        field: &'static str,
    },
    /// The key was not found, but it may be one of the entries that have no id.
    #[error("IAM's list may have {key}: {count} of its entries have no usable ServiceSpecificCredentialId")]
    UnidentifiedKeys {
        /// The key that was looked for.
        key: KeyRef,
        /// How many entries have no id.
        count: u64,
    },
    /// Keys cannot be read, and any of them may be the one that is looked for.
    #[error("{count} keys in IAM's list for account {account} could not be read")]
    UnreadableKeys {
        /// Whose list.
        account: AccountId,
        /// How many.
        count: u64,
    },
    /// A page says that there are more, but not where.
    #[error("IAM's key list for account {account} is truncated and has no Marker")]
    NoMarker {
        /// Whose list.
        account: AccountId,
    },
    /// The list goes in circles.
    #[error(
        "IAM's key list for account {account} does not end (the same Marker again, or {MAX_PAGES} pages)"
    )]
    EndlessList {
        /// Whose list.
        account: AccountId,
    },
}

/// The keys of IAM, for a guard that runs in the account `home`.
#[derive(Debug)]
pub struct IamCredentials {
    sdk: SdkConfig,
    home: Home,
    responder_role: Option<RoleName>,
    own: Client,
    /// Clients of other accounts, the oldest first.
    others: Mutex<VecDeque<(AccountId, Client)>>,
}

impl IamCredentials {
    /// `responder_role` is assumed in every account but the guard's own. Keep this value: it caches role sessions.
    #[must_use]
    pub fn new(sdk: SdkConfig, home: Home, responder_role: Option<RoleName>) -> Self {
        let own = Client::new(&sdk);
        Self { sdk, home, responder_role, own, others: Mutex::default() }
    }

    /// Where the guard runs.
    #[must_use]
    pub const fn home(&self) -> &Home {
        &self.home
    }

    /// A configuration for other services, with credentials of this account.
    ///
    /// # Errors
    /// When the account is another one, and no role is named that may be assumed there.
    pub async fn sdk_config(&self, account: &AccountId) -> Result<SdkConfig, CallError> {
        if *account == self.home.account {
            return Ok(self.sdk.clone());
        }
        let provider = self.role_session(account, self.responder_role(account, ASSUME_ROLE)?).await;
        let sdk = self.sdk.to_builder().credentials_provider(SharedCredentialsProvider::new(provider));
        Ok(sdk.identity_cache(IdentityCache::lazy().build()).build())
    }

    /// What is left of a user. `None`: it does not exist any more.
    ///
    /// # Errors
    /// When IAM cannot be asked.
    pub async fn orphaned_user(
        &self,
        account: &AccountId,
        user: &UserName,
    ) -> Result<Option<OrphanedUser>, CallError> {
        const LIST_POLICIES: &str = "ListAttachedUserPolicies";
        const LIST_ACCESS_KEYS: &str = "ListAccessKeys";
        let client = self.client(account, LIST_POLICIES).await?;
        // Neither needs a second page: IAM allows 20 attached policies and two access keys.
        let policies = client.list_attached_user_policies().user_name(user.as_str());
        let access_keys = client.list_access_keys().user_name(user.as_str());
        let (policies, access_keys) = tokio::join!(policies.send(), access_keys.send());
        let policies = unless_missing(LIST_POLICIES, account, policies)?;
        let access_keys = unless_missing(LIST_ACCESS_KEYS, account, access_keys)?;
        let (Some(policies), Some(access_keys)) = (policies, access_keys) else { return Ok(None) };
        let arns = policies.attached_policies().iter().filter_map(|policy| policy.policy_arn());
        let ids = access_keys.access_key_metadata().iter().filter_map(|key| key.access_key_id());
        Ok(Some(OrphanedUser {
            policies: arns.map(sanitize_field).collect(),
            access_keys: ids.map(sanitize_field).collect(),
        }))
    }

    async fn client(&self, account: &AccountId, call: &'static str) -> Result<Client, CallError> {
        if *account == self.home.account {
            return Ok(self.own.clone());
        }
        let role = self.responder_role(account, call)?;
        if let Some(client) = kept(&self.others(), account) {
            return Ok(client);
        }
        let client = self.assume(account, role).await;
        let mut others = self.others();
        // Another task may have been faster. Its client may have a session already.
        if let Some(client) = kept(&others, account) {
            return Ok(client);
        }
        if others.len() >= MAX_CLIENTS {
            others.pop_front();
        }
        others.push_back((account.clone(), client.clone()));
        Ok(client)
    }

    fn responder_role(&self, account: &AccountId, call: &'static str) -> Result<&RoleName, CallError> {
        self.responder_role.as_ref().ok_or_else(|| {
            let (account, own) = (account.clone(), self.home.account.clone());
            permanent(call, CredentialApiError::NoResponderRole { account, own })
        })
    }

    async fn role_session(&self, account: &AccountId, role: &RoleName) -> AssumeRoleProvider {
        AssumeRoleProvider::builder(format!("arn:{}:iam::{account}:role/{role}", self.home.partition))
            .session_name(SESSION_NAME)
            .session_length(SESSION_LENGTH)
            .configure(&self.sdk)
            .build()
            .await
    }

    /// A client that assumes the role when it is used for the first time.
    async fn assume(&self, account: &AccountId, role: &RoleName) -> Client {
        let provider = self.role_session(account, role).await;
        let config = aws_sdk_iam::config::Builder::from(&self.sdk)
            .credentials_provider(provider)
            // The cache of `sdk` would keep this session after its client is dropped, and drop others for it.
            .identity_cache(IdentityCache::lazy().build());
        Client::from_conf(config.build())
    }

    fn others(&self) -> MutexGuard<'_, VecDeque<(AccountId, Client)>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pages<'a>(&self, account: &'a AccountId, scope: &'a FindScope) -> Result<Pages<'a>, CallError> {
        let client = self.client(account, LIST).await?;
        Ok(Pages { client, account, scope, last: None, markers: HashSet::new() })
    }
}

fn kept(clients: &VecDeque<(AccountId, Client)>, account: &AccountId) -> Option<Client> {
    clients.iter().find(|(kept, _)| kept == account).map(|(_, client)| client.clone())
}

impl CredentialApi for IamCredentials {
    async fn find(&self, key: &KeyRef, scope: &FindScope) -> Result<Option<ListedKey>, CallError> {
        let mut pages = self.pages(&key.account, scope).await?;
        let mut unidentified = 0;
        while let Some(entries) = pages.next().await? {
            for entry in entries {
                match entry {
                    Ok(listed) if listed.key == *key => return Ok(Some(listed)),
                    Err(UnreadableEntry { id: Some(id), field }) if id == key.id => {
                        let error = CredentialApiError::UnreadableKey { key: key.clone(), field };
                        return Err(permanent(LIST, error));
                    }
                    // Another key, whatever else cannot be read of it.
                    Ok(_) | Err(UnreadableEntry { id: Some(_), .. }) => {}
                    Err(UnreadableEntry { id: None, .. }) => unidentified += 1,
                }
            }
        }
        if unidentified > 0 {
            let error = CredentialApiError::UnidentifiedKeys { key: key.clone(), count: unidentified };
            return Err(permanent(LIST, error));
        }
        Ok(None)
    }

    async fn list(&self, account: &AccountId, scope: &FindScope) -> Result<Vec<ListedKey>, CallError> {
        let mut pages = self.pages(account, scope).await?;
        let mut keys = Vec::new();
        let mut unreadable = 0;
        while let Some(entries) = pages.next().await? {
            for entry in entries {
                match entry {
                    Ok(listed) => keys.push(listed),
                    Err(_) => unreadable += 1,
                }
            }
        }
        if unreadable > 0 {
            let account = account.clone();
            return Err(permanent(LIST, CredentialApiError::UnreadableKeys { account, count: unreadable }));
        }
        Ok(keys)
    }

    async fn list_page(
        &self,
        account: &AccountId,
        service: &ServiceFilter,
        cursor: Option<&KeyCursor>,
    ) -> Result<KeyPage<ListedKey>, CallError> {
        let client = self.client(account, LIST).await?;
        let marker = cursor.map(|cursor| cursor.0.clone());
        let request = list_request(&client, marker).all_users(true);
        let mut wanted = None;
        let answer = match service {
            ServiceFilter::All => request.send().await,
            ServiceFilter::Only(only) => match request.clone().service_name(only.as_str()).send().await {
                // Not every partition has every service, and a policy may name a service that has no keys. That does
                // not prove that a known key is gone, so look through all keys for it.
                Err(error) if is_unsupported_service(&error) => {
                    wanted = Some(only);
                    request.send().await
                }
                answer => answer,
            },
        };
        let page = answer.map_err(|error| failed(LIST, account, &error))?;
        let next = next_marker(account, &page)?.map(KeyCursor);
        let (mut keys, mut unreadable) = (Vec::new(), 0);
        for entry in read_entries(account, &page) {
            match entry {
                Ok(listed) if wanted.is_none_or(|service| listed.service == *service) => keys.push(listed),
                Ok(_) => {}
                Err(_) => unreadable += 1,
            }
        }
        Ok(KeyPage { keys, unreadable, next })
    }

    async fn act(&self, action: &ConfirmedAction) -> Result<ActResult, CallError> {
        let account = &action.key().account;
        // Without a user name IAM would take the caller's.
        let (id, user) = (action.key().id.as_str(), action.user().as_str());
        match action.action() {
            Action::Deactivate => {
                let client = self.client(account, UPDATE).await?;
                let request = client.update_service_specific_credential().user_name(user);
                let request = request.service_specific_credential_id(id).status(StatusType::Inactive);
                acted(UPDATE, account, request.send().await)
            }
            Action::Delete => {
                let client = self.client(account, DELETE).await?;
                let request = client.delete_service_specific_credential().user_name(user);
                acted(DELETE, account, request.service_specific_credential_id(id).send().await)
            }
        }
    }
}

/// Neither code says that the key is gone: its user may have been renamed.
fn acted<T, E>(
    call: &'static str,
    account: &AccountId,
    answer: Result<T, SdkError<E>>,
) -> Result<ActResult, CallError>
where
    E: Error + ProvideErrorMetadata + 'static,
{
    match answer {
        Ok(_) => Ok(ActResult::Done),
        Err(error) if matches!(error.code(), Some(code::NO_SUCH_ENTITY | code::VALIDATION_ERROR)) => {
            Ok(ActResult::NotThere)
        }
        Err(error) => Err(failed(call, account, &error)),
    }
}

/// `None` if the user does not exist.
fn unless_missing<T, E>(
    call: &'static str,
    account: &AccountId,
    answer: Result<T, SdkError<E>>,
) -> Result<Option<T>, CallError>
where
    E: Error + ProvideErrorMetadata + 'static,
{
    match answer {
        Ok(output) => Ok(Some(output)),
        Err(error) if error.code() == Some(code::NO_SUCH_ENTITY) => Ok(None),
        Err(error) => Err(failed(call, account, &error)),
    }
}

/// IAM documents one code for a service without keys, and has been seen to answer with the other.
fn is_unsupported_service<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    matches!(error.code(), Some(code::NOT_SUPPORTED_SERVICE | code::NO_SUCH_ENTITY))
}

/// The pages of one list, read one after the other.
struct Pages<'a> {
    client: Client,
    account: &'a AccountId,
    scope: &'a FindScope,
    last: Option<ListServiceSpecificCredentialsOutput>,
    /// Every marker so far.
    markers: HashSet<String>,
}

impl Pages<'_> {
    /// The entries of the next page. `None`: there is none.
    async fn next(&mut self) -> Result<Option<Vec<Entry>>, CallError> {
        let mut marker = None;
        if let Some(last) = &self.last {
            marker = next_marker(self.account, last)?;
            let Some(marker) = &marker else { return Ok(None) };
            if !self.markers.insert(marker.clone()) || self.markers.len() >= MAX_PAGES as usize {
                let error = CredentialApiError::EndlessList { account: self.account.clone() };
                return Err(permanent(LIST, error));
            }
        }
        let request = list_request(&self.client, marker);
        let page = match self.scope {
            FindScope::Account => {
                let answer = request.all_users(true).send().await;
                answer.map_err(|error| failed(LIST, self.account, &error))?
            }
            FindScope::User(user) => {
                let answer = request.user_name(user.as_str()).send().await;
                let Some(page) = unless_missing(LIST, self.account, answer)? else { return Ok(None) };
                page
            }
        };
        let entries = read_entries(self.account, &page);
        self.last = Some(page);
        Ok(Some(entries))
    }
}

fn list_request(client: &Client, marker: Option<String>) -> ListServiceSpecificCredentialsFluentBuilder {
    client.list_service_specific_credentials().max_items(PAGE_SIZE).set_marker(marker)
}

fn next_marker(
    account: &AccountId,
    page: &ListServiceSpecificCredentialsOutput,
) -> Result<Option<String>, CallError> {
    if !page.is_truncated() {
        return Ok(None);
    }
    match page.marker() {
        Some(marker) if !marker.is_empty() => Ok(Some(marker.to_owned())),
        Some(_) | None => Err(permanent(LIST, CredentialApiError::NoMarker { account: account.clone() })),
    }
}

/// A key of a list, if it can be read.
type Entry = Result<ListedKey, UnreadableEntry>;

/// A list entry that lacks a required field, or has a value there that this build does not know.
#[derive(Debug)]
struct UnreadableEntry {
    id: Option<CredentialId>,
    field: &'static str,
}

fn read_entries(account: &AccountId, page: &ListServiceSpecificCredentialsOutput) -> Vec<Entry> {
    let read = |entry| {
        read_entry(account, entry).inspect_err(|unreadable: &UnreadableEntry| {
            tracing::warn!(
                key.account = account.as_str(),
                key.credential_id = unreadable.id.as_ref().map(CredentialId::as_str),
                field = unreadable.field,
                "IAM listed a key that cannot be read"
            );
        })
    };
    page.service_specific_credentials().iter().map(read).collect()
}

/// The SDK puts an empty text or 1970 in the place of a required field that is missing.
fn read_entry(account: &AccountId, entry: &ServiceSpecificCredentialMetadata) -> Entry {
    let no_id = |_| UnreadableEntry { id: None, field: "ServiceSpecificCredentialId" };
    let id: CredentialId = entry.service_specific_credential_id().parse().map_err(no_id)?;
    let unreadable = |field| UnreadableEntry { id: Some(id.clone()), field };
    Ok(ListedKey {
        key: KeyRef { account: account.clone(), id: id.clone() },
        user: entry.user_name().parse().map_err(|_| unreadable("UserName"))?,
        service: entry.service_name().parse().map_err(|_| unreadable("ServiceName"))?,
        created_at: time(entry.create_date()).ok_or_else(|| unreadable("CreateDate"))?,
        expires_at: match entry.expiration_date() {
            None => None,
            Some(date) => Some(time(date).ok_or_else(|| unreadable("ExpirationDate"))?),
        },
        status: match entry.status().as_str() {
            "Active" => KeyStatus::Active,
            "Inactive" => KeyStatus::Inactive,
            "Expired" => KeyStatus::Expired,
            _ => return Err(unreadable("Status")),
        },
    })
}

/// `None` for a time that the SDK made up, or that is out of range.
fn time(date: &DateTime) -> Option<Time> {
    Time::from_timestamp(date.secs(), date.subsec_nanos()).filter(|time| time.timestamp() > 0)
}

fn permanent(call: &'static str, error: CredentialApiError) -> CallError {
    CallError { call, retry: Retry::Permanent, source: Box::new(error) }
}

fn failed<E>(call: &'static str, account: &AccountId, error: &SdkError<E>) -> CallError
where
    E: Error + ProvideErrorMetadata + 'static,
{
    let is_transient = |code: &str| code::TRANSIENT.contains(&code);
    // The SDK assumes the role within the call.
    let mut causes = successors(Some(error as &(dyn Error + 'static)), |&error| error.source());
    match causes.find_map(|cause| cause.downcast_ref::<SdkError<AssumeRoleError>>()) {
        Some(error) => CallError {
            call,
            retry: retry_of(error, is_transient),
            source: Box::new(describe(ASSUME_ROLE, format!("sts:{ASSUME_ROLE}"), account, error)),
        },
        None => CallError {
            call,
            retry: retry_of(error, is_transient),
            source: Box::new(describe(call, format!("iam:{call}"), account, error)),
        },
    }
}

/// Keeps AWS's message or the SDK's, not the SDK's error: that has the whole answer, which may be a role session.
fn describe<E>(
    operation: &'static str,
    action: String,
    account: &AccountId,
    error: &SdkError<E>,
) -> CredentialApiError
where
    E: Error + ProvideErrorMetadata + 'static,
{
    let account = account.clone();
    let words = error.message().map_or_else(|| chain(error), str::to_owned);
    let source = sanitize_field(&words).into();
    match error.code().map(sanitize_field) {
        Some(code) if code::DENIED.contains(&code.as_str()) => {
            CredentialApiError::Denied { operation, account, code, action, source }
        }
        code => CredentialApiError::Failed { operation, account, code, source },
    }
}
