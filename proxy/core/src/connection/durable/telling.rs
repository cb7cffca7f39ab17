//! When storage is told what has changed of a session, and what its answer lets go.

use std::num::NonZeroU16;

use freshet_mqtt::{PubComp, PubRel, QoS, ReasonCode, ReasonCodes, UnsubAck};
use freshet_storage_contract::{
    MonotonicMs, Position, RequestId, SessionChange, SessionEpoch, SessionRefusal, UpdateSession,
};

use super::updates::Held;
use super::{Durable, Exchange, Place, Telling};
use crate::connection::inflight::Inflight;
use crate::connection::outbound::Outbound;
use crate::connection::session::Session;
use crate::connection::{Connection, Context, Ending, Pause};
use crate::exchange::ToLink;
use crate::filters::FilterKey;
use crate::reason::DisconnectReason;
use crate::worker::{ConnectionToken, Request, Shared};

impl Durable {
    /// Gives packet ids to messages that must not be sent before storage knows theirs, as far as the window goes: those of
    /// QoS 2, and those that are kept nowhere else, which it is given with their packet ids.
    ///
    /// With one of QoS 2 it is told of the QoS 1 in front of it: whoever goes on with the session sends both again in their
    /// order (`[MQTT-4.6.0-1]`).
    fn reserve(&mut self, inflight: &mut Inflight, outbound: Option<&mut Outbound>, now: MonotonicMs) {
        if !std::mem::take(&mut self.wants_ids) {
            return;
        }
        let Some(outbound) = outbound else { return };
        let elsewhere = Place {
            shard: self.shard,
            position: Position::default(),
        };
        // QoS 1 in front of the next message; none: not looked for yet.
        let mut untold: Option<Vec<NonZeroU16>> = None;
        for queued in outbound.reliable_mut().filter(|queued| queued.packet_id.is_none()) {
            let Some(packet_id) = inflight.take(queued.qos) else {
                self.wants_ids = true;
                return;
            };
            queued.packet_id = Some(packet_id);
            // A message of a group becomes the session's own with its packet id.
            let lease = queued.lease.as_ref().filter(|_| queued.qos == QoS::ExactlyOnce);
            let of_group = lease.map(|shared| Place {
                shard: shared.shard,
                position: shared.lease.position,
            });
            let place = match queued.place.or(of_group) {
                Some(place) => place,
                // It goes back to its group when the connection ends.
                None if queued.lease.is_some() => continue,
                None => elsewhere,
            };
            queued.place = Some(place);
            let exchange = Exchange {
                place,
                shared: lease.map(|shared| shared.name.clone()),
                qos: queued.qos,
                is_sent: false,
                is_stored: false,
                is_received: false,
            };
            let waits = exchange.waits_for_storage();
            self.exchanges.insert(packet_id, exchange);
            if queued.qos == QoS::ExactlyOnce {
                for before in untold.get_or_insert_with(|| self.untold()).drain(..) {
                    self.tell_sent(before, now);
                }
            } else if let Some(untold) = untold.as_mut().filter(|_| !waits) {
                untold.push(packet_id);
            }
            if waits {
                let sending = SessionChange::Sending {
                    packet_id,
                    shard: place.shard,
                    position: place.position,
                    qos: queued.qos,
                    shared: lease.map(|shared| shared.name.clone()),
                    message: queued.to_be_kept(now).filter(|_| place == elsewhere),
                };
                self.push(sending, Some(Held::Publish(packet_id)), now);
            }
        }
    }

    /// Packet ids of QoS 1 that storage has not been told of, in the order of their messages.
    fn untold(&self) -> Vec<NonZeroU16> {
        let is_untold = |e: &Exchange| !e.is_stored && !e.waits_for_storage();
        let mut untold: Vec<_> = self.exchanges.iter().filter(|(_, e)| is_untold(e)).collect();
        untold.sort_unstable_by_key(|(_, e)| e.place);
        untold.into_iter().map(|(packet_id, _)| *packet_id).collect()
    }

    /// Storage is told of a message of QoS 1 that is on its way.
    fn tell_sent(&mut self, packet_id: NonZeroU16, now: MonotonicMs) {
        let Some(exchange) = self.exchanges.get_mut(&packet_id) else {
            return;
        };
        exchange.is_stored = true;
        let sending = SessionChange::Sending {
            packet_id,
            shard: exchange.place.shard,
            position: exchange.place.position,
            qos: exchange.qos,
            shared: None,
            message: None,
        };
        self.push(sending, None, now);
    }

