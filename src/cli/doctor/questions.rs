//! Who asks, and about what.

use aws_config::SdkConfig;

use crate::doctor::Function;

/// Asks AWS.
pub(super) struct Questions<'a> {
    pub(super) sdk: &'a SdkConfig,
    /// The function as the operator named it: with an alias, if it has one.
    pub(super) name: &'a str,
    pub(super) function: Function,
}
