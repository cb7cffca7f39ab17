//! The end of a connection: what the client is told, what storage is told, what is given back.

use freshet_mqtt::{ConnAck, Disconnect, ReasonCode, Sender};
use freshet_storage_contract::{DetachReason, MonotonicMs};

use super::Worker;
use super::actions::{Actions, Fact, PeerClose};
use super::leaving::Leaving;
use super::shared::Shared;
use super::token::{ConnectionToken, ListenerIndex};
use crate::connection::explanation;
use crate::connection::session::Session;
use crate::connection::{Connection, Context, Ending, Phase};
use crate::planted::planted;
use crate::reason::DisconnectReason;

impl Worker {
    /// The peer has ended the connection, or its socket has failed; the shell closes it. The token means nothing after
    /// this.
    pub fn peer_closed(&mut self, token: ConnectionToken, how: PeerClose, now: MonotonicMs, out: &mut Actions) {
        let reason = match how {
            PeerClose::EndOfStream | PeerClose::Error => DisconnectReason::ConnectionLost,
        };
        self.settle(token, reason.into(), now, out);
        self.remove(token);
        self.resume_paused(now, out);
    }

    /// The shell has closed a connection that [`Actions::close`] named. The token means nothing after this.
    pub fn closed(&mut self, token: ConnectionToken, now: MonotonicMs, out: &mut Actions) {
        self.settle(token, DisconnectReason::ConnectionLost.into(), now, out);
        self.remove(token);
    }

    /// Ends all connections of a listener that has been removed.
    pub fn close_listener(&mut self, listener: ListenerIndex, now: MonotonicMs, out: &mut Actions) {
        for at in 0..self.connections.slot_end() {
            if let Some((token, connection)) = self.connections.in_slot(at)
                && connection.cold.origin.listener() == listener
            {
                self.end(token, DisconnectReason::ListenerRemoved.into(), now, out);
            }
        }
        self.resume_paused(now, out);
    }

    /// Ends a connection: tells the client, then has the shell close it.
    pub(super) fn end(&mut self, token: ConnectionToken, ending: Ending, now: MonotonicMs, out: &mut Actions) {
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        if connection.phase == Phase::Closing {
            return;
        }
        let mut cx = Context {
            shared: &mut self.shared,
            token,
            now,
            out,
        };
        tell_client(connection, &ending, &mut cx);
        self.settle(token, ending, now, out);
        out.close.push(token);
    }

    /// Everything about the end of a connection but its socket.
    fn settle(&mut self, token: ConnectionToken, ending: Ending, now: MonotonicMs, out: &mut Actions) {
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        if connection.phase == Phase::Closing {
            return;
        }
        let mut cx = Context {
            shared: &mut self.shared,
            token,
            now,
            out,
        };
        let was_accepted = connection.phase == Phase::Connected;
        if was_accepted {
            cx.shared.stats.clients_now = cx.shared.stats.clients_now.saturating_sub(1);
            let durable = u64::from(connection.durable_mut().is_some());
            let stats = &mut cx.shared.stats;
            stats.durable_sessions_now = stats.durable_sessions_now.saturating_sub(durable);
        } else if connection.phase == Phase::Attaching {
            cx.shared.stats.attaching_now = cx.shared.stats.attaching_now.saturating_sub(1);
        }
        connection.phase = Phase::Closing;
        connection.paused = None;
        let kept = connection.input.take();
        return_leases(connection, cx.shared);
        if let Some(outbound) = &mut connection.outbound {
            outbound.drop_messages();
        }
        connection.inbound = None;
        connection.settle(cx.shared);
        connection.drop_subscriptions(&mut cx);
        cx.shared.stats.count_disconnect(ending.reason);
        let asked = connection.cold.attaching.take().is_none_or(|a| a.request.is_some());
        let session = connection.cold.session.take();
        cx.out.facts.push(Fact::Disconnected {
            token,
            client_id: session.as_ref().map(|s| s.client_id.clone()),
            peer: connection.cold.origin.peer(),
            listener: connection.cold.origin.listener(),
            reason: ending.reason,
            refused: ending.refused,
            lasted: now.since(connection.cold.accepted),
            was_accepted,
        });
        let unanswered = connection.unanswered;
        if let Some(session) = session
            && asked
        {
            detach(session, unanswered, detach_reason(ending.reason, was_accepted), &mut cx);
        }
        self.forget_input(kept.len());
    }

