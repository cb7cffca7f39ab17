//! Which shards have confirmed something.

use freshet_storage_contract::ShardId;

/// A set of shards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ShardSet(Vec<u64>);

impl ShardSet {
    /// Returns whether the shard was not in the set.
    pub(crate) fn insert(&mut self, shard: ShardId) -> bool {
        let (word, bit) = (usize::from(shard.0 / 64), 1_u64 << (shard.0 % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let Some(bits) = self.0.get_mut(word) else { return false };
        let is_new = *bits & bit == 0;
        *bits |= bit;
        is_new
    }

    pub(crate) fn contains(&self, shard: ShardId) -> bool {
        let bits = self.0.get(usize::from(shard.0 / 64)).copied().unwrap_or(0);
        bits & 1 << (shard.0 % 64) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_new_once() {
        let mut set = ShardSet::default();
        for shard in [0, 63, 64, 1_023] {
            assert!(!set.contains(ShardId(shard)));
            assert!(set.insert(ShardId(shard)));
            assert!(!set.insert(ShardId(shard)));
            assert!(set.contains(ShardId(shard)));
        }
        assert!(!set.contains(ShardId(65)));
    }
}
