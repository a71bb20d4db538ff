//! `sweep --from`: keys of saved answers of IAM, as `aws iam list-service-specific-credentials` prints them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;
use key_guard_core::cloudtrail::read_date;
use key_guard_core::key::{AccountId, CredentialId, KeyRef, KeyStatus};
use key_guard_core::lifecycle::input::ListedKey;
use key_guard_core::text::redact;
use serde_json::{Map, Value};

use crate::cli::input::{Input, Inputs, Kind, PassedOver};
use crate::cli::messages::shown;

/// How often a file may be packed with gzip.
const MAX_LAYERS: usize = 4;

/// The largest file that is read, in bytes, unpacked: a list of more keys than any account has users.
const LARGEST_FILE: u64 = 64 << 20;

/// What holds the secret of a key in the responses that have one (IAM API reference, `ServiceSpecificCredential`; the last
/// one is the name in Amazon's examples).
const SECRET_FIELDS: [&str; 3] = ["ServicePassword", "ServiceCredentialSecret", "ServiceApiKeyValue"];

const HAS_SECRET: &str = "it is the response of create-service-specific-credential or reset-service-specific-credential, \
                          which has the secret of a key, and no list: keep it out of files, and save what \
                          `aws iam list-service-specific-credentials --all-users` prints";
const NO_LIST: &str =
    "it is no list of keys: save what `aws iam list-service-specific-credentials --all-users` prints";
const SAVE_JSON: &str =
    ": save the list as `aws iam list-service-specific-credentials --all-users --output json` prints it";
const ARCHIVE: &str = "it is a zip or tar archive, which is not read here: unpack it, and give the directory";
const EVENTS: &str = "it has events, and no list of keys: `bedrock-key-guard replay` judges events";

/// What was read.
#[derive(Debug, Default)]
pub struct SavedLists {
    /// Each key once, in the order of the files. Of one that is there more than once, as the last entry says where it is active;
    /// where it is active in none, as the last one.
    pub keys: Vec<ListedKey>,
    /// Keys that entries differ about, and which entry counts.
    pub contradictions: Vec<String>,
    /// True if there was a list, which may be empty.
    pub has_list: bool,
    /// What could not be read, and where.
    pub problems: Vec<String>,
    /// Files in directories that are no JSON.
    pub passed_over: PassedOver,
    positions: HashMap<KeyRef, usize>,
    pages: Vec<Page>,
}

/// A page of a list.
#[derive(Debug)]
struct Page {
    place: String,
    accounts: BTreeSet<AccountId>,
    is_truncated: bool,
}

impl SavedLists {
    /// Reads files, the files of directories, or standard input for `-`, each also packed with gzip. What cannot be read stops
    /// nothing else. `ledger`: files that are none of the lists. `account` is that of keys whose entry names none.
    pub fn read(paths: &[PathBuf], ledger: &[PathBuf], account: Option<&AccountId>) -> Self {
        let mut lists = Self::default();
        for path in paths {
            // One by one: a path that is missing is an error of all that are gathered.
            match Inputs::gather(std::slice::from_ref(path)) {
                Ok(mut inputs) => {
                    inputs.pass_over(ledger);
                    inputs.inputs.iter().for_each(|input| lists.read_input(input, account));
                }
                Err(error) => lists.problems.push(error.to_string()),
            }
        }
        lists.name_cut_off_pages();
        lists
    }

