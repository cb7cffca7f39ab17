//! Conditions in the situations that users meet.

use std::collections::BTreeSet;

use freshet_operator_api::{ConditionType, MqttCluster};
use serde_json::json;

use super::*;
use crate::keep::Record;
use crate::loss::Loss;
use crate::observe::{
    ClaimPhase, ClaimSize, PodFacts, ProxyDeployment, ProxyPod, StorageClaim, StoragePod, StorageSet,
};
use crate::plan::{ACTIVE_COST, NO_MOVES, ProxyTarget, Rooms, plan_proxies, plan_storage};
use crate::requests::Requests;
use crate::rollout::Pace;
use crate::trouble::Trouble;
use crate::validate::{DefaultImages, validate};

mod conditions;
mod reservation;
mod rollout;
mod scaling;
mod volume;

const REVISION: &str = "r1";

fn pod(name: &str) -> PodFacts {
    PodFacts {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        resource_version: "1".to_owned(),
        node: None,
        host_ip: Some("10.0.0.1".to_owned()),
        ip: None,
        is_ready: true,
        is_deleting: false,
        restarts: 0,
        last_end: None,
        config_hash: Some("h".to_owned()),
        created_s: 0,
        trouble: None,
    }
}

fn active(name: &str, revision: &str) -> ProxyPod {
    ProxyPod {
        pod: pod(name),
        revision: revision.to_owned(),
        role: Some(Role::Active),
        is_accepting: true,
        deletion_cost: Some(ACTIVE_COST),
        requests: Requests::default(),
        resize: None,
        order: None,
        loss: Loss::default(),
    }
}

fn deployment(revision: &str, replicas: u32) -> ProxyDeployment {
    ProxyDeployment {
        name: format!("prod-proxy-{revision}"),
        uid: revision.to_owned(),
        resource_version: "1".to_owned(),
        revision: revision.to_owned(),
        record: Record::default(),
        created_s: 0,
        replicas,
        available: replicas,
        pods: replicas,
        birth_requests: Requests::default(),
        is_deleting: false,
        trouble: None,
    }
}

/// The claim of the storage node, which has the volume that an empty spec asks for.
fn claim() -> StorageClaim {
    let size = || {
        Some(ClaimSize {
            text: "10Gi".to_owned(),
            bytes: 10 << 30,
        })
    };
    StorageClaim {
        name: "data-prod-storage-0".to_owned(),
        uid: "c".to_owned(),
        resource_version: "1".to_owned(),
        phase: ClaimPhase::Bound,
        is_deleting: false,
        class: Some("fast".to_owned()),
        asked: size(),
        actual: size(),
        growth: None,
    }
}

fn settled() -> Observed {
    Observed {
        proxies: vec![active("p1", REVISION), active("p2", REVISION)],
        deployments: vec![deployment(REVISION, 2)],
        storage_set: Some(StorageSet {
            update_revision: Some("s1".to_owned()),
            has_volume: true,
            ..StorageSet::default()
        }),
        storage_claims: vec![claim()],
        storage_pods: vec![StoragePod {
            pod: pod("prod-storage-0"),
            revision: "s1".to_owned(),
        }],
        ..Observed::default()
    }
}

fn cluster(spec: serde_json::Value) -> ValidatedCluster {
    let mut resource = json!({
        "apiVersion": "freshet.dev/v1alpha1",
        "kind": "MqttCluster",
        "metadata": {"name": "prod", "namespace": "iot", "uid": "u"},
    });
    resource["spec"] = spec;
    let resource: MqttCluster = serde_json::from_value(resource).expect("a resource");
    let images = DefaultImages {
        proxy: "p:1".into(),
        storage: "s:1".into(),
    };
    validate(&resource, &images).expect("valid")
}

/// The status after one reconcile of generation 1 at second `at`.
fn status_of(
    spec: serde_json::Value,
    revision: &str,
    observed: &Observed,
    previous: Option<&MqttClusterStatus>,
    at: i64,
) -> MqttClusterStatus {
    let given = Given {
        previous,
        at,
        ..Given::of(revision, observed)
    };
    given.status(spec)
}

