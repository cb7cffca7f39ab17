//! The topics below `$SYS/broker/` and what is said at each. Names and units are those of Mosquitto, so that dashboards
//! made for it read them.

use std::time::Duration;

use freshet_storage_contract::ProxyReport;

use super::load::Loads;
use crate::stats::{ShardCounters, ShardGauges, StorageStats};

/// What the topics are made of.
pub(super) struct Numbers<'a> {
    pub(super) uptime: Duration,
    /// Clients that are connected.
    pub(super) clients: u64,
    /// The most there have been.
    pub(super) most_clients: u64,
    pub(super) subscriptions: u64,
    pub(super) total: &'a ProxyReport,
    pub(super) loads: &'a Loads,
    pub(super) stats: &'a StorageStats,
}

impl Numbers<'_> {
    fn gauges(&self, of: fn(&ShardGauges) -> u64) -> u64 {
        self.stats.shards.iter().map(|s| of(&s.gauges)).sum()
    }

    fn counters(&self, of: fn(&ShardCounters) -> u64) -> u64 {
        self.stats.shards.iter().map(|s| of(&s.counters)).sum()
    }

    fn offline(&self) -> u64 {
        self.gauges(|g| g.sessions_offline)
    }
}

type Value = fn(&Numbers<'_>) -> String;

/// Topic name behind `$SYS/broker/`, and its payload.
pub(super) const TOPICS: [(&str, Value); 25] = [
    ("version", |_| format!("freshet version {}", env!("CARGO_PKG_VERSION"))),
    ("uptime", |n| format!("{} seconds", n.uptime.as_secs())),
    ("clients/connected", |n| n.clients.to_string()),
    ("clients/disconnected", |n| n.offline().to_string()),
    ("clients/total", |n| (n.clients + n.offline()).to_string()),
    ("clients/maximum", |n| n.most_clients.to_string()),
    ("clients/expired", |n| {
        n.counters(|c| c.sessions_expired_total).to_string()
    }),
    ("subscriptions/count", |n| n.subscriptions.to_string()),
    ("retained messages/count", |n| {
        n.gauges(|g| g.retained_messages).to_string()
    }),
    ("store/messages/count", |n| {
        n.gauges(|g| g.retained_messages + g.queued_messages).to_string()
    }),
    ("store/messages/bytes", |n| {
        n.gauges(|g| g.retained_bytes + g.queued_bytes).to_string()
    }),
    ("messages/received", |n| n.total.packets_received.to_string()),
    ("messages/sent", |n| n.total.packets_sent.to_string()),
    ("publish/messages/received", |n| n.total.publishes_received.to_string()),
    ("publish/messages/sent", |n| n.total.publishes_sent.to_string()),
    ("publish/messages/dropped", |n| n.total.publishes_dropped.to_string()),
    ("publish/bytes/received", |n| n.total.payload_bytes_received.to_string()),
    ("publish/bytes/sent", |n| n.total.payload_bytes_sent.to_string()),
    ("bytes/received", |n| n.total.bytes_received.to_string()),
    ("bytes/sent", |n| n.total.bytes_sent.to_string()),
    ("load/messages/received/1min", |n| n.loads.packets_received.to_string()),
    ("load/messages/sent/1min", |n| n.loads.packets_sent.to_string()),
    ("load/publish/received/1min", |n| n.loads.publishes_received.to_string()),
    ("load/publish/sent/1min", |n| n.loads.publishes_sent.to_string()),
    ("load/connections/1min", |n| n.loads.connects.to_string()),
];
