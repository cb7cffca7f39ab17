//! What may be there while clients make noise, and what is left when they have gone: nothing.

use super::super::script::CLIENTS;
use super::{
    Broker, INPUT_BYTES, MAX_PACKET_BYTES, OUTBOUND_BUFFER_BYTES, OUTSTANDING_PUBLISH_BYTES, RETAINED_MESSAGES,
    SESSIONS, SUBSCRIPTIONS,
};
use crate::violation::Violation;

/// The most that may be queued for a client beside its buffer: answers, and a chunk of retained messages for each of
/// its subscriptions at each shard.
const BESIDE_BUFFER_BYTES: u64 = 70_000 + 2 * SUBSCRIPTIONS as u64 * 2 * 10_000;
impl Broker {
    /// Whether what clients can make grow is within its bounds.
    pub(super) fn keeps_to_bounds(&self) -> Result<(), Violation> {
        let stats = self.worker.stats();
        let outbound = CLIENTS as u64 * (u64::from(OUTBOUND_BUFFER_BYTES) + BESIDE_BUFFER_BYTES);
        let publishes = OUTSTANDING_PUBLISH_BYTES + u64::from(MAX_PACKET_BYTES) + 200;
        let stored = self.storage.stats();
        let sessions: u64 = stored.shards.iter().map(|s| s.gauges.sessions_stored).sum();
        let retained: u64 = stored.shards.iter().map(|s| s.gauges.retained_messages).sum();
        let clients = CLIENTS as u64;
        for (what, now, most) in [
            ("bytes of incomplete packets", stats.input_bytes_now, INPUT_BYTES),
            ("bytes towards clients", stats.outbound_bytes_now, outbound),
            ("bytes of publications", stats.publish_bytes_outstanding_now, publishes),
            (
                "subscriptions",
                stats.subscriptions_now,
                clients * u64::from(SUBSCRIPTIONS),
            ),
            ("stored sessions", sessions, SESSIONS),
            ("retained messages", retained, RETAINED_MESSAGES),
        ] {
            if now > most {
                let seen = format!("{now} {what}, and {most} are the most");
                return Err(Violation::new("memory keeps to its bounds", seen));
            }
        }
        Ok(())
    }

    /// Whether everything has gone with the clients.
    pub(super) fn nothing_is_left(&self) -> Result<(), Violation> {
        let worker = self.worker.stats();
        let link = self.link.stats();
        let mut left = vec![
            ("connections", worker.connections_now),
            ("clients", worker.clients_now),
            ("attaching clients", worker.attaching_now),
            ("subscriptions", worker.subscriptions_now),
            ("filters of the worker", worker.filters_now),
            ("publications of the worker", worker.publishes_outstanding_now),
            ("input bytes", worker.input_bytes_now),
            ("outbound bytes", worker.outbound_bytes_now),
            ("filters of the link", link.filters as u64),
            ("publications of the link", link.publications as u64),
            ("retained reads of the link", link.retained_reads as u64),
            ("session requests of the link", link.session_requests as u64),
        ];
        for shard in self.storage.stats().shards {
            let gauges = shard.gauges;
            left.extend([
                ("filters", gauges.filters_one_shard + gauges.filters_all_shards),
                ("interest bytes", gauges.interest_bytes),
                ("sessions", gauges.sessions + gauges.sessions_stored),
                ("durable filters", gauges.durable_filters),
                ("shared groups", gauges.shared_groups),
                ("leases of groups", gauges.shared_leases),
                ("kept messages of groups", gauges.shared_kept),
                ("queued rows", gauges.queued_rows),
                ("queued messages", gauges.queued_messages),
                ("queued bytes", gauges.queued_bytes),
                ("QoS 2 publications", gauges.packets),
                ("wills", gauges.wills_waiting),
                ("deliveries", gauges.ring_deliveries),
                ("publications", gauges.publications_waiting),
                ("held bytes", gauges.held_bytes),
                ("reads", gauges.reads_waiting),
            ]);
        }
        match left.into_iter().find(|(_, count)| *count > 0) {
            Some((what, count)) => Err(Violation::new(
                "nothing is left when clients have gone",
                format!("{count} {what}"),
            )),
            None => Ok(()),
        }
    }
}
