//! From publication to delivery and back: who gets what, and when the publisher is answered.

use PublishOutcome::{Delivered, NoMatchingSubscribers};

use super::*;
use crate::LinkFault;

#[test]
fn one_copy_per_proxy_names_all_filters_that_match() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    for (id, filter) in [(7, "a/b"), (3, "a/+"), (5, "#"), (4, "b/#")] {
        w.subscribe(A, id, filter);
    }
    w.publish(B, qos_1("a/b", "x"));
    match &w.take_deliveries(A)[..] {
        [
            Delivery::Message {
                filter_ids, message, ..
            },
        ] => {
            assert_eq!(filter_ids.as_slice(), [FilterId(3), FilterId(5), FilterId(7)]);
            assert_eq!(message.payload, "x");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_marker_confirms_interest_before_anything_it_brings() {
    let mut w = world();
    w.attach(A);
    let add = InterestChange::Add {
        filter_id: FilterId(1),
        topic_filter: Bytes::from_static(b"a"),
    };
    w.change_interest(A, S0, vec![add]);
    w.publish(A, qos_1("a", "x"));
    let deliveries = w.take_deliveries(A);
    assert!(matches!(
        deliveries[..],
        [
            Delivery::Marker {
                version: InterestVersion(1)
            },
            Delivery::Message { .. }
        ]
    ));
}

#[test]
fn a_filter_that_was_removed_brings_nothing() {
    let mut w = world();
    w.attach(A);
    w.subscribe(A, 1, "a");
    let remove = |id| InterestChange::Remove {
        filter_id: FilterId(id),
    };
    w.change_interest(A, S0, vec![remove(1), remove(99)]);
    w.take_deliveries(A);
    w.publish(A, qos_1("a", "x"));
    assert_eq!(w.take_payloads(A), Vec::<String>::new());
    assert_eq!(w.take_outcomes(A), [(1, NoMatchingSubscribers)]);
}

#[test]
fn a_complete_delta_replaces_everything_and_may_skip_versions() {
    let mut w = world();
    w.attach(A);
    w.subscribe(A, 1, "a");
    let changes = vec![InterestChange::Add {
        filter_id: FilterId(2),
        topic_filter: Bytes::from_static(b"b"),
    }];
    w.operate(
        A,
        Operation::Interest(InterestDelta {
            shard: S0,
            version: InterestVersion(9),
            complete: true,
            changes,
        }),
    );
    assert!(matches!(
        w.take_deliveries(A)[..],
        [Delivery::Marker {
            version: InterestVersion(9)
        }]
    ));
    w.publish(A, qos_1("a", "x"));
    w.publish(A, qos_1("b", "y"));
    assert_eq!(w.take_payloads(A), ["y"]);
}

#[test]
fn a_delta_that_skips_a_version_ends_the_link_and_a_repeated_one_is_confirmed_again() {
    let mut w = world();
    w.attach(A);
    w.subscribe(A, 1, "a");
    let delta = |version| {
        let changes = vec![InterestChange::Remove { filter_id: FilterId(1) }];
        Operation::Interest(InterestDelta {
            shard: S0,
            version: InterestVersion(version),
            complete: false,
            changes,
        })
    };
    w.operate(A, delta(1));
    assert!(matches!(
        w.take_deliveries(A)[..],
        [Delivery::Marker {
            version: InterestVersion(1)
        }]
    ));
    w.publish(A, qos_1("a", "x"));
    assert_eq!(w.take_payloads(A), ["x"], "the repeated delta changed nothing");
    w.operate(A, delta(3));
    assert!(matches!(w.closed(A), Some(LinkFault::InterestGap { .. })));
}

#[test]
fn wildcards_of_the_first_level_do_not_match_dollar_topics() {
    let mut w = world();
    w.attach(A);
    w.subscribe(A, 1, "#");
    w.subscribe(A, 2, "+/a");
    w.publish(A, qos_1("$SYS/a", "x"));
    assert_eq!(w.take_payloads(A), Vec::<String>::new());
}

#[test]
fn a_publisher_is_answered_when_every_interested_proxy_has_acknowledged() {
    let mut w = world();
    for proxy in [A, B, C] {
        w.attach(proxy);
    }
    w.subscribe(A, 1, "a");
    w.subscribe(B, 1, "a");
    w.publish(C, qos_1("a", "x"));
    assert_eq!(w.take_outcomes(C), []);
    w.acknowledge(A);
    assert_eq!(w.take_outcomes(C), []);
    w.acknowledge(B);
    assert_eq!(w.take_outcomes(C), [(1, Delivered)]);
}

#[test]
fn outcomes_stay_in_order_and_qos_0_waits_for_nobody_of_its_own() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    w.subscribe(A, 1, "a");
    w.publish(B, qos_0("a", "0"));
    assert_eq!(w.take_outcomes(B), [(1, Delivered)]);
    w.publish(B, qos_1("a", "1"));
    w.publish(B, qos_0("a", "2"));
    w.publish(B, qos_1("nobody", "3"));
    assert_eq!(w.take_outcomes(B), []);
    w.acknowledge(A);
    assert_eq!(
        w.take_outcomes(B),
        [(2, Delivered), (3, Delivered), (4, NoMatchingSubscribers)]
    );
    assert_eq!(w.take_payloads(A), ["0", "1", "2"]);
}

#[test]
fn a_repeated_publication_is_answered_again_and_not_routed_again() {
    let mut w = world();
    w.attach(A);
    w.subscribe(A, 1, "a");
    w.publish(A, qos_1("a", "x"));
    w.publish_as(A, S0, 1, vec![qos_1("a", "x")]);
    assert_eq!(w.take_outcomes(A), [], "it still waits");
    w.acknowledge(A);
    assert_eq!(w.take_outcomes(A), [(1, Delivered)]);
    w.publish_as(A, S0, 1, vec![qos_1("a", "x"), qos_1("b", "y")]);
    assert_eq!(w.take_outcomes(A), [(1, Delivered), (2, NoMatchingSubscribers)]);
    assert_eq!(w.take_payloads(A), ["x"]);
    assert_eq!(w.core.stats().shards[0].counters.publishes_repeated_total, 2);
}

#[test]
fn an_outcome_that_the_proxy_has_confirmed_cannot_be_asked_for_again() {
    let mut w = world();
    w.attach(A);
    w.publish(A, qos_1("nobody", "x"));
    w.operate(A, Operation::RenewLease);
    w.operate(A, Operation::RenewLease);
    w.publish_as(A, S0, 1, vec![qos_1("nobody", "x")]);
    assert!(matches!(w.closed(A), Some(LinkFault::PublishForgotten { .. })));
}

#[test]
fn qos_0_beyond_the_credit_is_shed_and_qos_1_waits() {
    let mut w = world();
    w.try_attach(A).unwrap();
    w.attach(B);
    w.subscribe(A, 1, "a");
    w.publish(B, qos_0("a", "shed"));
    w.publish(B, qos_1("a", "kept"));
    w.publish(B, qos_0("a", "shed too"));
    assert_eq!(w.take_payloads(A), Vec::<String>::new());
    w.credit(A, 1);
    assert_eq!(w.take_payloads(A), ["kept"]);
    assert_eq!(w.core.stats().shards[0].counters.shed_total, 2);
}

#[test]
fn a_large_message_may_overdraw_the_credit_once() {
    let mut w = world();
    w.try_attach(A).unwrap();
    w.subscribe(A, 1, "a");
    w.credit(A, 1);
    w.publish(A, qos_1("a", "1"));
    w.publish(A, qos_1("a", "2"));
    assert_eq!(w.take_payloads(A), ["1"]);
    w.credit(A, qos_1("a", "1").charged_bytes() as u64);
    assert_eq!(w.take_payloads(A), ["2"]);
}

#[test]
fn a_full_ring_loses_qos_1_and_says_so_when_the_proxy_has_caught_up() {
    let mut w = World::new(StorageSettings {
        ring_bytes: 1_000,
        ..settings(1)
    });
    w.try_attach(A).unwrap();
    w.attach(B);
    w.subscribe(A, 1, "a");
    let count = 20;
    for n in 0..count {
        w.publish(B, qos_1("a", &n.to_string()));
    }
    let outcomes = w.take_outcomes(B);
    assert_eq!(outcomes.len(), count, "an overrun proxy counts as answered");
    assert!(w.facts.iter().any(|f| matches!(f, StorageFact::RingOverrun { .. })));
    w.credit(A, 1 << 30);
    let kept = w.take_payloads(A);
    assert!(kept.len() < count && kept.iter().zip(0..).all(|(payload, n)| *payload == n.to_string()));
    w.acknowledge(A);
    assert_eq!(w.take_deliveries(A), [Delivery::Overrun { queues_lost: false }]);
    let lost = (count - kept.len()) as u64;
    assert!(
        w.facts
            .iter()
            .any(|f| matches!(f, StorageFact::RingRecovered { lost: l, .. } if *l == lost))
    );
    w.publish(B, qos_1("a", "after"));
    assert_eq!(w.take_payloads(A), ["after"]);
    let counters = w.core.stats().shards[0].counters;
    assert_eq!((counters.overruns_total, counters.overrun_messages_total), (1, lost));
}

#[test]
fn a_slow_proxy_does_not_delay_the_others_deliveries() {
    let mut w = world();
    w.try_attach(A).unwrap();
    w.attach(B);
    w.subscribe(A, 1, "a");
    w.subscribe(B, 1, "a");
    w.publish(B, qos_1("a", "x"));
    assert_eq!(w.take_payloads(B), ["x"]);
}

#[test]
fn a_silent_proxy_holds_up_publishers_for_a_second_and_loses_nothing() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    w.subscribe(A, 1, "a");
    w.publish(B, qos_1("a", "1"));
    w.pass_ms(999);
    assert_eq!(w.take_outcomes(B), []);
    w.pass_ms(1);
    assert_eq!(w.take_outcomes(B), [(1, Delivered)]);
    assert!(matches!(w.facts.last(), Some(StorageFact::ProxySilent { .. })));
    w.publish(B, qos_1("a", "2"));
    assert_eq!(w.take_outcomes(B), [(2, Delivered)], "nobody waits for it any more");
    assert_eq!(w.take_payloads(A), ["1", "2"]);
    w.acknowledge(A);
    w.publish(B, qos_1("a", "3"));
    assert_eq!(w.take_outcomes(B), [], "it speaks again");
}

