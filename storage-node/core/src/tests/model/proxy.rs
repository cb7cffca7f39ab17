//! A proxy of the model: keeps to the contract, and remembers what it was owed and what it got.

use std::collections::VecDeque;

use freshet_storage_contract::{NumberedDelivery, ShardAttachment};

use super::*;

/// One life of a proxy.
#[derive(Debug)]
pub(super) struct SimProxy {
    pub(super) id: IncarnationId,
    pub(super) linked: bool,
    pub(super) shards: Vec<SimShard>,
    pub(super) in_transit: VecDeque<NumberedDelivery>,
    /// Publications of QoS >= 1 answered with `Delivered`.
    pub(super) delivered: Vec<String>,
    wanted: BTreeMap<usize, FilterId>,
    last_filter_id: u32,
}

#[derive(Debug, Default)]
pub(super) struct SimShard {
    /// What storage has been told: filter ids and the filters they stand for.
    pub(super) told: BTreeMap<FilterId, usize>,
    pub(super) expected: Vec<Expected>,
    pub(super) arrived: Vec<Arrived>,
    /// Publications without outcome, and whether storage has had them.
    pub(super) unanswered: VecDeque<(u64, Message, bool)>,
    wanted: BTreeMap<FilterId, usize>,
    version: u64,
    received: u64,
    numbered: u64,
}

/// A copy that the proxy has to get.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) name: String,
    pub(super) filter_ids: Vec<FilterId>,
    /// QoS 0: it may be shed.
    pub(super) optional: bool,
}

/// Something that came.
#[derive(Debug)]
pub(super) enum Arrived {
    Message { name: String, filter_ids: Vec<FilterId> },
    Overrun,
}

impl Arrived {
    pub(super) fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Message { name, .. } if name == wanted)
    }
}

impl SimProxy {
    pub(super) fn new(id: IncarnationId, shards: u16) -> Self {
        Self {
            id,
            linked: false,
            shards: (0..shards).map(|_| SimShard::default()).collect(),
            in_transit: VecDeque::new(),
            delivered: Vec::new(),
            wanted: BTreeMap::new(),
            last_filter_id: 0,
        }
    }

    pub(super) fn attach_frame(&self) -> AttachProxy {
        let resume = |(shard, s): (u16, &SimShard)| ShardResume {
            shard: ShardId(shard),
            term: TERM,
            received: DeliverySeq(s.received),
        };
        AttachProxy {
            cluster_uid: ClusterUid(CLUSTER.to_owned()),
            incarnation: self.id,
            proxy_name: "proxy".to_owned(),
            protocol_version: PROTOCOL_VERSION,
            features: Vec::new(),
            highest_term: TERM,
            resume: (0..).zip(&self.shards).map(resume).collect(),
        }
    }

    pub(super) fn lose_link(&mut self) {
        self.linked = false;
        self.in_transit.clear();
    }

    /// Numbers a publication.
    pub(super) fn number(&mut self, shard: ShardId, message: Message) -> u64 {
        let s = &mut self.shards[usize::from(shard.0)];
        s.numbered += 1;
        s.unanswered.push_back((s.numbered, message, false));
        s.numbered
    }

    pub(super) fn oldest_unanswered(&self, shard: ShardId) -> u64 {
        self.shards[usize::from(shard.0)]
            .unanswered
            .front()
            .map_or(1, |(seq, ..)| *seq)
    }

    /// Unanswered publications from `first` on, and the index of the first one that storage has not had.
    pub(super) fn publications_from(&mut self, shard: ShardId, first: u64) -> (Vec<Message>, usize) {
        let s = &mut self.shards[usize::from(shard.0)];
        let mut had = 0;
        let mut messages = Vec::new();
        for (_, message, storage_has_it) in s.unanswered.iter_mut().filter(|(seq, ..)| *seq >= first) {
            had += usize::from(std::mem::replace(storage_has_it, true));
            messages.push(message.clone());
        }
        (messages, had)
    }

