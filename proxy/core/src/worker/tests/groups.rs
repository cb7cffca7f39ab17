//! Shared subscriptions, as their members see them (MQTT 5.0, 4.8.2).

mod lasting;

use std::num::NonZeroU16;

use freshet_config::SharedStrategy;
use freshet_mqtt::{ClientPacket, Connect, ProtocolVersion, PubAck, PubRec, QoS, ReasonCode, SubscriptionOptions};
use freshet_storage_contract::Settlement;

use super::bench::*;
use super::seen::{Seen, SeenPublish};
use crate::exchange::ToWorker;
use crate::reason::DisconnectReason;

const NAME: &str = "$share/g/a";
const RELIABLE: [QoS; 2] = [QoS::AtLeastOnce, QoS::ExactlyOnce];

fn turns() -> Bench {
    Bench::configured(|c| c.mqtt.shared_strategy = SharedStrategy::RoundRobin)
}

/// A member whose window has room for so many messages.
fn member(bench: &mut Bench, client_id: &str, window: u16, qos: QoS) -> Client {
    let mut connect = Connect::new(V5, client_id);
    connect.properties.receive_maximum = NonZeroU16::new(window);
    let (client, _) = bench.connect(&connect);
    bench.subscribe(client, NAME, qos);
    client
}

fn deliver(bench: &mut Bench, payloads: std::ops::Range<u8>, qos: QoS) {
    for payload in payloads {
        bench.deliver(message("a", &[payload], qos));
    }
}

fn payloads(seen: &[SeenPublish]) -> Vec<u8> {
    seen.iter().map(|publish| publish.payload[0]).collect()
}

fn settled(bench: &Bench) -> Vec<(u8, Settlement)> {
    let settled = &bench.storage.groups.settled;
    settled
        .iter()
        .map(|(payload, settlement)| (payload[0], *settlement))
        .collect()
}

#[test]
fn each_message_goes_to_one_member_in_turns() {
    let mut bench = turns();
    for version in [V311, V5] {
        for name in ["$share/g/a", "$queue/a"] {
            let clients: Vec<_> = ["1", "2", "3"].map(|id| bench.client(version, id)).into();
            for client in &clients {
                let granted = bench.subscribe(*client, name, QoS::AtLeastOnce);
                assert_eq!(granted, [Seen::SubAck(9, vec![ReasonCode::GrantedQos1])]);
            }
            deliver(&mut bench, 0..3, QoS::AtMostOnce);
            deliver(&mut bench, 3..9, QoS::AtLeastOnce);
            let mut all = Vec::new();
            for client in &clients {
                let seen = bench.read_publishes(*client);
                assert_eq!(seen.len(), 3, "{version:?} {name}");
                all.extend(payloads(&seen));
                for packet_id in seen.iter().filter_map(|p| p.packet_id) {
                    bench.puback(*client, packet_id);
                }
            }
            all.sort_unstable();
            assert_eq!(all, (0..9).collect::<Vec<_>>());
            assert_eq!(bench.storage.groups.unsettled(), 0);
            for client in clients {
                let success: Vec<_> = (version == V5).then_some(ReasonCode::Success).into_iter().collect();
                assert_eq!(bench.unsubscribe(client, name), [Seen::UnsubAck(8, success)]);
                bench.hang_up(client);
            }
            assert!(bench.storage.filters.is_empty());
        }
    }
}

#[test]
fn a_message_is_settled_when_its_member_has_acknowledged_it() {
    let mut bench = Bench::new();
    let client = member(&mut bench, "c", 10, QoS::AtLeastOnce);
    deliver(&mut bench, 0..2, QoS::AtLeastOnce);
    let seen = bench.read_publishes(client);
    assert_eq!(settled(&bench), []);
    bench.puback(client, seen[1].packet_id.unwrap());
    assert_eq!(settled(&bench), [(1, Settlement::Done)]);
    bench.puback(client, seen[0].packet_id.unwrap());
    assert_eq!(settled(&bench), [(1, Settlement::Done), (0, Settlement::Done)]);
}

