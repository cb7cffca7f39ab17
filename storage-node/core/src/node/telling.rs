//! What a node tells about itself: to whoever scrapes metrics, and to clients below `$SYS`.

use freshet_storage_contract::MonotonicMs;

use super::StorageCore;
use crate::incarnations::PeerKey;
use crate::outputs::Outputs;
use crate::shard::Shard;
use crate::stats::StorageStats;

impl StorageCore {
    /// Gauges and counters.
    #[must_use]
    pub fn stats(&self) -> StorageStats {
        let linked = |key: &PeerKey| self.incarnations.is_linked(*key);
        let living: Vec<PeerKey> = self.incarnations.living().map(|(key, _)| key).collect();
        StorageStats {
            incarnations: living.len() as u64,
            links: living.iter().filter(|key| linked(key)).count() as u64,
            leases_expired_total: self.totals.leases_expired,
            attaches_refused_total: self.totals.attaches_refused,
            links_ended_total: self.totals.links_ended,
            shards: self.shards.iter().map(Shard::stats).collect(),
        }
    }

    /// Publishes what has changed of the topics below `$SYS`, each at its shard, when it is time.
    pub(super) fn publish_sys(&mut self, now: MonotonicMs, out: &mut Outputs) {
        let interval_ms = self.settings.sys_interval_ms;
        if self.sys.due(interval_ms).is_none_or(|due| due > now) {
            return;
        }
        let stats = self.stats();
        for change in self.sys.next_changes(interval_ms, &stats, now) {
            let (shards, mut turn) = self.turn(now, out);
            let at = turn.placement.shard_of_topic(&change.topic_name());
            let is_taken = shards
                .get_mut(usize::from(at.0))
                .is_some_and(|shard| shard.publish_own(change.message(), &mut turn));
            if is_taken {
                self.sys.published(change);
            }
        }
    }
}
