//! Shared subscriptions of the small storage: a queue for each group, leases within the window.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use freshet_mqtt::{QoS, TopicFilter, topic_matches};
use freshet_storage_contract::{FilterId, Lease, Message, Position, Settlement, SharedMessage};

use crate::exchange::GroupPart;

#[derive(Default)]
pub(in super::super) struct Groups {
    groups: BTreeMap<FilterId, Group>,
    last: u64,
    /// Every settlement that was heard, with the payload of its message.
    pub(in super::super) settled: Vec<(Bytes, Settlement)>,
}

struct Group {
    topic_filter: Bytes,
    part: GroupPart,
    waiting: VecDeque<(Position, Message)>,
    leases: BTreeMap<u64, (Position, Message)>,
}

/// The part of a subscription's name that topics are matched with; none: it is no shared subscription.
pub(super) fn shared_filter(name: &[u8]) -> Option<Bytes> {
    let filter = TopicFilter::parse(str::from_utf8(name).unwrap()).unwrap();
    let shared = filter.shared()?;
    Some(Bytes::copy_from_slice(shared.filter.as_bytes()))
}

impl Groups {
    pub(super) fn resize(&mut self, filter_id: FilterId, name: &[u8], part: GroupPart) {
        let topic_filter = shared_filter(name).expect("a shared subscription");
        let group = self.groups.entry(filter_id).or_insert_with(|| Group {
            topic_filter,
            part,
            waiting: VecDeque::new(),
            leases: BTreeMap::new(),
        });
        group.part = part;
    }

    pub(super) fn remove(&mut self, filter_id: FilterId) {
        self.groups.remove(&filter_id);
    }

    /// Queues a message for each group that it matches; those of QoS 0 are given at once.
    pub(super) fn append(&mut self, message: &Message, position: Position) -> Vec<SharedMessage> {
        let topic = str::from_utf8(&message.topic_name).unwrap();
        let mut given = Vec::new();
        for (filter_id, group) in &mut self.groups {
            if !topic_matches(str::from_utf8(&group.topic_filter).unwrap(), topic) {
                continue;
            }
            if message.qos == QoS::AtMostOnce {
                given.push(SharedMessage {
                    filter_id: *filter_id,
                    message: message.clone().into(),
                    lease: None,
                });
            } else {
                group.waiting.push_back((position, message.clone()));
            }
        }
        given
    }

    pub(super) fn matches(&self, topic: &str) -> bool {
        let filters = self.groups.values().map(|group| &group.topic_filter);
        filters
            .into_iter()
            .any(|f| topic_matches(str::from_utf8(f).unwrap(), topic))
    }

    /// What can be given now.
    pub(super) fn give(&mut self) -> Vec<SharedMessage> {
        let mut given = Vec::new();
        for (filter_id, group) in &mut self.groups {
            while group.leases.len() < group.part.window as usize {
                let Some((position, message)) = group.waiting.pop_front() else {
                    break;
                };
                self.last += 1;
                group.leases.insert(self.last, (position, message.clone()));
                let lease = Lease {
                    position,
                    number: self.last,
                };
                given.push(SharedMessage {
                    filter_id: *filter_id,
                    message: message.into(),
                    lease: Some(lease),
                });
            }
        }
        given
    }

    pub(super) fn settle(&mut self, filter_id: FilterId, settled: &[(Lease, Settlement)]) {
        // Those of a group that the worker has left are passed over.
        let Some(group) = self.groups.get_mut(&filter_id) else {
            return;
        };
        for (lease, settlement) in settled {
            let leased = group.leases.remove(&lease.number).expect("settled once");
            self.settled.push((leased.1.payload.clone(), *settlement));
            if *settlement == Settlement::Returned {
                let at = group.waiting.partition_point(|(position, _)| *position < leased.0);
                group.waiting.insert(at, leased);
            }
        }
    }

    /// Messages that have not found their end.
    pub(in super::super) fn unsettled(&self) -> usize {
        self.groups.values().map(|g| g.leases.len() + g.waiting.len()).sum()
    }

    /// The group's part as the worker has told it.
    pub(in super::super) fn part(&self) -> Option<GroupPart> {
        self.groups.values().next().map(|group| group.part)
    }
}
