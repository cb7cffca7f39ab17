//! Who is found to be lost, by what the witnesses say.

use super::*;
use crate::observe::{PodFacts, Role};
use crate::plan::{ACTIVE_COST, FORMER_COST, WARM_COST};
use crate::requests::Requests;

const DEAD: Testimony = Testimony {
    missed_rounds: MISSED_ROUNDS,
    detached_rounds: 0,
    lease: Lease::Lost,
};
/// It answers that it has no storage.
const CUT: Testimony = Testimony {
    missed_rounds: 0,
    detached_rounds: DETACHED_ROUNDS,
    lease: Lease::Lost,
};

fn proxy(name: &str, role: Role) -> ProxyPod {
    ProxyPod {
        pod: PodFacts::ready(name),
        revision: "a".to_owned(),
        role: Some(role),
        is_accepting: role == Role::Active,
        deletion_cost: Some(if role == Role::Active { ACTIVE_COST } else { WARM_COST }),
        requests: Requests::default(),
        resize: None,
        order: None,
        loss: Loss::default(),
    }
}

/// `active` proxies that serve, `a0` first, and `warm` that wait, `w0` first.
fn fleet(active: usize, warm: usize) -> Observed {
    let active = (0..active).map(|index| proxy(&format!("a{index}"), Role::Active));
    let warm = (0..warm).map(|index| proxy(&format!("w{index}"), Role::Warm));
    Observed {
        proxies: active.chain(warm).collect(),
        ..Observed::default()
    }
}

fn testimonies(of: &[(&str, Testimony)]) -> Testimonies {
    of.iter()
        .map(|(uid, testimony)| ((*uid).to_owned(), *testimony))
        .collect()
}

