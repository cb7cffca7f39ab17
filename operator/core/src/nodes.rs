//! What is free on a node: what its pods can have altogether, without what they have reserved; and whether it takes pods.
//!
//! Called by the reconciler with a node and all of its pods; the plan promotes where there is room, and leaves nobody to wait
//! on a node that is to be emptied. As the kubelet counts for
//! a resize: what it has given to containers, not what somebody has asked for since.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Deserialize;

use crate::requests::Requests;

/// The pods of a node.
#[derive(Debug, Deserialize)]
pub struct PodsOfNode {
    items: Vec<PodOfNode>,
}

/// Of a pod, what says how much of its node it has. The rest is most of what the API server sends.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodOfNode {
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
    overhead: Option<BTreeMap<String, Quantity>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: String,
    restart_policy: Option<String>,
    resources: Option<ResourceRequirements>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<String>,
    container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Debug, Deserialize)]
struct ContainerStatus {
    name: String,
    resources: Option<ResourceRequirements>,
}

/// Returns what is free on `node`, which runs `pods`.
pub fn room_of(node: &Node, pods: &PodsOfNode) -> Requests {
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let all = allocatable.map_or_else(Requests::default, Requests::from_quantities);
    let is_there = |pod: &&PodOfNode| !matches!(pod.status.phase.as_deref(), Some("Failed" | "Succeeded"));
    let taken = pods
        .items
        .iter()
        .filter(is_there)
        .map(reserved_by)
        .fold(Requests::default(), sum);
    taken.missing_to(all)
}

/// Whether a node takes pods: it is not cordoned, and does not say that it is not ready.
pub fn takes_pods(node: &Node) -> bool {
    let is_cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_unready = conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status != "True");
    !is_cordoned && !is_unready
}

fn sum(one: Requests, other: Requests) -> Requests {
    Requests {
        cpu_millis: one.cpu_millis.saturating_add(other.cpu_millis),
        memory_bytes: one.memory_bytes.saturating_add(other.memory_bytes),
    }
}

fn larger(one: Requests, other: Requests) -> Requests {
    Requests {
        cpu_millis: one.cpu_millis.max(other.cpu_millis),
        memory_bytes: one.memory_bytes.max(other.memory_bytes),
    }
}

/// Containers run together; those before them run one after the other, unless they go on running.
fn reserved_by(pod: &PodOfNode) -> Requests {
    let spec = &pod.spec;
    let of = |container: &Container| given(pod, container);
    let together = spec.containers.iter().flatten().map(of).fold(Requests::default(), sum);
    let init = || spec.init_containers.iter().flatten();
    let stays = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let sidecars = init().filter(stays).map(of).fold(Requests::default(), sum);
    let before = init().map(of).fold(Requests::default(), larger);
    let overhead = spec
        .overhead
        .as_ref()
        .map_or_else(Requests::default, Requests::from_quantities);
    sum(larger(sum(together, sidecars), before), overhead)
}

/// What the kubelet has given to a container, or, until it has said so, what the container asks for.
fn given(pod: &PodOfNode, container: &Container) -> Requests {
    let statuses = pod.status.container_statuses.iter().flatten();
    let mut own = statuses.filter(|status| status.name == container.name);
    let given = own.find_map(|status| status.resources.as_ref());
    given
        .filter(|resources| resources.requests.is_some())
        .or(container.resources.as_ref())
        .map_or_else(Requests::default, Requests::of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn room(pods: &Value) -> Requests {
        let node = json!({"status": {"allocatable": {"cpu": "2", "memory": "4Ki", "pods": "110"}}});
        let pods: PodsOfNode = serde_json::from_value(json!({"kind": "PodList", "items": pods})).expect("pods");
        room_of(&serde_json::from_value(node).expect("a node"), &pods)
    }

    fn requests(cpu_millis: u64, memory_bytes: u64) -> Requests {
        Requests {
            cpu_millis,
            memory_bytes,
        }
    }

    #[test]
    fn what_pods_reserve_is_not_free_and_what_has_ended_is() {
        let resources = json!({"requests": {"cpu": "500m", "memory": "1Ki"}});
        let pod = |phase: &str| json!({"spec": {"containers": [{"name": "a", "resources": resources}]}, "status": {"phase": phase}});
        assert_eq!(room(&json!([])), requests(2000, 4096));
        assert_eq!(
            room(&json!([pod("Running"), pod("Pending"), pod("Failed")])),
            requests(1000, 2048)
        );
        assert_eq!(
            room(&json!([
                pod("Running"),
                pod("Running"),
                pod("Running"),
                pod("Running"),
                pod("Running")
            ])),
            requests(0, 0)
        );
    }

    #[test]
    fn what_was_given_counts_and_not_what_was_asked_for_since() {
        let pod = json!({
            "spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "900"}}}]},
            "status": {"containerStatuses": [{
                "name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "resources": {"requests": {"cpu": "100m"}},
            }]},
        });
        assert_eq!(room(&json!([pod])), requests(1900, 4096));
    }

    #[test]
    fn the_largest_of_what_runs_before_counts_and_what_goes_on_is_added() {
        let container = |cpu: &str| json!({"name": cpu, "resources": {"requests": {"cpu": cpu}}});
        let mut sidecar = container("50m");
        sidecar["restartPolicy"] = json!("Always");
        let pod = json!({"spec": {
            "containers": [container("200m")],
            "initContainers": [container("1"), sidecar],
            "overhead": {"cpu": "10m"},
        }});
        assert_eq!(room(&json!([pod])).cpu_millis, 2000 - 1010);
    }

    #[test]
    fn a_node_that_is_cordoned_or_not_ready_takes_no_pods() {
        let takes = |node: Value| takes_pods(&serde_json::from_value(node).expect("a node"));
        let ready = |status: &str| json!({"conditions": [{"type": "Ready", "status": status}]});
        assert!(takes(json!({})));
        assert!(takes(
            json!({"spec": {"unschedulable": false}, "status": ready("True")})
        ));
        assert!(!takes(
            json!({"spec": {"unschedulable": true}, "status": ready("True")})
        ));
        assert!(!takes(json!({"status": ready("False")})));
        assert!(!takes(json!({"status": ready("Unknown")})));
    }
}
