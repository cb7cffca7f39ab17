//! How far a session has come with what one shard has for it.
//!
//! A session *in tail* is given messages as they are delivered live. One that has no room leaves the tail inside its
//! proxy alone and reads on from where it left, until it has caught up. Whichever way a message comes, it is open from
//! when it is queued for the client until the client is done with it; everything up to the cursor's position is done.

use std::collections::VecDeque;

use freshet_storage_contract::{Cursor as StoredCursor, Position, RequestId, ShardId};

/// Positions that are noted behind what is not done. Beyond, a message that was passed over may come when its
/// subscription is changed meanwhile, and one that was not sent when the next connection takes larger packets.
const MAX_NOTED: usize = 256;

/// A session's place at one shard.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) shard: ShardId,
    pub(crate) mode: Mode,
    /// Everything up to here is queued for the client, or done, or not for it.
    handed: Position,
    /// Everything up to here is done.
    acknowledged: Position,
    /// Behind that: what is queued or on its way, and what is done although something before it is not; ascending.
    open: VecDeque<Open>,
    is_changed: bool,
}

/// Where a session's messages of a shard come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// From live deliveries.
    Tail,
    /// From a pull that is to be asked for when there is room.
    Behind,
    /// From a pull that was asked for, or waits for its turn.
    Pulling {
        request: RequestId,
        /// A subscription has begun here meanwhile, which the pull does not name: what lies behind is read again.
        cap: Option<Position>,
    },
}

#[derive(Debug, Clone, Copy)]
struct Open {
    position: Position,
    is_done: bool,
}

impl Cursor {
    /// A session that begins with a shard.
    pub(crate) fn begin(shard: ShardId, start: Position) -> Self {
        Self {
            shard,
            mode: Mode::Tail,
            handed: start,
            acknowledged: start,
            open: VecDeque::new(),
            is_changed: false,
        }
    }

    /// A session that comes back: `sent` are the positions of its unfinished exchanges, in any order.
    pub(crate) fn resume(stored: &StoredCursor, sent: impl Iterator<Item = Position>) -> Self {
        let done = stored.beyond.iter().map(|position| (*position, true));
        let mut open: Vec<_> = sent.map(|position| (position, false)).chain(done).collect();
        open.sort_unstable();
        open.dedup_by_key(|(position, _)| *position);
        let open = open.into_iter().filter(|(position, _)| *position > stored.acknowledged);
        Self {
            shard: stored.shard,
            mode: Mode::Behind,
            handed: stored.acknowledged,
            acknowledged: stored.acknowledged,
            open: open.map(|(position, is_done)| Open { position, is_done }).collect(),
            is_changed: false,
        }
    }

    /// Behind which position the next pull reads.
    pub(crate) fn handed(&self) -> Position {
        self.handed
    }

    /// Whether a message that comes now was queued for the client before.
    pub(crate) fn has(&self, position: Position) -> bool {
        position <= self.handed || self.open.binary_search_by_key(&position, |o| o.position).is_ok()
    }

    /// A message is queued for the client.
    pub(crate) fn hand_over(&mut self, position: Position) {
        if let Err(at) = self.open.binary_search_by_key(&position, |o| o.position) {
            let open = Open {
                position,
                is_done: false,
            };
            self.open.insert(at, open);
        }
        self.pass(position);
    }

    /// A message has come to its end although nobody will acknowledge it: it was sent at QoS 0, or it is the client's own.
    /// It is not to be read later, when the subscription may have other options.
    pub(crate) fn pass_over(&mut self, position: Position) {
        if position <= self.handed {
            return;
        }
        let is_in_tail = self.mode == Mode::Tail;
        let goes_with_handed = is_in_tail && self.open.is_empty();
        if !goes_with_handed
            && self.open.len() < MAX_NOTED
            && let Err(at) = self.open.binary_search_by_key(&position, |o| o.position)
        {
            let is_done = true;
            self.open.insert(at, Open { position, is_done });
        }
        if is_in_tail {
            self.pass(position);
        }
        self.is_changed = true;
    }

