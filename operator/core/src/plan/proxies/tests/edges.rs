//! What decides between proxies that differ in one thing, and where numbers begin to count.

use super::moves::{drain, moves, with_clients};
use super::*;
use crate::plan::{DrainEnd, OrderWrite};

fn on(mut proxy: ProxyPod, node: &str, created_s: i64) -> ProxyPod {
    proxy.pod.node = Some(node.to_owned());
    proxy.pod.created_s = created_s;
    proxy
}

fn unready(mut proxy: ProxyPod) -> ProxyPod {
    proxy.pod.is_ready = false;
    proxy
}

/// It has left the Service, and has its role.
fn out(mut proxy: ProxyPod) -> ProxyPod {
    proxy.is_accepting = false;
    proxy
}

fn steps_of(replicas: u32, proxies: Vec<ProxyPod>, target: ProxyTarget<'_>) -> Vec<String> {
    let there = observed(vec![deployment("a", replicas, replicas)], proxies);
    steps(&plan_proxies(&there, target))
}

#[test]
fn the_next_victim_comes_from_the_node_that_has_most_without_the_last() {
    let proxies = vec![
        on(active("p1", "a"), "n1", 1),
        on(active("p2", "a"), "n1", 2),
        on(active("p3", "a"), "n2", 3),
        on(active("p4", "a"), "n2", 9),
    ];
    assert_eq!(
        steps_of(4, proxies, target("a", 2)),
        ["Draining p2", "Draining p4", "replicas 4"]
    );
}

#[test]
fn the_next_promoted_counts_with_those_on_its_node() {
    let proxies = vec![
        on(proxy("w1", "a"), "n1", 1),
        on(proxy("w2", "a"), "n1", 2),
        on(proxy("w3", "a"), "n2", 3),
    ];
    assert_eq!(
        steps_of(3, proxies, with_pool("a", 2, 1)),
        ["Active w1", "Active w3", "replicas 3"]
    );
}

#[test]
fn a_dead_proxy_hands_over_nothing_and_is_let_go_only_when_that_is_written() {
    let mut dead = unready(out(active("p2", "a")));
    dead.loss.fault = Some(Fault::Dead);
    assert_eq!(
        steps_of(2, vec![active("p1", "a"), dead], target("a", 1)),
        ["Warm p2", "replicas 2"]
    );
}

#[test]
fn of_those_that_are_not_ready_as_many_wait_as_the_pool_is_short_of() {
    let proxies = vec![
        active("p1", "a"),
        unready(out(active("p2", "a"))),
        unready(out(active("p3", "a"))),
    ];
    assert_eq!(
        steps_of(3, proxies, with_pool("a", 1, 1)),
        ["Warm p2", "Draining p3", "replicas 3"]
    );
    // One that has handed over has the place.
    let proxies = vec![active("p1", "a"), with_clients("p2"), unready(active("p3", "a"))];
    let moves = moves(&[drain("p2", Some(DrainEnd::Drained))]);
    let target = ProxyTarget {
        moves: &moves,
        ..with_pool("a", 1, 1)
    };
    assert_eq!(steps_of(3, proxies, target), ["Warm p2", "Draining p3", "replicas 3"]);
}

#[test]
fn one_that_is_not_ready_keeps_its_place_until_another_has_it() {
    let alone = observed(vec![deployment("a", 1, 1)], vec![unready(active("p1", "a"))]);
    assert_eq!(steps(&keep_serving(&alone, Some(1))), Vec::<String>::new());
    let replaced = observed(
        vec![deployment("a", 1, 1)],
        vec![unready(active("p1", "a")), proxy("w1", "a")],
    );
    assert_eq!(steps(&keep_serving(&replaced, Some(1))), ["Warm p1", "Active w1"]);
}

