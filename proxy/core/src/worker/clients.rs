//! Which connections a client id has: usually one, two for the moment of a takeover.

use std::hash::Hasher;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use super::token::ConnectionToken;

/// Connections by client id. Keeps hashes, not ids: the sessions have those.
#[derive(Debug)]
pub(crate) struct Clients {
    table: HashTable<(u64, ConnectionToken)>,
    keys: (u64, u64),
}

impl Clients {
    /// An empty table. Clients choose their ids, so that hashes are keyed.
    pub(crate) fn new(keys: (u64, u64)) -> Self {
        Self {
            table: HashTable::new(),
            keys,
        }
    }

    pub(crate) fn insert(&mut self, client_id: &[u8], token: ConnectionToken) {
        let hash = self.hash(client_id);
        self.table.insert_unique(hash, (hash, token), |entry| entry.0);
    }

    /// The connection of the client id for which `is_it` holds.
    pub(crate) fn find(
        &self,
        client_id: &[u8],
        mut is_it: impl FnMut(ConnectionToken) -> bool,
    ) -> Option<ConnectionToken> {
        let hash = self.hash(client_id);
        self.table
            .find(hash, |entry| entry.0 == hash && is_it(entry.1))
            .map(|entry| entry.1)
    }

    pub(crate) fn remove(&mut self, client_id: &[u8], token: ConnectionToken) {
        if let Ok(entry) = self.table.find_entry(self.hash(client_id), |entry| entry.1 == token) {
            entry.remove();
        }
    }

    fn hash(&self, client_id: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.keys.0, self.keys.1);
        hasher.write(client_id);
        hasher.finish()
    }
}
