//! The end of an incarnation at a shard: what waits for it is let go at once, the rest is cleared up a part at a time.

use super::Shard;
use super::connections::End;
use crate::incarnations::PeerKey;
use crate::log::CommitLog;
use crate::turn::Turn;

/// Sessions, and filters, that one call removes.
const REMOVED_PER_TICK: usize = 4_096;

impl<L: CommitLog> Shard<L> {
    /// The lease of a proxy has ended, and the log knows whom publications pass by from now on.
    pub(super) fn end_peer(&mut self, key: PeerKey, turn: &mut Turn<'_>) {
        self.counters.wills_dropped_total += self.peers.forget_superseded(key);
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.ring.release(&mut self.released);
        peer.gone = true;
        peer.reads.clear();
        self.forget_loads(key);
        self.release();
        self.grant_without(key, turn);
        self.departing.push_back(key);
        self.note_departure();
        self.wake_at(turn.now);
    }

    /// Removes a part of what is left of proxies that are gone.
    pub(super) fn clear_up_departed(&mut self, turn: &mut Turn<'_>) {
        let Some(key) = self.departing.front().copied() else {
            return;
        };
        for _ in 0..REMOVED_PER_TICK {
            let Some(session) = self.peers.any_mut(key).and_then(|p| p.sessions.last().copied()) else {
                break;
            };
            self.end_connection(session, End::ProxyLost, turn);
        }
        let no_groups = self.remove_some_groups(key, REMOVED_PER_TICK, turn);
        let Some(peer) = self.peers.any_mut(key) else {
            self.departing.pop_front();
            return;
        };
        let no_filters = self
            .interest
            .remove_some(&mut peer.filters, REMOVED_PER_TICK, turn.common);
        if no_filters && no_groups && peer.sessions.is_empty() {
            self.peers.remove(key);
            self.departing.pop_front();
        }
    }
}
