//! Whether the disk has room for ordinary records: a part of it is kept for what makes room again.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use tracing::{info, warn};

use super::segments::Segments;
use crate::disk::Disk;

/// What is free, as it was when somebody last looked.
#[derive(Debug)]
pub(super) struct Room {
    disk: Arc<dyn Disk>,
    segments: Arc<Segments>,
    segment_bytes: u64,
    reserve_bytes: u64,
    total_bytes: AtomicU64,
    free_bytes: AtomicU64,
    is_full: AtomicBool,
}

impl Room {
    pub(super) fn new(disk: Arc<dyn Disk>, segments: Arc<Segments>, segment_bytes: u64, reserve_bytes: u64) -> Self {
        let room = Self {
            disk,
            segments,
            segment_bytes,
            reserve_bytes,
            total_bytes: AtomicU64::new(0),
            free_bytes: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
        };
        room.look();
        room
    }

    /// Looks at the disk. Files that are ready for the log count as free.
    pub(super) fn look(&self) {
        let Ok(space) = self.disk.space() else {
            return; // what was seen last holds
        };
        let spares = self.segments.spares() as u64 * self.segment_bytes;
        let free_bytes = space.free_bytes.saturating_add(spares);
        self.total_bytes.store(space.total_bytes, Relaxed);
        self.free_bytes.store(free_bytes, Relaxed);
        let is_full = free_bytes < self.reserve_bytes;
        if self.is_full.swap(is_full, Relaxed) != is_full {
            let reserve_bytes = self.reserve_bytes;
            if is_full {
                warn!(free_bytes, reserve_bytes, "the disk is full down to its reserve");
            } else {
                info!(free_bytes, reserve_bytes, "the disk has room again");
            }
        }
    }

    /// Whether ordinary records are refused. Looks again as long as they are: nobody writes then who would.
    pub(super) fn is_full(&self) -> bool {
        if self.is_full.load(Relaxed) {
            self.look();
        }
        self.is_full.load(Relaxed)
    }

    /// Whether that many bytes can be used without touching the reserve.
    pub(super) fn is_above_reserve(&self, bytes: u64) -> bool {
        let free = self.disk.space().map_or(0, |space| space.free_bytes);
        free >= self.reserve_bytes.saturating_add(bytes)
    }

    pub(super) fn total_bytes(&self) -> u64 {
        self.total_bytes.load(Relaxed)
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Relaxed)
    }

    pub(super) fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes
    }
}