#[test]
#[cfg_attr(false, shows("5.0:4.8.2-6"))]
fn what_a_client_refuses_goes_to_nobody_else() {
    // MQTT-4.8.2-6
    for qos in RELIABLE {
        let mut bench = turns();
        let clients = ["1", "2"].map(|id| member(&mut bench, id, 10, qos));
        deliver(&mut bench, 0..1, qos);
        let mut got = 0;
        for client in clients {
            for publish in bench.read_publishes(client) {
                let (id, code) = (id(publish.packet_id.unwrap()), ReasonCode::ImplementationSpecificError);
                let refusal = match qos {
                    QoS::ExactlyOnce => ClientPacket::PubRec(PubRec::new(id, code)),
                    _ => ClientPacket::PubAck(PubAck::new(id, code)),
                };
                bench.send(client, refusal);
                got += 1;
            }
        }
        assert_eq!((got, settled(&bench)), (1, vec![(0, Settlement::Done)]));
        assert_eq!(bench.worker.stats().deliveries_refused, 1);
        assert!(clients.iter().all(|client| bench.read(*client).is_empty()));
    }
}

#[test]
fn what_a_member_leaves_unacknowledged_goes_to_another() {
    let mut bench = turns();
    let (first, second) = (
        member(&mut bench, "1", 3, QoS::AtLeastOnce),
        member(&mut bench, "2", 10, QoS::AtLeastOnce),
    );
    deliver(&mut bench, 0..6, QoS::AtLeastOnce);
    let left = payloads(&bench.read_publishes(first));
    let kept = payloads(&bench.read_publishes(second));
    bench.hang_up(first);
    let seen = bench.read_publishes(second);
    assert!(
        seen.iter().all(|publish| !publish.dup),
        "a first delivery to this client"
    );
    assert_eq!(payloads(&seen), left);
    assert_eq!((left.len(), kept.len()), (3, 3));
    assert_eq!(bench.worker.stats().shared_returned, 3);
}

#[test]
#[cfg_attr(false, shows("5.0:4.8.2-5"))]
fn what_was_sent_at_qos_2_goes_to_nobody_else() {
    // MQTT-4.8.2-5
    let mut bench = turns();
    let first = member(&mut bench, "1", 10, QoS::ExactlyOnce);
    deliver(&mut bench, 0..2, QoS::ExactlyOnce);
    assert_eq!(bench.read_publishes(first).len(), 2);
    let second = member(&mut bench, "2", 10, QoS::ExactlyOnce);
    // These have not been sent.
    deliver(&mut bench, 2..4, QoS::ExactlyOnce);
    bench.hang_up(first);
    let mut seen = payloads(&bench.read_publishes(second));
    seen.sort_unstable();
    assert_eq!(seen, [2, 3]);
    assert_eq!(bench.storage.groups.unsettled(), 0);
}

#[test]
fn a_member_that_reads_nothing_takes_no_more_than_its_share() {
    for strategy in [SharedStrategy::RoundRobin, SharedStrategy::LeastInflight] {
        for qos in RELIABLE {
            let mut bench = Bench::configured(|c| c.mqtt.shared_strategy = strategy);
            let stuck = member(&mut bench, "stuck", 5, qos);
            let busy = member(&mut bench, "busy", 5, qos);
            let mut got = Vec::new();
            for payload in 0..100 {
                deliver(&mut bench, payload..payload + 1, qos);
                for publish in bench.read_publishes(busy) {
                    got.push(publish.payload[0]);
                    let packet_id = publish.packet_id.unwrap();
                    if qos == QoS::ExactlyOnce {
                        bench.pubrec(busy, packet_id);
                        bench.read(busy);
                        bench.pubcomp(busy, packet_id);
                    } else {
                        bench.puback(busy, packet_id);
                    }
                }
            }
            let held = payloads(&bench.read_publishes(stuck));
            assert!(held.len() <= 5, "{strategy:?} {qos:?}: {held:?}");
            assert_eq!(held.len() + got.len(), 100, "{strategy:?} {qos:?}");
        }
    }
}

#[test]
fn a_group_without_room_is_given_nothing_until_there_is_some() {
    for qos in RELIABLE {
        let mut bench = Bench::new();
        let client = member(&mut bench, "c", 2, QoS::ExactlyOnce);
        // Its window is filled by another subscription: storage cannot know.
        bench.subscribe(client, "b", QoS::ExactlyOnce);
        for payload in [b"x", b"y"] {
            bench.deliver(message("b", payload, QoS::AtLeastOnce));
        }
        let full = bench.read_publishes(client);
        deliver(&mut bench, 0..5, qos);
        assert_eq!(bench.read(client), []);
        assert_eq!(bench.storage.groups.part().map(|p| (p.members, p.window)), Some((1, 0)));
        assert_eq!(bench.storage.groups.unsettled(), 5);
        let returned = bench.worker.stats().shared_returned;
        bench.pass_ms(1_000);
        assert_eq!(
            bench.worker.stats().shared_returned,
            returned,
            "nothing goes to and fro"
        );
        bench.puback(client, full[0].packet_id.unwrap());
        bench.pass_ms(100);
        assert_eq!(bench.read_publishes(client).len(), 1);
        assert_eq!(bench.reason(client), None);
    }
}

