//! A shard as people look at it.

use std::collections::BTreeMap;

use bytes::Bytes;
use freshet_storage_contract::{
    Cursor, MonotonicMs, OutboundExchange, OutboundStage, Position, QoS, SessionEpoch, ShardId, StoredSubscription,
    Will,
};

use super::Shard;
use super::sessions::Client;
use crate::incarnations::{Incarnations, PeerKey};
use crate::inspect::{
    ConnectionView, CursorView, InboundView, MOST_COUNTED, MOST_ENTRIES, OldestView, OutboundView, PositionsView,
    QueueView, QueuedView, SessionSummary, SessionView, ShardView, StoredView, SubscriptionView, WaitsFor, Wide,
    WillView, text,
};
use crate::log::CommitLog;
use crate::state::{Queued, Stored, WillRow, is_group};

/// What a stored session has to do with a shard of messages.
#[derive(Debug, Default)]
pub(crate) struct Place {
    cursor: Option<Cursor>,
    /// Which subscription it is, its filter, and where it begins.
    filters: Vec<(usize, Bytes, Position)>,
    /// The generation of which QoS 2 publications may be there.
    packets_of: Option<SessionEpoch>,
}

impl<L: CommitLog> Shard<L> {
    pub(crate) fn view(&self, now: MonotonicMs) -> ShardView {
        let gauges = self.stats().gauges;
        ShardView {
            shard: self.id.0,
            positions: self.positions(),
            proxies: self.peers.living().count() as u64,
            connected: gauges.sessions,
            stored: gauges.sessions_stored,
            offline: gauges.sessions_offline,
            session_bytes: gauges.session_bytes,
            queues: gauges.durable_filters,
            groups: gauges.shared_groups,
            queued_messages: gauges.queued_messages,
            queued_bytes: gauges.queued_bytes,
            oldest_queued: self.state.queues.oldest().map(|queued| self.oldest_view(queued, now)),
            retained_messages: gauges.retained_messages,
            retained_bytes: gauges.retained_bytes,
            wills_waiting: gauges.wills_waiting,
            publications_waiting: gauges.publications_waiting,
            publications_held: gauges.publications_held,
        }
    }

    /// Where the log stands.
    pub(crate) fn positions(&self) -> PositionsView {
        PositionsView {
            proposed: Wide(self.proposed.0),
            flushed: self.log.flushed_through().map(|position| Wide(position.0)),
            applied: Wide(self.state.applied.0),
        }
    }

    fn oldest_view(&self, queued: Queued, now: MonotonicMs) -> OldestView {
        OldestView {
            position: Wide(queued.position.0),
            age_ms: self.age_ms(queued.came_ms, now),
        }
    }

    fn age_ms(&self, came_ms: u64, now: MonotonicMs) -> u64 {
        self.clock.log_time_ms(now).saturating_sub(came_ms)
    }

    fn until_ms(&self, log_time_ms: u64, now: MonotonicMs) -> u64 {
        log_time_ms.saturating_sub(self.clock.log_time_ms(now))
    }

