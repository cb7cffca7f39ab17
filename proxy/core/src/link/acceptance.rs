//! Which deliveries of one shard the workers have taken over, and how many bytes of credit that frees.
//!
//! A delivery is acknowledged to storage when every worker that was handed a copy has put it into its clients' queues.
//! Acknowledgements are cumulative, so an early one waits for those before it.

use std::collections::VecDeque;

use freshet_storage_contract::{DeliverySeq, Term};

use super::workers::WorkerSet;
use crate::exchange::WorkerId;

/// Deliveries of one shard within one term.
#[derive(Debug, Default)]
pub(super) struct Acceptance {
    term: Term,
    received: DeliverySeq,
    /// Of the last term before this one in which something was received.
    before: (Term, DeliverySeq),
    /// Deliveries that some worker still has to take, or that wait behind such a one; oldest first.
    waiting: VecDeque<Waiting>,
    accepted: DeliverySeq,
    reported: DeliverySeq,
    freed_bytes: u64,
}

#[derive(Debug)]
struct Waiting {
    seq: DeliverySeq,
    workers: WorkerSet,
    bytes: u64,
}

/// What the number of a delivery says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The next one.
    New,
    /// Received before the stream broke, or of a term that has passed.
    Seen,
    /// One or more are missing.
    Gap,
}

impl Acceptance {
    pub(super) fn term(&self) -> Term {
        self.term
    }

    pub(super) fn received(&self) -> DeliverySeq {
        self.received
    }

    /// What storage is told on attaching: an earlier term, as long as this one has confirmed nothing. A leader that
    /// does not know the proxy sees by it that filters were confirmed once.
    pub(super) fn resume(&self) -> (Term, DeliverySeq) {
        if self.received == DeliverySeq(0) {
            self.before
        } else {
            (self.term, self.received)
        }
    }

    /// A new life of the proxy: deliveries are numbered anew.
    pub(super) fn forget_terms(&mut self) {
        self.start_term(Term(0));
        self.before = (Term(0), DeliverySeq(0));
    }

    /// A new leader: its numbers start at 1, and what the old one sent is nobody's concern any more.
    pub(super) fn start_term(&mut self, term: Term) {
        *self = Self {
            before: self.resume(),
            term,
            freed_bytes: self.freed_bytes,
            ..Self::default()
        };
    }

    /// Takes note of an arrival.
    pub(super) fn arrive(&mut self, term: Term, seq: DeliverySeq) -> Arrival {
        if term < self.term || (term == self.term && seq <= self.received) {
            Arrival::Seen
        } else if term == self.term && seq.0 == self.received.0 + 1 {
            self.received = seq;
            Arrival::New
        } else {
            Arrival::Gap
        }
    }

    /// The delivery that has just arrived went to `workers` (perhaps none) and is charged with `bytes`.
    pub(super) fn handed_over(&mut self, workers: WorkerSet, bytes: u64) {
        self.waiting.push_back(Waiting {
            seq: self.received,
            workers,
            bytes,
        });
        if workers.is_empty() {
            self.advance();
        }
    }

    /// `worker` has taken all that it was given up to `seq`.
    pub(super) fn accept(&mut self, worker: WorkerId, term: Term, seq: DeliverySeq) {
        if term != self.term {
            return;
        }
        for waiting in self.waiting.iter_mut().take_while(|w| w.seq <= seq) {
            waiting.workers.remove(worker);
        }
        self.advance();
    }

    /// The acknowledgement to send, if there is news.
    pub(super) fn take_acknowledgement(&mut self) -> Option<DeliverySeq> {
        (self.accepted > self.reported).then(|| {
            self.reported = self.accepted;
            self.accepted
        })
    }

