//! The reason codes of SUBACK and UNSUBACK, one per topic filter.

use std::fmt;
use std::slice;

use crate::error::{DecodeError, DecodeErrorKind};
use crate::fixed_header::PacketType;
use crate::reason_code::{ReasonCode, Sender};

/// A list of reason codes, in the order of the topic filters that they answer.
#[derive(Clone, Copy)]
pub struct ReasonCodes<'a>(List<'a>);

#[derive(Clone, Copy)]
enum List<'a> {
    /// Bytes that were checked to be reason codes.
    Bytes(&'a [u8]),
    Codes(&'a [ReasonCode]),
}

impl<'a> ReasonCodes<'a> {
    /// No reason code: UNSUBACK before 5.0.
    pub const NONE: Self = Self(List::Codes(&[]));

    /// Reason codes for a packet that is to be written.
    #[must_use]
    pub const fn from_slice(codes: &'a [ReasonCode]) -> Self {
        Self(List::Codes(codes))
    }

    /// Takes the payload of a SUBACK or UNSUBACK of 5.0.
    pub(super) fn from_payload(packet_type: PacketType, payload: &'a [u8]) -> Result<Self, DecodeError> {
        if payload.is_empty() {
            return Err(DecodeErrorKind::NoReasonCode.into());
        }
        let is_allowed =
            |byte| ReasonCode::from_byte(byte).is_some_and(|code| code.is_allowed_in(packet_type, Sender::Server));
        match payload.iter().copied().find(|&byte| !is_allowed(byte)) {
            Some(byte) => Err(DecodeErrorKind::ReasonCodeNotAllowed { packet_type, byte }.into()),
            None => Ok(Self(List::Bytes(payload))),
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self.0 {
            List::Bytes(bytes) => bytes.len(),
            List::Codes(codes) => codes.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The codes in order.
    #[must_use]
    pub fn iter(&self) -> ReasonCodesIter<'a> {
        ReasonCodesIter(match self.0 {
            List::Bytes(bytes) => Walk::Bytes(bytes.iter()),
            List::Codes(codes) => Walk::Codes(codes.iter()),
        })
    }
}

/// Iterates over [`ReasonCodes`].
#[derive(Clone)]
pub struct ReasonCodesIter<'a>(Walk<'a>);

#[derive(Clone)]
enum Walk<'a> {
    Bytes(slice::Iter<'a, u8>),
    Codes(slice::Iter<'a, ReasonCode>),
}

impl Iterator for ReasonCodesIter<'_> {
    type Item = ReasonCode;

    fn next(&mut self) -> Option<ReasonCode> {
        match &mut self.0 {
            Walk::Bytes(bytes) => ReasonCode::from_byte(*bytes.next()?),
            Walk::Codes(codes) => codes.next().copied(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Walk::Bytes(bytes) => bytes.len(),
            Walk::Codes(codes) => codes.len(),
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for ReasonCodesIter<'_> {}

impl<'a> IntoIterator for ReasonCodes<'a> {
    type Item = ReasonCode;
    type IntoIter = ReasonCodesIter<'a>;

    fn into_iter(self) -> ReasonCodesIter<'a> {
        self.iter()
    }
}

/// Equal when they hold the same codes in the same order, wherever they are.
impl PartialEq for ReasonCodes<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for ReasonCodes<'_> {}

impl fmt::Debug for ReasonCodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
