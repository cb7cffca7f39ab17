//! Decoding returns what was encoded.

use freshet_mqtt::{
    DecodeLimits, EncodeError, FixedHeader, MAX_PACKET_BYTES, Peer, ProtocolVersion, Publish, PublishHead,
    PublishProperties, Sender, UserProperties, WillProperties, encode_publish,
};
use proptest::prelude::*;

use crate::any::{client_packet, publish, server_packet, version};
use crate::{decode_client, decode_server};

/// What travels with a will is what travels with the message that it becomes.
#[test]
fn a_will_forwards_all_but_its_delay_and_its_expiry() {
    let will = WillProperties {
        will_delay_interval: Some(5),
        payload_format_indicator: Some(true),
        message_expiry_interval: Some(9),
        content_type: Some("text"),
        response_topic: Some("answers"),
        correlation_data: Some(b"42"),
        user_properties: UserProperties::from_pairs(&[("a", "1"), ("b", "2")]),
    };
    let mut stored = b"kept".to_vec();
    will.write_forwarded(&mut stored).expect("short");
    let written = stored.strip_prefix(b"kept").expect("it is appended");
    let forwarded = PublishProperties::from_forwarded(written).expect("valid");
    let expected = PublishProperties {
        payload_format_indicator: Some(true),
        content_type: Some("text"),
        response_topic: Some("answers"),
        correlation_data: Some(b"42"),
        user_properties: will.user_properties,
        ..PublishProperties::default()
    };
    assert_eq!(forwarded, expected);
    let too_long = "x".repeat(70_000);
    let will = WillProperties {
        response_topic: Some(&too_long),
        ..will
    };
    assert_eq!(will.write_forwarded(&mut stored), Err(EncodeError::FieldTooLong));
    assert_eq!(
        PublishProperties::from_forwarded(&stored[4..]),
        Ok(expected),
        "it is as it was"
    );
}

proptest! {
    #[test]
    fn a_server_reads_what_a_client_wrote(
        (version, packet) in version().prop_flat_map(|version| (Just(version), client_packet(version)))
    ) {
        let mut bytes = Vec::new();
        let packet_bytes = packet.encode(&Peer::new(version), &mut bytes).expect("valid");
        prop_assert_eq!(packet_bytes, bytes.len());
        prop_assert_eq!(decode_client(version, &bytes), Ok(Some((packet, bytes.len()))), "{:02x?}", bytes);
    }

    #[test]
    fn a_client_reads_what_a_server_wrote(
        (version, packet) in version().prop_flat_map(|version| (Just(version), server_packet(version)))
    ) {
        let mut bytes = Vec::new();
        let packet_bytes = packet.encode(&Peer::new(version), &mut bytes).expect("valid");
        prop_assert_eq!(packet_bytes, bytes.len());
        prop_assert_eq!(decode_server(version, &bytes), Ok(Some((packet, bytes.len()))), "{:02x?}", bytes);
    }

    #[test]
    fn packets_that_follow_each_other_are_told_apart(
        packets in prop::collection::vec(client_packet(ProtocolVersion::V5), 1..6)
    ) {
        let mut bytes = Vec::new();
        for packet in &packets {
            packet.encode(&Peer::new(ProtocolVersion::V5), &mut bytes).expect("valid");
        }
        let mut rest = bytes.as_slice();
        for expected in packets {
            let (packet, packet_bytes) = decode_client(ProtocolVersion::V5, rest).expect("valid").expect("complete");
            prop_assert_eq!(packet, expected);
            rest = &rest[packet_bytes..];
        }
        prop_assert!(rest.is_empty());
    }

    /// The way of a message: decoded from its publisher, its properties stored as bytes, written to a subscriber.
    #[test]
    #[cfg_attr(false, shows("5.0:3.3.2-4", "5.0:3.3.2-15", "5.0:3.3.2-16", "5.0:3.3.2-17", "5.0:3.3.2-20"))]
    fn what_a_publisher_sent_reaches_a_subscriber_unaltered(
        packet in publish(ProtocolVersion::V5, Sender::Server)
    ) {
        let mut stored = Vec::new();
        packet.properties.write_forwarded(&mut stored).expect("short");
        let forwarded = PublishProperties::from_forwarded(&stored).expect("valid");
        prop_assert_eq!(forwarded, PublishProperties {
            topic_alias: None,
            message_expiry_interval: None,
            subscription_identifiers: Default::default(),
            ..packet.properties
        });

        let head = PublishHead {
            dup: packet.dup,
            qos: packet.qos,
            retain: packet.retain,
            topic_name: packet.topic_name.as_bytes(),
            packet_id: packet.packet_id,
            topic_alias: packet.properties.topic_alias,
            subscription_identifiers: packet.properties.subscription_identifiers,
            message_expiry_interval: packet.properties.message_expiry_interval,
            forwarded_properties: &stored,
        };
        let mut bytes = Vec::new();
        let layout = encode_publish(&mut bytes, ProtocolVersion::V5, &head, packet.payload).expect("valid");
        prop_assert_eq!(layout.packet_bytes, bytes.len());
        prop_assert_eq!(&bytes[layout.payload_offset..], packet.payload);
        let header = FixedHeader::parse(&bytes, MAX_PACKET_BYTES).expect("valid").expect("complete");
        let body = header.body(&bytes).expect("complete");
        let limits = DecodeLimits::default();
        let decoded = Publish::decode(ProtocolVersion::V5, Sender::Server, header.flags, body, &limits);
        prop_assert_eq!(decoded, Ok(packet));
    }
}
