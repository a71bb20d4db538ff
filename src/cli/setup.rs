//! What commands begin with: a runtime, a policy, a ledger, IAM.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use aws_config::SdkConfig;

use super::messages::{counted, shown};

use crate::aws::credentials::IamCredentials;
use crate::config::{Home, LEDGER_POLICY, RoleName, TableName, user_name};
use crate::ledger::error::LedgerError;
use crate::ledger::store::Ledger;
use crate::ledger::{Cost, Durability};
use key_guard_core::key::AccountId;
use key_guard_core::policy::Policy;
use key_guard_core::text::sanitize_line;

/// One thread waits for all that a command has asked for.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().context("could not start the async runtime")
}

/// Another thread sees to what arrives, while a file ledger computes on this one.
pub fn runtime_beside() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().context("could not start the async runtime")
}

/// A ledger to be read: one that is not there is not made.
pub async fn to_read(place: &LedgerPlace) -> anyhow::Result<Ledger> {
    Ok(match place {
        LedgerPlace::File(path) => Ledger::read_file(path)?,
        LedgerPlace::DynamoDb(table) => {
            let sdk = crate::cli::aws_options::sdk_config().await?;
            Ledger::dynamodb(aws_sdk_dynamodb::Client::new(&sdk), table.clone())
        }
    })
}

/// A ledger to be written: made at first use. With `apply`, keys may be changed, so each write is on the disk when it
/// returns.
pub async fn to_write(place: &LedgerPlace, apply: bool) -> anyhow::Result<Ledger> {
    Ok(match place {
        LedgerPlace::File(path) => {
            let durability = if apply { Durability::EveryWrite } else { Durability::Soon };
            Ledger::open_file(path, durability)?
        }
        LedgerPlace::DynamoDb(_) => to_read(place).await?,
    })
}

/// A ledger to be written that was read until now, with `apply`. A process has one handle of a file at a time.
pub async fn instead_of(reader: Ledger, place: &LedgerPlace) -> anyhow::Result<Ledger> {
    drop(reader);
    to_write(place, true).await
}

pub fn load_policy(path: Option<&Path>) -> anyhow::Result<Policy> {
    Ok(match path {
        None => Policy::built_in()?,
        Some(path) => crate::config::load_policy(path)?,
    })
}

/// Where a policy is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyPlace {
    File(PathBuf),
    /// The current version in the command's ledger.
    Ledger,
}

impl From<std::ffi::OsString> for PolicyPlace {
    fn from(text: std::ffi::OsString) -> Self {
        if text == LEDGER_POLICY { Self::Ledger } else { Self::File(text.into()) }
    }
}

impl PolicyPlace {
    /// The file, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Ledger => None,
        }
    }
}

/// The policy of a command that has a ledger.
pub async fn read_policy(place: Option<&PolicyPlace>, ledger: &LedgerPlace) -> anyhow::Result<Policy> {
    match place {
        None => load_policy(None),
        Some(PolicyPlace::File(path)) => load_policy(Some(path)),
        Some(PolicyPlace::Ledger) => Ok(to_read(ledger).await?.current_policy().await?.1),
    }
}

/// IAM, and the account of the caller's own identity.
pub async fn iam(responder_role: Option<RoleName>) -> anyhow::Result<(IamCredentials, AccountId)> {
    let sdk = crate::cli::aws_options::sdk_config().await?;
    let home = home(&sdk).await?;
    let account = home.account.clone();
    Ok((IamCredentials::new(sdk, home, responder_role), account))
}

/// Where the caller's own identity is.
pub async fn home(sdk: &SdkConfig) -> anyhow::Result<Home> {
    let arn = caller_arn(sdk).await?;
    arn.parse().map_err(anyhow::Error::msg).context("AWS STS returned no usable identity")
}

/// Who writes to a ledger: the ARN of the caller, or the name of the machine's user where it is a file.
pub async fn caller(place: &LedgerPlace) -> anyhow::Result<String> {
    match place {
        LedgerPlace::File(_) => Ok(sanitize_line(&user_name())),
        LedgerPlace::DynamoDb(_) => caller_arn(&crate::cli::aws_options::sdk_config().await?).await,
    }
}

async fn caller_arn(sdk: &SdkConfig) -> anyhow::Result<String> {
    let caller = aws_sdk_sts::Client::new(sdk).get_caller_identity().send().await;
    let caller = caller.context("could not ask AWS STS whose credentials these are")?;
    caller.arn.context("AWS STS returned no usable identity")
}

/// What the ledger said, where an error has come from there.
pub fn ledger_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a LedgerError> {
    find_cause(error)
}

/// The error of this type that an error is or has come from.
pub fn find_cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// What to do where there is no such table.
pub const OTHER_LEDGERS: &str = "note: a deployed ledger is dynamodb:bedrock-key-guard, in the account and region of the function: --profile \
                                 and --region say which. A ledger on this machine is file:PATH, such as --ledger file:key-guard.db";

/// A path without links, of a file that is there or may come there. `None`: its folder is not there.
pub fn without_links(path: &Path) -> Option<PathBuf> {
    if let Ok(found) = std::fs::canonicalize(path) {
        return Some(found);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(std::fs::canonicalize(folder).ok()?.join(path.file_name()?))
}

/// The variable that stands for `--ledger`.
pub const LEDGER_VARIABLE: &str = "KEY_GUARD_LEDGER";

/// The ledger that commands use unless another one is named.
pub const DEFAULT_LEDGER: &str = "file:key-guard.db";

/// Where keys are recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerPlace {
    File(PathBuf),
    DynamoDb(TableName),
}

impl LedgerPlace {
    /// The files that a ledger consists of, whether they are there or not, without links. SQLite keeps what is not in the
    /// database yet in files beside it.
    pub fn files(&self) -> Vec<PathBuf> {
        let Self::File(path) = self else { return Vec::new() };
        let Some(path) = without_links(path) else { return Vec::new() };
        let beside = |behind| {
            let mut file = path.clone().into_os_string();
            file.push(behind);
            PathBuf::from(file)
        };
        ["", "-wal", "-shm", "-journal"].map(beside).into()
    }

    /// True if a path leads to one of these files, or would, if something were written there.
    pub fn has_file(&self, path: &Path) -> bool {
        without_links(path).is_some_and(|path| self.files().contains(&path))
    }
}

impl LedgerPlace {
    /// False for a file that is not there.
    pub fn may_be_there(&self) -> bool {
        match self {
            Self::File(path) => path.exists(),
            Self::DynamoDb(_) => true,
        }
    }

    /// What reading it has cost, behind another sentence. A file costs nothing.
    pub fn describe_cost(&self, Cost { calls, units }: Cost) -> String {
        match self {
            Self::File(_) => String::new(),
            Self::DynamoDb(_) => {
                let calls = counted(calls, "call", "calls");
                format!("; {calls}, {units} read units")
            }
        }
    }
}

impl fmt::Display for LedgerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", shown(path)),
            Self::DynamoDb(table) => write!(f, "dynamodb:{}", String::from(table.clone())),
        }
    }
}

impl FromStr for LedgerPlace {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("dynamodb", table)) => match table.parse() {
                Ok(table) => Ok(Self::DynamoDb(table)),
                Err(expected) => Err(expected.to_owned()),
            },
            _ => Err("expected file:PATH, or dynamodb:TABLE such as dynamodb:bedrock-key-guard".to_owned()),
        }
    }
}
