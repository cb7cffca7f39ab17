//! A proxy's process around its pure core (`freshet_proxy_core`): sockets, threads, streams to storage, configuration,
//! health, metrics and the end of it all.
//!
//! [`Proxy`] is the whole; the binary `freshet-proxy` and `freshet standalone` wire it. Each worker's thread runs
//! [`driver`], everything else runs on the caller's ordinary runtime, the *admin runtime*: accepting, the
//! configuration's watch, health, load and metrics. Nothing on the way of a message crosses from one to the other. Leaves out
//! MQTT and routing, and what every process needs (`freshet_process`).

pub mod arguments;
mod capacity;
mod cgroup;
mod clock;
mod control;
mod drain;
mod driver;
mod facts;
mod health;
mod listeners;
mod load;
mod mailbox;
mod memory;
mod metrics;
mod orders;
mod proxy;
mod random;
mod storage_link;

pub use capacity::raise_file_limit;
pub use clock::Clock;
pub use driver::{LinkReport, TurnSeconds, WorkerReport};
pub use health::Health;
pub use listeners::BindAddress;
pub use proxy::{Proxy, ProxySettings};
pub use random::{random_u64, random_u128};
pub use storage_link::{StorageLink, StorageLinkMaker, StorageLinkStats, StorageStreams};
