//! The figures of core and disk as metrics, at the moment of a scrape.
//!
//! By shard where an operator looks for the hot one, summed elsewhere.

mod disk;
mod stored;

use std::fmt;

use freshet_storage_contract::MonotonicMs;
use freshet_storage_core::{ShardCounters, ShardGauges, ShardStats, StorageStats};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use crate::disk::DiskStats;

/// See the module.
#[derive(Debug)]
pub struct StorageMetrics {
    /// Of the core.
    pub core: StorageStats,
    /// Of the disk, when there is one.
    pub disk: Option<DiskStats>,
    /// When they are shown, by the clock that the core is given.
    pub now: MonotonicMs,
}

impl Collector for StorageMetrics {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut out = Writer { encoder };
        self.encode_node(&mut out)?;
        self.encode_load(&mut out)?;
        self.encode_content(&mut out)?;
        self.encode_stored(&mut out)?;
        self.encode_troubles(&mut out)?;
        self.disk.as_ref().map_or(Ok(()), |d| disk::encode(d, &mut out))
    }
}

impl StorageMetrics {
    fn encode_node(&self, out: &mut Writer<'_>) -> Result<(), fmt::Error> {
        let stats = &self.core;
        out.gauge("incarnations", "Proxies whose lease holds", stats.incarnations)?;
        out.gauge("links", "Of these, with open streams", stats.links)?;
        out.counter(
            "leases_expired",
            "Leases of proxies that ran out",
            stats.leases_expired_total,
        )?;
        out.counter(
            "attaches_refused",
            "Proxies that were refused",
            stats.attaches_refused_total,
        )?;
        out.counter(
            "links_faulted",
            "Links ended for what a proxy said",
            stats.links_ended_total,
        )
    }

    /// What tells a hot shard from the others.
    fn encode_load(&self, out: &mut Writer<'_>) -> Result<(), fmt::Error> {
        let shards = &self.core.shards;
        out.counters_by_shard("publishes", "Publications taken in", shards, |c| c.publishes_total)?;
        out.counters_by_shard("deliveries", "Copies of messages sent to proxies", shards, |c| {
            c.deliveries_total
        })?;
        out.gauges_by_shard("publications_waiting", "Publications without outcome", shards, |g| {
            g.publications_waiting
        })?;
        out.gauges_by_shard("sessions", "Clients that are connected", shards, |g| g.sessions)?;
        out.gauges_by_shard("retained_messages", "Retained messages", shards, |g| {
            g.retained_messages
        })?;
        out.gauges_by_shard("retained_bytes", "Bytes of retained messages", shards, |g| {
            g.retained_bytes
        })
    }

    fn encode_content(&self, out: &mut Writer<'_>) -> Result<(), fmt::Error> {
        // A filter without shard of its own is registered at every shard: one of them tells how many there are.
        let all_shards = self
            .core
            .shards
            .iter()
            .map(|s| s.gauges.filters_all_shards)
            .max()
            .unwrap_or(0);
        let one_shard = self.gauges(|g| g.filters_one_shard);
        out.gauges_by(
            "filters",
            "Topic filters of proxies, by how many shards they are registered at",
            "scope",
            [("one_shard", one_shard), ("all_shards", all_shards)],
        )?;
        out.gauge(
            "interest_bytes",
            "Bytes of registered filters",
            self.gauges(|g| g.interest_bytes) + self.core.common_filter_bytes,
        )?;
        out.gauge(
            "wills_waiting",
            "Wills that wait for their delay or grace",
            self.gauges(|g| g.wills_waiting),
        )?;
        out.gauge(
            "ring_deliveries",
            "Deliveries not acknowledged",
            self.gauges(|g| g.ring_deliveries),
        )?;
        out.gauge(
            "ring_bytes",
            "Bytes of deliveries not acknowledged",
            self.gauges(|g| g.ring_bytes),
        )?;
        out.gauge(
            "held_bytes",
            "Bytes of publications held after a start or for want of room",
            self.gauges(|g| g.held_bytes),
        )?;
        out.gauge(
            "attaches_held",
            "Clients that wait for their sessions behind a start",
            self.gauges(|g| g.attaches_held),
        )?;
        out.gauge(
            "reads_waiting",
            "Reads that wait for room",
            self.gauges(|g| g.reads_waiting),
        )?;
        out.counter(
            "session_attaches",
            "Sessions attached",
            self.counters(|c| c.attaches_total),
        )?;
        out.counters_by(
            "sessions_refused",
            "Sessions not attached",
            "reason",
            [
                ("quota_exceeded", self.counters(|c| c.attaches_refused_total)),
                ("superseded", self.counters(|c| c.attaches_superseded_total)),
            ],
        )?;
        out.counters_by(
            "takeovers",
            "Connections taken over, by whether the proxy confirmed it in time",
            "confirmed",
            {
                let unconfirmed = self.counters(|c| c.takeovers_unconfirmed_total);
                let all = self.counters(|c| c.takeovers_total);
                [("true", all.saturating_sub(unconfirmed)), ("false", unconfirmed)]
            },
        )?;
        out.counter(
            "takeovers_repeated",
            "Takeovers held because the client id had changed hands too often",
            self.counters(|c| c.takeovers_repeated_total),
        )?;
        out.counters_by(
            "wills",
            "Wills published or dropped",
            "outcome",
            [
                ("published", self.counters(|c| c.wills_published_total)),
                ("dropped", self.counters(|c| c.wills_dropped_total)),
            ],
        )?;
        out.counter(
            "retained_reads",
            "Chunks of retained messages read",
            self.counters(|c| c.retained_reads_total),
        )?;
        out.counter(
            "retained_expired",
            "Retained messages that expired",
            self.counters(|c| c.retained_expired_total),
        )
    }

