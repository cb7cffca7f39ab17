//! The ConfigMap in which the memory of a cluster's scaler outlives the process: read once, written seldom.

use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_operator_api::MqttCluster;
use freshet_operator_core::names;
use freshet_operator_core::scaling::cluster::{history_config_map, history_of};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Api, Client, Resource, ResourceExt};

use super::Scalings;
use crate::fault::FaultPoint;
use crate::write::Writer;

/// Pause before a memory that could not be read is asked for again. Until then nothing is decided.
pub(super) const READ_AGAIN: Duration = Duration::from_secs(10);
/// How seldom a memory is written.
const WRITTEN_EVERY: Duration = Duration::from_secs(300);
/// When one is written that has not been: an owner that refuses it should be known of before days are remembered.
const FIRST_AFTER: Duration = Duration::from_secs(10);

/// When the memory of a cluster is written next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Saving {
    next: Instant,
}

impl Saving {
    /// Of a cluster whose memory was read, if there was one.
    pub(super) fn begin(there_was_one: bool) -> Self {
        let pause = if there_was_one { WRITTEN_EVERY } else { FIRST_AFTER };
        Self {
            next: Instant::now() + pause,
        }
    }

    /// It is being written.
    pub(super) fn done() -> Self {
        Self::begin(true)
    }

    pub(super) fn is_due(self) -> bool {
        Instant::now() >= self.next
    }
}

/// Reads what the scaler of a cluster remembered, and lets it begin.
pub(super) async fn read(scalings: Scalings, client: Client, resource: Arc<MqttCluster>) {
    let cluster = resource.name_any();
    let api: Api<ConfigMap> = Api::namespaced(client, &resource.namespace().unwrap_or_default());
    match api.get_opt(&names::scaling_history(&cluster)).await {
        Ok(config_map) => {
            let uid = resource.metadata.uid.as_deref().unwrap_or_default();
            let state = config_map.as_ref().and_then(|config_map| history_of(config_map, uid));
            scalings.begin(&resource, state);
        }
        Err(error) => tracing::warn!(cluster, %error, "what the scaler remembered cannot be read: nothing is decided"),
    }
}

/// Writes what the scaler of a cluster remembers.
pub(super) async fn write(writer: Writer, resource: Arc<MqttCluster>, state: String) {
    let (cluster, namespace) = (resource.name_any(), resource.namespace().unwrap_or_default());
    let Some(owner) = resource.controller_owner_ref(&()) else {
        return;
    };
    let owner = OwnerReference {
        block_owner_deletion: Some(true),
        ..owner
    };
    let config_map = history_config_map(&cluster, &namespace, owner, state);
    let written = writer
        .apply(
            FaultPoint::ApplyScalingHistory,
            &namespace,
            &names::scaling_history(&cluster),
            &config_map,
        )
        .await;
    if let Err(error) = written {
        tracing::warn!(cluster, %error, "what the scaler remembers was not written");
    }
}
