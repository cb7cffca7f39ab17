//! Random histories of a few proxies against a plain model of what each of them has to get.
//!
//! Frames travel: what the core sends waits in transit until the proxy receives it, and a broken link loses it. Proxies
//! keep to the contract. The model knows, per life of a proxy, the messages it has to receive in order; at the end
//! every proxy is given time, and then nothing may be missing, nothing may have come twice, and every publication has
//! one outcome. Failing histories are shrunk and printed with their seed by proptest.

mod proxy;
mod sessions;
mod stored;

use std::collections::BTreeSet;

use proptest::prelude::*;

use self::proxy::{Arrived, Expected, SimProxy};
use super::*;

const PROXIES: usize = 3;
const FILTERS: [&str; 6] = ["a", "b", "a/x", "a/+", "+/x", "#"];
const TOPICS: [&str; 5] = ["a", "b", "a/x", "b/x", "$a/x"];

/// One event of a history.
#[derive(Debug, Clone)]
enum Event {
    /// A publication reaches storage, or is lost with the link that should have carried it.
    Publish {
        proxy: usize,
        topic: usize,
        qos: QoS,
        retain: bool,
        lost: bool,
    },
    Subscribe {
        proxy: usize,
        filter: usize,
    },
    Unsubscribe {
        proxy: usize,
        filter: usize,
    },
    /// Some of what is in transit arrives.
    Receive {
        proxy: usize,
        deliveries: usize,
    },
    /// What has arrived is acknowledged.
    Acknowledge {
        proxy: usize,
    },
    Credit {
        proxy: usize,
        bytes: u64,
    },
    LoseLink {
        proxy: usize,
    },
    Attach {
        proxy: usize,
    },
    /// Time passes; every proxy with a link renews its lease first unless it is hung.
    Pass {
        ms: u64,
    },
    /// The process stops: its lease will end.
    Die {
        proxy: usize,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let proxy = 0..PROXIES;
    let qos = prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)];
    prop_oneof![
        12 => (proxy.clone(), 0..TOPICS.len(), qos, prop::bool::weighted(0.2), prop::bool::weighted(0.1))
            .prop_map(|(proxy, topic, qos, retain, lost)| Event::Publish { proxy, topic, qos, retain, lost }),
        4 => (proxy.clone(), 0..FILTERS.len()).prop_map(|(proxy, filter)| Event::Subscribe { proxy, filter }),
        2 => (proxy.clone(), 0..FILTERS.len()).prop_map(|(proxy, filter)| Event::Unsubscribe { proxy, filter }),
        8 => (proxy.clone(), 1..8_usize).prop_map(|(proxy, deliveries)| Event::Receive { proxy, deliveries }),
        6 => proxy.clone().prop_map(|proxy| Event::Acknowledge { proxy }),
        3 => (proxy.clone(), 0..2_000_u64).prop_map(|(proxy, bytes)| Event::Credit { proxy, bytes }),
        2 => proxy.clone().prop_map(|proxy| Event::LoseLink { proxy }),
        4 => proxy.clone().prop_map(|proxy| Event::Attach { proxy }),
        3 => (1..2_500_u64).prop_map(|ms| Event::Pass { ms }),
        1 => proxy.prop_map(|proxy| Event::Die { proxy }),
    ]
}

/// The core, its proxies, and what the model knows.
struct History {
    core: StorageCore,
    placement: Placement,
    out: Outputs,
    now: MonotonicMs,
    proxies: Vec<SimProxy>,
    last_incarnation: u128,
    last_name: u64,
    retained: BTreeSet<String>,
}

impl History {
    fn new(settings: StorageSettings) -> Self {
        let now = MonotonicMs(0);
        let placement = Placement::new(&settings.cluster_uid, settings.shards, &[]).unwrap();
        let core = StorageCore::new(settings, TERM, now).unwrap();
        let mut history = Self {
            core,
            placement,
            out: Outputs::new(),
            now,
            proxies: Vec::new(),
            last_incarnation: 0,
            last_name: 0,
            retained: BTreeSet::new(),
        };
        for _ in 0..PROXIES {
            let proxy = history.next_life();
            history.proxies.push(proxy);
        }
        history
    }

