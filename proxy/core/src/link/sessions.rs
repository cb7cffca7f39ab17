//! Session requests that storage has not answered, and ends of sessions that it may not have heard.
//!
//! An attach is asked again after a broken stream until it is answered. Storage may then answer twice: to the asking
//! that it still had, and to the new one. The end of a session has no answer of its own: operations are taken in
//! order, so the next renewed lease proves that storage has heard it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use freshet_storage_contract::{
    AttachSession, DetachReason, Operation, RegisteredSession, RequestId, SessionEpoch, ShardId,
};

/// The link's session requests.
#[derive(Debug, Default)]
pub(super) struct SessionRequests {
    attaching: BTreeMap<RequestId, Attaching>,
    /// Answered on this stream, and asked on an earlier one too: until a renewal proves that no second answer comes.
    repeatable: BTreeMap<RequestId, Answered>,
    ended: VecDeque<Ended>,
    /// Of `ended`, how many were sent before each lease renewal that is under way; oldest first.
    before_renewals: VecDeque<usize>,
}

#[derive(Debug)]
struct Attaching {
    attach: AttachSession,
    was_asked_before: bool,
}

#[derive(Debug)]
struct Answered {
    client_id: Bytes,
    /// None: refused.
    epoch: Option<SessionEpoch>,
}

/// What a granted session means to the link.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Granted {
    /// The worker waits for it.
    Awaited,
    /// The worker has it already, or nothing is known of the request.
    Repeated,
    /// The worker was given another answer: storage keeps this one for nobody.
    Unused {
        client_id: Bytes,
        /// What the worker was given instead; none: it was refused.
        held: Option<SessionEpoch>,
    },
}

/// A session whose connection has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) client_id: Bytes,
    pub(super) epoch: SessionEpoch,
    pub(super) reason: DetachReason,
    /// Session Expiry Interval of DISCONNECT, in seconds.
    pub(super) session_expiry_interval_s: Option<u32>,
    /// With its will, if that is due.
    pub(super) left: Option<Box<RegisteredSession>>,
    /// The leader may not know that there was a connection, and that it had a will.
    pub(super) is_unheard_of: bool,
}

impl Ended {
    /// What storage is told.
    fn operations(&self, shard: ShardId) -> impl Iterator<Item = Operation> + use<> {
        let left = self.left.as_deref().filter(|_| self.is_unheard_of);
        let register = left.map(|left| Operation::RegisterSessions {
            shard,
            sessions: vec![left.clone()],
        });
        let detach = Operation::DetachSession {
            client_id: self.client_id.clone(),
            epoch: self.epoch,
            reason: self.reason,
            session_expiry_interval_s: self.session_expiry_interval_s,
        };
        register.into_iter().chain([detach])
    }
}

impl SessionRequests {
    pub(super) fn attach(&mut self, request: AttachSession) -> Operation {
        let attaching = Attaching {
            attach: request.clone(),
            was_asked_before: false,
        };
        self.attaching.insert(request.request, attaching);
        Operation::AttachSession(request)
    }

    /// Storage has granted an attach.
    pub(super) fn granted(&mut self, request: RequestId, epoch: SessionEpoch) -> Granted {
        if self.answered(request, Some(epoch)) {
            return Granted::Awaited;
        }
        match self.repeatable.get(&request) {
            Some(answered) if answered.epoch != Some(epoch) => Granted::Unused {
                client_id: answered.client_id.clone(),
                held: answered.epoch,
            },
            _ => Granted::Repeated,
        }
    }

    /// Storage has refused an attach. False: it was answered before.
    pub(super) fn refused(&mut self, request: RequestId) -> bool {
        self.answered(request, None)
    }

    fn answered(&mut self, request: RequestId, epoch: Option<SessionEpoch>) -> bool {
        let Some(attaching) = self.attaching.remove(&request) else {
            return false;
        };
        if attaching.was_asked_before {
            let client_id = attaching.attach.client_id;
            self.repeatable.insert(request, Answered { client_id, epoch });
        }
        true
    }

    /// The connection of a session at this shard has ended; returns what storage is told.
    pub(super) fn end(&mut self, ended: Ended, shard: ShardId) -> impl Iterator<Item = Operation> + use<> {
        let operations = ended.operations(shard);
        self.ended.push_back(ended);
        operations
    }

    /// A renewal is sent behind everything that was sent before.
    pub(super) fn renewal_sent(&mut self) {
        let since_last: usize = self.before_renewals.iter().sum();
        self.before_renewals.push_back(self.ended.len() - since_last);
    }

    /// A renewal was answered: what was sent before it has been heard.
    pub(super) fn renewal_answered(&mut self) {
        self.repeatable.clear();
        if let Some(heard) = self.before_renewals.pop_front() {
            self.ended.drain(..heard.min(self.ended.len()));
        }
    }

    /// Attaches of these clients that have no answer.
    pub(super) fn attaching(&self, is_one: impl Fn(&[u8]) -> bool) -> Vec<Operation> {
        let attaching = self.attaching.values().map(|attaching| &attaching.attach);
        attaching
            .filter(|attach| is_one(&attach.client_id))
            .map(|attach| Operation::AttachSession(attach.clone()))
            .collect()
    }

