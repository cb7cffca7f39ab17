//! The storage node's process: one actor around `freshet_storage_core`, and the streams to its proxies.
//!
//! The binary wires [`Node`] and `freshet_process`; tests run a [`Node`] in their own process. What storage
//! decides is in the core; here are its clock, its mailbox, its frames and its metrics. Leaves out the encoding of the
//! streams (`freshet_storage_api`).
//!
//! Per stream a task reads frames and posts them to the actor's bounded mailbox. The actor's turn drains the mailbox,
//! runs the core and hands each proxy one frame per stream; it never waits for a proxy.

mod actor;
mod admin;
mod clock;
mod disk;
mod facts;
#[cfg(feature = "planted-faults")]
pub mod for_tests;
mod inspection;
mod leases;
mod mailbox;
mod metrics;
mod node;
mod streams;

pub use admin::{NodeHealth, ShuttingDown};
pub use disk::{CheckpointView, DiskError, DiskOptions, DiskStats, LogView, MarksView, NodeDisk};
pub use inspection::{
    LOG_PATH, Looker, Looks, QUEUES_PATH, Refused, SESSION_PATH, SESSIONS_PATH, SHARDS_PATH, inspection_routes,
};
pub use leases::lease_routes;
pub use metrics::StorageMetrics;
pub use node::{Node, NodeError, NodeHandle};
