//! Shards that are to be told which sessions the proxy holds, until it is certain that they have heard it.
//!
//! A shard that has forgotten the proxy grants and ends sessions without those that it holds already. Its workers are
//! asked to name them; a stream that breaks in between takes the answers with it, so they are asked again. Clients of the
//! shard that connect meanwhile are asked for behind that: storage would let one in beside the connection that it takes
//! the place of. Naming has no answer of its own: operations are taken in order, so a later renewed lease proves that
//! storage has heard it.

use std::collections::BTreeMap;

use freshet_storage_contract::ShardId;

/// Namings that are not proven.
#[derive(Debug, Default)]
pub(super) struct Naming {
    shards: BTreeMap<ShardId, Stage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// So many workers have not named theirs on this stream.
    Asked { workers: u16 },
    /// All have.
    Named,
    /// And a renewal was sent behind it.
    RenewalSent,
}

impl Naming {
    /// The workers are asked to name their sessions of this shard.
    pub(super) fn ask(&mut self, shard: ShardId, workers: u16) {
        self.shards.insert(shard, Stage::Asked { workers });
    }

    /// Whether storage may not have heard what it was told on an earlier stream.
    pub(super) fn is_unproven(&self, shard: ShardId) -> bool {
        self.shards.contains_key(&shard)
    }

    /// Whether some worker has not named its sessions on this stream.
    pub(super) fn is_awaited(&self, shard: ShardId) -> bool {
        matches!(self.shards.get(&shard), Some(Stage::Asked { .. }))
    }

    /// A worker's sessions are sent.
    pub(super) fn named(&mut self, shard: ShardId) {
        if let Some(stage @ Stage::Asked { .. }) = self.shards.get_mut(&shard) {
            *stage = match *stage {
                Stage::Asked { workers } if workers > 1 => Stage::Asked { workers: workers - 1 },
                _ => Stage::Named,
            };
        }
    }

    /// A renewal is sent behind everything that was sent before.
    pub(super) fn renewal_sent(&mut self) {
        for stage in self.shards.values_mut().filter(|stage| **stage == Stage::Named) {
            *stage = Stage::RenewalSent;
        }
    }

    /// A renewal was answered: what was sent before it has been heard. One is under way at a time.
    pub(super) fn renewal_answered(&mut self) {
        self.shards.retain(|_, stage| *stage != Stage::RenewalSent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(3);

    #[test]
    fn a_naming_is_proven_by_a_renewal_that_was_sent_behind_all_workers() {
        let mut naming = Naming::default();
        naming.ask(SHARD, 2);
        naming.named(SHARD);
        assert!(naming.is_awaited(SHARD));
        naming.renewal_sent();
        naming.named(SHARD);
        assert!(!naming.is_awaited(SHARD));
        naming.renewal_answered();
        assert!(
            naming.is_unproven(SHARD),
            "the renewal went out before the second worker"
        );
        naming.renewal_sent();
        assert!(naming.is_unproven(SHARD));
        naming.renewal_answered();
        assert!(!naming.is_unproven(SHARD));
    }

    #[test]
    fn asking_again_begins_anew() {
        let mut naming = Naming::default();
        naming.ask(SHARD, 1);
        naming.named(SHARD);
        naming.renewal_sent();
        naming.ask(SHARD, 1);
        naming.renewal_answered();
        assert!(naming.is_unproven(SHARD));
    }
}