/// What a status is built from beside the resource.
struct Given<'a> {
    revision: &'a str,
    observed: &'a Observed,
    active_requests: Requests,
    connection_limits: ConnectionLimits,
    refused_resizes: RefusedResizes,
    scaling: Option<&'a ScalingStatus>,
    pace: Pace,
    previous: Option<&'a MqttClusterStatus>,
    /// Seconds.
    at: i64,
}

impl<'a> Given<'a> {
    fn of(revision: &'a str, observed: &'a Observed) -> Self {
        Self {
            revision,
            observed,
            active_requests: Requests::default(),
            connection_limits: ConnectionLimits::new(),
            refused_resizes: RefusedResizes::new(),
            scaling: None,
            pace: Pace::free(),
            previous: None,
            at: 0,
        }
    }

    fn status(&self, spec: serde_json::Value) -> MqttClusterStatus {
        let cluster = cluster(spec);
        let target = ProxyTarget {
            revision: self.revision,
            replicas: cluster.proxy.replicas,
            warm: cluster.proxy.warm.min,
            is_kept: false,
            config_hash: "h",
            active_requests: self.active_requests,
            rooms: &Rooms::new(),
            closed_nodes: &BTreeSet::new(),
            cordoned_nodes: &BTreeSet::new(),
            moves: &NO_MOVES,
            pace: &self.pace,
            served_last: None,
        };
        build_status(&StatusInput {
            name: "prod",
            generation: Some(1),
            version: "1.0.0",
            outcome: Outcome::Planned {
                cluster: &cluster,
                keep: &keep(self.revision),
                proxies: &plan_proxies(self.observed, target),
                storage: &plan_storage(self.observed, "h"),
                has_changed: false,
            },
            observed: self.observed,
            connection_limits: &self.connection_limits,
            refused_resizes: &self.refused_resizes,
            loads: &Loads::new(),
            scaling: self.scaling,
            previous: self.previous,
            now: Timestamp::from_second(self.at).expect("a time"),
        })
    }
}

fn keep(revision: &str) -> Keep {
    Keep {
        proxy_revision: revision.to_owned(),
        keeps_proxies: false,
        keeps_storage: false,
        newer: None,
    }
}

fn said(status: &MqttClusterStatus, type_: ConditionType) -> (&str, &str) {
    let condition = status
        .conditions
        .iter()
        .find(|c| c.type_ == type_.as_str())
        .expect("every type is there");
    (&condition.status, &condition.reason)
}

#[test]
fn a_new_cluster_comes_up_and_is_not_degraded_for_it() {
    let status = status_of(json!({}), REVISION, &Observed::default(), None, 0);
    assert_eq!(said(&status, ConditionType::Ready), ("False", "StorageUnavailable"));
    assert_eq!(said(&status, ConditionType::Progressing), ("True", "ComingUp"));
    assert_eq!(said(&status, ConditionType::Reconciling), ("True", "Progressing"));
    assert_eq!(said(&status, ConditionType::Degraded), ("False", "AsAsked"));
    assert_eq!(said(&status, ConditionType::Stalled), ("False", "Working"));
}

#[test]
fn a_settled_cluster_is_ready_with_its_numbers() {
    let status = status_of(json!({}), REVISION, &settled(), None, 0);
    assert_eq!(said(&status, ConditionType::Ready), ("True", "AllServing"));
    assert_eq!(said(&status, ConditionType::Progressing), ("False", "Complete"));
    assert_eq!(
        (status.proxy.active, status.proxy.desired, status.proxy.ready),
        (2, 2, 2)
    );
    assert_eq!(status.proxy.revision.current, REVISION);
    assert_eq!(
        status.proxy.selector,
        "freshet.dev/cluster=prod,freshet.dev/role=active"
    );
}

#[test]
fn the_same_facts_give_the_same_status_later() {
    let first = status_of(json!({}), REVISION, &settled(), None, 0);
    let second = status_of(json!({}), REVISION, &settled(), Some(&first), 1000);
    assert_eq!(first, second);
}

