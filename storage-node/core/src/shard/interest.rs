//! Which proxy wants what of a shard.
//!
//! Soft state: proxies name it in deltas ([`Interest::add`], [`Interest::remove`]) and again to a new leader. A filter
//! that does not fit into the node's bound is *missing* until the proxy removes it; while something is missing the
//! shard confirms nothing to that proxy, so nobody believes in a subscription that does not act. Filters that are
//! registered at every shard are in [`CommonFilters`], which the node lends.

mod common;

use freshet_storage_contract::{FilterId, FilterShards, Placement, ShardId};

pub(crate) use self::common::CommonFilters;
use crate::filters::{At, FilterIndex, FilterKind};
use crate::hash::{KeyedHash, NumberMap};

/// Filters that may be missing per proxy before its whole interest is asked for again.
const MAX_MISSING: usize = 65_536;

/// Filters of all proxies at one shard.
#[derive(Debug)]
pub(crate) struct Interest {
    shard: ShardId,
    /// Those that live at this shard alone.
    index: FilterIndex<Subscriber>,
    bytes: u64,
    one_shard: u64,
    all_shards: u64,
}

/// A registration: a proxy, and its name for the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subscriber {
    pub(crate) slot: u32,
    pub(crate) filter_id: FilterId,
}

/// Filters of one proxy.
#[derive(Debug)]
pub(crate) struct PeerFilters {
    slot: u32,
    /// Those that live at this shard alone.
    by_id: NumberMap<FilterId, Place>,
    /// How many are registered at every shard.
    common: u64,
    /// Where [`Interest::remove_some`] goes on among these.
    next_common: usize,
    missing: NumberMap<FilterId, ()>,
}

/// Where a filter is kept, and what it is charged with.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: At,
    bytes: u32,
}

/// Why a filter was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotAdded {
    /// It goes beyond the bound; it is missing now.
    Full,
    /// Too many are missing for each to be remembered.
    TooManyMissing,
    /// It is not a topic filter: it matches nothing.
    Malformed,
}

impl Interest {
    pub(crate) fn new(shard: ShardId, hash: KeyedHash) -> Self {
        Self {
            shard,
            index: FilterIndex::new(hash),
            bytes: 0,
            one_shard: 0,
            all_shards: 0,
        }
    }

    /// Bytes charged for filters that live at this shard alone.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Registrations of filters that live at this shard alone.
    pub(crate) fn one_shard(&self) -> u64 {
        self.one_shard
    }

    /// Registrations of filters that are registered at every shard.
    pub(crate) fn all_shards(&self) -> u64 {
        self.all_shards
    }

    /// Registers `topic_filter` of a proxy. `room` is what may be added, in bytes.
    ///
    /// # Errors
    /// [`NotAdded`].
    pub(crate) fn add(
        &mut self,
        filters: &mut PeerFilters,
        (filter_id, topic_filter): (FilterId, &[u8]),
        placement: &Placement,
        common: &mut CommonFilters,
        room: u64,
    ) -> Result<(), NotAdded> {
        // An id stands for one filter: naming it again replaces it.
        self.remove(filters, filter_id, common);
        let text = std::str::from_utf8(topic_filter).map_err(|_| NotAdded::Malformed)?;
        let kind = FilterKind::of(text).ok_or(NotAdded::Malformed)?;
        let subscriber = filters.subscriber(filter_id);
        if kind.wildcard && placement.shards_of_filter(text) == FilterShards::All {
            if !common.add(self.shard, subscriber, topic_filter, kind, room) {
                return filters.add_missing(filter_id);
            }
            filters.common += 1;
            self.all_shards += 1;
            return Ok(());
        }
        if kind.bytes > room {
            return filters.add_missing(filter_id);
        }
        // At most 32,768 levels of 176 bytes.
        let bytes = u32::try_from(kind.bytes).unwrap_or(u32::MAX);
        let at = self.index.insert(topic_filter, kind, subscriber);
        filters.by_id.insert(filter_id, Place { at, bytes });
        self.one_shard += 1;
        self.bytes += u64::from(bytes);
        Ok(())
    }

    /// Removes a filter; one that is not known is passed over.
    pub(crate) fn remove(&mut self, filters: &mut PeerFilters, filter_id: FilterId, common: &mut CommonFilters) {
        filters.missing.remove(&filter_id);
        let subscriber = filters.subscriber(filter_id);
        if let Some(place) = filters.by_id.remove(&filter_id) {
            self.remove_at(place, subscriber);
        } else if filters.common > 0 && common.remove(self.shard, subscriber) {
            filters.common -= 1;
            self.all_shards -= 1;
        }
    }

    /// Removes up to `count` filters of a proxy from either kind. True: there are none left.
    pub(crate) fn remove_some(&mut self, filters: &mut PeerFilters, count: usize, common: &mut CommonFilters) -> bool {
        filters.missing = NumberMap::default();
        let some: Vec<_> = filters.by_id.keys().take(count).copied().collect();
        for filter_id in some {
            if let Some(place) = filters.by_id.remove(&filter_id) {
                self.remove_at(place, filters.subscriber(filter_id));
            }
        }
        if filters.by_id.is_empty() {
            filters.by_id = NumberMap::default();
        }
        if filters.common > 0 {
            let removed = common.remove_some(self.shard, filters.slot, &mut filters.next_common, count);
            filters.common -= removed;
            self.all_shards -= removed;
        }
        if filters.common == 0 {
            filters.next_common = 0;
        }
        filters.by_id.is_empty() && filters.common == 0
    }

    fn remove_at(&mut self, place: Place, subscriber: Subscriber) {
        self.index.remove(place.at, subscriber);
        self.one_shard -= 1;
        self.bytes -= u64::from(place.bytes);
    }

    /// Adds to `found` everybody who wants `topic_name`, each subscriber once, ascending by proxy and filter id.
    pub(crate) fn find(&mut self, topic_name: &[u8], common: &mut CommonFilters, found: &mut Vec<Subscriber>) {
        self.index.find(topic_name, found);
        let of_shard = found.len();
        common.find(self.shard, topic_name, found);
        if found.len() > of_shard {
            found.sort_unstable();
        }
    }
}

impl PeerFilters {
    /// No filters of the proxy in `slot`.
    pub(crate) fn new(slot: u32) -> Self {
        Self {
            slot,
            by_id: NumberMap::default(),
            common: 0,
            next_common: 0,
            missing: NumberMap::default(),
        }
    }

    fn subscriber(&self, filter_id: FilterId) -> Subscriber {
        Subscriber {
            slot: self.slot,
            filter_id,
        }
    }

    /// A filter goes beyond the bound.
    ///
    /// # Errors
    /// [`NotAdded::Full`] or [`NotAdded::TooManyMissing`].
    pub(crate) fn add_missing(&mut self, filter_id: FilterId) -> Result<(), NotAdded> {
        if self.missing.len() >= MAX_MISSING {
            return Err(NotAdded::TooManyMissing);
        }
        self.missing.insert(filter_id, ());
        Err(NotAdded::Full)
    }

    /// A filter is named again, or no longer wanted.
    pub(crate) fn remove_missing(&mut self, filter_id: FilterId) {
        self.missing.remove(&filter_id);
    }

    /// Whether the proxy wants nothing here.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.common == 0 && self.missing.is_empty()
    }

    /// Whether some filter of the proxy does not act.
    pub(crate) fn is_incomplete(&self) -> bool {
        !self.missing.is_empty()
    }
}

#[cfg(test)]
mod tests;
