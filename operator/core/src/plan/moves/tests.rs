//! Drains and rebalances, step by step.

use super::*;
use crate::loss::Loss;
use crate::observe::PodFacts;
use crate::requests::Requests;

mod bounds;

const NOW_MS: u64 = 1_795_000_000_000;

pub(super) fn settings() -> MoveSettings {
    MoveSettings {
        steers: true,
        within_percent: 10,
        rebalance_max_per_second: 500,
        drain_max_per_second: 500,
        connack_p99_limit: Duration::from_millis(200),
        server_reference: String::new(),
        linger: Duration::from_secs(5),
        timeout: Duration::from_secs(300),
    }
}

pub(super) fn proxy(name: &str, role: Role) -> ProxyPod {
    ProxyPod {
        pod: PodFacts::ready(name),
        revision: "r".to_owned(),
        role: Some(role),
        is_accepting: role == Role::Active,
        deletion_cost: None,
        requests: Requests::default(),
        resize: None,
        order: None,
        loss: Loss::default(),
    }
}

pub(super) fn sample(clients: u64) -> ProxySample {
    ProxySample {
        clients,
        takes_orders: true,
        has_storage: true,
        ..ProxySample::default()
    }
}

struct World {
    observed: Observed,
    samples: Samples,
    settings: MoveSettings,
    per_second: u32,
    now_ms: u64,
}

impl World {
    fn new(proxies: &[(&str, Role, u64)]) -> Self {
        Self {
            observed: Observed {
                proxies: proxies.iter().map(|(name, role, _)| proxy(name, *role)).collect(),
                ..Observed::default()
            },
            samples: Samples {
                known: proxies
                    .iter()
                    .map(|(name, _, clients)| ((*name).to_owned(), sample(*clients)))
                    .collect(),
                ..Samples::default()
            },
            settings: settings(),
            per_second: 100,
            now_ms: NOW_MS,
        }
    }

    fn plan(&self) -> MovesPlan {
        let input = MoveInput {
            settings: &self.settings,
            samples: &self.samples,
            per_second: self.per_second,
            rebalanced: None,
            last_leaving_ms: None,
            now_ms: self.now_ms,
        };
        plan_moves(&self.observed, &input)
    }

    /// Carries the plan out, as the API server would.
    fn carry_out(&mut self) -> MovesPlan {
        let plan = self.plan();
        for write in &plan.writes {
            let pod = self.proxy(&write.pod);
            pod.order.clone_from(&write.order);
            if pod.is_active() {
                pod.is_accepting = !plan.is_steered(&write.uid);
            }
        }
        plan
    }

    fn proxy(&mut self, name: &str) -> &mut ProxyPod {
        self.observed.proxies.iter_mut().find(|p| p.pod.name == name).unwrap()
    }

    fn order(&self, name: &str) -> Option<&MoveOrder> {
        let proxy = self.observed.proxies.iter().find(|p| p.pod.name == name).unwrap();
        proxy.order.as_ref()
    }

    fn set_clients(&mut self, name: &str, clients: u64) {
        self.samples.known.insert(name.to_owned(), sample(clients));
    }

    fn end_of(&self, name: &str) -> Option<DrainEnd> {
        self.plan().drains.iter().find(|drain| drain.pod == name).unwrap().end
    }
}

fn drained() -> World {
    World::new(&[
        ("a", Role::Active, 10),
        ("b", Role::Draining, 300),
        ("c", Role::Draining, 100),
    ])
}

#[test]
fn victims_drain_together_each_in_proportion_to_what_it_has() {
    let mut world = drained();
    let plan = world.carry_out();
    let (b, c) = (world.order("b").unwrap(), world.order("c").unwrap());
    assert_eq!((b.clients_per_second, c.clients_per_second), (75, 25));
    assert_eq!((b.keep, b.given_ms, b.from_ms), (0, NOW_MS, NOW_MS + 5_000));
    assert_eq!(b.until_ms, NOW_MS + 305_000);
    assert!(!plan.may_go("b") && !plan.may_go("c"));
    // Nothing has changed, and nothing is written.
    assert_eq!(world.plan().writes, []);
}

