//! `spec.storage.retention.maxBytesPercent`: when the messages in the queues of all shards come to more than their part of
//! the disk, the oldest go.
//!
//! Paced like what expires: a call lets a bounded number go, and nothing more is chosen before they have gone. Leaves out
//! the bounds at which publications are held (`crate::shard::intake`), what stays in memory (`super::cold`), and the disk's
//! reserve.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use freshet_storage_contract::{MonotonicMs, Position};

use super::StorageCore;
use crate::outputs::Outputs;
use crate::shard::Shard;
use crate::state::Waiting;

/// Messages that one call lets go.
const DROPPED_PER_TICK: usize = 4_096;

impl StorageCore {
    /// The size of the file system that the log and the checkpoints are on, in bytes; 0: there is none.
    pub fn set_disk_bytes(&mut self, bytes: u64) {
        self.settings.disk_bytes = bytes;
    }

    /// Bytes of messages beyond the bound; 0 also while some are on their way out.
    pub(super) fn excess_bytes(&self) -> u64 {
        let bound = self.settings.most_waiting_bytes();
        let excess = bound.map_or(0, |bound| self.usage.waiting_bytes.saturating_sub(bound));
        if excess > 0 && self.shards.iter().any(Shard::is_dropping) {
            return 0;
        }
        excess
    }

    /// Lets the oldest messages go as far as they are more than there may be.
    pub(super) fn drop_excess(&mut self, now: MonotonicMs, out: &mut Outputs) {
        let excess = self.excess_bytes();
        if excess == 0 {
            return;
        }
        let waiting = self.shards.iter().map(|shard| shard.oldest_first(now));
        let chosen = choose_oldest(waiting.collect(), excess, DROPPED_PER_TICK);
        let (shards, mut turn) = self.turn(now, out);
        for (at, through) in chosen {
            if let Some(shard) = shards.get_mut(at) {
                shard.drop_through(through, &mut turn);
            }
        }
    }
}

/// Chooses the oldest messages of all shards that come to `excess` bytes together, at most `limit` of them: up to which
/// position each shard's go. The messages of a shard come the oldest first, with their ages.
pub(super) fn choose_oldest<I>(mut waiting: Vec<I>, excess: u64, limit: usize) -> BTreeMap<usize, Position>
where
    I: Iterator<Item = (u64, Waiting)>,
{
    let mut chosen = BTreeMap::new();
    let mut heads: BinaryHeap<_> = waiting
        .iter_mut()
        .enumerate()
        .filter_map(|(at, of_shard)| Some(head(at, of_shard.next()?)))
        .collect();
    let (mut left, mut count) = (excess, 0);
    while left > 0
        && count < limit
        && let Some((_, Reverse(at), position, bytes)) = heads.pop()
    {
        chosen.insert(at, position);
        left = left.saturating_sub(bytes);
        count += 1;
        let next = waiting.get_mut(at).and_then(Iterator::next);
        heads.extend(next.map(|next| head(at, next)));
    }
    chosen
}

/// The greatest is the oldest; of equal ages the lower shard's.
fn head(at: usize, (age_ms, waiting): (u64, Waiting)) -> (u64, Reverse<usize>, Position, u64) {
    (age_ms, Reverse(at), waiting.position, waiting.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of ten bytes with these ages, at positions from 1 on.
    fn shard(ages_ms: &[u64]) -> impl Iterator<Item = (u64, Waiting)> + '_ {
        (1..).map(Position).zip(ages_ms).map(|(position, age_ms)| {
            let waiting = Waiting {
                position,
                came_ms: 0,
                bytes: 10,
            };
            (*age_ms, waiting)
        })
    }

    fn chosen(shards: &[&[u64]], excess: u64, limit: usize) -> Vec<(usize, u64)> {
        let chosen = choose_oldest(shards.iter().map(|ages_ms| shard(ages_ms)).collect(), excess, limit);
        chosen.into_iter().map(|(at, through)| (at, through.0)).collect()
    }

    #[test]
    fn the_oldest_of_all_shards_go_and_no_more_than_make_up_for_the_excess() {
        let shards: [&[u64]; 4] = [&[50, 9, 8], &[], &[40, 30, 20, 7], &[6]];
        assert_eq!(chosen(&shards, 1, 100), [(0, 1)]);
        assert_eq!(chosen(&shards, 10, 100), [(0, 1)]);
        assert_eq!(chosen(&shards, 11, 100), [(0, 1), (2, 1)]);
        assert_eq!(chosen(&shards, 45, 100), [(0, 2), (2, 3)]);
        assert_eq!(chosen(&shards, u64::MAX, 100), [(0, 3), (2, 4), (3, 1)]);
        assert_eq!(chosen(&shards, 0, 100), []);
    }

    #[test]
    fn no_more_than_a_limited_number_go_at_once() {
        assert_eq!(chosen(&[&[9, 8, 7], &[6]], u64::MAX, 2), [(0, 2)]);
        assert_eq!(chosen(&[&[5], &[5]], u64::MAX, 1), [(0, 1)], "the lower shard's");
    }
}
