//! Sessions that outlive their connection, as proxies see them: what is found again, queued, pulled, known again.

mod bounds;
mod cold;
mod exactly_once;
pub(super) mod expiring;
mod restarting;
mod retention;
mod telling;

use freshet_storage_contract::{
    Cursor, EnsureDurable, ExactlyOnce, Fetch, LastingNumbers, OutboundStage, PacketId, Position, Pull, PullFilter,
    PulledMessage, Release, SessionChange, SessionRefusal, StoredSession, StoredSubscription, SubscriptionOptions,
    SubscriptionStart, UpdateSession,
};

use super::*;

/// What came of a pull.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) messages: Vec<PulledMessage>,
    up_to: Position,
    caught_up: bool,
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(super) fn subscription(filter: &str, starts: Vec<SubscriptionStart>) -> SessionChange {
    SessionChange::Subscribe(StoredSubscription {
        topic_filter: bytes(filter),
        options: SubscriptionOptions::new(QoS::AtLeastOnce),
        subscription_identifier: Some(7),
        starts,
    })
}

fn advance(shard: ShardId, acknowledged: Position) -> SessionChange {
    SessionChange::Advance(Cursor {
        shard,
        acknowledged,
        beyond: Vec::new(),
    })
}

fn payloads(messages: &[PulledMessage]) -> Vec<String> {
    let payload = |m: &PulledMessage| String::from_utf8(m.message.payload.to_vec()).unwrap();
    messages.iter().map(payload).collect()
}

impl World {
    fn attach_stored(&mut self, proxy: u128, request: u64, client: &str, clean_start: bool) -> Answer {
        self.ask_session(proxy, request, client, clean_start, None);
        self.take_answers(proxy).pop().expect("an answer")
    }

    /// Attaches a session that is there, and returns its epoch and what was stored.
    pub(super) fn resume(&mut self, proxy: u128, request: u64, client: &str) -> (SessionEpoch, StoredSession) {
        match self.attach_stored(proxy, request, client, false) {
            Answer::SessionAttached {
                epoch,
                session_present: true,
                session: Some(session),
                ..
            } => (epoch, *session),
            other => panic!("{other:?}"),
        }
    }

    /// Attaches a session that is not there, and tells its client.
    pub(super) fn begin(&mut self, proxy: u128, request: u64, client: &str) -> SessionEpoch {
        let epoch = self.begin_untold(proxy, request, client);
        self.change(proxy, client, epoch, Vec::new());
        epoch
    }

