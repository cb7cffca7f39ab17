//! Who reads which durable filter at which shard, and how far the last of them has come.
//!
//! The first reader of a filter confirms it to the shard of its messages, the last one to go drops it there, and what
//! all of them have done with is trimmed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use freshet_storage_contract::{Position, ShardId};

use super::inspect::ReadersOf;
use crate::codec::Code;
use crate::state::effects::Effects;
use crate::state::notes::Note;
use crate::state::rows::{Changes, RowError};
use crate::state::tight;

/// What a filter with readers costs beside its text, in bytes.
const FILTER_OVERHEAD_BYTES: u64 = 256;
/// Filters in one note.
const FILTERS_PER_NOTE: usize = 1_024;
/// A shard that has come further by so many positions has much to drop.
const MUCH: u64 = 4_096;
/// Positions for each filter that is told: it has a price.
const POSITIONS_PER_FILTER: u64 = 16;

/// Readers of all durable filters of a session shard.
#[derive(Debug, Default)]
pub(super) struct Readers {
    by_filter: BTreeMap<ShardId, BTreeMap<Box<[u8]>, FilterReaders>>,
    /// Filters whose shard could drop more than it was told.
    trims: BTreeSet<(ShardId, Bytes)>,
    /// Positions that the readers of one of them have come further by, at most. With the next field it says only when to
    /// tell, and is not kept.
    passed: u64,
    /// Only some of them were told the last time.
    is_telling: bool,
    bytes: u64,
    pub(super) changes: Changes<(ShardId, Bytes)>,
}

#[derive(Debug)]
struct FilterReaders {
    floors: Floors,
    /// Position of the last request for the filter that a reader has named.
    ensured: Position,
    /// What its shard was told to drop.
    trimmed: Position,
}

/// What shards of messages could drop and were not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trims {
    None,
    Some,
    /// Worth to be told soon.
    Much,
    /// The rest of what is being told.
    Rest,
}

/// How far readers have come: most often there is one.
#[derive(Debug)]
enum Floors {
    One(Position),
    #[expect(
        clippy::box_collection,
        reason = "there are millions of the other kind, which this one makes no larger"
    )]
    Many(Box<BTreeMap<Position, u32>>),
}

impl Readers {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What a filter that gets its first reader at a shard is charged with, and the note that says so.
    pub(super) fn cost_of(topic_filter: &Bytes) -> u64 {
        charged_bytes(topic_filter) + Note::cost_of(topic_filter)
    }

    /// A session reads a filter from `floor` on; `ensured` is the request that it names.
    pub(super) fn add(
        &mut self,
        shard: ShardId,
        topic_filter: &Bytes,
        floor: Position,
        ensured: Position,
        notes: &mut Effects<Note>,
    ) {
        let name = (shard, topic_filter.clone());
        if let Some(readers) = self.of_mut(shard, topic_filter) {
            readers.floors.add(floor);
            readers.ensured = readers.ensured.max(ensured);
            self.changes.change(name);
            return;
        }
        self.changes.add(name);
        self.insert(shard, topic_filter, floor, ensured);
        notes.send(
            shard,
            Note::Confirm {
                topic_filter: topic_filter.clone(),
                ensured,
            },
        );
    }

    /// A reader names a later request.
    pub(super) fn ensured(&mut self, shard: ShardId, topic_filter: &Bytes, ensured: Position) {
        if let Some(readers) = self.of_mut(shard, topic_filter) {
            readers.ensured = readers.ensured.max(ensured);
            self.changes.change((shard, topic_filter.clone()));
        }
    }

    /// A session no longer reads a filter.
    pub(super) fn remove(&mut self, shard: ShardId, topic_filter: &Bytes, floor: Position, notes: &mut Effects<Note>) {
        let name = (shard, topic_filter.clone());
        let Some(readers) = self.of_mut(shard, topic_filter) else {
            return;
        };
        if !readers.floors.remove(floor) {
            self.note_trim(name);
            return;
        }
        let ensured = readers.ensured;
        if let Some(of_shard) = self.by_filter.get_mut(&shard) {
            of_shard.remove(&topic_filter[..]);
        }
        self.trims.remove(&name);
        self.changes.remove(name.clone());
        self.bytes -= charged_bytes(topic_filter);
        notes.send(
            shard,
            Note::Drop {
                topic_filter: name.1,
                ensured,
            },
        );
    }

