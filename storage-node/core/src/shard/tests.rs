//! A shard over a log that takes its time: the order of what waits for it, and effects between shards.

mod ahead;
mod shared;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use freshet_config::StorageConfig;
use freshet_storage_contract::{
    Answer, AttachSession, Delivery, EnsureDurable, ExactlyOnce, FilterId, IncarnationId, InterestChange,
    InterestDelta, InterestVersion, Message, PacketId, Placement, Position, PublishBatch, PublishOutcome, PublishSeq,
    PublisherId, QoS, RequestId, SessionEpoch, UpdateSession,
};

use super::*;
use crate::incarnations::Incarnations;
use crate::outputs::Outputs;

const S0: ShardId = ShardId(0);
const NOW: MonotonicMs = MonotonicMs(10);

/// A log whose entries are committed when the test says so.
#[derive(Debug, Default)]
struct SlowLog {
    last: u64,
    proposed: VecDeque<(Position, Entry)>,
    committed: usize,
}

impl CommitLog for SlowLog {
    fn begin(&mut self, _: Term) {}

    fn propose(&mut self, entry: Entry) -> Position {
        self.last += 1;
        self.proposed.push_back((Position(self.last), entry));
        Position(self.last)
    }

    fn next_committed(&mut self) -> Option<(Position, Entry)> {
        self.committed = self.committed.checked_sub(1)?;
        self.proposed.pop_front()
    }
}

/// A shard with one proxy that wants everything.
struct Bench {
    shard: Shard<SlowLog>,
    key: PeerKey,
    settings: StorageSettings,
    placement: Placement,
    proxies: Incarnations,
    common: CommonFilters,
    usage: Usage,
    out: Outputs,
}

fn bench() -> Bench {
    let config = StorageConfig {
        shards: 1,
        ..StorageConfig::default()
    };
    let settings = StorageSettings {
        recovery_hold_ms: 0,
        ..StorageSettings::new(&config, 1)
    };
    let placement = Placement::new(&settings.cluster_uid, 1, &[]).unwrap();
    let mut proxies = Incarnations::default();
    let key = proxies.begin(IncarnationId(1), "proxy", MonotonicMs(1_000_000));
    proxies.link(key, MonotonicMs(1_000_000));
    proxies.add_credit(key, 1 << 30);
    let shard = Shard::new(S0, Term(1), SlowLog::default(), &settings, NOW);
    let mut bench = Bench {
        shard,
        key,
        settings,
        placement,
        proxies,
        common: CommonFilters::new(KeyedHash::new(7)),
        usage: Usage::default(),
        out: Outputs::new(),
    };
    bench.run(|shard, key, turn| {
        shard.attach(key, None, turn);
        let changes = vec![InterestChange::Add {
            filter_id: FilterId(1),
            topic_filter: Bytes::from_static(b"#"),
        }];
        let delta = InterestDelta {
            shard: S0,
            version: InterestVersion(1),
            complete: false,
            changes,
        };
        shard.change_interest(key, &delta, turn);
    });
    bench.take_payloads();
    bench
}

