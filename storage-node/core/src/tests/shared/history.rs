//! Random histories of groups against a plain model: a set of free messages per group, and who has which on lease.
//!
//! After every event each lease that was given must be of the first free message, to a proxy with a window for it; and
//! a message stays free only while no proxy could take it. At the end everything is settled, and every message that a
//! group took has been done with once. Failing histories are shrunk and printed with their seed by proptest.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const PROXIES: usize = 3;
const GROUPS: [(&str, &str); 3] = [("g", "a"), ("h", "a"), ("g", "+")];
const TOPICS: [&str; 2] = ["a", "b"];

#[derive(Debug, Clone)]
enum Event {
    Publish {
        topic: usize,
    },
    Share {
        proxy: usize,
        group: usize,
        window: u32,
    },
    Unshare {
        proxy: usize,
        group: usize,
    },
    Settle {
        proxy: usize,
        at: prop::sample::Index,
        settlement: Settlement,
    },
    LoseLink {
        proxy: usize,
    },
    Attach {
        proxy: usize,
    },
    /// The process stops: its lease will end.
    Die {
        proxy: usize,
    },
    Pass {
        ms: u64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let (proxy, group) = (0..PROXIES, 0..GROUPS.len());
    let settlement = prop_oneof![3 => Just(Settlement::Done), 1 => Just(Settlement::Returned)];
    prop_oneof![
        10 => (0..TOPICS.len()).prop_map(|topic| Event::Publish { topic }),
        4 => (proxy.clone(), group.clone(), 1..5_u32)
            .prop_map(|(proxy, group, window)| Event::Share { proxy, group, window }),
        1 => (proxy.clone(), group).prop_map(|(proxy, group)| Event::Unshare { proxy, group }),
        12 => (proxy.clone(), any::<prop::sample::Index>(), settlement)
            .prop_map(|(proxy, at, settlement)| Event::Settle { proxy, at, settlement }),
        1 => proxy.clone().prop_map(|proxy| Event::LoseLink { proxy }),
        3 => proxy.clone().prop_map(|proxy| Event::Attach { proxy }),
        1 => proxy.prop_map(|proxy| Event::Die { proxy }),
        1 => (1..4_000_u64).prop_map(|ms| Event::Pass { ms }),
    ]
}

/// What a life of a proxy has, as the model knows it.
#[derive(Debug)]
struct Life {
    id: u128,
    is_linked: bool,
    /// Window by group.
    parts: BTreeMap<usize, u32>,
    held: Vec<(usize, Leased)>,
}

struct History {
    w: World,
    proxies: Vec<Life>,
    /// Lives that have stopped and whose lease holds.
    stopped: Vec<Life>,
    last_id: u128,
    last_message: u32,
    /// Messages that nobody has on lease, by group.
    free: [BTreeSet<u32>; GROUPS.len()],
    /// Done with, by group.
    done: [BTreeSet<u32>; GROUPS.len()],
    /// Publisher: takes part in nothing.
    publisher: u128,
}

impl History {
    fn new() -> Self {
        let mut w = world();
        let publisher = 0xFF;
        w.attach(publisher);
        let mut history = Self {
            w,
            proxies: Vec::new(),
            stopped: Vec::new(),
            last_id: 0x100,
            last_message: 0,
            free: Default::default(),
            done: Default::default(),
            publisher,
        };
        for _ in 0..PROXIES {
            let life = history.next_life();
            history.proxies.push(life);
        }
        history
    }

    fn next_life(&mut self) -> Life {
        self.last_id += 1;
        self.w.attach(self.last_id);
        Life {
            id: self.last_id,
            is_linked: true,
            parts: BTreeMap::new(),
            held: Vec::new(),
        }
    }