    /// Decides on a filter; none: nothing changes.
    pub(super) fn want(&mut self, filter: usize, add: bool) -> Option<FilterId> {
        if !add {
            return self.wanted.remove(&filter);
        }
        if self.wanted.contains_key(&filter) {
            return None;
        }
        self.last_filter_id += 1;
        self.wanted.insert(filter, FilterId(self.last_filter_id));
        Some(FilterId(self.last_filter_id))
    }

    /// The delta of a change, when there is a link to send it on.
    pub(super) fn change(
        &mut self,
        shard: ShardId,
        id: FilterId,
        filter: usize,
        add: bool,
        change: InterestChange,
    ) -> Option<InterestDelta> {
        let linked = self.linked;
        let s = &mut self.shards[usize::from(shard.0)];
        s.version += 1;
        if add {
            s.wanted.insert(id, filter);
        } else {
            s.wanted.remove(&id);
        }
        linked.then(|| {
            s.told.clone_from(&s.wanted);
            InterestDelta {
                shard,
                version: InterestVersion(s.version),
                complete: false,
                changes: vec![change],
            }
        })
    }

    /// What has to be told on a new link.
    pub(super) fn resume(&mut self, found: &ShardAttachment) -> Option<InterestDelta> {
        let s = &mut self.shards[usize::from(found.shard.0)];
        if found.interest_version.0 == s.version {
            return None;
        }
        s.version += 1;
        s.told.clone_from(&s.wanted);
        let add = |(id, filter): (&FilterId, &usize)| InterestChange::Add {
            filter_id: *id,
            topic_filter: Bytes::from_static(FILTERS[*filter].as_bytes()),
        };
        let changes = s.wanted.iter().map(add).collect();
        Some(InterestDelta {
            shard: found.shard,
            version: InterestVersion(s.version),
            complete: true,
            changes,
        })
    }

    /// Takes some of what is in transit.
    pub(super) fn receive(&mut self, count: usize) {
        for _ in 0..count {
            let Some(NumberedDelivery {
                shard,
                term,
                seq,
                delivery,
            }) = self.in_transit.pop_front()
            else {
                return;
            };
            let s = &mut self.shards[usize::from(shard.0)];
            assert_eq!((term, seq.0), (TERM, s.received + 1), "no gap, no repeat");
            s.received += 1;
            match delivery {
                Delivery::Message {
                    filter_ids, message, ..
                } => {
                    s.arrived.push(Arrived::Message {
                        name: name_of(&message),
                        filter_ids: filter_ids.as_slice().to_vec(),
                    });
                }
                Delivery::Overrun { .. } => s.arrived.push(Arrived::Overrun),
                Delivery::Marker { version } => assert!(version.0 <= s.version),
                Delivery::Retained { .. }
                | Delivery::Started { .. }
                | Delivery::Pulled { .. }
                | Delivery::Fetched { .. }
                | Delivery::Shared(_) => panic!("nobody asked"),
            }
        }
    }

    pub(super) fn acknowledgements(&self) -> Vec<DeliveryControl> {
        let acknowledge = |(shard, s): (u16, &SimShard)| DeliveryControl::Acknowledge {
            shard: ShardId(shard),
            term: TERM,
            seq: DeliverySeq(s.received),
        };
        (0..)
            .zip(&self.shards)
            .filter(|(_, s)| s.received > 0)
            .map(acknowledge)
            .collect()
    }

    /// Outcomes come in order and without gaps; those of an earlier link may come again.
    pub(super) fn take_answer(&mut self, answer: Answer) {
        let Answer::Published { shard, first, outcomes } = answer else {
            return;
        };
        let s = &mut self.shards[usize::from(shard.0)];
        for (seq, outcome) in (first.0..).zip(outcomes) {
            let oldest = s.unanswered.front().map_or(s.numbered + 1, |(seq, ..)| *seq);
            assert!(seq <= oldest, "the outcome of {oldest} is missing");
            if seq == oldest {
                let (_, message, _) = s
                    .unanswered
                    .pop_front()
                    .expect("an outcome for something that was published");
                if outcome == PublishOutcome::Delivered && message.qos != QoS::AtMostOnce {
                    self.delivered.push(name_of(&message));
                }
            }
        }
    }
}
