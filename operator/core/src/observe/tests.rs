//! Objects as the API server gives them, and what is made of them.

use serde_json::{Value, json};

use super::*;
use crate::loss::{Fault, can_be_lost};
use crate::scaling::cluster::capacity_delay;
use crate::scaling::fleet::member_of;

const UID: &str = "cluster-1";

fn read<T: serde::de::DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).expect("an object")
}

/// A pod of a component with these labels and annotations besides its own.
fn pod(name: &str, component: &str, labels: &Value, annotations: &Value) -> Value {
    let mut pod = json!({
        "metadata": {
            "name": name, "uid": format!("uid-{name}"), "resourceVersion": "7",
            "creationTimestamp": "1970-01-01T00:01:40Z",
            "labels": labels, "annotations": annotations,
        },
        "spec": {"nodeName": "node-1", "containers": [
            {"name": "sidecar", "resources": {"requests": {"cpu": "9", "memory": "9Gi"}}},
            {"name": component, "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}}},
        ]},
        "status": {
            "phase": "Running", "hostIP": "192.0.2.1", "podIP": "10.0.0.1",
            "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {"name": "sidecar", "image": "", "imageID": "", "ready": true, "restartCount": 9},
                {"name": component, "image": "", "imageID": "", "ready": true, "restartCount": 2},
            ],
        },
    });
    pod["metadata"]["labels"][labels::COMPONENT] = json!(component);
    pod["metadata"]["annotations"][labels::CLUSTER_UID] = json!(UID);
    pod
}

fn observed(pods: &[Value]) -> Observed {
    let of = |drop: fn(&mut Pod)| {
        let kept = pods.iter().cloned().map(|pod| {
            let mut pod = read(pod);
            drop(&mut pod);
            Arc::new(pod)
        });
        let kept: Vec<Arc<Pod>> = kept.collect();
        observe(Objects { pods: &kept, ..NOTHING })
    };
    let found = of(|_| {});
    assert_eq!(found, of(drop_unread), "something is read that is dropped");
    found
}

const NOTHING: Objects<'static> = Objects {
    uid: UID,
    pods: &[],
    deployments: &[],
    stateful_set: None,
    claims: &[],
    service: None,
    budget: None,
};

/// A proxy whose pod was changed so.
fn proxy(change: impl FnOnce(&mut Value)) -> ProxyPod {
    let mut pod = pod("p", labels::PROXY, &json!({}), &json!({}));
    change(&mut pod);
    observed(&[pod]).proxies.pop().expect("a proxy")
}

#[test]
fn of_a_pod_as_it_was_built_little_is_kept_and_who_reads_pods_finds_the_same() {
    let labels = json!({(labels::ROLE): labels::ACTIVE});
    let mut built = pod("p", labels::PROXY, &labels, &json!({}));
    let golden = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/empty.children.yaml"));
    let golden = golden.expect("a file of the tests");
    let deployment = golden.split("---\n").find(|object| object.contains("kind: Deployment"));
    let deployment: Value = serde_saphyr::from_str(deployment.expect("a Deployment")).expect("YAML");
    built["spec"] = deployment["spec"]["template"]["spec"].clone();
    let whole: Pod = read(built);
    let mut kept = whole.clone();
    drop_unread(&mut kept);
    let bytes = |pod: &Pod| serde_json::to_string(pod).expect("JSON").len();
    assert!(
        bytes(&kept) * 3 < bytes(&whole),
        "{} of {}",
        bytes(&kept),
        bytes(&whole)
    );
    assert_eq!(requests(&kept), requests(&whole));
    assert_eq!(member_of(&kept, UID), member_of(&whole, UID));
    assert_eq!(can_be_lost(&kept), can_be_lost(&whole));
    assert_eq!(capacity_delay([&kept]), capacity_delay([&whole]));
}

