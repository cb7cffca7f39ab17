//! The StatefulSet of the storage nodes: all start at once, and the operator alone replaces them.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::{metadata, number, pod, template_hash};
use crate::labels;
use crate::names;
use crate::validate::ValidatedCluster;

/// How long a storage node may take to stop, in seconds.
const GRACE_S: i64 = 30;

/// The StatefulSet, and the hash of its pod template.
pub(super) fn stateful_set(cluster: &ValidatedCluster) -> (StatefulSet, String) {
    let storage = &cluster.storage;
    let mut args = pod::common_args(names::STORAGE_FILE);
    args.extend(["--listen".to_owned(), format!("0.0.0.0:{}", names::STORAGE_PORT)]);
    let mut container = pod::container(
        names::STORAGE_CONTAINER,
        &storage.pods,
        "/usr/bin/freshet-storage-node",
        args,
    );
    let ports = container.ports.get_or_insert_default();
    ports.push(pod::container_port("storage", names::STORAGE_PORT));
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
            ..StatefulSetSpec::default()
        }),
        status: None,
    };
    (stateful_set, revision)
}
