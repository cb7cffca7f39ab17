//! A node with a disk keeps the content of no more queued messages in memory than it is told to: what a checkpoint has goes,
//! the oldest of all shards first, and is brought back for those who read it.
//!
//! The shell says what a checkpoint has once that is safe ([`StorageCore::checkpointed`]), takes what is to be read behind
//! each turn ([`StorageCore::take_loads`]), and brings it in any order ([`StorageCore::loaded`]). How much is asked for at
//! once is bounded for each shard (`crate::shard::loads`).

use bytes::Bytes;
use freshet_storage_contract::{MonotonicMs, Position, ShardId};
use thiserror::Error;

use super::retention::choose_oldest;
use super::{StorageCore, shard_id};
use crate::outputs::Outputs;
use crate::shard::Shard;
use crate::state::{Queues, RowError};

/// Messages whose content one call gives up.
const GIVEN_UP_PER_CALL: usize = 16_384;

/// A row of a checkpoint that is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Load {
    /// The shard.
    pub shard: ShardId,
    position: Position,
}

impl Load {
    /// The key of the row, as [`StorageCore::take_changes`] has handed it over.
    #[must_use]
    pub fn key(&self) -> Bytes {
        Queues::message_key(self.position)
    }
}

/// What was read is not what was written, or it is not there. The node must not go on: it would pass over what it has
/// acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("shard {shard}: the row of the message at position {position} in the checkpoint cannot be used: {cause}")]
pub struct LoadError {
    /// The shard.
    pub shard: ShardId,
    /// Where the message is.
    pub position: Position,
    /// Why.
    pub cause: RowError,
}

impl StorageCore {
    /// A checkpoint is safe: a start would read it, and so would [`Load`]s that are taken from now on. `applied` is what
    /// [`Self::take_changes`] has said at the end of its round.
    pub fn checkpointed(&mut self, applied: &[(ShardId, Position)], now: MonotonicMs, out: &mut Outputs) {
        for (at, through) in applied {
            if let Some(shard) = self.shards.get_mut(usize::from(at.0)) {
                shard.checkpointed(*through);
            }
        }
        self.give_up_excess(now, out);
    }

    /// Takes the rows that are to be read, each once. In the order of their keys they lie together.
    pub fn take_loads(&mut self) -> impl Iterator<Item = Load> + '_ {
        let shards = self.shards.iter_mut().enumerate();
        shards.flat_map(|(at, shard)| {
            let shard_id = shard_id(at);
            let positions = shard.take_to_load().into_iter();
            positions.map(move |position| Load {
                shard: shard_id,
                position,
            })
        })
    }

    /// Rows have been read: those who wait for them go on. A row is none when the newest checkpoint has none. What nobody
    /// waits for any more is passed over.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn loaded(
        &mut self,
        rows: impl IntoIterator<Item = (Load, Option<Bytes>)>,
        now: MonotonicMs,
        out: &mut Outputs,
    ) -> Result<(), LoadError> {
        let (shards, mut turn) = self.turn(now, out);
        let mut reached = vec![false; shards.len()];
        for (Load { shard: at, position }, row) in rows {
            let number = usize::from(at.0);
            if let (Some(shard), Some(reached)) = (shards.get_mut(number), reached.get_mut(number)) {
                let taken = shard.take_loaded(position, row);
                taken.map_err(|cause| LoadError {
                    shard: at,
                    position,
                    cause,
                })?;
                *reached = true;
            }
        }
        for (shard, _) in shards.iter_mut().zip(reached).filter(|(_, reached)| *reached) {
            shard.go_on_reading(&mut turn);
        }
        Ok(())
    }

    /// Whether content is to go from memory, and some may.
    pub(super) fn is_giving_up(&self) -> bool {
        self.usage.resident_bytes > self.settings.queued_resident_bytes && self.shards.iter().any(Shard::can_give_up)
    }

    /// Lets content go from memory as far as it is more than may be there, and a little more, so that it is not a message
    /// at a time.
    pub(super) fn give_up_excess(&mut self, now: MonotonicMs, out: &mut Outputs) {
        if !self.is_giving_up() {
            return;
        }
        let bound = self.settings.queued_resident_bytes;
        let excess = self.usage.resident_bytes.saturating_sub(bound - bound / 16);
        let coldest = self.shards.iter().map(|shard| shard.coldest_first(now));
        let chosen = choose_oldest(coldest.collect(), excess, GIVEN_UP_PER_CALL);
        let (shards, mut turn) = self.turn(now, out);
        for (at, through) in chosen {
            if let Some(shard) = shards.get_mut(at) {
                shard.give_up_through(through, &mut turn);
            }
        }
    }
}

#[cfg(test)]
impl StorageCore {
    /// Lets all content go that may.
    pub(crate) fn give_up_all(&mut self, now: MonotonicMs, out: &mut Outputs) {
        let (shards, mut turn) = self.turn(now, out);
        for shard in shards {
            shard.give_up_through(Position(u64::MAX), &mut turn);
        }
    }
}