    fn is_live(&self, group: usize) -> bool {
        let mut lives = self.proxies.iter().chain(&self.stopped);
        lives.any(|life| life.parts.contains_key(&group))
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Publish { topic } => {
                self.last_message += 1;
                for (group, (_, filter)) in GROUPS.iter().enumerate() {
                    if freshet_mqtt::topic_matches(filter, TOPICS[*topic]) && self.is_live(group) {
                        self.free[group].insert(self.last_message);
                    }
                }
                let payload = format!("{:06}", self.last_message);
                self.w.publish(self.publisher, qos_1(TOPICS[*topic], &payload));
            }
            Event::Share { proxy, group, window } => {
                let life = &mut self.proxies[*proxy];
                if life.is_linked {
                    life.parts.insert(*group, *window);
                    let (name, filter) = GROUPS[*group];
                    let part = SharedGroup {
                        filter_id: id_of(*group),
                        share_name: Bytes::from(name),
                        topic_filter: Bytes::from(filter),
                        strategy: if window % 2 == 0 {
                            SharedStrategy::RoundRobin
                        } else {
                            SharedStrategy::LeastInflight
                        },
                        members: *window,
                        window: *window,
                    };
                    self.w
                        .change_interest(life.id, S0, vec![InterestChange::SetGroup(part)]);
                }
            }
            Event::Unshare { proxy, group } => {
                let life = &mut self.proxies[*proxy];
                if life.is_linked {
                    life.parts.remove(group);
                    let (of_group, rest) = std::mem::take(&mut life.held)
                        .into_iter()
                        .partition(|(g, _)| g == group);
                    life.held = rest;
                    let id = life.id;
                    self.give_back(of_group);
                    let filter_id = id_of(*group);
                    self.w
                        .change_interest(id, S0, vec![InterestChange::Remove { filter_id }]);
                }
            }
            Event::Settle { proxy, at, settlement } => {
                let count = self.proxies[*proxy].held.len();
                if count > 0 {
                    self.settle(*proxy, at.index(count), *settlement);
                }
            }
            Event::LoseLink { proxy } => {
                let life = &mut self.proxies[*proxy];
                life.is_linked = false;
                self.w.lose_link(life.id);
            }
            Event::Attach { proxy } => {
                let life = &mut self.proxies[*proxy];
                if !life.is_linked {
                    life.is_linked = true;
                    self.w.attach(life.id);
                }
            }
            Event::Die { proxy } => {
                let next = self.next_life();
                let mut life = std::mem::replace(&mut self.proxies[*proxy], next);
                life.is_linked = false;
                self.w.lose_link(life.id);
                self.stopped.push(life);
            }
            Event::Pass { ms } => {
                let linked = self.proxies.iter().filter(|life| life.is_linked).map(|life| life.id);
                let alive: Vec<u128> = linked.chain([self.publisher]).collect();
                self.w.pass_ms_with(*ms, &alive);
            }
        }
        self.look();
    }

    fn settle(&mut self, proxy: usize, at: usize, settlement: Settlement) {
        let life = &mut self.proxies[proxy];
        if !life.is_linked {
            return;
        }
        let (group, leased) = life.held.remove(at);
        let id = life.id;
        let message = number_of(&leased);
        match settlement {
            Settlement::Done => assert!(self.done[group].insert(message), "{message} is done with twice"),
            Settlement::Returned => {
                self.free[group].insert(message);
            }
        }
        self.w.settle(id, S0, &[(&leased, settlement)]);
    }

    fn give_back(&mut self, held: Vec<(usize, Leased)>) {
        for (group, leased) in held {
            self.free[group].insert(number_of(&leased));
        }
    }

