//! Sessions that outlive their connection, shared subscriptions, and what is queued for them.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{StorageMetrics, Writer};

impl StorageMetrics {
    pub(super) fn encode_stored(&self, out: &mut Writer<'_>) -> Result<(), fmt::Error> {
        self.encode_sessions(out)?;
        self.encode_queues(out)?;
        self.encode_groups(out)?;
        self.encode_queue_losses(out)
    }

    fn encode_sessions(&self, out: &mut Writer<'_>) -> Result<(), fmt::Error> {
        let offline = self.gauges(|g| g.sessions_offline);
        let stored = self.gauges(|g| g.sessions_stored);
        out.gauges_by(
            "stored_sessions",
            "Sessions that outlive their connection, by whether their client is connected",
            "connected",
            [("true", stored.saturating_sub(offline)), ("false", offline)],
        )?;
        out.gauge(
            "session_bytes",
            "Bytes of client ids, wills and stored sessions",
            self.gauges(|g| g.session_bytes),
        )?;
        out.counter(
            "sessions_resumed",
            "Stored sessions that a connection found again",
            self.counters(|c| c.sessions_resumed_total),
        )?;
        out.counter(
            "sessions_expired",
            "Stored sessions whose expiry interval passed",
            self.counters(|c| c.sessions_expired_total),
        )?;
        let refused = self.counters(|c| c.session_updates_refused_total);
        let all = self.counters(|c| c.session_updates_total);
        out.counters_by(
            "session_updates",
            "Changes of stored sessions, by what became of them",
            "outcome",
            [("committed", all.saturating_sub(refused)), ("refused", refused)],
        )
    }

    fn encode_queues(&self, out: &mut Writer<'_>) -> Result<(), fmt::Error> {
        let shards = &self.core.shards;
        out.gauges_by_shard(
            "queued_messages",
            "Messages queued for stored sessions and shared subscriptions",
            shards,
            |g| g.queued_messages,
        )?;
        out.gauges_by_shard("queued_bytes", "Bytes of what is queued", shards, |g| g.queued_bytes)?;
        out.gauges_by_shard(
            "queued_resident_bytes",
            "Of these, bytes of messages whose content is in memory",
            shards,
            |g| g.queued_resident_bytes,
        )?;
        self.encode_oldest(out)?;
        out.gauge(
            "queued_rows",
            "Places of messages in queues",
            self.gauges(|g| g.queued_rows),
        )?;
        out.gauge(
            "durable_filters",
            "Topic filters that queue messages",
            self.gauges(|g| g.durable_filters),
        )?;
        out.counter(
            "durable_filters_refused",
            "Topic filters that were to queue messages, over the bound or malformed",
            self.counters(|c| c.durable_filters_refused_total),
        )?;
        out.gauge(
            "exactly_once_rows",
            "Publications that their publisher, or its proxy, may repeat",
            self.gauges(|g| g.packets),
        )?;
        out.counter("queued", "Messages queued", self.counters(|c| c.queued_total))?;
        out.counter(
            "pulls",
            "Chunks of queued messages read",
            self.counters(|c| c.pulls_total),
        )?;
        out.counter(
            "pulled_messages",
            "Messages in them",
            self.counters(|c| c.pulled_messages_total),
        )?;
        out.counter(
            "queued_loads",
            "Queued messages whose content was read back from the disk",
            self.counters(|c| c.loads_total),
        )?;
        out.counter(
            "queued_loaded_bytes",
            "Bytes of them",
            self.counters(|c| c.loaded_bytes_total),
        )?;
        out.counter(
            "publishes_known",
            "QoS 2 publications that a session repeated",
            self.counters(|c| c.publishes_known_total),
        )
    }

    fn encode_oldest(&self, out: &mut Writer<'_>) -> Result<(), fmt::Error> {
        let help = "Age of the message that has been queued for longest; 0: there is none";
        let mut metric = out
            .encoder
            .encode_descriptor("queued_oldest_seconds", help, None, MetricType::Gauge)?;
        for shard in &self.core.shards {
            let age = shard.oldest_queued.map_or(Duration::ZERO, |since| since.age(self.now));
            let value = ConstGauge::new(age.as_secs_f64());
            value.encode(metric.encode_family(&[("shard", shard.shard.0)])?)?;
        }
        Ok(())
    }

    fn encode_groups(&self, out: &mut Writer<'_>) -> Result<(), fmt::Error> {
        let online = self.gauges(|g| g.shared_groups_online);
        let groups = self.gauges(|g| g.shared_groups);
        out.gauges_by(
            "shared_groups",
            "Shared subscriptions at each shard, by whether some member is connected",
            "connected",
            [("true", online), ("false", groups.saturating_sub(online))],
        )?;
        out.gauges_by_shard(
            "shared_leases",
            "Messages of shared subscriptions that proxies have and have not settled",
            &self.core.shards,
            |g| g.shared_leases,
        )?;
        out.gauge(
            "shared_kept",
            "QoS 2 messages of shared subscriptions that stored sessions have taken",
            self.gauges(|g| g.shared_kept),
        )?;
        out.counter(
            "shared_deliveries",
            "Messages of shared subscriptions given to proxies",
            self.counters(|c| c.shared_deliveries_total),
        )?;
        out.counter(
            "shared_settled",
            "Messages of shared subscriptions that a member has done with",
            self.counters(|c| c.shared_settled_total),
        )?;
        out.counter(
            "shared_returned",
            "Messages of shared subscriptions that came back and went to another member",
            self.counters(|c| c.shared_returned_total),
        )
    }

    fn encode_queue_losses(&self, out: &mut Writer<'_>) -> Result<(), fmt::Error> {
        out.counters_by(
            "queue_dropped",
            "Places of messages in queues that ended before they were delivered",
            "reason",
            [
                ("queued_messages", self.counters(|c| c.queue_dropped_count_total)),
                ("queued_bytes", self.counters(|c| c.queue_dropped_bytes_total)),
                ("queued_age", self.counters(|c| c.queue_dropped_age_total)),
                ("retention_age", self.counters(|c| c.retention_dropped_age_total)),
                ("retention_bytes", self.counters(|c| c.retention_dropped_bytes_total)),
                ("message_expiry", self.counters(|c| c.queue_expired_total)),
            ],
        )?;
        out.gauge(
            "publications_held",
            "Publications held after a start or for want of room",
            self.gauges(|g| g.publications_held),
        )?;
        out.counter(
            "publishes_held",
            "Publications that were held for want of room",
            self.counters(|c| c.publishes_held_total),
        )
    }
}
