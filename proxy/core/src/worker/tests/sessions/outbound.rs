//! Messages for sessions that outlive their connection: live, after an absence, and again.

use freshet_mqtt::{QoS, ReasonCode, SubscriptionOptions};
use freshet_storage_contract::{OutboundStage, SessionChange};

use super::*;
use crate::exchange::{QueuedFor, ToLink, ToWorker};
use crate::reason::DisconnectReason;
use crate::worker::tests::seen::{Seen, SeenPublish};

fn payloads(seen: &[SeenPublish]) -> Vec<u8> {
    seen.iter().map(|publish| publish.payload[0]).collect()
}

fn packet_id(publish: &SeenPublish) -> u16 {
    publish.packet_id.unwrap()
}

/// A client that was away while `count` messages came.
fn away(bench: &mut Bench, qos: QoS, count: u8) {
    let (client, _) = connect(bench, V5, "c");
    bench.subscribe(client, "a", qos);
    bench.hang_up(client);
    for payload in 0..count {
        bench.deliver(message("a", &[payload], qos));
    }
}

/// Acknowledges everything that the client reads until there is nothing more.
fn read_all(bench: &mut Bench, client: Client) -> Vec<SeenPublish> {
    let mut all = Vec::new();
    loop {
        let seen = bench.read(client);
        if seen.is_empty() {
            return all;
        }
        for seen in seen {
            match seen {
                Seen::Publish(publish) => {
                    match publish.qos {
                        QoS::ExactlyOnce => bench.pubrec(client, packet_id(&publish)),
                        QoS::AtLeastOnce => bench.puback(client, packet_id(&publish)),
                        QoS::AtMostOnce => {}
                    }
                    all.push(publish);
                }
                Seen::PubRel(id, _) => bench.pubcomp(client, id),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-5", "5.0:4.5.0-1", "5.0:4.6.0-5"))]
fn messages_of_an_absence_come_in_order_and_then_those_of_the_present() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for chunk in [1, 3, 100] {
            let mut bench = Bench::new();
            bench.storage.kept.chunk = chunk;
            away(&mut bench, qos, 10);
            let (client, _) = connect(&mut bench, V5, "c");
            bench.deliver(message("a", &[10], qos));
            let seen = read_all(&mut bench, client);
            assert_eq!(
                payloads(&seen),
                (0..=10).collect::<Vec<_>>(),
                "{qos:?} in chunks of {chunk}"
            );
            assert!(seen.iter().all(|publish| !publish.dup));
            bench.deliver(message("a", &[11], qos));
            assert_eq!(payloads(&read_all(&mut bench, client)), [11]);
        }
    }
}

#[test]
fn what_was_acknowledged_does_not_come_again() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut bench = Bench::new();
        away(&mut bench, qos, 5);
        let (client, _) = connect(&mut bench, V5, "c");
        read_all(&mut bench, client);
        bench.hang_up(client);
        let (client, connack) = connect(&mut bench, V5, "c");
        assert!(connack.session_present);
        assert_eq!(bench.read(client), []);
        assert!(bench.storage.kept.sessions[&b"c"[..]].outbound.is_empty());
    }
}

#[test]
fn acknowledgements_reach_storage_together_and_without_an_end_of_the_connection() {
    let mut bench = Bench::new();
    away(&mut bench, QoS::AtLeastOnce, 5);
    let (client, _) = connect(&mut bench, V5, "c");
    read_all(&mut bench, client);
    let updates = |bench: &Bench| {
        let is_one = |said: &&ToLink| matches!(said, ToLink::UpdateSession(_));
        bench.storage.heard.iter().filter(is_one).count()
    };
    let before = updates(&bench);
    bench.pass_ms(200);
    assert_eq!(updates(&bench), before + 1);
    let last = bench.storage.kept.log.last().unwrap().0;
    assert_eq!(bench.storage.kept.sessions[&b"c"[..]].cursors[0].acknowledged, last);
}

#[test]
#[cfg_attr(false, shows("5.0:2.2.1-4", "5.0:3.3.1-1", "5.0:4.4.0-1"))]
fn an_unacknowledged_message_comes_again_with_its_packet_id_and_dup_before_all_others() {
    // MQTT-4.4.0-1, MQTT-3.3.1-1, MQTT-4.6.0-1
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut bench = Bench::new();
        let (client, _) = connect(&mut bench, V5, "c");
        bench.subscribe(client, "a", qos);
        for payload in 0..3 {
            bench.deliver(message("a", &[payload], qos));
        }
        let sent = bench.read_publishes(client);
        assert_eq!(payloads(&sent), [0, 1, 2]);
        bench.hang_up(client);
        bench.deliver(message("a", &[3], qos));
        let (client, _) = connect(&mut bench, V5, "c");
        let again = bench.read_publishes(client);
        assert_eq!(payloads(&again), [0, 1, 2, 3]);
        for (first, second) in sent.iter().zip(&again) {
            assert_eq!(first.packet_id, second.packet_id);
            assert!(second.dup);
        }
        assert!(!again[3].dup);
        assert!(
            !sent.iter().any(|publish| publish.packet_id == again[3].packet_id),
            "taken ids"
        );
        assert_eq!(bench.worker.stats().deliveries_repeated, 3);
    }
}

