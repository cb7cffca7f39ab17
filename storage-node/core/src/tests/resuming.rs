//! Broken streams: what was not received comes again, once; what was answered is answered again.

use PublishOutcome::{Delivered, NoMatchingSubscribers};

use super::*;

#[test]
fn deliveries_behind_the_last_one_received_are_sent_again() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    w.subscribe(A, 1, "a");
    for payload in ["1", "2", "3"] {
        w.publish(B, qos_1("a", payload));
    }
    // The proxy received the first one only.
    let shard = w.proxies.get_mut(&A).unwrap().shards.get_mut(&S0).unwrap();
    shard.received -= 2;
    shard.deliveries.truncate(1);
    w.lose_link(A);
    w.publish(B, qos_1("a", "4"));
    assert_eq!(w.take_payloads(A), ["1"]);
    let again = w.attach(A);
    assert!(!again.attachments[0].overrun);
    assert_eq!(again.attachments[0].interest_version, InterestVersion(1));
    assert_eq!(w.take_payloads(A), ["2", "3", "4"]);
    w.acknowledge(A);
    assert_eq!(w.take_outcomes(B).len(), 4);
    assert_eq!(w.core.stats().shards[0].counters.deliveries_resent_total, 2);
}

#[test]
fn what_was_acknowledged_does_not_come_again() {
    let mut w = world();
    w.attach(A);
    w.subscribe(A, 1, "a");
    w.publish(A, qos_1("a", "1"));
    w.acknowledge(A);
    w.take_deliveries(A);
    w.lose_link(A);
    w.attach(A);
    assert_eq!(w.take_deliveries(A), []);
    w.publish(A, qos_1("a", "2"));
    assert_eq!(w.take_payloads(A), ["2"]);
}

#[test]
fn what_was_answered_without_a_link_comes_before_what_is_answered_on_the_next_one() {
    let mut w = world();
    for proxy in [A, B, C] {
        w.attach(proxy);
    }
    w.subscribe(B, 1, "a");
    w.subscribe(C, 1, "b");
    w.publish(A, qos_1("a", "1"));
    w.publish(A, qos_1("b", "2"));
    w.lose_link(A);
    w.acknowledge(B);
    w.attach(A);
    w.acknowledge(C);
    assert_eq!(w.take_outcomes(A), [(1, Delivered), (2, Delivered)]);
}

#[test]
fn what_was_received_on_the_old_link_may_be_acknowledged_on_the_new_one() {
    let mut w = world();
    w.attach(A);
    w.subscribe(A, 1, "a");
    w.publish(A, qos_1("a", "1"));
    w.lose_link(A);
    w.attach(A);
    w.acknowledge(A);
    assert_eq!(w.take_outcomes(A), [(1, Delivered)]);
    assert_eq!(w.take_payloads(A), ["1"]);
}

#[test]
fn a_broken_link_within_a_second_is_noticed_by_no_publisher() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    w.subscribe(A, 1, "a");
    w.lose_link(A);
    w.publish(B, qos_1("a", "x"));
    w.pass_ms(900);
    assert_eq!(w.take_outcomes(B), []);
    w.attach(A);
    w.acknowledge(A);
    assert_eq!(w.take_outcomes(B), [(1, Delivered)]);
    assert_eq!(w.core.stats().shards[0].counters.silences_total, 0);
}

#[test]
fn an_outcome_lost_with_the_link_is_given_again_on_the_next_one_and_when_asked_for() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    w.subscribe(B, 1, "a");
    w.publish(A, qos_1("nobody", "1"));
    w.publish(A, qos_1("a", "2"));
    w.take_outcomes(A);
    w.lose_link(A);
    w.acknowledge(B);
    let again = w.attach(A);
    assert_eq!(again.attachments[0].publish_seq, PublishSeq(2));
    assert_eq!(w.take_outcomes(A), [(1, NoMatchingSubscribers), (2, Delivered)]);
    w.publish_as(
        A,
        S0,
        1,
        vec![qos_1("nobody", "1"), qos_1("a", "2"), qos_1("nobody", "3")],
    );
    let expected = [(1, NoMatchingSubscribers), (2, Delivered), (3, NoMatchingSubscribers)];
    assert_eq!(w.take_outcomes(A), expected);
    assert_eq!(w.take_payloads(B), ["2"]);
}

#[test]
fn a_new_link_begins_without_credit() {
    let mut w = world();
    w.attach(A);
    w.subscribe(A, 1, "a");
    w.try_attach(A).unwrap();
    w.publish(A, qos_1("a", "x"));
    w.publish(A, qos_0("a", "shed"));
    assert_eq!(w.take_payloads(A), Vec::<String>::new());
    w.credit(A, 1);
    assert_eq!(w.take_payloads(A), ["x"]);
}

#[test]
fn a_marker_that_was_lost_with_the_link_comes_again_without_credit() {
    let mut w = world();
    w.attach(A);
    let add = InterestChange::Add {
        filter_id: FilterId(1),
        topic_filter: Bytes::from_static(b"a"),
    };
    w.change_interest(A, S0, vec![add]);
    w.proxies.get_mut(&A).unwrap().shards.get_mut(&S0).unwrap().received = 0;
    w.take_deliveries(A);
    w.try_attach(A).unwrap();
    assert!(matches!(
        w.take_deliveries(A)[..],
        [Delivery::Marker {
            version: InterestVersion(1)
        }]
    ));
}

