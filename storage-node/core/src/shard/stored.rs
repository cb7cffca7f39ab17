//! Stored sessions, durable filters and QoS 2 publications as proxies ask for them: each request becomes an entry of the
//! log, and its answer leaves when that is applied.

use bytes::Bytes;
use freshet_storage_contract::{
    Answer, Delivery, EnsureDurable, Position, Release, RequestId, SessionChange, SessionEpoch, SessionRefusal,
    StoredSession, Term, UpdateSession,
};

use super::Shard;
use crate::facts::LinkFault;
use crate::incarnations::PeerKey;
use crate::log::{Command, CommitLog};
use crate::planted::planted;
use crate::state::Applied;
use crate::turn::Turn;

/// Bytes that one session's subscriptions may bring it to: with its exchanges it still fits into one answer.
const MAX_SESSION_BYTES: u64 = 2 << 20;

/// An answer that waits for its entry.
#[derive(Debug)]
pub(super) struct Awaited {
    pub(super) position: Position,
    pub(super) peer: PeerKey,
    reply: Reply,
}

/// What is answered.
#[derive(Debug)]
pub(super) enum Reply {
    SessionAttached {
        request: RequestId,
        client_id: Bytes,
        epoch: SessionEpoch,
    },
    SessionUpdated(RequestId),
    Started(RequestId),
    Released(RequestId),
    SharedSettled(RequestId),
    TakeOver {
        client_id: Bytes,
        epoch: SessionEpoch,
    },
}

impl<L: CommitLog> Shard<L> {
    pub(super) fn answer_when_applied(&mut self, position: Position, peer: PeerKey, reply: Reply) {
        self.awaited.push_back(Awaited { position, peer, reply });
    }

    /// Whether a session is stored, or an entry is on its way that may store it.
    pub(super) fn may_be_stored(&self, client_id: &[u8]) -> bool {
        self.state.sessions.contains(client_id) || self.ahead.is_about_session(client_id)
    }

    /// Says again what an attach was granted, behind what is on its way about the session.
    pub(super) fn answer_attached_again(
        &mut self,
        key: PeerKey,
        request: RequestId,
        client_id: Bytes,
        epoch: SessionEpoch,
        turn: &mut Turn<'_>,
    ) {
        if self.ahead.is_about_session(&client_id) {
            let reply = Reply::SessionAttached {
                request,
                client_id,
                epoch,
            };
            self.answer_when_applied(self.proposed, key, reply);
        } else {
            self.answer_attached(key, request, &client_id, epoch, turn);
        }
    }

    /// Tells a proxy that a connection of its is to end: behind the answer that the connection may still wait for.
    pub(super) fn tell_take_over(&mut self, key: PeerKey, client_id: Bytes, epoch: SessionEpoch, turn: &mut Turn<'_>) {
        if self.ahead.is_about_session(&client_id) {
            self.answer_when_applied(self.proposed, key, Reply::TakeOver { client_id, epoch });
        } else {
            turn.answer(key, Answer::TakeOver { client_id, epoch });
        }
    }

    /// Answers an attach with its epoch: at once when nothing is stored of the client, now or then.
    pub(super) fn answer_attach(
        &mut self,
        key: PeerKey,
        request: RequestId,
        client_id: &Bytes,
        epoch: SessionEpoch,
        (clean_start, session_expiry_interval_s): (bool, u32),
        turn: &mut Turn<'_>,
    ) {
        if session_expiry_interval_s == 0 && !self.may_be_stored(client_id) {
            self.answer_attached(key, request, client_id, epoch, turn);
            return;
        }
        let command = Command::AttachSession {
            client_id: client_id.clone(),
            epoch,
            clean_start,
            session_expiry_interval_s,
        };
        let position = self.propose(command, turn);
        let client_id = client_id.clone();
        let reply = Reply::SessionAttached {
            request,
            client_id,
            epoch,
        };
        self.answer_when_applied(position, key, reply);
        self.advance(turn);
    }

