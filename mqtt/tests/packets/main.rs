//! What holds for every packet of every version in both directions.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "every item of this crate is part of a test"
)]

mod any;
mod bytes;
mod connack;
mod lists;
mod robustness;
mod round_trip;
mod size_limits;

use freshet_mqtt::{
    ClientPacket, DecodeError, DecodeLimits, FixedHeader, MAX_PACKET_BYTES, ProtocolVersion, ServerPacket,
};

/// The versions whose packets differ on the wire. 3.1 differs from 3.1.1 in CONNECT and CONNACK alone.
const VERSIONS: [ProtocolVersion; 3] = [ProtocolVersion::V31, ProtocolVersion::V311, ProtocolVersion::V5];

/// Decodes the packet at the start of `bytes` as a server does; `None` when more bytes are needed.
fn decode_client(version: ProtocolVersion, bytes: &[u8]) -> Result<Option<(ClientPacket<'_>, usize)>, DecodeError> {
    let Some(header) = FixedHeader::parse(bytes, MAX_PACKET_BYTES)? else {
        return Ok(None);
    };
    let Some(body) = header.body(bytes) else {
        return Ok(None);
    };
    let packet = ClientPacket::decode(version, header, body, &DecodeLimits::default())?;
    Ok(Some((packet, usize::from(header.header_bytes) + body.len())))
}

/// Decodes the packet at the start of `bytes` as a client does; `None` when more bytes are needed.
fn decode_server(version: ProtocolVersion, bytes: &[u8]) -> Result<Option<(ServerPacket<'_>, usize)>, DecodeError> {
    let Some(header) = FixedHeader::parse(bytes, MAX_PACKET_BYTES)? else {
        return Ok(None);
    };
    let Some(body) = header.body(bytes) else {
        return Ok(None);
    };
    let packet = ServerPacket::decode(version, header, body, &DecodeLimits::default())?;
    Ok(Some((packet, usize::from(header.header_bytes) + body.len())))
}
