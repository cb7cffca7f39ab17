//! The shards of a storage node as a state machine: live routing, retained messages, sessions, wills, and the lives of
//! proxies.
//!
//! Called by the storage node and by `freshet standalone`, which bring clock, randomness, streams and threads. Pure:
//! events and `now` in, [`Outputs`] out; nothing waits, and every map and queue that a client can make grow has a bound
//! in [`StorageSettings`] and an answer when it is reached. Speaks the language of `freshet_storage_contract`.
//!
//! What replicas will have to agree on changes by committed entries of a log, see `log` and `state`. That log is memory
//! ([`StorageCore::new`]: retained messages, sessions and what is queued for them end with the process), or somebody
//! flushes its records to a disk ([`Restore`], [`StorageCore::take_records`], [`StorageCore::flushed`]). With a disk the
//! content of queued messages need not be in memory ([`StorageCore::take_loads`], [`StorageCore::loaded`]).

mod codec;
mod facts;
mod filters;
mod hash;
mod incarnations;
pub mod inspect;
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

pub use codec::DecodeError;
pub use facts::{LinkFault, StorageFact};
pub use incarnations::ProxyLeases;
pub use node::{Load, LoadError, Restore, RestoreError, StorageCore};
pub use outputs::{Outputs, ProxyOutput};
pub use settings::{
    DEFAULT_QUEUED_BYTES, DEFAULT_QUEUED_RESIDENT_BYTES, DEFAULT_SESSION_BYTES, LogRoom, StorageSettings,
};
pub use state::RowError;
pub use stats::{QueuedSince, ShardCounters, ShardGauges, ShardStats, StorageStats};
