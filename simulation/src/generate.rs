//! Draws sequences from seeds.
//!
//! Short ones, so that thousands run in a second, and of several kinds: most faults of the protocol show without
//! anything breaking, and what breaks would hide them.

mod scenes;

use std::collections::VecDeque;

use freshet_config::SharedStrategy;
use freshet_mqtt::{ProtocolVersion, QoS, RetainHandling};

use self::scenes::Scene;
use crate::action::{Action, IDENTITIES, Memory, OpenOptions, SLOTS, Sequence, Step, SubscribeOptions, WillOptions};
use crate::random::Random;
use crate::topics::{FILTERS, SHARED_FILTERS, TOPICS, WILL_TOPICS, matches, shared_filter};

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// What a sequence is about.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// Topics, and filters, that are used: the fewer, the more clients meet.
    topics: usize,
    /// Of 100 actions, how many break something between a proxy and storage.
    cuts: usize,
    /// Of 100 actions, how many end a process.
    crashes: usize,
    /// Of 100 messages, how many are retained.
    retained: usize,
    /// Sessions outlive their connection.
    persistent: bool,
    /// Of 100 subscriptions, how many are shared.
    shared: usize,
    /// What happens again and again between the other actions.
    scene: Option<Scene>,
}

impl Sequence {
    /// The sequence of a seed, with a storage node of this kind.
    #[must_use]
    pub fn draw(seed: u64, memory: Memory) -> Self {
        let mut random = Random::new(seed);
        let random = &mut random;
        let (cuts, crashes) = match random.below(10) {
            0..=4 => (0, 0),
            5 | 6 => (8, 0),
            _ => (6, 6),
        };
        let retained = random.pick(&[0, 15, 60]);
        let mut kind = Kind {
            // Many retained messages of few topics: so that one replaces another.
            topics: if retained > 50 {
                random.pick(&[1, 1, 2])
            } else {
                random.pick(&[1, 2, 3, TOPICS.len()])
            },
            cuts,
            crashes,
            retained,
            persistent: random.chance(60),
            // Drawn apart: the other sequences are what they were before there were shared subscriptions.
            shared: Random::new(!seed).pick(&[0, 0, 0, 40, 80]),
            scene: Scene::of(seed),
        };
        if let Some(scene) = kind.scene {
            // What breaks beside it would hide it.
            (kind.cuts, kind.crashes, kind.shared) = (0, 0, 0);
            kind.persistent |= scene.needs_sessions();
        }
        let proxies = random.pick(&[1, 2, 2, 3]);
        let offset = random.below(TOPICS.len());
        let mut draw = Draw {
            random,
            kind,
            proxies,
            offset,
            next: VecDeque::new(),
        };
        let mut actions = Vec::new();
        // Somebody who sees wills.
        if draw.random.chance(30) {
            actions.push(draw.open(SLOTS - 3));
            actions.push(Action::Subscribe {
                slot: SLOTS - 3,
                filters: vec![(draw.random.pick(&["w/#", "#"]), draw.options())],
                identifier: 0,
            });
            actions.push(Action::Settle);
        }
        for slot in 0..1 + draw.random.below(3) {
            actions.push(draw.open(slot));
            actions.push(draw.subscribe(slot));
            if draw.random.chance(50) {
                actions.push(Action::Await { slot });
            }
        }
        for _ in 0..4 + draw.random.below(28) {
            actions.push(draw.action());
        }
        // Whoever was away comes back for what waits.
        for slot in 0..IDENTITIES {
            if kind.persistent && draw.random.chance(60) {
                actions.push(draw.open(slot));
            }
        }
        let steps = actions
            .into_iter()
            .map(|action| Step {
                action,
                schedule: random.chance(80).then(|| random.next()),
            })
            .collect();
        Self {
            seed,
            proxies,
            workers: random.pick(&[1, 1, 2]),
            shards: random.pick(&[1, 2, 4, 4]),
            strategy: random.pick(&[SharedStrategy::RoundRobin, SharedStrategy::LeastInflight]),
            memory,
            steps,
        }
    }
}

struct Draw<'r> {
    random: &'r mut Random,
    kind: Kind,
    proxies: usize,
    /// Which topics are used when not all are.
    offset: usize,
    /// The rest of a scene.
    next: VecDeque<Action>,
}

