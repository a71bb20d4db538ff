//! Pages of keys, from IAM's lists and from the ledger.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::key::Service;
use crate::policy::Services;

/// Which services' keys a list has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceFilter {
    /// Every service's: the request names none.
    All,
    /// One service's.
    Only(Service),
}

impl ServiceFilter {
    /// The lists that have the keys of `services`.
    pub(super) fn of(services: &Services) -> Vec<Self> {
        match services {
            Services::All => vec![Self::All],
            Services::Listed(services) => {
                let mut filters: Vec<_> = services.iter().cloned().map(Self::Only).collect();
                filters.sort();
                filters.dedup();
                filters
            }
        }
    }

    pub(super) fn includes(&self, service: &Service) -> bool {
        match self {
            Self::All => true,
            Self::Only(only) => only == service,
        }
    }
}

impl fmt::Display for ServiceFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("every service"),
            Self::Only(service) => service.fmt(f),
        }
    }
}

/// Where a page begins: IAM's `Marker`, or the ledger's own text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyCursor(pub String);

/// A page of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPage<T> {
    /// Its keys.
    pub keys: Vec<T>,
    /// How many more could not be read.
    pub unreadable: u64,
    /// Where the next page begins. `None`: this is the last one.
    pub next: Option<KeyCursor>,
}
