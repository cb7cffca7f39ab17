//! What the link says.

use std::sync::Arc;
use std::time::Duration;

use freshet_mqtt::QoS;
use freshet_storage_contract::{
    FilterId, FilterShards, MonotonicMs, Placement, Position, PublishOutcome, RegisteredSession, RequestId,
    SessionEpoch, ShardId, StoredSession, SubscriptionStart,
};

use super::Worker;
use super::actions::Actions;
use super::requests::Request;
use super::token::ConnectionToken;
use crate::connection::{Connection, Context, Ending, Phase};
use crate::exchange::{PublishTicket, QueuedFor, ToLink, ToWorker};
use crate::planted::planted;
use crate::reason::DisconnectReason;

/// Storage that could not be reached for as long may not remember for much longer that publications have passed this proxy
/// by: its clients are told in any case.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(12 * 3_600);

impl Worker {
    /// Takes an event of the link.
    pub fn handle(&mut self, event: ToWorker, now: MonotonicMs, out: &mut Actions) {
        match event {
            ToWorker::Published { ticket, outcome } => self.on_published(ticket, outcome, now, out),
            ToWorker::Subscribed {
                request,
                filter_id,
                shards,
            } => self.on_subscribed(request, filter_id, shards, out),
            ToWorker::Resized { request } => self.on_resized(request, now),
            ToWorker::Joined { request, shard, start } => self.on_joined(request, shard, start, now, out),
            ToWorker::SubscriptionRefused { request } => {
                if let Some(Request::Subscribe(subscribe)) = self.shared.requests.get_mut(request) {
                    let token = subscribe.token;
                    self.try_with(token, now, out, |connection, cx| {
                        connection.on_subscription_refused(request, cx)
                    });
                }
            }
            ToWorker::Retained {
                request,
                shard,
                messages,
                more,
            } => {
                self.on_retained(request, shard, messages, more, now, out);
            }
            ToWorker::Deliver {
                shard,
                term,
                seq,
                filter_ids,
                message,
                position,
            } => {
                self.deliver(shard, filter_ids.as_slice(), message, position, now, out);
                self.accept_delivery(shard, term, seq);
            }
            ToWorker::Shared {
                shard,
                term,
                seq,
                shared,
            } => {
                self.deliver_shared(shard, shared, now, out);
                self.accept_delivery(shard, term, seq);
            }
            ToWorker::Overrun { shard, queued } => self.on_overrun(shard, queued, now, out),
            ToWorker::SessionAttached {
                request,
                epoch,
                session_present,
                session,
            } => {
                if let Some(Request::Attach(token, asked)) = self.shared.requests.remove(request) {
                    self.shared.attaches.answered(asked, now);
                    self.on_attached(token, epoch, session_present, session.as_deref(), now, out);
                }
            }
            ToWorker::SessionUpdated { request } => {
                if let Some(Request::Update(token, _)) = self.shared.requests.remove(request) {
                    self.try_with(token, now, out, |connection, cx| connection.on_updated(request, cx));
                }
            }
            ToWorker::UpdateRefused { request, refusal } => {
                if let Some(Request::Update(token, leases)) = self.shared.requests.remove(request) {
                    for lease in &leases {
                        self.shared.return_lease(lease);
                    }
                    self.try_with(token, now, out, |connection, cx| {
                        connection.on_update_refused(request, refusal, cx)
                    });
                }
            }
            ToWorker::Pulled {
                request,
                messages,
                up_to,
                caught_up,
            } => self.on_pulled(request, messages, (up_to, caught_up), now, out),
            ToWorker::Fetched {
                request,
                messages,
                answered,
            } => {
                if let Some(Request::Read(read)) = self.shared.requests.remove(request) {
                    self.shared.reads.release(1);
                    self.try_with(read.token, now, out, |connection, cx| {
                        connection.on_fetched((request, read.shard), messages, answered, cx)
                    });
                    self.shared.begin_reads(out);
                }
            }
            ToWorker::Released { request, found } => {
                if let Some(Request::Release(token)) = self.shared.requests.remove(request) {
                    self.try_with(token, now, out, |connection, cx| {
                        connection.on_released(request, found, cx)
                    });
                }
            }
            ToWorker::SessionRefused { request, refusal } => {
                if let Some(Request::Attach(token, asked)) = self.shared.requests.remove(request) {
                    self.shared.attaches.answered(asked, now);
                    self.shared.leaving.refused(token);
                    if let Some(connection) = self.connections.get_mut(token) {
                        let ending = connection.on_refused(refusal);
                        // There is nothing to detach.
                        if let Some(attaching) = &mut connection.cold.attaching {
                            attaching.request = None;
                        }
                        self.end(token, ending, now, out);
                    }
                }
            }
            ToWorker::TakeOver { client_id, epoch } => {
                let connections = &self.connections;
                let slot = self.shared.clients.find(&client_id, |slot| {
                    let session = connections.at_slot(slot).and_then(|c| c.cold.session.as_ref());
                    session.is_some_and(|s| *s.client_id == *client_id && s.epoch == Some(epoch))
                });
                let token = slot.and_then(|slot| Some(self.connections.in_slot(slot)?.0));
                if let Some(token) = token.filter(|_| !planted!(TakeoverPassedOver)) {
                    self.end(token, DisconnectReason::TakenOver.into(), now, out);
                }
            }
            ToWorker::RegisterSessions { shard } => self.register_sessions(shard, now, out),
            ToWorker::StorageBack {
                placement,
                keeps_sessions,
                shares,
            } => {
                self.shared.shares = shares;
                self.shared.keeps_sessions = keeps_sessions;
                self.on_storage_back(&placement, now, out);
            }
            ToWorker::StorageAway => self.shared.lose_storage(now),
        }
        self.resume_paused(now, out);
    }

