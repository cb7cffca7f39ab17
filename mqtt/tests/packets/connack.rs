//! CONNACK and AUTH byte by byte: Session Present in each version, every property in its place, the shortest forms.

use std::num::{NonZeroU16, NonZeroU32};

use freshet_mqtt::{
    Auth, ConnAck, ConnAckProperties, DecodeErrorKind, EncodeError, PacketId, Peer, ProtocolVersion, PubAck, QoS,
    ReasonCode, Sender, ServerPacket,
};

use crate::{VERSIONS, decode_server};

fn written(packet: ServerPacket<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(&Peer::new(version), &mut out).expect("valid");
    out
}

#[test]
fn session_present_is_said_from_3_1_1_on_and_never_with_a_refusal() {
    for version in VERSIONS {
        let connack = |reason_code| ConnAck {
            session_present: true,
            ..ConnAck::new(reason_code)
        };
        let has_flag = version != ProtocolVersion::V31;
        let accepted = written(ServerPacket::ConnAck(connack(ReasonCode::Success)), version);
        assert_eq!(accepted[2], u8::from(has_flag), "{version:?}");
        let refused = written(ServerPacket::ConnAck(connack(ReasonCode::NotAuthorized)), version);
        assert_eq!(refused[2], 0, "{version:?}");

        let properties: &[u8] = if version.has_properties() { &[0] } else { &[] };
        let read = |flags| {
            let body = [&[flags, 0], properties].concat();
            let remaining = u8::try_from(body.len()).expect("short");
            let bytes = [&[0x20, remaining], &body[..]].concat();
            match decode_server(version, &bytes) {
                Ok(Some((ServerPacket::ConnAck(connack), _))) => Ok(connack.session_present),
                Err(error) => Err(error.kind),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(read(0), Ok(false), "{version:?}");
        let expected = if has_flag {
            Ok(true)
        } else {
            Err(DecodeErrorKind::ConnAckReservedFlags)
        };
        assert_eq!(read(1), expected, "{version:?}");
        assert_eq!(read(2), Err(DecodeErrorKind::ConnAckReservedFlags), "{version:?}");
    }
}

#[test]
fn every_property_of_connack_is_written_and_read_as_the_specification_has_it() {
    let none = ConnAckProperties::default();
    let cases: [(ConnAckProperties<'_>, &[u8]); 11] = [
        (
            ConnAckProperties {
                receive_maximum: NonZeroU16::new(9),
                ..none
            },
            b"\x21\0\x09",
        ),
        (
            ConnAckProperties {
                maximum_qos: Some(QoS::AtMostOnce),
                ..none
            },
            b"\x24\0",
        ),
        (
            ConnAckProperties {
                maximum_qos: Some(QoS::AtLeastOnce),
                ..none
            },
            b"\x24\x01",
        ),
        (
            ConnAckProperties {
                maximum_packet_size: NonZeroU32::new(5),
                ..none
            },
            b"\x27\0\0\0\x05",
        ),
        (
            ConnAckProperties {
                assigned_client_identifier: Some("i"),
                ..none
            },
            b"\x12\0\x01i",
        ),
        (
            ConnAckProperties {
                topic_alias_maximum: Some(3),
                ..none
            },
            b"\x22\0\x03",
        ),
        (
            ConnAckProperties {
                wildcard_subscription_available: Some(true),
                ..none
            },
            b"\x28\x01",
        ),
        (
            ConnAckProperties {
                server_keep_alive_seconds: Some(60),
                ..none
            },
            b"\x13\0\x3C",
        ),
        (
            ConnAckProperties {
                server_reference: Some("r"),
                ..none
            },
            b"\x1C\0\x01r",
        ),
        (
            ConnAckProperties {
                authentication_method: Some("m"),
                ..none
            },
            b"\x15\0\x01m",
        ),
        (
            ConnAckProperties {
                authentication_method: Some("m"),
                authentication_data: Some(b"d"),
                ..none
            },
            b"\x15\0\x01m\x16\0\x01d",
        ),
    ];
    for (properties, expected) in cases {
        let connack = ConnAck {
            properties,
            ..ConnAck::new(ReasonCode::Success)
        };
        let bytes = written(ServerPacket::ConnAck(connack), ProtocolVersion::V5);
        let length = u8::try_from(expected.len()).expect("short");
        assert_eq!(
            bytes,
            [&[0x20, length + 3, 0, 0, length], expected].concat(),
            "{properties:?}"
        );
        let decoded = decode_server(ProtocolVersion::V5, &bytes)
            .expect("valid")
            .expect("complete")
            .0;
        assert_eq!(decoded, ServerPacket::ConnAck(connack));
    }
}

#[test]
fn a_maximum_qos_of_2_is_said_by_saying_nothing_and_is_refused_when_said() {
    let properties = ConnAckProperties {
        maximum_qos: Some(QoS::ExactlyOnce),
        ..ConnAckProperties::default()
    };
    let connack = ConnAck {
        properties,
        ..ConnAck::new(ReasonCode::Success)
    };
    let bytes = written(ServerPacket::ConnAck(connack), ProtocolVersion::V5);
    assert_eq!(bytes, [0x20, 3, 0, 0, 0]);
    assert!(decode_server(ProtocolVersion::V5, &[0x20, 5, 0, 0, 2, 0x24, 2]).is_err());
}

#[test]
fn auth_is_as_short_as_what_it_says() {
    let says = |auth: Auth<'_>| {
        let mut out = Vec::new();
        auth.encode(Sender::Server, &Peer::new(ProtocolVersion::V5), &mut out)
            .expect("valid");
        out
    };
    let empty = Auth::default();
    assert_eq!(says(empty), [0xF0, 0], "success, and nothing else");
    let method = Auth {
        authentication_method: Some("m"),
        ..empty
    };
    assert_eq!(says(method), b"\xF0\x06\0\x04\x15\0\x01m");
    let data = Auth {
        authentication_method: Some("m"),
        authentication_data: Some(b"d"),
        ..empty
    };
    assert_eq!(says(data), b"\xF0\x0A\0\x08\x15\0\x01m\x16\0\x01d");
    let reason = Auth {
        authentication_method: Some("m"),
        reason_string: Some("r"),
        ..empty
    };
    assert_eq!(says(reason), b"\xF0\x0A\0\x08\x15\0\x01m\x1F\0\x01r");
    let on = Auth {
        reason_code: ReasonCode::ContinueAuthentication,
        authentication_method: Some("m"),
        ..empty
    };
    assert_eq!(says(on), b"\xF0\x06\x18\x04\x15\0\x01m");
}

#[test]
fn a_peer_that_takes_four_bytes_gets_an_acknowledgement_of_four_and_one_of_three_gets_none() {
    let ack = PubAck::new(PacketId::new(7).expect("not 0"), ReasonCode::Success);
    for version in VERSIONS {
        let mut peer = Peer::new(version);
        peer.max_packet_bytes = 4;
        let mut out = Vec::new();
        assert_eq!(ServerPacket::PubAck(ack).encode(&peer, &mut out), Ok(4));
        assert_eq!(out, [0x40, 2, 0, 7]);
        peer.max_packet_bytes = 3;
        let refused = ServerPacket::PubAck(ack).encode(&peer, &mut out);
        assert_eq!(
            refused,
            Err(EncodeError::PacketTooLarge { packet_bytes: 4 }),
            "{version:?}"
        );
    }
    // What only 5.0 can say is left out before, and takes more than the shortest form in 5.0.
    let explained = PubAck {
        reason_string: Some("r"),
        ..ack
    };
    let refused = PubAck::new(ack.packet_id, ReasonCode::NotAuthorized);
    for (packet, expected) in [
        (explained, &[0x40, 8, 0, 7, 0, 4, 0x1F, 0, 1, b'r'][..]),
        (refused, &[0x40, 3, 0, 7, 0x87]),
    ] {
        assert_eq!(written(ServerPacket::PubAck(packet), ProtocolVersion::V5), expected);
        assert_eq!(
            written(ServerPacket::PubAck(packet), ProtocolVersion::V311),
            [0x40, 2, 0, 7]
        );
    }
}
