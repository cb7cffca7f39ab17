//! The members that a worker has of one shared subscription, and whose turn it is (MQTT 5.0, 4.8.2).
//!
//! Storage is told what the members' windows can take together, and each of its shards may give as much: a group whose
//! messages are all of one topic has the whole window. Where several shards give, that is too much; the window is divided
//! among those that do then, and by half as many a second later, until it is too much again.
//!
//! A group none of whose members has room is closed. What comes nevertheless was given before storage knew, and goes back as
//! well; the group goes on when all of that has come, so that a member gets the messages of a topic in their order.

use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::FixedState;
use freshet_storage_contract::{MonotonicMs, RequestId, ShardId, SharedStrategy};
use hashbrown::HashMap;

use crate::exchange::GroupPart;

/// Members of one group at one worker.
#[derive(Debug)]
pub(crate) struct Group {
    /// `$share/name/filter`.
    pub(crate) name: Bytes,
    members: Vec<Member>,
    /// Place of each slot in `members`.
    places: HashMap<u32, usize, FixedState>,
    next: usize,
    window: u64,
    /// No member has room.
    is_closed: bool,
    /// Shards that the window is divided among.
    parts: u32,
    /// Shards that have given messages since the window was whole, a bit for each.
    given_by: u64,
    /// When it was last found to be too much, or divided among fewer.
    divided_at: MonotonicMs,
    /// Answered when all that was given before the group was closed has come.
    rest: Option<RequestId>,
    closed_at: MonotonicMs,
    /// A member was done with a message since the group was closed.
    has_done: bool,
}

/// How long a window stays divided.
const STAYS_DIVIDED: Duration = Duration::from_secs(1);
/// How long a closed group waits for the rest. A shard that has no room for other filters of the proxy confirms nothing.
const REST_AWAITED: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Member {
    slot: u32,
    window: u16,
}

/// What a member has to do already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    /// Messages of QoS 1 and 2 that it has not acknowledged, or that wait for it.
    pub(crate) unfinished: usize,
    /// Another one could be sent at once.
    pub(crate) has_room: bool,
}

/// Members that are compared for one message. In a larger group those behind them come next time.
const COMPARED: usize = 16;

impl Group {
    /// `first`: any number; groups with the same members begin with different ones.
    pub(super) fn new(name: Bytes, first: u16) -> Self {
        Self {
            name,
            members: Vec::new(),
            places: HashMap::default(),
            next: usize::from(first),
            window: 0,
            is_closed: false,
            parts: 1,
            given_by: 0,
            divided_at: MonotonicMs(0),
            rest: None,
            closed_at: MonotonicMs(0),
            has_done: false,
        }
    }

    /// A connection becomes a member; `window`: what may be in flight towards it.
    pub(super) fn add(&mut self, slot: u32, window: u16) {
        if self.places.contains_key(&slot) {
            return;
        }
        self.places.insert(slot, self.members.len());
        self.members.push(Member { slot, window });
        self.window += u64::from(window);
        if self.rest.is_none() {
            self.is_closed = false;
        }
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let Some(at) = self.places.remove(&slot) else { return };
        let gone = self.members.swap_remove(at);
        self.window -= u64::from(gone.window);
        if let Some(moved) = self.members.get(at) {
            self.places.insert(moved.slot, at);
        }
    }

    /// What storage is told of them.
    pub(super) fn part(&self) -> GroupPart {
        let window = if self.is_closed {
            0
        } else {
            (self.window / u64::from(self.parts)).max(self.window.min(1))
        };
        GroupPart {
            members: u32::try_from(self.members.len()).unwrap_or(u32::MAX),
            window: u32::try_from(window).unwrap_or(u32::MAX),
        }
    }

    /// A shard gives a message. True: each may give more from now on.
    pub(super) fn note_lease(&mut self, shard: ShardId, now: MonotonicMs) -> bool {
        self.given_by |= 1 << (shard.0 % 64);
        if self.parts == 1 || now.since(self.divided_at) < STAYS_DIVIDED {
            return false;
        }
        self.parts = self.parts.div_ceil(2);
        self.divided_at = now;
        if self.parts == 1 {
            self.given_by = 0;
        }
        !self.is_closed
    }

