//! What the proxy has sent to one shard and not yet been answered for.
//!
//! Numbers publications without gaps, hands them out in batches, keeps each until its outcome is known so that a
//! broken stream can be resumed, and gives outcomes back to their workers. Those of QoS 1 and 2 have another number that
//! stays when a new leader counts from the beginning. Its size is bounded by the workers, which stop reading when too much is
//! outstanding. Leaves out routing: one value per shard.

use std::collections::VecDeque;
use std::sync::Arc;

use freshet_storage_contract::{
    IncarnationId, LastingNumbers, Message, PublishBatch, PublishOutcome, PublishSeq, QoS, ShardId,
};

use super::Violation;
use crate::exchange::{PublishTicket, WorkerId};

/// Messages of a batch that are made room for at once.
const MESSAGES_EXPECTED: usize = 64;

/// Publications of one shard, oldest first.
#[derive(Debug)]
pub(super) struct Publications {
    shard: ShardId,
    /// Whose lasting numbers these are.
    origin: IncarnationId,
    /// The lasting number that the next one of QoS 1 or 2 gets.
    next_lasting: u64,
    /// Number of the oldest one in the window.
    first: u64,
    window: VecDeque<Outstanding>,
    /// How many of the window the present stream has been given.
    sent: usize,
    /// How many of the window storage may know from this stream or an earlier one.
    given: usize,
}

#[derive(Debug)]
struct Outstanding {
    worker: WorkerId,
    ticket: PublishTicket,
    /// Its own; at QoS 0 that of the next one that has one.
    lasting: u64,
    message: Arc<Message>,
}

/// An outcome on its way to the worker that waits for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) worker: WorkerId,
    pub(super) ticket: PublishTicket,
    pub(super) outcome: PublishOutcome,
}

impl Publications {
    /// `origin`: the first incarnation of the process.
    pub(super) fn new(shard: ShardId, origin: IncarnationId) -> Self {
        Self {
            shard,
            origin,
            next_lasting: 1,
            first: 1,
            window: VecDeque::new(),
            sent: 0,
            given: 0,
        }
    }

    pub(super) fn push(&mut self, worker: WorkerId, ticket: PublishTicket, message: Arc<Message>) {
        let lasting = self.next_lasting;
        self.next_lasting += u64::from(message.qos != QoS::AtMostOnce);
        self.window.push_back(Outstanding {
            worker,
            ticket,
            lasting,
            message,
        });
    }

    pub(super) fn outstanding(&self) -> usize {
        self.window.len()
    }

    /// Whether the present stream was not given all of them. Asked for every shard in every turn.
    #[inline]
    pub(super) fn has_unsent(&self) -> bool {
        self.sent < self.window.len()
    }

    /// Takes the next publications that the present stream was not given, at most about `max_bytes` of them and at
    /// least one.
    pub(super) fn next_batch(&mut self, max_bytes: usize) -> Option<PublishBatch> {
        let first = PublishSeq(self.first + self.sent as u64);
        let mut bytes = 0;
        let mut messages = Vec::with_capacity((self.window.len() - self.sent).min(MESSAGES_EXPECTED));
        for waiting in self.window.iter().skip(self.sent) {
            let size = waiting.message.charged_bytes();
            if !messages.is_empty() && bytes + size > max_bytes {
                break;
            }
            bytes += size;
            messages.push(Arc::clone(&waiting.message));
        }
        if messages.is_empty() {
            return None;
        }
        let lasting = messages
            .iter()
            .any(|message| message.qos != QoS::AtMostOnce)
            .then(|| LastingNumbers {
                origin: self.origin,
                first: self.lasting_at(self.sent),
                oldest: self.lasting_at(0),
            });
        self.sent += messages.len();
        self.given = self.given.max(self.sent);
        Some(PublishBatch {
            shard: self.shard,
            first,
            messages,
            lasting,
        })
    }

