//! Single plans with proxies that wait.

use super::*;

fn unready(mut proxy: ProxyPod) -> ProxyPod {
    proxy.pod.is_ready = false;
    proxy
}

fn on(node: &str, mut proxy: ProxyPod) -> ProxyPod {
    proxy.pod.node = Some(node.to_owned());
    proxy
}

fn two_and_one() -> Observed {
    let proxies = vec![active("p1", "a"), active("p2", "a"), proxy("w1", "a")];
    observed(vec![deployment("a", 3, 3)], proxies)
}

#[test]
fn a_new_cluster_gets_its_deployment_with_the_pool() {
    let plan = plan_proxies(&Observed::default(), with_pool("a", 2, 1));
    assert_eq!(steps(&plan), ["replicas 3"]);
}

#[test]
fn as_many_become_active_as_are_asked_for_and_the_rest_waits() {
    let there = observed(
        vec![deployment("a", 3, 3)],
        ["p1", "p2", "p3"].map(|name| proxy(name, "a")).to_vec(),
    );
    let plan = plan_proxies(&there, with_pool("a", 2, 1));
    assert_eq!(steps(&plan), ["Active p1", "Active p2", "replicas 3"]);
    assert_eq!(
        steps(&plan_proxies(&two_and_one(), with_pool("a", 2, 1))),
        ["replicas 3"]
    );
}

#[test]
fn a_lost_proxy_is_replaced_by_one_that_waits_in_the_same_plan() {
    let mut deleted = two_and_one();
    deleted.proxies[0].pod.is_deleting = true;
    assert_eq!(
        steps(&plan_proxies(&deleted, with_pool("a", 2, 1))),
        ["Active w1", "replicas 3"]
    );
    let mut gone = two_and_one();
    gone.proxies.remove(0);
    assert_eq!(
        steps(&plan_proxies(&gone, with_pool("a", 2, 1))),
        ["Active w1", "replicas 3"]
    );
}

#[test]
fn one_that_is_not_ready_gives_its_place_away_and_waits_with_the_clients_it_may_have() {
    let mut there = two_and_one();
    there.proxies[0].pod.is_ready = false;
    let plan = plan_proxies(&there, with_pool("a", 2, 1));
    assert_eq!(steps(&plan), ["Warm p1", "Active w1", "replicas 3"]);
    let ProxyAction::SetRole { deletion_cost, .. } = &plan.actions[0] else {
        panic!("a role")
    };
    assert_eq!(*deletion_cost, FORMER_COST, "others that wait go before it");
    // Nobody can take its place: it keeps it.
    there.proxies[2].pod.is_ready = false;
    assert_eq!(steps(&plan_proxies(&there, with_pool("a", 2, 1))), ["replicas 3"]);
}

#[test]
fn scale_out_promotes_at_once_and_refills_beside_it() {
    let plan = plan_proxies(&two_and_one(), with_pool("a", 3, 1));
    assert_eq!(steps(&plan), ["Active w1", "replicas 4"]);
}

#[test]
fn what_is_missing_to_serve_is_started_at_once_and_the_pool_a_quarter_at_a_time() {
    let steps_at = |proxies: Vec<ProxyPod>, held| {
        let there = observed(vec![deployment("a", held, 0)], proxies);
        plan_proxies(&there, with_pool("a", 8, 8)).target_replicas
    };
    assert_eq!(steps_at(vec![active("p1", "a"), active("p2", "a")], 2), 8);
    let all: Vec<ProxyPod> = (0..8).map(|n| active(&format!("p{n}"), "a")).collect();
    assert_eq!(steps_at(all.clone(), 8), 10);
    let starting = [unready(proxy("w1", "a")), unready(proxy("w2", "a"))];
    assert_eq!(steps_at([all.clone(), starting.to_vec()].concat(), 10), 10);
    let one_is_there = [proxy("w1", "a"), unready(proxy("w2", "a"))];
    assert_eq!(steps_at([all, one_is_there.to_vec()].concat(), 10), 11);
}

#[test]
fn scale_in_removes_its_victims_and_leaves_the_pool() {
    let four = |role: fn(&str, &str) -> ProxyPod| {
        let proxies = vec![
            active("p1", "a"),
            active("p2", "a"),
            role("p3", "a"),
            role("p4", "a"),
            proxy("w1", "a"),
        ];
        observed(vec![deployment("a", 5, 5)], proxies)
    };
    let first = plan_proxies(&four(active), with_pool("a", 2, 1));
    assert_eq!(steps(&first), ["Draining p3", "Draining p4", "replicas 5"]);
    let costs: Vec<i32> = first
        .actions
        .iter()
        .filter_map(|action| match action {
            ProxyAction::SetRole { deletion_cost, .. } => Some(*deletion_cost),
            _ => None,
        })
        .collect();
    // They have their clients yet; once they have not, they go before those that wait.
    assert_eq!(costs, [DRAINING_COST; 2]);
    assert_eq!(
        steps(&plan_proxies(&four(draining), with_pool("a", 2, 1))),
        ["replicas 3"]
    );
}

