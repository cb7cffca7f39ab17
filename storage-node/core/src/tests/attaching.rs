//! Who is attached, who is refused by name, and what a link may not do.

use super::*;
use crate::LinkFault;

#[test]
fn a_proxy_of_another_cluster_is_refused_by_name() {
    let mut w = world();
    let mut frame = w.attach_frame(A);
    frame.cluster_uid = ClusterUid("other".to_owned());
    let refused = w.core.attach(&frame, w.now, &mut w.out);
    let expected = AttachRefusal::ForeignCluster {
        expected: CLUSTER.to_owned(),
        found: "other".to_owned(),
    };
    assert_eq!(refused, Err(expected));
    assert!(matches!(
        w.out.drain_facts().next(),
        Some(StorageFact::AttachRefused { .. })
    ));
    assert_eq!(w.core.stats().attaches_refused_total, 1);
}

#[test]
fn a_neighbouring_version_is_spoken_to_and_a_distant_one_refused() {
    let mut w = world();
    let mut frame = w.attach_frame(A);
    frame.protocol_version = PROTOCOL_VERSION + 1;
    assert_eq!(
        w.core.attach(&frame, w.now, &mut w.out).unwrap().protocol_version,
        PROTOCOL_VERSION
    );
    for found in [0, PROTOCOL_VERSION + 2] {
        frame.protocol_version = found;
        let refused = w.core.attach(&frame, w.now, &mut w.out);
        assert_eq!(
            refused,
            Err(AttachRefusal::UnknownVersion {
                lowest: 1,
                highest: PROTOCOL_VERSION,
                found
            })
        );
    }
}

#[test]
fn an_attached_proxy_learns_placement_and_lease() {
    let rules = vec!["devices/{key}/#".to_owned()];
    let mut w = World::new(StorageSettings {
        placement_rules: rules.clone(),
        ..settings(4)
    });
    let attached = w.attach(A);
    assert_eq!(
        (attached.shards, attached.lease_ttl_ms, attached.placement_rules),
        (4, 6_000, rules)
    );
    let shards: Vec<_> = attached
        .attachments
        .iter()
        .map(|a| (a.shard.0, a.term, a.overrun))
        .collect();
    assert_eq!(shards, (0..4).map(|s| (s, TERM, false)).collect::<Vec<_>>());
}

#[test]
fn a_node_whose_clock_went_back_starts_above_every_term_that_was_seen() {
    let mut w = world();
    w.attach(B);
    w.subscribe(B, 1, "a");
    let mut frame = w.attach_frame(A);
    frame.highest_term = Term(5_000);
    let attached = w.core.attach(&frame, w.now, &mut w.out).unwrap();
    assert_eq!(attached.attachments[0].term, Term(5_001));
    w.proxies.insert(
        A,
        Proxy {
            term: Term(5_001),
            ..Proxy::default()
        },
    );
    w.collect();
    assert_eq!(w.closed(B), Some(&LinkFault::TermRaised));
    let again = w.attach(B);
    assert_eq!(
        (again.attachments[0].term, again.attachments[0].interest_version),
        (Term(5_001), InterestVersion(0))
    );
}

#[test]
fn the_new_link_of_a_proxy_that_raises_the_term_is_not_closed() {
    let mut w = world();
    w.attach(A);
    w.proxies.get_mut(&A).unwrap().term = Term(5_000);
    let attached = w.try_attach(A).unwrap();
    assert_eq!(attached.attachments[0].term, Term(5_001));
    assert_eq!(w.closed(A), None);
    w.operate(A, Operation::RenewLease);
    assert_eq!(w.take_answers(A), [Answer::LeaseRenewed]);
}

#[test]
fn a_shard_that_does_not_exist_ends_the_link() {
    let mut w = world();
    w.attach(A);
    w.publish_as(A, ShardId(7), 1, vec![qos_1("a", "x")]);
    assert_eq!(w.closed(A), Some(&LinkFault::UnknownShard(ShardId(7))));
    assert!(matches!(w.facts.last(), Some(StorageFact::LinkEnded { .. })));
    assert_eq!(w.core.stats().links_ended_total, 1);
}

#[test]
fn what_still_comes_from_a_link_that_was_ended_is_passed_over() {
    let mut w = world();
    w.attach(A);
    w.publish_as(A, S0, 2, vec![qos_1("a", "x")]);
    assert_eq!(
        w.closed(A),
        Some(&LinkFault::PublishGap {
            shard: S0,
            last: PublishSeq(0),
            found: PublishSeq(2)
        })
    );
    w.publish_as(A, S0, 1, vec![qos_1("a", "x")]);
    assert_eq!(w.take_outcomes(A), []);
    w.attach(A);
    w.publish_as(A, S0, 1, vec![qos_1("a", "x")]);
    assert_eq!(w.take_outcomes(A), [(1, PublishOutcome::NoMatchingSubscribers)]);
}

#[test]
fn numbers_at_the_end_of_their_range_harm_nobody() {
    let mut w = world();
    for (proxy, operation) in [
        (
            1,
            Operation::Publish(PublishBatch {
                shard: S0,
                first: PublishSeq(u64::MAX),
                messages: vec![qos_1("a", "x").into(), qos_1("a", "y").into()],
                lasting: None,
            }),
        ),
        (
            2,
            Operation::Interest(InterestDelta {
                shard: S0,
                version: InterestVersion(u64::MAX),
                complete: true,
                changes: Vec::new(),
            }),
        ),
        (
            3,
            Operation::DetachSession {
                client_id: Bytes::new(),
                epoch: SessionEpoch {
                    term: Term(u64::MAX),
                    counter: u64::MAX,
                },
                reason: DetachReason::TakenOver,
                session_expiry_interval_s: None,
            },
        ),
    ] {
        w.attach(proxy);
        w.operate(proxy, operation);
    }
    let mut frame = w.attach_frame(4);
    frame.resume = vec![ShardResume {
        shard: S0,
        term: TERM,
        received: DeliverySeq(u64::MAX),
    }];
    w.core.attach(&frame, w.now, &mut w.out).unwrap();
    let seq = DeliverySeq(u64::MAX);
    w.core.handle_control(
        IncarnationId(4),
        DeliveryControl::Acknowledge {
            shard: S0,
            term: TERM,
            seq,
        },
        w.now,
        &mut w.out,
    );
    let credit = DeliveryControl::Credit { bytes: u64::MAX };
    w.core.handle_control(IncarnationId(4), credit, w.now, &mut w.out);
}

#[test]
fn an_operation_of_a_proxy_that_never_attached_is_passed_over() {
    let mut w = world();
    w.core
        .handle(IncarnationId(77), Operation::RenewLease, w.now, &mut w.out);
    w.core.detach_link(IncarnationId(77), w.now, &mut w.out);
    assert!(w.out.is_empty());
}
