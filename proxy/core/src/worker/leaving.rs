//! Sessions whose connection has ended and that storage cannot be told of yet: publications that came before the end
//! are without outcome, or the attach itself is unanswered. The will must not overtake what the client said before.

use bytes::Bytes;
use foldhash::fast::FixedState;
use freshet_storage_contract::{DetachReason, QoS, RegisteredSession, SessionEpoch, Will};
use hashbrown::HashMap;

use super::token::ConnectionToken;
use crate::exchange::ToLink;

/// Sessions by the token that their connection had. Bounded by the bound on outstanding publications, and by the one
/// on unanswered attaches.
#[derive(Debug, Default)]
pub(crate) struct LeavingSessions {
    sessions: HashMap<ConnectionToken, Leaving, FixedState>,
    unattached: u64,
}

/// A session that is about to be detached.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) client_id: Bytes,
    /// None: the attach is unanswered.
    pub(crate) epoch: Option<SessionEpoch>,
    pub(crate) will: Option<Box<Will>>,
    /// For how long the session outlives its connection, in seconds.
    pub(crate) expiry_s: u32,
    pub(crate) reason: DetachReason,
    /// Session Expiry Interval of DISCONNECT, in seconds.
    pub(crate) session_expiry_interval_s: Option<u32>,
    /// Publications without outcome.
    pub(crate) unanswered: u32,
}

impl LeavingSessions {
    /// Takes a session; returns what storage is to be told if nothing is waited for.
    pub(crate) fn insert(&mut self, token: ConnectionToken, leaving: Leaving) -> Option<ToLink> {
        if leaving.epoch.is_none() {
            self.unattached += 1;
        }
        self.sessions.insert(token, leaving);
        self.detach_if_done(token)
    }

    /// A publication has its outcome.
    pub(crate) fn answered(&mut self, token: ConnectionToken) -> Option<ToLink> {
        let leaving = self.sessions.get_mut(&token)?;
        leaving.unanswered = leaving.unanswered.saturating_sub(1);
        self.detach_if_done(token)
    }

    /// Storage has answered the attach.
    pub(crate) fn attached(&mut self, token: ConnectionToken, epoch: SessionEpoch) -> Option<ToLink> {
        let leaving = self.sessions.get_mut(&token)?;
        if leaving.epoch.replace(epoch).is_none() {
            self.unattached = self.unattached.saturating_sub(1);
        }
        self.detach_if_done(token)
    }

    /// Storage has refused the attach: there is no session to detach.
    pub(crate) fn refused(&mut self, token: ConnectionToken) {
        if self
            .sessions
            .remove(&token)
            .is_some_and(|leaving| leaving.epoch.is_none())
        {
            self.unattached = self.unattached.saturating_sub(1);
        }
    }

    fn detach_if_done(&mut self, token: ConnectionToken) -> Option<ToLink> {
        let epoch = self.sessions.get(&token).filter(|l| l.unanswered == 0)?.epoch?;
        let Leaving {
            client_id,
            will,
            expiry_s,
            reason,
            session_expiry_interval_s,
            ..
        } = self.sessions.remove(&token)?;
        // Any other will is dropped, or its client is on its way to another proxy. And storage that died may have sent the will
        // already: only with QoS 1 may it come twice, with others it is rather lost.
        let may_come_twice = |will: &Will| will.message.qos == QoS::AtLeastOnce;
        let is_due = reason == DetachReason::WillDue;
        let left = will.filter(|will| is_due && may_come_twice(will)).map(|will| {
            Box::new(RegisteredSession {
                client_id: client_id.clone(),
                epoch,
                will: Some(*will),
                session_expiry_interval_s: expiry_s,
                session: None,
            })
        });
        Some(ToLink::DetachSession {
            client_id,
            epoch,
            reason,
            session_expiry_interval_s,
            left,
        })
    }

    /// Sessions whose attach is unanswered.
    pub(crate) fn unattached(&self) -> u64 {
        self.unattached
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Leaving> {
        self.sessions.values()
    }
}