    /// Client ids of stored sessions that begin with `prefix`, in order, behind `after`.
    pub(crate) fn stored_from<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
    ) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.state.sessions.client_ids(prefix, after)
    }

    fn client(&self, client_id: &[u8]) -> Option<&Client> {
        self.sessions.get(self.sessions.find(client_id)?)
    }

    /// A stored session in a list.
    pub(crate) fn session_summary(
        &self,
        client_id: &[u8],
        proxies: &Incarnations,
        now: MonotonicMs,
    ) -> Option<SessionSummary> {
        let stored = self.state.sessions.look(client_id)?;
        Some(SessionSummary {
            client_id: text(client_id),
            shard: self.id.0,
            proxy: self.client(client_id).map(|client| name_of(client.held.peer, proxies)),
            ends_in_ms: stored.ends_ms.map(|ends_ms| self.until_ms(ends_ms, now)),
            subscriptions: stored.session.subscriptions.len() as u64,
            outbound: stored.session.outbound.len() as u64,
            bytes: stored.bytes,
        })
    }

    /// A session, without what it has at shards of messages ([`Self::places_of`]).
    pub(crate) fn session_view(
        &self,
        client_id: &[u8],
        proxies: &Incarnations,
        now: MonotonicMs,
    ) -> Option<SessionView> {
        let (client, stored) = (self.client(client_id), self.state.sessions.look(client_id));
        let waiting = self.state.wills.get(client_id);
        if client.is_none() && stored.is_none() && waiting.is_none() {
            return None;
        }
        let armed = client.and_then(|client| client.held.will.as_deref());
        Some(SessionView {
            client_id: text(client_id),
            shard: self.id.0,
            connection: client.map(|client| connection_view(client, proxies)),
            stored: stored.map(|stored| self.stored_view(&stored, now)),
            will: waiting
                .map(|row| self.waiting_will_view(row, now))
                .or_else(|| armed.map(will_view)),
        })
    }

    fn waiting_will_view(&self, row: &WillRow, now: MonotonicMs) -> WillView {
        let will = Will {
            message: row.message.clone(),
            delay_interval_s: 0,
        };
        WillView {
            delay_interval_s: None,
            due_in_ms: Some(self.until_ms(row.due_ms, now)),
            ..will_view(&will)
        }
    }

    fn stored_view(&self, stored: &Stored, now: MonotonicMs) -> StoredView {
        let session = &stored.session;
        let subscriptions = session.subscriptions.iter().take(MOST_ENTRIES);
        let outbound = session.outbound.iter().take(MOST_ENTRIES);
        StoredView {
            generation: epoch_text(session.generation),
            epoch: epoch_text(stored.epoch),
            expiry_interval_s: stored.expiry_interval_s,
            ends_in_ms: stored.ends_ms.map(|ends_ms| self.until_ms(ends_ms, now)),
            bytes: stored.bytes,
            subscriptions: subscriptions.map(subscription_view).collect(),
            subscriptions_total: session.subscriptions.len() as u64,
            cursors: Vec::new(),
            queued: QueuedView::default(),
            outbound: outbound.map(outbound_view).collect(),
            outbound_total: session.outbound.len() as u64,
            inbound: Vec::new(),
            inbound_total: 0,
        }
    }

    /// Where a stored session has something, as far as it is counted.
    pub(crate) fn places_of(&self, client_id: &[u8], view: &mut StoredView) -> Vec<(ShardId, Place)> {
        let Some(stored) = self.state.sessions.look(client_id) else {
            return Vec::new();
        };
        let session = stored.session;
        let mut places = BTreeMap::<ShardId, Place>::new();
        for cursor in session.cursors {
            let place = places.entry(cursor.shard).or_default();
            place.cursor = Some(cursor);
        }
        for shard in stored.packets_at {
            places.entry(shard).or_default().packets_of = Some(session.generation);
        }
        let mut left = MOST_COUNTED;
        for (at, subscription) in session.subscriptions.into_iter().enumerate() {
            for start in subscription.starts {
                if at >= MOST_ENTRIES || left == 0 {
                    view.queued.at_least = true;
                    return places.into_iter().collect();
                }
                left -= 1;
                let filters = &mut places.entry(start.shard).or_default().filters;
                filters.push((at, subscription.topic_filter.clone(), start.position));
            }
        }
        places.into_iter().collect()
    }

    /// Adds to a session of `session_shard` what is here of it. Counts at most `left` messages, which it lowers.
    pub(crate) fn add_place(
        &self,
        session_shard: ShardId,
        place: &Place,
        view: &mut StoredView,
        left: &mut usize,
        now: MonotonicMs,
    ) {
        let cursor = place.cursor.as_ref();
        let acknowledged = cursor.map_or(Position::default(), |cursor| cursor.acknowledged);
        view.cursors.extend(cursor.map(|cursor| CursorView {
            shard: cursor.shard.0,
            acknowledged: Wide(cursor.acknowledged.0),
            beyond: cursor.beyond.len() as u64,
            applied: Wide(self.state.applied.0),
        }));
        let queues = &self.state.queues;
        let mut own = Vec::new();
        for (at, topic_filter, start) in &place.filters {
            // What is queued for a group is there for any of its members.
            let is_group = is_group(topic_filter);
            let after = if is_group {
                Position::default()
            } else {
                acknowledged.max(*start)
            };
            if let Some(shown) = view.subscriptions.get_mut(*at) {
                shown.queued += queues.rows_behind(session_shard, topic_filter, after);
            }
            if !is_group {
                own.push((topic_filter, after));
            }
        }
        let done = cursor.map_or(&[][..], |cursor| &cursor.beyond);
        let depth = queues.depth(session_shard, &own, done, left);
        let age_ms = depth.oldest.map(|queued| self.age_ms(queued.came_ms, now));
        let queued = &mut view.queued;
        queued.messages += depth.messages;
        queued.bytes += depth.bytes;
        queued.at_least |= depth.at_least;
        queued.oldest_age_ms = queued.oldest_age_ms.max(age_ms);
    }

    /// Adds to the session of a client the QoS 2 publications that are here and not released.
    pub(crate) fn add_inbound(&self, client_id: &[u8], place: &Place, view: &mut StoredView) {
        let Some(generation) = place.packets_of else { return };
        let packets = self.state.packets.of(client_id, generation);
        view.inbound_total += packets.len() as u64;
        let room = MOST_ENTRIES.saturating_sub(view.inbound.len());
        view.inbound
            .extend(packets.iter().take(room).map(|(packet_id, position)| InboundView {
                packet_id: packet_id.get(),
                waits_for: WaitsFor::Pubrel,
                shard: self.id.0,
                position: Wide(position.0),
            }));
    }

    /// The queue of a filter for the sessions of another shard.
    pub(crate) fn queue_view(&self, of_sessions: &Self, topic_filter: &Bytes, now: MonotonicMs) -> Option<QueueView> {
        let look = self.state.queues.look(of_sessions.id, topic_filter)?;
        let readers = of_sessions
            .state
            .sessions
            .readers_of(self.id, topic_filter, MOST_COUNTED);
        Some(QueueView {
            shard: self.id.0,
            session_shard: Some(of_sessions.id.0),
            messages: look.messages,
            bytes: look.bytes,
            oldest: look.oldest.map(|queued| self.oldest_view(queued, now)),
            readers: readers.map_or(0, |readers| readers.count),
            readers_at_least: readers.is_some_and(|readers| readers.at_least),
            least_acknowledged: readers.map(|readers| Wide(readers.least.0)),
            group: None,
        })
    }

    /// The queue of a shared subscription.
    pub(crate) fn group_view(&self, name: &Bytes, now: MonotonicMs) -> Option<QueueView> {
        let look = self.state.queues.look(self.id, name)?;
        let (members, group) = self.groups.look(name);
        Some(QueueView {
            shard: self.id.0,
            session_shard: None,
            messages: look.messages,
            bytes: look.bytes,
            oldest: look.oldest.map(|queued| self.oldest_view(queued, now)),
            readers: members,
            readers_at_least: false,
            least_acknowledged: None,
            group: Some(group),
        })
    }
}