    fn on_published(&mut self, ticket: PublishTicket, outcome: PublishOutcome, now: MonotonicMs, out: &mut Actions) {
        let Some(publication) = self.shared.take_publication(ticket, now) else {
            return;
        };
        let (token, number) = (publication.token, publication.number);
        match self.connections.get(token) {
            Some(connection) if connection.phase != Phase::Closing => {
                self.try_with(token, now, out, |connection, cx| {
                    connection.on_published(number, outcome, cx)
                });
            }
            _ => out.to_link.extend(self.shared.leaving.answered(token)),
        }
    }

    fn on_subscribed(&mut self, id: RequestId, filter_id: FilterId, shards: FilterShards, out: &mut Actions) {
        let key = match self.shared.requests.get_mut(id) {
            Some(Request::Subscribe(request)) => {
                let all = self.shared.placement.as_ref().map_or(1, |p| p.shards());
                request.set_shards(match shards {
                    FilterShards::One(_) => 1,
                    FilterShards::All => all,
                });
                request.key
            }
            Some(Request::Withdrawn(key)) => {
                let key = *key;
                self.shared.requests.remove(id);
                key
            }
            _ => return,
        };
        let released = self.shared.filters.named(key, filter_id, shards);
        self.shared.tell_release(released, out);
    }

    fn on_joined(
        &mut self,
        id: RequestId,
        shard: ShardId,
        start: Option<Position>,
        now: MonotonicMs,
        out: &mut Actions,
    ) {
        let Some(Request::Subscribe(request)) = self.shared.requests.get_mut(id) else {
            return;
        };
        let (token, key) = (request.token, request.key);
        self.shared.filters.joined(key, token.slot(), shard);
        let durable = self.connections.get_mut(token).and_then(|c| c.durable_mut());
        if let (Some(position), Some(durable)) = (start, durable) {
            let start = SubscriptionStart { shard, position };
            if self.shared.filters.is_group(key) {
                durable.begin_group_at(key, start);
            } else {
                durable.begin_at(key, start);
            }
        }
        if request.join(shard) {
            self.shared.filters.joined_everywhere(key, token.slot());
            self.try_with(token, now, out, |connection, cx| connection.on_joined(id, cx));
        }
    }

