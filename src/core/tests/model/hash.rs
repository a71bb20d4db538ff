//! A fast hash, and values that keep theirs.

use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

/// A value that many states share, with its hash.
#[derive(Debug, Clone)]
pub struct Shared<T> {
    value: Rc<T>,
    hash: u64,
}

impl<T: Hash> Shared<T> {
    pub fn new(value: T) -> Self {
        let hash = fingerprint(&value);
        Self { value: Rc::new(value), hash }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.hash);
    }
}

/// 64 bits of a value. Two states with the same are taken for one: among a million states that happens once in 30
/// million searches.
pub fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = Fingerprint(0x9e37_79b9_7f4a_7c15);
    value.hash(&mut hasher);
    hasher.finish()
}

/// A fast hash of many short fields.
struct Fingerprint(u64);

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        let mut x = self.0;
        x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        x ^ (x >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are mixed")]
        let mixed = (product as u64) ^ ((product >> 64) as u64);
        self.0 = mixed.rotate_left(23) ^ word.wrapping_mul(0xa076_1d64_78bd_642f);
    }
}
