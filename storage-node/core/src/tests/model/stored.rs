//! Random histories of stored sessions against a plain model: a session gets exactly the messages of QoS >= 1 that were
//! published between its subscription and its end, in the order of their shard, each behind what it has acknowledged.
//!
//! The model knows lists of publications and, per session, from which of them on each filter counts and how far the
//! session has acknowledged. It knows no positions: it learns the one of each message when it is pulled. Connections
//! come and go through two proxies, by takeover, network loss and the end of a proxy's lease, with acknowledgements
//! flushed or lost; time passes, so that queues are trimmed under way.

mod step;

use std::collections::BTreeMap;

use freshet_storage_contract::{
    Cursor, EnsureDurable, Position, Pull, PullFilter, SessionChange, StoredSession, StoredSubscription,
    SubscriptionOptions, SubscriptionStart, UpdateSession,
};
use proptest::prelude::*;

use self::step::{Step, step};
use super::*;

const CLIENTS: [&str; 3] = ["c0", "c1", "c2"];
const PROXY_COUNT: usize = 2;

/// What the model knows of one session.
#[derive(Debug, Default, Clone)]
struct Session {
    /// Filter: per shard, the number of publications there when it began.
    filters: BTreeMap<&'static str, BTreeMap<ShardId, usize>>,
    /// Per shard: how many of its publications the storage has been told are done.
    flushed: BTreeMap<ShardId, usize>,
    /// Storage has been told that the client knows of it.
    is_told: bool,
}

/// A connection as its proxy knows it.
#[derive(Debug, Clone)]
struct Connection {
    proxy: u128,
    epoch: SessionEpoch,
    /// Where each filter begins.
    starts: BTreeMap<&'static str, Vec<SubscriptionStart>>,
    /// Per shard: the position up to which everything is done, and how many publications that is.
    done: BTreeMap<ShardId, (Position, usize)>,
}

struct StoredHistory {
    w: World,
    peers: [u128; PROXY_COUNT],
    last_incarnation: u128,
    last_request: u64,
    /// Per shard: topic and name of each publication of QoS >= 1, in order.
    published: BTreeMap<ShardId, Vec<(String, String)>>,
    sessions: BTreeMap<usize, Session>,
    connections: BTreeMap<usize, Connection>,
}

impl StoredHistory {
    fn new(shards: u16) -> Self {
        let mut w = World::new(settings(shards));
        for proxy in [A, B] {
            w.attach(proxy);
        }
        Self {
            w,
            peers: [A, B],
            last_incarnation: 0x100,
            last_request: 0,
            published: (0..shards).map(|shard| (ShardId(shard), Vec::new())).collect(),
            sessions: BTreeMap::new(),
            connections: BTreeMap::new(),
        }
    }

