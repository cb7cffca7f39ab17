//! `storage.json`: what a storage node is told.

use serde::{Deserialize, Serialize};

/// The file `storage.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageConfig {
    /// UID of the `MqttCluster`: proxies of another cluster are refused.
    pub cluster_uid: String,
    /// Parts of the key space, 1 to 1,024; set at creation. Default 8.
    pub shards: u16,
    /// Placement rules such as `devices/{key}/#`; disjoint; set at creation. None: the whole topic is the key.
    pub placement_rules: Vec<String>,
    /// Bounds of retained messages over all shards.
    pub retained_limits: RetainedLimits,
    /// `spec.limits.cluster.sessions`: sessions over all shards, connected or not; 0 = no bound. Default 1,000,000.
    pub max_sessions: u64,
    /// Bounds of what waits for sessions.
    pub queue_limits: QueueLimits,
    /// Bounds of what waits in all queues together.
    pub retention: RetentionConfig,
    /// How the node uses its disk. Without `--data-dir` it has none, and this says nothing.
    pub disk: DiskConfig,
    /// How long the will of a client waits that the server itself moved, in ms. Default 30,000.
    pub will_grace_on_move_ms: u64,
    /// How often the topics below `$SYS` are published, in ms; 0: never. Default 10,000.
    pub sys_interval_ms: u64,
    /// `error | warn | info | debug | trace`.
    pub log_level: String,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            cluster_uid: String::new(),
            shards: 8,
            placement_rules: Vec::new(),
            retained_limits: RetainedLimits::default(),
            max_sessions: 1_000_000,
            queue_limits: QueueLimits::default(),
            retention: RetentionConfig::default(),
            disk: DiskConfig::default(),
            will_grace_on_move_ms: 30_000,
            sys_interval_ms: 10_000,
            log_level: "info".to_owned(),
        }
    }
}

/// `spec.limits.cluster.retained…`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetainedLimits {
    /// Retained messages; 0 = no bound. Default 0.
    pub messages: u64,
    /// Bytes of topics and payloads of retained messages; 0 = no bound. Default 1 GiB.
    pub bytes: u64,
}

impl Default for RetainedLimits {
    fn default() -> Self {
        Self {
            messages: 0,
            bytes: 1 << 30,
        }
    }
}

/// `spec.limits.session.queued…`, for each durable filter's queue; over a bound its oldest messages go. 0 = no bound,
/// the default of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueLimits {
    /// Messages.
    pub messages: u64,
    /// Bytes charged for messages.
    pub bytes: u64,
    /// Age of a message, in ms.
    pub age_ms: u64,
}

/// `spec.storage.retention`, for all queues of a node together; over a bound the oldest messages go. 0 = no bound, the
/// default of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetentionConfig {
    /// Age of a message, in ms.
    pub max_age_ms: u64,
    /// Part of the file system that the messages' own bytes may come to, in percent, 0 to 100. Without `--data-dir` there
    /// is none, and this says nothing.
    pub max_bytes_percent: u8,
}

impl RetentionConfig {
    /// Bytes that messages may come to on a file system of `total_bytes`; none: there is no bound.
    #[must_use]
    pub fn max_bytes(&self, total_bytes: u64) -> Option<u64> {
        let share = total_bytes / 100 * u64::from(self.max_bytes_percent.min(100));
        Some(share).filter(|share| *share > 0)
    }
}

/// `spec.storage.diskFull`: what a node does before its disk is full. Where the files lie is the argument `--data-dir`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DiskConfig {
    /// Part of the file system that messages leave free for what makes room again, in percent; never less than
    /// [`DiskConfig::LEAST_RESERVE_BYTES`]. Default 5. 1 to 50.
    pub reserve_percent: u8,
    /// What a message meets that would have to be stored and finds only the reserve left. Default: it is held.
    pub when_full: WhenFull,
}

impl DiskConfig {
    /// The smallest reserve, in bytes: a segment of the log, so that a small volume has room to compact.
    pub const LEAST_RESERVE_BYTES: u64 = 64 << 20;

    /// The reserve of a file system of `total_bytes`, in bytes.
    #[must_use]
    pub fn reserve_bytes(&self, total_bytes: u64) -> u64 {
        let share = total_bytes / 100 * u64::from(self.reserve_percent);
        share.max(Self::LEAST_RESERVE_BYTES)
    }
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            reserve_percent: 5,
            when_full: WhenFull::Hold,
        }
    }
}

/// Answer to a message that cannot be stored because only the reserve is left. Messages that nobody has to keep, and
/// what frees room (acknowledgements, expiry, unsubscriptions), go on in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhenFull {
    /// Its acknowledgement waits until there is room, at most `publishHold`; then the client is told to come again.
    Hold,
    /// It is refused at once with 0x97, Quota exceeded; a 3.1.1 client is disconnected, which it takes as "try again".
    Refuse,
}

#[cfg(test)]
mod tests {
    use super::{DiskConfig, RetentionConfig, StorageConfig, WhenFull};

    #[test]
    fn a_file_of_an_operator_that_knows_no_disk_has_the_defaults() {
        let config: StorageConfig = serde_json::from_str(r#"{"shards": 4}"#).unwrap();
        assert_eq!(config.disk, DiskConfig::default());
    }

    #[test]
    fn a_file_names_the_reserve_and_what_happens_in_front_of_it() {
        let config: StorageConfig =
            serde_json::from_str(r#"{"disk": {"reservePercent": 10, "whenFull": "Refuse"}}"#).unwrap();
        assert_eq!(
            (config.disk.reserve_percent, config.disk.when_full),
            (10, WhenFull::Refuse)
        );
    }

    #[test]
    fn what_may_wait_is_a_part_of_the_volume_and_without_either_there_is_no_bound() {
        let config: StorageConfig =
            serde_json::from_str(r#"{"retention": {"maxAgeMs": 9000, "maxBytesPercent": 25}}"#).unwrap();
        assert_eq!(config.retention.max_age_ms, 9_000);
        assert_eq!(config.retention.max_bytes(10 << 30), Some((10 << 30) / 100 * 25));
        assert_eq!(config.retention.max_bytes(0), None, "there is no disk");
        assert_eq!(RetentionConfig::default().max_bytes(10 << 30), None);
        let all = RetentionConfig {
            max_bytes_percent: u8::MAX,
            ..RetentionConfig::default()
        };
        assert_eq!(all.max_bytes(u64::MAX), Some(u64::MAX / 100 * 100));
    }

    #[test]
    fn a_small_volume_keeps_a_whole_segment_free() {
        let disk = DiskConfig::default();
        assert_eq!(disk.reserve_bytes(1 << 30), DiskConfig::LEAST_RESERVE_BYTES);
        assert_eq!(disk.reserve_bytes(100 << 30), (100 << 30) / 100 * 5);
    }
}
