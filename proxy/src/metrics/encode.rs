//! The names of the metrics, and how the workers' plain numbers become them.

use std::fmt;
use std::sync::Arc;

use freshet_proxy_core::{DisconnectReason, RoundTripCounts, WorkerStats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::capacity::ListenerCount;
use crate::driver::{TurnSeconds, WorkerReport};

/// Everything a scrape shows.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) reports: Vec<WorkerReport>,
    pub(super) listeners: Vec<Arc<ListenerCount>>,
    pub(super) connections_limit: u32,
    /// Taken up, not usable.
    pub(super) config_reloads: (u64, u64),
    pub(super) is_ready: bool,
}

/// A value with the values of its labels.
type Labelled<'a, const LABELS: usize> = ([(&'a str, &'a str); LABELS], u64);

struct Encoder<'a>(DescriptorEncoder<'a>);

impl Encoder<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    fn counters<'v, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = Labelled<'v, LABELS>>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        values.into_iter().try_for_each(|(labels, value)| {
            metric
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    fn gauges<'v, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = Labelled<'v, LABELS>>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        values
            .into_iter()
            .try_for_each(|(labels, value)| metric.encode_family(&labels)?.encode_gauge(&value))
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut e = Encoder(encoder);
        self.encode_connections(&mut e)?;
        self.encode_messages(&mut e)?;
        self.encode_bounds(&mut e)?;
        self.encode_storage(&mut e)?;
        self.encode_process(&mut e)
    }
}

impl Snapshot {
    fn sum(&self, of: impl Fn(&WorkerStats) -> u64) -> u64 {
        self.reports.iter().map(|report| of(&report.worker)).sum()
    }

    fn encode_connections(&self, e: &mut Encoder<'_>) -> fmt::Result {
        // Of listeners that had the same name one after another, the last one is the present one.
        let mut names: Vec<&str> = Vec::new();
        for listener in &self.listeners {
            if !names.contains(&listener.name.as_str()) {
                names.push(&listener.name);
            }
        }
        let of_name =
            |name: &str| -> Vec<&Arc<ListenerCount>> { self.listeners.iter().filter(|l| l.name == name).collect() };
        let open = |name: &str| of_name(name).iter().map(|l| u64::from(l.open())).sum();
        let last = |name: &str, of: fn(&ListenerCount) -> u32| {
            of_name(name)
                .last()
                .map_or(0, |l| if l.is_removed() { 0 } else { u64::from(of(l)) })
        };
        let by_name = |value: &dyn Fn(&str) -> u64| -> Vec<([(&str, &str); 1], u64)> {
            names.iter().map(|name| ([("listener", *name)], value(name))).collect()
        };
        e.gauges("connections", "Open connections", by_name(&open))?;
        e.gauges(
            "listener_connections_configured",
            "maxConnections of the listener",
            by_name(&|name| last(name, ListenerCount::configured_max)),
        )?;
        e.gauges(
            "listener_connections_limit",
            "Connections that the listener may have: maxConnections, lowered to what the process may have",
            by_name(&|name| last(name, ListenerCount::effective_max)),
        )?;
        e.gauge(
            "connections_limit",
            "Connections that the process may have, from its limit of open files",
            self.connections_limit.into(),
        )?;
        e.gauge("clients", "Connected clients", self.sum(|s| s.clients_now))?;
        e.gauge(
            "durable_sessions",
            "Connected clients whose session outlives the connection",
            self.sum(|s| s.durable_sessions_now),
        )?;
        e.counter(
            "moves",
            "Clients that were asked to go elsewhere and have gone",
            self.sum(WorkerStats::clients_moved),
        )?;
        e.gauge(
            "moving_clients",
            "Clients that are to go elsewhere and finish what they have in flight",
            self.sum(|s| s.moving_now),
        )?;
        e.gauge(
            "moving_at_risk_clients",
            "Of these, those whose session ends with the connection",
            self.sum(|s| s.moving_at_risk_now),
        )?;
        e.gauge(
            "attaching_clients",
            "Clients that wait for storage's answer to their CONNECT",
            self.sum(|s| s.attaching_now),
        )?;
        e.gauge(
            "attaches_waiting",
            "Of the attaching clients, those that storage has not been asked for yet",
            self.sum(|s| s.attaches_waiting_now),
        )?;
        e.gauge(
            "attach_window",
            "Sessions that storage is asked for at once: it follows how fast storage answers",
            self.sum(|s| s.attach_window_now),
        )?;
        e.counter("accepts", "Connections taken", self.sum(|s| s.connections_accepted))?;
        e.counter(
            "connects",
            "CONNECT packets accepted",
            self.sum(|s| s.connects_accepted),
        )?;
        let refused: u64 = self.listeners.iter().map(|l| l.refused()).sum();
        e.counters(
            "disconnects",
            "Ends of connections by reason",
            DisconnectReason::ALL.iter().map(|reason| {
                let at_the_door = if *reason == DisconnectReason::TooManyConnections {
                    refused
                } else {
                    0
                };
                let count = self.sum(|s| s.disconnects_by(*reason)) + at_the_door;
                ([("reason", reason.word())], count)
            }),
        )
    }

