//! Publications of clients: acknowledgements, packet ids, receive maximum.

use std::num::NonZeroU16;

use freshet_mqtt::{ClientPacket, Connect, PublishProperties, QoS, ReasonCode, UserProperties};
use freshet_storage_contract::{MonotonicMs, PublishOutcome};

use super::bench::*;
use super::seen::Seen;
use crate::exchange::{ToLink, ToWorker};
use crate::reason::DisconnectReason;
use crate::worker::Received;

fn published(bench: &Bench) -> Vec<(String, Vec<u8>)> {
    let of = |said: &ToLink| match said {
        ToLink::Publish { message, .. } => Some((
            String::from_utf8(message.topic_name.to_vec()).unwrap(),
            message.payload.to_vec(),
        )),
        _ => None,
    };
    bench.storage.heard.iter().filter_map(of).collect()
}

#[test]
#[cfg_attr(
    false,
    shows("5.0:2.2.1-5", "5.0:3.3.4-1", "5.0:4.3.2-4", "5.0:4.3.3-8", "5.0:4.3.3-11")
)]
fn each_qos_gets_its_answer_once_the_outcome_is_known() {
    // MQTT-4.3.2-4, MQTT-4.3.3-8
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.storage.hold_publications = true;
    for (qos, packet_id) in [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 1), (QoS::ExactlyOnce, 2)] {
        bench.publish(client, "a", b"x", qos, packet_id);
    }
    assert_eq!(bench.read(client), []);
    bench.storage.release();
    bench.settle();
    let none = ReasonCode::NoMatchingSubscribers;
    assert_eq!(bench.read(client), [Seen::PubAck(1, none), Seen::PubRec(2, none)]);
    bench.pubrel(client, 2);
    assert_eq!(bench.read(client), [Seen::PubComp(2, ReasonCode::Success)]);
    assert_eq!(bench.worker.stats().publishes_outstanding_now, 0);
    assert_eq!(bench.worker.stats().publish_bytes_outstanding_now, 0);
}

#[test]
fn the_time_from_publish_to_outcome_is_counted_by_qos_and_forgotten_after_some_seconds() {
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.storage.hold_publications = true;
    bench.publish(client, "a", b"x", QoS::AtLeastOnce, 1);
    bench.publish(client, "a", b"x", QoS::ExactlyOnce, 2);
    bench.pass_ms(12);
    bench.storage.release();
    bench.settle();
    let counts = |bench: &Bench| bench.worker.round_trips(bench.now);
    assert_eq!([0, 1, 2].map(|qos| counts(&bench).total(qos)), [0, 1, 1]);
    assert_eq!(counts(&bench).percentile_ms(1, 99), Some(12));
    bench.pass_ms(11_000);
    assert_eq!(counts(&bench).total(1), 0);
}

#[test]
fn what_has_waited_to_be_read_has_taken_that_long_as_well() {
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    let p99_ms = |bench: &Bench, qos| bench.worker.round_trips(bench.now).percentile_ms(qos, 99);
    bench.pass_ms(100);
    let since = bench.now;
    bench.pass_ms(14);
    bench.worker.read_what_came_since(since);
    bench.publish(client, "a", b"x", QoS::AtLeastOnce, 1);
    bench.settle();
    assert_eq!(p99_ms(&bench, 1), Some(14));
    // Nothing comes before it was sent, whatever the shell says.
    bench.worker.read_what_came_since(MonotonicMs(since.0 + 60_000));
    bench.publish(client, "a", b"x", QoS::ExactlyOnce, 2);
    bench.settle();
    assert_eq!(p99_ms(&bench, 2), Some(0));
    // A client waits for its CONNACK as long.
    bench.pass_ms(4_000);
    bench.worker.read_what_came_since(MonotonicMs(bench.now.0 - 9));
    bench.client(V5, "d");
    assert_eq!(bench.worker.connacks(bench.now).percentile_ms(0, 99), Some(9));
}

