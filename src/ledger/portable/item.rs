//! An item that can leave its ledger, as a line of JSON.
//!
//! What a later version has added to an item leaves with it and comes in with it, whatever its kind and however deep it is:
//! [`UnknownFields`] are what an item has, and what this version would write of it has not.

use chrono::Datelike as _;
use serde_json::{Map, Value};

use crate::ledger::audit::count::{AttemptDays, CountedAttempts};
use crate::ledger::audit::{UnjudgedKey, UserChanged};
use crate::ledger::codec::{self, EncodeError, kind};
use crate::ledger::policy::{PolicyVersion, check_policy_text};
use crate::ledger::port::{Item, ItemKey};
use key_guard_core::Time;
use key_guard_core::key::KeyRef;
use key_guard_core::lifecycle::dry_run::DryRunState;
use key_guard_core::lifecycle::effect::LogEntry;
use key_guard_core::lifecycle::state::{KeyState, UnknownFields, Version};
use key_guard_core::text::{Invalid, redact, sanitize_line};
use key_guard_core::usage::{KnownUse, UsageCoverage};

/// The longest text that is taken from a line. No event's text is longer.
const LONGEST_TEXT: usize = 4_000;

/// The fields of a line that say which key it is of. In a table the primary key does.
const ACCOUNT: &str = "account";
const CREDENTIAL_ID: &str = "credential_id";

/// An item that can leave its ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortableItem {
    /// What this version knows of it.
    pub content: PortableContent,
    /// What a later version wrote besides.
    unknown_fields: UnknownFields,
}

/// What an item is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortableContent {
    /// A line of a key's history.
    Log(Box<LogEntry>),
    /// A key as it stands.
    State(KeyRef, Box<KeyState>),
    /// The latest dry run of a key.
    DryRun(DryRunState),
    /// Failed calls that are counted together.
    Attempts(Box<CountedAttempts>),
    /// A change of a user that a console created.
    UserChanged(Box<UserChanged>),
    /// A key that nobody judged.
    UnjudgedKey(Box<UnjudgedKey>),
    /// A version of the policy.
    Policy(Box<PolicyVersion>),
    /// What is known of the use of a user's keys.
    Use(Box<KnownUse>),
    /// What a run of `usage` covered.
    UsageCoverage(Box<UsageCoverage>),
}

impl From<PortableContent> for PortableItem {
    fn from(content: PortableContent) -> Self {
        Self { content, unknown_fields: UnknownFields::default() }
    }
}

impl PortableItem {
    /// Which key it is about.
    #[must_use]
    pub fn key(&self) -> Option<&KeyRef> {
        match &self.content {
            PortableContent::Log(entry) => Some(&entry.key),
            PortableContent::State(key, _) => Some(key),
            PortableContent::DryRun(dry_run) => Some(dry_run.key()),
            PortableContent::UnjudgedKey(unjudged) => Some(&unjudged.key),
            PortableContent::Attempts(_)
            | PortableContent::UserChanged(_)
            | PortableContent::Policy(_)
            | PortableContent::Use(_)
            | PortableContent::UsageCoverage(_) => None,
        }
    }

    /// The number of the version of the policy that it is.
    #[must_use]
    pub fn policy_number(&self) -> Option<u32> {
        let PortableContent::Policy(version) = &self.content else { return None };
        Some(version.number)
    }

    /// What is known of the use of a user's keys, if it is that.
    #[must_use]
    pub fn known_use(&self) -> Option<KnownUse> {
        let PortableContent::Use(known) = &self.content else { return None };
        let unknown_fields = known.unknown_fields.clone().merged(self.unknown_fields.clone());
        Some(KnownUse { unknown_fields, ..known.as_ref().clone() })
    }

    /// What a run of `usage` covered, if it is that.
    #[must_use]
    pub fn usage_coverage(&self) -> Option<UsageCoverage> {
        let PortableContent::UsageCoverage(coverage) = &self.content else { return None };
        let unknown_fields = coverage.unknown_fields.clone().merged(self.unknown_fields.clone());
        Some(UsageCoverage { unknown_fields, ..coverage.as_ref().clone() })
    }

    /// The same with another dry run of the key.
    pub(super) fn with_dry_run(&self, dry_run: DryRunState) -> Self {
        Self { content: PortableContent::DryRun(dry_run), ..self.clone() }
    }

