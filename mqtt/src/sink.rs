//! Where encoders write to. Each packet describes its body once; it is run over a [`Counter`] to learn the
//! Remaining Length, and over the caller's buffer to write it.

use crate::error::EncodeError;
use crate::limits::Peer;
use crate::varint::{encode_varint, varint_bytes};

/// A place for bytes.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    #[inline]
    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    #[inline]
    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    #[inline]
    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    #[inline]
    fn put_varint(&mut self, value: u32) -> Result<(), EncodeError> {
        let (bytes, count) = encode_varint(value).ok_or(EncodeError::VarintTooLarge)?;
        self.put(bytes.get(..usize::from(count)).unwrap_or_default());
        Ok(())
    }

    /// Binary Data or a UTF-8 Encoded String: two bytes of length, then the bytes.
    #[inline]
    fn put_prefixed(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.put_u16(u16::try_from(bytes.len()).map_err(|_| EncodeError::FieldTooLong)?);
        self.put(bytes);
        Ok(())
    }

    /// A section of properties behind its length.
    #[inline]
    fn put_section<W: Write>(&mut self, properties: &W, peer: &Peer, detail: Detail) -> Result<(), EncodeError>
    where
        Self: Sized,
    {
        let mut counter = Counter::default();
        properties.write(peer, detail, &mut counter)?;
        self.put_varint(u32::try_from(counter.bytes).map_err(|_| EncodeError::VarintTooLarge)?)?;
        properties.write(peer, detail, self)
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts instead of writing.
#[derive(Default)]
pub(crate) struct Counter {
    pub(crate) bytes: usize,
}

impl Sink for Counter {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(bytes.len());
    }
}

/// How much of what explains an acknowledgement is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Reason string and user properties.
    Full,
    /// The reason string alone.
    ReasonString,
    /// Neither.
    None,
}

/// Something that can be written: the body of a packet or a section of properties.
pub(crate) trait Write {
    fn write<S: Sink>(&self, peer: &Peer, detail: Detail, sink: &mut S) -> Result<(), EncodeError>;
}

/// Appends one packet to `out` with as much detail as fits, and returns its size in bytes. On an error `out` is as
/// it was.
pub(crate) fn encode_packet<B: Write>(
    first_byte: u8,
    body: &B,
    peer: &Peer,
    detail: Detail,
    out: &mut Vec<u8>,
) -> Result<usize, EncodeError> {
    let levels = match detail {
        Detail::Full => &[Detail::Full, Detail::ReasonString, Detail::None][..],
        Detail::ReasonString => &[Detail::ReasonString, Detail::None],
        Detail::None => &[Detail::None],
    };
    let mut refusal = EncodeError::PacketTooLarge { packet_bytes: u64::MAX };
    for &level in levels {
        let mut counter = Counter::default();
        body.write(peer, level, &mut counter)?;
        match packet_bytes(counter.bytes, peer) {
            Ok((remaining_bytes, packet_bytes)) => {
                let start = out.len();
                out.reserve(packet_bytes);
                out.put_u8(first_byte);
                let written = out
                    .put_varint(remaining_bytes)
                    .and_then(|()| body.write(peer, level, out));
                if let Err(error) = written {
                    out.truncate(start);
                    return Err(error);
                }
                return Ok(packet_bytes);
            }
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

/// Returns Remaining Length and size of a packet with a body of `body_bytes`, if the peer accepts it.
pub(crate) fn packet_bytes(body_bytes: usize, peer: &Peer) -> Result<(u32, usize), EncodeError> {
    let too_large = EncodeError::PacketTooLarge {
        packet_bytes: body_bytes as u64,
    };
    let remaining_bytes = u32::try_from(body_bytes).map_err(|_| too_large)?;
    let length_bytes = varint_bytes(remaining_bytes).ok_or(too_large)?;
    let packet_bytes = 1 + u32::from(length_bytes) + remaining_bytes;
    if packet_bytes > peer.max_packet_bytes {
        return Err(EncodeError::PacketTooLarge {
            packet_bytes: u64::from(packet_bytes),
        });
    }
    Ok((remaining_bytes, 1 + usize::from(length_bytes) + body_bytes))
}
