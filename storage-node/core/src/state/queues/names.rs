//! Queues by their names. A name is kept once, in its queue: a table of ids by keyed hash is a fifth of an ordered map with
//! names of its own.

use freshet_storage_contract::ShardId;
use hashbrown::HashTable;

use super::LightQueue;
use super::slots::{QueueId, Slots};
use crate::hash::KeyedHash;

/// See the module. Every id in it is that of a queue in its slot.
#[derive(Debug)]
pub(super) struct Names {
    ids: HashTable<QueueId>,
    hash: KeyedHash,
}

impl Names {
    pub(super) fn new(hash: KeyedHash) -> Self {
        Self {
            ids: HashTable::new(),
            hash,
        }
    }

    pub(super) fn find(&self, session_shard: Option<ShardId>, topic_filter: &[u8], queues: &Slots) -> Option<QueueId> {
        let is_it = |id: &QueueId| {
            let name = queues.get(*id).map(|queue| (queue.name.0, &queue.name.1[..]));
            name == Some((session_shard, topic_filter))
        };
        let hash = hash_of(&self.hash, session_shard, topic_filter);
        self.ids.find(hash, is_it).copied()
    }

    /// Adds a queue of a name that no other has.
    pub(super) fn insert(&mut self, id: QueueId, queues: &Slots) {
        let hash = |id: &QueueId| hash_of_queue(&self.hash, queues.get(*id));
        self.ids.insert_unique(hash(&id), id, hash);
    }

    pub(super) fn remove(&mut self, id: QueueId, queues: &Slots) {
        let hash = hash_of_queue(&self.hash, queues.get(id));
        if let Ok(found) = self.ids.find_entry(hash, |other| *other == id) {
            found.remove();
        }
    }
}

fn hash_of_queue(hash: &KeyedHash, queue: Option<&LightQueue>) -> u64 {
    queue.map_or(0, |queue| hash_of(hash, queue.name.0, &queue.name.1))
}

fn hash_of(hash: &KeyedHash, session_shard: Option<ShardId>, topic_filter: &[u8]) -> u64 {
    hash.of_level(session_shard.map_or(0, |shard| u32::from(shard.0) + 1), topic_filter)
}
