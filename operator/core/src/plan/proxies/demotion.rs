//! The way back: a proxy that has handed over its clients by order waits again, where the pool wants one more.
//!
//! Called by `roles`, which gives it its role, and by `pool`, which starts no cold one for a place that it will take. Only
//! proxies of the revision that is asked for come back, and only those that an order has emptied: one that was told to stop
//! ends. Leaves out what it reserves from then on (`plan_proxies`).

use std::collections::BTreeSet;

use crate::observe::{ProxyPod, Role};
use crate::plan::moves::MovesPlan;

/// Which proxies may come back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demotion<'a> {
    /// Nodes that take no pods.
    pub(super) closed_nodes: &'a BTreeSet<String>,
    /// How far those are that hand over.
    pub(super) moves: &'a MovesPlan,
}

impl Demotion<'_> {
    /// Whether a proxy that hands over could wait as soon as it has: nothing has ended its drain in another way.
    pub(super) fn may_come(&self, proxy: &ProxyPod) -> bool {
        self.could_wait(proxy) && (self.moves.is_giving(&proxy.pod.uid) || self.moves.has_given_all(&proxy.pod.uid))
    }

    /// Whether it has handed over and could wait from now on.
    pub(super) fn is_due(&self, proxy: &ProxyPod) -> bool {
        self.could_wait(proxy) && self.moves.has_given_all(&proxy.pod.uid)
    }

    fn could_wait(&self, proxy: &ProxyPod) -> bool {
        let is_on_closed = proxy
            .pod
            .node
            .as_ref()
            .is_some_and(|node| self.closed_nodes.contains(node));
        proxy.role == Some(Role::Draining) && proxy.pod.is_ready && proxy.loss.fault.is_none() && !is_on_closed
    }
}
