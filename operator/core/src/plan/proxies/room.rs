//! Whether a node has room for what a warm proxy would reserve in addition if it were active.
//!
//! Called by `roles`, which promotes those first that have it. What is not known is neither: it may be long ago that somebody
//! looked, or not be allowed.

use std::collections::BTreeMap;

use crate::observe::ProxyPod;
use crate::requests::Requests;

/// What is free on nodes, by name, as far as it is known.
pub type Rooms = BTreeMap<String, Requests>;

/// How well a proxy could reserve what an active one does; the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    /// It has it already, or its node has room.
    Fits,
    /// Nobody knows.
    Unknown,
    /// Its node is full.
    Full,
}

/// What is left on the nodes while one promotion after the other is planned.
#[derive(Debug, Clone)]
pub(super) struct Room {
    free: Rooms,
    active_requests: Requests,
}

impl Room {
    pub(super) fn new(free: &Rooms, active_requests: Requests) -> Self {
        Self {
            free: free.clone(),
            active_requests,
        }
    }

    /// Knows of nothing.
    pub(super) fn unknown() -> Self {
        Self::new(&Rooms::new(), Requests::default())
    }

    pub(super) fn fit(&self, proxy: &ProxyPod) -> Fit {
        let missing = proxy.requests.missing_to(self.active_requests);
        let free = proxy.pod.node.as_ref().and_then(|node| self.free.get(node));
        match free {
            _ if missing == Requests::default() => Fit::Fits,
            Some(free) if free.covers(missing) => Fit::Fits,
            Some(_) => Fit::Full,
            None => Fit::Unknown,
        }
    }

    /// Counts what the proxy is going to reserve.
    pub(super) fn take(&mut self, proxy: &ProxyPod) {
        let missing = proxy.requests.missing_to(self.active_requests);
        let free = proxy.pod.node.as_ref().and_then(|node| self.free.get_mut(node));
        if let Some(free) = free {
            // What is left is what is missing to it.
            *free = missing.missing_to(*free);
        }
    }
}
