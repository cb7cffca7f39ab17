//! Single plans, one situation each. `plan/simulation.rs` runs whole courses.

use super::*;
use crate::keep::Record;
use crate::loss::Loss;
use crate::observe::PodFacts;
use crate::trouble::Trouble;

mod cordoned;
mod cut_off;
mod demotion;
mod edges;
mod moves;
mod pool;
mod rollout;

const HASH: &str = "h1";

static NO_ROOMS: Rooms = Rooms::new();
static NO_NODES: BTreeSet<String> = BTreeSet::new();
static FREE: Pace = Pace::free();

/// A proxy that waits and is ready.
fn proxy(name: &str, revision: &str) -> ProxyPod {
    ProxyPod {
        pod: PodFacts {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            resource_version: "1".to_owned(),
            node: None,
            host_ip: None,
            ip: None,
            is_ready: true,
            is_deleting: false,
            restarts: 0,
            last_end: None,
            config_hash: Some(HASH.to_owned()),
            created_s: 0,
            trouble: None,
        },
        revision: revision.to_owned(),
        role: Some(Role::Warm),
        is_accepting: false,
        deletion_cost: None,
        requests: Requests::default(),
        resize: None,
        order: None,
        loss: Loss::default(),
    }
}

fn active(name: &str, revision: &str) -> ProxyPod {
    let mut proxy = proxy(name, revision);
    proxy.role = Some(Role::Active);
    proxy.is_accepting = true;
    proxy.deletion_cost = Some(ACTIVE_COST);
    proxy
}

fn draining(name: &str, revision: &str) -> ProxyPod {
    let mut proxy = active(name, revision);
    proxy.role = Some(Role::Draining);
    proxy.is_accepting = false;
    proxy.deletion_cost = Some(DRAINED_COST);
    proxy
}

fn deployment(revision: &str, replicas: u32, available: u32) -> ProxyDeployment {
    ProxyDeployment {
        name: format!("prod-proxy-{revision}"),
        uid: format!("uid-{revision}"),
        resource_version: "1".to_owned(),
        revision: revision.to_owned(),
        record: Record::default(),
        created_s: 0,
        replicas,
        available,
        pods: replicas,
        birth_requests: Requests::default(),
        is_deleting: false,
        trouble: None,
    }
}

fn observed(deployments: Vec<ProxyDeployment>, proxies: Vec<ProxyPod>) -> Observed {
    Observed {
        proxies,
        deployments,
        ..Observed::default()
    }
}

fn target(revision: &str, replicas: u32) -> ProxyTarget<'_> {
    ProxyTarget {
        revision,
        replicas,
        warm: 0,
        is_kept: false,
        config_hash: HASH,
        active_requests: Requests::default(),
        rooms: &NO_ROOMS,
        closed_nodes: &NO_NODES,
        cordoned_nodes: &NO_NODES,
        moves: &NO_MOVES,
        pace: &FREE,
        served_last: None,
    }
}

fn with_pool(revision: &str, replicas: u32, warm: u32) -> ProxyTarget<'_> {
    ProxyTarget {
        warm,
        ..target(revision, replicas)
    }
}

/// What a plan does, in words.
fn steps(plan: &ProxyPlan) -> Vec<String> {
    let words = |action: &ProxyAction| match action {
        ProxyAction::SetRole { pod, role, .. } => format!("{role:?} {pod}"),
        ProxyAction::SetOrder { pod, .. } => format!("order {pod}"),
        ProxyAction::Resize { pod, .. } => format!("resize {pod}"),
        ProxyAction::ApplyTarget => format!("replicas {}", plan.target_replicas),
        ProxyAction::ScaleTarget { deployment, .. } => format!("scale {deployment} to {}", plan.target_replicas),
        ProxyAction::ScaleToZero { deployment, .. } => format!("zero {deployment}"),
        ProxyAction::Delete { deployment, .. } => format!("delete {deployment}"),
    };
    plan.actions.iter().map(words).collect()
}

#[test]
fn a_new_cluster_gets_its_deployment_with_all_replicas() {
    let plan = plan_proxies(&Observed::default(), target("a", 2));
    assert_eq!(steps(&plan), ["replicas 2"]);
    assert_eq!((plan.target_replicas_were, plan.phase), (None, RevisionPhase::Stable));
}

