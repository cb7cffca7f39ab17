//! What the operator tells a process: the files of a cluster's ConfigMap, `proxy.json` and `storage.json`, and the order
//! by which a proxy gives clients away.
//!
//! Written by `operator/core` (and by `freshet standalone` from the same manifest), read and watched by the proxy
//! and the storage node. Plain data: units stand in the names, every field has a default, and a field that a process
//! does not know is passed over, so that neighbouring versions read each other's files. Leaves out reading, watching
//! and checking: the resource has been validated before it becomes a file.

mod authorization;
mod moves;
mod proxy;
mod storage;

pub use authorization::{Action, AuthorizationConfig, AuthorizationRule, Effect};
pub use moves::{MoveOrder, MoveReason, REFERENCES_MAX};
pub use proxy::{
    ClientLimits, ListenerConfig, ListenerProtocol, MqttConfig, ProxyConfig, SharedStrategy, SlowConsumer,
};
pub use storage::{DiskConfig, QueueLimits, RetainedLimits, RetentionConfig, StorageConfig, WhenFull};