#[test]
fn a_proxy_that_acknowledges_slowly_is_not_silent() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    w.subscribe(A, 1, "a");
    let first = w.proxies[&A].shards[&S0].received;
    for _ in 0..3 {
        w.publish(B, qos_1("a", "x"));
    }
    for seq in 1..=3 {
        w.pass_ms(900);
        let seq = DeliverySeq(first + seq);
        w.control(
            A,
            DeliveryControl::Acknowledge {
                shard: S0,
                term: TERM,
                seq,
            },
        );
    }
    assert_eq!(w.core.stats().shards[0].counters.silences_total, 0);
    assert_eq!(w.take_outcomes(B).len(), 3);
}

#[test]
fn an_acknowledgement_of_what_was_not_sent_ends_the_link() {
    let mut w = world();
    w.attach(A);
    w.control(
        A,
        DeliveryControl::Acknowledge {
            shard: S0,
            term: TERM,
            seq: DeliverySeq(5),
        },
    );
    assert!(matches!(w.closed(A), Some(LinkFault::AcknowledgedUnsent { .. })));
}

#[test]
fn publications_are_held_until_proxies_had_time_to_name_their_interest() {
    let mut w = World::new(StorageSettings {
        recovery_hold_ms: 1_000,
        ..settings(1)
    });
    w.attach(B);
    w.publish(B, qos_1("a", "1"));
    w.publish(B, qos_1("a", "2"));
    w.pass_ms(500);
    w.attach(A);
    w.subscribe(A, 1, "a");
    w.pass_ms(499);
    assert_eq!(w.take_payloads(A), Vec::<String>::new());
    w.pass_ms(1);
    assert_eq!(w.take_payloads(A), ["1", "2"]);
    w.acknowledge(A);
    assert_eq!(w.take_outcomes(B), [(1, Delivered), (2, Delivered)]);
    assert!(
        w.facts
            .iter()
            .any(|f| matches!(f, StorageFact::RecoveryHoldEnded { held: 2, .. }))
    );
}

