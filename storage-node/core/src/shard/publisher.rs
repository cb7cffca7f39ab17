//! What a shard owes one proxy for its publications: outcomes in order, one each, also across broken links.
//!
//! A publication is *taken* when its number is the next one, *routed* when it is known how many proxies have to
//! acknowledge it, and *answered* when they have and all before it are answered. Outcomes are kept until the proxy has
//! confirmed them: it renews its lease only after the answer to the renewal before, and everything that was answered
//! before that one has then arrived.

use std::collections::VecDeque;

use freshet_storage_contract::{PublishOutcome, PublishSeq};

/// Publications per proxy and shard that are without outcome or whose outcome is not confirmed.
const MAX_UNDER_WAY: usize = 1 << 20;
/// An idle publisher gives back what it has beyond this many entries.
const IDLE_CAPACITY: usize = 1_024;

/// Publications of one proxy at one shard.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    /// Last number taken.
    taken: u64,
    /// Publications behind the last one answered.
    waiting: VecDeque<Waiting>,
    /// Outcomes of the last ones answered, newest last.
    answered: VecDeque<PublishOutcome>,
    /// Last number whose outcome had been answered when the last renewal was.
    answered_at_renewal: u64,
    /// Set while the shard has it on its list of publishers with news.
    pub(crate) has_news: bool,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// None: not routed yet.
    outcome: Option<PublishOutcome>,
    /// Proxies whose acknowledgement is outstanding.
    proxies: u32,
}

/// What a number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    /// The next one: it is taken.
    Next,
    /// It came before and has no outcome yet.
    Waiting,
    /// It came before; this was its outcome.
    Answered(PublishOutcome),
    /// It came before, and the proxy has confirmed its outcome.
    Confirmed,
    /// Numbers before it are missing.
    Gap,
    /// The proxy has too much under way.
    TooMany,
}

impl Publisher {
    /// Last number taken.
    pub(crate) fn taken(&self) -> PublishSeq {
        PublishSeq(self.taken)
    }