#[test]
fn the_pace_follows_the_receivers_a_pause_at_once_and_small_changes_not_at_all() {
    let mut world = drained();
    world.carry_out();
    world.per_second = 110;
    world.now_ms += 60_000;
    assert_eq!(world.plan().writes, []);
    world.per_second = 200;
    world.carry_out();
    assert_eq!(world.order("b").unwrap().clients_per_second, 150);
    world.now_ms += 100;
    world.per_second = 300;
    assert_eq!(world.plan().writes, [], "a rise can wait");
    world.per_second = 0;
    world.carry_out();
    assert_eq!(world.order("b").unwrap().clients_per_second, 0);
}

#[test]
fn what_the_deadline_asks_for_is_moved_up_to_the_bound() {
    let mut world = drained();
    world.carry_out();
    world.set_clients("b", 3_000);
    world.set_clients("c", 1_000);
    world.per_second = 1;
    world.now_ms = NOW_MS + 280_000;
    world.carry_out();
    // 4,000 clients in 80 % of 25 s.
    assert_eq!(world.order("b").unwrap().clients_per_second, 150);
    world.now_ms = NOW_MS + 304_000;
    world.carry_out();
    let both = ["b", "c"].map(|name| world.order(name).unwrap().clients_per_second);
    assert_eq!(both, [375, 125], "never more than 500");
}

#[test]
fn where_its_clients_are_not_known_a_drain_begins_with_an_equal_part_and_goes_on_as_it_was_told() {
    let mut world = drained();
    world.samples.known.remove("b");
    world.carry_out();
    let paces = |world: &World| ["b", "c"].map(|name| world.order(name).unwrap().clients_per_second);
    assert_eq!(paces(&world), [50, 50]);
    // Another operator has heard of nobody yet.
    let mut world = drained();
    world.carry_out();
    world.samples.known.clear();
    world.now_ms += 60_000;
    assert_eq!(world.plan().writes, []);
    assert_eq!(paces(&world), [75, 25]);
    // A pause holds for those as well, and ends.
    world.per_second = 0;
    world.carry_out();
    assert_eq!(paces(&world), [0, 0]);
    world.now_ms += 60_000;
    world.per_second = 100;
    world.carry_out();
    assert_eq!(paces(&world), [50, 50]);
}

#[test]
fn a_proxy_may_go_when_its_clients_have_and_not_before() {
    let mut world = drained();
    world.carry_out();
    world.set_clients("b", 0);
    assert_eq!(world.end_of("b"), None, "Services may still send it clients");
    world.now_ms += 5_000;
    assert_eq!((world.end_of("b"), world.end_of("c")), (Some(DrainEnd::Drained), None));
    assert!(world.plan().may_go("b") && !world.plan().may_go("c"));
    world.now_ms = NOW_MS + 305_000;
    assert_eq!(world.end_of("c"), Some(DrainEnd::Deadline));
}

#[test]
fn who_does_not_answer_or_knows_no_orders_is_told_to_stop_and_drains_by_itself() {
    let mut world = drained();
    world.carry_out();
    world.samples.known.remove("b");
    assert_eq!(world.end_of("b"), None);
    world.samples.silent.insert("b".to_owned());
    assert_eq!(world.end_of("b"), Some(DrainEnd::NoAnswer));
    world.samples.known.get_mut("c").unwrap().takes_orders = false;
    assert_eq!(world.end_of("c"), Some(DrainEnd::KnowsNoOrders));
}

#[test]
fn without_a_receiver_nobody_waits() {
    let mut world = drained();
    world.proxy("a").is_accepting = false;
    assert_eq!(world.end_of("b"), Some(DrainEnd::NoReceiver));
}

