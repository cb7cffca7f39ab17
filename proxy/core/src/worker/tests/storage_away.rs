//! What is held while storage cannot answer, and what happens when it takes too long.

use freshet_mqtt::{ClientPacket, Connect, QoS, ReasonCode, Will, WillProperties};
use freshet_storage_contract::DetachReason;

use super::bench::*;
use super::seen::Seen;
use crate::exchange::{ToLink, ToWorker};
use crate::reason::DisconnectReason;
use crate::worker::{Received, WorkerSettings};

#[test]
fn a_connect_before_storage_was_ever_reached_waits_for_it() {
    let mut bench = Bench::without_storage(settings(), freshet_config::ProxyConfig::default());
    let client = bench.open(V5);
    bench.send(client, ClientPacket::Connect(Connect::new(V5, "c")));
    assert!(bench.storage.heard.is_empty());
    bench.pass_ms(20_000);
    bench.storage_back();
    assert!(matches!(&bench.read(client)[..], [Seen::ConnAck(c)] if c.reason_code == ReasonCode::Success));
}

#[test]
fn a_connect_that_storage_does_not_answer_is_refused_after_the_hold() {
    for storage_was_there in [false, true] {
        let mut bench = Bench::without_storage(settings(), freshet_config::ProxyConfig::default());
        if storage_was_there {
            bench.storage_back();
            bench.storage.hold_attaches = true;
        }
        for version in [V311, V5] {
            let client = bench.open(version);
            bench.send(client, ClientPacket::Connect(Connect::new(version, "c")));
            bench.pass_ms(29_900);
            assert_eq!(bench.reason(client), None);
            bench.pass_ms(500);
            let (seen, reason) = bench.last_words(client);
            assert_eq!(reason, Some(DisconnectReason::StorageUnavailable));
            assert!(
                matches!(&seen[..], [Seen::ConnAck(c)] if c.reason_code == ReasonCode::ServerUnavailable),
                "{seen:?}"
            );
        }
        bench.storage_back();
        bench.storage.release();
        bench.settle();
        assert_eq!(
            bench.storage.sessions.len(),
            0,
            "sessions that came too late are given back"
        );
    }
}

#[test]
fn the_will_of_a_client_that_gives_up_before_its_connack_is_not_due() {
    let mut bench = Bench::new();
    for clean_start in [false, true] {
        bench.storage.hold_attaches = true;
        let client = bench.open(V5);
        let mut connect = Connect::new(V5, "c");
        connect.clean_start = clean_start;
        connect.will = Some(Will {
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: WillProperties::default(),
            topic_name: "wills",
            payload: b"gone",
        });
        bench.send(client, ClientPacket::Connect(connect));
        bench.hang_up(client);
        bench.storage.release();
        bench.settle();
        assert_eq!(bench.storage.detached.last().map(|d| d.1), Some(DetachReason::Moved));
    }
}

#[test]
fn publishes_are_held_and_then_answered() {
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.storage.hold_publications = true;
    bench.tell(ToWorker::StorageAway);
    bench.publish(client, "a", b"x", QoS::AtLeastOnce, 1);
    bench.send(client, ClientPacket::PingReq);
    assert_eq!(bench.read(client), [Seen::PingResp]);
    bench.pass_ms(20_000);
    bench.storage.release();
    bench.storage_back();
    assert_eq!(bench.read(client), [Seen::PubAck(1, ReasonCode::NoMatchingSubscribers)]);
}

#[test]
#[cfg_attr(false, shows("3.1.1:4.8.0-2"))]
fn what_is_held_too_long_ends_the_connection_and_is_never_answered_with_an_error() {
    let act: [fn(&mut Bench, Client); 3] = [
        |b, c| {
            let _ = b.publish(c, "a", b"x", QoS::AtLeastOnce, 1);
        },
        |b, c| {
            let _ = b.publish(c, "a", b"x", QoS::ExactlyOnce, 1);
        },
        |b, c| {
            let _ = b.subscribe(c, "a", QoS::AtLeastOnce);
        },
    ];
    for act in act {
        for version in [V311, V5] {
            let mut bench = Bench::new();
            let client = bench
                .connect(&Connect {
                    keep_alive_seconds: 200,
                    ..Connect::new(version, "c")
                })
                .0;
            bench.pass_ms(100_000);
            (bench.storage.hold_publications, bench.storage.hold_subscriptions) = (true, true);
            bench.tell(ToWorker::StorageAway);
            act(&mut bench, client);
            bench.pass_ms(29_900);
            assert_eq!(bench.reason(client), None);
            bench.pass_ms(500);
            let (seen, reason) = bench.last_words(client);
            assert_eq!(reason, Some(DisconnectReason::StorageUnavailable));
            // 0x88 is no code of DISCONNECT (MQTT-3.14.2-1).
            let expected = if version == V5 {
                vec![Seen::Disconnect(ReasonCode::ServerBusy)]
            } else {
                vec![]
            };
            assert_eq!(seen, expected);
            bench.storage.release();
            bench.storage_back();
            assert_eq!(
                bench.storage.detached.last().map(|d| d.1),
                Some(DetachReason::Moved),
                "no will fires at once"
            );
        }
    }
}

