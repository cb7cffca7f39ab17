//! Keyed hashing of what clients choose: topics, filters and client ids.

use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::fast::{FixedState, FoldHasher};

/// For maps whose keys proxies number themselves: nobody outside can choose them.
pub(crate) type NumberMap<K, V> = hashbrown::HashMap<K, V, FixedState>;

/// A hash function with a secret key.
#[derive(Debug, Clone)]
pub(crate) struct KeyedHash {
    shared: SharedSeed,
    seed: u64,
}

impl KeyedHash {
    /// The function of a random `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            shared: SharedSeed::from_u64(seed),
            seed: seed.rotate_left(32),
        }
    }

    pub(crate) fn of_bytes(&self, bytes: &[u8]) -> u64 {
        self.of_level(0, bytes)
    }

    /// Hash of a topic level below a node of the trie.
    pub(crate) fn of_level(&self, parent: u32, level: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed ^ u64::from(parent), &self.shared);
        hasher.write(level);
        hasher.finish()
    }
}
