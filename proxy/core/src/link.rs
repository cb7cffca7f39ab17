//! What one proxy has with storage: its interest, its publications, its sessions' requests, its lease.
//!
//! Called by the shell with events of workers and of the two streams; answers with frames and events in
//! [`LinkOutputs`]. A turn is: any number of `handle_…`, then one [`Link::flush`]. Survives broken streams, a new
//! leader and a storage node that lost its memory, without the workers' connections noticing more than a delay.
//! Leaves out streams, retries of connecting and clocks (the shell), and MQTT (`crate::worker`).

mod acceptance;
mod arrivals;
mod attachment;
mod ensures;
mod filters;
mod groups;
mod naming;
mod outputs;
mod owed;
mod publications;
mod reads;
mod reports;
mod requests;
mod sessions;
mod shard;
mod taking;
mod workers;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use freshet_storage_contract::{
    ClusterUid, DeliveryControl, IncarnationId, MonotonicMs, Operation, Placement, RequestId, Settlement, ShardId,
    SharedStrategy, Term,
};

use self::ensures::Ensures;
use self::filters::Filters;
use self::naming::Naming;
pub use self::outputs::{LinkOutputs, Violation};
use self::owed::Owed;
use self::publications::Answered;
use self::reads::Reads;
use self::reports::Reports;
use self::sessions::SessionRequests;
use self::shard::ShardLink;
pub use self::workers::MAX_WORKERS;
use crate::exchange::{ToLink, ToWorker, WorkerId, request_id};
use crate::lists::keep_little;

/// Bytes of publications in one batch; far below the largest frame.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes of retained messages asked for at once.
const RETAINED_CHUNK_BYTES: u32 = 256 << 10;
/// How often the lease is renewed: several times within its life.
const RENEWALS_PER_LEASE: u32 = 6;
/// The link's own requests carry this in place of a worker.
const LINK_ITSELF: WorkerId = WorkerId(u16::MAX);

/// What a link is made with.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// UID of the cluster.
    pub cluster_uid: ClusterUid,
    /// Pod name.
    pub proxy_name: String,
    /// Workers of the proxy, 1 to [`MAX_WORKERS`].
    pub workers: u16,
    /// Bytes of deliveries that storage may have on their way to this proxy.
    pub delivery_credit_bytes: u64,
    /// How members of shared subscriptions are chosen.
    pub shared_strategy: SharedStrategy,
    /// 128 bits from the operating system's random source: keys of hash tables whose keys clients choose.
    pub random_keys: (u64, u64),
}

/// Gauges of a link, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkStats {
    /// Whether storage is reached and the lease holds.
    pub attached: bool,
    /// Topic filters of the proxy.
    pub filters: usize,
    /// Of these, registered at every shard.
    pub filters_at_all_shards: usize,
    /// Publications without outcome.
    pub publications: usize,
    /// Retained reads under way.
    pub retained_reads: usize,
    /// Session requests without answer.
    pub session_requests: usize,
}

/// The link of a proxy to the storage node that leads its shards.
#[derive(Debug)]
pub struct Link {
    settings: LinkSettings,
    incarnation: IncarnationId,
    /// The first one: its numbers of publications last through those that follow.
    origin: IncarnationId,
    highest_term: Term,
    placement: Option<Arc<Placement>>,
    shards: Vec<ShardLink>,
    filters: Filters,
    reads: Reads,
    sessions: SessionRequests,
    naming: Naming,
    ensures: Ensures,
    /// Changes of groups that a worker waits for, and at how many shards. Bounded by the groups of the workers.
    resizes: BTreeMap<RequestId, u16>,
    owed: Owed,
    lease: Option<Lease>,
    reports: Reports,
    /// Storage has forgotten an earlier life: what it sent to nobody meanwhile is lost.
    is_reborn: bool,
    /// What came from workers before the first attach told where shards are.
    before_placement: Vec<(WorkerId, ToLink)>,
    last_request: u64,
    /// Operations of this turn that go out behind the deltas.
    turn: Vec<Operation>,
    credit_to_give_bytes: u64,
}

/// Present while attached.
#[derive(Debug, Clone, Copy)]
struct Lease {
    ttl: Duration,
    /// When the lease ends unless renewed: counted from when the last answered renewal was sent.
    ends: MonotonicMs,
    next_renewal: MonotonicMs,
    /// When the oldest unanswered renewal was sent.
    renewal_under_way: Option<MonotonicMs>,
}

impl Link {
    /// A link that is not attached yet.
    #[must_use]
    pub fn new(settings: LinkSettings, incarnation: IncarnationId) -> Self {
        let filters = Filters::new(settings.random_keys);
        Self {
            settings,
            incarnation,
            origin: incarnation,
            highest_term: Term(0),
            placement: None,
            shards: Vec::new(),
            filters,
            reads: Reads::default(),
            sessions: SessionRequests::default(),
            naming: Naming::default(),
            ensures: Ensures::default(),
            resizes: BTreeMap::new(),
            owed: Owed::default(),
            lease: None,
            reports: Reports::default(),
            is_reborn: false,
            before_placement: Vec::new(),
            last_request: 0,
            turn: Vec::new(),
            credit_to_give_bytes: 0,
        }
    }

