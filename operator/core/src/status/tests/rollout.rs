//! What is said of a revision that is tried out.

use super::*;

/// A pace that lets one of the new revision serve.
fn held(phase: RevisionPhase, judged_with: &str) -> Pace {
    Pace {
        allowed: 1,
        may_take_over: false,
        phase,
        reason: "10.0 % of 100 connections came to nothing".to_owned(),
        since_s: Some(5),
        judged_with: judged_with.to_owned(),
        ..Pace::free()
    }
}

/// So many proxies that serve of revisions `r1` and `r2`.
fn both(old: usize, new: usize) -> Observed {
    let of = |revision: &'static str, count: usize| {
        (0..count).map(move |index| active(&format!("{revision}-{index}"), revision))
    };
    Observed {
        proxies: of("r1", old).chain(of("r2", new)).collect(),
        deployments: vec![deployment("r1", 2), deployment("r2", 2)],
        ..settled()
    }
}

fn status(observed: &Observed, pace: Pace, current: &str) -> MqttClusterStatus {
    let mut previous = MqttClusterStatus::default();
    previous.proxy.revision.current = current.to_owned();
    let given = Given {
        pace,
        previous: Some(&previous),
        ..Given::of("r2", observed)
    };
    given.status(json!({}))
}

#[test]
fn those_that_serve_are_counted_by_revision_and_the_watch_has_a_beginning() {
    let mut observed = both(3, 2);
    observed.proxies[0].pod.is_ready = false;
    observed.proxies[4].pod.is_deleting = true;
    let revision = status(&observed, held(RevisionPhase::Canary, ""), "r1").proxy.revision;
    assert_eq!((revision.active_new, revision.active_old), (1, 2));
    assert_eq!(revision.canary_since.map(|since| since.0.as_second()), Some(5));
    assert_eq!(revision.phase, RevisionPhase::Canary);
    let warming = status(&observed, held(RevisionPhase::Warming, ""), "r1").proxy.revision;
    assert_eq!(warming.canary_since, None);
}

#[test]
fn the_revision_that_served_stays_the_current_one_while_another_is_tried_out() {
    let observed = both(1, 2);
    let current = |phase, previous| status(&observed, held(phase, ""), previous).proxy.revision.current;
    for phase in [RevisionPhase::Canary, RevisionPhase::Paused] {
        assert_eq!(current(phase, "r1"), "r1");
        assert_eq!(current(phase, "gone"), "r2", "most are of it");
    }
    assert_eq!(current(RevisionPhase::Warming, "r1"), "r2");
    let more_of_the_old = both(3, 1);
    let canary = status(&more_of_the_old, held(RevisionPhase::Canary, ""), "r2");
    assert_eq!(canary.proxy.revision.current, "r1");
}

#[test]
fn a_revision_that_comes_up_names_the_one_that_serves_or_none() {
    let message = |observed: &Observed| {
        let status = status(observed, Pace::free(), "");
        let mut conditions = status.conditions.into_iter();
        conditions
            .find(|of| of.type_ == "Progressing")
            .expect("it is there")
            .message
    };
    assert_eq!(message(&both(2, 0)), "revision r2 comes up, r1 serves");
    assert_eq!(message(&both(0, 0)), "revision r2 comes up, none serves");
}

#[test]
fn a_pause_says_whether_somebody_asked_for_it_or_the_revision_does_worse() {
    let paused = |judged_with: &str| status(&both(2, 1), held(RevisionPhase::Paused, judged_with), "r1");
    let asked_for = paused("canary 30s, action Pause");
    assert_eq!(said(&asked_for, ConditionType::RolloutPaused), ("True", "AskedFor"));
    assert_eq!(said(&asked_for, ConditionType::Stalled), ("False", "Working"));
    let worse = paused("canary 30s");
    assert_eq!(said(&worse, ConditionType::RolloutPaused), ("True", "DoesWorse"));
    assert_eq!(said(&worse, ConditionType::Stalled), ("True", "RolloutPaused"));
    let goes_on = status(&both(2, 1), held(RevisionPhase::Canary, "canary 30s"), "r1");
    assert_eq!(said(&goes_on, ConditionType::RolloutPaused), ("False", "NotPaused"));
}

#[test]
fn a_rollout_that_is_held_is_as_asked_while_enough_serve() {
    let degraded = |old: usize| {
        let mut observed = both(old, 0);
        observed.storage_pods[0].pod.is_ready = false;
        let status = status(&observed, held(RevisionPhase::Paused, ""), "r1");
        said(&status, ConditionType::Degraded).1.to_owned()
    };
    assert_eq!(degraded(2), "AsAsked");
    assert_eq!(degraded(1), "StorageMissing");
}
