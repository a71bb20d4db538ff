//! What reading the ledger costs.

use std::ops::AddAssign;

/// What a question has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Calls of the store.
    pub calls: u64,
    /// Read capacity units, as DynamoDB says. A file costs none.
    pub units: f64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.units += other.units;
    }
}
