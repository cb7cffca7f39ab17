//! Reason strings: what they say, and for whom there are none.

use std::num::NonZeroU32;

use freshet_mqtt::{
    ClientPacket, Connect, ConnectProperties, DecodeLimits, FixedHeader, QoS, ReasonCode, ServerPacket,
};

use super::bench::*;
use super::seen::Seen;
use crate::reason::DisconnectReason;

/// Reason strings of all packets that the bytes are.
fn reason_strings(mut bytes: &[u8]) -> Vec<Option<String>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let header = FixedHeader::parse(bytes, u32::MAX).unwrap().expect("a whole header");
        let body = header.body(bytes).expect("a whole packet");
        let packet = ServerPacket::decode(V5, header, body, &DecodeLimits::default()).unwrap();
        let text = match packet {
            ServerPacket::ConnAck(p) => p.properties.reason_string,
            ServerPacket::PubAck(p) => p.reason_string,
            ServerPacket::PubRec(p) => p.reason_string,
            ServerPacket::SubAck(p) => p.reason_string,
            ServerPacket::Disconnect(p) => p.reason_string,
            other => panic!("{other:?}"),
        };
        all.push(text.map(str::to_owned));
        bytes = &bytes[header.packet_bytes() as usize..];
    }
    all
}

/// A client of a server that takes topics of one level alone.
fn client(properties: ConnectProperties<'_>) -> (Bench, Client) {
    let mut bench = Bench::configured(|c| c.mqtt.max_topic_levels = 1);
    let connect = Connect {
        properties,
        ..Connect::new(V5, "c")
    };
    let (client, _) = bench.connect(&connect);
    (bench, client)
}

/// Has a PUBLISH of each acknowledged QoS and a SUBSCRIBE refused; what the client reads of that.
fn refusals(bench: &mut Bench, client: Client) -> Vec<u8> {
    bench.publish(client, "a/b", b"", QoS::AtLeastOnce, 1);
    bench.publish(client, "a/b", b"", QoS::ExactlyOnce, 2);
    let mut bytes = bench.read_bytes(client, usize::MAX);
    bench.send_subscribe(client, "a/b", QoS::AtMostOnce);
    bytes.extend(bench.read_bytes(client, usize::MAX));
    bytes
}

#[test]
fn what_is_refused_is_explained() {
    let (mut bench, client) = client(ConnectProperties::default());
    let bytes = refusals(&mut bench, client);
    let said = reason_strings(&bytes);
    assert_eq!(said.len(), 3);
    for text in said {
        assert!(text.as_deref().is_some_and(|text| text.contains("levels")), "{text:?}");
    }
}

#[test]
fn what_is_granted_is_not() {
    let (mut bench, client) = client(ConnectProperties::default());
    bench.publish(client, "a", b"", QoS::AtLeastOnce, 1);
    bench.send_subscribe(client, "a", QoS::AtMostOnce);
    let bytes = bench.read_bytes(client, usize::MAX);
    assert_eq!(reason_strings(&bytes), [None, None]);
}

#[test]
fn a_client_that_asks_for_no_problem_information_gets_it_in_disconnect_alone() {
    // MQTT-3.1.2-29
    let (mut bench, client) = client(ConnectProperties {
        request_problem_information: Some(false),
        ..ConnectProperties::default()
    });
    let bytes = refusals(&mut bench, client);
    assert_eq!(reason_strings(&bytes), [None, None, None]);
    bench.send(client, ClientPacket::Connect(Connect::new(V5, "c")));
    let last = bench.close_ended().remove(0).1;
    assert_eq!(reason_strings(&last), [Some("protocol_error".to_owned())]);
}

#[test]
fn a_reason_string_never_makes_a_packet_larger_than_the_client_takes() {
    // MQTT-3.1.2-24, MQTT-3.4.2-2, MQTT-3.14.2-3
    let small = ConnectProperties {
        maximum_packet_size: NonZeroU32::new(30),
        ..ConnectProperties::default()
    };
    let (mut bench, client) = client(small);
    let bytes = refusals(&mut bench, client);
    assert_eq!(reason_strings(&bytes), [None, None, None]);
    bench.send_bytes(client, &[0x36, 0x00]);
    let last = bench.close_ended().remove(0).1;
    assert_eq!(reason_strings(&last), [None]);
    assert_eq!(bench.reason(client), Some(DisconnectReason::MalformedPacket));
    // Nor the CONNACK that refuses it.
    let client = bench.open(V5);
    let mut connect = Connect::new(V5, "c");
    (connect.properties, connect.properties.authentication_method) = (small, Some("PLAIN"));
    bench.send(client, ClientPacket::Connect(connect));
    let (seen, _) = bench.last_words(client);
    let [Seen::ConnAck(connack)] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(connack.reason_code, ReasonCode::BadAuthenticationMethod);
    assert_eq!(connack.reason_string, None);
}

#[test]
fn the_end_of_a_connection_says_what_was_wrong() {
    let (mut bench, client) = client(ConnectProperties::default());
    // QoS 3.
    bench.send_bytes(client, &[0x36, 0x00]);
    let last = bench.close_ended().remove(0).1;
    let said = reason_strings(&last);
    let [Some(text)] = &said[..] else { panic!("{said:?}") };
    assert!(text.starts_with("malformed_packet: "), "{text}");
    assert!(text.contains("[MQTT-3.3.1-4]"), "{text}");
    let client = bench.open(V5);
    let mut connect = Connect::new(V5, "c");
    connect.properties.authentication_method = Some("PLAIN");
    bench.send(client, ClientPacket::Connect(connect));
    let last = bench.close_ended().remove(0).1;
    assert_eq!(reason_strings(&last), [Some("bad_authentication_method".to_owned())]);
}
