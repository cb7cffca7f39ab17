//! What waits for the writer, bounded.
//!
//! What is being written counts as well until it is durable, so memory is bounded by the queue's bounds and nothing
//! else. Over them nothing is taken: who appends keeps its records and comes again when something has become durable,
//! which is sure to happen then.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Record, handle::RefusedBecause};

/// How long the writer waits for room on a full disk before it looks itself: others delete files too.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(1);

/// Records on their way to the writer.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something has come, or the end.
    changed: Condvar,
    bounds: Bounds,
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) records: usize,
    pub(super) bytes: usize,
    pub(super) record_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Record>,
    /// Taken by the queue and not durable yet.
    records: usize,
    bytes: usize,
    /// The last position of each shard that was taken.
    last: BTreeMap<u32, u64>,
    room_made: bool,
    ends: bool,
    ended: bool,
}

impl Queue {
    pub(super) fn new(bounds: Bounds, last: BTreeMap<u32, u64>) -> Self {
        Self {
            state: Mutex::new(State {
                last,
                ..State::default()
            }),
            changed: Condvar::new(),
            bounds,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all of the records, or none.
    ///
    /// # Errors
    /// Why none was taken, with the records.
    pub(super) fn push(&self, records: Vec<Record>) -> Result<(), (Vec<Record>, RefusedBecause)> {
        let mut state = self.state();
        if let Some(reason) = self.refuses(&state, &records) {
            return Err((records, reason));
        }
        for record in &records {
            state.last.insert(record.shard, record.position);
            state.bytes += record.bytes.len();
        }
        state.records += records.len();
        state.waiting.extend(records);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    fn refuses(&self, state: &State, records: &[Record]) -> Option<RefusedBecause> {
        if state.ends || state.ended {
            return Some(RefusedBecause::Stopped);
        }
        if records
            .iter()
            .any(|record| record.bytes.len() > self.bounds.record_bytes)
        {
            return Some(RefusedBecause::TooLarge);
        }
        let mut last: BTreeMap<u32, u64> = BTreeMap::new();
        for record in records {
            let before = last.insert(record.shard, record.position);
            if before.or_else(|| state.last.get(&record.shard).copied()) >= Some(record.position) {
                return Some(RefusedBecause::OutOfOrder);
            }
        }
        let bytes: usize = records.iter().map(|record| record.bytes.len()).sum();
        let is_over = state.bytes + bytes > self.bounds.bytes || state.records + records.len() > self.bounds.records;
        // What is larger than the whole queue goes through an empty one: it would wait for ever.
        (is_over && state.records > 0).then_some(RefusedBecause::QueueFull)
    }

    /// Moves everything that waits behind `pending`. With nothing in there, waits for something to come; false: there
    /// is nothing, and nothing will come.
    pub(super) fn take(&self, pending: &mut VecDeque<Record>) -> bool {
        let mut state = self.state();
        while pending.is_empty() && state.waiting.is_empty() {
            if state.ends {
                return false;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        pending.append(&mut state.waiting);
        true
    }

    /// These are durable.
    pub(super) fn done(&self, records: usize, bytes: usize) {
        let mut state = self.state();
        state.records = state.records.saturating_sub(records);
        state.bytes = state.bytes.saturating_sub(bytes);
    }

    /// Waits until somebody has made room on the disk, or for a moment; false: the end has come.
    pub(super) fn wait_for_room(&self) -> bool {
        let state = self.state();
        let waited = self
            .changed
            .wait_timeout_while(state, LOOK_FOR_ROOM, |state| !state.room_made && !state.ends);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.room_made = false;
        !state.ends
    }

    /// There may be room on the disk.
    pub(super) fn room_made(&self) {
        self.state().room_made = true;
        self.changed.notify_all();
    }

    /// Nothing more is taken; what was taken is written.
    pub(super) fn end(&self) {
        self.state().ends = true;
        self.changed.notify_all();
    }

    /// Nobody writes any more.
    pub(super) fn ended(&self) {
        let mut state = self.state();
        state.ended = true;
        state.waiting.clear();
        drop(state);
        self.changed.notify_all();
    }

    /// Records and bytes that were taken and are not durable yet.
    pub(super) fn depth(&self) -> (usize, usize) {
        let state = self.state();
        (state.records, state.bytes)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn queue() -> Queue {
        let bounds = Bounds {
            records: 3,
            bytes: 100,
            record_bytes: 150,
        };
        Queue::new(bounds, [(1, 10)].into())
    }

    fn record(shard: u32, position: u64, bytes: usize) -> Record {
        Record {
            shard,
            position,
            kind: 0,
            bytes: Bytes::from(vec![0; bytes]),
        }
    }

    fn push(queue: &Queue, records: &[Record]) -> Option<RefusedBecause> {
        queue.push(records.to_vec()).err().map(|(_, reason)| reason)
    }

    #[test]
    fn what_is_over_the_bounds_is_refused_until_something_is_durable() {
        let queue = queue();
        assert_eq!(push(&queue, &[record(2, 1, 60)]), None);
        assert_eq!(push(&queue, &[record(2, 2, 41)]), Some(RefusedBecause::QueueFull));
        let mut pending = VecDeque::new();
        assert!(queue.take(&mut pending));
        assert_eq!(
            push(&queue, &[record(2, 2, 41)]),
            Some(RefusedBecause::QueueFull),
            "it is being written"
        );
        queue.done(1, 60);
        assert_eq!(push(&queue, &[record(2, 2, 41), record(2, 3, 0)]), None);
        assert_eq!(
            push(&queue, &[record(2, 4, 0), record(2, 5, 0)]),
            Some(RefusedBecause::QueueFull)
        );
        assert_eq!(queue.depth(), (2, 41));
    }

    #[test]
    fn what_is_larger_than_the_queue_goes_through_an_empty_one() {
        let queue = queue();
        assert_eq!(push(&queue, &[record(1, 11, 140)]), None);
        assert_eq!(push(&queue, &[record(1, 12, 151)]), Some(RefusedBecause::TooLarge));
    }

    #[test]
    fn positions_of_a_shard_grow() {
        let queue = queue();
        assert_eq!(push(&queue, &[record(1, 10, 0)]), Some(RefusedBecause::OutOfOrder));
        assert_eq!(
            push(&queue, &[record(1, 12, 0), record(1, 11, 0)]),
            Some(RefusedBecause::OutOfOrder)
        );
        assert_eq!(push(&queue, &[record(1, 12, 0), record(0, 1, 0)]), None);
        assert_eq!(push(&queue, &[record(1, 12, 0)]), Some(RefusedBecause::OutOfOrder));
    }

    #[test]
    fn what_was_taken_before_the_end_is_still_written() {
        let queue = queue();
        push(&queue, &[record(1, 11, 1)]);
        queue.end();
        assert_eq!(push(&queue, &[record(1, 12, 1)]), Some(RefusedBecause::Stopped));
        let mut pending = VecDeque::new();
        assert!(queue.take(&mut pending));
        assert_eq!(pending.len(), 1);
        assert!(!queue.take(&mut VecDeque::new()));
    }
}