#[test]
fn a_victim_goes_though_the_pool_cannot_be_refilled() {
    let stuck = unready(proxy("w1", "a"));
    let there = observed(
        vec![deployment("a", 3, 2)],
        vec![active("p1", "a"), draining("p2", "a"), stuck.clone()],
    );
    assert_eq!(steps(&plan_proxies(&there, with_pool("a", 1, 1))), ["replicas 2"]);
    // The ReplicaSet controller takes what is not ready first; so it is asked for one less.
    let there = observed(
        vec![deployment("a", 2, 2)],
        vec![active("p1", "a"), draining("p2", "a")],
    );
    assert_eq!(steps(&plan_proxies(&there, with_pool("a", 1, 1))), ["replicas 1"]);
    let there = observed(vec![deployment("a", 1, 1)], vec![active("p1", "a")]);
    assert_eq!(steps(&plan_proxies(&there, with_pool("a", 1, 1))), ["replicas 2"]);
}

#[test]
fn a_smaller_pool_is_lowered_at_once_and_touches_nobody() {
    assert_eq!(
        steps(&plan_proxies(&two_and_one(), with_pool("a", 2, 0))),
        ["replicas 2"]
    );
}

#[test]
fn a_smaller_pool_waits_until_nobody_who_may_have_clients_would_be_taken_for_it() {
    let mut there = two_and_one();
    there.proxies[0].pod.is_ready = false;
    let plan = plan_proxies(&there, with_pool("a", 2, 0));
    assert_eq!(steps(&plan), ["Draining p1", "Active w1", "replicas 3"]);
}

#[test]
fn a_cluster_without_active_proxies_keeps_its_pool_and_comes_back_from_it() {
    let there = observed(vec![deployment("a", 1, 1)], vec![proxy("w1", "a")]);
    assert_eq!(steps(&plan_proxies(&there, with_pool("a", 0, 1))), ["replicas 1"]);
    assert_eq!(
        steps(&plan_proxies(&there, with_pool("a", 1, 1))),
        ["Active w1", "replicas 2"]
    );
}

#[test]
fn the_node_with_fewest_active_ones_is_promoted_on_first() {
    let proxies = vec![
        on("n1", active("p1", "a")),
        on("n1", proxy("w1", "a")),
        on("n2", proxy("w2", "a")),
    ];
    let there = observed(vec![deployment("a", 3, 3)], proxies);
    assert_eq!(
        steps(&plan_proxies(&there, with_pool("a", 2, 1))),
        ["Active w2", "replicas 3"]
    );
}

#[test]
fn what_is_reserved_follows_the_label_and_never_comes_before_it() {
    let mut asked = with_pool("a", 2, 1);
    asked.active_requests.cpu_millis = 500;
    let waiting = observed(vec![deployment("a", 1, 1)], vec![proxy("w1", "a")]);
    assert!(!steps(&plan_proxies(&waiting, asked)).contains(&"resize w1".to_owned()));
    let mut there = two_and_one();
    there.proxies[1].requests.cpu_millis = 500;
    assert_eq!(steps(&plan_proxies(&there, asked)), ["resize p1", "replicas 3"]);
}

#[test]
fn a_pod_without_a_role_is_named_when_it_is_ready() {
    let mut there = two_and_one();
    there.proxies[2].role = None;
    assert_eq!(
        steps(&plan_proxies(&there, with_pool("a", 2, 1))),
        ["Warm w1", "replicas 3"]
    );
    there.proxies[2].pod.is_ready = false;
    assert_eq!(steps(&plan_proxies(&there, with_pool("a", 2, 1))), ["replicas 3"]);
}

#[test]
fn a_new_revision_takes_over_without_its_pool_and_that_of_the_old_one_goes_with_it() {
    let old = |role: fn(&str, &str) -> ProxyPod| vec![role("p1", "a"), proxy("w1", "a")];
    let new = vec![active("q1", "b"), unready(proxy("v1", "b"))];
    let there = |role| {
        let proxies = [old(role), new.clone()].concat();
        observed(vec![deployment("a", 2, 2), deployment("b", 2, 1)], proxies)
    };
    let plan = plan_proxies(&there(active), with_pool("b", 1, 1));
    assert_eq!(steps(&plan), ["replicas 2", "Draining p1"]);
    let plan = plan_proxies(&there(draining), with_pool("b", 1, 1));
    assert_eq!(steps(&plan), ["replicas 2", "zero prod-proxy-a"]);
}

