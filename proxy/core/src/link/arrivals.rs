//! What storage says: answers to operations, and deliveries.

use std::sync::Arc;

use freshet_storage_contract::{
    Answer, Delivery, DetachReason, FilterId, FilterIds, NumberedDelivery, Position, RequestId, SessionEpoch,
    StoredSession,
};

use super::acceptance::Arrival;
use super::publications::Answered;
use super::sessions::{Ended, Granted};
use super::workers::WorkerSet;
use super::{Link, LinkOutputs, Violation, published};
use crate::exchange::{QueuedFor, ToWorker, WorkerId, worker_of};

impl Link {
    /// Takes an answer from the stream of operations.
    ///
    /// # Errors
    /// [`Violation`]: the streams are to be closed.
    pub fn handle_answer(&mut self, answer: Answer, out: &mut LinkOutputs) -> Result<(), Violation> {
        match answer {
            Answer::LeaseRenewed => {
                self.sessions.renewal_answered();
                self.naming.renewal_answered();
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
                session,
            } => {
                self.session_attached(request, epoch, (session_present, session), out);
            }
            Answer::SessionUpdated { request } => {
                if self.owed.answered(request) {
                    self.leave_groups();
                    out.tell(worker_of(request), ToWorker::SessionUpdated { request });
                }
            }
            Answer::UpdateRefused { request, refusal } => {
                if self.owed.answered(request) {
                    self.leave_groups();
                    out.tell(worker_of(request), ToWorker::UpdateRefused { request, refusal });
                }
            }
            Answer::EnsureRefused { request } => {
                if let Some(ensure) = self.ensures.answered(request) {
                    let request = ensure.subscription;
                    self.ensures.withdraw(request);
                    out.tell(worker_of(request), ToWorker::SubscriptionRefused { request });
                }
            }
            Answer::SharedSettled { request } => {
                self.owed.answered(request);
            }
            Answer::Released { request, found } => {
                if let Some((request, found)) = self.owed.released(request, found) {
                    out.tell(worker_of(request), ToWorker::Released { request, found });
                }
            }
            Answer::SessionRefused { request, refusal } => {
                if self.sessions.refused(request) {
                    out.tell(worker_of(request), ToWorker::SessionRefused { request, refusal });
                }
            }
            Answer::TakeOver { client_id, epoch } => out.tell_all(&ToWorker::TakeOver { client_id, epoch }),
        }
        Ok(())
    }

