//! Samples from answers: what is missing stays missing, rates survive restarts, nobody is counted twice.

use freshet_load::{Cpu, Memory, RoundTrip};
use proptest::prelude::*;

use super::*;

const NOW: Duration = Duration::from_secs(1_700_000_000);

fn member(uid: &str, part: Part) -> Member {
    Member {
        uid: uid.to_owned(),
        ip: "10.0.0.1".to_owned(),
        part,
    }
}

fn load(incarnation: u64, uptime_ms: u64, clients: u64, publishes: u64) -> Load {
    Load {
        version: freshet_load::VERSION,
        incarnation,
        uptime_ms,
        clients: Some(clients),
        publishes_in_total: Some(publishes),
        ..Load::default()
    }
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn levels_are_added_up_and_counters_become_rates() {
    let members = [member("a", Part::Serving), member("b", Part::Serving)];
    let mut fleet = Fleet::default();
    fleet.take("a", load(1, 10_000, 100, 5_000), s(10));
    fleet.take("b", load(2, 99_000, 50, 0), s(10));
    let first = fleet.sample(&members, s(10), NOW);
    assert_eq!((first.proxies, first.is_partial), (Some(2), false));
    assert_eq!(first.values[Signal::Connections], Some(150.0));
    // One answer is no rate.
    assert_eq!(first.values[Signal::PublishesInPerSecond], None);
    fleet.take("a", load(1, 12_000, 100, 5_400), s(12));
    fleet.take("b", load(2, 100_000, 50, 7), s(12));
    let second = fleet.sample(&members, s(12), NOW);
    assert_eq!(second.values[Signal::PublishesInPerSecond], Some(207.0));
    assert_eq!(second.values[Signal::DeliveriesOutPerSecond], None);
}

#[test]
fn a_counter_that_began_anew_is_no_rate_until_it_has_been_seen_twice() {
    let members = [member("a", Part::Serving)];
    let mut fleet = Fleet::default();
    let rate = |fleet: &Fleet, at| fleet.sample(&members, s(at), NOW).values[Signal::PublishesInPerSecond];
    fleet.take("a", load(1, 10_000, 0, 5_000), s(10));
    fleet.take("a", load(1, 11_000, 0, 5_100), s(11));
    assert_eq!(rate(&fleet, 11), Some(100.0));
    fleet.take("a", load(2, 500, 0, 9_000), s(12));
    assert_eq!(rate(&fleet, 12), None);
    fleet.take("a", load(2, 1_500, 0, 9_030), s(13));
    assert_eq!(rate(&fleet, 13), Some(30.0));
    // The same answer again, as it is made once for all who ask at once.
    fleet.take("a", load(2, 1_500, 0, 9_030), s(13));
    assert_eq!(rate(&fleet, 13), Some(30.0));
}

#[test]
fn a_serving_proxy_that_is_silent_makes_the_sample_partial_and_counts_as_it_was() {
    let members = [member("a", Part::Serving), member("b", Part::Serving)];
    let mut fleet = Fleet::default();
    fleet.take("a", load(1, 1_000, 100, 0), s(1));
    fleet.take("b", load(2, 1_000, 70, 0), s(1));
    for at in 2..=70 {
        fleet.take("a", load(1, at * 1_000, 100, 0), s(at));
        let sample = fleet.sample(&members, s(at), NOW);
        let expected = if at <= 61 { 170.0 } else { 100.0 };
        assert_eq!(sample.values[Signal::Connections], Some(expected), "{at}");
        assert_eq!(sample.is_partial, at > 4, "{at}");
    }
}

#[test]
fn without_any_fresh_answer_nothing_is_known() {
    let members = [member("a", Part::Serving), member("b", Part::Leaving)];
    let mut fleet = Fleet::default();
    fleet.take("a", load(1, 1_000, 100, 0), s(1));
    fleet.take("b", load(2, 1_000, 100, 0), s(9));
    let sample = fleet.sample(&members, s(9), NOW);
    assert_eq!((sample.proxies, sample.is_partial), (None, true));
    assert_eq!(sample.values, PerSignal::default());
    assert_eq!(fleet.sample(&[], s(9), NOW).values, PerSignal::default());
}

#[test]
fn clients_of_proxies_that_leave_count_and_waiting_proxies_do_not() {
    let members = [
        member("a", Part::Serving),
        member("b", Part::Leaving),
        member("c", Part::Waiting),
    ];
    let mut fleet = Fleet::default();
    for uid in ["a", "b", "c"] {
        fleet.take(uid, load(1, 1_000, 10, 0), s(1));
    }
    let sample = fleet.sample(&members, s(1), NOW);
    assert_eq!(
        (sample.proxies, sample.values[Signal::Connections]),
        (Some(1), Some(20.0))
    );
}

#[test]
fn cpu_and_memory_are_shares_of_the_limit_and_unknown_without_one() {
    let members = [member("a", Part::Serving)];
    let answer = |uptime_ms, usage_us, limit| Load {
        cpu: Some(Cpu {
            usage_us_total: Some(usage_us),
            limit_millicores: limit,
            ..Cpu::default()
        }),
        memory: Some(Memory {
            used_bytes: Some(384),
            limit_bytes: limit.map(|_| 512),
        }),
        ..load(1, uptime_ms, 0, 0)
    };
    let mut fleet = Fleet::default();
    fleet.take("a", answer(1_000, 1_000_000, Some(200)), s(1));
    fleet.take("a", answer(2_000, 1_100_000, Some(200)), s(2));
    let values = fleet.sample(&members, s(2), NOW).values;
    assert_eq!(values[Signal::CpuPercent].map(f64::round), Some(50.0));
    assert_eq!(values[Signal::MemoryPercent], Some(75.0));
    fleet.take("a", answer(3_000, 1_200_000, None), s(3));
    let values = fleet.sample(&members, s(3), NOW).values;
    assert_eq!(
        (values[Signal::CpuPercent], values[Signal::MemoryPercent]),
        (None, None)
    );
}

#[test]
fn the_round_trip_is_the_worst_of_proxies_that_publish_with_acknowledgement() {
    let round_trip = |qos, count, p99_ms| RoundTrip {
        qos,
        count,
        p50_ms: 1,
        p99_ms: 7_777,
        newest_p99_ms: p99_ms,
    };
    let members = [member("a", Part::Serving), member("b", Part::Serving)];
    let mut fleet = Fleet::default();
    let mut tell = |uid: &str, round_trips| {
        let load = Load {
            publish_round_trips: round_trips,
            ..load(1, 1_000, 0, 0)
        };
        fleet.take(uid, load, s(1));
        fleet.sample(&members, s(1), NOW).round_trip_p99_ms
    };
    assert_eq!(tell("a", vec![round_trip(0, 1_000, Some(900))]), None);
    assert_eq!(
        tell("a", vec![round_trip(1, 1_000, Some(40)), round_trip(2, 20, Some(60))]),
        Some(60.0)
    );
    // One slow publication of a thousand is not the P99 of anything.
    assert_eq!(tell("b", vec![round_trip(1, 1, Some(5_000))]), Some(60.0));
    assert_eq!(tell("b", vec![round_trip(1, 500, Some(300))]), Some(300.0));
    // Nothing of late.
    assert_eq!(tell("b", vec![round_trip(1, 500, None)]), Some(60.0));
}

#[test]
fn the_load_of_the_proxy_with_the_longest_round_trip_is_told_of_beside_the_sum() {
    let answer = |clients, p99_ms| Load {
        clients: Some(clients),
        publish_round_trips: vec![RoundTrip {
            qos: 1,
            count: 100,
            p50_ms: 1,
            p99_ms,
            newest_p99_ms: Some(p99_ms),
        }],
        ..load(1, 1_000, 0, 0)
    };
    let members = [member("a", Part::Serving), member("b", Part::Serving)];
    let mut fleet = Fleet::default();
    let mut slowest = |of_a: u32, of_b: u32| {
        fleet.take("a", answer(700, of_a), s(1));
        fleet.take("b", answer(300, of_b), s(1));
        let sample = fleet.sample(&members, s(1), NOW);
        assert_eq!(sample.values[Signal::Connections], Some(1_000.0));
        sample.slowest[Signal::Connections]
    };
    assert_eq!([slowest(900, 20), slowest(20, 900)], [Some(700.0), Some(300.0)]);
}

#[test]
fn only_proxies_of_the_cluster_that_have_an_address_are_asked() {
    let pod = |role: Option<&str>, component: &str, uid: &str, ip: Option<&str>| -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": "p", "uid": "pod",
                "labels": {"app.kubernetes.io/component": component, "freshet.dev/role": role.unwrap_or("warm")},
                "annotations": {"freshet.dev/cluster-uid": uid},
            },
            "status": {"podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]},
        }))
        .unwrap()
    };
    let part = |pod: &Pod| member_of(pod, "u").map(|member| member.part);
    assert_eq!(
        part(&pod(Some("active"), "proxy", "u", Some("10.0.0.1"))),
        Some(Part::Serving)
    );
    assert_eq!(
        part(&pod(Some("draining"), "proxy", "u", Some("10.0.0.1"))),
        Some(Part::Leaving)
    );
    assert_eq!(part(&pod(None, "proxy", "u", Some("10.0.0.1"))), Some(Part::Waiting));
    assert_eq!(part(&pod(Some("active"), "proxy", "u", None)), None);
    assert_eq!(part(&pod(Some("active"), "proxy", "other", Some("10.0.0.1"))), None);
    assert_eq!(part(&pod(Some("active"), "storage", "u", Some("10.0.0.1"))), None);
    let mut leaving = pod(Some("active"), "proxy", "u", Some("10.0.0.1"));
    leaving.status.as_mut().unwrap().conditions = None;
    assert_eq!(part(&leaving), Some(Part::Leaving));
    for (type_, status) in [("Ready", "False"), ("Initialized", "True")] {
        let conditions = serde_json::json!([{"type": type_, "status": status}]);
        leaving.status.as_mut().unwrap().conditions = serde_json::from_value(conditions).unwrap();
        assert_eq!(part(&leaving), Some(Part::Leaving), "{type_} {status}");
    }
}