#[test]
#[cfg_attr(false, shows("5.0:4.4.0-1"))]
fn messages_of_either_qos_come_again_in_the_order_of_the_first_time() {
    // MQTT-4.6.0-1, MQTT-4.6.0-6
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    for payload in 0..6 {
        let qos = if payload % 2 == 0 {
            QoS::AtLeastOnce
        } else {
            QoS::ExactlyOnce
        };
        bench.deliver(message("a", &[payload], qos));
    }
    let first = bench.read_publishes(client);
    bench.hang_up(client);
    let (client, _) = connect(&mut bench, V5, "c");
    let second = bench.read_publishes(client);
    assert_eq!(payloads(&second), payloads(&first));
    assert!(
        first
            .iter()
            .zip(&second)
            .all(|(a, b)| a.packet_id == b.packet_id && b.dup)
    );
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.4-9", "5.0:4.9.0-2"))]
fn a_client_that_comes_back_with_a_smaller_window_is_sent_no_more_than_that() {
    // MQTT-3.3.4-9
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut bench = Bench::new();
        let (client, _) = connect(&mut bench, V5, "c");
        bench.subscribe(client, "a", qos);
        for payload in 0..4 {
            bench.deliver(message("a", &[payload], qos));
        }
        assert_eq!(bench.read_publishes(client).len(), 4);
        bench.hang_up(client);
        let (client, _) = connect_with_window(&mut bench, "c", 2);
        let first = bench.read_publishes(client);
        assert_eq!(payloads(&first), [0, 1]);
        match qos {
            QoS::ExactlyOnce => {
                bench.pubrec(client, packet_id(&first[0]));
                assert!(matches!(bench.read(client)[..], [Seen::PubRel(..)]));
                bench.pubcomp(client, packet_id(&first[0]));
            }
            _ => bench.puback(client, packet_id(&first[0])),
        }
        assert_eq!(payloads(&bench.read_publishes(client)), [2]);
    }
}

#[test]
fn acknowledgements_out_of_order_are_kept_over_an_absence() {
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    for payload in 0..3 {
        bench.deliver(message("a", &[payload], QoS::AtLeastOnce));
    }
    let sent = bench.read_publishes(client);
    bench.puback(client, packet_id(&sent[1]));
    bench.puback(client, packet_id(&sent[2]));
    bench.hang_up(client);
    let (client, _) = connect(&mut bench, V5, "c");
    assert_eq!(payloads(&bench.read_publishes(client)), [0]);
}

#[test]
fn a_message_of_qos_2_waits_until_storage_knows_its_packet_id_and_pubrel_until_it_knows_of_pubrec() {
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    bench.storage.hold_updates = true;
    bench.deliver(message("a", &[1], QoS::ExactlyOnce));
    bench.deliver(message("a", &[2], QoS::AtLeastOnce));
    assert_eq!(bench.read(client), [], "what comes behind it waits, too");
    bench.storage.release();
    bench.settle();
    let sent = bench.read_publishes(client);
    assert_eq!(payloads(&sent), [1, 2]);
    let id = packet_id(&sent[0]);
    bench.storage.hold_updates = true;
    bench.pubrec(client, id);
    bench.pubrec(client, id);
    assert_eq!(bench.read(client), []);
    bench.storage.release();
    bench.settle();
    assert_eq!(bench.read(client), [Seen::PubRel(id, ReasonCode::Success)]);
    let stage = bench.storage.kept.sessions[&b"c"[..]].outbound[0].stage;
    assert_eq!(stage, OutboundStage::Received);
}

#[test]
fn how_far_the_session_is_goes_no_later_than_the_end_of_an_exchange() {
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    bench.deliver(message("a", &[1], QoS::ExactlyOnce));
    let id = packet_id(&bench.read_publishes(client)[0]);
    bench.pubrec(client, id);
    assert_eq!(bench.read(client), [Seen::PubRel(id, ReasonCode::Success)]);
    bench.storage.hold_updates = true;
    bench.pubcomp(client, id);
    // Goes in an update of its own.
    bench.subscribe(client, "b", QoS::AtLeastOnce);
    let Some(ToLink::UpdateSession(update)) = bench.storage.held.pop_front() else {
        panic!()
    };
    let has = |is_it: fn(&SessionChange) -> bool| update.changes.iter().any(is_it);
    assert!(has(|change| matches!(change, SessionChange::Completed { .. })));
    assert!(has(|change| matches!(change, SessionChange::Advance(_))));
}