#[test]
fn the_old_revision_replaces_what_it_loses_and_no_more() {
    let proxies = vec![active("p1", "a"), proxy("w1", "a"), unready(proxy("q1", "b"))];
    let mut there = observed(vec![deployment("a", 2, 2), deployment("b", 2, 0)], proxies);
    assert_eq!(steps(&plan_proxies(&there, with_pool("b", 1, 1))), ["replicas 2"]);
    there.proxies.remove(0);
    assert_eq!(
        steps(&plan_proxies(&there, with_pool("b", 1, 1))),
        ["replicas 2", "Active w1"]
    );
}

#[test]
fn a_revision_whose_pods_only_ever_came_up_is_given_up() {
    let proxies = vec![active("p1", "a"), unready(proxy("q1", "bad"))];
    let there = observed(vec![deployment("a", 1, 1), deployment("bad", 2, 0)], proxies);
    let steps = steps(&plan_proxies(&there, with_pool("a", 1, 0)));
    assert_eq!(steps, ["replicas 1", "zero prod-proxy-bad"]);
}

#[test]
fn labels_set_by_hand_on_all_proxies_end_with_as_many_as_are_asked_for() {
    let there = observed(
        vec![deployment("a", 3, 3)],
        ["p1", "p2", "p3"].map(|name| active(name, "a")).to_vec(),
    );
    assert_eq!(
        steps(&plan_proxies(&there, with_pool("a", 2, 1))),
        ["Draining p3", "replicas 3"]
    );
}

#[test]
fn a_node_with_room_for_what_is_reserved_comes_before_an_empty_one_without() {
    let requests = |cpu_millis| Requests {
        cpu_millis,
        memory_bytes: 0,
    };
    let rooms = |pairs: &[(&str, u64)]| -> Rooms {
        pairs
            .iter()
            .map(|&(node, free)| (node.to_owned(), requests(free)))
            .collect()
    };
    let proxies = vec![
        on("n1", active("p1", "a")),
        on("n1", proxy("w1", "a")),
        on("n2", proxy("w2", "a")),
    ];
    let mut there = observed(vec![deployment("a", 3, 3)], proxies);
    there.proxies[0].requests = requests(500);
    let plan = |rooms: &Rooms, replicas| {
        let target = ProxyTarget {
            active_requests: requests(500),
            rooms,
            ..with_pool("a", replicas, 1)
        };
        let plan = plan_proxies(&there, target);
        (steps(&plan), plan.promotable)
    };
    let settled = vec!["Active w1".to_owned(), "replicas 3".to_owned()];
    assert_eq!(plan(&rooms(&[("n1", 500), ("n2", 499)]), 2), (settled, 1));
    let spread = vec!["Active w2".to_owned(), "replicas 3".to_owned()];
    assert_eq!(plan(&rooms(&[("n1", 500), ("n2", 500)]), 2), (spread.clone(), 2));
    assert_eq!(
        plan(&rooms(&[("n1", 499)]), 2),
        (spread.clone(), 0),
        "unknown comes before full"
    );
    assert_eq!(plan(&rooms(&[]), 2), (spread, 0));
}

#[test]
fn room_for_one_is_not_room_for_two() {
    let mut waiting = vec![
        on("n1", proxy("w1", "a")),
        on("n1", proxy("w2", "a")),
        on("n2", proxy("w3", "a")),
    ];
    for proxy in &mut waiting {
        proxy.requests.cpu_millis = 100;
    }
    let there = observed(vec![deployment("a", 3, 3)], waiting);
    let free = Requests {
        cpu_millis: 450,
        memory_bytes: 0,
    };
    let rooms = Rooms::from([("n1".to_owned(), free), ("n2".to_owned(), free)]);
    let target = ProxyTarget {
        active_requests: Requests {
            cpu_millis: 500,
            memory_bytes: 0,
        },
        rooms: &rooms,
        ..with_pool("a", 2, 1)
    };
    let plan = plan_proxies(&there, target);
    assert_eq!(
        (steps(&plan), plan.promotable),
        (
            vec!["Active w1".to_owned(), "Active w3".to_owned(), "replicas 3".to_owned()],
            2
        )
    );
}
