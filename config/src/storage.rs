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
