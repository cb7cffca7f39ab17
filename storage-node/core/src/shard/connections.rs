//! What attaching, taking over, naming again and ending a session mean.
//!
//! One connection per client id, ordered by epochs. A new one makes the present proxy end the old one first and waits
//! for it, at most `takeover_wait_ms`; not at all when that proxy has no link. It is held before that when the client id
//! has changed hands too often of late (`super::flapping`), and all are while proxies have not named theirs
//! (`super::recovery`). What becomes of the will of a connection that has ended is in `super::wills`.

use std::time::Duration;

use bytes::Bytes;
use freshet_storage_contract::{
    Answer, AttachSession, DetachReason, RegisteredSession, RequestId, SessionEpoch, SessionRefusal, Will,
};

use super::Shard;
use super::peers::Superseded;
use super::sessions::{Client, Held, Waiting, session_bytes};
use super::wills::LeftWill;
use crate::incarnations::PeerKey;
use crate::log::{Command, CommitLog};
use crate::planted::planted;
use crate::turn::Turn;

/// How a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Its proxy has said so.
    Detached(DetachReason),
    /// A newer connection was waiting, and the proxy did not answer in time.
    Unconfirmed,
    /// A newer connection came while its proxy had no link.
    Unreachable,
    /// The lease of its proxy has ended.
    ProxyLost,
}

impl<L: CommitLog> Shard<L> {
    /// A client has connected.
    pub(crate) fn attach_session(&mut self, key: PeerKey, attach: AttachSession, turn: &mut Turn<'_>) {
        if self.must_wait() {
            self.hold_attach(key, attach, turn);
            self.settle(turn);
        } else {
            self.let_in_one(key, attach, turn);
        }
    }

    /// Lets a client in, or has it wait for its former connection to end.
    pub(super) fn let_in_one(&mut self, key: PeerKey, attach: AttachSession, turn: &mut Turn<'_>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let (request, was_refused) = (attach.request, peer.refused.contains(&attach.request));
        let went_elsewhere = self.peers.superseded_request(key, request);
        if let Some(epoch) = went_elsewhere {
            // It was granted and superseded, and the proxy heard of neither.
            self.peers.confirm_superseded(key, epoch);
        }
        if was_refused || went_elsewhere.is_some() {
            self.refuse_superseded(key, request, turn);
            return;
        }
        match self.sessions.find(&attach.client_id) {
            None => self.attach_new(key, attach, turn),
            Some(at) => self.attach_known(at, key, attach, turn),
        }
        self.settle(turn);
    }

    fn attach_new(&mut self, key: PeerKey, attach: AttachSession, turn: &mut Turn<'_>) {
        let bytes = session_bytes(&attach.client_id, attach.will.as_deref());
        let limit = turn.settings.session_limit;
        let is_stored = self.may_be_stored(&attach.client_id);
        if !self.has_room(bytes, turn) || (limit > 0 && turn.usage.sessions >= limit && !is_stored) {
            self.refuse_for_quota(key, attach.request, turn);
            return;
        }
        self.decide_waiting_will(&attach.client_id, attach.clean_start, turn);
        let client_id = attach.client_id.clone();
        let held = self.grant(key, attach, turn);
        if let Some(peer) = self.peers.get_mut(key) {
            self.sessions.insert(&client_id, held, &mut peer.sessions);
        }
    }

    fn attach_known(&mut self, at: u32, key: PeerKey, attach: AttachSession, turn: &mut Turn<'_>) {
        let Some(client) = self.sessions.get(at) else { return };
        let (request, held) = (attach.request, &client.held);
        if held.peer == key && held.request == Some(request) {
            // Asked again after a broken link. If it is to end by now, that is told again too, behind it.
            let (epoch, client_id, is_to_end) = (held.epoch, client.id.to_bytes(), client.is_asked_to_end());
            self.answer_attached_again(key, request, client_id.clone(), epoch, turn);
            if is_to_end {
                self.tell_take_over(key, client_id, epoch, turn);
            }
            return;
        }
        if client
            .waiting()
            .is_some_and(|w| w.peer == key && w.attach.request == request)
        {
            return;
        }
        let will_bytes = attach.will.as_ref().map_or(0, |w| w.message.charged_bytes() as u64);
        if !self.has_room(will_bytes, turn) {
            self.refuse_for_quota(key, request, turn);
            return;
        }
        // A third one takes the place of the second, and waits no longer than that.
        let begun = client.waiting().map(|w| (w.until, w.is_asked));
        let (until, is_asked) = begun.unwrap_or_else(|| {
            self.counters.takeovers_total += 1;
            let hold = self.sessions.count_takeover(at, turn.now);
            self.counters.takeovers_repeated_total += u64::from(hold.is_some());
            (turn.now.plus(hold.unwrap_or_default()), false)
        });
        let waiting = Waiting {
            peer: key,
            attach,
            until,
            is_asked,
        };
        if let Some(former) = self.sessions.wait(at, waiting) {
            self.counters.attaches_superseded_total += 1;
            self.refuse_superseded(former.peer, former.attach.request, turn);
        }
        if !is_asked && until <= turn.now {
            self.take_over(at, turn);
        }
    }

