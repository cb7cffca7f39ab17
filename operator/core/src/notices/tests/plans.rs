//! What is told of plans: of what is asked for, of clients that move, and of conditions.

use super::*;
use crate::plan::{DRAINED_COST, Drain, DrainEnd, MovesPlan, Rebalanced};

#[test]
fn a_proxy_that_is_as_it_was_is_not_spoken_of_and_one_that_somebody_stops_is() {
    assert_eq!(told_of_proxy(serving("p"), &with_proxy(serving("p"))), []);
    let mut stopped = serving("p");
    stopped.pod.is_deleting = true;
    assert_eq!(
        told_of_proxy(serving("p"), &with_proxy(stopped.clone())),
        pair("ProxyLost", "proxy p was told to stop by somebody else")
    );
    let before = with_proxy(serving("p"));
    let former = Former {
        observed: Some(&before),
        status: None,
    };
    let notices = find_notices(former, &with_proxy(stopped), &MqttClusterStatus::default(), None);
    assert_eq!((notices[0].pod.as_deref(), notices[0].is_warning), (Some("p"), true));
}

/// A plan that does nothing.
fn plan() -> ProxyPlan {
    ProxyPlan {
        actions: Vec::new(),
        target_replicas: 2,
        target_replicas_were: Some(2),
        warm: 0,
        promotable: 0,
        phase: RevisionPhase::Stable,
        moves: NO_MOVES.clone(),
        pace: Pace::free(),
        on_cordoned: [].into(),
        cut_off: [].into(),
    }
}

fn told_of_plan(plan: &ProxyPlan, was: Option<u32>, phase: RevisionPhase) -> Vec<(String, String)> {
    let asked = |desired| {
        let mut status = MqttClusterStatus::default();
        (status.proxy.desired, status.proxy.revision.phase) = (desired, phase);
        status
    };
    let was = was.map(asked);
    let former = Former {
        observed: None,
        status: was.as_ref(),
    };
    let notices = find_notices(former, &Observed::default(), &asked(3), Some(plan));
    notices.into_iter().map(|notice| (notice.reason, notice.note)).collect()
}

#[test]
fn what_is_asked_for_is_told_of_a_new_cluster_and_when_it_changes() {
    let new = ProxyPlan {
        target_replicas_were: None,
        ..plan()
    };
    assert_eq!(
        told_of_plan(&new, None, RevisionPhase::Stable),
        pair("Created", "3 proxies")
    );
    assert_eq!(told_of_plan(&new, None, RevisionPhase::Warming), []);
    let stable = RevisionPhase::Stable;
    assert_eq!(
        told_of_plan(&plan(), Some(5), stable),
        pair("ScaledIn", "from 5 to 3 proxies")
    );
    assert_eq!(told_of_plan(&plan(), Some(3), stable), []);
    assert_eq!(told_of_plan(&plan(), None, stable), []);
}

/// The drain of proxy `p` as it is when it ends.
fn ended(end: DrainEnd, clients_left: Option<u64>) -> Drain {
    Drain {
        uid: "uid-p".to_owned(),
        pod: "p".to_owned(),
        revision: "r".to_owned(),
        started_ms: 1,
        clients_left,
        finishing: 0,
        at_risk: 0,
        per_second: 0,
        end: Some(end),
        is_told: false,
    }
}

/// What is told of a plan with this drain that gives its proxy a role.
fn told_of_drain(drain: Drain, role: Role, is_change: bool, deletion_cost: i32) -> Vec<(String, String)> {
    let plan = ProxyPlan {
        actions: vec![ProxyAction::SetRole {
            pod: "p".to_owned(),
            resource_version: String::new(),
            role,
            accepting: false,
            deletion_cost,
            is_change,
            config_hash: None,
            mark: None,
            ends_order: false,
        }],
        moves: MovesPlan {
            drains: vec![drain],
            ..MovesPlan::default()
        },
        ..plan()
    };
    told_of_plan(&plan, Some(3), RevisionPhase::Stable)
}

