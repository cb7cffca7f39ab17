//! The Deployment of one revision of the proxies. Its template never changes: what would change it is another revision,
//! so that the Deployment controller never rolls, and the operator alone decides who serves.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{PodSecurityContext, PodTemplateSpec, Sysctl, TopologySpreadConstraint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{metadata, number, orders, pod, template_hash, warm};
use crate::labels;
use crate::names;
use crate::requests::effective;
use crate::validate::{ValidatedCluster, ValidatedPods};

/// How long a proxy must have been ready before it counts as available, in seconds. A revision that crashes soon after it
/// became ready does not take over.
pub const MIN_READY_S: i32 = 5;

/// What a pod gets beyond `drain.timeout` before it is killed, in seconds.
const GRACE_AFTER_DRAIN_S: u64 = 30;

/// The revision that the resource asks for: a hash of the pod template as the operator writes it.
pub(super) fn revision(cluster: &ValidatedCluster) -> String {
    template_hash(&birth_template(cluster))
}

/// Builds the Deployment of the revision that the resource asks for.
pub fn proxy_deployment(cluster: &ValidatedCluster, revision: &str, replicas: u32) -> Deployment {
    let mut template = birth_template(cluster);
    let template_labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    template_labels.insert(labels::REVISION.to_owned(), revision.to_owned());
    let mut own_labels = labels::of_component(&cluster.name, labels::PROXY);
    own_labels.insert(labels::REVISION.to_owned(), revision.to_owned());
    Deployment {
        metadata: ObjectMeta {
            annotations: Some(cluster.proxy.pods.record.annotations()),
            ..metadata(cluster, names::proxy_deployment(&cluster.name, revision), own_labels)
        },
        spec: Some(DeploymentSpec {
            replicas: Some(number(replicas)),
            min_ready_seconds: Some(MIN_READY_S),
            // Old ReplicaSets are of no use: the operator goes back by making the revision again.
            revision_history_limit: Some(0),
            selector: LabelSelector {
                match_labels: Some(labels::revision_selector(&cluster.name, revision)),
                ..LabelSelector::default()
            },
            // Only for those who restart the Deployment by hand: one more, then one less.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_unavailable: Some(IntOrString::Int(0)),
                    max_surge: Some(IntOrString::Int(1)),
                }),
            }),
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

/// What an active proxy reserves, as the quantities that were asked for.
pub(super) fn active_requests(cluster: &ValidatedCluster) -> BTreeMap<String, Quantity> {
    effective(&warm::proxy_resources(&template(cluster, &cluster.proxy.pods)))
}

/// The template of the pods as they are born: warm.
fn birth_template(cluster: &ValidatedCluster) -> PodTemplateSpec {
    let proxy = &cluster.proxy;
    let active = template(cluster, &proxy.pods);
    let requests = warm::birth_requests(&proxy.warm, &active);
    if requests == proxy.pods.resources.requests {
        return active;
    }
    let mut pods = proxy.pods.clone();
    pods.resources.requests = requests;
    template(cluster, &pods)
}

/// The template without the label of its own revision, with the resources of `pods`.
fn template(cluster: &ValidatedCluster, pods: &ValidatedPods) -> PodTemplateSpec {
    let proxy = &cluster.proxy;
    let mut args = pod::common_args(names::PROXY_FILE);
    args.extend(["--workers".to_owned(), proxy.workers.to_string()]);
    if let Some(bytes) = proxy.memory_budget_bytes {
        args.extend(["--memory-budget-bytes".to_owned(), bytes.to_string()]);
    }
    args.extend(orders::args());
    let mut container = pod::container(names::PROXY_CONTAINER, pods, "/usr/bin/freshet-proxy", args);
    container.volume_mounts.get_or_insert_default().push(orders::mount());
    let restart = proxy
        .restart
        .iter()
        .map(|value| (labels::RESTART.to_owned(), value.clone()));
    let grace_s = proxy.drain_timeout.as_secs().saturating_add(GRACE_AFTER_DRAIN_S);
    let mut born_labels = labels::of_component(&cluster.name, labels::PROXY);
    born_labels.insert(labels::ROLE.to_owned(), labels::WARM.to_owned());
    let parts = pod::PodParts {
        pods,
        labels: born_labels,
        annotations: restart.collect::<BTreeMap<_, _>>(),
        service_account: names::proxy_service_account(&cluster.name),
        container,
        file: names::PROXY_FILE,
        grace_s: i64::try_from(grace_s).unwrap_or(i64::MAX),
        security: PodSecurityContext {
            // Listeners come and go while a proxy runs, and some are below 1024.
            sysctls: Some(vec![Sysctl {
                name: "net.ipv4.ip_unprivileged_port_start".to_owned(),
                value: "0".to_owned(),
            }]),
            ..pod::security()
        },
        spread: vec![
            over(&cluster.name, "topology.kubernetes.io/zone"),
            over(&cluster.name, "kubernetes.io/hostname"),
        ],
        volumes: vec![orders::volume()],
    };
    pod::template(cluster, parts)
}

/// Spreads the pods of a revision as well as it goes; those of another one are on their way out.
fn over(cluster: &str, topology_key: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        match_label_keys: Some(vec![labels::REVISION.to_owned()]),
        ..pod::spread(cluster, labels::PROXY, topology_key, false)
    }
}