    fn next_life(&mut self) -> SimProxy {
        self.last_incarnation += 1;
        SimProxy::new(IncarnationId(self.last_incarnation), self.placement.shards())
    }

    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Publish {
                proxy,
                topic,
                qos,
                retain,
                lost,
            } => {
                self.last_name += 1;
                // An empty payload deletes what is retained.
                let payload = if retain && self.last_name.is_multiple_of(4) {
                    ""
                } else {
                    "x"
                };
                // Messages are told apart by what travels with them.
                let forwarded_properties = Bytes::from(self.last_name.to_string());
                let message = Message {
                    retain,
                    forwarded_properties,
                    ..message(TOPICS[topic], payload, qos)
                };
                if lost {
                    self.lose_link(proxy);
                }
                let shard = self.placement.shard_of_topic(TOPICS[topic]);
                let first = self.proxies[proxy].number(shard, message);
                self.send_publications(proxy, shard, first);
            }
            Event::Subscribe { proxy, filter } => self.change_interest(proxy, filter, true),
            Event::Unsubscribe { proxy, filter } => self.change_interest(proxy, filter, false),
            Event::Receive { proxy, deliveries } => self.proxies[proxy].receive(deliveries),
            Event::Acknowledge { proxy } => self.acknowledge(proxy),
            Event::Credit { proxy, bytes } => self.control(proxy, DeliveryControl::Credit { bytes }),
            Event::LoseLink { proxy } => self.lose_link(proxy),
            Event::Attach { proxy } => self.attach(proxy),
            Event::Pass { ms } => self.pass_ms(ms),
            Event::Die { proxy } => {
                let id = self.proxies[proxy].id;
                self.core.detach_link(id, self.now, &mut self.out);
                self.collect();
                let next = self.next_life();
                self.proxies[proxy] = next;
            }
        }
        self.collect();
    }

    /// The model's part of routing: everybody who has told storage of a matching filter gets the message.
    fn expect(&mut self, shard: ShardId, message: &Message) {
        let topic = String::from_utf8(message.topic_name.to_vec()).unwrap();
        if message.retain && message.payload.is_empty() {
            self.retained.remove(&topic);
        } else if message.retain {
            self.retained.insert(topic.clone());
        }
        for proxy in &mut self.proxies {
            let of_shard = &mut proxy.shards[usize::from(shard.0)];
            let mut filter_ids: Vec<_> = of_shard
                .told
                .iter()
                .filter(|(_, filter)| freshet_mqtt::topic_matches(FILTERS[**filter], &topic))
                .map(|(id, _)| *id)
                .collect();
            filter_ids.sort_unstable();
            if !filter_ids.is_empty() {
                let optional = message.qos == QoS::AtMostOnce;
                of_shard.expected.push(Expected {
                    name: name_of(message),
                    filter_ids,
                    optional,
                });
            }
        }
    }

    fn send_publications(&mut self, proxy: usize, shard: ShardId, first: u64) {
        if !self.proxies[proxy].linked {
            return;
        }
        let (messages, new_from) = self.proxies[proxy].publications_from(shard, first);
        for message in &messages[new_from..] {
            self.expect(shard, message);
        }
        if !messages.is_empty() {
            let batch = PublishBatch {
                shard,
                first: PublishSeq(first),
                messages: messages.into_iter().map(Into::into).collect(),
                lasting: None,
            };
            self.operate(proxy, Operation::Publish(batch));
        }
    }

    fn change_interest(&mut self, proxy: usize, filter: usize, add: bool) {
        let shards: Vec<u16> = match self.placement.shards_of_filter(FILTERS[filter]) {
            FilterShards::One(shard) => vec![shard.0],
            FilterShards::All => (0..self.placement.shards()).collect(),
        };
        let id = self.proxies[proxy].want(filter, add);
        let Some(filter_id) = id else { return };
        for shard in shards.into_iter().map(ShardId) {
            let topic_filter = Bytes::from_static(FILTERS[filter].as_bytes());
            let change = if add {
                InterestChange::Add {
                    filter_id,
                    topic_filter,
                }
            } else {
                InterestChange::Remove { filter_id }
            };
            let delta = self.proxies[proxy].change(shard, filter_id, filter, add, change);
            if let Some(delta) = delta {
                self.operate(proxy, Operation::Interest(delta));
            }
        }
    }

    fn acknowledge(&mut self, proxy: usize) {
        for control in self.proxies[proxy].acknowledgements() {
            self.control(proxy, control);
        }
    }

    fn operate(&mut self, proxy: usize, operation: Operation) {
        self.core
            .handle(self.proxies[proxy].id, operation, self.now, &mut self.out);
        self.collect();
    }

    fn control(&mut self, proxy: usize, control: DeliveryControl) {
        if self.proxies[proxy].linked {
            self.core
                .handle_control(self.proxies[proxy].id, control, self.now, &mut self.out);
            self.collect();
        }
    }

    fn lose_link(&mut self, proxy: usize) {
        self.core.detach_link(self.proxies[proxy].id, self.now, &mut self.out);
        self.collect();
        self.proxies[proxy].lose_link();
    }

    fn attach(&mut self, proxy: usize) {
        if self.proxies[proxy].linked {
            return;
        }
        let frame = self.proxies[proxy].attach_frame();
        let attached = match self.core.attach(&frame, self.now, &mut self.out) {
            Ok(attached) => attached,
            Err(AttachRefusal::IncarnationGone { .. }) => {
                let next = self.next_life();
                self.proxies[proxy] = next;
                let frame = self.proxies[proxy].attach_frame();
                self.core.attach(&frame, self.now, &mut self.out).unwrap()
            }
            Err(refusal) => panic!("{refusal}"),
        };
        self.proxies[proxy].linked = true;
        self.collect();
        for attachment in &attached.attachments {
            assert!(!attachment.overrun, "this proxy forgets nothing");
            let shard = attachment.shard;
            if let Some(delta) = self.proxies[proxy].resume(attachment) {
                self.operate(proxy, Operation::Interest(delta));
            }
            let first = self.proxies[proxy].oldest_unanswered(shard);
            self.send_publications(proxy, shard, first);
        }
    }

    fn pass_ms(&mut self, ms: u64) {
        let until = MonotonicMs(self.now.0 + ms);
        for proxy in 0..PROXIES {
            if self.proxies[proxy].linked {
                self.operate(proxy, Operation::RenewLease);
            }
        }
        for _ in 0..10_000 {
            let due = self.core.next_deadline().filter(|due| *due <= until);
            self.now = due.map_or(until, |due| due.max(self.now));
            if due.is_none() {
                return;
            }
            self.core.tick(self.now, &mut self.out);
            self.collect();
        }
        panic!("the core is never done");
    }

    /// Puts what the core brought out on its way.
    fn collect(&mut self) {
        self.out.drain_facts().for_each(drop);
        let frames: Vec<_> = self.out.drain_proxies().collect();
        for frame in frames {
            assert!(
                frame.close.is_none(),
                "a proxy that keeps to the contract is not closed: {:?}",
                frame.close
            );
            let Some(proxy) = self.proxies.iter_mut().find(|p| p.id == frame.incarnation && p.linked) else {
                continue;
            };
            proxy.in_transit.extend(frame.deliveries);
            for answer in frame.answers {
                proxy.take_answer(answer);
            }
        }
    }

    /// Gives everybody what they need to finish.
    fn finish(&mut self) {
        for _ in 0..50 {
            for proxy in 0..PROXIES {
                self.attach(proxy);
                self.control(proxy, DeliveryControl::Credit { bytes: 1 << 20 });
                self.proxies[proxy].receive(usize::MAX);
                self.acknowledge(proxy);
            }
            self.pass_ms(1_000);
        }
    }

    fn check_end(&self, may_overrun: bool) {
        let stats = self.core.stats();
        for shard in &stats.shards {
            let g = shard.gauges;
            assert_eq!(
                (g.ring_deliveries, g.ring_bytes, g.publications_waiting, g.held_bytes),
                (0, 0, 0, 0)
            );
            assert_eq!(g.reads_waiting, 0);
        }
        let stored: u64 = stats.shards.iter().map(|s| s.gauges.retained_messages).sum();
        assert_eq!(stored, self.retained.len() as u64);
        for proxy in &self.proxies {
            for (shard, of_shard) in proxy.shards.iter().enumerate() {
                assert_eq!(of_shard.unanswered.len(), 0, "{:?} at shard {shard}", proxy.id);
                check_arrived(&of_shard.expected, &of_shard.arrived, may_overrun);
            }
        }
    }
}

