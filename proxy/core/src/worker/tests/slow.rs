//! Subscribers that read too slowly: what is shed, what is closed, and that publishers do not notice.

use bytes::Bytes;
use freshet_config::SlowConsumer;
use freshet_mqtt::{QoS, ReasonCode};

use super::bench::*;
use super::seen::Seen;
use crate::reason::DisconnectReason;

fn slow(version: freshet_mqtt::ProtocolVersion, slow_consumer: SlowConsumer) -> (Bench, Client, Client) {
    let mut bench = Bench::configured(|c| {
        c.client_limits.outbound_buffer_bytes = 5_000;
        c.mqtt.slow_consumer = slow_consumer;
    });
    let (client, publisher) = (bench.client(version, "slow"), bench.client(V5, "p"));
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    (bench, client, publisher)
}

#[test]
fn a_slow_client_is_shed_qos_0_and_its_publisher_does_not_wait() {
    let (mut bench, client, publisher) = slow(V5, SlowConsumer::Disconnect);
    for _ in 0..100 {
        bench.publish(publisher, "a", &[0; 500], QoS::AtMostOnce, 0);
    }
    bench.publish(publisher, "a", b"x", QoS::AtMostOnce, 0);
    let stats = bench.worker.stats();
    assert!(stats.outbound_bytes_now <= 5_000 && stats.publishes_outstanding_now == 0);
    let shed = stats.deliveries_shed;
    assert_eq!(shed + bench.read_publishes(client).len() as u64, 101);
    assert_eq!(bench.reason(client), None);
}

#[test]
fn a_slow_clean_session_loses_its_oldest_messages_counted() {
    let (mut bench, client, publisher) = slow(V5, SlowConsumer::DropOldest);
    for i in 0..100_u8 {
        bench.publish(publisher, "a", &[i; 500], QoS::AtLeastOnce, u16::from(i) + 1);
    }
    assert_eq!(bench.read(publisher).len(), 100, "publishers are answered all the same");
    let dropped = bench.worker.stats().deliveries_dropped;
    let seen = bench.read_publishes(client);
    assert_eq!(dropped + seen.len() as u64, 100);
    assert_eq!(seen.last().map(|p| p.payload[0]), Some(99), "the newest are kept");
    assert_eq!(seen.first().map(|p| u64::from(p.payload[0])), Some(dropped));
}

#[test]
fn a_slow_clean_session_is_ended_if_that_is_configured() {
    for version in [V311, V5] {
        let (mut bench, client, publisher) = slow(version, SlowConsumer::Disconnect);
        for i in 0..20 {
            bench.publish(publisher, "a", &[0; 500], QoS::AtLeastOnce, i + 1);
        }
        let (seen, reason) = bench.last_words(client);
        assert_eq!(reason, Some(DisconnectReason::SlowConsumer));
        let expected = if version == V5 {
            vec![Seen::Disconnect(ReasonCode::QuotaExceeded)]
        } else {
            vec![]
        };
        assert_eq!(seen, expected);
        assert_eq!(
            bench
                .read(publisher)
                .iter()
                .filter(|s| matches!(s, Seen::PubAck(..)))
                .count(),
            20
        );
    }
}

#[test]
fn over_the_bound_of_all_clients_each_has_its_equal_share() {
    let mut bench = Bench::with(
        crate::worker::WorkerSettings {
            outbound_bytes: 20_000,
            ..settings()
        },
        freshet_config::ProxyConfig::default(),
    );
    let clients: Vec<_> = (0..4).map(|i| bench.client(V5, &format!("c{i}"))).collect();
    for client in &clients {
        bench.subscribe(*client, "a", QoS::AtLeastOnce);
    }
    bench.subscribe(clients[0], "hog", QoS::AtLeastOnce);
    for _ in 0..100 {
        bench.deliver(message("hog", &[0; 1_000], QoS::AtLeastOnce));
    }
    for _ in 0..3 {
        bench.deliver(message("a", &[0; 1_000], QoS::AtLeastOnce));
    }
    for client in &clients[1..] {
        assert_eq!(
            bench.read_publishes(*client).len(),
            3,
            "what others hoard is not taken from these"
        );
    }
    assert!(bench.worker.stats().outbound_bytes_now <= 2 * 20_000);
}

#[test]
fn a_message_as_large_as_the_whole_buffer_reaches_a_client_that_has_read_everything() {
    let (mut bench, client, _) = slow(V5, SlowConsumer::DropOldest);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        bench.deliver(message("a", &[0; 9_000], qos));
        assert_eq!(bench.read_publishes(client).len(), 1);
    }
}

#[test]
fn a_queued_message_keeps_no_larger_buffer_in_memory() {
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.subscribe(client, "a", QoS::AtLeastOnce);
    let frame = Bytes::from(vec![7; 1 << 20]);
    let mut part = message("a", b"", QoS::AtLeastOnce);
    part.payload = frame.slice(100..110);
    bench.deliver(part.clone());
    part.payload = frame.slice(..5_000);
    bench.deliver(part.clone());
    let first = bench.read_bytes(client, 1_000);
    bench.deliver(part);
    assert!(frame.is_unique(), "what waits has bytes of its own");
    let all = [first, bench.read_bytes(client, usize::MAX)].concat();
    assert_eq!(all.iter().filter(|byte| **byte == 7).count(), 10_010);
}

#[test]
fn messages_behind_a_full_window_have_bytes_of_their_own_shared_by_all_who_wait() {
    let mut bench = Bench::configured(|c| c.client_limits.inflight = 1);
    let clients = ["1", "2"].map(|client_id| bench.client(V5, client_id));
    for client in clients {
        bench.subscribe(client, "a", QoS::AtLeastOnce);
    }
    let frame = Bytes::from(vec![7; 100_000]);
    for _ in 0..3 {
        let mut part = message("a", b"", QoS::AtLeastOnce);
        part.payload = frame.slice(..10_000);
        bench.deliver(part);
    }
    for client in clients {
        assert_eq!(bench.read_publishes(client).len(), 1);
    }
    assert!(frame.is_unique());
    for client in clients {
        for packet_id in [1, 1] {
            bench.puback(client, packet_id);
            assert_eq!(bench.read_publishes(client)[0].payload, [7; 10_000]);
        }
    }
}