    fn push_cursors(&mut self, now: MonotonicMs) {
        for cursor in &mut self.cursors {
            if let Some(stored) = cursor.take_change() {
                self.updates.push(SessionChange::Advance(stored), None, now);
            }
        }
    }

    /// A subscription is complete: storage is to be told of it, and of how far the session is at its shards.
    pub(crate) fn subscribe(&mut self, change: SessionChange, key: FilterKey, held: Held, now: MonotonicMs) {
        self.push(change, Some(held), now);
        for start in self.readers.get(&key).into_iter().flatten() {
            if let Some(cursor) = self.cursors.iter_mut().find(|c| c.shard == start.shard) {
                // Storage has passed over what it was told of a shard that the session did not read.
                cursor.tell_if_behind(start.position);
            }
        }
    }

    /// A subscription has gone, and with it the places that only it had.
    pub(crate) fn unsubscribe(&mut self, key: FilterKey) -> Vec<RequestId> {
        self.readers.remove(&key);
        self.groups.remove(&key);
        let readers = &self.readers;
        let mut pulls = Vec::new();
        self.cursors.retain(|cursor| {
            let stays = readers.values().flatten().any(|start| start.shard == cursor.shard);
            if let (false, super::Mode::Pulling { request, .. }) = (stays, cursor.mode) {
                pulls.push(request);
            }
            stays
        });
        pulls
    }

    /// Storage is to be told of a change. How far the session is goes no later than the exchanges that have ended.
    pub(crate) fn push(&mut self, change: SessionChange, held: Option<Held>, now: MonotonicMs) {
        if self.updates.parts(&change) {
            self.push_cursors(now);
        }
        self.updates.push(change, held, now);
    }

    /// Lets something wait until storage has the change that it was to be told of last.
    pub(crate) fn wait(&mut self, held: Held, now: MonotonicMs) {
        self.updates.wait(held, now);
    }

    /// The client is told of the session with CONNACK. One that storage does not know this of is none to the next
    /// connection: its client may have gone before, and remember another one.
    pub(crate) fn tell_begun(&mut self) {
        self.updates.push_told();
    }

    /// Lets an UNSUBACK that ends nothing wait behind others. False: it need not, or cannot.
    pub(crate) fn follow(&mut self, packet_id: NonZeroU16, codes: &[ReasonCode], now: MonotonicMs) -> bool {
        self.updates.follow(packet_id, codes, now)
    }

    /// What storage is to be told at the end of the connection, in this order.
    pub(crate) fn last_changes(&mut self, now: MonotonicMs) -> Vec<Vec<SessionChange>> {
        self.push_cursors(now);
        let is_sent = |packet_id: &NonZeroU16| self.exchanges.get(packet_id).is_some_and(|e| e.is_sent);
        let mut sent = self.untold();
        sent.retain(is_sent);
        for packet_id in sent {
            self.tell_sent(packet_id, now);
        }
        self.updates.take_all().collect()
    }
}

impl Session {
    /// Has the worker tell storage what has changed, if anything has.
    pub(crate) fn schedule_update(&mut self, token: ConnectionToken, shared: &mut Shared, now: MonotonicMs) {
        let has_room = self.inflight.has_room();
        let Some(durable) = &mut self.durable else { return };
        let urgency = durable.urgency(has_room);
        if urgency > durable.telling {
            durable.telling = urgency;
            shared.session_updates.add(token, urgency, now);
        }
    }

    /// One update of the session.
    fn update(&self, epoch: SessionEpoch, request: RequestId, changes: Vec<SessionChange>) -> ToLink {
        ToLink::UpdateSession(UpdateSession {
            request: Some(request),
            client_id: self.client_id.to_bytes(),
            epoch,
            changes,
        })
    }

    /// What storage is to be told before the session is detached; nothing if it ends.
    pub(crate) fn last_updates(
        &mut self,
        token: ConnectionToken,
        shared: &mut Shared,
        now: MonotonicMs,
    ) -> Vec<ToLink> {
        let (Some(epoch), Some(mut durable)) = (self.epoch, self.durable.take()) else {
            return Vec::new();
        };
        if self.disconnect_expiry_s.unwrap_or(durable.expiry_s) == 0 {
            return Vec::new();
        }
        let changes = durable.last_changes(now);
        let tell = |changes| {
            let request = shared.requests.add(Request::Update(token, Box::default()));
            self.update(epoch, request, changes)
        };
        changes.into_iter().map(tell).collect()
    }
}

