//! The shards of a storage node as a state machine: live routing, retained messages, sessions, wills, and the lives of
//! proxies.
//!
//! Called by the storage node and by `freshet standalone`, which bring clock, randomness, streams and threads. Pure:
//! events and `now` in, [`Outputs`] out; nothing waits, and every map and queue that a client can make grow has a bound
//! in [`StorageSettings`] and an answer when it is reached. Speaks the language of `freshet_storage_contract`.
//!
//! One node and memory alone in this release: retained messages, sessions and what is queued for them end with the
//! process. What replicas will have to agree on changes by committed entries of a log already, see `log` and `state`.

mod facts;
mod filters;
mod hash;
mod incarnations;
mod log;
mod node;
mod outputs;
#[cfg_attr(not(feature = "planted-faults"), doc(hidden))]
pub mod planted;
mod settings;
mod shard;
mod state;
mod stats;
mod sys;
mod turn;
mod usage;

#[cfg(test)]
mod tests;

pub use facts::{LinkFault, StorageFact};
pub use node::StorageCore;
pub use outputs::{Outputs, ProxyOutput};
pub use settings::{DEFAULT_QUEUED_BYTES, StorageSettings};
pub use stats::{ShardCounters, ShardGauges, ShardStats, StorageStats};
