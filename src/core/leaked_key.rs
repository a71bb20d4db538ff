//! What a leaked text says of the key that is in it, offline. Nothing of the secret leaves this module.
//!
//! A long-term key is a prefix and the Base64 of `alias:secret`; the alias is `<user>-at-<account>`, and
//! `<user>+1-at-<account>` for the second key of a user. A short-term key is a prefix and the Base64 of a presigned URL of
//! `CallWithBearerToken`, without its scheme (`aws-bedrock-token-generator` of AWS on GitHub). The name of the user is the
//! one that it had when the key was created.

use chrono::{NaiveDateTime, TimeDelta};

use crate::key::{AccountId, Service, UserName};
use crate::secret::{self, SecretKind};
use crate::text::has_secret;
use crate::time::Time;
use crate::unescape::unescaped;

/// A secret that is in a text: what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeakedKey {
    /// A long-term key: a service-specific credential of an IAM user.
    LongTerm(LongTermKey),
    /// A short-term key.
    ShortTerm(ShortTermKey),
    /// An access key of AWS, which is no API key.
    AccessKey(AccessKey),
    /// A secret access key of AWS, without the id of its access key.
    SecretAccessKey,
    /// A text in the form of a secret access key, with nothing beside it that says so.
    LikelySecretAccessKey,
    /// A session token of AWS, without the id of its access key.
    SessionToken,
    /// The signature of a presigned URL of AWS.
    Signature,
}

/// A long-term key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongTermKey {
    /// The service that it is for. `None`: its prefix is not documented.
    pub service: Option<Service>,
    /// Whose it is. `None`: the text is cut off before that, or masked.
    pub alias: Option<KeyAlias>,
}

/// Whose a long-term key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyAlias {
    /// The account of the user.
    pub account: AccountId,
    /// The user, and which key of it.
    pub owner: KeyOwner,
    /// What the alias may mean as well: `+` is legal in the names of users.
    pub other_reading: Option<KeyOwner>,
}

impl KeyAlias {
    /// Reads an alias by itself, as IAM's list has it.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        alias(text.as_bytes()).filter(|_| !text.contains(':'))
    }
}

/// A user, and which key of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOwner {
    /// The user.
    pub user: UserName,
    /// 1 or 2: a user has at most two keys for a service.
    pub key_number: u8,
}

/// A short-term key. Each field is `None` where the text is cut off before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortTermKey {
    /// The service that it is for.
    pub service: Service,
    /// The access key that has signed it.
    pub access_key: Option<AccessKeyId>,
    /// The Region that it works in.
    pub region: Option<String>,
    /// When it was created.
    pub created_at: Option<Time>,
    /// When it ends at the latest: it also ends with the session that has created it.
    pub ends_at: Option<Time>,
}

/// The id of an access key of AWS. It is no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKeyId {
    /// The id: 20 characters.
    pub id: String,
    /// True for the access key of a session, which ends by itself.
    pub is_temporary: bool,
    /// The account, which ids that were created since 2019 have in them.
    pub account: Option<AccountId>,
}

/// An access key of AWS in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Its id.
    pub id: AccessKeyId,
    /// Whether a secret access key is in the text, too.
    pub has_secret: bool,
}

/// All keys in a text, each once, in its order: the text may be a line of a log, JSON, a shell's `export`, a URL.
#[must_use]
pub fn find(text: &str) -> Vec<LeakedKey> {
    let mut found = Vec::new();
    find_keys(&unescaped(text), 0, &mut found);
    // What only belongs to the access keys is said with them.
    let is_secret =
        |key: &LeakedKey| matches!(key, LeakedKey::SecretAccessKey | LeakedKey::LikelySecretAccessKey);
    let has_secret = found.iter().any(is_secret);
    let has_id = found.iter().any(|key| matches!(key, LeakedKey::AccessKey(_)));
    if has_id {
        found.retain(|key| !is_secret(key) && *key != LeakedKey::SessionToken);
    }
    for key in &mut found {
        if let LeakedKey::AccessKey(key) = key {
            key.has_secret = has_secret;
        }
    }
    found
}

