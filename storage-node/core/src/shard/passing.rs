//! Publications that pass a proxy by: they are answered though it has not taken them, because it is silent, overrun, or its
//! lease has ended.
//!
//! The proxy is told when it is back, if it has missed something. Of what is in its ring the next leader has nothing, so
//! the log knows that a proxy is passed by (`crate::state`, "passed") before anybody is answered without it, and until it
//! has everything or was told.

use freshet_storage_contract::{IncarnationId, Position};

use super::Shard;
use crate::incarnations::PeerKey;
use crate::log::{Command, CommitLog};
use crate::planted::planted;
use crate::turn::Turn;

impl<L: CommitLog> Shard<L> {
    /// Has publications pass a proxy by if they are to, as soon as the log knows.
    pub(super) fn pass_by(&mut self, key: PeerKey, turn: &mut Turn<'_>) {
        let waits = self
            .peers
            .get_mut(key)
            .filter(|p| !p.is_noting && p.ring.waits_to_pass());
        let Some(peer) = waits else { return };
        if planted!(PassedUnnoted) {
            peer.ring.noted(&mut self.released);
            return;
        }
        peer.is_noting = true;
        let proxy = peer.incarnation;
        self.propose(Command::PassBy { proxy, is_passed: true }, turn);
    }

    /// The log knows that publications pass a proxy by.
    pub(super) fn passed_by(&mut self, proxy: IncarnationId, turn: &mut Turn<'_>) {
        let Some(peer) = self.peers.living_mut().find(|peer| peer.incarnation == proxy) else {
            return;
        };
        let key = peer.key;
        peer.is_noting = false;
        peer.ring.noted(&mut self.released);
        self.release();
        // It may have taken everything in between.
        if !self.leaving.iter().any(|(_, leaving)| *leaving == key) {
            self.note_taken_up(key, turn);
        }
    }

    /// If publications have passed a proxy by, it may have all of them by now.
    pub(super) fn note_taken_up(&mut self, key: PeerKey, turn: &mut Turn<'_>) {
        if let Some(peer) = self.peers.get_mut(key)
            && peer.owes_interest.is_none()
            && peer.ring.has_caught_up()
        {
            let proxy = peer.incarnation;
            self.propose(
                Command::PassBy {
                    proxy,
                    is_passed: false,
                },
                turn,
            );
        }
    }

    /// The lease of a proxy has ended. What its clients wait for passes it by from now on, as soon as the log knows.
    pub(crate) fn depart(&mut self, key: PeerKey, turn: &mut Turn<'_>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.may_want_something() && !planted!(PassedUnnoted) {
            let proxy = peer.incarnation;
            let position = self.propose(Command::PassBy { proxy, is_passed: true }, turn);
            self.leaving.push_back((position, key));
        } else {
            self.leaving.push_back((Position(0), key));
        }
        self.settle(turn);
    }

    /// Lets go of proxies whose lease has ended, once the log knows that they are passed by.
    pub(super) fn let_leave(&mut self, turn: &mut Turn<'_>) {
        let applied = self.state.applied;
        while let Some((_, key)) = self.leaving.pop_front_if(|(position, _)| *position <= applied) {
            self.end_peer(key, turn);
        }
    }

    /// Sees to the proxy that was noted longest ago and has not come back since: it does no more. One that is here stays noted.
    pub(super) fn forget_passed(&mut self, turn: &mut Turn<'_>) {
        if let Some((_, proxy)) = self.state.passed.first() {
            let is_passed = turn.proxies.find(proxy).is_some();
            self.propose(Command::PassBy { proxy, is_passed }, turn);
        }
    }
}