#[test]
fn a_proxy_is_read_with_all_that_is_decided_by() {
    let order = MoveOrder {
        reason: MoveReason::Rebalance,
        keep: 100,
        ..MoveOrder::default()
    };
    let labels = json!({(labels::REVISION): "r1", (labels::ROLE): labels::ACTIVE, (labels::ACCEPTING): labels::TRUE});
    let annotations = json!({
        (labels::DELETION_COST): "1000", (labels::CONFIG_HASH): "h1", (labels::LOST): labels::CUT_OFF,
        (labels::MOVES): serde_json::to_string(&order).expect("JSON"),
    });
    let found = observed(&[pod("p1", labels::PROXY, &labels, &annotations)]).proxies;
    let expected = ProxyPod {
        pod: PodFacts {
            name: "p1".to_owned(),
            uid: "uid-p1".to_owned(),
            resource_version: "7".to_owned(),
            node: Some("node-1".to_owned()),
            host_ip: Some("192.0.2.1".to_owned()),
            ip: Some("10.0.0.1".to_owned()),
            is_ready: true,
            is_deleting: false,
            restarts: 2,
            last_end: None,
            config_hash: Some("h1".to_owned()),
            created_s: 100,
            trouble: None,
        },
        revision: "r1".to_owned(),
        role: Some(Role::Active),
        is_accepting: true,
        deletion_cost: Some(1000),
        requests: Requests {
            cpu_millis: 250,
            memory_bytes: 64 << 20,
        },
        resize: None,
        order: Some(order),
        loss: Loss {
            fault: None,
            mark: Some(Fault::CutOff),
        },
    };
    assert_eq!(found, [expected]);
}

#[test]
fn roles_are_read_from_labels_and_one_without_has_none() {
    let role = |role: &str| proxy(|pod| pod["metadata"]["labels"][labels::ROLE] = json!(role)).role;
    assert_eq!(role(labels::WARM), Some(Role::Warm));
    assert_eq!(role(labels::DRAINING), Some(Role::Draining));
    assert_eq!(role("something"), None);
    let bare = proxy(|_| ());
    assert_eq!((bare.role, bare.is_accepting), (None, false));
}

#[test]
fn a_pod_is_ready_by_its_own_condition_alone() {
    let is_ready = |conditions: Value| proxy(|pod| pod["status"]["conditions"] = conditions).pod.is_ready;
    assert!(!is_ready(json!([{"type": "Ready", "status": "False"}])));
    assert!(!is_ready(json!([{"type": "Initialized", "status": "True"}])));
    let told = proxy(|pod| pod["metadata"]["deletionTimestamp"] = json!("2026-11-21T08:00:00Z"));
    assert!(told.pod.is_deleting && told.pod.is_ready);
}

#[test]
fn how_the_main_container_ended_is_told_of_this_life_or_the_last() {
    let end = |field: &str, ended: Value| {
        proxy(|pod| pod["status"]["containerStatuses"][1][field] = json!({"terminated": ended}))
            .pod
            .last_end
    };
    let killed = json!({"exitCode": 137, "reason": "OOMKilled"});
    assert_eq!(
        end("state", killed.clone()).as_deref(),
        Some("exit code 137 (OOMKilled)")
    );
    assert_eq!(end("lastState", killed).as_deref(), Some("exit code 137 (OOMKilled)"));
    let silent = end("state", json!({"exitCode": 1}));
    assert_eq!(silent.as_deref(), Some("exit code 1 (no reason given)"));
}

