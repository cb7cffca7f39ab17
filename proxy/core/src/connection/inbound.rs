//! Publications of a client that it has not been acknowledged for (MQTT 5.0, 4.3).
//!
//! Answers leave in the order in which the publications came, whatever the order of their outcomes: MQTT-4.6.0-2 and
//! MQTT-4.6.0-3. A QoS 2 packet id stays here until PUBREL, so that a repeated PUBLISH is not a second message.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use foldhash::fast::FixedState;
use freshet_mqtt::{QoS, ReasonCode};
use freshet_storage_contract::MonotonicMs;
use hashbrown::HashMap;

use super::packet_ids::PacketIds;
use crate::planted::planted;

/// Publications that wait for their outcome, and QoS 2 ids that wait for PUBREL.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    queue: VecDeque<Waiting>,
    /// Number of the first one in the queue; numbers wrap around.
    first: u32,
    /// QoS by packet id of what is in the queue.
    // Sixteen bits: a client cannot make more of them collide than there are.
    waiting: HashMap<NonZeroU16, QoS, FixedState>,
    /// QoS 2 ids that PUBREC was sent for. A 3.1.1 client may have as many as it likes.
    received: PacketIds,
}

#[derive(Debug)]
struct Waiting {
    packet_id: NonZeroU16,
    qos: QoS,
    outcome: Option<ReasonCode>,
    since: MonotonicMs,
}

/// What a PUBLISH with a packet id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A publication, by this number until it is answered.
    New(u32),
    /// A repetition; its answer is on its way.
    Repeated,
    /// A repetition of what was answered by PUBREC: answer again (MQTT-4.3.3-10).
    RepeatedAfterPubrec,
    /// The packet id is in use for something else.
    IdInUse,
}

/// An answer that may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) packet_id: NonZeroU16,
    pub(crate) qos: QoS,
    pub(crate) reason_code: ReasonCode,
}

impl Inbound {
    /// Takes a PUBLISH of QoS 1 or 2.
    pub(crate) fn arrive(&mut self, packet_id: NonZeroU16, qos: QoS, now: MonotonicMs) -> Arrival {
        match self
            .waiting
            .get(&packet_id)
            .filter(|_| !planted!(RepeatedPublishRouted))
        {
            Some(as_qos) if *as_qos == qos => return Arrival::Repeated,
            Some(_) => return Arrival::IdInUse,
            None if !self.received.contains(packet_id) => {}
            None if qos == QoS::ExactlyOnce => return Arrival::RepeatedAfterPubrec,
            None => return Arrival::IdInUse,
        }
        self.waiting.insert(packet_id, qos);
        // At most 65,535 are here at a time, one per packet id.
        #[expect(clippy::cast_possible_truncation)]
        let number = self.first.wrapping_add(self.queue.len() as u32);
        self.queue.push_back(Waiting {
            packet_id,
            qos,
            outcome: None,
            since: now,
        });
        Arrival::New(number)
    }

    /// Whether a PUBLISH with this id would be a new publication.
    pub(crate) fn is_new(&self, packet_id: NonZeroU16) -> bool {
        let is_waiting = self.waiting.contains_key(&packet_id) && !planted!(RepeatedPublishRouted);
        !is_waiting && !self.received.contains(packet_id)
    }

    /// The outcome of a publication is known.
    pub(crate) fn answer(&mut self, number: u32, reason_code: ReasonCode) {
        let index = number.wrapping_sub(self.first);
        if let Some(waiting) = self.queue.get_mut(index as usize) {
            waiting.outcome = Some(reason_code);
        }
    }

    /// Takes the oldest answer if it may leave.
    pub(crate) fn pop_answer(&mut self) -> Option<Answer> {
        let Waiting {
            packet_id,
            qos,
            outcome,
            ..
        } = *self.queue.front()?;
        let reason_code = outcome?;
        self.queue.pop_front();
        self.first = self.first.wrapping_add(1);
        self.waiting.remove(&packet_id);
        if qos == QoS::ExactlyOnce && !reason_code.is_error() {
            self.received.insert(packet_id);
        }
        Some(Answer {
            packet_id,
            qos,
            reason_code,
        })
    }

    /// Whether an answer may leave.
    pub(crate) fn has_answer(&self) -> bool {
        self.queue.front().is_some_and(|w| w.outcome.is_some())
    }

