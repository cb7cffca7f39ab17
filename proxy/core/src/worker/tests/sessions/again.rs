//! What comes again whatever has happened meanwhile: after the death of a proxy, under a lower limit, from what was
//! retained.

use std::sync::Arc;

use freshet_config::ProxyConfig;
use freshet_mqtt::{QoS, ReasonCode, SubscriptionOptions};

use super::*;
use crate::worker::tests::seen::{Seen, SeenPublish};

const RELIABLE: [QoS; 2] = [QoS::AtLeastOnce, QoS::ExactlyOnce];

fn payloads(seen: &[SeenPublish]) -> Vec<u8> {
    seen.iter().map(|publish| publish.payload[0]).collect()
}

/// The proxy of a client dies: what it has not told storage by now is lost.
fn die(bench: &mut Bench, client: Client) {
    bench.storage.hold_updates = true;
    bench.hang_up(client);
    bench.storage.held.clear();
    bench.storage.hold_updates = false;
}

#[test]
#[cfg_attr(false, shows("5.0:4.6.0-5"))]
fn after_the_death_of_a_proxy_messages_come_again_in_the_order_of_the_first_time() {
    let both = |payload: u8| RELIABLE[usize::from(payload % 2)];
    let changing = |payload: u8| RELIABLE[usize::from(payload / 2 % 2)];
    let kinds: [&dyn Fn(u8) -> QoS; 4] = [&|_| RELIABLE[0], &|_| RELIABLE[1], &both, &changing];
    for (kind, qos_of) in kinds.iter().enumerate() {
        for acknowledged in [None, Some(0), Some(2)] {
            let mut bench = Bench::new();
            let (client, _) = connect(&mut bench, V5, "c");
            bench.subscribe(client, "a", QoS::ExactlyOnce);
            for payload in 0..6 {
                bench.deliver(message("a", &[payload], qos_of(payload)));
            }
            let first = bench.read_publishes(client);
            assert_eq!(payloads(&first), [0, 1, 2, 3, 4, 5]);
            let finished = acknowledged.map(|at: usize| &first[at]);
            if let Some(publish) = finished.filter(|publish| publish.qos == QoS::AtLeastOnce) {
                bench.puback(client, publish.packet_id.unwrap());
            }
            die(&mut bench, client);
            bench.deliver(message("a", &[6], QoS::AtLeastOnce));
            let (client, connack) = connect(&mut bench, V5, "c");
            assert!(connack.session_present);
            let again = bench.read_publishes(client);
            assert_eq!(payloads(&again), [0, 1, 2, 3, 4, 5, 6], "{kind}, {acknowledged:?}");
            // The client remembers packet ids of QoS 2: each comes again under its own.
            for publish in first.iter().filter(|publish| publish.qos == QoS::ExactlyOnce) {
                let same = again.iter().find(|other| other.payload == publish.payload);
                assert!(same.is_some_and(|same| same.dup && same.packet_id == publish.packet_id));
            }
        }
    }
}

