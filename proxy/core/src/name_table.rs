//! Things that go by names which clients choose: found by name, and by their place, which is a small number.
//!
//! Compact, for there may be one for each device: beside itself a thing takes five bytes of an index that is about three
//! quarters full. Leaves out bounds: whoever names something is bounded elsewhere.

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;
use slab::Slab;

/// What knows its name, which does not change.
pub(crate) trait Named {
    fn name(&self) -> &[u8];
}

/// Things by name.
#[derive(Debug)]
pub(crate) struct NameTable<T> {
    things: Slab<T>,
    by_name: HashTable<u32>,
    keys: (u64, u64),
}

impl<T: Named> NameTable<T> {
    /// An empty table. Clients choose names, so that hashes are keyed.
    pub(crate) fn new(keys: (u64, u64)) -> Self {
        Self {
            things: Slab::new(),
            by_name: HashTable::new(),
            keys,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.things.len()
    }

    /// The keyed hash of a name.
    pub(crate) fn hash(&self, name: &[u8]) -> u64 {
        hash(self.keys, name)
    }

    /// The place of what has this name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<u32> {
        let is_it = |at: &u32| self.get(*at).is_some_and(|thing| thing.name() == name);
        self.by_name.find(self.hash(name), is_it).copied()
    }

    /// Takes something whose name is not there yet, and returns its place.
    pub(crate) fn insert(&mut self, thing: T) -> u32 {
        let Self { things, by_name, keys } = self;
        let hash_of_thing = hash(*keys, thing.name());
        // Bounded far below: behind every name is a subscription of a connection.
        let at = u32::try_from(things.insert(thing)).unwrap_or(u32::MAX);
        let rehash = |at: &u32| things.get(*at as usize).map_or(0, |other| hash(*keys, other.name()));
        by_name.insert_unique(hash_of_thing, at, rehash);
        at
    }

    /// What is at a place, until it is removed.
    pub(crate) fn get(&self, at: u32) -> Option<&T> {
        self.things.get(at as usize)
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.things.get_mut(at as usize)
    }

    /// The place may be another one's after this.
    pub(crate) fn remove(&mut self, at: u32) -> Option<T> {
        let thing = self.things.try_remove(at as usize)?;
        let its_hash = self.hash(thing.name());
        if let Ok(entry) = self.by_name.find_entry(its_hash, |other| *other == at) {
            entry.remove();
        }
        Some(thing)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.things.iter().map(|(_, thing)| thing)
    }
}

fn hash(keys: (u64, u64), name: &[u8]) -> u64 {
    SipHasher13::new_with_keys(keys.0, keys.1).hash(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Named for String {
        fn name(&self) -> &[u8] {
            self.as_bytes()
        }
    }

    #[test]
    fn many_are_found_by_name_while_others_come_and_go() {
        let mut table = NameTable::new((1, 2));
        let places: Vec<u32> = (0..1_000).map(|i| table.insert(format!("device/{i}"))).collect();
        for at in places.iter().step_by(2) {
            assert!(table.remove(*at).is_some());
            assert_eq!(table.remove(*at), None);
        }
        for i in 1_000..1_200 {
            table.insert(format!("device/{i}"));
        }
        for i in 0..1_200 {
            let name = format!("device/{i}");
            let found = table.find(name.as_bytes()).and_then(|at| table.get(at));
            assert_eq!(found, (i % 2 == 1 || i >= 1_000).then_some(&name));
        }
        assert_eq!((table.len(), table.values().count()), (700, 700));
        assert_eq!(table.find(b"device"), None);
    }
}
