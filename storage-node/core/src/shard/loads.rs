//! Readers that wait for content which is on disk alone: which messages are asked for, and when a reader goes on.
//!
//! A reader that cannot go on waits by the first position that it needs. Readers are admitted in that order, from the lowest
//! position to the highest and round again, as long as what they need together fits into a bound: what is asked for then
//! lies together on disk, however many sessions come back at once. The more wait, the less each is admitted for, and a chunk
//! ends where that does. What several need is asked for once. It stays in memory until those who waited for it have read it,
//! and no longer: who reads slowly takes nothing from others, and waits again.
//!
//! Soft state of a leader. An answer that nobody waits for any more is passed over.

use std::collections::{BTreeMap, BTreeSet};

use freshet_storage_contract::{MonotonicMs, Position};

use super::Shard;
use super::groups::GroupAt;
use super::reads::{MAX_CHUNK_BYTES, Read};
use crate::incarnations::PeerKey;
use crate::log::CommitLog;
use crate::state::{Content, Missing, RowError};
use crate::turn::Turn;

/// Of the bytes that may be in memory, the part that may be on its way to readers.
const PART_OF_RESIDENT: u64 = 4;
/// Messages of a group that are brought back at once.
const MESSAGES_PER_GROUP: usize = 1_024;

/// Who waits.
#[derive(Debug)]
pub(super) enum Reader {
    /// A proxy's read.
    Peer(PeerKey, Read),
    /// A group with messages for proxies.
    Group(GroupAt),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Loads {
    /// By the first position that each needs.
    waiting: BTreeMap<(Position, u64), Reader>,
    /// Where the next reader is looked for.
    next_from: Position,
    admitted: BTreeMap<u64, Admitted>,
    /// Of these, those whose messages are there.
    ready: BTreeSet<u64>,
    /// Groups that wait or are admitted.
    groups: BTreeSet<GroupAt>,
    wanted: BTreeMap<Position, Wanted>,
    /// What wanted messages are charged with.
    bytes: u64,
    last_id: u64,
    /// What is to be asked for, ascending as far as readers were admitted together.
    to_ask: Vec<Position>,
}

#[derive(Debug)]
struct Admitted {
    /// None: it has gone.
    reader: Reader,
    positions: Vec<Position>,
    /// Of these, how many are not there.
    outstanding: usize,
}

#[derive(Debug)]
struct Wanted {
    readers: Vec<u64>,
    bytes: u64,
    is_there: bool,
}

impl Loads {
    /// A reader cannot go on without the content of the message at `first`.
    pub(super) fn wait(&mut self, first: Position, reader: Reader) {
        if let Reader::Group(at) = reader
            && !self.groups.insert(at)
        {
            return;
        }
        self.last_id += 1;
        self.waiting.insert((first, self.last_id), reader);
    }

    /// Reads of proxies that wait.
    pub(super) fn reads(&self) -> usize {
        self.waiting.len() + self.admitted.len() - self.groups.len()
    }

    /// Takes what is to be asked for.
    pub(super) fn take_to_ask(&mut self) -> Vec<Position> {
        std::mem::take(&mut self.to_ask)
    }

    /// Whether somebody waits for the message.
    fn is_wanted(&self, position: Position) -> bool {
        self.wanted.get(&position).is_some_and(|wanted| !wanted.is_there)
    }

    /// The message is there, or has gone.
    fn arrived(&mut self, position: Position) {
        let Some(wanted) = self.wanted.get_mut(&position).filter(|wanted| !wanted.is_there) else {
            return;
        };
        wanted.is_there = true;
        for id in &wanted.readers {
            if let Some(admitted) = self.admitted.get_mut(id) {
                admitted.outstanding = admitted.outstanding.saturating_sub(1);
                if admitted.outstanding == 0 {
                    self.ready.insert(*id);
                }
            }
        }
    }

    /// Takes a reader that goes on, and what is to be given to [`Self::done`] behind that.
    fn take_ready(&mut self) -> Option<(u64, Reader, Vec<Position>)> {
        let id = self.ready.pop_first()?;
        let Admitted { reader, positions, .. } = self.admitted.remove(&id)?;
        self.forget_group(&reader);
        Some((id, reader, positions))
    }

    /// A reader needs these messages no more. Returns those that nobody needs.
    fn done(&mut self, id: u64, positions: Vec<Position>) -> Vec<Position> {
        let mut unneeded = positions;
        unneeded.retain(|position| {
            let Some(wanted) = self.wanted.get_mut(position) else {
                return false;
            };
            wanted.readers.retain(|reader| *reader != id);
            if !wanted.readers.is_empty() {
                return false;
            }
            self.bytes -= wanted.bytes;
            self.wanted.remove(position);
            true
        });
        unneeded
    }

    /// Takes the next reader that may be admitted within `bound_bytes`, and how many bytes for. One always may.
    fn next(&mut self, bound_bytes: u64) -> Option<(Reader, usize)> {
        if self.bytes >= bound_bytes && !self.wanted.is_empty() {
            return None;
        }
        let from = (self.next_from, 0);
        let next = self.waiting.range(from..).next().or_else(|| self.waiting.iter().next());
        let key = *next?.0;
        let readers = (self.waiting.len() + self.admitted.len()) as u64;
        self.next_from = key.0;
        let reader = self.waiting.remove(&key)?;
        let bytes = usize::try_from(bound_bytes / readers.max(1)).unwrap_or(usize::MAX);
        Some((reader, bytes.min(MAX_CHUNK_BYTES)))
    }

