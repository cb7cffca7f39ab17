//! The disk of the storage node: records that are flushed, those that are on their way, the rows of the last checkpoint, and
//! what is read of it.

use std::collections::{BTreeMap, VecDeque};

use freshet_storage_contract::{Position, ShardId};
use freshet_storage_core::{Load, Restore, StorageCore};

use super::proxy::amount;
use crate::random::Random;
use crate::violation::Violation;

/// A record as storage gave it away: shard, position, bytes.
type Record<B> = (ShardId, Position, B);
/// Where a row stands.
type RowKey = (ShardId, Vec<u8>);

/// Records in the order in which they were written, and rows.
#[derive(Default)]
pub(super) struct Disk {
    flushed: Vec<Record<Vec<u8>>>,
    unflushed: VecDeque<Record<Vec<u8>>>,
    rows: BTreeMap<RowKey, Vec<u8>>,
    /// Where the rows are the state of the shards.
    applied: Vec<(ShardId, Position)>,
    /// Rows of the checkpoint that is under way.
    round: Vec<(RowKey, Option<Vec<u8>>)>,
    /// Storage has not been told of the last checkpoint.
    is_untold: bool,
    /// Rows that are to be read.
    asked: Vec<Load>,
    /// Rows that were read, and that storage has not got.
    read: Vec<(Load, Option<Vec<u8>>)>,
    /// Rows that were read.
    loaded: usize,
}

impl Disk {
    pub(super) fn write<B: AsRef<[u8]>>(&mut self, records: impl Iterator<Item = Record<B>>) {
        let own = |(shard, position, bytes): Record<B>| (shard, position, bytes.as_ref().to_vec());
        self.unflushed.extend(records.map(own));
    }

    pub(super) fn has_unflushed(&self) -> bool {
        !self.unflushed.is_empty()
    }

    /// Flushes one record, or all; returns how far each shard's are flushed.
    pub(super) fn flush(&mut self, random: &mut Random) -> Vec<(ShardId, Position)> {
        let count = amount(random, self.unflushed.len());
        self.flush_some(count)
    }

    /// Flushes all records.
    pub(super) fn flush_all(&mut self) -> Vec<(ShardId, Position)> {
        self.flush_some(self.unflushed.len())
    }

    fn flush_some(&mut self, count: usize) -> Vec<(ShardId, Position)> {
        let mut through: Vec<(ShardId, Position)> = Vec::new();
        for record in self.unflushed.drain(..count.min(self.unflushed.len())) {
            match through.iter_mut().find(|(shard, _)| *shard == record.0) {
                Some((_, position)) => *position = record.1,
                None => through.push((record.0, record.1)),
            }
            self.flushed.push(record);
        }
        through
    }

    /// Writes some of the rows that have changed; with the last of them the checkpoint is whole.
    pub(super) fn write_rows(&mut self, core: &mut StorageCore, max_rows: usize, random: &mut Random) {
        let round = &mut self.round;
        let done = core.take_changes(max_rows, |shard, key, value| {
            round.push(((shard, key.to_vec()), value.map(|value| value.to_vec())));
        });
        let Some(applied) = done else { return };
        for (key, value) in self.round.drain(..) {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
        self.applied = applied;
        self.is_untold = true;
        // Records that are in the rows go sooner or later.
        if random.chance(50) {
            let applied = &self.applied;
            self.flushed.retain(|record| !is_applied(applied, record));
        }
    }

    /// What the last checkpoint has, if storage has not been told.
    pub(super) fn take_news(&mut self) -> Option<Vec<(ShardId, Position)>> {
        std::mem::take(&mut self.is_untold).then(|| self.applied.clone())
    }

    /// Takes rows that are to be read.
    pub(super) fn ask(&mut self, loads: impl Iterator<Item = Load>) {
        self.asked.extend(loads);
    }

    pub(super) fn loaded(&self) -> usize {
        self.loaded
    }

    pub(super) fn has_loads(&self) -> bool {
        !self.asked.is_empty() || !self.read.is_empty()
    }

    /// Reads a row, or gives away some that were read before: in any order, and late.
    pub(super) fn load(&mut self, random: &mut Random) -> Vec<(Load, Option<Vec<u8>>)> {
        let count = random.below(self.asked.len() + 1);
        for _ in 0..count {
            let load = self.asked.swap_remove(random.below(self.asked.len()));
            let row = self.rows.get(&(load.shard, load.key().to_vec())).cloned();
            self.loaded += usize::from(row.is_some());
            self.read.push((load, row));
        }
        let count = random.below(self.read.len() + 1);
        let mut given = Vec::new();
        for _ in 0..count {
            given.push(self.read.swap_remove(random.below(self.read.len())));
        }
        given
    }

    /// What was not flushed is lost, or the last of it: some may have reached the disk without anybody having heard of it.
    /// A checkpoint that is not whole is none.
    pub(super) fn lose_power(&mut self, random: &mut Random) {
        let count = random.below(self.unflushed.len() + 1);
        self.flush_some(count);
        self.unflushed.clear();
        self.round.clear();
        self.is_untold = false;
        self.asked.clear();
        self.read.clear();
    }

    /// Reads everything that is there.
    pub(super) fn read(&self, restore: &mut Restore) -> Result<(), Violation> {
        let rule = "storage reads what it has written";
        for ((shard, key), value) in &self.rows {
            let taken = restore.row(*shard, key.clone().into(), value);
            taken.map_err(|error| Violation::new(rule, error.to_string()))?;
        }
        for record in &self.flushed {
            let (shard, position, bytes) = record;
            let taken = restore.record(*shard, *position, bytes.clone().into());
            if taken != Ok(!is_applied(&self.applied, record)) {
                let seen = format!("shard {shard}, position {position}: {taken:?}");
                return Err(Violation::new(rule, seen));
            }
        }
        Ok(())
    }
}

fn is_applied(applied: &[(ShardId, Position)], (shard, position, _): &Record<Vec<u8>>) -> bool {
    applied.iter().any(|(of, through)| of == shard && position <= through)
}
