//! Shared subscriptions as proxies see them.

mod history;
pub(super) mod stored;

use freshet_storage_contract::{Lease, SettleShared, Settlement, SharedGroup, SharedMessage, SharedStrategy};

use super::*;

/// A message that a proxy has on lease.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Leased {
    filter_id: u32,
    payload: String,
    lease: Lease,
}

impl World {
    /// The proxy has members of `$share/name/filter`.
    pub(super) fn share(&mut self, proxy: u128, id: u32, (name, filter): (&str, &str), members: u32, window: u32) {
        for shard in self.shards_of(filter) {
            let group = group(id, (name, filter), members, window);
            let version = self.change_interest(proxy, shard, vec![InterestChange::SetGroup(group)]);
            let of_shard = self.proxies.get_mut(&proxy).unwrap().shards.get_mut(&shard).unwrap();
            assert!(
                of_shard.deliveries.contains(&Delivery::Marker { version }),
                "the group is confirmed"
            );
            of_shard.deliveries.retain(|d| !matches!(d, Delivery::Marker { .. }));
        }
        self.acknowledge(proxy);
    }

    fn unshare(&mut self, proxy: u128, id: u32, filter: &str) {
        for shard in self.shards_of(filter) {
            let filter_id = FilterId(id);
            self.change_interest(proxy, shard, vec![InterestChange::Remove { filter_id }]);
        }
        self.acknowledge(proxy);
    }

    /// Messages that have been leased to a proxy since the last call.
    fn take_leased(&mut self, proxy: u128) -> Vec<Leased> {
        self.acknowledge(proxy);
        let leased = |delivery| match delivery {
            Delivery::Shared(SharedMessage {
                filter_id,
                message,
                lease: Some(lease),
            }) => Some(Leased {
                filter_id: filter_id.0,
                payload: String::from_utf8(message.payload.to_vec()).unwrap(),
                lease,
            }),
            _ => None,
        };
        self.take_deliveries(proxy).into_iter().filter_map(leased).collect()
    }

    fn settle(&mut self, proxy: u128, shard: ShardId, of: &[(&Leased, Settlement)]) {
        let Some(filter_id) = of.first().map(|(leased, _)| FilterId(leased.filter_id)) else {
            return;
        };
        let settle = SettleShared {
            request: RequestId(55),
            shard,
            filter_id,
            settled: of
                .iter()
                .map(|(leased, settlement)| (leased.lease, *settlement))
                .collect(),
        };
        self.operate(proxy, Operation::SettleShared(settle));
        let request = RequestId(55);
        let answers = self.take_answers(proxy);
        let settled: Vec<_> = answers.into_iter().filter(|a| *a != Answer::LeaseRenewed).collect();
        assert_eq!(settled, [Answer::SharedSettled { request }]);
    }

    fn settle_all(&mut self, proxy: u128, of: &[Leased], settlement: Settlement) {
        let all: Vec<_> = of.iter().map(|leased| (leased, settlement)).collect();
        self.settle(proxy, S0, &all);
    }
}

fn group(id: u32, (name, filter): (&str, &str), members: u32, window: u32) -> SharedGroup {
    SharedGroup {
        filter_id: FilterId(id),
        share_name: Bytes::copy_from_slice(name.as_bytes()),
        topic_filter: Bytes::copy_from_slice(filter.as_bytes()),
        strategy: SharedStrategy::LeastInflight,
        members,
        window,
    }
}

fn payloads(of: &[Leased]) -> Vec<&str> {
    of.iter().map(|leased| leased.payload.as_str()).collect()
}

fn gauges(w: &World) -> crate::ShardGauges {
    w.core.stats().shards[0].gauges
}

fn counters(w: &World) -> crate::ShardCounters {
    w.core.stats().shards[0].counters
}

