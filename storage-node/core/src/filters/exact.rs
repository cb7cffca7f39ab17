//! Filters without wildcards: one keyed lookup per publication, whatever their number.

use hashbrown::HashTable;
use slab::Slab;

use super::subscribers::Subscribers;
use crate::hash::KeyedHash;

/// Exact filters of a shard.
#[derive(Debug)]
pub(super) struct ExactFilters<S> {
    entries: Slab<Entry<S>>,
    index: HashTable<u32>,
}

#[derive(Debug)]
struct Entry<S> {
    text: Box<[u8]>,
    hash: u64,
    subscribers: Subscribers<S>,
}

impl<S: Copy + Eq> ExactFilters<S> {
    pub(super) fn new() -> Self {
        Self {
            entries: Slab::new(),
            index: HashTable::new(),
        }
    }

    /// Registers a subscriber; returns the filter's entry.
    pub(super) fn insert(&mut self, text: &[u8], subscriber: S, hash: &KeyedHash) -> u32 {
        let hash = hash.of_bytes(text);
        let Self { entries, index } = self;
        let is_it = |at: &u32| entries.get(*at as usize).is_some_and(|e| &*e.text == text);
        let at = match index.find(hash, is_it) {
            Some(at) => *at,
            None => {
                let entry = entries.insert(Entry {
                    text: text.into(),
                    hash,
                    subscribers: Subscribers::None,
                });
                // Four billion filters go far beyond the bound on interest.
                let at = u32::try_from(entry).unwrap_or(u32::MAX);
                index.insert_unique(hash, at, |at| entries.get(*at as usize).map_or(0, |e| e.hash));
                at
            }
        };
        if let Some(entry) = entries.get_mut(at as usize) {
            entry.subscribers.insert(subscriber);
        }
        at
    }

    pub(super) fn remove(&mut self, at: u32, subscriber: S) {
        let Some(entry) = self.entries.get_mut(at as usize) else {
            return;
        };
        entry.subscribers.remove(subscriber);
        if entry.subscribers.is_empty() {
            if let Ok(found) = self.index.find_entry(entry.hash, |other| *other == at) {
                found.remove();
            }
            self.entries.remove(at as usize);
        }
    }

    pub(super) fn find(&self, topic_name: &[u8], hash: &KeyedHash, found: &mut Vec<S>) {
        if self.entries.is_empty() {
            return;
        }
        let is_it = |at: &u32| self.entries.get(*at as usize).is_some_and(|e| &*e.text == topic_name);
        if let Some(entry) = self
            .index
            .find(hash.of_bytes(topic_name), is_it)
            .and_then(|at| self.entries.get(*at as usize))
        {
            found.extend_from_slice(entry.subscribers.as_slice());
        }
    }
}
