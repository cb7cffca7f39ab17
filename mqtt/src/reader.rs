//! A cursor over the body of one packet. Called by every packet's decoder.

use crate::error::{DecodeError, DecodeErrorKind};
use crate::packet::PacketId;
use crate::utf8::validate_utf8;
use crate::varint::decode_varint;

/// Reads the data types of MQTT 5.0, 1.5 from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Returns all bytes that are left.
    pub(crate) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeErrorKind::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeErrorKind::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u32, DecodeError> {
        let varint = decode_varint(self.rest)?.ok_or(DecodeErrorKind::Truncated)?;
        self.bytes(usize::from(varint.encoded_bytes))?;
        Ok(varint.value)
    }

    /// Binary Data (MQTT 5.0, 1.5.6): two bytes of length, then the bytes.
    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u16()?;
        self.bytes(usize::from(length))
    }

    /// UTF-8 Encoded String (MQTT 5.0, 1.5.4).
    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a str, DecodeError> {
        Ok(validate_utf8(self.binary()?)?)
    }

    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        Ok(PacketId::new(self.u16()?).ok_or(DecodeErrorKind::PacketIdZero)?)
    }

    /// A length as Variable Byte Integer, and that many bytes: a section of properties.
    #[inline]
    pub(crate) fn section(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.varint()?;
        self.bytes(usize::try_from(length).map_err(|_| DecodeErrorKind::Truncated)?)
    }

    /// Checks that nothing is left.
    #[inline]
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DecodeErrorKind::TrailingBytes.into())
        }
    }
}
