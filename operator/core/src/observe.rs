//! What was read of a cluster, as plain facts.
//!
//! Called by the reconciler with the objects of its watches; everything after it ([`crate::plan`], [`crate::status`],
//! [`crate::notices`]) knows facts only. Leaves out what nobody decides by.

mod claims;
mod endpoints;
#[cfg(test)]
mod ready;
mod unread;

use std::collections::BTreeMap;
use std::sync::Arc;

use freshet_config::{MoveOrder, MoveReason};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod, PodSpec, ResourceRequirements, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::keep::Record;
use crate::labels;
use crate::loss::Loss;
use crate::names;
use crate::requests::Requests;
use crate::trouble::{Trouble, resize_trouble_of, shortened, trouble_of};
use crate::volume_origin::VolumeOrigin;

pub use claims::{ClaimPhase, ClaimSize, Growth, StorageClaim};
pub use endpoints::endpoints;
pub use unread::drop_unread;

/// What was read of one cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Every proxy pod, sorted by name.
    pub proxies: Vec<ProxyPod>,
    /// The Deployment of every revision there is, sorted by name.
    pub deployments: Vec<ProxyDeployment>,
    /// Every storage pod, sorted by name.
    pub storage_pods: Vec<StoragePod>,
    /// The StatefulSet of the storage nodes.
    pub storage_set: Option<StorageSet>,
    /// Every claim of a storage node's volume, sorted by name.
    pub storage_claims: Vec<StorageClaim>,
    /// What the client Service has been given.
    pub service: Option<ServiceFacts>,
    /// `minAvailable` of the proxies' disruption budget.
    pub min_available: Option<u32>,
}

/// What a proxy is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Serves clients.
    Active,
    /// Waits: started, connected to storage, without clients.
    Warm,
    /// Hands over its clients.
    Draining,
}

/// A pod, whatever it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodFacts {
    /// Name.
    pub name: String,
    /// UID: a pod of the same name is another one.
    pub uid: String,
    /// What a write must still find.
    pub resource_version: String,
    /// Node, once it has one.
    pub node: Option<String>,
    /// Address of the node.
    pub host_ip: Option<String>,
    /// Its own address, once it has one.
    pub ip: Option<String>,
    /// Condition `Ready`.
    pub is_ready: bool,
    /// It was told to stop.
    pub is_deleting: bool,
    /// How often its main container was started again.
    pub restarts: u32,
    /// How the last life of the main container ended.
    pub last_end: Option<String>,
    /// Hash of the file it was last told of.
    pub config_hash: Option<String>,
    /// Seconds since the epoch of its creation; the youngest go first.
    pub created_s: i64,
    /// Why it does not run.
    pub trouble: Option<Trouble>,
}

/// A proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyPod {
    /// The pod.
    pub pod: PodFacts,
    /// Its revision.
    pub revision: String,
    /// Label of the role; pods of earlier versions of the operator have none at birth.
    pub role: Option<Role>,
    /// Label by which the Service selects.
    pub is_accepting: bool,
    /// Annotation for the ReplicaSet controller.
    pub deletion_cost: Option<i32>,
    /// What its container asks to have reserved.
    pub requests: Requests,
    /// Why the kubelet has not reserved that yet, if it says so.
    pub resize: Option<Trouble>,
    /// The order to give clients away.
    pub order: Option<MoveOrder>,
    /// Whether it is taken to be dead.
    pub loss: Loss,
}

impl ProxyPod {
    /// It counts for `active`: it has the role, and will keep it.
    pub fn is_active(&self) -> bool {
        self.role == Some(Role::Active) && !self.pod.is_deleting
    }

    /// It waits, or comes up to do so.
    pub fn is_warm(&self) -> bool {
        matches!(self.role, Some(Role::Warm) | None)
    }

    /// It serves clients: it takes new connections, or is full and others take them for now.
    pub fn serves(&self) -> bool {
        self.is_active() && (self.is_accepting || self.is_steered()) && self.pod.is_ready
    }

    /// It serves and gets no new connections while others are filled.
    pub fn is_steered(&self) -> bool {
        let order = self
            .order
            .as_ref()
            .filter(|order| order.reason == MoveReason::Rebalance);
        self.is_active() && !self.is_accepting && order.is_some()
    }
}

/// The Deployment of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyDeployment {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// What a write must still find.
    pub resource_version: String,
    /// Its revision.
    pub revision: String,
    /// How it was made.
    pub record: Record,
    /// Seconds since the epoch of its creation.
    pub created_s: i64,
    /// `spec.replicas`.
    pub replicas: u32,
    /// Pods that have been ready for `minReadySeconds`, as far as the controller has seen the present spec.
    pub available: u32,
    /// Pods there are.
    pub pods: u32,
    /// CPU and memory that its pods reserve from birth.
    pub birth_requests: Requests,
    /// It was deleted.
    pub is_deleting: bool,
    /// Why it cannot make pods.
    pub trouble: Option<Trouble>,
}

