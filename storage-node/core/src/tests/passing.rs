//! Proxies that publications have passed by, across starts of a node with a disk: each is told once if its clients may have
//! missed something, and not otherwise.

use PublishOutcome::{Delivered, NoMatchingSubscribers};

use super::*;

/// Proxies A and B at a node with a disk. A wants `a`.
fn began() -> World {
    let mut w = World::with_slow_disk(StorageSettings {
        ring_bytes: 300,
        ..settings(1)
    });
    w.attach(A);
    w.attach(B);
    w.subscribe(A, 1, "a");
    w
}

/// The node dies and comes back, and with it proxy B.
fn start(w: &mut World) {
    let later = StorageSettings {
        recovery_hold_ms: 1_000,
        ..settings(1)
    };
    w.core = w.disk.as_ref().unwrap().restore(later).finish(Term(1), w.now);
    w.keep();
    w.attach(B);
}

/// Proxy A comes back in time and names what it wants: whether it is told that messages may have passed it by. It takes
/// everything.
fn is_told(w: &mut World) -> bool {
    w.attach(A);
    let shard = w.proxies.get_mut(&A).unwrap().shards.get_mut(&S0).unwrap();
    shard.interest += 1;
    let version = InterestVersion(shard.interest);
    let changes = vec![InterestChange::Add {
        filter_id: FilterId(1),
        topic_filter: Bytes::from_static(b"a"),
    }];
    let delta = InterestDelta {
        shard: S0,
        version,
        complete: true,
        changes,
    };
    w.operate(A, Operation::Interest(delta));
    let told = w.take_deliveries(A);
    w.acknowledge(A);
    match told[..] {
        [Delivery::Marker { .. }] => false,
        [Delivery::Overrun { queues_lost: false }, Delivery::Marker { .. }] => true,
        _ => panic!("{told:?}"),
    }
}

#[test]
fn a_proxy_that_was_silent_is_told_by_the_next_leader_what_its_ring_had() {
    let mut w = began();
    w.publish(B, qos_1("a", "x"));
    w.pass_ms(1_000);
    assert_eq!(w.take_outcomes(B), [(1, Delivered)], "nobody waits for A any more");
    start(&mut w);
    start(&mut w);
    assert!(is_told(&mut w), "whichever leader comes next");
    start(&mut w);
    assert!(!is_told(&mut w), "it has been told");
}

#[test]
fn a_proxy_that_publishers_still_waited_for_has_missed_nothing() {
    let mut w = began();
    w.publish(B, qos_1("a", "x"));
    w.pass_ms(999);
    assert_eq!(w.take_outcomes(B), []);
    start(&mut w);
    assert!(!is_told(&mut w));
}

#[test]
fn a_proxy_that_was_silent_while_nobody_published_has_missed_nothing() {
    let mut w = began();
    let change = InterestChange::Remove { filter_id: FilterId(2) };
    w.change_interest(A, S0, vec![change]);
    w.pass_ms(2_000);
    assert_eq!(w.core.stats().shards[0].counters.silences_total, 1);
    start(&mut w);
    assert!(!is_told(&mut w));
}

#[test]
fn a_proxy_that_has_taken_what_passed_it_by_has_missed_nothing() {
    let mut w = began();
    w.publish(B, qos_1("a", "x"));
    w.pass_ms(1_000);
    w.publish(B, qos_1("a", "y"));
    w.acknowledge(A);
    start(&mut w);
    assert!(!is_told(&mut w));
}

#[test]
fn a_proxy_that_takes_everything_while_it_is_noted_has_missed_nothing() {
    let mut w = began();
    w.publish(B, qos_1("a", "x"));
    w.now = MonotonicMs(w.now.0 + 1_000);
    w.core.tick(w.now, &mut w.out);
    // What says that A is silent is on its way to the disk.
    let (shard, term) = (S0, TERM);
    let seq = DeliverySeq(2);
    let taken = DeliveryControl::Acknowledge { shard, term, seq };
    w.core.handle_control(IncarnationId(A), taken, w.now, &mut w.out);
    w.collect();
    assert_eq!(w.take_outcomes(B), [(1, Delivered)]);
    start(&mut w);
    assert!(!is_told(&mut w));
}

#[test]
fn a_proxy_whose_ring_was_full_is_told_by_the_next_leader() {
    let mut w = began();
    for payload in ["1", "2", "3", "4", "5"] {
        w.publish(B, qos_1("a", payload));
    }
    assert_eq!(w.core.stats().shards[0].counters.overruns_total, 1);
    assert_eq!(w.take_outcomes(B).len(), 5, "nobody waits for A any more");
    start(&mut w);
    assert!(is_told(&mut w));
}

#[test]
fn a_proxy_whose_lease_had_ended_is_told_by_the_next_leader() {
    let mut w = began();
    w.pass_ms_with(7_000, &[B]);
    w.publish(B, qos_1("a", "x"));
    assert_eq!(w.take_outcomes(B), [(1, NoMatchingSubscribers)]);
    start(&mut w);
    assert!(is_told(&mut w));
}

#[test]
fn a_proxy_that_wanted_nothing_is_not_noted_when_its_lease_ends() {
    let mut w = World::with_slow_disk(settings(1));
    w.attach(A);
    w.attach(B);
    let rows = w.disk.as_ref().unwrap().rows.len();
    w.pass_ms_with(7_000, &[B]);
    assert_eq!(w.disk.as_ref().unwrap().rows.len(), rows);
}

#[test]
fn a_proxy_that_a_leader_has_routed_without_is_told_by_the_next_one() {
    let mut w = began();
    start(&mut w);
    w.pass_ms(1_000);
    w.publish(B, qos_1("a", "x"));
    assert_eq!(w.take_outcomes(B), [(1, NoMatchingSubscribers)]);
    start(&mut w);
    assert!(is_told(&mut w));
}

#[test]
fn a_proxy_that_misses_a_leader_which_has_routed_nothing_has_missed_nothing() {
    let mut w = began();
    start(&mut w);
    w.publish(B, qos_1("a", "x"));
    w.pass_ms(999);
    start(&mut w);
    assert!(!is_told(&mut w));
}

#[test]
fn a_proxy_that_does_not_come_back_is_forgotten_after_a_day() {
    let mut w = began();
    let rows = |w: &World| {
        w.disk
            .as_ref()
            .unwrap()
            .rows
            .keys()
            .filter(|(_, key)| key[0] == 16)
            .count()
    };
    w.pass_ms_with(7_000, &[B]);
    assert_eq!(rows(&w), 1);
    let day_ms = 24 * 3_600_000;
    w.pass_ms(day_ms - 60_000);
    start(&mut w);
    w.pass_ms(day_ms - 60_000);
    assert_eq!(rows(&w), 1, "a day since the last start");
    w.pass_ms(60_000);
    assert_eq!(rows(&w), 0);
}
