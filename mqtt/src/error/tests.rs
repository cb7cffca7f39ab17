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
