//! Proxies that have handed over and wait again, or do not.

use freshet_scaling::Pool;

use super::moves::{drain, moves, with_clients};
use super::*;
use crate::plan::{Drain, DrainEnd};

fn cpu(cpu_millis: u64) -> Requests {
    Requests {
        cpu_millis,
        memory_bytes: 0,
    }
}

/// One serves, one hands over, and the pool wants one.
fn one_leaves() -> Observed {
    observed(vec![deployment("a", 2, 2)], vec![active("p1", "a"), with_clients("p2")])
}

fn plan_with(there: &Observed, drains: &[Drain]) -> ProxyPlan {
    let moves = moves(drains);
    let target = ProxyTarget {
        moves: &moves,
        ..with_pool("a", 1, 1)
    };
    plan_proxies(there, target)
}

fn given_all() -> Drain {
    drain("p2", Some(DrainEnd::Drained))
}

#[test]
fn who_has_handed_over_waits_where_the_pool_is_short_and_nobody_is_started_for_its_place() {
    let plan = plan_with(&one_leaves(), &[drain("p2", None)]);
    assert_eq!(steps(&plan), ["replicas 2"], "it serves again at once if it is needed");
    let mut there = one_leaves();
    there.proxies[1].order = Some(MoveOrder::default());
    let plan = plan_with(&there, &[given_all()]);
    assert_eq!(steps(&plan), ["Warm p2", "replicas 2"]);
    let ProxyAction::SetRole {
        accepting,
        deletion_cost,
        ends_order,
        ..
    } = &plan.actions[0]
    else {
        panic!("a role")
    };
    assert_eq!((*accepting, *deletion_cost, *ends_order), (false, WARM_COST, true));
    let names = |drains: Vec<&Drain>| -> Vec<String> { drains.iter().map(|drain| drain.pod.clone()).collect() };
    assert_eq!(names(plan.demoted().collect()), ["p2"]);
    assert_eq!(names(plan.drained().collect()), ["p2"]);
}

#[test]
fn a_drain_that_ended_in_another_way_ends_with_its_pod() {
    for end in [
        DrainEnd::Deadline,
        DrainEnd::NoAnswer,
        DrainEnd::KnowsNoOrders,
        DrainEnd::NoReceiver,
    ] {
        let plan = plan_with(&one_leaves(), &[drain("p2", Some(end))]);
        assert_eq!(steps(&plan), ["Draining p2", "replicas 2"], "{end:?}");
        assert_eq!(plan.demoted().count(), 0);
        let mut told = one_leaves();
        told.proxies[1].deletion_cost = Some(DRAINED_COST);
        let plan = plan_with(&told, &[drain("p2", Some(end))]);
        assert_eq!(steps(&plan), ["replicas 1"], "{end:?}: then it goes");
        let gone = observed(vec![deployment("a", 1, 1)], vec![active("p1", "a")]);
        assert_eq!(steps(&plan_with(&gone, &[])), ["replicas 2"], "and another one comes");
    }
}

#[test]
fn nobody_waits_who_is_not_ready_or_lost_or_told_to_stop_or_on_a_node_that_takes_no_pods() {
    let closed = BTreeSet::from(["n1".to_owned()]);
    let plan = |change: fn(&mut ProxyPod)| {
        let mut there = one_leaves();
        there.proxies[1].pod.node = Some("n2".to_owned());
        change(&mut there.proxies[1]);
        let moves = moves(&[given_all()]);
        let target = ProxyTarget {
            moves: &moves,
            closed_nodes: &closed,
            ..with_pool("a", 1, 1)
        };
        steps(&plan_proxies(&there, target))
    };
    assert_eq!(plan(|_| {}), ["Warm p2", "replicas 2"]);
    assert_eq!(plan(|proxy| proxy.pod.is_ready = false), ["Draining p2", "replicas 2"]);
    assert_eq!(
        plan(|proxy| proxy.loss.fault = Some(Fault::Dead)),
        ["Draining p2", "replicas 2"]
    );
    assert_eq!(plan(|proxy| proxy.pod.is_deleting = true), ["replicas 2"]);
    assert_eq!(
        plan(|proxy| proxy.pod.node = Some("n1".to_owned())),
        ["Draining p2", "replicas 2"]
    );
}

#[test]
fn who_has_handed_over_goes_where_the_pool_is_full() {
    let full = |waiting: ProxyPod| {
        let proxies = vec![active("p1", "a"), with_clients("p2"), waiting];
        steps(&plan_with(
            &observed(vec![deployment("a", 3, 3)], proxies),
            &[given_all()],
        ))
    };
    assert_eq!(full(proxy("w1", "a")), ["Draining p2", "replicas 3"]);
    // One that only starts is of less use, and the ReplicaSet controller removes it first.
    let mut starting = proxy("w1", "a");
    starting.pod.is_ready = false;
    assert_eq!(full(starting.clone()), ["Warm p2", "replicas 2"]);
    // One that lost its place may have clients.
    starting.deletion_cost = Some(FORMER_COST);
    assert_eq!(full(starting), ["Draining p2", "replicas 3"]);
}