    /// What should stay at zero.
    fn encode_troubles(&self, out: &mut Writer<'_>) -> Result<(), fmt::Error> {
        out.counters_by(
            "shed",
            "Copies of messages not sent because a proxy is slow",
            "reason",
            [
                ("qos0_over_bound", self.counters(|c| c.shed_total)),
                ("overrun", self.counters(|c| c.overrun_messages_total)),
            ],
        )?;
        out.counter(
            "overruns",
            "Rings towards proxies that became full",
            self.counters(|c| c.overruns_total),
        )?;
        out.counter(
            "silences",
            "Times a proxy fell silent",
            self.counters(|c| c.silences_total),
        )?;
        out.counter(
            "interest_late",
            "Proxies that named their filters after publications had been routed without them",
            self.counters(|c| c.interest_late_total),
        )?;
        out.counter(
            "sessions_late",
            "Sessions that were named after publications had been routed without them",
            self.counters(|c| c.sessions_late_total),
        )?;
        out.counter(
            "publishes_repeated",
            "Publications that came again after a broken stream",
            self.counters(|c| c.publishes_repeated_total),
        )?;
        out.counter(
            "deliveries_resent",
            "Deliveries sent again after a broken stream",
            self.counters(|c| c.deliveries_resent_total),
        )?;
        out.counter(
            "filters_refused",
            "Filters over the bound or malformed",
            self.counters(|c| c.filters_refused_total),
        )?;
        out.counter(
            "retained_refused",
            "Publications with RETAIN over a limit",
            self.counters(|c| c.retained_refused_total),
        )?;
        out.counter(
            "disk_full_refused",
            "Publications refused because the disk was full",
            self.counters(|c| c.disk_full_refused_total),
        )
    }

    fn gauges(&self, figure: impl Fn(&ShardGauges) -> u64) -> u64 {
        self.core.shards.iter().map(|s| figure(&s.gauges)).sum()
    }

    fn counters(&self, figure: impl Fn(&ShardCounters) -> u64) -> u64 {
        self.core.shards.iter().map(|s| figure(&s.counters)).sum()
    }
}

struct Writer<'e> {
    encoder: DescriptorEncoder<'e>,
}

impl Writer<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> Result<(), fmt::Error> {
        let metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(value).encode(metric)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), fmt::Error> {
        let metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(metric)
    }

    fn gauges_by<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: [(&str, u64); N],
    ) -> Result<(), fmt::Error> {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (word, value) in values {
            ConstGauge::new(value).encode(metric.encode_family(&[(label, word)])?)?;
        }
        Ok(())
    }

    fn counters_by<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: [(&str, u64); N],
    ) -> Result<(), fmt::Error> {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (word, value) in values {
            ConstCounter::new(value).encode(metric.encode_family(&[(label, word)])?)?;
        }
        Ok(())
    }

    fn gauges_by_shard(
        &mut self,
        name: &str,
        help: &str,
        shards: &[ShardStats],
        figure: impl Fn(&ShardGauges) -> u64,
    ) -> Result<(), fmt::Error> {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for shard in shards {
            let value = ConstGauge::new(figure(&shard.gauges));
            value.encode(metric.encode_family(&[("shard", shard.shard.0)])?)?;
        }
        Ok(())
    }

    fn counters_by_shard(
        &mut self,
        name: &str,
        help: &str,
        shards: &[ShardStats],
        figure: impl Fn(&ShardCounters) -> u64,
    ) -> Result<(), fmt::Error> {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for shard in shards {
            let value = ConstCounter::new(figure(&shard.counters));
            value.encode(metric.encode_family(&[("shard", shard.shard.0)])?)?;
        }
        Ok(())
    }
}
