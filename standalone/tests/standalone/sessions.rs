//! Sessions that outlive their connection, over real sockets and among workers.

use std::net::SocketAddr;

use freshet_mqtt::{
    ClientPacket, Connect, PacketId, ProtocolVersion, PubRel, Publish, PublishProperties, QoS, ReasonCode,
    SubscriptionOptions,
};

use crate::broker::Broker;
use crate::client::{Client, Seen, SeenPublish, V5, V311};
use crate::http::{await_condition, metric};

const BOTH: [ProtocolVersion; 2] = [V5, V311];
const RELIABLE: [QoS; 2] = [QoS::AtLeastOnce, QoS::ExactlyOnce];

fn two_workers() -> Broker {
    Broker::start(&["--workers", "2"])
}

fn lasting(version: ProtocolVersion, client_id: &str) -> Connect<'_> {
    let mut connect = Connect::new(version, client_id);
    connect.clean_start = false;
    if version == V5 {
        connect.properties.session_expiry_interval = Some(600);
    }
    connect
}

/// Connects with a session that outlives the connection.
pub(crate) fn connect(address: SocketAddr, version: ProtocolVersion, client_id: &str) -> Client {
    Client::connect_with(address, &lasting(version, client_id)).0
}

/// A QoS 2 PUBLISH to `a`, for the first time or again.
pub(crate) fn publish_once(packet_id: PacketId, dup: bool) -> ClientPacket<'static> {
    ClientPacket::Publish(Publish {
        dup,
        qos: QoS::ExactlyOnce,
        retain: false,
        topic_name: "a",
        packet_id: Some(packet_id),
        properties: PublishProperties::default(),
        payload: b"once",
    })
}

fn payloads(messages: &[SeenPublish]) -> Vec<u8> {
    messages.iter().map(|message| message.payload[0]).collect()
}

/// The next packet, which is a message; it is not acknowledged.
fn next_message(client: &mut Client) -> SeenPublish {
    match client.next() {
        Some(Seen::Publish(publish)) => publish,
        other => panic!("{other:?} in place of a message"),
    }
}

#[test]
#[cfg_attr(
    false,
    shows("5.0:3.1.2-5", "5.0:3.1.2-23", "3.1.1:3.1.2-4", "3.1.1:3.1.2-5", "3.1.1:4.5.0-1")
)]
fn messages_of_an_absence_wait_for_their_session() {
    let broker = two_workers();
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    for version in BOTH {
        for qos in RELIABLE {
            let id = format!("{version:?}-{qos:?}");
            let mut subscriber = connect(broker.mqtt, version, &id);
            assert!(!subscriber.session_present);
            subscriber.subscribe(&format!("{id}/+"), qos);
            subscriber.disconnect();
            for number in 0..100 {
                publisher.publish(&format!("{id}/{}", number % 3), &[number], qos, false);
            }
            let mut subscriber = connect(broker.mqtt, version, &id);
            assert!(subscriber.session_present);
            publisher.publish(&format!("{id}/live"), &[100], qos, false);
            // Order holds among messages of one topic.
            let messages: Vec<_> = (0..=100).map(|_| subscriber.receive()).collect();
            for remainder in 0..3 {
                let of_topic = messages.iter().filter(|m| m.topic.ends_with(&format!("/{remainder}")));
                let of_topic: Vec<_> = of_topic.map(|m| m.payload[0]).collect();
                assert_eq!(
                    of_topic,
                    (0..100).filter(|n| n % 3 == remainder).collect::<Vec<_>>(),
                    "{id}"
                );
            }
            assert!(messages.iter().all(|m| m.qos == qos && !m.dup), "{id}");
            subscriber.ping();
            subscriber.disconnect();
            let mut subscriber = connect(broker.mqtt, version, &id);
            publisher.publish(&format!("{id}/again"), &[101], qos, false);
            assert_eq!(subscriber.receive().payload, [101], "{id}: nothing comes twice");
        }
    }
}

