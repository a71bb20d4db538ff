//! What a document is, and what is asked for beside the policy file.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum as _;

use key_guard_core::key::AccountId;
use key_guard_core::text::is_iam_name_byte;

/// Which AWS the ARNs are of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Partition {
    /// The commercial Regions.
    #[default]
    #[value(name = "aws", help = "the commercial Regions")]
    Aws,
    /// AWS `GovCloud` (US).
    #[value(name = "aws-us-gov", help = "GovCloud (US)")]
    AwsUsGov,
    /// The China Regions.
    #[value(name = "aws-cn", help = "China")]
    AwsCn,
    /// The AWS European Sovereign Cloud.
    #[value(name = "aws-eusc", help = "the European Sovereign Cloud")]
    AwsEusc,
}

impl Partition {
    /// As written in ARNs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::AwsUsGov => "aws-us-gov",
            Self::AwsCn => "aws-cn",
            Self::AwsEusc => "aws-eusc",
        }
    }
}

/// Who may create any key: the ARN of IAM roles or users, with `*` and `?` as IAM's `ArnNotLike` takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakGlass {
    arn: String,
    partition: Partition,
    pub(super) any_account: bool,
}

impl BreakGlass {
    /// The ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.arn
    }

    /// Which AWS it is of.
    #[must_use]
    pub const fn partition(&self) -> Partition {
        self.partition
    }
}

/// The ARN that `aws:PrincipalArn` has: of a session its role's, of the root user the account's
/// (IAM user guide, *AWS global condition context keys*).
impl FromStr for BreakGlass {
    type Err = &'static str;
    fn from_str(arn: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected the ARN of an IAM role or user, such as arn:aws:iam::111122223333:role/break-glass, with an account or * and a name in which * and ? are wildcards; for a session, the ARN of its role";
        let parts: Vec<&str> = arn.split(':').collect();
        let ["arn", partition, "iam", "", account, who] = parts.as_slice() else { return Err(EXPECTED) };
        let known = Partition::value_variants().iter().find(|known| known.as_str() == *partition);
        let partition = *known.ok_or(EXPECTED)?;
        let any_account = *account == "*";
        if !any_account && account.parse::<AccountId>().is_err() {
            return Err(EXPECTED);
        }
        let is_named = match who.split_once('/') {
            Some(("role" | "user", name)) => {
                name.bytes().all(|byte| is_iam_name_byte(byte) || b"/*?".contains(&byte))
                    && name.bytes().any(|byte| byte.is_ascii_alphanumeric())
                    && !name.ends_with('/')
            }
            Some(_) => false,
            None => *who == "root" && !any_account,
        };
        if is_named { Ok(Self { arn: arn.to_owned(), partition, any_account }) } else { Err(EXPECTED) }
    }
}

/// What is asked for beside the policy file.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Deny the use of long-term keys, too.
    pub deny_use: bool,
    /// Who is left out.
    pub break_glass: Vec<BreakGlass>,
    /// Which AWS the ARNs are of.
    pub partition: Partition,
    /// That no IAM user has a path, and the policy file names them in the case that IAM has.
    pub plain_users: bool,
}

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Attached to an organisation's root, to a unit or to an account.
    ServiceControlPolicy,
    /// Attached to a user or role.
    PermissionBoundary,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServiceControlPolicy => "service control policy",
            Self::PermissionBoundary => "permission boundary",
        })
    }
}
