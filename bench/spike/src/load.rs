//! The measuring program: clients on one thread over one epoll set, and the four kinds of work.
//!
//! Each kind connects its clients, warms the broker up, measures for a while, stops publishing, waits for what is
//! outstanding, and fails unless everything sent was delivered once and in order.

mod fan_out;
mod fleet;
mod idle;
mod meter;
mod pairs;
mod sparse;

pub(crate) use fan_out::fan_out;
pub(crate) use idle::idle_bytes;
pub(crate) use meter::Outcome;
pub(crate) use pairs::pairs;
pub(crate) use sparse::sparse;

use std::time::Duration;

/// How long each kind of work takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// Outstanding messages must arrive within this after the last publish.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
/// Bytes of every payload: send time and sequence number at its start, zeros behind.
pub(crate) const PAYLOAD_BYTES: usize = 64;