proptest! {
    /// Whatever proxies answer, and however rarely: no value is negative or no number, and a sample that is not partial is
    /// one in which every serving proxy has answered within three seconds.
    #[test]
    fn a_sample_is_never_more_certain_than_the_answers(
        answers in prop::collection::vec((0_usize..4, 0_u64..200, any::<(u64, u64, u64, u64)>()), 0..60),
    ) {
        let members: Vec<_> = [Part::Serving, Part::Serving, Part::Leaving, Part::Waiting]
            .into_iter()
            .enumerate()
            .map(|(index, part)| member(&index.to_string(), part))
            .collect();
        let mut fleet = Fleet::default();
        let mut last = [None::<u64>; 4];
        let mut at = 0;
        for (who, pause, (incarnation, uptime_ms, clients, publishes)) in answers {
            at += pause / 50;
            fleet.take(&who.to_string(), load(incarnation % 2, uptime_ms, clients, publishes), s(at));
            last[who] = Some(at);
            let sample = fleet.sample(&members, s(at), NOW);
            for signal in Signal::ALL {
                prop_assert!(sample.values[signal].is_none_or(|value| value.is_finite() && value >= 0.0));
            }
            let all_answered = last[..2].iter().all(|answered| answered.is_some_and(|answered| at - answered <= 3));
            prop_assert_eq!(sample.is_partial, !all_answered);
        }
    }
}

