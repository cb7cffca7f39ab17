//! PUBRELs of a session that outlives its connection: PUBCOMP leaves when the shard of the message has committed the
//! release, or a packet id that comes again could be taken for the message of before.

use std::num::NonZeroU16;

use freshet_storage_contract::{MonotonicMs, RequestId, ShardId};

/// QoS 2 packet ids of a publisher.
#[derive(Debug, Default)]
pub(crate) struct Releases {
    /// Shards of messages that were sent on this connection.
    shards: Vec<(NonZeroU16, ShardId)>,
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    request: RequestId,
    packet_id: NonZeroU16,
    /// PUBREC was sent on this connection.
    is_known: bool,
    since: MonotonicMs,
}

/// Shards that are remembered. Of the oldest of more, all shards are asked.
const REMEMBERED: usize = 1_024;

impl Releases {
    /// A PUBLISH goes to a shard.
    pub(crate) fn remember(&mut self, packet_id: NonZeroU16, shard: ShardId) {
        self.shards.retain(|(id, _)| *id != packet_id);
        if self.shards.len() >= REMEMBERED {
            self.shards.remove(0);
        }
        self.shards.push((packet_id, shard));
    }

    /// The shard of a packet id that is released.
    pub(crate) fn take_shard(&mut self, packet_id: NonZeroU16) -> Option<ShardId> {
        let at = self.shards.iter().position(|(id, _)| *id == packet_id)?;
        Some(self.shards.swap_remove(at).1)
    }

    /// Storage is asked to release a packet id; `is_known`: PUBREC was sent on this connection.
    pub(crate) fn ask(&mut self, request: RequestId, packet_id: NonZeroU16, is_known: bool, now: MonotonicMs) {
        let since = now;
        self.open.push(Open {
            request,
            packet_id,
            is_known,
            since,
        });
    }

    /// Whether storage was asked and has not answered.
    pub(crate) fn is_asked(&self, packet_id: NonZeroU16) -> bool {
        self.open.iter().any(|open| open.packet_id == packet_id)
    }

    /// Releases that storage has not answered.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Storage has answered; returns the packet id, and whether PUBREC was sent on this connection.
    pub(crate) fn answered(&mut self, request: RequestId) -> Option<(NonZeroU16, bool)> {
        let at = self.open.iter().position(|open| open.request == request)?;
        let open = self.open.remove(at);
        Some((open.packet_id, open.is_known))
    }

    /// Since when the oldest one waits.
    pub(crate) fn oldest(&self) -> Option<MonotonicMs> {
        self.open.first().map(|open| open.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(value: u16) -> NonZeroU16 {
        NonZeroU16::new(value).unwrap()
    }

    #[test]
    fn the_shard_is_that_of_the_last_publish_with_the_packet_id() {
        let mut releases = Releases::default();
        releases.remember(id(1), ShardId(3));
        releases.remember(id(1), ShardId(4));
        assert_eq!(releases.take_shard(id(1)), Some(ShardId(4)));
        assert_eq!(releases.take_shard(id(1)), None);
    }

    #[test]
    fn however_many_ids_a_client_uses_few_are_remembered() {
        let mut releases = Releases::default();
        for packet_id in 1..=u16::MAX {
            releases.remember(id(packet_id), ShardId(0));
        }
        assert_eq!(releases.shards.len(), REMEMBERED);
        assert_eq!(releases.take_shard(id(1)), None);
        assert_eq!(releases.take_shard(NonZeroU16::MAX), Some(ShardId(0)));
    }
}