    /// Whether storage is reached and the lease holds.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.lease.is_some()
    }

    /// Renews the lease when it is time. True: the lease has run out; the shell closes the streams and attaches anew.
    pub fn tick(&mut self, now: MonotonicMs, out: &mut LinkOutputs) -> bool {
        let Some(lease) = &mut self.lease else { return false };
        if now >= lease.ends {
            self.lost(out);
            return true;
        }
        if now >= lease.next_renewal {
            lease.next_renewal = now.plus(lease.ttl / RENEWALS_PER_LEASE);
            if lease.renewal_under_way.is_none() {
                lease.renewal_under_way = Some(now);
                self.sessions.renewal_sent();
                self.naming.renewal_sent();
                self.turn.extend(self.reports.next().map(Operation::Report));
                self.turn.push(Operation::RenewLease);
            }
        }
        false
    }

    /// When [`Self::tick`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<MonotonicMs> {
        self.lease.map(|l| l.next_renewal.min(l.ends))
    }

    /// Has members of shared subscriptions chosen in another way.
    pub fn set_shared_strategy(&mut self, strategy: SharedStrategy) {
        if std::mem::replace(&mut self.settings.shared_strategy, strategy) == strategy {
            return;
        }
        for link in &mut self.shards {
            for change in self.filters.groups_of_shard(link.shard, strategy) {
                link.change(change);
            }
        }
    }

    /// Ends a turn: puts what this turn has brought into frames, interest first, so that whoever subscribed before a
    /// publication gets it.
    pub fn flush(&mut self, out: &mut LinkOutputs) {
        if self.lease.is_none() {
            return;
        }
        // A group that the proxy leaves takes its leases with it: what has ended is said before.
        if !self.turn.is_empty() {
            out.operations
                .extend(self.turn.extract_if(.., |operation| is_end(operation)));
        }
        for link in self.shards.iter_mut().filter(|link| link.has_delta()) {
            while let Some(delta) = link.next_delta(&self.filters, self.settings.shared_strategy) {
                out.operations.push(Operation::Interest(delta));
            }
        }
        out.operations.append(&mut self.turn);
        keep_little(&mut self.turn);
        for link in &mut self.shards {
            while link.publications.has_unsent()
                && let Some(batch) = link.publications.next_batch(BATCH_BYTES)
            {
                out.operations.push(Operation::Publish(batch));
            }
            if let Some(seq) = link.acceptance.take_acknowledgement() {
                let term = link.acceptance.term();
                out.controls.push(DeliveryControl::Acknowledge {
                    shard: link.shard,
                    term,
                    seq,
                });
            }
            self.credit_to_give_bytes += link.acceptance.take_freed_bytes();
        }
        // Not for every message: a quarter of the window keeps storage sending without a frame each.
        if self.credit_to_give_bytes >= self.settings.delivery_credit_bytes / 4 {
            let bytes = std::mem::take(&mut self.credit_to_give_bytes);
            out.controls.push(DeliveryControl::Credit { bytes });
        }
    }

    /// Gauges for metrics.
    #[must_use]
    pub fn stats(&self) -> LinkStats {
        LinkStats {
            attached: self.is_attached(),
            filters: self.filters.len(),
            filters_at_all_shards: self.filters.at_all_shards(),
            publications: self.shards.iter().map(|s| s.publications.outstanding()).sum(),
            retained_reads: self.reads.len(),
            session_requests: self.sessions.unanswered() + self.owed.len(),
        }
    }

    fn ask_for_chunk(&mut self, chunk: RequestId) {
        if let Some(request) = self.reads.request(chunk, RETAINED_CHUNK_BYTES) {
            self.turn.push(Operation::ReadRetained(request));
        }
    }

    /// Sends with this turn; while storage is away the operation is kept elsewhere or not needed.
    fn send(&mut self, operation: Operation) {
        if self.lease.is_some() {
            self.turn.push(operation);
        }
    }

    fn next_request(&mut self) -> RequestId {
        self.last_request += 1;
        request_id(LINK_ITSELF, self.last_request)
    }

    fn shard_mut(&mut self, shard: ShardId) -> Result<&mut ShardLink, Violation> {
        self.shards
            .get_mut(usize::from(shard.0))
            .ok_or(Violation::UnknownShard(shard))
    }
}

/// Whether messages of a shared subscription have found their end. What is given back goes behind the deltas, which may
/// say that there is no room for more.
fn is_end(operation: &Operation) -> bool {
    let is_done = |settled: &(_, Settlement)| settled.1 == Settlement::Done;
    matches!(operation, Operation::SettleShared(settle) if settle.settled.iter().all(is_done))
}

fn published(answered: &Answered) -> ToWorker {
    ToWorker::Published {
        ticket: answered.ticket,
        outcome: answered.outcome,
    }
}
