//! Storage within the process: the same core as a storage node's, called instead of written to.
//!
//! Lives on the first worker's thread, beside the link. What both say is the same as between processes, value by value;
//! nothing is encoded. No replica; without a disk everything ends with the process.

use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use freshet_config::ProxyConfig;
use freshet_proxy::{StorageLink, StorageLinkStats, random_u128};
use freshet_proxy_core::link::{Link, LinkOutputs, Violation};
use freshet_storage_contract::{AttachRefusal, IncarnationId, MonotonicMs};
use freshet_storage_core::{Outputs, StorageCore, StorageFact};
use freshet_storage_node::{Looks, NodeDisk, StorageMetrics};
use prometheus_client::collector::Collector;

/// Exchanges between link and core within one call; where both still have something to say, they say it in the next
/// turn.
const EXCHANGES_PER_CALL: usize = 16;
/// Pause before storage that refused the link is asked again.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);

/// Storage as a value.
pub(crate) struct StorageInProcess {
    core: StorageCore,
    disk: Option<NodeDisk>,
    /// What people want to see.
    looks: Looks,
    outputs: Outputs,
    /// As which the link is attached.
    incarnation: Option<IncarnationId>,
    /// When to attach, while it is not.
    attach_at: MonotonicMs,
    /// The last call ended with more to say.
    goes_on: bool,
    stats: StorageLinkStats,
}

impl StorageInProcess {
    pub(crate) fn new(core: StorageCore, disk: Option<NodeDisk>, looks: Looks) -> Self {
        Self {
            core,
            disk,
            looks,
            outputs: Outputs::new(),
            incarnation: None,
            attach_at: MonotonicMs(0),
            goes_on: false,
            stats: StorageLinkStats::default(),
        }
    }

    fn attach(&mut self, link: &mut Link, out: &mut LinkOutputs, now: MonotonicMs) {
        let frame = link.attach_frame();
        match self.core.attach(&frame, now, &mut self.outputs) {
            Ok(attached) => {
                self.incarnation = Some(frame.incarnation);
                self.stats.attaches += 1;
                if let Err(violation) = link.attached(&attached, now, out) {
                    self.fault(&violation, link, out, now);
                }
            }
            Err(AttachRefusal::IncarnationGone { .. }) => {
                self.stats.incarnations_gone += 1;
                self.attach_at = now;
                match random_u128() {
                    Ok(bits) => link.start_incarnation(IncarnationId(bits)),
                    Err(error) => tracing::error!(%error, "no random incarnation"),
                }
            }
            Err(refusal) => {
                self.stats.refusals += 1;
                self.attach_at = now.plus(AFTER_REFUSAL);
                tracing::error!(%refusal, "storage refuses the proxy of its own process");
            }
        }
    }

    /// Lets act what the disk has kept, and hands it what it is to keep.
    fn keep(&mut self, now: MonotonicMs) {
        if let Some(disk) = &mut self.disk {
            disk.turn(&mut self.core, now, &mut self.outputs);
        }
    }

    /// Gives the link what the core has said.
    fn deliver(&mut self, link: &mut Link, out: &mut LinkOutputs, now: MonotonicMs) {
        let mut outputs = std::mem::take(&mut self.outputs);
        let mut violation = None;
        for frame in outputs.drain_proxies() {
            if Some(frame.incarnation) != self.incarnation || violation.is_some() {
                continue;
            }
            let answers = frame.answers.into_iter().try_for_each(|a| link.handle_answer(a, out));
            let delivered = frame
                .deliveries
                .into_iter()
                .try_for_each(|d| link.handle_delivery(d, out));
            violation = answers.and(delivered).err();
            if frame.close.is_some() {
                // The fact below says why.
                self.detach(link, out, now);
            }
        }
        for fact in outputs.drain_facts() {
            match fact {
                StorageFact::ProxyAttached { .. } | StorageFact::RecoveryHoldEnded { .. } => {}
                fact => tracing::warn!(?fact, "storage"),
            }
        }
        self.outputs = outputs;
        if let Some(violation) = violation {
            self.fault(&violation, link, out, now);
        }
    }