#[test]
#[cfg_attr(
    false,
    shows("5.0:3.3.1-1", "5.0:4.3.3-6", "5.0:4.4.0-1", "3.1.1:3.3.1-1", "3.1.1:4.4.0-1")
)]
fn what_was_not_acknowledged_comes_again_with_its_packet_id() {
    // MQTT-4.4.0-1
    let broker = two_workers();
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    for version in BOTH {
        for qos in RELIABLE {
            let id = format!("{version:?}-{qos:?}");
            let mut subscriber = connect(broker.mqtt, version, &id);
            subscriber.subscribe(&id, qos);
            for number in 0..3 {
                publisher.publish(&id, &[number], qos, false);
            }
            let sent: Vec<_> = (0..3).map(|_| next_message(&mut subscriber)).collect();
            subscriber.acknowledge(&sent[0]);
            if qos == QoS::ExactlyOnce {
                let expected = Seen::PubRel(sent[0].packet_id.unwrap(), ReasonCode::Success);
                assert_eq!(subscriber.next(), Some(expected));
            }
            drop(subscriber);
            let mut subscriber = connect(broker.mqtt, version, &id);
            if qos == QoS::ExactlyOnce {
                let expected = Seen::PubRel(sent[0].packet_id.unwrap(), ReasonCode::Success);
                assert_eq!(subscriber.next(), Some(expected), "PUBREL, never PUBLISH: MQTT-4.3.3-6");
                subscriber.complete(sent[0].packet_id.unwrap());
            }
            // An acknowledgement may have been lost with the connection.
            let mut again = next_message(&mut subscriber);
            if again.payload == [0] && qos == QoS::AtLeastOnce {
                subscriber.acknowledge(&again);
                again = next_message(&mut subscriber);
            }
            let last = next_message(&mut subscriber);
            for (first, second) in sent[1..].iter().zip([again, last]) {
                assert_eq!(
                    (first.packet_id, &first.payload),
                    (second.packet_id, &second.payload),
                    "{id}"
                );
                assert!(second.dup, "{id}");
            }
        }
    }
}