#[test]
fn of_several_only_as_many_wait_as_the_pool_wants() {
    let proxies = vec![active("p1", "a"), with_clients("p2"), with_clients("p3")];
    let there = observed(vec![deployment("a", 3, 3)], proxies);
    let both = [given_all(), drain("p3", Some(DrainEnd::Drained))];
    assert_eq!(
        steps(&plan_with(&there, &both)),
        ["Warm p2", "Draining p3", "replicas 3"]
    );
}

#[test]
fn who_was_told_to_go_waits_after_all_when_the_pool_is_made_larger_and_is_told_of_once() {
    let mut there = one_leaves();
    there.proxies[1].deletion_cost = Some(DRAINED_COST);
    let told = Drain {
        is_told: true,
        ..given_all()
    };
    let plan = plan_with(&there, &[told]);
    assert_eq!(steps(&plan), ["Warm p2", "replicas 2"]);
    assert_eq!((plan.drained().count(), plan.demoted().count()), (0, 1));
}

#[test]
fn an_old_revision_has_no_pool_to_go_back_to() {
    let there = observed(
        vec![deployment("a", 1, 1), deployment("b", 1, 1)],
        vec![with_clients("p2"), active("q1", "b")],
    );
    let moves = moves(&[given_all()]);
    let target = ProxyTarget {
        moves: &moves,
        ..with_pool("b", 1, 1)
    };
    let steps = steps(&plan_proxies(&there, target));
    assert_eq!(steps, ["replicas 2", "Draining p2", "zero prod-proxy-a"]);
}

#[test]
fn what_it_reserved_is_given_back_once_it_is_seen_to_wait() {
    let mut there = observed(vec![deployment("a", 2, 2)], vec![active("p1", "a"), proxy("p2", "a")]);
    there.deployments[0].birth_requests = cpu(50);
    there.proxies[0].requests = cpu(500);
    there.proxies[1].requests = cpu(500);
    there.proxies[1].deletion_cost = Some(WARM_COST);
    let plan = |there: &Observed| {
        let target = ProxyTarget {
            active_requests: cpu(500),
            ..with_pool("a", 1, 1)
        };
        plan_proxies(there, target)
    };
    assert_eq!(steps(&plan(&there)), ["resize p2", "replicas 2"]);
    let ProxyAction::Resize { to, .. } = &plan(&there).actions[0] else {
        panic!("a resize")
    };
    assert_eq!(*to, Reservation::OfBirth(cpu(50)));
    for change in [
        // It has what it was born with.
        (|there| there.proxies[1].requests = cpu(50)) as fn(&mut Observed),
        // It may have clients.
        |there| there.proxies[1].deletion_cost = Some(FORMER_COST),
        |there| there.proxies[1].pod.is_ready = false,
        // The pool reserves all from birth.
        |there| there.deployments[0].birth_requests = cpu(500),
    ] {
        let mut there = there.clone();
        change(&mut there);
        assert_eq!(steps(&plan(&there)), ["replicas 2"]);
    }
}

#[test]
fn one_that_waits_again_is_promoted_like_any_other() {
    let mut again = proxy("p2", "a");
    again.deletion_cost = Some(WARM_COST);
    let there = observed(vec![deployment("a", 2, 2)], vec![active("p1", "a"), again]);
    assert_eq!(
        steps(&plan_proxies(&there, with_pool("a", 2, 1))),
        ["Active p2", "replicas 3"]
    );
}

#[test]
fn a_victim_that_serves_again_loses_its_order_with_its_role() {
    let mut there = one_leaves();
    there.proxies[1].order = Some(MoveOrder::default());
    let moves = moves(&[drain("p2", None)]);
    let target = ProxyTarget {
        moves: &moves,
        ..with_pool("a", 2, 1)
    };
    let plan = plan_proxies(&there, target);
    assert_eq!(steps(&plan), ["Active p2", "replicas 3"]);
    assert!(matches!(plan.actions[0], ProxyAction::SetRole { ends_order: true, .. }));
}

#[test]
fn what_is_there_waits_on_until_something_is_decided() {
    let auto = Pool {
        min: 1,
        max: 5,
        is_auto: true,
    };
    let mut proxies: Vec<ProxyPod> = ["p1", "p2"].map(|name| active(name, "a")).to_vec();
    proxies.extend(["w1", "w2", "w3"].map(|name| proxy(name, "a")));
    proxies.extend([with_clients("d1"), proxy("old", "b")]);
    let there = observed(vec![deployment("a", 6, 6)], proxies);
    let warm = |pool, decided, replicas| find_warm(pool, decided, &there, "a", replicas);
    assert_eq!(warm(auto, None, 2), 3);
    assert_eq!(warm(auto, Some(4), 2), 4);
    assert_eq!((warm(auto, Some(9), 2), warm(auto, Some(0), 2)), (5, 1));
    assert_eq!(warm(auto, None, 9), 1);
    assert_eq!(warm(Pool::fixed(2), Some(4), 2), 2);
}
