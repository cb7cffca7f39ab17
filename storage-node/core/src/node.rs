//! A storage node: its incarnations and all of its shards.
//!
//! Called by the shell, one event at a time: a link attaches, an operation or a control arrives, a link ends, time
//! passes. Each call adds to [`Outputs`], which the shell drains once per turn. Never waits, never reads a clock.

mod crossing;
mod telling;

use freshet_config::StorageConfig;
use freshet_storage_contract::{
    Answer, AttachProxy, AttachRefusal, Attached, DeliveryControl, Feature, IncarnationId, MonotonicMs, Operation,
    PROTOCOL_VERSION, Placement, PlacementError, REPORTS_FEATURE, SESSIONS_FEATURE, SHARED_SUBSCRIPTIONS_FEATURE,
    ShardId, Term,
};

use crate::facts::{LinkFault, StorageFact};
use crate::incarnations::{Incarnations, PeerKey, lease_ends};
use crate::log::MemoryLog;
use crate::outputs::Outputs;
use crate::settings::StorageSettings;
use crate::shard::{Read, Shard};
use crate::sys::Sys;
use crate::turn::Turn;
use crate::usage::Usage;

/// Lowest protocol version that is spoken.
const LOWEST_VERSION: u32 = 1;
/// Features beyond the base of the protocol version.
const FEATURES: [&str; 3] = [SESSIONS_FEATURE, SHARED_SUBSCRIPTIONS_FEATURE, REPORTS_FEATURE];

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
    shards: Vec<Shard<MemoryLog>>,
    usage: Usage,
    sys: Sys,
    /// Where the next credit begins to be spent, so that no shard is always last.
    first_to_send: usize,
    totals: Totals,
}

#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    leases_expired: u64,
    attaches_refused: u64,
    links_ended: u64,
}

impl StorageCore {
    /// A node without memory. `term_floor` is above the terms of its earlier lives, such as unix time in ms: a proxy
    /// that has seen a higher one raises it. Publications are held for the recovery hold from `now` on.
    ///
    /// # Errors
    /// [`PlacementError`] when shards or placement rules cannot be used.
    pub fn new(settings: StorageSettings, term_floor: Term, now: MonotonicMs) -> Result<Self, PlacementError> {
        let placement = Placement::new(&settings.cluster_uid, settings.shards, &settings.placement_rules)?;
        let term = term_floor.max(Term(1));
        let shards = (0..settings.shards)
            .map(|id| Shard::new(ShardId(id), term, MemoryLog::default(), &settings, now))
            .collect();
        Ok(Self {
            settings,
            placement,
            term,
            incarnations: Incarnations::default(),
            departing: Vec::new(),
            next_lease_check: None,
            shards,
            usage: Usage::default(),
            sys: Sys::new(now),
            first_to_send: 0,
            totals: Totals::default(),
        })
    }

    /// A link is there: both of its streams have brought this frame. To be called once per link; an earlier link of
    /// the incarnation has ended with it, and what `out` held for that one is dropped. The shell sends the result
    /// before anything of `out`.
    ///
    /// # Errors
    /// [`AttachRefusal`]: the shell sends it and closes the link.
    pub fn attach(
        &mut self,
        attach: &AttachProxy,
        now: MonotonicMs,
        out: &mut Outputs,
    ) -> Result<Attached, AttachRefusal> {
        if let Err(refusal) = self.check_attach(attach) {
            self.totals.attaches_refused += 1;
            let (incarnation, proxy_name) = (attach.incarnation, attach.proxy_name.clone());
            out.fact(StorageFact::AttachRefused {
                incarnation,
                proxy_name,
                refusal: refusal.clone(),
            });
            return Err(refusal);
        }
        if attach.highest_term > self.term {
            self.raise_term(attach.highest_term, now, out);
        }
        let ends = lease_ends(now, self.settings.lease_ttl_ms);
        let known = self.incarnations.find(attach.incarnation);
        let key = known.unwrap_or_else(|| self.incarnations.begin(attach.incarnation, &attach.proxy_name, ends));
        if known.is_some() {
            self.unlink(key, now, out);
        }
        out.discard(attach.incarnation);
        self.incarnations.link(key, ends);
        self.next_lease_check = Some(self.next_lease_check.map_or(ends, |check| check.min(ends)));
        out.fact(StorageFact::ProxyAttached {
            incarnation: attach.incarnation,
            proxy_name: attach.proxy_name.clone(),
            resumed: known.is_some(),
        });
        let mut attachments = Vec::with_capacity(self.shards.len());
        let (shards, mut turn) = self.turn(now, out);
        for (id, shard) in (0..).map(ShardId).zip(shards) {
            let resume = attach.resume.iter().find(|r| r.shard == id);
            attachments.push(shard.attach(key, resume, &mut turn));
            shard.send(key, &mut turn);
        }
        let known_feature = |feature: &&Feature| FEATURES.contains(&feature.0.as_str());
        Ok(Attached {
            protocol_version: attach.protocol_version.min(PROTOCOL_VERSION),
            features: attach.features.iter().filter(known_feature).cloned().collect(),
            lease_ttl_ms: self.settings.lease_ttl_ms,
            shards: self.settings.shards,
            placement_rules: self.settings.placement_rules.clone(),
            attachments,
        })
    }

