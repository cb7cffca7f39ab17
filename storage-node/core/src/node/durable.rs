//! A node whose log is on a disk: records to be flushed go out, and what is flushed acts.
//!
//! The shell takes records behind each turn, hands them to whoever writes the log, and says what has been flushed
//! ([`StorageCore::flushed`]). Nothing that has to be safe is answered, routed or carried to another shard before. At its
//! start it hands back what it has kept ([`Restore`]).

use bytes::Bytes;
use freshet_storage_contract::{Answer, MonotonicMs, Placement, PlacementError, Position, ShardId, Term};
use thiserror::Error;

use super::{StorageCore, shard_id};
use crate::codec::{Code, DecodeError};
use crate::hash::KeyedHash;
use crate::log::{Command, CommitLog, DurableLog, Entry, NodeLog, floor_of};
use crate::outputs::Outputs;
use crate::planted::reached;
use crate::settings::StorageSettings;
use crate::shard::Shard;
use crate::state::{RowError, State};

impl StorageCore {
    /// Takes the records of entries that were proposed since the last call: (shard, position, bytes). Positions of a
    /// shard grow by one. To be flushed in this order; what comes later must not be there without what came before. A
    /// node without a disk has none.
    pub fn take_records(&mut self) -> impl Iterator<Item = (ShardId, Position, Bytes)> + '_ {
        let mut of_shard = std::mem::take(&mut self.records_of_shard);
        for (at, shard) in self.shards.iter_mut().enumerate() {
            shard.log_mut().take_records(&mut of_shard);
            let records = of_shard.drain(..);
            self.records
                .extend(records.map(|(position, bytes)| (shard_id(at), position, bytes)));
        }
        self.records_of_shard = of_shard;
        reached!(RecordsTaken);
        self.records.drain(..)
    }

    /// Records of these shards are flushed, up to these positions: their entries act now.
    pub fn flushed(&mut self, through: &[(ShardId, Position)], now: MonotonicMs, out: &mut Outputs) {
        let (shards, mut turn) = self.turn(now, out);
        for (shard, position) in through {
            if let Some(shard) = shards.get_mut(usize::from(shard.0)) {
                shard.flushed(*position, &mut turn);
            }
        }
        self.exchange_effects(now, out);
        self.answer_renewals(now, out);
    }

    /// Answers renewals before which everything is safe.
    fn answer_renewals(&mut self, now: MonotonicMs, out: &mut Outputs) {
        let is_safe = |shards: &[Shard<NodeLog>], behind: &[Position]| {
            shards
                .iter()
                .zip(behind)
                .all(|(shard, behind)| shard.has_applied(*behind))
        };
        while let Some(renewal) = self.renewals.pop_front() {
            if !is_safe(&self.shards, &renewal.behind) {
                self.renewals.push_front(renewal);
                return;
            }
            let (_, mut turn) = self.turn(now, out);
            turn.answer(renewal.key, Answer::LeaseRenewed);
        }
    }
}

impl StorageCore {
    /// Hands over rows that have changed, with their values (none: the row has ended), for a checkpoint: about `max_rows` of
    /// them, or as many as come to 4 KiB for each of these, so that it does not hold up what else there is to do. To be
    /// called once per turn while a checkpoint is under way.
    ///
    /// None: the round goes on with the next call. Else the positions of the shards at which all rows handed over in this
    /// round and in those before it are their state: with them the checkpoint is whole, and records up to them are not
    /// needed any more. Rows of one key may come several times in a round: the last is what counts.
    pub fn take_changes(
        &mut self,
        max_rows: usize,
        mut take: impl FnMut(ShardId, Bytes, Option<Bytes>),
    ) -> Option<Vec<(ShardId, Position)>> {
        let mut taken = 0_usize;
        while let Some(shard) = self.shards.get_mut(self.round.len()) {
            let id = shard_id(self.round.len());
            let left = shard.changed_rows();
            // One that changes faster than it is written would never be done.
            self.round_rows = if left >= self.round_left {
                self.round_rows.saturating_mul(2)
            } else {
                max_rows.max(1)
            };
            let done = shard.take_changes(self.round_rows, &mut |key, value| take(id, key, value));
            reached!(RowsTaken);
            let Some(applied) = done else {
                self.round_left = left;
                return None;
            };
            self.round_left = usize::MAX;
            self.round.push((id, applied));
            taken += left;
            if taken >= max_rows && self.round.len() < self.shards.len() {
                return None;
            }
        }
        Some(std::mem::take(&mut self.round))
    }
}