#[test]
pub(in crate::tests) fn each_message_goes_to_one_proxy_of_a_group_and_to_every_group() {
    let mut w = world();
    for proxy in [A, B, C] {
        w.attach(proxy);
    }
    w.share(A, 1, ("g", "a/+"), 1, 10);
    w.share(B, 1, ("g", "a/+"), 1, 10);
    w.share(B, 2, ("h", "a/+"), 1, 10);
    w.subscribe(C, 3, "a/b");
    for payload in ["1", "2", "3", "4"] {
        w.publish(C, qos_1("a/b", payload));
    }
    let (of_a, of_b) = (w.take_leased(A), w.take_leased(B));
    let of_group = |id| {
        of_b.iter()
            .filter(move |l| l.filter_id == id)
            .cloned()
            .collect::<Vec<_>>()
    };
    let (mut g, h) = ([of_a.clone(), of_group(1)].concat(), of_group(2));
    g.sort_by_key(|leased| leased.lease.position);
    assert_eq!(payloads(&g), ["1", "2", "3", "4"]);
    assert_eq!((of_a.len(), h.len()), (2, 4));
    assert_eq!(payloads(&h), ["1", "2", "3", "4"], "in order");
    assert_eq!(
        w.take_payloads(C),
        ["1", "2", "3", "4"],
        "plain subscribers have their own"
    );
    w.acknowledge(C);
    assert!(w.take_outcomes(C).iter().all(|(_, o)| *o == PublishOutcome::Delivered));
    assert_eq!((gauges(&w).shared_leases, gauges(&w).queued_rows), (8, 8));
    w.settle_all(A, &of_a, Settlement::Done);
    w.settle_all(B, &of_group(1), Settlement::Done);
    w.settle_all(B, &h, Settlement::Done);
    let left = gauges(&w);
    assert_eq!((left.shared_leases, left.queued_rows, left.queued_messages), (0, 0, 0));
    assert_eq!(counters(&w).shared_settled_total, 8);
    assert_eq!(counters(&w).shared_deliveries_total, 8);
}

#[test]
pub(in crate::tests) fn a_message_that_only_a_group_has_is_no_delivery_to_others() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    w.share(A, 1, ("g", "a"), 1, 10);
    w.publish(B, qos_1("a", "x"));
    assert_eq!(
        w.take_outcomes(B),
        [(1, PublishOutcome::Delivered)],
        "the group has it: nobody waits for the proxy"
    );
    w.publish(B, qos_1("b", "x"));
    assert_eq!(w.take_outcomes(B), [(2, PublishOutcome::NoMatchingSubscribers)]);
    assert!(w.take_deliveries(B).is_empty());
}

#[test]
pub(in crate::tests) fn a_proxy_gets_no_more_than_its_members_can_take_and_the_rest_waits() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    w.share(A, 1, ("g", "a"), 1, 2);
    for payload in ["1", "2", "3", "4", "5"] {
        w.publish(B, qos_1("a", payload));
    }
    let first = w.take_leased(A);
    assert_eq!(payloads(&first), ["1", "2"]);
    w.settle(A, S0, &[(&first[1], Settlement::Done)]);
    let next = w.take_leased(A);
    assert_eq!(payloads(&next), ["3"]);
    w.share(A, 1, ("g", "a"), 2, 4);
    assert_eq!(payloads(&w.take_leased(A)), ["4", "5"], "a wider window; leases stay");
    assert_eq!(gauges(&w).shared_leases, 4);
}

#[test]
pub(in crate::tests) fn what_comes_back_goes_to_another_member_first() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    w.share(A, 1, ("g", "a"), 1, 2);
    for payload in ["1", "2", "3"] {
        w.publish(A, qos_1("a", payload));
    }
    let of_a = w.take_leased(A);
    w.share(B, 7, ("g", "a"), 1, 1);
    assert_eq!(payloads(&w.take_leased(B)), ["3"]);
    w.unshare(A, 1, "a");
    assert!(w.take_leased(B).is_empty(), "its window is full");
    w.share(B, 7, ("g", "a"), 2, 9);
    assert_eq!(payloads(&w.take_leased(B)), ["1", "2"]);
    // What A says now is too late.
    w.settle_all(A, &of_a, Settlement::Done);
    assert_eq!(gauges(&w).queued_rows, 3);
    assert_eq!(counters(&w).shared_returned_total, 2);
}

#[test]
pub(in crate::tests) fn a_proxy_that_is_gone_gives_back_what_it_had() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    w.share(A, 1, ("g", "a"), 1, 10);
    w.publish(B, qos_1("a", "1"));
    w.share(B, 1, ("g", "a"), 1, 10);
    w.lose_link(A);
    w.publish(B, qos_1("a", "2"));
    assert_eq!(
        payloads(&w.take_leased(B)),
        ["2"],
        "nobody waits for a proxy without link"
    );
    w.pass_ms_with(10_000, &[B]);
    assert_eq!(payloads(&w.take_leased(B)), ["1"]);
    assert_eq!(gauges(&w).shared_leases, 2);
}

#[test]
pub(in crate::tests) fn a_link_that_comes_back_has_its_leases_and_gets_them_again_if_they_were_lost() {
    let mut w = world();
    w.attach(A);
    w.attach(B);
    w.share(A, 1, ("g", "a"), 1, 10);
    w.publish(B, qos_1("a", "1"));
    let before = w.take_leased(A);
    w.lose_link(A);
    w.publish(B, qos_1("a", "2"));
    assert!(w.take_leased(A).is_empty());
    w.attach(A);
    let after = w.take_leased(A);
    assert_eq!(payloads(&after), ["2"], "it waited for the link");
    w.settle_all(A, &before, Settlement::Done);
    w.settle_all(A, &after, Settlement::Done);
    assert_eq!(gauges(&w).queued_rows, 0);
}