    fn read_input(&mut self, input: &Input, account: Option<&AccountId>) {
        let (name, opened, is_found) = match input {
            Input::Stdin => {
                ("(standard input)".to_owned(), Ok(Box::new(io::stdin().lock()) as Box<dyn Read>), false)
            }
            Input::File { path, directory, size } => {
                let opened = File::open(path).map(|file| Box::new(file) as Box<dyn Read>);
                if *size > LARGEST_FILE {
                    return self.problems.push(format!("{}: {}", shown(path), UnreadableFile::TooLarge));
                }
                (shown(path), opened, directory.is_some())
            }
            Input::Unlistable { message } => return self.problems.push(message.clone()),
            // Nobody has gathered one.
            Input::History { .. } => return,
        };
        let content = match opened {
            Err(error) => Err(UnreadableFile::Opening(error)),
            Ok(reader) => read_content(reader),
        };
        match content {
            Ok(text) if !text.trim_start().starts_with(['{', '[']) && names_keys(text.as_bytes()) => {
                self.problems.push(format!("{name}: {}", UnreadableFile::OtherForm));
            }
            Ok(text) if is_found && text.trim_ascii().is_empty() => self.passed_over.add(Kind::Empty),
            Ok(text) if is_found && !text.trim_start().starts_with(['{', '[']) => {
                self.passed_over.add(Kind::OtherText);
            }
            Ok(text) => self.values(&name, &text, account),
            Err(UnreadableFile::NoText) if is_found => self.passed_over.add(Kind::OtherFile),
            Err(why) => self.problems.push(format!("{name}: {why}")),
        }
    }

    fn values(&mut self, name: &str, text: &str, account: Option<&AccountId>) {
        let mut number = 0_usize;
        for value in serde_json::Deserializer::from_str(text).into_iter() {
            number += 1;
            let place = format!("{name}: value {number}");
            match value {
                Ok(value) => self.take(value, &place, account),
                // Without what is there: that could be a secret.
                Err(error) => {
                    let (line, column) = (error.line(), error.column());
                    let hint = if names_keys(text.as_bytes()) { SAVE_JSON } else { "" };
                    self.problems
                        .push(format!("{place}: it is not JSON: line {line}, column {column}{hint}"));
                }
            }
        }
        if number == 0 {
            self.problems.push(format!("{name}: it is empty"));
        }
    }

    fn take(&mut self, value: Value, place: &str, account: Option<&AccountId>) {
        let mut object = match value {
            Value::Array(values) => {
                for (index, value) in values.into_iter().enumerate() {
                    self.take(value, &format!("{place}.{}", index + 1), account);
                }
                return;
            }
            Value::Object(object) => object,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                self.problems.push(format!("{place}: {NO_LIST}"));
                return;
            }
        };
        if let Some(Value::Array(entries)) = object.get_mut("ServiceSpecificCredentials").map(Value::take) {
            self.page(&object, entries, place, account);
        } else if has_secret(&object) {
            self.problems.push(format!("{place}: {HAS_SECRET}"));
        } else if object.contains_key("ServiceSpecificCredentialId") {
            // An entry without its list, as `--query 'ServiceSpecificCredentials[]'` prints it.
            self.entry(&object, place, account);
        } else if ["Records", "Events", "eventName", "detail"].iter().any(|field| object.contains_key(*field))
        {
            self.problems.push(format!("{place}: {EVENTS}"));
        } else {
            self.problems.push(format!("{place}: {NO_LIST}"));
        }
    }

    fn page(
        &mut self,
        page: &Map<String, Value>,
        entries: Vec<Value>,
        place: &str,
        account: Option<&AccountId>,
    ) {
        self.has_list = true;
        let mut accounts = BTreeSet::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let place = format!("{place}: key {}", index + 1);
            if let Value::Object(entry) = entry {
                accounts.extend(self.entry(&entry, &place, account));
            } else {
                self.problems.push(format!("{place}: it is no object"));
            }
        }
        // The AWS CLI writes a NextToken where it was told to stop early (AWS CLI user guide, *Pagination*).
        let is_truncated = page.get("IsTruncated") == Some(&Value::Bool(true))
            || page.get("NextToken").is_some_and(Value::is_string);
        self.pages.push(Page { place: place.to_owned(), accounts, is_truncated });
    }

    /// Takes an entry of a list. Returns its account.
    fn entry(
        &mut self,
        entry: &Map<String, Value>,
        place: &str,
        account: Option<&AccountId>,
    ) -> Option<AccountId> {
        self.has_list = true;
        let listed = match read_entry(entry, account) {
            Ok(listed) => listed,
            Err(why) => {
                let id = field::<CredentialId>(entry, "ServiceSpecificCredentialId");
                let id = id.map(|id| format!(" ({id})")).unwrap_or_default();
                self.problems.push(format!("{place}{id}: {why}"));
                return None;
            }
        };
        let account = listed.key.account.clone();
        match self.positions.entry(listed.key.clone()) {
            Entry::Occupied(position) => {
                if let Some(earlier) = self.keys.get_mut(*position.get()) {
                    self.contradictions.extend(contradiction(earlier, &listed, place));
                    if listed.status == KeyStatus::Active || earlier.status != KeyStatus::Active {
                        *earlier = listed;
                    }
                }
            }
            Entry::Vacant(position) => {
                position.insert(self.keys.len());
                self.keys.push(listed);
            }
        }
        Some(account)
    }

    /// Names the pages whose next page is not here. A page continues the one before if both have keys of one account.
    fn name_cut_off_pages(&mut self) {
        let mut pages = self.pages.iter().peekable();
        while let Some(page) = pages.next() {
            let is_continued = pages.peek().is_some_and(|next| !page.accounts.is_disjoint(&next.accounts));
            if page.is_truncated && !is_continued {
                self.problems.push(format!(
                    "{}: the list is cut off (IsTruncated or NextToken), and its next page does not follow: keys are missing",
                    page.place
                ));
            }
        }
    }
}