    fn request(&mut self) -> RequestId {
        self.last_request += 1;
        RequestId(self.last_request)
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Connect {
                client,
                proxy,
                clean,
                tell,
            } => self.connect(client, self.peers[proxy], clean, tell),
            Step::Disconnect { client, flush, end } => self.disconnect(client, flush, end),
            Step::Subscribe { client, filter } => self.subscribe(client, FILTERS[filter]),
            Step::Unsubscribe { client, filter } => self.unsubscribe(client, FILTERS[filter]),
            Step::Abandon { client, filter } => {
                if let Some(connection) = self.connections.get(&client).cloned() {
                    self.ensure(client, connection.proxy, FILTERS[filter]);
                }
            }
            Step::Publish { topic, qos, retain } => self.publish(TOPICS[topic], qos, retain),
            Step::Pull {
                client,
                shard,
                count,
                acknowledge,
            } => {
                let shard = ShardId(shard % self.w.placement.shards());
                self.pull(client, shard, count, acknowledge);
            }
            Step::Flush { client } => self.flush(client),
            Step::Pass { ms } => self.pass(ms, &self.peers.clone()),
            Step::LoseProxy { proxy } => self.lose_proxy(proxy),
        }
    }

    /// Lets time pass; only renewals are answered meanwhile.
    fn pass(&mut self, ms: u64, alive: &[u128]) {
        self.w.pass_ms_with(ms, alive);
        for proxy in alive {
            let answers = self.w.take_answers(*proxy);
            assert!(answers.iter().all(|a| *a == Answer::LeaseRenewed), "{answers:?}");
        }
    }

    /// A client id that has changed hands too often of late is held. Returns what its proxy is told meanwhile.
    fn pass_hold(&mut self, proxy: u128) -> Vec<Answer> {
        let alive = self.peers;
        self.w.pass_ms_with(4_000, &alive);
        let asked = self.w.take_answers(proxy);
        for other in alive.into_iter().filter(|other| *other != proxy) {
            let answers = self.w.take_answers(other);
            assert!(answers.iter().all(|a| *a == Answer::LeaseRenewed), "{answers:?}");
        }
        asked
    }

    fn connect(&mut self, client: usize, proxy: u128, clean: bool, tell: bool) {
        let request = self.request();
        let name = CLIENTS[client];
        self.w.ask_session(proxy, request.0, name, clean, None);
        if let Some(old) = self.connections.remove(&client) {
            // The old proxy is asked to end its connection, and flushes first.
            let mut asked = self.w.take_answers(old.proxy);
            if asked.is_empty() {
                asked = self.pass_hold(old.proxy);
            }
            assert!(
                asked
                    .iter()
                    .any(|a| matches!(a, Answer::TakeOver { epoch, .. } if *epoch == old.epoch)),
                "{asked:?}"
            );
            self.connections.insert(client, old.clone());
            self.flush(client);
            self.connections.remove(&client);
            self.w
                .detach_session(old.proxy, name, old.epoch, DetachReason::TakenOver);
        }
        let is_untold = self.sessions.get(&client).is_some_and(|known| !known.is_told);
        if clean || is_untold {
            self.sessions.remove(&client);
        }
        let answer = self.w.take_answers(proxy).pop();
        let Some(Answer::SessionAttached {
            epoch,
            session_present,
            session,
            ..
        }) = answer
        else {
            panic!("{answer:?}")
        };
        assert_eq!(session_present, self.sessions.contains_key(&client));
        assert_eq!(session_present, session.is_some());
        let known = self.sessions.entry(client).or_default();
        let connection = match session {
            None => Connection {
                proxy,
                epoch,
                starts: BTreeMap::new(),
                done: BTreeMap::new(),
            },
            Some(session) => restored(proxy, epoch, &session, known),
        };
        self.connections.insert(client, connection);
        if tell && !session_present {
            self.update(client, Vec::new());
        }
    }

    fn disconnect(&mut self, client: usize, flush: bool, end: bool) {
        if flush {
            self.flush(client);
        }
        let Some(connection) = self.connections.remove(&client) else {
            return;
        };
        let interval_s = end.then_some(0);
        self.w
            .disconnect(connection.proxy, CLIENTS[client], connection.epoch, interval_s);
        if end {
            self.sessions.remove(&client);
        }
    }

    fn ensure(&mut self, client: usize, proxy: u128, filter: &'static str) -> Vec<SubscriptionStart> {
        let (session_shard, request) = (self.w.session_shard(CLIENTS[client]), self.request());
        let mut starts = Vec::new();
        for shard in self.w.shards_of(filter) {
            let ensure = EnsureDurable {
                request,
                shard,
                session_shard,
                topic_filter: Bytes::from_static(filter.as_bytes()),
            };
            self.w.operate(proxy, Operation::EnsureDurable(ensure));
            match self.w.take_deliveries(proxy).pop() {
                Some(Delivery::Started { position, .. }) => starts.push(SubscriptionStart { shard, position }),
                other => panic!("{other:?}"),
            }
        }
        self.w.acknowledge(proxy);
        starts
    }

    fn update(&mut self, client: usize, changes: Vec<SessionChange>) {
        let connection = self.connections[&client].clone();
        let request = self.request();
        let update = UpdateSession {
            request: Some(request),
            client_id: Bytes::from_static(CLIENTS[client].as_bytes()),
            epoch: connection.epoch,
            changes,
        };
        self.w.operate(connection.proxy, Operation::UpdateSession(update));
        let answers = self.w.take_answers(connection.proxy);
        assert_eq!(answers, [Answer::SessionUpdated { request }]);
        self.sessions.get_mut(&client).unwrap().is_told = true;
    }

    fn subscribe(&mut self, client: usize, filter: &'static str) {
        let Some(connection) = self.connections.get(&client).cloned() else {
            return;
        };
        let starts = self.ensure(client, connection.proxy, filter);
        let subscription = StoredSubscription {
            topic_filter: Bytes::from_static(filter.as_bytes()),
            options: SubscriptionOptions::new(QoS::AtLeastOnce),
            subscription_identifier: None,
            starts: starts.clone(),
        };
        self.update(client, vec![SessionChange::Subscribe(subscription)]);
        let known = self.sessions.get_mut(&client).unwrap();
        let connection = self.connections.get_mut(&client).unwrap();
        if known.filters.contains_key(filter) {
            return;
        }
        for start in &starts {
            let count = self.published[&start.shard].len();
            let reads = |filters: &BTreeMap<&str, BTreeMap<ShardId, usize>>| {
                filters.values().any(|shards| shards.contains_key(&start.shard))
            };
            if !reads(&known.filters) {
                known.flushed.insert(start.shard, count);
                connection.done.insert(start.shard, (start.position, count));
            }
            known.filters.entry(filter).or_default().insert(start.shard, count);
        }
        connection.starts.insert(filter, starts);
    }

    fn unsubscribe(&mut self, client: usize, filter: &'static str) {
        let Some(connection) = self.connections.get_mut(&client) else {
            return;
        };
        connection.starts.remove(filter);
        self.sessions.get_mut(&client).unwrap().filters.remove(filter);
        let topic_filter = Bytes::from_static(filter.as_bytes());
        self.update(client, vec![SessionChange::Unsubscribe { topic_filter }]);
    }

    fn publish(&mut self, topic: &str, qos: QoS, retain: bool) {
        let shard = self.w.placement.shard_of_topic(topic);
        let of_shard = self.published.get_mut(&shard).unwrap();
        let name = format!("{}-{}", shard.0, of_shard.len());
        let message = Message {
            retain,
            ..message(topic, &name, qos)
        };
        let wanted = qos != QoS::AtMostOnce
            && self
                .sessions
                .values()
                .flat_map(|s| s.filters.keys())
                .any(|filter| freshet_mqtt::topic_matches(filter, topic));
        if qos != QoS::AtMostOnce {
            of_shard.push((topic.to_owned(), name));
        }
        let publisher = self.peers[0];
        self.w.publish(publisher, message);
        match self.w.take_outcomes(publisher)[..] {
            [(_, outcome)] => assert!(!wanted || outcome == PublishOutcome::Delivered, "{outcome:?}"),
            ref other => panic!("{other:?}"),
        }
    }

    fn pull(&mut self, client: usize, shard: ShardId, count: u32, acknowledge: bool) {
        let Some(connection) = self.connections.get(&client).cloned() else {
            return;
        };
        let known = self.sessions[&client].clone();
        let Some((after, done)) = connection.done.get(&shard).copied() else {
            return;
        };
        let of_shard = |starts: &Vec<SubscriptionStart>| starts.iter().find(|s| s.shard == shard).copied();
        let filters: Vec<(&'static str, PullFilter)> = (0..)
            .zip(&connection.starts)
            .filter_map(|(id, (filter, starts))| {
                let pull = PullFilter {
                    filter_id: FilterId(id),
                    topic_filter: Bytes::from_static(filter.as_bytes()),
                    start: of_shard(starts)?.position,
                };
                Some((*filter, pull))
            })
            .collect();
        let pull = Pull {
            request: self.request(),
            shard,
            session_shard: self.w.session_shard(CLIENTS[client]),
            after,
            filters: filters.iter().map(|(_, pull)| pull.clone()).collect(),
            max_messages: count,
            max_bytes: u32::MAX,
        };
        self.w.operate(connection.proxy, Operation::Pull(pull));
        let Some(Delivery::Pulled {
            messages,
            up_to,
            caught_up,
            ..
        }) = self.w.take_deliveries(connection.proxy).pop()
        else {
            panic!("a pull is answered")
        };
        self.w.acknowledge(connection.proxy);
        // What the model says comes next.
        let published = &self.published[&shard];
        let matching = |at: usize| -> Vec<FilterId> {
            let counts = |filter: &str| known.filters[filter].get(&shard).is_some_and(|from| *from <= at);
            let matches = |filter: &str| freshet_mqtt::topic_matches(filter, &published[at].0);
            let found = filters.iter().filter(|(filter, _)| counts(filter) && matches(filter));
            found.map(|(_, pull)| pull.filter_id).collect()
        };
        let expected: Vec<(usize, Vec<FilterId>)> = (done..published.len())
            .map(|at| (at, matching(at)))
            .filter(|(_, ids)| !ids.is_empty())
            .collect();
        let found: Vec<_> = messages
            .iter()
            .map(|m| {
                (
                    String::from_utf8(m.message.payload.to_vec()).unwrap(),
                    m.filter_ids.clone(),
                )
            })
            .collect();
        let next: Vec<_> = expected
            .iter()
            .take(count as usize)
            .map(|(at, ids)| (published[*at].1.clone(), ids.clone()))
            .collect();
        assert_eq!(found, next, "{} at {shard}", CLIENTS[client]);
        assert_eq!(caught_up, found.len() == expected.len());
        assert!(messages.is_sorted_by_key(|m| m.position));
        assert!(messages.iter().all(|m| m.position > after && m.position <= up_to));
        if acknowledge {
            let done = match expected.get(found.len()) {
                Some(_) => found.len().checked_sub(1).map_or(done, |last| expected[last].0 + 1),
                None => published.len(),
            };
            let connection = self.connections.get_mut(&client).unwrap();
            connection.done.insert(shard, (up_to, done));
        }
    }

    fn flush(&mut self, client: usize) {
        let Some(connection) = self.connections.get(&client).cloned() else {
            return;
        };
        let advance = |(shard, (position, _)): (&ShardId, &(Position, usize))| {
            SessionChange::Advance(Cursor {
                shard: *shard,
                acknowledged: *position,
                beyond: Vec::new(),
            })
        };
        self.update(client, connection.done.iter().map(advance).collect());
        let flushed = connection.done.iter().map(|(shard, (_, done))| (*shard, *done));
        self.sessions.get_mut(&client).unwrap().flushed = flushed.collect();
    }

    fn lose_proxy(&mut self, proxy: usize) {
        let lost = self.peers[proxy];
        let others: Vec<_> = self.peers.iter().copied().filter(|p| *p != lost).collect();
        self.pass(8_000, &others);
        self.connections.retain(|_, connection| connection.proxy != lost);
        self.w.proxies.remove(&lost);
        self.last_incarnation += 1;
        self.peers[proxy] = self.last_incarnation;
        self.w.attach(self.last_incarnation);
    }

    /// Everybody connects, reads all there is and goes; then nothing is left.
    fn finish(mut self) {
        for client in 0..CLIENTS.len() {
            self.connect(client, self.peers[0], false, true);
            for shard in 0..self.w.placement.shards() {
                self.pull(client, ShardId(shard), 10_000, true);
            }
            self.flush(client);
        }
        self.pass(63_000, &self.peers.clone());
        assert_eq!(self.w.gauge(|g| g.queued_messages), 0, "everything was acknowledged");
        for client in 0..CLIENTS.len() {
            self.disconnect(client, false, true);
        }
        // A filter that was asked for again and not taken outlives its last session for a minute.
        self.pass(61_000, &self.peers.clone());
        let left = (
            self.w.gauge(|g| g.sessions_stored),
            self.w.gauge(|g| g.durable_filters),
            self.w.gauge(|g| g.queued_bytes),
            self.w.gauge(|g| g.session_bytes),
        );
        assert_eq!(left, (0, 0, 0, 0));
    }
}

/// A connection that goes on with what storage has kept, which has to be what the model knows.
fn restored(proxy: u128, epoch: SessionEpoch, session: &StoredSession, known: &Session) -> Connection {
    let filters: Vec<_> = session
        .subscriptions
        .iter()
        .map(|s| std::str::from_utf8(&s.topic_filter).unwrap())
        .collect();
    let expected: Vec<_> = known.filters.keys().copied().collect();
    assert_eq!(filters, expected);
    let starts = known
        .filters
        .keys()
        .copied()
        .zip(session.subscriptions.iter().map(|s| s.starts.clone()))
        .collect();
    let done = session.cursors.iter().map(|c| {
        let done = known.flushed.get(&c.shard).copied().unwrap_or_default();
        (c.shard, (c.acknowledged, done))
    });
    Connection {
        proxy,
        epoch,
        starts,
        done: done.collect(),
    }
}

proptest! {
    #[test]
    fn a_session_gets_what_was_published_since_it_subscribed_and_nothing_else(
        steps in prop::collection::vec(step(), 1..150), shards in 1_u16..4,
    ) {
        let mut history = StoredHistory::new(shards);
        for step in &steps {
            history.take(step);
        }
        history.finish();
    }
}
