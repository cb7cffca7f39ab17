//! What a storage node's core is made with: identity, bounds and times.

use freshet_config::{QueueLimits, RetainedLimits, RetentionConfig, StorageConfig};
use freshet_storage_contract::ClusterUid;

/// Bytes that may be queued for sessions unless a node is told otherwise: 512 MiB, and more on a disk that has room for it.
pub const DEFAULT_QUEUED_BYTES: u64 = 512 << 20;

/// Bytes of queued messages that stay in memory where a disk has them, too, unless a node is told otherwise: 128 MiB.
pub const DEFAULT_QUEUED_RESIDENT_BYTES: u64 = 128 << 20;

/// Bytes of client ids, wills and stored sessions unless a node is told otherwise: 1 GiB, which is a million sessions with a
/// subscription each.
pub const DEFAULT_SESSION_BYTES: u64 = 1 << 30;

/// What may be queued, in percent of the disk: merging rows takes as much again for a while, and log, reserve, sessions and
/// what is retained have to find room.
const QUEUED_PERCENT: u64 = 40;
/// What is queued may take so many times of what may be resident in memory, places of messages on disk included.
const MEMORY_FACTOR: u64 = 4;
/// Content may take as much however little is to stay in memory: what comes while a checkpoint is written, and while the
/// next one is.
const LEAST_CONTENT_BYTES: u64 = 64 << 20;

/// Settings of a [`crate::StorageCore`]. Bounds hold for all shards of the node together unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageSettings {
    /// Proxies of another cluster are refused.
    pub cluster_uid: ClusterUid,
    /// Parts of the key space, 1 to 1,024.
    pub shards: u16,
    /// Placement rules; disjoint.
    pub placement_rules: Vec<String>,
    /// Bounds of retained messages; bytes are [`freshet_storage_contract::Message::charged_bytes`]. Beyond them
    /// publications with RETAIN are answered with Quota Exceeded.
    pub retained_limits: RetainedLimits,
    /// How long the will of a moved client waits, in ms.
    pub will_grace_on_move_ms: u64,
    /// Life of an incarnation without renewal, in ms.
    pub lease_ttl_ms: u32,
    /// How long publications and clients that connect wait after a start, in ms from the first proxy on, so that proxies
    /// can name their interest and the clients that they have. 0 where nobody can be forgotten.
    pub recovery_hold_ms: u64,
    /// A proxy that owes acknowledgements and has given none for this long no longer holds up publishers, in ms.
    pub silent_after_ms: u64,
    /// How long a new connection waits for the end of the one it takes over, in ms.
    pub takeover_wait_ms: u64,
    /// Bytes of unacknowledged deliveries per proxy and shard. Beyond them QoS 0 is shed, and QoS >= 1 overruns.
    pub ring_bytes: usize,
    /// Bytes of publications per shard that are held, after a start or for want of room. Beyond them the publisher's link is
    /// ended, so that it sends again when it is back.
    pub hold_bytes: usize,
    /// Sessions; beyond them an attach is answered with Quota Exceeded. 0 = no bound.
    pub session_limit: u64,
    /// Bytes of client ids, wills and stored sessions; beyond them attaches and new subscriptions of stored sessions
    /// are answered with Quota Exceeded.
    pub session_bytes: u64,
    /// Bytes of registered filters. Beyond them a proxy's subscribers are not confirmed until its filters fit again,
    /// and new durable filters are refused.
    pub interest_bytes: u64,
    /// Bounds of each light queue; the oldest go.
    pub queue_limits: QueueLimits,
    /// Bounds of all light queues together; the oldest go.
    pub retention: RetentionConfig,
    /// Size of the disk's file system, in bytes, of which `retention` names a part; 0: there is none. See
    /// [`crate::StorageCore::set_disk_bytes`].
    pub disk_bytes: u64,
    /// Bytes of queued messages, their rows, and what QoS 2 publications are known by. Beyond them publications that
    /// would add to it are held, and with them those of QoS >= 1 behind them. None: [`DEFAULT_QUEUED_BYTES`], or 40 % of
    /// the disk where that is more.
    pub queued_bytes: Option<u64>,
    /// Bytes of queued messages in memory, beyond which the content of those that a checkpoint has is on disk alone. Without
    /// a disk it says nothing. Content that no checkpoint has yet may take four times that, or 64 MiB where that is more, and
    /// what all that is queued takes in memory, with its places, four times that, or [`DEFAULT_QUEUED_BYTES`] where that is
    /// more; beyond either publications are held as beyond `queued_bytes`.
    pub queued_resident_bytes: u64,
    /// How often the topics below `$SYS` are published, in ms; 0: never.
    pub sys_interval_ms: u64,
    /// Whether publications that leave something behind are taken; see [`crate::StorageCore::set_log_room`].
    pub log_room: LogRoom,
    /// Random, secret: who chooses topics and client ids must not choose how they spread in hash tables.
    pub hash_seed: u64,
}

/// What becomes of publications that leave something behind in the log. Others, and what sessions change, go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogRoom {
    /// They are taken.
    #[default]
    Free,
    /// They are held, and with them those of QoS >= 1 behind them, until there is room again.
    Hold,
    /// They are answered with Quota Exceeded.
    Refuse,
}

