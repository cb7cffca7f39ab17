//! What the worker has asked of the link and not been answered: sessions, subscriptions, retained and queued messages.

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use freshet_storage_contract::{MonotonicMs, RequestId, ShardId};
use hashbrown::HashMap;

use super::Actions;
use super::shared::Shared;
use super::token::ConnectionToken;
use crate::connection::SubscribeRequest;
use crate::connection::durable::SessionRead;
use crate::connection::leases::SharedLease;
use crate::exchange::{ToLink, WorkerId, request_id};
use crate::filters::{FilterKey, Released};

/// What the table has room for when nothing is waited for: that very many came at once is not remembered.
const KEPT_REQUESTS: usize = 4_096;

/// A request of the worker.
#[derive(Debug)]
pub(crate) enum Request {
    /// A session for this connection, asked for at this time.
    Attach(ConnectionToken, MonotonicMs),
    /// A subscription.
    Subscribe(Box<SubscribeRequest>),
    /// A subscription that was withdrawn; the link still owes the filter's name.
    Withdrawn(FilterKey),
    /// Messages for a session that outlives its connection.
    Read(Box<SessionRead>),
    /// Changes of a session, and what it takes of shared subscriptions with them.
    Update(ConnectionToken, Box<[SharedLease]>),
    /// The release of a packet id.
    Release(ConnectionToken),
    /// A group none of whose members has room: what was given before has come when this is answered.
    CloseGroup(FilterKey),
}

/// Requests by id.
#[derive(Debug)]
pub(crate) struct RequestTable {
    worker: WorkerId,
    last: u64,
    // The worker chooses these keys, nobody else.
    requests: HashMap<RequestId, Request, FixedState>,
}

/// Something that brings messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// The first ones of a subscription, with the subscription itself.
    Subscribe(RequestId),
    /// More of them.
    More(RequestId, ShardId),
    /// What is queued for a session, or was sent before and is to be sent again.
    Session(RequestId),
}

/// Reads under way. Each may bring a chunk of messages, so that their number is bounded.
#[derive(Debug)]
pub(crate) struct Reads {
    limit: u32,
    under_way: u32,
    waiting: VecDeque<Read>,
    /// Reads that may still begin in this turn; none: nobody counts turns.
    left_in_turn: Option<u32>,
}

/// Reads that begin in one turn. Each may bring some hundred messages, which are handled before any socket is looked at
/// again: without a bound, all who come back after an outage would be served in a turn or two.
const READS_PER_TURN: u32 = 8;
/// The same while sockets wait for their turn: what a read brings keeps its client's socket busy for the next ones.
const READS_PER_BUSY_TURN: u32 = 2;

impl RequestTable {
    pub(crate) fn new(worker: WorkerId) -> Self {
        Self {
            worker,
            last: 0,
            requests: HashMap::default(),
        }
    }

    pub(crate) fn add(&mut self, request: Request) -> RequestId {
        self.last += 1;
        let id = request_id(self.worker, self.last);
        self.requests.insert(id, request);
        id
    }

    pub(crate) fn get_mut(&mut self, id: RequestId) -> Option<&mut Request> {
        self.requests.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: RequestId) -> Option<Request> {
        let removed = self.requests.remove(&id);
        if self.requests.is_empty() && self.requests.capacity() > KEPT_REQUESTS {
            self.requests = HashMap::default();
        }
        removed
    }

    /// Connections whose sessions have been asked to take messages of a shard's groups, and were not answered.
    pub(crate) fn taking_from(&self, shard: ShardId) -> Vec<ConnectionToken> {
        let takes = |request: &Request| match request {
            Request::Update(token, leases) => leases.iter().any(|lease| lease.shard == shard).then_some(*token),
            _ => None,
        };
        let mut tokens: Vec<_> = self.requests.values().filter_map(takes).collect();
        tokens.sort_unstable();
        tokens
    }

    fn insert(&mut self, id: RequestId, request: Request) {
        self.requests.insert(id, request);
    }

    /// Whether nothing is waited for.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }
}

impl Reads {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            limit,
            under_way: 0,
            waiting: VecDeque::new(),
            left_in_turn: None,
        }
    }

    /// A turn begins, in which sockets are left over or not.
    pub(crate) fn begin_turn(&mut self, sockets_wait: bool) {
        self.left_in_turn = Some(if sockets_wait {
            READS_PER_BUSY_TURN
        } else {
            READS_PER_TURN
        });
    }

    /// Whether reads wait for nothing but the next turn.
    pub(crate) fn wait_for_turn(&self) -> bool {
        self.left_in_turn == Some(0) && self.is_waiting()
    }

    /// A chunk has come, or will never come.
    pub(crate) fn release(&mut self, reads: u16) {
        self.under_way = self.under_way.saturating_sub(u32::from(reads));
    }

    /// Whether reads wait for others to end.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn has_room_for(&self, reads: u16) -> bool {
        // A filter of more shards than the limit is read when nothing else is.
        self.under_way == 0 || self.under_way + u32::from(reads) <= self.limit
    }
}

