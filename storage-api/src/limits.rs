//! Bounds of the wire, the same on both sides: a frame that one side may send is one that the other takes.

use std::time::Duration;

/// Bound of one operation, answer or delivery, by what it is charged with: 4 MiB. Publications and session lists above
/// it are split by the sender, changes of interest travel in parts; anything else is refused with
/// [`crate::SendError::TooLarge`].
pub const MAX_ITEM_BYTES: usize = 4 << 20;

/// Bound of one change of interest, by what it is charged with: 64 MiB, about half a million filters of usual length.
pub const MAX_INTEREST_BYTES: usize = 64 << 20;

/// Bound of a received frame: one item of [`MAX_ITEM_BYTES`] or many smaller ones, and room for what names them.
pub const MAX_FRAME_BYTES: usize = MAX_ITEM_BYTES + (64 << 10);

/// A sender ends a frame at this size, 256 KiB, so that what waits behind it is not delayed by its decoding.
pub const TARGET_FRAME_BYTES: usize = 256 << 10;

/// Operations that wait for the transport at a proxy: 32 MiB. Above it the proxy keeps them and stops reading clients.
pub const OPERATION_BACKLOG_BYTES: usize = 32 << 20;

/// Answers that wait for the transport at a storage node, per proxy: 16 MiB. Above it the link is ended: a proxy that
/// does not drain its answers is not well.
pub const ANSWER_BACKLOG_BYTES: usize = 16 << 20;

/// Deliveries that wait for the transport at a storage node, per proxy: 64 MiB. Credits keep them far below; above it
/// the link is ended and resumes from the ring.
pub const DELIVERY_BACKLOG_BYTES: usize = 64 << 20;

/// Most items of a list inside one frame. A list of empty items costs two bytes each on the wire and far more decoded.
pub(crate) const MAX_LIST_ITEMS: usize = 64 << 10;

/// Flow-control window of one stream: what a peer may send before it is read.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 2 << 20;

/// Flow-control window of a connection: more than both streams' windows, so that unread deliveries never hold up
/// answers.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Largest HTTP/2 frame that is accepted.
pub(crate) const HTTP2_FRAME_BYTES: u32 = 256 << 10;

/// How long a connection may take until its streams are attached.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A ping leaves when nothing was received for this long.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// A connection whose ping is not answered for this long is dead: noticed well within a lease of 6 s.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections that a storage node serves at a time; later ones wait in the listener's queue.
pub const MAX_CONNECTIONS: usize = 4_096;
