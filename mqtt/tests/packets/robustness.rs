//! No input makes a decoder panic, and what is accepted can be written again.

use freshet_mqtt::{
    ClientPacket, DecodeErrorKind, DecodeLimits, EncodeError, FixedHeader, Peer, ProtocolVersion, ServerPacket,
};
use proptest::prelude::*;

use crate::any::{client_packet, server_packet, version};
use crate::{VERSIONS, decode_client, decode_server};

/// Decodes in both directions and every version; what is accepted must survive being written and read again.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    for version in VERSIONS {
        let peer = Peer::new(version);
        if let Ok(Some((packet, consumed))) = decode_client(version, bytes) {
            prop_assert!(consumed <= bytes.len());
            // CONNECT brings its own version.
            let version = match packet {
                ClientPacket::Connect(connect) => connect.protocol.version,
                _ => version,
            };
            let mut again = Vec::new();
            packet
                .encode(&peer, &mut again)
                .expect("what was decoded can be encoded");
            prop_assert!(again.len() <= consumed, "the shortest form is longer");
            prop_assert_eq!(decode_client(version, &again), Ok(Some((packet, again.len()))));
        }
        if let Ok(Some((packet, consumed))) = decode_server(version, bytes) {
            prop_assert!(consumed <= bytes.len());
            let mut again = Vec::new();
            packet
                .encode(&peer, &mut again)
                .expect("what was decoded can be encoded");
            prop_assert!(again.len() <= consumed, "the shortest form is longer");
            prop_assert_eq!(decode_server(version, &again), Ok(Some((packet, again.len()))));
        }
    }
    Ok(())
}

fn encoded_client() -> impl Strategy<Value = (ProtocolVersion, Vec<u8>)> {
    version().prop_flat_map(|version| {
        client_packet(version).prop_map(move |packet| {
            let mut bytes = Vec::new();
            packet.encode(&Peer::new(version), &mut bytes).expect("valid");
            (version, bytes)
        })
    })
}

fn encoded_server() -> impl Strategy<Value = (ProtocolVersion, Vec<u8>)> {
    version().prop_flat_map(|version| {
        server_packet(version).prop_map(move |packet| {
            let mut bytes = Vec::new();
            packet.encode(&Peer::new(version), &mut bytes).expect("valid");
            (version, bytes)
        })
    })
}

/// Decodes a body that was cut to `body` under a header that says so.
fn decode_cut(version: ProtocolVersion, bytes: &[u8], cut: usize) -> (bool, bool) {
    let header = FixedHeader::parse(bytes, u32::MAX).expect("valid").expect("complete");
    let body = header.body(bytes).expect("complete");
    let body = &body[..cut.min(body.len())];
    let header = FixedHeader {
        remaining_bytes: u32::try_from(body.len()).expect("short"),
        ..header
    };
    let limits = DecodeLimits::default();
    (
        ClientPacket::decode(version, header, body, &limits).is_ok(),
        ServerPacket::decode(version, header, body, &limits).is_ok(),
    )
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        check(&bytes)?;
    }

    #[test]
    fn random_bodies_never_panic(first in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..120)) {
        let mut bytes = vec![first, u8::try_from(body.len()).expect("under 128")];
        bytes.extend(body);
        check(&bytes)?;
    }

    #[test]
    fn a_valid_packet_with_one_byte_changed_never_panics(
        (_, mut bytes) in prop_oneof![encoded_client(), encoded_server()],
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let at = at.index(bytes.len());
        bytes[at] = value;
        check(&bytes)?;
    }

    #[test]
    fn a_prefix_of_a_clients_packet_is_incomplete(
        (version, bytes) in encoded_client(), cut in any::<prop::sample::Index>()
    ) {
        let cut = cut.index(bytes.len());
        prop_assert_eq!(decode_client(version, &bytes[..cut]), Ok(None));
        decode_cut(version, &bytes, cut);
    }

    #[test]
    fn a_prefix_of_a_servers_packet_is_incomplete(
        (version, bytes) in encoded_server(), cut in any::<prop::sample::Index>()
    ) {
        let cut = cut.index(bytes.len());
        prop_assert_eq!(decode_server(version, &bytes[..cut]), Ok(None));
        decode_cut(version, &bytes, cut);
    }
}

#[test]
fn a_body_of_another_length_than_the_header_says_is_refused() {
    let header = FixedHeader::parse(&[0x40, 2], 1024).expect("valid").expect("complete");
    for body in [&[][..], &[0], &[0, 1, 0]] {
        let error = ClientPacket::decode(ProtocolVersion::V311, header, body, &DecodeLimits::default());
        assert_eq!(error.expect_err("another length").kind, DecodeErrorKind::BodyLength);
    }
}

#[test]
fn lists_beyond_the_receivers_limits_are_refused() {
    let limits = DecodeLimits {
        max_user_properties: 1,
        max_topic_filters: 1,
    };
    let decode = |bytes: &[u8]| {
        let header = FixedHeader::parse(bytes, 1024).expect("valid").expect("complete");
        let body = header.body(bytes).expect("complete");
        ClientPacket::decode(ProtocolVersion::V5, header, body, &limits)
            .map(|_| ())
            .map_err(|error| error.kind)
    };
    assert_eq!(decode(b"\x82\x07\0\x01\0\0\x01a\0"), Ok(()));
    assert_eq!(
        decode(b"\x82\x0B\0\x01\0\0\x01a\0\0\x01b\0"),
        Err(DecodeErrorKind::TooManyTopicFilters)
    );
    assert_eq!(
        decode(b"\xA2\x09\0\x01\0\0\x01a\0\x01b"),
        Err(DecodeErrorKind::TooManyTopicFilters)
    );
    assert_eq!(decode(b"\x30\x09\0\x01a\x05\x26\0\0\0\0"), Ok(()));
    assert_eq!(
        decode(b"\x30\x0E\0\x01a\x0A\x26\0\0\0\0\x26\0\0\0\0"),
        Err(DecodeErrorKind::TooManyUserProperties)
    );
}

#[test]
fn a_packet_that_the_version_cannot_express_is_not_written() {
    use freshet_mqtt::{Auth, ConnAck, Disconnect, ReasonCode};
    let peer = Peer::new(ProtocolVersion::V311);
    let mut out = b"kept".to_vec();
    let disconnect = Disconnect::new(ReasonCode::SessionTakenOver);
    assert_eq!(
        ServerPacket::Disconnect(disconnect).encode(&peer, &mut out),
        Err(EncodeError::NotInVersion)
    );
    let auth = Auth {
        reason_code: ReasonCode::ContinueAuthentication,
        ..Auth::default()
    };
    assert_eq!(
        ServerPacket::Auth(auth).encode(&peer, &mut out),
        Err(EncodeError::NotInVersion)
    );
    let connack = ConnAck::new(ReasonCode::MalformedPacket);
    assert_eq!(
        ServerPacket::ConnAck(connack).encode(&peer, &mut out),
        Err(EncodeError::NotInVersion)
    );
    assert_eq!(out, b"kept");
}
