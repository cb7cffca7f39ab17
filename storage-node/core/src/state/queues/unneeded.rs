//! Rows that nobody needs any more: a few go at once, many a few at a time, so that others are served meanwhile.
//!
//! Leaves out who says that nobody needs them: readers that have come further ([`Queues::trim`]), and whoever was the last
//! to have a queue.

use bytes::Bytes;
use freshet_storage_contract::{Position, ShardId};

use super::{QueueId, Queues, drop_oldest};

/// Rows that go at once, of a queue that nobody has or of all that a note is about: each shard of sessions may send one in
/// the same turn. In tests few, so that all of them come to the rest.
const AT_ONCE: usize = if cfg!(test) { 2 } else { 256 };

impl Queues {
    /// Whether there are rows that are still to go.
    pub(crate) fn has_unneeded(&self) -> bool {
        !self.unneeded.is_empty()
    }

    /// Nobody of the session shard needs anything of these filters up to the positions beside them.
    pub(in crate::state) fn trim(&mut self, session_shard: ShardId, filters: &[(Bytes, Position)]) {
        let mut left = AT_ONCE;
        for (topic_filter, through) in filters {
            if let Some(id) = self.id_of(Some(session_shard), topic_filter) {
                left -= self.let_rows_go(id, *through, left);
            }
        }
    }

    /// Nobody needs anything of a queue that nobody has.
    pub(super) fn let_all_rows_go(&mut self, id: QueueId) {
        self.let_rows_go(id, Position(u64::MAX), AT_ONCE);
    }

    /// Nobody needs anything of a queue up to `through`. Returns how many rows have gone, at most `limit`.
    fn let_rows_go(&mut self, id: QueueId, through: Position, limit: usize) -> usize {
        let Some(queue) = self.queues.get_mut(id) else {
            return 0;
        };
        queue.unneeded_through = queue.unneeded_through.max(through);
        let mut cleared = Cleared {
            gone: 0,
            is_done: false,
        };
        if !self.unneeded.contains(&id) {
            cleared = self.clear(id, limit);
        }
        if !cleared.is_done {
            self.unneeded.insert(id);
            self.changes.change(id);
        }
        cleared.gone
    }

    /// Lets up to `limit` rows go that nobody needs; returns how many went.
    pub(in crate::state) fn drop_unneeded(&mut self, limit: usize) -> u64 {
        let mut gone = 0;
        while gone < limit
            && let Some(id) = self.unneeded.first().copied()
        {
            let cleared = self.clear(id, limit - gone);
            gone += cleared.gone;
            if cleared.is_done {
                self.unneeded.remove(&id);
                self.changes.change(id);
            }
        }
        gone as u64
    }

    /// Lets up to `limit` rows of a queue go. One that nobody has goes with its last row.
    fn clear(&mut self, id: QueueId, limit: usize) -> Cleared {
        let mut cleared = Cleared { gone: 0, is_done: true };
        let Some(queue) = self.queues.get_mut(id) else {
            return cleared;
        };
        while queue
            .rows
            .front()
            .is_some_and(|position| *position <= queue.unneeded_through)
        {
            if cleared.gone == limit {
                cleared.is_done = false;
                return cleared;
            }
            drop_oldest(queue, &mut self.messages, &mut self.rows);
            cleared.gone += 1;
        }
        queue.unneeded_through = Position::default();
        queue.give_back();
        if !queue.is_held() {
            self.queues.remove(id);
            self.leaving -= 1;
            self.changes.remove(id);
        }
        cleared
    }
}

/// What has gone of a queue.
struct Cleared {
    gone: usize,
    /// Nothing is left that is to go.
    is_done: bool,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use freshet_config::QueueLimits;
    use freshet_storage_contract::ShardId;

    use super::*;
    use crate::hash::KeyedHash;
    use crate::state::tests::message;

    const S: ShardId = ShardId(3);
    const FILTER: Bytes = Bytes::from_static(b"a");
    const ROWS: u64 = 10;

    /// A queue with rows at 2 and behind.
    fn queues() -> Queues {
        let mut queues = Queues::new(KeyedHash::new(5));
        queues.confirm(S, &FILTER, Position(1));
        for position in 2..2 + ROWS {
            publish(&mut queues, position);
        }
        queues
    }

    fn publish(queues: &mut Queues, position: u64) {
        let matched = queues.find(b"a");
        let limits = QueueLimits::default();
        queues.push(Position(position), &message("a", "x"), &matched, limits, 0);
    }

    #[test]
    fn a_queue_that_nobody_has_goes_with_its_rows_a_few_at_a_time() {
        let mut queues = queues();
        queues.drop_filter(S, &FILTER, Position(1), 0);
        assert_eq!((queues.len(), queues.filter_bytes(), queues.rows()), (0, 0, ROWS - 2));
        // Who asks for the filter now begins with nothing.
        publish(&mut queues, 20);
        queues.ensure(S, &FILTER, Position(21), 0);
        publish(&mut queues, 22);
        assert_eq!((queues.len(), queues.rows()), (1, ROWS - 1));

        assert_eq!(queues.drop_unneeded(3), 3);
        assert!(queues.has_unneeded());
        assert_eq!(queues.drop_unneeded(100), ROWS - 5);
        assert!(!queues.has_unneeded());
        assert_eq!((queues.len(), queues.rows(), queues.messages()), (1, 1, 1));
        queues.drop_filter(S, &FILTER, Position(21), 0);
        assert_eq!((queues.len(), queues.rows(), queues.messages()), (0, 0, 0));
    }

    #[test]
    fn what_readers_have_done_with_goes_a_few_at_a_time() {
        let mut queues = queues();
        queues.trim(S, &[(FILTER, Position(6))]);
        assert_eq!((queues.len(), queues.rows()), (1, ROWS - 2));
        // They come further meanwhile.
        queues.trim(S, &[(FILTER, Position(7))]);
        assert_eq!((queues.rows(), queues.drop_unneeded(100)), (ROWS - 2, 4));
        assert!(!queues.has_unneeded());
        assert_eq!(
            queues.next_row(queues.id_of(Some(S), &FILTER).unwrap(), Position(0)),
            Some(Position(8))
        );
        queues.trim(S, &[(FILTER, Position(8))]);
        assert_eq!((queues.rows(), queues.has_unneeded()), (ROWS - 7, false));
    }

    #[test]
    fn what_many_queues_have_done_with_goes_a_few_rows_at_a_time() {
        let mut queues = queues();
        let filters: Vec<Bytes> = ["+", "#"].map(Bytes::from).to_vec();
        for filter in &filters {
            queues.confirm(S, filter, Position(12));
        }
        publish(&mut queues, 13);
        let trims: Vec<_> = filters.into_iter().chain([FILTER]).map(|f| (f, Position(13))).collect();
        queues.trim(S, &trims);
        // One of each of the two, and nothing of the third.
        assert_eq!(queues.rows(), ROWS + 3 - 2);
        assert!(queues.has_unneeded());
        assert_eq!(queues.drop_unneeded(100), ROWS + 1);
        assert_eq!((queues.rows(), queues.messages(), queues.has_unneeded()), (0, 0, false));
    }
}
