//! The node as its proxies see it: small worlds of a core and proxies that keep to the contract.

mod attaching;
mod counting;
mod disk;
mod flapping;
mod inspecting;
mod leases;
mod model;
mod passing;
mod publishing;
mod recovering;
mod restoring;
mod resuming;
mod retained;
mod sessions;
mod shared;
mod stored;
mod sys;
mod wills;

use std::collections::BTreeMap;

use bytes::Bytes;
use freshet_config::StorageConfig;
use freshet_storage_contract::{
    Answer, AttachProxy, AttachRefusal, AttachSession, Attached, ClusterUid, Delivery, DeliveryControl, DeliverySeq,
    DetachReason, FilterId, FilterShards, IncarnationId, InterestChange, InterestDelta, InterestVersion, Message,
    MonotonicMs, Operation, PROTOCOL_VERSION, Placement, PublishBatch, PublishOutcome, PublishSeq, PublisherId, QoS,
    RequestId, SessionEpoch, ShardId, ShardResume, Term, Will,
};

use crate::{LinkFault, Outputs, StorageCore, StorageFact, StorageSettings};

const CLUSTER: &str = "3f0c";
const TERM: Term = Term(100);
const A: u128 = 0xA;
const B: u128 = 0xB;
const C: u128 = 0xC;
const S0: ShardId = ShardId(0);

/// A core, its proxies and a clock.
struct World {
    core: StorageCore,
    placement: Placement,
    out: Outputs,
    now: MonotonicMs,
    facts: Vec<StorageFact>,
    proxies: BTreeMap<u128, Proxy>,
    /// None: the log is memory.
    disk: Option<disk::Disk>,
}

/// A proxy that keeps to the contract.
#[derive(Debug, Default)]
struct Proxy {
    term: Term,
    shards: BTreeMap<ShardId, ProxyShard>,
    answers: Vec<Answer>,
    closed: Option<LinkFault>,
}

#[derive(Debug, Default, Clone)]
struct ProxyShard {
    interest: u64,
    published: u64,
    received: u64,
    deliveries: Vec<Delivery>,
    outcomes: Vec<(u64, PublishOutcome)>,
}

fn settings(shards: u16) -> StorageSettings {
    let config = StorageConfig {
        cluster_uid: CLUSTER.to_owned(),
        shards,
        ..StorageConfig::default()
    };
    StorageSettings {
        recovery_hold_ms: 0,
        sys_interval_ms: 0,
        ..StorageSettings::new(&config, 7)
    }
}

fn world() -> World {
    World::new(settings(1))
}

impl World {
    fn new(settings: StorageSettings) -> Self {
        let now = MonotonicMs(1_000);
        let placement = Placement::new(&settings.cluster_uid, settings.shards, &settings.placement_rules).unwrap();
        let disk = disk::Disk::if_wanted();
        let core = match &disk {
            None => StorageCore::new(settings, TERM, now).unwrap(),
            Some(disk) => disk.restore(settings).finish(TERM, now),
        };
        Self {
            core,
            disk,
            placement,
            out: Outputs::new(),
            now,
            facts: Vec::new(),
            proxies: BTreeMap::new(),
        }
    }

    fn attach_frame(&self, proxy: u128) -> AttachProxy {
        let known = self.proxies.get(&proxy);
        let term = known.map_or(Term(0), |p| p.term);
        AttachProxy {
            cluster_uid: ClusterUid(CLUSTER.to_owned()),
            incarnation: IncarnationId(proxy),
            proxy_name: format!("proxy-{proxy:x}"),
            protocol_version: PROTOCOL_VERSION,
            features: Vec::new(),
            highest_term: term,
            resume: known
                .into_iter()
                .flat_map(|p| &p.shards)
                .map(|(shard, s)| ShardResume {
                    shard: *shard,
                    term,
                    received: DeliverySeq(s.received),
                })
                .collect(),
        }
    }

    fn try_attach(&mut self, proxy: u128) -> Result<Attached, AttachRefusal> {
        let frame = self.attach_frame(proxy);
        let attached = self.core.attach(&frame, self.now, &mut self.out)?;
        let known = self.proxies.entry(proxy).or_default();
        known.closed = None;
        for attachment in &attached.attachments {
            if known.term != attachment.term {
                known.term = attachment.term;
                known.shards.clear();
            }
            known.shards.entry(attachment.shard).or_default();
        }
        self.collect();
        Ok(attached)
    }

