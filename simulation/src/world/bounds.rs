//! What is left when all clients have gone: nothing.

use super::World;
use crate::history::How;
use crate::leftovers;
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
        if waits {
            // Sessions expire, and then durable filters that were asked for again after the last of them confirmed one.
            // Numbers that proxies gave to what is retained go meanwhile.
            self.pass((u64::from(longest_s) + UNCONFIRMED_S) * 1_000 + 5_000)?;
        }
        for (number, proxy) in self.proxies.iter().enumerate() {
            for seat in &proxy.seats {
                let left = leftovers::of_worker(seat.worker.stats());
                leftovers::nothing(&format!("worker of proxy {number}"), &left)?;
            }
            let left = leftovers::of_link(proxy.link.stats());
            leftovers::nothing(&format!("link of proxy {number}"), &left)?;
        }
        for shard in self.storage.core.stats().shards {
            let place = format!("shard {}", shard.shard);
            leftovers::nothing(&place, &leftovers::of_connections(&shard.gauges))?;
            if waits {
                leftovers::nothing(&place, &leftovers::of_sessions(&shard.gauges))?;
            }
        }
        Ok(())
    }
}
