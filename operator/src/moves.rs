//! What is known of the proxies' clients, to move them by: one [`Teller`] for each cluster, beside the scalers.
//!
//! Told once a second by the loop that asks the proxies (`crate::scaling`); a reconcile of a cluster plans its moves from
//! here ([`Teller::plan`]) and is asked for while there is something to do.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use freshet_load::Load;
use freshet_operator_api::MqttCluster;
use freshet_operator_core::observe::{Objects, Observed, observe};
use freshet_operator_core::plan::{MoveSettings, MovesPlan, ProxyPlan, Teller};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use crate::metrics::Metrics;

/// The tellers of all clusters.
#[derive(Clone)]
pub(crate) struct Moves(Arc<Shared>);

struct Shared {
    clusters: Mutex<HashMap<ObjectRef<MqttCluster>, Teller>>,
    /// What times of answers are counted from.
    start: Instant,
}

impl Moves {
    /// Nothing is known yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            clusters: Mutex::default(),
            start: Instant::now(),
        }))
    }

    /// Plans which clients of a cluster move next.
    pub(crate) fn plan(&self, resource: &MqttCluster, observed: &Observed) -> MovesPlan {
        let Some(settings) = MoveSettings::read(&resource.spec.proxy) else {
            return MovesPlan::default();
        };
        let at = self.0.start.elapsed();
        let mut clusters = self.clusters();
        let teller = clusters.entry(ObjectRef::from_obj(resource)).or_default();
        teller.plan(observed, &settings, at, unix_ms())
    }

    /// Remembers and counts what has ended with a plan that was carried out.
    pub(crate) fn note(&self, resource: &MqttCluster, plan: &ProxyPlan, metrics: &Metrics) {
        for end in plan.drained().filter_map(|drain| drain.end) {
            metrics.drained(end.word());
        }
        let Some(ended) = plan.rebalanced() else { return };
        metrics.rebalanced(ended.is_even);
        if let Some(teller) = self.clusters().get_mut(&ObjectRef::from_obj(resource)) {
            teller.note_end(ended);
        }
    }

    /// A proxy was asked, and has answered or not.
    pub(crate) fn take(&self, key: &ObjectRef<MqttCluster>, uid: &str, load: Option<&Load>) {
        let at = self.0.start.elapsed();
        let mut clusters = self.clusters();
        clusters.entry(key.clone()).or_default().take(uid, load, at);
    }

    /// Forgets clusters that are no more.
    pub(crate) fn keep_only(&self, keys: &HashSet<&ObjectRef<MqttCluster>>) {
        self.clusters().retain(|key, _| keys.contains(key));
    }

    /// Takes up how the receivers of a cluster are, and says whether its reconcile has something to do.
    pub(crate) fn tick(&self, key: &ObjectRef<MqttCluster>, resource: &MqttCluster, pods: &[Arc<Pod>]) -> bool {
        let Some(settings) = MoveSettings::read(&resource.spec.proxy) else {
            return false;
        };
        if resource.spec.paused {
            return false;
        }
        let observed = observe(Objects {
            uid: resource.uid().unwrap_or_default().as_str(),
            pods,
            deployments: &[],
            stateful_set: None,
            claims: &[],
            service: None,
            budget: None,
        });
        let at = self.0.start.elapsed();
        let mut clusters = self.clusters();
        let Some(teller) = clusters.get_mut(key) else {
            return false;
        };
        teller.tick(&observed, &settings, at, unix_ms())
    }

    fn clusters(&self) -> MutexGuard<'_, HashMap<ObjectRef<MqttCluster>, Teller>> {
        self.0.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The present as orders tell time: milliseconds since the Unix epoch.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
