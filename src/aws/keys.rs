//! IAM: the service-specific credentials of one account or many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_sdk_iam::Client;
use aws_sdk_iam::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_iam::types::{ServiceSpecificCredentialMetadata, StatusType};
use chrono::{DateTime, Utc};
use tokio::sync::OnceCell;

use crate::config::{Home, RoleName};
use crate::enforce::{
    Acted, Action, Confirmed, Key, KeyList, Keys, KeysError, Leftover, Listed, Page, Status, is_principal,
};
use key_guard_core::cloudtrail::Actor;
use key_guard_core::evidence::ListedEvidence;
use key_guard_core::key::{AccountId, KeyRef, UserName};
use key_guard_core::text::sanitize_field;

/// IAM's largest page (IAM API reference, `ListServiceSpecificCredentials`).
const PAGE_SIZE: i32 = 1_000;

/// More pages than any account fills: 5,000 users (IAM quotas) with two keys for each of six services, even
/// where IAM returns a tenth of what was asked for. What goes on after them goes in circles.
const MAX_PAGES: usize = 1_000;

/// The session name in other accounts, by which the guard's own calls can be told.
pub const SESSION_NAME: &str = "bedrock-key-guard";

/// A role session lasts as long as the shortest that AWS STS allows; it is renewed when it ends.
const SESSION_LENGTH: Duration = Duration::from_mins(15);

/// Access to IAM, in the guard's own account and, through a role, in others.
#[derive(Debug, Clone)]
pub struct IamAccess {
    sdk: SdkConfig,
    own: Client,
    responder: Option<RoleName>,
    others: Arc<Mutex<HashMap<AccountId, Arc<OnceCell<Client>>>>>,
}

impl IamAccess {
    /// Access with the given configuration, and `responder` as the role to assume in other accounts.
    #[must_use]
    pub fn new(sdk: SdkConfig, responder: Option<RoleName>) -> Self {
        let own = Client::new(&sdk);
        Self { sdk, own, responder, others: Arc::default() }
    }

    /// The client of the guard's own account.
    #[must_use]
    pub const fn own(&self) -> &Client {
        &self.own
    }

    /// The keys, seen from the account that the guard runs in.
    #[must_use]
    pub const fn at(self, home: Home, own: Option<Own>) -> IamKeys {
        IamKeys { access: self, home, own }
    }
}

/// The keys of IAM, seen from the account that the guard runs in.
#[derive(Debug)]
pub struct IamKeys {
    access: IamAccess,
    home: Home,
    own: Option<Own>,
}

/// Who the guard is in its own account.
#[derive(Debug, Clone)]
pub enum Own {
    /// A function: Lambda names the session of its role after it.
    Function(String),
    /// Whoever runs a command: what follows the account in their ARN.
    Person(String),
}

impl IamKeys {
    /// The account that the guard runs in.
    #[must_use]
    pub const fn own(&self) -> &AccountId {
        &self.home.account
    }

    /// One client per account, kept: making one costs a call to STS.
    async fn client(&self, account: &AccountId) -> Result<Client, KeysError> {
        if *account == self.home.account {
            return Ok(self.access.own.clone());
        }
        let Some(role) = &self.access.responder else {
            return Err(KeysError::NoResponder { account: account.clone(), own: self.home.account.clone() });
        };
        let cell = {
            let mut others = self.access.others.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(others.entry(account.clone()).or_default())
        };
        let client = cell.get_or_init(|| async {
            let role = format!("arn:{}:iam::{account}:role/{role}", self.home.partition);
            let provider = AssumeRoleProvider::builder(role)
                .session_name(SESSION_NAME)
                .session_length(SESSION_LENGTH)
                .configure(&self.access.sdk)
                .build()
                .await;
            let config =
                aws_sdk_iam::config::Builder::from(&self.access.sdk).credentials_provider(provider).build();
            Client::from_conf(config)
        });
        Ok(client.await.clone())
    }

