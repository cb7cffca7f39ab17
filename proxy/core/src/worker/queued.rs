//! From what storage has queued for a session to its client's queue.

use std::sync::Arc;

use freshet_mqtt::QoS;
use freshet_storage_contract::{MonotonicMs, Position, PulledMessage, RequestId};

use super::Worker;
use super::actions::Actions;
use super::deliver::{merge, queue_up};
use super::requests::Request;
use crate::connection::Connection;
use crate::connection::durable::{Mode, Place};
use crate::connection::message::OutMessage;
use crate::connection::outbound::Identifiers;
use crate::filters::{FilterKey, FilterTable, Subscriber};

impl Worker {
    /// Queues a chunk of what a session has not been sent: one copy of each message, at the highest QoS and with the
    /// identifiers of all filters that matched (MQTT-3.3.4-2, -3). `reached`: how far the chunk goes, and whether there
    /// is no more.
    pub(super) fn on_pulled(
        &mut self,
        id: RequestId,
        messages: Vec<PulledMessage>,
        reached: (Position, bool),
        now: MonotonicMs,
        out: &mut Actions,
    ) {
        let Some(Request::Read(read)) = self.shared.requests.remove(id) else {
            return;
        };
        self.shared.reads.release(1);
        let (token, shard) = (read.token, read.shard);
        let Some(connection) = self.connections.get_mut(token) else {
            return;
        };
        let mut subscriptions = Vec::new();
        for pulled in messages {
            let Some(cursor) = connection.durable_mut().and_then(|d| d.cursor_mut(shard)) else {
                return;
            };
            let Mode::Pulling { cap, .. } = cursor.mode else { return };
            if cap.is_some_and(|cap| pulled.position > cap) {
                break;
            }
            if cursor.has(pulled.position) {
                continue;
            }
            let filters = &self.shared.filters;
            subscriptions.clear();
            let named = pulled.filter_ids.iter();
            subscriptions.extend(named.filter_map(|id| filters.subscriber_of(*id, token.slot()).copied()));
            let message = Arc::new(self.shared.out_message(pulled.message, now));
            let merged = merge(connection, &subscriptions, &message);
            self.shared.stats.deliveries_not_local += u64::from(merged.is_none());
            let place = Place {
                shard,
                position: pulled.position,
            };
            let is_kept = merged.as_ref().is_some_and(|queued| queued.qos.is_acknowledged());
            if !is_kept && let Some(cursor) = connection.durable_mut().and_then(|d| d.cursor_mut(shard)) {
                cursor.pass_over(pulled.position);
            }
            // The client may have asked for QoS 0 meanwhile: what nobody acknowledges is not kept for an absence. What only
            // the server has lowered is still the client's.
            let is_wanted = is_kept || connection.max_qos() == QoS::AtMostOnce;
            let Some(mut queued) = merged.filter(|_| is_wanted) else {
                continue;
            };
            queued.place = is_kept.then_some(place);
            let qos = queued.qos;
            let outbound = connection
                .outbound
                .get_or_insert_with(|| self.shared.spare.take_outbound());
            outbound.push(queued);
            self.shared.stats.deliveries_pulled += 1;
            queue_up(connection, is_kept.then_some(place), qos, token, &mut self.shared, now);
        }
        connection.settle(&mut self.shared);
        let cursor = connection.durable_mut().and_then(|d| d.cursor_mut(shard));
        if let Some(cursor) = cursor {
            cursor.pulled(reached.0, reached.1);
        }
        self.with(token, now, out, |connection, cx| {
            if connection.outbound.is_some() {
                connection.mark_dirty(cx);
            }
            connection.schedule_update(cx);
            connection.read_on(cx);
        });
        self.shared.begin_reads(out);
    }
}

/// RETAIN and subscription identifiers of a message that is sent again, by the shared subscription that is named or by
/// the others; none: no subscription of the client matches any more.
pub(crate) fn merge_matching(
    connection: &Connection,
    message: &Arc<OutMessage>,
    shared: Option<&[u8]>,
    filters: &FilterTable,
    slot: u32,
) -> Option<(bool, Identifiers)> {
    let session = connection.cold.session.as_ref()?;
    let group = shared.map(|name| filters.find(name));
    let has_it = |key: &FilterKey| match group {
        Some(group) => group == Some(*key),
        None => filters.matches(*key, message.topic_name()),
    };
    let matching: Vec<Subscriber> = session
        .subscriptions
        .iter()
        .filter(|key| has_it(key))
        .filter_map(|key| filters.subscriber(*key, slot).copied())
        .collect();
    let queued = merge(connection, &matching, message)?;
    Some((queued.retain, queued.identifiers))
}
