//! One stored session, and what each change does to it.

use bytes::Bytes;
use freshet_storage_contract::{
    Cursor, Message, OutboundExchange, OutboundStage, PacketId, Position, SessionChange, SessionEpoch, ShardId,
    StoredSession, StoredSubscription, SubscriptionStart,
};

use super::readers::Readers;
use crate::codec::{Code, DecodeError, Reader, code_fields};
use crate::planted::planted;
use crate::state::effects::Effects;
use crate::state::notes::Note;
use crate::state::queues::{group_name, is_group, own_copy, remaining};
use crate::state::tight;

/// What a session costs beside its client id, in bytes.
pub(super) const SESSION_OVERHEAD_BYTES: u64 = 384;
/// What a subscription costs beside its filter, in bytes.
pub(super) const SUBSCRIPTION_OVERHEAD_BYTES: u64 = 128;
/// What a start, a cursor or an exchange costs, in bytes.
pub(super) const ENTRY_BYTES: u64 = 48;
/// What a position behind a cursor, or a shard with packets, costs, in bytes.
pub(super) const NUMBER_BYTES: u64 = 10;
/// Positions behind a cursor: no client has a larger Receive Maximum.
const MAX_BEYOND: usize = 65_535;

/// A stored session.
#[derive(Debug)]
pub(super) struct SessionRow {
    /// The connection that has it, or had it last.
    pub(super) epoch: SessionEpoch,
    pub(super) expiry_interval_s: u32,
    pub(super) connected: bool,
    /// The client may know of it: its proxy has said so with the first change. Nothing is in it before.
    pub(super) is_told: bool,
    /// When it ends unless it is attached, ms of log time.
    pub(super) ends_ms: Option<u64>,
    pub(super) stored: StoredSession,
    /// Shards that keep QoS 2 publications of this generation.
    pub(super) packets_at: Vec<ShardId>,
    /// Messages of shared subscriptions that are kept for its exchanges.
    kept: Vec<KeptAt>,
    subscription_bytes: u64,
    /// Names of shared subscriptions, and messages, in `stored.outbound`.
    outbound_bytes: u64,
    /// When messages in `stored.outbound` expire, ms of log time.
    expiries: Vec<(PacketId, u64)>,
}

/// A message that its shard keeps for an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeptAt {
    packet_id: PacketId,
    shard: ShardId,
    position: Position,
}

impl SessionRow {
    pub(super) fn new(epoch: SessionEpoch, expiry_interval_s: u32, stored: StoredSession) -> Self {
        Self {
            epoch,
            expiry_interval_s,
            connected: true,
            is_told: true,
            ends_ms: None,
            subscription_bytes: stored.subscriptions.iter().map(subscription_bytes).sum(),
            outbound_bytes: stored.outbound.iter().map(exchange_bytes).sum(),
            stored,
            packets_at: Vec::new(),
            kept: Vec::new(),
            expiries: Vec::new(),
        }
    }

    /// Bytes that the session of `client_id` is charged with.
    pub(super) fn bytes(&self, client_id: &[u8]) -> u64 {
        let beyond: usize = self.stored.cursors.iter().map(|c| c.beyond.len()).sum();
        let entries = self.stored.cursors.len() + self.stored.outbound.len() + self.kept.len();
        let numbers = beyond + self.packets_at.len();
        SESSION_OVERHEAD_BYTES
            + client_id.len() as u64
            + self.subscription_bytes
            + self.outbound_bytes
            + entries as u64 * ENTRY_BYTES
            + numbers as u64 * NUMBER_BYTES
    }

    /// What it would be charged with that QoS 2 publications of the session are kept at this shard.
    pub(super) fn cost_of_packets(&self, shard: ShardId) -> u64 {
        if self.packets_at.contains(&shard) {
            0
        } else {
            NUMBER_BYTES
        }
    }

    /// Registers what a session reads that was not here before.
    pub(super) fn add_readers(&self, readers: &mut Readers, notes: &mut Effects<Note>) {
        for subscription in &self.stored.subscriptions {
            for start in &subscription.starts {
                let floor = self.floor(&subscription.topic_filter, *start);
                readers.add(start.shard, &subscription.topic_filter, floor, start.position, notes);
            }
        }
    }

    /// The session is taken back: it reads what it has read.
    pub(super) fn restore_readers(&self, readers: &mut Readers) {
        for subscription in &self.stored.subscriptions {
            for start in &subscription.starts {
                let floor = self.floor(&subscription.topic_filter, *start);
                readers.restore(start.shard, &subscription.topic_filter, floor);
            }
        }
    }