    /// The same without a word to its client.
    pub(super) fn begin_untold(&mut self, proxy: u128, request: u64, client: &str) -> SessionEpoch {
        match self.attach_stored(proxy, request, client, false) {
            Answer::SessionAttached {
                epoch,
                session_present: false,
                session: None,
                ..
            } => epoch,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn session_shard(&self, client: &str) -> ShardId {
        self.placement.shard_of_client(client.as_bytes())
    }

    /// Asks for a durable filter at each of its shards.
    pub(super) fn ensure(&mut self, proxy: u128, client: &str, filter: &str) -> Vec<SubscriptionStart> {
        let session_shard = self.session_shard(client);
        let mut starts = Vec::new();
        for shard in self.shards_of(filter) {
            let ensure = EnsureDurable {
                request: RequestId(77),
                shard,
                session_shard,
                topic_filter: bytes(filter),
            };
            self.operate(proxy, Operation::EnsureDurable(ensure));
            let of_shard = self.proxies.get_mut(&proxy).unwrap().shards.get_mut(&shard).unwrap();
            match of_shard.deliveries.pop() {
                Some(Delivery::Started { request, position }) => {
                    assert_eq!(request, RequestId(77));
                    starts.push(SubscriptionStart { shard, position });
                }
                other => panic!("{other:?}"),
            }
        }
        self.acknowledge(proxy);
        starts
    }

    pub(super) fn update(
        &mut self,
        proxy: u128,
        client: &str,
        epoch: SessionEpoch,
        changes: Vec<SessionChange>,
    ) -> Answer {
        let update = UpdateSession {
            request: Some(RequestId(88)),
            client_id: bytes(client),
            epoch,
            changes,
        };
        self.operate(proxy, Operation::UpdateSession(update));
        self.take_answers(proxy).pop().expect("an answer")
    }

    pub(super) fn change(&mut self, proxy: u128, client: &str, epoch: SessionEpoch, changes: Vec<SessionChange>) {
        let request = RequestId(88);
        assert_eq!(
            self.update(proxy, client, epoch, changes),
            Answer::SessionUpdated { request }
        );
    }

    /// Subscribes a stored session.
    fn subscribe_stored(
        &mut self,
        proxy: u128,
        client: &str,
        epoch: SessionEpoch,
        filter: &str,
    ) -> Vec<SubscriptionStart> {
        let starts = self.ensure(proxy, client, filter);
        self.change(proxy, client, epoch, vec![subscription(filter, starts.clone())]);
        starts
    }

    pub(super) fn pull(
        &mut self,
        proxy: u128,
        client: &str,
        shard: ShardId,
        after: Position,
        filters: &[&str],
    ) -> Chunk {
        let pull = Pull {
            request: RequestId(99),
            shard,
            session_shard: self.session_shard(client),
            after,
            filters: (0..)
                .zip(filters)
                .map(|(id, filter)| PullFilter {
                    filter_id: FilterId(id),
                    topic_filter: bytes(filter),
                    start: Position(0),
                })
                .collect(),
            max_messages: 100,
            max_bytes: 1 << 20,
        };
        self.operate(proxy, Operation::Pull(pull));
        let of_shard = self.proxies.get_mut(&proxy).unwrap().shards.get_mut(&shard).unwrap();
        let chunk = match of_shard.deliveries.pop() {
            Some(Delivery::Pulled {
                request,
                messages,
                up_to,
                caught_up,
            }) => {
                assert_eq!(request, RequestId(99));
                Chunk {
                    messages,
                    up_to,
                    caught_up,
                }
            }
            other => panic!("{other:?}"),
        };
        self.acknowledge(proxy);
        chunk
    }

    pub(super) fn disconnect(&mut self, proxy: u128, client: &str, epoch: SessionEpoch, interval_s: Option<u32>) {
        self.operate(
            proxy,
            Operation::DetachSession {
                client_id: bytes(client),
                epoch,
                reason: DetachReason::ByClient,
                session_expiry_interval_s: interval_s,
            },
        );
    }

    pub(super) fn gauge(&self, gauge: impl Fn(&crate::ShardGauges) -> u64) -> u64 {
        self.core.stats().shards.iter().map(|s| gauge(&s.gauges)).sum()
    }

    fn counter(&self, counter: impl Fn(&crate::ShardCounters) -> u64) -> u64 {
        self.core.stats().shards.iter().map(|s| counter(&s.counters)).sum()
    }
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-23", "5.0:4.5.0-1", "3.1.1:3.1.2-5", "3.1.1:4.5.0-1"))]
pub(in crate::tests) fn a_session_finds_its_subscriptions_and_what_it_has_missed() {
    let mut w = World::new(settings(4));
    w.attach(A);
    w.attach(B);
    let epoch = w.begin(A, 1, "c");
    let starts = w.subscribe_stored(A, "c", epoch, "a/b");
    let shard = starts[0].shard;
    w.disconnect(A, "c", epoch, None);
    for payload in ["one", "two"] {
        let (_, seq) = w.publish(B, qos_1("a/b", payload));
        assert_eq!(w.take_outcomes(B), [(seq, PublishOutcome::Delivered)], "a queue has it");
    }
    w.publish(B, qos_0("a/b", "brief"));
    let (_, session) = w.resume(B, 2, "c");
    assert_eq!(session.generation, epoch);
    assert_eq!(session.subscriptions[0].topic_filter, bytes("a/b"));
    assert_eq!(session.subscriptions[0].subscription_identifier, Some(7));
    assert_eq!(session.subscriptions[0].starts, starts);
    assert_eq!(session.cursors[0].acknowledged, starts[0].position);
    let chunk = w.pull(B, "c", shard, session.cursors[0].acknowledged, &["a/b"]);
    assert_eq!(payloads(&chunk.messages), ["one", "two"]);
    assert!(chunk.caught_up);
}

#[test]
pub(in crate::tests) fn a_pull_that_has_caught_up_meets_the_live_stream_without_gap_or_overlap() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "t/#");
    w.subscribe(A, 4, "t/#");
    let position_of = |deliveries: &[Delivery]| match deliveries {
        [Delivery::Message { position, .. }] => position.expect("it is queued"),
        other => panic!("{other:?}"),
    };
    w.publish(B, qos_1("t/1", "before"));
    let before = position_of(&w.take_deliveries(A));
    let chunk = w.pull(A, "c", S0, Position(0), &["t/#"]);
    assert_eq!(
        (payloads(&chunk.messages), chunk.caught_up),
        (vec!["before".to_owned()], true)
    );
    assert!(before <= chunk.up_to);
    w.publish(B, qos_1("t/2", "after"));
    assert!(position_of(&w.take_deliveries(A)) > chunk.up_to);
}

#[test]
fn only_what_a_durable_filter_matches_has_a_position() {
    let mut w = world();
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "durable");
    w.subscribe(A, 4, "#");
    for message in [
        qos_1("live", "x"),
        qos_0("durable", "x"),
        retained("live", "x"),
        qos_1("durable", "x"),
    ] {
        w.publish(A, message);
    }
    let has_position: Vec<bool> = w
        .take_deliveries(A)
        .iter()
        .map(|d| matches!(d, Delivery::Message { position: Some(_), .. }))
        .collect();
    assert_eq!(has_position, [false, false, false, true]);
    assert_eq!(w.gauge(|g| g.queued_messages), 1);
}

