//! Exchanges of QoS 1 and 2, step by step, in both directions.

use std::num::NonZeroU16;

use freshet_mqtt::{ClientPacket, Connect, Publish, PublishProperties, QoS, ReasonCode};

use super::bench::*;
use super::seen::{Seen, SeenPublish};
use crate::exchange::ToLink;
use crate::reason::DisconnectReason;

const BOTH: [freshet_mqtt::ProtocolVersion; 2] = [V311, V5];

fn published(bench: &Bench) -> usize {
    let is_publish = |said: &&ToLink| matches!(said, ToLink::Publish { .. });
    bench.storage.heard.iter().filter(is_publish).count()
}

fn publishes(seen: &[Seen]) -> Vec<&SeenPublish> {
    seen.iter()
        .filter_map(|seen| match seen {
            Seen::Publish(publish) => Some(publish),
            _ => None,
        })
        .collect()
}

#[test]
#[cfg_attr(false, shows("5.0:4.3.2-2", "5.0:4.3.3-2", "3.1.1:4.3.2-1", "3.1.1:4.3.3-1"))]
fn a_new_message_goes_out_with_dup_0_and_an_unused_id_until_it_is_acknowledged() {
    for version in BOTH {
        let mut bench = Bench::configured(|c| c.client_limits.inflight = 2);
        let client = bench.client(version, "c");
        bench.subscribe(client, "a", QoS::ExactlyOnce);
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtLeastOnce] {
            bench.deliver(message("a", b"x", qos));
        }
        let seen = bench.read_publishes(client);
        let expected = [(QoS::AtLeastOnce, false), (QoS::ExactlyOnce, false)];
        assert_eq!(seen.iter().map(|p| (p.qos, p.dup)).collect::<Vec<_>>(), expected);
        let [one, two] = [0, 1].map(|at: usize| seen[at].packet_id.unwrap());
        assert_ne!(one, two);

        bench.pubrec(client, two);
        assert_eq!(bench.read(client), [Seen::PubRel(two, ReasonCode::Success)]);
        bench.puback(client, one);
        let third = &bench.read_publishes(client)[0];
        assert_eq!(
            (third.dup, third.packet_id),
            (false, Some(one)),
            "an id that is free again"
        );
        bench.pubcomp(client, two);
        assert_eq!(bench.read(client), [], "nothing is sent again");
    }
}

#[test]
#[cfg_attr(false, shows("5.0:4.4.0-1"))]
fn nothing_is_sent_again_while_the_connection_lasts() {
    for version in BOTH {
        let mut bench = Bench::new();
        let client = bench.client(version, "c");
        bench.subscribe(client, "a", QoS::ExactlyOnce);
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce] {
            bench.deliver(message("a", b"x", qos));
        }
        let sent = bench.read_publishes(client);
        let released = sent[2].packet_id.unwrap();
        bench.pubrec(client, released);
        assert_eq!(bench.read(client), [Seen::PubRel(released, ReasonCode::Success)]);
        for _ in 0..24 * 60 {
            bench.pass_ms(60_000);
            bench.send(client, ClientPacket::PingReq);
            assert_eq!(bench.read(client), [Seen::PingResp]);
        }
    }
}

#[test]
#[cfg_attr(false, shows("5.0:4.3.2-5", "3.1.1:4.3.2-2"))]
fn after_puback_the_same_id_is_a_new_message_whatever_its_dup() {
    for version in BOTH {
        let mut bench = Bench::new();
        let client = bench.client(version, "c");
        for dup in [false, true, true] {
            let packet = Publish {
                dup,
                ..publish("a", b"x", QoS::AtLeastOnce, 7)
            };
            bench.send(client, ClientPacket::Publish(packet));
            assert!(matches!(bench.read(client)[..], [Seen::PubAck(7, _)]));
        }
        assert_eq!(published(&bench), 3);
    }
}

#[test]
#[cfg_attr(false, shows("5.0:4.3.3-9"))]
fn after_a_refusing_pubrec_the_same_id_is_a_new_message() {
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.publish(client, "$SYS/x", b"x", QoS::ExactlyOnce, 7);
    assert_eq!(bench.read(client), [Seen::PubRec(7, ReasonCode::NotAuthorized)]);
    assert_eq!(published(&bench), 0);
    bench.publish(client, "a", b"x", QoS::ExactlyOnce, 7);
    assert_eq!(bench.read(client), [Seen::PubRec(7, ReasonCode::NoMatchingSubscribers)]);
    assert_eq!(published(&bench), 1);
}

#[test]
#[cfg_attr(false, shows("5.0:4.3.3-13"))]
fn an_incoming_message_that_expires_completes_its_exchange() {
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.storage.hold_publications = true;
    let properties = PublishProperties {
        message_expiry_interval: Some(1),
        ..PublishProperties::default()
    };
    let packet = Publish {
        properties,
        ..publish("a", b"x", QoS::ExactlyOnce, 7)
    };
    bench.send(client, ClientPacket::Publish(packet));
    bench.pass_ms(5_000);
    bench.storage.release();
    bench.settle();
    assert_eq!(bench.read(client), [Seen::PubRec(7, ReasonCode::NoMatchingSubscribers)]);
    bench.pubrel(client, 7);
    assert_eq!(bench.read(client), [Seen::PubComp(7, ReasonCode::Success)]);
}