#[test]
fn a_proxy_that_is_lost_degrades_a_cluster_that_was_complete_until_it_is_back() {
    let before = status_of(json!({}), REVISION, &settled(), None, 0);
    let mut observed = settled();
    observed.proxies[0].pod.is_ready = false;
    let lost = status_of(json!({}), REVISION, &observed, Some(&before), 10);
    assert_eq!(said(&lost, ConditionType::Degraded), ("True", "ProxiesMissing"));
    assert_eq!(said(&lost, ConditionType::Ready), ("False", "ProxiesMissing"));
    assert_eq!(said(&lost, ConditionType::ProxiesAvailable), ("True", "Serving"));
    assert_eq!(said(&lost, ConditionType::Progressing), ("False", "Complete"));
    let back = status_of(json!({}), REVISION, &settled(), Some(&lost), 20);
    assert_eq!(said(&back, ConditionType::Degraded), ("False", "AsAsked"));
    let degraded = back
        .conditions
        .iter()
        .find(|c| c.type_ == "Degraded")
        .expect("it is there");
    assert_eq!(degraded.last_transition_time.0.as_second(), 20);
    let progressing = back
        .conditions
        .iter()
        .find(|c| c.type_ == "Progressing")
        .expect("it is there");
    assert_eq!(progressing.last_transition_time.0.as_second(), 0, "it did not change");
}

#[test]
fn storage_that_is_lost_degrades_and_proxies_stay_available() {
    let before = status_of(json!({}), REVISION, &settled(), None, 0);
    let mut observed = settled();
    observed.storage_pods[0].pod.is_ready = false;
    let lost = status_of(json!({}), REVISION, &observed, Some(&before), 10);
    assert_eq!(said(&lost, ConditionType::Degraded), ("True", "StorageMissing"));
    assert_eq!(said(&lost, ConditionType::StorageAvailable), ("False", "NotReady"));
    assert_eq!(said(&lost, ConditionType::ProxiesAvailable), ("True", "Serving"));
}

#[test]
fn an_image_that_cannot_be_pulled_names_the_pod_and_the_reason_while_the_old_revision_serves() {
    let mut observed = settled();
    let mut stuck = active("q1", "r2");
    stuck.role = None;
    stuck.is_accepting = false;
    stuck.pod.is_ready = false;
    stuck.pod.trouble = Some(Trouble {
        reason: "ImagePullBackOff".to_owned(),
        message: "no such image nowhere/x:1".to_owned(),
    });
    observed.proxies.push(stuck);
    observed.deployments.push(deployment("r2", 2));
    let status = status_of(json!({}), "r2", &observed, None, 0);
    assert_eq!(said(&status, ConditionType::Degraded), ("True", "ImagePullBackOff"));
    assert_eq!(said(&status, ConditionType::Stalled), ("True", "ImagePullBackOff"));
    assert_eq!(said(&status, ConditionType::Ready), ("True", "AllServing"));
    let stalled = status
        .conditions
        .iter()
        .find(|c| c.type_ == "Stalled")
        .expect("it is there");
    assert!(
        stalled.message.contains("pod q1: no such image nowhere/x:1"),
        "{}",
        stalled.message
    );
    assert_eq!(status.proxy.revision.phase, RevisionPhase::Warming);
    assert_eq!(
        (
            status.proxy.revision.current.as_str(),
            status.proxy.revision.target.as_str()
        ),
        (REVISION, "r2")
    );
}

#[test]
fn a_pod_without_room_degrades_but_nobody_is_stalled() {
    let mut observed = settled();
    observed.proxies[1].pod.is_ready = false;
    observed.proxies[1].pod.trouble = Some(Trouble {
        reason: "Unschedulable".to_owned(),
        message: "Insufficient cpu".to_owned(),
    });
    let status = status_of(json!({}), REVISION, &observed, None, 0);
    assert_eq!(said(&status, ConditionType::Degraded), ("True", "Unschedulable"));
    assert_eq!(said(&status, ConditionType::Stalled), ("False", "Working"));
}

