//! One shard: who wants what, who has published what, which sessions are where, what is retained.
//!
//! A value that behaves like an actor: called by the node with one event at a time, it changes only itself and the
//! output of the turn, and reaches other shards by numbered effects alone. What replicas have to agree on changes by
//! entries of the log ([`Shard::advance`]); everything else is named by proxies again to a new leader.
//! Leaves out leases and links (`crate::incarnations`) and the order between shards (`crate::node`).

mod ahead;
mod connections;
mod counting;
mod deltas;
mod departure;
mod exchange;
mod flapping;
mod groups;
mod inspect;
mod intake;
mod interest;
mod loads;
mod passing;
mod peers;
mod publisher;
mod queue_room;
mod reads;
mod recovery;
mod retention;
mod ring;
mod routing;
mod sessions;
mod shared;
mod stored;
mod ticking;
mod until_heard;
mod wills;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use freshet_storage_contract::{
    DeliverySeq, IncarnationId, MonotonicMs, Position, ShardAttachment, ShardId, ShardResume, Term,
};

use self::ahead::Ahead;
use self::exchange::Carried;
pub(crate) use self::exchange::Notes;
use self::groups::Groups;
use self::intake::Intake;
pub(crate) use self::interest::CommonFilters;
use self::interest::{Interest, NotAdded, Subscriber};
use self::loads::Loads;
use self::peers::{Owed, Peer, Peers};
pub(crate) use self::reads::Read;
use self::recovery::Recovery;
use self::ring::{Acknowledged, Waiter};
use self::sessions::Registry;
use self::stored::Awaited;
use crate::facts::{LinkFault, StorageFact};
use crate::hash::KeyedHash;
use crate::incarnations::PeerKey;
use crate::log::{Command, CommitLog, ENTRY_VERSION, Entry, LogClock};
use crate::planted::{planted, reached};
use crate::settings::StorageSettings;
use crate::state::State;
use crate::stats::ShardCounters;
use crate::turn::Turn;
use crate::usage::Usage;

/// A shard and its leader's soft state.
#[derive(Debug)]
pub(crate) struct Shard<L> {
    id: ShardId,
    term: Term,
    log: L,
    /// Term in which the log began: nothing of earlier ones is remembered.
    remembers_from: Term,
    /// Publications up to here were routed by earlier leaders, if at all.
    routed_behind: Position,
    /// Of these, publications that came again and were routed by this one.
    rerouted: BTreeSet<Position>,
    /// Position of the last entry that was handed in.
    proposed: Position,
    /// What entries that are not applied yet will have changed.
    ahead: Ahead,
    clock: LogClock,
    state: State,
    peers: Peers,
    interest: Interest,
    groups: Groups,
    intake: Intake,
    recovery: Recovery,
    sessions: Registry,
    /// Peers whose lease has ended and whose filters and sessions are being removed, oldest first.
    departing: VecDeque<PeerKey>,
    /// Before that: peers whose lease has ended, and where the log says that they are passed by.
    leaving: VecDeque<(Position, PeerKey)>,
    /// Answers that wait for the log, by position.
    awaited: VecDeque<Awaited>,
    carried: Carried,
    /// Who waits for content that is on disk alone.
    loads: Loads,
    /// When other shards are told what sessions need no more; none: there is nothing to tell.
    trim_at: Option<MonotonicMs>,
    /// Before that no more sessions end: many of those that were due have ended just now.
    sessions_end_from: MonotonicMs,
    /// What this shard has added to the node's sums.
    counted: Usage,
    counters: ShardCounters,
    /// Counter of the last epoch granted in this term.
    last_epoch: u64,
    /// No deadline is earlier; it may turn out that none is this early.
    wake: Option<MonotonicMs>,
    /// Publishers for which something can be answered.
    news: Vec<PeerKey>,
    // Reused from call to call.
    found: Vec<Subscriber>,
    released: Vec<Waiter>,
}

impl<L: CommitLog> Shard<L> {
    /// A shard without memory. Publications and clients wait for `settings.recovery_hold_ms` from the first proxy on.
    pub(crate) fn new(id: ShardId, term: Term, log: L, settings: &StorageSettings, now: MonotonicMs) -> Self {
        let state = State::new(KeyedHash::new(settings.hash_seed));
        Self::restored(id, term, log, state, settings, now)
    }