#[test]
fn what_cannot_be_held_is_sent_again_by_its_proxy() {
    let size = qos_1("a", "1").charged_bytes();
    let mut w = World::new(StorageSettings {
        recovery_hold_ms: 1_000,
        hold_bytes: size,
        ..settings(1)
    });
    w.attach(A);
    w.publish_as(A, S0, 1, vec![qos_1("a", "1"), qos_1("a", "2")]);
    assert_eq!(w.closed(A), Some(&LinkFault::HoldFull(S0)));
    let again = w.attach(A);
    assert_eq!(again.attachments[0].publish_seq, PublishSeq(1));
    w.pass_ms(1_000);
    w.publish_as(A, S0, 1, vec![qos_1("a", "1"), qos_1("a", "2")]);
    assert_eq!(
        w.take_outcomes(A),
        [
            (1, NoMatchingSubscribers),
            (1, NoMatchingSubscribers),
            (2, NoMatchingSubscribers)
        ]
    );
}

#[test]
fn a_filter_beyond_the_bound_is_not_confirmed_until_it_is_withdrawn() {
    let mut w = World::new(StorageSettings {
        interest_bytes: 400,
        ..settings(1)
    });
    w.attach(A);
    w.subscribe(A, 1, "a");
    let add = |id| InterestChange::Add {
        filter_id: FilterId(id),
        topic_filter: Bytes::from_static(b"b/+"),
    };
    w.change_interest(A, S0, vec![add(2)]);
    assert_eq!(w.take_deliveries(A), []);
    assert!(matches!(w.facts.last(), Some(StorageFact::InterestFull { .. })));
    w.publish(A, qos_1("a", "x"));
    assert_eq!(w.take_payloads(A), ["x"], "what was confirmed goes on");
    w.change_interest(A, S0, vec![InterestChange::Remove { filter_id: FilterId(2) }]);
    assert!(matches!(
        w.take_deliveries(A)[..],
        [Delivery::Marker {
            version: InterestVersion(3)
        }]
    ));
    assert_eq!(w.core.stats().shards[0].counters.filters_refused_total, 1);
}