#[test]
fn a_proxy_that_is_taken_back_keeps_the_clients_that_it_has() {
    let mut world = drained();
    world.carry_out();
    let b = world.proxy("b");
    (b.role, b.is_accepting) = (Some(Role::Active), true);
    world.carry_out();
    assert_eq!(world.order("b"), None);
    assert!(world.order("c").is_some());
}

fn uneven() -> World {
    World::new(&[
        ("a", Role::Active, 2_000),
        ("b", Role::Active, 0),
        ("c", Role::Active, 0),
        ("d", Role::Active, 0),
    ])
}

#[test]
fn a_full_proxy_leaves_the_service_and_gives_what_it_has_above_the_mean() {
    let mut world = uneven();
    let plan = world.carry_out();
    assert_eq!(plan.begins, Some(1_500));
    let order = world.order("a").unwrap();
    assert_eq!((order.keep, order.clients_per_second), (500, 100));
    assert!(!world.proxy("a").is_accepting && world.proxy("a").serves());
    // The others are told nothing, and no second action begins beside the first.
    assert_eq!(world.plan().writes, []);
}

#[test]
fn an_action_ends_when_all_are_near_the_mean() {
    let mut world = uneven();
    world.carry_out();
    for (name, clients) in [("a", 500), ("b", 480), ("c", 490), ("d", 400)] {
        world.set_clients(name, clients);
    }
    assert_eq!(world.carry_out().ends, None, "who was moved has not come back yet");
    assert_eq!(world.order("a").unwrap().keep, u64::MAX, "it gives nobody any more");
    world.set_clients("d", 480);
    assert_eq!(world.plan().ends, None, "it may not have seen that yet");
    world.now_ms += 1_500;
    let plan = world.carry_out();
    assert!(plan.ends.unwrap().is_even);
    assert!(world.proxy("a").is_accepting && world.order("a").is_none());
}

#[test]
fn of_clients_that_connect_meanwhile_a_giver_keeps_its_share_and_of_those_on_their_way_no_less() {
    let mut world = uneven();
    world.set_clients("a", 1_400);
    world.carry_out();
    assert_eq!(world.order("a").unwrap().keep, 350);
    world.set_clients("a", 2_000);
    world.carry_out();
    let order = world.order("a").unwrap();
    assert_eq!((order.keep, order.clients), (500, 500));
    world.set_clients("a", 900);
    world.carry_out();
    assert_eq!(world.order("a").unwrap().keep, 500);
}

#[test]
fn who_has_its_share_gets_no_more_and_one_always_takes() {
    let mut world = uneven();
    world.carry_out();
    for (name, clients) in [("a", 900), ("b", 600), ("c", 700), ("d", 530)] {
        world.set_clients(name, clients);
    }
    world.carry_out();
    let accepting: Vec<_> = world.observed.proxies.iter().filter(|p| p.is_accepting).collect();
    assert_eq!(accepting.len(), 1, "{accepting:?}");
    assert_eq!(accepting[0].pod.name, "d");
    assert_eq!(world.order("c").unwrap().clients_per_second, 0);
}

#[test]
fn an_action_is_void_when_proxies_go_or_its_time_is_over_or_nobody_takes() {
    let changes: [fn(&mut World); 5] = [
        |world| "another".clone_into(&mut world.proxy("d").revision),
        |world| drop(world.observed.proxies.pop()),
        |world| world.now_ms += 120_000,
        |world| world.samples.known.retain(|name, _| name == "a"),
        |world| world.proxy("d").role = Some(Role::Draining),
    ];
    for change in changes {
        let mut world = uneven();
        world.carry_out();
        change(&mut world);
        let plan = world.carry_out();
        assert!(!plan.ends.unwrap().is_even);
        assert!(world.proxy("a").is_accepting);
    }
}