    /// Everything up to `position` has been looked at.
    pub(crate) fn pass(&mut self, position: Position) {
        self.handed = self.handed.max(position);
        self.settle();
    }

    /// The client is done with a message.
    pub(crate) fn done(&mut self, position: Position) {
        if let Ok(at) = self.open.binary_search_by_key(&position, |o| o.position)
            && let Some(open) = self.open.get_mut(at)
        {
            open.is_done = true;
            self.is_changed = true;
            self.settle();
        }
    }

    /// A queued message is not sent after all: it counts as delivered (MQTT-3.1.2-25), also for a connection to come
    /// that could be sent it.
    pub(crate) fn skip(&mut self, position: Position) {
        if self.open.len() < MAX_NOTED {
            self.done(position);
        } else if let Ok(at) = self.open.binary_search_by_key(&position, |o| o.position) {
            self.open.remove(at);
            self.is_changed = true;
            self.settle();
        }
    }

    /// The session has no room: it reads on from here later.
    pub(crate) fn leave_tail(&mut self) {
        if self.mode == Mode::Tail {
            self.mode = Mode::Behind;
        }
    }

    /// A subscription begins at the shard, beside others.
    pub(crate) fn add_start(&mut self, start: Position) {
        if let Mode::Pulling { cap, .. } = &mut self.mode {
            *cap = Some(cap.map_or(start, |cap| cap.min(start)));
        }
    }

    /// What has come of a pull reaches up to here. True: it has caught up.
    pub(crate) fn pulled(&mut self, up_to: Position, caught_up: bool) {
        let Mode::Pulling { cap, .. } = self.mode else { return };
        self.pass(cap.map_or(up_to, |cap| cap.min(up_to)));
        self.mode = if caught_up && cap.is_none() {
            Mode::Tail
        } else {
            Mode::Behind
        };
    }

    /// A subscription that begins at `start` is told to storage: the cursor is, too, if it has gone on since.
    pub(crate) fn tell_if_behind(&mut self, start: Position) {
        self.is_changed |= self.acknowledged > start || self.open.iter().any(|open| open.is_done);
    }

    /// Whether storage is to be told.
    pub(crate) fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// What storage is to be told, if anything.
    pub(crate) fn take_change(&mut self) -> Option<StoredCursor> {
        std::mem::take(&mut self.is_changed).then(|| self.stored())
    }

    /// The cursor as storage keeps it.
    pub(crate) fn stored(&self) -> StoredCursor {
        let beyond = self.open.iter().filter(|open| open.is_done);
        StoredCursor {
            shard: self.shard,
            acknowledged: self.acknowledged,
            beyond: beyond.map(|open| open.position).collect(),
        }
    }

