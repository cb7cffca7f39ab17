//! What is remembered of each cluster between two reconciles. Losing it costs some writes that change nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use freshet_operator_api::{MqttCluster, MqttClusterStatus};
use freshet_operator_core::observe::Observed;
use freshet_operator_core::rollout::RolloutMemory;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};

use super::apply::Applied;
use super::limits::Limits;
use super::refusals::Refusals;

/// What is remembered of one cluster.
#[derive(Default)]
pub(super) struct ClusterMemory {
    uid: String,
    /// What was applied of each child, by the child's name within its kind.
    pub(super) applied: HashMap<String, Applied>,
    /// What was seen at the last reconcile.
    pub(super) observed: Option<Observed>,
    /// When a status was written last, and what: the watch may not have seen it yet.
    pub(super) status: Option<WrittenStatus>,
    /// What the proxies have said of their limits, and proxies and storage of what they have lost.
    pub(super) limits: Limits,
    /// Where the rollout that is under way began.
    pub(super) rollout: RolloutMemory,
    /// Resizes that the API server has refused.
    pub(super) refusals: Refusals,
    /// Failed reconciles since the last one that went well.
    pub(super) failures: u32,
}

/// A status that was written.
pub(super) struct WrittenStatus {
    pub(super) at: Instant,
    pub(super) resource_version: Option<u64>,
    pub(super) status: MqttClusterStatus,
}

impl ClusterMemory {
    /// The status as it is stored: what the resource says, or what was written since it was read.
    pub(super) fn newest_status(&self, resource: &MqttCluster) -> Option<MqttClusterStatus> {
        let read: Option<u64> = resource.resource_version().and_then(|version| version.parse().ok());
        let newer = self.status.as_ref().filter(|written| written.resource_version > read);
        newer
            .map(|written| written.status.clone())
            .or_else(|| resource.status.clone())
    }
}

/// What is remembered of all clusters.
#[derive(Default)]
pub(super) struct Memories(Mutex<HashMap<ObjectRef<MqttCluster>, ClusterMemory>>);

impl Memories {
    /// Takes out what is remembered; nothing of another cluster that had the same name.
    pub(super) fn take(&self, cluster: &MqttCluster) -> ClusterMemory {
        let uid = cluster.uid().unwrap_or_default();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = all
            .remove(&ObjectRef::from_obj(cluster))
            .filter(|memory| memory.uid == uid);
        memory.unwrap_or_else(|| ClusterMemory {
            uid,
            ..ClusterMemory::default()
        })
    }

    /// Puts it back, and forgets clusters that are no more when they outnumber those that are.
    pub(super) fn put(&self, cluster: &MqttCluster, memory: ClusterMemory, clusters: &Store<MqttCluster>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(ObjectRef::from_obj(cluster), memory);
        if all.len() > 2 * clusters.len().max(8) {
            all.retain(|key, _| clusters.get(key).is_some());
        }
    }

    /// Forgets a cluster.
    pub(super) fn forget(&self, cluster: &MqttCluster) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&ObjectRef::from_obj(cluster));
    }

    /// Failed reconciles of a cluster since the last one that went well.
    pub(super) fn failures(&self, cluster: &MqttCluster) -> u32 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&ObjectRef::from_obj(cluster))
            .map_or(0, |memory| memory.failures)
    }
}
