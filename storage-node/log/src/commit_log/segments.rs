//! The segments that are there, shared by the one who writes, those who read, and the one who clears up.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    LogMark, Record,
    segment::{Segment, spare_name},
    segment_index::SegmentIndex,
};

/// A segment with what is known of its records.
#[derive(Debug, Clone)]
pub(super) struct Indexed {
    pub(super) segment: Segment,
    /// Where the next frame goes, or would have gone.
    pub(super) end: u64,
    pub(super) index: SegmentIndex,
}

/// All segments, oldest first, and the files that are ready to become some. Held for moments only.
#[derive(Debug, Default)]
pub(super) struct Segments {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    segments: VecDeque<Indexed>,
    spares: Vec<String>,
    next_spare: u64,
}

/// Where to look for a record.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) segment: Segment,
    pub(super) frame: u64,
    pub(super) end: u64,
}

impl Segments {
    pub(super) fn new(segments: VecDeque<Indexed>, spares: Vec<String>, next_spare: u64) -> Self {
        Self {
            state: Mutex::new(State {
                segments,
                spares,
                next_spare,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new segment is there to be written.
    pub(super) fn push(&self, segment: Segment) {
        self.state().segments.push_back(Indexed {
            end: super::segment::HEADER_BYTES,
            segment,
            index: SegmentIndex::default(),
        });
    }

    /// A frame is durable in the newest segment.
    pub(super) fn extend<'a>(&self, frame: u64, end: u64, records: impl Iterator<Item = &'a Record>) {
        if let Some(newest) = self.state().segments.back_mut() {
            newest.end = end;
            for record in records {
                newest.index.add(record.shard, record.position, frame);
            }
        }
    }

    /// Where a record may be.
    pub(super) fn find(&self, shard: u32, position: u64) -> Option<Place> {
        let state = self.state();
        state.segments.iter().rev().find_map(|indexed| {
            let frame = indexed.index.find(shard, position)?;
            Some(Place {
                segment: indexed.segment.clone(),
                frame,
                end: indexed.end,
            })
        })
    }

    /// Whether a segment is still there.
    pub(super) fn has(&self, sequence: u64) -> bool {
        let state = self.state();
        state
            .segments
            .iter()
            .any(|indexed| indexed.segment.header.sequence == sequence)
    }

    /// All segments from a mark on: what to read, from where, and to where.
    pub(super) fn from(&self, mark: LogMark) -> VecDeque<Place> {
        let state = self.state();
        let later = state
            .segments
            .iter()
            .filter(|it| it.segment.header.sequence >= mark.segment);
        later
            .map(|indexed| {
                let is_first = indexed.segment.header.sequence == mark.segment;
                Place {
                    segment: indexed.segment.clone(),
                    frame: if is_first {
                        mark.offset
                    } else {
                        super::segment::HEADER_BYTES
                    },
                    end: indexed.end,
                }
            })
            .collect()
    }

    /// Takes the oldest segment out when all its records are covered. The newest stays in any case.
    pub(super) fn take_covered(&self, through: &BTreeMap<u32, u64>) -> Option<Segment> {
        let mut state = self.state();
        if state.segments.len() < 2 || !state.segments.front()?.index.is_covered(through) {
            return None;
        }
        state.segments.pop_front().map(|indexed| indexed.segment)
    }

    /// A name for a file that will be ready.
    pub(super) fn name_spare(&self) -> String {
        let mut state = self.state();
        state.next_spare += 1;
        spare_name(state.next_spare)
    }

    /// A file is ready, and its name is on disk.
    pub(super) fn add_spare(&self, name: String) {
        self.state().spares.push(name);
    }

    pub(super) fn take_spare(&self) -> Option<String> {
        self.state().spares.pop()
    }

    pub(super) fn spares(&self) -> usize {
        self.state().spares.len()
    }

    /// How many segments there are, and their bytes.
    pub(super) fn count(&self) -> (u64, u64) {
        let state = self.state();
        let bytes = state.segments.iter().map(|indexed| indexed.segment.header.bytes).sum();
        (state.segments.len() as u64, bytes)
    }
}
