//! The scaling of one cluster against proxies that answer as told.

use freshet_load::Load;
use freshet_scaling::Scheduled;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::super::fleet::Part;
use super::*;

const START_S: u64 = 1_700_000_000;

/// A cluster whose proxies share the clients evenly and answer every second.
struct World {
    scaler: ClusterScaler,
    settings: Settings,
    mode: ScalingMode,
    pool: Pool,
    replicas: u32,
    second: u64,
}

impl World {
    fn new(mode: ScalingMode, replicas: u32) -> Self {
        let settings = Settings::default();
        Self {
            scaler: ClusterScaler::new(&settings, None, None).0,
            settings,
            mode,
            pool: Pool::fixed(1),
            replicas,
            second: 0,
        }
    }

    fn members(&self) -> Vec<Member> {
        let member = |index: u32| Member {
            uid: format!("pod-{index}"),
            ip: "10.0.0.1".to_owned(),
            part: Part::Serving,
        };
        (0..self.replicas).map(member).collect()
    }

    /// A second in which the proxies have so many clients, or do not answer. What is to be written is written, if it can be.
    fn second(&mut self, clients: Option<u64>, can_write: bool) -> Turn {
        self.second += 1;
        let members = self.members();
        for member in &members {
            if let Some(clients) = clients {
                let load = Load {
                    version: freshet_load::VERSION,
                    incarnation: 1,
                    uptime_ms: self.second * 1_000,
                    clients: Some(clients / members.len() as u64),
                    ..Load::default()
                };
                self.scaler
                    .fleet
                    .take(&member.uid, load, Duration::from_secs(self.second));
            }
        }
        let turn = self.scaler.tick(&Tick {
            settings: &self.settings,
            mode: self.mode,
            pool: self.pool,
            replicas: self.replicas,
            members: &members,
            at: Duration::from_secs(self.second),
            now: Duration::from_secs(START_S + self.second),
        });
        if let Some(goal) = turn.goal.filter(|_| can_write) {
            self.replicas = goal;
            self.scaler.applied(goal);
        }
        turn
    }

    fn seconds(&mut self, clients: u64, seconds: u64) {
        for _ in 0..seconds {
            self.second(Some(clients), true);
        }
    }
}

#[test]
fn scale_follows_the_clients_out_and_in_and_says_why() {
    let mut world = World::new(ScalingMode::Scale, 2);
    world.seconds(15_000, 10);
    assert_eq!(world.replicas, 2);
    world.seconds(35_000, 10);
    assert_eq!(world.replicas, 4);
    let shown = world.scaler.shown();
    let last = shown.last_decision.as_ref().expect("a decision");
    assert_eq!((last.to, last.applied), (4, true));
    let reason = &last.reason;
    assert!(
        reason.starts_with("connections ") && reason.contains("needs 4 proxies"),
        "{reason}"
    );
    assert_eq!(shown.desired, 4);
    world.seconds(5_000, 800);
    assert_eq!(world.replicas, 2);
    assert!(world.scaler.shown().decisions.len() <= DECISIONS_MAX);
}

#[test]
fn observe_says_what_it_would_do_and_asks_for_nothing() {
    let mut world = World::new(ScalingMode::Observe, 2);
    for _ in 0..20 {
        let turn = world.second(Some(35_000), true);
        assert_eq!(turn.goal, None);
    }
    assert_eq!(world.replicas, 2);
    let shown = world.scaler.shown();
    assert_eq!((shown.desired, shown.decisions.len()), (4, 1));
    assert!(!shown.decisions[0].applied);
    // What it would do begins from what it would have done: the same is not said again.
    assert_eq!((shown.decisions[0].from, shown.decisions[0].to), (2, 4));
    let connections = shown
        .signals
        .iter()
        .find(|signal| signal.name == "connections")
        .unwrap();
    assert_eq!(connections.current.as_deref(), Some("35000"));
    assert_eq!((connections.desired, connections.valid), (Some(4), true));
}

#[test]
fn one_who_observed_goes_on_from_what_was_shown() {
    let mut world = World::new(ScalingMode::Observe, 2);
    world.seconds(35_000, 20);
    let (state, shown) = (world.scaler.state(), world.scaler.shown().clone());
    world.scaler = ClusterScaler::new(&world.settings, Some(&state), Some(&shown)).0;
    world.seconds(35_000, 20);
    assert_eq!(world.scaler.shown().decisions, shown.decisions);
}

