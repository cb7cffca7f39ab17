//! `/loadz`: what this proxy carries, in few bytes, for whoever scales it (`freshet_load`).
//!
//! Asked about once a second by the operator. However often it is asked, the workers are asked at most once in
//! [`FRESH`], and by one at a time; each of them answers between two turns with numbers that it has anyway.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use freshet_load::{CONTENT_TYPE, Latency, Load, Moves, PATH, RoundTrip, VERSION, encode};
use freshet_proxy_core::{RoundTripCounts, WorkerStats};
use tokio::sync::Mutex;

use crate::cgroup::Cgroup;
use crate::clock::Clock;
use crate::driver::WorkerReport;
use crate::health::Health;
use crate::metrics::{Look, Metrics};

/// For how long an answer serves others, too.
const FRESH: Duration = Duration::from_millis(100);
/// How long a worker has for its answer: less than those who ask every second wait.
const PATIENCE: Duration = Duration::from_millis(400);

/// Answers `/loadz`.
#[derive(Debug, Clone)]
pub(crate) struct Loads(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    metrics: Metrics,
    health: Health,
    cgroup: Cgroup,
    clock: Clock,
    incarnation: u64,
    takes_orders: bool,
    last: Mutex<Option<(Instant, Vec<u8>)>>,
}

impl Loads {
    pub(crate) fn new(metrics: Metrics, health: Health, clock: Clock, incarnation: u64, takes_orders: bool) -> Self {
        Self(Arc::new(Shared {
            metrics,
            health,
            cgroup: Cgroup::of_this_process(),
            clock,
            incarnation,
            takes_orders,
            last: Mutex::default(),
        }))
    }

    /// The route.
    pub(crate) fn routes(self) -> Router {
        Router::new().route(PATH, get(answer)).with_state(self)
    }

    async fn answer(&self) -> Vec<u8> {
        let mut last = self.0.last.lock().await;
        if let Some((at, bytes)) = &*last
            && at.elapsed() < FRESH
        {
            return bytes.clone();
        }
        let look = self.0.metrics.look(PATIENCE).await;
        let of_workers = of_workers(&look);
        let load = Load {
            incarnation: self.0.incarnation,
            uptime_ms: self.0.clock.now().0,
            phase: self.0.health.phase().into(),
            storage_attached: self.0.health.is_attached(),
            cpu: Some(self.0.cgroup.cpu()),
            memory: Some(self.0.cgroup.memory()),
            moves: of_workers.moves.filter(|_| self.0.takes_orders),
            ..of_workers
        };
        let bytes = encode(&load);
        *last = Some((Instant::now(), bytes.clone()));
        bytes
    }
}

async fn answer(State(loads): State<Loads>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], loads.answer().await)
}

/// What the workers say. While one of them has never answered, sums are not known.
fn of_workers(look: &Look) -> Load {
    let mut load = Load {
        version: VERSION,
        unanswered_workers: look.unanswered,
        ..Load::default()
    };
    let Some(reports) = look.reports.iter().map(Option::as_ref).collect::<Option<Vec<_>>>() else {
        return load;
    };
    let sum = |of: fn(&WorkerStats) -> u64| Some(reports.iter().map(|report| of(&report.worker)).sum());
    load.clients = sum(|stats| stats.clients_now);
    load.connections = sum(|stats| stats.connections_now);
    load.attaching_clients = sum(|stats| stats.attaching_now);
    load.connects_total = sum(|stats| stats.connects_accepted);
    load.accepts_total = sum(|stats| stats.connections_accepted);
    load.publishes_in_total = sum(|stats| stats.publishes_received.iter().sum());
    load.deliveries_out_total = sum(|stats| stats.publishes_sent.iter().sum());
    load.bytes_in_total = sum(|stats| stats.bytes_received);
    load.bytes_out_total = sum(|stats| stats.bytes_sent);
    load.publishes_outstanding = sum(|stats| stats.publishes_outstanding_now);
    load.publish_bytes_outstanding = sum(|stats| stats.publish_bytes_outstanding_now);
    load.outbound_bytes = sum(|stats| stats.outbound_bytes_now);
    load.storage_backlog_bytes = reports
        .iter()
        .find_map(|report| Some(report.link.as_ref()?.storage.waiting_bytes_now));
    load.publish_round_trips = round_trips(&reports);
    load.connacks = connacks(&reports);
    load.moves = Some(Moves {
        moved_total: reports.iter().map(|report| report.worker.clients_moved()).sum(),
        finishing: reports.iter().map(|report| report.worker.moving_now).sum(),
        at_risk: reports.iter().map(|report| report.worker.moving_at_risk_now).sum(),
    });
    load
}

fn round_trips(reports: &[&WorkerReport]) -> Vec<RoundTrip> {
    let (mut counts, mut newest) = (RoundTripCounts::default(), RoundTripCounts::default());
    for report in reports {
        counts.add(&report.round_trips);
        newest.add(&report.newest_round_trips);
    }
    let whole = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let of_qos = |qos: u32| {
        let index = usize::try_from(qos).ok()?;
        Some(RoundTrip {
            qos,
            count: whole(counts.total(index)),
            p50_ms: whole(counts.percentile_ms(index, 50)?),
            p99_ms: whole(counts.percentile_ms(index, 99)?),
            newest_p99_ms: newest.percentile_ms(index, 99).map(whole),
        })
    };
    (0..3).filter_map(of_qos).collect()
}

fn connacks(reports: &[&WorkerReport]) -> Option<Latency> {
    let mut counts = RoundTripCounts::default();
    for report in reports {
        counts.add(&report.connacks);
    }
    let whole = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Some(Latency {
        count: whole(counts.total(0)),
        p50_ms: whole(counts.percentile_ms(0, 50)?),
        p99_ms: whole(counts.percentile_ms(0, 99)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(clients: u64) -> WorkerReport {
        let mut report = WorkerReport::default();
        report.worker.clients_now = clients;
        report
    }

    #[test]
    fn workers_are_added_up() {
        let look = Look {
            reports: vec![Some(report(3)), Some(report(4))],
            unanswered: 0,
        };
        let load = of_workers(&look);
        assert_eq!((load.clients, load.connects_total), (Some(7), Some(0)));
        assert_eq!((load.version, load.publish_round_trips), (VERSION, Vec::new()));
    }

    #[test]
    fn a_worker_that_has_never_answered_makes_sums_unknown() {
        let look = Look {
            reports: vec![Some(report(3)), None],
            unanswered: 1,
        };
        let load = of_workers(&look);
        assert_eq!(
            (load.clients, load.connects_total, load.unanswered_workers),
            (None, None, 1)
        );
    }
}
