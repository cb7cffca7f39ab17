//! What is left when all clients have gone: nothing.

use freshet_storage_core::ShardGauges;

use super::World;
use crate::history::How;
use crate::violation::Violation;

/// Of so many seeds one waits for sessions to expire.
const WAITING_SEEDS: u64 = 8;

/// For how long a durable filter is there that no session has, seconds.
const UNCONFIRMED_S: u64 = 60;

impl World {
    /// All clients go; what they leave in memory is what a server that runs for months piles up.
    ///
    /// # Errors
    /// Something is left.
    pub(crate) fn empty(&mut self) -> Result<(), Violation> {
        self.history.say(|| "--- all clients go".to_owned());
        for connection in self.open.clone() {
            self.close_by_client(connection, How::HungUp, false);
        }
        // Wills wait for their delay at most as long.
        self.pass(9_000)?;
        let longest_s = self.history.connections.iter().map(|c| c.expiry_s).max().unwrap_or(0);
        // Long enough to be worth it only now and then.
        let waits = self.seed.is_multiple_of(WAITING_SEEDS);
        if longest_s > 0 && waits {
            // Sessions expire, and then durable filters that were asked for again after the last of them confirmed one.
            self.pass((u64::from(longest_s) + UNCONFIRMED_S) * 1_000 + 5_000)?;
        }
        for (number, proxy) in self.proxies.iter().enumerate() {
            for seat in &proxy.seats {
                let stats = seat.worker.stats();
                let left = [
                    ("connections", stats.connections_now),
                    ("clients", stats.clients_now),
                    ("attaching", stats.attaching_now),
                    ("subscriptions", stats.subscriptions_now),
                    ("filters", stats.filters_now),
                    ("publications", stats.publishes_outstanding_now),
                    ("input bytes", stats.input_bytes_now),
                    ("outbound bytes", stats.outbound_bytes_now),
                ];
                nothing_left(&format!("worker of proxy {number}"), &left)?;
            }
            let stats = proxy.link.stats();
            let left = [
                ("filters", stats.filters as u64),
                ("publications", stats.publications as u64),
                ("retained reads", stats.retained_reads as u64),
                ("session requests", stats.session_requests as u64),
            ];
            nothing_left(&format!("link of proxy {number}"), &left)?;
        }
        let stats = self.storage.core.stats();
        for shard in &stats.shards {
            let ShardGauges {
                filters_one_shard,
                filters_all_shards,
                interest_bytes,
                sessions,
                ring_deliveries,
                ring_bytes,
                publications_waiting,
                held_bytes,
                reads_waiting,
                sessions_stored,
                durable_filters,
                queued_rows,
                queued_messages,
                packets,
                ..
            } = shard.gauges;
            let left = [
                ("filters", filters_one_shard + filters_all_shards),
                ("sessions", sessions),
                ("deliveries", ring_deliveries),
                ("ring bytes", ring_bytes),
                ("publications", publications_waiting),
                ("held bytes", held_bytes),
                ("reads", reads_waiting),
            ];
            nothing_left(&format!("shard {}", shard.shard), &left)?;
            if longest_s > 0 && !waits {
                continue;
            }
            let left = [
                ("stored sessions", sessions_stored),
                ("interest bytes", interest_bytes),
                ("durable filters", durable_filters),
                ("queued rows", queued_rows),
                ("queued messages", queued_messages),
                ("QoS 2 publications", packets),
            ];
            nothing_left(&format!("shard {}", shard.shard), &left)?;
        }
        Ok(())
    }
}

fn nothing_left(place: &str, left: &[(&str, u64)]) -> Result<(), Violation> {
    match left.iter().find(|(_, count)| *count > 0) {
        Some((what, count)) => Err(Violation::new(
            "nothing is left when clients have gone",
            format!("{place}: {count} {what}"),
        )),
        None => Ok(()),
    }
}
