//! What is told, and what is not told twice.

use freshet_operator_api::{DecisionStatus, ScalingMode, ScalingStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::loss::Fault;
use crate::observe::{PodFacts, StoragePod, StorageSet};
use crate::plan::NO_MOVES;
use crate::rollout::Pace;

mod plans;

fn pod(name: &str) -> PodFacts {
    PodFacts {
        uid: format!("uid-{name}"),
        ..PodFacts::ready(name)
    }
}

fn serving(name: &str) -> ProxyPod {
    ProxyPod {
        pod: pod(name),
        ..ProxyPod::serving(name, "r")
    }
}

fn with_proxy(proxy: ProxyPod) -> Observed {
    Observed {
        proxies: vec![proxy],
        ..Observed::default()
    }
}

fn told(former: Former<'_>, observed: &Observed, status: &MqttClusterStatus) -> Vec<(String, String)> {
    let notices = find_notices(former, observed, status, None);
    notices.into_iter().map(|notice| (notice.reason, notice.note)).collect()
}

fn told_of_proxy(was: ProxyPod, is: &Observed) -> Vec<(String, String)> {
    let before = with_proxy(was);
    told(
        Former {
            observed: Some(&before),
            status: None,
        },
        is,
        &MqttClusterStatus::default(),
    )
}

fn pair(reason: &str, note: &str) -> Vec<(String, String)> {
    vec![(reason.to_owned(), note.to_owned())]
}

#[test]
fn a_killed_proxy_is_lost_once_with_how_it_ended_and_then_back() {
    let mut dead = serving("p");
    dead.pod.is_ready = false;
    dead.pod.last_end = Some("exit code 137 (Error)".to_owned());
    assert_eq!(
        told_of_proxy(serving("p"), &with_proxy(dead.clone())),
        pair("ProxyLost", "proxy p ended: exit code 137 (Error)")
    );
    let mut again = dead.clone();
    again.pod.restarts = 1;
    assert_eq!(told_of_proxy(dead, &with_proxy(again.clone())), []);
    let mut back = again.clone();
    back.pod.is_ready = true;
    assert_eq!(
        told_of_proxy(again, &with_proxy(back)),
        pair("ProxyBack", "proxy p takes connections again")
    );
}

#[test]
fn a_proxy_that_started_again_between_two_looks_is_lost_too() {
    let mut again = serving("p");
    again.pod.restarts = 1;
    again.pod.last_end = Some("exit code 139 (Error)".to_owned());
    let lost = told_of_proxy(serving("p"), &with_proxy(again));
    assert_eq!(lost, pair("ProxyLost", "proxy p started again: exit code 139 (Error)"));
}

#[test]
fn a_proxy_whose_pod_is_gone_is_lost_and_one_that_hands_over_is_not() {
    assert_eq!(
        told_of_proxy(serving("p"), &Observed::default()),
        pair("ProxyLost", "proxy p is gone")
    );
    let mut draining = serving("p");
    draining.role = Some(Role::Draining);
    draining.pod.is_deleting = true;
    assert_eq!(told_of_proxy(serving("p"), &with_proxy(draining)), []);
}

#[test]
fn a_proxy_that_both_witnesses_say_is_dead_is_told_of_once() {
    let mut lost = serving("p");
    lost.loss.fault = Some(Fault::Dead);
    lost.pod.is_ready = false;
    let note = "proxy p does not answer, and its lease at storage has run out";
    assert_eq!(
        told_of_proxy(serving("p"), &with_proxy(lost.clone())),
        pair("ProxyLost", note)
    );
    assert_eq!(told_of_proxy(lost.clone(), &with_proxy(lost)), []);
}

#[test]
fn a_proxy_that_is_cut_off_from_storage_is_told_of_once() {
    let mut cut_off = serving("p");
    cut_off.loss.fault = Some(Fault::CutOff);
    cut_off.pod.is_ready = false;
    let note = "proxy p has lost storage, where its lease has run out: its clients are sent to others";
    let told = told_of_proxy(serving("p"), &with_proxy(cut_off.clone()));
    assert_eq!(told, pair("ProxyLost", note));
    let mut leaving = cut_off.clone();
    leaving.role = Some(Role::Draining);
    assert_eq!(told_of_proxy(cut_off, &with_proxy(leaving)), []);
}

#[test]
fn nothing_is_told_of_proxies_at_the_first_look() {
    let mut unready = serving("p");
    unready.pod.is_ready = false;
    let former = Former {
        observed: None,
        status: None,
    };
    assert_eq!(told(former, &with_proxy(unready), &MqttClusterStatus::default()), []);
}

#[test]
fn decisions_are_told_with_names_and_numbers() {
    let set_role = |pod: &str, role: Role, is_change: bool| ProxyAction::SetRole {
        accepting: role == Role::Active,
        pod: pod.to_owned(),
        resource_version: String::new(),
        role,
        deletion_cost: 0,
        is_change,
        config_hash: None,
        mark: None,
        ends_order: false,
    };
    let plan = ProxyPlan {
        actions: vec![
            set_role("a", Role::Active, true),
            set_role("b", Role::Active, false),
            set_role("c", Role::Draining, true),
            set_role("d", Role::Draining, true),
            set_role("e", Role::Draining, true),
            ProxyAction::ApplyTarget,
        ],
        target_replicas: 4,
        target_replicas_were: Some(3),
        warm: 0,
        promotable: 0,
        phase: RevisionPhase::Stable,
        moves: NO_MOVES.clone(),
        pace: Pace::free(),
        on_cordoned: ["d".to_owned(), "e".to_owned()].into(),
        cut_off: ["e".to_owned()].into(),
    };
    let asked = |desired| {
        let mut status = MqttClusterStatus::default();
        status.proxy.desired = desired;
        status
    };
    let former = Former {
        observed: None,
        status: Some(&asked(2)),
    };
    let notices = find_notices(former, &Observed::default(), &asked(4), Some(&plan));
    let notes: Vec<_> = notices
        .iter()
        .map(|notice| (notice.reason.as_str(), notice.note.as_str()))
        .collect();
    assert_eq!(
        notes,
        [
            ("ProxyPromoted", "taking connections: a"),
            ("ProxyDraining", "handing over clients: c"),
            ("ProxyDraining", "handing over clients, for their node is cordoned: d"),
            (
                "ProxyDraining",
                "handing over clients, for they are cut off from storage: e"
            ),
            ("ScaledOut", "from 2 to 4 proxies"),
        ]
    );
    let of_refill = find_notices(
        Former {
            observed: None,
            status: Some(&asked(4)),
        },
        &Observed::default(),
        &asked(4),
        Some(&ProxyPlan {
            actions: Vec::new(),
            ..plan
        }),
    );
    assert_eq!(of_refill, [], "the pool is refilled without a word");
}

#[test]
fn a_roll_is_told_when_it_starts_and_when_it_is_over() {
    let status = |target: &str, phase| {
        let mut status = MqttClusterStatus::default();
        status.proxy.revision.target = target.to_owned();
        status.proxy.revision.phase = phase;
        status
    };
    let told = |was: &MqttClusterStatus, is: &MqttClusterStatus| {
        told(
            Former {
                observed: None,
                status: Some(was),
            },
            &Observed::default(),
            is,
        )
    };
    let old = status("a", RevisionPhase::Stable);
    let warming = status("b", RevisionPhase::Warming);
    let done = status("b", RevisionPhase::Stable);
    assert_eq!(
        told(&old, &warming),
        pair("RevisionRollStarted", "revision b replaces a")
    );
    assert_eq!(told(&warming, &warming), []);
    assert_eq!(
        told(&warming, &done),
        pair("RevisionRollFinished", "all proxies are of revision b")
    );
}

#[test]
fn another_life_of_a_storage_node_says_what_is_gone() {
    let status = |uid: &str, restarts| {
        let mut status = MqttClusterStatus::default();
        status.storage.nodes = vec![StorageNodeStatus {
            pod: "s-0".to_owned(),
            uid: uid.to_owned(),
            restarts,
            claim: String::new(),
        }];
        status
    };
    let mut facts = pod("s-0");
    facts.uid = "u1".to_owned();
    facts.last_end = Some("exit code 137 (Error)".to_owned());
    let observed = Observed {
        storage_pods: vec![StoragePod {
            pod: facts,
            revision: String::new(),
        }],
        ..Observed::default()
    };
    let was = status("u1", 0);
    let former = Former {
        observed: None,
        status: Some(&was),
    };
    assert_eq!(told(former, &observed, &was), []);
    let [(reason, note)] = &told(former, &observed, &status("u1", 1))[..] else {
        panic!("one")
    };
    assert_eq!(reason, "StorageRestarted");
    assert!(
        note.contains("started again (exit code 137 (Error)): retained messages and sessions are gone"),
        "{note}"
    );
    let [(_, note)] = &told(former, &observed, &status("u2", 0))[..] else {
        panic!("one")
    };
    assert!(note.contains("is a new pod"), "{note}");
    let observed = Observed {
        storage_set: Some(StorageSet {
            has_volume: true,
            ..StorageSet::default()
        }),
        ..observed
    };
    let [(_, note)] = &told(former, &observed, &status("u2", 0))[..] else {
        panic!("one")
    };
    assert!(note.ends_with("what it had acknowledged is on its volume"), "{note}");
}

/// A status with these conditions: type, status, reason.
fn status(conditions: &[(&str, &str, &str)]) -> MqttClusterStatus {
    MqttClusterStatus {
        conditions: conditions
            .iter()
            .map(|(type_, status, reason)| Condition {
                type_: (*type_).to_owned(),
                status: (*status).to_owned(),
                reason: (*reason).to_owned(),
                message: format!("about {reason}"),
                observed_generation: None,
                last_transition_time: Time(Timestamp::UNIX_EPOCH),
            })
            .collect(),
        ..MqttClusterStatus::default()
    }
}

#[test]
fn a_condition_is_told_when_it_begins_and_not_while_it_lasts() {
    let well = status(&[("Stalled", "False", "Working"), ("Degraded", "False", "AsAsked")]);
    let bad = status(&[
        ("Stalled", "True", "ImagePullBackOff"),
        ("Degraded", "True", "ImagePullBackOff"),
    ]);
    let told = |was: &MqttClusterStatus, is: &MqttClusterStatus| {
        told(
            Former {
                observed: None,
                status: Some(was),
            },
            &Observed::default(),
            is,
        )
    };
    assert_eq!(told(&well, &bad), pair("ImagePullBackOff", "about ImagePullBackOff"));
    assert_eq!(told(&bad, &bad), []);
    assert_eq!(told(&bad, &well), pair("Recovered", "nothing is missing any more"));
}

#[test]
fn a_decision_of_the_scaler_is_told_once_it_is_written_and_one_that_only_looks_says_so() {
    let decision = |to, applied| DecisionStatus {
        at: Time(Timestamp::UNIX_EPOCH),
        from: 2,
        to,
        applied,
        reason: "connections 35000 needs more".to_owned(),
        by_hand: false,
    };
    let status = |mode, decisions: &[DecisionStatus]| MqttClusterStatus {
        scaling: Some(ScalingStatus {
            mode,
            decisions: decisions.to_vec(),
            ..ScalingStatus::default()
        }),
        ..MqttClusterStatus::default()
    };
    let told = |was: &MqttClusterStatus, is: &MqttClusterStatus| {
        let former = Former {
            observed: None,
            status: Some(was),
        };
        told(former, &Observed::default(), is)
    };
    let nothing = MqttClusterStatus::default();
    let decided = status(ScalingMode::Scale, &[decision(3, false)]);
    let written = status(ScalingMode::Scale, &[decision(3, true)]);
    assert_eq!(told(&nothing, &decided), []);
    let note = "2 to 3 proxies: connections 35000 needs more";
    assert_eq!(told(&decided, &written), pair("ScalingDecided", note));
    assert_eq!(told(&written, &written), []);
    let advised = status(ScalingMode::Observe, &[decision(3, true), decision(4, false)]);
    let note = "would go from 2 to 4 proxies: connections 35000 needs more";
    assert_eq!(told(&written, &advised), pair("ScalingAdvised", note));
    let by_hand = DecisionStatus {
        by_hand: true,
        reason: "somebody else has set replicas".to_owned(),
        ..decision(7, true)
    };
    let set = status(ScalingMode::Scale, &[decision(3, true), by_hand]);
    let note = "2 to 7 proxies: somebody else has set replicas";
    assert_eq!(told(&written, &set), pair("ReplicasSet", note));
    assert_eq!(told(&set, &set), []);
}
