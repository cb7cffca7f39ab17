//! Bytes to frames and back, for the generated client and server.
//!
//! Does what tonic's own protobuf codec does, and two things more: errors keep their [`WireError`] as the source of
//! the status, and a member that this version does not know is named by its number, which decoding would drop.

use std::{error::Error, fmt, marker::PhantomData, sync::Arc};

use bytes::{Buf, Bytes};
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use crate::{WireError, proto};

/// A frame of one of the four directions.
pub(crate) trait Frame: Message + Default + 'static {
    /// Refuses a frame with a member that this version does not know. `raw` is the frame's encoding.
    fn check_members(&self, raw: &Bytes) -> Result<(), WireError>;
}

impl Frame for proto::OperationFrame {
    fn check_members(&self, raw: &Bytes) -> Result<(), WireError> {
        let known = |o: &proto::Operation| o.operation.is_some();
        if self.operations.iter().all(known) {
            return Ok(());
        }
        Err(unknown_member("operation", raw, &[2], known))
    }
}

impl Frame for proto::AnswerFrame {
    fn check_members(&self, raw: &Bytes) -> Result<(), WireError> {
        let known = |a: &proto::Answer| a.answer.is_some();
        if self.answers.iter().all(known) {
            return Ok(());
        }
        Err(unknown_member("answer", raw, &[2], known))
    }
}

impl Frame for proto::DeliveryControlFrame {
    fn check_members(&self, raw: &Bytes) -> Result<(), WireError> {
        let known = |c: &proto::DeliveryControl| c.control.is_some();
        if self.controls.iter().all(known) {
            return Ok(());
        }
        Err(unknown_member("control", raw, &[2], known))
    }
}

impl Frame for proto::DeliveryFrame {
    fn check_members(&self, raw: &Bytes) -> Result<(), WireError> {
        let known = |d: &proto::Delivery| d.delivery.is_some();
        if self.runs.iter().all(|r| r.deliveries.iter().all(known)) {
            return Ok(());
        }
        Err(unknown_member("delivery", raw, &[2, 4], known))
    }
}

/// Names the first message at `path` (field numbers from the frame down) of which nothing is known.
fn unknown_member<M: Message + Default>(
    of: &'static str,
    raw: &Bytes,
    path: &[u32],
    known: impl Fn(&M) -> bool + Copy,
) -> WireError {
    WireError::UnknownMember {
        of,
        number: first_unknown(raw.clone(), path, known).unwrap_or(0),
    }
}

fn first_unknown<M: Message + Default>(mut raw: Bytes, path: &[u32], known: impl Fn(&M) -> bool + Copy) -> Option<u32> {
    let Some((&field, below)) = path.split_first() else {
        return match M::decode(raw.clone()) {
            Ok(message) if known(&message) => None,
            _ => Some(decode_key(&mut raw).map_or(0, |(number, _)| number)),
        };
    };
    while raw.has_remaining() {
        let (number, wire_type) = decode_key(&mut raw).ok()?;
        if number == field && wire_type == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut raw).ok()?).ok()?;
            if length > raw.len() {
                return None;
            }
            let found = first_unknown(raw.split_to(length), below, known);
            if found.is_some() {
                return found;
            }
        } else {
            skip_field(wire_type, number, &mut raw, DecodeContext::default()).ok()?;
        }
    }
    None
}

/// The status that ends a stream because of `error`, with the error as its source.
pub(crate) fn wire_status(error: WireError) -> Status {
    let mut status = match &error {
        WireError::UnknownMember { .. } => Status::unimplemented(error.to_string()),
        _ => Status::invalid_argument(error.to_string()),
    };
    status.set_source(Arc::new(error));
    status
}

/// The [`WireError`] that a status was made of.
pub(crate) fn wire_error(status: &Status) -> Option<&WireError> {
    status.source()?.downcast_ref()
}

/// Encodes frames of one direction and decodes those of the other.
pub(crate) struct FrameCodec<E, D>(PhantomData<(E, D)>);

impl<E, D> Default for FrameCodec<E, D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E, D> fmt::Debug for FrameCodec<E, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrameCodec")
    }
}

impl<E: Frame, D: Frame> Codec for FrameCodec<E, D> {
    type Encode = E;
    type Decode = D;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self::default()
    }

    fn decoder(&mut self) -> Self {
        Self::default()
    }
}

impl<E: Frame, D: Frame> Encoder for FrameCodec<E, D> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, frame: E, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        frame
            .encode(buffer)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

impl<E: Frame, D: Frame> Decoder for FrameCodec<E, D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        // No copy: both share the received bytes.
        let raw = buffer.copy_to_bytes(buffer.remaining());
        decode_frame(&raw).map(Some).map_err(wire_status)
    }
}

/// Reads one frame.
pub(crate) fn decode_frame<D: Frame>(raw: &Bytes) -> Result<D, WireError> {
    let frame = D::decode(raw.clone()).map_err(|error| WireError::Malformed(error.to_string()))?;
    frame.check_members(raw)?;
    Ok(frame)
}
