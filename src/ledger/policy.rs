//! Versions of the policy. They are only ever appended, and the one with the highest number is current.

#[cfg(feature = "cli")]
use std::cmp::Reverse;
use std::path::PathBuf;

use key_guard_core::Time;
use key_guard_core::lifecycle::effect::CallError;
use key_guard_core::policy::{InvalidPolicy, Policy};
use sha2::{Digest as _, Sha256};

use super::codec;
#[cfg(feature = "cli")]
use super::codec::EncodeError;
#[cfg(feature = "cli")]
use super::cost::Cost;
use super::error::LedgerError;
#[cfg(feature = "cli")]
use super::port::{Condition, Write, Written};
use super::port::{Item, TableError};
#[cfg(feature = "cli")]
use super::portable::{Imported, PortableItem};
use super::store::Ledger;
#[cfg(feature = "cli")]
use key_guard_core::text::{is_unprintable, redact};

/// The longest text of a version, in bytes. An item of DynamoDB has at most 400 KB, names of attributes included
/// (DynamoDB developer guide, *Quotas*).
pub const MAX_POLICY_BYTES: usize = 256 << 10;

/// A version of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyVersion {
    /// Its number, from 1.
    pub number: u32,
    /// The file as it was pushed.
    pub text: String,
    /// Of the text, in lowercase hex. Verdicts record it.
    pub sha256: String,
    /// When it was pushed.
    pub pushed_at: Time,
    /// Who pushed it: the ARN of the caller, or the name of the machine's user where the ledger is a file.
    pub pushed_by: String,
    /// Why.
    pub reason: Option<String>,
}

/// The version with the highest number.
#[derive(Debug, Clone)]
pub struct NewestPolicy {
    /// Its number.
    pub number: u32,
    /// What it is, if it can be read.
    pub version: Result<PolicyVersion, LedgerError>,
}

/// Why there is no policy from the ledger.
#[derive(Debug, thiserror::Error)]
pub enum CurrentPolicyError {
    /// None was pushed.
    #[error(
        "the ledger has no version of the policy; push one with: bedrock-key-guard policy push FILE --ledger \
         dynamodb:TABLE"
    )]
    NoVersion,
    /// The call failed, or the item cannot be read.
    #[error("the current version of the policy could not be read from the ledger")]
    Read(#[source] CallError),
    /// The text is no policy that this build knows.
    #[error(
        "version {number} of the policy cannot be used; push another one (bedrock-key-guard policy push), or go back \
         to an earlier one (bedrock-key-guard policy rollback)"
    )]
    Invalid {
        /// Which version.
        number: u32,
        /// What is wrong with it.
        #[source]
        source: InvalidPolicy,
    },
}

/// What came of an append.
#[cfg(feature = "cli")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendedPolicy {
    /// The version is stored, and current.
    Appended,
    /// Another version has this number. Nothing was written.
    Conflict,
}

/// The SHA-256 of a policy's text, in lowercase hex: that of [`Policy::sha256`].
#[must_use]
pub fn sha256_of(text: &str) -> String {
    format!("{:x}", Sha256::digest(text.as_bytes()))
}

impl PolicyVersion {
    /// Its policy.
    ///
    /// # Errors
    /// When the text is no valid policy to this build.
    pub fn policy(&self) -> Result<Policy, CurrentPolicyError> {
        let Self { number, text, .. } = self;
        let path = PathBuf::from(format!("(policy version {number})"));
        Policy::parse(text, &path).map_err(|source| CurrentPolicyError::Invalid { number: *number, source })
    }
}

/// Checks whether a text may become a version, whatever it says as a policy.
///
/// # Errors
/// What is wrong with it, in words.
#[cfg(feature = "cli")]
pub fn check_policy_text(text: &str) -> Result<(), String> {
    if text.len() > MAX_POLICY_BYTES {
        return Err(format!(
            "the policy has {} bytes; a version in the ledger has at most {MAX_POLICY_BYTES}, because an item of \
             DynamoDB has at most 400 KB",
            text.len()
        ));
    }
    if text.chars().any(|character| is_unprintable(character) && !matches!(character, '\t' | '\r' | '\n')) {
        return Err("the policy has characters that steer a terminal; take them out".to_owned());
    }
    if redact(text) != text {
        return Err(
            "the policy has the secret of an API key in it; take it out and delete the key".to_owned()
        );
    }
    Ok(())
}