/// Whether a text has a secret in it, or what is likely to be one: 40 characters without a label that look like a secret
/// access key, or more that look like the secret of an API key. For what a person typed; text that is stored keeps them ([`redact`](crate::text::redact)).
#[must_use]
pub fn has_likely_secret(text: &str) -> bool {
    let is_id = |key: &LeakedKey| matches!(key, LeakedKey::AccessKey(AccessKey { has_secret: false, .. }));
    has_secret(text)
        || secret::has_likely_key_secret(&unescaped(text))
        || find(text).iter().any(|key| !is_id(key))
}

fn find_keys(text: &str, layers: usize, found: &mut Vec<LeakedKey>) {
    let mut at = 0;
    for secret in secret::find(text) {
        find_unmarked(text.get(at..secret.range.start).unwrap_or_default(), found);
        let part = secret::without_breaks(text.get(secret.range.clone()).unwrap_or_default());
        let body = part.get(secret.prefix_length..).unwrap_or_default();
        match secret.kind {
            SecretKind::LongTermKey(prefix) => {
                add(found, LeakedKey::LongTerm(long_term(service_of(prefix), body)));
            }
            SecretKind::UnknownKey => add(found, LeakedKey::LongTerm(unknown_key(&part))),
            SecretKind::DecodedKey => {
                add(found, LeakedKey::LongTerm(LongTermKey { service: None, alias: alias(part.as_bytes()) }));
            }
            SecretKind::ShortTermKey(prefix) => {
                add(found, LeakedKey::ShortTerm(short_term(service_of(prefix), body)));
            }
            SecretKind::SecretAccessKey => add(found, LeakedKey::SecretAccessKey),
            SecretKind::SessionToken => add(found, LeakedKey::SessionToken),
            SecretKind::Signature => add(found, LeakedKey::Signature),
            SecretKind::Encoded if layers < secret::MAX_LAYERS => {
                for bytes in secret::decoded_parts(&part) {
                    find_keys(&unescaped(&String::from_utf8_lossy(&bytes)), layers + 1, found);
                }
            }
            SecretKind::Encoded => {}
        }
        // What was glued to the end of a key may be another one.
        let encoded = body.bytes().take_while(|byte| secret::sextet(*byte).is_some()).count();
        if let Some(rest) = body.get(encoded..).filter(|_| encoded > 0) {
            find_keys(rest, layers, found);
        }
        at = secret.range.end;
    }
    find_unmarked(text.get(at..).unwrap_or_default(), found);
}

fn add(found: &mut Vec<LeakedKey>, key: LeakedKey) {
    if !found.contains(&key) {
        found.push(key);
    }
}

/// The service of a prefix.
fn service_of(prefix: &str) -> Service {
    match prefix {
        "ACWL" => Service::Logs,
        "APIAACWM" => Service::CloudWatch,
        "AEAA" | "aws-external-anthropic-api-key-" => Service::ClaudePlatform,
        _ => Service::Bedrock,
    }
}

fn long_term(service: Service, body: &str) -> LongTermKey {
    LongTermKey { service: Some(service), alias: alias(&decoded(body)) }
}

/// A key whose prefix is not known. Where it begins is not known either: the known prefixes have four or eight capitals, others
/// may have digits, and what stands before a key decodes to something that is no name, most of the time.
fn unknown_key(part: &str) -> LongTermKey {
    let parts = || part.as_bytes().split(|byte| secret::sextet(*byte).is_none());
    let whole = parts().find_map(|part| {
        let is_of_prefix = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        let is_prefix =
            |length: &usize| part.get(..*length).is_some_and(|head| head.iter().all(is_of_prefix));
        let mut starts = [4, 8].into_iter().filter(is_prefix).chain(0..4);
        starts.find_map(|start| alias(&secret::decode(part.get(start..)?)?))
    });
    let with_text_before = || {
        secret::decoded_parts(part).find_map(|bytes| {
            let colon = bytes.iter().position(|byte| *byte == b':')?;
            let before = bytes.get(..colon)?;
            let begin = before.iter().rposition(|byte| !crate::text::is_iam_name_byte(*byte))?;
            alias(before.get(begin + 1..)?)
        })
    };
    LongTermKey { service: None, alias: whole.or_else(with_text_before) }
}

/// The Base64 at the beginning of a text, decoded.
fn decoded(body: &str) -> Vec<u8> {
    let length = body.bytes().take_while(|byte| secret::sextet(*byte).is_some()).count();
    body.as_bytes().get(..length).and_then(secret::decode).unwrap_or_default()
}