    fn encode_messages(&self, e: &mut Encoder<'_>) -> fmt::Result {
        let by_qos = |of: &dyn Fn(&WorkerStats) -> [u64; 3]| {
            let sums: Vec<_> = (0..3)
                .map(|qos| self.sum(|s| of(s).get(qos).copied().unwrap_or(0)))
                .collect();
            ["0", "1", "2"]
                .into_iter()
                .zip(sums)
                .map(|(qos, sum)| ([("qos", qos)], sum))
                .collect::<Vec<_>>()
        };
        e.counter("packets_sent", "Packets sent", self.sum(|s| s.report().packets_sent))?;
        e.counters(
            "publishes_received",
            "PUBLISH packets received",
            by_qos(&|s| s.publishes_received),
        )?;
        e.counters("deliveries_sent", "PUBLISH packets sent", by_qos(&|s| s.publishes_sent))?;
        e.counter(
            "publishes_repeated",
            "PUBLISH packets that repeated an unacknowledged one",
            self.sum(|s| s.publishes_repeated),
        )?;
        e.counters(
            "publishes_refused",
            "Publications that were not passed on",
            [
                ([("reason", "not_authorized")], self.sum(|s| s.publishes_not_authorized)),
                ([("reason", "quota_exceeded")], self.sum(|s| s.publishes_over_quota)),
                (
                    [("reason", "topic_name_invalid")],
                    self.sum(|s| s.publishes_topic_invalid),
                ),
            ],
        )?;
        e.counters(
            "subscriptions_refused",
            "Topic filters that SUBACK refused, by reason",
            [
                (
                    [("reason", "not_authorized")],
                    self.sum(|s| s.subscriptions_not_authorized),
                ),
                ([("reason", "quota_exceeded")], self.sum(|s| s.subscriptions_over_quota)),
                ([("reason", "not_taken")], self.sum(|s| s.subscriptions_not_taken)),
            ],
        )?;
        e.counters(
            "shed",
            "Messages that were dropped, by reason",
            [
                ([("reason", "publish_backlog_full")], self.sum(|s| s.publishes_shed)),
                (
                    [("reason", "outbound_buffer_full_qos0")],
                    self.sum(|s| s.deliveries_shed),
                ),
                ([("reason", "slow_consumer")], self.sum(|s| s.deliveries_dropped)),
                ([("reason", "expired")], self.sum(|s| s.deliveries_expired)),
                ([("reason", "packet_too_large")], self.sum(|s| s.deliveries_too_large)),
                ([("reason", "refused_by_client")], self.sum(|s| s.deliveries_refused)),
                (
                    [("reason", "not_authorized")],
                    self.sum(|s| s.deliveries_not_authorized),
                ),
                ([("reason", "unclaimed")], self.sum(|s| s.deliveries_unclaimed)),
                ([("reason", "gone_from_storage")], self.sum(|s| s.deliveries_gone)),
            ],
        )?;
        e.counter(
            "deliveries_pulled",
            "Messages read for sessions that had been away or had no room",
            self.sum(|s| s.deliveries_pulled),
        )?;
        e.counter(
            "deliveries_repeated",
            "Messages sent again to clients that came back without having acknowledged them",
            self.sum(|s| s.deliveries_repeated),
        )?;
        e.counter(
            "shared_returned",
            "Messages of shared subscriptions given back for another member: theirs had gone, or none had room",
            self.sum(|s| s.shared_returned),
        )?;
        e.counter(
            "sessions_fallen_behind",
            "Times that a session had no room for a live message and went on from what is queued",
            self.sum(|s| s.sessions_fallen_behind),
        )?;
        e.counter(
            "retained_delivered",
            "Retained messages sent to subscribers",
            self.sum(|s| s.retained_delivered),
        )?;
        e.counter(
            "unknown_acknowledgements",
            "Acknowledgements of packet ids that were not in use",
            self.sum(|s| s.unknown_acknowledgements),
        )?;
        e.counter("packets_received", "Packets received", self.sum(|s| s.packets_received))?;
        e.counter(
            "received_bytes",
            "Bytes received from clients",
            self.sum(|s| s.bytes_received),
        )?;
        e.counter("sent_bytes", "Bytes sent to clients", self.sum(|s| s.bytes_sent))?;
        self.encode_round_trips(e)
    }

