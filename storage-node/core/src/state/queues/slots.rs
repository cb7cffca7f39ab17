//! The light queues by their ids.
//!
//! An id is a slot and a number that no other queue has had in it. Which slot a new queue gets follows from those that
//! are taken (the lowest free one), so replicas that hold the same queues agree on it, whatever their past.

use std::collections::BTreeSet;

use super::LightQueue;

/// Names a light queue. The same on every replica: it is given by the entries that make and remove them. Not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct QueueId {
    pub(crate) slot: u32,
    pub(crate) number: u32,
}

/// Queues in their slots.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Option<(u32, LightQueue)>>,
    free: BTreeSet<u32>,
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn get(&self, id: QueueId) -> Option<&LightQueue> {
        let (number, queue) = self.slots.get(id.slot as usize)?.as_ref()?;
        (*number == id.number).then_some(queue)
    }

    pub(super) fn get_mut(&mut self, id: QueueId) -> Option<&mut LightQueue> {
        let (number, queue) = self.slots.get_mut(id.slot as usize)?.as_mut()?;
        (*number == id.number).then_some(queue)
    }

    /// The id of the next queue, to be called `number`.
    pub(super) fn next_id(&self, number: u32) -> QueueId {
        // Four billion queues go far beyond the bound on them.
        let end = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let slot = self.free.first().copied().unwrap_or(end);
        QueueId { slot, number }
    }

    /// Puts a queue where its id says; slots that this leaves out are free.
    pub(super) fn insert(&mut self, id: QueueId, queue: LightQueue) {
        let at = id.slot as usize;
        while self.slots.len() <= at {
            self.free.insert(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
            self.slots.push(None);
        }
        self.free.remove(&id.slot);
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Some((id.number, queue));
        }
    }

    pub(super) fn remove(&mut self, id: QueueId) -> Option<LightQueue> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        let (_, queue) = slot.take_if(|(number, _)| *number == id.number)?;
        self.free.insert(id.slot);
        Some(queue)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (QueueId, &LightQueue)> {
        let slots = (0..).zip(&self.slots);
        slots.filter_map(|(slot, taken)| {
            let (number, queue) = taken.as_ref()?;
            Some((QueueId { slot, number: *number }, queue))
        })
    }
}
