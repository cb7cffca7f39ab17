//! `$SYS/broker/…`: what a cluster tells its clients about itself, published once for all proxies.
//!
//! Proxies report what they have done ([`ProxyReport`]); the node adds that up with what it knows itself and publishes
//! what has changed, with RETAIN and at QoS 0: a new subscriber sees where things are, and nothing is queued for those
//! who are away. Lives with the process: sums begin at 0 with it.

mod load;
mod topics;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use freshet_storage_contract::{Message, MonotonicMs, ProxyReport, PublisherId, QoS};

use self::load::Loads;
use self::topics::{Numbers, TOPICS};
use crate::incarnations::PeerKey;
use crate::stats::StorageStats;

/// First level of the topics that only the server publishes to, and the separator behind it. They do not count towards
/// the user's limits.
pub(crate) const SERVER_TOPICS: &[u8] = b"$SYS/";
/// How long after its start the node publishes for the first time: proxies have attached by then.
const FIRST_AFTER: Duration = Duration::from_secs(2);
/// How often at most the node publishes, and how often it tries to take back what it has published.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// The topics of a node.
#[derive(Debug)]
pub(crate) struct Sys {
    started: MonotonicMs,
    last: Option<MonotonicMs>,
    total: ProxyReport,
    /// Subscriptions by proxy. As many as there are incarnations.
    subscriptions: BTreeMap<PeerKey, u64>,
    most_clients: u64,
    loads: Loads,
    /// What is retained, in the order of [`TOPICS`].
    published: [String; TOPICS.len()],
    /// Some of that may have been lost.
    are_unsure: bool,
}

impl Sys {
    pub(crate) fn new(now: MonotonicMs) -> Self {
        Self {
            started: now,
            last: None,
            total: ProxyReport::default(),
            subscriptions: BTreeMap::new(),
            most_clients: 0,
            loads: Loads::default(),
            published: std::array::from_fn(|_| String::new()),
            are_unsure: false,
        }
    }

    /// A proxy reports.
    pub(crate) fn take_report(&mut self, key: PeerKey, report: &ProxyReport) {
        self.total = self.total.followed_by(report);
        self.subscriptions.insert(key, report.subscriptions);
    }

    /// An incarnation has ended. What it has done remains.
    pub(crate) fn forget(&mut self, key: PeerKey) {
        self.subscriptions.remove(&key);
    }

    /// Shards have dropped what they held, and proxies report anew.
    pub(crate) fn restart(&mut self) {
        self.subscriptions.clear();
        self.are_unsure = true;
    }

    /// When [`Self::next_changes`] has something to say; `interval_ms` 0: when there is something to take back.
    pub(crate) fn due(&self, interval_ms: u64) -> Option<MonotonicMs> {
        let interval = Duration::from_millis(interval_ms).max(SHORTEST_INTERVAL);
        match self.last {
            _ if interval_ms == 0 && self.published.iter().all(String::is_empty) => None,
            None => Some(self.started.plus(FIRST_AFTER)),
            Some(last) => Some(last.plus(interval)),
        }
    }

    /// What has changed since it was last published. `interval_ms` 0: takes back what is retained.
    pub(crate) fn next_changes(&mut self, interval_ms: u64, stats: &StorageStats, now: MonotonicMs) -> Vec<Change> {
        let since = self.last.replace(now).unwrap_or(self.started);
        self.loads.observe(&self.total, now.since(since));
        let clients = stats.shards.iter().map(|s| s.gauges.sessions).sum();
        self.most_clients = self.most_clients.max(clients);
        let numbers = Numbers {
            uptime: now.since(self.started),
            clients,
            most_clients: self.most_clients,
            subscriptions: self.subscriptions.values().sum(),
            total: &self.total,
            loads: &self.loads,
            stats,
        };
        let payload_of = |value: fn(&Numbers<'_>) -> String| match interval_ms {
            0 => String::new(),
            _ => value(&numbers),
        };
        let all = std::mem::take(&mut self.are_unsure);
        TOPICS
            .iter()
            .enumerate()
            .map(|(topic, (_, value))| Change {
                topic,
                payload: payload_of(*value),
            })
            .zip(&self.published)
            .filter(|(change, published)| all || change.payload != **published)
            .map(|(change, _)| change)
            .collect()
    }

    /// A change has been taken by its shard. One that has not comes again.
    pub(crate) fn published(&mut self, change: Change) {
        if let Some(published) = self.published.get_mut(change.topic) {
            *published = change.payload;
        }
    }
}

/// What one topic says from now on. An empty payload deletes it.
#[derive(Debug)]
pub(crate) struct Change {
    /// Index in [`TOPICS`].
    topic: usize,
    payload: String,
}

impl Change {
    pub(crate) fn topic_name(&self) -> String {
        let name = TOPICS.get(self.topic).map_or("", |(name, _)| name);
        format!("$SYS/broker/{name}")
    }

    pub(crate) fn message(&self) -> Message {
        Message {
            topic_name: Bytes::from(self.topic_name()),
            payload: Bytes::from(self.payload.clone()),
            qos: QoS::AtMostOnce,
            retain: true,
            publisher: PublisherId::default(),
            message_expiry_interval_s: None,
            forwarded_properties: Bytes::new(),
            exactly_once: None,
        }
    }
}
