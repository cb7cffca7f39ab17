//! What clients on the move mean for roles and for the number of pods.

use super::*;
use crate::plan::{Drain, DrainEnd, OrderWrite};

pub(super) fn drain(name: &str, end: Option<DrainEnd>) -> Drain {
    Drain {
        uid: format!("uid-{name}"),
        pod: name.to_owned(),
        revision: "a".to_owned(),
        started_ms: 1,
        clients_left: Some(7),
        finishing: 0,
        at_risk: 0,
        per_second: 10,
        end,
        is_told: false,
    }
}

pub(super) fn with_clients(name: &str) -> ProxyPod {
    let mut proxy = draining(name, "a");
    proxy.deletion_cost = Some(DRAINING_COST);
    proxy
}

pub(super) fn moves(drains: &[Drain]) -> MovesPlan {
    MovesPlan {
        drains: drains.to_vec(),
        ..MovesPlan::default()
    }
}

#[test]
fn a_victim_keeps_its_pod_until_its_clients_have_gone() {
    let there = observed(
        vec![deployment("a", 4, 4)],
        vec![
            active("p1", "a"),
            active("p2", "a"),
            with_clients("p3"),
            with_clients("p4"),
        ],
    );
    let plan = |moves: &MovesPlan| {
        let target = ProxyTarget {
            moves,
            ..target("a", 2)
        };
        steps(&plan_proxies(&there, target))
    };
    let both = moves(&[drain("p3", None), drain("p4", None)]);
    assert_eq!(plan(&both), ["replicas 4"]);
    // First the cost that makes it the next to go; replicas follow when that was seen.
    let one = moves(&[drain("p3", Some(DrainEnd::Drained)), drain("p4", None)]);
    assert_eq!(plan(&one), ["Draining p3", "replicas 4"]);
    let mut there = there.clone();
    there.proxies[2].deletion_cost = Some(DRAINED_COST);
    let target = ProxyTarget {
        moves: &one,
        ..target("a", 2)
    };
    assert_eq!(steps(&plan_proxies(&there, target)), ["replicas 3"]);
}

#[test]
fn a_pool_is_refilled_beside_victims_that_hand_over_and_are_too_few_for_it() {
    let there = observed(vec![deployment("a", 2, 2)], vec![active("p1", "a"), with_clients("p2")]);
    let moves = moves(&[drain("p2", None)]);
    let target = ProxyTarget {
        moves: &moves,
        ..with_pool("a", 1, 2)
    };
    assert_eq!(steps(&plan_proxies(&there, target)), ["replicas 3"]);
}

#[test]
fn an_old_revision_keeps_its_pods_until_their_clients_have_gone() {
    let there = observed(
        vec![deployment("a", 1, 1), deployment("b", 1, 1)],
        vec![with_clients("p1"), active("q1", "b")],
    );
    let plan = |moves: &MovesPlan| {
        let target = ProxyTarget {
            moves,
            ..target("b", 1)
        };
        steps(&plan_proxies(&there, target))
    };
    assert_eq!(plan(&moves(&[drain("p1", None)])), ["replicas 1"]);
    assert_eq!(
        plan(&moves(&[drain("p1", Some(DrainEnd::Deadline))])),
        ["replicas 1", "Draining p1", "zero prod-proxy-a"]
    );
}

#[test]
fn a_proxy_that_is_steered_past_serves_and_gets_its_order_with_its_label() {
    let there = observed(vec![deployment("a", 2, 2)], vec![active("p1", "a"), active("p2", "a")]);
    let order = MoveOrder {
        keep: 5,
        ..MoveOrder::default()
    };
    let moves = MovesPlan {
        writes: vec![OrderWrite {
            uid: "uid-p1".to_owned(),
            pod: "p1".to_owned(),
            resource_version: "1".to_owned(),
            order: Some(order.clone()),
        }],
        steered: ["uid-p1".to_owned()].into(),
        ..MovesPlan::default()
    };
    let plan = plan_proxies(
        &there,
        ProxyTarget {
            moves: &moves,
            ..target("a", 2)
        },
    );
    assert_eq!(steps(&plan), ["replicas 2", "order p1"]);
    assert_eq!(
        plan.actions[1],
        ProxyAction::SetOrder {
            pod: "p1".to_owned(),
            resource_version: "1".to_owned(),
            order: Some(order),
            accepting: Some(false),
        }
    );
}

#[test]
fn a_proxy_that_changes_its_role_gets_its_order_with_the_next_plan() {
    let there = observed(vec![deployment("a", 1, 1)], vec![active("p1", "a")]);
    let moves = MovesPlan {
        writes: vec![OrderWrite {
            uid: "uid-p1".to_owned(),
            pod: "p1".to_owned(),
            resource_version: "1".to_owned(),
            order: Some(MoveOrder::default()),
        }],
        ..MovesPlan::default()
    };
    let plan = plan_proxies(
        &there,
        ProxyTarget {
            moves: &moves,
            ..target("a", 0)
        },
    );
    assert_eq!(steps(&plan), ["Draining p1", "replicas 1"]);
}

#[test]
fn a_revision_that_hands_over_does_not_serve_again_when_yet_another_is_asked_for() {
    let there = observed(
        vec![deployment("a", 1, 1), deployment("b", 1, 1)],
        vec![with_clients("p1"), active("q1", "b")],
    );
    let plan = |moves: &MovesPlan| {
        let target = ProxyTarget {
            moves,
            served_last: Some("b"),
            ..target("c", 1)
        };
        steps(&plan_proxies(&there, target))
    };
    assert_eq!(plan(&moves(&[drain("p1", None)])), ["replicas 1"]);
    assert_eq!(
        plan(&moves(&[drain("p1", Some(DrainEnd::Drained))])),
        ["replicas 1", "Draining p1", "zero prod-proxy-a"]
    );
}
