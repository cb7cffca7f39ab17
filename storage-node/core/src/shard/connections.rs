//! What attaching, taking over, naming again and ending a session mean, for its connection and for its will.
//!
//! One connection per client id, ordered by epochs. A new one makes the present proxy end the old one first and waits
//! for it, at most `takeover_wait_ms`; not at all when that proxy has no link. Wills: MQTT 5.0, 3.1.2.5 and 3.1.3.2.2,
//! and `willGraceOnMove` where it is the server that ends a connection.

use std::time::Duration;

use bytes::Bytes;
use freshet_storage_contract::{
    Answer, AttachSession, DetachReason, RegisteredSession, SessionEpoch, SessionRefusal, Will,
};

use super::Shard;
use super::sessions::{Held, Waiting, session_bytes};
use crate::incarnations::PeerKey;
use crate::log::{Command, CommitLog};
use crate::state::{OnReturn, WillRow};
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
        if self.peers.get_mut(key).is_none() {
            return;
        }
        match self.sessions.find(&attach.client_id) {
            None => self.attach_new(key, attach, turn),
            Some(at) => self.attach_known(at, key, attach, turn),
        }
        self.settle(turn);
    }

    fn attach_new(&mut self, key: PeerKey, attach: AttachSession, turn: &mut Turn<'_>) {
        let bytes = session_bytes(&attach.client_id, attach.will.as_ref());
        let limit = turn.settings.session_limit;
        if !self.has_room(bytes, turn) || (limit > 0 && turn.usage.sessions >= limit) {
            self.counters.attaches_refused_total += 1;
            let refusal = SessionRefusal::QuotaExceeded;
            turn.answer(
                key,
                Answer::SessionRefused {
                    request: attach.request,
                    refusal,
                },
            );
            return;
        }
        self.decide_waiting_will(&attach.client_id, attach.clean_start, turn);
        let client_id = Bytes::copy_from_slice(&attach.client_id);
        let held = self.grant(key, attach, turn);
        if let Some(peer) = self.peers.get_mut(key) {
            self.sessions.insert(client_id, held, &mut peer.sessions);
        }
    }

    fn attach_known(&mut self, at: u32, key: PeerKey, attach: AttachSession, turn: &mut Turn<'_>) {
        let Some(client) = self.sessions.get(at) else { return };
        let (request, held) = (attach.request, &client.held);
        if held.peer == key && held.request == Some(request) {
            // Asked again after a broken link.
            turn.answer(
                key,
                Answer::SessionAttached {
                    request,
                    epoch: held.epoch,
                    session_present: false,
                },
            );
            return;
        }
        if client
            .waiting()
            .is_some_and(|w| w.peer == key && w.attach.request == request)
        {
            return;
        }
        let (old_peer, old_epoch, client_id) = (held.peer, held.epoch, client.id.clone());
        let will_bytes = attach.will.as_ref().map_or(0, |w| w.message.charged_bytes() as u64);
        if !self.has_room(will_bytes, turn) {
            self.counters.attaches_refused_total += 1;
            let refusal = SessionRefusal::QuotaExceeded;
            turn.answer(key, Answer::SessionRefused { request, refusal });
            return;
        }
        let asked_already = client.waiting().map(|w| w.until);
        let until =
            asked_already.unwrap_or_else(|| turn.now.plus(Duration::from_millis(turn.settings.takeover_wait_ms)));
        if let Some(former) = self.sessions.wait(
            at,
            Waiting {
                peer: key,
                attach,
                until,
            },
        ) {
            self.counters.attaches_superseded_total += 1;
            let refusal = SessionRefusal::Superseded;
            turn.answer(
                former.peer,
                Answer::SessionRefused {
                    request: former.attach.request,
                    refusal,
                },
            );
        }
        if asked_already.is_some() {
            return;
        }
        self.counters.takeovers_total += 1;
        if turn.proxies.is_linked(old_peer) {
            turn.answer(
                old_peer,
                Answer::TakeOver {
                    client_id,
                    epoch: old_epoch,
                },
            );
        } else {
            self.end_connection(at, End::Unreachable, turn);
        }
    }

    fn has_room(&self, bytes: u64, turn: &Turn<'_>) -> bool {
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
        turn.answer(
            key,
            Answer::SessionAttached {
                request: attach.request,
                epoch,
                session_present: false,
            },
        );
        let mut held = Held::new(key, epoch, Some(attach.request));
        held.session_expiry_interval_s = attach.session_expiry_interval_s;
        held.will = attach.will.map(Box::new);
        held
    }

    /// A connection has ended, or a proxy confirms that one has. Of an epoch that has passed: nothing more.
    pub(crate) fn detach_session(
        &mut self,
        key: PeerKey,
        client_id: &Bytes,
        epoch: SessionEpoch,
        reason: DetachReason,
        turn: &mut Turn<'_>,
    ) {
        let current = self.sessions.find(client_id).filter(|at| {
            self.sessions
                .get(*at)
                .is_some_and(|client| client.held.epoch == epoch && client.held.peer == key)
        });
        match current {
            Some(at) => self.end_connection(at, End::Detached(reason), turn),
            None => {
                self.peers.confirm_superseded(key, epoch);
                // The lease of the proxy's former incarnation had ended in between.
                if reason == DetachReason::ByClient
                    && self.state.wills.get(client_id).is_some_and(|row| row.epoch == epoch)
                {
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

    /// A proxy names the sessions it holds. Of two that claim one client the greater epoch stays.
    pub(crate) fn register_sessions(&mut self, key: PeerKey, named: Vec<RegisteredSession>, turn: &mut Turn<'_>) {
        for session in named {
            let RegisteredSession { client_id, epoch, will } = session;
            if turn.placement.shard_of_client(&client_id) != self.id || self.peers.get_mut(key).is_none() {
                continue;
            }
            let known = self.sessions.find(&client_id);
            let present = known
                .and_then(|at| self.sessions.get(at))
                .map(|c| (c.held.epoch, c.held.peer));
            let wins = match present {
                Some((held, _)) => epoch >= held,
                None => self.may_register(&client_id, will.as_ref(), turn),
            };
            if !wins || epoch.term > self.term {
                turn.answer(
                    key,
                    Answer::TakeOver {
                        client_id: client_id.clone(),
                        epoch,
                    },
                );
                self.peers.supersede(key, epoch, Bytes::copy_from_slice(&client_id));
                // Its client has connected elsewhere since.
                if let Some(will) = will.filter(|w| present.is_some() && w.delay_interval_s == 0) {
                    self.send_will(will, turn);
                }
                continue;
            }
            if epoch.term == self.term {
                self.last_epoch = self.last_epoch.max(epoch.counter);
            }
            if self.state.wills.get(&client_id).is_some_and(|row| row.epoch <= epoch) {
                // The proxy's former incarnation was given up for lost, its connections were not.
                self.propose(
                    Command::DropWill {
                        client_id: client_id.clone(),
                    },
                    turn,
                );
            }
            self.register(known, key, client_id, epoch, will, turn);
            self.count(turn.usage);
        }
        self.settle(turn);
    }

    fn may_register(&self, client_id: &Bytes, will: Option<&Will>, turn: &Turn<'_>) -> bool {
        let limit = turn.settings.session_limit;
        self.has_room(session_bytes(client_id, will), turn) && (limit == 0 || turn.usage.sessions < limit)
    }

    fn register(
        &mut self,
        known: Option<u32>,
        key: PeerKey,
        client_id: Bytes,
        epoch: SessionEpoch,
        will: Option<Will>,
        turn: &mut Turn<'_>,
    ) {
        let mut held = Held::new(key, epoch, None);
        held.will = will.map(Box::new);
        let Some(at) = known else {
            if let Some(peer) = self.peers.get_mut(key) {
                self.sessions
                    .insert(Bytes::copy_from_slice(&client_id), held, &mut peer.sessions);
            }
            return;
        };
        let Some((old_peer, old_epoch)) = self.sessions.get(at).map(|c| (c.held.peer, c.held.epoch)) else {
            return;
        };
        if old_epoch == epoch && old_peer == key {
            // Nothing new: the attach that it answered, and its expiry interval, stay known.
            return;
        }
        if old_epoch < epoch {
            turn.answer(
                old_peer,
                Answer::TakeOver {
                    client_id: client_id.clone(),
                    epoch: old_epoch,
                },
            );
            self.peers.supersede(old_peer, old_epoch, client_id);
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
        let (client_id, old_peer, epoch) = (client.id.clone(), client.held.peer, client.held.epoch);
        let session_expiry_s = client.held.session_expiry_interval_s;
        if end == End::Unconfirmed {
            self.counters.takeovers_unconfirmed_total += 1;
        }
        if matches!(end, End::Unconfirmed | End::Unreachable) {
            self.peers.supersede(old_peer, epoch, client_id.clone());
        }
        if let Some(will) = self.sessions.take_will(at) {
            let clean_start = next.as_ref().map(|w| w.attach.clean_start);
            self.decide_will(client_id, epoch, *will, session_expiry_s, end, clean_start, turn);
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

    /// A connection has ended; `clean_start` is that of the one that takes its place, if any.
    #[allow(clippy::too_many_arguments)]
    fn decide_will(
        &mut self,
        client_id: Bytes,
        epoch: SessionEpoch,
        will: Will,
        session_expiry_s: u32,
        end: End,
        clean_start: Option<bool>,
        turn: &mut Turn<'_>,
    ) {
        // The end of the session ends the delay (MQTT 5.0, 3.1.3.2.2).
        let delay_ms = u64::from(will.delay_interval_s.min(session_expiry_s)) * 1_000;
        let moved = match end {
            End::Detached(DetachReason::ByClient) => {
                self.counters.wills_dropped_total += 1;
                return;
            }
            End::Detached(DetachReason::WillDue | DetachReason::TakenOver) | End::Unconfirmed => false,
            End::Detached(DetachReason::Moved) | End::Unreachable | End::ProxyLost => true,
        };
        let log_time_ms = self.clock.log_time_ms(turn.now);
        match clean_start {
            // The client is back before its will was due.
            Some(clean_start) if moved || (delay_ms > 0 && !clean_start) => self.counters.wills_dropped_total += 1,
            Some(_) => self.send_will(will, turn),
            None if !moved && delay_ms == 0 => self.send_will(will, turn),
            None => {
                let (wait_ms, on_return) = if moved {
                    (delay_ms.max(turn.settings.will_grace_on_move_ms), OnReturn::Drop)
                } else {
                    (delay_ms, OnReturn::DropUnlessCleanStart)
                };
                let due_ms = log_time_ms.saturating_add(wait_ms);
                let row = WillRow {
                    message: will.message,
                    epoch,
                    due_ms,
                    on_return,
                };
                self.propose(Command::HoldWill { client_id, row }, turn);
                self.advance(turn);
            }
        }
    }

    /// A client that has no session attaches: a will of its last connection may still wait.
    fn decide_waiting_will(&mut self, client_id: &Bytes, clean_start: bool, turn: &mut Turn<'_>) {
        let Some(row) = self.state.wills.get(client_id) else {
            return;
        };
        match row.on_return {
            OnReturn::DropUnlessCleanStart if clean_start => self.fire_will(client_id.clone(), turn),
            OnReturn::Drop | OnReturn::DropUnlessCleanStart => {
                self.propose(
                    Command::DropWill {
                        client_id: client_id.clone(),
                    },
                    turn,
                );
                self.advance(turn);
            }
        }
    }

    /// Publishes a will that has waited.
    pub(super) fn fire_will(&mut self, client_id: Bytes, turn: &mut Turn<'_>) {
        let topic_name = self
            .state
            .wills
            .get(&client_id)
            .map(|row| row.message.topic_name.clone());
        let target = topic_name
            .as_deref()
            .and_then(|topic_name| std::str::from_utf8(topic_name).ok());
        let command = match target {
            Some(topic_name) => {
                let target = turn.placement.shard_of_topic(topic_name);
                Command::FireWill { client_id, target }
            }
            // Proxies check topics; nobody could be subscribed to this one.
            None => Command::DropWill { client_id },
        };
        self.propose(command, turn);
        self.advance(turn);
    }

    /// Publishes a will that does not wait.
    fn send_will(&mut self, will: Will, turn: &mut Turn<'_>) {
        let Ok(topic_name) = std::str::from_utf8(&will.message.topic_name) else {
            self.counters.wills_dropped_total += 1;
            return;
        };
        let target = turn.placement.shard_of_topic(topic_name);
        self.propose(
            Command::SendWill {
                message: will.message,
                target,
            },
            turn,
        );
        self.advance(turn);
    }

    /// Grants what has waited for an answer too long.
    pub(super) fn grant_overdue(&mut self, turn: &mut Turn<'_>) {
        while let Some(at) = self.sessions.overdue(turn.now) {
            self.end_connection(at, End::Unconfirmed, turn);
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
        for (epoch, client_id) in &peer.superseded {
            turn.answer(
                key,
                Answer::TakeOver {
                    client_id: client_id.clone(),
                    epoch: *epoch,
                },
            );
        }
    }
}