    /// The session has ended: it reads nothing any more.
    pub(super) fn remove_readers(&self, readers: &mut Readers, notes: &mut Effects<Note>) {
        for subscription in &self.stored.subscriptions {
            for start in &subscription.starts {
                let floor = self.floor(&subscription.topic_filter, *start);
                readers.remove(start.shard, &subscription.topic_filter, floor, notes);
            }
        }
    }

    /// The session has ended: nothing is kept for its exchanges any more.
    pub(super) fn release_all_kept(&mut self, notes: &mut Effects<Note>) {
        for KeptAt { shard, position, .. } in self.kept.drain(..) {
            notes.send(shard, Note::ReleaseKept { position });
        }
    }

    fn release_kept(&mut self, packet_id: PacketId, notes: &mut Effects<Note>) {
        if let Some(at) = self.kept.iter().position(|kept| kept.packet_id == packet_id) {
            let KeptAt { shard, position, .. } = self.kept.swap_remove(at);
            notes.send(shard, Note::ReleaseKept { position });
        }
    }

    /// Up to where a subscription needs nothing of a shard. Members of a group have no place of their own in it.
    fn floor(&self, topic_filter: &[u8], start: SubscriptionStart) -> Position {
        if is_group(topic_filter) {
            return start.position;
        }
        self.cursor(start.shard)
            .map_or(start.position, |cursor| cursor.acknowledged.max(start.position))
    }

    /// Where a subscription is, or would be.
    pub(super) fn place_of(&self, topic_filter: &Bytes) -> Result<usize, usize> {
        let subscriptions = &self.stored.subscriptions;
        subscriptions.binary_search_by(|s| s.topic_filter.cmp(topic_filter))
    }

    pub(super) fn cursor(&self, shard: ShardId) -> Option<&Cursor> {
        let at = self.stored.cursors.binary_search_by_key(&shard, |c| c.shard).ok()?;
        self.stored.cursors.get(at)
    }

    /// The session as its next connection gets it.
    pub(super) fn resumed(&self, log_time_ms: u64) -> StoredSession {
        let mut stored = self.stored.clone();
        for exchange in &mut stored.outbound {
            let expiry = self.expiries.iter().find(|(id, _)| *id == exchange.packet_id);
            if let (Some(message), Some((_, expires_ms))) = (&mut exchange.message, expiry) {
                **message = remaining((**message).clone(), Some(*expires_ms), log_time_ms).0;
            }
        }
        stored
    }

    /// Makes a change.
    pub(super) fn change(
        &mut self,
        change: &SessionChange,
        log_time_ms: u64,
        readers: &mut Readers,
        notes: &mut Effects<Note>,
    ) {
        match change {
            SessionChange::Subscribe(subscription) => self.subscribe(subscription, readers, notes),
            SessionChange::Unsubscribe { topic_filter } => self.unsubscribe(topic_filter, readers, notes),
            SessionChange::Advance(cursor) => self.advance(cursor, readers),
            SessionChange::Sending {
                packet_id,
                shard,
                position,
                qos,
                shared,
                message,
            } => {
                let exchange = OutboundExchange {
                    packet_id: *packet_id,
                    shard: *shard,
                    position: *position,
                    qos: *qos,
                    stage: OutboundStage::Sent,
                    shared: shared.as_deref().map(Bytes::copy_from_slice),
                    message: message.as_deref().map(|message| Box::new(own_copy(message))),
                };
                self.send(exchange, shared.as_ref().and_then(group_name), log_time_ms, notes);
            }
            SessionChange::Received { packet_id } => {
                if let Some(exchange) = self.stored.outbound.iter_mut().find(|e| e.packet_id == *packet_id) {
                    exchange.stage = OutboundStage::Received;
                    // It is never sent again (MQTT-4.3.3-6).
                    self.outbound_bytes -= exchange.message.take().map_or(0, |m| m.charged_bytes() as u64);
                }
                self.expiries.retain(|(id, _)| id != packet_id);
                self.release_kept(*packet_id, notes);
            }
            SessionChange::Completed { packet_id } => {
                let ended = self.stored.outbound.iter().position(|e| e.packet_id == *packet_id);
                if let Some(at) = ended {
                    self.outbound_bytes -= exchange_bytes(&self.stored.outbound.remove(at));
                }
                self.expiries.retain(|(id, _)| id != packet_id);
                self.release_kept(*packet_id, notes);
            }
        }
    }