impl Draw<'_> {
    fn action(&mut self) -> Action {
        if let Some(action) = self.next.pop_front() {
            return action;
        }
        if let Some(scene) = self.kind.scene.filter(|_| self.random.chance(20)) {
            return self.begin(scene);
        }
        let slot = self.random.below(SLOTS);
        let proxy = self.random.below(self.proxies);
        if self.random.chance(self.kind.cuts) {
            return match self.random.below(6) {
                0 | 1 => Action::Cut {
                    proxy,
                    noticed: self.random.chance(50),
                },
                2 => Action::Freeze { proxy },
                // Long enough for a lease to end: what is broken for a moment only is the easy case.
                3 => Action::Pass { ms: 8_000 },
                _ => Action::Mend { proxy },
            };
        }
        if self.random.chance(self.kind.crashes) {
            return match self.random.below(5) {
                0 | 1 => Action::RestartStorage,
                _ => Action::Crash {
                    proxy,
                    noticed: self.random.chance(50),
                },
            };
        }
        match self.random.below(100) {
            0..=11 => self.open(slot),
            12..=27 => self.subscribe(slot),
            28..=31 => Action::Unsubscribe {
                slot,
                filters: (0..1 + self.random.below(2)).map(|_| self.filter()).collect(),
            },
            32..=67 => self.publish(slot),
            68..=70 => Action::Repeat { slot },
            71 if self.kind.shared > 0 => Action::Refuse { slot },
            71..=78 => Action::Acknowledge {
                slot,
                count: 1 + self.random.below(4),
                backwards: self.random.chance(40),
            },
            79 => Action::StrayRelease { slot },
            80 => Action::Ping { slot },
            81 | 82 => Action::Deafen {
                slot,
                deaf: self.random.chance(60),
            },
            83..=85 => Action::Disconnect {
                slot,
                with_will: self.random.chance(25),
            },
            86..=88 => Action::HangUp {
                slot,
                lossy: self.random.chance(60),
            },
            89..=93 => Action::Pass {
                ms: self.random.pick(&[10, 300, 1_100, 1_100, 3_000, 8_000]),
            },
            94..=97 => Action::Await { slot },
            _ => Action::Settle,
        }
    }

    fn open(&mut self, slot: usize) -> Action {
        let random = &mut *self.random;
        let is_5 = random.chance(65);
        // The last slots are other devices with a client id of the first ones: they know nothing of their sessions.
        let is_persistent = self.kind.persistent && slot < IDENTITIES;
        let will = random.chance(30).then(|| WillOptions {
            topic: random.pick(&WILL_TOPICS),
            qos: random.pick(&QOS),
            retain: random.chance(25),
            delay_s: if is_5 { random.pick(&[0, 0, 1, 5]) } else { 0 },
        });
        Action::Open {
            slot,
            proxy: random.below(self.proxies),
            options: OpenOptions {
                version: if is_5 {
                    ProtocolVersion::V5
                } else {
                    ProtocolVersion::V311
                },
                clean_start: match (self.kind.persistent, is_persistent) {
                    (_, true) => random.chance(20),
                    (true, false) => true,
                    (false, false) => !is_5 || random.chance(50),
                },
                expiry_s: if is_5 && is_persistent {
                    random.pick(&[0, 3, 60, 60, 60, 60])
                } else {
                    0
                },
                receive_maximum: if is_5 { random.pick(&[0, 1, 2, 3]) } else { 0 },
                max_packet_bytes: if is_5 && random.chance(15) { 120 } else { 0 },
                alias_maximum: if is_5 { random.pick(&[0, 0, 1, 3]) } else { 0 },
                will,
                lazy: random.chance(35),
            },
        }
    }

    fn subscribe(&mut self, slot: usize) -> Action {
        let count = self.random.pick(&[1, 1, 1, 2, 3]);
        Action::Subscribe {
            slot,
            filters: (0..count).map(|_| self.subscription()).collect(),
            identifier: self.random.pick(&[0, 0, 1, 2, 3]),
        }
    }

    fn subscription(&mut self) -> (&'static str, SubscribeOptions) {
        let (filter, mut options) = (self.filter(), self.options());
        // MQTT-3.8.3-4
        options.no_local &= shared_filter(filter).is_none();
        (filter, options)
    }

    fn options(&mut self) -> SubscribeOptions {
        let random = &mut *self.random;
        SubscribeOptions {
            qos: random.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce]),
            no_local: random.chance(15),
            retain_as_published: random.chance(30),
            retain_handling: random.pick(&[
                RetainHandling::Send,
                RetainHandling::Send,
                RetainHandling::SendIfNew,
                RetainHandling::DoNotSend,
            ]),
        }
    }

    fn publish(&mut self, slot: usize) -> Action {
        let topic = TOPICS[(self.offset + self.random.below(self.kind.topics)) % TOPICS.len()];
        let random = &mut *self.random;
        let retain = random.chance(self.kind.retained);
        Action::Publish {
            slot,
            topic,
            qos: random.pick(&QOS),
            retain,
            empty: retain && random.chance(20),
            padding: if random.chance(8) { 200 } else { 0 },
            expiry_s: if random.chance(12) { random.pick(&[2, 10]) } else { 0 },
            alias: random.chance(30),
        }
    }

    /// A filter that matches something of what is published, mostly.
    fn filter(&mut self) -> &'static str {
        let topic = TOPICS[(self.offset + self.random.below(self.kind.topics)) % TOPICS.len()];
        let is_shared = self.kind.shared > 0 && self.random.chance(self.kind.shared);
        let filters: &[&'static str] = if is_shared { &SHARED_FILTERS } else { &FILTERS };
        for _ in 0..4 {
            let filter = self.random.pick(filters);
            if matches(shared_filter(filter).unwrap_or(filter), topic) {
                return filter;
            }
        }
        self.random.pick(filters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_sequence_every_time() {
        let draw = |seed| Sequence::draw(seed, Memory::Process);
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }
}
