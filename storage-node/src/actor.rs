//! The actor: owns the core and the links, runs turns.
//!
//! A turn drains the mailbox, runs the core, and gives each proxy one frame per stream. Nothing in a turn waits. What
//! cannot be sent ends the link; the proxy attaches again and resumes from the ring.

mod links;

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use freshet_storage_api::{AttachRequest, LinkEnd, ReceiveError, SendError, WireError};
use freshet_storage_contract::{AttachRefusal, DeliveryControl, IncarnationId, MonotonicMs, Operation};
use freshet_storage_core::{LinkFault, Outputs, ProxyOutput, StorageCore};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use self::links::Links;
use crate::{
    clock::Clock,
    disk::NodeDisk,
    facts,
    inspection::Looks,
    mailbox::{AttachedStream, LinkKey, ToActor},
    metrics::{Ending, Metrics},
};

/// Messages of one turn: so many that a frame per proxy is worth its while, so few that a turn stays short.
const MESSAGES_PER_TURN: usize = 256;

/// The actor takes a turn at least this often, so that one that is stuck is noticed.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// When the actor finished its last turn, in ms of its clock.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastTurn(Arc<AtomicU64>);

impl LastTurn {
    pub(crate) fn get(&self) -> MonotonicMs {
        MonotonicMs(self.0.load(Ordering::Relaxed))
    }
}

/// See the module.
pub(crate) struct Actor {
    core: StorageCore,
    /// None: everything ends with the process.
    disk: Option<NodeDisk>,
    links: Links,
    outputs: Outputs,
    mailbox: mpsc::Receiver<ToActor>,
    looks: Looks,
    clock: Clock,
    metrics: Arc<Metrics>,
    last_turn: LastTurn,
}

impl Actor {
    pub(crate) fn new(
        core: StorageCore,
        disk: Option<NodeDisk>,
        (mailbox, looks): (mpsc::Receiver<ToActor>, Looks),
        clock: Clock,
        metrics: Arc<Metrics>,
        last_turn: LastTurn,
    ) -> Self {
        Self {
            core,
            disk,
            links: Links::default(),
            outputs: Outputs::new(),
            mailbox,
            looks,
            clock,
            metrics,
            last_turn,
        }
    }

    /// Runs turns until `shutdown` is sent or dropped, then ends all streams, and writes what is to be kept.
    pub(crate) async fn run(mut self, mut shutdown: oneshot::Receiver<()>) {
        let mut messages = Vec::with_capacity(MESSAGES_PER_TURN);
        loop {
            let wake = self.next_wake();
            // While the disk does not keep up, the mailbox fills, and with it the streams.
            let is_behind = self.disk.as_ref().is_some_and(NodeDisk::is_behind);
            tokio::select! {
                biased;
                _ = &mut shutdown => break,
                () = news_of(self.disk.as_ref()) => {}
                // One in a turn, and also while the disk does not keep up.
                Some(look) = self.looks.next() => look(&self.core, self.disk.as_ref(), self.clock.now()),
                received = self.mailbox.recv_many(&mut messages, MESSAGES_PER_TURN), if !is_behind => {
                    if received == 0 {
                        break;
                    }
                }
                () = sleep_until(wake) => {}
            }
            self.turn(&mut messages);
        }
        self.links.end_all(&LinkEnd::ShuttingDown);
        if let Some(disk) = self.disk {
            // The last flush, a few milliseconds.
            disk.close();
        }
    }

    fn next_wake(&self) -> Instant {
        let heartbeat = Instant::now() + HEARTBEAT;
        let of_disk = self.disk.as_ref().and_then(NodeDisk::next_deadline);
        let deadline = [self.core.next_deadline(), self.links.next_deadline(), of_disk]
            .into_iter()
            .flatten()
            .min();
        deadline.map_or(heartbeat, |deadline| heartbeat.min(self.clock.instant(deadline)))
    }