/// The status of a resource of generation 2 that cannot be built.
fn blocked(
    reason: &str,
    message: &str,
    observed: &Observed,
    previous: Option<&MqttClusterStatus>,
) -> MqttClusterStatus {
    let blocked = Blocked {
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    build_status(&StatusInput {
        name: "prod",
        generation: Some(2),
        version: "1.0.0",
        outcome: Outcome::Blocked(&blocked),
        connection_limits: &ConnectionLimits::new(),
        refused_resizes: &RefusedResizes::new(),
        loads: &Loads::new(),
        scaling: None,
        observed,
        previous,
        now: Timestamp::UNIX_EPOCH,
    })
}

#[test]
fn a_resource_that_cannot_be_built_is_stalled_and_keeps_its_last_numbers() {
    let before = status_of(json!({}), REVISION, &settled(), None, 0);
    let status = blocked("InvalidSpec", "spec.proxy: wrong", &settled(), Some(&before));
    assert_eq!(said(&status, ConditionType::Stalled), ("True", "InvalidSpec"));
    assert_eq!(said(&status, ConditionType::Ready), ("False", "InvalidSpec"));
    assert_eq!(said(&status, ConditionType::ProxiesAvailable), ("True", "Serving"));
    assert_eq!(status.proxy.desired, 2);
    assert_eq!(status.endpoints, before.endpoints);
    assert_eq!(status.observed_generation, Some(2));
}

#[test]
fn a_paused_cluster_says_so_and_does_not_progress() {
    let status = status_of(
        json!({"paused": true, "proxy": {"replicas": 5}}),
        REVISION,
        &settled(),
        None,
        0,
    );
    assert_eq!(said(&status, ConditionType::Progressing), ("False", "Paused"));
    assert_eq!(said(&status, ConditionType::Reconciling), ("False", "Settled"));
}

#[test]
fn a_paused_cluster_is_not_degraded_for_what_is_not_to_come() {
    let status = status_of(
        json!({"paused": true, "proxy": {"replicas": 5}}),
        REVISION,
        &settled(),
        None,
        0,
    );
    assert_eq!(said(&status, ConditionType::Degraded), ("False", "AsAsked"));
}

#[test]
fn a_storage_controller_that_has_not_seen_the_spec_leaves_the_change_under_way() {
    let mut observed = settled();
    observed.storage_set = Some(StorageSet::default());
    let status = status_of(json!({}), REVISION, &observed, None, 0);
    assert_eq!(said(&status, ConditionType::Progressing), ("True", "ComingUp"));
}

#[test]
fn a_scale_in_progresses_until_the_last_proxy_is_gone_and_stays_ready() {
    let mut observed = settled();
    observed.proxies[1].role = Some(Role::Draining);
    observed.proxies[1].is_accepting = false;
    let status = status_of(json!({"proxy": {"replicas": 1}}), REVISION, &observed, None, 0);
    assert_eq!(said(&status, ConditionType::Progressing), ("True", "ProxiesDraining"));
    assert_eq!(said(&status, ConditionType::Ready), ("True", "AllServing"));
    assert_eq!((status.proxy.active, status.proxy.draining), (1, 1));
}

#[test]
fn endpoints_follow_the_type_of_the_service() {
    let addresses = |type_: &str, service: crate::observe::ServiceFacts| -> Vec<String> {
        let observed = Observed {
            service: Some(service),
            ..settled()
        };
        let status = status_of(json!({"service": {"type": type_}}), REVISION, &observed, None, 0);
        status.endpoints.into_iter().map(|endpoint| endpoint.address).collect()
    };
    let facts = || crate::observe::ServiceFacts {
        node_ports: vec![("mqtt".to_owned(), 31883)],
        ingress: vec!["mqtt.example.org".to_owned(), "fd00::1".to_owned()],
    };
    assert_eq!(addresses("ClusterIP", facts()), ["mqtt://prod.iot.svc:1883"]);
    assert_eq!(
        addresses("NodePort", facts()),
        ["mqtt://prod.iot.svc:1883", "mqtt://10.0.0.1:31883"]
    );
    assert_eq!(
        addresses("LoadBalancer", facts()),
        [
            "mqtt://prod.iot.svc:1883",
            "mqtt://mqtt.example.org:1883",
            "mqtt://[fd00::1]:1883"
        ]
    );
}

#[test]
fn the_life_of_a_storage_node_is_remembered_while_it_is_away() {
    let before = status_of(json!({}), REVISION, &settled(), None, 0);
    let mut observed = settled();
    observed.storage_pods.clear();
    let away = status_of(json!({}), REVISION, &observed, Some(&before), 1);
    assert_eq!(away.storage.nodes, before.storage.nodes);
    assert_eq!(away.storage.nodes[0].uid, "uid-prod-storage-0");
}
