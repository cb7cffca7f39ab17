//! The members that a worker has of one shared subscription, and whose turn it is (MQTT 5.0, 4.8.2).

use bytes::Bytes;
use foldhash::fast::FixedState;
use freshet_storage_contract::SharedStrategy;
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
}

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
        self.is_closed = false;
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
        let window = if self.is_closed { 0 } else { self.window };
        GroupPart {
            members: u32::try_from(self.members.len()).unwrap_or(u32::MAX),
            window: u32::try_from(window).unwrap_or(u32::MAX),
        }
    }

    /// No member has room: nothing more is to come. False: that is known.
    pub(super) fn close(&mut self) -> bool {
        !std::mem::replace(&mut self.is_closed, true)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Goes on if a member has room. True: it does, and did not before.
    pub(super) fn reopen(&mut self, load: impl Fn(u32) -> Option<Load>) -> bool {
        let has_room = |member: &Member| load(member.slot).is_some_and(|load| load.has_room);
        if !self.is_closed || !self.members.iter().any(has_room) {
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
        assert!(group.close());
        assert!(!group.close(), "once is enough");
        assert_eq!((group.part().members, group.part().window), (2, 0));
        assert!(!group.reopen(full));
        assert!(group.reopen(|_| Some(FREE)));
        assert!(!group.reopen(|_| Some(FREE)));
        assert_eq!(group.part().window, 20);
        group.close();
        group.add(2, 5);
        assert_eq!(group.part().window, 25, "a new member has room");
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
}
