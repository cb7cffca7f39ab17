//! Whole rebalances and drains: proxies that carry out their orders as the real ones do, and clients that come back to any
//! proxy that the Service has.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::tests::{proxy, sample, settings};
use super::*;

/// A client: where it is, and how often it was moved since the last order began somewhere.
#[derive(Debug, Clone, Copy)]
struct Client {
    proxy: usize,
    /// When it connected there, in milliseconds.
    since_ms: u64,
    moved: u32,
    /// Not connected until then.
    away_until_ms: Option<u64>,
}

struct World {
    observed: Observed,
    clients: Vec<Client>,
    /// What the proxies' files say: an order is seen a second after it was written.
    seen: Vec<(u64, Option<MoveOrder>)>,
    /// Clients that each proxy may move by now, in thousandths.
    credit: Vec<u64>,
    rate: MoveRate,
    last_leaving_ms: Option<u64>,
    now_ms: u64,
    random: u64,
    moves: u64,
    writes: u64,
}

const STEP_MS: u64 = 100;
/// How long a client takes to come back.
const BACK_OFF_MS: u64 = 1_000;

impl World {
    fn new(counts: &[usize], seed: u64) -> Self {
        let proxies: Vec<_> = (0..counts.len())
            .map(|i| proxy(&format!("p{i}"), Role::Active))
            .collect();
        let clients = counts.iter().enumerate().flat_map(|(proxy, count)| {
            std::iter::repeat_n(
                Client {
                    proxy,
                    since_ms: 0,
                    moved: 0,
                    away_until_ms: None,
                },
                *count,
            )
        });
        Self {
            seen: vec![(0, None); counts.len()],
            credit: vec![0; counts.len()],
            clients: clients.collect(),
            observed: Observed {
                proxies,
                ..Observed::default()
            },
            rate: MoveRate::default(),
            last_leaving_ms: None,
            now_ms: 1_000_000,
            random: seed.wrapping_mul(2).wrapping_add(1),
            moves: 0,
            writes: 0,
        }
    }

    /// Another proxy serves from now on.
    fn add(&mut self) {
        let name = format!("p{}", self.observed.proxies.len());
        self.observed.proxies.push(proxy(&name, Role::Active));
        self.seen.push((0, None));
        self.credit.push(0);
    }

