//! The end of subscriptions: which, when, and what is still completed.

use freshet_mqtt::{
    ClientPacket, ProtocolVersion, QoS, ReasonCode, TopicFilter, Unsubscribe, UnsubscribeFilters, UserProperties,
};

use super::bench::*;
use super::seen::Seen;

const BOTH: [ProtocolVersion; 2] = [V311, V5];

fn unsubscribe_all(bench: &mut Bench, client: Client, filters: &[&str]) -> Vec<Seen> {
    let filters: Vec<_> = filters.iter().map(|f| TopicFilter::parse(f).unwrap()).collect();
    let unsubscribe = Unsubscribe {
        packet_id: id(6),
        user_properties: UserProperties::NONE,
        filters: UnsubscribeFilters::from_slice(&filters),
    };
    bench.send(client, ClientPacket::Unsubscribe(unsubscribe));
    bench.read(client)
}

#[test]
#[cfg_attr(
    false,
    shows("5.0:3.10.4-6", "5.0:3.11.3-1", "3.1.1:2.3.1-7", "3.1.1:3.10.4-4", "3.1.1:3.10.4-6")
)]
fn several_filters_get_one_unsuback_in_their_order() {
    for version in BOTH {
        let mut bench = Bench::new();
        let client = bench.client(version, "c");
        for topic_filter in ["a", "b", "c"] {
            bench.subscribe(client, topic_filter, QoS::AtMostOnce);
        }
        let codes = if version == V5 {
            let (gone, none) = (ReasonCode::Success, ReasonCode::NoSubscriptionExisted);
            vec![gone, none, gone]
        } else {
            vec![]
        };
        let seen = unsubscribe_all(&mut bench, client, &["a", "x", "b"]);
        assert_eq!(seen, [Seen::UnsubAck(6, codes)]);
        for topic in ["a", "b", "c"] {
            bench.deliver(message(topic, topic.as_bytes(), QoS::AtMostOnce));
        }
        let left = bench.read_publishes(client);
        assert_eq!((left.len(), left[0].topic.as_str()), (1, "c"));
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.10.4-1", "3.1.1:3.10.4-1", "3.1.1:3.10.4-5"))]
fn a_filter_is_ended_by_its_own_characters_alone() {
    for version in BOTH {
        let mut bench = Bench::new();
        let client = bench.client(version, "c");
        bench.subscribe(client, "a/+", QoS::AtMostOnce);
        for other in ["a/b", "a/#", "A/+", "a/+/", "#"] {
            let seen = bench.unsubscribe(client, other);
            assert!(matches!(seen[..], [Seen::UnsubAck(8, _)]), "{other}: {seen:?}");
            bench.deliver(message("a/b", b"x", QoS::AtMostOnce));
            assert_eq!(bench.read_publishes(client).len(), 1, "{other}");
        }
        bench.unsubscribe(client, "a/+");
        bench.deliver(message("a/b", b"x", QoS::AtMostOnce));
        assert_eq!(bench.read_publishes(client), []);
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.10.4-2", "5.0:3.10.4-3", "3.1.1:3.10.4-2", "3.1.1:3.10.4-3"))]
fn what_was_sent_is_completed_and_nothing_new_is_begun() {
    for version in BOTH {
        let mut bench = Bench::new();
        let client = bench.client(version, "c");
        bench.subscribe(client, "a", QoS::ExactlyOnce);
        bench.deliver(message("a", b"1", QoS::AtLeastOnce));
        bench.deliver(message("a", b"2", QoS::ExactlyOnce));
        let ids: Vec<_> = bench
            .read_publishes(client)
            .iter()
            .map(|p| p.packet_id.unwrap())
            .collect();
        bench.unsubscribe(client, "a");
        bench.deliver(message("a", b"3", QoS::AtLeastOnce));
        assert_eq!(bench.read(client), []);
        bench.puback(client, ids[0]);
        bench.pubrec(client, ids[1]);
        assert_eq!(bench.read(client), [Seen::PubRel(ids[1], ReasonCode::Success)]);
        bench.pubcomp(client, ids[1]);
        assert_eq!(bench.worker.stats().unknown_acknowledgements, 0);
        assert_eq!(bench.reason(client), None);
    }
}

#[test]
fn nobody_is_told_that_a_subscription_is_gone_before_storage_knows() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect(&lasting(V5, "c"));
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    bench.storage.hold_updates = true;
    assert_eq!(unsubscribe_all(&mut bench, client, &["a"]), []);
    bench.send_unsubscribe(client, "a");
    assert_eq!(bench.read(client), [], "its end is on its way");
    bench.storage.release();
    bench.settle();
    let gone = Seen::UnsubAck(6, vec![ReasonCode::Success]);
    let none = Seen::UnsubAck(8, vec![ReasonCode::NoSubscriptionExisted]);
    assert_eq!(bench.read(client), [gone, none]);
    bench.send_unsubscribe(client, "a");
    assert_eq!(bench.read(client).len(), 1);
}

#[test]
fn answers_that_wait_for_others_are_bounded() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect(&lasting(V5, "c"));
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    bench.storage.hold_updates = true;
    unsubscribe_all(&mut bench, client, &["a"]);
    for _ in 0..100 {
        bench.send_unsubscribe(client, "a");
    }
    let at_once = bench.read(client).len();
    assert!((1..100).contains(&at_once), "{at_once}");
    bench.storage.release();
    bench.settle();
    assert_eq!(at_once + bench.read(client).len(), 101);
}
