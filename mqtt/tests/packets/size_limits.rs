//! What explains an acknowledgement gives way to the peer's Maximum Packet Size, the rest does not
//! (`[MQTT-3.1.2-24]`, `[MQTT-3.4.2-2]`, `[MQTT-3.4.2-3]` and the like).

use freshet_mqtt::{
    ConnAck, ConnAckProperties, Disconnect, EncodeError, FixedHeader, MAX_PACKET_BYTES, Peer, ProtocolVersion, PubAck,
    PubComp, PubRec, PubRel, ReasonCode, ReasonCodes, ServerPacket, SubAck, UnsubAck, UserProperties,
};
use proptest::prelude::*;

use crate::any::server_packet;
use crate::decode_server;

const USER: UserProperties<'_> = UserProperties::from_pairs(&[("why", "because")]);

#[test]
fn the_largest_packet_that_a_header_can_express_is_within_the_largest_limit() {
    let header = b"\x30\xFF\xFF\xFF\x7F";
    let parsed = FixedHeader::parse(header, MAX_PACKET_BYTES)
        .expect("valid")
        .expect("complete");
    assert_eq!((parsed.header_bytes, parsed.remaining_bytes), (5, MAX_PACKET_BYTES - 5));
    assert!(FixedHeader::parse(header, MAX_PACKET_BYTES - 1).is_err());
}

/// Writes `packet` for ever smaller peers; returns what each size that occurs contains: (reason string, user
/// properties).
fn shrink(packet: ServerPacket<'_>) -> Vec<(bool, bool)> {
    let mut steps = Vec::new();
    let mut peer = Peer::new(ProtocolVersion::V5);
    loop {
        let mut out = Vec::new();
        match packet.encode(&peer, &mut out) {
            Ok(packet_bytes) => {
                let (decoded, _) = decode_server(peer.version, &out).expect("valid").expect("complete");
                steps.push(explanation(decoded));
                peer.max_packet_bytes = u32::try_from(packet_bytes).expect("small") - 1;
            }
            Err(error) => {
                assert!(matches!(error, EncodeError::PacketTooLarge { .. }), "{error}");
                assert!(out.is_empty());
                return steps;
            }
        }
    }
}

fn explanation(packet: ServerPacket<'_>) -> (bool, bool) {
    let (reason, user) = match packet {
        ServerPacket::PubAck(ack) => (ack.reason_string, ack.user_properties),
        ServerPacket::PubRec(ack) => (ack.reason_string, ack.user_properties),
        ServerPacket::PubRel(ack) => (ack.reason_string, ack.user_properties),
        ServerPacket::PubComp(ack) => (ack.reason_string, ack.user_properties),
        ServerPacket::SubAck(ack) => (ack.reason_string, ack.user_properties),
        ServerPacket::UnsubAck(ack) => (ack.reason_string, ack.user_properties),
        ServerPacket::ConnAck(ack) => (ack.properties.reason_string, ack.properties.user_properties),
        ServerPacket::Disconnect(packet) => (packet.reason_string, packet.user_properties),
        other => panic!("{other:?} explains nothing"),
    };
    (reason.is_some(), !user.is_empty())
}

/// What acknowledges a PUBLISH of either direction, with reason string and user properties.
fn of_publications() -> [ServerPacket<'static>; 4] {
    let packet_id = 7.try_into().expect("not 0");
    let reason_string = Some("not today");
    [
        ServerPacket::PubAck(PubAck {
            reason_string,
            user_properties: USER,
            ..PubAck::new(packet_id, ReasonCode::NotAuthorized)
        }),
        ServerPacket::PubRec(PubRec {
            reason_string,
            user_properties: USER,
            ..PubRec::new(packet_id, ReasonCode::NotAuthorized)
        }),
        ServerPacket::PubRel(PubRel {
            reason_string,
            user_properties: USER,
            ..PubRel::new(packet_id, ReasonCode::PacketIdentifierNotFound)
        }),
        ServerPacket::PubComp(PubComp {
            reason_string,
            user_properties: USER,
            ..PubComp::new(packet_id, ReasonCode::PacketIdentifierNotFound)
        }),
    ]
}

/// SUBACK and UNSUBACK, with reason string and user properties.
fn of_subscriptions() -> [ServerPacket<'static>; 2] {
    let packet_id = 7.try_into().expect("not 0");
    let codes = ReasonCodes::from_slice(&[ReasonCode::NotAuthorized]);
    let reason_string = Some("not today");
    [
        ServerPacket::SubAck(SubAck {
            reason_string,
            user_properties: USER,
            ..SubAck::new(packet_id, codes)
        }),
        ServerPacket::UnsubAck(UnsubAck {
            reason_string,
            user_properties: USER,
            ..UnsubAck::new(packet_id, codes)
        }),
    ]
}

