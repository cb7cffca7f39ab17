//! The end of a proxy: it goes on accepting for a moment, then hands over its clients at an even pace, then ends in time.
//!
//! Called once, on SIGTERM. The moment is for those who still have the proxy in their tables of endpoints. Storage that
//! is away cannot take sessions over, so nobody waits for it long: clients send again what was not acknowledged.

use std::sync::Arc;
use std::time::Duration;

use freshet_config::{MoveOrder, MoveReason, ProxyConfig};
use freshet_proxy_core::worker::DrainPace;
use freshet_storage_contract::MonotonicMs;
use tokio::time::Instant;

use crate::control::Control;
use crate::driver::WorkerReport;
use crate::orders::unix_ms;
use crate::proxy::Proxy;

/// What a proxy that was drained before has for the clients that are left, however late it is told to end.
const AFTER_ITS_TIME: Duration = Duration::from_secs(10);
/// Part of the time in which all clients have been asked to go; the rest is for what they have in flight.
const ASKED_WITHIN: f64 = 0.8;
/// How long storage may be away before the drain goes on without it. With the default `drain.linger` of 5 s a proxy
/// without storage is gone within 10 s.
const WITHOUT_STORAGE: Duration = Duration::from_secs(5);
/// What is left to be told when the time is over: to clients that they go, to storage that they went.
const LAST_MOMENT: Duration = Duration::from_secs(2);
/// How often the drain looks at the workers.
const LOOK: Duration = Duration::from_millis(50);

impl Proxy {
    /// Hands over all clients and stops the workers.
    pub(crate) async fn hand_over(mut self) {
        let config = self.config.borrow().clone();
        let course = Course::new(&config, self.drain_order().as_deref(), unix_ms());
        let Course { linger, timeout, .. } = course;
        tracing::info!(
            linger_ms = linger.as_millis(),
            "the proxy stops: it accepts for a moment more"
        );
        self.health.set_lingering();
        let mut storage = StorageWatch::new(self.health.is_attached(), Instant::now());
        let lingered = Instant::now() + linger;
        while Instant::now() < lingered {
            storage.look(self.health.is_attached(), Instant::now());
            tokio::time::sleep(LOOK.min(lingered.saturating_duration_since(Instant::now()))).await;
        }

        self.health.set_draining();
        self.listeners.stop_accepting().await;
        let reports = self.metrics.gather().await;
        let clients: u64 = reports.iter().map(|r| r.worker.connections_now).sum();
        tracing::info!(
            clients,
            timeout_ms = timeout.as_millis(),
            course.moves_per_second,
            "clients are handed over"
        );
        let mut end = Instant::now() + timeout;
        self.set_pace(&reports, course.moves_per_second, timeout).await;
        let mut in_a_hurry = false;
        loop {
            let reports = self.metrics.gather().await;
            if reports.iter().all(WorkerReport::is_drained) {
                tracing::info!("all clients are handed over");
                break;
            }
            if let Ok(error) = self.ended.try_recv() {
                tracing::error!(error = format!("{error:#}"), "the drain ends with what is left");
                break;
            }
            let now = Instant::now();
            storage.look(self.health.is_attached(), now);
            if !in_a_hurry && (now >= end || storage.is_given_up(now)) {
                in_a_hurry = true;
                end = now + LAST_MOMENT;
                self.set_pace(&reports, course.moves_per_second, Duration::ZERO).await;
            } else if in_a_hurry && now >= end {
                let clients: u64 = reports.iter().map(|r| r.worker.connections_now).sum();
                tracing::warn!(clients, "the time is over: the proxy ends with what is left");
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        self.health.set_ended();
        for worker in self.workers.iter() {
            worker.tell(Control::Stop).await;
        }
        // Each worker's thread holds a sender.
        let stopped = async { while self.ended.recv().await.is_some() {} };
        if tokio::time::timeout(LAST_MOMENT, stopped).await.is_err() {
            tracing::warn!("a worker did not stop in time");
        }
    }

    /// The order by which the operator drains the proxy, if it does.
    fn drain_order(&self) -> Option<Arc<MoveOrder>> {
        let order = self.order.borrow().clone();
        order.filter(|order| order.reason == MoveReason::Drain)
    }

    async fn set_pace(&self, reports: &[WorkerReport], moves_per_second: u32, timeout: Duration) {
        let deadline = self.clock.now().plus(timeout);
        for (worker, report) in self.workers.iter().zip(reports) {
            let own = moves_per_second.div_ceil(u32::try_from(reports.len()).unwrap_or(1).max(1));
            let pace = pace(report.worker.connections_now, own, timeout, deadline);
            worker.tell(Control::Drain(pace)).await;
        }
    }
}

/// How a proxy that was told to end goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Course {
    /// For how long it accepts.
    linger: Duration,
    /// How long it may take then.
    timeout: Duration,
    /// How fast clients go, unless more is needed to be done in time.
    moves_per_second: u32,
}

impl Course {
    /// By the configuration, or by the order with which the operator has drained it before: then no Service has sent
    /// anybody for a while, the time has begun with the order, and the operator has found the pace. `now_ms` is since the
    /// Unix epoch.
    fn new(config: &ProxyConfig, order: Option<&MoveOrder>, now_ms: u64) -> Self {
        let linger = Duration::from_millis(config.drain_linger_ms);
        let timeout = Duration::from_millis(config.drain_timeout_ms);
        let Some(order) = order else {
            return Self {
                linger,
                timeout,
                moves_per_second: config.drain_moves_per_second,
            };
        };
        let left = |until_ms: u64| Duration::from_millis(until_ms.saturating_sub(now_ms));
        Self {
            linger: left(order.from_ms).min(linger),
            timeout: left(order.until_ms).max(AFTER_ITS_TIME).min(timeout),
            moves_per_second: order.clients_per_second,
        }
    }
}

/// How fast a worker with so many connections hands them over, when `share` is its part of the pace.
fn pace(connections: u64, share: u32, timeout: Duration, deadline: MonotonicMs) -> DrainPace {
    let asked_within_ms = timeout.mul_f64(ASKED_WITHIN).as_millis().max(1);
    let needed = (u128::from(connections) * 1_000).div_ceil(asked_within_ms);
    DrainPace {
        moves_per_second: u32::try_from(needed.max(u128::from(share))).unwrap_or(u32::MAX),
        deadline,
    }
}

/// Since when storage has been away.
struct StorageWatch {
    away_since: Option<Instant>,
}

impl StorageWatch {
    fn new(is_attached: bool, now: Instant) -> Self {
        Self {
            away_since: (!is_attached).then_some(now),
        }
    }

