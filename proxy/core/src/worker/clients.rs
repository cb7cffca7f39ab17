//! Which connections a client id has: usually one, two for the moment of a takeover.

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

/// Slots of connections by client id. Keeps hashes, not ids: the sessions have those.
#[derive(Debug)]
pub(crate) struct Clients {
    table: HashTable<Entry>,
    keys: (u64, u64),
}

/// As small as it can be: there is one for each client.
#[derive(Debug)]
struct Entry {
    hash: u32,
    slot: u32,
}

impl Clients {
    /// An empty table. Clients choose their ids, so that hashes are keyed.
    pub(crate) fn new(keys: (u64, u64)) -> Self {
        Self {
            table: HashTable::new(),
            keys,
        }
    }

    pub(crate) fn insert(&mut self, client_id: &[u8], slot: u32) {
        let hash = self.hash(client_id);
        self.table
            .insert_unique(spread(hash), Entry { hash, slot }, |entry| spread(entry.hash));
    }

    /// The slot of the client id for which `is_it` holds.
    pub(crate) fn find(&self, client_id: &[u8], mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let hash = self.hash(client_id);
        self.table
            .find(spread(hash), |entry| entry.hash == hash && is_it(entry.slot))
            .map(|entry| entry.slot)
    }

    pub(crate) fn remove(&mut self, client_id: &[u8], slot: u32) {
        let hash = self.hash(client_id);
        if let Ok(entry) = self.table.find_entry(spread(hash), |entry| entry.slot == slot) {
            entry.remove();
        }
    }

    fn hash(&self, client_id: &[u8]) -> u32 {
        let hash = SipHasher13::new_with_keys(self.keys.0, self.keys.1).hash(client_id);
        // The table has far fewer entries than that has values.
        u32::try_from(hash & u64::from(u32::MAX)).unwrap_or_default()
    }
}

/// The table looks at both ends of a hash.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_has_the_connections_that_it_was_given() {
        let mut clients = Clients::new((1, 2));
        for slot in 0..2_000 {
            clients.insert(slot.to_string().as_bytes(), slot);
        }
        clients.insert(b"7", 5_000);
        assert_eq!(clients.find(b"1999", |_| true), Some(1_999));
        assert_eq!(clients.find(b"7", |slot| slot == 5_000), Some(5_000));
        clients.remove(b"7", 7);
        assert_eq!(clients.find(b"7", |_| true), Some(5_000));
        clients.remove(b"7", 5_000);
        assert_eq!(clients.find(b"7", |_| true), None);
        assert_eq!(clients.find(b"8", |_| true), Some(8));
    }
}