fn name_of(peer: PeerKey, proxies: &Incarnations) -> String {
    let proxy = proxies.get(peer);
    proxy.map_or_else(|| "a proxy that has gone".to_owned(), |proxy| proxy.proxy_name.clone())
}

fn epoch_text(epoch: SessionEpoch) -> String {
    format!("{}.{}", epoch.term, epoch.counter)
}

fn connection_view(client: &Client, proxies: &Incarnations) -> ConnectionView {
    let held = &client.held;
    ConnectionView {
        proxy: name_of(held.peer, proxies),
        incarnation: proxies
            .get(held.peer)
            .map_or_else(String::new, |proxy| proxy.id.to_string()),
        linked: proxies.is_linked(held.peer),
        epoch: epoch_text(held.epoch),
        expiry_interval_s: held.session_expiry_interval_s,
        taken_over_by: client.waiting().map(|waiting| name_of(waiting.peer, proxies)),
    }
}

fn will_view(will: &Will) -> WillView {
    WillView {
        topic_name: text(&will.message.topic_name),
        qos: qos_number(will.message.qos),
        retain: will.message.retain,
        payload_bytes: will.message.payload.len() as u64,
        delay_interval_s: Some(will.delay_interval_s),
        due_in_ms: None,
    }
}

fn subscription_view(subscription: &StoredSubscription) -> SubscriptionView {
    let options = subscription.options;
    SubscriptionView {
        topic_filter: text(&subscription.topic_filter),
        qos: qos_number(options.qos),
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        retain_handling: options.retain_handling as u8,
        subscription_identifier: subscription.subscription_identifier,
        shards: subscription.starts.iter().map(|start| start.shard.0).collect(),
        queued: 0,
    }
}

fn outbound_view(exchange: &OutboundExchange) -> OutboundView {
    OutboundView {
        packet_id: exchange.packet_id.get(),
        qos: qos_number(exchange.qos),
        waits_for: match (exchange.stage, exchange.qos) {
            (OutboundStage::Received, _) => WaitsFor::Pubcomp,
            (OutboundStage::Sent, QoS::ExactlyOnce) => WaitsFor::Pubrec,
            (OutboundStage::Sent, _) => WaitsFor::Puback,
        },
        shard: exchange.shard.0,
        position: Wide(exchange.position.0),
        shared: exchange.shared.as_deref().map(text),
    }
}

fn qos_number(qos: QoS) -> u8 {
    match qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce => 1,
        QoS::ExactlyOnce => 2,
    }
}
