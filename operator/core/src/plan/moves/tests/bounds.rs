//! Where each bound lies: at it, and just beside it.

use super::*;

/// What a cluster whose proxies have so many clients begins to move.
fn begins(counts: &[u64]) -> Option<u64> {
    let names: Vec<String> = (0..counts.len()).map(|index| format!("p{index}")).collect();
    let proxies: Vec<(&str, Role, u64)> = names
        .iter()
        .zip(counts)
        .map(|(name, count)| (name.as_str(), Role::Active, *count))
        .collect();
    World::new(&proxies).plan().begins
}

#[test]
fn one_is_far_from_the_mean_by_twice_the_tolerance_or_by_more_than_chance_deals() {
    // Twice 10 % of 10,000.
    assert_eq!(begins(&[12_000, 10_000, 10_000, 8_000]), Some(2_000));
    assert_eq!(begins(&[11_999, 10_000, 10_000, 8_001]), None);
    // Three standard deviations of 100.
    assert_eq!(begins(&[130, 100, 100, 70]), Some(30));
    assert_eq!(begins(&[129, 100, 100, 71]), None);
    // At least five.
    assert_eq!(begins(&[9, 0, 0]), None);
    // Or what chance deals of few.
    assert_eq!(begins(&[22, 7, 1]), Some(12));
    assert_eq!(begins(&[22, 6, 2]), None);
    // Who has no more than half the tolerance above the mean gives nobody.
    assert_eq!(begins(&[10_500, 10_501, 10_999, 8_000]), Some(1_500));
    assert_eq!(begins(&[10_000, 5_000]), Some(2_500));
}

#[test]
fn an_order_to_rebalance_lasts_twice_as_long_as_it_takes_at_its_pace() {
    let mut world = uneven();
    world.settings.rebalance_max_per_second = 50;
    world.carry_out();
    let order = world.order("a").unwrap();
    let expected = MoveOrder {
        reason: MoveReason::Rebalance,
        keep: 500,
        clients_per_second: 50,
        given_ms: NOW_MS,
        from_ms: NOW_MS + 1_500,
        // 1,500 clients at 100 a second, twice; and 20 s to come back.
        until_ms: NOW_MS + 1_500 + 30_000 + 20_000,
        written_ms: NOW_MS,
        proxies: 4,
        clients: 500,
        server_references: Vec::new(),
    };
    assert_eq!(order, &expected);
    world.now_ms = expected.until_ms - 1;
    assert_eq!(world.plan().ends, None);
    world.now_ms += 1;
    assert_eq!(
        world.plan().ends,
        Some(Rebalanced {
            at_ms: expected.until_ms,
            proxies: 4,
            is_even: false
        })
    );
}

#[test]
fn givers_share_the_pace_by_what_they_have_above_the_mean() {
    let mut world = World::new(&[
        ("a", Role::Active, 1_600),
        ("b", Role::Active, 1_200),
        ("c", Role::Active, 200),
        ("d", Role::Active, 200),
    ]);
    assert_eq!(world.carry_out().begins, Some(1_200));
    let pace = |world: &World| ["a", "b"].map(|name| world.order(name).unwrap().clients_per_second);
    assert_eq!(pace(&world), [67, 34]);
    world.set_clients("b", 900);
    world.now_ms += 1_500;
    world.settings.server_reference = "{pod}:1".to_owned();
    world.carry_out();
    assert_eq!(pace(&world), [89, 12], "800 and 100 are left");
    let order = world.order("a").unwrap();
    assert_eq!((order.written_ms, order.given_ms), (NOW_MS + 1_500, NOW_MS));
    assert_eq!(order.server_references, ["c:1", "d:1"]);
    // One that has given all is told so, and to send nobody anywhere.
    world.set_clients("b", 800);
    world.now_ms += 1;
    world.carry_out();
    let order = world.order("b").unwrap();
    assert_eq!(
        (order.keep, order.clients_per_second, order.written_ms),
        (u64::MAX, 0, NOW_MS + 1_501)
    );
    assert_eq!(order.server_references, Vec::<String>::new());
}

