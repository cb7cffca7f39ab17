//! Sizes of the log, and what they are on a volume of a given size.

use crate::disk::Space;

/// The largest segment.
const MAX_SEGMENT_BYTES: u64 = 64 << 20;
/// The smallest segment that is chosen for a volume.
const MIN_SEGMENT_BYTES: u64 = 4 << 20;
/// A volume has room for this many segments.
const SEGMENTS_PER_VOLUME: u64 = 64;
/// The reserve as a part of the volume: 5 %.
const RESERVE_PART: u64 = 20;
/// The smallest reserve.
const MIN_RESERVE_BYTES: u64 = 64 << 20;

/// Sizes of the log.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Bytes of a segment that is made from now on. Default: a 64th of the volume, 4 MiB to 64 MiB.
    /// Minimum 4 KiB, maximum 64 MiB. No record is larger than a segment.
    pub segment_bytes: u64,
    /// Bytes that have to stay free for ordinary records to be taken. Default: 5 % of the volume, at least 64 MiB.
    pub reserve_bytes: u64,
    /// Bytes of records that may wait for the writer. Default: 16 MiB.
    pub queue_bytes: usize,
    /// Records that may wait for the writer. Default: 65,536.
    pub queue_records: usize,
    /// Bytes of one flush, unless a single record is larger. Default: 4 MiB.
    pub frame_bytes: usize,
    /// Segments that are kept ready, for the next ones to cost nothing. Default: 2.
    pub spare_segments: usize,
    /// A random number, drawn at each start: nobody who cannot read the disk can guess what a frame begins with.
    pub entropy: u64,
}

impl LogOptions {
    /// What suits a volume.
    #[must_use]
    pub fn for_volume(space: Space, entropy: u64) -> Self {
        Self {
            segment_bytes: (space.total_bytes / SEGMENTS_PER_VOLUME).clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES),
            reserve_bytes: (space.total_bytes / RESERVE_PART).max(MIN_RESERVE_BYTES),
            queue_bytes: 16 << 20,
            queue_records: 1 << 16,
            frame_bytes: 4 << 20,
            spare_segments: 2,
            entropy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_volume_has_small_segments_and_a_reserve_of_64_mib() {
        let of = |total_bytes| {
            let space = Space {
                total_bytes,
                free_bytes: 0,
            };
            let options = LogOptions::for_volume(space, 0);
            (options.segment_bytes >> 20, options.reserve_bytes >> 20)
        };
        assert_eq!(of(1 << 30), (16, 64));
        assert_eq!(of(100 << 30), (64, 5 * 1_024));
        assert_eq!(of(100 << 20), (4, 64));
    }
}