    fn draw(&mut self, below: usize) -> usize {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.random >> 33).unwrap() % below.max(1)
    }

    fn count(&self, proxy: usize) -> u64 {
        let there = |client: &&Client| client.proxy == proxy && client.away_until_ms.is_none();
        self.clients.iter().filter(there).count() as u64
    }

    fn samples(&self, unknown: &BTreeSet<usize>) -> Samples {
        let known = (0..self.observed.proxies.len()).filter(|i| !unknown.contains(i));
        Samples {
            known: known
                .map(|i| (self.observed.proxies[i].pod.uid.clone(), sample(self.count(i))))
                .collect(),
            ..Samples::default()
        }
    }

    fn operate(&mut self, unknown: &BTreeSet<usize>, last: Option<Rebalanced>) -> MovesPlan {
        let samples = self.samples(unknown);
        let settings = settings();
        if anybody_leaves(&self.observed, &samples) {
            self.last_leaving_ms = Some(self.now_ms);
        }
        if is_moving(&self.observed) {
            let receivers = receivers(&self.observed, &samples);
            self.rate.tick(
                receivers,
                settings.connack_p99_limit,
                500,
                Duration::from_millis(self.now_ms),
            );
        } else {
            self.rate.end();
        }
        let input = MoveInput {
            settings: &settings,
            samples: &samples,
            per_second: self.rate.per_second(500),
            rebalanced: last,
            last_leaving_ms: self.last_leaving_ms,
            now_ms: self.now_ms,
        };
        let plan = plan_moves(&self.observed, &input);
        self.writes += plan.writes.len() as u64;
        for write in &plan.writes {
            let now_ms = self.now_ms;
            let index = self
                .observed
                .proxies
                .iter()
                .position(|p| p.pod.uid == write.uid)
                .unwrap();
            let pod = &mut self.observed.proxies[index];
            pod.order.clone_from(&write.order);
            if pod.is_active() {
                pod.is_accepting = !plan.is_steered(&write.uid);
            }
            self.seen[index].0 = now_ms + 1_000;
        }
        plan
    }

    fn step(&mut self) {
        self.now_ms += STEP_MS;
        let now_ms = self.now_ms;
        for index in 0..self.observed.proxies.len() {
            if now_ms >= self.seen[index].0 {
                self.seen[index].1.clone_from(&self.observed.proxies[index].order);
            }
            let Some(order) = self.seen[index].1.clone() else {
                continue;
            };
            if now_ms < order.from_ms || now_ms >= order.until_ms {
                self.credit[index] = 0;
                continue;
            }
            self.credit[index] += u64::from(order.clients_per_second) * STEP_MS;
            let may = (self.credit[index] / 1_000).min(self.count(index).saturating_sub(order.keep));
            self.credit[index] %= 1_000;
            let goes = |client: &&mut Client| {
                client.proxy == index
                    && client.away_until_ms.is_none()
                    && (order.reason == MoveReason::Drain || client.since_ms < order.given_ms)
            };
            for client in self.clients.iter_mut().filter(goes).take(usize::try_from(may).unwrap()) {
                client.moved += 1;
                client.away_until_ms = Some(now_ms + BACK_OFF_MS);
                self.moves += 1;
            }
        }
        let accepting: Vec<usize> = (0..self.observed.proxies.len())
            .filter(|i| self.observed.proxies[*i].is_accepting)
            .collect();
        assert!(!accepting.is_empty(), "nobody takes connections");
        for index in 0..self.clients.len() {
            if self.clients[index].away_until_ms.is_some_and(|until| now_ms >= until) {
                let to = accepting[self.draw(accepting.len())];
                let client = &mut self.clients[index];
                (client.proxy, client.since_ms, client.away_until_ms) = (to, now_ms, None);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn newcomers_get_their_share_within_the_tolerance_and_hardly_anybody_is_moved_twice(
        base in 300..1_500usize,
        full in proptest::collection::vec(90..111usize, 1..4),
        newcomers in 1..4usize,
        seed in any::<u64>(),
    ) {
        let full = full.iter().map(|percent| base * percent / 100);
        let counts: Vec<usize> = full.chain(std::iter::repeat_n(0, newcomers)).collect();
        let mut world = World::new(&counts, seed);
        let all: usize = counts.iter().sum();
        let mean = all.div_ceil(counts.len());
        let least: usize = counts.iter().map(|count| count.saturating_sub(mean)).sum();
        let mut ended = None;
        for step in 0..600 {
            if step % 10 == 0 {
                let plan = world.operate(&BTreeSet::new(), ended);
                ended = plan.ends.or(ended);
            }
            world.step();
        }
        prop_assert!(ended.is_some());
        for (index, proxy) in world.observed.proxies.iter().enumerate() {
            prop_assert!(proxy.is_accepting && proxy.order.is_none());
            let count = world.count(index) as f64;
            // The tolerance, or of few what chance deals once in twenty times.
            let may = (mean as f64 * 0.1).max(2.0 * (mean as f64).sqrt());
            prop_assert!((count - mean as f64).abs() <= may, "{} of {}", count, mean);
        }
        // What a newcomer was dealt beyond the tolerance is moved on.
        let once = world.clients.iter().filter(|client| client.moved == 1).count();
        let all_moves = usize::try_from(world.moves).unwrap();
        prop_assert!(world.clients.iter().all(|client| client.moved <= 2));
        prop_assert!(once <= least && all_moves * 10 <= least * 11, "{} moves, {} were needed", all_moves, least);
        prop_assert!(world.writes <= 12 * counts.len() as u64, "{} writes", world.writes);
    }

    #[test]
    fn those_that_come_one_after_the_other_are_filled_in_one_go(
        base in 1_000..3_000usize,
        come_at in proptest::collection::vec(10..30usize, 1..3),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(&[base, 0], seed);
        let mut ended = None;
        for step in 0..200 {
            (0..come_at.iter().filter(|at| **at == step).count()).for_each(|_| world.add());
            if step % 10 == 0 {
                let plan = world.operate(&BTreeSet::new(), ended);
                prop_assert!(plan.ends.is_none_or(|ended| ended.is_even), "{:?}", plan.ends);
                ended = plan.ends.or(ended);
            }
            world.step();
        }
        prop_assert!(ended.is_some(), "within 20 s");
        let proxies = world.observed.proxies.len();
        let mean = (base / proxies) as f64;
        for index in 0..proxies {
            let count = world.count(index) as f64;
            let may = (mean * 0.1).max(2.0 * mean.sqrt());
            prop_assert!((count - mean).abs() <= may + 1.0, "{} of {}", count, mean);
        }
        let twice = world.clients.iter().filter(|client| client.moved > 1).count();
        prop_assert!(twice * 5 <= base, "{} of {} were moved twice", twice, base);
    }

    #[test]
    fn whatever_is_unknown_some_proxy_always_takes_connections(
        counts in proptest::collection::vec(0..400usize, 2..6),
        unknown in proptest::collection::vec(proptest::collection::btree_set(0..6usize, 0..4), 30),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(&counts, seed);
        let mut ended = None;
        for unknown in unknown {
            ended = world.operate(&unknown, ended).ends.or(ended);
            for _ in 0..10 {
                world.step();
            }
        }
    }

    #[test]
    fn a_drain_moves_each_client_once_and_is_done_in_time(
        staying in proptest::collection::vec(0..500usize, 1..4),
        leaving in proptest::collection::vec(0..1_500usize, 1..3),
        seed in any::<u64>(),
    ) {
        let counts: Vec<usize> = staying.iter().chain(&leaving).copied().collect();
        let mut world = World::new(&counts, seed);
        for victim in &mut world.observed.proxies[staying.len()..] {
            (victim.role, victim.is_accepting) = (Some(Role::Draining), false);
        }
        for step in 0..600 {
            if step % 10 == 0 {
                world.operate(&BTreeSet::new(), None);
            }
            world.step();
        }
        let plan = world.operate(&BTreeSet::new(), None);
        prop_assert!(plan.drains.iter().all(|drain| drain.end == Some(DrainEnd::Drained)), "{:?}", plan.drains);
        prop_assert!(world.clients.iter().all(|client| client.moved <= 1));
    }

    #[test]
    fn who_comes_from_proxies_that_were_told_to_stop_is_let_alone_until_all_have_settled(
        staying in proptest::collection::vec(0..500usize, 1..4),
        newcomers in 1..3usize,
        leaving in proptest::collection::vec(1..1_500usize, 1..3),
        told_at in 1..100usize,
        seed in any::<u64>(),
    ) {
        let counts: Vec<usize> = staying
            .iter()
            .copied()
            .chain(std::iter::repeat_n(0, newcomers))
            .chain(leaving)
            .collect();
        let mut world = World::new(&counts, seed);
        let first = staying.len() + newcomers;
        for victim in &mut world.observed.proxies[first..] {
            (victim.role, victim.is_accepting) = (Some(Role::Draining), false);
        }
        let (mut ended, mut left_at) = (None, 0);
        for step in 0..900 {
            if step == told_at {
                world.observed.proxies[first..].iter_mut().for_each(|victim| victim.pod.is_deleting = true);
            }
            if step % 10 == 0 {
                ended = world.operate(&BTreeSet::new(), ended).ends.or(ended);
            }
            world.step();
            if (first..counts.len()).any(|victim| world.count(victim) > 0) {
                left_at = step;
            }
            let has_settled = step > left_at + 200;
            prop_assert!(has_settled || world.clients.iter().all(|client| client.moved <= 1));
        }
        prop_assert!(left_at < 600, "they have clients for {} s", left_at / 10);
    }
}
