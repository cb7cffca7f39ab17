//! Clients that load a broker: on one thread over one epoll set, so that they cost less than what they measure. Only what
//! is to be noticed beside other work has a thread of its own.
//!
//! Each kind of work connects its clients, warms the broker up, measures for a while, stops publishing, waits for what
//! is outstanding, and fails unless everything sent was delivered once and in order. Leaves out how brokers are started
//! and how results are compared and shown.

mod asleep;
mod beside;
mod bystanders;
mod connects;
mod devices;
mod fan_out;
mod fleet;
mod growth;
mod guest;
mod ingest;
mod memory;
mod meter;
mod others;
mod pairs;
mod process;
mod publish;
mod reading;
mod shared;
mod shuffle;
mod sparse;
mod spread;
mod stopped;
mod storm;
pub mod wire;

use std::time::Duration;

pub use asleep::{Night, Passed, Passing, asleep};
pub use beside::Beside;
pub use bystanders::Bystanders;
pub use connects::{Connects, connects};
pub use devices::{Back, Devices};
pub use fan_out::{FAN_OUT_SUBSCRIBERS, fan_out};
pub use growth::{InTurns, fan_out_in_turns, growth, mean};
pub use ingest::ingest;
pub use memory::{Burst, Each, RetainedMemory, burst, idle, retained, subtrees};
pub use meter::{Broker, Memory, Outcome, PAYLOAD_BYTES, Percentiles, Usage};
pub use pairs::{Pairs, kept, pairs};
pub use process::{
    ProcessIo, ProcessUsage, machine_busy_seconds, own_cpu_seconds, process_io, process_usage, raise_file_limit,
    resident_bytes, whole_resident_bytes,
};
pub use publish::{Published, each_device, publish};
pub use shared::{MEMBERS, members_in_turns, shared_in_turns};
pub use sparse::{offered, sparse};
pub use spread::{median, spread};
pub use stopped::stopped;
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