    /// An exchange begins; of a message of `group` the session takes that for itself.
    fn send(&mut self, exchange: OutboundExchange, group: Option<Bytes>, log_time_ms: u64, notes: &mut Effects<Note>) {
        let OutboundExchange {
            packet_id,
            shard,
            position,
            ..
        } = exchange;
        let outbound = &mut self.stored.outbound;
        let added = exchange_bytes(&exchange);
        let lives_s = exchange.message.as_ref().and_then(|m| m.message_expiry_interval_s);
        match outbound.iter_mut().find(|e| e.packet_id == packet_id) {
            // Asked again after a broken link: how far it has come stands.
            Some(same) if same.shard == shard && same.position == position => return,
            Some(other) => {
                self.outbound_bytes -= exchange_bytes(other);
                *other = exchange;
            }
            None => tight::push(outbound, exchange),
        }
        self.outbound_bytes += added;
        self.expiries.retain(|(id, _)| *id != packet_id);
        let expires_ms = lives_s.map(|s| log_time_ms.saturating_add(u64::from(s) * 1_000));
        self.expiries.extend(expires_ms.map(|at| (packet_id, at)));
        self.release_kept(packet_id, notes);
        if let Some(group) = group {
            let kept = KeptAt {
                packet_id,
                shard,
                position,
            };
            tight::push(&mut self.kept, kept);
            notes.send(shard, Note::Keep { group, position });
        }
    }

    fn subscribe(&mut self, subscription: &StoredSubscription, readers: &mut Readers, notes: &mut Effects<Note>) {
        let mut subscription = own_subscription(subscription);
        let filter = subscription.topic_filter.clone();
        let place = self.place_of(&filter);
        let known = place.ok().and_then(|at| self.stored.subscriptions.get(at));
        let known = known.map(|known| known.starts.clone()).unwrap_or_default();
        for start in &mut subscription.starts {
            if let Some(known) = known.iter().find(|known| known.shard == start.shard) {
                readers.ensured(start.shard, &filter, start.position);
                *start = *known;
                continue;
            }
            if !is_group(&filter) {
                self.begin_cursor(*start);
            }
            let floor = self.floor(&filter, *start);
            readers.add(start.shard, &filter, floor, start.position, notes);
        }
        // One that is named again does not name all its shards.
        let is_named = |shard| subscription.starts.iter().any(|start| start.shard == shard);
        let unnamed: Vec<_> = known.into_iter().filter(|known| !is_named(known.shard)).collect();
        subscription.starts.extend(unnamed);
        subscription.starts.sort_by_key(|start| start.shard);
        self.subscription_bytes += subscription_bytes(&subscription);
        match place {
            Ok(at) => {
                if let Some(former) = self.stored.subscriptions.get_mut(at) {
                    self.subscription_bytes -= subscription_bytes(former);
                    *former = subscription;
                }
            }
            Err(at) => tight::insert(&mut self.stored.subscriptions, at, subscription),
        }
    }

    /// The first subscription at a shard begins the cursor there.
    fn begin_cursor(&mut self, start: SubscriptionStart) {
        let is_first = !self.reads(start.shard);
        match self
            .stored
            .cursors
            .binary_search_by_key(&start.shard, |cursor| cursor.shard)
        {
            Ok(at) => {
                if let Some(cursor) = self.stored.cursors.get_mut(at).filter(|_| is_first) {
                    cursor.acknowledged = cursor.acknowledged.max(start.position);
                    cursor.beyond.retain(|position| *position > cursor.acknowledged);
                }
            }
            Err(at) => tight::insert(
                &mut self.stored.cursors,
                at,
                Cursor {
                    shard: start.shard,
                    acknowledged: start.position,
                    beyond: Vec::new(),
                },
            ),
        }
    }

    /// Whether the session has something to expect from a shard.
    fn reads(&self, shard: ShardId) -> bool {
        let subscriptions = &self.stored.subscriptions;
        subscriptions
            .iter()
            .filter(|s| !is_group(&s.topic_filter))
            .any(|s| s.starts.iter().any(|start| start.shard == shard))
            || self
                .stored
                .outbound
                .iter()
                .any(|e| e.shard == shard && e.shared.is_none())
    }

    fn unsubscribe(&mut self, topic_filter: &Bytes, readers: &mut Readers, notes: &mut Effects<Note>) {
        let Ok(at) = self.place_of(topic_filter) else {
            return;
        };
        let gone = self.stored.subscriptions.remove(at);
        self.subscription_bytes -= subscription_bytes(&gone);
        for start in &gone.starts {
            readers.remove(start.shard, topic_filter, self.floor(topic_filter, *start), notes);
        }
        for start in &gone.starts {
            if !self.reads(start.shard) {
                self.stored.cursors.retain(|cursor| cursor.shard != start.shard);
            }
        }
    }

