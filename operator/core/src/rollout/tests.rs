//! Single steps of a rollout. `plan/simulation.rs` runs whole courses.

use freshet_operator_api::RevisionStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::keep::Record;
use crate::loss::Loss;
use crate::observe::{PodFacts, ProxyDeployment, Role};
use crate::requests::Requests;

const NOW_S: i64 = 1_700_000_000;

/// A proxy that is ready, by its name, and active or not.
pub(crate) fn proxy(name: &str, revision: &str, is_active: bool) -> ProxyPod {
    ProxyPod {
        pod: PodFacts::ready(name),
        revision: revision.to_owned(),
        role: Some(if is_active { Role::Active } else { Role::Warm }),
        is_accepting: is_active,
        deletion_cost: None,
        requests: Requests::default(),
        resize: None,
        order: None,
        loss: Loss::default(),
    }
}

fn fleet(old: usize, new: usize) -> Observed {
    let old = (0..old).map(|index| proxy(&format!("a{index}"), "a", true));
    let new = (0..new).map(|index| proxy(&format!("b{index}"), "b", true));
    Observed {
        proxies: old.chain(new).collect(),
        ..Observed::default()
    }
}

fn status(phase: RevisionPhase) -> RevisionStatus {
    RevisionStatus {
        current: "a".to_owned(),
        target: "b".to_owned(),
        phase,
        ..RevisionStatus::default()
    }
}

/// Watched for so many seconds.
fn canary(for_s: i64) -> RevisionStatus {
    RevisionStatus {
        canary_since: Timestamp::from_second(NOW_S - for_s).ok().map(Time),
        ..status(RevisionPhase::Canary)
    }
}

fn pace_of(settings: &RolloutSettings, observed: &Observed, previous: &RevisionStatus, judgement: &Judgement) -> Pace {
    next_pace(&PaceInput {
        settings,
        target: "b",
        is_rollback: false,
        replicas: 8,
        observed,
        previous: Some(previous),
        judgement,
        now_s: NOW_S,
    })
}

fn pace(observed: &Observed, previous: &RevisionStatus, judgement: &Judgement) -> Pace {
    pace_of(&RolloutSettings::default(), observed, previous, judgement)
}

fn worse() -> Judgement {
    Judgement::Worse("10.0 % of 100 connections".to_owned())
}

#[test]
fn the_first_proxies_take_no_more_than_a_waves_share() {
    let pace = pace(&fleet(8, 0), &status(RevisionPhase::Warming), &Judgement::NotEnoughData);
    // Two beside eight have a fifth of the new connections, three would have more than a quarter.
    assert_eq!(
        (pace.allowed, pace.may_take_over, pace.phase),
        (2, false, RevisionPhase::Warming)
    );
}

#[test]
fn a_cluster_without_others_that_serve_waits_for_nothing() {
    for previous in [RevisionPhase::Stable, RevisionPhase::Canary, RevisionPhase::Paused] {
        assert_eq!(pace(&fleet(0, 3), &status(previous), &worse()), Pace::free());
    }
}

#[test]
fn the_canary_is_watched_for_its_time_and_then_the_next_wave_follows() {
    let begun = pace(&fleet(8, 2), &status(RevisionPhase::Warming), &Judgement::AsGood);
    assert_eq!(
        (begun.allowed, begun.phase, begun.since_s),
        (2, RevisionPhase::Canary, Some(NOW_S))
    );
    let watched = pace(&fleet(8, 2), &canary(29), &Judgement::AsGood);
    assert_eq!((watched.allowed, watched.may_take_over), (2, false));
    assert_eq!(watched.since_s, Some(NOW_S - 29));
    let over = pace(&fleet(8, 2), &canary(30), &Judgement::AsGood);
    assert_eq!((over.allowed, over.may_take_over), (4, true));
    let last = pace(&fleet(8, 7), &canary(33), &Judgement::AsGood);
    assert_eq!((last.allowed, last.may_take_over), (8, true));
}

#[test]
fn too_little_to_judge_by_is_waited_for_twice_as_long_and_no_longer() {
    assert!(!pace(&fleet(8, 2), &canary(59), &Judgement::NotEnoughData).may_take_over);
    assert!(pace(&fleet(8, 2), &canary(60), &Judgement::NotEnoughData).may_take_over);
}

#[test]
fn a_worse_revision_pauses_in_any_wave_and_stays_so_though_the_figures_change() {
    for (new, since) in [(2, 0), (2, 30), (8, 35)] {
        let paused = pace(&fleet(8, new), &canary(since), &worse());
        let allowed = u32::try_from(new).expect("few");
        assert_eq!((paused.allowed, paused.may_take_over), (allowed, false));
        assert_eq!(
            (paused.phase, paused.reason.as_str()),
            (RevisionPhase::Paused, "10.0 % of 100 connections")
        );
        let stored = RevisionStatus {
            reason: paused.reason.clone(),
            judged_with: paused.judged_with.clone(),
            ..status(RevisionPhase::Paused)
        };
        assert_eq!(pace(&fleet(8, new), &stored, &Judgement::AsGood), paused);
    }
}

#[test]
fn other_settings_have_a_paused_revision_judged_anew() {
    let stored = RevisionStatus {
        reason: "10.0 % of 100 connections".to_owned(),
        judged_with: RolloutSettings::default().to_string(),
        ..status(RevisionPhase::Paused)
    };
    let settings = RolloutSettings {
        connect_failure_percent: 50,
        ..RolloutSettings::default()
    };
    let again = pace_of(&settings, &fleet(8, 2), &stored, &Judgement::AsGood);
    assert_eq!(
        (again.phase, again.since_s, again.allowed),
        (RevisionPhase::Canary, Some(NOW_S), 2)
    );
}

