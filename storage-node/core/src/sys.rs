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

    /// When [`Self::next_messages`] has something to say; `interval_ms` 0: when there is something to take back.
    pub(crate) fn due(&self, interval_ms: u64) -> Option<MonotonicMs> {
        let interval = Duration::from_millis(interval_ms);
        match self.last {
            None if interval_ms == 0 => None,
            None => Some(self.started.plus(FIRST_AFTER.min(interval))),
            Some(_) if interval_ms == 0 => Some(self.started),
            Some(last) => Some(last.plus(interval)),
        }
    }

    /// What has changed since the last call. `interval_ms` 0: deletes what is retained.
    pub(crate) fn next_messages(&mut self, interval_ms: u64, stats: &StorageStats, now: MonotonicMs) -> Vec<Message> {
        if interval_ms == 0 {
            self.last = None;
            let taken = std::mem::replace(&mut self.published, std::array::from_fn(|_| String::new()));
            let topics = TOPICS.iter().zip(taken).filter(|(_, payload)| !payload.is_empty());
            return topics.map(|((name, _), _)| message(name, String::new())).collect();
        }
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
        let mut changed = Vec::new();
        for ((name, value), published) in TOPICS.iter().zip(&mut self.published) {
            let payload = value(&numbers);
            if payload != *published {
                published.clone_from(&payload);
                changed.push(message(name, payload));
            }
        }
        changed
    }
}

fn message(name: &str, payload: String) -> Message {
    Message {
        topic_name: Bytes::from(format!("$SYS/broker/{name}")),
        payload: Bytes::from(payload),
        qos: QoS::AtMostOnce,
        retain: true,
        publisher: PublisherId::default(),
        message_expiry_interval_s: None,
        forwarded_properties: Bytes::new(),
        exactly_once: None,
    }
}
