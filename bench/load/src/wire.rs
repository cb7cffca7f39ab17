//! The few MQTT 3.1.1 packets that the measurements use, decoded and encoded.
//!
//! Leaves out everything else of MQTT on purpose: the product's codec is `mqtt/`, and a load that depended on it would
//! change its figures whenever the codec changes.

pub mod five;

/// A decoded packet that borrows from the read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// CONNECT, not looked into.
    Connect,
    /// CONNACK of either version.
    ConnAck {
        /// Whether there was a session.
        session_present: bool,
        /// 0 = accepted.
        code: u8,
    },
    /// PUBLISH.
    Publish {
        /// Topic Name.
        topic: &'a [u8],
        /// 0, 1 or 2.
        qos: u8,
        /// 0 at QoS 0.
        packet_id: u16,
        /// What is published.
        payload: &'a [u8],
    },
    /// PUBACK.
    PubAck {
        /// Of the PUBLISH.
        packet_id: u16,
    },
    /// PUBREC.
    PubRec {
        /// Of the PUBLISH.
        packet_id: u16,
    },
    /// PUBREL.
    PubRel {
        /// Of the PUBLISH.
        packet_id: u16,
    },
    /// PUBCOMP.
    PubComp {
        /// Of the PUBLISH.
        packet_id: u16,
    },
    /// Exactly one filter per packet, taken literally.
    Subscribe {
        /// Packet Identifier.
        packet_id: u16,
        /// Topic Filter.
        filter: &'a [u8],
        /// 0, 1 or 2.
        qos: u8,
    },
    /// SUBACK of either version.
    SubAck {
        /// For the last filter: the granted QoS, or from 0x80 a refusal.
        code: u8,
    },
    /// PINGREQ.
    PingReq,
    /// DISCONNECT.
    Disconnect,
}

/// The bytes are not one of the packets above: the connection is closed.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// A packet larger than this is refused before its body is buffered.
const MAX_REMAINING_LENGTH: usize = 64 * 1024;

/// Decodes the first packet of `buffer` and returns it with its size, or `None` while it is incomplete.
///
/// # Errors
/// [`Malformed`] when the bytes cannot become a packet that the spike knows.
pub fn decode(buffer: &[u8]) -> Result<Option<(Packet<'_>, usize)>, Malformed> {
    let Some((&first, rest)) = buffer.split_first() else {
        return Ok(None);
    };
    let Some((remaining, length_bytes)) = decode_remaining_length(rest)? else {
        return Ok(None);
    };
    let Some(body) = rest.get(length_bytes..length_bytes + remaining) else {
        return Ok(None);
    };
    let packet = match first >> 4 {
        1 => Packet::Connect,
        2 => Packet::ConnAck {
            session_present: *body.first().ok_or(Malformed)? & 1 == 1,
            code: *body.get(1).ok_or(Malformed)?,
        },
        3 => decode_publish(first, body)?,
        4 => Packet::PubAck {
            packet_id: take_u16(body)?.0,
        },
        5 => Packet::PubRec {
            packet_id: take_u16(body)?.0,
        },
        6 => Packet::PubRel {
            packet_id: take_u16(body)?.0,
        },
        7 => Packet::PubComp {
            packet_id: take_u16(body)?.0,
        },
        8 => decode_subscribe(body)?,
        9 => Packet::SubAck {
            code: *body.last().ok_or(Malformed)?,
        },
        12 => Packet::PingReq,
        14 => Packet::Disconnect,
        _ => return Err(Malformed),
    };
    Ok(Some((packet, 1 + length_bytes + remaining)))
}

fn decode_remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return if value > MAX_REMAINING_LENGTH {
                Err(Malformed)
            } else {
                Ok(Some((value, index + 1)))
            };
        }
    }
    if bytes.len() >= 4 { Err(Malformed) } else { Ok(None) }
}

fn decode_publish(first: u8, body: &[u8]) -> Result<Packet<'_>, Malformed> {
    let (topic, rest) = take_string(body)?;
    let qos = (first >> 1) & 3;
    let (packet_id, payload) = match qos {
        0 => (0, rest),
        1 | 2 => take_u16(rest)?,
        _ => return Err(Malformed),
    };
    if qos > 0 && packet_id == 0 {
        return Err(Malformed);
    }
    Ok(Packet::Publish {
        topic,
        qos,
        packet_id,
        payload,
    })
}

fn decode_subscribe(body: &[u8]) -> Result<Packet<'_>, Malformed> {
    let (packet_id, rest) = take_u16(body)?;
    let (filter, rest) = take_string(rest)?;
    match rest {
        &[qos @ 0..=2] => Ok(Packet::Subscribe { packet_id, filter, qos }),
        _ => Err(Malformed),
    }
}

fn take_u16(bytes: &[u8]) -> Result<(u16, &[u8]), Malformed> {
    let (value, rest) = bytes.split_first_chunk().ok_or(Malformed)?;
    Ok((u16::from_be_bytes(*value), rest))
}

fn take_string(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (length, rest) = take_u16(bytes)?;
    rest.split_at_checked(usize::from(length)).ok_or(Malformed)
}