    /// Says what the connection of `epoch` has found.
    pub(super) fn answer_attached(
        &self,
        key: PeerKey,
        request: RequestId,
        client_id: &[u8],
        epoch: SessionEpoch,
        turn: &mut Turn<'_>,
    ) {
        // A session that began with this connection has its epoch for a generation.
        let log_time_ms = self.clock.log_time_ms(turn.now);
        let session = self.state.sessions.resumed(client_id, epoch, log_time_ms).map(Box::new);
        turn.answer(
            key,
            Answer::SessionAttached {
                request,
                epoch,
                session_present: session.is_some(),
                session,
            },
        );
    }

    /// A connection has ended, and none takes its place: its session, if it is stored, waits for the next one.
    pub(super) fn suspend_session(
        &mut self,
        client_id: &Bytes,
        epoch: SessionEpoch,
        session_expiry_interval_s: u32,
        turn: &mut Turn<'_>,
    ) {
        if self.may_be_stored(client_id) {
            let command = Command::DetachSession {
                client_id: client_id.clone(),
                epoch,
                session_expiry_interval_s,
            };
            self.propose(command, turn);
            self.advance(turn);
        }
    }

    /// A proxy has named a session that it holds.
    pub(super) fn register_stored(
        &mut self,
        client_id: &Bytes,
        epoch: SessionEpoch,
        session_expiry_interval_s: u32,
        session: Option<Box<StoredSession>>,
        turn: &mut Turn<'_>,
    ) {
        if session.is_some() || self.may_be_stored(client_id) {
            let command = Command::RegisterSession {
                client_id: client_id.clone(),
                epoch,
                session_expiry_interval_s,
                session,
            };
            self.propose(command, turn);
            self.advance(turn);
        }
    }

    /// Whether a session that a proxy names comes too late: storage does not know it and has routed, so that what matched it
    /// meanwhile was queued for nobody. In the hold, too, where earlier leaders of this log have routed: the session had
    /// expired before while its proxy could not be reached, or its client had begun anew elsewhere. One that began in this
    /// log has ended in it, whatever it was subscribed to.
    pub(super) fn is_late(&self, client_id: &[u8], session: &StoredSession) -> bool {
        let has_routed = self.state.routed > Term(0) || !self.is_holding();
        // Without a disk the log begins with its leader.
        let first = Some(self.state.terms.0)
            .filter(|first| *first > Term(0))
            .unwrap_or(self.term);
        let began_here = session.generation.term >= first;
        // What an entry on its way says of the session is not known yet: it is asked after a broken link.
        (has_routed || began_here)
            && !self.ahead.is_about_session(client_id)
            && !self.state.sessions.knows(client_id, session.generation)
            && (began_here || session.subscriptions.iter().any(|s| !s.starts.is_empty()))
    }

    /// Changes a stored session.
    pub(crate) fn update_session(&mut self, key: PeerKey, update: UpdateSession, turn: &mut Turn<'_>) {
        let UpdateSession {
            request,
            client_id,
            epoch,
            mut changes,
        } = update;
        self.counters.session_updates_total += 1;
        let subscribes = changes.iter().any(|c| matches!(c, SessionChange::Subscribe(_)));
        // What else a session can add is bounded by its packet ids and its client's Receive Maximum.
        let is_settled = !self.ahead.is_about_session(&client_id);
        let added = self.state.sessions.cost_of(&client_id, &changes, is_settled);
        let present = self.state.sessions.bytes_of(&client_id) + self.ahead.added_to_session(&client_id);
        let is_large = present.saturating_add(added.row) > MAX_SESSION_BYTES;
        let has_room = !is_large && self.has_room(added.whole(), turn);
        if !has_room {
            // They are sent all the same, and not again.
            drop_messages(&mut changes);
        }
        if subscribes && !has_room {
            self.counters.session_updates_refused_total += 1;
            let refusal = SessionRefusal::QuotaExceeded;
            if let Some(request) = request {
                turn.answer(key, Answer::UpdateRefused { request, refusal });
            }
            return;
        }
        let command = Command::UpdateSession {
            client_id,
            epoch,
            changes,
        };
        let position = self.propose(command, turn);
        if let Some(request) = request {
            if planted!(UpdateConfirmedUnflushed) {
                turn.answer(key, Answer::SessionUpdated { request });
            }
            self.answer_when_applied(position, key, Reply::SessionUpdated(request));
        }
        self.settle(turn);
    }

