//! Link and storage in one, small enough to be read: two shards, answers in the order of the questions.

mod groups;
mod kept;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use freshet_mqtt::topic_matches;
use freshet_storage_contract::{
    ClusterUid, DeliverySeq, DetachReason, FilterId, FilterShards, Message, Placement, PublishOutcome, RequestId,
    RetainedMessage, SessionEpoch, SessionRefusal, ShardId, SharedMessage, Term,
};

use self::groups::{Groups, shared_filter};
use self::kept::Kept;
use crate::exchange::{GroupPart, PublishTicket, ToLink, ToWorker};

/// The other side of a worker.
pub(super) struct Storage {
    pub(super) placement: Arc<Placement>,
    /// What the worker is to be told.
    pub(super) answers: VecDeque<ToWorker>,
    /// Everything that the worker said.
    pub(super) heard: Vec<ToLink>,
    /// Publications are not answered by themselves.
    pub(super) hold_publications: bool,
    /// Attaches are not answered by themselves.
    pub(super) hold_attaches: bool,
    /// Subscriptions are not answered by themselves.
    pub(super) hold_subscriptions: bool,
    /// Changes of sessions are not answered by themselves.
    pub(super) hold_updates: bool,
    pub(super) kept: Kept,
    pub(super) groups: Groups,
    pub(super) held_publications: VecDeque<(PublishTicket, Arc<Message>)>,
    pub(super) held: VecDeque<ToLink>,
    /// Retained messages of one chunk.
    pub(super) chunk: usize,
    pub(super) retained: BTreeMap<Bytes, Message>,
    pub(super) filters: BTreeMap<FilterId, Bytes>,
    pub(super) sessions: BTreeMap<Bytes, SessionEpoch>,
    pub(super) detached: Vec<(Bytes, DetachReason)>,
    /// Attaches that wait for the end of an older connection.
    taken_over: VecDeque<Waiting>,
    reads: BTreeMap<(RequestId, ShardId), VecDeque<Message>>,
    epochs: u64,
    last_filter: u32,
    seqs: BTreeMap<ShardId, u64>,
}

/// Request, client id, Clean Start, granted expiry in seconds, epoch.
type Waiting = (RequestId, Bytes, bool, u32, SessionEpoch);

pub(super) const TERM: Term = Term(3);

impl Storage {
    pub(super) fn new() -> Self {
        let placement = Placement::new(&ClusterUid("cluster".to_owned()), 2, &[]).unwrap();
        Self {
            placement: Arc::new(placement),
            answers: VecDeque::new(),
            heard: Vec::new(),
            hold_publications: false,
            hold_attaches: false,
            hold_subscriptions: false,
            hold_updates: false,
            kept: Kept::new(100),
            groups: Groups::default(),
            held_publications: VecDeque::new(),
            held: VecDeque::new(),
            chunk: 100,
            retained: BTreeMap::new(),
            filters: BTreeMap::new(),
            sessions: BTreeMap::new(),
            detached: Vec::new(),
            taken_over: VecDeque::new(),
            reads: BTreeMap::new(),
            epochs: 0,
            last_filter: 0,
            seqs: BTreeMap::new(),
        }
    }