    /// Publications without outcome.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn last_answered(&self) -> u64 {
        self.taken - self.waiting.len() as u64
    }

    /// Takes the next publication, or says what this number is.
    pub(crate) fn take(&mut self, seq: PublishSeq) -> Number {
        if seq.0 > self.taken {
            return if self.taken.checked_add(1) != Some(seq.0) {
                Number::Gap
            } else if self.waiting.len() + self.answered.len() >= MAX_UNDER_WAY {
                Number::TooMany
            } else {
                self.taken = seq.0;
                self.waiting.push_back(Waiting {
                    outcome: None,
                    proxies: 0,
                });
                Number::Next
            };
        }
        let Some(back) = self.last_answered().checked_sub(seq.0) else {
            return Number::Waiting;
        };
        let known = usize::try_from(back)
            .ok()
            .and_then(|back| self.answered.len().checked_sub(back + 1));
        known
            .and_then(|at| self.answered.get(at))
            .map_or(Number::Confirmed, |outcome| Number::Answered(*outcome))
    }

    /// Gives the last number back: the publication could not be kept.
    pub(crate) fn give_back(&mut self) {
        if self.waiting.back().is_some_and(|w| w.outcome.is_none()) {
            self.waiting.pop_back();
            self.taken -= 1;
        }
    }

    /// The publication was routed; `proxies` have to acknowledge it. True: something can be answered.
    pub(crate) fn routed(&mut self, seq: PublishSeq, proxies: u32, outcome: PublishOutcome) -> bool {
        if let Some(waiting) = self.find(seq) {
            *waiting = Waiting {
                outcome: Some(outcome),
                proxies,
            };
        }
        self.can_answer()
    }

    /// A proxy has acknowledged the publication, or is not waited for. True: something can be answered.
    pub(crate) fn released(&mut self, seq: PublishSeq) -> bool {
        if let Some(waiting) = self.find(seq) {
            waiting.proxies = waiting.proxies.saturating_sub(1);
        }
        self.can_answer()
    }

    fn find(&mut self, seq: PublishSeq) -> Option<&mut Waiting> {
        let at = seq.0.checked_sub(self.last_answered() + 1)?;
        self.waiting.get_mut(usize::try_from(at).ok()?)
    }

    fn can_answer(&self) -> bool {
        self.waiting
            .front()
            .is_some_and(|w| w.proxies == 0 && w.outcome.is_some())
    }

    /// Takes the next outcome that can be answered.
    pub(crate) fn next_outcome(&mut self) -> Option<(PublishSeq, PublishOutcome)> {
        let outcome = self.waiting.front().filter(|w| w.proxies == 0)?.outcome?;
        let seq = PublishSeq(self.last_answered() + 1);
        self.waiting.pop_front();
        self.answered.push_back(outcome);
        if self.waiting.is_empty() && self.waiting.capacity() > IDLE_CAPACITY {
            self.waiting.shrink_to(IDLE_CAPACITY);
        }
        Some((seq, outcome))
    }

    /// The proxy renews its lease on the link that heard the answer to the renewal before.
    pub(crate) fn renewed(&mut self) {
        let last = self.last_answered();
        let keep = usize::try_from(last.saturating_sub(self.answered_at_renewal)).unwrap_or(usize::MAX);
        let confirmed = self.answered.len().saturating_sub(keep);
        self.answered.drain(..confirmed);
        if self.answered.is_empty() && self.answered.capacity() > IDLE_CAPACITY {
            self.answered.shrink_to(IDLE_CAPACITY);
        }
        self.answered_at_renewal = last;
    }

    /// A new link: answers to renewals of the old one prove nothing.
    pub(crate) fn linked(&mut self) {
        self.answered_at_renewal = self.last_answered() - self.answered.len() as u64;
    }

    /// Outcomes that the proxy may not have heard, in order.
    pub(crate) fn unconfirmed(&self) -> impl Iterator<Item = (PublishSeq, PublishOutcome)> {
        let before = self.last_answered() - self.answered.len() as u64;
        (before + 1..).map(PublishSeq).zip(self.answered.iter().copied())
    }

    /// Numbers whose outcome is kept for a proxy that asks again.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> std::ops::RangeInclusive<u64> {
        self.last_answered() + 1 - self.answered.len() as u64..=self.last_answered()
    }
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use PublishOutcome::{Delivered, NoMatchingSubscribers};

    use super::*;

    fn take(p: &mut Publisher, seqs: RangeInclusive<u64>) {
        for seq in seqs {
            assert_eq!(p.take(PublishSeq(seq)), Number::Next);
        }
    }

    fn answers(p: &mut Publisher) -> Vec<u64> {
        std::iter::from_fn(|| p.next_outcome()).map(|(seq, _)| seq.0).collect()
    }

    #[test]
    fn outcomes_leave_in_order_whatever_comes_first() {
        let mut p = Publisher::default();
        take(&mut p, 1..=3);
        assert!(!p.routed(PublishSeq(1), 2, Delivered));
        assert!(!p.routed(PublishSeq(2), 0, Delivered));
        assert!(!p.released(PublishSeq(1)));
        assert_eq!(answers(&mut p), []);
        assert!(p.released(PublishSeq(1)));
        assert_eq!(answers(&mut p), [1, 2]);
        assert!(p.routed(PublishSeq(3), 0, NoMatchingSubscribers));
        assert_eq!(answers(&mut p), [3]);
    }

    #[test]
    fn what_was_taken_is_recognised_and_its_outcome_known() {
        let mut p = Publisher::default();
        take(&mut p, 1..=2);
        p.routed(PublishSeq(1), 0, NoMatchingSubscribers);
        answers(&mut p);
        assert_eq!(p.take(PublishSeq(1)), Number::Answered(NoMatchingSubscribers));
        assert_eq!(p.take(PublishSeq(2)), Number::Waiting);
        assert_eq!(p.take(PublishSeq(4)), Number::Gap);
        assert_eq!(p.take(PublishSeq(u64::MAX)), Number::Gap);
        assert_eq!(p.taken(), PublishSeq(2));
    }

    #[test]
    fn an_outcome_is_forgotten_when_two_renewals_have_followed_it() {
        let mut p = Publisher::default();
        take(&mut p, 1..=4);
        for seq in 1..=2 {
            p.routed(PublishSeq(seq), 0, Delivered);
        }
        answers(&mut p);
        p.renewed();
        assert_eq!(p.kept(), 1..=2);
        p.routed(PublishSeq(3), 0, Delivered);
        answers(&mut p);
        p.renewed();
        assert_eq!(p.kept(), 3..=3);
        assert_eq!(p.take(PublishSeq(2)), Number::Confirmed);
    }

    #[test]
    fn renewals_of_an_earlier_link_confirm_nothing() {
        let mut p = Publisher::default();
        take(&mut p, 1..=1);
        p.routed(PublishSeq(1), 0, Delivered);
        answers(&mut p);
        p.renewed();
        p.linked();
        p.renewed();
        assert_eq!(p.kept(), 1..=1);
        p.renewed();
        assert_eq!(p.take(PublishSeq(1)), Number::Confirmed);
    }

    #[test]
    fn a_publication_that_cannot_be_kept_gives_its_number_back() {
        let mut p = Publisher::default();
        take(&mut p, 1..=1);
        p.give_back();
        assert_eq!(p.taken(), PublishSeq(0));
        take(&mut p, 1..=1);
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let mut p = Publisher::default();
        take(&mut p, 1..=MAX_UNDER_WAY as u64);
        assert_eq!(p.take(PublishSeq(MAX_UNDER_WAY as u64 + 1)), Number::TooMany);
    }
    #[test]
    fn a_busy_publisher_gives_its_memory_back_when_it_is_idle() {
        let mut p = Publisher::default();
        let last = 20 * IDLE_CAPACITY as u64;
        take(&mut p, 1..=last);
        for seq in 1..=last {
            p.routed(PublishSeq(seq), 0, Delivered);
        }
        answers(&mut p);
        assert!(p.waiting.capacity() <= 2 * IDLE_CAPACITY, "{}", p.waiting.capacity());
        p.renewed();
        p.renewed();
        assert!(p.answered.capacity() <= 2 * IDLE_CAPACITY, "{}", p.answered.capacity());
    }
}