/// What an entry says otherwise than an earlier one of the same key.
fn contradiction(earlier: &ListedKey, later: &ListedKey, place: &str) -> Option<String> {
    let key = &later.key;
    let is_active = |listed: &ListedKey| listed.status == KeyStatus::Active;
    if is_active(earlier) == is_active(later) {
        (earlier != later)
            .then(|| format!("{place}: an earlier entry of {key} says something else: this one counts"))
    } else {
        Some(format!(
            "{place}: {key} is active in one entry and not in another: it is judged as active. Save the list again"
        ))
    }
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
enum UnreadableFile {
    #[error("could not be opened: {0}")]
    Opening(io::Error),
    #[error("could not be read: {0}")]
    Reading(io::Error),
    #[error("it is larger than 64 MiB, more than any list of keys")]
    TooLarge,
    #[error("it is packed more than {MAX_LAYERS} times: unpack it")]
    TooDeep,
    #[error("{ARCHIVE}")]
    Archive,
    #[error("it is compressed, and not with gzip, which is not read: unpack it")]
    Compressed,
    #[error("it names keys and is no JSON{SAVE_JSON}")]
    OtherForm,
    #[error("it is no text in UTF-8 or UTF-16")]
    NoText,
}

/// The text in a file, unpacked.
fn read_content(reader: impl Read) -> Result<String, UnreadableFile> {
    let mut bytes = read_whole(reader)?;
    let mut layers = 0;
    while bytes.starts_with(b"\x1f\x8b") {
        layers += 1;
        if layers > MAX_LAYERS {
            return Err(UnreadableFile::TooDeep);
        }
        bytes = read_whole(MultiGzDecoder::new(bytes.as_slice()))?;
    }
    // A tar archive says so in its first header (POSIX, pax, ustar Interchange Format).
    if bytes.starts_with(b"PK\x03\x04") || bytes.get(257..262) == Some(b"ustar") {
        return Err(UnreadableFile::Archive);
    }
    if COMPRESSED.iter().any(|begin| bytes.starts_with(begin)) {
        return Err(UnreadableFile::Compressed);
    }
    let names_keys = names_keys(&bytes);
    decode(bytes).ok_or(if names_keys { UnreadableFile::OtherForm } else { UnreadableFile::NoText })
}

/// How zstd, bzip2, xz, lz4, 7z and RAR begin.
const COMPRESSED: [&[u8]; 6] =
    [b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\0", b"\x04\x22\x4d\x18", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07"];

/// True for bytes with the id of a key or the name of a list of keys.
fn names_keys(bytes: &[u8]) -> bool {
    ["ACCA", "ServiceSpecificCredential"]
        .iter()
        .any(|name| memchr::memmem::find(bytes, name.as_bytes()).is_some())
}

fn read_whole(reader: impl Read) -> Result<Vec<u8>, UnreadableFile> {
    let mut bytes = Vec::new();
    let read = reader.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(UnreadableFile::Reading)?;
    if read as u64 > LARGEST_FILE { Err(UnreadableFile::TooLarge) } else { Ok(bytes) }
}

/// UTF-8, or UTF-16 with a byte order mark, as PowerShell writes it.
fn decode(bytes: Vec<u8>) -> Option<String> {
    let units = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<_> = bytes.as_chunks().0.iter().copied().map(unit).collect();
        String::from_utf16(&units).ok()
    };
    match bytes.as_slice() {
        [0xff, 0xfe, text @ ..] => units(text, u16::from_le_bytes),
        [0xfe, 0xff, text @ ..] => units(text, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, text @ ..] => String::from_utf8(text.to_vec()).ok(),
        _ => String::from_utf8(bytes).ok(),
    }
}

