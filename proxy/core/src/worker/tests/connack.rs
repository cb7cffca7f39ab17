//! What CONNACK says, and when.

use freshet_mqtt::{
    ClientPacket, ConnAckProperties, Connect, DecodeLimits, FixedHeader, Peer, QoS, ReasonCode, ServerPacket, Will,
    WillProperties,
};

use super::bench::*;
use super::seen::{Seen, decode_all};
use crate::exchange::ToLink;
use crate::worker::Received;

/// Connects and returns the bytes of the answer.
fn answer(bench: &mut Bench, connect: &Connect<'_>) -> Vec<u8> {
    let client = bench.open(connect.protocol.version);
    bench.send(client, ClientPacket::Connect(*connect));
    bench.read_bytes(client, usize::MAX)
}

/// Runs `check` on the properties of a CONNACK of 5.0.
fn check_properties(bytes: &[u8], check: impl FnOnce(&ConnAckProperties<'_>)) {
    let header = FixedHeader::parse(bytes, u32::MAX).unwrap().unwrap();
    let body = header.body(bytes).unwrap();
    let packet = ServerPacket::decode(V5, header, body, &DecodeLimits::default()).unwrap();
    let ServerPacket::ConnAck(connack) = packet else {
        panic!("{packet:?}")
    };
    check(&connack.properties);
}

/// Asks for something that is refused: a client id that is too long.
fn bench_with_short_ids() -> Bench {
    Bench::configured(|c| c.mqtt.max_client_id_bytes = 3)
}

#[test]
#[cfg_attr(false, shows("5.0:3.2.0-1", "5.0:3.2.0-2", "3.1.1:3.2.0-1"))]
fn connack_comes_first_and_once() {
    for version in [V311, V5] {
        let mut bench = Bench::new();
        bench.storage.hold_attaches = true;
        let client = bench.open(version);
        bench.send(client, ClientPacket::Connect(Connect::new(version, "c")));
        bench.subscribe(client, "a", QoS::AtMostOnce);
        bench.publish(client, "a", b"x", QoS::AtLeastOnce, 1);
        bench.send(client, ClientPacket::PingReq);
        assert_eq!(bench.read(client), []);
        bench.storage.release();
        bench.settle();
        let seen = bench.read(client);
        assert!(matches!(seen[0], Seen::ConnAck(_)), "{seen:?}");
        assert_eq!(seen.len(), 5, "SUBACK, PUBLISH, PUBACK and PINGRESP follow: {seen:?}");
        assert!(!seen[1..].iter().any(|s| matches!(s, Seen::ConnAck(_))), "{seen:?}");
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.2.2-1", "5.0:3.1.2-6"))]
fn without_a_session_its_flags_are_0() {
    let mut bench = Bench::new();
    for version in [V311, V5] {
        for clean_start in [true, false] {
            let connect = Connect {
                clean_start,
                ..Connect::new(version, "c")
            };
            let bytes = answer(&mut bench, &connect);
            assert_eq!((bytes[0], bytes[2], bytes[3]), (0x20, 0, 0), "{version:?}");
        }
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.2.2-6", "5.0:3.2.2-7", "3.1.1:3.2.2-4", "3.1.1:3.2.2-5"))]
fn a_refusal_names_no_session_and_ends_the_connection() {
    let mut bench = bench_with_short_ids();
    for (version, code) in [(V311, 2), (V5, ReasonCode::ClientIdentifierNotValid.byte())] {
        let client = bench.open(version);
        let connect = Connect {
            clean_start: false,
            ..Connect::new(version, "long")
        };
        assert_eq!(bench.send(client, ClientPacket::Connect(connect)), Received::Close);
        let (token, bytes) = bench.close_ended().remove(0);
        assert_eq!(token, client.token);
        assert_eq!((bytes[0], bytes[2], bytes[3]), (0x20, 0, code), "{version:?}");
    }
    assert_eq!(bench.worker.stats().connections_now, 0);
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.4-6", "3.1.1:3.1.4-5"))]
fn nothing_behind_a_refused_connect_is_processed() {
    let mut bench = bench_with_short_ids();
    for version in [V311, V5] {
        let client = bench.open(version);
        let mut bytes = Vec::new();
        for packet in [
            ClientPacket::Connect(Connect::new(version, "long")),
            ClientPacket::Publish(publish("a", b"x", QoS::AtLeastOnce, 1)),
            ClientPacket::PingReq,
        ] {
            packet.encode(&Peer::new(version), &mut bytes).unwrap();
        }
        assert_eq!(bench.send_bytes(client, &bytes), Received::Close);
        let (_, answered) = bench.close_ended().remove(0);
        assert!(
            matches!(decode_all(version, &answered)[..], [Seen::ConnAck(_)]),
            "{answered:02x?}"
        );
    }
    let reached_storage = |said: &ToLink| matches!(said, ToLink::Publish { .. } | ToLink::AttachSession { .. });
    assert!(!bench.storage.heard.iter().any(reached_storage));
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-28", "5.0:4.12.0-6"))]
fn nothing_is_said_of_responses_and_of_authentication() {
    let mut bench = Bench::new();
    for asked in [None, Some(false), Some(true)] {
        let mut connect = Connect::new(V5, "c");
        connect.properties.request_response_information = asked;
        let bytes = answer(&mut bench, &connect);
        check_properties(&bytes, |properties| {
            assert_eq!(properties.response_information, None);
            assert_eq!(properties.authentication_method, None);
            assert_eq!(properties.authentication_data, None);
        });
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.2.2-13", "3.1.1:3.8.3-2"))]
fn retained_messages_and_wildcards_are_offered_and_not_denied() {
    let mut bench = Bench::new();
    for version in [V311, V5] {
        let will = Will {
            qos: QoS::AtMostOnce,
            retain: true,
            properties: WillProperties::default(),
            topic_name: "gone",
            payload: b"x",
        };
        let connect = Connect {
            will: Some(will),
            ..Connect::new(version, "c")
        };
        let client = bench.open(version);
        bench.send(client, ClientPacket::Connect(connect));
        let bytes = bench.read_bytes(client, usize::MAX);
        assert_eq!(bytes[3], 0, "accepted: {bytes:02x?}");
        if version == V5 {
            check_properties(&bytes, |properties| {
                assert_ne!(properties.retain_available, Some(false));
                assert_ne!(properties.wildcard_subscription_available, Some(false));
            });
        }
        for topic_filter in ["#", "a/+/b"] {
            let seen = bench.subscribe(client, topic_filter, QoS::ExactlyOnce);
            assert_eq!(seen, [Seen::SubAck(9, vec![ReasonCode::GrantedQos2])], "{topic_filter}");
        }
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.3-5", "3.1.1:3.1.3-5"))]
fn client_ids_of_up_to_23_digits_and_letters_are_accepted() {
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut bench = Bench::new();
    for version in [V311, V5] {
        for client_id in [&all[..1], &all[..23], &all[23..46], &all[39..]] {
            let (_, connack) = bench.connect(&Connect::new(version, client_id));
            assert_eq!(connack.reason_code, ReasonCode::Success, "{client_id}");
            assert_eq!(connack.assigned_client_identifier, None);
        }
    }
}