    /// Everything that the new stream has to carry again, but attaches of clients that have to wait. A leader that
    /// `is_new` to a shard is told of connections that have ended, and of their wills, as if they had not.
    pub(super) fn resume(
        &mut self,
        shard_of: impl Fn(&[u8]) -> ShardId,
        is_new: impl Fn(ShardId) -> bool,
        has_to_wait: impl Fn(ShardId) -> bool,
    ) -> Vec<Operation> {
        self.before_renewals.clear();
        self.repeatable.clear();
        let ended = self.ended.iter_mut().flat_map(|ended| {
            let shard = shard_of(&ended.client_id);
            ended.is_unheard_of |= is_new(shard);
            ended.operations(shard)
        });
        let attaching = self.attaching.values_mut().filter_map(|attaching| {
            attaching.was_asked_before = true;
            let attach = &attaching.attach;
            (!has_to_wait(shard_of(&attach.client_id))).then(|| Operation::AttachSession(attach.clone()))
        });
        ended.chain(attaching).collect()
    }

    pub(super) fn unanswered(&self) -> usize {
        self.attaching.len() + self.ended.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(0);

    fn end(requests: &mut SessionRequests, id: &'static str) {
        let ended = Ended {
            client_id: Bytes::from_static(id.as_bytes()),
            epoch: SessionEpoch::default(),
            reason: DetachReason::WillDue,
            session_expiry_interval_s: None,
            left: None,
            is_unheard_of: false,
        };
        drop(requests.end(ended, SHARD));
    }

    fn resume(requests: &mut SessionRequests, has_to_wait: bool) -> Vec<Operation> {
        requests.resume(|_| SHARD, |_| false, |_| has_to_wait)
    }

    #[test]
    fn an_end_is_forgotten_when_a_later_renewal_is_answered() {
        let mut requests = SessionRequests::default();
        end(&mut requests, "a");
        requests.renewal_sent();
        end(&mut requests, "b");
        requests.renewal_sent();
        requests.renewal_answered();
        assert_eq!(requests.unanswered(), 1);
        requests.renewal_answered();
        assert_eq!(requests.unanswered(), 0);
    }

    const R: RequestId = RequestId(1);

    fn epoch(counter: u64) -> SessionEpoch {
        SessionEpoch {
            counter,
            ..SessionEpoch::default()
        }
    }

    fn asked_again() -> SessionRequests {
        let mut requests = SessionRequests::default();
        requests.attach(AttachSession {
            request: R,
            client_id: Bytes::from_static(b"c"),
            clean_start: true,
            session_expiry_interval_s: 0,
            will: None,
        });
        assert_eq!(resume(&mut requests, false).len(), 1);
        requests
    }

    #[test]
    fn the_same_answer_to_both_askings_is_one_session() {
        let mut requests = asked_again();
        assert_eq!(requests.granted(R, epoch(1)), Granted::Awaited);
        assert_eq!(requests.granted(R, epoch(1)), Granted::Repeated);
    }

    #[test]
    fn a_second_grant_is_a_session_that_nobody_uses() {
        let client_id = Bytes::from_static(b"c");
        let mut requests = asked_again();
        requests.granted(R, epoch(1));
        let held = Some(epoch(1));
        let unused = Granted::Unused { client_id, held };
        assert_eq!(requests.granted(R, epoch(2)), unused);
        requests.renewal_sent();
        requests.renewal_answered();
        assert_eq!(
            requests.granted(R, epoch(2)),
            Granted::Repeated,
            "nothing is kept for ever"
        );
    }

    #[test]
    fn a_grant_behind_a_refusal_is_a_session_that_nobody_uses() {
        let mut requests = asked_again();
        assert!(requests.refused(R));
        let (client_id, held) = (Bytes::from_static(b"c"), None);
        assert_eq!(requests.granted(R, epoch(1)), Granted::Unused { client_id, held });
    }

    #[test]
    fn an_attach_that_has_to_wait_is_asked_later() {
        let mut requests = asked_again();
        assert_eq!(resume(&mut requests, true), []);
        assert_eq!(requests.attaching(|client_id| client_id == b"d"), []);
        let asked = requests.attaching(|client_id| client_id == b"c");
        assert!(matches!(&asked[..], [Operation::AttachSession { .. }]));
        assert_eq!(requests.granted(R, epoch(1)), Granted::Awaited);
    }

    #[test]
    fn what_a_broken_stream_may_have_lost_is_sent_again() {
        let mut requests = SessionRequests::default();
        end(&mut requests, "a");
        requests.renewal_sent();
        let again = resume(&mut requests, false);
        assert!(matches!(&again[..], [Operation::DetachSession { .. }]));
        requests.renewal_answered();
        assert_eq!(
            requests.unanswered(),
            1,
            "the answer to a renewal of the old stream proves nothing"
        );
    }
}
