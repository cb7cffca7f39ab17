//! Packets against bytes that were written by hand from the specification.

use freshet_mqtt::{
    Auth, ClientPacket, ConnAck, Connect, ConnectProperties, DecodeErrorKind, Disconnect, EncodeError, PacketId, Peer,
    Protocol, ProtocolVersion, PubAck, PubComp, PubRec, PubRel, QoS, ReasonCode, ReasonCodes, Sender, ServerPacket,
    SubAck, UnsubAck, Will, WillProperties,
};

use crate::{decode_client, decode_server};

/// What PUBACK and PUBREC may say (MQTT 5.0, tables 3-4 and 3-5).
const PUBACK_CODES: [u8; 9] = [0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
/// What PUBREL and PUBCOMP may say (MQTT 5.0, tables 3-6 and 3-7).
const PUBREL_CODES: [u8; 2] = [0, 0x92];
/// What SUBACK may say (MQTT 5.0, table 3-8).
const SUBACK_CODES: [u8; 12] = [0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
/// What UNSUBACK may say (MQTT 5.0, table 3-9).
const UNSUBACK_CODES: [u8; 7] = [0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];

fn packet_id() -> PacketId {
    PacketId::new(7).expect("not 0")
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.3-1", "3.1.1:3.1.3-1"))]
fn the_fields_of_connect_follow_each_other_in_their_order() {
    let expected = |version, properties, will_properties| Connect {
        clean_start: true,
        keep_alive_seconds: 60,
        properties,
        will: Some(Will {
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: will_properties,
            topic_name: "w",
            payload: b"gone",
        }),
        user_name: Some("u"),
        password: Some(b"p"),
        ..Connect::new(version, "id")
    };
    let v311 = b"\x10\x1D\0\x04MQTT\x04\xEE\0\x3C\0\x02id\0\x01w\0\x04gone\0\x01u\0\x01p";
    let (packet, packet_bytes) = decode_client(ProtocolVersion::V311, v311)
        .expect("valid")
        .expect("complete");
    assert_eq!(packet_bytes, v311.len());
    let none = (ConnectProperties::default(), WillProperties::default());
    assert_eq!(
        packet,
        ClientPacket::Connect(expected(ProtocolVersion::V311, none.0, none.1))
    );

    let v5 =
        b"\x10\x29\0\x04MQTT\x05\xEE\0\x3C\x05\x11\0\0\0\x09\0\x02id\x05\x18\0\0\0\x05\0\x01w\0\x04gone\0\x01u\0\x01p";
    let (packet, packet_bytes) = decode_client(ProtocolVersion::V5, v5)
        .expect("valid")
        .expect("complete");
    assert_eq!(packet_bytes, v5.len());
    let properties = ConnectProperties {
        session_expiry_interval: Some(9),
        ..ConnectProperties::default()
    };
    let will_properties = WillProperties {
        will_delay_interval: Some(5),
        ..WillProperties::default()
    };
    assert_eq!(
        packet,
        ClientPacket::Connect(expected(ProtocolVersion::V5, properties, will_properties))
    );
}

#[test]
#[cfg_attr(false, shows("5.0:2.2.2-1"))]
fn a_packet_without_properties_says_so_with_a_length_of_0() {
    let peer = Peer::new(ProtocolVersion::V5);
    let codes = [ReasonCode::Success];
    let packets = [
        (
            ServerPacket::ConnAck(ConnAck::new(ReasonCode::Success)),
            &[0x20, 3, 0, 0, 0][..],
        ),
        (
            ServerPacket::SubAck(SubAck::new(packet_id(), ReasonCodes::from_slice(&codes))),
            &[0x90, 4, 0, 7, 0, 0],
        ),
        (
            ServerPacket::UnsubAck(UnsubAck::new(packet_id(), ReasonCodes::from_slice(&codes))),
            &[0xB0, 4, 0, 7, 0, 0],
        ),
    ];
    for (packet, expected) in packets {
        let mut out = Vec::new();
        packet.encode(&peer, &mut out).expect("valid");
        assert_eq!(out, expected, "{packet:?}");
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.4.2-1", "5.0:3.5.2-1", "5.0:3.6.2-1", "5.0:3.7.2-1"))]
fn what_acknowledges_a_publication_has_its_own_codes_alone() {
    let peer = Peer::new(ProtocolVersion::V5);
    for code in (0..=u8::MAX).filter_map(ReasonCode::from_byte) {
        let is_written = |packet: ServerPacket<'_>| packet.encode(&peer, &mut Vec::new()).is_ok();
        for packet in [
            ServerPacket::PubAck(PubAck::new(packet_id(), code)),
            ServerPacket::PubRec(PubRec::new(packet_id(), code)),
        ] {
            assert_eq!(is_written(packet), PUBACK_CODES.contains(&code.byte()), "{packet:?}");
        }
        for packet in [
            ServerPacket::PubRel(PubRel::new(packet_id(), code)),
            ServerPacket::PubComp(PubComp::new(packet_id(), code)),
        ] {
            assert_eq!(is_written(packet), PUBREL_CODES.contains(&code.byte()), "{packet:?}");
        }
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.9.3-2", "5.0:3.11.3-2"))]
fn suback_and_unsuback_have_their_own_codes_alone() {
    let peer = Peer::new(ProtocolVersion::V5);
    for byte in 0..=u8::MAX {
        let Some(code) = ReasonCode::from_byte(byte) else {
            assert!(!SUBACK_CODES.contains(&byte) && !UNSUBACK_CODES.contains(&byte));
            continue;
        };
        let codes = [code];
        let codes = ReasonCodes::from_slice(&codes);
        let is_written = |packet: ServerPacket<'_>| packet.encode(&peer, &mut Vec::new()).is_ok();
        let suback = ServerPacket::SubAck(SubAck::new(packet_id(), codes));
        assert_eq!(is_written(suback), SUBACK_CODES.contains(&byte), "{code:?}");
        let unsuback = ServerPacket::UnsubAck(UnsubAck::new(packet_id(), codes));
        assert_eq!(is_written(unsuback), UNSUBACK_CODES.contains(&byte), "{code:?}");
    }
}

#[test]
#[cfg_attr(false, shows("3.1.1:3.9.3-2"))]
fn a_3_1_1_suback_says_the_granted_qos_or_0x80() -> Result<(), EncodeError> {
    let peer = Peer::new(ProtocolVersion::V311);
    for byte in SUBACK_CODES {
        let codes = [ReasonCode::from_byte(byte).expect("a code")];
        let suback = ServerPacket::SubAck(SubAck::new(packet_id(), ReasonCodes::from_slice(&codes)));
        let mut out = Vec::new();
        suback.encode(&peer, &mut out)?;
        assert_eq!(out, [0x90, 3, 0, 7, if byte < 3 { byte } else { 0x80 }]);
    }
    Ok(())
}

#[test]
#[cfg_attr(false, shows("5.0:3.14.2-2"))]
fn a_servers_disconnect_has_no_session_expiry_interval() {
    let disconnect = Disconnect {
        session_expiry_interval: Some(10),
        ..Disconnect::new(ReasonCode::ServerShuttingDown)
    };
    let mut out = Vec::new();
    ServerPacket::Disconnect(disconnect)
        .encode(&Peer::new(ProtocolVersion::V5), &mut out)
        .expect("valid");
    let decoded = decode_server(ProtocolVersion::V5, &out)
        .expect("valid")
        .expect("complete")
        .0;
    assert_eq!(
        decoded,
        ServerPacket::Disconnect(Disconnect::new(ReasonCode::ServerShuttingDown))
    );
}

#[test]
fn a_pingresp_has_no_body() {
    for version in [ProtocolVersion::V311, ProtocolVersion::V5] {
        let decoded = decode_server(version, &[0xD0, 0]).expect("valid").expect("complete");
        assert_eq!(decoded, (ServerPacket::PingResp, 2));
        let error = decode_server(version, &[0xD0, 1, 0]).expect_err("a body");
        assert_eq!(error.kind, DecodeErrorKind::TrailingBytes);
    }
}

#[test]
fn a_protocol_is_known_by_its_name_and_its_level_and_the_bit_of_bridges() {
    let peek = |name: &[u8], level: u8| {
        let length = u8::try_from(name.len()).expect("short");
        Protocol::peek(&[&[0, length], name, &[level]].concat())
    };
    for (name, level, version, bridge) in [
        (&b"MQIsdp"[..], 3, ProtocolVersion::V31, false),
        (b"MQIsdp", 0x83, ProtocolVersion::V31, true),
        (b"MQTT", 4, ProtocolVersion::V311, false),
        (b"MQTT", 0x84, ProtocolVersion::V311, true),
        (b"MQTT", 5, ProtocolVersion::V5, false),
    ] {
        assert_eq!(peek(name, level), Ok(Protocol { version, bridge }));
        assert_eq!(Protocol { version, bridge }.level_byte(), level);
    }
    // The level is what is wrong, and the answer names it.
    for (name, level) in [
        (&b"MQIsdp"[..], 4),
        (b"MQIsdp", 0x84),
        (b"MQTT", 3),
        (b"MQTT", 6),
        (b"MQTT", 0x85),
    ] {
        let error = peek(name, level).expect_err("no version");
        assert_eq!(error.kind, DecodeErrorKind::UnsupportedProtocolLevel { level });
    }
    for name in [&b"mqtt"[..], b"MQTTX", b"MQIsdpX", b""] {
        let error = peek(name, 4).expect_err("no protocol");
        assert_eq!(error.kind, DecodeErrorKind::UnsupportedProtocolName);
    }
}

#[test]
fn before_5_0_an_acknowledgement_is_a_packet_id_whatever_it_was_to_say() {
    for version in [ProtocolVersion::V31, ProtocolVersion::V311] {
        for code in (0..=u8::MAX).filter_map(ReasonCode::from_byte) {
            for (packet, first) in [
                (ServerPacket::PubAck(PubAck::new(packet_id(), code)), 0x40),
                (ServerPacket::PubRec(PubRec::new(packet_id(), code)), 0x50),
                (ServerPacket::PubRel(PubRel::new(packet_id(), code)), 0x62),
                (ServerPacket::PubComp(PubComp::new(packet_id(), code)), 0x70),
            ] {
                let mut out = Vec::new();
                assert_eq!(packet.encode(&Peer::new(version), &mut out), Ok(4), "{packet:?}");
                assert_eq!(out, [first, 2, 0, 7], "{packet:?}");
            }
        }
    }
}

#[test]
fn an_auth_has_a_reason_code_as_soon_as_it_says_more_than_success() {
    let success = Auth::default();
    let cases = [
        (success, &b"\xF0\0"[..]),
        (
            Auth {
                authentication_method: Some("m"),
                ..success
            },
            b"\xF0\x06\0\x04\x15\0\x01m",
        ),
        (
            Auth {
                authentication_data: Some(b"d"),
                ..success
            },
            b"\xF0\x06\0\x04\x16\0\x01d",
        ),
        (
            Auth {
                reason_string: Some("r"),
                ..success
            },
            b"\xF0\x06\0\x04\x1F\0\x01r",
        ),
        (
            Auth {
                reason_code: ReasonCode::ContinueAuthentication,
                ..success
            },
            b"\xF0\x02\x18\0",
        ),
    ];
    for (auth, expected) in cases {
        let mut out = Vec::new();
        let written = auth.encode(Sender::Server, &Peer::new(ProtocolVersion::V5), &mut out);
        assert_eq!(written, Ok(expected.len()), "{auth:?}");
        assert_eq!(out, expected, "{auth:?}");
        let earlier = auth.encode(Sender::Server, &Peer::new(ProtocolVersion::V311), &mut out);
        assert_eq!(earlier, Err(EncodeError::NotInVersion));
        assert_eq!(out, expected, "nothing was added");
    }
    let mine = success.encode(Sender::Client, &Peer::new(ProtocolVersion::V5), &mut Vec::new());
    assert!(mine.is_err(), "only a server says that it was a success");
}
