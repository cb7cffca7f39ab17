//! What a turn of the core brings out: per proxy one frame of answers and one of deliveries, and facts for the log.
//!
//! Filled by [`crate::StorageCore`], drained by the shell after each turn. Leaves out sending: a shell that cannot send
//! a frame ends the link, and what was in it is sent again when the proxy is back.

use freshet_storage_contract::{
    Answer, Delivery, DeliverySeq, IncarnationId, NumberedDelivery, PublishOutcome, PublishSeq, ShardId, Term,
};

use crate::facts::{LinkFault, StorageFact};

/// Outcomes in one [`Answer::Published`]; more make a second one.
const OUTCOMES_PER_ANSWER: usize = 16_384;
/// Outcomes of an answer that are made room for at once.
const OUTCOMES_EXPECTED: usize = 32;
/// Most deliveries of a frame that are made room for at once.
const DELIVERIES_EXPECTED: usize = 64;
/// How far back a turn looks for an answer that outcomes can be added to.
const ANSWERS_LOOKED_BACK: usize = 16;

/// Output of a turn. Reused from turn to turn.
#[derive(Debug, Default)]
pub struct Outputs {
    frames: Vec<ProxyOutput>,
    /// Index into `frames` plus one, by slot of the incarnation; 0: none.
    frame_of_slot: Vec<u32>,
    /// Deliveries of the largest frame of the last turn: the next one is likely to have as many.
    deliveries_expected: usize,
    facts: Vec<StorageFact>,
}

/// What goes to one proxy.
#[derive(Debug)]
pub struct ProxyOutput {
    /// The proxy.
    pub incarnation: IncarnationId,
    /// For the stream of operations, in order.
    pub answers: Vec<Answer>,
    /// For the stream of deliveries, in order.
    pub deliveries: Vec<NumberedDelivery>,
    /// The link is to be closed after these frames, saying why. The core passes over whatever still comes from it.
    pub close: Option<LinkFault>,
    slot: u32,
}

impl Outputs {
    /// Nothing to send.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is neither a frame nor a fact.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.facts.is_empty()
    }

    /// Takes the frames of this turn, one per proxy that gets something.
    pub fn drain_proxies(&mut self) -> impl Iterator<Item = ProxyOutput> + '_ {
        let largest = self.frames.iter().map(|frame| frame.deliveries.len()).max();
        self.deliveries_expected = largest.unwrap_or_default().min(DELIVERIES_EXPECTED);
        for frame in &self.frames {
            if let Some(index) = self.frame_of_slot.get_mut(frame.slot as usize) {
                *index = 0;
            }
        }
        self.frames.drain(..).filter(|f| !f.is_empty())
    }

    /// Takes the facts of this turn, in order.
    pub fn drain_facts(&mut self) -> impl Iterator<Item = StorageFact> + '_ {
        self.facts.drain(..)
    }

    pub(crate) fn fact(&mut self, fact: StorageFact) {
        self.facts.push(fact);
    }

    /// The frame of the proxy in `slot`.
    pub(crate) fn frame(&mut self, slot: u32, incarnation: IncarnationId) -> &mut ProxyOutput {
        let at = slot as usize;
        if self.frame_of_slot.len() <= at {
            self.frame_of_slot.resize(at + 1, 0);
        }
        let known = self.frame_of_slot[at] as usize;
        // A slot may have passed to another incarnation within the turn.
        let index = match known.checked_sub(1) {
            Some(index) if self.frames[index].incarnation == incarnation => index,
            _ => {
                let frame = ProxyOutput {
                    incarnation,
                    answers: Vec::new(),
                    deliveries: Vec::with_capacity(self.deliveries_expected),
                    close: None,
                    slot,
                };
                self.frames.push(frame);
                // Frames are as many as proxies: far below a u32.
                self.frame_of_slot[at] = u32::try_from(self.frames.len()).unwrap_or(u32::MAX);
                self.frames.len() - 1
            }
        };
        &mut self.frames[index]
    }

    /// Forgets what was meant for an earlier link of a proxy.
    pub(crate) fn discard(&mut self, incarnation: IncarnationId) {
        for frame in self.frames.iter_mut().filter(|f| f.incarnation == incarnation) {
            frame.answers.clear();
            frame.deliveries.clear();
            frame.close = None;
        }
    }
}

impl ProxyOutput {
    /// Whether there is nothing to send and nothing to close.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.deliveries.is_empty() && self.close.is_none()
    }

    pub(crate) fn deliver(&mut self, shard: ShardId, term: Term, seq: DeliverySeq, delivery: Delivery) {
        self.deliveries.push(NumberedDelivery {
            shard,
            term,
            seq,
            delivery,
        });
    }

    /// Adds an outcome to the answer of this turn that it continues, or begins one.
    pub(crate) fn outcome(&mut self, of_shard: ShardId, seq: PublishSeq, outcome: PublishOutcome) {
        for answer in self.answers.iter_mut().rev().take(ANSWERS_LOOKED_BACK) {
            if let Answer::Published { shard, first, outcomes } = answer
                && *shard == of_shard
            {
                if first.0 + outcomes.len() as u64 == seq.0 && outcomes.len() < OUTCOMES_PER_ANSWER {
                    outcomes.push(outcome);
                    return;
                }
                break;
            }
        }
        let mut outcomes = Vec::with_capacity(OUTCOMES_EXPECTED);
        outcomes.push(outcome);
        self.answers.push(Answer::Published {
            shard: of_shard,
            first: seq,
            outcomes,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: IncarnationId = IncarnationId(1);

    #[test]
    fn outcomes_of_a_shard_gather_in_one_answer() {
        let mut out = Outputs::new();
        for (shard, seq) in [(0, 1), (1, 1), (0, 2), (0, 3), (1, 2)] {
            out.frame(0, P)
                .outcome(ShardId(shard), PublishSeq(seq), PublishOutcome::Delivered);
        }
        let frames: Vec<_> = out.drain_proxies().collect();
        assert_eq!(frames.len(), 1);
        let sizes: Vec<_> = frames[0]
            .answers
            .iter()
            .map(|a| match a {
                Answer::Published { shard, outcomes, .. } => (shard.0, outcomes.len()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(sizes, [(0, 3), (1, 2)]);
    }

    #[test]
    fn an_outcome_that_does_not_follow_begins_an_answer_of_its_own() {
        let mut out = Outputs::new();
        out.frame(0, P)
            .outcome(ShardId(0), PublishSeq(5), PublishOutcome::Delivered);
        out.frame(0, P)
            .outcome(ShardId(0), PublishSeq(2), PublishOutcome::Delivered);
        assert_eq!(out.drain_proxies().next().unwrap().answers.len(), 2);
    }

    #[test]
    fn a_slot_that_passes_to_another_proxy_gets_a_frame_of_its_own() {
        let mut out = Outputs::new();
        out.frame(0, P).answers.push(Answer::LeaseRenewed);
        out.frame(0, IncarnationId(2)).answers.push(Answer::LeaseRenewed);
        let incarnations: Vec<_> = out.drain_proxies().map(|f| f.incarnation.0).collect();
        assert_eq!(incarnations, [1, 2]);
        assert!(out.is_empty());
        out.frame(0, P).answers.push(Answer::LeaseRenewed);
        assert_eq!(out.drain_proxies().count(), 1);
    }
}