    pub(super) fn hear(&mut self, said: ToLink) {
        self.heard.push(said.clone());
        match said {
            ToLink::Publish { ticket, message } if self.hold_publications => {
                self.held_publications.push_back((ticket, message));
            }
            ToLink::Publish { ticket, message } => self.publish(ticket, message),
            ToLink::AttachSession { .. } if self.hold_attaches => self.held.push_back(said),
            ToLink::AttachSession {
                request,
                client_id,
                clean_start,
                session_expiry_interval_s,
                ..
            } => self.attach(request, &client_id, clean_start, session_expiry_interval_s),
            ToLink::DetachSession {
                client_id,
                epoch,
                reason,
                session_expiry_interval_s,
                ..
            } => {
                self.kept.detach(&client_id, epoch, session_expiry_interval_s, reason);
                if self.sessions.get(&client_id) == Some(&epoch) {
                    self.sessions.remove(&client_id);
                }
                let waits = |w: &Waiting| w.1 == client_id;
                if let Some(at) = self.taken_over.iter().position(waits)
                    && let Some((request, client_id, clean_start, expiry_s, epoch)) = self.taken_over.remove(at)
                {
                    self.grant(request, &client_id, clean_start, expiry_s, epoch);
                }
                self.detached.push((client_id, reason));
            }
            ToLink::Subscribe { .. } if self.hold_subscriptions => self.held.push_back(said),
            ToLink::Subscribe {
                request,
                topic_filter,
                retained,
                durable,
                group,
                ..
            } => {
                assert_eq!(group.is_some(), shared_filter(&topic_filter).is_some());
                self.subscribe(request, &topic_filter, retained, durable.is_some());
                if let Some(part) = group {
                    self.resize(&topic_filter, part);
                }
            }
            ToLink::ResizeGroup {
                topic_filter,
                part,
                confirm,
            } => {
                self.resize(&topic_filter, part);
                self.resize_held(&topic_filter, part);
                if let Some(request) = confirm {
                    self.answers.push_back(ToWorker::Resized { request });
                }
            }
            ToLink::Settle { filter_id, settled, .. } => {
                self.groups.settle(filter_id, &settled);
                self.give();
            }
            ToLink::UpdateSession(_) if self.hold_updates => self.held.push_back(said),
            ToLink::UpdateSession(update) => {
                let request = update.request.expect("every update asks for an answer");
                let answer = if self.kept.update(update) {
                    ToWorker::SessionUpdated { request }
                } else {
                    let refusal = SessionRefusal::Superseded;
                    ToWorker::UpdateRefused { request, refusal }
                };
                self.answers.push_back(answer);
            }
            ToLink::Pull(pull) => {
                let placement = &self.placement;
                let pulled = self.kept.pull(&pull, |message| {
                    placement.shard_of_topic(str::from_utf8(&message.topic_name).unwrap()) == pull.shard
                });
                self.answers.push_back(pulled);
            }
            ToLink::Fetch(fetch) => self.answers.push_back(self.kept.fetch(&fetch)),
            ToLink::Release { request, of, .. } => {
                let found = self.kept.release(&of.client_id, of.packet_id.get());
                self.answers.push_back(ToWorker::Released { request, found });
            }
            ToLink::Unsubscribe { filter_id } => {
                assert!(
                    self.filters.remove(&filter_id).is_some(),
                    "unsubscribed from what it did not have"
                );
                self.groups.remove(filter_id);
            }
            ToLink::MoreRetained { request, shard } => self.read(request, shard),
            ToLink::Withdraw { request } => self.reads.retain(|key, _| key.0 != request),
            ToLink::RegisterSessions { .. } | ToLink::Accepted { .. } => {}
        }
    }

    /// Answers what was held.
    pub(super) fn release(&mut self) {
        self.hold_attaches = false;
        self.hold_subscriptions = false;
        self.hold_updates = false;
        for said in std::mem::take(&mut self.held) {
            self.hear(said);
        }
        self.hold_publications = false;
        for (ticket, message) in std::mem::take(&mut self.held_publications) {
            self.publish(ticket, message);
        }
    }

    /// What a worker has said last of a group holds, as it does with the link: only answers are late.
    fn resize_held(&mut self, topic_filter: &Bytes, part: GroupPart) {
        for said in &mut self.held {
            if let ToLink::Subscribe {
                topic_filter: of,
                group,
                ..
            } = said
                && of == topic_filter
            {
                *group = Some(part);
            }
        }
    }

    pub(super) fn attach(&mut self, request: RequestId, client_id: &Bytes, clean_start: bool, expiry_s: u32) {
        self.epochs += 1;
        let epoch = SessionEpoch {
            term: TERM,
            counter: self.epochs,
        };
        if let Some(old) = self.sessions.insert(client_id.clone(), epoch) {
            let client_id = client_id.clone();
            // Before the session is granted to the new connection, as storage does.
            self.taken_over
                .push_back((request, client_id.clone(), clean_start, expiry_s, epoch));
            self.answers.push_back(ToWorker::TakeOver { client_id, epoch: old });
            return;
        }
        self.grant(request, client_id, clean_start, expiry_s, epoch);
    }

    fn grant(&mut self, request: RequestId, client_id: &Bytes, clean_start: bool, expiry_s: u32, epoch: SessionEpoch) {
        let session = self.kept.attach(client_id, clean_start, epoch, expiry_s);
        self.answers.push_back(ToWorker::SessionAttached {
            request,
            epoch,
            session_present: session.is_some(),
            session: session.map(Box::new),
        });
    }

    fn shards_of(&self, topic_filter: &[u8]) -> (FilterShards, Vec<ShardId>) {
        let unshared = shared_filter(topic_filter);
        let topic_filter = unshared.as_deref().unwrap_or(topic_filter);
        let shards = self.placement.shards_of_filter(str::from_utf8(topic_filter).unwrap());
        match shards {
            FilterShards::One(shard) => (shards, vec![shard]),
            FilterShards::All => (shards, (0..self.placement.shards()).map(ShardId).collect()),
        }
    }