    /// A shard that goes on behind `state`, where its log has ended. Publications and clients wait for
    /// `settings.recovery_hold_ms` from the first proxy on. [`Self::begin`] is to follow.
    pub(crate) fn restored(
        id: ShardId,
        term: Term,
        mut log: L,
        state: State,
        settings: &StorageSettings,
        now: MonotonicMs,
    ) -> Self {
        log.begin(term);
        let hash = KeyedHash::new(settings.hash_seed);
        let proposed = state.applied;
        let began_in = Some(state.terms.0).filter(|term| *term > Term(0));
        let jump_ms = if planted!(ClockJumpsAtStart) { 3_600_000 } else { 0 };
        Self {
            id,
            term,
            log,
            remembers_from: began_in.unwrap_or(term),
            routed_behind: state.applied,
            rerouted: BTreeSet::new(),
            proposed,
            ahead: Ahead::default(),
            clock: LogClock::new(state.log_time_ms.saturating_add(jump_ms), now),
            state,
            peers: Peers::default(),
            interest: Interest::new(id, hash.clone()),
            groups: Groups::default(),
            intake: Intake::default(),
            recovery: Recovery::begin(settings),
            sessions: Registry::new(hash),
            departing: VecDeque::new(),
            leaving: VecDeque::new(),
            awaited: VecDeque::new(),
            carried: Carried::default(),
            loads: Loads::default(),
            trim_at: None,
            sessions_end_from: now,
            counted: Usage::default(),
            counters: ShardCounters::default(),
            last_epoch: 0,
            wake: None,
            news: Vec::new(),
            found: Vec::new(),
            released: Vec::new(),
        }
    }

    /// Makes the log know of this leader.
    pub(crate) fn begin(&mut self, turn: &mut Turn<'_>) {
        self.propose(Command::BeginTerm { term: self.term }, turn);
        if self.state.sessions.len() > 0 || self.ahead.len() > 1 {
            self.propose(Command::SuspendSessions, turn);
        }
        if !self.is_holding() {
            self.propose(Command::BeginRouting { term: self.term }, turn);
        }
        self.settle(turn);
    }

    /// Rows that have changed since they were last taken.
    pub(crate) fn changed_rows(&self) -> usize {
        self.state.changed_rows()
    }

    /// Hands over rows that have changed, see [`State::take_changes`].
    pub(crate) fn take_changes(
        &mut self,
        max_rows: usize,
        take: &mut dyn FnMut(Bytes, Option<Bytes>),
    ) -> Option<Position> {
        self.state.take_changes(max_rows, take)
    }

    /// Position of the last entry that was proposed.
    pub(crate) fn proposed(&self) -> Position {
        self.proposed
    }

    /// Whether the entry at `position`, and all before it, act.
    pub(crate) fn has_applied(&self, position: Position) -> bool {
        self.state.applied >= position
    }

    /// Whether everything that was proposed acts.
    pub(crate) fn has_applied_all(&self) -> bool {
        self.has_applied(self.proposed)
    }

    pub(crate) fn log_mut(&mut self) -> &mut L {
        &mut self.log
    }

    /// Entries up to `through` are safe: they act.
    pub(crate) fn flushed(&mut self, through: Position, turn: &mut Turn<'_>) {
        self.log.flushed(through);
        reached!(Flushed);
        self.settle(turn);
    }

    /// Goes on in a higher term with what the log knows, and forgets what proxies name again.
    pub(crate) fn restart(&mut self, term: Term, turn: &mut Turn<'_>) {
        let hash = KeyedHash::new(turn.settings.hash_seed);
        self.term = term;
        self.last_epoch = 0;
        self.peers = Peers::default();
        self.interest = Interest::new(self.id, hash.clone());
        turn.common.forget_shard(self.id);
        self.groups.clear();
        self.forget_all_loads();
        self.intake = Intake::default();
        self.sessions = Registry::new(hash);
        self.departing.clear();
        self.leaving.clear();
        self.awaited.clear();
        self.news.clear();
        self.log.begin(term);
        // What is on its way to the log acts, but nobody is left who waits for it.
        self.routed_behind = self.proposed;
        self.recovery = Recovery::begin(turn.settings);
        self.begin(turn);
        if !self.is_holding() {
            self.end_unnamed_groups(turn);
        }
        self.settle(turn);
    }

    /// A proxy has a link; `resume` is what it has of this shard.
    pub(crate) fn attach(
        &mut self,
        key: PeerKey,
        resume: Option<&ShardResume>,
        turn: &mut Turn<'_>,
    ) -> ShardAttachment {
        self.found(turn);
        let received = resume
            .filter(|r| r.term == self.term)
            .map_or(DeliverySeq(0), |r| r.received);
        // Whoever had a filter confirmed by another leader was sent a marker at least.
        let promised = resume.filter(|r| r.term != self.term && r.received > DeliverySeq(0));
        let ring_bytes = turn.settings.ring_bytes;
        let incarnation = turn.proxies.get(key).map_or(IncarnationId(0), |i| i.id);
        let (peer, known) = self
            .peers
            .get_or_insert(key, || Peer::new((key, incarnation), ring_bytes, received, turn.now));
        if !known {
            let is_passed = self.state.passed.contains(incarnation);
            peer.owes_interest = promised.map(|promised| Owed {
                term: promised.term,
                has_missed: is_passed || promised.term < self.state.routed,
            });
            if is_passed {
                // Nothing is in the ring that anybody waits for.
                peer.ring.noted(&mut self.released);
            }
        }
        let resumed = if known {
            peer.ring.resume(received)
        } else {
            received == DeliverySeq(0)
        };
        peer.publisher.linked();
        peer.refused.linked();
        peer.mourned.linked();
        // What was answered while there was no link comes before what is answered on this one.
        if let Some(frame) = turn.frame(key) {
            for (seq, outcome) in peer.publisher.unconfirmed() {
                frame.outcome(self.id, seq, outcome);
            }
        }
        let attachment = ShardAttachment {
            shard: self.id,
            term: self.term,
            interest_version: peer.interest_version,
            publish_seq: peer.publisher.taken(),
            overrun: !resumed,
        };
        self.repeat_takeovers(key, turn);
        self.give_stalled(key, turn);
        self.run_loads(turn);
        attachment
    }

