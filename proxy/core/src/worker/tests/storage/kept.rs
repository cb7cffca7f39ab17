//! What the small storage keeps of sessions that outlive their connection, and of messages for them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use freshet_mqtt::{QoS, topic_matches};
use freshet_storage_contract::{
    Cursor, DetachReason, Fetch, FetchedMessage, Message, OutboundExchange, OutboundStage, Position, Pull,
    PulledMessage, SessionChange, SessionEpoch, StoredSession, UpdateSession,
};

use crate::exchange::ToWorker;

/// Sessions, and a log of messages with one order for all shards.
#[derive(Default)]
pub(in super::super) struct Kept {
    pub(in super::super) sessions: BTreeMap<Bytes, StoredSession>,
    /// Epoch and granted expiry of who has each session now, or had it last.
    holders: BTreeMap<Bytes, (SessionEpoch, u32)>,
    /// Sessions whose client was told of it.
    told: BTreeSet<Bytes>,
    /// Filters that are queued.
    pub(in super::super) durable: BTreeSet<Bytes>,
    pub(in super::super) log: Vec<(Position, Message)>,
    /// Messages in one chunk.
    pub(in super::super) chunk: usize,
    /// Released packet ids, by client.
    pub(in super::super) released: Vec<(Bytes, u16)>,
    /// Exchanges of publishers that are known.
    pub(in super::super) exactly_once: BTreeSet<(Bytes, u16)>,
    last: u64,
}

impl Kept {
    /// Nothing; `chunk` messages are read at once.
    pub(super) fn new(chunk: usize) -> Self {
        Self {
            chunk,
            ..Self::default()
        }
    }

    /// Attaches; returns what was found.
    pub(super) fn attach(
        &mut self,
        client_id: &Bytes,
        clean_start: bool,
        epoch: SessionEpoch,
        expiry_s: u32,
    ) -> Option<StoredSession> {
        if clean_start || !self.told.contains(client_id) {
            self.sessions.remove(client_id);
        }
        self.holders.insert(client_id.clone(), (epoch, expiry_s));
        let found = self.sessions.get(client_id).cloned();
        if found.is_none() && expiry_s > 0 {
            let begun = StoredSession {
                generation: epoch,
                subscriptions: Vec::new(),
                cursors: Vec::new(),
                outbound: Vec::new(),
            };
            self.sessions.insert(client_id.clone(), begun);
            self.told.remove(client_id);
        }
        found
    }

    pub(super) fn detach(&mut self, client_id: &Bytes, epoch: SessionEpoch, expiry_s: Option<u32>, why: DetachReason) {
        if let Some((held, granted_s)) = self.holders.get(client_id)
            && *held == epoch
            && why != DetachReason::TakenOver
            && expiry_s.unwrap_or(*granted_s) == 0
        {
            self.sessions.remove(client_id);
        }
    }

    pub(super) fn update(&mut self, update: UpdateSession) -> bool {
        let holder = self.holders.get(&update.client_id).map(|h| h.0);
        let Some(session) = self.sessions.get_mut(&update.client_id) else {
            return false;
        };
        if holder != Some(update.epoch) {
            return false;
        }
        for change in update.changes {
            apply(session, change);
        }
        self.told.insert(update.client_id);
        true
    }

    /// The position of a message, if it is queued for somebody.
    pub(super) fn append(&mut self, message: &Message) -> Option<Position> {
        let topic = str::from_utf8(&message.topic_name).unwrap();
        let is_queued = |filter: &Bytes| topic_matches(str::from_utf8(filter).unwrap(), topic);
        if message.qos == QoS::AtMostOnce || !self.durable.iter().any(is_queued) {
            return None;
        }
        Some(self.keep(message))
    }

    /// Keeps a message that some queue names.
    pub(super) fn keep(&mut self, message: &Message) -> Position {
        self.last += 1;
        self.log.push((Position(self.last), message.clone()));
        Position(self.last)
    }

    /// Where a subscription begins.
    pub(in super::super) fn ensure(&mut self, topic_filter: &Bytes) -> Position {
        self.durable.insert(topic_filter.clone());
        self.last += 1;
        Position(self.last)
    }

