//! Items out of one ledger and into another, as lines of JSON.
//!
//! A line has the fields of its item (`codec.rs`) without the keys of the table and its indexes. Budgets, sweeps and
//! heartbeats stay where they are.
//!
//! An import writes what is absent, and changes nothing that is there: a line of history has its place by its content, and
//! a state is written only if the key has none, and a count of attempts only if there is none of its day. Only dry runs replace older ones, and what is known of the use of a user's keys is merged.
//! A version of the policy that is newer than all of the ledger's own stays out: an import never changes which one is current. So importing twice, or overlapping
//! exports, changes nothing more.

mod export;
mod import;
mod item;

pub use export::TableScan;
pub use import::Imported;
pub use item::{PortableContent, PortableItem};
