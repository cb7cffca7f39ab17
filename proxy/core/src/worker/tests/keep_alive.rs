//! When a silent client is let go, and when it is not.

use freshet_mqtt::{ClientPacket, Connect, QoS, ReasonCode};

use super::bench::*;
use super::seen::Seen;
use crate::reason::DisconnectReason;
use crate::worker::Received;

fn with_keep_alive(bench: &mut Bench, version: freshet_mqtt::ProtocolVersion, keep_alive_seconds: u16) -> Client {
    bench
        .connect(&Connect {
            keep_alive_seconds,
            ..Connect::new(version, "c")
        })
        .0
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-22", "5.0:3.2.2-22"))]
fn a_silent_client_is_ended_after_one_and_a_half_times_its_keep_alive() {
    // MQTT-3.1.2-22
    let mut bench = Bench::new();
    let client = with_keep_alive(&mut bench, V5, 10);
    bench.pass_ms(14_900);
    assert_eq!(bench.reason(client), None);
    bench.pass_ms(500);
    let expected = (
        vec![Seen::Disconnect(ReasonCode::KeepAliveTimeout)],
        Some(DisconnectReason::KeepAliveTimeout),
    );
    assert_eq!(bench.last_words(client), expected);
}

#[test]
#[cfg_attr(false, shows("5.0:3.12.4-1", "3.1.1:3.12.4-1"))]
fn a_ping_is_answered_and_keeps_a_client_alive() {
    // MQTT-3.12.4-1
    let mut bench = Bench::new();
    let client = with_keep_alive(&mut bench, V311, 10);
    for _ in 0..10 {
        bench.pass_ms(14_000);
        bench.send(client, ClientPacket::PingReq);
        assert_eq!(bench.read(client), [Seen::PingResp]);
    }
    assert_eq!(bench.reason(client), None);
}

#[test]
fn a_client_that_never_completes_a_packet_is_not_alive() {
    let mut bench = Bench::new();
    let client = with_keep_alive(&mut bench, V311, 10);
    bench.send_bytes(client, &[0x30, 100]);
    for _ in 0..20 {
        bench.pass_ms(1_000);
        bench.send_bytes(client, b"x");
    }
    assert_eq!(bench.reason(client), Some(DisconnectReason::KeepAliveTimeout));
    bench.close_ended();
    assert_eq!(bench.worker.stats().input_bytes_now, 0);
}

#[test]
fn without_keep_alive_a_3_1_1_client_may_be_silent_and_a_5_0_client_is_given_one() {
    let mut bench = Bench::new();
    let old = bench
        .connect(&Connect {
            keep_alive_seconds: 0,
            ..Connect::new(V311, "old")
        })
        .0;
    let (new, connack) = bench.connect(&Connect {
        keep_alive_seconds: 0,
        ..Connect::new(V5, "new")
    });
    assert_eq!(connack.server_keep_alive, Some(240));
    bench.pass_ms(3_600_000);
    assert_eq!(
        (bench.reason(old), bench.reason(new)),
        (None, Some(DisconnectReason::KeepAliveTimeout))
    );
}

#[test]
#[cfg_attr(false, shows("3.1.1:3.1.2-24"))]
fn the_keep_alive_stands_still_while_the_server_does_not_read() {
    let mut bench = Bench::configured(|c| {
        c.mqtt.receive_maximum = 1;
        c.mqtt.publish_hold_ms = 3_600_000;
    });
    let client = with_keep_alive(&mut bench, V311, 10);
    bench.storage.hold_publications = true;
    bench.publish(client, "a", b"1", QoS::AtLeastOnce, 1);
    assert_eq!(
        bench.publish(client, "a", b"2", QoS::AtLeastOnce, 2),
        Received::PauseReading
    );
    bench.pass_ms(60_000);
    assert_eq!(bench.reason(client), None);
    bench.storage.release();
    bench.settle();
    assert_eq!(bench.resumed, [client.token]);
    bench.pass_ms(14_000);
    assert_eq!(bench.reason(client), None, "counted from the end of the pause");
    bench.pass_ms(1_500);
    assert_eq!(bench.reason(client), Some(DisconnectReason::KeepAliveTimeout));
}

#[test]
fn a_client_that_leaves_its_answers_unread_is_not_read_and_not_alive() {
    let mut bench = Bench::new();
    let client = with_keep_alive(&mut bench, V311, 10);
    let pings = [0xC0, 0x00].repeat(10_000);
    let mut received = Received::Continue;
    for _ in 0..100 {
        received = bench.send_bytes(client, &pings);
        if received != Received::Continue {
            break;
        }
    }
    assert_eq!(received, Received::PauseReading);
    assert!(bench.worker.stats().outbound_bytes_now < 70_000);
    assert!(!bench.read(client).is_empty());
    assert_eq!(bench.resumed, [client.token], "it reads, so it is read");
    while bench.send_bytes(client, &pings) == Received::Continue {}
    bench.pass_ms(16_000);
    assert_eq!(bench.reason(client), Some(DisconnectReason::KeepAliveTimeout));
}
