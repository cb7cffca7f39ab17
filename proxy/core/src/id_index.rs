//! Where things are that have a [`FilterId`]: places alone, since the thing at a place knows its id.
//!
//! Five bytes for each place, and what keeps the table from being full. The link chooses ids, so that hashes need no key.

use freshet_storage_contract::FilterId;
use hashbrown::HashTable;

/// Places by the id of what is there.
#[derive(Debug, Default)]
pub(crate) struct IdIndex(HashTable<u32>);

impl IdIndex {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The place of `id`; `id_at` says what is at a place.
    pub(crate) fn get(&self, id: FilterId, id_at: impl Fn(u32) -> Option<FilterId>) -> Option<u32> {
        self.0.find(hash(id), |at| id_at(*at) == Some(id)).copied()
    }

    /// Adds the place of an id that is not there.
    pub(crate) fn insert(&mut self, id: FilterId, at: u32, id_at: impl Fn(u32) -> Option<FilterId>) {
        self.0.insert_unique(hash(id), at, |at| id_at(*at).map_or(0, hash));
    }

    pub(crate) fn remove(&mut self, id: FilterId, at: u32) {
        if let Ok(entry) = self.0.find_entry(hash(id), |other| *other == at) {
            entry.remove();
        }
    }
}

/// Spreads ids, which are small numbers: the table uses the upper bits too.
fn hash(id: FilterId) -> u64 {
    u64::from(id.0).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_by_id_while_others_come_and_go() {
        let ids: Vec<FilterId> = (0..1_000).map(|i| FilterId(i * 7 + 1)).collect();
        let id_at = |at: u32| ids.get(at as usize).copied();
        let mut index = IdIndex::default();
        for (at, id) in (0..).zip(&ids) {
            index.insert(*id, at, id_at);
        }
        for at in (0..1_000).step_by(2) {
            index.remove(ids[at as usize], at);
            index.remove(ids[at as usize], at);
        }
        for (at, id) in (0..).zip(&ids) {
            assert_eq!(index.get(*id, id_at), (at % 2 == 1).then_some(at));
        }
        assert_eq!((index.len(), index.get(FilterId(2), id_at)), (500, None));
    }
}
