//! From one message of storage to the queues of its receivers.
//!
//! Queueing is all that happens here: publishers wait for nothing else ([`crate::exchange::ToLink::Accepted`]), so
//! that no slow subscriber stalls them.

use std::sync::Arc;

use freshet_config::SlowConsumer;
use freshet_mqtt::QoS;
use freshet_storage_contract::{
    DeliverySeq, FilterId, Message, MonotonicMs, Position, RequestId, RetainedMessage, ShardId, Term,
};

use super::Worker;
use super::actions::Actions;
use super::requests::Request;
use super::shared::Shared;
use super::token::ConnectionToken;
use crate::connection::durable::{Mode, Place};
use crate::connection::message::OutMessage;
use crate::connection::outbound::{Identifiers, Queued};
use crate::connection::{Connection, Phase};
use crate::filters::Subscriber;
use crate::planted::planted;
use crate::reason::DisconnectReason;

/// Receivers of one message, kept to reuse their memory.
#[derive(Debug, Default)]
pub(super) struct Targets {
    subscribers: Vec<Subscriber>,
    too_slow: Vec<ConnectionToken>,
}

/// More receivers than this are not kept for the next message.
const KEPT_TARGETS: usize = 64 << 10;

/// What became of a message that was offered to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offered {
    Queued,
    Dropped,
    /// The client reads too slowly, and is to be told so.
    TooSlow,
    /// The session has no room; the message is queued in storage.
    Behind,
}

impl Worker {
    /// Queues a message for all subscribers of `filter_ids`: one copy for each client (MQTT-3.3.4-2).
    pub(super) fn deliver(
        &mut self,
        shard: ShardId,
        filter_ids: &[FilterId],
        message: Arc<Message>,
        position: Option<Position>,
        now: MonotonicMs,
        out: &mut Actions,
    ) {
        let mut targets = std::mem::take(&mut self.targets);
        for filter_id in filter_ids {
            let filters = &self.shared.filters;
            if !filters.for_each_of(*filter_id, shard, |s| targets.subscribers.push(*s)) {
                self.shared.stats.deliveries_not_authorized += 1;
            }
        }
        if filter_ids.len() > 1 {
            // Subscriptions of one client side by side.
            targets.subscribers.sort_by_key(|s| s.slot);
        }
        if targets.subscribers.is_empty() {
            self.shared.stats.deliveries_unclaimed += 1;
            self.targets = targets;
            return;
        }
        let message = Arc::new(self.shared.out_message(message, now));
        let mut rest = &targets.subscribers[..];
        while let Some(first) = rest.first() {
            let own = rest.iter().take_while(|s| s.slot == first.slot).count();
            let own = if planted!(OverlapDeliveredTwice) { 1 } else { own };
            let (subscriptions, behind) = rest.split_at(own);
            rest = behind;
            // A session that comes back is sent nothing before its CONNACK.
            let Some((token, connection)) = self
                .connections
                .in_slot(first.slot)
                .filter(|(_, connection)| connection.phase == Phase::Connected)
            else {
                continue;
            };
            let Some(mut queued) = merge(connection, subscriptions, &message) else {
                self.shared.stats.deliveries_not_local += 1;
                let cursor = connection.durable_mut().and_then(|durable| durable.cursor_mut(shard));
                if let (Some(cursor), Some(position)) = (cursor, position) {
                    cursor.pass_over(position);
                }
                continue;
            };
            if !is_in_tail(connection, shard, position, &mut queued) {
                continue;
            }
            match offer(connection, queued, token, &mut self.shared, now) {
                Offered::Queued if !connection.is_dirty => {
                    connection.is_dirty = true;
                    out.dirty.push(token);
                }
                Offered::Queued | Offered::Dropped => {}
                Offered::Behind => self.shared.stats.sessions_fallen_behind += 1,
                Offered::TooSlow => targets.too_slow.push(token),
            }
        }
        for token in targets.too_slow.drain(..) {
            self.end(token, DisconnectReason::SlowConsumer.into(), now, out);
        }
        targets.subscribers.clear();
        targets.subscribers.shrink_to(KEPT_TARGETS);
        self.targets = targets;
    }

