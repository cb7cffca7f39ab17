//! What a connection has from its CONNECT on. Epoch and will are storage's business and are carried for it; what only
//! sessions have that outlive their connection is in [`super::durable`].

use freshet_storage_contract::{ClientId, MonotonicMs, PublisherId, RequestId, SessionEpoch, ShardId, Will};

use super::alias::{InboundAliases, OutboundAliases};
use super::durable::Durable;
use super::inflight::Inflight;
use super::leases::Leases;
use super::subscribe::PendingSuback;
use crate::filters::FilterKey;

/// A client's session as its proxy has it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client_id: ClientId,
    /// None until storage has attached it.
    pub(crate) epoch: Option<SessionEpoch>,
    pub(crate) publisher: PublisherId,
    pub(crate) will: Option<Box<Will>>,
    /// Maximum Packet Size of the client.
    pub(crate) max_packet_bytes: u32,
    pub(crate) request_problem_information: bool,
    /// CONNECT asked for a session that ends with the connection: DISCONNECT must not raise that.
    pub(crate) expires_at_once: bool,
    /// A bridge gets no message of its own back and keeps RETAIN as it was published.
    pub(crate) is_bridge: bool,
    pub(crate) subscriptions: Vec<FilterKey>,
    pub(crate) inflight: Inflight,
    /// There from the first alias on.
    pub(crate) inbound_aliases: Option<Box<InboundAliases>>,
    pub(crate) outbound_aliases: Option<Box<OutboundAliases>>,
    pub(crate) requests: Option<Box<Requests>>,
    /// There when the session outlives its connection.
    pub(crate) durable: Option<Box<Durable>>,
    /// Messages of shared subscriptions in flight.
    pub(crate) leases: Option<Box<Leases>>,
    /// Session Expiry Interval that the end of the connection brings, in seconds: that of DISCONNECT, or the server's.
    pub(crate) disconnect_expiry_s: Option<u32>,
}

/// What a session has asked storage for and still waits for.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// SUBSCRIBE packets without SUBACK, oldest first.
    pub(crate) subacks: Vec<PendingSuback>,
    pub(crate) next_suback: u32,
    /// Subscriptions whose joins or retained messages have not all come.
    pub(crate) open: Vec<RequestId>,
    /// Retained messages that wait until the client has room.
    pub(crate) retained: Vec<(RequestId, ShardId)>,
}

/// What is known between CONNECT and CONNACK.
#[derive(Debug)]
pub(crate) struct Attaching {
    /// None: storage has never been reached, so that nothing was asked.
    pub(crate) request: Option<RequestId>,
    pub(crate) since: MonotonicMs,
    pub(crate) clean_start: bool,
    /// The server chose the client id.
    pub(crate) assigned: bool,
    /// Session Expiry Interval that the client asked for, in seconds.
    pub(crate) requested_expiry_s: u32,
    /// What it was granted.
    pub(crate) granted_expiry_s: u32,
    /// Storage has granted the session and it had one; none: CONNACK waits for that.
    pub(crate) session_present: Option<bool>,
    /// Keep-alive of the CONNECT.
    pub(crate) requested_keep_alive_s: u16,
    /// Will as it came: its message's publisher is known once the placement is.
    pub(crate) will: Option<Box<Will>>,
}

impl Session {
    /// Since when the oldest SUBSCRIBE waits.
    pub(crate) fn oldest_subscribe(&self) -> Option<MonotonicMs> {
        self.requests.as_ref()?.subacks.first().map(|s| s.since)
    }

    /// What is asked of storage, to be added to.
    pub(crate) fn requests_mut(&mut self) -> &mut Requests {
        self.requests.get_or_insert_default()
    }

    /// Gives memory back when nothing is asked of storage.
    pub(crate) fn forget_requests(&mut self) {
        self.requests
            .take_if(|r| r.subacks.is_empty() && r.open.is_empty() && r.retained.is_empty());
    }
}