#[test]
fn the_end_of_a_drain_is_told_once_with_what_is_left_and_why() {
    let told = |end, left| told_of_drain(ended(end, left), Role::Draining, false, DRAINED_COST);
    for (end, left, note) in [
        (DrainEnd::Drained, Some(0), "proxy p has handed over all clients"),
        (
            DrainEnd::NoReceiver,
            Some(7),
            "proxy p is told to stop with 7 clients: nobody takes them",
        ),
        (
            DrainEnd::Deadline,
            Some(7),
            "proxy p is told to stop with 7 clients: drain.timeout is over",
        ),
        (
            DrainEnd::NoAnswer,
            None,
            "proxy p is told to stop with an unknown number of clients: it does not answer",
        ),
        (
            DrainEnd::KnowsNoOrders,
            Some(7),
            "proxy p is told to stop with 7 clients: it is of a release that hands over only when it is told to stop",
        ),
    ] {
        assert_eq!(told(end, left), pair("ProxyDrained", note));
    }
    let is_warning = |end| {
        let mut notices = Vec::new();
        let drains = vec![ended(end, Some(1))];
        let moves = MovesPlan {
            drains,
            ..MovesPlan::default()
        };
        let actions = vec![ProxyAction::SetRole {
            pod: "p".to_owned(),
            resource_version: String::new(),
            role: Role::Draining,
            accepting: false,
            deletion_cost: DRAINED_COST,
            is_change: false,
            config_hash: None,
            mark: None,
            ends_order: false,
        }];
        let plan = ProxyPlan {
            actions,
            moves,
            ..plan()
        };
        moves::moves(&mut notices, &plan);
        notices.iter().map(|notice| notice.is_warning).collect::<Vec<_>>()
    };
    assert_eq!(is_warning(DrainEnd::Deadline), [true]);
    assert_eq!(is_warning(DrainEnd::NoAnswer), [false]);
    // Not while it hands over, not when that was told, and with a word more for one that waits again.
    assert_eq!(
        told_of_drain(ended(DrainEnd::Drained, Some(0)), Role::Draining, false, 100),
        []
    );
    let is_told = Drain {
        is_told: true,
        ..ended(DrainEnd::Drained, Some(0))
    };
    assert_eq!(told_of_drain(is_told, Role::Draining, false, DRAINED_COST), []);
    let waits = told_of_drain(ended(DrainEnd::Drained, Some(0)), Role::Warm, true, 0);
    let reasons: Vec<&str> = waits.iter().map(|(reason, _)| reason.as_str()).collect();
    assert_eq!(reasons, ["ProxyDrained", "ProxyDemoted"]);
}

#[test]
fn a_rebalance_is_told_when_its_orders_are_written() {
    let order = ProxyAction::SetOrder {
        pod: "p".to_owned(),
        resource_version: String::new(),
        order: None,
        accepting: None,
    };
    let told = |begins, is_even: Option<bool>, actions: &[ProxyAction]| {
        let ends = is_even.map(|is_even| Rebalanced {
            at_ms: 1,
            proxies: 2,
            is_even,
        });
        let moves = MovesPlan {
            begins,
            ends,
            steered: ["a".to_owned(), "b".to_owned()].into(),
            ..MovesPlan::default()
        };
        let plan = ProxyPlan {
            actions: actions.to_vec(),
            moves,
            ..plan()
        };
        told_of_plan(&plan, Some(3), RevisionPhase::Stable)
    };
    let actions = [ProxyAction::ApplyTarget, order];
    assert_eq!(
        told(Some(1_500), None, &actions),
        pair(
            "RebalanceBegun",
            "about 1500 clients move to proxies with fewer; proxies that give some: 2"
        )
    );
    assert_eq!(
        told(None, Some(true), &actions),
        pair("RebalanceEnded", "the proxies have about as many clients as each other")
    );
    let [(_, note)] = &told(None, Some(false), &actions)[..] else {
        panic!("one")
    };
    assert!(note.starts_with("proxies came or went"), "{note}");
    assert_eq!(told(Some(1_500), Some(true), &actions[..1]), []);
}

#[test]
fn each_condition_is_told_by_itself_and_anew_when_its_reason_changes() {
    let told = |was: Option<&MqttClusterStatus>, is: &MqttClusterStatus| -> Vec<String> {
        let former = Former {
            observed: None,
            status: was,
        };
        let all = told(former, &Observed::default(), is);
        all.into_iter().map(|(reason, _)| reason).collect()
    };
    let both = status(&[
        ("Ready", "True", "AllServing"),
        ("Degraded", "True", "B"),
        ("Stalled", "True", "A"),
    ]);
    assert_eq!(told(None, &both), ["A", "B"]);
    assert_eq!(told(Some(&both), &both), Vec::<String>::new());
    let other = status(&[("Stalled", "True", "C"), ("Degraded", "True", "B")]);
    assert_eq!(told(Some(&both), &other), ["C"]);
    let without = status(&[("Stalled", "False", "Working"), ("Degraded", "True", "B")]);
    assert_eq!(told(Some(&both), &without), Vec::<String>::new());
}
