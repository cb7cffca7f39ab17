//! Publications that a proxy has numbered, as long as it may repeat them.
//!
//! A proxy sends again what it had sent when a leader, or its own lease, ended before the answer. It is known by the number
//! that the proxy's process gave it: otherwise QoS 2 would be two messages where the client's session keeps no exchange,
//! and QoS 1 would take the place of what was retained behind it. Only what leaves something behind is noted. It goes when
//! a later publication says that it was answered, or some time after the last one of the process.

mod rows;

use std::collections::{BTreeMap, BTreeSet};

use freshet_storage_contract::{IncarnationId, Position};

use super::rows::Changes;
use crate::log::LastingNumber;

/// What a process costs beside its numbers, in bytes.
const ORIGIN_BYTES: u64 = 160;
/// What a number costs, in bytes.
const NUMBER_BYTES: u64 = 32;
/// How long numbers are kept behind the last one of their process, ms of log time: several times what a proxy holds a
/// publication for while it cannot reach storage.
const KEPT_MS: u64 = 60_000;
/// How exactly that is kept, ms: not each publication moves it.
const KEPT_STEP_MS: u64 = 1_000;

/// The numbers that a shard has of all processes.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    origins: BTreeMap<IncarnationId, Origin>,
    /// By the log time at which they go, in ms.
    ends: BTreeSet<(u64, IncarnationId)>,
    numbers: u64,
    changes: Changes<IncarnationId>,
}

#[derive(Debug, Default)]
struct Origin {
    /// With the positions of their messages.
    numbers: BTreeMap<u64, Position>,
    /// When it goes unless something comes before, ms of log time.
    goes_ms: u64,
}

impl Origins {
    /// Numbers of all processes.
    pub(crate) fn rows(&self) -> u64 {
        self.numbers
    }

    /// Bytes charged for numbers and processes.
    pub(crate) fn bytes(&self) -> u64 {
        self.origins.len() as u64 * ORIGIN_BYTES + self.numbers * NUMBER_BYTES
    }

    /// What another number of this process would be charged with.
    pub(crate) fn cost_of(&self, of: LastingNumber) -> u64 {
        let is_known = self.origins.contains_key(&of.origin);
        NUMBER_BYTES + if is_known { 0 } else { ORIGIN_BYTES }
    }

    /// Notes a publication that comes at `position`. Some: it has come before, there.
    pub(super) fn insert(&mut self, of: LastingNumber, position: Position, log_time_ms: u64) -> Option<Position> {
        let LastingNumber { origin, number, oldest } = of;
        if self.origins.contains_key(&origin) {
            self.changes.change(origin);
        } else {
            self.changes.add(origin);
        }
        let of_origin = self.origins.entry(origin).or_default();
        let goes_ms = (log_time_ms / KEPT_STEP_MS + 1)
            .saturating_mul(KEPT_STEP_MS)
            .saturating_add(KEPT_MS);
        if goes_ms > of_origin.goes_ms {
            self.ends.remove(&(of_origin.goes_ms, origin));
            self.ends.insert((goes_ms, origin));
            of_origin.goes_ms = goes_ms;
        }
        while let Some(first) = of_origin.numbers.first_entry().filter(|first| *first.key() < oldest) {
            first.remove();
            self.numbers -= 1;
        }
        if let Some(first) = of_origin.numbers.get(&number) {
            return Some(*first);
        }
        of_origin.numbers.insert(number, position);
        self.numbers += 1;
        None
    }

    /// Forgets up to `limit` processes whose time has passed; returns how many.
    pub(super) fn expire(&mut self, log_time_ms: u64, limit: usize) -> usize {
        let mut count = 0;
        while count < limit
            && self.next_expiry().is_some_and(|goes_ms| goes_ms <= log_time_ms)
            && let Some((_, origin)) = self.ends.pop_first()
        {
            self.changes.remove(origin);
            let gone = self.origins.remove(&origin);
            self.numbers -= gone.map_or(0, |gone| gone.numbers.len() as u64);
            count += 1;
        }
        count
    }

    /// When the first process goes, ms of log time.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.ends.first().map(|(goes_ms, _)| *goes_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(origin: u128, number: u64, oldest: u64) -> LastingNumber {
        LastingNumber {
            origin: IncarnationId(origin),
            number,
            oldest,
        }
    }

    #[test]
    fn a_number_is_known_until_its_process_says_that_it_was_answered() {
        let mut origins = Origins::default();
        for number in 1..=3 {
            assert_eq!(origins.insert(of(1, number, 1), Position(number), 0), None);
        }
        assert_eq!(origins.insert(of(1, 2, 1), Position(9), 0), Some(Position(2)));
        assert_eq!(origins.insert(of(2, 2, 1), Position(10), 0), None, "of another process");
        assert_eq!(origins.insert(of(1, 4, 3), Position(11), 0), None);
        assert_eq!(origins.rows(), 3, "3 and 4 of the first, 2 of the other");
        assert_eq!(origins.insert(of(1, 3, 3), Position(12), 0), Some(Position(3)));
    }

    #[test]
    fn a_process_that_sends_nothing_more_is_forgotten_after_some_time() {
        let mut origins = Origins::default();
        origins.insert(of(1, 1, 1), Position(1), 0);
        origins.insert(of(2, 1, 1), Position(2), 0);
        origins.insert(of(2, 2, 1), Position(3), 30_000);
        assert_eq!(origins.expire(KEPT_MS, 9), 0);
        let due = origins.next_expiry().unwrap();
        assert!(due <= KEPT_MS + KEPT_STEP_MS);
        assert_eq!(origins.expire(due, 9), 1);
        assert_eq!(origins.insert(of(2, 1, 1), Position(4), due), Some(Position(2)));
        assert_eq!(origins.expire(u64::MAX, 9), 1);
        assert_eq!((origins.rows(), origins.bytes(), origins.next_expiry()), (0, 0, None));
    }
}