    /// A session has come further in a filter.
    pub(super) fn advance(&mut self, shard: ShardId, topic_filter: &Bytes, from: Position, to: Position) {
        if from == to {
            return;
        }
        if let Some(readers) = self.of_mut(shard, topic_filter) {
            readers.floors.add(to);
            readers.floors.remove(from);
            self.note_trim((shard, topic_filter.clone()));
        }
    }

    /// Who reads a filter; counts at most about `most` of them.
    pub(super) fn look(&self, shard: ShardId, topic_filter: &Bytes, most: usize) -> Option<ReadersOf> {
        let readers = self.of(shard, topic_filter)?;
        let (count, at_least) = readers.floors.count(most);
        let least = readers.floors.least();
        Some(ReadersOf { count, at_least, least })
    }

    fn of(&self, shard: ShardId, topic_filter: &[u8]) -> Option<&FilterReaders> {
        self.by_filter.get(&shard)?.get(topic_filter)
    }

    fn of_mut(&mut self, shard: ShardId, topic_filter: &[u8]) -> Option<&mut FilterReaders> {
        self.by_filter.get_mut(&shard)?.get_mut(topic_filter)
    }

    /// A filter gets its first reader.
    fn insert(&mut self, shard: ShardId, topic_filter: &Bytes, floor: Position, ensured: Position) {
        self.bytes += charged_bytes(topic_filter);
        let readers = FilterReaders {
            floors: Floors::One(floor),
            ensured,
            trimmed: Position::default(),
        };
        let of_shard = self.by_filter.entry(shard).or_default();
        of_shard.insert(topic_filter[..].into(), readers);
    }

    fn note_trim(&mut self, name: (ShardId, Bytes)) {
        let Some(readers) = self.of(name.0, &name.1) else {
            return;
        };
        let passed = readers.floors.least().0.saturating_sub(readers.trimmed.0);
        if passed > 0 {
            self.passed = self.passed.max(passed);
            self.changes.change(name.clone());
            self.trims.insert(name);
        }
    }

    /// How soon shards are to be told what they can drop. What they drop at once holds up everything else there.
    pub(super) fn trims(&self) -> Trims {
        let filters = u64::try_from(self.trims.len()).unwrap_or(u64::MAX);
        if filters == 0 {
            Trims::None
        } else if self.is_telling {
            Trims::Rest
        } else if self.passed >= MUCH.max(filters.saturating_mul(POSITIONS_PER_FILTER)) {
            Trims::Much
        } else {
            Trims::Some
        }
    }

    /// Tells shards what they can drop, about up to `limit` filters.
    pub(super) fn send_trims(&mut self, limit: usize, notes: &mut Effects<Note>) {
        let mut of_shard: Option<(ShardId, Vec<(Bytes, Position)>)> = None;
        for _ in 0..limit {
            let Some(name) = self.trims.pop_first() else { break };
            let Some(readers) = self.of_mut(name.0, &name.1) else {
                continue;
            };
            let trimmed = readers.floors.least();
            readers.trimmed = trimmed;
            self.changes.change(name.clone());
            let (shard, trim) = (name.0, (name.1, trimmed));
            match &mut of_shard {
                Some((of, filters)) if *of == shard && filters.len() < FILTERS_PER_NOTE => filters.push(trim),
                _ => {
                    if let Some((target, filters)) = of_shard.replace((shard, vec![trim])) {
                        notes.send(target, Note::Trim { filters });
                    }
                }
            }
        }
        if let Some((target, filters)) = of_shard {
            notes.send(target, Note::Trim { filters });
        }
        self.is_telling = !self.trims.is_empty();
        self.passed = 0;
    }
}

