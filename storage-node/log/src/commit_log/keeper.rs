//! Clears segments that a checkpoint covers, and keeps files ready for the next ones. Runs beside the writer, which
//! would wait for this otherwise.

use std::{
    collections::BTreeMap,
    io,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use tracing::warn;

use super::{
    room::Room,
    segment::{Segment, make_spare},
    segments::Segments,
};
use crate::{disk::Disk, error::FatalError, fault_points::reach};

/// What the keeper needs.
#[derive(Debug)]
pub(super) struct Keeper<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) segments: &'a Segments,
    pub(super) segment_bytes: u64,
    pub(super) spare_segments: usize,
}

impl Keeper<'_> {
    /// Removes all segments at the front whose records are covered, or keeps their files for later. Returns how many.
    ///
    /// # Errors
    /// A name cannot be changed or flushed: fatal.
    pub(super) fn release(&self, through: &BTreeMap<u32, u64>) -> Result<u64, FatalError> {
        let mut released = 0;
        while let Some(segment) = self.segments.take_covered(through) {
            self.clear(&segment)?;
            released += 1;
        }
        Ok(released)
    }

    fn clear(&self, segment: &Segment) -> Result<(), FatalError> {
        let name = &segment.name;
        let failed = |action| move |error| FatalError::new(name, action, error);
        reach("segment_covered");
        if segment.header.bytes == self.segment_bytes && self.segments.spares() < self.spare_segments {
            let spare = self.segments.name_spare();
            self.disk.rename(name, &spare).map_err(failed("renaming"))?;
            reach("segment_recycled");
            // Before the file is written again: or the old name could come back with the new bytes.
            self.disk.sync_dir().map_err(failed("flushing the name of"))?;
            self.segments.add_spare(spare);
        } else {
            self.disk.remove(name).map_err(failed("removing"))?;
            reach("segment_removed");
            // One at a time: or a later one could be gone and an earlier one be there.
            self.disk.sync_dir().map_err(failed("flushing the removal of"))?;
        }
        Ok(())
    }

    /// Makes files ready while there is room for them above the reserve.
    ///
    /// # Errors
    /// A file cannot be written for another reason than that the disk is full: fatal.
    pub(super) fn make_spares(&self, room: &Room) -> Result<(), FatalError> {
        while self.segments.spares() < self.spare_segments && room.is_above_reserve(self.segment_bytes) {
            let name = self.segments.name_spare();
            match make_spare(self.disk, &name, self.segment_bytes) {
                Ok(()) => self.segments.add_spare(name),
                Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                    warn!("no room to keep a segment of the log ready");
                    return Ok(());
                }
                Err(error) => return Err(FatalError::new(&name, "making", error)),
            }
        }
        Ok(())
    }
}

/// What the keeper is asked for.
#[derive(Debug, Default)]
pub(super) struct Work {
    state: Mutex<WorkState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct WorkState {
    through: BTreeMap<u32, u64>,
    is_asked: bool,
    ends: bool,
}

impl Work {
    fn state(&self) -> MutexGuard<'_, WorkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything through these positions is covered.
    pub(super) fn release(&self, through: &[(u32, u64)]) {
        let mut state = self.state();
        for (shard, position) in through {
            let covered = state.through.entry(*shard).or_default();
            *covered = (*covered).max(*position);
        }
        state.is_asked = true;
        drop(state);
        self.changed.notify_all();
    }

    /// A file that was ready has been used.
    pub(super) fn look(&self) {
        self.state().is_asked = true;
        self.changed.notify_all();
    }

    pub(super) fn end(&self) {
        self.state().ends = true;
        self.changed.notify_all();
    }

    /// Waits for something to do: what is covered by now. None: the end.
    pub(super) fn wait(&self) -> Option<BTreeMap<u32, u64>> {
        let state = self.state();
        let waited = self.changed.wait_while(state, |state| !state.is_asked && !state.ends);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.ends {
            return None;
        }
        state.is_asked = false;
        Some(state.through.clone())
    }
}