    /// Moves over what is done. What was sent on an earlier connection may lie behind what was not looked at yet.
    fn settle(&mut self) {
        while let Some(front) = self.open.front().filter(|o| o.is_done && o.position <= self.handed) {
            self.acknowledged = self.acknowledged.max(front.position);
            self.open.pop_front();
        }
        if self.open.front().is_none_or(|front| front.position > self.handed) {
            self.acknowledged = self.acknowledged.max(self.handed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(2);

    fn at(position: u64) -> Position {
        Position(position)
    }

    fn acknowledged(cursor: &Cursor) -> (u64, Vec<u64>) {
        let stored = cursor.stored();
        (stored.acknowledged.0, stored.beyond.iter().map(|p| p.0).collect())
    }

    #[test]
    fn acknowledgements_out_of_order_move_the_cursor_when_the_gap_closes() {
        let mut cursor = Cursor::begin(SHARD, at(10));
        for position in [11, 14, 15] {
            cursor.hand_over(at(position));
        }
        cursor.done(at(14));
        assert_eq!(acknowledged(&cursor), (10, vec![14]));
        cursor.done(at(11));
        assert_eq!(acknowledged(&cursor), (14, vec![]));
        cursor.done(at(15));
        assert_eq!(acknowledged(&cursor), (15, vec![]));
    }

    #[test]
    fn what_does_not_concern_the_session_is_passed_over_when_nothing_is_open() {
        let mut cursor = Cursor::begin(SHARD, at(10));
        cursor.hand_over(at(12));
        cursor.pass(at(20));
        assert_eq!(acknowledged(&cursor).0, 10);
        cursor.done(at(12));
        assert_eq!(acknowledged(&cursor).0, 20);
    }

    #[test]
    fn a_message_that_was_sent_before_is_no_end_of_what_was_not() {
        let stored = StoredCursor {
            shard: SHARD,
            acknowledged: at(5),
            beyond: vec![at(9)],
        };
        let mut cursor = Cursor::resume(&stored, [at(20)].into_iter());
        assert!(cursor.has(at(20)) && cursor.has(at(9)) && !cursor.has(at(7)));
        cursor.done(at(20));
        assert_eq!(acknowledged(&cursor), (5, vec![9, 20]), "7 has not been read yet");
        cursor.hand_over(at(7));
        cursor.pass(at(20));
        assert_eq!(acknowledged(&cursor), (5, vec![9, 20]));
        cursor.done(at(7));
        assert_eq!(acknowledged(&cursor), (20, vec![]));
    }

    #[test]
    fn a_message_that_is_not_sent_counts_as_done() {
        let mut cursor = Cursor::begin(SHARD, at(0));
        for position in 1..=3 {
            cursor.hand_over(at(position));
        }
        cursor.skip(at(2));
        assert_eq!(acknowledged(&cursor), (0, vec![2]), "it is not read again");
        cursor.done(at(1));
        assert_eq!(acknowledged(&cursor), (2, vec![]));
        cursor.done(at(3));
        assert_eq!(acknowledged(&cursor), (3, vec![]));
    }

    #[test]
    fn however_many_messages_are_not_sent_few_are_noted() {
        let mut cursor = Cursor::begin(SHARD, at(0));
        for position in 1..=5_000 {
            cursor.hand_over(at(position));
            if position > 1 {
                cursor.skip(at(position));
            }
        }
        assert!(acknowledged(&cursor).1.len() < MAX_NOTED);
        cursor.done(at(1));
        assert_eq!(acknowledged(&cursor), (5_000, vec![]));
    }

    #[test]
    fn what_was_passed_over_is_not_read_again() {
        let mut cursor = Cursor::begin(SHARD, at(0));
        cursor.pass_over(at(1));
        assert!(cursor.take_change().is_some());
        assert_eq!(acknowledged(&cursor), (1, vec![]));
        cursor.hand_over(at(2));
        cursor.pass_over(at(3));
        assert!(cursor.has(at(3)));
        assert_eq!(acknowledged(&cursor), (1, vec![3]), "the client has not acknowledged 2");
        cursor.done(at(2));
        assert_eq!(acknowledged(&cursor), (3, vec![]));
        cursor.leave_tail();
        cursor.pass_over(at(5));
        assert!(cursor.has(at(5)) && !cursor.has(at(4)), "4 has not been read yet");
        cursor.hand_over(at(4));
        cursor.done(at(4));
        cursor.pass(at(6));
        assert_eq!(acknowledged(&cursor), (6, vec![]));
    }

    #[test]
    fn a_subscription_that_begins_during_a_pull_is_read_from_its_start() {
        let mut cursor = Cursor::begin(SHARD, at(0));
        let request = RequestId(1);
        cursor.mode = Mode::Pulling { request, cap: None };
        cursor.add_start(at(7));
        cursor.add_start(at(8));
        cursor.pulled(at(30), true);
        assert_eq!((cursor.mode, cursor.handed()), (Mode::Behind, at(7)));
    }

    #[test]
    fn storage_is_told_only_of_what_has_changed() {
        let mut cursor = Cursor::begin(SHARD, at(0));
        cursor.hand_over(at(1));
        assert_eq!(cursor.take_change(), None);
        cursor.done(at(1));
        assert!(cursor.take_change().is_some());
        assert_eq!(cursor.take_change(), None);
    }
}
