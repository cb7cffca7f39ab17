//! Messages on their way to subscribers: quality of service, windows, order, options of subscriptions.

use std::num::{NonZeroU16, NonZeroU32};

use freshet_mqtt::{ClientPacket, Connect, PubAck, PubRec, QoS, ReasonCode, SubscriptionOptions};
use freshet_storage_contract::{DeliverySeq, FilterIds, ShardId};

use super::bench::*;
use super::seen::Seen;
use super::storage::TERM;
use crate::exchange::{QueuedFor, ToLink, ToWorker};
use crate::reason::DisconnectReason;

const ALL_QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

#[test]
#[cfg_attr(false, shows("5.0:3.8.4-8", "3.1.1:2.3.1-5", "3.1.1:3.8.4-6"))]
fn the_lower_qos_of_message_and_subscription_is_delivered() {
    // MQTT-3.8.4-8
    let mut bench = Bench::new();
    for subscribed in ALL_QOS {
        let client = bench.client(V311, "c");
        bench.subscribe(client, "a", subscribed);
        for published in ALL_QOS {
            bench.deliver(message("a", b"x", published));
            let seen = bench.read_publishes(client);
            assert_eq!(seen[0].qos, published.min(subscribed));
            assert_eq!(seen[0].packet_id.is_some(), seen[0].qos != QoS::AtMostOnce);
        }
        bench.hang_up(client);
    }
}

#[test]
#[cfg_attr(false, shows("5.0:2.2.1-5", "5.0:4.3.3-4", "5.0:4.3.3-5"))]
fn a_qos_2_exchange_goes_its_whole_way() {
    // MQTT-4.3.3-1 to -7
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    bench.deliver(message("a", b"x", QoS::ExactlyOnce));
    let packet_id = bench.read_publishes(client)[0].packet_id.unwrap();
    bench.pubrec(client, packet_id);
    assert_eq!(bench.read(client), [Seen::PubRel(packet_id, ReasonCode::Success)]);
    bench.pubrec(client, packet_id);
    assert_eq!(
        bench.read(client),
        [Seen::PubRel(packet_id, ReasonCode::Success)],
        "a repeated PUBREC"
    );
    bench.pubcomp(client, packet_id);
    bench.pubcomp(client, packet_id);
    assert_eq!(bench.worker.stats().unknown_acknowledgements, 1);
    bench.pubrec(client, packet_id);
    assert_eq!(
        bench.read(client),
        [Seen::PubRel(packet_id, ReasonCode::PacketIdentifierNotFound)]
    );
    assert_eq!(bench.reason(client), None);
}

#[test]
#[cfg_attr(false, shows("5.0:4.3.3-4", "3.1.1:4.3.3-1"))]
fn a_client_that_was_sent_nothing_is_told_to_forget_a_packet_id_too() {
    let mut bench = Bench::new();
    let new = bench.client(V5, "new");
    bench.pubrec(new, 9);
    assert_eq!(bench.read(new), [Seen::PubRel(9, ReasonCode::PacketIdentifierNotFound)]);
    let old = bench.client(V311, "old");
    bench.pubrec(old, 9);
    assert_eq!(bench.read(old), [Seen::PubRel(9, ReasonCode::Success)]);
    assert_eq!(bench.worker.stats().unknown_acknowledgements, 2);
}