fn judge(observed: &mut Observed, of: &[(&str, Testimony)]) -> (Vec<String>, Vec<String>) {
    let verdict = judge_losses(observed, &testimonies(of));
    (verdict.dead, verdict.withheld)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_proxy_against_which_both_witnesses_speak_is_lost_and_counts_as_not_ready() {
    let mut observed = fleet(3, 1);
    assert_eq!(judge(&mut observed, &[("a1", DEAD)]), (names(&["a1"]), names(&[])));
    let lost: Vec<&ProxyPod> = observed.proxies.iter().filter(|proxy| proxy.loss.is_dead()).collect();
    assert_eq!(lost.len(), 1);
    assert!(!lost[0].pod.is_ready && lost[0].loss.mark.is_none());
}

#[test]
fn nobody_is_lost_by_scrapes_alone_however_many_fail() {
    for lease in [Lease::Held, Lease::Unknown] {
        let silent = Testimony {
            missed_rounds: 1_000,
            detached_rounds: 1_000,
            lease,
        };
        let mut observed = fleet(3, 1);
        let all = ["a0", "a1", "a2", "w0"].map(|uid| (uid, silent));
        assert_eq!(judge(&mut observed, &all), (names(&[]), names(&[])));
        assert_eq!(observed, fleet(3, 1));
    }
}

#[test]
fn nobody_is_lost_by_the_lease_alone_nor_after_two_rounds() {
    let mut observed = fleet(3, 1);
    for missed_rounds in 0..MISSED_ROUNDS {
        let testimony = Testimony {
            missed_rounds,
            detached_rounds: 0,
            lease: Lease::Lost,
        };
        assert_eq!(judge(&mut observed, &[("a0", testimony)]), (names(&[]), names(&[])));
    }
}

#[test]
fn at_most_a_third_of_the_active_ones_is_out_at_any_time() {
    let all = ["a0", "a1", "a2", "a3", "a4", "a5"].map(|uid| (uid, DEAD));
    let mut observed = fleet(6, 6);
    let (lost, withheld) = judge(&mut observed, &all);
    assert_eq!(
        (lost, withheld),
        (names(&["a0", "a1"]), names(&["a2", "a3", "a4", "a5"]))
    );
    // They are out, others have their places, and those are accused as well.
    let mut observed = fleet(6, 4);
    for name in ["x0", "x1"] {
        let mut out = proxy(name, Role::Warm);
        out.deletion_cost = Some(FORMER_COST);
        out.loss.mark = Some(Fault::Dead);
        observed.proxies.push(out);
    }
    let (lost, withheld) = judge(&mut observed, &all);
    assert_eq!((lost.len(), withheld.len()), (0, 6));
}

#[test]
fn of_two_one_is_lost_where_another_takes_its_place() {
    let both = [("a0", DEAD), ("a1", DEAD)];
    assert_eq!(judge(&mut fleet(2, 1), &both), (names(&["a0"]), names(&["a1"])));
    assert_eq!(judge(&mut fleet(2, 0), &both), (names(&[]), names(&["a0", "a1"])));
    let also_the_warm_one = [("a0", DEAD), ("w0", DEAD)];
    assert_eq!(
        judge(&mut fleet(2, 1), &also_the_warm_one),
        (names(&["w0"]), names(&["a0"]))
    );
}

#[test]
fn a_marked_proxy_stays_lost_until_it_answers_and_has_storage_and_a_lease() {
    for mark in [Fault::Dead, Fault::CutOff] {
        let is_lost = |of: &[(&str, Testimony)]| {
            let mut observed = fleet(3, 1);
            observed.proxies[3].loss.mark = Some(mark);
            judge(&mut observed, of);
            let proxy = &observed.proxies[3];
            assert_eq!(proxy.pod.is_ready, proxy.loss.fault.is_none());
            assert!(proxy.loss.fault.is_none_or(|fault| fault == mark));
            proxy.loss.fault.is_some()
        };
        let testimony = |missed_rounds, detached_rounds, lease| Testimony {
            missed_rounds,
            detached_rounds,
            lease,
        };
        assert!(is_lost(&[]), "another operator knows nothing yet");
        assert!(is_lost(&[("w0", testimony(0, 0, Lease::Unknown))]));
        assert!(is_lost(&[("w0", testimony(2, 0, Lease::Held))]));
        assert!(is_lost(&[("w0", testimony(0, 1, Lease::Held))]));
        assert!(!is_lost(&[("w0", testimony(0, 0, Lease::Held))]));
    }
}

fn cut_off(observed: &mut Observed, of: &[&str]) -> (Vec<String>, Vec<String>) {
    let of: Vec<(&str, Testimony)> = of.iter().map(|uid| (*uid, CUT)).collect();
    let verdict = judge_losses(observed, &testimonies(&of));
    assert_eq!((verdict.dead, verdict.withheld), (vec![], vec![]));
    (verdict.cut_off, verdict.cut_off_withheld)
}

#[test]
fn a_proxy_that_says_that_it_has_no_storage_is_cut_off_when_its_lease_has_run_out() {
    let mut observed = fleet(3, 1);
    assert_eq!(cut_off(&mut observed, &["a1"]), (names(&["a1"]), names(&[])));
    let proxy = &observed.proxies[1];
    assert!(proxy.loss.is_cut_off() && !proxy.pod.is_ready);
    assert_eq!(
        proxy.pod.trouble.as_ref().map(|of| of.reason.as_str()),
        Some("CutOffFromStorage")
    );
    let not_yet = [
        Testimony {
            detached_rounds: DETACHED_ROUNDS - 1,
            ..CUT
        },
        Testimony {
            lease: Lease::Held,
            ..CUT
        },
        Testimony {
            lease: Lease::Unknown,
            ..CUT
        },
        Testimony {
            missed_rounds: 1,
            ..CUT
        },
    ];
    for testimony in not_yet {
        let mut observed = fleet(3, 1);
        let verdict = judge_losses(&mut observed, &testimonies(&[("a1", testimony)]));
        assert_eq!((verdict, observed), (Verdict::default(), fleet(3, 1)), "{testimony:?}");
    }
}

#[test]
fn when_more_than_a_third_is_cut_off_nobody_is_moved_and_the_resource_says_so() {
    let mut observed = fleet(6, 2);
    let (cut, withheld) = cut_off(&mut observed, &["a0", "a1", "a2"]);
    assert_eq!((cut, withheld), (names(&[]), names(&["a0", "a1", "a2"])));
    let in_trouble = observed.proxies.iter().filter(|proxy| proxy.pod.trouble.is_some());
    assert_eq!(in_trouble.count(), 3);
    assert!(observed.proxies.iter().all(|proxy| proxy.pod.is_ready));
    assert_eq!(cut_off(&mut fleet(6, 2), &["a0", "a1"]).0, names(&["a0", "a1"]));
    // One that hands over for it counts on until its pod is gone.
    let mut observed = fleet(6, 2);
    let mut leaving = proxy("x0", Role::Draining);
    leaving.loss.mark = Some(Fault::CutOff);
    observed.proxies.push(leaving);
    assert_eq!(cut_off(&mut observed, &["a0", "a1"]).1, names(&["a0", "a1"]));
}

#[test]
fn those_count_that_have_lost_storage_only_just_now() {
    let just_now = Testimony {
        detached_rounds: 1,
        lease: Lease::Held,
        ..CUT
    };
    let all = [("a0", CUT), ("a1", just_now), ("a2", just_now)];
    let verdict = judge_losses(&mut fleet(6, 2), &testimonies(&all));
    assert_eq!(
        (verdict.cut_off, verdict.cut_off_withheld),
        (names(&[]), names(&["a0"]))
    );
    let verdict = judge_losses(&mut fleet(6, 2), &testimonies(&all[..2]));
    assert_eq!(verdict.cut_off, names(&["a0"]));
}

#[test]
fn of_two_one_is_cut_off_where_another_with_storage_takes_its_place() {
    assert_eq!(cut_off(&mut fleet(2, 1), &["a0"]).0, names(&["a0"]));
    assert_eq!(cut_off(&mut fleet(1, 1), &["a0"]).0, names(&["a0"]));
    assert_eq!(cut_off(&mut fleet(2, 0), &["a0"]).1, names(&["a0"]));
    assert_eq!(
        cut_off(&mut fleet(2, 1), &["a0", "w0"]),
        (names(&["w0"]), names(&["a0"]))
    );
    assert_eq!(cut_off(&mut fleet(2, 1), &["a0", "a1"]).1, names(&["a0", "a1"]));
}

#[test]
fn the_dead_and_those_that_are_cut_off_share_what_may_be_out() {
    let both = [("a0", DEAD), ("a1", CUT)];
    let verdict = judge_losses(&mut fleet(6, 2), &testimonies(&both));
    assert_eq!((verdict.dead, verdict.cut_off), (names(&["a0"]), names(&["a1"])));
    let verdict = judge_losses(&mut fleet(3, 2), &testimonies(&both));
    assert_eq!(
        (verdict.dead, verdict.cut_off_withheld),
        (names(&["a0"]), names(&["a1"]))
    );
}

#[test]
fn storage_is_asked_about_pods_that_are_ready_and_stay_or_leave_for_being_cut_off() {
    let pod = |role: &str, mark: Option<&str>| -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {
                "labels": {(labels::ROLE): role},
                "annotations": mark.map(|mark| serde_json::json!({(labels::LOST): mark})),
            },
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .unwrap()
    };
    assert_eq!(can_be_lost(&pod(labels::ACTIVE, None)), Some(None));
    assert_eq!(can_be_lost(&pod(labels::WARM, Some("true"))), Some(Some(Fault::Dead)));
    assert_eq!(can_be_lost(&pod(labels::DRAINING, None)), None);
    assert_eq!(
        can_be_lost(&pod(labels::DRAINING, Some("cut-off"))),
        Some(Some(Fault::CutOff))
    );
    let mut unready = pod(labels::ACTIVE, None);
    unready.status = None;
    assert_eq!(can_be_lost(&unready), None);
}