/// Reads `<user>-at-<account>`, up to a colon or the end.
fn alias(bytes: &[u8]) -> Option<KeyAlias> {
    let alias = std::str::from_utf8(bytes.split(|byte| *byte == b':').next()?).ok()?;
    let (name, account) = alias.rsplit_once("-at-")?;
    let account: AccountId = account.parse().ok()?;
    let owner = |name: &str, key_number| {
        let user: UserName = name.parse().ok().filter(|_| !has_secret(name))?;
        Some(KeyOwner { user, key_number })
    };
    match name.strip_suffix("+1").and_then(|user| owner(user, 2)) {
        Some(second) => Some(KeyAlias { account, owner: second, other_reading: owner(name, 1) }),
        None => Some(KeyAlias { account, owner: owner(name, 1)?, other_reading: None }),
    }
}

/// Reads the presigned URL in a short-term key. Its query is that of the IAM user guide, *Create a signed AWS API request*.
fn short_term(service: Service, body: &str) -> ShortTermKey {
    let url = decoded(body);
    let url = String::from_utf8_lossy(&url);
    let field = |name: &str| {
        let query = url.split_once('?')?.1;
        let pair =
            query.split('&').filter_map(|pair| pair.split_once('=')).find(|(found, _)| *found == name)?;
        Some(unescaped(pair.1))
    };
    let credential = field("X-Amz-Credential").unwrap_or_default();
    let access_key = credential.split('/').next().and_then(AccessKeyId::read);
    // What the text is cut off in is no part.
    let mut scope = credential.rsplit_once('/').map_or("", |(whole, _)| whole).split('/');
    let is_region = |name: &&str| {
        (1..=32).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    // Between the id and the Region is the date.
    let region = scope.nth(2).filter(is_region).map(str::to_owned);
    let created_at = field("X-Amz-Date")
        .and_then(|date| NaiveDateTime::parse_from_str(&date, "%Y%m%dT%H%M%SZ").ok())
        .map(|date| date.and_utc());
    // A presigned URL lasts a week at most.
    let is_whole = url.split_once("&X-Amz-Expires=").is_some_and(|(_, rest)| rest.contains('&'));
    let seconds = field("X-Amz-Expires").filter(|_| is_whole).and_then(|seconds| seconds.parse().ok());
    let lifetime = seconds.filter(|seconds| (0..=7 * 86_400).contains(seconds)).map(TimeDelta::seconds);
    let ends_at = created_at.zip(lifetime).and_then(|(start, lifetime)| start.checked_add_signed(lifetime));
    ShortTermKey { service, access_key, region, created_at, ends_at }
}

/// What is between secrets: the ids of access keys, and what is likely to be a secret access key.
fn find_unmarked(text: &str, found: &mut Vec<LeakedKey>) {
    if secret::has_likely_access_key(text) {
        add(found, LeakedKey::LikelySecretAccessKey);
    }
    for at in 0..text.len() {
        let id = secret::access_key_id_end(text.as_bytes(), at).and_then(|end| text.get(at..end));
        if let Some(id) = id.and_then(AccessKeyId::read) {
            add(found, LeakedKey::AccessKey(AccessKey { id, has_secret: false }));
        }
    }
}

impl AccessKeyId {
    /// `None`: it is no such id.
    fn read(id: &str) -> Option<Self> {
        let is_id = secret::access_key_id_end(id.as_bytes(), 0) == Some(id.len());
        is_id.then(|| Self {
            id: id.to_owned(),
            is_temporary: id.starts_with("ASIA"),
            account: account_of_access_key(id),
        })
    }
}

/// The account in the id of an access key. Behind the prefix are 80 bits in Base32, and bits 1 to 40 are the account; the
/// first bit is set in ids that have one (Tal Be'ery, *A short note on AWS KEY ID*, 2023; Aidan Steele, *AWS Access Key ID
/// formats*, 2020). AWS's own answer is `aws sts get-access-key-info`.
fn account_of_access_key(id: &str) -> Option<AccountId> {
    let mut bits = 0_u64;
    for byte in id.bytes().skip(4).take(9) {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'2'..=b'7' => byte - b'2' + 26,
            _ => return None,
        };
        bits = bits << 5 | u64::from(digit);
    }
    // Nine digits are 45 bits: one that is set, the account, and four of what follows.
    let has_account = bits >> 44 == 1;
    let account = bits >> 4 & ((1 << 40) - 1);
    if has_account { format!("{account:012}").parse().ok() } else { None }
}
