//! Gives records back: all of them in order, for a start, and single ones by shard and position.

use std::collections::VecDeque;

use super::{
    Record,
    frame::{self, FRAME_HEADER_BYTES, RECORD_HEADER_BYTES, Salt},
    segments::{Place, Segments},
};
use crate::{
    error::{OpenError, ReadError},
    format::{Reader, to_usize},
};

/// Records in the order in which they were appended. Reads a frame at a time; ends after the first error.
#[derive(Debug)]
pub struct Records {
    places: VecDeque<Place>,
    /// Of the frame that was read last.
    ready: VecDeque<Record>,
    failed: bool,
}

impl Records {
    pub(super) fn new(places: VecDeque<Place>) -> Self {
        Self {
            places,
            ready: VecDeque::new(),
            failed: false,
        }
    }

    /// Reads frames until one has records.
    fn read_on(&mut self) -> Result<(), ReadError> {
        while self.ready.is_empty() {
            let Some(place) = self.places.front_mut() else {
                return Ok(());
            };
            if place.frame >= place.end {
                self.places.pop_front();
                continue;
            }
            let (records, next) = read_frame(place)?;
            place.frame = next;
            self.ready = records;
        }
        Ok(())
    }
}

impl Iterator for Records {
    type Item = Result<Record, OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if let Err(error) = self.read_on() {
            self.failed = true;
            return Some(Err(error.into()));
        }
        self.ready.pop_front().map(Ok)
    }
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged { file, offset, what } => Self::Damaged { file, offset, what },
            ReadError::Io { file, offset, source } => Self::Io { file, offset, source },
        }
    }
}

/// One record; none: it is not in the log, or not any more.
pub(super) fn read_record(segments: &Segments, shard: u32, position: u64) -> Result<Option<Record>, ReadError> {
    let Some(mut place) = segments.find(shard, position) else {
        return Ok(None);
    };
    match find_from(&mut place, shard, position) {
        // What is there now may be of the file's next life.
        Err(ReadError::Damaged { .. }) if !segments.has(place.segment.header.sequence) => Ok(None),
        found => found,
    }
}

/// Walks from frame to frame until the record is there or passed.
fn find_from(place: &mut Place, shard: u32, position: u64) -> Result<Option<Record>, ReadError> {
    while place.frame < place.end {
        let (records, next) = read_frame(place)?;
        for record in records {
            if record.shard == shard && record.position >= position {
                return Ok(Some(record).filter(|record| record.position == position));
            }
        }
        place.frame = next;
    }
    Ok(None)
}

/// The records of a frame, and where the next one starts.
fn read_frame(place: &Place) -> Result<(VecDeque<Record>, u64), ReadError> {
    let (name, file, offset) = (&place.segment.name, &place.segment.file, place.frame);
    let damaged = |offset, what| ReadError::Damaged {
        file: name.clone(),
        offset,
        what,
    };
    let read = |offset, buffer: &mut [u8]| {
        file.read_at(offset, buffer).map_err(|source| ReadError::Io {
            file: name.clone(),
            offset,
            source,
        })
    };
    let salt = Salt::new(place.segment.header.salt);
    let mut header = [0; FRAME_HEADER_BYTES];
    read(offset, &mut header)?;
    let header = frame::parse_header(&header, salt, offset).ok_or_else(|| damaged(offset, "the header of a flush"))?;
    let body_bytes = to_usize(u64::from(header.body_bytes));
    let next = offset + frame::frame_bytes(body_bytes) as u64;
    if next > place.end {
        return Err(damaged(offset, "a flush that ends in its segment"));
    }
    let body_start = offset + FRAME_HEADER_BYTES as u64;
    let mut bytes = vec![0; body_bytes];
    read(body_start, &mut bytes)?;
    let mut body = Reader::new(&bytes);
    let mut records =
        VecDeque::with_capacity(to_usize(u64::from(header.records)).min(body_bytes / RECORD_HEADER_BYTES));
    for _ in 0..header.records {
        let at = body_start + (body_bytes - body.left()) as u64;
        let record = frame::next_record(&mut body, salt).ok_or_else(|| damaged(at, "a record as it was written"))?;
        records.push_back(record.to_record());
    }
    Ok((records, next))
}
