//! The services that IAM makes service-specific credentials for. The list is open: AWS adds services.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::{Invalid, redact};

/// A service that IAM makes service-specific credentials for.
///
/// Five have API keys today, and two use the same API for passwords (IAM API reference,
/// `CreateServiceSpecificCredential`). AWS adds more, so every other service name is kept as [`Service::Other`].
/// Requests may name a service in any case; responses use the canonical lowercase name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Service {
    /// `bedrock.amazonaws.com`
    Bedrock,
    /// `aws-external-anthropic.amazonaws.com`: Claude Platform on AWS
    ClaudePlatform,
    /// `cloudwatch.amazonaws.com`
    CloudWatch,
    /// `logs.amazonaws.com`
    Logs,
    /// `xray.amazonaws.com`
    XRay,
    /// `codecommit.amazonaws.com`: passwords, never judged
    CodeCommit,
    /// `cassandra.amazonaws.com`: Amazon Keyspaces passwords, never judged
    Keyspaces,
    /// A service that this build does not know. It is taken to have API keys.
    Other(ServiceName),
}

/// The canonical name of a service that this build does not know. Only [`Service`]'s `FromStr` makes one, so it
/// never names a service that has a variant of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(String);

impl ServiceName {
    /// The name, in lowercase.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Service {
    /// Every service that this build knows.
    pub const KNOWN: [Self; 7] = [
        Self::Bedrock,
        Self::ClaudePlatform,
        Self::CloudWatch,
        Self::Logs,
        Self::XRay,
        Self::CodeCommit,
        Self::Keyspaces,
    ];

    /// The canonical name, as IAM's responses have it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Bedrock => "bedrock.amazonaws.com",
            Self::ClaudePlatform => "aws-external-anthropic.amazonaws.com",
            Self::CloudWatch => "cloudwatch.amazonaws.com",
            Self::Logs => "logs.amazonaws.com",
            Self::XRay => "xray.amazonaws.com",
            Self::CodeCommit => "codecommit.amazonaws.com",
            Self::Keyspaces => "cassandra.amazonaws.com",
            Self::Other(name) => name.as_str(),
        }
    }

    /// Whether its credentials are API keys, which a policy may judge, rather than passwords.
    #[must_use]
    pub const fn has_api_keys(&self) -> bool {
        match self {
            Self::Bedrock
            | Self::ClaudePlatform
            | Self::CloudWatch
            | Self::Logs
            | Self::XRay
            | Self::Other(_) => true,
            Self::CodeCommit | Self::Keyspaces => false,
        }
    }

    /// Whether IAM's lists show when its keys expire, so that a missing date means "never". `ExpirationDate` is
    /// documented for Bedrock and CloudWatch Logs only (IAM API reference, `ServiceSpecificCredentialMetadata`).
    #[must_use]
    pub const fn lists_expiration(&self) -> bool {
        match self {
            Self::Bedrock | Self::Logs => true,
            Self::ClaudePlatform
            | Self::CloudWatch
            | Self::XRay
            | Self::CodeCommit
            | Self::Keyspaces
            | Self::Other(_) => false,
        }
    }

    /// Whether this build knows the service.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        match self {
            Self::Bedrock
            | Self::ClaudePlatform
            | Self::CloudWatch
            | Self::Logs
            | Self::XRay
            | Self::CodeCommit
            | Self::Keyspaces => true,
            Self::Other(_) => false,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Service {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        const DOMAIN: &str = ".amazonaws.com";
        // DNS: at most 253 characters (RFC 1035).
        const LONGEST: usize = 253;
        let name = text.to_ascii_lowercase();
        if let Some(known) = Self::KNOWN.into_iter().find(|service| service.as_str() == name) {
            return Ok(known);
        }
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let is_host_name = name.len() <= LONGEST && name.split('.').all(is_label);
        // Lowercase hides a pasted secret from `redact`, so the text is checked as it came.
        if is_host_name && name.ends_with(DOMAIN) && redact(text) == text {
            Ok(Self::Other(ServiceName(name)))
        } else {
            Err(Invalid::text("the name of a service, which ends in .amazonaws.com", text))
        }
    }
}

impl TryFrom<String> for Service {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Service> for String {
    fn from(service: Service) -> Self {
        service.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_known_in_any_case() {
        assert_eq!("Bedrock.AmazonAWS.com".parse::<Service>(), Ok(Service::Bedrock));
        assert_eq!("XRAY.amazonaws.com".parse::<Service>(), Ok(Service::XRay));
    }

    #[test]
    fn a_service_that_aws_adds_later_is_a_service() {
        let service: Service = "Some-New.AmazonAWS.com".parse().unwrap();
        assert_eq!(service.as_str(), "some-new.amazonaws.com");
        assert!(service.has_api_keys() && !service.lists_expiration() && !service.is_known());
        assert_eq!(serde_json::to_string(&service).unwrap(), "\"some-new.amazonaws.com\"");
    }

    #[test]
    fn what_is_no_name_of_a_service_is_refused_and_not_repeated() {
        for text in [
            "",
            "s3",
            ".amazonaws.com",
            "a..amazonaws.com",
            "amazonaws.com",
            "s3.example.com",
            "a b.amazonaws.com",
        ] {
            let error = text.parse::<Service>().unwrap_err().to_string();
            assert!(text.is_empty() || !error.contains(&format!("\"{text}\"")), "{error}");
        }
        assert!("ABSKQmVkcm9ja0FQSUtleS1leGFtcGxl.amazonaws.com".parse::<Service>().is_err());
    }

    #[test]
    fn only_bedrock_and_logs_list_when_their_keys_expire() {
        let listed: Vec<_> = Service::KNOWN.into_iter().filter(Service::lists_expiration).collect();
        assert_eq!(listed, [Service::Bedrock, Service::Logs]);
        let passwords: Vec<_> =
            Service::KNOWN.into_iter().filter(|service| !service.has_api_keys()).collect();
        assert_eq!(passwords, [Service::CodeCommit, Service::Keyspaces]);
    }
}
