//! The operator's own metrics. Names of clusters are no labels: there may be many, and they come and go.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use freshet_operator_core::loss::Fault;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Upper bounds of reconcile durations, in seconds.
const DURATIONS_S: [f64; 11] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    write: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    direction: &'static str,
    applied: &'static str,
}

/// How a reconcile ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReconcileResult {
    /// Everything due was done.
    Done,
    /// Something read was out of date; it is tried again at once.
    Stale,
    /// Nothing goes on until somebody acts.
    Blocked,
    /// The API server failed.
    Failed,
}

/// All metrics, cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: std::sync::Arc<Registry>,
    reconciles: Family<ResultLabel, Counter>,
    duration: Histogram,
    writes: Family<WriteLabels, Counter>,
    watch_errors: Counter,
    leader: Gauge,
    clusters: Gauge<i64>,
    promotions: Counter<u64, AtomicU64>,
    demotions: Counter<u64, AtomicU64>,
    drains: Family<ResultLabel, Counter>,
    rebalances: Family<ResultLabel, Counter>,
    losses: Family<ResultLabel, Counter>,
    scaling: Scaling,
    warm_desired: Gauge<i64>,
    rounds: Histogram,
}

/// How proxies are asked for their load, and what is decided by it.
#[derive(Clone, Default)]
struct Scaling {
    clusters: Gauge<i64>,
    scrapes: Family<ResultLabel, Counter>,
    decisions: Family<DecisionLabels, Counter>,
}

impl Metrics {
    /// Registers everything under `freshet_operator_`.
    pub(crate) fn new(version: &'static str) -> Self {
        let mut registry = Registry::with_prefix("freshet_operator");
        let reconciles = Family::default();
        let duration = Histogram::new(DURATIONS_S);
        let writes = Family::default();
        let watch_errors = Counter::default();
        let leader = Gauge::default();
        let clusters = Gauge::default();
        let promotions = Counter::default();
        registry.register(
            "reconciles",
            "Reconciles of MqttClusters, by result",
            Family::clone(&reconciles),
        );
        registry.register(
            "reconcile_duration_seconds",
            "Duration of a reconcile",
            duration.clone(),
        );
        registry.register(
            "api_writes",
            "Writes to the API server, by write and result",
            Family::clone(&writes),
        );
        registry.register(
            "watch_errors",
            "Watches that broke and were begun again",
            watch_errors.clone(),
        );
        registry.register("leader", "1 while this process leads", leader.clone());
        registry.register(
            "clusters",
            "MqttClusters that this process looks after",
            clusters.clone(),
        );
        registry.register("proxy_promotions", "Proxies that were made active", promotions.clone());
        let demotions = Counter::default();
        registry.register(
            "proxy_demotions",
            "Proxies that have handed over and wait again",
            demotions.clone(),
        );
        let drains = Family::default();
        let rebalances = Family::default();
        registry.register(
            "drains",
            "Proxies that handed over and may stop or wait, by result",
            Family::clone(&drains),
        );
        registry.register(
            "rebalances",
            "Rebalances that have ended, by result",
            Family::clone(&rebalances),
        );
        let losses = Family::default();
        registry.register(
            "proxy_losses",
            "Proxies taken out of the Service for being dead or cut off, and times that more would have been than may be",
            Family::clone(&losses),
        );
        let scaling = Scaling::default();
        let warm_desired = Gauge::default();
        registry.register(
            "warm_proxies_desired",
            "Proxies that are to wait in the warm pools of all MqttClusters",
            warm_desired.clone(),
        );
        let rounds = Histogram::new(DURATIONS_S);
        registry.register(
            "scaling_clusters",
            "MqttClusters that are scaled or observed",
            scaling.clusters.clone(),
        );
        registry.register(
            "scaling_scrapes",
            "Answers of proxies that were asked for their load, by result",
            Family::clone(&scaling.scrapes),
        );
        registry.register(
            "scaling_decisions",
            "Decisions of how many proxies serve, by direction and whether they are written",
            Family::clone(&scaling.decisions),
        );
        registry.register(
            "scaling_round_duration_seconds",
            "From asking all proxies to the last decision",
            rounds.clone(),
        );
        registry.register("build", "Version of the operator", Info::new([("version", version)]));
        Self {
            registry: std::sync::Arc::new(registry),
            reconciles,
            duration,
            writes,
            watch_errors,
            leader,
            clusters,
            promotions,
            demotions,
            drains,
            rebalances,
            losses,
            scaling,
            warm_desired,
            rounds,
        }
    }