    /// As a line of an export.
    ///
    /// # Errors
    /// Never in practice.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let mut item = self.encode(None).map_err(serde::ser::Error::custom)?;
        if let Some(KeyRef { account, id }) = self.key() {
            item.body.insert(ACCOUNT.to_owned(), account.as_str().into());
            item.body.insert(CREDENTIAL_ID.to_owned(), id.as_str().into());
        }
        serde_json::to_string(&item.body)
    }

    /// Reads a line of an export. Its texts are made fit to be stored, as those of events are.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn from_json(line: &str) -> Result<Self, String> {
        let mut fields: Value = serde_json::from_str(line).map_err(|error| without_place(&error))?;
        // The text of a policy stays as it is, or its SHA-256 would be another one.
        let policy = fields.get_mut(codec::TOML).map(Value::take);
        sanitize(&mut fields)?;
        let Value::Object(mut fields) = fields else { return Err("it is no object".to_owned()) };
        if let Some(Value::String(text)) = policy {
            check_policy_text(&text)?;
            fields.insert(codec::TOML.to_owned(), text.into());
        }
        fields.retain(|field, _| !is_field_of_table(field));
        // An item has a version of its own in each table. The place of an item follows from what it has.
        let mut item = Item { key: ItemKey::new("", ""), places: Vec::new(), version: Some(1), body: fields };
        let is_of_no_key = matches!(
            codec::read_kind(&item)?,
            kind::ATTEMPTS | kind::USER_CHANGED | kind::POLICY | kind::USE | kind::USAGE_COVERAGE
        );
        if !is_of_no_key {
            item.key = codec::place(&key_of(&item)?, "");
            item.body.remove(ACCOUNT);
            item.body.remove(CREDENTIAL_ID);
        }
        let read = Self::decode(item)?.ok_or("an export has no such item")?;
        read.content.check()?;
        Ok(read)
    }

    /// Reads an item. `None`: it stays where it is.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn decode(item: Item) -> Result<Option<Self>, String> {
        let stored = item.body.clone();
        let Some(mut content) = PortableContent::decode(item)? else { return Ok(None) };
        content.forget_unknown_fields();
        let known = content.encode(None).map_err(|error| error.to_string())?;
        let mut unknown = codec::fields_beyond(stored, &known.body);
        unknown.0.retain(|field, _| !is_field_of_table(field));
        sanitize_fields(&mut unknown.0)?;
        Ok(Some(Self { content, unknown_fields: unknown }))
    }

    /// Its item. `days`: how long a table keeps attempts.
    pub(in crate::ledger) fn encode(&self, days: Option<AttemptDays>) -> Result<Item, EncodeError> {
        let mut item = self.content.encode(days)?;
        codec::add_fields(&mut item.body, &self.unknown_fields);
        Ok(item)
    }

    /// The items of the former names of the key's user, which are written with it.
    pub(super) fn encode_former_names(&self) -> Vec<Item> {
        match &self.content {
            PortableContent::State(_, state) => {
                state.record().map(codec::encode_former_names).unwrap_or_default()
            }
            PortableContent::DryRun(dry_run) => {
                dry_run.assessed().map(codec::encode_dry_run_names).unwrap_or_default()
            }
            PortableContent::Log(_)
            | PortableContent::Attempts(_)
            | PortableContent::UserChanged(_)
            | PortableContent::UnjudgedKey(_)
            | PortableContent::Policy(_)
            | PortableContent::Use(_)
            | PortableContent::UsageCoverage(_) => Vec::new(),
        }
    }
}

impl PortableContent {
    fn decode(item: Item) -> Result<Option<Self>, String> {
        Ok(Some(match codec::read_kind(&item)? {
            kind::LOG => Self::Log(Box::new(codec::decode_log(item)?)),
            kind::RECORD | kind::TOMBSTONE | kind::UNCONFIRMED => {
                let (key, _) = codec::key_of(&item.key)?;
                Self::State(key, Box::new(codec::decode_state(item)?.state))
            }
            kind::DRY_RUN | kind::UNASSESSED_DRY_RUN => Self::DryRun(codec::decode_dry_run(item)?),
            kind::ATTEMPTS => Self::Attempts(Box::new(codec::decode_attempts(item)?.0)),
            kind::USER_CHANGED => Self::UserChanged(Box::new(codec::decode_user_change(item)?)),
            kind::UNJUDGED_KEY => Self::UnjudgedKey(Box::new(codec::decode_unjudged_key(item)?)),
            kind::POLICY => Self::Policy(Box::new(codec::decode_policy(item)?)),
            kind::USE => Self::Use(Box::new(codec::decode_use(item)?.0)),
            kind::USAGE_COVERAGE => Self::UsageCoverage(Box::new(codec::decode_coverage(item)?.0)),
            // Written with the state or the dry run that it is of.
            kind::FORMER_NAME => return Ok(None),
            other => return Err(codec::unexpected_kind(other)),
        }))
    }

