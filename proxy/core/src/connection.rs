//! One client's connection: its state, and what each packet of the client does to it.
//!
//! Called by the worker, which owns the connections and all that they share ([`Shared`]). What concerns more than one
//! connection (deliveries, takeovers, the end of a connection) is the worker's. The part that every packet touches is
//! small and lies in the worker's slab; the rest is boxed, and queues exist only while they hold something.

mod acknowledge;
mod alias;
mod connect;
pub(crate) mod durable;
pub(crate) mod explanation;
mod inbound;
mod inflight;
mod input;
pub(crate) mod leases;
pub(crate) mod message;
mod origin;
pub(crate) mod outbound;
mod packet;
mod packet_ids;
mod publish;
pub(crate) mod session;
pub(crate) mod spare;
mod subscribe;
mod unsubscribe;
mod write;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use freshet_config::ProxyConfig;
use freshet_mqtt::{DecodeError, EncodeError, Peer, ProtocolVersion, ReasonCode};
use freshet_storage_contract::MonotonicMs;

use self::inbound::Inbound;
use self::input::Input;
use self::origin::Origin;
use self::outbound::Outbound;
use self::session::{Attaching, Session};
use crate::reason::DisconnectReason;
use crate::worker::{Actions, ConnectionToken, ListenerIndex, Shared};

pub(crate) use self::packet::{FirstBytes, look_at_first_bytes};
pub(crate) use self::subscribe::SubscribeRequest;

/// How long a client has for its CONNECT.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers that a client has not read and from which on it is not read either.
const UNREAD_ANSWERS_BYTES: usize = 64 << 10;

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// CONNECT has not arrived.
    New,
    /// CONNECT has arrived, CONNACK is due: further packets are held.
    Attaching,
    /// CONNACK was sent.
    Connected,
    /// The worker has ended it; the shell writes what is pending and closes.
    Closing,
}

/// Why a connection is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The client has as many unanswered requests as it may.
    Window,
    /// The worker has as many outstanding publications as it may.
    Budget,
    /// The client does not read its answers. Its keep-alive goes on: this is its own doing.
    Output,
    /// The connection is about to be handed over.
    Leaving,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) phase: Phase,
    pub(crate) version: ProtocolVersion,
    pub(crate) paused: Option<Pause>,
    /// The shell was told not to read.
    pub(crate) is_unread: bool,
    /// [`Actions::dirty`] names it.
    pub(crate) is_dirty: bool,
    /// It is to be ended as soon as nothing is in flight.
    pub(crate) is_leaving: bool,
    /// Effective keep-alive in seconds; 0 = none.
    pub(crate) keep_alive_s: u16,
    /// Publications of any QoS without outcome.
    pub(crate) unanswered: u32,
    /// Bytes of messages that may be queued.
    pub(crate) outbound_limit: u32,
    pub(crate) last_received: MonotonicMs,
    /// Earliest deadline in the timers; the end of time: none.
    pub(crate) timer_at: MonotonicMs,
    /// An incomplete packet, or packets that wait.
    pub(crate) input: Input,
    pub(crate) outbound: Option<Box<Outbound>>,
    pub(crate) inbound: Option<Box<Inbound>>,
    pub(crate) cold: Box<Cold>,
}

/// What a packet seldom touches.
#[derive(Debug)]
pub(crate) struct Cold {
    pub(crate) origin: Origin,
    pub(crate) accepted: MonotonicMs,
    /// The configuration when the connection was accepted: what was announced to the client stays true.
    pub(crate) config: Arc<ProxyConfig>,
    /// Between CONNECT and CONNACK.
    pub(crate) attaching: Option<Box<Attaching>>,
    /// From CONNECT on.
    pub(crate) session: Option<Session>,
}

/// What a packet's handling may use beside its connection.
pub(crate) struct Context<'a> {
    pub(crate) shared: &'a mut Shared,
    pub(crate) token: ConnectionToken,
    pub(crate) now: MonotonicMs,
    pub(crate) out: &'a mut Actions,
}

/// What follows a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next one.
    Next,
    /// Nothing for now: this packet was not taken and comes again when the pause is over.
    Hold(Pause),
}

/// Why a connection is to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) reason: DisconnectReason,
    pub(crate) refused: Option<DecodeError>,
    /// CONNACK before the end, for a connection that has not got one.
    pub(crate) connack: Option<(Peer, ReasonCode)>,
}

impl From<DisconnectReason> for Ending {
    fn from(reason: DisconnectReason) -> Self {
        Self {
            reason,
            refused: None,
            connack: None,
        }
    }
}

impl From<DecodeError> for Ending {
    fn from(refused: DecodeError) -> Self {
        let reason = DisconnectReason::of_refusal(refused.reason_code);
        Self {
            reason,
            refused: Some(refused),
            connack: None,
        }
    }
}

