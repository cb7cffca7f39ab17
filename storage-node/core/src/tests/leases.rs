//! Lives of proxies: what a lease keeps, and what its end lets go.

use PublishOutcome::Delivered;

use super::*;

#[test]
fn a_renewed_lease_holds_and_one_that_is_not_renewed_ends() {
    let mut w = world();
    w.attach(A);
    w.pass_ms_with(20_000, &[A]);
    assert_eq!(w.core.stats().incarnations, 1);
    w.pass_ms(6_000);
    let stats = w.core.stats();
    assert_eq!((stats.incarnations, stats.leases_expired_total), (0, 1));
    assert!(w.facts.iter().any(|f| matches!(f, StorageFact::IncarnationGone { .. })));
    let leases = w.core.proxy_leases();
    assert_eq!((leases.held.len(), leases.lost.contains("proxy-a")), (0, true));
    assert_eq!(w.closed(A), Some(&LinkFault::LeaseExpired));
    assert_eq!(
        w.try_attach(A),
        Err(AttachRefusal::IncarnationGone {
            incarnation: IncarnationId(A)
        })
    );
}

#[test]
fn a_lease_outlives_its_link() {
    let mut w = world();
    w.attach(A);
    w.subscribe(A, 1, "a");
    assert_eq!(w.core.stats().links, 1);
    w.lose_link(A);
    let stats = w.core.stats();
    assert_eq!((stats.incarnations, stats.links), (1, 0));
    w.pass_ms(5_999);
    assert_eq!(w.attach(A).attachments[0].interest_version, InterestVersion(1));
    w.pass_ms(5_999);
    assert_eq!(w.core.stats().incarnations, 1, "attaching renews");
}

#[test]
fn publishers_are_answered_when_the_last_interested_proxy_is_gone() {
    let mut w = World::new(StorageSettings {
        silent_after_ms: 60_000,
        ..settings(1)
    });
    w.attach(A);
    w.attach(B);
    w.subscribe(A, 1, "a");
    w.publish(B, qos_1("a", "x"));
    w.pass_ms_with(5_999, &[B]);
    assert_eq!(w.take_outcomes(B), []);
    w.pass_ms_with(1, &[B]);
    assert_eq!(w.take_outcomes(B), [(1, Delivered)]);
}

#[test]
fn nothing_of_a_proxy_that_is_gone_remains() {
    let mut w = World::new(settings(4));
    w.attach(A);
    w.attach(B);
    for id in 0..200 {
        w.subscribe(A, id, &format!("exact/{id}"));
        w.subscribe(A, 1_000 + id, &format!("wild/{id}/+"));
    }
    for client in 0..100 {
        w.attach_session(A, client, &format!("c{client}"), None);
    }
    w.publish(B, qos_1("exact/1", "x"));
    w.pass_ms_with(7_000, &[B]);
    let stats = w.core.stats();
    assert_eq!((stats.incarnations, stats.common_filter_bytes), (1, 0));
    for shard in stats.shards {
        let g = shard.gauges;
        assert_eq!(
            (g.interest_bytes, g.filters_one_shard, g.filters_all_shards, g.sessions),
            (0, 0, 0, 0)
        );
        assert_eq!((g.ring_bytes, g.publications_waiting, g.wills_waiting), (0, 0, 0));
    }
    w.publish(B, qos_1("exact/1", "y"));
    assert!(
        w.take_outcomes(B)
            .iter()
            .any(|(_, o)| *o == PublishOutcome::NoMatchingSubscribers)
    );
}

#[test]
fn a_departure_of_many_sessions_is_cleared_up_in_parts() {
    let mut w = world();
    w.attach(A);
    let clients = 10_000;
    for client in 0..clients {
        w.attach_session(A, client, &format!("c{client}"), None);
    }
    w.now = MonotonicMs(w.now.0 + 6_000);
    w.core.tick(w.now, &mut w.out);
    let left = w.core.stats().shards[0].gauges.sessions;
    assert!(left > 0 && left < clients, "{left}");
    assert!(
        w.core.next_deadline().is_some_and(|due| due <= w.now),
        "the rest is due at once"
    );
    w.pass_ms(1);
    assert_eq!(w.core.stats().shards[0].gauges.sessions, 0);
}

#[test]
fn a_slot_that_is_used_again_inherits_nothing() {
    let mut w = world();
    w.attach(A);
    w.subscribe(A, 1, "a");
    w.publish(A, qos_1("a", "x"));
    w.pass_ms(7_000);
    w.attach(B);
    w.publish(B, qos_1("a", "y"));
    assert_eq!(w.take_payloads(B), Vec::<String>::new());
    assert_eq!(w.take_outcomes(B), [(1, PublishOutcome::NoMatchingSubscribers)]);
}

#[test]
fn the_core_sleeps_when_nothing_is_due() {
    let mut w = world();
    w.pass_ms(10_000);
    assert_eq!(w.core.next_deadline(), None);
    w.attach(A);
    w.subscribe(A, 1, "a");
    w.pass_ms(1_000);
    let due = w.core.next_deadline();
    assert_eq!(due, Some(MonotonicMs(17_000)), "only the lease");
}