    /// Has the present connection of a client ended for the one that waits.
    fn take_over(&mut self, at: u32, turn: &mut Turn<'_>) {
        let Some(client) = self.sessions.get(at) else { return };
        let (client_id, epoch, old_peer) = (client.id.to_bytes(), client.held.epoch, client.held.peer);
        if turn.proxies.is_linked(old_peer) {
            let wait = Duration::from_millis(turn.settings.takeover_wait_ms);
            self.sessions.ask_to_end(at, turn.now.plus(wait));
            self.tell_take_over(old_peer, client_id, epoch, turn);
        } else {
            self.end_connection(at, End::Unreachable, turn);
        }
    }

    /// Refuses an attach for a newer one. Should the proxy not hear of it, it is refused again when asked again.
    fn refuse_superseded(&mut self, key: PeerKey, request: RequestId, turn: &mut Turn<'_>) {
        if let Some(peer) = self.peers.get_mut(key) {
            peer.refused.insert(request);
        }
        turn.answer(
            key,
            Answer::SessionRefused {
                request,
                refusal: SessionRefusal::Superseded,
            },
        );
    }

    pub(super) fn has_room(&self, bytes: u64, turn: &Turn<'_>) -> bool {
        let used = turn.usage.session_bytes.saturating_add(bytes);
        used <= turn.settings.session_bytes
    }

    /// Answers an attach with the next epoch.
    fn grant(&mut self, key: PeerKey, attach: AttachSession, turn: &mut Turn<'_>) -> Held {
        self.counters.attaches_total += 1;
        self.last_epoch = self.last_epoch.saturating_add(1);
        let epoch = SessionEpoch {
            term: self.term,
            counter: self.last_epoch,
        };
        let session = (attach.clean_start, attach.session_expiry_interval_s);
        self.answer_attach(key, attach.request, &attach.client_id, epoch, session, turn);
        let mut held = Held::new(key, epoch, Some(attach.request));
        held.session_expiry_interval_s = attach.session_expiry_interval_s;
        held.will = attach.will;
        held
    }

    /// A connection has ended, or a proxy confirms that one has. Of an epoch that has passed: nothing more.
    pub(crate) fn detach_session(
        &mut self,
        key: PeerKey,
        client_id: &Bytes,
        epoch: SessionEpoch,
        (reason, session_expiry_interval_s): (DetachReason, Option<u32>),
        turn: &mut Turn<'_>,
    ) {
        let current = self.sessions.find(client_id).filter(|at| {
            self.sessions.get(*at).is_some_and(|client| {
                client.held.epoch == epoch && client.held.peer == key || planted!(LateDetachEndsSession)
            })
        });
        match current {
            Some(at) => {
                if let Some(interval_s) = session_expiry_interval_s {
                    self.sessions.set_expiry(at, interval_s);
                }
                let is_mourned = self.sessions.get(at).is_some_and(|client| client.held.will.is_some());
                if is_mourned && let Some(peer) = self.peers.get_mut(key) {
                    peer.mourned.insert(epoch);
                }
                self.end_connection(at, End::Detached(reason), turn);
            }
            None => {
                if let Some(left) = self.peers.confirm_superseded(key, epoch) {
                    if let Some(peer) = self.peers.get_mut(key) {
                        peer.mourned.insert(epoch);
                    }
                    // Nobody knows any more whether the newer connection began with Clean Start.
                    self.decide_will(*left, End::Detached(reason), Some(false), turn);
                }
                self.end_unnamed(client_id, epoch, session_expiry_interval_s, turn);
                // The lease of the proxy's former incarnation had ended in between.
                if reason == DetachReason::ByClient && self.will_of(client_id).is_some_and(|row| row.epoch == epoch) {
                    self.propose(
                        Command::DropWill {
                            client_id: client_id.clone(),
                        },
                        turn,
                    );
                }
            }
        }
        self.settle(turn);
    }

