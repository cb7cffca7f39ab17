//! Proxies from which storage cannot be reached: they hand over, others take their places, and who has it again may stay.

use super::moves::{drain, moves};
use super::*;
use crate::plan::DrainEnd;

fn cut_off(mut proxy: ProxyPod) -> ProxyPod {
    proxy.loss.fault = Some(Fault::CutOff);
    proxy.pod.is_ready = false;
    proxy
}

fn marked(mut proxy: ProxyPod) -> ProxyPod {
    proxy.loss.mark = Some(Fault::CutOff);
    proxy
}

#[test]
fn one_that_is_cut_off_hands_over_and_a_warm_one_takes_its_place() {
    let there = observed(
        vec![deployment("a", 3, 3)],
        vec![cut_off(active("p1", "a")), active("p2", "a"), proxy("p3", "a")],
    );
    let plan = plan_proxies(&there, with_pool("a", 2, 1));
    assert_eq!(steps(&plan), ["Draining p1", "Active p3", "replicas 3"]);
    assert!(matches!(
        plan.actions[0],
        ProxyAction::SetRole {
            accepting: false,
            mark: Some(Fault::CutOff),
            ..
        }
    ));
    let kept = keep_serving(&there, Some(2));
    assert_eq!(steps(&kept), ["Draining p1", "Active p3"]);
    assert_eq!([plan.cut_off, kept.cut_off], [(); 2].map(|()| ["p1".to_owned()].into()));
}

#[test]
fn one_that_is_cut_off_hands_over_where_nobody_waits_and_is_not_taken_back() {
    let there = observed(
        vec![deployment("a", 3, 3)],
        vec![cut_off(active("p1", "a")), active("p2", "a"), active("p3", "a")],
    );
    assert_eq!(
        steps(&plan_proxies(&there, target("a", 3))),
        ["Draining p1", "replicas 3"]
    );
    let later = observed(
        vec![deployment("a", 3, 3)],
        vec![
            marked(cut_off(draining("p1", "a"))),
            active("p2", "a"),
            active("p3", "a"),
        ],
    );
    let plan = plan_proxies(&later, target("a", 3));
    assert!(
        !steps(&plan).iter().any(|step| step == "Active p1"),
        "{:?}",
        steps(&plan)
    );
}

#[test]
fn one_that_has_storage_again_serves_where_it_is_needed_and_loses_its_mark() {
    let there = observed(
        vec![deployment("a", 2, 2)],
        vec![marked(draining("p1", "a")), active("p2", "a")],
    );
    let plan = plan_proxies(&there, target("a", 2));
    assert_eq!(steps(&plan), ["Active p1", "replicas 2"]);
    assert!(matches!(
        plan.actions[0],
        ProxyAction::SetRole {
            accepting: true,
            mark: None,
            ..
        }
    ));
}

#[test]
fn one_that_has_handed_over_and_is_still_cut_off_goes_and_does_not_wait() {
    let moves = moves(&[drain("p1", Some(DrainEnd::Drained))]);
    let there = observed(
        vec![deployment("a", 3, 3)],
        vec![
            marked(cut_off(draining("p1", "a"))),
            active("p2", "a"),
            active("p3", "a"),
        ],
    );
    let pool = ProxyTarget {
        moves: &moves,
        ..with_pool("a", 2, 1)
    };
    let plan = plan_proxies(&there, pool);
    assert_eq!((steps(&plan), plan.target_replicas), (vec!["replicas 2".to_owned()], 2));
}

#[test]
fn one_that_waits_and_is_cut_off_is_not_promoted() {
    let there = observed(
        vec![deployment("a", 2, 2)],
        vec![cut_off(proxy("p1", "a")), proxy("p2", "a")],
    );
    assert_eq!(
        steps(&plan_proxies(&there, with_pool("a", 1, 1))),
        ["Warm p1", "Active p2", "replicas 2"]
    );
}