#[test]
fn a_decision_is_kept_until_it_can_be_written() {
    let mut world = World::new(ScalingMode::Scale, 2);
    for _ in 0..200 {
        let turn = world.second(Some(35_000), false);
        assert!(turn.goal.is_none_or(|goal| goal == 4));
    }
    assert_eq!(world.scaler.shown().decisions.len(), 1);
    assert_eq!(world.second(Some(35_000), true).goal, Some(4));
    assert_eq!(world.scaler.goal(), None);
}

#[test]
fn a_count_that_somebody_sets_is_where_the_next_decision_begins() {
    let mut world = World::new(ScalingMode::Scale, 2);
    world.seconds(15_000, 10);
    world.replicas = 6;
    let turn = world.second(Some(15_000), true);
    assert_eq!((turn.goal, world.scaler.shown().desired), (None, 6));
    world.replicas = 20;
    assert_eq!(world.second(Some(15_000), true).goal, Some(10));
}

#[test]
fn who_sets_a_count_beside_the_operator_is_told_once_what_becomes_of_it() {
    let mut world = World::new(ScalingMode::Scale, 2);
    world.seconds(35_000, 30);
    let own = world.scaler.shown().decisions.clone();
    assert!(own.iter().all(|decision| !decision.by_hand), "{own:?}");
    world.replicas = 9;
    assert!(world.second(Some(35_000), true).is_set_by_hand);
    let said = world.scaler.shown().last_decision.clone().expect("a word");
    assert_eq!((said.from, said.to, said.by_hand, said.applied), (4, 9, true, true));
    assert!(said.reason.contains("scaling.mode to Off"), "{}", said.reason);
    assert!(!world.second(Some(35_000), true).is_set_by_hand);
    // One outside of the bounds is told that as well.
    world.replicas = 12;
    assert!(world.second(Some(35_000), true).is_set_by_hand);
    let decisions = &world.scaler.shown().decisions;
    let told: Vec<_> = decisions
        .iter()
        .rev()
        .take(2)
        .map(|told| (told.to, told.by_hand))
        .collect();
    assert_eq!(told, [(10, false), (12, true)]);
    assert_eq!(world.replicas, 10);
}

#[test]
fn a_count_outside_of_the_bounds_is_brought_inside_at_once_with_a_word() {
    for (replicas, expected) in [(0, 2), (1, 2), (40, 10)] {
        let mut world = World::new(ScalingMode::Scale, replicas);
        world.second(None, true);
        assert_eq!(world.replicas, expected);
        let said = world.scaler.shown().last_decision.clone().expect("a word");
        assert_eq!(said.reason, "scaling.min and scaling.max allow 2 to 10");
    }
}

#[test]
fn who_observes_or_has_just_begun_to_scale_hears_nothing_of_counts_that_others_set() {
    let mut world = World::new(ScalingMode::Observe, 2);
    world.seconds(15_000, 10);
    world.replicas = 3;
    assert!(!world.second(Some(15_000), true).is_set_by_hand);
    world.mode = ScalingMode::Scale;
    world.replicas = 4;
    assert!(!world.second(Some(15_000), true).is_set_by_hand);
}

const AUTO: Pool = Pool {
    min: 1,
    max: 5,
    is_auto: true,
};

#[test]
fn the_pool_follows_the_load_in_every_mode_and_says_why() {
    for mode in [ScalingMode::Off, ScalingMode::Observe, ScalingMode::Scale] {
        let mut world = World::new(mode, 2);
        world.settings.predict.enabled = false;
        world.pool = AUTO;
        world.seconds(15_000, 10);
        assert_eq!(world.scaler.warm(), Some(1));
        let grew: Vec<bool> = (0..30).map(|_| world.second(Some(45_000), true).resizes_pool).collect();
        assert!(grew.contains(&true), "{mode:?}");
        let shown = world.scaler.shown().clone();
        let warm = shown.warm.expect("a pool");
        assert_eq!(warm.desired, 3, "{mode:?}: {}", warm.reason);
        assert_eq!(warm.reason, "load has risen by 3 proxies within 51 s");
        assert_eq!(shown.decisions.is_empty(), mode == ScalingMode::Off);
        assert_eq!(world.replicas, if mode == ScalingMode::Scale { 5 } else { 2 });
    }
}