    /// PUBREL has arrived. False: the id is not one that PUBREC was sent for.
    pub(crate) fn release(&mut self, packet_id: NonZeroU16) -> bool {
        self.received.remove(packet_id)
    }

    /// Publications for which neither PUBACK nor PUBCOMP was sent, nor a PUBREC with an error: what Receive Maximum
    /// counts (MQTT 5.0, 4.9).
    pub(crate) fn unacknowledged(&self) -> usize {
        self.waiting.len() + self.received.len()
    }

    /// Publications without an answer.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Since when the oldest publication waits.
    pub(crate) fn oldest(&self) -> Option<MonotonicMs> {
        self.queue.front().map(|w| w.since)
    }

    /// Whether nothing is to be remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.received.len() == 0
    }

    /// Whether it is small enough to be kept for another connection.
    pub(crate) fn is_worth_keeping(&self) -> bool {
        self.queue.capacity() <= 256 && self.waiting.capacity() <= 256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: MonotonicMs = MonotonicMs(5);

    fn id(value: u16) -> NonZeroU16 {
        NonZeroU16::new(value).unwrap()
    }

    fn number(arrival: Arrival) -> u32 {
        let Arrival::New(number) = arrival else {
            panic!("{arrival:?}")
        };
        number
    }

    #[test]
    fn answers_leave_in_the_order_of_the_publications() {
        // MQTT-4.6.0-2, MQTT-4.6.0-3
        let mut inbound = Inbound::default();
        let first = number(inbound.arrive(id(1), QoS::AtLeastOnce, NOW));
        let second = number(inbound.arrive(id(2), QoS::ExactlyOnce, NOW));
        inbound.answer(second, ReasonCode::Success);
        assert_eq!(inbound.pop_answer(), None);
        inbound.answer(first, ReasonCode::NoMatchingSubscribers);
        let answers: Vec<_> = std::iter::from_fn(|| inbound.pop_answer())
            .map(|a| a.packet_id)
            .collect();
        assert_eq!(answers, [id(1), id(2)]);
    }

    #[test]
    fn a_repeated_publish_is_one_message_until_it_is_released() {
        // MQTT-4.3.3-10, MQTT-4.3.3-12
        let mut inbound = Inbound::default();
        let only = number(inbound.arrive(id(1), QoS::ExactlyOnce, NOW));
        assert_eq!(inbound.arrive(id(1), QoS::ExactlyOnce, NOW), Arrival::Repeated);
        inbound.answer(only, ReasonCode::Success);
        assert!(inbound.pop_answer().is_some());
        assert_eq!(
            inbound.arrive(id(1), QoS::ExactlyOnce, NOW),
            Arrival::RepeatedAfterPubrec
        );
        assert!(inbound.release(id(1)));
        assert!(!inbound.release(id(1)));
        assert!(matches!(inbound.arrive(id(1), QoS::ExactlyOnce, NOW), Arrival::New(_)));
    }

    #[test]
    fn a_refused_qos_2_publication_frees_its_id_at_once() {
        // MQTT-4.3.3-9
        let mut inbound = Inbound::default();
        let only = number(inbound.arrive(id(1), QoS::ExactlyOnce, NOW));
        inbound.answer(only, ReasonCode::QuotaExceeded);
        assert!(inbound.pop_answer().is_some());
        assert!(inbound.is_empty());
    }

    #[test]
    fn an_id_in_use_for_another_qos_is_told_apart_from_a_repetition() {
        let mut inbound = Inbound::default();
        inbound.arrive(id(1), QoS::ExactlyOnce, NOW);
        assert_eq!(inbound.arrive(id(1), QoS::AtLeastOnce, NOW), Arrival::IdInUse);
    }

    #[test]
    fn numbers_go_on_past_their_end() {
        let mut inbound = Inbound {
            first: u32::MAX,
            ..Inbound::default()
        };
        let first = number(inbound.arrive(id(1), QoS::AtLeastOnce, NOW));
        let second = number(inbound.arrive(id(2), QoS::AtLeastOnce, NOW));
        assert_eq!((first, second), (u32::MAX, 0));
        inbound.answer(second, ReasonCode::Success);
        inbound.answer(first, ReasonCode::Success);
        assert_eq!(std::iter::from_fn(|| inbound.pop_answer()).count(), 2);
    }
}