    fn session_attached(
        &mut self,
        request: RequestId,
        epoch: SessionEpoch,
        (session_present, session): (bool, Option<Box<StoredSession>>),
        out: &mut LinkOutputs,
    ) {
        match self.sessions.granted(request, epoch) {
            Granted::Awaited => out.tell(
                worker_of(request),
                ToWorker::SessionAttached {
                    request,
                    epoch,
                    session_present,
                    session,
                },
            ),
            Granted::Repeated => {}
            Granted::Unused { client_id, held } => {
                // A session that no connection has would keep others of its client id waiting until the lease ends.
                let reason = match held {
                    Some(held) => {
                        // The client's connection has been superseded by its own second asking: it connects again.
                        let (client_id, epoch) = (client_id.clone(), held);
                        out.tell_all(&ToWorker::TakeOver { client_id, epoch });
                        DetachReason::Moved
                    }
                    // The client was never told that it is connected: its will is not due.
                    None => DetachReason::ByClient,
                };
                let Some(placement) = self.placement.as_deref() else {
                    return;
                };
                let shard = placement.shard_of_client(&client_id);
                let ended = Ended {
                    client_id,
                    epoch,
                    reason,
                    session_expiry_interval_s: None,
                    left: None,
                    is_unheard_of: false,
                };
                for operation in self.sessions.end(ended, shard) {
                    self.send(operation);
                }
            }
        }
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
            Delivery::Message {
                filter_ids,
                message,
                position,
            } => {
                let bytes = message.charged_bytes() as u64;
                let workers = self.filters.workers_of(filter_ids.as_slice());
                link.acceptance.handed_over(workers, bytes);
                for worker in workers.iter() {
                    let filter_ids = self.filters_of_worker(worker, &filter_ids);
                    let message = Arc::clone(&message);
                    out.tell(
                        worker,
                        ToWorker::Deliver {
                            shard,
                            term,
                            seq,
                            filter_ids,
                            message,
                            position,
                        },
                    );
                }
            }
            Delivery::Marker { version } => {
                link.acceptance.handed_over(WorkerSet::default(), 0);
                for request in link.confirm(version) {
                    let worker = worker_of(request);
                    let Some(open) = self.resizes.get_mut(&request) else {
                        let start = None;
                        out.tell(worker, ToWorker::Joined { request, shard, start });
                        continue;
                    };
                    *open -= 1;
                    if *open == 0 {
                        self.resizes.remove(&request);
                        out.tell(worker, ToWorker::Resized { request });
                    }
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
                        let start = None;
                        out.tell(worker, ToWorker::Joined { request, shard, start });
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
            Delivery::Shared(shared) => {
                let bytes = shared.message.charged_bytes() as u64;
                // Without members here the shard is about to learn that, and gives the message to others.
                let worker = self.filters.next_worker(shared.filter_id);
                let mut workers = WorkerSet::default();
                worker.into_iter().for_each(|worker| workers.insert(worker));
                link.acceptance.handed_over(workers, bytes);
                if let Some(worker) = worker {
                    let event = ToWorker::Shared {
                        shard,
                        term,
                        seq,
                        shared,
                    };
                    out.tell(worker, event);
                }
            }
            Delivery::Started { request, position } => {
                link.acceptance.handed_over(WorkerSet::default(), 0);
                self.started(request, position, out);
            }
            Delivery::Pulled {
                request,
                messages,
                up_to,
                caught_up,
            } => {
                let bytes = messages.iter().map(|m| m.message.charged_bytes() as u64).sum();
                link.acceptance.handed_over(WorkerSet::default(), bytes);
                if self.owed.answered(request) {
                    let pulled = ToWorker::Pulled {
                        request,
                        messages,
                        up_to,
                        caught_up,
                    };
                    out.tell(worker_of(request), pulled);
                }
            }
            Delivery::Fetched {
                request,
                messages,
                answered,
            } => {
                let bytes = messages.iter().map(|m| m.message.charged_bytes() as u64).sum();
                link.acceptance.handed_over(WorkerSet::default(), bytes);
                if self.owed.answered(request) {
                    let fetched = ToWorker::Fetched {
                        request,
                        messages,
                        answered,
                    };
                    out.tell(worker_of(request), fetched);
                }
            }
            Delivery::Overrun { queues_lost } => {
                link.acceptance.handed_over(WorkerSet::default(), 0);
                let queued = if queues_lost { QueuedFor::Nobody } else { QueuedFor::All };
                out.tell_all(&ToWorker::Overrun { shard, queued });
            }
        }
        Ok(())
    }

    /// A durable filter acts at a shard: the subscriber joins there. Retained messages are read from then on: what is
    /// retained later comes live.
    fn started(&mut self, request: RequestId, position: Position, out: &mut LinkOutputs) {
        let Some(ensure) = self.ensures.answered(request) else {
            return;
        };
        let (request, shard) = (ensure.subscription, ensure.shard);
        let joined = ToWorker::Joined {
            request,
            shard,
            start: Some(position),
        };
        out.tell(worker_of(request), joined);
        if ensure.retained {
            let chunk = self.next_request();
            self.reads
                .begin(request, shard, ensure.topic_filter, chunk, Some(position));
            self.ask_for_chunk(chunk);
        }
    }

    /// Of `filter_ids`, those that `worker` has; shared when it has all.
    fn filters_of_worker(&self, worker: WorkerId, filter_ids: &FilterIds) -> FilterIds {
        let has = |id: &FilterId| self.filters.has(worker, *id);
        let all = filter_ids.as_slice();
        if all.iter().all(has) {
            filter_ids.clone()
        } else {
            FilterIds::Many(all.iter().copied().filter(has).collect())
        }
    }
}