#[test]
pub(in crate::tests) fn a_proxy_that_names_all_that_it_has_keeps_what_waits_for_it() {
    let mut w = World::new(settings(1));
    w.attach(A);
    w.attach(B);
    w.share(A, 1, ("g", "a"), 1, 2);
    w.share(A, 2, ("h", "a"), 1, 0);
    w.publish(B, qos_1("a", "1"));
    let before = w.take_leased(A);
    w.lose_link(A);
    w.publish(B, qos_1("a", "2"));
    w.attach(A);
    let delta = InterestDelta {
        shard: S0,
        version: InterestVersion(10),
        complete: true,
        changes: vec![InterestChange::SetGroup(group(1, ("g", "a"), 1, 2))],
    };
    w.operate(A, Operation::Interest(delta));
    let after = w.take_leased(A);
    assert_eq!((payloads(&before), payloads(&after)), (vec!["1"], vec!["2"]));
    w.settle_all(A, &before, Settlement::Done);
    w.settle_all(A, &after, Settlement::Done);
    let left = gauges(&w);
    assert_eq!(
        (left.queued_rows, left.shared_groups),
        (0, 1),
        "the other group is gone"
    );
}

#[test]
fn without_members_nothing_is_queued() {
    let mut w = world();
    w.attach(A);
    w.share(A, 1, ("g", "a"), 1, 1);
    w.publish(A, qos_1("a", "1"));
    w.publish(A, qos_1("a", "2"));
    assert_eq!(gauges(&w).queued_rows, 2);
    assert_eq!(payloads(&w.take_leased(A)), ["1"]);
    w.unshare(A, 1, "a");
    let left = gauges(&w);
    assert_eq!((left.queued_rows, left.queued_bytes, left.interest_bytes), (0, 0, 0));
    assert_eq!((left.shared_groups, left.shared_groups_online), (0, 0));
    w.publish(A, qos_1("a", "3"));
    w.share(A, 1, ("g", "a"), 1, 1);
    assert!(w.take_leased(A).is_empty());
}

#[test]
fn qos_0_goes_to_one_proxy_that_has_credit_and_is_shed_otherwise() {
    let mut w = world();
    w.attach(A);
    w.try_attach(B).unwrap();
    w.share(A, 1, ("g", "a"), 1, 10);
    w.share(B, 1, ("g", "a"), 1, 10);
    for payload in ["1", "2", "3"] {
        w.publish(A, qos_0("a", payload));
    }
    let of_a = w.take_deliveries(A);
    let is_unleased = |d: &Delivery| matches!(d, Delivery::Shared(SharedMessage { lease: None, .. }));
    assert_eq!(of_a.iter().filter(|d| is_unleased(d)).count(), 3);
    assert!(w.take_outcomes(A).iter().all(|(_, o)| *o == PublishOutcome::Delivered));
    w.unshare(A, 1, "a");
    w.publish(A, qos_0("a", "4"));
    assert!(w.take_deliveries(B).is_empty());
    assert_eq!((counters(&w).shared_deliveries_total, counters(&w).shed_total), (3, 1));
    assert_eq!(gauges(&w).queued_rows, 0);
}

#[test]
fn a_group_that_does_not_fit_is_not_confirmed() {
    let mut w = World::new(StorageSettings {
        interest_bytes: 1_000,
        ..settings(1)
    });
    w.attach(A);
    w.share(A, 1, ("g", "a"), 1, 1);
    let group = SharedGroup {
        filter_id: FilterId(2),
        share_name: Bytes::from_static(b"h"),
        topic_filter: Bytes::from_static(b"a"),
        strategy: SharedStrategy::RoundRobin,
        members: 1,
        window: 1,
    };
    w.change_interest(A, S0, vec![InterestChange::SetGroup(group)]);
    assert!(w.take_deliveries(A).is_empty());
    assert_eq!(counters(&w).filters_refused_total, 1);
    let version = w.change_interest(A, S0, vec![InterestChange::Remove { filter_id: FilterId(2) }]);
    assert_eq!(w.take_deliveries(A), [Delivery::Marker { version }]);
}