    /// The pages of one list, until the key turns up or the list ends; and how many they were.
    async fn find(
        &self,
        key: &KeyRef,
        user: Option<&UserName>,
    ) -> Result<(Option<Listed>, usize), KeysError> {
        const OPERATION: &str = "ListServiceSpecificCredentials";
        let client = self.client(&key.account).await?;
        let mut marker: Option<String> = None;
        for pages in 1..=MAX_PAGES {
            // Not by service: the event's word on that is what is being checked.
            let call = client
                .list_service_specific_credentials()
                .set_user_name(user.map(|user| user.as_str().to_owned()))
                .set_all_users(user.is_none().then_some(true))
                .max_items(PAGE_SIZE)
                .set_marker(marker.clone());
            let page = match call.send().await {
                Ok(page) => page,
                Err(error) if user.is_some() && code(&error) == Some("NoSuchEntity") => {
                    return Ok((None, pages));
                }
                Err(error) => return Err(failed(OPERATION, &key.account, error)),
            };
            let mut listed = page.service_specific_credentials().iter();
            if let Some(found) = listed.find(|one| one.service_specific_credential_id() == key.id.as_str()) {
                return Ok((Some(read(key, found)?), pages));
            }
            if !page.is_truncated() {
                return Ok((None, pages));
            }
            match page.marker() {
                Some(next) if !next.is_empty() && marker.as_deref() != Some(next) => {
                    marker = Some(next.to_owned());
                }
                Some(_) | None => break,
            }
        }
        Err(KeysError::Unreadable { key: key.clone(), field: "Marker" })
    }
}

impl Keys for IamKeys {
    async fn find_with(&self, key: &KeyRef, user: &UserName) -> Result<Option<Listed>, KeysError> {
        Ok(self.find(key, Some(user)).await?.0)
    }

    async fn find_anywhere(&self, key: &KeyRef) -> Result<Option<Listed>, KeysError> {
        match self.find(key, None).await? {
            // Whoever is renamed while the pages are read may be on none of them.
            (None, 2..) => Ok(self.find(key, None).await?.0),
            (found, _) => Ok(found),
        }
    }

    async fn list(
        &self,
        account: &AccountId,
        list: &KeyList,
        marker: Option<String>,
    ) -> Result<Page, KeysError> {
        const OPERATION: &str = "ListServiceSpecificCredentials";
        let call = self
            .client(account)
            .await?
            .list_service_specific_credentials()
            .all_users(true)
            .set_service_name(list.service().map(|service| service.as_str().to_owned()))
            .max_items(PAGE_SIZE)
            .set_marker(marker.clone());
        let page = call.send().await.map_err(|error| failed(OPERATION, account, error))?;
        let keys = page.service_specific_credentials().iter().map(|listed| {
            let unreadable = |_| KeysError::ListUnreadable {
                account: account.clone(),
                field: "ServiceSpecificCredentialId",
            };
            let id = listed.service_specific_credential_id().parse().map_err(unreadable)?;
            read(&KeyRef { account: account.clone(), id }, listed)
        });
        let keys = keys.collect();
        let next = match page.marker() {
            _ if !page.is_truncated() => None,
            Some(next) if !next.is_empty() && marker.as_deref() != Some(next) => Some(next.to_owned()),
            Some(_) | None => {
                return Err(KeysError::ListUnreadable { account: account.clone(), field: "Marker" });
            }
        };
        Ok(Page { keys, next })
    }

    async fn leftover(&self, account: &AccountId, user: &UserName) -> Result<Option<Leftover>, KeysError> {
        let client = self.client(account).await?;
        let policies = client.list_attached_user_policies().user_name(user.as_str());
        let access_keys = client.list_access_keys().user_name(user.as_str());
        let (policies, access_keys) = tokio::join!(policies.send(), access_keys.send());
        let policies = match policies {
            Err(error) if code(&error) == Some("NoSuchEntity") => return Ok(None),
            other => other.map_err(|error| failed("ListAttachedUserPolicies", account, error))?,
        };
        let access_keys = access_keys.map_err(|error| failed("ListAccessKeys", account, error))?;
        let policies = policies.attached_policies().iter().filter_map(|policy| policy.policy_arn());
        let access_keys = access_keys.access_key_metadata().iter().filter_map(|key| key.access_key_id());
        Ok(Some(Leftover {
            policies: policies.map(sanitize_field).collect(),
            access_keys: access_keys.map(sanitize_field).collect(),
        }))
    }

