//! What the proxies said last: a rollout compares revisions by it (`freshet_operator_core::rollout`), and status says how many
//! clients a change will move (`freshet_operator_core::disruption`).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use freshet_load::Load;
use freshet_operator_api::MqttCluster;
use freshet_operator_core::rollout::Loads;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::Looked;

/// By cluster.
#[derive(Clone, Default)]
pub(super) struct LatestLoads(Arc<Mutex<HashMap<ObjectRef<MqttCluster>, Loads>>>);

impl LatestLoads {
    /// Takes the answers of one round. A proxy that did not answer counts with what it said before.
    pub(super) fn take(&self, looked: &[Looked], answers: &[(usize, String, Load)]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut by_index: Vec<Loads> = Vec::with_capacity(looked.len());
        for looked in looked {
            let uids: HashSet<String> = looked.pods.iter().filter_map(|pod| pod.uid()).collect();
            let mut loads = all.remove(&looked.key).unwrap_or_default();
            loads.retain(|uid, _| uids.contains(uid));
            by_index.push(loads);
        }
        for (index, uid, load) in answers {
            if let Some(loads) = by_index.get_mut(*index) {
                loads.insert(uid.clone(), load.clone());
            }
        }
        let keys = looked.iter().map(|looked| looked.key.clone());
        *all = keys.zip(by_index).collect();
    }

    /// What the proxies of a cluster said last.
    pub(super) fn known(&self, key: &ObjectRef<MqttCluster>) -> Loads {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(key).cloned().unwrap_or_default()
    }
}
