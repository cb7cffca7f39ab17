//! Shared subscriptions, over real sockets and among workers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use freshet_mqtt::{
    ClientPacket, Connect, PacketId, ProtocolVersion, PubAck, QoS, ReasonCode, Subscribe, SubscribeFilter,
    SubscribeFilters, SubscriptionOptions, TopicFilter, UserProperties,
};

use crate::broker::Broker;
use crate::client::{Client, DEADLINE, Seen, SeenPublish, V5, V311};
use crate::http::{await_condition, metric};

const BOTH: [ProtocolVersion; 2] = [V5, V311];

fn two_workers() -> Broker {
    Broker::start(&["--workers", "2"])
}

fn lasting(client_id: &str) -> Connect<'_> {
    let mut connect = Connect::new(V5, client_id);
    connect.clean_start = false;
    connect.properties.session_expiry_interval = Some(600);
    connect
}

/// Members of a group; connections go to the workers in turns.
fn members(address: SocketAddr, count: usize, filter: &str, qos: QoS) -> Vec<Client> {
    let member = |index: usize| {
        let mut client = Client::connect(address, BOTH[index % 2], &format!("{filter}-{index}"));
        client.subscribe(filter, qos);
        client
    };
    (0..count).map(member).collect()
}

/// What each member gets, once `count` messages have come to them all together; they acknowledge everything.
fn collect(members: &mut [Client], count: usize) -> Vec<Vec<SeenPublish>> {
    let mut messages = vec![Vec::new(); members.len()];
    let until = Instant::now() + DEADLINE;
    while messages.iter().map(Vec::len).sum::<usize>() < count {
        assert!(Instant::now() < until, "{messages:?} of {count}");
        for (member, messages) in members.iter_mut().zip(&mut messages) {
            while let Some(seen) = member.next_within(Duration::from_millis(5)) {
                match seen {
                    Some(Seen::Publish(publish)) => {
                        member.acknowledge(&publish);
                        messages.push(publish);
                    }
                    Some(Seen::PubRel(id, _)) => member.complete(id),
                    other => panic!("{other:?} in place of a message"),
                }
            }
        }
    }
    members.iter_mut().for_each(expect_nothing);
    messages
}

/// Nothing but the rest of exchanges comes before the answer to a ping.
fn expect_nothing(client: &mut Client) {
    client.send(&ClientPacket::PingReq);
    loop {
        match client.next() {
            Some(Seen::PingResp) => return,
            Some(Seen::PubRel(id, _)) => client.complete(id),
            other => panic!("{other:?} in place of PINGRESP"),
        }
    }
}

fn next_message(client: &mut Client) -> SeenPublish {
    match client.next() {
        Some(Seen::Publish(publish)) => publish,
        other => panic!("{other:?} in place of a message"),
    }
}

fn sorted(messages: &[Vec<SeenPublish>]) -> Vec<u8> {
    let mut payloads: Vec<u8> = messages.iter().flatten().map(|m| m.payload[0]).collect();
    payloads.sort_unstable();
    payloads
}

#[test]
fn each_message_goes_to_one_member() {
    let broker = two_workers();
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for filter in [format!("$share/g/{qos:?}/+"), format!("$queue/{qos:?}/#")] {
            let mut members = members(broker.mqtt, 4, &filter, qos);
            for number in 0..200 {
                publisher.publish(&format!("{qos:?}/{}", number % 3), &[number], qos, false);
            }
            let messages = collect(&mut members, 200);
            assert_eq!(sorted(&messages), (0..200).collect::<Vec<_>>(), "{filter}");
            assert!(
                messages.iter().all(|m| m.len() >= 20),
                "everybody has a share of {filter}"
            );
            assert!(messages.iter().flatten().all(|m| m.qos == qos && !m.dup));
        }
    }
}

#[test]
fn groups_and_plain_subscribers_have_their_own_copies() {
    let broker = two_workers();
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    let mut plain = Client::connect(broker.mqtt, V5, "plain");
    plain.subscribe("a/#", QoS::AtLeastOnce);
    let mut first = members(broker.mqtt, 2, "$share/first/a/#", QoS::AtLeastOnce);
    let mut second = members(broker.mqtt, 2, "$share/second/a/#", QoS::AtLeastOnce);
    for number in 0..30 {
        publisher.publish("a/b", &[number], QoS::AtLeastOnce, false);
    }
    let all: Vec<u8> = (0..30).collect();
    assert_eq!(sorted(&collect(&mut first, 30)), all);
    assert_eq!(sorted(&collect(&mut second, 30)), all);
    for number in 0..30 {
        assert_eq!(plain.receive().payload, [number]);
    }
}

