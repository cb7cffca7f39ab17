//! Lets the claims of storage nodes' volumes ask for more.
//!
//! Nothing waits for it: a node uses what it has, and more as soon as its file system has it. What the API server refuses (a
//! StorageClass without `allowVolumeExpansion`, a quota) is remembered for the condition `VolumeDegraded` and asked again
//! after a while.

use freshet_operator_core::plan::StorageAction;
use freshet_operator_core::{labels, names};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

use super::refusals::Refusals;
use super::{ReconcileError, Reconciler, Work};
use crate::fault::FaultPoint;
use crate::write::WriteError;

impl Reconciler {
    /// Carries out the growth planned for claims that were not refused it just now. Returns whether something has changed.
    pub(super) async fn grow_volumes(&self, work: &Work, refusals: &mut Refusals) -> Result<bool, ReconcileError> {
        let namespace = work.cluster.namespace.as_str();
        let mut has_changed = false;
        for action in &work.storage.actions {
            let StorageAction::Grow {
                claim,
                uid,
                resource_version,
                size,
            } = action
            else {
                continue;
            };
            if !refusals.is_due(uid) {
                continue;
            }
            let patch = growth_patch(resource_version, size);
            let written = self
                .writer
                .merge::<PersistentVolumeClaim>(FaultPoint::GrowClaim, namespace, claim, labels::MANAGER, &patch)
                .await;
            match written {
                Ok(written) => {
                    tracing::info!(claim, namespace, size, "the claim asks for more");
                    self.stores.claims.wrote(written);
                    refusals.remove(uid);
                    has_changed = true;
                }
                // The watch brings what it is now, and with it the next reconcile.
                Err(WriteError::Stale(_) | WriteError::Gone(_)) => has_changed = true,
                Err(WriteError::Refused { message, .. }) => {
                    tracing::warn!(
                        claim,
                        namespace,
                        size,
                        said = message,
                        "the growth of the claim was refused"
                    );
                    refusals.insert(uid.clone(), message);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(has_changed)
    }
}

/// The size alone, for a claim that is still what it was.
fn growth_patch(resource_version: &str, size: &str) -> Value {
    json!({
        "metadata": {"resourceVersion": resource_version},
        "spec": {"resources": {"requests": {(names::CLAIMED_RESOURCE): size}}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_grows_gets_a_size_and_nothing_else() {
        assert_eq!(
            growth_patch("7", "20Gi"),
            json!({
                "metadata": {"resourceVersion": "7"},
                "spec": {"resources": {"requests": {"storage": "20Gi"}}},
            })
        );
    }
}
