//! One round: which clusters and proxies there are, and what the proxies answer when they are asked for their load.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use freshet_load::Load;
use freshet_operator_api::{METRICS_PORT, MqttCluster, ScalingMode, WarmSize};
use freshet_operator_core::labels;
use freshet_operator_core::scaling::fleet::{Member, member_of};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio::time::timeout_at;

use super::scrape::Scraper;
use crate::watch::Stores;

/// How long the answers of one round may take, all together.
const ROUND: Duration = Duration::from_millis(800);
/// Proxies that are asked at once.
const ASKED_AT_ONCE: usize = 128;

/// A cluster in one round.
pub(super) struct Looked {
    pub(super) key: ObjectRef<MqttCluster>,
    pub(super) resource: Arc<MqttCluster>,
    /// Its proxies, and what they are to the scaler.
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) members: Vec<Member>,
    /// Where its storage nodes are asked.
    pub(super) storage: Vec<SocketAddr>,
}

impl Looked {
    /// Whether the operator decides how many proxies serve, or would.
    pub(super) fn is_scaled(&self) -> bool {
        self.resource.spec.proxy.scaling.mode != ScalingMode::Off
    }
}

/// Whether load decides how many proxies serve or wait, or would.
pub(super) fn is_followed(resource: &MqttCluster) -> bool {
    let proxy = &resource.spec.proxy;
    proxy.scaling.mode != ScalingMode::Off || proxy.warm.size == WarmSize::Auto
}

/// The clusters, with their proxies.
pub(super) fn look(stores: &Stores) -> Vec<Looked> {
    let mut looked: Vec<Looked> = stores
        .clusters
        .state_filter(|cluster| cluster.metadata.deletion_timestamp.is_none())
        .into_iter()
        .map(|resource| Looked {
            key: ObjectRef::from_obj(resource.as_ref()),
            resource,
            pods: Vec::new(),
            members: Vec::new(),
            storage: Vec::new(),
        })
        .collect();
    if looked.is_empty() {
        return looked;
    }
    let places: HashMap<(Option<String>, String), usize> = looked
        .iter()
        .enumerate()
        .map(|(index, looked)| ((looked.key.namespace.clone(), looked.key.name.clone()), index))
        .collect();
    // All pods once, whatever the number of clusters.
    for pod in stores.pods.watched() {
        let cluster = pod.labels().get(labels::CLUSTER).cloned().unwrap_or_default();
        let Some(looked) = places
            .get(&(pod.namespace(), cluster))
            .and_then(|index| looked.get_mut(*index))
        else {
            continue;
        };
        if let Some(member) = member_of(&pod, looked.resource.metadata.uid.as_deref().unwrap_or_default()) {
            looked.members.push(member);
            looked.pods.push(pod);
        } else if pod
            .labels()
            .get(labels::COMPONENT)
            .is_some_and(|of| of == labels::STORAGE)
        {
            looked.storage.extend(address_of(&pod));
        }
    }
    looked
}

fn address_of(pod: &Pod) -> Option<SocketAddr> {
    let ip: IpAddr = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    Some(SocketAddr::new(ip, METRICS_PORT))
}

/// Asks all proxies. What has not come within [`ROUND`] is missing.
pub(super) async fn ask(scraper: &Arc<Scraper>, looked: &[Looked]) -> Vec<(usize, String, Load)> {
    let deadline = tokio::time::Instant::now() + ROUND;
    let asked: Vec<(usize, String, SocketAddr)> = looked
        .iter()
        .enumerate()
        .flat_map(|(index, looked)| looked.members.iter().map(move |member| (index, member)))
        .filter_map(|(index, member)| {
            let ip: IpAddr = member.ip.parse().ok()?;
            Some((index, member.uid.clone(), SocketAddr::new(ip, METRICS_PORT)))
        })
        .collect();
    scraper.keep_only(asked.iter().map(|(_, uid, _)| uid.as_str()));
    let mut all = Vec::with_capacity(asked.len());
    let mut answers = stream::iter(asked)
        .map(|(index, uid, address)| {
            let scraper = Arc::clone(scraper);
            async move {
                let load = scraper.ask(&uid, address, deadline).await?;
                Some((index, uid, load))
            }
        })
        .buffer_unordered(ASKED_AT_ONCE);
    // Those that wait for their turn when the time is over are not asked.
    while let Ok(Some(answer)) = timeout_at(deadline, answers.next()).await {
        all.extend(answer);
    }
    all
}
