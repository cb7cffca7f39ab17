//! Reads whose volumes the storage nodes of a cluster find, before the cluster is built.

use freshet_operator_api::{MqttCluster, StorageMedium};
use freshet_operator_core::names;
use freshet_operator_core::observe::Observed;
use freshet_operator_core::volume_origin::{VolumeOrigin, left_behind};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Api, ResourceExt};

use super::{ReconcileError, Reconciler};

impl Reconciler {
    /// What the cluster's volumes began with: as its StatefulSet says, whose claims never change, and before there is one,
    /// as a deleted cluster of the same name has left them.
    ///
    /// # Errors
    /// [`ReconcileError::Read`].
    pub(super) async fn volume_origin(
        &self,
        resource: &MqttCluster,
        observed: &Observed,
    ) -> Result<Option<VolumeOrigin>, ReconcileError> {
        if let Some(set) = &observed.storage_set {
            return Ok(set.volume_origin.clone());
        }
        if resource.spec.storage.volume.medium == StorageMedium::Memory {
            return Ok(None);
        }
        let (cluster, namespace) = (resource.name_any(), resource.namespace().unwrap_or_default());
        let name = names::storage_claim(&names::storage_pod(&cluster, 0));
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.writer.client().clone(), &namespace);
        let claim = claims.get_metadata_opt(&name).await;
        let claim = claim.map_err(|source| ReconcileError::Read {
            what: format!("PersistentVolumeClaim {name}"),
            source: Box::new(source),
        })?;
        let left = claim.and_then(|claim| left_behind(&claim.metadata, &cluster));
        if let Some(VolumeOrigin { uid, .. }) = &left {
            tracing::info!(
                cluster,
                namespace,
                claim = name,
                uid,
                "goes on with the volume of a deleted cluster"
            );
        }
        Ok(left)
    }
}