#[test]
fn a_group_without_room_goes_on_as_soon_as_a_member_is_done_with_a_message() {
    let mut bench = Bench::new();
    let client = member(&mut bench, "c", 2, QoS::AtLeastOnce);
    bench.subscribe(client, "b", QoS::AtLeastOnce);
    bench.deliver(message("b", b"x", QoS::AtLeastOnce));
    let own = bench.read_publishes(client).len();
    deliver(&mut bench, 0..5, QoS::AtLeastOnce);
    assert_eq!(bench.storage.groups.part().map(|p| p.window), Some(0));
    for payload in 0..5 {
        let seen = bench.read_publishes(client);
        assert_eq!((own, payloads(&seen)), (1, vec![payload]));
        bench.puback(client, seen[0].packet_id.unwrap());
    }
}

#[test]
fn qos_0_without_room_is_shed_and_counted() {
    let mut bench = Bench::configured(|c| c.client_limits.outbound_buffer_bytes = 4 << 10);
    let client = member(&mut bench, "c", 2, QoS::AtLeastOnce);
    for _ in 0..100 {
        bench.deliver(message("a", &[0; 1_000], QoS::AtMostOnce));
    }
    let read = bench.read_publishes(client).len();
    assert!((1..10).contains(&read), "{read}");
    assert_eq!(bench.worker.stats().deliveries_shed, 100 - u64::try_from(read).unwrap());
}

#[test]
fn a_member_with_a_subscription_of_its_own_gets_both() {
    // 4.8.2: a shared subscription is no part of the client's others.
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    for (name, identifier) in [(NAME, 1), ("a", 2), ("#", 3)] {
        bench.subscribe_with(
            client,
            name,
            SubscriptionOptions::new(QoS::AtLeastOnce),
            Some(identifier),
        );
    }
    deliver(&mut bench, 0..1, QoS::AtLeastOnce);
    let mut identifiers: Vec<_> = bench
        .read_publishes(client)
        .into_iter()
        .map(|p| p.identifiers)
        .collect();
    identifiers.iter_mut().for_each(|of_copy| of_copy.sort_unstable());
    identifiers.sort();
    assert_eq!(identifiers, [vec![1], vec![2, 3]]);
}

#[test]
#[cfg_attr(false, shows("5.0:4.8.2-3"))]
fn a_member_gets_the_lower_qos_and_retain_as_it_asked() {
    let mut bench = Bench::new();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        for keeps in [false, true] {
            let client = bench.client(V5, "c");
            let mut options = SubscriptionOptions::new(qos);
            options.retain_as_published = keeps;
            bench.subscribe_with(client, NAME, options, None);
            let mut retained = message("a", b"x", QoS::ExactlyOnce);
            retained.retain = true;
            bench.deliver(retained);
            let seen = bench.read_publishes(client);
            assert_eq!((seen[0].qos, seen[0].retain), (qos, keeps));
            if qos == QoS::AtMostOnce {
                assert_eq!(bench.storage.groups.unsettled(), 0, "nobody will acknowledge it");
            }
            bench.hang_up(client);
        }
    }
}

#[test]
fn retained_messages_are_not_for_shared_subscriptions() {
    let mut bench = Bench::new();
    let publisher = bench.client(V5, "publisher");
    let mut retained = publish("a", b"x", QoS::AtMostOnce, 0);
    retained.retain = true;
    bench.send(publisher, ClientPacket::Publish(retained));
    let client = bench.client(V5, "c");
    let seen = bench.subscribe(client, NAME, QoS::AtLeastOnce);
    assert_eq!(seen, [Seen::SubAck(9, vec![ReasonCode::GrantedQos1])]);
    bench.subscribe(client, "a", QoS::AtLeastOnce);
}

