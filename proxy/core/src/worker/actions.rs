//! What a worker wants done, and what it has to tell.

use std::net::SocketAddr;
use std::time::Duration;

use freshet_mqtt::{DecodeError, ProtocolVersion};
use freshet_storage_contract::ClientId;

use super::token::{ConnectionToken, ListenerIndex};
use crate::exchange::ToLink;
use crate::reason::DisconnectReason;

/// What the shell has to do, in any order. One value serves a whole turn; the shell empties the vectors.
#[derive(Debug, Default)]
pub struct Actions {
    /// For the link, in this order.
    pub to_link: Vec<ToLink>,
    /// Connections that have bytes to write ([`super::Worker::pending_output`]); each at most once until its output
    /// was asked for.
    pub dirty: Vec<ConnectionToken>,
    /// Connections whose reading was paused and goes on: bytes may wait in the socket although no event says so.
    pub resume_reading: Vec<ConnectionToken>,
    /// Connections that the worker has ended: write what is pending as far as the socket takes it, close the socket,
    /// then call [`super::Worker::closed`].
    pub close: Vec<ConnectionToken>,
    /// For the log.
    pub facts: Vec<Fact>,
}

impl Actions {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.to_link.is_empty()
            && self.dirty.is_empty()
            && self.resume_reading.is_empty()
            && self.close.is_empty()
            && self.facts.is_empty()
    }
}

/// Whether the shell goes on reading a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Read on.
    Continue,
    /// Do not read until [`Actions::resume_reading`] names the connection.
    PauseReading,
    /// The connection has ended; [`Actions::close`] names it.
    Close,
}

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The worker has `max_connections`.
    TooManyConnections,
    /// The worker hands over its clients.
    Draining,
    /// So many clients have come that this one would wait for its session longer than it has patience.
    TooManyAtOnce,
}

/// How a peer ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerClose {
    /// End of stream.
    EndOfStream,
    /// Reset, or another error of the socket.
    Error,
}

/// Something worth a line in the log.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A client's CONNECT was accepted.
    Connected {
        /// The connection.
        token: ConnectionToken,
        /// Client Identifier.
        client_id: ClientId,
        /// Whether the server chose it.
        assigned: bool,
        /// Address of the client.
        peer: SocketAddr,
        /// Where it connected.
        listener: ListenerIndex,
        /// What it speaks.
        version: ProtocolVersion,
        /// Whether it said that it is a bridge.
        bridge: bool,
        /// Seconds; 0 = none.
        keep_alive_s: u16,
        /// Clean Start (5.0), Clean Session (3.1.1).
        clean_start: bool,
    },
    /// A connection has ended.
    Disconnected {
        /// The connection.
        token: ConnectionToken,
        /// Client Identifier; none: CONNECT was not understood.
        client_id: Option<ClientId>,
        /// Address of the client.
        peer: SocketAddr,
        /// Where it had connected.
        listener: ListenerIndex,
        /// Why.
        reason: DisconnectReason,
        /// What was wrong, when the codec refused a packet.
        refused: Option<DecodeError>,
        /// How long the connection lasted.
        lasted: Duration,
        /// Whether CONNECT had been accepted.
        was_accepted: bool,
    },
}
