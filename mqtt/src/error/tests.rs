//! What errors say.

use super::*;

#[test]
fn an_error_names_what_is_wrong_and_the_statement() {
    let error = DecodeError::from(DecodeErrorKind::TopicName(TopicError::Wildcard));
    assert_eq!(
        error.to_string(),
        "a topic name contains a wildcard character [MQTT-3.3.2-2]"
    );
    let error = DecodeError::from(DecodeErrorKind::PacketTooLarge {
        packet_bytes: 7,
        max_packet_bytes: 5,
    });
    assert_eq!(
        error.to_string(),
        "the packet is larger than accepted (7 bytes, at most 5) [MQTT-3.2.2-15]"
    );
}

#[test]
fn what_was_found_stands_behind_what_is_wrong() {
    let (packet_type, identifier) = (PacketType::Publish, 0x0B);
    for (kind, found) in [
        (DecodeErrorKind::PacketTypeNotInVersion { packet_type }, "(PUBLISH)"),
        (DecodeErrorKind::WrongDirection { packet_type }, "(PUBLISH)"),
        (DecodeErrorKind::FixedHeaderFlags { packet_type }, "(PUBLISH)"),
        (DecodeErrorKind::UnsupportedProtocolLevel { level: 6 }, "(6)"),
        (DecodeErrorKind::ReturnCodeReserved { byte: 9 }, "(9)"),
        (
            DecodeErrorKind::ReasonCodeNotAllowed {
                packet_type,
                byte: 0x9B,
            },
            "(PUBLISH, 0x9b)",
        ),
        (DecodeErrorKind::PropertyNotAllowed { identifier }, "(0x0b)"),
        (DecodeErrorKind::PropertyOfOtherSide { identifier }, "(0x0b)"),
        (DecodeErrorKind::PropertyRepeated { identifier }, "(0x0b)"),
        (DecodeErrorKind::PropertyValue { identifier }, "(0x0b)"),
    ] {
        let expected = format!("{} {found} [{}]", kind.message(), kind.statement());
        assert_eq!(kind.to_string(), expected);
    }
}

#[test]
fn reserved_flags_are_told_by_the_statement_of_their_packet() {
    for (packet_type, statement) in [
        (PacketType::PubRel, "MQTT-3.6.1-1"),
        (PacketType::Subscribe, "MQTT-3.8.1-1"),
        (PacketType::Unsubscribe, "MQTT-3.10.1-1"),
        (PacketType::Disconnect, "MQTT-3.14.1-1"),
        (PacketType::Auth, "MQTT-3.15.1-1"),
        (PacketType::PingReq, "MQTT-2.1.3-1"),
    ] {
        let kind = DecodeErrorKind::FixedHeaderFlags { packet_type };
        assert_eq!(kind.statement(), statement, "{packet_type:?}");
    }
}

#[test]
fn a_foreign_reason_code_is_told_by_the_statement_of_its_packet() {
    for (packet_type, statement) in [
        (PacketType::ConnAck, "MQTT-3.2.2-8"),
        (PacketType::PubAck, "MQTT-3.4.2-1"),
        (PacketType::PubRec, "MQTT-3.5.2-1"),
        (PacketType::PubRel, "MQTT-3.6.2-1"),
        (PacketType::PubComp, "MQTT-3.7.2-1"),
        (PacketType::SubAck, "MQTT-3.9.3-2"),
        (PacketType::UnsubAck, "MQTT-3.11.3-2"),
        (PacketType::Disconnect, "MQTT-3.14.2-1"),
        (PacketType::Auth, "MQTT-3.15.2-1"),
    ] {
        let kind = DecodeErrorKind::ReasonCodeNotAllowed {
            packet_type,
            byte: 0x9F,
        };
        assert_eq!(kind.statement(), statement, "{packet_type:?}");
    }
}

#[test]
fn a_property_of_the_other_side_is_told_by_its_own_statement() {
    for (identifier, statement) in [(0x0B, "MQTT-3.3.4-6"), (0x11, "MQTT-3.14.2-2"), (0x1C, "3.14.2.2")] {
        let kind = DecodeErrorKind::PropertyOfOtherSide { identifier };
        assert_eq!(kind.statement(), statement, "{identifier:#x}");
    }
}

#[test]
fn malformed_is_not_the_same_as_against_the_protocol() {
    let of = |kind: DecodeErrorKind| {
        let error = DecodeError::from(kind);
        (error.is_malformed(), error.is_protocol_error())
    };
    assert_eq!(of(DecodeErrorKind::VarintOverlong), (true, false));
    let too_large = DecodeErrorKind::PacketTooLarge {
        packet_bytes: 7,
        max_packet_bytes: 5,
    };
    assert_eq!(of(too_large), (false, true));
    assert_eq!(of(DecodeErrorKind::UnsupportedProtocolName), (false, false));
}

#[test]
fn a_packet_that_cannot_be_written_says_why() {
    let too_large = EncodeError::PacketTooLarge { packet_bytes: 7 };
    assert_eq!(too_large.to_string(), "the packet of 7 bytes is too large");
    let not_allowed = EncodeError::ReasonCodeNotAllowed {
        packet_type: PacketType::PubAck,
        reason_code: ReasonCode::ServerShuttingDown,
    };
    assert_eq!(not_allowed.to_string(), "PUBACK cannot carry the reason code 0x8b");
}

#[test]
fn errors_are_small_enough_to_return_by_value() {
    assert!(size_of::<DecodeError>() <= 16, "{}", size_of::<DecodeError>());
}
