//! From a message of a shared subscription to one of this worker's members, and what became of it back to storage.
//!
//! A member is given a message only while its window and its queue have room. When no member has, the group is *closed*:
//! the message goes back, and storage gives none to this worker until a member is done with one, or a look finds room. So
//! nobody's slowness costs more than its own share, and nothing is queued beyond a client's bounds. Every shard may give as
//! many as the members' windows can take together; behind such an overrun each gets its part of that for a while
//! ([`crate::filters`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use freshet_mqtt::QoS;
use freshet_storage_contract::{
    FilterId, Lease, MonotonicMs, RequestId, Settlement, ShardId, SharedMessage, SharedStrategy,
};

use super::Worker;
use super::actions::Actions;
use super::deliver::queue_up;
use super::requests::Request;
use super::shared::Shared;
use crate::connection::leases::SharedLease;
use crate::connection::outbound::{Identifiers, Queued};
use crate::connection::{Connection, Phase};
use crate::exchange::ToLink;
use crate::filters::{FilterKey, Load};

/// How soon members of a closed group are looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What storage is to be told at the end of the turn. Bounded by the leases that storage gives out.
#[derive(Debug, Default)]
pub(crate) struct Settlements {
    // What has ended apart from what goes back: the one may have to be told before something that the other follows.
    done: BTreeMap<(ShardId, FilterId), Vec<(Lease, Settlement)>>,
    returned: BTreeMap<(ShardId, FilterId), Vec<(Lease, Settlement)>>,
}

impl Settlements {
    /// A lease has ended.
    pub(crate) fn add(&mut self, shared: &SharedLease, settlement: Settlement) {
        let settled = match settlement {
            Settlement::Done => &mut self.done,
            Settlement::Returned => &mut self.returned,
        };
        let of_group = settled.entry((shared.shard, shared.filter_id)).or_default();
        of_group.push((shared.lease, settlement));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.done.is_empty() && self.returned.is_empty()
    }

    /// Whether members are done with messages.
    fn has_done(&self) -> bool {
        !self.done.is_empty()
    }

    pub(super) fn tell(&mut self, out: &mut Actions) {
        for settled in [&mut self.done, &mut self.returned]
            .into_iter()
            .filter(|settled| !settled.is_empty())
        {
            for ((shard, filter_id), settled) in std::mem::take(settled) {
                out.to_link.push(ToLink::Settle {
                    shard,
                    filter_id,
                    settled,
                });
            }
        }
    }
}

/// Groups none of whose members has room. Bounded by the filters of the worker.
#[derive(Debug, Default)]
pub(crate) struct ClosedGroups {
    keys: Vec<FilterKey>,
    look_at: Option<MonotonicMs>,
}

impl ClosedGroups {
    /// When members are to be looked at.
    pub(super) fn next(&self) -> Option<MonotonicMs> {
        self.look_at
    }
}

impl Shared {
    /// A message that a member was given goes to another.
    pub(crate) fn return_lease(&mut self, lease: &SharedLease) {
        self.stats.shared_returned += 1;
        self.settlements.add(lease, Settlement::Returned);
    }

    /// No member of a group has room.
    fn close_group(&mut self, filter_id: FilterId, now: MonotonicMs, out: &mut Actions) {
        let Some(key) = self.filters.close_group(filter_id, now) else {
            return;
        };
        self.closed_groups.keys.push(key);
        self.closed_groups.look_at.get_or_insert(now.plus(LOOK_AGAIN));
        let requests = &mut self.requests;
        let request = self.filters.await_rest(key, || requests.add(Request::CloseGroup(key)));
        self.resize_group(key, request, out);
    }

    /// Tells the link how many members there are and what they can take.
    pub(super) fn tell_group(&self, key: FilterKey, out: &mut Actions) {
        self.resize_group(key, None, out);
    }

    fn resize_group(&self, key: FilterKey, confirm: Option<RequestId>, out: &mut Actions) {
        if let Some(part) = self.filters.group_part(key) {
            let topic_filter = self.filters.topic_filter(key);
            out.to_link.push(ToLink::ResizeGroup {
                topic_filter,
                part,
                confirm,
            });
        }
    }
}

impl Worker {
    /// Queues a message for one member of the group.
    pub(super) fn deliver_shared(
        &mut self,
        shard: ShardId,
        shared_message: SharedMessage,
        now: MonotonicMs,
        out: &mut Actions,
    ) {
        let SharedMessage {
            filter_id,
            message,
            lease,
        } = shared_message;
        let is_reliable = lease.is_some();
        let is_open = !is_reliable
            || match self.shared.filters.note_lease(filter_id, shard, now) {
                Some((key, true)) => {
                    self.shared.tell_group(key, out);
                    true
                }
                noted => noted.is_some(),
            };
        let (connections, share) = (&self.connections, self.shared.outbound_share());
        let bytes = message.charged_bytes();
        let load = |slot| load_of(connections.at_slot(slot)?, share, bytes, is_reliable);
        let strategy = strategy_of(self.shared.config.mqtt.shared_strategy);
        let filters = &mut self.shared.filters;
        let chosen = is_open
            .then(|| filters.choose_member(filter_id, strategy, load))
            .flatten();
        let lease = lease.map(|lease| SharedLease {
            shard,
            filter_id,
            lease,
            name: self.shared.filters.group_name(filter_id).unwrap_or_default(),
        });
        let member = chosen.and_then(|subscriber| Some((subscriber, self.connections.in_slot(subscriber.slot)?)));
        let Some((subscriber, (token, connection))) = member else {
            match lease {
                Some(lease) => {
                    self.shared.close_group(filter_id, now, out);
                    self.shared.return_lease(&lease);
                }
                None => self.shared.stats.deliveries_shed += 1,
            }
            return;
        };
        let mut identifiers = Identifiers::None;
        identifiers.push(subscriber.identifier);
        let qos = message.qos.min(subscriber.qos);
        let retain = subscriber.retain_as_published && message.retain;
        let message = Arc::new(self.shared.out_message(message, now));
        let mut queued = Queued::new(message, qos, retain, identifiers);
        match lease {
            // Nobody will say what became of it.
            Some(lease) if qos == QoS::AtMostOnce => self.shared.settlements.add(&lease, Settlement::Done),
            lease => queued.lease = lease.map(Box::new),
        }
        let outbound = connection
            .outbound
            .get_or_insert_with(|| self.shared.spare.take_outbound());
        outbound.push(queued);
        if !outbound.unwritten.is_empty() {
            outbound.own_messages();
        }
        // One of QoS 1 goes back to its group: nothing is to be known of it.
        if qos == QoS::ExactlyOnce {
            queue_up(connection, None, qos, token, &mut self.shared, now);
        }
        connection.settle(&mut self.shared);
        if !connection.is_dirty {
            connection.is_dirty = true;
            out.dirty.push(token);
        }
    }