/// Reads the item of a version. The error of an unreadable one names it.
fn read(item: Item) -> Result<PolicyVersion, LedgerError> {
    let key = item.key.clone();
    let number = codec::policy_number(&key);
    let read = number.and_then(|number| match codec::decode_policy(item)? {
        version if version.number == number => Ok(version),
        version => Err(format!("its number is {}", version.number)),
    });
    read.map_err(|why| codec::unreadable(&key, &why))
}

impl Ledger {
    /// The version with the highest number, strongly consistent: one call.
    ///
    /// # Errors
    /// When the ledger cannot be read, or the item has no number.
    pub async fn newest_policy(&self) -> Result<Option<NewestPolicy>, CallError> {
        self.newest().await.map_err(CallError::from)
    }

    async fn newest(&self) -> Result<Option<NewestPolicy>, TableError> {
        let Some(item) = self.table.last(codec::POLICY).await? else { return Ok(None) };
        let number = codec::policy_number(&item.key)
            .map_err(|why| TableError::permanent("reading an item", codec::unreadable(&item.key, &why)))?;
        Ok(Some(NewestPolicy { number, version: read(item) }))
    }

    /// The current version and its policy: one call.
    ///
    /// # Errors
    /// When there is none, or it cannot be read or used.
    pub async fn current_policy(&self) -> Result<(PolicyVersion, Policy), CurrentPolicyError> {
        let newest = self.newest_policy().await.map_err(CurrentPolicyError::Read)?;
        let version = newest.ok_or(CurrentPolicyError::NoVersion)?.version;
        let version = version.map_err(|error| {
            CurrentPolicyError::Read(TableError::permanent("reading an item", error).into())
        })?;
        let policy = version.policy()?;
        Ok((version, policy))
    }

    /// The version with this number.
    ///
    /// # Errors
    /// When the ledger or the item cannot be read.
    #[cfg(feature = "cli")]
    pub async fn policy_version(&self, number: u32) -> Result<Option<PolicyVersion>, LedgerError> {
        let found = self.table.get(&[codec::policy_place(number)], &mut Cost::default()).await;
        let found = found.into_iter().next().unwrap_or(Ok(None))?;
        found.map(read).transpose()
    }

    /// All versions, the oldest first, or why one cannot be read.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    #[cfg(feature = "cli")]
    pub async fn policy_versions(&self) -> Result<Vec<Result<PolicyVersion, LedgerError>>, LedgerError> {
        let items = self.read_partition(codec::POLICY.to_owned(), None, &mut Cost::default()).await?;
        Ok(items.into_iter().map(read).collect())
    }

    /// Imports versions. What is there stays, and so does which one is current: where the ledger has a version, newer ones
    /// are left out. The newest one comes first, so that an import that ends early makes no older one current.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    #[cfg(feature = "cli")]
    pub(super) async fn import_policies(
        &self,
        mut versions: Vec<(u32, &PortableItem)>,
    ) -> Result<Imported, LedgerError> {
        let newest = self.newest().await?.map(|newest| newest.number);
        versions.sort_by_key(|(number, _)| Reverse(*number));
        let mut imported = Imported::default();
        for (number, version) in versions {
            if newest.is_some_and(|newest| number > newest) {
                imported.newer_policies += 1;
            } else if self.put_policy(version.encode(None)).await? == Written::Done {
                imported.policies += 1;
            }
        }
        Ok(imported)
    }

    /// Appends a version, which is current from then on. Of two with the same number one is appended.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    #[cfg(feature = "cli")]
    pub async fn append_policy(&self, version: &PolicyVersion) -> Result<AppendedPolicy, LedgerError> {
        Ok(match self.put_policy(codec::encode_policy(version)).await? {
            Written::Done => AppendedPolicy::Appended,
            Written::Refused { stored: Some(stored), .. } => match read(stored) {
                // The reply of an earlier try was lost.
                Ok(stored) if stored == *version => AppendedPolicy::Appended,
                Ok(_) | Err(_) => AppendedPolicy::Conflict,
            },
            Written::Refused { stored: None, .. } => AppendedPolicy::Conflict,
        })
    }

    /// Writes a version where there is none with its number.
    #[cfg(feature = "cli")]
    async fn put_policy(&self, item: Result<Item, EncodeError>) -> Result<Written, LedgerError> {
        let item = item.map_err(|error| LedgerError::call("making an item", "of the policy", None, error))?;
        let mut written = Written::Done;
        for reply in self.table.write(vec![vec![Write::Put(item, Condition::Absent)]]).await {
            written = reply?;
        }
        Ok(written)
    }
}
