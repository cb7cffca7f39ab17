//! `freshet_proxy_…`: gathered from the workers when somebody asks, so that nobody counts under a lock or a label on the
//! way of a message.
//!
//! A worker that does not answer in time is shown as it was when it last did. Leaves out HTTP (`freshet_process`).

mod encode;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use freshet_process::{ConfigReloads, Probes as _, Scrape};
use freshet_storage_contract::ProxyReport;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use crate::capacity::{Capacity, ListenerCount};
use crate::control::{Control, WorkerDoor};
use crate::driver::WorkerReport;
use crate::health::Health;
use encode::Snapshot;

/// How often the workers are asked even if nobody scrapes: their answers are what `/livez` goes by.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// How long a worker has for its answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Gathers and encodes the metrics of a proxy.
#[derive(Debug, Clone)]
pub(crate) struct Metrics(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    workers: Arc<[WorkerDoor]>,
    last: Mutex<Vec<Option<WorkerReport>>>,
    listeners: Mutex<Vec<Arc<ListenerCount>>>,
    capacity: Arc<Capacity>,
    reloads: Arc<ConfigReloads>,
    health: Health,
}

/// What is known of the workers.
#[derive(Debug)]
pub(crate) struct Look {
    /// Each as it was when it last answered, if it ever did.
    pub(crate) reports: Vec<Option<WorkerReport>>,
    /// How many did not answer this time.
    pub(crate) unanswered: u32,
}

impl Metrics {
    pub(crate) fn new(
        workers: Arc<[WorkerDoor]>,
        capacity: Arc<Capacity>,
        reloads: Arc<ConfigReloads>,
        health: Health,
    ) -> Self {
        let last = vec![None; workers.len()];
        Self(Arc::new(Shared {
            workers,
            last: Mutex::new(last),
            listeners: Mutex::default(),
            capacity,
            reloads,
            health,
        }))
    }

    /// The listeners have changed.
    pub(crate) fn set_listeners(&self, listeners: Vec<Arc<ListenerCount>>) {
        *self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner) = listeners;
    }

    /// Asks all workers and returns what is known of each. Their answers are what `/livez` goes by.
    pub(crate) async fn gather(&self) -> Vec<WorkerReport> {
        let look = self.look(PATIENCE).await;
        self.0.health.note_round(look.unanswered == 0);
        look.reports.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// Asks all workers, each of which has `patience` for its answer.
    pub(crate) async fn look(&self, patience: Duration) -> Look {
        let asked: Vec<_> = self
            .0
            .workers
            .iter()
            .cloned()
            .map(|worker| tokio::spawn(async move { worker.ask(patience).await }))
            .collect();
        let mut unanswered = 0;
        for (index, answer) in asked.into_iter().enumerate() {
            let Ok(Some(report)) = answer.await else {
                unanswered += 1;
                continue;
            };
            if let Some(last) = self.last().get_mut(index) {
                *last = Some(report);
            }
        }
        Look {
            reports: self.last().clone(),
            unanswered,
        }
    }

    /// Asks the workers from time to time and has storage told, for as long as the runtime lives.
    pub(crate) async fn ask_regularly(self) {
        loop {
            tokio::time::sleep(REPORT_INTERVAL).await;
            let reports = self.gather().await;
            let total = reports
                .iter()
                .fold(ProxyReport::default(), |sum, report| sum.plus(&report.worker.report()));
            // The first worker has the link.
            if let Some(worker) = self.0.workers.first() {
                worker.tell(Control::Count(Box::new(total))).await;
            }
        }
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Vec<Option<WorkerReport>>> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scrape for Metrics {
    async fn scrape(&self) -> Result<String, &'static str> {
        let snapshot = Snapshot {
            reports: self.gather().await,
            listeners: self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            connections_limit: self.0.capacity.limit(),
            config_reloads: (self.0.reloads.succeeded(), self.0.reloads.failed()),
            is_ready: self.0.health.readiness().is_ok(),
        };
        let storage = snapshot
            .reports
            .iter()
            .find_map(|r| r.link.as_ref()?.storage_metrics.clone());
        let mut out = String::new();
        encode(snapshot, storage, &mut out).map_err(|_| "the metrics cannot be encoded")?;
        Ok(out)
    }
}

fn encode(snapshot: Snapshot, storage: Option<Arc<dyn Collector>>, out: &mut String) -> std::fmt::Result {
    let mut registry = Registry::with_prefix("freshet_proxy");
    registry.register_collector(Box::new(snapshot));
    text::encode_registry(out, &registry)?;
    if let Some(storage) = storage {
        let mut registry = Registry::with_prefix("freshet_storage");
        registry.register_collector(Box::new(OfStorage(storage)));
        text::encode_registry(out, &registry)?;
    }
    text::encode_eof(out)
}

/// Metrics that a worker has handed over.
#[derive(Debug)]
struct OfStorage(Arc<dyn Collector>);

impl Collector for OfStorage {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        self.0.encode(encoder)
    }
}