impl Shared {
    /// Asks the link for a subscription, at once or when there is room for its retained messages.
    pub(crate) fn ask_for_subscription(&mut self, id: RequestId, out: &mut Actions) {
        match self.requests.get_mut(id) {
            Some(Request::Subscribe(request)) if request.wants_retained => self.read_on(Read::Subscribe(id), out),
            Some(Request::Subscribe(request)) => {
                request.is_asked = true;
                let topic_filter = self.filters.topic_filter(request.key);
                out.to_link.push(ToLink::Subscribe {
                    request: id,
                    topic_filter,
                    retained: false,
                    durable: request.durable,
                    is_restored: request.is_restored,
                    group: self.filters.group_part(request.key),
                });
            }
            _ => {}
        }
    }

    /// Begins a retained read, or lets it wait.
    pub(crate) fn read_on(&mut self, read: Read, out: &mut Actions) {
        self.reads.waiting.push_back(read);
        self.begin_reads(out);
    }

    /// Begins the retained reads that there is room for.
    pub(crate) fn begin_reads(&mut self, out: &mut Actions) {
        while let Some(read) = self.reads.waiting.front().copied() {
            let (Read::Subscribe(id) | Read::More(id, _) | Read::Session(id)) = read;
            let reads = match (read, self.requests.get_mut(id)) {
                (Read::Subscribe(_), Some(Request::Subscribe(request))) => request.reads,
                (Read::More(..), Some(Request::Subscribe(_))) | (Read::Session(_), Some(Request::Read(_))) => 1,
                _ => {
                    self.reads.waiting.pop_front();
                    continue;
                }
            };
            // Over the bound on all clients' queues, reads go on one by one as clients take what they have.
            let is_over = self.stats.outbound_bytes_now > self.settings.outbound_bytes && self.reads.under_way > 0;
            if is_over || self.reads.left_in_turn == Some(0) || !self.reads.has_room_for(reads) {
                return;
            }
            self.reads.left_in_turn = self.reads.left_in_turn.map(|left| left - 1);
            self.reads.waiting.pop_front();
            self.reads.under_way += u32::from(reads);
            match (read, self.requests.get_mut(id)) {
                (Read::Subscribe(_), Some(Request::Subscribe(request))) => {
                    request.is_asked = true;
                    let topic_filter = self.filters.topic_filter(request.key);
                    out.to_link.push(ToLink::Subscribe {
                        request: id,
                        topic_filter,
                        retained: true,
                        durable: request.durable,
                        is_restored: false,
                        group: None,
                    });
                }
                (Read::More(_, shard), Some(Request::Subscribe(request))) => {
                    request.reads += 1;
                    out.to_link.push(ToLink::MoreRetained { request: id, shard });
                }
                (_, Some(Request::Read(read))) => out.to_link.extend(read.ask.take()),
                _ => {}
            }
        }
    }

    /// A session's read is of no interest any more.
    pub(crate) fn withdraw_read(&mut self, id: RequestId, out: &mut Actions) {
        if let Some(Request::Read(read)) = self.requests.remove(id)
            && read.ask.is_none()
        {
            self.reads.release(1);
            out.to_link.push(ToLink::Withdraw { request: id });
        }
        // Those that nobody waits for must not outweigh the others.
        if self.reads.waiting.len() > 2 * self.requests.requests.len() + 64 {
            let requests = &self.requests.requests;
            self.reads.waiting.retain(|read| {
                let (Read::Subscribe(id) | Read::More(id, _) | Read::Session(id)) = read;
                requests.contains_key(id)
            });
        }
    }

    /// A subscription's request is of no interest any more.
    pub(crate) fn withdraw(&mut self, id: RequestId, out: &mut Actions) {
        let Some(Request::Subscribe(request)) = self.requests.remove(id) else {
            return;
        };
        if !request.is_asked {
            let released = self.filters.do_not_want(request.key);
            self.tell_release(released, out);
            return;
        }
        self.reads.release(request.reads);
        if !request.is_named() {
            self.requests.insert(id, Request::Withdrawn(request.key));
        }
        out.to_link.push(ToLink::Withdraw { request: id });
    }

    /// A subscriber has left the filter: tells the link, if it has to know.
    pub(crate) fn tell_left(&mut self, key: FilterKey, released: Released, out: &mut Actions) {
        if released == Released::Kept {
            self.tell_group(key, out);
        }
        self.tell_release(released, out);
    }

    /// Tells the link of a filter that nobody has.
    pub(crate) fn tell_release(&mut self, released: Released, out: &mut Actions) {
        if let Released::Gone(filter_id) = released {
            // With a group go its leases: those that have ended are to be known before.
            self.settlements.tell(out);
            out.to_link.push(ToLink::Unsubscribe { filter_id });
        }
        self.stats.filters_now = self.filters.len() as u64;
    }
}