#[test]
#[cfg_attr(false, shows("5.0:4.3.3-7"))]
fn an_outgoing_message_that_was_sent_does_not_expire() {
    let mut bench = Bench::configured(|c| c.client_limits.inflight = 1);
    let client = bench.client(V5, "c");
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    let mut dated = message("a", b"x", QoS::ExactlyOnce);
    dated.message_expiry_interval_s = Some(5);
    bench.deliver(dated);
    let packet_id = bench.read_publishes(client)[0].packet_id.unwrap();
    bench.pass_ms(60_000);
    bench.deliver(message("a", b"next", QoS::AtLeastOnce));
    assert_eq!(bench.read(client), [], "the exchange keeps its place in the window");
    bench.pubrec(client, packet_id);
    assert_eq!(bench.read(client), [Seen::PubRel(packet_id, ReasonCode::Success)]);
    bench.pubcomp(client, packet_id);
    assert_eq!(bench.read_publishes(client)[0].payload, b"next");
    assert_eq!(bench.worker.stats().deliveries_expired, 0);
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.1-3", "3.1.1:3.3.1-3"))]
fn the_dup_of_a_publisher_is_not_handed_on() {
    for version in BOTH {
        let mut bench = Bench::new();
        let (publisher, subscriber) = (bench.client(V5, "p"), bench.client(version, "s"));
        bench.subscribe(subscriber, "a", QoS::ExactlyOnce);
        for (qos, packet_id) in [(QoS::AtLeastOnce, 1), (QoS::ExactlyOnce, 2)] {
            let packet = Publish {
                dup: true,
                ..publish("a", b"x", qos, packet_id)
            };
            bench.send(publisher, ClientPacket::Publish(packet));
            let seen = bench.read_publishes(subscriber);
            assert_eq!((seen.len(), seen[0].dup, seen[0].qos), (1, false, qos));
        }
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.4-10", "5.0:4.9.0-3"))]
fn a_client_without_quota_still_gets_everything_else() {
    let mut bench = Bench::new();
    let mut connect = Connect::new(V5, "c");
    connect.properties.receive_maximum = NonZeroU16::new(1);
    let (client, _) = bench.connect(&connect);
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    for payload in [b"1", b"2"] {
        bench.deliver(message("a", payload, QoS::AtLeastOnce));
    }
    let packet_id = bench.read_publishes(client)[0].packet_id.unwrap();
    bench.send(client, ClientPacket::PingReq);
    assert_eq!(bench.read(client), [Seen::PingResp]);
    let seen = bench.subscribe(client, "b", QoS::AtLeastOnce);
    assert_eq!(seen, [Seen::SubAck(9, vec![ReasonCode::GrantedQos1])]);
    bench.publish(client, "c", b"x", QoS::ExactlyOnce, 1);
    bench.pubrel(client, 1);
    let none = ReasonCode::NoMatchingSubscribers;
    assert_eq!(
        bench.read(client),
        [Seen::PubRec(1, none), Seen::PubComp(1, ReasonCode::Success)]
    );
    bench.puback(client, packet_id);
    assert_eq!(bench.read_publishes(client)[0].payload, b"2");
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.2-7"))]
fn topic_aliases_end_with_their_connection() {
    let mut bench = Bench::new();
    let mut connect = Connect::new(V5, "c");
    connect.properties.topic_alias_maximum = Some(4);
    let with_alias = |topic| {
        let properties = PublishProperties {
            topic_alias: NonZeroU16::new(3),
            ..PublishProperties::default()
        };
        ClientPacket::Publish(Publish {
            properties,
            ..publish(topic, b"x", QoS::AtMostOnce, 0)
        })
    };
    let (first, _) = bench.connect(&connect);
    bench.subscribe(first, "topic", QoS::AtMostOnce);
    bench.send(first, with_alias("topic"));
    bench.send(first, with_alias(""));
    let seen = bench.read(first);
    let topics: Vec<_> = publishes(&seen).iter().map(|p| p.topic.as_str()).collect();
    assert_eq!(topics, ["topic", ""], "known in both directions");
    bench.hang_up(first);

    let (second, _) = bench.connect(&connect);
    bench.subscribe(second, "topic", QoS::AtMostOnce);
    bench.deliver(message("topic", b"x", QoS::AtMostOnce));
    assert_eq!(bench.read_publishes(second)[0].topic, "topic", "defined anew");
    bench.send(second, with_alias(""));
    assert_eq!(bench.reason(second), Some(DisconnectReason::ProtocolError));
}

#[test]
#[cfg_attr(false, shows("5.0:3.14.4-1"))]
fn nothing_follows_a_disconnect() {
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    bench.send(client, ClientPacket::Connect(Connect::new(V5, "c")));
    bench.deliver(message("a", b"late", QoS::AtLeastOnce));
    bench.send(client, ClientPacket::PingReq);
    let (seen, _) = bench.last_words(client);
    assert_eq!(seen, [Seen::Disconnect(ReasonCode::ProtocolError)]);
}