#[test]
fn a_session_that_comes_back_is_sent_no_more_than_the_qos_that_is_offered_by_now() {
    for (max_qos, expected) in [(0, QoS::AtMostOnce), (1, QoS::AtLeastOnce)] {
        let mut bench = Bench::new();
        let (client, _) = connect(&mut bench, V5, "c");
        bench.subscribe(client, "a", QoS::ExactlyOnce);
        bench.deliver(message("a", &[0], QoS::ExactlyOnce));
        let sent = bench.read_publishes(client);
        bench.hang_up(client);
        bench.deliver(message("a", &[1], QoS::ExactlyOnce));
        let mut config = ProxyConfig::default();
        config.mqtt.max_qos = max_qos;
        bench.worker.reload(Arc::new(config));
        let (client, connack) = connect(&mut bench, V5, "c");
        assert_eq!(connack.maximum_qos, Some(expected));
        bench.deliver(message("a", &[2], QoS::ExactlyOnce));
        let seen = bench.read_publishes(client);
        let qos_of = |payload: u8| seen.iter().find(|p| p.payload[0] == payload).map(|p| p.qos);
        assert_eq!(
            qos_of(0),
            Some(QoS::ExactlyOnce),
            "what has begun is finished (MQTT-4.4.0-1)"
        );
        assert_eq!(seen.iter().find(|p| p.dup).and_then(|p| p.packet_id), sent[0].packet_id);
        assert_eq!((qos_of(1), qos_of(2)), (Some(expected), Some(expected)));
        bench.hang_up(client);
        // The subscription is as the client made it.
        bench.worker.reload(Arc::new(ProxyConfig::default()));
        let (client, _) = connect(&mut bench, V5, "c");
        bench.deliver(message("a", &[3], QoS::ExactlyOnce));
        let seen = bench.read_publishes(client);
        assert_eq!(seen.last().map(|p| (p.payload[0], p.qos)), Some((3, QoS::ExactlyOnce)));
    }
}

/// A client with a lasting session is sent a retained message by its subscription.
fn with_retained(bench: &mut Bench, qos: QoS) -> (Client, SeenPublish) {
    let mut retained = message("a", &[1], QoS::ExactlyOnce);
    retained.retain = true;
    bench.storage.retained.insert(retained.topic_name.clone(), retained);
    let (client, _) = connect(bench, V5, "c");
    let seen = bench.subscribe_with(client, "a", SubscriptionOptions::new(qos), Some(7));
    let publish = seen.into_iter().find_map(|seen| match seen {
        Seen::Publish(publish) => Some(publish),
        _ => None,
    });
    (client, publish.unwrap())
}

#[test]
#[cfg_attr(false, shows("5.0:4.4.0-1", "3.1.1:4.4.0-1"))]
fn a_retained_message_that_was_not_acknowledged_comes_again() {
    for qos in RELIABLE {
        for dies in [false, true] {
            let mut bench = Bench::new();
            let (client, first) = with_retained(&mut bench, qos);
            assert_eq!((first.qos, first.retain, first.dup), (qos, true, false));
            if dies {
                die(&mut bench, client);
            } else {
                bench.hang_up(client);
            }
            bench.storage.retained.clear();
            let (client, _) = connect(&mut bench, V5, "c");
            let again = bench.read_publishes(client);
            let expected = SeenPublish { dup: true, ..first };
            assert_eq!(again, [expected], "{qos:?}");
            let id = again[0].packet_id.unwrap();
            match qos {
                QoS::ExactlyOnce => {
                    bench.pubrec(client, id);
                    assert_eq!(bench.read(client), [Seen::PubRel(id, ReasonCode::Success)]);
                    bench.pubcomp(client, id);
                }
                _ => bench.puback(client, id),
            }
            bench.hang_up(client);
            assert!(bench.storage.kept.sessions[&b"c"[..]].outbound.is_empty());
            let (client, _) = connect(&mut bench, V5, "c");
            assert_eq!(bench.read(client), []);
        }
    }
}

#[test]
fn a_retained_message_leaves_when_the_session_has_it() {
    for qos in RELIABLE {
        let mut bench = Bench::new();
        bench.storage.retained.insert("a".into(), {
            let mut retained = message("a", &[1], QoS::ExactlyOnce);
            retained.retain = true;
            retained
        });
        let (client, _) = connect(&mut bench, V5, "c");
        bench.storage.hold_updates = true;
        assert_eq!(bench.subscribe(client, "a", qos), []);
        bench.storage.release();
        bench.settle();
        let seen = bench.read(client);
        assert!(
            seen.iter().any(|seen| matches!(seen, Seen::Publish(_))),
            "{qos:?}: {seen:?}"
        );
        let stored = &bench.storage.kept.sessions[&b"c"[..]].outbound;
        assert_eq!(stored[0].message.as_ref().map(|m| m.retain), Some(true));
    }
}