#[test]
fn a_person_pauses_and_lets_it_go_on() {
    let asked = RolloutSettings {
        action: RolloutAction::Pause,
        ..RolloutSettings::default()
    };
    let paused = pace_of(&asked, &fleet(8, 2), &canary(10), &Judgement::AsGood);
    assert_eq!(
        (paused.phase, paused.allowed, paused.may_take_over),
        (RevisionPhase::Paused, 2, false)
    );
    let stored = RevisionStatus {
        reason: paused.reason,
        judged_with: paused.judged_with,
        ..status(RevisionPhase::Paused)
    };
    let goes_on = pace(&fleet(8, 2), &stored, &Judgement::AsGood);
    assert_eq!((goes_on.phase, goes_on.reason.as_str()), (RevisionPhase::Canary, ""));
}

#[test]
fn what_the_others_do_not_cover_serves_unless_it_does_worse() {
    let asked = RolloutSettings {
        action: RolloutAction::Pause,
        ..RolloutSettings::default()
    };
    let paused = pace_of(&asked, &fleet(3, 1), &canary(10), &Judgement::AsGood);
    assert_eq!((paused.allowed, paused.may_take_over), (5, false));
    assert_eq!(pace(&fleet(3, 1), &canary(10), &Judgement::NotEnoughData).allowed, 5);
    assert_eq!(pace(&fleet(3, 1), &canary(10), &worse()).allowed, 1);
}

#[test]
fn nothing_stops_a_hand_over_that_has_begun() {
    let asked = RolloutSettings {
        action: RolloutAction::Pause,
        ..RolloutSettings::default()
    };
    let pace = pace_of(&asked, &fleet(3, 8), &status(RevisionPhase::Draining), &worse());
    assert_eq!(pace, Pace::free());
}

#[test]
fn without_a_canary_the_whole_revision_follows_at_once() {
    let settings = RolloutSettings {
        canary: Duration::ZERO,
        ..RolloutSettings::default()
    };
    let pace = pace_of(&settings, &fleet(8, 0), &status(RevisionPhase::Warming), &worse());
    assert_eq!(pace, Pace::free());
}

fn deployment(revision: &str, replicas: u32) -> ProxyDeployment {
    ProxyDeployment {
        name: revision.to_owned(),
        uid: revision.to_owned(),
        resource_version: "1".to_owned(),
        revision: revision.to_owned(),
        record: Record::default(),
        created_s: 0,
        replicas,
        available: replicas,
        pods: replicas,
        birth_requests: Requests::default(),
        is_deleting: false,
        trouble: None,
    }
}

#[test]
fn a_rollback_goes_for_the_revision_that_served_as_long_as_it_is_there() {
    let turned = |action: RolloutAction, served_last: Option<&str>, replicas: u32| {
        let mut keep = Keep {
            proxy_revision: "b".to_owned(),
            keeps_proxies: false,
            keeps_storage: false,
            newer: None,
        };
        let observed = Observed {
            deployments: vec![deployment("a", replicas), deployment("b", 3)],
            ..Observed::default()
        };
        let settings = RolloutSettings {
            action,
            ..RolloutSettings::default()
        };
        let turned = roll_back(&mut keep, &settings, &observed, served_last);
        assert_eq!(turned, keep.keeps_proxies);
        (turned, keep.proxy_revision)
    };
    let back = (true, "a".to_owned());
    let stays = (false, "b".to_owned());
    assert_eq!(turned(RolloutAction::Rollback, Some("a"), 3), back);
    assert_eq!(turned(RolloutAction::Continue, Some("a"), 3), stays);
    assert_eq!(
        turned(RolloutAction::Rollback, Some("b"), 3),
        stays,
        "the new one serves already"
    );
    assert_eq!(turned(RolloutAction::Rollback, None, 3), stays);
    assert_eq!(
        turned(RolloutAction::Rollback, Some("a"), 0),
        stays,
        "what it needs is gone"
    );
    assert_eq!(turned(RolloutAction::Rollback, Some("c"), 3), stays);
}

#[test]
fn what_hands_over_already_is_not_rolled_back_while_its_clients_go() {
    let turned = |roles: [Role; 2]| {
        let mut keep = Keep {
            proxy_revision: "b".to_owned(),
            keeps_proxies: false,
            keeps_storage: false,
            newer: None,
        };
        let mut observed = fleet(2, 2);
        for (proxy, role) in observed.proxies.iter_mut().zip(roles) {
            proxy.role = Some(role);
            proxy.is_accepting = role == Role::Active;
        }
        // It keeps its pods until their clients have gone.
        observed.deployments = vec![deployment("a", 2), deployment("b", 2)];
        let settings = RolloutSettings {
            action: RolloutAction::Rollback,
            ..RolloutSettings::default()
        };
        roll_back(&mut keep, &settings, &observed, Some("a"))
    };
    assert!(!turned([Role::Draining, Role::Draining]));
    assert!(
        turned([Role::Active, Role::Draining]),
        "one of them is the victim of a scale-in"
    );
}

#[test]
fn a_rollback_goes_ahead_at_once_and_says_that_it_is_one() {
    let pace = next_pace(&PaceInput {
        settings: &RolloutSettings::default(),
        target: "b",
        is_rollback: true,
        replicas: 8,
        observed: &fleet(8, 2),
        previous: Some(&canary(1)),
        judgement: &worse(),
        now_s: NOW_S,
    });
    let is_rollback = true;
    assert_eq!(
        pace,
        Pace {
            is_rollback,
            ..Pace::free()
        }
    );
}