    fn look(&mut self, is_attached: bool, now: Instant) {
        if is_attached {
            self.away_since = None;
        } else {
            self.away_since.get_or_insert(now);
        }
    }

    fn is_given_up(&self, now: Instant) -> bool {
        self.away_since
            .is_some_and(|since| now.saturating_duration_since(since) >= WITHOUT_STORAGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moves_per_second(connections: u64, share: u32, timeout_s: u64) -> u32 {
        pace(connections, share, Duration::from_secs(timeout_s), MonotonicMs(0)).moves_per_second
    }

    #[test]
    fn few_clients_go_at_the_usual_pace() {
        assert_eq!(moves_per_second(1_000, 500, 300), 500);
        assert_eq!(moves_per_second(1_000, 250, 300), 250);
    }

    #[test]
    fn a_proxy_that_was_drained_before_goes_on_with_that() {
        let config = ProxyConfig::default();
        let usual = Course::new(&config, None, 1_000_000);
        assert_eq!(
            (usual.linger.as_secs(), usual.timeout.as_secs(), usual.moves_per_second),
            (5, 300, 500)
        );
        let order = MoveOrder {
            clients_per_second: 40,
            from_ms: 1_000_000,
            until_ms: 1_100_000,
            ..MoveOrder::default()
        };
        let course = |now_ms| Course::new(&config, Some(&order), now_ms);
        let soon = course(1_040_000);
        assert_eq!(
            (soon.linger.as_secs(), soon.timeout.as_secs(), soon.moves_per_second),
            (0, 60, 40)
        );
        assert_eq!(course(998_000).linger.as_secs(), 2);
        assert_eq!(course(2_000_000).timeout, AFTER_ITS_TIME);
    }

    #[test]
    fn many_clients_go_as_fast_as_the_time_asks() {
        assert_eq!(moves_per_second(240_000, 250, 300), 1_000);
        assert!(moves_per_second(1_000, 500, 0) >= 1_000_000);
    }

    #[test]
    fn storage_that_comes_back_is_waited_for_again() {
        let now = Instant::now();
        let mut storage = StorageWatch::new(false, now);
        let later = now + WITHOUT_STORAGE;
        storage.look(false, later);
        assert!(storage.is_given_up(later));
        storage.look(true, later);
        assert!(!storage.is_given_up(later));
        storage.look(false, later);
        assert!(!storage.is_given_up(later));
    }
}