impl Connection {
    /// Tells storage what has changed.
    pub(crate) fn send_update(&mut self, cx: &mut Context<'_>) {
        let Some(session) = &mut self.cold.session else { return };
        let (Some(epoch), Some(durable)) = (session.epoch, &mut session.durable) else {
            return;
        };
        durable.telling = Telling::Nothing;
        if durable.updates.is_under_way() {
            return;
        }
        durable.reserve(&mut session.inflight, self.outbound.as_deref_mut(), cx.now);
        durable.push_cursors(cx.now);
        if !durable.updates.has_pending() {
            return;
        }
        let request = cx.shared.requests.add(Request::Update(cx.token, Box::default()));
        let Some(changes) = durable.updates.take_next(request) else {
            return;
        };
        let taken = self
            .outbound
            .as_deref_mut()
            .map(|outbound| outbound.take_leases(&changes));
        if let (Some(taken), Some(Request::Update(_, leases))) = (taken, cx.shared.requests.get_mut(request)) {
            *leases = taken;
        }
        cx.out.to_link.push(session.update(epoch, request, changes));
        self.arm(cx);
    }

    /// Storage has committed an update.
    ///
    /// # Errors
    /// [`Ending`].
    pub(crate) fn on_updated(&mut self, request: RequestId, cx: &mut Context<'_>) -> Result<(), Ending> {
        let Some(durable) = self.durable_mut() else {
            return Ok(());
        };
        for held in durable.updates.answered(request) {
            match held {
                Held::SubAck { suback, .. } => self.confirm(suback, cx)?,
                Held::UnsubAck(packet_id, codes) => self.send_unsuback(packet_id, &codes, cx)?,
                Held::PubRel(packet_id) => self.send_pubrel(packet_id, cx)?,
                Held::Publish(packet_id) => {
                    if let Some(exchange) = self.durable_mut().and_then(|d| d.exchanges.get_mut(&packet_id)) {
                        exchange.is_stored = true;
                    }
                    self.mark_dirty(cx);
                }
            }
        }
        self.schedule_update(cx);
        Ok(())
    }

    /// Storage has not made the changes.
    ///
    /// # Errors
    /// [`Ending`]: another connection has the session, or it cannot go on within the bounds.
    pub(crate) fn on_update_refused(
        &mut self,
        request: RequestId,
        refusal: SessionRefusal,
        cx: &mut Context<'_>,
    ) -> Result<(), Ending> {
        let Some(durable) = self.durable_mut() else {
            return Ok(());
        };
        let held = durable.updates.answered(request);
        if refusal == SessionRefusal::Superseded {
            return Err(DisconnectReason::TakenOver.into());
        }
        for held in held {
            // Subscriptions go in updates of their own.
            let Held::SubAck { suback, key } = held else {
                return Err(DisconnectReason::QuotaExceeded.into());
            };
            self.refuse_subscription(suback, key, cx)?;
        }
        self.schedule_update(cx);
        Ok(())
    }

    /// Has the worker tell storage what has changed, if anything has.
    pub(crate) fn schedule_update(&mut self, cx: &mut Context<'_>) {
        if let Some(session) = &mut self.cold.session {
            session.schedule_update(cx.token, cx.shared, cx.now);
        }
    }

    pub(crate) fn durable_mut(&mut self) -> Option<&mut Durable> {
        self.cold.session.as_mut()?.durable.as_deref_mut()
    }

    /// PUBREC has been committed, or need not be.
    ///
    /// # Errors
    /// [`Ending`].
    pub(crate) fn send_pubrel(&mut self, packet_id: NonZeroU16, cx: &mut Context<'_>) -> Result<(), Ending> {
        self.answer(cx, |peer, out| {
            PubRel::new(packet_id, ReasonCode::Success).encode(peer, out)
        })
    }

    pub(crate) fn send_unsuback(
        &mut self,
        packet_id: NonZeroU16,
        codes: &[ReasonCode],
        cx: &mut Context<'_>,
    ) -> Result<(), Ending> {
        self.answer(cx, |peer, out| {
            UnsubAck::new(packet_id, ReasonCodes::from_slice(codes)).encode(peer, out)
        })
    }

    /// Storage has released a QoS 2 packet id of the client: PUBCOMP leaves (MQTT-4.3.3-11).
    ///
    /// # Errors
    /// [`Ending`].
    pub(crate) fn on_released(&mut self, request: RequestId, found: bool, cx: &mut Context<'_>) -> Result<(), Ending> {
        let Some((packet_id, is_known)) = self.durable_mut().and_then(|d| d.releases.answered(request)) else {
            return Ok(());
        };
        if self.paused == Some(Pause::Window) {
            cx.shared.to_resume.push(cx.token);
        }
        // Storage without memory does not know what was published before.
        let code = if found || is_known {
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        self.answer(cx, |peer, out| PubComp::new(packet_id, code).encode(peer, out))
    }
}