#[test]
fn a_proxy_that_comes_during_an_action_is_taken_up_as_soon_as_its_clients_are_known() {
    let mut world = uneven();
    world.carry_out();
    // One is full and gets no more.
    for (name, clients) in [("a", 1_200), ("b", 540), ("c", 130), ("d", 130)] {
        world.set_clients(name, clients);
    }
    world.now_ms += 2_000;
    world.carry_out();
    assert_eq!(world.order("b").map(|order| order.keep), Some(u64::MAX));
    world.observed.proxies.push(proxy("e", Role::Active));
    world.now_ms += 1_000;
    let plan = world.carry_out();
    assert_eq!((plan.ends, plan.begins), (None, None), "it goes on meanwhile");
    assert_eq!(world.order("a").unwrap().proxies, 4);
    world.set_clients("e", 0);
    let plan = world.carry_out();
    assert_eq!((plan.ends, plan.begins), (None, None));
    let (a, b) = (world.order("a").unwrap(), world.order("b").unwrap());
    assert_eq!((a.keep, a.clients, a.proxies), (400, 400, 5));
    assert_eq!((a.given_ms, a.from_ms), (NOW_MS, NOW_MS + 1_500), "it gives on");
    assert_eq!(
        (b.keep, b.proxies, b.from_ms),
        (400, 5, NOW_MS + 3_500),
        "too much for five, and it left the Service a second ago"
    );
    assert!(world.order("e").is_none() && world.proxy("e").is_accepting && !world.proxy("a").is_accepting);
    assert_eq!(world.plan().writes, []);
}

#[test]
fn who_was_dealt_too_many_gives_them_to_whom_they_are_missing_when_all_are_there() {
    let mut world = uneven();
    world.carry_out();
    for (name, clients) in [("a", 500), ("b", 510), ("c", 542), ("d", 447)] {
        world.set_clients(name, clients);
    }
    world.now_ms += 4_000;
    assert_eq!(world.plan().ends, None, "one is on its way");
    world.carry_out();
    assert!(!world.proxy("c").is_accepting, "it has more than its share already");
    world.set_clients("d", 448);
    world.now_ms += 1_000;
    let plan = world.carry_out();
    assert_eq!((plan.begins, plan.ends), (None, None));
    let keep = |world: &World, name: &str| world.order(name).map(|order| (order.keep, order.clients_per_second));
    assert_eq!(keep(&world, "a"), Some((u64::MAX, 0)));
    assert_eq!(keep(&world, "b"), Some((500, 20)));
    assert_eq!(keep(&world, "c"), Some((500, 81)));
    assert_eq!((keep(&world, "d"), world.proxy("d").is_accepting), (None, true));
    let orders = ["b", "c"].map(|name| world.order(name).unwrap());
    let from_ms = orders.map(|order| order.from_ms);
    assert_eq!(from_ms, [NOW_MS + 5_500; 2], "they left the Service a second ago");
    let until_ms = world.order("a").unwrap().until_ms;
    assert!(
        orders.iter().all(|order| order.until_ms == until_ms),
        "it does not begin anew"
    );

    for (name, clients) in [("b", 500), ("c", 500), ("d", 500)] {
        world.set_clients(name, clients);
    }
    world.now_ms += 3_000;
    world.carry_out();
    world.now_ms += 1_500;
    assert!(world.carry_out().ends.unwrap().is_even);
}

#[test]
fn who_left_the_service_with_too_few_takes_again() {
    let mut world = uneven();
    world.carry_out();
    for (name, clients) in [("a", 500), ("b", 560), ("c", 500), ("d", 440)] {
        world.set_clients(name, clients);
    }
    world.now_ms += 4_000;
    let order = world.order("a").unwrap().clone();
    world.proxy("d").order = Some(MoveOrder {
        keep: u64::MAX,
        clients_per_second: 0,
        ..order
    });
    world.proxy("d").is_accepting = false;
    world.carry_out();
    assert!(world.proxy("d").is_accepting && world.order("d").is_none());
    assert_eq!(world.order("b").unwrap().keep, 500);
}