    /// Attaches and gives credit.
    fn attach(&mut self, proxy: u128) -> Attached {
        let attached = self.try_attach(proxy).unwrap();
        self.credit(proxy, 1 << 30);
        attached
    }

    /// A proxy comes that has seen a later term than the node's.
    fn raise_term(&mut self, proxy: u128) {
        let mut ahead = self.attach_frame(proxy);
        ahead.highest_term = Term(TERM.0 + 50);
        self.proxies.insert(proxy, Proxy::default());
        self.core.attach(&ahead, self.now, &mut self.out).unwrap();
        self.collect();
    }

    fn credit(&mut self, proxy: u128, bytes: u64) {
        self.control(proxy, DeliveryControl::Credit { bytes });
    }

    fn control(&mut self, proxy: u128, control: DeliveryControl) {
        self.core
            .handle_control(IncarnationId(proxy), control, self.now, &mut self.out);
        self.collect();
    }

    fn operate(&mut self, proxy: u128, operation: Operation) {
        self.core
            .handle(IncarnationId(proxy), operation, self.now, &mut self.out);
        self.collect();
    }

    fn lose_link(&mut self, proxy: u128) {
        self.core.detach_link(IncarnationId(proxy), self.now, &mut self.out);
        self.collect();
    }

    /// Hands out what the core brought out, checking numbers as a proxy does.
    fn collect(&mut self) {
        self.keep();
        self.facts.extend(self.out.drain_facts());
        for frame in self.out.drain_proxies() {
            let proxy = self
                .proxies
                .get_mut(&frame.incarnation.0)
                .expect("only attached proxies get frames");
            for delivery in frame.deliveries {
                let shard = proxy.shards.get_mut(&delivery.shard).unwrap();
                assert_eq!(
                    (delivery.term, delivery.seq.0),
                    (proxy.term, shard.received + 1),
                    "no gap, no repeat"
                );
                shard.received += 1;
                shard.deliveries.push(delivery.delivery);
            }
            for answer in frame.answers {
                if let Answer::Published { shard, first, outcomes } = &answer {
                    let shard = proxy.shards.get_mut(shard).unwrap();
                    shard.outcomes.extend((first.0..).zip(outcomes.iter().copied()));
                } else {
                    proxy.answers.push(answer);
                }
            }
            if frame.close.is_some() {
                proxy.closed = frame.close;
            }
        }
    }

    /// Lets time pass; whatever becomes due happens at its time.
    fn pass_ms(&mut self, ms: u64) {
        let until = MonotonicMs(self.now.0 + ms);
        for _ in 0..1_000_000 {
            let due = self.core.next_deadline().filter(|due| *due <= until);
            self.now = due.map_or(until, |due| due.max(self.now));
            if due.is_none() {
                return;
            }
            self.core.tick(self.now, &mut self.out);
            self.collect();
        }
        panic!("the core is never done at {:?}", self.now);
    }

    /// Lets time pass while these proxies renew their leases.
    fn pass_ms_with(&mut self, ms: u64, alive: &[u128]) {
        for step in 0..ms.div_ceil(1_000) {
            for proxy in alive {
                self.operate(*proxy, Operation::RenewLease);
            }
            self.pass_ms((ms - step * 1_000).min(1_000));
        }
    }

    fn shards_of(&self, filter: &str) -> Vec<ShardId> {
        match self.placement.shards_of_filter(filter) {
            FilterShards::One(shard) => vec![shard],
            FilterShards::All => (0..self.placement.shards()).map(ShardId).collect(),
        }
    }

    fn change_interest(&mut self, proxy: u128, shard: ShardId, changes: Vec<InterestChange>) -> InterestVersion {
        let of_shard = self.proxies.get_mut(&proxy).unwrap().shards.get_mut(&shard).unwrap();
        of_shard.interest += 1;
        let version = InterestVersion(of_shard.interest);
        self.operate(
            proxy,
            Operation::Interest(InterestDelta {
                shard,
                version,
                complete: false,
                changes,
            }),
        );
        version
    }

    fn subscribe(&mut self, proxy: u128, id: u32, filter: &str) {
        for shard in self.shards_of(filter) {
            let topic_filter = Bytes::copy_from_slice(filter.as_bytes());
            let change = InterestChange::Add {
                filter_id: FilterId(id),
                topic_filter,
            };
            self.change_interest(proxy, shard, vec![change]);
        }
        self.acknowledge(proxy);
        self.take_deliveries(proxy);
    }