#[test]
fn an_answered_publish_lets_the_next_one_have_its_whole_hold() {
    let mut bench = Bench::new();
    let client = bench.client(V311, "c");
    for packet_id in 1..=10 {
        bench.storage.hold_publications = true;
        bench.publish(client, "a", b"x", QoS::AtLeastOnce, packet_id);
        bench.pass_ms(20_000);
        bench.storage.release();
        bench.settle();
        assert_eq!(bench.read(client).len(), 1);
    }
    assert_eq!(bench.reason(client), None);
}

#[test]
fn nothing_of_qos_1_is_sent_while_storage_is_away() {
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    bench.storage.deliver(message("a", b"1", QoS::AtLeastOnce));
    bench.storage.deliver(message("a", b"0", QoS::AtMostOnce));
    bench.settle();
    bench.tell(ToWorker::StorageAway);
    let seen = bench.read_publishes(client);
    assert_eq!((seen.len(), seen[0].qos), (1, QoS::AtMostOnce));
    bench.out.dirty.clear();
    bench.storage_back();
    assert_eq!(bench.out.dirty, [client.token]);
    assert_eq!(bench.read_publishes(client).len(), 1);
}

#[test]
fn qos_0_over_the_bound_is_shed_while_storage_is_away() {
    let small = WorkerSettings {
        outstanding_publish_bytes: 5_000,
        ..settings()
    };
    let mut bench = Bench::with(small, freshet_config::ProxyConfig::default());
    let client = bench.client(V5, "c");
    bench.storage.hold_publications = true;
    bench.tell(ToWorker::StorageAway);
    for _ in 0..100 {
        assert_eq!(
            bench.publish(client, "a", &[0; 500], QoS::AtMostOnce, 0),
            Received::Continue
        );
    }
    let held = bench.storage.held_publications.len() as u64;
    assert_eq!(bench.worker.stats().publishes_shed + held, 100);
    assert!(held < 10);
    bench.send(client, ClientPacket::PingReq);
    assert_eq!(bench.read(client), [Seen::PingResp]);
}

#[test]
fn sessions_that_storage_may_be_asked_for_are_bounded() {
    let small = WorkerSettings {
        max_connections: 5,
        ..settings()
    };
    let mut bench = Bench::with(small, freshet_config::ProxyConfig::default());
    bench.storage.hold_attaches = true;
    let mut refused = 0;
    for i in 0..30 {
        let client = bench.open(V5);
        let received = bench.send(client, ClientPacket::Connect(Connect::new(V5, &format!("c{i}"))));
        if received == Received::Close {
            let (seen, reason) = bench.last_words(client);
            assert!(matches!(&seen[..], [Seen::ConnAck(c)] if c.reason_code == ReasonCode::ServerBusy));
            assert_eq!(reason, Some(DisconnectReason::ServerBusy));
            refused += 1;
        } else {
            bench.hang_up(client);
        }
    }
    assert_eq!((refused, bench.storage.held.len()), (20, 10));
    let attaches = bench
        .storage
        .heard
        .iter()
        .filter(|s| matches!(s, ToLink::AttachSession { .. }))
        .count();
    assert_eq!(attaches, 10);
}

#[test]
fn clients_that_may_have_missed_something_are_told_when_storage_was_away_for_half_a_day() {
    for (away_ms, reason) in [(43_190_000, None), (43_210_000, Some(DisconnectReason::Overrun))] {
        let mut bench = Bench::configured(|c| c.client_limits.max_keep_alive_s = 0);
        let mut connect = |connect: Connect<'_>| {
            let keep_alive_seconds = 0;
            let silent = Connect {
                keep_alive_seconds,
                ..connect
            };
            bench.connect(&silent).0
        };
        let (reliable, fleeting) = (connect(Connect::new(V5, "c")), connect(Connect::new(V5, "e")));
        let lasting_one = connect(lasting(V5, "d"));
        bench.subscribe(reliable, "a", QoS::AtLeastOnce);
        bench.subscribe(lasting_one, "a", QoS::AtLeastOnce);
        bench.subscribe(fleeting, "a", QoS::AtMostOnce);
        bench.tell(ToWorker::StorageAway);
        bench.pass_ms(away_ms);
        bench.storage_back();
        assert_eq!(bench.reason(reliable), reason);
        assert_eq!((bench.reason(lasting_one), bench.reason(fleeting)), (None, None));
    }
}
