//! Every limit of the configuration, changed: what a client is told of it, and what happens beyond it.

use std::num::{NonZeroU16, NonZeroU32};

use freshet_config::ProxyConfig;
use freshet_mqtt::{ClientPacket, Connect, ProtocolVersion, QoS, ReasonCode, Will, WillProperties};

use super::bench::*;
use super::seen::{Seen, SeenConnAck};
use crate::exchange::ToLink;
use crate::reason::DisconnectReason;

fn announced(change: impl FnOnce(&mut ProxyConfig)) -> SeenConnAck {
    Bench::configured(change).connect(&Connect::new(V5, "c")).1
}

#[test]
#[cfg_attr(false, shows("5.0:3.2.2-9"))]
fn each_limit_that_connack_has_a_property_for_is_announced() {
    let usual = announced(|_| {});
    assert_eq!((usual.maximum_qos, usual.receive_maximum), (None, Some(100)));
    for (max_qos, expected) in [(0, QoS::AtMostOnce), (1, QoS::AtLeastOnce)] {
        assert_eq!(announced(|c| c.mqtt.max_qos = max_qos).maximum_qos, Some(expected));
    }
    assert_eq!(announced(|c| c.mqtt.receive_maximum = 7).receive_maximum, Some(7));
    assert_eq!(
        announced(|c| c.mqtt.topic_alias_maximum = 0).topic_alias_maximum,
        Some(0)
    );
    let packet = announced(|c| c.client_limits.max_packet_bytes = 2_048);
    assert_eq!(packet.maximum_packet_size, Some(2_048));
    assert_eq!(
        announced(|c| c.client_limits.max_keep_alive_s = 30).server_keep_alive,
        Some(30)
    );
    // Nothing was asked for, and none is the most there is.
    assert_eq!(
        announced(|c| c.client_limits.max_keep_alive_s = 0).server_keep_alive,
        None
    );
}

