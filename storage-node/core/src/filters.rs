//! Which registrations match a topic: exact filters in a hash map, filters with wildcards in a trie.
//!
//! Used for what proxies want ([`crate::shard`]) and for durable filters ([`crate::state`]); `S` is what each of them
//! registers. Leaves out bounds: callers charge [`FilterKind::bytes`] before they insert.

mod exact;
mod subscribers;
mod trie;

use self::exact::ExactFilters;
use self::trie::{FilterEnd, WildcardTrie};
use crate::hash::KeyedHash;

/// What an exact filter costs beside its text, in bytes: its entry, its place in the index, the reference to it.
const EXACT_OVERHEAD_BYTES: u64 = 160;
/// What each level of a filter with wildcards costs beside its text, in bytes.
const LEVEL_OVERHEAD_BYTES: u64 = 176;
/// Longest filter that the protocol can express, in bytes.
const MAX_FILTER_BYTES: usize = 65_535;

/// Registrations by filter.
#[derive(Debug)]
pub(crate) struct FilterIndex<S> {
    hash: KeyedHash,
    exact: ExactFilters<S>,
    wildcard: WildcardTrie<S>,
}

/// Where a filter is kept: a [`Place`] in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At(u32);

/// Where a filter is kept.
enum Place {
    Exact(u32),
    Wildcard(FilterEnd),
}

const WILDCARD: u32 = 1 << 31;
const MULTI_LEVEL: u32 = 1 << 30;
/// A billion places: at 160 bytes each, far beyond the bound on filters.
const PLACES: u32 = MULTI_LEVEL - 1;

impl From<Place> for At {
    fn from(place: Place) -> Self {
        Self(match place {
            Place::Exact(entry) => entry & PLACES,
            Place::Wildcard(end) => end.node & PLACES | WILDCARD | if end.multi_level { MULTI_LEVEL } else { 0 },
        })
    }
}

impl From<At> for Place {
    fn from(At(word): At) -> Self {
        if word & WILDCARD == 0 {
            return Self::Exact(word);
        }
        Self::Wildcard(FilterEnd {
            node: word & PLACES,
            multi_level: word & MULTI_LEVEL != 0,
        })
    }
}

/// What a well-formed filter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FilterKind {
    pub(crate) wildcard: bool,
    /// What a registration of it is charged with.
    pub(crate) bytes: u64,
}

impl FilterKind {
    /// Looks at a filter; none: it is malformed (MQTT 5.0, 4.7.1).
    pub(crate) fn of(filter: &str) -> Option<Self> {
        let wildcard = is_wildcard(filter)?;
        let text_bytes = filter.len() as u64;
        let bytes = if wildcard {
            text_bytes + filter.split('/').count() as u64 * LEVEL_OVERHEAD_BYTES
        } else {
            text_bytes + EXACT_OVERHEAD_BYTES
        };
        Some(Self { wildcard, bytes })
    }
}

impl<S: Copy + Ord> FilterIndex<S> {
    pub(crate) fn new(hash: KeyedHash) -> Self {
        Self {
            hash,
            exact: ExactFilters::new(),
            wildcard: WildcardTrie::new(),
        }
    }

    /// Registers `subscriber` under a well-formed filter.
    pub(crate) fn insert(&mut self, filter: &[u8], kind: FilterKind, subscriber: S) -> At {
        if kind.wildcard {
            Place::Wildcard(self.wildcard.insert(filter, subscriber, &self.hash)).into()
        } else {
            Place::Exact(self.exact.insert(filter, subscriber, &self.hash)).into()
        }
    }

    /// Where a well-formed filter is kept; none: nobody has registered it, nor one that goes on from it.
    pub(crate) fn get(&self, filter: &[u8], kind: FilterKind) -> Option<At> {
        let place = if kind.wildcard {
            Place::Wildcard(self.wildcard.end_of(filter, &self.hash)?)
        } else {
            Place::Exact(self.exact.get(filter, &self.hash)?)
        };
        Some(place.into())
    }

    /// Removes a registration.
    pub(crate) fn remove(&mut self, at: At, subscriber: S) {
        match at.into() {
            Place::Exact(entry) => self.exact.remove(entry, subscriber, &self.hash),
            Place::Wildcard(end) => self.wildcard.remove(end, subscriber, &self.hash),
        }
    }

    /// Adds to `found` every registration that matches `topic_name`, each once, ascending.
    pub(crate) fn find(&mut self, topic_name: &[u8], found: &mut Vec<S>) {
        self.exact.find(topic_name, &self.hash, found);
        self.wildcard.find(topic_name, &self.hash, found);
        if found.len() > 1 {
            found.sort_unstable();
        }
    }

    #[cfg(test)]
    pub(crate) fn node_count(&self) -> usize {
        self.wildcard.node_count()
    }
}

/// Whether a filter has wildcards; none: it is malformed.
fn is_wildcard(filter: &str) -> Option<bool> {
    if filter.is_empty() || filter.len() > MAX_FILTER_BYTES {
        return None;
    }
    if !filter.contains(['+', '#']) {
        return Some(false);
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let well_formed = match level {
            "+" => true,
            "#" => levels.peek().is_none(),
            literal => !literal.contains(['+', '#']),
        };
        if !well_formed {
            return None;
        }
    }
    Some(true)
}