#[test]
pub(in crate::tests) fn what_every_reader_has_done_with_is_no_longer_kept() {
    let mut w = World::new(settings(4));
    w.attach(A);
    let mut epochs = Vec::new();
    for client in ["c", "d"] {
        let epoch = w.begin(A, 1, client);
        w.subscribe_stored(A, client, epoch, "+/b");
        epochs.push(epoch);
    }
    let (shard, _) = w.publish(A, qos_1("a/b", "x"));
    // Two session shards may have a queue each.
    let queues = if w.session_shard("c") == w.session_shard("d") {
        1
    } else {
        2
    };
    assert_eq!(
        (w.gauge(|g| g.queued_messages), w.gauge(|g| g.queued_rows)),
        (1, queues)
    );
    for (client, epoch) in ["c", "d"].into_iter().zip(epochs) {
        assert_eq!(w.gauge(|g| g.queued_messages), 1);
        let chunk = w.pull(A, client, shard, Position(0), &["+/b"]);
        w.change(A, client, epoch, vec![advance(shard, chunk.up_to)]);
        w.pass_ms_with(2_000, &[A]);
    }
    assert_eq!((w.gauge(|g| g.queued_messages), w.gauge(|g| g.queued_bytes)), (0, 0));
}

#[test]
#[cfg_attr(false, shows("5.0:3.1.2-4", "5.0:3.1.4-4", "3.1.1:3.1.4-3"))]
pub(in crate::tests) fn a_clean_start_ends_the_session_and_what_waits_for_it() {
    let mut w = World::new(settings(4));
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "#");
    assert_eq!(w.gauge(|g| g.durable_filters), 4);
    w.disconnect(A, "c", epoch, None);
    w.publish(A, qos_1("a", "x"));
    let answer = w.attach_stored(A, 2, "c", true);
    let Answer::SessionAttached {
        epoch: next,
        session_present: false,
        session: None,
        ..
    } = answer
    else {
        panic!("{answer:?}")
    };
    assert!(next > epoch);
    w.change(A, "c", next, Vec::new());
    assert_eq!((w.gauge(|g| g.durable_filters), w.gauge(|g| g.queued_messages)), (0, 0));
    w.disconnect(A, "c", next, None);
    assert_eq!(w.resume(A, 3, "c").1.generation, next);
}