/// Why a node cannot go on with what it has kept. It must not start: it would forget what it has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// The shards of the cluster are others than those of what was kept.
    #[error("there is no shard {0}: the number of shards cannot change")]
    UnknownShard(ShardId),
    /// A row is not one.
    #[error("shard {shard}: a row cannot be read: {cause}")]
    Row {
        /// The shard.
        shard: ShardId,
        /// Why.
        cause: RowError,
    },
    /// A record is not one.
    #[error("shard {shard}: the record at position {position} cannot be read: {cause}")]
    Record {
        /// The shard.
        shard: ShardId,
        /// Its position.
        position: Position,
        /// Why.
        cause: DecodeError,
    },
    /// Records are not there that had been: files of the log were deleted, or are of another time than the checkpoint.
    #[error(
        "shard {shard}: the log goes on at position {found}, and what is known ends at {known}: entries in between are \
         missing, and with them what was acknowledged; put back all files of the folder as they were together, or give up \
         what it held and begin with an empty one"
    )]
    Missing {
        /// The shard.
        shard: ShardId,
        /// The last position before; 0: the log has no beginning, and no checkpoint stands for it.
        known: Position,
        /// The first one behind.
        found: Position,
    },
}

/// Whether an entry is the one behind `applied`. The first one of a log begins a term, and stands where that says.
fn follows(applied: Position, position: Position, entry: &Entry) -> bool {
    match (applied, &entry.command) {
        (Position(0), Command::BeginTerm { term }) => position.0 == floor_of(*term).0 + 1,
        (Position(0), _) => false,
        (applied, _) => position.0 == applied.0 + 1,
    }
}

/// A node that is being put together from what it has kept, in this order: records behind what has been applied.
#[derive(Debug)]
pub struct Restore {
    settings: StorageSettings,
    placement: Placement,
    shards: Vec<State>,
}

impl Restore {
    /// Begins with nothing: a node that starts for the first time goes on from here.
    ///
    /// # Errors
    /// [`PlacementError`] when shards or placement rules cannot be used.
    pub fn new(settings: StorageSettings) -> Result<Self, PlacementError> {
        let placement = Placement::new(&settings.cluster_uid, settings.shards, &settings.placement_rules)?;
        let hash = KeyedHash::new(settings.hash_seed);
        let shards = (0..settings.shards).map(|_| State::new(hash.clone())).collect();
        Ok(Self {
            settings,
            placement,
            shards,
        })
    }

    fn state(&mut self, shard: ShardId) -> Result<&mut State, RestoreError> {
        self.shards
            .get_mut(usize::from(shard.0))
            .ok_or(RestoreError::UnknownShard(shard))
    }

    /// Takes a row of the last checkpoint that is whole. Rows of a shard come in the order of their keys, and before its
    /// records.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn row(&mut self, shard: ShardId, key: Bytes, value: &[u8]) -> Result<(), RestoreError> {
        let resident_bytes = self.settings.queued_resident_bytes / u64::from(self.settings.shards).max(1);
        let state = self.state(shard)?;
        state
            .restore_row(key, value)
            .map_err(|cause| RestoreError::Row { shard, cause })?;
        // What is read here can be read again.
        state.queues.give_up_beyond(resident_bytes);
        Ok(())
    }

    /// Takes a record of the log, in order of positions: each follows the one before, or what the checkpoint has. One that
    /// has been applied already is passed over (false).
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn record(&mut self, shard: ShardId, position: Position, record: Bytes) -> Result<bool, RestoreError> {
        let state = self.state(shard)?;
        if position <= state.applied {
            return Ok(false);
        }
        let entry = Entry::from_bytes(record).map_err(|cause| RestoreError::Record { shard, position, cause })?;
        if !follows(state.applied, position, &entry) {
            let (known, found) = (state.applied, position);
            return Err(RestoreError::Missing { shard, known, found });
        }
        // What changes from here on is not in the checkpoint.
        state.track_changes();
        state.apply(position, &entry);
        Ok(true)
    }

    /// The node as it goes on. Its term is above all earlier ones, and at least `term_floor`; publications and clients wait
    /// for the recovery hold, from the first proxy on, until proxies have named their interest and their clients.
    ///
    /// What it proposes at once, in [`StorageCore::take_records`], is to be flushed before the first proxy attaches: it
    /// names the term, which the next life must not use again.
    #[must_use]
    pub fn finish(self, term_floor: Term, now: MonotonicMs) -> StorageCore {
        let Self {
            settings,
            placement,
            shards,
        } = self;
        let last = shards.iter().map(|state| state.terms.1.0).max().unwrap_or(0);
        let term = term_floor.max(Term(last.saturating_add(1)));
        let shards = shards.into_iter().enumerate().map(|(at, mut state)| {
            state.track_changes();
            state.tighten();
            let log = NodeLog::Durable(DurableLog::new(state.applied));
            Shard::restored(shard_id(at), term, log, state, &settings, now)
        });
        let shards = shards.collect();
        let mut core = StorageCore::of(settings, placement, term, shards, now);
        // Nobody is attached yet: there is nothing to send.
        let mut out = Outputs::new();
        let (shards, mut turn) = core.turn(now, &mut out);
        for shard in shards {
            shard.begin(&mut turn);
        }
        // What was on its way between shards goes on before anything new.
        core.exchange_effects(now, &mut out);
        core
    }
}
