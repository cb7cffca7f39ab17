//! A storage node: its incarnations and all of its shards.
//!
//! Called by the shell, one event at a time: a link attaches, an operation or a control arrives, a link ends, time
//! passes. Each call adds to [`Outputs`], which the shell drains once per turn. Never waits, never reads a clock.

mod attaching;
mod cold;
mod crossing;
mod durable;
mod inspect;
mod retention;
mod telling;

use std::collections::VecDeque;

use bytes::Bytes;
use freshet_config::StorageConfig;
use freshet_storage_contract::{
    Answer, DeliveryControl, IncarnationId, MonotonicMs, Operation, Placement, PlacementError, Position, ShardId, Term,
};

pub use self::cold::{Load, LoadError};
pub use self::durable::{Restore, RestoreError};
use crate::facts::LinkFault;
use crate::hash::KeyedHash;
use crate::incarnations::{Incarnations, PeerKey, ProxyLeases, lease_ends};
use crate::log::{MemoryLog, NodeLog};
use crate::outputs::Outputs;
use crate::settings::{LogRoom, StorageSettings};
use crate::shard::{CommonFilters, Read, Shard};
use crate::sys::Sys;
use crate::turn::Turn;
use crate::usage::Usage;

/// All shards of one node, and the incarnations of proxies.
#[derive(Debug)]
pub struct StorageCore {
    settings: StorageSettings,
    placement: Placement,
    term: Term,
    incarnations: Incarnations,
    /// Leases that have ended and whose slots some shard still uses.
    departing: Vec<PeerKey>,
    /// No lease ends before; it may turn out that none ends then.
    next_lease_check: Option<MonotonicMs>,
    shards: Vec<Shard<NodeLog>>,
    common: CommonFilters,
    usage: Usage,
    sys: Sys,
    /// Where the next credit begins to be spent, so that no shard is always last.
    first_to_send: usize,
    totals: Totals,
    /// Renewals of leases that are answered when what came before is safe, oldest first.
    renewals: VecDeque<Renewal>,
    // Reused from call to call.
    records: Vec<(ShardId, Position, Bytes)>,
    records_of_shard: Vec<(Position, Bytes)>,
    /// Shards whose rows have been taken in the present round of a checkpoint, and where.
    round: Vec<(ShardId, Position)>,
    /// Changed rows of the next one before its last part was taken.
    round_left: usize,
    /// Rows that its last part had at most.
    round_rows: usize,
}

/// A renewal that is to be answered.
#[derive(Debug)]
struct Renewal {
    key: PeerKey,
    /// When each shard has applied what it had proposed.
    behind: Vec<Position>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    leases_expired: u64,
    attaches_refused: u64,
    links_ended: u64,
}

impl StorageCore {
    /// A node without memory. `term_floor` is above the terms of its earlier lives, such as unix time in ms: a proxy
    /// that has seen a higher one raises it. Publications and clients wait for the recovery hold, from the first proxy on.
    ///
    /// # Errors
    /// [`PlacementError`] when shards or placement rules cannot be used.
    pub fn new(settings: StorageSettings, term_floor: Term, now: MonotonicMs) -> Result<Self, PlacementError> {
        let placement = Placement::new(&settings.cluster_uid, settings.shards, &settings.placement_rules)?;
        let term = term_floor.max(Term(1));
        let shards = (0..settings.shards)
            .map(|id| Shard::new(ShardId(id), term, NodeLog::Memory(MemoryLog::default()), &settings, now))
            .collect();
        Ok(Self::of(settings, placement, term, shards, now))
    }

    /// These shards, and no proxy yet.
    fn of(
        settings: StorageSettings,
        placement: Placement,
        term: Term,
        shards: Vec<Shard<NodeLog>>,
        now: MonotonicMs,
    ) -> Self {
        let common = CommonFilters::new(KeyedHash::new(settings.hash_seed));
        Self {
            settings,
            placement,
            term,
            incarnations: Incarnations::default(),
            departing: Vec::new(),
            next_lease_check: None,
            shards,
            common,
            usage: Usage::default(),
            sys: Sys::new(now),
            first_to_send: 0,
            totals: Totals::default(),
            renewals: VecDeque::new(),
            records: Vec::new(),
            records_of_shard: Vec::new(),
            round: Vec::new(),
            round_left: usize::MAX,
            round_rows: 0,
        }
    }

