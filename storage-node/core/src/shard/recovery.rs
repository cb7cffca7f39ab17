//! The hold behind a start: until proxies had time to name what they want and which clients they have, nothing is routed
//! and nobody is let in.
//!
//! A client that was let in before its former proxy has named it would have two connections that are served. So whoever
//! connects waits, as publications do (`super::intake`), and is let in behind the hold, in the order of arrival. What
//! would end while its client waits stays meanwhile: sessions and wills whose time has come. The hold begins with the
//! first proxy that finds this leader: the others are about to find it, too, and nobody waits while there is none.
//!
//! Wills that wait are kept longer where the leases of all proxies have ended: it is more likely then that nobody could be
//! heard than that all have died at once, and their clients cannot come back before one is heard again. From then on they
//! have `willGraceOnMove`.

use std::collections::VecDeque;
use std::time::Duration;

use freshet_storage_contract::{Answer, AttachSession, MonotonicMs, Position, RequestId, SessionRefusal};

use super::Shard;
use super::sessions::session_bytes;
use crate::facts::StorageFact;
use crate::incarnations::PeerKey;
use crate::log::{Command, CommitLog};
use crate::planted::planted;
use crate::settings::StorageSettings;
use crate::turn::Turn;

/// Clients that one call lets in behind the hold.
const LET_IN_PER_TICK: usize = 1_024;

/// What waits for proxies to name what they have.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    hold: Hold,
    /// Clients that have connected meanwhile, in the order in which they came.
    attaches: VecDeque<(PeerKey, AttachSession)>,
    /// Bytes that they are charged with.
    bytes: u64,
    silence: Silence,
}

