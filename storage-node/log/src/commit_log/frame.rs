//! A frame: what one flush writes. A header that names the end of what was durable before, then records.
//!
//! A frame is taken as a whole or not at all. Its header has a CRC of its own, because what it says of durability
//! counts even when a record behind it is damaged.

use bytes::Bytes;

use super::{LogMark, Record};
use crate::format::{Reader, to_u32, to_usize};

/// Bytes of the header of a frame.
pub(super) const FRAME_HEADER_BYTES: usize = 40;
/// Bytes of the header of a record.
pub(super) const RECORD_HEADER_BYTES: usize = 24;
/// Frames begin at multiples of this.
pub(super) const FRAME_ALIGNMENT: usize = 8;
/// With the salt, the first four bytes of a frame.
const MAGIC: u32 = 0x4652_5348;

/// What the header of a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Bytes of records behind the header, without what fills up to the next frame.
    pub(super) body_bytes: u32,
    pub(super) records: u32,
    /// The end of what was durable when the frame was written.
    pub(super) durable: LogMark,
}

/// The salts of a segment: for the first bytes of frames, and for all CRCs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Salt {
    magic: u32,
    crc: u32,
}

impl Salt {
    pub(super) fn new(salt: u64) -> Self {
        let bytes = salt.to_le_bytes();
        let [low, high] = [0, 4].map(|at| Reader::new(&bytes[at..]).u32().unwrap_or_default());
        Self {
            magic: MAGIC ^ low,
            crc: high,
        }
    }

    fn crc(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.crc, bytes)
    }
}

/// Bytes that a record takes.
pub(super) fn record_bytes(record: &Record) -> usize {
    RECORD_HEADER_BYTES + record.bytes.len()
}

/// Bytes from the start of a frame to the start of the next.
pub(super) fn frame_bytes(body_bytes: usize) -> usize {
    (FRAME_HEADER_BYTES + body_bytes).next_multiple_of(FRAME_ALIGNMENT)
}

/// Begins a frame in an empty buffer; [`finish`] fills the header in.
pub(super) fn begin(out: &mut Vec<u8>) {
    out.clear();
    out.resize(FRAME_HEADER_BYTES, 0);
}

/// Appends a record.
pub(super) fn put(out: &mut Vec<u8>, salt: Salt, record: &Record) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&to_u32(record.bytes.len()).to_le_bytes());
    out.extend_from_slice(&record.shard.to_le_bytes());
    out.extend_from_slice(&[record.kind, 0, 0, 0]);
    out.extend_from_slice(&record.position.to_le_bytes());
    out.extend_from_slice(&record.bytes);
    let crc = salt.crc(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Fills in the header of a frame that goes to `offset` of its segment.
pub(super) fn finish(out: &mut Vec<u8>, salt: Salt, offset: u64, records: u32, durable: LogMark) {
    let body_bytes = to_u32(out.len() - FRAME_HEADER_BYTES);
    let mut header = Vec::with_capacity(FRAME_HEADER_BYTES);
    header.extend_from_slice(&salt.magic.to_le_bytes());
    header.extend_from_slice(&[0; 4]);
    header.extend_from_slice(&body_bytes.to_le_bytes());
    header.extend_from_slice(&records.to_le_bytes());
    header.extend_from_slice(&offset.to_le_bytes());
    header.extend_from_slice(&durable.segment.to_le_bytes());
    header.extend_from_slice(&durable.offset.to_le_bytes());
    let crc = salt.crc(&header[8..]);
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    out[..FRAME_HEADER_BYTES].copy_from_slice(&header);
    out.resize(frame_bytes(to_usize(u64::from(body_bytes))), 0);
}

/// The header at `offset` of a segment, when there is one.
pub(super) fn parse_header(bytes: &[u8], salt: Salt, offset: u64) -> Option<FrameHeader> {
    let header = bytes.get(..FRAME_HEADER_BYTES)?;
    let mut reader = Reader::new(header);
    if reader.u32()? != salt.magic || reader.u32()? != salt.crc(&header[8..]) {
        return None;
    }
    let (body_bytes, records) = (reader.u32()?, reader.u32()?);
    let is_here = reader.u64()? == offset;
    let durable = LogMark {
        segment: reader.u64()?,
        offset: reader.u64()?,
    };
    is_here.then_some(FrameHeader {
        body_bytes,
        records,
        durable,
    })
}

/// A record in the bytes of a frame, not copied yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordIn<'a> {
    pub(super) shard: u32,
    pub(super) position: u64,
    pub(super) kind: u8,
    pub(super) bytes: &'a [u8],
}

