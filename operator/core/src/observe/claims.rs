//! The claims of the storage nodes' volumes, as plain facts.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::names;
use crate::trouble::shortened;
use crate::units::parse_memory_bytes;

/// The claim of a storage node's volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageClaim {
    /// Name.
    pub name: String,
    /// UID: a claim of the same name has another volume.
    pub uid: String,
    /// What a write must still find.
    pub resource_version: String,
    /// Whether it has a volume.
    pub phase: ClaimPhase,
    /// It was deleted, and stays until no pod uses it.
    pub is_deleting: bool,
    /// Its StorageClass, unless there was no default one when it was made.
    pub class: Option<String>,
    /// What it asks for.
    pub asked: Option<ClaimSize>,
    /// What its volume has.
    pub actual: Option<ClaimSize>,
    /// Where a change of the size stands, if Kubernetes says so.
    pub growth: Option<Growth>,
}

/// Whether a claim has a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimPhase {
    /// Not yet.
    Pending,
    /// It has.
    Bound,
    /// It had one, which is gone.
    Lost,
}

/// A size that Kubernetes says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimSize {
    /// As it is written.
    pub text: String,
    /// In bytes.
    pub bytes: u64,
}

/// Where a change of a volume's size stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Growth {
    /// The volume has grown, and its file system grows where it is mounted.
    FileSystemPending,
    /// The driver has failed, in these words. It may try again.
    Failed(String),
}

/// Reduces claims to facts. Those without a name are passed over.
pub(super) fn storage_claims(claims: &[Arc<PersistentVolumeClaim>]) -> Vec<StorageClaim> {
    let mut all: Vec<_> = claims.iter().filter_map(|claim| storage_claim(claim)).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn storage_claim(claim: &PersistentVolumeClaim) -> Option<StorageClaim> {
    let metadata = &claim.metadata;
    let status = claim.status.as_ref();
    let capacity = status.and_then(|status| status.capacity.as_ref());
    Some(StorageClaim {
        name: metadata.name.clone()?,
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        phase: match status.and_then(|status| status.phase.as_deref()) {
            Some("Bound") => ClaimPhase::Bound,
            Some("Lost") => ClaimPhase::Lost,
            _ => ClaimPhase::Pending,
        },
        is_deleting: metadata.deletion_timestamp.is_some(),
        class: claim
            .spec
            .as_ref()
            .and_then(|spec| spec.storage_class_name.clone())
            .filter(|class| !class.is_empty()),
        asked: claim.spec.as_ref().and_then(asked),
        actual: capacity.and_then(|capacity| size(capacity.get(names::CLAIMED_RESOURCE)?)),
        growth: growth(claim),
    })
}

fn asked(spec: &PersistentVolumeClaimSpec) -> Option<ClaimSize> {
    size(
        spec.resources
            .as_ref()?
            .requests
            .as_ref()?
            .get(names::CLAIMED_RESOURCE)?,
    )
}

/// A quantity that nobody understands counts as none.
fn size(quantity: &Quantity) -> Option<ClaimSize> {
    Some(ClaimSize {
        text: quantity.0.clone(),
        bytes: parse_memory_bytes(&quantity.0).ok()?,
    })
}

fn growth(claim: &PersistentVolumeClaim) -> Option<Growth> {
    let conditions = claim
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let holds = |type_: &str| {
        let mut holding = conditions.clone().filter(|condition| condition.status == "True");
        holding.find(|condition| condition.type_ == type_)
    };
    let failed = holds("ControllerResizeError").or_else(|| holds("NodeResizeError"));
    if let Some(failed) = failed {
        let said = failed.message.as_deref().or(failed.reason.as_deref());
        return Some(Growth::Failed(shortened(said.unwrap_or("no message"))));
    }
    holds("FileSystemResizePending").map(|_| Growth::FileSystemPending)
}

/// The size with which a StatefulSet makes claims.
pub(super) fn template_size(set: &StatefulSet) -> Option<String> {
    let claims = set.spec.as_ref()?.volume_claim_templates.as_ref()?;
    Some(asked(claims.first()?.spec.as_ref()?)?.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn observed(claim: Value) -> StorageClaim {
        let claim: PersistentVolumeClaim = serde_json::from_value(claim).expect("a claim");
        storage_claims(&[Arc::new(claim)]).pop().expect("it has a name")
    }

    fn with_condition(type_: &str, status: &str) -> Option<Growth> {
        let condition = json!({"type": type_, "status": status, "message": "the disk is too old"});
        observed(json!({"metadata": {"name": "c"}, "status": {"conditions": [condition]}})).growth
    }

    #[test]
    fn a_bound_claim_says_what_it_asks_for_and_what_it_has() {
        let claim = observed(json!({
            "metadata": {"name": "data-prod-storage-0", "uid": "u", "resourceVersion": "7"},
            "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "20Gi"}}},
            "status": {"phase": "Bound", "capacity": {"storage": "10Gi"}},
        }));
        let size = |gib: u64| {
            Some(ClaimSize {
                text: format!("{gib}Gi"),
                bytes: gib << 30,
            })
        };
        assert_eq!(
            (claim.phase, claim.asked, claim.actual),
            (ClaimPhase::Bound, size(20), size(10))
        );
        assert_eq!((claim.class.as_deref(), claim.growth), (Some("fast"), None));
    }

    #[test]
    fn a_new_claim_waits_and_one_whose_volume_is_gone_is_lost() {
        let phase = |status: Value| observed(json!({"metadata": {"name": "c"}, "status": status})).phase;
        assert_eq!(phase(json!({})), ClaimPhase::Pending);
        assert_eq!(phase(json!({"phase": "Pending"})), ClaimPhase::Pending);
        assert_eq!(phase(json!({"phase": "Lost"})), ClaimPhase::Lost);
        assert_eq!(
            observed(json!({"metadata": {"name": "c"}, "spec": {"storageClassName": ""}})).class,
            None
        );
    }

    #[test]
    fn where_a_growth_stands_is_read_from_conditions_that_hold() {
        let failed = Some(Growth::Failed("the disk is too old".to_owned()));
        assert_eq!(with_condition("ControllerResizeError", "True"), failed);
        assert_eq!(with_condition("NodeResizeError", "True"), failed);
        assert_eq!(with_condition("NodeResizeError", "False"), None);
        assert_eq!(
            with_condition("FileSystemResizePending", "True"),
            Some(Growth::FileSystemPending)
        );
        assert_eq!(with_condition("Resizing", "True"), None);
    }

    #[test]
    fn a_stateful_set_says_with_which_size_it_makes_claims() {
        let set = |templates: Value| -> StatefulSet {
            serde_json::from_value(json!({"spec": {
                "selector": {}, "template": {}, "serviceName": "", "volumeClaimTemplates": templates,
            }}))
            .expect("a StatefulSet")
        };
        let claim = json!({"spec": {"resources": {"requests": {"storage": "10Gi"}}}});
        assert_eq!(template_size(&set(json!([claim]))).as_deref(), Some("10Gi"));
        assert_eq!(template_size(&set(Value::Null)), None);
    }
}
