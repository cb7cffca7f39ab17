//! Labels and annotations of children and pods. Labels of a proxy pod are the whole state of the proxies: an operator
//! that was killed anywhere goes on from them.

use std::collections::BTreeMap;

/// `freshet` on everything that belongs to a cluster.
pub const NAME: &str = "app.kubernetes.io/name";
/// Name of the `MqttCluster`.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// `proxy` or `storage`.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// [`MANAGER`].
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Name of the `MqttCluster`.
pub const CLUSTER: &str = "freshet.dev/cluster";
/// Revision of a proxy pod or Deployment.
pub const REVISION: &str = "freshet.dev/revision";
/// Who counts: `warm` from birth, then `active` or `draining`.
pub const ROLE: &str = "freshet.dev/role";
/// `"true"` on proxies that get new connections.
pub const ACCEPTING: &str = "freshet.dev/accepting";

/// Annotation of pods: hash of the file they run with. A change makes the kubelet refresh the volume at once.
pub const CONFIG_HASH: &str = "freshet.dev/config-hash";
/// Annotation of proxy pods: the order to give clients away (`freshet_config::MoveOrder`, as JSON). The kubelet shows it to
/// the proxy as a file.
pub const MOVES: &str = "freshet.dev/moves";
/// Annotation of proxy pods: [`TRUE`] on those that were taken to be dead and have not been heard of since, [`CUT_OFF`] on
/// those from which storage cannot be reached.
pub const LOST: &str = "freshet.dev/lost";
/// Annotation of pods: UID of the `MqttCluster`. Pods of a deleted cluster may outlive it, under the same labels as those of
/// its successor of the same name. On claims: the UID under which storage keeps what is on the volume.
pub const CLUSTER_UID: &str = "freshet.dev/cluster-uid";
/// Annotation of claims: number of shards and rules by which topics have their places on the volume, as JSON.
pub const PLACEMENT: &str = "freshet.dev/placement";
/// Annotation of an `MqttCluster`: a new value replaces all proxies, in the way of a new revision.
pub const RESTART: &str = "freshet.dev/restart";
/// Annotation of an `MqttCluster`: a new value takes the images and pod templates that the operator has by then. On children:
/// the value that was heeded.
pub const UPGRADE: &str = "freshet.dev/upgrade";
/// Annotation of Deployments and StatefulSets: hash of what the resource asked of their pods.
pub const ASKED: &str = "freshet.dev/asked";
/// Annotation of Deployments and StatefulSets: the operator's image for clusters that name none, when they were built.
pub const DEFAULT_IMAGE: &str = "freshet.dev/default-image";
/// Annotation of pods that the ReplicaSet controller reads when it chooses which to remove.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Value of [`NAME`].
pub const FRESHET: &str = "freshet";
/// Value of [`MANAGED_BY`], and the field manager of children.
pub const MANAGER: &str = "freshet-operator";
/// The field manager of roles.
pub const ROLES_MANAGER: &str = "freshet-roles";
/// The field manager of `replicas`, when the operator scales.
pub const SCALING_MANAGER: &str = "freshet-scaling";
/// Value of [`COMPONENT`] for proxies.
pub const PROXY: &str = "proxy";
/// Value of [`COMPONENT`] for storage nodes.
pub const STORAGE: &str = "storage";
/// Value of [`LOST`] for proxies from which storage cannot be reached.
pub const CUT_OFF: &str = "cut-off";
/// Value of [`ROLE`] for proxies that serve.
pub const ACTIVE: &str = "active";
/// Value of [`ROLE`] for proxies that wait.
pub const WARM: &str = "warm";
/// Value of [`ROLE`] for proxies that hand over their clients.
pub const DRAINING: &str = "draining";
/// Value of [`ACCEPTING`].
pub const TRUE: &str = "true";

/// Label map, as Kubernetes takes it.
pub type Labels = BTreeMap<String, String>;

/// Selects everything that the operator has made, for all clusters.
pub fn managed_selector() -> String {
    format!("{NAME}={FRESHET},{MANAGED_BY}={MANAGER}")
}

/// Selects the active proxies of a cluster, and never others.
pub fn active_selector(cluster: &str) -> String {
    format!("{CLUSTER}={cluster},{ROLE}={ACTIVE}")
}

/// Labels of a child that belongs to no component.
pub fn of_cluster(cluster: &str) -> Labels {
    labels(&[
        (NAME, FRESHET),
        (INSTANCE, cluster),
        (MANAGED_BY, MANAGER),
        (CLUSTER, cluster),
    ])
}

/// Labels of a child or pod of a component.
pub fn of_component(cluster: &str, component: &str) -> Labels {
    let mut all = of_cluster(cluster);
    all.insert(COMPONENT.to_owned(), component.to_owned());
    all
}

/// Selector of the pods of one revision's Deployment: what never changes in a pod's life.
pub fn revision_selector(cluster: &str, revision: &str) -> Labels {
    labels(&[
        (NAME, FRESHET),
        (INSTANCE, cluster),
        (COMPONENT, PROXY),
        (REVISION, revision),
    ])
}

/// Selector of the pods of a component.
pub fn component_selector(cluster: &str, component: &str) -> Labels {
    labels(&[(NAME, FRESHET), (INSTANCE, cluster), (COMPONENT, component)])
}

/// Selector of the proxies that get new connections.
pub fn accepting_selector(cluster: &str) -> Labels {
    labels(&[(CLUSTER, cluster), (ACCEPTING, TRUE)])
}

/// Selector of the active proxies.
pub fn active_selector_labels(cluster: &str) -> Labels {
    labels(&[(CLUSTER, cluster), (ROLE, ACTIVE)])
}

/// Whether a user's overlay may not set the label.
pub fn is_reserved(label: &str) -> bool {
    label.starts_with("freshet.dev/") || [NAME, INSTANCE, COMPONENT, MANAGED_BY].contains(&label)
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_texts_as_the_api_server_takes_them() {
        assert_eq!(
            managed_selector(),
            "app.kubernetes.io/name=freshet,app.kubernetes.io/managed-by=freshet-operator"
        );
        assert_eq!(
            active_selector("prod"),
            "freshet.dev/cluster=prod,freshet.dev/role=active"
        );
    }

    #[test]
    fn labels_that_the_operator_selects_by_are_its_own() {
        for label in [NAME, INSTANCE, COMPONENT, MANAGED_BY, ROLE, "freshet.dev/anything"] {
            assert!(is_reserved(label), "{label}");
        }
        for label in ["team", "app.kubernetes.io/part-of", "example.com/freshet.dev/"] {
            assert!(!is_reserved(label), "{label}");
        }
    }
}