fn has_secret(object: &Map<String, Value>) -> bool {
    object.contains_key("ServiceSpecificCredential")
        || SECRET_FIELDS.iter().any(|field| object.contains_key(*field))
}

/// Why an entry cannot be read. Without its values: they could be secrets.
#[derive(Debug, thiserror::Error)]
enum UnreadableEntry {
    #[error("{HAS_SECRET}")]
    HasSecret,
    #[error("{0} is missing, or is not what IAM writes there")]
    Field(&'static str),
    #[error(
        "neither its ServiceCredentialAlias nor its ServiceUserName names an account: name it with --accounts"
    )]
    NoAccount,
}

fn read_entry(
    entry: &Map<String, Value>,
    default_account: Option<&AccountId>,
) -> Result<ListedKey, UnreadableEntry> {
    fn required<T: std::str::FromStr>(
        entry: &Map<String, Value>,
        name: &'static str,
    ) -> Result<T, UnreadableEntry> {
        field(entry, name).ok_or(UnreadableEntry::Field(name))
    }
    let time = |name| entry.get(name).and_then(read_date).ok_or(UnreadableEntry::Field(name));
    if has_secret(entry) {
        return Err(UnreadableEntry::HasSecret);
    }
    let id = required(entry, "ServiceSpecificCredentialId")?;
    let aliases = ["ServiceCredentialAlias", "ServiceUserName"].iter().filter_map(|name| entry.get(*name));
    let account = aliases.into_iter().find_map(account_of).or_else(|| default_account.cloned());
    let account = account.ok_or(UnreadableEntry::NoAccount)?;
    Ok(ListedKey {
        key: KeyRef { account, id },
        user: required(entry, "UserName")?,
        service: required(entry, "ServiceName")?,
        created_at: time("CreateDate")?,
        expires_at: match entry.get("ExpirationDate") {
            None | Some(Value::Null) => None,
            Some(_) => Some(time("ExpirationDate")?),
        },
        status: match entry.get("Status").and_then(Value::as_str) {
            Some("Active") => KeyStatus::Active,
            Some("Inactive") => KeyStatus::Inactive,
            Some("Expired") => KeyStatus::Expired,
            _ => return Err(UnreadableEntry::Field("Status")),
        },
    })
}

/// A text that could be a secret is none of the fields that are stored and printed: IAM allows user names that look like one.
fn field<T: std::str::FromStr>(entry: &Map<String, Value>, name: &str) -> Option<T> {
    let text = entry.get(name)?.as_str()?;
    (redact(text) == text).then(|| text.parse().ok())?
}

/// The account in `<user>-at-<account>` or `<user>+1-at-<account>` (IAM API reference, `ServiceSpecificCredentialMetadata`). A
/// user name may have `-at-` in it.
fn account_of(alias: &Value) -> Option<AccountId> {
    alias.as_str()?.rsplit_once("-at-")?.1.parse().ok()
}