#[test]
#[cfg_attr(false, shows("5.0:4.3.3-5", "5.0:4.3.3-6"))]
fn an_exchange_that_was_received_goes_on_with_pubrel_and_never_with_publish() {
    // MQTT-4.3.3-6
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    bench.deliver(message("a", &[1], QoS::ExactlyOnce));
    let id = packet_id(&bench.read_publishes(client)[0]);
    bench.pubrec(client, id);
    bench.hang_up(client);
    let client = bench.open(V5);
    bench.send(client, ClientPacket::Connect(lasting(V5, "c")));
    let seen = bench.read(client);
    assert!(matches!(&seen[..], [Seen::ConnAck(_), Seen::PubRel(again, _)] if *again == id));
    bench.pubcomp(client, id);
    bench.hang_up(client);
    let (client, _) = connect(&mut bench, V5, "c");
    assert_eq!(bench.read(client), []);
}

#[test]
fn an_exchange_whose_message_has_gone_ends_without_it() {
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.subscribe(client, "a", QoS::ExactlyOnce);
    bench.deliver(message("a", &[1], QoS::ExactlyOnce));
    bench.deliver(message("a", &[2], QoS::AtLeastOnce));
    let id = packet_id(&bench.read_publishes(client)[0]);
    bench.hang_up(client);
    bench.storage.kept.log.clear();
    let client = bench.open(V5);
    bench.send(client, ClientPacket::Connect(lasting(V5, "c")));
    let seen = bench.read(client);
    assert!(
        matches!(&seen[..], [Seen::ConnAck(_), Seen::PubRel(again, _)] if *again == id),
        "the client may remember the id: {seen:?}"
    );
    assert_eq!(bench.worker.stats().deliveries_gone, 2);
    bench.pubcomp(client, id);
    bench.hang_up(client);
    assert!(bench.storage.kept.sessions[&b"c"[..]].outbound.is_empty());
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.4-2", "5.0:3.3.4-4"))]
fn overlapping_subscriptions_bring_one_copy_after_an_absence_with_all_identifiers() {
    // MQTT-3.3.4-2, MQTT-3.3.4-3, MQTT-3.3.4-4, MQTT-3.3.4-5
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.subscribe_with(client, "a/b", SubscriptionOptions::new(QoS::AtLeastOnce), Some(3));
    bench.subscribe_with(client, "a/+", SubscriptionOptions::new(QoS::ExactlyOnce), Some(4));
    bench.hang_up(client);
    bench.deliver(message("a/b", &[1], QoS::ExactlyOnce));
    let (client, _) = connect(&mut bench, V5, "c");
    let seen = bench.read_publishes(client);
    assert_eq!(seen.len(), 1);
    let mut identifiers = seen[0].identifiers.clone();
    identifiers.sort_unstable();
    assert_eq!((seen[0].qos, identifiers), (QoS::ExactlyOnce, vec![3, 4]));
    bench.hang_up(client);
    let (client, _) = connect(&mut bench, V5, "c");
    let again = bench.read_publishes(client);
    assert_eq!((again.len(), again[0].identifiers.len(), again[0].dup), (1, 2, true));
}

#[test]
#[cfg_attr(false, shows("5.0:3.3.4-9", "5.0:4.9.0-2"))]
fn a_window_of_one_brings_everything_one_by_one() {
    // MQTT-3.3.4-9
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut bench = Bench::new();
        bench.storage.kept.chunk = 4;
        away(&mut bench, qos, 20);
        let (client, _) = connect_with_window(&mut bench, "c", 1);
        let mut got = Vec::new();
        for payload in 20..25 {
            bench.deliver(message("a", &[payload], qos));
        }
        for _ in 0..25 {
            let sent = bench.read_publishes(client);
            assert_eq!(sent.len(), 1, "after {got:?}");
            got.extend(payloads(&sent));
            let id = packet_id(&sent[0]);
            if qos == QoS::ExactlyOnce {
                bench.pubrec(client, id);
                assert_eq!(bench.read(client), [Seen::PubRel(id, ReasonCode::Success)]);
                bench.pubcomp(client, id);
            } else {
                bench.puback(client, id);
            }
        }
        assert_eq!(got, (0..25).collect::<Vec<_>>());
        assert_eq!(bench.read(client), []);
    }
}