/// What tells a message apart.
fn name_of(message: &Message) -> String {
    String::from_utf8(message.forwarded_properties.to_vec()).unwrap()
}

/// Everything expected has arrived in order and once; what is missing is QoS 0, or stands before an overrun.
fn check_arrived(expected: &[Expected], arrived: &[Arrived], may_overrun: bool) {
    let mut rest = expected.iter();
    let mut told = false;
    for arrived in arrived {
        match arrived {
            Arrived::Overrun => {
                assert!(may_overrun, "nothing was full");
                told = true;
            }
            Arrived::Message { name, filter_ids } => {
                for candidate in rest.by_ref() {
                    if candidate.name == *name && candidate.filter_ids == *filter_ids {
                        break;
                    }
                    assert!(
                        candidate.optional || told,
                        "{} is missing before {name}",
                        candidate.name
                    );
                }
                told = false;
            }
        }
    }
    for missing in rest {
        assert!(missing.optional || told, "{} never came", missing.name);
    }
    for expected in expected {
        let count = arrived.iter().filter(|a| a.is(&expected.name)).count();
        assert!(count <= 1, "{} came twice", expected.name);
    }
    let messages = arrived.iter().filter(|a| matches!(a, Arrived::Message { .. })).count();
    assert!(messages <= expected.len(), "nothing comes that nobody asked for");
}

