//! What explains an acknowledgement gives way to the peer's Maximum Packet Size, the rest does not
//! (`[MQTT-3.1.2-24]`, `[MQTT-3.4.2-2]`, `[MQTT-3.4.2-3]` and the like).

use freshet_mqtt::{
    ConnAck, ConnAckProperties, Disconnect, EncodeError, Peer, ProtocolVersion, PubAck, ReasonCode, ReasonCodes,
    ServerPacket, SubAck, UnsubAck, UserProperties,
};
use proptest::prelude::*;

use crate::any::server_packet;
use crate::decode_server;

const USER: UserProperties<'_> = UserProperties::from_pairs(&[("why", "because")]);

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
        ServerPacket::SubAck(ack) => (ack.reason_string, ack.user_properties),
        ServerPacket::UnsubAck(ack) => (ack.reason_string, ack.user_properties),
        ServerPacket::ConnAck(ack) => (ack.properties.reason_string, ack.properties.user_properties),
        ServerPacket::Disconnect(packet) => (packet.reason_string, packet.user_properties),
        other => panic!("{other:?} explains nothing"),
    };
    (reason.is_some(), !user.is_empty())
}

fn explained() -> [ServerPacket<'static>; 5] {
    let packet_id = 7.try_into().expect("not 0");
    let codes = ReasonCodes::from_slice(&[ReasonCode::NotAuthorized]);
    let reason_string = Some("not today");
    [
        ServerPacket::PubAck(PubAck {
            reason_string,
            user_properties: USER,
            ..PubAck::new(packet_id, ReasonCode::NotAuthorized)
        }),
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

#[test]
fn user_properties_go_first_and_the_reason_string_after_them() {
    for packet in explained() {
        assert_eq!(
            shrink(packet),
            [(true, true), (true, false), (false, false)],
            "{packet:?}"
        );
    }
}

#[test]
fn a_client_that_wants_no_problem_information_gets_it_in_connack_and_disconnect_alone() {
    let peer = Peer {
        request_problem_information: false,
        ..Peer::new(ProtocolVersion::V5)
    };
    for packet in explained() {
        let mut out = Vec::new();
        packet.encode(&peer, &mut out).expect("valid");
        let (decoded, _) = decode_server(peer.version, &out).expect("valid").expect("complete");
        let is_exempt = matches!(packet, ServerPacket::ConnAck(_) | ServerPacket::Disconnect(_));
        assert_eq!(explanation(decoded), (is_exempt, is_exempt), "{packet:?}");
    }
}

proptest! {
    #[test]
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
