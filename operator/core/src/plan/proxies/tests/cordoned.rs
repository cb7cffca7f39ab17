//! Proxies on nodes that are cordoned.

use super::*;
use crate::build::min_available;

fn on(node: &str, mut proxy: ProxyPod) -> ProxyPod {
    proxy.pod.node = Some(node.to_owned());
    proxy
}

/// Two of four serve on a node that is cordoned, and those in `waiting` wait elsewhere.
fn two_of_four(waiting: &[&str]) -> Observed {
    let mut proxies = vec![
        on("n1", active("p1", "a")),
        on("n1", active("p2", "a")),
        on("n2", active("p3", "a")),
        on("n2", active("p4", "a")),
        on("n1", proxy("p5", "a")),
    ];
    proxies.extend(waiting.iter().map(|name| on("n2", proxy(name, "a"))));
    let pods = u32::try_from(proxies.len()).expect("few");
    observed(vec![deployment("a", pods, pods)], proxies)
}

fn plan(there: &Observed, warm: u32) -> ProxyPlan {
    let cordoned = BTreeSet::from(["n1".to_owned()]);
    let target = ProxyTarget {
        closed_nodes: &cordoned,
        cordoned_nodes: &cordoned,
        ..with_pool("a", 4, warm)
    };
    plan_proxies(there, target)
}

#[test]
fn they_leave_together_after_those_that_take_their_places() {
    let plan = plan(&two_of_four(&["p6", "p7"]), 3);
    assert_eq!(
        steps(&plan),
        ["Active p6", "Active p7", "Draining p1", "Draining p2", "replicas 7"]
    );
}

#[test]
fn while_too_few_wait_elsewhere_all_stay_and_others_are_started() {
    // What waits on the node itself takes nobody's place.
    assert_eq!(steps(&plan(&two_of_four(&[]), 1)), ["replicas 7"]);
    assert_eq!(steps(&plan(&two_of_four(&["p6"]), 2)), ["Active p6", "replicas 7"]);
    assert_eq!(
        steps(&plan(&two_of_four(&[]), 0)),
        ["replicas 7"],
        "without a pool, too"
    );
}

#[test]
fn none_of_them_can_be_evicted_before_they_leave() {
    let budget = |waiting: &[&str]| {
        let mut there = two_of_four(waiting);
        there.min_available = Some(4);
        min_available(&there, &plan(&there, 2), 4, true)
    };
    assert_eq!(budget(&[]), 4);
    assert_eq!(budget(&["p6"]), 5, "one more serves, and waits for another one");
    assert_eq!(budget(&["p6", "p7"]), 4, "they leave");
}

#[test]
fn who_has_left_is_not_taken_back_while_another_one_waits() {
    let mut there = two_of_four(&["p6"]);
    for victim in &mut there.proxies[..2] {
        *victim = on("n1", draining(&victim.pod.name, "a"));
    }
    there.proxies.push(on("n2", active("p8", "a")));
    let steps = steps(&plan(&there, 0));
    assert!(steps.contains(&"Active p6".to_owned()), "{steps:?}");
    assert!(
        !steps.iter().any(|step| step.ends_with("p1") || step.ends_with("p2")),
        "{steps:?}"
    );
}

#[test]
fn where_all_nodes_are_cordoned_as_many_serve_as_are_asked_for() {
    let mut there = two_of_four(&[]);
    for proxy in &mut there.proxies {
        proxy.pod.node = Some("n1".to_owned());
    }
    let cordoned = BTreeSet::from(["n1".to_owned()]);
    let plan = |replicas| {
        let target = ProxyTarget {
            closed_nodes: &cordoned,
            cordoned_nodes: &cordoned,
            ..with_pool("a", replicas, 1)
        };
        steps(&plan_proxies(&there, target))
    };
    assert_eq!(plan(4), ["replicas 9"], "a node that comes is used");
    assert_eq!(plan(3)[0], "Draining p4");
}
