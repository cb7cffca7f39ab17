//! The file of a segment: its name, its header, and how a file that is ready becomes one.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    sync::Arc,
};

use super::LogMark;
use crate::{
    disk::{Disk, DiskFile},
    error::{FatalError, OpenError},
    fault_points::reach,
    format::{FRONT_BYTES, FileKind, Reader, to_usize},
    planted::planted,
};

/// Bytes of the header, which is a sector.
pub(super) const HEADER_BYTES: u64 = 512;
/// Bytes of it that say something.
const FIELDS_BYTES: usize = FRONT_BYTES + 56;
const KIND: FileKind = FileKind {
    magic: *b"FRSHclog",
    format: 1,
};
/// Bytes of zeros that are written at once.
const ZEROS_BYTES: usize = 1 << 20;
/// Bytes that are flushed at once: the log's own flushes wait behind what the disk has been given before them.
const FLUSH_STEP_BYTES: u64 = 4 << 20;

/// What the header of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// From 1 on, without gaps.
    pub(super) sequence: u64,
    /// Bytes of the file.
    pub(super) bytes: u64,
    /// The node that wrote it.
    pub(super) node: [u8; 16],
    /// The end of what was durable when the segment began: the end of the segment before.
    pub(super) durable: LogMark,
    /// Goes into all CRCs of the segment.
    pub(super) salt: u64,
}

impl Header {
    /// The header of a new segment; the salt is nothing that anybody else could know.
    pub(super) fn new(sequence: u64, bytes: u64, node: [u8; 16], durable: LogMark, entropy: u64) -> Self {
        let mut hasher = DefaultHasher::new();
        (entropy, node, sequence).hash(&mut hasher);
        Self {
            sequence,
            bytes,
            node,
            durable,
            salt: hasher.finish(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = KIND.front().to_vec();
        for number in [self.sequence, self.bytes] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.node);
        for number in [self.durable.segment, self.durable.offset, self.salt] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.resize(to_usize(HEADER_BYTES), 0);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (fields, rest) = bytes.split_at_checked(FIELDS_BYTES)?;
        if Reader::new(rest).u32()? != crc32c::crc32c(fields) {
            return None;
        }
        let mut reader = Reader::new(fields.get(FRONT_BYTES..)?);
        Some(Self {
            sequence: reader.u64()?,
            bytes: reader.u64()?,
            node: reader.array()?,
            durable: LogMark {
                segment: reader.u64()?,
                offset: reader.u64()?,
            },
            salt: reader.u64()?,
        })
    }
}

/// A segment: its file, and what its header says.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) name: String,
    pub(super) header: Header,
    pub(super) file: Arc<dyn DiskFile>,
}

/// The name of a segment.
pub(super) fn segment_name(sequence: u64) -> String {
    format!("log-{sequence:016x}")
}

/// The name of a file that will be a segment.
pub(super) fn spare_name(number: u64) -> String {
    format!("spare-{number:016x}")
}

/// The number in a name that begins with `kind`.
pub(super) fn number_in(name: &str, kind: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_prefix(kind)?, 16).ok()
}

impl Segment {
    /// Opens the segment with this sequence number.
    ///
    /// # Errors
    /// [`OpenError`]: a header was durable before its segment had its name.
    pub(super) fn open(disk: &dyn Disk, sequence: u64, node: [u8; 16]) -> Result<Self, OpenError> {
        let name = segment_name(sequence);
        let io = |error| OpenError::io(&name, 0, error);
        let file = disk.open(&name).map_err(io)?;
        let size = file.size().map_err(io)?;
        if size < HEADER_BYTES {
            return Err(OpenError::damaged(&name, size, "the header of a segment"));
        }
        let mut bytes = vec![0; to_usize(HEADER_BYTES)];
        file.read_at(0, &mut bytes).map_err(io)?;
        KIND.check(&name, &bytes)?;
        let damaged = |what| OpenError::damaged(&name, FRONT_BYTES as u64, what);
        let header = Header::decode(&bytes).ok_or_else(|| damaged("the header of a segment"))?;
        if header.sequence != sequence {
            return Err(damaged("the header of this segment, and no other's"));
        }
        if header.node != node {
            return Err(damaged("a segment of this node, and no other's"));
        }
        if header.bytes != size {
            return Err(OpenError::damaged(&name, size, "as many bytes as the header says"));
        }
        Ok(Self { name, header, file })
    }