    /// Notes that a delivery is in its receivers' queues.
    pub(super) fn accept_delivery(&mut self, shard: ShardId, term: Term, seq: DeliverySeq) {
        match self.accepted.iter_mut().find(|accepted| accepted.0 == shard) {
            Some(accepted) => *accepted = (shard, term, seq),
            None => self.accepted.push((shard, term, seq)),
        }
    }

    /// Queues retained messages for one subscription. A chunk is asked for when there is room for it, so that it is
    /// not cut off by the bound on the client's queue.
    pub(super) fn on_retained(
        &mut self,
        id: RequestId,
        shard: ShardId,
        messages: Vec<RetainedMessage>,
        more: bool,
        now: MonotonicMs,
        out: &mut Actions,
    ) {
        let Some(Request::Subscribe(request)) = self.shared.requests.get_mut(id) else {
            return;
        };
        let (token, key) = (request.token, request.key);
        if request.reads > 0 {
            request.reads -= 1;
            self.shared.reads.release(1);
        }
        if !more {
            request.has_read();
        }
        let subscriber = self.shared.filters.subscriber(key, token.slot()).copied();
        let (Some(subscriber), Some(connection)) = (subscriber, self.connections.get_mut(token)) else {
            return;
        };
        for RetainedMessage { message } in messages {
            if subscriber.no_local && is_publisher(connection, &message) {
                self.shared.stats.deliveries_not_local += 1;
                continue;
            }
            let mut identifiers = Identifiers::None;
            identifiers.push(subscriber.identifier);
            let qos = message.qos.min(subscriber.qos);
            // MQTT-3.3.1-8: sent as a result of a subscription, so RETAIN is set.
            let message = Arc::new(self.shared.out_message(message, now));
            let queued = Queued::new(message, qos, true, identifiers);
            if let Some(durable) = connection.durable_mut().filter(|_| qos.is_acknowledged()) {
                durable.want_id();
            }
            let outbound = connection
                .outbound
                .get_or_insert_with(|| self.shared.spare.take_outbound());
            outbound.push(queued);
            self.shared.stats.retained_delivered += 1;
        }
        connection.settle(&mut self.shared);
        if connection.outbound.is_some() && !connection.is_dirty {
            connection.is_dirty = true;
            out.dirty.push(token);
        }
        self.with(token, now, out, |connection, cx| {
            connection.schedule_update(cx);
            if more {
                connection.on_more_retained(id, shard, cx);
            } else {
                connection.on_read(id, cx);
            }
        });
        self.shared.begin_reads(out);
    }
}

fn is_publisher(connection: &Connection, message: &Message) -> bool {
    connection
        .cold
        .session
        .as_ref()
        .is_some_and(|s| s.publisher == message.publisher)
}

/// What one client gets of a message: highest QoS of its subscriptions that match, all their identifiers, RETAIN if
/// any keeps it (MQTT-3.3.4-2, -3, -4; MQTT-3.3.1-12, -13). None: all of them leave out the client's own messages
/// (MQTT-3.8.3-3).
pub(super) fn merge(
    connection: &Connection,
    subscriptions: &[Subscriber],
    message: &Arc<OutMessage>,
) -> Option<Queued> {
    let mut merged: Option<(QoS, bool)> = None;
    let mut identifiers = Identifiers::None;
    for subscription in subscriptions {
        if subscription.no_local && is_publisher(connection, &message.message) && !planted!(NoLocalIgnored) {
            continue;
        }
        let (mut qos, retain) = merged.unwrap_or((QoS::AtMostOnce, false));
        if planted!(QosOfTheLastSubscription) {
            qos = QoS::AtMostOnce;
        }
        merged = Some((qos.max(subscription.qos), retain || subscription.retain_as_published));
        identifiers.push(subscription.identifier);
    }
    let (qos, keeps_retain) = merged?;
    let retain = (keeps_retain || planted!(RetainKept)) && message.message.retain;
    Some(Queued::new(
        message.clone(),
        qos.min(message.message.qos),
        retain,
        identifiers,
    ))
}

