//! What workers ask of the link.

use bytes::Bytes;
use freshet_storage_contract::{
    AttachSession, FilterId, FilterShards, InterestChange, Message, Operation, Placement, PublishOutcome, RequestId,
    ShardId,
};

use super::{Link, LinkOutputs};
use crate::exchange::{PublishTicket, ToLink, ToWorker, WorkerId};

impl Link {
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
            ToLink::RegisterSessions { shard, sessions } => {
                // While storage is away it is not sent, and asked for again.
                if self.is_attached() {
                    self.naming.named(shard);
                }
                self.send(Operation::RegisterSessions { shard, sessions });
            }
            ToLink::Accepted { shard, term, seq } => {
                if let Some(link) = self.shards.get_mut(usize::from(shard.0)) {
                    link.acceptance.accept(worker, term, seq);
                }
            }
        }
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
}

fn shards_in(shards: FilterShards, placement: &Placement) -> impl Iterator<Item = ShardId> + use<> {
    let range = match shards {
        FilterShards::One(shard) => shard.0..shard.0 + 1,
        FilterShards::All => 0..placement.shards(),
    };
    range.map(ShardId)
}