    /// Makes the next segment of a file that is ready. When it returns, header and name are durable: not earlier may
    /// a record in it be reported.
    ///
    /// # Errors
    /// The file or the directory cannot be written: fatal.
    pub(super) fn begin(disk: &dyn Disk, spare: &str, header: Header) -> Result<Self, FatalError> {
        let name = segment_name(header.sequence);
        let failed = |action| move |error| FatalError::new(spare, action, error);
        let file = disk.open(spare).map_err(failed("opening"))?;
        file.write_at(0, &header.encode()).map_err(failed("writing"))?;
        file.sync_data().map_err(failed("flushing"))?;
        reach("segment_header_flushed");
        disk.rename(spare, &name).map_err(failed("renaming"))?;
        reach("segment_renamed");
        if !planted!(SegmentNameNotFlushed) {
            disk.sync_dir().map_err(failed("flushing the name of"))?;
        }
        reach("segment_begun");
        Ok(Self { name, header, file })
    }
}

/// Makes a file that is ready to become a segment: all its bytes are there, so that writing over them changes no
/// metadata. `fallocate` alone would not do: the first write to an extent that was never written has to say so in the
/// file system's journal, with each flush.
///
/// # Errors
/// What the disk says; nothing is left behind then.
pub(super) fn make_spare(disk: &dyn Disk, name: &str, bytes: u64) -> io::Result<()> {
    let file = disk.create(name)?;
    let made = fill_with_zeros(&*file, bytes).and_then(|()| file.sync_data());
    if made.is_err() {
        drop(file);
        // Whatever is left of it: the next start removes what has not the size of a segment.
        let _ = disk.remove(name);
    }
    made
}

fn fill_with_zeros(file: &dyn DiskFile, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES.min(to_usize(bytes))];
    let mut offset = 0;
    while offset < bytes {
        let count = zeros.len().min(to_usize(bytes - offset));
        file.write_at(offset, &zeros[..count])?;
        offset += count as u64;
        if offset.is_multiple_of(FLUSH_STEP_BYTES) {
            file.sync_data()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimulatedDisk;

    fn header() -> Header {
        let durable = LogMark {
            segment: 6,
            offset: 4_096,
        };
        Header::new(7, 8_192, [9; 16], durable, 5)
    }

    #[test]
    fn a_header_comes_back_and_a_wrong_bit_is_seen() {
        let bytes = header().encode();
        assert_eq!(bytes.len() as u64, HEADER_BYTES);
        assert_eq!(Header::decode(&bytes), Some(header()));
        for at in 0..FIELDS_BYTES + 4 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 16;
            assert_eq!(Header::decode(&bytes), None, "byte {at}");
        }
    }

    #[test]
    fn a_segment_is_there_under_its_name_and_of_its_node() {
        let disk = SimulatedDisk::new(1 << 20);
        make_spare(&disk, &spare_name(1), 8_192).unwrap();
        Segment::begin(&disk, &spare_name(1), header()).unwrap();
        let disk = disk.power_cut(1);
        assert_eq!(disk.list().unwrap(), ["log-0000000000000007"]);
        assert_eq!(Segment::open(&disk, 7, [9; 16]).unwrap().header, header());
        assert!(matches!(
            Segment::open(&disk, 7, [8; 16]),
            Err(OpenError::Damaged { .. })
        ));
        disk.rename("log-0000000000000007", "log-0000000000000008").unwrap();
        assert!(matches!(
            Segment::open(&disk, 8, [9; 16]),
            Err(OpenError::Damaged { .. })
        ));
        assert_eq!(number_in("log-000000000000001f", "log-"), Some(31));
    }

    #[test]
    fn a_spare_that_finds_no_room_leaves_nothing() {
        let disk = SimulatedDisk::new(10_000);
        let error = make_spare(&disk, &spare_name(1), 20_000).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.used_bytes(), 0);
    }
}