#[test]
fn a_fixed_pool_is_not_spoken_of() {
    let mut world = World::new(ScalingMode::Scale, 2);
    world.seconds(45_000, 30);
    assert_eq!((world.scaler.warm(), &world.scaler.shown().warm), (None, &None));
}

#[test]
fn an_operator_that_begins_leaves_the_pool_as_it_was() {
    let mut world = World::new(ScalingMode::Off, 2);
    world.pool = AUTO;
    let shown = ScalingStatus {
        warm: Some(WarmStatus {
            desired: 4,
            reason: String::new(),
        }),
        ..ScalingStatus::default()
    };
    world.scaler = ClusterScaler::new(&world.settings, None, Some(&shown)).0;
    assert!(!world.second(None, true).resizes_pool);
    assert_eq!(world.scaler.warm(), Some(4));
    // Nothing was shown: what waits is what is there.
    let mut world = World::new(ScalingMode::Off, 2);
    world.pool = AUTO;
    let waiting = |index: u32| Member {
        uid: format!("warm-{index}"),
        ip: "10.0.0.2".to_owned(),
        part: Part::Waiting,
    };
    let members: Vec<Member> = (0..3).map(waiting).collect();
    world.scaler.tick(&Tick {
        settings: &world.settings,
        mode: world.mode,
        pool: world.pool,
        replicas: 2,
        members: &members,
        at: Duration::from_secs(1),
        now: Duration::from_secs(START_S),
    });
    assert_eq!(world.scaler.warm(), Some(3));
}

#[test]
fn the_schedule_is_announced_and_heeded() {
    let mut world = World::new(ScalingMode::Scale, 2);
    // The full minute that comes next.
    let from = START_S - START_S % 60 + 60;
    let minute = from / 60 % 60;
    let hour = from / 3600 % 24;
    let cron = format!("{minute} {hour} * * *");
    let entry = Scheduled::read("night", &cron, "UTC", Duration::from_secs(3600), 5).unwrap();
    world.settings.scheduled = vec![entry];
    world.second(Some(15_000), true);
    let next = world.scaler.shown().next_scheduled.clone().expect("a next time");
    assert_eq!((next.name.as_str(), next.min), ("night", 5));
    assert_eq!(next.at, time(Duration::from_secs(from)));
    world.seconds(15_000, 120);
    assert_eq!(world.replicas, 5);
}

#[test]
fn nothing_new_is_nothing_to_write() {
    let mut world = World::new(ScalingMode::Scale, 2);
    world.seconds(15_000, 5);
    world.settings.predict.enabled = false;
    world.second(Some(15_000), true);
    for second in 0..100 {
        // Sways within two digits.
        assert!(!world.second(Some(15_000 + second), true).has_news, "{second}");
    }
    assert!(world.second(Some(19_000), true).has_news);
}

#[test]
fn the_memory_is_read_back_from_its_config_map_and_never_from_anothers() {
    let owner = OwnerReference {
        uid: "uid".to_owned(),
        ..OwnerReference::default()
    };
    let config_map = history_config_map("prod", "iot", owner, "memory".to_owned());
    assert_eq!(config_map.metadata.name.as_deref(), Some("prod-scaling"));
    assert_eq!(history_of(&config_map, "uid"), Some("memory"));
    assert_eq!(history_of(&config_map, "other"), None);
    let (_, outcome) = ClusterScaler::new(&Settings::default(), Some("memory"), None);
    assert_eq!(outcome, Err(StateError::Unreadable));
}

#[test]
fn starts_are_measured_by_the_middle_one() {
    let pod = |seconds: i64, restarts: i32| -> Pod {
        let born = Time(k8s_openapi::jiff::Timestamp::from_second(1_000).unwrap());
        let ready = Time(k8s_openapi::jiff::Timestamp::from_second(1_000 + seconds).unwrap());
        serde_json::from_value(serde_json::json!({
            "metadata": {"creationTimestamp": born},
            "status": {
                "conditions": [
                    {"type": "Initialized", "status": "True", "lastTransitionTime": born},
                    {"type": "Ready", "status": "True", "lastTransitionTime": ready},
                ],
                "containerStatuses": [
                    {"name": "proxy", "image": "", "imageID": "", "ready": true, "restartCount": restarts},
                ],
            },
        }))
        .unwrap()
    };
    let pods = [pod(3, 0), pod(4, 0), pod(9_000, 0), pod(500, 1)];
    assert_eq!(capacity_delay(&pods), Duration::from_secs(4));
    assert_eq!(capacity_delay(&[]), DEFAULT_CAPACITY_DELAY);
    assert_eq!(capacity_delay(&[pod(0, 0)]), Duration::from_secs(1));
}