/// Appends a PUBLISH and returns where in `out` its packet id stands (not at QoS 0), so that one encoding serves many
/// receivers.
pub fn encode_publish(out: &mut Vec<u8>, topic: &[u8], qos: u8, packet_id: u16, payload: &[u8]) -> usize {
    let remaining = 2 + topic.len() + payload.len() + if qos > 0 { 2 } else { 0 };
    out.push(0x30 | qos << 1);
    encode_remaining_length(out, remaining);
    encode_string(out, topic);
    let packet_id_at = out.len();
    if qos > 0 {
        out.extend_from_slice(&packet_id.to_be_bytes());
    }
    out.extend_from_slice(payload);
    packet_id_at
}

/// Appends a CONNECT of a clean session without keep-alive.
pub fn encode_connect(out: &mut Vec<u8>, client_id: &str) {
    encode_connect_with(out, client_id, 2);
}

/// Appends a CONNECT of a session that outlives its connections, without keep-alive.
pub fn encode_connect_kept(out: &mut Vec<u8>, client_id: &str) {
    encode_connect_with(out, client_id, 0);
}

fn encode_connect_with(out: &mut Vec<u8>, client_id: &str, flags: u8) {
    out.push(0x10);
    encode_remaining_length(out, 12 + client_id.len());
    out.extend_from_slice(b"\x00\x04MQTT\x04");
    out.extend_from_slice(&[flags, 0, 0]);
    encode_string(out, client_id.as_bytes());
}

/// Appends a SUBSCRIBE with one filter.
pub fn encode_subscribe(out: &mut Vec<u8>, packet_id: u16, filter: &[u8], qos: u8) {
    out.push(0x82);
    encode_remaining_length(out, 5 + filter.len());
    out.extend_from_slice(&packet_id.to_be_bytes());
    encode_string(out, filter);
    out.push(qos);
}

/// Appends a PUBACK.
pub fn encode_puback(out: &mut Vec<u8>, packet_id: u16) {
    out.extend_from_slice(&[0x40, 2]);
    out.extend_from_slice(&packet_id.to_be_bytes());
}

/// Appends a PUBREC.
pub fn encode_pubrec(out: &mut Vec<u8>, packet_id: u16) {
    out.extend_from_slice(&[0x50, 2]);
    out.extend_from_slice(&packet_id.to_be_bytes());
}

/// Appends a PUBREL.
pub fn encode_pubrel(out: &mut Vec<u8>, packet_id: u16) {
    out.extend_from_slice(&[0x62, 2]);
    out.extend_from_slice(&packet_id.to_be_bytes());
}

/// Appends a PUBCOMP.
pub fn encode_pubcomp(out: &mut Vec<u8>, packet_id: u16) {
    out.extend_from_slice(&[0x70, 2]);
    out.extend_from_slice(&packet_id.to_be_bytes());
}

/// Appends a SUBACK for one filter.
pub fn encode_suback(out: &mut Vec<u8>, packet_id: u16, qos: u8) {
    out.extend_from_slice(&[0x90, 3]);
    out.extend_from_slice(&packet_id.to_be_bytes());
    out.push(qos);
}

/// The bit of a PUBLISH's first byte that lets the broker keep it for those who subscribe later.
pub const RETAIN: u8 = 1;
/// An accepting CONNACK without a session.
pub const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
/// An accepting CONNACK with a session.
pub const CONNACK_WITH_SESSION: [u8; 4] = [0x20, 2, 1, 0];
/// DISCONNECT.
pub const DISCONNECT: [u8; 2] = [0xe0, 0];
/// PINGRESP.
pub const PINGRESP: [u8; 2] = [0xd0, 0];

fn encode_string(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&bytes[..usize::from(length)]);
}

fn encode_remaining_length(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_again_and_no_prefix_of_it_is_a_packet() {
        let mut bytes = Vec::new();
        encode_publish(&mut bytes, b"a/b", 1, 7, &[9; 300]);
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Ok(None), "prefix of {end} bytes");
        }
        let expected = Packet::Publish {
            topic: b"a/b",
            qos: 1,
            packet_id: 7,
            payload: &[9; 300],
        };
        assert_eq!(decode(&bytes), Ok(Some((expected, bytes.len()))));
    }

    #[test]
    fn a_packet_id_can_be_patched_where_the_encoder_says() {
        let mut bytes = Vec::new();
        let at = encode_publish(&mut bytes, b"t", 1, 0xffff, b"x");
        bytes[at..at + 2].copy_from_slice(&5_u16.to_be_bytes());
        assert!(matches!(
            decode(&bytes),
            Ok(Some((Packet::Publish { packet_id: 5, .. }, _)))
        ));
    }

    #[test]
    fn lengths_beyond_the_bound_and_unknown_packets_are_refused() {
        assert_eq!(decode(&[0x30, 0xff, 0xff, 0xff, 0x7f]), Err(Malformed));
        assert_eq!(decode(&[0x30, 0xff, 0xff, 0xff, 0xff]), Err(Malformed));
        assert_eq!(decode(&[0x00, 0x00]), Err(Malformed));
        assert_eq!(
            decode(&[0x32, 3, 0, 1, b'a']),
            Err(Malformed),
            "QoS 1 without a packet id"
        );
    }
}