    /// The connection of a session has ended that no proxy has named to this leader: its interval begins at once.
    fn end_unnamed(
        &mut self,
        client_id: &Bytes,
        epoch: SessionEpoch,
        session_expiry_interval_s: Option<u32>,
        turn: &mut Turn<'_>,
    ) {
        let stored = self.state.sessions.interval_of(client_id, epoch);
        if let Some(interval_s) = stored.filter(|_| self.sessions.find(client_id).is_none()) {
            // DISCONNECT must not begin an interval (MQTT 5.0, 3.14.2.2.2).
            let ends_s = session_expiry_interval_s
                .filter(|_| interval_s > 0)
                .unwrap_or(interval_s);
            self.suspend_session(client_id, epoch, ends_s, turn);
        }
    }

    /// A proxy names the sessions it holds. Of two that claim one client the greater epoch stays.
    pub(crate) fn register_sessions(&mut self, key: PeerKey, named: Vec<RegisteredSession>, turn: &mut Turn<'_>) {
        for session in named {
            let RegisteredSession {
                client_id,
                epoch,
                will,
                session_expiry_interval_s,
                session,
            } = session;
            let Some(peer) = self.peers.get_mut(key) else { continue };
            if turn.placement.shard_of_client(&client_id) != self.id {
                continue;
            }
            // One that has ended is named with its end, and again while its proxy does not know that this was heard.
            let is_mourned = peer.mourned.contains(&epoch);
            let known = self.sessions.find(&client_id);
            let present = known
                .and_then(|at| self.sessions.get(at))
                .map(|c| (c.held.epoch, c.held.peer));
            let wins = match present {
                Some((held, _)) => epoch >= held,
                None => self.may_register(&client_id, will.as_ref(), turn),
            };
            if !wins || epoch.term > self.term {
                // Its client has connected elsewhere since. The proxy says, now or when it has ended it, how it ended.
                let left = |will| {
                    Box::new(LeftWill {
                        client_id: Bytes::copy_from_slice(&client_id),
                        epoch,
                        will,
                        session_expiry_s: session_expiry_interval_s,
                    })
                };
                turn.answer(
                    key,
                    Answer::TakeOver {
                        client_id: client_id.clone(),
                        epoch,
                    },
                );
                self.peers.supersede(
                    key,
                    epoch,
                    Superseded {
                        client_id: Bytes::copy_from_slice(&client_id),
                        request: None,
                        left: will.filter(|_| present.is_some() && !is_mourned).map(left),
                    },
                );
                continue;
            }
            if is_mourned {
                continue;
            }
            if epoch.term == self.term {
                self.last_epoch = self.last_epoch.max(epoch.counter);
            }
            if self.will_of(&client_id).is_some_and(|row| row.epoch <= epoch) {
                // The proxy's former incarnation was given up for lost, its connections were not.
                self.propose(
                    Command::DropWill {
                        client_id: client_id.clone(),
                    },
                    turn,
                );
            }
            let is_late = session
                .as_deref()
                .is_some_and(|session| self.is_late(&client_id, session));
            let (session, session_expiry_interval_s) = match session {
                Some(_) if is_late => (None, 0),
                session => (session, session_expiry_interval_s),
            };
            let mut held = Held::new(key, epoch, None);
            held.will = will.map(Box::new);
            held.session_expiry_interval_s = session_expiry_interval_s;
            self.register(known, &client_id, held, turn);
            self.register_stored(&client_id, epoch, session_expiry_interval_s, session, turn);
            if is_late {
                // The client is not to find it again as if nothing were missing, neither here nor elsewhere.
                self.counters.sessions_late_total += 1;
                turn.answer(key, Answer::TakeOver { client_id, epoch });
            }
            self.count(turn.usage);
        }
        self.settle(turn);
    }

    fn may_register(&self, client_id: &Bytes, will: Option<&Will>, turn: &Turn<'_>) -> bool {
        let limit = turn.settings.session_limit;
        self.has_room(session_bytes(client_id, will), turn) && (limit == 0 || turn.usage.sessions < limit)
    }