    fn turn(&mut self, messages: &mut Vec<ToActor>) {
        let began = Instant::now();
        let now = self.clock.now();
        for message in messages.drain(..) {
            self.handle(message, now);
        }
        if self.core.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.core.tick(now, &mut self.outputs);
        }
        self.links.end_overdue(now);
        if let Some(disk) = &mut self.disk {
            disk.turn(&mut self.core, now, &mut self.outputs);
        }
        self.send(now);
        self.metrics.turn_seconds.observe(began.elapsed().as_secs_f64());
        self.last_turn.0.store(self.clock.now().0, Ordering::Relaxed);
    }

    fn handle(&mut self, message: ToActor, now: MonotonicMs) {
        match message {
            ToActor::Attach { request, stream } => self.attach(request, stream, now),
            ToActor::Operations {
                link,
                operations,
                _room: _,
            } => self.operations(link, operations, now),
            ToActor::Controls { link, controls } => self.controls(link, controls, now),
            ToActor::Ended { link, error } => self.ended(link, error.as_ref(), now),
            ToActor::Reload(config) => {
                if let Some(disk) = &mut self.disk {
                    disk.reload(config.disk);
                }
                self.core.reload(&config);
            }
            // Who asked may have given up.
            ToActor::Stats(reply) => drop(reply.send((self.core.stats(), self.disk.as_ref().map(NodeDisk::stats)))),
            ToActor::Leases(reply) => drop(reply.send(self.core.proxy_leases())),
        }
    }

    fn attach(&mut self, request: AttachRequest, stream: AttachedStream, now: MonotonicMs) {
        let Some((proxy, link)) = self.links.pair(request, stream, now) else {
            return;
        };
        match self.core.attach(&proxy, now, &mut self.outputs) {
            Ok(attached) => {
                link.answers.sender.attached(attached.clone());
                link.deliveries.sender.attached(attached);
                if let Some(older) = self.links.attach(proxy.incarnation, link) {
                    self.metrics.link_ended(Ending::Superseded);
                    older.end(LinkEnd::Superseded);
                }
            }
            Err(refusal) => link.end(LinkEnd::Refused(refusal)),
        }
    }

    fn operations(&mut self, link: LinkKey, operations: Vec<Operation>, now: MonotonicMs) {
        if self.links.is_attached(link) {
            for operation in operations {
                self.core.handle(link.incarnation, operation, now, &mut self.outputs);
            }
        } else {
            self.spoke_too_early(link);
        }
    }

    fn controls(&mut self, link: LinkKey, controls: Vec<DeliveryControl>, now: MonotonicMs) {
        if self.links.is_attached(link) {
            for control in controls {
                self.core
                    .handle_control(link.incarnation, control, now, &mut self.outputs);
            }
        } else {
            self.spoke_too_early(link);
        }
    }

    /// What comes from a link that has ended is passed over; before a link is attached, nothing may come.
    fn spoke_too_early(&mut self, link: LinkKey) {
        let why = WireError::OutOfOrder("a proxy waits until it is attached");
        self.links.end_waiting(link, LinkEnd::NotUnderstood(why));
    }

    /// One stream has ended: so does the link.
    fn ended(&mut self, key: LinkKey, error: Option<&ReceiveError>, now: MonotonicMs) {
        let (ending, end) = match error {
            None => (Ending::Orderly, LinkEnd::Incomplete),
            Some(ReceiveError::Lost(_)) => (Ending::Lost, LinkEnd::Incomplete),
            Some(ReceiveError::NotUnderstood(error)) => (Ending::NotUnderstood, LinkEnd::NotUnderstood(error.clone())),
        };
        let Some(link) = self.links.remove_key(key) else {
            self.links.end_waiting(key, end);
            return;
        };
        let (incarnation, proxy_name) = (key.incarnation, &link.proxy_name);
        match error {
            None => tracing::info!(%incarnation, proxy_name, "link ended by the proxy"),
            Some(error) => tracing::warn!(%incarnation, proxy_name, %error, "link ended"),
        }
        self.metrics.link_ended(ending);
        link.end(end);
        self.core.detach_link(key.incarnation, now, &mut self.outputs);
    }

    /// Sends what the turn has brought out. A link that ends may bring out more for others.
    fn send(&mut self, now: MonotonicMs) {
        while !self.outputs.is_empty() {
            for fact in self.outputs.drain_facts() {
                facts::log(&fact);
            }
            let ended: Vec<_> = self
                .outputs
                .drain_proxies()
                .filter_map(|output| send_to(&self.links, output))
                .collect();
            for (incarnation, ending, end) in ended {
                if let Some(link) = self.links.remove(incarnation) {
                    self.metrics.link_ended(ending);
                    link.end(end);
                    self.core.detach_link(incarnation, now, &mut self.outputs);
                }
            }
        }
    }
}

/// Ends when the disk has done something; never without one.
async fn news_of(disk: Option<&NodeDisk>) {
    poll_fn(|cx| disk.map_or(Poll::Pending, |disk| disk.poll_news(cx))).await;
}

/// Hands a proxy its frames. Returns how its link is to end, if it is.
fn send_to(links: &Links, mut output: ProxyOutput) -> Option<(IncarnationId, Ending, LinkEnd)> {
    let incarnation = output.incarnation;
    // A link that has ended: what was for it is sent again when the proxy is back.
    let link = links.get(incarnation)?;
    let answers = link.answers.sender.try_send(&mut output.answers);
    let deliveries = link.deliveries.sender.try_send(&mut output.deliveries);
    for (stream, sent) in [("operations", answers), ("deliveries", deliveries)] {
        match sent {
            // Closed: the stream's reader says so as well.
            Ok(()) | Err(SendError::Closed) => {}
            Err(error @ SendError::Full { .. }) => {
                let proxy_name = &link.proxy_name;
                tracing::warn!(%incarnation, proxy_name, stream, %error, "link ended: the proxy does not drain it");
                return Some((incarnation, Ending::NotDrained, LinkEnd::NotDrained));
            }
            Err(error @ SendError::TooLarge { .. }) => {
                let proxy_name = &link.proxy_name;
                tracing::error!(%incarnation, proxy_name, stream, %error, "link ended: a frame cannot be sent");
                return Some((incarnation, Ending::Fault, LinkEnd::Fault(error.to_string())));
            }
        }
    }
    let fault = output.close?;
    let end = match fault {
        LinkFault::LeaseExpired => LinkEnd::Refused(AttachRefusal::IncarnationGone { incarnation }),
        fault => LinkEnd::Fault(fault.to_string()),
    };
    Some((incarnation, Ending::Fault, end))
}