    fn remove(&mut self, token: ConnectionToken) {
        if self.stage.token == Some(token) {
            self.stage.clear();
        }
        let Some(mut connection) = self.connections.remove(token) else {
            return;
        };
        self.shared.stats.connections_now = self.shared.stats.connections_now.saturating_sub(1);
        if let Some(outbound) = connection.outbound.take() {
            let stats = &mut self.shared.stats;
            stats.outbound_bytes_now = stats.outbound_bytes_now.saturating_sub(outbound.accounted_bytes as u64);
        }
    }
}

/// Says why, as far as the version and the phase allow (MQTT 5.0, 4.13; MQTT-3.14.1-1).
fn tell_client(connection: &mut Connection, ending: &Ending, cx: &mut Context<'_>) {
    if let Some((peer, code)) = ending.connack {
        let reason_string = explanation::of_ending(ending);
        let mut connack = ConnAck::new(code);
        connack.properties.reason_string = reason_string.as_deref();
        // The client is gone either way when its maximum packet size leaves no room for this.
        let _ = connection.answer(cx, |_, out| connack.encode(&peer, out));
    } else if connection.phase == Phase::Connected
        && connection.version.has_properties()
        && let Some(code) = ending.reason.disconnect_code()
    {
        let reason_string = explanation::of_ending(ending);
        let is_moved = ending.reason == DisconnectReason::Moved;
        let reference = is_moved.then(|| cx.shared.next_server_reference()).flatten();
        let disconnect = Disconnect {
            reason_string: reason_string.as_deref(),
            // MQTT 5.0, 4.11: a server reference comes with one of two codes; this is the one for a while.
            server_reference: reference.as_deref(),
            ..Disconnect::new(if reference.is_some() {
                ReasonCode::UseAnotherServer
            } else {
                code
            })
        };
        let _ = connection.answer(cx, |peer, out| disconnect.encode(Sender::Server, peer, out));
    }
}

/// What the client of a shared subscription was given and has not acknowledged goes to another member, but for what its
/// session is about to take for itself.
fn return_leases(connection: &mut Connection, shared: &mut Shared) {
    let Some(session) = &mut connection.cold.session else {
        return;
    };
    let in_flight = session.leases.take().map(|leases| leases.into_sorted());
    for lease in in_flight.into_iter().flatten() {
        shared.return_lease(&lease);
    }
    for queued in connection.outbound.iter_mut().flat_map(|o| o.reliable_mut()) {
        let Some(lease) = queued.lease.take() else { continue };
        if let (Some(packet_id), Some(durable)) = (queued.packet_id, &mut session.durable) {
            durable.give_back(packet_id);
        }
        shared.return_lease(&lease);
    }
}

/// What the end means for the will. That of a client which gave up before its CONNACK came is not due (MQTT 5.0, 3.1.2.5):
/// it may stand for a will that its CONNECT has called off, and waits as that did.
fn detach_reason(reason: DisconnectReason, was_accepted: bool) -> DetachReason {
    match reason.detach_reason() {
        DetachReason::WillDue if !was_accepted => DetachReason::Moved,
        reason => reason,
    }
}

/// Tells storage, or lets that wait until what the client said before has been dealt with.
fn detach(mut session: Session, unanswered: u32, reason: DetachReason, cx: &mut Context<'_>) {
    if session.epoch.is_some() {
        cx.shared.clients.remove(&session.client_id, cx.token.slot());
    }
    let expiry_s = session.durable.as_ref().map_or(0, |durable| durable.expiry_s());
    let updates = session.last_updates(cx.token, cx.shared, cx.now);
    cx.out.to_link.extend(updates);
    let reason = if planted!(WillOnDisconnect) {
        DetachReason::WillDue
    } else {
        reason
    };
    let leaving = Leaving {
        client_id: session.client_id.to_bytes(),
        epoch: session.epoch,
        // Deleted by DISCONNECT (MQTT-3.1.2-10): storage that forgot it is not to be told of it again.
        will: session.will.filter(|_| reason != DetachReason::ByClient),
        expiry_s,
        reason,
        session_expiry_interval_s: session.disconnect_expiry_s,
        unanswered,
    };
    if let Some(detach) = cx.shared.leaving.insert(cx.token, leaving) {
        cx.out.to_link.push(detach);
    }
}