    /// No member has room: nothing more is to come. False: that is known.
    pub(super) fn close(&mut self, now: MonotonicMs) -> bool {
        self.parts = self.given_by.count_ones().max(1);
        self.divided_at = now;
        if self.is_closed {
            return false;
        }
        self.is_closed = true;
        self.closed_at = now;
        self.has_done = false;
        true
    }

    /// Asks under the name that `request` gives, unless that is under way already.
    pub(super) fn await_rest(&mut self, request: impl FnOnce() -> RequestId) -> Option<RequestId> {
        if self.rest.is_none() {
            self.rest = Some(request());
            return self.rest;
        }
        None
    }

    /// The request is answered. True: a member has been done with a message meanwhile, so that there may be room.
    pub(super) fn rest_has_come(&mut self, request: RequestId) -> bool {
        let is_answered = self.rest == Some(request);
        if is_answered {
            self.rest = None;
        }
        is_answered && self.is_closed && self.has_done
    }

    /// A member is done with a message.
    pub(super) fn note_done(&mut self) {
        self.has_done = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Goes on if a member has room. True: it does, and did not before.
    pub(super) fn reopen(&mut self, load: impl Fn(u32) -> Option<Load>, now: MonotonicMs) -> bool {
        let has_room = |member: &Member| load(member.slot).is_some_and(|load| load.has_room);
        let is_awaited = self.rest.is_some() && now.since(self.closed_at) < REST_AWAITED;
        if !self.is_closed || is_awaited || !self.members.iter().any(has_room) {
            return false;
        }
        self.is_closed = false;
        true
    }

    /// The slot of the member that gets the next message; none: no member has room. `load`: none, when a member cannot be
    /// given anything.
    pub(super) fn choose(&mut self, strategy: SharedStrategy, load: impl Fn(u32) -> Option<Load>) -> Option<u32> {
        let count = self.members.len();
        let mut best: Option<(usize, usize)> = None;
        let mut compared = 0;
        for step in 0..count {
            let at = (self.next + step) % count;
            let load = self.members.get(at).and_then(|member| load(member.slot));
            let Some(load) = load.filter(|load| load.has_room) else {
                continue;
            };
            compared += 1;
            if best.is_none_or(|(unfinished, _)| load.unfinished < unfinished) {
                best = Some((load.unfinished, at));
            }
            if strategy == SharedStrategy::RoundRobin || compared == COMPARED {
                break;
            }
        }
        let (_, at) = best?;
        self.next = at + 1;
        self.members.get(at).map(|member| member.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(members: u32) -> Group {
        let mut group = Group::new(Bytes::from_static(b"$share/g/a"), 0);
        (0..members).for_each(|slot| group.add(slot, 10));
        group
    }

    const NOW: MonotonicMs = MonotonicMs(1_000_000);

    const FREE: Load = Load {
        unfinished: 0,
        has_room: true,
    };

    #[allow(clippy::unnecessary_wraps, reason = "as it is asked for")]
    fn full(_: u32) -> Option<Load> {
        Some(Load {
            unfinished: 9,
            has_room: false,
        })
    }

    #[test]
    fn members_are_chosen_in_turns() {
        let mut group = group(3);
        let chosen: Vec<_> = (0..6)
            .filter_map(|_| group.choose(SharedStrategy::RoundRobin, |_| Some(FREE)))
            .collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_member_without_room_is_passed_over_while_another_has_some() {
        for strategy in [SharedStrategy::RoundRobin, SharedStrategy::LeastInflight] {
            let mut group = group(3);
            let load = |slot| {
                Some(Load {
                    unfinished: 1,
                    has_room: slot == 2,
                })
            };
            for _ in 0..4 {
                assert_eq!(group.choose(strategy, load), Some(2), "{strategy:?}");
            }
            assert_eq!(group.choose(strategy, full), None);
            assert_eq!(group.choose(strategy, |_| None), None);
        }
    }

    #[test]
    fn a_group_without_room_is_closed_until_a_member_has_some() {
        let mut group = group(2);
        assert!(group.close(NOW));
        assert!(!group.close(NOW), "once is enough");
        assert_eq!((group.part().members, group.part().window), (2, 0));
        assert!(!group.reopen(full, NOW));
        assert!(group.reopen(|_| Some(FREE), NOW));
        assert!(!group.reopen(|_| Some(FREE), NOW));
        assert_eq!(group.part().window, 20);
        group.close(NOW);
        group.add(2, 5);
        assert_eq!(group.part().window, 25, "a new member has room");
    }

    #[test]
    fn a_closed_group_waits_for_what_was_given_before_but_not_for_ever() {
        let mut group = group(2);
        group.close(NOW);
        assert_eq!(group.await_rest(|| RequestId(1)), Some(RequestId(1)));
        group.add(2, 5);
        assert_eq!(group.part().window, 0);
        assert!(!group.reopen(|_| Some(FREE), NOW));
        assert!(!group.rest_has_come(RequestId(7)));
        assert!(!group.reopen(|_| Some(FREE), NOW));
        group.note_done();
        assert!(group.rest_has_come(RequestId(1)));
        assert!(group.reopen(|_| Some(FREE), NOW));
        assert_eq!(group.part().window, 25);

        group.close(NOW);
        assert_eq!(group.await_rest(|| RequestId(2)), Some(RequestId(2)));
        assert!(group.reopen(|_| Some(FREE), NOW.plus(REST_AWAITED)));
        group.close(NOW.plus(REST_AWAITED));
        assert_eq!(group.await_rest(|| RequestId(3)), None, "one at a time");
    }

    #[test]
    fn the_one_with_the_fewest_unfinished_messages_is_next() {
        let mut group = group(5);
        let load = |slot: u32| {
            Some(Load {
                unfinished: [3, 4, 1, 4, 2][slot as usize],
                has_room: true,
            })
        };
        assert_eq!(group.choose(SharedStrategy::LeastInflight, load), Some(2));
    }

    #[test]
    fn members_come_and_go() {
        let mut group = group(100);
        for slot in (0..100).step_by(2) {
            group.remove(slot);
            group.remove(slot);
        }
        assert_eq!((group.part().members, group.part().window), (50, 500));
        let mut chosen: Vec<_> = (0..50)
            .filter_map(|_| group.choose(SharedStrategy::RoundRobin, |_| Some(FREE)))
            .collect();
        chosen.sort_unstable();
        assert_eq!(chosen, (1..100).step_by(2).collect::<Vec<_>>());
    }

    #[test]
    fn a_window_that_several_shards_overrun_is_divided_among_them_for_a_while() {
        let mut group = group(8);
        assert_eq!(group.part().window, 80);
        for shard in 0..6 {
            assert!(!group.note_lease(ShardId(shard), NOW));
        }
        assert!(group.close(NOW));
        assert_eq!(group.part().window, 0);
        assert!(group.reopen(|_| Some(FREE), NOW));
        assert_eq!(group.part().window, 13);
        let mut now = NOW.plus(Duration::from_millis(999));
        assert!(!group.note_lease(ShardId(0), now));
        for window in [26, 40, 80] {
            now = now.plus(STAYS_DIVIDED);
            assert!(group.note_lease(ShardId(0), now));
            assert_eq!(group.part().window, window);
        }
        // From then on one shard gives all there is.
        assert!(!group.note_lease(ShardId(0), now.plus(STAYS_DIVIDED)));
        group.close(now);
        assert!(group.reopen(|_| Some(FREE), NOW));
        assert_eq!(group.part().window, 80);
    }

    #[test]
    fn a_small_window_is_one_for_each_shard() {
        let mut group = Group::new(Bytes::from_static(b"$share/g/a"), 0);
        group.add(1, 1);
        (0..8).for_each(|shard| assert!(!group.note_lease(ShardId(shard), NOW)));
        group.close(NOW);
        group.reopen(|_| Some(FREE), NOW);
        assert_eq!(group.part().window, 1);
    }
}
