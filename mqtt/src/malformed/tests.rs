//! Every row that the decoder can judge, run through the decoder.

use std::collections::HashSet;

use super::*;
use crate::{ClientPacket, DecodeError, DecodeLimits, FixedHeader};

/// Larger than every valid packet, smaller than what the rows about size announce.
const MAX_PACKET_BYTES: u32 = 1_048_576;

fn cases() -> Vec<MalformedCase> {
    malformed_cases().unwrap_or_else(|error| panic!("{error}"))
}

/// Decodes packet after packet; `None` when the bytes end inside one.
fn decode_all(case: &MalformedCase) -> Result<Option<()>, DecodeError> {
    let mut rest = case.bytes.as_slice();
    while !rest.is_empty() {
        let Some(header) = FixedHeader::parse(rest, MAX_PACKET_BYTES)? else {
            return Ok(None);
        };
        let Some(body) = header.body(rest) else { return Ok(None) };
        ClientPacket::decode(case.version, header, body, &DecodeLimits::default())?;
        rest = &rest[usize::from(header.header_bytes) + body.len()..];
    }
    Ok(Some(()))
}

#[test]
fn the_decoder_refuses_each_row_with_its_reason_code() {
    let mut wrong = Vec::new();
    for case in cases().into_iter().filter(|case| case.seen_by == SeenBy::Codec) {
        match decode_all(&case) {
            Err(error) if error.reason_code == case.reason_code => {}
            other => wrong.push(format!("{} {:?} {}: {other:?}", case.line, case.version, case.name)),
        }
    }
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_decoder_accepts_each_row_that_only_a_connection_can_judge() {
    for case in cases().into_iter().filter(|case| case.seen_by == SeenBy::Connection) {
        assert_eq!(decode_all(&case), Ok(Some(())), "line {} {}", case.line, case.name);
    }
}

#[test]
fn each_row_has_a_name_of_its_own() {
    let mut names = HashSet::new();
    for case in cases() {
        assert!(
            names.insert((case.version, case.name)),
            "line {}: {} is there twice",
            case.line,
            case.name
        );
    }
    assert!(names.len() >= 150, "{} rows", names.len());
}

#[test]
fn each_row_allows_what_its_version_can_say() {
    for case in cases() {
        let at = format!("line {} {}", case.line, case.name);
        assert!(
            case.answers.contains(&Answer::Close),
            "{at}: a server may always just close"
        );
        for answer in &case.answers {
            let fits = match (answer, case.version, case.sent) {
                (Answer::Close, _, _) => true,
                (Answer::ReturnCode(code), _, Sent::First) => (1..=5).contains(code),
                (Answer::ConnAck(code), ProtocolVersion::V5, Sent::First) => code.is_error(),
                (Answer::Disconnect(code), ProtocolVersion::V5, Sent::Connected) => code.is_error(),
                _ => false,
            };
            assert!(fits, "{at}: {answer:?}");
        }
        if case.version == ProtocolVersion::V5 && case.sent == Sent::Connected {
            assert!(
                case.answers.contains(&Answer::Disconnect(case.reason_code)),
                "{at}: its own code is missing"
            );
        }
    }
}