#[test]
fn answers_leave_in_the_order_of_the_publications_whatever_the_order_of_outcomes() {
    // MQTT-4.6.0-2, MQTT-4.6.0-3
    let mut bench = Bench::new();
    let client = bench.client(V311, "c");
    bench.storage.hold_publications = true;
    for packet_id in 1..=3 {
        bench.publish(client, "a", b"x", QoS::AtLeastOnce, packet_id);
    }
    let tickets: Vec<_> = bench.storage.held_publications.drain(..).map(|held| held.0).collect();
    for at in [2, 1] {
        bench.tell(ToWorker::Published {
            ticket: tickets[at],
            outcome: PublishOutcome::Delivered,
        });
        assert_eq!(bench.read(client), []);
    }
    bench.tell(ToWorker::Published {
        ticket: tickets[0],
        outcome: PublishOutcome::Delivered,
    });
    let expected = [1, 2, 3].map(|packet_id| Seen::PubAck(packet_id, ReasonCode::Success));
    assert_eq!(bench.read(client), expected);
}

#[test]
#[cfg_attr(false, shows("3.1.1:4.3.2-2"))]
fn a_publish_that_is_sent_again_before_its_answer_is_one_publication() {
    let mut bench = Bench::new();
    let client = bench.client(V311, "c");
    bench.storage.hold_publications = true;
    for _ in 0..5 {
        bench.publish(client, "a", b"x", QoS::AtLeastOnce, 7);
    }
    bench.storage.release();
    bench.settle();
    assert_eq!(bench.read(client), [Seen::PubAck(7, ReasonCode::Success)]);
    assert_eq!(
        (published(&bench).len(), bench.worker.stats().publishes_repeated),
        (1, 4)
    );
    // The id is free again: the next one is a new message.
    bench.publish(client, "a", b"y", QoS::AtLeastOnce, 7);
    assert_eq!(published(&bench).len(), 2);
}

#[test]
#[cfg_attr(
    false,
    shows("5.0:4.3.3-10", "5.0:4.3.3-12", "3.1.1:2.3.1-6", "3.1.1:3.3.4-1", "3.1.1:4.3.3-2")
)]
fn qos_2_is_one_message_until_its_release() {
    // MQTT-4.3.3-10, MQTT-4.3.3-11, MQTT-4.3.3-12
    let mut bench = Bench::new();
    let client = bench.client(V311, "c");
    bench.publish(client, "a", b"x", QoS::ExactlyOnce, 7);
    bench.publish(client, "a", b"x", QoS::ExactlyOnce, 7);
    let pubrec = Seen::PubRec(7, ReasonCode::Success);
    assert_eq!(bench.read(client), [pubrec.clone(), pubrec]);
    assert_eq!(published(&bench).len(), 1);
    bench.pubrel(client, 7);
    bench.publish(client, "a", b"y", QoS::ExactlyOnce, 7);
    assert_eq!(published(&bench).len(), 2);
}

#[test]
fn a_release_of_nothing_is_answered_with_not_found() {
    // MQTT 5.0, 3.7.2.1
    let mut bench = Bench::new();
    let (old, new) = (bench.client(V311, "old"), bench.client(V5, "new"));
    bench.pubrel(old, 3);
    bench.pubrel(new, 3);
    assert_eq!(bench.read(old), [Seen::PubComp(3, ReasonCode::Success)]);
    assert_eq!(
        bench.read(new),
        [Seen::PubComp(3, ReasonCode::PacketIdentifierNotFound)]
    );
}