proptest! {
    #[test]
    fn nothing_is_lost_and_nothing_comes_twice(events in prop::collection::vec(event(), 1..120), shards in 1_u16..4) {
        let mut history = History::new(StorageSettings { recovery_hold_ms: 0, ..settings(shards) });
        for event in &events {
            history.apply(event);
        }
        history.finish();
        history.check_end(false);
    }

    #[test]
    fn an_overrun_is_told_before_anything_that_follows_it(events in prop::collection::vec(event(), 1..120)) {
        let mut history = History::new(StorageSettings { ring_bytes: 700, ..settings(1) });
        for event in &events {
            history.apply(event);
        }
        history.finish();
        history.check_end(true);
    }

    #[test]
    fn an_outcome_means_that_every_living_proxy_has_the_message(
        events in prop::collection::vec(event(), 1..120),
    ) {
        // Nobody falls silent here, so only acknowledgements and ends of leases release a publication.
        let mut history = History::new(StorageSettings { silent_after_ms: 1 << 40, ..settings(1) });
        for event in &events {
            history.apply(event);
            let delivered: Vec<String> = history.proxies.iter().flat_map(|p| p.delivered.iter().cloned()).collect();
            for proxy in &history.proxies {
                let lives = history.core.stats().incarnations > 0 && proxy.linked;
                for expected in proxy.shards.iter().flat_map(|s| &s.expected).filter(|e| lives && !e.optional) {
                    if delivered.contains(&expected.name) {
                        let arrived = proxy.shards.iter().any(|s| s.arrived.iter().any(|a| a.is(&expected.name)));
                        prop_assert!(arrived, "{} was answered and has not arrived", expected.name);
                    }
                }
            }
        }
        history.finish();
        history.check_end(false);
    }
}
