//! Every child of a cluster as Kubernetes objects, from a [`ValidatedCluster`] alone.
//!
//! Nothing read from the API server comes in, except the two numbers that are decisions (replicas of the proxies'
//! Deployment, `minAvailable`): a default that a Kubernetes version fills in cannot change what is asked for, and so
//! cannot roll the fleet. The rendered children of fixed resources are checked in (`tests/golden`).

mod accounts;
mod config_map;
mod disruption;
mod orders;
mod pod;
mod proxies;
mod services;
mod storage;
mod warm;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::labels::Labels;
use crate::validate::ValidatedCluster;

pub use disruption::min_available;
pub use proxies::{MIN_READY_S, proxy_deployment};
pub use storage::keep_claim_size;

/// The children that no decision changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Children {
    /// Of the proxies.
    pub proxy_account: ServiceAccount,
    /// Of the storage nodes.
    pub storage_account: ServiceAccount,
    /// The files of proxies and storage.
    pub config_map: ConfigMap,
    /// What clients use.
    pub client_service: Service,
    /// Over all proxies.
    pub all_proxies_service: Service,
    /// Headless, of the storage nodes.
    pub storage_service: Service,
    /// The storage nodes.
    pub storage: StatefulSet,
    /// Revision of the proxies that the resource asks for.
    pub proxy_revision: String,
    /// What an active proxy reserves of CPU and memory; pods are born with less.
    pub active_requests: BTreeMap<String, Quantity>,
    /// Hash of the storage nodes' pod template.
    pub storage_revision: String,
    /// Hash of the proxies' file.
    pub proxy_config_hash: String,
    /// Hash of the storage nodes' file.
    pub storage_config_hash: String,
}

/// Builds the children that no decision changes, and the hashes by which changes are recognised.
pub fn build_children(cluster: &ValidatedCluster) -> Children {
    let config = config_map::build(cluster);
    let (storage, storage_revision) = storage::stateful_set(cluster);
    Children {
        proxy_account: accounts::proxy(cluster),
        storage_account: accounts::storage(cluster),
        config_map: config.config_map,
        client_service: services::clients(cluster),
        all_proxies_service: services::all_proxies(cluster),
        storage_service: services::storage(cluster),
        storage,
        proxy_revision: proxies::revision(cluster),
        active_requests: proxies::active_requests(cluster),
        storage_revision,
        proxy_config_hash: config.proxy_hash,
        storage_config_hash: config.storage_hash,
    }
}

/// Builds the budget that keeps `min_available` active proxies through voluntary disruptions.
pub fn build_disruption_budget(cluster: &ValidatedCluster, min_available: u32) -> PodDisruptionBudget {
    disruption::build(cluster, min_available)
}

fn metadata(cluster: &ValidatedCluster, name: String, labels: Labels) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(labels),
        owner_references: Some(vec![cluster.owner.clone()]),
        ..ObjectMeta::default()
    }
}

/// Hash of a pod template as the operator writes it.
fn template_hash(template: &PodTemplateSpec) -> String {
    // A pod template is a tree of texts and numbers: there is nothing in it that JSON cannot hold.
    short_hash(&serde_json::to_vec(template).unwrap_or_default())
}

/// The first eight hexadecimal digits of SHA-256.
pub(crate) fn short_hash(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    use std::fmt::Write;
    Sha256::digest(bytes)
        .iter()
        .take(4)
        .fold(String::new(), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
