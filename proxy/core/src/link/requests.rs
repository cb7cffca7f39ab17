//! What workers ask of the link.

use std::sync::Arc;

use bytes::Bytes;
use freshet_storage_contract::{
    AttachSession, ExactlyOnce, FilterShards, InterestChange, Message, Operation, Placement, RegisteredSession,
    Release, RequestId, SettleShared, ShardId,
};

use super::ensures::Ensure;
use super::sessions::Ended;
use super::{Link, LinkOutputs};
use crate::exchange::{GroupPart, PublishTicket, ToLink, ToWorker, WorkerId, worker_of};

/// [`ToLink::Subscribe`].
struct Subscribe {
    request: RequestId,
    topic_filter: Bytes,
    retained: bool,
    durable: Option<ShardId>,
    is_restored: bool,
    group: Option<GroupPart>,
}

impl Link {
    /// Takes an event of a worker.
    pub fn handle_worker(&mut self, worker: WorkerId, asked: ToLink, out: &mut LinkOutputs) {
        let Some(placement) = self.placement.clone() else {
            self.before_placement.push((worker, asked));
            return;
        };
        match asked {
            ToLink::Publish { ticket, message } => self.publish(worker, ticket, message, &placement),
            ToLink::Subscribe {
                request,
                topic_filter,
                retained,
                durable,
                is_restored,
                group,
            } => {
                let subscribe = Subscribe {
                    request,
                    topic_filter,
                    retained,
                    durable,
                    is_restored,
                    group,
                };
                self.subscribe(worker, &subscribe, &placement, out);
            }
            ToLink::Unsubscribe { filter_id } => {
                let (strategy, taking) = (self.settings.shared_strategy, self.owed.taking());
                let left = self
                    .filters
                    .remove(worker, filter_id, strategy, |name| taking.has(name));
                self.change_interest(left, &placement);
            }
            ToLink::ResizeGroup {
                topic_filter,
                part,
                confirm,
            } => {
                let strategy = self.settings.shared_strategy;
                let resized = self.filters.resize(worker, &topic_filter, part, strategy);
                let shards = resized.as_ref().map(|(shards, _)| *shards);
                self.change_interest(resized, &placement);
                if let Some(request) = confirm {
                    self.confirm_resized(request, shards, &placement, out);
                }
            }
            ToLink::Settle {
                shard,
                filter_id,
                settled,
            } => {
                let request = self.next_request();
                let settle = SettleShared {
                    request,
                    shard,
                    filter_id,
                    settled,
                };
                self.ask(request, shard, Operation::SettleShared(settle));
            }
            ToLink::MoreRetained { request, shard } => {
                let chunk = self.next_request();
                if self.reads.go_on(request, shard, chunk) {
                    self.ask_for_chunk(chunk);
                }
            }
            ToLink::Withdraw { request } => {
                self.reads.withdraw(request);
                self.ensures.withdraw(request);
                self.owed.withdraw(request);
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
                let shard = placement.shard_of_client(&attach.client_id);
                let operation = self.sessions.attach(attach);
                if !self.naming.is_awaited(shard) {
                    self.send(operation);
                }
            }
            ToLink::DetachSession {
                client_id,
                epoch,
                reason,
                session_expiry_interval_s,
                left,
            } => {
                let shard = placement.shard_of_client(&client_id);
                let ended = Ended {
                    client_id,
                    epoch,
                    reason,
                    session_expiry_interval_s,
                    left,
                    // Its worker names it no more.
                    is_unheard_of: self.owed.is_unnamed(worker, shard),
                };
                for operation in self.sessions.end(ended, shard) {
                    self.send(operation);
                }
            }
            ToLink::UpdateSession(update) => {
                if let Some(request) = update.request {
                    let shard = placement.shard_of_client(&update.client_id);
                    self.ask(request, shard, Operation::UpdateSession(update));
                }
            }
            ToLink::Pull(pull) => self.ask(pull.request, pull.shard, Operation::Pull(pull)),
            ToLink::Fetch(fetch) => self.ask(fetch.request, fetch.shard, Operation::Fetch(fetch)),
            ToLink::Release { request, shard, of } => self.release(request, shard, &of, &placement),
            ToLink::RegisterSessions { shard, sessions } => {
                // While storage is away it is not sent, and asked for again.
                if self.is_attached() {
                    self.register_sessions(worker, shard, sessions, &placement);
                }
            }
            ToLink::Accepted { shard, term, seq } => {
                if let Some(link) = self.shards.get_mut(usize::from(shard.0)) {
                    link.acceptance.accept(worker, term, seq);
                }
            }
        }
    }

    /// Names the sessions of a worker, and asks for what has waited for that.
    fn register_sessions(
        &mut self,
        worker: WorkerId,
        shard: ShardId,
        sessions: Vec<RegisteredSession>,
        placement: &Placement,
    ) {
        let was_awaited = self.naming.is_awaited(shard);
        self.naming.named(shard);
        self.send(Operation::RegisterSessions { shard, sessions });
        for update in self.owed.named(worker, shard) {
            self.send(update);
        }
        if was_awaited && !self.naming.is_awaited(shard) {
            let is_one = |client_id: &[u8]| placement.shard_of_client(client_id) == shard;
            for attach in self.sessions.attaching(is_one) {
                self.send(attach);
            }
        }
    }