    /// The lasting number of the first publication of QoS 1 or 2 from this place of the window on.
    fn lasting_at(&self, index: usize) -> u64 {
        self.window
            .get(index)
            .map_or(self.next_lasting, |waiting| waiting.lasting)
    }

    /// Takes outcomes from `first` on. Those that were answered before are passed over.
    ///
    /// # Errors
    /// [`Violation::OutcomeGap`] when an answer skips a publication or answers one that was not sent.
    pub(super) fn answered(
        &mut self,
        first: PublishSeq,
        outcomes: &[PublishOutcome],
        mut deliver: impl FnMut(Answered),
    ) -> Result<(), Violation> {
        if first.0 > self.first {
            return Err(Violation::OutcomeGap {
                shard: self.shard,
                expected: PublishSeq(self.first),
                found: first,
            });
        }
        let seen_before = usize::try_from(self.first - first.0).unwrap_or(usize::MAX);
        for outcome in outcomes.iter().skip(seen_before) {
            if self.given == 0 {
                let found = PublishSeq(self.first);
                return Err(Violation::OutcomeGap {
                    shard: self.shard,
                    expected: found,
                    found,
                });
            }
            let Some(done) = self.window.pop_front() else { break };
            self.given -= 1;
            // An answer may come before the resumed stream was given the publication again.
            self.sent = self.sent.saturating_sub(1);
            self.first += 1;
            deliver(Answered {
                worker: done.worker,
                ticket: done.ticket,
                outcome: *outcome,
            });
        }
        Ok(())
    }

    /// Everything unanswered is sent again on the next stream, under the same numbers: storage passes over what it
    /// has and answers it.
    pub(super) fn resume(&mut self) {
        self.sent = 0;
    }

    /// Storage has forgotten the proxy: numbers begin anew behind `taken_in`. QoS 0 that was already sent is not sent
    /// twice, so it is answered here.
    pub(super) fn start_over(&mut self, taken_in: PublishSeq, mut deliver: impl FnMut(Answered)) {
        let sent = std::mem::take(&mut self.given);
        self.sent = 0;
        let mut index = 0;
        self.window.retain(|waiting| {
            index += 1;
            let keep = index > sent || waiting.message.qos != QoS::AtMostOnce;
            if !keep {
                let outcome = PublishOutcome::Delivered;
                deliver(Answered {
                    worker: waiting.worker,
                    ticket: waiting.ticket,
                    outcome,
                });
            }
            keep
        });
        self.first = taken_in.0 + 1;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use freshet_storage_contract::PublisherId;

    use super::*;

    fn message(qos: QoS) -> Arc<Message> {
        Arc::new(Message {
            topic_name: Bytes::from_static(b"a"),
            payload: Bytes::new(),
            qos,
            retain: false,
            publisher: PublisherId(1),
            message_expiry_interval_s: None,
            forwarded_properties: Bytes::new(),
            exactly_once: None,
        })
    }

    fn with(qos: &[QoS]) -> Publications {
        let mut p = Publications::new(ShardId(0), IncarnationId(7));
        for (ticket, qos) in (1..).zip(qos) {
            p.push(WorkerId(0), PublishTicket(ticket), message(*qos));
        }
        p
    }

    fn tickets(answered: &[Answered]) -> Vec<u64> {
        answered.iter().map(|a| a.ticket.0).collect()
    }

    #[test]
    fn outcomes_come_back_in_order_and_only_once() {
        let mut p = with(&[QoS::AtLeastOnce; 3]);
        assert_eq!(p.next_batch(usize::MAX).unwrap().messages.len(), 3);
        assert_eq!(p.next_batch(usize::MAX), None);
        let mut got = Vec::new();
        p.answered(PublishSeq(1), &[PublishOutcome::Delivered; 2], |a| got.push(a))
            .unwrap();
        p.answered(PublishSeq(1), &[PublishOutcome::Delivered; 3], |a| got.push(a))
            .unwrap();
        assert_eq!(tickets(&got), [1, 2, 3]);
        assert_eq!(p.outstanding(), 0);
    }

    #[test]
    fn a_batch_keeps_to_its_bytes_but_is_never_empty() {
        let mut p = with(&[QoS::AtLeastOnce; 3]);
        let sizes: Vec<_> = std::iter::from_fn(|| p.next_batch(1))
            .map(|b| (b.first.0, b.messages.len()))
            .collect();
        assert_eq!(sizes, [(1, 1), (2, 1), (3, 1)]);
    }

    #[test]
    fn an_answer_that_skips_a_publication_is_refused() {
        let mut p = with(&[QoS::AtLeastOnce; 2]);
        p.next_batch(usize::MAX);
        let refused = p.answered(PublishSeq(2), &[PublishOutcome::Delivered], |_| {});
        assert!(matches!(refused, Err(Violation::OutcomeGap { .. })));
    }

    #[test]
    fn an_answer_to_what_was_never_sent_is_refused() {
        let mut p = with(&[QoS::AtLeastOnce]);
        let refused = p.answered(PublishSeq(1), &[PublishOutcome::Delivered], |_| {});
        assert!(matches!(refused, Err(Violation::OutcomeGap { .. })));
        assert_eq!(p.outstanding(), 1);
    }

    #[test]
    fn a_resumed_stream_gets_what_was_unanswered_under_the_same_numbers() {
        let mut p = with(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::AtLeastOnce]);
        p.next_batch(usize::MAX);
        p.answered(PublishSeq(1), &[PublishOutcome::Delivered], |_| {}).unwrap();
        p.resume();
        let mut early = Vec::new();
        p.answered(PublishSeq(2), &[PublishOutcome::Delivered], |a| early.push(a))
            .unwrap();
        assert_eq!(tickets(&early), [2], "storage may answer before it is asked again");
        let again = p.next_batch(usize::MAX).unwrap();
        assert_eq!((again.first, again.messages.len()), (PublishSeq(3), 1));
    }