impl RecordIn<'_> {
    /// A copy that keeps nothing else of the frame in memory.
    pub(super) fn to_record(self) -> Record {
        Record {
            shard: self.shard,
            position: self.position,
            kind: self.kind,
            bytes: Bytes::copy_from_slice(self.bytes),
        }
    }
}

/// The next record of a frame's body.
pub(super) fn next_record<'a>(body: &mut Reader<'a>, salt: Salt) -> Option<RecordIn<'a>> {
    let mut ahead = body.clone();
    let (crc, length) = (ahead.u32()?, ahead.u32()?);
    let (crc, length) = (crc, to_usize(u64::from(length)));
    let whole = body.take(RECORD_HEADER_BYTES.checked_add(length)?)?;
    if salt.crc(&whole[4..]) != crc {
        return None;
    }
    let mut reader = Reader::new(&whole[8..]);
    let (shard, [kind, ..], position) = (reader.u32()?, reader.array::<4>()?, reader.u64()?);
    Some(RecordIn {
        shard,
        position,
        kind,
        bytes: reader.take(length)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(position: u64, bytes: &'static [u8]) -> Record {
        Record {
            shard: 3,
            position,
            kind: 2,
            bytes: Bytes::from_static(bytes),
        }
    }

    const DURABLE: LogMark = LogMark {
        segment: 4,
        offset: 512,
    };

    fn frame(salt: Salt) -> Vec<u8> {
        let mut out = Vec::new();
        begin(&mut out);
        put(&mut out, salt, &record(8, b"first"));
        put(&mut out, salt, &record(9, b""));
        finish(&mut out, salt, 1_024, 2, DURABLE);
        out
    }

    fn parse(bytes: &[u8], salt: Salt) -> Option<(FrameHeader, Vec<Record>)> {
        let header = parse_header(bytes, salt, 1_024)?;
        let mut body = Reader::new(bytes.get(FRAME_HEADER_BYTES..)?);
        let mut body = Reader::new(body.take(to_usize(u64::from(header.body_bytes)))?);
        let records: Option<Vec<Record>> = (0..header.records)
            .map(|_| next_record(&mut body, salt).map(RecordIn::to_record))
            .collect();
        Some((header, records?))
    }

    #[test]
    fn a_frame_comes_back_with_its_records() {
        let salt = Salt::new(0x1234_5678_9abc_def0);
        let bytes = frame(salt);
        assert_eq!(bytes.len() % FRAME_ALIGNMENT, 0);
        assert_eq!(bytes.len(), frame_bytes(2 * RECORD_HEADER_BYTES + 5));
        let (header, records) = parse(&bytes, salt).unwrap();
        assert_eq!(header.durable, DURABLE);
        assert_eq!(records, [record(8, b"first"), record(9, b"")]);
    }

    #[test]
    fn a_frame_of_another_life_or_another_place_is_none() {
        let bytes = frame(Salt::new(1));
        assert_eq!(parse(&bytes, Salt::new(2)), None);
        assert_eq!(parse_header(&bytes, Salt::new(1), 1_032), None);
    }

    #[test]
    fn no_wrong_bit_and_no_missing_byte_goes_unnoticed() {
        let salt = Salt::new(77);
        let bytes = frame(salt);
        let said = FRAME_HEADER_BYTES + 2 * RECORD_HEADER_BYTES + 5;
        for bit in 0..said * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse(&bytes, salt), None, "bit {bit}");
        }
        for length in 0..said {
            assert_eq!(parse(&bytes[..length], salt), None, "length {length}");
        }
    }
}
