//! What a worker is made with.

use crate::exchange::WorkerId;

/// What a worker is made with and keeps for its life.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Index within the proxy.
    pub id: WorkerId,
    /// Pod name, for CONNACK with `proxyInConnack`.
    pub proxy_name: String,
    /// Connections with a socket at once. More are refused.
    pub max_connections: u32,
    /// Bytes of publications that may wait for their outcome ([`freshet_storage_contract::Message::charged_bytes`]).
    /// Over it, clients that publish are not read until there is room; QoS 0 is shed while storage is away.
    pub outstanding_publish_bytes: u64,
    /// Bytes queued towards all clients. Over it, each client may only have its equal share queued.
    pub outbound_bytes: u64,
    /// Bytes of incomplete and of waiting packets of all clients. Over it, a client that brings more is closed.
    pub input_bytes: u64,
    /// Whether the messages of deliveries are parts of larger buffers, such as frames of a stream. One that a client
    /// does not take at once is then copied, or a small message for a slow client would keep a whole frame in memory.
    pub copies_deliveries: bool,
    /// 128 bits from the operating system's random source: keys of hash tables whose keys clients choose, and source
    /// of assigned client ids. Different for each worker and process.
    pub random_keys: (u64, u64),
}