#[test]
#[cfg_attr(false, shows("5.0:2.2.1-3"))]
fn a_packet_id_in_use_for_something_else_is_refused() {
    let mut bench = Bench::new();
    let (old, new) = (bench.client(V311, "old"), bench.client(V5, "new"));
    for client in [old, new] {
        bench.publish(client, "a", b"x", QoS::ExactlyOnce, 7);
        bench.read(client);
        bench.publish(client, "a", b"x", QoS::AtLeastOnce, 7);
    }
    assert_eq!(bench.read(new), [Seen::PubAck(7, ReasonCode::PacketIdentifierInUse)]);
    assert_eq!(bench.reason(old), Some(DisconnectReason::ProtocolError));
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.4-7"))]
fn more_unacknowledged_publications_than_announced_end_a_5_0_connection() {
    // MQTT 5.0, 3.3.4 and 4.9
    let mut bench = Bench::configured(|c| c.mqtt.receive_maximum = 3);
    let client = bench.client(V5, "c");
    for packet_id in 1..=3 {
        bench.publish(client, "a", b"x", QoS::ExactlyOnce, packet_id);
    }
    assert_eq!(bench.reason(client), None);
    // PUBREC was sent, PUBCOMP was not: all three count. QoS 0 does not.
    bench.publish(client, "a", b"x", QoS::AtMostOnce, 0);
    bench.read(client);
    assert_eq!(bench.publish(client, "a", b"x", QoS::AtLeastOnce, 4), Received::Close);
    let expected = (
        vec![Seen::Disconnect(ReasonCode::ReceiveMaximumExceeded)],
        Some(DisconnectReason::ReceiveMaximumExceeded),
    );
    assert_eq!(bench.last_words(client), expected);
}

#[test]
fn a_repetition_does_not_count_against_receive_maximum() {
    let mut bench = Bench::configured(|c| c.mqtt.receive_maximum = 1);
    let client = bench.client(V5, "c");
    bench.storage.hold_publications = true;
    for _ in 0..3 {
        assert_eq!(
            bench.publish(client, "a", b"x", QoS::AtLeastOnce, 1),
            Received::Continue
        );
    }
    assert_eq!(bench.reason(client), None);
}

#[test]
fn a_3_1_1_client_over_the_limit_is_not_read_until_an_answer_leaves() {
    let mut bench = Bench::configured(|c| c.mqtt.receive_maximum = 2);
    let client = bench.client(V311, "c");
    bench.storage.hold_publications = true;
    bench.publish(client, "a", b"1", QoS::AtLeastOnce, 1);
    assert_eq!(
        bench.publish(client, "a", b"2", QoS::AtLeastOnce, 2),
        Received::Continue
    );
    assert_eq!(
        bench.publish(client, "a", b"3", QoS::AtLeastOnce, 3),
        Received::PauseReading
    );
    assert_eq!(published(&bench).len(), 2);
    bench.storage.release();
    bench.settle();
    assert_eq!(published(&bench).len(), 3);
    assert_eq!(bench.resumed, [client.token]);
    assert_eq!(bench.read(client).len(), 3);
    assert_eq!(bench.reason(client), None);
}

#[test]
fn a_3_1_1_client_can_always_release_its_qos_2_messages() {
    // Reading must not pause on ids that wait for PUBREL: that may be the very next packet.
    let mut bench = Bench::configured(|c| c.mqtt.receive_maximum = 2);
    let client = bench.client(V311, "c");
    for packet_id in 1..=50 {
        assert_eq!(
            bench.publish(client, "a", b"x", QoS::ExactlyOnce, packet_id),
            Received::Continue
        );
    }
    for packet_id in 1..=50 {
        bench.pubrel(client, packet_id);
    }
    assert_eq!(bench.read(client).len(), 100);
    assert!(
        bench.worker.connections.get(client.token).unwrap().inbound.is_none(),
        "nothing is kept"
    );
}

#[test]
#[cfg_attr(false, shows("3.1.1:3.3.5-2"))]
fn nobody_publishes_to_the_servers_own_topics() {
    let mut bench = Bench::new();
    let (old, new) = (bench.client(V311, "old"), bench.client(V5, "new"));
    for client in [old, new] {
        for (qos, packet_id) in [(QoS::AtMostOnce, 0), (QoS::AtLeastOnce, 1), (QoS::ExactlyOnce, 2)] {
            bench.publish(client, "$SYS/x", b"x", qos, packet_id);
        }
    }
    assert_eq!(published(&bench), []);
    let no = ReasonCode::NotAuthorized;
    assert_eq!(bench.read(new), [Seen::PubAck(1, no), Seen::PubRec(2, no)]);
    assert_eq!(
        bench.read(old),
        [
            Seen::PubAck(1, ReasonCode::Success),
            Seen::PubRec(2, ReasonCode::Success)
        ]
    );
    assert_eq!(bench.worker.stats().publishes_not_authorized, 6);
    assert_eq!((bench.reason(old), bench.reason(new)), (None, None));
}

#[test]
fn topics_over_the_servers_limits_are_refused() {
    let mut bench = Bench::configured(|c| (c.mqtt.max_topic_levels, c.mqtt.max_topic_bytes) = (3, 10));
    let client = bench.client(V5, "c");
    bench.publish(client, "a/b/c/d", b"x", QoS::AtLeastOnce, 1);
    bench.publish(client, "12345678901", b"x", QoS::ExactlyOnce, 2);
    let no = ReasonCode::TopicNameInvalid;
    assert_eq!(bench.read(client), [Seen::PubAck(1, no), Seen::PubRec(2, no)]);
    bench.publish(client, "a/b/c/d", b"x", QoS::AtMostOnce, 0);
    assert_eq!(
        bench.last_words(client),
        (vec![Seen::Disconnect(no)], Some(DisconnectReason::TopicNameInvalid))
    );
}

#[test]
fn a_quota_is_told_to_5_0_and_acknowledged_to_3_1_1() {
    let mut bench = Bench::new();
    let (old, new) = (bench.client(V311, "old"), bench.client(V5, "new"));
    bench.storage.hold_publications = true;
    for client in [old, new] {
        bench.publish(client, "a", b"x", QoS::AtLeastOnce, 1);
    }
    for (ticket, _) in std::mem::take(&mut bench.storage.held_publications) {
        bench.tell(ToWorker::Published {
            ticket,
            outcome: PublishOutcome::QuotaExceeded,
        });
    }
    assert_eq!(bench.read(old), [Seen::PubAck(1, ReasonCode::Success)]);
    assert_eq!(bench.read(new), [Seen::PubAck(1, ReasonCode::QuotaExceeded)]);
    assert_eq!(bench.worker.stats().publishes_over_quota, 2);
}

#[test]
#[cfg_attr(false, shows("5.0:3.2.2-17", "5.0:3.3.2-9", "5.0:3.3.2-12"))]
fn an_alias_stands_for_its_topic() {
    // MQTT-3.3.2-12
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    let with_alias = |topic, alias| {
        let properties = PublishProperties {
            topic_alias: NonZeroU16::new(alias),
            ..PublishProperties::default()
        };
        ClientPacket::Publish(freshet_mqtt::Publish {
            properties,
            ..publish(topic, b"x", QoS::AtMostOnce, 0)
        })
    };
    bench.send(client, with_alias("a/b", 16));
    bench.send(client, with_alias("", 16));
    let topics: Vec<_> = published(&bench).into_iter().map(|p| p.0).collect();
    assert_eq!(topics, ["a/b", "a/b"]);
    // MQTT-3.3.2-9, and one that was never defined.
    for (alias, reason) in [
        (17, DisconnectReason::TopicAliasInvalid),
        (15, DisconnectReason::ProtocolError),
    ] {
        let client = bench.client(V5, "d");
        bench.send(client, with_alias("", alias));
        assert_eq!(bench.reason(client), Some(reason));
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.2-17", "5.0:3.3.2-18"))]
fn what_travels_with_a_message_is_kept_and_what_belongs_to_the_connection_is_not() {
    // MQTT-3.3.2-17, MQTT-3.3.2-18
    let mut bench = Bench::new();
    let (publisher, subscriber) = (bench.client(V5, "p"), bench.client(V5, "s"));
    bench.subscribe(subscriber, "a/#", QoS::AtMostOnce);
    let pairs = [("k", "1"), ("k", "2"), ("a", "z")];
    let properties = PublishProperties {
        topic_alias: NonZeroU16::new(3),
        message_expiry_interval: Some(60),
        user_properties: UserProperties::from_pairs(&pairs),
        content_type: Some("text/plain"),
        ..PublishProperties::default()
    };
    let packet = freshet_mqtt::Publish {
        properties,
        ..publish("a/b", b"hello", QoS::AtMostOnce, 0)
    };
    bench.send(publisher, ClientPacket::Publish(packet));
    let seen = bench.read_publishes(subscriber);
    let pairs = pairs.map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(
        (seen[0].topic.as_str(), &seen[0].payload[..], seen[0].expiry),
        ("a/b", &b"hello"[..], Some(60))
    );
    assert_eq!((&seen[0].user_properties[..], seen[0].alias), (&pairs[..], None));
}

#[test]
fn over_the_bound_on_outstanding_bytes_publishers_wait_and_others_do_not() {
    let mut bench = Bench::with(
        crate::worker::WorkerSettings {
            outstanding_publish_bytes: 10_000,
            ..settings()
        },
        freshet_config::ProxyConfig::default(),
    );
    let (publisher, other) = (bench.client(V5, "p"), bench.client(V5, "o"));
    bench.storage.hold_publications = true;
    let mut packet_id = 0;
    let received = loop {
        packet_id += 1;
        let received = bench.publish(publisher, "a", &[0; 1_000], QoS::AtLeastOnce, packet_id);
        if received != Received::Continue {
            break received;
        }
    };
    assert_eq!(received, Received::PauseReading);
    assert!(bench.worker.stats().publish_bytes_outstanding_now < 12_000);
    assert!(bench.worker.read_budget_bytes() < 64 << 10);
    bench.send(other, ClientPacket::PingReq);
    assert_eq!(bench.read(other), [Seen::PingResp]);
    assert_eq!(
        bench.publish(other, "a", b"x", QoS::AtMostOnce, 0),
        Received::PauseReading
    );
    bench.storage.release();
    bench.settle();
    assert_eq!(bench.read(publisher).len(), usize::from(packet_id));
    assert_eq!(bench.resumed, [publisher.token, other.token]);
    assert_eq!(bench.worker.stats().input_bytes_now, 0);
}

#[test]
fn packets_arrive_in_pieces_of_any_size() {
    let mut stream = Vec::new();
    let peer = freshet_mqtt::Peer::new(V5);
    ClientPacket::Connect(Connect::new(V5, "c"))
        .encode(&peer, &mut stream)
        .unwrap();
    for packet_id in 1..=4 {
        let payload = vec![7; usize::from(packet_id) * 90];
        ClientPacket::Publish(publish("topic", &payload, QoS::AtLeastOnce, packet_id))
            .encode(&peer, &mut stream)
            .unwrap();
        ClientPacket::PingReq.encode(&peer, &mut stream).unwrap();
    }
    for piece in [1, 2, 3, 5, 64, 129, 400, stream.len()] {
        let mut bench = Bench::new();
        let client = bench.open(V5);
        for bytes in stream.chunks(piece) {
            assert_eq!(bench.send_bytes(client, bytes), Received::Continue, "pieces of {piece}");
        }
        assert_eq!(bench.read(client).len(), 9, "pieces of {piece}");
        assert_eq!(bench.worker.stats().input_bytes_now, 0);
    }
}

#[test]
fn a_3_1_1_client_that_releases_nothing_costs_a_few_kilobytes() {
    let mut bench = Bench::new();
    let client = bench.client(V311, "c");
    for packet_id in 1..=u16::MAX {
        assert_eq!(
            bench.publish(client, "a", b"", QoS::ExactlyOnce, packet_id),
            Received::Continue
        );
        if packet_id % 1_000 == 0 {
            bench.read(client);
        }
    }
    bench.publish(client, "a", b"", QoS::ExactlyOnce, 500);
    assert_eq!(bench.worker.stats().publishes_repeated, 1);
    for packet_id in 1..=u16::MAX {
        bench.pubrel(client, packet_id);
        if packet_id % 1_000 == 0 {
            bench.read(client);
        }
    }
    assert!(bench.worker.connections.get(client.token).unwrap().inbound.is_none());
}
