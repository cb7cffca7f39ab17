//! How a session comes back with a new connection: its subscriptions first, then CONNACK, then what was on its way,
//! then what is queued.
//!
//! CONNACK waits until the filters act again, so that a client that was told that its session is present misses nothing
//! that is published from then on.

use freshet_mqtt::QoS;
use freshet_storage_contract::{
    Fetch, FetchedMessage, MAX_FETCHED, Message, OutboundExchange, OutboundStage, Position, RequestId, ShardId,
    StoredSession,
};
use hashbrown::HashMap;

use super::{Durable, Exchange, Place, SessionRead};
use crate::connection::outbound::Queued;
use crate::connection::{Connection, Context, Ending, SubscribeRequest};
use crate::exchange::ToLink;
use crate::filters::Subscriber;
use crate::worker::{Read, Request, merge_matching};
use foldhash::fast::FixedState;

/// What is still to be done before the session is as it was.
#[derive(Debug, Default)]
pub(crate) struct Restoring {
    /// Subscriptions that do not act yet. CONNACK waits for them.
    subscriptions_left: usize,
    exchanges: Vec<OutboundExchange>,
    /// Reads of messages that are to be sent again.
    pub(super) fetches: Vec<(RequestId, Vec<Position>)>,
    fetched: HashMap<Place, Message, FixedState>,
}

impl Connection {
    /// Takes the session of an earlier connection over. True: CONNACK may leave.
    pub(crate) fn restore(
        &mut self,
        stored: &StoredSession,
        shard: ShardId,
        expiry_s: u32,
        cx: &mut Context<'_>,
    ) -> bool {
        let max_qos = self.max_qos();
        let Some(session) = &mut self.cold.session else {
            return true;
        };
        let mut durable = Durable::resume(stored, shard, expiry_s);
        let mut requests = Vec::new();
        for subscription in &stored.subscriptions {
            let options = &subscription.options;
            let subscriber = Subscriber::new(
                cx.token.slot(),
                subscription.subscription_identifier.unwrap_or(0),
                // What was granted may be more than what CONNACK announces by now.
                options.qos.min(max_qos),
                options.no_local || session.is_bridge,
                options.retain_as_published || session.is_bridge,
            );
            let key = cx.shared.filters.want(&subscription.topic_filter);
            if cx.shared.filters.subscribe(key, subscriber) {
                session.subscriptions.push(key);
                cx.shared.stats.subscriptions_now += 1;
            }
            cx.shared
                .filters
                .join_group(key, cx.token.slot(), session.inflight.window());
            for start in &subscription.starts {
                if cx.shared.filters.is_group(key) {
                    durable.begin_group_at(key, *start);
                } else {
                    durable.begin_at(key, *start);
                }
            }
            requests.push(SubscribeRequest::restored(cx.token, key));
        }
        for exchange in &stored.outbound {
            let is_received = exchange.stage == OutboundStage::Received;
            session.inflight.occupy(exchange.packet_id, exchange.qos, is_received);
            let place = Place {
                shard: exchange.shard,
                position: exchange.position,
            };
            let known = Exchange {
                place,
                shared: exchange.shared.clone(),
                qos: exchange.qos,
                is_sent: true,
                is_stored: true,
                is_received,
            };
            durable.exchanges.insert(exchange.packet_id, known);
        }
        durable.restoring = Some(Box::new(Restoring {
            subscriptions_left: requests.len(),
            exchanges: stored.outbound.clone(),
            ..Restoring::default()
        }));
        session.durable = Some(Box::new(durable));
        let may_answer = requests.is_empty();
        for request in requests {
            let id = cx.shared.requests.add(Request::Subscribe(Box::new(request)));
            if let Some(session) = &mut self.cold.session {
                session.requests_mut().open.push(id);
            }
            cx.shared.ask_for_subscription(id, cx.out);
        }
        may_answer
    }

    /// A subscription of the session acts again. True: it was the last one, and CONNACK may leave.
    pub(crate) fn on_restored(&mut self) -> bool {
        let Some(restoring) = self.durable_mut().and_then(|d| d.restoring.as_mut()) else {
            return false;
        };
        restoring.subscriptions_left = restoring.subscriptions_left.saturating_sub(1);
        restoring.subscriptions_left == 0
    }

    /// Goes on with what was on its way, once CONNACK has left (MQTT-4.4.0-1).
    ///
    /// # Errors
    /// [`Ending`].
    pub(crate) fn resume_exchanges(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        let Some(restoring) = self.durable_mut().and_then(|d| d.restoring.as_mut()) else {
            return Ok(());
        };
        let mut lost: Vec<(ShardId, Vec<Position>)> = Vec::new();
        let mut received = Vec::new();
        for exchange in &restoring.exchanges {
            match exchange.stage {
                OutboundStage::Received => received.push(exchange.packet_id),
                // The session has it, or nobody.
                OutboundStage::Sent if exchange.position == Position::default() => {}
                OutboundStage::Sent => match lost.iter_mut().find(|(shard, _)| *shard == exchange.shard) {
                    Some((_, positions)) => positions.push(exchange.position),
                    None => lost.push((exchange.shard, vec![exchange.position])),
                },
            }
        }
        for packet_id in received {
            self.send_pubrel(packet_id, cx)?;
        }
        for (shard, positions) in lost {
            for positions in positions.chunks(MAX_FETCHED) {
                self.fetch(shard, positions, cx);
            }
        }
        self.resend(cx)
    }

