//! The StatefulSet of the storage nodes: all start at once, and the operator alone replaces them.

use std::collections::BTreeMap;

use freshet_operator_api::DeletionPolicy;
use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::{metadata, number, pod, template_hash};
use crate::labels;
use crate::names;
use crate::observe::StorageSet;
use crate::validate::{ValidatedCluster, ValidatedVolume};
use crate::volume_origin::VolumeOrigin;

/// How long a storage node may take to stop, in seconds.
const GRACE_S: i64 = 30;

/// The StatefulSet, and the hash of its pod template.
pub(super) fn stateful_set(cluster: &ValidatedCluster) -> (StatefulSet, String) {
    let storage = &cluster.storage;
    let mut args = pod::common_args(names::STORAGE_FILE);
    args.extend(["--listen".to_owned(), format!("0.0.0.0:{}", names::STORAGE_PORT)]);
    if storage.volume.is_some() {
        args.extend(["--data-dir".to_owned(), names::DATA_FOLDER.to_owned()]);
    }
    let mut container = pod::container(
        names::STORAGE_CONTAINER,
        &storage.pods,
        "/usr/bin/freshet-storage-node",
        args,
    );
    let ports = container.ports.get_or_insert_default();
    ports.push(pod::container_port("storage", names::STORAGE_PORT));
    if storage.volume.is_some() {
        container.volume_mounts.get_or_insert_default().push(VolumeMount {
            name: names::DATA_VOLUME.to_owned(),
            mount_path: names::DATA_MOUNT.to_owned(),
            ..VolumeMount::default()
        });
    }
    let parts = pod::PodParts {
        pods: &storage.pods,
        labels: labels::of_component(&cluster.name, labels::STORAGE),
        annotations: BTreeMap::new(),
        service_account: names::storage_service_account(&cluster.name),
        container,
        file: names::STORAGE_FILE,
        grace_s: GRACE_S,
        security: pod::security(),
        spread: vec![pod::spread(
            &cluster.name,
            labels::STORAGE,
            "kubernetes.io/hostname",
            true,
        )],
        volumes: Vec::new(),
    };
    let template = pod::template(cluster, parts);
    let revision = template_hash(&template);
    let mut own_labels = labels::of_component(&cluster.name, labels::STORAGE);
    own_labels.insert(labels::REVISION.to_owned(), revision.clone());
    let stateful_set = StatefulSet {
        metadata: ObjectMeta {
            annotations: Some(storage.pods.record.annotations()),
            ..metadata(cluster, names::storage_stateful_set(&cluster.name), own_labels)
        },
        spec: Some(StatefulSetSpec {
            replicas: Some(number(storage.replicas)),
            service_name: Some(names::storage_service(&cluster.name)),
            // One by one would wait for a node to be ready that waits for the others.
            pod_management_policy: Some("Parallel".to_owned()),
            // A bad template wedges a rolling StatefulSet even after it was put right.
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            revision_history_limit: Some(2),
            selector: LabelSelector {
                match_labels: Some(labels::component_selector(&cluster.name, labels::STORAGE)),
                ..LabelSelector::default()
            },
            template,
            volume_claim_templates: storage.volume.as_ref().map(|volume| vec![claim(cluster, volume)]),
            persistent_volume_claim_retention_policy: storage
                .volume
                .as_ref()
                .map(|_| retention(storage.deletion_policy)),
            ..StatefulSetSpec::default()
        }),
        status: None,
    };
    (stateful_set, revision)
}

/// Leaves the size of claims as the StatefulSet has it that is there: a StatefulSet keeps the templates that it began with.
/// What is made from them later is grown like those that are there ([`crate::volume`]), which needs no other StatefulSet:
/// to make one anew would leave the pods without a controller for a while, for a size that a claim can get otherwise.
pub fn keep_claim_size(set: &mut StatefulSet, there: Option<&StorageSet>) {
    let Some(size) = there.and_then(|there| there.claim_size.as_ref()) else {
        return;
    };
    let claims = set
        .spec
        .iter_mut()
        .flat_map(|spec| spec.volume_claim_templates.iter_mut().flatten());
    for claim in claims {
        let resources = claim.spec.as_mut().and_then(|spec| spec.resources.as_mut());
        if let Some(resources) = resources {
            resources.requests = Some(BTreeMap::from([(
                names::CLAIMED_RESOURCE.to_owned(),
                Quantity(size.clone()),
            )]));
        }
    }
}

/// The claim of a node's volume. Nothing but its size may ever change, and that only in what is made from it.
fn claim(cluster: &ValidatedCluster, volume: &ValidatedVolume) -> PersistentVolumeClaim {
    let size = BTreeMap::from([(names::CLAIMED_RESOURCE.to_owned(), Quantity(volume.size.clone()))]);
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(names::DATA_VOLUME.to_owned()),
            labels: Some(labels::of_component(&cluster.name, labels::STORAGE)),
            annotations: Some(VolumeOrigin::of(cluster).annotations()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: volume.storage_class.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(size),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// A node that is one too many for a while comes back to what it had.
fn retention(policy: DeletionPolicy) -> StatefulSetPersistentVolumeClaimRetentionPolicy {
    let when_deleted = match policy {
        DeletionPolicy::Retain => "Retain",
        DeletionPolicy::Delete => "Delete",
    };
    StatefulSetPersistentVolumeClaimRetentionPolicy {
        when_deleted: Some(when_deleted.to_owned()),
        when_scaled: Some("Retain".to_owned()),
    }
}
