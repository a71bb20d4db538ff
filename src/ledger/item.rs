//! The keys of the ledger's items, and the partitions that its indexes go by.

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use sha2::{Digest as _, Sha256};

use key_guard_core::key::{AccountId, CredentialId, UserName};

/// How many partitions a month has, the keys of an account, and what is open.
pub(super) const SHARDS: u32 = 4;

/// One of the partitions of an account's keys that exist.
pub(super) fn account_key(account: &AccountId, shard: u32) -> String {
    format!("ACCOUNT#{account}#{shard:x}")
}

/// One of the partitions of an account's keys that have ended.
pub(super) fn gone_key(account: &AccountId, shard: u32) -> String {
    format!("GONE#{account}#{shard:x}")
}

/// One of the partitions of what a resume deals with.
pub(super) fn open_key(shard: u32) -> String {
    format!("OPEN#{shard:x}")
}

/// One of the partitions of an account's keys that have ended, by the time of that.
pub(super) fn ended_key(account: &AccountId, shard: u32) -> String {
    format!("ENDED#{account}#{shard:x}")
}

/// One of a month's partitions.
pub(super) fn month_key(day: NaiveDate, shard: u32) -> String {
    format!("{}#{shard:x}", day.format("%Y-%m"))
}

/// Comes before every time in a sort key. DynamoDB takes no empty text there.
pub(super) const FIRST: &str = "0";
/// Comes after every time in a sort key.
pub(super) const LAST: &str = "~";

/// What the indexes sort a key by.
pub(super) fn at_key(time: DateTime<Utc>, id: &CredentialId) -> String {
    format!("{}#{id}", to_second(time))
}

/// A time as it begins a sort key: always of the same form, so that texts sort as times do.
pub(super) fn to_second(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Which of several partitions a key is in: the same wherever it is computed (FNV-1a).
pub(super) fn shard(id: &CredentialId) -> u32 {
    let hash = id
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash ^ (hash >> 16)) % SHARDS
}

/// What people remember of a principal, in lowercase and as the indexes have it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Names {
    /// The last part: an IAM user, a role session (often an e-mail address), `root`, a service.
    pub name: Option<String>,
    /// The role, or the permission set behind a role of IAM Identity Center.
    pub role: Option<String>,
}

impl Names {
    /// Of a principal and of the role that it assumed.
    pub(super) fn of(principal: Option<&str>, session_issuer: Option<&str>) -> Self {
        let resource = |arn: &str| arn.splitn(6, ':').nth(5).map(str::to_owned);
        let (mut name, mut role) = (None, None);
        if let Some(principal) = principal {
            match resource(principal) {
                None => name = Some(index_name(principal)),
                Some(resource) => {
                    let mut parts = resource.split('/');
                    if parts.next() == Some("assumed-role") {
                        role = parts.next().map(index_role);
                    }
                    name = resource.rsplit('/').next().map(index_name);
                }
            }
        }
        if role.is_none() {
            role = session_issuer
                .and_then(resource)
                .and_then(|resource| resource.strip_prefix("role/").map(str::to_owned))
                .and_then(|path| path.rsplit('/').next().map(index_role));
        }
        Self { name: name.filter(|name| !name.is_empty()), role: role.filter(|role| !role.is_empty()) }
    }
}

/// A user as `by_user` has it.
pub(super) fn index_user(user: &UserName) -> String {
    user.as_str().to_ascii_lowercase()
}

/// A name as `by_actor` has it: an e-mail address is found by what is before its `@`, too.
pub(super) fn index_name(name: &str) -> String {
    fit_for_a_key(name.split('@').next().filter(|local| !local.is_empty()).unwrap_or(name))
}

/// A role's name as `by_role` has it.
pub(super) fn index_role(name: &str) -> String {
    fit_for_a_key(permission_set(name))
}

/// DynamoDB's keys end at 2,048 bytes (DynamoDB developer guide, *Quotas*), and an event's text may be longer, if
/// no real name is.
fn fit_for_a_key(name: &str) -> String {
    const LONGEST: usize = 500;
    name.chars().take(LONGEST).collect::<String>().to_ascii_lowercase()
}

/// A text as a part of a sort key, between `#`. A sort key ends at 1,024 bytes (DynamoDB developer guide, *Quotas*): a text
/// that has more than `longest` bytes, or a `#`, has its SHA-256 there.
pub(super) fn part_of_sort_key(text: &str, longest: usize) -> String {
    if text.len() <= longest && !text.contains('#') {
        return text.to_owned();
    }
    format!("sha256-{:x}", Sha256::digest(text))
}

/// The permission set behind a role of IAM Identity Center, which wraps its name into
/// `AWSReservedSSO_<name>_<16 hexadecimal digits>` (IAM Identity Center user guide, *Referencing permission sets
/// in resource policies*); any other role's own name.
#[must_use]
pub fn permission_set(role: &str) -> &str {
    role.strip_prefix("AWSReservedSSO_")
        .and_then(|rest| rest.rsplit_once('_'))
        .filter(|(_, suffix)| suffix.len() == 16 && suffix.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .map_or(role, |(set, _)| set)
}
