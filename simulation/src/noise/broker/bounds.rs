//! What may be there while clients make noise, and what is left when they have gone: nothing.

use super::super::script::CLIENTS;
use super::{
    Broker, INPUT_BYTES, MAX_PACKET_BYTES, OUTBOUND_BUFFER_BYTES, OUTSTANDING_PUBLISH_BYTES, RETAINED_MESSAGES,
    SESSIONS, SUBSCRIPTIONS,
};
use crate::leftovers;
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
        leftovers::nothing("worker", &leftovers::of_worker(self.worker.stats()))?;
        leftovers::nothing("link", &leftovers::of_link(self.link.stats()))?;
        for shard in self.storage.stats().shards {
            let place = format!("shard {}", shard.shard);
            leftovers::nothing(&place, &leftovers::of_connections(&shard.gauges))?;
            leftovers::nothing(&place, &leftovers::of_sessions(&shard.gauges))?;
            leftovers::nothing(&place, &[("wills", shard.gauges.wills_waiting)])?;
        }
        Ok(())
    }
}