impl Readers {
    /// A filter's row: the last request, what its shard was told, and whether it is to be told more.
    pub(super) fn row(&self, name: &(ShardId, Bytes)) -> Option<Bytes> {
        let readers = self.of(name.0, &name.1)?;
        Some(((readers.ensured, readers.trimmed), self.trims.contains(name)).to_bytes())
    }

    /// A session that is taken back reads a filter from `floor` on.
    pub(super) fn restore(&mut self, shard: ShardId, topic_filter: &Bytes, floor: Position) {
        match self.of_mut(shard, topic_filter) {
            Some(readers) => readers.floors.add(floor),
            None => self.insert(shard, topic_filter, floor, Position::default()),
        }
    }

    pub(super) fn tighten(&mut self) {
        self.by_filter.values_mut().for_each(tight::fill);
    }

    /// Takes back the row of a filter whose sessions are there.
    pub(super) fn restore_row(&mut self, name: &(ShardId, Bytes), value: Bytes) -> Result<(), RowError> {
        let ((ensured, trimmed), is_to_trim) = Code::from_bytes(value)?;
        let readers = self.of_mut(name.0, &name.1).ok_or(RowError::Missing)?;
        readers.ensured = ensured;
        readers.trimmed = trimmed;
        if is_to_trim {
            self.trims.insert((name.0, Bytes::copy_from_slice(&name.1)));
        }
        Ok(())
    }
}

#[cfg(test)]
impl Readers {
    pub(super) fn mark_all(&mut self) {
        for (shard, of_shard) in &self.by_filter {
            for topic_filter in of_shard.keys() {
                self.changes.change((*shard, Bytes::copy_from_slice(topic_filter)));
            }
        }
    }
}

fn charged_bytes(topic_filter: &Bytes) -> u64 {
    topic_filter.len() as u64 + FILTER_OVERHEAD_BYTES
}

impl Floors {
    fn add(&mut self, floor: Position) {
        match self {
            Self::One(one) => {
                let mut many = BTreeMap::from([(*one, 1)]);
                *many.entry(floor).or_default() += 1;
                *self = Self::Many(Box::new(many));
            }
            Self::Many(many) => *many.entry(floor).or_default() += 1,
        }
    }

    /// Removes one reader. True: it was the last.
    fn remove(&mut self, floor: Position) -> bool {
        let Self::Many(many) = self else { return true };
        if let Some(count) = many.get_mut(&floor) {
            *count -= 1;
            if *count == 0 {
                many.remove(&floor);
            }
        }
        if many.len() == 1
            && let Some((one, 1)) = many.first_key_value()
        {
            *self = Self::One(*one);
        }
        false
    }

    /// Readers; of those who have come to different places at most about `most` are counted, and true says so.
    fn count(&self, most: usize) -> (u64, bool) {
        match self {
            Self::One(_) => (1, false),
            Self::Many(many) => {
                let counted = many.values().take(most).map(|count| u64::from(*count)).sum();
                (counted, many.len() > most)
            }
        }
    }

    fn least(&self) -> Position {
        match self {
            Self::One(one) => *one,
            Self::Many(many) => many.first_key_value().map_or(Position::default(), |(floor, _)| *floor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_counted_as_far_as_they_were_asked_for() {
        let (mut readers, mut notes) = (Readers::default(), Effects::default());
        let (shard, filter) = (ShardId(0), Bytes::from_static(b"a"));
        let look = |readers: &Readers, most| {
            let look = readers.look(shard, &filter, most).unwrap();
            (look.count, look.at_least, look.least.0)
        };
        readers.add(shard, &filter, Position(7), Position(1), &mut notes);
        assert_eq!(look(&readers, 1), (1, false, 7));
        // Two have come as far as each other.
        for floor in [5, 5, 9] {
            readers.add(shard, &filter, Position(floor), Position(1), &mut notes);
        }
        assert_eq!(look(&readers, 3), (4, false, 5));
        assert_eq!(look(&readers, 2), (3, true, 5));
    }
}