impl StorageSettings {
    /// Settings for `config` with default bounds and times.
    #[must_use]
    pub fn new(config: &StorageConfig, hash_seed: u64) -> Self {
        Self {
            cluster_uid: ClusterUid(config.cluster_uid.clone()),
            shards: config.shards,
            placement_rules: config.placement_rules.clone(),
            retained_limits: config.retained_limits.clone(),
            will_grace_on_move_ms: config.will_grace_on_move_ms,
            lease_ttl_ms: 6_000,
            recovery_hold_ms: 1_000,
            silent_after_ms: 1_000,
            takeover_wait_ms: 5_000,
            ring_bytes: 4 << 20,
            hold_bytes: 16 << 20,
            session_limit: config.max_sessions,
            session_bytes: DEFAULT_SESSION_BYTES,
            interest_bytes: 512 << 20,
            queue_limits: config.queue_limits,
            retention: config.retention,
            disk_bytes: 0,
            queued_bytes: None,
            queued_resident_bytes: DEFAULT_QUEUED_RESIDENT_BYTES,
            sys_interval_ms: config.sys_interval_ms,
            log_room: LogRoom::Free,
            hash_seed,
        }
    }

    /// Bytes that may be queued.
    #[must_use]
    pub fn most_queued_bytes(&self) -> u64 {
        let of_disk = self.disk_bytes / 100 * QUEUED_PERCENT;
        self.queued_bytes.unwrap_or(of_disk.max(DEFAULT_QUEUED_BYTES))
    }

    /// Bytes that all that is queued may take in memory.
    pub(crate) fn most_queue_memory_bytes(&self) -> u64 {
        if self.disk_bytes == 0 {
            return u64::MAX;
        }
        let of_resident = self.queued_resident_bytes.saturating_mul(MEMORY_FACTOR);
        of_resident.max(DEFAULT_QUEUED_BYTES)
    }

    /// Bytes that content may take in memory while it is in no checkpoint, and so cannot go from there.
    pub(crate) fn most_content_bytes(&self) -> u64 {
        if self.disk_bytes == 0 {
            return u64::MAX;
        }
        let of_resident = self.queued_resident_bytes.saturating_mul(MEMORY_FACTOR);
        of_resident.max(LEAST_CONTENT_BYTES)
    }

    /// Bytes of waiting messages beyond which the oldest go; none: there is no bound. Below what may be queued at all, so
    /// that they go before publications are held.
    pub(crate) fn most_waiting_bytes(&self) -> Option<u64> {
        let most = self.most_queued_bytes();
        let of_disk = self.retention.max_bytes(self.disk_bytes)?;
        Some(of_disk.min(most - most / 16))
    }

    /// Takes over what a running node can change: limits, the grace of wills, and how often `$SYS` is published.
    pub(crate) fn reload(&mut self, config: &StorageConfig) {
        self.retained_limits = config.retained_limits.clone();
        self.session_limit = config.max_sessions;
        self.queue_limits = config.queue_limits;
        self.retention = config.retention;
        self.sys_interval_ms = config.sys_interval_ms;
        self.will_grace_on_move_ms = config.will_grace_on_move_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn on_disk(disk_bytes: u64) -> StorageSettings {
        StorageSettings {
            disk_bytes,
            ..StorageSettings::new(&StorageConfig::default(), 7)
        }
    }

    #[test]
    fn what_may_be_queued_is_a_part_of_the_disk_and_never_less_than_without_one() {
        let most = |disk_bytes| on_disk(disk_bytes).most_queued_bytes();
        assert_eq!(most(0), DEFAULT_QUEUED_BYTES);
        assert_eq!(most(GIB), DEFAULT_QUEUED_BYTES);
        assert_eq!(most(100 * GIB), 40 * GIB);
        let told = StorageSettings {
            queued_bytes: Some(7),
            ..on_disk(100 * GIB)
        };
        assert_eq!(told.most_queued_bytes(), 7);
    }

    #[test]
    fn the_oldest_go_before_publications_are_held_whatever_part_retention_names() {
        let most = |max_bytes_percent| {
            let retention = RetentionConfig {
                max_bytes_percent,
                ..RetentionConfig::default()
            };
            let settings = StorageSettings {
                retention,
                ..on_disk(100 * GIB)
            };
            settings.most_waiting_bytes()
        };
        assert_eq!((most(0), most(25)), (None, Some(25 * GIB)));
        assert_eq!(most(90), Some(40 * GIB / 16 * 15));
    }

    #[test]
    fn memory_is_bounded_where_the_content_need_not_be_in_it() {
        assert_eq!(on_disk(0).most_queue_memory_bytes(), u64::MAX);
        let told = StorageSettings {
            queued_resident_bytes: GIB,
            ..on_disk(GIB)
        };
        assert_eq!(
            (on_disk(GIB).most_queue_memory_bytes(), told.most_queue_memory_bytes()),
            (DEFAULT_QUEUED_BYTES, 4 * GIB)
        );
        let little = StorageSettings {
            queued_resident_bytes: 1,
            ..on_disk(GIB)
        };
        let content = [on_disk(0), on_disk(GIB), told, little].map(|s| s.most_content_bytes());
        assert_eq!(content, [u64::MAX, 512 << 20, 4 * GIB, 64 << 20]);
    }
}
