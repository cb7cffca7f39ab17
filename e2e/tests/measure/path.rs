//! The way of a promotion through Kubernetes, as watches of the same API server see it: the resource that asks for another
//! proxy, the pod that is given to the Service, the endpoint that follows it, and the rules of kube-proxy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use freshet_e2e::cluster::http_get;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource;
use kube::api::{Api, DynamicObject, WatchEvent, WatchParams};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::stage;

/// How often kube-proxy is asked when it last wrote its rules.
const ASKED_EVERY: Duration = Duration::from_millis(20);
/// Port of kube-proxy's metrics.
const KUBE_PROXY_PORT: u16 = 10_249;
/// When the last write of rules ended, in seconds since the epoch.
const WRITTEN: &str = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";
/// A watch that the API server ends is begun again after this.
const AGAIN: Duration = Duration::from_millis(50);

/// What the watches have seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The first time that the resource was seen with a generation.
    pub(crate) generations: BTreeMap<i64, Instant>,
    /// The role of each proxy, and whether it is ready and was not told to stop.
    pub(crate) roles: BTreeMap<String, (String, bool)>,
    /// Since when pods have the label by which the Service selects.
    pub(crate) labelled: BTreeMap<String, Instant>,
    /// Since when pods are endpoints that take connections.
    pub(crate) listed: BTreeMap<String, Instant>,
    /// The last change of any endpoint.
    pub(crate) endpoints_changed: Option<Instant>,
}

/// Watches that run until this is dropped.
pub(crate) struct Watches {
    seen: Arc<Mutex<Seen>>,
    _tasks: JoinSet<()>,
}

impl Watches {
    pub(crate) fn begin(broker: &Broker<'_>) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut tasks = JoinSet::new();
        let (client, namespace) = (broker.cluster.client(), broker.namespace);
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let slices: Api<EndpointSlice> = Api::namespaced(client, namespace);
        let of_cluster = WatchParams::default().labels("freshet.dev/cluster=mqtt");
        let of_service = WatchParams::default().labels("kubernetes.io/service-name=mqtt");
        let (to_resource, to_pods, to_slices) = (Arc::clone(&seen), Arc::clone(&seen), Arc::clone(&seen));
        tasks.spawn(watch(
            stage::clusters(broker),
            WatchParams::default(),
            to_resource,
            take_resource,
        ));
        tasks.spawn(watch(pods, of_cluster, to_pods, take_pod));
        tasks.spawn(watch(slices, of_service, to_slices, take_slice));
        Self { seen, _tasks: tasks }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What happened to an object.
enum Change<'a, K> {
    Is(&'a K),
    Gone(&'a K),
}

/// Takes what happens until the task is ended. The API server ends a watch after minutes: the next one begins with what is
/// there, which changes nothing that was taken before.
async fn watch<K>(
    api: Api<K>,
    params: WatchParams,
    seen: Arc<Mutex<Seen>>,
    take: fn(&mut Seen, &Change<'_, K>, Instant),
) where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    loop {
        if let Ok(stream) = api.watch(&params, "0").await {
            let mut stream = std::pin::pin!(stream);
            while let Some(Ok(event)) = stream.next().await {
                let now = Instant::now();
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                match &event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                        take(&mut seen, &Change::Is(object), now);
                    }
                    WatchEvent::Deleted(object) => take(&mut seen, &Change::Gone(object), now),
                    WatchEvent::Bookmark(_) | WatchEvent::Error(_) => {}
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn take_resource(seen: &mut Seen, change: &Change<'_, DynamicObject>, now: Instant) {
    if let Change::Is(object) = change
        && object.metadata.name.as_deref() == Some("mqtt")
        && let Some(generation) = object.metadata.generation
    {
        seen.generations.entry(generation).or_insert(now);
    }
}

fn take_pod(seen: &mut Seen, change: &Change<'_, Pod>, now: Instant) {
    let (Change::Is(pod) | Change::Gone(pod)) = change;
    let Some(name) = pod.metadata.name.clone() else { return };
    let label = |key: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let is_there = matches!(change, Change::Is(_));
    match label("freshet.dev/role") {
        Some(role) if is_there => {
            let is_well = is_ready(pod) && pod.metadata.deletion_timestamp.is_none();
            seen.roles.insert(name.clone(), (role.clone(), is_well));
        }
        _ => {
            seen.roles.remove(&name);
        }
    }
    if is_there && label("freshet.dev/accepting").is_some() {
        seen.labelled.entry(name).or_insert(now);
    } else {
        seen.labelled.remove(&name);
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

fn take_slice(seen: &mut Seen, change: &Change<'_, EndpointSlice>, now: Instant) {
    seen.endpoints_changed = Some(now);
    // One slice has up to a hundred endpoints, which is more than these clusters have proxies.
    let Change::Is(slice) = change else {
        seen.listed.clear();
        return;
    };
    let endpoints = slice.endpoints.iter();
    let serving = endpoints.filter(|e| e.conditions.as_ref().and_then(|c| c.ready) == Some(true));
    let names: Vec<String> = serving
        .filter_map(|endpoint| endpoint.target_ref.as_ref()?.name.clone())
        .collect();
    seen.listed.retain(|name, _| names.contains(name));
    for name in names {
        seen.listed.entry(name).or_insert(now);
    }
}

/// Notes each write of kube-proxy's rules on the first node until it is told to stop.
pub(crate) async fn rule_writes(broker: &Broker<'_>, until: tokio::sync::oneshot::Receiver<()>) -> Vec<Instant> {
    let address = broker.cluster.node_port(KUBE_PROXY_PORT);
    let mut written: Vec<f64> = Vec::new();
    let note = async {
        loop {
            if let Ok(at) = last_write(address).await
                && written.last().is_none_or(|last| *last < at)
            {
                written.push(at);
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
    };
    tokio::select! {
        () = note => {}
        _ = until => {}
    }
    // The kernel's two clocks, read together.
    let (now, since_epoch) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH));
    let since_epoch = since_epoch.unwrap_or_default().as_secs_f64();
    let ago = |at: f64| Duration::try_from_secs_f64((since_epoch - at).max(0.0)).unwrap_or_default();
    written.into_iter().filter_map(|at| now.checked_sub(ago(at))).collect()
}

async fn last_write(address: SocketAddr) -> Result<f64> {
    let answer = http_get(address, "/metrics").await?;
    let line = answer.body.lines().find(|line| line.starts_with(WRITTEN));
    let value = line
        .and_then(|line| line.rsplit_once(' '))
        .context("kube-proxy does not say")?;
    Ok(value.1.parse()?)
}
