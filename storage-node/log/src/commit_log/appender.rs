//! Writes frames at the end of the log, one flush each, and goes to the next segment when one is full.
//!
//! The one writer, without its thread: whoever calls [`Appender::append`] waits for the disk.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
};

use thiserror::Error;

use super::{
    Durable, LogMark, Record,
    frame::{self, FRAME_HEADER_BYTES, Salt},
    segment::{HEADER_BYTES, Header, Segment, make_spare},
    segments::Segments,
};
use crate::{
    directory::DataDirectory,
    error::FatalError,
    fault_points::reach,
    format::{to_u32, to_usize},
    planted::planted,
};

/// Why nothing was appended.
#[derive(Debug, Error)]
pub(super) enum AppendError {
    /// There is no room for another segment. Nothing was written; it can be tried again.
    #[error("no room for another segment: {0}")]
    Full(io::Error),
    /// Nobody knows what is on disk.
    #[error(transparent)]
    Fatal(#[from] FatalError),
}

/// What one flush has made durable.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) durable: Durable,
    pub(super) records: usize,
    /// Bytes of the caller's in them.
    pub(super) record_bytes: usize,
    /// Bytes that were written.
    pub(super) frame_bytes: usize,
}

/// The end of the log.
#[derive(Debug)]
pub(super) struct Appender {
    directory: DataDirectory,
    segments: Arc<Segments>,
    /// Sizes of segments made from now on, and of frames.
    segment_bytes: u64,
    max_frame_bytes: usize,
    entropy: u64,
    current: Segment,
    end: u64,
    buffer: Vec<u8>,
}

/// Sizes of what is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct AppenderOptions {
    pub(super) segment_bytes: u64,
    pub(super) max_frame_bytes: usize,
    pub(super) entropy: u64,
}

/// Bytes of the largest record that fits a segment.
pub(super) fn max_record_bytes(segment_bytes: u64) -> usize {
    let overhead = to_usize(HEADER_BYTES) + FRAME_HEADER_BYTES + frame::RECORD_HEADER_BYTES + frame::FRAME_ALIGNMENT;
    to_usize(segment_bytes)
        .saturating_sub(overhead)
        .min(to_usize(u64::from(u32::MAX / 2)))
}

impl Appender {
    /// Goes on at `end` of the segment `current`, the newest of `segments`.
    pub(super) fn new(
        directory: DataDirectory,
        segments: Arc<Segments>,
        options: AppenderOptions,
        current: Segment,
        end: u64,
    ) -> Self {
        Self {
            directory,
            segments,
            segment_bytes: options.segment_bytes,
            max_frame_bytes: options.max_frame_bytes,
            entropy: options.entropy,
            current,
            end,
            buffer: Vec::new(),
        }
    }

    /// The end of what is durable.
    pub(super) fn mark(&self) -> LogMark {
        LogMark {
            segment: self.current.header.sequence,
            offset: self.end,
        }
    }

    /// Writes as many of the records as one frame takes, and flushes. What was written is gone from `pending`. When
    /// this returns, and not before, the records may be acknowledged.
    ///
    /// # Errors
    /// [`AppendError::Full`]: all records are still in `pending`. [`AppendError::Fatal`]: the process has to end.
    pub(super) fn append(&mut self, pending: &mut VecDeque<Record>) -> Result<Appended, AppendError> {
        let first = pending.front().map_or(0, frame::record_bytes);
        if frame::frame_bytes(first) > self.room() {
            self.begin_next_segment()?;
        }
        let salt = Salt::new(self.current.header.salt);
        let room = self.room();
        frame::begin(&mut self.buffer);
        let mut positions = BTreeMap::new();
        let (mut records, mut record_bytes) = (0, 0);
        for record in pending.iter() {
            let body = self.buffer.len() - FRAME_HEADER_BYTES + frame::record_bytes(record);
            if frame::frame_bytes(body) > room || (records > 0 && body > self.max_frame_bytes) {
                break;
            }
            frame::put(&mut self.buffer, salt, record);
            positions.insert(record.shard, record.position);
            records += 1;
            record_bytes += record.bytes.len();
        }
        let frame_start = self.end;
        self.write_frame(salt, records)?;
        self.segments
            .extend(frame_start, self.end, pending.iter().take(records));
        pending.drain(..records);
        Ok(Appended {
            durable: Durable {
                mark: self.mark(),
                positions: positions.into_iter().collect(),
            },
            records,
            record_bytes,
            frame_bytes: self.buffer.len(),
        })
    }

    /// Writes a frame without records, so that everything before it is known to have been durable.
    ///
    /// # Errors
    /// As for [`Appender::append`].
    pub(super) fn append_mark(&mut self) -> Result<(), AppendError> {
        self.append(&mut VecDeque::new()).map(|_| ())
    }

    fn room(&self) -> usize {
        to_usize(self.current.header.bytes.saturating_sub(self.end))
    }

    /// Writes the frame that the buffer holds, and flushes.
    fn write_frame(&mut self, salt: Salt, records: usize) -> Result<(), FatalError> {
        let mut durable = self.mark();
        if planted!(MarkWrittenTooEarly) {
            durable.offset += frame::frame_bytes(self.buffer.len() - FRAME_HEADER_BYTES) as u64;
        }
        frame::finish(&mut self.buffer, salt, self.end, to_u32(records), durable);
        let name = &self.current.name;
        let failed = |action| move |error| FatalError::new(name, action, error);
        reach("before_write");
        self.current
            .file
            .write_at(self.end, &self.buffer)
            .map_err(failed("writing"))?;
        reach("after_write");
        if !planted!(CompletedBeforeFlush) {
            self.current.file.sync_data().map_err(failed("flushing"))?;
        }
        reach("after_flush");
        self.end += self.buffer.len() as u64;
        Ok(())
    }

    /// Everything before is durable; what comes goes into another file.
    fn begin_next_segment(&mut self) -> Result<(), AppendError> {
        let disk = &*self.directory.disk;
        let spare = match self.segments.take_spare() {
            Some(spare) => spare,
            None => {
                let name = self.segments.name_spare();
                make_spare(disk, &name, self.segment_bytes).map_err(|error| match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => AppendError::Full(error),
                    _ => FatalError::new(&name, "making", error).into(),
                })?;
                name
            }
        };
        self.current = begin_segment(&self.directory, &spare, self.mark(), self.segment_bytes, self.entropy)?;
        self.segments.push(self.current.clone());
        self.end = HEADER_BYTES;
        Ok(())
    }
}

/// Makes a segment of a spare file, behind the one that ends at `durable`.
///
/// # Errors
/// Fatal.
pub(super) fn begin_segment(
    directory: &DataDirectory,
    spare: &str,
    durable: LogMark,
    bytes: u64,
    entropy: u64,
) -> Result<Segment, FatalError> {
    let header = Header::new(durable.segment + 1, bytes, directory.node_uuid(), durable, entropy);
    Segment::begin(&*directory.disk, spare, header)
}