#[test]
fn the_expiry_interval_shrinks_while_a_message_waits() {
    let mut w = world();
    w.try_attach(A).unwrap();
    w.attach(B);
    w.subscribe(A, 1, "a");
    for interval_s in [10, 2] {
        w.publish(
            B,
            Message {
                message_expiry_interval_s: Some(interval_s),
                ..qos_1("a", "x")
            },
        );
    }
    w.pass_ms(3_500);
    w.credit(A, 1 << 20);
    let remaining: Vec<_> = w
        .take_deliveries(A)
        .into_iter()
        .map(|d| match d {
            Delivery::Message { message, .. } => message.message_expiry_interval_s,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(remaining, [Some(7), Some(0)]);
}

#[test]
fn the_fleet_under_a_placement_rule_registers_once_per_device() {
    let rules = vec!["dev/{key}/#".to_owned()];
    let mut w = World::new(StorageSettings {
        placement_rules: rules,
        ..settings(8)
    });
    w.attach(A);
    w.attach(B);
    for device in 0..100 {
        w.subscribe(A, device, &format!("dev/{device}/#"));
    }
    let stats = w.core.stats();
    let one: u64 = stats.shards.iter().map(|s| s.gauges.filters_one_shard).sum();
    let all: u64 = stats.shards.iter().map(|s| s.gauges.filters_all_shards).sum();
    assert_eq!((one, all), (100, 0));
    w.publish(B, qos_1("dev/42/x/y", "hello"));
    assert_eq!(w.take_payloads(A), ["hello"]);
}