#[test]
#[cfg_attr(false, shows("5.0:4.4.0-2"))]
fn a_negative_acknowledgement_ends_the_exchange() {
    // MQTT-4.3.3-4
    let mut bench = Bench::configured(|c| c.client_limits.inflight = 1);
    let client = bench.client(V5, "c");
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    for qos in [QoS::ExactlyOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        bench.deliver(message("a", b"x", qos));
    }
    let code = ReasonCode::QuotaExceeded;
    let first = bench.read_publishes(client)[0].packet_id.unwrap();
    bench.send(client, ClientPacket::PubRec(PubRec::new(id(first), code)));
    let second = bench.read_publishes(client)[0].packet_id.unwrap();
    bench.send(client, ClientPacket::PubAck(PubAck::new(id(second), code)));
    assert_eq!(bench.read_publishes(client).len(), 1);
    assert_eq!(bench.worker.stats().deliveries_refused, 2);
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_is_a_protocol_error() {
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    bench.deliver(message("a", b"x", QoS::ExactlyOnce));
    let packet_id = bench.read_publishes(client)[0].packet_id.unwrap();
    bench.puback(client, packet_id);
    assert_eq!(bench.reason(client), Some(DisconnectReason::ProtocolError));
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.4-9", "5.0:4.3.2-3", "5.0:4.9.0-2", "5.0:4.9.0-3"))]
fn the_clients_window_bounds_what_is_in_flight_and_qos_0_passes_by() {
    // MQTT-3.3.4-9, MQTT-4.9.0-3
    let mut bench = Bench::new();
    let mut connect = Connect::new(V5, "c");
    connect.properties.receive_maximum = NonZeroU16::new(2);
    let (client, _) = bench.connect(&connect);
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    for payload in [b"1", b"2", b"3", b"4"] {
        bench.deliver(message("a", payload, QoS::AtLeastOnce));
    }
    bench.deliver(message("a", b"0", QoS::AtMostOnce));
    let seen = bench.read_publishes(client);
    let payloads: Vec<_> = seen.iter().map(|p| p.payload[0]).collect();
    assert_eq!(payloads, *b"120");
    // Out of order is fine (MQTT-4.6.0-1 binds the client, not what is accepted).
    bench.puback(client, seen[1].packet_id.unwrap());
    let next = bench.read_publishes(client);
    assert_eq!((next.len(), &next[0].payload[..]), (1, &b"3"[..]));
    assert_ne!(next[0].packet_id, seen[0].packet_id);
    bench.puback(client, seen[0].packet_id.unwrap());
    assert_eq!(bench.read_publishes(client)[0].payload, b"4");
}

#[test]
#[cfg_attr(false, shows("5.0:4.6.0-5", "5.0:4.6.0-6", "3.1.1:4.6.0-5", "3.1.1:4.6.0-6"))]
fn messages_of_all_qos_keep_their_order_while_the_window_is_open() {
    // MQTT-4.6.0-6
    let mut bench = Bench::new();
    let client = bench.client(V311, "c");
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    for i in 0..20_u8 {
        bench.deliver(message("a", &[i], ALL_QOS[usize::from(i) % 3]));
    }
    let payloads: Vec<_> = bench.read_publishes(client).iter().map(|p| p.payload[0]).collect();
    assert_eq!(payloads, (0..20).collect::<Vec<_>>());
}

#[test]
#[cfg_attr(
    false,
    shows("5.0:3.3.4-2", "5.0:3.3.4-3", "5.0:3.3.4-4", "5.0:3.3.4-5", "3.1.1:3.3.5-1")
)]
fn overlapping_subscriptions_bring_one_copy_with_the_highest_qos_and_all_identifiers() {
    // MQTT-3.3.4-2, MQTT-3.3.4-3, MQTT-3.3.4-4
    let mut bench = Bench::new();
    let (client, other) = (bench.client(V5, "c"), bench.client(V311, "o"));
    bench.subscribe_with(client, "a/b", SubscriptionOptions::new(QoS::AtMostOnce), Some(1));
    bench.subscribe_with(client, "a/#", SubscriptionOptions::new(QoS::ExactlyOnce), Some(300));
    bench.subscribe_with(client, "+/b", SubscriptionOptions::new(QoS::AtLeastOnce), None);
    bench.subscribe(other, "a/#", QoS::AtMostOnce);
    bench.deliver(message("a/b", b"x", QoS::ExactlyOnce));
    let seen = bench.read_publishes(client);
    assert_eq!((seen.len(), seen[0].qos), (1, QoS::ExactlyOnce));
    let mut identifiers = seen[0].identifiers.clone();
    identifiers.sort_unstable();
    assert_eq!(identifiers, [1, 300]);
    assert_eq!(bench.read_publishes(other).len(), 1);
}

