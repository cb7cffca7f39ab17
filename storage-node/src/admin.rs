//! How the node is, as probes and scrapers ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use freshet_process::{Probes, Scrape};

use crate::NodeHandle;

/// Whether the node shuts down; set once.
#[derive(Debug, Clone, Default)]
pub struct ShuttingDown(Arc<AtomicBool>);

/// Alive while the actor takes its turns, ready while it does and the node is not shutting down. Readiness says nothing
/// of quorums: a node that waited for others to be ready would keep them from reaching it.
#[derive(Debug, Clone)]
pub struct NodeHealth {
    node: NodeHandle,
    shutting_down: ShuttingDown,
}

impl ShuttingDown {
    /// From now on the node is not ready.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl NodeHealth {
    /// The health of a node that is ready until `shutting_down` says otherwise.
    #[must_use]
    pub fn new(node: NodeHandle, shutting_down: ShuttingDown) -> Self {
        Self { node, shutting_down }
    }
}

impl Probes for NodeHealth {
    fn liveness(&self) -> Result<(), &'static str> {
        if self.node.is_alive() {
            Ok(())
        } else {
            Err("the storage actor takes no turns")
        }
    }

    fn readiness(&self) -> Result<(), &'static str> {
        if self.shutting_down.0.load(Ordering::Relaxed) {
            Err("shutting down")
        } else {
            self.liveness()
        }
    }
}

impl Scrape for NodeHandle {
    async fn scrape(&self) -> Result<String, &'static str> {
        self.metrics().await.ok_or("the storage actor does not answer")
    }
}
