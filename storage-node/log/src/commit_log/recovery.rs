//! Reads a segment from its start and says where its frames end.
//!
//! A frame that is not as it was written is a torn tail, which nobody was told of, or damage. Each frame names the end
//! of what was durable before it. So everything behind the first bad byte is searched for headers of frames: when one
//! of them names an end that lies further, what is bad had been durable. Damage of the very last flush that nothing
//! came after cannot be told from a torn one; an orderly stop and every start therefore write a frame without records.

use super::{
    LogMark,
    frame::{self, FRAME_ALIGNMENT, FRAME_HEADER_BYTES, Salt},
    segment::{HEADER_BYTES, Segment},
    segment_index::SegmentIndex,
};
use crate::{
    error::OpenError,
    format::{Reader, to_usize},
};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// What a segment holds.
#[derive(Debug)]
pub(super) struct Scanned {
    /// Where its whole frames end.
    pub(super) end: u64,
    pub(super) index: SegmentIndex,
    /// The highest end that its header or any of its frames names as durable.
    pub(super) durable: LogMark,
    /// The first byte that is not as it was written; the end, when nothing says that there was more.
    pub(super) first_bad: u64,
    /// Bytes of a frame that was begun and is not whole.
    pub(super) torn_bytes: u64,
}

/// Reads a segment. `buffer` is memory to use.
///
/// # Errors
/// What the disk says. Damage is for the caller to see, who knows all segments.
pub(super) fn scan(segment: &Segment, buffer: &mut Vec<u8>) -> Result<Scanned, OpenError> {
    read_whole(segment, buffer)?;
    let salt = Salt::new(segment.header.salt);
    let mut scanned = Scanned {
        end: HEADER_BYTES,
        index: SegmentIndex::default(),
        durable: segment.header.durable,
        first_bad: HEADER_BYTES,
        torn_bytes: 0,
    };
    loop {
        match read_frame(buffer, salt, scanned.end, &mut scanned.index) {
            Frame::Whole { durable, end } => {
                scanned.durable = scanned.durable.max(durable);
                scanned.end = end;
            }
            Frame::Torn { first_bad, bytes } => {
                scanned.first_bad = first_bad;
                scanned.torn_bytes = bytes;
                break;
            }
            Frame::None => {
                scanned.first_bad = scanned.end;
                break;
            }
        }
    }
    for offset in (scanned.end..segment.header.bytes).step_by(FRAME_ALIGNMENT) {
        if let Some(header) = frame::parse_header(&buffer[to_usize(offset)..], salt, offset) {
            scanned.durable = scanned.durable.max(header.durable);
        }
    }
    Ok(scanned)
}

enum Frame {
    Whole { durable: LogMark, end: u64 },
    Torn { first_bad: u64, bytes: u64 },
    None,
}

/// Reads the frame at `offset` and takes its records up when it is whole.
fn read_frame(bytes: &[u8], salt: Salt, offset: u64, index: &mut SegmentIndex) -> Frame {
    let start = to_usize(offset);
    let Some(header) = bytes
        .get(start..)
        .and_then(|rest| frame::parse_header(rest, salt, offset))
    else {
        return Frame::None;
    };
    let body_bytes = to_usize(u64::from(header.body_bytes));
    let whole = frame::frame_bytes(body_bytes);
    let body_start = start + FRAME_HEADER_BYTES;
    let torn = |first_bad: usize| Frame::Torn {
        first_bad: first_bad as u64,
        bytes: whole as u64,
    };
    let Some(bytes) = bytes.get(body_start..body_start + body_bytes) else {
        return torn(body_start);
    };
    let mut found = Vec::with_capacity(to_usize(u64::from(header.records)).min(body_bytes));
    let mut body = Reader::new(bytes);
    for _ in 0..header.records {
        let at = body_start + (body_bytes - body.left());
        match frame::next_record(&mut body, salt) {
            Some(record) => found.push((record.shard, record.position)),
            None => return torn(at),
        }
    }
    for (shard, position) in found {
        index.add(shard, position, offset);
    }
    Frame::Whole {
        durable: header.durable,
        end: offset + whole as u64,
    }
}

fn read_whole(segment: &Segment, buffer: &mut Vec<u8>) -> Result<(), OpenError> {
    buffer.clear();
    buffer.resize(to_usize(segment.header.bytes), 0);
    for (number, chunk) in buffer.chunks_mut(CHUNK_BYTES).enumerate() {
        let offset = (number * CHUNK_BYTES) as u64;
        let read = segment.file.read_at(offset, chunk);
        read.map_err(|error| OpenError::io(&segment.name, offset, error))?;
    }
    Ok(())
}