#[test]
fn a_proxy_that_lost_its_place_is_told_of_an_overrun() {
    let mut w = world();
    w.attach(A);
    w.subscribe(A, 1, "a");
    w.publish(A, qos_1("a", "1"));
    w.acknowledge(A);
    w.publish(A, qos_1("a", "2"));
    w.take_deliveries(A);
    w.proxies.get_mut(&A).unwrap().shards.get_mut(&S0).unwrap().received = 0;
    let again = w.attach(A);
    assert!(again.attachments[0].overrun);
    assert_eq!(
        w.take_payloads(A),
        ["2"],
        "numbers go on from what the proxy says it has"
    );
}

#[test]
fn a_proxy_under_a_new_name_goes_on_from_the_numbers_it_has() {
    let mut w = world();
    w.attach(A);
    w.subscribe(A, 1, "a");
    for _ in 0..3 {
        w.publish(A, qos_1("a", "x"));
    }
    w.pass_ms(6_000);
    let old = w.proxies.remove(&A).unwrap();
    let resume = ProxyShard {
        received: old.shards[&S0].received,
        ..ProxyShard::default()
    };
    w.proxies.insert(
        B,
        Proxy {
            term: TERM,
            shards: BTreeMap::from([(S0, resume)]),
            ..Proxy::default()
        },
    );
    let attached = w.attach(B);
    assert!(
        attached.attachments[0].overrun,
        "what was meant for the old name is lost"
    );
    w.subscribe(B, 1, "a");
    w.publish(B, qos_1("a", "y"));
    assert_eq!(w.take_payloads(B), ["y"]);
}

#[test]
fn output_for_an_earlier_link_is_not_sent_on_the_next_one() {
    let mut w = world();
    w.attach(A);
    w.subscribe(A, 1, "a");
    // Within one turn: a delivery leaves, and the proxy attaches anew.
    let batch = PublishBatch {
        shard: S0,
        first: PublishSeq(1),
        messages: vec![qos_1("a", "x").into()],
        lasting: None,
    };
    w.core
        .handle(IncarnationId(A), Operation::Publish(batch), w.now, &mut w.out);
    w.attach(A);
    assert_eq!(w.take_payloads(A), ["x"]);
}

/// Proxy A, that another leader knew; it attaches to a new one after `late_ms` and names a filter. `complete`: it had
/// filters before.
fn a_proxy_that_comes_back(late_ms: u64, complete: bool) -> World {
    let mut w = World::new(StorageSettings {
        recovery_hold_ms: 1_000,
        ..settings(1)
    });
    let shard = ProxyShard {
        received: 1,
        ..ProxyShard::default()
    };
    let known = Proxy {
        term: Term(TERM.0 - 1),
        shards: BTreeMap::from([(S0, shard)]),
        ..Proxy::default()
    };
    w.proxies.insert(A, known);
    w.attach(B);
    w.publish(B, qos_1("a", "1"));
    w.pass_ms(late_ms);
    w.attach(A);
    let change = InterestChange::Add {
        filter_id: FilterId(1),
        topic_filter: Bytes::from_static(b"a"),
    };
    w.proxies.get_mut(&A).unwrap().shards.get_mut(&S0).unwrap().interest = 1;
    let delta = InterestDelta {
        shard: S0,
        version: InterestVersion(1),
        complete,
        changes: vec![change],
    };
    w.operate(A, Operation::Interest(delta));
    w
}

#[test]
fn a_proxy_that_names_its_interest_behind_the_hold_is_told_that_it_missed_messages() {
    let mut w = a_proxy_that_comes_back(1_000, true);
    assert_eq!(w.take_outcomes(B), [(1, NoMatchingSubscribers)]);
    let told = w.take_deliveries(A);
    assert!(
        matches!(
            told[..],
            [Delivery::Overrun { queues_lost: true }, Delivery::Marker { .. }]
        ),
        "{told:?}"
    );
    assert_eq!(w.core.stats().shards[0].counters.interest_late_total, 1);
    w.acknowledge(A);
    w.subscribe(A, 2, "b");
    assert_eq!(w.core.stats().shards[0].counters.interest_late_total, 1, "once");
}

#[test]
fn a_proxy_that_names_its_interest_within_the_hold_has_missed_nothing() {
    let mut w = a_proxy_that_comes_back(999, true);
    let told = w.take_deliveries(A);
    assert!(matches!(told[..], [Delivery::Marker { .. }]), "{told:?}");
    w.pass_ms(1);
    assert_eq!(w.take_payloads(A), ["1"]);
}

#[test]
fn a_proxy_that_had_no_filters_before_has_missed_nothing() {
    let mut w = a_proxy_that_comes_back(1_000, false);
    let told = w.take_deliveries(A);
    assert!(matches!(told[..], [Delivery::Marker { .. }]), "{told:?}");
}
