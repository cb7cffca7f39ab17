//! The proxy's part of one shared subscription: what its workers have of it, and whose turn it is.

use bytes::Bytes;
use freshet_mqtt::TopicFilter;
use freshet_storage_contract::{FilterId, InterestChange, SharedGroup, SharedStrategy};

use crate::exchange::{GroupPart, WorkerId};

/// A shared subscription of a proxy.
#[derive(Debug)]
pub(super) struct Group {
    share_name: Bytes,
    topic_filter: Bytes,
    /// Workers that have members.
    parts: Vec<(WorkerId, GroupPart)>,
    /// Counts messages: members of all workers take turns.
    turn: u64,
}

impl Group {
    /// The group of `$share/name/filter`; none: it is a topic filter like others.
    pub(super) fn parse(name: &[u8]) -> Option<Self> {
        let filter = TopicFilter::parse(str::from_utf8(name).ok()?).ok()?;
        let shared = filter.shared()?;
        Some(Self {
            share_name: Bytes::copy_from_slice(shared.group.as_bytes()),
            topic_filter: Bytes::copy_from_slice(shared.filter.as_bytes()),
            parts: Vec::new(),
            turn: 0,
        })
    }

    /// What topics are matched with.
    pub(super) fn topic_filter(&self) -> &[u8] {
        &self.topic_filter
    }

    pub(super) fn resize(&mut self, worker: WorkerId, part: GroupPart) {
        self.parts.retain(|(known, _)| *known != worker);
        if part.members > 0 {
            self.parts.push((worker, part));
        }
    }

    /// What storage is told. A group that is only held names one member, which can take nothing.
    pub(super) fn change(&self, filter_id: FilterId, strategy: SharedStrategy) -> InterestChange {
        let sum = |of: fn(&GroupPart) -> u32| {
            self.parts
                .iter()
                .fold(0, |sum: u32, (_, part)| sum.saturating_add(of(part)))
        };
        InterestChange::SetGroup(SharedGroup {
            filter_id,
            share_name: self.share_name.clone(),
            topic_filter: self.topic_filter.clone(),
            strategy,
            members: sum(|part| part.members).max(1),
            window: sum(|part| part.window),
        })
    }

    /// The worker that gets the next message: each as often as it has members, but for those that can take none.
    pub(super) fn next_worker(&mut self) -> Option<WorkerId> {
        let is_open = |part: &&(WorkerId, GroupPart)| part.1.window > 0;
        let is_any_open = self.parts.iter().any(|part| is_open(&part));
        let parts = || self.parts.iter().filter(|part| !is_any_open || is_open(part));
        let members: u64 = parts().map(|(_, part)| u64::from(part.members)).sum();
        let mut at = self.turn.checked_rem(members)?;
        self.turn = self.turn.wrapping_add(1);
        for (worker, part) in parts() {
            match at.checked_sub(u64::from(part.members)) {
                Some(behind) => at = behind,
                None => return Some(*worker),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_get_messages_as_often_as_they_have_members() {
        let mut group = Group::parse(b"$share/g/a/+").unwrap();
        assert_eq!(group.next_worker(), None);
        for (worker, members) in [(0, 1), (1, 2), (2, 4)] {
            let part = GroupPart { members, window: 10 };
            group.resize(WorkerId(worker), part);
        }
        group.resize(WorkerId(2), GroupPart::default());
        let turns: Vec<_> = (0..6).filter_map(|_| group.next_worker()).map(|w| w.0).collect();
        assert_eq!(turns, [0, 1, 1, 0, 1, 1]);
        let none = GroupPart { members: 2, window: 0 };
        group.resize(WorkerId(1), none);
        let turns: Vec<_> = (0..3).filter_map(|_| group.next_worker()).map(|w| w.0).collect();
        assert_eq!(turns, [0, 0, 0], "the other one has no room");
        group.resize(WorkerId(0), none);
        assert!(group.next_worker().is_some(), "one of them says what becomes of it");
        group.resize(WorkerId(0), GroupPart { members: 1, window: 10 });
        group.resize(WorkerId(1), GroupPart { members: 2, window: 10 });
        let InterestChange::SetGroup(told) = group.change(FilterId(1), SharedStrategy::RoundRobin) else {
            panic!()
        };
        assert_eq!((&told.share_name[..], &told.topic_filter[..]), (&b"g"[..], &b"a/+"[..]));
        assert_eq!((told.members, told.window), (3, 20));
    }

    #[test]
    fn other_filters_are_no_groups() {
        for name in ["a", "$share", "$share/g", "$shared/g/a", "a/$share/g"] {
            assert!(Group::parse(name.as_bytes()).is_none(), "{name}");
        }
    }
}