#[test]
fn an_order_ends_with_the_role_it_was_given_for_and_with_nothing_else() {
    let mut steered = active("p1", "a");
    steered.order = Some(MoveOrder::default());
    let mut back = with_clients("p2");
    back.order = Some(MoveOrder::default());
    let there = observed(
        vec![deployment("a", 4, 4)],
        vec![steered, back, with_clients("p3"), proxy("w1", "a")],
    );
    let ends = |replicas: u32| -> Vec<String> {
        let target = ProxyTarget {
            config_hash: "h2",
            ..target("a", replicas)
        };
        let ends = |action: &ProxyAction| match action {
            ProxyAction::SetRole {
                pod, role, ends_order, ..
            } => Some(format!("{role:?} {pod} {ends_order}")),
            _ => None,
        };
        plan_proxies(&there, target).actions.iter().filter_map(ends).collect()
    };
    assert_eq!(
        ends(4),
        [
            "Active p1 false",
            "Active p2 true",
            "Active p3 false",
            "Active w1 false"
        ]
    );
    let still = ends(1);
    assert_eq!(still[..2], ["Active p1 false", "Draining p2 false"], "{still:?}");
}

#[test]
fn an_order_to_one_that_hands_over_says_nothing_of_the_service_and_waits_for_its_file() {
    let write = OrderWrite {
        uid: "uid-p2".to_owned(),
        pod: "p2".to_owned(),
        resource_version: "1".to_owned(),
        order: Some(MoveOrder::default()),
    };
    let moves = MovesPlan {
        writes: vec![write],
        ..moves(&[drain("p2", None)])
    };
    let plan = |leaving: ProxyPod| {
        let there = observed(vec![deployment("a", 2, 2)], vec![active("p1", "a"), leaving]);
        let target = ProxyTarget {
            moves: &moves,
            ..target("a", 1)
        };
        plan_proxies(&there, target)
    };
    let told = plan(with_clients("p2"));
    assert_eq!(steps(&told), ["replicas 2", "order p2"]);
    assert!(matches!(told.actions[1], ProxyAction::SetOrder { accepting: None, .. }));
    let mut other_file = with_clients("p2");
    other_file.pod.config_hash = None;
    assert_eq!(steps(&plan(other_file)), ["Draining p2", "replicas 2"]);
}

#[test]
fn one_that_cannot_come_back_is_replaced_while_it_hands_over() {
    let closed = BTreeSet::from(["n1".to_owned()]);
    let moves = moves(&[drain("p2", None)]);
    let replicas = |node: &str| {
        let proxies = vec![active("p1", "a"), on(with_clients("p2"), node, 0)];
        let target = ProxyTarget {
            moves: &moves,
            closed_nodes: &closed,
            ..with_pool("a", 1, 1)
        };
        steps_of(2, proxies, target)
    };
    assert_eq!(replicas("n2"), ["replicas 2"]);
    assert_eq!(replicas("n1"), ["replicas 3"]);
}

#[test]
fn as_many_are_started_at_once_as_do_not_serve() {
    let proxies = (0..8)
        .map(|index| {
            let proxy = active(&format!("p{index}"), "a");
            if index < 4 { unready(proxy) } else { proxy }
        })
        .collect();
    assert_eq!(steps_of(8, proxies, with_pool("a", 8, 8)), ["replicas 12"]);
}

#[test]
fn a_revision_whose_proxies_are_not_ready_for_a_moment_keeps_its_pods() {
    let there = observed(
        vec![deployment("a", 1, 0), deployment("b", 1, 0)],
        vec![unready(active("p1", "a")), unready(proxy("q1", "b"))],
    );
    assert_eq!(steps(&plan_proxies(&there, target("b", 1))), ["replicas 1"]);
    // Nor are those empty-handed that hand over.
    let there = observed(
        vec![deployment("a", 1, 0), deployment("b", 1, 0)],
        vec![unready(with_clients("p1")), unready(proxy("q1", "b"))],
    );
    assert_eq!(steps(&plan_proxies(&there, target("b", 1))), ["replicas 1"]);
}

#[test]
fn a_rollout_is_over_when_the_last_deployment_has_gone() {
    let there = observed(
        vec![deployment("a", 1, 1), deployment("b", 0, 0)],
        vec![active("p1", "a")],
    );
    let plan = plan_proxies(&there, target("a", 1));
    assert_eq!(steps(&plan), ["replicas 1", "delete prod-proxy-b"]);
    assert_eq!(plan.phase, RevisionPhase::Draining);
    let there = observed(vec![deployment("a", 1, 1)], vec![active("p1", "a"), proxy("q1", "b")]);
    assert_ne!(plan_proxies(&there, target("a", 1)).phase, RevisionPhase::Stable);
}