#[test]
fn a_lease_that_some_storage_node_holds_is_not_lost() {
    let says = |held: &[&str], lost: &[&str]| Leases {
        version: 1,
        held: names(held),
        lost: names(lost),
    };
    assert_eq!(lease_of("p", &[]), Lease::Unknown);
    assert_eq!(lease_of("p", &[says(&["q"], &[])]), Lease::Unknown);
    assert_eq!(lease_of("p", &[says(&["q"], &["p"])]), Lease::Lost);
    assert_eq!(lease_of("p", &[says(&[], &["p"]), says(&["p"], &[])]), Lease::Held);
}

#[test]
fn what_a_proxy_is_asked_about_again_is_what_contradicts_its_mark() {
    let well = Testimony {
        missed_rounds: 0,
        detached_rounds: 0,
        lease: Lease::Held,
    };
    let doubted = Testimony {
        missed_rounds: 1,
        ..well
    };
    let news = |mark| [well, doubted, DEAD, CUT].map(|testimony: Testimony| testimony.is_news(mark));
    assert_eq!(news(None), [false, false, true, true]);
    assert_eq!(news(Some(Fault::Dead)), [true, false, false, false]);
}

#[test]
fn only_the_condition_ready_says_that_a_pod_is() {
    let is_asked = |type_: &str, status: &str| {
        let conditions = serde_json::json!([{"type": type_, "status": status}]);
        let pod: Pod = serde_json::from_value(serde_json::json!({"status": {"conditions": conditions}})).unwrap();
        can_be_lost(&pod).is_some()
    };
    assert!(is_asked("Ready", "True"));
    assert!(!is_asked("Ready", "False") && !is_asked("Initialized", "True"));
}

#[test]
fn one_that_is_not_ready_or_is_told_to_stop_is_not_found_to_be_lost() {
    let changes: [fn(&mut ProxyPod); 2] = [|proxy| proxy.pod.is_ready = false, |proxy| proxy.pod.is_deleting = true];
    for change in changes {
        let mut observed = fleet(6, 2);
        change(&mut observed.proxies[7]);
        change(&mut observed.proxies[0]);
        let told = [("a0", DEAD), ("w1", DEAD)];
        assert_eq!(judge(&mut observed, &told), (names(&[]), names(&[])));
    }
}

#[test]
fn those_that_never_served_take_nobodys_place_among_the_lost() {
    let mut observed = fleet(6, 4);
    for waiting in &mut observed.proxies[6..] {
        waiting.loss.mark = Some(Fault::Dead);
    }
    let (lost, withheld) = judge(&mut observed, &[("a0", DEAD), ("a1", DEAD), ("a2", DEAD)]);
    assert_eq!((lost, withheld), (names(&["a0", "a1"]), names(&["a2"])));
}
