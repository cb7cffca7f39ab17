//! Clients that load a broker: on one thread over one epoll set, so that they cost less than what they measure. Only what
//! is to be noticed beside other work has a thread of its own.
//!
//! Each kind of work connects its clients, warms the broker up, measures for a while, stops publishing, waits for what
//! is outstanding, and fails unless everything sent was delivered once and in order. Leaves out how brokers are started
//! and how results are compared and shown.

mod asleep;
mod beside;
mod connects;
mod devices;
mod fan_out;
mod fleet;
mod guest;
mod ingest;
mod meter;
mod others;
mod pairs;
mod process;
mod publish;
mod reading;
mod shuffle;
mod sparse;
mod spread;
mod storm;
pub mod wire;

use std::time::Duration;

pub use asleep::{Night, Passed, Passing, asleep};
pub use beside::Beside;
pub use connects::{Connects, connects, idle_bytes};
pub use devices::{Back, Devices};
pub use fan_out::{FAN_OUT_SUBSCRIBERS, fan_out};
pub use ingest::ingest;
pub use meter::{Broker, Outcome, PAYLOAD_BYTES, Percentiles, Usage};
pub use pairs::{Pairs, kept, pairs};
pub use process::{
    ProcessIo, ProcessUsage, machine_busy_seconds, own_cpu_seconds, process_io, process_usage, raise_file_limit,
    resident_bytes, whole_resident_bytes,
};
pub use publish::{Published, each_device, publish};
pub use sparse::{offered, sparse};
pub use spread::{median, spread};
pub use storm::{Storm, storm};

/// How long each kind of work takes.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Not measured.
    pub warm_up: Duration,
    /// Measured.
    pub measured: Duration,
}

/// Outstanding messages must arrive within this after the last publish.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);
