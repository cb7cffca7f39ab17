//! What processes still hold when all clients have gone: what a server that runs for months would pile up.
//!
//! Called by the worlds at their end. Leaves out when that is: some of it goes with the connections, some only when
//! sessions have expired.

use freshet_proxy_core::WorkerStats;
use freshet_proxy_core::link::LinkStats;
use freshet_storage_core::ShardGauges;

use crate::violation::Violation;

/// What there is, and how much of it.
pub(crate) type Left = (&'static str, u64);

/// What goes with the connections of a worker.
pub(crate) fn of_worker(stats: &WorkerStats) -> [Left; 8] {
    [
        ("connections", stats.connections_now),
        ("clients", stats.clients_now),
        ("attaching clients", stats.attaching_now),
        ("subscriptions", stats.subscriptions_now),
        ("filters", stats.filters_now),
        ("publications", stats.publishes_outstanding_now),
        ("input bytes", stats.input_bytes_now),
        ("outbound bytes", stats.outbound_bytes_now),
    ]
}

/// What goes from a link with the connections.
pub(crate) const fn of_link(stats: LinkStats) -> [Left; 4] {
    [
        ("filters", stats.filters as u64),
        ("publications", stats.publications as u64),
        ("retained reads", stats.retained_reads as u64),
        ("session requests", stats.session_requests as u64),
    ]
}

/// What goes from a shard with the connections.
pub(crate) const fn of_connections(gauges: &ShardGauges) -> [Left; 8] {
    [
        ("filters", gauges.filters_one_shard + gauges.filters_all_shards),
        ("sessions", gauges.sessions),
        ("deliveries", gauges.ring_deliveries),
        ("ring bytes", gauges.ring_bytes),
        ("publications", gauges.publications_waiting),
        ("held bytes", gauges.held_bytes),
        ("held attaches", gauges.attaches_held),
        ("reads", gauges.reads_waiting),
    ]
}

/// What goes from a shard when sessions have expired.
pub(crate) const fn of_sessions(gauges: &ShardGauges) -> [Left; 11] {
    [
        ("stored sessions", gauges.sessions_stored),
        ("interest bytes", gauges.interest_bytes),
        ("durable filters", gauges.durable_filters),
        ("queued rows", gauges.queued_rows),
        ("queued messages", gauges.queued_messages),
        ("queued bytes", gauges.queued_bytes),
        ("queued bytes in memory", gauges.queued_resident_bytes),
        ("QoS 2 publications", gauges.packets),
        ("shared groups", gauges.shared_groups),
        ("leases of groups", gauges.shared_leases),
        ("kept messages of groups", gauges.shared_kept),
    ]
}

/// Sees that nothing is left at a place.
///
/// # Errors
/// Something is.
pub(crate) fn nothing(place: &str, left: &[Left]) -> Result<(), Violation> {
    match left.iter().find(|(_, count)| *count > 0) {
        Some((what, count)) => Err(Violation::new(
            "nothing is left when clients have gone",
            format!("{place}: {count} {what}"),
        )),
        None => Ok(()),
    }
}
