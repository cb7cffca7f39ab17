//! Stored sessions as people look at them.

use std::ops::Bound;

use bytes::Bytes;
use freshet_storage_contract::{Position, SessionEpoch, ShardId, StoredSession};

use super::StoredSessions;

/// A stored session.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) epoch: SessionEpoch,
    pub(crate) expiry_interval_s: u32,
    /// When it ends unless it is attached, ms of log time.
    pub(crate) ends_ms: Option<u64>,
    pub(crate) session: StoredSession,
    /// Shards that keep QoS 2 publications of its generation.
    pub(crate) packets_at: Vec<ShardId>,
    pub(crate) bytes: u64,
}

/// Sessions that have a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadersOf {
    pub(crate) count: u64,
    /// There are more.
    pub(crate) at_least: bool,
    /// How far the last of them has come.
    pub(crate) least: Position,
}

impl StoredSessions {
    pub(crate) fn look(&self, client_id: &[u8]) -> Option<Stored> {
        let row = self.rows.get(client_id)?;
        Some(Stored {
            epoch: row.epoch,
            expiry_interval_s: row.expiry_interval_s,
            ends_ms: row.ends_ms,
            session: row.stored.clone(),
            packets_at: row.packets_at.clone(),
            bytes: row.bytes(client_id),
        })
    }

    /// Client ids that begin with `prefix`, in order, behind `after`.
    pub(crate) fn client_ids<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
    ) -> impl Iterator<Item = &'a [u8]> + 'a {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let behind = self.rows.ids_from(from).map(|id| &**id);
        behind.take_while(move |id| id.starts_with(prefix))
    }

    /// Who reads a filter at a shard; counts at most about `most` of them.
    pub(crate) fn readers_of(&self, shard: ShardId, topic_filter: &Bytes, most: usize) -> Option<ReadersOf> {
        self.readers.look(shard, topic_filter, most)
    }
}