    fn check_attach(&self, attach: &AttachProxy) -> Result<(), AttachRefusal> {
        if attach.cluster_uid != self.settings.cluster_uid {
            return Err(AttachRefusal::ForeignCluster {
                expected: self.settings.cluster_uid.0.clone(),
                found: attach.cluster_uid.0.clone(),
            });
        }
        // A neighbour that is one version ahead speaks ours as well.
        if !(LOWEST_VERSION..=PROTOCOL_VERSION + 1).contains(&attach.protocol_version) {
            return Err(AttachRefusal::UnknownVersion {
                lowest: LOWEST_VERSION,
                highest: PROTOCOL_VERSION,
                found: attach.protocol_version,
            });
        }
        if self.incarnations.has_ended(attach.incarnation) {
            return Err(AttachRefusal::IncarnationGone {
                incarnation: attach.incarnation,
            });
        }
        Ok(())
    }

    /// The present link of an incarnation has closed. The incarnation lives until its lease ends.
    pub fn detach_link(&mut self, incarnation: IncarnationId, now: MonotonicMs, out: &mut Outputs) {
        if let Some(key) = self.incarnations.find(incarnation)
            && self.incarnations.is_linked(key)
        {
            self.unlink(key, now, out);
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
                turn.answer(key, Answer::LeaseRenewed);
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
            .chain(self.sys.due(self.settings.sys_interval_ms))
            .min()
    }

    /// The term of this life, so far.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// Takes up a changed configuration: limits, the grace of wills, how often `$SYS` is published. What else it names
    /// needs a new process or cannot change.
    pub fn reload(&mut self, config: &StorageConfig) {
        self.settings.reload(config);
    }

    fn linked(&self, incarnation: IncarnationId) -> Option<PeerKey> {
        self.incarnations
            .find(incarnation)
            .filter(|key| self.incarnations.is_linked(*key))
    }

    /// The shards, and what they are lent.
    fn turn<'a>(&'a mut self, now: MonotonicMs, out: &'a mut Outputs) -> (&'a mut [Shard<MemoryLog>], Turn<'a>) {
        let turn = Turn {
            now,
            settings: &self.settings,
            placement: &self.placement,
            proxies: &mut self.incarnations,
            usage: &mut self.usage,
            out,
        };
        (&mut self.shards, turn)
    }

    /// A link has ended: its credits count no more, and nobody waits for what it was asked.
    fn unlink(&mut self, key: PeerKey, now: MonotonicMs, out: &mut Outputs) {
        self.incarnations.unlink(key);
        let (shards, mut turn) = self.turn(now, out);
        for shard in shards {
            shard.unlink(key, &mut turn);
        }
        self.exchange_effects(now, out);
    }

    /// Ends the link for all shards when one of them has ended it.
    fn clear_up_fault(&mut self, key: PeerKey, now: MonotonicMs, out: &mut Outputs) {
        if !self.incarnations.is_linked(key) {
            self.totals.links_ended += 1;
            self.unlink(key, now, out);
        }
    }

    fn end_incarnation(&mut self, key: PeerKey, now: MonotonicMs, out: &mut Outputs) {
        self.totals.leases_expired += 1;
        self.sys.forget(key);
        if let Some((incarnation, proxy_name, linked)) = self.incarnations.ended(key) {
            let proxy_name = proxy_name.to_owned();
            if linked {
                self.totals.links_ended += 1;
                out.frame(key.slot, incarnation).close = Some(LinkFault::LeaseExpired);
            }
            out.fact(StorageFact::IncarnationGone {
                incarnation,
                proxy_name,
            });
        }
        let (shards, mut turn) = self.turn(now, out);
        for shard in shards {
            shard.depart(key, &mut turn);
        }
        self.departing.push(key);
    }

    /// Starts a term above one that a proxy has seen: this node's clock went back. Every proxy attaches anew.
    fn raise_term(&mut self, seen: Term, now: MonotonicMs, out: &mut Outputs) {
        self.term = Term(seen.0.saturating_add(1));
        out.fact(StorageFact::TermRaised { term: self.term });
        let living: Vec<(PeerKey, IncarnationId, bool)> = self
            .incarnations
            .living()
            .map(|(key, i)| (key, i.id, self.incarnations.is_linked(key)))
            .collect();
        for (key, id, linked) in living {
            if linked {
                self.totals.links_ended += 1;
                out.discard(id);
                out.frame(key.slot, id).close = Some(LinkFault::TermRaised);
            }
            self.incarnations.free(key);
        }
        self.sys.restart();
        for key in self.departing.drain(..) {
            self.incarnations.free(key);
        }
        let term = self.term;
        let (shards, mut turn) = self.turn(now, out);
        for shard in shards {
            shard.restart(term, &mut turn);
        }
    }
}

/// Shards are as many as a u16.
fn shard_id(at: usize) -> ShardId {
    ShardId(u16::try_from(at).unwrap_or(u16::MAX))
}

/// The shard that a proxy has named; one that does not exist ends its link.
fn find<'s>(
    shards: &'s mut [Shard<MemoryLog>],
    at: ShardId,
    key: PeerKey,
    turn: &mut Turn<'_>,
) -> Option<&'s mut Shard<MemoryLog>> {
    let shard = shards.get_mut(usize::from(at.0));
    if shard.is_none() {
        turn.fault(key, LinkFault::UnknownShard(at));
    }
    shard
}