#[test]
fn a_session_without_room_reads_on_later_and_loses_nothing() {
    let mut bench = Bench::configured(|c| {
        c.client_limits.outbound_buffer_bytes = 2_000;
        c.client_limits.inflight = 4;
    });
    let (client, _) = connect(&mut bench, V5, "c");
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    for payload in 0..60 {
        bench.deliver(message("a", &[payload; 100], QoS::AtLeastOnce));
    }
    assert!(bench.worker.stats().sessions_fallen_behind > 0);
    assert_eq!(bench.worker.stats().deliveries_dropped, 0);
    assert_eq!(payloads(&read_all(&mut bench, client)), (0..60).collect::<Vec<_>>());
    bench.deliver(message("a", &[60], QoS::AtLeastOnce));
    assert_eq!(payloads(&read_all(&mut bench, client)), [60], "it has caught up");
}

#[test]
fn deliveries_that_were_lost_on_their_way_are_read_from_storage() {
    let mut bench = Bench::new();
    let (client, _) = connect(&mut bench, V5, "c");
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    bench.storage.deliver(message("a", &[1], QoS::AtLeastOnce));
    bench.storage.answers.clear();
    let shard = bench.storage.placement.shard_of_topic("a");
    bench.tell(ToWorker::Overrun {
        shard,
        queued: QueuedFor::All,
    });
    assert_eq!(bench.reason(client), None);
    assert_eq!(payloads(&read_all(&mut bench, client)), [1]);
}

#[test]
fn a_client_whose_session_may_have_expired_while_storage_was_out_of_reach_is_told() {
    for (away_ms, reason) in [(19_000, None), (21_000, Some(DisconnectReason::Overrun))] {
        let mut bench = Bench::new();
        let mut short = lasting(V5, "c");
        short.properties.session_expiry_interval = Some(20);
        let (client, _) = bench.connect(&short);
        bench.subscribe(client, "a", QoS::AtLeastOnce);
        bench.tell(ToWorker::StorageAway);
        bench.pass_ms(away_ms);
        bench.storage_back();
        let shard = bench.storage.placement.shard_of_topic("a");
        bench.tell(ToWorker::Overrun {
            shard,
            queued: QueuedFor::Unexpired,
        });
        assert_eq!(bench.reason(client), reason, "away for {away_ms} ms");
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-25", "5.0:3.3.2-5"))]
fn messages_that_are_too_large_or_have_expired_are_done_with() {
    let mut bench = Bench::new();
    let mut small = lasting(V5, "c");
    small.properties.maximum_packet_size = 100_u32.try_into().ok();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let (client, _) = bench.connect(&small);
        bench.subscribe(client, "a", qos);
        bench.hang_up(client);
        bench.deliver(message("a", &[9; 200], qos));
        let mut expired = message("a", &[8], qos);
        expired.message_expiry_interval_s = Some(0);
        bench.deliver(expired);
        bench.deliver(message("a", &[1], qos));
        let (client, _) = bench.connect(&small);
        assert_eq!(payloads(&read_all(&mut bench, client)), [1]);
        bench.hang_up(client);
        let stored = &bench.storage.kept.sessions[&b"c"[..]];
        assert!(stored.outbound.is_empty());
        assert_eq!(stored.cursors[0].acknowledged, bench.storage.kept.log.last().unwrap().0);
    }
    let stats = bench.worker.stats();
    assert_eq!((stats.deliveries_too_large, stats.deliveries_expired), (2, 2));
}

#[test]
fn a_subscription_that_begins_while_the_session_reads_misses_nothing() {
    let mut bench = Bench::new();
    bench.storage.kept.chunk = 2;
    away(&mut bench, QoS::AtLeastOnce, 8);
    let (client, _) = connect_with_window(&mut bench, "c", 1);
    let topic = (0..)
        .map(|n| format!("other/{n}"))
        .find(|t| bench.storage.placement.shard_of_topic(t) == bench.storage.placement.shard_of_topic("a"))
        .unwrap();
    let seen = bench.subscribe(client, &topic, QoS::AtLeastOnce);
    bench.deliver(message(&topic, &[100], QoS::AtLeastOnce));
    bench.deliver(message("a", &[101], QoS::AtLeastOnce));
    let mut got = Vec::new();
    for seen in seen {
        if let Seen::Publish(publish) = seen {
            got.push(publish.payload[0]);
            bench.puback(client, packet_id(&publish));
        }
    }
    got.extend(payloads(&read_all(&mut bench, client)));
    assert_eq!(got, [0, 1, 2, 3, 4, 5, 6, 7, 100, 101]);
}