    /// Makes a durable filter act.
    pub(crate) fn ensure_durable(&mut self, key: PeerKey, ensure: EnsureDurable, turn: &mut Turn<'_>) {
        let EnsureDurable {
            request,
            session_shard,
            topic_filter,
            ..
        } = ensure;
        let room = self.room_for_filters(turn);
        let cost = self.state.queues.cost_of(session_shard, &topic_filter);
        if cost.is_none_or(|cost| cost > room) {
            self.counters.durable_filters_refused_total += 1;
            turn.answer(key, Answer::EnsureRefused { request });
            return;
        }
        let command = Command::EnsureDurable {
            session_shard,
            topic_filter,
        };
        let position = self.propose(command, turn);
        self.answer_when_applied(position, key, Reply::Started(request));
        self.settle(turn);
    }

    /// Bytes that the node's bound on filters leaves.
    pub(super) fn room_for_filters(&self, turn: &Turn<'_>) -> u64 {
        let others = turn.usage.interest_bytes.saturating_sub(self.counted.interest_bytes);
        let used = others + self.filter_bytes() + turn.common.bytes();
        turn.settings.interest_bytes.saturating_sub(used)
    }

    /// Bytes of this shard alone that count towards the bound on filters.
    pub(super) fn filter_bytes(&self) -> u64 {
        self.interest.bytes() + self.groups.bytes() + self.state.queues.filter_bytes() + self.ahead.filter_bytes()
    }

    /// Ends a QoS 2 exchange of a publisher.
    pub(crate) fn release_packet(&mut self, key: PeerKey, release: Release, turn: &mut Turn<'_>) {
        let Release { request, of, .. } = release;
        let position = self.propose(Command::Release { of: Box::new(of) }, turn);
        if planted!(ReleaseConfirmedUnflushed) {
            turn.answer(key, Answer::Released { request, found: true });
        }
        self.answer_when_applied(position, key, Reply::Released(request));
        self.settle(turn);
    }

    /// Gives an answer whose entry has been applied.
    pub(super) fn reply(&mut self, awaited: Awaited, applied: Applied, turn: &mut Turn<'_>) {
        let Awaited { position, peer, reply } = awaited;
        match reply {
            Reply::SessionAttached {
                request,
                client_id,
                epoch,
            } => {
                self.answer_attached(peer, request, &client_id, epoch, turn);
            }
            Reply::SessionUpdated(request) if applied == Applied::Done => {
                turn.answer(peer, Answer::SessionUpdated { request });
            }
            Reply::SessionUpdated(request) => {
                self.counters.session_updates_refused_total += 1;
                let refusal = SessionRefusal::Superseded;
                turn.answer(peer, Answer::UpdateRefused { request, refusal });
            }
            Reply::Started(request) => self.tell_started(peer, request, position, turn),
            Reply::Released(request) => {
                let found = applied == Applied::Done;
                turn.answer(peer, Answer::Released { request, found });
            }
            Reply::SharedSettled(request) => turn.answer(peer, Answer::SharedSettled { request }),
            Reply::TakeOver { client_id, epoch } => turn.answer(peer, Answer::TakeOver { client_id, epoch }),
        }
    }

    /// Puts the start of a durable filter into the stream: what is in front of it is not behind `position`.
    fn tell_started(&mut self, key: PeerKey, request: RequestId, position: Position, turn: &mut Turn<'_>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.ring
            .push_answer(Delivery::Started { request, position }, 0, turn.now);
        if peer.ring.is_beyond_bound() {
            let what = "unacknowledged deliveries";
            turn.fault(key, LinkFault::TooMuchUnderWay { shard: self.id, what });
            return;
        }
        self.watch_silence(turn);
        self.send(key, turn);
    }
}

/// Takes messages out that the session would keep.
fn drop_messages(changes: &mut [SessionChange]) {
    for change in changes {
        if let SessionChange::Sending { message, .. } = change {
            *message = None;
        }
    }
}
