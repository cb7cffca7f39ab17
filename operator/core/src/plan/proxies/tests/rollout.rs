//! A revision that goes no further than its pace, and one that goes back.

use super::*;

fn held(allowed: u32) -> Pace {
    Pace {
        allowed,
        may_take_over: false,
        phase: RevisionPhase::Canary,
        ..Pace::free()
    }
}

/// Three of revision `a` serve, three of `b` are ready.
fn both() -> Observed {
    let mut proxies = ["p1", "p2", "p3"].map(|name| active(name, "a")).to_vec();
    proxies.extend(["q1", "q2", "q3"].map(|name| proxy(name, "b")));
    observed(vec![deployment("a", 3, 3), deployment("b", 3, 3)], proxies)
}

fn plan_at<'a>(observed: &Observed, revision: &'a str, pace: &'a Pace) -> ProxyPlan {
    plan_proxies(
        observed,
        ProxyTarget {
            pace,
            ..target(revision, 3)
        },
    )
}

#[test]
fn no_more_of_a_new_revision_serve_than_its_pace_allows() {
    let plan = plan_at(&both(), "b", &held(1));
    assert_eq!(steps(&plan), ["Active q1", "replicas 3"]);
    assert_eq!(plan.phase, RevisionPhase::Canary);
}

#[test]
fn who_serves_already_stays_when_the_pace_falls_and_nobody_hands_over() {
    let mut there = both();
    for proxy in there.proxies.iter_mut().filter(|proxy| proxy.revision == "b") {
        proxy.role = Some(Role::Active);
        proxy.is_accepting = true;
        proxy.deletion_cost = Some(ACTIVE_COST);
    }
    let plan = plan_at(&there, "b", &held(1));
    assert_eq!(steps(&plan), ["replicas 3"]);
    assert_eq!(plan.phase, RevisionPhase::Canary);
}

#[test]
fn a_rollback_hands_the_new_ones_over_and_leaves_the_others_where_they_are() {
    let mut there = both();
    there.proxies[3] = active("q1", "b");
    let back = Pace {
        is_rollback: true,
        ..Pace::free()
    };
    let plan = plan_at(&there, "a", &back);
    assert_eq!(steps(&plan), ["replicas 3", "Draining q1"]);
    assert_eq!(plan.phase, RevisionPhase::RollingBack);
}
