//! What makes a new revision worse, and what does not.

use super::*;
use crate::rollout::tests::proxy;

const OLD: u64 = 1_000;

/// `taken` connections, of which `accepted` were, and `now` clients that have stayed.
fn load(taken: u64, accepted: u64, now: u64) -> Load {
    Load {
        version: freshet_load::VERSION,
        accepts_total: Some(taken),
        connects_total: Some(accepted),
        connections: Some(now),
        clients: Some(now),
        ..Load::default()
    }
}

fn with_round_trip(mut load: Load, count: u32, p99_ms: u32) -> Load {
    load.publish_round_trips = vec![freshet_load::RoundTrip {
        qos: 1,
        count,
        p50_ms: 1,
        p99_ms,
        newest_p99_ms: Some(p99_ms),
    }];
    load
}

fn of_proxies(uids: &[&str]) -> Observed {
    Observed {
        proxies: uids.iter().map(|uid| proxy(uid, "a", true)).collect(),
        ..Observed::default()
    }
}

/// One old proxy with connections from before, and one new one; both say what they do now.
fn judged(old: Load, new: Load) -> Judgement {
    let observed = Observed {
        proxies: vec![proxy("old", "a", true), proxy("new", "b", true)],
        ..Observed::default()
    };
    let mut memory = RolloutMemory::default();
    let before: Loads = [("old".to_owned(), load(OLD, OLD / 2, 0))].into();
    memory.begin("b", &of_proxies(&["old"]), &before);
    let loads: Loads = [("old".to_owned(), old), ("new".to_owned(), new)].into();
    judge("b", &RolloutSettings::default(), &observed, &loads, &memory)
}

/// What the old proxy says after `taken` more connections, of which `failed` came to nothing.
fn old(taken: u64, failed: u64) -> Load {
    load(OLD + taken, OLD / 2 + taken - failed, 0)
}

#[test]
fn a_revision_that_refuses_a_tenth_of_its_connections_is_worse_and_the_figure_is_said() {
    let judgement = judged(old(300, 0), load(100, 90, 80));
    let Judgement::Worse(figure) = judgement else {
        panic!("{judgement:?}");
    };
    assert!(
        figure.starts_with("10.0 % of 100 connections to revision b came to nothing"),
        "{figure}"
    );
}

#[test]
fn what_both_fail_at_alike_is_no_fault_of_the_new_one() {
    assert_eq!(judged(old(300, 30), load(100, 89, 80)), Judgement::AsGood);
}

#[test]
fn what_the_old_one_failed_at_before_does_not_excuse_the_new_one() {
    // Half of its connections, before the rollout.
    assert!(matches!(judged(old(0, 0), load(100, 90, 0)), Judgement::Worse(_)));
}

#[test]
fn few_connections_say_nothing_and_few_failures_are_chance() {
    assert_eq!(judged(old(300, 0), load(9, 0, 0)), Judgement::NotEnoughData);
    assert_eq!(judged(old(300, 0), Load::default()), Judgement::NotEnoughData);
    assert_eq!(judged(old(300, 0), load(10, 8, 0)), Judgement::AsGood);
    assert!(matches!(judged(old(300, 0), load(10, 7, 0)), Judgement::Worse(_)));
}

#[test]
fn connections_whose_connect_is_still_to_come_have_not_failed() {
    let mut waiting = load(100, 50, 50);
    waiting.connections = Some(100);
    assert_eq!(judged(old(300, 0), waiting), Judgement::AsGood);
}

#[test]
fn a_longer_round_trip_is_worse_when_it_is_measured_at_both_and_more_than_noise() {
    let round_trips = |old_ms: u32, new_ms: u32, count: u32| {
        judged(
            with_round_trip(old(300, 0), 1_000, old_ms),
            with_round_trip(load(100, 100, 80), count, new_ms),
        )
    };
    let Judgement::Worse(figure) = round_trips(20, 41, 20) else {
        panic!("not noticed");
    };
    assert!(figure.contains("41 ms at revision b and 20 ms at others"), "{figure}");
    assert_eq!(round_trips(20, 40, 20), Judgement::AsGood, "twice is allowed");
    assert_eq!(round_trips(20, 400, 19), Judgement::AsGood, "too few");
    assert_eq!(round_trips(1, 10, 1_000), Judgement::AsGood, "a few milliseconds");
}

