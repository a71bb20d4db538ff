//! Which AWS account and region a command is about: the same flags for every command.

use std::sync::OnceLock;

use aws_config::{Region, SdkConfig};

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
pub async fn sdk_config() -> SdkConfig {
    let AwsOptions { profile, region } = SELECTED.get().cloned().unwrap_or_default();
    let mut loader = crate::aws::config_loader();
    if let Some(profile) = profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    loader.load().await
}
