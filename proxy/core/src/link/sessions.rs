//! Session requests that storage has not answered, and ends of sessions that it may not have heard.
//!
//! An attach is asked again after a broken stream until it is answered. Storage may then answer twice: to the asking
//! that it still had, and to the new one. The end of a session has no answer of its own: operations are taken in
//! order, so the next renewed lease proves that storage has heard it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use freshet_storage_contract::{AttachSession, DetachReason, Operation, RequestId, SessionEpoch};

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

#[derive(Debug)]
struct Ended {
    client_id: Bytes,
    epoch: SessionEpoch,
    reason: DetachReason,
    session_expiry_interval_s: Option<u32>,
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

    pub(super) fn end(
        &mut self,
        client_id: Bytes,
        epoch: SessionEpoch,
        reason: DetachReason,
        session_expiry_interval_s: Option<u32>,
    ) -> Operation {
        self.ended.push_back(Ended {
            client_id: client_id.clone(),
            epoch,
            reason,
            session_expiry_interval_s,
        });
        Operation::DetachSession {
            client_id,
            epoch,
            reason,
            session_expiry_interval_s,
        }
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

    /// Everything that the new stream has to carry again, but attaches of clients that have to wait.
    pub(super) fn resume(&mut self, has_to_wait: impl Fn(&[u8]) -> bool) -> Vec<Operation> {
        self.before_renewals.clear();
        self.repeatable.clear();
        let ended = self.ended.iter().map(|e| Operation::DetachSession {
            client_id: e.client_id.clone(),
            epoch: e.epoch,
            reason: e.reason,
            session_expiry_interval_s: e.session_expiry_interval_s,
        });
        let attaching = self.attaching.values_mut().filter_map(|attaching| {
            attaching.was_asked_before = true;
            let attach = &attaching.attach;
            (!has_to_wait(&attach.client_id)).then(|| Operation::AttachSession(attach.clone()))
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

    fn end(requests: &mut SessionRequests, id: &'static str) {
        requests.end(
            Bytes::from_static(id.as_bytes()),
            SessionEpoch::default(),
            DetachReason::WillDue,
            None,
        );
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
        assert_eq!(requests.resume(|_| false).len(), 1);
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
        assert_eq!(requests.resume(|client_id| client_id == b"c"), []);
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
        let again = requests.resume(|_| false);
        assert!(matches!(&again[..], [Operation::DetachSession { .. }]));
        requests.renewal_answered();
        assert_eq!(
            requests.unanswered(),
            1,
            "the answer to a renewal of the old stream proves nothing"
        );
    }
}
