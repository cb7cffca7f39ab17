//! Changes of what a proxy wants, and their confirmation in its stream of deliveries.

use freshet_storage_contract::{InterestChange, InterestDelta, Position};

use super::Shard;
use super::interest::NotAdded;
use crate::facts::{LinkFault, StorageFact};
use crate::incarnations::PeerKey;
use crate::log::CommitLog;
use crate::planted::planted;
use crate::turn::Turn;

impl<L: CommitLog> Shard<L> {
    /// Takes a delta of interest, and confirms it in the stream of deliveries.
    pub(crate) fn change_interest(&mut self, key: PeerKey, delta: &InterestDelta, turn: &mut Turn<'_>) {
        let routes_already = !self.is_holding();
        let Some(peer) = self.peers.get_mut(key) else { return };
        let last = peer.interest_version;
        if delta.version > last {
            if !delta.complete && last.0.checked_add(1) != Some(delta.version.0) {
                let fault = LinkFault::InterestGap {
                    shard: self.id,
                    last,
                    found: delta.version,
                };
                turn.fault(key, fault);
                return;
            }
            if delta.complete {
                self.interest.remove_some(&mut peer.filters, usize::MAX, turn.common);
                self.remove_groups_but(key, &delta.changes, turn);
            }
            let was_incomplete = self.peers.get_mut(key).is_some_and(|p| p.filters.is_incomplete());
            for change in &delta.changes {
                match self.make_change(key, change, turn) {
                    Ok(()) => {}
                    Err(NotAdded::TooManyMissing) => {
                        self.counters.filters_refused_total += 1;
                        let what = "filters that do not fit";
                        turn.fault(key, LinkFault::TooMuchUnderWay { shard: self.id, what });
                        return;
                    }
                    Err(NotAdded::Full | NotAdded::Malformed) => self.counters.filters_refused_total += 1,
                }
            }
            let Some(peer) = self.peers.get_mut(key) else { return };
            peer.interest_version = delta.version;
            // One that had filters names all of them.
            let owed = peer.owes_interest.take();
            let late = owed.filter(|owed| delta.complete && (routes_already || owed.has_missed));
            if let Some(owed) = late.filter(|_| !planted!(LateInterestUntold)) {
                // What was routed meanwhile passed its subscribers by, and its publishers have been answered. The log has
                // queued it for sessions that it knew.
                peer.ring.push_overrun(owed.term < self.remembers_from, turn.now);
                self.counters.interest_late_total += 1;
                if let Some(incarnation) = turn.proxies.get(key).map(|i| i.id) {
                    let shard = self.id;
                    turn.out.fact(StorageFact::InterestLate { incarnation, shard });
                }
            }
            if peer.filters.is_incomplete()
                && !was_incomplete
                && let Some(incarnation) = turn.proxies.get(key).map(|i| i.id)
            {
                turn.out.fact(StorageFact::InterestFull {
                    incarnation,
                    shard: self.id,
                });
            }
        }
        self.confirm_interest(key, turn);
        self.settle(turn);
    }

    fn make_change(&mut self, key: PeerKey, change: &InterestChange, turn: &mut Turn<'_>) -> Result<(), NotAdded> {
        let room = self.room_for_filters(turn);
        let Some(peer) = self.peers.get_mut(key) else {
            return Ok(());
        };
        match change {
            InterestChange::Add {
                filter_id,
                topic_filter,
            } => self.interest.add(
                &mut peer.filters,
                (*filter_id, topic_filter),
                turn.placement,
                turn.common,
                room,
            ),
            InterestChange::SetGroup(part) => self.set_group(key, part, room, turn),
            InterestChange::Remove { filter_id } => {
                self.interest.remove(&mut peer.filters, *filter_id, turn.common);
                self.remove_group(key, *filter_id, turn);
                Ok(())
            }
        }
    }

    /// The log has made a group that some proxy's confirmation waits for.
    pub(super) fn confirm_behind(&mut self, position: Position, turn: &mut Turn<'_>) {
        let waiting: Vec<PeerKey> = self
            .peers
            .living()
            .filter(|peer| peer.confirms_behind == Some(position))
            .map(|peer| peer.key)
            .collect();
        for key in waiting {
            if let Some(peer) = self.peers.get_mut(key) {
                peer.confirms_behind = None;
            }
            self.confirm_interest(key, turn);
        }
    }

    /// Puts a marker into the stream, unless some filter of the proxy does not act.
    fn confirm_interest(&mut self, key: PeerKey, turn: &mut Turn<'_>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.filters.is_incomplete() || peer.confirms_behind.is_some() {
            return;
        }
        peer.ring.push_marker(peer.interest_version, turn.now);
        if peer.ring.is_beyond_bound() {
            turn.fault(
                key,
                LinkFault::TooMuchUnderWay {
                    shard: self.id,
                    what: "unacknowledged deliveries",
                },
            );
            return;
        }
        self.watch_silence(turn);
        self.send(key, turn);
        self.serve_reads(key, turn);
    }
}
