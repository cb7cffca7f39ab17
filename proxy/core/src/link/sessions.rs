//! Session requests that storage has not answered, and ends of sessions that it may not have heard.
//!
//! An attach is asked again after a broken stream until it is answered. The end of a session has no answer of its
//! own: operations are taken in order, so the next renewed lease proves that storage has heard it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use freshet_storage_contract::{AttachSession, DetachReason, Operation, RequestId, SessionEpoch};

/// The link's session requests.
#[derive(Debug, Default)]
pub(super) struct SessionRequests {
    attaching: BTreeMap<RequestId, AttachSession>,
    ended: VecDeque<Ended>,
    /// Of `ended`, how many were sent before each lease renewal that is under way; oldest first.
    before_renewals: VecDeque<usize>,
}

#[derive(Debug)]
struct Ended {
    client_id: Bytes,
    epoch: SessionEpoch,
    reason: DetachReason,
}

impl SessionRequests {
    pub(super) fn attach(&mut self, request: AttachSession) -> Operation {
        self.attaching.insert(request.request, request.clone());
        Operation::AttachSession(request)
    }

    /// Storage has answered an attach. False: it was answered before.
    pub(super) fn attached(&mut self, request: RequestId) -> bool {
        self.attaching.remove(&request).is_some()
    }

    pub(super) fn end(&mut self, client_id: Bytes, epoch: SessionEpoch, reason: DetachReason) -> Operation {
        self.ended.push_back(Ended {
            client_id: client_id.clone(),
            epoch,
            reason,
        });
        Operation::DetachSession {
            client_id,
            epoch,
            reason,
        }
    }

    /// A renewal is sent behind everything that was sent before.
    pub(super) fn renewal_sent(&mut self) {
        let since_last: usize = self.before_renewals.iter().sum();
        self.before_renewals.push_back(self.ended.len() - since_last);
    }

    /// A renewal was answered: what was sent before it has been heard.
    pub(super) fn renewal_answered(&mut self) {
        if let Some(heard) = self.before_renewals.pop_front() {
            self.ended.drain(..heard.min(self.ended.len()));
        }
    }

    /// Everything that the new stream has to carry again.
    pub(super) fn resume(&mut self) -> Vec<Operation> {
        self.before_renewals.clear();
        let ended = self.ended.iter().map(|e| Operation::DetachSession {
            client_id: e.client_id.clone(),
            epoch: e.epoch,
            reason: e.reason,
        });
        let attaching = self.attaching.values().cloned().map(Operation::AttachSession);
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

    #[test]
    fn what_a_broken_stream_may_have_lost_is_sent_again() {
        let mut requests = SessionRequests::default();
        end(&mut requests, "a");
        requests.renewal_sent();
        let again = requests.resume();
        assert!(matches!(&again[..], [Operation::DetachSession { .. }]));
        requests.renewal_answered();
        assert_eq!(
            requests.unanswered(),
            1,
            "the answer to a renewal of the old stream proves nothing"
        );
    }
}
