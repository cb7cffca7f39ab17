//! Reads packets of servers as a client does, and writes what was accepted again.

#![no_main]

use freshet_mqtt::{DecodeError, DecodeLimits, FixedHeader, Peer, ProtocolVersion, ServerPacket};
use libfuzzer_sys::fuzz_target;

const MAX_PACKET_BYTES: u32 = 65_536;

fn decode(version: ProtocolVersion, bytes: &[u8]) -> Result<Option<(ServerPacket<'_>, usize)>, DecodeError> {
    let Some(header) = FixedHeader::parse(bytes, MAX_PACKET_BYTES)? else {
        return Ok(None);
    };
    let Some(body) = header.body(bytes) else {
        return Ok(None);
    };
    let packet = ServerPacket::decode(version, header, body, &DecodeLimits::default())?;
    Ok(Some((packet, usize::from(header.header_bytes) + body.len())))
}

fuzz_target!(|input: &[u8]| {
    let Some((selector, mut rest)) = input.split_first() else {
        return;
    };
    let version = match selector % 3 {
        0 => ProtocolVersion::V31,
        1 => ProtocolVersion::V311,
        _ => ProtocolVersion::V5,
    };
    let mut again = Vec::new();
    loop {
        let (packet, packet_bytes) = match decode(version, rest) {
            Ok(Some(decoded)) => decoded,
            Ok(None) => return,
            Err(error) => {
                assert!(error.reason_code.is_error(), "{error}");
                return;
            }
        };
        again.clear();
        packet
            .encode(&Peer::new(version), &mut again)
            .expect("what was accepted can be written");
        assert!(again.len() <= packet_bytes, "{packet:?} became longer");
        assert_eq!(decode(version, &again), Ok(Some((packet, again.len()))));
        rest = &rest[packet_bytes..];
    }
});
