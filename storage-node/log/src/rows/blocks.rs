//! Blocks that were read and are kept for the next who want them.
//!
//! Over its bound one that chance picks makes room. Readers that come back together go through what is stored in its order,
//! again and again: when that is more than the bound, whatever was used longest ago is what will be wanted soonest, and to
//! let that go would keep nothing that is of use.

use std::{collections::HashMap, sync::Arc};

use super::block::IndexedBlock;

/// The file of a block, and its offset there.
pub(super) type BlockPlace = (u64, u64);

/// See the module.
#[derive(Debug)]
pub(super) struct BlockCache {
    blocks: Vec<(BlockPlace, Arc<IndexedBlock>)>,
    /// Where each is in `blocks`.
    places: HashMap<BlockPlace, usize>,
    bytes: usize,
    bound_bytes: usize,
    /// State of the generator that picks who goes (splitmix64).
    random: u64,
}

impl BlockCache {
    pub(super) fn new(bound_bytes: usize) -> Self {
        Self {
            blocks: Vec::new(),
            places: HashMap::new(),
            bytes: 0,
            bound_bytes,
            random: 0,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, place: BlockPlace) -> Option<Arc<IndexedBlock>> {
        let (_, block) = self.blocks.get(*self.places.get(&place)?)?;
        Some(block.clone())
    }

    /// Keeps a block that [`Self::get`] did not find.
    pub(super) fn put(&mut self, place: BlockPlace, block: Arc<IndexedBlock>) {
        let bytes = block.memory_bytes();
        while self.bytes.saturating_add(bytes) > self.bound_bytes && !self.blocks.is_empty() {
            let picked = self.pick();
            self.remove(picked);
        }
        if bytes <= self.bound_bytes {
            self.bytes += bytes;
            self.places.insert(place, self.blocks.len());
            self.blocks.push((place, block));
        }
    }

    pub(super) fn retain(&mut self, counts: impl Fn(&BlockPlace) -> bool) {
        let mut at = 0;
        while let Some((place, _)) = self.blocks.get(at) {
            if counts(place) {
                at += 1;
            } else {
                self.remove(at);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self {
            random: self.random,
            ..Self::new(self.bound_bytes)
        };
    }

    fn pick(&mut self) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let one_of = self.blocks.len().max(1) as u64;
        usize::try_from(mixed % one_of).unwrap_or_default()
    }

    fn remove(&mut self, at: usize) {
        let (place, block) = self.blocks.swap_remove(at);
        self.bytes -= block.memory_bytes();
        self.places.remove(&place);
        if let Some((moved, _)) = self.blocks.get(at) {
            self.places.insert(*moved, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::block;
    use super::*;

    /// A block of one row.
    fn block(value_bytes: usize) -> Arc<IndexedBlock> {
        let mut out = Vec::new();
        let row = super::super::Row {
            key: super::super::RowKey {
                shard: 0,
                key: Bytes::from_static(b"k"),
            },
            value: Some(vec![7; value_bytes].into()),
        };
        block::put(&mut out, &row);
        Arc::new(IndexedBlock::new(out.into()).unwrap())
    }

    fn bytes_of(cache: &BlockCache) -> usize {
        cache.blocks.iter().map(|(_, block)| block.memory_bytes()).sum()
    }

    #[test]
    fn as_many_blocks_are_kept_as_fit_and_each_is_found_where_it_is() {
        let mut cache = BlockCache::new(10_000);
        for number in 0..1_000 {
            let place = (number % 7, number);
            assert!(cache.get(place).is_none());
            cache.put(place, block(usize::try_from(number).unwrap() % 300));
            assert!(cache.bytes() <= 10_000 && cache.bytes() == bytes_of(&cache));
            assert!(cache.get(place).is_some());
            for (place, block) in &cache.blocks {
                assert!(Arc::ptr_eq(&cache.get(*place).unwrap(), block));
            }
            assert_eq!(cache.places.len(), cache.blocks.len());
        }
        cache.retain(|(file, _)| *file == 3);
        assert!(cache.blocks.iter().all(|((file, _), _)| *file == 3) && !cache.blocks.is_empty());
        assert!(cache.places.len() == cache.blocks.len() && cache.bytes() == bytes_of(&cache));
        cache.clear();
        assert!(cache.bytes() == 0 && cache.blocks.is_empty());
    }

    #[test]
    fn what_is_larger_than_the_bound_is_not_kept() {
        let mut cache = BlockCache::new(100);
        cache.put((1, 0), block(200));
        assert!(cache.get((1, 0)).is_none());
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn of_what_is_gone_through_again_and_again_a_part_is_found() {
        let bound_bytes = 100 * block(64).memory_bytes();
        let mut cache = BlockCache::new(bound_bytes);
        let (mut found, rounds, blocks) = (0, 100, 200);
        for offset in (0..rounds).flat_map(|_| 0..blocks) {
            match cache.get((1, offset)) {
                Some(_) => found += 1,
                None => cache.put((1, offset), block(64)),
            }
        }
        // A part h where exp(-2 (1 - h)) = h: 20 %.
        assert!(found > rounds * blocks / 6, "{found} of {}", rounds * blocks);
    }
}