#[test]
fn a_member_that_acknowledges_nothing_does_not_hold_up_the_others() {
    let broker = two_workers();
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    let mut narrow = Connect::new(V5, "stuck");
    narrow.properties.receive_maximum = 1_u16.try_into().ok();
    let mut stuck = Client::connect_with(broker.mqtt, &narrow).0;
    stuck.subscribe("$share/g/a", QoS::AtLeastOnce);
    publisher.publish("a", &[0], QoS::AtLeastOnce, false);
    assert_eq!(next_message(&mut stuck).payload, [0]);
    let mut others = members(broker.mqtt, 2, "$share/g/a", QoS::AtLeastOnce);
    for number in 1..=100 {
        publisher.publish("a", &[number], QoS::AtLeastOnce, false);
    }
    assert_eq!(sorted(&collect(&mut others, 100)), (1..=100).collect::<Vec<_>>());
    drop(stuck);
    assert_eq!(
        sorted(&collect(&mut others, 1)),
        [0],
        "another one has it when it is gone"
    );
}

#[test]
fn what_a_member_has_not_acknowledged_goes_to_another_when_it_leaves() {
    // MQTT-4.8.2-5
    let broker = two_workers();
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    for version in BOTH {
        let topic = format!("{version:?}");
        let filter = format!("$share/g/{topic}");
        let mut leaving = Client::connect(broker.mqtt, version, "leaving");
        leaving.subscribe(&filter, QoS::AtLeastOnce);
        for number in 0..5 {
            publisher.publish(&topic, &[number], QoS::AtLeastOnce, false);
        }
        let had: Vec<_> = (0..5).map(|_| next_message(&mut leaving)).collect();
        leaving.acknowledge(&had[2]);
        expect_nothing(&mut leaving);
        let mut others = members(broker.mqtt, 1, &filter, QoS::AtLeastOnce);
        drop(leaving);
        let messages = collect(&mut others, 4);
        let payloads: Vec<u8> = messages[0].iter().map(|m| m.payload[0]).collect();
        assert_eq!(payloads, [0, 1, 3, 4], "in order");
    }
}

#[test]
#[cfg_attr(false, shows("5.0:4.8.2-6"))]
fn a_message_that_a_member_refuses_goes_to_nobody() {
    // MQTT-4.8.2-6
    let broker = two_workers();
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    let mut refusing = Client::connect(broker.mqtt, V5, "refusing");
    refusing.subscribe("$share/g/a", QoS::AtLeastOnce);
    publisher.publish("a", b"refused", QoS::AtLeastOnce, false);
    let message = next_message(&mut refusing);
    let packet_id = PacketId::new(message.packet_id.unwrap()).unwrap();
    let mut other = Client::connect(broker.mqtt, V5, "other");
    other.subscribe("$share/g/a", QoS::AtLeastOnce);
    refusing.send(&ClientPacket::PubAck(PubAck::new(
        packet_id,
        ReasonCode::ImplementationSpecificError,
    )));
    expect_nothing(&mut refusing);
    refusing.disconnect();
    publisher.publish("a", b"next", QoS::AtLeastOnce, false);
    assert_eq!(other.receive().payload, b"next");
}

#[test]
#[cfg_attr(false, shows("5.0:3.8.3-4"))]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    // MQTT-3.8.3-4
    let broker = two_workers();
    let mut client = Client::connect(broker.mqtt, V5, "client");
    let options = SubscriptionOptions {
        no_local: true,
        ..SubscriptionOptions::new(QoS::AtLeastOnce)
    };
    let filters = [SubscribeFilter {
        topic_filter: TopicFilter::parse("$share/g/a").unwrap(),
        options,
    }];
    let subscribe = Subscribe {
        packet_id: PacketId::new(1).unwrap(),
        subscription_identifier: None,
        user_properties: UserProperties::NONE,
        filters: SubscribeFilters::from_slice(&filters),
    };
    client.send(&ClientPacket::Subscribe(subscribe));
    assert_eq!(client.next(), Some(Seen::Disconnect(ReasonCode::ProtocolError)));
}