/// CONNACK and DISCONNECT, with reason string and user properties.
fn of_connections() -> [ServerPacket<'static>; 2] {
    let reason_string = Some("not today");
    [
        ServerPacket::ConnAck(ConnAck {
            properties: ConnAckProperties {
                reason_string,
                user_properties: USER,
                ..Default::default()
            },
            ..ConnAck::new(ReasonCode::NotAuthorized)
        }),
        ServerPacket::Disconnect(Disconnect {
            reason_string,
            user_properties: USER,
            ..Disconnect::new(ReasonCode::NotAuthorized)
        }),
    ]
}

/// User properties go first, and the reason string after them.
fn assert_explanations_give_way(packets: &[ServerPacket<'_>]) {
    for packet in packets {
        assert_eq!(
            shrink(*packet),
            [(true, true), (true, false), (false, false)],
            "{packet:?}"
        );
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.4.2-2", "5.0:3.4.2-3", "5.0:3.5.2-2", "5.0:3.5.2-3"))]
fn puback_and_pubrec_explain_themselves_where_there_is_room() {
    assert_explanations_give_way(&of_publications()[..2]);
}

#[test]
#[cfg_attr(false, shows("5.0:3.6.2-2", "5.0:3.6.2-3", "5.0:3.7.2-2", "5.0:3.7.2-3"))]
fn pubrel_and_pubcomp_explain_themselves_where_there_is_room() {
    assert_explanations_give_way(&of_publications()[2..]);
}

#[test]
#[cfg_attr(false, shows("5.0:3.9.2-1", "5.0:3.9.2-2", "5.0:3.11.2-1", "5.0:3.11.2-2"))]
fn suback_and_unsuback_explain_themselves_where_there_is_room() {
    assert_explanations_give_way(&of_subscriptions());
}

#[test]
#[cfg_attr(false, shows("5.0:3.2.2-19", "5.0:3.2.2-20", "5.0:3.14.2-3", "5.0:3.14.2-4"))]
fn connack_and_disconnect_explain_themselves_where_there_is_room() {
    assert_explanations_give_way(&of_connections());
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-29"))]
fn a_client_that_wants_no_problem_information_gets_it_in_connack_and_disconnect_alone() {
    let peer = Peer {
        request_problem_information: false,
        ..Peer::new(ProtocolVersion::V5)
    };
    let explained = [&of_publications()[..], &of_subscriptions(), &of_connections()].concat();
    for packet in explained {
        let mut out = Vec::new();
        packet.encode(&peer, &mut out).expect("valid");
        let (decoded, _) = decode_server(peer.version, &out).expect("valid").expect("complete");
        let is_exempt = matches!(packet, ServerPacket::ConnAck(_) | ServerPacket::Disconnect(_));
        assert_eq!(explanation(decoded), (is_exempt, is_exempt), "{packet:?}");
    }
}

#[test]
fn a_packet_of_exactly_the_accepted_size_is_sent_and_one_byte_more_is_not() {
    // One more byte of Remaining Length from a body of 128 bytes on.
    for (count, size) in [(1, 6), (122, 127), (124, 129), (125, 131), (126, 132)] {
        let codes = vec![ReasonCode::Success; count];
        let packet = SubAck::new(7.try_into().expect("not 0"), ReasonCodes::from_slice(&codes));
        for (max_packet_bytes, expected) in [
            (size, Ok(usize::try_from(size).expect("small"))),
            (
                size - 1,
                Err(EncodeError::PacketTooLarge {
                    packet_bytes: u64::from(size),
                }),
            ),
        ] {
            let peer = Peer {
                max_packet_bytes,
                ..Peer::new(ProtocolVersion::V5)
            };
            let mut out = Vec::new();
            assert_eq!(packet.encode(&peer, &mut out), expected, "{count} codes");
            assert_eq!(out.len(), expected.unwrap_or(0));
        }
    }
}

proptest! {
    #[test]
    #[cfg_attr(false, shows("5.0:3.1.2-24"))]
    fn no_packet_is_larger_than_its_peer_accepts(
        packet in server_packet(ProtocolVersion::V5), max_packet_bytes in 1..200_u32
    ) {
        let peer = Peer { max_packet_bytes, ..Peer::new(ProtocolVersion::V5) };
        let mut out = b"kept".to_vec();
        match packet.encode(&peer, &mut out) {
            Ok(packet_bytes) => {
                prop_assert!(packet_bytes <= 200 && out.len() == packet_bytes + 4);
                prop_assert!(u32::try_from(packet_bytes).expect("small") <= max_packet_bytes.max(2));
            }
            Err(error) => {
                prop_assert!(matches!(error, EncodeError::PacketTooLarge { .. }), "{}", error);
                prop_assert_eq!(out, b"kept");
            }
        }
    }
}