    /// Whether a publication is known.
    pub(super) fn is_known(&mut self, message: &Message) -> bool {
        let of = |e: &freshet_storage_contract::ExactlyOnce| (e.client_id.clone(), e.packet_id.get());
        message
            .exactly_once
            .as_ref()
            .is_some_and(|e| !self.exactly_once.insert(of(e)))
    }

    pub(super) fn release(&mut self, client_id: &Bytes, packet_id: u16) -> bool {
        self.released.push((client_id.clone(), packet_id));
        self.exactly_once.remove(&(client_id.clone(), packet_id))
    }

    pub(super) fn pull(&self, pull: &Pull, is_at_shard: impl Fn(&Message) -> bool) -> ToWorker {
        let mut messages = Vec::new();
        let mut up_to = Position(self.last);
        let mut caught_up = true;
        for (position, message) in self.log.iter().filter(|(p, m)| *p > pull.after && is_at_shard(m)) {
            let topic = str::from_utf8(&message.topic_name).unwrap();
            let matching = pull
                .filters
                .iter()
                .filter(|f| *position > f.start && topic_matches(str::from_utf8(&f.topic_filter).unwrap(), topic));
            let filter_ids: Vec<_> = matching.map(|f| f.filter_id).collect();
            if filter_ids.is_empty() {
                continue;
            }
            if messages.len() == self.chunk.max(1) {
                caught_up = false;
                break;
            }
            up_to = *position;
            messages.push(PulledMessage {
                position: *position,
                filter_ids,
                message: message.clone(),
            });
        }
        if caught_up {
            up_to = Position(self.last);
        }
        ToWorker::Pulled {
            request: pull.request,
            messages,
            up_to,
            caught_up,
        }
    }

    pub(super) fn fetch(&self, fetch: &Fetch) -> ToWorker {
        let find = |position: &Position| self.log.iter().find(|(p, _)| p == position).cloned();
        // One at a time: the reader asks again for the rest.
        let messages = fetch.positions.iter().take(1).filter_map(find);
        ToWorker::Fetched {
            request: fetch.request,
            messages: messages
                .map(|(position, message)| FetchedMessage { position, message })
                .collect(),
            answered: 1,
        }
    }
}

fn apply(session: &mut StoredSession, change: SessionChange) {
    match change {
        SessionChange::Subscribe(mut subscription) => {
            let known = session
                .subscriptions
                .iter()
                .position(|s| s.topic_filter == subscription.topic_filter);
            if let Some(known) = known.map(|at| session.subscriptions.remove(at))
                && !known.starts.is_empty()
            {
                subscription.starts = known.starts;
            }
            session.subscriptions.push(subscription);
            session
                .subscriptions
                .sort_by(|a, b| a.topic_filter.cmp(&b.topic_filter));
        }
        SessionChange::Unsubscribe { topic_filter } => {
            session.subscriptions.retain(|s| s.topic_filter != topic_filter);
        }
        SessionChange::Advance(cursor) => advance(&mut session.cursors, cursor),
        SessionChange::Sending {
            packet_id,
            shard,
            position,
            qos,
            shared,
            message,
        } => {
            session.outbound.retain(|e| e.packet_id != packet_id);
            session.outbound.push(OutboundExchange {
                packet_id,
                shard,
                position,
                qos,
                stage: OutboundStage::Sent,
                shared,
                message,
            });
        }
        SessionChange::Received { packet_id } => {
            for exchange in session.outbound.iter_mut().filter(|e| e.packet_id == packet_id) {
                exchange.stage = OutboundStage::Received;
                exchange.message = None;
            }
        }
        SessionChange::Completed { packet_id } => session.outbound.retain(|e| e.packet_id != packet_id),
    }
}

fn advance(cursors: &mut Vec<Cursor>, cursor: Cursor) {
    match cursors.iter_mut().find(|c| c.shard == cursor.shard) {
        Some(known) => {
            assert!(known.acknowledged <= cursor.acknowledged, "a cursor moves back");
            *known = cursor;
        }
        None => cursors.push(cursor),
    }
}
