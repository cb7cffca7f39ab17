//! Queues of connections that have nothing to queue, kept for the next that does.
//!
//! An idle connection holds no buffer, and a busy one should not ask the allocator for one with every message. What nobody
//! has needed for a while is given back, so that a burst leaves nothing behind.

use freshet_storage_contract::MonotonicMs;

use super::inbound::Inbound;
use super::outbound::Outbound;

/// What one message to many takes is there for the next one: half a megabyte of a worker's memory, and several times that
/// behind many messages to each, until they are let go.
const KEPT: usize = 1024;
/// Queues that nobody has needed for this long are let go.
const UNUSED_FOR: std::time::Duration = std::time::Duration::from_secs(1);

/// Empty queues.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    outbound: Pool<Outbound>,
    inbound: Pool<Inbound>,
    /// When those go that nobody has needed since the last time.
    next_trim: Option<MonotonicMs>,
}

impl Spare {
    pub(crate) fn take_outbound(&mut self) -> Box<Outbound> {
        self.outbound.take()
    }

    pub(crate) fn take_inbound(&mut self) -> Box<Inbound> {
        self.inbound.take()
    }

    /// Takes a queue back if it is empty.
    pub(crate) fn give_back_outbound(&mut self, place: &mut Option<Box<Outbound>>) {
        if let Some(empty) = place.take_if(|o| o.is_empty())
            && empty.is_worth_keeping()
        {
            self.outbound.give_back(empty);
        }
    }

    /// Takes a queue back if it is empty.
    pub(crate) fn give_back_inbound(&mut self, place: &mut Option<Box<Inbound>>) {
        if let Some(empty) = place.take_if(|i| i.is_empty())
            && empty.is_worth_keeping()
        {
            self.inbound.give_back(empty);
        }
    }

    /// What was left here is looked at later. To be called behind whatever may have left something.
    pub(crate) fn watch(&mut self, now: MonotonicMs) {
        if self.next_trim.is_none() && !self.is_empty() {
            self.next_trim = Some(now.plus(UNUSED_FOR));
        }
    }

    /// When [`Self::trim`] has something to do next.
    pub(crate) fn next_trim(&self) -> Option<MonotonicMs> {
        self.next_trim
    }

    /// Lets go of what nobody has needed since the last time, if that is long enough ago.
    pub(crate) fn trim(&mut self, now: MonotonicMs) {
        if self.next_trim.is_none_or(|at| now < at) {
            return;
        }
        self.outbound.trim();
        self.inbound.trim();
        self.next_trim = (!self.is_empty()).then(|| now.plus(UNUSED_FOR));
    }

    fn is_empty(&self) -> bool {
        self.outbound.kept.is_empty() && self.inbound.kept.is_empty()
    }
}

/// Empty queues of one kind, the last one first.
#[derive(Debug)]
struct Pool<T> {
    kept: Vec<Box<T>>,
    /// So many have lain here ever since the last trim.
    untouched: usize,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            untouched: 0,
        }
    }
}

impl<T: Default> Pool<T> {
    fn take(&mut self) -> Box<T> {
        let taken = self.kept.pop().unwrap_or_default();
        self.untouched = self.untouched.min(self.kept.len());
        taken
    }

    fn give_back(&mut self, empty: Box<T>) {
        if self.kept.len() < KEPT {
            self.kept.push(empty);
        }
    }

    fn trim(&mut self) {
        self.kept.drain(..self.untouched);
        self.kept.shrink_to(2 * self.kept.len());
        self.untouched = self.kept.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lend_and_take_back(spare: &mut Spare, count: usize) {
        let mut lent: Vec<_> = (0..count).map(|_| Some(spare.take_outbound())).collect();
        lent.iter_mut().for_each(|place| spare.give_back_outbound(place));
    }

    #[test]
    fn what_is_needed_again_and_again_stays_and_the_rest_goes() {
        let mut spare = Spare::default();
        let second = |s: u64| MonotonicMs(s * 1_000);
        lend_and_take_back(&mut spare, 100);
        spare.watch(second(1));
        assert_eq!(spare.next_trim(), Some(second(2)));
        spare.trim(second(2));
        assert_eq!(spare.outbound.kept.len(), 100, "needed until now");
        lend_and_take_back(&mut spare, 10);
        spare.trim(second(3));
        assert_eq!(spare.outbound.kept.len(), 10);
        spare.trim(second(4));
        assert_eq!(spare.outbound.kept.len(), 0);
        assert_eq!(spare.next_trim(), None, "nothing is left to come back for");
    }

    #[test]
    fn nothing_goes_before_its_time() {
        let mut spare = Spare::default();
        lend_and_take_back(&mut spare, 3);
        spare.watch(MonotonicMs(0));
        spare.trim(MonotonicMs(1_000));
        spare.trim(MonotonicMs(1_500));
        assert_eq!(spare.outbound.kept.len(), 3);
    }
}