    /// The leases of a shard have ended: what clients were not sent by now is for other members.
    pub(super) fn drop_leased(&mut self, shard: ShardId) {
        for connection in self.connections.iter_mut() {
            let Some(outbound) = &mut connection.outbound else {
                continue;
            };
            let packet_ids = outbound.drop_leased(shard);
            if let Some(session) = &mut connection.cold.session {
                for packet_id in packet_ids {
                    session.inflight.abandon(packet_id);
                    if let Some(durable) = &mut session.durable {
                        durable.give_back(packet_id);
                    }
                }
            }
            connection.settle(&mut self.shared);
        }
    }

    /// All that was given to a group before it was closed has come.
    pub(super) fn on_resized(&mut self, request: RequestId, now: MonotonicMs) {
        if let Some(Request::CloseGroup(key)) = self.shared.requests.remove(request)
            && self.shared.filters.rest_has_come(key, request)
        {
            let closed = &mut self.shared.closed_groups;
            closed.look_at = closed.look_at.map(|at| at.min(now));
        }
    }

    /// Goes on with closed groups whose members have room: of all of them when it is time to look, else of those of which a
    /// member is done with a message in this turn.
    pub(super) fn reopen_groups(&mut self, now: MonotonicMs, out: &mut Actions) {
        let Shared {
            closed_groups: closed,
            settlements,
            ..
        } = &mut self.shared;
        let is_due = closed.look_at.is_some_and(|at| at <= now);
        if closed.keys.is_empty() || !(is_due || settlements.has_done()) {
            return;
        }
        let mut keys = std::mem::take(&mut closed.keys);
        let (done, returned) = (groups_of(&settlements.done), groups_of(&settlements.returned));
        let mut comes_back = false;
        let (connections, share) = (&self.connections, self.shared.outbound_share());
        let load = |slot| load_of(connections.at_slot(slot)?, share, 0, true);
        keys.retain(|key| {
            let filter_id = self.shared.filters.filter_id(*key);
            let is_in = |groups: &[FilterId]| filter_id.is_some_and(|id| groups.binary_search(&id).is_ok());
            let has_done = is_in(&done);
            if has_done {
                self.shared.filters.note_done(*key);
            }
            if !is_due && !has_done {
                return true;
            }
            // Storage is to know of these before it gives what lies behind them.
            if is_in(&returned) {
                comes_back = true;
                return true;
            }
            match self.shared.filters.reopen_group(*key, load, now) {
                Some(true) => {
                    self.shared.tell_group(*key, out);
                    false
                }
                Some(false) => true,
                None => false,
            }
        });
        let closed = &mut self.shared.closed_groups;
        if keys.is_empty() {
            closed.look_at = None;
        } else if comes_back {
            closed.look_at = Some(now);
        } else if is_due {
            closed.look_at = Some(now.plus(LOOK_AGAIN));
        }
        closed.keys = keys;
    }
}

/// The groups of settlements, ascending.
fn groups_of(settled: &BTreeMap<(ShardId, FilterId), Vec<(Lease, Settlement)>>) -> Vec<FilterId> {
    let mut of: Vec<FilterId> = settled.keys().map(|(_, filter_id)| *filter_id).collect();
    of.sort_unstable();
    of.dedup();
    of
}

/// The configured strategy in the words of the contract.
#[must_use]
pub fn strategy_of(configured: freshet_config::SharedStrategy) -> SharedStrategy {
    match configured {
        freshet_config::SharedStrategy::RoundRobin => SharedStrategy::RoundRobin,
        freshet_config::SharedStrategy::LeastInflight => SharedStrategy::LeastInflight,
    }
}

/// What a member has to do already, and whether it can be given a message of so many bytes; none: it cannot be given
/// anything. `share`: bytes that no client may have more of queued.
fn load_of(connection: &Connection, share: usize, bytes: usize, is_reliable: bool) -> Option<Load> {
    if connection.phase != Phase::Connected || connection.is_leaving {
        return None;
    }
    let inflight = &connection.cold.session.as_ref()?.inflight;
    let (waiting, queued_bytes) = connection
        .outbound
        .as_ref()
        .map_or((0, 0), |outbound| (outbound.reliable_len(), outbound.total_bytes()));
    let unfinished = usize::from(inflight.used()) + waiting;
    let limit = share.min(connection.outbound_limit as usize);
    // As with other messages: a client that has read everything gets any.
    let has_bytes = queued_bytes == 0 || queued_bytes + bytes <= limit;
    let has_window = !is_reliable || unfinished < usize::from(inflight.window());
    Some(Load {
        unfinished,
        has_room: has_bytes && has_window,
    })
}