#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    // MQTT-3.8.3-4
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    // SUBSCRIBE, packet id 1, no properties, "$share/g/a" with QoS 1 and No Local.
    let mut packet = vec![0x82, 16, 0, 1, 0, 0, 10];
    packet.extend_from_slice(NAME.as_bytes());
    packet.push(0x05);
    bench.send_bytes(client, &packet);
    let (seen, reason) = bench.last_words(client);
    assert_eq!(seen, [Seen::Disconnect(ReasonCode::ProtocolError)]);
    assert_eq!(reason, Some(DisconnectReason::ProtocolError));
}

#[test]
fn a_bridge_gets_its_own_messages_by_a_shared_subscription() {
    let mut bench = Bench::new();
    let mut connect = Connect::new(V311, "bridge");
    connect.protocol.bridge = true;
    let (bridge, _) = bench.connect(&connect);
    bench.subscribe(bridge, NAME, QoS::AtMostOnce);
    bench.publish(bridge, "a", b"x", QoS::AtMostOnce, 0);
    assert_eq!(bench.read_publishes(bridge).len(), 1);
}

#[test]
fn a_member_that_unsubscribes_leaves_what_it_was_not_sent_to_others() {
    let mut bench = turns();
    let first = member(&mut bench, "1", 10, QoS::ExactlyOnce);
    let second = member(&mut bench, "2", 10, QoS::ExactlyOnce);
    deliver(&mut bench, 0..6, QoS::ExactlyOnce);
    bench.unsubscribe(first, NAME);
    let mut seen = payloads(&bench.read_publishes(second));
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    deliver(&mut bench, 6..8, QoS::ExactlyOnce);
    assert_eq!(bench.read(first), []);
}

#[test]
fn what_a_member_gives_back_is_out_of_the_count_before_its_answer_has_come() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect(&lasting(V5, "c"));
    bench.subscribe(client, NAME, QoS::AtLeastOnce);
    bench.storage.hold_updates = true;
    deliver(&mut bench, 0..1, QoS::AtLeastOnce);
    assert!(bench.worker.stats().outbound_bytes_now > 0);
    bench.send_unsubscribe(client, NAME);
    assert_eq!(bench.worker.stats().outbound_bytes_now, 0);
}

#[test]
fn storage_that_knows_no_shared_subscriptions_is_announced() {
    // MQTT 5.0, 3.2.2.3.13
    let mut bench = Bench::new();
    let placement = bench.storage.placement.clone();
    bench.tell(ToWorker::StorageBack {
        placement,
        keeps_sessions: true,
        shares: false,
    });
    let refusals: [(ProtocolVersion, ReasonCode); 2] = [
        (V5, ReasonCode::SharedSubscriptionsNotSupported),
        (V311, ReasonCode::UnspecifiedError),
    ];
    for (version, code) in refusals {
        let (client, connack) = bench.connect(&Connect::new(version, "c"));
        let announced = (version == V5).then_some(false);
        assert_eq!(connack.shared_subscription_available, announced);
        assert_eq!(
            bench.subscribe(client, NAME, QoS::AtMostOnce),
            [Seen::SubAck(9, vec![code])]
        );
    }
}

#[test]
fn the_same_hundred_clients_may_be_in_a_thousand_groups() {
    let mut bench = Bench::configured(|c| c.client_limits.subscriptions = 1_000);
    let clients: Vec<_> = (0..100).map(|i| bench.client(V5, &format!("c{i}"))).collect();
    for client in &clients {
        for group in 0..1_000 {
            bench.subscribe(*client, &format!("$share/g{group}/a/{}", group % 10), QoS::AtLeastOnce);
            bench.storage.heard.clear();
        }
    }
    assert_eq!(bench.worker.stats().subscriptions_now, 100_000);
    for topic in ["a/0", "a/5"] {
        bench.deliver(message(topic, b"x", QoS::AtLeastOnce));
    }
    let got: Vec<_> = clients
        .iter()
        .map(|client| bench.read_publishes(*client).len())
        .collect();
    assert_eq!(got.iter().sum::<usize>(), 200, "100 groups match each topic");
    assert!(
        got.iter().all(|count| *count <= 10),
        "no member has much more than others: {got:?}"
    );
    for client in clients {
        bench.hang_up(client);
        bench.storage.heard.clear();
    }
    assert_eq!((bench.worker.stats().filters_now, bench.storage.filters.len()), (0, 0));
}
