//! Filters that are registered at every shard: kept once for all shards of a node.
//!
//! A proxy names such a filter to each shard, and takes it back from each, in the shard's own order of deltas: it acts
//! at the shards that have it and at no other. Leaves out the bound and who has how many: see [`super::Interest`].

use freshet_storage_contract::{FilterId, ShardId, ShardSet};
use slab::Slab;

use super::Subscriber;
use crate::filters::{At, FilterIndex, FilterKind};
use crate::hash::{KeyedHash, NumberMap};

/// No entry.
const NONE: u32 = u32::MAX;

/// Filters of all proxies that are registered at every shard.
#[derive(Debug)]
pub(crate) struct CommonFilters {
    /// Entries by what they match.
    index: FilterIndex<u32>,
    entries: Slab<Entry>,
    /// Above the place of every entry.
    end: usize,
    /// Entries of each proxy, by slot.
    by_slot: Vec<NumberMap<FilterId, u32>>,
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
    /// An entry of the same id with another filter, which some shards have not been told to forget; [`NONE`]: there is none.
    older: u32,
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
        let at = self.index.get(topic_filter, kind);
        let mut place = self.first_of(subscriber);
        while let Some(entry) = self.entries.get_mut(place as usize) {
            if Some(entry.at) == at {
                entry.shards.insert(shard);
                return true;
            }
            place = entry.older;
        }
        if kind.bytes > room {
            return false;
        }
        let vacant = self.entries.vacant_entry();
        let place = vacant.key();
        self.end = self.end.max(place + 1);
        // Four billion filters go far beyond the bound on interest, and so do the bytes of one.
        let (number, bytes) = (
            u32::try_from(place).unwrap_or(NONE),
            u32::try_from(kind.bytes).unwrap_or(u32::MAX),
        );
        let slot = subscriber.slot as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize_with(slot + 1, NumberMap::default);
        }
        let older = self
            .by_slot
            .get_mut(slot)
            .and_then(|of_slot| of_slot.insert(subscriber.filter_id, number));
        let mut shards = ShardSet::default();
        shards.insert(shard);
        vacant.insert(Entry {
            subscriber,
            at: self.index.insert(topic_filter, kind, number),
            bytes,
            older: older.unwrap_or(NONE),
            shards,
        });
        self.bytes += u64::from(bytes);
        true
    }

    /// A filter acts no longer at `shard`. True: it did.
    pub(super) fn remove(&mut self, shard: ShardId, subscriber: Subscriber) -> bool {
        let mut place = self.first_of(subscriber);
        while let Some(entry) = self.entries.get(place as usize) {
            let older = entry.older;
            if self.remove_at(shard, place) {
                return true;
            }
            place = older;
        }
        false
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
                removed += u64::from(self.remove_at(shard, u32::try_from(place).unwrap_or(NONE)));
            }
        }
        removed
    }

    /// No filter acts at `shard` any more: it begins anew.
    pub(crate) fn forget_shard(&mut self, shard: ShardId) {
        for place in 0..u32::try_from(self.end).unwrap_or(NONE) {
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

    fn first_of(&self, subscriber: Subscriber) -> u32 {
        self.by_slot
            .get(subscriber.slot as usize)
            .and_then(|of_slot| of_slot.get(&subscriber.filter_id))
            .map_or(NONE, |place| *place)
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
        let mut newer = self.first_of(entry.subscriber);
        if newer == place {
            if let Some(of_slot) = self.by_slot.get_mut(entry.subscriber.slot as usize) {
                let filter_id = entry.subscriber.filter_id;
                match entry.older {
                    NONE => of_slot.remove(&filter_id),
                    older => of_slot.insert(filter_id, older),
                };
                if of_slot.is_empty() {
                    *of_slot = NumberMap::default();
                }
            }
        }
        while let Some(other) = self.entries.get_mut(newer as usize) {
            if other.older == place {
                other.older = entry.older;
            }
            newer = other.older;
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