fn mode() -> impl Strategy<Value = ScalingMode> {
    prop_oneof![Just(ScalingMode::Observe), Just(ScalingMode::Scale)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever the proxies say, whether they answer and whether writes succeed: with `Observe` nothing is asked for; with
    /// `Scale` never less than `min` or more than `max`, and never less than there is while nobody answers.
    #[test]
    fn what_is_asked_for_is_within_bounds_and_never_less_while_nothing_is_known(
        steps in prop::collection::vec((mode(), prop::option::of(0_u64..200_000), any::<bool>(), 1_u64..90), 1..12),
    ) {
        let mut world = World::new(ScalingMode::Scale, 3);
        for (mode, clients, can_write, seconds) in steps {
            world.mode = mode;
            for second in 0..seconds {
                let before = world.replicas;
                let turn = world.second(clients, can_write);
                if mode == ScalingMode::Observe {
                    prop_assert_eq!(turn.goal, None);
                    prop_assert_eq!(world.replicas, before);
                    continue;
                }
                prop_assert!(turn.goal.is_none_or(|goal| (2..=10).contains(&goal)), "{turn:?}");
                let is_unknown = clients.is_none() && second > 20;
                if let Some(decision) = turn.decision.filter(|_| is_unknown) {
                    prop_assert!(decision.to >= decision.from, "{decision:?}");
                }
            }
        }
    }
}

#[test]
fn a_pool_beside_one_who_only_observes_goes_by_those_that_there_are() {
    let mut world = World::new(ScalingMode::Observe, 2);
    world.settings.predict.enabled = false;
    world.settings.max = 6;
    world.pool = AUTO;
    world.seconds(15_000, 10);
    world.seconds(45_000, 30);
    let shown = world.scaler.shown();
    assert_eq!((shown.desired, world.replicas), (5, 2));
    assert_eq!(shown.warm.as_ref().map(|warm| warm.desired), Some(3));
}

#[test]
fn a_decision_is_applied_by_the_write_of_its_own_count() {
    let mut world = World::new(ScalingMode::Scale, 2);
    for _ in 0..20 {
        world.second(Some(35_000), false);
    }
    let applied = |world: &mut World, count: u32| {
        world.scaler.applied(count);
        world
            .scaler
            .shown()
            .last_decision
            .as_ref()
            .map(|last| (last.to, last.applied))
    };
    assert_eq!(applied(&mut world, 7), Some((4, false)));
    assert_eq!(applied(&mut world, 4), Some((4, true)));
}

#[test]
fn what_is_remembered_can_be_read_again() {
    let mut world = World::new(ScalingMode::Scale, 2);
    world.seconds(15_000, 10);
    let state = world.scaler.state();
    let (_, outcome) = ClusterScaler::new(&world.settings, Some(&state), None);
    assert_eq!(outcome, Ok(()));
}

#[test]
fn who_has_not_observed_begins_from_what_is_asked_for() {
    let begun = |was: ScalingMode, desired: u32, is: ScalingMode| {
        let mut world = World::new(is, 3);
        let shown = ScalingStatus {
            mode: was,
            desired,
            ..ScalingStatus::default()
        };
        world.scaler = ClusterScaler::new(&world.settings, None, Some(&shown)).0;
        world.second(None, false);
        world.scaler.shown().desired
    };
    let (observe, scale) = (ScalingMode::Observe, ScalingMode::Scale);
    assert_eq!(begun(observe, 7, observe), 7);
    assert_eq!(begun(observe, 0, observe), 3);
    assert_eq!(begun(scale, 7, observe), 3);
    assert_eq!(begun(observe, 7, scale), 3);
    assert_eq!(begun(scale, 7, scale), 3);
}

#[test]
fn the_memory_is_kept_beside_the_cluster_with_its_label() {
    let config_map = history_config_map("prod", "iot", OwnerReference::default(), String::new());
    let metadata = config_map.metadata;
    assert_eq!(metadata.namespace.as_deref(), Some("iot"));
    let expected = (labels::CLUSTER.to_owned(), "prod".to_owned());
    assert_eq!(metadata.labels, Some([expected].into()));
}