#[test]
fn a_ready_proxy_becomes_active_at_once_and_one_that_starts_does_not() {
    let mut starting = proxy("p2", "a");
    starting.pod.is_ready = false;
    let plan = plan_proxies(
        &observed(vec![deployment("a", 2, 0)], vec![proxy("p1", "a"), starting]),
        target("a", 2),
    );
    assert_eq!(steps(&plan), ["Active p1", "replicas 2"]);
}

#[test]
fn a_settled_cluster_needs_nothing_but_its_deployment() {
    let settled = observed(vec![deployment("a", 2, 2)], vec![active("p1", "a"), active("p2", "a")]);
    assert_eq!(steps(&plan_proxies(&settled, target("a", 2))), ["replicas 2"]);
}

#[test]
fn an_active_proxy_that_is_not_ready_keeps_its_role() {
    let mut blinking = active("p1", "a");
    blinking.pod.is_ready = false;
    let settled = observed(vec![deployment("a", 1, 0)], vec![blinking]);
    assert_eq!(steps(&plan_proxies(&settled, target("a", 1))), ["replicas 1"]);
}

#[test]
fn labels_set_by_hand_are_completed() {
    let mut by_hand = active("p1", "a");
    by_hand.deletion_cost = None;
    let plan = plan_proxies(&observed(vec![deployment("a", 1, 1)], vec![by_hand]), target("a", 1));
    assert_eq!(steps(&plan), ["Active p1", "replicas 1"]);
    assert!(matches!(plan.actions[0], ProxyAction::SetRole { is_change: false, .. }));
}

#[test]
fn a_changed_file_is_told_to_every_proxy_that_serves_or_hands_over() {
    let there = observed(
        vec![deployment("a", 1, 1)],
        vec![active("p1", "a"), draining("p2", "a")],
    );
    let plan = plan_proxies(
        &there,
        ProxyTarget {
            config_hash: "h2",
            ..target("a", 1)
        },
    );
    assert_eq!(steps(&plan), ["Active p1", "Draining p2", "replicas 1"]);
}

#[test]
fn victims_of_a_scale_in_leave_together_before_replicas_are_lowered() {
    let four = ["p1", "p2", "p3", "p4"].map(|name| active(name, "a")).to_vec();
    let first = plan_proxies(&observed(vec![deployment("a", 4, 4)], four), target("a", 2));
    assert_eq!(steps(&first), ["Draining p3", "Draining p4", "replicas 4"]);
    let left = vec![
        active("p1", "a"),
        active("p2", "a"),
        draining("p3", "a"),
        draining("p4", "a"),
    ];
    let second = plan_proxies(&observed(vec![deployment("a", 4, 4)], left.clone()), target("a", 2));
    assert_eq!(steps(&second), ["replicas 2"]);
    let third = plan_proxies(&observed(vec![deployment("a", 2, 4)], left), target("a", 2));
    assert_eq!(steps(&third), ["replicas 2"]);
}

#[test]
fn a_proxy_that_does_not_serve_is_the_first_victim() {
    let mut unready = active("p1", "a");
    unready.pod.is_ready = false;
    let there = observed(
        vec![deployment("a", 3, 2)],
        vec![unready, active("p2", "a"), active("p3", "a")],
    );
    assert_eq!(
        steps(&plan_proxies(&there, target("a", 2))),
        ["Draining p1", "replicas 3"]
    );
}

#[test]
fn victims_come_from_the_node_with_most_proxies_and_are_the_youngest_there() {
    let on = |name: &str, node: &str, created_s: i64| {
        let mut proxy = active(name, "a");
        proxy.pod.node = Some(node.to_owned());
        proxy.pod.created_s = created_s;
        proxy
    };
    let there = observed(
        vec![deployment("a", 4, 4)],
        vec![
            on("p1", "n1", 1),
            on("p2", "n1", 2),
            on("p3", "n1", 3),
            on("p4", "n2", 9),
        ],
    );
    assert_eq!(
        steps(&plan_proxies(&there, target("a", 2))),
        ["Draining p2", "Draining p3", "replicas 4"]
    );
}