    /// Bytes that storage may be given credit for.
    pub(super) fn take_freed_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.freed_bytes)
    }

    /// The stream was resumed: acknowledgements may have been lost with the old one.
    pub(super) fn report_again(&mut self) {
        self.reported = DeliverySeq(0);
    }

    fn advance(&mut self) {
        while let Some(done) = self.waiting.pop_front_if(|w| w.workers.is_empty()) {
            self.accepted = done.seq;
            self.freed_bytes += done.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> WorkerSet {
        let mut set = WorkerSet::default();
        set.insert(WorkerId(0));
        set.insert(WorkerId(1));
        set
    }

    fn term_1() -> Acceptance {
        let mut a = Acceptance::default();
        a.start_term(Term(1));
        a
    }

    #[test]
    fn a_delivery_is_acknowledged_when_all_its_workers_have_it() {
        let mut a = term_1();
        assert_eq!(a.arrive(Term(1), DeliverySeq(1)), Arrival::New);
        a.handed_over(both(), 10);
        a.accept(WorkerId(0), Term(1), DeliverySeq(1));
        assert_eq!(a.take_acknowledgement(), None);
        a.accept(WorkerId(1), Term(1), DeliverySeq(1));
        assert_eq!(a.take_acknowledgement(), Some(DeliverySeq(1)));
        assert_eq!(a.take_acknowledgement(), None);
        assert_eq!(a.take_freed_bytes(), 10);
    }

    #[test]
    fn one_that_nobody_waits_for_stays_behind_those_before_it() {
        let mut a = term_1();
        a.arrive(Term(1), DeliverySeq(1));
        a.handed_over(both(), 1);
        a.arrive(Term(1), DeliverySeq(2));
        a.handed_over(WorkerSet::default(), 0);
        assert_eq!(a.take_acknowledgement(), None);
        a.accept(WorkerId(0), Term(1), DeliverySeq(1));
        a.accept(WorkerId(1), Term(1), DeliverySeq(1));
        assert_eq!(a.take_acknowledgement(), Some(DeliverySeq(2)));
    }

    #[test]
    fn repeats_are_seen_and_gaps_noticed() {
        let mut a = term_1();
        a.arrive(Term(1), DeliverySeq(1));
        assert_eq!(a.arrive(Term(1), DeliverySeq(1)), Arrival::Seen);
        assert_eq!(a.arrive(Term(1), DeliverySeq(3)), Arrival::Gap);
        assert_eq!(a.arrive(Term(0), DeliverySeq(9)), Arrival::Seen);
        assert_eq!(
            a.arrive(Term(2), DeliverySeq(1)),
            Arrival::Gap,
            "a term begins by attaching, not by a delivery"
        );
    }

    #[test]
    fn a_term_that_has_sent_nothing_does_not_hide_the_one_before() {
        let mut a = term_1();
        a.arrive(Term(1), DeliverySeq(1));
        a.start_term(Term(2));
        assert_eq!(a.resume(), (Term(1), DeliverySeq(1)));
        a.start_term(Term(3));
        assert_eq!(a.resume(), (Term(1), DeliverySeq(1)));
        a.arrive(Term(3), DeliverySeq(1));
        assert_eq!(a.resume(), (Term(3), DeliverySeq(1)));
        a.forget_terms();
        assert_eq!(a.resume(), (Term(0), DeliverySeq(0)));
    }

    #[test]
    fn what_a_worker_accepts_of_an_old_term_counts_for_nothing() {
        let mut a = term_1();
        a.arrive(Term(1), DeliverySeq(1));
        a.handed_over(both(), 1);
        a.start_term(Term(2));
        a.arrive(Term(2), DeliverySeq(1));
        a.handed_over(both(), 1);
        a.accept(WorkerId(0), Term(1), DeliverySeq(1));
        a.accept(WorkerId(1), Term(1), DeliverySeq(1));
        assert_eq!(a.take_acknowledgement(), None);
    }

    #[test]
    fn a_resumed_stream_hears_the_last_acknowledgement_again() {
        let mut a = term_1();
        a.arrive(Term(1), DeliverySeq(1));
        a.handed_over(WorkerSet::default(), 0);
        assert_eq!(a.take_acknowledgement(), Some(DeliverySeq(1)));
        a.report_again();
        assert_eq!(a.take_acknowledgement(), Some(DeliverySeq(1)));
    }
}