/// Whether a live message is for a client's queue now. Not, when its session reads on from what is queued in storage:
/// the message is there, too. One that is gets the place where it is kept.
fn is_in_tail(connection: &mut Connection, shard: ShardId, position: Option<Position>, queued: &mut Queued) -> bool {
    let cursor = connection.durable_mut().and_then(|durable| durable.cursor_mut(shard));
    let (Some(position), Some(cursor)) = (position, cursor) else {
        return true;
    };
    if !queued.qos.is_acknowledged() {
        cursor.pass_over(position);
        return true;
    }
    let is_new = cursor.mode == Mode::Tail && !cursor.has(position);
    if is_new {
        queued.place = Some(Place { shard, position });
    }
    is_new
}

/// Puts a message into a client's queue, or makes room for it, or drops it.
fn offer(
    connection: &mut Connection,
    queued: Queued,
    token: ConnectionToken,
    shared: &mut Shared,
    now: MonotonicMs,
) -> Offered {
    let limit = shared.outbound_limit(connection.outbound_limit);
    let outbound = connection.outbound.get_or_insert_with(|| shared.spare.take_outbound());
    let bytes = queued.message.charged_bytes();
    let is_reliable = queued.qos.is_acknowledged();
    let mut offered = Offered::Queued;
    // A client that has read everything gets any message that its packets may be as large as.
    while outbound.total_bytes() > 0 && outbound.total_bytes() + bytes > limit {
        if !is_reliable {
            shared.stats.deliveries_shed += 1;
            offered = Offered::Dropped;
            break;
        }
        if outbound.drop_qos0() {
            shared.stats.deliveries_shed += 1;
            continue;
        }
        if let Some(durable) = connection
            .cold
            .session
            .as_mut()
            .and_then(|session| session.durable.as_mut())
        {
            // Never closed for being slow: it reads on later. What is kept nowhere cannot wait.
            offered = match queued.place {
                Some(place) => {
                    durable.leave_tail(place.shard);
                    Offered::Behind
                }
                None => {
                    shared.stats.deliveries_dropped += 1;
                    Offered::Dropped
                }
            };
            break;
        }
        if connection.cold.config.mqtt.slow_consumer == SlowConsumer::Disconnect {
            offered = Offered::TooSlow;
            break;
        }
        let dropped = outbound.drop_reliable();
        match dropped.as_ref().map(|dropped| &dropped.lease) {
            // Another member may have room for it.
            Some(Some(lease)) => shared.return_lease(lease),
            Some(None) => shared.stats.deliveries_dropped += 1,
            None => {
                shared.stats.deliveries_dropped += 1;
                // What is left cannot be dropped: it is half written.
                offered = Offered::Dropped;
                break;
            }
        }
    }
    if offered == Offered::Queued {
        let (place, qos) = (queued.place, queued.qos);
        outbound.push(queued);
        // The socket is full: nobody will look at this message for a while.
        if !outbound.unwritten.is_empty() {
            outbound.own_messages();
        }
        queue_up(connection, place, qos, token, shared, now);
    }
    connection.settle(shared);
    shared.spare.give_back_outbound(&mut connection.outbound);
    offered
}

/// A message is in a client's queue: a session that outlives its connection takes note.
pub(super) fn queue_up(
    connection: &mut Connection,
    place: Option<Place>,
    qos: QoS,
    token: ConnectionToken,
    shared: &mut Shared,
    now: MonotonicMs,
) {
    let Some(session) = &mut connection.cold.session else {
        return;
    };
    let Some(durable) = &mut session.durable else { return };
    if let Some(place) = place
        && let Some(cursor) = durable.cursor_mut(place.shard)
    {
        cursor.hand_over(place.position);
    }
    if qos == QoS::ExactlyOnce || (place.is_none() && qos.is_acknowledged()) {
        durable.want_id();
        session.schedule_update(token, shared, now);
    }
}
