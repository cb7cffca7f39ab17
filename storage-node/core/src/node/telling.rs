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
            common_filter_bytes: self.common.bytes(),
            shards: self.shards.iter().map(Shard::stats).collect(),
        }
    }

    /// When there is something to publish below `$SYS`: while no proxy has found this node, nobody would be told.
    pub(super) fn sys_due(&self) -> Option<MonotonicMs> {
        let is_found = !self.shards.iter().any(Shard::waits_to_be_found);
        self.sys.due(self.settings.sys_interval_ms).filter(|_| is_found)
    }

    /// Publishes what has changed of the topics below `$SYS`, each at its shard, when it is time.
    pub(super) fn publish_sys(&mut self, now: MonotonicMs, out: &mut Outputs) {
        if self.sys_due().is_none_or(|due| due > now) {
            return;
        }
        let interval_ms = self.settings.sys_interval_ms;
        let stats = self.stats();
        for change in self.sys.next_changes(interval_ms, &stats, now) {
            let (shards, mut turn) = self.turn(now, out);
            let at = turn.placement.shard_of_topic(change.topic_name());
            let is_taken = shards
                .get_mut(usize::from(at.0))
                .is_some_and(|shard| shard.publish_own(change.message(), &mut turn));
            if is_taken {
                self.sys.published(change);
            }
        }
    }
}