    /// Takes an operation. What comes from a link that has ended is passed over.
    pub fn handle(&mut self, incarnation: IncarnationId, operation: Operation, now: MonotonicMs, out: &mut Outputs) {
        let Some(key) = self.linked(incarnation) else { return };
        let (shards, mut turn) = self.turn(now, out);
        let mut effects = false;
        match operation {
            Operation::Report(report) => self.sys.take_report(key, &report),
            Operation::RenewLease => {
                turn.proxies.renew(key, lease_ends(now, turn.settings.lease_ttl_ms));
                for shard in shards.iter_mut() {
                    shard.renewed(key);
                }
                // It proves that everything before it is safe: the proxy forgets what it would have said again.
                let behind: Vec<Position> = shards.iter().map(Shard::proposed).collect();
                if shards.iter().all(Shard::has_applied_all) {
                    turn.answer(key, Answer::LeaseRenewed);
                } else {
                    self.renewals.push_back(Renewal { key, behind });
                }
            }
            Operation::Interest(delta) => {
                if let Some(shard) = find(shards, delta.shard, key, &mut turn) {
                    shard.change_interest(key, &delta, &mut turn);
                }
            }
            Operation::Publish(batch) => {
                effects = batch.messages.iter().any(|m| m.exactly_once.is_some());
                if let Some(shard) = find(shards, batch.shard, key, &mut turn) {
                    shard.publish(key, batch, &mut turn);
                }
            }
            Operation::AttachSession(attach) => {
                let at = turn.placement.shard_of_client(&attach.client_id);
                if let Some(shard) = find(shards, at, key, &mut turn) {
                    shard.attach_session(key, attach, &mut turn);
                }
                effects = true;
            }
            Operation::RegisterSessions { shard: at, sessions } => {
                if let Some(shard) = find(shards, at, key, &mut turn) {
                    shard.register_sessions(key, sessions, &mut turn);
                }
                effects = true;
            }
            Operation::DetachSession {
                client_id,
                epoch,
                reason,
                session_expiry_interval_s,
            } => {
                let at = turn.placement.shard_of_client(&client_id);
                if let Some(shard) = find(shards, at, key, &mut turn) {
                    shard.detach_session(key, &client_id, epoch, (reason, session_expiry_interval_s), &mut turn);
                }
                effects = true;
            }
            Operation::UpdateSession(update) => {
                let at = turn.placement.shard_of_client(&update.client_id);
                if let Some(shard) = find(shards, at, key, &mut turn) {
                    shard.update_session(key, update, &mut turn);
                }
                effects = true;
            }
            Operation::EnsureDurable(ensure) => {
                if find(shards, ensure.session_shard, key, &mut turn).is_some()
                    && let Some(shard) = find(shards, ensure.shard, key, &mut turn)
                {
                    shard.ensure_durable(key, ensure, &mut turn);
                }
            }
            Operation::ReadRetained(read) => {
                if let Some(shard) = find(shards, read.shard, key, &mut turn) {
                    shard.read(key, Read::Retained(read), &mut turn);
                }
            }
            Operation::Pull(pull) => {
                if let Some(shard) = find(shards, pull.shard, key, &mut turn) {
                    shard.read(key, Read::Queued(pull), &mut turn);
                }
            }
            Operation::Fetch(fetch) => {
                if let Some(shard) = find(shards, fetch.shard, key, &mut turn) {
                    shard.read(key, Read::Messages(fetch), &mut turn);
                }
            }
            Operation::Release(release) => {
                if let Some(shard) = find(shards, release.shard, key, &mut turn) {
                    shard.release_packet(key, release, &mut turn);
                }
            }
            Operation::SettleShared(settle) => {
                if let Some(shard) = find(shards, settle.shard, key, &mut turn) {
                    shard.settle_shared(key, &settle, &mut turn);
                }
            }
        }
        if effects {
            self.exchange_effects(now, out);
        }
        self.clear_up_fault(key, now, out);
    }