    fn acts_as(&self, account: &AccountId) -> Option<String> {
        if *account != self.home.account {
            let role = self.access.responder.as_ref()?;
            return Some(format!("assumed-role/{role}/{SESSION_NAME}"));
        }
        Some(match self.own.as_ref()? {
            Own::Function(name) => format!("assumed-role/*/{name}"),
            Own::Person(resource) => resource.clone(),
        })
    }

    fn is_own(&self, account: &AccountId, actor: &Actor) -> bool {
        let is_a_person = *account == self.home.account && matches!(self.own, Some(Own::Person(_)));
        !is_a_person && self.acts_as(account).is_some_and(|own| is_principal(actor, account, &own))
    }

    async fn act(&self, key: &Confirmed) -> Result<Acted, KeysError> {
        let client = self.client(key.account()).await?;
        let (id, user) = (key.key().id.as_str(), key.user().as_str());
        match key.action() {
            Action::Deactivate => {
                let call = client
                    .update_service_specific_credential()
                    .user_name(user)
                    .service_specific_credential_id(id)
                    .status(StatusType::Inactive);
                acted("UpdateServiceSpecificCredential", key.account(), call.send().await)
            }
            Action::Delete => {
                let call = client
                    .delete_service_specific_credential()
                    .user_name(user)
                    .service_specific_credential_id(id);
                acted("DeleteServiceSpecificCredential", key.account(), call.send().await)
            }
        }
    }
}

/// `NoSuchEntity`: no such user, or no such credential. `ValidationError`: the credential belongs to
/// another user. Neither says that the key is gone.
fn acted<T, E>(
    operation: &'static str,
    account: &AccountId,
    answer: Result<T, SdkError<E>>,
) -> Result<Acted, KeysError>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match answer {
        Ok(_) => Ok(Acted::Done),
        Err(error) => match code(&error) {
            Some("NoSuchEntity" | "ValidationError") => Ok(Acted::NotThere),
            Some(_) | None => Err(failed(operation, account, error)),
        },
    }
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

fn failed<E>(operation: &'static str, account: &AccountId, error: SdkError<E>) -> KeysError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    KeysError::Call {
        operation,
        account: account.clone(),
        code: code(&error).map(str::to_owned),
        source: Box::new(error),
    }
}

/// The SDK turns a missing required field into `""` or epoch 0, so each is checked.
fn read(key: &KeyRef, listed: &ServiceSpecificCredentialMetadata) -> Result<Listed, KeysError> {
    let unreadable = |field| KeysError::Unreadable { key: key.clone(), field };
    let status = match listed.status().as_str() {
        "Active" => Status::Active,
        "Inactive" => Status::Inactive,
        "Expired" => Status::Expired,
        _ => return Err(unreadable("Status")),
    };
    let created_at = time(listed.create_date()).ok_or_else(|| unreadable("CreateDate"))?;
    let expires_at = match listed.expiration_date().map(time) {
        None => None,
        Some(Some(end)) => Some(end),
        Some(None) => return Err(unreadable("ExpirationDate")),
    };
    Ok(Listed {
        key: Key {
            key: key.clone(),
            user: listed.user_name().parse().map_err(|_| unreadable("UserName"))?,
            service: listed.service_name().parse().map_err(|_| unreadable("ServiceName"))?,
            created_at,
            evidence: ListedEvidence { created_at, expires_at }.into(),
            is_remembered: false,
        },
        status,
    })
}

/// `None` for a time that the SDK made up or that is out of range.
fn time(time: &aws_sdk_iam::primitives::DateTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.secs(), time.subsec_nanos()).filter(|time| time.timestamp() > 0)
}