#[test]
fn pods_that_have_ended_or_are_of_another_cluster_are_passed_over() {
    let of = |name: &str, component: &str| pod(name, component, &json!({}), &json!({}));
    let mut evicted = of("evicted", labels::PROXY);
    evicted["status"]["phase"] = json!("Failed");
    let mut done = of("done", labels::STORAGE);
    done["status"]["phase"] = json!("Succeeded");
    let mut former = of("former", labels::PROXY);
    former["metadata"]["annotations"][labels::CLUSTER_UID] = json!("cluster-0");
    let mut storage = of("s-0", labels::STORAGE);
    storage["metadata"]["labels"]["controller-revision-hash"] = json!("c1");
    let all = vec![
        of("p-2", labels::PROXY),
        evicted,
        of("other", "something"),
        storage,
        done,
        of("s-1", labels::STORAGE),
        former,
        of("p-1", labels::PROXY),
    ];
    let found = observed(&all);
    let proxies: Vec<&str> = found.proxies.iter().map(|proxy| proxy.pod.name.as_str()).collect();
    assert_eq!(proxies, ["p-1", "p-2"]);
    let storage: Vec<(&str, &str, u32)> = found
        .storage_pods
        .iter()
        .map(|node| (node.pod.name.as_str(), node.revision.as_str(), node.pod.restarts))
        .collect();
    assert_eq!(storage, [("s-0", "c1", 2), ("s-1", "", 2)]);
}

#[test]
fn a_deployment_counts_what_is_available_of_its_present_spec_only() {
    let made = |observed: i64| -> Arc<Deployment> {
        Arc::new(read(json!({
            "metadata": {
                "name": "prod-proxy-r1", "uid": "d1", "resourceVersion": "9", "generation": 3,
                "creationTimestamp": "1970-01-01T00:01:40Z", "labels": {(labels::REVISION): "r1"},
                "annotations": {(labels::ASKED): "a", (labels::DEFAULT_IMAGE): "i"},
            },
            "spec": {"replicas": 4, "selector": {}, "template": {"spec": {"containers": [
                {"name": "proxy", "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}}},
            ]}}},
            "status": {"observedGeneration": observed, "availableReplicas": 2, "replicas": 5, "conditions": [
                {"type": "Available", "status": "True", "message": "fine"},
                {"type": "ReplicaFailure", "status": "False", "message": "long ago"},
                {"type": "ReplicaFailure", "status": "True", "reason": "Quota", "message": "exceeded quota"},
            ]},
        })))
    };
    let found = |deployments: &[Arc<Deployment>]| observe(Objects { deployments, ..NOTHING }).deployments;
    let expected = ProxyDeployment {
        name: "prod-proxy-r1".to_owned(),
        uid: "d1".to_owned(),
        resource_version: "9".to_owned(),
        revision: "r1".to_owned(),
        record: Record {
            asked: "a".to_owned(),
            default_image: "i".to_owned(),
            upgrade: None,
        },
        created_s: 100,
        replicas: 4,
        available: 2,
        pods: 5,
        birth_requests: Requests {
            cpu_millis: 50,
            memory_bytes: 32 << 20,
        },
        is_deleting: false,
        trouble: Some(Trouble {
            reason: "Quota".to_owned(),
            message: "exceeded quota".to_owned(),
        }),
    };
    assert_eq!(found(&[made(3)]), std::slice::from_ref(&expected));
    assert_eq!(
        found(&[made(2)]),
        [ProxyDeployment {
            available: 0,
            ..expected
        }]
    );
    let of_somebody_else = read(json!({"metadata": {"name": "web"}}));
    assert_eq!(found(&[Arc::new(of_somebody_else)]), []);
}

#[test]
fn a_stateful_set_names_its_revision_once_its_spec_was_seen() {
    let set = |observed: i64| -> StorageSet {
        let set: StatefulSet = read(json!({
            "metadata": {"name": "s", "resourceVersion": "4", "generation": 2, "labels": {(labels::REVISION): "r2"}},
            "spec": {"replicas": 3, "selector": {}, "template": {}, "serviceName": "", "volumeClaimTemplates": [
                {"spec": {"resources": {"requests": {"storage": "10Gi"}}}},
            ]},
            "status": {"observedGeneration": observed, "updateRevision": "c2", "replicas": 3},
        }));
        observe(Objects {
            stateful_set: Some(&set),
            ..NOTHING
        })
        .storage_set
        .expect("it is there")
    };
    let expected = StorageSet {
        resource_version: "4".to_owned(),
        revision: "r2".to_owned(),
        replicas: 3,
        update_revision: Some("c2".to_owned()),
        has_volume: true,
        claim_size: Some("10Gi".to_owned()),
        ..StorageSet::default()
    };
    assert_eq!(set(2), expected);
    let update_revision = None;
    assert_eq!(
        set(1),
        StorageSet {
            update_revision,
            ..expected
        }
    );
}

#[test]
fn a_budget_counts_only_as_a_number() {
    let min = |min: Value| {
        let budget: PodDisruptionBudget = read(json!({"spec": {"minAvailable": min}}));
        let budget = Some(&budget);
        observe(Objects { budget, ..NOTHING }).min_available
    };
    assert_eq!(
        (min(json!(3)), min(json!(-1)), min(json!("50%"))),
        (Some(3), Some(0), None)
    );
}

#[test]
fn a_service_says_which_ports_and_addresses_it_has_been_given() {
    let service: Service = read(json!({
        "spec": {"ports": [
            {"name": "mqtt", "port": 1883, "nodePort": 31_883},
            {"name": "new", "port": 1884, "nodePort": 0},
            {"name": "none", "port": 1885},
            {"port": 1886, "nodePort": 31_886},
        ]},
        "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.7"}, {"hostname": "lb.example", "ip": "198.51.100.8"}]}},
    }));
    let service = Some(&service);
    let found = observe(Objects { service, ..NOTHING }).service.expect("it is there");
    assert_eq!(found.node_ports, [("mqtt".to_owned(), 31_883)]);
    assert_eq!(found.ingress, ["198.51.100.7", "lb.example"]);
}

