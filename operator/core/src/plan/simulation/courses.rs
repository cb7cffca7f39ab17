//! Whole courses, and what holds at the end of each.

use super::*;

/// At least so many cases; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases.max(2_000),
        ..default
    }
}

/// A world that had settled when a node was cordoned, and the proxies that serve on that.
fn cordoned(replicas: u32, warm: u32, node: usize) -> (World, Vec<String>) {
    let mut world = World {
        revision: "b",
        replicas,
        warm,
        ..World::default()
    };
    world.settle();
    world.happen(Happening::Node(node, true));
    let victims = world.active_on_cordoned();
    (world, victims)
}

/// The same, with the operator alive until its plan is carried out.
fn carried_out(happening: Happening) -> Happening {
    match happening {
        Happening::Plan(_) => Happening::Plan(usize::MAX),
        other => other,
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_no_plan_takes_away_what_serves_and_all_settles(
        happenings in proptest::collection::vec(happening(), 0..120),
        revision in 0..2usize,
        replicas in 0..6u32,
        warm in 0..4u32,
    ) {
        let mut world = World { revision: "a", replicas: 2, warm: 1, ..World::default() };
        for happening in happenings {
            world.happen(happening);
        }
        world.revision = REVISIONS[revision];
        world.replicas = replicas;
        world.warm = warm;
        world.settle();
        prop_assert_eq!(world.serving(), replicas as usize);
        prop_assert_eq!(world.active_on_cordoned(), Vec::<String>::new());
        prop_assert_eq!(world.observed.proxies.len(), (replicas + warm) as usize);
        prop_assert_eq!(world.of_role(Role::Warm).len(), warm as usize);
        let mut active = world.observed.proxies.iter().filter(|proxy| proxy.is_active());
        prop_assert!(active.all(|proxy| proxy.requests.covers(ACTIVE_REQUESTS)));
        let born = birth_requests(REVISIONS[revision]);
        let lost_its_place = |proxy: &ProxyPod| proxy.deletion_cost == Some(FORMER_COST);
        let proxies = world.observed.proxies.iter();
        let mut waiting = proxies.filter(|proxy| proxy.is_warm() && !lost_its_place(proxy));
        prop_assert!(waiting.all(|proxy| proxy.requests == born));
        prop_assert_eq!(world.observed.deployments.len(), 1);
        prop_assert_eq!(&world.observed.deployments[0].revision, REVISIONS[revision]);
    }

    #[test]
    fn proxies_of_a_cordoned_node_leave_it_together_once_others_are_there(
        replicas in 1..6u32,
        warm in 0..4u32,
        node in 0..3usize,
        happenings in proptest::collection::vec(undisturbed(), 0..60),
    ) {
        let (mut world, victims) = cordoned(replicas, warm, node);
        for happening in happenings {
            world.happen(carried_out(happening));
            let staying = world.active_on_cordoned();
            prop_assert!(staying == victims || staying.is_empty(), "{staying:?} of {victims:?}");
            prop_assert!(world.serving() >= replicas as usize);
        }
        world.settle();
        prop_assert_eq!(world.active_on_cordoned(), Vec::<String>::new());
        prop_assert_eq!(world.serving(), replicas as usize);
    }

    #[test]
    fn who_evicts_from_a_cordoned_node_takes_none_of_those_that_serve_beside_each_other(
        replicas in 2..9u32,
        warm in 0..4u32,
        node in 0..3usize,
        happenings in proptest::collection::vec(
            prop_oneof![3 => undisturbed(), 1 => (0..8usize).prop_map(Happening::Evicted)],
            0..60,
        ),
    ) {
        let (mut world, victims) = cordoned(replicas, warm, node);
        for happening in happenings {
            world.happen(carried_out(happening));
            let active = world.active_on_cordoned();
            let staying = victims.iter().filter(|victim| active.contains(victim)).count();
            prop_assert!(staying == victims.len() || staying == 0, "{active:?} of {victims:?}");
        }
        world.settle();
        prop_assert_eq!(world.active_on_cordoned(), Vec::<String>::new());
        prop_assert_eq!(world.serving(), replicas as usize);
    }

    #[test]
    fn a_bad_revision_never_takes_the_place_of_one_that_serves(
        happenings in proptest::collection::vec(happening(), 0..60),
        replicas in 1..6u32,
        warm in 0..4u32,
    ) {
        let mut world = World { revision: "a", replicas, warm, ..World::default() };
        world.settle();
        world.revision = "bad";
        for happening in happenings {
            if !matches!(happening, Happening::Revision(_) | Happening::Replicas(_) | Happening::Warm(_)) {
                world.happen(happening);
            }
        }
        world.settle();
        prop_assert!(world.serving() >= replicas as usize, "the old revision serves on");
    }

    #[test]
    fn a_pool_that_is_made_smaller_takes_no_active_proxy_away(
        replicas in 1..6u32,
        before in 1..5u32,
        after in 0..5u32,
        happenings in proptest::collection::vec(undisturbed(), 0..60),
    ) {
        let mut world = World { revision: "b", replicas, warm: before, ..World::default() };
        world.settle();
        let active = world.active();
        world.warm = after;
        for happening in happenings {
            world.happen(happening);
            prop_assert_eq!(world.active(), active.clone());
        }
        world.settle();
        prop_assert_eq!(world.active(), active);
    }

    #[test]
    fn a_scale_in_leaves_the_pool_as_it_is(
        replicas in 1..6u32,
        fewer in 1..4u32,
        warm in 0..4u32,
        happenings in proptest::collection::vec(undisturbed(), 0..60),
    ) {
        let mut world = World { revision: "b", replicas: replicas + fewer, warm, ..World::default() };
        world.settle();
        let waiting = world.of_role(Role::Warm);
        world.replicas = replicas;
        for happening in happenings {
            world.happen(happening);
        }
        world.settle();
        prop_assert_eq!(world.of_role(Role::Warm), waiting);
    }

    #[test]
    fn who_leaves_is_the_pool_of_tomorrow_and_no_pod_is_started_for_it(
        replicas in 1..6u32,
        fewer in 1..4u32,
        happenings in proptest::collection::vec(undisturbed(), 0..60),
    ) {
        let mut world = World { revision: "b", replicas: replicas + fewer, ..World::default() };
        world.settle();
        let (pods, started) = (world.active(), world.next_id);
        world.replicas = replicas;
        world.warm = fewer;
        for happening in happenings {
            world.happen(happening);
        }
        world.settle();
        prop_assert_eq!(world.next_id, started);
        prop_assert_eq!(world.of_role(Role::Warm).len(), fewer as usize);
        world.replicas = replicas + fewer;
        world.warm = 0;
        world.settle();
        prop_assert_eq!(world.active(), pods);
    }
}
