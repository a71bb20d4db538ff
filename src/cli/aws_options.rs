//! Which AWS account and region a command is about: the same flags for every command.

use std::error::Error;
use std::sync::OnceLock;

use anyhow::bail;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;

use super::setup::find_cause;
use key_guard_core::words::remediation::argument;

/// With which credentials AWS is called, and where.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "AWS (where it is called)")]
pub struct AwsOptions {
    /// The profile of the AWS configuration files to take [default: `AWS_PROFILE`, or `default`]
    #[arg(long, global = true, value_name = "NAME")]
    profile: Option<String>,

    /// The region to call, such as us-east-1 [default: `AWS_REGION`, or that of the profile]
    #[arg(long, global = true, value_name = "REGION")]
    region: Option<String>,
}

/// Those of this process. They are read where the environment would be.
static SELECTED: OnceLock<AwsOptions> = OnceLock::new();

impl AwsOptions {
    /// Makes them those of this process. The first ones stay.
    pub fn select(self) {
        // There is one command to a process.
        let _ = SELECTED.set(self);
    }
}

/// Region, credentials and endpoints as the flags say, and else as the AWS SDK's own variables and files do.
///
/// # Errors
/// When there is no region.
pub async fn sdk_config() -> anyhow::Result<SdkConfig> {
    let sdk = load().await;
    match (sdk.region(), named_profile()) {
        (Some(_), _) => Ok(sdk),
        (None, None) => bail!("{NO_REGION}"),
        (None, Some((profile, by))) => {
            bail!("{NO_REGION}; the profile {profile} ({by}) has none, or is not there")
        }
    }
}

const NO_REGION: &str =
    "no region: set AWS_REGION or --region, or name a profile that has one with --profile or AWS_PROFILE";

/// The same for a caller that may know the region.
pub async fn load() -> SdkConfig {
    let AwsOptions { profile, region } = SELECTED.get().cloned().unwrap_or_default();
    let mut loader = crate::aws::config_loader();
    if let Some(profile) = &profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    let sdk = loader.load().await;
    match profile {
        None => sdk,
        Some(profile) => with_profile(&sdk, profile),
    }
}

/// With the credentials of a profile alone. The SDK would prefer those of variables such as `AWS_ACCESS_KEY_ID`, which are
/// perhaps those of another account; the AWS CLI does not either, where the profile is named as an option.
fn with_profile(sdk: &SdkConfig, profile: String) -> SdkConfig {
    let mut config = ProviderConfig::without_region().with_region(sdk.region().cloned());
    if let Some(http) = sdk.http_client() {
        config = config.with_http_client(http);
    }
    let provider = ProfileFileCredentialsProvider::builder().profile_name(profile).configure(&config).build();
    sdk.to_builder().credentials_provider(SharedCredentialsProvider::new(provider)).build()
}

/// What to do where AWS could not be called for want of credentials. `None`: the error has another cause.
pub fn credentials_advice(error: &(dyn Error + 'static)) -> Option<String> {
    let _: &CredentialsError = find_cause(error)?;
    Some(match named_profile() {
        None => "no usable AWS credentials: log in with `aws sso login --profile NAME`, and name the profile with --profile or \
                 AWS_PROFILE (`aws configure list-profiles` lists them)"
            .to_owned(),
        Some((profile, by)) => format!(
            "the AWS profile {profile} ({by}) has no usable credentials: log in with `aws sso login {}`, or name another one with \
             --profile or AWS_PROFILE (`aws configure list-profiles` lists them)",
            argument("--profile", &profile)
        ),
    })
}

/// The profile that is named, and by what.
fn named_profile() -> Option<(String, &'static str)> {
    let by_flag = SELECTED.get().and_then(|selected| selected.profile.clone());
    by_flag.map(|profile| (profile, "--profile")).or_else(|| {
        let (_, profile) = std::env::vars_os().find(|(name, _)| name == "AWS_PROFILE")?;
        Some((profile.to_string_lossy().into_owned(), "AWS_PROFILE"))
    })
}