#[test]
fn scaling_out_again_takes_victims_back() {
    let left = vec![
        active("p1", "a"),
        active("p2", "a"),
        draining("p3", "a"),
        draining("p4", "a"),
    ];
    let plan = plan_proxies(&observed(vec![deployment("a", 4, 4)], left), target("a", 4));
    assert_eq!(steps(&plan), ["Active p3", "Active p4", "replicas 4"]);
}

#[test]
fn a_victim_that_was_spared_serves_again() {
    // The ReplicaSet controller removed an active proxy that was not ready instead.
    let there = observed(
        vec![deployment("a", 2, 2)],
        vec![active("p1", "a"), draining("p3", "a")],
    );
    assert_eq!(
        steps(&plan_proxies(&there, target("a", 2))),
        ["Active p3", "replicas 2"]
    );
}

#[test]
fn a_restart_of_the_deployment_by_hand_makes_no_victims_and_its_newcomer_serves_when_another_goes() {
    let mut there = observed(
        vec![deployment("a", 2, 3)],
        vec![active("p1", "a"), active("p2", "a"), proxy("p3", "a")],
    );
    assert_eq!(steps(&plan_proxies(&there, target("a", 2))), ["replicas 2"]);
    there.proxies[0].pod.is_deleting = true;
    assert_eq!(
        steps(&plan_proxies(&there, target("a", 2))),
        ["Active p3", "replicas 2"]
    );
}

#[test]
fn a_newcomer_serves_in_the_place_of_one_that_is_not_ready() {
    let mut there = observed(
        vec![deployment("a", 2, 3)],
        vec![active("p1", "a"), active("p2", "a"), proxy("p3", "a")],
    );
    there.proxies[0].pod.is_ready = false;
    assert_eq!(
        steps(&plan_proxies(&there, target("a", 2))),
        ["Draining p1", "Active p3", "replicas 2"]
    );
}

#[test]
fn a_proxy_that_became_ready_after_a_scale_in_was_written_is_not_promoted_to_be_removed() {
    let there = observed(vec![deployment("a", 1, 1)], vec![active("p1", "a"), proxy("p2", "a")]);
    assert_eq!(steps(&plan_proxies(&there, target("a", 1))), ["replicas 1"]);
}

#[test]
fn a_new_revision_comes_up_beside_the_one_that_serves() {
    let old = vec![active("p1", "a"), active("p2", "a")];
    let plan = plan_proxies(&observed(vec![deployment("a", 2, 2)], old), target("b", 2));
    assert_eq!(steps(&plan), ["replicas 2"]);
    assert_eq!(plan.phase, RevisionPhase::Warming);
}

#[test]
fn the_old_revision_leaves_together_when_the_new_one_has_stayed_ready() {
    let there = |available, old: fn(&str, &str) -> ProxyPod| {
        let proxies = vec![old("p1", "a"), old("p2", "a"), active("q1", "b"), active("q2", "b")];
        observed(vec![deployment("a", 2, 2), deployment("b", 2, available)], proxies)
    };
    assert_eq!(steps(&plan_proxies(&there(1, active), target("b", 2))), ["replicas 2"]);
    let leave = plan_proxies(&there(2, active), target("b", 2));
    assert_eq!(steps(&leave), ["replicas 2", "Draining p1", "Draining p2"]);
    assert_eq!(leave.phase, RevisionPhase::Draining);
    assert_eq!(
        steps(&plan_proxies(&there(2, draining), target("b", 2))),
        ["replicas 2", "zero prod-proxy-a"]
    );
}

#[test]
fn a_replacement_within_the_old_revision_serves_while_the_new_one_is_not_ready() {
    let mut starting = proxy("q1", "b");
    starting.pod.is_ready = false;
    let there = observed(
        vec![deployment("a", 2, 1), deployment("b", 2, 0)],
        vec![active("p1", "a"), proxy("p3", "a"), starting],
    );
    assert_eq!(
        steps(&plan_proxies(&there, target("b", 2))),
        ["replicas 2", "Active p3"]
    );
}

