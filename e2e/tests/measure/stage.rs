//! A cluster whose proxies may use so little CPU that a machine of two CPUs shows what several of them do.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use freshet_e2e::cluster::http_get;
use freshet_e2e::metrics;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::broker::Broker;

/// CPU that a proxy may use, where a row says nothing else.
pub(crate) const PROXY_CPU: &str = "200m";
/// Where pods of proxies say what they have done.
const METRICS_PORT: u16 = 9090;
const PROXIES: &str = "freshet.dev/cluster=mqtt,app.kubernetes.io/component=proxy";

/// Resources of a proxy that may use so much CPU.
pub(crate) fn resources(cpu: &str) -> Value {
    json!({"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": cpu, "memory": "256Mi"}})
}

/// What a proxy reserves while it waits.
pub(crate) fn warm_requests() -> Value {
    json!({"cpu": "5m", "memory": "16Mi"})
}

/// The resource, as the API server's own clients change it: kubectl takes longer to start than what is measured.
pub(crate) fn clusters(broker: &Broker<'_>) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("freshet.dev", "v1alpha1", "MqttCluster"));
    Api::namespaced_with(broker.cluster.client(), broker.namespace, &kind)
}

/// Changes `spec.proxy`, and returns the generation with which the API server has the change.
pub(crate) async fn patch_proxy(clusters: &Api<DynamicObject>, proxy: &Value) -> Result<i64> {
    let patch = Patch::Merge(json!({"spec": {"proxy": proxy}}));
    let changed = clusters.patch("mqtt", &PatchParams::default(), &patch).await?;
    changed.metadata.generation.context("a resource without a generation")
}

/// The proxies of the cluster that have an address and were not told to stop.
pub(crate) async fn proxies(broker: &Broker<'_>) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(broker.cluster.client(), broker.namespace);
    let listed = pods.list(&ListParams::default().labels(PROXIES)).await?;
    let is_there = |pod: &Pod| pod.metadata.deletion_timestamp.is_none() && address_of(pod).is_some();
    Ok(listed.items.into_iter().filter(is_there).collect())
}

/// Where a pod serves its metrics.
pub(crate) fn address_of(pod: &Pod) -> Option<SocketAddr> {
    let ip = pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()?;
    Some(SocketAddr::new(ip, METRICS_PORT))
}

/// One metric of some pods, all labels together, by the name of the pod; those that do not answer are left out.
pub(crate) async fn metric(pods: &[Pod], name: &str) -> BTreeMap<String, u64> {
    let ask = async |pod: &Pod| {
        let answer = http_get(address_of(pod)?, "/metrics").await.ok()?;
        let sum = metrics::samples::<u64>(&answer.body, name)
            .map(|(_, value)| value)
            .sum();
        Some((pod.metadata.name.clone()?, sum))
    };
    let answers = futures::future::join_all(pods.iter().map(ask)).await;
    answers.into_iter().flatten().collect()
}

/// The longest P99 of the round trips of QoS 1, in milliseconds, that a proxy says its own publishers had over the last 10 s.
pub(crate) async fn said_round_trip_ms(pods: &[Pod]) -> f64 {
    let ask = async |pod: &Pod| {
        let answer = http_get(address_of(pod)?, "/metrics").await.ok()?;
        let said = metrics::samples::<f64>(&answer.body, "freshet_proxy_publish_round_trip_seconds");
        let p99 = said.filter(|(labels, _)| labels.contains("qos=\"1\"") && labels.contains("quantile=\"0.99\""));
        p99.map(|(_, seconds)| seconds * 1_000.0).next()
    };
    let said = futures::future::join_all(pods.iter().map(ask)).await;
    said.into_iter().flatten().fold(f64::NAN, f64::max)
}