    /// Compares what the core has done with what the model allows.
    fn look(&mut self) {
        // Of a queue that has lost its members rows may be left.
        self.w.pass_ms(0);
        let mut ended = 0;
        for fact in std::mem::take(&mut self.w.facts) {
            if let StorageFact::IncarnationGone { incarnation, .. } = fact {
                self.end_life(incarnation.0);
                ended += 1;
            }
        }
        // A group without members forgets what it had.
        for group in 0..GROUPS.len() {
            if !self.is_live(group) {
                self.free[group].clear();
            }
        }
        let mut given = Vec::new();
        for at in 0..PROXIES {
            let id = self.proxies[at].id;
            given.extend(self.w.take_leased(id).into_iter().map(|leased| (at, leased)));
        }
        given.sort_by_key(|(_, leased)| leased.lease.number);
        for (at, leased) in given {
            let group = leased.filter_id as usize - 1;
            let message = number_of(&leased);
            if ended < 2 {
                assert_eq!(self.free[group].first(), Some(&message), "the first that is free");
            }
            // What lives had that ended at the same time came back in the order of their ends.
            assert!(self.free[group].remove(&message), "{message} is not free");
            let life = &mut self.proxies[at];
            assert!(life.is_linked);
            life.held.push((group, leased));
            let window = life.parts.get(&group).copied().expect("it has members");
            let held = life.held.iter().filter(|(g, _)| *g == group).count();
            assert!(held <= window as usize, "no more than its members can take");
        }
        for group in 0..GROUPS.len() {
            if self.free[group].is_empty() {
                continue;
            }
            for life in self.proxies.iter().filter(|life| life.is_linked) {
                let held = life.held.iter().filter(|(g, _)| *g == group).count();
                let window = life.parts.get(&group).copied().unwrap_or(0) as usize;
                assert!(held >= window, "{life:?} could take one of {:?}", self.free[group]);
            }
        }
        let leases: usize = self
            .proxies
            .iter()
            .chain(&self.stopped)
            .map(|life| life.held.len())
            .sum();
        let free: usize = self.free.iter().map(BTreeSet::len).sum();
        let gauges = gauges(&self.w);
        assert_eq!(gauges.shared_leases, leases as u64);
        assert_eq!(gauges.queued_rows, (leases + free) as u64);
    }

    fn end_life(&mut self, id: u128) {
        if let Some(at) = self.stopped.iter().position(|life| life.id == id) {
            let life = self.stopped.remove(at);
            self.give_back(life.held);
        } else if let Some(at) = self.proxies.iter().position(|life| life.id == id) {
            let next = self.next_life();
            let life = std::mem::replace(&mut self.proxies[at], next);
            self.give_back(life.held);
        }
    }

    /// Everybody is back, and settles everything.
    fn finish(&mut self) {
        let taken = |h: &Self| -> Vec<usize> {
            let held = |g| {
                h.proxies
                    .iter()
                    .chain(&h.stopped)
                    .flat_map(|l| &l.held)
                    .filter(move |(of, _)| *of == g)
            };
            (0..GROUPS.len())
                .map(|g| h.free[g].len() + h.done[g].len() + held(g).count())
                .collect()
        };
        for (proxy, group) in [(0, 0), (1, 1), (2, 2)] {
            self.apply(&Event::Attach { proxy });
            self.apply(&Event::Share {
                proxy,
                group,
                window: 4,
            });
        }
        let before = taken(self);
        self.apply(&Event::Pass { ms: 10_000 });
        for proxy in 0..PROXIES {
            while !self.proxies[proxy].held.is_empty() {
                self.settle(proxy, 0, Settlement::Done);
                self.look();
            }
        }
        let done: Vec<usize> = self.done.iter().map(BTreeSet::len).collect();
        assert_eq!(done, before, "every message is done with once");
        let left = gauges(&self.w);
        assert_eq!((left.queued_rows, left.queued_bytes, left.shared_leases), (0, 0, 0));
    }
}

fn id_of(group: usize) -> FilterId {
    FilterId(u32::try_from(group).unwrap() + 1)
}

fn number_of(leased: &Leased) -> u32 {
    leased.payload.parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn each_message_of_a_group_is_done_with_by_one_member(events in prop::collection::vec(event(), 1..120)) {
        let mut history = History::new();
        for event in &events {
            history.apply(event);
        }
        history.finish();
    }
}
