//! Policies that commands name: a file, a version in the ledger, or the built-in policy.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli::messages::shown;
use crate::config::{LEDGER_POLICY, PolicyFileError, read_policy_file};
use crate::ledger::store::Ledger;
use key_guard_core::policy::{BUILT_IN, Policy};

/// What the built-in policy is called as an argument.
const BUILT_IN_NAME: &str = "built-in";

/// A policy as an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyArgument {
    /// `built-in`
    BuiltIn,
    /// A number: this version in the ledger.
    Version(u32),
    /// `ledger:`: the current version in the ledger.
    Current,
    /// Anything else.
    File(PathBuf),
}

impl From<OsString> for PolicyArgument {
    fn from(text: OsString) -> Self {
        let number = text.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        match number.and_then(|number| number.parse().ok()) {
            Some(number) => Self::Version(number),
            None if text == LEDGER_POLICY => Self::Current,
            None if text == BUILT_IN_NAME => Self::BuiltIn,
            None => Self::File(text.into()),
        }
    }
}

/// A policy with its text.
#[derive(Debug)]
pub struct Loaded {
    /// What it is called.
    pub name: String,
    pub text: String,
    pub policy: Policy,
}

/// Reads a policy file.
///
/// # Errors
/// When it cannot be read, or is not valid.
pub fn read_file(path: &Path) -> Result<Loaded, PolicyFileError> {
    let text = read_policy_file(path)?;
    let policy = Policy::parse(&text, path)?;
    Ok(Loaded { name: shown(path), text, policy })
}

impl PolicyArgument {
    /// Whether it is in a ledger.
    pub const fn needs_ledger(&self) -> bool {
        match self {
            Self::Version(_) | Self::Current => true,
            Self::BuiltIn | Self::File(_) => false,
        }
    }

    /// Reads it. Versions are read from `store`.
    ///
    /// # Errors
    /// When it cannot be read, or is not valid.
    pub async fn load(&self, store: Option<&Ledger>) -> anyhow::Result<Loaded> {
        let ledger = || store.context("versions of the policy are in a ledger: name it with --ledger");
        let version = match self {
            Self::File(path) => return Ok(read_file(path)?),
            Self::BuiltIn => {
                let (name, text) = ("(built-in policy)".to_owned(), BUILT_IN.to_owned());
                return Ok(Loaded { name, text, policy: Policy::built_in()? });
            }
            Self::Current => ledger()?.current_policy().await?.0,
            Self::Version(number) => {
                let version = ledger()?.policy_version(*number).await?;
                version.with_context(|| {
                    format!(
                        "the ledger has no version {number} of the policy: see `policy log` (a file with this name is \
                         ./{number})"
                    )
                })?
            }
        };
        let policy = version.policy()?;
        Ok(Loaded { name: format!("(policy version {})", version.number), text: version.text, policy })
    }
}

#[cfg(test)]
mod tests {
    use super::PolicyArgument;

    #[test]
    fn an_argument_is_a_version_or_a_file() {
        for (text, expected) in [
            ("3", PolicyArgument::Version(3)),
            ("ledger:", PolicyArgument::Current),
            ("built-in", PolicyArgument::BuiltIn),
            ("./3", PolicyArgument::File("./3".into())),
            ("99999999999", PolicyArgument::File("99999999999".into())),
            ("", PolicyArgument::File("".into())),
        ] {
            assert_eq!(PolicyArgument::from(std::ffi::OsString::from(text)), expected, "{text}");
        }
    }
}