    fn advance(&mut self, to: &Cursor, readers: &mut Readers) {
        if planted!(CursorNotWritten) {
            return;
        }
        let Ok(at) = self.stored.cursors.binary_search_by_key(&to.shard, |c| c.shard) else {
            return;
        };
        let Some(cursor) = self.stored.cursors.get_mut(at) else {
            return;
        };
        let from = cursor.acknowledged;
        let acknowledged = from.max(to.acknowledged);
        cursor.acknowledged = acknowledged;
        cursor.beyond.clear();
        let behind = to.beyond.iter().filter(|position| **position > acknowledged);
        cursor.beyond.extend(behind.take(MAX_BEYOND));
        cursor.beyond.sort_unstable();
        cursor.beyond.dedup();
        if acknowledged == from {
            return;
        }
        let own = self.stored.subscriptions.iter().filter(|s| !is_group(&s.topic_filter));
        for subscription in own {
            for start in subscription.starts.iter().filter(|s| s.shard == to.shard) {
                readers.advance(
                    to.shard,
                    &subscription.topic_filter,
                    from.max(start.position),
                    acknowledged.max(start.position),
                );
            }
        }
    }
}

code_fields! {
    KeptAt { packet_id, shard, position }
}

impl Code for SessionRow {
    fn write(&self, out: &mut Vec<u8>) {
        self.epoch.write(out);
        self.expiry_interval_s.write(out);
        self.connected.write(out);
        self.ends_ms.write(out);
        self.stored.write(out);
        self.packets_at.write(out);
        self.kept.write(out);
        self.expiries.write(out);
        self.is_told.write(out);
    }

    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        let (epoch, expiry_interval_s) = Code::read(from)?;
        let (connected, ends_ms) = Code::read(from)?;
        let stored = Code::read(from)?;
        Ok(Self {
            connected,
            ends_ms,
            packets_at: Code::read(from)?,
            kept: Code::read(from)?,
            expiries: Code::read(from)?,
            // Rows of version 1 do not say it, and to them all were told.
            is_told: if from.end().is_ok() { true } else { Code::read(from)? },
            ..Self::new(epoch, expiry_interval_s, stored)
        })
    }
}

pub(super) fn exchange_bytes(exchange: &OutboundExchange) -> u64 {
    taken_bytes(exchange.shared.as_ref(), exchange.message.as_deref())
}

pub(super) fn taken_bytes(shared: Option<&Bytes>, message: Option<&Message>) -> u64 {
    shared.map_or(0, |name| name.len() as u64) + message.map_or(0, |message| message.charged_bytes() as u64)
}

fn subscription_bytes(subscription: &StoredSubscription) -> u64 {
    subscription.topic_filter.len() as u64
        + SUBSCRIPTION_OVERHEAD_BYTES
        + subscription.starts.len() as u64 * ENTRY_BYTES
}

/// A subscription in the form in which it is kept.
fn own_subscription(subscription: &StoredSubscription) -> StoredSubscription {
    let mut starts = subscription.starts.clone();
    starts.sort_by_key(|start| start.shard);
    starts.dedup_by_key(|start| start.shard);
    StoredSubscription {
        topic_filter: Bytes::copy_from_slice(&subscription.topic_filter),
        starts,
        ..subscription.clone()
    }
}

/// A session as a proxy knows it in the form in which it is kept.
pub(super) fn sorted(session: &StoredSession) -> StoredSession {
    let mut subscriptions: Vec<_> = session.subscriptions.iter().map(own_subscription).collect();
    subscriptions.sort_by(|a, b| a.topic_filter.cmp(&b.topic_filter));
    subscriptions.dedup_by(|a, b| a.topic_filter == b.topic_filter);
    let mut cursors = session.cursors.clone();
    cursors.sort_by_key(|cursor| cursor.shard);
    cursors.dedup_by_key(|cursor| cursor.shard);
    // A shard that is not named: nothing of it was acknowledged. What is subscribed to there later must not begin the cursor
    // further on.
    let own = subscriptions.iter().filter(|s| !is_group(&s.topic_filter));
    for start in own.flat_map(|s| &s.starts) {
        if let Err(at) = cursors.binary_search_by_key(&start.shard, |cursor| cursor.shard) {
            let (shard, acknowledged) = (start.shard, Position::default());
            let beyond = Vec::new();
            cursors.insert(
                at,
                Cursor {
                    shard,
                    acknowledged,
                    beyond,
                },
            );
        }
    }
    let outbound = session.outbound.iter().map(|exchange| OutboundExchange {
        shared: exchange.shared.as_deref().map(Bytes::copy_from_slice),
        message: exchange.message.as_deref().map(|message| Box::new(own_copy(message))),
        ..*exchange
    });
    StoredSession {
        generation: session.generation,
        subscriptions,
        cursors,
        outbound: outbound.collect(),
    }
}
