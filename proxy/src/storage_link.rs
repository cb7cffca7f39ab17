//! How a proxy's link reaches storage: over streams to a storage node ([`StorageStreams`]), or by a call within the
//! process (`freshet standalone`).
//!
//! Owned by the first worker's thread, which also owns the [`Link`]. The implementor carries what both say and decides
//! when to attach again; what is said is the link's and storage's business.

mod backoff;
mod streams;

use std::sync::Arc;
use std::task::Context;

use freshet_config::ProxyConfig;
use freshet_proxy_core::link::{Link, LinkOutputs};
use freshet_storage_contract::MonotonicMs;
use prometheus_client::collector::Collector;

pub use streams::StorageStreams;

/// The way to storage.
pub trait StorageLink {
    /// Brings `link` what storage has sent, and attaches when it is time. Wakes `cx` when there is more. Returns whether
    /// there was anything.
    fn poll(&mut self, cx: &mut Context<'_>, link: &mut Link, out: &mut LinkOutputs, now: MonotonicMs) -> bool;

    /// Takes the frames in `out` as far as it can; what it leaves is offered again. Called at the end of a turn, after
    /// [`Link::flush`].
    fn send(&mut self, link: &mut Link, out: &mut LinkOutputs, now: MonotonicMs);

    /// The lease has run out: nothing more is sent to this attachment, and the link is to be attached anew.
    fn lease_lost(&mut self, now: MonotonicMs);

    /// When [`Self::poll`] has something to do although nothing has arrived.
    fn next_deadline(&self) -> Option<MonotonicMs>;

    /// Takes up a changed configuration.
    fn reload(&mut self, config: &ProxyConfig, now: MonotonicMs);

    /// Counters and gauges.
    fn stats(&self) -> StorageLinkStats;

    /// Metrics of storage itself, as of `now` and below `freshet_storage`, when it is in this process.
    fn storage_metrics(&self, _now: MonotonicMs) -> Option<Arc<dyn Collector>> {
        None
    }
}

/// Makes the way to storage on the thread that will own it.
pub type StorageLinkMaker = Box<dyn FnOnce() -> Box<dyn StorageLink> + Send>;

/// What a way to storage has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StorageLinkStats {
    /// Counter: attaches that storage accepted.
    pub attaches: u64,
    /// Counter: attempts that did not reach storage.
    pub attempts_failed: u64,
    /// Counter: attempts that storage refused by name.
    pub refusals: u64,
    /// Counter: attachments that were lost.
    pub losses: u64,
    /// Counter: times that storage had forgotten this life of the proxy.
    pub incarnations_gone: u64,
    /// Gauge: bytes that wait for the transport.
    pub waiting_bytes_now: u64,
}