    fn on_attached(
        &mut self,
        token: ConnectionToken,
        epoch: SessionEpoch,
        session_present: bool,
        session: Option<&StoredSession>,
        now: MonotonicMs,
        out: &mut Actions,
    ) {
        match self.connections.get(token) {
            Some(connection) if connection.phase == Phase::Attaching => {
                let attached = |connection: &mut Connection, cx: &mut Context<'_>| {
                    connection.on_attached(epoch, session_present, session, cx)
                };
                self.try_with(token, now, out, attached);
            }
            // The client did not wait.
            _ => out.to_link.extend(self.shared.leaving.attached(token, epoch)),
        }
    }

    /// Deliveries were lost: who was promised them with QoS 1 or 2 must not go on as if nothing had happened.
    fn on_overrun(&mut self, shard: ShardId, queued: QueuedFor, now: MonotonicMs, out: &mut Actions) {
        let away = self
            .shared
            .storage_lost_at
            .filter(|_| queued == QueuedFor::Unexpired)
            .map(|at| now.since(at));
        if queued == QueuedFor::Unexpired {
            // Their messages went to other members, unless storage had heard: what it has stored is what counts.
            for token in self.shared.requests.taking_from(shard) {
                self.end(token, DisconnectReason::Overrun.into(), now, out);
            }
            // Those that storage was not asked for have gone to others in any case.
            self.drop_leased(shard);
        }
        let mut slots = Vec::new();
        self.shared.filters.for_each_at(shard, |subscriber| {
            if subscriber.qos != QoS::AtMostOnce {
                slots.push(subscriber.slot);
            }
        });
        slots.sort_unstable();
        slots.dedup();
        for slot in slots {
            let Some((token, connection)) = self.connections.in_slot(slot) else {
                continue;
            };
            match connection.durable_mut() {
                // What was lost on its way is queued, unless the session has expired meanwhile and is a new one.
                Some(durable)
                    if queued != QueuedFor::Nobody
                        && away.is_none_or(|away| away.as_secs() < u64::from(durable.expiry_s())) =>
                {
                    durable.leave_tail(shard);
                    self.with(token, now, out, |connection, cx| connection.read_on(cx));
                }
                _ => {
                    if queued == QueuedFor::Nobody
                        && let Some(session) = &mut connection.cold.session
                    {
                        // It has a gap: the client is not to find it again as if it had none.
                        session.disconnect_expiry_s = Some(0);
                    }
                    self.end(token, DisconnectReason::Overrun.into(), now, out);
                }
            }
        }
    }

    fn register_sessions(&mut self, shard: ShardId, now: MonotonicMs, out: &mut Actions) {
        let Some(placement) = &self.shared.placement else {
            return;
        };
        let filters = &self.shared.filters;
        let connected = self.connections.iter().filter_map(|(token, connection)| {
            let session = connection.cold.session.as_ref()?;
            let expiry_s = session.durable.as_ref().map_or(0, |durable| durable.expiry_s());
            let is_here = placement.shard_of_client(&session.client_id) == shard;
            let epoch = session.epoch.filter(|_| is_here)?;
            let stored = session.stored(filters, token.slot());
            Some((session.client_id.to_bytes(), epoch, &session.will, expiry_s, stored))
        });
        let leaving = self
            .shared
            .leaving
            .iter()
            .filter(|l| placement.shard_of_client(&l.client_id) == shard)
            // Storage has been told all about it, and keeps it if it remembers that.
            .filter_map(|l| Some((l.client_id.clone(), l.epoch?, &l.will, l.expiry_s, None)));
        let sessions: Vec<RegisteredSession> = connected
            .chain(leaving)
            .map(
                |(client_id, epoch, will, session_expiry_interval_s, session)| RegisteredSession {
                    client_id,
                    epoch,
                    will: will.as_deref().cloned(),
                    session_expiry_interval_s,
                    session,
                },
            )
            .collect();
        out.to_link.push(ToLink::RegisterSessions { shard, sessions });
        self.read_on_everywhere(shard, now, out);
    }

    /// Storage begins anew with a shard: what it delivered to nobody meanwhile is queued.
    fn read_on_everywhere(&mut self, shard: ShardId, now: MonotonicMs, out: &mut Actions) {
        for at in 0..self.connections.slot_end() {
            let Some((token, connection)) = self.connections.in_slot(at) else {
                continue;
            };
            if let Some(durable) = connection.durable_mut() {
                durable.leave_tail(shard);
                self.with(token, now, out, |connection, cx| connection.read_on(cx));
            }
        }
    }

    fn on_storage_back(&mut self, placement: &Arc<Placement>, now: MonotonicMs, out: &mut Actions) {
        self.shared.placement = Some(placement.clone());
        let was_away = std::mem::take(&mut self.shared.storage_away);
        let lost_at = self.shared.storage_lost_at.filter(|_| was_away);
        if lost_at.is_some_and(|at| now.since(at) >= FORGOTTEN_AFTER) {
            for shard in 0..placement.shards() {
                self.on_overrun(ShardId(shard), QueuedFor::All, now, out);
            }
        }
        self.shared.attaches.begin_anew(now);
        self.begin_attaches(now, out);
        // Messages of QoS 1 and 2 were held back.
        for at in 0..self.connections.slot_end() {
            let Some((token, connection)) = self.connections.in_slot(at) else {
                continue;
            };
            if connection.outbound.as_ref().is_some_and(|o| o.has_message(true)) {
                connection.mark_dirty(&mut Context {
                    shared: &mut self.shared,
                    token,
                    now,
                    out,
                });
            }
        }
    }

    /// Asks for the sessions that there is room for.
    pub(super) fn begin_attaches(&mut self, now: MonotonicMs, out: &mut Actions) {
        let Some(placement) = self.shared.placement.clone() else {
            return;
        };
        if !self.shared.storage_away {
            self.shared.attaches.give_up_held(now);
        }
        while let Some(token) = self.shared.attaches.next() {
            self.with(token, now, out, |connection, cx| {
                if connection.phase == Phase::Attaching {
                    connection.ask_for_session(&placement, cx);
                }
            });
        }
    }

    /// Runs `act` on a connection and ends it if that fails.
    pub(super) fn try_with(
        &mut self,
        token: ConnectionToken,
        now: MonotonicMs,
        out: &mut Actions,
        act: impl FnOnce(&mut Connection, &mut Context<'_>) -> Result<(), Ending>,
    ) {
        if let Some(Err(ending)) = self.with(token, now, out, act) {
            self.end(token, ending, now, out);
        }
    }
}