#[test]
fn what_proxies_said_that_are_gone_is_forgotten() {
    let mut fleet = Fleet::default();
    for uid in ["a", "b", "c"] {
        fleet.take(uid, load(1, 1_000, 10, 0), s(1));
    }
    fleet.keep_only(&[member("b", Part::Serving), member("d", Part::Waiting)]);
    assert_eq!(fleet.known.keys().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn one_that_leaves_and_has_said_little_spoils_no_sum() {
    let members = [member("a", Part::Serving), member("b", Part::Leaving)];
    let mut fleet = Fleet::default();
    fleet.take("a", load(1, 1_000, 10, 0), s(1));
    fleet.take("a", load(1, 2_000, 10, 50), s(2));
    fleet.take("b", load(1, 2_000, 10, 900), s(2));
    let values = fleet.sample(&members, s(2), NOW).values;
    assert_eq!(values[Signal::PublishesInPerSecond], Some(50.0));
}

#[test]
fn a_limit_of_nothing_is_none() {
    let members = [member("a", Part::Serving)];
    let answer = |uptime_ms| Load {
        cpu: Some(Cpu {
            usage_us_total: Some(uptime_ms),
            limit_millicores: Some(0),
            ..Cpu::default()
        }),
        memory: Some(Memory {
            used_bytes: Some(384),
            limit_bytes: Some(0),
        }),
        ..load(1, uptime_ms, 0, 0)
    };
    let mut fleet = Fleet::default();
    fleet.take("a", answer(1_000), s(1));
    fleet.take("a", answer(2_000), s(2));
    let values = fleet.sample(&members, s(2), NOW).values;
    assert_eq!(
        (values[Signal::CpuPercent], values[Signal::MemoryPercent]),
        (None, None)
    );
}