impl Bench {
    fn run(&mut self, what: impl FnOnce(&mut Shard<SlowLog>, PeerKey, &mut Turn<'_>)) {
        self.run_at(NOW, what);
    }

    fn run_at(&mut self, now: MonotonicMs, what: impl FnOnce(&mut Shard<SlowLog>, PeerKey, &mut Turn<'_>)) {
        let mut turn = Turn {
            now,
            settings: &self.settings,
            placement: &self.placement,
            proxies: &mut self.proxies,
            common: &mut self.common,
            usage: &mut self.usage,
            out: &mut self.out,
        };
        what(&mut self.shard, self.key, &mut turn);
    }

    fn publish(&mut self, seq: u64, payload: &str, qos: QoS, retain: bool) {
        let batch = PublishBatch {
            shard: S0,
            first: PublishSeq(seq),
            messages: vec![message(payload, qos, retain).into()],
            lasting: None,
        };
        self.run(|shard, key, turn| shard.publish(key, batch, turn));
    }

    fn commit(&mut self, entries: usize) {
        self.shard.log.committed = entries;
        self.run(|shard, _, turn| shard.settle(turn));
    }

    fn take_answers(&mut self) -> Vec<Answer> {
        self.out.drain_proxies().flat_map(|f| f.answers).collect()
    }

    fn take_payloads(&mut self) -> Vec<String> {
        let deliveries: Vec<_> = self.out.drain_proxies().flat_map(|f| f.deliveries).collect();
        deliveries
            .into_iter()
            .filter_map(|d| match d.delivery {
                Delivery::Message { message, .. } => Some(String::from_utf8(message.payload.to_vec()).unwrap()),
                _ => None,
            })
            .collect()
    }
}

fn message(payload: &str, qos: QoS, retain: bool) -> Message {
    Message {
        topic_name: Bytes::from_static(b"t"),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos,
        retain,
        publisher: PublisherId(0),
        message_expiry_interval_s: None,
        forwarded_properties: Bytes::new(),
        exactly_once: None,
    }
}

#[test]
fn a_live_message_waits_behind_one_that_waits_for_the_log() {
    let mut b = bench();
    b.publish(1, "stored", QoS::AtLeastOnce, true);
    b.publish(2, "live", QoS::AtLeastOnce, false);
    b.publish(3, "stored too", QoS::ExactlyOnce, true);
    b.publish(4, "live too", QoS::ExactlyOnce, false);
    assert_eq!(b.take_payloads(), Vec::<String>::new());
    assert_eq!(
        b.shard.state.retained.usage().messages,
        0,
        "nothing acts before it is committed"
    );
    b.commit(1);
    assert_eq!(b.take_payloads(), ["stored", "live"]);
    b.commit(1);
    assert_eq!(b.take_payloads(), ["stored too", "live too"]);
}

#[test]
fn only_qos_0_overtakes() {
    let mut b = bench();
    b.publish(1, "stored", QoS::AtLeastOnce, true);
    b.publish(2, "fast", QoS::AtMostOnce, false);
    assert_eq!(b.take_payloads(), ["fast"]);
    b.commit(1);
    assert_eq!(b.take_payloads(), ["stored"]);
}

#[test]
fn an_effect_that_arrives_twice_before_the_log_commits_acts_once() {
    let mut b = bench();
    for _ in 0..2 {
        let will = message("will", QoS::AtLeastOnce, true);
        b.run(|shard, _, turn| assert!(shard.receive_effect(ShardId(5), 1, will, turn)));
    }
    assert_eq!(b.shard.take_confirmations(), []);
    assert_eq!(b.shard.log.proposed.len(), 1, "proposed once");
    b.commit(1);
    assert_eq!(b.take_payloads(), ["will"]);
    assert_eq!(b.shard.take_confirmations(), [(ShardId(5), 1)]);
    let late = message("will", QoS::AtLeastOnce, true);
    b.run(|shard, _, turn| assert!(shard.receive_effect(ShardId(5), 1, late, turn)));
    assert_eq!(
        b.shard.take_confirmations(),
        [(ShardId(5), 1)],
        "confirmed again, not proposed again"
    );
    assert_eq!(b.shard.log.proposed.len(), 0);
}

#[test]
fn a_refused_effect_is_confirmed_all_the_same() {
    let mut b = bench();
    b.settings.retained_limits.bytes = 1;
    let will = message("will", QoS::AtLeastOnce, true);
    b.run(|shard, _, turn| assert!(shard.receive_effect(ShardId(5), 1, will, turn)));
    b.commit(1);
    assert_eq!(b.take_payloads(), Vec::<String>::new());
    assert_eq!(b.shard.take_confirmations(), [(ShardId(5), 1)]);
}

#[test]
fn sums_of_the_node_follow_a_shard_and_return_to_nothing() {
    let mut b = bench();
    assert!(b.usage.session_bytes + b.common.bytes() > 0);
    b.publish(1, "stored", QoS::AtLeastOnce, true);
    b.commit(1);
    assert_eq!(b.usage.retained.messages, 1);
    b.publish(2, "", QoS::AtLeastOnce, true);
    b.commit(1);
    assert_eq!(b.usage.retained, crate::usage::RetainedUsage::default());
    b.run(|shard, key, turn| {
        shard.depart(key, turn);
    });
    b.commit(1);
    b.run(|shard, _, turn| shard.tick(turn));
    assert_eq!((b.usage, b.common.bytes()), (Usage::default(), 0));
    assert!(!b.shard.has_peer(b.key));
}

#[test]
fn outcomes_wait_for_the_log_in_order() {
    let mut b = bench();
    b.run(|shard, key, turn| {
        let changes = vec![InterestChange::Remove { filter_id: FilterId(1) }];
        let delta = InterestDelta {
            shard: S0,
            version: InterestVersion(2),
            complete: false,
            changes,
        };
        shard.change_interest(key, &delta, turn);
    });
    let outcomes = |b: &mut Bench| -> Vec<PublishOutcome> {
        b.out
            .drain_proxies()
            .flat_map(|f| f.answers)
            .flat_map(|a| match a {
                Answer::Published { outcomes, .. } => outcomes,
                other => panic!("{other:?}"),
            })
            .collect()
    };
    b.publish(1, "stored", QoS::AtLeastOnce, true);
    b.publish(2, "fast", QoS::AtMostOnce, false);
    assert_eq!(outcomes(&mut b), []);
    b.commit(1);
    assert_eq!(outcomes(&mut b), [PublishOutcome::NoMatchingSubscribers; 2]);
}

fn ensure(filter: &'static str) -> EnsureDurable {
    EnsureDurable {
        request: RequestId(1),
        shard: S0,
        session_shard: S0,
        topic_filter: Bytes::from_static(filter.as_bytes()),
    }
}

#[test]
fn a_message_behind_a_filter_that_waits_for_the_log_is_queued_for_it() {
    let mut b = bench();
    b.run(|shard, key, turn| shard.ensure_durable(key, ensure("t"), turn));
    b.publish(1, "behind", QoS::AtLeastOnce, false);
    b.publish(2, "unqueued", QoS::AtMostOnce, false);
    assert_eq!(
        b.take_payloads(),
        ["unqueued"],
        "only QoS 0 does not ask what is queued"
    );
    b.commit(1);
    let deliveries: Vec<_> = b.out.drain_proxies().flat_map(|f| f.deliveries).collect();
    let [Delivery::Started { position: start, .. }] = deliveries.iter().map(|d| &d.delivery).collect::<Vec<_>>()[..]
    else {
        panic!("{deliveries:?}")
    };
    b.commit(1);
    let deliveries: Vec<_> = b.out.drain_proxies().flat_map(|f| f.deliveries).collect();
    match deliveries.iter().map(|d| &d.delivery).collect::<Vec<_>>()[..] {
        [
            Delivery::Message {
                position: Some(position),
                ..
            },
        ] => assert!(position > start),
        ref other => panic!("{other:?}"),
    }
    assert_eq!(b.shard.state.queues.messages(), 1);
}

#[test]
fn a_session_is_attached_when_that_is_committed() {
    let mut b = bench();
    let attach = AttachSession {
        request: RequestId(4),
        client_id: Bytes::from_static(b"c"),
        clean_start: false,
        session_expiry_interval_s: 60,
        will: None,
    };
    b.run(|shard, key, turn| shard.attach_session(key, attach, turn));
    assert_eq!(b.take_answers(), []);
    b.commit(1);
    let answers = b.take_answers();
    let [
        Answer::SessionAttached {
            epoch,
            session_present: false,
            ..
        },
    ] = answers[..]
    else {
        panic!("{answers:?}")
    };
    let update = UpdateSession {
        request: Some(RequestId(5)),
        client_id: Bytes::from_static(b"c"),
        epoch,
        changes: Vec::new(),
    };
    b.run(|shard, key, turn| shard.update_session(key, update, turn));
    assert_eq!(b.take_answers(), []);
    b.commit(1);
    assert_eq!(b.take_answers(), [Answer::SessionUpdated { request: RequestId(5) }]);
}

#[test]
fn a_publication_that_comes_again_before_the_first_is_committed_is_known() {
    let mut b = bench();
    let of = ExactlyOnce {
        client_id: Bytes::from_static(b"c"),
        generation: SessionEpoch::default(),
        packet_id: PacketId::MIN,
        epoch: None,
    };
    for seq in 1..=2 {
        let batch = PublishBatch {
            shard: S0,
            first: PublishSeq(seq),
            messages: vec![Arc::new(Message {
                exactly_once: Some(Box::new(of.clone())),
                ..message("once", QoS::ExactlyOnce, false)
            })],
            lasting: None,
        };
        b.run(|shard, key, turn| shard.publish(key, batch, turn));
    }
    b.commit(2);
    assert_eq!(b.take_payloads(), ["once"]);
}

#[test]
fn what_is_queued_waits_for_room_in_memory_as_for_room_on_disk() {
    let mut b = bench();
    b.settings.disk_bytes = 1 << 40;
    b.run(|shard, key, turn| shard.ensure_durable(key, ensure("t"), turn));
    b.commit(1);
    b.publish(1, "first", QoS::AtLeastOnce, false);
    b.commit(1);
    let one = b.usage.queued_bytes;
    assert_eq!(b.usage.queue_memory_bytes, one);
    let (disk, memory) = (b.settings.most_queued_bytes(), b.settings.most_queue_memory_bytes());
    // Other shards have the rest.
    b.usage.queued_bytes = disk - one + 1;
    b.publish(2, "other", QoS::AtLeastOnce, false);
    assert_eq!(b.shard.log.proposed.len(), 0);
    b.usage.queued_bytes = disk - one;
    b.usage.queue_memory_bytes = memory - one + 1;
    b.run(|shard, _, turn| shard.submit_held(turn));
    assert_eq!(b.shard.log.proposed.len(), 0);
    b.usage.queue_memory_bytes = memory - one;
    b.run(|shard, _, turn| shard.submit_held(turn));
    assert_eq!(b.shard.log.proposed.len(), 1);
}
