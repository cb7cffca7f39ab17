//! Writes how many proxies serve, as the scaler of the cluster has decided, before anything is planned: the same reconcile
//! promotes who is needed.

use std::borrow::Cow;

use freshet_operator_api::MqttCluster;
use freshet_operator_core::status::Blocked;
use kube::ResourceExt;
use serde_json::json;

use super::memory::ClusterMemory;
use super::{ReconcileError, Reconciler};
use crate::fault::FaultPoint;
use crate::write::WriteError;

/// A resource with the `replicas` that is stored.
pub(super) struct ScaledResource<'a> {
    pub(super) resource: Cow<'a, MqttCluster>,
    /// Why the decision could not be written.
    pub(super) blocked: Option<Blocked>,
}

impl Reconciler {
    /// Writes the decision, if there is one.
    pub(super) async fn scale<'a>(
        &self,
        resource: &'a MqttCluster,
        memory: &ClusterMemory,
    ) -> Result<ScaledResource<'a>, ReconcileError> {
        let mut resource = self.scalings.with_written_replicas(resource);
        let Some(replicas) = self.scalings.goal(&resource) else {
            return Ok(ScaledResource {
                resource,
                blocked: None,
            });
        };
        let (name, namespace) = (resource.name_any(), resource.namespace().unwrap_or_default());
        // The newest that is known of the resource: what somebody else has set since must not be overwritten.
        let read = resource.resource_version().and_then(|version| version.parse().ok());
        let newest: Option<u64> = [
            read,
            memory.status.as_ref().and_then(|written| written.resource_version),
            self.scalings.written_version(&resource),
        ]
        .into_iter()
        .flatten()
        .max();
        let patch = json!({
            "metadata": {"resourceVersion": newest.map(|version| version.to_string())},
            "spec": {"replicas": replicas},
        });
        let point = FaultPoint::ScaleCluster;
        let blocked = match self.writer.scale::<MqttCluster>(point, &namespace, &name, &patch).await {
            Ok(version) => {
                tracing::info!(cluster = name, namespace, replicas, "scaled by load");
                self.scalings.applied(&resource, replicas, version);
                resource.to_mut().spec.proxy.replicas = replicas;
                None
            }
            Err(WriteError::Refused { point, message }) => Some(Blocked {
                reason: "WriteRefused".to_owned(),
                message: format!("the API server refuses {point}: {message}"),
            }),
            Err(error) => return Err(error.into()),
        };
        Ok(ScaledResource { resource, blocked })
    }
}
