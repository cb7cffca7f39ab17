//! Effects as rows: one for each that is not confirmed, and one for each shard that says how far both directions are.

use bytes::Bytes;
use freshet_storage_contract::ShardId;

use super::{Charged, Effects, Outgoing};
use crate::codec::{Code, Reader};
use crate::state::rows::{Changes, RowError, Sink, Table, read_ordered, write_ordered};

/// Rows of one kind of effect that have changed.
#[derive(Debug, Default)]
pub(super) struct EffectChanges {
    /// By target and number.
    pub(super) effects: Changes<(ShardId, u64)>,
    /// By the other shard.
    pub(super) marks: Changes<ShardId>,
}

impl<T: Charged + Code> Effects<T> {
    pub(in crate::state) fn track_changes(&mut self) {
        self.changes.effects.track();
        self.changes.marks.track();
    }

    pub(in crate::state) fn changed_rows(&self) -> usize {
        self.changes.effects.len() + self.changes.marks.len()
    }

    pub(in crate::state) fn take_changes(&mut self, (effects, marks): (Table, Table), sink: &mut Sink<'_>) {
        let Self {
            outgoing,
            taken,
            changes,
            ..
        } = self;
        sink.hand_over(
            effects,
            &mut changes.effects,
            |(target, number), out| {
                write_ordered(u64::from(target.0), out);
                write_ordered(*number, out);
            },
            |(target, number)| Some(outgoing.get(target)?.get(*number)?.to_bytes()),
        );
        sink.hand_over(
            marks,
            &mut changes.marks,
            |shard, out| write_ordered(u64::from(shard.0), out),
            |shard| {
                let confirmed = outgoing.get(shard).map_or(0, |outgoing| outgoing.confirmed);
                Some((confirmed, taken.get(shard).copied().unwrap_or(0)).to_bytes())
            },
        );
    }

    /// Takes an effect back; how far its target was is a row that comes later.
    pub(in crate::state) fn restore_effect(&mut self, key: &mut Reader, value: Bytes) -> Result<(), RowError> {
        let (target, number) = (read_shard(key)?, read_ordered(key)?);
        key.end()?;
        let effect = T::from_bytes(value)?;
        let outgoing = self.outgoing.entry(target).or_insert_with(|| Outgoing {
            confirmed: number.saturating_sub(1),
            effects: std::collections::VecDeque::new(),
        });
        if outgoing.confirmed + outgoing.effects.len() as u64 + 1 != number {
            return Err(RowError::Missing);
        }
        self.bytes += effect.charged_bytes();
        outgoing.effects.push_back(effect);
        self.unconfirmed += 1;
        Ok(())
    }

    pub(in crate::state) fn restore_marks(&mut self, key: &mut Reader, value: Bytes) -> Result<(), RowError> {
        let shard = read_shard(key)?;
        key.end()?;
        let (confirmed, taken) = Code::from_bytes(value)?;
        self.taken.insert(shard, taken);
        let outgoing = self.outgoing.entry(shard).or_insert_with(|| Outgoing {
            confirmed,
            effects: std::collections::VecDeque::new(),
        });
        if outgoing.confirmed != confirmed {
            return Err(RowError::Missing);
        }
        Ok(())
    }
}

fn read_shard(key: &mut Reader) -> Result<ShardId, RowError> {
    let number = read_ordered(key)?;
    u16::try_from(number).map(ShardId).map_err(|_| RowError::Missing)
}

impl<T> Outgoing<T> {
    fn get(&self, number: u64) -> Option<&T> {
        let at = number.checked_sub(self.confirmed + 1)?;
        self.effects.get(usize::try_from(at).ok()?)
    }
}

#[cfg(test)]
impl<T> Effects<T> {
    /// All rows count as changed.
    pub(in crate::state) fn mark_all(&mut self) {
        for (target, outgoing) in &self.outgoing {
            let numbers = (outgoing.confirmed + 1..).take(outgoing.effects.len());
            numbers.for_each(|number| self.changes.effects.change((*target, number)));
        }
        let confirmed = self.outgoing.iter().filter(|(_, outgoing)| outgoing.confirmed > 0);
        let taken = self.taken.iter().filter(|(_, taken)| **taken > 0);
        let shards = confirmed.map(|(shard, _)| *shard).chain(taken.map(|(shard, _)| *shard));
        shards.for_each(|shard| self.changes.marks.change(shard));
    }
}