/// A storage node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoragePod {
    /// The pod.
    pub pod: PodFacts,
    /// `controller-revision-hash`.
    pub revision: String,
}

/// The StatefulSet of the storage nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorageSet {
    /// What a write must still find.
    pub resource_version: String,
    /// Hash of its pod template as an operator built it.
    pub revision: String,
    /// How it was made.
    pub record: Record,
    /// `spec.replicas`.
    pub replicas: u32,
    /// The revision new pods get, once the controller has seen the present spec.
    pub update_revision: Option<String>,
    /// Each pod has a volume, which outlives it.
    pub has_volume: bool,
    /// The size with which claims of such volumes are made.
    pub claim_size: Option<String>,
    /// What its claims say about them.
    pub volume_origin: Option<VolumeOrigin>,
}

/// What the client Service has been given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Port and node port, by the port's name.
    pub node_ports: Vec<(String, u16)>,
    /// Host names and addresses of the load balancer.
    pub ingress: Vec<String>,
}

/// The objects of one cluster, as its watches have them.
#[derive(Debug, Clone, Copy)]
pub struct Objects<'a> {
    /// UID of the cluster.
    pub uid: &'a str,
    /// Pods of proxies and storage; those of another cluster that had the same name are passed over.
    pub pods: &'a [Arc<Pod>],
    /// Deployments of proxies.
    pub deployments: &'a [Arc<Deployment>],
    /// The StatefulSet.
    pub stateful_set: Option<&'a StatefulSet>,
    /// Claims of storage nodes' volumes. They may be older than the cluster.
    pub claims: &'a [Arc<PersistentVolumeClaim>],
    /// The client Service.
    pub service: Option<&'a Service>,
    /// The disruption budget.
    pub budget: Option<&'a PodDisruptionBudget>,
}

/// Reduces objects to facts. Objects without a name, or of no component, are passed over.
pub fn observe(objects: Objects<'_>) -> Observed {
    let of = |component: &'static str| {
        let pods = objects.pods.iter().map(Arc::as_ref);
        pods.filter(move |pod| {
            !has_ended(pod)
                && label(&pod.metadata, labels::COMPONENT) == Some(component)
                && annotation(&pod.metadata, labels::CLUSTER_UID) == Some(objects.uid)
        })
    };
    let mut proxies: Vec<_> = of(labels::PROXY).map(proxy_pod).collect();
    proxies.sort_by(|a, b| a.pod.name.cmp(&b.pod.name));
    let mut storage_pods: Vec<_> = of(labels::STORAGE).map(storage_pod).collect();
    storage_pods.sort_by(|a, b| a.pod.name.cmp(&b.pod.name));
    let mut deployments: Vec<_> = objects
        .deployments
        .iter()
        .map(Arc::as_ref)
        .filter_map(deployment)
        .collect();
    deployments.sort_by(|a, b| a.name.cmp(&b.name));
    Observed {
        proxies,
        deployments,
        storage_pods,
        storage_set: objects.stateful_set.map(storage_set),
        storage_claims: claims::storage_claims(objects.claims),
        service: objects.service.map(service),
        min_available: objects.budget.and_then(min_available),
    }
}

/// A pod that was evicted or has finished stays as a record; its controller makes another one.
fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded"))
}

fn label<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn created_s(metadata: &ObjectMeta) -> i64 {
    metadata
        .creation_timestamp
        .as_ref()
        .map_or(0, |time| time.0.as_second())
}

fn proxy_pod(pod: &Pod) -> ProxyPod {
    let metadata = &pod.metadata;
    ProxyPod {
        pod: pod_facts(pod, names::PROXY_CONTAINER),
        revision: label(metadata, labels::REVISION).unwrap_or_default().to_owned(),
        role: match label(metadata, labels::ROLE) {
            Some(labels::ACTIVE) => Some(Role::Active),
            Some(labels::WARM) => Some(Role::Warm),
            Some(labels::DRAINING) => Some(Role::Draining),
            _ => None,
        },
        is_accepting: label(metadata, labels::ACCEPTING) == Some(labels::TRUE),
        deletion_cost: annotation(metadata, labels::DELETION_COST).and_then(|cost| cost.parse().ok()),
        requests: requests(pod),
        resize: resize_trouble_of(pod),
        order: annotation(metadata, labels::MOVES).and_then(|text| serde_json::from_str(text).ok()),
        loss: Loss::marked(metadata.annotations.as_ref()),
    }
}

fn requests(pod: &Pod) -> Requests {
    proxy_resources(pod.spec.as_ref()).map_or_else(Requests::default, Requests::of)
}

fn birth_requests(deployment: &Deployment) -> Requests {
    let template = deployment.spec.as_ref().map(|spec| &spec.template);
    proxy_resources(template.and_then(|template| template.spec.as_ref())).map_or_else(Requests::default, Requests::of)
}

