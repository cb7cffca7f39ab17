//! Which proxy wants what of a shard.
//!
//! Soft state: proxies name it in deltas ([`Interest::add`], [`Interest::remove`]) and again to a new leader. A filter
//! that does not fit into the node's bound is *missing* until the proxy removes it; while something is missing the
//! shard confirms nothing to that proxy, so nobody believes in a subscription that does not act.

use freshet_storage_contract::{FilterId, FilterShards, Placement};

use crate::filters::{At, FilterIndex, FilterKind};
use crate::hash::{KeyedHash, NumberMap};

/// Filters that may be missing per proxy before its whole interest is asked for again.
const MAX_MISSING: usize = 65_536;

/// Filters of all proxies at one shard.
#[derive(Debug)]
pub(crate) struct Interest {
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
#[derive(Debug, Default)]
pub(crate) struct PeerFilters {
    by_id: NumberMap<FilterId, Place>,
    missing: NumberMap<FilterId, ()>,
}

/// Where a filter is kept, and what it is charged with.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: At,
    bytes: u32,
    all_shards: bool,
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
    pub(crate) fn new(hash: KeyedHash) -> Self {
        Self {
            index: FilterIndex::new(hash),
            bytes: 0,
            one_shard: 0,
            all_shards: 0,
        }
    }

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

    /// Registers `topic_filter` of the proxy in `slot`. `room` is what may be added, in bytes.
    ///
    /// # Errors
    /// [`NotAdded`].
    pub(crate) fn add(
        &mut self,
        slot: u32,
        filters: &mut PeerFilters,
        filter_id: FilterId,
        topic_filter: &[u8],
        placement: &Placement,
        room: u64,
    ) -> Result<(), NotAdded> {
        // An id stands for one filter: naming it again replaces it.
        self.remove(slot, filters, filter_id);
        let text = std::str::from_utf8(topic_filter).map_err(|_| NotAdded::Malformed)?;
        let kind = FilterKind::of(text).ok_or(NotAdded::Malformed)?;
        if kind.bytes > room {
            return filters.add_missing(filter_id);
        }
        let subscriber = Subscriber { slot, filter_id };
        let at = self.index.insert(topic_filter, kind, subscriber);
        let all_shards = kind.wildcard && placement.shards_of_filter(text) == FilterShards::All;
        // At most 32,768 levels of 176 bytes.
        let place = Place {
            at,
            bytes: u32::try_from(kind.bytes).unwrap_or(u32::MAX),
            all_shards,
        };
        filters.by_id.insert(filter_id, place);
        self.count(place, 1);
        self.bytes += u64::from(place.bytes);
        Ok(())
    }

    /// Removes a filter; one that is not known is passed over.
    pub(crate) fn remove(&mut self, slot: u32, filters: &mut PeerFilters, filter_id: FilterId) {
        filters.missing.remove(&filter_id);
        if let Some(place) = filters.by_id.remove(&filter_id) {
            self.remove_at(place, Subscriber { slot, filter_id });
        }
    }

    /// Removes up to `count` filters of a proxy. True: there are none left.
    pub(crate) fn remove_some(&mut self, slot: u32, filters: &mut PeerFilters, count: usize) -> bool {
        filters.missing = NumberMap::default();
        let some: Vec<_> = filters.by_id.keys().take(count).copied().collect();
        for filter_id in some {
            self.remove(slot, filters, filter_id);
        }
        if filters.by_id.is_empty() {
            filters.by_id = NumberMap::default();
        }
        filters.by_id.is_empty()
    }

    fn remove_at(&mut self, place: Place, subscriber: Subscriber) {
        self.index.remove(place.at, subscriber);
        self.count(place, -1);
        self.bytes -= u64::from(place.bytes);
    }

    fn count(&mut self, place: Place, by: i64) {
        let counter = if place.all_shards {
            &mut self.all_shards
        } else {
            &mut self.one_shard
        };
        *counter = counter.saturating_add_signed(by);
    }

    /// Adds to `found` everybody who wants `topic_name`, each subscriber once, ascending by proxy and filter id.
    pub(crate) fn find(&mut self, topic_name: &[u8], found: &mut Vec<Subscriber>) {
        self.index.find(topic_name, found);
    }
}

impl PeerFilters {
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
        self.by_id.is_empty() && self.missing.is_empty()
    }

    /// Whether some filter of the proxy does not act.
    pub(crate) fn is_incomplete(&self) -> bool {
        !self.missing.is_empty()
    }
}

#[cfg(test)]
mod tests;