#[test]
fn a_publication_over_the_maximum_qos_ends_the_connection() {
    // MQTT 5.0, 3.2.2.3.4
    for (version, max_qos, qos) in [
        (V5, 1, QoS::ExactlyOnce),
        (V5, 0, QoS::AtLeastOnce),
        (V311, 1, QoS::ExactlyOnce),
    ] {
        let mut bench = Bench::configured(|c| c.mqtt.max_qos = max_qos);
        let client = bench.client(version, "c");
        let below = if max_qos == 0 {
            QoS::AtMostOnce
        } else {
            QoS::AtLeastOnce
        };
        bench.publish(client, "a", b"x", below, u16::from(below.is_acknowledged()));
        assert_eq!(bench.reason(client), None);
        bench.read(client);
        bench.publish(client, "a", b"x", qos, 2);
        let (seen, reason) = bench.last_words(client);
        assert_eq!(reason, Some(DisconnectReason::QosNotSupported));
        let told = [Seen::Disconnect(ReasonCode::QosNotSupported)];
        assert_eq!(seen, told[..usize::from(version == V5)]);
        let published = bench
            .storage
            .heard
            .iter()
            .filter(|said| matches!(said, ToLink::Publish { .. }));
        assert_eq!(published.count(), 1);
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.2.2-10"))]
fn a_subscription_is_granted_no_more_than_the_maximum_qos() {
    for (max_qos, granted) in [
        (0, ReasonCode::GRANTED_QOS_0),
        (1, ReasonCode::GrantedQos1),
        (2, ReasonCode::GrantedQos2),
    ] {
        for version in [V5, V311] {
            let mut bench = Bench::configured(|c| c.mqtt.max_qos = max_qos);
            let client = bench.client(version, "c");
            let seen = bench.subscribe(client, "a", QoS::ExactlyOnce);
            assert_eq!(seen, [Seen::SubAck(9, vec![granted])]);
            bench.deliver(message("a", b"x", QoS::ExactlyOnce));
            assert_eq!(bench.read_publishes(client)[0].qos.bits(), max_qos);
        }
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.2.2-12"))]
fn a_will_over_the_maximum_qos_refuses_the_connect() {
    let mut bench = Bench::configured(|c| c.mqtt.max_qos = 0);
    for (version, code) in [(V5, Some(ReasonCode::QosNotSupported)), (V311, None)] {
        let will = Will {
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: WillProperties::default(),
            topic_name: "gone",
            payload: b"",
        };
        let client = bench.open(version);
        let connect = Connect {
            will: Some(will),
            ..Connect::new(version, "c")
        };
        bench.send(client, ClientPacket::Connect(connect));
        let (seen, reason) = bench.last_words(client);
        let told = seen.iter().map(|seen| match seen {
            Seen::ConnAck(connack) => connack.reason_code,
            other => panic!("{other:?}"),
        });
        assert_eq!(told.collect::<Vec<_>>(), Vec::from_iter(code));
        assert_eq!(reason, Some(DisconnectReason::QosNotSupported));
    }
}

/// Connects, subscribes and returns how many of fifty QoS 1 messages are on their way at once.
fn in_flight(version: ProtocolVersion, receive_maximum: Option<u16>, inflight: u16) -> usize {
    let mut bench = Bench::configured(|c| c.client_limits.inflight = inflight);
    let mut connect = Connect::new(version, "c");
    connect.properties.receive_maximum = receive_maximum.and_then(NonZeroU16::new);
    let (client, _) = bench.connect(&connect);
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    for _ in 0..50 {
        bench.deliver(message("a", b"x", QoS::AtLeastOnce));
    }
    let sent = bench.read_publishes(client).len();
    bench.puback(client, 1);
    assert_eq!(bench.read_publishes(client).len(), usize::from(sent < 50));
    sent
}

#[test]
fn what_is_in_flight_to_a_client_is_bounded_by_both_sides() {
    // MQTT-3.3.4-9
    let usual = ProxyConfig::default().client_limits.inflight;
    assert_eq!(usual, 32);
    assert_eq!(in_flight(V311, None, usual), 32);
    assert_eq!(in_flight(V311, None, 3), 3);
    assert_eq!(in_flight(V5, None, 40), 40);
    assert_eq!(in_flight(V5, Some(5), 40), 5);
    assert_eq!(in_flight(V5, Some(60), 10), 10);
}

#[test]
fn packet_ids_that_are_all_in_use_are_waited_for() {
    // MQTT-2.2.1-4
    let mut bench = Bench::configured(|c| {
        c.client_limits.inflight = u16::MAX;
        c.client_limits.outbound_buffer_bytes = 64 << 20;
    });
    let client = bench.client(V5, "c");
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    let mut sent = Vec::new();
    for round in 0..=u16::MAX {
        bench.deliver(message("a", b"", QoS::AtLeastOnce));
        if round % 1_000 == 0 {
            sent.extend(bench.read_publishes(client));
        }
    }
    sent.extend(bench.read_publishes(client));
    let mut ids: Vec<_> = sent.iter().filter_map(|publish| publish.packet_id).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(1..=u16::MAX), "each id once, and one message waits");
    bench.puback(client, 700);
    let next = bench.read_publishes(client);
    assert_eq!(
        next.iter().map(|publish| publish.packet_id).collect::<Vec<_>>(),
        [Some(700)]
    );
    assert_eq!(bench.worker.stats().deliveries_dropped, 0);
}

#[test]
fn topics_over_the_limits_are_counted_where_they_are_refused() {
    let mut bench = Bench::configured(|c| (c.mqtt.max_topic_levels, c.mqtt.max_topic_bytes) = (2, 6));
    let client = bench.client(V5, "c");
    for (topic, fits) in [("a/b", true), ("a/b/c", false), ("123456", true), ("1234567", false)] {
        bench.publish(client, topic, b"x", QoS::AtLeastOnce, 1);
        let refused = bench.read(client) == [Seen::PubAck(1, ReasonCode::TopicNameInvalid)];
        assert_eq!(refused, !fits, "{topic}");
        let seen = bench.subscribe(client, topic, QoS::AtMostOnce);
        let refused = seen == [Seen::SubAck(9, vec![ReasonCode::TopicFilterInvalid])];
        assert_eq!(refused, !fits, "{topic}");
    }
    let stats = bench.worker.stats();
    assert_eq!((stats.publishes_topic_invalid, stats.subscriptions_not_taken), (2, 2));
}

#[test]
fn a_client_whose_maximum_packet_size_holds_no_answer_is_let_go() {
    // MQTT-3.1.2-24
    let mut bench = Bench::new();
    let mut connect = Connect::new(V5, "c");
    connect.properties.maximum_packet_size = NonZeroU32::new(4);
    let client = bench.open(V5);
    bench.send(client, ClientPacket::Connect(connect));
    assert_eq!(
        bench.last_words(client),
        (vec![], Some(DisconnectReason::PacketTooLarge))
    );
    assert_eq!(bench.storage.sessions.len(), 0, "its session ends with it");
}

#[test]
fn response_information_is_not_offered_to_those_who_ask_either() {
    // MQTT-3.1.2-28
    for asks in [None, Some(false), Some(true)] {
        let mut connect = Connect::new(V5, "c");
        connect.properties.request_response_information = asks;
        let (_, connack) = Bench::new().connect(&connect);
        assert_eq!(connack.response_information, None);
    }
}

#[test]
fn a_payload_is_passed_on_whatever_its_format_indicator_says() {
    // MQTT-3.3.2-4: that the payload is UTF-8 is not looked at.
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    let mut packet = publish("a", &[0xFF, 0xFE], QoS::AtLeastOnce, 1);
    packet.properties.payload_format_indicator = Some(true);
    bench.send(client, ClientPacket::Publish(packet));
    let seen = bench.read(client);
    assert!(
        seen.contains(&Seen::PubAck(1, ReasonCode::Success)),
        "acknowledged as any other: {seen:?}"
    );
    let delivered = seen.iter().find_map(|seen| match seen {
        Seen::Publish(publish) => Some((publish.payload.clone(), publish.payload_format_indicator)),
        _ => None,
    });
    assert_eq!(delivered, Some((vec![0xFF, 0xFE], Some(true))));
}
