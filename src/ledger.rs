//! The record of keys: in DynamoDB in production, in a SQLite file on a laptop, and in memory in tests.
//!
//! | | |
//! | --- | --- |
//! | `port` | what the ledger needs of a store of items |
//! | `table` | the stores behind it |
//! | `dynamodb`, `sqlite` | the stores |
//! | `codec` | the items, and where the indexes have them |
//! | [`store`] | keys: read, written under a condition, listed |
//! | [`policy`] | versions of the policy |
//! | [`audit`] | history, and what happened that changed no key |
//! | [`query`] | what people ask |
//! | [`view`] | a key as commands show it |
//! | [`portable`] | what is exported and imported |
//! | [`usage`] | what is known of the use of users' keys |
//!
//! # Hot partitions
//!
//! DynamoDB takes 1,000 write units a second for one partition (DynamoDB developer guide, *Burst and adaptive
//! capacity*). A write of a state or of a line of history is a transaction, which costs two units for each KB: two to
//! four. An entry of an index costs one, and two where it moves. 10,000 keys a minute are 167 a second; each is stored, and
//! at worst has an intent and an outcome, which are three writes. Two entries move, once each: that of `by_account` and that
//! of `by_due`:
//!
//! | | partitions | units a second in each |
//! | --- | --- | --- |
//! | `KEY#…` | one a key | 24 in all |
//! | `by_month` | 4 | 42 |
//! | `by_account`, all keys in one account | 4 | 125 |
//! | `by_due`, all keys noncompliant | 4 | 125 |
//! | `by_actor`, one caller makes them all | 1 | 167 |
//! | `by_role`, one role makes them all | 1 | 167 |
//! | `by_user`, two keys a user (IAM's limit) | one a name | 2 |
//!
//! Failed calls of one actor are counted in one item, which is read and written for each of them. Writers that meet there
//! retry.

pub mod audit;
mod codec;
mod cost;
mod dynamodb;
pub mod error;
mod item;
pub mod policy;
mod port;
#[cfg(feature = "cli")]
pub mod portable;
#[cfg(feature = "cli")]
pub mod query;
#[cfg(feature = "cli")]
mod sqlite;
pub mod store;
mod table;
#[cfg(feature = "cli")]
pub mod usage;
#[cfg(feature = "cli")]
pub mod view;

pub use self::codec::SCHEMA_VERSION;
#[cfg(feature = "cli")]
pub use self::cost::Cost;
#[cfg(feature = "cli")]
pub use self::dynamodb::table_definition;
pub use self::item::permission_set;
pub use self::port::{INDEXES, Index};
#[cfg(feature = "cli")]
pub use self::sqlite::Durability;