#[test]
fn nothing_begins_where_less_than_half_is_known_or_somebody_hands_over_or_none_is_poor_that_takes() {
    let with = |change: fn(&mut World)| {
        let mut world = uneven();
        change(&mut world);
        world.plan().begins
    };
    assert_eq!(
        with(|world| world.samples.known.retain(|name, _| name != "b")),
        Some(1_333)
    );
    assert_eq!(
        with(|world| world
            .samples
            .known
            .retain(|name, _| ["a", "b"].contains(&name.as_str()))),
        Some(1_000)
    );
    assert_eq!(
        with(|world| {
            world.observed.proxies.push(proxy("e", Role::Active));
            world
                .samples
                .known
                .retain(|name, _| ["a", "b"].contains(&name.as_str()));
        }),
        None
    );
    assert_eq!(
        with(|world| world.observed.proxies.push(proxy("e", Role::Draining))),
        None
    );
    for role in [Role::Draining, Role::Active] {
        let with_one_that_goes = |clients: Option<u64>| {
            let mut world = uneven();
            let mut going = proxy("e", role);
            going.pod.is_deleting = true;
            world.observed.proxies.push(going);
            world
                .samples
                .known
                .extend(clients.map(|clients| ("e".to_owned(), sample(clients))));
            world.plan().begins
        };
        assert_eq!(with_one_that_goes(Some(1)), None, "its clients are still to come");
        assert_eq!(with_one_that_goes(Some(0)), Some(1_500));
        assert_eq!(with_one_that_goes(None), Some(1_500), "its node may be dead");
    }
    assert_eq!(
        with(|world| {
            for name in ["b", "c", "d"] {
                world.proxy(name).is_accepting = false;
            }
        }),
        None
    );
    assert_eq!(
        with(|world| {
            for name in ["b", "c", "d"] {
                world.proxy(name).pod.is_ready = false;
            }
        }),
        None
    );
    assert_eq!(
        with(|world| {
            world.observed.proxies.push(proxy("e", Role::Active));
            world.observed.proxies.push(proxy("f", Role::Active));
            world.samples.known.remove("b");
        }),
        Some(1_333),
        "half of six are known"
    );
    assert_eq!(World::new(&[("a", Role::Warm, 0)]).plan(), MovesPlan::default());
    // One that knows no orders gives nobody, and does not count.
    assert_eq!(
        with(|world| world.samples.known.get_mut("a").unwrap().takes_orders = false),
        None
    );
}

#[test]
fn an_action_is_even_within_the_tolerance_and_full_is_who_has_half_of_it_more() {
    let mut world = uneven();
    world.carry_out();
    world.set_clients("a", 500);
    world.carry_out();
    world.now_ms += 1_500;
    let ends = |world: &mut World, count: u64| {
        for name in ["b", "c", "d"] {
            world.set_clients(name, count);
        }
        world.plan().ends.map(|ended| ended.is_even)
    };
    assert_eq!(ends(&mut world, 449), None);
    assert_eq!(ends(&mut world, 450), Some(true));
    world.now_ms -= 1;
    assert_eq!(ends(&mut world, 450), None, "it may not have seen its last order");

    let mut world = uneven();
    world.carry_out();
    world.set_clients("a", 500);
    world.set_clients("b", 525);
    world.set_clients("c", 526);
    world.set_clients("d", 450);
    world.carry_out();
    assert!(world.proxy("b").is_accepting && !world.proxy("c").is_accepting);
    let order = world.order("c").unwrap();
    assert_eq!(
        (order.keep, order.clients_per_second, order.written_ms),
        (u64::MAX, 0, NOW_MS)
    );
}

#[test]
fn a_giver_of_which_nothing_is_known_is_waited_for_and_one_that_is_done_is_told_once() {
    let mut world = uneven();
    world.carry_out();
    world.now_ms += 10_000;
    assert_eq!(world.plan().writes, [], "it goes on as it was told");
    world.samples.known.remove("a");
    let plan = world.carry_out();
    assert_eq!((plan.writes.len(), plan.ends), (0, None));
    assert!(plan.is_steered("a"));
    world.set_clients("a", 500);
    assert_eq!(world.carry_out().writes.len(), 1);
    let plan = world.carry_out();
    assert!(plan.writes.is_empty() && plan.is_steered("a"));
}

#[test]
fn what_a_giver_keeps_grows_with_the_mean_only_beyond_half_the_tolerance() {
    let keep = |clients: u64| {
        let mut world = uneven();
        world.carry_out();
        world.set_clients("a", 2_000 + clients);
        world.carry_out();
        world.order("a").unwrap().keep
    };
    assert_eq!([keep(100), keep(103), keep(104), keep(108)], [500, 500, 526, 527]);
}