#[test]
#[cfg_attr(false, shows("3.1.1:3.8.4-3"))]
fn a_second_subscription_keeps_what_waits() {
    // MQTT-3.8.4-4
    let broker = two_workers();
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    let mut subscriber = connect(broker.mqtt, V311, "subscriber");
    subscriber.subscribe("a", QoS::AtLeastOnce);
    subscriber.disconnect();
    for number in 0..5 {
        publisher.publish("a", &[number], QoS::AtLeastOnce, false);
    }
    let mut subscriber = connect(broker.mqtt, V311, "subscriber");
    subscriber.subscribe("a", QoS::AtLeastOnce);
    let messages: Vec<_> = (0..5).map(|_| subscriber.receive()).collect();
    assert_eq!(payloads(&messages), [0, 1, 2, 3, 4]);
    subscriber.ping();
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.4-2", "5.0:3.3.4-4"))]
fn overlapping_filters_bring_one_copy_after_an_absence() {
    // MQTT-3.3.4-2, MQTT-3.3.4-4
    let broker = two_workers();
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    let mut subscriber = connect(broker.mqtt, V5, "subscriber");
    for (filter, qos, identifier) in [
        ("a/b", QoS::AtLeastOnce, 1),
        ("a/#", QoS::ExactlyOnce, 2),
        ("+/b", QoS::AtLeastOnce, 3),
    ] {
        subscriber.subscribe_as(filter, SubscriptionOptions::new(qos), Some(identifier));
    }
    subscriber.disconnect();
    publisher.publish("a/b", b"x", QoS::ExactlyOnce, false);
    publisher.publish("a/c", b"y", QoS::ExactlyOnce, false);
    let mut subscriber = connect(broker.mqtt, V5, "subscriber");
    let mut messages = [subscriber.receive(), subscriber.receive()];
    messages.sort_by(|a, b| a.topic.cmp(&b.topic));
    messages[0].identifiers.sort_unstable();
    assert_eq!(
        (messages[0].qos, &messages[0].identifiers[..]),
        (QoS::ExactlyOnce, &[1, 2, 3][..])
    );
    assert_eq!(messages[1].identifiers, [2]);
    subscriber.ping();
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.4-9"))]
fn a_client_with_a_window_of_one_is_sent_one_message_at_a_time() {
    // MQTT-3.3.4-9
    let broker = two_workers();
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    let mut narrow = lasting(V5, "subscriber");
    narrow.properties.receive_maximum = 1_u16.try_into().ok();
    let mut subscriber = Client::connect_with(broker.mqtt, &narrow).0;
    subscriber.subscribe("a", QoS::AtLeastOnce);
    subscriber.disconnect();
    for number in 0..30 {
        publisher.publish("a", &[number], QoS::AtLeastOnce, false);
    }
    let mut subscriber = Client::connect_with(broker.mqtt, &narrow).0;
    for number in 0..30 {
        let message = next_message(&mut subscriber);
        assert_eq!(message.payload, [number]);
        // Nothing else comes before the acknowledgement: PINGRESP is the very next packet.
        subscriber.send(&ClientPacket::PingReq);
        assert_eq!(subscriber.next(), Some(Seen::PingResp));
        subscriber.acknowledge(&message);
    }
    subscriber.ping();
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.4-3", "5.0:4.4.0-1"))]
fn a_connection_that_takes_a_session_over_goes_on_where_it_was() {
    // MQTT-3.1.4-3
    let broker = two_workers();
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    let mut subscriber = connect(broker.mqtt, V5, "same");
    subscriber.subscribe("a", QoS::ExactlyOnce);
    for round in 0..6 {
        publisher.publish("a", &[round], QoS::ExactlyOnce, false);
        let first = next_message(&mut subscriber);
        assert_eq!(first.payload, [round]);
        let mut next = connect(broker.mqtt, V5, "same");
        assert!(next.session_present);
        assert_eq!(subscriber.next(), Some(Seen::Disconnect(ReasonCode::SessionTakenOver)));
        let again = next_message(&mut next);
        assert_eq!(
            (again.packet_id, again.dup, &again.payload),
            (first.packet_id, true, &first.payload)
        );
        next.acknowledge(&again);
        let id = again.packet_id.unwrap();
        assert_eq!(next.next(), Some(Seen::PubRel(id, ReasonCode::Success)));
        next.complete(id);
        next.ping();
        subscriber = next;
    }
    await_condition("one session", || {
        metric(broker.admin, "freshet_proxy_durable_sessions") == 1.0
    });
}

#[test]
#[cfg_attr(false, shows("5.0:4.1.0-2"))]
fn a_session_ends_when_its_interval_has_passed() {
    let broker = two_workers();
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    let mut subscriber = connect(broker.mqtt, V5, "subscriber");
    assert_eq!(subscriber.session_expiry_interval, None, "granted as asked for");
    subscriber.subscribe("a", QoS::AtLeastOnce);
    subscriber.disconnect_for(Some(1));
    // As long as the session lives somebody is interested.
    await_condition("nobody is subscribed any more", || {
        let sent = publisher.begin_publish("a", b"x", QoS::AtLeastOnce, false);
        publisher.until(|seen| match seen {
            Seen::PubAck(id, code) if *id == sent => Some(*code),
            _ => None,
        }) == ReasonCode::NoMatchingSubscribers
    });
    assert!(!connect(broker.mqtt, V5, "subscriber").session_present);
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-4", "5.0:4.1.0-2"))]
fn a_clean_start_and_an_interval_of_nothing_leave_no_session() {
    // MQTT-3.1.2-4
    let broker = two_workers();
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    for clean in [true, false] {
        let mut subscriber = connect(broker.mqtt, V5, "subscriber");
        subscriber.subscribe("a", QoS::AtLeastOnce);
        if clean {
            drop(subscriber);
            publisher.publish("a", b"old", QoS::AtLeastOnce, false);
            let connect = Connect {
                clean_start: true,
                ..lasting(V5, "subscriber")
            };
            let mut subscriber = Client::connect_with(broker.mqtt, &connect).0;
            assert!(!subscriber.session_present);
            subscriber.subscribe("a", QoS::AtLeastOnce);
            publisher.publish("a", b"new", QoS::AtLeastOnce, false);
            assert_eq!(subscriber.receive().payload, b"new");
            subscriber.disconnect_for(Some(0));
        } else {
            subscriber.disconnect_for(Some(0));
        }
        assert!(!connect(broker.mqtt, V5, "subscriber").session_present);
    }
}

#[test]
#[cfg_attr(false, shows("5.0:4.3.3-10", "3.1.1:4.3.3-2"))]
fn a_qos_2_publish_that_is_repeated_on_a_new_connection_arrives_once() {
    // MQTT-4.3.3-10
    let broker = two_workers();
    let mut subscriber = Client::connect(broker.mqtt, V5, "subscriber");
    subscriber.subscribe("a", QoS::ExactlyOnce);
    let packet_id = PacketId::new(7).unwrap();
    let publish = |dup| publish_once(packet_id, dup);
    for version in BOTH {
        let id = format!("{version:?}");
        let mut publisher = connect(broker.mqtt, version, &id);
        publisher.send(&publish(false));
        assert_eq!(publisher.next(), Some(Seen::PubRec(7, ReasonCode::Success)));
        drop(publisher);
        let mut publisher = connect(broker.mqtt, version, &id);
        publisher.send(&publish(true));
        assert_eq!(publisher.next(), Some(Seen::PubRec(7, ReasonCode::Success)));
        drop(publisher);
        let mut publisher = connect(broker.mqtt, version, &id);
        publisher.send(&ClientPacket::PubRel(PubRel::new(packet_id, ReasonCode::Success)));
        assert_eq!(publisher.next(), Some(Seen::PubComp(7, ReasonCode::Success)));
        assert_eq!(subscriber.receive().payload, b"once");
        publisher.publish("a", b"end", QoS::ExactlyOnce, false);
        assert_eq!(subscriber.receive().payload, b"end", "nothing came in between");
    }
}
