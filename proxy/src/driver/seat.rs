//! Where a worker finds the link to storage: on its own thread (the first worker), or behind two mailboxes.
//!
//! Called by [`super::turn`] to exchange events; [`LinkHere`] also carries events between the link and all other
//! workers. Leaves out what the events mean (`freshet_proxy_core`).

use std::task::Context;

use freshet_config::ProxyConfig;
use freshet_proxy_core::exchange::{ToLink, ToWorker, WorkerId};
use freshet_proxy_core::keep_little;
use freshet_proxy_core::link::{Link, LinkOutputs};
use freshet_proxy_core::worker::strategy_of;
use freshet_storage_contract::{MonotonicMs, ProxyReport};

use super::report::LinkReport;
use crate::health::Health;
use crate::mailbox::{Inlet, Outlet};
use crate::storage_link::StorageLink;

/// A worker's end of the exchange.
pub(crate) enum Seat {
    /// The link lives on this thread.
    Here(Box<LinkHere>),
    /// The link lives on another thread.
    Elsewhere(LinkElsewhere),
}

/// Another worker, seen from the link.
#[derive(Debug)]
pub(crate) struct OtherWorker {
    pub(crate) id: WorkerId,
    pub(crate) from_worker: Inlet<ToLink>,
    pub(crate) to_worker: Outlet<ToWorker>,
}

/// The link and what it needs.
pub(crate) struct LinkHere {
    link: Link,
    storage: Box<dyn StorageLink>,
    outputs: LinkOutputs,
    others: Vec<OtherWorker>,
    collected: Vec<ToLink>,
    health: Health,
}

/// The link seen from another worker.
#[derive(Debug)]
pub(crate) struct LinkElsewhere {
    pub(crate) to_link: Outlet<ToLink>,
    pub(crate) from_link: Inlet<ToWorker>,
    /// What found the mailbox full. Bounded by what the worker may have outstanding.
    pub(crate) unposted: Vec<ToLink>,
}

impl Seat {
    /// Lets the link hear what storage has sent. Returns whether there was anything.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, now: MonotonicMs) -> bool {
        match self {
            Self::Here(here) => here.poll(cx, now),
            Self::Elsewhere(_) => false,
        }
    }

    /// Takes the link's events for this worker into `events`, which is empty.
    pub(super) fn take_events(&mut self, events: &mut Vec<ToWorker>) {
        match self {
            Self::Here(here) => {
                if let Some(own) = here.outputs.to_workers.first_mut() {
                    std::mem::swap(own, events);
                }
            }
            Self::Elsewhere(elsewhere) => elsewhere.from_link.collect(events),
        }
    }

    /// Gives the link this worker's events, and everything of the turn to storage. Events for this worker may follow.
    pub(super) fn carry(&mut self, own: WorkerId, events: &mut Vec<ToLink>, now: MonotonicMs) {
        match self {
            Self::Here(here) => here.carry(own, events, now),
            Self::Elsewhere(elsewhere) => {
                elsewhere.unposted.append(events);
                elsewhere.to_link.post(&mut elsewhere.unposted);
            }
        }
    }

    /// Whether mail came, or can leave, that no bell has announced. Looked at after falling asleep.
    pub(super) fn has_mail(&self) -> bool {
        match self {
            Self::Here(here) => here
                .others
                .iter()
                .any(|other| !other.from_worker.is_empty() || (other.to_worker.has_room() && here.owes(other.id))),
            Self::Elsewhere(e) => !e.from_link.is_empty() || (!e.unposted.is_empty() && e.to_link.has_room()),
        }
    }

    /// When [`Self::poll`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<MonotonicMs> {
        match self {
            Self::Here(here) => earliest(here.link.next_deadline(), here.storage.next_deadline()),
            Self::Elsewhere(_) => None,
        }
    }

    /// Takes up a changed configuration.
    pub(super) fn reload(&mut self, config: &ProxyConfig, now: MonotonicMs) {
        if let Self::Here(here) = self {
            here.link.set_shared_strategy(strategy_of(config.mqtt.shared_strategy));
            here.storage.reload(config, now);
        }
    }

    /// What all workers have done, for storage.
    pub(super) fn count(&mut self, total: ProxyReport) {
        if let Self::Here(here) = self {
            here.link.count(total);
        }
    }

    /// Events that have not been carried over, and a look at the link if it is here.
    pub(super) fn report(&self, now: MonotonicMs) -> (usize, Option<LinkReport>) {
        match self {
            Self::Here(here) => {
                let report = LinkReport {
                    link: here.link.stats(),
                    storage: here.storage.stats(),
                    unsent: here.outputs.operations.len() + here.outputs.controls.len(),
                    storage_metrics: here.storage.storage_metrics(now),
                };
                (0, Some(report))
            }
            Self::Elsewhere(elsewhere) => (elsewhere.unposted.len(), None),
        }
    }
}

impl LinkHere {
    pub(crate) fn new(
        link: Link,
        storage: Box<dyn StorageLink>,
        workers: u16,
        others: Vec<OtherWorker>,
        health: Health,
    ) -> Self {
        Self {
            link,
            storage,
            outputs: LinkOutputs::new(workers),
            others,
            collected: Vec::new(),
            health,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, now: MonotonicMs) -> bool {
        let mut began = self.storage.poll(cx, &mut self.link, &mut self.outputs, now);
        if self.link.next_deadline().is_some_and(|at| at <= now) {
            if self.link.tick(now, &mut self.outputs) {
                self.storage.lease_lost(now);
            }
            began = true;
        }
        self.health.set_attached(self.link.is_attached());
        began
    }

    fn carry(&mut self, own: WorkerId, events: &mut Vec<ToLink>, now: MonotonicMs) {
        for event in events.drain(..) {
            self.link.handle_worker(own, event, &mut self.outputs);
        }
        for other in &self.others {
            other.from_worker.collect(&mut self.collected);
            for event in self.collected.drain(..) {
                self.link.handle_worker(other.id, event, &mut self.outputs);
            }
        }
        keep_little(&mut self.collected);
        self.link.flush(&mut self.outputs);
        self.storage.send(&mut self.link, &mut self.outputs, now);
        keep_little(&mut self.outputs.operations);
        for other in &self.others {
            if let Some(events) = self.outputs.to_workers.get_mut(usize::from(other.id.0)) {
                other.to_worker.post(events);
            }
        }
    }

    /// Whether events for another worker found its mailbox full.
    fn owes(&self, worker: WorkerId) -> bool {
        self.outputs
            .to_workers
            .get(usize::from(worker.0))
            .is_some_and(|events| !events.is_empty())
    }
}

/// The earlier of two deadlines, where there is one.
pub(super) fn earliest(a: Option<MonotonicMs>, b: Option<MonotonicMs>) -> Option<MonotonicMs> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