    /// Takes a control of the stream of deliveries. What comes from a link that has ended is passed over.
    pub fn handle_control(
        &mut self,
        incarnation: IncarnationId,
        control: DeliveryControl,
        now: MonotonicMs,
        out: &mut Outputs,
    ) {
        let Some(key) = self.linked(incarnation) else { return };
        let first = self.first_to_send;
        let (shards, mut turn) = self.turn(now, out);
        match control {
            DeliveryControl::Acknowledge { shard: at, term, seq } => match shards.get_mut(usize::from(at.0)) {
                Some(shard) => shard.acknowledge(key, term, seq, &mut turn),
                None => turn.fault(key, LinkFault::UnknownShard(at)),
            },
            DeliveryControl::Credit { bytes } => {
                turn.proxies.add_credit(key, bytes);
                let (before, from) = shards.split_at_mut(first.min(shards.len()));
                for shard in from.iter_mut().chain(before) {
                    shard.send(key, &mut turn);
                }
                self.first_to_send = (first + 1) % self.shards.len().max(1);
            }
        }
        self.clear_up_fault(key, now, out);
    }

    /// Does what time brings: ends of leases, wills, holds, expiry. Paced: after a call [`Self::next_deadline`] may
    /// have come already.
    pub fn tick(&mut self, now: MonotonicMs, out: &mut Outputs) {
        if self.next_lease_check.is_some_and(|check| check <= now) {
            for key in self.incarnations.expire(now) {
                self.end_incarnation(key, now, out);
            }
            self.next_lease_check = self.incarnations.next_end();
        }
        self.publish_sys(now, out);
        let (shards, mut turn) = self.turn(now, out);
        for shard in shards {
            shard.tick(&mut turn);
        }
        self.drop_excess(now, out);
        self.give_up_excess(now, out);
        self.exchange_effects(now, out);
        let Self {
            departing,
            shards,
            incarnations,
            ..
        } = self;
        departing.retain(|key| {
            let is_taken = shards.iter().any(|s| s.has_peer(*key));
            if !is_taken {
                incarnations.free(*key);
            }
            is_taken
        });
    }

    /// When [`Self::tick`] is to be called, at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<MonotonicMs> {
        self.shards
            .iter()
            .filter_map(Shard::next_deadline)
            .chain(self.next_lease_check)
            .chain(self.sys_due())
            .chain((self.excess_bytes() > 0 || self.is_giving_up()).then_some(MonotonicMs(0)))
            .min()
    }

    /// The term of this life, so far.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// Which proxies have leases.
    #[must_use]
    pub fn proxy_leases(&self) -> ProxyLeases {
        self.incarnations.proxies()
    }

    /// The disk of the log is nearly full, or has room again.
    pub fn set_log_room(&mut self, room: LogRoom) {
        self.settings.log_room = room;
    }

    /// Takes up a changed configuration: limits, the grace of wills, how often `$SYS` is published. What else it names
    /// needs a new process or cannot change.
    pub fn reload(&mut self, config: &StorageConfig) {
        self.settings.reload(config);
        self.shards.iter_mut().for_each(Shard::look_again);
    }

    /// The shards, and what they are lent.
    fn turn<'a>(&'a mut self, now: MonotonicMs, out: &'a mut Outputs) -> (&'a mut [Shard<NodeLog>], Turn<'a>) {
        let turn = Turn {
            now,
            settings: &self.settings,
            placement: &self.placement,
            proxies: &mut self.incarnations,
            common: &mut self.common,
            usage: &mut self.usage,
            out,
        };
        (&mut self.shards, turn)
    }
}

/// Shards are as many as a u16.
fn shard_id(at: usize) -> ShardId {
    ShardId(u16::try_from(at).unwrap_or(u16::MAX))
}

/// The shard that a proxy has named; one that does not exist ends its link.
fn find<'s>(
    shards: &'s mut [Shard<NodeLog>],
    at: ShardId,
    key: PeerKey,
    turn: &mut Turn<'_>,
) -> Option<&'s mut Shard<NodeLog>> {
    let shard = shards.get_mut(usize::from(at.0));
    if shard.is_none() {
        turn.fault(key, LinkFault::UnknownShard(at));
    }
    shard
}