    /// Asks storage for something that it owes an answer to.
    fn ask(&mut self, request: RequestId, shard: ShardId, operation: Operation) {
        if self.owed.add(request, shard, operation.clone()) {
            self.send(operation);
        }
    }

    /// Releases a packet id at the shard of its message, or at all of them.
    fn release(&mut self, request: RequestId, shard: Option<ShardId>, of: &ExactlyOnce, placement: &Placement) {
        let release = |request, shard| {
            let of = of.clone();
            Operation::Release(Release { request, shard, of })
        };
        if let Some(shard) = shard {
            self.ask(request, shard, release(request, shard));
            return;
        }
        let shards = shards_in(FilterShards::All, placement);
        let parts: Vec<_> = shards.map(|shard| (self.next_request(), shard)).collect();
        let names: Vec<_> = parts.iter().map(|(part, _)| *part).collect();
        self.owed.split(request, &names);
        for (part, shard) in parts {
            self.ask(part, shard, release(part, shard));
        }
    }

    fn publish(&mut self, worker: WorkerId, ticket: PublishTicket, message: Arc<Message>, placement: &Placement) {
        let shard = placement.shard_of_topic(&message.topic_name);
        if let Some(link) = self.shards.get_mut(usize::from(shard.0)) {
            link.publications.push(worker, ticket, message);
        }
    }

    fn subscribe(&mut self, worker: WorkerId, subscribe: &Subscribe, placement: &Placement, out: &mut LinkOutputs) {
        let Subscribe {
            request,
            ref topic_filter,
            retained,
            durable,
            is_restored,
            group,
        } = *subscribe;
        let shards_of = |f: &[u8]| std::str::from_utf8(f).map_or(FilterShards::All, |f| placement.shards_of_filter(f));
        let Some(added) = self.filters.add(worker, topic_filter, shards_of) else {
            // Four billion filters within one life: the worker's held SUBACK ends the connection.
            return;
        };
        let (filter_id, shards) = (added.filter_id, added.shards);
        let strategy = self.settings.shared_strategy;
        let resized = group.and_then(|part| self.filters.resize(worker, topic_filter, part, strategy));
        out.tell(
            worker,
            ToWorker::Subscribed {
                request,
                filter_id,
                shards,
            },
        );
        for shard in shards_in(shards, placement) {
            if let Some(session_shard) = durable {
                let ensure = Ensure {
                    subscription: request,
                    shard,
                    session_shard,
                    topic_filter: topic_filter.clone(),
                    retained,
                };
                let name = self.next_request();
                let operation = self.ensures.begin(name, ensure);
                self.send(operation);
            } else if retained {
                let chunk = self.next_request();
                self.reads.begin(request, shard, topic_filter.clone(), chunk, None);
                self.ask_for_chunk(chunk);
            }
            let Some(link) = self.shards.get_mut(usize::from(shard.0)) else {
                continue;
            };
            if let Some((_, change)) = &resized {
                link.change(change.clone());
            } else if added.is_new {
                link.change(InterestChange::Add {
                    filter_id,
                    topic_filter: topic_filter.clone(),
                });
            }
            // With a retained read the subscriber joins at its first chunk, which comes behind the marker; with a
            // durable filter where that begins.
            if is_restored {
                link.join_behind_marker(request);
            } else if !retained && durable.is_none() && link.join(request) {
                let start = None;
                out.tell(worker, ToWorker::Joined { request, shard, start });
            }
        }
    }

    /// Leaves groups that were held until sessions have taken what they had of them.
    pub(super) fn leave_groups(&mut self) {
        let ended = self.owed.taking().take_ended();
        let Some(placement) = self.placement.clone() else {
            return;
        };
        for name in ended {
            if !self.owed.taking().has(&name) {
                let left = self.filters.let_go(&name);
                self.change_interest(left, &placement);
            }
        }
    }

    /// Says when all shards of a group know of the change that is on its way.
    fn confirm_resized(
        &mut self,
        request: RequestId,
        shards: Option<FilterShards>,
        placement: &Placement,
        out: &mut LinkOutputs,
    ) {
        let mut open = 0;
        for shard in shards.into_iter().flat_map(|shards| shards_in(shards, placement)) {
            let link = self.shards.get_mut(usize::from(shard.0));
            open += u16::from(link.is_some_and(|link| !link.join(request)));
        }
        if open == 0 {
            out.tell(worker_of(request), ToWorker::Resized { request });
        } else {
            self.resizes.insert(request, open);
        }
    }

    fn change_interest(&mut self, changed: Option<(FilterShards, InterestChange)>, placement: &Placement) {
        let Some((shards, change)) = changed else { return };
        for shard in shards_in(shards, placement) {
            if let Some(link) = self.shards.get_mut(usize::from(shard.0)) {
                link.change(change.clone());
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