#[test]
fn an_old_deployment_is_deleted_when_its_last_pod_is_gone() {
    let mut going = draining("p1", "a");
    going.pod.is_deleting = true;
    let mut empty = deployment("a", 0, 0);
    let serving = [active("q1", "b")];
    let there = observed(
        vec![empty.clone(), deployment("b", 1, 1)],
        [vec![going], serving.to_vec()].concat(),
    );
    let plan = plan_proxies(&there, target("b", 1));
    assert_eq!(
        (steps(&plan), plan.phase),
        (vec!["replicas 1".to_owned()], RevisionPhase::Draining)
    );
    empty.pods = 0;
    let there = observed(vec![empty, deployment("b", 1, 1)], serving.to_vec());
    assert_eq!(
        steps(&plan_proxies(&there, target("b", 1))),
        ["replicas 1", "delete prod-proxy-a"]
    );
}

#[test]
fn a_revision_that_never_served_is_given_up_at_once() {
    let mut stuck = proxy("q1", "bad");
    stuck.pod.is_ready = false;
    stuck.pod.trouble = Some(Trouble {
        reason: "ImagePullBackOff".to_owned(),
        message: String::new(),
    });
    let there = observed(
        vec![deployment("a", 1, 1), deployment("bad", 1, 0), deployment("c", 1, 0)],
        vec![active("p1", "a"), stuck],
    );
    assert_eq!(
        steps(&plan_proxies(&there, target("c", 1))),
        ["replicas 1", "zero prod-proxy-bad"]
    );
}

#[test]
fn the_revision_that_served_last_is_kept_though_its_pods_are_gone() {
    let there = observed(vec![deployment("a", 1, 0), deployment("b", 1, 0)], vec![]);
    let plan = plan_proxies(
        &there,
        ProxyTarget {
            served_last: Some("a"),
            ..target("b", 1)
        },
    );
    assert_eq!(steps(&plan), ["replicas 1"]);
}

#[test]
fn going_back_to_the_revision_that_serves_needs_no_wait() {
    let mut stuck = proxy("q1", "bad");
    stuck.pod.is_ready = false;
    let there = observed(
        vec![deployment("a", 1, 1), deployment("bad", 1, 0)],
        vec![active("p1", "a"), stuck],
    );
    assert_eq!(
        steps(&plan_proxies(&there, target("a", 1))),
        ["replicas 1", "zero prod-proxy-bad"]
    );
}

#[test]
fn a_cluster_can_be_scaled_to_nothing() {
    let there = observed(vec![deployment("a", 1, 1)], vec![active("p1", "a")]);
    assert_eq!(
        steps(&plan_proxies(&there, target("a", 0))),
        ["Draining p1", "replicas 1"]
    );
    let there = observed(vec![deployment("a", 1, 1)], vec![draining("p1", "a")]);
    assert_eq!(steps(&plan_proxies(&there, target("a", 0))), ["replicas 0"]);
}

#[test]
fn a_replacement_serves_though_the_resource_cannot_be_built() {
    let mut lost = active("p1", "a");
    lost.pod.is_deleting = true;
    let mut starting = proxy("p4", "a");
    starting.pod.is_ready = false;
    let there = observed(
        vec![deployment("a", 2, 1)],
        vec![lost, active("p2", "a"), proxy("p3", "a"), starting, draining("p5", "a")],
    );
    assert_eq!(steps(&keep_serving(&there, Some(2))), ["Active p3"]);
    assert_eq!(steps(&keep_serving(&there, Some(1))), [""; 0]);
    assert_eq!(steps(&keep_serving(&there, None)), ["Active p3"]);
}

#[test]
fn a_deployment_that_is_kept_is_scaled_and_never_applied() {
    let mut kept = target("r1", 2);
    kept.is_kept = true;
    let serving = observed(vec![deployment("r1", 2, 2)], vec![active("a", "r1"), active("b", "r1")]);
    assert_eq!(plan_proxies(&serving, kept).actions, []);
    kept.replicas = 3;
    let scale = ProxyAction::ScaleTarget {
        deployment: "prod-proxy-r1".to_owned(),
        resource_version: "1".to_owned(),
    };
    assert_eq!(plan_proxies(&serving, kept).actions, [scale]);
}
