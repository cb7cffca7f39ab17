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
        let Self { entries, index } = self;
        let at = match find(entries, index, text, hash) {
            Some(at) => at,
            None => {
                let entry = entries.insert(Entry {
                    text: text.into(),
                    subscribers: Subscribers::None,
                });
                // A billion filters go far beyond the bound on interest.
                let at = u32::try_from(entry).unwrap_or(u32::MAX);
                let hash_at = |at: &u32| entries.get(*at as usize).map_or(0, |e| hash.of_bytes(&e.text));
                index.insert_unique(hash.of_bytes(text), at, hash_at);
                at
            }
        };
        if let Some(entry) = entries.get_mut(at as usize) {
            entry.subscribers.insert(subscriber);
        }
        at
    }

    pub(super) fn remove(&mut self, at: u32, subscriber: S, hash: &KeyedHash) {
        let Some(entry) = self.entries.get_mut(at as usize) else {
            return;
        };
        entry.subscribers.remove(subscriber);
        if entry.subscribers.is_empty() {
            let hash = hash.of_bytes(&entry.text);
            if let Ok(found) = self.index.find_entry(hash, |other| *other == at) {
                found.remove();
            }
            self.entries.remove(at as usize);
        }
    }

    pub(super) fn find(&self, topic_name: &[u8], hash: &KeyedHash, found: &mut Vec<S>) {
        if let Some(entry) = self.get(topic_name, hash).and_then(|at| self.entries.get(at as usize)) {
            found.extend_from_slice(entry.subscribers.as_slice());
        }
    }

    /// The entry of a filter that somebody has registered.
    pub(super) fn get(&self, text: &[u8], hash: &KeyedHash) -> Option<u32> {
        find(&self.entries, &self.index, text, hash)
    }
}

fn find<S>(entries: &Slab<Entry<S>>, index: &HashTable<u32>, text: &[u8], hash: &KeyedHash) -> Option<u32> {
    if entries.is_empty() {
        return None;
    }
    let is_it = |at: &u32| entries.get(*at as usize).is_some_and(|e| &*e.text == text);
    index.find(hash.of_bytes(text), is_it).copied()
}