    fn publish(&mut self, proxy: u128, message: Message) -> (ShardId, u64) {
        let shard = self
            .placement
            .shard_of_topic(std::str::from_utf8(&message.topic_name).unwrap());
        let of_shard = self.proxies.get_mut(&proxy).unwrap().shards.get_mut(&shard).unwrap();
        of_shard.published += 1;
        let seq = of_shard.published;
        self.publish_as(proxy, shard, seq, vec![message]);
        (shard, seq)
    }

    fn publish_as(&mut self, proxy: u128, shard: ShardId, first: u64, messages: Vec<Message>) {
        self.operate(
            proxy,
            Operation::Publish(PublishBatch {
                shard,
                first: PublishSeq(first),
                messages: messages.into_iter().map(Into::into).collect(),
                lasting: None,
            }),
        );
    }

    /// Acknowledges everything received.
    fn acknowledge(&mut self, proxy: u128) {
        let of_proxy = &self.proxies[&proxy];
        let term = of_proxy.term;
        let received: Vec<_> = of_proxy.shards.iter().map(|(shard, s)| (*shard, s.received)).collect();
        for (shard, seq) in received.into_iter().filter(|(_, seq)| *seq > 0) {
            self.control(
                proxy,
                DeliveryControl::Acknowledge {
                    shard,
                    term,
                    seq: DeliverySeq(seq),
                },
            );
        }
    }

    fn take_deliveries(&mut self, proxy: u128) -> Vec<Delivery> {
        let shards = self.proxies.get_mut(&proxy).unwrap().shards.values_mut();
        shards.flat_map(|s| std::mem::take(&mut s.deliveries)).collect()
    }

    /// Payloads of the messages that have arrived since the last call.
    fn take_payloads(&mut self, proxy: u128) -> Vec<String> {
        let payload = |d: Delivery| match d {
            Delivery::Message { message, .. } => Some(String::from_utf8(message.payload.to_vec()).unwrap()),
            _ => None,
        };
        self.take_deliveries(proxy).into_iter().filter_map(payload).collect()
    }

    fn take_outcomes(&mut self, proxy: u128) -> Vec<(u64, PublishOutcome)> {
        let shards = self.proxies.get_mut(&proxy).unwrap().shards.values_mut();
        shards.flat_map(|s| std::mem::take(&mut s.outcomes)).collect()
    }

    fn take_answers(&mut self, proxy: u128) -> Vec<Answer> {
        std::mem::take(&mut self.proxies.get_mut(&proxy).unwrap().answers)
    }

    fn closed(&self, proxy: u128) -> Option<&LinkFault> {
        self.proxies[&proxy].closed.as_ref()
    }

    fn ask_session(&mut self, proxy: u128, request: u64, client: &str, clean_start: bool, will: Option<Will>) {
        let attach = AttachSession {
            request: RequestId(request),
            client_id: Bytes::copy_from_slice(client.as_bytes()),
            clean_start,
            session_expiry_interval_s: 1_000,
            will: will.map(Box::new),
        };
        self.operate(proxy, Operation::AttachSession(attach));
    }

    /// Attaches a session that is free, and returns its epoch.
    fn attach_session(&mut self, proxy: u128, request: u64, client: &str, will: Option<Will>) -> SessionEpoch {
        self.ask_session(proxy, request, client, false, will);
        match self.take_answers(proxy)[..] {
            [
                Answer::SessionAttached {
                    request: answered,
                    epoch,
                    ..
                },
            ] => {
                assert_eq!(answered, RequestId(request));
                epoch
            }
            ref other => panic!("{other:?}"),
        }
    }

    fn detach_session(&mut self, proxy: u128, client: &str, epoch: SessionEpoch, reason: DetachReason) {
        let client_id = Bytes::copy_from_slice(client.as_bytes());
        self.operate(
            proxy,
            Operation::DetachSession {
                client_id,
                epoch,
                reason,
                session_expiry_interval_s: None,
            },
        );
    }
}

fn message(topic: &str, payload: &str, qos: QoS) -> Message {
    Message {
        topic_name: Bytes::copy_from_slice(topic.as_bytes()),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos,
        retain: false,
        publisher: PublisherId(9),
        message_expiry_interval_s: None,
        forwarded_properties: Bytes::new(),
        exactly_once: None,
    }
}

fn qos_0(topic: &str, payload: &str) -> Message {
    message(topic, payload, QoS::AtMostOnce)
}

fn qos_1(topic: &str, payload: &str) -> Message {
    message(topic, payload, QoS::AtLeastOnce)
}

fn retained(topic: &str, payload: &str) -> Message {
    Message {
        retain: true,
        ..qos_1(topic, payload)
    }
}