    fn fault(&mut self, violation: &Violation, link: &mut Link, out: &mut LinkOutputs, now: MonotonicMs) {
        tracing::error!(%violation, "the link within the process is made anew after a fault");
        if let Some(incarnation) = self.incarnation {
            self.core.detach_link(incarnation, now, &mut self.outputs);
        }
        self.detach(link, out, now.plus(AFTER_REFUSAL));
    }

    fn detach(&mut self, link: &mut Link, out: &mut LinkOutputs, attach_at: MonotonicMs) {
        link.lost(out);
        self.stats.losses += 1;
        self.incarnation = None;
        self.attach_at = attach_at;
    }
}

impl StorageLink for StorageInProcess {
    fn poll(&mut self, cx: &mut Context<'_>, link: &mut Link, out: &mut LinkOutputs, now: MonotonicMs) -> bool {
        self.looks.poll(cx, &self.core, self.disk.as_ref(), now);
        let mut began = std::mem::take(&mut self.goes_on);
        let has_news = self.disk.as_ref().is_some_and(|disk| disk.poll_news(cx).is_ready());
        if self.incarnation.is_none() && self.attach_at <= now {
            self.attach(link, out, now);
            began = true;
        }
        if self.core.next_deadline().is_some_and(|at| at <= now) {
            self.core.tick(now, &mut self.outputs);
            began = true;
        }
        let of_disk = self.disk.as_ref().and_then(NodeDisk::next_deadline);
        began |= has_news || of_disk.is_some_and(|at| at <= now);
        if began {
            self.keep(now);
            self.deliver(link, out, now);
        }
        began
    }

    fn send(&mut self, link: &mut Link, out: &mut LinkOutputs, now: MonotonicMs) {
        for _ in 0..EXCHANGES_PER_CALL {
            let Some(incarnation) = self.incarnation else { return };
            if out.operations.is_empty() && out.controls.is_empty() {
                return;
            }
            if self.disk.as_ref().is_some_and(NodeDisk::is_behind) {
                // Offered again when the disk says that it has gone on.
                return;
            }
            for operation in out.operations.drain(..) {
                self.core.handle(incarnation, operation, now, &mut self.outputs);
            }
            for control in out.controls.drain(..) {
                self.core.handle_control(incarnation, control, now, &mut self.outputs);
            }
            self.keep(now);
            self.deliver(link, out, now);
            link.flush(out);
        }
        self.goes_on = true;
    }

    fn lease_lost(&mut self, now: MonotonicMs) {
        // The process stood still for longer than its lease.
        if let Some(incarnation) = self.incarnation.take() {
            self.core.detach_link(incarnation, now, &mut self.outputs);
        }
        self.stats.losses += 1;
        self.attach_at = now;
    }

    fn next_deadline(&self) -> Option<MonotonicMs> {
        let attach = self.incarnation.is_none().then_some(self.attach_at);
        let goes_on = self.goes_on.then_some(MonotonicMs(0));
        let of_disk = self.disk.as_ref().and_then(NodeDisk::next_deadline);
        let of_core = self.core.next_deadline().into_iter();
        of_core.chain(of_disk).chain(attach).chain(goes_on).min()
    }

    fn reload(&mut self, _: &ProxyConfig, _: MonotonicMs) {}

    fn stats(&self) -> StorageLinkStats {
        self.stats
    }

    fn storage_metrics(&self, now: MonotonicMs) -> Option<Arc<dyn Collector>> {
        Some(Arc::new(StorageMetrics {
            core: self.core.stats(),
            disk: self.disk.as_ref().map(NodeDisk::stats),
            now,
        }))
    }
}

impl Drop for StorageInProcess {
    /// The last flush, a few milliseconds.
    fn drop(&mut self) {
        if let Some(disk) = self.disk.take() {
            disk.close();
        }
    }
}