#[test]
fn a_pace_that_is_halved_is_told_at_once() {
    let mut world = drained();
    world.per_second = 200;
    world.carry_out();
    world.now_ms += 100;
    world.per_second = 100;
    world.carry_out();
    assert_eq!(world.order("b").unwrap().clients_per_second, 75);
}

#[test]
fn the_pace_is_found_within_the_bound_of_what_moves() {
    let mut settings = settings();
    (settings.drain_max_per_second, settings.rebalance_max_per_second) = (200, 500);
    assert_eq!(settings.max_per_second(&drained().observed), 200);
    assert_eq!(settings.max_per_second(&uneven().observed), 500);
}

#[test]
fn what_chance_explains_and_what_is_not_known_moves_nobody() {
    let even = |counts: [u64; 3]| {
        let world = World::new(&[
            ("a", Role::Active, counts[0]),
            ("b", Role::Active, counts[1]),
            ("c", Role::Active, counts[2]),
        ]);
        world.plan().writes.is_empty()
    };
    assert!(even([500, 520, 480]) && even([12, 9, 6]) && even([0, 0, 0]) && even([3, 0, 0]));
    assert!(!even([1_000, 500, 0]));
    let mut world = uneven();
    world.samples.known.retain(|name, _| name == "a");
    assert_eq!(world.plan().writes, []);
    let mut world = uneven();
    "another".clone_into(&mut world.proxy("a").revision);
    assert_eq!(world.plan().writes, [], "the others are being tried out");
    let mut world = uneven();
    world.settings.steers = false;
    assert_eq!(world.plan().writes, []);
}

#[test]
fn an_action_does_not_follow_another_at_once() {
    let world = uneven();
    let last = |proxies, ago_ms| {
        let input = MoveInput {
            settings: &world.settings,
            samples: &world.samples,
            per_second: 100,
            rebalanced: Some(Rebalanced {
                at_ms: NOW_MS - ago_ms,
                proxies,
                is_even: true,
            }),
            last_leaving_ms: None,
            now_ms: NOW_MS,
        };
        plan_moves(&world.observed, &input).begins
    };
    assert_eq!(last(4, 1_000), None);
    assert_eq!(last(3, 1_000), Some(1_500), "there is a new one");
    assert_eq!(last(4, 60_000), Some(1_500));
}

#[test]
fn who_has_come_from_a_proxy_that_left_is_let_alone_for_a_while() {
    let world = uneven();
    let begins = |ago_ms| {
        let input = MoveInput {
            settings: &world.settings,
            samples: &world.samples,
            per_second: 100,
            rebalanced: None,
            last_leaving_ms: Some(NOW_MS - ago_ms),
            now_ms: NOW_MS,
        };
        plan_moves(&world.observed, &input).begins
    };
    assert_eq!([0, 19_999, 20_000].map(begins), [None, None, Some(1_500)]);
}

#[test]
fn nothing_begins_while_storage_is_away_or_many_wait_for_it() {
    let begins = |name: &str, change: fn(&mut ProxySample)| {
        let mut world = uneven();
        change(world.samples.known.get_mut(name).unwrap());
        world.plan().begins
    };
    for name in ["a", "d"] {
        assert_eq!(begins(name, |sample| sample.has_storage = false), None);
        // A fifth of the mean makes a proxy one that has too few.
        assert_eq!(begins(name, |sample| sample.attaching = 100), None);
        assert_eq!(begins(name, |sample| sample.attaching = 99), Some(1_500));
    }
}

#[test]
fn references_name_those_that_take_connections() {
    let mut world = uneven();
    world.settings.server_reference = "{pod}.mqtt.example:8883".to_owned();
    world.carry_out();
    let references = &world.order("a").unwrap().server_references;
    assert!(references.contains(&"b.mqtt.example:8883".to_owned()), "{references:?}");
}
