//! Who is found to be lost, by what the witnesses say.

use super::*;
use crate::observe::{PodFacts, Role};
use crate::plan::{ACTIVE_COST, FORMER_COST, WARM_COST};
use crate::requests::Requests;

const DEAD: Testimony = Testimony {
    missed_rounds: MISSED_ROUNDS,
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
    (verdict.lost, verdict.withheld)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_proxy_against_which_both_witnesses_speak_is_lost_and_counts_as_not_ready() {
    let mut observed = fleet(3, 1);
    assert_eq!(judge(&mut observed, &[("a1", DEAD)]), (names(&["a1"]), names(&[])));
    let lost: Vec<&ProxyPod> = observed.proxies.iter().filter(|proxy| proxy.loss.is_lost).collect();
    assert_eq!(lost.len(), 1);
    assert!(!lost[0].pod.is_ready && !lost[0].loss.is_marked);
}

#[test]
fn nobody_is_lost_by_scrapes_alone_however_many_fail() {
    for lease in [Lease::Held, Lease::Unknown] {
        let silent = Testimony {
            missed_rounds: 1_000,
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
        out.loss.is_marked = true;
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
fn a_marked_proxy_stays_lost_until_it_answers_and_has_a_lease() {
    let marked = || {
        let mut observed = fleet(3, 1);
        observed.proxies[3].loss.is_marked = true;
        observed
    };
    let is_lost = |of: &[(&str, Testimony)]| {
        let mut observed = marked();
        judge(&mut observed, of);
        let proxy = &observed.proxies[3];
        assert_eq!(proxy.pod.is_ready, !proxy.loss.is_lost);
        proxy.loss.is_lost
    };
    let testimony = |missed_rounds, lease| Testimony { missed_rounds, lease };
    assert!(is_lost(&[]), "another operator knows nothing yet");
    assert!(is_lost(&[("w0", testimony(0, Lease::Unknown))]));
    assert!(is_lost(&[("w0", testimony(2, Lease::Held))]));
    assert!(!is_lost(&[("w0", testimony(0, Lease::Held))]));
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
