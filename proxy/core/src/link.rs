//! What one proxy has with storage: its interest, its publications, its sessions' requests, its lease.
//!
//! Called by the shell with events of workers and of the two streams; answers with frames and events in
//! [`LinkOutputs`]. A turn is: any number of `handle_…`, then one [`Link::flush`]. Survives broken streams, a new
//! leader and a storage node that lost its memory, without the workers' connections noticing more than a delay.
//! Leaves out streams, retries of connecting and clocks (the shell), and MQTT (`crate::worker`).

mod acceptance;
mod filters;
mod outputs;
mod publications;
mod reads;
mod sessions;
mod shard;
mod workers;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use freshet_storage_contract::{
    Answer, AttachProxy, AttachSession, Attached, ClusterUid, Delivery, DeliveryControl, Feature, FilterId,
    FilterShards, IncarnationId, InterestChange, Message, MonotonicMs, NumberedDelivery, Operation, PROTOCOL_VERSION,
    Placement, PublishOutcome, PublishSeq, RequestId, ShardAttachment, ShardId, ShardResume, Term,
};

use self::acceptance::Arrival;
use self::filters::Filters;
pub use self::outputs::{LinkOutputs, Violation};
use self::publications::Answered;
use self::reads::Reads;
use self::sessions::SessionRequests;
use self::shard::ShardLink;
pub use self::workers::MAX_WORKERS;
use self::workers::WorkerSet;
use crate::exchange::{PublishTicket, ToLink, ToWorker, WorkerId, request_id, worker_of};

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
    highest_term: Term,
    placement: Option<Arc<Placement>>,
    shards: Vec<ShardLink>,
    filters: Filters,
    reads: Reads,
    sessions: SessionRequests,
    lease: Option<Lease>,
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
        Self {
            settings,
            incarnation,
            highest_term: Term(0),
            placement: None,
            shards: Vec::new(),
            filters: Filters::default(),
            reads: Reads::default(),
            sessions: SessionRequests::default(),
            lease: None,
            is_reborn: false,
            before_placement: Vec::new(),
            last_request: 0,
            turn: Vec::new(),
            credit_to_give_bytes: 0,
        }
    }

    /// First frame of both streams.
    #[must_use]
    pub fn attach_frame(&self) -> AttachProxy {
        AttachProxy {
            cluster_uid: self.settings.cluster_uid.clone(),
            incarnation: self.incarnation,
            proxy_name: self.settings.proxy_name.clone(),
            protocol_version: PROTOCOL_VERSION,
            features: Vec::<Feature>::new(),
            highest_term: self.highest_term,
            resume: self
                .shards
                .iter()
                .map(|s| ShardResume {
                    shard: s.shard,
                    term: s.acceptance.term(),
                    received: s.acceptance.received(),
                })
                .collect(),
        }
    }

    /// Storage has forgotten this life of the proxy: it goes on as a new one, with the same connections.
    pub fn start_incarnation(&mut self, incarnation: IncarnationId) {
        self.incarnation = incarnation;
        // A life that was never attached had nobody to lose anything.
        self.is_reborn |= self.placement.is_some();
        for shard in &mut self.shards {
            // Deliveries are numbered per incarnation.
            shard.acceptance.start_term(Term(0));
        }
    }

    /// Both streams are open. Sends what storage does not have.
    ///
    /// # Errors
    /// [`Violation`] when the placement cannot be used or is not the one of the first attach.
    pub fn attached(&mut self, attached: &Attached, now: MonotonicMs, out: &mut LinkOutputs) -> Result<(), Violation> {
        let is_first = self.placement.is_none();
        let placement = self.take_placement(attached)?;
        for attachment in &attached.attachments {
            self.resume_shard(attachment, is_first, out)?;
        }
        self.is_reborn = false;
        let ttl = Duration::from_millis(u64::from(attached.lease_ttl_ms));
        self.lease = Some(Lease {
            ttl,
            ends: now.plus(ttl),
            next_renewal: now,
            renewal_under_way: None,
        });
        let credit = DeliveryControl::Credit {
            bytes: self.settings.delivery_credit_bytes,
        };
        out.controls.push(credit);
        self.credit_to_give_bytes = 0;
        for shard in &mut self.shards {
            // What was freed belongs to the credit of the old stream.
            shard.acceptance.take_freed_bytes();
        }
        self.turn.extend(self.sessions.resume());
        out.tell_all(&ToWorker::StorageBack { placement });
        for (worker, asked) in std::mem::take(&mut self.before_placement) {
            self.handle_worker(worker, asked, out);
        }
        Ok(())
    }

    /// A stream broke, or the lease ran out: everything is kept for the next attach.
    pub fn lost(&mut self, out: &mut LinkOutputs) {
        if self.lease.take().is_some() {
            out.tell_all(&ToWorker::StorageAway);
        }
        // What was put together for the old stream is put together again for the next.
        self.turn.clear();
        out.operations.clear();
        out.controls.clear();
        for shard in &mut self.shards {
            shard.publications.resume();
            // A delta may have been on its way: the next attach tells whether it arrived.
        }
    }

    /// Whether storage is reached and the lease holds.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.lease.is_some()
    }

    /// Takes an event of a worker.
    pub fn handle_worker(&mut self, worker: WorkerId, asked: ToLink, out: &mut LinkOutputs) {
        let Some(placement) = self.placement.clone() else {
            self.before_placement.push((worker, asked));
            return;
        };
        match asked {
            ToLink::Publish { ticket, message } => self.publish(worker, ticket, message, &placement, out),
            ToLink::Subscribe {
                request,
                topic_filter,
                retained,
            } => {
                self.subscribe(worker, request, &topic_filter, retained, &placement, out);
            }
            ToLink::Unsubscribe { filter_id } => self.unsubscribe(worker, filter_id),
            ToLink::MoreRetained { request, shard } => {
                let chunk = self.next_request();
                if self.reads.go_on(request, shard, chunk) {
                    self.ask_for_chunk(chunk);
                }
            }
            ToLink::Withdraw { request } => {
                self.reads.withdraw(request);
                for shard in &mut self.shards {
                    shard.withdraw(request);
                }
            }
            ToLink::AttachSession {
                request,
                client_id,
                clean_start,
                session_expiry_interval_s,
                will,
            } => {
                let attach = AttachSession {
                    request,
                    client_id,
                    clean_start,
                    session_expiry_interval_s,
                    will,
                };
                let operation = self.sessions.attach(attach);
                self.send(operation);
            }
            ToLink::DetachSession {
                client_id,
                epoch,
                reason,
            } => {
                let operation = self.sessions.end(client_id, epoch, reason);
                self.send(operation);
            }
            ToLink::RegisterSessions { shard, sessions } => self.send(Operation::RegisterSessions { shard, sessions }),
            ToLink::Accepted { shard, term, seq } => {
                if let Some(link) = self.shards.get_mut(usize::from(shard.0)) {
                    link.acceptance.accept(worker, term, seq);
                }
            }
        }
    }

    /// Takes an answer from the stream of operations.
    ///
    /// # Errors
    /// [`Violation`]: the streams are to be closed.
    pub fn handle_answer(&mut self, answer: Answer, out: &mut LinkOutputs) -> Result<(), Violation> {
        match answer {
            Answer::LeaseRenewed => {
                self.sessions.renewal_answered();
                if let Some(lease) = &mut self.lease
                    && let Some(sent) = lease.renewal_under_way.take()
                {
                    lease.ends = sent.plus(lease.ttl);
                }
            }
            Answer::Published { shard, first, outcomes } => {
                let tell = |a: Answered| out.tell(a.worker, published(&a));
                self.shard_mut(shard)?.publications.answered(first, &outcomes, tell)?;
            }
            Answer::SessionAttached {
                request,
                epoch,
                session_present,
            } => {
                if self.sessions.attached(request) {
                    out.tell(
                        worker_of(request),
                        ToWorker::SessionAttached {
                            request,
                            epoch,
                            session_present,
                        },
                    );
                }
            }
            Answer::SessionRefused { request, refusal } => {
                if self.sessions.attached(request) {
                    out.tell(worker_of(request), ToWorker::SessionRefused { request, refusal });
                }
            }
            Answer::TakeOver { client_id, epoch } => out.tell_all(&ToWorker::TakeOver { client_id, epoch }),
        }
        Ok(())
    }

    /// Takes a delivery.
    ///
    /// # Errors
    /// [`Violation`]: the streams are to be closed.
    pub fn handle_delivery(&mut self, arrived: NumberedDelivery, out: &mut LinkOutputs) -> Result<(), Violation> {
        let NumberedDelivery {
            shard,
            term,
            seq,
            delivery,
        } = arrived;
        let link = self
            .shards
            .get_mut(usize::from(shard.0))
            .ok_or(Violation::UnknownShard(shard))?;
        match link.acceptance.arrive(term, seq) {
            Arrival::New => {}
            Arrival::Seen => return Ok(()),
            Arrival::Gap => {
                return Err(Violation::DeliveryGap {
                    shard,
                    received: link.acceptance.received(),
                    found: seq,
                });
            }
        }
        match delivery {
            Delivery::Message { filter_ids, message } => {
                let bytes = message.charged_bytes() as u64;
                let workers = self.filters.workers_of(&filter_ids);
                link.acceptance.handed_over(workers, bytes);
                let filter_ids: Arc<[FilterId]> = filter_ids.into();
                for worker in workers.iter() {
                    let filter_ids = self.filters_of_worker(worker, &filter_ids);
                    let message = message.clone();
                    out.tell(
                        worker,
                        ToWorker::Deliver {
                            shard,
                            term,
                            seq,
                            filter_ids,
                            message,
                        },
                    );
                }
            }
            Delivery::Marker { version } => {
                link.acceptance.handed_over(WorkerSet::default(), 0);
                for request in link.confirm(version) {
                    out.tell(worker_of(request), ToWorker::Joined { request, shard });
                }
            }
            Delivery::Retained {
                request,
                messages,
                up_to,
                next,
            } => {
                let bytes = messages.iter().map(|m| m.message.charged_bytes() as u64).sum();
                link.acceptance.handed_over(WorkerSet::default(), bytes);
                if let Some(chunk) = self.reads.arrived(request, up_to, next.as_ref()) {
                    let (request, worker) = (chunk.subscription, worker_of(chunk.subscription));
                    if chunk.first {
                        out.tell(worker, ToWorker::Joined { request, shard });
                    }
                    // Also without messages: the subscriber learns that the read has ended.
                    let more = next.is_some();
                    out.tell(
                        worker,
                        ToWorker::Retained {
                            request,
                            shard,
                            messages,
                            more,
                        },
                    );
                }
            }
            Delivery::Overrun => {
                link.acceptance.handed_over(WorkerSet::default(), 0);
                out.tell_all(&ToWorker::Overrun { shard });
            }
        }
        Ok(())
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

    /// Ends a turn: puts what this turn has brought into frames, interest first, so that whoever subscribed before a
    /// publication gets it.
    pub fn flush(&mut self, out: &mut LinkOutputs) {
        if self.lease.is_none() {
            return;
        }
        for link in &mut self.shards {
            while let Some(delta) = link.next_delta(&self.filters) {
                out.operations.push(Operation::Interest(delta));
            }
        }
        out.operations.append(&mut self.turn);
        for link in &mut self.shards {
            while let Some(batch) = link.publications.next_batch(BATCH_BYTES) {
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
            session_requests: self.sessions.unanswered(),
        }
    }

    fn take_placement(&mut self, attached: &Attached) -> Result<Arc<Placement>, Violation> {
        let found = Placement::new(&self.settings.cluster_uid, attached.shards, &attached.placement_rules)?;
        match &self.placement {
            Some(known) if known.shards() != found.shards() => Err(Violation::ShardsChanged {
                from: known.shards(),
                to: found.shards(),
            }),
            Some(known) => Ok(Arc::clone(known)),
            None => {
                self.shards = (0..found.shards()).map(|s| ShardLink::new(ShardId(s))).collect();
                Ok(Arc::clone(self.placement.insert(Arc::new(found))))
            }
        }
    }

    fn resume_shard(
        &mut self,
        found: &ShardAttachment,
        is_first: bool,
        out: &mut LinkOutputs,
    ) -> Result<(), Violation> {
        let shard = found.shard;
        self.highest_term = self.highest_term.max(found.term);
        let is_reborn = self.is_reborn;
        let link = self.shard_mut(shard)?;
        if link.acceptance.term() == found.term {
            link.acceptance.report_again();
        } else {
            link.acceptance.start_term(found.term);
        }
        // Storage that knows none of our publications has lost its memory of us.
        let forgotten = found.publish_seq == PublishSeq(0);
        if forgotten {
            let tell = |a: Answered| out.tell(a.worker, published(&a));
            link.publications.start_over(found.publish_seq, tell);
        } else {
            link.publications.resume();
        }
        if found.interest_version != link.version() {
            link.begin_anew();
        }
        if found.overrun || is_reborn {
            out.tell_all(&ToWorker::Overrun { shard });
        }
        if forgotten && !is_first {
            out.tell_all(&ToWorker::RegisterSessions { shard });
            self.reads.forget_positions(shard);
        }
        for chunk in self.reads.owed_by(shard) {
            self.ask_for_chunk(chunk);
        }
        Ok(())
    }

    fn publish(
        &mut self,
        worker: WorkerId,
        ticket: PublishTicket,
        message: Message,
        placement: &Placement,
        out: &mut LinkOutputs,
    ) {
        let shard = match std::str::from_utf8(&message.topic_name) {
            Ok(topic_name) => placement.shard_of_topic(topic_name),
            // The worker has checked it. Nobody can be subscribed to such a topic.
            Err(_) => {
                let outcome = PublishOutcome::NoMatchingSubscribers;
                out.tell(worker, ToWorker::Published { ticket, outcome });
                return;
            }
        };
        if let Some(link) = self.shards.get_mut(usize::from(shard.0)) {
            link.publications.push(worker, ticket, message);
        }
    }

    fn subscribe(
        &mut self,
        worker: WorkerId,
        request: RequestId,
        topic_filter: &Bytes,
        retained: bool,
        placement: &Placement,
        out: &mut LinkOutputs,
    ) {
        let shards_of = |f: &[u8]| std::str::from_utf8(f).map_or(FilterShards::All, |f| placement.shards_of_filter(f));
        let Some(added) = self.filters.add(worker, topic_filter, shards_of) else {
            // Four billion filters within one life: the worker's held SUBACK ends the connection.
            return;
        };
        let (filter_id, shards) = (added.filter_id, added.shards);
        out.tell(
            worker,
            ToWorker::Subscribed {
                request,
                filter_id,
                shards,
            },
        );
        for shard in shards_in(shards, placement) {
            if retained {
                let chunk = self.next_request();
                self.reads.begin(request, shard, topic_filter.clone(), chunk);
                self.ask_for_chunk(chunk);
            }
            let Some(link) = self.shards.get_mut(usize::from(shard.0)) else {
                continue;
            };
            if added.is_new {
                link.change(InterestChange::Add {
                    filter_id,
                    topic_filter: topic_filter.clone(),
                });
            }
            // With a retained read the subscriber joins at its first chunk, which comes behind the marker.
            if !retained && link.join(request) {
                out.tell(worker, ToWorker::Joined { request, shard });
            }
        }
    }

    fn unsubscribe(&mut self, worker: WorkerId, filter_id: FilterId) {
        let (Some(shards), Some(placement)) = (self.filters.remove(worker, filter_id), self.placement.as_deref())
        else {
            return;
        };
        for shard in shards_in(shards, placement) {
            if let Some(link) = self.shards.get_mut(usize::from(shard.0)) {
                link.change(InterestChange::Remove { filter_id });
            }
        }
    }

    /// Of `filter_ids`, those that `worker` has; shared when it has all.
    fn filters_of_worker(&self, worker: WorkerId, filter_ids: &Arc<[FilterId]>) -> Arc<[FilterId]> {
        let has = |id: &FilterId| self.filters.has(worker, *id);
        if filter_ids.iter().all(has) {
            Arc::clone(filter_ids)
        } else {
            filter_ids.iter().copied().filter(has).collect()
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

fn published(answered: &Answered) -> ToWorker {
    ToWorker::Published {
        ticket: answered.ticket,
        outcome: answered.outcome,
    }
}

fn shards_in(shards: FilterShards, placement: &Placement) -> impl Iterator<Item = ShardId> + use<> {
    let range = match shards {
        FilterShards::One(shard) => shard.0..shard.0 + 1,
        FilterShards::All => 0..placement.shards(),
    };
    range.map(ShardId)
}