    pub(super) fn name(&mut self, request: RequestId, topic_filter: &Bytes) -> Vec<ShardId> {
        let known = self
            .filters
            .iter()
            .find(|(_, name)| *name == topic_filter)
            .map(|(id, _)| *id);
        let filter_id = known.unwrap_or_else(|| {
            self.last_filter += 1;
            FilterId(self.last_filter)
        });
        self.filters.insert(filter_id, topic_filter.clone());
        let (shards, list) = self.shards_of(topic_filter);
        self.answers.push_back(ToWorker::Subscribed {
            request,
            filter_id,
            shards,
        });
        list
    }

    fn subscribe(&mut self, request: RequestId, topic_filter: &Bytes, retained: bool, is_durable: bool) {
        for shard in self.name(request, topic_filter) {
            let start = is_durable.then(|| self.kept.ensure(topic_filter));
            self.answers.push_back(ToWorker::Joined { request, shard, start });
            if retained {
                let filter = str::from_utf8(topic_filter).unwrap();
                let matching = self.retained.values().filter(|m| {
                    let topic = str::from_utf8(&m.topic_name).unwrap();
                    topic_matches(filter, topic) && self.placement.shard_of_topic(topic) == shard
                });
                let matching = matching.cloned().collect();
                self.reads.insert((request, shard), matching);
                self.read(request, shard);
            }
        }
    }

    fn read(&mut self, request: RequestId, shard: ShardId) {
        let Some(mut left) = self.reads.remove(&(request, shard)) else {
            return;
        };
        let chunk = left.drain(..self.chunk.min(left.len()));
        let messages = chunk.map(|message| RetainedMessage { message }).collect();
        let more = !left.is_empty();
        if more {
            self.reads.insert((request, shard), left);
        }
        self.answers.push_back(ToWorker::Retained {
            request,
            shard,
            messages,
            more,
        });
    }

    pub(super) fn publish(&mut self, ticket: PublishTicket, message: Arc<Message>) {
        if message.retain {
            if message.payload.is_empty() {
                self.retained.remove(&message.topic_name);
            } else {
                self.retained
                    .insert(message.topic_name.clone(), Message::clone(&message));
            }
        }
        let delivered = self.kept.is_known(&message) || self.deliver(Arc::unwrap_or_clone(message));
        let outcome = if delivered {
            PublishOutcome::Delivered
        } else {
            PublishOutcome::NoMatchingSubscribers
        };
        self.answers.push_back(ToWorker::Published { ticket, outcome });
    }

    /// Hands a message to the worker if a filter matches.
    pub(super) fn deliver(&mut self, message: Message) -> bool {
        let topic = str::from_utf8(&message.topic_name).unwrap().to_owned();
        let matching = self
            .filters
            .iter()
            .filter(|(_, name)| shared_filter(name).is_none() && topic_matches(str::from_utf8(name).unwrap(), &topic));
        let filter_ids: Vec<FilterId> = matching.map(|(id, _)| *id).collect();
        let position = self.kept.append(&message);
        let is_shared = self.groups.matches(&topic);
        let kept_at = match position {
            None if is_shared => self.kept.keep(&message),
            position => position.unwrap_or_default(),
        };
        let live = self.groups.append(&message, kept_at);
        self.share(live);
        self.give();
        if filter_ids.is_empty() {
            return position.is_some() || is_shared;
        }
        let shard = self.placement.shard_of_topic(&topic);
        let seq = self.next_seq(shard);
        self.answers.push_back(ToWorker::Deliver {
            shard,
            term: TERM,
            seq,
            filter_ids: filter_ids.into(),
            message: message.into(),
            position,
        });
        true
    }

    fn next_seq(&mut self, shard: ShardId) -> DeliverySeq {
        let seq = self.seqs.entry(shard).or_default();
        *seq += 1;
        DeliverySeq(*seq)
    }

    fn resize(&mut self, topic_filter: &Bytes, part: GroupPart) {
        let id = self.filters.iter().find(|(_, name)| *name == topic_filter);
        // Its subscription may be held back.
        if let Some((id, _)) = id {
            self.groups.resize(*id, topic_filter, part);
            self.give();
        }
    }

    fn give(&mut self) {
        let given = self.groups.give();
        self.share(given);
    }

    fn share(&mut self, given: Vec<SharedMessage>) {
        for shared in given {
            let shard = self
                .placement
                .shard_of_topic(str::from_utf8(&shared.message.topic_name).unwrap());
            let seq = self.next_seq(shard);
            self.answers.push_back(ToWorker::Shared {
                shard,
                term: TERM,
                seq,
                shared,
            });
        }
    }
}