    /// Nothing of a QoS at which nothing was published lately: no round trip is not a short one.
    fn encode_round_trips(&self, e: &mut Encoder<'_>) -> fmt::Result {
        let mut counts = RoundTripCounts::default();
        for report in &self.reports {
            counts.add(&report.round_trips);
        }
        let mut metric = e.0.encode_descriptor(
            "publish_round_trip_seconds",
            "From when a PUBLISH may have come to its outcome, over the last 10 s",
            None,
            MetricType::Gauge,
        )?;
        for (index, qos) in ["0", "1", "2"].into_iter().enumerate() {
            for (percent, quantile) in [(50, "0.5"), (99, "0.99")] {
                let Some(ms) = counts.percentile_ms(index, percent) else {
                    continue;
                };
                let seconds = f64::from(u32::try_from(ms).unwrap_or(u32::MAX)) / 1000.0;
                metric
                    .encode_family(&[("qos", qos), ("quantile", quantile)])?
                    .encode_gauge(&seconds)?;
            }
        }
        Ok(())
    }

    fn encode_bounds(&self, e: &mut Encoder<'_>) -> fmt::Result {
        e.gauge(
            "publishes_outstanding",
            "Publications without outcome",
            self.sum(|s| s.publishes_outstanding_now),
        )?;
        e.gauge(
            "publishes_outstanding_bytes",
            "Bytes of publications without outcome",
            self.sum(|s| s.publish_bytes_outstanding_now),
        )?;
        e.gauge(
            "outbound_bytes",
            "Bytes queued towards clients",
            self.sum(|s| s.outbound_bytes_now),
        )?;
        e.gauge(
            "input_bytes",
            "Bytes of incomplete and of waiting packets",
            self.sum(|s| s.input_bytes_now),
        )?;
        e.gauge(
            "lingering_sockets",
            "Sockets whose connection has ended and whose peer has not closed its side",
            self.reports.iter().map(|report| report.lingering as u64).sum(),
        )?;
        e.counter(
            "reading_paused",
            "Times that reading a client was paused",
            self.sum(|s| s.reading_paused),
        )?;
        e.gauge(
            "subscriptions",
            "Subscriptions of clients",
            self.sum(|s| s.subscriptions_now),
        )
    }

    fn encode_storage(&self, e: &mut Encoder<'_>) -> fmt::Result {
        let link = self
            .reports
            .iter()
            .find_map(|report| report.link.clone())
            .unwrap_or_default();
        let (filters, at_all) = (link.link.filters as u64, link.link.filters_at_all_shards as u64);
        e.gauges(
            "filters",
            "Topic filters of this proxy by where they are registered",
            [
                ([("scope", "one_shard")], filters.saturating_sub(at_all)),
                ([("scope", "all_shards")], at_all),
            ],
        )?;
        e.gauge(
            "storage_attached",
            "1 while storage is attached",
            link.link.attached.into(),
        )?;
        e.counters(
            "storage_attaches",
            "Attempts to attach to storage by result",
            [
                ([("result", "attached")], link.storage.attaches),
                ([("result", "unreachable")], link.storage.attempts_failed),
                ([("result", "refused")], link.storage.refusals),
                ([("result", "incarnation_gone")], link.storage.incarnations_gone),
            ],
        )?;
        e.counter("storage_losses", "Attachments that were lost", link.storage.losses)?;
        e.gauge(
            "storage_backlog_bytes",
            "Bytes that wait for the transport to storage",
            link.storage.waiting_bytes_now,
        )?;
        e.gauge(
            "session_requests",
            "Requests about sessions without answer",
            link.link.session_requests as u64,
        )?;
        e.gauge(
            "retained_reads",
            "Retained reads under way",
            link.link.retained_reads as u64,
        )
    }

    fn encode_process(&self, e: &mut Encoder<'_>) -> fmt::Result {
        let mut turns = TurnSeconds::default();
        for report in &self.reports {
            turns.add(&report.turns);
        }
        let help = "Duration of the workers' turns";
        let mut metric =
            e.0.encode_descriptor("worker_turn_seconds", help, None, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(turns.sum_s(), turns.count(), &turns.buckets(), None)?;
        let connections: Vec<_> = self
            .reports
            .iter()
            .map(|report| report.worker.connections_now)
            .collect();
        let indexes: Vec<_> = (0..connections.len()).map(|index| index.to_string()).collect();
        e.gauges(
            "worker_connections",
            "Open connections by worker",
            indexes
                .iter()
                .zip(connections)
                .map(|(index, count)| ([("worker", index.as_str())], count)),
        )?;
        let unlogged = self.reports.iter().map(|report| report.unlogged).sum();
        e.counter(
            "log_lines_left_out",
            "Lines left out of the log: too many of their kind",
            unlogged,
        )?;
        e.counters(
            "config_reloads",
            "Changed configuration files by result",
            [
                ([("result", "taken_up")], self.config_reloads.0),
                ([("result", "unusable")], self.config_reloads.1),
            ],
        )?;
        e.gauge("ready", "1 when clients may be sent here", self.is_ready.into())?;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let mut info =
            e.0.encode_descriptor("build", "Version of the process", None, MetricType::Info)?;
        info.encode_info(&version)
    }
}