#[test]
fn a_pace_is_written_anew_when_it_is_time_and_it_differs_by_a_quarter_or_is_urgent() {
    let next = |was: u32, wanted: u32, age_ms: u64| {
        let order = MoveOrder {
            clients_per_second: was,
            written_ms: NOW_MS,
            ..MoveOrder::default()
        };
        next_pace(&order, wanted, NOW_MS + age_ms)
    };
    // Down to half is urgent.
    assert_eq!((next(100, 50, 0), next(100, 51, 0)), (50, 100));
    assert_eq!((next(101, 50, 0), next(101, 51, 0)), (50, 101));
    assert_eq!((next(100, 0, 0), next(1, 0, 0)), (0, 0));
    // Other changes have time, and small ones do not matter.
    assert_eq!((next(100, 51, 1_499), next(100, 51, 1_500)), (100, 51));
    assert_eq!((next(100, 75, 1_500), next(100, 74, 1_500)), (100, 74));
    assert_eq!((next(100, 125, 1_500), next(100, 126, 1_500)), (100, 126));
    assert_eq!((next(100, 126, 1_499), next(100, 500, 1_499)), (100, 100));
    assert_eq!((next(3, 3, 1_500), next(7, 8, 1_500)), (3, 7));
    // Something in place of nothing has time as well.
    assert_eq!((next(0, 10, 1_499), next(0, 10, 1_500), next(0, 0, 1_500)), (0, 10, 0));
}

#[test]
fn a_share_is_rounded_up() {
    assert_eq!((share(100, 1, 3), share(100, 0, 3), share(100, 3, 3)), (34, 0, 100));
    assert_eq!((share(100, 5, 0), share(u32::MAX, u64::MAX, 1)), (500, u32::MAX));
}

#[test]
fn receivers_are_those_that_take_and_the_worst_of_them_counts() {
    let mut world = World::new(&[
        ("a", Role::Active, 0),
        ("b", Role::Active, 0),
        ("c", Role::Active, 0),
        ("d", Role::Draining, 0),
    ]);
    for (name, p99, attaching) in [
        ("a", Some(7), 2),
        ("b", Some(90), 3),
        ("c", None, 5),
        ("d", Some(900), 50),
    ] {
        let sample = world.samples.known.get_mut(name).unwrap();
        (sample.connack_p99_ms, sample.attaching) = (p99, attaching);
    }
    let expected = Receivers {
        known: 3,
        connack_p99_ms: Some(90),
        attaching: 10,
        is_storage_away: false,
    };
    assert_eq!(receivers(&world.observed, &world.samples), expected);
    world.samples.known.get_mut("d").unwrap().has_storage = false;
    assert_eq!(receivers(&world.observed, &world.samples), expected);
    world.samples.known.get_mut("b").unwrap().has_storage = false;
    let is_storage_away = true;
    assert_eq!(
        receivers(&world.observed, &world.samples),
        Receivers {
            is_storage_away,
            ..expected
        }
    );
    world.proxy("b").pod.is_ready = false;
    world.proxy("c").is_accepting = false;
    assert_eq!(receivers(&world.observed, &world.samples).known, 1);
}

#[test]
fn clients_move_while_somebody_hands_over_or_has_an_order_and_stays() {
    let moves = |change: fn(&mut ProxyPod)| {
        let mut world = World::new(&[("a", Role::Active, 0), ("b", Role::Warm, 0)]);
        change(world.proxy("b"));
        is_moving(&world.observed)
    };
    assert!(!moves(|_| ()));
    assert!(moves(|proxy| proxy.role = Some(Role::Draining)));
    assert!(moves(|proxy| proxy.order = Some(MoveOrder::default())));
    assert!(!moves(|proxy| {
        proxy.role = Some(Role::Draining);
        proxy.pod.is_deleting = true;
    }));
}

#[test]
fn an_order_that_has_lost_its_reason_is_withdrawn_from_whoever_stays() {
    let withdrawn = |role: Option<Role>, reason: MoveReason, is_deleting: bool| {
        let mut world = World::new(&[("a", Role::Active, 0), ("b", Role::Warm, 0)]);
        let proxy = world.proxy("b");
        proxy.role = role;
        proxy.pod.is_deleting = is_deleting;
        proxy.order = Some(MoveOrder {
            reason,
            proxies: 2,
            until_ms: NOW_MS + 1,
            ..MoveOrder::default()
        });
        let plan = world.plan();
        plan.writes
            .iter()
            .any(|write| write.pod == "b" && write.order.is_none())
    };
    assert!(withdrawn(Some(Role::Active), MoveReason::Drain, false));
    assert!(withdrawn(Some(Role::Warm), MoveReason::Rebalance, false));
    assert!(withdrawn(None, MoveReason::Drain, false));
    assert!(!withdrawn(Some(Role::Draining), MoveReason::Drain, false));
    assert!(!withdrawn(Some(Role::Warm), MoveReason::Drain, true));
}