    /// The link of a proxy is gone: connections that it was to give up are given up without it.
    pub(crate) fn unlink(&mut self, key: PeerKey, turn: &mut Turn<'_>) {
        // On its next one the proxy asks again for what was not answered.
        self.awaited.retain(|awaited| awaited.peer != key);
        self.recovery.forget_asked_by(key);
        self.grant_without(key, turn);
        self.settle(turn);
    }

    /// Takes an acknowledgement of deliveries.
    pub(crate) fn acknowledge(&mut self, key: PeerKey, term: Term, seq: DeliverySeq, turn: &mut Turn<'_>) {
        let Some(peer) = self.peers.get_mut(key).filter(|_| term == self.term) else {
            return;
        };
        match peer.ring.acknowledge(seq, turn.now, &mut self.released) {
            Acknowledged::Old => return,
            Acknowledged::Unsent => {
                let sent = peer.ring.last_given();
                turn.fault(
                    key,
                    LinkFault::AcknowledgedUnsent {
                        shard: self.id,
                        sent,
                        found: seq,
                    },
                );
                return;
            }
            Acknowledged::Progress { recovered } => {
                if let Some(lost) = recovered
                    && let Some(incarnation) = turn.proxies.get(key).map(|i| i.id)
                {
                    turn.out.fact(StorageFact::RingRecovered {
                        incarnation,
                        shard: self.id,
                        lost,
                    });
                }
            }
        }
        self.release();
        self.note_taken_up(key, turn);
        self.send(key, turn);
        self.serve_reads(key, turn);
        self.give_stalled(key, turn);
        self.settle(turn);
    }

    /// Sends what is in the ring of a proxy as far as its credit goes.
    pub(crate) fn send(&mut self, key: PeerKey, turn: &mut Turn<'_>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if !peer.ring.has_unsent() {
            return;
        }
        let Some(id) = turn.proxies.get(key).map(|i| i.id) else {
            return;
        };
        let now = turn.now;
        while let Some((seq, delivery, again)) = peer.ring.send_next(now, |bytes| turn.proxies.spend(key, bytes)) {
            self.counters.deliveries_resent_total += u64::from(again);
            turn.out.frame(key.slot, id).deliver(self.id, self.term, seq, delivery);
        }
    }

    /// A proxy renews its lease: it has every answer before the last renewal's.
    pub(crate) fn renewed(&mut self, key: PeerKey) {
        if let Some(peer) = self.peers.get_mut(key) {
            peer.publisher.renewed();
            peer.refused.renewed();
            peer.mourned.renewed();
        }
    }

    /// Proposes a change of the state. It acts in [`Self::advance`].
    fn propose(&mut self, command: Command, turn: &Turn<'_>) -> Position {
        let log_time_ms = self.clock.log_time_ms(turn.now);
        let entry = Entry {
            version: ENTRY_VERSION,
            log_time_ms,
            command,
        };
        // Positions are known only behind the log; what the entry will change does not depend on its own.
        let foreseen = self.ahead.foresee(&entry.command, &self.state);
        self.proposed = self.log.propose(entry);
        self.ahead.proposed(self.proposed, foreseen);
        reached!(Proposed);
        self.proposed
    }

    /// Ends a call: applies what is committed, sums up, and notes when something is due.
    fn settle(&mut self, turn: &mut Turn<'_>) {
        self.advance(turn);
        self.end_hold_when_safe(turn);
        self.let_leave(turn);
        self.run_loads(turn);
        self.answer_publishers(turn);
        self.count(turn.usage);
        self.note_deadlines(turn);
    }

    fn wake_at(&mut self, due: MonotonicMs) {
        self.wake = Some(self.wake.map_or(due, |wake| wake.min(due)));
    }

    /// When [`Self::tick`] is to be called, at the latest.
    pub(crate) fn next_deadline(&self) -> Option<MonotonicMs> {
        self.wake
    }

    /// Whether something of a proxy is still here.
    pub(crate) fn has_peer(&self, key: PeerKey) -> bool {
        self.peers.is_taken(key)
    }
}