#[test]
fn a_limit_of_a_hundred_percent_never_pauses() {
    let observed = Observed {
        proxies: vec![proxy("old", "a", true), proxy("new", "b", true)],
        ..Observed::default()
    };
    let settings = RolloutSettings {
        connect_failure_percent: 100,
        ..RolloutSettings::default()
    };
    let loads: Loads = [("old".to_owned(), load(9, 9, 0)), ("new".to_owned(), load(50, 0, 0))].into();
    let judgement = judge("b", &settings, &observed, &loads, &RolloutMemory::default());
    assert_eq!(judgement, Judgement::AsGood);
}

#[test]
fn as_many_percent_more_as_are_allowed_are_not_too_many() {
    // Two in a hundred are allowed for, beyond those of the others.
    assert_eq!(judged(old(300, 0), load(150, 147, 0)), Judgement::AsGood);
    assert!(matches!(judged(old(300, 0), load(150, 146, 0)), Judgement::Worse(_)));
    assert_eq!(judged(old(300, 3), load(200, 194, 0)), Judgement::AsGood);
    assert!(matches!(judged(old(300, 3), load(200, 193, 0)), Judgement::Worse(_)));
}

#[test]
fn publishes_without_acknowledgement_have_no_round_trip() {
    let mut slow = with_round_trip(load(100, 100, 80), 1_000, 900);
    slow.publish_round_trips[0].qos = 0;
    let judgement = judged(with_round_trip(old(300, 0), 1_000, 20), slow);
    assert_eq!(judgement, Judgement::AsGood);
}

#[test]
fn what_is_compared_with_begins_anew_with_each_rollout_process_and_proxy() {
    let loads = |of: &[(&str, u64, u64)]| -> Loads {
        of.iter()
            .map(|(uid, incarnation, taken)| {
                let mut load = load(*taken, *taken, 0);
                load.incarnation = *incarnation;
                ((*uid).to_owned(), load)
            })
            .collect()
    };
    let known = |memory: &RolloutMemory| {
        let mut known: Vec<_> = memory
            .base
            .iter()
            .map(|(uid, load)| (uid.clone(), load.accepts_total))
            .collect();
        known.sort();
        known
    };
    let base = |of: &[(&str, Option<u64>)]| -> Vec<(String, Option<u64>)> {
        of.iter().map(|(uid, taken)| ((*uid).to_owned(), *taken)).collect()
    };
    let there = of_proxies(&["p", "q", "r"]);
    let mut memory = RolloutMemory::default();
    memory.begin("b", &there, &loads(&[("p", 1, 10), ("q", 1, 20), ("r", 1, 30)]));
    // Another process of `q` counts from its start.
    memory.begin("b", &there, &loads(&[("p", 1, 11), ("q", 2, 5)]));
    assert_eq!(known(&memory), base(&[("p", Some(10)), ("q", None)]));
    memory.begin("b", &there, &loads(&[("p", 1, 12), ("q", 2, 6)]));
    assert_eq!(known(&memory), base(&[("p", Some(10)), ("q", None)]));
    memory.begin("c", &there, &loads(&[("p", 1, 13), ("q", 2, 7)]));
    assert_eq!(known(&memory), base(&[("p", Some(13)), ("q", Some(7))]));
}

#[test]
fn what_a_canary_failed_at_before_it_was_first_asked_counts() {
    let observed = Observed {
        proxies: vec![proxy("old", "a", true), proxy("new", "b", true)],
        ..Observed::default()
    };
    let loads = |new: Load| -> Loads { [("old".to_owned(), load(OLD, OLD, 0)), ("new".to_owned(), new)].into() };
    let mut memory = RolloutMemory::default();
    memory.begin("b", &of_proxies(&["old"]), &Loads::default());
    let judged = [load(8, 0, 0), load(15, 0, 0)].map(|new| {
        let loads = loads(new);
        memory.begin("b", &observed, &loads);
        judge("b", &RolloutSettings::default(), &observed, &loads, &memory)
    });
    assert_eq!(judged[0], Judgement::NotEnoughData);
    assert!(matches!(judged[1], Judgement::Worse(_)), "{judged:?}");
}