#[test]
pub(in crate::tests) fn a_connection_that_was_taken_over_changes_nothing_any_more() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let first = w.begin(A, 1, "c");
    w.ask_session(B, 2, "c", false, None);
    w.change(A, "c", first, vec![subscription("flushed", Vec::new())]);
    w.take_answers(A);
    w.detach_session(A, "c", first, DetachReason::TakenOver);
    let answers = w.take_answers(B);
    let [
        Answer::SessionAttached {
            session: Some(session), ..
        },
    ] = &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert_eq!(
        session.subscriptions[0].topic_filter,
        bytes("flushed"),
        "what it flushed counts"
    );
    let refused = w.update(A, "c", first, vec![subscription("late", Vec::new())]);
    assert_eq!(
        refused,
        Answer::UpdateRefused {
            request: RequestId(88),
            refusal: SessionRefusal::Superseded
        }
    );
}

#[test]
fn an_attach_that_is_asked_again_finds_the_same() {
    let mut w = world();
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    w.disconnect(A, "c", epoch, None);
    let first = w.attach_stored(A, 2, "c", false);
    w.lose_link(A);
    w.attach(A);
    assert_eq!(w.attach_stored(A, 2, "c", false), first);
    w.disconnect(A, "c", epoch, None);
    let begun = w.attach_stored(A, 3, "new", false);
    assert_eq!(w.attach_stored(A, 3, "new", false), begun);
}

#[test]
pub(in crate::tests) fn exchanges_are_handed_over_with_their_messages() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    let epoch = w.begin(A, 1, "c");
    w.subscribe_stored(A, "c", epoch, "a");
    for payload in ["one", "two"] {
        w.publish(A, qos_1("a", payload));
    }
    let chunk = w.pull(A, "c", S0, Position(0), &["a"]);
    let sending = |id: u16, at: usize| SessionChange::Sending {
        packet_id: PacketId::new(id).unwrap(),
        shard: S0,
        position: chunk.messages[at].position,
        qos: QoS::ExactlyOnce,
        shared: None,
        message: None,
    };
    let received = SessionChange::Received {
        packet_id: PacketId::new(9).unwrap(),
    };
    w.change(A, "c", epoch, vec![sending(9, 0), sending(4, 1), received]);
    w.disconnect(A, "c", epoch, None);
    let (_, session) = w.resume(B, 2, "c");
    let exchanges: Vec<_> = session.outbound.iter().map(|e| (e.packet_id.get(), e.stage)).collect();
    assert_eq!(exchanges, [(9, OutboundStage::Received), (4, OutboundStage::Sent)]);
    w.take_deliveries(B);
    let positions = vec![session.outbound[1].position, Position(3), session.outbound[0].position];
    w.operate(
        B,
        Operation::Fetch(Fetch {
            request: RequestId(5),
            shard: S0,
            positions,
        }),
    );
    match &w.take_deliveries(B)[..] {
        [
            Delivery::Fetched {
                messages, answered: 3, ..
            },
        ] => {
            let payloads: Vec<_> = messages.iter().map(|m| m.message.payload.clone()).collect();
            assert_eq!(payloads, ["two", "one"], "what is gone is left out");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
pub(in crate::tests) fn a_will_waits_in_queues_like_any_message() {
    let mut w = World::new(settings(4));
    w.attach(A);
    let epoch = w.begin(A, 1, "c");
    let starts = w.subscribe_stored(A, "c", epoch, "wills/d");
    let will = Will {
        message: qos_1("wills/d", "gone"),
        delay_interval_s: 0,
    };
    let d = w.attach_session(A, 2, "d", Some(will));
    w.disconnect(A, "c", epoch, None);
    w.detach_session(A, "d", d, DetachReason::WillDue);
    let chunk = w.pull(A, "c", starts[0].shard, starts[0].position, &["wills/d"]);
    assert_eq!(payloads(&chunk.messages), ["gone"]);
}
