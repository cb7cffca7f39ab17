//! A set of shards, in two words as long as there are no more than 64 of them: there is one for each filter that is
//! registered at every shard.

use crate::ShardId;

/// A set of shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardSet(Words);

/// A bit for each shard, the lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Words {
    One(u64),
    More(Box<More>),
}

/// As many words as the highest shard has needed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct More(Vec<u64>);

impl Default for ShardSet {
    fn default() -> Self {
        Self(Words::One(0))
    }
}

impl ShardSet {
    /// Adds a shard. True: it was not in the set.
    pub fn insert(&mut self, shard: ShardId) -> bool {
        let (word, bit) = place(shard);
        if let Words::One(first) = self.0
            && word > 0
        {
            self.0 = Words::More(Box::new(More(vec![first])));
        }
        if let Words::More(more) = &mut self.0
            && more.0.len() <= word
        {
            more.0.resize(word + 1, 0);
        }
        let Some(bits) = self.words_mut().get_mut(word) else {
            return false;
        };
        let is_new = *bits & bit == 0;
        *bits |= bit;
        is_new
    }

    /// Removes a shard. True: it was in the set.
    pub fn remove(&mut self, shard: ShardId) -> bool {
        let (word, bit) = place(shard);
        let Some(bits) = self.words_mut().get_mut(word) else {
            return false;
        };
        let was_there = *bits & bit != 0;
        *bits &= !bit;
        was_there
    }

    /// Whether the shard is in the set.
    #[must_use]
    pub fn contains(&self, shard: ShardId) -> bool {
        let (word, bit) = place(shard);
        self.words().get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Whether no shard is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words().iter().all(|bits| *bits == 0)
    }

    fn words(&self) -> &[u64] {
        match &self.0 {
            Words::One(bits) => std::slice::from_ref(bits),
            Words::More(more) => &more.0,
        }
    }

    fn words_mut(&mut self) -> &mut [u64] {
        match &mut self.0 {
            Words::One(bits) => std::slice::from_mut(bits),
            Words::More(more) => &mut more.0,
        }
    }
}

fn place(shard: ShardId) -> (usize, u64) {
    (usize::from(shard.0 / 64), 1 << (shard.0 % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_new_once_and_gone_once() {
        let mut set = ShardSet::default();
        for shard in [0, 63, 64, 1_023].map(ShardId) {
            assert!(!set.contains(shard));
            assert!(set.insert(shard));
            assert!(!set.insert(shard));
            assert!(set.contains(shard));
        }
        assert!(!set.contains(ShardId(65)));
        assert!(!set.remove(ShardId(65)));
        assert!(!set.remove(ShardId(2_000)));
        for shard in [1_023, 0, 64, 63].map(ShardId) {
            assert!(!set.is_empty());
            assert!(set.remove(shard));
            assert!(!set.remove(shard));
        }
        assert!(set.is_empty());
    }

    #[test]
    fn up_to_64_shards_take_two_words() {
        assert_eq!(size_of::<ShardSet>(), 16);
    }
}
