//! Filters that are registered at every shard: kept once for all shards of a node.
//!
//! A proxy names such a filter to each shard, and takes it back from each, in the shard's own order of deltas: it acts
//! at the shards that have it and at no other. Leaves out the bound and who has how many: see [`super::Interest`].

use freshet_storage_contract::{FilterId, ShardId, ShardSet};
use hashbrown::HashTable;
use slab::Slab;

use super::Subscriber;
use crate::filters::{At, FilterIndex, FilterKind};
use crate::hash::KeyedHash;

/// Filters of all proxies that are registered at every shard.
#[derive(Debug)]
pub(crate) struct CommonFilters {
    /// Entries by what they match.
    index: FilterIndex<u32>,
    entries: Slab<Entry>,
    /// Above the place of every entry.
    end: usize,
    /// Entries of each proxy by id, by slot. An id has several while some shards have not been told that it stands for
    /// another filter now.
    by_slot: Vec<HashTable<u32>>,
    bytes: u64,
    // Reused from call to call.
    found: Vec<u32>,
}

/// A filter of a proxy.
#[derive(Debug)]
struct Entry {
    subscriber: Subscriber,
    at: At,
    bytes: u32,
    /// Where it acts.
    shards: ShardSet,
}

impl CommonFilters {
    pub(crate) fn new(hash: KeyedHash) -> Self {
        Self {
            index: FilterIndex::new(hash),
            entries: Slab::new(),
            end: 0,
            by_slot: Vec::new(),
            bytes: 0,
            found: Vec::new(),
        }
    }

    /// Bytes charged for all of them.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Lets a filter act at `shard`, which has none of this id. False: it is new to the node, and does not fit into `room`.
    pub(super) fn add(
        &mut self,
        shard: ShardId,
        subscriber: Subscriber,
        topic_filter: &[u8],
        kind: FilterKind,
        room: u64,
    ) -> bool {
        let known = self.index.get(topic_filter, kind);
        let place = known.and_then(|known| self.find_entry(subscriber, |entry| entry.at == known));
        if let Some(entry) = place.and_then(|place| self.entries.get_mut(place as usize)) {
            entry.shards.insert(shard);
            return true;
        }
        if kind.bytes > room {
            return false;
        }
        let vacant = self.entries.vacant_entry();
        let place = vacant.key();
        self.end = self.end.max(place + 1);
        // Four billion filters go far beyond the bound on interest, and so do the bytes of one.
        let number = u32::try_from(place).unwrap_or(u32::MAX);
        let bytes = u32::try_from(kind.bytes).unwrap_or(u32::MAX);
        let mut shards = ShardSet::default();
        shards.insert(shard);
        vacant.insert(Entry {
            subscriber,
            at: self.index.insert(topic_filter, kind, number),
            bytes,
            shards,
        });
        self.bytes += u64::from(bytes);
        let slot = subscriber.slot as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize_with(slot + 1, HashTable::new);
        }
        let entries = &self.entries;
        if let Some(of_slot) = self.by_slot.get_mut(slot) {
            of_slot.insert_unique(hash(subscriber.filter_id), number, |place| {
                entries
                    .get(*place as usize)
                    .map_or(0, |entry| hash(entry.subscriber.filter_id))
            });
        }
        true
    }

    /// A filter acts no longer at `shard`. True: it did.
    pub(super) fn remove(&mut self, shard: ShardId, subscriber: Subscriber) -> bool {
        let place = self.find_entry(subscriber, |entry| entry.shards.contains(shard));
        place.is_some_and(|place| self.remove_at(shard, place))
    }

    /// Looks at up to `count` entries from `next` on, and removes those of the proxy in `slot` from `shard`. Returns how
    /// many it has removed.
    pub(super) fn remove_some(&mut self, shard: ShardId, slot: u32, next: &mut usize, count: usize) -> u64 {
        let mut removed = 0;
        let last = next.saturating_add(count).min(self.end);
        while *next < last {
            let place = *next;
            *next += 1;
            if self.entries.get(place).is_some_and(|e| e.subscriber.slot == slot) {
                removed += u64::from(self.remove_at(shard, u32::try_from(place).unwrap_or(u32::MAX)));
            }
        }
        removed
    }

    /// No filter acts at `shard` any more: it begins anew.
    pub(crate) fn forget_shard(&mut self, shard: ShardId) {
        for place in 0..u32::try_from(self.end).unwrap_or(u32::MAX) {
            self.remove_at(shard, place);
        }
    }

    /// Adds to `found` everybody who wants `topic_name` of `shard`, in no order.
    pub(super) fn find(&mut self, shard: ShardId, topic_name: &[u8], found: &mut Vec<Subscriber>) {
        let mut places = std::mem::take(&mut self.found);
        self.index.find(topic_name, &mut places);
        for place in places.drain(..) {
            if let Some(entry) = self.entries.get(place as usize).filter(|e| e.shards.contains(shard)) {
                found.push(entry.subscriber);
            }
        }
        self.found = places;
    }

    /// The entry of this id that `is_it`.
    fn find_entry(&self, subscriber: Subscriber, is_it: impl Fn(&Entry) -> bool) -> Option<u32> {
        let of_slot = self.by_slot.get(subscriber.slot as usize)?;
        let has_id_and_is_it = |place: &u32| {
            let entry = self.entries.get(*place as usize);
            entry.is_some_and(|entry| entry.subscriber == subscriber && is_it(entry))
        };
        of_slot.find(hash(subscriber.filter_id), has_id_and_is_it).copied()
    }

    /// True: it was there.
    fn remove_at(&mut self, shard: ShardId, place: u32) -> bool {
        let Some(entry) = self.entries.get_mut(place as usize) else {
            return false;
        };
        let was_there = entry.shards.remove(shard);
        if was_there && entry.shards.is_empty() {
            self.forget(place);
        }
        was_there
    }

    /// No shard has it any more.
    fn forget(&mut self, place: u32) {
        let Some(entry) = self.entries.try_remove(place as usize) else {
            return;
        };
        self.index.remove(entry.at, place);
        self.bytes -= u64::from(entry.bytes);
        if let Some(of_slot) = self.by_slot.get_mut(entry.subscriber.slot as usize) {
            if let Ok(found) = of_slot.find_entry(hash(entry.subscriber.filter_id), |other| *other == place) {
                found.remove();
            }
            if of_slot.is_empty() {
                *of_slot = HashTable::new();
            }
        }
        if self.entries.is_empty() {
            self.entries = Slab::new();
            self.end = 0;
        }
    }

    #[cfg(test)]
    pub(super) fn node_count(&self) -> usize {
        self.index.node_count()
    }
}

/// Spreads ids, which are small numbers that proxies choose: the table uses the upper bits too.
fn hash(filter_id: FilterId) -> u64 {
    u64::from(filter_id.0).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