#[test]
fn one_serves_that_is_active_and_ready_and_takes_clients_or_is_steered() {
    let with = |change: fn(&mut ProxyPod)| {
        let mut proxy = ProxyPod::serving("p", "a");
        change(&mut proxy);
        (proxy.is_active(), proxy.serves(), proxy.is_steered(), proxy.is_warm())
    };
    let order = |reason| {
        Some(MoveOrder {
            reason,
            ..MoveOrder::default()
        })
    };
    assert_eq!(order(MoveReason::Drain).map(|order| order.keep), Some(0));
    assert_eq!(with(|_| ()), (true, true, false, false));
    assert_eq!(with(|p| p.pod.is_deleting = true), (false, false, false, false));
    assert_eq!(with(|p| p.pod.is_ready = false), (true, false, false, false));
    assert_eq!(with(|p| p.is_accepting = false), (true, false, false, false));
    assert_eq!(with(|p| p.role = Some(Role::Warm)), (false, false, false, true));
    assert_eq!(with(|p| p.role = None), (false, false, false, true));
    assert_eq!(with(|p| p.role = Some(Role::Draining)), (false, false, false, false));
    let given = |reason: MoveReason, accepting: bool, role: Role| {
        let mut proxy = ProxyPod::serving("p", "a");
        proxy.order = order(reason);
        proxy.is_accepting = accepting;
        proxy.role = Some(role);
        (proxy.serves(), proxy.is_steered())
    };
    assert_eq!(given(MoveReason::Rebalance, false, Role::Active), (true, true));
    assert_eq!(given(MoveReason::Rebalance, true, Role::Active), (true, false));
    assert_eq!(given(MoveReason::Rebalance, false, Role::Draining), (false, false));
    assert_eq!(given(MoveReason::Drain, false, Role::Active), (false, false));
}

#[test]
fn the_revision_with_most_active_proxies_serves() {
    let mut going = ProxyPod::serving("p5", "a");
    going.pod.is_deleting = true;
    let proxies = [
        ProxyPod::serving("p1", "b"),
        ProxyPod::serving("p2", "a"),
        ProxyPod::serving("p3", "b"),
        ProxyPod::serving("p4", "c"),
        going.clone(),
    ];
    assert_eq!(serving_revision(&proxies), Some("b"));
    assert_eq!(
        serving_revision(&[
            ProxyPod::serving("p1", "z"),
            ProxyPod::serving("p2", "a"),
            ProxyPod::serving("p3", "a")
        ]),
        Some("a")
    );
    assert_eq!(serving_revision(&[going]), None);
}