#[test]
fn four_at_most_are_named_as_places_to_go_to() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let proxies = names.map(|name| (name, Role::Active, 0));
    let mut world = World::new(&proxies);
    world.proxy("b").is_accepting = false;
    assert_eq!(
        server_references(&world.observed, "{pod}:1"),
        ["a:1", "c:1", "d:1", "e:1"]
    );
    assert_eq!(server_references(&world.observed, ""), Vec::<String>::new());
}

#[test]
fn a_drain_is_shown_with_what_is_left_and_ends_in_a_word() {
    let mut world = drained();
    world.proxy("c").deletion_cost = Some(crate::plan::DRAINED_COST);
    world.carry_out();
    let c = world.samples.known.get_mut("c").unwrap();
    (c.finishing, c.at_risk) = (3, 2);
    let plan = world.plan();
    let shown: Vec<_> = plan
        .drains
        .iter()
        .map(|drain| {
            (
                drain.pod.as_str(),
                drain.started_ms,
                drain.clients_left,
                drain.per_second,
                drain.is_told,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [("b", NOW_MS, Some(300), 75, false), ("c", NOW_MS, Some(100), 25, true)]
    );
    assert_eq!((plan.drains[1].finishing, plan.drains[1].at_risk), (3, 2));
    assert!(plan.is_giving("b") && !plan.is_giving("a") && !plan.has_given_all("b"));
    let words = [
        DrainEnd::Drained,
        DrainEnd::Deadline,
        DrainEnd::NoAnswer,
        DrainEnd::KnowsNoOrders,
        DrainEnd::NoReceiver,
    ]
    .map(DrainEnd::word);
    assert_eq!(
        words,
        ["drained", "deadline", "no_answer", "knows_no_orders", "no_receiver"]
    );
}

#[test]
fn the_deadline_of_the_first_that_is_due_sets_the_pace() {
    let mut world = drained();
    // An order of another kind says nothing about when a drain is to end.
    world.proxy("b").order = Some(MoveOrder {
        reason: MoveReason::Rebalance,
        until_ms: NOW_MS + 1,
        ..MoveOrder::default()
    });
    world.settings.server_reference = "{pod}:1".to_owned();
    world.carry_out();
    let paces = |world: &World| ["b", "c"].map(|name| world.order(name).unwrap().clients_per_second);
    assert_eq!(paces(&world), [75, 25]);
    assert_eq!(
        world.order("b"),
        Some(&MoveOrder {
            reason: MoveReason::Drain,
            clients_per_second: 75,
            given_ms: NOW_MS,
            from_ms: NOW_MS + 5_000,
            until_ms: NOW_MS + 305_000,
            written_ms: NOW_MS,
            server_references: vec!["a:1".to_owned()],
            ..MoveOrder::default()
        })
    );
    let late = world.order("c").unwrap().until_ms + 60_000;
    world.proxy("c").order.as_mut().unwrap().until_ms = late;
    world.set_clients("b", 6_000);
    world.set_clients("c", 2_000);
    world.per_second = 1;
    world.settings.server_reference = "{pod}:2".to_owned();
    world.now_ms = NOW_MS + 255_000;
    world.carry_out();
    // 8,000 clients in 80 % of 50 s.
    assert_eq!(paces(&world), [150, 50]);
    let order = world.order("b").unwrap();
    assert_eq!((order.written_ms, order.given_ms), (NOW_MS + 255_000, NOW_MS));
    assert_eq!(order.server_references, ["a:2"]);
}

#[test]
fn of_two_that_hand_over_the_one_that_is_not_known_keeps_its_part_of_the_pace() {
    let mut world = World::new(&[
        ("a", Role::Active, 0),
        ("b", Role::Draining, 300),
        ("c", Role::Draining, 100),
        ("d", Role::Draining, 0),
    ]);
    world.samples.known.remove("d");
    world.carry_out();
    let paces = ["b", "c", "d"].map(|name| world.order(name).unwrap().clients_per_second);
    // Two thirds of 100, three to one.
    assert_eq!(paces, [51, 17, 34]);
}

#[test]
fn one_whose_drain_has_ended_is_told_nothing_more() {
    let mut world = drained();
    world.carry_out();
    world.set_clients("b", 0);
    world.now_ms += 5_000;
    let plan = world.plan();
    assert_eq!(plan.drains[0].end, Some(DrainEnd::Drained));
    assert!(plan.writes.iter().all(|write| write.pod == "c"), "{:?}", plan.writes);
    assert!(plan.has_given_all("b") && !plan.is_giving("b") && !plan.has_given_all("c"));
}