#[test]
fn retained_messages_are_not_sent_to_members() {
    let broker = two_workers();
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    publisher.publish("a", b"retained", QoS::AtLeastOnce, true);
    let mut member = Client::connect(broker.mqtt, V5, "member");
    member.subscribe("$share/g/a", QoS::AtLeastOnce);
    publisher.publish("a", b"live", QoS::AtLeastOnce, false);
    assert_eq!(member.receive().payload, b"live");
}

#[test]
fn messages_wait_for_a_member_whose_session_outlives_its_connection() {
    let broker = two_workers();
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    let mut member = Client::connect_with(broker.mqtt, &lasting("member")).0;
    member.subscribe("$share/g/a", QoS::AtLeastOnce);
    member.disconnect();
    for number in 0..50 {
        publisher.publish("a", &[number], QoS::AtLeastOnce, false);
    }
    let mut member = Client::connect_with(broker.mqtt, &lasting("member")).0;
    assert!(member.session_present);
    for number in 0..50 {
        assert_eq!(member.receive().payload, [number]);
    }
    member.ping();
}

#[test]
#[cfg_attr(false, shows("5.0:4.8.2-4"))]
fn a_qos_2_message_stays_with_the_member_it_was_sent_to() {
    // MQTT-4.8.2-4
    let broker = two_workers();
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    let mut member = Client::connect_with(broker.mqtt, &lasting("member")).0;
    member.subscribe("$share/g/a", QoS::ExactlyOnce);
    publisher.publish("a", b"mine", QoS::ExactlyOnce, false);
    let sent = next_message(&mut member);
    let mut other = Client::connect(broker.mqtt, V5, "other");
    other.subscribe("$share/g/a", QoS::ExactlyOnce);
    drop(member);
    // Until the broker has seen that it is gone, it may be sent others, which would stay with it as well.
    await_condition("the member is known to be gone", || {
        metric(broker.admin, "freshet_storage_stored_sessions{connected=\"false\"}") == 1.0
    });
    for number in 0..20 {
        publisher.publish("a", &[number], QoS::ExactlyOnce, false);
        assert_eq!(other.receive().payload, [number]);
    }
    let mut member = Client::connect_with(broker.mqtt, &lasting("member")).0;
    let again = next_message(&mut member);
    assert_eq!(
        (again.packet_id, again.dup, &again.payload[..]),
        (sent.packet_id, true, &b"mine"[..])
    );
    member.acknowledge(&again);
    let id = again.packet_id.unwrap();
    assert_eq!(member.next(), Some(Seen::PubRel(id, ReasonCode::Success)));
    member.complete(id);
    member.ping();
}

#[test]
fn the_same_hundred_clients_share_a_thousand_groups() {
    const GROUPS: usize = 1_000;
    let broker = two_workers();
    let names: Vec<String> = (0..GROUPS).map(|number| format!("$share/g{number}/a")).collect();
    let mut clients: Vec<Client> = (0..100)
        .map(|index| Client::connect(broker.mqtt, BOTH[index % 2], &format!("client-{index}")))
        .collect();
    for client in &mut clients {
        for names in names.chunks(250) {
            let filters: Vec<_> = names
                .iter()
                .map(|name| SubscribeFilter {
                    topic_filter: TopicFilter::parse(name).unwrap(),
                    options: SubscriptionOptions::new(QoS::AtLeastOnce),
                })
                .collect();
            let subscribe = Subscribe {
                packet_id: PacketId::new(1).unwrap(),
                subscription_identifier: None,
                user_properties: UserProperties::NONE,
                filters: SubscribeFilters::from_slice(&filters),
            };
            client.send(&ClientPacket::Subscribe(subscribe));
            let granted = client.until(|seen| match seen {
                Seen::SubAck(_, codes) => Some(codes.clone()),
                _ => None,
            });
            assert!(granted.len() == names.len() && granted.iter().all(|code| !code.is_error()));
        }
    }
    let mut publisher = Client::connect(broker.mqtt, V5, "publisher");
    for number in 0..5 {
        publisher.publish("a", &[number], QoS::AtLeastOnce, false);
        let messages = collect(&mut clients, GROUPS);
        assert_eq!(sorted(&messages), vec![number; GROUPS], "each group once");
        let most = messages.iter().map(Vec::len).max();
        assert!(most < Some(100), "{most:?} of {GROUPS} to one client");
    }
}
