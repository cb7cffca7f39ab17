//! Where a shard's records lie in a segment: its first and last position, and every now and then the frame that a
//! position is in. About 16 bytes for each shard and 64 KiB.

use std::collections::BTreeMap;

/// Bytes of the log between two entries of a shard; a reader walks through that many at most, and one frame.
const SPARSE_BYTES: u64 = 64 << 10;

/// Positions and frames of one segment.
#[derive(Debug, Clone, Default)]
pub(super) struct SegmentIndex {
    shards: BTreeMap<u32, Extent>,
}

#[derive(Debug, Clone)]
struct Extent {
    last: u64,
    /// The first position at or behind the start of a frame, and where that frame starts. Never empty.
    frames: Vec<(u64, u64)>,
}

impl SegmentIndex {
    /// Takes up a record of the frame that starts at `frame`.
    pub(super) fn add(&mut self, shard: u32, position: u64, frame: u64) {
        let extent = self.shards.entry(shard).or_insert_with(|| Extent {
            last: position,
            frames: Vec::new(),
        });
        extent.last = extent.last.max(position);
        if extent
            .frames
            .last()
            .is_none_or(|(_, last)| last + SPARSE_BYTES <= frame)
        {
            extent.frames.push((position, frame));
        }
    }

    /// The frame from which on a reader has to look for a position; none: it is not in the segment.
    pub(super) fn find(&self, shard: u32, position: u64) -> Option<u64> {
        let extent = self.shards.get(&shard).filter(|extent| position <= extent.last)?;
        let behind = extent.frames.partition_point(|(first, _)| *first <= position);
        extent.frames.get(behind.checked_sub(1)?).map(|(_, frame)| *frame)
    }

    /// The last position of each shard.
    pub(super) fn last(&self) -> impl Iterator<Item = (u32, u64)> {
        self.shards.iter().map(|(shard, extent)| (*shard, extent.last))
    }

    /// Whether no record lies above these positions. A shard that is not named has none below.
    pub(super) fn is_covered(&self, through: &BTreeMap<u32, u64>) -> bool {
        self.last()
            .all(|(shard, last)| through.get(&shard).is_some_and(|covered| last <= *covered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_found_from_a_frame_at_or_before_its_own() {
        let mut index = SegmentIndex::default();
        for number in 0..1_000_u64 {
            index.add(1, 10 + 2 * number, 512 + 1_000 * number);
        }
        assert_eq!(index.find(1, 9), None, "below all");
        assert_eq!(index.find(1, 10), Some(512));
        assert_eq!(index.find(1, 10 + 2 * 999 + 1), None, "above all");
        assert_eq!(index.find(2, 10), None, "another shard");
        for number in 0..1_000_u64 {
            let frame = index.find(1, 10 + 2 * number).unwrap();
            let own = 512 + 1_000 * number;
            assert!(frame <= own && own < frame + SPARSE_BYTES + 1_000, "{number}: {frame}");
        }
        assert!(index.shards[&1].frames.len() < 20);
    }

    #[test]
    fn a_segment_is_covered_when_all_its_shards_are() {
        let mut index = SegmentIndex::default();
        index.add(1, 5, 512);
        index.add(2, 9, 512);
        let covered = |through: &[(u32, u64)]| index.is_covered(&through.iter().copied().collect());
        assert!(covered(&[(1, 5), (2, 9), (3, 0)]));
        assert!(!covered(&[(1, 5), (2, 8)]));
        assert!(!covered(&[(1, 5)]));
    }
}
