//! Queues of connections that have nothing to queue, kept for the next that does.
//!
//! An idle connection holds no buffer, and a busy one should not ask the allocator for one with every message.

use super::inbound::Inbound;
use super::outbound::Outbound;

/// What one message to many takes is there for the next one: half a megabyte of a worker's memory.
const KEPT: usize = 1024;

/// Empty queues.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    #[expect(clippy::vec_box, reason = "the boxes are what is kept")]
    outbound: Vec<Box<Outbound>>,
    #[expect(clippy::vec_box, reason = "the boxes are what is kept")]
    inbound: Vec<Box<Inbound>>,
}

impl Spare {
    pub(crate) fn take_outbound(&mut self) -> Box<Outbound> {
        self.outbound.pop().unwrap_or_default()
    }

    pub(crate) fn take_inbound(&mut self) -> Box<Inbound> {
        self.inbound.pop().unwrap_or_default()
    }

    /// Takes a queue back if it is empty.
    pub(crate) fn give_back_outbound(&mut self, place: &mut Option<Box<Outbound>>) {
        if let Some(empty) = place.take_if(|o| o.is_empty())
            && self.outbound.len() < KEPT
            && empty.is_worth_keeping()
        {
            self.outbound.push(empty);
        }
    }

    /// Takes a queue back if it is empty.
    pub(crate) fn give_back_inbound(&mut self, place: &mut Option<Box<Inbound>>) {
        if let Some(empty) = place.take_if(|i| i.is_empty())
            && self.inbound.len() < KEPT
            && empty.is_worth_keeping()
        {
            self.inbound.push(empty);
        }
    }
}