    fn fetch(&mut self, shard: ShardId, positions: &[Position], cx: &mut Context<'_>) {
        let read = SessionRead {
            token: cx.token,
            shard,
            ask: None,
        };
        let request = cx.shared.requests.add(Request::Read(Box::new(read)));
        let fetch = Fetch {
            request,
            shard,
            positions: positions.to_vec(),
        };
        if let Some(Request::Read(read)) = cx.shared.requests.get_mut(request) {
            read.ask = Some(ToLink::Fetch(fetch));
        }
        if let Some(restoring) = self.durable_mut().and_then(|d| d.restoring.as_mut()) {
            restoring.fetches.push((request, positions.to_vec()));
        }
        cx.shared.read_on(Read::Session(request), cx.out);
    }

    /// Messages of a shard that are to be sent again. Of the positions of the request so many were looked at.
    ///
    /// # Errors
    /// [`Ending`].
    pub(crate) fn on_fetched(
        &mut self,
        (request, shard): (RequestId, ShardId),
        messages: Vec<FetchedMessage>,
        answered: u32,
        cx: &mut Context<'_>,
    ) -> Result<(), Ending> {
        let Some(restoring) = self.durable_mut().and_then(|d| d.restoring.as_mut()) else {
            return Ok(());
        };
        let Some(at) = restoring.fetches.iter().position(|(id, _)| *id == request) else {
            return Ok(());
        };
        let (_, positions) = restoring.fetches.swap_remove(at);
        for FetchedMessage { position, message } in messages {
            restoring.fetched.insert(Place { shard, position }, message);
        }
        // At least one was looked at, or this would go on for ever.
        let rest = positions.get(answered.max(1) as usize..).unwrap_or_default();
        if !rest.is_empty() {
            self.fetch(shard, rest, cx);
        }
        self.resend(cx)
    }

    /// Sends again what was sent and not acknowledged, when all of it is there: in its order, before anything else.
    fn resend(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        let Some(durable) = self.durable_mut() else {
            return Ok(());
        };
        let Some(restoring) = durable.restoring.take_if(|r| r.fetches.is_empty()) else {
            return Ok(());
        };
        let Restoring { exchanges, fetched, .. } = *restoring;
        let mut sent: Vec<_> = exchanges.iter().filter(|e| e.stage == OutboundStage::Sent).collect();
        // Storage learns of QoS 1 later than of QoS 2: what counts is in which order a shard had them (MQTT-4.6.0-1).
        sent.sort_by_key(|exchange| (exchange.shard, exchange.position));
        for exchange in sent {
            let place = Place {
                shard: exchange.shard,
                position: exchange.position,
            };
            // A message may be on its way twice: by a shared subscription and by another one.
            let kept = exchange.message.as_deref().or_else(|| fetched.get(&place));
            match kept.cloned() {
                Some(message) => self.resend_message(exchange, place, message, cx),
                None => self.give_up(exchange, cx)?,
            }
        }
        self.settle(cx.shared);
        self.mark_dirty(cx);
        self.schedule_update(cx);
        self.read_on(cx);
        Ok(())
    }

    fn resend_message(&mut self, exchange: &OutboundExchange, place: Place, message: Message, cx: &mut Context<'_>) {
        // What a subscription has brought has RETAIN set whatever its options (MQTT-3.3.1-8).
        let kept = exchange.message.as_ref().map(|message| message.retain);
        let message = std::sync::Arc::new(cx.shared.out_message(message, cx.now));
        let name = exchange.shared.as_deref();
        let merged = merge_matching(self, &message, name, &cx.shared.filters, cx.token.slot());
        let (retain, identifiers) = merged.unwrap_or_default();
        let mut queued = Queued::new(message, exchange.qos, kept.unwrap_or(retain), identifiers);
        queued.place = Some(place);
        queued.packet_id = Some(exchange.packet_id);
        queued.is_repeated = true;
        let outbound = self.outbound.get_or_insert_with(|| cx.shared.spare.take_outbound());
        outbound.push(queued);
    }

    /// The message of an exchange has gone. At QoS 2 the client may remember its packet id: PUBREL ends that.
    fn give_up(&mut self, exchange: &OutboundExchange, cx: &mut Context<'_>) -> Result<(), Ending> {
        let packet_id = exchange.packet_id;
        let Some(session) = &mut self.cold.session else {
            return Ok(());
        };
        let Some(durable) = &mut session.durable else {
            return Ok(());
        };
        cx.shared.stats.deliveries_gone += 1;
        if exchange.qos == QoS::ExactlyOnce {
            session.inflight.release(packet_id);
            if !durable.receive(packet_id, cx.now) {
                self.send_pubrel(packet_id, cx)?;
            }
        } else {
            session.inflight.abandon(packet_id);
            durable.finish(packet_id, cx.now);
        }
        Ok(())
    }
}