    #[test]
    fn storage_without_memory_gets_new_numbers_and_no_second_qos_0() {
        let mut p = with(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
        p.next_batch(usize::MAX);
        p.push(WorkerId(0), PublishTicket(4), message(QoS::AtMostOnce));
        let mut got = Vec::new();
        p.start_over(PublishSeq(0), |a| got.push(a));
        assert_eq!(
            tickets(&got),
            [1],
            "QoS 0 that may have been delivered is not sent again"
        );
        let again = p.next_batch(usize::MAX).unwrap();
        assert_eq!((again.first, again.messages.len()), (PublishSeq(1), 3));
    }

    #[test]
    fn a_publication_keeps_its_lasting_number_when_all_others_begin_anew() {
        let (zero, one, two) = (QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce);
        let mut p = with(&[zero, two, one, zero, two]);
        let lasting = |first, oldest| {
            Some(LastingNumbers {
                origin: IncarnationId(7),
                first,
                oldest,
            })
        };
        assert_eq!(p.next_batch(usize::MAX).unwrap().lasting, lasting(1, 1));
        p.answered(PublishSeq(1), &[PublishOutcome::Delivered; 2], |_| {})
            .unwrap();
        p.start_over(PublishSeq(0), |_| {});
        let again = p.next_batch(usize::MAX).unwrap();
        assert_eq!((again.first, again.lasting), (PublishSeq(1), lasting(2, 2)));
        assert_eq!(again.messages.len(), 2, "QoS 0 does not come again");
        p.push(WorkerId(0), PublishTicket(9), message(zero));
        let unnumbered = p.next_batch(usize::MAX).unwrap();
        assert_eq!(unnumbered.lasting, None);
        p.push(WorkerId(0), PublishTicket(10), message(one));
        assert_eq!(p.next_batch(usize::MAX).unwrap().lasting, lasting(4, 2));
    }
}