    /// Admits a reader: what it needs is asked for.
    fn admit(&mut self, reader: Reader, missing: Missing) {
        self.last_id += 1;
        let id = self.last_id;
        let mut positions = Vec::with_capacity(missing.messages.len());
        let mut outstanding = 0;
        for (position, bytes) in missing.messages {
            let (to_ask, sum) = (&mut self.to_ask, &mut self.bytes);
            let wanted = self.wanted.entry(position).or_insert_with(|| {
                to_ask.push(position);
                *sum += bytes;
                Wanted {
                    readers: Vec::new(),
                    bytes,
                    is_there: false,
                }
            });
            wanted.readers.push(id);
            outstanding += usize::from(!wanted.is_there);
            positions.push(position);
        }
        if outstanding == 0 {
            self.ready.insert(id);
        }
        let admitted = Admitted {
            reader,
            positions,
            outstanding,
        };
        self.admitted.insert(id, admitted);
    }

    fn forget_group(&mut self, reader: &Reader) {
        if let Reader::Group(at) = reader {
            self.groups.remove(at);
        }
    }

    /// Forgets the reads of a proxy. Returns the messages that nobody needs any more.
    fn forget_peer(&mut self, key: PeerKey) -> Vec<Position> {
        let is_its_own = |reader: &Reader| matches!(reader, Reader::Peer(of, _) if *of == key);
        self.waiting.retain(|_, reader| !is_its_own(reader));
        let gone: Vec<(u64, Admitted)> = self
            .admitted
            .extract_if(.., |_, admitted| is_its_own(&admitted.reader))
            .collect();
        let mut unneeded = Vec::new();
        for (id, admitted) in gone {
            self.ready.remove(&id);
            unneeded.extend(self.done(id, admitted.positions));
        }
        unneeded
    }
}

impl<L: CommitLog> Shard<L> {
    /// The row of a message that was asked for; none: there is none.
    ///
    /// # Errors
    /// The row is not one, or is missing.
    pub(crate) fn take_loaded(&mut self, position: Position, row: Option<bytes::Bytes>) -> Result<(), RowError> {
        if !self.loads.is_wanted(position) {
            return Ok(());
        }
        self.counters.loaded_bytes_total += row.as_ref().map_or(0, |row| row.len() as u64);
        self.state.queues.bring(position, row)?;
        self.loads.arrived(position);
        Ok(())
    }

    /// Rows that were asked for have come.
    pub(crate) fn go_on_reading(&mut self, turn: &mut Turn<'_>) {
        self.settle(turn);
    }

    /// Takes the positions whose rows are to be brought back.
    pub(crate) fn take_to_load(&mut self) -> Vec<Position> {
        let positions = self.loads.take_to_ask();
        self.counters.loads_total += positions.len() as u64;
        positions
    }

    /// Readers whose messages are there go on, and others are admitted in their place.
    pub(super) fn run_loads(&mut self, turn: &mut Turn<'_>) {
        let shards = u64::from(turn.settings.shards).max(1);
        let bound_bytes = turn.settings.queued_resident_bytes / PART_OF_RESIDENT / shards;
        loop {
            if let Some((id, reader, positions)) = self.loads.take_ready() {
                self.go_on(reader, turn);
                for position in self.loads.done(id, positions) {
                    self.state.queues.let_go(position);
                }
                continue;
            }
            let Some((reader, max_bytes)) = self.loads.next(bound_bytes) else {
                return;
            };
            let missing = self.missing_of(&reader, max_bytes, turn.now);
            if missing.is_empty() {
                self.loads.forget_group(&reader);
                self.go_on(reader, turn);
            } else {
                self.loads.admit(reader, missing);
            }
        }
    }

    fn go_on(&mut self, reader: Reader, turn: &mut Turn<'_>) {
        match reader {
            Reader::Peer(key, read) => self.read_on(key, read, turn),
            Reader::Group(at) => self.give(at, turn),
        }
    }

    /// What a reader needs now, at most about `max_bytes` of it.
    fn missing_of(&self, reader: &Reader, max_bytes: usize, now: MonotonicMs) -> Missing {
        let log_time_ms = self.clock.log_time_ms(now);
        let queues = &self.state.queues;
        match reader {
            Reader::Peer(_, Read::Queued(pull)) => queues.pull(pull, max_bytes, log_time_ms).missing,
            Reader::Peer(_, Read::Messages(fetch)) => queues.fetch(&fetch.positions, max_bytes, log_time_ms).missing,
            Reader::Peer(_, Read::Retained(_)) => Missing::default(),
            Reader::Group(at) => {
                let mut missing = Missing::default();
                let window = self.groups.free_window(*at).min(MESSAGES_PER_GROUP);
                for position in self.groups.coming(*at, queues).take(window) {
                    if let Some((Content::OnDisk { bytes }, false)) = queues.read(position, log_time_ms)
                        && !missing.add(position, bytes, max_bytes)
                    {
                        break;
                    }
                }
                missing
            }
        }
    }

    /// The reads of a proxy that wait for content are over.
    pub(super) fn forget_loads(&mut self, key: PeerKey) {
        for position in self.loads.forget_peer(key) {
            self.state.queues.let_go(position);
        }
    }

    /// All readers have gone.
    pub(super) fn forget_all_loads(&mut self) {
        let loads = std::mem::take(&mut self.loads);
        for position in loads.wanted.into_keys() {
            self.state.queues.let_go(position);
        }
    }
}