#[test]
#[cfg_attr(false, shows("5.0:3.8.3-3"))]
fn no_local_is_judged_per_subscription() {
    // MQTT-3.8.3-3
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    let no_local = SubscriptionOptions {
        no_local: true,
        ..SubscriptionOptions::new(QoS::ExactlyOnce)
    };
    bench.subscribe_with(client, "a/#", no_local, Some(1));
    bench.publish(client, "a/b", b"own", QoS::AtLeastOnce, 1);
    assert_eq!(bench.read(client).len(), 1, "PUBACK alone");
    bench.subscribe_with(client, "a/b", SubscriptionOptions::new(QoS::AtMostOnce), Some(2));
    bench.publish(client, "a/b", b"own", QoS::AtLeastOnce, 2);
    let seen = bench.read(client);
    let own = seen.iter().find_map(|s| match s {
        Seen::Publish(p) => Some((p.qos, p.identifiers.clone())),
        _ => None,
    });
    assert_eq!(own, Some((QoS::AtMostOnce, vec![2])));
    bench.deliver(message("a/b", b"of others", QoS::AtLeastOnce));
    assert_eq!(bench.read_publishes(client)[0].identifiers.len(), 2);
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.1-12", "5.0:3.3.1-13"))]
fn retain_is_kept_if_any_matching_subscription_keeps_it() {
    // MQTT-3.3.1-12, MQTT-3.3.1-13
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.subscribe(client, "a", QoS::AtMostOnce);
    let mut kept = message("a", b"x", QoS::AtMostOnce);
    kept.retain = true;
    bench.deliver(kept.clone());
    assert!(!bench.read_publishes(client)[0].retain);
    let as_published = SubscriptionOptions {
        retain_as_published: true,
        ..SubscriptionOptions::new(QoS::AtMostOnce)
    };
    bench.subscribe_with(client, "#", as_published, None);
    bench.deliver(kept);
    assert!(bench.read_publishes(client)[0].retain);
    bench.deliver(message("a", b"x", QoS::AtMostOnce));
    assert!(!bench.read_publishes(client)[0].retain);
}

#[test]
fn a_fan_out_reaches_clients_of_every_version_and_shape() {
    let mut bench = Bench::new();
    let clients: Vec<_> = (0..30)
        .map(|i| {
            let client = bench.client([V31, V311, V5][i % 3], &format!("c{i}"));
            bench.subscribe(client, "a/+", ALL_QOS[i / 3 % 3]);
            (client, ALL_QOS[i / 3 % 3])
        })
        .collect();
    for size in [0, 100, 10_000] {
        let payload = vec![9; size];
        bench.deliver(message("a/b", &payload, QoS::ExactlyOnce));
        for (client, qos) in &clients {
            let seen = bench.read_publishes(*client);
            assert_eq!((seen.len(), seen[0].qos, &seen[0].payload), (1, *qos, &payload));
        }
    }
}

#[test]
fn what_a_socket_does_not_take_is_offered_again() {
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    for i in 0..20_u8 {
        bench.deliver(message("a", &vec![i; usize::from(i) * 700], QoS::AtLeastOnce));
    }
    let mut bytes = Vec::new();
    for socket_bytes in (1..).map(|i| i * 97) {
        let read = bench.read_bytes(client, socket_bytes);
        if read.is_empty() {
            break;
        }
        bytes.extend(read);
    }
    let seen = super::seen::decode_all(V5, &bytes);
    let payloads: Vec<_> = seen
        .iter()
        .map(|s| match s {
            Seen::Publish(p) => p.payload.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        payloads,
        (0..20_u8).map(|i| vec![i; usize::from(i) * 700]).collect::<Vec<_>>()
    );
    assert_eq!(bench.worker.stats().outbound_bytes_now, 0);
    assert!(
        bench.worker.connections.get(client.token).unwrap().outbound.is_none(),
        "an idle client holds no buffer"
    );
}

#[test]
fn output_that_is_not_reported_as_written_is_not_lost() {
    let mut bench = Bench::new();
    let (first, second) = (bench.client(V5, "1"), bench.client(V5, "2"));
    bench.subscribe(first, "a", QoS::AtLeastOnce);
    bench.deliver(message("a", b"x", QoS::AtLeastOnce));
    assert!(!bench.worker.pending_output(first.token, 1_000, bench.now).is_empty());
    bench.read(second);
    assert_eq!(bench.read_publishes(first).len(), 1);
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-26", "5.0:3.3.2-11"))]
fn an_alias_is_defined_with_the_first_bytes_that_carry_it() {
    // MQTT-3.3.2-10, MQTT-3.1.2-27
    let mut bench = Bench::new();
    let mut connect = Connect::new(V5, "c");
    connect.properties.topic_alias_maximum = Some(1);
    let (client, _) = bench.connect(&connect);
    bench.subscribe(client, "#", QoS::AtMostOnce);
    let mut expired = message("topic/a", b"0", QoS::AtMostOnce);
    expired.message_expiry_interval_s = Some(1);
    bench.deliver(expired);
    bench.pass_ms(2_000);
    for (topic, payload) in [("topic/a", b"1"), ("topic/a", b"2"), ("topic/b", b"3")] {
        bench.deliver(message(topic, payload, QoS::AtMostOnce));
    }
    let seen: Vec<_> = bench
        .read_publishes(client)
        .into_iter()
        .map(|p| (p.topic, p.alias))
        .collect();
    let expected = [("topic/a", Some(1)), ("", Some(1)), ("topic/b", None)];
    assert_eq!(seen, expected.map(|(topic, alias)| (topic.to_owned(), alias)));
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.2-5", "5.0:3.3.2-6"))]
fn a_message_tells_how_long_it_still_lives_and_is_not_sent_after_that() {
    // MQTT-3.3.2-5, MQTT-3.3.2-6
    let mut bench = Bench::new();
    let (old, new) = (bench.client(V311, "old"), bench.client(V5, "new"));
    for client in [old, new] {
        bench.subscribe(client, "a", QoS::AtMostOnce);
    }
    let mut dated = message("a", b"x", QoS::AtMostOnce);
    dated.message_expiry_interval_s = Some(10);
    bench.deliver(dated.clone());
    bench.pass_ms(4_000);
    assert_eq!(bench.read_publishes(new)[0].expiry, Some(6));
    bench.pass_ms(6_000);
    assert_eq!(bench.read_publishes(old), []);
    assert_eq!(bench.worker.stats().deliveries_expired, 1);
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-24", "5.0:3.1.2-25"))]
fn a_packet_over_the_clients_maximum_is_passed_over_as_if_it_were_done() {
    // MQTT-3.1.2-24, MQTT-3.1.2-25
    let mut bench = Bench::new();
    let mut connect = Connect::new(V5, "c");
    connect.properties.maximum_packet_size = NonZeroU32::new(60);
    connect.properties.receive_maximum = NonZeroU16::new(1);
    let (client, _) = bench.connect(&connect);
    let other = bench.client(V5, "o");
    for client in [client, other] {
        bench.subscribe(client, "a", QoS::AtLeastOnce);
    }
    bench.deliver(message("a", &[0; 100], QoS::AtLeastOnce));
    bench.deliver(message("a", &[0; 9_000], QoS::AtMostOnce));
    bench.deliver(message("a", b"small", QoS::AtLeastOnce));
    let seen = bench.read_publishes(client);
    assert_eq!(
        (seen.len(), &seen[0].payload[..]),
        (1, &b"small"[..]),
        "the window was not used up"
    );
    assert_eq!(bench.worker.stats().deliveries_too_large, 2);
    assert_eq!(bench.read_publishes(other).len(), 3);
}

#[test]
fn deliveries_are_accepted_once_per_shard_and_turn() {
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.subscribe(client, "a", QoS::AtMostOnce);
    bench.out.dirty.clear();
    let filter_ids = FilterIds::Many(bench.storage.filters.keys().copied().collect());
    for (shard, seq) in [(0, 1), (1, 1), (0, 2), (0, 3)] {
        let event = ToWorker::Deliver {
            shard: ShardId(shard),
            term: TERM,
            seq: DeliverySeq(seq),
            filter_ids: filter_ids.clone(),
            message: message("a", b"x", QoS::AtMostOnce).into(),
            position: None,
        };
        bench.worker.handle(event, bench.now, &mut bench.out);
    }
    assert!(bench.out.to_link.is_empty());
    assert_eq!(bench.out.dirty, [client.token], "dirty once");
    bench.worker.finish_turn(bench.now, &mut bench.out);
    let accepted = |shard, seq| ToLink::Accepted {
        shard: ShardId(shard),
        term: TERM,
        seq: DeliverySeq(seq),
    };
    assert_eq!(bench.out.to_link, [accepted(0, 3), accepted(1, 1)]);
}

#[test]
fn lost_deliveries_end_those_who_were_promised_them() {
    let mut bench = Bench::new();
    let shard = bench.storage.placement.shard_of_topic("a");
    let elsewhere = (0..)
        .map(|i| format!("t{i}"))
        .find(|t| bench.storage.placement.shard_of_topic(t) != shard)
        .unwrap();
    let (promised, qos_0, other) = (bench.client(V5, "1"), bench.client(V5, "2"), bench.client(V5, "3"));
    bench.subscribe(promised, "a", QoS::AtLeastOnce);
    bench.subscribe(qos_0, "a", QoS::AtMostOnce);
    bench.subscribe(other, &elsewhere, QoS::ExactlyOnce);
    bench.tell(ToWorker::Overrun {
        shard,
        queued: QueuedFor::All,
    });
    assert_eq!((bench.reason(qos_0), bench.reason(other)), (None, None));
    let expected = (
        vec![Seen::Disconnect(ReasonCode::QuotaExceeded)],
        Some(DisconnectReason::Overrun),
    );
    assert_eq!(bench.last_words(promised), expected);
}

#[test]
fn a_worker_can_be_moved_to_its_thread() {
    fn is_send<T: Send>() {}
    is_send::<crate::worker::Worker>();
}