    fn register(&mut self, known: Option<u32>, client_id: &Bytes, held: Held, turn: &mut Turn<'_>) {
        let (key, epoch) = (held.peer, held.epoch);
        let Some(at) = known else {
            if let Some(peer) = self.peers.get_mut(key) {
                self.sessions.insert(client_id, held, &mut peer.sessions);
            }
            return;
        };
        let Some(old) = self.sessions.get(at).map(|c| &c.held) else {
            return;
        };
        let (old_peer, old_epoch) = (old.peer, old.epoch);
        if old_epoch == epoch && old_peer == key {
            // Nothing new: the attach that it answered, and its expiry interval, stay known.
            return;
        }
        if old_epoch < epoch {
            self.tell_take_over(old_peer, client_id.clone(), old_epoch, turn);
            let Some(old) = self.sessions.get(at).map(|c| &c.held) else {
                return;
            };
            let (request, session_expiry_s) = (old.request, old.session_expiry_interval_s);
            let left = self.sessions.take_will(at).map(|will| {
                Box::new(LeftWill {
                    client_id: client_id.clone(),
                    epoch: old_epoch,
                    will: *will,
                    session_expiry_s,
                })
            });
            let superseded = Superseded {
                client_id: client_id.clone(),
                request,
                left,
            };
            if let Some(left) = self.peers.supersede(old_peer, old_epoch, superseded) {
                self.decide_will(*left, End::ProxyLost, Some(false), turn);
            }
        }
        if self.sessions.get(at).is_some_and(Client::is_asked_to_end) {
            // A newer connection waits already: it waits for this one now.
            turn.answer(
                key,
                Answer::TakeOver {
                    client_id: client_id.clone(),
                    epoch,
                },
            );
        }
        self.leave_proxy(at, old_peer);
        if let Some(peer) = self.peers.get_mut(key) {
            self.sessions.replace(at, held, &mut peer.sessions);
        }
    }

    /// Ends the present connection of a client, decides on its will, and grants the session to the one that waits.
    pub(super) fn end_connection(&mut self, at: u32, end: End, turn: &mut Turn<'_>) {
        let next = self
            .sessions
            .take_waiting(at)
            .filter(|w| self.peers.get_mut(w.peer).is_some());
        let Some(client) = self.sessions.get(at) else { return };
        let (client_id, old_peer, epoch) = (client.id.to_bytes(), client.held.peer, client.held.epoch);
        let (request, session_expiry_s) = (client.held.request, client.held.session_expiry_interval_s);
        if end == End::Unconfirmed {
            self.counters.takeovers_unconfirmed_total += 1;
        }
        if matches!(end, End::Unconfirmed | End::Unreachable) {
            self.peers.supersede(
                old_peer,
                epoch,
                Superseded {
                    client_id: client_id.clone(),
                    request,
                    left: None,
                },
            );
        }
        // One that was to end with this connection has ended for the next one, too (MQTT 5.0, 3.1.2.11.2).
        if next.is_none() || session_expiry_s == 0 {
            self.suspend_session(&client_id, epoch, session_expiry_s, turn);
        }
        if let Some(will) = self.sessions.take_will(at) {
            let clean_start = next.as_ref().map(|w| w.attach.clean_start);
            let left = LeftWill {
                client_id,
                epoch,
                will: *will,
                session_expiry_s,
            };
            self.decide_will(left, end, clean_start, turn);
        }
        self.leave_proxy(at, old_peer);
        match next {
            None => self.sessions.remove(at),
            Some(Waiting { peer: key, attach, .. }) => {
                let held = self.grant(key, attach, turn);
                if let Some(peer) = self.peers.get_mut(key) {
                    self.sessions.replace(at, held, &mut peer.sessions);
                }
            }
        }
    }

    fn leave_proxy(&mut self, at: u32, key: PeerKey) {
        if let Some(peer) = self.peers.any_mut(key) {
            self.sessions.leave_list(at, &mut peer.sessions);
        }
    }

    /// Goes on with what was held, and grants what has waited for an answer too long.
    pub(super) fn grant_overdue(&mut self, turn: &mut Turn<'_>) {
        while let Some(at) = self.sessions.overdue(turn.now) {
            let waiting = self.sessions.get(at).and_then(Client::waiting);
            match waiting.map(|waiting| (waiting.is_asked, waiting.peer)) {
                // Whoever it was held for is lost: the present connection stays.
                Some((false, peer)) if self.peers.get_mut(peer).is_none() => drop(self.sessions.take_waiting(at)),
                Some((false, _)) => self.take_over(at, turn),
                _ => self.end_connection(at, End::Unconfirmed, turn),
            }
        }
    }

    /// Grants what waits for a proxy that has no link any more.
    pub(super) fn grant_without(&mut self, key: PeerKey, turn: &mut Turn<'_>) {
        for at in self.sessions.waiting_for(key) {
            self.end_connection(at, End::Unreachable, turn);
        }
    }

    /// Tells a proxy that is back which of its connections have gone elsewhere in the meantime.
    pub(super) fn repeat_takeovers(&mut self, key: PeerKey, turn: &mut Turn<'_>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        for (epoch, superseded) in &peer.superseded {
            turn.answer(
                key,
                Answer::TakeOver {
                    client_id: superseded.client_id.clone(),
                    epoch: *epoch,
                },
            );
        }
    }
}