/// Whether proxies can be heard at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Silence {
    #[default]
    Over,
    /// The last lease has ended, and no proxy has come since.
    OfAll,
    /// One has come: wills that wait stay until then.
    Until(MonotonicMs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Hold {
    #[default]
    Over,
    /// No proxy has found this leader.
    UntilFound,
    Until(MonotonicMs),
    /// It is over when the entry here is safe, which says that publications are routed.
    Ending(Position),
}

impl Recovery {
    /// The hold of a leader that begins.
    pub(super) fn begin(settings: &StorageSettings) -> Self {
        Self {
            hold: if settings.recovery_hold_ms > 0 {
                Hold::UntilFound
            } else {
                Hold::Over
            },
            ..Self::default()
        }
    }

    /// Bytes that count towards the bound on sessions.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Clients that wait to be let in.
    pub(super) fn waiting(&self) -> usize {
        self.attaches.len()
    }

    /// When there is something to do.
    pub(super) fn due(&self, now: MonotonicMs) -> Option<MonotonicMs> {
        match self.hold {
            Hold::Over => (!self.attaches.is_empty()).then_some(now),
            Hold::UntilFound | Hold::Ending(_) => None,
            Hold::Until(until) => Some(until),
        }
    }

    fn push(&mut self, key: PeerKey, attach: AttachSession) {
        self.bytes += bytes_of(&attach);
        self.attaches.push_back((key, attach));
    }

    fn pop(&mut self) -> Option<(PeerKey, AttachSession)> {
        let (key, attach) = self.attaches.pop_front()?;
        self.bytes -= bytes_of(&attach);
        Some((key, attach))
    }

    /// The link of a proxy has ended: on its next one it asks again for what was not answered.
    pub(super) fn forget_asked_by(&mut self, key: PeerKey) {
        self.attaches.retain(|(of, _)| *of != key);
        self.bytes = self.attaches.iter().map(|(_, attach)| bytes_of(attach)).sum();
    }
}

fn bytes_of(attach: &AttachSession) -> u64 {
    session_bytes(&attach.client_id, attach.will.as_deref())
}

impl<L: CommitLog> Shard<L> {
    /// Whether publications are held for want of interest.
    pub(crate) fn is_holding(&self) -> bool {
        self.recovery.hold != Hold::Over
    }

    /// Whether no proxy has found this leader, and nothing is routed before.
    pub(crate) fn waits_to_be_found(&self) -> bool {
        self.recovery.hold == Hold::UntilFound
    }

    /// Whether clients may still wait to be let in behind a start.
    pub(super) fn is_recovering(&self) -> bool {
        self.is_holding() || !self.recovery.attaches.is_empty()
    }

    /// The lease of a proxy has ended.
    pub(super) fn note_departure(&mut self) {
        if self.peers.living().next().is_none() {
            self.recovery.silence = Silence::OfAll;
        }
    }

    /// When wills that are due may be published, if not before; none: not while things are as they are.
    pub(super) fn wills_from(&self, now: MonotonicMs) -> Option<MonotonicMs> {
        match self.recovery.silence {
            _ if self.is_recovering() => None,
            Silence::Over => Some(now),
            Silence::OfAll => None,
            Silence::Until(until) => Some(until.max(now)),
        }
    }

    /// A proxy has found this leader.
    pub(super) fn found(&mut self, turn: &Turn<'_>) {
        if self.recovery.silence == Silence::OfAll {
            let grace = Duration::from_millis(turn.settings.will_grace_on_move_ms);
            self.recovery.silence = Silence::Until(turn.now.plus(grace));
        }
        if self.waits_to_be_found() {
            let until = turn.now.plus(Duration::from_millis(turn.settings.recovery_hold_ms));
            self.recovery.hold = Hold::Until(until);
            self.wake_at(until);
        }
    }

    /// Ends the hold when it is time. The next leader has to know that this one has routed before anybody hears of it.
    pub(super) fn end_hold_in_time(&mut self, turn: &mut Turn<'_>) {
        if let Hold::Until(until) = self.recovery.hold
            && until <= turn.now
        {
            let position = self.propose(Command::BeginRouting { term: self.term }, turn);
            self.recovery.hold = Hold::Ending(position);
            self.advance(turn);
            self.end_hold_when_safe(turn);
        }
    }

    /// Routes what was held once the log knows.
    pub(super) fn end_hold_when_safe(&mut self, turn: &mut Turn<'_>) {
        if let Hold::Ending(position) = self.recovery.hold
            && self.has_applied(position)
        {
            self.recovery.hold = Hold::Over;
            let held = self.route_held(turn);
            turn.out.fact(StorageFact::RecoveryHoldEnded { shard: self.id, held });
            // Clients that wait are let in.
            self.wake_at(turn.now);
        }
    }

    /// Has a client wait that has connected before all could be named. One more that there is no room for is refused, as
    /// it would be behind the hold.
    pub(super) fn hold_attach(&mut self, key: PeerKey, attach: AttachSession, turn: &mut Turn<'_>) {
        if self.has_room(bytes_of(&attach), turn) {
            self.recovery.push(key, attach);
        } else {
            self.refuse_for_quota(key, attach.request, turn);
        }
    }

    /// Lets in who has waited, behind the hold.
    pub(super) fn let_in(&mut self, turn: &mut Turn<'_>) {
        if self.is_holding() {
            return;
        }
        for _ in 0..LET_IN_PER_TICK {
            let Some((key, attach)) = self.recovery.pop() else {
                return;
            };
            // What it was charged with is free for it.
            self.count(turn.usage);
            self.let_in_one(key, attach, turn);
        }
    }

    /// Whether a client that connects now has to wait.
    pub(super) fn must_wait(&self) -> bool {
        self.is_recovering() && !planted!(LetInUnnamed)
    }

    pub(super) fn refuse_for_quota(&mut self, key: PeerKey, request: RequestId, turn: &mut Turn<'_>) {
        self.counters.attaches_refused_total += 1;
        let refusal = SessionRefusal::QuotaExceeded;
        turn.answer(key, Answer::SessionRefused { request, refusal });
    }
}