impl Connection {
    pub(crate) fn new(peer: SocketAddr, listener: ListenerIndex, config: Arc<ProxyConfig>, now: MonotonicMs) -> Self {
        Self {
            phase: Phase::New,
            version: ProtocolVersion::V5,
            paused: None,
            is_unread: false,
            is_dirty: false,
            is_leaving: false,
            keep_alive_s: 0,
            unanswered: 0,
            outbound_limit: config.client_limits.outbound_buffer_bytes,
            last_received: now,
            timer_at: MonotonicMs(u64::MAX),
            input: Input::default(),
            outbound: None,
            inbound: None,
            cold: Box::new(Cold {
                origin: Origin::new(peer, listener),
                accepted: now,
                config,
                attaching: None,
                session: None,
            }),
        }
    }

    /// What an encoder has to know of the client.
    pub(crate) fn peer(&self) -> Peer {
        match &self.cold.session {
            Some(session) => Peer {
                version: self.version,
                max_packet_bytes: session.max_packet_bytes,
                request_problem_information: session.request_problem_information,
            },
            None => Peer::new(self.version),
        }
    }

    /// Puts a packet that is no PUBLISH behind the others.
    ///
    /// # Errors
    /// A client whose maximum packet size leaves no room for what the protocol demands is ended.
    pub(crate) fn answer(
        &mut self,
        cx: &mut Context<'_>,
        encode: impl FnOnce(&Peer, &mut Vec<u8>) -> Result<usize, EncodeError>,
    ) -> Result<(), Ending> {
        let peer = self.peer();
        let outbound = self.outbound.get_or_insert_with(|| cx.shared.spare.take_outbound());
        let encoded = encode(&peer, &mut outbound.control);
        self.settle(cx.shared);
        self.mark_dirty(cx);
        match encoded {
            Ok(_) => {
                cx.shared.stats.answers_sent += 1;
                Ok(())
            }
            Err(_) => Err(DisconnectReason::PacketTooLarge.into()),
        }
    }

    /// Asks the shell to write.
    pub(crate) fn mark_dirty(&mut self, cx: &mut Context<'_>) {
        if !self.is_dirty {
            self.is_dirty = true;
            cx.out.dirty.push(cx.token);
        }
    }

    /// Brings the worker's gauge of outbound bytes up to date.
    pub(crate) fn settle(&mut self, shared: &mut Shared) {
        if let Some(outbound) = &mut self.outbound {
            let total = outbound.total_bytes();
            shared.stats.outbound_bytes_now =
                (shared.stats.outbound_bytes_now + total as u64).saturating_sub(outbound.accounted_bytes as u64);
            outbound.accounted_bytes = total;
        }
    }

    /// Whether the client leaves its answers unread.
    pub(crate) fn leaves_answers_unread(&self) -> bool {
        self.outbound
            .as_ref()
            .is_some_and(|o| o.encoded_bytes() > UNREAD_ANSWERS_BYTES)
    }

    /// Whether nothing is under way in either direction.
    pub(crate) fn is_idle(&self) -> bool {
        self.unanswered == 0
            && self.inbound.is_none()
            && self.outbound.is_none()
            && self
                .cold
                .session
                .as_ref()
                .is_none_or(|s| s.inflight.is_empty() && s.durable.as_ref().is_none_or(|durable| durable.is_idle()))
    }

    /// When something is due although nothing happens.
    pub(crate) fn deadline(&self, now: MonotonicMs) -> Option<MonotonicMs> {
        let hold = Duration::from_millis(self.cold.config.mqtt.publish_hold_ms);
        match self.phase {
            Phase::New => Some(self.cold.accepted.plus(CONNECT_TIMEOUT)),
            Phase::Attaching => self.cold.attaching.as_ref().map(|a| a.since.plus(hold)),
            Phase::Connected => {
                let published = self.inbound.as_ref().and_then(|i| i.oldest());
                let subscribed = self.cold.session.as_ref().and_then(Session::oldest_subscribe);
                let durable = self.cold.session.as_ref().and_then(|s| s.durable.as_ref()?.oldest());
                let held = published
                    .into_iter()
                    .chain(subscribed)
                    .chain(durable)
                    .min()
                    .map(|since| since.plus(hold));
                held.into_iter().chain(self.keep_alive_deadline(now)).min()
            }
            Phase::Closing => None,
        }
    }

    /// When the client must have sent something (MQTT-3.1.2-22). Stands still while the server does not read.
    pub(crate) fn keep_alive_deadline(&self, now: MonotonicMs) -> Option<MonotonicMs> {
        if self.keep_alive_s == 0 {
            return None;
        }
        let allowed = Duration::from_millis(u64::from(self.keep_alive_s) * 1_500);
        let from = match self.paused {
            None | Some(Pause::Output) => self.last_received,
            Some(_) => now,
        };
        Some(from.plus(allowed))
    }

    /// Sets the timer if something is due before it fires.
    pub(crate) fn arm(&mut self, cx: &mut Context<'_>) {
        if let Some(at) = self.deadline(cx.now)
            && at < self.timer_at
        {
            self.timer_at = at;
            cx.shared.timers.schedule(cx.token, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_that_every_packet_touches_is_small() {
        assert!(size_of::<Connection>() <= 128, "{}", size_of::<Connection>());
        assert!(size_of::<Cold>() <= 320, "{}", size_of::<Cold>());
    }
}