fn proxy_resources(spec: Option<&PodSpec>) -> Option<&ResourceRequirements> {
    let containers = spec.into_iter().flat_map(|spec| &spec.containers);
    let proxy = containers
        .into_iter()
        .find(|container| container.name == names::PROXY_CONTAINER);
    proxy?.resources.as_ref()
}

fn storage_pod(pod: &Pod) -> StoragePod {
    StoragePod {
        pod: pod_facts(pod, names::STORAGE_CONTAINER),
        revision: label(&pod.metadata, "controller-revision-hash")
            .unwrap_or_default()
            .to_owned(),
    }
}

fn pod_facts(pod: &Pod, main_container: &str) -> PodFacts {
    let metadata = &pod.metadata;
    let status = pod.status.as_ref();
    let conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut containers = status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    let main = containers.find(|container| container.name == main_container);
    PodFacts {
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        host_ip: status.and_then(|status| status.host_ip.clone()),
        ip: status.and_then(|status| status.pod_ip.clone()),
        is_ready: conditions
            .into_iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        is_deleting: metadata.deletion_timestamp.is_some(),
        restarts: main.map_or(0, |container| unsigned(container.restart_count)),
        last_end: main.and_then(last_end),
        config_hash: annotation(metadata, labels::CONFIG_HASH).map(str::to_owned),
        created_s: created_s(metadata),
        trouble: trouble_of(pod),
    }
}

/// How the main container ended: its present state if it has ended, or that of its last life.
fn last_end(container: &ContainerStatus) -> Option<String> {
    let now = container.state.as_ref().and_then(|state| state.terminated.as_ref());
    let before = container
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    let ended = now.or(before)?;
    let reason = ended.reason.as_deref().unwrap_or("no reason given");
    Some(format!("exit code {} ({reason})", ended.exit_code))
}

fn deployment(deployment: &Deployment) -> Option<ProxyDeployment> {
    let metadata = &deployment.metadata;
    let status = deployment.status.as_ref();
    // A status of an earlier spec says nothing about this one.
    let current = status.filter(|status| status.observed_generation >= metadata.generation);
    let failure = status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True");
    Some(ProxyDeployment {
        name: metadata.name.clone()?,
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        revision: label(metadata, labels::REVISION)?.to_owned(),
        record: Record::read(metadata),
        created_s: created_s(metadata),
        replicas: unsigned(deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)),
        available: unsigned(current.and_then(|status| status.available_replicas).unwrap_or(0)),
        pods: unsigned(status.and_then(|status| status.replicas).unwrap_or(0)),
        birth_requests: birth_requests(deployment),
        is_deleting: metadata.deletion_timestamp.is_some(),
        trouble: failure.map(|failure| Trouble {
            reason: failure.reason.clone().unwrap_or_else(|| "FailedCreate".to_owned()),
            message: shortened(failure.message.as_deref().unwrap_or("no message")),
        }),
    })
}

fn storage_set(set: &StatefulSet) -> StorageSet {
    let status = set.status.as_ref();
    let current = status.filter(|status| status.observed_generation >= set.metadata.generation);
    let claims = set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.as_ref());
    let claim = claims.and_then(|claims| claims.first());
    StorageSet {
        resource_version: set.metadata.resource_version.clone().unwrap_or_default(),
        revision: label(&set.metadata, labels::REVISION).unwrap_or_default().to_owned(),
        record: Record::read(&set.metadata),
        replicas: unsigned(set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)),
        update_revision: current.and_then(|status| status.update_revision.clone()),
        has_volume: claims.is_some(),
        volume_origin: claim.and_then(|claim| VolumeOrigin::read(&claim.metadata)),
        claim_size: claims::template_size(set),
    }
}

fn service(service: &Service) -> ServiceFacts {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let node_port = |port: &k8s_openapi::api::core::v1::ServicePort| {
        let number = port
            .node_port
            .and_then(|number| u16::try_from(number).ok())
            .filter(|number| *number != 0)?;
        Some((port.name.clone()?, number))
    };
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.iter().flat_map(|balancer| balancer.ingress.iter().flatten());
    ServiceFacts {
        node_ports: ports.filter_map(node_port).collect(),
        ingress: ingress
            .filter_map(|ingress| ingress.hostname.clone().or_else(|| ingress.ip.clone()))
            .collect(),
    }
}

fn min_available(budget: &PodDisruptionBudget) -> Option<u32> {
    match budget.spec.as_ref()?.min_available.as_ref()? {
        IntOrString::Int(number) => Some(unsigned(*number)),
        IntOrString::String(_) => None,
    }
}

fn unsigned(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// The revision with the most active proxies, or nothing while none is active.
pub fn serving_revision(proxies: &[ProxyPod]) -> Option<&str> {
    let mut active: BTreeMap<&str, u32> = BTreeMap::new();
    for proxy in proxies.iter().filter(|proxy| proxy.is_active()) {
        *active.entry(proxy.revision.as_str()).or_default() += 1;
    }
    active
        .into_iter()
        .max_by_key(|&(_, count)| count)
        .map(|(revision, _)| revision)
}

#[cfg(test)]
mod tests;
