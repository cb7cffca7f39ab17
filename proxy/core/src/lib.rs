//! What a proxy does, as pure state machines: bytes, events and `now` in, actions out.
//!
//! `worker` owns connections and speaks MQTT; `link` owns what one proxy has with storage; `exchange` is what they
//! tell each other. The shell (`freshet-proxy`, `freshet standalone`) brings sockets, clocks, threads and streams.

mod authorization;
mod connection;
pub mod exchange;
mod filters;
mod id_index;
pub mod link;
mod lists;
mod name_table;
#[cfg_attr(not(feature = "planted-faults"), doc(hidden))]
pub mod planted;
mod reason;
mod round_trips;
mod stats;
mod timers;
pub mod worker;

pub use self::lists::keep_little;
pub use self::reason::DisconnectReason;
pub use self::round_trips::RoundTripCounts;
pub use self::stats::WorkerStats;