#[test]
fn limits_of_queues_hold_for_groups() {
    let mut w = World::new(StorageSettings {
        queue_limits: freshet_config::QueueLimits {
            messages: 3,
            bytes: 0,
            age_ms: 5_000,
        },
        ..settings(1)
    });
    w.attach(A);
    w.share(A, 1, ("g", "a"), 1, 1);
    for payload in ["1", "2", "3", "4", "5"] {
        w.publish(A, qos_1("a", payload));
    }
    assert_eq!(counters(&w).queue_dropped_count_total, 2);
    let first = w.take_leased(A);
    w.settle_all(A, &first, Settlement::Returned);
    assert_eq!(payloads(&w.take_leased(A)), ["3"], "the oldest had gone");
    w.pass_ms_with(6_000, &[A]);
    assert_eq!(gauges(&w).queued_rows, 0);
}

#[test]
fn what_the_disk_is_to_have_holds_for_groups_and_a_lease_of_what_went_is_settled_as_ever() {
    let mut w = World::new(StorageSettings {
        retention: freshet_config::RetentionConfig {
            max_age_ms: 0,
            max_bytes_percent: 1,
        },
        ..settings(1)
    });
    w.attach(A);
    w.share(A, 1, ("g", "a"), 1, 1);
    for payload in ["1", "2", "3", "4", "5"] {
        w.publish(A, qos_1("a", payload));
    }
    let of_three = gauges(&w).queued_bytes / 5 * 3;
    w.core.set_disk_bytes(of_three * 100);
    w.pass_ms(1);
    assert_eq!((gauges(&w).queued_rows, gauges(&w).shared_leases), (3, 1));
    assert_eq!(counters(&w).retention_dropped_bytes_total, 2);
    let first = w.take_leased(A);
    assert_eq!(payloads(&first), ["1"], "its member has it");
    w.settle_all(A, &first, Settlement::Done);
    let next = w.take_leased(A);
    assert_eq!(payloads(&next), ["3"]);
    w.settle_all(A, &next, Settlement::Done);
    assert_eq!(gauges(&w).queued_rows, 2);
}

#[test]
pub(in crate::tests) fn a_message_that_expires_while_it_waits_is_not_given_to_anybody() {
    let mut w = world();
    w.attach(A);
    w.share(A, 1, ("g", "a"), 1, 1);
    w.publish(A, qos_1("a", "1"));
    w.publish(
        A,
        Message {
            message_expiry_interval_s: Some(2),
            ..qos_1("a", "2")
        },
    );
    w.publish(A, qos_1("a", "3"));
    w.pass_ms_with(3_000, &[A]);
    let first = w.take_leased(A);
    w.settle_all(A, &first, Settlement::Done);
    assert_eq!(payloads(&w.take_leased(A)), ["3"]);
}

#[test]
pub(in crate::tests) fn a_proxy_whose_ring_is_full_gets_more_when_it_has_taken_some() {
    let mut w = World::new(StorageSettings {
        ring_bytes: 2_000,
        ..settings(1)
    });
    w.attach(A);
    w.attach(B);
    w.share(A, 1, ("g", "a"), 1, 1_000);
    for count in 0..30 {
        w.publish(B, qos_1("a", &count.to_string()));
    }
    let mut all = Vec::new();
    for _ in 0..30 {
        let some = w.take_leased(A);
        assert!(some.len() < 30);
        all.extend(some);
    }
    let expected: Vec<String> = (0..30).map(|count| count.to_string()).collect();
    assert_eq!(
        payloads(&all),
        expected,
        "nothing is lost to a full ring, and the order is kept"
    );
}

#[test]
fn a_thousand_groups_of_the_same_clients_take_each_message_once_and_cost_little() {
    const GROUPS: u32 = 1_000;
    let mut w = world();
    w.attach(A);
    w.attach(B);
    for id in 1..=GROUPS {
        for proxy in [A, B] {
            w.share(proxy, id, (&format!("g{id}"), "a/+/c"), 50, 500);
        }
    }
    let bytes_per_group = gauges(&w).interest_bytes / u64::from(GROUPS);
    assert!(bytes_per_group < 2_048, "{bytes_per_group} bytes");
    for payload in ["1", "2"] {
        w.publish(A, qos_1("a/b/c", payload));
    }
    let mut taken = BTreeMap::<u32, Vec<String>>::new();
    for proxy in [A, B] {
        let leased = w.take_leased(proxy);
        assert_eq!(leased.len(), GROUPS as usize, "both get the same share");
        for one in &leased {
            taken.entry(one.filter_id).or_default().push(one.payload.clone());
            w.settle(proxy, S0, &[(one, Settlement::Done)]);
        }
    }
    assert_eq!(taken.len(), GROUPS as usize);
    for of_group in taken.values_mut() {
        of_group.sort_unstable();
        assert_eq!(of_group[..], ["1", "2"]);
    }
    assert_eq!((gauges(&w).queued_rows, gauges(&w).queued_bytes), (0, 0));
}