    fn encode(&self, days: Option<AttemptDays>) -> Result<Item, EncodeError> {
        match self {
            Self::Log(entry) => codec::encode_log(entry),
            Self::State(key, state) => codec::encode_state(key, Version(1), state),
            Self::DryRun(dry_run) => codec::encode_dry_run(dry_run, Version(1)),
            Self::Attempts(attempts) => codec::encode_attempts(attempts, 1, days),
            Self::UserChanged(changed) => codec::encode_user_change(changed),
            Self::UnjudgedKey(unjudged) => codec::encode_unjudged_key(unjudged),
            Self::Policy(version) => codec::encode_policy(version),
            Self::Use(known) => codec::encode_use(known, 1),
            Self::UsageCoverage(coverage) => codec::encode_coverage(coverage, 1),
        }
    }

    /// What a table goes on with has unknown fields of its own. Here those of the item are enough.
    fn forget_unknown_fields(&mut self) {
        match self {
            Self::State(_, state) => {
                if let KeyState::Tracked(record) = state.as_mut() {
                    record.unknown_fields = UnknownFields::default();
                }
            }
            Self::Attempts(attempts) => attempts.unknown_fields = UnknownFields::default(),
            Self::Use(known) => known.unknown_fields = UnknownFields::default(),
            Self::UsageCoverage(coverage) => coverage.unknown_fields = UnknownFields::default(),
            Self::Log(_)
            | Self::DryRun(_)
            | Self::UserChanged(_)
            | Self::UnjudgedKey(_)
            | Self::Policy(_) => {}
        }
    }

    /// Checks what reading alone does not.
    fn check(&self) -> Result<(), String> {
        let policy = match self {
            Self::State(_, state) => state.record().map(|record| record.policy_sha256.as_str()),
            Self::DryRun(dry_run) => dry_run.assessed().map(|dry_run| dry_run.policy_sha256.as_str()),
            Self::Log(_)
            | Self::Attempts(_)
            | Self::UserChanged(_)
            | Self::UnjudgedKey(_)
            | Self::Policy(_)
            | Self::Use(_)
            | Self::UsageCoverage(_) => None,
        };
        let is_sha256 = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if policy.is_some_and(|policy| !is_sha256(policy)) {
            return Err("policy_sha256 is no SHA-256".to_owned());
        }
        Ok(())
    }
}

/// Which key a line is of.
fn key_of(item: &Item) -> Result<KeyRef, String> {
    let invalid = |error: Invalid| error.to_string();
    let needed = |field: &str| item.text(field).ok_or_else(|| format!("missing field `{field}`"));
    let (account, id) = (needed(ACCOUNT)?, needed(CREDENTIAL_ID)?);
    Ok(KeyRef { account: account.parse().map_err(invalid)?, id: id.parse().map_err(invalid)? })
}

/// True for what only a table has: the keys of an item, those of the indexes, a version, and when it may be deleted.
fn is_field_of_table(field: &str) -> bool {
    matches!(field, "pk" | "sk" | "version" | "due_at" | codec::TTL) || field.ends_with("_key")
}

/// A field that is not known here is kept, so its name must not be a text in which anything could be.
fn is_field_name(name: &str) -> bool {
    name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Nothing that is refused in an event comes in with an export: no secret, nothing that steers a terminal.
///
/// # Errors
/// When there is a time that does not sort as text among the others, or a name that no field has.
fn sanitize(value: &mut Value) -> Result<(), String> {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        Value::String(text) => {
            if text.parse::<Time>().is_ok_and(|time| !(1970..=9999).contains(&time.year())) {
                return Err("a time is before 1970 or after 9999".to_owned());
            }
            *text = sanitize_line(&redact(text)).chars().take(LONGEST_TEXT).collect();
            Ok(())
        }
        Value::Array(values) => values.iter_mut().try_for_each(sanitize),
        Value::Object(fields) => sanitize_fields(fields),
    }
}

fn sanitize_fields(fields: &mut Map<String, Value>) -> Result<(), String> {
    if fields.keys().any(|name| !is_field_name(name)) {
        return Err("a field's name has other characters than lowercase letters, digits and _".to_owned());
    }
    fields.values_mut().try_for_each(sanitize)
}

/// An error of `serde_json` without line and column: the file's reader names those.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text.get(..end).unwrap_or(&text).to_owned()
}
