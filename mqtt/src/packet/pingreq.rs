//! PINGREQ (MQTT 5.0, 3.12): two bytes in every version.

use crate::error::DecodeError;
use crate::fixed_header::PacketType;
use crate::reader::Reader;

pub(super) fn decode(body: &[u8]) -> Result<(), DecodeError> {
    Reader::new(body).finish()
}

/// Appends a PINGREQ to `out` and returns its size in bytes.
pub fn encode(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[PacketType::PingReq.first_byte(0), 0]);
    2
}
