//! What a cluster's volumes began with.
//!
//! Volumes that are retained outlive their resource, and a cluster of the same name that is made later goes on with them.
//! Processes know each other, and topics have their places, by the UID, the number of shards and the rules of the cluster
//! that was first: the claims carry them. Called by the reconciler; leaves out how claims are read.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;

use crate::labels;
use crate::validate::{InvalidResource, ValidatedCluster};

/// What a volume began with; stands in the annotations of its claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeOrigin {
    /// UID of the cluster.
    pub uid: String,
    /// Its number of shards and its rules, as JSON.
    pub placement: String,
}

/// How topics are placed; compared as it is written, so that its fields and their order stay.
#[derive(Serialize)]
struct Placement<'a> {
    shards: u16,
    rules: &'a [String],
}

impl VolumeOrigin {
    /// What volumes that are made for a cluster begin with.
    pub(crate) fn of(cluster: &ValidatedCluster) -> Self {
        let placement = Placement {
            shards: cluster.storage.shards,
            rules: &cluster.storage.placement_rules,
        };
        Self {
            uid: cluster.storage_uid.clone(),
            // A number and texts: there is nothing in them that JSON cannot hold.
            placement: serde_json::to_string(&placement).unwrap_or_default(),
        }
    }

    /// Reads what a claim carries.
    pub(crate) fn read(claim: &ObjectMeta) -> Option<Self> {
        let of = |key: &str| claim.annotations.as_ref()?.get(key).cloned();
        Some(Self {
            uid: of(labels::CLUSTER_UID).filter(|uid| !uid.is_empty())?,
            placement: of(labels::PLACEMENT)?,
        })
    }

    /// The annotations that say it.
    pub(crate) fn annotations(self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (labels::CLUSTER_UID.to_owned(), self.uid),
            (labels::PLACEMENT.to_owned(), self.placement),
        ])
    }
}

/// What a deleted cluster of this name has left behind this claim.
///
/// A claim that has an owner, or is being deleted, goes with what it belonged to.
pub fn left_behind(claim: &ObjectMeta, cluster: &str) -> Option<VolumeOrigin> {
    let is_ours = claim
        .labels
        .as_ref()?
        .get(labels::CLUSTER)
        .is_some_and(|of| of == cluster);
    let stays = claim.deletion_timestamp.is_none() && claim.owner_references.as_ref().is_none_or(Vec::is_empty);
    VolumeOrigin::read(claim).filter(|_| is_ours && stays)
}

impl ValidatedCluster {
    /// The cluster on volumes that began so; on its own when there are none.
    ///
    /// # Errors
    /// When topics would have other places than on the volumes.
    pub fn on_volumes_of(mut self, origin: Option<&VolumeOrigin>) -> Result<Self, InvalidResource> {
        let Some(origin) = origin else { return Ok(self) };
        let asked = VolumeOrigin::of(&self).placement;
        if asked != origin.placement {
            let problem = format!(
                "shards and placement are {asked}, and the volume that a deleted cluster of this name has left has {}: ask \
                 for the same, or delete the claim with what is on the volume",
                origin.placement
            );
            return Err(InvalidResource::of("spec.storage", problem));
        }
        self.storage_uid.clone_from(&origin.uid);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use freshet_operator_api::MqttCluster;
    use serde_json::{Value, json};

    use super::*;
    use crate::build::build_children;
    use crate::validate::{DefaultImages, validate};

    fn cluster(uid: &str, shards: u16) -> ValidatedCluster {
        let resource: MqttCluster = serde_json::from_value(json!({
            "apiVersion": "freshet.dev/v1alpha1", "kind": "MqttCluster",
            "metadata": {"name": "prod", "namespace": "iot", "uid": uid},
            "spec": {"storage": {"shards": shards, "volume": {"size": "1Gi"}}},
        }))
        .expect("a resource");
        let images = DefaultImages {
            proxy: "freshet/proxy:0.1.0".into(),
            storage: "freshet/storage:0.1.0".into(),
        };
        validate(&resource, &images).expect("a valid resource")
    }

    /// The claim that a StatefulSet makes for a cluster.
    fn claim(cluster: &ValidatedCluster, change: impl FnOnce(&mut Value)) -> ObjectMeta {
        let spec = build_children(cluster).storage.spec.expect("a spec");
        let claims = spec.volume_claim_templates.expect("a claim");
        let mut metadata = json!(claims[0].metadata);
        change(&mut metadata);
        serde_json::from_value(metadata).expect("metadata")
    }

    #[test]
    fn a_cluster_that_is_made_again_goes_on_with_what_was_left() {
        let left = left_behind(&claim(&cluster("u-1", 8), |_| ()), "prod").expect("something left");
        let again = cluster("u-2", 8).on_volumes_of(Some(&left)).expect("the same places");
        assert_eq!((again.uid.as_str(), again.storage_uid.as_str()), ("u-2", "u-1"));
        // And so does the third: nothing but the volume remembers the first.
        let left = left_behind(&claim(&again, |_| ()), "prod").expect("something left");
        let third = cluster("u-3", 8).on_volumes_of(Some(&left)).expect("the same places");
        assert_eq!(third.storage_uid, "u-1");
        assert_eq!(
            cluster("u-4", 8).on_volumes_of(None).expect("its own").storage_uid,
            "u-4"
        );
    }

    #[test]
    fn processes_are_told_whose_volume_it_is() {
        let left = left_behind(&claim(&cluster("u-1", 8), |_| ()), "prod");
        let again = cluster("u-2", 8).on_volumes_of(left.as_ref()).expect("the same places");
        let files = build_children(&again).config_map.data.expect("files");
        assert_eq!(files.len(), 2);
        assert!(
            files.values().all(|file| file.contains("u-1") && !file.contains("u-2")),
            "{files:?}"
        );
    }

    #[test]
    fn other_places_of_topics_are_refused_with_both() {
        let left = left_behind(&claim(&cluster("u-1", 8), |_| ()), "prod");
        let refused = cluster("u-2", 16)
            .on_volumes_of(left.as_ref())
            .expect_err("another number");
        let said = refused.to_string();
        assert!(
            said.contains("\"shards\":8") && said.contains("\"shards\":16"),
            "{said}"
        );
    }

    #[test]
    fn a_claim_of_somebody_else_or_without_a_word_says_nothing() {
        let cluster = cluster("u-1", 8);
        assert_eq!(left_behind(&claim(&cluster, |_| ()), "other"), None);
        let without = |field: &'static str| claim(&cluster, |claim| claim[field] = json!({}));
        assert_eq!(left_behind(&without("annotations"), "prod"), None);
        assert_eq!(left_behind(&without("labels"), "prod"), None);
    }

    #[test]
    fn a_claim_that_is_going_is_not_gone_on_with() {
        let cluster = cluster("u-1", 8);
        let owner = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "prod-storage", "uid": "s-1"}]);
        let owned = claim(&cluster, |claim| claim["ownerReferences"] = owner);
        assert_eq!(left_behind(&owned, "prod"), None);
        let going = claim(&cluster, |claim| {
            claim["deletionTimestamp"] = json!("2026-11-21T08:00:00Z");
        });
        assert_eq!(left_behind(&going, "prod"), None);
    }
}
