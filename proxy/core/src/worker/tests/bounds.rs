//! What slow and careless clients can make a worker keep: bounded, shed and counted.

use freshet_mqtt::{ClientPacket, Connect, ReasonCode};

use super::bench::*;
use super::seen::Seen;
use crate::reason::DisconnectReason;
use crate::worker::{Received, WorkerSettings};

#[test]
fn a_packet_over_the_maximum_is_refused_before_its_body_comes() {
    // MQTT-3.2.2-15
    let mut bench = Bench::configured(|c| c.client_limits.max_packet_bytes = 1_000);
    let client = bench.client(V5, "c");
    assert_eq!(bench.send_bytes(client, &[0x30, 0xE8, 0x07]), Received::Close);
    let expected = (
        vec![Seen::Disconnect(ReasonCode::PacketTooLarge)],
        Some(DisconnectReason::PacketTooLarge),
    );
    assert_eq!(bench.last_words(client), expected);
}

#[test]
fn an_announced_size_takes_no_memory_before_the_bytes_come() {
    let mut bench = Bench::new();
    let client = bench.client(V5, "c");
    bench.send_bytes(client, &[0x30, 0xF0, 0xFF, 0x3F, 0, 1, b'a']);
    let kept = bench.worker.connections.get(client.token).unwrap().input.capacity();
    assert!(kept < 1_000, "{kept}");
}

#[test]
fn incomplete_packets_of_all_clients_are_bounded() {
    let small = WorkerSettings {
        input_bytes: 10_000,
        ..settings()
    };
    let mut bench = Bench::with(small, freshet_config::ProxyConfig::default());
    let clients: Vec<_> = (0..20).map(|i| bench.client(V5, &format!("c{i}"))).collect();
    let mut packet = Vec::new();
    let big = publish("a", &[0; 2_000], freshet_mqtt::QoS::AtMostOnce, 0);
    ClientPacket::Publish(big)
        .encode(&freshet_mqtt::Peer::new(V5), &mut packet)
        .unwrap();
    let mut ended = 0;
    for client in &clients {
        if bench.send_bytes(*client, &packet[..1_500]) == Received::Close {
            ended += 1;
            assert_eq!(bench.reason(*client), Some(DisconnectReason::ServerBusy));
        }
        assert!(bench.worker.stats().input_bytes_now <= 10_000);
    }
    assert_eq!(ended, 14);
    bench.send_bytes(clients[0], &packet[1_500..]);
    assert_eq!(
        bench.worker.stats().publishes_received[0],
        1,
        "those that were there before go on"
    );
}

#[test]
fn whose_connect_is_not_whole_when_there_is_no_room_for_it_is_told_nothing() {
    let small = WorkerSettings {
        input_bytes: 10,
        ..settings()
    };
    let mut bench = Bench::with(small, freshet_config::ProxyConfig::default());
    for version in [V311, V5] {
        let mut packet = Vec::new();
        ClientPacket::Connect(Connect::new(version, "a-client"))
            .encode(&freshet_mqtt::Peer::new(version), &mut packet)
            .unwrap();
        let client = bench.open(version);
        assert_eq!(bench.send_bytes(client, &packet[..12]), Received::Close);
        let expected = (Vec::new(), Some(DisconnectReason::ServerBusy));
        assert_eq!(
            bench.last_words(client),
            expected,
            "nothing that another version could not read"
        );
    }
}

#[test]
fn a_header_that_is_refused_with_its_second_piece_leaves_the_count_of_kept_bytes_true() {
    let mut bench = Bench::new();
    let (other, client) = (bench.client(V5, "o"), bench.client(V5, "c"));
    bench.send_bytes(other, &[0x30, 9, 0]);
    bench.send_bytes(client, &[0x30, 0x80]);
    assert_eq!(bench.worker.stats().input_bytes_now, 5);
    assert_eq!(bench.send_bytes(client, &[0x80, 0x80, 0x80]), Received::Close);
    assert_eq!(bench.worker.stats().input_bytes_now, 3);
}

#[test]
fn other_protocols_have_reasons_of_their_own() {
    let mut bench = Bench::new();
    for (bytes, reason) in [
        (&[0x16, 0x03, 0x01, 0x02, 0x00][..], DisconnectReason::TlsOnPlainPort),
        (b"GET / HTTP/1.1\r\n\r\n", DisconnectReason::HttpOnPlainPort),
        (b"POST /x HTTP/1.1\r\n\r\n", DisconnectReason::HttpOnPlainPort),
        (b"SSH-2.0-OpenSSH", DisconnectReason::ProtocolError),
        (&[0xC0, 0x00], DisconnectReason::ProtocolError),
        (&[0x11, 0x00], DisconnectReason::MalformedPacket),
    ] {
        for piece in [1, bytes.len()] {
            let client = bench.open(V5);
            let received: Vec<_> = bytes.chunks(piece).map(|b| bench.send_bytes(client, b)).collect();
            assert_eq!(received.last(), Some(&Received::Close), "{bytes:02x?}");
            assert_eq!(bench.last_words(client), (vec![], Some(reason)));
        }
    }
    assert_eq!(
        (
            bench.worker.stats().connections_now,
            bench.worker.stats().input_bytes_now
        ),
        (0, 0)
    );
}

#[test]
fn a_token_that_has_gone_names_nobody() {
    let mut bench = Bench::new();
    let gone = bench.client(V5, "c");
    bench.hang_up(gone);
    let next = bench.client(V5, "d");
    assert_eq!(gone.token.slot(), next.token.slot());
    assert_eq!(bench.send(gone, ClientPacket::PingReq), Received::Close);
    assert_eq!(bench.read(gone), []);
    bench.hang_up(gone);
    assert_eq!(bench.reason(next), None);
    bench.send(next, ClientPacket::PingReq);
    assert_eq!(bench.read(next), [Seen::PingResp]);
}

#[test]
fn a_changed_configuration_is_for_those_who_come() {
    let mut bench = Bench::new();
    let before = bench.client(V5, "c");
    let mut config = freshet_config::ProxyConfig::default();
    config.client_limits.max_packet_bytes = 100;
    bench.worker.reload(std::sync::Arc::new(config));
    let after = bench.client(V5, "d");
    for client in [before, after] {
        bench.publish(client, "a", &[0; 200], freshet_mqtt::QoS::AtMostOnce, 0);
    }
    assert_eq!(
        (bench.reason(before), bench.reason(after)),
        (None, Some(DisconnectReason::PacketTooLarge))
    );
}