    /// Counts a reconcile.
    pub(crate) fn reconciled(&self, result: ReconcileResult, took: Duration) {
        let result = match result {
            ReconcileResult::Done => "done",
            ReconcileResult::Stale => "stale",
            ReconcileResult::Blocked => "blocked",
            ReconcileResult::Failed => "failed",
        };
        self.reconciles.get_or_create(&ResultLabel { result }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts a write.
    pub(crate) fn wrote(&self, write: &'static str, result: &'static str) {
        self.writes.get_or_create(&WriteLabels { write, result }).inc();
    }

    /// Counts a watch that broke.
    pub(crate) fn watch_broke(&self) {
        self.watch_errors.inc();
    }

    /// Says whether this process leads.
    pub(crate) fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Says that one of the watched namespaces has `now` clusters where there were `before`.
    pub(crate) fn clusters_changed(&self, before: usize, now: usize) {
        let count = |clusters: usize| i64::try_from(clusters).unwrap_or(i64::MAX);
        self.clusters.inc_by(count(now).saturating_sub(count(before)));
    }

    /// Counts proxies that were made active.
    pub(crate) fn promoted(&self, proxies: u64) {
        self.promotions.inc_by(proxies);
    }

    /// Counts proxies that have handed over and wait again.
    pub(crate) fn demoted(&self, proxies: u64) {
        self.demotions.inc_by(proxies);
    }

    /// Counts a proxy that handed over and may stop or wait.
    pub(crate) fn drained(&self, result: &'static str) {
        self.drains.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a rebalance that has ended.
    pub(crate) fn rebalanced(&self, is_even: bool) {
        let result = if is_even { "even" } else { "void" };
        self.rebalances.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a proxy that was taken out.
    pub(crate) fn lost(&self, fault: Fault) {
        let result = match fault {
            Fault::Dead => "removed",
            Fault::CutOff => "cut_off",
        };
        self.losses.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts that proxies stay though both witnesses speak against them.
    pub(crate) fn losses_withheld(&self, fault: Fault) {
        let result = match fault {
            Fault::Dead => "withheld",
            Fault::CutOff => "cut_off_withheld",
        };
        self.losses.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a proxy that was asked for its load: `ok`, `failed`, `late`.
    pub(crate) fn scraped(&self, result: &'static str) {
        self.scaling.scrapes.get_or_create(&ResultLabel { result }).inc();
    }

    /// Counts a decision of how many proxies serve.
    pub(crate) fn scaling_decided(&self, adds: bool, is_written: bool) {
        let labels = DecisionLabels {
            direction: if adds { "out" } else { "in" },
            applied: if is_written { "true" } else { "false" },
        };
        self.scaling.decisions.get_or_create(&labels).inc();
    }

    /// Says that `now` clusters of one of the watched namespaces are scaled or observed, where `before` were.
    pub(crate) fn scaled_changed(&self, before: i64, now: i64) {
        self.scaling.clusters.inc_by(now.saturating_sub(before));
    }

    /// Says how long it took to ask and decide.
    pub(crate) fn scaling_round(&self, took: Duration) {
        self.rounds.observe(took.as_secs_f64());
    }

    /// Says that `now` proxies are to wait in the clusters of one of the watched namespaces, where `before` were.
    pub(crate) fn warm_changed(&self, before: i64, now: i64) {
        self.warm_desired.inc_by(now.saturating_sub(before));
    }

    /// The OpenMetrics text.
    pub(crate) fn encoded(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_are_sums_over_the_watched_namespaces() {
        let metrics = Metrics::new("1.2.3");
        let line = |clusters: i64| format!("freshet_operator_scaling_clusters {clusters}\n");
        // One namespace with two clusters, another one with three.
        metrics.scaled_changed(0, 2);
        metrics.scaled_changed(0, 3);
        assert!(metrics.encoded().contains(&line(5)), "{}", metrics.encoded());
        metrics.scaled_changed(2, 0);
        assert!(metrics.encoded().contains(&line(3)), "{}", metrics.encoded());
    }

    #[test]
    fn the_text_names_every_metric() {
        let metrics = Metrics::new("1.2.3");
        metrics.reconciled(ReconcileResult::Done, Duration::from_millis(3));
        metrics.wrote("write-status", "ok");
        metrics.leads(true);
        let text = metrics.encoded();
        for line in [
            "freshet_operator_reconciles_total{result=\"done\"} 1",
            "freshet_operator_reconcile_duration_seconds_count 1",
            "freshet_operator_api_writes_total{write=\"write-status\",result=\"ok\"} 1",
            "freshet_operator_leader 1",
            "freshet_operator_build_info{version=\"1.2.3\"} 1",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
